/*-------------------------------------------------------------------------
 *
 * worker_shared.c
 *		Several short runs in one transaction.
 *
 * For jobs that allow it (share_transaction) the worker executes the runs in
 * its mailbox as one transaction, each run in its own subtransaction: one that
 * fails is rolled back alone.  Effects and records of all runs still commit
 * together, at the price of one commit.
 *
 * Deferred triggers of a run are fired in its subtransaction, so only this run
 * fails if they do.  If the transaction as a whole fails (a run is cancelled,
 * or the commit finds a serialization failure), nothing of it has happened, and
 * the runs are executed one by one.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "run/capture.h"
#include "run/execsql.h"
#include "run/finish.h"
#include "shmem/clock.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "worker/worker.h"

/* The messages of a run, out of the buffer that the next run will use. */
static void
keep_lines(JsWork *work)
{
	JsLogLine  *lines;

	work->nlines = js_capture_lines(&lines);
	work->lines = palloc(Max(work->nlines, 1) * sizeof(JsLogLine));
	for (int i = 0; i < work->nlines; i++)
	{
		work->lines[i] = lines[i];
		work->lines[i].message = pstrdup(lines[i].message);
	}
}

/* Errors that are not the run's own: the whole transaction has to go. */
static bool
concerns_all(void)
{
	int			code = geterrcode();

	return js_seat_is_cancelled(0) != JS_CANCEL_NONE || code == ERRCODE_QUERY_CANCELED ||
		code == ERRCODE_T_R_SERIALIZATION_FAILURE;
}

static void
execute_in_subtransaction(JsWork *work)
{
	MemoryContext outer = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int			level = GetCurrentTransactionNestLevel();

	js_worker_enter(work);
	work->outcome.started_at = js_clock_now();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(outer);
	PG_TRY();
	{
		work->outcome.result = js_handler_run(work->job->handler, work->run.args, js_run_context);
		js_worker_finish_user_code(level + 1);
		work->outcome.status = JS_SUCCEEDED;
		work->outcome.finished_at = js_clock_now();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		if (concerns_all() || GetCurrentTransactionNestLevel() <= level)
			PG_RE_THROW();
		js_worker_outcome_from_error(work);
		FlushErrorState();
		while (GetCurrentTransactionNestLevel() > level)
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(outer);
	CurrentResourceOwner = owner;
	js_worker_decide(work);
	keep_lines(work);
	js_worker_leave();
}

static void
record_all(JsWork *works, int count)
{
	JsEnding   *endings = palloc(count * sizeof(JsEnding));
	int			n = 0;

	for (int i = 0; i < count; i++)
		if (works[i].job != NULL)
			endings[n++] = js_worker_ending(&works[i]);
	js_worker_check_tables();
	js_run_finish(endings, n);
}

static void
execute_all(JsWork *works, int count)
{
	RESUME_CANCEL_INTERRUPTS();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(js_run_context);
	for (int i = 0; i < count; i++)
		if (works[i].job != NULL)
			execute_in_subtransaction(&works[i]);
	PortalHashTableDeleteAll();
	PushActiveSnapshot(GetTransactionSnapshot());
	js_worker_close(0);
	record_all(works, count);
	PopActiveSnapshot();
	JS_INJECTION_POINT("jobsched-batch-recorded");
	CommitTransactionCommand();
	HOLD_CANCEL_INTERRUPTS();
}

static void
run_one_by_one(JsWork *works, int count)
{
	for (int i = 0; i < count; i++)
	{
		JsOutcome	blank = {0};

		if (works[i].job == NULL)
			continue;
		blank.worker_pid = MyProcPid;
		works[i].outcome = blank;
		js_worker_run_alone(&works[i]);
	}
}

void
js_worker_run_shared(JsWork *works, int count)
{
	volatile bool failed = false;

	PG_TRY();
	{
		execute_all(works, count);
	}
	PG_CATCH();
	{
		EmitErrorReport();
		js_worker_abandon();
		js_worker_leave();
		failed = true;
	}
	PG_END_TRY();
	if (!failed)
		return;
	/* Who cancelled one of them meant none of those that begin now. */
	js_seat_await_cancel();
	QueryCancelPending = false;
	run_one_by_one(works, count);
}
