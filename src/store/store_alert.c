/*-------------------------------------------------------------------------
 *
 * store_alert.c
 *		Rows of alert, alert_mute, alert_state and alert_told.
 *
 * Alerts and mutes are written by sessions, one of which at a time holds the name of
 * an alert until its transaction ends; states, and what has been told, by the
 * scheduler.  A row that somebody has spoilt is read as one that does less.
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
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "store/job_parameters.h"
#include "store/owner.h"
#include "store/store_alert.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

enum AlertColumn
{
	ALERT_ID = 1, ALERT_NAME, ALERT_OWNER, ALERT_OWNER_NAME, ALERT_HOME, ALERT_CHANNELS,
	ALERT_JOBS, ALERT_METADATA, ALERT_ON_STATUS, ALERT_THRESHOLD, ALERT_WITHIN,
	ALERT_NO_SUCCESS_FOR, ALERT_RUNS_LONGER_THAN, ALERT_WAITS_LONGER_THAN, ALERT_LATE,
	ALERT_EVERY_FAILURE, ALERT_GROUP_FOR, ALERT_REPEAT_EVERY, ALERT_RESOLVED,
	ALERT_CREATED_AT, ALERT_UPDATED_AT, ALERT_REVISION
};

enum MuteColumn
{
	MUTE_ALERT_ID = 1, MUTE_JOB_ID, MUTE_UNTIL
};

enum StateColumn
{
	STATE_ALERT_ID = 1, STATE_JOB_ID, STATE_CONDITION, STATE_JOB_NAME, STATE_FIRING, STATE_HELD,
	STATE_SINCE, STATE_UNTIL, STATE_COUNT, STATE_FIRST_AT, STATE_LAST_AT, STATE_LAST_RUN_ID,
	STATE_STATUS, STATE_SQLSTATE, STATE_ERROR, STATE_STREAK, STATE_STREAK_FROM, STATE_FAILED_AT,
	STATE_CHANGED_AT, STATE_SEQ, STATE_FIRED_SEQ, STATE_COUNTS_FROM
};

enum ToldColumn
{
	TOLD_ALERT_ID = 1, TOLD_CHANNEL, TOLD_TOLD_SEQ, TOLD_TOLD_BEFORE, TOLD_RUN_ID, TOLD_SENT_AT,
	TOLD_REMIND_AT, TOLD_FAILED_AT
};

static const char *const condition_names[] = {
	[JS_ALERT_FAILURES] = "failures",[JS_ALERT_NO_SUCCESS] = "no_success",
	[JS_ALERT_RUNS_LONGER] = "runs_longer",[JS_ALERT_WAITS_LONGER] = "waits_longer",
	[JS_ALERT_LATE] = "late"
};

/* Where the row of an alert has the span of each condition of time. */
static const AttrNumber span_columns[] = {
	[JS_ALERT_FAILURES] = 0,[JS_ALERT_NO_SUCCESS] = ALERT_NO_SUCCESS_FOR,
	[JS_ALERT_RUNS_LONGER] = ALERT_RUNS_LONGER_THAN,[JS_ALERT_WAITS_LONGER] = ALERT_WAITS_LONGER_THAN,
	[JS_ALERT_LATE] = ALERT_LATE
};

const char *
js_alert_condition_name(JsAlertCondition condition)
{
	return condition_names[condition];
}

static bool
condition_of(const char *name, JsAlertCondition *condition)
{
	for (int i = 0; i < lengthof(condition_names); i++)
		if (name != NULL && strcmp(name, condition_names[i]) == 0)
		{
			*condition = (JsAlertCondition) i;
			return true;
		}
	return false;
}

/*
 * How many elements the arrays in it have, of which each is looked for by going
 * through an array of a job's metadata.  -1: it is too deep.
 */
