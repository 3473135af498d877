/*-------------------------------------------------------------------------
 *
 * insight.c
 *		insights(): what is worth a look.
 *
 * Each job that the caller may see is looked at once: its row, its state, and two weeks
 * of its statistics, all by index.  History and the queue are not read, so it takes some
 * microseconds a job, however many runs it has.  What one job has said is forgotten
 * before the next.
 *
 * A finding is a fact with its numbers and what to do about it.  Limits are such that
 * chance does not make one: some runs, a share of them, and time in which it matters.
 * Jobs that do not run here (another home, paused, disabled) make none but that.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "api/access.h"
#include "api/stat_values.h"
#include "api/status.h"
#include "cron/cron.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "shmem/clock.h"
#include "store/store.h"
#include "store/store_stat.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_insights);

/* Failures in a row; and runs, and of these so many, in a week. */
#define FAILING 3
#define STEADY_RUNS 20
#define STEADY_FAILURES 3
#define STEADY_SHARE 0.05

/* Slower: runs of a day, and of the days before; by so much. */
#define SLOWER_RUNS 5
#define SLOWER_RUNS_BEFORE 20
#define SLOWER_TIMES 1.5
#define SLOWER_BY (100 * 1000.0)

/* Of a day: slots passed over, and their share; runs, and how late they start. */
#define PASSED_OVER 5
#define PASSED_OVER_SHARE 0.1
#define WAITING_RUNS 5
#define WAITING_LONG (30 * 1000 * 1000.0)

/* Of a week. */
#define VAIN_RETRIES 10
#define DEAD_LETTERS 20

/* A turn of history is late when it is due for this share of a segment's time, and an hour. */
#define LATE_SHARE 10
#define LATE_LEAST USECS_PER_HOUR

typedef struct Looked
{
	ReturnSetInfo *result;
	JsStatReader reader;
	TimestampTz now;
	pg_uuid_t	home;
	int64		asleep;			/* jobs that the caller may see */
	/* of one job */
	const JsJob *job;
	JsJobState	state;
	JsStat		day;			/* the last one */
	JsStat		week;			/* with that */
	JsStat		before;			/* two weeks without the last day */
} Looked;

static void
tell(const Looked *looked, const char *severity, const char *what, TimestampTz since,
	 const char *evidence, const char *advice)
{
	Datum		values[6];
	bool		nulls[6] = {false};

	values[0] = CStringGetTextDatum(severity);
	nulls[1] = looked->job == NULL;
	if (looked->job != NULL)
		values[1] = CStringGetTextDatum(looked->job->name);
	values[2] = CStringGetTextDatum(what);
	values[3] = TimestampTzGetDatum(since);
	nulls[3] = since == DT_NOBEGIN;
	values[4] = CStringGetTextDatum(evidence);
	values[5] = CStringGetTextDatum(advice);
	tuplestore_putvalues(looked->result->setResult, looked->result->setDesc, values, nulls);
}

/* ------------------------------------------------------------------------
 * Numbers
 * ------------------------------------------------------------------------
 */

static TimestampTz
day_ago(const Looked *looked)
{
	return js_stat_begin_of(looked->now - USECS_PER_DAY, JS_STAT_HOUR);
}

static TimestampTz
week_ago(const Looked *looked)
{
	return js_stat_begin_of(looked->now - 7 * USECS_PER_DAY, JS_STAT_HOUR);
}

static TimestampTz
two_weeks_ago(const Looked *looked)
{
	return js_stat_begin_of(looked->now - 14 * USECS_PER_DAY, JS_STAT_HOUR);
}

static void
add_entry(const JsStatEntry *entry, void *arg)
{
	Looked	   *looked = arg;

	js_stat_add_encoded(entry->start >= day_ago(looked) ? &looked->day : &looked->before, entry->bytes, entry->size);
	if (entry->start >= week_ago(looked))
		js_stat_add_encoded(&looked->week, entry->bytes, entry->size);
}

