/*-------------------------------------------------------------------------
 *
 * sched_place.c
 *		Moves each run to the one place that belongs to its state.
 *
 * This file decides whether a run becomes ready, by its limits, its job and the
 * clock; sched_limit.c only answers questions.  The data structures are in
 * sched_memory.c.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/memutils.h"

/*
 * For its job, which counts them: has begun, or would if there were a worker;
 * not one that is for later.  One that waits for its children has begun.
 */
static bool
is_live(const RunEntry *run)
{
	return !run->backfill && !run->callback && run->batch == NULL &&
		(run->state == RUN_READY || run->state == RUN_LIMITED || run->state == RUN_ASSIGNED ||
		 run->state == RUN_PARENT ||
		 ((run->state == RUN_FUTURE || run->state == RUN_WAITING) && run->attempt > 0));
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
			run->owner->future--;
			break;
		case RUN_READY:
			(void) sched_fair_remove(&run->item, next == RUN_ASSIGNED);
			sched_ready_leave(run);
			run->owner->ready_count--;
			sched.ready_count--;
			break;
		case RUN_LIMITED:
			sched_limits_unwait(run);
			run->owner->limited--;
			break;
		case RUN_BEHIND:
			pairingheap_remove(run->job->behind, &run->item.node);
			run->owner->behind--;
			break;
		case RUN_ASSIGNED:
			run->owner->assigned--;
			run->job->assigned--;
			break;
		case RUN_PARENT:
			sched_deadline_leave(run);
			run->owner->parents--;
			break;
		case RUN_WAITING:
			run->owner->after_others--;
			break;
		case RUN_HELD:
			break;
	}
}

