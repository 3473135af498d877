/*-------------------------------------------------------------------------
 *
 * sched_stat.c
 *		Statistics: adds up what becomes of runs, as they end.
 *
 * DATA FLOW
 *
 *		sched_run_ended() --> heard --> batch --> rows of stat
 *							  (48 bytes a run)	  (a chunk of each job: stat.c)
 *
 * An end is noted in an array, twice, for its job and for its role (whose total is kept
 * as if it were of a job, store_stat.h), and that is all that a run costs.  Once a second
 * at most the array becomes a batch: it is sorted by job and minute, added up, and written, so
 * many jobs in a step.  The next batch begins when fifty times as long has passed as
 * this one took, but half a minute at most: so statistics take a fiftieth of the
 * scheduler's time, however many jobs there are.  If more comes than that, a step writes
 * as much as has come: the array does not grow beyond MOST_HEARD and what one step brings.
 *
 * In a row a job's runs are kept by minute at first.  The mark (table stat_mark) is the
 * instant, a whole minute, before which everything that had ended is in stat.  Minutes
 * before it become tens of minutes with the next write of their row, then hours, then
 * days; those from the mark on stay by themselves, since they may have to be taken back.
 *
 * INVARIANTS
 *
 *	1. There is one writer, and a batch is written in the transactions of steps.
 *	2. What is in a minute from the mark on is in history too: a run's row of history
 *	   was committed before we heard of it, or is written by the same transaction, or by
 *	   one before it; and what history is to lose before its time (keep_for), it loses
 *	   when the mark is later (sched_keep.c).
 *	   Of successes that leave no row (run/keep.c) we are told that: they are in ten
 *	   minutes from the beginning, which are never taken back.
 *	3. The mark moves on to a minute m when a batch is written that began SLACK after m
 *	   or later, or when nothing has been heard for so long: whoever has recorded an end
 *	   has told us by then.
 *
 * AFTER A CRASH
 *
 * A start counts again, in one transaction with everything else that it does, whatever
 * history has from the mark on: of each job of which something has ended since then the
 * minutes from the mark on are taken back, and what history says is written instead.
 * By 2 nothing is lost by that.  Runs that are in the queue when the scheduler has read
 * it are left out: that they have ended, if they have meanwhile, it will be told.  And of
 * what it is told, it takes no notice of runs that it does not know: these were counted.
 *
 *		killed						what is there			what the start does
 *		before a run's end is
 *		  recorded					a run that is live		nothing
 *		after that, or with what
 *		  was heard in memory		history					counts it
 *		within a batch, before
 *		  a step's commit			history					counts it
 *		after it					history, minutes		takes these back, counts
 *		before the mark's commit	an older mark			the same, from there on
 *		after it					the mark				what is before it stays
 *		at a start, before the
 *		  commit					what was there before	all of it once more
 *
 *	and a success that leaves no row, killed
 *		with what was heard in
 *		  memory					nothing					nothing: it is lost
 *		after a step's commit		ten minutes				nothing: they stay
 *
 * Lost is what was recorded longer than SLACK before we heard of it, and was not written
 * yet: a worker that stood still for so long at that point.  Of successes without a row
 * lost are those that were not written yet, mostly of a second, whatever has ended the
 * scheduler; what workers have told nobody yet its successor is told, if the server goes
 * on, and counts it, though it does not know when they were due.  If history is kept for less
 * than a few minutes, it is too short for a recount.  After the clock has been set back
 * the mark stays where it is, and what was heard in the seconds before a crash is lost
 * until the clock is there again.  Of runs that waited for others a recount does not know
 * it, and takes the time for a delay.  Where something of a job's rows is held by somebody
 * else, the job is left out of the recount: its minutes stay, and what was in memory is lost.
 *
 * WHAT GOES
 *
 * A few times a day all rows are gone through, some in a step: old spans become
 * wider, rows that are small join, what has expired (jobsched.stats_retention) and what
 * is of jobs that are forgotten (sched_ring.c) goes.  stat_reset() leaves a row of
 * stat_reset: the rows of its job go in one step, with what was heard before; the row
 * stays, served, until the mark has passed it, so that nothing from before is counted
 * again.  Totals of roles have no resets.
 *
 * A subscription brings no statistics: what is of runs that were executed elsewhere is
 * not counted here, and a row from there could meet one of ours.  What was here before a
 * job came to sleep is left alone as long as it does.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "miscadmin.h"
#include "scheduler/sched.h"
#include "store/catalog.h"
#include "store/store_names.h"
#include "store/store_stat.h"
#include "store/store_total.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Between batches; and how many times as long as the last one took. */
#define PAUSE_US USECS_PER_SEC
#define MOST_PAUSE_US (30 * USECS_PER_SEC)
#define PAUSE_TIMES 50

