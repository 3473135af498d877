/*-------------------------------------------------------------------------
 *
 * retry.h
 *		Whether and when a failed attempt is followed by another.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_RETRY_H
#define JS_RETRY_H

#include "store/store.h"

/* What discard() raises. */
#define JS_ERRCODE_DISCARDED MAKE_SQLSTATE('J', 'S', '0', '0', '1')
#define JS_ERRCODE_REQUEST MAKE_SQLSTATE('J', 'S', '0', '0', '2')	/* JS_SQLSTATE_REQUEST */

/* The reason of an e-mail that its relay has refused. */
#define JS_SMTP_STATUS "smtp_status"

extern int32 js_retry_max_attempts(int32 given);
extern void js_retry_check_conditions(const char *parameter, ArrayType *conditions);
extern void js_retry_check_delays(ArrayType *delays);
extern int64 js_retry_delay(const JsJob *job, const JsRun *run, int32 nth);
extern bool js_retry_plan(const JsJob *job, const JsRun *run,
						  const JsOutcome *outcome, JsRun *next);
extern void js_retry_wait(JsRun *next, const char *reason, TimestampTz run_at);

#endif							/* JS_RETRY_H */
