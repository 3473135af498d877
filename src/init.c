/*-------------------------------------------------------------------------
 *
 * init.c
 *		Loads the library.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/utility_hook.h"
#include "base/jobsched.h"
#include "compat.h"
#include "fmgr.h"
#include "guc.h"
#include "postmaster/bgworker.h"
#include "run/capture.h"
#include "shmem/shmem.h"
#include "shmem/wakeup.h"

JS_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

static void
register_launcher(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, JS_EXTENSION, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "jobsched_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_type, JS_TYPE_LAUNCHER, BGW_MAXLEN);
	strlcpy(worker.bgw_name, JS_TYPE_LAUNCHER, BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

void
_PG_init(void)
{
	/* pg_upgrade's servers move the objects and must run nothing. */
	if (IsBinaryUpgrade)
		return;
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("jobsched must be loaded when the server starts"),
				 errhint("Add shared_preload_libraries = 'jobsched' to postgresql.conf and restart the server.")));
	js_guc_init();
	js_shmem_init();
	js_wakeup_init();
	js_capture_init();
	js_utility_hook_init();
	register_launcher();
}
