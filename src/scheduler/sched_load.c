/*-------------------------------------------------------------------------
 *
 * sched_load.c
 *		From tables to the scheduler's memory.
 *
 * At its start the scheduler reads everything: jobs, their states, the queue;
 * and it looks at the seats of workers that a predecessor left.  After that
 * it reads what the news in shared memory name, row by row.  When the news
 * have overflowed, or a prepared transaction has committed, or once in a long
 * while to be safe, it reads everything again: what it knows already is
 * passed over, so that is always right.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "store/table.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_LOGGED_JOBS 1000

/* Rows read in one step, when all are read again. */
#define READ_AT_A_TIME 5000

/* Rows that news may name, to be read in one step. */
#define MAX_READ 20000

/* Some role has runs that are in the table only. */
static bool some_unread = false;

static JsNews news[JS_WAKE_SIZE];

/* ------------------------------------------------------------------------
 * Jobs
 * ------------------------------------------------------------------------
 */

static void
apply_drop(JobEntry *job, const JsJob *row)
{
	sched_note_dropped(job);
	job->dropped = true;
	sched_set_flag(&job->asleep, false, &sched.asleep_count);
	sched_job_set_next(job, DT_NOEND);
	job->cancel_running = row->cancel_running;
}

static bool
is_at_startup(const char *schedule)
{
	return schedule != NULL && schedule[0] == '@' &&
		(pg_strcasecmp(schedule, "@startup") == 0 || pg_strcasecmp(schedule, "@reboot") == 0);
}

/*
 * Whether runs of the job's slots must not be beside others.  With 'skip' there
 * are several of them only where missed slots are made up for one by one.
 */
static bool
is_serial(const JsJob *row)
{
	switch (row->overlap)
	{
		case JS_OVERLAP_QUEUE:
		case JS_OVERLAP_REPLACE:
			return true;
		case JS_OVERLAP_SKIP:
			return row->misfire == JS_MISFIRE_ALL;
		case JS_OVERLAP_ALLOW:
			break;
	}
	return false;
}

static void
note_all_cut_off(const JobEntry *job)
{
	dlist_iter	iter;

	dlist_foreach(iter, (dlist_head *) &job->runs)
		sched_note_cut_off(dlist_container(RunEntry, job_node, iter.cur));
}

/* Whether a change of the job concerns runs that wait. */
static bool
moves_runs(const JobEntry *before, const JobEntry *job)
{
	return job->owner != before->owner || job->http != before->http ||
		job->serial != before->serial || job->paused != before->paused ||
		job->auto_paused != before->auto_paused || job->asleep != before->asleep ||
		job->invalid != before->invalid || job->dropped != before->dropped ||
		job->queue != before->queue || job->max_concurrency != before->max_concurrency;
}

/* Brings the entry of a job up to date with its row. */
void
sched_apply_job(const JsJob *row)
{
	JobEntry   *job = sched_job_find(row->job_id);
	bool		is_new = job == NULL;
	bool		at_home = sched.home && memcmp(&row->home, &sched.token, sizeof(pg_uuid_t)) == 0;
	JobEntry	before;

	if (at_home)
		sched_watch_owner(row->owner, row->owner_is_stale);
	if (is_new && row->dropped_at != DT_NOBEGIN)
		return;
	if (is_new)
		job = sched_job_make(row->job_id);
	else if (job->revision == row->revision)
		return;
	before = *job;
	sched_set_flag(&job->invalid, false, &sched.invalid_count);
	job->revision = row->revision;
	/* The OID of a dropped role may be given out again while we live. */
	job->owner = row->owner_name != NULL ? row->owner : InvalidOid;
	job->transactional = row->transactional;
	job->http = row->sends_request;
	job->shares = row->share_transaction;
	job->timeout = row->timeout;
	job->overlap = row->overlap;
	job->serial = is_serial(row);
	job->pause_after_failures = row->pause_after_failures;
	job->auto_paused = false;	/* that was another revision */
	job->has_schedule = row->schedule != NULL;
	job->at_startup = is_at_startup(row->schedule);
	job->enabled = row->enabled;
	job->paused = row->paused;
	sched_job_set_limits(job, row);
	sched_set_flag(&job->asleep, !at_home, &sched.asleep_count);
	if (before.asleep && !job->asleep)
	{
		note_all_cut_off(job);
		job->woken = sched.any_woken = true;
	}
	if (row->dropped_at != DT_NOBEGIN)
		apply_drop(job, row);
	else if (job->schedule_revision != row->schedule_revision)
	{
		job->schedule_revision = row->schedule_revision;
		sched_job_set_next(job, row->first_run_at == DT_NOBEGIN ? DT_NOEND : row->first_run_at);
	}
	else
		sched_job_set_next(job, job->next_run_at);
	if (moves_runs(&before, job))
		sched_job_place_runs(job);
}

