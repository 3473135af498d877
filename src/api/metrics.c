/*-------------------------------------------------------------------------
 *
 * metrics.c
 *		metrics(): what jobs, runs and processes do, as text for Prometheus.
 *
 * Counters come from rows of stat_total (sched_total.c), all of one instant: a job that
 * begins or ceases to be listed must not be missing in the sums.  Gauges come from shared memory and
 * from the rows of jobs and their states.  History and the queue are not looked at.
 *
 * Series of their own have the jobs that are listed, and while these are fewer than
 * jobsched.metrics_jobs, jobs that have nothing to count yet.  Jobs that are asleep have
 * none: two of them may have one name and owner.  Who may not see all jobs gets the
 * series of those that he may see, and no sums.
 *
 * View job_totals shows the same counters as rows, for programs that read SQL.
 *
 * Both formats are the same lines but for their heads: in OpenMetrics a family of
 * counters is called like them without _total, there are units, and an end.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "store/catalog.h"
#include "store/store_names.h"
#include "store/store_total.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_metrics);
PG_FUNCTION_INFO_V1(jobsched_job_totals);

/* Instead of a job's name and owner, of which none is empty. */
#define OTHERS "job=\"others\",owner=\"\""

/* ------------------------------------------------------------------------
 * Output
 * ------------------------------------------------------------------------
 */

typedef enum Kind
{
	AS_GAUGE, AS_COUNTER, AS_INFO, AS_HISTOGRAM
} Kind;

static const char *const kind_names[] = {"gauge", "counter", "info", "histogram"};
static const char *const suffixes[] = {"", "_total", "_info", ""};

typedef struct Output
{
	StringInfoData out;
	bool		open;			/* OpenMetrics */
	const char *name;			/* of the family, without suffix */
	Kind		kind;
} Output;

/* SQL_ASCII knows nothing of its bytes: what is not UTF-8 would spoil the whole text. */
static int
put_unknown(StringInfo out, const char *at)
{
	int			length = pg_utf_mblen((const unsigned char *) at);

	if (strnlen(at, length) < length || !pg_utf8_islegal((const unsigned char *) at, length))
	{
		appendStringInfoChar(out, '?');
		return 1;
	}
	appendBinaryStringInfo(out, at, length);
	return length;
}

/* In all encodings of servers bytes below 128 are characters of their own. */
static void
put_escaped(StringInfo out, const char *value)
{
	bool		is_unknown = GetDatabaseEncoding() == PG_SQL_ASCII;

	while (*value != '\0')
	{
		char		c = *value;

		if (is_unknown && IS_HIGHBIT_SET(c))
		{
			value += put_unknown(out, value);
			continue;
		}
		if (c == '\\' || c == '"')
			appendStringInfoChar(out, '\\');
		if (c == '\n')
			appendStringInfoString(out, "\\n");
		else
			appendStringInfoChar(out, c);
		value++;
	}
}

/* NULL is no label. */
static void
put_label(StringInfo labels, const char *name, const char *value)
{
	if (value == NULL)
		return;
	if (labels->len > 0)
		appendStringInfoChar(labels, ',');
	appendStringInfo(labels, "%s=\"", name);
	put_escaped(labels, value);
	appendStringInfoChar(labels, '"');
}

static char *
label(const char *name, const char *value)
{
	StringInfoData labels;

	initStringInfo(&labels);
	put_label(&labels, name, value);
	return labels.data;
}

/* unit: NULL: none; the name ends with it. */
static void
begin_family(Output *output, const char *name, Kind kind, const char *unit, const char *help)
{
	const char *suffix = output->open ? "" : suffixes[kind];

	output->name = name;
	output->kind = kind;
	appendStringInfo(&output->out, "# HELP %s%s %s\n", name, suffix, help);
	appendStringInfo(&output->out, "# TYPE %s%s %s\n", name, suffix,
					 kind == AS_INFO && !output->open ? "gauge" : kind_names[kind]);
	if (output->open && unit != NULL)
		appendStringInfo(&output->out, "# UNIT %s %s\n", name, unit);
}

