/*-------------------------------------------------------------------------
 *
 * step_results.c
 *		What the steps of a workflow have left, for functions that a step calls.
 *
 * A run belongs to a workflow if it is the run of a step, or is below one: what a
 * step has queued as its child finds the same steps.  The workflow's run is the
 * parent of the runs of its steps, and has no other children.
 *
 * A step with for_each has a run for each element, which is the child of its run.  All
 * of them are queued in one transaction, in the order of their indexes, and it has no
 * other children: so the nth of these is element n (run/item_runs.c).
 *
 * As in upstream.c the tables are read with the newest snapshot, since rows of runs
 * move: first those that live, then the rings of history, and what is kept last.  So
 * none is overlooked that moves meanwhile, and each is found once or twice.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "base/arguments.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "run/context.h"
#include "store/store_names.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(jobsched_workflow_run_id);
PG_FUNCTION_INFO_V1(jobsched_step_result);
PG_FUNCTION_INFO_V1(jobsched_step_results);

/* Runs that live are looked up by so many at a time. */
#define AT_A_TIME 100

typedef struct Step
{
	int64		job_id;
	Oid			owner;
	char	   *name;			/* NULL: there is none */
	int64		run_id;			/* 0: has not been found */
	bool		has_items;
	int64	   *items;			/* their runs by index; NULL: not known */
	int			nitems;
} Step;

/*
 * Which run is which step's, or which element's, never changes, for all of a workflow
 * or of a step are queued at once, but for what undoes steps.  So what was
 * read for one call is kept for the next ones, and for the next run if that belongs
 * to the same workflow.  Who may see what is asked at each call.
 */
typedef struct Workflow
{
	int64		run_id;
	MemoryContext context;		/* which it is in */
	Step		steps[JS_MAX_STEPS];	/* by their places */
} Workflow;

static Workflow *known;

/* What is known of the run of a step. */
typedef struct StepRun
{
	JsRun		run;
	const char *status;
	JsOutcome	outcome;		/* what it has left: nothing if it has not
								 * ended */
} StepRun;

/* ------------------------------------------------------------------------
 * The workflow
 * ------------------------------------------------------------------------
 */

/* The head of the run of a step that the current run is, or that it is below. */
static bool
find_step_run(JsRun *head)
{
	if (js_current_run == NULL)
		return false;
	*head = *js_current_run;
	for (int i = 0; i <= JS_MAX_DEPTH && head->source != JS_SOURCE_STEP; i++)
		if (head->parent_run_id == 0 || !js_run_see_head(head->parent_run_id, head))
			return false;
	return head->source == JS_SOURCE_STEP;
}

Datum
jobsched_workflow_run_id(PG_FUNCTION_ARGS)
{
	JsRun		head;

	if (!find_step_run(&head))
		PG_RETURN_NULL();
	PG_RETURN_INT64(head.parent_run_id);
}

static void
note_step(const JsJob *head, void *arg)
{
	Workflow   *workflow = arg;
	Step	   *step;

	if (head->step_no < 1 || head->step == NULL)
		return;
	step = &workflow->steps[head->step_no - 1];
	step->job_id = head->job_id;
	step->owner = head->owner;
	step->has_items = head->has_items;
	step->name = MemoryContextStrdup(workflow->context, head->step);
}

static void
note_run(Workflow *workflow, const JsRun *head)
{
	for (int i = 0; i < JS_MAX_STEPS; i++)
		if (workflow->steps[i].name != NULL && workflow->steps[i].job_id == head->job_id)
			workflow->steps[i].run_id = head->run_id;
}

static bool
note_ended(const JsRun *head, JsStatus status, void *arg)
{
	note_run(arg, head);
	return true;
}

static void
note_live_runs(Workflow *workflow)
{
	int64		ids[AT_A_TIME];
	int64		from = 0;
	int			count;

	do
	{
		count = js_runs_children(workflow->run_id, from, ids, AT_A_TIME);
		for (int i = 0; i < count; i++)
		{
			JsRun		head;

			if (js_run_see_head(ids[i], &head))
				note_run(workflow, &head);
			from = ids[i] + 1;
		}
	} while (count == AT_A_TIME);
}

static void
find_steps(Workflow *workflow, const JsJob *step)
{
	js_steps_visit(step->workflow_id, step->steps_revision, note_step, workflow);
	note_live_runs(workflow);
	for (int ring = 0; ring <= JS_RINGS; ring++)
		js_history_visit_children(workflow->run_id, ring, note_ended, workflow);
}

