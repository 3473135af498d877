/*-------------------------------------------------------------------------
 *
 * sched_alert.c
 *		Alerts: what is the matter with jobs, and who is told.
 *
 * DESIGN
 *
 * An alert is a state of a job: it fires from its condition until that does not hold
 * any more, and each change is told to its channels.  A message is a run of the
 * channel's job (sched_channel.c), so retries, limits, history and dead letters are
 * those of runs.
 *
 * DATA FLOW
 *
 *		set_alert() --> row of alert --> news --> read (sched_alert_define.c)
 *			--> jobs of its owner are matched, in portions: which alerts concern each
 *		a run ends --> sched_run_ended(), the one door --> sched_alert_ended()
 *			--> the states of the alerts that concern its job, in memory
 *		a run gets another place, a slot moves, a job is paused: it is looked at
 *			(sched_alert_look.c); or when the first condition of time begins to hold
 *		a state has changed --> its row is written, that of failures with the tally
 *			(sched_alert_write.c); its channels are due when group_for has passed
 *		a channel is due, and can take a message --> one about all that it has not been
 *			told, and in the same transaction what it has been told
 *			(sched_alert_send.c, sched_alert_text.c)
 *		the message has ended --> what comes next may be told; what has been told, and
 *			is over, is forgotten
 *
 * A job that no alert concerns costs the test of a pointer.  The files below this one
 * know nothing of it: sched_alert_memory.c has what they share, sched_alert_state.c
 * what a state becomes.
 *
 * INVARIANTS
 *
 *	- Each change of a state has a number, and the row of alert_told of an alert and a
 *	  channel the number up to which that has been told.  So what is to be told can be
 *	  seen from the rows, and to tell of a hundred thousand states is to write one row
 *	  for each alert.
 *	- A channel has one message under way at most.  What changes meanwhile is in the
 *	  states, and the next message tells it: counts are added up there, nothing queues.
 *	- A message speaks of states only as their rows have them.
 *	- A state that is over is forgotten when all channels have been told so by messages
 *	  that have ended.
 *	- What fires is told once, even if it is over by then.  What fires and is over while
 *	  it is muted is not told.
 *	- Runs of channels, of callbacks and of steps make no state: the workflow does.  An
 *	  attempt that is followed by another does not come here.
 *	- Only definitions, mutes, states and what has been told are in tables; which alert
 *	  concerns which job, and all instants, are derived anew at a start.
 *
 * LOCKS
 *
 * The scheduler waits for nobody: a row that somebody holds is left alone, and written
 * a second later.  It runs no code of users; patterns, and metadata that is looked for,
 * are small enough to be compared here (alert.c), and so many in a step.
 *
 * KILL -9
 *
 *		after the end of a run, before		history tells the tally, and that the states
 *		the tally								(sched_tally.c)
 *		after the tally						its states are in the same transaction
 *		a condition of time holds, before	the job is looked at after a start
 *		its state is written
 *		after it							the channel is due when it would have been
 *		the message is queued				with what has been told: one transaction
 *		it is being sent					as any run; its id is in its arguments, so a
 *											repeat can be told
 *		it has ended, before we know		history tells whether it succeeded
 *
 * Of more than JS_RECENT_SIZE runs of one job that ended in the last 50 ms before a
 * crash only the newest are read back, as by the tally.  Ends that wait for a definition
 * that has changed to be read, which takes a tenth of the time at most, or for their turn
 * after that, are lost in a crash if the tally has them.  There is room for so many of
 * them; the log says how many there were more.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched_alert.h"
#include "shmem/clock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Alerts tidied up in one step. */
#define MAX_CLEANED 100

/* Ends of runs in one step; where a job is to be matched first its comparisons count too. */
#define MAX_TAKEN 20000

static TimestampTz next_unmute = DT_NOEND;
static bool loaded = false;

/* ------------------------------------------------------------------------
 * Mutes
 * ------------------------------------------------------------------------
 */

static void
note_mutes(Alert *alert)
{
	TimestampTz now = js_clock_now();

	for (int i = 0; i < alert->nmutes; i++)
		if (alert->mutes[i].until > now)
			next_unmute = Min(next_unmute, alert->mutes[i].until);
}