static void
put_name(Output *output, const char *suffix, const char *labels, const char *more)
{
	StringInfo	out = &output->out;
	bool		both = labels[0] != '\0' && more[0] != '\0';

	appendStringInfoString(out, output->name);
	appendStringInfoString(out, suffix);
	if (labels[0] != '\0' || more[0] != '\0')
	{
		appendStringInfoChar(out, '{');
		appendStringInfoString(out, labels);
		if (both)
			appendStringInfoChar(out, ',');
		appendStringInfoString(out, more);
		appendStringInfoChar(out, '}');
	}
	appendStringInfoChar(out, ' ');
}

static void
put_number(Output *output, int64 number)
{
	char		digits[MAXINT8LEN + 1];

	appendBinaryStringInfo(&output->out, digits, pg_lltoa(number, digits));
}

/* labels, more: both may be empty. */
static void
put(Output *output, const char *labels, const char *more, int64 value)
{
	put_name(output, suffixes[output->kind], labels, more);
	put_number(output, value);
	appendStringInfoChar(&output->out, '\n');
}

static void
put_us(Output *output, int64 us)
{
	char		digits[8];
	int64		fraction = us % USECS_PER_SEC;

	put_number(output, us / USECS_PER_SEC);
	if (fraction == 0)
		return;
	snprintf(digits, sizeof(digits), ".%06d", (int) fraction);
	appendStringInfoString(&output->out, digits);
}

/* From microseconds, which are not less than 0. */
static void
put_seconds(Output *output, const char *labels, int64 us)
{
	put_name(output, suffixes[output->kind], labels, "");
	put_us(output, us);
	appendStringInfoChar(&output->out, '\n');
}

#define UNIX_EPOCH_US ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* Nothing if there is none. */
static void
put_time(Output *output, const char *labels, TimestampTz at)
{
	if (!TIMESTAMP_NOT_FINITE(at) && at > -UNIX_EPOCH_US)
		put_seconds(output, labels, at + UNIX_EPOCH_US);
}

/* ------------------------------------------------------------------------
 * Processes
 * ------------------------------------------------------------------------
 */

typedef struct Processes
{
	int			launcher_pid;
	int			scheduler_pid;
	TimestampTz started_at;
	TimestampTz last_active_at;
	bool		enabled;
	int64		ready;
	TimestampTz oldest_ready;	/* DT_NOEND: none is */
	int64		invalid_jobs;
	int			starting;
	int			idle;
	int			busy;
	int			leaving;
	int			in_use;			/* of all databases */
	int64		running;		/* runs */
	int64		http;			/* likewise, that are requests */
} Processes;

static void
look_at_seat(JsSeat *seat, Processes *processes)
{
	int			count;

	if (seat->state == JS_SEAT_FREE)
		return;
	processes->in_use++;
	if (seat->dboid != MyDatabaseId)
		return;
	SpinLockAcquire(&seat->mutex);
	count = seat->current_count;
	SpinLockRelease(&seat->mutex);
	processes->running += count;
	if (seat->state == JS_SEAT_STARTING)
		processes->starting++;
	else if (seat->state != JS_SEAT_READY)
		processes->leaving++;
	else if (count > 0)
		processes->busy++;
	else
		processes->idle++;
}

static void
look_at_http_seat(JsSeat *seat, Processes *processes)
{
	if (seat->state != JS_SEAT_READY || seat->dboid != MyDatabaseId)
		return;
	SpinLockAcquire(&seat->mutex);
	processes->http += seat->flights->taken;
	SpinLockRelease(&seat->mutex);
}

static void
look_at_database(JsDatabase *db, Processes *processes)
{
	processes->scheduler_pid = db->scheduler_pid;
	SpinLockAcquire(&db->mutex);
	processes->started_at = db->started_at;
	processes->last_active_at = db->last_active_at;
	processes->enabled = db->enabled && js->enabled;
	processes->ready = db->ready;
	processes->oldest_ready = db->oldest_ready;
	processes->invalid_jobs = db->invalid_jobs;
	SpinLockRelease(&db->mutex);
}

static void
look_at_processes(Processes *processes)
{
	JsDatabase *db = js_database_find(MyDatabaseId);

	memset(processes, 0, sizeof(Processes));
	LWLockAcquire(js->lock, LW_SHARED);
	processes->launcher_pid = js->launcher_pid;
	for (int i = 0; i < js->max_seats; i++)
		look_at_seat(&js->seats[i], processes);
	for (int i = js->max_seats; i < js->total_seats; i++)
		look_at_http_seat(&js->seats[i], processes);
	if (db != NULL)
		look_at_database(db, processes);
	LWLockRelease(js->lock);
}

