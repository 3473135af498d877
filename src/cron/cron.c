/*-------------------------------------------------------------------------
 *
 * cron.c
 *		Reads the text of a schedule.
 *
 * There are four kinds of text, which differ in how they begin: "@" begins a
 * macro, "every" a step, a date a timestamp, and anything else five or six cron
 * fields.
 *
 * The parser is strict and total.  Strict: text that is not in the dialect is
 * an error, which names the field and the position; nothing is guessed and
 * nothing is ignored.  Total: any string of bytes gives a schedule or an error,
 * in time linear in its length.  A text longer than MAX_TEXT is refused.  The
 * parser allocates nothing, calls no function of the server except snprintf,
 * and keeps its whole state in a JsReader on the stack.
 *
 * Bytes outside ASCII are refused before anything else, so a byte offset is
 * also a character offset in every encoding that a database can have, and
 * messages never cut a character in two.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cron/calendar.h"
#include "cron/cron_reader.h"

#define MAX_TEXT		1000	/* characters in a schedule */

typedef struct Macro
{
	const char *name;
	const char *expression;		/* that it stands for; NULL: it is @startup */
} Macro;

static const Macro macros[] = {
	{"@hourly", "0 * * * *"},
	{"@daily", "0 0 * * *"},
	{"@midnight", "0 0 * * *"},
	{"@weekly", "0 0 * * 0"},
	{"@monthly", "0 0 1 * *"},
	{"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"},
	{"@startup", NULL},
	{"@reboot", NULL}
};

typedef struct EveryUnit
{
	const char *name;
	int64		limit;			/* as many as make 1000 years */
} EveryUnit;

/* The units of "every", in the order of JsEveryUnit. */
static const EveryUnit every_units[] = {
	{"second", INT64CONST(31556952000)},
	{"minute", INT64CONST(525949200)},
	{"hour", INT64CONST(8765820)},
	{"day", INT64CONST(365242)},
	{"week", INT64CONST(52177)},
	{"month", INT64CONST(12000)},
	{"year", INT64CONST(1000)}
};

/*
 * A number that depends on the job's name and on the field only: FNV-1a of
 * the name, mixed so that near names give far numbers.  Stored schedules
 * rely on it, so it must never change.
 */
static uint64
hash_name(const char *name)
{
	uint64		hash = UINT64CONST(0xcbf29ce484222325);

	for (; name != NULL && *name != '\0'; name++)
		hash = (hash ^ (unsigned char) *name) * UINT64CONST(0x100000001b3);
	return hash;
}

/* The unit of "every" by its name, also in the plural; -1 if it is none. */
static int
find_unit(const char *at, int length)
{
	int			singular = length;
	int			i;

	if (length > 1 && js_fold(at[length - 1]) == 'S')
		singular--;
	for (i = 0; i < (int) lengthof(every_units); i++)
	{
		if (js_equals(at, singular, every_units[i].name))
			return i;
	}
	return -1;
}

/* A macro: "@" stands at r->at. */
static bool
read_macro(JsReader *r, JsSchedule *out)
{
	int			length = js_word_length(r->at);
	const char *rest = js_skip_spaces(r->at + length);
	int			i;

	for (i = 0; i < (int) lengthof(macros); i++)
	{
		JsReader	inner = *r;

		if (!js_equals(r->at, length, macros[i].name))
			continue;
		if (*rest != '\0')
			return js_fail(r, rest, JS_NO_HINT,
						   "nothing may follow the macro %s", macros[i].name);
		if (macros[i].expression == NULL)
		{
			out->kind = JS_SCHEDULE_STARTUP;
			return true;
		}
		inner.text = inner.at = macros[i].expression;
		return js_read_cron(&inner, &out->u.cron);
	}
	if (js_equals(r->at, length, "@every"))
		return js_fail(r, r->at, "Write for example: every 90 seconds.",
					   "there is no macro \"@every\"; the word has no \"@\"");
	if (js_equals(r->at, length, "@restart"))
		return js_fail(r, r->at,
					   "Write @startup: once after each start of the server.",
					   "there is no macro \"@restart\"");
	return js_fail(r, r->at,
				   "The macros are @hourly, @daily, @midnight, @weekly, "
				   "@monthly, @yearly, @annually and @startup; other steps "
				   "are written \"every 5 minutes\".",
				   "there is no macro \"%.*s\"",
				   Min(length, JS_SHOWN_LENGTH), r->at);
}

