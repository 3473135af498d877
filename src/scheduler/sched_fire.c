/*-------------------------------------------------------------------------
 *
 * sched_fire.c
 *		Turns due slots into runs.
 *
 * A slot becomes a run once.  One transaction writes the run's row (or the row
 * of history that says why there is none), the job's next_run_at, which moves
 * past the slot, and which slots are done (sched_slot.c).  So a crash loses all
 * of that or nothing, and nothing is done twice.
 *
 * The job's row is read when a slot is due.  It has the schedule's text, and
 * shows at once whether the job has just been changed.
 *
 * A slot that is found later than the job's misfire_grace was missed: the
 * server was down, the job was paused or disabled, or the clock was set
 * forward.  The job's policy says what becomes of slots missed in a row:
 *
 *	once		one run, for the newest that is due
 *	skip		no run; a row of status 'missed' counts them.  A slot that is due
 *				and within the grace was not missed, and has its run
 *	all			a run for each that is due, for the newest hundred; a row counts
 *				those before.  The runs wait for one another, unless the job
 *				allows overlap, however many there are
 *
 * sched_overlap.c decides what becomes of a slot that finds a live run.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guard.h"
#include "http/limit_keys.h"
#include "miscadmin.h"
#include "run/http_job.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "store/bounds.h"
#include "utils/memutils.h"

/*
 * Slots due in one step at most: the first runs start while the slots of
 * others are still being turned into runs.
 */
#define MAX_FIRED 16

/* A job that could not fire, for no fault of its own, is tried again after this. */
#define PUT_OFF_US (10 * USECS_PER_SEC)

/* However small the grace: what is found this late is on time. */
#define LEAST_GRACE_US USECS_PER_SEC

/* What it takes to make runs. */
typedef struct Firing
{
	TimestampTz now;
	JsRunWriter *writer;
} Firing;

/* A job that has a slot which is due, or is @startup. */
typedef struct DueJob
{
	JobEntry   *job;
	JobEntry	before;			/* as it was */
	JsJob		row;
	SchedTimetable timetable;
	ArrayType  *keys;			/* of its runs */
	int64		left;			/* how many runs its schedule may still make */
} DueJob;

typedef struct Defect
{
	int64		revision;
	const char *reason;
} Defect;

static void
note_defect(JsJobState *state, const void *arg)
{
	const Defect *defect = arg;

	state->invalid_revision = defect->revision;
	state->invalid_reason = pstrdup(defect->reason);
}

/* The job cannot run as it is: says so in its state, and leaves it alone. */
static void
invalidate(JobEntry *job, const char *reason)
{
	Defect		defect = {job->revision, reason};

	ereport(LOG,
			(errmsg("job " INT64_FORMAT " is invalid: %s", job->job_id, reason)));
	(void) js_job_state_change(job->job_id, note_defect, &defect);
	sched_set_flag(&job->invalid, true, &sched.invalid_count);
	sched_job_set_next(job, job->next_run_at);
	sched_job_place_runs(job);
}

/*
 * Inserts a run for a slot, DT_NOBEGIN for none, and takes it into memory.  It
 * starts now, or later if the job has jitter or other runs come first.
 */
static void
insert_run(const Firing *firing, const DueJob *due, TimestampTz slot, int32 missed)
{
	JobEntry   *job = due->job;
	TimestampTz from = slot == DT_NOBEGIN ? firing->now : slot;
	RunEntry   *entry;
	JsRun		run = {0};

	run.job_id = job->job_id;
	run.owner = job->owner;
	run.status = JS_RUN_QUEUED;
	run.source = slot == DT_NOBEGIN ? JS_SOURCE_STARTUP : JS_SOURCE_SCHEDULE;
	run.missed_count = missed;
	run.workflow = due->row.has_steps ? JS_WORKFLOW_STEPS : JS_WORKFLOW_NONE;
	run.keys = due->keys;
	run.run_at = from + sched_jitter(job->job_id, from, due->row.jitter);
	run.queued_at = firing->now;
	run.claimed_at = DT_NOBEGIN;
	run.scheduled_for = slot;
	if (job->serial && (job->live > 0 || job->waiting > 0))
		run.reason = "waiting_for_run";
	(void) js_run_insert(firing->writer, &run);

	entry = sched_run_make(run.run_id, job);
	entry->run_at = run.run_at;
	entry->of_slot = true;
	entry->source = run.source;
	sched_limits_attach(entry, due->keys);
	sched_run_wait(entry, firing->now);
}

