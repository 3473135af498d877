/*-------------------------------------------------------------------------
 *
 * sched_cancel.c
 *		Runs that are to stop early: on request, or because their time is up.
 *
 * Requests to stop are rows of run_stop (sched_request.c).
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

/* Requests served in one step at most, so that a step stays short. */
#define MAX_SERVED 256

/* For runs that have no job yet (sched_jobless.c). */
static dlist_head parked = DLIST_STATIC_INIT(parked);

/* ------------------------------------------------------------------------
 * Requests
 * ------------------------------------------------------------------------
 */

/*
 * Whether the run has been claimed.  One whose worker has given it back for
 * another attempt, and not yet told us, waits as its row says.
 */
static bool
is_claimed(const RunEntry *run)
{
	JsRun		row;

	if (run->state != RUN_ASSIGNED && !run->claimed)
		return false;
	return !js_run_see_head(run->run_id, &row) || row.status == JS_RUN_RUNNING;
}

static bool
is_jobless(int64 run_id)
{
	JsRun		row;

	return js_run_see_head(run_id, &row) && row.job_id == 0;
}

/* A run that another replaces does not start any more, if it waits. */
static void
hold_back(int64 run_id)
{
	TimestampTz now = js_clock_now();
	RunEntry   *run = sched_run_load(run_id, now);

	if (run == NULL && is_jobless(run_id))
		sched_note_replaced(run_id);
	if (run == NULL || is_claimed(run))
		return;
	run->superseded = true;
	if (run->state != RUN_ASSIGNED)
		sched_run_wait(run, now);
}

static bool
replaces(JsRequestKind kind)
{
	return kind == JS_REQUEST_REPLACE || kind == JS_REQUEST_DEBOUNCE;
}

void
sched_add_request(const JsRequest *row, void *arg)
{
	if (sched_take_request(row) && replaces(row->kind))
		hold_back(row->run_id);
}

/* Runs have got jobs: requests of these may be among those that are parked. */
void
sched_unpark_requests(void)
{
	while (!dlist_is_empty(&parked))
	{
		Request    *request = dlist_container(Request, node, dlist_pop_head_node(&parked));

		sched_queue_request(request, sched_run_find(request->run_id));
		if (replaces(request->kind))
			hold_back(request->run_id);
	}
}

/* A second request for the same run takes the place of the first. */
static void
take_request(RunEntry *run, Request *request)
{
	if (run->request != NULL)
		dlist_push_tail(&sched.requests_done, &run->request->node);
	run->request = request;
}

/*
 * Takes a run from its worker, which is terminated.  It does not end by that,
 * unless it was to anyway: what becomes of it shows when the slot is reaped.
 */
static void
reset_run(RunEntry *run)
{
	const SlotEntry *slot = &sched.slots[run->slot];

	if (sched_is_http_slot(run->slot))
	{
		sched_interrupt(run, JS_CANCEL_RESET);	/* others go on */
		return;
	}
	if (run->cancel == JS_CANCEL_NONE)
		run->cancel = JS_CANCEL_RESET;
	run->cancel_at = DT_NOBEGIN;
	run->terminated = true;
	js_slot_signal(run->slot, slot->generation, run->run_id, run->cancel, SIGTERM);
}

static const char *
reason_of(const Request *request)
{
	switch (request->kind)
	{
		case JS_REQUEST_REPLACE:
		case JS_REQUEST_OVERLAP:
			return "replaced";
		case JS_REQUEST_DEBOUNCE:
			return "debounced";
		default:
			return "cancelled";
	}
}

/* Whether the request asks for something that can still be done. */
static bool
is_open(const Request *request, const RunEntry *run)
{
	if (run == NULL || request->kind == JS_REQUEST_UNKNOWN)
		return false;
	if (request->kind == JS_REQUEST_RESET)
		return run->state == RUN_ASSIGNED && run->attempt == request->attempt;
	return !replaces(request->kind) || run->superseded;
}

static void
serve(Request *request, TimestampTz now)
{
	RunEntry   *run = sched_run_load(request->run_id, now);

	if (run == NULL && is_jobless(request->run_id))
	{
		dlist_push_tail(&parked, &request->node);
		return;
	}
	if (!is_open(request, run))
	{
		dlist_push_tail(&sched.requests_done, &request->node);
		return;
	}
	if (run->state == RUN_ASSIGNED)
		sched_take_back(run->slot);
	if (request->kind == JS_REQUEST_RESET)
	{
		if (run->state == RUN_ASSIGNED)
			reset_run(run);
		dlist_push_tail(&sched.requests_done, &request->node);
		return;
	}
	take_request(run, request);
	if (run->job->asleep)
		return;					/* not ours to touch, until it is adopted */
	if (run->state == RUN_ASSIGNED && replaces(request->kind))
		return;					/* until its worker has told us that it waits */
	if (run->state != RUN_ASSIGNED && sched_row_is_free(run))
	{
		sched_end_run(run, JS_CANCELLED, reason_of(request), NULL, NULL);
		return;
	}
	if (run->state != RUN_ASSIGNED)
	{
		sched_run_wait(run, now);	/* and the request with it */
		return;
	}
	sched_interrupt(run, request->kind == JS_REQUEST_OVERLAP ? JS_CANCEL_REPLACE : JS_CANCEL_REQUEST);
	if (request->force)
		run->cancel_at = DT_NOBEGIN;	/* no grace */
}

