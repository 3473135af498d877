/*-------------------------------------------------------------------------
 *
 * http_template.c
 *		Texts with placeholders, and the values of these.
 *
 *	{{args}}, {{args.path}}		the run's arguments; one of them
 *	{{run.id}}, {{run.attempt}}, {{run.scheduled_for}}
 *	{{job.name}}
 *	{{secret.NAME}}				what set_secret() has kept
 *	{{vault.NAME}}				what Supabase Vault has
 *	{{steps.NAME.result}}, {{steps.NAME.result.path}}
 *								of a step: the result of one that comes before it
 *
 * There may be spaces inside the braces.  "}}" without an opening "{{" is text,
 * because it is frequent in JSON; "{{" always opens a placeholder.  A value is
 * inserted once and never searched for placeholders.
 *
 * If a string of a JSON body consists of one placeholder, it becomes the value
 * itself: a number, an object, null.  Elsewhere a value becomes text, and
 * containers become JSON text.  There null is an error; a missing argument
 * always is. {{run.scheduled_for}} of a run without a slot is null, or the
 * empty text.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "base/sqlstate.h"
#include "compat.h"
#include "http/http_template.h"
#include "http/http_text.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "nodes/pg_list.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/numeric.h"

#define OPEN "{{"
#define CLOSE "}}"
#define STEPS "steps."
#define RESULT ".result"

/* How much of an unknown placeholder is shown. */
#define SHOWN 80

typedef struct Family
{
	const char *prefix;
	JsPlaceholder kind;
} Family;

static const Family families[] = {
	{"args.", JS_ARG}, {"run.", JS_RUN_FIELD}, {"job.", JS_JOB_FIELD},
	{"secret.", JS_SECRET}, {"vault.", JS_VAULT_SECRET}, {STEPS, JS_STEP_RESULT}
};

/* ------------------------------------------------------------------------
 * Names of secrets
 * ------------------------------------------------------------------------
 */

static bool
is_secret_name(const char *name)
{
	size_t		length = strlen(name);

	return length > 0 && length <= JS_SECRET_NAME_MAX &&
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == length;
}

void
js_secret_check_name(const char *name)
{
	if (!is_secret_name(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name of a secret \"%s\"", name),
				 errhint("It has 1 to %d letters, digits, \"_\", \".\" and \"-\".", JS_SECRET_NAME_MAX)));
}

bool
js_secret_value_is_fit(const char *value)
{
	size_t		length = strlen(value);

	return length >= JS_SECRET_MIN && length <= JS_SECRET_MAX;
}

/* ------------------------------------------------------------------------
 * Limits
 *
 * A template of some kilobytes that says {{args}} a thousand times, or names a
 * thousand secrets that are looked for in each response, takes the time and the
 * memory of all.
 * ------------------------------------------------------------------------
 */

static void
check_size(size_t size, const char *what)
{
	if (size > JS_HTTP_MAX_BODY)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("the %s of the request is larger than %d MB", what, JS_HTTP_MAX_BODY_MB)));
}

void
js_check_body_size(size_t size)
{
	check_size(size, "body");
}

void
js_check_secret_count(int count)
{
	if (count > JS_HTTP_MAX_SECRETS)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("the request has more than %d different secrets", JS_HTTP_MAX_SECRETS),
				 errhint("Keep in one secret what is sent together.")));
}

/* Each takes its time, however short what it stands for is. */
void
js_check_placeholder_count(int count)
{
	if (count > JS_HTTP_MAX_PLACEHOLDERS)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("the request has more than %d placeholders", JS_HTTP_MAX_PLACEHOLDERS)));
}

/* What is about to be added to what has been made of a part. */
static void
count_size(JsRendering *rendering, size_t size, const char *what)
{
	rendering->size += size;
	check_size(rendering->size, what);
}

/* ------------------------------------------------------------------------
 * Taking a template apart
 * ------------------------------------------------------------------------
 */

static bool
is_args_path(const char *path)
{
	return *path != '\0' && *path != '.' && strpbrk(path, "{} ") == NULL &&
		strstr(path, "..") == NULL && path[strlen(path) - 1] != '.';
}

/* NAME.result, NAME.result.path; the name of a step has no dot. */
static bool
is_step_result(const char *name)
{
	const char *dot = strchr(name, '.');
	const char *path;

	if (dot == NULL || dot == name || strpbrk(name, "{}") != NULL ||
		strncmp(dot, RESULT, strlen(RESULT)) != 0)
		return false;
	path = dot + strlen(RESULT);
	return *path == '\0' || (*path == '.' && is_args_path(path + 1));
}

