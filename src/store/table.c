/*-------------------------------------------------------------------------
 *
 * table.c
 *		Direct access to the rows of our own tables.
 *
 * DESIGN
 *
 * We read and write rows of our tables with the heap and index access methods,
 * as the server does with its catalogs, and not with SQL.  This has three
 * advantages.
 *
 * There are no rights to escalate to.  A run's bookkeeping happens in a session
 * that belongs to the job's owner.  SQL there would need rights on our tables,
 * hence a change of user, and protection against the session's search path,
 * temporary objects, planner settings and triggers.  Access by row needs no
 * rights, runs only code of the access methods, and never changes the user.
 *
 * There is nothing to plan.  A plan made for an empty queue would be wrong
 * for a long one; an index scan by key is right for both.
 *
 * It is fast, and every run takes this path.
 *
 * It has a price: tables cannot have expression indexes, or exclusion or
 * deferred constraints; a partial index has the rows in which no column of its key
 * is NULL (js_indexes_choose()); and CHECK constraints are not applied to
 * rows written here (CatalogTupleInsert() and the like).
 *
 * SNAPSHOTS
 *
 * We look up rows with the newest snapshot, as the server does for catalogs,
 * not with the transaction's.  A process that is about to write a row of run
 * looks it up with SnapshotSelf.  That costs nothing and leaves no predicate
 * locks in a serializable transaction; and as a run has one writer at any time
 * (see store.h), no update can hide its row.  Do not use it to read a row that
 * another process may be updating: you could see neither version.
 *
 * Where two sessions may want to write a row of the same key, they look with a
 * dirty snapshot, which shows uncommitted rows of others, under the lock of the
 * key (below).  So nobody violates a unique index, nothing has to be rolled
 * back, and a session that waits for a transaction holds no such lock
 * meanwhile.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/multixact.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "base/interval.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_index.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/lock.h"
#include "storage/procarray.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* ------------------------------------------------------------------------
 * Names
 *
 * A run needs the OIDs of several tables and indexes.  To ask the server's caches for
 * the schema and for each of them was 5 % of a run that does nothing.  What is known
 * here is forgotten when any name of a relation or of a schema changes.
 * ------------------------------------------------------------------------
 */

#define KNOWN_NAMES 256

typedef struct KnownName
{
	char		name[NAMEDATALEN];	/* empty: none */
	Oid			oid;
} KnownName;

static KnownName known_names[KNOWN_NAMES];
static bool known_are_valid = false;

static void
forget_names(Datum arg, int cache, uint32 hash)
{
	known_are_valid = false;
}

static void
begin_names(void)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(RELNAMENSP, forget_names, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACENAME, forget_names, (Datum) 0);
		registered = true;
	}
	memset(known_names, 0, sizeof(known_names));
	known_are_valid = true;
}

static Oid
find_table(const char *name)
{
	Oid			schema = get_namespace_oid(JS_SCHEMA, true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/* InvalidOid when the extension is not, or no longer, there. */
Oid
js_table_oid(const char *name)
{
	size_t		length = strlen(name);
	KnownName  *known = &known_names[hash_bytes((const unsigned char *) name, length) % KNOWN_NAMES];
	Oid			oid;

	if (!known_are_valid)
		begin_names();
	if (strcmp(known->name, name) == 0)
		return known->oid;
	oid = find_table(name);
	if (OidIsValid(oid) && known_are_valid && length < NAMEDATALEN)
	{
		strcpy(known->name, name);
		known->oid = oid;
	}
	return oid;
}

Relation
js_table_open(const char *name, LOCKMODE lockmode)
{
	Oid			oid = js_table_oid(name);
	Relation	rel = OidIsValid(oid) ? try_table_open(oid, lockmode) : NULL;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s.%s\" does not exist", JS_SCHEMA, name),
				 errhint("The extension jobsched has been dropped or is being replaced.")));
	return rel;
}

SysScanDesc
js_table_scan_key(Relation rel, const char *index, ScanKey keys, int nkeys)
{
	return systable_beginscan(rel, index ? js_table_oid(index) : InvalidOid,
							  index != NULL, NULL, nkeys, keys);
}

