/*-------------------------------------------------------------------------
 *
 * carry.c
 *		Steps that a retried workflow run takes over from the one before.
 *
 * DATA FLOW
 *
 * retry_run() of a workflow run queues a new run, and names with rows of dependency
 * the runs of steps that have succeeded and are to be carried over (api/retry_steps.c).
 * The new run does not wait for them (it has no after_when): the rows keep those runs
 * in history until it has ended, as those of any parent.  When its worker queues the
 * steps, by the definition of then, it finds the named runs by the names of their
 * steps.  A step that is carried over gets a row of history under an id of its own
 * instead of a run: succeeded, reason carried_over, with the arguments and the result
 * of the old run.  It never was in the queue, so nobody executes, counts or reports
 * it; and since it is a child of the workflow run that has succeeded, steps that come
 * after it, step_result(), upstream(), the views, and a retry of this retry need to
 * know nothing of all this.
 *
 *		retry_run() --> run, dependency, retried
 *		worker --> js_carry_plan() --> history (carried over) or run (done anew)
 *
 * INVARIANTS
 *
 * What is not named is done anew, and what has been undone is not named.  So is a step
 * that comes after one which is, by the definition in force: it may need what that
 * leaves this time.  One whose condition cannot come true, as each step before it is
 * carried over or is such a step itself, is sure to be skipped, and does no harm to those
 * behind it, unless somebody has asked for it to be done anew (from_steps of retried).
 *
 * A step with for_each is always done anew, and its elements are carried over one by one:
 * its run too, if it has been executed, is named, however it has ended.  When the new one has
 * executed for_each (item_runs.c), an element that had succeeded under the same index, with
 * an equal value, gets a row of history instead of a run.  That is so only where a
 * step would be carried over: not after one that is done anew.  Which children of the
 * old run is which element is known from their order; one that is found not to be the
 * element, as retention has removed others, is done anew.  The named run keeps its
 * elements in history, as a workflow run does.  Elements that have been undone are done
 * anew: those that had succeeded have been undone in their order (undo_runs.c), so the
 * nth of these belongs to the nth run that undoes one.
 *
 * LOCKS
 *
 * As for parameter after: who names rows of history has js_dependency_lock(), and
 * passes over what is about to be removed.
 *
 * KILL -9
 *
 *		before the commit of retry_run()	there is no new run
 *		after it							the rows of dependency keep what is needed
 *		while steps are queued				neither runs nor rows of history exist;
 *											the run is executed once more
 *		after that							all of them exist
 *		before the new run begins, for good	it is in retried that it is a retry; one
 *											of it names the same runs (retry_steps.c)
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/qunique.h"
#include "miscadmin.h"
#include "run/carry.h"
#include "run/item.h"
#include "store/owner.h"
#include "store/store_names.h"

/* Other runs of dependency are those that a run has waited for. */
bool
js_run_carries_over(const JsRun *run)
{
	return run->nparents > 0 && run->after_when == JS_AFTER_NOTHING;
}

/* A run that has been named, and the name of its step. */
typedef struct Named
{
	int64		run_id;
	Oid			owner;
	const char *step;			/* NULL: nobody knows any more */
	bool		has_items;
} Named;

static Named
look_up(const JsRun *run, int64 run_id)
{
	Named		named = {.run_id = run_id};
	JsStatus	status;
	JsRun		head;
	JsJob		step;

	if (!js_history_find_head(run_id, false, &head, &status) ||
		!js_job_read_head(head.job_id, &step) || step.workflow_id != run->job_id || js_step_undoes(&step) ||
		(status != JS_SUCCEEDED && !step.has_items))
		return named;
	named.owner = head.owner;
	named.step = step.step;
	named.has_items = step.has_items;
	return named;
}

/* The runs that a workflow run is to carry over; *count of them. */
static Named *
read_named(const JsRun *run, int *count)
{
	int64	   *ids = palloc(JS_MAX_STEPS * sizeof(int64));
	Named	   *named;

	*count = js_dependencies_read(run->run_id, 0, ids, JS_MAX_STEPS);
	named = palloc(Max(*count, 1) * sizeof(Named));
	for (int i = 0; i < *count; i++)
	{
		named[i] = look_up(run, ids[i]);
		CHECK_FOR_INTERRUPTS();
	}
	pfree(ids);
	return named;
}

static int
compare_named(const void *a, const void *b)
{
	const Named *x = a;
	const Named *y = b;

	return strcmp(x->step == NULL ? "" : x->step, y->step == NULL ? "" : y->step);
}

/* The run of a step that its owner may see; 0: none has been named. */
static int64
find_named(const Named *named, int count, const JsJob *step)
{
	Named		key = {.step = step->step};
	const Named *found = bsearch(&key, named, count, sizeof(Named), compare_named);

	return found == NULL || step->step == NULL || step->has_items != found->has_items ||
		!js_role_may_see(step->owner, found->owner) ? 0 : found->run_id;
}

