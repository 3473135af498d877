/*-------------------------------------------------------------------------
 *
 * sched_load.c
 *		Reads the tables into the scheduler's memory.
 *
 * What is read, and when, is in sched_news.c.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/channel.h"
#include "miscadmin.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_LOGGED_JOBS 1000

/* ------------------------------------------------------------------------
 * Jobs
 * ------------------------------------------------------------------------
 */

static void
apply_drop(JobEntry *job, const JsJob *row)
{
	sched_note_dropped(job);
	job->dropped = true;
	sched_set_flag(&job->asleep, false, &sched.asleep_count);
	sched_job_set_next(job, DT_NOEND);
	job->cancel_running = row->cancel_running;
}

static bool
is_at_startup(const char *schedule)
{
	return schedule != NULL && schedule[0] == '@' &&
		(pg_strcasecmp(schedule, "@startup") == 0 || pg_strcasecmp(schedule, "@reboot") == 0);
}

/*
 * Whether runs of the job's slots must not be beside others.  With 'skip' there
 * are several of them only where missed slots are made up for one by one.
 */
static bool
is_serial(const JsJob *row)
{
	switch (row->overlap)
	{
		case JS_OVERLAP_QUEUE:
		case JS_OVERLAP_REPLACE:
			return true;
		case JS_OVERLAP_SKIP:
			return row->misfire == JS_MISFIRE_ALL;
		case JS_OVERLAP_ALLOW:
			break;
	}
	return false;
}

static void
note_all_cut_off(const JobEntry *job)
{
	dlist_iter	iter;

	dlist_foreach(iter, (dlist_head *) &job->runs)
		sched_note_cut_off(dlist_container(RunEntry, job_node, iter.cur));
}

/* Whether a change of the job concerns runs that wait. */
static bool
moves_runs(const JobEntry *before, const JobEntry *job)
{
	return job->owner != before->owner || job->http != before->http ||
		job->serial != before->serial || job->paused != before->paused ||
		job->auto_paused != before->auto_paused || job->asleep != before->asleep ||
		job->invalid != before->invalid || job->dropped != before->dropped ||
		job->deadline != before->deadline || job->queue != before->queue || job->max_concurrency != before->max_concurrency;
}

/* Whether its runs queue others. */
static void
set_maps(JobEntry *job, const JsJob *row)
{
	job->maps = row->has_items || row->step_job != NULL;
	job->calls = row->step_job != NULL && !row->has_items;
}

/*
 * Brings the entry of a job up to date with its row.  Whether the job is at home
 * does not only depend on that: the row may have been read after adopt(), and
 * this database's token before.
 */
void
sched_apply_job(const JsJob *row)
{
	JobEntry   *job = sched_job_find(row->job_id);
	bool		is_new = job == NULL;
	bool		at_home = sched.home && memcmp(&row->home, &sched.token, sizeof(pg_uuid_t)) == 0;
	JobEntry	before;

	sched_keep_apply(row, at_home);
	if (at_home)
		sched_watch_owner(row->owner, row->owner_is_stale);
	if (is_new && row->dropped_at != DT_NOBEGIN)
		return;
	if (is_new)
		job = sched_job_make(row->job_id);
	else if (job->revision == row->revision && (job->dropped || job->asleep == !at_home))
		return;
	before = *job;
	if (is_new || job->revision != row->revision)
	{
		sched_set_flag(&job->invalid, false, &sched.invalid_count);
		job->auto_paused = false;
	}
	job->revision = row->revision;
	/* The OID of a dropped role may be given out again while we live. */
	job->owner = row->owner_name != NULL ? row->owner : InvalidOid;
	job->transactional = row->transactional;
	job->http = row->sends_request;
	job->looks = row->step_looks;
	job->shares = row->share_transaction && !job->looks;
	job->is_step = row->workflow_id != 0;
	job->is_channel = js_job_is_channel(row);
	set_maps(job, row);
	job->has_steps = !job->is_step && row->steps_revision != 0;
	job->timeout = row->timeout;
	job->deadline = row->deadline;
	job->delay = row->step_delay;
	job->overlap = row->overlap;
	job->serial = is_serial(row);
	job->pause_after_failures = row->pause_after_failures;
	job->keeps_failures = row->keep == JS_KEEP_FAILURES;
	job->has_schedule = row->schedule != NULL;
	job->at_startup = is_at_startup(row->schedule);
	job->enabled = row->enabled;
	job->paused = row->paused;
	sched_job_set_limits(job, row);
	sched_set_flag(&job->asleep, !at_home, &sched.asleep_count);
	if (before.asleep && !job->asleep)
	{
		note_all_cut_off(job);
		sched_after_search_again(); /* its rows have been left alone */
		job->woken = sched.any_woken = true;
	}
	if (row->dropped_at != DT_NOBEGIN)
		apply_drop(job, row);
	else if (job->schedule_revision != row->schedule_revision)
	{
		job->schedule_revision = row->schedule_revision;
		sched_job_set_next(job, row->first_run_at == DT_NOBEGIN ? DT_NOEND : row->first_run_at);
	}
	else
		sched_job_set_next(job, job->next_run_at);
	sched_successor_apply(job, row);
	sched_channel_changed(job);
	sched_alert_job_changed(job);
	if (moves_runs(&before, job))
		sched_job_place_runs(job);
}

