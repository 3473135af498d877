/*-------------------------------------------------------------------------
 *
 * table.h
 *		Direct access to the rows of our own tables.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_TABLE_H
#define JS_TABLE_H

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "catalog/indexing.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#define JS_SCHEMA "jobsched_internal"
#define JS_MAX_COLUMNS 80

/* What is read of a value at most where it is not known how large it is. */
#define JS_HEAD_TEXT 8192
#define JS_HEAD_ARRAY (64 * 1024)

typedef struct JsRow
{
	Datum		values[JS_MAX_COLUMNS];
	bool		nulls[JS_MAX_COLUMNS];
	bool		changed[JS_MAX_COLUMNS];
} JsRow;

extern Oid	js_table_oid(const char *name);
extern Relation js_table_open(const char *name, LOCKMODE lockmode);
extern SysScanDesc js_table_scan_key(Relation rel, const char *index,
									 ScanKey keys, int nkeys);
extern SysScanDesc js_table_scan_self(Relation rel, const char *index,
									  ScanKey keys, int nkeys);
typedef void (*JsTupleVisitor) (Relation rel, HeapTuple tuple, void *arg);

extern void js_table_visit(const char *table, const char *index, int64 first,
						   int64 last, JsTupleVisitor visit, void *arg);
extern void js_table_visit_keys(const char *table, const char *index, ScanKey keys,
								int nkeys, JsTupleVisitor visit, void *arg);
extern Snapshot js_table_snapshot(const char *table);
extern void js_table_visit_at(const char *table, const char *index, ScanKey keys, int nkeys,
							  Snapshot snapshot, JsTupleVisitor visit, void *arg);
extern void js_table_lock_key(const char *table, uint32 hash);
extern bool js_table_try_lock_key(const char *table, uint32 hash);
extern void js_table_unlock_key(const char *table, uint32 hash);
extern TransactionId js_dirty_writer(const SnapshotData *dirty);
extern int64 js_table_visit_some(const char *table, const char *index, int64 from, bool down,
								 int most, JsTupleVisitor visit, void *arg);
extern CatalogIndexState js_indexes_open(Relation rel);
extern void js_indexes_choose(CatalogIndexState indexes, HeapTuple tuple);
extern void js_table_insert(Relation rel, JsRow *row);
extern void js_table_update(Relation rel, HeapTuple old, JsRow *row);
extern void js_table_delete(const char *table, const char *index, int64 id);
extern int64 js_table_last_id(const char *table, const char *index);
extern void js_ids_catch_up(const char *sequence, int64 last);
extern void js_scan_int64(ScanKey key, AttrNumber column, StrategyNumber op,
						  int64 value);
extern bool js_tuple_is_busy(HeapTuple tuple);
extern bool js_tuple_lock_if_free(Relation rel, HeapTuple tuple);

/*
 * A row of which nothing is set.  Columns that we do not know, of a later
 * version, are null.
 */
static inline void
js_row_init(JsRow *row)
{
	memset(row->nulls, true, sizeof(row->nulls));
	memset(row->changed, false, sizeof(row->changed));
}

/* Columns are numbered from 1, as in the catalog. */
static inline void
js_row_set(JsRow *row, AttrNumber column, Datum value)
{
	row->values[column - 1] = value;
	row->nulls[column - 1] = false;
	row->changed[column - 1] = true;
}

static inline void
js_row_set_null(JsRow *row, AttrNumber column)
{
	row->values[column - 1] = (Datum) 0;
	row->nulls[column - 1] = true;
	row->changed[column - 1] = true;
}

extern void js_row_set_text(JsRow *row, AttrNumber column, const char *value);
extern void js_row_set_timestamp(JsRow *row, AttrNumber column, TimestampTz value);
extern void js_row_set_interval(JsRow *row, AttrNumber column, int64 us);
extern void js_row_set_span(JsRow *row, AttrNumber column, int64 us);
extern void js_row_set_number(JsRow *row, AttrNumber column, int32 value);
extern void js_row_set_jsonb(JsRow *row, AttrNumber column, Jsonb *value);
extern void js_row_set_ids(JsRow *row, AttrNumber column, const int64 *ids, int count);
extern int64 *js_row_ids(const JsRow *row, AttrNumber column, int most, int32 *count);
extern void js_row_set_array(JsRow *row, AttrNumber column, ArrayType *value);
extern void js_row_get(JsRow *row, HeapTuple tuple, Relation rel);
extern char *js_row_text(const JsRow *row, AttrNumber column);
extern Size js_row_size(const JsRow *row, AttrNumber column);
extern char *js_row_head_text(const JsRow *row, AttrNumber column);
extern ArrayType *js_row_head_array(const JsRow *row, AttrNumber column);
extern int64 js_row_interval(const JsRow *row, AttrNumber column);
extern Jsonb *js_row_jsonb(const JsRow *row, AttrNumber column);
extern ArrayType *js_row_array(const JsRow *row, AttrNumber column);
extern int32 js_row_number(const JsRow *row, AttrNumber column, int32 most);
extern TimestampTz js_row_timestamp(const JsRow *row, AttrNumber column);

#endif							/* JS_TABLE_H */
