/*-------------------------------------------------------------------------
 *
 * channel_body.c
 *		Messages of channels as they are sent.
 *
 * All text in a message may be from strangers: names of jobs, errors that quote what
 * somebody has typed.  For Slack each text is cut and then escaped, character by
 * character, so no cut can leave half of an escape or of a character; and there is
 * nothing that Slack takes for a mention or a link.  In a database without an encoding
 * what is not UTF-8 becomes "?", and in one with another encoding what has no
 * equivalent in UTF-8: a message must not be lost because a text in it is broken.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "catalog/namespace.h"
#include "http/channel.h"
#include "http/http_definition.h"
#include "http/http_text.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

/* Characters for Slack, as it counts them when they are escaped: in all at most 3,000. */
#define SLACK_SUBJECT 150
#define SLACK_TEXT 2800

/* What NOTIFY takes. */
#define MAX_NOTICE 7999			/* bytes */

#define MAX_ID 200				/* bytes */
#define ID_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_:-"

#define NO_SUBJECT "(no subject)"

/* ------------------------------------------------------------------------
 * Characters
 * ------------------------------------------------------------------------
 */

static int
text_encoding(void)
{
	return GetDatabaseEncoding() == PG_SQL_ASCII ? PG_UTF8 : GetDatabaseEncoding();
}

/* Whether a character, of any valid encoding, is one in UTF-8. */
static bool
is_in_utf8(const char *character, int length)
{
	int			encoding = text_encoding();
	unsigned char utf8[64];
	Oid			function;

	if (encoding == PG_UTF8)
		return true;
	function = FindDefaultConversionProc(encoding, PG_UTF8);
	return OidIsValid(function) &&
		pg_do_encoding_conversion_buf(function, encoding, PG_UTF8, (unsigned char *) character, length,
									  utf8, sizeof(utf8), true) == length;
}

/* Bytes of the first character of so many; whether it is one that can be sent. */
static int
character_length(const char *text, int left, bool *good)
{
	int			length;

	*good = true;
	if (!IS_HIGHBIT_SET(*text))
		return 1;
	length = pg_encoding_verifymbchar(text_encoding(), text, left);
	*good = length > 0 && is_in_utf8(text, length);
	return Max(length, 1);
}

/* What Slack makes something else of; NULL: the character stands for itself. */
static const char *
slack_escape(char c)
{
	return c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : NULL;
}

/* How far a text goes with so many characters, escaped if escape is set; and how many there are in all. */
static const char *
measure(const char *text, int size, int most, bool escape, int *count)
{
	const char *stop = text;
	int			length;
	bool		good;

	*count = 0;
	for (const char *p = text; p < text + size; p += length)
	{
		const char *escaped = escape ? slack_escape(*p) : NULL;

		length = character_length(p, text + size - p, &good);
		*count += escaped != NULL ? strlen(escaped) : 1;
		if (*count <= most)
			stop = p + length;
	}
	return stop;
}

/* Valid characters, escaped if that is asked for. */
static void
append_clean(StringInfo to, const char *text, const char *end, bool escape)
{
	int			length;
	bool		good;

	for (; text < end; text += length)
	{
		const char *escaped = escape ? slack_escape(*text) : NULL;

		length = character_length(text, end - text, &good);
		if (escaped != NULL)
			appendStringInfoString(to, escaped);
		else if (!good)
			appendStringInfoChar(to, '?');
		else
			appendBinaryStringInfo(to, text, length);
	}
}

/* For Slack: at most so many characters, and if there were more it says so. */
static char *
slack_text(const char *text, int size, int most)
{
	StringInfoData result;
	const char *end;
	char	   *note;
	int			count;

	initStringInfo(&result);
	end = measure(text, size, most, true, &count);
	if (count <= most)
	{
		append_clean(&result, text, text + size, true);
		return result.data;
	}
	note = psprintf(" [cut, of %d characters]", count);
	end = measure(text, size, most - (int) strlen(note), true, &count);
	append_clean(&result, text, end, true);
	appendStringInfoString(&result, note);
	return result.data;
}

static char *
clean_text(const char *text, int size)
{
	StringInfoData result;

	initStringInfo(&result);
	append_clean(&result, text, text + size, false);
	return result.data;
}

/* ------------------------------------------------------------------------
 * Requests
 * ------------------------------------------------------------------------
 */

/* A string of a message; a name of a member is one too, which whoever fills args may choose. */
static void
make_fit(JsChannelKind kind, JsonbValue *value, bool is_subject)
{
	char	   *text = kind == JS_CHANNEL_SLACK ?
		slack_text(value->val.string.val, value->val.string.len, is_subject ? SLACK_SUBJECT : SLACK_TEXT) :
		clean_text(value->val.string.val, value->val.string.len);

	value->val.string.val = text;
	value->val.string.len = strlen(text);
}

