/*-------------------------------------------------------------------------
 *
 * cron_next.c
 *		The next instant of a schedule in a time zone.
 *
 * The clocks of a zone are a sequence of spans with a constant offset.  Where
 * the offset grows, clocks jump forward and some local times do not exist (a
 * gap).  Where it shrinks, they jump back and some local times occur twice (an
 * overlap).  How a cron expression behaves there depends on its minute and hour
 * fields:
 *
 * Elapsed (either field begins with "*"): it fires at each instant at which the
 * clocks show a matching time.  Nothing is made up for a gap, and both passes
 * of an overlap count.
 *
 * Fixed (neither does): it fires when the clocks *reach* a matching time, that
 * is, when the highest time shown so far first equals or passes it.  A jump
 * over a gap passes everything in it at once, so everything that was due within
 * the gap fires once, at the first instant after it.  In an overlap the highest
 * time does not change, so nothing fires on the second pass.  A jump of a whole
 * day or more is not a clock change; the zone has moved across the date line.
 * That day did not exist, and nothing is made up for it.
 *
 * Both are one loop over spans.  It asks calendar.c for the next matching local
 * time in each span, and takes it if the span still reaches it.  For a fixed
 * schedule the loop also keeps the highest time shown; it begins some time
 * before the first instant that counts, because the first pass of an overlap
 * may be before that.  If the next match is far away, the loop jumps there and
 * skips the spans between.
 *
 * "every" with days or longer, and a timestamp without offset, use the same
 * fixed rule for their single local times.
 *
 * All arithmetic is in 64-bit seconds; results beyond the range of
 * timestamptz mean "never again".
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "cron/cron_zone.h"

/*
 * Steps to try before giving up; two come too early at most, and no zone
 * skips days in a row.
 */
#define MAX_TRIES		16

/* The last second that a timestamptz can hold, as pg_time_t */
#define LAST_SECOND		(END_TIMESTAMP / USECS_PER_SEC - 1 + JS_EPOCH_SECS)

/*
 * Whether a fixed schedule fires at the very beginning of a span, for what
 * the clocks jumped over to get there.
 */
static bool
fires_after_gap(const JsCron *cron, const JsZoneSpan *span, int64 reached)
{
	int64		reading = span->begin + span->offset;
	int64		match;

	return reading > reached && reading - reached < SECS_PER_DAY &&
		js_calendar_next(cron, reached, &match) && match < reading;
}

/*
 * The first instant of a span, not before "first", at which the expression
 * fires.  False: none; *match is then the next matching local time.
 */
static bool
fires_in_span(const JsCron *cron, const JsZoneSpan *span, pg_time_t first,
			  int64 reached, pg_time_t *next, int64 *match)
{
	int64		from = Max(span->begin, first) + span->offset;

	if (!cron->elapsed)
	{
		if (span->begin >= first && fires_after_gap(cron, span, reached))
		{
			*next = span->begin;
			return true;
		}
		from = Max(from, reached);
	}
	if (!js_calendar_next(cron, from, match))
	{
		*match = JS_FOREVER;
		return false;
	}
	*next = *match - span->offset;
	return *next < span->end;
}

/*
 * Looks at spans one after the other for the first instant that is not
 * before "first".  False: not found up to *resume, where to go on looking;
 * *resume is JS_FOREVER when there is nothing more to find.
 */
static bool
search_spans(const JsCron *cron, pg_tz *tz, pg_time_t first, pg_time_t *next,
			 pg_time_t *resume)
{
	JsZoneSpan	span;
	int64		reached;
	int64		match;

	*resume = JS_FOREVER;
	if (!js_zone_span_open(&span, tz, first - JS_ZONE_REACH))
		return false;
	reached = span.begin + span.offset;
	do
	{
		if (span.end > first)
		{
			if (fires_in_span(cron, &span, first, reached, next, &match))
				return true;

			/*
			 * Nothing matches before "match", so skip to just before it, but
			 * not while clocks set back could still read less than now.
			 */
			if (span.end > first + JS_ZONE_REACH &&
				match - JS_ZONE_REACH > span.end)
			{
				*resume = match - JS_ZONE_REACH;
				return false;
			}
		}
		reached = Max(reached, span.end + span.offset);
	} while (span.begin < LAST_SECOND && js_zone_span_advance(&span));
	return false;
}

/* The first instant, not before "first", at which the expression fires. */
static bool
next_cron(const JsCron *cron, pg_tz *tz, pg_time_t first, pg_time_t *next)
{
	pg_time_t	resume;

	while (!search_spans(cron, tz, first, next, &resume))
	{
		if (resume > LAST_SECOND)
			return false;
		first = resume;
	}
	return *next <= LAST_SECOND;
}

/*
 * The k-th calendar step from a local time.  Each is counted from the anchor
 * itself, so that a month that is too short does not move those after it.
 */
static int64
calendar_step(const JsSchedule *s, int64 anchor, int64 k)
{
	int64		day = js_floor_div(anchor, SECS_PER_DAY);
	int64		time = anchor - day * SECS_PER_DAY;
	int64		steps = k * s->u.every.count;

	switch (s->u.every.unit)
	{
		case JS_EVERY_WEEK:
			day += steps * 7;
			break;
		case JS_EVERY_MONTH:
			day = js_calendar_add_months(day, steps);
			break;
		case JS_EVERY_YEAR:
			day = js_calendar_add_months(day, steps * 12);
			break;
		default:
			day += steps;
			break;
	}
	return day * SECS_PER_DAY + time;
}

/*
 * Which step to try first for an instant at which clocks read "local": one
 * that is certainly not too late, and at most two too early.
 */
