/*-------------------------------------------------------------------------
 *
 * retry.c
 *		Whether and when a failed attempt is followed by another.
 *
 * The process that records the end of an attempt decides this, in the same
 * transaction: the worker, or the scheduler if it lost the worker.  If there is
 * to be another attempt, the run's row stays in the queue as "retrying", with
 * its time, and the attempt gets its own row (table attempt).
 *
 * By default a run is tried five times if it is an HTTP request, three times if
 * it was triggered and is one transaction (which leaves nothing behind when it
 * fails), otherwise once.  By default transient errors are retried: conflicts
 * with other transactions, lost connections, exhausted resources, shutdowns,
 * timeouts, lost workers, and the statuses 408, 425, 429 and 5xx.  A division
 * by zero or a 404 is not.  The status nnn of a response has the SQLSTATE
 * JSnnn.  With mail relays it is the other way round: 4xx is a refusal that
 * passes, and 5xx one that stays (RFC 5321 4.2.1).
 *
 * An attempt that was cut off by the end of its worker or server and left no
 * effect is not counted here: sched_end.c puts it back into the queue, a
 * limited number of times.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"


#include "base/interval.h"
#include "base/sqlstate.h"
#include "common/hashfn.h"
#include "compat.h"
#include "http/channel.h"
#include "run/http_job.h"
#include "run/retry.h"
#include "utils/builtins.h"

/* Attempts at a triggered run that is one transaction, by default. */
#define DEFAULT_ATTEMPTS 3

/* Attempts at an HTTP request. */
#define DEFAULT_HTTP_ATTEMPTS 5

/* What a server asks us to wait is at least this. */
#define LEAST_RETRY_AFTER USECS_PER_SEC

/* And at most this, if it is the receiver of a channel. */
#define LONGEST_OF_CHANNEL USECS_PER_HOUR

/* By how much exponential backoff grows. */
#define BACKOFF_FACTOR 3

#define MAX_DELAYS 1000
#define MAX_CONDITIONS 100

static const char *const default_conditions[] = {
	"08",						/* connection exceptions */
	"40001",					/* serialization failure */
	"40P01",					/* deadlock detected */
	"53",						/* insufficient resources */
	"55P03",					/* lock not available */
	"57P01", "57P02", "57P03",	/* shutdown, crash, cannot connect now */
	"timeout", "lost"
};
static const char *const default_statuses[] = {"408", "425", "429", "5xx"};
static const char *const default_mail_statuses[] = {"4xx"};

/* ------------------------------------------------------------------------
 * Conditions
 * ------------------------------------------------------------------------
 */

static bool
is_timeout(const JsOutcome *outcome)
{
	static const int codes[] = {
		ERRCODE_QUERY_CANCELED, /* statement_timeout: a cancel has a status of
								 * its own */
		ERRCODE_IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
		ERRCODE_TRANSACTION_TIMEOUT
	};

	if (outcome->status == JS_TIMED_OUT)
		return true;
	for (int i = 0; i < lengthof(codes); i++)
		if (js_sqlstate_is(outcome->sqlstate, codes[i]))
			return true;
	return false;
}

/* 503, 5xx: a status, or the class of one. */
static bool
is_status(const char *condition)
{
	return condition[0] >= '1' && condition[0] <= '5' &&
		((condition[1] == 'x' && condition[2] == 'x') ||
		 (isdigit((unsigned char) condition[1]) && isdigit((unsigned char) condition[2]))) &&
		condition[3] == '\0';
}

static bool
has_status(const JsOutcome *outcome, const char *condition)
{
	return outcome->sqlstate != NULL &&
		strncmp(outcome->sqlstate, JS_SQLSTATE_STATUS, strlen(JS_SQLSTATE_STATUS)) == 0 &&
		strncmp(outcome->sqlstate + strlen(JS_SQLSTATE_STATUS), condition, strcspn(condition, "x")) == 0;
}

static bool
meets(const JsOutcome *outcome, const char *condition)
{
	if (strcmp(condition, "all") == 0)
		return true;
	if (strcmp(condition, "timeout") == 0)
		return is_timeout(outcome);
	if (strcmp(condition, "lost") == 0)
		return outcome->status == JS_LOST;
	if (is_status(condition))
		return has_status(outcome, condition);
	return outcome->sqlstate != NULL &&
		strncmp(outcome->sqlstate, condition, strlen(condition)) == 0;
}

