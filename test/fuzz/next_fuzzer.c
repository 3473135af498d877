/*-------------------------------------------------------------------------
 *
 * next_fuzzer.c
 *		The search for the next instant against a simulated clock.
 *
 * The first bytes of the input make up a time zone with a few changes of the
 * clocks, close together, and an instant to start from; the rest is a
 * schedule.  The simulation lets some days pass second by second or minute
 * by minute and looks at the clock each time, as cron itself would: it shares
 * nothing with the search but the parsed expression.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "cron/cron.h"
#include "stand_ins.h"

#define ZONE_BYTES	16
#define MAX_TEXT	120
#define EPOCH		((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * \
					 SECS_PER_DAY)
#define BASE		INT64CONST(1739923200)	/* 2025-02-19 */
#define LEAD		(3 * SECS_PER_DAY)	/* simulated before the start */
#define SPAN		(3 * SECS_PER_DAY)	/* compared after the start */

#undef fprintf
#undef printf

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Changes at odd hours within a few days, of quarters of hours up to three
 * hours, sometimes of a day.
 */
static void
make_zone(const uint8_t *data, pg_time_t base, pg_tz *tz)
{
	pg_time_t	at = base;
	int			i;

	memset(tz, 0, sizeof(*tz));
	tz->count = data[0] % (MAX_CHANGES + 1);
	tz->offset[0] = (data[1] % 100 - 48) * 900;
	for (i = 0; i < tz->count; i++)
	{
		int			change = data[2 + 2 * i] % 26 - 12;

		at += (1 + data[3 + 2 * i]) * 1800;
		tz->at[i] = at;
		tz->offset[i + 1] = tz->offset[i] + change * 900;
		if (change == 13 && tz->offset[i] <= 0)
			tz->offset[i + 1] = tz->offset[i] + SECS_PER_DAY;
	}
}

/*
 * Where to start: somewhere in the week of the changes, often next to one.
 * Only where seconds matter need it be within a minute.
 */
static pg_time_t
make_start(const uint8_t *data, pg_time_t base, const pg_tz *tz, int64 step)
{
	pg_time_t	start = base;

	start += (data[10] * 256 + data[11]) * INT64CONST(60) %
		(8 * SECS_PER_DAY);
	if (tz->count > 0 && data[12] % 2 == 0)
		start = tz->at[data[13] % tz->count] + (data[14] % 5 - 2) * step;
	return start;
}

static long
offset_at(const pg_tz *tz, pg_time_t t)
{
	int			i = 0;

	while (i < tz->count && tz->at[i] <= t)
		i++;
	return tz->offset[i];
}