static double
percentile(const JsHistogram *histogram, double fraction)
{
	uint64		total = js_histogram_total(histogram);

	return total == 0 ? 0 : js_histogram_percentile(histogram, total, fraction);
}

/* For people. */
static char *
span(double us)
{
	if (us < 1000 * 1000)
		return psprintf("%.0f ms", us / 1000);
	if (us < 120 * 1000 * 1000.0)
		return psprintf("%.1f s", us / (1000 * 1000));
	if (us < 2 * (double) USECS_PER_HOUR)
		return psprintf("%.0f min", us / USECS_PER_MINUTE);
	return psprintf("%.1f h", us / USECS_PER_HOUR);
}

static char *
moment(TimestampTz at)
{
	return pstrdup(timestamptz_to_str(at));
}

/* ------------------------------------------------------------------------
 * Failures
 * ------------------------------------------------------------------------
 */

static bool
look_at_state(const Looked *looked)
{
	if (looked->state.invalid_revision == looked->job->revision)
	{
		tell(looked, "error", "invalid", DT_NOBEGIN,
			 psprintf("the scheduler cannot run it: %s", looked->state.invalid_reason ? looked->state.invalid_reason : "its schedule or owner"),
			 "Mend it with alter_job().");
		return true;
	}
	if (looked->state.auto_paused_revision == looked->job->revision)
	{
		tell(looked, "error", "paused_by_failures", looked->state.succeeded_at,
			 psprintf("%d runs in a row have failed, and pause_after_failures has paused it", looked->state.consecutive_failures),
			 "Mend what fails, see dead_letters and error of view runs; then resume_job().");
		return true;
	}
	return looked->job->paused || !looked->job->enabled;
}

static bool
look_at_failing(const Looked *looked)
{
	const JsJobState *state = &looked->state;

	if (state->consecutive_failures < FAILING)
		return false;
	if (state->succeeded_at == DT_NOBEGIN)
		tell(looked, "error", "never_succeeded", looked->job->created_at,
			 psprintf("none of its runs has succeeded, and the last %d have failed", state->consecutive_failures),
			 "See column error of view runs; a job that is of no use can be dropped.");
	else
		tell(looked, "error", "failing", state->succeeded_at,
			 psprintf("%d runs in a row have failed; the last success was at %s", state->consecutive_failures, moment(state->succeeded_at)),
			 "See column error of view runs; when it is mended, redrive() does again what has failed.");
	return true;
}

static void
look_at_steady_failures(const Looked *looked)
{
	uint64		failures = js_stat_failures(&looked->week);
	uint64		all = failures + js_stat_of_status(&looked->week, JS_SUCCEEDED);

	if (all < STEADY_RUNS || failures < STEADY_FAILURES || failures < STEADY_SHARE * all)
		return;
	tell(looked, "warning", "fails_often", week_ago(looked),
		 psprintf(UINT64_FORMAT " of " UINT64_FORMAT " runs (%.0f %%) have failed in 7 days", failures, all, 100.0 * failures / all),
		 "See dead_letters for what they have in common; if it is passing, max_attempts and retry_on help.");
}

static void
look_at_retries(const Looked *looked)
{
	if (looked->week.retries < VAIN_RETRIES || looked->week.rescued > 0 || js_stat_failures(&looked->week) == 0)
		return;
	tell(looked, "warning", "retries_in_vain", week_ago(looked),
		 psprintf(UINT64_FORMAT " retries in 7 days, and no run has succeeded after one", looked->week.retries),
		 "Let errors that do not pass fail at once: no_retry_on, or max_attempts => 1.");
}

static void
look_at_dead_letters(const Looked *looked)
{
	uint64		failures = js_stat_failures(&looked->week);
	uint64		retried = 0;

	for (int status = 0; status < JS_STATUSES; status++)
		retried += looked->week.ends[JS_SOURCE_RETRY][status];
	if (js_stat_failures(&looked->day) == 0 || failures < retried + DEAD_LETTERS)
		return;
	tell(looked, "warning", "dead_letters_grow", week_ago(looked),
		 psprintf(UINT64_FORMAT " runs have failed for good in 7 days, and " UINT64_FORMAT " have been retried", failures, retried),
		 "redrive() does them again when the cause is mended; view dead_letters has them.");
}

