/*-------------------------------------------------------------------------
 *
 * batch.c
 *		trigger_batch(): many runs, and one that has ended when they have.
 *
 * A batch is a run of its members' job with a source of its own.  It is never
 * executed: it is queued as what a run is whose children live (sched_batch.c), and
 * its members as its children.  What is to run when it has ended waits for it as
 * any run can wait for another (after.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/after.h"
#include "api/child.h"
#include "api/trigger.h"
#include "base/arguments.h"
#include "base/sqlstate.h"
#include "run/queue.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(jobsched_trigger_batch);

/* The run that is to start when the batch has ended; its job_id 0: there is none. */
typedef struct Completion
{
	JsRun		run;
	JsKeySource source;
} Completion;

/* The batch has to be in upstream() there, for that has the totals. */
static void
check_sees_batch(const JsJob *job, const JsJob *of_batch)
{
	if (!js_role_may_see(job->owner, of_batch->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("on_complete \"%s\" cannot wait for runs of job \"%s\"", job->name, of_batch->name),
				 errdetail("Its owner may not see them."),
				 errhint("Name a job of the same owner.")));
}

/* on_complete, on_complete_args and after_when, from argument n on. */
static void
completion_arguments(FunctionCallInfo fcinfo, int n, const JsJob *of_batch, Completion *completion)
{
	JsJob		job;

	completion->run.job_id = 0;
	if (PG_ARGISNULL(n) && !PG_ARGISNULL(n + 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_complete_args is given without on_complete"),
				 errhint("They are arguments of the job that on_complete names.")));
	if (!PG_ARGISNULL(n))
	{
		js_trigger_resolve(text_to_cstring(PG_GETARG_TEXT_PP(n)), &job);
		check_sees_batch(&job, of_batch);
		js_trigger_prepare(&job, NULL, &completion->run, &completion->source);
		completion->run.args = js_trigger_args(fcinfo, n + 1);
	}
	completion->run.after_when = PG_ARGISNULL(n + 2) ? JS_AFTER_DONE :
		js_after_when_argument("after_when", text_to_cstring(PG_GETARG_TEXT_PP(n + 2)));
}

static ArrayType *
members_argument(FunctionCallInfo fcinfo, int n)
{
	ArrayType  *args = js_trigger_args_of_many(fcinfo, n);
	int			count = ArrayGetNItems(ARR_NDIM(args), ARR_DIMS(args));

	if (count > JS_MAX_CHILDREN)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("args has %d elements, more than the %d members that a batch can have",
						count, JS_MAX_CHILDREN),
				 errhint("Make several batches.")));
	return args;
}

/* As a run that has been executed and waits for its children. */
static void
prepare_batch(const JsJob *job, const JsRun *member, JsRun *batch)
{
	js_queue_prepare(batch, job, JS_SOURCE_BATCH);
	batch->status = JS_RUN_WAITING;
	batch->reason = "waiting_for_children";
	batch->claimed_at = batch->queued_at;
	batch->workflow = JS_WORKFLOW_BATCH;
	batch->run_at = member->run_at;
	batch->priority = member->priority;
}

static void
queue_completion(Completion *completion, const JsRun *batch)
{
	JsRun	   *run = &completion->run;

	run->priority = batch->priority;
	run->parents = &batch->run_id;
	run->nparents = 1;
	js_after_refuse(js_after_check(run));
	js_trigger_queue(&completion->source, run);
}

/*
 * job, args, on_complete, on_complete_args, after_when, run_at, priority, timeout,
 * max_attempts, keys, child, optional.
 */
Datum
jobsched_trigger_batch(PG_FUNCTION_ARGS)
{
	static const JsJobPlaces at = {.job = 0,.owner = 12,.job_id = 13};
	Completion	completion;
	JsKeySource source;
	ArrayType  *args;
	JsRun		member;
	JsRun		batch;
	JsJob		job;

	js_check_may_write("trigger_batch()");
	js_job_argument(fcinfo, &at, &job);
	js_trigger_check(&job);
	args = members_argument(fcinfo, 1);
	completion_arguments(fcinfo, 2, &job, &completion);
	js_trigger_arguments(fcinfo, 5, &job, &member, &source);
	prepare_batch(&job, &member, &batch);
	if (js_flag_argument(fcinfo, 10, false))
		js_child_adopt(&batch, false);
	(void) js_queue_run(&batch);
	member.parent_run_id = batch.run_id;
	member.optional = js_flag_argument(fcinfo, 11, false);
	member.depth = batch.depth + 1;
	js_trigger_queue_each(&source, &member, args, NULL);
	if (completion.run.job_id != 0)
		queue_completion(&completion, &batch);
	PG_RETURN_INT64(batch.run_id);
}
