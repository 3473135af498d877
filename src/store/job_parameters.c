/*-------------------------------------------------------------------------
 *
 * job_parameters.c
 *		The parameters of a job, in one table.
 *
 * A row of the table has a parameter's name, its place in the structure, its
 * bounds, and its default in create_job().  Three files walk the table:
 *
 *	job_arguments.c	fetches and checks the arguments of create_job() and
 *				alter_job().  A NULL argument always means "not given".
 *	here		writes and reads the columns of table job
 *	bounds.c	adds up the size of a job
 *
 * To add a parameter, add a row here, its column in job_parameters.h, a member of
 * JsJob, and what src/sql/30_jobs.sql has of it; CONTRIBUTING.md has the list.  sql/parameters.sql takes
 * the parameters from the declarations of the functions, and fails if one is
 * missing or in another place.
 *
 * Parameters of an HTTP request are not here: they are fields of one column,
 * and http_request() and the like have them too (api/http.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/interval.h"
#include "store/job_parameters.h"

/* In the order of the enums. */
static const char *const modes[] = {"auto", "transaction", "autocommit", NULL};
static const char *const backoffs[] = {"exponential", "linear", "fixed", NULL};
static const char *const overlaps[] = {"skip", "queue", "allow", "replace", NULL};
static const char *const misfires[] = {"once", "skip", "all", NULL};
static const char *const keeps[] = {"all", "failures", NULL};

#define PARAMETER(name) #name, offsetof(JsJob, name), sizeof(((JsJob *) NULL)->name)
#define BOUNDS(from, to) .least = (from), .most = (to)
#define DEFAULT(value) .otherwise = (value)
#define ONE_OF(names, value) .choices = (names), .otherwise = (value)

#define BOOLEAN JS_PARAMETER_BOOLEAN
#define NUMBER JS_PARAMETER_NUMBER
#define SHARE JS_PARAMETER_SHARE
#define SPAN JS_PARAMETER_SPAN
#define SINCE JS_PARAMETER_SINCE
#define UNTIL JS_PARAMETER_UNTIL
#define TEXT JS_PARAMETER_TEXT
#define CHOICE JS_PARAMETER_CHOICE
#define ROLE JS_PARAMETER_ROLE
#define JSON JS_PARAMETER_JSON
#define KEYS JS_PARAMETER_KEYS
#define CONDITIONS JS_PARAMETER_CONDITIONS
#define DELAYS JS_PARAMETER_DELAYS

#define REQUIRED JS_PARAMETER_REQUIRED
#define WHOLE JS_PARAMETER_WHOLE
#define REMOVABLE JS_PARAMETER_REMOVABLE
#define KEEPS_ZERO JS_PARAMETER_KEEPS_ZERO
#define STEP JS_PARAMETER_OF_STEP

#define LONGEST (JS_MAX_INTERVAL_DAYS * USECS_PER_DAY)

