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
#include "store.h"
#include "table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/* Of both tables. */
enum LimitColumn
{
	LIMIT_OWNER = 1, LIMIT_KIND, LIMIT_NAME
};

enum DefinitionColumn
{
	DEFINITION_MAX_RUNNING = 4, DEFINITION_RATE, DEFINITION_PER, DEFINITION_BURST,
	DEFINITION_PAUSED
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
kind_of(const char *name, JsLimitKind *kind)
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

static SysScanDesc
scan_identity(Relation rel, const char *index, Oid owner, JsLimitKind kind, const char *name)
{
	ScanKeyData keys[3];

	/* ScanKeyInit() is for catalogs, whose collation is "C". */
	ScanKeyInit(&keys[0], LIMIT_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(owner));
	ScanKeyEntryInitialize(&keys[1], 0, LIMIT_KIND, BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(kind_names[kind]));
	ScanKeyEntryInitialize(&keys[2], 0, LIMIT_NAME, BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(name));
	return js_table_scan_key(rel, index, keys, 3);
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

static SysScanDesc
scan_definition(Relation rel, const JsLimitDefinition *definition)
{
	return scan_identity(rel, "limit_definition_pkey", definition->owner, definition->kind,
						 definition->name);
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
	JsRow		row;

	js_row_get(&row, tuple, rel);
	if (!kind_of(js_row_text(&row, LIMIT_KIND), &definition.kind))
		return;
	definition.owner = DatumGetObjectId(row.values[LIMIT_OWNER - 1]);
	definition.name = js_row_text(&row, LIMIT_NAME);
	definition.max_running = js_row_number(&row, DEFINITION_MAX_RUNNING, PG_INT32_MAX);
	definition.rate = js_row_number(&row, DEFINITION_RATE, PG_INT32_MAX);
	definition.per = Max(js_row_interval(&row, DEFINITION_PER), 0);
	definition.burst = Max(js_row_number(&row, DEFINITION_BURST, PG_INT32_MAX), 1);
	definition.paused = !row.nulls[DEFINITION_PAUSED - 1] &&
		DatumGetBool(row.values[DEFINITION_PAUSED - 1]);
	visit->visit(&definition, visit->arg);
}

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
	return scan_identity(rel, "limit_state_pkey", state->owner, state->kind, state->name);
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
visit_state_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	StateVisit *visit = arg;
	JsLimitState state;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	if (!kind_of(js_row_text(&row, LIMIT_KIND), &state.kind))
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

	js_table_visit("limit_state", NULL, 0, 0, visit_state_tuple, &each);
}
