/*-------------------------------------------------------------------------
 *
 * http_url.h
 *		URLs of http and https.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_URL_H
#define JS_HTTP_URL_H

#include "http/http_template.h"

#define JS_MAX_URL 8192			/* bytes */

typedef struct JsUrl
{
	bool		secure;			/* https */
	char	   *host;			/* in its one form; IPv6 in brackets */
	int			port;
	char	   *target;			/* path and query; may be empty, or begin with
								 * the query */
} JsUrl;

/*
 * Takes an absolute URL apart, without its fragment.  A template may have
 * placeholders in host and target.  False, and what is wrong.
 */
extern bool js_url_split(const char *url, bool template, JsUrl *parts, const char **problem);
extern char *js_url_join(const JsUrl *parts);
extern char *js_url_expand(JsRendering *rendering, const char *template);
extern char *js_url_encode_value(char *value, const char *what);
extern char *js_url_origin(const JsUrl *parts);
extern char *js_url_plain_origin(char *origin);
extern void js_url_check(const char *url, JsHttpPlace place);

/* What a reference means on the page of a URL (RFC 3986 5.2). */
extern bool js_url_resolve(const JsUrl *base, const char *reference, JsUrl *result,
						   const char **problem);
extern bool js_url_same_origin(const JsUrl *a, const JsUrl *b);

#endif							/* JS_HTTP_URL_H */