/* ------------------------------------------------------------------------
 * Time
 * ------------------------------------------------------------------------
 */

static void
look_at_durations(const Looked *looked)
{
	double		now = percentile(&looked->day.durations, 0.5);
	double		before = percentile(&looked->before.durations, 0.5);

	if (js_histogram_total(&looked->day.durations) < SLOWER_RUNS ||
		js_histogram_total(&looked->before.durations) < SLOWER_RUNS_BEFORE ||
		now < SLOWER_TIMES * before || now - before < SLOWER_BY)
		return;
	tell(looked, "warning", "slower", day_ago(looked),
		 psprintf("half of its runs take longer than %s, where it was %s in the two weeks before", span(now), span(before)),
		 "Compare the plans of its queries, the size of what it reads, and what else runs at that time.");
}

/* What there is between its next two slots; 0: there are none. */
static int64
interval_of_slots(const Looked *looked)
{
	const JsJob *job = looked->job;
	JsSchedule	schedule;
	JsScheduleError error;
	pg_tz	   *zone = job->timezone == NULL ? NULL : js_timezone_lookup(job->timezone);
	TimestampTz first;
	TimestampTz second;

	if (job->schedule == NULL || zone == NULL || !js_schedule_parse(job->schedule, job->name, &schedule, &error) ||
		!js_schedule_next(&schedule, zone, job->anchor, looked->now, &first) ||
		!js_schedule_next(&schedule, zone, job->anchor, first, &second))
		return 0;
	return second - first;
}

static void
look_at_interval(const Looked *looked)
{
	double		half = percentile(&looked->day.durations, 0.5);
	int64		interval;

	/* no schedule is closer than that */
	if (half < USECS_PER_SEC)
		return;
	interval = interval_of_slots(looked);
	if (interval == 0 || half <= interval)
		return;
	tell(looked, "warning", "longer_than_interval", day_ago(looked),
		 psprintf("half of its runs take longer than %s, and its slots are %s apart", span(half), span(interval)),
		 "Let it run less often, make it faster, or say with overlap what is to become of slots that come meanwhile.");
}

static void
look_at_passed_over(const Looked *looked, uint64 slots, const char *what, const char *evidence, const char *advice)
{
	uint64		runs = js_histogram_total(&looked->day.durations);

	if (slots < PASSED_OVER || slots < PASSED_OVER_SHARE * (slots + runs))
		return;
	tell(looked, "warning", what, day_ago(looked),
		 psprintf(UINT64_FORMAT " of " UINT64_FORMAT " %s in 24 hours", slots, slots + runs, evidence), advice);
}

static void
look_at_delays(const Looked *looked)
{
	const JsJob *job = looked->job;
	double		delay = percentile(&looked->day.delays, 0.95);
	bool		limited = job->queue != NULL || job->has_keys || job->max_concurrency > 0;

	if (js_histogram_total(&looked->day.delays) < WAITING_RUNS || delay < WAITING_LONG)
		return;
	tell(looked, "warning", limited ? "waits_for_limits" : "waits_for_workers", day_ago(looked),
		 psprintf("one run in twenty starts %s late or later", span(delay)),
		 limited ? "See views queues and limits: raise max_running or the rate, or spread what comes."
		 : "See view workers: raise jobsched.max_workers, or let jobs that are not urgent have a lower priority.");
}

/* ------------------------------------------------------------------------
 * Jobs
 * ------------------------------------------------------------------------
 */

static void
look_at_statistics(Looked *looked)
{
	memset(&looked->day, 0, sizeof(JsStat));
	memset(&looked->week, 0, sizeof(JsStat));
	memset(&looked->before, 0, sizeof(JsStat));
	js_stat_visit(&looked->reader, looked->job->job_id, two_weeks_ago(looked), DT_NOEND, add_entry, looked);
}

