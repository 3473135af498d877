/*-------------------------------------------------------------------------
 *
 * job_after.c
 *		Parameter after of create_job() and alter_job(): jobs that come after jobs.
 *
 * The names are those of jobs of the same owner.  The row has their ids, so it does
 * not matter if they are renamed.  What follows from it is the scheduler's
 * (sched_successor.c).
 *
 * No job comes after itself, be it by way of others: it would never start, or
 * without end.  The rows of the jobs that are named, and of all that a job which is
 * altered would come after by way of them, are locked until the end of the
 * transaction, so that sessions do not make such a circle together.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/job_after.h"
#include "base/arguments.h"
#include "base/sqlstate.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(jobsched_after_names);

/* Whose name it is, locked; that may be over when its row is ours.  0: nobody's. */
static int64
lock_named(Oid owner, const char *name)
{
	int64		locked = 0;
	JsJob		job;

	while (js_job_find(owner, name, &job))
	{
		if (job.job_id == locked)
			return locked;
		locked = job.job_id;
		js_job_lock(locked);
	}
	return 0;
}

/* The id of a job that is named. */
static int64
find_job(const JsJob *job, const char *name)
{
	int64		id = lock_named(job->owner, name);

	if (id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\", which after names, does not exist", name),
				 errhint("Name jobs of the same owner.")));
	if (id == job->job_id)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job \"%s\" cannot come after itself", job->name)));
	return id;
}

/* Into the job, each once. */
static void
find_jobs(JsJob *job, const Datum *names, const bool *nulls, int count)
{
	int64	   *ids = palloc(Max(count, 1) * sizeof(int64));
	int			n = 0;

	for (int i = 0; i < count; i++)
	{
		int64		id;

		if (nulls[i])
			js_refuse_null("an element of after");
		id = find_job(job, TextDatumGetCString(names[i]));
		if (!js_id_is_among(ids, n, id))
			ids[n++] = id;
	}
	job->after_jobs = n > 0 ? ids : NULL;
	job->nafter_jobs = n;
}

/* ------------------------------------------------------------------------
 * Circles
 * ------------------------------------------------------------------------
 */

/* Jobs that have been come upon, and those of them that are yet to be looked at. */
typedef struct Walk
{
	HTAB	   *seen;
	List	   *left;			/* int64 pointers */
} Walk;

static void
come_upon(Walk *walk, const int64 *ids, int count)
{
	for (int i = 0; i < count; i++)
	{
		bool		found;
		int64	   *id = hash_search(walk->seen, &ids[i], HASH_ENTER, &found);

		if (!found)
			walk->left = lappend(walk->left, id);
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

	return hash_create("jobsched jobs", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
refuse_circle(const JsJob *job)
{
	Walk		walk = {make_seen(), NIL};
	JsJob		other;

	come_upon(&walk, job->after_jobs, job->nafter_jobs);
	while (walk.left != NIL)
	{
		int64		id = *(int64 *) llast(walk.left);

		CHECK_FOR_INTERRUPTS();
		walk.left = list_delete_last(walk.left);
		js_job_lock(id);
		if (!js_job_read_head(id, &other) || other.dropped_at != DT_NOBEGIN)
			continue;
		if (js_id_is_among(other.after_jobs, other.nafter_jobs, job->job_id))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("job \"%s\" would come after itself, by way of job \"%s\"", job->name, other.name)));
		come_upon(&walk, other.after_jobs, other.nafter_jobs);
	}
	hash_destroy(walk.seen);
}

/* ------------------------------------------------------------------------
 * The parameter
 * ------------------------------------------------------------------------
 */

static bool
are_same(const JsJob *a, const JsJob *b)
{
	if (a->nafter_jobs != b->nafter_jobs)
		return false;
	for (int i = 0; i < a->nafter_jobs; i++)
		if (a->after_jobs[i] != b->after_jobs[i])
			return false;
	return true;
}

static void
see_success(JsJob *job, int64 run_id)
{
	if (run_id != 0)
		job->after_seen[job->nafter_seen++] = run_id;
}

/* The scheduler tallies a success up to a second later than history has it. */
static void
see_successes(JsJob *job)
{
	JsJobState	state;

	job->after_seen = palloc(JS_MAX_AFTER_SEEN * sizeof(int64));
	job->nafter_seen = 0;
	for (int i = 0; i < job->nafter_jobs; i++)
	{
		(void) js_job_state_read(job->after_jobs[i], &state);
		see_success(job, state.succeeded_run_id);
		see_success(job, js_history_last_success(job->after_jobs[i]));
	}
}

/*
 * The job has come from elsewhere.  If the states of those that it comes after have
 * not, it was a dump: runs here are yet to get the ids that are noted.
 */
void
js_job_after_adopt(JsJob *job)
{
	JsJobState	state;

	for (int i = 0; i < job->nafter_jobs; i++)
		if (js_job_state_read(job->after_jobs[i], &state))
			return;
	job->nafter_seen = 0;
}

/* None if the array is empty.  What has succeeded before other jobs were named does not count. */
void
js_job_after_set(JsJob *job, ArrayType *names)
{
	JsJob		before = *job;
	Datum	   *elements;
	bool	   *nulls;
	int			count = ArrayGetNItems(ARR_NDIM(names), ARR_DIMS(names));

	if (count > JS_MAX_AFTER_JOBS)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("after has %d elements, more than the %d that are allowed", count, JS_MAX_AFTER_JOBS),
				 errhint("Let some jobs come after a part of them each, and another job after these.")));
	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	find_jobs(job, elements, nulls, count);
	if (job->job_id != 0)
		refuse_circle(job);
	if (!are_same(job, &before))
		see_successes(job);
}

/* The job is as it shall be, but for its schedule. */
void
js_job_after_check(const JsJob *job, const JsJob *before, bool given)
{
	if (job->nafter_jobs == 0)
		return;
	if (job->schedule != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job \"%s\" cannot have both a schedule and jobs that it comes after", job->name),
				 errhint("Give schedule => '' or after => '{}' to remove one of them.")));
	if (job->owner != before->owner && !given)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job \"%s\" comes after jobs of its owner, and would get another", job->name),
				 errhint("Give after as well: jobs of the new owner, or '{}'.")));
}

/* ------------------------------------------------------------------------
 * The view
 * ------------------------------------------------------------------------
 */

/* What to call one of them; NULL: it is not waited for, and only those are asked for. */
static text *
name_of(const JsJob *job, const JsJobState *state, int64 other_id, bool awaited)
{
	JsJob		other;
	bool		seen = js_job_read_head(other_id, &other) && js_may_see(other.owner);

	if (awaited && seen && js_job_success_to_follow(job, state, &other) != 0)
		return NULL;
	return cstring_to_text(seen ? other.name : psprintf("job " INT64_FORMAT, other_id));
}

/* It can be called with the id of any job. */
Datum
jobsched_after_names(PG_FUNCTION_ARGS)
{
	ArrayBuildState *names = NULL;
	JsJobState	state;
	JsJob		job;

	if (!js_job_read_head(PG_GETARG_INT64(0), &job) || !js_may_see(job.owner))
		PG_RETURN_NULL();
	(void) js_job_state_read(job.job_id, &state);
	for (int i = 0; i < job.nafter_jobs; i++)
	{
		text	   *name = name_of(&job, &state, job.after_jobs[i], PG_GETARG_BOOL(1));

		if (name != NULL)
			names = accumArrayResult(names, PointerGetDatum(name), false, TEXTOID, CurrentMemoryContext);
	}
	if (names == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(makeArrayResult(names, CurrentMemoryContext));
}
