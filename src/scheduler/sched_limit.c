/*-------------------------------------------------------------------------
 *
 * sched_limit.c
 *		Limits: how many runs may be under way, and how often one may start.
 *
 * DESIGN
 *
 * Several limits may apply to a run: those of each of its keys, of its job, its
 * queue and its owner.  While it is ready or with a worker it holds a unit of
 * all of them.  It becomes ready only if each has room, and takes all units at
 * once.  So no limit is ever exceeded, whatever workers do, and no worker is
 * started for a run that may not start.  (Runs that a predecessor has started
 * count in any case; and when a limit is lowered no run is stopped.)  This is
 * decided at one point of each step, sched_wake_limited().  Until then each run
 * waits, so of runs that become due together the next one by turn goes first,
 * not the first one found.
 *
 * Runs with the same limits and the same priority share a LimitSet.  Those that
 * wait are in its line, the oldest first; and the set as a whole waits at one
 * limit that is full.  When a limit gets room it is marked dirty, and the first
 * set at each dirty limit is tried: its first run becomes ready, or the set
 * moves to another limit that is full.  So the runs behind a full limit cost
 * nothing, and moving 100,000 runs of one key costs as much as moving one.
 * General limits are served before specific ones: when a run of a user ends,
 * its unit of the queue goes to the set whose turn it is, and not to the next
 * run of the same user.
 *
 *		A limit at which something waits is full, or dirty, or its timer is set.
 *
 * Sets wait in a queue in which keys take turns (sched_fair.c).  A new run
 * waits behind those that are there, even if there is room for a moment.
 *
 * RATES
 *
 * A rate of n in an interval is implemented with GCRA: one run each interval /
 * n, and after a pause up to "burst" of them at once. tat is the time at which
 * what has been let through is used up.  A run pays when it is claimed, once
 * for each attempt.  The number of ready runs that have not paid is at most the
 * number that could pay now. tat is in limit_state, written in the transaction
 * of the claim, so a restart does not allow a burst.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/interval.h"
#include "guc.h"
#include "http/channel.h"
#include "http/limit_keys.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Sets tried in one step at most, so that a step stays short. */
#define MAX_TRIED 10000

/* Keys, job, queue, owner. */
#define MAX_LIMITS (JS_MAX_LIMIT_KEYS + 3)

/* Nothing has been let through yet; far from where arithmetic ends. */
#define LONG_AGO MIN_TIMESTAMP

typedef struct LimitKey
{
	Oid			owner;
	JsLimitKind kind;
	const char *name;
} LimitKey;

struct Limit
{
	LimitKey	key;
	Limit	   *rule;			/* whose numbers hold: a key's are its class's */
	int			refs;			/* sets, jobs, and keys of the class */
	bool		defined;		/* in limit_definition */

	/* the numbers */
	int32		max;			/* 0: none */
	bool		paused;
	int64		interval;		/* between two starts, microseconds; 0: no
								 * rate */
	int64		tolerance;		/* how much earlier one may come: the burst */

	/* what is there */
	int			held;			/* units: runs that are ready or with a worker */
	int			unpaid;			/* of these, who has not been claimed yet */
	TimestampTz tat;
	bool		in_table;		/* limit_state has a row */
	bool		unsaved;		/* in the list of these */
	dlist_node	unsaved_node;
	FairQueue	waiting;		/* LimitSet.item */
	bool		dirty;			/* in the list of these */
	dlist_node	dirty_node;
	bool		timed;			/* in timers */
	TimestampTz wake_at;
	pairingheap_node timer_node;
};

struct LimitSet
{
	int			refs;			/* runs */
	int32		priority;
	pairingheap line;			/* RunEntry.item: those that wait */
	Limit	   *at;				/* where they wait; NULL: none does */
	FairItem	item;			/* there */
	int			count;
	Limit	   *limits[MAX_LIMITS];
};

/* ------------------------------------------------------------------------
 * Tables of limits and sets
 * ------------------------------------------------------------------------
 */

typedef struct LimitItem
{
	LimitKey	key;
	Limit	   *limit;
	uint32		hash;
	char		status;
} LimitItem;