const JsJobParameter js_job_parameters[] = {
	{PARAMETER(name), JS_JOB_NAME, TEXT, REQUIRED},
	{PARAMETER(schedule), JS_JOB_SCHEDULE, TEXT, REMOVABLE},
	{PARAMETER(command), JS_JOB_COMMAND, TEXT, WHOLE | STEP},
	{PARAMETER(handler), JS_JOB_HANDLER, TEXT, WHOLE | STEP},
	{PARAMETER(args), JS_JOB_ARGS, JSON, WHOLE | STEP},
	{PARAMETER(timezone), JS_JOB_TIMEZONE, TEXT},
	{PARAMETER(enabled), JS_JOB_ENABLED, BOOLEAN, 0, DEFAULT(true)},
	{PARAMETER(description), JS_JOB_DESCRIPTION, TEXT, WHOLE | REMOVABLE | STEP},
	{PARAMETER(metadata), JS_JOB_METADATA, JSON, WHOLE | STEP},
	{PARAMETER(owner), JS_JOB_OWNER, ROLE},
	{PARAMETER(mode), JS_JOB_MODE, CHOICE, WHOLE | STEP, ONE_OF(modes, JS_MODE_AUTO)},
	{PARAMETER(share_transaction), JS_JOB_SHARE_TRANSACTION, BOOLEAN, STEP},
	{PARAMETER(timeout), JS_JOB_TIMEOUT, SPAN, STEP, BOUNDS(0, LONGEST)},
	{PARAMETER(max_attempts), JS_JOB_MAX_ATTEMPTS, NUMBER, STEP, BOUNDS(0, JS_MAX_ATTEMPTS)},
	{PARAMETER(backoff), JS_JOB_BACKOFF, CHOICE, STEP, ONE_OF(backoffs, JS_BACKOFF_EXPONENTIAL)},
	{PARAMETER(backoff_base), JS_JOB_BACKOFF_BASE, SPAN, STEP,
	BOUNDS(0, LONGEST), DEFAULT(10 * USECS_PER_SEC)},
	{PARAMETER(backoff_max), JS_JOB_BACKOFF_MAX, SPAN, STEP,
	BOUNDS(0, LONGEST), DEFAULT(USECS_PER_HOUR)},
	{PARAMETER(backoff_jitter), JS_JOB_BACKOFF_JITTER, SHARE, STEP, DEFAULT(0.2)},
	{PARAMETER(retry_delays), JS_JOB_RETRY_DELAYS, DELAYS, STEP},
	{PARAMETER(retry_on), JS_JOB_RETRY_ON, CONDITIONS, STEP},
	{PARAMETER(no_retry_on), JS_JOB_NO_RETRY_ON, CONDITIONS, STEP},
	{PARAMETER(overlap), JS_JOB_OVERLAP, CHOICE, 0, ONE_OF(overlaps, JS_OVERLAP_SKIP)},
	{PARAMETER(queue_limit), JS_JOB_QUEUE_LIMIT, NUMBER, 0,
	BOUNDS(1, JS_MAX_QUEUE_LIMIT), DEFAULT(1)},
	{PARAMETER(misfire), JS_JOB_MISFIRE, CHOICE, 0, ONE_OF(misfires, JS_MISFIRE_ONCE)},
	{PARAMETER(misfire_grace), JS_JOB_MISFIRE_GRACE, SPAN, KEEPS_ZERO,
	BOUNDS(0, USECS_PER_DAY), DEFAULT(5 * USECS_PER_SEC)},
	{PARAMETER(starts_at), JS_JOB_STARTS_AT, SINCE},
	{PARAMETER(ends_at), JS_JOB_ENDS_AT, UNTIL},
	{PARAMETER(max_runs), JS_JOB_MAX_RUNS, NUMBER, 0, BOUNDS(0, PG_INT32_MAX)},
	{PARAMETER(jitter), JS_JOB_JITTER, SPAN, 0, BOUNDS(0, USECS_PER_DAY)},
	{PARAMETER(pause_after_failures), JS_JOB_PAUSE_AFTER_FAILURES, NUMBER, 0,
	BOUNDS(0, JS_MAX_PAUSE_AFTER)},
	{PARAMETER(max_concurrency), JS_JOB_MAX_CONCURRENCY, NUMBER, STEP,
	BOUNDS(0, JS_MAX_CONCURRENCY)},
	{PARAMETER(queue), JS_JOB_QUEUE, TEXT, REMOVABLE | STEP},
	{PARAMETER(keys), JS_JOB_KEYS, KEYS, WHOLE | STEP},
	{PARAMETER(on_success), JS_JOB_ON_SUCCESS, TEXT, WHOLE | REMOVABLE | STEP},
	{PARAMETER(on_failure), JS_JOB_ON_FAILURE, TEXT, WHOLE | REMOVABLE | STEP},
	{PARAMETER(deadline), JS_JOB_DEADLINE, SPAN, 0, BOUNDS(0, LONGEST)},
	{PARAMETER(keep), JS_JOB_KEEP, CHOICE, 0, ONE_OF(keeps, JS_KEEP_ALL)},
	{PARAMETER(keep_for), JS_JOB_KEEP_FOR, SPAN, 0, BOUNDS(0, LONGEST)},
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

/* What create_job() takes when it is given NULL; the member was 0. */
void
js_job_parameter_default(const JsJobParameter *parameter, JsJob *job)
{
	void	   *member = js_job_member(parameter, job);

	switch (parameter->kind)
	{
		case JS_PARAMETER_BOOLEAN:
			*(bool *) member = parameter->otherwise != 0;
			break;
		case JS_PARAMETER_NUMBER:
		case JS_PARAMETER_CHOICE:
			*(int32 *) member = (int32) parameter->otherwise;
			break;
		case JS_PARAMETER_SHARE:
			*(double *) member = parameter->otherwise;
			break;
		case JS_PARAMETER_SPAN:
			*(int64 *) member = (int64) parameter->otherwise;
			break;
		case JS_PARAMETER_SINCE:
		case JS_PARAMETER_UNTIL:
			*(TimestampTz *) member = DT_NOBEGIN;
			break;
		case JS_PARAMETER_ROLE:
			*(Oid *) member = InvalidOid;
			break;
		default:				/* none */
			*(void **) member = NULL;
			break;
	}
}

/* The same of all parameters. */
void
js_job_parameters_default(JsJob *job)
{
	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		js_job_parameter_default(parameter, job);
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
