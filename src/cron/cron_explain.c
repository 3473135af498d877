/*-------------------------------------------------------------------------
 *
 * cron_explain.c
 *		Describes a schedule in words, with warnings about surprises.
 *
 * The words are made from the parsed schedule, not from its text, so they say
 * what will happen and not what was meant.  The first line is a sentence; each
 * warning or note is a separate line after it.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cron/calendar.h"
#include "cron/cron_reader.h"
#include "cron/cron_zone.h"
#include "nodes/pg_list.h"
#include "port/pg_bitutils.h"
#include "utils/timestamp.h"

#define MAX_CLOCK_TIMES		6	/* that are listed one by one */
#define MIN_RUN				3	/* members that are written as "a to b" */
#define WARN_DAYS			366 /* how far ahead the zone is looked at */

/* A set of values of one field, for set_words() */
typedef struct ValueSet
{
	uint64		members;
	int			first;			/* lowest value of the field */
	int			last;			/* highest value of the field */
	const char *unit;			/* what a value is called, if it is a number */
	const char *const *names;	/* of the values from first on, or NULL */
} ValueSet;

static const char *const month_names[] = {
	"January", "February", "March", "April", "May", "June", "July",
	"August", "September", "October", "November", "December"
};

static const char *const weekday_names[] = {
	"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday",
	"Saturday"
};

static const char *const ordinals[] = {
	"first", "second", "third", "fourth", "fifth"
};

/* Appends strings as "a, b and c", with "last" as the last conjunction. */
static void
append_list(StringInfo out, List *items, const char *last)
{
	int			count = list_length(items);
	int			i;

	for (i = 0; i < count; i++)
	{
		if (i > 0)
			appendStringInfo(out, i < count - 1 ? ", " : " %s ", last);
		appendStringInfoString(out, (char *) list_nth(items, i));
	}
}

static uint64
all_members(const ValueSet *set)
{
	return ((UINT64CONST(1) << (set->last - set->first + 1)) - 1) <<
		set->first;
}

static bool
is_full(const ValueSet *set)
{
	return (set->members & all_members(set)) == all_members(set);
}

static char *
value_word(const ValueSet *set, int value)
{
	if (set->names != NULL)
		return pstrdup(set->names[value - set->first]);
	return psprintf("%d", value);
}

/* The members as words; three or more in a row become "a to b". */
static List *
member_words(const ValueSet *set)
{
	List	   *words = NIL;
	int			value;

	for (value = set->first; value <= set->last; value++)
	{
		int			end = value;

		if ((set->members >> value & 1) == 0)
			continue;
		while (end < set->last && (set->members >> (end + 1) & 1) != 0)
			end++;
		if (end - value + 1 >= MIN_RUN)
		{
			words = lappend(words, psprintf("%s to %s",
											value_word(set, value),
											value_word(set, end)));
			value = end;
		}
		else
			words = lappend(words, value_word(set, value));
	}
	return words;
}

/* The distance between members, if there are several and it is the same. */
static int
common_step(const ValueSet *set)
{
	int			previous = -1;
	int			step = 0;
	int			value;

	for (value = set->first; value <= set->last; value++)
	{
		if ((set->members >> value & 1) == 0)
			continue;
		if (previous >= 0 && step != 0 && value - previous != step)
			return 0;
		if (previous >= 0)
			step = value - previous;
		previous = value;
	}
	return step;
}

static const char *
ordinal_ending(int n)
{
	if (n / 10 % 10 != 1)
	{
		if (n % 10 == 1)
			return "st";
		if (n % 10 == 2)
			return "nd";
		if (n % 10 == 3)
			return "rd";
	}
	return "th";
}

/* Whether members are the same distance apart all round the clock. */
static bool
is_even(const ValueSet *set)
{
	return (set->members >> set->first & 1) != 0 &&
		pg_popcount64(set->members) * common_step(set) ==
		set->last - set->first + 1;
}

/* "every minute", "minute 5", "every 15 minutes", "minutes 1, 2 and 7" */
static void
set_words(StringInfo out, const ValueSet *set)
{
	int			count = pg_popcount64(set->members);
	int			lowest = pg_rightmost_one_pos64(set->members);
	int			step = common_step(set);

	if (is_full(set))
		appendStringInfo(out, "every %s", set->unit);
	else if (is_even(set))
		appendStringInfo(out, "every %d %ss", step, set->unit);
	else if (step > 1 && count >= MIN_RUN)
		appendStringInfo(out, "every %d%s %s from %d to %d",
						 step, ordinal_ending(step), set->unit,
						 lowest, lowest + (count - 1) * step);
	else
	{
		appendStringInfo(out, "%s%s ", set->unit, count > 1 ? "s" : "");
		append_list(out, member_words(set), "and");
	}
}