static inline uint32
hash_limit(LimitKey key)
{
	return hash_combine(murmurhash32(key.owner * 8 + key.kind),
						hash_bytes((const unsigned char *) key.name, strlen(key.name)));
}

static inline bool
same_limit(LimitKey a, LimitKey b)
{
	return a.owner == b.owner && a.kind == b.kind && strcmp(a.name, b.name) == 0;
}

#define SH_PREFIX limithash
#define SH_ELEMENT_TYPE LimitItem
#define SH_KEY_TYPE LimitKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_limit(key)
#define SH_EQUAL(tb, a, b) same_limit(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, item) (item)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct SetItem
{
	LimitSet   *set;
	uint32		hash;
	char		status;
} SetItem;

static inline uint32
hash_set(const LimitSet *set)
{
	return hash_combine(murmurhash32(set->priority),
						hash_bytes((const unsigned char *) set->limits,
								   set->count * sizeof(Limit *)));
}

static inline bool
same_set(const LimitSet *a, const LimitSet *b)
{
	return a->priority == b->priority && a->count == b->count &&
		memcmp(a->limits, b->limits, a->count * sizeof(Limit *)) == 0;
}

#define SH_PREFIX sethash
#define SH_ELEMENT_TYPE SetItem
#define SH_KEY_TYPE LimitSet *
#define SH_KEY set
#define SH_HASH_KEY(tb, key) hash_set(key)
#define SH_EQUAL(tb, a, b) same_set(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, item) (item)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static limithash_hash *limits;
static MemoryContext limit_context;
static sethash_hash *sets;
static dlist_head dirty[JS_LIMIT_CLASS];	/* by kind */
static dlist_head unsaved;
static pairingheap *timers;

/* Until all that is under way is known, nothing else takes anything. */
static bool closed = true;

/* Between sched_limits_begin() and the last sched_limits_next(). */
static bool waking = false;

/* A limit has more units out than it should since the last wake. */
static bool over_noted = false;

/* jobsched.max_running_per_owner, as far as it has been applied. */
static int	owner_max = 0;

/* jobsched.http_max_per_host, likewise: of each key of the class of hosts. */
static int	host_max = 0;

static int
compare_timers(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	TimestampTz x = pairingheap_const_container(Limit, timer_node, a)->wake_at;
	TimestampTz y = pairingheap_const_container(Limit, timer_node, b)->wake_at;

	return x < y ? 1 : x > y ? -1 : 0;
}

void
sched_limits_init(void)
{
	MemoryContext outer = MemoryContextSwitchTo(sched.context);

	limits = limithash_create(sched.context, 64, NULL);
	limit_context = SlabContextCreate(sched.context, "jobsched limits",
									  SLAB_DEFAULT_BLOCK_SIZE, sizeof(Limit));
	sets = sethash_create(sched.context, 64, NULL);
	timers = pairingheap_allocate(compare_timers, NULL);
	MemoryContextSwitchTo(outer);
	for (int i = 0; i < lengthof(dirty); i++)
		dlist_init(&dirty[i]);
	dlist_init(&unsaved);
}

/* ------------------------------------------------------------------------
 * Room
 * ------------------------------------------------------------------------
 */

/* A clock that was ahead must not keep anybody waiting for long. */
static TimestampTz
tat_by(Limit *limit, TimestampTz now)
{
	const Limit *rule = limit->rule;

	if (limit->tat - rule->tolerance - rule->interval > now)
		limit->tat = now + rule->tolerance + rule->interval;
	return limit->tat;
}

/*
 * When this many more runs than have been let through may have started, all at
 * once; DT_NOEND if never all at once.
 */
static TimestampTz
instant_for(Limit *limit, int64 count, TimestampTz now)
{
	const Limit *rule = limit->rule;

	if (count - 1 > rule->tolerance / rule->interval)
		return DT_NOEND;
	return tat_by(limit, now) + (count - 1) * rule->interval - rule->tolerance;
}

/*
 * Whether so many may start now.  An instant long past is as good as now, but
 * no better: what has not been used is not kept beyond the burst.
 */
