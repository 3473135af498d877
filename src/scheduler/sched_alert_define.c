/*-------------------------------------------------------------------------
 *
 * sched_alert_define.c
 *		Definitions of alerts, and which jobs they concern.
 *
 * When alerts have changed all definitions are read, of which those that are known
 * cost a look at their revision; not so often that it would take more than a tenth
 * of the time.  A job is matched with all alerts of its owner when it or one of
 * these has changed, so many comparisons in a step.  Ends of its runs wait for that.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/channel.h"
#include "scheduler/sched_alert.h"
#include "shmem/clock.h"
#include "store/store_names.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Comparisons in one step; and of one job. */
#define MAX_COMPARED 50000
#define COMPARED_OF_JOB 20000

/* To look for an object counts as so many, and for an element of an array in so many bytes as one. */
#define OBJECT_COST 2
#define ELEMENT_BYTES 64

/* By the real clock. */
#define LOG_EVERY_US USECS_PER_SEC
#define LONGEST_PAUSE_US (10 * USECS_PER_MINUTE)

static TimestampTz read_after = 0;	/* by the real clock */
static bool owners_changed = false; /* jobs of some are to be matched */
static AlertOwner *changed[64]; /* these; more than that: all */
static int	nchanged = 0;
static bool strays = false;		/* there may be states that are of no use */

/* ------------------------------------------------------------------------
 * Definitions
 * ------------------------------------------------------------------------
 */

static void
note_owner(AlertOwner *owner)
{
	owners_changed = true;
	for (int i = 0; i < Min(nchanged, lengthof(changed)); i++)
		if (changed[i] == owner)
			return;
	if (nchanged < lengthof(changed))
		changed[nchanged] = owner;
	nchanged++;
}

static bool
is_changed(Oid owner)
{
	if (nchanged > lengthof(changed))
		return sched_alert_owner(owner, false) != NULL;
	for (int i = 0; i < nchanged; i++)
		if (changed[i]->owner == owner)
			return true;
	return false;
}

/* Neighbours that are both "*" are one. */
static char *
pattern_of(const char *given)
{
	char	   *pattern = pstrdup(given);
	char	   *to = pattern;

	for (const char *from = given; *from != '\0'; from++)
		if (*from != '*' || to == pattern || to[-1] != '*')
			*to++ = *from;
	*to = '\0';
	return pattern;
}

/* What somebody has spoilt concerns no job. */
static void
set_patterns(Alert *alert, const JsAlert *row)
{
	char	  **names = js_event_names(row->jobs, &alert->npatterns);

	alert->npatterns = row->is_spoilt ? 0 : Min(alert->npatterns, JS_MAX_ALERT_JOBS);
	alert->patterns = palloc(sizeof(char *) * Max(alert->npatterns, 1));
	for (int i = 0; i < alert->npatterns; i++)
		alert->patterns[i] = strlen(names[i]) > JS_MAX_ALERT_PATTERN ? "" : pattern_of(names[i]);
}

static void
set_statuses(Alert *alert, const JsAlert *row)
{
	static const JsStatus known[] = {JS_FAILED, JS_TIMED_OUT, JS_LOST, JS_CANCELLED, JS_SKIPPED, JS_MISSED};
	int			count;
	char	  **names = js_event_names(row->on_status, &count);

	alert->statuses = 0;
	for (int i = 0; i < count; i++)
		for (int k = 0; k < lengthof(known); k++)
			if (strcmp(names[i], js_status_name(known[k])) == 0)
				alert->statuses |= 1U << known[k];
}

static AlertLink *
find_link(AlertLink **links, int count, const char *channel)
{
	for (int i = 0; i < count; i++)
		if (links[i] != NULL && strcmp(links[i]->channel->name, channel) == 0)
			return links[i];
	return NULL;
}

/* Nobody is told by it any more. */
static void
drop_link(AlertLink *link)
{
	if (link->in_table)
		(void) js_alert_told_delete(&link->alert->id, link->channel->name);
	sched_alert_unlink(link);
}

