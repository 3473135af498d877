/*-------------------------------------------------------------------------
 *
 * sched_steps.c
 *		Which jobs made of steps are to be looked at, for sets of steps that
 *		nobody needs.
 *
 * That is so after news of a job; when a step comes into memory; and, as long as
 * sets are left, whenever a run of the job or of a step has been executed or has
 * ended.  What a crash makes us forget is found at the next start, by the rows of
 * the steps.  sched_retire.c looks.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "utils/hsearch.h"

static HTAB *noted = NULL;		/* ids of jobs, or of steps of them */

static void
make_noted(void)
{
	HASHCTL		control = {
		.keysize = sizeof(int64),
		.entrysize = sizeof(int64),
		.hcxt = sched.context
	};

	noted = hash_create("jobsched workflows", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* The next step looks at the job, or at that of which this is a step. */
void
sched_steps_note(int64 job_id)
{
	if (noted == NULL)
		make_noted();
	(void) hash_search(noted, &job_id, HASH_ENTER, NULL);
}

/* A run has been executed or has ended. */
void
sched_steps_follow(const JobEntry *job)
{
	if (job->has_old_steps)
		sched_steps_note(job->job_id);
}

bool
sched_steps_noted(void)
{
	return noted != NULL && hash_get_num_entries(noted) > 0;
}

/* Takes some of them away; returns how many. */
int
sched_steps_take(int64 *ids, int most)
{
	HASH_SEQ_STATUS status;
	int64	   *id;
	int			count = 0;

	hash_seq_init(&status, noted);
	while (count < most && (id = hash_seq_search(&status)) != NULL)
		ids[count++] = *id;
	if (count == most)
		hash_seq_term(&status);
	for (int i = 0; i < count; i++)
		(void) hash_search(noted, &ids[i], HASH_REMOVE, NULL);
	return count;
}
