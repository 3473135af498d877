/*-------------------------------------------------------------------------
 *
 * undo_runs.c
 *		What undoes the steps of a workflow run that has failed.
 *
 * DATA FLOW
 *
 * What undoes a step (key undo) is a row of the set of steps too, with the name
 * undo:NAME and the step's place in step_undoes.  It is not queued with the others.
 * A set that has such rows has one more, "undo", which is queued with the steps, as
 * the last of them: it waits for all of them, and runs always (sched_children.c).
 * When all have ended the scheduler knows what becomes of the workflow run
 * (sched_undo.c).  If it succeeds, that run ends as skipped, and this was all.  If it
 * fails, or is to end early, a worker executes it, here: it looks in history for the
 * steps that have succeeded, and queues the runs that undo them.  They are children
 * of the workflow run, as those of steps, and run always; each waits for those that
 * undo the steps after its own, whatever becomes of these, and for the run "undo".
 * So the workflow run ends after the last of them, as it would have ended before.
 *
 *		step_runs.c --> run "undo", after_when "undo"
 *			--> scheduler: all have ended --> skipped, or
 *			--> worker: js_undo_runs_queue(): history --> runs undo:NAME
 *
 * Of a step with for_each its elements are undone that have succeeded, whatever has
 * become of the step.  Its run undo:NAME queues a run for each of them, as its
 * children, as a map does (item_runs.c).
 *
 * What cannot be queued, as its step was executed as another role, or its arguments are
 * too large, has failed: it gets a row of history instead of a run, and keeps nobody
 * else from being undone.
 *
 * The result of run "undo" says why the workflow run fails.
 *
 * INVARIANTS
 *
 * All runs that undo are queued in one transaction, that of the run "undo", which
 * happens once, when no step lives any more.  So each step is undone once: the effect
 * of each of them and its record are one commit, as of any run.
 *
 * Run "undo" has a higher id than all steps, and those that undo have higher ones, the
 * last step's first: each waits for lower ones only.  The rows of all steps are in history
 * until the workflow run has ended.
 *
 * There may be as many waits as pairs of steps, where many steps come after many and
 * the one in between is not undone: JS_MAX_STEPS bounds them.
 *
 * KILL -9
 *
 *		before run "undo" is released	its row waits; a successor decides by history
 *										and by the rows of run_stop, as this one would
 *		while it is executed			the transaction is gone, with all that it has
 *										queued; it goes back to the queue
 *		after its commit				all runs that undo are in the queue, it is in
 *										history: the workflow run has children
 *		while these are executed		as any run: each goes back to the queue, or is
 *										lost, as its policy says
 *		after the last one				the queue has no child: the workflow run ends by
 *										what history and its stop say
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guard.h"
#include "base/json.h"
#include "base/sqlstate.h"
#include "compat.h"
#include "http/limit_keys.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "pgstat.h"
#include "run/callback.h"
#include "run/children.h"
#include "run/context.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "run/totals.h"
#include "run/undo_runs.h"
#include "store/bounds.h"
#include "store/owner.h"
#include "store/store_names.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

/* A step of the workflow run, as it has ended. */
typedef struct Done
{
	const JsJob *step;
	const JsJob *undo;			/* NULL: it has none */
	int64		run_id;			/* 0: not found */
	Oid			owner;
	JsStatus	status;
	bool		optional;
	int64		undo_run_id;	/* 0: it is not undone */
	bool		undo_is_queued; /* else it has failed at once */
	Bitmapset  *before;			/* places of those whose undo comes before its
								 * own */
} Done;

typedef struct Undoing
{
	const JsRun *run;			/* that queues the others */
	JsRunWriter *writer;
	int			count;			/* of steps */
	Done	   *steps;			/* by place, from 0 */
} Undoing;

static void
undo_error_context(void *arg)
{
	if (arg != NULL)
		errcontext("step \"%s\"", (const char *) arg);
}

/* ------------------------------------------------------------------------
 * What has been done
 * ------------------------------------------------------------------------
 */

