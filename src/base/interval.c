/*-------------------------------------------------------------------------
 *
 * interval.c
 *		Time spans as arguments.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/interval.h"
#include "common/int.h"
#include "compat.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

pg_noreturn static void
refuse(const char *parameter, const Interval *interval, const char *what, const char *hint)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval)));

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\" %s", parameter, text, what),
			 errhint("%s", hint)));
}

/* In microseconds; a day has 24 hours.  Months have no length, and are refused. */
int64
js_interval_us(const char *parameter, const Interval *interval)
{
	int64		us;

	if (interval->month != 0)
		refuse(parameter, interval, "has no fixed length", "Give it in days or smaller units.");
	if (pg_mul_s64_overflow(interval->day, USECS_PER_DAY, &us) ||
		pg_add_s64_overflow(us, interval->time, &us) ||
		us > JS_MAX_INTERVAL_DAYS * USECS_PER_DAY)
		refuse(parameter, interval, "is too long", "The longest is 3650 days.");
	if (us < 0)
		refuse(parameter, interval, "is negative", "Give a span of time that is not.");
	return us;
}

/* The same of a value that somebody has written past our checks: no errors. */
int64
js_interval_clamped_us(const Interval *interval)
{
	int64		max = JS_MAX_INTERVAL_DAYS * USECS_PER_DAY;
	int64		days = Max(Min(interval->day, JS_MAX_INTERVAL_DAYS), 0) * USECS_PER_DAY;

	return Max(Min(Min(interval->time, max) + days, max), 0);
}