/* A local time of day, with seconds only where there are some. */
static char *
clock_words(int64 local)
{
	int			second = (int) (local -
								js_floor_div(local, SECS_PER_DAY) *
								SECS_PER_DAY);

	if (second % 60 == 0)
		return psprintf("%02d:%02d", second / 3600, second / 60 % 60);
	return psprintf("%02d:%02d:%02d", second / 3600, second / 60 % 60,
					second % 60);
}

static char *
date_words(int64 local)
{
	int64		year;
	int			month;
	int			mday;

	js_calendar_date(js_floor_div(local, SECS_PER_DAY), &year, &month, &mday);
	return psprintf("%04d-%02d-%02d", (int) year, month, mday);
}

/* All times of day, in order, of an expression that has few. */
static List *
clock_times(const JsCron *cron)
{
	JsCron		daily = *cron;
	List	   *times = NIL;
	int64		local = 0;

	daily.days = daily.months = 0xffffffff;
	daily.weekdays = 0x7f;
	daily.either_day = true;
	while (js_calendar_next(&daily, local, &local) && local < SECS_PER_DAY)
		times = lappend(times, clock_words(local++));
	return times;
}

/* Appends what a smaller unit is "of", or comes again "every" so often. */
static void
append_larger(StringInfo out, const ValueSet *set)
{
	StringInfoData words;

	initStringInfo(&words);
	set_words(&words, set);
	appendStringInfo(out, strncmp(words.data, "every", 5) == 0 ?
					 ", %s" : " of %s", words.data);
	pfree(words.data);
}

/* When on a day.  Returns whether it is all round the clock. */
static bool
time_words(StringInfo out, const JsCron *cron)
{
	ValueSet	seconds = {cron->seconds, 0, 59, "second", NULL};
	ValueSet	minutes = {cron->minutes, 0, 59, "minute", NULL};
	ValueSet	hours = {cron->hours, 0, 23, "hour", NULL};
	const ValueSet *smallest = cron->seconds == 1 ? &minutes : &seconds;

	if (pg_popcount64(cron->seconds) * pg_popcount64(cron->minutes) *
		pg_popcount64(cron->hours) <= MAX_CLOCK_TIMES)
	{
		appendStringInfoString(out, "at ");
		append_list(out, clock_times(cron), "and");
		return false;
	}

	if (common_step(smallest) == 0 ||
		pg_popcount64(smallest->members) < MIN_RUN)
		appendStringInfoString(out, is_even(smallest) ? "" : "at ");
	set_words(out, smallest);
	/* "every hour" need not be said after "every 5 minutes" */
	if (smallest == &seconds &&
		!(is_even(&seconds) && is_full(&minutes)))
		append_larger(out, &minutes);
	if (!(is_even(&minutes) && is_full(&hours)))
		append_larger(out, &hours);
	return is_even(&hours);
}

/* What the day-of-month field asks for; NIL: any day. */
static List *
date_parts(const JsCron *cron)
{
	ValueSet	days = {cron->days, 1, 31, "day", NULL};
	List	   *parts = NIL;
	int			n;

	if (is_full(&days))
		return NIL;
	if (cron->days != 0)
	{
		StringInfoData buf;

		initStringInfo(&buf);
		set_words(&buf, &days);
		parts = lappend(parts, buf.data);
	}
	for (n = 1; n <= 31; n++)
	{
		if ((cron->days_nearest >> n & 1) != 0)
			parts = lappend(parts,
							psprintf("the working day nearest to day %d", n));
	}
	for (n = 30; n > 0; n--)
	{
		if ((cron->days_from_last >> n & 1) != 0)
			parts = lappend(parts,
							n == 1 ? pstrdup("the day before the last day") :
							psprintf("the %d%s day before the last day", n,
									 ordinal_ending(n)));
	}
	if ((cron->days_from_last & 1) != 0)
		parts = lappend(parts, "the last day");
	if (cron->last_workday)
		parts = lappend(parts, "the last working day");
	return parts;
}

/* What the day-of-week field asks for; NIL: any day. */
static List *
weekday_parts(const JsCron *cron)
{
	ValueSet	weekdays = {cron->weekdays, 0, 6, "day", weekday_names};
	List	   *parts;
	int			weekday;
	int			nth;

	if (is_full(&weekdays))
		return NIL;
	parts = member_words(&weekdays);
	for (nth = 0; nth < (int) lengthof(cron->weekdays_nth); nth++)
	{
		for (weekday = 0; weekday < 7; weekday++)
		{
			if ((cron->weekdays_nth[nth] >> weekday & 1) != 0)
				parts = lappend(parts, psprintf("the %s %s of the month",
												ordinals[nth],
												weekday_names[weekday]));
		}
	}
	for (weekday = 0; weekday < 7; weekday++)
	{
		if ((cron->weekdays_last >> weekday & 1) != 0)
			parts = lappend(parts, psprintf("the last %s of the month",
											weekday_names[weekday]));
	}
	return parts;
}

