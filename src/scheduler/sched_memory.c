/*-------------------------------------------------------------------------
 *
 * sched_memory.c
 *		What the scheduler has in memory: jobs, waiting runs, owners.
 *
 * Each job and each run of the queue is in memory once and is found by its id.
 * Jobs with a next slot are in a heap by its time.  Each run is in exactly one
 * place, by its state (sched_place.c moves it):
 *
 *	RUN_FUTURE		heap by run_at
 *	RUN_READY		queue of their owner, by priority and turn
 *	RUN_LIMITED		line of their limits, one of which is full
 *	RUN_HELD		only with their job, which is paused, asleep, invalid or dropped
 *	RUN_BEHIND		heap of their job, by age: they wait until no run of it is
 *					live, and go one at a time (sched_overlap.c)
 *	RUN_WAITING		found by the runs that they wait for (sched_after.c)
 *	RUN_ASSIGNED	with a worker
 *	RUN_PARENT		found by its children (sched_children.c)
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "scheduler/sched.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

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

static jobhash_hash *jobs;
static runhash_hash *runs;
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
	sched.http_seat = -1;
	sched.seats = palloc0(js->total_seats * sizeof(SeatEntry));
	MemoryContextSwitchTo(outer);
	dlist_init(&sched.owners);
	slist_init(&sched.tallies);
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
	sched_alert_forget(job);
	sched_steps_follow(job);
	if (job->behind != NULL)
		pairingheap_free(job->behind);
	sched_job_set_next(job, DT_NOEND);
	sched_set_flag(&job->asleep, false, &sched.asleep_count);
	sched_set_flag(&job->invalid, false, &sched.invalid_count);
	sched_job_drop_limits(job);
	sched_successor_forget(job);
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
bool
sched_job_holds_all(const JobEntry *job)
{
	return job->paused || job->asleep || job->invalid || job->dropped;
}

/* Whether the job's schedule is in force. */
bool
sched_job_fires(const JobEntry *job)
{
	return job->enabled && !job->auto_paused && !sched_job_holds_all(job);
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
	sched_alert_note(job);
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
	sched_ready_init(owner);
	MemoryContextSwitchTo(outer);
	dlist_push_tail(&sched.owners, &owner->node);
	return owner;
}

/* It is read when there is room for runs of its owner. */
/* Whether more of its runs may be in memory, and would leave a share of its room free. */
bool
sched_owner_has_room(const OwnerEntry *owner, int64 share)
{
	int64		most = js_guc_max_queue_memory * INT64CONST(1024);

	if (share > 0)
		most -= most / share;
	return owner->memory < most && owner->parents_memory < most;
}

void
sched_leave_unread(OwnerEntry *owner, int64 run_id)
{
	owner->unread_from = Min(owner->unread_from, run_id);
	sched.some_unread = true;
}

/* ------------------------------------------------------------------------
 * What is to be ended in the next step
 * ------------------------------------------------------------------------
 */

/* Nothing is ended for a while after a row was found that somebody holds. */
bool
sched_may_end(void)
{
	TimestampTz now = GetCurrentTimestamp();

	return now >= sched.busy_until || sched.busy_until - now > USECS_PER_SEC;
}

/*
 * The next step accounts for a run that was cut off; not so for one of a job
 * that sleeps here: it may be executed elsewhere.
 */
void
sched_note_cut_off(const RunEntry *run)
{
	if (run->cut_off && !run->job->asleep)
		sched.cut_off = sched_keep_id(sched.cut_off, run->run_id);
}

/* The next step ends what waits of this job, and forgets it if it can. */
void
sched_note_dropped(JobEntry *job)
{
	if (!job->drop_noted)
		sched.dropped_jobs = sched_keep(sched.dropped_jobs, job);
	job->drop_noted = true;
}

/* The next step cancels it. */
void
sched_note_disowned(RunEntry *run)
{
	if (!run->disowned)
		sched.disowned = sched_keep_id(sched.disowned, run->run_id);
	run->disowned = true;
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
	run->owner->runs++;
	run->state = RUN_HELD;
	run->seat = -1;
	run->item.age = run_id;
	run->placed = job->placing;
	dlist_push_tail(&job->runs, &run->job_node);
	runhash_insert(runs, run_id, &found)->entry = run;
	Assert(!found);
	return run;
}

/* Whether it queues the elements of its step, or a run of the job that this names. */
bool
sched_row_maps(const JsRun *row, const JobEntry *job)
{
	return job->maps && row->source == JS_SOURCE_STEP;
}

/* Whether it has a request that a worker has to make ready. */
bool
sched_row_looks(const JsRun *row, const JobEntry *job)
{
	return job->looks && job->http && !sched_row_maps(row, job) && row->handler == NULL && !row->sends_request && row->state_size == 0;
}

/* Whether it is an HTTP request; row: of a run that is not in memory so far. */
bool
sched_row_is_http(const JsRun *row, const JobEntry *job)
{
	return row->handler == NULL && !sched_row_maps(row, job) && !sched_row_looks(row, job) &&
		(row->sends_request || job->http);
}

bool
sched_run_is_http(const RunEntry *run)
{
	return !run->callback && !run->maps && !run->looks && (run->own_request || run->job->http);
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
	return run->callback || run->maps || run->looks || (!sched_run_is_http(run) && run->job->transactional);
}

/* Whose it is now.  The run is in no queue. */
void
sched_run_follow(RunEntry *run)
{
	*sched_run_account(run) -= run->cost;
	run->owner->runs--;
	run->owner = sched_owner(run->job->owner, sched_run_is_http(run));
	run->owner->runs++;
	*sched_run_account(run) += run->cost;
}

/*
 * It is in no place any more.  That it was the last one of a dropped job may be
 * told by no tally.
 */
void
sched_run_free(RunEntry *run)
{
	JobEntry   *job = run->job;

	*sched_run_account(run) -= run->cost;
	run->owner->runs--;
	sched_batch_forget(run);
	dlist_delete(&run->job_node);
	runhash_delete(runs, run->run_id);
	pfree(run);
	if (job->dropped && job->tally == NULL && dlist_is_empty(&job->runs))
		sched_note_dropped(job);
}
