/*-------------------------------------------------------------------------
 *
 * http_job.h
 *		Functions that define HTTP requests, and queue them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_H
#define JS_HTTP_H

#include "fmgr.h"
#include "http/http_request.h"

/* The job that requests belong to which were made without one. */
#define JS_HTTP_JOB "http"

/* Why the row of a webhook was left out; what it had is nowhere. */
#define JS_UNSENDABLE "unsendable"

/* How long an attempt may take if nobody says otherwise, and at most. */
#define JS_HTTP_TIMEOUT (30 * USECS_PER_SEC)
#define JS_HTTP_MAX_TIMEOUT USECS_PER_DAY

extern bool js_http_may_request(Oid role);
extern void js_http_check_may_request(Oid role);
extern void js_http_prepare_run(JsRun *run, const JsJob *job, Jsonb *request, ArrayType *templates);
extern bool js_http_job_is_bare(const JsJob *job);
extern const char *js_http_bare_hint(const JsJob *job);
extern ArrayType *js_http_keys(const JsJob *job, ArrayType *templates);
extern Jsonb *js_http_definition(const JsJob *job, const JsRun *run, JsHttpPlace *place);
extern void js_http_job(Oid owner, JsJob *job);
extern void js_http_job_make(Oid owner, JsJob *job);
extern int64 js_http_job_settle(Oid owner);

#endif							/* JS_HTTP_H */