/* Slots that are passed over for different reasons are not in one row. */
static void
skip_slot(JobEntry *job, TimestampTz slot, int32 missed, bool queue_full, TimestampTz now)
{
	if (job->skipped > 0 && job->queue_full != queue_full)
		sched_report_skips(job, now);
	if (job->skipped == 0)
		job->skipped_first = slot;
	job->skipped += 1 + missed;
	job->skipped_last = slot;
	job->queue_full = queue_full;
}

/* A job and the slot that it moves on to. */
typedef struct Advance
{
	const JobEntry *job;
	TimestampTz next;
	int			made;			/* runs */
} Advance;

static void
advance_state(JsJobState *state, const void *arg)
{
	const Advance *to = arg;
	const JobEntry *job = to->job;

	state->schedule_revision = job->schedule_revision;
	state->next_run_at = to->next == DT_NOEND ? DT_NOBEGIN : to->next;
	state->last_slot = job->last_slot;
	state->done_before = job->done_before;
	state->done_from = job->done_from;
	state->skipped = job->skipped;
	state->skipped_first = job->skipped > 0 ? job->skipped_first : DT_NOBEGIN;
	state->skipped_last = job->skipped > 0 ? job->skipped_last : DT_NOBEGIN;
	state->skipped_reason = job->skipped == 0 ? NULL :
		job->queue_full ? SCHED_REASON_QUEUE_FULL : SCHED_REASON_OVERLAP;
	state->scheduled_runs += to->made;
}

/* Takes back what firing a slot has changed in memory. */
static void
put_back(JobEntry *job, const JobEntry *before)
{
	if (job->schedule_revision != before->schedule_revision)
		return;					/* the change of the job was read, and stands */
	job->last_slot = before->last_slot;
	job->done_before = before->done_before;
	job->done_from = before->done_from;
	job->skipped = before->skipped;
	job->skipped_first = before->skipped_first;
	job->skipped_last = before->skipped_last;
	job->queue_full = before->queue_full;
	sched_job_set_next(job, before->next_run_at);
}

/*
 * Moves a job on past a slot, with which it has made so many runs.  If somebody
 * else holds the row of its state, perhaps a prepared transaction, it is as it
 * was before, and tried again later.
 */
static bool
move_on(const Firing *firing, const DueJob *due, TimestampTz slot, int made)
{
	JobEntry   *job = due->job;
	TimestampTz next = made >= due->left ? DT_NOEND :
		sched_open_slot_after(job, &due->timetable, slot);
	Advance		to = {job, next, made};

	if (js_job_state_change(job->job_id, advance_state, &to))
	{
		sched_job_set_next(job, next);
		return true;
	}
	put_back(job, &due->before);
	sched_job_hold_back(job, firing->now + USECS_PER_SEC);
	return false;
}

/* One run for a slot and older ones that were missed, unless it has to be skipped. */
static void
fire_slot(const Firing *firing, const DueJob *due, TimestampTz slot, int32 missed)
{
	JobEntry   *job = due->job;
	SchedVerdict verdict = sched_judge_overlap(job, &due->row);
	bool		skips = verdict == SCHED_SKIP || verdict == SCHED_QUEUE_FULL;

	if (skips)
		skip_slot(job, slot, missed, verdict == SCHED_QUEUE_FULL, firing->now);
	sched_note_done(job, slot, missed);
	if (!move_on(firing, due, slot, skips ? 0 : 1) || skips)
		return;
	if (verdict == SCHED_REPLACE)
		sched_replace_runs(job);
	insert_run(firing, due, slot, missed);
}

/* Slots missed make no run.  Those within the grace come next, by themselves. */
static void
pass_over(const Firing *firing, const DueJob *due, TimestampTz first, const SchedSlots *missed)
{
	TimestampTz last = missed->slots[0];

	sched_note_done(due->job, last, missed->older);
	if (move_on(firing, due, last, 0))
		sched_record_missed(due->job, first, last, missed->older + 1, firing->now);
}

/* Slots missed have a run each, but for the oldest if there are too many. */
static void
make_up(const Firing *firing, const DueJob *due, TimestampTz first, const SchedSlots *missed)
{
	int			count = Min(missed->count, due->left);

	if (missed->older > 0)
		sched_note_done(due->job, missed->last_older, missed->older - 1);
	for (int i = 0; i < count; i++)
		sched_note_done(due->job, missed->slots[i], 0);
	if (!move_on(firing, due, missed->slots[count - 1], count))
		return;
	if (missed->older > 0)
		sched_record_missed(due->job, first, missed->last_older, missed->older, firing->now);
	for (int i = 0; i < count; i++)
		insert_run(firing, due, missed->slots[i], 0);
}

/*
 * The slot was missed, and perhaps others up to now.  Some in between may be
 * done, if the clock has been ahead: what was passed over then and what is
 * missed now go together.  Else the run for the former would be what the latter
 * overlap with.
 */
