/*-------------------------------------------------------------------------
 *
 * store_identity.c
 *		The row of identity: which database this is, and whether it is stopped.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/jobsched.h"
#include "guc.h"
#include "miscadmin.h"
#include "store/store.h"
#include "store/table.h"
#include "utils/fmgroids.h"

enum IdentityColumn
{
	IDENTITY_ID = 1, IDENTITY_TOKEN, IDENTITY_DATABASE, IDENTITY_INSTANCE_ID,
	IDENTITY_STOPPED_AT
};

/*
 * The token that jobs of this database carry.  False when this database is
 * not the one that the token was made for: nothing runs here then.
 */
bool
js_identity_read(pg_uuid_t *token)
{
	Relation	rel = js_table_open("identity", AccessShareLock);
	SysScanDesc scan = js_table_scan_key(rel, NULL, NULL, 0);
	HeapTuple	tuple = systable_getnext(scan);
	bool		home = false;
	JsRow		row;

	memset(token, 0, sizeof(pg_uuid_t));
	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, rel);
		*token = *DatumGetUUIDP(row.values[IDENTITY_TOKEN - 1]);
		home = DatumGetObjectId(row.values[IDENTITY_DATABASE - 1]) == MyDatabaseId &&
			strcmp(js_row_text(&row, IDENTITY_INSTANCE_ID), js_guc_instance_id) == 0;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return home;
}

/* Writes the columns of the row that have been set. */
static void
identity_update(JsRow *row)
{
	Relation	rel = js_table_open("identity", RowExclusiveLock);
	SysScanDesc scan = js_table_scan_key(rel, NULL, NULL, 0);
	HeapTuple	old = systable_getnext(scan);

	if (!HeapTupleIsValid(old))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the identity of this database is missing"),
				 errhint("Somebody has deleted it from %s.identity; insert a row as the extension's script does.", JS_SCHEMA)));
	js_table_update(rel, old, row);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * Makes this database the one that its token stands for.  A copy gets a token
 * of its own, or its next dump would be at home in the original.
 */
void
js_identity_renew(pg_uuid_t *token)
{
	JsRow		row;

	if (js_identity_read(token))
		return;
	*token = *DatumGetUUIDP(OidFunctionCall0(F_GEN_RANDOM_UUID));
	js_row_init(&row);
	js_row_set(&row, IDENTITY_TOKEN, UUIDPGetDatum(token));
	js_row_set(&row, IDENTITY_DATABASE, ObjectIdGetDatum(MyDatabaseId));
	js_row_set_text(&row, IDENTITY_INSTANCE_ID, js_guc_instance_id);
	identity_update(&row);
}

/* Since when nothing starts in this database; DT_NOBEGIN: it does. */
TimestampTz
js_stopped_at(void)
{
	Relation	rel = js_table_open("identity", AccessShareLock);
	SysScanDesc scan = js_table_scan_key(rel, NULL, NULL, 0);
	HeapTuple	tuple = systable_getnext(scan);
	TimestampTz at = DT_NOBEGIN;
	JsRow		row;

	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, rel);
		at = js_row_timestamp(&row, IDENTITY_STOPPED_AT);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return at;
}

/*
 * Sets or, with DT_NOBEGIN, clears that.  Until the transaction ends no other
 * session does; the scheduler only reads.
 */
void
js_stopped_set(TimestampTz at)
{
	JsRow		row;

	table_close(js_table_open("identity", ShareRowExclusiveLock), NoLock);
	if ((js_stopped_at() == DT_NOBEGIN) == (at == DT_NOBEGIN))
		return;
	js_row_init(&row);
	js_row_set_timestamp(&row, IDENTITY_STOPPED_AT, at);
	identity_update(&row);
}
