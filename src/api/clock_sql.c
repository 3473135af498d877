/*-------------------------------------------------------------------------
 *
 * clock_sql.c
 *		The clock for SQL: setting it, in tests.
 *
 * No SQL object of the extension refers to jobsched_set_clock(); declaring it
 * needs the right to create C functions.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_set_clock);
PG_FUNCTION_INFO_V1(jobsched_clock_now);

/* jobsched_set_clock(timestamptz): NULL gives the real clock back. */
Datum
jobsched_set_clock(PG_FUNCTION_ARGS)
{
	js_clock_set(!PG_ARGISNULL(0), PG_ARGISNULL(0) ? 0 : PG_GETARG_TIMESTAMPTZ(0));
	js_databases_wake();
	PG_RETURN_VOID();
}

Datum
jobsched_clock_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(js_clock_now());
}
