/*-------------------------------------------------------------------------
 *
 * step_look.c
 *		Steps that look before they start: if, and results of others.
 *
 * A step looks (step_looks of its row) if it has a condition, or placeholders for
 * what steps before it have left.  It does that as its owner, in a worker.
 *
 * DATA FLOW
 *
 *	function, command	at the beginning of each attempt, in its transaction: the
 *						condition is evaluated (condition.c); values are looked up
 *						in history, and put into the arguments; the step starts.
 *						A durable procedure that has a memo has no condition any more
 *	request				a worker has its run before the HTTP process has it.  It
 *						evaluates the condition, looks up the values, and gives the
 *						run back with these as its state.  Placeholders are
 *						replaced with others when the request is made
 *						(http_template.c): so each value is encoded where it
 *						stands, and none is searched for placeholders
 *
 *	for_each, job		as a function, before they queue others.  Elements do not look:
 *						they have the arguments of the step's run, filled; and if they
 *						are requests its values as their state, so they are ready
 *
 *	If the condition does not hold the run ends as skipped, reason "condition".
 *
 *		ready --> worker --> skipped						(js_run_finish())
 *						 --> queued, with state --> HTTP process --> ended
 *						 --> failed: retrying, without state --> worker
 *
 * INVARIANTS
 *
 * The state of such a request, which cannot call snooze(), says that it has been
 * made ready; it is written once.  Whoever has claimed the run, a worker without it
 * or the HTTP process with it, is who may have it; the other one gives it back as
 * not his.  The scheduler goes by the same column (RunEntry.looks).
 *
 * To look is no attempt, unless it fails.  The run is given back with the number of
 * the attempt before; a run that is skipped has it in history, and no start.
 *
 * Steps that are named come before this one, so they have ended, and their rows stay
 * until their workflow's run has ended.
 *
 * KILL -9
 *
 *	while it looks			an attempt that was one transaction and is lost: the run
 *							is queued again, without state, and a worker looks
 *	after its commit		the row says queued, with a state: the HTTP process has it
 *							next, whoever is told of that or not; or the run is in
 *							history as skipped
 *	while the request is	as of any request: its attempt is lost; the next one finds
 *	under way				the state, and needs no worker
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "compat.h"
#include "http/http_request.h"
#include "http/http_text.h"
#include "http/step_placeholders.h"
#include "miscadmin.h"
#include "run/condition.h"
#include "run/step_look.h"
#include "store/bounds.h"
#include "store/store_names.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/*
 * Beside the values of a request, whose they are: no placeholder is called that, for
 * they all have a dot.
 */
#define FOUND_AS "owner"

/* Of results that are kept because others of the same step may be looked for. */
#define MOST_KEPT (64 * 1024 * 1024)

/* What a step has left. */
typedef struct Left
{
	char	   *step;
	Jsonb	   *result;			/* NULL: nothing, and */
	char	   *problem;		/* why */
} Left;

/* A step of a workflow. */
typedef struct Step
{
	const char *name;			/* NULL: there is none */
	int64		job_id;
} Step;

/*
 * The steps of the set that was needed last.  Their rows never change but for what is
 * not here, and another set has another revision.
 */
typedef struct StepSet
{
	int64		workflow_id;	/* 0: none */
	int64		revision;
	MemoryContext context;		/* of the names */
	Step		steps[JS_MAX_STEPS];	/* by place */
} StepSet;

static StepSet known;

typedef struct Search
{
	const JsJob *step;
	const JsRun *run;
	List	   *left;			/* of Left, */
	MemoryContext kept;			/* in here, as the results are */
	List	   *names;			/* of placeholders that are in found */
	JsonbParseState *found;
	Size		size;			/* of what is there */
} Search;

/* ------------------------------------------------------------------------
 * Results
 * ------------------------------------------------------------------------
 */

static void
note_step(const JsJob *head, void *arg)
{
	Step	   *step;

	if (head->step_no < 1 || head->step_no > JS_MAX_STEPS || head->step == NULL)
		return;
	step = &known.steps[head->step_no - 1];
	step->name = MemoryContextStrdup(known.context, head->step);
	step->job_id = head->job_id;
}

