/*-------------------------------------------------------------------------
 *
 * store_total.c
 *		Rows of stat_total: what runs have added up to since they were counted first.
 *
 * A row has the bytes of a span (stat.c) that never ends.  Only the scheduler writes
 * them (sched_total.c); metrics() reads them.  What somebody else holds is left alone.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "storage/lmgr.h"
#include "store/store_total.h"
#include "store/table.h"
#include "utils/snapmgr.h"

enum TotalColumn
{
	TOTAL_JOB_ID = 1, TOTAL_LISTED, TOTAL_DATA
};

/* ------------------------------------------------------------------------
 * Numbers
 * ------------------------------------------------------------------------
 */

/* The maxima are the only numbers of a JsStat that are no sums. */
void
js_stat_add(JsStat *sum, const JsStat *other)
{
	uint64		durations_max = Max(sum->durations.max, other->durations.max);
	uint64		delays_max = Max(sum->delays.max, other->delays.max);
	uint64	   *to = (uint64 *) sum;
	const uint64 *from = (const uint64 *) other;

	for (int i = 0; i < JS_STAT_NUMBERS; i++)
		to[i] += from[i];
	sum->durations.max = durations_max;
	sum->delays.max = delays_max;
}

/* Nothing becomes less than 0, whatever was written past us. */
void
js_stat_subtract(JsStat *sum, const JsStat *other)
{
	uint64		durations_max = sum->durations.max;
	uint64		delays_max = sum->delays.max;
	uint64	   *to = (uint64 *) sum;
	const uint64 *from = (const uint64 *) other;

	for (int i = 0; i < JS_STAT_NUMBERS; i++)
		to[i] -= Min(to[i], from[i]);
	sum->durations.max = durations_max;
	sum->delays.max = delays_max;
}

/* ------------------------------------------------------------------------
 * Rows
 * ------------------------------------------------------------------------
 */

static SysScanDesc
scan_total(Relation rel, int64 job_id)
{
	ScanKeyData key;

	js_scan_int64(&key, TOTAL_JOB_ID, BTEqualStrategyNumber, job_id);
	return js_table_scan_key(rel, "stat_total_pkey", &key, 1);
}

static void
total_from_tuple(Relation rel, HeapTuple tuple, JsTotal *total)
{
	bytea	   *data;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	memset(total, 0, sizeof(JsTotal));
	total->job_id = DatumGetInt64(row.values[TOTAL_JOB_ID - 1]);
	total->listed = !row.nulls[TOTAL_LISTED - 1];
	data = DatumGetByteaPP(row.values[TOTAL_DATA - 1]);
	js_stat_add_encoded(&total->stat, (uint8 *) VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data));
}

static Datum
total_to_datum(const JsTotal *total)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoSpaces(&out, VARHDRSZ);
	js_stat_encode(&out, &total->stat);
	SET_VARSIZE(out.data, out.len);
	return PointerGetDatum(out.data);
}

static void
write_total(Relation rel, HeapTuple old, const JsTotal *total)
{
	JsRow		row;

	js_row_init(&row);
	if (!HeapTupleIsValid(old))
		js_row_set(&row, TOTAL_JOB_ID, Int64GetDatum(total->job_id));
	if (total->listed)
		js_row_set(&row, TOTAL_LISTED, Int64GetDatum(total->job_id));
	else
		js_row_set_null(&row, TOTAL_LISTED);
	js_row_set(&row, TOTAL_DATA, total_to_datum(total));
	if (HeapTupleIsValid(old))
		js_table_update(rel, old, &row);
	else
		js_table_insert(rel, &row);
}