SysScanDesc
js_table_scan_self(Relation rel, const char *index, ScanKey keys, int nkeys)
{
	return systable_beginscan(rel, index ? js_table_oid(index) : InvalidOid,
							  index != NULL, SnapshotSelf, nkeys, keys);
}

/* What is read with it is of one instant; to be unregistered. */
Snapshot
js_table_snapshot(const char *table)
{
	return RegisterSnapshot(GetCatalogSnapshot(js_table_oid(table)));
}

/*
 * Visits the rows that the keys name.  What a visit allocates is freed after it.
 * snapshot: NULL: the newest.
 */
void
js_table_visit_at(const char *table, const char *index, ScanKey keys, int nkeys, Snapshot snapshot,
				  JsTupleVisitor visit, void *arg)
{
	Relation	rel = js_table_open(table, AccessShareLock);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jobsched visit",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = CurrentMemoryContext;
	SysScanDesc scan = systable_beginscan(rel, index ? js_table_oid(index) : InvalidOid,
										  index != NULL, snapshot, nkeys, keys);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		MemoryContextSwitchTo(context);
		visit(rel, tuple, arg);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan(scan);
	MemoryContextDelete(context);
	table_close(rel, AccessShareLock);
}

void
js_table_visit_keys(const char *table, const char *index, ScanKey keys, int nkeys,
					JsTupleVisitor visit, void *arg)
{
	js_table_visit_at(table, index, keys, nkeys, NULL, visit, arg);
}

/*
 * Those whose first column, an int64 with an index, is from first to last; without
 * index all rows.
 */
void
js_table_visit(const char *table, const char *index, int64 first, int64 last,
			   JsTupleVisitor visit, void *arg)
{
	ScanKeyData keys[2];

	js_scan_int64(&keys[0], 1, BTGreaterEqualStrategyNumber, first);
	js_scan_int64(&keys[1], 1, BTLessEqualStrategyNumber, last);
	js_table_visit_keys(table, index, keys, index ? 2 : 0, visit, arg);
}

/*
 * Visits a part of a table by its first column, an int64 with an index, all of
 * whose values are positive: so many rows at most, from an id on, up or down.
 * Returns the id to go on with, 0 when there are no more.
 */
int64
js_table_visit_some(const char *table, const char *index, int64 from, bool down,
					int most, JsTupleVisitor visit, void *arg)
{
	Relation	rel = js_table_open(table, AccessShareLock);
	Relation	index_rel = index_open(js_table_oid(index), AccessShareLock);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jobsched visit",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = CurrentMemoryContext;
	int64		last = 0;
	int			count = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple = NULL;

	js_scan_int64(&key, 1, down ? BTLessEqualStrategyNumber : BTGreaterEqualStrategyNumber, from);
	scan = systable_beginscan_ordered(rel, index_rel, NULL, 1, &key);
	while (count < most &&
		   HeapTupleIsValid(tuple = systable_getnext_ordered(scan, down ? BackwardScanDirection :
															 ForwardScanDirection)))
	{
		bool		isnull;

		MemoryContextSwitchTo(context);
		last = DatumGetInt64(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
		visit(rel, tuple, arg);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
		count++;
	}
	systable_endscan_ordered(scan);
	MemoryContextDelete(context);
	index_close(index_rel, AccessShareLock);
	table_close(rel, AccessShareLock);
	if (count < most)
		return 0;
	return down ? last - 1 : last + 1;
}

/*
 * The lock of a key of a table, by its hash: keys of one hash share it, for a
 * moment.  It is held while somebody looks and writes, not until his transaction
 * ends.
 */
static void
key_tag(const char *table, uint32 hash, LOCKTAG *tag)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, js_table_oid(table), hash, 0);
}

