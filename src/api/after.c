/*-------------------------------------------------------------------------
 *
 * after.c
 *		Parameters after and after_when: runs that wait for runs.
 *
 * A run that somebody waits for has to be in view runs, for the caller and for
 * the owner of the run that waits: what upstream() shows there is what may be
 * named here.  Whether it has ended makes no difference: the scheduler finds out
 * (sched_after.c).  But it must not be one whose row is about to be removed, and
 * that of another is not removed before the transaction ends.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/access.h"
#include "api/after.h"
#include "api/child.h"
#include "base/arguments.h"
#include "base/sqlstate.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "shmem/shmem.h"
#include "store/table.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_waits);
PG_FUNCTION_INFO_V1(jobsched_waits_for);
PG_FUNCTION_INFO_V1(jobsched_starts_at);

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* Before they are sorted, which nothing interrupts. */
static void
check_count(ArrayType *array)
{
	int			count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (count > JS_MAX_PARENTS)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("after has %d elements, more than the %d that are allowed", count, JS_MAX_PARENTS),
				 errhint("Let some runs wait for a part of them each, and another run for these.")));
}

/* Ascending, each once. */
static int64 *
read_ids(ArrayType *array, int *count)
{
	Datum	   *elements;
	bool	   *nulls;
	int64	   *ids;

	check_count(array);
	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &elements, &nulls, count);
	ids = palloc(Max(*count, 1) * sizeof(int64));
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			js_refuse_null("an element of after");
		ids[i] = DatumGetInt64(elements[i]);
	}
	qsort(ids, *count, sizeof(int64), compare_ids);
	*count = qunique(ids, *count, sizeof(int64), compare_ids);
	return ids;
}

/* For whom it is not to be seen, it does not exist. */
static void
check_parent(const JsRun *run, const int64 *parent, JsBadParent *bad)
{
	JsRun		head;
	JsStatus	status;
	Oid			owner;
	bool		lives = js_run_see_head(*parent, &head) &&
		!js_left_nothing(js_table_oid("run"), *parent, &owner);

	if ((!lives && !js_history_find_head(*parent, true, &head, &status)) ||
		!js_may_see(head.owner) || !js_role_may_see(run->owner, head.owner))
		bad->run_id = parent;
	else if (lives && !js_child_may_wait_for(run, &head))
	{
		bad->run_id = parent;
		bad->is_stranger = true;
	}
}

bool
js_after_names(const JsRun *run, int64 parent)
{
	return run->nparents > 0 &&
		bsearch(&parent, run->parents, run->nparents, sizeof(int64), compare_ids) != NULL;
}

/*
 * The first parent that the run cannot wait for.  None: all exist, until the
 * transaction ends.  Asked before the run gets its id, so that those of its parents
 * are lower.
 */
JsBadParent
js_after_check(const JsRun *run)
{
	MemoryContext scratch;
	MemoryContext outer;
	JsBadParent bad = {NULL};

	if (run->nparents == 0)
		return bad;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched after", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(scratch);
	js_dependency_lock();
	CommandCounterIncrement();	/* the same command may have queued them */
	for (int i = 0; i < run->nparents && bad.run_id == NULL; i++)
	{
		check_parent(run, &run->parents[i], &bad);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
	return bad;
}

/* The run is to be queued: a parent that it cannot wait for is an error. */
void
js_after_refuse(JsBadParent bad)
{
	if (bad.is_stranger)
		js_child_refuse_parent(*bad.run_id);
	if (bad.run_id != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("run " INT64_FORMAT " does not exist", *bad.run_id),
				 errhint("A run can wait for runs that you and its owner see in view runs, and that are not older than the retention.")));
}

/* after and after_when, from argument n on.  Whether there are such runs is asked later. */
void
js_after_arguments(FunctionCallInfo fcinfo, int n, JsRun *run)
{
	JsAfterWhen when;
	int64	   *ids;

	when = PG_ARGISNULL(n + 1) ? JS_AFTER_SUCCESS :
		js_after_when_argument("after_when", text_to_cstring(PG_GETARG_TEXT_PP(n + 1)));
	if (PG_ARGISNULL(n))
		return;
	ids = read_ids(PG_GETARG_ARRAYTYPE_P(n), &run->nparents);
	run->parents = ids;
	run->after_when = run->nparents > 0 ? when : JS_AFTER_NOTHING;
}

