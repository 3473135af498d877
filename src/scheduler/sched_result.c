/*-------------------------------------------------------------------------
 *
 * sched_result.c
 *		What the run of a job made of steps leaves: the results of its steps.
 *
 * DATA FLOW
 *
 * When the last step has ended, and the run ends as succeeded or failed, its result
 * is an object that has the result of each step by the step's name, of those that
 * have succeeded and have left one.
 *
 *		history of the steps --> heads: owner, size of the result --> which to read
 *			--> results --> js_json_join() --> history of the run, its callback
 *
 * All of it happens in the transaction that ends the run (sched_end.c).  Nothing
 * is stored before, and no step's end costs anything more.
 *
 * INVARIANTS
 *
 * No result is read before the sizes of all that are to be read have been added up,
 * as they are when they are not compressed.  If they are more than a result may
 * have, only those of the last steps are read, which no other one comes after; if
 * these are too large as well, none is.  Then a message of the run says so.
 *
 * The rows of all steps are there: they are kept until this run has ended.  Each of
 * them has a name, for its set of steps is dropped only when no run of it is left,
 * and its row is kept for longer.
 *
 * A step whose run has another owner than this run, because the job was given away
 * in the middle, is left out if this run's owner may not see it.
 *
 * The work is bounded by JS_MAX_STEPS and by what a result may have, MOST_BYTES at
 * most; it counts as bytes that are moved (sched_may_end_more()), a step's row as
 * some of them.
 *
 * KILL -9
 *
 *		before the commit	the run waits for its children, and none of these is
 *							in the queue: its result is made anew
 *		after it			it has ended
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "guc.h"
#include "scheduler/sched.h"
#include "utils/acl.h"
#include "utils/memutils.h"

/* Of a result, whatever jobsched.max_result_size allows: one process makes them all. */
#define MOST_BYTES (16 * 1024 * 1024)

/* As many bytes could be moved while a step's row is looked for. */
#define BYTES_OF_A_STEP 8192

/* A step that has succeeded and has left a result. */
typedef struct StepLeft
{
	int64		run_id;
	int64		job_id;
	const char *name;
	int32		step_no;
	Size		size;
	bool		wanted;
	Jsonb	   *result;
} StepLeft;

typedef struct StepsLeft
{
	Oid			owner;			/* of the run */
	int64		workflow_id;	/* its job */
	int64		revision;		/* the set of its steps */
	int			seen;			/* steps of all kinds */
	int			count;
	StepLeft	steps[JS_MAX_STEPS];
} StepsLeft;

static bool
take_step(const JsRun *head, JsStatus status, void *arg)
{
	StepsLeft  *left = arg;
	StepLeft   *step;

	if (left->count == JS_MAX_STEPS)
		return false;
	left->seen++;
	if (status != JS_SUCCEEDED || head->result_size == 0 ||
		(head->owner != left->owner && !has_privs_of_role(left->owner, head->owner)))
		return true;
	step = &left->steps[left->count++];
	step->run_id = head->run_id;
	step->job_id = head->job_id;
	step->size = head->result_size;
	return true;
}

/*
 * What is no step of the job, for somebody has spoilt the row, or undoes one, has no name; nor has
 * one whose name another has.
 */
static void
name_step(StepsLeft *left, StepLeft *step)
{
	JsJob		job;

	if (!js_job_read_head(step->job_id, &job) || job.workflow_id != left->workflow_id ||
		job.step_no < 1 || job.step == NULL || js_step_undoes(&job))
		return;
	for (const StepLeft *other = left->steps; other < step; other++)
		if (other->name != NULL && strcmp(other->name, job.step) == 0)
			return;
	step->name = job.step;
	step->step_no = job.step_no;
	step->wanted = true;
	left->revision = job.steps_revision;
}

static Size
most_of_result(void)
{
	return Min((Size) js_guc_max_result_size * 1024, MOST_BYTES);
}

/* The steps that are wanted. */
static bool
fits(const StepsLeft *left)
{
	Size		size = VARHDRSZ + sizeof(uint32);

	for (int i = 0; i < left->count; i++)
		if (left->steps[i].wanted)
			size += js_json_member_size(left->steps[i].name, left->steps[i].size);
	return size <= most_of_result();
}

static void
want_last_only(StepsLeft *left)
{
	bool		followed[JS_MAX_STEPS] = {false};

	js_steps_note_followed(left->workflow_id, left->revision, followed);
	for (int i = 0; i < left->count; i++)
		if (left->steps[i].wanted && followed[left->steps[i].step_no - 1])
			left->steps[i].wanted = false;
}

static Jsonb **
place_of(int64 run_id, void *arg)
{
	StepsLeft  *left = arg;

	for (int i = 0; i < left->count; i++)
		if (left->steps[i].run_id == run_id)
			return left->steps[i].wanted ? &left->steps[i].result : NULL;
	return NULL;
}

/* In another memory context. */
static Jsonb *
join_in(MemoryContext context, const StepsLeft *left)
{
	JsJsonMember *members = palloc(sizeof(JsJsonMember) * Max(left->count, 1));
	MemoryContext outer;
	Jsonb	   *result;
	int			count = 0;

	for (int i = 0; i < left->count; i++)
		if (left->steps[i].result != NULL)
		{
			members[count].name = left->steps[i].name;
			members[count++].value = left->steps[i].result;
		}
	outer = MemoryContextSwitchTo(context);
	result = js_json_join(members, count);
	MemoryContextSwitchTo(outer);
	return result;
}

/* Which of them the result is to have, and what to say of the others; false: none. */
static bool
choose(StepsLeft *left, const char **remark)
{
	for (int i = 0; i < left->count; i++)
		name_step(left, &left->steps[i]);
	if (fits(left))
		return true;
	want_last_only(left);
	if (fits(left))
	{
		*remark = "the result has only those of the last steps: with all of them";
		return true;
	}
	*remark = "the result was dropped:";
	return false;
}

static const char *
complete(const char *remark)
{
	if (most_of_result() == MOST_BYTES)
		return psprintf("%s it exceeds %d kB", remark, MOST_BYTES / 1024);
	return psprintf("%s it exceeds jobsched.max_result_size of %d kB", remark, js_guc_max_result_size);
}

/*
 * The result of the run of a job made of steps that ends; NULL: it is too large.
 * remark: what its log is to say of that; NULL: nothing.  effort: what it has cost,
 * as bytes that are moved.
 */
Jsonb *
sched_result_of_steps(const JsRun *row, const char **remark, Size *effort)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jobsched result",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(context);
	StepsLeft  *left = palloc0(sizeof(StepsLeft));
	Jsonb	   *result = NULL;

	*remark = NULL;
	left->owner = row->owner;
	left->workflow_id = row->job_id;
	for (int ring = 0; ring <= JS_RINGS; ring++)
		js_history_visit_children(row->run_id, ring, take_step, left);
	if (choose(left, remark))
	{
		js_history_read_results(row->run_id, place_of, left);
		result = join_in(outer, left);
	}
	MemoryContextSwitchTo(outer);
	*effort = left->seen * BYTES_OF_A_STEP + (result == NULL ? 0 : VARSIZE(result));
	if (*remark != NULL)
		*remark = complete(*remark);
	MemoryContextDelete(context);
	return result;
}
