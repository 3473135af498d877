/*-------------------------------------------------------------------------
 *
 * sched_jobless.c
 *		Requests whose job does not exist yet.
 *
 * http_post() and the like queue runs of a job "http" of the role.  While the
 * role has no such job, they queue them without a job (job_id 0).  When the
 * scheduler reads such a run, it makes the job and gives it to the run, in one
 * transaction.  If a session made the job itself, every other session with a
 * first request of the role would have to wait until it commits.
 *
 * The scheduler waits for nobody either.  If somebody is giving the name "http"
 * to a job of the role, or has locked the run's row, it tries again a second
 * later.  It serves a limited number of runs of each role in a step, so a role
 * that has queued many does not keep the others waiting.
 *
 * Like a job, a run without a job has the token of its database.  A run that
 * came here in a copy, or from a publisher, is left alone until it is adopted.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "run/http_job.h"
#include "scheduler/sched.h"
#include "utils/timestamp.h"

/* Of one role in one step. */
#define MAX_SETTLED 512

/* When somebody was in the way. */
#define RETRY_US USECS_PER_SEC

static int64 waiting = 0;		/* on the lists of all owners */
static bool any_settled = false;

static bool
is_in_line(const OwnerEntry *owner, int64 run_id)
{
	ListCell   *lc;

	foreach(lc, owner->jobless)
	{
		if (*(int64 *) lfirst(lc) == run_id)
			return true;
	}
	return false;
}

/* The line is as long as a step can serve; more is read when that is through. */
static void
wait_for_turn(OwnerEntry *owner, int64 run_id)
{
	if (list_length(owner->jobless) >= MAX_SETTLED)
		sched_leave_unread(owner, run_id);
	else if (!is_in_line(owner, run_id))
	{
		owner->jobless = sched_keep_id(owner->jobless, run_id);
		waiting++;
	}
}

static bool
settle_run(OwnerEntry *owner, int64 run_id, int64 *job_id)
{
	*job_id = js_http_job_settle(owner->owner);
	if (*job_id != 0 && js_run_give_job(run_id, *job_id))
	{
		owner->settle_left--;
		any_settled = true;
		return true;
	}
	owner->settle_left = 0;
	owner->settle_after = GetCurrentTimestamp() + RETRY_US;
	return false;
}

/* Gives a run without a job its job, and returns its id; 0: not now. */
int64
sched_settle(const JsRun *row)
{
	OwnerEntry *owner;
	int64		job_id;

	if (!sched.home || memcmp(&row->home, &sched.token, sizeof(pg_uuid_t)) != 0)
		return 0;
	owner = sched_owner(row->owner, true);
	if (owner->settle_left > 0 && settle_run(owner, row->run_id, &job_id))
		return job_id;
	wait_for_turn(owner, row->run_id);
	return 0;
}

/* Of a line so many have been served; who has come meanwhile is behind the others. */
void
sched_settle_later(OwnerEntry *owner, List *line, int served)
{
	List	   *again;

	waiting -= served;
	line = list_delete_first_n(line, served);
	if (line == NIL)
		return;
	again = owner->jobless;
	owner->jobless = list_concat(line, again);
	list_free(again);
}

/* A step begins.  Whether some of the owner may be served in it. */
bool
sched_settle_begin(OwnerEntry *owner, TimestampTz real_now)
{
	owner->settle_left = owner->settle_after <= real_now ||
		owner->settle_after - real_now > RETRY_US ? MAX_SETTLED : 0;
	return owner->jobless != NIL && owner->settle_left > 0;
}

/* Whether some have been settled since this was asked last. */
bool
sched_any_settled(void)
{
	bool		any = any_settled;

	any_settled = false;
	return any;
}

/* When the next one is to be tried, by the real clock. */
TimestampTz
sched_settle_deadline(void)
{
	TimestampTz deadline = DT_NOEND;
	dlist_iter	iter;

	if (waiting == 0)
		return DT_NOEND;
	dlist_foreach(iter, &sched.owners)
	{
		OwnerEntry *owner = dlist_container(OwnerEntry, node, iter.cur);

		if (owner->jobless != NIL)
			deadline = Min(deadline, owner->settle_after);
	}
	return deadline;
}
