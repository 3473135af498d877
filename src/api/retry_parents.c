/*-------------------------------------------------------------------------
 *
 * retry_parents.c
 *		The runs that a retried run had waited for: upstream() shows them to the new
 *		run too.
 *
 * DATA FLOW
 *
 * Rows of dependency say for whom a run waits.  When it has ended without success the
 * scheduler moves them to waited (sched_after.c).  retry_run() and redrive() read them
 * there, and where they have not been moved so far, and queue the new run after the
 * same parents, with after_when 'done':
 *
 *		waited, dependency of the old run --> dependency of the new one
 *
 * So all that there is for runs that wait holds for it: its parents stay in history
 * until it has ended, upstream() shows them, it goes on after a crash, and if it ends
 * without success its rows are moved in turn.  It has been asked for by hand, so it
 * starts whatever its parents have come to, as soon as all of them have ended: those of
 * a run that was cancelled while it waited may not have.
 *
 * INVARIANTS
 *
 * Rows are moved in ascending order, each portion in one transaction.  Who reads what is
 * left of them first, and then what has been moved, with a newer snapshot, misses none.
 *
 * Rows of waited keep nothing in history.  A parent that is gone, or about to go, is left
 * out, and so is one that the owner of the new run may not see: as if it had been named
 * in after, which is an error there.
 *
 * KILL -9
 *
 *		before the commit of retry_run()	the old run's rows are where they were
 *		after it							the new run has rows of its own
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/retry_parents.h"
#include "miscadmin.h"
#include "store/owner.h"
#include "utils/memutils.h"

/* Nearly every run has waited for none. */
static bool
has_waited(int64 run_id)
{
	int64		parent;

	return js_dependencies_read(run_id, 0, &parent, 1) > 0 || js_waited_read(run_id, 0, &parent, 1) > 0;
}

/* All that the old run had waited for, ascending. */
static int64 *
read_waited(int64 run_id, int *count)
{
	int64	   *left = palloc(JS_MAX_PARENTS * sizeof(int64));
	int64	   *ids = palloc(JS_MAX_PARENTS * sizeof(int64));
	int			nleft = js_dependencies_read(run_id, 0, left, JS_MAX_PARENTS);

	*count = js_waited_read(run_id, 0, ids, JS_MAX_PARENTS);
	for (int i = 0; i < nleft && *count < JS_MAX_PARENTS; i++)
		if (*count == 0 || left[i] > ids[*count - 1])
			ids[(*count)++] = left[i];
	pfree(left);
	return ids;
}

/* One that has ended in between is found in history. */
static bool
can_be_named(int64 parent, Oid owner)
{
	JsStatus	status;
	JsRun		head;

	if (js_run_see_head(parent, &head))
		return js_role_may_see(owner, head.owner);
	return js_history_find_head(parent, false, &head, &status) &&
		js_role_may_see(owner, head.owner) && js_history_stays(parent);
}

static int
leave_out(int64 *parents, int count, Oid owner)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched parents", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(scratch);
	int			left = 0;

	for (int i = 0; i < count; i++)
	{
		if (can_be_named(parents[i], owner))
			parents[left++] = parents[i];
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
	return left;
}

/* run is the old one, as history has it, and becomes one that comes after the same parents. */
void
js_retry_take_parents(int64 run_id, const JsJob *job, JsRun *run)
{
	int			count;
	int64	   *parents;

	/* One with steps had nothing to see, and names what it carries over. */
	if (run->workflow != JS_WORKFLOW_NONE || !has_waited(run_id))
		return;
	js_dependency_lock();
	parents = read_waited(run_id, &count);
	run->nparents = leave_out(parents, count, job->owner);
	if (run->nparents == 0)
		return;
	run->parents = parents;
	run->after_when = JS_AFTER_DONE;
}
