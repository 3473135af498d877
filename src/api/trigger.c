/*-------------------------------------------------------------------------
 *
 * trigger.c
 *		Functions that queue runs.
 *
 * queue.c puts them into the queue and notifies the scheduler.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/after.h"
#include "api/child.h"
#include "api/event.h"
#include "api/http.h"
#include "api/idempotency.h"
#include "api/trigger.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "http/limit_keys.h"
#include "miscadmin.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "run/retry.h"
#include "store/bounds.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_trigger);
PG_FUNCTION_INFO_V1(jobsched_trigger_many);

/* Whether the job's runs need not bring anything along. */
void
js_trigger_check(const JsJob *job)
{
	if (js_http_job_is_bare(job))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" has no request of its own", job->name),
				 errhint("%s", js_http_bare_hint(job))));
}

void
js_trigger_resolve(const char *name, JsJob *job)
{
	js_resolve_job(name, job);
	js_trigger_check(job);
}

/*
 * A run of a job, at once, but for its args.  Its keys are made from the caller's
 * templates, or else (NULL) the job's.
 */
void
js_trigger_prepare(const JsJob *job, ArrayType *templates, JsRun *run, JsKeySource *source)
{
	js_queue_prepare(run, job, JS_SOURCE_TRIGGER);
	source->job_args = job->args;
	source->templates = js_http_keys(job, templates == NULL ? job->keys : templates);
}

/* What the run itself does takes no time; its steps may. */
static void
refuse_timeout(const JsJob *job)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("timeout is given for a run of job \"%s\", which is made of steps", job->name),
			 errhint("Give timeouts to its steps.")));
}

/* The same with run_at, priority, timeout, max_attempts and keys, from argument n on. */
void
js_trigger_arguments(FunctionCallInfo fcinfo, int n, const JsJob *job, JsRun *run, JsKeySource *source)
{
	js_trigger_prepare(job, PG_ARGISNULL(n + 4) ? NULL :
					   js_limit_keys_argument(PG_GETARG_ARRAYTYPE_P(n + 4)), run, source);
	run->run_at = js_queue_run_at(fcinfo, n);
	run->priority = PG_ARGISNULL(n + 1) ? 0 : PG_GETARG_INT32(n + 1);
	run->timeout = PG_ARGISNULL(n + 2) ? 0 : js_interval_us("timeout", PG_GETARG_INTERVAL_P(n + 2));
	if (job->request != NULL)
		js_http_check_timeout(run->timeout);
	if (job->has_steps && run->timeout > 0)
		refuse_timeout(job);
	run->max_attempts = PG_ARGISNULL(n + 3) ? 0 : js_retry_max_attempts(PG_GETARG_INT32(n + 3));
}

/*
 * A run of the job in the first argument, but for its args and keys.  What it waits
 * for, whether the caller's run waits for it, and for which events it waits, is in
 * the arguments from after_n on.
 */
static void
prepare_run(FunctionCallInfo fcinfo, const char *function, int after_n, JsRun *run, JsKeySource *source)
{
	JsJob		job;

	js_check_may_write(function);
	js_trigger_resolve(js_required_text(fcinfo, 0, "job"), &job);
	js_trigger_arguments(fcinfo, 2, &job, run, source);
	js_after_arguments(fcinfo, after_n, run);
	js_child_arguments(fcinfo, after_n + 2, run);
	js_event_arguments(fcinfo, after_n + 4, run);
}

static Jsonb *
check_run_args(Jsonb *args)
{
	if (!JB_ROOT_IS_OBJECT(args))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("args must be a JSON object")));
	return args;
}

/* Argument n: of a run; NULL: it has none. */
Jsonb *
js_trigger_args(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : check_run_args(PG_GETARG_JSONB_P(n));
}

/* Argument n: of many runs. */
ArrayType *
js_trigger_args_of_many(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("args cannot be NULL"),
				 errhint("Give an array with one element for each run.")));
	return PG_GETARG_ARRAYTYPE_P(n);
}

/* The keys of a run with these args. */
ArrayType *
js_trigger_keys(const JsKeySource *source, Jsonb *args)
{
	if (source->templates == NULL)
		return NULL;
	return js_limit_keys_require(source->templates, js_run_args(source->job_args, args));
}

/* The id is assigned here unless it is set. */
static int64
queue_triggered_run(JsRunWriter *writer, const JsKeySource *source, JsRun *run)
{
	js_bounds_check_run(run);
	run->keys = js_trigger_keys(source, run->args);
	return js_queue_add(writer, run);
}

void
js_trigger_queue(const JsKeySource *source, JsRun *run)
{
	JsRunWriter *writer = js_run_writer_open();

	(void) queue_triggered_run(writer, source, run);
	js_run_writer_close(writer);
}

Datum
jobsched_trigger(PG_FUNCTION_ARGS)
{
	JsIdempotency idempotency;
	JsKeySource source;
	JsRun		run;

	prepare_run(fcinfo, "trigger()", 10, &run, &source);
	run.args = js_trigger_args(fcinfo, 1);
	js_idempotency_arguments(fcinfo, 7, &idempotency);
	if (js_idempotency_admit(&idempotency, &run, js_queue_run_at_is_given(fcinfo, 2)))
		js_trigger_queue(&source, &run);
	PG_RETURN_INT64(run.run_id);
}

/* A row for each of them and each run that it waits for: two short arguments may mean many. */
#define MOST_DEPENDENCIES 1000000

static void
check_dependencies(const JsRun *run, ArrayType *args)
{
	int64		count = (int64) ArrayGetNItems(ARR_NDIM(args), ARR_DIMS(args)) * run->nparents;

	if (count > MOST_DEPENDENCIES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the runs have " INT64_FORMAT " parents in all, more than the %d that are allowed",
						count, MOST_DEPENDENCIES),
				 errhint("Let one run wait for those in after, with this after_when, and these runs for that one.")));
}

/* A run for each element; result: NULL if the ids are not wanted. */
void
js_trigger_queue_each(const JsKeySource *source, JsRun *run, ArrayType *args, ReturnSetInfo *result)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "jobsched trigger_many", ALLOCSET_DEFAULT_SIZES);
	JsRunWriter *writer = js_run_writer_open();
	ArrayIterator iterator = array_create_iterator(args, 0, NULL);
	Datum		element;
	bool		isnull;

	while (array_iterate(iterator, &element, &isnull))
	{
		MemoryContext outer = MemoryContextSwitchTo(scratch);
		Datum		id;
		bool		id_isnull = false;

		run->run_id = 0;
		run->args = isnull ? NULL : check_run_args(DatumGetJsonbP(element));
		id = Int64GetDatum(queue_triggered_run(writer, source, run));
		MemoryContextSwitchTo(outer);
		if (result != NULL)
			tuplestore_putvalues(result->setResult, result->setDesc, &id, &id_isnull);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
	array_free_iterator(iterator);
	js_run_writer_close(writer);
	MemoryContextDelete(scratch);
}

Datum
jobsched_trigger_many(PG_FUNCTION_ARGS)
{
	JsKeySource source;
	ArrayType  *args;
	JsRun		run;

	prepare_run(fcinfo, "trigger_many()", 7, &run, &source);
	args = js_trigger_args_of_many(fcinfo, 1);
	check_dependencies(&run, args);
	js_after_refuse(js_after_check(&run));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	js_trigger_queue_each(&source, &run, args, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}
