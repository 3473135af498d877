/*-------------------------------------------------------------------------
 *
 * launcher.c
 *		The process that keeps one scheduler for each database that has the
 *		extension.
 *
 * DESIGN
 *
 * The postmaster starts it after recovery, so on a standby there is none until
 * promotion.  It is connected to no database and executes no SQL; it reads
 * pg_database to know which databases there are.
 *
 * Only a process inside a database can see whether it has the extension.  So at
 * the start each database gets a scheduler, a few at a time, which leaves at
 * once if the extension is missing.  Later, CREATE EXTENSION asks for a
 * scheduler at its commit (js_database_want).  A scheduler that ends without
 * saying that it is not needed gets a successor: at once or, after several
 * short lives, after some seconds.
 *
 * It also tells the schedulers whether jobsched.enabled is on in the cluster,
 * because in their own sessions a setting of the database hides that.
 *
 * Each database has an entry in shared memory.  Its states:
 *
 *	 FREE --want--> WANTED --register--> STARTING --attach--> RUNNING
 *	   ^               ^                     |                   |
 *	   |               +---- no process -----+---- exit ---------+
 *	   +------ left (no extension) or not listed -----------------+
 *
 *	 HELD: utility_hook.c keeps the scheduler out for a while
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "compat.h"
#include "guc.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "process/process.h"
#include "shmem/shmem.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

PGDLLEXPORT void jobsched_launcher_main(Datum arg);

/* Databases are looked for again now and then: one may be a copy. */
#define SWEEP_MS (300 * 1000L)

/* At least, however many databases are created. */
#define MIN_SWEEP_MS 2000L

/* Not more often, however many databases are created. */
#define MIN_SWEEP_MS 2000L

/* Between attempts to get a process. */
#define RETRY_MS 1000L

/* Databases that are asked at a time whether they have the extension. */
#define MAX_PROBES 2

static MemoryContext launcher_context;
static List *listed = NIL;		/* OIDs of databases that may have one */
static List *to_probe = NIL;	/* those not yet asked for the extension */
static BackgroundWorkerHandle **handles;	/* by database entry */
static bool no_process_logged = false;
static bool no_place_logged = false;

static void
launcher_exit(int code, Datum arg)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	js->launcher = NULL;
	js->launcher_pid = 0;
	LWLockRelease(js->lock);
}

static void
attach(void)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	js->launcher = MyProc;
	js->launcher_pid = MyProcPid;
	/* A predecessor may have left before it knew how these ended. */
	for (int i = 0; i < js->max_databases; i++)
		if (js->databases[i].state == JS_DATABASE_STARTING)
			js->databases[i].state = JS_DATABASE_WANTED;
	LWLockRelease(js->lock);
	before_shmem_exit(launcher_exit, 0);
}

/* ------------------------------------------------------------------------
 * Which databases
 * ------------------------------------------------------------------------
 */

/* Whether jobsched.databases allows it. */
static bool
database_is_listed(const char *name)
{
	char	   *copy = pstrdup(js_guc_databases);
	List	   *names;
	ListCell   *lc;
	bool		found;

	(void) SplitIdentifierString(copy, ',', &names);
	found = names == NIL;
	foreach(lc, names)
		found |= strcmp(lfirst(lc), name) == 0;
	list_free(names);
	pfree(copy);
	return found;
}

/* Notes which databases may have a scheduler. */
static void
list_databases(void)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	list_free(listed);
	listed = NIL;
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext outer;

		if (!database->datallowconn || database->datistemplate ||
			!database_is_listed(NameStr(database->datname)))
			continue;
		outer = MemoryContextSwitchTo(launcher_context);
		listed = lappend_oid(listed, database->oid);
		MemoryContextSwitchTo(outer);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
}

static void
set_state(JsDatabase *db, JsDatabaseState from, JsDatabaseState to)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	if (db->state == from)
		db->state = to;
	LWLockRelease(js->lock);
}

