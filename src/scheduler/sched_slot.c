/*-------------------------------------------------------------------------
 *
 * sched_slot.c
 *		Which slots a job has, which are done, and which is next.
 *
 * A job's slots are the instants of its schedule from starts_at to ends_at.
 * Each is done once: it has had its run, or is counted in a row of history.
 * The job remembers which slots are done, so that they do not come again when
 * the clock is set back or the schedule is set anew.
 *
 * Usually all up to last_slot are done.  When slots were passed over (a
 * misfire) there are two spans: all up to done_before, and from done_from to
 * last_slot.  If they were passed over because the clock was ahead, and the
 * clock is corrected, the slots in between come for the first time, and get
 * their runs.
 *
 * Nothing here reads or writes a table.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "scheduler/sched.h"
#include "utils/syscache.h"

/* Slots counted one by one at most; more are counted as this many. */
#define MAX_COUNTED 10000

/* ------------------------------------------------------------------------
 * The timetable
 * ------------------------------------------------------------------------
 */

/* Returns what is wrong if what is in the row cannot be understood, else NULL. */
const char *
sched_timetable_read(const JsJob *row, SchedTimetable *timetable)
{
	JsScheduleError error;

	timetable->anchor = row->anchor;
	timetable->starts_at = row->starts_at;
	timetable->ends_at = row->ends_at == DT_NOBEGIN ? DT_NOEND : row->ends_at;
	if (row->schedule == NULL ||
		!js_schedule_parse(row->schedule, row->name, &timetable->schedule, &error))
		return psprintf("invalid schedule: %s", row->schedule ? error.message : "none");
	if ((timetable->tz = js_timezone_lookup(row->timezone)) == NULL)
		return psprintf("time zone \"%s\" does not exist", row->timezone);
	if (!OidIsValid(row->owner))
		return "the owner has been dropped";
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(row->owner)))
		return psprintf("the owner, role with OID %u, does not exist", row->owner);
	return NULL;
}

static TimestampTz
slot_after(const SchedTimetable *timetable, TimestampTz after)
{
	TimestampTz next;

	after = js_schedule_slots_after(&timetable->schedule, timetable->anchor, timetable->starts_at, after);
	if (!js_schedule_next(&timetable->schedule, timetable->tz, timetable->anchor, after, &next) ||
		next > timetable->ends_at)
		return DT_NOEND;
	return next;
}

/* ------------------------------------------------------------------------
 * What is done
 * ------------------------------------------------------------------------
 */

bool
sched_slot_is_done(const JobEntry *job, TimestampTz slot)
{
	return slot <= job->done_before ||
		(slot >= job->done_from && slot <= job->last_slot);
}

/* The first slot after an instant that is not done; DT_NOEND: none. */
TimestampTz
sched_open_slot_after(const JobEntry *job, const SchedTimetable *timetable, TimestampTz after)
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
void
sched_note_done(JobEntry *job, TimestampTz slot, int32 passed_over)
{
	if (slot <= job->last_slot)
	{
		job->done_before = Max(job->done_before, slot);
		return;
	}
	if (passed_over > 0)
	{
		job->done_before = Max(job->done_before, job->last_slot);
		job->done_from = slot;
	}
	job->last_slot = slot;
}

/* ------------------------------------------------------------------------
 * What is due
 * ------------------------------------------------------------------------
 */

/* Whether there are so many open slots from one up to a limit. */
static bool
has_slots(const JobEntry *job, const SchedTimetable *timetable,
		  TimestampTz slot, TimestampTz limit, int wanted)
{
	while (slot <= limit && --wanted > 0)
		slot = sched_open_slot_after(job, timetable, slot);
	return slot <= limit;
}

/*
 * An open slot not long before the limit from which the newest ones can be
 * reached in few steps: looks back further and further.
 */
static TimestampTz
slot_near(const JobEntry *job, const SchedTimetable *timetable,
		  TimestampTz oldest, TimestampTz limit, int keep)
{
	for (int64 back = USECS_PER_SEC; limit - back > oldest; back *= 2)
	{
		TimestampTz slot = sched_open_slot_after(job, timetable, limit - back);

		if (has_slots(job, timetable, slot, limit, keep))
			return slot;
		CHECK_FOR_INTERRUPTS();
	}
	return oldest;
}

/*
 * The open slots from the first one, which is due, up to a limit: the newest of
 * them, and how many older ones there are.  There may be slots in between that
 * are done: then those before and after these were missed together.
 */
void
sched_collect_slots(const JobEntry *job, const SchedTimetable *timetable, TimestampTz first,
					TimestampTz limit, int keep, SchedSlots *found)
{
	TimestampTz ring[SCHED_MAX_MADE_UP];
	int64		n = 0;

	found->older = 0;
	found->last_older = DT_NOBEGIN;
	for (TimestampTz slot = first; slot <= limit; slot = sched_open_slot_after(job, timetable, slot))
	{
		if (n == MAX_COUNTED)
			slot = slot_near(job, timetable, slot, limit, keep);
		if (n >= keep)
		{
			found->older = Min(found->older + 1, MAX_COUNTED);
			found->last_older = ring[n % keep];
		}
		ring[n++ % keep] = slot;
		CHECK_FOR_INTERRUPTS();
	}
	found->count = Min(n, keep);
	for (int i = 0; i < found->count; i++)
		found->slots[i] = ring[(n - found->count + i) % keep];
}

/* ------------------------------------------------------------------------
 * Jitter
 * ------------------------------------------------------------------------
 */

/*
 * How much later than its slot a run starts: from 0 to less than jitter, and
 * always the same, so that a slot fired again after a crash is put off to the
 * same instant.
 */
int64
sched_jitter(int64 job_id, TimestampTz slot, int64 jitter)
{
	int64		key[2] = {job_id, slot};

	if (jitter <= 0)
		return 0;
	return hash_bytes_extended((const unsigned char *) key, sizeof(key), 0) % (uint64) jitter;
}
