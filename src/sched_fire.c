/*-------------------------------------------------------------------------
 *
 * sched_fire.c
 *		From slots that are due to runs.
 *
 * A slot becomes a run once: the run's row and the job's next_run_at, which
 * moves past the slot, are written in one transaction, and the job remembers
 * which slots are done, so that a clock set back or a schedule set anew brings
 * none of them round again.
 *
 * Usually that is all up to last_slot.  When slots were passed over (a misfire)
 * it is two spans: all up to done_before, and from done_from to last_slot.  If
 * the reason was a clock that was ahead, and it is set right, the slots in
 * between come round for the first time, and get their runs.
 *
 * The job's row is read when a slot is due, which gives the schedule's text
 * and tells at once whether the job has just been changed.
 *
 * A slot found more than JS_MISFIRE_GRACE late was missed: because the server
 * was down, the job paused, or the clock set forward.  All slots missed in a
 * row make one run, for the newest of them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "clock.h"
#include "cron.h"
#include "keys.h"
#include "miscadmin.h"
#include "sched.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

/*
 * Slots due in one step at most: the first runs start while the slots of
 * others are still being turned into runs.
 */
#define MAX_FIRED 16

/* A job that could not fire, for no fault of its own, is tried again after this. */
#define PUT_OFF_US (10 * USECS_PER_SEC)

/* Slots counted one by one at most; more are counted as this many. */
#define MAX_COUNTED 10000

/* What it takes to find the slots of a job, and to make runs of them. */
typedef struct Timetable
{
	ArrayType  *keys;
	JsSchedule	schedule;
	pg_tz	   *tz;
	TimestampTz anchor;
} Timetable;

/* What it takes to make runs. */
typedef struct Firing
{
	TimestampTz now;
	JsRunWriter *writer;
} Firing;

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
	sched_job_replace_runs(job);
}

static TimestampTz
slot_after(const Timetable *timetable, TimestampTz after)
{
	TimestampTz next;

	if (!js_schedule_next(&timetable->schedule, timetable->tz, timetable->anchor, after, &next))
		return DT_NOEND;
	return next;
}

/* False: what is in the row cannot be understood; the job becomes invalid. */
static bool
read_timetable(JobEntry *job, const JsJob *row, Timetable *timetable)
{
	JsScheduleError error;
	char	   *problem;

	timetable->keys = js_keys_resolve(row->keys, row->args, &problem);
	if (row->schedule == NULL ||
		!js_schedule_parse(row->schedule, row->name, &timetable->schedule, &error))
		invalidate(job, psprintf("invalid schedule: %s", row->schedule ? error.message : "none"));
	else if ((timetable->tz = js_timezone_lookup(row->timezone)) == NULL)
		invalidate(job, psprintf("time zone \"%s\" does not exist", row->timezone));
	else if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(row->owner)))
		invalidate(job, psprintf("the owner, role with OID %u, does not exist", row->owner));
	else if (problem != NULL)
		invalidate(job, problem);
	timetable->anchor = row->anchor;
	return !job->invalid;
}

/*
 * A slot not long before now from which the newest can be reached in few
 * steps: looks back further and further.
 */
static TimestampTz
slot_near(const Timetable *timetable, TimestampTz oldest, TimestampTz now)
{
	for (int64 back = USECS_PER_SEC; now - back > oldest; back *= 2)
	{
		TimestampTz slot = slot_after(timetable, now - back);

		if (slot <= now)
			return slot;
	}
	return oldest;
}

/* The newest slot that is due, and how many older ones are. */
static TimestampTz
newest_slot(const Timetable *timetable, TimestampTz slot, TimestampTz now, int32 *older)
{
	TimestampTz next;

	*older = 0;
	while ((next = slot_after(timetable, slot)) <= now)
	{
		slot = next;
		if (++*older == MAX_COUNTED)
			slot = slot_near(timetable, slot, now);
		*older = Min(*older, MAX_COUNTED);
		CHECK_FOR_INTERRUPTS();
	}
	return slot;
}

