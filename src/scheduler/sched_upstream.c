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

/* In memory, or in the queue without a job so far. */
static bool
has_not_ended(int64 run_id, TimestampTz now)
{
	JsRun		head;

	return sched_run_load(run_id, now) != NULL || js_run_see_head(run_id, &head);
}

/* Looks for some parents of a run; left is how many may be looked for. */
static void
look_for_parents(RunAfter *after, int *left, TimestampTz now)
{
	int			most = *left;
	int			count = js_dependencies_read(after->run->run_id, after->read_from, ids, most);

	for (int i = 0; i < count; i++)
	{
		if (has_not_ended(ids[i], now))
			sched_after_add_parent(after, ids[i]);
		else
			sched_after_note_end(after, sched_after_status_of(ids[i]));
	}
	after->all_read = count < most;
	if (count > 0)
		after->read_from = ids[count - 1] + 1;
	*left -= count;
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
		if (!after->all_read && !sched_after_is_left_alone(after))
			look_for_parents(after, &left, now);
		settle(after, now);
		left--;
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