void
js_table_lock_key(const char *table, uint32 hash)
{
	LOCKTAG		tag;

	key_tag(table, hash, &tag);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

bool
js_table_try_lock_key(const char *table, uint32 hash)
{
	LOCKTAG		tag;

	key_tag(table, hash, &tag);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
js_table_unlock_key(const char *table, uint32 hash)
{
	LOCKTAG		tag;

	key_tag(table, hash, &tag);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* The transaction that has not made up its mind about the row just seen, if any. */
TransactionId
js_dirty_writer(const SnapshotData *dirty)
{
	return TransactionIdIsValid(dirty->xmin) ? dirty->xmin : dirty->xmax;
}

/* ------------------------------------------------------------------------
 * Indexes for rows that are written here
 *
 * CatalogTupleInsert() and the like know no partial indexes: they take these for
 * others, or leave them out.  Few rows belong into one, and to open an index takes
 * longer than to insert into it, so they are opened with the first row that does.
 * ------------------------------------------------------------------------
 */

static bool
is_partial(HeapTuple index)
{
	return !heap_attisnull(index, Anum_pg_index_indpred, NULL);
}

static bool
names_partial(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	bool		partial;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", index);
	partial = is_partial(tuple);
	ReleaseSysCache(tuple);
	return partial;
}

static void
open_index(CatalogIndexState indexes, Oid oid)
{
	Relation	index = index_open(oid, RowExclusiveLock);
	IndexInfo  *info = BuildIndexInfo(index);

	info->ii_Predicate = NIL;
	indexes->ri_IndexRelationDescs[indexes->ri_NumIndices] = index;
	indexes->ri_IndexRelationInfo[indexes->ri_NumIndices] = info;
	indexes->ri_NumIndices++;
}

/* Those that are partial, or the others. */
static void
open_indexes(CatalogIndexState indexes, const List *oids, bool partial)
{
	ListCell   *lc;

	foreach(lc, oids)
		if (names_partial(lfirst_oid(lc)) == partial)
		open_index(indexes, lfirst_oid(lc));
}

CatalogIndexState
js_indexes_open(Relation rel)
{
	CatalogIndexState indexes = makeNode(ResultRelInfo);
	List	   *oids = RelationGetIndexList(rel);

	indexes->ri_RelationDesc = rel;
	indexes->ri_IndexRelationDescs = palloc0(list_length(oids) * sizeof(Relation));
	indexes->ri_IndexRelationInfo = palloc0(list_length(oids) * sizeof(IndexInfo *));
	open_indexes(indexes, oids, false);
	list_free(oids);
	return indexes;
}

/* Opened in the memory of the others, whatever is current when such a row comes. */
static void
open_partial(CatalogIndexState indexes)
{
	MemoryContext outer = MemoryContextSwitchTo(GetMemoryChunkContext(indexes));
	List	   *oids = RelationGetIndexList(indexes->ri_RelationDesc);

	if (indexes->ri_NumIndices < list_length(oids))
		open_indexes(indexes, oids, true);
	list_free(oids);
	MemoryContextSwitchTo(outer);
}

static bool
has_null_key(const IndexInfo *index, HeapTuple tuple)
{
	for (int i = 0; i < index->ii_NumIndexKeyAttrs; i++)
		if (heap_attisnull(tuple, index->ii_IndexAttrNumbers[i], NULL))
			return true;
	return false;
}

/*
 * The rows that are written next belong into those partial ones into which this one
 * belongs: no column of their keys is NULL.  NULL: into none of them.  Nobody may write
 * into one that REINDEX CONCURRENTLY has yet to build.
 */
void
js_indexes_choose(CatalogIndexState indexes, HeapTuple tuple)
{
	if (tuple != NULL)
		open_partial(indexes);
	for (int i = 0; i < indexes->ri_NumIndices; i++)
	{
		Relation	index = indexes->ri_IndexRelationDescs[i];

		if (is_partial(index->rd_indextuple))
			indexes->ri_IndexRelationInfo[i]->ii_ReadyForInserts =
				tuple != NULL && index->rd_index->indisready &&
				!has_null_key(indexes->ri_IndexRelationInfo[i], tuple);
	}
}

void
js_table_insert(Relation rel, JsRow *row)
{
	CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), row->values, row->nulls));
}

/* Writes the columns of the row that have been set. */
void
js_table_update(Relation rel, HeapTuple old, JsRow *row)
{
	CatalogTupleUpdate(rel, &old->t_self,
					   heap_modify_tuple(old, RelationGetDescr(rel), row->values,
										 row->nulls, row->changed));
}

/* Deletes the row whose first column is an id, unless somebody else holds it. */
void
js_table_delete(const char *table, const char *index, int64 id)
{
	Relation	rel = js_table_open(table, RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	js_scan_int64(&key, 1, BTEqualStrategyNumber, id);
	scan = js_table_scan_self(rel, index, &key, 1);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) && !js_tuple_is_busy(tuple))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
}

