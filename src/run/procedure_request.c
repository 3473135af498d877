/*-------------------------------------------------------------------------
 *
 * procedure_request.c
 *		http_step(): durable procedures that wait for what is answered to a request.
 *
 * DATA FLOW
 *
 * procedure.c has how a procedure is suspended, and executed again; procedure_wait.c what
 * its memo "" is while it waits.  A request is a run of its own, a child of the procedure's
 * run: it belongs to job "http" of the owner, and is sent, tried again and limited as what
 * http_request() queues.  It is an optional child, for its failure is for the procedure to
 * judge.
 *
 *		http_step() --> checked, and the procedure unwinds
 *		--> record, one commit: the request is queued; memo "", with its id; row "retrying",
 *			waiting_for_request --> done.awaits --> sched_event_go_on() --> look
 *		the request is sent, maybe several times; with the record of its end
 *			js_procedure_answer(): memo "\001", and its id, with what was answered, and how it
 *			has failed, if so
 *		--> it leaves the memory of the scheduler: sched_event_tell_procedure() --> look:
 *			it is not in the queue --> the procedure is executed again
 *			--> js_procedure_end_wait(): memo of the step with what was answered, or with the
 *			error; neither of the other two; commit
 *		--> http_step() finds the memo, and returns or raises that
 *
 * Why the answer is copied with the record: rows of http_response last for the retention,
 * and the procedure may be held up for longer.  The request's row of history lasts until its
 * parent has ended, but shows its result to more roles than a response is for; and a parent
 * that has been cancelled may be retried long after that, when what has succeeded is gone.
 *
 * Nothing is queued before the procedure has unwound.  So http_step() can be called where
 * step() cannot, as in a block with EXCEPTION, which it takes to catch what it raises.
 *
 * INVARIANTS
 *
 * A request of a procedure is in the queue if and only if memo "" has its id and it has not
 * ended: both are one commit.  But a procedure that comes to something else while it waits,
 * since it was replaced, leaves its request to itself: nobody takes the answer.
 *
 * Nobody waits for ever.  A look that finds the request in the queue has it in memory
 * afterwards, in any case, or is made again a second later; and what is in memory tells its
 * parent when it leaves.  A child waits for no run.
 *
 * The request is made with the rights of the run's owner and for him.  So it takes his own
 * call: a function with the rights of another one cannot use his secrets.
 *
 * KILL -9
 *
 *		before the record is committed		there is no request: the procedure comes to it
 *											anew
 *		after it, before the news			the row says that it waits: it is found in the
 *											table, or by the reaper; so is the request
 *		while it waits						likewise
 *		while the request is sent			it may be sent again (at least once), with the
 *											same Idempotency-Key; the procedure waits on
 *		before the record of its end		likewise
 *		after it							it is not in the queue, and its answer is there
 *		while the procedure is executed		memos "" and "\001" are there: whoever executes it
 *		again, before the end of the wait	next ends the wait
 *		is committed
 *		after that							the memo of the step has what came of it
 *
 * A run that ends while it waits takes its request along, like all children: by the family
 * (sched_children.c).  Memos that nobody takes go with the others of the run.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "guc.h"
#include "http/http_request.h"
#include "run/callback.h"
#include "run/context.h"
#include "run/procedure.h"
#include "run/retry.h"
#include "shmem/clock.h"
#include "store/store_names.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* In the request of a run: of which step it is. */
#define STEP "step"

/* ------------------------------------------------------------------------
 * The call
 * ------------------------------------------------------------------------
 */

pg_noreturn static void
raise_failure(const JsMemo *memo)
{
	ereport(ERROR,
			(errcode(JS_ERRCODE_REQUEST),
			 errmsg("the request of step \"%s\" has failed", memo->name),
			 errdetail("%s", memo->error),
			 errhint("A status that is to be returned instead of this can be named in success_codes. retry_run() of a run that has ended of this sends the request anew.")));
}

static void
check_same(const JsMemo *memo, const char *name, int64 hash)
{
	if (memo->args_hash != hash)
		js_procedure_refuse_changed(name, "Its request was another.");
}

/* It waits for this one, and has been executed for another reason. */
static void
wait_on(const char *name, int64 hash)
{
	JsMemo		wait;

	if (!js_memo_find(js_current_run->run_id, JS_MEMO_WAIT, &wait) || wait.request_id == 0 ||
		wait.step == NULL || strcmp(wait.step, name) != 0)
		return;
	check_same(&wait, name, hash);
	js_procedure_suspend(NULL, js_clock_now(), JS_REASON_REQUESTS);
}

/* What was answered to the request of a step, if it has ended; false: it has not been sent. */
bool
js_procedure_find_request(const char *name, int64 hash, Jsonb **result)
{
	JsMemo		memo;

	if (!js_procedure_enter("http_step()", name, &memo))
	{
		wait_on(name, hash);
		return false;
	}
	if (memo.request_id == 0)
		js_procedure_refuse_other(&memo);
	check_same(&memo, name, hash);
	if (memo.error != NULL)
		raise_failure(&memo);
	*result = memo.result;
	return true;
}

/* The request says of which step it is: so it is known where the answer goes. */
static Jsonb *
with_step(Jsonb *request, const char *name)
{
	JsonbParseState *state = NULL;
	Jsonb	   *step;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_text(&state, STEP, name);
	step = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(request), JsonbPGetDatum(step)));
}