/*
 * Refuses what other schedulers take at the beginning of a schedule, and says
 * what to write here; true if there is nothing of that.
 */
static bool
check_foreign(JsReader *r)
{
	JsReader	ahead = *r;
	char		hint[sizeof(r->err->hint)];
	int			length = js_word_length(r->at);
	int			unit;
	int			i;

	for (i = 0; i < length && r->at[i] != '='; i++)
		 /* up to the name's end */ ;
	if (js_equals(r->at, i, "TZ") || js_equals(r->at, i, "CRON_TZ"))
		return i == length ||
			js_fail(r, r->at,
					"Leave it out, and name the zone apart: "
					"timezone => 'Europe/Berlin'.",
					"a schedule does not name its time zone");

	for (i = 0; i < (int) lengthof(macros); i++)
	{
		if (!js_equals(r->at, length, macros[i].name + 1))
			continue;
		snprintf(hint, sizeof(hint), "Write %s.", macros[i].name);
		return js_fail(r, r->at, hint, "a macro begins with \"@\"");
	}

	(void) js_read_digits(&ahead, 0);
	ahead.at = js_skip_spaces(ahead.at);
	unit = ahead.at == r->at ? -1 : find_unit(ahead.at, js_word_length(ahead.at));
	if (unit < 0)
		return true;
	length = (int) (ahead.at - r->at) + js_word_length(ahead.at);
	snprintf(hint, sizeof(hint), "Write \"every %.*s\".",
			 Min(length, JS_SHOWN_LENGTH), r->at);
	return js_fail(r, r->at, hint, "a step begins with \"every\"");
}

/* "every" [number] unit; the word "every" stands at r->at. */
static bool
read_every(JsReader *r, JsSchedule *out)
{
	static const char hint[] =
		"Write for example: every 90 seconds, every 2 days, every month.";
	const char *number;
	int			length;
	int			unit;

	r->at = number = js_skip_spaces(r->at + js_word_length(r->at));
	out->kind = JS_SCHEDULE_EVERY;
	out->u.every.count = 1;
	if (js_is_digit(*r->at))
	{
		out->u.every.count = js_read_digits(r, INT64CONST(99999999999));
		if (!js_ends_word(*r->at))
			return js_fail(r, r->at, hint,
						   "\"%.*s\" is not expected in the number after "
						   "\"every\"",
						   Min(js_word_length(r->at), JS_SHOWN_LENGTH), r->at);
		r->at = js_skip_spaces(r->at);
	}

	length = js_word_length(r->at);
	if (length == 0)
		return js_fail(r, r->at, hint, "the unit after \"every\" is missing");
	unit = find_unit(r->at, length);
	if (unit < 0)
		return js_fail(r, r->at, hint,
					   r->at == number ?
					   "\"%.*s\" is neither a number nor a unit" :
					   "there is no unit \"%.*s\"",
					   Min(length, JS_SHOWN_LENGTH), r->at);
	out->u.every.unit = (JsEveryUnit) unit;

	if (out->u.every.count < 1)
		return js_fail(r, number, hint, "the number after \"every\" is 0");
	if (out->u.every.count > every_units[unit].limit)
		return js_fail(r, number, JS_NO_HINT,
					   "the step after \"every\" exceeds 1000 years");
	r->at = js_skip_spaces(r->at + length);
	if (*r->at != '\0')
		return js_fail(r, r->at, hint,
					   "nothing may follow the unit of \"every\"");
	return true;
}

