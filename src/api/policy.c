/*-------------------------------------------------------------------------
 *
 * policy.c
 *		The policies of a job: names, bounds, arguments.
 *
 * create_job() and alter_job() read their arguments for retries and for slots
 * here, refuse values that are out of bounds, and write the rest into the job.
 * For the meaning see retry.c, sched_slot.c, sched_fire.c and sched_overlap.c.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/policy.h"
#include "base/interval.h"
#include "catalog/pg_type.h"
#include "run/retry.h"
#include "store/store_names.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define NOT_GIVEN (-1)

static const char *const backoff_names[] = {"exponential", "linear", "fixed"};

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

static char *
name_argument(FunctionCallInfo fcinfo, int n, const char *parameter,
			  const char *const *names, int count, const char *hint)
{
	char	   *name;

	if (PG_ARGISNULL(n))
		return NULL;
	name = text_to_cstring(PG_GETARG_TEXT_PP(n));
	if (js_name_find(name, names, count) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s \"%s\"", parameter, name),
				 errhint("%s", hint)));
	return name;
}

static int32
number_argument(FunctionCallInfo fcinfo, int n, const char *parameter, int32 least, int32 most)
{
	int32		value;

	if (PG_ARGISNULL(n))
		return NOT_GIVEN;
	value = PG_GETARG_INT32(n);
	if (value < least || value > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%d\" is out of range", parameter, value),
				 least == 0 ? errhint("It is from 1 to %d, or 0 for none.", most) :
				 errhint("It is from %d to %d.", least, most)));
	return value;
}

/* Up to a day. */
static int64
span_argument(FunctionCallInfo fcinfo, int n, const char *parameter)
{
	Interval   *interval;
	int64		us;

	if (PG_ARGISNULL(n))
		return NOT_GIVEN;
	interval = PG_GETARG_INTERVAL_P(n);
	us = js_interval_us(parameter, interval);
	if (us > USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" is too long", parameter,
						DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval)))),
				 errhint("The longest is a day.")));
	return us;
}

/* The infinity at its own end means that there is no bound. */
static TimestampTz
bound_argument(FunctionCallInfo fcinfo, int n, const char *parameter,
			   TimestampTz none, const char *none_name, bool *given)
{
	TimestampTz value;

	*given = !PG_ARGISNULL(n);
	value = *given ? PG_GETARG_TIMESTAMPTZ(n) : none;
	if (value == none)
		return DT_NOBEGIN;
	if (TIMESTAMP_NOT_FINITE(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be finite", parameter),
				 errhint("'%s' removes it.", none_name)));
	return value;
}

static double
share_argument(FunctionCallInfo fcinfo, int n, const char *parameter)
{
	double		share;

	if (PG_ARGISNULL(n))
		return NOT_GIVEN;
	share = PG_GETARG_FLOAT8(n);
	if (!(share >= 0 && share <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%g\" is out of range", parameter, share),
				 errhint("It is a share, from 0 to 1.")));
	return share;
}

static int64
length_argument(FunctionCallInfo fcinfo, int n, const char *parameter)
{
	return PG_ARGISNULL(n) ? NOT_GIVEN : js_interval_us(parameter, PG_GETARG_INTERVAL_P(n));
}

static ArrayType *
conditions_argument(FunctionCallInfo fcinfo, int n, const char *parameter)
{
	ArrayType  *conditions;

	if (PG_ARGISNULL(n))
		return NULL;
	conditions = PG_GETARG_ARRAYTYPE_P_COPY(n);
	js_retry_check_conditions(parameter, conditions);
	return conditions;
}

static ArrayType *
delays_argument(FunctionCallInfo fcinfo, int n)
{
	ArrayType  *delays;

	if (PG_ARGISNULL(n))
		return NULL;
	delays = PG_GETARG_ARRAYTYPE_P_COPY(n);
	js_retry_check_delays(delays);
	return delays;
}

/* The arguments from n on; returns the number of the one that follows. */
int
js_retry_policy_read(FunctionCallInfo fcinfo, int n, JsRetryPolicy *policy)
{
	policy->max_attempts = PG_ARGISNULL(n) ? NOT_GIVEN : js_retry_max_attempts(PG_GETARG_INT32(n));
	n++;
	policy->backoff = name_argument(fcinfo, n++, "backoff", backoff_names, lengthof(backoff_names),
									"It is one of exponential, linear and fixed.");
	policy->backoff_base = length_argument(fcinfo, n++, "backoff_base");
	policy->backoff_max = length_argument(fcinfo, n++, "backoff_max");
	policy->backoff_jitter = share_argument(fcinfo, n++, "backoff_jitter");
	policy->retry_delays = delays_argument(fcinfo, n++);
	policy->retry_on = conditions_argument(fcinfo, n++, "retry_on");
	policy->no_retry_on = conditions_argument(fcinfo, n++, "no_retry_on");
	return n;
}

/* The same. */
int
js_slot_policy_read(FunctionCallInfo fcinfo, int n, JsSlotPolicy *policy)
{
	policy->overlap = name_argument(fcinfo, n++, "overlap", js_overlap_names, JS_OVERLAPS,
									"It is one of skip, queue, allow and replace.");
	policy->queue_limit = number_argument(fcinfo, n++, "queue_limit", 1, JS_MAX_QUEUE_LIMIT);
	policy->misfire = name_argument(fcinfo, n++, "misfire", js_misfire_names, JS_MISFIRES,
									"It is one of once, skip and all.");
	policy->misfire_grace = span_argument(fcinfo, n++, "misfire_grace");
	policy->starts_at = bound_argument(fcinfo, n++, "starts_at", DT_NOBEGIN, "-infinity", &policy->has_starts_at);
	policy->ends_at = bound_argument(fcinfo, n++, "ends_at", DT_NOEND, "infinity", &policy->has_ends_at);
	policy->max_runs = number_argument(fcinfo, n++, "max_runs", 0, PG_INT32_MAX);
	policy->jitter = span_argument(fcinfo, n++, "jitter");
	policy->pause_after_failures = number_argument(fcinfo, n++, "pause_after_failures", 0, JS_MAX_PAUSE_AFTER);
	policy->max_concurrency = number_argument(fcinfo, n++, "max_concurrency", 0, JS_MAX_CONCURRENCY);
	return n;
}