/* Slots passed over of which no row tells yet. */
static void
recall_skips(JobEntry *job, const JsJobState *state)
{
	job->skipped = state->skipped;
	job->skipped_first = state->skipped_first;
	job->skipped_last = state->skipped_last;
	job->queue_full = state->skipped_reason != NULL &&
		strcmp(state->skipped_reason, SCHED_REASON_QUEUE_FULL) == 0;
}

/* Only a job that is new to us has anything to learn from its state. */
static void
visit_job_state(const JsJobState *state, void *arg)
{
	JobEntry   *job = sched_job_find(state->job_id);

	if (job == NULL || job->dropped)
		return;
	job->last_slot = state->last_slot;
	job->done_before = state->done_before;
	job->done_from = state->done_from;
	recall_skips(job, state);
	job->auto_paused = state->auto_paused_revision == job->revision;
	sched_set_flag(&job->invalid, state->invalid_revision == job->revision,
				   &sched.invalid_count);
	if (state->schedule_revision == job->schedule_revision)
		sched_job_set_next(job, state->next_run_at == DT_NOBEGIN ? DT_NOEND : state->next_run_at);
	else
		sched_job_set_next(job, job->next_run_at);
}

static void
visit_job(const JsJob *row, void *arg)
{
	bool		is_new = sched_job_find(row->job_id) == NULL;
	JsJobState	state;

	sched_apply_job(row);
	if (is_new && js_job_state_read(row->job_id, &state))
		visit_job_state(&state, NULL);
}

/* The scheduler has changed its row. */
void
sched_reload_job(int64 job_id)
{
	js_jobs_visit(job_id, job_id, visit_job, NULL);
}

/* At the first load the states are read in one go, after the jobs. */
static void
visit_first_job(const JsJob *row, void *arg)
{
	JobEntry   *job;

	sched_apply_job(row);
	job = sched_job_find(row->job_id);
	if (job != NULL && job->at_startup)
		sched.startup_jobs = sched_keep_id(sched.startup_jobs, job->job_id);
}

/* The job of a run whose job we have not heard of: dropped, or not yet in the news. */
static JobEntry *
load_job(int64 job_id, Oid owner)
{
	JsJob		row;
	JobEntry   *job;
	bool		found = js_job_read_head(job_id, &row);
	JsJobState	state;

	if (found && row.dropped_at == DT_NOBEGIN)
	{
		visit_job(&row, NULL);
		return sched_job_find(job_id);
	}
	job = sched_job_make(job_id);
	job->owner = owner;
	job->dropped = true;
	job->cancel_running = found && row.cancel_running;
	if (found)
		sched_job_set_limits(job, &row);	/* what runs has its places */
	if (js_job_state_read(job_id, &state))
		recall_skips(job, &state);
	sched_note_dropped(job);
	return job;
}

/* ------------------------------------------------------------------------
 * Runs
 * ------------------------------------------------------------------------
 */

/* It is read when there is room for runs of its owner. */
void
sched_leave_unread(OwnerEntry *owner, int64 run_id)
{
	owner->unread_from = Min(owner->unread_from, run_id);
	some_unread = true;
}

/*
 * Whose runs have as much memory as one role may have get no more: a run that
 * waits stays in the table until there is room.
 */
static bool
is_too_much(const JsRun *row, const JobEntry *job)
{
	bool		http = row->handler == NULL && (row->sends_request || job->http);
	OwnerEntry *owner = sched_owner(job->owner, http);

	if (row->status == JS_RUN_RUNNING || owner->memory < js_guc_max_queue_memory * INT64CONST(1024))
		return false;
	sched_leave_unread(owner, row->run_id);
	return true;
}

