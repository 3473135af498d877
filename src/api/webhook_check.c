/*-------------------------------------------------------------------------
 *
 * webhook_check.c
 *		Checks triggers of http_webhook() when they are created.
 *
 * A mistake in a trigger's arguments would otherwise appear with the first
 * change of its table, long after its creation.  CREATE TRIGGER is checked
 * after the server has made the trigger: then the server has checked the
 * rights, and we see the function that will be called.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "api/webhook.h"
#include "api/webhook_check.h"
#include "base/jobsched.h"
#include "catalog/namespace.h"
#include "nodes/value.h"
#include "run/http_job.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define FUNCTION_NAME "http_webhook"

static bool
is_webhook(const Trigger *trigger)
{
	char	   *name = get_func_name(trigger->tgfoid);

	return name != NULL && strcmp(name, FUNCTION_NAME) == 0 &&
		get_func_namespace(trigger->tgfoid) == get_namespace_oid(JS_EXTENSION, true);
}

static void
check_trigger_of(Relation rel, const char *name)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (strcmp(triggers->triggers[i].tgname, name) == 0 && is_webhook(&triggers->triggers[i]))
			js_webhook_check_trigger(&triggers->triggers[i], rel->rd_rel->relowner);
}

/* After the command: whether it has made a webhook, and what is wrong with that. */
void
js_webhook_check(const CreateTrigStmt *stmt)
{
	Relation	rel;

	if (strcmp(strVal(llast(stmt->funcname)), FUNCTION_NAME) != 0)
		return;
	CommandCounterIncrement();
	rel = table_openrv_extended(stmt->relation, AccessShareLock, true);
	if (rel == NULL)
		return;
	check_trigger_of(rel, stmt->trigname);
	table_close(rel, NoLock);
}
