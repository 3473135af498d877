/*-------------------------------------------------------------------------
 *
 * store_names.h
 *		The names of statuses, sources and conditions in rows.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STORE_NAMES_H
#define JS_STORE_NAMES_H

#include "store/store.h"

extern const char *js_status_name(JsStatus status);
extern JsStatus js_status_of(const char *name);

extern const char *js_source_name(JsRunSource source);

/* JS_SOURCE_UNKNOWN if somebody has spoilt the row. */
extern JsRunSource js_source_of(const char *name);

extern const char *js_after_when_name(JsAfterWhen when);
extern JsAfterWhen js_after_when_of(const char *name);

extern const char *js_workflow_name(JsWorkflow workflow);
extern JsWorkflow js_workflow_of(const char *name);

#endif							/* JS_STORE_NAMES_H */
