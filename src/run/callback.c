/*-------------------------------------------------------------------------
 *
 * callback.c
 *		Functions that are called when a run has ended.
 *
 * If a job, or a run's own request, names a function in on_success or
 * on_failure, the process that records the end of the run queues another run in
 * the same transaction.  That run belongs to the same job, but has the function
 * instead of what the job executes, and the outcome as arguments.  A worker of
 * the owner executes it, and it is retried like any handler.  So the function is
 * called for each run that has ended, whatever crashes, and its effects happen
 * once.
 *
 * If the job gets another owner meanwhile, the scheduler cancels the run.
 *
 * Such a run does not count among the runs of its job: slots do not wait for
 * it, and its end changes neither the job's state nor its statistics.  It has
 * no callbacks of its own.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/base64.h"
#include "http/http_request.h"
#include "run/callback.h"
#include "run/queue.h"
#include "store/store_names.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#define MAX_VALUE (64 * 1024 * 1024)

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

static void
push_key(JsonbParseState **state, const char *key)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = (char *) key;
	v.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &v);
}

/* NULL: it is not there. */
static void
push_text(JsonbParseState **state, const char *key, const char *text)
{
	JsonbValue	v = {.type = jbvString};

	if (text == NULL)
		return;
	push_key(state, key);
	v.val.string.val = (char *) text;

	v.val.string.len = strlen(text);
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_number(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue	v = {.type = jbvNumeric};

	push_key(state, key);
	v.val.numeric = DatumGetNumeric(DirectFunctionCall1(int8_numeric, Int64GetDatum(number)));
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_jsonb(JsonbParseState **state, const char *key, Jsonb *json)
{
	JsonbValue	v = {.type = jbvBinary};

	if (json == NULL)
		return;
	push_key(state, key);
	v.val.binary.data = &json->root;
	v.val.binary.len = VARSIZE_ANY_EXHDR(json);
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

static char *
base64(const bytea *bytes)
{
	int			length = VARSIZE_ANY_EXHDR(bytes);
	int			room = pg_b64_enc_len(length) + 1;
	char	   *text = palloc(room);
	int			written = pg_b64_encode((const void *) VARDATA_ANY(bytes), length, text, room - 1);

	if (written < 0)
		elog(ERROR, "could not encode a response");
	text[written] = '\0';
	return text;
}

static void
push_response(JsonbParseState **state, const JsResponse *response)
{
	JsonbValue	v = {.type = jbvBool};

	if (response->status != 0)
		push_number(state, "http_status", response->status);
	push_jsonb(state, "headers", response->headers);
	push_text(state, "body", response->body);
	if (response->body_bytes != NULL)
		push_text(state, "body_base64", base64(response->body_bytes));
	if (!response->truncated)
		return;
	push_key(state, "truncated");
	v.val.boolean = true;
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

/* All together have less than an object can have (256 MB); what is larger is left out. */
static Jsonb *
moderate(Jsonb *json)
{
	return json != NULL && VARSIZE(json) > MAX_VALUE ? NULL : json;
}

static Jsonb *
arguments(const JsEnding *ending)
{
	const JsJob *job = ending->job;
	const JsRun *run = ending->run;
	const JsOutcome *outcome = ending->outcome;
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_number(&state, "run_id", run->run_id);
	push_text(&state, "job", job->name);
	push_number(&state, "attempt", run->attempt);
	push_text(&state, "status", js_status_name(outcome->status));
	push_text(&state, "reason", outcome->reason);
	push_text(&state, "sqlstate", outcome->sqlstate);
	push_text(&state, "error", outcome->error);
	push_jsonb(&state, "result", moderate(outcome->result));
	if (ending->response != NULL)
		push_response(&state, ending->response);
	push_jsonb(&state, "args", moderate(js_run_args(job->args, run->args)));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* ------------------------------------------------------------------------
 * Runs
 * ------------------------------------------------------------------------
 */

/*
 * Who wants to know; a run's own request may leave it to its job.  The owner is
 * that of what names the function: the run may be older than its job's owner.
 */
static char *
function_for(const JsEnding *ending, Oid *owner)
{
	const JsJob *job = ending->job;
	const JsRun *run = ending->run;
	bool		success = ending->outcome->status == JS_SUCCEEDED;
	char	   *function = NULL;

	if (run->handler != NULL)
		return NULL;
	*owner = run->owner;
	if (run->request != NULL)
		function = js_http_text(run->request, success ? "on_success" : "on_failure");
	if (function != NULL)
		return function;
	*owner = job->owner;
	return success ? job->on_success : job->on_failure;
}

/* Whether anybody may be told; who cancels a run knows that it has ended. */
bool
js_callback_tells(const JsOutcome *outcome)
{
	return outcome->status == JS_SUCCEEDED || outcome->status == JS_FAILED ||
		outcome->status == JS_TIMED_OUT || outcome->status == JS_LOST;
}

/* That the owner's transaction is read only applies to his statements and not to us. */
static void
queue_past_read_only(JsRun *run)
{
	bool		read_only = XactReadOnly;

	XactReadOnly = false;
	(void) js_queue_run(run);
	XactReadOnly = read_only;
}

/* Queues the function, if there is one, that is to be told of a run's end. */
void
js_callback_queue(const JsEnding *ending)
{
	const JsJob *job = ending->job;
	JsRun		run;
	char	   *function;
	Oid			owner;

	if (job == NULL || ending->next != NULL || !js_callback_tells(ending->outcome) ||
		(function = function_for(ending, &owner)) == NULL)
		return;
	js_queue_prepare(&run, job, JS_SOURCE_CALLBACK);
	run.owner = owner;
	run.priority = ending->run->priority;
	run.args = arguments(ending);
	run.handler = function;
	run.traceparent = ending->run->traceparent;
	queue_past_read_only(&run);
}
