/*-------------------------------------------------------------------------
 *
 * procedure_wait.c
 *		await_event(): durable procedures that wait for events; and the ends of waits.
 *
 * DATA FLOW
 *
 * procedure.c has how a procedure is suspended, and executed again.  One that waits has a
 * memo that has the empty name, with the event and until when; there is one at most, for
 * nothing comes after it.  The run's row says that it waits (js_run_awaits()), and the
 * scheduler lets it look for the event, and await it, as runs do that have not begun
 * (sched_event.c, sched_await.c).  So it costs no worker, and no polling.
 *
 *		await_event() --> record: memo "", row "retrying", waiting_for_event --> done.awaits
 *			--> sched_event_go_on() --> look --> event_match, or sched_event_await()
 *		the event has come, or its time is over --> executed again
 *			--> js_procedure_end_wait(): memo of the step, neither memo "" nor event_match;
 *			commit --> await_event() finds the memo
 *
 * What has come is copied, for the run may have to wait for another event of that name,
 * and the event need not be kept for any longer.
 *
 * WHICH EVENT
 *
 * Those that runs see (doc/workflows.md).  What was sent to the run is taken, once.  Of
 * what is sent to all a second wait for the same name gets one with a higher number than
 * the one that the wait before has got.
 *
 * A name that the run has waited for before it began (wait_for) is refused: its row of
 * event_match is there until the run has ended, and event() reads it.
 *
 * KILL -9
 *
 *		before the record is committed		the run goes back to the queue, and comes to the
 *											wait anew; so does its time
 *		after it, before the news			the row says that it waits: it is found in the
 *											table, or by the reaper
 *		while it waits						likewise, with its time
 *		after it has got an event			event_match says so: it is let go again
 *		while it is executed again, before	memo and match are there: whoever executes it
 *		the end of the wait is committed	next ends the wait; if it has got none, and
 *											has time left, it goes on waiting
 *		after that							the memo of the step has what has come
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "run/context.h"
#include "run/procedure.h"
#include "shmem/clock.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* ------------------------------------------------------------------------
 * The end of a wait
 * ------------------------------------------------------------------------
 */

/* Takes over what has come. */
static bool
event_has_ended(JsMemo *wait)
{
	int64		event_id = js_event_match_find(wait->run_id, wait->event);
	JsEvent		event;

	if (event_id == 0)
		return wait->sleeps_until != DT_NOBEGIN && wait->sleeps_until <= js_clock_now();
	if (js_event_read(event_id, &event))
	{
		wait->result = event.payload;
		wait->event_came = event.came;
	}
	return true;
}

static bool
has_ended(JsMemo *wait)
{
	if (wait->step == NULL)
		return false;
	return wait->request_id != 0 ? js_procedure_request_has_ended(wait) :
		wait->event != NULL && event_has_ended(wait);
}

static void
record_end(JsMemo *wait)
{
	js_memo_delete(wait->run_id, JS_MEMO_WAIT);
	if (wait->request_id != 0)
		js_procedure_request_forget(wait);
	else
		js_event_match_delete(wait->run_id, wait->event);
	wait->name = wait->step;
	wait->step = NULL;
	wait->owner = js_current_run->owner;
	wait->stored_at = js_clock_now();
	js_memo_insert(wait);
}

/*
 * The procedure is about to be executed.  If it has waited, and that is over, it finds
 * the memo of it: that is a transaction of its own.
 */
void
js_procedure_end_wait(MemoryContext context)
{
	JsMemo		wait;

	if (!js_memo_find(js_current_run->run_id, JS_MEMO_WAIT, &wait) || !has_ended(&wait))
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	js_procedure_check_is_ours();
	record_end(&wait);
	PopActiveSnapshot();
	JS_INJECTION_POINT("jobsched-procedure-wait-recorded");
	CHECK_FOR_INTERRUPTS();
	CommitTransactionCommand();
	JS_INJECTION_POINT("jobsched-procedure-wait-committed");
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* ------------------------------------------------------------------------
 * A wait
 * ------------------------------------------------------------------------
 */

static void
refuse_awaited(const char *event)
{
	int			count;
	char	  **names = js_event_names(js_current_run->wait_for, &count);

	for (int i = 0; i < count; i++)
		if (strcmp(names[i], event) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("the run has waited for event \"%s\" before it began", event),
					 errhint("jobsched.event() has what it got. Leave the name out of wait_for to wait for it here.")));
}

static bool
is_same(const JsMemo *wait, const char *name, const char *event)
{
	return wait->step != NULL && wait->event != NULL &&
		strcmp(wait->step, name) == 0 && strcmp(wait->event, event) == 0;
}

static TimestampTz
end_of_time(int64 timeout)
{
	TimestampTz now = js_clock_now();

	if (timeout < 0)
		return DT_NOBEGIN;
	return now < END_TIMESTAMP - timeout ? now + timeout : END_TIMESTAMP - 1;
}

/* timeout: microseconds; negative: there is none.  Returns the payload; NULL after the timeout. */
Jsonb *
js_procedure_await_event(const char *name, const char *event, int64 timeout)
{
	JsMemo		memo;

	if (js_procedure_enter("await_event()", name, &memo))
	{
		if (memo.event == NULL || strcmp(memo.event, event) != 0)
			js_procedure_refuse_other(&memo);
		return memo.result;
	}
	refuse_awaited(event);
	if (js_memo_find(js_current_run->run_id, JS_MEMO_WAIT, &memo) && is_same(&memo, name, event))
		js_procedure_suspend(NULL, js_clock_now(), JS_REASON_AWAITS);
	js_procedure_init_memo(&memo, JS_MEMO_WAIT);
	memo.step = name;
	memo.event = event;
	memo.event_came = js_memos_last_event(memo.run_id, event);
	memo.sleeps_until = end_of_time(timeout);
	js_procedure_suspend(&memo, js_clock_now(), JS_REASON_AWAITS);
}
