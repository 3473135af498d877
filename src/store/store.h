/*-------------------------------------------------------------------------
 *
 * store.h
 *		Jobs, runs and history as rows.
 *
 * WHO WRITES WHAT
 *
 * No two processes ever change the same row, so none waits for another:
 *
 *	job			sessions, through the API; one at a time per job
 *				(js_job_lock); the scheduler writes the name of its owner,
 *				if nobody has locked the row
 *	job_state	the scheduler
 *	run			inserted by sessions (trigger) and by the scheduler; changed by
 *				the scheduler until the run is put into a mailbox; deleted, or
 *				given back to be retried or because its children live, by the
 *				worker that executes it
 *	dependency	inserted by the session that queues the run; deleted by the
 *				scheduler when that has ended
 *	event		inserted by sessions; changed and deleted by the scheduler
 *	event_match, event_full	the scheduler; the worker of a durable procedure
 *				deletes what that has got
 *	history, attempt, run_log	inserted by the process that ends the attempt
 *	retried		inserted by sessions; deleted by the scheduler
 *	run_stop	inserted by sessions and by the scheduler; deleted by the
 *				scheduler
 *	idempotency	sessions, under the lock of a key; the scheduler deletes what
 *				has expired, and skips what it would have to wait for
 *	ring		the scheduler
 *	identity	adopt(), stop_processing(), start_processing()
 *
 * A session changes a job through the job's row, and asks for the end of a run
 * through a row of run_stop.  It notifies the scheduler at commit (wakeup.h).
 *
 * In these structs DT_NOBEGIN means a timestamp that is NULL.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STORE_H
#define JS_STORE_H

#include "base/jobsched.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

/* Bounds of columns, also for who writes past the functions. */
#define JS_MAX_ATTEMPTS 1000
#define JS_MAX_QUEUE_LIMIT 1000
#define JS_MAX_CONCURRENCY 10000
#define JS_MAX_PAUSE_AFTER 1000000
#define JS_MAX_STEPS 1000

/* Before the status of a response that is no success, in column sqlstate. */
#define JS_SQLSTATE_STATUS "JS"
#define JS_SQLSTATE_GONE JS_SQLSTATE_STATUS "410"

/* Of a request of a durable procedure that has failed. */
#define JS_SQLSTATE_REQUEST "JS002"

/* Why the message of a channel has failed whose receiver wants none any more. */
#define JS_REASON_REFUSED "channel_refused"

/* How the statements of a command become transactions. */
typedef enum JsMode
{
	JS_MODE_AUTO,
	JS_MODE_TRANSACTION,
	JS_MODE_AUTOCOMMIT
} JsMode;

/* How waits between attempts grow. */
typedef enum JsBackoff
{
	JS_BACKOFF_EXPONENTIAL,
	JS_BACKOFF_LINEAR,
	JS_BACKOFF_FIXED
} JsBackoff;

/* What becomes of a slot that comes while a run of the job is live. */
typedef enum JsOverlap
{
	JS_OVERLAP_SKIP,
	JS_OVERLAP_QUEUE,
	JS_OVERLAP_ALLOW,
	JS_OVERLAP_REPLACE
} JsOverlap;

/* What becomes of slots that were missed. */
typedef enum JsMisfire
{
	JS_MISFIRE_ONCE,
	JS_MISFIRE_SKIP,
	JS_MISFIRE_ALL
} JsMisfire;

/* Which runs leave a row of history (run/keep.c). */
typedef enum JsKeep
{
	JS_KEEP_ALL,
	JS_KEEP_FAILURES
} JsKeep;

/* When a run may start that waits for others (doc/workflows.md). */
typedef enum JsAfterWhen
{
	JS_AFTER_NOTHING,			/* it waits for none */
	JS_AFTER_SUCCESS,
	JS_AFTER_FAILURE,
	JS_AFTER_DONE,
	JS_AFTER_ALWAYS,			/* of a step: likewise, also after a cancel */
	JS_AFTER_UNDO				/* when the workflow is known to fail
								 * (run/undo_runs.c) */
} JsAfterWhen;

