/*-------------------------------------------------------------------------
 *
 * store_dependency.c
 *		Rows of dependency: which run waits for which others.
 *
 * A row is inserted by the session that queues the run which waits, in the
 * transaction that inserts this run, and never changes.  The scheduler deletes
 * a run's rows when the run has ended: until then upstream() needs them, and
 * they keep the parents' rows of history (store_history.c).
 *
 * Of a run that has ended without success they are moved to waited, in ascending
 * order of the parents, for who retries it (api/retry_parents.c).  There they keep
 * nothing in history; they go when the run's own row has gone.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "store/store.h"
#include "store/table.h"

enum DependencyColumn
{
	DEPENDENCY_RUN_ID = 1, DEPENDENCY_PARENT_RUN_ID
};

/* Rows written together. */
#define ROWS_AT_A_TIME 64

/*
 * The lock of who names parents.  It is none on the table, which vacuum would be
 * in the way of.
 */
static void
name_tag(LOCKTAG *tag)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, js_table_oid("dependency"), 0, 0);
}

/* Taken before parents are looked for, and kept until the transaction has ended. */
void
js_dependency_lock(void)
{
	LOCKTAG		tag;

	name_tag(&tag);
	(void) LockAcquire(&tag, RowExclusiveLock, false, false);
}

/*
 * The transactions that have it, also prepared ones, and an invalid one after the
 * last.  To wait for the lock itself would keep others from taking it, and what is
 * taken again and again is never free.
 */
VirtualTransactionId *
js_dependency_holders(void)
{
	LOCKTAG		tag;
	int			count;

	name_tag(&tag);
	return GetLockConflicts(&tag, ShareLock, &count);
}

static void
write_some(Relation rel, CatalogIndexState indexes, TupleTableSlot **slots,
		   int64 run_id, const int64 *parents, int count)
{
	for (int i = 0; i < count; i++)
	{
		TupleTableSlot *slot = ExecClearTuple(slots[i]);

		memset(slot->tts_isnull, false, 2 * sizeof(bool));
		slot->tts_values[DEPENDENCY_RUN_ID - 1] = Int64GetDatum(run_id);
		slot->tts_values[DEPENDENCY_PARENT_RUN_ID - 1] = Int64GetDatum(parents[i]);
		(void) ExecStoreVirtualTuple(slot);
	}
	CatalogTuplesMultiInsertWithInfo(rel, slots, count, indexes);
}

/* Each parent once. */
void
js_dependencies_insert(int64 run_id, const int64 *parents, int count)
{
	Relation	rel = js_table_open("dependency", RowExclusiveLock);
	CatalogIndexState indexes = CatalogOpenIndexes(rel);
	TupleTableSlot *slots[ROWS_AT_A_TIME];
	int			nslots = Min(count, ROWS_AT_A_TIME);

	for (int i = 0; i < nslots; i++)
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);
	for (int done = 0; done < count; done += ROWS_AT_A_TIME)
	{
		write_some(rel, indexes, slots, run_id, &parents[done], Min(count - done, ROWS_AT_A_TIME));
		CHECK_FOR_INTERRUPTS();
	}
	for (int i = 0; i < nslots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	CatalogCloseIndexes(indexes);
	table_close(rel, RowExclusiveLock);
}

/* A run's rows from a parent on, by the parents' ids: of dependency, or of waited. */
typedef struct Rows
{
	Relation	rel;
	Relation	index;
	SysScanDesc scan;
} Rows;

static void
begin_rows_of(Rows *rows, const char *table, const char *index, int64 run_id, int64 from, LOCKMODE lockmode)
{
	ScanKeyData keys[2];

	rows->rel = js_table_open(table, lockmode);
	rows->index = index_open(js_table_oid(index), AccessShareLock);
	js_scan_int64(&keys[0], DEPENDENCY_RUN_ID, BTEqualStrategyNumber, run_id);
	js_scan_int64(&keys[1], DEPENDENCY_PARENT_RUN_ID, BTGreaterEqualStrategyNumber, from);
	rows->scan = systable_beginscan_ordered(rows->rel, rows->index, NULL, 2, keys);
}

static void
begin_rows(Rows *rows, int64 run_id, int64 from, LOCKMODE lockmode)
{
	begin_rows_of(rows, "dependency", "dependency_pkey", run_id, from, lockmode);
}

static HeapTuple
next_row(Rows *rows)
{
	return systable_getnext_ordered(rows->scan, ForwardScanDirection);
}

static void
end_rows(Rows *rows, LOCKMODE lockmode)
{
	systable_endscan_ordered(rows->scan);
	index_close(rows->index, AccessShareLock);
	table_close(rows->rel, lockmode);
}

static int64
parent_of(Relation rel, HeapTuple tuple)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	return DatumGetInt64(row.values[DEPENDENCY_PARENT_RUN_ID - 1]);
}

static int
read_parents(Rows *rows, int64 *parents, int most)
{
	HeapTuple	tuple;
	int			count = 0;

	while (count < most && HeapTupleIsValid(tuple = next_row(rows)))
		parents[count++] = parent_of(rows->rel, tuple);
	end_rows(rows, AccessShareLock);
	return count;
}

/* The parents of a run from an id on; returns how many, most at most. */
int
js_dependencies_read(int64 run_id, int64 from, int64 *parents, int most)
{
	Rows		rows;

	begin_rows(&rows, run_id, from, AccessShareLock);
	return read_parents(&rows, parents, most);
}