static void
put_scheduler(Output *output, const Processes *processes)
{
	begin_family(output, "jobsched_launcher_up", AS_GAUGE, NULL, "Whether the launcher runs.");
	put(output, "", "", processes->launcher_pid != 0);
	begin_family(output, "jobsched_scheduler_up", AS_GAUGE, NULL, "Whether the scheduler of this database runs.");
	put(output, "", "", processes->scheduler_pid != 0);
	begin_family(output, "jobsched_scheduler_start_timestamp_seconds", AS_GAUGE, "seconds", "When the scheduler was started.");
	put_time(output, "", processes->started_at == 0 ? DT_NOBEGIN : processes->started_at);
	begin_family(output, "jobsched_scheduler_last_active_timestamp_seconds", AS_GAUGE, "seconds", "When the scheduler has done something latest.");
	put_time(output, "", processes->last_active_at == 0 ? DT_NOBEGIN : processes->last_active_at);
	begin_family(output, "jobsched_processing_enabled", AS_GAUGE, NULL, "Whether runs may start: jobsched.enabled is on, and stop_processing() was not called.");
	put(output, "", "", processes->enabled && js_stopped_at() == DT_NOBEGIN);
}

/* Nothing if nobody knows. */
static void
put_oldest_ready(Output *output, const Processes *processes)
{
	bool		none = processes->oldest_ready == DT_NOEND;
	int64		us = none ? 0 : js_clock_now() - processes->oldest_ready;

	begin_family(output, "jobsched_queue_oldest_ready_seconds", AS_GAUGE, "seconds", "For how long the oldest run that could start has waited for a worker; 0: none does.");
	if (processes->scheduler_pid != 0)
		put_seconds(output, "", Max(us, 0));
}

static void
put_workers(Output *output, const Processes *processes)
{
	begin_family(output, "jobsched_workers", AS_GAUGE, NULL, "Workers of this database.");
	put(output, "", "state=\"starting\"", processes->starting);
	put(output, "", "state=\"idle\"", processes->idle);
	put(output, "", "state=\"busy\"", processes->busy);
	put(output, "", "state=\"leaving\"", processes->leaving);
	begin_family(output, "jobsched_workers_in_use", AS_GAUGE, NULL, "Workers of all databases of the server.");
	put(output, "", "", processes->in_use);
	begin_family(output, "jobsched_workers_max", AS_GAUGE, NULL, "Setting jobsched.max_workers.");
	put(output, "", "", js_guc_max_workers);
	begin_family(output, "jobsched_queue_runs", AS_GAUGE, NULL, "Runs that could start (ready), and that a worker or the network has (running).");
	put(output, "", "state=\"ready\"", processes->ready);
	put(output, "", "state=\"running\"", processes->running + processes->http);
	put_oldest_ready(output, processes);
	begin_family(output, "jobsched_http_inflight", AS_GAUGE, NULL, "HTTP requests that are under way.");
	put(output, "", "", processes->http);
}

static void
put_build(Output *output)
{
	StringInfoData labels;

	initStringInfo(&labels);
	put_label(&labels, "version", JS_VERSION);
	put_label(&labels, "postgres", PG_VERSION);
	begin_family(output, "jobsched_build", AS_INFO, NULL, "The versions of the library and of the server.");
	put(output, labels.data, "", 1);
}

/* ------------------------------------------------------------------------
 * Health
 * ------------------------------------------------------------------------
 */

static int
severity(const char *status)
{
	return strcmp(status, "ok") == 0 ? 0 : strcmp(status, "warning") == 0 ? 1 : 2;
}

/* A check may have several rows, which follow one another: the worst one counts. */
static void
put_checks(Output *output)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	uint64		i = 0;

	while (i < SPI_processed)
	{
		char	   *check = SPI_getvalue(SPI_tuptable->vals[i], desc, 1);
		int			worst = 0;

		for (; i < SPI_processed && strcmp(check, SPI_getvalue(SPI_tuptable->vals[i], desc, 1)) == 0; i++)
			worst = Max(worst, severity(SPI_getvalue(SPI_tuptable->vals[i], desc, 2)));
		put(output, label("check", check), "", worst);
	}
}

