/*-------------------------------------------------------------------------
 *
 * calendar.c
 *		Local dates and times, and which of them a cron expression matches.
 *
 * We use the proleptic Gregorian calendar throughout.  It repeats exactly after
 * 400 years (146097 days, a multiple of seven), which bounds the search: what
 * does not match within 400 years never matches.  The search goes month by
 * month, and builds the set of matching days of each month that matches.  So
 * even a date that occurs once in 40 years is found in a few microseconds.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cron/calendar.h"
#include "port/pg_bitutils.h"

#define DAYS_PER_CYCLE		146097	/* in 400 years */
#define YEARS_PER_CYCLE		400
#define DAYS_TO_1970		719468	/* from 0000-03-01 */

/*
 * The day number of a date.  Years are made to begin in March, so that the
 * leap day is the last of its year and month lengths follow a linear rule.
 */
int64
js_calendar_day(int64 year, int month, int mday)
{
	int64		march_year = month > 2 ? year : year - 1;
	int64		cycle = js_floor_div(march_year, YEARS_PER_CYCLE);
	int64		in_cycle = march_year - cycle * YEARS_PER_CYCLE;
	int			month_index = month > 2 ? month - 3 : month + 9;
	int			day_of_year = (153 * month_index + 2) / 5 + mday - 1;

	return cycle * DAYS_PER_CYCLE + in_cycle * 365 + in_cycle / 4 -
		in_cycle / 100 + day_of_year - DAYS_TO_1970;
}

/* The inverse of js_calendar_day(). */
void
js_calendar_date(int64 day, int64 *year, int *month, int *mday)
{
	int64		shifted = day + DAYS_TO_1970;
	int64		cycle = js_floor_div(shifted, DAYS_PER_CYCLE);
	int			in_cycle = (int) (shifted - cycle * DAYS_PER_CYCLE);
	int			march_year;
	int			day_of_year;
	int			month_index;

	/* take out the leap days of 4, 100 and 400 years, the rest is even */
	march_year = (in_cycle - in_cycle / 1460 + in_cycle / 36524 -
				  in_cycle / 146096) / 365;
	day_of_year = in_cycle -
		(march_year * 365 + march_year / 4 - march_year / 100);
	month_index = (5 * day_of_year + 2) / 153;

	*mday = day_of_year - (153 * month_index + 2) / 5 + 1;
	*month = month_index < 10 ? month_index + 3 : month_index - 9;
	*year = cycle * YEARS_PER_CYCLE + march_year + (*month <= 2 ? 1 : 0);
}

