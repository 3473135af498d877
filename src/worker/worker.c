/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The process that executes runs, one after the other, as their owner.
 *
 * DESIGN
 *
 * A worker is connected as (database, owner): its session is authenticated as
 * the owner, so RESET ROLE does not lead to a role with more rights.  It takes
 * runs from its mailbox, and for each one:
 *
 *	A	a short transaction reads the run and its job
 *	B	the handler's SQL, as the owner; then user code that the commit would
 *		execute (deferred triggers, holdable cursors) is executed; then the
 *		run's row is deleted and its record inserted; commit.
 *	C	if B fails: it is rolled back, and another transaction records that
 *
 * B and C are in worker_run.c, of several runs at once in worker_shared.c.
 *
 * We read and write all our data by row (table.c): no statement, no change of
 * user, nothing that user code could influence.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/json.h"
#include "compat.h"
#include "guc.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "process/process.h"
#include "process/shutdown.h"
#include "run/capture.h"
#include "run/context.h"
#include "run/http_job.h"
#include "run/session.h"
#include "run/step_look.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "storage/ipc.h"
#include "store/store.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
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

/* ------------------------------------------------------------------------
 * A: what to run
 * ------------------------------------------------------------------------
 */

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
 * may leave effects behind where the claim promised none, or work that can share
 * no transaction; or somebody who may has changed the rows.
 */
static void
read_work(JsWork *work, bool shares)
{
	const JsJob *job = get_job(&work->mail);
	JsRun	   *run = &work->run;
	JsHttpPlace place;

	if (job == NULL || job->owner != GetAuthenticatedUserId() ||
		!js_run_read(work->mail.run_id, run) ||
		run->status != JS_RUN_RUNNING || run->attempt != work->mail.attempt ||
		run->owner != job->owner ||
		(!js_step_makes_ready(job, run) && js_http_definition(job, run, &place) != NULL) ||
		(run->handler == NULL && run->repeatable && !job->transactional &&
		 !js_step_makes_ready(job, run) && !js_run_maps(job, run)) ||
		(shares && (job->handler == NULL || job->step_looks || js_run_maps(job, run))))
	{
		ereport(LOG,
				(errmsg("run " INT64_FORMAT " is not this worker's to execute; it goes back to the queue",
						work->mail.run_id)));
		return;
	}
	if (run->handler == NULL)
		run->args = js_run_args(job->args, run->args);
	else if (run->args == NULL) /* they were too large to be kept */
		run->args = js_json_empty();
	/* The job may have been another when it was queued. */
	run->workflow = run->handler == NULL && job->steps != NULL ? JS_WORKFLOW_STEPS : JS_WORKFLOW_NONE;
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
		read_work(&works[i], count > 1);
	}
	js_process_commit_own();
	MemoryContextSwitchTo(outer);
	return works;
}

/* ------------------------------------------------------------------------
 * The process
 * ------------------------------------------------------------------------
 */

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
		done[i].started_at = works[i].outcome.only_looked ? DT_NOBEGIN : works[i].outcome.started_at;
		done[i].finished_at = works[i].outcome.finished_at;
		done[i].waits = works[i].goes_on && works[i].next.status == JS_RUN_WAITING;
		done[i].left_nothing = works[i].left_nothing;
		done[i].has_steps = works[i].run.workflow == JS_WORKFLOW_STEPS;
		done[i].retry_at = works[i].goes_on ? works[i].next.run_at : 0;
		done[i].awaits = works[i].goes_on && js_run_awaits(&works[i].next);
		done[i].depth = works[i].run.depth;
		done[i].looked = works[i].goes_on && works[i].outcome.only_looked;
		done[i].attempt = works[i].next.attempt;
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

/* Says in the server's log which run a message belongs to. */
static void
run_error_context(void *arg)
{
	if (js_current_run != NULL)
		errcontext("run " INT64_FORMAT " (attempt %d) of job \"%s\"",
				   js_current_run->run_id, js_current_run->attempt, js_current_job->name);
}

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
