/*-------------------------------------------------------------------------
 *
 * sched_memory.c
 *		What the scheduler knows: jobs, waiting runs, owners.
 *
 * Each job and each run of the queue is in memory once and is found by its
 * id.  Jobs with a next slot are in a heap by its time; runs are in exactly
 * one place, by their state:
 *
 *	RUN_FUTURE		heap by run_at
 *	RUN_READY		queue of their owner, by priority and turn
 *	RUN_LIMITED		line of their limits, which are full
 *	RUN_HELD		only with their job, which is paused, asleep, invalid or dropped
 *	RUN_BEHIND		heap of their job, by age: they wait until no run of it is
 *					live, one at a time (sched_overlap.c)
 *	RUN_ASSIGNED	with a worker
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/memutils.h"

Sched		sched;

typedef struct JobItem
{
	int64		job_id;
	char		status;
	JobEntry   *entry;
} JobItem;

#define SH_PREFIX jobhash
#define SH_ELEMENT_TYPE JobItem
#define SH_KEY_TYPE int64
#define SH_KEY job_id
#define SH_HASH_KEY(tb, key) sched_hash_id(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct RunItem
{
	int64		run_id;
	char		status;
	RunEntry   *entry;
} RunItem;

#define SH_PREFIX runhash
#define SH_ELEMENT_TYPE RunItem
#define SH_KEY_TYPE int64
#define SH_KEY run_id
#define SH_HASH_KEY(tb, key) sched_hash_id(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static jobhash_hash * jobs;
static runhash_hash * runs;
static MemoryContext job_context;
static MemoryContext run_context;

/*
 * pairingheap keeps the greatest on top: each of these turns the order round.
 * Of slots at the same instant that of the older job goes first.
 */
static int
compare_due(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const JobEntry *x = pairingheap_const_container(JobEntry, due_node, a);
	const JobEntry *y = pairingheap_const_container(JobEntry, due_node, b);

	TimestampTz xt = sched_job_due_at(x);
	TimestampTz yt = sched_job_due_at(y);

	if (xt != yt)
		return xt < yt ? 1 : -1;
	return x->job_id < y->job_id ? 1 : -1;
}

static int
compare_future(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const RunEntry *x = pairingheap_const_container(RunEntry, item.node, a);
	const RunEntry *y = pairingheap_const_container(RunEntry, item.node, b);

	return x->run_at < y->run_at ? 1 : x->run_at > y->run_at ? -1 : 0;
}

void
sched_memory_init(void)
{
	MemoryContext outer;

	sched.context = AllocSetContextCreate(TopMemoryContext, "jobsched scheduler",
										  ALLOCSET_DEFAULT_SIZES);
	job_context = SlabContextCreate(sched.context, "jobsched jobs",
									SLAB_DEFAULT_BLOCK_SIZE, sizeof(JobEntry));
	run_context = SlabContextCreate(sched.context, "jobsched runs",
									SLAB_DEFAULT_BLOCK_SIZE, sizeof(RunEntry));
	outer = MemoryContextSwitchTo(sched.context);
	jobs = jobhash_create(sched.context, 256, NULL);
	runs = runhash_create(sched.context, 256, NULL);
	sched.due = pairingheap_allocate(compare_due, NULL);
	sched.future = pairingheap_allocate(compare_future, NULL);
	sched.seats = palloc0(js->total_seats * sizeof(SeatEntry));
	MemoryContextSwitchTo(outer);
	dlist_init(&sched.owners);
	slist_init(&sched.tallies);
	sched_stops_init();
	sched_limits_init();
}

/* ------------------------------------------------------------------------
 * Lists that last
 * ------------------------------------------------------------------------
 */

List *
sched_keep(List *list, void *item)
{
	MemoryContext outer = MemoryContextSwitchTo(sched.context);

	list = lappend(list, item);
	MemoryContextSwitchTo(outer);
	return list;
}

/* Ids are int64 pointers. */
List *
sched_keep_id(List *list, int64 id)
{
	int64	   *copy = MemoryContextAlloc(sched.context, sizeof(int64));

	*copy = id;
	return sched_keep(list, copy);
}

