/*-------------------------------------------------------------------------
 *
 * sched_ring.c
 *		Moves the rings of history on, and forgets what no history speaks of any
 *		more.
 *
 * store_history.c says what the steps of a turn are and why.  One ring turns at a
 * time, one portion in each of the scheduler's steps, and each portion is a
 * transaction.
 *
 * Transactions that have named parents before the turn was announced are waited
 * for, without any lock: it is looked each second whether they have ended.
 *
 * A portion may fail, since a reader of the segment holds its lock for longer than
 * lock_timeout.  That is no reason to end.  The turn is given up, and begins again
 * a minute later from the front.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "guc.h"
#include "miscadmin.h"
#include "process/process.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A turn that failed is tried again after this. */
#define RETRY_US (60 * USECS_PER_SEC)

/* And who is waited for is looked at again after this, by the real clock. */
#define LOOK_US USECS_PER_SEC

typedef enum RingPhase
{
	TURN_NONE,
	TURN_AWAIT,
	TURN_KEEP,
	TURN_KEEP_CHILDREN,
	TURN_EMPTY,
	TURN_RELEASE,
	TURN_FORGET,
	TURN_FORGET_COMMANDS,
	TURN_FORGET_MEMOS,
	TURN_FORGET_WAITED
} RingPhase;

typedef struct RingTurn
{
	RingPhase	phase;
	int			ring;
	int64		from;			/* the run to go on with */
	VirtualTransactionId *awaited;	/* ends with an invalid one */
	TimestampTz look_at;		/* whether they have ended */
} RingTurn;

static RingTurn turn = {TURN_NONE};

/* ------------------------------------------------------------------------
 * What others are told
 * ------------------------------------------------------------------------
 */

static void
announce(int ring)
{
	pg_atomic_write_u32(&sched.db->expiring[ring], js_ring_next(ring, &sched.rings[ring]));
	pg_memory_barrier();
}

/* Nothing is emptied any more: before rows are written to that segment. */
static void
publish(int ring)
{
	pg_atomic_write_u32(&sched.db->expiring[ring], JS_NO_SEGMENT);
	pg_memory_barrier();
	pg_atomic_write_u32(&sched.db->segment[ring], sched.rings[ring].segment);
}

void
sched_rings_load(void)
{
	js_rings_read(sched.rings);
	for (int ring = 0; ring < JS_RINGS; ring++)
		publish(ring);
}

/* ------------------------------------------------------------------------
 * What no history speaks of
 * ------------------------------------------------------------------------
 */

static bool
is_expired(const JsJob *job, void *arg)
{
	TimestampTz limit = *(const TimestampTz *) arg;

	return job->dropped_at != DT_NOBEGIN && job->dropped_at < limit &&
		sched_job_find(job->job_id) == NULL && !js_history_keeps_job(job->job_id);
}

/* Of what was before there are no rows of history, but for some that are kept. */
static TimestampTz
forgotten_since(TimestampTz now)
{
	int			retention = Max(js_guc_history_retention, js_guc_failure_retention);

	return now - 2 * USECS_PER_SEC * retention;
}

static void
forget_jobs(TimestampTz now)
{
	TimestampTz limit = forgotten_since(now);
	ListCell   *lc;

	foreach(lc, js_jobs_select(is_expired, &limit))
		js_job_forget(*(int64 *) lfirst(lc));
}

/* Dropped jobs, and that runs were retried, unless a kept run is left of them. */
static int64
forget_some(int64 from, TimestampTz now)
{
	int64		next = js_retried_forget_some(from, now - 2 * USECS_PER_SEC * js_guc_failure_retention);

	if (next == 0)
		forget_jobs(now);
	return next;
}

/* ------------------------------------------------------------------------
 * Turns
 * ------------------------------------------------------------------------
 */

static TimestampTz
due_at(int ring)
{
	int			retention = ring == 0 ? js_guc_history_retention : js_guc_failure_retention;

	return sched.rings[ring].started_at + retention * USECS_PER_SEC / (JS_SEGMENTS - 1);
}

static void
go_on(RingPhase phase)
{
	if (turn.awaited != NULL)
		pfree(turn.awaited);
	turn.awaited = NULL;
	turn.look_at = 0;
	turn.phase = phase;
	turn.from = 1;
}

/* The other ring comes first, so that one that cannot move on is not in its way. */
static void
begin_turn(TimestampTz now)
{
	for (int i = 1; i <= JS_RINGS; i++)
	{
		int			ring = (turn.ring + i) % JS_RINGS;

		/* A clock that was ahead must not keep history for that long. */
		sched.rings[ring].started_at = Min(sched.rings[ring].started_at, now);
		if (now < due_at(ring))
			continue;
		turn.ring = ring;
		go_on(TURN_AWAIT);
		announce(ring);
		return;
	}
}

