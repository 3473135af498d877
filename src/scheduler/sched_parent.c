/*-------------------------------------------------------------------------
 *
 * sched_parent.c
 *		The ends of parents whose children have ended, and of children whose
 *		parents have.
 *
 * sched_children.c has the design.  All of it is done in portions.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"

/* Parents seen to, and runs of either kind ended, in one step. */
#define MAX_SEEN 2000
#define MAX_ENDED 256

/* Children of a parent that is without any in memory: one of so many is read. */
#define MAX_TRIED 8

/* Rows of children that take as long to read as it takes to end a run. */
#define ROWS_OF_AN_END 50

/* ------------------------------------------------------------------------
 * The end of a parent
 * ------------------------------------------------------------------------
 */

/* The first child whose failure is one of its parent. */
typedef struct FailedChild
{
	int64		run_id;			/* 0: there is none */
	int64		job_id;
	JsStatus	status;
	int			visited;		/* children of either kind */
} FailedChild;

static const char *
what_became_of(JsStatus status)
{
	switch (status)
	{
		case JS_FAILED:
			return "has failed";
		case JS_TIMED_OUT:
			return "has timed out";
		case JS_LOST:
			return "was lost";
		case JS_CANCELLED:
			return "was cancelled";
		case JS_SUCCEEDED:
		case JS_SKIPPED:
		case JS_MISSED:
			break;
	}
	return NULL;
}

static bool
take_failed(const JsRun *head, JsStatus status, void *arg)
{
	FailedChild *found = arg;

	found->visited++;
	if (!sched_child_has_failed(head, status))
		return true;
	if (found->run_id == 0 || head->run_id < found->run_id)
	{
		found->run_id = head->run_id;
		found->job_id = head->job_id;
		found->status = status;
	}
	return false;
}

/* Of a batch that is known since its members have been counted. */
static void
find_failed(const RunEntry *parent, FailedChild *found)
{
	if (parent->batch != NULL)
	{
		found->run_id = sched_batch_failed(parent, &found->job_id, &found->status);
		return;
	}
	js_history_visit_children(parent->run_id, 1, take_failed, found);
	js_history_visit_children(parent->run_id, JS_RINGS, take_failed, found);
}

/*
 * What is to be said to a parent's owner of a child that has failed; NULL: none has.
 * The rows that were looked at are taken from left.
 */
static const char *
failure_of_children(const RunEntry *parent, int *left)
{
	FailedChild found = {0};
	const char *what;
	JsRun		row;
	JsJob		job;

	find_failed(parent, &found);
	*left -= found.visited / ROWS_OF_AN_END;
	if (found.run_id == 0)
		return NULL;
	what = what_became_of(found.status);

	/*
	 * The row's owner is who will read it, and that of its job may be another
	 * by now.
	 */
	if (!js_run_see_head(parent->run_id, &row) || !js_job_read_head(found.job_id, &job) ||
		job.owner != row.owner)
		return psprintf("run " INT64_FORMAT " %s", found.run_id, what);
	return psprintf("run " INT64_FORMAT " of job \"%s\" %s", found.run_id, job.name, what);
}

/* Why a parent that waits is to end early, but for its own parents; NULL: it is not. */
static const char *
own_reason_to_end(const RunEntry *parent)
{
	if (parent->stop != NULL)
		return sched_stop_reason(parent->stop);
	return parent->job->dropped && parent->job->cancel_running ? "job_dropped" : NULL;
}

/* Whether it is to end with all its steps, also with those that run always. */
static bool
ends_in_any_case(const RunEntry *parent)
{
	return (parent->stop != NULL && parent->stop->second != NULL) || (parent->job->dropped && parent->job->cancel_running);
}

/*
 * Whether one above it has ended or is to end early, be it that the news of that
 * have not come down so far; in_any_case: with all that is below, as it has to be
 * for a step that runs always, and for what is below one.
 */
static bool
is_doomed(const RunEntry *run, bool in_any_case)
{
	for (int i = 0; i < JS_MAX_DEPTH && run->child != NULL; i++)
	{
		in_any_case |= run->always;
		if (in_any_case ? sched_child_ends_in_any_case(run) : sched_child_is_doomed(run))
			return true;
		run = sched_run_find(sched_child_parent(run));
		if (run == NULL || run->state != RUN_PARENT)
			return false;
		if (in_any_case ? ends_in_any_case(run) : own_reason_to_end(run) != NULL)
			return true;
	}
	return false;
}

/* What a parent that waits ends as without regard to its children; NULL: nothing. */
static const char *
reason_to_end(const RunEntry *parent)
{
	const char *reason = own_reason_to_end(parent);

	return reason == NULL && is_doomed(parent, false) ? "parent_ended" : reason;
}