static void
know_steps(const JsJob *step)
{
	if (known.workflow_id == step->workflow_id && known.revision == step->steps_revision)
		return;
	known.workflow_id = 0;		/* until all have been read */
	if (known.context == NULL)
		known.context = AllocSetContextCreate(TopMemoryContext, "jobsched steps", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(known.context);
	memset(known.steps, 0, sizeof(known.steps));
	js_steps_visit(step->workflow_id, step->steps_revision, note_step, NULL);
	known.workflow_id = step->workflow_id;
	known.revision = step->steps_revision;
}

/* The place of a step; 0: there is none of that name. */
static int
place_of_name(const char *name)
{
	for (int i = 0; i < JS_MAX_STEPS; i++)
		if (known.steps[i].name != NULL && strcmp(known.steps[i].name, name) == 0)
			return i + 1;
	return 0;
}

static int
place_of_job(int64 job_id)
{
	for (int i = 0; i < JS_MAX_STEPS; i++)
		if (known.steps[i].name != NULL && known.steps[i].job_id == job_id)
			return i + 1;
	return 0;
}

typedef struct Wanted
{
	int			place;
	int64		run_id;			/* 0: not found */
} Wanted;

/* Runs come from the highest id down, so places do. */
static bool
note_run(const JsRun *head, JsStatus status, void *arg)
{
	Wanted	   *wanted = arg;
	int			place = place_of_job(head->job_id);

	if (place == wanted->place)
		wanted->run_id = head->run_id;
	return place == 0 || place > wanted->place;
}

/*
 * The run of a step that has ended; 0: it has not, or is not there.  The runs of steps
 * have got their ids in the order of places, each another one.  So that of a step some
 * places before has an id at least so much lower, and is one of the first that are
 * looked at, or the first.
 */
static int64
find_run(const Search *search, const char *name)
{
	Wanted		wanted = {0};
	int64		to = search->run->run_id - 1;

	know_steps(search->step);
	wanted.place = place_of_name(name);
	if (wanted.place == 0)
		return 0;
	/* What undoes steps is queued in another order. */
	if (!js_step_undoes(search->step))
		to -= Max(search->step->step_no - wanted.place - 1, 0);
	js_history_search_children(search->run->parent_run_id, to, note_run, &wanted, &wanted.run_id);
	return wanted.run_id;
}

/* What is another role's, which had the workflow before, is for its members. */
static bool
may_use(const JsJob *step, Oid owner)
{
	return owner == step->owner || has_privs_of_role(step->owner, owner);
}

static void
read_left(const Search *search, Left *left)
{
	int64		run_id = find_run(search, left->step);
	JsOutcome	outcome;
	JsRun		run;

	if (run_id == 0 || !js_history_find_left(run_id, &run, &outcome))
		left->problem = "That step is not there any more.";
	else if (!may_use(search->step, run.owner))
		left->problem = "That step was executed as another role.";
	else if (outcome.status != JS_SUCCEEDED)
		left->problem = psprintf("That step has ended as \"%s\".", js_status_name(outcome.status));
	else if (outcome.result == NULL)
		left->problem = "That step has left no result.";
	else
		left->result = outcome.result;
}

static const Left *
find_left(const Search *search, const char *step)
{
	ListCell   *lc;

	foreach(lc, search->left)
		if (strcmp(((const Left *) lfirst(lc))->step, step) == 0)
		return lfirst(lc);
	return NULL;
}

/* Each is read once, unless all together are large. */
static const Left *
left_by(Search *search, const char *step)
{
	const Left *known = find_left(search, step);
	MemoryContext outer;
	Left	   *left;

	if (known != NULL)
		return known;
	if (MemoryContextMemAllocated(search->kept, true) > MOST_KEPT)
	{
		search->left = NIL;
		MemoryContextReset(search->kept);
	}
	outer = MemoryContextSwitchTo(search->kept);
	left = palloc0(sizeof(Left));
	left->step = pstrdup(step);
	read_left(search, left);
	search->left = lappend(search->left, left);
	MemoryContextSwitchTo(outer);
	return left;
}

pg_noreturn static void
refuse(const char *key, const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s needs steps.%s, which is not there", key, name),
			 errdetail_internal("%s", detail),
			 errhint("With \"if\" a step can look first whether it is.")));
}

static bool
is_found(const Search *search, const char *name)
{
	ListCell   *lc;

	foreach(lc, search->names)
		if (strcmp(lfirst(lc), name) == 0)
		return true;
	return false;
}

/* One by one they may be small, and many. */
static void
add_value(Search *search, const char *name, JsonbValue *value)
{
	Jsonb	   *copy = JsonbValueToJsonb(value);

	search->names = lappend(search->names, pstrdup(name));
	search->size += VARSIZE(copy) - VARHDRSZ;
	js_bounds_check_found(search->size);
	js_json_push_jsonb(&search->found, name, copy);
}

