/*-------------------------------------------------------------------------
 *
 * trigger_options.h
 *		Options of triggers of tables.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_TRIGGER_OPTIONS_H
#define JS_TRIGGER_OPTIONS_H

#include "api/idempotency.h"
#include "utils/reltrigger.h"

typedef struct JsTriggerOptions
{
	const char *key;			/* a template; NULL: none */
	JsOnConflict on_conflict;
	int64		period;			/* microseconds */
	List	   *columns;		/* of char *; NIL: all */
	int			batch;			/* rows of a statement that one run gets */
} JsTriggerOptions;

extern bool js_is_trigger_option(const char *argument);
extern void js_trigger_options_read(const Trigger *trigger, int first, JsTriggerOptions *options);

#endif							/* JS_TRIGGER_OPTIONS_H */