static bool
note_run(const JsRun *head, JsStatus status, void *arg)
{
	Undoing    *undoing = arg;

	for (int i = 0; i < undoing->count; i++)
	{
		Done	   *done = &undoing->steps[i];

		if (done->step == NULL || done->step->job_id != head->job_id)
			continue;
		done->run_id = head->run_id;
		done->owner = head->owner;
		done->status = status;
		done->optional = head->optional;
		break;
	}
	return true;
}

/* Somebody may have spoilt the rows: places are as they should be, or the row does not count. */
static void
note_steps(Undoing *undoing, const List *rows)
{
	ListCell   *lc;

	foreach(lc, rows)
	{
		const JsJob *row = lfirst(lc);

		if (row->step_no >= 1 && row->step_no <= JS_MAX_STEPS && !js_step_undoes(row))
		{
			undoing->steps[row->step_no - 1].step = row;
			undoing->count = Max(undoing->count, row->step_no);
		}
		else if (row->step_undoes >= 1 && row->step_undoes <= JS_MAX_STEPS)
			undoing->steps[row->step_undoes - 1].undo = row;
	}
}

static void
read_steps(Undoing *undoing, const JsJob *job)
{
	undoing->steps = palloc0(sizeof(Done) * JS_MAX_STEPS);
	note_steps(undoing, js_steps_read(job->workflow_id, job->steps_revision));
	for (int ring = 0; ring <= JS_RINGS; ring++)
		js_history_visit_children(undoing->run->parent_run_id, ring, note_run, undoing);
}

static bool
note_success(const JsRun *head, JsStatus status, void *arg)
{
	*(bool *) arg |= status == JS_SUCCEEDED;
	return !*(bool *) arg;
}

/* Whether something of it stands. */
static bool
has_to_be_undone(const Done *done)
{
	bool		found = false;

	if (done->undo == NULL || done->run_id == 0)
		return false;
	if (!done->step->has_items)
		return done->status == JS_SUCCEEDED;
	for (int ring = 0; ring <= JS_RINGS && !found; ring++)
		js_history_visit_children(done->run_id, ring, note_success, &found);
	return found;
}

/* ------------------------------------------------------------------------
 * Why
 * ------------------------------------------------------------------------
 */

typedef struct Cause
{
	int64		run_id;			/* of the workflow */
	JsStopKind	stop;			/* that it is to end by; JS_STOP_UNKNOWN: none */
	const Done *failed;			/* the first step; NULL: none */
	JsOutcome	outcome;		/* of this */
} Cause;

static void
note_stop(const JsStop *stop, void *arg)
{
	Cause	   *cause = arg;

	if (stop->run_id == cause->run_id && cause->stop == JS_STOP_UNKNOWN)
		cause->stop = stop->kind;
}

/* What has been cancelled with its workflow has not failed by itself. */
static void
find_failed(const Undoing *undoing, Cause *cause)
{
	for (int i = 0; i < undoing->count && cause->failed == NULL; i++)
	{
		const Done *done = &undoing->steps[i];
		JsRun		run = {0};

		if (done->run_id == 0 || done->optional || done->status == JS_SUCCEEDED ||
			done->status == JS_SKIPPED || done->status == JS_MISSED)
			continue;
		memset(&cause->outcome, 0, sizeof(JsOutcome));
		if (js_history_find(done->run_id, &run, &cause->outcome) && cause->outcome.reason != NULL &&
			strcmp(cause->outcome.reason, "parent_ended") == 0)
			continue;
		memset(&cause->outcome, 0, sizeof(JsOutcome));
		(void) js_history_find_left(done->run_id, &run, &cause->outcome);
		cause->failed = done;
	}
}

static const char *
status_of(const Cause *cause)
{
	if (cause->stop == JS_STOP_DEADLINE)
		return js_status_name(JS_TIMED_OUT);
	return js_status_name(cause->stop == JS_STOP_UNKNOWN && cause->failed != NULL ? JS_FAILED : JS_CANCELLED);
}

