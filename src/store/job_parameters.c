/*-------------------------------------------------------------------------
 *
 * job_parameters.c
 *		The parameters of a job, in one table.
 *
 * A row of the table says of a parameter what it is called, where it is kept,
 * its bounds, and what it is if create_job() is not told.  What walks the table:
 *
 *	job_arguments.c	fetches and checks what create_job() and alter_job() are
 *				given.  Not given is always the same: the argument is NULL.
 *	here		writes and reads the columns of table job
 *	bounds.c	adds up how large a job is
 *
 * To add a parameter is to add a row, its member of JsJob and its column here
 * and in src/sql/30_jobs.sql; CONTRIBUTING.md has the list.  sql/parameters.sql
 * takes the parameters from the declarations of the functions, and fails where
 * one is missing or in another place.
 *
 * Parameters of an HTTP request are not here: they are fields of one column,
 * and http_request() and its like have them too (http.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/interval.h"
#include "store/job_parameters.h"

static const char *const modes[] = {
	[JS_MODE_AUTO] = "auto",[JS_MODE_TRANSACTION] = "transaction",
	[JS_MODE_AUTOCOMMIT] = "autocommit", NULL
};

static const char *const backoffs[] = {
	[JS_BACKOFF_EXPONENTIAL] = "exponential",[JS_BACKOFF_LINEAR] = "linear",
	[JS_BACKOFF_FIXED] = "fixed", NULL
};

static const char *const overlaps[] = {
	[JS_OVERLAP_SKIP] = "skip",[JS_OVERLAP_QUEUE] = "queue",
	[JS_OVERLAP_ALLOW] = "allow",[JS_OVERLAP_REPLACE] = "replace", NULL
};

static const char *const misfires[] = {
	[JS_MISFIRE_ONCE] = "once",[JS_MISFIRE_SKIP] = "skip",[JS_MISFIRE_ALL] = "all", NULL
};

#define MEMBER(member) offsetof(JsJob, member), sizeof(((JsJob *) NULL)->member)
#define BOOLEAN JS_PARAMETER_BOOLEAN
#define NUMBER JS_PARAMETER_NUMBER
#define SPAN JS_PARAMETER_SPAN
#define TEXT JS_PARAMETER_TEXT
#define CHOICE JS_PARAMETER_CHOICE
#define JSON JS_PARAMETER_JSON
#define REQUIRED JS_PARAMETER_REQUIRED
#define WHOLE JS_PARAMETER_WHOLE
#define REMOVABLE JS_PARAMETER_REMOVABLE

#define ANY_SPAN (JS_MAX_INTERVAL_DAYS * USECS_PER_DAY)

const JsJobParameter js_job_parameters[] = {
	{"name", JS_JOB_NAME, TEXT, MEMBER(name), REQUIRED},
	{"schedule", JS_JOB_SCHEDULE, TEXT, MEMBER(schedule), REMOVABLE},
	{"command", JS_JOB_COMMAND, TEXT, MEMBER(command), WHOLE},
	{"handler", JS_JOB_HANDLER, TEXT, MEMBER(handler), WHOLE},
	{"args", JS_JOB_ARGS, JSON, MEMBER(args), REQUIRED | WHOLE},
	{"timezone", JS_JOB_TIMEZONE, TEXT, MEMBER(timezone), REQUIRED},
	{"enabled", JS_JOB_ENABLED, BOOLEAN, MEMBER(enabled), REQUIRED, .otherwise = true},
	{"description", JS_JOB_DESCRIPTION, TEXT, MEMBER(description), WHOLE},
	{"metadata", JS_JOB_METADATA, JSON, MEMBER(metadata), WHOLE},
	{"owner", JS_JOB_OWNER, JS_PARAMETER_ROLE, MEMBER(owner), REQUIRED},
	{"mode", JS_JOB_MODE, CHOICE, MEMBER(mode), REQUIRED | WHOLE,
	.otherwise = JS_MODE_AUTO,.choices = modes},
	{"share_transaction", JS_JOB_SHARE_TRANSACTION, BOOLEAN, MEMBER(share_transaction)},
	{"timeout", JS_JOB_TIMEOUT, SPAN, MEMBER(timeout), .most = ANY_SPAN},
	{"max_attempts", JS_JOB_MAX_ATTEMPTS, NUMBER, MEMBER(max_attempts), .most = JS_MAX_ATTEMPTS},
	{"backoff", JS_JOB_BACKOFF, CHOICE, MEMBER(backoff),
	.otherwise = JS_BACKOFF_EXPONENTIAL,.choices = backoffs},
	{"backoff_base", JS_JOB_BACKOFF_BASE, SPAN, MEMBER(backoff_base),
	.most = ANY_SPAN,.otherwise = 10 * USECS_PER_SEC},
	{"backoff_max", JS_JOB_BACKOFF_MAX, SPAN, MEMBER(backoff_max),
	.most = ANY_SPAN,.otherwise = USECS_PER_HOUR},
	{"backoff_jitter", JS_JOB_BACKOFF_JITTER, JS_PARAMETER_SHARE, MEMBER(backoff_jitter),
	.otherwise = 0.2},
	{"retry_delays", JS_JOB_RETRY_DELAYS, JS_PARAMETER_DELAYS, MEMBER(retry_delays)},
	{"retry_on", JS_JOB_RETRY_ON, JS_PARAMETER_CONDITIONS, MEMBER(retry_on)},
	{"no_retry_on", JS_JOB_NO_RETRY_ON, JS_PARAMETER_CONDITIONS, MEMBER(no_retry_on)},
	{"overlap", JS_JOB_OVERLAP, CHOICE, MEMBER(overlap),
	.otherwise = JS_OVERLAP_SKIP,.choices = overlaps},
	{"queue_limit", JS_JOB_QUEUE_LIMIT, NUMBER, MEMBER(queue_limit),
	.least = 1,.most = JS_MAX_QUEUE_LIMIT,.otherwise = 1},
	{"misfire", JS_JOB_MISFIRE, CHOICE, MEMBER(misfire),
	.otherwise = JS_MISFIRE_ONCE,.choices = misfires},
	{"misfire_grace", JS_JOB_MISFIRE_GRACE, SPAN, MEMBER(misfire_grace), JS_PARAMETER_KEEPS_ZERO,
	.most = USECS_PER_DAY,.otherwise = 5 * USECS_PER_SEC},
	{"starts_at", JS_JOB_STARTS_AT, JS_PARAMETER_SINCE, MEMBER(starts_at)},
	{"ends_at", JS_JOB_ENDS_AT, JS_PARAMETER_UNTIL, MEMBER(ends_at)},
	{"max_runs", JS_JOB_MAX_RUNS, NUMBER, MEMBER(max_runs), .most = PG_INT32_MAX},
	{"jitter", JS_JOB_JITTER, SPAN, MEMBER(jitter), .most = USECS_PER_DAY},
	{"pause_after_failures", JS_JOB_PAUSE_AFTER_FAILURES, NUMBER, MEMBER(pause_after_failures),
	.most = JS_MAX_PAUSE_AFTER},
	{"max_concurrency", JS_JOB_MAX_CONCURRENCY, NUMBER, MEMBER(max_concurrency),
	.most = JS_MAX_CONCURRENCY},
	{"queue", JS_JOB_QUEUE, TEXT, MEMBER(queue), REMOVABLE},
	{"keys", JS_JOB_KEYS, JS_PARAMETER_KEYS, MEMBER(keys), WHOLE},
	{NULL}
};

StaticAssertDecl(JS_JOB_CANCEL_RUNNING <= JS_MAX_COLUMNS, "table job has too many columns");
StaticAssertDecl(sizeof(JsOverlap) == sizeof(int), "enums are not of the size of int");

int
js_choice_find(const char *const *choices, const char *text)
{
	for (int i = 0; text != NULL && choices[i] != NULL; i++)
		if (strcmp(text, choices[i]) == 0)
			return i;
	return -1;
}

static void
to_row(const JsJobParameter *parameter, const void *member, JsRow *row)
{
	AttrNumber	column = parameter->column;

	switch (parameter->kind)
	{
		case JS_PARAMETER_BOOLEAN:
			js_row_set(row, column, BoolGetDatum(*(const bool *) member));
			break;
		case JS_PARAMETER_NUMBER:
			js_row_set_number(row, column, *(const int32 *) member);
			break;
		case JS_PARAMETER_SHARE:
			js_row_set(row, column, Float8GetDatum(*(const double *) member));
			break;
		case JS_PARAMETER_SPAN:
			if (parameter->flags & JS_PARAMETER_KEEPS_ZERO)
				js_row_set_span(row, column, *(const int64 *) member);
			else
				js_row_set_interval(row, column, *(const int64 *) member);
			break;
		case JS_PARAMETER_SINCE:
		case JS_PARAMETER_UNTIL:
			js_row_set_timestamp(row, column, *(const TimestampTz *) member);
			break;
		case JS_PARAMETER_TEXT:
			js_row_set_text(row, column, *(char *const *) member);
			break;
		case JS_PARAMETER_CHOICE:
			js_row_set_text(row, column, parameter->choices[*(const int *) member]);
			break;
		case JS_PARAMETER_ROLE:
			break;				/* with what belongs to it (store_job.c) */
		case JS_PARAMETER_JSON:
			js_row_set_jsonb(row, column, *(Jsonb *const *) member);
			break;
		case JS_PARAMETER_KEYS:
		case JS_PARAMETER_CONDITIONS:
		case JS_PARAMETER_DELAYS:
			js_row_set_array(row, column, *(ArrayType *const *) member);
			break;
	}
}

