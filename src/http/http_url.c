/*-------------------------------------------------------------------------
 *
 * http_url.c
 *		URLs of http and https.
 *
 * Parsers disagree about unusual URLs, and an attacker who finds two that
 * disagree gets a request past a check.  So we accept little, and what is sent
 * is built anew from what we have parsed: scheme, host and port in their plain
 * form, and every byte of path and query that is not allowed in a URL
 * percent-encoded.
 *
 * A host has one form, which is made as soon as the URL is parsed.  It is used
 * for counting, checking, connecting and sending: names in lower case,
 * addresses as inet_ntop() writes them. inet_aton() and libcurl also accept
 * "127.1", "0x7f000001" and the like as addresses; and a host that ends in a
 * number is an address or invalid, as in WHATWG's URL Standard.  A dot at the
 * end of a name is kept, because it has a meaning for resolvers; but the host
 * counts as the same (js_url_origin()).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <sys/socket.h>

#include "common/string.h"
#include "compat.h"
#include "http/egress.h"
#include "http/http_text.h"
#include "http/http_url.h"
#include "lib/stringinfo.h"

#define WHAT "url"

static const char not_ascii[] = "has a host that is not in ASCII";

#define MAX_HOST 253			/* of DNS */
#define MAX_LABEL 63

#define UNRESERVED "-._~"
#define LETTERS_AND_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* What may stand in path and query, besides letters and digits. */
#define TARGET_CHARACTERS UNRESERVED ":/?[]@!$&'()*+,;=%"

/* ------------------------------------------------------------------------
 * Taking a URL apart
 * ------------------------------------------------------------------------
 */

/* A scheme that is ours; what follows its slashes, or NULL. */
static const char *
read_scheme(const char *url, bool *secure)
{
	*secure = pg_strncasecmp(url, "https://", 8) == 0;
	if (*secure)
		return url + 8;
	return pg_strncasecmp(url, "http://", 7) == 0 ? url + 7 : NULL;
}

static bool
has_control(const char *url, bool template)
{
	static const char controls[] = "\001\002\003\004\005\006\007\010\011\012\013\014\015\016\017"
		"\020\021\022\023\024\025\026\027\030\031\032\033\034\035\036\037\040\177";

	return (template ? *js_template_find(url, controls) : url[strcspn(url, controls)]) != '\0';
}

static const char *
find(const char *text, const char *stops, bool template)
{
	return template ? js_template_find(text, stops) : text + strcspn(text, stops);
}

