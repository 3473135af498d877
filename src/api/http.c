/*-------------------------------------------------------------------------
 *
 * http.c
 *		http_request(), which queues a request.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/after.h"
#include "api/child.h"
#include "api/event.h"
#include "api/http.h"
#include "api/idempotency.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "http/limit_keys.h"
#include "miscadmin.h"
#include "run/execsql.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "run/retry.h"
#include "store/bounds.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_http_request);

static Jsonb *
jsonb_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P_COPY(n);
}

void
js_http_nothing_given(JsHttpDefinition *given)
{
	memset(given, 0, sizeof(JsHttpDefinition));
	given->connect_timeout = given->max_redirects = -1;
}

bool
js_http_is_anything_given(const JsHttpDefinition *given)
{
	JsHttpDefinition nothing;

	js_http_nothing_given(&nothing);
	return memcmp(given, &nothing, sizeof(nothing)) != 0;
}

/*
 * What create_job() and alter_job() have of a request, in the order of their
 * arguments; http_request() has those from sign_with on in the same order.
 */
#define PARAMETER(name) #name, offsetof(JsHttpDefinition, name)

const JsHttpParameter js_http_parameters[] = {
	{PARAMETER(url), JS_PARAMETER_TEXT},
	{PARAMETER(method), JS_PARAMETER_TEXT},
	{PARAMETER(headers), JS_PARAMETER_JSON},
	{PARAMETER(body), JS_PARAMETER_JSON},
	{PARAMETER(body_text), JS_PARAMETER_TEXT},
	{PARAMETER(sign_with), JS_PARAMETER_TEXT},
	{PARAMETER(connect_timeout), JS_PARAMETER_SPAN},
	{PARAMETER(success_codes), JS_PARAMETER_CONDITIONS},
	{PARAMETER(max_redirects), JS_PARAMETER_NUMBER},
	{NULL}
};

#define FIRST_COMMON 5

/* Takes a value that is given. */
void
js_http_argument_take(const JsHttpParameter *parameter, Datum value, JsHttpDefinition *given)
{
	void	   *member = (char *) given + parameter->offset;

	switch (parameter->kind)
	{
		case JS_PARAMETER_TEXT:
			*(char **) member = TextDatumGetCString(value);
			break;
		case JS_PARAMETER_JSON:
			*(Jsonb **) member = DatumGetJsonbPCopy(value);
			break;
		case JS_PARAMETER_SPAN:
			*(int64 *) member = js_interval_us(parameter->name, DatumGetIntervalP(value));
			break;
		case JS_PARAMETER_NUMBER:
			if (DatumGetInt32(value) < 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("%s \"%d\" is out of range", parameter->name, DatumGetInt32(value)),
						 errhint("0 means that none is followed.")));
			*(int *) member = DatumGetInt32(value);
			break;
		default:				/* a list */
			*(ArrayType **) member = DatumGetArrayTypePCopy(value);
			break;
	}
}

/* Those from the first on; returns the number of the argument that follows. */
static int
take_arguments(FunctionCallInfo fcinfo, int n, int first, JsHttpDefinition *given)
{
	for (const JsHttpParameter *parameter = &js_http_parameters[first]; parameter->name != NULL; parameter++)
	{
		if (!PG_ARGISNULL(n))
			js_http_argument_take(parameter, PG_GETARG_DATUM(n), given);
		n++;
	}
	return n;
}

/*
 * The arguments of create_job() and alter_job() from url on; returns the number
 * of the one that follows.  any: whether one is given.
 */
int
js_http_arguments(FunctionCallInfo fcinfo, int n, JsHttpDefinition *given, bool *any)
{
	js_http_nothing_given(given);
	n = take_arguments(fcinfo, n, 0, given);
	*any = js_http_is_anything_given(given);
	return n;
}

/* A place is not for ever. */
void
js_http_check_timeout(int64 timeout)
{
	if (timeout > JS_HTTP_MAX_TIMEOUT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid timeout \"" INT64_FORMAT " s\" of an HTTP request",
						timeout / USECS_PER_SEC),
				 errhint("It is at most a day.")));
}

