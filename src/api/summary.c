/*-------------------------------------------------------------------------
 *
 * summary.c
 *		dashboard_summary(): one row of what the caller may see.
 *
 * Nothing is counted that may be large: what is in the queue says the scheduler, by role
 * (sched_show.c); what has ended say the totals of roles in statistics (store_stat.h).
 * So it takes as long as there are roles, however many jobs and runs they have.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "api/access.h"
#include "api/stat_values.h"
#include "api/status.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "shmem/clock.h"
#include "store/store.h"
#include "store/store_stat.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_dashboard_summary);

enum SummaryColumn
{
	SUM_AT, SUM_PROCESSING, SUM_RUNNING, SUM_READY, SUM_LIMITED, SUM_BEHIND, SUM_HELD, SUM_SCHEDULED,
	SUM_WAITING, SUM_OPEN, SUM_COMPLETE, SUM_HTTP_IN_FLIGHT, SUM_WORKERS, SUM_BUSY_WORKERS,
	SUM_MAX_WORKERS, SUM_ASLEEP_JOBS, SUM_INVALID_JOBS, SUM_PERIODS,
	SUM_OLDEST_READY = SUM_PERIODS + 3 * 9, SUM_COLUMNS
};

typedef struct Summary
{
	Datum		values[SUM_COLUMNS];
	bool		nulls[SUM_COLUMNS];
} Summary;

static void
set(Summary *summary, int column, int64 value, bool isnull)
{
	summary->values[column] = Int64GetDatum(value);
	summary->nulls[column] = isnull;
}

/* ------------------------------------------------------------------------
 * Now
 * ------------------------------------------------------------------------
 */

static void
add_queue(JsQueueShown *sum, const JsQueueShown *queue, int64 *in_flight)
{
	sum->partial |= queue->partial;
	sum->running += queue->running;
	sum->ready += queue->ready;
	sum->limited += queue->limited;
	sum->behind += queue->behind;
	sum->held += queue->held;
	sum->future += queue->future;
	sum->after_others += queue->after_others;
	sum->parents += queue->parents;
	sum->oldest_ready = Min(sum->oldest_ready, queue->oldest_ready);
	if (queue->http)
		*in_flight += queue->running;
}

/* Those of roles that have no place of their own there are not the caller's to see, perhaps. */
static void
put_queue(Summary *summary, const SchedulerStatus *status)
{
	bool		unknown = status->pid == 0;
	JsQueueShown sum = {.partial = status->queues_partial,.oldest_ready = DT_NOEND};
	int64		in_flight = 0;

	for (int i = 0; i < status->queues_count; i++)
		if (js_may_see(status->queues[i].owner))
			add_queue(&sum, &status->queues[i], &in_flight);
		else
			sum.partial |= !OidIsValid(status->queues[i].owner);
	set(summary, SUM_RUNNING, sum.running, unknown);
	set(summary, SUM_READY, sum.ready, unknown);
	set(summary, SUM_LIMITED, sum.limited, unknown);
	set(summary, SUM_BEHIND, sum.behind, unknown);
	set(summary, SUM_HELD, sum.held, unknown);
	set(summary, SUM_SCHEDULED, sum.future, unknown);
	set(summary, SUM_WAITING, sum.after_others, unknown);
	set(summary, SUM_OPEN, sum.parents, unknown);
	set(summary, SUM_HTTP_IN_FLIGHT, in_flight, unknown);
	summary->values[SUM_OLDEST_READY] = TimestampTzGetDatum(sum.oldest_ready);
	summary->nulls[SUM_OLDEST_READY] = unknown || sum.oldest_ready == DT_NOEND;
	summary->values[SUM_COMPLETE] = BoolGetDatum(!sum.partial);
	summary->nulls[SUM_COMPLETE] = unknown;
}

