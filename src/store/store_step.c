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

/* The steps of a set, dropped ones too, in the order of their places: JsJob pointers. */
List *
js_steps_read(int64 workflow_id, int64 revision)
{
	Relation	rel = js_table_open("job", AccessShareLock);
	Relation	index = index_open(js_table_oid("job_step"), AccessShareLock);
	List	   *steps = NIL;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	js_scan_int64(&keys[0], JS_JOB_WORKFLOW_ID, BTEqualStrategyNumber, workflow_id);
	js_scan_int64(&keys[1], JS_JOB_STEP_REVISION, BTEqualStrategyNumber, revision);
	scan = systable_beginscan_ordered(rel, index, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		JsJob	   *step = palloc(sizeof(JsJob));

		js_job_from_tuple(rel, tuple, step);
		steps = lappend(steps, step);
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return steps;
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

typedef struct StepVisit
{
	MemoryContext context;
	List	   *steps;
} StepVisit;

static void
keep_id(Relation rel, HeapTuple tuple, void *arg)
{
	StepVisit  *visit = arg;
	MemoryContext outer;
	JsStepId   *step;
	JsJob		head;

	js_job_head_from_tuple(rel, tuple, &head);
	outer = MemoryContextSwitchTo(visit->context);
	step = palloc(sizeof(JsStepId));
	step->job_id = head.job_id;
	step->revision = head.steps_revision;
	visit->steps = lappend(visit->steps, step);
	MemoryContextSwitchTo(outer);
}

/* The steps of all sets of a job that are not dropped, set by set: JsStepId pointers. */
List *
js_steps_live(int64 workflow_id)
{
	StepVisit	visit = {CurrentMemoryContext, NIL};
	ScanKeyData keys[2];

	js_scan_int64(&keys[0], JS_JOB_WORKFLOW_ID, BTEqualStrategyNumber, workflow_id);
	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNULL, JS_JOB_DROPPED_AT,
						   InvalidStrategy, InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	js_table_visit_keys("job", "job_step_live", keys, 2, keep_id, &visit);
	return visit.steps;
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