/* Jobs in a step, and ends in memory; what is beyond is written at once. */
#define JOBS_AT_A_TIME 64
#define MOST_HEARD 65536

/* Who has recorded an end has told us after this. */
#define SLACK (60 * USECS_PER_SEC)

/* All rows are gone through so often, by our clock; rows in a step, and pauses. */
#define TIDY_US (6 * USECS_PER_HOUR)
#define ROWS_AT_A_TIME 64
#define TIDY_PAUSE_US (20 * 1000)

/* Resets looked at in a step, and read at once at a start. */
#define RESETS_AT_A_TIME 16
#define RESETS_READ 1000

/* Ends, in memory that lasts. */
typedef struct Ends
{
	JsStatEnd  *ends;
	int			count;
	int			room;
} Ends;

static Ends heard;
static Ends batch;
static int	batch_next = 0;		/* of the batch, to be written */
static TimestampTz batch_began; /* by our clock */
static TimestampTz batch_left;	/* the earliest end of it that could not be
								 * written; DT_NOEND: none */
static int64 batch_took = 0;	/* real time */
static TimestampTz next_batch = 0;	/* by the real clock */

static TimestampTz mark = DT_NOEND;
static TimestampTz mark_held_until = 0; /* somebody held its row: not before
										 * this, by the real clock; 0: nobody
										 * did */
static TimestampTz last_minute = DT_NOBEGIN;	/* the latest that was written */

static bool resets_noted = true;
static int64 resets_from = 0;	/* the job to go on with; 0: none is under way */

static JsStatPosition tidy_position = {0};	/* job_id 0: nothing is under way */
static TimestampTz tidied_at = 0;	/* by our clock */
static TimestampTz tidy_next = 0;	/* by the real clock */

/* ------------------------------------------------------------------------
 * Ends
 * ------------------------------------------------------------------------
 */

static void
keep(Ends *ends, const JsStatEnd *end)
{
	if (ends->count == ends->room)
	{
		ends->room = Max(2 * ends->room, 256);
		ends->ends = ends->ends == NULL ?
			MemoryContextAllocHuge(sched.context, ends->room * sizeof(JsStatEnd)) :
			repalloc_huge(ends->ends, ends->room * sizeof(JsStatEnd));
	}
	ends->ends[ends->count++] = *end;
}

/* After a burst. */
static void
empty(Ends *ends)
{
	ends->count = 0;
	if (ends->room <= MOST_HEARD)
		return;
	pfree(ends->ends);
	ends->ends = NULL;
	ends->room = 0;
}

static bool
waits_by_nature(JsRunSource source)
{
	return source == JS_SOURCE_STEP || source == JS_SOURCE_ITEM;
}

static void
set_times(JsStatEnd *end, TimestampTz run_at, TimestampTz started_at, bool waited)
{
	end->duration = end->delay = -1;
	if (started_at == DT_NOBEGIN)
		return;
	end->duration = Max(end->finished_at - started_at, 0);
	if (!waited && !waits_by_nature(end->source))
		end->delay = Max(started_at - run_at, 0);
}

/*
 * For its job, and for its role, but what steps do: that is in the run of their job.  What
 * a step has a job do (step_job) is that job's.
 */
static void
keep_both(JsStatEnd *end, const JobEntry *job, Oid owner)
{
	keep(&heard, end);
	if (waits_by_nature(end->source) && sched_total_is_of_step(end->job_id, job))
		return;
	end->job_id = js_stat_total_of(owner);
	keep(&heard, end);
}

/* The door is sched_run_ended().  run: NULL if it is none, or one that was counted. */
void
sched_stats_note(const RunEntry *run, const JobEntry *job, const JsDone *done)
{
	JsStatEnd	end = {0};

	if (run == NULL && done->slots == 0 && !done->left_nothing)
		return;
	end.job_id = job->job_id;
	end.finished_at = done->finished_at;
	end.status = done->status;
	end.slots = done->slots;
	end.source = run != NULL ? run->source : JS_SOURCE_SCHEDULE;
	end.unrecorded = done->left_nothing;
	end.attempts = run != NULL ? run->attempt : done->left_nothing;
	set_times(&end, run != NULL ? run->run_at : 0, done->started_at,
			  run == NULL || run->depends || run->awaited);
	keep_both(&end, job, run != NULL ? run->owner->owner : job->owner);
}

