/*-------------------------------------------------------------------------
 *
 * sched_undo.c
 *		Whether what the steps of a workflow have done is to be undone.
 *
 * run/undo_runs.c has the design.  The scheduler decides that once for a workflow
 * run, when all of its steps have ended: it releases the run that lets undo begin, or
 * ends it as skipped.  What is asked here is asked of history, whatever has been in
 * memory, so a successor decides the same.
 *
 * From when that run has been skipped nothing can be undone any more: all has been done
 * as it should.  So a workflow run that is told to end after that has succeeded.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "utils/memutils.h"

static bool
note_failed(const JsRun *head, JsStatus status, void *arg)
{
	*(bool *) arg |= sched_child_has_failed(head, status);
	return !*(bool *) arg;
}

/* Whether the workflow of this run, the steps of which have ended, fails by these. */
bool
sched_undo_is_due(const RunEntry *run)
{
	bool		failed = false;

	if (run->child == NULL)
		return true;			/* somebody has spoilt the row */
	for (int ring = 0; ring <= JS_RINGS && !failed; ring++)
		js_history_visit_children(sched_child_parent(run), ring, note_failed, &failed);
	return failed;
}

typedef struct Waived
{
	MemoryContext scratch;
	int64		run_id;			/* of the run that lets undo begin; 0: none */
} Waived;

static bool
note_skipped(const JsRun *head, JsStatus status, void *arg)
{
	Waived	   *waived = arg;
	MemoryContext outer;
	JsJob		step;

	if (status != JS_SKIPPED)
		return true;
	outer = MemoryContextSwitchTo(waived->scratch);
	if (js_job_read_head(head->job_id, &step) && js_step_begins_undo(&step))
		waived->run_id = head->run_id;
	MemoryContextSwitchTo(outer);
	MemoryContextReset(waived->scratch);
	return waived->run_id == 0;
}

/* What somebody has asked to be skipped was not waived. */
static bool
is_by_rule(int64 run_id)
{
	JsRun		run = {0};
	JsOutcome	outcome = {0};

	return js_history_find(run_id, &run, &outcome) &&
		(outcome.reason == NULL || strcmp(outcome.reason, SCHED_REASON_SKIPPED) != 0);
}

/* Whether it has been decided that nothing is undone of a workflow run. */
bool
sched_undo_was_waived(const RunEntry *parent)
{
	Waived		waived = {0};
	bool		result;

	if (!parent->job->has_steps)
		return false;
	waived.scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched undo", ALLOCSET_DEFAULT_SIZES);
	for (int ring = 0; ring <= JS_RINGS && waived.run_id == 0; ring++)
		js_history_visit_children(parent->run_id, ring, note_skipped, &waived);
	MemoryContextSwitchTo(waived.scratch);
	result = waived.run_id != 0 && is_by_rule(waived.run_id);
	MemoryContextSwitchTo(MemoryContextGetParent(waived.scratch));
	MemoryContextDelete(waived.scratch);
	return result;
}
