/*-------------------------------------------------------------------------
 *
 * sched_predecessor.c
 *		Jobs that come after jobs: who comes after whom, and who is to be looked at.
 *
 * sched_successor.c has the design.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* What could not be done, for no fault of the job's, is tried again after this. */
#define PUT_OFF_US USECS_PER_SEC

typedef struct Predecessor
{
	int64		job_id;
	dlist_head	successors;		/* AfterLink.node */
} Predecessor;

/* That a job comes after another. */
typedef struct AfterLink
{
	int64		predecessor_id;
	int64		successor_id;
	dlist_node	node;
} AfterLink;

/* A job that is to be looked at. */
typedef struct NotedJob
{
	int64		job_id;
	dlist_node	node;			/* of ready or later */
} NotedJob;

static HTAB *predecessors = NULL;
static HTAB *noted = NULL;
static dlist_head ready = DLIST_STATIC_INIT(ready); /* oldest first */
static dlist_head later = DLIST_STATIC_INIT(later); /* could not be looked at */
static TimestampTz later_at = 0;	/* when they are ready again */

/* Its entries stay where they are. */
static HTAB *
make_table(const char *name, Size entry_size)
{
	HASHCTL		control = {
		.keysize = sizeof(int64),
		.entrysize = entry_size,
		.hcxt = sched.context
	};

	return hash_create(name, 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* It is to be looked at, after others that are; unless it is so already. */
static void
note(int64 job_id, dlist_head *list)
{
	NotedJob   *job;
	bool		found;

	if (noted == NULL)
		noted = make_table("jobsched successors", sizeof(NotedJob));
	job = hash_search(noted, &job_id, HASH_ENTER, &found);
	if (!found)
		dlist_push_tail(list, &job->node);
}

/* ------------------------------------------------------------------------
 * Who comes after whom
 * ------------------------------------------------------------------------
 */

static Predecessor *
find_predecessor(int64 job_id)
{
	return predecessors == NULL ? NULL : hash_search(predecessors, &job_id, HASH_FIND, NULL);
}

static void
join(AfterLink *link)
{
	Predecessor *predecessor;
	bool		found;

	if (predecessors == NULL)
		predecessors = make_table("jobsched predecessors", sizeof(Predecessor));
	predecessor = hash_search(predecessors, &link->predecessor_id, HASH_ENTER, &found);
	if (!found)
		dlist_init(&predecessor->successors);
	dlist_push_tail(&predecessor->successors, &link->node);
}

static void
part(AfterLink *link)
{
	Predecessor *predecessor = find_predecessor(link->predecessor_id);

	dlist_delete(&link->node);
	if (dlist_is_empty(&predecessor->successors))
		(void) hash_search(predecessors, &link->predecessor_id, HASH_REMOVE, NULL);
}

/* The job leaves the memory, or is to have others. */
void
sched_successor_forget(JobEntry *job)
{
	for (int i = 0; i < job->nafter_links; i++)
		part(&job->after_links[i]);
	if (job->after_links != NULL)
		pfree(job->after_links);
	job->after_links = NULL;
	job->nafter_links = 0;
}

/* The row of a job has been read, and is new or has changed. */
void
sched_successor_apply(JobEntry *job, const JsJob *row)
{
	sched_successor_forget(job);
	if (row->nafter_jobs == 0 || job->dropped)
		return;
	job->after_links = MemoryContextAlloc(sched.context, row->nafter_jobs * sizeof(AfterLink));
	for (int i = 0; i < row->nafter_jobs; i++)
	{
		AfterLink  *link = &job->after_links[i];

		link->predecessor_id = row->after_jobs[i];
		link->successor_id = job->job_id;
		join(link);
		job->nafter_links = i + 1;
	}
	note(job->job_id, &ready);
}

bool
sched_has_predecessors(void)
{
	return predecessors != NULL && hash_get_num_entries(predecessors) > 0;
}

bool
sched_is_predecessor(const JobEntry *job)
{
	return find_predecessor(job->job_id) != NULL;
}

/* The state of a job has a success that it had not. */
void
sched_predecessor_tell(const JobEntry *job)
{
	Predecessor *predecessor = find_predecessor(job->job_id);
	dlist_iter	iter;

	if (predecessor == NULL)
		return;
	dlist_foreach(iter, &predecessor->successors)
		note(dlist_container(AfterLink, node, iter.cur)->successor_id, &ready);
}

/* ------------------------------------------------------------------------
 * Who is to be looked at
 * ------------------------------------------------------------------------
 */

/* It could not be looked at: it is once more in a while, and does not hold up others. */
void
sched_successor_put_off(int64 job_id)
{
	if (dlist_is_empty(&later))
		later_at = GetCurrentTimestamp() + PUT_OFF_US;
	note(job_id, &later);
}

/* When one of those that are noted is to be looked at. */
TimestampTz
sched_successors_deadline(void)
{
	if (!sched.enabled)
		return DT_NOEND;
	if (!dlist_is_empty(&ready))
		return 0;
	if (dlist_is_empty(&later))
		return DT_NOEND;
	return later_at;
}

/* The clock was set back: nobody waits for an hour to come twice. */
void
sched_successors_rewind(void)
{
	later_at = 0;
}

/* Takes some of them away; returns how many. */
int
sched_successors_take(int64 *ids, int most)
{
	int			count = 0;

	if (later_at <= GetCurrentTimestamp())
		while (!dlist_is_empty(&later))
			dlist_push_tail(&ready, dlist_pop_head_node(&later));
	while (count < most && !dlist_is_empty(&ready))
	{
		NotedJob   *job = dlist_container(NotedJob, node, dlist_pop_head_node(&ready));

		ids[count++] = job->job_id;
		(void) hash_search(noted, &job->job_id, HASH_REMOVE, NULL);
	}
	return count;
}
