/*-------------------------------------------------------------------------
 *
 * store_limit.c
 *		Rows of limit_definition and limit_state.
 *
 * Definitions are written by sessions, those of one owner by one session at a
 * time.  States are written by the scheduler.
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
#include "store/store.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/* Of both tables. */
enum LimitColumn
{
	LIMIT_OWNER = 1, LIMIT_KIND, LIMIT_NAME
};

#define LIMIT_KEYS 3

enum DefinitionColumn
{
	DEFINITION_MAX_RUNNING = 4, DEFINITION_RATE, DEFINITION_PER, DEFINITION_BURST,
	DEFINITION_PAUSED, DEFINITION_OWNER_NAME, DEFINITION_HOME
};

enum StateColumn
{
	STATE_TAT = 4
};

/* Those that have rows. */
static const char *const kind_names[] = {
	[JS_LIMIT_KEY] = "key",[JS_LIMIT_JOB] = NULL,[JS_LIMIT_QUEUE] = "queue",
	[JS_LIMIT_OWNER] = NULL,[JS_LIMIT_CLASS] = "class"
};

/* False for what nobody but a superuser can have written. */
static bool
limit_kind_of(const char *name, JsLimitKind *kind)
{
	for (int i = 0; i < lengthof(kind_names); i++)
		if (kind_names[i] != NULL && strcmp(name, kind_names[i]) == 0)
		{
			*kind = (JsLimitKind) i;
			return true;
		}
	return false;
}

static void
set_identity(JsRow *row, Oid owner, JsLimitKind kind, const char *name)
{
	js_row_init(row);
	js_row_set(row, LIMIT_OWNER, ObjectIdGetDatum(owner));
	js_row_set_text(row, LIMIT_KIND, kind_names[kind]);
	js_row_set_text(row, LIMIT_NAME, name);
}

static void
identity_keys(ScanKeyData *keys, Oid owner, JsLimitKind kind, const char *name)
{
	/* ScanKeyInit() is for catalogs, whose collation is "C". */
	ScanKeyInit(&keys[0], LIMIT_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(owner));
	ScanKeyEntryInitialize(&keys[1], 0, LIMIT_KIND, BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(kind_names[kind]));
	ScanKeyEntryInitialize(&keys[2], 0, LIMIT_NAME, BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(name));
}

/* ------------------------------------------------------------------------
 * limit_definition
 * ------------------------------------------------------------------------
 */

/*
 * Opens the table for changes.  Other sessions that want to define something
 * of the same owner wait until the transaction ends.
 */
static Relation
open_definitions(Oid owner)
{
	Relation	rel = js_table_open("limit_definition", RowExclusiveLock);

	LockDatabaseObject(RelationGetRelid(rel), owner, 0, ExclusiveLock);
	return rel;
}

/* Of this database: what came from elsewhere is not touched. */
static SysScanDesc
scan_definition(Relation rel, const JsLimitDefinition *definition)
{
	ScanKeyData keys[LIMIT_KEYS + 1];
	pg_uuid_t  *home = palloc(sizeof(pg_uuid_t));

	(void) js_identity_read(home);
	identity_keys(keys, definition->owner, definition->kind, definition->name);
	ScanKeyInit(&keys[LIMIT_KEYS], DEFINITION_HOME, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(home));
	return js_table_scan_key(rel, "limit_definition_pkey", keys, LIMIT_KEYS + 1);
}

static void
owner_to_row(JsRow *row, Oid owner)
{
	pg_uuid_t  *home = palloc(sizeof(pg_uuid_t));

	(void) js_identity_read(home);
	js_row_set(row, LIMIT_OWNER, ObjectIdGetDatum(owner));
	js_row_set_text(row, DEFINITION_OWNER_NAME, js_role_name(owner));
	js_row_set(row, DEFINITION_HOME, UUIDPGetDatum(home));
}