/* The highest value of the first column of an index, an int64; 0 if there is none. */
int64
js_table_last_id(const char *table, const char *index)
{
	Relation	rel = js_table_open(table, AccessShareLock);
	Relation	index_rel = index_open(js_table_oid(index), AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(rel, index_rel, NULL, 0, NULL);
	HeapTuple	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	int64		last = 0;
	JsRow		row;

	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, rel);
		last = DatumGetInt64(row.values[0]);
	}
	systable_endscan_ordered(scan);
	index_close(index_rel, AccessShareLock);
	table_close(rel, AccessShareLock);
	return last;
}

/*
 * No id that is in use shall be given out once more: after a takeover by a
 * logical replica the sequence is behind its table.  The caller has no rights
 * on the sequence, so for this one call of the server's own function the user
 * is another; nobody else's code is executed, and an error restores the user.
 */
void
js_ids_catch_up(const char *sequence, int64 last)
{
	Oid			user;
	int			context;
	Oid			oid = js_table_oid(sequence);

	if (nextval_internal(oid, false) > last)
		return;
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	(void) DirectFunctionCall2(setval_oid, ObjectIdGetDatum(oid), Int64GetDatum(last));
	SetUserIdAndSecContext(user, context);
}

void
js_scan_int64(ScanKey key, AttrNumber column, StrategyNumber op, int64 value)
{
	RegProcedure proc = op == BTEqualStrategyNumber ? F_INT8EQ :
		op == BTGreaterEqualStrategyNumber ? F_INT8GE : F_INT8LE;

	ScanKeyInit(key, column, op, proc, Int64GetDatum(value));
}

/*
 * Whether another transaction has locked or is changing the row: somebody
 * with rights on our tables, perhaps one that is prepared and will stay.  We
 * leave such a row alone rather than wait for it.
 */
bool
js_tuple_is_busy(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;
	TransactionId xmax = HeapTupleHeaderGetRawXmax(header);

	if (header->t_infomask & HEAP_XMAX_INVALID)
		return false;
	if (header->t_infomask & HEAP_XMAX_IS_MULTI)
		return MultiXactIdIsRunning(xmax, HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask));
	return TransactionIdIsValid(xmax) &&
		!TransactionIdIsCurrentTransactionId(xmax) &&
		TransactionIdIsInProgress(xmax);
}

