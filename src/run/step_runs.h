/*-------------------------------------------------------------------------
 *
 * step_runs.h
 *		What the run of a job made of steps executes: it queues their runs.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STEP_RUNS_H
#define JS_STEP_RUNS_H

#include "store/store.h"

extern void js_step_runs_queue(const JsJob *job, const JsRun *run);

#endif							/* JS_STEP_RUNS_H */
