/*-------------------------------------------------------------------------
 *
 * sched_alert_send.c
 *		Tells channels of what has changed.
 *
 * A channel that is due, and can take a message, gets one about all that it has not
 * been told yet.  In the transaction that queues its run the channel's rows of
 * alert_told get the number of the last change, so nothing is told twice and nothing
 * is passed over.  What comes while the message is under way waits for its end; of
 * mails, until one address has had it: others may be tried for hours.
 *
 * If the message ends without success after all its attempts, what it told counts as
 * untold again: the next message tells it, which is sent when something changes, or
 * after a while.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/channel.h"
#include "scheduler/sched_alert.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Channels looked at, and messages, in one step; and alerts that one speaks of. */
#define MAX_LOOKED 64
#define MAX_SENT 8
#define MAX_LINKS 500

/* Ids of mails of one message are not further apart than that, or nearly never. */
#define MAX_APART (4 * JS_CHANNEL_MAX_ADDRESSES)

/* When what a message could not tell is told again, if nothing changes. */
#define TELL_AGAIN_US (USECS_PER_HOUR)

/* What waits for the tally is written by then. */
#define UNWRITTEN_US (50 * 1000)

static bool some_ended = true;	/* messages may have ended */
static TimestampTz retry_at = DT_NOEND; /* somebody held a row; by the real
										 * clock */

/* A message may have ended, or a channel has changed. */
void
sched_alerts_hear(int64 channel_id)
{
	some_ended = true;
}

TimestampTz
sched_alerts_send_after(void)
{
	return some_ended ? 0 : retry_at;
}

/* ------------------------------------------------------------------------
 * Ends of messages
 * ------------------------------------------------------------------------
 */

static bool
is_under_way(int64 run_id)
{
	JsRun		head;

	return sched_run_find(run_id) != NULL || js_run_read_head(run_id, &head);
}

/* Whether a run is of a message, of which there is one for each address of a channel for mail. */
static bool
is_another(const JsRun *first, int64 run_id, JsStatus *status)
{
	JsOutcome	outcome = {0};
	JsRun		run = {0};

	if (!js_history_find(run_id, &run, &outcome) || run.job_id != first->job_id || run.args == NULL ||
		compareJsonbContainers(&run.args->root, &first->args->root) != 0)
		return false;
	*status = outcome.status;
	return true;
}

static bool
read_message(int64 run_id, JsRun *first)
{
	JsOutcome	outcome = {0};

	return js_run_read(run_id, first) || js_history_find(run_id, first, &outcome);
}

/* Some address has had it: if it were told anew that one would have it again and again. */
static bool
some_was_sent(int64 run_id)
{
	JsRun		first = {0};
	JsStatus	status;

	if (!read_message(run_id, &first) || first.request == NULL || first.args == NULL)
		return false;
	for (int64 id = run_id; id < run_id + MAX_APART; id++)
		if (is_another(&first, id, &status) && status == JS_SUCCEEDED)
			return true;
	return false;
}

/* History may have lost it by now: it has been tried. */
static bool
has_failed(int64 run_id)
{
	TimestampTz finished_at;
	JsStatus	status;

	return js_history_find_end(run_id, &status, &finished_at) &&
		(status == JS_FAILED || status == JS_TIMED_OUT || status == JS_LOST) && !some_was_sent(run_id);
}

/*
 * Whether the message is over: each of its mails is, or one has been sent.  History is
 * asked for that when some mail has been.
 */
static bool
message_is_over(const AlertChannel *channel, int64 run_id)
{
	JobEntry   *job = sched_job_find(sched_channel_find(channel->owner->owner, channel->name));

	if (job == NULL || job->live == 0)
		return !is_under_way(run_id);
	if (job->sent_known)
		return false;
	job->sent_known = true;
	return some_was_sent(run_id);
}

/* 0: none is under way, as far as we know. */
static int64
message_of(const AlertChannel *channel)
{
	int64		run_id = 0;
	dlist_iter	iter;

	dlist_foreach(iter, (dlist_head *) &channel->links)
	{
		const AlertLink *link = dlist_container(AlertLink, node, iter.cur);

		if (link->told_before != link->told_seq)
			run_id = Max(run_id, link->run_id);
	}
	return run_id;
}

static bool
write_link(AlertLink *link)
{
	JsAlertTold row;

	row.alert_id = link->alert->id;
	row.channel = link->channel->name;
	row.told_seq = link->told_seq;
	row.told_before = link->told_before;
	row.run_id = link->run_id;
	row.sent_at = link->sent_at;
	row.remind_at = link->remind_at == DT_NOEND ? DT_NOBEGIN : link->remind_at;
	row.failed_at = link->failed_at;
	link->in_table |= js_alert_told_write(&row);
	return link->in_table;
}

/*
 * A success is not written: after a restart history tells it again, and a row that
 * somebody holds is read as it was.
 */
static void
settle_link(AlertLink *link, int64 run_id, bool failed, TimestampTz now)
{
	if (link->told_before == link->told_seq)
		return;
	if (link->run_id == run_id ? failed : has_failed(link->run_id))
	{
		link->told_seq = link->told_before;
		link->failed_at = now;
		(void) write_link(link);
	}
	link->told_before = link->told_seq;
	sched_alert_note_clean(link->alert);
}

