/*-------------------------------------------------------------------------
 *
 * hide.c
 *		Statements that have secrets in them.
 *
 * Before anything can fail, a function whose arguments are secret replaces the
 * text that pg_stat_activity and the log show as the statement.  It also has to see
 * to it that errors get no context, which may quote it.  Neither influences
 * log_statement, log_min_duration_statement, and a statement that fails before it is
 * executed.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/hide.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"

/* As others see it from now on; shown is a literal. */
void
js_hide_statement(const char *shown)
{
	debug_query_string = shown;
	pgstat_report_activity(STATE_RUNNING, shown);
}
