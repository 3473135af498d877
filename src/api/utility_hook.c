/*-------------------------------------------------------------------------
 *
 * utility_hook.c
 *		Makes way for commands that need the database or the extension.
 *
 * DROP DATABASE, ALTER DATABASE RENAME and SET TABLESPACE, and CREATE DATABASE
 * with a template require that nobody is connected to the database, and the
 * server does not send background workers away.  So before the command, and
 * only for a user who may execute it, we send away the scheduler and the
 * workers of the database, workers when they have finished their runs.  If a
 * run takes long the command fails, as it would for any session; DROP DATABASE
 * ...  WITH (FORCE) terminates it.  After the command the scheduler comes back.
 *
 * DROP EXTENSION and ALTER EXTENSION UPDATE need exclusive access to our
 * tables, so the scheduler and the workers leave before.  After the transaction
 * a new scheduler finds no extension, the version that it knows, or another
 * version.
 *
 * COMMIT PREPARED may commit runs that another session has queued.
 *
 * CREATE DATABASE, DROP ROLE and ALTER ROLE RENAME notify us at their commit,
 * and only if they have succeeded: a command that is refused must cost us
 * nothing.
 *
 * CREATE TRIGGER may make a trigger of ours (table_trigger_check.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/table_trigger_check.h"
#include "api/utility_hook.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "compat.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "shmem/shmem.h"
#include "shmem/wakeup.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "tcop/utility.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* How long processes that have been sent away may take. */
#define DEPARTURE_MS 5000L

/* A run that has taken this long is not waited for. */
#define PATIENCE_US USECS_PER_SEC

static ProcessUtility_hook_type prev_ProcessUtility = NULL;

/* The database that a command wants for itself, and how. */
typedef struct Claim
{
	Oid			dboid;			/* InvalidOid: none */
	bool		drops;
} Claim;

static bool
has_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
		if (strcmp(lfirst_node(DefElem, lc)->defname, name) == 0)
		return true;
	return false;
}

static bool
is_template(Oid dboid)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	return result;
}

static bool
may_create_databases(void)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool		result = superuser();

	if (HeapTupleIsValid(tuple))
	{
		result |= ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return result;
}

static Claim
claim_of_create(const CreatedbStmt *stmt)
{
	Claim		claim = {InvalidOid, false};
	ListCell   *lc;

	foreach(lc, stmt->options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
			claim.dboid = get_database_oid(defGetString(option), true);
	}
	/* Who may not copy it must not disturb it either. */
	if (OidIsValid(claim.dboid) &&
		(!may_create_databases() ||
		 !(is_template(claim.dboid) || js_database_ownercheck(claim.dboid, GetUserId()))))
		claim.dboid = InvalidOid;
	return claim;
}

static Claim
claim_of_owner(const char *name, bool drops)
{
	Claim		claim = {get_database_oid(name, true), drops};

	if (OidIsValid(claim.dboid) && !js_database_ownercheck(claim.dboid, GetUserId()))
		claim.dboid = InvalidOid;
	return claim;
}

