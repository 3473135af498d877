/*-------------------------------------------------------------------------
 *
 * clock.c
 *		What time it is, and how long until.
 *
 * All that decides what is due, and every time that is recorded, comes from
 * here, so that a test can put a month of schedules through in a second: it
 * sets the clock of the whole cluster with jobsched_set_clock(), which no
 * SQL object of the extension refers to.  (To declare it one has to be able
 * to create C functions.)  A mocked clock stands still between settings.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "fmgr.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_set_clock);
PG_FUNCTION_INFO_V1(jobsched_clock_now);

/* Reads the mock; false when the clock is the real one. */
static bool
read_mock(TimestampTz *now)
{
	bool		mocked;

	/* A stale read of the flag only matters to a test that races itself. */
	if (!js->clock_mocked)
		return false;
	SpinLockAcquire(&js->clock_mutex);
	mocked = js->clock_mocked;
	*now = js->clock_now;
	SpinLockRelease(&js->clock_mutex);
	return mocked;
}

TimestampTz
js_clock_now(void)
{
	TimestampTz now;

	return read_mock(&now) ? now : GetCurrentTimestamp();
}

/*
 * Milliseconds to sleep until an instant, rounded up, from 0 to at_most.  A
 * mocked clock moves only when it is set, and who sets it wakes the sleepers.
 */
long
js_clock_ms_until(TimestampTz when, long at_most)
{
	TimestampTz now;
	int64		us;

	if (read_mock(&now))
		return when <= now ? 0 : at_most;
	now = GetCurrentTimestamp();
	if (when <= now)
		return 0;
	if (pg_sub_s64_overflow(when, now, &us) || us / 1000 >= at_most)
		return at_most;
	return (long) ((us + 999) / 1000);
}

/* jobsched_set_clock(timestamptz): NULL gives the real clock back. */
Datum
jobsched_set_clock(PG_FUNCTION_ARGS)
{
	SpinLockAcquire(&js->clock_mutex);
	js->clock_mocked = !PG_ARGISNULL(0);
	js->clock_now = PG_ARGISNULL(0) ? 0 : PG_GETARG_TIMESTAMPTZ(0);
	SpinLockRelease(&js->clock_mutex);
	js_databases_wake();
	PG_RETURN_VOID();
}

Datum
jobsched_clock_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(js_clock_now());
}
