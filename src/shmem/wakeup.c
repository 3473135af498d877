/*-------------------------------------------------------------------------
 *
 * wakeup.c
 *		Notifies the scheduler at commit of what a transaction has done.
 *
 * trigger() and the like note what they queued or changed.  When the
 * transaction has committed, its rows are visible, others have been told what
 * it has changed in the catalogs, and its locks are released, the notes go into
 * the shared memory of the database's scheduler, and its latch is set.  Any
 * sooner, a worker could still execute a function that the transaction has
 * replaced, or wait for its locks.  An abort discards the notes.  Those of an
 * aborted subtransaction stay: the scheduler looks for the rows and finds none.
 *
 * A prepared transaction commits in another session, which knows nothing of our
 * notes.  So PREPARE leaves a mark with the database, and if there is one,
 * COMMIT PREPARED (utility_hook.c) makes the scheduler read everything.
 *
 * The callbacks are registered once in the life of the process.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "shmem/shmem.h"
#include "shmem/wakeup.h"
#include "utils/resowner.h"

#define MAX_NOTES 64

static JsNews notes[MAX_NOTES];
static int	note_count = 0;
static bool note_overflow = false;
static bool note_start = false;
static bool note_unhold = false;
static bool note_sweep = false;
static bool note_roles = false;

static bool has_committed = false;

static void
forget_notes(void)
{
	note_count = 0;
	note_overflow = note_start = note_unhold = note_sweep = note_roles = has_committed = false;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		has_committed = true;
	if (event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_PREPARE && (note_count > 0 || note_overflow))
		js_database_note_prepared(MyDatabaseId);
	/* If the extension is gone, the scheduler that now starts finds that. */
	if (note_unhold)
		js_database_unhold(MyDatabaseId, false);
	forget_notes();
}

/*
 * The last that a commit does which others can see is to release its locks.  Not in the
 * phase that is called so: what belongs to a portal that is still there, as of a procedure
 * that commits or where the client has sent the statement in parts, comes before these.
 */
static void
at_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (!has_committed || phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	if (note_unhold)
		js_database_unhold(MyDatabaseId, false);
	if (note_sweep)
		js_launcher_sweep();
	if (note_roles)
		js_databases_follow_roles();
	if (note_start)
		(void) js_database_want(MyDatabaseId);
	if (note_count > 0 || note_overflow)
		js_database_tell(MyDatabaseId, notes, note_count, note_overflow);
	forget_notes();
}

void
js_wakeup_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterResourceReleaseCallback(at_release, NULL);
}

static void
add_note(JsNewsKind kind, int64 id)
{
	JsNews	   *last = note_count > 0 ? &notes[note_count - 1] : NULL;

	if (last != NULL && last->kind == kind &&
		(last->last == id || last->last == id - 1))
		last->last = id;
	else if (note_count == MAX_NOTES)
		note_overflow = true;
	else
		notes[note_count++] = (JsNews)
	{
		kind, id, id
	};
}

void
js_wakeup_run(int64 run_id)
{
	add_note(JS_NEWS_RUNS, run_id);
}

void
js_wakeup_job(int64 job_id)
{
	add_note(JS_NEWS_JOBS, job_id);
}

void
js_wakeup_stop(int64 stop_id)
{
	add_note(JS_NEWS_STOPS, stop_id);
}

void
js_wakeup_event(int64 event_id)
{
	add_note(JS_NEWS_EVENTS, event_id);
}

/* Whether anything runs here has been decided anew. */
void
js_wakeup_processing(void)
{
	add_note(JS_NEWS_PROCESSING, 0);
}

void
js_wakeup_limits(void)
{
	add_note(JS_NEWS_LIMITS, 0);
}

void
js_wakeup_alerts(void)
{
	add_note(JS_NEWS_ALERTS, 0);
}

void
js_wakeup_resets(void)
{
	add_note(JS_NEWS_RESETS, 0);
}

void
js_wakeup_everything(void)
{
	note_overflow = true;
}

/* The database has been held for this transaction. */
void
js_wakeup_unhold(void)
{
	note_unhold = true;
}

/* There is a new database, which may have the extension. */
void
js_wakeup_sweep(void)
{
	note_sweep = true;
}

/* A role has been renamed or dropped. */
void
js_wakeup_roles(void)
{
	note_roles = true;
}

/* A scheduler shall be there for this database. */
void
js_wakeup_start(void)
{
	note_start = true;
}