static const char *
reason_of(const Cause *cause)
{
	switch (cause->stop)
	{
		case JS_STOP_DEADLINE:
			return "deadline";
		case JS_STOP_OVERLAP:
			return "replaced";
		case JS_STOP_UNKNOWN:
			return cause->failed != NULL ? "child_failed" : "parent_ended";
		default:
			return "cancelled";
	}
}

/* The result of the run that lets undo begin. */
static Jsonb *
cause_of(const Undoing *undoing, MemoryContext context)
{
	Cause		cause = {.run_id = undoing->run->parent_run_id,.stop = JS_STOP_UNKNOWN};
	MemoryContext outer;
	JsonbParseState *state = NULL;
	Jsonb	   *result;

	js_stops_visit_all(note_stop, &cause);
	find_failed(undoing, &cause);
	outer = MemoryContextSwitchTo(context);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_text(&state, "status", status_of(&cause));
	js_json_push_text(&state, "reason", reason_of(&cause));
	if (cause.failed != NULL)
	{
		js_json_push_text(&state, "step", cause.failed->step->step);
		js_json_push_number(&state, "run_id", cause.failed->run_id);
	}
	if (cause.failed != NULL && cause.outcome.error != NULL &&
		js_role_may_see(js_current_job->owner, cause.failed->owner))
		js_json_push_text(&state, "error", cause.outcome.error);
	result = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	MemoryContextSwitchTo(outer);
	return result;
}

/* ------------------------------------------------------------------------
 * Runs that undo
 * ------------------------------------------------------------------------
 */

/*
 * The keys of a run that undoes are made when there is one: here it is seen to it that
 * what they need will be there.
 */
void
js_undo_check_keys(Jsonb *of_run, const List *steps, const JsJob *undo)
{
	ErrorContextCallback callback = {error_context_stack, undo_error_context, undo->step};
	const JsJob *step;

	if (undo->has_items || undo->step_undoes > list_length(steps))
		return;
	step = list_nth(steps, undo->step_undoes - 1);
	error_context_stack = &callback;
	(void) js_limit_keys_require(js_http_keys(undo, undo->keys),
								 js_run_args(js_run_args(of_run, step->args), undo->args));
	error_context_stack = callback.previous;
}

/* What is another role's, which had the workflow before, may be not for this one. */
static void
check_owner(const JsJob *undo, Oid owner)
{
	if (!js_role_may_see(undo->owner, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the step was executed as another role"),
				 errhint("The workflow has got another owner since; undo as the one before, or by hand.")));
}

/* The arguments of a run that has ended, which may have none, with what undo has over them. */
static Jsonb *
args_of(int64 run_id, const JsJob *undo)
{
	JsRun		run = {0};
	JsOutcome	outcome = {0};

	if (!js_history_find_left(run_id, &run, &outcome))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run " INT64_FORMAT " is not there to be undone", run_id)));
	check_owner(undo, run.owner);
	return run.args == NULL ? undo->args : js_run_args(run.args, undo->args);
}

/* A run that undoes, and what it is made of. */
typedef struct Making
{
	const JsRun *by;			/* that queues it */
	const JsJob *undo;
	int64		undone;
	JsRunSource source;
	JsRun		run;
} Making;

static void
prepare(Making *making)
{
	js_queue_prepare(&making->run, making->undo, making->source);
	making->run.priority = making->by->priority;
	making->run.traceparent = making->by->traceparent;
}

/* What may be refused. */
static void
take_args(void *arg)
{
	Making	   *making = arg;
	const JsJob *undo = making->undo;
	Jsonb	   *args = args_of(making->undone, undo);
	ArrayType  *templates = undo->has_items && making->source == JS_SOURCE_STEP ? NULL : js_http_keys(undo, undo->keys);

	if (JB_ROOT_COUNT(args) > 0)
		making->run.args = args;
	js_bounds_check_run(&making->run);
	if (templates != NULL)
		making->run.keys = js_limit_keys_require(templates, args);
}

