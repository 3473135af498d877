/*-------------------------------------------------------------------------
 *
 * step_names.c
 *		How a step is called: as a job, and in the context of an error.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/steps.h"

/* The name of the job that a step is. */
char *
js_step_job_name(const JsJob *workflow, const char *step)
{
	return psprintf("%s.%s", workflow->name, step);
}

/* Callback of the error context. */
void
js_step_path_tell(void *arg)
{
	const JsStepPath *path = arg;
	char	   *place = path->index < 0 ? NULL :
		psprintf("steps[%d]%s%s%s", path->index, path->undoes ? ".undo" : "", path->key ? "." : "",
				 path->key ? path->key : "");

	if (path->step != NULL && place != NULL)
		errcontext("step \"%s\" (%s)", path->step, place);
	else if (path->step != NULL)
		errcontext("step \"%s\"", path->step);
	else if (place != NULL)
		errcontext("%s", place);
}