static int64
first_calendar_step(const JsSchedule *s, int64 anchor, int64 local)
{
	int64		from = js_floor_div(anchor, SECS_PER_DAY);
	int64		to = js_floor_div(local, SECS_PER_DAY);
	int64		steps;

	if (s->u.every.unit >= JS_EVERY_MONTH)
	{
		steps = js_calendar_months(to) - js_calendar_months(from);
		if (s->u.every.unit == JS_EVERY_YEAR)
			steps = js_floor_div(steps, 12);
	}
	else
	{
		steps = to - from;
		if (s->u.every.unit == JS_EVERY_WEEK)
			steps = js_floor_div(steps, 7);
	}
	return Max(js_floor_div(steps, s->u.every.count) - 1, 1);
}

/* The microseconds that js_timestamp_seconds() leaves out. */
static int64
timestamp_fraction(TimestampTz t)
{
	return t - js_floor_div(t, USECS_PER_SEC) * USECS_PER_SEC;
}

/*
 * The instant of a local time given in seconds and microseconds.  Within a
 * gap it is the end of the gap, without the microseconds.
 */
static JsLocalKind
local_timestamp(pg_tz *tz, int64 local, int64 fraction, TimestampTz *t)
{
	pg_time_t	instant;
	JsLocalKind kind = js_zone_instant(tz, local, &instant);

	*t = (instant - JS_EPOCH_SECS) * USECS_PER_SEC;
	if (kind == JS_LOCAL_ONCE || kind == JS_LOCAL_TWICE)
		*t += fraction;
	return kind;
}

/* "every" with a unit of constant length */
static bool
next_absolute(const JsSchedule *s, TimestampTz anchor, TimestampTz after,
			  TimestampTz *next)
{
	static const int64 units[] = {
		[JS_EVERY_SECOND] = USECS_PER_SEC,
		[JS_EVERY_MINUTE] = USECS_PER_MINUTE,
		[JS_EVERY_HOUR] = USECS_PER_HOUR
	};
	int64		step = s->u.every.count * units[s->u.every.unit];
	int64		elapsed;
	int64		distance;

	if (pg_sub_s64_overflow(after, anchor, &elapsed))
		return false;
	return !pg_mul_s64_overflow(elapsed / step + 1, step, &distance) &&
		!pg_add_s64_overflow(anchor, distance, next) &&
		IS_VALID_TIMESTAMP(*next);
}

/* "every" with a unit of the calendar */
static bool
next_calendar(const JsSchedule *s, pg_tz *tz, TimestampTz anchor,
			  TimestampTz after, TimestampTz *next)
{
	JsZoneSpan	span;
	int64		anchor_local;
	int64		local;
	int64		k;
	int			tries;

	if (!js_zone_span_open(&span, tz, js_timestamp_seconds(anchor)))
		return false;
	anchor_local = span.begin + span.offset;
	if (!js_zone_span_open(&span, tz, js_timestamp_seconds(after)))
		return false;
	k = first_calendar_step(s, anchor_local, span.begin + span.offset);
	for (tries = 0; tries < MAX_TRIES; tries++)
	{
		local = calendar_step(s, anchor_local, k + tries);
		if (local > LAST_SECOND - JS_ZONE_REACH)
			break;
		if (local_timestamp(tz, local, timestamp_fraction(anchor), next) !=
			JS_LOCAL_NEVER && *next > after)
			return true;
	}
	return false;
}

static bool
next_once(const JsSchedule *s, pg_tz *tz, TimestampTz after,
		  TimestampTz *next)
{
	/* even on a day that the zone skipped it runs, right after */
	if (s->u.once.local)
		local_timestamp(tz, js_timestamp_seconds(s->u.once.at),
						timestamp_fraction(s->u.once.at), next);
	else
		*next = s->u.once.at;
	return *next > after;
}

bool
js_schedule_next(const JsSchedule *s, pg_tz *tz, TimestampTz anchor,
				 TimestampTz after, TimestampTz *next)
{
	pg_time_t	instant;

	if (TIMESTAMP_IS_NOEND(after))
		return false;
	if (TIMESTAMP_IS_NOBEGIN(after))
		after = MIN_TIMESTAMP - 1;

	switch (s->kind)
	{
		case JS_SCHEDULE_CRON:
			if (!next_cron(&s->u.cron, tz,
						   js_timestamp_seconds(after) + 1, &instant))
				return false;
			*next = (instant - JS_EPOCH_SECS) * USECS_PER_SEC;
			return true;
		case JS_SCHEDULE_EVERY:
			if (TIMESTAMP_NOT_FINITE(anchor))
				return false;
			if (after < anchor)
			{
				*next = anchor;
				return true;
			}
			if (s->u.every.unit < JS_EVERY_DAY)
				return next_absolute(s, anchor, after, next);
			return next_calendar(s, tz, anchor, after, next);
		case JS_SCHEDULE_ONCE:
			return next_once(s, tz, after, next);
		case JS_SCHEDULE_STARTUP:
			break;
	}
	return false;
}

/*
 * The instant after which to look for a job's slots that come after another.
 * None is before starts_at; and when "every" is counted from when the job was
 * given its schedule, that is no slot.
 */
TimestampTz
js_schedule_slots_after(const JsSchedule *schedule, TimestampTz anchor,
						TimestampTz starts_at, TimestampTz after)
{
	if (starts_at != DT_NOBEGIN)
		return Max(after, starts_at - 1);
	return schedule->kind == JS_SCHEDULE_EVERY ? Max(after, anchor) : after;
}
