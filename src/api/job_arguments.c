/*-------------------------------------------------------------------------
 *
 * job_arguments.c
 *		The arguments of create_job() and alter_job().
 *
 * The table of parameters (job_parameters.c) says how to fetch and check them.
 * An argument that is NULL is not given: then alter_job() keeps the job's
 * value, and create_job() uses the table's default.  job.c refuses combinations
 * of values that a job may not have.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/job_arguments.h"
#include "api/limit.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "base/json.h"
#include "compat.h"
#include "http/limit_keys.h"
#include "guc.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "run/retry.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* ------------------------------------------------------------------------
 * Kinds
 * ------------------------------------------------------------------------
 */

/* "one, another and the last" */
static char *
list_of(const char *const *choices)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; choices[i] != NULL; i++)
		appendStringInfo(&list, "%s%s", i == 0 ? "" : choices[i + 1] != NULL ? ", " : " and ",
						 choices[i]);
	return list.data;
}

/* The index of a choice. */
int
js_choice_argument(const char *parameter, const char *text, const char *const *choices)
{
	int			found = js_choice_find(choices, text);

	if (found < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s \"%s\"", parameter, text),
				 errhint("It is one of %s.", list_of(choices))));
	return found;
}

static int32
number_argument(const JsJobParameter *parameter, int32 value)
{
	if (parameter->column == JS_JOB_MAX_ATTEMPTS)
		return js_retry_max_attempts(value);
	if (value < parameter->least || value > parameter->most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%d\" is out of range", parameter->name, value),
				 parameter->least == 0 ?
				 errhint("It is from 1 to " INT64_FORMAT ", or 0 for none.", parameter->most) :
				 errhint("It is from " INT64_FORMAT " to " INT64_FORMAT ".",
						 parameter->least, parameter->most)));
	return value;
}

static double
share_argument(const JsJobParameter *parameter, double share)
{
	if (!(share >= 0 && share <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%g\" is out of range", parameter->name, share),
				 errhint("It is a share, from 0 to 1.")));
	return share;
}

/* A bound that is lower than that of every span is a day. */
static int64
span_argument(const JsJobParameter *parameter, Interval *interval)
{
	int64		us = js_interval_us(parameter->name, interval);

	if (us > parameter->most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" is too long", parameter->name,
						DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval)))),
				 errhint("The longest is a day.")));
	return us;
}

/* The infinity at its own end means that there is no bound. */
static TimestampTz
bound_argument(const JsJobParameter *parameter, TimestampTz value)
{
	bool		since = parameter->kind == JS_PARAMETER_SINCE;

	if (value == (since ? DT_NOBEGIN : DT_NOEND))
		return DT_NOBEGIN;
	if (TIMESTAMP_NOT_FINITE(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be finite", parameter->name),
				 errhint("'%s' removes it.", since ? "-infinity" : "infinity")));
	return value;
}

static void
check_name(const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a job cannot be empty")));
	if (strlen(name) > JS_MAX_JOB_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name of a job cannot be longer than %d bytes", JS_MAX_JOB_NAME)));
}

static char *
text_argument(const JsJobParameter *parameter, char *text)
{
	if (parameter->column == JS_JOB_NAME)
		check_name(text);
	if (text[0] == '\0' && (parameter->flags & JS_PARAMETER_REMOVABLE))
		return NULL;
	if (parameter->column == JS_JOB_QUEUE)
		js_limit_check_name("queue", text);
	return text;
}

static Jsonb *
json_argument(const JsJobParameter *parameter, Jsonb *json)
{
	if (parameter->column == JS_JOB_ARGS && !JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("args must be a JSON object")));
	return json;
}

static ArrayType *
list_argument(const JsJobParameter *parameter, ArrayType *list)
{
	if (parameter->kind == JS_PARAMETER_KEYS)
		(void) js_limit_keys_argument(list);
	else if (parameter->kind == JS_PARAMETER_CONDITIONS)
		js_retry_check_conditions(parameter->name, list);
	else
		js_retry_check_delays(list);
	return ArrayGetNItems(ARR_NDIM(list), ARR_DIMS(list)) == 0 ? NULL : list;
}

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

