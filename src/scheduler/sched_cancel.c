/*-------------------------------------------------------------------------
 *
 * sched_cancel.c
 *		Runs that are to stop early: on request, or because their time is up.
 *
 * Requests to stop are rows of run_stop (sched_stop.c).
 *
 * cancel_run() asks for the end of a run, wherever it is.  A waiting run is
 * ended at once.  A running one is interrupted as by pg_cancel_backend(), with
 * a mark in its worker's seat: even if its code goes on, it can no longer
 * succeed.  If it still executes after jobsched.cancel_grace, its worker is
 * terminated, which no code can catch.
 *
 * If a slot's run replaces another run (overlap 'replace'), the scheduler
 * inserts such a row for that one, in the transaction that makes the new run.
 *
 * So does it if the deadline of a run has come that waits for its steps
 * (sched_deadline.c), and was not to end before.
 *
 * A timeout works in the same way, without a row.  The scheduler enforces it
 * and not the worker, where the job's own code could interfere.  It counts from
 * when the worker began the run, by the real clock.
 *
 * A trigger() that takes a key from a waiting run asks for the end of that run,
 * if it still waits when the row is read.  The run is held back at once,
 * because the row of the run that replaces it is committed, and ended when its
 * turn comes.  A run that has been claimed by then goes on, and the row is
 * dropped.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "run/http_job.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/timestamp.h"

/* Stops served in one step at most, so that a step stays short. */
#define MAX_SERVED 256

/* For runs that have no job yet (sched_jobless.c). */
static dlist_head parked = DLIST_STATIC_INIT(parked);

/* ------------------------------------------------------------------------
 * Stops
 * ------------------------------------------------------------------------
 */

/*
 * Whether the run has been claimed, or even executed.  One whose worker has given it back for
 * another attempt, and not yet told us, waits as its row says.
 */
static bool
is_claimed(const RunEntry *run)
{
	JsRun		row;

	if (run->state != RUN_ASSIGNED && !run->claimed)
		return run->state == RUN_PARENT;
	return !js_run_see_head(run->run_id, &row) || row.status == JS_RUN_RUNNING ||
		row.status == JS_RUN_WAITING;
}

static bool
is_jobless(int64 run_id)
{
	JsRun		row;

	return js_run_see_head(run_id, &row) && row.job_id == 0;
}

/* A run that another replaces, or that is skipped, does not start any more, if it waits. */
static void
hold_back(int64 run_id, JsStopKind kind)
{
	TimestampTz now = js_clock_now();
	RunEntry   *run = sched_run_load(run_id, now);

	if (run == NULL && is_jobless(run_id))
		sched_note_replaced(run_id);
	if (run == NULL || is_claimed(run) || (kind == JS_STOP_SKIP && run->attempt > 0))
		return;
	run->superseded = true;
	if (run->state != RUN_ASSIGNED)
		sched_run_wait(run, now);
}

/* Whether it is for a run that no worker has. */
static bool
replaces(JsStopKind kind)
{
	return kind == JS_STOP_REPLACE || kind == JS_STOP_DEBOUNCE || kind == JS_STOP_SKIP;
}

void
sched_add_stop(const JsStop *row, void *arg)
{
	if (sched_take_stop(row) && replaces(row->kind))
		hold_back(row->run_id, row->kind);
}

/* Runs have got jobs: stops of these may be among those that are parked. */
void
sched_unpark_stops(void)
{
	while (!dlist_is_empty(&parked))
	{
		StopEntry  *stop = dlist_container(StopEntry, node, dlist_pop_head_node(&parked));

		sched_queue_stop(stop, sched_run_find(stop->run_id));
		if (replaces(stop->kind))
			hold_back(stop->run_id, stop->kind);
	}
}

/* One of two stops, of which *place has the other; the first of them is dropped. */
static void
take_place(StopEntry **place, StopEntry *stop)
{
	if (*place != NULL)
		dlist_push_tail(&sched.stops_done, &(*place)->node);
	*place = stop;
}

/*
 * A second stop for the same run takes the place of the first.  But while a run
 * waits for its children both count: by the second those end too that the first
 * lets run.  A deadline is none if the run was to end already when it came.
 */
static void
take_stop(RunEntry *run, StopEntry *stop)
{
	if (run->state != RUN_PARENT || run->stop == NULL)
		take_place(&run->stop, stop);
	else if (stop->kind == JS_STOP_DEADLINE)
		dlist_push_tail(&sched.stops_done, &stop->node);
	else if (run->stop->kind == JS_STOP_DEADLINE && run->stop->second == NULL &&
			 stop->stop_id < run->stop->stop_id)
		take_place(&run->stop, stop);
	else
		take_place(&run->stop->second, stop);
}

