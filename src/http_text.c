/*-------------------------------------------------------------------------
 *
 * http_text.c
 *		Characters of requests: UTF-8, percent-encoding, what must not be shown.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "http_request.h"
#include "http_text.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

/* What is put in the place of a secret. */
#define MASK "***"

/*
 * What is sent, from the encoding of the database.  One without an encoding
 * may hold anything; the server's own message would show some of it.
 */
char *
js_http_utf8(char *text, const char *what)
{
	int			size = strlen(text);

	if (GetDatabaseEncoding() == PG_SQL_ASCII && !pg_verify_mbstr(PG_UTF8, text, size, true))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("%s is not valid UTF-8", what)));
	return pg_server_to_any(text, size, PG_UTF8);
}

/* All bytes but letters, digits and those that are to be kept. */
char *
js_percent_encode(const char *text, const char *kept)
{
	StringInfoData encoded;

	initStringInfo(&encoded);
	for (; *text !='\0'; text ++)
	{
		unsigned char c = *text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			strchr(kept, c) != NULL)
			appendStringInfoChar(&encoded, c);
		else
			appendStringInfo(&encoded, "%%%02X", c);
	}
	return encoded.data;
}

/* A scalar as text, a container as JSON; NULL for null. */
char *
js_json_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		case jbvBinary:
			return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
		default:
			return NULL;
	}
}

/* In UTC; NULL for no instant. */
char *
js_iso8601(TimestampTz time)
{
	char text[	MAXDATELEN + 1];
	struct pg_tm tm;
	fsec_t		fsec;

	if (TIMESTAMP_NOT_FINITE(time) || timestamp2tm(time, NULL, &tm, &fsec, NULL, NULL) != 0)
		return NULL;
	EncodeDateTime(&tm, fsec, false, 0, NULL, USE_XSD_DATES, text);
	return psprintf("%sZ", text);
}