/* A channel that has been named before keeps what it has been told. */
static void
set_links(Alert *alert, const JsAlert *row)
{
	AlertLink  *before[JS_MAX_ALERT_CHANNELS];
	int			nbefore = alert->nlinks;
	int			count;
	char	  **names = js_event_names(row->channels, &count);

	memcpy(before, alert->links, nbefore * sizeof(AlertLink *));
	alert->nlinks = 0;
	for (int i = 0; i < count && alert->nlinks < JS_MAX_ALERT_CHANNELS; i++)
	{
		AlertLink  *link = find_link(before, nbefore, names[i]);

		if (find_link(alert->links, alert->nlinks, names[i]) != NULL || strlen(names[i]) > JS_CHANNEL_NAME_MAX)
			continue;
		alert->links[alert->nlinks++] = link != NULL ? link : sched_alert_link(alert, names[i]);
		for (int k = 0; k < nbefore; k++)
			if (before[k] == link)
				before[k] = NULL;
	}
	for (int i = 0; i < nbefore; i++)
		if (before[i] != NULL)
			drop_link(before[i]);
}

static bool
has_condition(const Alert *alert, JsAlertCondition condition)
{
	return condition == JS_ALERT_FAILURES ? alert->statuses != 0 : alert->spans[condition] > 0;
}

/* States of conditions that it has no more. */
static void
stop_conditions(Alert *alert, TimestampTz now)
{
	dlist_iter	iter;

	dlist_foreach(iter, &alert->states)
	{
		AlertState *state = dlist_container(AlertState, node, iter.cur);

		if (!state->gone && !has_condition(alert, state->row.condition))
			sched_alert_stop(state, now);
	}
}

static void
apply(Alert *alert, const JsAlert *row)
{
	MemoryContext outer;

	MemoryContextReset(alert->context);
	outer = MemoryContextSwitchTo(alert->context);
	if (alert->links == NULL)
		alert->links = MemoryContextAllocZero(sched.context, JS_MAX_ALERT_CHANNELS * sizeof(AlertLink *));
	alert->nmutes = 0;			/* they are read next */
	alert->mutes = NULL;
	alert->revision = row->revision;
	alert->name = pstrdup(row->name);
	set_patterns(alert, row);
	set_statuses(alert, row);
	set_links(alert, row);
	alert->metadata = NULL;
	if (row->metadata != NULL && !row->is_spoilt)
	{
		alert->metadata = memcpy(palloc(VARSIZE(row->metadata)), row->metadata, VARSIZE(row->metadata));
		alert->elements = js_alert_metadata_elements(alert->metadata);
	}
	alert->threshold = Max(row->threshold, 1);
	alert->within = row->within;
	memcpy(alert->spans, row->spans, sizeof(alert->spans));
	alert->every_failure = row->every_failure;
	alert->group_for = row->group_for;
	alert->repeat_every = row->repeat_every;
	alert->resolved = row->resolved;
	MemoryContextSwitchTo(outer);
	stop_conditions(alert, js_clock_now());
	sched_alert_recall_due(alert);
	note_owner(alert->owner);
}

static void
forget(Alert *alert)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &alert->states)
	{
		AlertState *state = dlist_container(AlertState, node, iter.cur);

		dlist_delete(&state->node);
		state->alert = NULL;
		sched_alert_state_drop(state);
	}
	for (int i = 0; i < alert->nlinks; i++)
		drop_link(alert->links[i]);
	alert->nlinks = 0;
	for (int i = 0; i < alert->nmutes; i++)
		js_alert_mute_delete(&alert->id, alert->mutes[i].job_id, true);
	if (alert->links != NULL)
		pfree(alert->links);
	sched_alert_remove(alert);
}

/* Definitions that are known cost no more than this. */
static bool
is_new(const JsAlert *head)
{
	const Alert *alert = sched_alert_find(&head->id);

	return alert == NULL || alert->owner->owner != head->owner || alert->revision != head->revision;
}

static void
take_definition(const JsAlert *row, void *arg)
{
	Alert	   *alert = sched_alert_find(&row->id);

	sched_watch_owner(row->owner, row->owner_is_stale);
	if (!OidIsValid(row->owner))
		return;
	if (alert != NULL && alert->owner->owner != row->owner)
	{
		forget(alert);
		alert = NULL;
	}
	if (alert == NULL)
		alert = sched_alert_make(&row->id, sched_alert_owner(row->owner, true));
	alert->seen = true;
	if (alert->revision != row->revision)
		apply(alert, row);
}

