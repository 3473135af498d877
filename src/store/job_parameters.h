/*-------------------------------------------------------------------------
 *
 * job_parameters.h
 *		The parameters of a job, in one table.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_JOB_PARAMETERS_H
#define JS_JOB_PARAMETERS_H

#include "store/store.h"
#include "store/table.h"

/* The columns of table job. */
typedef enum JsJobColumn
{
	JS_JOB_ID = 1, JS_JOB_NAME, JS_JOB_OWNER, JS_JOB_OWNER_NAME, JS_JOB_HOME, JS_JOB_SCHEDULE,
	JS_JOB_TIMEZONE, JS_JOB_COMMAND, JS_JOB_HANDLER, JS_JOB_ARGS, JS_JOB_MODE,
	JS_JOB_TRANSACTIONAL, JS_JOB_SHARE_TRANSACTION, JS_JOB_TIMEOUT, JS_JOB_MAX_ATTEMPTS,
	JS_JOB_BACKOFF, JS_JOB_BACKOFF_BASE, JS_JOB_BACKOFF_MAX, JS_JOB_BACKOFF_JITTER,
	JS_JOB_RETRY_DELAYS, JS_JOB_RETRY_ON, JS_JOB_NO_RETRY_ON, JS_JOB_OVERLAP,
	JS_JOB_QUEUE_LIMIT, JS_JOB_MISFIRE, JS_JOB_MISFIRE_GRACE, JS_JOB_STARTS_AT, JS_JOB_ENDS_AT,
	JS_JOB_MAX_RUNS, JS_JOB_JITTER, JS_JOB_PAUSE_AFTER_FAILURES, JS_JOB_MAX_CONCURRENCY,
	JS_JOB_QUEUE, JS_JOB_KEYS, JS_JOB_ON_SUCCESS, JS_JOB_ON_FAILURE, JS_JOB_DEADLINE,
	JS_JOB_KEEP, JS_JOB_KEEP_FOR,
	JS_JOB_AFTER_JOBS, JS_JOB_AFTER_SEEN, JS_JOB_REQUEST,
	JS_JOB_STEPS, JS_JOB_STEPS_REVISION, JS_JOB_WORKFLOW_ID, JS_JOB_STEP_REVISION, JS_JOB_STEP_NO,
	JS_JOB_STEP, JS_JOB_STEP_AFTER, JS_JOB_STEP_WHEN, JS_JOB_STEP_OPTIONAL,
	JS_JOB_STEP_DELAY, JS_JOB_STEP_IF, JS_JOB_STEP_LOOKS,
	JS_JOB_STEP_FOR_EACH,
	JS_JOB_STEP_JOB,
	JS_JOB_STEP_WAIT_FOR, JS_JOB_STEP_WAIT_TIMEOUT,
	JS_JOB_STEP_UNDOES,
	JS_JOB_ENABLED, JS_JOB_PAUSED,
	JS_JOB_PAUSE_REASON, JS_JOB_DESCRIPTION, JS_JOB_METADATA, JS_JOB_CREATED_AT,
	JS_JOB_UPDATED_AT, JS_JOB_REVISION, JS_JOB_SCHEDULE_REVISION, JS_JOB_ANCHOR,
	JS_JOB_FIRST_RUN_AT, JS_JOB_DROPPED_AT, JS_JOB_CANCEL_RUNNING
} JsJobColumn;

/*
 * What a parameter is: how it is given, checked, kept in JsJob and in the row.
 * A member that is 0 or NULL, or DT_NOBEGIN if it is an instant, is NULL in the
 * row: the job has no such thing.
 */
typedef enum JsParameterKind
{
	JS_PARAMETER_BOOLEAN,		/* bool */
	JS_PARAMETER_NUMBER,		/* int32 */
	JS_PARAMETER_SHARE,			/* double, from 0 to 1 */
	JS_PARAMETER_SPAN,			/* int64, microseconds */
	JS_PARAMETER_SINCE,			/* TimestampTz; '-infinity' removes it */
	JS_PARAMETER_UNTIL,			/* TimestampTz; 'infinity' removes it */
	JS_PARAMETER_TEXT,			/* char * */
	JS_PARAMETER_CHOICE,		/* an enum */
	JS_PARAMETER_ROLE,			/* Oid (owner.h) */
	JS_PARAMETER_JSON,			/* Jsonb * */
	JS_PARAMETER_KEYS,			/* ArrayType *; an empty one removes it */
	JS_PARAMETER_CONDITIONS,	/* likewise */
	JS_PARAMETER_DELAYS			/* likewise */
} JsParameterKind;

#define JS_PARAMETER_REQUIRED 1 /* create_job() refuses NULL */
#define JS_PARAMETER_WHOLE 2	/* not in the head of a job */
#define JS_PARAMETER_REMOVABLE 4	/* of a text: an empty one removes it */
#define JS_PARAMETER_KEEPS_ZERO 8	/* of a span: 0 is not NULL in the row */
#define JS_PARAMETER_OF_STEP 16 /* a step of a job can have it too */

/*
 * Its name is the same in create_job(), alter_job(), table job, view jobs and
 * JsJob.  Bounds hold also for who writes past the functions.
 */
typedef struct JsJobParameter
{
	const char *name;
	size_t		offset;			/* in JsJob */
	size_t		size;
	JsJobColumn column;
	JsParameterKind kind;
	int			flags;
	int64		least;			/* of a number; 0: that is none */
	int64		most;			/* of a number or a span */
	double		otherwise;		/* if create_job() is given NULL; and of a
								 * choice if the row has none of them */
	const char *const *choices; /* NULL after the last */
} JsJobParameter;

/* In the order of arguments; the name is NULL after the last. */
extern const JsJobParameter js_job_parameters[];

static inline void *
js_job_member(const JsJobParameter *parameter, const JsJob *job)
{
	return (char *) unconstify(JsJob *, job) + parameter->offset;
}

extern void js_job_parameter_default(const JsJobParameter *parameter, JsJob *job);
extern void js_job_parameters_default(JsJob *job);
extern void js_job_parameters_to_row(const JsJob *job, JsRow *row);
extern void js_job_parameters_from_row(const JsRow *row, bool whole, JsJob *job);
extern Size js_job_parameters_size(const JsJob *job);
extern Size js_job_parameters_row_size(const JsRow *row);

/* store_job.c */
extern void js_job_from_tuple(Relation rel, HeapTuple tuple, JsJob *job);
extern void js_job_head_from_tuple(Relation rel, HeapTuple tuple, JsJob *head);

/* The index of a choice; -1: it is none of them, or NULL. */
extern int	js_choice_find(const char *const *choices, const char *text);

#endif							/* JS_JOB_PARAMETERS_H */