/* ready_since: if it is ready. */
static void
enter_place(RunEntry *run, TimestampTz ready_since)
{
	switch (run->state)
	{
		case RUN_FUTURE:
			pairingheap_add(sched.future, &run->item.node);
			run->owner->future++;
			break;
		case RUN_READY:
			sched_fair_add(&run->owner->ready, &run->item, sched_limits_turn(run->limits),
						   run->priority, 0);
			sched_ready_enter(run, ready_since);
			run->owner->ready_count++;
			sched.ready_count++;
			break;
		case RUN_LIMITED:
			sched_limits_wait(run);
			run->owner->limited++;
			break;
		case RUN_BEHIND:
			add_behind(run);
			run->owner->behind++;
			break;
		case RUN_ASSIGNED:
			run->owner->assigned++;
			run->job->assigned++;
			break;
		case RUN_PARENT:
			sched_deadline_enter(run);
			run->owner->parents++;
			break;
		case RUN_WAITING:
			run->owner->after_others++;
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
	TimestampTz ready_since = DT_NOBEGIN;

	if (run->state == RUN_WAITING && state != RUN_WAITING)
		run->since = js_clock_now();
	if (state == RUN_READY)
		ready_since = sched_ready_since(run);
	leave_place(run, state);
	run->state = RUN_HELD;
	run->state = state_by_limits(run, state);
	set_counted(&run->live, is_live(run), &run->job->live);
	set_counted(&run->waiting, is_waiting(run), &run->job->waiting);
	enter_place(run, ready_since);
	run->was_placed = true;
	note_promotable(run->job);
	sched_alert_note(run->job);
}

/* Its parent may be a procedure that waits for it. */
static void
leave_parent(RunEntry *run)
{
	int64		parent = run->own_request && run->child != NULL ? sched_child_parent(run) : 0;

	sched_child_leave(run);
	if (parent != 0)
		sched_event_tell_procedure(parent);
}

void
sched_run_forget(RunEntry *run)
{
	sched_run_place(run, RUN_HELD);
	sched_after_tell_gone(run->run_id);
	sched_after_leave(run);
	sched_event_leave(run, true);
	sched_children_tell(run->run_id);
	leave_parent(run);
	sched_limits_detach(run);
	sched_steps_follow(run->job);
	if (run->stop != NULL && run->stop->second != NULL)
		dlist_push_tail(&sched.stops_done, &run->stop->second->node);
	if (run->stop != NULL)
		dlist_push_tail(&sched.stops_done, &run->stop->node);
	sched_run_free(run);
}

/* It waits for one for which a room is too small: both are read when that has room. */
void
sched_run_give_way(RunEntry *run, OwnerEntry *room)
{
	sched_leave_unread(room, run->run_id);
	sched_run_place(run, RUN_HELD);
	sched_after_give_way(run, room);
	sched_event_leave(run, false);
	leave_parent(run);
	sched_limits_detach(run);
	sched_run_free(run);
}

/*
 * What names a run may have changed; its keys have not.  One that is with a
 * worker takes its units beyond the limit, if need be: others make room.
 */
static void
reattach(RunEntry *run)
{
	RunEntryState state = run->state;
	LimitSet   *set = sched_limits_of(run);

	if (set == run->limits)
		return;
	if (state == RUN_ASSIGNED)
		sched_limits_release(run);
	else
		sched_run_place(run, RUN_HELD);
	sched_limits_exchange(run, set);
	if (state == RUN_ASSIGNED)
		sched_limits_take_beyond(run);
	else
		sched_run_place(run, state == RUN_LIMITED ? RUN_READY : state);
}

/* What is ready and would not become so now waits; what is with a worker stays. */
static void
take_back(RunEntry *run)
{
	if (run->state != RUN_READY || !sched_limits_hold_too_much(run))
		return;
	sched_run_place(run, RUN_HELD);
	sched_run_place(run, RUN_READY);
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
		reattach(run);
}

/* Whoever is to be told of a failure hears also of the one that paused the job. */
static bool
is_held(const RunEntry *run)
{
	return sched_job_holds_all(run->job) || (run->job->auto_paused && !run->callback);
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

/*
 * Puts a run that is with no worker where its time and its job want it.  One that
 * waits for its children stays there; but its job may have been dropped.
 */
void
sched_run_wait(RunEntry *run, TimestampTz now)
{
	if (run->state == RUN_PARENT)
	{
		sched_deadline_follow(run);
		sched_children_note(run);
		return;
	}
	run->seat = -1;
	queue_stop_again(run);
	follow_owner(run);
	if (sched_run_is_disowned(run))
		sched_note_disowned(run);
	if (run->cut_off || run->superseded || run->disowned || is_held(run) || sched_child_is_doomed(run))
		sched_run_place(run, RUN_HELD);
	else if (run->after != NULL || run->events != NULL)
		sched_run_place(run, RUN_WAITING);
	else if (run->run_at > now && !run->claimed)
		sched_run_place(run, RUN_FUTURE);
	else if (run->of_slot && run->job->serial)
		sched_run_place(run, RUN_BEHIND);
	else
		sched_run_place(run, RUN_READY);
	if (run->after != NULL)
		sched_after_note(run);
	else if (run->events != NULL)
		sched_event_note(run);
	sched_child_note(run);
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

/* A run that its worker could not take on is claimed anew a second later. */
void
sched_run_put_off(RunEntry *run)
{
	if (run == NULL)
		return;
	run->claimed = false;
	run->run_at = js_clock_now() + USECS_PER_SEC;
	sched_run_wait(run, js_clock_now());
}

/*
 * A run has been executed, or is a batch, and ends when its children have.  What it
 * takes of its role's memory is not taken from them.  began_at: see
 * sched_deadline_set().
 */
void
sched_run_await_children(RunEntry *run, TimestampTz began_at)
{
	if (run == NULL)
		return;
	sched_deadline_set(run, began_at);
	run->claimed = false;
	run->seat = -1;
	queue_stop_again(run);
	if (run->maps && run->batch == NULL)
		sched_batch_begin(run);
	*sched_run_account(run) -= run->cost;
	run->executed = true;
	*sched_run_account(run) += run->cost;
	sched_run_place(run, RUN_PARENT);
	sched_children_note(run);
	sched_steps_follow(run->job);
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
	reattach(run);
	if (run->state == RUN_ASSIGNED)
		return;
	sched_run_wait(run, now);
	take_back(run);
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
		if (sched_child_is_doomed(run))
			sched_run_place(run, RUN_HELD);
		else if (!is_unplaced(run))
			return run;
		else
			place_anew(run, js_clock_now());
	}
	return NULL;
}

/* ------------------------------------------------------------------------
 * Limits that have changed, or have room
 * ------------------------------------------------------------------------
 */

/* Who waits at limits that have room has its turn; what is beyond a limit waits. */
static void
settle(void)
{
	if (sched_limits_look())
		sched_runs_each(take_back);
}

/* Reads what limits there are, all of them. */
void
sched_load_limits(void)
{
	if (sched_limits_load())
		sched_runs_each(reattach);
	sched_limits_forget();
	settle();
}

/*
 * All that is under way is known: from now on there are turns.  What is claimed
 * and with no worker may have waited for a limit, and does so again.
 */
void
sched_open_limits(void)
{
	sched_limits_open();
	settle();
}

/* Runs that waited for a limit become ready, as far as there is room now. */
void
sched_wake_limited(TimestampTz now)
{
	LimitTurns	turns;
	RunEntry   *run;

	sched_limits_ring(now);
	if (sched_limits_were_exceeded())
		sched_runs_each(take_back);
	sched_limits_begin(&turns);
	while ((run = sched_limits_next(&turns)) != NULL)
		sched_run_place(run, RUN_READY);
}
