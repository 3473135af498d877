/*-------------------------------------------------------------------------
 *
 * sched_event.c
 *		Runs that wait for events (doc/workflows.md): who is to look for them.
 *
 * DATA FLOW
 *
 * A run has the names of the events that it waits for in its row.  An event is a
 * row of its own (store_event.c).  Events let nobody go by themselves: a run that
 * waits looks for them in the table, and an event that comes only has those look
 * whom it may concern.  When a run begins to wait, when it is read again after a
 * restart, and when it has been told, it looks for each of its names, and what it
 * finds is written at once: a row of event_match says which event it has got, and an
 * event that was sent to a run is closed.  When it has got all of them, it is placed
 * as if it had been queued now.
 *
 *		run --> sched_event_begin() --> to_see --> sched_await_serve() --> look()
 *			--> event_match, or sched_event_await()
 *		send_event() --> event, news at commit --> sched_event_came()
 *			--> those that await it --> to_see
 *
 * A run that has not got one awaits it in memory under keys: one of its role and
 * the name, for what is sent to all, and one more for each run above it, for what
 * is sent to that.  (What is sent to the run itself finds it by its id.)  A key is a
 * hash of these, and two of them may have the same: who is told for nothing looks
 * for nothing.  So no name is in memory, and no event.
 *
 * What is sent to all is told to all who await it; they are gone through in
 * portions.  What is sent to a run is told to the first who awaits it; who has
 * been told, whatever came of it, has the next one look, as there may be several.
 *
 * What is here are the keys; sched_await.c looks.
 *
 * WHAT IS NEW ENOUGH
 *
 * Events are numbered like runs, in the order of commits (store_event.c).  A run sees
 * those with higher numbers than the root of its tree.  The first of them is taken,
 * whether it was sent to all or to a run.
 *
 * INVARIANTS
 *
 * A run has a RunEvents from when it is read until it has got all its events, and
 * waits for them (sched_run_wait() lets nothing with a RunEvents become ready).
 * While other runs are to end first (RunAfter) it does not look.
 *
 * Nothing is overlooked.  The news of an event come after its commit, and a look is
 * made with a newer snapshot than that of the look before.  So an event that a look
 * has not found will be told of after it.  If news are lost all events are read again
 * (sched_news.c), and each is told as if it had just come; a run that is older than
 * its number, or has it already, finds nothing new.
 *
 * Only the scheduler writes here, one look at a time: nobody gets what another has
 * taken.
 *
 * Roles take turns (sched_turns.c), and no step does more than a portion.
 *
 * LOCKS
 *
 * Only the scheduler's process uses what is here.  If somebody holds the row of a
 * run whose wait is to begin, or of an event that is to be taken, the run looks
 * again a second later.
 *
 * KILL -9
 *
 *		before the commit of who sends		there is no event
 *		after it, before the news			a successor has all who wait look
 *		after COMMIT PREPARED				likewise; it gets its number then
 *		before a step has committed, in		nothing was found: the successor looks
 *		which a run found its event			again, and finds the same or what has
 *											been sent before it
 *		after it, before the disk			likewise; but a worker's commit makes
 *											durable what it builds upon
 *		after it							event_match says what the run has got;
 *											a successor finds that, and places it
 *		after a wait has begun				the row says until when; if that was
 *											not on the disk it begins anew
 *		after its time is over				the run looks once more, then it ends
 *		after the end of the run			a successor finds rows of event_match
 *											of a run that has ended, and deletes
 *											them
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Runs that are told of what was sent to all, in one step. */
#define MAX_TOLD 5000

/* Waits whose time is over, and waits that were put off, in one step. */
#define MAX_RIPENED 5000

/* Rows of event_match deleted in one step, and runs looked at for that at the start. */
#define MAX_DELETED 2000
#define MAX_LEFTOVERS 500

/* When somebody held a row. */
#define RETRY_US USECS_PER_SEC

/* Those who await the same. */
typedef struct EventKey
{
	uint64		hash;
	Oid			owner;
	dlist_head	waits;			/* EventWait.node; who is told goes to the end */
	int64		count;
	int64		to_tell;		/* so many of the first are to be told, */
	int64		came;			/* if they are older than this */
	dlist_node	node;			/* in keys_to_tell, if to_tell > 0 */
} EventKey;

