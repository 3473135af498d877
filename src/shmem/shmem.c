/*-------------------------------------------------------------------------
 *
 * shmem.c
 *		What the processes share: databases, seats of workers, mailboxes.
 *
 * DESIGN
 *
 * There is one array of databases and one of seats for workers, both of fixed
 * size.  The launcher keeps one scheduler for each database entry.  A scheduler
 * reserves a seat and starts a worker in it.  From then on it hands it runs
 * through the seat's mailbox and takes the outcomes from the seat's list.
 *
 * LOCK PROTOCOL
 *
 * js->lock (LWLock) protects which database has which scheduler and which seat
 * belongs to which process: every field marked "by lock".  To change one, hold
 * it exclusively.  To set the latch of a process found here, hold it at least
 * shared: that process clears its pointer under the exclusive lock before it
 * exits, so the PGPROC cannot come to belong to another one meanwhile.
 *
 * The mutex (spinlock) of a database or seat protects the fields marked "by
 * mutex".  It may be taken while holding js->lock, never the other way round,
 * and only around straight-line code.  Nothing is held across a transaction, a
 * wait or anything that can report an error.
 *
 * SEATS
 *
 *	 FREE --reserve--> STARTING --ready--> READY --leave--> LEAVING --+
 *	   ^                  |                   |                       |
 *	   |                  +------ exit -------+-----------------------+
 *	   |                                      v
 *	   +--------------- release ------------ DEAD
 *
 * A worker that exits, for whatever reason, leaves its seat DEAD with
 * everything that it held: the runs that it was executing, those that it had
 * not begun, outcomes not yet read.  Its scheduler takes them over and frees
 * the seat.  So each run that is marked as running under this boot id is in
 * some seat, and a run that is marked with another boot id was cut off by the
 * end of its server.  The generation distinguishes a worker that comes late
 * from the one that uses the seat now.
 *
 * An HTTP worker's seat is in the same array; instead of a mailbox it has
 * flights (shmem_flight.c).  There is one such seat for each database.
 *
 * A mailbox never overflows: a scheduler delivers only as many runs as there
 * is room for their outcomes.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "guc.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "shmem/shmem.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

JsShared   *js = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* One for each database, unless there are to be none. */
static int
http_seats(void)
{
	return js_guc_http_max_inflight > 0 ? js_guc_max_databases : 0;
}

static Size
shared_size(void)
{
	Size		size = MAXALIGN(sizeof(JsShared));

	size = add_size(size, mul_size(js_guc_max_databases, sizeof(JsDatabase)));
	size = MAXALIGN(size);
	size = add_size(size, mul_size(max_worker_processes + http_seats(), sizeof(JsSeat)));
	size = MAXALIGN(size);
	return add_size(size, mul_size(http_seats(), js_flights_size()));
}

static void
request_shmem(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(JS_EXTENSION, 1);
}

static void
init_database(JsDatabase *db)
{
	SpinLockInit(&db->mutex);
	pg_atomic_init_u32(&db->segment[0], 0);
	pg_atomic_init_u32(&db->segment[1], 100);
	pg_atomic_init_u32(&db->expiring[0], JS_NO_SEGMENT);
	pg_atomic_init_u32(&db->expiring[1], JS_NO_SEGMENT);
	pg_atomic_init_u32(&db->wakeups, 0);
	pg_atomic_init_u32(&db->waiters, 0);
	for (int i = 0; i < JS_LEFT_NOTHING; i++)
		pg_atomic_init_u64(&db->left_nothing[i], 0);
	pg_atomic_init_u32(&db->prepared, 0);
	pg_atomic_init_u32(&db->hooks_dirty, 0);
	ConditionVariableInit(&db->finished);
}

static void
init_shared(void)
{
	static bool lived_before = false;	/* in the postmaster, which survives */
	char	   *rest = (char *) js + MAXALIGN(sizeof(JsShared));

	memset(js, 0, shared_size());
	js->lock = &(GetNamedLWLockTranche(JS_EXTENSION))->lock;
	do
		js->boot_id = (int64) pg_prng_uint64(&pg_global_prng_state);
	while (js->boot_id == 0);
	js->crashed_at = lived_before ? GetCurrentTimestamp() : 0;
	lived_before = true;
	ConditionVariableInit(&js->departed);
	js->enabled = js_guc_enabled;
	pg_atomic_init_u32(&js->role_changes, 0);
	SpinLockInit(&js->clock_mutex);
	for (int i = 0; i < JS_HOOK_BUCKETS; i++)
		SpinLockInit(&js->hooks[i].mutex);
	js->max_databases = js_guc_max_databases;
	js->databases = (JsDatabase *) rest;
	for (int i = 0; i < js->max_databases; i++)
		init_database(&js->databases[i]);
	rest += MAXALIGN(js->max_databases * sizeof(JsDatabase));
	js->max_seats = max_worker_processes;
	js->total_seats = js->max_seats + http_seats();
	js->seats = (JsSeat *) rest;
	rest += MAXALIGN(js->total_seats * sizeof(JsSeat));
	for (int i = 0; i < js->total_seats; i++)
	{
		SpinLockInit(&js->seats[i].mutex);
		if (i < js->max_seats)
			continue;
		js_flights_init(&js->seats[i], rest);
		rest += js_flights_size();
	}
}

static void
start_shmem(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	js_my_seat = NULL;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	js = ShmemInitStruct(JS_EXTENSION, shared_size(), &found);
	if (!found)
		init_shared();
	LWLockRelease(AddinShmemInitLock);
}

void
js_shmem_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shmem;
}
