/*-------------------------------------------------------------------------
 *
 * item_runs.c
 *		What the run of a step with for_each executes: it queues a run for each
 *		element.
 *
 * DATA FLOW
 *
 * A step with for_each is one row of table job, like any step.  Two kinds of runs
 * belong to it, and their source tells them apart:
 *
 *	step	the map, a child of the workflow's run.  A worker of the owner executes
 *			for_each, whatever the step is, a request too, and queues the elements.
 *	item	an element, a child of the map.  It executes what the step says, with
 *			args.item and args.index over the map's arguments.
 *
 *		step_runs.c --> map, as any step
 *			--> js_item_runs_queue(): for_each --> store of rows --> elements
 *			--> js_children_plan() --> row "waiting"
 *		elements: executed, retried and limited as runs of the step
 *		the last one has ended --> sched_batch.c counts --> the map ends, with the
 *			totals as its result
 *
 * Rows are taken in first and elements queued afterwards, because nothing can be
 * written in the middle of a query that may be parallel.  The rows are in a
 * tuplestore, and each element has its arguments in memory that is emptied after
 * it: so all together may be large.
 *
 * INVARIANTS
 *
 * The map and its elements are of the same row of table job, which never changes but
 * for its name, its owner and whether it is held, and stays while the queue has a run
 * of it (sched_retire.c).
 *
 * All elements are queued in one transaction, that of the map's attempt, in the order
 * of their indexes.  So the nth of the map's children is element n; the map has no
 * other ones (child => true is refused in for_each), and cannot call snooze(), after
 * which for_each would be executed once more.
 *
 * What the step says of attempts, limits, places and shared transactions holds for
 * the elements; the map takes no place of them (RunEntry.maps), and has the attempts
 * of who says nothing.
 *
 * Nothing is written for the map when an element ends.
 *
 * KILL -9
 *
 *		while for_each is executed, or	the transaction is gone, with all elements;
 *		elements are queued				the map goes back to the queue
 *		after its commit				all elements are queued, the map's row says
 *										"waiting": as any parent (sched_children.c)
 *		while elements are counted		the count begins anew
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/json.h"
#include "base/sqlstate.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/executor.h"
#include "http/limit_keys.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "run/carry.h"
#include "run/children.h"
#include "run/execsql.h"
#include "run/http_job.h"
#include "run/item.h"
#include "run/item_runs.h"
#include "run/queue.h"
#include "run/step_job.h"
#include "run/totals.h"
#include "store/bounds.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/tuplestore.h"

/* ------------------------------------------------------------------------
 * What for_each may be
 * ------------------------------------------------------------------------
 */

/* As far as its text tells: the tables need not exist so far. */
void
js_for_each_check(const char *sql)
{
	bool		transactional;

	js_command_check(sql, JS_MODE_TRANSACTION, &transactional);
	if (list_length(pg_parse_query(sql)) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("for_each has several statements"),
				 errhint("Give it one that returns the elements; WITH, or a function, can do more.")));
}

pg_noreturn static void
refuse_columns(int count)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("for_each returns %d columns, not one", count),
			 errhint("Make one of each row: SELECT to_jsonb(t) FROM app.table t.")));
}

pg_noreturn static void
refuse_type(Oid type)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("for_each returns %s, not jsonb", format_type_be(type)),
			 errhint("Cast it to jsonb, or use to_jsonb().")));
}

pg_noreturn static void
refuse_nothing(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("for_each returns nothing"),
			 errhint("Let it be a SELECT, or a statement with RETURNING, of one column of type jsonb.")));
}

pg_noreturn static void
refuse_count(const char *count)
{
	ereport(ERROR,
			(errcode(JS_ERRCODE_LIMIT),
			 errmsg("for_each returns %s elements, more than %d", count, JS_MAX_CHILDREN),
			 errhint("Let each element be of several things.")));
}

pg_noreturn static void
refuse_arrays(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("for_each returns several rows, and one of them is an array"),
			 errhint("Return one array of all elements, jsonb_agg(...), or put each array into an object.")));
}

/* ------------------------------------------------------------------------
 * Its rows
 * ------------------------------------------------------------------------
 */

