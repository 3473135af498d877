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

#include "compat.h"
#include "fmgr.h"
#include "store/store.h"

extern void js_child_adopt(JsRun *run, bool optional);
extern void js_child_arguments(FunctionCallInfo fcinfo, int n, JsRun *run);
extern bool js_child_may_wait_for(const JsRun *run, const JsRun *parent);
pg_noreturn extern void js_child_refuse_parent(int64 run_id);

#endif							/* JS_CHILD_H */