/* ------------------------------------------------------------------------
 * Jobs
 * ------------------------------------------------------------------------
 */

JobEntry *
sched_job_find(int64 job_id)
{
	JobItem    *item = jobhash_lookup(jobs, job_id);

	return item ? item->entry : NULL;
}

JobEntry *
sched_job_make(int64 job_id)
{
	JobEntry   *job = MemoryContextAllocZero(job_context, sizeof(JobEntry));
	bool		found;

	job->job_id = job_id;
	job->next_run_at = DT_NOEND;
	job->last_slot = job->done_before = job->done_from = DT_NOBEGIN;
	job->mean_us = -1;
	dlist_init(&job->runs);
	jobhash_insert(jobs, job_id, &found)->entry = job;
	Assert(!found);
	return job;
}

/* The job has no runs any more. */
void
sched_job_forget(JobEntry *job)
{
	Assert(dlist_is_empty(&job->runs) && job->tally == NULL && !job->drop_noted);
	Assert(job->live == 0 && job->waiting == 0);
	if (job->behind != NULL)
		pairingheap_free(job->behind);
	sched_job_set_next(job, DT_NOEND);
	sched_set_flag(&job->asleep, false, &sched.asleep_count);
	sched_set_flag(&job->invalid, false, &sched.invalid_count);
	sched_job_drop_limits(job);
	jobhash_delete(jobs, job->job_id);
	pfree(job);
}

int64
sched_job_count(void)
{
	return jobs->members;
}

/* The visitor must not make or forget jobs. */
void
sched_jobs_each(void (*visit) (JobEntry *job, TimestampTz now), TimestampTz now)
{
	jobhash_iterator iterator;
	JobItem    *item;

	jobhash_start_iterate(jobs, &iterator);
	while ((item = jobhash_iterate(jobs, &iterator)) != NULL)
		visit(item->entry, now);
}

/* Whether nothing at all of the job may start now. */
static bool
holds_all(const JobEntry *job)
{
	return job->paused || job->asleep || job->invalid || job->dropped;
}

/* Whether the job's schedule is in force. */
bool
sched_job_fires(const JobEntry *job)
{
	return job->enabled && !job->auto_paused && !holds_all(job);
}

/*
 * Sets the job's next slot, DT_NOEND for none, and queues it if the schedule
 * is in force.  A paused job keeps its slot and is not queued.
 */
void
sched_job_set_next(JobEntry *job, TimestampTz next)
{
	if (job->due_queued)
		pairingheap_remove(sched.due, &job->due_node);
	job->next_run_at = next;
	job->due_queued = next != DT_NOEND && sched_job_fires(job);
	if (job->due_queued)
		pairingheap_add(sched.due, &job->due_node);
}

/* Its slot stays what it is, and is looked at again then. */
void
sched_job_hold_back(JobEntry *job, TimestampTz until)
{
	if (job->due_queued)
		pairingheap_remove(sched.due, &job->due_node);
	job->due_queued = false;
	job->not_before = until;
	sched_job_set_next(job, job->next_run_at);
}

TimestampTz
sched_job_due_at(const JobEntry *job)
{
	return Max(job->next_run_at, job->not_before);
}

/* ------------------------------------------------------------------------
 * Owners
 * ------------------------------------------------------------------------
 */

/* There are few of them, and they are found once for each run. */
OwnerEntry *
sched_owner(Oid oid, bool http)
{
	dlist_iter	iter;
	OwnerEntry *owner;
	MemoryContext outer;

	dlist_foreach(iter, &sched.owners)
	{
		owner = dlist_container(OwnerEntry, node, iter.cur);
		if (owner->owner == oid && owner->http == http)
			return owner;
	}
	outer = MemoryContextSwitchTo(sched.context);
	owner = palloc0(sizeof(OwnerEntry));
	owner->owner = oid;
	owner->http = http;
	owner->unread_from = PG_INT64_MAX;
	sched_fair_init(&owner->ready);
	MemoryContextSwitchTo(outer);
	dlist_push_tail(&sched.owners, &owner->node);
	return owner;
}

/* ------------------------------------------------------------------------
 * Runs
 * ------------------------------------------------------------------------
 */

