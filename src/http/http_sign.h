/*-------------------------------------------------------------------------
 *
 * http_sign.h
 *		What identifies a request, and what proves its sender.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_SIGN_H
#define JS_HTTP_SIGN_H

#include "http/http_request.h"

/* In one secret. */
#define JS_MAX_SIGNING_KEYS 8

#define JS_SIGNING_KEY_MIN 24	/* bytes, as Standard Webhooks has it */
#define JS_SIGNING_KEY_MAX 64

/* What a secret to sign with is. */
#define JS_SIGNING_HINT \
	"It is whsec_ and the base64 of " CppAsString2(JS_SIGNING_KEY_MIN) " to " \
	CppAsString2(JS_SIGNING_KEY_MAX) " bytes, as it is or behind \"v1,\"; or any other text without spaces; or up to " \
	CppAsString2(JS_MAX_SIGNING_KEYS) " of these with spaces between them."

typedef struct JsSigningKey
{
	uint8	   *bytes;
	int			size;
} JsSigningKey;

extern char *js_request_id(const JsHttpSource *source);
extern char *js_token_digest(const pg_uuid_t *token, const char *of);
extern char *js_request_traceparent(const JsHttpSource *source);
extern const char *js_signing_problem(const char *secret);
extern void js_hmac(const JsSigningKey *key, const char *prefix, const char *body, size_t size,
					uint8 *result);
extern List *js_signing_keys(const char *secret);
extern char *js_webhook_signature(const char *keys, const char *id, int64 timestamp,
								  const char *body, size_t size);

#endif							/* JS_HTTP_SIGN_H */
