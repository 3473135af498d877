/*-------------------------------------------------------------------------
 *
 * sched_end.c
 *		Runs that end without a worker: cancelled, lost, refused, skipped; and
 *		those that have waited for their children.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/sqlstate.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "compat.h"
#include "miscadmin.h"
#include "run/callback.h"
#include "run/capture.h"
#include "run/finish.h"
#include "run/retry.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "storage/procarray.h"
#include "store/bounds.h"
#include "store/table.h"
#include "utils/syscache.h"

/* As much of what they carry is moved to history in one step, and one more. */
#define MAX_ENDED_BYTES (16 * 1024 * 1024)

static Size ended_bytes = 0;

/* A step begins. */
void
sched_begin_ends(void)
{
	ended_bytes = 0;
}

/* Whether one more may be ended in this step. */
bool
sched_may_end_more(void)
{
	return ended_bytes < MAX_ENDED_BYTES;
}

/*
 * The row of a run that ends or goes on here.  What is larger than it may be,
 * for somebody has written it past the functions, is left behind.
 */
static bool
read_ending_run(int64 run_id, JsRun *row)
{
	if (!js_run_read_head(run_id, row))
		return false;
	if (js_run_is_too_large(row))
		return true;
	ended_bytes += row->size + row->state_size + row->result_size;
	return js_run_read(run_id, row);
}

/*
 * Whether nobody else holds the row of a run.  If somebody does, perhaps a
 * prepared transaction, whatever is to be ended waits a while.
 */
bool
sched_row_is_free(const RunEntry *run)
{
	if (!js_run_is_busy(run->run_id))
		return true;
	sched.busy_until = GetCurrentTimestamp() + USECS_PER_SEC;
	return false;
}

static JsDone
done_of(int64 run_id, const JsOutcome *outcome)
{
	JsDone		done = {0};

	done.run_id = run_id;
	done.status = outcome->status;
	done.started_at = outcome->started_at;
	done.finished_at = outcome->finished_at;
	return done;
}

static void
note_end(RunEntry *run, const JsOutcome *outcome)
{
	JsDone		done = done_of(run->run_id, outcome);

	done.waits = run->state == RUN_PARENT;
	sched_run_ended(run, run->job, &done);
}

/* What decides how a run goes on, and who is to be told; mostly that is in the head. */
static bool
read_ending_job(int64 job_id, const JsRun *row, JsJob *job)
{
	if (!js_job_read_head(job_id, job))
		return false;
	if ((!job->sends_request && !row->sends_request && !job->tells) || js_job_is_too_large(job))
		return true;
	ended_bytes += job->size;
	return js_job_read(job_id, job);
}

/*
 * Records the end of an attempt, mostly of the run too; job as in JsEnding.
 * remark: what its log is to say besides; NULL: nothing.
 */
static void
end_attempt(RunEntry *run, const JsRun *row, const JsJob *job, const JsOutcome *outcome,
			const char *remark)
{
	JsLogLine	line = {outcome->finished_at, "warning", remark};
	JsEnding	ending = {.run = row,.job = job,.outcome = outcome,.lines = &line};

	ending.nlines = remark != NULL ? 1 : 0;
	ending.lines_before = JS_MOST_LINES;
	js_run_finish(&ending, 1);
	CommandCounterIncrement();	/* whoever looks for the run in this step
								 * finds none */
	note_end(run, outcome);
}

/*
 * What a run that waits for its children has left; of a batch and of a workflow
 * what these have.
 */
static void
take_own_outcome(const RunEntry *run, const JsRun *row, JsOutcome *outcome, const char **remark)
{
	Size		effort = 0;

	outcome->started_at = row->claimed_at;
	outcome->worker_pid = row->worker_pid;
	outcome->result = row->result;
	if (run->batch != NULL)
		outcome->result = sched_batch_result(run, row->owner, outcome->status, &effort);
	else if (row->workflow == JS_WORKFLOW_STEPS &&
			 (outcome->status == JS_SUCCEEDED || outcome->status == JS_FAILED))
		outcome->result = sched_result_of_steps(row, remark, &effort);
	ended_bytes += effort;
}

