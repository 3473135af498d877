/*-------------------------------------------------------------------------
 *
 * sched_ready.c
 *		Since when runs wait for nothing but a worker: the oldest of each role.
 *
 * Runs are dealt out by turns and by id (sched_fair.c), and a low id says little: a run
 * of last week may have become due just now.  So runs that are ready are counted by the
 * second since which they are, and of each role there is a heap of these seconds, which
 * are few: nearly all that come belong to the last one.  A run has a pointer to its second.
 *
 * INVARIANTS
 *
 *	1. A run has a second if and only if it is in place RUN_READY.
 *	2. A second has a run at least, and is in the heap of the role of its runs.
 *	3. What is shown may be up to a second too early, if the first of the same second has
 *	   gone.  A run begins anew when its job gets another owner or is named by other limits,
 *	   or when a limit was lowered: it is decided then whether it may start.
 *
 * All of it is in the scheduler's memory.  After a start it begins with what rows say:
 * when a run was due, or queued if that was later (who triggers a run for last year must
 * not make it seem that the queue stands still since then), or that it has waited for
 * others until now.  Since when its limits or its job have let it go on is known no more.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/memutils.h"

typedef struct SecondKey
{
	OwnerEntry *owner;
	int64		second;
} SecondKey;

struct ReadySecond
{
	SecondKey	key;
	TimestampTz since;			/* the first that has been in it */
	int64		runs;
	pairingheap_node node;
};

typedef struct SecondItem
{
	SecondKey	key;
	ReadySecond *entry;
	char		status;
} SecondItem;

static inline uint32
hash_second(SecondKey key)
{
	return sched_hash_id((int64) (uintptr_t) key.owner) ^ sched_hash_id(key.second);
}

static inline bool
same_second(SecondKey a, SecondKey b)
{
	return a.owner == b.owner && a.second == b.second;
}

#define SH_PREFIX secondhash
#define SH_ELEMENT_TYPE SecondItem
#define SH_KEY_TYPE SecondKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_second(key)
#define SH_EQUAL(tb, a, b) same_second(a, b)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static secondhash_hash *seconds = NULL;
static MemoryContext second_context;

static int
compare_seconds(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	int64		x = pairingheap_const_container(ReadySecond, node, a)->key.second;
	int64		y = pairingheap_const_container(ReadySecond, node, b)->key.second;

	return x < y ? 1 : x > y ? -1 : 0;
}

void
sched_ready_init(OwnerEntry *owner)
{
	if (seconds == NULL)
	{
		seconds = secondhash_create(sched.context, 64, NULL);
		second_context = SlabContextCreate(sched.context, "jobsched seconds",
										   SLAB_DEFAULT_BLOCK_SIZE, sizeof(ReadySecond));
	}
	owner->ready_seconds.ph_compare = compare_seconds;
	owner->ready_seconds.ph_arg = NULL;
	owner->ready_seconds.ph_root = NULL;
}

/* A run that leaves its place, and may be ready in the next one: since when it is then. */
TimestampTz
sched_ready_since(const RunEntry *run)
{
	if (run->ready_second != NULL)
		return run->ready_second->since;
	if (!run->was_placed || run->state == RUN_FUTURE)
		return Max(run->run_at, run->since);
	return js_clock_now();
}

/* It is ready. */
void
sched_ready_enter(RunEntry *run, TimestampTz since)
{
	SecondKey	key = {run->owner, since / USECS_PER_SEC};
	bool		found;
	SecondItem *item = secondhash_insert(seconds, key, &found);

	if (!found)
	{
		item->entry = MemoryContextAlloc(second_context, sizeof(ReadySecond));
		item->entry->key = key;
		item->entry->since = since;
		item->entry->runs = 0;
		pairingheap_add(&run->owner->ready_seconds, &item->entry->node);
	}
	item->entry->since = Min(item->entry->since, since);
	item->entry->runs++;
	run->ready_second = item->entry;
}

void
sched_ready_leave(RunEntry *run)
{
	ReadySecond *second = run->ready_second;

	run->ready_second = NULL;
	if (--second->runs > 0)
		return;
	pairingheap_remove(&second->key.owner->ready_seconds, &second->node);
	secondhash_delete(seconds, second->key);
	pfree(second);
}

/* DT_NOEND: none is ready. */
TimestampTz
sched_ready_oldest(const OwnerEntry *owner)
{
	const pairingheap_node *first = owner->ready_seconds.ph_root;

	return first == NULL ? DT_NOEND : pairingheap_const_container(ReadySecond, node, first)->since;
}