static bool
is_leap_year(int64 year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int
js_calendar_month_length(int64 year, int month)
{
	static const int8 lengths[] =
	{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return lengths[month - 1] + (month == 2 && is_leap_year(year) ? 1 : 0);
}

/* The number of the month that a day belongs to, counted from year 0. */
int64
js_calendar_months(int64 day)
{
	int64		year;
	int			month;
	int			mday;

	js_calendar_date(day, &year, &month, &mday);
	return year * 12 + (month - 1);
}

/*
 * The same day of the month some months later; the last day of that month
 * where it is shorter.
 */
int64
js_calendar_add_months(int64 day, int64 months)
{
	int64		year;
	int			month;
	int			mday;
	int64		total;

	js_calendar_date(day, &year, &month, &mday);
	total = year * 12 + (month - 1) + months;
	year = js_floor_div(total, 12);
	month = (int) (total - year * 12) + 1;
	return js_calendar_day(year, month,
						   Min(mday, js_calendar_month_length(year, month)));
}

/* 0 is Sunday. */
static int
weekday_of(int64 day)
{
	int64		shifted = day + 4;	/* 1970-01-01 was a Thursday */

	return (int) (shifted - js_floor_div(shifted, 7) * 7);
}

/*
 * A set of weekdays as a set of days of a month: in bit n the n-th day, for
 * n of 1..35, when the first day of the month is the weekday "first".
 */
static uint64
spread_weekdays(uint8 weekdays, int first)
{
	uint64		week = (weekdays >> first | weekdays << (7 - first)) & 0x7f;

	return (week | week << 7 | week << 14 | week << 21 | week << 28) << 1;
}

/* The day between Monday and Friday that is nearest, in the same month. */
static int
nearest_workday(int mday, int first, int length)
{
	int			weekday = (first + mday - 1) % 7;

	if (weekday == 6)			/* Saturday */
		return mday > 1 ? mday - 1 : mday + 2;
	if (weekday == 0)			/* Sunday */
		return mday < length ? mday + 1 : mday - 2;
	return mday;
}

/* The days that the day-of-month field matches, bits 1..31. */
static uint64
days_by_date(const JsCron *cron, int first, int length)
{
	uint64		days = cron->days;
	uint32		rest;

	for (rest = cron->days_from_last; rest != 0; rest &= rest - 1)
	{
		int			before = pg_rightmost_one_pos32(rest);

		if (before < length)
			days |= UINT64CONST(1) << (length - before);
	}
	for (rest = cron->days_nearest; rest != 0; rest &= rest - 1)
	{
		int			mday = pg_rightmost_one_pos32(rest);

		if (mday <= length)
			days |= UINT64CONST(1) << nearest_workday(mday, first, length);
	}
	if (cron->last_workday)
		days |= UINT64CONST(1) << nearest_workday(length, first, length);
	return days;
}

/* The days that the day-of-week field matches, bits 1..31. */
static uint64
days_by_weekday(const JsCron *cron, int first, int length)
{
	uint64		days = spread_weekdays(cron->weekdays, first);
	const uint64 week = 0x7f;
	int			nth;

	for (nth = 0; nth < (int) lengthof(cron->weekdays_nth); nth++)
	{
		if (cron->weekdays_nth[nth] != 0)
			days |= spread_weekdays(cron->weekdays_nth[nth], first) &
				(week << (7 * nth + 1));
	}
	if (cron->weekdays_last != 0)
		days |= spread_weekdays(cron->weekdays_last, first) &
			(week << (length - 6));
	return days;
}

/* The matching days of a month, bits 1..31. */
static uint64
matching_days(const JsCron *cron, int64 year, int month)
{
	int			length = js_calendar_month_length(year, month);
	int			first = weekday_of(js_calendar_day(year, month, 1));
	uint64		valid = (UINT64CONST(1) << (length + 1)) - 2;
	uint64		by_date = days_by_date(cron, first, length);
	uint64		by_weekday = days_by_weekday(cron, first, length);

	if (cron->either_day)
		return (by_date | by_weekday) & valid;
	return by_date & by_weekday & valid;
}

/* The lowest member of a set that is not below "from", or -1. */
static int
next_member(uint64 set, int from)
{
	if (from > 63 || (set >> from) == 0)
		return -1;
	return from + pg_rightmost_one_pos64(set >> from);
}

/* The first matching second of the day that is not before "from", or -1. */
static int
next_second_of_day(const JsCron *cron, int from)
{
	int			hour = from / 3600;
	int			minute = from / 60 % 60;
	int			second = from % 60;
	int			match;

	if ((cron->hours & (1U << hour)) != 0)
	{
		if ((cron->minutes & (UINT64CONST(1) << minute)) != 0)
		{
			match = next_member(cron->seconds, second);
			if (match >= 0)
				return from - second + match;
		}
		match = next_member(cron->minutes, minute + 1);
		if (match >= 0)
			return hour * 3600 + match * 60 + next_member(cron->seconds, 0);
	}
	match = next_member(cron->hours, hour + 1);
	if (match < 0)
		return -1;
	return match * 3600 + next_member(cron->minutes, 0) * 60 +
		next_member(cron->seconds, 0);
}

/* The first matching day that is not before "from"; false: there is none. */
static bool
next_matching_day(const JsCron *cron, int64 from, int64 *day)
{
	int64		year;
	int			month;
	int			mday;
	int			tries;

	js_calendar_date(from, &year, &month, &mday);
	for (tries = 0; tries <= YEARS_PER_CYCLE * 12; tries++)
	{
		if ((cron->months & (1U << month)) != 0)
		{
			int			match;

			match = next_member(matching_days(cron, year, month), mday);
			if (match >= 0)
			{
				*day = js_calendar_day(year, month, match);
				return true;
			}
		}
		mday = 1;
		if (++month > 12)
		{
			month = 1;
			year++;
		}
	}
	return false;
}

/*
 * Finds the first matching local time that is not before "local".  False:
 * the expression matches no date at all.
 */
bool
js_calendar_next(const JsCron *cron, int64 local, int64 *next)
{
	int64		from = js_floor_div(local, SECS_PER_DAY);
	int64		day;
	int			second = -1;

	if (!next_matching_day(cron, from, &day))
		return false;
	if (day == from)
	{
		second = next_second_of_day(cron, (int) (local - from * SECS_PER_DAY));
		if (second < 0 && !next_matching_day(cron, from + 1, &day))
			return false;
	}
	if (second < 0)
		second = next_second_of_day(cron, 0);
	*next = day * SECS_PER_DAY + second;
	return true;
}
