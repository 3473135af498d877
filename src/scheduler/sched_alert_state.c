/*-------------------------------------------------------------------------
 *
 * sched_alert_state.c
 *		States of alerts: what lets one fire, and what ends it.
 *
 * All of this happens in memory, also between transactions.  What has changed is
 * written by sched_alert_write.c before anybody is told of it.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched_alert.h"
#include "shmem/clock.h"
#include "store/store_names.h"
#include "utils/timestamp.h"

/* Whether a channel is yet to be told of it, but for reminders. */
bool
sched_alert_is_pending(const AlertState *state, const AlertLink *link)
{
	const JsAlertState *row = &state->row;

	if (state->gone || row->held || row->fired_seq == 0 || row->seq <= link->told_seq)
		return false;
	/* What has fired is told once, even if it is over by then. */
	return row->firing || row->fired_seq > link->told_seq || state->alert->resolved;
}

/* Whether every channel has been told, and nothing can bring that back. */
bool
sched_alert_is_told(const AlertState *state)
{
	if (state->row.held)
		return false;
	for (int i = 0; i < state->alert->nlinks; i++)
	{
		AlertLink  *link = state->alert->links[i];

		if (sched_alert_is_pending(state, link) ||
			(link->told_before < state->row.seq && link->told_before != link->told_seq))
			return false;
	}
	return true;
}

/* There is something to be told; at the earliest when others may have come to it. */
static void
announce(AlertState *state, TimestampTz now)
{
	TimestampTz due_at = sched_alert_later(now, state->alert->group_for);

	for (int i = 0; i < state->alert->nlinks; i++)
	{
		AlertChannel *channel = state->alert->links[i]->channel;

		if (due_at < channel->due_at && sched_alert_is_pending(state, state->alert->links[i]))
			sched_alert_set_due(channel, due_at, channel->remind_at);
	}
}

/* Channels are due when they would have been, had they been told of each change. */
void
sched_alert_recall_due(Alert *alert)
{
	TimestampTz now = js_clock_now();
	dlist_iter	iter;

	dlist_foreach(iter, &alert->states)
	{
		AlertState *state = dlist_container(AlertState, node, iter.cur);
		TimestampTz changed_at = Min(state->row.changed_at, now);
		TimestampTz due_at = changed_at == DT_NOBEGIN ? now : sched_alert_later(changed_at, alert->group_for);

		for (int i = 0; i < alert->nlinks; i++)
		{
			AlertChannel *channel = alert->links[i]->channel;

			if (due_at < channel->due_at && sched_alert_is_pending(state, alert->links[i]))
				sched_alert_set_due(channel, due_at, channel->remind_at);
		}
	}
	sched_alert_note_clean(alert);
}

/* It is to be told, or told anew. */
void
sched_alert_changed(AlertState *state, TimestampTz now)
{
	state->row.seq = ++sched_alert_seq;
	state->row.changed_at = now;
	state->row.held = sched_alert_is_muted(state->alert, state->key.job_id, now);
	state->alert->some_held |= state->row.held;
	sched_alert_state_touch(state);
	sched_alert_note_clean(state->alert);
	announce(state, now);
}

/* Whether what it has counted so far is told, or nobody's to be told. */
static bool
is_over(const AlertState *state)
{
	if (state->row.fired_seq == 0)
		return true;
	if (state->row.held)
		return false;
	for (int i = 0; i < state->alert->nlinks; i++)
		if (sched_alert_is_pending(state, state->alert->links[i]))
			return false;
	return true;
}

/* What comes now is told by itself. */
static void
count_anew(AlertState *state, TimestampTz since)
{
	state->row.since = state->row.first_at = since;
	state->row.count = 0;
}

/*
 * It begins to fire.  If some channel has not been told yet that it was over, it
 * goes on: what has been counted stays.
 */
void
sched_alert_fire(AlertState *state, TimestampTz since, TimestampTz now)
{
	JsAlertState *row = &state->row;

	if (row->held && !row->firing && row->fired_seq != 0)
	{
		/* That it was over has been told nobody. */
		row->firing = true;
		row->held = false;
		row->until = DT_NOBEGIN;
		sched_alert_state_touch(state);
		return;
	}
	if (is_over(state))
		count_anew(state, since);
	row->firing = true;
	row->until = DT_NOBEGIN;
	row->fired_seq = sched_alert_seq + 1;
	sched_alert_changed(state, now);
}

/* Whether some channel has been told that it fires. */
static bool
was_told(const AlertState *state)
{
	for (int i = 0; i < state->alert->nlinks; i++)
		if (state->alert->links[i]->told_seq >= state->row.fired_seq)
			return true;
	return false;
}

/* What it fired for does not hold any more.  If nobody was told before it was muted, that was nothing. */
void
sched_alert_resolve(AlertState *state, TimestampTz now)
{
	if (state->row.held && state->row.firing && !was_told(state))
	{
		state->row.firing = false;
		sched_alert_state_drop(state);
		return;
	}
	state->row.firing = false;
	state->row.until = now;
	sched_alert_changed(state, now);
}

/* Nothing will come of it any more: the alert does not concern the job, or has lost the condition. */
void
sched_alert_stop(AlertState *state, TimestampTz now)
{
	if (state->row.firing)
		sched_alert_resolve(state, now);
	else if (state->row.fired_seq == 0)
		sched_alert_state_drop(state);
	state->row.streak = 0;
	state->row.nfailed_at = 0;
}

/* ------------------------------------------------------------------------
 * Ends of runs
 * ------------------------------------------------------------------------
 */