/* Inserts a run that is due now and takes it into memory. */
static void
insert_due_run(const Firing *firing, JobEntry *job, const char *source,
			   TimestampTz scheduled_for, int32 missed, ArrayType *keys)
{
	RunEntry   *entry;
	JsRun		run = {0};

	run.job_id = job->job_id;
	run.owner = job->owner;
	run.status = JS_RUN_QUEUED;
	run.source = source;
	run.missed_count = missed;
	run.keys = keys;
	run.run_at = scheduled_for == DT_NOBEGIN ? firing->now : scheduled_for;
	run.queued_at = firing->now;
	run.claimed_at = DT_NOBEGIN;
	run.scheduled_for = scheduled_for;
	(void) js_run_insert(firing->writer, &run);

	entry = sched_run_make(run.run_id, job);
	entry->run_at = run.run_at;
	sched_limits_attach(entry, keys);
	sched_run_place(entry, RUN_READY);
}

static void
skip_slot(JobEntry *job, TimestampTz slot, int32 missed)
{
	if (job->skipped == 0)
		job->skipped_first = slot;
	job->skipped += 1 + missed;
	job->skipped_last = slot;
}

static bool
slot_is_done(const JobEntry *job, TimestampTz slot)
{
	return slot <= job->done_before ||
		(slot >= job->done_from && slot <= job->last_slot);
}

/* The first slot after an instant that has not had its run. */
static TimestampTz
open_slot_after(const JobEntry *job, const Timetable *timetable, TimestampTz after)
{
	TimestampTz slot = slot_after(timetable, after);

	if (slot <= job->done_before)
		slot = slot_after(timetable, job->done_before);
	if (slot >= job->done_from && slot <= job->last_slot)
		slot = slot_after(timetable, job->last_slot);
	return slot;
}

/*
 * The slot is done, and so is every older one that was due.  Slots passed over
 * on the way to one beyond last_slot are what lies between two spans.
 */
static void
note_done(JobEntry *job, TimestampTz slot, int32 missed)
{
	if (slot <= job->last_slot)
		job->done_before = Max(job->done_before, slot);
	else
	{
		if (missed > 0)
		{
			job->done_before = Max(job->done_before, job->last_slot);
			job->done_from = slot;
		}
		job->last_slot = slot;
	}
}

/* A job and the slot that it moves on to. */
typedef struct Advance
{
	const JobEntry *job;
	TimestampTz next;
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
	sched_job_set_next(job, before->next_run_at);
}

/*
 * Moves a job on.  If somebody else holds the row of its state, perhaps a
 * prepared transaction, it is as it was before, and tried again later.
 */
static bool
advance(const Firing *firing, JobEntry *job, const JobEntry *before, TimestampTz next)
{
	Advance		to = {job, next};

	if (js_job_state_change(job->job_id, advance_state, &to))
	{
		sched_job_set_next(job, next);
		return true;
	}
	put_back(job, before);
	sched_job_hold_back(job, firing->now + USECS_PER_SEC);
	return false;
}

/* A slot that is late makes up for older ones, but for none that are done. */
static TimestampTz
newest_open_slot(const JobEntry *job, const Timetable *timetable, TimestampTz slot,
				 TimestampTz now, int32 *missed)
{
	TimestampTz limit = slot < job->done_from ? Min(now, job->done_from - 1) : now;

	*missed = 0;
	if (now - slot <= JS_MISFIRE_GRACE)
		return slot;
	return newest_slot(timetable, slot, limit, missed);
}

/*
 * Whether a run of the job has not ended yet.  A worker tells us of an end a
 * moment after its commit, and that is no overlap.
 */
static bool
has_live_run(JobEntry *job)
{
	dlist_iter	iter;
	JsRun		row;

	dlist_foreach(iter, &job->runs)
	{
		RunEntry   *run = dlist_container(RunEntry, job_node, iter.cur);

		if (run->live && (run->state != RUN_ASSIGNED || js_run_read(run->run_id, &row)))
			return true;
	}
	return false;
}

