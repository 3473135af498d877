/*-------------------------------------------------------------------------
 *
 * retry_parents.h
 *		The runs that a retried run had waited for.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_RETRY_PARENTS_H
#define JS_RETRY_PARENTS_H

#include "store/store.h"

extern void js_retry_take_parents(int64 run_id, const JsJob *job, JsRun *run);

#endif							/* JS_RETRY_PARENTS_H */
