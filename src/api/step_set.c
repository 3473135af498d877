/*-------------------------------------------------------------------------
 *
 * step_set.c
 *		Sets of steps: the rows of a job's steps.
 *
 * Each definition of the steps of a job is a set of rows, with a revision; the
 * job's row names the one in force.  A run of the job has the steps that are in
 * force when it is executed, and keeps them: so a new set is put beside the old
 * one, which the scheduler marks as dropped when no run has to do with it any
 * more (sched_steps.c).  Until then all of them have the owner and the name of
 * their job, and are paused with it.
 *
 * Whoever changes the rows has locked that of the job before.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/job_definition.h"
#include "api/steps.h"
#include "miscadmin.h"

/* The set that the row of the job has named as the one in force. */
void
js_step_set_write(const JsJob *workflow, List *steps)
{
	ListCell   *lc;

	foreach(lc, steps)
	{
		JsJob	   *step = lfirst(lc);

		step->created_at = step->updated_at = workflow->updated_at;
		step->workflow_id = workflow->job_id;
		step->steps_revision = workflow->steps_revision;
		js_job_insert(step);
		CHECK_FOR_INTERRUPTS();
	}
}

/* With the checks of who gives a job to another role. */
static void
give_to(JsJob *step, Oid owner)
{
	JsStepPath	path = {.step = step->step,.index = -1};
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = js_step_path_tell,
		.arg = &path
	};
	JsJobDefinition def = {.args.job.owner = owner};

	js_http_nothing_given(&def.http);
	def.args.given[JS_JOB_OWNER] = true;
	error_context_stack = &context;
	js_job_definition_apply(&def, step);
	error_context_stack = context.previous;
}

/* The scheduler may have dropped it, or have changed the name of its owner. */
static void
follow(int64 step_id, const JsJob *workflow)
{
	JsJob		step;

	js_job_lock(step_id);
	if (!js_job_read(step_id, &step) || step.dropped_at != DT_NOBEGIN)
		return;
	if (step.owner != workflow->owner)
		give_to(&step, workflow->owner);
	step.name = js_step_job_name(workflow, step.step);
	step.paused = workflow->paused;
	step.pause_reason = workflow->pause_reason;
	step.home = workflow->home;
	step.revision++;
	step.updated_at = workflow->updated_at;
	js_job_update(&step);
}

/*
 * The row of the job has been written: what it has in common with its steps is
 * written into theirs.
 */
void
js_step_sets_follow(const JsJob *before, const JsJob *workflow)
{
	ListCell   *lc;

	if (workflow->steps_revision == 0 ||
		(before->owner == workflow->owner && strcmp(before->name, workflow->name) == 0 &&
		 before->paused == workflow->paused &&
		 memcmp(&before->home, &workflow->home, sizeof(pg_uuid_t)) == 0))
		return;
	foreach(lc, js_steps_live(workflow->job_id))
	{
		follow(((JsStepId *) lfirst(lc))->job_id, workflow);
		CHECK_FOR_INTERRUPTS();
	}
}
