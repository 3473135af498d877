/*-------------------------------------------------------------------------
 *
 * trigger.h
 *		What functions that queue runs of jobs have in common.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_TRIGGER_H
#define JS_TRIGGER_H

#include "fmgr.h"
#include "nodes/execnodes.h"
#include "store/store.h"

/* What the keys of a run are made from. */
typedef struct JsKeySource
{
	ArrayType  *templates;
	Jsonb	   *job_args;
} JsKeySource;

extern void js_trigger_check(const JsJob *job);
extern void js_trigger_resolve(const char *name, JsJob *job);
extern void js_trigger_prepare(const JsJob *job, ArrayType *templates, JsRun *run, JsKeySource *source);
extern void js_trigger_arguments(FunctionCallInfo fcinfo, int n, const JsJob *job, JsRun *run,
								 JsKeySource *source);
extern Jsonb *js_trigger_args(FunctionCallInfo fcinfo, int n);
extern ArrayType *js_trigger_args_of_many(FunctionCallInfo fcinfo, int n);
extern ArrayType *js_trigger_keys(const JsKeySource *source, Jsonb *args);
extern void js_trigger_queue(const JsKeySource *source, JsRun *run);
extern void js_trigger_queue_each(const JsKeySource *source, JsRun *run, ArrayType *args,
								  ReturnSetInfo *result);

#endif							/* JS_TRIGGER_H */
