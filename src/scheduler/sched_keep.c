/*-------------------------------------------------------------------------
 *
 * sched_keep.c
 *		Deletes rows of history that their jobs do not want for so long: parameter
 *		keep_for.
 *
 * Rings forget by emptying whole segments, which is the same for all jobs.  What a job
 * wants to be gone earlier is deleted row by row.  It is not hidden: what is said to be
 * gone must be, whoever looks, and by whatever way.  Such a row is bloat until its segment is
 * emptied, which it would have been in any case; vacuum makes its place free before.
 *
 * Once a minute there is a pass over the jobs that have a keep_for:
 *
 *		limit	what the jobs' rows must have ended after is now less keep_for, or
 *				the mark of statistics, if that is earlier: what is later they may
 *				have to count again (sched_stat.c).  When it has moved on, there
 *				is another pass
 *		await	every transaction that may have named one of them as a parent
 *				has ended: as when a ring turns, see store_history.c.  Who names
 *				a run from now on does not find those that have expired
 *		delete	of each job and segment, some at a time
 *
 * One portion in each of the scheduler's steps, each a transaction of its own.  With a
 * row of history go the attempts, messages and responses of its run.  Rows that the
 * rings would move to history_kept stay for the same reasons, and go in a later pass.  A
 * row that somebody has locked likewise.
 *
 * Nothing about a pass is stored.  The row of history goes last: what belongs to it may be
 * more than one portion.  So after a crash at any point nothing is there without its row,
 * and a scheduler that starts begins with a pass.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "process/process.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define PASS_US (60 * USECS_PER_SEC)

/* Who is waited for is looked at again after this, by the real clock. */
#define LOOK_US USECS_PER_SEC

/* The rings' segments one after the other, and what is in none. */
#define PLACES (JS_RINGS * JS_SEGMENTS + 1)

/* Work of one portion: segments looked at for one job each, and runs deleted. */
#define MOST_PLACES 100
#define MOST_DELETED 50

/* A job that has a keep_for. */
typedef struct KeepFor
{
	int64		job_id;			/* key */
	int64		keep_for;
} KeepFor;

static HTAB *jobs;				/* NULL: there was none yet */

typedef struct Pass
{
	List	   *jobs;			/* copies of those that are left, of which the
								 * last is next; NIL: there is no pass */
	int			place;			/* where to go on with it */
	int64		from;
	TimestampTz now;			/* when it began */
	TimestampTz mark;			/* of statistics, then */
	VirtualTransactionId *awaited;	/* NULL: they have ended */
	TimestampTz look_at;		/* whether they have */
} Pass;

static Pass pass;
static TimestampTz next_pass;
static TimestampTz waits_for_mark = DT_NOEND;	/* to be later than that;
												 * DT_NOEND: no row does */

