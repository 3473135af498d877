/*-------------------------------------------------------------------------
 *
 * http_render_sql.c
 *		For tests: the request that a definition makes, as SQL sees it.
 *
 * No SQL object of the extension refers to it; declaring it needs the right to
 * create C functions. doc/internals.md describes its arguments and its result.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "http/http_definition.h"
#include "http/http_request.h"
#include "http/vault.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "store/store_secret.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(jobsched_http_render);

#define DEFAULT_TOKEN "00000000-0000-0000-0000-000000000000"

/* Given, or those that a role has. */
typedef struct Secrets
{
	Jsonb	   *own;			/* NULL: of the role */
	Jsonb	   *vault;
	Oid			owner;
} Secrets;

/* ------------------------------------------------------------------------
 * Reading
 * ------------------------------------------------------------------------
 */

static Jsonb *
object_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? js_json_empty() : PG_GETARG_JSONB_P(n);
}

static int
number(Jsonb *object, const char *name, int absent)
{
	return js_definition_number(object, name, PG_INT32_MIN, PG_INT32_MAX, absent);
}

static TimestampTz
timestamp_of(Jsonb *object, const char *name)
{
	char	   *text = js_http_text(object, name);

	if (text == NULL)
		return DT_NOBEGIN;
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static ArrayType *
texts(Jsonb *array)
{
	uint32		count = JB_ROOT_COUNT(array);
	Datum	   *elements = palloc(sizeof(Datum) * (count + 1));

	for (uint32 i = 0; i < count; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&array->root, i);

		elements[i] = PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
	}
	return construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT);
}

/* As a caller of create_job() would give it. */
static void
read_given(Jsonb *definition, JsHttpDefinition *given)
{
	int			ms = number(definition, "connect_timeout", -1);
	Jsonb	   *codes = js_definition_jsonb(definition, "success_codes");

	given->url = js_http_text(definition, "url");
	given->method = js_http_text(definition, "method");
	given->headers = js_definition_jsonb(definition, "headers");
	given->body = js_definition_jsonb(definition, "body");
	given->body_text = js_http_text(definition, "body_text");
	given->sign_with = js_http_text(definition, "sign_with");
	given->connect_timeout = ms < 0 ? -1 : ms * INT64CONST(1000);
	given->success_codes = codes ? texts(codes) : NULL;
	given->max_redirects = number(definition, "max_redirects", -1);
	given->on_success = js_http_text(definition, "on_success");
	given->on_failure = js_http_text(definition, "on_failure");
}

static Jsonb *
define_request(Jsonb *definition, Jsonb *more, JsHttpPlace place)
{
	JsHttpDefinition given;
	Jsonb	   *params = js_definition_jsonb(more, "params");

	if (number(more, "spoilt", 0) != 0)
		return definition;
	read_given(definition, &given);
	if (params != NULL)
		given.url = js_http_url_with_params(given.url, params);
	return js_http_define(js_definition_jsonb(more, "old"), &given, place);
}

static char *
own_secret(const char *name, void *arg)
{
	Secrets    *secrets = arg;

	return secrets->own ? js_http_text(secrets->own, name) : js_secret_read(secrets->owner, name);
}

static char *
vault_secret(const char *name, void *arg)
{
	Secrets    *secrets = arg;

	return secrets->own ? js_http_text(secrets->vault, name) : js_vault_read(secrets->owner, name);
}

/* ------------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------------
 */

static void
append_name(StringInfo json, const char *name)
{
	appendStringInfoString(json, json->len > 1 ? ", " : "");
	escape_json(json, name);
	appendStringInfoString(json, ": ");
}

static void
append_json_text(StringInfo json, const char *text)
{
	if (text == NULL)
		appendStringInfoString(json, "null");
	else
		escape_json(json, pg_any_to_server(text, strlen(text), PG_UTF8));
}

static void
append_field(StringInfo json, const char *name, const char *text)
{
	append_name(json, name);
	append_json_text(json, text);
}

static void
append_json_list(StringInfo json, const char *name, const List *list)
{
	ListCell   *lc;

	append_name(json, name);
	appendStringInfoChar(json, '[');
	foreach(lc, list)
	{
		if (lc != list_head(list))
			appendStringInfoString(json, ", ");
		append_json_text(json, lfirst(lc));
	}
	appendStringInfoChar(json, ']');
}

