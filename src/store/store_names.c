/*-------------------------------------------------------------------------
 *
 * store_names.c
 *		The names of statuses, sources and conditions in rows.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/store_names.h"

static const char *const status_names[] = {
	[JS_SUCCEEDED] = "succeeded",[JS_FAILED] = "failed",[JS_CANCELLED] = "cancelled",
	[JS_TIMED_OUT] = "timed_out",[JS_LOST] = "lost",[JS_SKIPPED] = "skipped",
	[JS_MISSED] = "missed"
};

static const char *const source_names[] = {
	[JS_SOURCE_UNKNOWN] = "unknown",[JS_SOURCE_SCHEDULE] = "schedule",
	[JS_SOURCE_STARTUP] = "startup",[JS_SOURCE_TRIGGER] = "trigger",
	[JS_SOURCE_BACKFILL] = "backfill",[JS_SOURCE_RETRY] = "retry",
	[JS_SOURCE_CALLBACK] = "callback",[JS_SOURCE_BATCH] = "batch",
	[JS_SOURCE_STEP] = "step",[JS_SOURCE_ITEM] = "item",[JS_SOURCE_AFTER] = "after"
};

static const char *const after_when_names[] = {
	[JS_AFTER_NOTHING] = NULL,[JS_AFTER_SUCCESS] = "success",
	[JS_AFTER_FAILURE] = "failure",[JS_AFTER_DONE] = "done",
	[JS_AFTER_ALWAYS] = "always",[JS_AFTER_UNDO] = "undo"
};

static const char *const workflow_names[] = {
	[JS_WORKFLOW_NONE] = NULL,[JS_WORKFLOW_STEPS] = "steps",
	[JS_WORKFLOW_BATCH] = "batch"
};

/* The index of a name; -1: it is none of them, or NULL. */
static int
name_find(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (name != NULL && names[i] != NULL && strcmp(name, names[i]) == 0)
			return i;
	return -1;
}

const char *
js_status_name(JsStatus status)
{
	return status_names[status];
}

JsStatus
js_status_of(const char *name)
{
	int			found = name_find(name, status_names, lengthof(status_names));

	if (found < 0)
		elog(ERROR, "history has unknown status \"%s\"", name);
	return (JsStatus) found;
}

const char *
js_source_name(JsRunSource source)
{
	return source_names[source];
}

JsRunSource
js_source_of(const char *name)
{
	int			found = name_find(name, source_names, lengthof(source_names));

	return found < 0 ? JS_SOURCE_UNKNOWN : (JsRunSource) found;
}

/* NULL: it waits for none. */
const char *
js_after_when_name(JsAfterWhen when)
{
	return after_when_names[when];
}

/* As a user gives it. */
JsAfterWhen
js_after_when_argument(const char *parameter, const char *name)
{
	int			found = name_find(name, after_when_names, lengthof(after_when_names));

	if (found < 0 || found >= JS_AFTER_ALWAYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s \"%s\"", parameter, name),
				 errhint("It is one of success, failure and done.")));
	return (JsAfterWhen) found;
}

/* The same of a step. */
JsAfterWhen
js_step_when_argument(const char *name)
{
	int			found = name_find(name, after_when_names, lengthof(after_when_names));

	if (found < 0 || found == JS_AFTER_UNDO)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid when \"%s\"", name),
				 errhint("It is one of success, failure, done and always.")));
	return (JsAfterWhen) found;
}

/* What somebody has spoilt is the default: it lets the least start. */
JsAfterWhen
js_after_when_of(const char *name)
{
	int			found = name_find(name, after_when_names, lengthof(after_when_names));

	if (name == NULL)
		return JS_AFTER_NOTHING;
	return found < 0 ? JS_AFTER_SUCCESS : (JsAfterWhen) found;
}

/* NULL: it is none. */
const char *
js_workflow_name(JsWorkflow workflow)
{
	return workflow_names[workflow];
}

/* What somebody has spoilt is none. */
JsWorkflow
js_workflow_of(const char *name)
{
	int			found = name_find(name, workflow_names, lengthof(workflow_names));

	return found < 0 ? JS_WORKFLOW_NONE : (JsWorkflow) found;
}
