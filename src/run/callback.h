/*-------------------------------------------------------------------------
 *
 * callback.h
 *		Functions that are called when a run has ended.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CALLBACK_H
#define JS_CALLBACK_H

#include "store/store.h"

extern bool js_callback_tells(const JsOutcome *outcome);
extern bool js_callback_is_due(const JsEnding *ending);
extern void js_callback_queue(const JsEnding *ending);
extern void js_callback_push_response(JsonbParseState **state, const char *status, const JsResponse *response);

#endif							/* JS_CALLBACK_H */
