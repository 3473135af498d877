/*-------------------------------------------------------------------------
 *
 * queue.c
 *		How all sessions queue runs.
 *
 * js_queue_prepare() fills a run.  The caller adds what is to be executed, and
 * checks values that a user has given (js_bounds_check_run()).  The run is
 * inserted in the caller's transaction: it exists if and only if that commits,
 * and then the scheduler is notified (wakeup.c).  Only the scheduler inserts
 * runs without this file, those of slots (sched_fire.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "guc.h"
#include "run/children.h"
#include "run/queue.h"
#include "shmem/clock.h"
#include "shmem/wakeup.h"
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

/* A run of a job that has ended is to be queued once more, as what it was, but as no child. */
void
js_queue_prepare_again(JsRun *run, const JsJob *job, JsRunSource source)
{
	run->run_id = 0;
	run->job_id = job->job_id;
	run->home = job->home;
	run->owner = job->owner;
	run->status = JS_RUN_QUEUED;
	run->source = source;
	run->run_at = run->queued_at = js_clock_now();
	run->claimed_at = run->wait_until = DT_NOBEGIN;
	run->parent_run_id = 0;
	run->depth = 0;
	run->workflow = job->has_steps && run->handler == NULL && source != JS_SOURCE_CALLBACK ?
		JS_WORKFLOW_STEPS : JS_WORKFLOW_NONE;
}

/* A run of a job, for no slot, at once, but for what it is executed with. */
void
js_queue_prepare(JsRun *run, const JsJob *job, JsRunSource source)
{
	memset(run, 0, sizeof(JsRun));
	js_queue_prepare_again(run, job, source);
	run->scheduled_for = DT_NOBEGIN;
	if ((source == JS_SOURCE_TRIGGER || source == JS_SOURCE_BATCH) && js_guc_traceparent[0] != '\0')
		run->traceparent = js_guc_traceparent;
}

/*
 * Puts a run into the queue, and tells the scheduler at commit.  It gets an id
 * unless it has one.
 */
int64
js_queue_add(JsRunWriter *writer, JsRun *run)
{
	if (run->parent_run_id != 0)
		js_children_add(run);
	(void) js_run_insert(writer, run);
	if (run->parents != NULL)
		js_dependencies_insert(run->run_id, run->parents, run->nparents);
	js_wakeup_run(run->run_id);
	return run->run_id;
}

/* The same for a single run. */
int64
js_queue_run(JsRun *run)
{
	JsRunWriter *writer = js_run_writer_open();
	int64		run_id = js_queue_add(writer, run);

	js_run_writer_close(writer);
	return run_id;
}