typedef struct EventWait
{
	dlist_node	node;			/* in EventKey.waits */
	dlist_node	own;			/* in RunEvents.waits */
	EventKey   *key;
	RunEvents  *events;
} EventWait;

typedef struct EventKeyItem
{
	uint64		hash;
	char		status;
	EventKey   *key;
} EventKeyItem;

#define SH_PREFIX eventhash
#define SH_ELEMENT_TYPE EventKeyItem
#define SH_KEY_TYPE uint64
#define SH_KEY hash
#define SH_HASH_KEY(tb, key) ((uint32) (key))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What a run takes while it waits, at most: its RunEvents, and for each key a wait and the key. */
#define EVENTS_COST 176
#define WAIT_COST 192

StaticAssertDecl(sizeof(RunEvents) + 16 <= EVENTS_COST, "a wait for events takes more than it costs");
StaticAssertDecl(sizeof(EventWait) + sizeof(EventKey) + 2 * sizeof(EventKeyItem) + 16 <= WAIT_COST,
				 "a key takes more than it costs");

typedef struct Leftover
{
	dlist_node	node;
	int64		run_id;
} Leftover;

static eventhash_hash *keys = NULL;
static uint64 seed;				/* nobody can make up names of one hash */
static MemoryContext wait_context;
static pairingheap *limited;	/* RunEvents.until_node */

/* Waits with which something is to be done. */
static Turns to_see;
static Turns to_end;
static Turns put_off;
static Turns keys_to_tell;		/* EventKey.node */
static TimestampTz retry_at = 0;	/* of those that are put off, by the real
									 * clock */
static int64 to_retry = 0;		/* so many of them, whose time it is */

static dlist_head leftovers = DLIST_STATIC_INIT(leftovers);
static TimestampTz delete_after = 0;	/* by the real clock */
static int64 search_from = 1;	/* for leftovers of a predecessor; 0: done */

static int
compare_until(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const RunEvents *x = pairingheap_const_container(RunEvents, until_node, a);
	const RunEvents *y = pairingheap_const_container(RunEvents, until_node, b);

	return x->until < y->until ? 1 : x->until > y->until ? -1 : 0;
}

static void
open_memory(void)
{
	MemoryContext outer;

	if (keys != NULL)
		return;
	outer = MemoryContextSwitchTo(sched.context);
	if (!pg_strong_random(&seed, sizeof(seed)))
		seed = (uint64) GetCurrentTimestamp();
	keys = eventhash_create(sched.context, 64, NULL);
	wait_context = SlabContextCreate(sched.context, "jobsched waits for events",
									 SLAB_DEFAULT_BLOCK_SIZE, sizeof(EventWait));
	limited = pairingheap_allocate(compare_until, NULL);
	MemoryContextSwitchTo(outer);
}

/* ------------------------------------------------------------------------
 * Keys
 * ------------------------------------------------------------------------
 */

/* open_for: as in the row of an event. */
static uint64
hash_of(Oid owner, const char *name, int64 open_for)
{
	int64		whose[2] = {owner, open_for};

	return hash_combine64(hash_bytes_extended((const unsigned char *) name, strlen(name), seed),
						  hash_bytes_extended((const unsigned char *) whose, sizeof(whose), seed));
}

static EventKey *
find_key(Oid owner, const char *name, int64 open_for)
{
	EventKeyItem *item = keys == NULL ? NULL : eventhash_lookup(keys, hash_of(owner, name, open_for));

	return item == NULL ? NULL : item->key;
}

static EventKey *
open_key(Oid owner, const char *name, int64 open_for)
{
	uint64		hash = hash_of(owner, name, open_for);
	bool		found;
	EventKeyItem *item = eventhash_insert(keys, hash, &found);

	if (!found)
	{
		item->key = MemoryContextAllocZero(sched.context, sizeof(EventKey));
		item->key->hash = hash;
		item->key->owner = owner;
		dlist_init(&item->key->waits);
	}
	return item->key;
}

static void
set_to_tell(EventKey *key, int64 count)
{
	if (key->to_tell > 0)
		sched_turns_remove(&keys_to_tell, &key->node);
	key->to_tell = count;
	if (count > 0)
		sched_turns_add(&keys_to_tell, key->owner, &key->node);
}

static void
close_key(EventKey *key)
{
	if (key->count > 0)
		return;
	set_to_tell(key, 0);
	eventhash_delete(keys, key->hash);
	pfree(key);
}