/* Slots passed over of which no row tells yet. */
static void
recall_skips(JobEntry *job, const JsJobState *state)
{
	job->skipped = state->skipped;
	job->skipped_first = state->skipped_first;
	job->skipped_last = state->skipped_last;
	job->queue_full = state->skipped_reason != NULL &&
		strcmp(state->skipped_reason, SCHED_REASON_QUEUE_FULL) == 0;
}

/* Only a job that is new to us has anything to learn from its state. */
void
sched_load_state(const JsJobState *state, void *arg)
{
	JobEntry   *job = sched_job_find(state->job_id);

	if (job == NULL || job->dropped)
		return;
	job->last_slot = state->last_slot;
	job->done_before = state->done_before;
	job->done_from = state->done_from;
	recall_skips(job, state);
	job->failing = state->consecutive_failures > 0;
	job->auto_paused = state->auto_paused_revision == job->revision;
	sched_set_flag(&job->invalid, state->invalid_revision == job->revision,
				   &sched.invalid_count);
	if (state->schedule_revision == job->schedule_revision)
		sched_job_set_next(job, state->next_run_at == DT_NOBEGIN ? DT_NOEND : state->next_run_at);
	else
		sched_job_set_next(job, job->next_run_at);
}

/* What its failures have paused holds its steps too. */
static void
hold_with_workflow(JobEntry *step, int64 workflow_id)
{
	JobEntry   *workflow = sched_job_find(workflow_id);
	bool		held = workflow != NULL && workflow->auto_paused;

	if (step == NULL || step->auto_paused == held)
		return;
	step->auto_paused = held;
	sched_job_place_runs(step);
}

static void
load_job_and_state(const JsJob *row)
{
	bool		is_new = sched_job_find(row->job_id) == NULL;
	JsJobState	state;

	sched_apply_job(row);
	if (is_new && js_job_state_read(row->job_id, &state))
		sched_load_state(&state, NULL);
	if (row->workflow_id != 0)
		hold_with_workflow(sched_job_find(row->job_id), row->workflow_id);
}

/* A step is taken into memory when there is a run of it. */
static bool
is_for_later(const JsJob *row)
{
	if (row->workflow_id == 0 || sched_job_find(row->job_id) != NULL)
		return false;
	if (row->dropped_at == DT_NOBEGIN)
		sched_steps_note(row->workflow_id);
	return true;
}

/* Who changes a job made of steps changes these too, and tells of the job only. */
void
sched_load_job(const JsJob *row, void *arg)
{
	JobEntry   *job = sched_job_find(row->job_id);
	bool		is_known = job != NULL && job->revision == row->revision;

	if (is_for_later(row))
		return;
	if (is_known)
		sched_alert_job_changed(job);	/* its metadata may have */
	load_job_and_state(row);
	if (row->steps_revision != 0 && row->workflow_id == 0 && !is_known)
	{
		sched_reload_steps(row->job_id);
		sched_steps_note(row->job_id);
	}
}