RunEntry *
sched_run_find(int64 run_id)
{
	RunItem    *item = runhash_lookup(runs, run_id);

	return item ? item->entry : NULL;
}

/* The visitor must not make or forget runs. */
void
sched_runs_each(void (*visit) (RunEntry *run))
{
	runhash_iterator iterator;
	RunItem    *item;

	runhash_start_iterate(runs, &iterator);
	while ((item = runhash_iterate(runs, &iterator)) != NULL)
		visit(item->entry);
}

/* The caller fills it in, attaches it to its limits, and places it. */
RunEntry *
sched_run_make(int64 run_id, JobEntry *job)
{
	RunEntry   *run = MemoryContextAllocZero(run_context, sizeof(RunEntry));
	bool		found;

	run->run_id = run_id;
	run->job = job;
	run->owner = sched_owner(job->owner, job->http);
	run->state = RUN_HELD;
	run->seat = -1;
	run->item.age = run_id;
	run->placed = job->placing;
	dlist_push_tail(&job->runs, &run->job_node);
	runhash_insert(runs, run_id, &found)->entry = run;
	Assert(!found);
	return run;
}

/*
 * What a run takes, at most: its entry, and what there is for its limits if no
 * other run has the same.
 */
#define RUN_COST 768
#define KEY_COST 512

void
sched_run_charge(RunEntry *run, int nkeys)
{
	run->cost = RUN_COST + nkeys * KEY_COST;
	run->owner->memory += run->cost;
}

/* Whether it is an HTTP request. */
bool
sched_run_is_http(const RunEntry *run)
{
	return !run->callback && (run->own_request || run->job->http);
}

/*
 * Whether its job has got another owner since somebody queued it with something
 * of its own to execute: nobody may have his execute that as another role.
 */
bool
sched_run_is_disowned(const RunEntry *run)
{
	return (run->callback || run->own_request) && run->brought_by != run->job->owner &&
		OidIsValid(run->job->owner) && !run->job->asleep && !run->job->dropped;
}

/* Whether an attempt is one transaction. */
bool
sched_run_is_transactional(const RunEntry *run)
{
	return run->callback || (!sched_run_is_http(run) && run->job->transactional);
}

/* Whose it is now.  The run is in no queue. */
void
sched_run_follow(RunEntry *run)
{
	run->owner->memory -= run->cost;
	run->owner = sched_owner(run->job->owner, sched_run_is_http(run));
	run->owner->memory += run->cost;
}

/*
 * For its job, which counts them: has begun, or would if there were a worker;
 * not one that is for later.
 */
static bool
is_live(const RunEntry *run)
{
	return !run->backfill && !run->callback &&
		(run->state == RUN_READY || run->state == RUN_LIMITED || run->state == RUN_ASSIGNED ||
		 (run->state == RUN_FUTURE && run->attempt > 0));
}

static bool
is_waiting(const RunEntry *run)
{
	return run->of_slot && !is_live(run) &&
		(run->state == RUN_FUTURE || run->state == RUN_BEHIND);
}

/* Whether a slot that comes now finds this run in its way. */
bool
sched_run_overlaps(const RunEntry *run)
{
	return run->live || run->waiting;
}

static void
set_counted(bool *flag, bool value, int32 *count)
{
	*count += (int) value - (int) *flag;
	*flag = value;
}

static int
compare_behind(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const RunEntry *x = pairingheap_const_container(RunEntry, item.node, a);
	const RunEntry *y = pairingheap_const_container(RunEntry, item.node, b);

	return x->run_id < y->run_id ? 1 : x->run_id > y->run_id ? -1 : 0;
}

static void
add_behind(RunEntry *run)
{
	JobEntry   *job = run->job;

	if (job->behind == NULL)
	{
		MemoryContext outer = MemoryContextSwitchTo(sched.context);

		job->behind = pairingheap_allocate(compare_behind, NULL);
		MemoryContextSwitchTo(outer);
	}
	pairingheap_add(job->behind, &run->item.node);
}

