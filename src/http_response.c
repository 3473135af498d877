/*-------------------------------------------------------------------------
 *
 * http_response.c
 *		What headers of a response say.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http_header.h"
#include "http_request.h"
#include "interval.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#define RETRY_AFTER "Retry-After"
#define MAX_DATE 64				/* of a value that can be one, in bytes */

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
read_date(const char *text, TimestampTz now, TimestampTz *date)
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
	for (; *text !='\0'; text ++)
	{
		if (*text <'0' || *text >'9')
			return false;
		seconds = Min(seconds * 10 + (*text -'0'), most);
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
	if (!read_date(text, now, &date))
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

	if (size < before || size > before + MAX_DATE || !js_header_is(line, name))
		return NULL;
	value = pnstrdup(line + before, size - before);
	value += strspn(value, " \t");
	length = strlen(value);
	while (length > 0 && strchr(" \t\r", value[length - 1]) != NULL)
		value[--length] = '\0';
	return value;
}

/* The first that can be read counts. */
int64
js_http_retry_after(const char *headers, size_t size, TimestampTz now)
{
	const char *end = headers + size;

	while (headers < end)
	{
		const char *line_end = memchr(headers, '\n', end - headers);
		size_t		length = (line_end ? line_end : end) - headers;
		char	   *value = value_of(RETRY_AFTER, headers, length);
		int64		wait = value ? read_retry_after(value, now) : -1;

		if (wait >= 0)
			return wait;
		headers += length + 1;
	}
	return -1;
}