/* Checks a value that is given, and takes it. */
void
js_job_argument_take(const JsJobParameter *parameter, Datum value, JsJobArguments *arguments)
{
	void	   *member = js_job_member(parameter, &arguments->job);

	arguments->given[parameter->column] = true;
	switch (parameter->kind)
	{
		case JS_PARAMETER_BOOLEAN:
			*(bool *) member = DatumGetBool(value);
			break;
		case JS_PARAMETER_NUMBER:
			*(int32 *) member = number_argument(parameter, DatumGetInt32(value));
			break;
		case JS_PARAMETER_SHARE:
			*(double *) member = share_argument(parameter, DatumGetFloat8(value));
			break;
		case JS_PARAMETER_SPAN:
			*(int64 *) member = span_argument(parameter, DatumGetIntervalP(value));
			break;
		case JS_PARAMETER_SINCE:
		case JS_PARAMETER_UNTIL:
			*(TimestampTz *) member = bound_argument(parameter, DatumGetTimestampTz(value));
			break;
		case JS_PARAMETER_TEXT:
			*(char **) member = text_argument(parameter, TextDatumGetCString(value));
			break;
		case JS_PARAMETER_CHOICE:
			*(int *) member = js_choice_argument(parameter->name, TextDatumGetCString(value),
												 parameter->choices);
			break;
		case JS_PARAMETER_ROLE:
			*(Oid *) member = get_role_oid(NameStr(*DatumGetName(value)), false);
			break;
		case JS_PARAMETER_JSON:
			*(Jsonb **) member = json_argument(parameter, DatumGetJsonbPCopy(value));
			break;
		case JS_PARAMETER_KEYS:
		case JS_PARAMETER_CONDITIONS:
		case JS_PARAMETER_DELAYS:
			*(ArrayType **) member = list_argument(parameter, DatumGetArrayTypePCopy(value));
			break;
	}
}

/* The arguments from n on; returns the number of the one that follows. */
int
js_job_arguments_read(FunctionCallInfo fcinfo, int n, JsJobArguments *arguments)
{
	memset(arguments, 0, sizeof(JsJobArguments));
	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
	{
		if (!PG_ARGISNULL(n))
			js_job_argument_take(parameter, PG_GETARG_DATUM(n), arguments);
		n++;
	}
	return n;
}

/* For create_job(): refuses NULL where a job must have something. */
void
js_job_arguments_require(const JsJobArguments *arguments)
{
	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		if ((parameter->flags & JS_PARAMETER_REQUIRED) && !arguments->given[parameter->column])
			js_refuse_null(parameter->name);
}

/* What create_job() takes when it is not given something, or NULL. */
void
js_job_argument_default(const JsJobParameter *parameter, JsJobArguments *arguments)
{
	JsJob	   *job = &arguments->job;

	js_job_parameter_default(parameter, job);
	if (parameter->column == JS_JOB_ARGS)
		job->args = js_json_empty();
	else if (parameter->column == JS_JOB_TIMEZONE)
		job->timezone = pstrdup(js_guc_timezone);
	else if (parameter->column == JS_JOB_OWNER)
		job->owner = GetUserId();
	arguments->given[parameter->column] = true;
}

/* For create_job(): what is not given is as by default, also in a job that there is. */
void
js_job_arguments_complete(JsJobArguments *arguments)
{
	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		if (!arguments->given[parameter->column])
			js_job_argument_default(parameter, arguments);
}

/* Writes what is given into the job. */
void
js_job_arguments_apply(const JsJobArguments *arguments, JsJob *job)
{
	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		if (arguments->given[parameter->column])
			memcpy(js_job_member(parameter, job), js_job_member(parameter, &arguments->job),
				   parameter->size);
}
