/*-------------------------------------------------------------------------
 *
 * http_response.c
 *		What the headers of a response say.  (store_history.c makes it a row.)
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/interval.h"
#include "http/http_header.h"
#include "http/http_request.h"
#include "mb/pg_wchar.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#define RETRY_AFTER "Retry-After"
#define CONTENT_TYPE "Content-Type"
#define MAX_VALUE 256			/* of a value that we look at, in bytes */

static const char *const month_names[] = {
	"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
};

/* 1 to 12; 0: none. */
static int
month_of(const char *name)
{
	for (int i = 0; i < lengthof(month_names); i++)
		if (strcmp(name, month_names[i]) == 0)
			return i + 1;
	return 0;
}

/* Two digits of a year: not more than 50 years ahead (RFC 9110 5.6.7). */
static int
whole_year(int digits, TimestampTz now)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			year;

	if (timestamp2tm(now, NULL, &tm, &fsec, NULL, NULL) != 0)
		return 2000 + digits;
	year = tm.tm_year - tm.tm_year % 100 + digits;
	return year > tm.tm_year + 50 ? year - 100 : year;
}

/*
 * The three forms of an HTTP date: "Sun, 06 Nov 1994 08:49:37 GMT",
 * "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994".
 */
static bool
scan_date(const char *text, TimestampTz now, struct pg_tm *tm, char *month)
{
	int			end = -1;

	if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &tm->tm_mday, month,
			   &tm->tm_year, &tm->tm_hour, &tm->tm_min, &tm->tm_sec, &end) == 6 &&
		end == strlen(text))
		return true;
	end = -1;
	if (sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", &tm->tm_mday, month,
			   &tm->tm_year, &tm->tm_hour, &tm->tm_min, &tm->tm_sec, &end) == 6 &&
		end == strlen(text) && tm->tm_year >= 0)
	{
		tm->tm_year = whole_year(tm->tm_year, now);
		return true;
	}
	end = -1;
	return sscanf(text, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", month, &tm->tm_mday,
				  &tm->tm_hour, &tm->tm_min, &tm->tm_sec, &tm->tm_year, &end) == 6 &&
		end == strlen(text);
}

static bool
read_http_date(const char *text, TimestampTz now, TimestampTz *date)
{
	struct pg_tm tm = {0};
	char		month[4];
	int			year;
	int			mon;
	int			mday;
	int			day;

	if (!scan_date(text, now, &tm, month))
		return false;
	tm.tm_mon = month_of(month);
	if (tm.tm_mon == 0 || tm.tm_year < 1970 || tm.tm_hour < 0 || tm.tm_hour > 23 ||
		tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60)
		return false;
	day = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday);
	j2date(day, &year, &mon, &mday);
	if (mon != tm.tm_mon || mday != tm.tm_mday)
		return false;
	*date = (day - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY +
		((tm.tm_hour * MINS_PER_HOUR + tm.tm_min) * (int64) SECS_PER_MINUTE + tm.tm_sec) * USECS_PER_SEC;
	return true;
}

/* Digits only; what is more than the longest wait is that. */
static bool
read_seconds(const char *text, int64 *us)
{
	const int64 most = JS_MAX_INTERVAL_DAYS * SECS_PER_DAY;
	int64		seconds = 0;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++)
	{
		if (*text < '0' || *text > '9')
			return false;
		seconds = Min(seconds * 10 + (*text - '0'), most);
	}
	*us = seconds * USECS_PER_SEC;
	return true;
}

static int64
read_retry_after(const char *text, TimestampTz now)
{
	TimestampTz date;
	int64		us;

	if (read_seconds(text, &us))
		return us;
	if (!read_http_date(text, now, &date))
		return -1;
	return Min(Max(date - now, 0), JS_MAX_INTERVAL_DAYS * USECS_PER_DAY);
}

/* The value of a line without the white space around it; NULL: no such header. */
static char *
value_of(const char *name, const char *line, size_t size)
{
	size_t		before = strlen(name) + 1;
	char	   *value;
	int			length;

	if (size < before || size > before + MAX_VALUE || !js_header_is(line, name))
		return NULL;
	value = pnstrdup(line + before, size - before);
	value += strspn(value, " \t");
	length = strlen(value);
	while (length > 0 && strchr(" \t\r", value[length - 1]) != NULL)
		value[--length] = '\0';
	return value;
}

/* That of the next header of this name; NULL: there is none. */
static char *
next_value(const char *name, const char **headers, const char *end)
{
	while (*headers < end)
	{
		const char *line = *headers;
		const char *line_end = memchr(line, '\n', end - line);
		size_t		length = (line_end ? line_end : end) - line;
		char	   *value = value_of(name, line, length);

		*headers += length + 1;
		if (value != NULL)
			return value;
	}
	return NULL;
}

/* The first that can be read counts. */
int64
js_http_retry_after(const char *headers, size_t size, TimestampTz now)
{
	const char *end = headers + size;
	char	   *value;

	while ((value = next_value(RETRY_AFTER, &headers, end)) != NULL)
	{
		int64		wait = read_retry_after(value, now);

		if (wait >= 0)
			return wait;
	}
	return -1;
}

/* ------------------------------------------------------------------------
 * The encoding of a body
 * ------------------------------------------------------------------------
 */

/* Names that the server does not have. */
typedef struct Charset
{
	const char *name;
	int			encoding;
} Charset;

static const Charset charsets[] = {
	{"us-ascii", PG_UTF8},
	{"ascii", PG_UTF8},
	{"gb2312", PG_GBK},
	{"x-sjis", PG_SJIS},
	{"ks_c_5601-1987", PG_UHC}
};

/* -1: unknown; SQL_ASCII says nothing about a text. */
static int
charset_by_name(const char *name)
{
	int			encoding = pg_char_to_encoding(name);

	for (int i = 0; i < lengthof(charsets); i++)
		if (pg_strcasecmp(name, charsets[i].name) == 0)
			return charsets[i].encoding;
	return encoding == PG_SQL_ASCII || encoding == PG_MULE_INTERNAL ? -1 : encoding;
}

/* A parameter's value at *text, 'word' or '"quoted"', which is stepped over. */
static char *
read_parameter(char **text)
{
	char	   *from = *text;
	char	   *to = *text;
	char	   *value = *text;

	if (*from != '"')
	{
		*text += strcspn(from, "; \t");
		return pnstrdup(value, *text - value);
	}
	for (from++; *from != '"' && *from != '\0'; *to++ = *from++)
		if (*from == '\\' && from[1] != '\0')
			from++;
	*text = from + (*from == '"');
	return pnstrdup(value, to - value);
}

/* NULL: text/html; charset="utf-8" without that. */
static char *
charset_parameter(char *type)
{
	char	   *at = type + strcspn(type, ";");

	while (*at == ';')
	{
		char	   *name;
		size_t		length;
		char	   *value;

		at += strspn(at, "; \t");
		name = at;
		length = strcspn(at, "=; \t");
		at += length;
		if (*at != '=')
		{
			at += strcspn(at, ";");
			continue;
		}
		at++;
		value = read_parameter(&at);
		if (length == strlen("charset") && pg_strncasecmp(name, "charset", length) == 0)
			return value;
		at += strcspn(at, ";");
	}
	return NULL;
}

int
js_http_charset(const char *headers, size_t size)
{
	char	   *type = next_value(CONTENT_TYPE, &headers, headers + size);
	char	   *charset = type != NULL ? charset_parameter(type) : NULL;
	int			encoding = charset != NULL ? charset_by_name(charset) : -1;

	return encoding >= 0 ? encoding : PG_UTF8;
}