/*
 * Looks at pg_database again: all that may have a scheduler are to be asked,
 * and one that may no longer have one is sent away.
 */
static void
sweep(void)
{
	MemoryContext outer;

	list_databases();
	outer = MemoryContextSwitchTo(launcher_context);
	list_free(to_probe);
	to_probe = list_copy(listed);
	MemoryContextSwitchTo(outer);
	for (int i = 0; i < js->max_databases; i++)
	{
		JsDatabase *db = &js->databases[i];

		if (db->state == JS_DATABASE_RUNNING && !list_member_oid(listed, db->dboid))
			js_database_hold(db->dboid, true);
	}
}

/*
 * A database that jobsched.databases no longer lists is given up when nothing
 * is left of it, unless it is listed again.
 */
static void
serve_unlisted(JsDatabase *db, Oid dboid)
{
	if (list_member_oid(listed, dboid))
		set_state(db, JS_DATABASE_HELD, JS_DATABASE_WANTED);
	else if (js_database_is_clear(dboid, 0))
		js_database_give_up(db);
}

/* How many schedulers are on their way. */
static int
starting_schedulers(void)
{
	TimestampTz now = GetCurrentTimestamp();
	int			starting = 0;

	LWLockAcquire(js->lock, LW_SHARED);
	for (int i = 0; i < js->max_databases; i++)
	{
		const JsDatabase *db = &js->databases[i];

		if (db->state == JS_DATABASE_STARTING ||
			(db->state == JS_DATABASE_WANTED && db->next_start <= now))
			starting++;
	}
	LWLockRelease(js->lock);
	return starting;
}

static void
note_no_place(void)
{
	if (!no_place_logged)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%d databases have a scheduler or wait for one, and no more can", js->max_databases),
				 errhint("Increase jobsched.max_databases.")));
	no_place_logged = true;
}

/*
 * Wants schedulers for the databases that are to be probed, as long as few
 * are starting and there is room.  Each that arrives or leaves wakes us, and
 * we come here again; those that have one already do not.
 */
static void
want_probes(void)
{
	while (to_probe != NIL && starting_schedulers() < MAX_PROBES)
	{
		if (js_database_want(linitial_oid(to_probe)) == NULL)
		{
			note_no_place();
			break;
		}
		to_probe = list_delete_first(to_probe);
	}
}

/* ------------------------------------------------------------------------
 * Schedulers
 * ------------------------------------------------------------------------
 */

static bool
register_scheduler(Oid dboid, BackgroundWorkerHandle **handle)
{
	char		name[BGW_MAXLEN];

	snprintf(name, sizeof(name), "%s for database %u", JS_TYPE_SCHEDULER, dboid);
	return js_process_register(JS_TYPE_SCHEDULER, "jobsched_scheduler_main", name,
							   ObjectIdGetDatum(dboid), 0, launcher_context, handle);
}

static void
forget_handle(int i)
{
	if (handles[i] != NULL)
		pfree(handles[i]);
	handles[i] = NULL;
}

static bool
start_scheduler(int i, Oid dboid)
{
	JsDatabase *db = &js->databases[i];

	list_databases();			/* it may be new, or renamed */
	if (!list_member_oid(listed, dboid))
	{
		js_database_give_up(db);
		return true;
	}
	forget_handle(i);
	set_state(db, JS_DATABASE_WANTED, JS_DATABASE_STARTING);
	if (register_scheduler(dboid, &handles[i]))
	{
		no_process_logged = false;
		return true;
	}
	set_state(db, JS_DATABASE_STARTING, JS_DATABASE_WANTED);
	if (!no_process_logged)
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a scheduler: no background worker slot is free"),
				 errhint("Increase max_worker_processes.")));
	no_process_logged = true;
	return false;
}

/*
 * A scheduler that ended before it attached: it was told to, or its database
 * is gone, which shows before another is started.  Later and later.
 */
