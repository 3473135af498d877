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

#include "access/table.h"
#include "access/xact.h"
#include "api/table_trigger.h"
#include "api/table_trigger_check.h"
#include "base/jobsched.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "nodes/value.h"
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

static void
check_trigger_of(Relation rel, const char *name)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const JsTriggerKind *kind = kind_of(&triggers->triggers[i]);

		if (kind != NULL && strcmp(triggers->triggers[i].tgname, name) == 0)
			js_table_trigger_check(kind, &triggers->triggers[i], rel);
	}
}

static void
check_partitions(Relation rel, const char *name)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL))
	{
		Relation	partition = table_open(lfirst_oid(lc), NoLock);

		if (partition->rd_rel->relowner != rel->rd_rel->relowner)
			check_trigger_of(partition, name);
		table_close(partition, NoLock);
	}
}

/* After the command: whether it has made a trigger of ours, and what is wrong with that. */
void
js_table_trigger_check_created(const CreateTrigStmt *stmt)
{
	Relation	rel;

	if (kind_named(strVal(llast(stmt->funcname))) == NULL)
		return;
	CommandCounterIncrement();
	rel = table_openrv_extended(stmt->relation, AccessShareLock, true);
	if (rel == NULL)
		return;
	check_trigger_of(rel, stmt->trigname);
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		check_partitions(rel, stmt->trigname);
	table_close(rel, NoLock);
}
