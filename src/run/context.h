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

/* Set by the worker while it executes a run; NULL members otherwise. */
extern const JsRun *js_current_run;
extern const JsJob *js_current_job;

/* What the run has asked for by snooze(), in microseconds; -1: it has not. */
extern int64 js_snooze_delay;

#endif							/* JS_CONTEXT_H */
