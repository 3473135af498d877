/*-------------------------------------------------------------------------
 *
 * http_request.c
 *		The request of an attempt, from its definition.
 *
 * Other files handle the parts: URLs in http_url.c, headers in http_header.c,
 * placeholders in http_template.c, ids and signatures in http_sign.c, the
 * definition in http_definition.c, redirects in http_redirect.c.
 *
 * If the user gives a header that we would add, the user's value is used.
 * Signatures are the exception: only ours are sent.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "http/channel.h"
#include "http/http_definition.h"
#include "http/http_header.h"
#include "http/http_request.h"
#include "http/http_sign.h"
#include "http/http_template.h"
#include "http/http_text.h"
#include "http/http_url.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define USER_AGENT JS_EXTENSION "/" JS_VERSION

#define TYPE_JSON "application/json"
#define TYPE_TEXT "text/plain; charset=utf-8"

/* What may stand in a header's text as it is: printable ASCII but "%". */
#define PRINTABLE " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"

/* ------------------------------------------------------------------------
 * URL and body
 * ------------------------------------------------------------------------
 */

pg_noreturn static void
refuse_url(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("url %s", problem)));
}

/* What we have put together is read once more, as that which is sent. */
static char *
render_url(JsRendering *rendering)
{
	char	   *url = js_http_text(rendering->source->definition, "url");
	const char *problem;
	JsUrl		parts;

	if (url == NULL)
		refuse_url("is missing");
	if (rendering->source->place == JS_HTTP_OF_JOB)
		url = js_url_expand(rendering, url);
	else
		url = js_http_utf8(url, "url");
	if (!js_url_split(url, false, &parts, &problem))
		refuse_url(problem);
	url = js_url_join(&parts);
	if (strlen(url) > JS_MAX_URL)
		refuse_url("is longer than " CppAsString2(JS_MAX_URL) " bytes");
	return url;
}

static Jsonb *
expand_body(JsRendering *rendering, Jsonb *body)
{
	return js_template_expand_json(rendering, body, JS_ANY_PLACEHOLDER, "body");
}

/* What a job sends that does not say what. */
static Jsonb *
default_body(JsRendering *rendering)
{
	static const char document[] = "{\"job\": \"{{job.name}}\", \"run_id\": \"{{run.id}}\","
		" \"attempt\": \"{{run.attempt}}\", \"scheduled_for\": \"{{run.scheduled_for}}\","
		" \"args\": \"{{args}}\"}";

	return expand_body(rendering,
					   DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(document))));
}

/* JSON, if there is any. */
static Jsonb *
render_json(JsRendering *rendering, const char *method)
{
	const JsHttpSource *source = rendering->source;
	Jsonb	   *body = js_definition_jsonb(source->definition, "body");

	if (source->place == JS_HTTP_OF_RUN)
		return body;
	if (body != NULL)
		return expand_body(rendering, body);
	if (js_channel_request_kind(source->definition) != JS_CHANNEL_NONE)
		return js_channel_body(js_channel_request_kind(source->definition), source->run->args);
	return js_method_has_body(method) ? default_body(rendering) : NULL;
}

