/*-------------------------------------------------------------------------
 *
 * redrive.c
 *		Functions that retry by hand runs that have ended without success.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/retry_parents.h"
#include "api/retry_steps.h"
#include "api/trigger.h"
#include "base/sqlstate.h"
#include "compat.h"
#include "http/limit_keys.h"
#include "run/http_job.h"
#include "run/procedure.h"
#include "run/queue.h"
#include "store/bounds.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(jobsched_retry_run);
PG_FUNCTION_INFO_V1(jobsched_redrive_run);
PG_FUNCTION_INFO_V1(jobsched_job_id_of);

pg_noreturn static void
refuse_run(int64 run_id, int sqlerrcode, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(sqlerrcode),
			 errmsg("run " INT64_FORMAT " %s", run_id, what),
			 hint ? errhint("%s", hint) : 0));
}

pg_noreturn static void
refuse_unknown(int64 run_id)
{
	refuse_run(run_id, ERRCODE_UNDEFINED_OBJECT, "does not exist", NULL);
}

/* Of a job made of steps some of them can be executed once more. */
pg_noreturn static void
refuse_success(int64 run_id, const JsJob *job)
{
	refuse_run(run_id, JS_ERRCODE_STATE, "has succeeded",
			   job->has_steps ?
			   "Use trigger() to run its job once more, or name in from_step the steps to begin with." :
			   "Use trigger() to run its job once more.");
}

/*
 * A run that has ended without success, or in any way, and its job, locked.  The
 * job may have got another owner while the lock was waited for.
 */
static void
find_ended(int64 run_id, bool after_success, JsRun *run, JsJob *job)
{
	JsOutcome	outcome;
	bool		live = js_run_see(run_id, run);

	if ((!live && !js_history_find(run_id, run, &outcome)) ||
		!js_may_manage(js_job_read(run->job_id, job) ? job->owner : run->owner))
		refuse_unknown(run_id);
	if (live)
		refuse_run(run_id, JS_ERRCODE_STATE, "has not ended",
				   run->status == JS_RUN_RETRYING ? "It will be tried again at the time that view runs shows." : NULL);
	if (run->source == JS_SOURCE_BATCH)
		refuse_run(run_id, JS_ERRCODE_STATE, "is a batch, which executes nothing",
				   "Retry its members, the runs whose parent_run_id it is in view runs.");
	if (run->source == JS_SOURCE_STEP)
		refuse_run(run_id, JS_ERRCODE_STATE, "is of a step, which is not executed by itself",
				   psprintf("Use retry_run(" INT64_FORMAT "), which does with from_step what you name, and all that comes after it.", run->parent_run_id));
	if (run->source == JS_SOURCE_ITEM)
		refuse_run(run_id, JS_ERRCODE_STATE, "is of an element of a step, or of the job of one, which is not executed by itself",
				   psprintf("View steps has the workflow run of step run " INT64_FORMAT ": retry that.", run->parent_run_id));
	if (outcome.status == JS_SUCCEEDED && !after_success)
		refuse_success(run_id, job);
	if (outcome.status == JS_SKIPPED && outcome.reason != NULL &&
		strcmp(outcome.reason, JS_UNSENDABLE) == 0)
		refuse_run(run_id, JS_ERRCODE_STATE,
				   "stands for a row that could not be sent, and does not have it",
				   "Change the row once more when the trigger can send it.");
	js_job_lock(run->job_id);
	if (!js_job_read(run->job_id, job) || job->dropped_at != DT_NOBEGIN)
		refuse_run(run_id, JS_ERRCODE_STATE,
				   "is of a job that has been dropped", NULL);
	if (!js_may_manage(job->owner))
		refuse_unknown(run_id);
	if ((outcome.status == JS_SKIPPED || outcome.status == JS_MISSED) && run->scheduled_for != DT_NOBEGIN)
		run->keys = js_limit_keys_require(js_http_keys(job, job->keys), job->args); /* a slot never had any */
}

/* A slot may have had several runs, of which one at a time is retried. */
static bool
slot_is_retried(const JsRun *run)
{
	return run->scheduled_for != DT_NOBEGIN &&
		js_run_exists_for(run->job_id, run->scheduled_for, JS_SOURCE_RETRY);
}

/* The job is locked, so nobody else does the same. */
static void
refuse_second_retry(int64 run_id, const JsRun *run)
{
	int64		as = js_retried_find(run_id);

	if (as != 0)
		refuse_run(run_id, JS_ERRCODE_STATE, "has been retried already",
				   psprintf("It was queued again as run " INT64_FORMAT ".", as));
	if (slot_is_retried(run))
		refuse_run(run_id, JS_ERRCODE_STATE,
				   "is of a slot of which another run is being retried",
				   "Retry it when that has ended.");
}

