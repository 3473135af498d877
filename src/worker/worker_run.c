/*-------------------------------------------------------------------------
 *
 * worker_run.c
 *		One run: its transaction, its end, its record.
 *
 * These are parts B and C of what worker.c describes.
 *
 * If another attempt is to follow, the run stays in the queue (retry.c), and
 * the record is one of the attempt.
 *
 * So effects and record are one commit.  That is so even if the owner has made
 * the transaction read only, because that applies to statements and not to us.
 * If the command committed in between (autocommit, procedures), the record is
 * part of its last transaction.  After the success of a command that must
 * commit at once (such as CREATE DATABASE), transaction C records it.
 *
 * A step may have to look before it starts (step_look.c).  That is the first thing in
 * B, and may be all that is done: then the record is that the run was skipped, or that
 * its request can be sent.
 *
 * THE POINT OF NO RETURN
 *
 * After js_seat_close() nobody can cancel the run through us, so a run that was
 * cancelled never also succeeds.  (A pg_cancel_backend() before the commit
 * rolls back effects and record, and the cancel is recorded.)
 *
 * CANCELS
 *
 * A cancel is meant for user code.  While the worker does its own work for a
 * run (A, C, resetting the session) cancels are held off; a terminate is not.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/sqlstate.h"
#include "compat.h"
#include "process/process.h"
#include "process/shutdown.h"
#include "run/capture.h"
#include "run/children.h"
#include "run/context.h"
#include "run/execsql.h"
#include "run/finish.h"
#include "run/item_runs.h"
#include "run/keep.h"
#include "run/procedure.h"
#include "run/retry.h"
#include "run/step_job.h"
#include "run/step_runs.h"
#include "run/undo_runs.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "store/table.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

/* What lives until the mail at hand is done with. */
MemoryContext js_run_context;

/*
 * The extension may have been dropped and created again: its new tables have
 * runs with the same ids, which are not ours.
 */
void
js_worker_check_tables(void)
{
	if (js_table_oid("run") != js_my_seat->run_table)
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("terminating jobsched worker because the extension has been dropped")));
}

/* ------------------------------------------------------------------------
 * B: the run
 * ------------------------------------------------------------------------
 */

/* Whether the run goes on, once the outcome of this attempt is known. */
void
js_worker_decide(JsWork *work)
{
	int64		delay;
	Jsonb	   *state;
	const char *reason;

	js_context_decide();
	if (work->outcome.only_looked)
	{
		work->goes_on = work->look == JS_LOOK_READY;
		js_step_ready(&work->run, work->found, &work->next);
	}
	else if (work->outcome.status != JS_SUCCEEDED)
		work->goes_on = js_retry_plan(work->job, &work->run, &work->outcome, &work->next);
	else if ((work->goes_on = js_context_snoozes(&delay, &state, &reason)))
	{
		work->next = work->run;
		work->next.state = state;
		js_retry_wait(&work->next, reason, work->outcome.finished_at + delay);
	}
	else
		work->goes_on = js_children_plan(&work->run, &work->outcome, &work->next);
}

JsEnding
js_worker_ending(JsWork *work)
{
	JsEnding	ending = {0};

	ending.run = &work->run;
	ending.job = work->job;
	ending.outcome = &work->outcome;
	ending.next = work->goes_on ? &work->next : NULL;
	ending.lines = work->lines;
	ending.nlines = work->nlines;
	ending.leaves_nothing = work->left_nothing = js_keep_nothing(&ending, work->mail.may_leave_nothing);
	return ending;
}

static void
record(JsWork *work)
{
	MemoryContext outer = MemoryContextSwitchTo(js_run_context);
	JsEnding	ending;

	js_worker_check_tables();
	work->nlines = js_capture_lines(&work->lines);
	ending = js_worker_ending(work);
	js_run_finish(&ending, 1);
	MemoryContextSwitchTo(outer);
}

static void
record_separately(JsWork *work)
{
	js_process_begin_own();
	record(work);
	js_process_commit_own();
}

/*
 * The last of the user's code, while it can still be cancelled.  Then the
 * transaction must be at the level that it was at when his code began: with a
 * subtransaction that a function has left open, what we believe to be a commit
 * would be none.
 */
void
js_worker_finish_user_code(int level)
{
	js_fire_deferred();
	if (GetCurrentTransactionNestLevel() != level)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("a function has left the transaction at level %d, not %d",
						GetCurrentTransactionNestLevel(), level),
				 errhint("A function that begins a subtransaction has to end it.")));
}

static void
refuse_cancelled(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("canceling statement due to user request")));
}

/*
 * The point of no return is reached by a run, or with 0 by all current ones;
 * or it was cancelled before.
 */
void
js_worker_close(int64 run_id)
{
	CHECK_FOR_INTERRUPTS();
	if (!js_seat_close(run_id))
		refuse_cancelled();
}

/*
 * A cancel before the commit takes back effects and record alike, and is
 * recorded then; user code that waits for the commit (a deferred trigger can
 * defer another) can still be cancelled.
 */
