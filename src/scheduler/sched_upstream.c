/*-------------------------------------------------------------------------
 *
 * sched_upstream.c
 *		What becomes of runs that wait for other runs.
 *
 * sched_after.c has the design.  Here parents are looked for, and runs are
 * released when theirs have ended; those that are to be skipped are ended with
 * others that are (sched_pending.c).  All of it is done in portions.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"

/* Edges followed, and parents looked for, in one step. */
#define MAX_FOLLOWED 10000
#define MAX_LOOKED_FOR 2000

static int	follow_left = 0;	/* in this step */
static int64 ids[MAX_LOOKED_FOR];

typedef enum ParentState
{
	PARENT_LIVES,
	PARENT_HAS_ENDED,
	PARENT_HAS_NO_ROOM
} ParentState;

/* Whether a run, of a job of the same role, takes its room where its parent does. */
static bool
share_room(const RunEntry *run, const JsRun *parent)
{
	const JobEntry *job = sched_job_find(parent->job_id);

	return job != NULL && run->owner ==
		sched_owner(job->owner, parent->handler == NULL && (parent->sends_request || job->http));
}

/* A run that somebody wants to end is left where that is known. */
static bool
can_give_way(const RunEntry *run)
{
	return run->stop == NULL && !run->superseded && !run->disowned;
}

/*
 * One that is not in memory has ended; or has no job yet; or has not been read so
 * far, perhaps because there was no room.
 */
static ParentState
look_for_parent(const RunEntry *run, int64 parent_id, TimestampTz now)
{
	JsRun		head;

	if (sched_run_find(parent_id) != NULL)
		return PARENT_LIVES;
	if (!js_run_see_head(parent_id, &head))
		return PARENT_HAS_ENDED;
	if (head.job_id == 0)
		return PARENT_LIVES;
	if (!share_room(run, &head) || !can_give_way(run))
		return sched_run_load(parent_id, now) != NULL ? PARENT_LIVES : PARENT_HAS_ENDED;
	if (run->owner->unread_from > parent_id)
		js_runs_visit(parent_id, parent_id, sched_load_run, &now);
	return sched_run_find(parent_id) != NULL ? PARENT_LIVES : PARENT_HAS_NO_ROOM;
}

/*
 * Looks for some parents of a run; left is how many may be looked for.  False: one
 * has no room.
 */
static bool
look_for_parents(RunAfter *after, int *left, TimestampTz now)
{
	int			most = Max(*left, 1);
	int			count = js_dependencies_read(after->run->run_id, after->read_from, ids, most);

	for (int i = 0; i < count; i++)
	{
		switch (look_for_parent(after->run, ids[i], now))
		{
			case PARENT_LIVES:
				sched_after_add_parent(after, ids[i]);
				break;
			case PARENT_HAS_ENDED:
				sched_after_note_end(after, sched_after_status_of(ids[i]));
				break;
			case PARENT_HAS_NO_ROOM:
				return false;
		}
	}
	after->all_read = count < most;
	if (count > 0)
		after->read_from = ids[count - 1] + 1;
	*left -= count;
	return true;
}

/* A run that does not wait any more is placed as if it had been queued now. */
static void
settle(RunAfter *after, TimestampTz now)
{
	RunEntry   *run = after->run;

	if (sched_after_settle(after))
		sched_run_wait(run, now);
}

/* Runs that are new here learn what has become of their parents. */
static void
see_to_some(TimestampTz now)
{
	int			left = MAX_LOOKED_FOR;
	RunAfter   *after;

	while (left > 0 && (after = sched_after_next_to_see()) != NULL)
	{
		left--;
		if (after->all_read || sched_after_is_left_alone(after) || look_for_parents(after, &left, now))
			settle(after, now);
		else
			sched_run_give_way(after->run);
	}
}

/* Of those that wait for runs that have ended, as many as there is time for. */
void
sched_upstream_follow(TimestampTz now)
{
	RunAfter   *after;

	while (follow_left > 0 && (after = sched_after_follow()) != NULL)
	{
		settle(after, now);
		follow_left--;
	}
}

/* A portion of what there is to be done, but for the ends. */
void
sched_upstream_serve(TimestampTz now)
{
	follow_left = MAX_FOLLOWED;
	see_to_some(now);
	sched_upstream_follow(now);
	sched_after_clean();
}
