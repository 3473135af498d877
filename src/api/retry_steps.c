/*-------------------------------------------------------------------------
 *
 * retry_steps.c
 *		What a retried workflow run carries over from the one before.
 *
 * Here the runs of steps are named; what becomes of them is in run/carry.c, which
 * has the design.  Named are those that have succeeded, and those with for_each that
 * have ended in another way, that the owner may see, and
 * whose steps are not to be done anew in any case (from_step).  What is about to be
 * removed from history is done anew; what is kept there beyond its retention, as the
 * run has lasted for so long, is held.
 *
 * What has been undone is done anew (run/undo_runs.c).  Of a step with for_each also the
 * run is named that undoes its elements, since it is asked which it has undone when the
 * others are carried over.
 *
 * A run that has ended before it could queue its steps has carried over nothing.
 * Its retry carries over what it should have: of the run that it was a retry of.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/retry_steps.h"
#include "base/arguments.h"
#include "base/sqlstate.h"
#include "catalog/pg_type.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "store/owner.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Retries of retries that have not begun, at most. */
#define MOST_RETRIES 1000

/* One that is moved to where it is kept may be found twice. */
#define MOST_FOUND (2 * JS_MAX_STEPS)

/* Whose runs of steps are named. */
typedef struct Search
{
	const JsJob *job;
	List	   *from_step;		/* names of steps that are done anew */
	ArrayType  *from_steps;		/* ids of those for which that was asked for;
								 * NULL: none */
	MemoryContext scratch;
	int64	   *ids;
	int			count;
} Search;

/* Those of an array besides those that there are. */
static List *
add_names(List *names, ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			js_refuse_null("an element of from_step");
		if (!js_retried_names_have(names, TextDatumGetCString(elements[i])))
			names = lappend(names, TextDatumGetCString(elements[i]));
	}
	return names;
}

/* The steps that are named in from_step. */
typedef struct Steps
{
	List	   *missing;		/* names that have not been found */
	Datum	   *ids;			/* of the others */
	int			count;
} Steps;

static void
note_named(const JsJob *head, void *arg)
{
	Steps	   *steps = arg;
	ListCell   *lc;

	foreach(lc, steps->missing)
	{
		if (head->step == NULL || strcmp(lfirst(lc), head->step) != 0)
			continue;
		steps->missing = foreach_delete_current(steps->missing, lc);
		steps->ids[steps->count++] = Int64GetDatum(head->job_id);
		break;
	}
}

static ArrayType *
array_of(Datum *ids, int count)
{
	return construct_array(ids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

/* Their ids; they have to be there now. */
ArrayType *
js_retry_find_steps(const JsJob *job, ArrayType *from_step)
{
	int			count = ArrayGetNItems(ARR_NDIM(from_step), ARR_DIMS(from_step));
	Steps		steps = {NIL};

	if (count > JS_MAX_STEPS)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("from_step has %d elements, more than the %d steps that a job can have", count, JS_MAX_STEPS),
				 errhint("Name each step once.")));
	steps.missing = add_names(NIL, from_step);
	steps.ids = palloc(count * sizeof(Datum));
	js_steps_visit(job->job_id, job->steps_revision, note_named, &steps);
	if (steps.missing != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("step \"%s\" does not exist", (char *) linitial(steps.missing)),
				 errhint("explain_steps() shows the steps that job \"%s\" has now.", job->name)));
	return array_of(steps.ids, steps.count);
}

/* The name of the step that a run was of, in a run of the job; NULL: of none, or it undid others. */
static const char *
step_of(const Search *search, const JsRun *head)
{
	JsJob		step;

	if (!js_job_read_head(head->job_id, &step) || step.workflow_id != search->job->job_id || js_step_undoes(&step))
		return NULL;
	return step.step;
}

static bool
is_carried_over(const Search *search, const JsRun *head)
{
	const char *step = step_of(search, head);

	return step != NULL && !js_retried_names_have(search->from_step, step) &&
		js_role_may_see(search->job->owner, head->owner) && js_history_stays(head->run_id);
}

/* Whether some of its elements may have succeeded. */
static bool
has_items(const JsRun *head)
{
	JsJob		step;

	return js_job_read_head(head->job_id, &step) && step.has_items;
}

static bool
note_run(const JsRun *head, JsStatus status, void *arg)
{
	Search	   *search = arg;
	MemoryContext outer = MemoryContextSwitchTo(search->scratch);

	if ((status == JS_SUCCEEDED || (status != JS_SKIPPED && has_items(head))) && is_carried_over(search, head))
		search->ids[search->count++] = head->run_id;
	MemoryContextSwitchTo(outer);
	MemoryContextReset(search->scratch);
	return search->count < MOST_FOUND;
}