int
js_alert_metadata_elements(Jsonb *metadata)
{
	JsonbIterator *it = JsonbIteratorInit(&metadata->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	uint32		arrays = 0;		/* a bit for each level: it is one */
	int			depth = 0;
	int			elements = 0;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY)
		{
			elements += arrays & 1;
			arrays = arrays << 1 | (token == WJB_BEGIN_ARRAY);
			depth++;
		}
		else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
		{
			arrays >>= 1;
			depth--;
		}
		else if (token == WJB_ELEM)
			elements++;
		if (depth > JS_MAX_ALERT_DEPTH)
			return -1;
	}
	return elements;
}

/* Whether it may be looked for in the metadata of a hundred thousand jobs: it is small. */
bool
js_alert_metadata_is_fit(Jsonb *metadata)
{
	int			elements;

	if (VARSIZE(metadata) > JS_MAX_ALERT_METADATA || !JB_ROOT_IS_OBJECT(metadata))
		return false;
	elements = js_alert_metadata_elements(metadata);
	return elements >= 0 && elements <= JS_MAX_ALERT_ELEMENTS;
}

/* ------------------------------------------------------------------------
 * alert
 * ------------------------------------------------------------------------
 */

static uint32
hash_of(Oid owner, const char *name)
{
	return hash_combine(hash_bytes((const unsigned char *) name, strlen(name)), (uint32) owner);
}

/* Nobody else defines an alert of this name that the role has until the transaction ends. */
void
js_alert_lock(Oid owner, const char *name)
{
	Relation	rel = js_table_open("alert", RowExclusiveLock);

	LockDatabaseObject(RelationGetRelid(rel), hash_of(owner, name), 0, ExclusiveLock);
	table_close(rel, NoLock);
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
	stored->oid = DatumGetObjectId(row->values[ALERT_OWNER - 1]);
	stored->name = js_row_text(row, ALERT_OWNER_NAME);
	stored->home = *DatumGetUUIDP(row->values[ALERT_HOME - 1]);
}

static Jsonb *
metadata_of(const JsRow *row, bool *is_spoilt)
{
	Jsonb	   *metadata;

	if (row->nulls[ALERT_METADATA - 1])
		return NULL;
	metadata = js_row_size(row, ALERT_METADATA) > JS_MAX_ALERT_METADATA ? NULL : js_row_jsonb(row, ALERT_METADATA);
	if (metadata == NULL || !js_alert_metadata_is_fit(metadata))
		*is_spoilt = true;
	return metadata;
}

static void
alert_head(const JsRow *row, JsAlert *alert)
{
	JsStoredOwner stored;

	memset(alert, 0, sizeof(JsAlert));
	stored_owner(row, &stored);
	alert->id = *DatumGetUUIDP(row->values[ALERT_ID - 1]);
	alert->owner = js_owner_of(&stored);
	alert->owner_is_stale = js_owner_is_stale(&stored);
	alert->revision = DatumGetInt64(row->values[ALERT_REVISION - 1]);
}

/* The rest, which may be large. */
static void
alert_body(const JsRow *row, JsAlert *alert)
{
	alert->name = js_row_head_text(row, ALERT_NAME);
	alert->channels = js_row_head_array(row, ALERT_CHANNELS);
	alert->jobs = js_row_head_array(row, ALERT_JOBS);
	alert->metadata = metadata_of(row, &alert->is_spoilt);
	alert->on_status = js_row_head_array(row, ALERT_ON_STATUS);
	alert->threshold = js_row_number(row, ALERT_THRESHOLD, JS_MAX_ALERT_THRESHOLD);
	alert->within = js_row_interval(row, ALERT_WITHIN);
	if (alert->within > 0)
		alert->threshold = Min(alert->threshold, JS_MAX_ALERT_WITHIN);
	for (int i = 0; i < JS_ALERT_CONDITIONS; i++)
		alert->spans[i] = span_columns[i] == 0 ? 0 : js_row_interval(row, span_columns[i]);
	alert->every_failure = DatumGetBool(row->values[ALERT_EVERY_FAILURE - 1]);
	alert->group_for = js_row_interval(row, ALERT_GROUP_FOR);
	alert->repeat_every = js_row_interval(row, ALERT_REPEAT_EVERY);
	alert->resolved = DatumGetBool(row->values[ALERT_RESOLVED - 1]);
	alert->created_at = js_row_timestamp(row, ALERT_CREATED_AT);
	alert->updated_at = js_row_timestamp(row, ALERT_UPDATED_AT);
	alert->is_spoilt |= alert->channels == NULL || alert->jobs == NULL || alert->on_status == NULL ||
		strlen(alert->name) > JS_ALERT_NAME_MAX;
}

