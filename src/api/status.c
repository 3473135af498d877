/*-------------------------------------------------------------------------
 *
 * status.c
 *		The functions behind the views, and health().
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "api/access.h"
#include "api/alert_health.h"
#include "api/status.h"
#include "cron/cron.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "postmaster/bgworker_internals.h"
#include "replication/logicallauncher.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "store/catalog.h"
#include "store/owner.h"
#include "store/store.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_workers);
PG_FUNCTION_INFO_V1(jobsched_flights);
PG_FUNCTION_INFO_V1(jobsched_scheduler);
PG_FUNCTION_INFO_V1(jobsched_instance_id);
PG_FUNCTION_INFO_V1(jobsched_slots_of);
PG_FUNCTION_INFO_V1(jobsched_health);

/* ------------------------------------------------------------------------
 * Rows
 * ------------------------------------------------------------------------
 */

#define MAX_RESULT_COLUMNS 14

typedef struct ResultRow
{
	Datum		values[MAX_RESULT_COLUMNS];
	bool		nulls[MAX_RESULT_COLUMNS];
	int			n;
} ResultRow;

static void
add(ResultRow *row, Datum value, bool isnull)
{
	row->values[row->n] = value;
	row->nulls[row->n++] = isnull;
}

static void
add_timestamp(ResultRow *row, TimestampTz value)
{
	add(row, TimestampTzGetDatum(value), value == 0);
}

static void
add_text(ResultRow *row, const char *value)
{
	bool		isnull = value == NULL || value[0] == '\0';

	add(row, isnull ? (Datum) 0 : CStringGetTextDatum(value), isnull);
}

static void
put(FunctionCallInfo fcinfo, ResultRow *row)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	tuplestore_putvalues(result->setResult, result->setDesc, row->values, row->nulls);
}

/* ------------------------------------------------------------------------
 * Workers and schedulers
 * ------------------------------------------------------------------------
 */

static const char *
seat_state_name(const JsSeat *seat)
{
	switch (seat->state)
	{
		case JS_SEAT_STARTING:
			return "starting";
		case JS_SEAT_READY:
			return seat->current_count > 0 ? "running" : "idle";
		default:
			return "leaving";
	}
}

/* A consistent copy of a seat of this database. */
static bool
copy_seat(int i, JsSeat *copy)
{
	JsSeat	   *seat = &js->seats[i];
	bool		ours;

	LWLockAcquire(js->lock, LW_SHARED);
	ours = seat->state != JS_SEAT_FREE && seat->dboid == MyDatabaseId;
	if (ours)
	{
		SpinLockAcquire(&seat->mutex);
		memcpy(copy, seat, sizeof(JsSeat));
		SpinLockRelease(&seat->mutex);
	}
	LWLockRelease(js->lock);
	return ours;
}

static void
add_run(ResultRow *row, const JsSeat *seat)
{
	bool		none = seat->current_count == 0;

	add(row, Int64GetDatum(seat->current[0].run_id), none);
	add(row, Int32GetDatum(seat->current[0].attempt), none);
	add(row, Int64GetDatum(seat->current[0].job_id), none);
	add(row, TimestampTzGetDatum(seat->current_since), none);
	add(row, Int32GetDatum(seat->mail_count), false);
	add(row, Int64GetDatum(seat->progress_done), none || seat->progress_done < 0);
	add(row, Int64GetDatum(seat->progress_total), none || seat->progress_total < 0);
	add_text(row, none ? NULL : seat->progress_text);
}

Datum
jobsched_workers(PG_FUNCTION_ARGS)
{
	JsSeat	   *copy = palloc(sizeof(JsSeat));

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < js->max_seats; i++)
	{
		ResultRow	row = {0};

		if (!copy_seat(i, copy) || !js_may_see(copy->owner))
			continue;
		add(&row, Int32GetDatum(i), false);
		add(&row, ObjectIdGetDatum(copy->owner), false);
		add(&row, Int32GetDatum(copy->pid), copy->pid == 0);
		add_text(&row, seat_state_name(copy));
		add_timestamp(&row, copy->started_at);
		add(&row, Int64GetDatum(copy->runs), false);
		add_run(&row, copy);
		put(fcinfo, &row);
	}
	return (Datum) 0;
}

/* The seat of this database's HTTP worker, and its pid; -1: there is none. */
static int
http_seat(int *pid)
{
	int			found = -1;

	LWLockAcquire(js->lock, LW_SHARED);
	for (int i = js->max_seats; i < js->total_seats && found < 0; i++)
		if (js->seats[i].state == JS_SEAT_READY && js->seats[i].dboid == MyDatabaseId)
		{
			found = i;
			*pid = js->seats[i].pid;
		}
	LWLockRelease(js->lock);
	return found;
}