static int
last_day(const struct tm *tm)
{
	static const int lengths[] =
	{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int			year = tm->tm_year + 1900;

	if (tm->tm_mon == 1 &&
		((year % 4 == 0 && year % 100 != 0) || year % 400 == 0))
		return 29;
	return lengths[tm->tm_mon];
}

/* Whether a day is the weekday nearest to day n of its month. */
static bool
is_nearest(const struct tm *tm, int n)
{
	int			weekday = ((tm->tm_wday + n - tm->tm_mday) % 7 + 7) % 7;
	int			moved = n;

	if (n > last_day(tm))
		return false;
	if (weekday == 6)
		moved = n == 1 ? 3 : n - 1;
	if (weekday == 0)
		moved = n == last_day(tm) ? n - 2 : n + 1;
	return tm->tm_mday == moved;
}

static bool
day_matches(const JsCron *cron, const struct tm *tm)
{
	bool		by_date = (cron->days >> tm->tm_mday & 1) != 0;
	bool		by_weekday = (cron->weekdays >> tm->tm_wday & 1) != 0;
	int			from_last = last_day(tm) - tm->tm_mday;
	int			n;

	by_date |= (cron->days_from_last >> from_last & 1) != 0;
	for (n = 1; n <= 31; n++)
		by_date |= (cron->days_nearest >> n & 1) != 0 && is_nearest(tm, n);
	by_date |= cron->last_workday && is_nearest(tm, last_day(tm));
	by_weekday |= (cron->weekdays_nth[(tm->tm_mday - 1) / 7] >>
				   tm->tm_wday & 1) != 0;
	by_weekday |= from_last < 7 &&
		(cron->weekdays_last >> tm->tm_wday & 1) != 0;
	return cron->either_day ? by_date || by_weekday : by_date && by_weekday;
}

static bool
reading_matches(const JsCron *cron, int64 local)
{
	time_t		t = (time_t) local;
	struct tm	tm;

	gmtime_r(&t, &tm);
	return (cron->seconds >> tm.tm_sec & 1) != 0 &&
		(cron->minutes >> tm.tm_min & 1) != 0 &&
		(cron->hours >> tm.tm_hour & 1) != 0 &&
		(cron->months >> (tm.tm_mon + 1) & 1) != 0 &&
		day_matches(cron, &tm);
}

/*
 * The clock ticks to t.  For a fixed schedule *reached is the furthest that
 * has been looked at: all readings passed since then are looked at now.
 */
static bool
tick(const JsCron *cron, const pg_tz *tz, pg_time_t t, int64 step,
	 int64 *reached)
{
	int64		reading = t + offset_at(tz, t);
	bool		fires = false;

	if (cron->elapsed)
		return reading_matches(cron, reading);
	if (reading - *reached >= SECS_PER_DAY + step)
		*reached = reading - step;	/* a day that did not exist */
	while (*reached < reading)
	{
		*reached += step;
		fires |= reading_matches(cron, *reached);
	}
	return fires;
}

static void
fail(const pg_tz *tz, const char *text, pg_time_t start, pg_time_t expected,
	 pg_time_t got)
{
	int			i;

	fprintf(stderr, "schedule \"%s\" after %ld: simulated %ld, found %ld\n",
			text, (long) start, (long) expected, (long) got);
	for (i = 0; i <= tz->count; i++)
		fprintf(stderr, "offset %ld until %ld\n", tz->offset[i],
				i < tz->count ? (long) tz->at[i] : -1);
	abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char		text[MAX_TEXT + 1];
	pg_tz		tz;
	JsSchedule	s;
	JsScheduleError err;
	int64		step;
	int64		reached;
	pg_time_t	base;
	pg_time_t	start;
	pg_time_t	t;
	TimestampTz next;
	TimestampTz found;

	if (size <= ZONE_BYTES || size > ZONE_BYTES + MAX_TEXT)
		return -1;
	memcpy(text, data + ZONE_BYTES, size - ZONE_BYTES);
	text[size - ZONE_BYTES] = '\0';
	if (!js_schedule_parse(text, "a job", &s, &err) ||
		s.kind != JS_SCHEDULE_CRON)
		return -1;
	base = BASE + data[15] * 4 * SECS_PER_DAY;
	make_zone(data, base, &tz);

	/* a whole minute, unless seconds matter; then less time is simulated */
	step = s.u.cron.seconds == 1 ? 60 : 1;
	start = make_start(data, base, &tz, step);

	t = start - (step == 1 ? SECS_PER_DAY / 4 : LEAD);
	reached = t + offset_at(&tz, t);
	if (step == 1)
	{
		/* a shorter lead must not begin within an overlap */
		int			i;

		for (i = 0; i < tz.count; i++)
			if (tz.at[i] > t - SECS_PER_DAY && tz.at[i] <= t)
				return -1;
	}
	while (t < start)
	{
		t += step;
		tick(&s.u.cron, &tz, t, step, &reached);
	}

	found = (start - EPOCH) * USECS_PER_SEC;
	if (!js_schedule_next(&s, &tz, 0, found, &next))
		abort();
	while (t < start + (step == 1 ? SECS_PER_DAY / 4 : SPAN))
	{
		t += step;
		if (!tick(&s.u.cron, &tz, t, step, &reached))
		{
			if (next / USECS_PER_SEC + EPOCH == t)
				fail(&tz, text, start, -1, t);
			continue;
		}
		if (next / USECS_PER_SEC + EPOCH != t)
			fail(&tz, text, start, t, next / USECS_PER_SEC + EPOCH);
		found = next;
		if (!js_schedule_next(&s, &tz, 0, found, &next) || next <= found)
			abort();
	}
	return 0;
}
