/*-------------------------------------------------------------------------
 *
 * explain_steps.c
 *		explain_steps(): the steps of a job in their order, in words.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "base/arguments.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "store/store_names.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_explain_steps);

#define COLUMNS 7

/* Steps that a sentence names, at most. */
#define MOST_NAMED 5

typedef struct Explained
{
	const JsJob *job;
	const JsJob **steps;		/* by place, from 0 */
	int			count;
	const int32 *after;			/* places, from 1 */
	int			nafter;
} Explained;

/* Somebody may have spoilt the rows. */
static const char *
name_of(const JsJob *step)
{
	return step->step != NULL ? step->step : "?";
}

static const char *
name_at(const Explained *step, int32 place)
{
	return place >= 1 && place <= step->count ? name_of(step->steps[place - 1]) : "?";
}

/* "a", "b" and "c" */
static char *
list_after(const Explained *step)
{
	StringInfoData list;
	int			named = step->nafter <= MOST_NAMED ? step->nafter : MOST_NAMED - 1;

	initStringInfo(&list);
	for (int i = 0; i < named; i++)
		appendStringInfo(&list, "%s\"%s\"",
						 i == 0 ? "" : i == step->nafter - 1 ? " and " : ", ",
						 name_at(step, step->after[i]));
	if (named < step->nafter)
		appendStringInfo(&list, " and %d others", step->nafter - named);
	return list.data;
}

static char *
condition_of(const Explained *step)
{
	char	   *after = list_after(step);
	bool		one = step->nafter == 1;

	switch (step->job->step_when)
	{
		case JS_AFTER_SUCCESS:
			return psprintf("when %s %s succeeded", after, one ? "has" : "have");
		case JS_AFTER_FAILURE:
			return one ? psprintf("when %s has failed", after) :
				psprintf("when %s have ended and one of them has failed", after);
		case JS_AFTER_DONE:
			return psprintf("when %s %s ended, whatever became of %s", after, one ? "has" : "have",
							one ? "it" : "them");
		case JS_AFTER_ALWAYS:
			return psprintf("when %s %s ended, whatever became of %s, also if the run is cancelled", after,
							one ? "has" : "have", one ? "it" : "them");
		case JS_AFTER_UNDO:
		case JS_AFTER_NOTHING:
			break;
	}
	return pstrdup("at once");
}

static const char *
kind_of(const JsJob *job)
{
	return job->step_job != NULL ? "job" : job->request != NULL ? "http" : job->handler != NULL ? "function" : "sql";
}

static const char *
verb_of(const JsJob *job)
{
	if (job->step_job != NULL)
		return psprintf("Runs job \"%s\"", job->step_job);
	return job->request != NULL ? "Sends its request" : job->handler != NULL ? "Calls its function" :
		"Executes its command";
}

/* , and events "x" and "y" have come */
static const char *
events_of(const JsJob *job, bool at_once)
{
	StringInfoData list;
	int			count;
	char	  **names = js_event_names(job->step_wait_for, &count);
	int			named = count <= MOST_NAMED ? count : MOST_NAMED - 1;

	if (count == 0)
		return "";
	initStringInfo(&list);
	appendStringInfo(&list, "%s %s", at_once ? "when" : ", and", count == 1 ? "event" : "events");
	for (int i = 0; i < named; i++)
		appendStringInfo(&list, "%s\"%s\"", i == 0 ? " " : i == count - 1 ? " and " : ", ", names[i]);
	if (named < count)
		appendStringInfo(&list, " and %d others", count - named);
	appendStringInfo(&list, " %s come", count == 1 ? "has" : "have");
	return list.data;
}

static char *
delay_of(const JsJob *job)
{
	Interval	delay = {.time = job->step_delay};

	return DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(&delay)));
}

/* When it starts. */
static char *
start_of(const Explained *step)
{
	if (step->job->step_delay == 0)
		return step->nafter == 0 ? pstrdup("at once") : condition_of(step);
	return step->nafter == 0 ? psprintf("after %s", delay_of(step->job)) :
		psprintf("%s, %s later", condition_of(step), delay_of(step->job));
}

static char *
explain_undo(const Explained *step)
{
	if (js_step_begins_undo(step->job))
		return pstrdup("Lets undo begin when all steps have ended, if the run fails or is cancelled.");
	return psprintf("%s to undo %s\"%s\"%s%s.", verb_of(step->job),
					step->job->has_items ? "each element of " : "", name_at(step, step->job->step_undoes),
					step->job->has_items ? " that has succeeded" : ", if that has succeeded",
					step->job->step_if != NULL ? " and its condition holds" : "");
}

static char *
explain(const Explained *step)
{
	bool		waits = step->job->step_wait_for != NULL;

	if (js_step_undoes(step->job))
		return explain_undo(step);
	return psprintf("%s %s%s%s%s%s.", verb_of(step->job),
					step->job->has_items ? "for each element that \"for_each\" returns, " : "",
					waits && step->nafter == 0 && step->job->step_delay == 0 ? "" : start_of(step),
					events_of(step->job, step->nafter == 0 && step->job->step_delay == 0),
					step->job->step_if != NULL ? ", if its condition holds" : "",
					step->job->step_optional ? "; if it fails, the run does not" : "");
}

static Datum
names_of(const Explained *step)
{
	Datum	   *names = palloc(sizeof(Datum) * Max(step->nafter, 1));

	for (int i = 0; i < step->nafter; i++)
		names[i] = CStringGetTextDatum(name_at(step, step->after[i]));
	return PointerGetDatum(construct_array(names, step->nafter, TEXTOID, -1, false, TYPALIGN_INT));
}

static void
put_row(ReturnSetInfo *result, const Explained *step)
{
	const char *when = js_after_when_name(step->job->step_when);
	bool		nulls[COLUMNS] = {false};
	Datum		values[COLUMNS];

	values[0] = Int32GetDatum(step->job->step_no);
	values[1] = CStringGetTextDatum(name_of(step->job));
	values[2] = CStringGetTextDatum(kind_of(step->job));
	values[3] = names_of(step);
	nulls[4] = when == NULL;
	values[4] = when == NULL ? (Datum) 0 : CStringGetTextDatum(when);
	values[5] = BoolGetDatum(step->job->step_optional);
	values[6] = CStringGetTextDatum(explain(step));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
put_rows(ReturnSetInfo *result, List *steps)
{
	Explained	step = {.count = list_length(steps)};

	step.steps = palloc(sizeof(JsJob *) * Max(step.count, 1));
	for (int i = 0; i < step.count; i++)
		step.steps[i] = list_nth(steps, i);
	for (int i = 0; i < step.count; i++)
	{
		step.job = step.steps[i];
		step.after = js_step_after(step.job, &step.nafter);
		put_row(result, &step);
	}
}

Datum
jobsched_explain_steps(PG_FUNCTION_ARGS)
{
	static const JsJobPlaces at = {.job = 0,.owner = 1,.job_id = 2};
	JsJob		job;

	InitMaterializedSRF(fcinfo, 0);
	js_job_argument(fcinfo, &at, &job);
	if (job.steps == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("job \"%s\" is not made of steps", job.name),
				 errhint("View jobs shows what it executes.")));
	put_rows((ReturnSetInfo *) fcinfo->resultinfo, js_steps_read(job.job_id, job.steps_revision));
	return (Datum) 0;
}