/* The message with its texts as this kind of channel sends them, in templates too; args of others as they are. */
Jsonb *
js_channel_args(JsChannelKind kind, Jsonb *args)
{
	JsonbIterator *it;
	JsonbParseState *state = NULL;
	JsonbValue *result = NULL;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			level = 0;
	bool		is_subject = false;

	if (kind == JS_CHANNEL_NONE || args == NULL || !JB_ROOT_IS_OBJECT(args) ||
		(kind != JS_CHANNEL_SLACK && GetDatabaseEncoding() == PG_UTF8))
		return args;
	it = JsonbIteratorInit(&args->root);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		bool		begins = token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY;
		bool		ends = token == WJB_END_OBJECT || token == WJB_END_ARRAY;

		level += (int) begins - (int) ends;
		if (token == WJB_KEY)
		{
			is_subject = level == 1 && value.val.string.len == strlen("subject") &&
				strncmp(value.val.string.val, "subject", value.val.string.len) == 0;
			make_fit(kind, &value, false);
		}
		else if ((token == WJB_ELEM || token == WJB_VALUE) && value.type == jbvString)
			make_fit(kind, &value, is_subject);
		result = pushJsonbValue(&state, token, begins || ends ? NULL : &value);
	}
	return JsonbValueToJsonb(result);
}

/* A text of a message, or what stands for it. */
static char *
field(Jsonb *args, const char *name, const char *otherwise)
{
	char	   *text = args != NULL ? js_http_text(args, name) : NULL;

	return text != NULL ? text : pstrdup(otherwise);
}

/* What is sent if there is no template; args as js_channel_args() has made them. */
Jsonb *
js_channel_body(JsChannelKind kind, Jsonb *args)
{
	JsonbParseState *state = NULL;

	if (kind != JS_CHANNEL_SLACK)
		return args != NULL ? args : js_json_empty();
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_text(&state, "text", psprintf("*%s*\n%s", field(args, "subject", NO_SUBJECT), field(args, "text", "")));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * The id of a message, which all attempts, and runs that send it again, have in
 * common; NULL: it is none, or none that can be in a header.
 */
char *
js_channel_message_id(Jsonb *definition, Jsonb *args)
{
	char	   *id = args != NULL && js_channel_request_kind(definition) != JS_CHANNEL_NONE ?
		js_http_text(args, "id") : NULL;

	if (id == NULL || id[0] == '\0' || strlen(id) > MAX_ID || strspn(id, ID_CHARACTERS) != strlen(id))
		return NULL;
	return id;
}

/* ------------------------------------------------------------------------
 * NOTIFY
 * ------------------------------------------------------------------------
 */

static char *
clipped(const char *text, int size)
{
	char	   *clean = clean_text(text, strlen(text));

	clean[pg_encoding_mbcliplen(text_encoding(), clean, strlen(clean), size)] = '\0';
	return clean;
}

/* Without its items, and with texts of so many bytes. */
static char *
short_notice(Jsonb *args, int size)
{
	static const char *const names[] = {"id", "kind", "channel", "subject", "text"};
	JsonbParseState *state = NULL;
	JsonbValue	yes = {.type = jbvBool,.val.boolean = true};
	Jsonb	   *result;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_number(&state, "version", 1);
	for (int i = 0; i < lengthof(names); i++)
		js_json_push_text(&state, names[i], clipped(field(args, names[i], ""), size));
	js_json_push_number(&state, "count", js_definition_number(args, "count", 0, PG_INT32_MAX, 0));
	js_json_push(&state, "truncated", &yes);
	result = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return JsonbToCString(NULL, &result->root, VARSIZE(result));
}

/* What is sent: the message, or if that is too long as much of it as goes. */
char *
js_channel_notice(Jsonb *args)
{
	char	   *text;

	if (args == NULL)
		args = js_json_empty();
	if (!js_json_is_longer(&args->root, MAX_NOTICE))
		text = JsonbToCString(NULL, &args->root, VARSIZE(args));
	else
		text = short_notice(args, MAX_NOTICE / 2);
	for (int size = MAX_NOTICE / 4; strlen(text) > MAX_NOTICE; size /= 2)
		text = short_notice(args, size);
	return text;
}

/* ------------------------------------------------------------------------
 * Answers
 * ------------------------------------------------------------------------
 */

/*
 * Whether an answer says that no message will ever be taken, and with which word;
 * empty: the status says it.  NULL: it does not.
 */
const char *
js_channel_refusal(int status, const char *body, size_t size)
{
	static const char *const words[] = {
		"invalid_token", "no_service", "no_team", "team_disabled", "no_active_hooks",
		"channel_not_found", "channel_is_archived", "action_prohibited",
		"posting_to_general_channel_denied", "account_inactive"
	};

	if (status != 400 && status != 403 && status != 404 && status != 410)
		return NULL;
	while (size > 0 && (body[size - 1] == '\n' || body[size - 1] == '\r' || body[size - 1] == ' '))
		size--;
	for (int i = 0; i < lengthof(words); i++)
		if (size == strlen(words[i]) && strncmp(body, words[i], size) == 0)
			return words[i];
	return status == 404 || status == 410 ? "" : NULL;
}
