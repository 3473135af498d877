/*-------------------------------------------------------------------------
 *
 * http_template.h
 *		Texts with placeholders, and the values of these.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_TEMPLATE_H
#define JS_HTTP_TEMPLATE_H

#include "http/http_request.h"

typedef enum JsPlaceholder
{
	JS_LITERAL = 0,
	JS_ARG = 1,					/* {{args.path}} */
	JS_ARGS = 2,				/* {{args}} */
	JS_RUN_FIELD = 4,			/* {{run.id}} and others */
	JS_JOB_FIELD = 8,			/* {{job.name}} */
	JS_SECRET = 16,				/* {{secret.NAME}} */
	JS_VAULT_SECRET = 32,		/* {{vault.NAME}} */
	JS_STEP_RESULT = 64			/* {{steps.NAME.result.path}} */
} JsPlaceholder;

#define JS_ANY_PLACEHOLDER \
	(JS_ARG | JS_ARGS | JS_RUN_FIELD | JS_JOB_FIELD | JS_SECRET | JS_VAULT_SECRET | JS_STEP_RESULT)
#define JS_OWN_PLACEHOLDER (JS_RUN_FIELD | JS_JOB_FIELD | JS_SECRET | JS_VAULT_SECRET)

/*
 * In the arguments of a step there are only these.  Other braces are text, as they
 * are in all arguments.
 */
#define JS_BRACES_ARE_TEXT 128
#define JS_ARGS_PLACEHOLDER (JS_STEP_RESULT | JS_BRACES_ARE_TEXT)

/* A part of a template. */
typedef struct JsPiece
{
	JsPlaceholder kind;
	const char *text;			/* literal: where it begins; else what it is
								 * called, without "args." and the like: of a
								 * step "NAME.result.path" */
	int			length;			/* of a literal */
} JsPiece;

/* What happens while a request is rendered. */
typedef struct JsRendering
{
	const JsHttpSource *source;
	List	   *secrets;		/* of char *: values that were put in, in each
								 * of their encodings */
	int			secret_count;	/* of different values among them */
	List	   *read;			/* those that have been read, by name */
	int			placeholders;	/* that have been replaced */
	size_t		size;			/* bytes that have been made of the part, url,
								 * headers or body, that is being expanded */
} JsRendering;

/* Makes a value, in UTF-8 or ASCII, fit for where it stands. */
typedef char *(*JsValueEncoder) (char *value, const char *what);

extern const char *js_placeholder_read(const char *rest, char **inside);
extern bool js_template_next(const char **rest, int kinds, const char *what, JsPiece *piece);
extern List *js_template_secrets(List *names, const char *template, const char *what);
extern void js_template_check(const char *template, int kinds, const char *what);
extern bool js_json_has_placeholder(Jsonb *json);
extern const char *js_template_find(const char *template, const char *stops);
extern char *js_template_expand(JsRendering *rendering, const char *template, int kinds,
								const char *what, JsValueEncoder encode);
extern Jsonb *js_template_expand_json(JsRendering *rendering, Jsonb *template, int kinds,
									  const char *what);
extern void js_check_body_size(size_t size);
extern void js_check_secret_count(int count);
extern void js_check_placeholder_count(int count);
extern void js_secret_check_name(const char *name);
extern bool js_secret_value_is_fit(const char *value);

#define JS_SECRET_MIN 4			/* bytes: shorter ones could not be told from
								 * ordinary text */
#define JS_SECRET_MAX 7000		/* bytes: a row fits on a page */
#define JS_SECRET_NAME_MAX 63

#endif							/* JS_HTTP_TEMPLATE_H */