static char *
json_text(Jsonb *json)
{
	if (js_json_is_longer(&json->root, JS_HTTP_MAX_BODY))
		js_check_body_size(JS_HTTP_MAX_BODY + 1);
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

/* Returns its Content-Type; NULL without a body, or with an empty one. */
static const char *
render_body(JsRendering *rendering, JsHttpRequest *request)
{
	const JsHttpSource *source = rendering->source;
	char	   *text = js_http_text(source->definition, "body_text");
	const char *type = TYPE_TEXT;

	if (text == NULL)
	{
		Jsonb	   *json = render_json(rendering, request->method);

		if (json == NULL)
			return NULL;
		text = json_text(json);

		type = TYPE_JSON;
	}
	else if (source->place == JS_HTTP_OF_JOB)
		text = js_template_expand(rendering, text, JS_ANY_PLACEHOLDER, "body", NULL);

	request->body = js_http_utf8(text, "body");
	request->body_size = strlen(request->body);
	js_check_body_size(request->body_size);
	return request->body_size > 0 ? type : NULL;
}

/* ------------------------------------------------------------------------
 * Headers
 * ------------------------------------------------------------------------
 */

/* Names of jobs can hold anything. */
static char *
header_text(char *text)
{
	return js_percent_encode(js_http_utf8(text, "the name of the job"), PRINTABLE);
}

/* What is there unless the user has given it. */
static List *
add_own_headers(List *headers, const JsHttpSource *source, const char *id, const char *type)
{
	const JsRun *run = source->run;
	char	   *slot = js_iso8601(run->scheduled_for);

	if (type != NULL)
		headers = js_header_default(headers, "Content-Type", type);
	headers = js_header_default(headers, "User-Agent", USER_AGENT);
	headers = js_header_default(headers, "Idempotency-Key", psprintf("\"%s\"", id));
	headers = js_header_default(headers, "traceparent", js_request_traceparent(source));
	headers = js_header_default(headers, "X-Jobsched-Run", psprintf(INT64_FORMAT, run->run_id));
	headers = js_header_default(headers, "X-Jobsched-Attempt", psprintf("%d", run->attempt));
	if (slot != NULL)
		headers = js_header_default(headers, "X-Jobsched-Scheduled-For", slot);
	if (source->job != NULL)
		headers = js_header_default(headers, "X-Jobsched-Job", header_text(source->job->name));
	return headers;
}

/* Standard Webhooks. */
static List *
add_signature(List *headers, const JsHttpSource *source, const char *name, const char *id,
			  const JsHttpRequest *request)
{
	int64		timestamp = timestamptz_to_time_t(source->now);
	char	   *keys = source->secret(name, source->arg);
	char	   *signature;

	if (keys == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("secret \"%s\" does not exist", name),
				 errdetail("It is the key that requests are signed with."),
				 errhint("The owner of the run defines it with set_secret().")));
	signature = js_webhook_signature(keys, id, timestamp, request->body, request->body_size);
	if (signature == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("secret \"%s\" is no key to sign with", name),
				 errhint(JS_SIGNING_HINT)));
	headers = js_header_add(headers, "webhook-id", id);
	headers = js_header_add(headers, "webhook-timestamp", psprintf(INT64_FORMAT, timestamp));
	return js_header_add(headers, "webhook-signature", signature);
}

/* ------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------
 */

/* An option; a run's own request that does not give it has that of its job. */
static int
option(const JsHttpSource *source, const char *name, int least, int most, int absent)
{
	const JsJob *job = source->job;

	if (source->place == JS_HTTP_OF_RUN && job != NULL && job->request != NULL)
		absent = js_definition_number(job->request, name, least, most, absent);
	return js_definition_number(source->definition, name, least, most, absent);
}

void
js_http_render(const JsHttpSource *source, JsHttpRequest *request)
{
	JsRendering rendering = {.source = source};
	char	   *sign_with = js_http_text(source->definition, "sign_with");
	char	   *id = js_request_id(source);
	const char *type;
	size_t		size;

	memset(request, 0, sizeof(*request));
	request->method = js_definition_method(source->definition);
	js_method_check(request->method);
	request->url = render_url(&rendering);
	rendering.size = 0;
	type = render_body(&rendering, request);
	rendering.size = 0;
	if (request->body != NULL)
		js_method_check_body(request->method);
	request->headers = js_headers_render(&rendering,
										 js_definition_jsonb(source->definition, "headers"),
										 sign_with != NULL);
	request->headers = add_own_headers(request->headers, source, id, type);
	if (sign_with != NULL)
		request->headers = add_signature(request->headers, source, sign_with, id, request);
	request->secrets = rendering.secrets;
	size = strlen(request->url) + 1;
	request->shown_url = js_http_redact(request->secrets, request->url, &size);
	request->connect_timeout_ms = option(source, "connect_timeout", 1, JS_HTTP_MAX_CONNECT_TIMEOUT,
										 JS_HTTP_CONNECT_TIMEOUT);
	request->max_redirects = option(source, "max_redirects", 0, JS_HTTP_MAX_REDIRECTS, 0);
}
