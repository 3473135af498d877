/*-------------------------------------------------------------------------
 *
 * store_hook.c
 *		Rows of hook, hook_state and event_token.
 *
 * A hook is written by sessions, one of which at a time holds its name until its
 * transaction ends; who calls it waits for none of them, and finds the row as it
 * was committed last.  States are written by the scheduler.  A token of an event is
 * deleted by whoever uses it, who holds its hash until his transaction ends: so of
 * two that use it at the same time the second sees whether the first has.
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
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "store/owner.h"
#include "store/store_hook.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

enum HookColumn
{
	HOOK_ID = 1, HOOK_NAME, HOOK_OWNER, HOOK_OWNER_NAME, HOOK_HOME, HOOK_JOB_ID, HOOK_EVENT,
	HOOK_VERIFY, HOOK_SECRET, HOOK_HEADER, HOOK_DEDUPE, HOOK_TOLERANCE, HOOK_KEEP_HEADERS,
	HOOK_MAX_SIZE, HOOK_RATE, HOOK_TOKEN_HASH, HOOK_OLD_TOKEN_HASH, HOOK_OLD_TOKEN_UNTIL,
	HOOK_CREATED_AT, HOOK_UPDATED_AT
};

enum StateColumn
{
	STATE_ID = 1, STATE_ACCEPTED, STATE_REFUSED, STATE_LAST_RECEIVED_AT, STATE_LAST_REFUSED_AT,
	STATE_LAST_REFUSAL
};

enum TokenColumn
{
	TOKEN_HASH = 1, TOKEN_OWNER, TOKEN_NAME, TOKEN_RUN_ID, TOKEN_CREATED_AT, TOKEN_EXPIRES_AT
};

static const char *const verify_names[] = {
	[JS_HOOK_TOKEN] = "token",[JS_HOOK_STANDARD] = "standard",[JS_HOOK_GITHUB] = "github",
	[JS_HOOK_STRIPE] = "stripe",[JS_HOOK_SLACK] = "slack",[JS_HOOK_HMAC] = "hmac"
};

const char *
js_hook_verify_name(JsHookVerify verify)
{
	return verify_names[verify];
}

/* False: there is none of this name. */
bool
js_hook_verify_of(const char *name, JsHookVerify *verify)
{
	for (int i = 0; i < lengthof(verify_names); i++)
		if (name != NULL && strcmp(name, verify_names[i]) == 0)
		{
			*verify = (JsHookVerify) i;
			return true;
		}
	return false;
}

/* ------------------------------------------------------------------------
 * hook
 * ------------------------------------------------------------------------
 */

/* What of a hook is locked. */
#define LOCK_NAME 0
#define LOCK_ID 1

static void
lock_hash(const void *bytes, int size, uint16 what)
{
	Relation	rel = js_table_open("hook", RowExclusiveLock);

	LockDatabaseObject(RelationGetRelid(rel), hash_bytes(bytes, size), what, ExclusiveLock);
	table_close(rel, NoLock);
}

/* Nobody else defines a hook of this name until the transaction ends. */
void
js_hook_lock_name(const char *name)
{
	lock_hash(name, strlen(name), LOCK_NAME);
}

/*
 * Nobody else changes this hook until the transaction ends.  Not by its name: another
 * name with the same hash is found in seconds, and whoever defines a hook of that name
 * would hold up the change of somebody's token.
 */
void
js_hook_lock_id(const pg_uuid_t *id)
{
	lock_hash(id, sizeof(pg_uuid_t), LOCK_ID);
}

static SysScanDesc
scan_name(Relation rel, const char *name, const pg_uuid_t *home)
{
	ScanKeyData keys[2];

	ScanKeyEntryInitialize(&keys[0], 0, HOOK_NAME, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(name));
	ScanKeyInit(&keys[1], HOOK_HOME, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(home));
	return js_table_scan_key(rel, "hook_name", keys, 2);
}

static SysScanDesc
scan_id(Relation rel, const char *index, const pg_uuid_t *id)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	return js_table_scan_key(rel, index, &key, 1);
}

