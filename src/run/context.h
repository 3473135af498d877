/*-------------------------------------------------------------------------
 *
 * context.h
 *		The run that this process executes, for SQL functions.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CONTEXT_H
#define JS_CONTEXT_H

#include "store/store.h"

/* While the worker executes a run; NULL otherwise. */
extern const JsRun *js_current_run;
extern const JsJob *js_current_job;

extern void js_context_enter(const JsRun *run, const JsJob *job, MemoryContext context);
extern void js_context_leave(void);
extern void js_context_look(bool begins);
extern void js_context_begin_durable(void);
extern void js_context_step(bool begins);
extern bool js_context_is_in_step(void);
extern void js_context_suspend(int64 delay, const char *reason);
extern void js_context_decide(void);
extern void js_context_refuse_late(const char *what);
extern void js_context_refuse_map(const char *what);
extern bool js_context_snoozes(int64 *delay, Jsonb **state, const char **reason);

#endif							/* JS_CONTEXT_H */
