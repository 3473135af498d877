/*-------------------------------------------------------------------------
 *
 * undo_runs.h
 *		What undoes the steps of a workflow run that has failed.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_UNDO_RUNS_H
#define JS_UNDO_RUNS_H

#include "store/store.h"

/* The step that lets undo begin; what undoes step NAME is called undo:NAME. */
#define JS_UNDO "undo"

extern void js_undo_check_keys(Jsonb *of_run, const List *steps, const JsJob *undo);
extern Jsonb *js_undo_runs_queue(const JsJob *job, const JsRun *run, MemoryContext context);
extern Jsonb *js_undo_items_queue(const JsJob *job, const JsRun *run, MemoryContext context);

#endif							/* JS_UNDO_RUNS_H */