static bool
rate_allows(Limit *limit, int64 count)
{
	TimestampTz now;

	if (limit->rule->interval == 0)
		return true;
	now = js_clock_now();
	return instant_for(limit, count, now) <= now;
}

/* Whether no further run can take a unit.  One that has paid need not again. */
static bool
limit_is_full(Limit *limit, bool paid)
{
	const Limit *rule = limit->rule;

	return rule->paused ||
		(rule->max > 0 && limit->held >= rule->max) ||
		(!paid && !rate_allows(limit, limit->unpaid + INT64CONST(1)));
}

/* Whether more runs have taken a unit than may, since it was defined anew. */
static bool
limit_is_over(Limit *limit)
{
	const Limit *rule = limit->rule;

	return (rule->paused && limit->held > 0) ||
		(rule->max > 0 && limit->held > rule->max) ||
		(limit->unpaid > 0 && !rate_allows(limit, limit->unpaid));
}

/*
 * A limit of the set that a run cannot take now; NULL if there is none.  Who
 * comes new does not overtake those who wait.
 */
static Limit *
obstacle(const LimitSet *set, const RunEntry *run)
{
	for (int i = 0; i < set->count; i++)
		if (closed || limit_is_full(set->limits[i], run->claimed) ||
			(!waking && !sched_fair_is_empty(&set->limits[i]->waiting)))
			return set->limits[i];
	return NULL;
}

static void
set_timer(Limit *limit, TimestampTz when)
{
	if (limit->timed)
		pairingheap_remove(timers, &limit->timer_node);
	limit->timed = when != DT_NOEND;
	limit->wake_at = when;
	if (limit->timed)
		pairingheap_add(timers, &limit->timer_node);
}

static void
set_dirty(Limit *limit, bool value)
{
	if (limit->dirty == value)
		return;
	limit->dirty = value;
	if (value)
		dlist_push_tail(&dirty[limit->key.kind], &limit->dirty_node);
	else
		dlist_delete(&limit->dirty_node);
}

/* Something has changed: sees to it that who waits at the limit has its turn. */
static void
touch(Limit *limit)
{
	TimestampTz when = DT_NOEND;

	if (!sched_fair_is_empty(&limit->waiting))
	{
		if (!limit_is_full(limit, false))
			set_dirty(limit, true);
		else if (!rate_allows(limit, limit->unpaid + INT64CONST(1)))
			when = instant_for(limit, limit->unpaid + INT64CONST(1), js_clock_now());
	}
	set_timer(limit, when);
}

/* ------------------------------------------------------------------------
 * Limits and sets come and go
 * ------------------------------------------------------------------------
 */

static bool
is_host_class(const Limit *limit)
{
	return limit->key.kind == JS_LIMIT_CLASS && strcmp(limit->key.name, JS_HOST_CLASS) == 0;
}

/* Slack takes one message a second, and a few at once after a pause. */
static bool
is_slack_class(const Limit *limit)
{
	return limit->key.kind == JS_LIMIT_CLASS && strcmp(limit->key.name, JS_SLACK_CLASS) == 0;
}

/* Classes that have numbers though nobody has given any. */
static bool
has_default(const char *class)
{
	return strcmp(class, JS_HOST_CLASS) == 0 || strcmp(class, JS_SLACK_CLASS) == 0;
}

static Limit *limit_get(Oid owner, JsLimitKind kind, const char *name);

/* The class of a key, if it has any numbers; else NULL. */
static Limit *
class_of(const Limit *limit)
{
	const char *name = limit->key.name;
	LimitKey	key = {limit->key.owner, JS_LIMIT_CLASS, pnstrdup(name, strcspn(name, ":"))};
	LimitItem  *item = limithash_lookup(limits, key);
	Limit	   *class = item != NULL ? item->limit : NULL;

	if (class == NULL && has_default(key.name))
		class = limit_get(key.owner, JS_LIMIT_CLASS, key.name);
	pfree((char *) key.name);
	return class;
}

/*
 * Whose numbers hold for a limit: a key's are those of its class.  As long as
 * that has none, the key's own, which has none either: keys are many.
 */
static Limit *
rule_of(Limit *limit)
{
	Limit	   *class = limit->key.kind == JS_LIMIT_KEY ? class_of(limit) : NULL;

	if (class == NULL)
		return limit;
	class->refs++;
	return class;
}

