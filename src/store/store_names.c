/*-------------------------------------------------------------------------
 *
 * store_names.c
 *		The names of statuses and sources in rows.
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
	[JS_SOURCE_CALLBACK] = "callback",[JS_SOURCE_BATCH] = "batch"
};

/* The index of a name; -1: it is none of them, or NULL. */
static int
name_find(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (name != NULL && strcmp(name, names[i]) == 0)
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