static void
put_flight(FunctionCallInfo fcinfo, const JsFlightView *view, int pid)
{
	ResultRow	row = {0};

	if (!view->taken)
		return;
	add(&row, Int64GetDatum(view->mail.run_id), false);
	add(&row, Int32GetDatum(view->mail.attempt), false);
	add(&row, Int64GetDatum(view->mail.job_id), false);
	add(&row, TimestampTzGetDatum(view->since), false);
	add(&row, Int32GetDatum(pid), false);
	put(fcinfo, &row);
}

/* The HTTP requests that are under way; whose they are is for the caller to find. */
Datum
jobsched_flights(PG_FUNCTION_ARGS)
{
	JsFlightView views[64];
	int			pid;
	int			seat = http_seat(&pid);
	int			from = 0;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	if (seat < 0)
		return (Datum) 0;
	do
	{
		count = js_flight_look(seat, from, views, lengthof(views));
		for (int i = 0; i < count; i++)
			put_flight(fcinfo, &views[i], pid);
		from = count > 0 ? views[count - 1].index + 1 : 0;
		CHECK_FOR_INTERRUPTS();
	} while (count == lengthof(views));
	return (Datum) 0;
}

void
js_scheduler_copy(SchedulerStatus *status)
{
	JsDatabase *db = js_database_find(MyDatabaseId);

	memset(status, 0, sizeof(SchedulerStatus));
	LWLockAcquire(js->lock, LW_SHARED);
	status->launcher_pid = js->launcher_pid;
	for (int i = 0; i < js->max_seats; i++)
		status->workers += js->seats[i].state != JS_SEAT_FREE;
	if (db != NULL)
	{
		status->known = true;
		status->pid = db->scheduler_pid;
		status->failures = db->failures;
		SpinLockAcquire(&db->mutex);
		status->started_at = db->started_at;
		status->last_active_at = db->last_active_at;
		status->enabled = db->enabled;
		status->ready = db->ready;
		status->asleep_jobs = db->asleep_jobs;
		status->invalid_jobs = db->invalid_jobs;
		status->queues_partial = db->queues_partial;
		status->queues_count = db->queues_count;
		memcpy(status->queues, db->queues, db->queues_count * sizeof(JsQueueShown));
		memcpy(status->last_error, db->last_error, JS_ERROR_TEXT);
		status->last_error_at = db->last_error_at;
		SpinLockRelease(&db->mutex);
	}
	LWLockRelease(js->lock);
}

Datum
jobsched_scheduler(PG_FUNCTION_ARGS)
{
	SchedulerStatus status;
	ResultRow	row = {0};
	TupleDesc	desc;

	js_scheduler_copy(&status);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "scheduler() has been declared wrongly");
	add(&row, Int32GetDatum(status.pid), status.pid == 0);
	add_timestamp(&row, status.started_at);
	add_timestamp(&row, status.last_active_at);
	add(&row, BoolGetDatum(status.enabled), !status.known);
	add(&row, Int64GetDatum(status.ready), !status.known);
	add_text(&row, status.last_error);
	add_timestamp(&row, status.last_error_at);
	add(&row, Int32GetDatum(status.launcher_pid), status.launcher_pid == 0);
	add(&row, Int32GetDatum(js_guc_max_workers), false);
	add(&row, Int32GetDatum(status.workers), false);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), row.values, row.nulls));
}

Datum
jobsched_instance_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(js_guc_instance_id));
}

/*
 * The next slots of a job; none if its schedule cannot be understood, for a
 * view must not fail because of one row.
 */
Datum
jobsched_slots_of(PG_FUNCTION_ARGS)
{
	JsSchedule	schedule;
	JsScheduleError error;
	pg_tz	   *tz;
	TimestampTz slot;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int i = 0; i < 6; i++)
		if (PG_ARGISNULL(i))
			return (Datum) 0;
	slot = PG_GETARG_TIMESTAMPTZ(4);
	tz = js_timezone_lookup(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (tz == NULL ||
		!js_schedule_parse(text_to_cstring(PG_GETARG_TEXT_PP(1)),
						   text_to_cstring(PG_GETARG_TEXT_PP(0)), &schedule, &error))
		return (Datum) 0;
	for (int i = 0; i < PG_GETARG_INT32(5); i++)
	{
		ResultRow	row = {0};

		CHECK_FOR_INTERRUPTS();
		if (!js_schedule_next(&schedule, tz, PG_GETARG_TIMESTAMPTZ(3), slot, &slot))
			break;
		add(&row, TimestampTzGetDatum(slot), false);
		put(fcinfo, &row);
	}
	return (Datum) 0;
}

