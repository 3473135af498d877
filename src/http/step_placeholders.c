/*-------------------------------------------------------------------------
 *
 * step_placeholders.c
 *		Placeholders for the results of steps: where they are, and in arguments.
 *
 * A step may have {{steps.NAME.result.path}} in its url, headers, body and args.  In
 * a request they are placeholders like others (http_template.c).  In arguments they
 * are the only ones: other braces there have always been text.
 *
 * Templates are what the definition of the step has.  Arguments of the workflow's
 * run, and results, are values, whatever they look like.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "http/http_definition.h"
#include "http/http_template.h"
#include "http/http_text.h"
#include "http/limit_keys.h"
#include "http/step_placeholders.h"
#include "miscadmin.h"

typedef struct Visit
{
	JsStepPlaceholderVisitor visit;
	void	   *arg;
	const char *key;
	int			kinds;
	int			count;			/* of those that were visited */
} Visit;

static void
visit_text(Visit *visit, const char *text)
{
	JsPiece		piece;

	js_template_check(text, visit->kinds, visit->key);
	while (js_template_next(&text, visit->kinds, visit->key, &piece))
		if (piece.kind == JS_STEP_RESULT)
		{
			js_check_placeholder_count(++visit->count);
			visit->visit(visit->key, piece.text, visit->arg);
		}
}

static void
visit_json(Visit *visit, Jsonb *json)
{
	JsonbIterator *it = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
		if ((token == WJB_ELEM || token == WJB_VALUE) && value.type == jbvString)
			visit_text(visit, pnstrdup(value.val.string.val, value.val.string.len));
}

static void
visit_request(Visit *visit, Jsonb *request)
{
	static const char *const keys[] = {"url", "body_text", "headers", "body"};

	for (int i = 0; i < lengthof(keys); i++)
	{
		char	   *text = js_http_text(request, keys[i]);
		Jsonb	   *json = text == NULL ? js_definition_jsonb(request, keys[i]) : NULL;

		visit->key = keys[i];
		if (text != NULL)
			visit_text(visit, text);
		else if (json != NULL)
			visit_json(visit, json);
	}
}

/* All that a step has, in its request and in its arguments. */
void
js_step_placeholders_visit(const JsJob *step, JsStepPlaceholderVisitor visit, void *arg)
{
	Visit		all = {.visit = visit,.arg = arg,.kinds = JS_ANY_PLACEHOLDER};

	if (step->request != NULL)
		visit_request(&all, step->request);
	all.key = "args";
	all.kinds = JS_ARGS_PLACEHOLDER;
	if (step->args != NULL)
		visit_json(&all, step->args);
}

static void
refuse(const char *key, const char *name, void *arg)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s cannot have the placeholder \"steps.%s\"", key, name),
			 errhint("Only a step of a job has steps before it, whose results it can use.")));
}

/* The request of a job that is no step. */
void
js_step_placeholders_refuse(const JsJob *job)
{
	Visit		all = {.visit = refuse,.kinds = JS_ANY_PLACEHOLDER};

	visit_request(&all, job->request);
}

static void
note_any(const char *key, const char *name, void *arg)
{
	*(bool *) arg = true;
}

/* Whether an argument, or one that it is inside of, is filled when the step starts. */
static bool
is_filled_later(Jsonb *args, const char *path)
{
	bool		is_so = false;
	Visit		visit = {.visit = note_any,.arg = &is_so,.key = "args",.kinds = JS_ARGS_PLACEHOLDER};

	for (size_t end = strcspn(path, "."); !is_so; end += 1 + strcspn(path + end + 1, "."))
	{
		JsonbValue *value = js_args_find(args, pnstrdup(path, end));

		if (value == NULL)
			break;
		if (value->type == jbvString)
			visit_text(&visit, pnstrdup(value->val.string.val, value->val.string.len));
		if (path[end] == '\0')
			break;
	}
	return is_so;
}

/* An argument that keys need, and that is filled when the step starts; NULL: none. */
const char *
js_step_key_needs(const JsJob *step, ArrayType *templates)
{
	char	   *texts[JS_MAX_LIMIT_KEYS];
	int			count = step->args == NULL ? 0 : js_limit_keys_read(templates, texts);
	JsPiece		piece;

	for (int i = 0; i < count; i++)
		for (const char *rest = texts[i]; js_template_next(&rest, JS_ARG, "keys", &piece);)
			if (piece.kind == JS_ARG && is_filled_later(step->args, piece.text))
				return piece.text;
	return NULL;
}

/* The step's own arguments with the values in them; results as in JsHttpSource. */
Jsonb *
js_step_args_fill(const JsJob *step, Jsonb *results)
{
	JsHttpSource source = {.results = results};
	JsRendering rendering = {.source = &source};

	return js_template_expand_json(&rendering, step->args, JS_ARGS_PLACEHOLDER, "args");
}