static void
put_health(Output *output)
{
	begin_family(output, "jobsched_health_status", AS_GAUGE, NULL, "What health() says: 0 is ok, 1 a warning, 2 an error.");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute("SELECT * FROM jobsched.health()", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "health() cannot be read");
	put_checks(output);
	SPI_finish();
}

/* ------------------------------------------------------------------------
 * Jobs
 * ------------------------------------------------------------------------
 */

typedef enum Activity
{
	JOB_ACTIVE, JOB_PAUSED, JOB_DISABLED, JOB_ASLEEP, ACTIVITIES
} Activity;

static const char *const activity_names[ACTIVITIES] = {"active", "paused", "disabled", "asleep"};

typedef enum Work
{
	WORK_SQL, WORK_HTTP, WORK_FUNCTION, WORK_STEPS, WORKS
} Work;

static const char *const work_names[WORKS] = {"sql", "http", "function", "steps"};

/* One with series of its own. */
typedef struct Listed
{
	int64		job_id;			/* 0: others, together */
	char	   *name;
	char	   *owner;
	char	   *labels;			/* both; NULL: it is not to be shown */
	char	   *info;			/* more of them */
	bool		is_active;
	TimestampTz next_run_at;
	TimestampTz started_at;
	TimestampTz finished_at;
	TimestampTz succeeded_at;
	char	   *status;			/* of the last run; NULL: none */
	int32		failures;
	bool		counts;			/* there is a total: */
	uint64		ends[JS_STATUSES];
	uint64		skipped;
	uint64		missed;
	uint64		attempts;
	uint64		retries;
	uint64		duration;		/* sum, microseconds */
	uint64		durations;		/* of so many */
} Listed;

typedef struct Jobs
{
	MemoryContext context;
	pg_uuid_t	home;
	bool		is_home;
	int64		counts[ACTIVITIES][WORKS];
	Listed	   *listed;
	int			count;
	int			with_total;		/* the first of these have one; by job_id */
	int			room;
	JsStat		all;			/* of the same instant as those of jobs */
	JsStat		rest;
} Jobs;

static Listed *
add_listed(Jobs *jobs, int64 job_id)
{
	Listed	   *listed;

	if (jobs->count == jobs->room)
	{
		jobs->room = Max(2 * jobs->room, 64);
		jobs->listed = jobs->listed == NULL ?
			MemoryContextAllocHuge(jobs->context, jobs->room * sizeof(Listed)) :
			repalloc_huge(jobs->listed, jobs->room * sizeof(Listed));
	}
	listed = &jobs->listed[jobs->count++];
	memset(listed, 0, sizeof(Listed));
	listed->job_id = job_id;
	return listed;
}

static void
set_counts(Listed *listed, const JsStat *stat)
{
	listed->counts = true;
	for (int status = 0; status < JS_STATUSES; status++)
		listed->ends[status] = js_stat_of_status(stat, status);
	listed->skipped = stat->skipped;
	listed->missed = stat->missed;
	listed->attempts = stat->attempts;
	listed->retries = stat->retries;
	listed->duration = stat->durations.sum;
	listed->durations = js_histogram_total(&stat->durations);
}

static void
note_total(const JsTotal *total, void *arg)
{
	Jobs	   *jobs = arg;

	if (total->job_id == JS_TOTAL_ALL)
		jobs->all = total->stat;
	else if (total->job_id == JS_TOTAL_REST)
		jobs->rest = total->stat;
	else if (jobs->count < js_guc_metrics_jobs)
		set_counts(add_listed(jobs, total->job_id), &total->stat);
}

static int
compare_job(const void *key, const void *listed)
{
	int64		x = *(const int64 *) key;
	int64		y = ((const Listed *) listed)->job_id;

	return x < y ? -1 : x > y ? 1 : 0;
}

static int
compare_listed(const void *a, const void *b)
{
	return compare_job(&((const Listed *) a)->job_id, b);
}

