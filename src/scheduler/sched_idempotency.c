/*-------------------------------------------------------------------------
 *
 * sched_idempotency.c
 *		Deletes idempotency keys that have expired.
 *
 * Nothing depends on when that happens: trigger() treats an expired key as one
 * that no run holds.  So at the start and then with each sweep the scheduler
 * reads the expired keys by an index, a few rows in a step, with a pause
 * between steps, until it has seen all.
 *
 * Keys of runs that have not ended stay, and so do those of jobs whose home is
 * elsewhere.  Keys of roles' requests stay if there is any such job.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "utils/timestamp.h"

/* Rows looked at in one step, so that a step stays short. */
#define MAX_EXPIRED 256

/* Between two such steps. */
#define PAUSE_US (20 * 1000)

/* Where the next step goes on; DT_NOEND: it is through. */
static TimestampTz position = DT_NOBEGIN;
static TimestampTz next_step = 0;	/* by the real clock */

/* Once more from the oldest. */
void
sched_begin_expiry(void)
{
	position = DT_NOBEGIN;
	next_step = 0;
}

static bool
may_go(const JsKeptKey *kept)
{
	const JobEntry *job = sched_job_find(kept->job_id);
	bool		away = kept->job_id == 0 ? sched.asleep_count > 0 : job != NULL && job->asleep;
	JsRun		run;

	return !away && !js_run_see_head(kept->run_id, &run);
}

/* When the next step is to be made, by the real clock. */
TimestampTz
sched_expiry_deadline(void)
{
	return position == DT_NOEND ? DT_NOEND : next_step;
}

bool
sched_keys_expire_now(void)
{
	TimestampTz now = GetCurrentTimestamp();

	return position != DT_NOEND && (now >= next_step || next_step - now > PAUSE_US);
}

void
sched_expire_keys(TimestampTz now)
{
	if (!js_idempotency_expire(&position, now, MAX_EXPIRED, may_go))
		position = DT_NOEND;
	next_step = GetCurrentTimestamp() + PAUSE_US;
}