static bool
is_known(JsPlaceholder kind, const char *name)
{
	switch (kind)
	{
		case JS_ARG:
			return is_args_path(name);
		case JS_RUN_FIELD:
			return strcmp(name, "id") == 0 || strcmp(name, "attempt") == 0 ||
				strcmp(name, "scheduled_for") == 0;
		case JS_JOB_FIELD:
			return strcmp(name, "name") == 0;
		case JS_SECRET:
		case JS_VAULT_SECRET:
			return is_secret_name(name);
		case JS_STEP_RESULT:
			return is_step_result(name);
		default:
			return false;
	}
}

/* JS_LITERAL if it is nothing that we know. */
static JsPlaceholder
classify(const char *inside, const char **name)
{
	*name = inside;
	if (strcmp(inside, "args") == 0)
		return JS_ARGS;
	for (int i = 0; i < lengthof(families); i++)
	{
		size_t		length = strlen(families[i].prefix);

		if (strncmp(inside, families[i].prefix, length) != 0)
			continue;
		*name = inside + length;
		if (is_known(families[i].kind, *name))
			return families[i].kind;
	}
	return JS_LITERAL;
}

pg_noreturn static void
refuse_placeholder(const char *what, const char *inside, bool known)
{
	int			shown = pg_mbcliplen(inside, strlen(inside), SHOWN);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 known ? errmsg("%s cannot have the placeholder \"%.*s\"", what, shown, inside) :
			 errmsg("%s has the unknown placeholder \"%.*s\"", what, shown, inside),
			 known ? 0 :
			 errhint("There are {{args}}, {{args.path}}, {{run.id}}, {{run.attempt}}, {{run.scheduled_for}}, {{job.name}}, {{secret.NAME}} and {{vault.NAME}}, and in steps {{steps.NAME.result}} and {{steps.NAME.result.path}}.")));
}

/*
 * What a placeholder has within its braces, but for spaces at the ends; rest is
 * after the opening ones.  Returns what follows the closing ones; NULL: there
 * are none.
 */
const char *
js_placeholder_read(const char *rest, char **inside)
{
	const char *end = strstr(rest, CLOSE);
	int			length;

	if (end == NULL)
		return NULL;
	while (*rest == ' ')
		rest++;
	length = end - rest;
	while (length > 0 && rest[length - 1] == ' ')
		length--;
	*inside = pnstrdup(rest, Max(length, 0));
	return end + strlen(CLOSE);
}

