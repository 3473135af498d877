/*-------------------------------------------------------------------------
 *
 * run_stats.c
 *		run_stats(), view job_stats and stat_reset(): what runs added up to.
 *
 * Rows of stat are read by index, a job's in order of time, and added up as they come:
 * so a bucket of a job is complete when a later one begins, and no more than one is in
 * memory.  History is not looked at.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/stat_buckets.h"
#include "api/stat_values.h"
#include "base/arguments.h"
#include "compat.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "shmem/clock.h"
#include "shmem/wakeup.h"
#include "store/store_stat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_run_stats);
PG_FUNCTION_INFO_V1(jobsched_job_stats);
PG_FUNCTION_INFO_V1(jobsched_stat_reset);

/* ------------------------------------------------------------------------
 * run_stats()
 * ------------------------------------------------------------------------
 */

enum StatsColumn
{
	STATS_BUCKET, STATS_JOB_NAME, STATS_SUMS, STATS_COLUMNS = STATS_SUMS + JS_STAT_SUMS
};

typedef struct RunStats
{
	ReturnSetInfo *result;
	JsStatReader reader;
	TimestampTz from;
	TimestampTz to;
	Jsonb	   *metadata;		/* NULL: whatever it is */
	JsBuckets	buckets;
	const char *job_name;
	bool		is_empty;
	JsStat		sum;
} RunStats;

static void
put_bucket(RunStats *stats)
{
	Datum		values[STATS_COLUMNS];
	bool		nulls[STATS_COLUMNS] = {false};

	values[STATS_BUCKET] = TimestampTzGetDatum(stats->buckets.start);
	values[STATS_JOB_NAME] = CStringGetTextDatum(stats->job_name);
	js_stat_put_sums(&stats->sum, &values[STATS_SUMS], &nulls[STATS_SUMS]);
	tuplestore_putvalues(stats->result->setResult, stats->result->setDesc, values, nulls);
}

static void
end_bucket(RunStats *stats)
{
	if (stats->is_empty)
		return;
	put_bucket(stats);
	memset(&stats->sum, 0, sizeof(JsStat));
	stats->is_empty = true;
}

static void
add_entry(const JsStatEntry *entry, void *arg)
{
	RunStats   *stats = arg;
	JsBuckets	next = stats->buckets;

	if (js_buckets_move_on(&next, entry->start))
		end_bucket(stats);
	stats->buckets = next;
	js_stat_add_encoded(&stats->sum, entry->bytes, entry->size);
	stats->is_empty = false;
}

static bool
has_metadata(int64 job_id, Jsonb *metadata)
{
	JsJob		job;

	return metadata == NULL ||
		(js_job_read(job_id, &job) && job.metadata != NULL &&
		 DatumGetBool(DirectFunctionCall2(jsonb_contains, JsonbPGetDatum(job.metadata), JsonbPGetDatum(metadata))));
}

/* Steps are in the run of their job. */
static void
add_job(const JsJob *head, void *arg)
{
	RunStats   *stats = arg;

	if (head->workflow_id != 0 || !js_may_see(head->owner) || !has_metadata(head->job_id, stats->metadata))
		return;
	stats->job_name = head->name;
	if (!stats->buckets.whole)
		stats->buckets.start = stats->buckets.end = 0;
	js_stat_visit(&stats->reader, head->job_id, stats->from, stats->to, add_entry, stats);
	end_bucket(stats);
}

/* owner: InvalidOid: whoever it is. */
static void
add_named(const char *name, Oid owner, RunStats *stats)
{
	bool		found = false;
	ListCell   *lc;

	foreach(lc, js_jobs_named(name))
	{
		const JsJob *head = lfirst(lc);

		if (!js_may_see(head->owner) || (OidIsValid(owner) && head->owner != owner))
			continue;
		found = true;
		add_job(head, stats);
	}
	if (!found && OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" of role \"%s\" does not exist", name, GetUserNameFromId(owner, false))));
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" does not exist", name)));
}

