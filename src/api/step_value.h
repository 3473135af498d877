/*-------------------------------------------------------------------------
 *
 * step_value.h
 *		Values in the definition of a step, as arguments.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STEP_VALUE_H
#define JS_STEP_VALUE_H

#include "store/job_parameters.h"

extern Datum js_step_value(const char *key, JsonbValue *value, JsParameterKind kind);

#endif							/* JS_STEP_VALUE_H */
