/*-------------------------------------------------------------------------
 *
 * limit_keys.c
 *		The keys of a run that limits apply to, and their templates.
 *
 * A key is a text, 'user:42'; sched_limit.c applies limits to it.  A job has
 * templates, 'user:{{args.user_id}}'.  A run gets its keys from its arguments
 * when it is queued, and keeps them.
 *
 * A key of a host (JS_HOST_CLASS) is the same for all spellings of the host, so
 * it is parsed as the host of a URL is, from the same text.
 *
 * Templates are checked when they are given.  In the scheduler nothing here is
 * an error, because somebody may have damaged the row that they come from.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "http/http_template.h"
#include "http/http_text.h"
#include "http/http_url.h"
#include "http/limit_keys.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#define OPEN "{{"
#define CLOSE "}}"
#define ARGS "args."

/*
 * Takes one placeholder apart.  rest is after its opening braces; returns
 * what follows the closing ones, and the path without "args.", or whatever it
 * has to begin with; or NULL and what is wrong.
 */
static const char *
read_placeholder(const char *rest, const char *begin, char **path, char **problem)
{
	char	   *inside;

	rest = js_placeholder_read(rest, &inside);
	if (rest == NULL)
	{
		*problem = pstrdup("has braces that are not closed");
		return NULL;
	}
	*path = inside + strlen(begin);
	if (strncmp(inside, begin, strlen(begin)) != 0 || **path == '\0' || strpbrk(inside, "{} ") != NULL ||
		strstr(inside, "..") != NULL || inside[strlen(inside) - 1] == '.')
	{
		*problem = psprintf("has the unknown placeholder \"%s\"", inside);
		return NULL;
	}
	return rest;
}

/*
 * The text of what a path leads to; NULL if there is none.  A number is the same key however
 * many zeros it ends with; in a host, of which it is a part, they count.
 */
static char *
value_at(Jsonb *args, const char *path, bool is_host)
{
	JsonbValue *value = js_args_find(args, path);

	if (value == NULL)
		return NULL;
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return is_host ? js_json_text(value) : numeric_normalize(value->val.numeric);
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

/*
 * Appends what a placeholder stands for; rest is after its opening braces.
 * Returns what follows it, or NULL and what is wrong.
 */
static const char *
append_value(StringInfo key, const char *rest, const char *begin, Jsonb *args, bool is_host,
			 char **problem)
{
	char	   *path;
	char	   *value;

	rest = read_placeholder(rest, begin, &path, problem);
	if (rest == NULL || args == NULL)
		return rest;
	value = value_at(args, path, is_host);
	if (value == NULL)
	{
		*problem = psprintf("needs %s%s, which is not there, or is no text, number or boolean", begin, path);
		return NULL;
	}
	appendStringInfoString(key, value);
	return rest;
}

static char *
plain_host_key(const char *key)
{
	return psprintf(JS_HOST_KEY "%s", js_url_plain_origin(pstrdup(key + strlen(JS_HOST_KEY))));
}

/* What a template makes, which is not looked at; NULL, and what is wrong with it. */
static char *
fill(const char *template, const char *begin, Jsonb *args, bool is_host, char **problem)
{
	const char *rest = template;
	StringInfoData key;

	initStringInfo(&key);
	*problem = NULL;
	while (rest != NULL && *rest != '\0')
	{
		if (strncmp(rest, OPEN, strlen(OPEN)) == 0)
			rest = append_value(&key, rest + strlen(OPEN), begin, args, is_host, problem);
		else if (strncmp(rest, CLOSE, strlen(CLOSE)) == 0)
		{
			*problem = pstrdup("has braces that are not opened");
			rest = NULL;
		}
		else
			appendStringInfoChar(&key, *rest++);
	}
	if (*problem == NULL && args != NULL && key.len == 0)
		*problem = pstrdup("makes an empty key");
	return *problem != NULL ? NULL : key.data;
}

/*
 * The key that a template makes with some arguments; without them the
 * template is just looked through.  NULL, and what is wrong with it, if it
 * cannot be made.
 */
static char *
expand(const char *template, Jsonb *args, char **problem)
{
	bool		is_host = strncmp(template, JS_HOST_KEY, strlen(JS_HOST_KEY)) == 0;
	char	   *key = fill(template, ARGS, args, is_host, problem);

	if (key != NULL && strlen(key) > JS_MAX_LIMIT_KEY_LENGTH)
		*problem = psprintf("makes a key longer than %d bytes", JS_MAX_LIMIT_KEY_LENGTH);
	if (*problem != NULL)
		return NULL;
	return is_host ? plain_host_key(key) : key;
}

/*
 * The same of a template whose placeholders are paths into the object themselves,
 * {{record.id}}, and which is no key of a limit.
 */
char *
js_key_expand(const char *template, Jsonb *object, char **problem)
{
	return fill(template, "", object, false, problem);
}

/* The texts of an array: NULLs, and whatever is too many, are passed over. */
int
js_limit_keys_read(ArrayType *keys, char **names)
{
	int			count = 0;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	if (keys == NULL || ARR_ELEMTYPE(keys) != TEXTOID)
		return 0;
	deconstruct_array(keys, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n && count < JS_MAX_LIMIT_KEYS; i++)
		if (!nulls[i])
			names[count++] = TextDatumGetCString(elements[i]);
	return count;
}

/* The templates and one more; templates NULL: none. */
ArrayType *
js_limit_keys_with(ArrayType *templates, const char *one)
{
	char	   *names[JS_MAX_LIMIT_KEYS];
	Datum		all[JS_MAX_LIMIT_KEYS];
	int			count = Min(js_limit_keys_read(templates, names), JS_MAX_GIVEN_LIMIT_KEYS);

	for (int i = 0; i < count; i++)
		all[i] = CStringGetTextDatum(names[i]);
	all[count++] = CStringGetTextDatum(one);
	return construct_array(all, count, TEXTOID, -1, false, TYPALIGN_INT);
}

static bool
is_among(const char *key, const Datum *keys, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(key, TextDatumGetCString(keys[i])) == 0)
			return true;
	return false;
}