static bool
is_asleep(const Jobs *jobs, const JsJob *job)
{
	return !jobs->is_home || memcmp(&job->home, &jobs->home, sizeof(pg_uuid_t)) != 0;
}

static Activity
activity_of(const Jobs *jobs, const JsJob *head)
{
	if (is_asleep(jobs, head))
		return JOB_ASLEEP;
	return head->paused ? JOB_PAUSED : !head->enabled ? JOB_DISABLED : JOB_ACTIVE;
}

static Work
work_of(const JsJob *head)
{
	return head->sends_request ? WORK_HTTP : head->handler != NULL ? WORK_FUNCTION :
		head->has_steps ? WORK_STEPS : WORK_SQL;
}

static void
note_job(const JsJob *head, void *arg)
{
	Jobs	   *jobs = arg;

	if (head->workflow_id != 0 || head->dropped_at != DT_NOBEGIN || !js_may_see(head->owner))
		return;
	jobs->counts[activity_of(jobs, head)][work_of(head)]++;
	if (jobs->count < js_guc_metrics_jobs && !is_asleep(jobs, head) &&
		bsearch(&head->job_id, jobs->listed, jobs->with_total, sizeof(Listed), compare_job) == NULL)
		add_listed(jobs, head->job_id);
}

static char *
info_of(const JsJob *job)
{
	StringInfoData labels;

	initStringInfo(&labels);
	put_label(&labels, "kind", work_names[work_of(job)]);
	put_label(&labels, "schedule", job->schedule);
	put_label(&labels, "timezone", job->schedule == NULL ? NULL : job->timezone);
	put_label(&labels, "queue", job->queue);
	return labels.data;
}

static void
set_name(Listed *listed, const JsJob *job)
{
	char	   *owner = js_role_name(job->owner);
	StringInfoData labels;

	listed->name = pstrdup(job->name);
	listed->owner = owner != NULL ? owner : psprintf("%u", job->owner);
	initStringInfo(&labels);
	put_label(&labels, "job", listed->name);
	put_label(&labels, "owner", listed->owner);
	listed->labels = labels.data;
}

static void
set_state(Listed *listed, const JsJob *job, const JsJobState *state)
{
	listed->is_active = job->enabled && !job->paused &&
		(state == NULL || (state->auto_paused_revision != job->revision && state->invalid_revision != job->revision &&
						   (job->max_runs == 0 || state->scheduled_runs < job->max_runs)));
	listed->next_run_at = !listed->is_active ? DT_NOBEGIN :
		state != NULL && state->schedule_revision == job->schedule_revision ? state->next_run_at : job->first_run_at;
	listed->started_at = state == NULL ? DT_NOBEGIN : state->last_started_at;
	listed->finished_at = state == NULL ? DT_NOBEGIN : state->last_finished_at;
	listed->succeeded_at = state == NULL ? DT_NOBEGIN : state->succeeded_at;
	listed->failures = state == NULL ? 0 : state->consecutive_failures;
	listed->status = state == NULL || state->last_status == NULL ? NULL : label("status", state->last_status);
}

/* In the memory context of one job; what lasts is copied out of it. */
static void
read_job(Jobs *jobs, Listed *listed)
{
	MemoryContext outer;
	JsJobState	state;
	bool		has_state;
	JsJob		job;

	if (!js_job_read_head(listed->job_id, &job) || job.dropped_at != DT_NOBEGIN || is_asleep(jobs, &job) ||
		!js_may_see(job.owner))
		return;
	has_state = js_job_state_read(listed->job_id, &state);
	outer = MemoryContextSwitchTo(jobs->context);
	set_name(listed, &job);
	listed->info = info_of(&job);
	set_state(listed, &job, has_state ? &state : NULL);
	MemoryContextSwitchTo(outer);
}

static void
read_jobs(Jobs *jobs)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jobsched metrics", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(context);

	for (int i = 0; i < jobs->count; i++)
	{
		read_job(jobs, &jobs->listed[i]);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
}

static void
collect(Jobs *jobs)
{
	memset(jobs, 0, sizeof(Jobs));
	jobs->context = CurrentMemoryContext;
	jobs->is_home = js_identity_read(&jobs->home);
	js_totals_visit_shown(note_total, jobs);
	if (jobs->count > 1)
		qsort(jobs->listed, jobs->count, sizeof(Listed), compare_listed);
	jobs->with_total = jobs->count;
	js_jobs_visit_all(note_job, jobs);
	read_jobs(jobs);
}