/* Whether the parent of a run ends as without regard to its children. */
bool
sched_child_ends_early(const RunEntry *run)
{
	const RunEntry *parent;

	if (sched_child_lacks_parent(run))
		return true;
	parent = sched_run_find(sched_child_parent(run));
	return parent != NULL && parent->state == RUN_PARENT && reason_to_end(parent) != NULL;
}

/* None of its children is in the queue any more. */
static void
end_parent(RunEntry *parent, int *left)
{
	const char *reason = reason_to_end(parent);
	const char *error;

	if (reason != NULL && sched_undo_was_waived(parent))
		reason = NULL;			/* that came too late */
	error = reason != NULL ? NULL : failure_of_children(parent, left);
	if (reason != NULL)
		sched_end_run(parent, parent->stop != NULL ? sched_stop_status(parent->stop) : JS_CANCELLED,
					  reason, NULL, NULL);
	else if (error != NULL)
		sched_end_run(parent, JS_FAILED, "child_failed", NULL, error);
	else
		sched_end_run(parent, JS_SUCCEEDED, NULL, NULL, NULL);
}

/* The first child from an id on that is in the queue; 0: there is none. */
static int64
next_child(int64 run_id, int64 from)
{
	int64		found = 0;

	(void) js_runs_children(run_id, from, &found, 1);
	return found;
}

/*
 * Whether there is any child in the queue; one is in memory then, if one of those
 * that are tried can be.  They are looked for behind the one before: index entries
 * of those that have ended may be there for long.
 */
static bool
read_child(RunEntry *parent, TimestampTz now)
{
	int64	   *from = sched_children_cursor(parent);
	int64		child = 0;

	for (int i = 0; i < MAX_TRIED; i++)
	{
		int64		next = next_child(parent->run_id, *from);

		if (next == 0 && *from > 0)
			next = next_child(parent->run_id, 0);
		if (next == 0)
			break;
		child = next;
		*from = child + 1;
		if (sched_run_load(child, now) != NULL)
			break;
	}
	return child != 0;
}

/*
 * Sees to a run that waits for its children.  False: it is to end, and somebody
 * holds its row.
 */
static bool
see_to_parent(RunEntry *parent, int *left, TimestampTz now)
{
	if (reason_to_end(parent) != NULL)
		sched_children_doom(parent->run_id, ends_in_any_case(parent) || is_doomed(parent, true));
	if (!sched_children_lack_one(parent->run_id) || read_child(parent, now))
		return true;
	if (!sched_row_is_free(parent))
		return false;
	if (parent->batch != NULL && !sched_batch_count(parent, left))
	{
		sched_children_note(parent);
		return true;
	}
	end_parent(parent, left);
	(*left)--;
	return true;
}

static void
see_to_some(TimestampTz now)
{
	int			left = MAX_ENDED;
	int64		run_id;

	for (int i = 0; i < MAX_SEEN && left > 0 && sched_may_end_more() &&
		 (run_id = sched_children_next_to_see()) != 0; i++)
	{
		RunEntry   *parent = sched_run_find(run_id);

		if (parent != NULL && parent->state == RUN_PARENT && !parent->job->asleep &&
			!see_to_parent(parent, &left, now))
		{
			sched_children_note(parent);
			return;
		}
		sched_children_seen(run_id);
	}
}

/* ------------------------------------------------------------------------
 * The end of children that are doomed
 * ------------------------------------------------------------------------
 */

/* False: somebody holds its row. */
static bool
end_child(RunEntry *run)
{
	if (run->job->asleep)
		return true;			/* it is noted again when it wakes */
	if (!sched_child_is_doomed(run))
		return true;			/* it runs always */
	if (run->state == RUN_ASSIGNED)
		sched_take_back(run->seat);
	if (run->state == RUN_ASSIGNED)
	{
		sched_interrupt(run, JS_CANCEL_PARENT);
		sched_children_doom(run->run_id, false);
	}
	else if (run->state == RUN_PARENT)
		sched_children_note(run);
	else if (sched_row_is_free(run))
		sched_end_run(run, JS_CANCELLED, "parent_ended", NULL, NULL);
	else
		return false;
	return true;
}

static void
end_some(void)
{
	RunEntry   *run;

	for (int i = 0; i < MAX_ENDED && sched_may_end_more() &&
		 (run = sched_children_next_to_end()) != NULL; i++)
		if (!end_child(run))
		{
			sched_child_note(run);
			return;
		}
}

/* Ends a portion of what is to end. */
void
sched_parents_serve(TimestampTz now)
{
	static bool parents_first = false;

	/* What one kind takes of a step does not keep the other from it for ever. */
	parents_first = !parents_first;
	if (parents_first)
		see_to_some(now);
	end_some();
	if (!parents_first)
		see_to_some(now);
}
