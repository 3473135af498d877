/*-------------------------------------------------------------------------
 *
 * step_look.h
 *		Steps that look before they start.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STEP_LOOK_H
#define JS_STEP_LOOK_H

#include "store/store.h"

/* What becomes of a step that has looked. */
typedef enum JsLook
{
	JS_LOOK_START,				/* it starts */
	JS_LOOK_SKIP,				/* its condition does not hold */
	JS_LOOK_READY				/* it is a request, which can be sent now */
} JsLook;

extern bool js_step_makes_ready(const JsJob *job, const JsRun *run);
extern JsLook js_step_look(const JsJob *step, JsRun *run, MemoryContext context, Jsonb **found);
extern void js_step_ready(const JsRun *run, Jsonb *found, JsRun *next);
extern void js_step_check_ready(const JsJob *step, const JsRun *run);
extern void js_step_fill_args(const JsJob *step, JsRun *run, Jsonb *results);

#endif							/* JS_STEP_LOOK_H */