/* ------------------------------------------------------------------------
 * Waits
 * ------------------------------------------------------------------------
 */

static void
put_on(RunEvents *events, Turns *turns)
{
	if (events->turns != NULL)
		sched_turns_remove(events->turns, &events->node);
	events->turns = turns;
	if (turns != NULL)
		sched_turns_add(turns, events->run->job->owner, &events->node);
}

static RunEvents *
next_in_turn(Turns *turns)
{
	dlist_node *node = sched_turns_next(turns);

	return node == NULL ? NULL : dlist_container(RunEvents, node, node);
}

/*
 * What it takes of its role's memory, whatever comes of it: a key for each name, and one
 * more for each run above it.
 */
static uint32
cost_of(int count, int32 depth)
{
	return EVENTS_COST + Min(count, JS_MAX_EVENTS) * (depth + 1) * WAIT_COST;
}

static RunEvents *
begin(RunEntry *run, uint32 cost)
{
	RunEvents  *events = MemoryContextAllocZero(sched.context, sizeof(RunEvents));

	open_memory();
	events->run = run;
	events->until = DT_NOBEGIN;
	dlist_init(&events->waits);
	run->events = events;
	run->awaited = true;
	events->cost = cost;
	sched_run_charge(run, events->cost);
	return events;
}

/* A run has been read that waits for events; it is in no place yet. */
void
sched_event_begin(RunEntry *run, const JsRun *row)
{
	int			count = ArrayGetNItems(ARR_NDIM(row->wait_for), ARR_DIMS(row->wait_for));
	RunEvents  *events = begin(run, cost_of(count, row->depth));

	events->timeout = row->wait_timeout;
	events->until = row->wait_until;
}

/* A run waits that has been executed: its procedure does, for one event or a request. */
void
sched_event_go_on(RunEntry *run, int32 depth)
{
	if (run->events == NULL)
		begin(run, cost_of(1, depth))->of_procedure = true;
}

/* It awaits an event of a name that is open for a run, or for all (0). */
void
sched_event_await(RunEvents *events, const char *name, int64 open_for)
{
	EventKey   *key = open_key(events->owner, name, open_for);
	EventWait  *wait = MemoryContextAlloc(wait_context, sizeof(EventWait));

	wait->key = key;
	wait->events = events;
	dlist_push_tail(&key->waits, &wait->node);
	dlist_push_tail(&events->waits, &wait->own);
	key->count++;
}

static void
tell(RunEvents *events)
{
	if (events->turns == NULL)
		put_on(events, &to_see);
}

/* A request that a run has sent has left the memory: its procedure may wait for that. */
void
sched_event_tell_procedure(int64 run_id)
{
	RunEntry   *run = sched_run_find(run_id);

	if (run != NULL && run->events != NULL && run->events->of_procedure)
		tell(run->events);
}

/* The first who awaits it looks. */
static void
tell_next(EventKey *key)
{
	EventWait  *wait = dlist_head_element(EventWait, node, &key->waits);

	dlist_move_tail(&key->waits, &wait->node);
	tell(wait->events);
}

/*
 * It awaits nothing, until it has looked.  hand_on: it may have been told of an event
 * for which it will not look.
 */
static void
forget_keys(RunEvents *events, bool hand_on)
{
	while (!dlist_is_empty(&events->waits))
	{
		EventWait  *wait = dlist_head_element(EventWait, own, &events->waits);
		EventKey   *key = wait->key;

		dlist_delete(&wait->node);
		dlist_delete(&wait->own);
		pfree(wait);
		key->count--;
		if (hand_on && key->count > 0)
			tell_next(key);
		close_key(key);
	}
}

void
sched_event_forget_keys(RunEvents *events)
{
	forget_keys(events, false);
}

/* One that is to end may have been told too. */
static bool
is_told(const RunEvents *events)
{
	return events->turns != NULL;
}

static void
leave_limited(RunEvents *events)
{
	if (events->is_limited)
		pairingheap_remove(limited, &events->until_node);
	events->is_limited = false;
}

/* It waits for nothing any more. */
void
sched_event_end(RunEvents *events)
{
	bool		hand_on = is_told(events);

	put_on(events, NULL);
	leave_limited(events);
	forget_keys(events, hand_on);
	sched_run_charge(events->run, -(int32) events->cost);
	events->run->events = NULL;
	pfree(events);
}