static void
note_stillborn(int i)
{
	pid_t		pid;

	if (handles[i] == NULL || GetBackgroundWorkerPid(handles[i], &pid) != BGWH_STOPPED)
		return;
	js_database_stillborn(&js->databases[i]);
	forget_handle(i);
}

/* What one look at an entry asks for. */
typedef struct Look
{
	JsDatabaseState state;
	Oid			dboid;
	TimestampTz next_start;
	TimestampTz held_until;
	bool		unlisted;
} Look;

static Look
look_at_database(const JsDatabase *db)
{
	Look		look;

	LWLockAcquire(js->lock, LW_SHARED);
	look.state = db->state;
	look.dboid = db->dboid;
	look.next_start = db->next_start;
	look.held_until = db->held_until;
	look.unlisted = db->unlisted;
	LWLockRelease(js->lock);
	return look;
}

static long
ms_until(TimestampTz when)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), when);
}

/* No wait is longer than the sweep's: if it seems so, the clock was set back. */
static bool
wait_is_over(TimestampTz when)
{
	long		ms = ms_until(when);

	return ms == 0 || ms > 2 * SWEEP_MS;
}

/* Moves an entry on whose wait is over. */
static void
settle_database(int i)
{
	JsDatabase *db = &js->databases[i];
	Look		look = look_at_database(db);

	if (look.state == JS_DATABASE_STARTING)
		note_stillborn(i);
	else if (look.state == JS_DATABASE_HELD && look.unlisted)
		serve_unlisted(db, look.dboid);
	else if (look.state == JS_DATABASE_HELD && wait_is_over(look.held_until))
		set_state(db, JS_DATABASE_HELD, JS_DATABASE_WANTED);
}

/* Does what an entry asks for; returns how long it will ask for nothing else. */
static long
serve_database(int i)
{
	Look		look;

	settle_database(i);
	look = look_at_database(&js->databases[i]);
	if (look.state == JS_DATABASE_HELD && !look.unlisted)
		return ms_until(look.held_until);
	if (look.state != JS_DATABASE_WANTED)
		return SWEEP_MS;
	if (!wait_is_over(look.next_start))
		return ms_until(look.next_start);
	return start_scheduler(i, look.dboid) ? SWEEP_MS : RETRY_MS;
}

static long
serve_databases(void)
{
	long		ms = SWEEP_MS;

	for (int i = 0; i < js->max_databases; i++)
		ms = Min(ms, serve_database(i));
	return ms;
}

static void
sleep_ms(long ms)
{
	static uint32 wait_event = 0;

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms, js_wait_event(&wait_event, "JobschedLauncherMain"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

void
jobsched_launcher_main(Datum arg)
{
	TimestampTz next_sweep = 0;
	TimestampTz earliest_sweep = 0;

	js_process_init();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	launcher_context = AllocSetContextCreate(TopMemoryContext, "jobsched launcher",
											 ALLOCSET_DEFAULT_SIZES);
	handles = MemoryContextAllocZero(launcher_context,
									 js->max_databases * sizeof(BackgroundWorkerHandle *));
	attach();
	js->enabled = js_guc_enabled;
	for (;;)
	{
		long		ms;

		if (js->sweep_wanted && next_sweep > earliest_sweep)
			next_sweep = earliest_sweep;
		if (GetCurrentTimestamp() >= next_sweep)
		{
			js->sweep_wanted = false;
			sweep();
			next_sweep = GetCurrentTimestamp() + SWEEP_MS * 1000;
			earliest_sweep = GetCurrentTimestamp() + MIN_SWEEP_MS * 1000;
		}
		want_probes();
		ms = serve_databases();
		sleep_ms(Min(ms, Max(ms_until(next_sweep), 1)));
		if (ConfigReloadPending)
		{
			next_sweep = 0;
			js_process_reload();
			js->enabled = js_guc_enabled;
			js_databases_wake();
		}
	}
}
