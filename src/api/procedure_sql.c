/*-------------------------------------------------------------------------
 *
 * procedure_sql.c
 *		step(), sleep(), await_event() and http_step(), which durable procedures call.
 *
 * run/procedure.c has the design.  Developers call procedures by hand too: outside of a
 * run a step is a call of its function, nobody sleeps or waits, and requests are checked
 * and not sent.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/child.h"
#include "api/event.h"
#include "api/http.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "base/json.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "run/context.h"
#include "run/execsql.h"
#include "run/procedure.h"
#include "store/bounds.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(jobsched_step);
PG_FUNCTION_INFO_V1(jobsched_sleep);
PG_FUNCTION_INFO_V1(jobsched_await_event);
PG_FUNCTION_INFO_V1(jobsched_http_step);

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

/*
 * name, method, url, body, INOUT result, headers, params, timeout, max_attempts, keys,
 * body_text, priority, sign_with, connect_timeout, success_codes, max_redirects.
 */
static const JsHttpArguments http_step_has = {
	.method = 1,.url = 2,.body = 3,.headers = 5,.params = 6,.timeout = 7,.max_attempts = 8,
	.keys = 9,.body_text = 10,.priority = 11,.sign_with = 12
};

static int64
hash_of_text(FunctionCallInfo fcinfo, int n, int64 seed)
{
	text	   *value;

	if (PG_ARGISNULL(n))
		return seed;
	value = PG_GETARG_TEXT_PP(n);
	return (int64) hash_bytes_extended((const unsigned char *) VARDATA_ANY(value),
									   VARSIZE_ANY_EXHDR(value), (uint64) seed + n);
}

static int64
hash_of_jsonb(FunctionCallInfo fcinfo, int n, int64 seed)
{
	if (PG_ARGISNULL(n))
		return seed;
	return DatumGetInt64(DirectFunctionCall2(jsonb_hash_extended, PG_GETARG_DATUM(n), Int64GetDatum(seed + n)));
}

/* Of what is sent; how it is sent, and how often, may change. */
static int64
hash_of_request(FunctionCallInfo fcinfo)
{
	int64		hash = hash_of_text(fcinfo, http_step_has.method, 0);

	hash = hash_of_text(fcinfo, http_step_has.url, hash);
	hash = hash_of_jsonb(fcinfo, http_step_has.body, hash);
	hash = hash_of_jsonb(fcinfo, http_step_has.headers, hash);
	hash = hash_of_jsonb(fcinfo, http_step_has.params, hash);
	return hash_of_text(fcinfo, http_step_has.body_text, hash);
}

/*
 * It is made for the run's owner, and answered to him: nobody else's function has his
 * rights, whether the request is to be sent or was.
 */
static void
check_is_owner(void)
{
	if (GetUserId() == js_current_run->owner)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("http_step() is called as role \"%s\"", GetUserNameFromId(GetUserId(), false)),
			 errdetail("The request is one of the run's owner, \"%s\".",
					   GetUserNameFromId(js_current_run->owner, false)),
			 errhint("Let the procedure call it, without SET ROLE and not by a function of another role with SECURITY DEFINER.")));
}

static void
make_request(FunctionCallInfo fcinfo, JsRun *run)
{
	JsHttpDefinition given;

	(void) js_http_take_request(fcinfo, &http_step_has, &given);
	js_http_make_run(fcinfo, &http_step_has, &given, run);
	js_bounds_check_run(run);
}

Datum
jobsched_http_step(PG_FUNCTION_ARGS)
{
	char	   *name = needed_text(fcinfo, 0, "name");
	Jsonb	   *result = NULL;
	int64		hash = hash_of_request(fcinfo);
	JsRun		run;

	if (js_current_run == NULL)
	{
		make_request(fcinfo, &run);
		return result_row(fcinfo, NULL);
	}
	check_is_owner();
	if (js_procedure_find_request(name, hash, &result))
		return result_row(fcinfo, result);
	make_request(fcinfo, &run);
	js_child_adopt(&run, true);
	js_procedure_request(name, hash, &run);
}
