/*-------------------------------------------------------------------------
 *
 * sched_overlap.c
 *		Slots that come while runs of their job are live.
 *
 * The job's policy says what becomes of such a slot:
 *
 *	skip		it has no run, and is counted
 *	queue		its run waits behind the others, unless too many wait already
 *	allow		its run starts beside the others, unless max_concurrency are live
 *	replace		the others are cancelled, and its run waits until they have ended
 *
 * This is decided at the slot's own time, in the transaction that makes the run
 * or does not, also if jitter delays the run.  A delayed run counts as live, so
 * there is one decision, which never has to be revised.
 *
 * With queue and replace (JobEntry.serial) the runs of slots are RUN_BEHIND
 * when they are ready, and one of them becomes RUN_READY when no run of the job
 * is live.  That depends only on the job's row, for the policy, and the rows of
 * its runs.  So a successor, or a server after a crash, finds the same order:
 * runs that were being executed go on first, or are behind with the others, by
 * age.  Nothing has to be searched: a job counts its live runs, and says when
 * there are none (sched_run_place).  For each run to be replaced that was being
 * executed there is a row of run_stop (sched_cancel.c).
 *
 * Triggered runs never wait for other runs, but slots wait for them.  For
 * backfilled runs neither is true.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"

/* Runs ended at once; steps that follow end what there is more. */
#define MAX_REPLACED 256

/*
 * How many runs of the job have not ended, up to a bound.  A worker tells us
 * of an end a moment after its commit, and that is no overlap.
 */
static int
count_live(JobEntry *job, int most)
{
	int			count = job->waiting;
	dlist_iter	iter;
	JsRun		row;

	if (job->live == 0 || count >= most)
		return Min(count, most);
	dlist_foreach(iter, &job->runs)
	{
		RunEntry   *run = dlist_container(RunEntry, job_node, iter.cur);

		if (run->live && (run->state != RUN_ASSIGNED || js_run_read_head(run->run_id, &row)))
			count++;
		if (count == most)
			break;
	}
	return count;
}

/* As many as wait, and one that they wait for. */
static bool
queue_is_full(JobEntry *job, int32 limit)
{
	return job->waiting >= limit && count_live(job, job->waiting + 1) > limit;
}

/* What is to be done for a slot of the job that is due. */
SchedVerdict
sched_judge_overlap(JobEntry *job, const JsJob *row)
{
	switch (row->overlap)
	{
		case JS_OVERLAP_QUEUE:
			return queue_is_full(job, row->queue_limit) ? SCHED_QUEUE_FULL : SCHED_MAKE;
		case JS_OVERLAP_ALLOW:
			return row->max_concurrency > 0 &&
				count_live(job, row->max_concurrency) >= row->max_concurrency ? SCHED_SKIP : SCHED_MAKE;
		case JS_OVERLAP_REPLACE:
			return count_live(job, 1) > 0 ? SCHED_REPLACE : SCHED_MAKE;
		case JS_OVERLAP_SKIP:
			break;
	}
	return count_live(job, 1) > 0 ? SCHED_SKIP : SCHED_MAKE;
}

/* Cancels what is in the way of a slot's run. */
void
sched_replace_runs(JobEntry *job)
{
	dlist_mutable_iter iter;
	int			count = 0;

	dlist_foreach_modify(iter, &job->runs)
	{
		RunEntry   *run = dlist_container(RunEntry, job_node, iter.cur);

		if (sched_run_overlaps(run))
			sched_replace_run(run, count++ < MAX_REPLACED);
	}
}

bool
sched_promotions_waiting(void)
{
	return sched.promotable != NIL;
}

/* Of each job that has no live run any more the oldest of those behind starts. */
void
sched_promote(void)
{
	List	   *ids = sched.promotable;
	ListCell   *lc;

	sched.promotable = NIL;
	foreach(lc, ids)
	{
		JobEntry   *job = sched_job_find(*(int64 *) lfirst(lc));

		if (job == NULL)
			continue;
		job->promote_noted = false;
		if (job->live == 0 && job->behind != NULL && !pairingheap_is_empty(job->behind))
			sched_run_place(pairingheap_container(RunEntry, item.node, pairingheap_first(job->behind)),
							RUN_READY);
	}
	list_free_deep(ids);
}
