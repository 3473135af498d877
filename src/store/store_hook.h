/*-------------------------------------------------------------------------
 *
 * store_hook.h
 *		Rows of hook, hook_state and event_token.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STORE_HOOK_H
#define JS_STORE_HOOK_H

#include "common/sha2.h"
#include "shmem/shmem.h"
#include "store/store.h"

/* How a sender proves who it is. */
typedef enum JsHookVerify
{
	JS_HOOK_TOKEN,
	JS_HOOK_STANDARD,
	JS_HOOK_GITHUB,
	JS_HOOK_STRIPE,
	JS_HOOK_SLACK,
	JS_HOOK_HMAC,
	JS_HOOK_VERIFIES			/* how many there are */
} JsHookVerify;

#define JS_HOOK_NAME_MAX 63		/* bytes */

typedef struct JsTokenHash
{
	uint8		bytes[PG_SHA256_DIGEST_LENGTH];
} JsTokenHash;

typedef struct JsHook
{
	pg_uuid_t	id;
	char	   *name;
	Oid			owner;			/* perhaps nobody: see owner.h */
	bool		owner_is_stale;
	int64		job_id;			/* 0: it is an event */
	char	   *event;
	JsHookVerify verify;
	char	   *secret;			/* its name; NULL: a token of ours */
	char	   *header;			/* NULL: the usual one */
	char	   *dedupe;			/* NULL: as its senders do */
	int64		tolerance;		/* microseconds */
	ArrayType  *keep_headers;
	int32		max_size;		/* bytes */
	int32		rate;			/* in a second; 0: no limit */
	bool		has_token;
	JsTokenHash token;
	bool		has_old_token;
	JsTokenHash old_token;
	TimestampTz old_token_until;
} JsHook;

extern const char *js_hook_verify_name(JsHookVerify verify);
extern bool js_hook_verify_of(const char *name, JsHookVerify *verify);
extern void js_hook_lock_name(const char *name);
extern void js_hook_lock_id(const pg_uuid_t *id);
extern bool js_hook_find(const char *name, JsHook *hook);
extern bool js_hook_owner(const pg_uuid_t *id, Oid *owner);
extern void js_hook_insert(const JsHook *hook, TimestampTz now);
extern void js_hook_set_tokens(const JsHook *hook, TimestampTz now);
extern void js_hook_delete(const JsHook *hook);
extern void js_hooks_follow_roles(void);
extern void js_hooks_adopt(JsOwnerFilter may_adopt);
typedef void (*JsHookVisitor) (const JsHook *hook, void *arg);

extern void js_hooks_visit(JsHookVisitor visit, void *arg);

extern void js_hook_state_read(const pg_uuid_t *id, JsHookTotals *totals);
extern void js_hook_state_write(const pg_uuid_t *id, const JsHookTotals *totals);
extern void js_hook_states_forget(void);

/* A token that sends an event, once. */
typedef struct JsEventToken
{
	JsTokenHash hash;
	Oid			owner;			/* in whose name it is sent */
	char	   *name;
	int64		run_id;
	TimestampTz expires_at;
} JsEventToken;

extern void js_event_token_insert(const JsEventToken *token, TimestampTz now);
extern bool js_event_token_find(JsEventToken *token);
extern bool js_event_token_take(JsEventToken *token);
extern void js_event_tokens_expire(TimestampTz until, int limit);

#endif							/* JS_STORE_HOOK_H */