/* The columns of all parameters but the owner. */
void
js_job_parameters_to_row(const JsJob *job, JsRow *row)
{
	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		to_row(parameter, js_job_member(parameter, job), row);
}

static int
choice_from_row(const JsJobParameter *parameter, const JsRow *row)
{
	int			found = js_choice_find(parameter->choices, js_row_head_text(row, parameter->column));

	return found < 0 ? (int) parameter->otherwise : found;
}

static void
from_row(const JsJobParameter *parameter, const JsRow *row, bool whole, void *member)
{
	AttrNumber	column = parameter->column;
	Datum		value = row->values[column - 1];

	switch (parameter->kind)
	{
		case JS_PARAMETER_BOOLEAN:
			*(bool *) member = DatumGetBool(value);
			break;
		case JS_PARAMETER_NUMBER:
			*(int32 *) member = js_row_number(row, column, parameter->most);
			break;
		case JS_PARAMETER_SHARE:
			*(double *) member = DatumGetFloat8(value);
			break;
		case JS_PARAMETER_SPAN:
			*(int64 *) member = Min(js_row_interval(row, column), parameter->most);
			break;
		case JS_PARAMETER_SINCE:
		case JS_PARAMETER_UNTIL:
			*(TimestampTz *) member = js_row_timestamp(row, column);
			break;
		case JS_PARAMETER_TEXT:
			*(char **) member = whole ? js_row_text(row, column) : js_row_head_text(row, column);
			break;
		case JS_PARAMETER_CHOICE:
			*(int *) member = choice_from_row(parameter, row);
			break;
		case JS_PARAMETER_ROLE:
			break;
		case JS_PARAMETER_JSON:
			*(Jsonb **) member = js_row_jsonb(row, column);
			break;
		case JS_PARAMETER_KEYS:
			*(ArrayType **) member = js_row_array(row, column);
			break;
		case JS_PARAMETER_CONDITIONS:
		case JS_PARAMETER_DELAYS:
			*(ArrayType **) member = js_row_head_array(row, column);
			break;
	}
}

