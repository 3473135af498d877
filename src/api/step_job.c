/*-------------------------------------------------------------------------
 *
 * step_job.c
 *		Steps that run other jobs, as they are defined.
 *
 * run/step_job.c has the design.  The definition has the name of the job, and so has
 * the step's row: dumps know nothing else, and a job that is created anew by its name
 * is what is meant.
 *
 * No job is a step of itself, be it by way of others.  That is looked at whenever a
 * job made of steps is defined, or gets another name or owner: a job that is in a
 * circle has steps.  The rows of the jobs that are come upon are locked until the end
 * of the transaction, so that sessions do not make a circle together.  (If one is made
 * all the same, past the functions, its runs end at the limit of generations.)
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/step_job.h"
#include "api/steps.h"
#include "compat.h"
#include "http/channel.h"
#include "run/http_job.h"
#include "miscadmin.h"

/* What a step with job can have of what is a parameter of create_job(). */
void
js_step_job_check_key(const char *key)
{
	static const char *const keys[] = {"args", "on_success", "on_failure", "description", "metadata"};

	for (int i = 0; i < lengthof(keys); i++)
		if (strcmp(keys[i], key) == 0)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a step with \"job\" cannot have \"%s\"", key),
			 errhint("What the job executes, and how, is said where it is defined: alter_job().")));
}

/* A job of this owner, locked; that may be no longer called so when its row is ours. */
static bool
find_locked(Oid owner, const char *name, JsJob *job)
{
	int64		locked = 0;

	while (js_job_find(owner, name, job))
	{
		if (job->job_id == locked)
			return true;
		locked = job->job_id;
		js_job_lock(locked);
	}
	return false;
}

pg_noreturn static void
refuse_circle(const JsJob *workflow, const char *by)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 by == NULL ? errmsg("job \"%s\" cannot be a step of itself", workflow->name) :
			 errmsg("job \"%s\" would be a step of itself, by way of job \"%s\"", workflow->name, by),
			 errhint("Take one of these out of the steps of another; a run can queue runs of its own job with trigger().")));
}

/* Jobs whose steps are yet to be looked at. */
typedef struct Walk
{
	const JsJob *workflow;
	HTAB	   *seen;			/* their ids, and those of others that have
								 * been */
	List	   *left;			/* JsJob pointers */
} Walk;

static void
come_upon(Walk *walk, const JsJob *job)
{
	bool		found;
	JsJob	   *copy;

	(void) hash_search(walk->seen, &job->job_id, HASH_ENTER, &found);
	if (found || !job->has_steps)
		return;
	copy = palloc(sizeof(JsJob));
	*copy = *job;
	walk->left = lappend(walk->left, copy);
}

/* A name that is nobody's leads to nobody. */
static void
look_at(Walk *walk, const JsJob *at)
{
	ListCell   *lc;

	foreach(lc, js_steps_read(at->job_id, at->steps_revision))
	{
		const JsJob *step = lfirst(lc);
		JsJob		job;

		CHECK_FOR_INTERRUPTS();
		if (step->step_job == NULL)
			continue;
		if (strcmp(step->step_job, walk->workflow->name) == 0)
			refuse_circle(walk->workflow, at->name);
		if (find_locked(walk->workflow->owner, step->step_job, &job))
			come_upon(walk, &job);
	}
}

static HTAB *
make_seen(void)
{
	HASHCTL		control = {
		.keysize = sizeof(int64),
		.entrysize = sizeof(int64),
		.hcxt = CurrentMemoryContext
	};

	return hash_create("jobsched jobs of steps", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * A step of the workflow names a job.  *seen: jobs that have been looked at for other
 * steps; NULL: none.
 */
void
js_step_job_check(const JsJob *workflow, const char *name, HTAB **seen)
{
	Walk		walk = {.workflow = workflow};
	JsJob		job;

	if (strcmp(name, workflow->name) == 0)
		refuse_circle(workflow, NULL);
	if (!find_locked(workflow->owner, name, &job))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" does not exist", name),
				 errhint("Name a job of the same owner.")));
	if (js_http_job_is_bare(&job))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job \"%s\" has no request of its own", job.name),
				 js_job_is_channel(&job) ? errhint("%s", js_http_bare_hint(&job)) : errhint("Give the step a url.")));
	if (*seen == NULL)
		*seen = make_seen();
	walk.seen = *seen;
	come_upon(&walk, &job);
	while (walk.left != NIL)
	{
		const JsJob *at = llast(walk.left);

		walk.left = list_delete_last(walk.left);
		look_at(&walk, at);
	}
}

/* The job keeps its steps; with another name or owner that may not be. */
void
js_step_jobs_check(const JsJob *before, const JsJob *workflow)
{
	JsStepPath	path = {.index = -1,.key = "job"};
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = js_step_path_tell,
		.arg = &path
	};
	HTAB	   *seen = NULL;
	ListCell   *lc;

	if (before->owner == workflow->owner && strcmp(before->name, workflow->name) == 0)
		return;
	error_context_stack = &context;
	foreach(lc, js_steps_read(workflow->job_id, workflow->steps_revision))
	{
		const JsJob *step = lfirst(lc);

		path.step = step->step;
		if (step->step_job != NULL)
			js_step_job_check(workflow, step->step_job, &seen);
	}
	error_context_stack = context.previous;
}