/* What holds where nobody has said anything. */
static void
set_default(Limit *limit)
{
	limit->paused = false;
	limit->max = is_host_class(limit) ? host_max : 0;
	limit->interval = is_slack_class(limit) ? USECS_PER_SEC : 0;
	limit->tolerance = (JS_SLACK_BURST - 1) * limit->interval;
}

/* Makes it if there is none.  The caller adds its reference. */
static Limit *
limit_get(Oid owner, JsLimitKind kind, const char *name)
{
	LimitKey	key = {owner, kind, name};
	LimitItem  *item = limithash_lookup(limits, key);
	Limit	   *limit;
	bool		found;

	if (item != NULL)
		return item->limit;
	limit = MemoryContextAllocZero(limit_context, sizeof(Limit));
	key.name = MemoryContextStrdup(sched.context, name);
	limit->key = key;
	limit->tat = LONG_AGO;
	sched_fair_init(&limit->waiting);
	limithash_insert(limits, key, &found)->limit = limit;
	limit->rule = rule_of(limit);
	set_default(limit);
	return limit;
}

static void limit_unref(Limit *limit);

static void
limit_forget(Limit *limit)
{
	Assert(limit->held == 0 && sched_fair_is_empty(&limit->waiting));
	set_dirty(limit, false);
	set_timer(limit, DT_NOEND);
	limithash_delete(limits, limit->key);
	if (limit->rule != limit)
		limit_unref(limit->rule);
	pfree((char *) limit->key.name);
	pfree(limit);
}

static bool
is_needed(const Limit *limit)
{
	return limit->refs > 0 || limit->defined || limit->in_table || limit->unsaved;
}

static void
limit_unref(Limit *limit)
{
	limit->refs--;
	if (!is_needed(limit))
		limit_forget(limit);
}

static void
each_limit(void (*visit) (Limit *limit))
{
	limithash_iterator iterator;
	LimitItem  *item;

	limithash_start_iterate(limits, &iterator);
	while ((item = limithash_iterate(limits, &iterator)) != NULL)
		visit(item->limit);
}

static bool
set_names(const LimitSet *set, const Limit *limit)
{
	for (int i = 0; i < set->count; i++)
		if (set->limits[i] == limit)
			return true;
	return false;
}

static void
add_to_set(LimitSet *set, Oid owner, JsLimitKind kind, const char *name, int32 max)
{
	Limit	   *limit = limit_get(owner, kind, name);

	if (set_names(set, limit))
		return;
	if (max > 0 && max != limit->max)
	{
		limit->max = max;
		touch(limit);
	}
	limit->refs++;
	set->limits[set->count++] = limit;
}

/* The limits that name a run: its keys, and what its job says now. */
static void
fill_set(LimitSet *set, const RunEntry *run, char **keys, int nkeys)
{
	const JobEntry *job = run->job;
	Oid			owner = run->owner->owner;
	char		id[32];

	memset(set, 0, sizeof(LimitSet));
	set->priority = run->priority;
	for (int i = 0; i < nkeys; i++)
		add_to_set(set, owner, JS_LIMIT_KEY, keys[i], 0);
	if (!run->callback && !run->maps && job->max_concurrency > 0)
	{
		/* The same one whoever owns the job: runs of both may be there. */
		snprintf(id, sizeof(id), INT64_FORMAT, job->job_id);
		add_to_set(set, InvalidOid, JS_LIMIT_JOB, id, job->max_concurrency);
	}
	if (!run->callback && !run->maps && job->queue != NULL)
		add_to_set(set, owner, JS_LIMIT_QUEUE, job->queue->key.name, 0);
	if (owner_max > 0)
		add_to_set(set, owner, JS_LIMIT_OWNER, "", owner_max);
}

static void
unref_limits(LimitSet *set)
{
	for (int i = 0; i < set->count; i++)
		limit_unref(set->limits[i]);
}

