/*-------------------------------------------------------------------------
 *
 * store_idempotency.c
 *		Rows of idempotency: the keys that runs were triggered with.
 *
 * LOCKS
 *
 * Sessions write these rows, and the scheduler deletes those that have
 * expired.  So in this table two processes may want the same row.  A process
 * that writes the row of a key, or is about to, holds the key's lock, but only
 * while it looks and writes, not until its transaction ends.  It looks with a
 * dirty snapshot, which shows the transaction of an uncommitted row.  A session
 * then releases the lock, waits for that transaction, as for any unique key,
 * and looks again.  The scheduler leaves the row alone.  So the unique index
 * never has to refuse a row.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "store/store.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

enum IdempotencyColumn
{
	KEY_JOB_ID = 1, KEY_OWNER, KEY_KEY, KEY_RUN_ID, KEY_QUEUED_AT, KEY_EXPIRES_AT
};

/* ------------------------------------------------------------------------
 * The lock of a key
 * ------------------------------------------------------------------------
 */

static uint32
hash_of_key(const JsKeptKey *kept)
{
	uint32		hash = hash_bytes((const unsigned char *) kept->key, strlen(kept->key));

	hash = hash_combine(hash, (uint32) kept->owner);
	return hash_combine(hash, (uint32) kept->job_id ^ (uint32) (kept->job_id >> 32));
}

void
js_idempotency_lock(const JsKeptKey *kept)
{
	js_table_lock_key("idempotency", hash_of_key(kept));
}

void
js_idempotency_unlock(const JsKeptKey *kept)
{
	js_table_unlock_key("idempotency", hash_of_key(kept));
}

/* ------------------------------------------------------------------------
 * Rows
 * ------------------------------------------------------------------------
 */

static SysScanDesc
scan_key(Relation rel, const JsKeptKey *kept, Snapshot snapshot)
{
	ScanKeyData keys[3];

	js_scan_int64(&keys[0], KEY_JOB_ID, BTEqualStrategyNumber, kept->job_id);
	ScanKeyInit(&keys[1], KEY_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(kept->owner));
	/* ScanKeyInit() sets collation "C", and the column has that. */
	ScanKeyInit(&keys[2], KEY_KEY, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(kept->key));
	return systable_beginscan(rel, js_table_oid("idempotency_pkey"), true, snapshot, 3, keys);
}

static void
kept_from_tuple(Relation rel, HeapTuple tuple, JsKeptKey *kept)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	kept->job_id = DatumGetInt64(row.values[KEY_JOB_ID - 1]);
	kept->owner = DatumGetObjectId(row.values[KEY_OWNER - 1]);
	kept->key = js_row_text(&row, KEY_KEY);
	kept->run_id = DatumGetInt64(row.values[KEY_RUN_ID - 1]);
	kept->queued_at = js_row_timestamp(&row, KEY_QUEUED_AT);
	kept->expires_at = js_row_timestamp(&row, KEY_EXPIRES_AT);
}

/*
 * Looks for the row of a key; false: there is none.  If writer is set, another
 * transaction has not yet made up its mind about it.  The caller has the lock.
 */
bool
js_idempotency_find(JsKeptKey *kept, TransactionId *writer)
{
	Relation	rel = js_table_open("idempotency", AccessShareLock);
	SnapshotData dirty;
	SysScanDesc scan;
	HeapTuple	tuple;

	InitDirtySnapshot(dirty);
	scan = scan_key(rel, kept, &dirty);
	tuple = systable_getnext(scan);
	*writer = InvalidTransactionId;
	if (HeapTupleIsValid(tuple))
	{
		kept_from_tuple(rel, tuple, kept);
		*writer = js_dirty_writer(&dirty);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

/*
 * Gives a key to a run.  The caller has the lock, has since looked whether there is a
 * row of it, and no writer was found.
 */
void
js_idempotency_write(const JsKeptKey *kept, bool found)
{
	Relation	rel = js_table_open("idempotency", RowExclusiveLock);
	SysScanDesc scan = found ? scan_key(rel, kept, SnapshotSelf) : NULL;
	HeapTuple	old = found ? systable_getnext(scan) : NULL;
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, KEY_JOB_ID, Int64GetDatum(kept->job_id));
	js_row_set(&row, KEY_OWNER, ObjectIdGetDatum(kept->owner));
	js_row_set_text(&row, KEY_KEY, kept->key);
	js_row_set(&row, KEY_RUN_ID, Int64GetDatum(kept->run_id));
	js_row_set_timestamp(&row, KEY_QUEUED_AT, kept->queued_at);
	js_row_set_timestamp(&row, KEY_EXPIRES_AT, kept->expires_at);
	if (HeapTupleIsValid(old))
		js_table_update(rel, old, &row);
	else
		js_table_insert(rel, &row);
	if (found)
		systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
}

/* ------------------------------------------------------------------------
 * Expiry
 * ------------------------------------------------------------------------
 */

/*
 * Deletes a row as it was read, unless somebody else wants it or has changed
 * it.  Never waits.
 */
static bool
delete_free(Relation rel, HeapTuple tuple, const JsKeptKey *kept)
{
	TM_FailureData failure;
	TM_Result	result;

	if (!js_table_try_lock_key("idempotency", hash_of_key(kept)))
		return false;
	result = heap_delete(rel, &tuple->t_self, GetCurrentCommandId(true), InvalidSnapshot,
						 false, &failure, false);
	js_idempotency_unlock(kept);
	return result == TM_Ok;
}

/*
 * Deletes rows that have expired and that the filter lets go, oldest first, at
 * most limit looked at.  Starts at *from and moves it on; true when there may be
 * more.
 */
bool
js_idempotency_expire(TimestampTz *from, TimestampTz until, int limit, JsKeyFilter may_go)
{
	Relation	rel = js_table_open("idempotency", RowExclusiveLock);
	Relation	index = index_open(js_table_oid("idempotency_expires_at"), AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple = NULL;
	TimestampTz last = *from;
	int			seen;
	int			deleted = 0;

	ScanKeyInit(&keys[0], KEY_EXPIRES_AT, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE,
				TimestampTzGetDatum(*from));
	ScanKeyInit(&keys[1], KEY_EXPIRES_AT, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE,
				TimestampTzGetDatum(until));
	scan = systable_beginscan_ordered(rel, index, NULL, 2, keys);
	for (seen = 0; seen < limit; seen++)
	{
		JsKeptKey	kept;

		tuple = systable_getnext_ordered(scan, ForwardScanDirection);
		if (!HeapTupleIsValid(tuple))
			break;
		kept_from_tuple(rel, tuple, &kept);
		last = kept.expires_at;
		deleted += may_go(&kept) && delete_free(rel, tuple, &kept);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, RowExclusiveLock);
	/* Many that are to stay and expired at one instant are passed over. */
	*from = last == *from && deleted == 0 ? last + 1 : last;
	return seen == limit;
}