/* What it undoes is done anew; of a step with for_each only the elements that it has undone. */
static bool
note_undone(const JsRun *head, JsStatus status, void *arg)
{
	Search	   *search = arg;
	MemoryContext outer = MemoryContextSwitchTo(search->scratch);
	const char *undone = NULL;
	JsJob		step;

	if (js_job_read_head(head->job_id, &step) && step.workflow_id == search->job->job_id &&
		step.step_undoes != 0 && step.step != NULL && (status == JS_SUCCEEDED || (step.has_items && status != JS_SKIPPED)))
		undone = strchr(step.step, ':');
	MemoryContextSwitchTo(outer);
	if (undone != NULL && step.has_items && search->count < JS_MAX_STEPS && js_history_stays(head->run_id))
		search->ids[search->count++] = head->run_id;
	else if (undone != NULL && !js_retried_names_have(search->from_step, undone + 1))
		search->from_step = lappend(search->from_step, pstrdup(undone + 1));
	MemoryContextReset(search->scratch);
	return true;
}

static bool
note_step(const JsRun *head, JsStatus status, void *arg)
{
	Search	   *search = arg;

	search->count += step_of(search, head) != NULL;
	return search->count == 0;
}

/* Whether a run has ever had steps. */
static bool
has_begun(Search *search, int64 run_id)
{
	bool		found;

	search->count = 0;
	for (int ring = 0; ring <= JS_RINGS && search->count == 0; ring++)
		js_history_visit_children(run_id, ring, note_step, search);
	found = search->count > 0;
	search->count = 0;
	return found;
}

static bool
is_among(const Datum *ids, int count, Datum id)
{
	for (int i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* What was asked for before, and may be what is asked for now. */
static void
add_asked_for(Search *search, ArrayType *from_steps)
{
	Datum	   *old;
	Datum	   *ids = NULL;
	int			nold;
	int			count = 0;

	deconstruct_array(from_steps, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &old, NULL, &nold);
	if (search->from_steps != NULL)
		deconstruct_array(search->from_steps, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids, NULL, &count);
	ids = ids == NULL ? palloc(nold * sizeof(Datum)) : repalloc(ids, (count + nold) * sizeof(Datum));
	for (int i = 0; i < nold; i++)
		if (!is_among(ids, count, old[i]))
			ids[count++] = old[i];
	search->from_steps = array_of(ids, count);
	search->from_step = js_retried_names(search->from_step, from_steps);
}

/*
 * The run whose steps are there to be carried over.  What was to be done anew in
 * one that has not begun still is.
 */
static int64
find_begun(Search *search, int64 run_id)
{
	for (int i = 0; i < MOST_RETRIES && !has_begun(search, run_id); i++)
	{
		ArrayType  *from_steps = NULL;
		int64		before = js_retried_origin(run_id, &from_steps);

		if (before == 0)
			break;
		if (from_steps != NULL)
			add_asked_for(search, from_steps);
		run_id = before;
	}
	return run_id;
}

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/*
 * A run of a job made of steps is to be queued again, as run: names what that
 * carries over.  from_step: what the call asks for, and from_steps the ids of these
 * steps; returned are the ids of all that is done anew because somebody has asked for it.
 */
ArrayType *
js_retry_carry_over(int64 run_id, const JsJob *job, ArrayType *from_step, ArrayType *from_steps, JsRun *run)
{
	Search		search = {.job = job,.from_steps = from_steps};

	search.ids = palloc(MOST_FOUND * sizeof(int64));
	search.scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched retry", ALLOCSET_DEFAULT_SIZES);
	if (from_step != NULL)
		search.from_step = add_names(NIL, from_step);
	js_dependency_lock();
	run_id = find_begun(&search, run_id);
	for (int ring = 0; ring <= JS_RINGS; ring++)
		js_history_visit_children(run_id, ring, note_undone, &search);
	for (int ring = 0; ring <= JS_RINGS; ring++)
		js_history_visit_children(run_id, ring, note_run, &search);
	qsort(search.ids, search.count, sizeof(int64), compare_ids);
	run->parents = search.ids;
	run->nparents = qunique(search.ids, search.count, sizeof(int64), compare_ids);
	MemoryContextDelete(search.scratch);
	return search.from_steps;
}
