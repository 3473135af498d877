/*-------------------------------------------------------------------------
 *
 * sched_alert_memory.c
 *		What the scheduler has in memory of alerts.
 *
 * Roles that have alerts, alerts, the channels that they speak to, states, which
 * alerts concern which job, and what is to be looked at.  Nothing is decided here;
 * sched_alert.c has the design.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "http/channel.h"
#include "scheduler/sched_alert.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Ends of runs that wait for their job to be matched, at most; and those that are many. */
#define MAX_ENDS 100000
#define MANY_ENDS 10000

/* What there is no room for is said in the log, once in this time; by the real clock. */
#define LOG_EVERY_US USECS_PER_MINUTE

typedef struct OwnerItem
{
	Oid			owner;
	AlertOwner *entry;
} OwnerItem;

typedef struct ChannelKey
{
	Oid			owner;
	char		name[JS_CHANNEL_NAME_MAX + 1];
} ChannelKey;

typedef struct ChannelItem
{
	ChannelKey	key;
	AlertChannel *channel;
} ChannelItem;

typedef struct AlertEntry
{
	pg_uuid_t	id;
	Alert	   *alert;
} AlertEntry;

typedef struct StateItem
{
	AlertKey	key;
	AlertState *state;
} StateItem;

typedef struct StaleJob
{
	int64		job_id;
	dlist_node	node;
} StaleJob;

typedef struct WaitingEnd
{
	AlertEnd	end;
	dlist_node	node;
} WaitingEnd;

int64		sched_alert_seq = 0;
bool		sched_alerts_stale = false;

static HTAB *owners = NULL;
static HTAB *alerts = NULL;
static HTAB *states = NULL;
static HTAB *named = NULL;		/* channels by name */
static pairingheap *channels;	/* AlertChannel.due_node */
static pairingheap *timers;		/* JobAlerts.timer_node */
static dlist_head dirty = DLIST_STATIC_INIT(dirty);
static dlist_head cleaned = DLIST_STATIC_INIT(cleaned);
static dlist_head looks = DLIST_STATIC_INIT(looks);
static dlist_head stale = DLIST_STATIC_INIT(stale);
static dlist_head ends = DLIST_STATIC_INIT(ends);
static int	ends_count = 0;
static int64 passed_over = 0;	/* ends for which there was no room */

/* From an instant that somebody may have spoilt; DT_NOEND: never. */
TimestampTz
sched_alert_later(TimestampTz from, int64 us)
{
	TimestampTz result;

	if (TIMESTAMP_NOT_FINITE(from) || pg_add_s64_overflow(from, us, &result))
		return DT_NOEND;
	return result;
}

TimestampTz
sched_alert_channel_due(const AlertChannel *channel)
{
	return Min(channel->due_at, channel->remind_at);
}

static int
compare_channels(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	TimestampTz x = sched_alert_channel_due(pairingheap_const_container(AlertChannel, due_node, a));
	TimestampTz y = sched_alert_channel_due(pairingheap_const_container(AlertChannel, due_node, b));

	return x < y ? 1 : x > y ? -1 : 0;
}

static int
compare_timers(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	TimestampTz x = pairingheap_const_container(JobAlerts, timer_node, a)->timer;
	TimestampTz y = pairingheap_const_container(JobAlerts, timer_node, b)->timer;

	return x < y ? 1 : x > y ? -1 : 0;
}