/* Writes a definition, in the place of the one that there may be. */
void
js_limit_define(const JsLimitDefinition *definition)
{
	Relation	rel = open_definitions(definition->owner);
	SysScanDesc scan = scan_definition(rel, definition);
	HeapTuple	old = systable_getnext(scan);
	JsRow		row;

	set_identity(&row, definition->owner, definition->kind, definition->name);
	owner_to_row(&row, definition->owner);
	js_row_set_number(&row, DEFINITION_MAX_RUNNING, definition->max_running);
	js_row_set_number(&row, DEFINITION_RATE, definition->rate);
	js_row_set_interval(&row, DEFINITION_PER, definition->per);
	js_row_set(&row, DEFINITION_BURST, Int32GetDatum(definition->burst));
	js_row_set(&row, DEFINITION_PAUSED, BoolGetDatum(definition->paused));
	if (HeapTupleIsValid(old))
		js_table_update(rel, old, &row);
	else
		js_table_insert(rel, &row);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* False if there is none. */
bool
js_limit_drop(const JsLimitDefinition *definition)
{
	Relation	rel = open_definitions(definition->owner);
	SysScanDesc scan = scan_definition(rel, definition);
	HeapTuple	old = systable_getnext(scan);
	bool		found = HeapTupleIsValid(old);

	if (found)
		CatalogTupleDelete(rel, &old->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return found;
}

static void
stored_owner(const JsRow *row, JsStoredOwner *stored)
{
	stored->oid = DatumGetObjectId(row->values[LIMIT_OWNER - 1]);
	stored->name = js_row_text(row, DEFINITION_OWNER_NAME);
	stored->home = *DatumGetUUIDP(row->values[DEFINITION_HOME - 1]);
}

/* As js_job_refresh_owner() does; a row that somebody holds waits for the next time. */
static void
refresh_owner_of_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	JsStoredOwner stored;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	stored_owner(&row, &stored);
	if (!js_owner_is_stale(&stored) || !js_tuple_lock_if_free(rel, tuple))
		return;
	js_row_init(&row);
	js_row_set_text(&row, DEFINITION_OWNER_NAME, js_role_name(stored.oid));
	js_table_update(rel, tuple, &row);
}

void
js_limits_refresh_owners(void)
{
	table_close(js_table_open("limit_definition", RowExclusiveLock), NoLock);
	js_table_visit("limit_definition", NULL, 0, 0, refresh_owner_of_tuple, NULL);
	CommandCounterIncrement();
}

typedef struct LimitAdoption
{
	JsOwnerFilter may_adopt;
	bool		any;
} LimitAdoption;

/* What the role has defined here already stands. */
static void
adopt_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	LimitAdoption *adoption = arg;
	JsLimitDefinition definition;
	JsStoredOwner stored;
	SysScanDesc scan;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	stored_owner(&row, &stored);
	definition.owner = js_owner_of(&stored);
	definition.name = js_row_text(&row, LIMIT_NAME);
	if (js_owner_is_home(&stored) || !adoption->may_adopt(definition.owner) ||
		!limit_kind_of(js_row_text(&row, LIMIT_KIND), &definition.kind))
		return;
	adoption->any = true;
	table_close(open_definitions(definition.owner), NoLock);
	scan = scan_definition(rel, &definition);
	if (HeapTupleIsValid(systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	else
	{
		js_row_init(&row);
		owner_to_row(&row, definition.owner);
		js_table_update(rel, tuple, &row);
	}
	systable_endscan(scan);
	CommandCounterIncrement();
}

/*
 * This database becomes the home of definitions whose owners the filter takes.
 * Whether there were any.
 */
bool
js_limits_adopt(JsOwnerFilter may_adopt)
{
	LimitAdoption adoption = {may_adopt, false};

	table_close(js_table_open("limit_definition", RowExclusiveLock), NoLock);
	js_table_visit("limit_definition", NULL, 0, 0, adopt_tuple, &adoption);
	return adoption.any;
}

typedef struct LimitVisit
{
	JsLimitVisitor visit;
	void	   *arg;
} LimitVisit;

static void
visit_definition_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	LimitVisit *visit = arg;
	JsLimitDefinition definition;
	JsStoredOwner stored;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	stored_owner(&row, &stored);
	definition.owner = js_owner_of(&stored);
	definition.is_stale = js_owner_is_stale(&stored);
	if (!OidIsValid(definition.owner) || !js_owner_is_home(&stored) ||
		!limit_kind_of(js_row_text(&row, LIMIT_KIND), &definition.kind))
		return;
	definition.name = js_row_text(&row, LIMIT_NAME);
	definition.max_running = js_row_number(&row, DEFINITION_MAX_RUNNING, PG_INT32_MAX);
	definition.rate = js_row_number(&row, DEFINITION_RATE, PG_INT32_MAX);
	definition.per = Max(js_row_interval(&row, DEFINITION_PER), 0);
	definition.burst = Max(js_row_number(&row, DEFINITION_BURST, PG_INT32_MAX), 1);
	definition.paused = !row.nulls[DEFINITION_PAUSED - 1] &&
		DatumGetBool(row.values[DEFINITION_PAUSED - 1]);
	visit->visit(&definition, visit->arg);
}

/* Those at home. */
void
js_limits_visit(JsLimitVisitor visit, void *arg)
{
	LimitVisit	each = {visit, arg};

	js_table_visit("limit_definition", NULL, 0, 0, visit_definition_tuple, &each);
}

/* ------------------------------------------------------------------------
 * limit_state
 * ------------------------------------------------------------------------
 */

static SysScanDesc
scan_state(Relation rel, const JsLimitState *state)
{
	ScanKeyData keys[LIMIT_KEYS];

	identity_keys(keys, state->owner, state->kind, state->name);
	return js_table_scan_key(rel, "limit_state_pkey", keys, LIMIT_KEYS);
}

/* False, and nothing is changed, when somebody else holds the row. */
bool
js_limit_state_write(const JsLimitState *state)
{
	Relation	rel = js_table_open("limit_state", RowExclusiveLock);
	SysScanDesc scan = scan_state(rel, state);
	HeapTuple	old = systable_getnext(scan);
	bool		free = !HeapTupleIsValid(old) || !js_tuple_is_busy(old);
	JsRow		row;

	if (free)
	{
		set_identity(&row, state->owner, state->kind, state->name);
		js_row_set_timestamp(&row, STATE_TAT, state->tat);
		if (HeapTupleIsValid(old))
			js_table_update(rel, old, &row);
		else
			js_table_insert(rel, &row);
	}
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	return free;
}

/* The same. */
bool
js_limit_state_delete(const JsLimitState *state)
{
	Relation	rel = js_table_open("limit_state", RowExclusiveLock);
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

typedef struct StateVisit
{
	JsLimitStateVisitor visit;
	void	   *arg;
} StateVisit;

static void
visit_limit_state_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	StateVisit *visit = arg;
	JsLimitState state;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	if (!limit_kind_of(js_row_text(&row, LIMIT_KIND), &state.kind))
		return;
	state.owner = DatumGetObjectId(row.values[LIMIT_OWNER - 1]);
	state.name = js_row_text(&row, LIMIT_NAME);
	state.tat = js_row_timestamp(&row, STATE_TAT);
	visit->visit(&state, visit->arg);
}

void
js_limit_states_visit(JsLimitStateVisitor visit, void *arg)
{
	StateVisit	each = {visit, arg};

	js_table_visit("limit_state", NULL, 0, 0, visit_limit_state_tuple, &each);
}
