/*-------------------------------------------------------------------------
 *
 * http_sign.h
 *		What identifies a request, and what proves whom it is from.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_SIGN_H
#define JS_HTTP_SIGN_H

#include "http_request.h"

/* In one secret. */
#define JS_MAX_SIGNING_KEYS 8

extern char *js_request_id(const JsHttpSource *source);
extern char *js_request_traceparent(const JsHttpSource *source);
extern char *js_webhook_signature(const char *keys, const char *id, int64 timestamp,
								  const char *body, size_t size);

#endif							/* JS_HTTP_SIGN_H */
