/*-------------------------------------------------------------------------
 *
 * policy.h
 *		The policies of a job: names, bounds, arguments.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_POLICY_H
#define JS_POLICY_H

#include "fmgr.h"
#include "store/store.h"

/* What a caller has given of the policy for retries. */
typedef struct JsRetryPolicy
{
	int32		max_attempts;	/* -1: not given; 0: by what the run is */
	char	   *backoff;		/* NULL: not given */
	int64		backoff_base;	/* -1: not given */
	int64		backoff_max;
	double		backoff_jitter;
	ArrayType  *retry_delays;	/* NULL: not given; empty: none */
	ArrayType  *retry_on;
	ArrayType  *no_retry_on;
} JsRetryPolicy;

/* What a caller has given of the policies for slots; and the limits. */
typedef struct JsSlotPolicy
{
	char	   *overlap;		/* NULL: not given */
	int32		queue_limit;	/* -1: not given, as all that follow */
	char	   *misfire;
	int64		misfire_grace;
	bool		has_starts_at;
	TimestampTz starts_at;		/* DT_NOBEGIN: none */
	bool		has_ends_at;
	TimestampTz ends_at;		/* DT_NOBEGIN: none */
	int32		max_runs;
	int64		jitter;
	int32		pause_after_failures;
	int32		max_concurrency;
} JsSlotPolicy;

extern int	js_retry_policy_read(FunctionCallInfo fcinfo, int n, JsRetryPolicy *policy);
extern void js_retry_policy_complete(JsRetryPolicy *policy);
extern void js_retry_policy_apply(JsJob *job, const JsRetryPolicy *policy);

extern int	js_slot_policy_read(FunctionCallInfo fcinfo, int n, JsSlotPolicy *policy);
extern void js_slot_policy_complete(JsSlotPolicy *policy);
extern void js_slot_policy_apply(JsJob *job, const JsSlotPolicy *policy);
extern bool js_slot_policy_moves(const JsJob *job, const JsSlotPolicy *policy);

#endif							/* JS_POLICY_H */