static void
forget_known(void)
{
	if (known == NULL)
		return;
	MemoryContextDelete(known->context);
	known = NULL;
}

/* What undoes steps is queued when these have ended. */
static bool
knows(const Workflow *workflow, const JsJob *step, const JsRun *head)
{
	return step->step_no < 1 || workflow->steps[step->step_no - 1].run_id == head->run_id;
}

/* The steps of the workflow that the current run belongs to; NULL: it belongs to none. */
static Workflow *
read_workflow(void)
{
	MemoryContext context;
	Workflow   *workflow;
	JsRun		head;
	JsJob		job;

	if (!find_step_run(&head) || !js_job_read_head(head.job_id, &job))
		return NULL;
	if (known != NULL && known->run_id == head.parent_run_id && knows(known, &job, &head))
		return known;
	forget_known();
	context = AllocSetContextCreate(CurrentMemoryContext, "jobsched steps", ALLOCSET_DEFAULT_SIZES);
	workflow = MemoryContextAllocZero(context, sizeof(Workflow));
	workflow->run_id = head.parent_run_id;
	workflow->context = context;
	find_steps(workflow, &job);
	MemoryContextSetParent(context, TopMemoryContext);
	return known = workflow;
}

/* For whom a step is not to be seen, it does not exist. */
static bool
is_there(const Step *step)
{
	return step->name != NULL && js_may_see(step->owner);
}

static Step *
require_step(Workflow *workflow, const char *name)
{
	for (int i = 0; i < JS_MAX_STEPS; i++)
		if (is_there(&workflow->steps[i]) && strcmp(workflow->steps[i].name, name) == 0)
			return &workflow->steps[i];
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("step \"%s\" does not exist", name),
			 errhint("step_results() shows the steps of run " INT64_FORMAT ", which this one belongs to.",
					 workflow->run_id)));
}

/* ------------------------------------------------------------------------
 * Elements of a step
 * ------------------------------------------------------------------------
 */

typedef struct Ids
{
	int64	   *ids;
	int			count;
	int			room;
} Ids;

static void
add_id(Ids *ids, int64 id)
{
	if (ids->count == ids->room)
	{
		ids->room *= 2;
		ids->ids = repalloc(ids->ids, ids->room * sizeof(int64));
	}
	ids->ids[ids->count++] = id;
}

static void
add_live_ids(int64 parent_run_id, Ids *ids)
{
	int64		some[AT_A_TIME];
	int64		from = 0;
	int			count;

	do
	{
		count = js_runs_children(parent_run_id, from, some, AT_A_TIME);
		for (int i = 0; i < count; i++)
			add_id(ids, some[i]);
		if (count > 0)
			from = some[count - 1] + 1;
		CHECK_FOR_INTERRUPTS();
	} while (count == AT_A_TIME);
}

static bool
add_ended_id(const JsRun *head, JsStatus status, void *arg)
{
	add_id(arg, head->run_id);
	return true;
}

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* One that has ended meanwhile was found twice. */
static void
sort_ids(Ids *ids)
{
	int			count = 0;

	qsort(ids->ids, ids->count, sizeof(int64), compare_ids);
	for (int i = 0; i < ids->count; i++)
		if (count == 0 || ids->ids[count - 1] != ids->ids[i])
			ids->ids[count++] = ids->ids[i];
	ids->count = count;
}

/* Whether for_each has been executed: then all elements are there to be found. */
static bool
has_queued_items(int64 run_id)
{
	JsRun		head;

	return run_id != 0 && (!js_run_see_head(run_id, &head) || head.status == JS_RUN_WAITING);
}

/* What is looked for before that is not remembered. */
static void
find_items(const Workflow *workflow, Step *step)
{
	Ids			ids = {.room = AT_A_TIME};

	if (step->items != NULL || !has_queued_items(step->run_id))
		return;
	ids.ids = palloc(ids.room * sizeof(int64));
	add_live_ids(step->run_id, &ids);
	for (int ring = 0; ring <= JS_RINGS; ring++)
		js_history_visit_children(step->run_id, ring, add_ended_id, &ids);
	sort_ids(&ids);
	step->nitems = ids.count;
	step->items = MemoryContextAlloc(workflow->context, Max(ids.count, 1) * sizeof(int64));
	memcpy(step->items, ids.ids, ids.count * sizeof(int64));
	pfree(ids.ids);
}

