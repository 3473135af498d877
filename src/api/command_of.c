/*-------------------------------------------------------------------------
 *
 * command_of.c
 *		What a run has executed, for the views: the command of its job as it was.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "fmgr.h"
#include "store/store.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(jobsched_command_of);

/*
 * NULL if there was none, it is not known any more, or it is not for the caller: who may see
 * the job now, and whose it was then.
 */
Datum
jobsched_command_of(PG_FUNCTION_ARGS)
{
	int64		job_id = PG_GETARG_INT64(0);
	JsJob		job;
	bool		current;
	char	   *command;
	Oid			owner;

	if (!js_job_read(job_id, &job) || !js_may_see(job.owner))
		PG_RETURN_NULL();
	command = js_command_find(job_id, PG_GETARG_INT64(1), &owner, &current);
	if (current)
		command = job.command;
	else if (!js_may_see(owner))
		command = NULL;
	if (command == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(command));
}
