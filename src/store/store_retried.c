/*-------------------------------------------------------------------------
 *
 * store_retried.c
 *		Rows of retried: which run was queued again, and as which run.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "store/store.h"
#include "store/table.h"
#include "utils/timestamp.h"

enum RetriedColumn
{
	RETRIED_RUN_ID = 1, RETRIED_AS, RETRIED_AT, RETRIED_FROM_STEPS
};

/*
 * from_steps: ids of the steps of its job that are done anew in any case, also because
 * a retry that had not begun was to do so; NULL: none.
 */
void
js_retried_insert(int64 run_id, int64 as, TimestampTz at, ArrayType *from_steps)
{
	Relation	rel = js_table_open("retried", RowExclusiveLock);
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, RETRIED_RUN_ID, Int64GetDatum(run_id));
	js_row_set(&row, RETRIED_AS, Int64GetDatum(as));
	js_row_set_timestamp(&row, RETRIED_AT, at);
	js_row_set_array(&row, RETRIED_FROM_STEPS, from_steps);
	js_table_insert(rel, &row);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/* As which run it was queued again; 0: it was not. */
int64
js_retried_find(int64 run_id)
{
	Relation	rel = js_table_open("retried", AccessShareLock);
	int64		as = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	JsRow		row;

	js_scan_int64(&key, RETRIED_RUN_ID, BTEqualStrategyNumber, run_id);
	scan = js_table_scan_key(rel, "retried_pkey", &key, 1);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, rel);
		as = DatumGetInt64(row.values[RETRIED_AS - 1]);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return as;
}

/* Which run was queued again as this one; 0: none. */
int64
js_retried_origin(int64 as, ArrayType **from_steps)
{
	Relation	rel = js_table_open("retried", AccessShareLock);
	int64		run_id = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	JsRow		row;

	js_scan_int64(&key, RETRIED_AS, BTEqualStrategyNumber, as);
	scan = js_table_scan_key(rel, "retried_as", &key, 1);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, rel);
		run_id = DatumGetInt64(row.values[RETRIED_RUN_ID - 1]);
		*from_steps = js_row_array(&row, RETRIED_FROM_STEPS);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return run_id;
}

bool
js_retried_names_have(const List *names, const char *step)
{
	ListCell   *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), step) == 0)
		return true;
	return false;
}

/* The names of steps, which may be of an older definition, besides those that there are. */
List *
js_retried_names(List *names, ArrayType *from_steps)
{
	Datum	   *ids;
	int			count;

	deconstruct_array(from_steps, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		JsJob		step;

		if (js_job_read_head(DatumGetInt64(ids[i]), &step) && step.step != NULL &&
			!js_retried_names_have(names, step.step))
			names = lappend(names, step.step);
	}
	return names;
}

static void
forget_if_old(Relation rel, HeapTuple tuple, void *arg)
{
	TimestampTz limit = *(const TimestampTz *) arg;
	int64		run_id;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	run_id = DatumGetInt64(row.values[RETRIED_RUN_ID - 1]);
	if (DatumGetTimestampTz(row.values[RETRIED_AT - 1]) < limit && !js_history_keeps_run(run_id))
		js_table_delete("retried", "retried_pkey", run_id);
}

/* Rows of one step. */
#define MOST_VISITED 500

/*
 * Removes what was retried before an instant, unless history still speaks of it:
 * from a run on, some at a time.  Returns the run to go on with, 0 at the end.
 */
int64
js_retried_forget_some(int64 from, TimestampTz limit)
{
	return js_table_visit_some("retried", "retried_pkey", from, false, MOST_VISITED, forget_if_old, &limit);
}
