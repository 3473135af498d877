/*-------------------------------------------------------------------------
 *
 * idempotency.h
 *		What an idempotency key of trigger() means for the run.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_IDEMPOTENCY_H
#define JS_IDEMPOTENCY_H

#include "fmgr.h"
#include "store/store.h"

typedef enum JsOnConflict
{
	JS_CONFLICT_RETURN_EXISTING,
	JS_CONFLICT_ERROR,
	JS_CONFLICT_REPLACE,
	JS_CONFLICT_DEBOUNCE,
	JS_CONFLICT_THROTTLE
} JsOnConflict;

typedef struct JsIdempotency
{
	const char *key;			/* NULL: none */
	JsOnConflict on_conflict;
	int64		period;			/* microseconds */
} JsIdempotency;

extern const char *js_idempotency_key(const char *key);
extern JsOnConflict js_on_conflict(const char *name);
extern int64 js_idempotency_period(Interval *interval);
extern void js_idempotency_arguments(FunctionCallInfo fcinfo, int n, JsIdempotency *idempotency);
extern bool js_idempotency_admit(const JsIdempotency *idempotency, JsRun *run, bool run_at_given);

#endif							/* JS_IDEMPOTENCY_H */