static void
alert_from_tuple(Relation rel, HeapTuple tuple, JsAlert *alert)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	alert_head(&row, alert);
	alert_body(&row, alert);
}

/* One that is at home. */
bool
js_alert_find(Oid owner, const char *name, JsAlert *alert)
{
	Relation	rel = js_table_open("alert", AccessShareLock);
	pg_uuid_t	home;
	bool		found = false;
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;

	if (js_identity_read(&home))
	{
		ScanKeyEntryInitialize(&keys[0], 0, ALERT_NAME, BTEqualStrategyNumber, InvalidOid,
							   C_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(name));
		ScanKeyInit(&keys[1], ALERT_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(owner));
		ScanKeyInit(&keys[2], ALERT_HOME, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(&home));
		scan = js_table_scan_key(rel, "alert_name", keys, 3);
		tuple = systable_getnext(scan);
		found = HeapTupleIsValid(tuple);
		if (found)
			alert_from_tuple(rel, tuple, alert);
		systable_endscan(scan);
	}
	table_close(rel, AccessShareLock);
	return found;
}

/* Wherever it is at home. */
bool
js_alert_exists(const pg_uuid_t *id)
{
	Relation	rel = js_table_open("alert", AccessShareLock);
	SysScanDesc scan = scan_id(rel, "alert_pkey", id);
	bool		found = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

typedef struct AlertVisit
{
	JsAlertFilter wants;
	JsAlertVisitor visit;
	void	   *arg;
	pg_uuid_t	home;
} AlertVisit;

static void
visit_alert_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	AlertVisit *each = arg;
	bool		isnull;
	JsAlert		alert;
	JsRow		row;
	pg_uuid_t  *home = DatumGetUUIDP(heap_getattr(tuple, ALERT_HOME, RelationGetDescr(rel), &isnull));

	if (memcmp(home, &each->home, sizeof(pg_uuid_t)) != 0)
		return;
	js_row_get(&row, tuple, rel);
	alert_head(&row, &alert);
	if (each->wants(&alert))
		alert_body(&row, &alert);
	each->visit(&alert, each->arg);
}

/* Those that are at home. */
void
js_alerts_visit(JsAlertFilter wants, JsAlertVisitor visit, void *arg)
{
	AlertVisit	each = {wants, visit, arg};

	if (js_identity_read(&each.home))
		js_table_visit("alert", NULL, 0, 0, visit_alert_tuple, &each);
}

typedef struct OwnedCount
{
	Oid			owner;
	int			count;
} OwnedCount;

static void
count_owned(Relation rel, HeapTuple tuple, void *arg)
{
	OwnedCount *owned = arg;
	bool		isnull;

	if (DatumGetObjectId(heap_getattr(tuple, ALERT_OWNER, RelationGetDescr(rel), &isnull)) == owned->owner)
		owned->count++;
}

int
js_alert_count(Oid owner)
{
	OwnedCount	owned = {owner, 0};

	js_table_visit("alert", NULL, 0, 0, count_owned, &owned);
	return owned.count;
}

static void
set_home(JsRow *row, Oid owner)
{
	pg_uuid_t  *home = palloc(sizeof(pg_uuid_t));

	(void) js_identity_read(home);
	js_row_set(row, ALERT_OWNER, ObjectIdGetDatum(owner));
	js_row_set_text(row, ALERT_OWNER_NAME, js_role_name(owner));
	js_row_set(row, ALERT_HOME, UUIDPGetDatum(home));
}

