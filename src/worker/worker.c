/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The process that executes runs, one after the other, as their owner.
 *
 * DESIGN
 *
 * A worker is connected as (database, owner): its session is authenticated as
 * the owner, so there is nothing above it to come back to by RESET ROLE.  It
 * takes runs from its mailbox, and for each one:
 *
 *	A	a short transaction reads the run and its job
 *	B	the handler's SQL, as the owner; what would be left to the commit of
 *		user code (deferred triggers, holdable cursors) is done; then the
 *		run's row is deleted and its record inserted; commit.
 *	C	if B fails: it is rolled back, and another transaction records that
 *
 * An attempt that is to be followed by another leaves the run in the queue
 * (retry.c); its record is one of the attempt.
 *
 * So effects and record are one commit, also if the owner has made the
 * transaction read only, which binds statements and not us.  If the command
 * committed in between (autocommit, procedures), the record goes with its
 * last transaction.  Commands that demand to be committed at once (CREATE
 * DATABASE and its like) get transaction C after a success.
 *
 * THE POINT OF NO RETURN
 *
 * From js_seat_close() on nobody can cancel the run through us, so a run that
 * was cancelled never also succeeds.  (A pg_cancel_backend() that comes before
 * the commit takes back effects and record, and the cancel is recorded.)
 *
 * CANCELS
 *
 * A cancel is for user code.  While the worker does its own work for a run (A,
 * C, putting the session in order) cancels are held off; a terminate is not.
 *
 * Everything that is read or written of ours is accessed by row (table.c):
 * no statement, no change of user, nothing that user code could influence.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "compat.h"
#include "guc.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "process/process.h"
#include "process/shutdown.h"
#include "run/capture.h"
#include "run/context.h"
#include "run/execsql.h"
#include "run/finish.h"
#include "run/http_job.h"
#include "run/retry.h"
#include "run/session.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "storage/ipc.h"
#include "store/store.h"
#include "store/table.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

PGDLLEXPORT void jobsched_worker_main(Datum arg);

/* How long a new worker waits for its first run, at least. */
#define FIRST_MAIL_MS 5000

/* Jobs whose definition is kept. */
#define MAX_CACHED_JOBS 64

typedef struct CachedJob
{
	JsJob		job;			/* job_id 0: unused */
	MemoryContext context;
	uint64		used_in;		/* the batch that last used it */
} CachedJob;

static CachedJob cache[MAX_CACHED_JOBS];
static uint64 batch_number = 0;

/* What lives until the mail at hand is done with. */
MemoryContext js_run_context;

/* ------------------------------------------------------------------------
 * A: what to run
 * ------------------------------------------------------------------------
 */

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

static const JsJob *
read_job(int64 job_id)
{
	JsJob	   *job = palloc(sizeof(JsJob));

	return js_job_read(job_id, job) ? job : NULL;
}

/*
 * The definition of the job, from the cache if that is up to date.  An entry
 * that another job of the same batch uses stays as it is.
 */
static const JsJob *
get_job(const JsMail *mail)
{
	CachedJob  *cached = &cache[(uint64) mail->job_id % MAX_CACHED_JOBS];
	bool		fresh = cached->job.job_id == mail->job_id && cached->job.revision == mail->revision;
	MemoryContext outer;
	bool		found;

	if (!fresh && cached->used_in == batch_number)
		return read_job(mail->job_id);
	cached->used_in = batch_number;
	if (fresh)
		return &cached->job;
	cached->job.job_id = 0;
	if (cached->context == NULL)
		cached->context = AllocSetContextCreate(TopMemoryContext, "jobsched cached job",
												ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cached->context);
	outer = MemoryContextSwitchTo(cached->context);
	found = js_job_read(mail->job_id, &cached->job);
	MemoryContextSwitchTo(outer);
	if (!found)
		cached->job.job_id = 0;
	return found ? &cached->job : NULL;
}

/*
 * Reads a run and its job.  There is no job if the run is not ours to execute
 * any more: since the claim the job has got another owner, or a command that
 * may leave effects behind where the claim promised none; or somebody who may
 * has changed the rows.
 */
