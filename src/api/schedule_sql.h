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

#include "compat.h"
#include "cron/cron.h"

pg_noreturn extern void js_schedule_refuse(const char *text,
										   const JsScheduleError *err);
pg_noreturn extern void js_timezone_refuse(const char *name);

#endif							/* JS_SCHEDULE_SQL_H */
