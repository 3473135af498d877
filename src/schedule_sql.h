/*-------------------------------------------------------------------------
 *
 * schedule_sql.h
 *		The error that refuses a schedule or a time zone.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SCHEDULE_SQL_H
#define JS_SCHEDULE_SQL_H

#include "cron.h"

/* Before PostgreSQL 18 the attribute had another name. */
#ifndef pg_noreturn
#define pg_noreturn pg_attribute_noreturn()
#endif

pg_noreturn extern void js_schedule_refuse(const char *text,
										   const JsScheduleError *err);
pg_noreturn extern void js_timezone_refuse(const char *name);

#endif							/* JS_SCHEDULE_SQL_H */
