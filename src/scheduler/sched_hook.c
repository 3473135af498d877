/*-------------------------------------------------------------------------
 *
 * sched_hook.c
 *		Writes what has come to hooks, and deletes what is of no use any more.
 *
 * Requests are counted in shared memory (shmem_hook.c), which wakes us when the
 * first has come.  Once a second at most the totals that have changed go into their
 * rows, so many in a step, and what was read is marked as written after the commit.  A
 * crash loses what came after that: counts, and the reason of the last refusal;
 * never a run.
 *
 * At the sweep rows go of hooks that are gone, of roles that have been dropped, and
 * tokens of events that have expired.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "store/store_hook.h"
#include "utils/timestamp.h"

/* At most so often, and so many in a step. */
#define WRITE_US USECS_PER_SEC
#define MAX_WRITTEN 64

/* Tokens that a sweep deletes at most; others follow with the next. */
#define MAX_EXPIRED 10000

typedef struct Written
{
	pg_uuid_t	id;
	JsHookTotals totals;
} Written;

static TimestampTz next_write = 0;	/* by the real clock */
static Written written[MAX_WRITTEN];
static int	written_count = 0;

/* When there is something to write; by the real clock. */
TimestampTz
sched_hooks_deadline(void)
{
	return pg_atomic_read_u32(&sched.db->hooks_dirty) == 0 ? DT_NOEND : next_write;
}

bool
sched_hooks_wait(void)
{
	TimestampTz now = GetCurrentTimestamp();

	return pg_atomic_read_u32(&sched.db->hooks_dirty) != 0 &&
		(now >= next_write || next_write - now > WRITE_US);
}

/* The mark is taken away before we look: what comes meanwhile puts it back. */
void
sched_hooks_write(void)
{
	static int	from = 0;		/* more than are written at once take turns */
	bool		is_rest = from > 0;

	pg_atomic_write_u32(&sched.db->hooks_dirty, 0);
	written_count = 0;
	while (written_count < MAX_WRITTEN &&
		   js_hook_next_dirty(&from, &written[written_count].id, &written[written_count].totals))
	{
		Written    *one = &written[written_count++];
		Oid			owner;

		if (js_hook_owner(&one->id, &owner))
			js_hook_state_write(&one->id, &one->totals);
	}
	if (written_count == MAX_WRITTEN || is_rest)
		pg_atomic_write_u32(&sched.db->hooks_dirty, 1);
	if (written_count < MAX_WRITTEN)
		from = 0;
	next_write = GetCurrentTimestamp() + WRITE_US;
}

/* The step has committed. */
void
sched_hooks_written(void)
{
	for (int i = 0; i < written_count; i++)
		js_hook_written(&written[i].id, &written[i].totals);
	written_count = 0;
}

static void
watch_owner(const JsHook *hook, void *arg)
{
	sched_watch_owner(hook->owner, hook->owner_is_stale);
}

void
sched_hooks_sweep(TimestampTz now)
{
	js_hooks_visit(watch_owner, NULL);
	js_hook_states_forget();
	js_event_tokens_expire(now, MAX_EXPIRED);
}
