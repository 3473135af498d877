/*-------------------------------------------------------------------------
 *
 * cron_fields.c
 *		Reads the five or six fields of a cron expression.
 *
 * A field is a comma-separated list whose items are
 *		*  ?  v  v-v  H  H(v-v)		all but "?" and lone values with /step
 *		v/step						from v to the end of the range
 *		L  L-n  LW  nW				day of month only
 *		v#n  v#L  vL				day of week only
 * where v is a number or, for months and weekdays, a name.  Ranges may wrap
 * (FRI-MON, 22-2).  "?" stands for "*" in the two day fields only.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cron/calendar.h"
#include "cron/cron_reader.h"

#define MAX_NUMBER		99999	/* in a cron field */

/* What distinguishes one field from another. */
typedef struct FieldRule
{
	const char *name;			/* as messages call it */
	int			first;			/* lowest value */
	int			last;			/* highest value, where ranges wrap */
	int			alias;			/* highest number accepted: 7 for Sunday */
	int			last_hashed;	/* highest value that H stands for */
	const char *words;			/* names of values, three letters each */
} FieldRule;

static const FieldRule field_rules[JS_CRON_FIELDS] = {
	[JS_CRON_SECOND] = {"second", 0, 59, 59, 59, ""},
	[JS_CRON_MINUTE] = {"minute", 0, 59, 59, 59, ""},
	[JS_CRON_HOUR] = {"hour", 0, 23, 23, 23, ""},
	/* every month has 28 days, so a hashed day never skips a month */
	[JS_CRON_DAY] = {"day-of-month", 1, 31, 31, 28, ""},
	[JS_CRON_MONTH] = {"month", 1, 12, 12, 12,
	"JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"},
	[JS_CRON_WEEKDAY] = {"day-of-week", 0, 6, 7, 6,
	"SUNMONTUEWEDTHUFRISAT"}
};

/*
 * Values from first to last in steps.  In a range that wraps, last lies
 * beyond the rule's last value by one turn.
 */
typedef struct Range
{
	int			first;
	int			last;
	int			step;			/* 0: none was written */
} Range;

/* What messages call a field. */
const char *
js_cron_field_name(JsCronField field)
{
	return field_rules[field].name;
}

/* Something stands here that the dialect does not know. */
static bool
fail_unexpected(JsReader *r, const char *at, const FieldRule *rule)
{
	if (js_ends_word(*at) || *at == ',')
		return js_fail(r, at, JS_NO_HINT, "a value is missing in the %s field",
					   rule->name);
	return js_fail(r, at,
				   *at == '$' && rule == &field_rules[JS_CRON_DAY] ?
				   "The last day of the month is L." : JS_NO_HINT,
				   "\"%.*s\" is not expected in the %s field",
				   Min(js_word_length(at), JS_SHOWN_LENGTH), at, rule->name);
}

/* Reads the number after a "/", "#" or "L-". */
static bool
read_operand(JsReader *r, const FieldRule *rule, const char *what,
			 int lowest, int highest, int *value)
{
	const char *at = r->at;

	if (!js_is_digit(*at))
		return fail_unexpected(r, at, rule);
	*value = (int) js_read_digits(r, MAX_NUMBER);
	if (*value >= lowest && *value <= highest)
		return true;
	return js_fail(r, at, JS_NO_HINT,
				   "the %s %.*s in the %s field is not between %d and %d",
				   what, Min((int) (r->at - at), JS_SHOWN_LENGTH), at,
				   rule->name, lowest, highest);
}

/* Reads the name of a month or a weekday. */
static bool
read_name(JsReader *r, const FieldRule *rule, int *value)
{
	const char *at = r->at;
	int			length = 0;
	int			i;

	while (js_is_letter(at[length]))
		length++;
	/* a name may be followed by the L of "the last such weekday" */
	for (i = 0; length >= 3 && rule->words[i * 3] != '\0'; i++)
	{
		if (js_fold(at[0]) == rule->words[i * 3] &&
			js_fold(at[1]) == rule->words[i * 3 + 1] &&
			js_fold(at[2]) == rule->words[i * 3 + 2] &&
			(length == 3 || (length == 4 && js_fold(at[3]) == 'L')))
		{
			r->at += 3;
			*value = rule->first + i;
			return true;
		}
	}
	if (rule->words[0] == '\0' || length == 0)
		return fail_unexpected(r, at, rule);
	return js_fail(r, at,
				   rule == &field_rules[JS_CRON_MONTH] ?
				   "Months are written 1 to 12 or JAN to DEC." :
				   "Days of the week are written 0 to 7 or SUN to SAT.",
				   "\"%.*s\" is no name in the %s field",
				   Min(length, JS_SHOWN_LENGTH), at, rule->name);
}