/* One that cannot be queued has failed before it was. */
static int64
record_failure(Making *making, const ErrorData *error)
{
	JsRun	   *run = &making->run;
	JsOutcome	outcome = {
		.status = JS_FAILED,
		.reason = "error",
		.sqlstate = js_sqlstate(error->sqlerrcode),
		.error = error->message,
		.error_detail = error->detail,
		.error_hint = error->hint,
		.error_context = error->context,
		.started_at = DT_NOBEGIN,
		.finished_at = run->queued_at
	};
	JsEnding	ending = {.run = run,.job = making->undo,.outcome = &outcome};

	run->run_id = js_run_next_id();
	run->args = NULL;
	run->keys = NULL;
	js_children_add(run);
	js_history_insert(run, &outcome);
	js_callback_queue(&ending);
	return run->run_id;
}

/* Those that undo what came after: ascending, since the last step's was queued first. */
static void
wait_for_others(const Undoing *undoing, const Done *done, JsRun *run)
{
	int64	   *parents = palloc(sizeof(int64) * (bms_num_members(done->before) + 1));
	int			place = undoing->count;

	parents[run->nparents++] = undoing->run->run_id;
	while ((place = bms_prev_member(done->before, place)) >= 0)
		parents[run->nparents++] = undoing->steps[place].undo_run_id;
	run->parents = parents;
	run->after_when = JS_AFTER_ALWAYS;
}

static int64
queue_undo(const Undoing *undoing, Done *done)
{
	ErrorContextCallback callback = {error_context_stack, undo_error_context, done->undo->step};
	Making		making = {undoing->run, done->undo, done->run_id, JS_SOURCE_STEP};
	ErrorData  *error;
	int64		id;

	error_context_stack = &callback;
	prepare(&making);
	making.run.parent_run_id = undoing->run->parent_run_id;
	making.run.depth = undoing->run->depth;
	error = js_guard(take_args, &making);
	done->undo_is_queued = error == NULL;
	if (error != NULL)
		id = record_failure(&making, error);
	else
	{
		wait_for_others(undoing, done, &making.run);
		id = js_queue_add(undoing->writer, &making.run);
	}
	error_context_stack = callback.previous;
	return id;
}

/*
 * What undoes a step, or is to be done before that, comes before what undoes those before it.
 * To wait only for what has failed at once would be to wait for nothing.
 */
static void
pass_on(Undoing *undoing, int place)
{
	const Done *done = &undoing->steps[place];
	int			count;
	const int32 *after = js_step_after(done->step, &count);

	for (int i = 0; i < count; i++)
	{
		Bitmapset **before;

		if (after[i] < 1 || after[i] > place)
			continue;
		before = &undoing->steps[after[i] - 1].before;
		if (done->undo_run_id != 0)
			*before = bms_add_member(*before, place);
		if (!done->undo_is_queued)
			*before = bms_add_members(*before, done->before);
	}
}

/* From the last step to the first, each in memory of its own, for all together may be large. */
static void
queue_all(Undoing *undoing)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched undo", ALLOCSET_DEFAULT_SIZES);

	for (int place = undoing->count - 1; place >= 0; place--)
	{
		Done	   *done = &undoing->steps[place];
		MemoryContext outer;

		if (done->step == NULL)
			continue;
		outer = MemoryContextSwitchTo(scratch);
		if (has_to_be_undone(done))
			done->undo_run_id = queue_undo(undoing, done);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(scratch);
		pass_on(undoing, place);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextDelete(scratch);
}

