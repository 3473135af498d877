/*-------------------------------------------------------------------------
 *
 * http_charset.c
 *		The text of a response, from any encoding to the database's.
 *
 * All text goes through UTF-8, to which every encoding has a conversion.  In a
 * database with SQL_ASCII text is UTF-8, as in what is sent.  Only the server's
 * own conversions are found, because the process has only pg_catalog in its
 * search_path.  Nothing here raises an error because of the text.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "http/http_request.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

#define CONVERTED_AT_ONCE 32768 /* bytes of the result */

static bool
is_ascii(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (IS_HIGHBIT_SET(text[i]) || text[i] == '\0')
			return false;
	return true;
}

/* How many bytes of text could be converted, into result. */
static size_t
convert(const char *text, size_t size, int from, int to, StringInfo result)
{
	Oid			function = FindDefaultConversionProc(from, to);
	size_t		done = 0;

	while (OidIsValid(function) && done < size)
	{
		int			count;

		CHECK_FOR_INTERRUPTS();
		enlargeStringInfo(result, CONVERTED_AT_ONCE);
		count = pg_do_encoding_conversion_buf(function, from, to,
											  (unsigned char *) text + done, size - done,
											  (unsigned char *) result->data + result->len,
											  CONVERTED_AT_ONCE, true);
		if (count <= 0)
			break;
		done += count;
		result->len += strlen(result->data + result->len);
	}
	result->data[result->len] = '\0';
	return done;
}

/*
 * A text of so many bytes in UTF-8; NULL: that is not its encoding.  Cut: it may
 * end within a character, which is left out.
 */
char *
js_http_decode(int encoding, const char *text, size_t size, bool cut)
{
	StringInfoData result;
	size_t		done;

	if (is_ascii(text, size))
		return pnstrdup(text, size);
	initStringInfo(&result);
	if (encoding != PG_UTF8)
		done = convert(text, size, encoding, PG_UTF8, &result);
	else
	{
		done = pg_encoding_verifymbstr(PG_UTF8, text, size);
		appendBinaryStringInfo(&result, text, done);
	}
	if (done == size || (cut && size - done < pg_encoding_max_length(encoding) &&
						 memchr(text + done, '\0', size - done) == NULL))
		return result.data;
	pfree(result.data);
	return NULL;
}

/* UTF-8 in the database's encoding; NULL: it does not have all the characters. */
char *
js_http_encode(char *utf8)
{
	size_t		size = strlen(utf8);
	StringInfoData result;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII || is_ascii(utf8, size))
		return utf8;
	initStringInfo(&result);
	if (convert(utf8, size, PG_UTF8, GetDatabaseEncoding(), &result) == size)
		return result.data;
	pfree(result.data);
	return NULL;
}

/* Each character that is not ASCII becomes one that is. */
static char *
without_foreign(char *utf8)
{
	char	   *to = utf8;
	int			length;

	for (const char *from = utf8; *from != '\0'; from += length)
	{
		length = pg_utf_mblen((const unsigned char *) from);
		*to++ = IS_HIGHBIT_SET(*from) ? '?' : *from;
	}
	*to = '\0';
	return utf8;
}

/* In which secrets show only now that are not ASCII; NULL: it has a NUL. */
static char *
read_latin1(const List *secrets, const char *text, size_t size)
{
	char	   *utf8 = js_http_decode(PG_LATIN1, text, size, false);

	if (utf8 == NULL)
		return NULL;
	size = strlen(utf8);
	utf8 = js_http_redact(secrets, utf8, &size);
	return pnstrdup(utf8, size);
}

/* Headers have no encoding: UTF-8 if they are that, else ISO 8859-1 by tradition. */
char *
js_http_header_text(const List *secrets, const char *text, size_t size)
{
	char	   *utf8 = js_http_decode(PG_UTF8, text, size, false);
	char	   *result;

	if (utf8 == NULL)
		utf8 = read_latin1(secrets, text, size);
	if (utf8 == NULL)
		return pstrdup("?");
	result = js_http_encode(utf8);
	return result != NULL ? result : without_foreign(utf8);
}