typedef struct JsJob
{
	int64		job_id;
	char	   *name;
	Oid			owner;			/* perhaps nobody: see owner.h */
	char	   *owner_name;		/* as the row has it */
	bool		owner_is_stale; /* which is out of date */
	char	   *schedule;
	char	   *timezone;
	char	   *command;
	char	   *handler;
	Jsonb	   *args;
	JsMode		mode;
	bool		transactional;
	bool		share_transaction;
	int64		timeout;		/* of an attempt, in microseconds; 0: none */
	int32		max_attempts;	/* 0: by what the run is */
	JsBackoff	backoff;
	int64		backoff_base;	/* microseconds */
	int64		backoff_max;
	double		backoff_jitter;
	ArrayType  *retry_delays;	/* of interval; NULL: none */
	ArrayType  *retry_on;		/* of text; NULL: what is worth it by default */
	ArrayType  *no_retry_on;
	JsOverlap	overlap;
	int32		queue_limit;
	JsMisfire	misfire;
	int64		misfire_grace;	/* microseconds */
	TimestampTz starts_at;
	TimestampTz ends_at;
	int32		max_runs;		/* 0: without end */
	int64		jitter;			/* microseconds; 0: none */
	int32		pause_after_failures;	/* 0: never */
	int32		max_concurrency;	/* 0: no limit */
	char	   *queue;
	ArrayType  *keys;			/* templates (limit_keys.c) */
	char	   *on_success;		/* a function; NULL: none */
	char	   *on_failure;
	int64		deadline;		/* of a run of a job made of steps,
								 * microseconds; 0: none */
	JsKeep		keep;
	int64		keep_for;		/* rows of history, microseconds; 0: as long
								 * as their ring does */
	int64	   *after_jobs;		/* the jobs that it comes after; NULL: none */
	int32		nafter_jobs;
	int64	   *after_seen;		/* their last successes when that was said */
	int32		nafter_seen;
	Jsonb	   *request;		/* NULL: it is SQL (http_request.h) */
	Jsonb	   *steps;			/* of a workflow: as given; NULL: it is none */
	int64		steps_revision; /* of a workflow: its set in force; of a step:
								 * its set; 0: there never was one */
	int64		workflow_id;	/* of a step: the job it is a step of; else 0 */
	int32		step_no;		/* from 1, after all that it waits for */
	char	   *step;			/* its name there */
	ArrayType  *step_after;		/* of int4: the step_no's that it waits for;
								 * NULL: none */
	JsAfterWhen step_when;
	bool		step_optional;
	int64		step_delay;		/* microseconds; 0: none */
	char	   *step_if;		/* an expression; NULL: none */
	bool		step_looks;		/* before it starts (step_look.c) */
	char	   *step_for_each;	/* SQL that gives the elements of which each
								 * is a run (item_runs.c); NULL: it is one run */
	char	   *step_job;		/* the name of the job that it runs
								 * (run/step_job.c); NULL: it works itself */
	ArrayType  *step_wait_for;	/* of text: events; NULL: none */
	int64		step_wait_timeout;	/* microseconds; 0: none */
	int32		step_undoes;	/* the step_no of the step that it takes back;
								 * 0: none */
	bool		enabled;
	bool		paused;
	char	   *pause_reason;
	char	   *description;
	Jsonb	   *metadata;
	pg_uuid_t	home;
	TimestampTz created_at;
	TimestampTz updated_at;
	int64		revision;
	int64		schedule_revision;
	TimestampTz anchor;
	TimestampTz first_run_at;
	TimestampTz dropped_at;
	bool		cancel_running;
	bool		sends_request;	/* there is a request, be it read or not */
	bool		has_steps;		/* likewise */
	bool		has_items;		/* for_each, likewise */
	bool		has_keys;		/* likewise */
	bool		tells;			/* on_success or on_failure, likewise */
	Size		size;			/* of all that has no fixed size, as read */
} JsJob;

#define JS_RECENT_SIZE 20

/* Jobs that one job comes after, at most. */
#define JS_MAX_AFTER_JOBS 100
#define JS_MAX_AFTER_SEEN (2 * JS_MAX_AFTER_JOBS)

