/*-------------------------------------------------------------------------
 *
 * session.c
 *		Resets a worker's session between two runs.
 *
 * It does what DISCARD ALL does, except that cached plans stay: a plan does not
 * depend on anything that a run leaves behind, and making it anew would be most
 * of the cost of a short run.  As after DISCARD ALL, loaded libraries, the
 * global variables of procedural languages and the seed of random() stay too.
 * All of it belongs to one owner, because a worker is never shared.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "commands/async.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "guc.h"
#include "miscadmin.h"
#include "process/process.h"
#include "run/session.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/timeout.h"

/* However short the grace for runs is. */
#define MIN_PATIENCE_MS 1000

static TimeoutId watchdog;

/* As from a SIGTERM: nothing that is done here is worth waiting for. */
static void
give_up(void)
{
	InterruptPending = true;
	ProcDiePending = true;
	SetLatch(MyLatch);
}

/* Once, at the start of the process. */
void
js_session_watch(void)
{
	watchdog = RegisterTimeout(USER_TIMEOUT, give_up);
}

/*
 * On an error the session is beyond repair, and the process ends.  So it does
 * when this takes longer than a cancelled run may: what a run has left behind,
 * a million temporary tables for instance, decides how much there is to do, the
 * run itself has ended, and nobody could cancel it any more.
 */
void
js_session_reset(void)
{
	enable_timeout_after(watchdog, Max(js_guc_cancel_grace, MIN_PATIENCE_MS));
	js_process_begin_own();		/* a snapshot to delete catalog rows by */
	PortalHashTableDeleteAll();
	SetPGVariable("role", NIL, false);
	SetPGVariable("session_authorization", NIL, false);
	ResetAllOptions();
	DropAllPreparedStatements();
	Async_UnlistenAll();
	LockReleaseAll(USER_LOCKMETHOD, true);
	ResetTempTableNamespace();
	ResetSequenceCaches();
	js_process_commit_own();
	disable_timeout(watchdog, false);
	CHECK_FOR_INTERRUPTS();
}
