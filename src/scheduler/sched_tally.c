/*-------------------------------------------------------------------------
 *
 * sched_tally.c
 *		The tally of outcomes: from the ends of runs to the states of their
 *		jobs.
 *
 * If workers wrote their job's state with each run, all runs of one job would
 * wait for one another.  So the scheduler adds outcomes to a tally here and
 * writes it a few times a second: a job that runs a thousand times has one new
 * row version.  What a crash loses of the tally is read back from history.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "store/catalog.h"
#include "store/store_names.h"
#include "utils/timestamp.h"

#define MAX_RECOVERED_JOBS 10000

/* A run that ends this long after one that is tallied may not be. */
#define TALLY_SLACK (60 * USECS_PER_SEC)

static char
outcome_letter(JsStatus status)
{
	static const char letters[] = {
		[JS_SUCCEEDED] = '.',[JS_FAILED] = 'F',[JS_CANCELLED] = 'X',
		[JS_TIMED_OUT] = 'T',[JS_LOST] = 'L',[JS_SKIPPED] = 'S',[JS_MISSED] = 'M'
	};

	return letters[status];
}

static bool
is_failure(JsStatus status)
{
	return status == JS_FAILED || status == JS_TIMED_OUT || status == JS_LOST;
}

/* Appends to a strip of outcomes, dropping the oldest. */
static void
append_recent(char *recent, const char *letters)
{
	int			have = strlen(recent);
	int			add = strlen(letters);
	int			drop = Max(have + add - JS_RECENT_SIZE, 0);

	memmove(recent, recent + drop, have - drop + 1);
	strcat(recent, letters);
}

static void
note_run_time(JobEntry *job, const JsDone *done)
{
	int64		us = Min(Max(done->finished_at - done->started_at, 1), PG_INT32_MAX);
	OwnerEntry *owner = sched_owner(job->owner, job->http);

	job->mean_us = job->mean_us < 0 ? us : (job->mean_us * INT64CONST(7) + us) / 8;
	owner->mean_us = owner->mean_us == 0 ? us : (owner->mean_us * INT64CONST(7) + us) / 8;
}

/* The job's sum of outcomes, begun if there is none. */
static JobTally *
open_tally(JobEntry *job)
{
	if (job->tally == NULL)
	{
		job->tally = MemoryContextAllocZero(sched.context, sizeof(JobTally));
		job->tally->job = job;
		slist_push_head(&sched.tallies, &job->tally->node);
		if (sched.tallies_since == 0)
			sched.tallies_since = GetCurrentTimestamp();
	}
	return job->tally;
}

static void
add_outcome(JobEntry *job, const JsDone *done)
{
	char		letter[2] = {outcome_letter(done->status), '\0'};
	JobTally   *tally = open_tally(job);

	append_recent(tally->recent, letter);
	if (done->finished_at >= tally->last.finished_at)
		tally->last = *done;
	if (done->status == JS_SUCCEEDED)
	{
		if (!tally->success_seen || done->finished_at > tally->succeeded_at)
			tally->succeeded_at = done->finished_at;
		tally->success_seen = true;
		tally->succeeded_run = done->run_id;
		tally->failures = 0;
		job->failing = false;
		if (sched_is_predecessor(job))
			sched.tallies_since = 1;	/* others wait for it */
	}
	else if (is_failure(done->status))
	{
		tally->failures++;
		job->failing = true;
		tally->failed_run = done->run_id;
		if (job->pause_after_failures > 0)
			sched.tallies_since = 1;	/* before it starts another */
	}
	if (done->gone != 0)
	{
		tally->gone = done->gone;
		tally->gone_run = done->run_id;
		sched.tallies_since = 1;
	}
	if (done->started_at != DT_NOBEGIN && !done->waits)
		note_run_time(job, done);
}

/*
 * Whether the end of a run says something of its job: not that of a callback or a
 * batch, nor that another took its place before it began.
 */
static bool
counts(const RunEntry *run, const JsDone *done)
{
	return run == NULL ||
		(!run->callback && run->batch == NULL && !(run->superseded && done->started_at == DT_NOBEGIN));
}

/*
 * Takes note that a run has ended, whoever has recorded that: its outcome is
 * added up, its limits are released, runs that wait for it, and children of its,
 * are seen to in the next step, and sessions that wait for it are told; if it is added up, not before
 * that is due (step_in_transaction()).  Either of run and
 * job may be unknown (NULL).
 */