static void
look_at_job(const JsJob *head, void *arg)
{
	Looked	   *looked = arg;

	CHECK_FOR_INTERRUPTS();
	if (head->dropped_at != DT_NOBEGIN || head->workflow_id != 0 || !js_may_see(head->owner))
		return;
	if (memcmp(&head->home, &looked->home, sizeof(pg_uuid_t)) != 0)
	{
		looked->asleep++;
		return;
	}
	looked->job = head;
	(void) js_job_state_read(head->job_id, &looked->state);
	if (look_at_state(looked))
		return;
	look_at_statistics(looked);
	if (!look_at_failing(looked))
		look_at_steady_failures(looked);
	look_at_retries(looked);
	look_at_dead_letters(looked);
	look_at_durations(looked);
	look_at_interval(looked);
	look_at_passed_over(looked, looked->day.skipped, "skips", "slots and runs were skipped",
						"A run was still live, or a queue was full: see overlap, max_concurrency and how long runs take.");
	look_at_passed_over(looked, looked->day.missed, "misses", "slots were missed",
						"The server or the scheduler was not there, or the job was paused: see misfire and health().");
	look_at_delays(looked);
}

/* ------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------
 */

static void
look_at_workers(const Looked *looked, const SchedulerStatus *status)
{
	if (js_guc_max_workers == 0 || status->ready == 0 || status->workers < js_guc_max_workers - js_guc_max_workers / 10)
		return;
	tell(looked, "warning", "near_max_workers", DT_NOBEGIN,
		 psprintf("%d of %d workers are there, and " INT64_FORMAT " runs wait for one", status->workers, js_guc_max_workers, status->ready),
		 "Raise jobsched.max_workers (and max_worker_processes), or limit jobs that take many at a time.");
}

static void
look_at_ring(const Looked *looked, const char *name, const JsRing *ring, int retention)
{
	int64		segment = retention * USECS_PER_SEC / (JS_SEGMENTS - 1);
	TimestampTz due = ring->started_at + segment;

	if (looked->now < due + Max(segment / LATE_SHARE, LATE_LEAST))
		return;
	tell(looked, "warning", "history_late", due,
		 psprintf("the oldest history of %s was to be removed at %s", name, moment(due)),
		 "A long transaction reads it, or is older: see pg_stat_activity; history grows until it ends.");
}

static void
look_at_history(const Looked *looked)
{
	JsRing		rings[JS_RINGS] = {{0}};

	js_rings_read(rings);
	look_at_ring(looked, "successes", &rings[0], js_guc_history_retention);
	look_at_ring(looked, "failures", &rings[1], js_guc_failure_retention);
}

static void
look_at_whole(const Looked *looked)
{
	SchedulerStatus *status = palloc(sizeof(SchedulerStatus));

	js_scheduler_copy(status);
	look_at_workers(looked, status);
	if (status->pid != 0 && !RecoveryInProgress())
		look_at_history(looked);
	if (looked->asleep > 0)
		tell(looked, "warning", "asleep", DT_NOBEGIN,
			 psprintf(INT64_FORMAT " jobs of another database sleep here", looked->asleep),
			 "adopt() lets them run here; if this is a copy that is not to run them, all is well.");
}

Datum
jobsched_insights(PG_FUNCTION_ARGS)
{
	Looked	   *looked = palloc0(sizeof(Looked));

	InitMaterializedSRF(fcinfo, 0);
	looked->result = (ReturnSetInfo *) fcinfo->resultinfo;
	looked->now = js_clock_now();
	/* of a copy none is at home */
	if (!js_identity_read(&looked->home))
		memset(&looked->home, 0, sizeof(pg_uuid_t));
	js_stat_reader_open(&looked->reader);
	js_jobs_visit_all(look_at_job, looked);
	js_stat_reader_close(&looked->reader);
	looked->job = NULL;
	look_at_whole(looked);
	return (Datum) 0;
}
