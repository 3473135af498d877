/*-------------------------------------------------------------------------
 *
 * job_schedule.c
 *		When the schedule of a job starts.
 *
 * A session that changes the slots of a job writes that into the job's row:
 * another schedule_revision, and the first slot (first_run_at) that the
 * scheduler is to fire.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/job_schedule.h"
#include "api/schedule_sql.h"
#include "shmem/clock.h"

static pg_tz *
check_timezone(const char *name)
{
	pg_tz	   *tz = js_timezone_lookup(name);

	if (tz == NULL)
		js_timezone_refuse(name);
	return tz;
}

/* The first slot after an instant; DT_NOBEGIN: none. */
static TimestampTz
slot_after(const JsJob *job, const JsSchedule *schedule, pg_tz *tz, TimestampTz after)
{
	TimestampTz slot;

	after = js_schedule_slots_after(schedule, job->anchor, job->starts_at, after);
	if (!js_schedule_next(schedule, tz, job->anchor, after, &slot) ||
		(job->ends_at != DT_NOBEGIN && slot > job->ends_at))
		return DT_NOBEGIN;
	return slot;
}

static void
refuse_never(const JsJob *job, const JsSchedule *schedule, pg_tz *tz)
{
	TimestampTz slot;
	bool		past = !js_schedule_next(schedule, tz, job->anchor, js_clock_now(), &slot);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 past ? errmsg("schedule \"%s\" lies in the past", job->schedule) :
			 errmsg("schedule \"%s\" lies outside starts_at and ends_at", job->schedule)));
}

/* "every" counts from starts_at, or else from when it was said. */
static void
set_anchor(JsJob *job, const JsSchedule *schedule)
{
	if (schedule->kind == JS_SCHEDULE_EVERY && job->starts_at != DT_NOBEGIN)
		job->anchor = job->starts_at;
	else
		job->anchor = Min(job->anchor, js_clock_now());
}

/* Schedule and time zone are new: when is the first slot? */
void
js_job_begin_schedule(JsJob *job)
{
	JsSchedule	schedule;
	JsScheduleError error;
	pg_tz	   *tz = check_timezone(job->timezone);
	TimestampTz now = js_clock_now();

	job->schedule_revision++;
	job->anchor = now;
	job->first_run_at = DT_NOBEGIN;
	if (job->schedule == NULL)
		return;
	if (!js_schedule_parse(job->schedule, job->name, &schedule, &error))
		js_schedule_refuse(job->schedule, &error);
	set_anchor(job, &schedule);
	job->first_run_at = slot_after(job, &schedule, tz, now);
	if (job->first_run_at == DT_NOBEGIN && schedule.kind == JS_SCHEDULE_ONCE)
		refuse_never(job, &schedule, tz);
}

/*
 * The schedule is what it was, and is taken up after an instant.  One that
 * cannot be understood is left to the scheduler.
 */
void
js_job_restart_schedule(JsJob *job, TimestampTz after)
{
	JsSchedule	schedule;
	JsScheduleError error;
	pg_tz	   *tz = js_timezone_lookup(job->timezone);

	job->schedule_revision++;
	job->first_run_at = DT_NOBEGIN;
	if (job->schedule != NULL && tz != NULL &&
		js_schedule_parse(job->schedule, job->name, &schedule, &error))
	{
		set_anchor(job, &schedule);
		job->first_run_at = slot_after(job, &schedule, tz, after);
	}
}

/*
 * Bounds or max_runs are new.  A slot that is due and not yet seen to, perhaps
 * because the job is paused, is not lost.
 */
void
js_job_move_slots(JsJob *job)
{
	TimestampTz now = js_clock_now();
	TimestampTz pending = job->first_run_at;
	JsJobState	state;

	if (js_job_state_read(job->job_id, &state) && state.schedule_revision == job->schedule_revision)
		pending = state.next_run_at;
	js_job_restart_schedule(job, pending == DT_NOBEGIN ? now : Min(pending - 1, now));
}