static void
alert_to_row(const JsAlert *alert, JsRow *row)
{
	js_row_init(row);
	js_row_set(row, ALERT_ID, UUIDPGetDatum(&alert->id));
	js_row_set_text(row, ALERT_NAME, alert->name);
	set_home(row, alert->owner);
	js_row_set_array(row, ALERT_CHANNELS, alert->channels);
	js_row_set_array(row, ALERT_JOBS, alert->jobs);
	js_row_set_jsonb(row, ALERT_METADATA, alert->metadata);
	js_row_set_array(row, ALERT_ON_STATUS, alert->on_status);
	js_row_set(row, ALERT_THRESHOLD, Int32GetDatum(alert->threshold));
	js_row_set_interval(row, ALERT_WITHIN, alert->within);
	for (int i = 0; i < JS_ALERT_CONDITIONS; i++)
		if (span_columns[i] != 0)
			js_row_set_interval(row, span_columns[i], alert->spans[i]);
	js_row_set(row, ALERT_EVERY_FAILURE, BoolGetDatum(alert->every_failure));
	js_row_set_span(row, ALERT_GROUP_FOR, alert->group_for);
	js_row_set_interval(row, ALERT_REPEAT_EVERY, alert->repeat_every);
	js_row_set(row, ALERT_RESOLVED, BoolGetDatum(alert->resolved));
	js_row_set_timestamp(row, ALERT_CREATED_AT, alert->created_at);
	js_row_set_timestamp(row, ALERT_UPDATED_AT, alert->updated_at);
	js_row_set(row, ALERT_REVISION, Int64GetDatum(alert->revision));
}

/* The caller has its lock, and has looked whether there is one. */
void
js_alert_write(const JsAlert *alert, bool is_new)
{
	Relation	rel = js_table_open("alert", RowExclusiveLock);
	SysScanDesc scan = scan_id(rel, "alert_pkey", &alert->id);
	HeapTuple	old = systable_getnext(scan);
	JsRow		row;

	alert_to_row(alert, &row);
	if (is_new)
		js_table_insert(rel, &row);
	else if (HeapTupleIsValid(old))
		js_table_update(rel, old, &row);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* The same.  The scheduler deletes what belongs to it. */
void
js_alert_delete(const pg_uuid_t *id)
{
	Relation	rel = js_table_open("alert", RowExclusiveLock);
	SysScanDesc scan = scan_id(rel, "alert_pkey", id);
	HeapTuple	old = systable_getnext(scan);

	if (HeapTupleIsValid(old))
		CatalogTupleDelete(rel, &old->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * The name of an owner is kept up to date; what belonged to a role that has been
 * dropped goes.  A row that somebody holds waits for the next time.
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
	js_row_set_text(&row, ALERT_OWNER_NAME, js_role_name(stored.oid));
	js_table_update(rel, tuple, &row);
}

void
js_alerts_follow_roles(void)
{
	table_close(js_table_open("alert", RowExclusiveLock), NoLock);
	js_table_visit("alert", NULL, 0, 0, follow_role, NULL);
	CommandCounterIncrement();
}

static void
delete_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	CatalogTupleDelete(rel, &tuple->t_self);
}

/* What was known of it where it comes from: it begins anew here. */
static void
delete_known(const pg_uuid_t *id)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	table_close(js_table_open("alert_state", RowExclusiveLock), NoLock);
	js_table_visit_keys("alert_state", "alert_state_pkey", &key, 1, delete_tuple, NULL);
	table_close(js_table_open("alert_told", RowExclusiveLock), NoLock);
	js_table_visit_keys("alert_told", "alert_told_pkey", &key, 1, delete_tuple, NULL);
}

