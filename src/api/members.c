/*-------------------------------------------------------------------------
 *
 * members.c
 *		What has become of the steps of a workflow run, or of the members of a
 *		batch: for view workflows.
 *
 * They are the run's children, found by the indexes of these, and are looked at
 * with the snapshot of the query: one that ends meanwhile is not counted twice.
 * It is no SQL, for a plan of it would be one of all segments of history, in which
 * the planner takes each run to have as many children as the largest batch.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/access.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(jobsched_members_of);

enum MemberColumn
{
	MEMBERS_TOTAL, MEMBERS_WAITING, MEMBERS_QUEUED, MEMBERS_RUNNING, MEMBERS_RETRYING,
	MEMBERS_SUCCEEDED, MEMBERS_FAILED, MEMBERS_TIMED_OUT, MEMBERS_LOST, MEMBERS_CANCELLED,
	MEMBERS_SKIPPED,
	MEMBERS_CURRENT_RUN, MEMBERS_CURRENT_JOB, MEMBERS_FAILED_RUN, MEMBERS_FAILED_JOB,
	MEMBERS_COLUMNS
};

/* One of them that is shown by itself; run_id 0: there is none. */
typedef struct Member
{
	int64		run_id;
	int64		job_id;
} Member;

typedef struct Members
{
	int64		counts[MEMBERS_SKIPPED + 1];
	Member		running;		/* the first of each kind, by id */
	Member		startable;
	Member		failed;
	bool		only_failed;	/* nothing else is wanted */
	bool		with_cancelled; /* these have failed */
} Members;

static void
keep_first(Member *first, const JsRun *head)
{
	if (first->run_id != 0 && first->run_id < head->run_id)
		return;
	first->run_id = head->run_id;
	first->job_id = head->job_id;
}

/* For other runs, or for events. */
static bool
is_waiting(const JsRun *head)
{
	return head->status == JS_RUN_QUEUED && head->attempt == 0 &&
		((head->after_when != JS_AFTER_NOTHING && js_dependencies_are_live(head->run_id, NULL, NULL, 0)) ||
		 js_event_is_awaited(head));
}

static void
count_live(const JsRun *head, void *arg)
{
	Members    *members = arg;
	bool		executed = head->status == JS_RUN_RUNNING || head->status == JS_RUN_WAITING;
	bool		waits;

	if (!js_may_see(head->owner))
		return;
	waits = is_waiting(head);
	if (executed)
		keep_first(&members->running, head);
	else if (!waits)
		keep_first(&members->startable, head);
	members->counts[MEMBERS_TOTAL]++;
	members->counts[executed ? MEMBERS_RUNNING : waits ? MEMBERS_WAITING :
					head->status == JS_RUN_RETRYING ? MEMBERS_RETRYING : MEMBERS_QUEUED]++;
}

static bool
has_failed(const Members *members, const JsRun *head, JsStatus status)
{
	return !head->optional && status != JS_SUCCEEDED && status != JS_SKIPPED && status != JS_MISSED &&
		(members->with_cancelled || status != JS_CANCELLED);
}

static bool
count_ended(const JsRun *head, JsStatus status, void *arg)
{
	static const int column_of[] = {
		[JS_SUCCEEDED] = MEMBERS_SUCCEEDED,[JS_FAILED] = MEMBERS_FAILED,
		[JS_CANCELLED] = MEMBERS_CANCELLED,[JS_TIMED_OUT] = MEMBERS_TIMED_OUT,
		[JS_LOST] = MEMBERS_LOST,[JS_SKIPPED] = MEMBERS_SKIPPED,[JS_MISSED] = MEMBERS_SKIPPED
	};
	Members    *members = arg;

	if (!js_may_see(head->owner))
		return true;
	members->counts[MEMBERS_TOTAL]++;
	members->counts[column_of[status]]++;
	if (!has_failed(members, head, status))
		return true;
	keep_first(&members->failed, head);
	return !members->only_failed;
}

static void
count_members(int64 run_id, Members *members)
{
	Snapshot	snapshot = GetActiveSnapshot();

	if (!members->only_failed)
		js_runs_visit_children(run_id, snapshot, count_live, members);
	js_history_visit_children_as_of(run_id, snapshot, members->only_failed, count_ended, members);
}

static void
member_to_row(const Member *member, int column, Datum *values, bool *nulls)
{
	values[column] = Int64GetDatum(member->run_id);
	values[column + 1] = Int64GetDatum(member->job_id);
	nulls[column] = nulls[column + 1] = member->run_id == 0;
}

/* run_id, only_failed, with_cancelled: see Members. */
Datum
jobsched_members_of(PG_FUNCTION_ARGS)
{
	Members		members = {.only_failed = PG_GETARG_BOOL(1),.with_cancelled = PG_GETARG_BOOL(2)};
	Datum		values[MEMBERS_COLUMNS];
	bool		nulls[MEMBERS_COLUMNS] = {false};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	count_members(PG_GETARG_INT64(0), &members);
	for (int i = 0; i < lengthof(members.counts); i++)
		values[i] = Int64GetDatum(members.counts[i]);
	member_to_row(members.running.run_id != 0 ? &members.running : &members.startable,
				  MEMBERS_CURRENT_RUN, values, nulls);
	member_to_row(&members.failed, MEMBERS_FAILED_RUN, values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