/* With a reference for the run; NULL if no limit names it. */
static LimitSet *
set_for(const RunEntry *run, char **keys, int nkeys)
{
	LimitSet	wanted;
	SetItem    *item;
	LimitSet   *set;
	bool		found;

	fill_set(&wanted, run, keys, nkeys);
	if (wanted.count == 0)
		return NULL;
	item = sethash_lookup(sets, &wanted);
	if (item != NULL)
	{
		unref_limits(&wanted);
		item->set->refs++;
		return item->set;
	}
	set = MemoryContextAlloc(sched.context, offsetof(LimitSet, limits) + wanted.count * sizeof(Limit *));
	memcpy(set, &wanted, offsetof(LimitSet, limits) + wanted.count * sizeof(Limit *));
	set->refs = 1;
	sched_fair_init_line(&set->line);
	(void) sethash_insert(sets, set, &found);
	Assert(!found);
	return set;
}

static void
set_unref(LimitSet *set)
{
	if (set == NULL || --set->refs > 0)
		return;
	Assert(set->at == NULL);
	sethash_delete(sets, set);
	unref_limits(set);
	pfree(set);
}

/* ------------------------------------------------------------------------
 * Runs
 * ------------------------------------------------------------------------
 */

/*
 * What a run takes, at most: its entry, and what there is for its limits if no
 * other run has the same.
 */
#define RUN_COST 448
#define SET_COST 512
#define KEY_COST 512

static uint32
cost_of(const LimitSet *set)
{
	uint32		cost = set == NULL ? 0 : SET_COST;

	for (int i = 0; set != NULL && i < set->count; i++)
		if (set->limits[i]->key.kind == JS_LIMIT_KEY)
			cost += KEY_COST;
	return cost;
}

/* A run that is new here, and is nowhere yet. */
void
sched_limits_attach(RunEntry *run, ArrayType *keys)
{
	char	   *names[JS_MAX_LIMIT_KEYS];
	int			count = js_limit_keys_read(keys, names);

	run->limits = set_for(run, names, count);
	sched_run_charge(run, RUN_COST + cost_of(run->limits));
}

/* A run that is nowhere any more. */
void
sched_limits_detach(RunEntry *run)
{
	Assert(!run->holding);
	set_unref(run->limits);
	run->limits = NULL;
}

/* Whether a limit that it has a unit of has too many out. */
bool
sched_limits_hold_too_much(const RunEntry *run)
{
	if (run->holding)
		for (int i = 0; i < run->limits->count; i++)
			if (limit_is_over(run->limits->limits[i]))
				return true;
	return false;
}

/*
 * The limits that name a run now; its keys have not changed.  Other ones than it
 * has have a reference for it.
 */
LimitSet *
sched_limits_of(const RunEntry *run)
{
	char	   *names[JS_MAX_LIMIT_KEYS];
	int			count = 0;
	LimitSet   *old = run->limits;
	LimitSet   *set;

	for (int i = 0; old != NULL && i < old->count; i++)
		if (old->limits[i]->key.kind == JS_LIMIT_KEY)
			names[count++] = (char *) old->limits[i]->key.name;
	set = set_for(run, names, count);
	if (set == old)
		set_unref(set);
	return set;
}

/* The run holds nothing, and is nowhere or with a worker. */
void
sched_limits_exchange(RunEntry *run, LimitSet *set)
{
	sched_run_charge(run, (int32) cost_of(set) - (int32) cost_of(run->limits));
	set_unref(run->limits);
	run->limits = set;
}

/* The key that a run takes turns by. */
const void *
sched_limits_turn(const LimitSet *set)
{
	return set != NULL && set->limits[0]->key.kind == JS_LIMIT_KEY ? set->limits[0] : NULL;
}

/*
 * A run takes a unit of each of its limits, or of none and has to wait, for its
 * turn at least.  At the start what a predecessor has claimed held its units
 * already.
 */
bool
sched_limits_take(RunEntry *run, bool in_any_case)
{
	LimitSet   *set = run->limits;

	if (set == NULL)
		return true;
	if (run->holding && run->unpaid != run->claimed)
		return true;
	sched_limits_release(run);	/* it was lost: another attempt, which pays
								 * again */
	if (!in_any_case && !(closed && run->claimed) && (!waking || obstacle(set, run) != NULL))
		return false;
	run->holding = true;
	run->unpaid = !run->claimed;
	for (int i = 0; i < set->count; i++)
	{
		set->limits[i]->held++;
		set->limits[i]->unpaid += (int) run->unpaid;
	}
	return true;
}