/* A request, which is a child of the run, is to be queued once the procedure has unwound. */
void
js_procedure_request(const char *name, int64 hash, JsRun *request)
{
	JsMemo		wait;

	js_procedure_init_memo(&wait, JS_MEMO_WAIT);
	wait.step = name;
	wait.args_hash = hash;
	request->request = with_step(request->request, name);
	js_procedure_suspend_for_request(&wait, request);
}

/* ------------------------------------------------------------------------
 * The answer
 * ------------------------------------------------------------------------
 */

static char *
name_of_answer(int64 request_id)
{
	return psprintf(JS_MEMO_ANSWER INT64_FORMAT, request_id);
}

static Jsonb *
answer_with(int64 run_id, const JsResponse *response)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_number(&state, "run_id", run_id);
	js_callback_push_response(&state, "status", response);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The body is left out if it is more than a result may have, and then the headers. */
static Jsonb *
answer_of(int64 run_id, const JsResponse *response)
{
	Size		most = (Size) js_guc_max_result_size * 1024;
	JsResponse	part = *response;
	Jsonb	   *answer;

	for (;;)
	{
		answer = part.body != NULL && part.body_size > most ? NULL : answer_with(run_id, &part);
		if (answer != NULL && (VARSIZE(answer) <= most || part.headers == NULL))
			return answer;
		if (part.body == NULL && part.body_bytes == NULL)
			part.headers = NULL;
		part.body = NULL;
		part.body_bytes = NULL;
		part.truncated = true;
	}
}

/* How a request has failed, and why; NULL: it has not. */
static char *
failure_of(int64 run_id, const JsOutcome *outcome)
{
	const char *status = js_status_name(outcome->status);
	const char *why = outcome->error != NULL ? outcome->error : outcome->reason;

	if (outcome->status == JS_SUCCEEDED)
		return NULL;
	if (why == NULL || strcmp(why, status) == 0)
		return psprintf("Run " INT64_FORMAT ": %s.", run_id, status);
	return psprintf("Run " INT64_FORMAT ": %s: %s.", run_id, status, why);
}

static void
insert_answer(const JsEnding *ending)
{
	JsMemo		memo = {0};

	memo.run_id = ending->run->parent_run_id;
	memo.name = name_of_answer(ending->run->run_id);
	memo.job_id = ending->run->job_id;
	memo.owner = ending->run->owner;
	memo.result = answer_of(ending->run->run_id, ending->response);
	memo.sleeps_until = DT_NOBEGIN;
	memo.stored_at = js_clock_now();
	memo.request_id = ending->run->run_id;
	memo.error = failure_of(ending->run->run_id, ending->outcome);
	js_memo_insert(&memo);
}

/* With the record of an attempt's end: the last one of a request of a procedure is kept for it. */
void
js_procedure_answer(const JsEnding *ending)
{
	const JsRun *run = ending->run;
	MemoryContext context;
	MemoryContext outer;

	if (ending->next != NULL || run->parent_run_id == 0 || run->request == NULL ||
		js_http_text(run->request, STEP) == NULL)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "jobsched answer", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(context);
	insert_answer(ending);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
}

/* ------------------------------------------------------------------------
 * The end of a wait
 * ------------------------------------------------------------------------
 */

/* Nothing was answered: it was cancelled, or could not be sent. */
static void
read_end(JsMemo *wait)
{
	JsRun		run = {0};
	JsOutcome	outcome = {0};

	if (!js_history_find_left(wait->request_id, &run, &outcome))
		outcome.status = JS_LOST;
	wait->result = outcome.result;
	wait->error = failure_of(wait->request_id, &outcome);
}

/*
 * Whether the request that is waited for has ended; then it is as the memo of its step is
 * to be.  Its row of history may be gone where its parent has ended too.
 */
bool
js_procedure_request_has_ended(JsMemo *wait)
{
	JsRun		run = {0};
	JsMemo		answer;

	if (js_run_see_head(wait->request_id, &run))
		return false;
	if (js_memo_find(wait->run_id, name_of_answer(wait->request_id), &answer))
	{
		wait->result = answer.result;
		wait->error = answer.error;
	}
	else
		read_end(wait);
	return true;
}

void
js_procedure_request_forget(const JsMemo *wait)
{
	js_memo_delete(wait->run_id, name_of_answer(wait->request_id));
}

/* The request of a run that has ended while it waited may have succeeded before. */
static void
carry_over_wait(int64 from, const JsRun *to)
{
	JsMemo		wait;

	if (!js_memo_find(from, JS_MEMO_WAIT, &wait) || wait.request_id == 0 || wait.step == NULL ||
		!js_procedure_request_has_ended(&wait) || wait.error != NULL)
		return;
	wait.name = wait.step;
	wait.step = NULL;
	wait.run_id = to->run_id;
	wait.owner = to->owner;
	wait.stored_at = js_clock_now();
	js_memo_insert(&wait);
}

/* A run goes on where another one has ended. */
void
js_procedure_carry_over(int64 from, const JsRun *to)
{
	js_memos_copy(from, to);
	carry_over_wait(from, to);
}
