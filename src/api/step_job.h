/*-------------------------------------------------------------------------
 *
 * step_job.h
 *		Steps that run other jobs, as they are defined.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_API_STEP_JOB_H
#define JS_API_STEP_JOB_H

#include "store/store.h"
#include "utils/hsearch.h"

extern void js_step_job_check_key(const char *key);
extern void js_step_job_check(const JsJob *workflow, const char *name, HTAB **seen);
extern void js_step_jobs_check(const JsJob *before, const JsJob *workflow);

#endif							/* JS_API_STEP_JOB_H */
