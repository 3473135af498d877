/*-------------------------------------------------------------------------
 *
 * http_request.h
 *		The request of an attempt, from its definition.
 *
 * A definition is a JSON object in a job's row or, for a request that was made
 * by http_post() and the like, in its run's row:
 *
 *		url				text
 *		method			text, upper case; absent: POST
 *		headers			object: name -> text, or array of texts for repeats
 *		body			any JSON, null too, which is sent as it is; or
 *		body_text		text; empty: an empty body
 *		sign_with		text: a secret's name
 *		connect_timeout	number, milliseconds; absent: JS_HTTP_CONNECT_TIMEOUT
 *		success_codes	array of "200" or "2xx"; absent: 2xx
 *		max_redirects	number; absent: 0
 *		on_success		text: a function; in a run's row only, a job has a column
 *		on_failure		likewise
 *
 * An absent value is left out, not null.  A job without a body sends a
 * description of its run (http_request.c); a request of a run's own without a
 * body sends none.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_REQUEST_H
#define JS_HTTP_REQUEST_H

#include "nodes/pg_list.h"
#include "store/store.h"
#include "utils/jsonb.h"

#define JS_HTTP_CONNECT_TIMEOUT 10000	/* ms */
#define JS_HTTP_MAX_CONNECT_TIMEOUT (3600 * 1000)	/* ms */
#define JS_HTTP_MAX_REDIRECTS 20
#define JS_HTTP_MAX_BODY_MB 16
#define JS_HTTP_MAX_BODY (JS_HTTP_MAX_BODY_MB * 1024 * 1024)	/* bytes */
#define JS_HTTP_MAX_SECRETS 16	/* different ones in a request */
#define JS_HTTP_MAX_PLACEHOLDERS 10000

/* What a caller has given; NULL: not given. */
typedef struct JsHttpDefinition
{
	char	   *url;
	char	   *method;
	Jsonb	   *headers;
	Jsonb	   *body;
	char	   *body_text;
	char	   *sign_with;		/* empty: none */
	int64		connect_timeout;	/* microseconds; -1: not given, 0: default */
	ArrayType  *success_codes;	/* of text; empty: default */
	int			max_redirects;	/* -1: not given */
	char	   *on_success;		/* empty: none */
	char	   *on_failure;
} JsHttpDefinition;

/*
 * Where placeholders stand (http_template.c): in a job's definition in url,
 * headers and body; in a request's own only in the values of headers, and there
 * without those of args, for its url and body may hold what a stranger has
 * written.
 */
typedef enum JsHttpPlace
{
	JS_HTTP_OF_JOB,
	JS_HTTP_OF_RUN
} JsHttpPlace;

/* What a request is made from. */
typedef struct JsHttpSource
{
	const JsJob *job;			/* NULL: none */
	const JsRun *run;			/* its args merged over the job's */
	Jsonb	   *definition;		/* the job's, or the run's own */
	JsHttpPlace place;
	Jsonb	   *results;		/* of a step: what {{steps...}} stand for, by
								 * their names; NULL: nothing */
	const pg_uuid_t *token;		/* of the database */
	TimestampTz now;

	/* The value of a secret; NULL: there is none of this name. */
	char	   *(*secret) (const char *name, void *arg);
	char	   *(*vault) (const char *name, void *arg);
	void	   *arg;
} JsHttpSource;

typedef struct JsHttpRequest
{
	char	   *url;
	char	   *shown_url;		/* the same with *** for secrets */
	char	   *method;
	List	   *headers;		/* of char *: "Name: value" in UTF-8; values
								 * may be empty */
	char	   *body;			/* in UTF-8; NULL: none */
	size_t		body_size;
	List	   *secrets;		/* of char *: values that it contains, in each
								 * way that they may be encoded */
	int			connect_timeout_ms;
	int			max_redirects;
} JsHttpRequest;

/*
 * The definition with what is given written over it (old may be NULL), checked
 * whole; but not whether the functions exist and the owner may call them.  For
 * sessions: raises what is wrong.
 */
extern Jsonb *js_http_define(Jsonb *old, const JsHttpDefinition *given, JsHttpPlace place);

/*
 * URL with parameters (an object of scalars and arrays of them) appended to its
 * query.  Raises what cannot be one.
 */
extern char *js_http_url_with_params(const char *url, Jsonb *params);

/*
 * The request of an attempt.  Raises what makes it impossible, which the next
 * attempt would not change; messages show no secret.  Needs a transaction if
 * the callbacks do.
 */
extern void js_http_render(const JsHttpSource *source, JsHttpRequest *request);

/*
 * For another URL that a redirect leads to: the request changed accordingly
 * (RFC 9110 15.4), and with harmless headers only if the origin is another.
 * False, and what is wrong, if it must not be followed.  definition: what says
 * which statuses are a success; NULL: nothing.
 */
extern bool js_http_redirect(JsHttpRequest *request, Jsonb *definition, int status,
							 const char *location, const char **problem);

/* Whether it says which statuses mean success; and whether one does.  NULL: it does not say. */
extern bool js_http_has_success_codes(Jsonb *definition);
extern bool js_http_is_success(Jsonb *definition, int status);

/*
 * A key template, 'http_host:api.example.com:443', for limits of each host; a
 * hash takes the place of what is too long for a key.  NULL: there is no URL.
 */
extern char *js_http_host_template(Jsonb *definition, JsHttpPlace place);

/* Values out of a definition. */
extern char *js_http_text(Jsonb *definition, const char *name);

/*
 * Replaces each occurrence of the secrets in a text of so many bytes, which may
 * be any; returns a copy, and its size, if there is any, else the text.
 */
extern char *js_http_redact(const List *secrets, const char *text, size_t *size);

/*
 * When to come again, in microseconds from now: Retry-After as seconds or date
 * (RFC 9110 10.2.3), 3650 days at most; -1: it says nothing.
 */
extern int64 js_http_retry_after(const char *headers, size_t size, TimestampTz now);

/* The encoding that Content-Type gives the body; UTF-8 if it gives none that we know. */
extern int	js_http_charset(const char *headers, size_t size);

/* http_charset.c */
extern char *js_http_decode(int encoding, const char *text, size_t size, bool cut);
extern char *js_http_encode(char *utf8);
extern char *js_http_header_text(const List *secrets, const char *text, size_t size);

#endif							/* JS_HTTP_REQUEST_H */