/* Those of its steps that we have heard of. */
void
sched_reload_steps(int64 workflow_id)
{
	List	   *steps = js_steps_live(workflow_id);
	ListCell   *lc;

	foreach(lc, steps)
	{
		int64		step_id = ((JsStepId *) lfirst(lc))->job_id;

		if (sched_job_find(step_id) != NULL)
			sched_reload_job(step_id);
	}
	list_free_deep(steps);
}

/* The scheduler has changed its row. */
void
sched_reload_job(int64 job_id)
{
	js_jobs_visit(job_id, job_id, sched_load_job, NULL);
}

/* At the first load the states are read in one go, after the jobs. */
void
sched_load_first_job(const JsJob *row, void *arg)
{
	JobEntry   *job;

	if (is_for_later(row))
		return;
	sched_apply_job(row);
	job = sched_job_find(row->job_id);
	if (job != NULL && job->at_startup)
		sched.startup_jobs = sched_keep_id(sched.startup_jobs, job->job_id);
}

/* The job of a run whose job we have not heard of: dropped, or not yet in the news. */
static JobEntry *
load_job(int64 job_id, Oid owner)
{
	JsJob		row;
	JobEntry   *job;
	bool		found = js_job_read_head(job_id, &row);
	JsJobState	state;

	if (found && row.dropped_at == DT_NOBEGIN)
	{
		load_job_and_state(&row);
		if (row.steps_revision != 0)
			sched_steps_note(row.workflow_id != 0 ? row.workflow_id : job_id);
		return sched_job_find(job_id);
	}
	job = sched_job_make(job_id);
	job->owner = owner;
	job->dropped = true;
	job->cancel_running = found && row.cancel_running;
	job->has_old_steps = found && row.steps_revision != 0;
	job->deadline = found ? row.deadline : 0;
	job->has_steps = found && row.workflow_id == 0 && row.steps_revision != 0;
	if (found)
	{
		set_maps(job, &row);
		sched_job_set_limits(job, &row);	/* what runs has its places */
	}
	if (js_job_state_read(job_id, &state))
		recall_skips(job, &state);
	sched_note_dropped(job);
	return job;
}

/* ------------------------------------------------------------------------
 * Runs
 * ------------------------------------------------------------------------
 */

static bool
is_batch(const JsRun *row)
{
	return row->source == JS_SOURCE_BATCH && row->status == JS_RUN_WAITING;
}

/*
 * Whose runs have as much memory as one role may have get no more: a run that
 * waits stays in the table until there is room, unless its parent would wait for
 * that.
 */
static bool
is_too_much(const JsRun *row, const JobEntry *job)
{
	OwnerEntry *owner = sched_owner(job->owner, sched_row_is_http(row, job));

	if (row->status == JS_RUN_RUNNING || (row->status == JS_RUN_WAITING && !is_batch(row)) ||
		sched_owner_has_room(owner, 0) ||
		(row->parent_run_id != 0 && sched_children_lack_one(row->parent_run_id)))
		return false;
	sched_leave_unread(owner, row->run_id);
	return true;
}