typedef struct Rows
{
	DestReceiver pub;
	Tuplestorestate *store;
	TupleDesc	desc;			/* one jsonb */
	MemoryContext scratch;
	bool		announced;		/* the statement returns rows, be it none */
	bool		has_array;
	int			count;			/* but for NULLs */
} Rows;

static void
check_row_type(TupleDesc desc)
{
	if (desc->natts != 1)
		refuse_columns(desc->natts);
	if (getBaseType(TupleDescAttr(desc, 0)->atttypid) != JSONBOID)
		refuse_type(TupleDescAttr(desc, 0)->atttypid);
}

static void
rows_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	((Rows *) self)->announced = true;
	check_row_type(desc);
}

static void
keep_row(Rows *rows, Datum value)
{
	Jsonb	   *json = DatumGetJsonbP(value);
	bool		is_array = JB_ROOT_IS_ARRAY(json) && !JB_ROOT_IS_SCALAR(json);
	Datum		values[1] = {JsonbPGetDatum(json)};
	bool		nulls[1] = {false};

	rows->has_array |= is_array;
	if (++rows->count > 1 && rows->has_array)
		refuse_arrays();
	if (rows->count > JS_MAX_CHILDREN)
		refuse_count("too many");
	if (is_array && JB_ROOT_COUNT(json) > JS_MAX_CHILDREN)
		refuse_count(psprintf("%u", JB_ROOT_COUNT(json)));
	tuplestore_putvalues(rows->store, rows->desc, values, nulls);
}

/* The row says best what type it is of; NULL is no element. */
static bool
rows_receive(TupleTableSlot *slot, DestReceiver *self)
{
	Rows	   *rows = (Rows *) self;
	MemoryContext outer = MemoryContextSwitchTo(rows->scratch);
	bool		isnull;
	Datum		value;

	check_row_type(slot->tts_tupleDescriptor);
	value = slot_getattr(slot, 1, &isnull);
	if (!isnull)
	{
		/* Utility statements have none when they give their rows. */
		PushActiveSnapshot(GetTransactionSnapshot());
		keep_row(rows, value);
		PopActiveSnapshot();
	}
	MemoryContextSwitchTo(outer);
	MemoryContextReset(rows->scratch);
	return true;
}

static void
rows_done(DestReceiver *self)
{
}

static void
rows_init(Rows *rows)
{
	memset(rows, 0, sizeof(Rows));
	rows->pub.receiveSlot = rows_receive;
	rows->pub.rStartup = rows_startup;
	rows->pub.rShutdown = rows_done;
	rows->pub.rDestroy = rows_done;
	rows->pub.mydest = DestTuplestore;
	rows->desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(rows->desc, 1, "item", JSONBOID, -1, 0);
	rows->store = tuplestore_begin_heap(false, false, work_mem);
	rows->scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched row of for_each",
										  ALLOCSET_DEFAULT_SIZES);
}

/* ------------------------------------------------------------------------
 * Elements
 * ------------------------------------------------------------------------
 */

typedef struct Items
{
	JsRunWriter *writer;
	const JsJob *job;			/* whose runs they are */
	Jsonb	   *job_args;		/* under those of each; NULL: these have them */
	Jsonb	   *state;			/* of each: a request is ready */
	const JsRun *map;
	ArrayType  *templates;		/* of keys */
	JsCarriedItems carried;		/* of a workflow run that was retried */
	MemoryContext scratch;		/* of one element */
	int			count;
} Items;

static void
item_error_context(void *arg)
{
	errcontext("element %d of for_each", ((const Items *) arg)->count);
}