static void
read_work(JsWork *work)
{
	const JsJob *job = get_job(&work->mail);
	JsRun	   *run = &work->run;
	JsHttpPlace place;

	if (job == NULL || job->owner != GetAuthenticatedUserId() ||
		!js_run_read(work->mail.run_id, run) ||
		run->status != JS_RUN_RUNNING || run->attempt != work->mail.attempt ||
		run->owner != job->owner || js_http_definition(job, run, &place) != NULL ||
		(run->handler == NULL && run->repeatable && !job->transactional))
	{
		ereport(LOG,
				(errmsg("run " INT64_FORMAT " is not this worker's to execute; it goes back to the queue",
						work->mail.run_id)));
		return;
	}
	if (run->handler == NULL)
		run->args = js_run_args(job->args, run->args);
	work->job = job;
}

static JsWork *
read_works(const JsMail *mail, int count)
{
	MemoryContext outer = MemoryContextSwitchTo(js_run_context);
	JsWork	   *works = palloc0(count * sizeof(JsWork));

	batch_number++;
	js_process_begin_own();
	js_worker_check_tables();
	for (int i = 0; i < count; i++)
	{
		MemoryContextSwitchTo(js_run_context);
		works[i].mail = mail[i];
		works[i].outcome.worker_pid = MyProcPid;
		works[i].outcome.started_at = works[i].outcome.finished_at = js_clock_now();
		read_work(&works[i]);
	}
	js_process_commit_own();
	MemoryContextSwitchTo(outer);
	return works;
}

/* ------------------------------------------------------------------------
 * B: the run
 * ------------------------------------------------------------------------
 */

/* Whether the run goes on, once the outcome of this attempt is known. */
void
js_worker_decide(JsWork *work)
{
	if (work->outcome.status != JS_SUCCEEDED)
		work->goes_on = js_retry_plan(work->job, &work->run, &work->outcome, &work->next);
	else if ((work->goes_on = js_snooze_delay >= 0))
	{
		work->next = work->run;
		js_retry_wait(&work->next, "snoozed", work->outcome.finished_at + js_snooze_delay);
	}
}

JsEnding
js_worker_ending(const JsWork *work)
{
	JsEnding	ending = {0};

	ending.run = &work->run;
	ending.job = work->job;
	ending.outcome = &work->outcome;
	ending.next = work->goes_on ? &work->next : NULL;
	ending.lines = work->lines;
	ending.nlines = work->nlines;
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
	ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);

	immediate->deferred = false;
	AfterTriggerSetState(immediate);
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

static void
execute(JsWork *work)
{
	const JsJob *job = work->job;
	const char *handler = work->run.handler != NULL ? work->run.handler : job->handler;

	RESUME_CANCEL_INTERRUPTS();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	js_seat_begin(work->run.run_id);
	JS_INJECTION_POINT("jobsched-run-begins");
	if (js_seat_is_cancelled(work->run.run_id) != JS_CANCEL_NONE)
		refuse_cancelled();
	if (handler != NULL)
		work->outcome.result = js_handler_run(handler, work->run.args, js_run_context);
	else
		work->outcome.result = js_command_run(job->command, job->mode, js_run_context);
	js_worker_finish_user_code(1);
	PortalHashTableDeleteAll();
	work->outcome.status = JS_SUCCEEDED;
	commit_with_record(work);
}

/* ------------------------------------------------------------------------
 * C: a failure
 * ------------------------------------------------------------------------
 */

/* Says in the server's log which run a message belongs to. */
static void
run_error_context(void *arg)
{
	if (js_current_run != NULL)
		errcontext("run " INT64_FORMAT " (attempt %d) of job \"%s\"",
				   js_current_run->run_id, js_current_run->attempt, js_current_job->name);
}

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
	outcome->finished_at = js_clock_now();
	outcome->sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
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
	js_current_run = &work->run;
	js_snooze_delay = -1;
	js_current_job = work->job;
	js_capture_start(work->run.handler != NULL);
}

