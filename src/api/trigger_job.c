/*-------------------------------------------------------------------------
 *
 * trigger_job.c
 *		trigger_job(), the trigger that starts a job.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/table_trigger.h"

PG_FUNCTION_INFO_V1(jobsched_trigger_job);

static int
check_arguments(const Trigger *trigger)
{
	if (trigger->tgnargs < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\" gives trigger_job() no arguments", trigger->tgname),
				 errhint("They are the name of a job, and options such as 'columns=id,kind'.")));
	return 1;
}

static void
find_job(JsTableTrigger *table_trigger)
{
	(void) check_arguments(table_trigger->trigger);
	js_table_trigger_find_job(table_trigger, false);
}

const JsTriggerKind js_trigger_job_kind = {
	.function = "trigger_job",
	.for_owner = true,
	.check_arguments = check_arguments,
	.find_job = find_job,
	.make_run = js_table_trigger_make_run
};

/* Its first argument is the name of a job, which is the table's owner's. */
Datum
jobsched_trigger_job(PG_FUNCTION_ARGS)
{
	return js_table_trigger_fire(&js_trigger_job_kind, fcinfo);
}