/* Of a character of UTF-8, or a byte of one, in a JSON string: see escape_json(). */
static size_t
escaped_size(unsigned char c)
{
	if (c == '"' || c == '\\' || c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t')
		return 2;
	return c < ' ' ? strlen("\\u0000") : 1;
}

static size_t
string_size(char *text, int length)
{
	char	   *sent = pg_server_to_any(text, length, PG_UTF8);
	size_t		size = strlen("\"\"");

	if (sent != text)
		length = strlen(sent);
	for (int i = 0; i < length; i++)
		size += escaped_size(sent[i]);
	if (sent != text)
		pfree(sent);
	return size;
}

static size_t
number_size(const JsonbValue *value)
{
	char	   *digits = js_json_text(value);
	size_t		size = strlen(digits);

	pfree(digits);
	return size;
}

/* Brackets, and what stands between so many elements. */
static size_t
container_size(int count)
{
	return strlen("[]") + Max(count - 1, 0) * strlen(", ");
}

/* What a step through a jsonb adds to its text: see JsonbToCString(). */
static size_t
token_size(JsonbIteratorToken token, const JsonbValue *value)
{
	if (token == WJB_BEGIN_ARRAY)
		return value->val.array.rawScalar ? 0 : container_size(value->val.array.nElems);
	if (token == WJB_BEGIN_OBJECT)
		return container_size(value->val.object.nPairs);
	if (token == WJB_KEY)
		return string_size(value->val.string.val, value->val.string.len) + strlen(": ");
	if (token != WJB_ELEM && token != WJB_VALUE)
		return 0;
	switch (value->type)
	{
		case jbvString:
			return string_size(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return number_size(value);
		case jbvBool:
			return value->val.boolean ? strlen("true") : strlen("false");
		default:
			return strlen("null");
	}
}

/*
 * Whether its text, in UTF-8 as it is sent, has more bytes than the limit; before
 * that text is made: a few bytes of a jsonb number may be a hundred thousand
 * digits.
 */
bool
js_json_is_longer(JsonbContainer *container, size_t limit)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;
	size_t		size = 0;

	while (size <= limit && (token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		size += token_size(token, &value);
	}
	return size > limit;
}

/* ------------------------------------------------------------------------
 * What must not be shown
 *
 * Texts come from servers, needles from users, and neither is to be trusted
 * with our time: occurrences are found as Knuth, Morris and Pratt do it, which
 * takes a step for each byte of the text and for each of the needle, whatever
 * they are.
 * ------------------------------------------------------------------------
 */

/* Look for interrupts each time that so many bytes have been gone through. */
#define BYTES_BETWEEN_INTERRUPTS (64 * 1024)

typedef struct Needle
{
	const char *text;
	size_t		length;
	size_t	   *borders;		/* of each beginning: how long is the longest
								 * shorter one that it ends with */
} Needle;

/* An occurrence ends before "end".  Returns whether to go on. */
typedef bool (*FoundNeedle) (const Needle *needle, size_t end, void *arg);

static void
prepare_needle(Needle *needle, const char *text)
{
	size_t		border = 0;

	needle->text = text;

	needle->length = strlen(text);
	needle->borders = palloc(sizeof(size_t) * (needle->length + 1));
	needle->borders[0] = needle->borders[1] = 0;
	for (size_t i = 1; i < needle->length; i++)
	{
		while (border > 0 && text[i] != text[border])
			border = needle->borders[border];
		border += text[i] == text[border];

		needle->borders[i + 1] = border;
	}
}

/* The part of the text that begins at start and ends before end. */
static bool
find_in_part(const Needle *needle, const char *text, size_t start, size_t end, size_t *matched,
			 FoundNeedle found, void *arg)
{
	for (size_t i = start; i < end; i++)
	{
		if (*matched == 0)
		{
			const char *first = memchr(text +i, needle->text[0], end - i);

			if (first == NULL)
				return true;
			i = first - text;
		}
		while (*matched > 0 && text[i] != needle->text[*matched])
			*matched = needle->borders[*matched];
		*matched += text[i] == needle->text[*matched];

		if (*matched < needle->length)
			continue;
		*matched = needle->borders[*matched];
		if (!found(needle, i + 1, arg))
			return false;
	}
	return true;
}

static bool
find_needle(const Needle *needle, const char *text, size_t size, FoundNeedle found, void *arg)
{
	size_t		matched = 0;

	for (size_t start = 0; start < size; start += BYTES_BETWEEN_INTERRUPTS)
	{
		CHECK_FOR_INTERRUPTS();
		if (!find_in_part(needle, text, start, Min(size, start + BYTES_BETWEEN_INTERRUPTS), &matched,
						  found, arg))
			return false;
	}
	return true;
}

/*
 * With the hexadecimal digits of percent-encoded bytes in upper case, as in
 * needles; the text itself if they are.
 */
static const char *
with_upper_hex(const char *text, size_t size)
{
	char	   *copy = NULL;

	for (size_t i = 0; i + 2 < size; i++)
	{
		if (text[i] != '%' || !isxdigit((unsigned char) text[i + 1]) ||
			!isxdigit((unsigned char) text[i + 2]))
			continue;
		if (copy == NULL)
		{
			copy = palloc_extended(size, MCXT_ALLOC_HUGE);
			memcpy(copy, text, size);
		}
		copy[i + 1] = pg_ascii_toupper((unsigned char) text[i + 1]);
		copy[i + 2] = pg_ascii_toupper((unsigned char) text[i + 2]);
	}
	return copy ? copy : text;
}

/* Returns false if it was told not to go on. */
static bool
find_needles(const List *needles, const char *text, size_t size, FoundNeedle found, void *arg)
{
	const char *upper = with_upper_hex(text, size);
	bool		on = true;
	ListCell   *lc;

	foreach(lc, needles)
	{
		Needle		needle;

		if (*(const char *) lfirst(lc) == '\0')
			continue;
		prepare_needle(&needle, lfirst(lc));
		on = find_needle(&needle, text, size, found, arg) &&
			(upper == text ||find_needle(&needle, upper, size, found, arg));
		pfree(needle.borders);
		if (!on)
			break;
	}
	if (upper != text)
		pfree(unconstify(char *, upper));
	return on;
}

static bool
stop_looking(const Needle *needle, size_t end, void *arg)
{
	return false;
}

bool
js_contains_any(const List *needles, const char *text, size_t size)
{
	return !find_needles(needles, text, size, stop_looking, NULL);
}

/* Which bytes are to be hidden. */
typedef struct Cover
{
	bool	   *hidden;			/* of each byte */
	const char *needle;			/* whose occurrences come now, in order */
	size_t		end;			/* where its last one ended */
} Cover;

static bool
hide(const Needle *needle, size_t end, void *arg)
{
	Cover	   *cover = arg;
	size_t		start = end - needle->length;

	if (cover->needle != needle->text ||end <= cover->end)
	{
		/* Another needle, or another text, from its beginning. */
		cover->needle = needle->text;
		cover->end = 0;
	}
	start = Max(start, cover->end);
	memset(cover->hidden + start, true, end - start);
	cover->end = end;
	return true;
}

/* Where occurrences overlap or touch, all that they cover is one. */
char *
js_http_redact(const List *secrets, const char *text, size_t *size)
{
	Cover		cover = {0};
	StringInfoData shown;

	if (!js_contains_any(secrets, text, *size))
		return unconstify(char *, text);
	cover.hidden = palloc_extended(*size, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	(void) find_needles(secrets, text, *size, hide, &cover);
	initStringInfo(&shown);
	for (size_t i = 0; i < *size; i++)
	{
		if (!cover.hidden[i])
			appendStringInfoChar(&shown, text[i]);
		else if (i == 0 || !cover.hidden[i - 1])
			appendStringInfoString(&shown, MASK);
	}
	pfree(cover.hidden);
	*size = shown.len;
	return shown.data;
}
