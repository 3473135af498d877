/*-------------------------------------------------------------------------
 *
 * http_redirect.c
 *		The request that follows a redirect (RFC 9110 15.4).
 *
 * A server that redirects may send us to somebody whom the user does not trust
 * with the contents of the request.  So another origin (scheme, host, port)
 * gets only headers that are known to be harmless, nothing that contains a
 * secret, and no signature.  If a secret cannot be removed, as from a body, it
 * gets no request.  We find secrets by their values, in each encoding that they
 * may have, so it does not matter how they got there.  For text that we have
 * written ourselves the request remembers the encodings.  The URL of the
 * redirect comes from somebody else, so before the comparison all escapes are
 * removed from it, and from the secrets.
 *
 * A POST does not become a GET, as browsers do with 301 and 302: its body would
 * not arrive, and yet its run would succeed. 303 means that the body has
 * arrived; so does a definition that counts such a status as success.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/http_header.h"
#include "http/http_request.h"
#include "http/http_text.h"
#include "http/http_url.h"

/* What another origin may know: neither who we are nor what for. */
static const char *const harmless[] = {
	"Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "Content-Encoding",
	"Content-Language", "Content-Type", "Idempotency-Key", "Range", "traceparent", "User-Agent"
};

/* ------------------------------------------------------------------------
 * Methods
 * ------------------------------------------------------------------------
 */

/* As browsers do it. */
static bool
changes_to_get(int status, const char *method)
{
	if (status == 303)
		return strcmp(method, "HEAD") != 0;
	return (status == 301 || status == 302) && strcmp(method, "POST") == 0;
}

/* Whether a body would get lost that nobody has said to have arrived. */
static bool
loses_body(Jsonb *definition, int status, const char *method)
{
	return status != 303 && changes_to_get(status, method) && !js_http_is_success(definition, status);
}

static bool
status_is_redirect(int status)
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
is_harmless(const char *line)
{
	for (int i = 0; i < lengthof(harmless); i++)
		if (js_header_is(line, harmless[i]))
			return true;
	return false;
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
		if (without_body && is_signature(line))
			continue;
		if (elsewhere &&
			(!is_harmless(line) || js_contains_any(request->secrets, line, strlen(line))))
			continue;
		kept = lappend(kept, line);
	}
	return kept;
}

/* Whether another origin would get a secret that cannot be taken out. */
static bool
would_tell(const JsHttpRequest *request, const char *location, const char *url)
{
	const List *secrets = request->secrets;

	return js_contains_any(secrets, request->url, strlen(request->url)) ||
		(request->body != NULL && js_contains_any(secrets, request->body, request->body_size)) ||
		js_contains_any(secrets, location, strlen(location)) ||
		js_says_any(secrets, location) || js_says_any(secrets, url);
}

/* ------------------------------------------------------------------------
 * The request
 * ------------------------------------------------------------------------
 */

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

/* Why it is not followed; NULL: it may be, to this URL. */
static const char *
find_problem(const JsHttpRequest *request, Jsonb *definition, int status, const char *location,
			 char **url, bool *elsewhere)
{
	const char *problem;
	JsUrl		target;

	if (!status_is_redirect(status))
		return "its status is none of 301, 302, 303, 307 and 308";
	if (location == NULL)
		return "it redirects without saying where to";
	if (loses_body(definition, status, request->method))
		return "it would make a GET of the POST, and the body would not arrive";
	if (!find_target(request, location, &target, elsewhere, &problem))
		return problem;
	*url = js_url_join(&target);
	if (*elsewhere && would_tell(request, location, *url))
		return "it redirects to another host a request with a secret in its URL or body";
	return NULL;
}

bool
js_http_redirect(JsHttpRequest *request, Jsonb *definition, int status, const char *location,
				 const char **problem)
{
	bool		to_get = changes_to_get(status, request->method);
	bool		elsewhere = false;
	char	   *url = NULL;
	size_t		size;

	*problem = find_problem(request, definition, status, location, &url, &elsewhere);
	if (*problem != NULL)
		return false;
	request->headers = keep_headers(request, to_get, elsewhere);
	if (to_get)
		change_to_get(request);
	request->url = url;
	size = strlen(url) + 1;
	request->shown_url = js_http_redact(request->secrets, url, &size);
	return true;
}