static void
release_held(Alert *alert)
{
	TimestampTz now = js_clock_now();
	dlist_iter	iter;

	if (!alert->some_held)
		return;
	alert->some_held = false;
	dlist_foreach(iter, &alert->states)
	{
		AlertState *state = dlist_container(AlertState, node, iter.cur);

		if (!state->row.held || state->gone)
			continue;
		if (sched_alert_is_muted(alert, state->key.job_id, now))
			alert->some_held = true;
		else
			sched_alert_changed(state, now);
	}
}

/* What has changed while it was muted, and still says something, is told. */
static void
unmute(void)
{
	next_unmute = DT_NOEND;
	sched_alerts_each(release_held);
	sched_alerts_each(note_mutes);
}

static bool
is_gone(int64 job_id)
{
	JsAlertJob	job;

	return job_id != 0 && sched_job_find(job_id) == NULL && !js_alert_job_read(job_id, false, &job);
}

static void
delete_mutes(Alert *alert)
{
	TimestampTz now = js_clock_now();

	for (int i = 0; i < alert->nmutes; i++)
		if (alert->mutes[i].until <= now || is_gone(alert->mutes[i].job_id))
			js_alert_mute_delete(&alert->id, alert->mutes[i].job_id, true);
}

/* ------------------------------------------------------------------------
 * What is over
 * ------------------------------------------------------------------------
 */

/* It counts failures that may become enough, or the time since a job goes on. */
static bool
counts(const AlertState *state)
{
	return state->row.streak > 0 || state->row.nfailed_at > 0 || state->row.counts_from != DT_NOBEGIN;
}

static void
begin_again(AlertState *state)
{
	JsAlertState *row = &state->row;

	row->firing = false;
	row->since = row->until = row->first_at = DT_NOBEGIN;
	row->count = row->fired_seq = 0;
	if (counts(state) && !state->alert->every_failure)
		sched_alert_state_touch(state);
	else
		sched_alert_state_drop(state);
}

static bool
is_over(const AlertState *state)
{
	bool		ends_when_told = state->alert->every_failure && state->row.condition == JS_ALERT_FAILURES;

	return !state->gone && state->row.fired_seq != 0 && (!state->row.firing || ends_when_told) &&
		sched_alert_is_told(state);
}

static void
clean(Alert *alert)
{
	dlist_iter	iter;

	dlist_foreach(iter, &alert->states)
	{
		AlertState *state = dlist_container(AlertState, node, iter.cur);

		if (is_over(state))
			begin_again(state);
	}
}

static void
clean_some(void)
{
	Alert	   *alert;

	for (int i = 0; i < MAX_CLEANED && (alert = sched_alert_next_clean()) != NULL; i++)
		clean(alert);
}

/* Failures that are too long ago to count. */
static void
forget_old(Alert *alert)
{
	TimestampTz now = js_clock_now();
	dlist_iter	iter;

	dlist_foreach(iter, &alert->states)
	{
		AlertState *state = dlist_container(AlertState, node, iter.cur);

		if (alert->within > 0 && state->row.condition == JS_ALERT_FAILURES && state->row.fired_seq == 0 &&
			sched_alert_later(state->row.last_at, alert->within) < now)
			sched_alert_state_drop(state);
	}
}

/* ------------------------------------------------------------------------
 * Ends of runs of jobs that had to be matched first
 * ------------------------------------------------------------------------
 */

static bool
is_of_step(const AlertEnd *end)
{
	JsOutcome	outcome = {0};
	JsRun		run = {0};

	return end->unsure && js_history_find_error(end->run_id, &run, &outcome) &&
		(run.source == JS_SOURCE_ITEM || run.source == JS_SOURCE_STEP);
}

/* What has ended after a definition was changed is for the one that is yet to be read. */
static bool
may_take_ends(void)
{
	return !sched_alerts_stale && sched_alert_ends_wait();
}

/* What it costs, where one that is known already costs 1. */
static int
take_end(const AlertEnd *end, TimestampTz now)
{
	JobEntry   *job = sched_job_find(end->job_id);
	int			cost = 1;

	if (job == NULL)
		return cost;
	cost += sched_alert_match(job, now);
	if (end->unsure && job->alerts != NULL)
		cost += ALERT_READ_COST;
	if (job->alerts != NULL && !is_of_step(end))
		sched_alert_take_end(job->alerts, end);
	return cost;
}

/* A portion; the tally has them already, so those that are left would be lost in a crash. */
static void
take_ends(TimestampTz now)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched ends", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(scratch);
	int			left = MAX_TAKEN;
	AlertEnd	end;

	while (left > 0 && sched_alert_next_end(&end))
	{
		left -= take_end(&end, now);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
}

