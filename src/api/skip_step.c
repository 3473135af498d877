/*-------------------------------------------------------------------------
 *
 * skip_step.c
 *		skip_step(): lets a step of a workflow run end as skipped.
 *
 * As cancel_run() it inserts a row of run_stop.  The scheduler holds the step back as
 * soon as it has read the row, and ends it; one that has been claimed by then goes on
 * (sched_cancel.c).  What comes after it is decided as for any run that waits.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "base/sqlstate.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "shmem/wakeup.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(jobsched_skip_step);

/* Runs that live are looked up by so many at a time. */
#define AT_A_TIME 100

typedef struct Search
{
	int64		workflow_id;	/* the job that is made of steps */
	const char *name;
	JsRun		found;			/* head of the step's run; its id is 0: none */
	MemoryContext scratch;
} Search;

static bool
is_meant(const Search *search, const JsRun *head)
{
	MemoryContext outer = MemoryContextSwitchTo(search->scratch);
	JsJob		step;
	bool		is_it = js_job_read_head(head->job_id, &step) && step.workflow_id == search->workflow_id &&
		step.step != NULL && strcmp(step.step, search->name) == 0;

	MemoryContextSwitchTo(outer);
	MemoryContextReset(search->scratch);
	return is_it;
}

static bool
find_live(Search *search, int64 run_id)
{
	int64		ids[AT_A_TIME];
	int64		from = 0;
	int			count;

	do
	{
		count = js_runs_children(run_id, from, ids, AT_A_TIME);
		for (int i = 0; i < count; i++)
		{
			if (js_run_see_head(ids[i], &search->found) && is_meant(search, &search->found))
				return true;
			from = ids[i] + 1;
			CHECK_FOR_INTERRUPTS();
		}
	} while (count == AT_A_TIME);
	search->found.run_id = 0;
	return false;
}

static bool
note_ended(const JsRun *head, JsStatus status, void *arg)
{
	Search	   *search = arg;

	if (search->found.run_id == 0 && is_meant(search, head))
		search->found = *head;
	return search->found.run_id == 0;
}

static bool
find_ended(Search *search, int64 run_id)
{
	for (int ring = 0; ring <= JS_RINGS && search->found.run_id == 0; ring++)
		js_history_visit_children(run_id, ring, note_ended, search);
	return search->found.run_id != 0;
}

pg_noreturn static void
refuse_step(const char *step, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(JS_ERRCODE_STATE),
			 errmsg("step \"%s\" %s", step, what),
			 hint ? errhint("%s", hint) : 0));
}

pg_noreturn static void
refuse_run(int64 run_id, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(JS_ERRCODE_STATE),
			 errmsg("run " INT64_FORMAT " %s", run_id, what),
			 hint ? errhint("%s", hint) : 0));
}

/* A run that lives and that the caller may cancel. */
static void
find_workflow_run(int64 run_id, JsRun *run)
{
	JsRun		ended;
	JsOutcome	outcome;
	bool		live = js_run_see_head(run_id, run);

	if ((!live && !js_history_find(run_id, &ended, &outcome)) ||
		!js_may_manage_run(live ? run : &ended))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("run " INT64_FORMAT " does not exist", run_id)));
	if (!live)
		refuse_run(run_id, "has ended", NULL);
}

pg_noreturn static void
refuse_unknown(const JsRun *run, const char *step)
{
	JsJob		job;

	if (!js_job_read_head(run->job_id, &job) || job.steps_revision == 0 || job.workflow_id != 0)
		refuse_run(run->run_id, "is not of a job made of steps",
				   run->source == JS_SOURCE_STEP ? "Give the workflow run, which is its parent, and the step's name." : NULL);
	if (run->status != JS_RUN_WAITING)
		refuse_run(run->run_id, "has not begun, and has no steps yet", "Wait until it has begun, or alter its job.");
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("step \"%s\" does not exist", step),
			 errhint("View steps shows the steps of run " INT64_FORMAT ".", run->run_id)));
}

Datum
jobsched_skip_step(PG_FUNCTION_ARGS)
{
	int64		run_id = PG_GETARG_INT64(0);
	char	   *step = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Search		search = {.name = step};
	JsStop		stop = {.kind = JS_STOP_SKIP};
	JsRun		run;

	js_check_may_write("skip_step()");
	find_workflow_run(run_id, &run);
	search.workflow_id = run.job_id;
	search.scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched skip", ALLOCSET_DEFAULT_SIZES);
	if (!find_live(&search, run_id))
	{
		if (find_ended(&search, run_id))
			refuse_step(step, "has ended", NULL);
		refuse_unknown(&run, step);
	}
	if (search.found.status != JS_RUN_QUEUED || search.found.attempt > 0)
		refuse_step(step, "has started",
					psprintf("Use cancel_run(" INT64_FORMAT ") to end it.", search.found.run_id));
	stop.run_id = search.found.run_id;
	js_wakeup_stop(js_stop_insert(&stop));
	MemoryContextDelete(search.scratch);
	PG_RETURN_INT64(stop.run_id);
}
