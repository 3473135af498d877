/*-------------------------------------------------------------------------
 *
 * event.h
 *		Parameters wait_for and wait_timeout.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_EVENT_H
#define JS_EVENT_H

#include "fmgr.h"
#include "store/store.h"

extern void js_event_check_name(const char *name);
extern ArrayType *js_event_wait_for(ArrayType *given);
extern int64 js_event_wait_timeout(const Interval *given, bool waits);
extern bool js_event_address(Oid sender, int64 run_id, JsEvent *event);
extern void js_event_check_room(Oid owner);
extern void js_event_send(JsEvent *event);
extern void js_event_arguments(FunctionCallInfo fcinfo, int n, JsRun *run);

#endif							/* JS_EVENT_H */