/* The row comes to be if there is none.  False: somebody holds it, and nothing was done. */
bool
js_total_change(int64 job_id, JsTotalChange change, void *arg)
{
	static JsTotal total;
	Relation	rel = js_table_open("stat_total", RowExclusiveLock);
	SysScanDesc scan = scan_total(rel, job_id);
	HeapTuple	old = systable_getnext(scan);
	bool		is_free = !HeapTupleIsValid(old) || !js_tuple_is_busy(old);

	if (is_free)
	{
		memset(&total, 0, sizeof(total));
		total.job_id = job_id;
		if (HeapTupleIsValid(old))
			total_from_tuple(rel, old, &total);
		change(&total, arg);
		write_total(rel, old, &total);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return is_free;
}

bool
js_total_is_free(int64 job_id)
{
	Relation	rel = js_table_open("stat_total", RowExclusiveLock);
	SysScanDesc scan = scan_total(rel, job_id);
	HeapTuple	old = systable_getnext(scan);
	bool		is_free = !HeapTupleIsValid(old) || !js_tuple_is_busy(old);

	systable_endscan(scan);
	table_close(rel, NoLock);
	return is_free;
}

/* False: somebody holds it.  It may be that there was none: then it was not listed. */
bool
js_total_delete(int64 job_id, bool *listed)
{
	Relation	rel = js_table_open("stat_total", RowExclusiveLock);
	SysScanDesc scan = scan_total(rel, job_id);
	HeapTuple	old = systable_getnext(scan);
	bool		is_free = !HeapTupleIsValid(old) || !js_tuple_is_busy(old);
	JsRow		row;

	*listed = false;
	if (HeapTupleIsValid(old) && is_free)
	{
		js_row_get(&row, old, rel);
		*listed = !row.nulls[TOTAL_LISTED - 1];
		CatalogTupleDelete(rel, &old->t_self);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return is_free;
}

/* ------------------------------------------------------------------------
 * Many of them
 * ------------------------------------------------------------------------
 */

typedef struct TotalVisit
{
	JsTotalVisitor visit;
	void	   *arg;
} TotalVisit;

static void
visit_total(Relation rel, HeapTuple tuple, void *arg)
{
	static JsTotal total;
	TotalVisit *each = arg;

	total_from_tuple(rel, tuple, &total);
	each->visit(&total, each->arg);
}

/*
 * Those that are shown, all of one instant: of all jobs, of the rest, and of the jobs that
 * are listed.  By indexes: there may be a million others.  They need not be in order.
 */
void
js_totals_visit_shown(JsTotalVisitor visit, void *arg)
{
	TotalVisit	each = {visit, arg};
	Snapshot	snapshot = js_table_snapshot("stat_total");
	ScanKeyData sums[2];
	ScanKeyData listed;

	js_scan_int64(&sums[0], TOTAL_JOB_ID, BTGreaterEqualStrategyNumber, Min(JS_TOTAL_ALL, JS_TOTAL_REST));
	js_scan_int64(&sums[1], TOTAL_JOB_ID, BTLessEqualStrategyNumber, Max(JS_TOTAL_ALL, JS_TOTAL_REST));
	js_table_visit_at("stat_total", "stat_total_pkey", sums, 2, snapshot, visit_total, &each);
	js_scan_int64(&listed, TOTAL_LISTED, BTGreaterEqualStrategyNumber, 1);
	js_table_visit_at("stat_total", "stat_total_listed", &listed, 1, snapshot, visit_total, &each);
	UnregisterSnapshot(snapshot);
}

static void
judge_total(Relation rel, HeapTuple tuple, void *arg)
{
	JsTotalJudge *keep = arg;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	if (!(*keep) (DatumGetInt64(row.values[TOTAL_JOB_ID - 1]), !row.nulls[TOTAL_LISTED - 1]) &&
		!js_tuple_is_busy(tuple))
		CatalogTupleDelete(rel, &tuple->t_self);
}

/* Deletes the rows of jobs of which the judge says so. */
void
js_totals_keep(JsTotalJudge keep)
{
	LockRelationOid(js_table_oid("stat_total"), RowExclusiveLock);
	js_table_visit("stat_total", "stat_total_pkey", 1, PG_INT64_MAX, judge_total, &keep);
	CommandCounterIncrement();
}