static void
commit_with_record(JsWork *work)
{
	bool		apart = (MyXactFlags & XACT_FLAGS_NEEDIMMEDIATECOMMIT) != 0;

	JS_INJECTION_POINT("jobsched-run-before-close");
	/* Before: the owner's transaction may have to wait for a snapshot. */
	if (!apart)
		PushActiveSnapshot(GetTransactionSnapshot());
	js_worker_close(work->run.run_id);
	work->outcome.finished_at = js_clock_now();
	js_worker_decide(work);
	if (!apart)
	{
		record(work);
		PopActiveSnapshot();
	}
	JS_INJECTION_POINT("jobsched-run-recorded");
	CommitTransactionCommand();
	HOLD_CANCEL_INTERRUPTS();
	JS_INJECTION_POINT("jobsched-run-committed");
	if (apart)
		record_separately(work);
}

/* A procedure leaves another transaction behind than that it begins in. */
static Jsonb *
run_handler(const JsWork *work)
{
	const char *handler = work->job->handler;

	if (js_handler_is_procedure(handler))
	{
		js_procedure_end_wait(js_run_context);
		return js_procedure_run(handler, js_run_context);
	}
	return js_handler_run(handler, work->run.args, js_run_context);
}

/* What the run is for; returns its result. */
static Jsonb *
perform(JsWork *work)
{
	const JsJob *job = work->job;

	if (work->run.handler != NULL)
		return js_handler_run(work->run.handler, work->run.args, js_run_context);
	if (js_step_begins_undo(job))
		return js_undo_runs_queue(job, &work->run, js_run_context);
	if (js_run_maps(job, &work->run) && js_step_undoes(job))
		return js_undo_items_queue(job, &work->run, js_run_context);
	if (job->step_job != NULL && !job->has_items)
	{
		js_step_job_queue(job, &work->run);
		return NULL;
	}
	if (js_run_maps(job, &work->run))
		return js_item_runs_queue(job, &work->run, work->found, js_run_context);
	if (job->handler != NULL)
		return run_handler(work);
	if (job->steps == NULL)
		return js_command_run(job->command, job->mode, js_run_context, &work->outcome.command_tag);
	js_step_runs_queue(job, &work->run);
	return NULL;
}

/* Whether it is an element of a step, which has looked for it. */
static bool
has_been_looked_for(const JsWork *work)
{
	return work->run.source == JS_SOURCE_ITEM && !js_step_makes_ready(work->job, &work->run);
}

/* A step may have to look before it starts. */
static void
look(JsWork *work)
{
	work->look = JS_LOOK_START;
	if (!work->job->step_looks || work->run.handler != NULL || has_been_looked_for(work))
		return;
	work->look = js_step_look(work->job, &work->run, js_run_context, &work->found);
}

static void
execute(JsWork *work)
{
	RESUME_CANCEL_INTERRUPTS();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	js_seat_begin(work->run.run_id);
	JS_INJECTION_POINT("jobsched-run-begins");
	if (js_seat_is_cancelled(work->run.run_id) != JS_CANCEL_NONE)
		refuse_cancelled();
	look(work);
	if (work->look == JS_LOOK_START)
		work->outcome.result = perform(work);
	js_worker_finish_user_code(1);
	PortalHashTableDeleteAll();
	if (work->look == JS_LOOK_SKIP)
		work->outcome.reason = "condition";
	work->outcome.status = work->look == JS_LOOK_SKIP ? JS_SKIPPED : JS_SUCCEEDED;
	work->outcome.only_looked = work->look != JS_LOOK_START;
	commit_with_record(work);
}

/* ------------------------------------------------------------------------
 * C: a failure
 * ------------------------------------------------------------------------
 */

/* The history need not say in each row of which run it is. */
static char *
context_without_ours(const char *context, int64 run_id)
{
	const char *ours;

	if (context == NULL)
		return NULL;
	ours = strstr(context, psprintf("run " INT64_FORMAT " (attempt", run_id));
	if (ours == context)
		return NULL;
	return ours ? pnstrdup(context, ours - context - 1) : pstrdup(context);
}

/* statement_timeout ends a statement with the same code as a cancel. */
static bool
statement_timed_out(void)
{
	return StatementTimeout > 0 &&
		GetCurrentTimestamp() >= get_timeout_finish_time(STATEMENT_TIMEOUT);
}

/* What a run with a timeout was told. */
static char *
timeout_message(const JsWork *work)
{
	return psprintf("canceling run due to its timeout of " INT64_FORMAT " ms",
					work->mail.timeout / 1000);
}

static JsStatus
status_from_error(const ErrorData *error, int64 run_id, const char **reason)
{
	JsCancel	cancel = js_seat_is_cancelled(run_id);

	if (cancel != JS_CANCEL_NONE)
		return js_cancel_outcome(cancel, reason);
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && !statement_timed_out())
	{
		*reason = "backend_cancelled";
		return JS_CANCELLED;
	}
	*reason = error->sqlerrcode == JS_ERRCODE_DISCARDED ? "discarded" : "error";
	return JS_FAILED;
}

