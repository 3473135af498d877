/*-------------------------------------------------------------------------
 *
 * callback.c
 *		Functions that are called when a request has ended.
 *
 * If a request's definition names a function in on_success or on_failure, the
 * process that records the end of its run queues another run in the same
 * transaction.  That run belongs to the same job, but has the function instead
 * of the request, and the response as arguments.  A worker of the owner
 * executes it, and it is retried like any handler.  So the function is called
 * for each run that has ended, whatever crashes, and its effects happen once.
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

#include "base/json.h"
#include "http/http_text.h"
#include "run/callback.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "store/store_names.h"
#include "utils/timestamp.h"

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

static void
push_response(JsonbParseState **state, const JsResponse *response)
{
	JsonbValue	yes = {.type = jbvBool,.val.boolean = true};

	if (response->status != 0)
		js_json_push_number(state, "http_status", response->status);
	js_json_push_jsonb(state, "headers", response->headers);
	js_json_push_text(state, "body", response->body);
	if (response->body_bytes != NULL)
		js_json_push_text(state, "body_base64", js_base64(VARDATA_ANY(response->body_bytes),
														  VARSIZE_ANY_EXHDR(response->body_bytes)));
	if (response->truncated)
		js_json_push(state, "truncated", &yes);
}

static Jsonb *
arguments(const JsEnding *ending)
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
	js_json_push_text(&state, "error", outcome->error);
	if (ending->response != NULL)
		push_response(&state, ending->response);
	js_json_push_jsonb(&state, "args", js_run_args(job->args, run->args));
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
	const char *name = ending->outcome->status == JS_SUCCEEDED ? "on_success" : "on_failure";
	JsHttpPlace place;
	Jsonb	   *definition = js_http_definition(job, ending->run, &place);
	char	   *function = definition == NULL ? NULL : js_http_text(definition, name);

	*owner = place == JS_HTTP_OF_RUN ? ending->run->owner : job->owner;
	if (function == NULL && definition != NULL && place == JS_HTTP_OF_RUN && job->request != NULL)
	{
		function = js_http_text(job->request, name);
		*owner = job->owner;
	}
	return function;
}

/* Whether anybody may be told; who cancels a run knows that it has ended. */
bool
js_callback_tells(const JsOutcome *outcome)
{
	return outcome->status == JS_SUCCEEDED || outcome->status == JS_FAILED ||
		outcome->status == JS_TIMED_OUT || outcome->status == JS_LOST;
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
	(void) js_queue_run(&run);
}