/* A placeholder; rest is at its opening braces.  Returns what follows it. */
static const char *
read_placeholder(const char *rest, int kinds, const char *what, JsPiece *piece)
{
	char	   *inside;

	rest = js_placeholder_read(rest + strlen(OPEN), &inside);
	if (rest == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has braces that are not closed", what)));
	piece->kind = classify(inside, &piece->text);
	piece->length = 0;
	if (piece->kind == JS_LITERAL || (piece->kind & kinds) == 0)
		refuse_placeholder(what, inside, piece->kind != JS_LITERAL);
	return rest;
}

static bool
begins_step_result(const char *rest)
{
	rest += strlen(OPEN);
	return strncmp(rest + strspn(rest, " "), STEPS, strlen(STEPS)) == 0;
}

/* The next piece; false at the end.  Raises what is wrong. */
bool
js_template_next(const char **rest, int kinds, const char *what, JsPiece *piece)
{
	const char *open;

	if (**rest == '\0')
		return false;
	open = strstr(*rest, OPEN);
	if ((kinds & JS_BRACES_ARE_TEXT) != 0)
		while (open != NULL && !begins_step_result(open))
			open = strstr(open + 1, OPEN);
	if (open == *rest)
	{
		*rest = read_placeholder(*rest, kinds, what, piece);
		return true;
	}
	piece->kind = JS_LITERAL;
	piece->text = *rest;
	piece->length = open ? open - *rest : strlen(*rest);
	*rest += piece->length;
	return true;
}

void
js_template_check(const char *template, int kinds, const char *what)
{
	JsPiece		piece;
	int			count = 0;

	while (js_template_next(&template, kinds, what, &piece))
	{
		count += piece.kind != JS_LITERAL;
		js_check_placeholder_count(count);
	}
}

/* Whether one begins anywhere in a document, in names too. */
bool
js_json_has_placeholder(Jsonb *json)
{
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
		if ((token == WJB_KEY || token == WJB_ELEM || token == WJB_VALUE) && value.type == jbvString &&
			strstr(pnstrdup(value.val.string.val, value.val.string.len), OPEN) != NULL)
			return true;
	return false;
}

/* The names, with their families, of secrets that are not among names yet. */
List *
js_template_secrets(List *names, const char *template, const char *what)
{
	JsPiece		piece;

	while (js_template_next(&template, JS_ANY_PLACEHOLDER, what, &piece))
		if ((piece.kind & (JS_SECRET | JS_VAULT_SECRET)) != 0)
			names = list_append_unique(names, makeString(psprintf("%d %s", piece.kind, piece.text)));
	return names;
}

/* The first of some characters that is in no placeholder; else the end. */
const char *
js_template_find(const char *template, const char *stops)
{
	while (*template != '\0' && strchr(stops, *template) == NULL)
	{
		const char *close = NULL;

		if (strncmp(template, OPEN, strlen(OPEN)) == 0)
			close = strstr(template, CLOSE);
		template = close ? close + strlen(CLOSE) : template + 1;
	}
	return template;
}

/* ------------------------------------------------------------------------
 * Values
 * ------------------------------------------------------------------------
 */

/* False if it is known. */
static bool
remember_value(JsRendering *rendering, char *value)
{
	ListCell   *lc;

	foreach(lc, rendering->secrets)
		if (strcmp(lfirst(lc), value) == 0)
		return false;
	rendering->secrets = lappend(rendering->secrets, value);
	return true;
}

/* As it may come back to us: as it is, in a URL, in JSON. */
static void
remember_secret(JsRendering *rendering, char *value, const char *what)
{
	char	   *sent = js_http_utf8(value, what);
	char	   *encoded;
	StringInfoData escaped;

	if (!remember_value(rendering, sent))
		return;
	js_check_secret_count(++rendering->secret_count);
	encoded = js_percent_encode(sent, "-._~");
	if (strcmp(encoded, sent) != 0)
		remember_value(rendering, encoded);
	initStringInfo(&escaped);
	escape_json(&escaped, sent);
	escaped.data[escaped.len - 1] = '\0';	/* its quotes */
	if (strcmp(escaped.data + 1, sent) != 0)
		remember_value(rendering, escaped.data + 1);
}

/* One is read once, however often it is named: the vault is a query each time. */
typedef struct SecretRead
{
	JsPlaceholder kind;
	const char *name;
	char	   *value;
} SecretRead;

static SecretRead *
find_read(const JsRendering *rendering, const JsPiece *piece)
{
	ListCell   *lc;

	foreach(lc, rendering->read)
	{
		SecretRead *read = lfirst(lc);

		if (read->kind == piece->kind && strcmp(read->name, piece->text) == 0)
			return read;
	}
	return NULL;
}

static char *
read_secret(JsRendering *rendering, const JsPiece *piece, const char *what)
{
	const JsHttpSource *source = rendering->source;
	bool		vault = piece->kind == JS_VAULT_SECRET;
	char	   *value = (vault ? source->vault : source->secret) (piece->text, source->arg);

	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg(vault ? "secret \"%s\" is not in the vault" : "secret \"%s\" does not exist", piece->text),
				 vault ? 0 : errhint("The owner of the run defines it with set_secret().")));
	if (!js_secret_value_is_fit(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("secret \"%s\" has a value that is not of %d to %d bytes", piece->text,
						JS_SECRET_MIN, JS_SECRET_MAX)));
	remember_secret(rendering, value, what);
	return value;
}

static char *
secret_value(JsRendering *rendering, const JsPiece *piece, const char *what)
{
	SecretRead *read = find_read(rendering, piece);

	if (read == NULL)
	{
		read = palloc(sizeof(SecretRead));
		read->kind = piece->kind;
		read->name = piece->text;
		read->value = read_secret(rendering, piece, what);
		rendering->read = lappend(rendering->read, read);
	}
	return read->value;
}

static void
set_string(JsonbValue *value, char *text)
{
	value->type = text ? jbvString : jbvNull;
	value->val.string.val = text;
	value->val.string.len = text ? strlen(text) : 0;
}

static void
set_json_number(JsonbValue *value, int64 number)
{
	value->type = jbvNumeric;
	value->val.numeric = int64_to_numeric(number);
}

static void
set_run_field(JsonbValue *value, const JsRun *run, const char *field)
{
	if (strcmp(field, "id") == 0)
		set_json_number(value, run->run_id);
	else if (strcmp(field, "attempt") == 0)
		set_json_number(value, run->attempt);
	else
		set_string(value, js_iso8601(run->scheduled_for));
}

static void
set_args(JsonbValue *value, Jsonb *args)
{
	if (args == NULL)
		args = js_json_empty();
	value->type = jbvBinary;
	value->val.binary.data = &args->root;
	value->val.binary.len = VARSIZE(args) - VARHDRSZ;
}

