/*-------------------------------------------------------------------------
 *
 * shmem_database.c
 *		Shared memory: databases and their schedulers.
 *
 * The lock protocol is in shmem.c.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

/* Caller holds js->lock. */
JsDatabase *
js_database_find_locked(Oid dboid)
{
	for (int i = 0; i < js->max_databases; i++)
		if (js->databases[i].state != JS_DATABASE_FREE &&
			js->databases[i].dboid == dboid)
			return &js->databases[i];
	return NULL;
}

/*
 * The entry of a database, or NULL.  An entry is given up by its scheduler or
 * by the launcher only, so it is stable for the scheduler and its workers;
 * others get something to look at, and must take the lock to act on it.
 */
JsDatabase *
js_database_find(Oid dboid)
{
	JsDatabase *db;

	LWLockAcquire(js->lock, LW_SHARED);
	db = js_database_find_locked(dboid);
	LWLockRelease(js->lock);
	return db;
}

/* Caller holds js->lock. */
static void
wake_launcher(void)
{
	if (js->launcher != NULL)
		SetLatch(&js->launcher->procLatch);
}

static void
reset_database(JsDatabase *db, Oid dboid)
{
	db->dboid = dboid;
	db->scheduler = NULL;
	db->scheduler_pid = 0;
	db->next_start = 0;
	db->failures = 0;
	db->held_until = 0;
	db->unlisted = false;
	db->seat_number = 0;
	db->startup_fired = false;
	for (int ring = 0; ring < lengthof(db->expiring); ring++)
		pg_atomic_write_u32(&db->expiring[ring], JS_NO_SEGMENT);
	for (int i = 0; i < JS_LEFT_NOTHING; i++)
		pg_atomic_write_u64(&db->left_nothing[i], 0);
	SpinLockAcquire(&db->mutex);
	db->news_count = 0;
	db->news_overflow = false;
	db->started_at = 0;
	db->last_active_at = 0;
	db->ready = db->asleep_jobs = db->invalid_jobs = 0;
	db->oldest_ready = DT_NOEND;
	db->last_error_at = 0;
	db->last_error[0] = '\0';
	SpinLockRelease(&db->mutex);
}

/* Caller holds js->lock exclusively.  NULL when the array is full. */
static JsDatabase *
want_database(Oid dboid)
{
	JsDatabase *db = js_database_find_locked(dboid);

	for (int i = 0; db == NULL && i < js->max_databases; i++)
		if (js->databases[i].state == JS_DATABASE_FREE)
		{
			db = &js->databases[i];
			reset_database(db, dboid);
			db->state = JS_DATABASE_WANTED;
		}
	return db;
}

/*
 * Asks the launcher for a scheduler.  NULL when jobsched.max_databases is
 * reached.
 */
JsDatabase *
js_database_want(Oid dboid)
{
	JsDatabase *db;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	db = want_database(dboid);
	if (db != NULL && db->state == JS_DATABASE_WANTED)
		wake_launcher();
	LWLockRelease(js->lock);
	return db;
}

/*
 * Makes this process the scheduler of a database.  False when there is one
 * already, or when the database is held.
 */
bool
js_database_attach(Oid dboid)
{
	JsDatabase *db;
	bool		ok;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	db = js_database_find_locked(dboid);
	ok = db != NULL && db->scheduler == NULL && db->state != JS_DATABASE_HELD;
	if (ok)
	{
		db->scheduler = MyProc;
		db->scheduler_pid = MyProcPid;
		db->state = JS_DATABASE_RUNNING;
		wake_launcher();
	}
	LWLockRelease(js->lock);
	return ok;
}

/*
 * A seat is free: those who stand in the queue for one have a while to take it.
 * Caller holds js->lock exclusively.
 */
void
js_databases_offer_seat(void)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < js->max_databases; i++)
		if (js->databases[i].seat_number != 0 && js->databases[i].seat_offered_at == 0)
			js->databases[i].seat_offered_at = now;
	if (!js->seat_wanted)
		return;
	js->seat_wanted = false;
	js_databases_wake_locked();
}

/*
 * Gives up an entry: there is no extension, or no database, any more, so
 * nobody asks after the workers that have ended.  Caller holds js->lock.
 */
static void
free_database(JsDatabase *db)
{
	db->state = JS_DATABASE_FREE;
	db->seat_number = 0;
	for (int i = 0; i < js->total_seats; i++)
		if (js->seats[i].state == JS_SEAT_DEAD && js->seats[i].dboid == db->dboid)
			js->seats[i].state = JS_SEAT_FREE;
	js_databases_offer_seat();
}