/*
 * What a run brings along was written by whoever owned the job then, and is not
 * executed as whoever does now.
 */
static bool
is_of_another_owner(const JsRun *run, const JsJob *job)
{
	return (run->handler != NULL || run->request != NULL) && run->owner != job->owner;
}

/* What is in from_step, if it names any. */
static ArrayType *
steps_argument(FunctionCallInfo fcinfo)
{
	ArrayType  *steps = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);

	return steps == NULL || ArrayGetNItems(ARR_NDIM(steps), ARR_DIMS(steps)) == 0 ? NULL : steps;
}

/* Their ids. */
static ArrayType *
find_steps(int64 run_id, const JsRun *run, const JsJob *job, ArrayType *from_step)
{
	if (from_step == NULL)
		return NULL;
	if (job->steps == NULL)
		refuse_run(run_id, JS_ERRCODE_STATE,
				   "is of a job that is not made of steps", "Leave from_step out.");
	if (run->handler != NULL || run->request != NULL)
		refuse_run(run_id, JS_ERRCODE_STATE,
				   "executes what it has brought along, and has no steps", "Leave from_step out.");
	return js_retry_find_steps(job, from_step);
}

/* Arguments of this retry, over those that the run has had. */
static void
merge_args(int64 run_id, Jsonb *args, JsRun *run)
{
	if (args == NULL)
		return;
	if (run->handler != NULL || run->request != NULL)
		refuse_run(run_id, ERRCODE_INVALID_PARAMETER_VALUE,
				   "executes what it has brought along, and cannot be given args", "Leave args out.");
	run->args = run->args == NULL ? args : js_run_args(run->args, args);
	js_bounds_check_run(run);
}

static int64
queue_again(int64 run_id, ArrayType *from_step, JsRun *run, const JsJob *job)
{
	ArrayType  *from_steps = find_steps(run_id, run, job, from_step);

	if (job->steps != NULL && run->handler == NULL && run->request == NULL)
		from_steps = js_retry_carry_over(run_id, job, from_step, from_steps, run);
	else
		js_retry_take_parents(run_id, job, run);
	js_queue_prepare_again(run, job, JS_SOURCE_RETRY);
	if (run->nparents == 0)
		run->parents = NULL;
	js_retried_insert(run_id, js_queue_run(run), run->queued_at, from_steps);
	js_procedure_carry_over(run_id, run);
	return run->run_id;
}

Datum
jobsched_retry_run(PG_FUNCTION_ARGS)
{
	ArrayType  *from_step = steps_argument(fcinfo);
	Jsonb	   *args = js_trigger_args(fcinfo, 2);
	int64		run_id;
	JsRun		run = {0};
	JsJob		job = {0};

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	run_id = PG_GETARG_INT64(0);
	js_check_may_write("retry_run()");
	find_ended(run_id, from_step != NULL, &run, &job);
	if (is_of_another_owner(&run, &job))
		refuse_run(run_id, JS_ERRCODE_STATE,
				   "is of another owner of its job",
				   "What it executes is its own, and was written by that role.");
	refuse_second_retry(run_id, &run);
	merge_args(run_id, args, &run);
	PG_RETURN_INT64(queue_again(run_id, from_step, &run, &job));
}

/*
 * For redrive(), which has found the run among the dead letters: one that
 * somebody else has retried since, whose slot's turn it is not, or which executes
 * what another owner has written, is passed over (NULL).
 */
Datum
jobsched_redrive_run(PG_FUNCTION_ARGS)
{
	int64		run_id = PG_GETARG_INT64(0);
	JsRun		run = {0};
	JsJob		job = {0};

	js_check_may_write("redrive()");
	find_ended(run_id, false, &run, &job);
	if (js_retried_find(run_id) != 0 || slot_is_retried(&run) || is_of_another_owner(&run, &job))
		PG_RETURN_NULL();
	PG_RETURN_INT64(queue_again(run_id, NULL, &run, &job));
}

/* For redrive(). */
Datum
jobsched_job_id_of(PG_FUNCTION_ARGS)
{
	static const JsJobPlaces at = {.job = 0,.owner = 1,.job_id = 2};
	JsJob		job;

	js_job_argument(fcinfo, &at, &job);
	PG_RETURN_INT64(job.job_id);
}
