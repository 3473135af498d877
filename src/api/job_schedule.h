/*-------------------------------------------------------------------------
 *
 * job_schedule.h
 *		When the schedule of a job starts.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_JOB_SCHEDULE_H
#define JS_JOB_SCHEDULE_H

#include "cron/cron.h"
#include "store/store.h"

extern void js_job_begin_schedule(JsJob *job);
extern void js_job_restart_schedule(JsJob *job, TimestampTz after);
extern void js_job_move_slots(JsJob *job);

#endif							/* JS_JOB_SCHEDULE_H */