/* The same of a run that has ended without success, as far as its rows have been moved. */
int
js_waited_read(int64 run_id, int64 from, int64 *parents, int most)
{
	Rows		rows;

	begin_rows_of(&rows, "waited", "waited_pkey", run_id, from, AccessShareLock);
	return read_parents(&rows, parents, most);
}

static void
note_id(Relation rel, HeapTuple tuple, void *arg)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	*(int64 *) arg = DatumGetInt64(row.values[DEPENDENCY_RUN_ID - 1]);
}

/* The first run with rows from an id on; 0: there is none. */
int64
js_dependency_next(int64 from)
{
	int64		run_id = 0;

	(void) js_table_visit_some("dependency", "dependency_pkey", from, false, 1, note_id, &run_id);
	return run_id;
}

/* The first parent in waited from one on. */
static int64
next_waited(int64 run_id, int64 from)
{
	int64		parent;

	return js_waited_read(run_id, from, &parent, 1) > 0 ? parent : PG_INT64_MAX;
}

/* *there: the first row of others, which we pass over: to meet it would end each step. */
static void
insert_waited(Relation waited, int64 run_id, int64 parent, int64 *there)
{
	JsRow		row;

	if (*there < parent)
		*there = next_waited(run_id, parent);
	if (*there == parent)
		return;
	js_row_init(&row);
	js_row_set(&row, DEPENDENCY_RUN_ID, Int64GetDatum(run_id));
	js_row_set(&row, DEPENDENCY_PARENT_RUN_ID, Int64GetDatum(parent));
	js_table_insert(waited, &row);
}

/*
 * Deletes a run's rows from a parent on, or moves them to waited, by the scheduler:
 * *left at most, from which they are taken off.  Returns the parent to go on with, 0
 * when all are gone; if some are left over then, somebody else holds its row.
 */
int64
js_dependencies_delete(int64 run_id, int64 from, bool move, int *left)
{
	Relation	waited = move ? js_table_open("waited", RowExclusiveLock) : NULL;
	int64		there = move ? next_waited(run_id, from) : 0;
	int64		stopped_at = 0;
	Rows		rows;
	HeapTuple	tuple;

	begin_rows(&rows, run_id, from, RowExclusiveLock);
	while (HeapTupleIsValid(tuple = next_row(&rows)))
	{
		if (*left == 0 || js_tuple_is_busy(tuple))
		{
			stopped_at = parent_of(rows.rel, tuple);
			break;
		}
		if (move)
			insert_waited(waited, run_id, parent_of(rows.rel, tuple), &there);
		CatalogTupleDelete(rows.rel, &tuple->t_self);
		(*left)--;
	}
	end_rows(&rows, RowExclusiveLock);
	if (move)
		table_close(waited, RowExclusiveLock);
	CommandCounterIncrement();	/* who looks once more in this step finds none */
	return stopped_at;
}

/* The parents of a run, the newest first, until a visit has had enough. */
void
js_dependencies_visit(int64 run_id, JsParentVisitor visit, void *arg)
{
	Rows		rows;
	HeapTuple	tuple;

	begin_rows(&rows, run_id, 0, AccessShareLock);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(rows.scan, BackwardScanDirection)) &&
		   visit(parent_of(rows.rel, tuple), arg))
		CHECK_FOR_INTERRUPTS();
	end_rows(&rows, AccessShareLock);
}

typedef struct LiveParents
{
	int64		count;
	int64		enough;
	int64	   *some;
	int			most;			/* of some */
} LiveParents;

static bool
note_if_live(int64 run_id, void *arg)
{
	LiveParents *live = arg;
	JsRun		head;

	if (!js_run_see_head(run_id, &head))
		return true;
	if (live->count < live->most)
		live->some[live->count] = run_id;
	return ++live->count < live->enough;
}

/*
 * Whether some parent of a run has not ended.  With count also how many, and
 * the ids of the newest of them.  The newest are the likeliest to be there, so
 * they are looked for first; and a view must not take minutes because many runs
 * wait for many, so count goes no further than JS_MOST_COUNTED.
 */
bool
js_dependencies_are_live(int64 run_id, int64 *count, int64 *some, int most)
{
	LiveParents live = {.enough = count == NULL ? 1 : JS_MOST_COUNTED,.some = some,.most = most};

	js_dependencies_visit(run_id, note_if_live, &live);
	if (count != NULL)
		*count = live.count;
	return live.count > 0;
}

/* Whether some run waits for a run, or has waited and not ended. */
bool
js_parent_exists(int64 run_id)
{
	Relation	rel = js_table_open("dependency", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	js_scan_int64(&key, DEPENDENCY_PARENT_RUN_ID, BTEqualStrategyNumber, run_id);
	scan = js_table_scan_key(rel, "dependency_parent", &key, 1);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* The first run from an id on that some run has waited for; 0: there is none. */
int64
js_parent_next(int64 from)
{
	Relation	rel = js_table_open("dependency", AccessShareLock);
	Relation	index = index_open(js_table_oid("dependency_parent"), AccessShareLock);
	int64		parent = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	js_scan_int64(&key, DEPENDENCY_PARENT_RUN_ID, BTGreaterEqualStrategyNumber, from);
	scan = systable_beginscan_ordered(rel, index, NULL, 1, &key);
	tuple = systable_getnext_ordered(scan, ForwardScanDirection);
	if (HeapTupleIsValid(tuple))
		parent = parent_of(rel, tuple);
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return parent;
}
