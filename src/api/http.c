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

static bool
is_anything_given(const JsHttpDefinition *given)
{
	JsHttpDefinition nothing;

	js_http_nothing_given(&nothing);
	return memcmp(given, &nothing, sizeof(nothing)) != 0;
}

/* From sign_with on: what create_job() and http_request() have in common. */
static int
common_arguments(FunctionCallInfo fcinfo, int n, JsHttpDefinition *given)
{
	given->sign_with = js_text_argument(fcinfo, n++);
	if (!PG_ARGISNULL(n))
		given->connect_timeout = js_interval_us("connect_timeout", PG_GETARG_INTERVAL_P(n));
	n++;
	if (!PG_ARGISNULL(n))
		given->success_codes = PG_GETARG_ARRAYTYPE_P_COPY(n);
	n++;
	if (!PG_ARGISNULL(n) && PG_GETARG_INT32(n) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_redirects \"%d\" is out of range", PG_GETARG_INT32(n)),
				 errhint("0 means that none is followed.")));
	if (!PG_ARGISNULL(n))
		given->max_redirects = PG_GETARG_INT32(n);
	n++;
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
	given->url = js_text_argument(fcinfo, n++);
	given->method = js_text_argument(fcinfo, n++);
	given->headers = jsonb_argument(fcinfo, n++);
	given->body = jsonb_argument(fcinfo, n++);
	given->body_text = js_text_argument(fcinfo, n++);
	n = common_arguments(fcinfo, n, given);
	*any = is_anything_given(given);
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

/*
 * method, url, body, headers, params, timeout, max_attempts, keys,
 * idempotency_key, on_conflict, idempotency_period, body_text, run_at, priority,
 * what requests of jobs have too, after, after_when, child, optional.
 */
Datum
jobsched_http_request(PG_FUNCTION_ARGS)
{
	JsHttpDefinition given;
	JsIdempotency idempotency;
	ArrayType  *templates;
	Jsonb	   *request;
	JsRun		run;
	JsJob		job;
	int			n;

	js_check_may_write("http_request()");
	js_http_nothing_given(&given);
	given.method = js_required_text(fcinfo, 0, "method");
	given.url = js_required_text(fcinfo, 1, "url");
	given.body = jsonb_argument(fcinfo, 2);
	given.headers = jsonb_argument(fcinfo, 3);
	if (!PG_ARGISNULL(4))
		given.url = js_http_url_with_params(given.url, PG_GETARG_JSONB_P(4));
	given.body_text = js_text_argument(fcinfo, 11);
	n = common_arguments(fcinfo, 14, &given);
	given.on_success = js_text_argument(fcinfo, n++);
	given.on_failure = js_text_argument(fcinfo, n);
	js_http_check_may_request(GetUserId());
	js_http_job(GetUserId(), &job);
	templates = PG_ARGISNULL(7) ? NULL : js_limit_keys_argument(PG_GETARG_ARRAYTYPE_P(7));
	request = js_http_define(NULL, &given, JS_HTTP_OF_RUN);
	check_callback("on_success", given.on_success);
	check_callback("on_failure", given.on_failure);
	js_http_prepare_run(&run, &job, request, templates);
	run.timeout = PG_ARGISNULL(5) ? 0 : js_interval_us("timeout", PG_GETARG_INTERVAL_P(5));
	js_http_check_timeout(run.timeout);
	run.max_attempts = PG_ARGISNULL(6) ? 0 : js_retry_max_attempts(PG_GETARG_INT32(6));
	run.run_at = js_queue_run_at(fcinfo, 12);
	run.priority = PG_ARGISNULL(13) ? 0 : PG_GETARG_INT32(13);
	js_after_arguments(fcinfo, 20, &run);
	js_child_arguments(fcinfo, 22, &run);
	js_idempotency_arguments(fcinfo, 8, &idempotency);
	if (js_idempotency_admit(&idempotency, &run, js_queue_run_at_is_given(fcinfo, 12)))
	{
		js_bounds_check_run(&run);
		(void) js_queue_run(&run);
	}
	PG_RETURN_INT64(run.run_id);
}