static bool
read_value(JsReader *r, const FieldRule *rule, int *value)
{
	const char *at = r->at;

	if (!js_is_digit(*at))
		return read_name(r, rule, value);
	*value = (int) js_read_digits(r, MAX_NUMBER);
	if (*value >= rule->first && *value <= rule->alias)
		return true;
	return js_fail(r, at, JS_NO_HINT,
				   "%.*s in the %s field is not between %d and %d",
				   Min((int) (r->at - at), JS_SHOWN_LENGTH), at, rule->name,
				   rule->first, rule->alias);
}

static uint32
weekday_bit(int value)
{
	return 1U << (value % 7);
}

/* The number of different values that a field has. */
static int
field_span(const FieldRule *rule)
{
	return rule->last - rule->first + 1;
}

/* Reads "last" of a range whose first value has been read. */
static bool
read_range_end(JsReader *r, const FieldRule *rule, Range *range)
{
	if (!read_value(r, rule, &range->last))
		return false;
	if (range->first > range->last && range->first > rule->last)
		range->first = rule->first; /* 7-2 is 0-2 */
	if (range->first > range->last)
		range->last += field_span(rule);
	return true;
}

/* Reads "/step" if it stands here, and notes steps that surprise people. */
static bool
read_step(JsReader *r, const FieldRule *rule, Range *range, bool whole,
		  JsCron *cron)
{
	uint8		flag = 1 << (rule - field_rules);

	range->step = 0;
	if (!js_take(r, '/'))
		return true;
	if (!read_operand(r, rule, "step", 1, MAX_NUMBER, &range->step))
		return false;
	if (range->step > 1 && range->step > range->last - range->first)
		cron->step_too_long |= flag;
	else if (whole && field_span(rule) % range->step != 0)
		cron->step_uneven |= flag;
	return true;
}

static uint64
range_set(const FieldRule *rule, const Range *range)
{
	uint64		set = 0;
	int			value;

	for (value = range->first; value <= range->last;
		 value += Max(range->step, 1))
		set |= UINT64CONST(1) <<
			(value > rule->last ? value - field_span(rule) : value);
	return set;
}

static uint64
hash_field(uint64 seed, int field)
{
	uint64		hash = seed + field * UINT64CONST(0x9e3779b97f4a7c15);

	hash = (hash ^ (hash >> 33)) * UINT64CONST(0xff51afd7ed558ccd);
	hash = (hash ^ (hash >> 33)) * UINT64CONST(0xc4ceb9fe1a85ec53);
	return hash ^ (hash >> 33);
}

/* "H" has been read: the range, the step, and the value that it stands for */
static bool
read_hashed(JsReader *r, const FieldRule *rule, JsCron *cron, uint64 *set)
{
	Range		range = {rule->first, rule->last_hashed, 0};
	bool		whole = true;
	int			choices;

	if (js_take(r, '('))
	{
		whole = false;
		if (!read_value(r, rule, &range.first))
			return false;
		if (!js_take(r, '-'))
			return js_fail(r, r->at, "Write H(first-last).",
						   "a range is needed after \"H(\" in the %s field",
						   rule->name);
		if (!read_range_end(r, rule, &range))
			return false;
		if (!js_take(r, ')'))
			return js_fail(r, r->at, JS_NO_HINT,
						   "\")\" is missing in the %s field", rule->name);
	}
	if (!read_step(r, rule, &range, whole, cron))
		return false;

	choices = range.last - range.first + 1;
	if (range.step > 0)
		choices = Min(choices, range.step);
	range.first += (int) (hash_field(r->seed, (int) (rule - field_rules)) %
						  choices);
	if (range.step == 0)
		range.last = range.first;
	*set |= range_set(rule, &range);
	cron->hashed = true;
	return true;
}

/* "L" has been read in the day-of-month field: L, L-n or LW */
static bool
read_last_day(JsReader *r, const FieldRule *rule, JsCron *cron)
{
	int			before = 0;

	if (js_take(r, 'W'))
	{
		cron->last_workday = true;
		return true;
	}
	if (js_take(r, '-') &&
		!read_operand(r, rule, "number after \"L-\"", 1, 30, &before))
		return false;
	cron->days_from_last |= 1U << before;
	return true;
}

/*
 * A value has been read and something may follow that only one field knows.
 * *done tells whether it did.
 */
static bool
read_suffix(JsReader *r, const FieldRule *rule, int value, JsCron *cron,
			bool *done)
{
	JsCronField field = (JsCronField) (rule - field_rules);
	int			nth;

	*done = true;
	if (field == JS_CRON_DAY && js_take(r, 'W'))
		cron->days_nearest |= 1U << value;
	else if (field == JS_CRON_WEEKDAY && js_take(r, 'L'))
		cron->weekdays_last |= weekday_bit(value);
	else if (field == JS_CRON_WEEKDAY && js_take(r, '#'))
	{
		if (js_take(r, 'L'))
			cron->weekdays_last |= weekday_bit(value);
		else if (read_operand(r, rule, "number after \"#\"", 1, 5, &nth))
			cron->weekdays_nth[nth - 1] |= weekday_bit(value);
		else
			return false;
	}
	else
		*done = false;
	return true;
}