static void
give_up(void)
{
	publish(turn.ring);
	go_on(TURN_NONE);
}

static void
empty(TimestampTz now)
{
	JsRing		state = sched.rings[turn.ring];

	js_process_begin("emptying a segment of history");
	js_ring_advance(turn.ring, now, &state);
	js_process_commit();
	sched.rings[turn.ring] = state;
	publish(turn.ring);
	go_on(TURN_RELEASE);
}

/* Those who may have named a run of which they do not know yet that it is about to go. */
VirtualTransactionId *
sched_namers(void)
{
	VirtualTransactionId *holders = js_dependency_holders();
	int			count = 0;
	Size		size;

	while (VirtualTransactionIdIsValid(holders[count]))
		count++;
	size = (count + 1) * sizeof(VirtualTransactionId);
	return memcpy(MemoryContextAlloc(sched.context, size), holders, size);
}

/* Whether all of them have ended. */
bool
sched_namers_have_ended(const VirtualTransactionId *namers)
{
	for (int i = 0; VirtualTransactionIdIsValid(namers[i]); i++)
		if (!VirtualXactLock(namers[i], false))
			return false;
	return true;
}

/* Whether all who are waited for have ended. */
static bool
have_ended(void)
{
	if (turn.awaited == NULL)
		turn.awaited = sched_namers();
	return sched_namers_have_ended(turn.awaited);
}

static bool
must_wait(void)
{
	TimestampTz real_now = GetCurrentTimestamp();

	return turn.look_at > real_now && turn.look_at - real_now <= LOOK_US;
}

static void
work(TimestampTz now)
{
	JsRing	   *ring = &sched.rings[turn.ring];
	int64		from = 0;

	js_process_begin("turning a ring of history");
	if (turn.phase == TURN_AWAIT)
		from = have_ended() ? 0 : 1;
	else if (turn.phase == TURN_KEEP)
		from = js_history_keep_some(js_ring_next(turn.ring, ring), turn.from);
	else if (turn.phase == TURN_KEEP_CHILDREN)
		from = js_history_keep_children(js_ring_next(turn.ring, ring), turn.from);
	else if (turn.phase == TURN_RELEASE)
		from = js_history_release_some(turn.from);
	else if (turn.phase == TURN_FORGET_MEMOS)
		from = js_forget_some("memo", "memo_pkey", turn.from);
	else if (turn.phase == TURN_FORGET_WAITED)
		from = js_forget_some("waited", "waited_pkey", turn.from);
	else if (turn.phase == TURN_FORGET_COMMANDS)
		from = js_commands_forget_some(turn.from, forgotten_since(now));
	else if (turn.ring == 1)
		from = forget_some(turn.from, now);
	js_process_commit();
	if (turn.phase == TURN_AWAIT && from != 0)
		turn.look_at = GetCurrentTimestamp() + LOOK_US;
	else if (from != 0)
		turn.from = from;
	else
		go_on(turn.phase == TURN_FORGET_WAITED ? TURN_NONE : turn.phase + 1);
}

/* Retention may have become longer meanwhile, and clocks are set by hand too. */
static void
serve(TimestampTz now)
{
	if (turn.phase != TURN_EMPTY)
		work(now);
	else if (now >= due_at(turn.ring))
		empty(now);
	else
		give_up();
}

static void
serve_or_give_up(TimestampTz now)
{
	MemoryContext outer = CurrentMemoryContext;

	PG_TRY();
	{
		serve(now);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(outer);
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		give_up();
		sched.ring_retry_at = now + RETRY_US;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(outer);
}

/* The next portion, if any. */
void
sched_rings_turn(TimestampTz now)
{
	if (turn.phase == TURN_NONE &&
		(now >= sched.ring_retry_at || sched.ring_retry_at - now > RETRY_US))
		begin_turn(now);
	if (turn.phase != TURN_NONE && !must_wait())
		serve_or_give_up(now);
}

/* How long until there is one; at_most if not earlier. */
long
sched_rings_ms(long at_most)
{
	if (turn.phase != TURN_NONE)
		return must_wait() ? Min(at_most, LOOK_US / 1000) : 0;
	for (int ring = 0; ring < JS_RINGS; ring++)
		at_most = js_clock_ms_until(Max(due_at(ring), sched.ring_retry_at), at_most);
	return at_most;
}