/* Two digits between two bounds. */
static bool
read_two_digits(JsReader *r, const char *what, int lowest, int highest,
				int *value)
{
	const char *at = r->at;

	if (!js_is_digit(at[0]) || !js_is_digit(at[1]))
		return js_fail(r, at, "Write for example 2030-01-31T09:30:00Z.",
					   "the %s of the timestamp needs two digits", what);
	*value = (at[0] - '0') * 10 + (at[1] - '0');
	r->at += 2;
	if (*value >= lowest && *value <= highest)
		return true;
	return js_fail(r, at, JS_NO_HINT,
				   "the %s %02d of the timestamp is not between %02d and %02d",
				   what, *value, lowest, highest);
}

/* Whether a date stands here: four digits and a hyphen. */
static bool
begins_with_date(const char *at)
{
	int			i;

	for (i = 0; i < 4; i++)
	{
		if (!js_is_digit(at[i]))
			return false;
	}
	return at[4] == '-';
}

/* yyyy-mm-dd, which begins_with_date() has seen the beginning of */
static bool
read_date(JsReader *r, int64 *day)
{
	const char *mday_at;
	int			year;
	int			month;
	int			mday;

	year = (int) js_read_digits(r, 9999);
	if (year == 0)
		return js_fail(r, r->at - 4, JS_NO_HINT,
					   "the year of the timestamp is 0000");
	r->at++;
	if (!read_two_digits(r, "month", 1, 12, &month))
		return false;
	if (!js_take(r, '-'))
		return js_fail(r, r->at, JS_NO_HINT,
					   "\"-\" is missing in the date of the timestamp");
	mday_at = r->at;
	if (!read_two_digits(r, "day", 1, 31, &mday))
		return false;
	if (mday > js_calendar_month_length(year, month))
		return js_fail(r, mday_at, JS_NO_HINT,
					   "the month %04d-%02d of the timestamp has no day %d",
					   year, month, mday);
	*day = js_calendar_day(year, month, mday);
	return true;
}

/* The digits behind a second's point. */
static bool
read_fraction(JsReader *r, int64 *usecs)
{
	int64		unit = USECS_PER_SEC;

	if (!js_is_digit(*r->at))
		return js_fail(r, r->at, JS_NO_HINT,
					   "the fraction of the timestamp is missing");
	for (; js_is_digit(*r->at); r->at++)
	{
		unit /= 10;
		if (unit == 0)
			return js_fail(r, r->at, JS_NO_HINT,
						   "the fraction of the timestamp is finer than a "
						   "microsecond");
		*usecs += unit * (*r->at - '0');
	}
	return true;
}

/* hh:mm[:ss[.ffffff]] */
static bool
read_time(JsReader *r, int64 *usecs)
{
	int			hour;
	int			minute;
	int			second;

	if (!read_two_digits(r, "hour", 0, 23, &hour))
		return false;
	if (!js_take(r, ':'))
		return js_fail(r, r->at, JS_NO_HINT,
					   "the minute of the timestamp is missing");
	if (!read_two_digits(r, "minute", 0, 59, &minute))
		return false;
	*usecs = (hour * 60 + minute) * SECS_PER_MINUTE * USECS_PER_SEC;
	if (!js_take(r, ':'))
		return true;
	if (!read_two_digits(r, "second", 0, 59, &second))
		return false;
	*usecs += second * USECS_PER_SEC;
	return !js_take(r, '.') || read_fraction(r, usecs);
}

