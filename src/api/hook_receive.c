/*-------------------------------------------------------------------------
 *
 * hook_receive.c
 *		receive(): a request from outside becomes a run, or an event.
 *
 * WHO CALLS
 *
 * Anybody: a gateway's role, PostgREST's anonymous one, a function of somebody's.
 * Nothing of the session counts, neither its role nor its settings; nothing of the
 * request but what is signed.  What happens does so as the hook's owner: the secret
 * is read with his rights, the run is of a job on which he has the rights now.  As
 * our tables are written row by row, no right of the caller is needed, and no user
 * is changed but to read a vault.
 *
 * WHAT HAPPENS
 *
 *	1. The request is judged by itself: what is too large for all hooks.
 *	2. The hook and its secret are looked up; one that is not there is a hook that
 *	   nothing passes, with which the same is done (hook_verify.c).
 *	3. It is verified, on the bytes.  Only then is the body parsed.
 *	4. It takes its room of the rate.  What is not genuine takes none: else anybody
 *	   could keep a sender out.
 *	5. The run is queued, with what tells a repeat as its idempotency key; so a repeat
 *	   gets the id of the first, also where both come at the same time.
 *
 * All of that is in the caller's transaction: a crash before its commit leaves
 * nothing, and the sender sends again; after it there is the run, and the sender
 * that sends again gets its id.
 *
 * Whatever goes wrong is the same error (hook_count.c), also what goes wrong after
 * it has been found genuine, for that is what an error tells.  Only that the
 * transaction cannot write is told before anything is looked at.
 *
 * BYTES
 *
 * A sender signs bytes, and we have a text, which the server may have converted.
 * Bodies of webhooks are UTF-8, so the signature is that of the text in UTF-8,
 * whatever the encodings of client and database.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "api/access.h"
#include "api/event.h"
#include "api/hide.h"
#include "api/hook.h"
#include "api/hook_count.h"
#include "api/idempotency.h"
#include "api/trigger.h"
#include "base/arguments.h"
#include "base/guard.h"
#include "base/json.h"
#include "base/sqlstate.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "http/hook_verify.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "run/queue.h"
#include "shmem/clock.h"
#include "store/bounds.h"
#include "store/owner.h"
#include "store/store_secret.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonpath.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_receive);

/* Bytes at most, of all headers together and of a token. */
#define MAX_HEADERS (64 * 1024)
#define MAX_TOKEN 7000

/* How long a repeat is known; of an event, how long it is kept. */
#define DEDUPE_US (7 * USECS_PER_DAY)

/* Longer ones are a hash of themselves. */
#define MAX_ID 100

/* A request, and what it is for. */
typedef struct Reception
{
	JsHook		hook;
	bool		known;			/* else the hook is one that nothing passes */
	text	   *body;			/* in the encoding of the database */
	JsHookMessage message;
} Reception;

/* ------------------------------------------------------------------------
 * What has come
 * ------------------------------------------------------------------------
 */

pg_noreturn static void
refuse(const Reception *in, const char *reason)
{
	js_hook_refuse(&in->hook.id, in->hook.owner, in->known ? psprintf("a request to hook \"%s\"", in->hook.name) :
				   "a request to a hook", reason);
}

/* Nothing but its size is looked at where that is too large. */
static bool
is_too_large(FunctionCallInfo fcinfo, int n, Size most)
{
	return !PG_ARGISNULL(n) && toast_raw_datum_size(PG_GETARG_DATUM(n)) - VARHDRSZ > most;
}

static void
read_request(FunctionCallInfo fcinfo, Reception *in)
{
	memset(in, 0, sizeof(Reception));
	in->hook.verify = JS_HOOK_GITHUB;
	if (PG_ARGISNULL(0) || is_too_large(fcinfo, 0, JS_HOOK_NAME_MAX) ||
		is_too_large(fcinfo, 1, JS_HOOK_MAX_BODY) || is_too_large(fcinfo, 2, MAX_HEADERS) ||
		is_too_large(fcinfo, 3, MAX_TOKEN))
		refuse(in, "it names no hook, or is too large for any");
	in->body = PG_ARGISNULL(1) ? cstring_to_text("") : PG_GETARG_TEXT_PP(1);
	in->message.body = pg_server_to_any(VARDATA_ANY(in->body), VARSIZE_ANY_EXHDR(in->body), PG_UTF8);
	in->message.size = in->message.body == VARDATA_ANY(in->body) ? VARSIZE_ANY_EXHDR(in->body) :
		strlen(in->message.body);
	in->message.headers = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	in->message.token = js_text_argument(fcinfo, 3);
	in->message.now = js_clock_now();
	in->known = js_hook_find(text_to_cstring(PG_GETARG_TEXT_PP(0)), &in->hook);
}

/*
 * The text of an error that concerns the transaction is the vault's all the same, and
 * whoever waits for a cancel, or for a retry, goes by the code.
 */
