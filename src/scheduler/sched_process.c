/*-------------------------------------------------------------------------
 *
 * sched_process.c
 *		The scheduler as a process: its end, its commits, its reports of
 *		errors.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "storage/ipc.h"
#include "store/catalog.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* synchronous_commit as it was set. */
static char *configured_commit;

/* Ends the process; the launcher need not start another. */
void
sched_leave(const char *reason)
{
	if (reason != NULL)
		ereport(LOG, (errmsg("scheduler leaves: %s", reason)));
	sched.stay_away = true;
	proc_exit(0);
}

/* Before anything is read whole. */
void
sched_check_version(void)
{
	if (!js_version_is_known())
		sched_leave("the extension has a version that this library does not know; run ALTER EXTENSION jobsched UPDATE, or restart the server");
}

/*
 * This transaction is the evidence of something that may leave effects of its
 * own: it is committed as the server's configuration says, to standbys too.
 */
void
sched_commit_durably(void)
{
	(void) set_config_option("synchronous_commit", configured_commit, PGC_SUSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* It is set back for what must be known after a crash (sched_commit_durably). */
void
sched_commit_asynchronously(void)
{
	configured_commit = MemoryContextStrdup(TopMemoryContext,
											GetConfigOption("synchronous_commit", false, false));
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

/* For health(). */
void
sched_tell_error(const char *message)
{
	TimestampTz now = GetCurrentTimestamp();
	char		cut[JS_ERROR_TEXT];

	js_clip_text(cut, message, sizeof(cut));
	SpinLockAcquire(&sched.db->mutex);
	sched.db->last_error_at = now;
	memcpy(sched.db->last_error, cut, sizeof(cut));
	SpinLockRelease(&sched.db->mutex);
}

/* max_worker_processes is used up: by others, for all we know for a while. */
void
sched_note_no_process(void)
{
	if (sched.no_worker_until == 0)
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a worker: no background worker slot is free"),
				 errhint("Increase max_worker_processes.")));
	sched.no_worker_until = GetCurrentTimestamp() + USECS_PER_SEC;
}