/* On which days.  "always": the time is round the clock, no need to say it */
static void
day_words(StringInfo out, const JsCron *cron, bool always)
{
	ValueSet	months = {cron->months, 1, 12, "month", month_names};
	List	   *dates = date_parts(cron);
	List	   *weekdays = weekday_parts(cron);

	if (cron->either_day && (dates == NIL || weekdays == NIL))
		dates = weekdays = NIL;
	if (dates != NIL)
	{
		appendStringInfoString(out, ", on ");
		append_list(out, dates, "and");
		appendStringInfoString(out, " of the month");
	}
	if (weekdays != NIL)
	{
		appendStringInfoString(out, dates == NIL ? ", on " :
							   cron->either_day ? " or on " :
							   " if it is also ");
		append_list(out, weekdays,
					dates == NIL || cron->either_day ? "and" : "or");
	}
	if (dates == NIL && weekdays == NIL && !always)
		appendStringInfoString(out, ", every day");
	if (!is_full(&months))
	{
		appendStringInfoString(out, ", in ");
		append_list(out, member_words(&months), "and");
	}
}

/* Notes about steps, days that combine, and short months. */
static void
field_warnings(StringInfo out, const JsCron *cron)
{
	ValueSet	months = {cron->months, 1, 12, NULL, NULL};
	int			field;
	int			month;

	for (field = 0; field < JS_CRON_FIELDS; field++)
	{
		const char *name = js_cron_field_name((JsCronField) field);

		if ((cron->step_too_long >> field & 1) != 0)
			appendStringInfo(out,
							 "\nWarning: a step in the %s field is longer "
							 "than its range, so only the first value of the "
							 "range matches.", name);
		if ((cron->step_uneven >> field & 1) != 0)
			appendStringInfo(out,
							 "\nNote: a step in the %s field does not divide "
							 "the range evenly; it starts again with each "
							 "turn.", name);
	}

	if (cron->either_day)
		appendStringInfoString(out,
							   "\nWarning: day of month and day of week are "
							   "both given, and either one is enough; begin "
							   "one of them with * to require both.");
	else if (date_parts(cron) != NIL && weekday_parts(cron) != NIL)
		appendStringInfoString(out,
							   "\nNote: day of month and day of week must "
							   "both match, because one of them begins "
							   "with *.");

	if (cron->days_nearest != 0 || cron->last_workday)
		appendStringInfoString(out,
							   "\nNote: working days are Monday to Friday; "
							   "holidays are not known.");
	if (cron->either_day || cron->days == 0 || cron->days_from_last != 0 ||
		cron->days_nearest != 0 || cron->last_workday)
		return;
	for (month = months.first; month <= months.last; month++)
	{
		int			lowest = pg_rightmost_one_pos32(cron->days);

		if ((cron->months >> month & 1) != 0 &&
			js_calendar_month_length(1, month) < lowest)
		{
			appendStringInfo(out,
							 "\nNote: months without a day %d are skipped.",
							 lowest);
			break;
		}
	}
}

/* What a change of the clocks does to the schedule. */
static void
change_warning(StringInfo out, const JsCron *cron, const char *zone,
			   int64 before, int64 after)
{
	bool		gap = after > before;
	bool		made_up = !cron->elapsed && after - before < SECS_PER_DAY;
	ValueSet	hours = {cron->hours, 0, 23, NULL, NULL};
	int64		match;

	/* round the clock nobody misses or notices an hour */
	if ((cron->elapsed && is_full(&hours)) ||
		!js_calendar_next(cron, Min(before, after), &match) ||
		match >= Max(before, after))
		return;
	appendStringInfo(out, "\nWarning: on %s the clocks of %s %s %s to %s%s",
					 date_words(Min(before, after)), zone,
					 gap ? "skip" : "read",
					 clock_words(Min(before, after)),
					 clock_words(Max(before, after)),
					 gap ? "" : " twice");
	if (!gap)
		appendStringInfoString(out, cron->elapsed ?
							   "; what is due then runs both times." :
							   "; what is due then runs the first time only.");
	else if (made_up)
		appendStringInfo(out, "; what is due then runs once, at %s.",
						 clock_words(after));
	else
		appendStringInfoString(out, "; what is due then does not run.");
}

