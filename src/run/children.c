/*-------------------------------------------------------------------------
 *
 * children.c
 *		Runs that the run which this process executes has queued as its children.
 *
 * When the run's own execution has succeeded, it has to be known whether it has
 * children: then it has not ended (sched_children.c).  A run that has queued none,
 * which is nearly every one, pays nothing for that: only one that has called for
 * a child in this attempt, or that had attempts before, looks for some in the
 * tables.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/sqlstate.h"
#include "guc.h"
#include "run/children.h"
#include "run/context.h"

/*
 * The attempt that has called for children, and how many there are at most: those
 * that have been rolled back are among them.
 */
static int64 counted_run = 0;
static int32 counted_attempt = 0;
static int64 counted = 0;

static bool
is_counted(const JsRun *run)
{
	return counted_run == run->run_id && counted_attempt == run->attempt;
}

static bool
count_one(const JsRun *head, JsStatus status, void *arg)
{
	(*(int64 *) arg)++;
	return true;
}

/* How many children a run has by now, whatever has become of them. */
static int64
count_children(int64 run_id)
{
	int64		count;

	CommandCounterIncrement();	/* the same command may have queued some */
	count = js_runs_children(run_id, 0, NULL, JS_MAX_CHILDREN);
	for (int ring = 0; ring <= JS_RINGS; ring++)
		js_history_visit_children(run_id, ring, count_one, &count);
	return count;
}

/* The run that is executed is to wait for this one. */
void
js_children_adopt(JsRun *child, bool optional)
{
	if (js_current_run == NULL)
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("child is given outside a run"),
				 errhint("Only what a run queues while it is executed can be its child. A function that is also called by hand can give child => jobsched.run_id() IS NOT NULL.")));
	js_context_refuse_late("child");
	child->parent_run_id = js_current_run->run_id;
	child->optional = optional;
	child->depth = js_current_run->depth + 1;
}

/* A child is being queued: of this run, or of a batch, which counts its members itself. */
void
js_children_add(const JsRun *child)
{
	if (child->depth > js_guc_max_depth)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("run " INT64_FORMAT " cannot have children, because %d generations are above it",
						child->parent_run_id, child->depth - 1),
				 errhint("Queue runs that are no children, or let a run that is further up wait for them.")));
	if (js_current_run == NULL || child->parent_run_id != js_current_run->run_id)
		return;
	if (!is_counted(js_current_run))
	{
		counted = js_current_run->attempt > 1 ? count_children(child->parent_run_id) : 0;
		counted_run = js_current_run->run_id;
		counted_attempt = js_current_run->attempt;
	}
	if (counted >= JS_MAX_CHILDREN)
		counted = count_children(child->parent_run_id);
	if (counted >= JS_MAX_CHILDREN)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("run " INT64_FORMAT " cannot have more than %d children",
						child->parent_run_id, JS_MAX_CHILDREN),
				 errhint("Let some children queue a part of them each.")));
	counted++;
}

static bool
note_child(const JsRun *head, JsStatus status, void *arg)
{
	*(bool *) arg = true;
	return false;
}

static bool
has_children(int64 run_id)
{
	bool		found;

	CommandCounterIncrement();
	found = js_runs_children(run_id, 0, NULL, 1) > 0;
	for (int ring = 0; ring <= JS_RINGS && !found; ring++)
		js_history_visit_children(run_id, ring, note_child, &found);
	return found;
}

/*
 * An attempt has succeeded.  If the run has children, next is the run as it waits
 * for them; also if all of them have ended, for one may have failed.
 */
bool
js_children_plan(const JsRun *run, const JsOutcome *outcome, JsRun *next)
{
	if ((run->attempt == 1 && !is_counted(run)) || !has_children(run->run_id))
		return false;
	*next = *run;
	next->status = JS_RUN_WAITING;
	next->reason = "waiting_for_children";
	next->boot_id = 0;
	next->claimed_at = outcome->started_at;
	return true;
}
