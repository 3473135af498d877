/*-------------------------------------------------------------------------
 *
 * http_text.c
 *		Characters of requests: UTF-8, percent-encoding, base64, what must not be shown.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "base/needles.h"
#include "common/base64.h"
#include "http/http_request.h"
#include "http/http_template.h"
#include "http/http_text.h"
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
	for (; *text != '\0'; text++)
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

char *
js_base64(const void *bytes, int size)
{
	int			room = pg_b64_enc_len(size);
	char	   *text = palloc(room + 1);
	int			length = pg_b64_encode(bytes, size, text, room);

	if (length < 0)
		elog(ERROR, "could not encode %d bytes", size);
	text[length] = '\0';
	return text;
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

/* What a path of names leads to; NULL if there is nothing. */
JsonbValue *
js_args_find(Jsonb *args, const char *path)
{
	JsonbContainer *at = &args->root;
	JsonbValue *value = NULL;

	for (char *part = pstrdup(path), *dot; part != NULL; part = dot)
	{
		JsonbValue	key = {.type = jbvString};

		dot = strchr(part, '.');
		if (dot != NULL)
			*dot++ = '\0';
		if (at == NULL || !JsonContainerIsObject(at))
			return NULL;
		key.val.string.val = part;
		key.val.string.len = strlen(part);
		value = findJsonbValueFromContainer(at, JB_FOBJECT, &key);
		if (value == NULL)
			return NULL;
		at = value->type == jbvBinary ? value->val.binary.data : NULL;
	}
	return value;
}

/* In UTC; NULL for no instant. */
char *
js_iso8601(TimestampTz time)
{
	char		text[MAXDATELEN + 1];
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

/* A number in the short form of numeric.c: 64 groups of digits before the point, and 63 digits after it. */
#define NUMBER_IS_SHORT(header) (((header) & 0xC000) == 0x8000)
#define SHORT_NUMBER_MOST (64 * 4 + 63 + 2)

/* Of containers in one another, which are gone into; whatever is deeper is not. */
#define MOST_DEEP 8

/* A longer one is to be measured. */
static size_t
number_most(const char *number)
{
	uint16		header;

	memcpy(&header, VARDATA_ANY(number), sizeof(header));
	return NUMBER_IS_SHORT(header) ? SHORT_NUMBER_MOST : PG_INT32_MAX;
}

/*
 * No more than this many bytes, or more than the limit, are in the text of a jsonb of
 * UTF-8.  Nothing but its entries and numbers is looked at: each byte of a string may
 * be "\u0000".
 */
static size_t
container_most(const JsonbContainer *container, size_t limit, int depth)
{
	int			count = JsonContainerSize(container) * (JsonContainerIsObject(container) ? 2 : 1);
	const char *data = (const char *) &container->children[count];
	size_t		most = strlen("[]") + count * strlen("\"\", ");
	uint32		offset = 0;

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < count && most <= limit; i++)
	{
		JEntry		entry = container->children[i];
		const char *aligned = data + INTALIGN(offset);
		uint32		begin = offset;

		JBE_ADVANCE_OFFSET(offset, entry);
		if (JBE_ISCONTAINER(entry))
			most += depth == MOST_DEEP ? limit :
				container_most((const JsonbContainer *) aligned, limit, depth + 1);
		else if (JBE_ISNUMERIC(entry))
			most += number_most(aligned);
		else
			most += JBE_ISSTRING(entry) ? (size_t) (offset - begin) * strlen("\\u0000") : strlen("false");
	}
	return most;
}

static bool
is_longer_in_fact(JsonbContainer *container, size_t limit)
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

/*
 * Whether its text, in UTF-8 as it is sent, has more bytes than the limit; before
 * that text is made: a few bytes of a jsonb number may be a hundred thousand
 * digits.  Most have so few that this is seen without a look at each character; in
 * another encoding each has to be one of UTF-8 too.
 */
bool
js_json_is_longer(JsonbContainer *container, size_t limit)
{
	if (GetDatabaseEncoding() == PG_UTF8 && container_most(container, limit, 1) <= limit)
		return false;
	return is_longer_in_fact(container, limit);
}

/* ------------------------------------------------------------------------
 * What must not be shown
 * ------------------------------------------------------------------------
 */

/* Look for interrupts each time that so many bytes have been gone through. */
#define BYTES_BETWEEN_INTERRUPTS (64 * 1024)

/* A part of a text. */
typedef struct Span
{
	size_t		start;
	size_t		end;
} Span;

/* Parts with others between them, in order. */
typedef struct Spans
{
	Span	   *spans;
	size_t		count;
	size_t		room;
} Spans;

/*
 * One that ends no sooner than those before: where parts overlap or touch, all
 * of them are one.
 */