typedef struct JsJobState
{
	int64		job_id;
	int64		schedule_revision;
	TimestampTz next_run_at;
	TimestampTz last_slot;
	TimestampTz done_before;
	TimestampTz done_from;
	int64		invalid_revision;	/* 0: none */
	char	   *invalid_reason;
	int64		last_run_id;
	char	   *last_status;
	TimestampTz last_started_at;
	TimestampTz last_finished_at;
	int32		consecutive_failures;
	char		recent[JS_RECENT_SIZE + 1];
	int32		skipped;
	TimestampTz skipped_first;
	TimestampTz skipped_last;
	char	   *skipped_reason;
	int64		scheduled_runs; /* made by the schedule */
	int64		auto_paused_revision;	/* 0: none */
	char	   *auto_paused_reason;
	int32		forgiven_failures;	/* of consecutive_failures: from before
									 * the last time that it was resumed */
	int64		succeeded_run_id;	/* the last one; 0: none */
	TimestampTz succeeded_at;	/* when one has latest; DT_NOBEGIN: none */
	int64	   *after_runs;		/* what the last run came after that its
								 * after_jobs have made; NULL: none */
	int32		nafter_runs;
} JsJobState;

typedef enum JsRunStatus
{
	JS_RUN_QUEUED,
	JS_RUN_RUNNING,
	JS_RUN_RETRYING,
	JS_RUN_WAITING				/* it has been executed, or is a batch; its
								 * children live */
} JsRunStatus;

/* What asked for a run. */
typedef enum JsRunSource
{
	JS_SOURCE_UNKNOWN,			/* a row that somebody has spoilt */
	JS_SOURCE_SCHEDULE,
	JS_SOURCE_STARTUP,			/* @startup */
	JS_SOURCE_TRIGGER,			/* trigger(), a request, a webhook */
	JS_SOURCE_BACKFILL,
	JS_SOURCE_RETRY,			/* retry_run(), redrive() */
	JS_SOURCE_CALLBACK,			/* the end of another run */
	JS_SOURCE_BATCH,			/* trigger_batch(); it executes nothing */
	JS_SOURCE_STEP,				/* the run of the job that it is a step of */
	JS_SOURCE_AFTER,			/* runs of the jobs that its job comes after */
	JS_SOURCE_ITEM				/* the run of a step of which it is an
								 * element, or that names its job */
} JsRunSource;

/* What a run is that stands for others, as view workflows shows it. */
typedef enum JsWorkflow
{
	JS_WORKFLOW_NONE,			/* it does not */
	JS_WORKFLOW_STEPS,			/* of a job made of steps */
	JS_WORKFLOW_BATCH
} JsWorkflow;

/* Runs that one run waits for, at most. */
#define JS_MAX_PARENTS 100000

/* Children of one run, at most. */
#define JS_MAX_CHILDREN 100000

typedef struct JsRun
{
	int64		run_id;
	int64		job_id;			/* 0: a request whose job is yet to be made */
	pg_uuid_t	home;			/* of such a request, as of a job */
	Oid			owner;
	JsRunStatus status;
	JsRunSource source;
	int32		attempt;
	int32		lost;
	int32		failures;
	bool		repeatable;
	int32		priority;
	int32		missed_count;
	int64		timeout;		/* overrides the job's; 0: does not */
	int32		max_attempts;	/* likewise */
	ArrayType  *keys;			/* NULL: none */
	int64		boot_id;
	TimestampTz run_at;
	TimestampTz queued_at;
	TimestampTz claimed_at;
	TimestampTz scheduled_for;
	const char *reason;
	Jsonb	   *args;
	Jsonb	   *state;			/* what snooze() has left; NULL: nothing */
	const char *handler;		/* instead of what its job executes; NULL:
								 * that */
	Jsonb	   *request;		/* likewise */
	const char *traceparent;	/* of who queued it; NULL: none */
	JsAfterWhen after_when;
	const int64 *parents;		/* when it is queued only; ascending, each
								 * once */
	int			nparents;		/* in all; with no after_when: runs that it
								 * carries over (run/carry.c) */
	int64		parent_run_id;	/* the run that has queued it, and waits for
								 * it; 0: none does */
	bool		optional;		/* which does not fail if it fails */
	int32		depth;			/* how many are above it, as its parents or
								 * because they have changed a table */
	Jsonb	   *result;			/* of one that waits for its children, */
	int			worker_pid;		/* which had it */
	JsWorkflow	workflow;
	ArrayType  *wait_for;		/* of text: events; NULL: none */
	int64		wait_timeout;	/* microseconds; 0: it waits for ever */
	TimestampTz wait_until;		/* DT_NOBEGIN: the wait has not begun */
	bool		sends_request;	/* it has a request, be it read or not */
	Size		size;			/* of args and request, as read */
	Size		state_size;
	Size		result_size;
} JsRun;