/* A job is read, or has changed.  Of one at home elsewhere nothing is deleted here. */
void
sched_keep_apply(const JsJob *row, bool at_home)
{
	int64		keep_for = at_home ? row->keep_for : 0;
	KeepFor    *entry;

	if (jobs == NULL)
	{
		HASHCTL		info = {.keysize = sizeof(int64),.entrysize = sizeof(KeepFor),.hcxt = sched.context};

		if (keep_for == 0)
			return;
		jobs = hash_create("jobsched keep_for", 64, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	if (keep_for == 0)
	{
		(void) hash_search(jobs, &row->job_id, HASH_REMOVE, NULL);
		return;
	}
	entry = hash_search(jobs, &row->job_id, HASH_ENTER, NULL);
	if (entry->keep_for != keep_for)
		next_pass = 0;
	entry->keep_for = keep_for;
}

static void
list_jobs(void)
{
	MemoryContext outer = MemoryContextSwitchTo(sched.context);
	HASH_SEQ_STATUS status;
	KeepFor    *entry;

	hash_seq_init(&status, jobs);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		KeepFor    *copy = palloc(sizeof(KeepFor));

		*copy = *entry;
		pass.jobs = lappend(pass.jobs, copy);
	}
	MemoryContextSwitchTo(outer);
}

static void
begin_pass(TimestampTz now)
{
	next_pass = now + PASS_US;
	if (jobs == NULL || hash_get_num_entries(jobs) == 0)
		return;
	list_jobs();
	pass.place = 0;
	pass.from = 0;
	pass.now = now;
	pass.mark = sched_stats_mark();
	waits_for_mark = DT_NOEND;
	pass.look_at = 0;
	js_process_begin("looking for rows of history that have expired");
	pass.awaited = sched_namers();
	js_process_commit();
}

static void
end_pass(void)
{
	list_free_deep(pass.jobs);
	pass.jobs = NIL;
	if (pass.awaited != NULL)
		pfree(pass.awaited);
	pass.awaited = NULL;
}

/* Whether those that are waited for may have ended. */
static bool
must_wait(void)
{
	TimestampTz real_now = GetCurrentTimestamp();

	return pass.awaited != NULL && pass.look_at > real_now && pass.look_at - real_now <= LOOK_US;
}

static void
await(void)
{
	js_process_begin("waiting for who names runs");
	if (sched_namers_have_ended(pass.awaited))
	{
		pfree(pass.awaited);
		pass.awaited = NULL;
	}
	else
		pass.look_at = GetCurrentTimestamp() + LOOK_US;
	js_process_commit();
}

static int
segment_at(int place)
{
	return place == PLACES - 1 ? JS_KEPT : place / JS_SEGMENTS * 100 + place % JS_SEGMENTS;
}

/* It is gone, or wants nothing, of which there will be news; what is said later is, too. */
static void
forget_job(int64 job_id)
{
	(void) hash_search(jobs, &job_id, HASH_REMOVE, NULL);
}

/*
 * What the job wants now; 0: nothing.  It may have been altered since the pass began, and
 * who names runs goes by what it wants now.
 */
static int64
still_wanted(const KeepFor *job)
{
	JsJob		head;

	if (!js_job_read_head(job->job_id, &head) || head.keep_for == 0)
		return 0;
	return Max(head.keep_for, job->keep_for);
}

/* What has ended before that goes, unless statistics may need it. */
static TimestampTz
limit_of(TimestampTz limit)
{
	if (limit <= pass.mark)
		return limit;
	waits_for_mark = pass.mark;
	return pass.mark;
}

/* On to the next segment of the job, or to the next job. */
static void
go_on(bool to_next_job)
{
	if (++pass.place < PLACES && !to_next_job)
		return;
	pass.place = 0;
	pfree(llast(pass.jobs));
	pass.jobs = list_delete_last(pass.jobs);
}

static void
delete_some(void)
{
	TimestampTz now = Min(pass.now, js_clock_now());	/* as for who names runs */
	int			room = MOST_DELETED;

	js_process_begin("deleting rows of history that have expired");
	for (int i = 0; i < MOST_PLACES && room > 0 && pass.jobs != NIL; i++)
	{
		const KeepFor *job = llast(pass.jobs);
		int64		keep_for = still_wanted(job);

		pass.from = keep_for == 0 ? 0 :
			js_history_expire_some(segment_at(pass.place), job->job_id, limit_of(now - keep_for),
								   pass.from, &room);
		if (pass.from != 0)
			break;
		if (keep_for == 0)
			forget_job(job->job_id);
		go_on(keep_for == 0);
	}
	js_process_commit();
}

/* A segment may be locked for longer than lock_timeout: the next pass tries again. */
static void
work(void)
{
	MemoryContext outer = CurrentMemoryContext;

	PG_TRY();
	{
		if (pass.awaited != NULL)
			await();
		else
			delete_some();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(outer);
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		end_pass();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(outer);
}

static bool
is_due(TimestampTz now)
{
	return now >= next_pass || next_pass - now > PASS_US || sched_stats_mark() > waits_for_mark;
}

/* The next portion, if any.  The mark moves in a step before. */
void
sched_keep_serve(TimestampTz now)
{
	if (pass.jobs == NIL && is_due(now))
		begin_pass(now);
	if (pass.jobs != NIL && !must_wait())
		work();
}

/* How long until there is one; at_most if not earlier. */
long
sched_keep_ms(long at_most)
{
	if (pass.jobs != NIL)
		return must_wait() ? Min(at_most, LOOK_US / 1000) : 0;
	if (jobs == NULL || hash_get_num_entries(jobs) == 0)
		return at_most;
	return js_clock_ms_until(next_pass, at_most);
}
