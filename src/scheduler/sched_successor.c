/*-------------------------------------------------------------------------
 *
 * sched_successor.c
 *		Jobs that come after jobs: their runs.
 *
 * A job that is created with after names others, its predecessors.  It has a run
 * once each of them has succeeded since the last such run (doc/workflows.md).
 *
 * DATA FLOW
 *
 * The state of each job has its last success (job_state.succeeded_run_id), which
 * the tally writes.  The state of a successor has those that its last run came
 * after (after_runs), and its row those that there were when its predecessors were
 * named (after_seen).  It is to run when the last success of each predecessor is
 * none of them.  So what is to be done can be seen from the tables at any time.
 *
 *		a run succeeds --> tally, at once if the job is a predecessor
 *			--> sched_predecessor_tell(): its successors are noted
 *		a job's row has changed --> it is noted
 *		sched_successors_serve(): looks at those that are noted
 *			--> a run, which waits for the runs that it comes after: upstream()
 *				shows them to it, and they are kept in history for it
 *
 * In memory is only which jobs are to be looked at, and who comes after whom
 * (sched_predecessor.c).
 *
 * Ids of runs are compared for equality only: the last success is the one of which
 * we have heard last, whatever the clock and the order of ids say.  Only after a
 * crash the clock tells (job_state.succeeded_at): what has ended after all successes
 * that had been tallied is one that had not.  One that had not, but ended before one
 * that had, is passed over: a run has come after the later one, or will.
 *
 * KILL -9
 *
 *		before the tally of a success		it is found in history and tallied by the
 *		is written							successor of this process (sched_tally.c)
 *		after it							all jobs are looked at after a start
 *		the run, after_runs and their		one transaction
 *		rows of dependency
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guard.h"
#include "miscadmin.h"
#include "scheduler/sched.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Jobs looked at in one step. */
#define MAX_SERVED 16

/* The success of each predecessor; NULL: one has none. */
static int64 *
successes_of(const JsJob *row)
{
	int64	   *runs = palloc(row->nafter_jobs * sizeof(int64));
	JsJobState	state;

	(void) js_job_state_read(row->job_id, &state);
	for (int i = 0; i < row->nafter_jobs; i++)
	{
		JsJob		predecessor;

		runs[i] = js_job_read_head(row->after_jobs[i], &predecessor) ?
			js_job_success_to_follow(row, &state, &predecessor) : 0;
		if (runs[i] == 0)
			return NULL;
	}
	return runs;
}

typedef struct Successes
{
	int64	   *runs;
	int			count;
} Successes;

static void
note_runs(JsJobState *state, const void *arg)
{
	const Successes *successes = arg;

	state->after_runs = successes->runs;
	state->nafter_runs = successes->count;
}

/*
 * Those of them that history still has, each once, whatever somebody has made of the
 * rows: these are what the run waits for.  Only this process removes history, so
 * they stay there until its next step, which sees who needs them.
 */
static void
set_parents(JsRun *run, const Successes *successes)
{
	int64	   *parents = palloc(successes->count * sizeof(int64));

	for (int i = 0; i < successes->count; i++)
	{
		int64		id = successes->runs[i];
		JsRun		head;
		JsStatus	status;

		if (!js_id_is_among(parents, run->nparents, id) && js_history_find_head(id, true, &head, &status))
			parents[run->nparents++] = id;
	}
	if (run->nparents == 0)
		return;
	run->parents = parents;
	run->after_when = JS_AFTER_SUCCESS;
}

static void
insert_run(const JsJob *row, ArrayType *keys, const Successes *successes, TimestampTz now)
{
	JsRunWriter *writer = js_run_writer_open();
	JsRun		run = {0};

	run.job_id = row->job_id;
	run.owner = row->owner;
	run.status = JS_RUN_QUEUED;
	run.source = JS_SOURCE_AFTER;
	run.workflow = row->has_steps ? JS_WORKFLOW_STEPS : JS_WORKFLOW_NONE;
	run.keys = keys;
	run.run_at = run.queued_at = now;
	run.claimed_at = run.scheduled_for = DT_NOBEGIN;
	set_parents(&run, successes);
	(void) js_run_insert(writer, &run);
	if (run.nparents > 0)
		js_dependencies_insert(run.run_id, run.parents, run.nparents);
	js_run_writer_close(writer);
	CommandCounterIncrement();
	(void) sched_run_load(run.run_id, now);
}

static bool
may_run(const JobEntry *job)
{
	return job != NULL && job->nafter_links > 0 && sched_job_fires(job);
}

/* False: somebody holds the row of its state. */
static bool
look_at(int64 job_id, TimestampTz now)
{
	JobEntry   *job = sched_job_find(job_id);
	ArrayType  *keys;
	JsJob		row;
	Successes	successes;

	if (!may_run(job) || !sched_job_read_to_run(job, &row) || !may_run(job))
		return true;
	successes.count = row.nafter_jobs;
	successes.runs = successes_of(&row);
	if (successes.runs == NULL || !sched_job_keys(job, &row, &keys))
		return true;
	if (!js_job_state_change(job_id, note_runs, &successes))
		return false;
	insert_run(&row, keys, &successes, now);
	return true;
}

typedef struct CarefulLook
{
	int64		job_id;
	TimestampTz now;
	bool		done;
} CarefulLook;

static void
look_carefully(void *arg)
{
	CarefulLook *look = arg;

	look->done = look_at(look->job_id, look->now);
}

/* As with slots (sched_fire.c): what is wrong with one job does not hold up others. */
static bool
serve_one(int64 job_id, TimestampTz now)
{
	CarefulLook look = {job_id, now, false};
	ErrorData  *error;

	if (!sched.careful)
		return look_at(job_id, now);
	error = js_try(look_carefully, &look, CurrentMemoryContext);
	if (error == NULL)
		return look.done;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	return sched_job_blame(sched_job_find(job_id), error);
}

/* Looks at some of those that are to be looked at. */
void
sched_successors_serve(TimestampTz now)
{
	MemoryContext scratch;
	MemoryContext outer;
	int64		ids[MAX_SERVED];
	int			count;

	if (sched_successors_deadline() > GetCurrentTimestamp())
		return;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched successor", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(scratch);
	count = sched_successors_take(ids, MAX_SERVED);
	for (int i = 0; i < count; i++)
	{
		if (!serve_one(ids[i], now))
			sched_successor_put_off(ids[i]);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
}