/* One of a name that there is here already sleeps on. */
static void
adopt_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	JsOwnerFilter may_adopt = *(JsOwnerFilter *) arg;
	JsStoredOwner stored;
	JsAlert		other;
	JsRow		row;
	Oid			owner;

	js_row_get(&row, tuple, rel);
	stored_owner(&row, &stored);
	owner = js_owner_of(&stored);
	if (js_owner_is_home(&stored) || !may_adopt(owner))
		return;
	js_alert_lock(owner, js_row_text(&row, ALERT_NAME));
	if (js_alert_find(owner, js_row_text(&row, ALERT_NAME), &other))
		return;
	delete_known(DatumGetUUIDP(row.values[ALERT_ID - 1]));
	js_row_init(&row);
	set_home(&row, owner);
	js_table_update(rel, tuple, &row);
	CommandCounterIncrement();
}

/* This database becomes the home of alerts whose owners the filter takes. */
void
js_alerts_adopt(JsOwnerFilter may_adopt)
{
	table_close(js_table_open("alert", RowExclusiveLock), NoLock);
	js_table_visit("alert", NULL, 0, 0, adopt_tuple, &may_adopt);
}

/* ------------------------------------------------------------------------
 * alert_mute
 * ------------------------------------------------------------------------
 */

static SysScanDesc
scan_mute(Relation rel, const pg_uuid_t *alert_id, int64 job_id)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], MUTE_ALERT_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(alert_id));
	js_scan_int64(&keys[1], MUTE_JOB_ID, BTEqualStrategyNumber, job_id);
	return js_table_scan_key(rel, "alert_mute_pkey", keys, 2);
}

/* The caller has the lock of the alert's name. */
void
js_alert_mute_write(const JsAlertMute *mute)
{
	Relation	rel = js_table_open("alert_mute", RowExclusiveLock);
	SysScanDesc scan = scan_mute(rel, &mute->alert_id, mute->job_id);
	HeapTuple	old = systable_getnext(scan);
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, MUTE_ALERT_ID, UUIDPGetDatum(&mute->alert_id));
	js_row_set(&row, MUTE_JOB_ID, Int64GetDatum(mute->job_id));
	js_row_set(&row, MUTE_UNTIL, TimestampTzGetDatum(mute->until));
	if (HeapTupleIsValid(old))
		js_table_update(rel, old, &row);
	else
		js_table_insert(rel, &row);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* if_free: for the scheduler, who waits for nobody. */
void
js_alert_mute_delete(const pg_uuid_t *alert_id, int64 job_id, bool if_free)
{
	Relation	rel = js_table_open("alert_mute", RowExclusiveLock);
	SysScanDesc scan = scan_mute(rel, alert_id, job_id);
	HeapTuple	old = systable_getnext(scan);

	if (HeapTupleIsValid(old) && (!if_free || js_tuple_lock_if_free(rel, old)))
		CatalogTupleDelete(rel, &old->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

typedef struct MuteVisit
{
	JsAlertMuteVisitor visit;
	void	   *arg;
} MuteVisit;

static void
visit_mute_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	MuteVisit  *each = arg;
	JsAlertMute mute;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	mute.alert_id = *DatumGetUUIDP(row.values[MUTE_ALERT_ID - 1]);
	mute.job_id = DatumGetInt64(row.values[MUTE_JOB_ID - 1]);
	mute.until = js_row_timestamp(&row, MUTE_UNTIL);
	each->visit(&mute, each->arg);
}

void
js_alert_mutes_visit(JsAlertMuteVisitor visit, void *arg)
{
	MuteVisit	each = {visit, arg};

	js_table_visit("alert_mute", NULL, 0, 0, visit_mute_tuple, &each);
}

typedef struct MuteCount
{
	int64		job_id;
	int			count;
} MuteCount;

static void
count_other(const JsAlertMute *mute, void *arg)
{
	MuteCount  *others = arg;

	if (mute->job_id != 0 && mute->job_id != others->job_id)
		others->count++;
}

/* Of single jobs other than this one. */
int
js_alert_mute_count(const pg_uuid_t *alert_id, int64 job_id)
{
	MuteCount	others = {job_id, 0};
	MuteVisit	each = {count_other, &others};
	ScanKeyData key;

	ScanKeyInit(&key, MUTE_ALERT_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(alert_id));
	js_table_visit_keys("alert_mute", "alert_mute_pkey", &key, 1, visit_mute_tuple, &each);
	return others.count;
}

/* ------------------------------------------------------------------------
 * alert_state
 * ------------------------------------------------------------------------
 */

static SysScanDesc
scan_state(Relation rel, const JsAlertState *state)
{
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], STATE_ALERT_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(&state->alert_id));
	js_scan_int64(&keys[1], STATE_JOB_ID, BTEqualStrategyNumber, state->job_id);
	ScanKeyEntryInitialize(&keys[2], 0, STATE_CONDITION, BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(condition_names[state->condition]));
	return js_table_scan_key(rel, "alert_state_pkey", keys, 3);
}