void
sched_run_ended(RunEntry *run, JobEntry *job, const JsDone *done)
{
	bool		added = job != NULL && counts(run, done);

	sched_after_tell(done->run_id, done->status, done->finished_at);
	sched_children_tell(done->run_id);
	if (added)
		sched_stats_note(run, job, done);
	if (added && sched_alert_may_concern(job))
		sched_alert_ended(job, run, done);
	if (run != NULL)
	{
		run->keeps_parents &= done->status != JS_SUCCEEDED;
		sched_run_forget(run);
	}
	if (job != NULL)
		sched_channel_ended(job, done->status);
	if (added)
		add_outcome(job, done);
	else if (pg_atomic_read_u32(&sched.db->waiters) > 0)
		ConditionVariableBroadcast(&sched.db->finished);
}

static void
await_children(RunEntry *run, const JsDone *done)
{
	if (run != NULL)
		note_run_time(run->job, done);
	sched_run_await_children(run, done->has_steps ? done->started_at : DT_NOBEGIN);
}

/* A worker has made its request ready; it is as if it had not been claimed. */
static void
note_ready(RunEntry *run, const JsDone *done)
{
	if (run == NULL)
		return;
	run->looks = false;
	run->attempt = done->attempt;
	sched_run_retry(run, done->retry_at);
}

/* There will be another one. */
static void
note_retry(RunEntry *run, const JsDone *done)
{
	if (run != NULL && done->awaits)
		sched_event_go_on(run, done->depth);
	sched_run_retry(run, done->retry_at);
}

/* What has come of an attempt. */
void
sched_take_outcome(const JsDone *done)
{
	RunEntry   *run = sched_run_find(done->run_id);

	if (!done->recorded)
		sched_run_put_off(run);
	else if (done->waits)
		await_children(run, done);
	else if (done->looked)
		note_ready(run, done);
	else if (done->retry_at != 0)
		note_retry(run, done);
	else
		sched_run_ended(run, sched_job_find(done->job_id), done);
}

/*
 * Pauses the job if it has failed too often, not counting what was before the
 * last time that it was paused for that.  It holds for this revision of the
 * job: whatever changes its row, resume_job() for one, lets it go on.
 */
static void
brake(JsJobState *state, const JobEntry *job, int64 failed_run)
{
	int32		failures = state->consecutive_failures - state->forgiven_failures;

	if (state->auto_paused_revision == job->revision)
		state->forgiven_failures = state->consecutive_failures;
	else if (job->pause_after_failures > 0 && failures >= job->pause_after_failures)
	{
		state->auto_paused_revision = job->revision;
		state->auto_paused_reason =
			psprintf("paused after %d consecutive failures (last: run " INT64_FORMAT ")",
					 failures, failed_run);
		state->forgiven_failures = state->consecutive_failures;
	}
}

/*
 * Likewise, for a job whose endpoint has answered 410 Gone, and for a channel whose
 * receiver has said that it wants no more (channel_body.c); not for a step, which
 * nobody could let go on.
 */
static void
disconnect(JsJobState *state, const JobEntry *job, int64 gone_run)
{
	if (job->is_step)
		return;
	state->auto_paused_revision = job->revision;
	state->auto_paused_reason = job->is_channel ?
		psprintf("disabled because its messages are refused for good (run " INT64_FORMAT ")", gone_run) :
		psprintf("paused because the server answered 410 Gone (run " INT64_FORMAT ")", gone_run);
}

/* The same in memory, once it is written: nothing of the job starts any more. */
static void
apply_brake(JobEntry *job)
{
	JsJobState	state;

	if (job->auto_paused || (job->pause_after_failures == 0 && !job->http) ||
		!js_job_state_read(job->job_id, &state) || state.auto_paused_revision != job->revision)
		return;
	ereport(LOG,
			(errmsg("job " INT64_FORMAT " is %s", job->job_id, state.auto_paused_reason)));
	job->auto_paused = true;
	sched_job_set_next(job, job->next_run_at);
	sched_job_place_runs(job);
	if (job->has_steps)
		sched_reload_steps(job->job_id);
	sched_take_back_all();
}