/* Looks at the changes of the clocks in the coming year. */
static void
zone_warnings(StringInfo out, const JsCron *cron, pg_tz *tz, pg_time_t from)
{
	JsZoneSpan	span;
	pg_time_t	until = from + WARN_DAYS * SECS_PER_DAY;
	int64		before;

	if (!js_zone_span_open(&span, tz, from))
		return;
	while (span.end < until)
	{
		before = span.end + span.offset;
		if (!js_zone_span_advance(&span))
			return;
		if (span.begin + span.offset != before)
			change_warning(out, cron, pg_get_timezone_name(tz), before,
						   span.begin + span.offset);
	}
}

/* The clocks' reading at an instant. */
static int64
local_reading(pg_tz *tz, TimestampTz t)
{
	JsZoneSpan	span;
	pg_time_t	instant = js_timestamp_seconds(t);

	if (!js_zone_span_open(&span, tz, instant))
		return instant;
	return instant + span.offset;
}

static void
describe_cron(const JsSchedule *s, const char *text, pg_tz *tz,
			  TimestampTz from, StringInfo out)
{
	const JsCron *cron = &s->u.cron;
	int			start = out->len;
	bool		always = time_words(out, cron);
	TimestampTz next;

	out->data[start] = pg_toupper((unsigned char) out->data[start]);
	day_words(out, cron, always);
	appendStringInfo(out, " (%s).", pg_get_timezone_name(tz));

	if (cron->hashed)
		appendStringInfo(out,
						 "\nNote: each H in \"%s\" stands for a value that "
						 "depends on the job's name.", text);
	field_warnings(out, cron);
	if (!js_schedule_next(s, tz, from, from, &next))
		appendStringInfoString(out, "\nWarning: it does not run any more.");
	else if (next - from > WARN_DAYS * USECS_PER_DAY)
		appendStringInfo(out, "\nWarning: the next run is not before %s.",
						 date_words(local_reading(tz, next)));
	zone_warnings(out, cron, tz, js_timestamp_seconds(from));
}

static void
describe_every(const JsSchedule *s, pg_tz *tz, StringInfo out)
{
	static const char *const units[] = {
		"second", "minute", "hour", "day", "week", "month", "year"
	};
	JsEveryUnit unit = s->u.every.unit;

	if (s->u.every.count == 1)
		appendStringInfo(out, "Every %s", units[unit]);
	else
		appendStringInfo(out, "Every " INT64_FORMAT " %ss",
						 s->u.every.count, units[unit]);
	if (unit < JS_EVERY_DAY)
		appendStringInfoString(out,
							   ", counted from starts_at, or else from when "
							   "the job was defined.");
	else
		appendStringInfo(out,
						 ", at the time of day of starts_at, or else at which "
						 "the job was defined (%s).", pg_get_timezone_name(tz));
	if (unit >= JS_EVERY_MONTH)
		appendStringInfoString(out,
							   "\nNote: where the month has no such day, on "
							   "its last day.");
}

static void
describe_once(const JsSchedule *s, pg_tz *tz, TimestampTz from,
			  StringInfo out)
{
	const char *zone = pg_get_timezone_name(tz);
	TimestampTz at;
	pg_time_t	unused;
	int64		local;

	if (!js_schedule_next(s, tz, from, MIN_TIMESTAMP, &at))
		at = s->u.once.at;
	local = local_reading(tz, at);
	appendStringInfo(out, "Once, on %s at %s (%s).",
					 date_words(local), clock_words(local), zone);
	if (s->u.once.local)
	{
		int64		wanted = js_timestamp_seconds(s->u.once.at);

		switch (js_zone_instant(tz, wanted, &unused))
		{
			case JS_LOCAL_ONCE:
				break;
			case JS_LOCAL_TWICE:
				appendStringInfo(out,
								 "\nWarning: the clocks of %s read %s twice "
								 "on that day; it runs the first time.",
								 zone, clock_words(wanted));
				break;
			case JS_LOCAL_SKIPPED:
			case JS_LOCAL_NEVER:
				appendStringInfo(out,
								 "\nWarning: the clocks of %s skip %s %s; it "
								 "runs right after.",
								 zone, date_words(wanted),
								 clock_words(wanted));
				break;
		}
	}
	if (at <= from)
		appendStringInfoString(out,
							   "\nWarning: that time is past, it does not "
							   "run any more.");
}

void
js_schedule_describe(const JsSchedule *s, const char *text, pg_tz *tz,
					 TimestampTz from, StringInfo out)
{
	switch (s->kind)
	{
		case JS_SCHEDULE_CRON:
			describe_cron(s, text, tz, from, out);
			break;
		case JS_SCHEDULE_EVERY:
			describe_every(s, tz, out);
			break;
		case JS_SCHEDULE_ONCE:
			describe_once(s, tz, from, out);
			break;
		case JS_SCHEDULE_STARTUP:
			appendStringInfoString(out,
								   "Once after each start of the server, and "
								   "after a promotion.");
			break;
	}
}