/*
 * At once, unless an error ended several short lives in a row: then later and
 * later.
 */
static void
set_next_start(JsDatabase *db, bool stumbled)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!stumbled)
		db->failures = 0;
	else if (now - db->started_at > 10 * USECS_PER_SEC)
		db->failures = 1;
	else
		db->failures++;
	db->next_start = TimestampTzPlusMilliseconds(now, Max(Min(db->failures, 6) - 1, 0) * 1000);
}

/*
 * This process is no longer the scheduler of its database.  With keep the
 * launcher starts another, else the entry is given up.
 */
void
js_database_detach(bool keep, bool stumbled)
{
	JsDatabase *db;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	db = js_database_find_locked(MyDatabaseId);
	if (db != NULL && db->scheduler == MyProc)
	{
		db->scheduler = NULL;
		db->scheduler_pid = 0;
		db->seat_number = 0;
		if (db->state == JS_DATABASE_RUNNING && keep)
			db->state = JS_DATABASE_WANTED;
		else if (db->state == JS_DATABASE_RUNNING)
			free_database(db);
		if (keep)
			set_next_start(db, stumbled);
		wake_launcher();
	}
	LWLockRelease(js->lock);
	ConditionVariableBroadcast(&js->departed);
}

/* Caller holds js->lock exclusively. */
static void
expel(JsSeat *seat)
{
	seat->expelled = true;
	if (seat->state == JS_SEAT_STARTING && seat->pid == 0)
		seat->state = JS_SEAT_DEAD; /* the process will not find its seat */
	else if (seat->proc != NULL)
		SetLatch(&seat->proc->procLatch);
}

/*
 * Sends away who works in a database: its scheduler at once, its workers when
 * they have done what they are executing.  None comes back until the database
 * is let go, or for a minute if that is forgotten; an unlisted one until
 * jobsched.databases lists it again.
 */
void
js_database_hold(Oid dboid, bool unlisted)
{
	JsDatabase *db;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	db = js_database_find_locked(dboid);
	if (db != NULL)
	{
		db->state = JS_DATABASE_HELD;
		db->held_until = GetCurrentTimestamp() + 60 * USECS_PER_SEC;
		db->unlisted = unlisted;
		if (db->scheduler_pid != 0)
			kill(db->scheduler_pid, SIGTERM);
	}
	for (int i = 0; i < js->total_seats; i++)
		if (js->seats[i].state != JS_SEAT_FREE && js->seats[i].dboid == dboid)
			expel(&js->seats[i]);
	LWLockRelease(js->lock);
}

/* Whether runs have begun in a seat. */
static bool
seat_is_busy(const JsSeat *seat)
{
	return seat->flights != NULL ? seat->flights->taken > 0 : seat->current_count > 0;
}

/*
 * Whether all have gone that were sent away.  With patience (microseconds)
 * workers do not count that have been executing something for longer; an HTTP
 * worker goes at once.
 */
bool
js_database_is_clear(Oid dboid, int64 patience)
{
	TimestampTz busy_since = GetCurrentTimestamp() - patience;
	JsDatabase *db;
	bool		clear;

	LWLockAcquire(js->lock, LW_SHARED);
	db = js_database_find_locked(dboid);
	clear = db == NULL || db->scheduler == NULL;
	for (int i = 0; i < js->total_seats; i++)
	{
		JsSeat	   *seat = &js->seats[i];

		if (seat->dboid == dboid && seat->proc != NULL &&
			(patience == 0 || seat->flights != NULL || !seat_is_busy(seat) ||
			 seat->busy_since > busy_since))
			clear = false;
	}
	LWLockRelease(js->lock);
	return clear;
}

/* The command is over; the database is gone, or its scheduler may come back. */
void
js_database_unhold(Oid dboid, bool gone)
{
	JsDatabase *db;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	db = js_database_find_locked(dboid);
	if (db != NULL && db->state == JS_DATABASE_HELD)
	{
		if (gone)
			free_database(db);
		else
			db->state = JS_DATABASE_WANTED;
		db->next_start = 0;
		wake_launcher();
	}
	LWLockRelease(js->lock);
}

/* A scheduler was started and did not arrive. */
void
js_database_stillborn(JsDatabase *db)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	if (db->state == JS_DATABASE_STARTING)
	{
		db->state = JS_DATABASE_WANTED;
		db->failures++;
		db->next_start = GetCurrentTimestamp() +
			Min(1 << Min(db->failures, 8), 300) * USECS_PER_SEC;
	}
	LWLockRelease(js->lock);
}

