/*-------------------------------------------------------------------------
 *
 * channel.c
 *		Channels: what they are.
 *
 * DESIGN
 *
 * A channel is a way to tell somebody something: Slack, a webhook, mail, NOTIFY,
 * a function.
 *
 * A CHANNEL IS A JOB, AND A MESSAGE IS A RUN OF IT.  The job is its owner's and is
 * called "channel:NAME"; no other job can have such a name.  There is no table of
 * channels.  So owners, their new names and their end, dumps, copies and adopt(),
 * rights, pausing, retries, Retry-After, limits, history, dead letters and what a
 * crash leaves are those of jobs and runs, and cannot differ from these.  What makes
 * a job a channel:
 *
 *		slack, webhook	request: {"channel": KIND, "url": ..., ...}, as other requests
 *						are, but that its body is made of the message (channel_body.c)
 *		email			request: {"channel": "email", "to": [ADDRESS, ...]}; for each
 *						address a run with a request of its own,
 *						{"channel": "email", "to": ADDRESS}
 *		notify			request: {"channel": "notify"}; NOTIFY goes to the channel's
 *						name, sent by the HTTP process in the transaction that ends the
 *						run (http_record.c)
 *		handler			handler: a function, which gets the message as its args
 *
 * A MESSAGE is the args of the run (version 1; doc/alerts.md has all of it):
 *
 *		{"version": 1, "id": ..., "kind": "alert" | "reminder" | "test", "channel": ...,
 *		 "subject": "one line", "text": "lines", "items": [...], "more": 0, "count": 12}
 *
 * Whoever may trigger the job may send whatever he likes through it, and others'
 * texts are in messages anyway.  So nothing relies on what is in one: what is not as it
 * should be is left out or made harmless.
 *
 * DISABLED: a receiver that refuses a message for good (404, 410; 400 and 403 with a
 * word that says so) pauses the job as 410 does that of any other request
 * (sched_tally.c): job_state has the revision of the job that is paused, and why.
 * set_channel() makes another revision.
 *
 * KILL -9 and the like, where a message is:
 *
 *		queued by a session				there if and only if its transaction commits
 *		queued by the scheduler			likewise; with what else that step does
 *										(sched_channel.c)
 *		sent, but not recorded			the run is lost and tried again.  Its id, in
 *										Idempotency-Key and webhook-id, is the message's,
 *										and that is in the row: the same again
 *		NOTIFY							sent and recorded in one transaction: once
 *		refused, but not yet paused		found in history after the start, by its reason
 *										(sched_tally.c)
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/channel.h"
#include "http/http_definition.h"
#include "http/mail.h"

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

static const char *const kinds[] = {
	[JS_CHANNEL_SLACK] = "slack",[JS_CHANNEL_WEBHOOK] = "webhook",[JS_CHANNEL_EMAIL] = "email",
	[JS_CHANNEL_NOTIFY] = "notify",[JS_CHANNEL_HANDLER] = "handler"
};

const char *
js_channel_kind_name(JsChannelKind kind)
{
	return kinds[kind];
}

JsChannelKind
js_channel_kind_named(const char *name)
{
	for (int i = JS_CHANNEL_SLACK; name != NULL && i < lengthof(kinds); i++)
		if (strcmp(name, kinds[i]) == 0)
			return (JsChannelKind) i;
	return JS_CHANNEL_NONE;
}

/* Of a request, a job's or a run's; NULL: there is none. */
JsChannelKind
js_channel_request_kind(Jsonb *definition)
{
	return definition == NULL ? JS_CHANNEL_NONE :
		js_channel_kind_named(js_http_text(definition, JS_CHANNEL_KIND));
}

/* Of a job that has been read whole; one that runs by itself is some other that has the name. */
JsChannelKind
js_channel_kind(const JsJob *job)
{
	if (!js_job_is_channel(job) || job->schedule != NULL || job->nafter_jobs > 0)
		return JS_CHANNEL_NONE;
	return job->handler != NULL ? JS_CHANNEL_HANDLER : js_channel_request_kind(job->request);
}

bool
js_job_is_channel(const JsJob *head)
{
	return head->workflow_id == 0 &&
		strncmp(head->name, JS_CHANNEL_PREFIX, strlen(JS_CHANNEL_PREFIX)) == 0;
}

/* It is part of keys and is listened to, so it is plain. */
bool
js_channel_name_is_fit(const char *name)
{
	size_t		length = strlen(name);

	return length > 0 && length <= JS_CHANNEL_NAME_MAX && strspn(name, NAME_CHARACTERS) == length;
}

/* ------------------------------------------------------------------------
 * Addresses
 * ------------------------------------------------------------------------
 */

/* Those in a job's definition, of char *; whatever else somebody has written there is left out. */
List *
js_channel_addresses(Jsonb *definition)
{
	JsonbValue *to = js_definition_field(definition, JS_CHANNEL_TO);
	List	   *addresses = NIL;

	if (to == NULL || to->type != jbvBinary || !JsonContainerIsArray(to->val.binary.data))
		return NIL;
	for (uint32 i = 0; i < Min(JsonContainerSize(to->val.binary.data), JS_CHANNEL_MAX_ADDRESSES); i++)
	{
		JsonbValue *one = getIthJsonbValueFromContainer(to->val.binary.data, i);
		char	   *address = one->type == jbvString ?
			pnstrdup(one->val.string.val, one->val.string.len) : NULL;

		if (address != NULL && js_mail_address_problem(address) == NULL)
			addresses = lappend(addresses, address);
	}
	return addresses;
}