static void
take_in(const JsRun *row, TimestampTz now, bool in_any_case)
{
	int64		job_id = row->job_id;
	JobEntry   *job;
	RunEntry   *run;

	if (sched_run_find(row->run_id) != NULL)
		return;
	if (job_id == 0 && (job_id = sched_settle(row)) == 0)
		return;
	job = sched_job_find(job_id);
	if (job == NULL)
		job = load_job(job_id, row->owner);
	if (!in_any_case && !sched_after_is_awaited(row->run_id) && is_too_much(row, job))
		return;
	run = sched_run_make(row->run_id, job);
	run->run_at = row->run_at;
	run->priority = row->priority;
	run->timeout = row->timeout;
	run->attempt = row->attempt;
	run->lost = row->lost;
	run->of_slot = row->source == JS_SOURCE_SCHEDULE || row->source == JS_SOURCE_STARTUP;
	run->backfill = row->source == JS_SOURCE_BACKFILL;
	run->source = row->source;
	run->callback = row->handler != NULL;
	run->maps = sched_row_maps(row, job);
	run->own_request = row->sends_request;
	run->looks = sched_row_looks(row, job);
	run->brought_by = run->callback || run->own_request ? row->owner : InvalidOid;
	run->of_step = row->source == JS_SOURCE_ITEM || row->source == JS_SOURCE_STEP;
	run->since = row->status == JS_RUN_RUNNING || row->status == JS_RUN_WAITING ? row->claimed_at :
		row->after_when != JS_AFTER_NOTHING || row->wait_for != NULL ? now : row->queued_at;
	run->superseded = row->job_id == 0 && sched_was_replaced(row->run_id);
	sched_run_follow(run);
	/* Until a seat shows one that runs: claimed and not handed over. */
	run->claimed = row->status == JS_RUN_RUNNING;
	run->cut_off = run->claimed && row->boot_id != js->boot_id;
	sched_limits_attach(run, row->keys);
	run->depends = row->after_when != JS_AFTER_NOTHING || row->nparents > 0;
	run->keeps_parents = row->after_when != JS_AFTER_NOTHING && row->workflow == JS_WORKFLOW_NONE && !run->of_step;
	if (row->after_when != JS_AFTER_NOTHING && row->status == JS_RUN_QUEUED && row->attempt == 0)
		sched_after_begin(run, row->after_when, row->nparents);
	run->awaited = row->wait_for != NULL;
	if (run->awaited && row->status == JS_RUN_QUEUED && row->attempt == 0)
		sched_event_begin(run, row);
	else if (js_run_awaits(row))
		sched_event_go_on(run, row->depth);
	sched_after_note_back(run->run_id);
	run->always = row->after_when == JS_AFTER_ALWAYS || row->after_when == JS_AFTER_UNDO;
	if (row->parent_run_id != 0)
		sched_child_join(run, row->parent_run_id);
	sched_note_cut_off(run);
	if (is_batch(row))
		sched_batch_begin(run);
	if (row->status == JS_RUN_WAITING)
		sched_run_await_children(run, sched_deadline_from(row));
	else
		sched_run_wait(run, now);
}

void
sched_load_run(const JsRun *row, void *arg)
{
	take_in(row, *(TimestampTz *) arg, false);
}

static void
visit_wanted_run(const JsRun *row, void *arg)
{
	take_in(row, *(TimestampTz *) arg, true);
}

/* A run that is not known may have committed before its news came. */
RunEntry *
sched_run_load(int64 run_id, TimestampTz now)
{
	if (sched_run_find(run_id) == NULL)
		js_runs_visit(run_id, run_id, visit_wanted_run, &now);
	return sched_run_find(run_id);
}

/* ------------------------------------------------------------------------
 * The log
 * ------------------------------------------------------------------------
 */

typedef struct LoggedJobs
{
	int64		ids[MAX_LOGGED_JOBS];
	int			count;
	int64		scheduled;		/* how many there are */
} LoggedJobs;

static LoggedJobs *logged;

static void
choose_logged(JobEntry *job, TimestampTz now)
{
	if (job->dropped || !job->has_schedule)
		return;
	if (logged->count < MAX_LOGGED_JOBS)
		logged->ids[logged->count++] = job->job_id;
	logged->scheduled++;
}

static const char *
next_run_text(const JobEntry *job)
{
	if (job->at_startup)
		return "at server start";
	if (!sched_job_fires(job))
		return "none while it is off";
	return job->next_run_at == DT_NOEND ? "none" : timestamptz_to_str(job->next_run_at);
}

static void
log_job(const JsJob *row)
{
	char	   *owner = GetUserNameFromId(row->owner, true);

	ereport(LOG,
			(errmsg("job \"%s\" of \"%s\": schedule \"%s\" (%s), next run %s",
					row->name, owner ? owner : "?", row->schedule, row->timezone,
					next_run_text(sched_job_find(row->job_id))),
			 errhidestmt(true)));
}

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* Says which jobs are scheduled for when, or of some if there are too many. */
void
sched_log_jobs(void)
{
	JsJob		row;

	logged = palloc0(sizeof(LoggedJobs));
	sched_jobs_each(choose_logged, 0);
	qsort(logged->ids, logged->count, sizeof(int64), compare_ids);
	for (int i = 0; i < logged->count; i++)
		if (js_job_read_head(logged->ids[i], &row))
			log_job(&row);
	if (logged->scheduled > logged->count)
		ereport(LOG,
				(errmsg(INT64_FORMAT " more scheduled jobs", logged->scheduled - logged->count)));
	pfree(logged);
}