/* The instants of the newest failures, as many as it takes; returns how many are near enough. */
static int
note_instant(AlertState *state, const Alert *alert, TimestampTz at)
{
	JsAlertState *row = &state->row;
	int			most = Min(alert->threshold, JS_MAX_ALERT_WITHIN);
	int			from = 0;

	if (row->failed_at == NULL)
		row->failed_at = MemoryContextAlloc(sched.context, JS_MAX_ALERT_WITHIN * sizeof(int64));
	while (from < row->nfailed_at &&
		   (row->nfailed_at - from >= most || sched_alert_later(row->failed_at[from], alert->within) < at))
		from++;
	row->nfailed_at -= from;
	memmove(row->failed_at, row->failed_at + from, row->nfailed_at * sizeof(int64));
	row->failed_at[row->nfailed_at++] = at;
	return row->nfailed_at;
}

/* Whether the failures that there have been are enough; and how many they are, since when. */
static bool
is_enough(AlertState *state, const Alert *alert, TimestampTz at, int64 *count, TimestampTz *since)
{
	JsAlertState *row = &state->row;

	if (row->streak++ == 0)
		row->streak_from = at;
	*count = row->streak;
	*since = row->streak_from;
	if (alert->within == 0)
		return row->streak >= alert->threshold;
	*count = note_instant(state, alert, at);
	*since = row->failed_at[0];
	return *count >= alert->threshold;
}

static void
fail(Alert *alert, int64 job_id, const AlertEnd *end)
{
	AlertState *state = sched_alert_state_open(alert, job_id, JS_ALERT_FAILURES);
	JsAlertState *row = &state->row;
	TimestampTz since;
	int64		count;
	bool		enough = is_enough(state, alert, end->finished_at, &count, &since);

	row->last_at = end->finished_at;
	row->last_run_id = end->run_id;
	sched_alert_state_text(&row->status, js_status_name(end->status));
	state->unread = state->by_end = true;
	sched_alert_state_touch(state);
	if (row->firing && !alert->every_failure)
		row->count++;
	else if (enough)
	{
		sched_alert_fire(state, alert->every_failure ? end->finished_at : since, js_clock_now());
		row->count += alert->every_failure ? 1 : count;
	}
}

static void
succeed(const Alert *alert, int64 job_id)
{
	AlertState *state = sched_alert_state(&alert->id, job_id, JS_ALERT_FAILURES);

	if (state == NULL || state->gone)
		return;
	state->row.streak = 0;
	state->row.streak_from = DT_NOBEGIN;
	state->by_end = true;
	sched_alert_state_touch(state);
	if (state->row.firing && !alert->every_failure)
	{
		state->row.nfailed_at = 0;
		sched_alert_resolve(state, js_clock_now());
	}
	else if (state->row.fired_seq == 0 && (alert->within == 0 || state->row.nfailed_at == 0))
		sched_alert_state_drop(state);
}

/* There was a success: what waits for one is over at once. */
static void
end_wait(const Alert *alert, int64 job_id)
{
	AlertState *state = sched_alert_state(&alert->id, job_id, JS_ALERT_NO_SUCCESS);

	if (state == NULL || state->gone)
		return;
	state->row.counts_from = DT_NOBEGIN;
	state->by_end = true;
	sched_alert_state_touch(state);
	if (state->row.firing)
		sched_alert_resolve(state, js_clock_now());
	else if (state->row.fired_seq == 0)
		sched_alert_state_drop(state);
}

/* A run of a job has ended, and that is told to the alerts that concern it. */
void
sched_alert_take_end(JobAlerts *alerts, const AlertEnd *end)
{
	for (int i = 0; i < alerts->nwatches; i++)
	{
		Alert	   *alert = alerts->watches[i].alert;

		if (end->status == JS_SUCCEEDED)
		{
			succeed(alert, alerts->job->job_id);
			end_wait(alert, alerts->job->job_id);
		}
		else if ((alert->statuses & (1U << end->status)) != 0)
			fail(alert, alerts->job->job_id, end);
	}
	if (end->status == JS_SUCCEEDED && end->finished_at > alerts->success_at)
		alerts->success_at = end->finished_at;
	sched_alert_note_look(alerts);
}

static AlertEnd
end_of(const JobEntry *job, const JsDone *done)
{
	AlertEnd	end = {0};

	end.job_id = job->job_id;
	end.run_id = done->run_id;
	end.status = done->status;
	end.finished_at = done->finished_at;
	return end;
}

/*
 * The same, if any concern it; and what a step does, or a run that one has queued,
 * is for its workflow to tell.
 */
void
sched_alert_ended(JobEntry *job, const RunEntry *run, const JsDone *done)
{
	AlertEnd	end;

	if (run != NULL && run->of_step)
		return;
	end = end_of(job, done);
	end.unsure = run == NULL && (done->status != JS_SKIPPED && done->status != JS_MISSED);

	/*
	 * Those of a job are taken in their order: a success does not overtake a
	 * failure that waits.
	 */
	if (job->alerts_stale || sched_alerts_stale || end.unsure || (job->alerts != NULL && sched_alert_ends_wait()))
		sched_alert_keep_end(&end);
	else if (job->alerts != NULL)
		sched_alert_take_end(job->alerts, &end);
}

/* The job leaves the memory. */
void
sched_alert_forget(JobEntry *job)
{
	TimestampTz now = js_clock_now();

	if (job->alerts == NULL)
		return;
	for (int i = 0; i < job->alerts->nwatches; i++)
		for (int k = 0; k < JS_ALERT_CONDITIONS; k++)
		{
			AlertState *state = sched_alert_state(&job->alerts->watches[i].alert->id, job->job_id,
												  (JsAlertCondition) k);

			if (state != NULL && !state->gone)
				sched_alert_stop(state, now);
		}
	sched_alert_attach(job, NULL, 0);
}
