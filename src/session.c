/*-------------------------------------------------------------------------
 *
 * session.c
 *		Making a worker's session as good as new between two runs.
 *
 * What DISCARD ALL does, but for cached plans: a plan depends on nothing that
 * a run leaves behind, and making it anew would be most of the cost of a short
 * run.  What stays, as it does after DISCARD ALL: loaded libraries, the global
 * variables of procedural languages, the seed of random().  All of it belongs
 * to one owner, for a worker is never shared.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/async.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "session.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

/* On an error the session is beyond repair, and the process ends. */
void
js_session_reset(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());	/* to delete catalog rows
													 * by */
	PortalHashTableDeleteAll();
	SetPGVariable("role", NIL, false);
	SetPGVariable("session_authorization", NIL, false);
	ResetAllOptions();
	DropAllPreparedStatements();
	Async_UnlistenAll();
	LockReleaseAll(USER_LOCKMETHOD, true);
	ResetTempTableNamespace();
	ResetSequenceCaches();
	PopActiveSnapshot();
	CommitTransactionCommand();
}
