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
#include "store.h"

#define JS_MAX_QUEUE_LIMIT 1000
#define JS_MAX_CONCURRENCY 10000
#define JS_MAX_PAUSE_AFTER 1000000

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

extern int	js_policy_read(FunctionCallInfo fcinfo, int n, JsSlotPolicy *policy);
extern void js_policy_complete(JsSlotPolicy *policy);
extern void js_policy_apply(JsJob *job, const JsSlotPolicy *policy);
extern bool js_policy_moves_slots(const JsJob *job, const JsSlotPolicy *policy);

extern const char *js_overlap_name(JsOverlap overlap);
extern JsOverlap js_overlap_of(const char *name);
extern const char *js_misfire_name(JsMisfire misfire);
extern JsMisfire js_misfire_of(const char *name);

#endif							/* JS_POLICY_H */
