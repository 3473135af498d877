/*-------------------------------------------------------------------------
 *
 * sched_fold.c
 *		From the outcomes of runs to the states of their jobs.
 *
 * A worker that wrote its job's state with each run would make all runs of
 * one job wait for each other.  So outcomes are added up here and written a
 * few times a second: a job that runs a thousand times has one new row
 * version.  What a crash takes from here is read back from history.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "clock.h"
#include "executor/spi.h"
#include "sched.h"
#include "table.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MAX_RECOVERED_JOBS 10000

/* A run that ends this long after one that is folded may not be. */
#define FOLD_SLACK (60 * USECS_PER_SEC)

static char
outcome_letter(JsStatus status)
{
	static const char letters[] = {
		[JS_SUCCEEDED] = '.',[JS_FAILED] = 'F',[JS_CANCELLED] = 'X',
		[JS_TIMED_OUT] = 'T',[JS_LOST] = 'L',[JS_SKIPPED] = 'S',[JS_MISSED] = 'M'
	};

	return letters[status];
}

/* Appends to a strip of outcomes, dropping the oldest. */
static void
append_recent(char *recent, const char *letters)
{
	int			have = strlen(recent);
	int			add = strlen(letters);
	int			drop = Max(have + add - JS_RECENT_SIZE, 0);

	memmove(recent, recent + drop, have - drop + 1);
	strcat(recent, letters);
}

static void
note_run_time(JobEntry *job, const JsDone *done)
{
	int64		us = Min(Max(done->finished_at - done->started_at, 1), PG_INT32_MAX);
	OwnerEntry *owner = sched_owner(job->owner);

	job->mean_us = job->mean_us < 0 ? us : (job->mean_us * INT64CONST(7) + us) / 8;
	owner->mean_us = owner->mean_us == 0 ? us : (owner->mean_us * INT64CONST(7) + us) / 8;
}

/* The job's sum of outcomes, begun if there is none. */
static JobFold *
open_fold(JobEntry *job)
{
	if (job->fold == NULL)
	{
		job->fold = MemoryContextAllocZero(sched.context, sizeof(JobFold));
		job->fold->job = job;
		slist_push_head(&sched.folds, &job->fold->node);
		if (sched.folds_since == 0)
			sched.folds_since = GetCurrentTimestamp();
	}
	return job->fold;
}

void
sched_fold_add(JobEntry *job, const JsDone *done)
{
	char		letter[2] = {outcome_letter(done->status), '\0'};
	JobFold    *fold = open_fold(job);

	append_recent(fold->recent, letter);
	fold->last = *done;
	if (done->status == JS_SUCCEEDED)
	{
		fold->success_seen = true;
		fold->failures = 0;
	}
	else if (done->status == JS_FAILED || done->status == JS_TIMED_OUT || done->status == JS_LOST)
		fold->failures++;
	if (done->started_at != DT_NOBEGIN)
		note_run_time(job, done);
}

static void
write_fold(const JobFold *fold)
{
	JsJobState	state;

	(void) js_job_state_read(fold->job->job_id, &state);
	append_recent(state.recent, fold->recent);
	state.last_run_id = fold->last.run_id;
	state.last_status = (char *) js_status_name(fold->last.status);
	state.last_started_at = fold->last.started_at;
	state.last_finished_at = fold->last.finished_at;
	state.consecutive_failures = fold->failures +
		(fold->success_seen ? 0 : state.consecutive_failures);
	js_job_state_write(&state);
}

void
sched_fold_write(void)
{
	while (!slist_is_empty(&sched.folds))
	{
		JobFold    *fold = slist_container(JobFold, node, slist_pop_head_node(&sched.folds));
		JobEntry   *job = fold->job;

		write_fold(fold);
		job->fold = NULL;
		pfree(fold);
		if (job->dropped && dlist_is_empty(&job->runs))
			sched_job_forget(job);
	}
	sched.folds_since = 0;
}

/* ------------------------------------------------------------------------
 * After a start
 * ------------------------------------------------------------------------
 */