/* Elements that are null are left out. */
static int
conditions_of(ArrayType *array, char **conditions)
{
	Datum	   *values;
	bool	   *nulls;
	int			count;
	int			n = 0;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	for (int i = 0; i < count && n < MAX_CONDITIONS; i++)
		if (!nulls[i])
			conditions[n++] = TextDatumGetCString(values[i]);
	return n;
}

static bool
meets_any(const JsOutcome *outcome, ArrayType *array)
{
	char	   *conditions[MAX_CONDITIONS];
	int			n = conditions_of(array, conditions);

	for (int i = 0; i < n; i++)
		if (meets(outcome, conditions[i]))
			return true;
	return false;
}

static bool
meets_one_of(const JsOutcome *outcome, const char *const *conditions, int count)
{
	for (int i = 0; i < count; i++)
		if (meets(outcome, conditions[i]))
			return true;
	return false;
}

static bool
meets_default(const JsOutcome *outcome)
{
	if (meets_one_of(outcome, default_conditions, lengthof(default_conditions)))
		return true;
	if (outcome->reason != NULL && strcmp(outcome->reason, JS_SMTP_STATUS) == 0)
		return meets_one_of(outcome, default_mail_statuses, lengthof(default_mail_statuses));
	return meets_one_of(outcome, default_statuses, lengthof(default_statuses));
}

static bool
is_worth_it(const JsJob *job, const JsRun *run, const JsOutcome *outcome)
{
	if (js_run_maps(job, run))
		return meets_default(outcome);
	if (job->no_retry_on != NULL && meets_any(outcome, job->no_retry_on))
		return false;
	return job->retry_on != NULL ? meets_any(outcome, job->retry_on) : meets_default(outcome);
}

static bool
is_condition(const char *text)
{
	size_t		length = strlen(text);

	if (strcmp(text, "all") == 0 || strcmp(text, "timeout") == 0 || strcmp(text, "lost") == 0 || is_status(text))
		return true;
	return (length == 2 || length == 5) &&
		strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == length;
}

static void
check_array(const char *parameter, ArrayType *array, int max)
{
	if (ARR_NDIM(array) > 1 || ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a list of at most %d elements", parameter, max)));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s cannot contain NULL", parameter)));
}

/* As a user gives it; 0 stands for the default. */
int32
js_retry_max_attempts(int32 given)
{
	if (given < 0 || given > JS_MAX_ATTEMPTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_attempts \"%d\" is out of range", given),
				 errhint("It is from 1 to %d, or 0 for the default.", JS_MAX_ATTEMPTS)));
	return given;
}

void
js_retry_check_conditions(const char *parameter, ArrayType *array)
{
	char	   *conditions[MAX_CONDITIONS];
	int			n;

	check_array(parameter, array, MAX_CONDITIONS);
	n = conditions_of(array, conditions);
	for (int i = 0; i < n; i++)
		if (!is_condition(conditions[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid element \"%s\" of %s", conditions[i], parameter),
					 errhint("Give SQLSTATEs such as 40001, classes of them such as 08, HTTP statuses such as 503 or 5xx, or timeout, lost or all.")));
}

/* ------------------------------------------------------------------------
 * Delays
 * ------------------------------------------------------------------------
 */

void
js_retry_check_delays(ArrayType *array)
{
	Datum	   *values;
	int			count;

	check_array("retry_delays", array, MAX_DELAYS);
	deconstruct_array(array, INTERVALOID, sizeof(Interval), false, TYPALIGN_DOUBLE,
					  &values, NULL, &count);
	for (int i = 0; i < count; i++)
		(void) js_interval_us("retry_delays", DatumGetIntervalP(values[i]));
}

static int
delay_count(const JsJob *job)
{
	return job->retry_delays == NULL ? 0 :
		ArrayGetNItems(ARR_NDIM(job->retry_delays), ARR_DIMS(job->retry_delays));
}

/* The nth of the list; after its end the last one. */
static int64
listed_delay(const JsJob *job, int32 nth)
{
	const Interval *interval;
	Datum	   *values;
	bool	   *nulls;
	int			count;
	int			i;

	deconstruct_array(job->retry_delays, INTERVALOID, sizeof(Interval), false,
					  TYPALIGN_DOUBLE, &values, &nulls, &count);
	i = Min(nth, count) - 1;
	if (nulls[i])
		return 0;				/* was never accepted from a user */
	interval = DatumGetIntervalP(values[i]);
	return js_interval_clamped_us(interval);
}