/*
 * Takes a run from its worker, which is terminated.  It does not end by that,
 * unless it was to anyway: what becomes of it shows when the seat is reaped.
 */
static void
reset_run(RunEntry *run)
{
	const SeatEntry *seat = &sched.seats[run->seat];

	if (sched_is_http_seat(run->seat))
	{
		sched_interrupt(run, JS_CANCEL_RESET);	/* others go on */
		return;
	}
	if (run->cancel == JS_CANCEL_NONE)
		run->cancel = JS_CANCEL_RESET;
	run->cancel_at = DT_NOBEGIN;
	run->terminated = true;
	js_seat_signal(run->seat, seat->generation, run->run_id, run->cancel, SIGTERM);
}

/* Of a run that has ended by it. */
JsStatus
sched_stop_status(const StopEntry *stop)
{
	switch (stop->kind)
	{
		case JS_STOP_SKIP:
			return JS_SKIPPED;
		case JS_STOP_DEADLINE:
			return JS_TIMED_OUT;
		default:
			return JS_CANCELLED;
	}
}

/* Likewise. */
const char *
sched_stop_reason(const StopEntry *stop)
{
	switch (stop->kind)
	{
		case JS_STOP_SKIP:
			return SCHED_REASON_SKIPPED;
		case JS_STOP_DEADLINE:
			return "deadline";
		case JS_STOP_REPLACE:
		case JS_STOP_OVERLAP:
			return "replaced";
		case JS_STOP_DEBOUNCE:
			return "debounced";
		default:
			return "cancelled";
	}
}

/* Whether the stop asks for something that can still be done. */
static bool
is_open(const StopEntry *stop, const RunEntry *run)
{
	if (run == NULL || stop->kind == JS_STOP_UNKNOWN)
		return false;
	if (stop->kind == JS_STOP_RESET)
		return run->state == RUN_ASSIGNED && run->attempt == stop->attempt;
	return !replaces(stop->kind) || run->superseded;
}

static void
serve_stop(StopEntry *stop, TimestampTz now)
{
	RunEntry   *run = sched_run_load(stop->run_id, now);

	if (run == NULL && is_jobless(stop->run_id))
	{
		dlist_push_tail(&parked, &stop->node);
		return;
	}
	if (!is_open(stop, run))
	{
		dlist_push_tail(&sched.stops_done, &stop->node);
		return;
	}
	if (run->state == RUN_ASSIGNED)
		sched_take_back(run->seat);
	if (stop->kind == JS_STOP_RESET)
	{
		if (run->state == RUN_ASSIGNED)
			reset_run(run);
		dlist_push_tail(&sched.stops_done, &stop->node);
		return;
	}
	take_stop(run, stop);
	if (run->job->asleep)
		return;					/* not ours to touch, until it is adopted */
	if (run->state == RUN_PARENT)
	{
		sched_children_note(run);	/* it ends after its children */
		return;
	}
	if (run->state == RUN_ASSIGNED && replaces(stop->kind))
		return;					/* until its worker has told us that it waits */
	if (run->state != RUN_ASSIGNED && sched_row_is_free(run))
	{
		sched_end_run(run, sched_stop_status(stop), sched_stop_reason(stop), NULL, NULL);
		return;
	}
	if (run->state != RUN_ASSIGNED)
	{
		sched_run_wait(run, now);	/* and the stop with it */
		return;
	}
	sched_interrupt(run, stop->kind == JS_STOP_OVERLAP ? JS_CANCEL_REPLACE : JS_CANCEL_ASKED);
	if (stop->force)
		run->cancel_at = DT_NOBEGIN;	/* no grace */
}

void
sched_serve_stops(TimestampTz now)
{
	int			served = 0;
	int			in_vain = 0;	/* turns in a row */

	while (served < MAX_SERVED && in_vain < SCHED_TURNS && sched_stops_left() > 0 && sched_may_end_more())
	{
		StopEntry  *stop = sched_next_stop();

		in_vain = stop != NULL ? 0 : in_vain + 1;
		if (stop == NULL)
			continue;
		serve_stop(stop, now);
		served++;
	}
	sched_forget_stops();
}

/*
 * A slot's run is to take the place of this one.  If it cannot be ended at once,
 * or shall not be, there is a stop, as if somebody had cancelled it: that
 * survives us and the server, so what was replaced does not come back.
 */
