/*-------------------------------------------------------------------------
 *
 * context.c
 *		The run that this process executes, for SQL functions.
 *
 * Developers call handlers by hand too.  So outside a run these functions
 * return NULL, progress() and snooze() do nothing, and log() and discard()
 * raise their message.
 *
 * What snooze() asks for belongs to the transaction that calls it, as the work
 * does that its state tells of: it is gone with a subtransaction that is rolled
 * back.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "base/sqlstate.h"
#include "fmgr.h"
#include "run/capture.h"
#include "run/context.h"
#include "run/retry.h"
#include "shmem/shmem.h"
#include "store/bounds.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_run_id);
PG_FUNCTION_INFO_V1(jobsched_job_name);
PG_FUNCTION_INFO_V1(jobsched_args);
PG_FUNCTION_INFO_V1(jobsched_attempt);
PG_FUNCTION_INFO_V1(jobsched_scheduled_for);
PG_FUNCTION_INFO_V1(jobsched_state);
PG_FUNCTION_INFO_V1(jobsched_snooze);
PG_FUNCTION_INFO_V1(jobsched_discard);
PG_FUNCTION_INFO_V1(jobsched_progress);
PG_FUNCTION_INFO_V1(jobsched_log);

const JsRun *js_current_run = NULL;
const JsJob *js_current_job = NULL;

/* What a (sub)transaction has asked for by snooze(); the innermost comes first. */
typedef struct Snooze
{
	SubTransactionId subid;		/* invalid: of one that has been committed */
	int64		delay;			/* microseconds */
	Jsonb	   *state;			/* NULL: it has given none */
	struct Snooze *outer;
} Snooze;

static Snooze *snoozes = NULL;
static bool is_decided = false;
static bool only_looks = false;
static bool is_durable = false;
static bool is_in_step = false;
static const char *suspended_for = NULL;
static MemoryContext snooze_context;

/* ------------------------------------------------------------------------
 * snooze()
 * ------------------------------------------------------------------------
 */

static void
forget_snooze(void)
{
	Snooze	   *snooze = snoozes;

	snoozes = snooze->outer;
	if (snooze->state != NULL)
		pfree(snooze->state);
	pfree(snooze);
}

/* The innermost takes the place of the one around it, if that is of the same transaction now. */
static void
merge_snooze(SubTransactionId subid)
{
	Snooze	   *outer = snoozes->outer;

	snoozes->subid = subid;
	if (outer == NULL || outer->subid != subid)
		return;
	outer->delay = snoozes->delay;
	if (snoozes->state != NULL)
	{
		Jsonb	   *old = outer->state;

		outer->state = snoozes->state;
		snoozes->state = old;
	}
	forget_snooze();
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (snoozes == NULL || snoozes->subid != subid)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		merge_snooze(parent);
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_snooze();
}

/* A procedure, or a command of several statements, may end some. */
static void
end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		while (snoozes != NULL && snoozes->subid != InvalidSubTransactionId)
			forget_snooze();
	else if (event == XACT_EVENT_COMMIT && snoozes != NULL)
		merge_snooze(InvalidSubTransactionId);
}

static void
watch_transactions(void)
{
	static bool watches = false;

	if (watches)
		return;
	RegisterSubXactCallback(end_of_subtransaction, NULL);
	RegisterXactCallback(end_of_transaction, NULL);
	watches = true;
}

static void
add_snooze(int64 delay, const Jsonb *state)
{
	Jsonb	   *copy = NULL;
	Snooze	   *snooze;

	watch_transactions();
	if (state != NULL)
	{
		copy = MemoryContextAlloc(snooze_context, VARSIZE(state));
		memcpy(copy, state, VARSIZE(state));
	}
	snooze = MemoryContextAllocZero(snooze_context, sizeof(Snooze));
	snooze->delay = delay;
	snooze->state = copy;
	snooze->outer = snoozes;
	snoozes = snooze;
	merge_snooze(GetCurrentSubTransactionId());
}

/* Whether the run asks to be executed again: when, what state it has then, and why. */
bool
js_context_snoozes(int64 *delay, Jsonb **state, const char **reason)
{
	Snooze	   *given = snoozes;

	if (snoozes == NULL)
		return false;
	while (given != NULL && given->state == NULL)
		given = given->outer;
	*delay = snoozes->delay;
	*reason = suspended_for != NULL ? suspended_for : "snoozed";
	*state = given != NULL ? given->state : js_current_run->state;
	snoozes = NULL;
	return true;
}

/* It would put off what comes after the condition, and that be done again. */
static void
refuse_to_look(const char *what)
{
	if (only_looks)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("%s is used in the condition of a step", what),
				 errhint("\"if\" only looks. What the step executes can call it.")));
}

static void
refuse_durable(const char *what)
{
	if (is_durable)
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("%s is used in a durable procedure", what),
				 errhint("Let the procedure call jobsched.sleep().")));
}

/* The run is put off by what executes it; its state stays as it is. */
void
js_context_suspend(int64 delay, const char *reason)
{
	suspended_for = reason;
	add_snooze(delay, NULL);
}