static void
state_to_row(const JsAlertState *state, JsRow *row)
{
	js_row_init(row);
	js_row_set(row, STATE_ALERT_ID, UUIDPGetDatum(&state->alert_id));
	js_row_set(row, STATE_JOB_ID, Int64GetDatum(state->job_id));
	js_row_set_text(row, STATE_CONDITION, condition_names[state->condition]);
	js_row_set_text(row, STATE_JOB_NAME, state->job_name);
	js_row_set(row, STATE_FIRING, BoolGetDatum(state->firing));
	js_row_set(row, STATE_HELD, BoolGetDatum(state->held));
	js_row_set_timestamp(row, STATE_SINCE, state->since);
	js_row_set_timestamp(row, STATE_UNTIL, state->until);
	js_row_set(row, STATE_COUNT, Int64GetDatum(state->count));
	js_row_set_timestamp(row, STATE_FIRST_AT, state->first_at);
	js_row_set_timestamp(row, STATE_LAST_AT, state->last_at);
	js_row_set_null(row, STATE_LAST_RUN_ID);
	if (state->last_run_id != 0)
		js_row_set(row, STATE_LAST_RUN_ID, Int64GetDatum(state->last_run_id));
	js_row_set_text(row, STATE_STATUS, state->status);
	js_row_set_text(row, STATE_SQLSTATE, state->sqlstate);
	js_row_set_text(row, STATE_ERROR, state->error);
	js_row_set(row, STATE_STREAK, Int64GetDatum(state->streak));
	js_row_set_timestamp(row, STATE_STREAK_FROM, state->streak_from);
	js_row_set_ids(row, STATE_FAILED_AT, state->failed_at, state->nfailed_at);
	js_row_set_timestamp(row, STATE_CHANGED_AT, state->changed_at);
	js_row_set(row, STATE_SEQ, Int64GetDatum(state->seq));
	js_row_set(row, STATE_FIRED_SEQ, Int64GetDatum(state->fired_seq));
	js_row_set_timestamp(row, STATE_COUNTS_FROM, state->counts_from);
}

/* False: nobody knows what it is about. */
static bool
state_from_row(const JsRow *row, JsAlertState *state)
{
	memset(state, 0, sizeof(JsAlertState));
	state->alert_id = *DatumGetUUIDP(row->values[STATE_ALERT_ID - 1]);
	state->job_id = DatumGetInt64(row->values[STATE_JOB_ID - 1]);
	state->job_name = js_row_head_text(row, STATE_JOB_NAME);
	state->firing = DatumGetBool(row->values[STATE_FIRING - 1]);
	state->held = DatumGetBool(row->values[STATE_HELD - 1]);
	state->since = js_row_timestamp(row, STATE_SINCE);
	state->until = js_row_timestamp(row, STATE_UNTIL);
	state->count = Max(DatumGetInt64(row->values[STATE_COUNT - 1]), 0);
	state->first_at = js_row_timestamp(row, STATE_FIRST_AT);
	state->last_at = js_row_timestamp(row, STATE_LAST_AT);
	if (!row->nulls[STATE_LAST_RUN_ID - 1])
		state->last_run_id = DatumGetInt64(row->values[STATE_LAST_RUN_ID - 1]);
	state->status = js_row_head_text(row, STATE_STATUS);
	state->sqlstate = js_row_head_text(row, STATE_SQLSTATE);
	state->error = js_row_head_text(row, STATE_ERROR);
	state->streak = Max(DatumGetInt64(row->values[STATE_STREAK - 1]), 0);
	state->streak_from = js_row_timestamp(row, STATE_STREAK_FROM);
	state->failed_at = js_row_ids(row, STATE_FAILED_AT, JS_MAX_ALERT_WITHIN, &state->nfailed_at);
	state->changed_at = js_row_timestamp(row, STATE_CHANGED_AT);
	state->seq = DatumGetInt64(row->values[STATE_SEQ - 1]);
	state->fired_seq = DatumGetInt64(row->values[STATE_FIRED_SEQ - 1]);
	state->counts_from = js_row_timestamp(row, STATE_COUNTS_FROM);
	return condition_of(js_row_head_text(row, STATE_CONDITION), &state->condition);
}

