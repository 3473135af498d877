/*-------------------------------------------------------------------------
 *
 * sched_fair.c
 *		A queue in which keys take turns.
 *
 * Entries wait in lanes, one for each key and priority; entries without a key
 * share one lane for each priority.  Within a lane the oldest goes first.
 * Lanes of equal priority take turns: a lane that had its turn in this round
 * has the next one in the next round, and a new lane is in the next round too.
 * So a lane with 100,000 runs does not delay the first of another by more than
 * one run.
 *
 * A higher priority goes first, but each level is worth only JS_AGEING rounds:
 * the head of a lane is overtaken for at most that many rounds for each level,
 * and then has its turn.  So nothing starves, and a priority that always has
 * work still gets nearly all turns.
 *
 * An entry that moves from one queue to another keeps the time that it has
 * waited, so ageing goes on.
 *
 * Adding and removing costs O(log n).  A lane exists as long as something waits
 * in it.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "utils/memutils.h"

/* How many rounds of waiting are worth one level of priority. */
#define JS_AGEING INT64CONST(1000)

typedef struct LaneKey
{
	FairQueue  *queue;
	const void *key;
	int32		priority;
} LaneKey;

struct FairLane
{
	LaneKey		key;
	int64		turn;			/* the round in which it has its next turn */
	pairingheap items;			/* FairItem.node by age */
	pairingheap_node node;
};

typedef struct LaneItem
{
	LaneKey		key;
	FairLane   *lane;
	char		status;
} LaneItem;

static inline uint32
hash_lane(LaneKey key)
{
	return sched_hash_id((int64) (uintptr_t) key.queue) ^
		sched_hash_id((int64) (uintptr_t) key.key + key.priority);
}

static inline bool
same_lane(LaneKey a, LaneKey b)
{
	return a.queue == b.queue && a.key == b.key && a.priority == b.priority;
}

#define SH_PREFIX lanehash
#define SH_ELEMENT_TYPE LaneItem
#define SH_KEY_TYPE LaneKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_lane(key)
#define SH_EQUAL(tb, a, b) same_lane(a, b)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static lanehash_hash *lanes = NULL;
static MemoryContext lane_context;

static int
compare_items(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	int64		x = pairingheap_const_container(FairItem, node, a)->age;
	int64		y = pairingheap_const_container(FairItem, node, b)->age;

	return x < y ? 1 : x > y ? -1 : 0;
}

static FairItem *
head_of(const FairLane *lane)
{
	return pairingheap_container(FairItem, node, pairingheap_first((pairingheap *) &lane->items));
}

static int
compare_lanes(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const FairLane *x = pairingheap_const_container(FairLane, node, a);
	const FairLane *y = pairingheap_const_container(FairLane, node, b);
	int64		xt = x->turn - x->key.priority * JS_AGEING;
	int64		yt = y->turn - y->key.priority * JS_AGEING;

	if (xt != yt)
		return xt < yt ? 1 : -1;
	return compare_items(&head_of(x)->node, &head_of(y)->node, NULL);
}

static void
init_heap(pairingheap *heap, pairingheap_comparator compare)
{
	heap->ph_compare = compare;
	heap->ph_arg = NULL;
	heap->ph_root = NULL;
}

void
sched_fair_init(FairQueue *queue)
{
	if (lanes == NULL)
	{
		lanes = lanehash_create(sched.context, 64, NULL);
		lane_context = SlabContextCreate(sched.context, "jobsched lanes",
										 SLAB_DEFAULT_BLOCK_SIZE, sizeof(FairLane));
	}
	init_heap(&queue->lanes, compare_lanes);
	queue->round = 0;
}

/* A heap of what is in no queue by itself: the oldest first. */
void
sched_fair_init_line(pairingheap *line)
{
	init_heap(line, compare_items);
}

static FairLane *
make_lane(LaneKey key)
{
	FairLane   *lane = MemoryContextAlloc(lane_context, sizeof(FairLane));

	lane->key = key;
	lane->turn = key.queue->round + 1;
	init_heap(&lane->items, compare_items);
	return lane;
}

/* Its age is set.  waited: rounds that it has waited elsewhere. */
void
sched_fair_add(FairQueue *queue, FairItem *item, const void *key, int32 priority, int64 waited)
{
	LaneKey		lane_key = {queue, key, priority};
	bool		found;
	LaneItem   *known = lanehash_insert(lanes, lane_key, &found);
	bool		first;

	if (!found)
		known->lane = make_lane(lane_key);
	item->lane = known->lane;
	first = !found || item->age < head_of(item->lane)->age || waited > 0;
	if (found && first)
		pairingheap_remove(&queue->lanes, &item->lane->node);
	item->lane->turn = Min(item->lane->turn, queue->round + 1 - waited);
	pairingheap_add(&item->lane->items, &item->node);
	if (first)
		pairingheap_add(&queue->lanes, &item->lane->node);
}

/*
 * turn: because it is its lane's turn, and not for some other reason.  Returns
 * how many rounds it has been overtaken for; one is just taking turns.
 */
int64
sched_fair_remove(FairItem *item, bool turn)
{
	FairLane   *lane = item->lane;
	FairQueue  *queue = lane->key.queue;
	bool		first = head_of(lane) == item;
	int64		waited = first && !turn ? Max(queue->round - lane->turn, 0) : 0;

	item->lane = NULL;
	if (first)
		pairingheap_remove(&queue->lanes, &lane->node);
	pairingheap_remove(&lane->items, &item->node);
	if (!first)
		return 0;
	if (turn)
	{
		queue->round = Max(queue->round, lane->turn);
		lane->turn = queue->round + 1;
	}
	if (!pairingheap_is_empty(&lane->items))
	{
		pairingheap_add(&queue->lanes, &lane->node);
		return waited;
	}
	lanehash_delete(lanes, lane->key);
	pfree(lane);
	return waited;
}

FairItem *
sched_fair_first(FairQueue *queue)
{
	if (sched_fair_is_empty(queue))
		return NULL;
	return head_of(pairingheap_container(FairLane, node, pairingheap_first(&queue->lanes)));
}