static void
put_job_counts(Output *output, const Jobs *jobs)
{
	begin_family(output, "jobsched_jobs", AS_GAUGE, NULL, "Jobs.");
	for (int activity = 0; activity < ACTIVITIES; activity++)
		for (int work = 0; work < WORKS; work++)
			put(output, label("state", activity_names[activity]), label("kind", work_names[work]),
				jobs->counts[activity][work]);
}

/* ------------------------------------------------------------------------
 * Series of jobs
 * ------------------------------------------------------------------------
 */

typedef void (*PutListed) (Output *output, const Listed *listed);

static void
put_listed(Output *output, const Jobs *jobs, PutListed put_one)
{
	for (int i = 0; i < jobs->count; i++)
		if (jobs->listed[i].labels != NULL)
			put_one(output, &jobs->listed[i]);
}

static void
put_info(Output *output, const Listed *listed)
{
	put(output, listed->labels, listed->info, 1);
}

static void
put_active(Output *output, const Listed *listed)
{
	put(output, listed->labels, "", listed->is_active);
}

static void
put_next_run(Output *output, const Listed *listed)
{
	put_time(output, listed->labels, listed->next_run_at);
}

static void
put_start(Output *output, const Listed *listed)
{
	put_time(output, listed->labels, listed->started_at);
}

static void
put_end(Output *output, const Listed *listed)
{
	put_time(output, listed->labels, listed->finished_at);
}

static void
put_success(Output *output, const Listed *listed)
{
	put_time(output, listed->labels, listed->succeeded_at);
}

static void
put_duration(Output *output, const Listed *listed)
{
	if (!TIMESTAMP_NOT_FINITE(listed->started_at) && !TIMESTAMP_NOT_FINITE(listed->finished_at) &&
		listed->finished_at >= listed->started_at)
		put_seconds(output, listed->labels, listed->finished_at - listed->started_at);
}

static void
put_status(Output *output, const Listed *listed)
{
	if (listed->status != NULL)
		put(output, listed->labels, listed->status, 1);
}

static void
put_failures(Output *output, const Listed *listed)
{
	put(output, listed->labels, "", listed->failures);
}

static void
put_gauges(Output *output, const Jobs *jobs)
{
	begin_family(output, "jobsched_job", AS_INFO, NULL, "What a job is.");
	put_listed(output, jobs, put_info);
	begin_family(output, "jobsched_job_active", AS_GAUGE, NULL, "Whether the job is enabled, valid, not paused, and has not made all its runs.");
	put_listed(output, jobs, put_active);
	begin_family(output, "jobsched_job_next_run_timestamp_seconds", AS_GAUGE, "seconds", "When the schedule makes the next run.");
	put_listed(output, jobs, put_next_run);
	begin_family(output, "jobsched_job_last_start_timestamp_seconds", AS_GAUGE, "seconds", "When the last run that has ended had started.");
	put_listed(output, jobs, put_start);
	begin_family(output, "jobsched_job_last_end_timestamp_seconds", AS_GAUGE, "seconds", "When the last run ended.");
	put_listed(output, jobs, put_end);
	begin_family(output, "jobsched_job_last_success_timestamp_seconds", AS_GAUGE, "seconds", "When a run has succeeded latest.");
	put_listed(output, jobs, put_success);
	begin_family(output, "jobsched_job_last_duration_seconds", AS_GAUGE, "seconds", "How long the last run took.");
	put_listed(output, jobs, put_duration);
	begin_family(output, "jobsched_job_last_status", AS_GAUGE, NULL, "1 for the status of the last run.");
	put_listed(output, jobs, put_status);
	begin_family(output, "jobsched_job_consecutive_failures", AS_GAUGE, NULL, "Failures since the last success.");
	put_listed(output, jobs, put_failures);
}