/* The run of an element; 0: there is none. */
static int64
item_run(const Workflow *workflow, Step *step, int32 index)
{
	if (!step->has_items)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("step \"%s\" has no elements", step->name),
				 errhint("Leave out index: the step has no for_each, and one result.")));
	find_items(workflow, step);
	return index < 0 || index >= step->nitems ? 0 : step->items[index];
}

/* ------------------------------------------------------------------------
 * What a step has left
 * ------------------------------------------------------------------------
 */

/* False: its run is not there, or not for the caller.  run_id: the step's or of an element. */
static bool
read_step_run(const Step *step, int64 run_id, StepRun *found)
{
	memset(found, 0, sizeof(StepRun));
	if (run_id == 0 || !is_there(step))
		return false;
	if (js_run_see(run_id, &found->run))
		found->status = js_run_status_name(found->run.status);
	else if (js_history_find_left(run_id, &found->run, &found->outcome))
		found->status = js_status_name(found->outcome.status);
	return found->status != NULL && js_may_see(found->run.owner);
}

static bool
has_succeeded(const StepRun *step_run)
{
	return strcmp(step_run->status, js_status_name(JS_SUCCEEDED)) == 0;
}

/* The step's, or an element's. */
Datum
jobsched_step_result(PG_FUNCTION_ARGS)
{
	Workflow   *workflow;
	Step	   *step;
	StepRun		found;
	int64		run_id;

	if (PG_ARGISNULL(0) || (workflow = read_workflow()) == NULL)
		PG_RETURN_NULL();
	step = require_step(workflow, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	run_id = PG_ARGISNULL(1) ? step->run_id : item_run(workflow, step, PG_GETARG_INT32(1));
	if (!read_step_run(step, run_id, &found) || !has_succeeded(&found) || found.outcome.result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(found.outcome.result);
}

enum ResultColumn
{
	RESULT_STEP, RESULT_RUN_ID, RESULT_STATUS, RESULT_ARGS, RESULT_RESULT, RESULT_ERROR, RESULT_ITEM,
	RESULT_COLUMNS
};

/* A step, or one of its elements. */
static void
put_run(ReturnSetInfo *result, const Step *step, int64 run_id, int item)
{
	Datum		values[RESULT_COLUMNS] = {0};
	bool		nulls[RESULT_COLUMNS];
	StepRun		found;

	if (!read_step_run(step, run_id, &found))
		return;
	values[RESULT_STEP] = CStringGetTextDatum(step->name);
	values[RESULT_RUN_ID] = Int64GetDatum(run_id);
	values[RESULT_STATUS] = CStringGetTextDatum(found.status);
	values[RESULT_ARGS] = PointerGetDatum(found.run.args);
	values[RESULT_RESULT] = PointerGetDatum(found.outcome.result);
	if (found.outcome.error != NULL)
		values[RESULT_ERROR] = CStringGetTextDatum(found.outcome.error);
	values[RESULT_ITEM] = Int32GetDatum(item);
	for (int i = 0; i < RESULT_COLUMNS; i++)
		nulls[i] = values[i] == (Datum) 0;
	nulls[RESULT_ITEM] = item < 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
put_steps(ReturnSetInfo *result, const Workflow *workflow, MemoryContext scratch)
{
	for (int i = 0; i < JS_MAX_STEPS; i++)
	{
		put_run(result, &workflow->steps[i], workflow->steps[i].run_id, -1);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
put_items(ReturnSetInfo *result, const Step *step, MemoryContext scratch)
{
	for (int i = 0; i < step->nitems; i++)
	{
		put_run(result, step, step->items[i], i);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* All steps in order; or one, and if it has elements these instead. */
static void
put_results(ReturnSetInfo *result, Workflow *workflow, const char *name, MemoryContext scratch)
{
	Step	   *step;

	if (name == NULL)
	{
		put_steps(result, workflow, scratch);
		return;
	}
	step = require_step(workflow, name);
	if (step->has_items)
	{
		find_items(workflow, step);
		put_items(result, step, scratch);
	}
	else
		put_run(result, step, step->run_id, -1);
}

Datum
jobsched_step_results(PG_FUNCTION_ARGS)
{
	const char *name = js_text_argument(fcinfo, 0);
	Workflow   *workflow = read_workflow();
	MemoryContext scratch;
	MemoryContext outer;

	InitMaterializedSRF(fcinfo, 0);
	if (workflow == NULL)
		return (Datum) 0;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched step results", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(scratch);
	put_results((ReturnSetInfo *) fcinfo->resultinfo, workflow, name, scratch);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
	return (Datum) 0;
}
