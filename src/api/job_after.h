/*-------------------------------------------------------------------------
 *
 * job_after.h
 *		The jobs that a job comes after.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_JOB_AFTER_H
#define JS_JOB_AFTER_H

#include "store/store.h"
#include "utils/array.h"

extern void js_job_after_adopt(JsJob *job);
extern void js_job_after_set(JsJob *job, ArrayType *names);
extern void js_job_after_check(const JsJob *job, const JsJob *before, bool given);

#endif							/* JS_JOB_AFTER_H */