/* Statuses of runs: what is skipped or missed are slots. */
static void
put_runs(Output *output, const Listed *listed)
{
	static const char *const labels[] = {
		"status=\"succeeded\"", "status=\"failed\"", "status=\"cancelled\"", "status=\"timed_out\"", "status=\"lost\""
	};

	for (int status = JS_SUCCEEDED; status <= JS_LOST; status++)
		put(output, listed->labels, labels[status], listed->ends[status]);
}

static void
put_attempts(Output *output, const Listed *listed)
{
	put(output, listed->labels, "", listed->attempts);
}

static void
put_retries(Output *output, const Listed *listed)
{
	put(output, listed->labels, "", listed->retries);
}

static void
put_skipped(Output *output, const Listed *listed)
{
	put(output, listed->labels, "", listed->skipped);
}

static void
put_missed(Output *output, const Listed *listed)
{
	put(output, listed->labels, "", listed->missed);
}

static void
put_durations(Output *output, const Listed *listed)
{
	put_seconds(output, listed->labels, listed->duration);
}

static void
put_executed(Output *output, const Listed *listed)
{
	put(output, listed->labels, "", listed->durations);
}

static void
put_counters(Output *output, const Jobs *jobs)
{
	begin_family(output, "jobsched_runs", AS_COUNTER, NULL, "Runs that have ended.");
	put_listed(output, jobs, put_runs);
	begin_family(output, "jobsched_runs_executed", AS_COUNTER, NULL, "Runs that have started and ended.");
	put_listed(output, jobs, put_executed);
	begin_family(output, "jobsched_runs_duration_seconds", AS_COUNTER, "seconds", "How long they took, added up.");
	put_listed(output, jobs, put_durations);
	begin_family(output, "jobsched_run_attempts", AS_COUNTER, NULL, "Attempts of these runs.");
	put_listed(output, jobs, put_attempts);
	begin_family(output, "jobsched_run_retries", AS_COUNTER, NULL, "Attempts but for the first of each run.");
	put_listed(output, jobs, put_retries);
	begin_family(output, "jobsched_slots_skipped", AS_COUNTER, NULL, "Slots of schedules, and runs, that were skipped.");
	put_listed(output, jobs, put_skipped);
	begin_family(output, "jobsched_slots_missed", AS_COUNTER, NULL, "Slots of schedules that had no run in time.");
	put_listed(output, jobs, put_missed);
}

/* ------------------------------------------------------------------------
 * All jobs
 * ------------------------------------------------------------------------
 */

static void
put_below(Output *output, const char *bound, uint64 count)
{
	put_name(output, "_bucket", label("le", bound), "");
	put_number(output, count);
	appendStringInfoChar(&output->out, '\n');
}

/* The bounds are those of buckets of stat.c: 2^12 to 2^32 microseconds. */
static void
put_histogram(Output *output, const JsHistogram *histogram)
{
	uint64		below = 0;
	int			bucket = 0;

	for (int power = 12; power <= 32; power += 2)
	{
		for (; bucket <= 4 * power; bucket++)
			below += histogram->counts[bucket];
		put_below(output, psprintf("%.6f", (double) (INT64CONST(1) << power) / USECS_PER_SEC), below);
	}
	put_below(output, "+Inf", js_histogram_total(histogram));
	put_name(output, "_sum", "", "");
	put_us(output, histogram->sum);
	appendStringInfoChar(&output->out, '\n');
	put_name(output, "_count", "", "");
	put_number(output, js_histogram_total(histogram));
	appendStringInfoChar(&output->out, '\n');
}

static void
put_sums(Output *output, const Jobs *jobs)
{
	Listed		all = {.labels = ""};

	set_counts(&all, &jobs->all);
	begin_family(output, "jobsched_runs_ended", AS_COUNTER, NULL, "Runs of all jobs, also of those that are dropped by now, that have ended.");
	put_runs(output, &all);
	begin_family(output, "jobsched_run_duration_seconds", AS_HISTOGRAM, "seconds", "How long runs of all jobs took, from the start of the last attempt.");
	put_histogram(output, &jobs->all.durations);
	begin_family(output, "jobsched_run_start_delay_seconds", AS_HISTOGRAM, "seconds", "From when runs of all jobs were due until they started.");
	put_histogram(output, &jobs->all.delays);
}

/* What jobs without series of their own have added up to is one of them. */
static void
add_others(Jobs *jobs)
{
	Listed	   *others = add_listed(jobs, 0);

	set_counts(others, &jobs->rest);
	others->labels = OTHERS;
}