/*
 * The last success is the one of which we have heard last; of those that ended before
 * the latest one we cannot tell after a crash whether we had.  An instant that is
 * yet to come is from before the clock was set back.
 */
static void
add_success(JsJobState *state, int64 run_id, TimestampTz finished_at)
{
	state->succeeded_run_id = run_id;
	if (finished_at > state->succeeded_at || state->succeeded_at > js_clock_now())
		state->succeeded_at = finished_at;
}

static void
add_tally(JsJobState *state, const void *arg)
{
	const JobTally *tally = arg;

	append_recent(state->recent, tally->recent);
	state->last_run_id = tally->last.run_id;
	state->last_status = (char *) js_status_name(tally->last.status);
	state->last_started_at = tally->last.started_at;
	state->last_finished_at = tally->last.finished_at;
	state->consecutive_failures = tally->failures +
		(tally->success_seen ? 0 : state->consecutive_failures);
	if (tally->success_seen)
	{
		add_success(state, tally->succeeded_run, tally->succeeded_at);
		state->forgiven_failures = 0;
	}
	if (tally->failures > 0)
		brake(state, tally->job, tally->failed_run);
	if (tally->gone != 0 && tally->gone == tally->job->revision)
		disconnect(state, tally->job, tally->gone_run);
}

/* Those whose row somebody else holds stay for the next time. */
void
sched_tally_write(void)
{
	slist_head	tallies = sched.tallies;

	slist_init(&sched.tallies);
	sched.tallies_since = 0;
	while (!slist_is_empty(&tallies))
	{
		JobTally   *tally = slist_container(JobTally, node, slist_pop_head_node(&tallies));
		JobEntry   *job = tally->job;

		if (!js_job_state_change(job->job_id, add_tally, tally))
		{
			slist_push_head(&sched.tallies, &tally->node);
			sched.tallies_since = GetCurrentTimestamp() + USECS_PER_SEC;
			continue;
		}
		if (tally->success_seen)
			sched_predecessor_tell(job);
		job->tally = NULL;
		pfree(tally);
		apply_brake(job);
		if (job->dropped && !job->drop_noted && dlist_is_empty(&job->runs))
		{
			sched_total_note_gone(job);
			sched_job_forget(job);
		}
	}
}

/* ------------------------------------------------------------------------
 * After a start
 * ------------------------------------------------------------------------
 */

/*
 * Whose outcomes are read back.  The state of a job that is at home elsewhere is
 * written there; here it may be about to arrive, after its history, as a subscription
 * copies table by table.
 */
typedef struct Recovery
{
	bool		woken;			/* only of jobs that were asleep until now */
	TimestampTz last;			/* the newest outcome that is tallied */
} Recovery;

static bool
is_recovered(const Recovery *recovery, const JobEntry *job)
{
	return job != NULL && !job->asleep && (!recovery->woken || (job->woken && job->tally == NULL));
}

static void
last_tallied(const JsJobState *state, void *arg)
{
	Recovery   *recovery = arg;

	if (is_recovered(recovery, sched_job_find(state->job_id)) &&
		state->last_finished_at > recovery->last)
		recovery->last = state->last_finished_at;
}

static int
compare_ended(const void *a, const void *b)
{
	const JsEnded *x = a;
	const JsEnded *y = b;

	if (x->finished_at != y->finished_at)
		return x->finished_at < y->finished_at ? -1 : 1;
	return x->run_id < y->run_id ? -1 : 1;
}

/* The last runs of a job, oldest first. */
typedef struct LastRuns
{
	JobEntry   *job;
	TimestampTz now;
	JsEnded		ended[JS_RECENT_SIZE];
	int			count;
} LastRuns;

/* What the tally has not heard of, alerts have not either (sched_alert_write.c). */
static void
tell_alerts(JobEntry *job, const JsEnded *ended)
{
	JsDone		done = {0};

	if (!sched_alert_may_concern(job))
		return;
	done.run_id = ended->run_id;
	done.status = ended->status;
	done.started_at = ended->started_at;
	done.finished_at = ended->finished_at;
	sched_alert_ended(job, NULL, &done);
}

/*
 * Adds what has ended since the last outcome that is tallied.  The failures before
 * are not counted anew: the newest runs are not those that have ended last,
 * and a success of an older one is not here.  What has ended in the future was
 * tallied before the clock was set back.
 */