static void
leave_place(RunEntry *run, RunEntryState next)
{
	switch (run->state)
	{
		case RUN_FUTURE:
			pairingheap_remove(sched.future, &run->item.node);
			break;
		case RUN_READY:
			(void) sched_fair_remove(&run->item, next == RUN_ASSIGNED);
			run->owner->ready_count--;
			sched.ready_count--;
			break;
		case RUN_LIMITED:
			sched_limits_unwait(run);
			break;
		case RUN_BEHIND:
			pairingheap_remove(run->job->behind, &run->item.node);
			break;
		case RUN_ASSIGNED:
			run->owner->assigned--;
			break;
		case RUN_HELD:
			break;
	}
}

static void
enter_place(RunEntry *run)
{
	switch (run->state)
	{
		case RUN_FUTURE:
			pairingheap_add(sched.future, &run->item.node);
			break;
		case RUN_READY:
			sched_fair_add(&run->owner->ready, &run->item, sched_limits_turn(run->limits),
						   run->priority, 0);
			run->owner->ready_count++;
			sched.ready_count++;
			break;
		case RUN_LIMITED:
			sched_limits_wait(run);
			break;
		case RUN_BEHIND:
			add_behind(run);
			break;
		case RUN_ASSIGNED:
			run->owner->assigned++;
			break;
		case RUN_HELD:
			break;
	}
}

/*
 * What a run may be with regard to its limits: a unit of each is held by those
 * that are ready or assigned.
 */
static RunEntryState
state_by_limits(RunEntry *run, RunEntryState state)
{
	if (state == RUN_READY && !sched_limits_take(run, false))
		return RUN_LIMITED;
	if (state == RUN_ASSIGNED)
		(void) sched_limits_take(run, true);
	else if (state != RUN_READY)
		sched_limits_release(run);
	return state;
}

/* No run of the job is live: the first of those behind can start. */
static void
note_promotable(JobEntry *job)
{
	if (job->live > 0 || job->promote_noted ||
		job->behind == NULL || pairingheap_is_empty(job->behind))
		return;
	sched.promotable = sched_keep_id(sched.promotable, job->job_id);
	job->promote_noted = true;
}

/*
 * Moves a run to the place that belongs to a state; for one that is to be
 * ready, and that a limit does not let, that is RUN_LIMITED.
 */
void
sched_run_place(RunEntry *run, RunEntryState state)
{
	leave_place(run, state);
	run->state = RUN_HELD;
	run->state = state_by_limits(run, state);
	set_counted(&run->live, is_live(run), &run->job->live);
	set_counted(&run->waiting, is_waiting(run), &run->job->waiting);
	enter_place(run);
	note_promotable(run->job);
}

void
sched_run_forget(RunEntry *run)
{
	sched_run_place(run, RUN_HELD);
	sched_limits_detach(run);
	if (run->stop != NULL)
		dlist_push_tail(&sched.stops_done, &run->stop->node);
	run->owner->memory -= run->cost;
	dlist_delete(&run->job_node);
	runhash_delete(runs, run->run_id);
	pfree(run);
}

/*
 * Runs that wait are executed as whoever owns the job when they start: they
 * execute what that role has defined.  What was claimed in the name of another
 * has to be claimed again.  (Those that bring along what another has defined are
 * cancelled: see sched_run_is_disowned().)
 */
static void
follow_owner(RunEntry *run)
{
	Oid			before = run->owner->owner;

	if (run->owner->http == sched_run_is_http(run) && before == run->job->owner)
		return;
	sched_run_place(run, RUN_HELD);
	sched_run_follow(run);
	run->claimed = false;
	if (before != run->job->owner)
		sched_limits_reattach(run);
}

/* Whoever is to be told of a failure hears also of the one that paused the job. */
static bool
is_held(const RunEntry *run)
{
	return holds_all(run->job) || (run->job->auto_paused && !run->callback);
}

/* What was wanted of a run that is not over: it still is. */
static void
queue_stop_again(RunEntry *run)
{
	if (run->stop != NULL)
	{
		run->stop->again = true;
		sched_queue_stop(run->stop, run);
	}
	run->stop = NULL;
	run->cancel = JS_CANCEL_NONE;
	run->terminated = false;
}