/* What becomes of a step. */
typedef enum Fate
{
	FATE_ANEW,
	FATE_CARRIED,
	FATE_SKIPPED				/* queued anew, and sure to be skipped */
} Fate;

/* The names of steps that are done anew because somebody has asked for it. */
static List *
read_anew(const JsRun *run)
{
	ArrayType  *from_steps = NULL;

	(void) js_retried_origin(run->run_id, &from_steps);
	return from_steps == NULL ? NIL : js_retried_names(NIL, from_steps);
}

/* Those before it are known, if nobody has spoilt the row. */
static Fate
fate_of(const JsJob *step, bool named, const List *anew, const Fate *fates)
{
	int			count;
	const int32 *after = js_step_after(step, &count);
	bool		some_carried = false;

	if (step->step != NULL && js_retried_names_have(anew, step->step))
		return FATE_ANEW;
	for (int i = 0; i < count; i++)
	{
		if (after[i] < 1 || after[i] >= step->step_no || fates[after[i] - 1] == FATE_ANEW)
			return FATE_ANEW;
		some_carried |= fates[after[i] - 1] == FATE_CARRIED;
	}
	if (named)
		return FATE_CARRIED;
	if (count > 0 && (step->step_when == JS_AFTER_FAILURE ||
					  (step->step_when == JS_AFTER_SUCCESS && !some_carried)))
		return FATE_SKIPPED;
	return FATE_ANEW;
}

/*
 * Which steps of a workflow run are carried over: by their places, the runs that
 * were named for that, or 0.  items: likewise, of steps whose elements are; NULL: the
 * caller need not know.  Steps that are not in order are for the caller to refuse.
 */
void
js_carry_plan(const JsRun *run, const List *steps, int64 *carried, int64 *items)
{
	Fate	   *fates = palloc0(JS_MAX_STEPS * sizeof(Fate));
	int			count;
	Named	   *named = read_named(run, &count);
	List	   *anew = read_anew(run);
	ListCell   *lc;

	qsort(named, count, sizeof(Named), compare_named);
	foreach(lc, steps)
	{
		const JsJob *step = lfirst(lc);
		int64		found = find_named(named, count, step);

		if (step->step_no < 1 || step->step_no > JS_MAX_STEPS || js_step_undoes(step))
			continue;
		fates[step->step_no - 1] = fate_of(step, found != 0, anew, fates);
		if (fates[step->step_no - 1] != FATE_CARRIED)
			continue;
		if (!step->has_items)
			carried[step->step_no - 1] = found;
		else
		{
			fates[step->step_no - 1] = FATE_ANEW;
			if (items != NULL)
				items[step->step_no - 1] = found;
		}
	}
	pfree(fates);
	pfree(named);
}

/* What a step's run that was never executed has left, and with which arguments: the old one's. */
JsOutcome
js_carry_take(int64 from, JsRun *run)
{
	JsOutcome	outcome = {0};
	JsOutcome	left = {0};
	JsRun		old = {0};

	if (!js_history_find_left(from, &old, &left))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run " INT64_FORMAT " is not there to be carried over", from)));
	run->args = old.args;
	outcome.status = JS_SUCCEEDED;
	outcome.reason = JS_CARRIED_OVER;
	outcome.started_at = DT_NOBEGIN;
	outcome.finished_at = run->queued_at;
	outcome.result = left.result;
	return outcome;
}

/* ------------------------------------------------------------------------
 * Elements
 * ------------------------------------------------------------------------
 */

/* The run from which that of a step with for_each carries over elements; 0: none. */
static int64
find_items_from(const JsJob *step, const JsRun *map)
{
	int64	   *carried;
	int64	   *items;
	JsRun		workflow;

	if (step->step_no < 1 || step->step_no > JS_MAX_STEPS ||
		!js_run_see(map->parent_run_id, &workflow) || !js_run_carries_over(&workflow))
		return 0;
	carried = palloc0(JS_MAX_STEPS * sizeof(int64));
	items = palloc0(JS_MAX_STEPS * sizeof(int64));
	js_carry_plan(&workflow, js_steps_read(step->workflow_id, step->steps_revision), carried, items);
	return items[step->step_no - 1];
}

/* Children of a run in history, in the order in which they were queued. */
typedef struct Ended
{
	int64		run_id;
	JsStatus	status;
} Ended;

typedef struct Children
{
	Ended	   *ended;
	int			count;
	int			room;
} Children;

static bool
note_child(const JsRun *head, JsStatus status, void *arg)
{
	Children   *children = arg;

	if (children->count == children->room)
	{
		children->room *= 2;
		children->ended = repalloc(children->ended, children->room * sizeof(Ended));
	}
	children->ended[children->count].run_id = head->run_id;
	children->ended[children->count++].status = status;
	return children->count < 2 * JS_MAX_CHILDREN;
}