void
sched_limits_release(RunEntry *run)
{
	if (!run->holding)
		return;
	for (int i = 0; i < run->limits->count; i++)
	{
		Limit	   *limit = run->limits->limits[i];

		limit->held--;
		limit->unpaid -= (int) run->unpaid;
		touch(limit);
	}
	run->holding = run->unpaid = false;
}

/* In any case; the next wake takes back what has become too much by it. */
void
sched_limits_take_beyond(RunEntry *run)
{
	(void) sched_limits_take(run, true);
	over_noted |= sched_limits_hold_too_much(run);
}

static RunEntry *
first_in_line(const LimitSet *set)
{
	return pairingheap_container(RunEntry, item.node, pairingheap_first((pairingheap *) &set->line));
}

static void
queue_set(LimitSet *set, Limit *at, int64 waited)
{
	set->at = at;
	set->item.age = first_in_line(set)->run_id;
	sched_fair_add(&at->waiting, &set->item, sched_limits_turn(set), set->priority, waited);
	touch(at);
}

/* It could not take its limits. */
void
sched_limits_wait(RunEntry *run)
{
	LimitSet   *set = run->limits;
	Limit	   *at = set->at != NULL ? set->at : obstacle(set, run);
	bool		first = set->at == NULL || run->item.age < set->item.age;
	int64		waited = 0;

	if (first && set->at != NULL)
		waited = sched_fair_remove(&set->item, false);
	pairingheap_add(&set->line, &run->item.node);
	if (first)
		queue_set(set, at != NULL ? at : set->limits[0], waited);
}

/* It waits no longer; if it is being woken that was its turn. */
void
sched_limits_unwait(RunEntry *run)
{
	LimitSet   *set = run->limits;
	Limit	   *at = set->at;
	bool		first = first_in_line(set) == run;
	int64		waited = first ? sched_fair_remove(&set->item, waking) : 0;

	pairingheap_remove(&set->line, &run->item.node);
	if (!first)
		return;
	set->at = NULL;
	if (!pairingheap_is_empty(&set->line))
		queue_set(set, at, waited);
	else
		touch(at);
}

/* A run was claimed: it uses up what its rates allow, once for each attempt. */
void
sched_limits_pay(RunEntry *run)
{
	if (!run->unpaid)
		return;
	run->unpaid = false;
	for (int i = 0; i < run->limits->count; i++)
	{
		Limit	   *limit = run->limits->limits[i];
		TimestampTz now;

		limit->unpaid--;
		if (limit->rule->interval == 0 || run->looks)	/* who looks will be
														 * claimed again */
			continue;
		now = js_clock_now();
		limit->tat = Max(tat_by(limit, now), now) + limit->rule->interval;
		if (!limit->unsaved)
			dlist_push_tail(&unsaved, &limit->unsaved_node);
		limit->unsaved = true;
		touch(limit);
	}
}

/* ------------------------------------------------------------------------
 * Wake
 * ------------------------------------------------------------------------
 */

/* The next run whose turn it is at a limit; NULL: nobody waits there, or it has no room. */
static RunEntry *
next_at(Limit *limit, int *left)
{
	FairItem   *item;

	while (*left > 0 && (item = sched_fair_first(&limit->waiting)) != NULL && !limit_is_full(limit, false))
	{
		LimitSet   *set = pairingheap_container(LimitSet, item.node, &item->node);
		RunEntry   *run = first_in_line(set);
		Limit	   *other = obstacle(set, run);
		int64		waited;

		(*left)--;
		if (other == NULL)
			return run;
		waited = sched_fair_remove(&set->item, false);
		queue_set(set, other, waited);
	}
	return NULL;
}

static Limit *
first_timer(void)
{
	if (pairingheap_is_empty(timers))
		return NULL;
	return pairingheap_container(Limit, timer_node, pairingheap_first(timers));
}

