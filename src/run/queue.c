/*-------------------------------------------------------------------------
 *
 * queue.c
 *		What all functions that queue runs have in common.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "guc.h"
#include "run/queue.h"
#include "shmem/clock.h"
#include "shmem/wakeup.h"
#include "store/bounds.h"
#include "utils/timestamp.h"

/* now() as a default means at once, and a mocked clock does not move now(). */
bool
js_queue_run_at_is_given(FunctionCallInfo fcinfo, int n)
{
	return !PG_ARGISNULL(n) &&
		PG_GETARG_TIMESTAMPTZ(n) != GetCurrentTransactionStartTimestamp();
}

TimestampTz
js_queue_run_at(FunctionCallInfo fcinfo, int n)
{
	TimestampTz run_at;

	if (!js_queue_run_at_is_given(fcinfo, n))
		return js_clock_now();
	run_at = PG_GETARG_TIMESTAMPTZ(n);
	if (TIMESTAMP_NOT_FINITE(run_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("run_at must be finite")));
	return run_at;
}

/* A run of a job that somebody asks for, but for its args and keys. */
void
js_queue_prepare(JsRun *run, const JsJob *job)
{
	memset(run, 0, sizeof(JsRun));
	run->job_id = job->job_id;
	run->home = job->home;
	run->owner = job->owner;
	run->status = JS_RUN_QUEUED;
	run->source = "trigger";
	run->run_at = run->queued_at = js_clock_now();
	run->claimed_at = run->scheduled_for = DT_NOBEGIN;
	if (js_guc_traceparent[0] != '\0')
		run->traceparent = js_guc_traceparent;
}

/* Puts a single run into the queue, and tells the scheduler at commit. */
void
js_queue_run(JsRun *run)
{
	JsRunWriter *writer;

	js_bounds_check_run(run);
	writer = js_run_writer_open();
	(void) js_run_insert(writer, run);
	js_run_writer_close(writer);
	js_wakeup_run(run->run_id);
}