static TimestampTz
minute_of(const JsStatEnd *end)
{
	return js_stat_begin_of(end->finished_at, JS_STAT_MINUTE);
}

static int
compare_ends(const void *a, const void *b)
{
	const JsStatEnd *x = a;
	const JsStatEnd *y = b;

	if (x->job_id != y->job_id)
		return x->job_id < y->job_id ? -1 : 1;
	if (x->unrecorded != y->unrecorded)
		return x->unrecorded ? 1 : -1;
	if (x->finished_at != y->finished_at)
		return x->finished_at < y->finished_at ? -1 : 1;
	return 0;
}

static void
sort(Ends *ends)
{
	if (ends->count > 1)
		qsort(ends->ends, ends->count, sizeof(JsStatEnd), compare_ends);
}

/* How many from there on are of one job and minute, and of a kind. */
static int
count_alike(const Ends *ends, int from)
{
	const JsStatEnd *first = &ends->ends[from];
	int			next = from + 1;

	while (next < ends->count && ends->ends[next].job_id == first->job_id &&
		   ends->ends[next].unrecorded == first->unrecorded &&
		   ends->ends[next].finished_at < minute_of(first) + USECS_PER_MINUTE)
		next++;
	return next - from;
}

/* ------------------------------------------------------------------------
 * Batches
 * ------------------------------------------------------------------------
 */

static bool
write_alike(const JsStatEnd *ends, int count, TimestampTz now)
{
	static JsStat stat;
	JsStatClock clock = {mark, now};
	JsStatWidth width = ends->unrecorded ? JS_STAT_TEN_MINUTES : JS_STAT_MINUTE;

	memset(&stat, 0, sizeof(stat));
	for (int i = 0; i < count; i++)
		js_stat_add_end(&stat, &ends[i]);
	if (!sched_total_add(ends->job_id, &stat))
		return false;
	if (!js_stat_write(ends->job_id, js_stat_begin_of(ends->finished_at, width), width, &stat, &clock))
	{
		sched_total_subtract(ends->job_id, &stat);
		return false;
	}
	last_minute = Max(last_minute, minute_of(ends));
	return true;
}

/* Somebody holds the row: they are heard once more. */
static void
put_off(const JsStatEnd *ends, int count)
{
	batch_left = Min(batch_left, ends->finished_at);
	for (int i = 0; i < count; i++)
		keep(&heard, &ends[i]);
}

static void
begin_batch(TimestampTz now)
{
	Ends		spare = batch;

	batch = heard;
	heard = spare;
	heard.count = 0;
	sort(&batch);
	batch_next = 0;
	batch_began = now;
	batch_left = DT_NOEND;
	batch_took = 0;
}

static bool
in_batch(void)
{
	return batch_next < batch.count;
}

/* So that what comes while a batch is written does not pile up. */
static int
jobs_in_step(void)
{
	return Max(JOBS_AT_A_TIME, heard.count - MOST_HEARD);
}

static void
write_some(TimestampTz now)
{
	int			left = jobs_in_step();

	while (in_batch() && left-- > 0)
	{
		const JsStatEnd *ends = &batch.ends[batch_next];
		int			count = count_alike(&batch, batch_next);

		if (!write_alike(ends, count, now))
			put_off(ends, count);
		batch_next += count;
	}
	sched_totals_flush();
}

static void
move_mark(TimestampTz to)
{
	to = js_stat_begin_of(to, JS_STAT_MINUTE);
	if (to <= mark)
		return;
	if (!js_stat_mark_write(to))
	{
		mark_held_until = GetCurrentTimestamp() + PAUSE_US;
		return;
	}
	mark = to;
	js_stat_resets_forget(mark);
}

static void
end_batch(void)
{
	empty(&batch);
	batch_next = 0;
	next_batch = GetCurrentTimestamp() + Min(Max(PAUSE_TIMES * batch_took, PAUSE_US), MOST_PAUSE_US);
	move_mark(Min(batch_began - SLACK, batch_left));
}

static bool
batch_is_due(void)
{
	TimestampTz now = GetCurrentTimestamp();

	return in_batch() ||
		(heard.count > 0 && (now >= next_batch || next_batch - now > MOST_PAUSE_US || heard.count > MOST_HEARD));
}

