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
 * So effects and record are one commit.  If the command committed in between
 * (autocommit, procedures), the record goes with its last transaction.  Two
 * kinds of commands cannot have it there, and get transaction C after a
 * success: those that left their transaction read only, and those that
 * demand to be committed at once (CREATE DATABASE and its like).
 *
 * THE POINT OF NO RETURN
 *
 * Between js_slot_close() and the end of the commit no cancel is accepted, so
 * a run that was cancelled never also succeeds, and the record is never torn
 * out of the effects' transaction.  Interrupts are held meanwhile; nothing in
 * there waits for anything but the disk.
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
#include "capture.h"
#include "clock.h"
#include "commands/trigger.h"
#include "compat.h"
#include "context.h"
#include "execsql.h"
#include "guc.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "process.h"
#include "session.h"
#include "shmem.h"
#include "storage/ipc.h"
#include "store.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

PGDLLEXPORT void jobsched_worker_main(Datum arg);

/* Jobs whose definition is kept. */
#define MAX_CACHED_JOBS 64

typedef struct CachedJob
{
	JsJob		job;			/* job_id 0: unused */
	MemoryContext context;
} CachedJob;

static CachedJob cache[MAX_CACHED_JOBS];
static MemoryContext run_context;	/* what lives as long as one run */

/* ------------------------------------------------------------------------
 * Bookkeeping transactions
 * ------------------------------------------------------------------------
 */

/* Whatever the owner's defaults for transactions are, ours are these. */
static void
begin_bookkeeping(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactReadOnly = false;
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit_bookkeeping(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ------------------------------------------------------------------------
 * A: what to run
 * ------------------------------------------------------------------------
 */

/* The definition of the job, from the cache if that is up to date. */
static const JsJob *
get_job(const JsMail *mail)
{
	CachedJob  *cached = &cache[(uint64) mail->job_id % MAX_CACHED_JOBS];
	MemoryContext outer;
	bool		found;

	if (cached->job.job_id == mail->job_id && cached->job.revision == mail->revision)
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

static Jsonb *
merge_args(Jsonb *of_job, Jsonb *of_run)
{
	if (of_run == NULL)
		return of_job;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(of_job),
											  JsonbPGetDatum(of_run)));
}

/*
 * Reads the run and its job.  NULL if the run is not ours to execute any more:
 * the job has got another owner, or somebody who may has changed the rows.
 */
static const JsJob *
read_run(const JsMail *mail, JsRun *run)
{
	const JsJob *job;
	MemoryContext outer;

	begin_bookkeeping();
	outer = MemoryContextSwitchTo(run_context);
	job = get_job(mail);
	if (job == NULL || job->owner != js_my_slot->owner ||
		!js_run_read(mail->run_id, run) ||
		run->status != JS_RUN_RUNNING || run->attempt != mail->attempt ||
		run->owner != js_my_slot->owner)
		job = NULL;
	else
		run->args = merge_args(job->args, run->args);
	MemoryContextSwitchTo(outer);
	commit_bookkeeping();
	return job;
}

/* ------------------------------------------------------------------------
 * B: the run
 * ------------------------------------------------------------------------
 */

static void
record(const JsRun *run, const JsOutcome *outcome)
{
	JsLogLine  *lines;
	int			nlines = js_capture_lines(&lines);
	MemoryContext outer = MemoryContextSwitchTo(run_context);
	JsRun		kept = *run;

	if (kept.args != NULL && JB_ROOT_COUNT(kept.args) == 0)
		kept.args = NULL;
	js_run_finish(&kept, outcome, lines, nlines);
	MemoryContextSwitchTo(outer);
}

static void
record_separately(const JsRun *run, const JsOutcome *outcome)
{
	begin_bookkeeping();
	record(run, outcome);
	commit_bookkeeping();
}

/* The last of the user's code, while it can still be cancelled. */
static void
flush_user_code(void)
{
	ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);

	immediate->deferred = false;
	AfterTriggerSetState(immediate);
	PortalHashTableDeleteAll();
	CHECK_FOR_INTERRUPTS();
}

static void
refuse_if_cancelled(void)
{
	if (!js_slot_close())
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("canceling statement due to user request")));
}

static void
commit_with_record(const JsRun *run, JsOutcome *outcome)
{
	bool		apart = XactReadOnly || (MyXactFlags & XACT_FLAGS_NEEDIMMEDIATECOMMIT) != 0;

	refuse_if_cancelled();
	HOLD_INTERRUPTS();
	outcome->finished_at = js_clock_now();
	if (!apart)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		record(run, outcome);
		PopActiveSnapshot();
	}
	CommitTransactionCommand();
	if (apart)
		record_separately(run, outcome);
	QueryCancelPending = false;
	RESUME_INTERRUPTS();
}

static void
execute(const JsJob *job, const JsRun *run, JsOutcome *outcome)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (job->handler != NULL)
		outcome->result = js_handler_run(job->handler, run->args, run_context);
	else
		outcome->result = js_command_run(job->command, job->mode, run_context);
	flush_user_code();
	outcome->status = JS_SUCCEEDED;
	commit_with_record(run, outcome);
}

/* ------------------------------------------------------------------------
 * C: a failure
 * ------------------------------------------------------------------------
 */

/* Says in the server's log which run a message belongs to. */
static void
run_error_context(void *arg)
{
	errcontext("run " INT64_FORMAT " (attempt %d) of job \"%s\"",
			   js_current_run->run_id, js_current_run->attempt, js_current_job->name);
}