static void
take_mute(const JsAlertMute *mute, void *arg)
{
	Alert	   *alert = sched_alert_find(&mute->alert_id);
	bool		first = *(bool *) arg;
	MemoryContext outer;

	/* It was dropped while there was no scheduler. */
	if (first && alert == NULL && !js_alert_exists(&mute->alert_id))
		js_alert_mute_delete(&mute->alert_id, mute->job_id, true);
	if (alert == NULL || alert->nmutes > JS_MAX_ALERT_MUTES)
		return;
	outer = MemoryContextSwitchTo(alert->context);
	alert->mutes = alert->mutes == NULL ? palloc(sizeof(AlertMute)) :
		repalloc(alert->mutes, (alert->nmutes + 1) * sizeof(AlertMute));
	alert->mutes[alert->nmutes].job_id = mute->job_id;
	alert->mutes[alert->nmutes++].until = mute->until;
	MemoryContextSwitchTo(outer);
}

static void
begin_visit(Alert *alert)
{
	alert->seen = false;
	if (alert->mutes != NULL)
		pfree(alert->mutes);
	alert->mutes = NULL;
	alert->nmutes = 0;
}

static List *unseen;

static void
note_unseen(Alert *alert)
{
	if (!alert->seen)
		unseen = lappend(unseen, alert);
}

static void
load_state(const JsAlertState *row, void *arg)
{
	Alert	   *alert = sched_alert_find(&row->alert_id);
	int64		seq = Max(row->seq, row->fired_seq);

	/* One that sleeps here is not ours to forget. */
	if (alert == NULL && js_alert_exists(&row->alert_id))
		return;
	if (seq > sched_alert_seq && seq < PG_INT64_MAX / 2)
		sched_alert_seq = seq;
	sched_alert_state_adopt(row, alert);
	if (alert != NULL)
		alert->some_held |= row->held;
}

static void
load_told(const JsAlertTold *row, void *arg)
{
	Alert	   *alert = sched_alert_find(&row->alert_id);
	AlertLink  *link = alert == NULL ? NULL : find_link(alert->links, alert->nlinks, row->channel);

	if (link == NULL)
	{
		if (alert != NULL || !js_alert_exists(&row->alert_id))
			(void) js_alert_told_delete(&row->alert_id, row->channel);
		return;
	}
	link->in_table = true;
	link->told_seq = row->told_seq;
	link->told_before = row->told_before;
	link->run_id = row->run_id;
	link->sent_at = row->sent_at;
	link->remind_at = row->remind_at == DT_NOBEGIN ? DT_NOEND : row->remind_at;
	/* From before the clock was set back. */
	if (link->remind_at != DT_NOEND && alert->repeat_every > 0)
		link->remind_at = Min(link->remind_at, sched_alert_later(js_clock_now(), alert->repeat_every));
	link->failed_at = row->failed_at;
	if (row->told_seq > sched_alert_seq && row->told_seq < PG_INT64_MAX / 2)
		sched_alert_seq = row->told_seq;
	sched_alert_set_due(link->channel, link->channel->due_at, Min(link->channel->remind_at, link->remind_at));
}

/* Not so often that it would take more than a tenth of the time. */
TimestampTz
sched_alerts_read_after(void)
{
	if (!sched_alerts_stale && !owners_changed)
		return DT_NOEND;
	/* The clock was set back. */
	if (read_after - GetCurrentTimestamp() > LONGEST_PAUSE_US)
		read_after = 0;
	return read_after;
}

/* All definitions; at the start also what there is of their states. */
void
sched_alerts_read(bool first)
{
	TimestampTz began = GetCurrentTimestamp();
	ListCell   *lc;

	sched_alerts_stale = false;
	sched_alerts_each(begin_visit);
	js_alerts_visit(is_new, take_definition, NULL);
	js_alert_mutes_visit(take_mute, &first);
	unseen = NIL;
	sched_alerts_each(note_unseen);
	foreach(lc, unseen)
		forget(lfirst(lc));
	list_free(unseen);
	if (first)
	{
		js_alert_states_visit(load_state, NULL);
		js_alert_tolds_visit(load_told, NULL);
		strays = true;
	}
	read_after = GetCurrentTimestamp() + 10 * (GetCurrentTimestamp() - began);
}

/* ------------------------------------------------------------------------
 * Which jobs they concern
 * ------------------------------------------------------------------------
 */

/*
 * "*" stands for any characters.  What is between two of them is looked for once, at
 * its first place, in time that grows with the sum of both lengths.
 */