static void
add_span(Spans *spans, size_t start, size_t end)
{
	while (spans->count > 0 && start <= spans->spans[spans->count - 1].end)
	{
		spans->count--;
		start = Min(start, spans->spans[spans->count].start);
	}
	if (spans->count == spans->room)
	{
		spans->room = spans->room > 0 ? 2 * spans->room : 16;
		spans->spans = spans->spans == NULL ? palloc(spans->room * sizeof(Span)) :
			repalloc_huge(spans->spans, spans->room * sizeof(Span));
	}
	spans->spans[spans->count].start = start;
	spans->spans[spans->count++].end = end;
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

/* Those that a text of this size has room for; NULL: there are none. */
static JsNeedles *
prepare_needles(const List *texts, size_t size)
{
	JsNeedles  *needles;
	size_t		bytes = 0;
	ListCell   *lc;

	foreach(lc, texts)
		if (strlen(lfirst(lc)) <= size)
		bytes += strlen(lfirst(lc));
	if (bytes == 0)
		return NULL;
	needles = js_needles_begin(palloc_extended(js_needles_size(bytes, list_length(texts)),
											   MCXT_ALLOC_HUGE),
							   bytes, list_length(texts));
	foreach(lc, texts)
		if (strlen(lfirst(lc)) <= size)
		js_needles_add(needles, lfirst(lc), strlen(lfirst(lc)));
	js_needles_finish(needles);
	return needles;
}

/* Adds where they occur to spans; NULL: one of them will do.  Returns whether there is one. */
static bool
find_needles(const JsNeedles *needles, const char *text, size_t size, Spans *spans)
{
	const char *upper = with_upper_hex(text, size);
	JsNeedlesState state = JS_NEEDLES_START;
	JsNeedlesState upper_state = JS_NEEDLES_START;
	bool		any = false;

	for (size_t i = 0; i < size && (spans != NULL || !any); i++)
	{
		size_t		found;

		if (i % BYTES_BETWEEN_INTERRUPTS == 0)
			CHECK_FOR_INTERRUPTS();
		state = js_needles_step(needles, state, text[i]);
		found = js_needles_found(needles, state);
		if (upper != text)
		{
			upper_state = js_needles_step(needles, upper_state, upper[i]);
			found = Max(found, js_needles_found(needles, upper_state));
		}
		any |= found > 0;
		if (found > 0 && spans != NULL)
			add_span(spans, i + 1 - found, i + 1);
	}
	if (upper != text)
		pfree(unconstify(char *, upper));
	return any;
}

bool
js_contains_any(const List *texts, const char *text, size_t size)
{
	JsNeedles  *needles = prepare_needles(texts, size);
	bool		any = needles != NULL && find_needles(needles, text, size, NULL);

	if (needles != NULL)
		pfree(needles);
	return any;
}

/* ------------------------------------------------------------------------
 * Texts that others have written
 *
 * There is more than one way to escape a character in JSON or in a URL, and some
 * escape what need not be, a slash or all that is not ASCII for instance.  So what
 * is compared is what is meant.
 * ------------------------------------------------------------------------
 */

/* What a text means, and where in it each byte of that has begun. */
typedef struct Meaning
{
	char	   *text;
	size_t		size;
	uint32	   *starts;			/* one more: its end */
} Meaning;

static bool
ends_with_hex(const Meaning *meaning, int digits)
{
	for (size_t i = meaning->size - digits; i < meaning->size; i++)
		if (!isxdigit((unsigned char) meaning->text[i]))
			return false;
	return true;
}

/* Of what it ends with; no text has a zero byte. */
static pg_wchar
last_hex(const Meaning *meaning, int digits)
{
	char		text[5] = {0};

	memcpy(text, meaning->text + meaning->size - digits, digits);
	return (pg_wchar) strtol(text, NULL, 16);
}

/* Puts some bytes, no more than there were, in the place of the last ones. */
static void
replace_end(Meaning *meaning, int length, const void *bytes, int size)
{
	uint32		start = meaning->starts[meaning->size - length];

	meaning->size -= length;
	for (int i = 0; i < size; i++)
	{
		meaning->text[meaning->size] = ((const char *) bytes)[i];
		meaning->starts[meaning->size++] = start;
	}
}

/* %41 */
static bool
unescape_percent(Meaning *meaning)
{
	char		byte;

	if (meaning->size < 3 || meaning->text[meaning->size - 3] != '%' || !ends_with_hex(meaning, 2))
		return false;
	byte = (char) last_hex(meaning, 2);
	if (byte != '\0')
		replace_end(meaning, 3, &byte, 1);
	return byte != '\0';
}

/* \u0041 */
static bool
unescape_unicode(Meaning *meaning)
{
	unsigned char utf8[5] = {0};
	pg_wchar	code;

	if (meaning->size < 6 || strncmp(meaning->text + meaning->size - 6, "\\u", 2) != 0 ||
		!ends_with_hex(meaning, 4))
		return false;
	code = last_hex(meaning, 4);
	unicode_to_utf8(code, utf8);
	if (code != 0)
		replace_end(meaning, 6, utf8, strlen((char *) utf8));
	return code != 0;
}

/* \" and the like */
static bool
unescape_backslash(Meaning *meaning)
{
	static const char escaped[] = "\"'\\/bfnrt";
	static const char meant[] = "\"'\\/\b\f\n\r\t";
	const char *found;

	if (meaning->size < 2 || meaning->text[meaning->size - 2] != '\\' ||
		meaning->text[meaning->size - 1] == '\0')
		return false;
	found = strchr(escaped, meaning->text[meaning->size - 1]);
	if (found == NULL)
		return false;
	replace_end(meaning, 2, &meant[found - escaped], 1);
	return true;
}

/*
 * What a text says when no escape is left in it, however often it was escaped,
 * in lower case, as hosts are; "+" may be a space in a URL.  An escape that ends
 * here is replaced at once, so it may itself end another one.
 */
static void
read_meaning(const char *text, size_t size, Meaning *meaning)
{
	char	   *last;

	meaning->text = palloc_extended(size + 1, MCXT_ALLOC_HUGE);
	meaning->starts = palloc_extended((size + 1) * sizeof(uint32), MCXT_ALLOC_HUGE);
	meaning->size = 0;
	for (size_t i = 0; i < size; i++)
	{
		if (i % BYTES_BETWEEN_INTERRUPTS == 0)
			CHECK_FOR_INTERRUPTS();
		meaning->starts[meaning->size] = i;
		meaning->text[meaning->size++] = text[i];
		while (unescape_percent(meaning) || unescape_unicode(meaning) || unescape_backslash(meaning))
			;
		last = &meaning->text[meaning->size - 1];
		*last = *last == '+' ? ' ' : pg_ascii_tolower((unsigned char) *last);
	}
	meaning->text[meaning->size] = '\0';
	meaning->starts[meaning->size] = size;
}

static void
free_meaning(Meaning *meaning)
{
	pfree(meaning->text);
	pfree(meaning->starts);
}

/* Each once, for most have several forms of the same; and none that is too short. */
static List *
meanings_of(const List *texts, size_t shortest)
{
	List	   *meanings = NIL;
	ListCell   *lc;

	foreach(lc, texts)
	{
		Meaning		meaning;
		ListCell   *known;

		read_meaning(lfirst(lc), strlen(lfirst(lc)), &meaning);
		foreach(known, meanings)
			if (strcmp(lfirst(known), meaning.text) == 0)
			break;
		pfree(meaning.starts);
		if (known == NULL && meaning.size >= shortest)
			meanings = lappend(meanings, meaning.text);
	}
	return meanings;
}

bool
js_says_any(const List *texts, const char *text)
{
	List	   *meanings = meanings_of(texts, 1);
	Meaning		said;
	bool		any;

	read_meaning(text, strlen(text), &said);
	any = js_contains_any(meanings, said.text, said.size);
	free_meaning(&said);
	list_free_deep(meanings);
	return any;
}

static void
append_part(StringInfo shown, const char *text, size_t start, size_t end)
{
	if (end > start)
		appendBinaryStringInfo(shown, text + start, end - start);
}

/* With something else in these places. */
static char *
mask(const Spans *spans, const char *text, size_t *size)
{
	StringInfoData shown;
	size_t		at = 0;

	initStringInfo(&shown);
	for (size_t i = 0; i < spans->count; i++)
	{
		append_part(&shown, text, at, spans->spans[i].start);
		appendStringInfoString(&shown, MASK);
		at = spans->spans[i].end;
	}
	append_part(&shown, text, at, *size);
	*size = shown.len;
	return shown.data;
}

/* As they are. */
static char *
mask_texts(const List *texts, char *text, size_t *size)
{
	JsNeedles  *needles = prepare_needles(texts, *size);
	Spans		spans = {0};

	if (needles == NULL)
		return text;
	if (find_needles(needles, text, *size, &spans))
	{
		text = mask(&spans, text, size);
		pfree(spans.spans);
	}
	pfree(needles);
	return text;
}

/* In whatever way they are escaped. */
static char *
mask_meanings(const List *texts, char *text, size_t *size)
{
	List	   *meanings = meanings_of(texts, JS_SECRET_MIN);
	JsNeedles  *needles = prepare_needles(meanings, *size);
	Spans		spans = {0};
	Meaning		said;

	list_free_deep(meanings);
	if (needles == NULL)
		return text;
	read_meaning(text, *size, &said);
	if (find_needles(needles, said.text, said.size, &spans))
	{
		for (size_t i = 0; i < spans.count; i++)
		{
			spans.spans[i].start = said.starts[spans.spans[i].start];
			spans.spans[i].end = said.starts[spans.spans[i].end];
		}
		text = mask(&spans, text, size);
		pfree(spans.spans);
	}
	free_meaning(&said);
	pfree(needles);
	return text;
}

char *
js_http_redact(const List *secrets, const char *text, size_t *size)
{
	char	   *shown = unconstify(char *, text);

	if (secrets == NIL)
		return shown;
	shown = mask_texts(secrets, shown, size);
	if (memchr(shown, '\\', *size) != NULL || memchr(shown, '%', *size) != NULL)
		shown = mask_meanings(secrets, shown, size);
	return shown;
}