static void
take_in(const JsRun *row, TimestampTz now, bool in_any_case)
{
	int64		job_id = row->job_id;
	JobEntry   *job;
	RunEntry   *run;

	if (sched_run_find(row->run_id) != NULL)
		return;
	if (job_id == 0 && (job_id = sched_settle(row)) == 0)
		return;
	job = sched_job_find(job_id);
	if (job == NULL)
		job = load_job(job_id, row->owner);
	if (!in_any_case && is_too_much(row, job))
		return;
	run = sched_run_make(row->run_id, job);
	run->run_at = row->run_at;
	run->priority = row->priority;
	run->timeout = row->timeout;
	run->attempt = row->attempt;
	run->lost = row->lost;
	run->of_slot = row->source == JS_SOURCE_SCHEDULE || row->source == JS_SOURCE_STARTUP;
	run->backfill = row->source == JS_SOURCE_BACKFILL;
	run->callback = row->handler != NULL;
	run->own_request = row->sends_request;
	run->brought_by = run->callback || run->own_request ? row->owner : InvalidOid;
	run->superseded = row->job_id == 0 && sched_was_replaced(row->run_id);
	sched_run_follow(run);
	/* Until a seat shows one that runs: claimed and not handed over. */
	run->claimed = row->status == JS_RUN_RUNNING;
	run->cut_off = run->claimed && row->boot_id != js->boot_id;
	sched_limits_attach(run, row->keys);
	sched_note_cut_off(run);
	sched_run_wait(run, now);
}

static void
visit_run(const JsRun *row, void *arg)
{
	take_in(row, *(TimestampTz *) arg, false);
}

static void
visit_wanted_run(const JsRun *row, void *arg)
{
	take_in(row, *(TimestampTz *) arg, true);
}

/* Reads a run, if there is room for it. */
void
sched_run_read(int64 run_id, TimestampTz now)
{
	js_runs_visit(run_id, run_id, visit_run, &now);
}

/* A run that is not known may have committed before its news came. */
RunEntry *
sched_run_load(int64 run_id, TimestampTz now)
{
	if (sched_run_find(run_id) == NULL)
		js_runs_visit(run_id, run_id, visit_wanted_run, &now);
	return sched_run_find(run_id);
}

/* ------------------------------------------------------------------------
 * Entry points
 * ------------------------------------------------------------------------
 */

/*
 * What the server has counted of changes to table job: sessions report them
 * when they are idle, or after a while.  -1: it does not count.
 */
static int64
changes_of_jobs(void)
{
	Datum		table = ObjectIdGetDatum(js_table_oid("job"));

	if (!pgstat_track_counts)
		return -1;
	return DatumGetInt64(DirectFunctionCall1(pg_stat_get_tuples_inserted, table)) +
		DatumGetInt64(DirectFunctionCall1(pg_stat_get_tuples_updated, table)) +
		DatumGetInt64(DirectFunctionCall1(pg_stat_get_tuples_deleted, table));
}

static int64 changes_seen = -1;

static void
load_jobs(void)
{
	bool		first = sched_job_count() == 0;

	sched_check_version();
	changes_seen = changes_of_jobs();
	sched.home = js_identity_read(&sched.token);
	js_jobs_visit_all(first ? visit_first_job : visit_job, NULL);
	if (first)
		js_job_states_visit(visit_job_state, NULL);
}

static void
load_queue(TimestampTz now)
{
	js_runs_visit_all(visit_run, &now);
	js_stops_visit_all(sched_add_stop, NULL);
}

/*
 * A table that is read again, part by part, in as many steps as it takes; in
 * between others get their turn.  What is new has high ids, so one reader goes
 * down from the end, and starts again when asked to.  Another goes up through
 * all of it, and is never turned back, so nothing is passed over for ever.
 */
typedef struct Reader
{
	int64		(*read) (int64 from, bool down, TimestampTz now);
	int64		down;			/* where to go on; 0: done */
	int64		up;				/* likewise */
	bool		again;			/* asked for since the way up began */
} Reader;

static int64
read_runs(int64 from, bool down, TimestampTz now)
{
	return js_runs_visit_some(from, down, READ_AT_A_TIME, visit_run, &now);
}

static int64
read_stops(int64 from, bool down, TimestampTz now)
{
	return js_stops_visit_some(from, down, READ_AT_A_TIME, sched_add_stop, NULL);
}