/*
 * An error that is no end of the run.  reset_stuck() wants the end of the worker.
 * And in the grace of a shutdown a run may have failed for lack of what has
 * been shut down already, its parallel workers for instance: if it can be
 * repeated it is cut off instead, and done again after the start.
 */
static void
leave_if_no_end(const JsRun *run)
{
	JsCancel	cancel = js_seat_is_cancelled(run->run_id);

	if (cancel == JS_CANCEL_RESET)
		ereport(FATAL,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("terminating jobsched worker due to reset_stuck()")));
	if (cancel == JS_CANCEL_NONE && js_shutdown_begun() && run->repeatable)
		ereport(FATAL,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("terminating jobsched worker because its run has failed while the server is shutting down")));
}

/* What to do about a COMMIT where there can be none; else what the error says. */
static const char *
hint_for(const ErrorData *error, const JsWork *work)
{
	if (error->sqlerrcode != ERRCODE_INVALID_TRANSACTION_TERMINATION || error->hint != NULL)
		return error->hint;
	if (js_run_maps(work->job, &work->run))
		return "for_each is one transaction, with the queueing of its elements.";
	if (work->run.handler != NULL || work->job->handler != NULL)
		return "A handler is one transaction. A procedure that is called by a command, such as command => 'CALL schema.procedure(jobsched.args())', may COMMIT.";
	if (work->job->transactional)
		return "This command is one transaction. With mode => 'autocommit' each of its statements is one, and a procedure may COMMIT.";
	return NULL;
}

/*
 * What a callback fails with may quote a response, which the log is not for:
 * its owner finds that in the run's record.
 */
static void
report_callback(const JsRun *run, int sqlerrcode)
{
	ereport(LOG,
			(errcode(sqlerrcode),
			 errmsg("callback \"%s\" failed with SQLSTATE %s", run->handler,
					unpack_sql_state(sqlerrcode))));
}

/* Takes down the error that is being handled, and reports it to the log. */
void
js_worker_outcome_from_error(JsWork *work)
{
	MemoryContext outer = MemoryContextSwitchTo(js_run_context);
	ErrorData  *error = CopyErrorData();
	JsOutcome  *outcome = &work->outcome;

	leave_if_no_end(&work->run);
	outcome->status = status_from_error(error, work->run.run_id, &outcome->reason);
	outcome->result = NULL;
	outcome->command_tag = NULL;
	outcome->only_looked = false;
	outcome->finished_at = js_clock_now();
	outcome->sqlstate = js_sqlstate(error->sqlerrcode);
	outcome->error = outcome->status == JS_TIMED_OUT ? timeout_message(work) :
		js_capture_text(error->message);
	outcome->error_detail = js_capture_text(error->detail);
	outcome->error_hint = js_capture_text(hint_for(error, work));
	outcome->error_context = js_capture_text(context_without_ours(error->context, work->run.run_id));
	MemoryContextSwitchTo(outer);
	js_capture_stop();
	if (work->run.handler == NULL)
		EmitErrorReport();
	else
		report_callback(&work->run, error->sqlerrcode);
}

/* Leaves the failed transaction behind. */
void
js_worker_abandon(void)
{
	HOLD_INTERRUPTS();			/* errfinish() has reset the count */
	js_capture_stop();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	AbortOutOfAnyTransaction();
	PortalErrorCleanup();		/* of loops that have committed */
	FlushErrorState();
	MemoryContextSwitchTo(js_run_context);
	HOLD_CANCEL_INTERRUPTS();
	RESUME_INTERRUPTS();
}

/* ------------------------------------------------------------------------
 * One run
 * ------------------------------------------------------------------------
 */

/* What the context functions and pg_stat_activity show from now on. */
void
js_worker_enter(const JsWork *work)
{
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), "%s: %s", JS_EXTENSION, work->job->name);
	SetConfigOption("application_name", name, PGC_USERSET, PGC_S_SESSION);
	if (work->run.traceparent != NULL)
		SetConfigOption("jobsched.traceparent", work->run.traceparent, PGC_USERSET, PGC_S_SESSION);
	js_context_enter(&work->run, work->job, js_run_context);
	js_capture_start(work->run.handler != NULL);
}

void
js_worker_leave(void)
{
	js_capture_stop();
	js_context_leave();
	debug_query_string = NULL;
}

void
js_worker_run_alone(JsWork *work)
{
	volatile bool failed = false;

	js_worker_enter(work);
	work->outcome.started_at = js_clock_now();
	PG_TRY();
	{
		execute(work);
	}
	PG_CATCH();
	{
		js_worker_outcome_from_error(work);
		js_worker_abandon();
		failed = true;
	}
	PG_END_TRY();
	js_capture_stop();
	if (failed)
	{
		JS_INJECTION_POINT("jobsched-run-failed");
		js_worker_decide(work);
		record_separately(work);
	}
	js_worker_leave();
}