static void
serve_batch(TimestampTz now)
{
	TimestampTz began = GetCurrentTimestamp();

	if (!in_batch())
		begin_batch(now);
	write_some(now);
	batch_took += GetCurrentTimestamp() - began;
	if (!in_batch())
		end_batch();
}

/* ------------------------------------------------------------------------
 * Resets
 * ------------------------------------------------------------------------
 */

void
sched_stats_note_resets(void)
{
	resets_noted = true;
}

static void
drop_before(Ends *ends, int from, const JsStatReset *reset)
{
	int			left = from;

	for (int i = from; i < ends->count; i++)
		if (ends->ends[i].job_id != reset->job_id || ends->ends[i].finished_at >= reset->reset_at)
			ends->ends[left++] = ends->ends[i];
	ends->count = left;
}

static void
serve_reset(const JsStatReset *reset)
{
	if (reset->served || !js_stat_reset_serve(reset->job_id))
		return;
	sched_total_reset(reset->job_id);
	drop_before(&heard, 0, reset);
	drop_before(&batch, batch_next, reset);
}

/* Some of them.  What cannot be served is tried again with the sweep, or the next reset. */
static void
serve_resets(void)
{
	JsStatReset some[RESETS_AT_A_TIME];
	JsStatResets resets = {.resets = some};

	if (resets_from == 0)
		resets_noted = false;
	resets_from = js_stat_resets_read(Max(resets_from, 1), RESETS_AT_A_TIME, &resets);
	for (int i = 0; i < resets.count; i++)
		serve_reset(&resets.resets[i]);
}

static bool
resets_wait(void)
{
	return resets_noted || resets_from > 0;
}

/* ------------------------------------------------------------------------
 * Tidying
 * ------------------------------------------------------------------------
 */

static JsStatFate
judge(int64 job_id)
{
	const JobEntry *job = job_id > 0 ? sched_job_find(job_id) : NULL;
	JsJob		head;

	if (job_id < 0)
		return sched.home ? JS_STAT_TIDY : JS_STAT_LEAVE;
	if (job != NULL)
		return job->asleep ? JS_STAT_LEAVE : JS_STAT_TIDY;
	if (js_job_read_head(job_id, &head))
		return memcmp(&head.home, &sched.token, sizeof(pg_uuid_t)) == 0 ? JS_STAT_TIDY : JS_STAT_LEAVE;
	/* a subscription may be about to bring it */
	return sched.home && sched.asleep_count == 0 ? JS_STAT_DELETE : JS_STAT_LEAVE;
}

static TimestampTz
tidy_deadline(void)
{
	return tidy_position.job_id != 0 ? tidy_next : DT_NOEND;
}

/* A clock that was set back must not put it off. */
static bool
tidy_begins(TimestampTz now)
{
	return tidy_position.job_id == 0 && (now - tidied_at >= TIDY_US || now < tidied_at);
}

static void
tidy(TimestampTz now)
{
	JsStatClock clock = {mark, now};

	if (tidy_begins(now))
	{
		tidied_at = now;
		tidy_position.job_id = JS_STAT_FIRST_ID;
		tidy_position.first = DT_NOBEGIN;
	}
	js_stat_tidy_some(&tidy_position, ROWS_AT_A_TIME, &clock,
					  now - js_guc_stats_retention * USECS_PER_SEC, judge);
	tidy_next = GetCurrentTimestamp() + TIDY_PAUSE_US;
}

static bool
tidy_is_due(TimestampTz now)
{
	TimestampTz real_now = GetCurrentTimestamp();

	return tidy_begins(now) ||
		(tidy_position.job_id != 0 && (real_now >= tidy_next || tidy_next - real_now > TIDY_PAUSE_US));
}

/* ------------------------------------------------------------------------
 * The step
 * ------------------------------------------------------------------------
 */

/* When something is to be done, by the real clock. */
TimestampTz
sched_stats_deadline(void)
{
	if (in_batch() || resets_wait())
		return 0;
	return Min(Min(heard.count > 0 ? next_batch : DT_NOEND, tidy_deadline()),
			   Min(mark_held_until != 0 ? mark_held_until : DT_NOEND, sched_totals_deadline()));
}

/*
 * When the mark is to move on though nothing has ended since: else what it has been kept
 * for may be gone from history when it is wanted.  By our clock.
 */
static TimestampTz
mark_due(void)
{
	if (last_minute < mark || heard.count > 0 || in_batch() || mark_held_until != 0)
		return DT_NOEND;
	return last_minute + USECS_PER_MINUTE + SLACK;
}

