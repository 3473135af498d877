/*-------------------------------------------------------------------------
 *
 * catalog.h
 *		The few statements of ours that are SQL.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CATALOG_H
#define JS_CATALOG_H

#include "base/jobsched.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* A run that has ended, as far as its job's state wants to know. */
typedef struct JsEnded
{
	int64		run_id;
	JsStatus	status;
	TimestampTz started_at;		/* DT_NOBEGIN: it never was */
	TimestampTz finished_at;
	bool		gone;			/* its job's server has answered 410 */
} JsEnded;

/* The success of a job that was latest. */
typedef struct JsSuccess
{
	int64		job_id;
	int64		run_id;
	TimestampTz finished_at;
} JsSuccess;

/* A row of history, as statistics want to know it. */
typedef struct JsEndedRow
{
	int64		run_id;
	int64		job_id;
	Oid			owner;
	const char *status;
	const char *source;
	int32		attempt;
	int32		slots;			/* that it stands for; 0: it is a run */
	bool		waited;			/* for an event */
	TimestampTz run_at;
	TimestampTz started_at;		/* DT_NOBEGIN: it never was */
	TimestampTz finished_at;
} JsEndedRow;

typedef void (*JsEndedRowVisitor) (const JsEndedRow *row, void *arg);

extern bool js_version_is_known(void);
extern char *js_catalog_database_setting(const char *name);
extern bool js_catalog_has_prepared(void);
extern char *js_catalog_vault_secret(const char *name);
extern List *js_catalog_jobs_ended_since(TimestampTz since, int limit);
extern List *js_catalog_successes_between(TimestampTz since, TimestampTz until, int limit);
extern void js_catalog_visit_ended(TimestampTz since, JsEndedRowVisitor visit, void *arg);
extern int	js_catalog_last_ended(int64 job_id, JsEnded *ended);
extern void js_catalog_truncate_segment(int segment);

#endif							/* JS_CATALOG_H */
