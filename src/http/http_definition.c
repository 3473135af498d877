/*-------------------------------------------------------------------------
 *
 * http_definition.c
 *		The definition of a request.
 *
 * It is written, checked and read here.  A definition that a session has
 * written is valid.  If a superuser has changed it, it may be anything: the
 * functions that read it treat a field that they cannot read as absent.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/arguments.h"
#include "base/json.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "http/http_definition.h"
#include "http/http_header.h"
#include "http/http_template.h"
#include "http/http_text.h"
#include "http/http_url.h"
#include "http/limit_keys.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"

#define DEFAULT_METHOD "POST"
#define MAX_METHOD 20			/* bytes */
#define MAX_CODES 50

/* ------------------------------------------------------------------------
 * Reading
 * ------------------------------------------------------------------------
 */

/* NULL if it is absent. */
JsonbValue *
js_definition_field(Jsonb *definition, const char *name)
{
	JsonbValue	key = {.type = jbvString};

	if (!JB_ROOT_IS_OBJECT(definition))
		return NULL;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	return findJsonbValueFromContainer(&definition->root, JB_FOBJECT, &key);
}

char *
js_http_text(Jsonb *definition, const char *name)
{
	JsonbValue *value = js_definition_field(definition, name);

	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

Jsonb *
js_definition_jsonb(Jsonb *definition, const char *name)
{
	JsonbValue *value = js_definition_field(definition, name);

	return value ? JsonbValueToJsonb(value) : NULL;
}

int
js_definition_number(Jsonb *definition, const char *name, int least, int most, int absent)
{
	JsonbValue *value = js_definition_field(definition, name);
	bool		failed;
	int			number;

	if (value == NULL || value->type != jbvNumeric)
		return absent;
	number = numeric_int4_opt_error(value->val.numeric, &failed);
	return failed ? absent : Min(Max(number, least), most);
}

char *
js_definition_method(Jsonb *definition)
{
	char	   *method = js_http_text(definition, "method");

	return method ? method : pstrdup(DEFAULT_METHOD);
}

/* Whether a request of this method, if nothing is said, has one. */
bool
js_method_has_body(const char *method)
{
	return strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 &&
		strcmp(method, "DELETE") != 0;
}

/* "200", or "2xx" for a class. */
static bool
code_matches(const char *code, int length, int status)
{
	char		digits[12];

	snprintf(digits, sizeof(digits), "%d", status);
	return length == 3 && strlen(digits) == 3 && code[0] == digits[0] &&
		(strncmp(code + 1, "xx", 2) == 0 || strncmp(code + 1, digits + 1, 2) == 0);
}

bool
js_http_has_success_codes(Jsonb *definition)
{
	return js_definition_field(definition, "success_codes") != NULL;
}

bool
js_http_is_success(Jsonb *definition, int status)
{
	JsonbValue *codes = definition ? js_definition_field(definition, "success_codes") : NULL;

	if (codes == NULL || codes->type != jbvBinary || !JsonContainerIsArray(codes->val.binary.data))
		return status >= 200 && status <= 299;
	for (uint32 i = 0; i < JsonContainerSize(codes->val.binary.data); i++)
	{
		JsonbValue *code = getIthJsonbValueFromContainer(codes->val.binary.data, i);

		if (code->type == jbvString && code_matches(code->val.string.val, code->val.string.len, status))
			return true;
	}
	return false;
}

/* A key that stands for a text, whatever its length; none but itself has it. */
static char *
hashed_key(const char *text)
{
	Datum		digest = DirectFunctionCall1(sha256_bytea, CStringGetTextDatum(text));

	return psprintf(JS_HOST_KEY "#%s",
					DatumGetCString(DirectFunctionCall1(byteaout, digest)) + strlen("\\x"));
}

/*
 * A template of a job, as limit_keys.c has them.  In a request's own URL braces could
 * only be in the target.
 */
char *
js_http_host_template(Jsonb *definition, JsHttpPlace place)
{
	char	   *url = js_http_text(definition, "url");
	const char *problem;
	JsUrl		parts;
	char	   *origin;

	if (url == NULL || !js_url_split(url, place == JS_HTTP_OF_JOB, &parts, &problem))
		return NULL;
	origin = js_url_origin(&parts);
	if (strlen(JS_HOST_KEY) + strlen(origin) > JS_MAX_LIMIT_KEY_LENGTH)
		return hashed_key(origin);
	return psprintf(JS_HOST_KEY "%s", origin);
}

/* ------------------------------------------------------------------------
 * Checking
 * ------------------------------------------------------------------------
 */

void
js_method_check(const char *method)
{
	size_t		length = strlen(method);

	if (length == 0 || length > MAX_METHOD ||
		strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != length ||
		strcmp(method, "CONNECT") == 0 || strcmp(method, "TRACE") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid method \"%s\"", method),
				 errhint("Use GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, or another one of letters that is not CONNECT or TRACE.")));
}

