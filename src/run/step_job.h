/*-------------------------------------------------------------------------
 *
 * step_job.h
 *		What the run of a step with job executes: it queues a run of that job.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_RUN_STEP_JOB_H
#define JS_RUN_STEP_JOB_H

#include "store/store.h"

extern void js_step_job_find(const JsJob *step, JsJob *job);
extern void js_step_job_queue(const JsJob *step, const JsRun *run);

#endif							/* JS_RUN_STEP_JOB_H */
