/*-------------------------------------------------------------------------
 *
 * sched_total.c
 *		Totals: what runs have added up to since they were counted first, for metrics().
 *
 * DATA FLOW
 *
 *		a batch of statistics (sched_stat.c) --> rows of stat_total --> metrics()
 *
 * Spans of time become wider and expire; a counter must not go down.  So whatever is
 * written into stat is added to a total too, in the same transaction: that of its job,
 * and that of all jobs that ever were (JS_TOTAL_ALL), which is written once in a step.
 *
 * A million jobs must not make a million series: so many as jobsched.metrics_jobs says
 * are listed, and have series of their own.  What the others add while they are not is
 * added up for all of them together (JS_TOTAL_REST).  So a job that is listed later, or
 * no more, takes nothing away from that sum.  Who has something to add when a place is
 * free takes it, and has it until the job is dropped or the setting is made lower.
 *
 * INVARIANTS
 *
 *	1. A total of a job that has never been reset is the sum of what ever was in its rows
 *	   of stat.  Both change in one transaction, of the one writer.
 *	2. The total of all, and that of the rest, never become less; a job's does by
 *	   stat_reset() only.
 *	3. Steps have no totals: they are in the run of their job.  Runs that end when their
 *	   job is known no more are in the total of all alone.
 *
 * AFTER A CRASH
 *
 *		killed						what is there			what the start does
 *		before a step's commit		totals without it		what it takes back from stat
 *															it takes from totals too, and
 *															adds what it has recounted
 *		after it					both					the same
 *		before the commit of a
 *		  start						what was there before	all of it once more
 *		after a job was dropped,
 *		  before its row went		its row					deletes it
 *
 * Readers see the transaction of a start as a whole: so no counter seems to go down.
 * Where history is kept for less than the minutes that are recounted, what it has no more
 * is missing afterwards.  What it never had is not taken back (sched_stat.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "scheduler/sched.h"
#include "store/store_total.h"

/* Of jobs that are gone, in a step. */
#define GONE_AT_A_TIME 64

/* Not yet in their rows.  Here a number may be less than 0, modulo 2^64. */
typedef struct Pending
{
	JsStat		stat;
	bool		is_some;
} Pending;

static Pending all;
static Pending rest;

static int	listed_count = 0;	/* rows */

static List *gone = NIL;		/* jobs whose rows are to go: int64 pointers */
static TimestampTz gone_next = 0;	/* not before; by the real clock */

/* ------------------------------------------------------------------------
 * Adding
 * ------------------------------------------------------------------------
 */

static void
keep(Pending *pending, const JsStat *stat, bool minus)
{
	uint64	   *to = (uint64 *) &pending->stat;
	const uint64 *from = (const uint64 *) stat;

	if (!minus)
		js_stat_add(&pending->stat, stat);
	else
	{
		JsStat		was = pending->stat;

		for (int i = 0; i < JS_STAT_NUMBERS; i++)
			to[i] -= from[i];
		pending->stat.durations.max = was.durations.max;
		pending->stat.delays.max = was.delays.max;
	}
	pending->is_some = true;
}

typedef struct Addition
{
	const JsStat *stat;
	bool		minus;
	bool		listed;			/* the job is, now */
} Addition;

static void
add_to_job(JsTotal *total, void *arg)
{
	Addition   *addition = arg;
	bool		was_listed = total->listed;

	total->listed = was_listed ? listed_count <= js_guc_metrics_jobs : listed_count < js_guc_metrics_jobs;
	listed_count += (int) total->listed - (int) was_listed;
	addition->listed = total->listed;
	if (addition->minus)
		js_stat_subtract(&total->stat, addition->stat);
	else
		js_stat_add(&total->stat, addition->stat);
}

/* job: NULL: it is not known any more. */
bool
sched_total_is_of_step(int64 job_id, const JobEntry *job)
{
	JsJob		head;

	if (job != NULL)
		return job->is_step;
	return js_job_read_head(job_id, &head) && head.workflow_id != 0;
}

