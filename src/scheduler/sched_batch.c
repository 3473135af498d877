/*-------------------------------------------------------------------------
 *
 * sched_batch.c
 *		What has become of the members of a batch.
 *
 * A batch (trigger_batch()) is a run that executes nothing.  Its row says "waiting"
 * from the first, like that of a run which has been executed and whose children
 * live; its members are its children, and it ends as any such run does
 * (sched_children.c).  Besides that, its result are the totals of its members by
 * status.
 *
 * Nothing is written when a member ends, and no row has a number in it.  When none
 * of them is in the queue any more, those in history are counted, by the index
 * that finds children: a number of ids in one step, from the lowest on, so that no
 * step takes long.  Meanwhile rows may move from an old segment to where they are
 * kept, but they keep their ids, and what moves them is this process, in a step of
 * its own.  So each member is counted once.
 *
 * A step with for_each (item_runs.c) is like a batch from when its elements have
 * been queued.  So is one that runs another job (step_job.c), but for its result: that
 * is what its only member has left.
 *
 * The count is in memory only.  A successor begins anew.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "run/totals.h"
#include "scheduler/sched.h"
#include "utils/acl.h"

/* Ids gone through in one portion. */
#define IDS_AT_A_TIME 500

/* As how many ends of runs it counts: about 1,000 members are enough for one step. */
#define ENDS_PER_PORTION 4
#define MEMBERS_PER_END 4

struct Batch
{
	int64		from;			/* members with lower ids have been counted */
	JsTotals	totals;
	int64		member;			/* the last that was counted */
	int64		failed;			/* the first whose failure is its own; 0:
								 * there is none */
	int64		failed_job;
	JsStatus	failed_as;
};

/* A run that is one has been read. */
void
sched_batch_begin(RunEntry *run)
{
	run->batch = MemoryContextAllocZero(sched.context, sizeof(Batch));
	run->batch->from = run->run_id + 1;
	sched_run_charge(run, sizeof(Batch));
}

void
sched_batch_forget(RunEntry *run)
{
	if (run->batch != NULL)
		pfree(run->batch);
	run->batch = NULL;
}

static bool
count_member(const JsRun *head, JsStatus status, void *arg)
{
	Batch	   *batch = arg;

	batch->totals.total++;
	batch->totals.ended_as[status]++;
	batch->member = head->run_id;
	if (sched_child_has_failed(head, status) && (batch->failed == 0 || head->run_id < batch->failed))
	{
		batch->failed = head->run_id;
		batch->failed_job = head->job_id;
		batch->failed_as = status;
	}
	return true;
}

/*
 * Counts a portion; whether all members have been.  None of them is in the queue.
 * What it takes is subtracted from the ends that are left in this step.
 */
bool
sched_batch_count(RunEntry *run, int *left)
{
	Batch	   *batch = run->batch;
	int64		before = batch->totals.total;

	if (batch->from != 0)
		batch->from = js_history_visit_some_children(run->run_id, batch->from, batch->from + IDS_AT_A_TIME,
													 count_member, batch);
	*left -= ENDS_PER_PORTION + (batch->totals.total - before) / MEMBERS_PER_END;
	return batch->from == 0;
}

/* The first member whose failure is the batch's, of all that have been counted; 0: there is none. */
int64
sched_batch_failed(const RunEntry *run, int64 *job_id, JsStatus *status)
{
	*job_id = run->batch->failed_job;
	*status = run->batch->failed_as;
	return run->batch->failed;
}

/* As steps leave results: if a workflow run fails it has one too. */
static Jsonb *
result_of_member(const RunEntry *run, Oid owner, JsStatus status, Size *effort)
{
	JsOutcome	left;
	JsRun		row;

	if ((status != JS_SUCCEEDED && status != JS_FAILED) ||
		!js_history_find_left(run->batch->member, &row, &left) ||
		(row.owner != owner && !has_privs_of_role(owner, row.owner)))
		return NULL;
	*effort = left.result == NULL ? 0 : VARSIZE(left.result);
	return left.result;
}

/*
 * The totals of all that have been counted; of a step that has run a job, what that
 * has left.  The run ends so, and is this role's.  effort: as of sched_result_of_steps().
 */
Jsonb *
sched_batch_result(const RunEntry *run, Oid owner, JsStatus status, Size *effort)
{
	return run->maps && run->job->calls ? result_of_member(run, owner, status, effort) :
		js_totals_json(&run->batch->totals);
}
