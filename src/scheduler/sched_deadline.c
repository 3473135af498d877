/*-------------------------------------------------------------------------
 *
 * sched_deadline.c
 *		Runs of jobs made of steps whose time is up (parameter deadline).
 *
 * A workflow run that waits for its steps is in a heap here, by when it has to have
 * ended: its job's deadline after it began, both of which are in rows.  When that
 * has come it gets a stop, as if somebody had cancelled it, in a row of run_stop that
 * survives us and the server (sched_cancel.c); all that follows is what a cancel does
 * (sched_children.c), but that the run ends as timed_out.  One that is to end already
 * gets none.
 *
 * The heap is derived: a run enters it with its place (sched_place.c), also at the
 * next start, and anew when its job has changed.  It makes no difference whether its
 * job is paused.
 *
 * KILL -9
 *
 *		before the commit of the stop	the run is in the heap of a successor, and is
 *										due at once
 *		after it						the stop is served again
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "scheduler/sched.h"
#include "utils/memutils.h"

static pairingheap *deadlines = NULL;	/* RunEntry.item.node, by ends_by */

static int
compare_ends(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const RunEntry *x = pairingheap_const_container(RunEntry, item.node, a);
	const RunEntry *y = pairingheap_const_container(RunEntry, item.node, b);

	return x->ends_by < y->ends_by ? 1 : x->ends_by > y->ends_by ? -1 : 0;
}

static pairingheap *
open_deadlines(void)
{
	if (deadlines == NULL)
	{
		MemoryContext outer = MemoryContextSwitchTo(sched.context);

		deadlines = pairingheap_allocate(compare_ends, NULL);
		MemoryContextSwitchTo(outer);
	}
	return deadlines;
}

/* It waits no more, or is about to be given another end. */
void
sched_deadline_leave(RunEntry *run)
{
	if (run->is_timed)
		pairingheap_remove(deadlines, &run->item.node);
	run->is_timed = false;
}

/* When a run began, if that counts: its job may have had no steps then. */
TimestampTz
sched_deadline_from(const JsRun *row)
{
	return row->workflow == JS_WORKFLOW_STEPS ? row->claimed_at : DT_NOBEGIN;
}

/*
 * When a run has to have ended that began then, and is about to wait for its children;
 * DT_NOBEGIN: these are no steps.
 */
void
sched_deadline_set(RunEntry *run, TimestampTz began_at)
{
	sched_deadline_leave(run);
	if (run->job->deadline == 0 || run->batch != NULL || run->callback || began_at == DT_NOBEGIN ||
		pg_add_s64_overflow(began_at, run->job->deadline, &run->ends_by))
		run->ends_by = DT_NOBEGIN;
}

/* It waits.  What is to end anyway, or is not ours to end, has no deadline. */
void
sched_deadline_enter(RunEntry *run)
{
	if (run->ends_by == DT_NOBEGIN || run->stop != NULL || run->job->asleep)
		return;
	run->is_timed = true;
	pairingheap_add(open_deadlines(), &run->item.node);
}

/* Its job has changed. */
void
sched_deadline_follow(RunEntry *run)
{
	JsRun		head;

	sched_deadline_leave(run);
	run->ends_by = DT_NOBEGIN;
	if (run->job->deadline == 0 || !js_run_see_head(run->run_id, &head))
		return;
	sched_deadline_set(run, sched_deadline_from(&head));
	sched_deadline_enter(run);
}

/* The first one; DT_NOEND: there is none. */
TimestampTz
sched_deadline_first(void)
{
	if (deadlines == NULL || pairingheap_is_empty(deadlines))
		return DT_NOEND;
	return pairingheap_container(RunEntry, item.node, pairingheap_first(deadlines))->ends_by;
}

/* One whose time is up, which leaves the heap by that; NULL: there is none. */
RunEntry *
sched_deadline_next(TimestampTz now)
{
	RunEntry   *run;

	if (sched_deadline_first() > now)
		return NULL;
	run = pairingheap_container(RunEntry, item.node, pairingheap_first(deadlines));
	sched_deadline_leave(run);
	return run;
}