/* False, and nothing is written, when somebody else holds the row. */
bool
js_alert_state_write(const JsAlertState *state)
{
	Relation	rel = js_table_open("alert_state", RowExclusiveLock);
	SysScanDesc scan = scan_state(rel, state);
	HeapTuple	old = systable_getnext(scan);
	bool		free = !HeapTupleIsValid(old) || !js_tuple_is_busy(old);
	JsRow		row;

	state_to_row(state, &row);
	if (free && HeapTupleIsValid(old))
		js_table_update(rel, old, &row);
	else if (free)
		js_table_insert(rel, &row);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	return free;
}

/* The same. */
bool
js_alert_state_delete(const JsAlertState *state)
{
	Relation	rel = js_table_open("alert_state", RowExclusiveLock);
	SysScanDesc scan = scan_state(rel, state);
	HeapTuple	old = systable_getnext(scan);
	bool		free = !HeapTupleIsValid(old) || !js_tuple_is_busy(old);

	if (free && HeapTupleIsValid(old))
		CatalogTupleDelete(rel, &old->t_self);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	return free;
}

typedef struct AlertStateVisit
{
	JsAlertStateVisitor visit;
	void	   *arg;
} AlertStateVisit;

static void
visit_state_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	AlertStateVisit *each = arg;
	JsAlertState state;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	if (state_from_row(&row, &state))
		each->visit(&state, each->arg);
}

void
js_alert_states_visit(JsAlertStateVisitor visit, void *arg)
{
	AlertStateVisit each = {visit, arg};

	js_table_visit("alert_state", NULL, 0, 0, visit_state_tuple, &each);
}

/* ------------------------------------------------------------------------
 * alert_told
 * ------------------------------------------------------------------------
 */

static SysScanDesc
scan_told(Relation rel, const pg_uuid_t *alert_id, const char *channel)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], TOLD_ALERT_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(alert_id));
	ScanKeyEntryInitialize(&keys[1], 0, TOLD_CHANNEL, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(channel));
	return js_table_scan_key(rel, "alert_told_pkey", keys, 2);
}

/* Whether it can be written, or deleted. */
bool
js_alert_told_is_free(const pg_uuid_t *alert_id, const char *channel)
{
	Relation	rel = js_table_open("alert_told", AccessShareLock);
	SysScanDesc scan = scan_told(rel, alert_id, channel);
	HeapTuple	old = systable_getnext(scan);
	bool		free = !HeapTupleIsValid(old) || !js_tuple_is_busy(old);

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return free;
}

static void
told_to_row(const JsAlertTold *told, JsRow *row)
{
	js_row_init(row);
	js_row_set(row, TOLD_ALERT_ID, UUIDPGetDatum(&told->alert_id));
	js_row_set_text(row, TOLD_CHANNEL, told->channel);
	js_row_set(row, TOLD_TOLD_SEQ, Int64GetDatum(told->told_seq));
	js_row_set(row, TOLD_TOLD_BEFORE, Int64GetDatum(told->told_before));
	js_row_set_null(row, TOLD_RUN_ID);
	if (told->run_id != 0)
		js_row_set(row, TOLD_RUN_ID, Int64GetDatum(told->run_id));
	js_row_set_timestamp(row, TOLD_SENT_AT, told->sent_at);
	js_row_set_timestamp(row, TOLD_REMIND_AT, told->remind_at);
	js_row_set_timestamp(row, TOLD_FAILED_AT, told->failed_at);
}