void
js_worker_leave(void)
{
	js_capture_stop();
	js_current_run = NULL;
	js_current_job = NULL;
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

static void
finish_works(const JsWork *works, int count)
{
	JsDone	   *done = palloc0(count * sizeof(JsDone));

	for (int i = 0; i < count; i++)
	{
		done[i].run_id = works[i].mail.run_id;
		done[i].job_id = works[i].mail.job_id;
		done[i].recorded = works[i].job != NULL;
		done[i].status = works[i].outcome.status;
		done[i].started_at = works[i].outcome.started_at;
		done[i].finished_at = works[i].outcome.finished_at;
		done[i].retry_at = works[i].goes_on ? works[i].next.run_at : 0;
	}
	js_seat_finish(done, count);
}

static void
run_mail(const JsMail *mail, int count)
{
	JsWork	   *works;

	HOLD_CANCEL_INTERRUPTS();
	works = read_works(mail, count);
	MemoryContextSwitchTo(js_run_context);
	if (count > 1)
		js_worker_run_shared(works, count);
	else if (works->job != NULL)
		js_worker_run_alone(works);
	js_session_reset();
	Assert(!IsTransactionState());
	MemoryContextSwitchTo(js_run_context);
	finish_works(works, count);
	pgstat_report_stat(false);
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();
	MemoryContextReset(js_run_context);
}

/* ------------------------------------------------------------------------
 * The process
 * ------------------------------------------------------------------------
 */

static void
empty_mailbox(void)
{
	JsMail		mail[JS_BATCH_SIZE];
	int			count;

	while (!js_shutdown_begun() && (count = js_seat_next(mail)) > 0)
	{
		js_shutdown_run_until(mail->timeout > 0 ? GetCurrentTimestamp() + mail->timeout : DT_NOEND);
		run_mail(mail, count);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Returns whether nothing has come for the time that a worker may idle.  A new
 * one stays until its scheduler has seen it.
 */
static bool
wait_for_mail(TimestampTz idle_since, bool is_new)
{
	static uint32 wait_event = 0;
	int			ms = is_new ? Max(js_guc_worker_idle_timeout, FIRST_MAIL_MS) : js_guc_worker_idle_timeout;
	TimestampTz until = TimestampTzPlusMilliseconds(idle_since, ms);

	/* It may have begun before the latch was last reset. */
	if (!js_shutdown_begun())
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until),
						 js_wait_event(&wait_event, "JobschedWorkerMain"));
	ResetLatch(MyLatch);
	QueryCancelPending = false; /* nothing to cancel */
	CHECK_FOR_INTERRUPTS();
	js_process_reload();
	return GetCurrentTimestamp() >= until;
}

static void
serve_mailbox(void)
{
	TimestampTz idle_since = GetCurrentTimestamp();
	bool		is_new = true;

	for (;;)
	{
		bool		idle_too_long;

		pgstat_report_activity(STATE_IDLE, NULL);
		pgstat_report_stat(true);
		set_ps_display("idle");
		idle_too_long = wait_for_mail(idle_since, is_new);
		if (js_shutdown_begun() || js_seat_leave_if_idle(idle_too_long))
			return;
		if (js_seat_has_mail())
		{
			empty_mailbox();
			SetLatch(MyLatch);	/* a run that waited has reset it */
			is_new = false;
			idle_since = GetCurrentTimestamp();
		}
	}
}

/*
 * Opens the owner's session.  What session_preload_libraries and
 * local_preload_libraries name for that role and database is part of it: the
 * server loads these for clients only, and a job must not get around them.  If
 * one cannot be loaded there is no session, and the error is why.
 */
static void
open_session(void)
{
	BackgroundWorkerInitializeConnectionByOid(js_my_seat->dboid, js_my_seat->owner, 0);
	StartTransactionCommand();
	process_session_preload_libraries();
	CommitTransactionCommand();
}

/* arg: the seat; bgw_extra: its generation. */
void
jobsched_worker_main(Datum arg)
{
	ErrorContextCallback callback = {NULL, run_error_context, NULL};
	uint32		generation;

	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	js_process_init();
	js_shutdown_watch();
	js_session_watch();
	js_seat_attach(DatumGetInt32(arg), generation);
	js_capture_watch();
	open_session();
	js_capture_open();
	error_context_stack = &callback;
	js_run_context = AllocSetContextCreate(TopMemoryContext, "jobsched run",
										   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(js_run_context);
	js_seat_ready();
	serve_mailbox();
	proc_exit(0);
}
