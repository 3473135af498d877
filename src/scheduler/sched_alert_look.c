/*-------------------------------------------------------------------------
 *
 * sched_alert_look.c
 *		Conditions of time: late, no_success_for, waits_longer_than,
 *		runs_longer_than.
 *
 * Nothing is polled.  Each job that has such a condition is looked at when something
 * of it has changed (a run has got another place, its slot has moved, it has been
 * paused), and when the first of its conditions may begin to hold, for which it is in
 * a heap.  What there is to see is in the memory of runs:
 *
 *		late			a run of a slot that has not begun, or a slot that has come
 *						and has no run yet
 *		waits_longer	a run whose time has come and that no worker has
 *		runs_longer		a run that a worker has, or that waits for its children; since
 *						its attempt began
 *		no_success		the last success, or when the job was created
 *
 * A job that somebody has paused, and one whose schedule is disabled, is not late,
 * does not wait, and its time without success does not count: that begins anew when it
 * goes on, which is kept in the state (counts_from).  One that its failures have
 * paused is late, and has no success.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched_alert.h"
#include "utils/timestamp.h"

/* Jobs looked at, and runs, in one step; and runs of one job. */
#define MAX_LOOKED 1000
#define MAX_RUNS 20000
#define RUNS_OF_JOB 10000

/* After a long look at a job there is none for a while; by the real clock. */
#define LONG_LOOK 200
#define LOOK_US (200 * 1000)

/* The oldest ones; DT_NOEND: there is none. */
typedef struct Facts
{
	TimestampTz waits_since;
	int64		waits;
	TimestampTz runs_since;
	int64		runs;
	TimestampTz slot;
	int64		slot_run;
} Facts;

static bool
waits(const RunEntry *run, TimestampTz now)
{
	return (run->state == RUN_READY || run->state == RUN_LIMITED || run->state == RUN_BEHIND ||
			run->state == RUN_HELD) && run->run_at <= now;
}

static void
note_oldest(TimestampTz *since, int64 *run_id, TimestampTz at, const RunEntry *run)
{
	if (at >= *since)
		return;
	*since = at;
	*run_id = run->run_id;
}

static void
see_run(const RunEntry *run, Facts *facts, TimestampTz now)
{
	if (run->callback || run->batch != NULL || run->of_step || run->cut_off || run->superseded)
		return;
	if (run->state == RUN_ASSIGNED || run->state == RUN_PARENT)
		note_oldest(&facts->runs_since, &facts->runs, run->since, run);
	else if (waits(run, now))
	{
		note_oldest(&facts->waits_since, &facts->waits, Max(run->run_at, run->since), run);
		if (run->of_slot && run->attempt == 0)
			note_oldest(&facts->slot, &facts->slot_run, run->run_at, run);
	}
	else if (run->state == RUN_FUTURE && run->of_slot && run->attempt == 0)
		note_oldest(&facts->slot, &facts->slot_run, run->run_at, run);
}

/* Returns how many runs have been looked at. */
static int
see_job(const JobEntry *job, Facts *facts, TimestampTz now)
{
	int			seen = 0;
	dlist_iter	iter;

	facts->waits_since = facts->runs_since = facts->slot = DT_NOEND;
	facts->waits = facts->runs = facts->slot_run = 0;
	dlist_foreach(iter, (dlist_head *) &job->runs)
	{
		if (seen++ == RUNS_OF_JOB)
			break;
		see_run(dlist_container(RunEntry, job_node, iter.cur), facts, now);
	}
	if (job->has_schedule && job->next_run_at < facts->slot)
	{
		facts->slot = job->next_run_at;
		facts->slot_run = 0;
	}
	return seen;
}

/* Somebody has seen to it that it does not run. */
static bool
is_held(const JobEntry *job)
{
	return job->paused || job->invalid || (job->has_schedule && !job->enabled);
}

static bool
is_paused(const JobEntry *job)
{
	return job->paused || job->invalid;
}

/* Something may hold from since on for longer than it should; returns when that is seen next. */
static TimestampTz
check(JobAlerts *job, Alert *alert, JsAlertCondition condition, TimestampTz since, int64 run_id, TimestampTz now)
{
	AlertState *state = sched_alert_state(&alert->id, job->job->job_id, condition);
	TimestampTz deadline = sched_alert_later(since, alert->spans[condition]);

	if (state != NULL && state->gone)
		state = NULL;
	if (deadline > now)
	{
		if (state != NULL && state->row.firing)
			sched_alert_resolve(state, now);
		return deadline;
	}
	if (state == NULL)
		state = sched_alert_state_open(alert, job->job->job_id, condition);
	if (!state->row.firing)
	{
		sched_alert_fire(state, deadline, now);
		state->row.last_run_id = run_id;
		state->row.last_at = since;
	}
	return DT_NOEND;
}

