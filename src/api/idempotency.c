/*-------------------------------------------------------------------------
 *
 * idempotency.c
 *		What an idempotency key of trigger() means for the run.
 *
 * A key belongs to a job, or to the requests that a role makes without one.
 * One run at a time holds it (table idempotency), for the period that the call
 * which made the run has given, and in any case until the run has ended.  A
 * call of trigger() with a key that is held gets the run that holds it, or an
 * error, or a new run which takes the key over.
 *
 * A session never changes a run.  A row of run_stop, in the same transaction as
 * the new run, says that the run which loses its key must not start.  The
 * scheduler holds the old run back once it has read this row, and ends it; or
 * it has claimed the run before, and drops the row.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/after.h"
#include "api/idempotency.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "base/sqlstate.h"
#include "compat.h"
#include "shmem/clock.h"
#include "shmem/wakeup.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MAX_KEY 200				/* bytes */

static const char *const conflict_names[] = {
	[JS_CONFLICT_RETURN_EXISTING] = "return_existing",
	[JS_CONFLICT_ERROR] = "error",
	[JS_CONFLICT_REPLACE] = "replace",
	[JS_CONFLICT_DEBOUNCE] = "debounce",
	[JS_CONFLICT_THROTTLE] = "throttle"
};

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

/* A key as it is given. */
const char *
js_idempotency_key(const char *key)
{
	if (key[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("idempotency_key cannot be empty"),
				 errhint("Leave it out, or give NULL, for a run without a key.")));
	if (strlen(key) > MAX_KEY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("idempotency_key cannot be longer than %d bytes", MAX_KEY),
				 errhint("Give a digest of it, pg_catalog.md5() for instance.")));
	return key;
}

JsOnConflict
js_on_conflict(const char *name)
{
	for (int i = 0; i < lengthof(conflict_names); i++)
		if (strcmp(name, conflict_names[i]) == 0)
			return (JsOnConflict) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid on_conflict \"%s\"", name),
			 errhint("It is one of return_existing, error, replace, debounce and throttle.")));
}

int64
js_idempotency_period(Interval *interval)
{
	int64		period = js_interval_us("idempotency_period", interval);

	if (period == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("idempotency_period must be longer than zero"),
				 errhint("Leave idempotency_key out for a run that no other shall meet.")));
	return period;
}

/* idempotency_key, on_conflict and idempotency_period, from argument n on. */
void
js_idempotency_arguments(FunctionCallInfo fcinfo, int n, JsIdempotency *idempotency)
{
	idempotency->key = PG_ARGISNULL(n) ? NULL :
		js_idempotency_key(text_to_cstring(PG_GETARG_TEXT_PP(n)));
	idempotency->on_conflict = PG_ARGISNULL(n + 1) ? JS_CONFLICT_RETURN_EXISTING :
		js_on_conflict(text_to_cstring(PG_GETARG_TEXT_PP(n + 1)));
	idempotency->period = PG_ARGISNULL(n + 2) ? USECS_PER_DAY :
		js_idempotency_period(PG_GETARG_INTERVAL_P(n + 2));
}

/* ------------------------------------------------------------------------
 * The decision
 * ------------------------------------------------------------------------
 */

/* Of a run that keeps a key. */
typedef enum KeeperState
{
	KEEPER_WAITS,
	KEEPER_RUNS,
	KEEPER_ENDED
} KeeperState;

static KeeperState
keeper_state(int64 run_id)
{
	JsRun		run;

	if (!js_run_see_head(run_id, &run))
		return KEEPER_ENDED;
	return run.status == JS_RUN_RUNNING || run.status == JS_RUN_WAITING ? KEEPER_RUNS : KEEPER_WAITS;
}

/*
 * The row of the key, once nobody else is about to change it; with its lock.
 * Whoever is, perhaps in a prepared transaction, is waited for.
 */
static bool
find_keeper(JsKeptKey *kept)
{
	for (;;)
	{
		TransactionId writer;
		bool		found;

		js_idempotency_lock(kept);
		found = js_idempotency_find(kept, &writer);
		if (!TransactionIdIsValid(writer))
			return found;
		js_idempotency_unlock(kept);
		XactLockTableWait(writer, NULL, NULL, XLTW_None);
	}
}

pg_noreturn static void
refuse_taken(const JsKeptKey *kept)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("idempotency_key \"%s\" is taken", kept->key),
			 errdetail("Run " INT64_FORMAT " of this job was triggered with it.", kept->run_id),
			 errhint("Choose another key, or call trigger() with on_conflict => 'return_existing'.")));
}

/* Not what the new run is to wait for: it would see it cancelled, and never start. */
static void
push_out(const JsRun *run, int64 run_id, JsStopKind kind)
{
	JsStop		stop = {.kind = kind,.run_id = run_id};

	if (js_after_names(run, run_id))
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("run " INT64_FORMAT " cannot be in after: this call cancels it", run_id),
				 errhint("It has the same idempotency_key and has not started. Choose another key, or leave the run out of after.")));
	js_wakeup_stop(js_stop_insert(&stop));
}

/* Whether the run that keeps the key is what the caller shall get. */
static bool
keeper_stands(const JsIdempotency *idempotency, const JsKeptKey *kept, const JsRun *run)
{
	bool		expired = kept->expires_at <= run->queued_at;
	KeeperState state;

	if (idempotency->on_conflict == JS_CONFLICT_THROTTLE)
		return !expired;
	state = keeper_state(kept->run_id);
	switch (idempotency->on_conflict)
	{
		case JS_CONFLICT_REPLACE:
			if (state == KEEPER_WAITS)
				push_out(run, kept->run_id, JS_STOP_REPLACE);
			return false;
		case JS_CONFLICT_DEBOUNCE:
			if (state == KEEPER_WAITS)
				push_out(run, kept->run_id, JS_STOP_DEBOUNCE);
			return false;
		case JS_CONFLICT_ERROR:
			if (!expired || state != KEEPER_ENDED)
				refuse_taken(kept);
			return false;
		default:
			return !expired || state != KEEPER_ENDED;
	}
}

/*
 * Whether a run is to be queued.  If it is, what it waits for is there, it has
 * its id, keeps the key, and the caller inserts it; if not, run_id is the one
 * that stands for it, and what it was to wait for may be long forgotten.
 */
bool
js_idempotency_admit(const JsIdempotency *idempotency, JsRun *run, bool run_at_given)
{
	JsKeptKey	kept = {.key = idempotency->key};
	bool		found;
	bool		stands;
	JsBadParent bad = js_after_check(run);	/* which may take long: not while
											 * the key is locked */

	if (idempotency->key == NULL)
	{
		js_after_refuse(bad);
		return true;
	}
	/* The job of a role's requests may be yet to be made. */
	if (run->request != NULL)
		kept.owner = run->owner;
	else
		kept.job_id = run->job_id;
	/* What the same command has queued before counts. */
	CommandCounterIncrement();
	found = find_keeper(&kept);
	run->queued_at = js_clock_now();	/* it may have waited */
	stands = found && keeper_stands(idempotency, &kept, run);
	if (stands)
		run->run_id = kept.run_id;
	else
	{
		js_after_refuse(bad);
		if (!run_at_given)
			run->run_at = run->queued_at +
				(idempotency->on_conflict == JS_CONFLICT_DEBOUNCE ? idempotency->period : 0);
		kept.run_id = run->run_id = js_run_next_id();
		kept.queued_at = run->queued_at;
		kept.expires_at = run->queued_at + idempotency->period;
		js_idempotency_write(&kept, found);
	}
	js_idempotency_unlock(&kept);
	return !stands;
}
