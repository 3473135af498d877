/*-------------------------------------------------------------------------
 *
 * sched_news.c
 *		What is to be read from the tables, and when.
 *
 * At its start the scheduler reads everything: jobs, their states, the queue.
 * After that it reads the rows that the news in shared memory name.  When the
 * news have overflowed, or a prepared transaction has committed, or after a
 * long time to be safe, it reads everything again.  It skips what it knows
 * already, so that is always right.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "pgstat.h"
#include "scheduler/sched.h"
#include "store/table.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

/* Rows read in one step, when all are read again. */
#define READ_AT_A_TIME 5000

/* Rows that news may name, to be read in one step. */
#define MAX_READ 20000

static JsNews news[JS_WAKE_SIZE];

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
	bool		was_home = sched.home;

	sched_check_version();
	changes_seen = changes_of_jobs();
	sched.home = js_identity_read(&sched.token);
	if (sched.home && !was_home)
	{
		sched_after_search_again();
		sched_event_search_again();
	}
	js_jobs_visit_all(first ? sched_load_first_job : sched_load_job, NULL);
	if (first)
		js_job_states_visit(sched_load_state, NULL);
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
	return js_runs_visit_some(from, down, READ_AT_A_TIME, sched_load_run, &now);
}

static int64
read_stops(int64 from, bool down, TimestampTz now)
{
	return js_stops_visit_some(from, down, READ_AT_A_TIME, sched_add_stop, NULL);
}

static void
take_event(const JsEvent *head, void *arg)
{
	sched_event_came(head, NULL);
	sched_event_count(head);
}

static void
take_new_event(const JsEvent *head, void *arg)
{
	sched_event_came(head, NULL);
	sched_event_count_new(head);
}

/* On the way up they are counted too. */
static int64
read_events(int64 from, bool down, TimestampTz now)
{
	int64		next;

	if (down)
		return js_events_visit_some(from, true, READ_AT_A_TIME, sched_event_came, NULL);
	if (from == 1)
		sched_event_count_begin();
	next = js_events_visit_some(from, false, READ_AT_A_TIME, take_event, NULL);
	if (next == 0)
		sched_event_count_end();
	return next;
}

enum
{
	RUNS, STOPS, EVENTS
};

static Reader readers[] = {[RUNS] = {.read = read_runs},[STOPS] = {.read = read_stops},[EVENTS] = {.read = read_events}};

static void
load_queue(TimestampTz now)
{
	js_runs_visit_all(sched_load_run, &now);
	js_stops_visit_all(sched_add_stop, NULL);
	readers[EVENTS].up = 1;		/* some may have been prepared: these get
								 * their numbers */
}

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
	dlist_iter	iter;

	if (!sched.some_unread)
		return NULL;
	sched.some_unread = false;
	dlist_foreach(iter, &sched.owners)
	{
		OwnerEntry *owner = dlist_container(OwnerEntry, node, iter.cur);

		sched.some_unread |= owner->unread_from != PG_INT64_MAX;
		if (owner->unread_from != PG_INT64_MAX && owner->jobless == NIL && sched_owner_has_room(owner, 8))
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

/* Whether there are runs to be read, of whomever. */
bool
sched_reading_runs(void)
{
	return readers[RUNS].down > 0 || readers[RUNS].up > 0 || readers[RUNS].again;
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
	sched_load_limits();
	sched_alerts_load();
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
	sched_load_limits();
	sched_limits_sweep(now);
	sched_hooks_sweep(now);
	sched_stats_note_resets();
	sched_alerts_sweep();
}

bool
sched_news_waiting(void)
{
	return js_database_has_news(sched.db) || sched_ends_waiting() || sched_promotions_waiting() ||
		sched.unplaced != NIL || sched_after_waiting() || sched_event_waiting() || sched_retire_waiting() || sched_reading();
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
		js_runs_visit(item->first, item->last, sched_load_run, &now);
	else if (item->kind == JS_NEWS_EVENTS)
		js_events_visit(item->first, item->last, take_new_event, NULL);
	else
		js_stops_visit(item->first, item->last, sched_add_stop, NULL);
}

/*
 * Reads runs, stops or events that news name.  Those that name few rows come first;
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
		sched_load_limits();
		sched_alerts_note();
		load_jobs();
		ask_for_all();
		sched_stats_note_resets();
	}
	for (int i = 0; i < count; i++)
		if (news[i].kind == JS_NEWS_PROCESSING)
			load_stopped();
		else if (news[i].kind == JS_NEWS_RESETS)
			sched_stats_note_resets();
	for (int i = 0; i < count; i++)
		if (news[i].kind == JS_NEWS_JOBS)
			js_jobs_visit(news[i].first, news[i].last, sched_load_job, NULL);
	for (int i = 0; i < count; i++)
		if (news[i].kind == JS_NEWS_ALERTS)
			sched_alerts_note();
	if (limits_are_new(count))
		sched_load_limits();
	read_rows(JS_NEWS_RUNS, count, now);
	read_rows(JS_NEWS_STOPS, count, now);
	read_rows(JS_NEWS_EVENTS, count, now);
}

/* ------------------------------------------------------------------------
 * Requests whose job is yet to be made
 * ------------------------------------------------------------------------
 */

/* Those whose turn it is, oldest first; one for which it is not yet time goes to the end. */
static void
serve_owner(OwnerEntry *owner, TimestampTz now)
{
	List	   *line = owner->jobless;
	int			served = 0;

	owner->jobless = NIL;
	while (served < list_length(line) && owner->settle_left > 0)
	{
		int64	   *run_id = list_nth(line, served++);

		js_runs_visit(*run_id, *run_id, sched_load_run, &now);
		pfree(run_id);
	}
	sched_settle_later(owner, line, served);
}

/* At the beginning of a step. */
void
sched_settle_waiting(TimestampTz now)
{
	TimestampTz real_now = GetCurrentTimestamp();
	dlist_iter	iter;

	dlist_foreach(iter, &sched.owners)
	{
		OwnerEntry *owner = dlist_container(OwnerEntry, node, iter.cur);

		if (sched_settle_begin(owner, real_now))
			serve_owner(owner, now);
	}
}
