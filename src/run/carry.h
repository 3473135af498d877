/*-------------------------------------------------------------------------
 *
 * carry.h
 *		Steps that a retried workflow run takes over from the one before.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CARRY_H
#define JS_CARRY_H

#include "store/store.h"

#define JS_CARRIED_OVER "carried_over"

extern bool js_run_carries_over(const JsRun *run);
extern void js_carry_plan(const JsRun *run, const List *steps, int64 *carried);
extern JsOutcome js_carry_take(int64 from, JsRun *run);

#endif							/* JS_CARRY_H */
