/*-------------------------------------------------------------------------
 *
 * hook_verify.h
 *		Whether a request comes from whom it says.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HOOK_VERIFY_H
#define JS_HOOK_VERIFY_H

#include "store/store_hook.h"

/* What has come. */
typedef struct JsHookMessage
{
	const char *body;			/* in UTF-8 */
	size_t		size;
	Jsonb	   *headers;		/* NULL: there are none */
	const char *token;			/* NULL: it is in a header, if anywhere */
	TimestampTz now;
} JsHookMessage;

extern char *js_hook_header(Jsonb *headers, const char *name);
extern const char *js_hook_id_header(JsHookVerify verify);
extern const char *js_hook_signature_header(JsHookVerify verify);
extern bool js_hook_has_timestamp(JsHookVerify verify);
extern void js_token_hash(const char *token, JsTokenHash *hash);
extern char *js_token_make(JsTokenHash *hash);
extern const char *js_hook_verify(const JsHook *hook, const char *secret, const JsHookMessage *message);

#endif							/* JS_HOOK_VERIFY_H */