static void
find(Search *search, const char *key, const char *name)
{
	size_t		length = strcspn(name, ".");
	const char *path = name + length + strlen(".result");
	const Left *left = left_by(search, pnstrdup(name, length));
	JsonbValue	whole;
	JsonbValue *value = &whole;

	if (left->result == NULL)
		refuse(key, name, left->problem);
	if (*path == '.')
		value = js_args_find(left->result, path + 1);
	else
		JsonbToJsonbValue(left->result, &whole);
	if (value == NULL)
		refuse(key, name, "Its result has no such key.");
	add_value(search, name, value);
}

static void
look_up(const char *key, const char *name, void *arg)
{
	CHECK_FOR_INTERRUPTS();
	if (!is_found(arg, name))
		find(arg, key, name);
}

/* What the placeholders of a step stand for, by their names. */
static Jsonb *
values_for(const JsJob *step, const JsRun *run)
{
	Search		search = {.step = step,.run = run};
	Jsonb	   *found;

	search.kept = AllocSetContextCreate(CurrentMemoryContext, "jobsched results", ALLOCSET_DEFAULT_SIZES);
	pushJsonbValue(&search.found, WJB_BEGIN_OBJECT, NULL);
	js_step_placeholders_visit(step, look_up, &search);
	if (search.names != NIL)
		js_json_push_text(&search.found, FOUND_AS, psprintf("%u", step->owner));
	found = JsonbValueToJsonb(pushJsonbValue(&search.found, WJB_END_OBJECT, NULL));
	MemoryContextDelete(search.kept);
	return found;
}

/* ------------------------------------------------------------------------
 * Steps
 * ------------------------------------------------------------------------
 */

/* Whether it has a request that is not ready to be sent. */
bool
js_step_makes_ready(const JsJob *job, const JsRun *run)
{
	return job->step_looks && job->request != NULL && run->handler == NULL && !js_run_maps(job, run) &&
		run->request == NULL && run->state == NULL;
}

/* Meanwhile the workflow may have got another owner, who sends it. */
void
js_step_check_ready(const JsJob *step, const JsRun *run)
{
	char	   *owner = js_http_text(run->state, FOUND_AS);

	if (owner != NULL && !may_use(step, atooid(owner)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the request has results of steps that were executed as another role"),
				 errhint("The workflow has got another owner since.")));
}

static void
note_argument(const char *key, const char *name, void *arg)
{
	*(bool *) arg |= strcmp(key, "args") == 0;
}

/*
 * The step's own arguments go over those of its run, as they did before.  An element has
 * got them filled, and its own over them.
 */
void
js_step_fill_args(const JsJob *step, JsRun *run, Jsonb *results)
{
	bool		any = false;

	if (run->source == JS_SOURCE_ITEM)
		return;
	js_step_placeholders_visit(step, note_argument, &any);
	if (!any)
		return;
	run->args = js_run_args(run->args, js_step_args_fill(step, results));
	js_bounds_check_run(run);
}

static void
tell_where(void *arg)
{
	errcontext("\"if\" of step \"%s\"", arg != NULL ? (const char *) arg : "?");
}

static bool
holds(const JsJob *step)
{
	ErrorContextCallback context = {error_context_stack, tell_where, step->step};
	bool		result;

	if (step->step_if == NULL)
		return true;
	error_context_stack = &context;
	result = js_condition_holds(step->step_if);
	error_context_stack = context.previous;
	return result;
}

/* A durable procedure goes on, whatever the condition says now: it has done a part. */
static bool
has_begun(const JsJob *step, const JsRun *run)
{
	return step->handler != NULL && run->attempt > 1 && js_memos_exist(run->run_id);
}

/*
 * Looks, in the transaction that is open.  What is found is in the given context: for
 * a request it is *found, else it is in the arguments.
 */
JsLook
js_step_look(const JsJob *step, JsRun *run, MemoryContext context, Jsonb **found)
{
	MemoryContext outer = MemoryContextSwitchTo(context);
	JsLook		look = JS_LOOK_SKIP;

	if (has_begun(step, run) || holds(step))
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		*found = values_for(step, run);
		look = js_step_makes_ready(step, run) ? JS_LOOK_READY : JS_LOOK_START;
		if (look == JS_LOOK_START)
			js_step_fill_args(step, run, *found);
		PopActiveSnapshot();
	}
	MemoryContextSwitchTo(outer);
	return look;
}

/* A request that can be sent, as if its run had not been claimed. */
void
js_step_ready(const JsRun *run, Jsonb *found, JsRun *next)
{
	*next = *run;
	next->status = JS_RUN_QUEUED;
	next->attempt--;
	next->boot_id = 0;
	next->claimed_at = DT_NOBEGIN;
	next->reason = NULL;
	next->state = found;
}
