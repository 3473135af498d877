/*-------------------------------------------------------------------------
 *
 * store_step.c
 *		Rows of job that are steps of jobs.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "store/job_parameters.h"
#include "utils/memutils.h"

typedef void (*StepKeeper) (Relation rel, HeapTuple tuple, List **steps);

/*
 * In the order of an index, by that index: ignore_system_indexes, which anybody may
 * set, would have the table scanned, which knows no keys that are NULL.
 */
static List *
read_in_order(const char *index_name, ScanKey keys, int nkeys, StepKeeper keep)
{
	Relation	rel = js_table_open("job", AccessShareLock);
	Relation	index = index_open(js_table_oid(index_name), AccessShareLock);
	List	   *steps = NIL;
	SysScanDesc scan = systable_beginscan_ordered(rel, index, NULL, nkeys, keys);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		keep(rel, tuple, &steps);
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return steps;
}

static void
keep_step(Relation rel, HeapTuple tuple, List **steps)
{
	JsJob	   *step = palloc(sizeof(JsJob));

	js_job_from_tuple(rel, tuple, step);
	*steps = lappend(*steps, step);
}

static List *
read_set(int64 workflow_id, int64 revision, StepKeeper keep)
{
	ScanKeyData keys[2];

	js_scan_int64(&keys[0], JS_JOB_WORKFLOW_ID, BTEqualStrategyNumber, workflow_id);
	js_scan_int64(&keys[1], JS_JOB_STEP_REVISION, BTEqualStrategyNumber, revision);
	return read_in_order("job_step", keys, 2, keep);
}

/* The steps of a set, dropped ones too, in the order of their places: JsJob pointers. */
List *
js_steps_read(int64 workflow_id, int64 revision)
{
	return read_set(workflow_id, revision, keep_step);
}

static void
keep_id(Relation rel, HeapTuple tuple, List **steps)
{
	JsStepId   *step = palloc(sizeof(JsStepId));
	JsJob		head;

	js_job_head_from_tuple(rel, tuple, &head);
	step->job_id = head.job_id;
	step->revision = head.steps_revision;
	*steps = lappend(*steps, step);
}

/* The steps of all sets of a job that are not dropped, set by set: JsStepId pointers. */
List *
js_steps_live(int64 workflow_id)
{
	ScanKeyData keys[2];

	js_scan_int64(&keys[0], JS_JOB_WORKFLOW_ID, BTEqualStrategyNumber, workflow_id);
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNULL, JS_JOB_DROPPED_AT,
						   InvalidStrategy, InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	return read_in_order("job_step_live", keys, 2, keep_id);
}

/* The places of those that a step waits for; none if somebody has spoilt the row. */
const int32 *
js_step_after(const JsJob *step, int *count)
{
	ArrayType  *after = step->step_after;

	*count = 0;
	if (after == NULL || ARR_NDIM(after) != 1 || ARR_ELEMTYPE(after) != INT4OID || ARR_HASNULL(after))
		return NULL;
	*count = ARR_DIMS(after)[0];
	return (const int32 *) ARR_DATA_PTR(after);
}

/*
 * Marks a step as dropped, for the scheduler, who waits for nobody: false when
 * somebody else holds its row.
 */
bool
js_step_retire(int64 step_id, TimestampTz now)
{
	Relation	rel = js_table_open("job", RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	old;
	JsJob		step;
	JsRow		row;
	bool		free;

	js_scan_int64(&key, JS_JOB_ID, BTEqualStrategyNumber, step_id);
	scan = js_table_scan_key(rel, "job_pkey", &key, 1);
	old = systable_getnext(scan);
	free = HeapTupleIsValid(old) && js_tuple_lock_if_free(rel, old);
	if (free)
	{
		js_job_head_from_tuple(rel, old, &step);
		js_row_init(&row);
		js_row_set_timestamp(&row, JS_JOB_DROPPED_AT, now);
		js_row_set(&row, JS_JOB_REVISION, Int64GetDatum(step.revision + 1));
		js_table_update(rel, old, &row);
	}
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	return free;
}

/* Only what a step waits for, whatever the size of the rest. */
static void
keep_after(Relation rel, HeapTuple tuple, List **steps)
{
	JsJob	   *step = palloc0(sizeof(JsJob));
	JsRow		row;

	js_row_get(&row, tuple, rel);
	step->step_after = js_row_head_array(&row, JS_JOB_STEP_AFTER);
	*steps = lappend(*steps, step);
}

/* Every step after which others come, by its place from 0 on. */
void
js_steps_note_followed(int64 workflow_id, int64 revision, bool *followed)
{
	List	   *steps = read_set(workflow_id, revision, keep_after);
	ListCell   *lc;

	foreach(lc, steps)
	{
		int			count;
		const int32 *after = js_step_after(lfirst(lc), &count);

		for (int i = 0; i < count; i++)
			if (after[i] >= 1 && after[i] <= JS_MAX_STEPS)
				followed[after[i] - 1] = true;
	}
}