/*
 * Whether a run is that of a step with for_each, and not one of its elements, or of
 * one with job, and not of that job: it only queues others.
 */
static inline bool
js_run_maps(const JsJob *job, const JsRun *run)
{
	return (job->has_items || job->step_job != NULL) && run->source == JS_SOURCE_STEP;
}

/* Whether a step is there for what others have done: one that undoes, or lets that begin. */
static inline bool
js_step_undoes(const JsJob *step)
{
	return step->step_when == JS_AFTER_UNDO;
}

/* Whether it lets that begin. */
static inline bool
js_step_begins_undo(const JsJob *step)
{
	return js_step_undoes(step) && step->step_undoes == 0;
}

/* How a run ended. */
typedef struct JsOutcome
{
	JsStatus	status;
	const char *reason;
	int			worker_pid;
	TimestampTz started_at;
	TimestampTz finished_at;
	const char *sqlstate;
	const char *error;
	const char *error_detail;
	const char *error_hint;
	const char *error_context;
	Jsonb	   *result;
	const char *command_tag;	/* of the last statement of a command; NULL:
								 * it was none, or has not come to its end */
	int64		retry_after;	/* microseconds that a server has asked for;
								 * 0: none */
	bool		only_looked;	/* it was no attempt: a step has looked, and
								 * does not start, or not here (step_look.c) */
} JsOutcome;

typedef struct JsLogLine
{
	TimestampTz logged_at;
	const char *level;
	const char *message;
} JsLogLine;

/* What came back of an HTTP request. */
typedef struct JsResponse
{
	int			status;			/* 0: none came */
	int			http_version;	/* 10, 11, 20, 30; 0: not known */
	const char *method;
	const char *url;			/* without secrets */
	const char *remote_address; /* NULL: there was no connection */
	int			remote_port;
	int64		resolved_us;	/* from the start; negative: not so far */
	int64		connected_us;
	int64		secured_us;
	int64		first_byte_us;
	int64		total_us;
	Jsonb	   *headers;		/* array of [name, value]; NULL: none */
	const char *body;			/* valid in the database's encoding; or */
	bytea	   *body_bytes;
	int64		body_size;
	bool		truncated;
} JsResponse;

/* An attempt that has ended, and what it leaves. */
typedef struct JsEnding
{
	const JsRun *run;
	const JsJob *job;			/* NULL: not read, for nobody is to be told */
	const JsOutcome *outcome;
	const JsRun *next;			/* the run as it waits for its next attempt,
								 * or for its children; NULL: it has ended
								 * with this one */
	const JsLogLine *lines;
	int			nlines;
	int			lines_before;	/* the attempt may have left so many already */
	const JsResponse *response; /* NULL: it was no HTTP request, or none was
								 * sent */
	bool		leaves_nothing; /* in history and what goes with it (keep.c) */
} JsEnding;

/* of which owners */
typedef bool (*JsOwnerFilter) (Oid owner);

/*
 * The head of a row is what decides when something runs and who may see it.  It
 * is small, however large the row is: without what a job or a run executes,
 * and without what is there for people only; these members are 0.
 */

/* jobs (store_job.c) */
typedef void (*JsJobVisitor) (const JsJob *head, void *arg);
typedef void (*JsJobStateChange) (JsJobState *state, const void *arg);
typedef bool (*JsJobFilter) (const JsJob *head, void *arg);

extern void js_job_lock(int64 job_id);
extern void js_job_insert(JsJob *job);
extern void js_job_update(const JsJob *job);
extern bool js_job_read(int64 job_id, JsJob *job);
extern bool js_job_read_head(int64 job_id, JsJob *head);
extern List *js_jobs_named(const char *name);
extern bool js_job_find(Oid owner, const char *name, JsJob *job);
extern bool js_job_name_lock(Oid owner, const char *name);
extern bool js_job_name_try_lock(Oid owner, const char *name);
extern void js_job_name_unlock(Oid owner, const char *name);
extern bool js_job_create(JsJob *job);
extern void js_job_change(JsJob *job);
extern void js_jobs_visit_all(JsJobVisitor visit, void *arg);
extern void js_steps_visit(int64 workflow_id, int64 revision, JsJobVisitor visit, void *arg);
extern List *js_jobs_select(JsJobFilter filter, void *arg);
extern void js_jobs_visit(int64 first, int64 last, JsJobVisitor visit, void *arg);
extern bool js_job_refresh_owner(int64 job_id);
extern void js_job_forget(int64 job_id);
extern int64 js_job_last_id(void);

