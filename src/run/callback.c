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
 * no callbacks of its own.  Nor has a batch: the ends of its members are told.  Of a
 * step with for_each that is told of the step, once, and not of its elements.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/json.h"
#include "guc.h"
#include "http/http_request.h"
#include "http/http_text.h"
#include "run/callback.h"
#include "run/queue.h"
#include "store/store_names.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Those that are left out first have the highest numbers. */
#define PART_RESPONSE 1
#define PART_RESULT 2
#define PART_ARGS 4

/* What is nested deeper is left out. */
#define MAX_DEPTH 1000

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

/* What was answered, in an object; status: what its status is called there. */
void
js_callback_push_response(JsonbParseState **state, const char *status, const JsResponse *response)
{
	JsonbValue	yes = {.type = jbvBool,.val.boolean = true};

	if (response->status != 0)
		js_json_push_number(state, status, response->status);
	js_json_push_jsonb(state, "headers", response->headers);
	js_json_push_text(state, "body", response->body);
	if (response->body_bytes != NULL)
		js_json_push_text(state, "body_base64", js_base64(VARDATA_ANY(response->body_bytes),
														  VARSIZE_ANY_EXHDR(response->body_bytes)));
	if (response->truncated)
		js_json_push(state, "truncated", &yes);
}

/*
 * Whether it may not fit into another object: the end of a run must be recorded,
 * and the scheduler has more on its stack than who gave the value.
 */
static bool
is_deep(Jsonb *json)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	int			depth = 0;

	if (json == NULL)
		return false;
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_ARRAY || token == WJB_BEGIN_OBJECT)
			depth++;
		else if (token == WJB_END_ARRAY || token == WJB_END_OBJECT)
			depth--;
		if (depth > MAX_DEPTH)
			return true;
	}
	return false;
}

static Jsonb *
arguments_with(const JsEnding *ending, int parts)
{
	const JsJob *job = ending->job;
	const JsRun *run = ending->run;
	const JsOutcome *outcome = ending->outcome;
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_number(&state, "run_id", run->run_id);
	js_json_push_text(&state, "job", job->name);
	js_json_push_number(&state, "attempt", run->attempt);
	js_json_push_text(&state, "status", js_status_name(outcome->status));
	js_json_push_text(&state, "reason", outcome->reason);
	js_json_push_text(&state, "sqlstate", outcome->sqlstate);
	js_json_push_text(&state, "error", outcome->error);
	if ((parts & PART_RESULT) && !is_deep(outcome->result))
		js_json_push_jsonb(&state, "result", outcome->result);
	if (ending->response != NULL && (parts & PART_RESPONSE))
		js_callback_push_response(&state, "http_status", ending->response);
	if ((parts & PART_ARGS) && !is_deep(job->args) && !is_deep(run->args))
		js_json_push_jsonb(&state, "args", js_run_args(job->args, run->args));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The args are left out first if all is more than a run may have, then the result. */
static Jsonb *
arguments(const JsEnding *ending)
{
	int			parts = PART_ARGS | PART_RESULT | PART_RESPONSE;
	Jsonb	   *args;

	for (;;)
	{
		args = arguments_with(ending, parts);
		if (parts == 0 || VARSIZE(args) <= (Size) js_guc_max_args_size * 1024)
			return args;
		parts >>= 1;
	}
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

	if (run->handler != NULL || run->source == JS_SOURCE_BATCH ||
		(run->source == JS_SOURCE_ITEM && job->workflow_id != 0))
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

/* Whether some function is to be told of this end. */
bool
js_callback_is_due(const JsEnding *ending)
{
	Oid			owner;

	return ending->job != NULL && ending->next == NULL && js_callback_tells(ending->outcome) &&
		function_for(ending, &owner) != NULL;
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

static void
queue_callback(const JsEnding *ending, Oid owner, char *function)
{
	JsRun		run;

	js_queue_prepare(&run, ending->job, JS_SOURCE_CALLBACK);
	run.owner = owner;
	run.depth = ending->run->depth; /* it may change tables as that did */
	run.priority = ending->run->priority;
	run.args = arguments(ending);
	run.handler = function;
	run.traceparent = ending->run->traceparent;
	queue_past_read_only(&run);
}

/*
 * Queues the function, if there is one, that is to be told of a run's end.  Its
 * arguments can take ten times their size while they are made, and many runs
 * may end together.
 */
void
js_callback_queue(const JsEnding *ending)
{
	MemoryContext context;
	MemoryContext outer;
	char	   *function;
	Oid			owner;

	if (ending->job == NULL || ending->next != NULL || !js_callback_tells(ending->outcome) ||
		(function = function_for(ending, &owner)) == NULL)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "jobsched callback", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(context);
	queue_callback(ending, owner, function);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
}
