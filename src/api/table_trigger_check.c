/*-------------------------------------------------------------------------
 *
 * table_trigger_check.c
 *		Checks triggers of our trigger functions when they are created.
 *
 * A mistake in a trigger's arguments would otherwise appear with the first
 * change of its table, long after its creation.  CREATE TRIGGER is checked
 * after the server has made the trigger: then the server has checked the
 * rights, and we see the function that will be called.
 *
 * A trigger of a partitioned table is made for its partitions too, which may have
 * other owners, and there it queues runs of these.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "api/table_trigger.h"
#include "api/table_trigger_check.h"
#include "base/jobsched.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_trigger.h"
#include "nodes/value.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static const JsTriggerKind *const kinds[] = {&js_webhook_kind, &js_trigger_job_kind};

/* NULL: it is none of ours. */
static const JsTriggerKind *
kind_named(const char *function)
{
	for (int i = 0; function != NULL && i < lengthof(kinds); i++)
		if (strcmp(function, kinds[i]->function) == 0)
			return kinds[i];
	return NULL;
}

static const JsTriggerKind *
kind_of(const Trigger *trigger)
{
	if (get_func_namespace(trigger->tgfoid) != get_namespace_oid(JS_EXTENSION, true))
		return NULL;
	return kind_named(get_func_name(trigger->tgfoid));
}

/*
 * The triggers that a command makes say so themselves.  They could not be found again by
 * name: while the command waits for a lock somebody can give that name to another table.
 */
static object_access_hook_type prev_object_access = NULL;
static JsMadeTriggers *watching = NULL;

static void
note_made(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	MemoryContext outer;

	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (watching == NULL || access != OAT_POST_CREATE || class_id != TriggerRelationId)
		return;
	outer = MemoryContextSwitchTo(watching->context);
	watching->ids = lappend_oid(watching->ids, object_id);
	MemoryContextSwitchTo(outer);
}

void
js_table_trigger_check_init(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = note_made;
}

bool
js_table_trigger_is_ours(const Node *stmt)
{
	return IsA(stmt, CreateTrigStmt) &&
		kind_named(strVal(llast(((const CreateTrigStmt *) stmt)->funcname))) != NULL;
}

void
js_table_trigger_watch(JsMadeTriggers *made)
{
	made->context = CurrentMemoryContext;
	made->ids = NIL;
	made->outer = watching;
	watching = made;
}

void
js_table_trigger_unwatch(const JsMadeTriggers *made)
{
	watching = made->outer;
}

static Oid
table_of(Oid trigger_id)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger_id));
	scan = systable_beginscan(rel, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		result = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/* first: whose table's owner that of a partition need not be asked again for; or none. */
static void
check_made(Oid trigger_id, Oid *first)
{
	Oid			table = table_of(trigger_id);
	Relation	rel;

	if (!OidIsValid(table))
		return;
	rel = table_open(table, NoLock);	/* the command has locked it */
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];
		const JsTriggerKind *kind = trigger->tgoid == trigger_id ? kind_of(trigger) : NULL;

		if (kind != NULL && !(trigger->tgisclone && rel->rd_rel->relowner == *first))
			js_table_trigger_check(kind, trigger, rel);
	}
	if (!OidIsValid(*first))
		*first = rel->rd_rel->relowner;
	table_close(rel, NoLock);
}

/* After the command: what is wrong with those that it has made. */
void
js_table_trigger_check_made(const JsMadeTriggers *made)
{
	Oid			first = InvalidOid;
	ListCell   *lc;

	CommandCounterIncrement();
	foreach(lc, made->ids)
		check_made(lfirst_oid(lc), &first);
}