static bool
some_pending(const AlertLink *link)
{
	dlist_iter	iter;

	dlist_foreach(iter, &link->alert->states)
	{
		if (sched_alert_is_pending(dlist_container(AlertState, node, iter.cur), link))
			return true;
	}
	return false;
}

/* Its message has ended, and what has become of it is known. */
static void
settle(AlertChannel *channel, TimestampTz now)
{
	TimestampTz due_at = channel->due_at;
	int64		run_id = message_of(channel);
	bool		failed = has_failed(run_id);
	dlist_iter	iter;

	dlist_foreach(iter, &channel->links)
	{
		AlertLink  *link = dlist_container(AlertLink, node, iter.cur);

		settle_link(link, run_id, failed, now);
		if (link->failed_at != DT_NOBEGIN && some_pending(link))
			due_at = Min(due_at, sched_alert_later(now, TELL_AGAIN_US));
	}
	sched_alert_set_due(channel, due_at, channel->remind_at);
}

static void
settle_if_ended(AlertChannel *channel, void *arg)
{
	int64		run_id = message_of(channel);

	if (run_id == 0)
		sched_alert_set_due(channel, channel->due_at, channel->remind_at);
	else if (message_is_over(channel, run_id))
		settle(channel, *(TimestampTz *) arg);
}

/* ------------------------------------------------------------------------
 * Messages
 * ------------------------------------------------------------------------
 */

/* What is told, and by which links. */
typedef struct Telling
{
	AlertMessage message;
	AlertLink  *links[MAX_LINKS];
	int			nlinks;
	bool		rest;			/* there is more than that */
	bool		held;			/* somebody holds a row; */
	bool		unwritten;		/* or one is yet to be written */
	TimestampTz now;
} Telling;

static void
add_item(Telling *telling, const AlertState *state, bool reminds)
{
	AlertMessage *message = &telling->message;

	if (message->nitems < ALERT_ITEMS)
	{
		message->items[message->nitems].state = state;
		message->items[message->nitems++].reminds = reminds;
	}
	else
		message->more++;
	message->count += state->row.count;
	message->changes |= !reminds;
	if (state->row.firing)
		message->firing++;
	else
		message->over++;
}

/* One that has been muted since it changed is told when it may speak again. */
static bool
hold_if_muted(AlertState *state, TimestampTz now)
{
	if (!sched_alert_is_muted(state->alert, state->key.job_id, now))
		return false;
	state->row.held = state->alert->some_held = true;
	sched_alert_state_touch(state);
	return true;
}

/* Whether there is any. */
static bool
add_changes(Telling *telling, AlertLink *link)
{
	bool		any = false;
	dlist_iter	iter;

	dlist_foreach(iter, &link->alert->states)
	{
		AlertState *state = dlist_container(AlertState, node, iter.cur);

		if (!sched_alert_is_pending(state, link) || hold_if_muted(state, telling->now))
			continue;
		if (state->dirty)
		{
			telling->unwritten = true;
			continue;
		}
		add_item(telling, state, false);
		any = true;
	}
	return any;
}

static bool
add_reminders(Telling *telling, AlertLink *link)
{
	bool		any = false;
	dlist_iter	iter;

	dlist_foreach(iter, &link->alert->states)
	{
		AlertState *state = dlist_container(AlertState, node, iter.cur);

		if (!state->row.firing || state->gone || state->row.held || sched_alert_is_pending(state, link) ||
			sched_alert_is_muted(state->alert, state->key.job_id, telling->now))
			continue;
		add_item(telling, state, true);
		any = true;
	}
	return any;
}

static bool
is_to_remind(const AlertLink *link, TimestampTz now)
{
	return link->remind_at <= now;
}

/* It does not fire any more, or all that does is muted: there is no reminder before it is told again. */
static void
stop_reminding(AlertLink *link)
{
	link->remind_at = DT_NOEND;
	(void) write_link(link);
}

static void
gather(Telling *telling, AlertChannel *channel)
{
	dlist_iter	iter;

	dlist_foreach(iter, &channel->links)
	{
		AlertLink  *link = dlist_container(AlertLink, node, iter.cur);
		bool		reminds = is_to_remind(link, telling->now);

		if (!reminds && !some_pending(link))
			continue;
		if (telling->nlinks == MAX_LINKS)
			telling->rest = true;
		else if (!js_alert_told_is_free(&link->alert->id, channel->name))
			telling->held = true;
		else if (add_changes(telling, link) | (reminds && add_reminders(telling, link)))
			telling->links[telling->nlinks++] = link;
		else if (reminds)
			stop_reminding(link);
	}
}

static bool
some_fire(const Alert *alert)
{
	dlist_iter	iter;

	dlist_foreach(iter, (dlist_head *) &alert->states)
	{
		const AlertState *state = dlist_container(AlertState, node, iter.cur);

		if (state->row.firing && !state->gone)
			return true;
	}
	return false;
}