static void
append_request(StringInfo json, const JsHttpRequest *request)
{
	append_field(json, "method", request->method);
	append_field(json, "url", request->url);
	append_field(json, "shown_url", request->shown_url);
	append_json_list(json, "headers", request->headers);
	append_field(json, "body", request->body);
	append_name(json, "connect_timeout_ms");
	appendStringInfo(json, "%d", request->connect_timeout_ms);
	append_name(json, "max_redirects");
	appendStringInfo(json, "%d", request->max_redirects);
}

/* The request after each of the redirects, up to one that is not followed. */
static void
follow(StringInfo json, JsHttpRequest *request, Jsonb *definition, Jsonb *redirects)
{
	for (uint32 i = 0; i < JB_ROOT_COUNT(redirects); i++)
	{
		Jsonb	   *redirect = JsonbValueToJsonb(getIthJsonbValueFromContainer(&redirects->root, i));
		const char *problem;

		if (js_http_redirect(request, definition, number(redirect, "status", 302),
							 js_http_text(redirect, "location"), &problem))
			continue;
		append_field(json, "problem", problem);
		return;
	}
}

/* What is asked of the response. */
static void
append_response(StringInfo json, const JsHttpRequest *request, Jsonb *definition, Jsonb *more,
				TimestampTz now)
{
	char	   *headers = js_http_text(more, "response_headers");
	char	   *body = js_http_text(more, "response_body");
	int			status = number(more, "response_status", 0);

	if (headers != NULL)
	{
		append_name(json, "retry_after");
		appendStringInfo(json, INT64_FORMAT, js_http_retry_after(headers, strlen(headers), now));
	}
	if (body != NULL)
	{
		size_t		size = strlen(body);
		char	   *shown = js_http_redact(request->secrets, body, &size);

		append_field(json, "response_body", pnstrdup(shown, size));
	}
	if (status != 0)
		append_field(json, "success", js_http_is_success(definition, status) ? "yes" : "no");
}

/*
 * jobsched_http_render(definition jsonb, of_run boolean, args jsonb, secrets
 * jsonb, more jsonb) RETURNS jsonb
 */
Datum
jobsched_http_render(PG_FUNCTION_ARGS)
{
	JsHttpPlace place = PG_GETARG_BOOL(1) ? JS_HTTP_OF_RUN : JS_HTTP_OF_JOB;
	Jsonb	   *more = object_argument(fcinfo, 4);
	Jsonb	   *definition = define_request(PG_GETARG_JSONB_P(0), more, place);
	Jsonb	   *redirects = js_definition_jsonb(more, "redirects");
	char	   *token = js_http_text(more, "token");
	JsJob		job = {.name = js_http_text(more, "job")};
	JsRun		run = {
		.run_id = number(more, "run_id", 1),.attempt = number(more, "attempt", 1),
		.scheduled_for = timestamp_of(more, "scheduled_for"),
		.traceparent = js_http_text(more, "traceparent"),
		.args = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2)
	};
	char	   *owner = js_http_text(more, "owner");
	Secrets		secrets = {
		.own = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3),
		.vault = js_definition_jsonb(more, "vault"),
		.owner = owner ? get_role_oid(owner, false) : GetUserId()
	};
	JsHttpSource source = {
		.job = job.name ? &job : NULL,.run = &run,.definition = definition,.place = place,
		.token = DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(token ? token : DEFAULT_TOKEN))),
		.now = timestamp_of(more, "now"),.secret = own_secret,.vault = vault_secret,.arg = &secrets
	};
	JsHttpRequest request;
	StringInfoData json;

	if (secrets.vault == NULL)
		secrets.vault = js_json_empty();
	if (source.now == DT_NOBEGIN)
		source.now = GetCurrentTimestamp();
	js_http_render(&source, &request);
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	if (redirects != NULL)
		follow(&json, &request, definition, redirects);
	append_request(&json, &request);
	append_response(&json, &request, definition, more, source.now);
	append_name(&json, "definition");
	JsonbToCString(&json, &definition->root, VARSIZE(definition));
	append_field(&json, "host_key", js_http_host_template(definition, place));
	appendStringInfoChar(&json, '}');
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
