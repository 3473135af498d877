/*-------------------------------------------------------------------------
 *
 * processing.c
 *		Stops and starts all processing of this database.
 *
 * A column of identity says that processing is stopped.  It belongs to this
 * database, lasts across restarts, and is part of neither a dump nor a logical
 * replica.  The scheduler is notified at commit.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "fmgr.h"
#include "shmem/clock.h"
#include "shmem/wakeup.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(jobsched_stop_processing);
PG_FUNCTION_INFO_V1(jobsched_start_processing);

static void
set_stopped(const char *function, TimestampTz at)
{
	js_check_may_write(function);
	js_check_owns_database();
	js_stopped_set(at);
	js_wakeup_processing();
}

Datum
jobsched_stop_processing(PG_FUNCTION_ARGS)
{
	set_stopped("stop_processing()", js_clock_now());
	PG_RETURN_VOID();
}

Datum
jobsched_start_processing(PG_FUNCTION_ARGS)
{
	set_stopped("start_processing()", DT_NOBEGIN);
	PG_RETURN_VOID();
}