static bool
name_matches(const char *name, const char *pattern)
{
	const char *star = strchr(pattern, '*');
	const char *next;
	size_t		left;

	if (star == NULL)
		return strcmp(name, pattern) == 0;
	if (strncmp(name, pattern, star - pattern) != 0)
		return false;
	name += star - pattern;
	for (pattern = star + 1; (next = strchr(pattern, '*')) != NULL; pattern = next + 1)
	{
		char		part[JS_MAX_ALERT_PATTERN + 1];

		strlcpy(part, pattern, Min((size_t) (next - pattern) + 1, sizeof(part)));
		name = strstr(name, part);
		if (name == NULL)
			return false;
		name += next - pattern;
	}
	left = strlen(name);
	return left >= strlen(pattern) && strcmp(name + left - strlen(pattern), pattern) == 0;
}

/* What it costs to look for the metadata of an alert in that of a job. */
static int
contains_cost(const Alert *alert, const JsAlertJob *job)
{
	return OBJECT_COST + alert->elements * (VARSIZE(job->metadata) / ELEMENT_BYTES + 1);
}

static bool
contains(const Alert *alert, const JsAlertJob *job, MemoryContext context)
{
	MemoryContext outer = MemoryContextSwitchTo(context);
	bool		result = DatumGetBool(DirectFunctionCall2(jsonb_contains, JsonbPGetDatum(job->metadata),
														  JsonbPGetDatum(alert->metadata)));

	MemoryContextSwitchTo(outer);
	MemoryContextReset(context);
	return result;
}

static bool
concerns(const Alert *alert, const JsAlertJob *job, MemoryContext context, int *compared)
{
	bool		named = false;

	for (int i = 0; i < alert->npatterns && !named; i++)
		named = name_matches(job->name, alert->patterns[i]);
	*compared += alert->npatterns;
	if (!named || alert->metadata == NULL)
		return named;
	if (job->metadata == NULL || !JB_ROOT_IS_OBJECT(job->metadata))
		return false;
	*compared += contains_cost(alert, job);
	return contains(alert, job, context);
}

/* What the job's alerts know of it, of those that do not concern it any more. */
static void
stop_others(JobEntry *job, Alert **list, int count, TimestampTz now)
{
	for (int i = 0; job->alerts != NULL && i < job->alerts->nwatches; i++)
	{
		Alert	   *alert = job->alerts->watches[i].alert;
		bool		stays = false;

		for (int k = 0; k < count; k++)
			stays |= list[k] == alert;
		for (int k = 0; !stays && k < JS_ALERT_CONDITIONS; k++)
		{
			AlertState *state = sched_alert_state(&alert->id, job->job_id, (JsAlertCondition) k);

			if (state != NULL && !state->gone)
				sched_alert_stop(state, now);
		}
	}
}

/* Not more often than somebody can read it. */
static void
log_rest(const JsAlertJob *job, const Alert *alert, const char *what)
{
	static TimestampTz logged_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (now >= logged_at && now - logged_at < LOG_EVERY_US)
		return;
	logged_at = now;
	ereport(LOG,
			(errmsg("job \"%s\" has more alerts than %s: alert \"%s\", and others perhaps, do not concern it",
					job->name, what, alert->name)));
}

static int
match_with(const JsAlertJob *job, AlertOwner *owner, Alert **list, int *left)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jobsched contains", ALLOCSET_DEFAULT_SIZES);
	int			compared = 0;
	int			count = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &owner->alerts)
	{
		Alert	   *alert = dlist_container(Alert, node, iter.cur);

		if (compared > COMPARED_OF_JOB)
		{
			log_rest(job, alert, "can be compared with it");
			break;
		}
		if (!concerns(alert, job, context, &compared))
			continue;
		if (count == ALERTS_OF_JOB)
		{
			log_rest(job, alert, psprintf("%d", ALERTS_OF_JOB));
			break;
		}
		list[count++] = alert;
	}
	MemoryContextDelete(context);
	*left -= compared;
	return count;
}

static bool
wants_metadata(const AlertOwner *owner)
{
	dlist_iter	iter;

	dlist_foreach(iter, (dlist_head *) &owner->alerts)
	{
		if (dlist_container(Alert, node, iter.cur)->metadata != NULL)
			return true;
	}
	return false;
}