/* Puts a run that is with no worker where its time and its job want it. */
void
sched_run_wait(RunEntry *run, TimestampTz now)
{
	run->seat = -1;
	queue_stop_again(run);
	follow_owner(run);
	if (sched_run_is_disowned(run))
		sched_note_disowned(run);
	if (run->cut_off || run->superseded || run->disowned || is_held(run))
		sched_run_place(run, RUN_HELD);
	else if (run->run_at > now && !run->claimed)
		sched_run_place(run, RUN_FUTURE);
	else if (run->of_slot && run->job->serial)
		sched_run_place(run, RUN_BEHIND);
	else
		sched_run_place(run, RUN_READY);
	if (run->job->dropped)
		sched_note_dropped(run->job);
}

/* An attempt has ended, and there will be another. */
void
sched_run_retry(RunEntry *run, TimestampTz retry_at)
{
	if (run == NULL)
		return;
	run->claimed = false;
	run->run_at = retry_at;
	sched_run_wait(run, js_clock_now());
}

/* ------------------------------------------------------------------------
 * Jobs that have changed
 *
 * A change of a job may move all its runs: they are held or let go, belong to
 * another owner, have other limits.  There may be a million of them, and
 * somebody who changes the job all the time; so they are placed anew a part at
 * a time, over several steps if need be, and once however often the job has
 * changed meanwhile.  Nothing starts before it has been: whoever is about to
 * deal out a run that has not sees to it first (sched_first_ready()).
 * ------------------------------------------------------------------------
 */

/* Runs placed anew in one step, and of one job at a time. */
#define MAX_PLACED 10000
#define PLACED_AT_A_TIME 1000

static bool
is_unplaced(const RunEntry *run)
{
	return run->placed != run->job->placing;
}

static void
place_anew(RunEntry *run, TimestampTz now)
{
	dlist_delete(&run->job_node);
	dlist_push_tail(&run->job->runs, &run->job_node);
	run->placed = run->job->placing;
	sched_limits_reattach(run);
	if (run->state == RUN_ASSIGNED)
		return;
	sched_run_wait(run, now);
	sched_limits_take_back(run);
}

static void
note_unplaced(JobEntry *job)
{
	if (!job->place_noted)
		sched.unplaced = sched_keep_id(sched.unplaced, job->job_id);
	job->place_noted = true;
}

/* After a change of the job: its runs have to be placed anew. */
void
sched_job_place_runs(JobEntry *job)
{
	if (dlist_is_empty(&job->runs))
		return;
	job->placing++;
	note_unplaced(job);
}

/* Returns how many runs have been placed; those that have been are last. */
static int
place_some_of(JobEntry *job, TimestampTz now)
{
	int			count = 0;

	while (count < PLACED_AT_A_TIME && !dlist_is_empty(&job->runs))
	{
		RunEntry   *run = dlist_head_element(RunEntry, job_node, &job->runs);

		if (!is_unplaced(run))
			break;
		place_anew(run, now);
		count++;
	}
	return count;
}

/* Jobs take turns; what is left is for the next step. */
void
sched_place_some(void)
{
	TimestampTz now = js_clock_now();
	int			placed = 0;

	while (placed < MAX_PLACED && sched.unplaced != NIL)
	{
		int64	   *id = linitial(sched.unplaced);
		JobEntry   *job = sched_job_find(*id);
		int			count = 0;

		sched.unplaced = list_delete_first(sched.unplaced);
		pfree(id);
		if (job == NULL)
			continue;
		job->place_noted = false;
		count = place_some_of(job, now);
		if (count == PLACED_AT_A_TIME)
			note_unplaced(job);
		placed += count + 1;
	}
}

/* Whose turn it is; NULL if nothing of the owner is ready, or known to be. */
RunEntry *
sched_first_ready(OwnerEntry *owner)
{
	for (int i = 0; i < PLACED_AT_A_TIME; i++)
	{
		FairItem   *item = sched_fair_first(&owner->ready);
		RunEntry   *run;

		if (item == NULL)
			return NULL;
		run = pairingheap_container(RunEntry, item.node, &item->node);
		if (!is_unplaced(run))
			return run;
		place_anew(run, js_clock_now());
	}
	return NULL;
}
