/*-------------------------------------------------------------------------
 *
 * child.h
 *		Parameters child and optional.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CHILD_H
#define JS_CHILD_H

#include "fmgr.h"
#include "store/store.h"

extern void js_child_arguments(FunctionCallInfo fcinfo, int n, JsRun *run);
extern void js_child_check_after(const JsRun *run);

#endif							/* JS_CHILD_H */