/* Z, +hh, +hhmm or +hh:mm; without one the time is local. */
static bool
read_offset(JsReader *r, int64 *usecs, bool *local)
{
	char		sign = *r->at;
	int			hours;
	int			minutes = 0;

	*usecs = 0;
	*local = false;
	if (js_take(r, 'Z'))
		return true;
	if (sign != '+' && sign != '-')
	{
		*local = true;
		return true;
	}
	r->at++;
	if (!read_two_digits(r, "offset hour", 0, 15, &hours))
		return false;
	if ((js_take(r, ':') || js_is_digit(*r->at)) &&
		!read_two_digits(r, "offset minute", 0, 59, &minutes))
		return false;
	*usecs = (hours * 60 + minutes) * SECS_PER_MINUTE * USECS_PER_SEC;
	if (sign == '-')
		*usecs = -*usecs;
	return true;
}

static bool
read_timestamp(JsReader *r, JsSchedule *out)
{
	const int64 epoch = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE);
	int64		day = 0;
	int64		time = 0;
	int64		offset = 0;

	out->kind = JS_SCHEDULE_ONCE;
	if (!read_date(r, &day))
		return false;
	if (js_take(r, 'T'))
		 /* the time follows */ ;
	else if (js_is_space(*r->at) && *js_skip_spaces(r->at) != '\0')
		r->at = js_skip_spaces(r->at);
	else
		return js_fail(r, r->at, "Write for example 2030-01-31T09:30:00Z.",
					   "the time of day of the timestamp is missing");
	if (!read_time(r, &time) ||
		!read_offset(r, &offset, &out->u.once.local))
		return false;
	r->at = js_skip_spaces(r->at);
	if (*r->at != '\0')
		return js_fail(r, r->at, JS_NO_HINT,
					   "\"%.*s\" is not expected after the timestamp",
					   Min(js_word_length(r->at), JS_SHOWN_LENGTH), r->at);
	out->u.once.at = (day - epoch) * USECS_PER_DAY + time - offset;
	return true;
}

/* Refuses what no schedule contains, whatever its kind. */
static bool
check_text(JsReader *r)
{
	const char *at;

	for (at = r->text; *at != '\0'; at++)
	{
		if (at - r->text >= MAX_TEXT)
			return js_fail(r, at, JS_NO_HINT,
						   "the schedule is longer than %d characters",
						   MAX_TEXT);
		if ((*at < ' ' || *at > '~') && !js_is_space(*at))
			return js_fail(r, at, JS_NO_HINT,
						   "a character that no schedule contains");
	}
	if (*js_skip_spaces(r->text) == '\0')
		return js_fail(r, r->text, JS_NO_HINT, "the schedule is empty");
	return true;
}

static bool
is_every(const char *at)
{
	return js_equals(at, js_word_length(at), "every");
}

static bool
read_schedule(JsReader *r, JsSchedule *out)
{
	out->kind = JS_SCHEDULE_CRON;
	if (*r->at == '@')
		return read_macro(r, out);
	if (is_every(r->at))
		return read_every(r, out);
	if (begins_with_date(r->at))
		return read_timestamp(r, out);
	return check_foreign(r) && js_read_cron(r, &out->u.cron);
}

/* For who is still writing it: what such a text looks like. */
static const char *
usual_hint(const char *text)
{
	const char *at = js_skip_spaces(text);

	if (begins_with_date(at))
		return "Write for example 2030-01-31T09:30:00Z.";
	if (*at == '\0' || *at == '@' || is_every(at))
		return "Write five cron fields, a macro such as @daily, a step such "
			"as \"every 90 seconds\", or a timestamp.";
	return "The fields are minute, hour, day of month, month and day of week, "
		"as in \"30 9 * * 1-5\"; with six the first is the second.";
}

bool
js_schedule_parse(const char *text, const char *name, JsSchedule *out,
				  JsScheduleError *err)
{
	JsReader	r;

	memset(out, 0, sizeof(*out));
	memset(err, 0, sizeof(*err));
	r.text = text;
	r.at = js_skip_spaces(text);
	r.seed = hash_name(name);
	r.err = err;
	if (check_text(&r) && read_schedule(&r, out))
		return true;
	if (err->hint[0] == '\0')
		strlcpy(err->hint, usual_hint(text), sizeof(err->hint));
	return false;
}