void
sched_replace_run(RunEntry *run, bool at_once)
{
	JsStop		row = {.kind = JS_STOP_OVERLAP,.run_id = run->run_id};

	if (run->stop != NULL)
		return;					/* it is to end already */
	if (run->state == RUN_ASSIGNED)
		sched_take_back(run->seat);
	if (at_once && run->state != RUN_ASSIGNED && run->state != RUN_PARENT && sched_row_is_free(run))
	{
		run->superseded = true;
		sched_end_run(run, JS_CANCELLED, "replaced", NULL, NULL);
		return;
	}
	(void) js_stop_insert(&row);
	sched_add_stop(&row, NULL);
}

/* ------------------------------------------------------------------------
 * Time that is up
 * ------------------------------------------------------------------------
 */

/* Those whose deadline has come get a stop, a portion of them; not what is to end anyway. */
void
sched_serve_deadlines(TimestampTz now)
{
	RunEntry   *run;

	for (int i = 0; i < MAX_SERVED && (run = sched_deadline_next(now)) != NULL; i++)
	{
		JsStop		row = {.kind = JS_STOP_DEADLINE,.run_id = run->run_id};

		if (run->stop != NULL || sched_child_is_doomed(run))
			continue;
		(void) js_stop_insert(&row);
		sched_add_stop(&row, NULL);
	}
}

/* The timeout of an attempt that begins now. */
int64
sched_timeout(const RunEntry *run)
{
	int64		timeout = run->timeout > 0 ? run->timeout : run->job->timeout;

	if (!sched_run_is_http(run) && !run->looks)
		return timeout;
	return timeout == 0 ? JS_HTTP_TIMEOUT : Min(timeout, JS_HTTP_MAX_TIMEOUT);
}

/* A run is being delivered: if it has a timeout, it will have to be watched. */
void
sched_note_timeout(SeatEntry *seat, int64 timeout)
{
	if (timeout > 0 && (seat->shortest_timeout == 0 || timeout < seat->shortest_timeout))
		seat->shortest_timeout = timeout;
}

/* When something is to be done to a run that is being executed. */
static TimestampTz
deadline_of(const SeatEntry *seat, const JsMail *mail, const RunEntry *run)
{
	if (run->terminated ||
		(seat->view.turn != 0 && seat->view.turn != run->run_id))
		return DT_NOEND;
	if (run->cancel != JS_CANCEL_NONE)
		return run->cancel_at == DT_NOBEGIN ? DT_NOBEGIN :
			run->cancel_at + js_guc_cancel_grace * INT64CONST(1000);
	return mail->timeout > 0 ? seat->view.busy_since + mail->timeout : DT_NOEND;
}

static void
enforce(int seatno, const JsMail *mail, RunEntry *run)
{
	const SeatEntry *seat = &sched.seats[seatno];

	if (deadline_of(seat, mail, run) > GetCurrentTimestamp())
		return;
	if (run->cancel == JS_CANCEL_NONE)
		sched_interrupt(run, JS_CANCEL_TIMEOUT);
	else
	{
		run->terminated = true;
		js_seat_signal(seatno, seat->generation, run->run_id, run->cancel, SIGTERM);
	}
}

/* Ends what has had its time, as far as the last look at the seats tells. */
void
sched_enforce(void)
{
	for (int i = 0; i < js->max_seats; i++)
	{
		SeatEntry  *seat = &sched.seats[i];

		if (!seat->mine || seat->foreign || seat->view.state != JS_SEAT_READY)
			continue;
		if (seat->view.mail_count == 0)
			seat->shortest_timeout = 0;
		for (int k = 0; k < seat->view.current_count; k++)
		{
			const JsMail *mail = &seat->view.current[k];
			RunEntry   *run = sched_run_find(mail->run_id);

			if (run != NULL && run->state == RUN_ASSIGNED && run->seat == i)
				enforce(i, mail, run);
		}
	}
}

/* When a seat has to be looked at for this, by the real clock. */
TimestampTz
sched_enforce_deadline(const SeatEntry *seat)
{
	TimestampTz deadline = DT_NOEND;

	for (int k = 0; k < seat->view.current_count; k++)
	{
		const JsMail *mail = &seat->view.current[k];
		RunEntry   *run = sched_run_find(mail->run_id);

		if (run != NULL)
			deadline = Min(deadline, deadline_of(seat, mail, run));
	}
	/* It may begin the next at any moment. */
	if (seat->view.mail_count > 0 && seat->shortest_timeout > 0)
		deadline = Min(deadline, GetCurrentTimestamp() + seat->shortest_timeout);
	return deadline;
}
