/*-------------------------------------------------------------------------
 *
 * people.c
 *		Values as views show them to people who read a terminal, and spans of time
 *		as programs want them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "compat.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_milliseconds);
PG_FUNCTION_INFO_V1(jobsched_time_text);
PG_FUNCTION_INFO_V1(jobsched_fit);

/* ------------------------------------------------------------------------
 * Spans of time
 * ------------------------------------------------------------------------
 */

/* A day has 24 hours, and a month 30 days; what is too long for that is as long as can be. */
static int64
microseconds(const Interval *interval)
{
	int64		days = interval->month * INT64CONST(30) + interval->day;
	int64		us;

	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &us))
		return days < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	if (pg_add_s64_overflow(us, interval->time, &us))
		return interval->time < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	return us;
}

/* Not numeric: drivers make texts of that. */
Datum
jobsched_milliseconds(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(microseconds(PG_GETARG_INTERVAL_P(0)) / 1000.0);
}

/* In two units at most, rounded to what is left out. */
static void
write_time(StringInfo text, int64 us)
{
	int64		ms = (us + 500) / 1000;
	int64		tenths = (us + 50000) / 100000;
	int64		s = (us + USECS_PER_SEC / 2) / USECS_PER_SEC;
	int64		minutes = (s + 30) / 60;
	int64		hours = (s + 1800) / 3600;

	if (ms < 1000)
		appendStringInfo(text, INT64_FORMAT " ms", ms);
	else if (tenths < 600)
		appendStringInfo(text, INT64_FORMAT ".%d s", tenths / 10, (int) (tenths % 10));
	else if (s < 3600)
		appendStringInfo(text, INT64_FORMAT " min %d s", s / 60, (int) (s % 60));
	else if (minutes < 24 * 60)
		appendStringInfo(text, INT64_FORMAT " h %d min", minutes / 60, (int) (minutes % 60));
	else
		appendStringInfo(text, INT64_FORMAT " d %d h", hours / 24, (int) (hours % 24));
}

Datum
jobsched_time_text(PG_FUNCTION_ARGS)
{
	/* so that there is room to round */
	int64		most = PG_INT64_MAX - USECS_PER_DAY;
	int64		us = microseconds(PG_GETARG_INTERVAL_P(0));
	StringInfoData text;

	initStringInfo(&text);
	if (us <= -500)				/* else it is 0 ms */
		appendStringInfoChar(&text, '-');
	write_time(&text, us < -most ? most : Min(us < 0 ? -us : us, most));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(text.data, text.len));
}

/* ------------------------------------------------------------------------
 * Columns of a terminal
 *
 * psql counts as pg_dsplen() does, and writes what has no width as an escape.
 * ------------------------------------------------------------------------
 */

#define MOST_BYTES	8192		/* of a text that are looked at */
#define DOTS		"..."

/* The bytes from p on that fit into a number of columns; *width is what they take. */
static int
bytes_in(const char *p, int length, int columns, int *width)
{
	int			n = 0;

	*width = 0;
	while (n < length)
	{
		int			dsplen = pg_dsplen(p + n);

		if (*width + Max(dsplen, 1) > columns && dsplen != 0)
			break;
		*width += dsplen < 0 ? 1 : dsplen;
		n += Min(pg_mblen(p + n), length - n);
	}
	return n;
}

/* What has no width of its own, such as the end of a line, becomes a space. */
static void
append_visible(StringInfo text, const char *p, int length)
{
	while (length > 0)
	{
		int			n = Min(pg_mblen(p), length);

		if (pg_dsplen(p) < 0)
			appendStringInfoChar(text, ' ');
		else
			appendBinaryStringInfo(text, p, n);
		p += n;
		length -= n;
	}
}

/* (text, columns): as much of it as a terminal shows in so many, with dots for the rest. */
Datum
jobsched_fit(PG_FUNCTION_ARGS)
{
	text	   *value = PG_GETARG_TEXT_P_SLICE(0, 0, MOST_BYTES + 1);
	int			columns = Max(PG_GETARG_INT32(1), (int) strlen(DOTS));
	char	   *p = VARDATA_ANY(value);
	int			size = VARSIZE_ANY_EXHDR(value);
	int			length = size > MOST_BYTES ? pg_mbcliplen(p, size, MOST_BYTES) : size;
	StringInfoData text;
	int			width;
	bool		is_cut;

	initStringInfo(&text);
	is_cut = size > length || bytes_in(p, length, columns, &width) < length;
	if (is_cut)
		length = bytes_in(p, length, columns - strlen(DOTS), &width);
	append_visible(&text, p, length);
	if (is_cut)
		appendStringInfoString(&text, DOTS);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(text.data, text.len));
}