/* ------------------------------------------------------------------------
 * Health
 * ------------------------------------------------------------------------
 */

static void
report(FunctionCallInfo fcinfo, const char *check, const char *status,
	   const char *value, const char *message)
{
	ResultRow	row = {0};

	add_text(&row, check);
	add_text(&row, status);
	add_text(&row, value);
	add_text(&row, message);
	put(fcinfo, &row);
}

static void
check_processes(FunctionCallInfo fcinfo, const SchedulerStatus *status)
{
	if (RecoveryInProgress())
	{
		report(fcinfo, "scheduler", "ok", "standby", "nothing runs until this server is promoted");
		return;
	}
	if (status->launcher_pid == 0)
		report(fcinfo, "launcher", "error", NULL, "the launcher is not running");
	else
		report(fcinfo, "launcher", "ok", psprintf("pid %d", status->launcher_pid), NULL);
	if (!js_version_is_known())
		report(fcinfo, "scheduler", "error", NULL,
			   "the library has another version than the extension: run ALTER EXTENSION jobsched UPDATE, or restart the server");
	else if (!status->known)
		report(fcinfo, "scheduler", "error", NULL,
			   "this database has no scheduler: see jobsched.databases and jobsched.max_databases");
	else if (status->pid == 0)
		report(fcinfo, "scheduler", status->failures > 1 ? "error" : "warning", NULL,
			   "the scheduler is being started");
	else
		report(fcinfo, "scheduler", "ok", psprintf("pid %d", status->pid), NULL);
	if (status->last_error[0] != '\0')
		report(fcinfo, "last_error", "warning", timestamptz_to_str(status->last_error_at),
			   status->last_error);
	else
		report(fcinfo, "last_error", "ok", NULL, NULL);
}

/*
 * Background workers that jobsched and the server itself want at least: the
 * launchers of both, the schedulers, the workers and a spare one, and those for
 * HTTP requests that are there.
 */
static int
processes_needed(void)
{
	int			ours = 0;

	LWLockAcquire(js->lock, LW_SHARED);
	for (int i = 0; i < js->max_databases; i++)
		ours += js->databases[i].state != JS_DATABASE_FREE;
	for (int i = js->max_seats; i < js->total_seats; i++)
		ours += js->seats[i].state != JS_SEAT_FREE;
	LWLockRelease(js->lock);
	return 1 + (max_logical_replication_workers > 0) + ours + js_guc_max_workers +
		(js_guc_spare_workers > 0);
}

static void
check_workers(FunctionCallInfo fcinfo, const SchedulerStatus *status)
{
	char	   *value = psprintf("%d of %d", status->workers, js_guc_max_workers);

	if (js_guc_max_workers == 0)
		report(fcinfo, "workers", "warning", value, "jobsched.max_workers is 0: nothing runs");
	else if (processes_needed() > max_worker_processes)
		report(fcinfo, "workers", "warning", value,
			   psprintf("max_worker_processes leaves no room for all: %d are needed at least",
						processes_needed()));
	else if (status->ready > 0 && status->workers >= js_guc_max_workers)
		report(fcinfo, "workers", "warning", value, "runs wait for a worker");
	else
		report(fcinfo, "workers", "ok", value, NULL);
	report(fcinfo, "queue", "ok", psprintf(INT64_FORMAT " ready", status->ready), NULL);
}

/* Code that looks for no interrupts cannot be stopped by asking. */
static void
check_unresponsive(FunctionCallInfo fcinfo)
{
	JsUnresponsive found[16];
	int			count = js_seats_unresponsive(found, lengthof(found));

	if (count == 0)
	{
		report(fcinfo, "unresponsive", "ok", "0", NULL);
		return;
	}
	for (int i = 0; i < count; i++)
	{
		bool		here = found[i].dboid == MyDatabaseId;

		report(fcinfo, "unresponsive", "warning", psprintf("pid %d", found[i].pid),
			   psprintf("the worker%s was told to end at %s and has not reacted: only kill -9 ends it, which restarts all sessions of the server",
						here ? psprintf(" that executes run " INT64_FORMAT, found[i].run_id) : " of another database",
						timestamptz_to_str(found[i].since)));
	}
}