static void
set_arg(JsonbValue *value, Jsonb *args, const char *path, const char *what)
{
	JsonbValue *found = args ? js_args_find(args, path) : NULL;

	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs args.%s, which is not there", what, path)));
	*value = *found;
}

/* Those of a step were looked up before it started (step_look.c). */
static void
set_step_result(JsonbValue *value, Jsonb *results, const char *name, const char *what)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue *found = NULL;

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	if (results != NULL && JB_ROOT_IS_OBJECT(results))
		found = findJsonbValueFromContainer(&results->root, JB_FOBJECT, &key);
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs " STEPS "%s, which is not there", what, name)));
	*value = *found;
}

static void
evaluate(JsRendering *rendering, const JsPiece *piece, const char *what, JsonbValue *value)
{
	const JsHttpSource *source = rendering->source;

	js_check_placeholder_count(++rendering->placeholders);
	switch (piece->kind)
	{
		case JS_ARG:
			set_arg(value, source->run->args, piece->text, what);
			break;
		case JS_ARGS:
			set_args(value, source->run->args);
			break;
		case JS_RUN_FIELD:
			set_run_field(value, source->run, piece->text);
			break;
		case JS_JOB_FIELD:
			set_string(value, source->job ? source->job->name : NULL);
			break;
		case JS_SECRET:
		case JS_VAULT_SECRET:
			set_string(value, secret_value(rendering, piece, what));
			break;
		case JS_STEP_RESULT:
			set_step_result(value, source->results, piece->text, what);
			break;
		case JS_LITERAL:
			elog(ERROR, "a literal has no value");
	}
}

/* ------------------------------------------------------------------------
 * Expansion
 * ------------------------------------------------------------------------
 */

static char *
evaluate_text(JsRendering *rendering, const JsPiece *piece, const char *what)
{
	JsonbValue	value;
	char	   *text;

	evaluate(rendering, piece, what, &value);
	if (value.type == jbvBinary && js_json_is_longer(value.val.binary.data, JS_HTTP_MAX_BODY))
		check_size(JS_HTTP_MAX_BODY + 1, what);
	text = js_json_text(&value);

	if (text != NULL)
		return text;

	if (piece->kind == JS_ARG || piece->kind == JS_STEP_RESULT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs %s%s, which is null", what,
						piece->kind == JS_ARG ? "args." : STEPS, piece->text)));
	return pstrdup("");
}

/* In the encoding of the database; encode may be NULL. */
char *
js_template_expand(JsRendering *rendering, const char *template, int kinds, const char *what,
				   JsValueEncoder encode)
{
	StringInfoData text;
	JsPiece		piece;

	initStringInfo(&text);
	while (js_template_next(&template, kinds, what, &piece))
	{
		char	   *value;

		if (piece.kind == JS_LITERAL)
		{
			count_size(rendering, piece.length, what);
			appendBinaryStringInfo(&text, piece.text, piece.length);
			continue;
		}
		value = evaluate_text(rendering, &piece, what);
		count_size(rendering, strlen(value), what);
		appendStringInfoString(&text, encode ? encode(value, what) : value);
	}
	return text.data;
}

/* A string of a JSON document. */
static void
expand_json_string(JsRendering *rendering, int kinds, const char *what, JsonbValue *value)
{
	char	   *text = pnstrdup(value->val.string.val, value->val.string.len);
	const char *rest = text;
	JsPiece		piece;

	if (js_template_next(&rest, kinds, what, &piece) &&
		piece.kind != JS_LITERAL && *rest == '\0')
	{
		evaluate(rendering, &piece, what, value);
		count_size(rendering, value->type == jbvBinary ? value->val.binary.len :
				   value->type == jbvString ? value->val.string.len : 1, what);
	}
	else
		set_string(value, js_template_expand(rendering, text, kinds, what, NULL));
}

/* A JSON document with the placeholders in its strings replaced. */
Jsonb *
js_template_expand_json(JsRendering *rendering, Jsonb *template, int kinds, const char *what)
{
	JsonbIterator *it = JsonbIteratorInit(&template->root);
	JsonbParseState *state = NULL;
	JsonbValue *result = NULL;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (JB_ROOT_IS_SCALAR(template))
	{
		JsonbExtractScalar(&template->root, &value);
		if (value.type == jbvString)
			expand_json_string(rendering, kinds, what, &value);
		return JsonbValueToJsonb(&value);
	}
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if ((token == WJB_ELEM || token == WJB_VALUE) && value.type == jbvString)
			expand_json_string(rendering, kinds, what, &value);
		result = pushJsonbValue(&state, token, token < WJB_BEGIN_ARRAY ? &value : NULL);
	}
	return JsonbValueToJsonb(result);
}