void
sched_serve_requests(TimestampTz now)
{
	int			served = 0;
	int			in_vain = 0;	/* turns in a row */

	while (served < MAX_SERVED && in_vain < SCHED_REQUEST_TURNS && sched_requests_left() > 0 && sched_may_end_more())
	{
		Request    *request = sched_next_request();

		in_vain = request != NULL ? 0 : in_vain + 1;
		if (request == NULL)
			continue;
		serve(request, now);
		served++;
	}
	sched_forget_requests();
}

/*
 * A slot's run is to take the place of this one.  If it cannot be ended at once,
 * or shall not be, there is a request, as if somebody had cancelled it: that
 * survives us and the server, so what was replaced does not come back.
 */
void
sched_replace_run(RunEntry *run, bool at_once)
{
	JsRequest	row = {.kind = JS_REQUEST_OVERLAP,.run_id = run->run_id};

	if (run->request != NULL)
		return;					/* it is to end already */
	if (run->state == RUN_ASSIGNED)
		sched_take_back(run->slot);
	if (at_once && run->state != RUN_ASSIGNED && sched_row_is_free(run))
	{
		run->superseded = true;
		sched_end_run(run, JS_CANCELLED, "replaced", NULL, NULL);
		return;
	}
	(void) js_request_insert(&row);
	sched_add_request(&row, NULL);
}

/* ------------------------------------------------------------------------
 * Time that is up
 * ------------------------------------------------------------------------
 */

/* The timeout of an attempt that begins now. */
int64
sched_timeout(const RunEntry *run)
{
	int64		timeout = run->timeout > 0 ? run->timeout : run->job->timeout;

	if (!sched_run_is_http(run))
		return timeout;
	return timeout == 0 ? JS_HTTP_TIMEOUT : Min(timeout, JS_HTTP_MAX_TIMEOUT);
}

/* A run is being delivered: if it has a timeout, it will have to be watched. */
void
sched_note_timeout(SlotEntry *slot, int64 timeout)
{
	if (timeout > 0 && (slot->shortest_timeout == 0 || timeout < slot->shortest_timeout))
		slot->shortest_timeout = timeout;
}

/* When something is to be done to a run that is being executed. */
static TimestampTz
deadline_of(const SlotEntry *slot, const JsMail *mail, const RunEntry *run)
{
	if (run->terminated ||
		(slot->view.turn != 0 && slot->view.turn != run->run_id))
		return DT_NOEND;
	if (run->cancel != JS_CANCEL_NONE)
		return run->cancel_at == DT_NOBEGIN ? DT_NOBEGIN :
			run->cancel_at + js_guc_cancel_grace * INT64CONST(1000);
	return mail->timeout > 0 ? slot->view.busy_since + mail->timeout : DT_NOEND;
}

static void
enforce(int slotno, const JsMail *mail, RunEntry *run)
{
	const SlotEntry *slot = &sched.slots[slotno];

	if (deadline_of(slot, mail, run) > GetCurrentTimestamp())
		return;
	if (run->cancel == JS_CANCEL_NONE)
		sched_interrupt(run, JS_CANCEL_TIMEOUT);
	else
	{
		run->terminated = true;
		js_slot_signal(slotno, slot->generation, run->run_id, run->cancel, SIGTERM);
	}
}

/* Ends what has had its time, as far as the last look at the slots tells. */
void
sched_enforce(void)
{
	for (int i = 0; i < js->max_slots; i++)
	{
		SlotEntry  *slot = &sched.slots[i];

		if (!slot->mine || slot->foreign || slot->view.state != JS_SLOT_READY)
			continue;
		if (slot->view.mail_count == 0)
			slot->shortest_timeout = 0;
		for (int k = 0; k < slot->view.current_count; k++)
		{
			const JsMail *mail = &slot->view.current[k];
			RunEntry   *run = sched_run_find(mail->run_id);

			if (run != NULL && run->state == RUN_ASSIGNED && run->slot == i)
				enforce(i, mail, run);
		}
	}
}

/* When a slot has to be looked at for this, by the real clock. */
TimestampTz
sched_enforce_deadline(const SlotEntry *slot)
{
	TimestampTz deadline = DT_NOEND;

	for (int k = 0; k < slot->view.current_count; k++)
	{
		const JsMail *mail = &slot->view.current[k];
		RunEntry   *run = sched_run_find(mail->run_id);

		if (run != NULL)
			deadline = Min(deadline, deadline_of(slot, mail, run));
	}
	/* It may begin the next at any moment. */
	if (slot->view.mail_count > 0 && slot->shortest_timeout > 0)
		deadline = Min(deadline, GetCurrentTimestamp() + slot->shortest_timeout);
	return deadline;
}