/* A run leaves the memory; ended: the queue too, so what it has got is not needed. */
void
sched_event_leave(RunEntry *run, bool ended)
{
	if (run->events != NULL)
		sched_event_end(run->events);
	if (ended && run->awaited)
	{
		Leftover   *leftover = MemoryContextAllocZero(sched.context, sizeof(Leftover));

		leftover->run_id = run->run_id;
		dlist_push_tail(&leftovers, &leftover->node);
	}
}

/* A run that waits has been placed: it looks, unless it has, as who it is now. */
void
sched_event_note(RunEntry *run)
{
	RunEvents  *events = run->events;

	if (events->turns == NULL && !sched_run_is_left_alone(run) &&
		(!events->has_looked || events->owner != run->job->owner))
		put_on(events, &to_see);
}

/* It has looked, and goes on waiting, until its time is over. */
void
sched_event_looked(RunEvents *events, TimestampTz now)
{
	events->has_looked = true;
	put_on(events, events->until != DT_NOBEGIN && events->until <= now ? &to_end : NULL);
	if (events->until == DT_NOBEGIN || events->until <= now || events->is_limited)
		return;
	pairingheap_add(limited, &events->until_node);
	events->is_limited = true;
}

/* It cannot look now, and is noted again when it can. */
void
sched_event_look_away(RunEvents *events)
{
	bool		hand_on = is_told(events);

	events->has_looked = false;
	put_on(events, NULL);
	leave_limited(events);
	forget_keys(events, hand_on);
}

/* Somebody holds a row. */
void
sched_event_put_off(RunEvents *events)
{
	put_on(events, &put_off);
	retry_at = GetCurrentTimestamp() + RETRY_US;
}

/* Whose turn it is to look; NULL: nobody's. */
RunEvents *
sched_event_next_to_see(void)
{
	return next_in_turn(&to_see);
}

/* ------------------------------------------------------------------------
 * Events that come
 * ------------------------------------------------------------------------
 */

/* Lets the first look that awaits what is sent to a run. */
void
sched_event_tell_next(Oid owner, const char *name, int64 open_for)
{
	EventKey   *key = find_key(owner, name, open_for);

	if (key != NULL)
		tell_next(key);
}

static void
tell_all(const JsEvent *event)
{
	EventKey   *key = find_key(event->owner, event->name, 0);

	if (key == NULL)
		return;
	key->came = Max(key->came, event->came);
	set_to_tell(key, key->count);
}

static void
tell_tree(const JsEvent *event)
{
	RunEntry   *run = sched_run_find(event->run_id);

	if (run != NULL && run->events != NULL)
		tell(run->events);
	sched_event_tell_next(event->owner, event->name, event->run_id);
}

/*
 * An event has been read.  One that was prepared has no number yet; if somebody holds
 * its row it gets one when all are read again.
 */
void
sched_event_came(const JsEvent *head, void *arg)
{
	JsEvent		event = *head;

	if (event.is_taken ||
		(event.came == 0 && !js_event_number(&event, js_clock_now() + USECS_PER_DAY)))
		return;
	if (event.run_id == 0)
		tell_all(&event);
	else
		tell_tree(&event);
}

/* Of those that are to be told of what was sent to all, a portion. */
void
sched_event_tell_some(void)
{
	for (int i = 0; i < MAX_TOLD && keys_to_tell.count > 0; i++)
	{
		EventKey   *key = dlist_container(EventKey, node, sched_turns_next(&keys_to_tell));
		EventWait  *wait = dlist_head_element(EventWait, node, &key->waits);

		dlist_move_tail(&key->waits, &wait->node);
		if (wait->events->root < key->came)
			tell(wait->events);
		if (--key->to_tell == 0)
		{
			sched_turns_remove(&keys_to_tell, &key->node);
			key->came = 0;
		}
	}
}

/* ------------------------------------------------------------------------
 * Time
 * ------------------------------------------------------------------------
 */

/* When the time of some is over, by our clock. */
TimestampTz
sched_event_due(void)
{
	if (limited == NULL || pairingheap_is_empty(limited))
		return DT_NOEND;
	return pairingheap_container(RunEvents, until_node, pairingheap_first(limited))->until;
}

