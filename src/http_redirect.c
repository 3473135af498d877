/*-------------------------------------------------------------------------
 *
 * http_redirect.c
 *		The request that a redirect asks for (RFC 9110 15.4).
 *
 * Who redirects need not be who was trusted with what the request holds.  So
 * another origin (scheme, host, port) gets no header but those that are known
 * to tell nothing, whatever its name, nothing that holds a secret, and no
 * signature; and where that cannot be taken out, as in a body, it gets no
 * request.  Whether a part holds a secret is found by its value, in each way
 * that it may be encoded, so it does not matter how it came there.  What we
 * have written ourselves has the encodings that the request remembers; where
 * the redirect leads to somebody else has written, so all escapes are taken
 * out of it, and out of the secrets, before they are compared.
 *
 * A POST does not become a GET, as browsers let it with 301 and 302: its body
 * would not arrive, and its run succeed.  303 says that it has arrived; and so
 * does a definition that calls such a status a success.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "http_header.h"
#include "http_request.h"
#include "http_text.h"
#include "http_url.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

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

/* ------------------------------------------------------------------------
 * Secrets in what others have written
 * ------------------------------------------------------------------------
 */

static bool
ends_with_hex(StringInfo text, int digits)
{
	for (int i = text->len - digits; i < text->len; i++)
		if (!isxdigit((unsigned char) text->data[i]))
			return false;
	return true;
}

/* Puts some bytes in the place of the last ones. */
static void
replace_end(StringInfo text, int length, const void *bytes, int size)
{
	text->len -= length;
	appendBinaryStringInfo(text, bytes, size);
}

/* %41 */
static bool
unescape_percent(StringInfo text)
{
	char		byte;

	if (text->len < 3 || text->data[text->len - 3] != '%' || !ends_with_hex(text, 2))
		return false;
	byte = (char) strtol(text->data + text->len - 2, NULL, 16);
	replace_end(text, 3, &byte, 1);
	return true;
}

/* \u0041 */
static bool
unescape_unicode(StringInfo text)
{
	unsigned char utf8[5] = {0};

	if (text->len < 6 || strncmp(text->data + text->len - 6, "\\u", 2) != 0 || !ends_with_hex(text, 4))
		return false;
	unicode_to_utf8((pg_wchar) strtol(text->data + text->len - 4, NULL, 16), utf8);
	replace_end(text, 6, utf8, Max(strlen((char *) utf8), 1));
	return true;
}

/* \" and the like */
static bool
unescape_backslash(StringInfo text)
{
	static const char escaped[] = "\"'\\/bfnrt";
	static const char meant[] = "\"'\\/\b\f\n\r\t";
	const char *found;

	if (text->len < 2 || text->data[text->len - 2] != '\\' || text->data[text->len - 1] == '\0')
		return false;
	found = strchr(escaped, text->data[text->len - 1]);
	if (found == NULL)
		return false;
	replace_end(text, 2, &meant[found - escaped], 1);
	return true;
}

/*
 * What a text says when no escape is left in it, however often it was escaped,
 * in lower case, as hosts are; "+" may be a space in a URL.  An escape that ends
 * here is replaced at once, so it may itself end another one.
 */
static void
unescape(const char *text, StringInfo plain)
{
	initStringInfo(plain);
	for (; *text !='\0'; text ++)
	{
		appendStringInfoChar(plain, *text);
		while (unescape_percent(plain) || unescape_unicode(plain) || unescape_backslash(plain))
			;
		if (plain->data[plain->len - 1] == '+')
			plain->data[plain->len - 1] = ' ';
		plain->data[plain->len - 1] = pg_ascii_tolower((unsigned char) plain->data[plain->len - 1]);
	}
}

static bool
says_any(const List *secrets, const char *text)
{
	StringInfoData said;
	List	   *plain = NIL;
	ListCell   *lc;

	foreach(lc, secrets)
	{
		unescape(lfirst(lc), &said);
		plain = lappend(plain, said.data);
	}
	unescape(text, &said);
	return js_contains_any(plain, said.data, said.len);
}

/* Whether another origin would get a secret that cannot be taken out. */
static bool
would_tell(const JsHttpRequest *request, const char *location, const char *url)
{
	const List *secrets = request->secrets;

	return js_contains_any(secrets, request->url, strlen(request->url)) ||
		(request->body != NULL && js_contains_any(secrets, request->body, request->body_size)) ||
		js_contains_any(secrets, location, strlen(location)) ||
		says_any(secrets, location) || says_any(secrets, url);
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

	if (!is_redirect(status))
		return "its status is none of 301, 302, 303, 307 and 308";
	if (location == NULL)
		return "it redirects without saying where to";
	if (loses_body(definition, status, request->method))
		return "it would make a GET of the POST, and the body would not arrive";
	if (!find_target(request, location, &target, elsewhere, &problem))
		return problem;
	*url = js_url_join(&target);
	if (*elsewhere && would_tell(request, location, *url))
		return "it redirects to another host a request with a secret in its URL or body, or in where it redirects to";
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