static int
compare_ended(const void *a, const void *b)
{
	int64		x = ((const Ended *) a)->run_id;
	int64		y = ((const Ended *) b)->run_id;

	return x < y ? -1 : x > y;
}

/* One that is moved to where it is kept may be found twice. */
static Children
read_children(int64 run_id)
{
	Children	children = {.room = 100};

	children.ended = palloc(children.room * sizeof(Ended));
	for (int ring = 0; ring <= JS_RINGS; ring++)
		js_history_visit_children(run_id, ring, note_child, &children);
	qsort(children.ended, children.count, sizeof(Ended), compare_ended);
	children.count = qunique(children.ended, children.count, sizeof(Ended), compare_ended);
	return children;
}

static bool
undoes(int64 run_id, const JsJob *step)
{
	JsStatus	status;
	JsRun		head;
	JsJob		undo;

	return js_history_find_head(run_id, false, &head, &status) && js_job_read_head(head.job_id, &undo) &&
		undo.workflow_id == step->workflow_id && undo.steps_revision == step->steps_revision &&
		undo.step_undoes == step->step_no;
}

/* The run that has undone elements of a named one; 0: none has.  It has been named too. */
static int64
find_undo(const JsRun *map, int64 named)
{
	int64	   *ids = palloc(JS_MAX_STEPS * sizeof(int64));
	int			count = js_dependencies_read(map->parent_run_id, 0, ids, JS_MAX_STEPS);
	int64		found = 0;
	JsStatus	status;
	JsRun		head;
	JsJob		step;

	if (js_history_find_head(named, false, &head, &status) && js_job_read_head(head.job_id, &step))
		for (int i = 0; i < count && found == 0; i++)
		{
			if (undoes(ids[i], &step))
				found = ids[i];
			CHECK_FOR_INTERRUPTS();
		}
	pfree(ids);
	return found;
}

/* Which elements still stand.  If it cannot be told which have been undone: none. */
static void
leave_out_undone(JsCarriedItems *items, int64 undo_run_id, int succeeded)
{
	Children	undos = read_children(undo_run_id);
	int			n = 0;

	if (undos.count > 0 && undos.count != succeeded)
		items->count = 0;
	for (int i = 0; i < items->count && undos.count > 0; i++)
		if (items->ids[i] != 0 && undos.ended[n++].status == JS_SUCCEEDED)
			items->ids[i] = 0;
	pfree(undos.ended);
}

/* What the run of a step with for_each can carry over; most have nothing. */
void
js_carry_items_begin(const JsJob *step, const JsRun *map, JsCarriedItems *items)
{
	int64		from = find_items_from(step, map);
	int			succeeded = 0;
	int64		undo_run_id;
	Children	children;

	memset(items, 0, sizeof(JsCarriedItems));
	items->owner = step->owner;
	if (from == 0)
		return;
	children = read_children(from);
	items->count = children.count;
	items->ids = palloc0(Max(children.count, 1) * sizeof(int64));
	for (int i = 0; i < children.count; i++)
		if (children.ended[i].status == JS_SUCCEEDED)
		{
			items->ids[i] = children.ended[i].run_id;
			succeeded++;
		}
	pfree(children.ended);
	undo_run_id = find_undo(map, from);
	if (undo_run_id != 0)
		leave_out_undone(items, undo_run_id, succeeded);
}

static bool
is_same_value(Jsonb *args, Jsonb *others)
{
	JsonbValue *value = args == NULL ? NULL : getKeyJsonValueFromContainer(&args->root, JS_ITEM, strlen(JS_ITEM), NULL);
	JsonbValue *other = getKeyJsonValueFromContainer(&others->root, JS_ITEM, strlen(JS_ITEM), NULL);

	return value != NULL && other != NULL &&
		compareJsonbContainers(&JsonbValueToJsonb(value)->root, &JsonbValueToJsonb(other)->root) == 0;
}

/*
 * Whether element index, a run that has been prepared, need not be executed: then it
 * has the arguments with which it was, and outcome says what it has left.
 */
bool
js_carry_item(const JsCarriedItems *items, int32 index, JsRun *run, JsOutcome *outcome)
{
	JsOutcome	left = {0};
	JsRun		old = {0};

	if (index >= items->count || items->ids[index] == 0 || !js_history_find_left(items->ids[index], &old, &left) ||
		left.status != JS_SUCCEEDED || js_item_index(&old) != index ||
		!js_role_may_see(items->owner, old.owner) || !is_same_value(old.args, run->args))
		return false;
	*outcome = js_carry_take(items->ids[index], run);
	return true;
}