/* Whether a request of this method may have one. */
void
js_method_check_body(const char *method)
{
	if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("method \"%s\" cannot have a body", method),
				 errhint("What a GET request asks for is in its URL.")));
}

/* Placeholders are in the values of objects, not in their keys. */
static void
check_body(Jsonb *body)
{
	JsonbIterator *it = JsonbIteratorInit(&body->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		char	   *text;

		if ((token != WJB_KEY && token != WJB_ELEM && token != WJB_VALUE) || value.type != jbvString)
			continue;
		text = pnstrdup(value.val.string.val, value.val.string.len);

		js_template_check(text, token == WJB_KEY ? 0 : JS_ANY_PLACEHOLDER,
						  token == WJB_KEY ? "a key of body" : "body");
	}
}

/* What is larger as it is written need not wait to be refused until it is sent. */
static void
check_body_size(Jsonb *body, const char *text)
{
	if (text != NULL)
		js_check_body_size(strlen(text));
	if (body != NULL && js_json_is_longer(&body->root, JS_HTTP_MAX_BODY))
		js_check_body_size(JS_HTTP_MAX_BODY + 1);
}

static void
check_bodies(Jsonb *definition, JsHttpPlace place)
{
	Jsonb	   *body = js_definition_jsonb(definition, "body");
	char	   *text = js_http_text(definition, "body_text");

	if (body != NULL || text != NULL)
		js_method_check_body(js_definition_method(definition));
	check_body_size(body, text);
	if (place == JS_HTTP_OF_JOB && body != NULL)
		check_body(body);
	if (place == JS_HTTP_OF_JOB && text != NULL)
		js_template_check(text, JS_ANY_PLACEHOLDER, "body");
}

static List *
secrets_of_json(List *names, Jsonb *json, const char *what)
{
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
		if ((token == WJB_ELEM || token == WJB_VALUE) && value.type == jbvString)
			names = js_template_secrets(names, pnstrdup(value.val.string.val, value.val.string.len), what);
	return names;
}

/* By their names; the values that these stand for are counted once more. */
static void
check_secrets(Jsonb *definition, JsHttpPlace place)
{
	char	   *url = js_http_text(definition, "url");
	char	   *text = js_http_text(definition, "body_text");
	Jsonb	   *body = js_definition_jsonb(definition, "body");
	Jsonb	   *headers = js_definition_jsonb(definition, "headers");
	List	   *names = NIL;

	if (headers != NULL)
		names = secrets_of_json(names, headers, "headers");
	if (place == JS_HTTP_OF_JOB)
	{
		url = pnstrdup(url, js_template_find(url, "#") - url);
		names = js_template_secrets(names, url, "url");
		if (text != NULL)
			names = js_template_secrets(names, text, "body");
		if (body != NULL)
			names = secrets_of_json(names, body, "body");
	}
	js_check_secret_count(list_length(names));
}

/* What is there is right if this returns, but for functions. */
static void
check_definition(Jsonb *definition, JsHttpPlace place)
{
	char	   *url = js_http_text(definition, "url");
	Jsonb	   *headers = js_definition_jsonb(definition, "headers");
	char	   *sign_with = js_http_text(definition, "sign_with");

	if (url == NULL)
		js_refuse_null("url");
	js_url_check(url, place);
	js_method_check(js_definition_method(definition));
	if (sign_with != NULL)
		js_secret_check_name(sign_with);
	if (headers != NULL)
		js_headers_check(headers, place, sign_with != NULL);
	check_bodies(definition, place);
	check_secrets(definition, place);
}

/* ------------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------------
 */

pg_noreturn static void
refuse_codes(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", what),
			 errhint("success_codes is an array of at most %d texts, such as '{200,2xx}'.", MAX_CODES)));
}

static bool
is_code(const char *code)
{
	return strlen(code) == 3 && code[0] >= '1' && code[0] <= '5' &&
		(strcmp(code + 1, "xx") == 0 || strspn(code + 1, "0123456789") == 2);
}

