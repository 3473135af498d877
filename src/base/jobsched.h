/*-------------------------------------------------------------------------
 *
 * jobsched.h
 *		Constants that all parts share.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JOBSCHED_H
#define JOBSCHED_H

#define JS_EXTENSION "jobsched"

#define JS_MAX_JOB_NAME 200		/* bytes */
#define JS_MAX_DEPTH 100		/* what jobsched.max_depth can be at most */

/* Process titles: what pg_stat_activity.backend_type shows. */
#define JS_TYPE_LAUNCHER "jobsched launcher"
#define JS_TYPE_SCHEDULER "jobsched scheduler"
#define JS_TYPE_WORKER "jobsched worker"
#define JS_TYPE_HTTP "jobsched http"

/* How a run ends. */
typedef enum JsStatus
{
	JS_SUCCEEDED,
	JS_FAILED,
	JS_CANCELLED,
	JS_TIMED_OUT,
	JS_LOST,
	JS_SKIPPED,
	JS_MISSED
} JsStatus;

#endif							/* JOBSCHED_H */