/* The same, into a job whose members are 0; all of them, or those of its head. */
void
js_job_parameters_from_row(const JsRow *row, bool whole, JsJob *job)
{
	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		if (whole || (parameter->flags & JS_PARAMETER_WHOLE) == 0)
			from_row(parameter, row, whole, js_job_member(parameter, job));
}

/* Whether a parameter has no fixed size; the lists for retries have bounds of their own. */
static bool
is_sized(const JsJobParameter *parameter)
{
	return parameter->kind == JS_PARAMETER_TEXT || parameter->kind == JS_PARAMETER_JSON ||
		parameter->kind == JS_PARAMETER_KEYS;
}

/* How large they are in all, in bytes. */
Size
js_job_parameters_size(const JsJob *job)
{
	Size		size = 0;

	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
	{
		const void *value;

		if (!is_sized(parameter))
			continue;
		value = *(void **) js_job_member(parameter, job);
		if (value != NULL)
			size += parameter->kind == JS_PARAMETER_TEXT ? strlen(value) : VARSIZE_ANY_EXHDR(value);
	}
	return size;
}

/* The same of a row. */
Size
js_job_parameters_row_size(const JsRow *row)
{
	Size		size = 0;

	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		if (is_sized(parameter))
			size += js_row_size(row, parameter->column);
	return size;
}