static void
fire_slot(const Firing *firing, JobEntry *job, const Timetable *timetable)
{
	JobEntry	before = *job;
	TimestampTz slot = job->next_run_at;
	bool		overlaps = job->live > 0 && has_live_run(job);
	int32		missed;

	if (slot_is_done(job, slot))
	{
		(void) advance(firing, job, &before, open_slot_after(job, timetable, slot));
		return;
	}
	slot = newest_open_slot(job, timetable, slot, firing->now, &missed);
	if (overlaps)
		skip_slot(job, slot, missed);
	note_done(job, slot, missed);
	if (advance(firing, job, &before, open_slot_after(job, timetable, slot)) && !overlaps)
		insert_due_run(firing, job, "schedule", slot, missed, timetable->keys);
}

/* The job's row, if the job is still one that fires. */
static bool
read_firing_job(JobEntry *job, JsJob *row)
{
	if (!js_job_read(job->job_id, row))
	{
		sched_job_set_next(job, DT_NOEND);
		return false;
	}
	sched_apply_job(row);
	return sched_job_fires(job);
}

static void
fire_job(const Firing *firing, JobEntry *job)
{
	Timetable	timetable;
	JsJob		row;

	if (!read_firing_job(job, &row) || job->next_run_at > firing->now)
		return;
	if (read_timetable(job, &row, &timetable))
		fire_slot(firing, job, &timetable);
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
 * A job that could not fire: if it is to blame it becomes invalid; else, with
 * a full disk for instance, it is tried again later.
 */
static void
put_off(JobEntry *job, const ErrorData *error, TimestampTz now)
{
	if (is_the_jobs_fault(error->sqlerrcode))
	{
		invalidate(job, error->message);
		return;
	}
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("job " INT64_FORMAT " could not fire: %s", job->job_id, error->message)));
	sched_tell_error(error->message);
	sched_job_hold_back(job, now + PUT_OFF_US);
}

/*
 * The same in a subtransaction.  Nothing that is known of should fail, but a
 * scheduler that ended with an error has a successor, which takes this way:
 * whatever is wrong with one job, the others go on.
 */
static void
fire_job_carefully(const Firing *firing, JobEntry *job)
{
	MemoryContext outer = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	JobEntry	before = *job;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(outer);
	PG_TRY();
	{
		fire_job(firing, job);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(outer);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(outer);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(outer);
		CurrentResourceOwner = owner;
		put_back(job, &before);
		put_off(job, error, firing->now);
	}
	PG_END_TRY();
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
 * A job that has had slots of a future that is now to come again.  What came
 * due by the right time while the clock was wrong was missed.
 */
static void
rewind_job(JobEntry *job, TimestampTz now)
{
	TimestampTz after = job->done_before == DT_NOBEGIN ? now - 1 : Min(job->done_before, now - 1);
	Timetable	timetable;
	JsJob		row;

	if (job->last_slot > now && read_firing_job(job, &row) &&
		read_timetable(job, &row, &timetable))
		sched_job_set_next(job, open_slot_after(job, &timetable, after));
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

/* Once in the life of a server: the jobs scheduled @startup. */
void
sched_fire_startup(TimestampTz now)
{
	Firing		firing = {now, js_run_writer_open()};
	ListCell   *lc;

	foreach(lc, sched.startup_jobs)
	{
		JobEntry   *job = sched_job_find(*(int64 *) lfirst(lc));
		Timetable	timetable;
		JsJob		row;

		if (job != NULL && sched_job_fires(job) && job->live == 0 &&
			read_firing_job(job, &row) && read_timetable(job, &row, &timetable))
			insert_due_run(&firing, job, "startup", DT_NOBEGIN, 0, timetable.keys);
	}
	js_run_writer_close(firing.writer);
	CommandCounterIncrement();
}