/* Whether workers of a database still have, or died with, runs they had begun. */
static bool
has_begun_runs(Oid dboid)
{
	for (int i = 0; i < js->total_seats; i++)
		if (js->seats[i].state != JS_SEAT_FREE && js->seats[i].dboid == dboid &&
			seat_is_busy(&js->seats[i]))
			return true;
	return false;
}

/*
 * No scheduler shall be had for a database that is not listed, or is gone.
 * If it comes back the seats must tell its scheduler which runs had begun, so
 * as long as there are such the entry stays.
 */
void
js_database_give_up(JsDatabase *db)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	if (db->state != JS_DATABASE_RUNNING && has_begun_runs(db->dboid))
	{
		db->state = JS_DATABASE_HELD;
		db->unlisted = true;
	}
	else if (db->state != JS_DATABASE_RUNNING)
		free_database(db);
	LWLockRelease(js->lock);
}

void
js_database_note_prepared(Oid dboid)
{
	JsDatabase *db = js_database_find(dboid);

	if (db != NULL)
		pg_atomic_write_u32(&db->prepared, 1);
}

bool
js_database_has_prepared(Oid dboid)
{
	JsDatabase *db = js_database_find(dboid);

	return db != NULL && pg_atomic_read_u32(&db->prepared) != 0;
}

static void
add_news(JsDatabase *db, const JsNews *news, int count, bool overflow)
{
	SpinLockAcquire(&db->mutex);
	/* What has been told before stays: that is found at once all the same. */
	if (overflow || db->news_count + count > JS_WAKE_SIZE)
		db->news_overflow = true;
	else
	{
		memcpy(db->news + db->news_count, news, count * sizeof(JsNews));
		db->news_count += count;
	}
	SpinLockRelease(&db->mutex);
}

/*
 * Tells the scheduler of a database what has been committed.  Called from a
 * commit callback: nothing here can fail.  A database whose scheduler is not
 * there reads everything when it starts; one without entry gets one.
 */
void
js_database_tell(Oid dboid, const JsNews *news, int count, bool overflow)
{
	JsDatabase *db;

	LWLockAcquire(js->lock, LW_SHARED);
	db = js_database_find_locked(dboid);
	if (db != NULL && db->state == JS_DATABASE_RUNNING)
	{
		add_news(db, news, count, overflow);
		js_database_wake(db);
	}
	LWLockRelease(js->lock);
	if (db == NULL)
		(void) js_database_want(dboid);
}

/* Moves the news out; the array has room for JS_WAKE_SIZE of them. */
int
js_database_take_news(JsDatabase *db, JsNews *news, bool *overflow)
{
	int			count;

	SpinLockAcquire(&db->mutex);
	count = db->news_count;
	memcpy(news, db->news, count * sizeof(JsNews));
	db->news_count = 0;
	*overflow = db->news_overflow;
	db->news_overflow = false;
	SpinLockRelease(&db->mutex);
	return count;
}

bool
js_database_has_news(JsDatabase *db)
{
	bool		has;

	SpinLockAcquire(&db->mutex);
	has = db->news_count > 0 || db->news_overflow;
	SpinLockRelease(&db->mutex);
	return has;
}

/* Whether some are of that kind, or of which kind they are is not known. */
bool
js_database_has_news_of(JsDatabase *db, JsNewsKind kind)
{
	bool		has;

	SpinLockAcquire(&db->mutex);
	has = db->news_overflow;
	for (int i = 0; i < db->news_count && !has; i++)
		has = db->news[i].kind == kind;
	SpinLockRelease(&db->mutex);
	return has;
}

/* Has the scheduler, if there is one, look again.  Caller holds js->lock. */
void
js_database_wake(JsDatabase *db)
{
	if (db == NULL || db->scheduler == NULL)
		return;
	pg_atomic_fetch_add_u32(&db->wakeups, 1);
	SetLatch(&db->scheduler->procLatch);
}

/* Caller holds js->lock. */
void
js_databases_wake_locked(void)
{
	for (int i = 0; i < js->max_databases; i++)
		if (js->databases[i].state != JS_DATABASE_FREE)
			js_database_wake(&js->databases[i]);
}

void
js_databases_wake(void)
{
	LWLockAcquire(js->lock, LW_SHARED);
	js_databases_wake_locked();
	LWLockRelease(js->lock);
}

/* All schedulers are to look at the roles that own something. */
void
js_databases_follow_roles(void)
{
	pg_atomic_fetch_add_u32(&js->role_changes, 1);
	js_databases_wake();
}

/* Has the launcher look for databases. */
void
js_launcher_sweep(void)
{
	js->sweep_wanted = true;
	LWLockAcquire(js->lock, LW_SHARED);
	wake_launcher();
	LWLockRelease(js->lock);
}