static Claim
claim_of(const Node *stmt)
{
	Claim		none = {InvalidOid, false};

	if (IsA(stmt, DropdbStmt))
		return claim_of_owner(((const DropdbStmt *) stmt)->dbname, true);
	if (IsA(stmt, CreatedbStmt))
		return claim_of_create((const CreatedbStmt *) stmt);
	if (IsA(stmt, RenameStmt) && ((const RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
		return claim_of_owner(((const RenameStmt *) stmt)->subname, false);
	if (IsA(stmt, AlterDatabaseStmt) &&
		has_option(((const AlterDatabaseStmt *) stmt)->options, "tablespace"))
		return claim_of_owner(((const AlterDatabaseStmt *) stmt)->dbname, false);
	return none;
}

static volatile bool probe_failed;

static void
end_probe(void)
{
	probe_failed = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

pg_noreturn static void
refuse_unresponsive(const JsUnresponsive *worker)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("process %d, which executes run " INT64_FORMAT " of role \"%s\" in database \"%s\", does not react",
					worker->pid, worker->run_id, GetUserNameFromId(worker->owner, true),
					get_database_name(worker->dboid)),
			 errdetail("The command would wait for it, as for every process of the server."),
			 errhint("Code that looks for no interrupts, such as a loop in PL/Perl, is ended by kill -9 of that process only, which restarts all sessions of the server.")));
}

/*
 * Commands that remove files of a database wait until all processes of the
 * server have closed theirs, for ever if one of them does not react.  If that may
 * be a worker of ours this is tried beforehand, with an end.
 */
static void
check_all_react(void)
{
	static TimeoutId timeout = MAX_TIMEOUTS;
	JsUnresponsive worker;

	if (js_seats_unresponsive(&worker, 1) > 0)
		refuse_unresponsive(&worker);
	if (js_seats_busy(PATIENCE_US, &worker, 1) == 0)
		return;
	if (timeout == MAX_TIMEOUTS)
		timeout = RegisterTimeout(USER_TIMEOUT, end_probe);
	probe_failed = false;
	enable_timeout_after(timeout, DEPARTURE_MS);
	PG_TRY();
	{
		WaitForProcSignalBarrier(EmitProcSignalBarrier(PROCSIGNAL_BARRIER_SMGRRELEASE));
	}
	PG_CATCH();
	{
		disable_timeout(timeout, false);
		/* It is one of those that are busy; the first is named. */
		if (probe_failed && js_seats_busy(DEPARTURE_MS * INT64CONST(1000), &worker, 1) > 0)
		{
			FlushErrorState();
			refuse_unresponsive(&worker);
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
	disable_timeout(timeout, false);
}

/* Whether a command removes files of a database. */
static bool
removes_files(const Node *stmt)
{
	return IsA(stmt, DropdbStmt) || IsA(stmt, AlterDatabaseStmt);
}

/* Sends our processes away and waits for them to go. */
static void
clear_database(const Claim *claim)
{
	static uint32 wait_event = 0;
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DEPARTURE_MS);

	js_database_hold(claim->dboid, false);
	ConditionVariablePrepareToSleep(&js->departed);
	while (!js_database_is_clear(claim->dboid, PATIENCE_US))
	{
		long		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		if (ms <= 0)
			break;
		/* When patience with a run ends nobody tells us. */
		if (ms > DEPARTURE_MS - PATIENCE_US / 1000)
			ms -= DEPARTURE_MS - PATIENCE_US / 1000;
		(void) ConditionVariableTimedSleep(&js->departed, ms,
										   js_wait_event(&wait_event, "JobschedStopDatabase"));
	}
	ConditionVariableCancelSleep();
}

static bool
names_extension(const Node *stmt)
{
	ListCell   *lc;

	if (IsA(stmt, AlterExtensionStmt))
		return strcmp(((const AlterExtensionStmt *) stmt)->extname, JS_EXTENSION) == 0;
	if (!IsA(stmt, DropStmt) || ((const DropStmt *) stmt)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, ((const DropStmt *) stmt)->objects)
		if (strcmp(strVal(lfirst(lc)), JS_EXTENSION) == 0)
		return true;
	return false;
}

/* Whether a command drops or updates this extension, for a user who may. */
static bool
changes_extension(const Node *stmt)
{
	Oid			extension = names_extension(stmt) ? get_extension_oid(JS_EXTENSION, true) : InvalidOid;

	return OidIsValid(extension) && js_extension_ownercheck(extension, GetUserId());
}

static bool
commits_prepared(const Node *stmt)
{
	return IsA(stmt, TransactionStmt) &&
		((const TransactionStmt *) stmt)->kind == TRANS_STMT_COMMIT_PREPARED;
}

/* The command has failed, or its session is being terminated. */
static void
let_go(int code, Datum dboid)
{
	js_database_unhold(DatumGetObjectId(dboid), false);
}

static void
call_others(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	(prev_ProcessUtility ? prev_ProcessUtility : standard_ProcessUtility)
		(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
call_next(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
		  ProcessUtilityContext context, ParamListInfo params,
		  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	JsMadeTriggers made;

	if (!js_table_trigger_is_ours(pstmt->utilityStmt))
	{
		call_others(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		return;
	}
	js_table_trigger_watch(&made);
	PG_TRY();
	{
		call_others(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		js_table_trigger_unwatch(&made);
	}
	PG_END_TRY();
	js_table_trigger_check_made(&made);
}

typedef void (*Teller) (void);

/* What is told at the commit of a command that has succeeded; NULL: nothing. */
static Teller
what_to_tell(const Node *stmt)
{
	if (IsA(stmt, CreatedbStmt))
		return js_wakeup_sweep;
	if (IsA(stmt, DropRoleStmt) ||
		(IsA(stmt, RenameStmt) && ((const RenameStmt *) stmt)->renameType == OBJECT_ROLE))
		return js_wakeup_roles;
	return NULL;
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Claim		claim = claim_of(pstmt->utilityStmt);
	Teller		tell = what_to_tell(pstmt->utilityStmt);

	if (commits_prepared(pstmt->utilityStmt) && js_database_has_prepared(MyDatabaseId))
		js_wakeup_everything();
	if (changes_extension(pstmt->utilityStmt))
	{
		Claim		here = {MyDatabaseId, false};

		/* There may be no scheduler: it did not know the old version. */
		if (IsA(pstmt->utilityStmt, AlterExtensionStmt))
			js_wakeup_start();
		js_wakeup_unhold();		/* at the end of the transaction, either way */
		clear_database(&here);
	}
	if (!OidIsValid(claim.dboid))
	{
		call_next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		if (tell != NULL)
			tell();				/* it has not been refused */
		return;
	}
	if (removes_files(pstmt->utilityStmt))
		check_all_react();
	PG_ENSURE_ERROR_CLEANUP(let_go, ObjectIdGetDatum(claim.dboid));
	{
		clear_database(&claim);
		call_next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_END_ENSURE_ERROR_CLEANUP(let_go, ObjectIdGetDatum(claim.dboid));
	js_database_unhold(claim.dboid, claim.drops);
	if (tell != NULL)
		tell();
}

void
js_utility_hook_init(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	js_table_trigger_check_init();
}