/* When the first rate allows the next run. */
TimestampTz
sched_limits_deadline(void)
{
	Limit	   *limit = first_timer();

	return limit != NULL ? limit->wake_at : DT_NOEND;
}

/* Whether some limit has room for what waits at it. */
bool
sched_limits_have_room(TimestampTz now)
{
	for (int kind = 0; kind < lengthof(dirty); kind++)
		if (!dlist_is_empty(&dirty[kind]))
			return true;
	return sched_limits_deadline() <= now;
}

/* Limits whose rate allows the next run are tried. */
void
sched_limits_ring(TimestampTz now)
{
	while (sched_limits_deadline() <= now)
	{
		Limit	   *limit = first_timer();

		set_timer(limit, DT_NOEND);
		set_dirty(limit, !sched_fair_is_empty(&limit->waiting));
	}
}

/* Whether a limit has had more units out than it should; asked once. */
bool
sched_limits_were_exceeded(void)
{
	bool		were = over_noted;

	over_noted = false;
	return were;
}

/* Runs that wait for limits may become ready, until there is none whose turn it is. */
void
sched_limits_begin(LimitTurns *turns)
{
	turns->kind = lengthof(dirty) - 1;
	turns->at = NULL;
	turns->left = MAX_TRIED;
	waking = true;
}

/* The caller makes it ready, before he asks again; NULL: nobody's turn it is. */
RunEntry *
sched_limits_next(LimitTurns *turns)
{
	for (;;)
	{
		RunEntry   *run;

		while (turns->at == NULL && turns->kind >= 0 && dlist_is_empty(&dirty[turns->kind]))
			turns->kind--;
		if (turns->at == NULL && (turns->kind < 0 || turns->left == 0))
			break;
		if (turns->at == NULL)
		{
			turns->at = dlist_head_element(Limit, dirty_node, &dirty[turns->kind]);
			set_dirty(turns->at, false);
		}
		if ((run = next_at(turns->at, &turns->left)) != NULL)
			return run;
		touch(turns->at);
		turns->at = NULL;
	}
	waking = false;
	return NULL;
}

/* The clock was set back. */
void
sched_limits_rewind(void)
{
	each_limit(touch);
}

/* ------------------------------------------------------------------------
 * Definitions
 * ------------------------------------------------------------------------
 */

/* Some class is there that no key may know of. */
static bool class_made = false;

static void
undefine(Limit *limit)
{
	if (limit->key.kind != JS_LIMIT_QUEUE && limit->key.kind != JS_LIMIT_CLASS)
		return;
	limit->defined = false;
	set_default(limit);
}

/* Rounded up, so that there are never more than the rate says. */
static void
define_limit(const JsLimitDefinition *row, void *arg)
{
	int64		longest = JS_MAX_INTERVAL_DAYS * USECS_PER_DAY;
	Limit	   *limit;

	if (row->kind != JS_LIMIT_QUEUE && row->kind != JS_LIMIT_CLASS)
		return;
	sched_watch_owner(row->owner, row->is_stale);
	limit = limit_get(row->owner, row->kind, row->name);
	class_made |= row->kind == JS_LIMIT_CLASS && limit->refs == 0;
	limit->defined = true;
	if (row->max_running > 0 && !(is_host_class(limit) && row->max_running > host_max))
		limit->max = row->max_running;
	limit->paused = row->paused;
	if (row->rate == 0 || row->per == 0)
		return;
	limit->interval = (row->per + row->rate - 1) / row->rate;
	limit->tolerance = row->burst - 1 > longest / limit->interval ? longest :
		(row->burst - 1) * limit->interval;
}

/* A class may have got numbers after its keys were there. */
static void
find_rule(Limit *limit)
{
	if (limit->rule == limit)
		limit->rule = rule_of(limit);
}

static bool any_over;

static void
look_at_limit(Limit *limit)
{
	touch(limit);
	any_over |= limit_is_over(limit);
}

/* Looks at all of them; whether more runs have taken a unit of some than may. */
bool
sched_limits_look(void)
{
	any_over = false;
	each_limit(look_at_limit);
	return any_over;
}

static List *forgettable;

static void
note_forgettable(Limit *limit)
{
	if (!is_needed(limit))
		forgettable = lappend(forgettable, limit);
}