static void
fire_missed(const Firing *firing, const DueJob *due, TimestampTz slot, int64 grace)
{
	SchedSlots	found;

	switch (due->row.misfire)
	{
		case JS_MISFIRE_ONCE:
			sched_collect_slots(due->job, &due->timetable, slot, firing->now, 1, &found);
			fire_slot(firing, due, found.slots[0], found.older);
			break;
		case JS_MISFIRE_SKIP:
			sched_collect_slots(due->job, &due->timetable, slot, firing->now - grace - 1, 1, &found);
			pass_over(firing, due, slot, &found);
			break;
		case JS_MISFIRE_ALL:
			sched_collect_slots(due->job, &due->timetable, slot, firing->now, SCHED_MAX_MADE_UP, &found);
			make_up(firing, due, slot, &found);
			break;
	}
}

static void
fire_next(const Firing *firing, const DueJob *due)
{
	TimestampTz slot = due->job->next_run_at;
	int64		grace = Max(due->row.misfire_grace, LEAST_GRACE_US);

	if (due->left <= 0 || sched_slot_is_done(due->job, slot))
		(void) move_on(firing, due, slot, 0);
	else if (firing->now - slot <= grace)
		fire_slot(firing, due, slot, 0);
	else
		fire_missed(firing, due, slot, grace);
}

/* Whether its runs get keys: then more of the row is needed than its head. */
static bool
makes_keys(const JsJob *row)
{
	return row->has_keys || row->sends_request;
}

static bool
read_due_job(int64 job_id, JsJob *row)
{
	if (!js_job_read_head(job_id, row))
		return false;
	return !makes_keys(row) || js_job_is_too_large(row) || js_job_read(job_id, row);
}

/* The row of a job that is to have a run, whose entry is brought up to date; false: there is none. */
bool
sched_job_read_to_run(JobEntry *job, JsJob *row)
{
	if (!read_due_job(job->job_id, row))
		return false;
	sched_apply_job(row);
	return true;
}

/* The job's row, if the job is still one that fires. */
static bool
read_firing_job(JobEntry *job, JsJob *row)
{
	if (!sched_job_read_to_run(job, row))
	{
		sched_job_set_next(job, DT_NOEND);
		return false;
	}
	return sched_job_fires(job);
}

/* False: what is in the row cannot be understood; the job becomes invalid. */
static bool
read_timetable(JobEntry *job, const JsJob *row, SchedTimetable *timetable)
{
	const char *defect = sched_timetable_read(row, timetable);

	if (defect != NULL)
		invalidate(job, defect);
	return defect == NULL;
}

/* How many runs the schedule may still make. */
static int64
runs_left(const JsJob *row)
{
	JsJobState	state;

	if (row->max_runs == 0)
		return PG_INT64_MAX;
	(void) js_job_state_read(row->job_id, &state);
	return row->max_runs - state.scheduled_runs;
}

/* The keys of runs that a job has by itself; false as above. */
bool
sched_job_keys(JobEntry *job, const JsJob *row, ArrayType **keys)
{
	char	   *problem;

	*keys = NULL;
	if (!makes_keys(row))
		return true;
	if (js_job_is_too_large(row))
	{
		invalidate(job, "its definition is larger than jobsched.max_job_size");
		return false;
	}
	*keys = js_limit_keys_resolve(js_http_keys(row, row->keys), row->args, &problem);
	if (problem != NULL)
		invalidate(job, problem);
	return problem == NULL;
}

static bool
read_due(JobEntry *job, DueJob *due)
{
	due->job = job;
	if (!read_firing_job(job, &due->row) || !read_timetable(job, &due->row, &due->timetable) ||
		!sched_job_keys(job, &due->row, &due->keys))
		return false;
	due->left = runs_left(&due->row);
	due->before = *job;
	return true;
}

static void
fire_job(const Firing *firing, JobEntry *job)
{
	DueJob		due;

	if (read_due(job, &due) && job->next_run_at <= firing->now)
		fire_next(firing, &due);
}

/* Errors that tell of the job's definition, not of the state of the server. */
static bool
is_the_jobs_fault(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_FEATURE_NOT_SUPPORTED:
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
			return true;
		default:
			return false;
	}
}

/*
 * A job that could not have its run: if it is to blame it becomes invalid; else, with
 * a full disk for instance, it is to be tried again later, and this is false.
 */
bool
sched_job_blame(JobEntry *job, const ErrorData *error)
{
	if (is_the_jobs_fault(error->sqlerrcode))
	{
		invalidate(job, error->message);
		return true;
	}
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("job " INT64_FORMAT " could not fire: %s", job->job_id, error->message)));
	sched_tell_error(error->message);
	return false;
}

