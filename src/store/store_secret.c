/*-------------------------------------------------------------------------
 *
 * store_secret.c
 *		Rows of secret.
 *
 * Sessions write them, those of one owner by one session at a time.  They are
 * read when a request is sent.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_collation.h"
#include "storage/lmgr.h"
#include "store/owner.h"
#include "store/store_secret.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

enum SecretColumn
{
	SECRET_OWNER = 1, SECRET_NAME, SECRET_VALUE, SECRET_CREATED_AT, SECRET_UPDATED_AT
};

/*
 * Opens the table for changes.  Other sessions that want to change a secret of
 * the same owner wait until the transaction ends.
 */
static Relation
open_secrets(Oid owner)
{
	Relation	rel = js_table_open("secret", RowExclusiveLock);

	LockDatabaseObject(RelationGetRelid(rel), owner, 0, ExclusiveLock);
	return rel;
}

static SysScanDesc
scan_secret(Relation rel, Oid owner, const char *name)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], SECRET_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(owner));
	ScanKeyEntryInitialize(&keys[1], 0, SECRET_NAME, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(name));
	return js_table_scan_key(rel, "secret_pkey", keys, 2);
}

/* Writes it in the place of the one that there may be. */
void
js_secret_write(Oid owner, const char *name, const char *value)
{
	Relation	rel = open_secrets(owner);
	SysScanDesc scan = scan_secret(rel, owner, name);
	HeapTuple	old = systable_getnext(scan);
	TimestampTz now = GetCurrentTimestamp();
	JsRow		row;

	js_row_init(&row);
	js_row_set_text(&row, SECRET_VALUE, value);
	js_row_set_timestamp(&row, SECRET_UPDATED_AT, now);
	if (HeapTupleIsValid(old))
		js_table_update(rel, old, &row);
	else
	{
		js_row_set(&row, SECRET_OWNER, ObjectIdGetDatum(owner));
		js_row_set_text(&row, SECRET_NAME, name);
		js_row_set_timestamp(&row, SECRET_CREATED_AT, now);
		js_table_insert(rel, &row);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* False if there is none. */
bool
js_secret_drop(Oid owner, const char *name)
{
	Relation	rel = open_secrets(owner);
	SysScanDesc scan = scan_secret(rel, owner, name);
	HeapTuple	old = systable_getnext(scan);
	bool		found = HeapTupleIsValid(old);

	if (found)
		CatalogTupleDelete(rel, &old->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return found;
}

char *
js_secret_read(Oid owner, const char *name)
{
	Relation	rel = js_table_open("secret", AccessShareLock);
	SysScanDesc scan = scan_secret(rel, owner, name);
	HeapTuple	tuple = systable_getnext(scan);
	char	   *value = NULL;
	JsRow		row;

	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, rel);
		value = js_row_text(&row, SECRET_VALUE);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return value;
}

static void
forget_if_dropped(Relation rel, HeapTuple tuple, void *arg)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	if (js_role_name(DatumGetObjectId(row.values[SECRET_OWNER - 1])) == NULL &&
		js_tuple_lock_if_free(rel, tuple))
		CatalogTupleDelete(rel, &tuple->t_self);
}

/* What belonged to a role that has been dropped is nobody's to use. */
void
js_secrets_forget_dropped(void)
{
	table_close(js_table_open("secret", RowExclusiveLock), NoLock);
	js_table_visit("secret", NULL, 0, 0, forget_if_dropped, NULL);
	CommandCounterIncrement();
}