static void
ripen_limited(TimestampTz now, int most)
{
	for (int i = 0; i < most && sched_event_due() <= now; i++)
	{
		RunEvents  *events = pairingheap_container(RunEvents, until_node, pairingheap_first(limited));

		leave_limited(events);
		tell(events);
	}
}

/* As many as there are when it is time: those put off meanwhile have another one. */
static void
ripen_put_off(int most)
{
	RunEvents  *events;

	if (to_retry == 0 && put_off.count > 0 && sched_event_deadline() <= GetCurrentTimestamp())
		to_retry = put_off.count;
	for (int i = 0; i < most && to_retry > 0; i++)
	{
		events = next_in_turn(&put_off);
		to_retry = events == NULL ? 0 : to_retry - 1;
		if (events != NULL)
			put_on(events, &to_see);
	}
}

/*
 * Those whose time is over look once more; so do those that were put off.  A portion
 * of them: while others are left the next step has something to do.
 */
void
sched_event_ripen(TimestampTz now)
{
	ripen_limited(now, MAX_RIPENED);
	ripen_put_off(MAX_RIPENED);
}

/* One whose time is over and that has not found all; NULL: there is none. */
RunEntry *
sched_event_next_to_end(void)
{
	RunEvents  *events;

	while ((events = next_in_turn(&to_end)) != NULL)
	{
		if (!sched_run_is_left_alone(events->run))
			return events->run;
		sched_event_look_away(events);
	}
	return NULL;
}

/* Its row is held: others first. */
void
sched_event_end_later(RunEntry *run)
{
	put_on(run->events, &to_end);
}

bool
sched_event_ends_waiting(void)
{
	return to_end.count > 0;
}

/* ------------------------------------------------------------------------
 * Rows that are not needed any more
 * ------------------------------------------------------------------------
 */

static bool
may_delete(void)
{
	TimestampTz now = GetCurrentTimestamp();

	return now >= delete_after || delete_after - now > RETRY_US;
}

static void
delete_leftovers(void)
{
	int			left = MAX_DELETED;

	while (left > 0 && !dlist_is_empty(&leftovers))
	{
		Leftover   *leftover = dlist_head_element(Leftover, node, &leftovers);

		left--;
		dlist_delete(&leftover->node);
		if (js_event_matches_delete(leftover->run_id, &left))
		{
			pfree(leftover);
			continue;
		}
		dlist_push_tail(&leftovers, &leftover->node);
		delete_after = GetCurrentTimestamp() + RETRY_US;	/* somebody holds a row */
		break;
	}
}

/* Once after a start: runs may have ended of which nobody has deleted the rows. */
static void
search_leftovers(void)
{
	for (int i = 0; i < MAX_LEFTOVERS && search_from != 0; i++)
	{
		int64		run_id = js_event_match_next(search_from);
		JsRun		head;
		JsStatus	status;

		search_from = run_id == 0 ? 0 : run_id + 1;
		if (run_id != 0 && sched_run_find(run_id) == NULL && !js_run_see_head(run_id, &head) &&
			(sched.home || js_history_find_head(run_id, false, &head, &status)))
		{
			Leftover   *leftover = MemoryContextAllocZero(sched.context, sizeof(Leftover));

			leftover->run_id = run_id;
			dlist_push_tail(&leftovers, &leftover->node);
		}
	}
}

/* This database has become the home of its runs. */
void
sched_event_search_again(void)
{
	search_from = 1;
}

/* A portion of what is to be deleted. */
void
sched_event_clean(void)
{
	search_leftovers();
	if (!dlist_is_empty(&leftovers) && may_delete())
		delete_leftovers();
}

/* ------------------------------------------------------------------------
 * What the next step has to do
 * ------------------------------------------------------------------------
 */

/* Whether there is something, but for the ends. */
bool
sched_event_waiting(void)
{
	return to_see.count > 0 || keys_to_tell.count > 0 || search_from != 0 || to_retry > 0 ||
		(put_off.count > 0 && sched_event_deadline() <= GetCurrentTimestamp()) ||
		(!dlist_is_empty(&leftovers) && may_delete());
}

/* When there will be, by the real clock. */
TimestampTz
sched_event_deadline(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline = dlist_is_empty(&leftovers) ? DT_NOEND : delete_after;

	if (put_off.count > 0)
		deadline = Min(deadline, retry_at - now > RETRY_US ? now : retry_at);
	return deadline;
}
