/*-------------------------------------------------------------------------
 *
 * queue.h
 *		What all functions that queue runs have in common.
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
extern void js_queue_prepare(JsRun *run, const JsJob *job);
extern void js_queue_run(JsRun *run);

#endif							/* JS_QUEUE_H */