/* which jobs may have runs of a role (store_owner.c) */
extern void js_former_owner_record(int64 job_id, Oid owner);
extern void js_former_owner_forget(int64 job_id);
extern bool js_role_has_jobs(Oid role);
extern List *js_jobs_with_runs_of(List *ids, Oid role, int most);
extern List *js_jobs_ids(List *ids);

/* steps of jobs (store_step.c) */
typedef struct JsStepId
{
	int64		job_id;			/* of the step */
	int64		revision;		/* of its set */
} JsStepId;

extern List *js_steps_read(int64 workflow_id, int64 revision);
extern const int32 *js_step_after(const JsJob *step, int *count);
extern void js_steps_note_followed(int64 workflow_id, int64 revision, bool *followed);
extern List *js_steps_live(int64 workflow_id);
extern bool js_step_retire(int64 step_id, TimestampTz now);

typedef void (*JsJobStateVisitor) (const JsJobState *state, void *arg);

extern bool js_id_is_among(const int64 *ids, int count, int64 id);
extern int64 js_job_success_to_follow(const JsJob *job, const JsJobState *state, const JsJob *predecessor);
extern bool js_job_state_read(int64 job_id, JsJobState *state);
extern bool js_job_state_change(int64 job_id, JsJobStateChange change, const void *arg);
extern void js_job_states_visit(JsJobStateVisitor visit, void *arg);

/* identity (store_identity.c) */
extern bool js_identity_read(pg_uuid_t *token);
extern void js_identity_renew(pg_uuid_t *token);
extern TimestampTz js_stopped_at(void);
extern void js_stopped_set(TimestampTz at);

/* runs (store_run.c) */
typedef void (*JsRunVisitor) (const JsRun *head, void *arg);
typedef struct JsRunWriter JsRunWriter;

extern Jsonb *js_run_args(Jsonb *of_job, Jsonb *of_run);
extern JsRunWriter *js_run_writer_open(void);
extern int64 js_run_insert(JsRunWriter *writer, JsRun *run);
extern void js_run_writer_close(JsRunWriter *writer);
extern bool js_run_read(int64 run_id, JsRun *run);
extern bool js_run_read_head(int64 run_id, JsRun *head);
extern bool js_run_see(int64 run_id, JsRun *run);
extern bool js_run_see_head(int64 run_id, JsRun *head);
extern bool js_run_is_busy(int64 run_id);
extern bool js_run_exists_of(int64 job_id);
extern bool js_run_exists_for(int64 job_id, TimestampTz slot, JsRunSource source);
extern bool js_run_update(const JsRun *run);
extern bool js_run_claim(JsRunWriter *writer, int64 run_id, Oid owner,
						 int32 attempt, bool repeatable, TimestampTz run_at, TimestampTz now);
extern void js_runs_visit_all(JsRunVisitor visit, void *arg);
extern void js_runs_visit(int64 first, int64 last, JsRunVisitor visit, void *arg);
extern void js_runs_visit_jobless(JsRunVisitor visit, void *arg);
extern bool js_run_jobless_exists(Oid owner);
extern bool js_run_begin_wait(int64 run_id, TimestampTz until);
extern bool js_run_give_job(int64 run_id, int64 job_id);
extern void js_runs_adopt(const pg_uuid_t *token, JsOwnerFilter may_adopt);
extern int64 js_runs_visit_some(int64 from, bool down, int most, JsRunVisitor visit, void *arg);
extern void js_runs_leave(const JsEnding *endings, int count);
extern void js_runs_visit_children(int64 parent_run_id, Snapshot snapshot, JsRunVisitor visit, void *arg);
extern int	js_runs_children(int64 parent_run_id, int64 from, int64 *ids, int most);

/* commands that were replaced (store_command.c) */
extern void js_command_keep(const JsJob *job, TimestampTz now);
extern char *js_command_find(int64 job_id, int64 revision, Oid *owner, bool *current);
extern void js_commands_forget_of(int64 job_id);
extern int64 js_commands_forget_some(int64 from, TimestampTz limit);