/* As the first thing in the transaction that is open, for which the owner may have set what he likes. */
static void
begin(const char *what)
{
	pgstat_report_activity(STATE_RUNNING, what);
	JS_DISABLE_TRANSACTION_TIMEOUT();
	XactReadOnly = false;
	XactDeferrable = false;
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * Queues what undoes the steps of a workflow run of which none lives any more.  Returns
 * why that is so, in the given context.
 */
Jsonb *
js_undo_runs_queue(const JsJob *job, const JsRun *run, MemoryContext context)
{
	Undoing		undoing = {.run = run};
	Jsonb	   *cause;

	begin("queueing what undoes steps");
	read_steps(&undoing, job);
	undoing.writer = js_run_writer_open();
	queue_all(&undoing);
	js_run_writer_close(undoing.writer);
	cause = cause_of(&undoing, context);
	PopActiveSnapshot();
	return cause;
}

/* ------------------------------------------------------------------------
 * Elements
 * ------------------------------------------------------------------------
 */

typedef struct Elements
{
	const JsJob *undo;
	int64		step_run_id;	/* of the step that they are elements of; 0:
								 * not found */
	int64	   *ids;			/* of those that have succeeded */
	int			count;
	MemoryContext scratch;
} Elements;

static bool
note_step_run(const JsRun *head, JsStatus status, void *arg)
{
	Elements   *elements = arg;
	MemoryContext outer = MemoryContextSwitchTo(elements->scratch);
	JsJob		step;

	if (js_job_read_head(head->job_id, &step) && step.workflow_id == elements->undo->workflow_id &&
		step.step_no == elements->undo->step_undoes)
		elements->step_run_id = head->run_id;
	MemoryContextSwitchTo(outer);
	MemoryContextReset(elements->scratch);
	return elements->step_run_id == 0;
}

/* One that is moved to where it is kept may be found twice. */
static bool
note_element(const JsRun *head, JsStatus status, void *arg)
{
	Elements   *elements = arg;

	if (status == JS_SUCCEEDED && elements->count < 2 * JS_MAX_CHILDREN)
		elements->ids[elements->count++] = head->run_id;
	return true;
}

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

static void
find_elements(Elements *elements, const JsRun *run)
{
	for (int ring = 0; ring <= JS_RINGS && elements->step_run_id == 0; ring++)
		js_history_visit_children(run->parent_run_id, ring, note_step_run, elements);
	if (elements->step_run_id == 0)
		return;
	elements->ids = palloc(sizeof(int64) * 2 * JS_MAX_CHILDREN);
	for (int ring = 0; ring <= JS_RINGS; ring++)
		js_history_visit_children(elements->step_run_id, ring, note_element, elements);
	qsort(elements->ids, elements->count, sizeof(int64), compare_ids);
}

static void
queue_element(const Elements *elements, JsRunWriter *writer, const JsRun *by, int64 undone)
{
	MemoryContext outer = MemoryContextSwitchTo(elements->scratch);
	Making		making = {by, elements->undo, undone, JS_SOURCE_ITEM};
	ErrorData  *error;

	prepare(&making);
	js_children_adopt(&making.run, false);
	error = js_guard(take_args, &making);
	if (error != NULL)
		(void) record_failure(&making, error);
	else
		(void) js_queue_add(writer, &making.run);
	MemoryContextSwitchTo(outer);
	MemoryContextReset(elements->scratch);
	CHECK_FOR_INTERRUPTS();
}

static void
queue_elements(const Elements *elements, const JsRun *by)
{
	JsRunWriter *writer = js_run_writer_open();

	for (int i = 0; i < elements->count; i++)
		if (i == 0 || elements->ids[i - 1] != elements->ids[i])
			queue_element(elements, writer, by, elements->ids[i]);
	js_run_writer_close(writer);
}

/*
 * What the run executes that undoes a step with for_each: it queues a run for each
 * element that has succeeded.  Its result, if there is none, is in the given context.
 */
Jsonb *
js_undo_items_queue(const JsJob *job, const JsRun *run, MemoryContext context)
{
	Elements	elements = {.undo = job};
	JsTotals	totals = {0};
	MemoryContext outer;
	Jsonb	   *result = NULL;

	begin("queueing what undoes elements");
	elements.scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched undo", ALLOCSET_DEFAULT_SIZES);
	find_elements(&elements, run);
	queue_elements(&elements, run);
	PopActiveSnapshot();
	if (elements.count > 0)
		return NULL;
	outer = MemoryContextSwitchTo(context);
	result = js_totals_json(&totals);
	MemoryContextSwitchTo(outer);
	return result;
}
