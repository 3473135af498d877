/*-------------------------------------------------------------------------
 *
 * sched_plan.c
 *		Runs on their way to workers: planned, claimed, delivered.
 *
 * A run is delivered only after its claim has committed, so a row that says
 * running is evidence for a successor.  Between claim and delivery a run is in
 * no seat.  If the scheduler dies there, it leaves a row of this boot id whose
 * run is in no seat, and its successor delivers that run.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* How long after a crash the next one is expected. */
#define SUSPICION_US (10 * 60 * USECS_PER_SEC)

static RunEntry *planned[SCHED_MAX_CLAIMS];
static int	planned_count = 0;

void
sched_plan_nothing(void)
{
	planned_count = 0;
}

/* How many more may be planned in this step. */
int
sched_plan_room(void)
{
	return SCHED_MAX_CLAIMS - planned_count;
}

/* A ready run is to go to a worker. */
void
sched_plan(RunEntry *run, int seatno)
{
	sched_run_place(run, RUN_ASSIGNED);
	run->seat = seatno;
	planned[planned_count++] = run;
}

/*
 * The claim of a run that leaves no trace outside its transaction need not be
 * durable: if it is lost with the server, so is all that the run did.  But a
 * run that brings the server down each time must be counted, however quick it
 * is: after a crash all claims are durable for a while.
 */
static bool
must_be_durable(const RunEntry *run)
{
	return !sched_run_is_transactional(run) ||
		(js->crashed_at != 0 && GetCurrentTimestamp() - js->crashed_at < SUSPICION_US);
}

static bool
claim(JsRunWriter *writer, RunEntry *run, TimestampTz now)
{
	if (!js_run_claim(writer, run->run_id, run->owner->owner, run->attempt + 1,
					  sched_run_is_transactional(run),
					  run->job->delay > 0 ? run->run_at : DT_NOBEGIN, now))
		return false;
	run->attempt++;
	run->claimed = true;
	run->since = now;
	sched_limits_pay(run);
	if (must_be_durable(run))
		sched_commit_durably();
	return true;
}

/* A row that somebody else holds waits a second; one that is gone is gone. */
static void
put_aside(RunEntry *run)
{
	JsRun		row;

	if (!js_run_read_head(run->run_id, &row))
	{
		sched_run_forget(run);
		return;
	}
	sched_run_put_off(run);
}

void
sched_claim(TimestampTz now)
{
	MemoryContext scratch;
	MemoryContext outer;
	JsRunWriter *writer;
	int			kept = 0;

	if (planned_count == 0)
		return;
	writer = js_run_writer_open();
	scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched claim",
									ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(scratch);
	for (int i = 0; i < planned_count; i++)
	{
		if (planned[i]->claimed || claim(writer, planned[i], now))
			planned[kept++] = planned[i];
		else
			put_aside(planned[i]);
		MemoryContextReset(scratch);
	}
	planned_count = kept;
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
	js_run_writer_close(writer);
	sched_limits_save();
}

static bool
deliver_request(RunEntry *run, const JsMail *mail)
{
	run->flight = js_flight_deliver(run->seat, sched.seats[run->seat].generation, mail);
	return run->flight >= 0;
}

static bool
deliver(RunEntry *run)
{
	JsMail		mail = {0};

	mail.run_id = run->run_id;
	mail.job_id = run->job->job_id;
	mail.owner = run->owner->owner;
	mail.revision = run->job->revision;
	mail.attempt = run->attempt;
	mail.timeout = sched_timeout(run);
	if (sched_is_http_seat(run->seat))
		return deliver_request(run, &mail);
	/* A timeout is for one run, and so is its transaction. */
	mail.shares = run->job->shares && !run->callback && !run->maps && mail.timeout == 0;
	sched_note_timeout(&sched.seats[run->seat], mail.timeout);
	return js_seat_deliver(run->seat, sched.seats[run->seat].generation, &mail);
}

/* One wake-up for each worker, after it has all its mail. */
static void
wake_workers(void)
{
	for (int i = 0; i < js->total_seats; i++)
		if (sched.seats[i].has_mail)
		{
			js_seat_wake(i);
			sched.seats[i].has_mail = false;
		}
}

void
sched_deliver(void)
{
	for (int i = 0; i < planned_count; i++)
	{
		RunEntry   *run = planned[i];

		if (deliver(run))
			sched.seats[run->seat].has_mail = true;
		else
			sched_run_wait(run, js_clock_now());
	}
	planned_count = 0;
	wake_workers();
}