/* The history need not say in each row of which run it is. */
static char *
context_without_ours(const char *context)
{
	const char *ours;

	if (context == NULL)
		return NULL;
	ours = strstr(context, psprintf("run " INT64_FORMAT " (attempt", js_current_run->run_id));
	if (ours == context)
		return NULL;
	return ours ? pnstrdup(context, ours - context - 1) : pstrdup(context);
}

static void
outcome_from_error(const ErrorData *error, JsOutcome *outcome)
{
	if (js_slot_is_cancelled())
	{
		outcome->status = JS_CANCELLED;
		outcome->reason = "cancelled";
	}
	else if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		outcome->status = JS_CANCELLED;
		outcome->reason = "backend_cancelled";
	}
	else
	{
		outcome->status = JS_FAILED;
		outcome->reason = "error";
	}
	outcome->result = NULL;
	outcome->finished_at = js_clock_now();
	outcome->sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	outcome->error = js_capture_text(error->message);
	outcome->error_detail = js_capture_text(error->detail);
	outcome->error_hint = js_capture_text(error->hint);
	outcome->error_context = js_capture_text(context_without_ours(error->context));
}

/* Leaves the failed transaction behind; what is known of it is in outcome. */
static void
abandon(JsOutcome *outcome)
{
	HOLD_INTERRUPTS();			/* errfinish() has reset the count */
	js_capture_stop();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	MemoryContextSwitchTo(run_context);
	outcome_from_error(CopyErrorData(), outcome);
	EmitErrorReport();
	AbortOutOfAnyTransaction();
	FlushErrorState();
	MemoryContextSwitchTo(run_context);
	RESUME_INTERRUPTS();
}

/* ------------------------------------------------------------------------
 * One run
 * ------------------------------------------------------------------------
 */

/* What pg_stat_activity and ps show while runs of a job are executed. */
static void
set_title(const JsJob *job)
{
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), "%s: %s", JS_EXTENSION, job->name);
	pgstat_report_appname(name);
}

static void
execute_and_record(const JsJob *job, const JsRun *run, JsOutcome *outcome)
{
	ErrorContextCallback callback;
	volatile bool failed = false;

	callback.callback = run_error_context;
	callback.arg = NULL;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	js_current_run = run;
	js_current_job = job;
	js_capture_start();
	PG_TRY();
	{
		execute(job, run, outcome);
	}
	PG_CATCH();
	{
		abandon(outcome);
		failed = true;
	}
	PG_END_TRY();
	js_capture_stop();
	if (failed)
		record_separately(run, outcome);
	error_context_stack = callback.previous;
	js_current_run = NULL;
	js_current_job = NULL;
	debug_query_string = NULL;
}

static void
finish_mail(const JsMail *mail, const JsOutcome *outcome, bool recorded)
{
	JsDone		done = {0};

	done.recorded = recorded;
	done.run_id = mail->run_id;
	done.job_id = mail->job_id;
	done.status = outcome->status;
	done.started_at = outcome->started_at;
	done.finished_at = outcome->finished_at;
	js_slot_finish(&done);
}

static void
run_mail(const JsMail *mail)
{
	JsOutcome	outcome = {0};
	JsRun		run;
	const JsJob *job;

	outcome.worker_pid = MyProcPid;
	outcome.started_at = outcome.finished_at = js_clock_now();
	job = read_run(mail, &run);
	if (job != NULL)
	{
		set_title(job);
		execute_and_record(job, &run, &outcome);
		js_session_reset();
		Assert(!IsTransactionState());
	}
	else
		ereport(LOG,
				(errmsg("run " INT64_FORMAT " is not this worker's to execute; it goes back to the queue", mail->run_id)));
	finish_mail(mail, &outcome, job != NULL);
	pgstat_report_stat(false);
	QueryCancelPending = false;
	MemoryContextSwitchTo(run_context);
	MemoryContextReset(run_context);
}

/* ------------------------------------------------------------------------
 * The process
 * ------------------------------------------------------------------------
 */

static void
empty_mailbox(void)
{
	JsMail		mail;

	while (js_slot_next(&mail))
	{
		run_mail(&mail);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Returns whether nothing has come for the time that a worker may idle. */
static bool
wait_for_mail(TimestampTz idle_since)
{
	static uint32 wait_event = 0;
	TimestampTz until = TimestampTzPlusMilliseconds(idle_since, js_guc_worker_idle_timeout);

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
serve(void)
{
	TimestampTz idle_since = GetCurrentTimestamp();

	for (;;)
	{
		bool		idle_too_long;

		pgstat_report_activity(STATE_IDLE, NULL);
		pgstat_report_stat(true);
		set_ps_display("idle");
		idle_too_long = wait_for_mail(idle_since);
		if (js_slot_leave_if_idle(idle_too_long))
			return;
		if (js_slot_has_mail())
		{
			empty_mailbox();
			idle_since = GetCurrentTimestamp();
		}
	}
}

/* arg: the slot; bgw_extra: its generation. */
void
jobsched_worker_main(Datum arg)
{
	uint32		generation;

	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	js_process_init();
	js_slot_attach(DatumGetInt32(arg), generation);
	js_capture_open();
	BackgroundWorkerInitializeConnectionByOid(js_my_slot->dboid, js_my_slot->owner, 0);
	run_context = AllocSetContextCreate(TopMemoryContext, "jobsched run",
										ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(run_context);
	js_slot_ready();
	serve();
	proc_exit(0);
}
