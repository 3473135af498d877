/*-------------------------------------------------------------------------
 *
 * backfill.c
 *		backfill(): runs for slots of the past.
 *
 * The runs are inserted in the caller's transaction, as trigger() does.  A slot
 * may have had a run before; that does not matter, because the caller wants
 * another.  But while a backfilled run of the slot waits or is executed, the
 * slot gets no other.  The job's row is locked meanwhile, so that two callers
 * do not both find that there is none.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/access.h"
#include "api/job_schedule.h"
#include "api/schedule_sql.h"
#include "base/arguments.h"
#include "base/sqlstate.h"
#include "compat.h"
#include "cron/cron.h"
#include "fmgr.h"
#include "funcapi.h"
#include "http/limit_keys.h"
#include "miscadmin.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "shmem/clock.h"
#include "store/store.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MOST_SLOTS 1000000
#define DEFAULT_SLOTS 1000

PG_FUNCTION_INFO_V1(jobsched_backfill);

/* What a caller wants. */
typedef struct Backfill
{
	JsJob		job;
	TimestampTz from;
	TimestampTz to;
	bool		dry_run;
	int32		max;
} Backfill;

static TimestampTz
instant_argument(FunctionCallInfo fcinfo, int n, const char *parameter)
{
	TimestampTz value = PG_GETARG_TIMESTAMPTZ(n);

	if (TIMESTAMP_NOT_FINITE(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be finite", parameter)));
	return value;
}

static void
refuse_nulls(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(1))
		js_refuse_null("\"from\"");
	if (PG_ARGISNULL(2))
		js_refuse_null("\"to\"");
}

static void
check(const Backfill *wanted)
{
	if (wanted->from > wanted->to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"from\" is later than \"to\"")));
	if (wanted->max < 1 || wanted->max > MOST_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max \"%d\" is out of range", wanted->max),
				 errhint("It is from 1 to %d.", MOST_SLOTS)));
	if (wanted->job.schedule == NULL)
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("job \"%s\" has no schedule", wanted->job.name),
				 errhint("Its runs are made by trigger().")));
}

static void
read_arguments(FunctionCallInfo fcinfo, Backfill *wanted)
{
	static const JsJobPlaces at = {.job = 0,.owner = 5,.job_id = 6};

	if (js_job_is_given(fcinfo, &at))
		refuse_nulls(fcinfo);
	else
		js_refuse_null("job");
	wanted->from = instant_argument(fcinfo, 1, "from");
	wanted->to = instant_argument(fcinfo, 2, "to");
	wanted->dry_run = js_flag_argument(fcinfo, 3, false);
	wanted->max = PG_ARGISNULL(4) ? DEFAULT_SLOTS : PG_GETARG_INT32(4);
	if (!wanted->dry_run)
		js_check_may_write("backfill()");
	js_job_argument(fcinfo, &at, &wanted->job);
	if (!wanted->dry_run)
		js_hold_job(&wanted->job);
	check(wanted);
}

/* The slots in question, in order; more than max are refused. */
static TimestampTz *
find_slots(const Backfill *wanted, int *count)
{
	const JsJob *job = &wanted->job;
	TimestampTz before = Min(wanted->to, js_clock_now());
	TimestampTz last = job->ends_at == DT_NOBEGIN ? DT_NOEND : job->ends_at;
	pg_tz	   *tz = js_timezone_lookup(job->timezone);
	TimestampTz *slots = palloc(wanted->max * sizeof(TimestampTz));
	TimestampTz slot;
	JsSchedule	schedule;
	JsScheduleError error;

	if (tz == NULL)
		js_timezone_refuse(job->timezone);
	if (!js_schedule_parse(job->schedule, job->name, &schedule, &error))
		js_schedule_refuse(job->schedule, &error);
	slot = js_schedule_slots_after(&schedule, job->anchor, job->starts_at, wanted->from - 1);
	*count = 0;
	while (js_schedule_next(&schedule, tz, job->anchor, slot, &slot) && slot < before && slot <= last)
	{
		if (*count == wanted->max)
			ereport(ERROR,
					(errcode(JS_ERRCODE_LIMIT),
					 errmsg("job \"%s\" has more than %d slots in this time", job->name, wanted->max),
					 errhint("Give a shorter time or a larger max.")));
		slots[(*count)++] = slot;
		CHECK_FOR_INTERRUPTS();
	}
	return slots;
}

static int64
queue_slot_run(JsRunWriter *writer, const JsJob *job, ArrayType *keys, TimestampTz slot)
{
	JsRun		run;

	js_queue_prepare(&run, job, JS_SOURCE_BACKFILL);
	run.keys = keys;
	run.scheduled_for = slot;
	return js_queue_add(writer, &run);
}

static void
put_slot_row(ReturnSetInfo *result, TimestampTz slot, int64 run_id)
{
	Datum		values[2] = {TimestampTzGetDatum(slot), Int64GetDatum(run_id)};
	bool		nulls[2] = {false, run_id == 0};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
backfill(const Backfill *wanted, ReturnSetInfo *result)
{
	int			count;
	TimestampTz *slots = find_slots(wanted, &count);
	ArrayType  *keys = wanted->dry_run ? NULL :
		js_limit_keys_require(js_http_keys(&wanted->job, wanted->job.keys), js_run_args(wanted->job.args, NULL));
	JsRunWriter *writer = wanted->dry_run ? NULL : js_run_writer_open();

	for (int i = 0; i < count; i++)
	{
		int64		run_id = 0;

		if (writer != NULL && !js_run_exists_for(wanted->job.job_id, slots[i], JS_SOURCE_UNKNOWN))
			run_id = queue_slot_run(writer, &wanted->job, keys, slots[i]);
		put_slot_row(result, slots[i], run_id);
		CHECK_FOR_INTERRUPTS();
	}
	if (writer != NULL)
	{
		js_run_writer_close(writer);
		CommandCounterIncrement();	/* the next one shall find them */
	}
}

Datum
jobsched_backfill(PG_FUNCTION_ARGS)
{
	Backfill	wanted;

	read_arguments(fcinfo, &wanted);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	backfill(&wanted, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}