/*
 * False: somebody holds the row, and nothing was done.  What is of a role, whose id is
 * negative (store_stat.h), has been added for its jobs.
 */
static bool
change(int64 job_id, const JsStat *stat, bool minus)
{
	const JobEntry *job = job_id > 0 ? sched_job_find(job_id) : NULL;
	Addition	addition = {stat, minus, true};

	if (job_id <= 0 || sched_total_is_of_step(job_id, job))
		return true;
	if (job != NULL && !job->dropped && !js_total_change(job_id, add_to_job, &addition))
		return false;
	keep(&all, stat, minus);
	if (!addition.listed)
		keep(&rest, stat, minus);
	return true;
}

bool
sched_total_add(int64 job_id, const JsStat *stat)
{
	return change(job_id, stat, false);
}

/* What was added after all is not to be, or was taken back from stat.  The row is free. */
void
sched_total_subtract(int64 job_id, const JsStat *stat)
{
	(void) change(job_id, stat, true);
}

static void
add_pending(JsTotal *total, void *arg)
{
	const Pending *pending = arg;
	uint64	   *numbers = (uint64 *) &total->stat;

	js_stat_add(&total->stat, &pending->stat);
	/* rows that somebody has spoilt */
	for (int i = 0; i < JS_STAT_NUMBERS; i++)
		if ((int64) numbers[i] < 0)
			numbers[i] = 0;
}

/* Who holds the row makes it late. */
static void
flush(int64 job_id, Pending *pending)
{
	if (pending->is_some && js_total_change(job_id, add_pending, pending))
		memset(pending, 0, sizeof(Pending));
}

/* In the transaction of what was added. */
void
sched_totals_flush(void)
{
	flush(JS_TOTAL_ALL, &all);
	flush(JS_TOTAL_REST, &rest);
}

/* ------------------------------------------------------------------------
 * Jobs that go
 * ------------------------------------------------------------------------
 */

/* False: somebody holds the row. */
static bool
forget(int64 job_id)
{
	bool		listed;

	if (!js_total_delete(job_id, &listed))
		return false;
	listed_count -= listed;
	return true;
}

void
sched_total_reset(int64 job_id)
{
	(void) forget(job_id);
}

/* The job has been dropped, and nothing of it is live. */
void
sched_total_note_gone(const JobEntry *job)
{
	MemoryContext outer;
	int64	   *id;

	if (job->is_step || !job->dropped)
		return;
	outer = MemoryContextSwitchTo(sched.context);
	id = palloc(sizeof(int64));
	*id = job->job_id;
	gone = lappend(gone, id);
	MemoryContextSwitchTo(outer);
}

/* By the real clock. */
TimestampTz
sched_totals_deadline(void)
{
	return gone == NIL ? DT_NOEND : gone_next;
}

bool
sched_totals_due(void)
{
	return gone != NIL && GetCurrentTimestamp() >= gone_next;
}

/* Some of them; one that somebody holds goes at the next start. */
void
sched_totals_forget_some(void)
{
	for (int left = GONE_AT_A_TIME; gone != NIL && left > 0; left--)
	{
		int64	   *id = llast(gone);

		(void) forget(*id);
		pfree(id);
		gone = list_delete_last(gone);
	}
	gone_next = 0;
}

/* ------------------------------------------------------------------------
 * After a start
 * ------------------------------------------------------------------------
 */

static bool
is_kept(int64 job_id, bool listed)
{
	const JobEntry *job = sched_job_find(job_id);
	bool		kept = job != NULL && !job->dropped;

	listed_count += kept && listed;
	return kept;
}

/* Before anything is added. */
void
sched_totals_load(void)
{
	memset(&all, 0, sizeof(all));
	memset(&rest, 0, sizeof(rest));
	listed_count = 0;
	js_totals_keep(is_kept);
}