/* Over the map's arguments. */
static Jsonb *
item_args(const Items *items, JsonbValue *item)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push(&state, JS_ITEM, item);
	js_json_push_number(&state, JS_ITEM_INDEX, items->count);
	return js_run_args(items->map->args, JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static void
prepare_item(const Items *items, JsonbValue *item, JsRun *run)
{
	js_queue_prepare(run, items->job, JS_SOURCE_ITEM);
	run->priority = items->map->priority;
	run->traceparent = items->map->traceparent;
	run->args = item_args(items, item);
	run->state = items->state;
	js_bounds_check_run(run);
	if (items->templates != NULL)
		run->keys = js_limit_keys_require(items->templates, items->job_args == NULL ? run->args :
										  js_run_args(items->job_args, run->args));
	js_children_adopt(run, false);
}

/* It had succeeded, and has ended before it was queued (carry.c). */
static void
add_carried(JsRun *run, const JsOutcome *outcome)
{
	run->run_id = js_run_next_id();
	run->keys = NULL;
	run->state = NULL;
	js_children_add(run);
	js_history_insert(run, outcome);
}

static void
queue_item(Items *items, JsonbValue *item)
{
	MemoryContext outer = MemoryContextSwitchTo(items->scratch);
	JsOutcome	outcome;
	JsRun		run;

	prepare_item(items, item, &run);
	if (js_carry_item(&items->carried, items->count, &run, &outcome))
		add_carried(&run, &outcome);
	else
		(void) js_queue_add(items->writer, &run);
	items->count++;
	MemoryContextSwitchTo(outer);
	MemoryContextReset(items->scratch);
	CHECK_FOR_INTERRUPTS();
}

static void
queue_elements(Items *items, Jsonb *array)
{
	JsonbIterator *it = JsonbIteratorInit(&array->root);
	JsonbValue	value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			queue_item(items, &value);
}

/* A scalar is in an array that is not its own. */
static void
queue_row(Items *items, Datum row)
{
	MemoryContext outer = MemoryContextSwitchTo(items->scratch);
	Jsonb	   *json = DatumGetJsonbP(row);
	JsonbValue	value;

	if (JB_ROOT_IS_SCALAR(json))
		(void) JsonbExtractScalar(&json->root, &value);
	else
		JsonbToJsonbValue(json, &value);
	queue_item(items, &value);
	MemoryContextSwitchTo(outer);
}

static void
queue_rows(Items *items, const Rows *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(rows->desc, &TTSOpsMinimalTuple);
	bool		isnull;

	while (tuplestore_gettupleslot(rows->store, true, false, slot))
	{
		Datum		value = slot_getattr(slot, 1, &isnull);

		if (rows->has_array)
			queue_elements(items, DatumGetJsonbP(value));
		else
			queue_row(items, value);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* What the owner has set for transactions was for his statement. */
static void
queue_all(Items *items, const Rows *rows)
{
	ErrorContextCallback callback = {error_context_stack, item_error_context, items};
	bool		read_only = XactReadOnly;

	pgstat_report_activity(STATE_RUNNING, "queueing elements");
	JS_DISABLE_TRANSACTION_TIMEOUT();
	XactReadOnly = false;
	PushActiveSnapshot(GetTransactionSnapshot());
	items->writer = js_run_writer_open();
	error_context_stack = &callback;
	queue_rows(items, rows);
	error_context_stack = callback.previous;
	js_run_writer_close(items->writer);
	PopActiveSnapshot();
	XactReadOnly = read_only;
}

/* Its result, if it has no elements: others have that when these have ended. */
static Jsonb *
no_elements(MemoryContext context)
{
	MemoryContext outer = MemoryContextSwitchTo(context);
	JsTotals	totals = {0};
	Jsonb	   *result = js_totals_json(&totals);

	MemoryContextSwitchTo(outer);
	return result;
}

/*
 * Executes for_each in the transaction that is open, and queues a run for each
 * element.  found: what placeholders of the step stand for, if it looks (step_look.c).
 * The result is in the given context.
 */
Jsonb *
js_item_runs_queue(const JsJob *job, const JsRun *run, Jsonb *found, MemoryContext context)
{
	MemoryContext outer = MemoryContextSwitchTo(context);
	Rows		rows;
	Items		items = {.job = job,.map = run};
	JsJob		named;

	rows_init(&rows);
	js_command_run_into(job->step_for_each, JS_MODE_TRANSACTION, context, &rows.pub, NULL);
	if (!rows.announced)
		refuse_nothing();
	if (job->step_job != NULL)
	{
		js_step_job_find(job, &named);
		items.job = &named;
		items.job_args = named.args;
	}
	else if (job->step_looks && job->request != NULL)
		items.state = found;
	items.templates = js_http_keys(items.job, items.job->keys);
	items.scratch = rows.scratch;
	js_carry_items_begin(job, run, &items.carried);
	queue_all(&items, &rows);
	tuplestore_end(rows.store);
	MemoryContextSwitchTo(outer);
	return items.count == 0 ? no_elements(context) : NULL;
}
