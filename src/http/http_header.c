/*-------------------------------------------------------------------------
 *
 * http_header.c
 *		Headers of requests: which a user may give, with which values.
 *
 * Values are checked when they are defined, and again when placeholders have
 * been replaced: an argument may contain characters that end a header and begin
 * another one.  Messages name the header, and never show its value.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/sqlstate.h"
#include "compat.h"
#include "http/http_header.h"
#include "http/http_text.h"
#include "mb/pg_wchar.h"

#define MAX_HEADERS 100
#define MAX_SIZE (32 * 1024)	/* of all together, in bytes */
#define SHOWN 100				/* of a name, in bytes */

/* They say how the message itself is sent, which is not the user's matter. */
static const char *const reserved[] = {
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade",
	"TE", "Trailer", "Keep-Alive", "Expect"
};

/* What js_headers_visit() calls for each. */
typedef struct HeaderVisit
{
	void		(*visit) (struct HeaderVisit *visit, const char *name, const char *value);
	int			kinds;			/* of placeholders */
	JsRendering *rendering;
	List	   *lines;
	bool		is_signed;
	int			count;
	size_t		size;
} HeaderVisit;

/* ------------------------------------------------------------------------
 * Lines
 * ------------------------------------------------------------------------
 */

bool
js_header_is(const char *line, const char *name)
{
	size_t		length = strlen(name);

	return pg_strncasecmp(line, name, length) == 0 && line[length] == ':';
}

bool
js_header_begins(const char *line, const char *prefix)
{
	return pg_strncasecmp(line, prefix, strlen(prefix)) == 0;
}

List *
js_header_add(List *lines, const char *name, const char *value)
{
	return lappend(lines, psprintf("%s: %s", name, value));
}

/* Unless there is one of this name. */
List *
js_header_default(List *lines, const char *name, const char *value)
{
	ListCell   *lc;

	foreach(lc, lines)
		if (js_header_is(lfirst(lc), name))
		return lines;
	return js_header_add(lines, name, value);
}

/* ------------------------------------------------------------------------
 * What may be there
 * ------------------------------------------------------------------------
 */

/* A token of RFC 9110 5.6.2. */
static bool
is_token(const char *name)
{
	size_t		length = strlen(name);

	return length > 0 &&
		strspn(name, "!#$%&'*+-.^_`|~0123456789"
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == length;
}

static bool
is_reserved(const char *name, bool is_signed)
{
	for (int i = 0; i < lengthof(reserved); i++)
		if (pg_strcasecmp(name, reserved[i]) == 0)
			return true;
	return js_header_begins(name, "Proxy-") ||
		(is_signed && (pg_strcasecmp(name, "webhook-id") == 0 ||
					   pg_strcasecmp(name, "webhook-timestamp") == 0 ||
					   pg_strcasecmp(name, "webhook-signature") == 0));
}

static void
check_header_name(const char *name, bool is_signed)
{
	if (!is_token(name) || strlen(name) > SHOWN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid header name \"%.*s\"", pg_mbcliplen(name, strlen(name), SHOWN), name),
				 errhint("It is one word, such as Content-Type, of at most %d characters.", SHOWN)));
	if (is_reserved(name, is_signed))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("header \"%s\" cannot be given", name),
				 errhint("It is made from the request itself.")));
}

static void
check_header_value(const char *name, const char *value)
{
	for (; *value != '\0'; value++)
		if (((unsigned char) *value < ' ' && *value != '\t') || *value == '\177')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("header \"%s\" has a control character in its value", name),
					 errhint("A line break, for instance. A header is one line.")));
}

static void
count_header(HeaderVisit *visit, const char *name, const char *value)
{
	visit->size += strlen(name) + strlen(value) + 4;
	if (++visit->count > MAX_HEADERS)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("headers are more than %d", MAX_HEADERS)));
	if (visit->size > MAX_SIZE)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("headers are larger than %d bytes", MAX_SIZE)));
}

/* ------------------------------------------------------------------------
 * Headers of a definition
 * ------------------------------------------------------------------------
 */

pg_noreturn static void
refuse_shape(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("headers are no object of texts"),
			 errhint("They are like '{\"Accept\": \"text/plain\"}'; an array of texts is a header that is there several times.")));
}

static void
visit_value(HeaderVisit *visit, const char *name, const JsonbValue *value)
{
	char	   *text;

	if (value->type != jbvString)
		refuse_shape();
	check_header_name(name, visit->is_signed);
	text = pnstrdup(value->val.string.val, value->val.string.len);

	visit->visit(visit, name, text);
}

static void
visit_array(HeaderVisit *visit, const char *name, JsonbContainer *array)
{
	if (!JsonContainerIsArray(array))
		refuse_shape();
	for (uint32 i = 0; i < JsonContainerSize(array); i++)
		visit_value(visit, name, getIthJsonbValueFromContainer(array, i));
}

static void
visit_headers(HeaderVisit *visit, Jsonb *headers)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	if (!JB_ROOT_IS_OBJECT(headers))
		refuse_shape();
	it = JsonbIteratorInit(&headers->root);
	JsonbIteratorNext(&it, &value, false);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && value.type == jbvBinary)
			visit_array(visit, name, value.val.binary.data);
		else if (token == WJB_VALUE)
			visit_value(visit, name, &value);
	}
}

static int
kinds_of(JsHttpPlace place)
{
	return place == JS_HTTP_OF_JOB ? JS_ANY_PLACEHOLDER : JS_OWN_PLACEHOLDER;
}

static void
check_template(HeaderVisit *visit, const char *name, const char *value)
{
	check_header_value(name, value);
	js_template_check(value, visit->kinds, psprintf("header \"%s\"", name));
	count_header(visit, name, value);
}

void
js_headers_check(Jsonb *headers, JsHttpPlace place, bool is_signed)
{
	HeaderVisit visit = {.visit = check_template,.kinds = kinds_of(place),.is_signed = is_signed};

	visit_headers(&visit, headers);
}

static void
render_header(HeaderVisit *visit, const char *name, const char *template)
{
	char	   *what = psprintf("header \"%s\"", name);
	char	   *value = js_http_utf8(js_template_expand(visit->rendering, template, visit->kinds, what, NULL),
									 what);

	check_header_value(name, value);
	count_header(visit, name, value);
	visit->lines = js_header_add(visit->lines, name, value);
}

/* The lines that a definition makes; headers may be NULL. */
List *
js_headers_render(JsRendering *rendering, Jsonb *headers, bool is_signed)
{
	HeaderVisit visit = {
		.visit = render_header,.kinds = kinds_of(rendering->source->place),
		.rendering = rendering,.is_signed = is_signed
	};

	if (headers != NULL)
		visit_headers(&visit, headers);
	return visit.lines;
}
