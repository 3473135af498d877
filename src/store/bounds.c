/*-------------------------------------------------------------------------
 *
 * bounds.c
 *		How large jobs, arguments and requests may be.
 *
 * One process works for all roles, so the size of what it has to read is
 * limited.  Limits are checked when something is given, in the session of the
 * user who gives it.  A row that is larger all the same was written without our
 * functions, or before a limit was lowered.  js_job_is_too_large() and
 * js_run_is_too_large() tell the scheduler to leave the contents of such a row
 * alone.
 *
 * Keys, conditions, delays, headers and schedules have their own limits, which
 * are checked elsewhere.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/sqlstate.h"
#include "compat.h"
#include "guc.h"
#include "store/bounds.h"
#include "store/job_parameters.h"

#define KB INT64CONST(1024)

pg_noreturn static void
refuse(const char *what, Size size, int max_kb, const char *setting)
{
	ereport(ERROR,
			(errcode(JS_ERRCODE_LIMIT),
			 errmsg("%s has %zu bytes, more than the %d kB that are allowed", what, size, max_kb),
			 errhint("Keep what is large in a table, and give its key; or have a superuser raise %s.", setting)));
}

static Size
length(const char *text)
{
	return text == NULL ? 0 : strlen(text);
}

static Size
size_of_jsonb(const Jsonb *json)
{
	return json == NULL ? 0 : VARSIZE_ANY_EXHDR(json);
}

/* The same sum as JsJob.size of a row (store_job.c). */
static Size
size_of_job(const JsJob *job)
{
	return js_job_parameters_size(job) + size_of_jsonb(job->request) + size_of_jsonb(job->steps) +
		length(job->step_if) + length(job->step_for_each) + length(job->pause_reason);
}

/* A job that is being created or changed; one that is too large may shrink. */
void
js_bounds_check_job(const JsJob *job)
{
	Size		size = size_of_job(job);

	if (size > js_guc_max_job_size * KB && size > job->size)
		refuse(psprintf("the definition of job \"%s\"", job->name), size,
			   js_guc_max_job_size, "jobsched.max_job_size");
}

/* A run that is being queued. */
void
js_bounds_check_run(const JsRun *run)
{
	const char *what = run->request != NULL ? "the request" : "args";
	Size		size = size_of_jsonb(run->args) + size_of_jsonb(run->request);

	if (size > js_guc_max_args_size * KB)
		refuse(what, size, js_guc_max_args_size, "jobsched.max_args_size");
}

/* What a run leaves for its next attempt. */
void
js_bounds_check_state(const Jsonb *state)
{
	Size		size = size_of_jsonb(state);

	if (size > js_guc_max_args_size * KB)
		refuse("state", size, js_guc_max_args_size, "jobsched.max_args_size");
}

/* What a step finds before it starts (step_look.c). */
void
js_bounds_check_found(Size size)
{
	if (size > js_guc_max_args_size * KB)
		refuse("what placeholders stand for", size, js_guc_max_args_size, "jobsched.max_args_size");
}

/* What an event has with it. */
void
js_bounds_check_payload(const Jsonb *payload)
{
	Size		size = size_of_jsonb(payload);

	if (size > js_guc_max_args_size * KB)
		refuse("payload", size, js_guc_max_args_size, "jobsched.max_args_size");
}

/* What is for people to read. */
void
js_bounds_check_remark(const char *parameter, const char *text)
{
	if (length(text) > JS_MAX_REMARK)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("%s has %zu bytes, more than the %d that are allowed", parameter,
						length(text), JS_MAX_REMARK),
				 errhint("Give a shorter one.")));
}

bool
js_job_is_too_large(const JsJob *job)
{
	return job->size > js_guc_max_job_size * KB;
}

bool
js_run_is_too_large(const JsRun *run)
{
	return Max(run->size, run->state_size) > js_guc_max_args_size * KB;
}