/* Also one that has been dropped: its statistics stay for a while. */
static void
add_of_id(int64 job_id, RunStats *stats)
{
	JsJob		head;

	if (!js_job_read_head(job_id, &head) || head.workflow_id != 0 || !js_may_see(head.owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job " INT64_FORMAT " does not exist", job_id)));
	add_job(&head, stats);
}

static void
add_jobs(FunctionCallInfo fcinfo, RunStats *stats)
{
	JsJobPlaces at = {.job = 3,.owner = 6,.job_id = 7};

	if (!js_job_filter_is_given(fcinfo, &at))
		js_jobs_visit_all(add_job, stats);
	else if (!PG_ARGISNULL(at.job_id))
		add_of_id(PG_GETARG_INT64(at.job_id), stats);
	else
		add_named(js_text_argument(fcinfo, at.job),
				  PG_ARGISNULL(at.owner) ? InvalidOid : js_owner_argument(fcinfo, at.owner), stats);
}

static void
read_arguments(FunctionCallInfo fcinfo, RunStats *stats)
{
	stats->from = PG_ARGISNULL(0) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(0);
	stats->to = PG_ARGISNULL(1) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(1);
	js_buckets_read(fcinfo, 2, 5, &stats->buckets);
	stats->buckets.start = stats->from;
	stats->metadata = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	stats->is_empty = true;
}

/* "from", "to", bucket, job, metadata, timezone, owner, job_id */
Datum
jobsched_run_stats(PG_FUNCTION_ARGS)
{
	RunStats   *stats = palloc0(sizeof(RunStats));

	InitMaterializedSRF(fcinfo, 0);
	stats->result = (ReturnSetInfo *) fcinfo->resultinfo;
	read_arguments(fcinfo, stats);
	js_stat_reader_open(&stats->reader);
	add_jobs(fcinfo, stats);
	js_stat_reader_close(&stats->reader);
	return (Datum) 0;
}

/* ------------------------------------------------------------------------
 * View job_stats
 * ------------------------------------------------------------------------
 */

enum JobStatsColumn
{
	JOB_PERIOD, JOB_SINCE, JOB_RUNS, JOB_SUCCEEDED, JOB_SUCCESS_RATE, JOB_MEAN, JOB_P50, JOB_P95,
	JOB_P99, JOB_MAX, JOB_DELAY_P95, JOB_RUNS_BEFORE, JOB_SUCCESS_RATE_BEFORE, JOB_P95_BEFORE,
	JOB_COLUMNS
};

typedef struct Period
{
	int64		width;
	JsStatWidth grain;			/* what is kept for twice as long */
	TimestampTz since;
	JsStat		now;
	JsStat		before;
} Period;

#define PERIODS 3

typedef struct Periods
{
	Period		periods[PERIODS];
} Periods;

static void
begin_periods(Periods *all, TimestampTz now)
{
	static const int64 lengths[PERIODS] = {USECS_PER_HOUR, USECS_PER_DAY, 7 * USECS_PER_DAY};

	for (int i = 0; i < PERIODS; i++)
	{
		Period	   *period = &all->periods[i];

		period->width = lengths[i];
		period->grain = i == 0 ? JS_STAT_TEN_MINUTES : JS_STAT_HOUR;
		period->since = js_stat_begin_of(now - period->width, period->grain);
	}
}

static void
add_to_periods(const JsStatEntry *entry, void *arg)
{
	Periods    *all = arg;

	for (int i = 0; i < PERIODS; i++)
	{
		Period	   *period = &all->periods[i];

		if (entry->start >= period->since)
			js_stat_add_encoded(&period->now, entry->bytes, entry->size);
		else if (entry->start >= period->since - period->width)
			js_stat_add_encoded(&period->before, entry->bytes, entry->size);
	}
}

static Datum
interval_of(int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->day = (int32) (us / USECS_PER_DAY);
	interval->time = us % USECS_PER_DAY;
	return IntervalPGetDatum(interval);
}

static void
put_period(ReturnSetInfo *result, const Period *period)
{
	Datum		values[JOB_COLUMNS];
	bool		nulls[JOB_COLUMNS] = {false};

	values[JOB_PERIOD] = interval_of(period->width);
	values[JOB_SINCE] = TimestampTzGetDatum(period->since);
	js_stat_put_count(js_histogram_total(&period->now.durations), &values[JOB_RUNS]);
	js_stat_put_count(js_stat_of_status(&period->now, JS_SUCCEEDED), &values[JOB_SUCCEEDED]);
	js_stat_put_rate(&period->now, &values[JOB_SUCCESS_RATE], &nulls[JOB_SUCCESS_RATE]);
	js_stat_put_durations(&period->now.durations, &values[JOB_MEAN], &nulls[JOB_MEAN]);
	js_stat_put_p95(&period->now.delays, &values[JOB_DELAY_P95], &nulls[JOB_DELAY_P95]);
	js_stat_put_count(js_histogram_total(&period->before.durations), &values[JOB_RUNS_BEFORE]);
	js_stat_put_rate(&period->before, &values[JOB_SUCCESS_RATE_BEFORE], &nulls[JOB_SUCCESS_RATE_BEFORE]);
	js_stat_put_p95(&period->before.durations, &values[JOB_P95_BEFORE], &nulls[JOB_P95_BEFORE]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* job_id */
Datum
jobsched_job_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		job_id = PG_GETARG_INT64(0);
	Periods    *all = palloc0(sizeof(Periods));
	JsStatReader reader;
	JsJob		head;

	InitMaterializedSRF(fcinfo, 0);
	if (!js_job_read_head(job_id, &head) || !js_may_see(head.owner))
		return (Datum) 0;
	begin_periods(all, js_clock_now());
	js_stat_reader_open(&reader);
	js_stat_visit(&reader, job_id, all->periods[PERIODS - 1].since - all->periods[PERIODS - 1].width, DT_NOEND,
				  add_to_periods, all);
	js_stat_reader_close(&reader);
	for (int i = 0; i < PERIODS; i++)
		put_period(result, &all->periods[i]);
	pfree(all);
	return (Datum) 0;
}

/* ------------------------------------------------------------------------
 * stat_reset()
 * ------------------------------------------------------------------------
 */

static bool
may_be_reset(const JsJob *head)
{
	return head->dropped_at == DT_NOBEGIN && head->workflow_id == 0 && js_may_manage(head->owner);
}

/* Whoever asks for the same job waits here, and not where others would wait for him. */
static void
reset_if_managed(const JsJob *head, void *arg)
{
	JsJob		held;

	if (!may_be_reset(head))
		return;
	js_job_lock(head->job_id);
	if (js_job_read_head(head->job_id, &held) && may_be_reset(&held))
		js_stat_reset_ask(held.job_id, *(const TimestampTz *) arg);
}

/* job, owner, job_id; all of the caller's if none is given */
Datum
jobsched_stat_reset(PG_FUNCTION_ARGS)
{
	JsJobPlaces at = {.job = 0,.owner = 1,.job_id = 2};
	TimestampTz now = js_clock_now();
	JsJob		job;

	js_check_may_write("stat_reset()");
	if (!js_job_is_given(fcinfo, &at) && PG_ARGISNULL(at.owner))
		js_jobs_visit_all(reset_if_managed, &now);
	else
	{
		js_job_argument(fcinfo, &at, &job);
		js_hold_job(&job);
		js_stat_reset_ask(job.job_id, now);
	}
	js_wakeup_resets();
	PG_RETURN_VOID();
}
