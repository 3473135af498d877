/*-------------------------------------------------------------------------
 *
 * step_runs.c
 *		What the run of a job made of steps executes: it queues their runs.
 *
 * In its transaction it queues a run for each step, as its child, which waits for
 * the runs of the steps that this one comes after.  All else that makes a workflow
 * is what children and runs that wait do anyway.  So nobody keeps a state of a
 * workflow, and after a crash either all of its steps are queued or none.
 *
 * The set of steps is the one that the job's row had when the worker read it.  Its
 * rows stay while a run has begun that may need them, and never change but for their
 * name, their owner and whether they are held.
 *
 * Steps that undo others are queued when it is known that they are needed
 * (undo_runs.c); but what their keys need has to be there from the first.
 *
 * A run that is a retry may have to carry over steps that had succeeded: for these
 * there are rows of history instead of runs (carry.c).
 *
 * No lock is needed on the runs that others wait for, as it is for parameter after:
 * they exist from the same commit on as the rows of dependency that keep them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "http/limit_keys.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "run/carry.h"
#include "run/children.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "run/step_runs.h"
#include "run/undo_runs.h"
#include "store/bounds.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

/* The runs that have been queued, by the places of their steps. */
typedef struct Queue
{
	JsRunWriter *writer;
	const JsRun *run;			/* that queues them */
	int			count;
	int64		ids[JS_MAX_STEPS];
	int64		carried[JS_MAX_STEPS];	/* from which runs; 0: done anew */
} Queue;

static void
step_error_context(void *arg)
{
	if (arg != NULL)
		errcontext("step \"%s\"", (const char *) arg);
}

pg_noreturn static void
refuse_spoilt(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the steps of the job are not as they were written"),
			 errhint("Drop the job, and create it anew.")));
}

/* The run that lets undo begin waits for all others. */
static void
wait_for_all(const Queue *queue, JsRun *run)
{
	run->parents = queue->ids;
	run->nparents = queue->count;
	run->after_when = JS_AFTER_UNDO;
	if (run->nparents == 0)
		refuse_spoilt();
}

/* The runs that a step's run waits for: ascending, for so are ids and places, and each once. */
static void
wait_for_others(const Queue *queue, const JsJob *step, JsRun *run)
{
	bool		is_named[JS_MAX_STEPS] = {false};
	int64	   *parents;
	int			count;
	const int32 *after = js_step_after(step, &count);

	for (int i = 0; i < count; i++)
	{
		if (after[i] < 1 || after[i] > queue->count)
			refuse_spoilt();
		is_named[after[i] - 1] = true;
	}
	parents = palloc(Max(queue->count, 1) * sizeof(int64));
	for (int i = 0; i < queue->count; i++)
		if (is_named[i])
			parents[run->nparents++] = queue->ids[i];
	run->parents = run->nparents > 0 ? parents : NULL;
	run->after_when = run->nparents > 0 ? step->step_when : JS_AFTER_NOTHING;
	if (run->nparents > 0 && run->after_when == JS_AFTER_NOTHING)
		refuse_spoilt();
}

/* The run's arguments, and over them the step's. */
static void
prepare(const Queue *queue, const JsJob *step, JsRun *run)
{
	Jsonb	   *args = js_run_args(queue->run->args, step->args);
	ArrayType  *templates = step->has_items ? NULL : js_http_keys(step, step->keys);

	js_queue_prepare(run, step, JS_SOURCE_STEP);
	run->priority = queue->run->priority;
	run->traceparent = queue->run->traceparent;
	if (JB_ROOT_COUNT(args) > 0)
		run->args = args;
	js_bounds_check_run(run);
	if (templates != NULL)
		run->keys = js_limit_keys_require(templates, args);
	run->wait_for = step->step_wait_for;
	run->wait_timeout = step->step_wait_timeout;
	js_children_adopt(run, step->step_optional);
	if (js_step_begins_undo(step))
		wait_for_all(queue, run);
	else
		wait_for_others(queue, step, run);
	if (run->nparents == 0)
		run->run_at += step->step_delay;	/* else sched_after.c adds it */
}

/* A step that need not be executed has ended before it was queued. */
static int64
carry_over(const Queue *queue, const JsJob *step)
{
	JsOutcome	outcome;
	JsRun		run;

	js_queue_prepare(&run, step, JS_SOURCE_STEP);
	run.run_id = js_run_next_id();
	run.priority = queue->run->priority;
	run.traceparent = queue->run->traceparent;
	js_children_adopt(&run, step->step_optional);
	js_children_add(&run);
	outcome = js_carry_take(queue->carried[queue->count], &run);
	js_history_insert(&run, &outcome);
	return run.run_id;
}

static int64
add_run(const Queue *queue, const JsJob *step)
{
	JsRun		run;

	prepare(queue, step, &run);
	return js_queue_add(queue->writer, &run);
}

static void
queue_step(Queue *queue, const JsJob *step)
{
	ErrorContextCallback callback = {error_context_stack, step_error_context, step->step};
	int64		id;

	error_context_stack = &callback;
	if (step->step_no != queue->count + 1)
		refuse_spoilt();
	id = queue->carried[queue->count] != 0 ? carry_over(queue, step) : add_run(queue, step);
	queue->ids[queue->count++] = id;
	error_context_stack = callback.previous;
}

/* Each with its arguments in memory of its own, for all together may be large. */
static void
queue_steps(Queue *queue, const List *steps)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "jobsched step", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(scratch);
	ListCell   *lc;

	foreach(lc, steps)
	{
		const JsJob *step = lfirst(lc);

		if (step->step_undoes != 0)
			js_undo_check_keys(queue->run->args, steps, step);
		else
			queue_step(queue, step);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
}

/*
 * Queues the steps of a job, as the first thing in the transaction that is open.
 * What its owner has set for transactions is for his statements, and there are none.
 */
void
js_step_runs_queue(const JsJob *job, const JsRun *run)
{
	List	   *steps;
	Queue	   *queue;

	pgstat_report_activity(STATE_RUNNING, "queueing steps");
	JS_DISABLE_TRANSACTION_TIMEOUT();
	XactReadOnly = false;
	XactDeferrable = false;
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
	steps = js_steps_read(job->job_id, job->steps_revision);
	if (steps == NIL)
		refuse_spoilt();
	queue = palloc0(sizeof(Queue));
	queue->run = run;
	if (js_run_carries_over(run))
		js_carry_plan(run, steps, queue->carried, NULL);
	queue->writer = js_run_writer_open();
	queue_steps(queue, steps);
	js_run_writer_close(queue->writer);
	PopActiveSnapshot();
}
