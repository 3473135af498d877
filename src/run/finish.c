/*-------------------------------------------------------------------------
 *
 * finish.c
 *		How runs end: the one way out of the queue.
 *
 * js_run_finish() records in the current transaction that attempts have ended:
 * the run leaves the queue, or waits for another attempt; its rows of history
 * are inserted (store_history.c); callbacks are queued (callback.c).  Workers
 * (worker_run.c, worker_shared.c), the HTTP process (http_record.c) and the
 * scheduler (sched_end.c) call it, for whatever reason a run ends.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "run/callback.h"
#include "run/finish.h"
#include "run/procedure.h"

/* The status and reason of a run that did end because it was to. */
JsStatus
js_cancel_outcome(JsCancel cancel, const char **reason)
{
	switch (cancel)
	{
		case JS_CANCEL_TIMEOUT:
			*reason = "timeout";
			return JS_TIMED_OUT;
		case JS_CANCEL_DROP:
			*reason = "job_dropped";
			return JS_CANCELLED;
		case JS_CANCEL_RESET:
			*reason = "reset";
			return JS_LOST;
		case JS_CANCEL_REPLACE:
			*reason = "replaced";
			return JS_CANCELLED;
		case JS_CANCEL_PARENT:
			*reason = "parent_ended";
			return JS_CANCELLED;
		case JS_CANCEL_NONE:
		case JS_CANCEL_ASKED:
			break;
	}
	*reason = "cancelled";
	return JS_CANCELLED;
}

/*
 * Records how attempts have ended, with everything that follows from it, in the
 * current transaction.  Whoever ends a run does it by this.
 */
void
js_run_finish(const JsEnding *endings, int count)
{
	js_attempts_finish(endings, count);
	for (int i = 0; i < count; i++)
	{
		js_callback_queue(&endings[i]);
		if (endings[i].response != NULL)
			js_procedure_answer(&endings[i]);
	}
}