/* False, and nothing is written, when somebody else holds the row. */
bool
js_alert_told_write(const JsAlertTold *told)
{
	Relation	rel = js_table_open("alert_told", RowExclusiveLock);
	SysScanDesc scan = scan_told(rel, &told->alert_id, told->channel);
	HeapTuple	old = systable_getnext(scan);
	bool		free = !HeapTupleIsValid(old) || !js_tuple_is_busy(old);
	JsRow		row;

	told_to_row(told, &row);
	if (free && HeapTupleIsValid(old))
		js_table_update(rel, old, &row);
	else if (free)
		js_table_insert(rel, &row);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	return free;
}

/* The same. */
bool
js_alert_told_delete(const pg_uuid_t *alert_id, const char *channel)
{
	Relation	rel = js_table_open("alert_told", RowExclusiveLock);
	SysScanDesc scan = scan_told(rel, alert_id, channel);
	HeapTuple	old = systable_getnext(scan);
	bool		free = !HeapTupleIsValid(old) || !js_tuple_is_busy(old);

	if (free && HeapTupleIsValid(old))
		CatalogTupleDelete(rel, &old->t_self);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	return free;
}

typedef struct ToldVisit
{
	JsAlertToldVisitor visit;
	void	   *arg;
} ToldVisit;

static void
visit_told_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	ToldVisit  *each = arg;
	JsAlertTold told;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	told.alert_id = *DatumGetUUIDP(row.values[TOLD_ALERT_ID - 1]);
	told.channel = js_row_head_text(&row, TOLD_CHANNEL);
	told.told_seq = DatumGetInt64(row.values[TOLD_TOLD_SEQ - 1]);
	told.told_before = DatumGetInt64(row.values[TOLD_TOLD_BEFORE - 1]);
	told.run_id = row.nulls[TOLD_RUN_ID - 1] ? 0 : DatumGetInt64(row.values[TOLD_RUN_ID - 1]);
	told.sent_at = js_row_timestamp(&row, TOLD_SENT_AT);
	told.remind_at = js_row_timestamp(&row, TOLD_REMIND_AT);
	told.failed_at = js_row_timestamp(&row, TOLD_FAILED_AT);
	each->visit(&told, each->arg);
}

void
js_alert_tolds_visit(JsAlertToldVisitor visit, void *arg)
{
	ToldVisit	each = {visit, arg};

	js_table_visit("alert_told", NULL, 0, 0, visit_told_tuple, &each);
}

/* ------------------------------------------------------------------------
 * job
 * ------------------------------------------------------------------------
 */

typedef struct JobRead
{
	MemoryContext context;
	bool		with_metadata;
	bool		found;
	JsAlertJob *job;
} JobRead;

static void
read_job_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	JobRead    *read = arg;
	MemoryContext outer = MemoryContextSwitchTo(read->context);
	JsRow		row;

	js_row_get(&row, tuple, rel);
	read->found = true;
	read->job->name = js_row_head_text(&row, JS_JOB_NAME);
	read->job->created_at = js_row_timestamp(&row, JS_JOB_CREATED_AT);
	read->job->metadata = read->with_metadata && js_row_size(&row, JS_JOB_METADATA) <= JS_MAX_SEARCHED_METADATA ?
		js_row_jsonb(&row, JS_JOB_METADATA) : NULL;
	MemoryContextSwitchTo(outer);
}

/* What tells whether an alert concerns a job.  False: there is none. */
bool
js_alert_job_read(int64 job_id, bool with_metadata, JsAlertJob *job)
{
	JobRead		read = {CurrentMemoryContext, with_metadata, false, job};

	js_table_visit("job", "job_pkey", job_id, job_id, read_job_tuple, &read);
	return read.found;
}