/* What may be seen is looked up when the lock is free again. */
static void
put_workers(Summary *summary)
{
	Oid		   *owners = palloc(js->max_seats * sizeof(Oid));
	bool	   *is_busy = palloc(js->max_seats * sizeof(bool));
	int			count = 0;
	int64		workers = 0;
	int64		busy = 0;

	LWLockAcquire(js->lock, LW_SHARED);
	for (int i = 0; i < js->max_seats; i++)
	{
		const JsSeat *seat = &js->seats[i];

		if (seat->state == JS_SEAT_FREE || seat->dboid != MyDatabaseId)
			continue;
		owners[count] = seat->owner;
		is_busy[count++] = seat->current_count > 0;
	}
	LWLockRelease(js->lock);
	for (int i = 0; i < count; i++)
	{
		bool		seen = js_may_see(owners[i]);

		workers += seen;
		busy += seen && is_busy[i];
	}
	set(summary, SUM_WORKERS, workers, false);
	set(summary, SUM_BUSY_WORKERS, busy, false);
	set(summary, SUM_MAX_WORKERS, js_guc_max_workers, false);
}

static void
put_now(Summary *summary, const SchedulerStatus *status)
{
	bool		on = status->pid != 0 && !RecoveryInProgress() && js_scheduler_is_enabled(status) &&
		js_stopped_at() == DT_NOBEGIN;

	summary->values[SUM_AT] = TimestampTzGetDatum(js_clock_now());
	summary->values[SUM_PROCESSING] = BoolGetDatum(on);
	put_queue(summary, status);
	put_workers(summary);
	set(summary, SUM_ASLEEP_JOBS, status->asleep_jobs, status->pid == 0);
	set(summary, SUM_INVALID_JOBS, status->invalid_jobs, status->pid == 0);
}

/* ------------------------------------------------------------------------
 * The last hour, day and week
 * ------------------------------------------------------------------------
 */

typedef struct Totals
{
	TimestampTz since[3];
	JsStat		stats[3];
} Totals;

static void
add_entry(const JsStatEntry *entry, void *arg)
{
	Totals	   *totals = arg;

	for (int i = 0; i < 3; i++)
		if (entry->start >= totals->since[i])
			js_stat_add_encoded(&totals->stats[i], entry->bytes, entry->size);
}

static void
read_totals(Totals *totals, TimestampTz now)
{
	JsStatReader reader;
	int64		id = JS_STAT_FIRST_ID;

	totals->since[0] = js_stat_begin_of(now - USECS_PER_HOUR, JS_STAT_TEN_MINUTES);
	totals->since[1] = js_stat_begin_of(now - USECS_PER_DAY, JS_STAT_HOUR);
	totals->since[2] = js_stat_begin_of(now - 7 * USECS_PER_DAY, JS_STAT_HOUR);
	js_stat_reader_open(&reader);
	while ((id = js_stat_next_total(&reader, id)) != 0)
		if (js_may_see(js_stat_owner_of_total(id)))
			js_stat_visit(&reader, id, totals->since[2], DT_NOEND, add_entry, totals);
	js_stat_reader_close(&reader);
}

static void
put_period(Summary *summary, int column, const JsStat *stat)
{
	Datum		durations[5];
	bool		none[5];

	set(summary, column, js_histogram_total(&stat->durations), false);
	set(summary, column + 1, js_stat_failures(stat), false);
	js_stat_put_rate(stat, &summary->values[column + 2], &summary->nulls[column + 2]);
	js_stat_put_durations(&stat->durations, durations, none);
	for (int i = 0; i < 2; i++)
	{
		summary->values[column + 3 + i] = durations[1 + i];
		summary->nulls[column + 3 + i] = none[1 + i];
	}
	js_stat_put_p95(&stat->delays, &summary->values[column + 5], &summary->nulls[column + 5]);
	set(summary, column + 6, stat->skipped, false);
	set(summary, column + 7, stat->missed, false);
	set(summary, column + 8, stat->retries, false);
}

Datum
jobsched_dashboard_summary(PG_FUNCTION_ARGS)
{
	SchedulerStatus *status = palloc(sizeof(SchedulerStatus));
	Totals	   *totals = palloc0(sizeof(Totals));
	Summary    *summary = palloc0(sizeof(Summary));
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != SUM_COLUMNS)
		elog(ERROR, "dashboard_summary() has been declared wrongly");
	js_scheduler_copy(status);
	put_now(summary, status);
	read_totals(totals, js_clock_now());
	for (int i = 0; i < 3; i++)
		put_period(summary, SUM_PERIODS + 9 * i, &totals->stats[i]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), summary->values, summary->nulls));
}