/* What a run has left is its owner's, even if its job has another one by now. */
static bool
may_be_told(const JsRun *row, const JsJob *job)
{
	return row->status != JS_RUN_WAITING || row->owner == job->owner;
}

/* Ends a run that no worker has begun, or that waits for its children. */
void
sched_end_run(RunEntry *run, JsStatus status, const char *reason,
			  const char *sqlstate, const char *error)
{
	JsOutcome	outcome = {0};
	const char *remark = NULL;
	bool		tells;
	JsRun		row;
	JsJob		job;

	outcome.status = status;
	outcome.reason = reason;
	outcome.started_at = DT_NOBEGIN;
	outcome.finished_at = js_clock_now();
	outcome.sqlstate = sqlstate;
	outcome.error = error;
	if (!read_ending_run(run->run_id, &row))
	{
		sched_run_forget(run);
		return;
	}
	if (row.status == JS_RUN_WAITING)
		take_own_outcome(run, &row, &outcome, &remark);
	tells = js_callback_tells(&outcome) && !run->job->dropped &&
		read_ending_job(run->job->job_id, &row, &job) && may_be_told(&row, &job);
	end_attempt(run, &row, tells ? &job : NULL, &outcome, remark);
}

/* The same of one that has left no row, which has succeeded (run/keep.c). */
static void
note_success(RunEntry *run)
{
	JsOutcome	outcome = {0};
	JsDone		done;

	outcome.status = JS_SUCCEEDED;
	outcome.started_at = DT_NOBEGIN;
	outcome.finished_at = js_clock_now();
	done = done_of(run->run_id, &outcome);
	done.left_nothing = true;
	sched_run_ended(run, run->job, &done);
}

/* The outcome of a run whose worker recorded it, and died before telling us. */
static void
note_ended(RunEntry *run)
{
	JsRun		row;
	JsOutcome	outcome;
	Oid			owner;

	if (js_history_find(run->run_id, &row, &outcome))
		note_end(run, &outcome);
	else if (js_left_nothing(js_table_oid("run"), run->run_id, &owner))
		note_success(run);
	else
		sched_run_forget(run);
}

/* The attempt has ended, and the run waits for another one. */
static void
try_again(RunEntry *run, const JsRun *row, const JsOutcome *outcome, const JsRun *next)
{
	JsEnding	ending = {.run = row,.outcome = outcome,.next = next};

	js_run_finish(&ending, 1);
	CommandCounterIncrement();
	run->lost = next->lost;
	sched_run_retry(run, next->run_at);
}

/*
 * The run as it goes back to the queue: at once, unless the server has crashed
 * and it was lost before.  It may be the cause, and others want to get on.
 */
static JsRun
queued_again(const JsRun *row, const JsJob *job, const SchedLoss *loss)
{
	TimestampTz now = js_clock_now();
	JsRun		next = *row;

	next.lost++;
	if (loss->by_crash && next.lost > 1)
		js_retry_wait(&next, loss->reason, now + js_retry_delay(job, row, next.lost - 1));
	else
	{
		/* Told to go, perhaps because the server shuts down. */
		bool		told = loss->sqlstate != NULL && strncmp(loss->sqlstate, "57P", 3) == 0;

		js_retry_wait(&next, loss->reason, told ? now + USECS_PER_SEC : now);
		next.status = JS_RUN_QUEUED;
	}
	return next;
}

/* The owner's transaction_timeout ends a session, not just a statement. */
static bool
is_own_limit(const SchedLoss *loss)
{
	return js_sqlstate_is(loss->sqlstate, ERRCODE_TRANSACTION_TIMEOUT);
}