static void
stored_owner(const JsRow *row, JsStoredOwner *stored)
{
	stored->oid = DatumGetObjectId(row->values[HOOK_OWNER - 1]);
	stored->name = js_row_text(row, HOOK_OWNER_NAME);
	stored->home = *DatumGetUUIDP(row->values[HOOK_HOME - 1]);
}

/* False: there is none, or it is none, whatever somebody has written there. */
static bool
hash_from_row(const JsRow *row, AttrNumber column, JsTokenHash *hash)
{
	bytea	   *bytes;

	if (js_row_size(row, column) != sizeof(JsTokenHash))
		return false;
	bytes = DatumGetByteaPP(row->values[column - 1]);
	memcpy(hash, VARDATA_ANY(bytes), sizeof(JsTokenHash));
	return true;
}

static void
hash_to_row(JsRow *row, AttrNumber column, const JsTokenHash *hash)
{
	bytea	   *bytes = palloc(VARHDRSZ + sizeof(JsTokenHash));

	SET_VARSIZE(bytes, VARHDRSZ + sizeof(JsTokenHash));
	memcpy(VARDATA(bytes), hash, sizeof(JsTokenHash));
	js_row_set(row, column, PointerGetDatum(bytes));
}

/* A way to verify that nobody knows, which only a superuser can have written, is one that nothing passes. */
static void
hook_from_tuple(Relation rel, HeapTuple tuple, JsHook *hook)
{
	JsStoredOwner stored;
	JsRow		row;

	memset(hook, 0, sizeof(JsHook));
	js_row_get(&row, tuple, rel);
	stored_owner(&row, &stored);
	hook->id = *DatumGetUUIDP(row.values[HOOK_ID - 1]);
	hook->name = js_row_text(&row, HOOK_NAME);
	hook->owner = js_owner_of(&stored);
	hook->owner_is_stale = js_owner_is_stale(&stored);
	hook->job_id = row.nulls[HOOK_JOB_ID - 1] ? 0 : DatumGetInt64(row.values[HOOK_JOB_ID - 1]);
	hook->event = js_row_text(&row, HOOK_EVENT);
	hook->secret = js_row_text(&row, HOOK_SECRET);
	hook->header = js_row_text(&row, HOOK_HEADER);
	hook->dedupe = js_row_text(&row, HOOK_DEDUPE);
	hook->tolerance = Max(js_row_interval(&row, HOOK_TOLERANCE), 0);
	hook->keep_headers = js_row_head_array(&row, HOOK_KEEP_HEADERS);
	hook->max_size = js_row_number(&row, HOOK_MAX_SIZE, PG_INT32_MAX);
	hook->rate = js_row_number(&row, HOOK_RATE, PG_INT32_MAX);
	hook->has_token = hash_from_row(&row, HOOK_TOKEN_HASH, &hook->token);
	hook->has_old_token = hash_from_row(&row, HOOK_OLD_TOKEN_HASH, &hook->old_token);
	hook->old_token_until = js_row_timestamp(&row, HOOK_OLD_TOKEN_UNTIL);
	if (js_hook_verify_of(js_row_text(&row, HOOK_VERIFY), &hook->verify))
		return;
	hook->verify = JS_HOOK_TOKEN;
	hook->secret = NULL;
	hook->has_token = hook->has_old_token = false;
}

