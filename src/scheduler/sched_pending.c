/*-------------------------------------------------------------------------
 *
 * sched_pending.c
 *		What is to be ended in the next step, because of stops, dropped jobs,
 *		changes of owner, ends of other runs or a restart.  Parents and children
 *		are in sched_parent.c.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "utils/memutils.h"

/* Runs of dropped jobs ended in one step, so that a step stays short. */
#define MAX_ENDED 256

static void
cancel_if_disowned(RunEntry *run, TimestampTz now)
{
	run->disowned = false;
	if (run->state == RUN_ASSIGNED || run->state == RUN_PARENT)
		return;					/* it is noted again if it comes back */
	if (!sched_run_is_disowned(run))
		sched_run_wait(run, now);	/* its job has gone back */
	else if (sched_row_is_free(run))
		sched_end_run(run, JS_CANCELLED, "owner_changed", NULL, NULL);
	else
		sched_note_disowned(run);
}

/* The oldest; a later step goes on. */
static void
cancel_disowned(TimestampTz now)
{
	List	   *ids = sched.disowned;
	int			count = Min(list_length(ids), MAX_ENDED);
	MemoryContext outer;

	sched.disowned = NIL;
	for (int i = 0; i < count; i++)
	{
		int64	   *id = list_nth(ids, i);
		RunEntry   *run = sched_run_find(*id);

		if (run != NULL && run->disowned)
			cancel_if_disowned(run, now);
		pfree(id);
	}
	outer = MemoryContextSwitchTo(sched.context);
	sched.disowned = list_concat(list_copy_tail(ids, count), sched.disowned);
	MemoryContextSwitchTo(outer);
	list_free(ids);
}

/* Those whose row somebody else holds stay for a later step. */
static void
lose_cut_off(void)
{
	static const SchedLoss loss = {
		.by_crash = true,
		.reason = "server_restarted",
		.error = "the server stopped while the run was in progress"
	};
	List	   *ids = sched.cut_off;
	ListCell   *lc;

	sched.cut_off = NIL;
	foreach(lc, ids)
	{
		RunEntry   *run = sched_run_find(*(int64 *) lfirst(lc));

		if (run != NULL && run->cut_off && sched_may_end_more() && sched_row_is_free(run))
		{
			run->cut_off = false;
			sched_lose_run(run, &loss);
		}
		else if (run != NULL && run->cut_off)
			sched_note_cut_off(run);
	}
	list_free_deep(ids);
}

/* Interrupts what is executed of a dropped job. */
static void
interrupt_runs(JobEntry *job)
{
	dlist_iter	iter;

	sched_take_back_all();
	dlist_foreach(iter, &job->runs)
	{
		RunEntry   *run = dlist_container(RunEntry, job_node, iter.cur);

		if (run->state == RUN_ASSIGNED)
			sched_interrupt(run, JS_CANCEL_DROP);
	}
}

/* Returns whether all is done; left is how many may be ended in this step. */
static bool
end_waiting_runs(JobEntry *job, int *left)
{
	dlist_mutable_iter iter;
	bool		all = true;

	dlist_foreach_modify(iter, &job->runs)
	{
		RunEntry   *run = dlist_container(RunEntry, job_node, iter.cur);

		if (run->state == RUN_ASSIGNED || run->state == RUN_PARENT)
			continue;
		if (*left == 0 || !sched_may_end_more())
			return false;
		if (!sched_row_is_free(run))
		{
			all = false;
			continue;
		}
		sched_end_run(run, JS_CANCELLED, "job_dropped", NULL, NULL);
		(*left)--;
	}
	return all;
}

/* Cancels what waits of dropped jobs; forgets a job when nothing is left. */
static void
end_dropped(void)
{
	List	   *jobs = sched.dropped_jobs;
	List	   *untouched = NIL;
	int			left = MAX_ENDED;
	MemoryContext outer;
	ListCell   *lc;

	sched.dropped_jobs = NIL;
	foreach(lc, jobs)
	{
		JobEntry   *job = lfirst(lc);

		if (left == 0 || !sched_may_end_more())
		{
			untouched = sched_keep(untouched, job);
			continue;
		}
		if (job->cancel_running)
			interrupt_runs(job);	/* what it takes back is noted already */
		job->drop_noted = false;
		if (!end_waiting_runs(job, &left))
			sched_note_dropped(job);	/* a later step goes on */
		else if (dlist_is_empty(&job->runs) && job->tally == NULL && !job->drop_noted)
		{
			sched_total_note_gone(job);
			sched_job_forget(job);
		}
	}
	list_free(jobs);
	/* Those that have not had their turn come first in the next step. */
	outer = MemoryContextSwitchTo(sched.context);
	jobs = sched.dropped_jobs;
	sched.dropped_jobs = list_concat(untouched, jobs);
	list_free(jobs);
	MemoryContextSwitchTo(outer);
}

/*
 * Those that wait for runs which have ended otherwise than they need.  One of
 * them may decide about others at once.
 */
static void
skip_some(TimestampTz now)
{
	const char *reason;
	RunEntry   *run;

	for (int i = 0; i < MAX_ENDED && sched_may_end_more(); i++)
	{
		run = sched_after_next_skip(&reason);
		if (run == NULL)
			return;
		if (!sched_row_is_free(run))
		{
			sched_after_skip_later(run);
			return;
		}
		if (run->after->when == JS_AFTER_UNDO && sched_child_ends_early(run))
		{
			sched_after_reset(run->after);	/* since a moment ago */
			continue;
		}
		sched_end_run(run, JS_SKIPPED, reason, NULL, NULL);
		sched_upstream_follow(now);
	}
}

/* Those for whom no event has come in time. */
static void
time_out_some(void)
{
	RunEntry   *run;

	for (int i = 0; i < MAX_ENDED && sched_may_end_more() && (run = sched_event_next_to_end()) != NULL; i++)
	{
		if (!sched_row_is_free(run))
		{
			sched_event_end_later(run);
			return;
		}
		sched_end_run(run, JS_TIMED_OUT, "no_event", NULL, sched_await_missing(run));
	}
}

/* Ends what a restart has cut off, and what is cancelled, dropped or skipped. */
void
sched_end_pending(TimestampTz now)
{
	sched_begin_ends();
	if (!sched_may_end())
		return;
	sched_serve_stops(now);
	lose_cut_off();
	cancel_disowned(now);
	end_dropped();
	sched_parents_serve(now);
	skip_some(now);
	time_out_some();
}

/* Whether the next step has something to end. */
bool
sched_ends_waiting(void)
{
	return sched_may_end() &&
		(sched.dropped_jobs != NIL || sched.cut_off != NIL || sched.disowned != NIL ||
		 sched_stops_waiting() || sched_after_skips_waiting() || sched_event_ends_waiting() || sched_children_waiting());
}
