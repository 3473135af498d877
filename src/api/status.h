/*-------------------------------------------------------------------------
 *
 * status.h
 *		What is known of this database's scheduler.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STATUS_H
#define JS_STATUS_H

#include "shmem/shmem.h"

typedef struct SchedulerStatus
{
	bool		known;
	int			pid;
	TimestampTz started_at;
	TimestampTz last_active_at;
	bool		enabled;
	int64		ready;
	int64		asleep_jobs;
	int64		invalid_jobs;
	int			failures;		/* ends in a row */
	char		last_error[JS_ERROR_TEXT];
	TimestampTz last_error_at;
	int			launcher_pid;
	int			workers;		/* of all databases */
	bool		queues_partial; /* the scheduler is still reading */
	int			queues_count;
	JsQueueShown queues[JS_QUEUES_SHOWN];
} SchedulerStatus;

extern void js_scheduler_copy(SchedulerStatus *status);
extern bool js_scheduler_is_enabled(const SchedulerStatus *status);

#endif							/* JS_STATUS_H */
