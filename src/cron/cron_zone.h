/*-------------------------------------------------------------------------
 *
 * cron_zone.h
 *		The clock changes of a zone, and zones by name.
 *
 * Private to cron_zone.c, cron_next.c and cron_explain.c.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CRON_ZONE_H
#define JS_CRON_ZONE_H

#include "cron/calendar.h"

/* The instants begin <= t < end, in which clocks read t + offset. */
typedef struct JsZoneSpan
{
	pg_tz	   *tz;
	pg_time_t	begin;
	pg_time_t	end;			/* JS_FOREVER: no change is known to come */
	int64		offset;			/* seconds east of Greenwich */
} JsZoneSpan;

#define JS_FOREVER		PG_INT64_MAX

/* Seconds; further than any offset, and any change of one, can reach. */
#define JS_ZONE_REACH	(2 * SECS_PER_DAY)

/* How often a zone's clocks read a local time. */
typedef enum JsLocalKind
{
	JS_LOCAL_ONCE,
	JS_LOCAL_TWICE,				/* in an overlap */
	JS_LOCAL_SKIPPED,			/* in a gap */
	JS_LOCAL_NEVER				/* in a gap of a day or more */
} JsLocalKind;

/* Between the epochs of TimestampTz and of pg_time_t */
#define JS_EPOCH_SECS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* An instant in whole seconds, rounded down. */
static inline pg_time_t
js_timestamp_seconds(TimestampTz t)
{
	return js_floor_div(t, USECS_PER_SEC) + JS_EPOCH_SECS;
}

extern bool js_zone_span_open(JsZoneSpan *span, pg_tz *tz, pg_time_t t);
extern bool js_zone_span_advance(JsZoneSpan *span);
extern JsLocalKind js_zone_instant(pg_tz *tz, int64 local,
								   pg_time_t *instant);

#endif							/* JS_CRON_ZONE_H */