/* Those of queues and classes: no other is there without being needed. */
void
sched_limits_forget(void)
{
	ListCell   *lc;

	forgettable = NIL;
	each_limit(note_forgettable);
	foreach(lc, forgettable)
		limit_forget(lfirst(lc));
	list_free(forgettable);
}

static void
apply_owner_max(Limit *limit)
{
	if (limit->key.kind == JS_LIMIT_OWNER)
		limit->max = owner_max;
}

/* Whether other limits name all runs now. */
static bool
read_owner_max(void)
{
	bool		all = (js_guc_max_running_per_owner > 0) != (owner_max > 0);

	if (js_guc_max_running_per_owner == owner_max)
		return false;
	owner_max = js_guc_max_running_per_owner;
	each_limit(apply_owner_max);
	return all;
}

/* Whether a reload has changed what sched_limits_load() applies. */
bool
sched_limits_changed(void)
{
	return js_guc_max_running_per_owner != owner_max || js_guc_http_max_per_host != host_max;
}

/* Reads what limits there are, all of them.  Whether other ones name all runs now. */
bool
sched_limits_load(void)
{
	host_max = js_guc_http_max_per_host;
	each_limit(undefine);
	class_made = false;
	js_limits_visit(define_limit, NULL);
	if (class_made)
		each_limit(find_rule);
	return read_owner_max();
}

/* From now on there are turns. */
void
sched_limits_open(void)
{
	closed = false;
}

/* What the row of a job says has changed; its runs are placed anew later. */
void
sched_job_set_limits(JobEntry *job, const JsJob *row)
{
	Limit	   *old = job->queue;

	job->max_concurrency = row->max_concurrency;
	job->queue = row->queue != NULL ? limit_get(row->owner, JS_LIMIT_QUEUE, row->queue) : NULL;
	if (job->queue != NULL)
		job->queue->refs++;
	if (old != NULL)
		limit_unref(old);
}

/* A job that is being forgotten. */
void
sched_job_drop_limits(JobEntry *job)
{
	if (job->queue != NULL)
		limit_unref(job->queue);
	job->queue = NULL;
}

/* ------------------------------------------------------------------------
 * What must be known after a restart
 * ------------------------------------------------------------------------
 */

static void
visit_limit_state(const JsLimitState *row, void *arg)
{
	Limit	   *limit;

	if (row->kind != JS_LIMIT_QUEUE && row->kind != JS_LIMIT_KEY)
		return;
	limit = limit_get(row->owner, row->kind, row->name);
	limit->tat = Max(row->tat, limit->tat);
	limit->in_table = true;
}

/* Into an empty memory. */
void
sched_limits_recall(void)
{
	js_limit_states_visit(visit_limit_state, NULL);
}

static JsLimitState
state_of(const Limit *limit)
{
	return (JsLimitState)
	{
		limit->key.owner, limit->key.kind, limit->key.name, limit->tat
	};
}

/* In the transaction of the claims that have paid.  A row that somebody holds waits. */
void
sched_limits_save(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &unsaved)
	{
		Limit	   *limit = dlist_container(Limit, unsaved_node, iter.cur);
		JsLimitState state = state_of(limit);

		if (!js_limit_state_write(&state))
			continue;
		dlist_delete(&limit->unsaved_node);
		limit->unsaved = false;
		limit->in_table = true;
	}
}

static TimestampTz sweep_now;

static void
note_passed(Limit *limit)
{
	if (limit->in_table && !limit->unsaved &&
		tat_by(limit, sweep_now) <= sweep_now)
		forgettable = lappend(forgettable, limit);
}

/* Forgets what nobody needs to know any more. */
void
sched_limits_sweep(TimestampTz now)
{
	ListCell   *lc;

	sched_limits_save();
	forgettable = NIL;
	sweep_now = now;
	each_limit(note_passed);
	foreach(lc, forgettable)
	{
		Limit	   *limit = lfirst(lc);
		JsLimitState state = state_of(limit);

		limit->in_table = !js_limit_state_delete(&state);
		if (!is_needed(limit))
			limit_forget(limit);
	}
	list_free(forgettable);
}