/* In lower case, but for placeholders. */
static char *
lower(const char *host, bool template)
{
	char	   *copy = pstrdup(host);
	char	   *c = copy;

	while (*(c = unconstify(char *, find(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", template))) != '\0')
		*c = pg_ascii_tolower(*c);
	return copy;
}

/* Labels of 1 to 63 characters with dots between them; one more at the end. */
static bool
is_host_name(const char *host)
{
	size_t		length = strlen(host);

	if (length == 0 || length > MAX_HOST)
		return false;
	while (*host != '\0')
	{
		size_t		label = strspn(host, LETTERS_AND_DIGITS "-_");

		if (label == 0 || label > MAX_LABEL || (host[label] != '.' && host[label] != '\0'))
			return false;
		host += label + (host[label] == '.');
	}
	return true;
}

/* Whether the last label is a number: digits, or hexadecimal ones behind "0x". */
static bool
ends_in_number(const char *host)
{
	size_t		end = js_host_length(host);
	size_t		start = end;
	size_t		length;

	while (start > 0 && host[start - 1] != '.')
		start--;
	length = end - start;
	if (length >= 2 && host[start] == '0' && (host[start + 1] | 0x20) == 'x')
		return strspn(host + start + 2, "0123456789abcdefABCDEF") >= length - 2;
	return strspn(host + start, "0123456789") >= length;
}

/* An IPv4 address in any of its spellings as the usual one; NULL: it is none. */
static char *
read_ipv4(const char *host)
{
	char		address[INET_ADDRSTRLEN];
	struct in_addr parsed;

	if (inet_aton(pnstrdup(host, js_host_length(host)), &parsed) == 0)
		return NULL;
	inet_ntop(AF_INET, &parsed, address, sizeof(address));
	return pstrdup(address);
}

/* Likewise one of IPv6, in brackets; one that is mapped is the IPv4 address. */
static char *
read_ipv6(const char *host)
{
	char		address[INET6_ADDRSTRLEN];
	struct in6_addr parsed;
	size_t		length = strlen(host);

	if (length < 2 || host[length - 1] != ']' ||
		inet_pton(AF_INET6, pnstrdup(host + 1, length - 2), &parsed) != 1)
		return NULL;
	if (IN6_IS_ADDR_V4MAPPED(&parsed))
	{
		inet_ntop(AF_INET, parsed.s6_addr + 12, address, sizeof(address));
		return pstrdup(address);
	}
	inet_ntop(AF_INET6, &parsed, address, sizeof(address));
	return psprintf("[%s]", address);
}

/* A host in its one form; NULL: it is none. */
static char *
read_host(const char *host)
{
	if (*host == '[')
		return read_ipv6(host);
	if (!is_host_name(host))
		return NULL;
	return ends_in_number(host) ? read_ipv4(host) : lower(host, false);
}

/* Only arguments may say where a request goes, and only within the host. */
static bool
is_host_template(const char *host)
{
	bool		anything = false;
	JsPiece		piece;

	while (js_template_next(&host, JS_ARG, "the host of a url", &piece))
	{
		anything = true;
		if (piece.kind == JS_LITERAL &&
			strspn(piece.text, LETTERS_AND_DIGITS "-_.") < (size_t) piece.length)
			return false;
	}
	return anything;
}

/* As read_host(); a template stays one. */
static char *
read_host_template(const char *host)
{
	if (*host == '[' || strstr(host, "{{") == NULL)
		return read_host(host);
	return is_host_template(host) ? lower(host, true) : NULL;
}

static bool
read_port(const char *text, int *port)
{
	size_t		digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 5 || text[digits] != '\0')
		return false;
	*port = atoi(text);
	return *port >= 1 && *port <= 65535;
}

/* Host and port, between "//" and the path. */
static bool
read_authority(const char *authority, bool template, JsUrl *parts, const char **problem)
{
	const char *end;
	char	   *host;

	if (*find(authority, "@", template) != '\0')
	{
		*problem = "has credentials in it";
		return false;
	}
	end = find(authority, *authority == '[' ? "]" : ":", template);
	if (*end == ']')
		end++;
	host = pnstrdup(authority, end - authority);
	parts->host = template ? read_host_template(host) : read_host(host);
	parts->port = parts->secure ? 443 : 80;
	if (*end != '\0' && (*end != ':' || !read_port(end + 1, &parts->port)))
		*problem = "has an invalid port";
	else if (*host == '\0')
		*problem = "has no host";
	else if (parts->host == NULL)
		*problem = pg_is_ascii(host) ? "has an invalid host" : not_ascii;
	return *problem == NULL;
}

bool
js_url_split(const char *url, bool template, JsUrl *parts, const char **problem)
{
	const char *authority = read_scheme(url, &parts->secure);
	const char *target;

	*problem = NULL;
	if (strlen(url) > JS_MAX_URL)
		*problem = "is longer than " CppAsString2(JS_MAX_URL) " bytes";
	else if (has_control(url, template))
		*problem = "has a space or a control character in it";
	else if (authority == NULL)
		*problem = "does not begin with http:// or https://";
	if (*problem != NULL)
		return false;
	target = find(authority, "/?#", template);
	parts->target = pnstrdup(target, find(target, "#", template) - target);
	return read_authority(pnstrdup(authority, target - authority), template, parts, problem);
}

static int
default_port(const JsUrl *parts)
{
	return parts->secure ? 443 : 80;
}

/* As it is sent. */
char *
js_url_join(const JsUrl *parts)
{
	StringInfoData url;

	initStringInfo(&url);
	appendStringInfo(&url, "%s://%s", parts->secure ? "https" : "http", parts->host);
	if (parts->port != default_port(parts))
		appendStringInfo(&url, ":%d", parts->port);
	if (*parts->target != '/')
		appendStringInfoChar(&url, '/');
	appendStringInfoString(&url, js_percent_encode(parts->target, TARGET_CHARACTERS));
	return url.data;
}

/*
 * Host and port, whichever scheme; of all spellings of a host the same.  In a
 * template the host's placeholders are still there.
 */
char *
js_url_origin(const JsUrl *parts)
{
	return psprintf("%.*s:%d", (int) js_host_length(parts->host), parts->host, parts->port);
}

/* The same from a host and a port as text; what is none stays as it is. */
char *
js_url_plain_origin(char *origin)
{
	char	   *colon = strrchr(origin, ':');
	JsUrl		parts = {0};

	if (colon == NULL || !read_port(colon + 1, &parts.port))
		return origin;
	parts.host = read_host(pnstrdup(origin, colon - origin));
	return parts.host != NULL ? js_url_origin(&parts) : origin;
}

bool
js_url_same_origin(const JsUrl *a, const JsUrl *b)
{
	return a->secure == b->secure && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* ------------------------------------------------------------------------
 * URLs of requests
 * ------------------------------------------------------------------------
 */

pg_noreturn static void
refuse(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s %s", WHAT, problem),
			 problem == not_ascii ?
			 errhint("Write the host as DNS has it, xn--... for each label that has other characters.") :
			 errhint("It is like https://host:port/path?query. Credentials belong into a header, as in {\"Authorization\": \"Bearer {{secret.NAME}}\"}.")));
}

/* Whether a literal ends within an escape, which the value behind it would end. */
static bool
ends_in_escape(const JsPiece *literal)
{
	const char *end = literal->text + literal->length;

	return (literal->length >= 1 && end[-1] == '%') ||
		(literal->length >= 2 && end[-2] == '%' && isxdigit((unsigned char) end[-1]));
}

/* Path and query of a template: a value stays what it is in them. */
static void
check_url_target(const char *target)
{
	bool		cut = false;
	JsPiece		piece;

	while (js_template_next(&target, JS_ANY_PLACEHOLDER, WHAT, &piece))
	{
		if (cut && piece.kind != JS_LITERAL)
			refuse("has a \"%\" that the value of a placeholder would complete");
		cut = piece.kind == JS_LITERAL && ends_in_escape(&piece);
	}
}

/* For sessions: raises what is wrong. */
void
js_url_check(const char *url, JsHttpPlace place)
{
	bool		template = place == JS_HTTP_OF_JOB;
	const char *problem;
	JsUrl		parts;

	if (!js_url_split(url, template, &parts, &problem))
		refuse(problem);
	if (template)
		check_url_target(parts.target);
}

/* A value that stands for itself, whatever it is, within path or query. */
char *
js_url_encode_value(char *value, const char *what)
{
	return js_percent_encode(js_http_utf8(value, what), UNRESERVED);
}

/* The characters are looked at here: no value may bring along a port or a path. */
static char *
check_host_value(char *value, const char *what)
{
	if (*value == '\0' || strspn(value, LETTERS_AND_DIGITS "-_.") != strlen(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has an argument in its host that is no part of a host name", what)));
	return lower(value, false);
}

/* Whether it is "." or "..", with dots as they are or percent-encoded. */
static bool
is_dots(const char *segment, size_t length)
{
	int			dots = 0;

	for (const char *c = segment; c < segment + length; dots++)
	{
		size_t		size = *c == '.' ? 1 : pg_strncasecmp(c, "%2e", 3) == 0 ? 3 : 0;

		if (size == 0)
			return false;
		c += size;
	}
	return dots == 1 || dots == 2;
}

/* How many segments of the path are. */
static int
dot_segments(const char *target, bool template)
{
	int			count = 0;

	while (*target == '/')
	{
		const char *end = find(target + 1, "/?", template);

		count += is_dots(target + 1, end - target - 1);
		target = end;
	}
	return count;
}

/* A value must not lead out of the path that it was put into. */
static void
check_path(const char *template, const char *target)
{
	if (dot_segments(target, false) != dot_segments(template, true))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has a value in its path that would be \".\" or \"..\"", WHAT)));
}

/* The URL of a job's request. */
char *
js_url_expand(JsRendering *rendering, const char *template)
{
	const char *problem;
	char	   *target;
	JsUrl		parts;

	if (!js_url_split(template, true, &parts, &problem))
		refuse(problem);
	check_url_target(parts.target);
	parts.host = js_template_expand(rendering, parts.host, JS_ARG, WHAT, check_host_value);
	target = js_template_expand(rendering, parts.target, JS_ANY_PLACEHOLDER, WHAT, js_url_encode_value);
	check_path(parts.target, target);
	parts.target = js_http_utf8(target, WHAT);
	return js_url_join(&parts);
}

/* ------------------------------------------------------------------------
 * References
 * ------------------------------------------------------------------------
 */

/* Without segments "." and ".." (RFC 3986 5.2.4); the path begins with a slash. */
static char *
remove_dot_segments(const char *path)
{
	StringInfoData result;

	initStringInfo(&result);
	while (*path == '/')
	{
		size_t		length = strcspn(path + 1, "/");
		bool		last = path[1 + length] == '\0';
		bool		dot = length == 1 && path[1] == '.';
		bool		dots = length == 2 && strncmp(path + 1, "..", 2) == 0;

		if (dots)
		{
			char	   *slash = strrchr(result.data, '/');

			result.len = slash ? slash - result.data : 0;
			result.data[result.len] = '\0';
		}
		if (!dot && !dots)
			appendBinaryStringInfo(&result, path, 1 + length);
		else if (last)
			appendStringInfoChar(&result, '/');
		path += 1 + length;
	}
	return result.data;
}

static char *
normalize_target(const char *path, const char *query)
{
	return psprintf("%s%s", remove_dot_segments(path), query);
}

/* A path that is relative to that of base, which ends where its query begins. */
static char *
merge_path(const JsUrl *base, const char *path)
{
	size_t		length = strcspn(base->target, "?");

	while (length > 0 && base->target[length - 1] != '/')
		length--;
	return psprintf("%s%s", length > 0 ? pnstrdup(base->target, length) : "/", path);
}

/* A path and query on the origin of base. */
static void
resolve_target(const JsUrl *base, const char *reference, JsUrl *result)
{
	size_t		path_length = strcspn(reference, "?");
	char	   *path = pnstrdup(reference, path_length);
	const char *query = reference + path_length;
	char	   *base_path = pnstrdup(base->target, strcspn(base->target, "?"));

	*result = *base;
	if (*path == '/')
		result->target = normalize_target(path, query);
	else if (*path != '\0')
		result->target = normalize_target(merge_path(base, path), query);
	else if (*query != '\0')
		result->target = psprintf("%s%s", base_path, query);
}

/* Whether it begins with a scheme, of whatever kind. */
static bool
has_scheme(const char *reference)
{
	size_t		length = strspn(reference, LETTERS_AND_DIGITS "+-.");

	return length > 0 && reference[length] == ':';
}

bool
js_url_resolve(const JsUrl *base, const char *reference, JsUrl *result, const char **problem)
{
	char	   *encoded;

	*problem = NULL;
	if (strlen(reference) > JS_MAX_URL)
		*problem = "is longer than " CppAsString2(JS_MAX_URL) " bytes";
	for (const char *c = reference; *c != '\0' && *problem == NULL; c++)
		if ((unsigned char) *c < ' ' || *c == '\177')
			*problem = "has a control character in it";
	if (*problem != NULL)
		return false;
	encoded = js_percent_encode(reference, TARGET_CHARACTERS "#");
	if (has_scheme(encoded))
		return js_url_split(encoded, false, result, problem);
	if (strncmp(encoded, "//", 2) == 0)
		return js_url_split(psprintf("%s:%s", base->secure ? "https" : "http", encoded),
							false, result, problem);
	encoded[strcspn(encoded, "#")] = '\0';
	resolve_target(base, encoded, result);
	return true;
}
