/*-------------------------------------------------------------------------
 *
 * retry_steps.h
 *		What a retried workflow run carries over from the one before.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_RETRY_STEPS_H
#define JS_RETRY_STEPS_H

#include "store/store.h"

extern ArrayType *js_retry_find_steps(const JsJob *job, ArrayType *from_step);
extern ArrayType *js_retry_carry_over(int64 run_id, const JsJob *job, ArrayType *from_step, ArrayType *from_steps, JsRun *run);

#endif							/* JS_RETRY_STEPS_H */
