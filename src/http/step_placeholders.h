/*-------------------------------------------------------------------------
 *
 * step_placeholders.h
 *		Placeholders for the results of steps.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STEP_PLACEHOLDERS_H
#define JS_STEP_PLACEHOLDERS_H

#include "store/store.h"

/* key: where it is in the definition of the step; name: "NAME.result.path". */
typedef void (*JsStepPlaceholderVisitor) (const char *key, const char *name, void *arg);

extern void js_step_placeholders_visit(const JsJob *step, JsStepPlaceholderVisitor visit, void *arg);
extern void js_step_placeholders_refuse(const JsJob *job);
extern const char *js_step_key_needs(const JsJob *step, ArrayType *templates);
extern Jsonb *js_step_args_fill(const JsJob *step, Jsonb *results);

#endif							/* JS_STEP_PLACEHOLDERS_H */