/* ------------------------------------------------------------------------
 * The step
 * ------------------------------------------------------------------------
 */

/* When the next thing is due, by our clock. */
TimestampTz
sched_alerts_due(void)
{
	JobAlerts  *job = sched_alert_first_timer();
	AlertChannel *channel = sched_alert_first_channel();
	TimestampTz due = next_unmute;

	if (job != NULL)
		due = Min(due, job->timer);
	if (channel != NULL)
		due = Min(due, sched_alert_channel_due(channel));
	return due;
}

/* When there is something to be done besides; by the real one. */
TimestampTz
sched_alerts_deadline(void)
{
	TimestampTz when;

	if (!loaded)
		return DT_NOEND;
	if (sched_alerts_match_waits() || may_take_ends() || sched_alert_clean_waits())
		return 0;
	when = Min(sched_alerts_read_after(), sched_alerts_look_after());
	return Min(when, Min(sched_alerts_write_after(), sched_alerts_send_after()));
}

bool
sched_alerts_wait(TimestampTz now)
{
	return sched_alerts_due() <= now || sched_alerts_deadline() <= GetCurrentTimestamp();
}

/* Definitions have changed, and are read at the next opportunity. */
void
sched_alerts_note(void)
{
	sched_alerts_stale = true;
}

/* A portion of all that is to be done.  Nobody is told before all of it is known. */
void
sched_alerts_serve(TimestampTz now)
{
	bool		known;

	if (!loaded || !sched_alerts_wait(now))
	{
		(void) sched_alerts_write();
		return;
	}
	if (sched_alerts_stale && sched_alerts_read_after() <= GetCurrentTimestamp())
	{
		sched_alerts_read(false);
		unmute();
	}
	if (next_unmute <= now)
		unmute();
	known = sched_alerts_match(now);
	if (may_take_ends())
		take_ends(now);
	known &= sched_alerts_look(now);
	clean_some();
	known &= sched_alerts_write();
	if (known)
		(void) sched_alerts_send(now);
}

/* ------------------------------------------------------------------------
 * At a start, and now and then
 * ------------------------------------------------------------------------
 */

/* Before jobs are. */
void
sched_alerts_load(void)
{
	sched_channels_hear(sched_alerts_hear);
	sched_alerts_read(true);
	sched_alerts_each(sched_alert_recall_due);
	unmute();
	loaded = true;
}

/* While the tally is read back from history: there may be twenty ends of each job. */
void
sched_alerts_recover_some(void)
{
	if (sched_alert_many_ends() && !sched_alerts_stale)
		take_ends(js_clock_now());
}

/* The tally has been read back: what came with it is written with it. */
void
sched_alerts_recover(TimestampTz now)
{
	while (sched_alert_ends_wait())
		take_ends(now);
	while (!sched_alerts_write())
		;
}

void
sched_alerts_sweep(void)
{
	sched_alerts_stale = true;
	sched_alerts_each(delete_mutes);
	sched_alerts_each(forget_old);
	sched_alert_channels_wake();
}

static void
rewind_alert(Alert *alert)
{
	TimestampTz now = js_clock_now();
	dlist_iter	iter;

	dlist_foreach(iter, &alert->watches)
	{
		JobAlerts  *job = dlist_container(AlertWatch, node, iter.cur)->job;

		job->success_at = Min(job->success_at, now);
		sched_alert_note_look(job);
	}
	for (int i = 0; i < alert->nlinks; i++)
	{
		AlertLink  *link = alert->links[i];

		if (link->remind_at != DT_NOEND)
			link->remind_at = Min(link->remind_at, sched_alert_later(now, alert->repeat_every));
	}
}

static void
rewind_channel(AlertChannel *channel, void *arg)
{
	TimestampTz now = js_clock_now();

	sched_alert_set_due(channel, channel->due_at == DT_NOEND ? DT_NOEND : Min(channel->due_at, now),
						channel->remind_at == DT_NOEND ? DT_NOEND : Min(channel->remind_at, now));
}

/* The clock was set back: nobody waits for an hour to come twice. */
void
sched_alerts_rewind(void)
{
	sched_alerts_each(rewind_alert);
	sched_alert_channels_each(rewind_channel, NULL);
	if (next_unmute != DT_NOEND)
		unmute();
}