/* ------------------------------------------------------------------------
 * The function
 * ------------------------------------------------------------------------
 */

static bool
is_open_format(const char *format)
{
	if (strcmp(format, "openmetrics") == 0)
		return true;
	if (strcmp(format, "prometheus") == 0)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid format: \"%s\"", format),
			 errhint("It is openmetrics or prometheus.")));
}

static void
put_all(Output *output)
{
	Jobs	   *jobs = palloc(sizeof(Jobs));
	bool		sees_all = js_may_see(InvalidOid);
	Processes	processes;

	look_at_processes(&processes);
	put_build(output);
	put_health(output);
	put_scheduler(output, &processes);
	put_workers(output, &processes);
	collect(jobs);
	put_job_counts(output, jobs);
	put_gauges(output, jobs);
	if (sees_all)
		add_others(jobs);
	put_counters(output, jobs);
	if (sees_all)
		put_sums(output, jobs);
}

/* format */
Datum
jobsched_metrics(PG_FUNCTION_ARGS)
{
	TimestampTz began = GetCurrentTimestamp();
	Output		output = {.open = PG_ARGISNULL(0) || is_open_format(text_to_cstring(PG_GETARG_TEXT_PP(0)))};

	initStringInfo(&output.out);
	put_all(&output);
	begin_family(&output, "jobsched_scrape_duration_seconds", AS_GAUGE, "seconds", "How long it took to write this.");
	put_seconds(&output, "", Max(GetCurrentTimestamp() - began, 0));
	if (output.open)
		appendStringInfoString(&output.out, "# EOF\n");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(output.out.data, output.out.len));
}

/* ------------------------------------------------------------------------
 * View job_totals
 * ------------------------------------------------------------------------
 */

enum TotalsColumn
{
	TOTALS_JOB_ID, TOTALS_JOB_NAME, TOTALS_OWNER, TOTALS_SUCCEEDED, TOTALS_FAILED, TOTALS_CANCELLED,
	TOTALS_TIMED_OUT, TOTALS_LOST, TOTALS_EXECUTED, TOTALS_DURATION, TOTALS_ATTEMPTS, TOTALS_RETRIES,
	TOTALS_SKIPPED, TOTALS_MISSED, TOTALS_COLUMNS
};

static Datum
number(uint64 count)
{
	return Int64GetDatum((int64) count);
}

static void
put_totals(ReturnSetInfo *result, const Listed *listed)
{
	Datum		values[TOTALS_COLUMNS];
	bool		nulls[TOTALS_COLUMNS] = {false};

	nulls[TOTALS_JOB_ID] = nulls[TOTALS_JOB_NAME] = nulls[TOTALS_OWNER] = listed->name == NULL;
	values[TOTALS_JOB_ID] = Int64GetDatum(listed->job_id);
	values[TOTALS_JOB_NAME] = listed->name == NULL ? (Datum) 0 : CStringGetTextDatum(listed->name);
	values[TOTALS_OWNER] = listed->name == NULL ? (Datum) 0 : CStringGetTextDatum(listed->owner);
	for (int status = JS_SUCCEEDED; status <= JS_LOST; status++)
		values[TOTALS_SUCCEEDED + status - JS_SUCCEEDED] = number(listed->ends[status]);
	values[TOTALS_EXECUTED] = number(listed->durations);
	values[TOTALS_DURATION] = Float8GetDatum((double) listed->duration / USECS_PER_SEC);
	values[TOTALS_ATTEMPTS] = number(listed->attempts);
	values[TOTALS_RETRIES] = number(listed->retries);
	values[TOTALS_SKIPPED] = number(listed->skipped);
	values[TOTALS_MISSED] = number(listed->missed);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
jobsched_job_totals(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Jobs	   *jobs = palloc(sizeof(Jobs));

	InitMaterializedSRF(fcinfo, 0);
	collect(jobs);
	if (js_may_see(InvalidOid))
		add_others(jobs);
	for (int i = 0; i < jobs->count; i++)
		if (jobs->listed[i].labels != NULL)
			put_totals(result, &jobs->listed[i]);
	return (Datum) 0;
}