static const char letter_sql[] =
"SELECT CASE status WHEN 'succeeded' THEN '.' WHEN 'failed' THEN 'F' WHEN 'timed_out' THEN 'T'"
" WHEN 'cancelled' THEN 'X' WHEN 'lost' THEN 'L' WHEN 'skipped' THEN 'S' ELSE 'M' END,"
" run_id, status, started_at, finished_at"
" FROM " JS_SCHEMA ".history WHERE job_id OPERATOR(pg_catalog.=) $1"
" ORDER BY run_id DESC LIMIT 20";

static void
last_folded(const JsJobState *state, void *arg)
{
	TimestampTz *last = arg;

	if (state->last_finished_at > *last)
		*last = state->last_finished_at;
}

static int
compare_letters_at(const void *a, const void *b)
{
	TimestampTz x = *(const TimestampTz *) a;
	TimestampTz y = *(const TimestampTz *) b;

	return x < y ? -1 : x > y;
}

typedef struct Recovered
{
	TimestampTz finished_at;	/* first, for the sort */
	TimestampTz started_at;
	int64		run_id;
	char	   *status;
	char		letter;
} Recovered;

static Recovered
recovered_row(int i)
{
	HeapTuple	tuple = SPI_tuptable->vals[i];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	Recovered	row;
	bool		isnull;

	row.letter = SPI_getvalue(tuple, desc, 1)[0];
	row.run_id = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
	row.status = SPI_getvalue(tuple, desc, 3);
	row.started_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 4, &isnull));
	if (isnull)
		row.started_at = DT_NOBEGIN;
	row.finished_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 5, &isnull));
	return row;
}

static void
apply_recovered(JsJobState *state, const Recovered *rows, int n)
{
	int			failures = 0;
	bool		success = false;

	state->recent[0] = '\0';
	for (int i = 0; i < n; i++)
	{
		char		letter[2] = {rows[i].letter, '\0'};

		append_recent(state->recent, letter);
		if (rows[i].letter == '.')
		{
			success = true;
			failures = 0;
		}
		else if (strchr("FTL", rows[i].letter) != NULL)
			failures++;
	}
	state->last_run_id = rows[n - 1].run_id;
	state->last_status = rows[n - 1].status;
	state->last_started_at = rows[n - 1].started_at;
	state->last_finished_at = rows[n - 1].finished_at;
	state->consecutive_failures = success ? failures : Max(failures, state->consecutive_failures);
}

static void
recover_job(SPIPlanPtr plan, int64 job_id)
{
	Datum		value = Int64GetDatum(job_id);
	Recovered	rows[JS_RECENT_SIZE];
	JsJobState	state;
	int			n;

	SPI_execute_plan(plan, &value, NULL, true, JS_RECENT_SIZE);
	n = (int) SPI_processed;
	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		rows[i] = recovered_row(i);
	qsort(rows, n, sizeof(Recovered), compare_letters_at);
	(void) js_job_state_read(job_id, &state);
	apply_recovered(&state, rows, n);
	js_job_state_write(&state);
}

/*
 * Reads back from history what a predecessor had not folded.  Outcomes are
 * folded in the order in which they came, so only what ended about when the
 * newest folded one did, or later, can be missing.
 */
void
sched_fold_recover(void)
{
	TimestampTz since = DT_NOBEGIN;
	Oid			type = TIMESTAMPTZOID;
	Oid			id_type = INT8OID;
	SPIPlanPtr	plan;
	Datum		value;
	int64	   *ids;
	uint64		count;

	js_job_states_visit(last_folded, &since);
	if (since != DT_NOBEGIN)
		since -= FOLD_SLACK;
	value = TimestampTzGetDatum(since);
	SPI_connect();
	plan = SPI_prepare(letter_sql, 1, &id_type);
	SPI_execute_with_args("SELECT DISTINCT h.job_id FROM " JS_SCHEMA ".history h"
						  " JOIN " JS_SCHEMA ".job j ON j.job_id OPERATOR(pg_catalog.=) h.job_id"
						  " WHERE h.finished_at OPERATOR(pg_catalog.>=) $1",
						  1, &type, &value, NULL, true, MAX_RECOVERED_JOBS);
	count = SPI_processed;
	ids = palloc(sizeof(int64) * Max(count, 1));
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;

		ids[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	for (uint64 i = 0; i < count; i++)
		recover_job(plan, ids[i]);
	SPI_finish();
}