static void
apply_ended(JsJobState *state, const void *arg)
{
	const LastRuns *runs = arg;
	TimestampTz tallied = state->last_finished_at;
	int64		failed_run = 0;
	int64		gone_run = 0;

	/* Of a job that keeps failures only the rows are not all that there was. */
	if (!runs->job->keeps_failures)
		state->recent[0] = '\0';
	for (int i = 0; i < runs->count; i++)
	{
		const JsEnded *ended = &runs->ended[i];
		char		letter[2] = {outcome_letter(ended->status), '\0'};

		bool		is_new = ended->finished_at > tallied && ended->finished_at <= runs->now;

		if (is_new || !runs->job->keeps_failures)
			append_recent(state->recent, letter);
		if (!is_new)
			continue;
		state->last_run_id = ended->run_id;
		state->last_status = (char *) js_status_name(ended->status);
		state->last_started_at = ended->started_at;
		state->last_finished_at = ended->finished_at;
		tell_alerts(runs->job, ended);
		if (ended->gone)
			gone_run = ended->run_id;
		if (ended->status == JS_SUCCEEDED)
			state->consecutive_failures = state->forgiven_failures = failed_run = 0;
		else if (is_failure(ended->status))
		{
			state->consecutive_failures++;
			failed_run = ended->run_id;
		}
	}
	runs->job->failing = state->consecutive_failures > 0;
	if (failed_run != 0)
		brake(state, runs->job, failed_run);
	if (gone_run != 0)
		disconnect(state, runs->job, gone_run);
}

static void
recover_job(JobEntry *job)
{
	LastRuns	runs;

	runs.job = job;
	runs.now = js_clock_now();
	runs.count = js_catalog_last_ended(job->job_id, runs.ended);
	if (runs.count == 0)
		return;
	qsort(runs.ended, runs.count, sizeof(JsEnded), compare_ended);
	if (js_job_state_change(job->job_id, apply_ended, &runs))
		apply_brake(job);
}

/* A success that was later than all that are tallied is not. */
static void
apply_success(JsJobState *state, const void *arg)
{
	const JsSuccess *success = arg;

	if (success->finished_at > state->succeeded_at)
		add_success(state, success->run_id, success->finished_at);
}

/* Of jobs that others come after no success is lost, however many runs have ended since. */
static void
recover_successes(const Recovery *recovery, TimestampTz since)
{
	ListCell   *lc;

	foreach(lc, js_catalog_successes_between(since, js_clock_now(), MAX_RECOVERED_JOBS))
	{
		const JsSuccess *success = lfirst(lc);
		JobEntry   *job = sched_job_find(success->job_id);

		if (is_recovered(recovery, job) &&
			js_job_state_change(job->job_id, apply_success, success))
			sched_predecessor_tell(job);
	}
}

/*
 * Outcomes are tallied in the order in which they came, so only what ended about
 * when the newest tallied one did, or later, can be missing.
 */
static void
recover(Recovery *recovery)
{
	TimestampTz since;
	ListCell   *lc;

	recovery->last = DT_NOBEGIN;
	js_job_states_visit(last_tallied, recovery);
	since = recovery->last == DT_NOBEGIN ? DT_NOBEGIN : recovery->last - TALLY_SLACK;
	foreach(lc, js_catalog_jobs_ended_since(since, MAX_RECOVERED_JOBS))
	{
		JobEntry   *job = sched_job_find(*(int64 *) lfirst(lc));

		if (!is_recovered(recovery, job))
			continue;
		recover_job(job);
		sched_alerts_recover_some();
	}
	if (sched_has_predecessors())
		recover_successes(recovery, since);
}

/* Reads back from history what a predecessor had not tallied. */
void
sched_tally_recover(void)
{
	Recovery	recovery = {.woken = false};

	recover(&recovery);
}

static void
forget_woken(JobEntry *job, TimestampTz now)
{
	job->woken = false;
}

/*
 * The same for jobs that have come to be at home here, of which their former home
 * has not tallied everything.  Nothing of them has ended here yet.
 */
void
sched_tally_recover_woken(void)
{
	Recovery	recovery = {.woken = true};

	if (!sched.any_woken)
		return;
	recover(&recovery);
	sched_jobs_each(forget_woken, 0);
	sched.any_woken = false;
}
