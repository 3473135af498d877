/*-------------------------------------------------------------------------
 *
 * procedure_memos.c
 *		What a durable procedure has done before, and comes by again.
 *
 * An execution comes by each step that was done before it, and needs its memo.  All of
 * a run are read at once, in one scan of the index, when it comes to its first step: a
 * look-up for each would take several times as long, and there are as many executions
 * as the procedure sleeps and waits.  From then on it is known, too, which steps have none.
 *
 * Nobody else writes memos of a run while it is executed.  A worker that was given up
 * does not know of those that are written since, as it would not if it had looked just
 * before; it can commit none of its own (procedure.c).
 *
 * MEMORY
 *
 * A result may be as large as jobsched.max_result_size allows, and a run may have
 * JS_MAX_MEMOS of them.  So one that is large, or comes when MOST_KEPT bytes are kept, is
 * not read before its step is come by.  What is kept then is that there is one: its name.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/sqlstate.h"
#include "run/procedure_memos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Bytes of a result that is kept, and of all of them. */
#define MOST_OF_ONE 4096
#define MOST_KEPT (4 * 1024 * 1024)

typedef struct Step
{
	char		name[JS_MAX_MEMO_NAME + 1]; /* key */
	bool		is_taken;		/* this execution has come by it */
	bool		is_done;		/* it has a memo */
	JsMemo	   *memo;			/* NULL: that is not kept */
} Step;

/* Those of the execution. */
typedef struct Steps
{
	HTAB	   *steps;
	MemoryContext context;
	int32		taken;
	Size		kept;
	bool		are_read;
} Steps;

static Steps steps;

void
js_procedure_memos_begin(MemoryContext context)
{
	HASHCTL		control = {.keysize = JS_MAX_MEMO_NAME + 1,.entrysize = sizeof(Step),.hcxt = context};

	memset(&steps, 0, sizeof(steps));
	steps.context = context;
	steps.steps = hash_create("jobsched steps of a procedure", 16, &control,
							  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

static Step *
open_step(const char *name)
{
	bool		found;
	Step	   *step = hash_search(steps.steps, name, HASH_ENTER, &found);

	if (!found)
	{
		step->is_taken = step->is_done = false;
		step->memo = NULL;
	}
	return step;
}

static void
note_memo(const JsMemo *memo, Size size, void *arg)
{
	Step	   *step = open_step(memo->name);

	step->is_done = true;
	if (size > MOST_OF_ONE || steps.kept + size > MOST_KEPT)
		return;
	step->memo = js_memo_copy(memo, steps.context);
	steps.kept += size;
}

/* Nobody has come by the name in this execution. */
static Step *
take_step(const char *name)
{
	Step	   *step;

	if (steps.taken >= JS_MAX_MEMOS)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("the procedure has more than %d steps", JS_MAX_MEMOS),
				 errhint("Let a step do more, or queue a run for each part of the work.")));
	step = open_step(name);
	if (step->is_taken)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("step \"%s\" comes twice", name),
				 errhint("In a loop give each step a name of its own, made of what it is about: 'charge-' || order_id.")));
	step->is_taken = true;
	steps.taken++;
	return step;
}

/* Whether the step of a name that fits has a memo. */
bool
js_procedure_memos_take(int64 run_id, const char *name, JsMemo *memo)
{
	Step	   *step;

	if (!steps.are_read)
		js_memos_visit(run_id, MOST_OF_ONE, note_memo, NULL);
	steps.are_read = true;
	step = take_step(name);
	if (step->is_done && step->memo == NULL)
		return js_memo_find(run_id, name, memo);
	if (step->is_done)
		*memo = *step->memo;
	return step->is_done;
}

/* How many steps this execution has come by. */
int32
js_procedure_memos_taken(void)
{
	return steps.taken;
}