static Reader readers[] = {{.read = read_runs}, {.read = read_stops}};

static void
ask_for_all(void)
{
	for (int i = 0; i < lengthof(readers); i++)
	{
		readers[i].down = PG_INT64_MAX;
		readers[i].again = true;
	}
}

static void
read_part(Reader *reader, TimestampTz now)
{
	if (reader->down == PG_INT64_MAX)
	{
		reader->down = reader->read(PG_INT64_MAX, true, now);
		reader->again = reader->again && reader->down != 0; /* that was all */
	}
	else if (reader->down > 0)
		reader->down = reader->read(reader->down, true, now);
	if (reader->up == 0 && reader->again)
	{
		reader->up = 1;
		reader->again = false;
	}
	if (reader->up > 0)
		reader->up = reader->read(reader->up, false, now);
}

/* Who has room again for runs that are in the table only; NULL: nobody. */
static OwnerEntry *
owner_with_room(void)
{
	int64		most = js_guc_max_queue_memory * INT64CONST(1024);
	dlist_iter	iter;

	if (!some_unread)
		return NULL;
	some_unread = false;
	dlist_foreach(iter, &sched.owners)
	{
		OwnerEntry *owner = dlist_container(OwnerEntry, node, iter.cur);

		some_unread |= owner->unread_from != PG_INT64_MAX;
		if (owner->unread_from != PG_INT64_MAX && owner->jobless == NIL && owner->memory < most - most / 8)
			return owner;
	}
	return NULL;
}

static void
read_unread(OwnerEntry *owner, TimestampTz now)
{
	int64		from = owner->unread_from;
	int64		next;

	owner->unread_from = PG_INT64_MAX;	/* unless there is still one */
	next = read_runs(from, false, now);
	if (next > 0)
		owner->unread_from = Min(owner->unread_from, next);
}

/* Whether there is more to be read. */
bool
sched_reading(void)
{
	for (int i = 0; i < lengthof(readers); i++)
		if (readers[i].down > 0 || readers[i].up > 0 || readers[i].again)
			return true;
	return owner_with_room() != NULL || sched_stops_unread();
}

/* A part of what there is to be read. */
void
sched_read_on(TimestampTz now)
{
	OwnerEntry *owner;

	for (int i = 0; i < lengthof(readers); i++)
		read_part(&readers[i], now);
	if ((owner = owner_with_room()) != NULL)
		read_unread(owner, now);
	sched_read_stops(read_stops, now);
}

static void
load_stopped(void)
{
	sched.stopped = js_stopped_at() != DT_NOBEGIN;
}

/* Reads everything, into an empty memory. */
void
sched_load_all(TimestampTz now)
{
	load_stopped();
	sched_limits_recall();
	sched_limits_load();
	load_jobs();
	load_queue(now);
}

/*
 * The safety net for what no news told of: changes made past the functions.
 * A million jobs that nobody has touched are not read again.
 */
void
sched_sweep(TimestampTz now)
{
	if (changes_seen == -1 || changes_of_jobs() != changes_seen)
		load_jobs();
	load_stopped();
	ask_for_all();
	sched_limits_load();
	sched_limits_sweep(now);
}

bool
sched_news_waiting(void)
{
	return js_database_has_news(sched.db) || sched_ends_waiting() || sched_promotions_waiting() ||
		sched.unplaced != NIL || sched_reading();
}

/* However many of them have changed, they are read once. */
static bool
limits_are_new(int count)
{
	for (int i = 0; i < count; i++)
		if (news[i].kind == JS_NEWS_LIMITS)
			return true;
	return sched_limits_changed();
}

static void
read_news(const JsNews *item, TimestampTz now)
{
	if (item->kind == JS_NEWS_RUNS)
		js_runs_visit(item->first, item->last, visit_run, &now);
	else
		js_stops_visit(item->first, item->last, sched_add_stop, NULL);
}

/*
 * Reads runs or stops that news name.  Those that name few rows come first;
 * what is more than can be read in one step is read in parts.
 */
static void
read_rows(JsNewsKind kind, int count, TimestampTz now)
{
	int64		left = MAX_READ;

	for (int round = 0; round < 2; round++)
		for (int i = 0; i < count; i++)
		{
			int64		span = news[i].last - news[i].first + 1;
			bool		is_short = span <= MAX_READ / JS_WAKE_SIZE;

			if (news[i].kind != kind || is_short != (round == 0))
				continue;
			if (span <= left)
				read_news(&news[i], now);
			else
				ask_for_all();
			left -= Min(span, left);
		}
}

