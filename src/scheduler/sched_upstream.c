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

/* Edges followed in one step. */
#define MAX_FOLLOWED 10000

/*
 * How much is looked for in one step, and for one run in its role's turn.  A
 * parent that is not in memory costs as much as this many that are.
 */
#define MAX_LOOKED_FOR 4000
#define MAX_IN_TURN 400
#define COST_OF_READING 16

static int	follow_left = 0;	/* in this step */

typedef enum ParentState
{
	PARENT_LIVES,
	PARENT_HAS_ENDED,
	PARENT_HAS_NO_ROOM
} ParentState;

/* Where a run takes its room that is not in memory. */
static OwnerEntry *
room_of(const JsRun *row)
{
	const JobEntry *job = sched_job_find(row->job_id);

	if (job == NULL)
		return sched_owner(row->owner, row->handler == NULL && row->sends_request);
	return sched_owner(job->owner, sched_row_is_http(row, job));
}

/*
 * One that is not in memory has ended; or has no job yet; or has not been read so
 * far, perhaps because there was no room.
 */
static ParentState
look_for_parent(int64 parent_id, OwnerEntry **room, TimestampTz now)
{
	JsRun		head;

	if (!js_run_see_head(parent_id, &head))
		return PARENT_HAS_ENDED;
	if (head.job_id == 0)
		return PARENT_LIVES;
	*room = room_of(&head);
	if ((*room)->unread_from > parent_id)
		js_runs_visit(parent_id, parent_id, sched_load_run, &now);
	return sched_run_find(parent_id) != NULL ? PARENT_LIVES : PARENT_HAS_NO_ROOM;
}

/* Notes what has become of a parent.  False: *room, which it needs, is full. */
static bool
note_parent(RunAfter *after, int64 parent_id, OwnerEntry **room, int *left, TimestampTz now)
{
	ParentState state = PARENT_LIVES;
	JsStatus	status;
	TimestampTz finished_at;

	(*left)--;
	if (sched_run_find(parent_id) == NULL)
	{
		*left -= COST_OF_READING;
		state = look_for_parent(parent_id, room, now);
	}
	if (state == PARENT_HAS_NO_ROOM)
		return false;
	if (state == PARENT_LIVES)
		sched_after_add_parent(after, parent_id);
	else
	{
		status = sched_after_status_of(parent_id, &finished_at);
		sched_after_note_end(after, status, finished_at);
	}
	after->nread++;
	after->read_from = parent_id + 1;
	return true;
}

/* All have been read; one of which there is no row counts as lost. */
static void
note_all_read(RunAfter *after)
{
	after->all_read = true;
	if (after->nread < after->nparents)
		sched_after_note_end(after, JS_LOST, DT_NOBEGIN);
}

/* Looks for some parents of a run, for what is left.  False: as note_parent(). */
static bool
look_for_parents(RunAfter *after, OwnerEntry **room, int *left, TimestampTz now)
{
	int64		ids[MAX_IN_TURN];
	int			most = Min(*left, MAX_IN_TURN);
	int			count = js_dependencies_read(after->run->run_id, after->read_from, ids, most);
	int			seen = 0;

	for (; seen < count && *left > 0; seen++)
		if (!note_parent(after, ids[seen], room, left, now))
			return false;
	if (seen == count && count < most)
		note_all_read(after);
	return true;
}

/* A run that does not wait any more is placed as if it had been queued now. */
static void
settle(RunAfter *after, TimestampTz now)
{
	RunEntry   *run = after->run;

	if (after->when == JS_AFTER_UNDO && sched_after_all_have_ended(after))
	{
		after->work_failed = sched_child_ends_early(run) || sched_undo_is_due(run);
		after->judged = true;
	}
	if (sched_after_settle(after))
		sched_run_wait(run, now);
}

static void
see_to(RunAfter *after, int *left, TimestampTz now)
{
	OwnerEntry *room;

	if (after->all_read || sched_after_is_left_alone(after) ||
		look_for_parents(after, &room, left, now) || sched_after_is_lost(after))
		settle(after, now);
	else
		sched_run_give_way(after->run, room);
}

/* Runs that are new here learn what has become of their parents, in turn. */
static void
see_to_some(TimestampTz now)
{
	int			left = MAX_LOOKED_FOR;
	RunAfter   *after;

	while (left > 0 && (after = sched_after_next_to_see()) != NULL)
	{
		int			slice = Min(left, MAX_IN_TURN);

		left -= slice;
		see_to(after, &slice, now);
		left += slice - 1;
	}
}

/* Of those that wait for runs that have ended or left, as many as there is time for. */
void
sched_upstream_follow(TimestampTz now)
{
	OwnerEntry *room;
	RunAfter   *after;

	while (follow_left > 0 && (after = sched_after_follow(&room)) != NULL)
	{
		follow_left--;
		if (room == NULL)
			settle(after, now);
		else if (sched_after_is_left_alone(after))
			sched_after_reset(after);
		else if (sched_after_is_lost(after))
			sched_after_stop_asking(after);
		else
		{
			follow_left -= after->nread;
			sched_run_give_way(after->run, room);
		}
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