/* Since when the job has had no success that there should have been. */
static TimestampTz
no_success_since(JobAlerts *job, Alert *alert, bool goes_on, TimestampTz now)
{
	AlertState *state = sched_alert_state(&alert->id, job->job->job_id, JS_ALERT_NO_SUCCESS);

	if (is_held(job->job))
		return DT_NOEND;
	if (goes_on)
	{
		state = sched_alert_state_open(alert, job->job->job_id, JS_ALERT_NO_SUCCESS);
		state->row.counts_from = now;
		sched_alert_state_touch(state);
	}
	if (state == NULL || state->gone || state->row.counts_from > now)
		return Min(job->success_at, now);
	return Min(Max(job->success_at, state->row.counts_from), now);
}

static TimestampTz
look_for(JobAlerts *job, Alert *alert, const Facts *facts, bool goes_on, TimestampTz now)
{
	TimestampTz next = DT_NOEND;
	bool		held = is_held(job->job);
	bool		paused = is_paused(job->job);

	if (alert->spans[JS_ALERT_LATE] > 0)
		next = Min(next, check(job, alert, JS_ALERT_LATE, held ? DT_NOEND : facts->slot, facts->slot_run, now));
	if (alert->spans[JS_ALERT_WAITS_LONGER] > 0)
		next = Min(next, check(job, alert, JS_ALERT_WAITS_LONGER, paused ? DT_NOEND : facts->waits_since,
							   facts->waits, now));
	if (alert->spans[JS_ALERT_RUNS_LONGER] > 0)
		next = Min(next, check(job, alert, JS_ALERT_RUNS_LONGER, facts->runs_since, facts->runs, now));
	if (alert->spans[JS_ALERT_NO_SUCCESS] > 0)
		next = Min(next, check(job, alert, JS_ALERT_NO_SUCCESS, no_success_since(job, alert, goes_on, now), 0, now));
	return next;
}

static int
look_at(JobAlerts *job, TimestampTz now)
{
	TimestampTz next = DT_NOEND;
	bool		held = is_held(job->job);
	bool		goes_on = job->looked && job->was_held && !held;
	Facts		facts;
	int			seen = see_job(job->job, &facts, now);

	for (int i = 0; i < job->nwatches; i++)
		next = Min(next, look_for(job, job->watches[i].alert, &facts, goes_on, now));
	job->was_held = held;
	job->looked = true;
	sched_alert_set_timer(job, next);
	if (seen > LONG_LOOK)
		job->look_after = GetCurrentTimestamp() + LOOK_US;
	return seen;
}

/* Those whose last look was long wait a while, in the line; by the real clock. */
static bool
is_too_early(const JobAlerts *job, TimestampTz real_now)
{
	return job->look_after > real_now && job->look_after - real_now <= LOOK_US;
}

static TimestampTz look_again_at = 0;	/* by the real clock */

TimestampTz
sched_alerts_look_after(void)
{
	if (!sched_alert_looks_wait())
		return DT_NOEND;
	/* The clock was set back. */
	if (look_again_at - GetCurrentTimestamp() > LOOK_US)
		look_again_at = 0;
	return look_again_at;
}

/* False: there is more to be looked at. */
bool
sched_alerts_look(TimestampTz now)
{
	TimestampTz real_now = GetCurrentTimestamp();
	int			looked = 0;
	int			runs = 0;
	int			put_off = 0;
	List	   *later = NIL;
	ListCell   *lc;
	JobAlerts  *job;

	while (looked < MAX_LOOKED && runs < MAX_RUNS &&
		   (job = sched_alert_first_timer()) != NULL && job->timer <= now)
	{
		sched_alert_set_timer(job, DT_NOEND);
		runs += look_at(job, now);
		looked++;
	}
	while (looked < MAX_LOOKED && runs < MAX_RUNS && put_off < MAX_LOOKED &&
		   (job = sched_alert_next_look()) != NULL)
	{
		if (is_too_early(job, real_now))
		{
			later = lappend(later, job);
			put_off++;
			continue;
		}
		runs += look_at(job, now);
		looked++;
	}
	foreach(lc, later)
		sched_alert_note_look(lfirst(lc));
	list_free(later);
	look_again_at = looked < MAX_LOOKED && runs < MAX_RUNS && put_off < MAX_LOOKED ? real_now + LOOK_US : 0;
	job = sched_alert_first_timer();
	return look_again_at != 0 && (job == NULL || job->timer > now);
}
