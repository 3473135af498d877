/*-------------------------------------------------------------------------
 *
 * sched_alert_write.c
 *		Writes the states of alerts that have changed.
 *
 * So many in a step.  One that the end of a run has changed is written when the tally
 * of the job has been (sched_tally.c): so after a crash what is read back from history
 * is what neither of both has.  A row that somebody holds waits a second.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "scheduler/sched_alert.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_WRITTEN 1000
#define MAX_TRIED 10000

static TimestampTz write_after = DT_NOEND;	/* by the real clock */

/*
 * When what could not be written is tried again; by the real clock.  What the ends of
 * runs have changed since is written with the tally.
 */
TimestampTz
sched_alerts_write_after(void)
{
	return write_after;
}

/* The error of its last run; history may have lost it by now. */
static void
read_error(AlertState *state)
{
	JsOutcome	outcome = {0};
	JsRun		run = {0};
	char	   *text;

	state->unread = false;
	if (!js_history_find_error(state->row.last_run_id, &run, &outcome))
		return;
	text = outcome.error != NULL ? pstrdup(outcome.error) : NULL;
	if (text != NULL)
		text[pg_mbcharcliplen(text, strlen(text), JS_ALERT_ERROR)] = '\0';
	sched_alert_state_text(&state->row.sqlstate, outcome.sqlstate);
	sched_alert_state_text(&state->row.error, text);
}

static void
read_name(AlertState *state)
{
	JsAlertJob	job;

	if (state->row.job_name == NULL && js_alert_job_read(state->key.job_id, false, &job))
		sched_alert_state_text(&state->row.job_name, job.name);
}

/* False: not now. */
static bool
write_state(AlertState *state)
{
	JobEntry   *job = state->by_end ? sched_job_find(state->key.job_id) : NULL;

	if (job != NULL && job->tally != NULL)
		return false;
	if (state->gone)
	{
		if (state->in_table && !js_alert_state_delete(&state->row))
			return false;
		sched_alert_state_free(state);
		return true;
	}
	if (state->unread)
		read_error(state);
	read_name(state);
	if (!js_alert_state_write(&state->row))
		return false;
	state->in_table = true;
	state->dirty = state->by_end = false;
	dlist_delete(&state->dirty_node);
	return true;
}

/* False: there are more that can be written. */
bool
sched_alerts_write(void)
{
	MemoryContext scratch;
	MemoryContext outer;
	int			written = 0;
	int			tried = 0;
	bool		more;
	dlist_head	held = DLIST_STATIC_INIT(held);
	bool		some_held;
	dlist_mutable_iter iter;

	write_after = DT_NOEND;
	if (dlist_is_empty(sched_alert_dirty()))
		return true;
	scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched alerts", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(scratch);
	dlist_foreach_modify(iter, sched_alert_dirty())
	{
		if (written == MAX_WRITTEN || tried++ == MAX_TRIED)
			break;
		if (write_state(dlist_container(AlertState, dirty_node, iter.cur)))
			written++;
		else
		{
			dlist_delete(iter.cur);
			dlist_push_tail(&held, iter.cur);
		}
		MemoryContextReset(scratch);
	}
	more = written > 0 && !dlist_is_empty(sched_alert_dirty());
	some_held = !dlist_is_empty(&held);
	while (!dlist_is_empty(&held))
		dlist_push_tail(sched_alert_dirty(), dlist_pop_head_node(&held));
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
	if (more)
		write_after = 0;
	else if (some_held)
		write_after = GetCurrentTimestamp() + USECS_PER_SEC;
	return !more;
}
