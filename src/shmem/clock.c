/*-------------------------------------------------------------------------
 *
 * clock.c
 *		The current time, and waiting times.
 *
 * Everything that decides what is due, and every time that is recorded, comes
 * from here.  So a test can run a month of schedules in a second: it sets the
 * clock of the whole cluster (clock_sql.c).  A clock that a test has set stands
 * still until it is set again.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "utils/timestamp.h"

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

/* Has the clock of the whole cluster stand still; or, not mocked, gives the real one back. */
void
js_clock_set(bool mocked, TimestampTz now)
{
	SpinLockAcquire(&js->clock_mutex);
	js->clock_mocked = mocked;
	js->clock_now = now;
	SpinLockRelease(&js->clock_mutex);
}
