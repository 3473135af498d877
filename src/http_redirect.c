/*-------------------------------------------------------------------------
 *
 * http_redirect.c
 *		The request that a redirect asks for (RFC 9110 15.4).
 *
 * Who redirects need not be who was trusted with what the request holds.  So
 * another origin (scheme, host, port) gets no credentials, nothing that holds a
 * secret, and no signature; and where that cannot be taken out, as in a body, it
 * gets no request.  Whether a part holds a secret is found by its value, in each
 * way that it may be encoded, so it does not matter how it came there.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http_header.h"
#include "http_request.h"
#include "http_text.h"
#include "http_url.h"

/* Of whom we are; for one origin. */
static const char *const credentials[] = {"Authorization", "Cookie"};

static bool
changes_to_get(int status, const char *method)
{
	if (status == 303)
		return strcmp(method, "HEAD") != 0;
	return (status == 301 || status == 302) && strcmp(method, "POST") == 0;
}

static bool
is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static bool
is_of_body(const char *line)
{
	return js_header_begins(line, "Content-");
}

static bool
is_signature(const char *line)
{
	return js_header_is(line, "webhook-id") || js_header_is(line, "webhook-timestamp") ||
		js_header_is(line, "webhook-signature");
}

static bool
is_private(const List *secrets, const char *line)
{
	for (int i = 0; i < lengthof(credentials); i++)
		if (js_header_is(line, credentials[i]))
			return true;
	return js_header_begins(line, "Proxy-") || js_contains_any(secrets, line, strlen(line));
}

/* A GET without a body; what was signed was the body. */
static void
change_to_get(JsHttpRequest *request)
{
	request->method = pstrdup("GET");
	request->body = NULL;
	request->body_size = 0;
}

static List *
keep_headers(const JsHttpRequest *request, bool without_body, bool elsewhere)
{
	List	   *kept = NIL;
	ListCell   *lc;

	foreach(lc, request->headers)
	{
		char	   *line = lfirst(lc);

		if (without_body && is_of_body(line))
			continue;
		if ((without_body || elsewhere) && is_signature(line))
			continue;
		if (elsewhere && is_private(request->secrets, line))
			continue;
		kept = lappend(kept, line);
	}
	return kept;
}

/* Whether another origin would get a secret that cannot be taken out. */
static bool
would_tell(const JsHttpRequest *request, const char *url)
{
	const List *secrets = request->secrets;

	return js_contains_any(secrets, request->url, strlen(request->url)) ||
		js_contains_any(secrets, url, strlen(url)) ||
		(request->body != NULL && js_contains_any(secrets, request->body, request->body_size));
}

/* Where it leads; false if it must not be followed there. */
static bool
find_target(const JsHttpRequest *request, const char *location, JsUrl *target, bool *elsewhere,
			const char **problem)
{
	JsUrl		base;
	const char *what;

	if (!js_url_split(request->url, false, &base, &what) ||
		!js_url_resolve(&base, location, target, &what))
	{
		*problem = psprintf("the URL that it redirects to %s", what);
		return false;
	}
	if (base.secure && !target->secure)
	{
		*problem = "it redirects from https to http";
		return false;
	}
	*elsewhere = !js_url_same_origin(&base, target);
	return true;
}

bool
js_http_redirect(JsHttpRequest *request, int status, const char *location, const char **problem)
{
	bool		to_get = changes_to_get(status, request->method);
	bool		elsewhere;
	JsUrl		target;
	char	   *url;
	size_t		size;

	*problem = NULL;
	if (!is_redirect(status))
		*problem = "its status is none of 301, 302, 303, 307 and 308";
	else if (location == NULL)
		*problem = "it redirects without saying where to";
	if (*problem != NULL || !find_target(request, location, &target, &elsewhere, problem))
		return false;
	url = js_url_join(&target);
	if (elsewhere && would_tell(request, url))
	{
		*problem = "it redirects to another host a request with a secret in its URL or body";
		return false;
	}
	request->headers = keep_headers(request, to_get, elsewhere);
	if (to_get)
		change_to_get(request);
	request->url = url;
	size = strlen(url) + 1;
	request->shown_url = js_http_redact(request->secrets, url, &size);
	return true;
}