static HTAB *
make_table(const char *name, Size key_size, Size entry_size)
{
	HASHCTL		control = {
		.keysize = key_size,
		.entrysize = entry_size,
		.hcxt = sched.context
	};

	return hash_create(name, 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* There is nothing until there is an alert. */
static void
begin(void)
{
	MemoryContext outer = MemoryContextSwitchTo(sched.context);

	owners = make_table("jobsched alert owners", sizeof(Oid), sizeof(OwnerItem));
	alerts = make_table("jobsched alerts", sizeof(pg_uuid_t), sizeof(AlertEntry));
	states = make_table("jobsched alert states", sizeof(AlertKey), sizeof(StateItem));
	named = make_table("jobsched alert channels", sizeof(ChannelKey), sizeof(ChannelItem));
	channels = pairingheap_allocate(compare_channels, NULL);
	timers = pairingheap_allocate(compare_timers, NULL);
	MemoryContextSwitchTo(outer);
}

/* ------------------------------------------------------------------------
 * Roles, channels, alerts
 * ------------------------------------------------------------------------
 */

/* NULL: the role has none, unless it is to get some. */
AlertOwner *
sched_alert_owner(Oid oid, bool make)
{
	OwnerItem  *item;
	bool		found;

	if (owners == NULL && !make)
		return NULL;
	if (owners == NULL)
		begin();
	item = hash_search(owners, &oid, make ? HASH_ENTER : HASH_FIND, &found);
	if (!found && make)
	{
		item->entry = MemoryContextAllocZero(sched.context, sizeof(AlertOwner));
		item->entry->owner = oid;
		dlist_init(&item->entry->alerts);
		dlist_init(&item->entry->channels);
	}
	return item == NULL ? NULL : item->entry;
}

static ChannelKey
channel_key(const AlertOwner *owner, const char *name)
{
	ChannelKey	key;

	memset(&key, 0, sizeof(ChannelKey));
	key.owner = owner->owner;
	strlcpy(key.name, name, sizeof(key.name));
	return key;
}

/* Made, if there is none. */
static AlertChannel *
open_channel(AlertOwner *owner, const char *name)
{
	ChannelKey	key = channel_key(owner, name);
	bool		found;
	ChannelItem *item = hash_search(named, &key, HASH_ENTER, &found);
	AlertChannel *channel;

	if (found)
		return item->channel;
	channel = item->channel = MemoryContextAllocZero(sched.context, sizeof(AlertChannel));
	channel->owner = owner;
	channel->name = MemoryContextStrdup(sched.context, name);
	channel->due_at = channel->remind_at = DT_NOEND;
	dlist_init(&channel->links);
	dlist_push_tail(&owner->channels, &channel->node);
	return channel;
}

/* Nothing speaks to it any more. */
static void
forget_channel(AlertChannel *channel)
{
	ChannelKey	key = channel_key(channel->owner, channel->name);

	if (channel->in_heap)
		pairingheap_remove(channels, &channel->due_node);
	(void) hash_search(named, &key, HASH_REMOVE, NULL);
	dlist_delete(&channel->node);
	pfree(channel->name);
	pfree(channel);
}

/* When it is to be sent something; it is looked at then, even if it could not be before. */
void
sched_alert_set_due(AlertChannel *channel, TimestampTz due_at, TimestampTz remind_at)
{
	if (channel->in_heap)
		pairingheap_remove(channels, &channel->due_node);
	channel->due_at = due_at;
	channel->remind_at = remind_at;
	channel->in_heap = sched_alert_channel_due(channel) != DT_NOEND;
	if (channel->in_heap)
		pairingheap_add(channels, &channel->due_node);
}

/* It cannot be sent anything now: it is looked at again when somebody says so. */
void
sched_alert_set_aside(AlertChannel *channel)
{
	if (channel->in_heap)
		pairingheap_remove(channels, &channel->due_node);
	channel->in_heap = false;
}

/* NULL: nothing is to be sent. */
AlertChannel *
sched_alert_first_channel(void)
{
	if (channels == NULL || pairingheap_is_empty(channels))
		return NULL;
	return pairingheap_container(AlertChannel, due_node, pairingheap_first(channels));
}

void
sched_alert_channels_each(void (*visit) (AlertChannel *channel, void *arg), void *arg)
{
	HASH_SEQ_STATUS scan;
	OwnerItem  *item;
	dlist_iter	iter;

	if (owners == NULL)
		return;
	hash_seq_init(&scan, owners);
	while ((item = hash_seq_search(&scan)) != NULL)
		dlist_foreach(iter, &item->entry->channels)
			visit(dlist_container(AlertChannel, node, iter.cur), arg);
}

static void
wake(AlertChannel *channel, void *arg)
{
	sched_alert_set_due(channel, channel->due_at, channel->remind_at);
}

/* All are looked at again. */
void
sched_alert_channels_wake(void)
{
	sched_alert_channels_each(wake, NULL);
}

Alert *
sched_alert_find(const pg_uuid_t *id)
{
	AlertEntry *entry = alerts == NULL ? NULL : hash_search(alerts, id, HASH_FIND, NULL);

	return entry == NULL ? NULL : entry->alert;
}

Alert *
sched_alert_make(const pg_uuid_t *id, AlertOwner *owner)
{
	Alert	   *alert = MemoryContextAllocZero(sched.context, sizeof(Alert));
	AlertEntry *entry = hash_search(alerts, id, HASH_ENTER, NULL);

	entry->alert = alert;
	alert->id = *id;
	alert->owner = owner;
	alert->context = AllocSetContextCreate(sched.context, "jobsched alert", ALLOCSET_SMALL_SIZES);
	dlist_init(&alert->states);
	dlist_init(&alert->watches);
	dlist_push_tail(&owner->alerts, &alert->node);
	owner->nalerts++;
	return alert;
}

void
sched_alerts_each(void (*visit) (Alert *alert))
{
	HASH_SEQ_STATUS scan;
	AlertEntry *entry;

	if (alerts == NULL)
		return;
	hash_seq_init(&scan, alerts);
	while ((entry = hash_seq_search(&scan)) != NULL)
		visit(entry->alert);
}

/* What the alert is to tell a channel; made if there is none. */
AlertLink *
sched_alert_link(Alert *alert, const char *name)
{
	AlertLink  *link = MemoryContextAllocZero(sched.context, sizeof(AlertLink));

	link->alert = alert;
	link->channel = open_channel(alert->owner, name);
	link->sent_at = link->failed_at = DT_NOBEGIN;
	link->remind_at = DT_NOEND;
	dlist_push_tail(&link->channel->links, &link->node);
	return link;
}

void
sched_alert_unlink(AlertLink *link)
{
	dlist_delete(&link->node);
	if (dlist_is_empty(&link->channel->links))
		forget_channel(link->channel);
	pfree(link);
}

/* It has been dropped: it has no links and no states any more. */
void
sched_alert_remove(Alert *alert)
{
	dlist_mutable_iter iter;

	Assert(alert->nlinks == 0 && dlist_is_empty(&alert->states));
	dlist_foreach_modify(iter, &alert->watches)
	{
		AlertWatch *watch = dlist_container(AlertWatch, node, iter.cur);
		JobAlerts  *job = watch->job;

		/* The last one takes its place. */
		dlist_delete(&watch->node);
		job->nwatches--;
		if (watch != &job->watches[job->nwatches])
		{
			AlertWatch *last = &job->watches[job->nwatches];

			dlist_delete(&last->node);
			watch->alert = last->alert;
			watch->job = job;
			dlist_push_tail(&watch->alert->watches, &watch->node);
		}
	}
	if (alert->clean_noted)
		dlist_delete(&alert->clean_node);
	dlist_delete(&alert->node);
	alert->owner->nalerts--;
	(void) hash_search(alerts, &alert->id, HASH_REMOVE, NULL);
	MemoryContextDelete(alert->context);
	pfree(alert);
}

bool
sched_alert_is_muted(const Alert *alert, int64 job_id, TimestampTz now)
{
	for (int i = 0; i < alert->nmutes; i++)
		if ((alert->mutes[i].job_id == 0 || alert->mutes[i].job_id == job_id) && alert->mutes[i].until > now)
			return true;
	return false;
}

/* Some of its states may be of no use any more. */
void
sched_alert_note_clean(Alert *alert)
{
	if (!alert->clean_noted)
		dlist_push_tail(&cleaned, &alert->clean_node);
	alert->clean_noted = true;
}

/* NULL: there is none. */
Alert *
sched_alert_next_clean(void)
{
	Alert	   *alert;

	if (dlist_is_empty(&cleaned))
		return NULL;
	alert = dlist_container(Alert, clean_node, dlist_pop_head_node(&cleaned));
	alert->clean_noted = false;
	return alert;
}

bool
sched_alert_clean_waits(void)
{
	return !dlist_is_empty(&cleaned);
}

/* ------------------------------------------------------------------------
 * States
 * ------------------------------------------------------------------------
 */

static AlertKey
key_of(const pg_uuid_t *alert_id, int64 job_id, JsAlertCondition condition)
{
	AlertKey	key;

	memset(&key, 0, sizeof(AlertKey));
	key.alert_id = *alert_id;
	key.job_id = job_id;
	key.condition = condition;
	return key;
}

/* NULL: there is none. */
AlertState *
sched_alert_state(const pg_uuid_t *alert_id, int64 job_id, JsAlertCondition condition)
{
	AlertKey	key = key_of(alert_id, job_id, condition);
	StateItem  *item = states == NULL ? NULL : hash_search(states, &key, HASH_FIND, NULL);

	return item == NULL ? NULL : item->state;
}

static void
clear_row(AlertState *state)
{
	JsAlertState *row = &state->row;

	sched_alert_state_text(&row->job_name, NULL);
	sched_alert_state_text(&row->status, NULL);
	sched_alert_state_text(&row->sqlstate, NULL);
	sched_alert_state_text(&row->error, NULL);
	if (row->failed_at != NULL)
		pfree(row->failed_at);
	memset(row, 0, sizeof(JsAlertState));
	row->alert_id = state->key.alert_id;
	row->job_id = state->key.job_id;
	row->condition = (JsAlertCondition) state->key.condition;
	row->since = row->until = row->first_at = row->last_at = DT_NOBEGIN;
	row->streak_from = row->changed_at = row->counts_from = DT_NOBEGIN;
}

static AlertState *
make_state(const AlertKey *key)
{
	AlertState *state = MemoryContextAllocZero(sched.context, sizeof(AlertState));

	if (states == NULL)
		begin();
	((StateItem *) hash_search(states, key, HASH_ENTER, NULL))->state = state;
	state->key = *key;
	clear_row(state);
	return state;
}

/* One that is as good as none is made if there is none, or none any more. */
AlertState *
sched_alert_state_open(Alert *alert, int64 job_id, JsAlertCondition condition)
{
	AlertKey	key = key_of(&alert->id, job_id, condition);
	AlertState *state = sched_alert_state(&alert->id, job_id, condition);

	if (state == NULL)
		state = make_state(&key);
	if (state->alert == NULL)
		dlist_push_tail(&alert->states, &state->node);
	state->alert = alert;
	if (state->gone)
		clear_row(state);
	state->gone = false;
	return state;
}

/* Its row is to be written, or deleted. */
void
sched_alert_state_touch(AlertState *state)
{
	if (!state->dirty)
		dlist_push_tail(&dirty, &state->dirty_node);
	state->dirty = true;
}

/* It says nothing any more. */
void
sched_alert_state_drop(AlertState *state)
{
	state->gone = true;
	sched_alert_state_touch(state);
}

dlist_head *
sched_alert_dirty(void)
{
	return &dirty;
}

/* Its row is gone, or there was none. */
void
sched_alert_state_free(AlertState *state)
{
	if (state->dirty)
		dlist_delete(&state->dirty_node);
	if (state->alert != NULL)
		dlist_delete(&state->node);
	(void) hash_search(states, &state->key, HASH_REMOVE, NULL);
	clear_row(state);
	pfree(state);
}

/* A text of a state, copied; NULL: none. */
void
sched_alert_state_text(char **to, const char *text)
{
	char	   *before = *to;

	*to = text == NULL ? NULL : MemoryContextStrdup(sched.context, text);
	if (before != NULL)
		pfree(before);
}

/* Memory gets what a row has, at the start.  alert: NULL: it is gone, and so shall this be. */
void
sched_alert_state_adopt(const JsAlertState *row, Alert *alert)
{
	AlertKey	key = key_of(&row->alert_id, row->job_id, row->condition);
	AlertState *state = sched_alert_state(&row->alert_id, row->job_id, row->condition);

	if (state != NULL)
		return;
	state = make_state(&key);
	state->row = *row;
	state->row.job_name = state->row.status = state->row.sqlstate = state->row.error = NULL;
	state->row.failed_at = NULL;
	sched_alert_state_text(&state->row.job_name, row->job_name);
	sched_alert_state_text(&state->row.status, row->status);
	sched_alert_state_text(&state->row.sqlstate, row->sqlstate);
	sched_alert_state_text(&state->row.error, row->error);
	if (row->nfailed_at > 0)
	{
		state->row.failed_at = MemoryContextAlloc(sched.context, JS_MAX_ALERT_WITHIN * sizeof(int64));
		memcpy(state->row.failed_at, row->failed_at, row->nfailed_at * sizeof(int64));
	}
	state->in_table = true;
	state->alert = alert;
	if (alert == NULL)
		sched_alert_state_drop(state);
	else
		dlist_push_tail(&alert->states, &state->node);
}

/* ------------------------------------------------------------------------
 * Jobs
 * ------------------------------------------------------------------------
 */

void
sched_alert_set_timer(JobAlerts *job, TimestampTz when)
{
	if (job->timer != DT_NOEND)
		pairingheap_remove(timers, &job->timer_node);
	job->timer = when;
	if (when != DT_NOEND)
		pairingheap_add(timers, &job->timer_node);
}

/* NULL: there is none. */
JobAlerts *
sched_alert_first_timer(void)
{
	if (timers == NULL || pairingheap_is_empty(timers))
		return NULL;
	return pairingheap_container(JobAlerts, timer_node, pairingheap_first(timers));
}

/* Something of the job has changed by which conditions of time may hold, or not any more. */
void
sched_alert_note_look(JobAlerts *job)
{
	if (!job->looks || job->look_noted)
		return;
	dlist_push_tail(&looks, &job->look_node);
	job->look_noted = true;
}

bool
sched_alert_looks_wait(void)
{
	return !dlist_is_empty(&looks);
}

/* NULL: there is none. */
JobAlerts *
sched_alert_next_look(void)
{
	JobAlerts  *job;

	if (dlist_is_empty(&looks))
		return NULL;
	job = dlist_container(JobAlerts, look_node, dlist_pop_head_node(&looks));
	job->look_noted = false;
	return job;
}

static void
detach(JobEntry *job)
{
	JobAlerts  *before = job->alerts;

	if (before == NULL)
		return;
	for (int i = 0; i < before->nwatches; i++)
		dlist_delete(&before->watches[i].node);
	sched_alert_set_timer(before, DT_NOEND);
	if (before->look_noted)
		dlist_delete(&before->look_node);
	job->alerts = NULL;
	pfree(before);
}

/* The alerts that concern a job, instead of those before; none, if it is about to go. */
void
sched_alert_attach(JobEntry *job, Alert **list, int count)
{
	JobAlerts  *made;

	detach(job);
	if (count == 0)
		return;
	made = MemoryContextAllocZero(sched.context, offsetof(JobAlerts, watches) + count * sizeof(AlertWatch));
	made->job = job;
	made->timer = DT_NOEND;
	made->success_at = DT_NOBEGIN;
	made->nwatches = count;
	for (int i = 0; i < count; i++)
	{
		made->watches[i].alert = list[i];
		made->watches[i].job = made;
		dlist_push_tail(&list[i]->watches, &made->watches[i].node);
		for (int k = 0; k < JS_ALERT_CONDITIONS; k++)
			made->looks |= list[i]->spans[k] > 0;
	}
	job->alerts = made;
	sched_alert_note_look(made);
}

/* Which alerts concern it is to be found out. */
void
sched_alert_stale(JobEntry *job)
{
	StaleJob   *item;

	if (job->alerts_stale)
		return;
	job->alerts_stale = true;
	item = MemoryContextAlloc(sched.context, sizeof(StaleJob));
	item->job_id = job->job_id;
	dlist_push_tail(&stale, &item->node);
}

/* The row of a job has been read, and is new or has changed. */
void
sched_alert_job_changed(JobEntry *job)
{
	if (job->alerts != NULL || sched_alert_owner(job->owner, false) != NULL)
		sched_alert_stale(job);
}

bool
sched_alert_stale_waits(void)
{
	return !dlist_is_empty(&stale);
}

/* 0: there is none. */
int64
sched_alert_next_stale(void)
{
	StaleJob   *item;
	int64		job_id;

	if (dlist_is_empty(&stale))
		return 0;
	item = dlist_container(StaleJob, node, dlist_pop_head_node(&stale));
	job_id = item->job_id;
	pfree(item);
	return job_id;
}

/* Now and then while they are passed over, and how many it were when none waits any more. */
static void
log_passed_over(bool last)
{
	static TimestampTz logged_at = 0;
	static int64 logged = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (logged == passed_over || (!last && now >= logged_at && now - logged_at < LOG_EVERY_US))
		return;
	logged_at = now;
	logged = passed_over;
	ereport(LOG,
			(errmsg("alerts have not seen the ends of runs, " INT64_FORMAT " so far: more than %d wait until changed definitions have been read",
					passed_over, MAX_ENDS)));
}

/* The end of a run of a job that is to be matched first. */
void
sched_alert_keep_end(const AlertEnd *end)
{
	WaitingEnd *item;

	if (ends_count == MAX_ENDS)
	{
		passed_over++;
		log_passed_over(false);
		return;
	}
	item = MemoryContextAlloc(sched.context, sizeof(WaitingEnd));
	item->end = *end;
	dlist_push_tail(&ends, &item->node);
	ends_count++;
}

bool
sched_alert_ends_wait(void)
{
	return !dlist_is_empty(&ends);
}

bool
sched_alert_many_ends(void)
{
	return ends_count >= MANY_ENDS;
}

bool
sched_alert_next_end(AlertEnd *end)
{
	WaitingEnd *item;

	if (dlist_is_empty(&ends))
		return false;
	item = dlist_container(WaitingEnd, node, dlist_pop_head_node(&ends));
	*end = item->end;
	pfree(item);
	if (--ends_count == 0)
		log_passed_over(true);
	return true;
}
