/*-------------------------------------------------------------------------
 *
 * schedule_sql.c
 *		SQL functions about schedules: next_runs() and explain_schedule().
 *
 * Both only compute; they read no table and need no rights.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/schedule_sql.h"
#include "cron/cron.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define DEFAULT_RUNS	5
#define MAX_RUNS		10000
#define SHOWN_BYTES		200		/* of a schedule that is refused */

/* What next_runs() keeps between its rows. */
typedef struct NextRuns
{
	JsSchedule	schedule;
	pg_tz	   *tz;
	TimestampTz anchor;
	TimestampTz last;			/* the row returned last */
} NextRuns;

PG_FUNCTION_INFO_V1(jobsched_next_runs);
PG_FUNCTION_INFO_V1(jobsched_explain_schedule);

/* Of a long text its beginning is shown. */
static char *
shown(const char *text)
{
	int			length = strlen(text);

	if (length <= SHOWN_BYTES)
		return pstrdup(text);
	return psprintf("%.*s...", pg_mbcliplen(text, length, SHOWN_BYTES), text);
}

/* Refuses a text that js_schedule_parse() did not take. */
void
js_schedule_refuse(const char *text, const JsScheduleError *err)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid schedule \"%s\"", shown(text)),
			 errdetail("At position %d: %s.", err->position, err->message),
			 errhint("%s", err->hint)));
}

/* Refuses a name that js_timezone_lookup() did not find. */
void
js_timezone_refuse(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("time zone \"%s\" is not recognized", shown(name)),
			 errhint("Use a name from pg_timezone_names, such as UTC or "
					 "Europe/Berlin; abbreviations and offsets are not "
					 "accepted.")));
}

static void
parse_or_refuse(const char *text, JsSchedule *schedule)
{
	JsScheduleError err;

	if (!js_schedule_parse(text, NULL, schedule, &err))
		js_schedule_refuse(text, &err);
}

/* The zone of an argument; NULL is the one that new jobs get. */
static pg_tz *
timezone_argument(FunctionCallInfo fcinfo, int arg)
{
	const char *name;
	pg_tz	   *tz;

	if (PG_ARGISNULL(arg))
		name = GetConfigOption("jobsched.timezone", true, false);
	else
		name = text_to_cstring(PG_GETARG_TEXT_PP(arg));
	if (name == NULL)
		name = "UTC";
	tz = js_timezone_lookup(name);
	if (tz == NULL)
		js_timezone_refuse(name);
	return tz;
}

static NextRuns *
begin_next_runs(FunctionCallInfo fcinfo)
{
	NextRuns   *runs = palloc(sizeof(NextRuns));

	parse_or_refuse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &runs->schedule);
	runs->tz = timezone_argument(fcinfo, 1);
	runs->anchor = PG_ARGISNULL(2) ?
		GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(2);
	runs->last = runs->anchor;
	return runs;
}

/*
 * jobsched_next_runs(schedule text, timezone text, "from" timestamptz, n int)
 *		The first n instants after "from", which is also the anchor of "every".
 */
Datum
jobsched_next_runs(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	NextRuns   *runs;
	TimestampTz next;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		int			n = PG_ARGISNULL(3) ? DEFAULT_RUNS : PG_GETARG_INT32(3);

		call = SRF_FIRSTCALL_INIT();
		if (n < 1 || n > MAX_RUNS)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid number of runs: %d", n),
					 errhint("It is between 1 and %d.", MAX_RUNS)));
		if (!PG_ARGISNULL(0))
		{
			old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
			call->user_fctx = begin_next_runs(fcinfo);
			call->max_calls = n;
			MemoryContextSwitchTo(old);
		}
	}

	call = SRF_PERCALL_SETUP();
	runs = call->user_fctx;
	if (call->call_cntr >= call->max_calls ||
		!js_schedule_next(&runs->schedule, runs->tz, runs->anchor, runs->last,
						  &next))
		SRF_RETURN_DONE(call);
	runs->last = next;
	SRF_RETURN_NEXT(call, TimestampTzGetDatum(next));
}

/*
 * jobsched_explain_schedule(schedule text, timezone text)
 *		The schedule in words, and what may surprise about it.
 */
Datum
jobsched_explain_schedule(PG_FUNCTION_ARGS)
{
	StringInfoData out;
	JsSchedule	schedule;
	char	   *words;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	words = text_to_cstring(PG_GETARG_TEXT_PP(0));
	parse_or_refuse(words, &schedule);
	initStringInfo(&out);
	js_schedule_describe(&schedule, words, timezone_argument(fcinfo, 1),
						 GetCurrentTransactionStartTimestamp(), &out);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
