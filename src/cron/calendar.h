/*-------------------------------------------------------------------------
 *
 * calendar.h
 *		Local dates and times, without any time zone.
 *
 * A local time is a number of seconds: what a wall clock shows, counted from
 * 1970-01-01 00:00:00 on that clock, as if every day had 86400 seconds.  A day
 * is a number of days since 1970-01-01.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CALENDAR_H
#define JS_CALENDAR_H

#include "cron/cron.h"

/* Division that rounds down, for a positive divisor. */
static inline int64
js_floor_div(int64 dividend, int64 divisor)
{
	int64		quotient = dividend / divisor;

	return quotient - (dividend % divisor < 0 ? 1 : 0);
}

extern int64 js_calendar_day(int64 year, int month, int mday);
extern void js_calendar_date(int64 day, int64 *year, int *month, int *mday);
extern int	js_calendar_month_length(int64 year, int month);
extern int64 js_calendar_months(int64 day);
extern int64 js_calendar_add_months(int64 day, int64 months);
extern bool js_calendar_next(const JsCron *cron, int64 local, int64 *next);

#endif							/* JS_CALENDAR_H */