/* A "*", a value or a range of values, with or without a step. */
static bool
read_range(JsReader *r, const FieldRule *rule, JsCron *cron, uint64 *set)
{
	Range		range = {rule->first, rule->last, 0};
	bool		whole = js_take(r, '*');
	bool		done = false;

	if (!whole)
	{
		if (!read_value(r, rule, &range.first) ||
			!read_suffix(r, rule, range.first, cron, &done))
			return false;
		if (done)
			return true;
		if (js_take(r, '-'))
		{
			if (!read_range_end(r, rule, &range))
				return false;
		}
		else if (*r->at == '/')
			range.first -= range.first > rule->last ? field_span(rule) : 0;
		else
			range.last = range.first;
	}
	if (!read_step(r, rule, &range, whole, cron))
		return false;
	*set |= range_set(rule, &range);
	return true;
}

/* One item of a field's list. */
static bool
read_item(JsReader *r, const FieldRule *rule, JsCron *cron, uint64 *set)
{
	Range		all = {rule->first, rule->last, 0};
	JsCronField field = (JsCronField) (rule - field_rules);

	if ((field == JS_CRON_DAY || field == JS_CRON_WEEKDAY) && js_take(r, '?'))
	{
		*set |= range_set(rule, &all);
		return true;
	}
	if (js_take(r, 'H'))
		return read_hashed(r, rule, cron, set);
	if (field == JS_CRON_DAY && js_take(r, 'L'))
		return read_last_day(r, rule, cron);
	if (field == JS_CRON_WEEKDAY && js_fold(*r->at) == 'L')
		return js_fail(r, r->at,
					   "The last Friday of the month is 5L; Saturday is 6.",
					   "a weekday is missing before \"L\" in the "
					   "day-of-week field");

	return read_range(r, rule, cron, set);
}

/* One field; r->at is at its first character. */
static bool
read_field(JsReader *r, const FieldRule *rule, JsCron *cron, uint64 *set)
{
	*set = 0;
	do
	{
		if (!read_item(r, rule, cron, set))
			return false;
	} while (js_take(r, ','));

	if (!js_ends_word(*r->at))
		return fail_unexpected(r, r->at, rule);
	return true;
}

/* Splits into fields; a text of five gets no second field (NULL). */
static bool
split_fields(JsReader *r, const char *fields[JS_CRON_FIELDS])
{
	const char *starts[JS_CRON_FIELDS + 1];
	const char *at = js_skip_spaces(r->at);
	int			count = 0;
	int			i;

	while (*at != '\0' && count <= JS_CRON_FIELDS)
	{
		starts[count++] = at;
		at = js_skip_spaces(at + js_word_length(at));
	}
	if (count > JS_CRON_FIELDS)
		return js_fail(r, starts[JS_CRON_FIELDS],
					   "There is no year field; six begin with seconds.",
					   "unexpected field after the day-of-week field");
	if (count < JS_CRON_FIELDS - 1)
		return js_fail(r, at,
					   "A cron schedule has five fields (minute, hour, day of "
					   "month, month, day of week) or six (second first).",
					   "the %s field is missing",
					   field_rules[count + 1].name);
	fields[JS_CRON_SECOND] = NULL;
	for (i = 0; i < count; i++)
		fields[JS_CRON_FIELDS - count + i] = starts[i];
	return true;
}

bool
js_read_cron(JsReader *r, JsCron *cron)
{
	const char *fields[JS_CRON_FIELDS];
	uint64		sets[JS_CRON_FIELDS];
	int64		unused;
	int			i;

	if (!split_fields(r, fields))
		return false;
	sets[JS_CRON_SECOND] = 1;	/* five fields: at second 0 */
	for (i = 0; i < JS_CRON_FIELDS; i++)
	{
		r->at = fields[i];
		if (r->at != NULL &&
			!read_field(r, &field_rules[i], cron, &sets[i]))
			return false;
	}
	cron->seconds = sets[JS_CRON_SECOND];
	cron->minutes = sets[JS_CRON_MINUTE];
	cron->hours = (uint32) sets[JS_CRON_HOUR];
	cron->days = (uint32) sets[JS_CRON_DAY];
	cron->months = (uint32) sets[JS_CRON_MONTH];
	cron->weekdays = (uint8) sets[JS_CRON_WEEKDAY];

	/* the rules that look at how a field is written, not at what it means */
	cron->elapsed = *fields[JS_CRON_MINUTE] == '*' ||
		*fields[JS_CRON_HOUR] == '*';
	cron->either_day =
		*fields[JS_CRON_DAY] != '*' && *fields[JS_CRON_DAY] != '?' &&
		*fields[JS_CRON_WEEKDAY] != '*' && *fields[JS_CRON_WEEKDAY] != '?';

	if (!js_calendar_next(cron, 0, &unused))
		return js_fail(r, fields[JS_CRON_DAY],
					   "Such a schedule would never run.",
					   "no date matches the day-of-month, month and "
					   "day-of-week fields together");
	return true;
}