static Jsonb *
codes_jsonb(ArrayType *codes)
{
	JsonbParseState *state = NULL;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (ARR_NDIM(codes) > 1)
		refuse_codes("success_codes has more than one dimension");
	deconstruct_array(codes, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	if (count > MAX_CODES)
		refuse_codes(psprintf("success_codes has more than %d elements", MAX_CODES));
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
	{
		JsonbValue	value = {.type = jbvString};

		if (nulls[i])
			refuse_codes("success_codes contains NULL");
		value.val.string.val = TextDatumGetCString(elements[i]);
		value.val.string.len = strlen(value.val.string.val);
		if (!is_code(value.val.string.val))
			refuse_codes(psprintf("invalid success code \"%s\"", value.val.string.val));
		pushJsonbValue(&state, WJB_ELEM, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

static void
check_range(const char *name, int64 value, int64 most, const char *unit)
{
	if (value > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s \"" INT64_FORMAT "%s\"", name, value, unit),
				 errhint("It is at most " INT64_FORMAT "%s.", most, unit)));
}

static bool
is_given(const char *text)
{
	return text != NULL && *text != '\0';
}

/* Numbers, and what else is neither URL, headers nor body. */
static void
push_options(JsonbParseState **state, const JsHttpDefinition *given)
{
	int64		ms = (given->connect_timeout + 999) / 1000;

	check_range("connect_timeout", ms, JS_HTTP_MAX_CONNECT_TIMEOUT, " ms");
	check_range("max_redirects", given->max_redirects, JS_HTTP_MAX_REDIRECTS, "");
	if (is_given(given->sign_with))
		js_json_push_text(state, "sign_with", given->sign_with);
	if (given->connect_timeout > 0)
		js_json_push_number(state, "connect_timeout", ms);
	if (given->success_codes != NULL && ARR_NDIM(given->success_codes) > 0)
		js_json_push_jsonb(state, "success_codes", codes_jsonb(given->success_codes));
	if (given->max_redirects > 0)
		js_json_push_number(state, "max_redirects", given->max_redirects);
	if (is_given(given->on_success))
		js_json_push_text(state, "on_success", given->on_success);
	if (is_given(given->on_failure))
		js_json_push_text(state, "on_failure", given->on_failure);
}

/* What is given, but for what is given so as to remove something. */
static Jsonb *
given_jsonb(const JsHttpDefinition *given)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_text(&state, "url", given->url);
	if (given->method != NULL)
		js_json_push_text(&state, "method", asc_toupper(given->method, strlen(given->method)));
	js_json_push_jsonb(&state, "headers", given->headers);
	js_json_push_jsonb(&state, "body", given->body);
	js_json_push_text(&state, "body_text", given->body_text);
	push_options(&state, given);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static Jsonb *
without(Jsonb *definition, const char *name)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(definition),
											  CStringGetTextDatum(name)));
}

static Jsonb *
without_if(bool removed, Jsonb *definition, const char *name)
{
	return removed ? without(definition, name) : definition;
}

static bool
is_empty(const char *text)
{
	return text != NULL && *text == '\0';
}

/* A body of one kind takes the place of one of the other. */
static Jsonb *
remove_old(Jsonb *old, const JsHttpDefinition *given)
{
	old = without_if(given->body_text != NULL, old, "body");
	old = without_if(given->body != NULL, old, "body_text");
	old = without_if(is_empty(given->sign_with), old, "sign_with");
	old = without_if(given->connect_timeout == 0, old, "connect_timeout");
	old = without_if(given->success_codes != NULL, old, "success_codes");
	return without_if(given->max_redirects == 0, old, "max_redirects");
}

/* The name of what only a request can have that is given; NULL: nothing is. */
static const char *
given_of_request(const JsHttpDefinition *given)
{
	return given->method ? "method" : given->headers ? "headers" : given->body ? "body" :
		given->body_text ? "body_text" : given->sign_with ? "sign_with" : NULL;
}

/* Of a job whose runs bring their own requests: what holds for all of these. */
static void
check_without_request(const JsHttpDefinition *given)
{
	const char *name = given_of_request(given);

	if (name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s cannot be given for a job whose runs have requests of their own", name),
				 errhint("Give it with each request. What the job can have is on_success, on_failure, success_codes, connect_timeout and max_redirects.")));
}

Jsonb *
js_http_define(Jsonb *old, const JsHttpDefinition *given, JsHttpPlace place)
{
	Jsonb	   *definition = given_jsonb(given);

	if (given->body != NULL && given->body_text != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("body and body_text are both given"),
				 errhint("body is JSON, body_text is any other text.")));
	if (old != NULL)
		definition = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
														JsonbPGetDatum(remove_old(old, given)),
														JsonbPGetDatum(definition)));
	if (old != NULL && js_definition_field(definition, "url") == NULL)
		check_without_request(given);
	else
		check_definition(definition, place);
	return definition;
}