static void
set_reminder(AlertLink *link, TimestampTz now)
{
	if (link->alert->repeat_every == 0 || link->alert->every_failure || !some_fire(link->alert))
		link->remind_at = DT_NOEND;
	else if (link->remind_at == DT_NOEND || is_to_remind(link, now))
		link->remind_at = sched_alert_later(now, link->alert->repeat_every);
}

/* What has changed, but is not in its row yet, has its turn with the next message. */
static bool
renumber_dirty(AlertLink *link)
{
	bool		any = false;
	dlist_iter	iter;

	dlist_foreach(iter, &link->alert->states)
	{
		AlertState *state = dlist_container(AlertState, node, iter.cur);

		if (!state->dirty || !sched_alert_is_pending(state, link))
			continue;
		state->row.seq = ++sched_alert_seq;
		any = true;
	}
	return any;
}

/* True: something of it is left for the next message. */
static bool
tell(AlertLink *link, int64 told_seq, int64 run_id, TimestampTz now)
{
	bool		rest = renumber_dirty(link);

	link->told_before = link->told_seq;
	link->told_seq = told_seq;
	link->run_id = run_id;
	link->sent_at = now;
	link->failed_at = DT_NOBEGIN;
	set_reminder(link, now);
	(void) write_link(link);
	return rest;
}

static TimestampTz
first_reminder(const AlertChannel *channel)
{
	TimestampTz first = DT_NOEND;
	dlist_iter	iter;

	dlist_foreach(iter, (dlist_head *) &channel->links)
		first = Min(first, dlist_container(AlertLink, node, iter.cur)->remind_at);
	return first;
}

/* There is no such channel: nobody is told, and nothing waits for it. */
static void
pass_over(AlertChannel *channel)
{
	dlist_iter	iter;

	dlist_foreach(iter, &channel->links)
	{
		AlertLink  *link = dlist_container(AlertLink, node, iter.cur);

		link->told_seq = link->told_before = sched_alert_seq;
		link->remind_at = DT_NOEND;
		sched_alert_note_clean(link->alert);
	}
	sched_alert_set_due(channel, DT_NOEND, DT_NOEND);
}

static char *
new_id(void)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, DirectFunctionCall1(gen_random_uuid, (Datum) 0)));
}

static int64
send_message(Telling *telling, int64 channel_id)
{
	return telling->nlinks == 0 ? 0 :
		sched_channel_send(channel_id, sched_alert_compose(&telling->message, new_id()), telling->now);
}

/* It is looked at again soon; by the real clock. */
static void
put_off(AlertChannel *channel, int64 us, TimestampTz now)
{
	sched_alert_set_aside(channel);
	channel->due_at = now;
	retry_at = Min(retry_at, GetCurrentTimestamp() + us);
}

/* True: a message has been queued. */
static bool
serve(AlertChannel *channel, TimestampTz now)
{
	Telling    *telling = palloc0(sizeof(Telling));
	int64		channel_id = sched_channel_find(channel->owner->owner, channel->name);
	int64		told_seq = sched_alert_seq;
	bool		rest;
	int64		run_id;

	if (channel_id == 0)
	{
		pass_over(channel);
		return false;
	}
	if (sched_channel_is_busy(channel_id) || message_of(channel) != 0)
	{
		sched_alert_set_aside(channel);
		return false;
	}
	telling->now = now;
	telling->message.channel = channel->name;
	gather(telling, channel);
	run_id = send_message(telling, channel_id);
	rest = telling->rest || telling->unwritten;
	for (int i = 0; run_id != 0 && i < telling->nlinks; i++)
		rest |= tell(telling->links[i], told_seq, run_id, now);
	if (run_id != 0 || telling->nlinks == 0)
		sched_alert_set_due(channel, rest ? now : DT_NOEND, first_reminder(channel));
	if (telling->held || (run_id == 0 && (telling->unwritten || telling->nlinks > 0)))
		put_off(channel, telling->unwritten ? UNWRITTEN_US : USECS_PER_SEC, now);
	return run_id != 0;
}

static void
wake_channels(TimestampTz now)
{
	if (some_ended)
		sched_alert_channels_each(settle_if_ended, &now);
	else if (retry_at <= GetCurrentTimestamp() || retry_at - GetCurrentTimestamp() > USECS_PER_SEC)
		sched_alert_channels_wake();
	else
		return;
	some_ended = false;
	retry_at = DT_NOEND;
}

/* False: there is more to be sent. */
bool
sched_alerts_send(TimestampTz now)
{
	MemoryContext scratch;
	MemoryContext outer;
	AlertChannel *channel;
	int			looked = 0;
	int			sent = 0;

	wake_channels(now);
	channel = sched_alert_first_channel();
	if (channel == NULL || sched_alert_channel_due(channel) > now)
		return true;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched messages", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(scratch);
	while (channel != NULL && sched_alert_channel_due(channel) <= now && looked++ < MAX_LOOKED && sent < MAX_SENT)
	{
		sent += serve(channel, now) ? 1 : 0;
		MemoryContextReset(scratch);
		channel = sched_alert_first_channel();
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
	return channel == NULL || sched_alert_channel_due(channel) > now;
}
