/*-------------------------------------------------------------------------
 *
 * channel.h
 *		Channels: what they are, and what their messages become.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CHANNEL_H
#define JS_CHANNEL_H

#include "store/store.h"

/* The job of a channel, whose name no other job can have. */
#define JS_CHANNEL_PREFIX "channel:"

/* In the definition of its requests: the kind.  No user can give it. */
#define JS_CHANNEL_KIND "channel"

/* Likewise: whom mail is to go to, of a job all addresses, of a run one. */
#define JS_CHANNEL_TO "to"

#define JS_CHANNEL_NAME_MAX 63	/* bytes; NOTIFY takes no more */
#define JS_CHANNEL_MAX_ADDRESSES 50
#define JS_MAX_ADDRESS 254		/* bytes (RFC 5321 4.5.3.1.3) */

/* Keys of this class limit how often a Slack channel gets a message. */
#define JS_SLACK_CLASS "slack_channel"
#define JS_SLACK_BURST 3

typedef enum JsChannelKind
{
	JS_CHANNEL_NONE,			/* it is none */
	JS_CHANNEL_SLACK,
	JS_CHANNEL_WEBHOOK,
	JS_CHANNEL_EMAIL,
	JS_CHANNEL_NOTIFY,
	JS_CHANNEL_HANDLER
} JsChannelKind;

extern const char *js_channel_kind_name(JsChannelKind kind);
extern JsChannelKind js_channel_kind_named(const char *name);
extern JsChannelKind js_channel_request_kind(Jsonb *definition);
extern JsChannelKind js_channel_kind(const JsJob *job);
extern bool js_job_is_channel(const JsJob *head);
extern bool js_channel_name_is_fit(const char *name);
extern const char *js_address_problem(const char *address);
extern List *js_channel_addresses(Jsonb *definition);

/* What is sent (channel_body.c) */
extern Jsonb *js_channel_args(JsChannelKind kind, Jsonb *args);
extern Jsonb *js_channel_body(JsChannelKind kind, Jsonb *args);
extern char *js_channel_notice(Jsonb *args);
extern char *js_channel_message_id(Jsonb *definition, Jsonb *args);
extern const char *js_channel_refusal(int status, const char *body, size_t size);

#endif							/* JS_CHANNEL_H */
