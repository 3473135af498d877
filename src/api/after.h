/*-------------------------------------------------------------------------
 *
 * after.h
 *		Parameters after and after_when.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_AFTER_H
#define JS_AFTER_H

#include "fmgr.h"
#include "store/store.h"

extern void js_after_arguments(FunctionCallInfo fcinfo, int n, JsRun *run);
extern bool js_after_names(const JsRun *run, int64 parent);
extern const int64 *js_after_missing(const JsRun *run);
extern void js_after_refuse(const int64 *missing);

#endif							/* JS_AFTER_H */
