/*-------------------------------------------------------------------------
 *
 * wait.c
 *		CALL wait_run(): waiting for a run to end.
 *
 * It is a procedure because it must not hold a snapshot while it waits: the run
 * may be one that waits for all older snapshots to go, like CREATE INDEX
 * CONCURRENTLY.  It commits before each wait.  The scheduler wakes it when runs
 * have ended; by itself it looks only now and then, in case the scheduler is
 * being replaced.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "api/access.h"
#include "base/arguments.h"
#include "compat.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "storage/ipc.h"
#include "store/store.h"
#include "store/store_names.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_wait_run);

#define LOOK_MS 5000L

/* A run as it was when it was in the queue; run_id 0: it has not been found there. */
typedef struct Seen
{
	int64		run_id;
	int64		job_id;
	Oid			owner;
	TimestampTz at;
} Seen;

/*
 * Whether a run that was there, and is nowhere now, has ended as its job wants it; and not
 * otherwise, with a row that has expired since.
 */
static bool
has_left_nothing(const Seen *seen)
{
	JsJob		job;

	return seen->run_id != 0 && js_job_read_head(seen->job_id, &job) && job.keep == JS_KEEP_FAILURES &&
		(job.keep_for == 0 || js_clock_now() - seen->at < job.keep_for);
}

/* What is not in the tables can only have succeeded; see run/keep.c. */
static bool
find_without_row(int64 run_id, JsRun *run, const Seen *seen, JsOutcome *outcome)
{
	outcome->status = JS_SUCCEEDED;
	if (js_left_nothing(js_table_oid("run"), run_id, &run->owner))
		return true;
	run->owner = seen->owner;
	return has_left_nothing(seen);
}

/*
 * The status of a run that has ended, or NULL while it has not; *seen: what it was when it
 * was there.
 */
static const char *
look(int64 run_id, Seen *seen)
{
	JsRun		run = {0};
	JsOutcome	outcome;
	TimestampTz now = js_clock_now();
	bool		lives;
	bool		exists;

	PushActiveSnapshot(GetTransactionSnapshot());	/* args may be toasted */
	lives = js_run_see_head(run_id, &run);
	exists = lives || js_history_find(run_id, &run, &outcome) ||
		find_without_row(run_id, &run, seen, &outcome);
	PopActiveSnapshot();
	if (!exists || !js_may_see(run.owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("run " INT64_FORMAT " does not exist", run_id)));
	if (!lives)
		return js_status_name(outcome.status);
	seen->run_id = run_id;
	seen->job_id = run.job_id;
	seen->owner = run.owner;
	seen->at = now;
	return NULL;
}

static TimestampTz
deadline_from(Interval *timeout)
{
	if (timeout == NULL)
		return DT_NOEND;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(GetCurrentTimestamp()),
												   IntervalPGetDatum(timeout)));
}

static void
wait_until(JsDatabase *db, TimestampTz deadline)
{
	static uint32 wait_event = 0;
	long		ms = LOOK_MS;

	if (deadline != DT_NOEND)
		ms = Min(ms, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline));
	InvalidateCatalogSnapshot();
	(void) ConditionVariableTimedSleep(&db->finished, Max(ms, 1),
									   js_wait_event(&wait_event, "JobschedWaitRun"));
}

static const char *
wait_for_end(JsDatabase *db, int64 run_id, TimestampTz deadline)
{
	const char *status;
	Seen		seen = {0};

	ConditionVariablePrepareToSleep(&db->finished);
	while ((status = look(run_id, &seen)) == NULL)
	{
		if (GetCurrentTimestamp() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("run " INT64_FORMAT " has not ended in time", run_id),
					 errdetail("It goes on; only the wait is over.")));
		SPI_commit();
		wait_until(db, deadline);
	}
	ConditionVariableCancelSleep();
	return status;
}

static void
stop_waiting(int code, Datum arg)
{
	JsDatabase *db = (JsDatabase *) DatumGetPointer(arg);

	pg_atomic_fetch_sub_u32(&db->waiters, 1);
}

static JsDatabase *
database_entry(void)
{
	JsDatabase *db = js_database_want(MyDatabaseId);

	if (db == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("this database has no scheduler"),
				 errhint("Increase jobsched.max_databases.")));
	return db;
}

static void
refuse_if_atomic(FunctionCallInfo fcinfo)
{
	CallContext *context = (CallContext *) fcinfo->context;

	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("wait_run() cannot be called inside a transaction block"),
				 errhint("A run that was triggered in the same transaction starts after its commit.")));
}

static Datum
result_row(FunctionCallInfo fcinfo, const char *status)
{
	TupleDesc	desc;
	Datum		value = CStringGetTextDatum(status);
	bool		isnull = false;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "wait_run() has been declared wrongly");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), &value, &isnull));
}

Datum
jobsched_wait_run(PG_FUNCTION_ARGS)
{
	JsDatabase *db;
	const char *status;
	TimestampTz deadline;

	refuse_if_atomic(fcinfo);
	if (PG_ARGISNULL(0))
		js_refuse_null("run_id");
	deadline = deadline_from(PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s during recovery", "wait_run()"),
				 errhint("Nothing runs on a standby.")));
	db = database_entry();
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	pg_atomic_fetch_add_u32(&db->waiters, 1);
	PG_ENSURE_ERROR_CLEANUP(stop_waiting, PointerGetDatum(db));
	{
		status = wait_for_end(db, PG_GETARG_INT64(0), deadline);
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_waiting, PointerGetDatum(db));
	stop_waiting(0, PointerGetDatum(db));
	SPI_finish();
	return result_row(fcinfo, status);
}