static JsOutcome
outcome_of_loss(const JsRun *row, const SchedLoss *loss)
{
	JsOutcome	outcome = {0};

	outcome.status = JS_LOST;
	outcome.reason = loss->reason;
	outcome.error = loss->error;
	if (loss->cancel != JS_CANCEL_NONE && loss->cancel != JS_CANCEL_RESET)
	{
		outcome.status = js_cancel_outcome(loss->cancel, &outcome.reason);
		outcome.error = "the run did not stop when it was cancelled, and its worker was terminated";
	}
	else if (is_own_limit(loss))
	{
		outcome.status = JS_FAILED;
		outcome.reason = "error";
	}
	outcome.sqlstate = loss->sqlstate;
	outcome.worker_pid = loss->worker_pid;
	outcome.started_at = row->claimed_at;
	outcome.finished_at = js_clock_now();
	return outcome;
}

/*
 * A run's worker or server is gone.  If it was to end anyway, it has.  If the
 * run was one transaction it has left no effect, and goes back to the queue;
 * up to a point.  Else its job's policy says whether it is tried again.  If
 * its row is gone too, or says that it waits for another attempt or for its
 * children, it had come to its end, and only the news of that was lost.
 *
 * The row is free (sched_row_is_free).
 */
void
sched_lose_run(RunEntry *run, const SchedLoss *loss)
{
	JsOutcome	outcome;
	JsRun		row;
	JsRun		next;
	JsJob		job;

	if (!read_ending_run(run->run_id, &row))
	{
		note_ended(run);
		return;
	}
	if (row.status == JS_RUN_WAITING)
	{
		sched_run_await_children(run, sched_deadline_from(&row));
		return;
	}
	if (row.status != JS_RUN_RUNNING)
	{
		run->looks = sched_row_looks(&row, run->job);
		run->attempt = row.attempt;
		if (js_run_awaits(&row))
			sched_event_go_on(run, row.depth);
		sched_run_retry(run, row.run_at);
		return;
	}
	/* What it was about to do. */
	js_left_nothing_withdraw(js_table_oid("run"), run->run_id, row.owner);
	outcome = outcome_of_loss(&row, loss);
	if (run->job->dropped || !read_ending_job(run->job->job_id, &row, &job))
		end_attempt(run, &row, NULL, &outcome, NULL);
	else if (outcome.status == JS_LOST && row.repeatable)
	{
		if (run->lost >= JS_MAX_LOST)
			end_attempt(run, &row, &job, &outcome, NULL);
		else
		{
			next = queued_again(&row, &job, loss);
			try_again(run, &row, &outcome, &next);
		}
	}
	else if (js_retry_plan(&job, &row, &outcome, &next))
		try_again(run, &row, &outcome, &next);
	else
		end_attempt(run, &row, &job, &outcome, NULL);
}

static void
clear_skips(JsJobState *state, const void *arg)
{
	state->skipped = 0;
	state->skipped_first = state->skipped_last = DT_NOBEGIN;
	state->skipped_reason = NULL;
}

/* One row of history for slots that have had no run, from first to last. */
static void
record_slots(JobEntry *job, JsStatus status, const char *reason,
			 TimestampTz first, TimestampTz last, int32 count, TimestampTz now)
{
	JsRun		run = {0};
	JsOutcome	outcome = {0};
	JsDone		done;
	JsJob		head;

	run.run_id = js_run_next_id();
	run.job_id = job->job_id;
	run.owner = job->owner;
	run.source = JS_SOURCE_SCHEDULE;
	run.missed_count = count;
	if (job->has_steps && js_job_read_head(job->job_id, &head) && head.has_steps)
		run.workflow = JS_WORKFLOW_STEPS;
	run.run_at = run.queued_at = first;
	run.scheduled_for = last;
	outcome.status = status;
	outcome.reason = reason;
	outcome.started_at = DT_NOBEGIN;
	outcome.finished_at = now;
	js_history_insert(&run, &outcome);
	done = done_of(run.run_id, &outcome);
	done.slots = Max(count, 1);
	sched_run_ended(NULL, job, &done);
}

/* Slots that the misfire policy lets go by. */
void
sched_record_missed(JobEntry *job, TimestampTz first, TimestampTz last,
					int32 count, TimestampTz now)
{
	record_slots(job, JS_MISSED, "misfire", first, last, count, now);
}

/*
 * Writes the one row that stands for the slots passed over while runs of the
 * job were live.
 */