/* An instant from before the clock was set back is as good as now, and does not move on with it. */
static TimestampTz
not_to_come(TimestampTz at, TimestampTz known, TimestampTz now)
{
	if (at <= now)
		return at;
	return known == DT_NOBEGIN ? now : known;
}

/* What has been known of when it succeeded is kept; the table has it else. */
static void
set_success(JobEntry *job, TimestampTz known, const JsAlertJob *row, TimestampTz now)
{
	JsJobState	state;

	if (job->alerts == NULL)
		return;
	job->alerts->success_at = Max(known, not_to_come(row->created_at, known, now));
	if (js_job_state_read(job->job_id, &state))
		job->alerts->success_at = Max(job->alerts->success_at, not_to_come(state.succeeded_at, known, now));
}

static void
match(JobEntry *job, TimestampTz now, int *left)
{
	AlertOwner *owner = sched_alert_owner(job->owner, false);
	TimestampTz known = job->alerts == NULL ? DT_NOBEGIN : job->alerts->success_at;
	bool		was_held = job->alerts != NULL && job->alerts->was_held;
	bool		looked = job->alerts != NULL && job->alerts->looked;
	Alert	   *list[ALERTS_OF_JOB];
	int			count = 0;
	JsAlertJob	row;

	job->alerts_stale = false;
	*left -= ALERT_READ_COST;
	if (owner != NULL && !job->is_step && !job->is_channel && !job->dropped && !job->asleep &&
		js_alert_job_read(job->job_id, wants_metadata(owner), &row))
		count = match_with(&row, owner, list, left);
	if (count == 0 && job->alerts == NULL)
		return;
	stop_others(job, list, count, now);
	sched_alert_attach(job, list, count);
	set_success(job, known, &row, now);
	if (count > 0)
	{
		job->alerts->was_held = was_held;
		job->alerts->looked = looked;
	}
}

/* Which alerts concern a job, if that is not known; returns what it has cost. */
int
sched_alert_match(JobEntry *job, TimestampTz now)
{
	int			left = 0;

	if (job->alerts_stale)
		match(job, now, &left);
	return -left;
}

static void
note_job(JobEntry *job, TimestampTz now)
{
	if (!job->is_step && (job->alerts != NULL || is_changed(job->owner)))
		sched_alert_stale(job);
}

/* Alerts of some roles have changed: their jobs are matched anew, in portions. */
static void
note_jobs(void)
{
	TimestampTz began = GetCurrentTimestamp();

	sched_jobs_each(note_job, 0);
	nchanged = 0;
	owners_changed = false;
	read_after = Max(read_after, GetCurrentTimestamp() + 10 * (GetCurrentTimestamp() - began));
}

static bool
is_watched(const Alert *alert, int64 job_id)
{
	const JobEntry *job = sched_job_find(job_id);

	for (int i = 0; job != NULL && job->alerts != NULL && i < job->alerts->nwatches; i++)
		if (job->alerts->watches[i].alert == alert)
			return true;
	return false;
}

/* What became of jobs and conditions while there was no scheduler. */
static void
stop_strays(Alert *alert)
{
	TimestampTz now = js_clock_now();
	dlist_iter	iter;

	stop_conditions(alert, now);
	dlist_foreach(iter, &alert->states)
	{
		AlertState *state = dlist_container(AlertState, node, iter.cur);

		if (!state->gone && !is_watched(alert, state->key.job_id))
			sched_alert_stop(state, now);
	}
}

/* Whether jobs are to be matched, or what is left of those that are gone is to be seen to. */
bool
sched_alerts_match_waits(void)
{
	return strays || sched_alert_stale_waits();
}

/* All that is known from before is of jobs that have been matched by now. */
static bool
all_matched(void)
{
	if (sched_alert_stale_waits())
		return false;
	if (strays)
		sched_alerts_each(stop_strays);
	strays = false;
	return true;
}

/* False: there is more to be done. */
bool
sched_alerts_match(TimestampTz now)
{
	MemoryContext scratch;
	MemoryContext outer;
	int			left = MAX_COMPARED;
	int64		job_id;

	if (owners_changed)
		note_jobs();
	if (!sched_alert_stale_waits())
		return all_matched();
	scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched match", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(scratch);
	while (left > 0 && (job_id = sched_alert_next_stale()) != 0)
	{
		JobEntry   *job = sched_job_find(job_id);

		if (job != NULL && job->alerts_stale)
			match(job, now, &left);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
	return all_matched();
}