/* what has ended (store_history.c) */
extern void js_attempts_finish(const JsEnding *endings, int count);
extern void js_history_insert(const JsRun *run, const JsOutcome *outcome);
extern int64 js_history_expire_some(int segment, int64 job_id, TimestampTz before,
									int64 from, int *room);
extern int64 js_run_next_id(void);
extern int64 js_run_last_id(void);
extern JsRunStatus js_run_status_argument(const char *name);
extern const char *js_run_status_name(JsRunStatus status);
extern JsAfterWhen js_after_when_argument(const char *parameter, const char *name);
extern JsAfterWhen js_step_when_argument(const char *name);
extern bool js_history_find(int64 run_id, JsRun *run, JsOutcome *outcome);
extern bool js_history_find_error(int64 run_id, JsRun *run, JsOutcome *outcome);
extern bool js_history_find_left(int64 run_id, JsRun *run, JsOutcome *outcome);
extern int64 js_history_last_success(int64 job_id);
extern bool js_history_find_end(int64 run_id, JsStatus *status, TimestampTz *finished_at);
extern bool js_history_find_head(int64 run_id, bool to_be_named, JsRun *head, JsStatus *status);

/* Returns whether to go on. */
typedef bool (*JsEndedVisitor) (const JsRun *head, JsStatus status, void *arg);

extern void js_history_visit_children(int64 parent_run_id, int ring, JsEndedVisitor visit, void *arg);
extern void js_history_search_children(int64 parent_run_id, int64 to, JsEndedVisitor visit, void *arg,
									   const int64 *found);
extern void js_history_visit_children_as_of(int64 parent_run_id, Snapshot snapshot, bool no_success,
											JsEndedVisitor visit, void *arg);

/* Where a result is to go that a child has left; NULL: nowhere. */
typedef Jsonb **(*JsResultPlace) (int64 run_id, void *arg);

extern void js_history_read_results(int64 parent_run_id, JsResultPlace place, void *arg);
extern int64 js_history_visit_some_children(int64 parent_run_id, int64 from, int64 before,
											JsEndedVisitor visit, void *arg);

/* which runs wait for which (store_dependency.c) */
extern void js_dependency_lock(void);
extern VirtualTransactionId *js_dependency_holders(void);
extern void js_dependencies_insert(int64 run_id, const int64 *parents, int count);
extern int	js_dependencies_read(int64 run_id, int64 from, int64 *parents, int most);
extern int64 js_dependency_next(int64 from);
extern int	js_waited_read(int64 run_id, int64 from, int64 *parents, int most);
extern int64 js_dependencies_delete(int64 run_id, int64 from, bool move, int *left);
#define JS_MOST_COUNTED 1000

typedef bool (*JsParentVisitor) (int64 run_id, void *arg);

extern void js_dependencies_visit(int64 run_id, JsParentVisitor visit, void *arg);
extern bool js_dependencies_are_live(int64 run_id, int64 *count, int64 *some, int most);
extern bool js_parent_exists(int64 run_id);
extern int64 js_parent_next(int64 from);

/* events, and which runs have got them (store_event.c) */

/* Bytes of a name, and names that one run waits for, at most. */
#define JS_MAX_EVENT_NAME 255
#define JS_MAX_EVENTS 100

typedef struct JsEvent
{
	int64		event_id;
	Oid			owner;
	const char *name;
	int64		run_id;			/* 0: it is for all runs of its owner */
	Jsonb	   *payload;		/* not in the head */
	TimestampTz sent_at;
	TimestampTz expires_at;
	int64		came;			/* runs with higher ids are newer; 0: not
								 * known yet */
	bool		is_taken;
} JsEvent;

typedef void (*JsEventVisitor) (const JsEvent *head, void *arg);

