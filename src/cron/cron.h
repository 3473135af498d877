/*-------------------------------------------------------------------------
 *
 * cron.h
 *		Schedules: parse a schedule's text, find the instant that follows.
 *
 * These files use nothing of jobs, the catalog or shared memory.  They never
 * call ereport(), and parsing allocates nothing, so the parser can run under a
 * fuzzer outside the server.  Time zone arithmetic uses the server's own zone
 * data (pgtime.h).
 *
 * The files: cron.c and cron_fields.c read the text of a schedule; calendar.c
 * handles local dates and times without any time zone; cron_zone.c handles the
 * clock changes of a zone, and cron_next.c combines both; cron_explain.c
 * describes a schedule in words, and is the only one that allocates memory.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CRON_H
#define JS_CRON_H

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "pgtime.h"

typedef enum JsScheduleKind
{
	JS_SCHEDULE_CRON,			/* five or six fields, or a macro */
	JS_SCHEDULE_EVERY,			/* a step from an anchor */
	JS_SCHEDULE_ONCE,			/* one timestamp */
	JS_SCHEDULE_STARTUP			/* @startup: fired by the scheduler itself */
} JsScheduleKind;

/* The fields of a cron expression, in the order of the six-field form. */
typedef enum JsCronField
{
	JS_CRON_SECOND,
	JS_CRON_MINUTE,
	JS_CRON_HOUR,
	JS_CRON_DAY,
	JS_CRON_MONTH,
	JS_CRON_WEEKDAY
} JsCronField;

#define JS_CRON_FIELDS	(JS_CRON_WEEKDAY + 1)

/* The units of "every"; from JS_EVERY_DAY on they are calendar steps. */
typedef enum JsEveryUnit
{
	JS_EVERY_SECOND,
	JS_EVERY_MINUTE,
	JS_EVERY_HOUR,
	JS_EVERY_DAY,
	JS_EVERY_WEEK,
	JS_EVERY_MONTH,
	JS_EVERY_YEAR
} JsEveryUnit;

/*
 * A parsed cron expression.  All sets are bitmaps whose bit number is the
 * value itself; seconds, minutes, hours and months are never empty.
 */
typedef struct JsCron
{
	uint64		seconds;		/* 0..59 */
	uint64		minutes;		/* 0..59 */
	uint32		hours;			/* 0..23 */
	uint32		months;			/* 1..12 */
	uint32		days;			/* 1..31 */
	uint32		days_from_last; /* n: L-n; 0 is the last day itself */
	uint32		days_nearest;	/* n: nW, the weekday nearest to day n */
	uint8		weekdays;		/* 0..6, Sunday is 0 */
	uint8		weekdays_last;	/* 0..6: the last such weekday of the month */
	uint8		weekdays_nth[5];	/* 0..6: the first, ... fifth one */
	bool		last_workday;	/* LW: the last Monday to Friday */
	bool		either_day;		/* day or weekday suffices, not both needed */
	bool		elapsed;		/* minute or hour begins with "*" */
	bool		hashed;			/* some value comes from H, so from the name */
	uint8		step_too_long;	/* fields (1 << JsCronField) with a step that
								 * exceeds the range: only its start matches */
	uint8		step_uneven;	/* fields whose step divides unevenly */
} JsCron;

/*
 * A parsed schedule: fixed size, no pointers, so it can be copied and kept
 * anywhere.  Only the member of the union that "kind" names is set.
 */
typedef struct JsSchedule
{
	JsScheduleKind kind;
	union
	{
		JsCron		cron;
		struct
		{
			JsEveryUnit unit;
			int64		count;	/* > 0 */
		}			every;
		struct
		{
			TimestampTz at;		/* microseconds from 2000-01-01 */
			bool		local;	/* on the zone's clocks, not in UTC */
		}			once;
	}			u;
} JsSchedule;

/* Why a text is no schedule: a message fragment and where it happened. */
typedef struct JsScheduleError
{
	char		message[160];	/* lower case, no period, names the field */
	char		hint[200];		/* a sentence */
	int			position;		/* 1-based character position in the text */
} JsScheduleError;

/*
 * Parses text.  "name" seeds the H values and may be NULL.  On failure false
 * is returned and *err is filled.  A cron schedule that can never fire is a
 * failure.
 */
extern bool js_schedule_parse(const char *text, const char *name,
							  JsSchedule *out, JsScheduleError *err);

/*
 * Finds the first instant strictly after "after".  False: never again.
 * "every" counts from the anchor, which is its first instant.
 */
extern bool js_schedule_next(const JsSchedule *s, pg_tz *tz,
							 TimestampTz anchor, TimestampTz after,
							 TimestampTz *next);

/* A zone of the server's zone data by its IANA name, or NULL. */
extern pg_tz *js_timezone_lookup(const char *name);

/* Appends the schedule in words, then one line for each warning. */
extern void js_schedule_describe(const JsSchedule *s, const char *text,
								 pg_tz *tz, TimestampTz from, StringInfo out);

extern TimestampTz js_schedule_slots_after(const JsSchedule *schedule, TimestampTz anchor,
										   TimestampTz starts_at, TimestampTz after);

#endif							/* JS_CRON_H */