static int64
computed_delay(const JsJob *job, int32 nth)
{
	int64		delay = job->backoff_base;

	if (job->backoff == JS_BACKOFF_FIXED)
		return Min(delay, job->backoff_max);
	for (int32 i = 1; i < nth && delay < job->backoff_max; i++)
		delay = job->backoff == JS_BACKOFF_LINEAR ? delay + job->backoff_base : delay * BACKOFF_FACTOR;
	return Min(delay, job->backoff_max);
}

/* Takes away a share that is each time another, so that runs that failed together do not come back together. */
static int64
spread(int64 delay, double jitter, const JsRun *run)
{
	uint32		hash = murmurhash32((uint32) run->run_id ^ murmurhash32((uint32) run->attempt));

	if (!(jitter > 0 && jitter <= 1))
		return delay;
	return delay - (int64) (delay * jitter * (hash / (PG_UINT32_MAX + 1.0)));
}

/* How long to wait after the nth failure, in microseconds. */
int64
js_retry_delay(const JsJob *job, const JsRun *run, int32 nth)
{
	if (delay_count(job) > 0)
		return listed_delay(job, nth);
	return spread(computed_delay(job, nth), job->backoff_jitter, run);
}

/* ------------------------------------------------------------------------
 * The decision
 * ------------------------------------------------------------------------
 */

/* No slot follows, which would do what this one has failed to do. */
static bool
was_triggered(const JsRun *run)
{
	return run->source == JS_SOURCE_TRIGGER || run->source == JS_SOURCE_RETRY ||
		run->source == JS_SOURCE_CALLBACK || run->source == JS_SOURCE_STEP ||
		run->source == JS_SOURCE_ITEM || run->source == JS_SOURCE_AFTER;
}

static bool
is_request(const JsJob *job, const JsRun *run)
{
	JsHttpPlace place;

	return js_http_definition(job, run, &place) != NULL;
}

static int
attempts_allowed(const JsJob *job, const JsRun *run)
{
	if (js_run_maps(job, run))
		return DEFAULT_ATTEMPTS;
	if (run->max_attempts > 0)
		return run->max_attempts;
	if (job->max_attempts > 0)
		return job->max_attempts;
	if (delay_count(job) > 0)
		return delay_count(job) + 1;
	if (is_request(job, run))
		return DEFAULT_HTTP_ATTEMPTS;
	return was_triggered(run) && run->repeatable ? DEFAULT_ATTEMPTS : 1;
}

static bool
has_failed(const JsOutcome *outcome)
{
	return outcome->status == JS_FAILED || outcome->status == JS_TIMED_OUT ||
		outcome->status == JS_LOST;
}

/* next is made of the run as it was executed. */
void
js_retry_wait(JsRun *next, const char *reason, TimestampTz run_at)
{
	next->status = JS_RUN_RETRYING;
	next->boot_id = 0;
	next->claimed_at = DT_NOBEGIN;
	next->reason = reason;
	next->run_at = run_at;
}

/*
 * The server's word, as far as the job's policy goes, or else that policy.  That of a
 * channel is short because nobody knows when its receiver is back; here he says.
 */
static int64
delay_after(const JsJob *job, const JsRun *run, const JsOutcome *outcome, int32 failures)
{
	int64		longest = js_job_is_channel(job) ? Max(job->backoff_max, LONGEST_OF_CHANNEL) : job->backoff_max;

	if (outcome->retry_after > 0)
		return Max(Min(outcome->retry_after, longest), LEAST_RETRY_AFTER);
	return js_retry_delay(job, run, failures);
}

/* If there is to be another attempt, next is the run as it waits for it. */
bool
js_retry_plan(const JsJob *job, const JsRun *run, const JsOutcome *outcome, JsRun *next)
{
	if (!has_failed(outcome) || strcmp(outcome->reason, "discarded") == 0 ||
		run->failures + 1 >= attempts_allowed(job, run) || !is_worth_it(job, run, outcome))
		return false;
	*next = *run;
	next->failures++;
	js_retry_wait(next, outcome->reason,
				  outcome->finished_at + delay_after(job, run, outcome, next->failures));
	return true;
}
