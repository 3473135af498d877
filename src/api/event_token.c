/*-------------------------------------------------------------------------
 *
 * event_token.c
 *		event_token(), receive_event(): one answer to one run, by a link.
 *
 * A token stands for: this event, to this run, once, until then.  Whoever may send
 * the event can make one, and whoever has it can use it, whatever role he calls
 * as; it is sent in the name of who made it, who needs the rights on the run then
 * too.  A token that is used is deleted in the same transaction: an answer that is
 * rolled back can be given again, and of two at the same time one is refused.
 *
 * What is refused is so as by a hook (hook_count.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/access.h"
#include "api/event.h"
#include "api/hide.h"
#include "api/hook_count.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "base/sqlstate.h"
#include "fmgr.h"
#include "http/hook_verify.h"
#include "miscadmin.h"
#include "shmem/clock.h"
#include "store/bounds.h"
#include "store/owner.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_event_token);
PG_FUNCTION_INFO_V1(jobsched_receive_event);

#define MAX_EXPIRES_DAYS 366
#define EXPIRES_US (7 * USECS_PER_DAY)
#define KEEP_US (7 * USECS_PER_DAY)

static int64
expires_argument(FunctionCallInfo fcinfo, int n)
{
	int64		us = js_span_argument(fcinfo, n, "expires", EXPIRES_US);

	if (us == 0 || us > MAX_EXPIRES_DAYS * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid expires \"%s\"",
						DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(n)))),
				 errhint("It is longer than zero, and %d days at most.", MAX_EXPIRES_DAYS)));
	return us;
}

/* name, run_id, expires */
Datum
jobsched_event_token(PG_FUNCTION_ARGS)
{
	TimestampTz now = js_clock_now();
	JsEventToken token = {.owner = GetUserId()};
	JsEvent		event;
	char	   *text;

	js_check_may_write("event_token()");
	token.name = js_required_text(fcinfo, 0, "name");
	js_event_check_name(token.name);
	if (PG_ARGISNULL(1))
		js_refuse_null("run_id");
	token.run_id = PG_GETARG_INT64(1);
	token.expires_at = now + expires_argument(fcinfo, 2);
	/* What the same command has queued counts. */
	CommandCounterIncrement();
	if (!js_event_address(GetUserId(), token.run_id, &event))
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("run " INT64_FORMAT " has ended", token.run_id)));
	text = js_token_make(&token.hash);
	js_event_token_insert(&token, now);
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

pg_noreturn static void
refuse(const char *reason)
{
	static const pg_uuid_t no_hook = {{0}};

	js_hook_refuse(&no_hook, InvalidOid, "a token of an event", reason);
}

/* 0: the run has ended. */
static int64
send_event(JsEventToken *token, Jsonb *payload, TimestampTz now)
{
	JsEvent		event = {.name = token->name,.payload = payload,.sent_at = now,.expires_at = now + KEEP_US};

	if (js_role_name(token->owner) == NULL)
		refuse("its owner has been dropped");
	js_bounds_check_payload(payload);
	if (!js_event_address(token->owner, token->run_id, &event))
		return 0;
	js_event_check_room(event.owner);
	if (!js_event_token_take(token))
		refuse("it has been used");
	js_event_send(&event);
	return event.event_id;
}

static int64
receive_event(FunctionCallInfo fcinfo)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz now = js_clock_now();
	Jsonb	   *payload = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	char	   *text = js_text_argument(fcinfo, 0);
	ErrorData  *volatile error = NULL;
	volatile int64 id = 0;
	JsEventToken token;

	js_token_hash(text ? text : "", &token.hash);
	if (!js_event_token_find(&token))
		refuse("there is no such token, or it has been used");
	if (token.expires_at <= now)
		refuse("it has expired");
	PG_TRY();
	{
		id = send_event(&token, payload, now);
	}
	PG_CATCH();
	{
		if (geterrcode() == JS_HOOK_REFUSED)
			PG_RE_THROW();
		error = js_hook_caught(context);
	}
	PG_END_TRY();
	if (error != NULL)
		refuse(error->message);
	return id;
}

/* As jobsched_receive(). */
Datum
jobsched_receive_event(PG_FUNCTION_ARGS)
{
	ErrorContextCallback *context = error_context_stack;
	int64		id;

	js_hide_statement("SELECT jobsched.receive_event(...)");
	error_context_stack = NULL;
	js_check_may_write("receive_event()");
	id = receive_event(fcinfo);
	error_context_stack = context;
	if (id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(id);
}