void
sched_report_skips(JobEntry *job, TimestampTz now)
{
	int32		skipped = job->skipped;

	if (!js_job_state_change(job->job_id, clear_skips, NULL))
		return;					/* the next time */
	job->skipped = 0;
	record_slots(job, JS_SKIPPED,
				 job->queue_full ? SCHED_REASON_QUEUE_FULL : SCHED_REASON_OVERLAP,
				 job->skipped_first, job->skipped_last, skipped, now);
}

/* The server asks this of who logs in, but not of its background workers. */
static Form_pg_database
database_row(HeapTuple *tuple)
{
	*tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	if (!HeapTupleIsValid(*tuple))
		elog(ERROR, "cache lookup failed for database %u", MyDatabaseId);
	return (Form_pg_database) GETSTRUCT(*tuple);
}

static bool
is_used_up(int limit, int sessions)
{
	return limit >= 0 && sessions >= limit;
}

/*
 * Whether CONNECTION LIMIT of a role or of the database lets no worker be
 * started.  Sessions of clients count, and workers in all databases; with
 * at_all only whether it ever will.
 */
static bool
limit_reached(Form_pg_authid role, bool at_all)
{
	HeapTuple	tuple;
	int			limit = database_row(&tuple)->datconnlimit;

	ReleaseSysCache(tuple);
	if (role->rolsuper)
		return false;
	if (at_all)
		return role->rolconnlimit == 0 || limit == 0;
	return (role->rolconnlimit >= 0 &&
			is_used_up(role->rolconnlimit, CountUserBackends(role->oid) + js_seat_sessions(InvalidOid, role->oid))) ||
		(limit >= 0 &&
		 is_used_up(limit, CountDBConnections(MyDatabaseId) + js_seat_sessions(MyDatabaseId, InvalidOid)));
}

/* Whether one more session of the owner would be too many at the moment. */
bool
sched_owner_is_at_limit(const OwnerEntry *owner)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner->owner));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = limit_reached((Form_pg_authid) GETSTRUCT(tuple), false);
		ReleaseSysCache(tuple);
	}
	return result;
}

static bool
database_allows_connections(void)
{
	HeapTuple	tuple;
	bool		result = database_row(&tuple)->datallowconn;

	ReleaseSysCache(tuple);
	return result;
}

/*
 * Whether no session can be opened as a role, and why.  The connection would
 * be refused as well, but only after a process has been started for it.  (A
 * role that cannot log in can make requests.)
 */
bool
sched_owner_problem(const OwnerEntry *owner, const char **sqlstate, char **message)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner->owner));
	Form_pg_authid role;

	*message = NULL;
	if (!HeapTupleIsValid(tuple))
	{
		*sqlstate = js_sqlstate(ERRCODE_UNDEFINED_OBJECT);
		*message = OidIsValid(owner->owner) ?
			psprintf("the owner, role with OID %u, does not exist", owner->owner) :
			pstrdup("the owner has been dropped");
		return true;
	}
	role = (Form_pg_authid) GETSTRUCT(tuple);
	if (!owner->http && !role->rolcanlogin)
	{
		*sqlstate = js_sqlstate(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION);
		*message = psprintf("role \"%s\" is not permitted to log in", NameStr(role->rolname));
	}
	else if (js_database_aclcheck(MyDatabaseId, owner->owner, ACL_CONNECT) != ACLCHECK_OK)
	{
		*sqlstate = js_sqlstate(ERRCODE_INSUFFICIENT_PRIVILEGE);
		*message = psprintf("role \"%s\" has no CONNECT privilege on the database", NameStr(role->rolname));
	}
	else if (!database_allows_connections())
	{
		*sqlstate = js_sqlstate(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE);
		*message = pstrdup("the database does not accept connections");
	}
	else if (!owner->http && limit_reached(role, true))
	{
		*sqlstate = js_sqlstate(ERRCODE_TOO_MANY_CONNECTIONS);
		*message = psprintf("CONNECTION LIMIT 0 lets role \"%s\" have no session", NameStr(role->rolname));
	}
	ReleaseSysCache(tuple);
	return *message != NULL;
}