typedef struct CarefulFiring
{
	const Firing *firing;
	JobEntry   *job;
} CarefulFiring;

static void
fire_one(void *arg)
{
	const CarefulFiring *careful = arg;

	fire_job(careful->firing, careful->job);
}

/*
 * The same in a subtransaction.  Nothing that is known of should fail, but a
 * scheduler that ended with an error has a successor, which takes this way:
 * whatever is wrong with one job, the others go on.
 */
static void
fire_job_carefully(const Firing *firing, JobEntry *job)
{
	CarefulFiring careful = {firing, job};
	JobEntry	before = *job;
	ErrorData  *error = js_try(fire_one, &careful, CurrentMemoryContext);

	if (error == NULL)
		return;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	put_back(job, &before);
	if (!sched_job_blame(job, error))
		sched_job_hold_back(job, firing->now + PUT_OFF_US);
}

/* Fires what is due, oldest first, up to a bound. */
void
sched_fire_due(TimestampTz now)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "jobsched slot", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = CurrentMemoryContext;
	Firing		firing = {now, js_run_writer_open()};

	MemoryContextSwitchTo(scratch);
	for (int i = 0; i < MAX_FIRED && !pairingheap_is_empty(sched.due); i++)
	{
		JobEntry   *job = pairingheap_container(JobEntry, due_node, pairingheap_first(sched.due));

		if (sched_job_due_at(job) > now)
			break;
		if (sched.careful)
			fire_job_carefully(&firing, job);
		else
			fire_job(&firing, job);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(outer);
	js_run_writer_close(firing.writer);
	CommandCounterIncrement();	/* they may be claimed in the same step */
	MemoryContextDelete(scratch);
}

/*
 * Where a job begins to look for slots that are not done.  Those passed over
 * are done after all if what stands for them is past.  The others were passed
 * over because the clock was ahead; those of them that have come due by the
 * right time meanwhile were missed.
 */
static TimestampTz
rewind_to(const JobEntry *job, const JsJob *row, TimestampTz now)
{
	if (job->done_from <= now)
		return now - 1;
	return Min(Max(job->done_before, Max(row->anchor, row->created_at)), now - 1);
}

/*
 * If its state cannot be written it shows the slot that was next before, and a
 * successor does this again.
 */
static void
set_back(JobEntry *job, TimestampTz next)
{
	Advance		to = {job, next, 0};

	if (next != job->next_run_at)
		(void) js_job_state_change(job->job_id, advance_state, &to);
	sched_job_set_next(job, next);
}

/*
 * A job that has had slots of a future that is now to come again.  Also one that
 * is paused or disabled for the time being.
 */
static void
rewind_job(JobEntry *job, TimestampTz now)
{
	SchedTimetable timetable;
	JsJob		row;

	if (job->last_slot > now && js_job_read_head(job->job_id, &row))
	{
		sched_apply_job(&row);
		if (!job->dropped && !job->asleep && !job->invalid && job->has_schedule &&
			read_timetable(job, &row, &timetable))
			set_back(job, sched_open_slot_after(job, &timetable, rewind_to(job, &row, now)));
	}
	MemoryContextReset(CurrentMemoryContext);
}

/* The clock has been set back: finds the next slot of each job anew. */
void
sched_rewind(TimestampTz now)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "jobsched rewind", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(scratch);

	sched_jobs_each(rewind_job, now);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
}

/*
 * One run, unless the job is not to have it now.  It is counted if it can be:
 * there will be no other chance to make it.
 */
static void
fire_startup(const Firing *firing, JobEntry *job)
{
	SchedVerdict verdict;
	DueJob		due;

	if (!sched_job_fires(job) || !read_due(job, &due) || due.left <= 0 ||
		firing->now < due.timetable.starts_at || firing->now > due.timetable.ends_at)
		return;
	verdict = sched_judge_overlap(job, &due.row);
	if (verdict == SCHED_SKIP || verdict == SCHED_QUEUE_FULL)
		return;
	(void) move_on(firing, &due, firing->now, 1);
	if (verdict == SCHED_REPLACE)
		sched_replace_runs(job);
	insert_run(firing, &due, DT_NOBEGIN, 0);
}

/* Once in the life of a server: the jobs scheduled @startup. */
void
sched_fire_startup(TimestampTz now)
{
	Firing		firing = {now, js_run_writer_open()};
	ListCell   *lc;

	foreach(lc, sched.startup_jobs)
	{
		JobEntry   *job = sched_job_find(*(int64 *) lfirst(lc));

		if (job != NULL)
			fire_startup(&firing, job);
	}
	js_run_writer_close(firing.writer);
	CommandCounterIncrement();
}
