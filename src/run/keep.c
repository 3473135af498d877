/*-------------------------------------------------------------------------
 *
 * keep.c
 *		Runs that leave no row of history: parameter keep of a job.
 *
 * With keep 'failures' a run that succeeds leaves the queue, and nothing else: no row
 * of history, no messages, no response.  It is counted as every run is, in the job's
 * state and in what is told of runs as they end.
 *
 *		scheduler	deliver()		the mail says whether the run may leave nothing: its
 *									job keeps failures only, has not failed last, and
 *									no job comes after it
 *		worker, http	js_worker_ending(), describe()
 *									ask js_keep_nothing() when the attempt has ended
 *					js_attempts_finish()	deletes the row of run, inserts none
 *					commit
 *		scheduler	takes the outcome, as of every run: tally, alerts, limits, waiters
 *
 * WHICH RUNS
 *
 * What somebody may still ask for is kept.  So a run leaves nothing only if it
 * succeeded in its first attempt, and was not lost before; was asked for by its schedule, by
 * trigger() and its like, by backfill(), or because the jobs that its job comes after
 * have succeeded; is no child, member, step or element and has no children; has not
 * waited for events; makes up for no missed slots; is not told to a callback; and no
 * run is to wait for it.
 *
 * WHO READS HISTORY
 *
 *	wait_run()	finds in shared memory that the run has left nothing
 *				(shmem_left.c), or knows that the run was there and what its job
 *				keeps: it has succeeded.
 *	after		Who names a run has js_dependency_lock(), and looks then whether the run
 *				is about to leave nothing, which is said in shared memory before it is
 *				looked whether the lock is held.  So either he is seen, and the run
 *				leaves a row, or he sees that it is too late, and the run does not
 *				exist for him.  Only if JS_LEFT_NOTHING further runs end in between,
 *				he may name what is gone; then his run waits for one that counts
 *				as lost.
 *	the scheduler	When a worker has committed and died before it said so, its run is
 *				neither queued nor in history; shared memory says that it succeeded.
 *	after of jobs	The row is kept, because the success is named by the run that follows.
 *				Of a job to which another one is tied at this moment, a success may be
 *				untallied and without a row: then it counts as one that comes later.
 *	idempotency keys	A key whose run is not queued any more is one whose run has
 *				ended, until it expires.  Hooks have nothing else.
 *	retry_run(), cancel_run(), skip_step(), send_event() with run_id
 *				The run does not exist.  Of a success they refuse anyway.
 *	schedules	Which slots are done is in job_state; the limits of max_runs too.
 *
 * AFTER A CRASH
 *
 * What is not committed has not happened: the run is in the queue, and is executed
 * again.  What is committed is not in the queue.  So nothing is executed twice.
 *
 * A scheduler that starts reads from history what its predecessor had not tallied.
 * Successes without a row are not found there: at most those of the last moment (the
 * tally is written after 50 ms), or after a crash of the server what was not flushed of
 * it.  They are missing in recent, last_run_id and succeeded_at until the next one.
 * Statistics, which are made anew from history for the last minutes, keep what they have
 * written of such successes (sched_stat.c); those that were still in the scheduler's
 * memory, mostly of a second, they miss for good.  The success that ends a series of
 * failures is never among them, since the scheduler lets no run of a job that has failed
 * last leave nothing.  So consecutive_failures, pause_after_failures and alerts
 * end as they should.  (A run that was in a mailbox when the one before it failed is an
 * exception; the next success corrects it.)
 *
 * COSTS
 *
 * A run of other jobs pays for one test of a flag.  One that leaves nothing pays for a look into
 * dependency and at the lock, instead of a row with its indexes.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "run/callback.h"
#include "run/keep.h"
#include "shmem/shmem.h"
#include "storage/lock.h"
#include "store/table.h"

/* Whether nobody has the id of a run for more than to know how it ended. */
static bool
stands_alone(const JsRun *run)
{
	switch (run->source)
	{
		case JS_SOURCE_SCHEDULE:
		case JS_SOURCE_STARTUP:
		case JS_SOURCE_TRIGGER:
		case JS_SOURCE_BACKFILL:
		case JS_SOURCE_AFTER:
			break;
		default:
			return false;
	}
	return run->handler == NULL && run->request == NULL && run->parent_run_id == 0 &&
		run->workflow == JS_WORKFLOW_NONE && run->wait_for == NULL;
}

/* Whether there is nothing about its end that history should tell. */
static bool
is_plain_success(const JsEnding *ending)
{
	const JsRun *run = ending->run;

	return ending->next == NULL && ending->outcome->status == JS_SUCCEEDED &&
		!ending->outcome->only_looked && run->status == JS_RUN_RUNNING &&
		run->attempt == 1 && run->lost == 0 && run->missed_count == 0;
}

/* Whether some run waits for it, or is just being queued that may. */
static bool
is_named(int64 run_id)
{
	VirtualTransactionId *namers = js_dependency_holders();
	bool		named = VirtualTransactionIdIsValid(namers[0]);

	pfree(namers);
	if (named)
		return true;
	CommandCounterIncrement();	/* it may have named itself */
	return js_parent_exists(run_id);
}

/*
 * Whether an attempt that has ended leaves nothing; may: as the mail says.  Asked in the
 * transaction that records it, which either commits that, or leaves the run where it is.
 */
bool
js_keep_nothing(const JsEnding *ending, bool may)
{
	const JsRun *run = ending->run;
	Oid			table;

	if (!may)
		return false;
	table = js_table_oid("run");
	if (ending->job != NULL && ending->job->keep == JS_KEEP_FAILURES &&
		is_plain_success(ending) && stands_alone(run) && !js_callback_is_due(ending) &&
		js_left_nothing_note(table, run->run_id, run->owner) && !is_named(run->run_id))
		return true;
	/* Also what a transaction has said that could not commit. */
	js_left_nothing_withdraw(table, run->run_id, run->owner);
	return false;
}
