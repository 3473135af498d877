/*-------------------------------------------------------------------------
 *
 * process.c
 *		What all our background processes do.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/jobsched.h"
#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "process/process.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

/*
 * Has the postmaster start a process of ours, and tell us when it has started
 * and ended.  False when max_worker_processes is used up.
 */
bool
js_process_register(const char *type, const char *function, const char *name,
					Datum arg, uint32 extra, MemoryContext context,
					BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker = {0};
	MemoryContext outer = MemoryContextSwitchTo(context);
	bool		ok;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = arg;
	memcpy(worker.bgw_extra, &extra, sizeof(extra));
	strlcpy(worker.bgw_library_name, JS_EXTENSION, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	strlcpy(worker.bgw_type, type, BGW_MAXLEN);
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	ok = RegisterDynamicBackgroundWorker(&worker, handle);
	MemoryContextSwitchTo(outer);
	return ok;
}

/*
 * Signal handlers come first, then signals.  SIGINT cancels what the process
 * executes, as in any backend: bgworkers start with that handler.
 */
void
js_process_init(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

void
js_process_reload(void)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * For a process that works on our own tables only: every setting that could
 * change what it does is fixed.
 */
void
js_process_fix_settings(const char *application_name)
{
	static const char *const fixed[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"default_transaction_isolation", "read committed"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"lock_timeout", "500ms"},
		{"row_security", "off"},
		{"session_replication_role", "origin"}
	};

	for (int i = 0; i < lengthof(fixed); i++)
		SetConfigOption(fixed[i][0], fixed[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	if (GetConfigOption("transaction_timeout", true, false) != NULL)
		SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", application_name, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * A transaction of ours, with a snapshot, in whoever's session: what the role
 * or the database has as defaults for transactions is not for it.
 */
void
js_process_begin_own(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	JS_DISABLE_TRANSACTION_TIMEOUT();
	XactReadOnly = false;
	XactDeferrable = false;
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
js_process_commit_own(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* The same, for work on our own tables. */
void
js_process_begin(const char *activity)
{
	js_process_begin_own();
	pgstat_report_activity(STATE_RUNNING, activity);
}

void
js_process_commit(void)
{
	js_process_commit_own();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}