static ErrorData *
vault_error(MemoryContext context)
{
	int			code = geterrcode();

	if (!js_concerns_transaction(code))
		return js_hook_caught(context);
	MemoryContextSwitchTo(context);
	FlushErrorState();
	ereport(ERROR,
			(errcode(code),
			 errmsg("the secret of the hook could not be read"),
			 errhidestmt(true)));
}

/*
 * What a vault says of it may quote it: the code is enough.  It can raise the level of
 * what the client is told, and INFO has none: so meanwhile nothing is told.
 */
static char *
read_secret(const Reception *in)
{
	MemoryContext context = CurrentMemoryContext;
	CommandDest client = whereToSendOutput;
	char	   *volatile value = NULL;
	ErrorData  *volatile error = NULL;

	if (in->hook.secret == NULL)
		return js_secret_read(InvalidOid, "") == NULL ? NULL : NULL;	/* takes as long */
	if (js_role_name(in->hook.owner) == NULL)
		return NULL;
	PG_TRY();
	{
		whereToSendOutput = DestNone;
		value = js_hook_secret(in->hook.owner, in->hook.secret);
		whereToSendOutput = client;
	}
	PG_CATCH();
	{
		whereToSendOutput = client;
		error = vault_error(context);
	}
	PG_END_TRY();
	if (error != NULL)
		refuse(in, psprintf("its secret cannot be read (SQLSTATE %s)", js_sqlstate(error->sqlerrcode)));
	return value;
}

/* ------------------------------------------------------------------------
 * What it becomes
 * ------------------------------------------------------------------------
 */

static Jsonb *
json_string(const char *text, int length)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, text);
	value.val.string.len = length;
	return JsonbValueToJsonb(&value);
}

/*
 * NULL: it is none.  To see that first would be to go through all of them twice.  Like
 * xml_is_document() this needs no subtransaction: nothing is held, or has been changed,
 * where jsonb_in() fails.
 */
static Jsonb *
parse_json(const Reception *in, const char *string)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile json = NULL;

	PG_TRY();
	{
		json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(string)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION || js_json_is_valid(in->body))
			PG_RE_THROW();		/* it has a number out of range, for instance */
		FlushErrorState();
	}
	PG_END_TRY();
	return json;
}

/* JSON if it is that, null if it is empty, else a string. */
static Jsonb *
body_json(const Reception *in)
{
	char	   *body = text_to_cstring(in->body);
	Jsonb	   *json = parse_json(in, body[0] == '\0' ? "null" : body);

	return json == NULL ? json_string(body, strlen(body)) : json;
}

