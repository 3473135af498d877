/*-------------------------------------------------------------------------
 *
 * queue.h
 *		How all sessions queue runs.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_QUEUE_H
#define JS_QUEUE_H

#include "fmgr.h"
#include "store/store.h"

extern bool js_queue_run_at_is_given(FunctionCallInfo fcinfo, int n);
extern TimestampTz js_queue_run_at(FunctionCallInfo fcinfo, int n);
extern void js_queue_prepare(JsRun *run, const JsJob *job, JsRunSource source);
extern void js_queue_prepare_again(JsRun *run, const JsJob *job, JsRunSource source);
extern int64 js_queue_add(JsRunWriter *writer, JsRun *run);
extern int64 js_queue_run(JsRun *run);

#endif							/* JS_QUEUE_H */