Datum
jobsched_snooze(PG_FUNCTION_ARGS)
{
	Jsonb	   *state = NULL;
	int64		delay;

	if (PG_ARGISNULL(0))
		PG_RETURN_VOID();
	delay = js_interval_us("delay", PG_GETARG_INTERVAL_P(0));
	if (!PG_ARGISNULL(1))
	{
		state = PG_GETARG_JSONB_P(1);
		js_bounds_check_state(state);
	}
	if (js_current_run != NULL)
	{
		js_context_refuse_late("snooze()");
		js_context_refuse_map("snooze()");
		refuse_to_look("snooze()");
		refuse_durable("snooze()");
		add_snooze(delay, state);
	}
	PG_RETURN_VOID();
}

/* ------------------------------------------------------------------------
 * The others
 * ------------------------------------------------------------------------
 */

/* What the run asks for is kept in this memory, until it is reset. */
void
js_context_enter(const JsRun *run, const JsJob *job, MemoryContext context)
{
	js_current_run = run;
	js_current_job = job;
	is_decided = only_looks = is_durable = is_in_step = false;
	snoozes = NULL;
	suspended_for = NULL;
	snooze_context = context;
}

/* The condition of a step is evaluated, which changes nothing; or has been. */
void
js_context_look(bool begins)
{
	only_looks = begins;
}

/* A durable procedure is executed from now on; what a run can be put off by is its. */
void
js_context_begin_durable(void)
{
	is_durable = true;
}

/* A step of it is executed, or has been. */
void
js_context_step(bool begins)
{
	is_in_step = begins;
}

bool
js_context_is_in_step(void)
{
	return is_in_step;
}

/* What comes of the run is known from now on. */
void
js_context_decide(void)
{
	is_decided = true;
}

/* For what would change that, and come to nothing. */
void
js_context_refuse_late(const char *what)
{
	if (is_decided)
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("%s comes too late: the work of run " INT64_FORMAT " is done", what,
						js_current_run->run_id),
				 errhint("A deferred trigger that another one has deferred is fired while the run commits. Make it IMMEDIATE.")));
}

/* For what would keep the children of a step with for_each from being its elements. */
void
js_context_refuse_map(const char *what)
{
	if (js_current_run != NULL && js_run_maps(js_current_job, js_current_run))
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("%s is used in for_each", what),
				 errhint("for_each only says what the elements are. Let a step before it, or the elements, do the rest.")));
}

void
js_context_leave(void)
{
	js_current_run = NULL;
	js_current_job = NULL;
	snoozes = NULL;
}

Datum
jobsched_run_id(PG_FUNCTION_ARGS)
{
	if (js_current_run == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64(js_current_run->run_id);
}

Datum
jobsched_job_name(PG_FUNCTION_ARGS)
{
	if (js_current_job == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(js_current_job->name));
}

Datum
jobsched_args(PG_FUNCTION_ARGS)
{
	if (js_current_run == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(js_current_run->args);
}

Datum
jobsched_attempt(PG_FUNCTION_ARGS)
{
	if (js_current_run == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT32(js_current_run->attempt);
}

/* Of a step it is the slot of the run that it is a step of. */
Datum
jobsched_scheduled_for(PG_FUNCTION_ARGS)
{
	JsRun		head;

	if (js_current_run == NULL)
		PG_RETURN_NULL();
	head = *js_current_run;
	if (head.source == JS_SOURCE_ITEM && !js_run_see_head(head.parent_run_id, &head))
		PG_RETURN_NULL();
	if (head.source == JS_SOURCE_STEP && !js_run_see_head(head.parent_run_id, &head))
		PG_RETURN_NULL();
	if (head.scheduled_for == DT_NOBEGIN)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(head.scheduled_for);
}

Datum
jobsched_state(PG_FUNCTION_ARGS)
{
	if (js_current_run == NULL || js_current_run->state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(js_current_run->state);
}

Datum
jobsched_discard(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(JS_ERRCODE_DISCARDED),
			 errmsg("%s", PG_ARGISNULL(0) ? "the run was discarded" : text_to_cstring(PG_GETARG_TEXT_PP(0)))));
}

Datum
jobsched_progress(PG_FUNCTION_ARGS)
{
	if (js_current_run == NULL)
		PG_RETURN_VOID();
	js_seat_progress(PG_ARGISNULL(0) ? -1 : PG_GETARG_INT64(0),
					 PG_ARGISNULL(1) ? -1 : PG_GETARG_INT64(1),
					 js_text_argument(fcinfo, 2));
	PG_RETURN_VOID();
}

static const char *
check_level(const char *level)
{
	static const char *const levels[] = {"debug", "info", "notice", "warning", "error"};

	for (int i = 0; i < lengthof(levels); i++)
		if (strcmp(level, levels[i]) == 0)
			return levels[i];
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid log level \"%s\"", level),
			 errhint("Levels are debug, info, notice, warning and error.")));
}

Datum
jobsched_log(PG_FUNCTION_ARGS)
{
	const char *level = check_level(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	char	   *message = text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (js_current_run != NULL)
		js_capture_add(level, message);
	else if (strcmp(level, "warning") == 0 || strcmp(level, "error") == 0)
		ereport(WARNING, (errmsg("%s", message)));
	else
		ereport(NOTICE, (errmsg("%s", message)));
	PG_RETURN_VOID();
}