/* ------------------------------------------------------------------------
 * Views
 * ------------------------------------------------------------------------
 */

/* How many of the runs that a run waits for view waiting names. */
#define MOST_SHOWN 10

/* Whoever may not see the run learns nothing of it. */
static bool
may_see_run(int64 run_id)
{
	JsRun		head;

	return js_run_see_head(run_id, &head) && js_may_see(head.owner);
}

/*
 * Runs that have ended and that others have waited for, as long as a query goes on:
 * steps of one workflow wait for the same ones.
 */
typedef struct End
{
	int64		run_id;
	TimestampTz at;				/* DT_NOBEGIN: not asked for, or its row is
								 * gone */
} End;

/* So that all together are not large: 4 MB. */
#define MOST_ENDS 65536

static HTAB *
ends_of(FmgrInfo *flinfo)
{
	HASHCTL		control = {.keysize = sizeof(int64),.entrysize = sizeof(End),.hcxt = flinfo->fn_mcxt};
	HTAB	   *ends = flinfo->fn_extra;

	if (ends != NULL && hash_get_num_entries(ends) < MOST_ENDS)
		return ends;
	flinfo->fn_extra = NULL;
	if (ends != NULL)
		hash_destroy(ends);
	ends = hash_create("jobsched ends", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	flinfo->fn_extra = ends;
	return ends;
}

typedef struct Parents
{
	HTAB	   *ends;
	bool		with_times;
	bool		are_live;		/* one of them, at least */
	TimestampTz last_end;
} Parents;

static TimestampTz
end_of(const Parents *parents, int64 run_id)
{
	JsStatus	status;
	TimestampTz at;

	return parents->with_times && js_history_find_end(run_id, &status, &at) ? at : DT_NOBEGIN;
}

static bool
note_parent(int64 run_id, void *arg)
{
	Parents    *parents = arg;
	End		   *end = hash_search(parents->ends, &run_id, HASH_FIND, NULL);
	JsRun		head;

	if (end == NULL)
	{
		TimestampTz at;

		parents->are_live = js_run_see_head(run_id, &head);
		if (parents->are_live)
			return false;
		at = end_of(parents, run_id);
		end = hash_search(parents->ends, &run_id, HASH_ENTER, NULL);
		end->at = at;
	}
	parents->last_end = Max(parents->last_end, end->at);
	return true;
}

static Parents
look_at_parents(FunctionCallInfo fcinfo, int64 run_id, bool with_times)
{
	Parents		parents = {ends_of(fcinfo->flinfo), with_times, false, DT_NOBEGIN};

	js_dependencies_visit(run_id, note_parent, &parents);
	return parents;
}

Datum
jobsched_waits(PG_FUNCTION_ARGS)
{
	int64		run_id = PG_GETARG_INT64(0);

	PG_RETURN_BOOL(may_see_run(run_id) && look_at_parents(fcinfo, run_id, false).are_live);
}

Datum
jobsched_waits_for(PG_FUNCTION_ARGS)
{
	int64		run_id = PG_GETARG_INT64(0);
	int64		count = 0;
	int64		some[MOST_SHOWN];
	Datum		shown[MOST_SHOWN];
	int			nshown;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (may_see_run(run_id))
		(void) js_dependencies_are_live(run_id, &count, some, MOST_SHOWN);
	nshown = Min(count, MOST_SHOWN);
	for (int i = 0; i < nshown; i++)
		shown[i] = Int64GetDatum(some[nshown - 1 - i]);
	values[0] = Int64GetDatum(count);
	values[1] = PointerGetDatum(construct_array(shown, nshown, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* As sched_after.c derives it. */
Datum
jobsched_starts_at(PG_FUNCTION_ARGS)
{
	int64		run_id = PG_GETARG_INT64(0);
	Parents		parents;
	JsRun		run;
	JsJob		job;

	if (!may_see_run(run_id) || !js_run_see_head(run_id, &run) || !js_job_read_head(run.job_id, &job))
		PG_RETURN_NULL();
	parents = look_at_parents(fcinfo, run_id, true);
	if (parents.are_live || parents.last_end == DT_NOBEGIN)
		PG_RETURN_TIMESTAMPTZ(run.run_at);
	PG_RETURN_TIMESTAMPTZ(Max(run.run_at, parents.last_end + job.step_delay));
}