/* Locks a row, unless that would be to wait for somebody or it has changed. */
bool
js_tuple_lock_if_free(Relation rel, HeapTuple tuple)
{
	ItemPointerData tid = tuple->t_self;
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_lock(rel, &tid, SnapshotSelf, slot, GetCurrentCommandId(true),
							  LockTupleExclusive, LockWaitSkip, 0, &failure);
	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

void
js_row_set_text(JsRow *row, AttrNumber column, const char *value)
{
	if (value == NULL)
		js_row_set_null(row, column);
	else
		js_row_set(row, column, CStringGetTextDatum(value));
}

/* DT_NOBEGIN stands for NULL. */
void
js_row_set_timestamp(JsRow *row, AttrNumber column, TimestampTz value)
{
	if (value == DT_NOBEGIN)
		js_row_set_null(row, column);
	else
		js_row_set(row, column, TimestampTzGetDatum(value));
}

/* A span of time in microseconds. */
void
js_row_set_span(JsRow *row, AttrNumber column, int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = us;
	js_row_set(row, column, IntervalPGetDatum(interval));
}

/* The same; 0 is NULL. */
void
js_row_set_interval(JsRow *row, AttrNumber column, int64 us)
{
	if (us == 0)
		js_row_set_null(row, column);
	else
		js_row_set_span(row, column, us);
}

/* 0 is NULL. */
void
js_row_set_number(JsRow *row, AttrNumber column, int32 value)
{
	if (value == 0)
		js_row_set_null(row, column);
	else
		js_row_set(row, column, Int32GetDatum(value));
}

void
js_row_set_array(JsRow *row, AttrNumber column, ArrayType *value)
{
	if (value == NULL)
		js_row_set_null(row, column);
	else
		js_row_set(row, column, PointerGetDatum(value));
}

void
js_row_set_jsonb(JsRow *row, AttrNumber column, Jsonb *value)
{
	if (value == NULL)
		js_row_set_null(row, column);
	else
		js_row_set(row, column, JsonbPGetDatum(value));
}

/* Datums by reference point into the tuple. */
void
js_row_get(JsRow *row, HeapTuple tuple, Relation rel)
{
	Assert(RelationGetNumberOfAttributes(rel) <= JS_MAX_COLUMNS);
	heap_deform_tuple(tuple, RelationGetDescr(rel), row->values, row->nulls);
}

char *
js_row_text(const JsRow *row, AttrNumber column)
{
	if (row->nulls[column - 1])
		return NULL;
	return TextDatumGetCString(row->values[column - 1]);
}

/*
 * How much there is in a column of a type by reference, in bytes, without
 * fetching it.
 */
Size
js_row_size(const JsRow *row, AttrNumber column)
{
	return row->nulls[column - 1] ? 0 : toast_raw_datum_size(row->values[column - 1]) - VARHDRSZ;
}

/* The beginning of a text, JS_HEAD_TEXT bytes at most, whatever its length. */
char *
js_row_head_text(const JsRow *row, AttrNumber column)
{
	text	   *head;

	if (row->nulls[column - 1])
		return NULL;
	if (js_row_size(row, column) <= JS_HEAD_TEXT)
		return TextDatumGetCString(row->values[column - 1]);
	head = (text *) PG_DETOAST_DATUM_SLICE(row->values[column - 1], 0, JS_HEAD_TEXT);
	return pnstrdup(VARDATA_ANY(head),
					pg_mbcliplen(VARDATA_ANY(head), VARSIZE_ANY_EXHDR(head), JS_HEAD_TEXT));
}

/* A copy; NULL also if it is larger than any that is right. */
ArrayType *
js_row_head_array(const JsRow *row, AttrNumber column)
{
	return js_row_size(row, column) <= JS_HEAD_ARRAY ? js_row_array(row, column) : NULL;
}

TimestampTz
js_row_timestamp(const JsRow *row, AttrNumber column)
{
	if (row->nulls[column - 1])
		return DT_NOBEGIN;
	return DatumGetTimestampTz(row->values[column - 1]);
}

/* A copy, or NULL. */
Jsonb *
js_row_jsonb(const JsRow *row, AttrNumber column)
{
	if (row->nulls[column - 1])
		return NULL;
	return DatumGetJsonbPCopy(row->values[column - 1]);
}

/* The same. */
ArrayType *
js_row_array(const JsRow *row, AttrNumber column)
{
	if (row->nulls[column - 1])
		return NULL;
	return DatumGetArrayTypePCopy(row->values[column - 1]);
}

/* Ids, as an array of bigint; NULL if there are none. */
void
js_row_set_ids(JsRow *row, AttrNumber column, const int64 *ids, int count)
{
	Datum	   *elements;

	if (count == 0)
	{
		js_row_set_null(row, column);
		return;
	}
	elements = palloc(count * sizeof(Datum));
	for (int i = 0; i < count; i++)
		elements[i] = Int64GetDatum(ids[i]);
	js_row_set_array(row, column, construct_array(elements, count, INT8OID, sizeof(int64),
												  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* A copy; NULL, and no count, if there are none, too many, or somebody has spoilt them. */
int64 *
js_row_ids(const JsRow *row, AttrNumber column, int most, int32 *count)
{
	ArrayType  *array = js_row_head_array(row, column);

	*count = 0;
	if (array == NULL || ARR_NDIM(array) != 1 || ARR_ELEMTYPE(array) != INT8OID ||
		ARR_HASNULL(array) || ARR_DIMS(array)[0] > most)
		return NULL;
	*count = ARR_DIMS(array)[0];
	return (int64 *) ARR_DATA_PTR(array);
}

int64
js_row_interval(const JsRow *row, AttrNumber column)
{
	if (row->nulls[column - 1])
		return 0;
	return js_interval_clamped_us(DatumGetIntervalP(row->values[column - 1]));
}

/* NULL is 0; what somebody has spoilt is brought into bounds. */
int32
js_row_number(const JsRow *row, AttrNumber column, int32 most)
{
	if (row->nulls[column - 1])
		return 0;
	return Min(Max(DatumGetInt32(row->values[column - 1]), 1), most);
}