static void
check_http(FunctionCallInfo fcinfo)
{
	int			pid;
	int			seat = http_seat(&pid);

	if (js->total_seats == js->max_seats)
		report(fcinfo, "http", "ok", "off", "jobsched.http_max_inflight is 0: no HTTP request is sent");
	else
		report(fcinfo, "http", "ok", seat < 0 ? "idle" :
			   psprintf("%d of %d in flight", js->seats[seat].flights->taken, js_guc_http_max_inflight), NULL);
}

/* Owners of jobs that sleep here, who do not exist: so many are named. */
#define MAX_MISSING 5

typedef struct Missing
{
	MemoryContext context;
	List	   *roles;			/* String nodes */
} Missing;

static void
note_missing(const JsJob *job, void *arg)
{
	Missing    *missing = arg;
	MemoryContext outer;

	if (job->dropped_at != DT_NOBEGIN || job->owner_name == NULL || js_role_name(job->owner) != NULL ||
		list_length(missing->roles) > MAX_MISSING ||
		list_member(missing->roles, makeString(job->owner_name)))
		return;
	outer = MemoryContextSwitchTo(missing->context);
	missing->roles = lappend(missing->roles, makeString(pstrdup(job->owner_name)));
	MemoryContextSwitchTo(outer);
}

/* What to do about jobs that sleep; whose they are is not for everybody. */
static char *
advice(void)
{
	Missing		missing = {CurrentMemoryContext, NIL};
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	appendStringInfoString(&text, "jobs of another database sleep here: call jobsched.adopt() to run them");
	if (js_owns_database() || js_may_see(InvalidOid))
		js_jobs_visit_all(note_missing, &missing);
	foreach(lc, missing.roles)
	{
		int			n = foreach_current_index(lc);

		appendStringInfoString(&text, n == 0 ? "; their owners do not exist: " : ", ");
		if (n == MAX_MISSING)
			appendStringInfoString(&text, "and others");
		else
			appendStringInfo(&text, "\"%s\"", strVal(lfirst(lc)));
	}
	return text.data;
}

static void
check_jobs(FunctionCallInfo fcinfo, const SchedulerStatus *status)
{
	pg_uuid_t	token;
	bool		home = js_identity_read(&token);

	report(fcinfo, "invalid_jobs", status->invalid_jobs > 0 ? "error" : "ok",
		   psprintf(INT64_FORMAT, status->invalid_jobs),
		   status->invalid_jobs > 0 ? "view jobs tells the reason in state_reason" : NULL);
	if (home && status->asleep_jobs == 0)
		report(fcinfo, "identity", "ok", NULL, NULL);
	else
		report(fcinfo, "identity", "warning", home ? "restored" : "copy", advice());
}

/* As the scheduler says, or before it has said anything, as is set. */
static bool
is_enabled_here(const SchedulerStatus *status)
{
	bool		enabled = true;
	char	   *value;

	if (status->pid != 0 && status->started_at != 0 && status->last_active_at >= status->started_at)
		return status->enabled;
	value = js_catalog_database_setting("jobsched.enabled");
	if (value != NULL)
		(void) parse_bool(value, &enabled);
	return enabled;
}

bool
js_scheduler_is_enabled(const SchedulerStatus *status)
{
	return js->enabled && is_enabled_here(status);
}

static void
check_enabled(FunctionCallInfo fcinfo, const SchedulerStatus *status)
{
	bool		on = js_scheduler_is_enabled(status);

	report(fcinfo, "enabled", on ? "ok" : "warning", on ? "on" : "off",
		   on ? NULL : "jobsched.enabled is off: no run starts");
}

static void
check_processing(FunctionCallInfo fcinfo)
{
	TimestampTz since = js_stopped_at();

	if (since == DT_NOBEGIN)
		report(fcinfo, "processing", "ok", "on", NULL);
	else
		report(fcinfo, "processing", "warning", "stopped",
			   psprintf("since %s no run starts: call jobsched.start_processing()", timestamptz_to_str(since)));
}

static void
check_alerts(FunctionCallInfo fcinfo)
{
	int			count;
	char	   *problem = js_alert_problems(&count);

	report(fcinfo, "alerts", problem == NULL ? "ok" : "warning", psprintf("%d", count), problem);
}

Datum
jobsched_health(PG_FUNCTION_ARGS)
{
	SchedulerStatus status;

	InitMaterializedSRF(fcinfo, 0);
	js_scheduler_copy(&status);
	check_processes(fcinfo, &status);
	check_enabled(fcinfo, &status);
	check_processing(fcinfo);
	check_workers(fcinfo, &status);
	check_unresponsive(fcinfo);
	check_http(fcinfo);
	check_jobs(fcinfo, &status);
	check_alerts(fcinfo);
	return (Datum) 0;
}