/* An empty name: nobody is to be told. */
static void
check_callback(const char *parameter, const char *function)
{
	if (function == NULL || function[0] == '\0')
		return;
	js_check_may_be_told(GetUserId(), parameter);
	(void) js_handler_lookup(function);
}

/* What is to be sent; returns the number of the argument that follows. */
int
js_http_take_request(FunctionCallInfo fcinfo, const JsHttpArguments *at, JsHttpDefinition *given)
{
	js_http_nothing_given(given);
	given->method = js_required_text(fcinfo, at->method, "method");
	given->url = js_required_text(fcinfo, at->url, "url");
	given->body = jsonb_argument(fcinfo, at->body);
	given->headers = jsonb_argument(fcinfo, at->headers);
	if (!PG_ARGISNULL(at->params))
		given->url = js_http_url_with_params(given->url, PG_GETARG_JSONB_P(at->params));
	given->body_text = js_text_argument(fcinfo, at->body_text);
	return take_arguments(fcinfo, at->sign_with, FIRST_COMMON, given);
}

/* The run that sends it, of the caller, if he may make requests. */
void
js_http_make_run(FunctionCallInfo fcinfo, const JsHttpArguments *at, const JsHttpDefinition *given,
				 JsRun *run)
{
	ArrayType  *templates;
	Jsonb	   *request;
	JsJob		job;

	js_http_check_may_request(GetUserId());
	js_http_job(GetUserId(), &job);
	templates = PG_ARGISNULL(at->keys) ? NULL : js_limit_keys_argument(PG_GETARG_ARRAYTYPE_P(at->keys));
	request = js_http_define(NULL, given, JS_HTTP_OF_RUN);
	js_http_prepare_run(run, &job, request, templates);
	run->timeout = PG_ARGISNULL(at->timeout) ? 0 : js_interval_us("timeout", PG_GETARG_INTERVAL_P(at->timeout));
	js_http_check_timeout(run->timeout);
	run->max_attempts = PG_ARGISNULL(at->max_attempts) ? 0 : js_retry_max_attempts(PG_GETARG_INT32(at->max_attempts));
	run->priority = PG_ARGISNULL(at->priority) ? 0 : PG_GETARG_INT32(at->priority);
}

/*
 * method, url, body, headers, params, timeout, max_attempts, keys,
 * idempotency_key, on_conflict, idempotency_period, body_text, run_at, priority,
 * what requests of jobs have too, after, after_when, child, optional, wait_for,
 * wait_timeout.
 */
Datum
jobsched_http_request(PG_FUNCTION_ARGS)
{
	static const JsHttpArguments at = {
		.method = 0,.url = 1,.body = 2,.headers = 3,.params = 4,.timeout = 5,.max_attempts = 6,
		.keys = 7,.body_text = 11,.priority = 13,.sign_with = 14
	};
	JsHttpDefinition given;
	JsIdempotency idempotency;
	JsRun		run;
	int			n;

	js_check_may_write("http_request()");
	n = js_http_take_request(fcinfo, &at, &given);
	given.on_success = js_text_argument(fcinfo, n++);
	given.on_failure = js_text_argument(fcinfo, n);
	js_http_make_run(fcinfo, &at, &given, &run);
	check_callback("on_success", given.on_success);
	check_callback("on_failure", given.on_failure);
	run.run_at = js_queue_run_at(fcinfo, 12);
	js_after_arguments(fcinfo, 20, &run);
	js_child_arguments(fcinfo, 22, &run);
	js_event_arguments(fcinfo, 24, &run);
	js_idempotency_arguments(fcinfo, 8, &idempotency);
	if (js_idempotency_admit(&idempotency, &run, js_queue_run_at_is_given(fcinfo, 12)))
	{
		js_bounds_check_run(&run);
		(void) js_queue_run(&run);
	}
	PG_RETURN_INT64(run.run_id);
}