/* The same, by our clock. */
TimestampTz
sched_stats_clock_deadline(void)
{
	return tidy_position.job_id == 0 ? Min(mark_due(), tidied_at + TIDY_US) : mark_due();
}

/* It is tried again. */
static bool
mark_was_held(void)
{
	TimestampTz now = GetCurrentTimestamp();

	return mark_held_until != 0 && (now >= mark_held_until || mark_held_until - now > PAUSE_US);
}

static bool
mark_is_due(TimestampTz now)
{
	return now >= mark_due();
}

/* What has ended from then on, by our clock, history must have still. */
TimestampTz
sched_stats_mark(void)
{
	return mark;
}

bool
sched_stats_due(TimestampTz now)
{
	return resets_wait() || batch_is_due() || mark_was_held() || mark_is_due(now) || tidy_is_due(now) || sched_totals_due();
}

void
sched_stats_write(TimestampTz now)
{
	if (resets_wait())
		serve_resets();
	if (batch_is_due())
		serve_batch(now);
	if (mark_was_held())
		mark_held_until = 0;
	if (mark_is_due(now))
		move_mark(now - SLACK);
	if (tidy_is_due(now))
		tidy(now);
	if (sched_totals_due())
		sched_totals_forget_some();
}

/* ------------------------------------------------------------------------
 * After a start
 * ------------------------------------------------------------------------
 */

/* By job. */
static void
read_resets(JsStatResets *resets)
{
	int64		from = 1;

	resets->count = 0;
	resets->resets = palloc(RESETS_READ * sizeof(JsStatReset));
	while ((from = js_stat_resets_read(from, RESETS_READ, resets)) != 0)
		resets->resets = repalloc_huge(resets->resets, (resets->count + RESETS_READ) * sizeof(JsStatReset));
}

static int
compare_job(const void *key, const void *reset)
{
	int64		x = *(const int64 *) key;
	int64		y = ((const JsStatReset *) reset)->job_id;

	return x < y ? -1 : x > y ? 1 : 0;
}

static bool
was_reset(const JsStatResets *resets, const JsEndedRow *row)
{
	const JsStatReset *reset = bsearch(&row->job_id, resets->resets, resets->count, sizeof(JsStatReset), compare_job);

	return reset != NULL && row->finished_at < reset->reset_at;
}

static void
count_again(const JsEndedRow *row, void *arg)
{
	const JobEntry *job = sched_job_find(row->job_id);
	JsStatEnd	end = {0};

	if (sched_run_find(row->run_id) != NULL || (job != NULL && job->asleep) || was_reset(arg, row))
		return;
	end.job_id = row->job_id;
	end.finished_at = row->finished_at;
	end.status = js_status_of(row->status);
	end.source = js_source_of(row->source);
	end.attempts = row->attempt;
	end.slots = row->slots;
	set_times(&end, row->run_at, row->started_at, row->waited);
	keep_both(&end, job, row->owner);
}

/* Of a job whose rows somebody holds: what is written of it is right, but old. */
static int
pass_over(int from)
{
	int			next = from;

	while (next < heard.count && heard.ends[next].job_id == heard.ends[from].job_id)
		next++;
	return next;
}

/* False: somebody holds a row of the job. */
static bool
discard(int64 job_id)
{
	static JsStat taken;

	if (!js_total_is_free(job_id) || !js_stat_discard(job_id, mark, &taken))
		return false;
	sched_total_subtract(job_id, &taken);
	return true;
}

/* However many jobs there are, what writing one needs is given back before the next. */
static void
write_all(TimestampTz now)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jobsched recount",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(context);
	int64		job_id = 0;
	int			next = 0;

	while (next < heard.count)
	{
		const JsStatEnd *ends = &heard.ends[next];
		int			count = count_alike(&heard, next);

		if (ends->job_id != job_id && !discard(ends->job_id))
			next = pass_over(next);
		else
		{
			job_id = ends->job_id;
			(void) write_alike(ends, count, now);
			next += count;
		}
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
	}
	sched_totals_flush();
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
}

/* What has been heard so far is in history, or will be with this transaction. */
void
sched_stats_recover(TimestampTz now)
{
	JsStatResets resets;

	heard.count = 0;
	sched_totals_load();
	read_resets(&resets);
	if (!js_stat_mark_read(&mark))
	{
		mark = js_stat_begin_of(now, JS_STAT_MINUTE);
		(void) js_stat_mark_write(mark);
	}
	js_catalog_visit_ended(mark, count_again, &resets);
	sort(&heard);
	write_all(now);
	empty(&heard);
}
