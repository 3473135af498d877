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

/* One that a run cannot wait for. */
typedef struct JsBadParent
{
	const int64 *run_id;		/* NULL: there is none */
	bool		is_stranger;	/* it exists, but may wait for the run's own
								 * parent */
} JsBadParent;

extern void js_after_arguments(FunctionCallInfo fcinfo, int n, JsRun *run);
extern bool js_after_names(const JsRun *run, int64 parent);
extern JsBadParent js_after_check(const JsRun *run);
extern void js_after_refuse(JsBadParent bad);

#endif							/* JS_AFTER_H */