void
sched_load_news(TimestampTz now)
{
	bool		overflow;
	int			count = js_database_take_news(sched.db, news, &overflow);

	if (overflow)
	{
		load_stopped();
		sched_limits_load();
		load_jobs();
		ask_for_all();
	}
	for (int i = 0; i < count; i++)
		if (news[i].kind == JS_NEWS_PROCESSING)
			load_stopped();
	for (int i = 0; i < count; i++)
		if (news[i].kind == JS_NEWS_JOBS)
			js_jobs_visit(news[i].first, news[i].last, visit_job, NULL);
	if (limits_are_new(count))
		sched_limits_load();
	read_rows(JS_NEWS_RUNS, count, now);
	read_rows(JS_NEWS_STOPS, count, now);
}

/*
 * Takes over the workers of a predecessor.  What they have not begun comes
 * back; what they execute is theirs.  Those who work for an extension that is
 * no longer there, but for one of the same name, are left alone until they end.
 */
void
sched_adopt_seats(void)
{
	JsMail		mail[JS_MAILBOX_SIZE];

	for (int i = 0; i < js->max_seats; i++)
	{
		SeatEntry  *seat = &sched.seats[i];

		if (!js_seat_look(i, MyDatabaseId, &seat->view))
			continue;
		seat->mine = true;
		seat->foreign = seat->view.run_table != sched.run_table;
		if (!seat->foreign)
			(void) js_seat_take_back(i, mail);
		(void) js_seat_look(i, MyDatabaseId, &seat->view);
		seat->generation = seat->view.generation;
		seat->owner = sched_owner(seat->view.owner, false);
		seat->owner->workers++;
		seat->handle = NULL;
		if (seat->foreign)
			continue;
		for (int k = 0; k < seat->view.current_count; k++)
		{
			RunEntry   *run = sched_run_find(seat->view.current[k].run_id);

			if (run == NULL)
				continue;
			sched_run_place(run, RUN_ASSIGNED);
			run->seat = i;
			run->cancel = seat->view.current[k].cancel;
			run->cancel_at = GetCurrentTimestamp();
		}
	}
	sched_http_adopt();
}

/* ------------------------------------------------------------------------
 * The log
 * ------------------------------------------------------------------------
 */

typedef struct LoggedJobs
{
	int64		ids[MAX_LOGGED_JOBS];
	int			count;
	int64		scheduled;		/* how many there are */
} LoggedJobs;

static LoggedJobs *logged;

static void
choose_logged(JobEntry *job, TimestampTz now)
{
	if (job->dropped || !job->has_schedule)
		return;
	if (logged->count < MAX_LOGGED_JOBS)
		logged->ids[logged->count++] = job->job_id;
	logged->scheduled++;
}

static const char *
next_run_text(const JobEntry *job)
{
	if (job->at_startup)
		return "at server start";
	if (!sched_job_fires(job))
		return "none while it is off";
	return job->next_run_at == DT_NOEND ? "none" : timestamptz_to_str(job->next_run_at);
}

static void
log_job(const JsJob *row)
{
	char	   *owner = GetUserNameFromId(row->owner, true);

	ereport(LOG,
			(errmsg("job \"%s\" of \"%s\": schedule \"%s\" (%s), next run %s",
					row->name, owner ? owner : "?", row->schedule, row->timezone,
					next_run_text(sched_job_find(row->job_id))),
			 errhidestmt(true)));
}

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* Says which jobs are scheduled for when, or of some if there are too many. */
void
sched_log_jobs(void)
{
	JsJob		row;

	logged = palloc0(sizeof(LoggedJobs));
	sched_jobs_each(choose_logged, 0);
	qsort(logged->ids, logged->count, sizeof(int64), compare_ids);
	for (int i = 0; i < logged->count; i++)
		if (js_job_read_head(logged->ids[i], &row))
			log_job(&row);
	if (logged->scheduled > logged->count)
		ereport(LOG,
				(errmsg(INT64_FORMAT " more scheduled jobs", logged->scheduled - logged->count)));
	pfree(logged);
}
