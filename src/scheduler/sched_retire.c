/*-------------------------------------------------------------------------
 *
 * sched_retire.c
 *		Marks sets of steps as dropped that nobody needs any more.
 *
 * When a run of the job is executed, its worker reads the job, and queues a run
 * for each step of the set that is in force then.  A set that is in force no
 * more, because there is another, or none, or the job has been dropped, is
 * marked as dropped when nobody can queue such runs any more, and none is left.
 * That is so if
 *
 *	- no run of the job is with a worker, and we know the job as its row has it.
 *	  A worker that gets one later has that row, or a newer one: if it has kept
 *	  an older one, our revision tells it to read the row again.
 *	- the queue has no run of any step of the set, in the newest snapshot: the
 *	  worker that has queued some has told us of the end of its execution after
 *	  its commit.
 *
 * A set that has come after we have read the job's row is left alone: it may be
 * in force by now.
 *
 * sched_steps.c knows which jobs are to be looked at.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"

/* Jobs looked at, and steps dropped, in one step of ours. */
#define MAX_SEEN 32
#define MAX_RETIRED 1000

/* Of a job, as its row says. */
typedef struct Sets
{
	int64		in_force;
	int64		newest;
} Sets;

/* If so, the end of such a run makes us look again. */
static bool
has_runs(int64 step_id)
{
	JobEntry   *step = sched_job_find(step_id);

	if (step == NULL || dlist_is_empty(&step->runs))
		return js_run_exists_of(step_id);
	step->has_old_steps = true;
	return true;
}

/*
 * The newest set, and the one in force; 0: none.  False: the job is not ours to look
 * after, or we have not read that row so far, and it is looked at when we have.
 */
static bool
read_sets(int64 workflow_id, const JobEntry *job, Sets *sets)
{
	JsJob		workflow;

	sets->in_force = 0;
	sets->newest = PG_INT64_MAX;
	if (!js_job_read_head(workflow_id, &workflow))
		return true;
	if (job != NULL && job->revision != workflow.revision && !job->dropped)
		return false;
	sets->newest = workflow.steps_revision;
	if (workflow.dropped_at != DT_NOBEGIN)
		return true;
	if (workflow.has_steps)
		sets->in_force = workflow.steps_revision;
	return sched.home && memcmp(&workflow.home, &sched.token, sizeof(pg_uuid_t)) == 0;
}

/* Where the set ends that begins at n. */
static int
end_of_set(const List *steps, int n)
{
	int64		revision = ((JsStepId *) list_nth(steps, n))->revision;

	while (n < list_length(steps) && ((JsStepId *) list_nth(steps, n))->revision == revision)
		n++;
	return n;
}

static bool
set_has_runs(const List *steps, int from, int to)
{
	for (int n = from; n < to; n++)
		if (has_runs(((JsStepId *) list_nth(steps, n))->job_id))
			return true;
	return false;
}

/* False: somebody holds a row. */
static bool
retire_set(const List *steps, int from, int to, TimestampTz now)
{
	for (int n = from; n < to; n++)
	{
		int64		step_id = ((JsStepId *) list_nth(steps, n))->job_id;

		if (!js_step_retire(step_id, now))
		{
			sched.busy_until = GetCurrentTimestamp() + USECS_PER_SEC;
			return false;
		}
		if (sched_job_find(step_id) != NULL)
			sched_reload_job(step_id);
	}
	return true;
}

/* Whether a set that is in force no more is left, because of its runs. */
static bool
retire_sets(int64 workflow_id, const Sets *sets, int *left, TimestampTz now)
{
	List	   *steps = js_steps_live(workflow_id);
	bool		some_left = false;
	int			to;

	for (int from = 0; from < list_length(steps); from = to)
	{
		int64		revision = ((JsStepId *) list_nth(steps, from))->revision;

		to = end_of_set(steps, from);
		if (revision == sets->in_force || revision > sets->newest)
			continue;
		if (set_has_runs(steps, from, to))
			some_left = true;
		else if (*left <= 0 || !retire_set(steps, from, to, now))
		{
			sched_steps_note(workflow_id);
			break;
		}
		else
			*left -= to - from;
	}
	list_free_deep(steps);
	return some_left;
}

/* The job that a step is a step of; any other one itself. */
static int64
workflow_of(int64 job_id)
{
	JsJob		job;

	return js_job_read_head(job_id, &job) && job.workflow_id != 0 ? job.workflow_id : job_id;
}

static void
look_at(int64 workflow_id, int *left, TimestampTz now)
{
	JobEntry   *job = sched_job_find(workflow_id);
	Sets		sets;

	if (job != NULL && job->assigned > 0)
		job->has_old_steps = true;
	else if (read_sets(workflow_id, job, &sets))
	{
		bool		some_left = retire_sets(workflow_id, &sets, left, now);

		if (job != NULL)
			job->has_old_steps = some_left;
	}
}

bool
sched_retire_waiting(void)
{
	return sched_steps_noted() && sched_may_end();
}

/* Looks at some jobs of which sets may be left. */
void
sched_retire_some(TimestampTz now)
{
	int64		ids[MAX_SEEN];
	int			left = MAX_RETIRED;
	int			count;

	if (!sched_retire_waiting())
		return;
	count = sched_steps_take(ids, MAX_SEEN);
	for (int i = 0; i < count; i++)
		look_at(workflow_of(ids[i]), &left, now);
}
