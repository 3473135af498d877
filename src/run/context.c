/*-------------------------------------------------------------------------
 *
 * context.c
 *		The run that this process executes, for SQL functions.
 *
 * Developers call handlers by hand too.  So outside a run these functions
 * return NULL, progress() and snooze() do nothing, and log() and discard()
 * raise their message.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/arguments.h"
#include "base/interval.h"
#include "fmgr.h"
#include "run/capture.h"
#include "run/context.h"
#include "run/retry.h"
#include "shmem/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_run_id);
PG_FUNCTION_INFO_V1(jobsched_job_name);
PG_FUNCTION_INFO_V1(jobsched_args);
PG_FUNCTION_INFO_V1(jobsched_attempt);
PG_FUNCTION_INFO_V1(jobsched_scheduled_for);
PG_FUNCTION_INFO_V1(jobsched_snooze);
PG_FUNCTION_INFO_V1(jobsched_discard);
PG_FUNCTION_INFO_V1(jobsched_progress);
PG_FUNCTION_INFO_V1(jobsched_log);

const JsRun *js_current_run = NULL;
const JsJob *js_current_job = NULL;
int64		js_snooze_delay = -1;

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

Datum
jobsched_scheduled_for(PG_FUNCTION_ARGS)
{
	if (js_current_run == NULL || js_current_run->scheduled_for == DT_NOBEGIN)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(js_current_run->scheduled_for);
}

Datum
jobsched_snooze(PG_FUNCTION_ARGS)
{
	int64		delay = js_interval_us("delay", PG_GETARG_INTERVAL_P(0));

	if (js_current_run != NULL)
		js_snooze_delay = delay;
	PG_RETURN_VOID();
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
