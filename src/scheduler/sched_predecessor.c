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
#include "utils/timestamp.h"

typedef struct Predecessor
{
	int64		job_id;
	List	   *successors;		/* ids, int64 pointers */
} Predecessor;

static HTAB *predecessors = NULL;
static HTAB *noted = NULL;		/* ids of jobs to be looked at */
static TimestampTz look_at = 0; /* not before */

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

/* It is to be looked at. */
static void
note(int64 job_id)
{
	if (noted == NULL)
		noted = make_table("jobsched successors", sizeof(int64));
	(void) hash_search(noted, &job_id, HASH_ENTER, NULL);
}

static List *
append(List *ids, int64 id)
{
	MemoryContext outer = MemoryContextSwitchTo(sched.context);
	int64	   *copy = palloc(sizeof(int64));

	*copy = id;
	ids = lappend(ids, copy);
	MemoryContextSwitchTo(outer);
	return ids;
}

static Predecessor *
find_predecessor(int64 job_id)
{
	return predecessors == NULL ? NULL : hash_search(predecessors, &job_id, HASH_FIND, NULL);
}

static void
join(int64 predecessor_id, int64 job_id)
{
	Predecessor *predecessor;
	bool		found;

	if (predecessors == NULL)
		predecessors = make_table("jobsched predecessors", sizeof(Predecessor));
	predecessor = hash_search(predecessors, &predecessor_id, HASH_ENTER, &found);
	if (!found)
		predecessor->successors = NIL;
	predecessor->successors = append(predecessor->successors, job_id);
}

static void
part(int64 predecessor_id, int64 job_id)
{
	Predecessor *predecessor = find_predecessor(predecessor_id);
	ListCell   *lc;

	if (predecessor == NULL)
		return;
	foreach(lc, predecessor->successors)
		if (*(int64 *) lfirst(lc) == job_id)
	{
		pfree(lfirst(lc));
		predecessor->successors = foreach_delete_current(predecessor->successors, lc);
	}
	if (predecessor->successors == NIL)
		(void) hash_search(predecessors, &predecessor_id, HASH_REMOVE, NULL);
}

/* The job leaves the memory, or is to have others. */
void
sched_successor_forget(JobEntry *job)
{
	for (int i = 0; i < job->nafter_jobs; i++)
		part(job->after_jobs[i], job->job_id);
	if (job->after_jobs != NULL)
		pfree(job->after_jobs);
	job->after_jobs = NULL;
	job->nafter_jobs = 0;
}

/* The row of a job has been read, and is new or has changed. */
void
sched_successor_apply(JobEntry *job, const JsJob *row)
{
	sched_successor_forget(job);
	if (row->nafter_jobs == 0 || job->dropped)
		return;
	job->after_jobs = MemoryContextAlloc(sched.context, row->nafter_jobs * sizeof(int64));
	memcpy(job->after_jobs, row->after_jobs, row->nafter_jobs * sizeof(int64));
	job->nafter_jobs = row->nafter_jobs;
	for (int i = 0; i < job->nafter_jobs; i++)
		join(job->after_jobs[i], job->job_id);
	note(job->job_id);
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
	ListCell   *lc;

	if (predecessor == NULL)
		return;
	foreach(lc, predecessor->successors)
		note(*(int64 *) lfirst(lc));
}

/* It could not be looked at: it is once more, with all others, from an instant on. */
void
sched_successor_put_off(int64 job_id, TimestampTz until)
{
	note(job_id);
	look_at = until;
}

/* When those that are noted are to be looked at. */
TimestampTz
sched_successors_deadline(void)
{
	if (!sched.enabled || noted == NULL || hash_get_num_entries(noted) == 0)
		return DT_NOEND;
	return look_at;
}

/* Takes some of them away; returns how many. */
int
sched_successors_take(int64 *ids, int most)
{
	HASH_SEQ_STATUS status;
	int64	   *id;
	int			count = 0;

	look_at = 0;
	hash_seq_init(&status, noted);
	while (count < most && (id = hash_seq_search(&status)) != NULL)
		ids[count++] = *id;
	if (count == most)
		hash_seq_term(&status);
	for (int i = 0; i < count; i++)
		(void) hash_search(noted, &ids[i], HASH_REMOVE, NULL);
	return count;
}