/* One that is at home. */
bool
js_hook_find(const char *name, JsHook *hook)
{
	Relation	rel = js_table_open("hook", AccessShareLock);
	pg_uuid_t	home;
	bool		at_home = js_identity_read(&home);
	SysScanDesc scan = scan_name(rel, name, &home);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = at_home && HeapTupleIsValid(tuple);

	if (found)
		hook_from_tuple(rel, tuple, hook);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Whose it is, wherever it is at home. */
bool
js_hook_owner(const pg_uuid_t *id, Oid *owner)
{
	Relation	rel = js_table_open("hook", AccessShareLock);
	SysScanDesc scan = scan_id(rel, "hook_pkey", id);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);
	JsStoredOwner stored;
	JsRow		row;

	if (found)
	{
		js_row_get(&row, tuple, rel);
		stored_owner(&row, &stored);
		*owner = js_owner_of(&stored);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static void
set_home(JsRow *row, Oid owner)
{
	pg_uuid_t  *home = palloc(sizeof(pg_uuid_t));

	(void) js_identity_read(home);
	js_row_set(row, HOOK_OWNER, ObjectIdGetDatum(owner));
	js_row_set_text(row, HOOK_OWNER_NAME, js_role_name(owner));
	js_row_set(row, HOOK_HOME, UUIDPGetDatum(home));
}

/* The caller has its lock, and has found none. */
void
js_hook_insert(const JsHook *hook, TimestampTz now)
{
	Relation	rel = js_table_open("hook", RowExclusiveLock);
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, HOOK_ID, UUIDPGetDatum(&hook->id));
	js_row_set_text(&row, HOOK_NAME, hook->name);
	set_home(&row, hook->owner);
	if (hook->job_id != 0)
		js_row_set(&row, HOOK_JOB_ID, Int64GetDatum(hook->job_id));
	js_row_set_text(&row, HOOK_EVENT, hook->event);
	js_row_set_text(&row, HOOK_VERIFY, verify_names[hook->verify]);
	js_row_set_text(&row, HOOK_SECRET, hook->secret);
	js_row_set_text(&row, HOOK_HEADER, hook->header);
	js_row_set_text(&row, HOOK_DEDUPE, hook->dedupe);
	js_row_set_span(&row, HOOK_TOLERANCE, hook->tolerance);
	js_row_set_array(&row, HOOK_KEEP_HEADERS, hook->keep_headers);
	js_row_set(&row, HOOK_MAX_SIZE, Int32GetDatum(hook->max_size));
	js_row_set_number(&row, HOOK_RATE, hook->rate);
	if (hook->has_token)
		hash_to_row(&row, HOOK_TOKEN_HASH, &hook->token);
	js_row_set_timestamp(&row, HOOK_CREATED_AT, now);
	js_row_set_timestamp(&row, HOOK_UPDATED_AT, now);
	js_table_insert(rel, &row);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* Writes its tokens.  The caller has its lock, and has found it since. */
void
js_hook_set_tokens(const JsHook *hook, TimestampTz now)
{
	Relation	rel = js_table_open("hook", RowExclusiveLock);
	SysScanDesc scan = scan_id(rel, "hook_pkey", &hook->id);
	HeapTuple	old = systable_getnext(scan);
	JsRow		row;

	js_row_init(&row);
	hash_to_row(&row, HOOK_TOKEN_HASH, &hook->token);
	js_row_set_null(&row, HOOK_OLD_TOKEN_HASH);
	if (hook->has_old_token)
		hash_to_row(&row, HOOK_OLD_TOKEN_HASH, &hook->old_token);
	js_row_set_timestamp(&row, HOOK_OLD_TOKEN_UNTIL, hook->has_old_token ? hook->old_token_until : DT_NOBEGIN);
	js_row_set_timestamp(&row, HOOK_UPDATED_AT, now);
	if (HeapTupleIsValid(old))
		js_table_update(rel, old, &row);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* The same. */
void
js_hook_delete(const JsHook *hook)
{
	Relation	rel = js_table_open("hook", RowExclusiveLock);
	SysScanDesc scan = scan_id(rel, "hook_pkey", &hook->id);
	HeapTuple	old = systable_getnext(scan);

	if (HeapTupleIsValid(old))
		CatalogTupleDelete(rel, &old->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * The name of an owner is kept up to date; what belonged to a role that has been
 * dropped is nobody's to call.  A row that somebody holds waits for the next time.
 */
static void
follow_role(Relation rel, HeapTuple tuple, void *arg)
{
	JsStoredOwner stored;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	stored_owner(&row, &stored);
	if (!js_owner_is_stale(&stored) || !js_tuple_lock_if_free(rel, tuple))
		return;
	if (js_role_name(stored.oid) == NULL)
	{
		CatalogTupleDelete(rel, &tuple->t_self);
		return;
	}
	js_row_init(&row);
	js_row_set_text(&row, HOOK_OWNER_NAME, js_role_name(stored.oid));
	js_table_update(rel, tuple, &row);
}

void
js_hooks_follow_roles(void)
{
	table_close(js_table_open("hook", RowExclusiveLock), NoLock);
	js_table_visit("hook", NULL, 0, 0, follow_role, NULL);
	CommandCounterIncrement();
}

/* One of a name that there is here already sleeps on. */
static void
adopt_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	JsOwnerFilter may_adopt = *(JsOwnerFilter *) arg;
	JsStoredOwner stored;
	JsHook		other;
	JsRow		row;
	Oid			owner;

	js_row_get(&row, tuple, rel);
	stored_owner(&row, &stored);
	owner = js_owner_of(&stored);
	if (js_owner_is_home(&stored) || !may_adopt(owner))
		return;
	js_hook_lock_name(js_row_text(&row, HOOK_NAME));
	if (js_hook_find(js_row_text(&row, HOOK_NAME), &other))
		return;
	js_row_init(&row);
	set_home(&row, owner);
	js_table_update(rel, tuple, &row);
	CommandCounterIncrement();
}

/* This database becomes the home of hooks whose owners the filter takes. */
void
js_hooks_adopt(JsOwnerFilter may_adopt)
{
	table_close(js_table_open("hook", RowExclusiveLock), NoLock);
	js_table_visit("hook", NULL, 0, 0, adopt_tuple, &may_adopt);
}

typedef struct HookVisit
{
	JsHookVisitor visit;
	void	   *arg;
} HookVisit;

static void
visit_hook_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	HookVisit  *each = arg;
	JsHook		hook;

	hook_from_tuple(rel, tuple, &hook);
	each->visit(&hook, each->arg);
}

void
js_hooks_visit(JsHookVisitor visit, void *arg)
{
	HookVisit	each = {visit, arg};

	js_table_visit("hook", NULL, 0, 0, visit_hook_tuple, &each);
}

/* ------------------------------------------------------------------------
 * hook_state
 * ------------------------------------------------------------------------
 */

/* Nothing, if there is no row. */
void
js_hook_state_read(const pg_uuid_t *id, JsHookTotals *totals)
{
	Relation	rel = js_table_open("hook_state", AccessShareLock);
	SysScanDesc scan = scan_id(rel, "hook_state_pkey", id);
	HeapTuple	tuple = systable_getnext(scan);
	JsRow		row;

	memset(totals, 0, sizeof(JsHookTotals));
	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, rel);
		totals->accepted = DatumGetInt64(row.values[STATE_ACCEPTED - 1]);
		totals->refused = DatumGetInt64(row.values[STATE_REFUSED - 1]);
		if (!row.nulls[STATE_LAST_RECEIVED_AT - 1])
			totals->last_received_at = js_row_timestamp(&row, STATE_LAST_RECEIVED_AT);
		if (!row.nulls[STATE_LAST_REFUSED_AT - 1])
			totals->last_refused_at = js_row_timestamp(&row, STATE_LAST_REFUSED_AT);
		if (!row.nulls[STATE_LAST_REFUSAL - 1])
			js_clip_text(totals->last_refusal, js_row_head_text(&row, STATE_LAST_REFUSAL), JS_HOOK_REASON);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* A row that somebody holds stays as it is until the next time. */
void
js_hook_state_write(const pg_uuid_t *id, const JsHookTotals *totals)
{
	Relation	rel = js_table_open("hook_state", RowExclusiveLock);
	SysScanDesc scan = scan_id(rel, "hook_state_pkey", id);
	HeapTuple	old = systable_getnext(scan);
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, STATE_ID, UUIDPGetDatum(id));
	js_row_set(&row, STATE_ACCEPTED, Int64GetDatum(totals->accepted));
	js_row_set(&row, STATE_REFUSED, Int64GetDatum(totals->refused));
	if (totals->last_received_at != 0)
		js_row_set_timestamp(&row, STATE_LAST_RECEIVED_AT, totals->last_received_at);
	if (totals->last_refused_at != 0)
	{
		js_row_set_timestamp(&row, STATE_LAST_REFUSED_AT, totals->last_refused_at);
		js_row_set_text(&row, STATE_LAST_REFUSAL, totals->last_refusal);
	}
	if (!HeapTupleIsValid(old))
		js_table_insert(rel, &row);
	else if (!js_tuple_is_busy(old))
		js_table_update(rel, old, &row);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

static void
forget_state(Relation rel, HeapTuple tuple, void *arg)
{
	JsRow		row;
	Oid			owner;

	js_row_get(&row, tuple, rel);
	if (!js_hook_owner(DatumGetUUIDP(row.values[STATE_ID - 1]), &owner) && !js_tuple_is_busy(tuple))
		CatalogTupleDelete(rel, &tuple->t_self);
}

/* Those of hooks that are gone. */
void
js_hook_states_forget(void)
{
	table_close(js_table_open("hook_state", RowExclusiveLock), NoLock);
	js_table_visit("hook_state", NULL, 0, 0, forget_state, NULL);
	CommandCounterIncrement();
}

/* ------------------------------------------------------------------------
 * event_token
 * ------------------------------------------------------------------------
 */

void
js_event_token_insert(const JsEventToken *token, TimestampTz now)
{
	Relation	rel = js_table_open("event_token", RowExclusiveLock);
	JsRow		row;

	js_row_init(&row);
	hash_to_row(&row, TOKEN_HASH, &token->hash);
	js_row_set(&row, TOKEN_OWNER, ObjectIdGetDatum(token->owner));
	js_row_set_text(&row, TOKEN_NAME, token->name);
	js_row_set(&row, TOKEN_RUN_ID, Int64GetDatum(token->run_id));
	js_row_set_timestamp(&row, TOKEN_CREATED_AT, now);
	js_row_set_timestamp(&row, TOKEN_EXPIRES_AT, token->expires_at);
	js_table_insert(rel, &row);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

static SysScanDesc
scan_token(Relation rel, const JsTokenHash *hash)
{
	ScanKeyData key;
	JsRow		row;

	hash_to_row(&row, TOKEN_HASH, hash);
	ScanKeyInit(&key, TOKEN_HASH, BTEqualStrategyNumber, F_BYTEAEQ, row.values[TOKEN_HASH - 1]);
	return js_table_scan_key(rel, "event_token_pkey", &key, 1);
}

static bool
token_from_scan(Relation rel, HeapTuple tuple, JsEventToken *token)
{
	JsRow		row;

	if (!HeapTupleIsValid(tuple))
		return false;
	js_row_get(&row, tuple, rel);
	token->owner = DatumGetObjectId(row.values[TOKEN_OWNER - 1]);
	token->name = js_row_text(&row, TOKEN_NAME);
	token->run_id = DatumGetInt64(row.values[TOKEN_RUN_ID - 1]);
	token->expires_at = js_row_timestamp(&row, TOKEN_EXPIRES_AT);
	return true;
}

/* By its hash. */
bool
js_event_token_find(JsEventToken *token)
{
	Relation	rel = js_table_open("event_token", AccessShareLock);
	SysScanDesc scan = scan_token(rel, &token->hash);
	bool		found = token_from_scan(rel, systable_getnext(scan), token);

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Uses it up; false: somebody else has, who is waited for.  Only for who has found it. */
bool
js_event_token_take(JsEventToken *token)
{
	Relation	rel = js_table_open("event_token", RowExclusiveLock);
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	LockDatabaseObject(RelationGetRelid(rel), hash_bytes(token->hash.bytes, sizeof(JsTokenHash)), 0,
					   ExclusiveLock);
	scan = scan_token(rel, &token->hash);
	tuple = systable_getnext(scan);
	found = token_from_scan(rel, tuple, token);
	if (found)
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return found;
}

/* For the scheduler, which waits for nobody: deletes those that have expired, so many at most. */
void
js_event_tokens_expire(TimestampTz until, int limit)
{
	Relation	rel = js_table_open("event_token", RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, TOKEN_EXPIRES_AT, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE,
				TimestampTzGetDatum(until));
	scan = js_table_scan_key(rel, "event_token_expires_at", &key, 1);
	for (int i = 0; i < limit && HeapTupleIsValid(tuple = systable_getnext(scan)); i++)
		if (js_tuple_lock_if_free(rel, tuple))
			CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}