/* The headers that are wanted and there, as an object. */
static Jsonb *
kept_headers(const Reception *in)
{
	JsonbParseState *state = NULL;
	Datum	   *names;
	int			count = 0;

	if (in->hook.keep_headers != NULL)
		deconstruct_array(in->hook.keep_headers, TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &count);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < count; i++)
	{
		char	   *name = TextDatumGetCString(names[i]);

		js_json_push_text(&state, name, js_hook_header(in->message.headers, name));
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* {"hook": ..., "body": ..., "headers": {...}} */
static Jsonb *
run_args(const Reception *in, Jsonb *body)
{
	JsJsonMember members[] = {
		{"hook", json_string(in->hook.name, strlen(in->hook.name))},
		{"body", body},
		{"headers", kept_headers(in)}
	};

	return js_json_join(members, lengthof(members));
}

/* A scalar in the body; NULL: there is none. */
static char *
value_at(Jsonb *body, const char *path)
{
	LOCAL_FCINFO(call, 4);
	JsonbValue	value;
	Jsonb	   *found;

	InitFunctionCallInfoData(*call, NULL, 4, InvalidOid, NULL, NULL);
	call->args[0].value = JsonbPGetDatum(body);
	call->args[1].value = DirectFunctionCall1(jsonpath_in, CStringGetDatum(path));
	call->args[2].value = JsonbPGetDatum(js_json_empty());
	call->args[3].value = BoolGetDatum(true);
	for (int i = 0; i < 4; i++)
		call->args[i].isnull = false;
	found = (Jsonb *) DatumGetPointer(jsonb_path_query_first(call));
	if (call->isnull || !JsonbExtractScalar(&found->root, &value))
		return NULL;
	if (value.type == jbvString)
		return pnstrdup(value.val.string.val, value.val.string.len);
	if (value.type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
	return NULL;
}

/*
 * What tells a repeat; NULL: nothing does.  What a hook asks for has to be there, and
 * so has what its senders always have: who leaves it out wants to be taken for
 * another.
 */
static char *
repeat_id(const Reception *in, Jsonb *body)
{
	const JsHook *hook = &in->hook;
	const char *header = hook->dedupe ? hook->dedupe : js_hook_id_header(hook->verify);
	bool		is_needed = hook->dedupe != NULL || hook->verify != JS_HOOK_TOKEN;
	char	   *id;

	if (hook->dedupe == NULL && hook->verify == JS_HOOK_HMAC)
		return NULL;
	if (hook->dedupe == NULL && hook->verify == JS_HOOK_STRIPE)
		header = "$.id";
	id = header[0] == '$' ? value_at(body, header) : js_hook_header(in->message.headers, header);
	if (id != NULL && id[0] == '\0')
		id = NULL;
	if (id == NULL && is_needed)
		refuse(in, psprintf("it has no %s, by which a repeat is told", header));
	return id;
}

static void
make_idempotency(const Reception *in, Jsonb *body, JsIdempotency *idempotency)
{
	char	   *id = repeat_id(in, body);

	idempotency->key = NULL;
	idempotency->on_conflict = JS_CONFLICT_RETURN_EXISTING;
	idempotency->period = DEDUPE_US;
	if (id == NULL)
		return;
	if (strlen(id) > MAX_ID)
	{
		JsTokenHash hash;
		char		hex[2 * sizeof(hash) + 1];

		js_token_hash(id, &hash);
		hex[hex_encode((const char *) hash.bytes, sizeof(hash), hex)] = '\0';
		id = psprintf("sha256:%s", hex);
	}
	idempotency->key = psprintf("hook:%s:%s", in->hook.name, id);
}

/* With the rights that the owner has now. */
static int64
queue_run(const Reception *in, Jsonb *body)
{
	JsIdempotency idempotency;
	JsKeySource source;
	JsRun		run;
	JsJob		job;

	if (!js_job_read(in->hook.job_id, &job) || job.dropped_at != DT_NOBEGIN)
		refuse(in, "its job has been dropped");
	if (!has_privs_of_role(in->hook.owner, job.owner))
		refuse(in, "its owner has no rights on the job any more");
	js_trigger_check(&job);
	make_idempotency(in, body, &idempotency);
	js_trigger_prepare(&job, NULL, &run, &source);
	run.traceparent = NULL;		/* of the caller's session */
	run.args = run_args(in, body);
	if (js_idempotency_admit(&idempotency, &run, false))
		js_trigger_queue(&source, &run);
	return run.run_id;
}

static int64
send_event(const Reception *in, Jsonb *body)
{
	JsEvent		event = {.owner = in->hook.owner,.name = in->hook.event,.payload = body};
	JsIdempotency idempotency;

	/* A key that belongs to no job is a role's, as that of its requests. */
	JsRun		stand_in = {.owner = in->hook.owner,.request = body};

	js_bounds_check_payload(body);
	make_idempotency(in, body, &idempotency);
	if (!js_idempotency_admit(&idempotency, &stand_in, false))
		return stand_in.run_id;
	js_event_check_room(event.owner);
	event.event_id = stand_in.run_id;
	event.sent_at = js_clock_now();
	event.expires_at = event.sent_at + DEDUPE_US;
	js_event_send(&event);
	return event.event_id;
}

/* It is genuine. */
static int64
accept(const Reception *in)
{
	Jsonb	   *body;
	int64		id;

	if (js_role_name(in->hook.owner) == NULL)
		refuse(in, "its owner has been dropped");
	if (in->message.size > in->hook.max_size)
		refuse(in, psprintf("it has %zu bytes, more than max_size", in->message.size));
	if (!js_hook_take_room(&in->hook.id, in->hook.owner, in->hook.rate))
		refuse(in, psprintf("more came than %d in a second", in->hook.rate));
	body = body_json(in);
	id = in->hook.event == NULL ? queue_run(in, body) : send_event(in, body);
	js_hook_will_be_accepted(&in->hook.id, in->hook.owner);
	return id;
}

/* ------------------------------------------------------------------------
 * receive()
 * ------------------------------------------------------------------------
 */

static int64
receive(FunctionCallInfo fcinfo)
{
	MemoryContext context = CurrentMemoryContext;
	volatile int64 id = 0;
	ErrorData  *volatile error = NULL;
	const char *reason;
	Reception	in;

	read_request(fcinfo, &in);
	reason = js_hook_verify(&in.hook, read_secret(&in), &in.message);
	if (!in.known)
		refuse(&in, "there is no such hook");
	if (reason != NULL)
		refuse(&in, reason);
	PG_TRY();
	{
		id = accept(&in);
	}
	PG_CATCH();
	{
		if (geterrcode() == JS_HOOK_REFUSED)
			PG_RE_THROW();
		error = js_hook_caught(context);
	}
	PG_END_TRY();
	if (error != NULL)
		refuse(&in, error->message);
	return id;
}

/* A body, and a token, are nothing to be shown; whoever catches an error gets his context back. */
Datum
jobsched_receive(PG_FUNCTION_ARGS)
{
	ErrorContextCallback *context = error_context_stack;
	int64		id;

	js_hide_statement("SELECT jobsched.receive(...)");
	error_context_stack = NULL;
	js_check_may_write("receive()");
	id = receive(fcinfo);
	error_context_stack = context;
	PG_RETURN_INT64(id);
}