extern char **js_event_names(ArrayType *wait_for, int *count);
extern void js_event_insert(JsEvent *event);
extern bool js_event_number(JsEvent *event, TimestampTz expires_at);
extern bool js_event_read(int64 event_id, JsEvent *event);
extern bool js_event_find(Oid owner, const char *name, int64 open_for, int64 newer_than, JsEvent *found);
extern bool js_event_take(int64 event_id, int64 run_id);
extern void js_events_visit(int64 first, int64 last, JsEventVisitor visit, void *arg);
extern int64 js_events_visit_some(int64 from, bool down, int most, JsEventVisitor visit, void *arg);
extern bool js_events_expire(TimestampTz *from, TimestampTz until, int limit);
extern int64 js_event_last_id(void);
extern bool js_event_is_full(Oid owner);
extern void js_event_full_set(Oid owner, bool full);
extern List *js_event_full_owners(void);
extern void js_event_match_insert(int64 run_id, const char *name, int64 event_id);
extern int64 js_event_match_find(int64 run_id, const char *name);
extern bool js_event_is_awaited(const JsRun *head);
extern int64 js_event_match_next(int64 from);
extern void js_event_match_delete(int64 run_id, const char *name);
extern bool js_event_matches_delete(int64 run_id, int *left);

/* stops: runs that shall end (store_stop.c) */
typedef enum JsStopKind
{
	JS_STOP_CANCEL,
	JS_STOP_REPLACE,			/* cancel it if no worker has it; */
	JS_STOP_DEBOUNCE,			/* the same, with another reason */
	JS_STOP_RESET,				/* take it from its worker */
	JS_STOP_OVERLAP,			/* cancel it: a slot's run takes its place */
	JS_STOP_SKIP,				/* as JS_STOP_REPLACE, but it ends as skipped */
	JS_STOP_DEADLINE,			/* end it: its time is up */
	JS_STOP_UNKNOWN				/* a row that nobody understands */
} JsStopKind;

typedef struct JsStop
{
	int64		stop_id;
	JsStopKind	kind;
	int64		run_id;
	int32		attempt;		/* the only one that is meant; 0: any */
	bool		force;			/* terminate its worker at once */
} JsStop;

typedef void (*JsStopVisitor) (const JsStop *stop, void *arg);

extern int64 js_stop_insert(JsStop *stop);
extern void js_stops_visit(int64 first, int64 last, JsStopVisitor visit, void *arg);
extern void js_stops_visit_all(JsStopVisitor visit, void *arg);
extern int64 js_stops_visit_some(int64 from, bool down, int most, JsStopVisitor visit, void *arg);
extern void js_stop_delete(int64 stop_id);

/* runs that were queued again (store_retried.c) */
extern void js_retried_insert(int64 run_id, int64 as, TimestampTz at, ArrayType *from_steps);
extern int64 js_retried_find(int64 run_id);
extern int64 js_retried_origin(int64 as, ArrayType **from_steps);
extern List *js_retried_names(List *names, ArrayType *from_steps);
extern bool js_retried_names_have(const List *names, const char *step);
extern int64 js_retried_forget_some(int64 from, TimestampTz limit);

/* what durable procedures have done (store_memo.c) */

/* Bytes of the name of a step of a procedure, and steps of one run, at most. */
#define JS_MAX_MEMO_NAME 255
#define JS_MAX_MEMOS 10000

typedef struct JsMemo
{
	int64		run_id;
	const char *name;
	int32		seq;			/* which one of its run it is, from 1 */
	int64		job_id;
	Oid			owner;
	const char *function;		/* NULL: it is a sleep, or a wait */
	int64		args_hash;
	Jsonb	   *result;
	TimestampTz sleeps_until;
	TimestampTz stored_at;
	const char *event;			/* of a wait: its name; NULL: it is none */
	int64		event_came;		/* as in the event that it has got; while it
								 * goes on, in the last one of that name */
	const char *step;			/* of a wait that goes on, which has no name */
	int64		request_id;		/* of a request: its run; 0: it is none */
	const char *error;			/* of one that has failed */
} JsMemo;

/*
 * Names that no step has: of a wait that goes on, and what those begin with of what was
 * answered to a request.  They sort before all others.
 */
#define JS_MEMO_WAIT ""
#define JS_MEMO_ANSWER "\001"

static inline bool
js_memo_is_of_step(const char *name)
{
	return (unsigned char) name[0] >= ' ';
}

/* The reasons of runs whose procedures wait for an event, and for a request. */
#define JS_REASON_AWAITS "waiting_for_event"
#define JS_REASON_REQUESTS "waiting_for_request"

/* Whether they do, by the row of the run. */
static inline bool
js_run_awaits(const JsRun *run)
{
	return run->status == JS_RUN_RETRYING && run->reason != NULL &&
		(strcmp(run->reason, JS_REASON_AWAITS) == 0 || strcmp(run->reason, JS_REASON_REQUESTS) == 0);
}

