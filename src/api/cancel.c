/*-------------------------------------------------------------------------
 *
 * cancel.c
 *		Functions that cancel runs, or take them from their workers.
 *
 * The functions insert a row of run_stop in the caller's transaction.  The
 * scheduler is notified at commit and serves it (sched_cancel.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/cancel.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "miscadmin.h"
#include "run/http_job.h"
#include "shmem/clock.h"
#include "shmem/wakeup.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(jobsched_cancel_run);
PG_FUNCTION_INFO_V1(jobsched_cancel_runs);
PG_FUNCTION_INFO_V1(jobsched_reset_stuck);

/*
 * A worker that has been told to end, and has not, will not by being told once
 * more: says so rather than nothing.
 */
static void
warn_if_unresponsive(int64 run_id)
{
	JsUnresponsive found[16];
	int			count = js_seats_unresponsive(found, lengthof(found));

	for (int i = 0; i < count; i++)
		if (found[i].run_id == run_id && found[i].dboid == MyDatabaseId)
			ereport(WARNING,
					(errmsg("run " INT64_FORMAT " does not react: its worker, process %d, was told to end at %s",
							run_id, found[i].pid, timestamptz_to_str(found[i].since)),
					 errhint("Code that looks for no interrupts, such as a loop in PL/Perl, is ended by kill -9 of that process only, which restarts all sessions of the server.")));
}

static void
stop_run(int64 run_id, bool force)
{
	JsStop		row = {.kind = JS_STOP_CANCEL,.run_id = run_id,.force = force};

	js_wakeup_stop(js_stop_insert(&row));
}

Datum
jobsched_cancel_run(PG_FUNCTION_ARGS)
{
	int64		run_id;
	JsOutcome	outcome;
	JsRun		run;
	bool		live;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	run_id = PG_GETARG_INT64(0);
	js_check_may_write("cancel_run()");
	live = js_run_see_head(run_id, &run);
	if ((!live && !js_history_find(run_id, &run, &outcome)) || !js_may_manage_run(&run))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("run " INT64_FORMAT " does not exist", run_id)));
	if (live)
	{
		stop_run(run_id, js_flag_argument(fcinfo, 1, false));
		warn_if_unresponsive(run_id);
	}
	PG_RETURN_BOOL(live);
}

/* Which runs cancel_runs() is about. */
typedef struct Filter
{
	bool		any_job;
	JsJob		job;
	JsRunStatus status;
	bool		any_status;
	TimestampTz queued_before;	/* DT_NOEND: whenever */
	bool		force;
	int64		count;
} Filter;

/* Requests whose job is yet to be made belong to that job all the same. */
static bool
is_of_job(const JsRun *run, const JsJob *job)
{
	if (run->job_id != 0)
		return run->job_id == job->job_id;
	return run->owner == job->owner && strcmp(job->name, JS_HTTP_JOB) == 0;
}

/* As views show it. */
static JsRunStatus
shown_status(const JsRun *run)
{
	return run->status == JS_RUN_WAITING ? JS_RUN_RUNNING : run->status;
}

static void
cancel_if_meant(const JsRun *run, void *arg)
{
	Filter	   *filter = arg;

	if ((!filter->any_job && !is_of_job(run, &filter->job)) ||
		(!filter->any_status && shown_status(run) != filter->status) ||
		run->queued_at >= filter->queued_before || !js_may_manage_run(run))
		return;
	stop_run(run->run_id, filter->force);
	if (run->status == JS_RUN_RUNNING)
		warn_if_unresponsive(run->run_id);
	filter->count++;
}

static void
read_filter(FunctionCallInfo fcinfo, Filter *filter)
{
	static const JsJobPlaces at = {.job = 0,.owner = 4,.job_id = 5};

	memset(filter, 0, sizeof(Filter));
	filter->any_job = PG_ARGISNULL(4) && !js_job_is_given(fcinfo, &at);
	filter->any_status = PG_ARGISNULL(1);
	filter->queued_before = PG_ARGISNULL(2) ? DT_NOEND :
		js_clock_now() - js_interval_us("older_than", PG_GETARG_INTERVAL_P(2));
	filter->force = js_flag_argument(fcinfo, 3, false);
	if (filter->any_job && filter->any_status && PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no condition is given"),
				 errhint("Give one or more of job, status and older_than.")));
	if (!filter->any_job)
		js_job_argument(fcinfo, &at, &filter->job);
	if (!PG_ARGISNULL(1))
		filter->status = js_run_status_argument(text_to_cstring(PG_GETARG_TEXT_PP(1)));
}

Datum
jobsched_cancel_runs(PG_FUNCTION_ARGS)
{
	Filter		filter;

	js_check_may_write("cancel_runs()");
	read_filter(fcinfo, &filter);
	js_runs_visit_all(cancel_if_meant, &filter);
	PG_RETURN_INT64(filter.count);
}

static void
cancel_if_owned(const JsRun *run, void *arg)
{
	if (run->owner == *(Oid *) arg)
		stop_run(run->run_id, false);
}

/* What has no job yet, when the job that it would have had is dropped. */
void
js_cancel_jobless(Oid owner)
{
	js_runs_visit_jobless(cancel_if_owned, &owner);
}

/* Which runs reset_stuck() is about. */
typedef struct Stuck
{
	TimestampTz claimed_before;
	int64		count;
} Stuck;

/* The attempt that is stuck is meant, and no later one. */
static void
reset_if_stuck(const JsRun *run, void *arg)
{
	Stuck	   *stuck = arg;
	JsStop		row = {.kind = JS_STOP_RESET,.run_id = run->run_id,.attempt = run->attempt};

	if (run->status != JS_RUN_RUNNING || run->claimed_at >= stuck->claimed_before || !js_may_manage_run(run))
		return;
	js_wakeup_stop(js_stop_insert(&row));
	warn_if_unresponsive(run->run_id);
	stuck->count++;
}

Datum
jobsched_reset_stuck(PG_FUNCTION_ARGS)
{
	Stuck		stuck = {0};

	js_check_may_write("reset_stuck()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("older_than cannot be NULL"),
				 errhint("Give how long a run may have been executed, '10 minutes' for instance.")));
	stuck.claimed_before = js_clock_now() - js_interval_us("older_than", PG_GETARG_INTERVAL_P(0));
	js_runs_visit_all(reset_if_stuck, &stuck);
	PG_RETURN_INT64(stuck.count);
}