/* The keys, each once.  NULL if there are none, or, with a problem, in error. */
ArrayType *
js_limit_keys_resolve(ArrayType *templates, Jsonb *args, char **problem)
{
	char	   *texts[JS_MAX_LIMIT_KEYS];
	Datum		keys[JS_MAX_LIMIT_KEYS];
	int			n = js_limit_keys_read(templates, texts);
	int			count = 0;

	*problem = NULL;
	for (int i = 0; i < n; i++)
	{
		char	   *what;
		char	   *key = expand(texts[i], args, &what);

		if (key == NULL)
		{
			*problem = psprintf("key \"%s\" %s", texts[i], what);
			return NULL;
		}
		if (!is_among(key, keys, count))
			keys[count++] = CStringGetTextDatum(key);
	}
	if (count == 0)
		return NULL;
	return construct_array(keys, count, TEXTOID, -1, false, TYPALIGN_INT);
}

/* The same, for a session. */
ArrayType *
js_limit_keys_require(ArrayType *templates, Jsonb *args)
{
	char	   *problem;
	ArrayType  *keys = js_limit_keys_resolve(templates, args, &problem);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s", problem),
				 errhint("Give other args, or other keys.")));
	return keys;
}

pg_noreturn static void
refuse(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", what),
			 errhint("keys is an array of at most %d texts, such as 'user:{{args.user_id}}', of at most %d bytes.",
					 JS_MAX_GIVEN_LIMIT_KEYS, JS_MAX_LIMIT_KEY_LENGTH)));
}

/* Templates as a user gives them, which are right if this returns. */
ArrayType *
js_limit_keys_argument(ArrayType *templates)
{
	char	   *texts[JS_MAX_LIMIT_KEYS];
	int			n;

	if (ARR_NDIM(templates) > 1)
		refuse("keys has more than one dimension");
	if (array_contains_nulls(templates))
		refuse("keys contains NULL");
	if (ArrayGetNItems(ARR_NDIM(templates), ARR_DIMS(templates)) > JS_MAX_GIVEN_LIMIT_KEYS)
		refuse(psprintf("keys has more than %d elements", JS_MAX_GIVEN_LIMIT_KEYS));
	n = js_limit_keys_read(templates, texts);
	for (int i = 0; i < n; i++)
	{
		char	   *problem;

		if (texts[i][0] == '\0')
			refuse("keys contains an empty text");
		if (strlen(texts[i]) > JS_MAX_LIMIT_KEY_LENGTH)
			refuse(psprintf("keys contains a text of more than %d bytes", JS_MAX_LIMIT_KEY_LENGTH));
		if (expand(texts[i], NULL, &problem) == NULL)
			refuse(psprintf("key \"%s\" %s", texts[i], problem));
	}
	return templates;
}