/* ------------------------------------------------------------------------
 * Jobs
 * ------------------------------------------------------------------------
 */

static void
set_number(int32 *field, int32 given)
{
	if (given != NOT_GIVEN)
		*field = given;
}

static void
set_span(int64 *field, int64 given)
{
	if (given != NOT_GIVEN)
		*field = given;
}

static void
complete_number(int32 *given, int32 otherwise)
{
	if (*given == NOT_GIVEN)
		*given = otherwise;
}

static void
complete_span(int64 *given, int64 otherwise)
{
	if (*given == NOT_GIVEN)
		*given = otherwise;
}

static void
complete_list(ArrayType **given, Oid type)
{
	if (*given == NULL)
		*given = construct_empty_array(type);
}

/* An empty list is none. */
static void
set_list(ArrayType **field, ArrayType *given)
{
	if (given != NULL)
		*field = ArrayGetNItems(ARR_NDIM(given), ARR_DIMS(given)) == 0 ? NULL : given;
}

/* For create_job(): what is not given is as by default, also in a job that there is. */
void
js_retry_policy_complete(JsRetryPolicy *policy)
{
	complete_number(&policy->max_attempts, 0);
	if (policy->backoff == NULL)
		policy->backoff = pstrdup(JS_DEFAULT_BACKOFF);
	complete_span(&policy->backoff_base, JS_DEFAULT_BACKOFF_BASE);
	complete_span(&policy->backoff_max, JS_DEFAULT_BACKOFF_MAX);
	if (policy->backoff_jitter == NOT_GIVEN)
		policy->backoff_jitter = JS_DEFAULT_BACKOFF_JITTER;
	complete_list(&policy->retry_delays, INTERVALOID);
	complete_list(&policy->retry_on, TEXTOID);
	complete_list(&policy->no_retry_on, TEXTOID);
}

/* Writes what is given into the job. */
void
js_retry_policy_apply(JsJob *job, const JsRetryPolicy *policy)
{
	set_number(&job->max_attempts, policy->max_attempts);
	if (policy->backoff != NULL)
		job->backoff = policy->backoff;
	set_span(&job->backoff_base, policy->backoff_base);
	set_span(&job->backoff_max, policy->backoff_max);
	if (policy->backoff_jitter != NOT_GIVEN)
		job->backoff_jitter = policy->backoff_jitter;
	set_list(&job->retry_delays, policy->retry_delays);
	set_list(&job->retry_on, policy->retry_on);
	set_list(&job->no_retry_on, policy->no_retry_on);
}

/* The same for slots. */
void
js_slot_policy_complete(JsSlotPolicy *policy)
{
	if (policy->overlap == NULL)
		policy->overlap = pstrdup(js_overlap_names[JS_OVERLAP_SKIP]);
	if (policy->misfire == NULL)
		policy->misfire = pstrdup(js_misfire_names[JS_MISFIRE_ONCE]);
	policy->has_starts_at = policy->has_ends_at = true; /* none, if not given */
	complete_number(&policy->queue_limit, JS_DEFAULT_QUEUE_LIMIT);
	complete_span(&policy->misfire_grace, JS_DEFAULT_MISFIRE_GRACE);
	complete_number(&policy->max_runs, 0);
	complete_span(&policy->jitter, 0);
	complete_number(&policy->pause_after_failures, 0);
	complete_number(&policy->max_concurrency, 0);
}

/* Whether what is given changes which slots the job has. */
bool
js_slot_policy_moves(const JsJob *job, const JsSlotPolicy *policy)
{
	return (policy->has_starts_at && policy->starts_at != job->starts_at) ||
		(policy->has_ends_at && policy->ends_at != job->ends_at) ||
		(policy->max_runs != NOT_GIVEN && policy->max_runs != job->max_runs);
}

/* Writes what is given into the job. */
void
js_slot_policy_apply(JsJob *job, const JsSlotPolicy *policy)
{
	if (policy->overlap != NULL)
		job->overlap = js_overlap_of(policy->overlap);
	if (policy->misfire != NULL)
		job->misfire = js_misfire_of(policy->misfire);
	if (policy->has_starts_at)
		job->starts_at = policy->starts_at;
	if (policy->has_ends_at)
		job->ends_at = policy->ends_at;
	set_number(&job->queue_limit, policy->queue_limit);
	set_span(&job->misfire_grace, policy->misfire_grace);
	set_number(&job->max_runs, policy->max_runs);
	set_span(&job->jitter, policy->jitter);
	set_number(&job->pause_after_failures, policy->pause_after_failures);
	set_number(&job->max_concurrency, policy->max_concurrency);
	if (job->starts_at != DT_NOBEGIN && job->ends_at != DT_NOBEGIN && job->ends_at <= job->starts_at)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ends_at \"%s\" is not after starts_at", timestamptz_to_str(job->ends_at)),
				 errhint("Give a later one, or remove a bound: '-infinity' for starts_at, 'infinity' for ends_at.")));
}
