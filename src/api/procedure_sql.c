/*-------------------------------------------------------------------------
 *
 * procedure_sql.c
 *		step(), sleep() and await_event(), which durable procedures call.
 *
 * run/procedure.c has the design.  Developers call procedures by hand too: outside of a
 * run a step is a call of its function, and nobody sleeps or waits.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/event.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "base/json.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/parsenodes.h"
#include "run/context.h"
#include "run/execsql.h"
#include "run/procedure.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(jobsched_step);
PG_FUNCTION_INFO_V1(jobsched_sleep);
PG_FUNCTION_INFO_V1(jobsched_await_event);

/* NULL is no value for these. */
static char *
needed_text(FunctionCallInfo fcinfo, int n, const char *parameter)
{
	if (PG_ARGISNULL(n))
		js_refuse_null(parameter);
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static bool
is_atomic(FunctionCallInfo fcinfo)
{
	return fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic;
}

static Jsonb *
call_by_hand(const char *function, Jsonb *args)
{
	Jsonb	   *result;
	MemoryContext context = CurrentMemoryContext;

	(void) js_handler_lookup(function);
	PushActiveSnapshot(GetTransactionSnapshot());
	result = js_function_call(function, args, context);
	PopActiveSnapshot();
	return result;
}

/* A row of the argument that is INOUT. */
static Datum
result_row(FunctionCallInfo fcinfo, Jsonb *result)
{
	bool		isnull = result == NULL;
	Datum		value = isnull ? (Datum) 0 : JsonbPGetDatum(result);
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), &value, &isnull));
}

/* name, function, args, INOUT result. */
Datum
jobsched_step(PG_FUNCTION_ARGS)
{
	char	   *name = needed_text(fcinfo, 0, "name");
	char	   *function = needed_text(fcinfo, 1, "function");
	Jsonb	   *args = PG_ARGISNULL(2) ? js_json_empty() : PG_GETARG_JSONB_P_COPY(2);

	if (js_current_run == NULL)
		return result_row(fcinfo, call_by_hand(function, args));
	return result_row(fcinfo, js_procedure_step(name, function, args, is_atomic(fcinfo)));
}

/* name, delay. */
Datum
jobsched_sleep(PG_FUNCTION_ARGS)
{
	char	   *name = needed_text(fcinfo, 0, "name");

	if (PG_ARGISNULL(1))
		js_refuse_null("delay");
	if (js_current_run != NULL)
		js_procedure_sleep(name, js_interval_us("delay", PG_GETARG_INTERVAL_P(1)));
	PG_RETURN_VOID();
}

/* name, timeout, INOUT result, event. */
Datum
jobsched_await_event(PG_FUNCTION_ARGS)
{
	char	   *name = needed_text(fcinfo, 0, "name");
	char	   *event = PG_ARGISNULL(3) ? name : text_to_cstring(PG_GETARG_TEXT_PP(3));
	int64		timeout = PG_ARGISNULL(1) ? -1 : js_interval_us("timeout", PG_GETARG_INTERVAL_P(1));

	js_event_check_name(event);
	if (js_current_run == NULL)
		return result_row(fcinfo, NULL);
	return result_row(fcinfo, js_procedure_await_event(name, event, timeout));
}
