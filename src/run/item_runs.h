/*-------------------------------------------------------------------------
 *
 * item_runs.h
 *		What the run of a step with for_each executes: it queues a run for each
 *		element.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_ITEM_RUNS_H
#define JS_ITEM_RUNS_H

#include "store/store.h"

extern void js_for_each_check(const char *sql);
extern Jsonb *js_item_runs_queue(const JsJob *job, const JsRun *run, Jsonb *found, MemoryContext context);

#endif							/* JS_ITEM_RUNS_H */