extern void js_memo_insert(const JsMemo *memo);
extern void js_memo_delete(int64 run_id, const char *name);
extern bool js_memo_find(int64 run_id, const char *name, JsMemo *memo);
extern JsMemo *js_memo_copy(const JsMemo *memo, MemoryContext context);

typedef void (*JsMemoVisitor) (const JsMemo *memo, Size size, void *arg);

extern void js_memos_visit(int64 run_id, Size most, JsMemoVisitor visit, void *arg);
extern bool js_memos_exist(int64 run_id);
extern int64 js_memos_last_event(int64 run_id, const char *event);
extern void js_memos_copy(int64 from, const JsRun *to);

/* what goes after the record of its run (store_forget.c) */
extern int64 js_forget_some(const char *table, const char *index, int64 from);

/* keys of runs (store_idempotency.c) */
typedef struct JsKeptKey
{
	int64		job_id;			/* 0: of the requests of a role */
	Oid			owner;			/* that role, or InvalidOid */
	const char *key;
	int64		run_id;			/* that keeps it */
	TimestampTz queued_at;
	TimestampTz expires_at;
} JsKeptKey;

typedef bool (*JsKeyFilter) (const JsKeptKey *kept);

extern void js_idempotency_lock(const JsKeptKey *kept);
extern void js_idempotency_unlock(const JsKeptKey *kept);
extern bool js_idempotency_find(JsKeptKey *kept, TransactionId *writer);
extern void js_idempotency_write(const JsKeptKey *kept, bool found);
extern bool js_idempotency_expire(TimestampTz *from, TimestampTz until, int limit,
								  JsKeyFilter may_go);

/* limits (store_limit.c) */

/* From the most specific to the most general; their runs are tried in this order. */
typedef enum JsLimitKind
{
	JS_LIMIT_KEY,
	JS_LIMIT_JOB,
	JS_LIMIT_QUEUE,
	JS_LIMIT_OWNER,
	JS_LIMIT_CLASS				/* what holds for each key of a class */
} JsLimitKind;

/* A queue or a class of keys; where a number is 0 there is no such limit. */
typedef struct JsLimitDefinition
{
	Oid			owner;
	bool		is_stale;		/* its row calls it by another name */
	JsLimitKind kind;
	char	   *name;
	int32		max_running;
	int32		rate;
	int64		per;			/* microseconds */
	int32		burst;			/* at least 1 */
	bool		paused;
} JsLimitDefinition;

/* When what a rate has let through is used up (its theoretical arrival time). */
typedef struct JsLimitState
{
	Oid			owner;
	JsLimitKind kind;
	const char *name;
	TimestampTz tat;
} JsLimitState;

typedef void (*JsLimitVisitor) (const JsLimitDefinition *definition, void *arg);
typedef void (*JsLimitStateVisitor) (const JsLimitState *state, void *arg);

extern void js_limit_define(const JsLimitDefinition *definition);
extern bool js_limit_drop(const JsLimitDefinition *definition);
extern void js_limits_visit(JsLimitVisitor visit, void *arg);
extern void js_limits_refresh_owners(void);
extern bool js_limits_adopt(JsOwnerFilter may_adopt);
extern bool js_limit_state_write(const JsLimitState *state);
extern bool js_limit_state_delete(const JsLimitState *state);
extern void js_limit_states_visit(JsLimitStateVisitor visit, void *arg);

/* the rings of history (store_history.c) */
#define JS_RINGS 2
#define JS_SEGMENTS 8			/* per ring */
#define JS_KEPT 200				/* the segment of what outlives its own */

typedef struct JsRing
{
	int			segment;		/* the one that is written to */
	TimestampTz started_at;
} JsRing;

extern void js_rings_read(JsRing *rings);
extern int	js_ring_next(int ring, const JsRing *state);
extern int64 js_history_keep_some(int segment, int64 from);
extern int64 js_history_keep_children(int segment, int64 from);
extern int64 js_history_release_some(int64 from);
extern bool js_history_hold(int64 run_id);
extern bool js_history_stays(int64 run_id);
extern bool js_history_keeps_run(int64 run_id);
extern bool js_history_keeps_job(int64 job_id);
extern void js_ring_advance(int ring, TimestampTz now, JsRing *state);

#endif							/* JS_STORE_H */
