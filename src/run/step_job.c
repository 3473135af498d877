/*-------------------------------------------------------------------------
 *
 * step_job.c
 *		What the run of a step with job executes: it queues a run of that job.
 *
 * DATA FLOW
 *
 * A step may name another job of its owner instead of saying what it executes.  Its
 * run is one of the workflow like that of any step, and waits, looks and is skipped
 * like these.  When it starts, a worker queues a run of the job that has this name
 * then, as its child; and ends when that has ended, with what that has left.
 *
 *		step_runs.c --> the step's run, source "step"
 *			--> js_step_job_queue(): a run of the job, source "item"
 *			--> js_children_plan() --> row "waiting"
 *		the job's run: executed, retried, limited and paused as any run of the job
 *		it has ended --> sched_batch.c --> the step ends, with its result
 *
 * So a step with job is one with for_each that has a single element, which is a run
 * of another job; and with for_each there is a run of the job for each element
 * (item_runs.c).  The two kinds of runs are told apart as there.  What is special is
 * that the child is no run of the step's row: nothing of that holds for it, but for
 * the arguments and the priority of the step's run.
 *
 * INVARIANTS
 *
 * The step's row has the name of the job, and nobody has its id: which job it is, is
 * decided once, by the transaction that queues the child.  Who drops, alters or renames
 * the job before that has the step fail, or run what is there then; afterwards the
 * child is as any run of the job.
 *
 * A job that is made of steps may have steps with job in turn.  That ends, since each
 * is two generations of runs (JS_MAX_DEPTH).  When jobs are defined circles are refused
 * (api/step_job.c).
 *
 * KILL -9
 *
 *		while the child is queued	the transaction is gone, and the child; the step goes
 *									back to the queue
 *		after its commit			the child is queued, and the step's row says "waiting":
 *									as any parent (sched_children.c)
 *		while the step is ended		the child is in history, and none in the queue: its
 *									result is looked for anew
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "http/http_text.h"
#include "http/limit_keys.h"
#include "pgstat.h"
#include "run/children.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "run/step_job.h"
#include "store/bounds.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

/* The job that a step names, as it is now. */
void
js_step_job_find(const JsJob *step, JsJob *job)
{
	if (!js_job_find(step->owner, step->step_job, job))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\", which step \"%s\" runs, does not exist", step->step_job,
						step->step != NULL ? step->step : "?"),
				 errhint("It has been dropped or renamed. alter_job() gives the workflow other steps, retry_run() then goes on.")));
	if (js_http_job_is_bare(job))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" has no request of its own", job->name),
				 errhint("%s", js_http_bare_hint(job))));
}

static void
prepare(const JsJob *job, const JsRun *step_run, JsRun *run)
{
	ArrayType  *templates = js_http_keys(job, job->keys);

	js_queue_prepare(run, job, JS_SOURCE_ITEM);
	run->priority = step_run->priority;
	run->traceparent = step_run->traceparent;
	run->args = step_run->args;
	js_bounds_check_run(run);
	if (templates != NULL)
		run->keys = js_limit_keys_require(templates, js_run_args(job->args, run->args));
	js_children_adopt(run, false);
}

/*
 * Queues a run of the job that a step names, in the transaction that is open.  What
 * its owner has set for transactions is for his statements.
 */
void
js_step_job_queue(const JsJob *step, const JsRun *run)
{
	bool		read_only = XactReadOnly;
	JsRun		child;
	JsJob		job;

	pgstat_report_activity(STATE_RUNNING, "queueing a run of a job");
	JS_DISABLE_TRANSACTION_TIMEOUT();
	XactReadOnly = false;
	PushActiveSnapshot(GetTransactionSnapshot());
	js_step_job_find(step, &job);
	prepare(&job, run, &child);
	(void) js_queue_run(&child);
	PopActiveSnapshot();
	XactReadOnly = read_only;
}
