/*-------------------------------------------------------------------------
 *
 * sched_await.c
 *		How runs that wait for events look for them.
 *
 * sched_event.c has the design.  All of it is done in portions.  Events that are
 * not needed any more are deleted here too: with each sweep, a few in a step.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "store/owner.h"
#include "utils/timestamp.h"

/* What is looked up in one step, and what is for each run besides its events. */
#define MAX_LOOKED_UP 1500
#define COST_OF_RUN 4

/* Expired events looked at in one step, and the pause between two such steps. */
#define MAX_EXPIRED 256
#define PAUSE_US (20 * 1000)

/* An event is there for longer than it has to be: some may be about to look for it. */
#define GRACE_US USECS_PER_HOUR

/* A run that looks, and those above it. */
typedef struct Look
{
	RunEvents  *events;
	int64		run_id;
	int64		open_for[JS_MAX_DEPTH + 2]; /* 0, the run, and those above */
	int			nopen_for;
	int64		after;			/* what is sent to all is to be newer than
								 * this, too */
	int			left;			/* that may be looked up in this step */
	bool		is_held;		/* somebody holds a row */
} Look;

/* ------------------------------------------------------------------------
 * A look
 * ------------------------------------------------------------------------
 */

/* The run above one, by its row if it is not in memory; 0: there is none. */
static int64
parent_of(int64 run_id)
{
	const RunEntry *run = sched_run_find(run_id);
	JsRun		head;

	if (run != NULL)
		return run->child == NULL ? 0 : sched_child_parent(run);
	return js_run_see_head(run_id, &head) ? head.parent_run_id : 0;
}

/* What may be open for the run; the last one is the root of its tree. */
static void
find_tree(Look *look)
{
	int64		run_id = look->run_id;

	look->open_for[look->nopen_for++] = 0;
	while (run_id != 0 && look->nopen_for < lengthof(look->open_for))
	{
		look->open_for[look->nopen_for++] = run_id;
		run_id = parent_of(run_id);
	}
	look->events->root = look->open_for[look->nopen_for - 1];
}

/* The first of a name that the run may see. */
static bool
find_first(Look *look, const char *name, JsEvent *first)
{
	bool		found = false;

	for (int i = 0; i < look->nopen_for; i++)
	{
		JsEvent		event;

		look->left--;
		if (js_event_find(look->events->owner, name, look->open_for[i],
						  look->open_for[i] == 0 ? Max(look->after, look->events->root) : look->events->root, &event) &&
			(!found || event.came < first->came))
		{
			*first = event;
			found = true;
		}
	}
	return found;
}

/* It may be that several were sent to a run above, and that another one awaits the next. */
static void
tell_others(const Look *look, const char *name)
{
	for (int i = 2; i < look->nopen_for; i++)
		sched_event_tell_next(look->events->owner, name, look->open_for[i]);
}

/* Whether the run has got an event of a name, maybe now. */
static bool
has_got(Look *look, const char *name)
{
	JsEvent		event = {0};

	look->left--;
	if (js_event_match_find(look->run_id, name) != 0)
		return true;
	if (!find_first(look, name, &event))
		return false;
	if (event.run_id != 0 && !js_event_take(event.event_id, look->run_id))
	{
		look->is_held = true;
		return false;
	}
	js_event_match_insert(look->run_id, name, event.event_id);
	tell_others(look, name);
	return true;
}

/* Likewise; if not it is awaited. */
static bool
look_for(Look *look, const char *name)
{
	if (has_got(look, name))
		return true;
	for (int i = 0; i < look->nopen_for; i++)
		if (look->open_for[i] != look->run_id)
			sched_event_await(look->events, name, look->open_for[i]);
	return false;
}

/* Whether the run has got an event of each name; the others are awaited. */
static bool
look_for_all(Look *look, ArrayType *wait_for)
{
	int			count;
	char	  **names = js_event_names(wait_for, &count);
	bool		all = true;

	for (int i = 0; i < count; i++)
		all = look_for(look, names[i]) && all;
	return all;
}

/*
 * Whether a request that a procedure waits for has ended.  If not it is in memory then,
 * and tells when it leaves that; else the look is made again.
 */
static bool
request_has_ended(Look *look, int64 request_id, TimestampTz now)
{
	JsRun		head;

	look->left--;
	if (!js_run_see_head(request_id, &head))
		return true;
	look->is_held = sched_run_load(request_id, now) == NULL;
	return false;
}

/* Whether a procedure goes on: the event has come, or its time is over; or the request has ended. */
static bool
look_for_procedure(Look *look, TimestampTz now)
{
	JsMemo		wait;

	look->left--;
	if (!js_memo_find(look->run_id, JS_MEMO_WAIT, &wait))
		return true;
	if (wait.request_id != 0)
		return request_has_ended(look, wait.request_id, now);
	if (wait.event == NULL)
		return true;
	look->events->until = wait.sleeps_until;
	look->after = wait.event_came;
	return look_for(look, wait.event) ||
		(!look->is_held && wait.sleeps_until != DT_NOBEGIN && wait.sleeps_until <= now);
}

/* ------------------------------------------------------------------------
 * Runs in turn
 * ------------------------------------------------------------------------
 */

/* run_at may be the last instant that there is. */
static TimestampTz
add_timeout(TimestampTz from, int64 timeout)
{
	return from < END_TIMESTAMP - timeout ? from + timeout : END_TIMESTAMP - 1;
}

/* Its time begins: not before its run_at.  False: somebody holds its row. */
static bool
begin_time(RunEvents *events, TimestampTz now)
{
	TimestampTz until;

	if (events->timeout == 0 || events->until != DT_NOBEGIN)
		return true;
	until = add_timeout(Max(now, events->run->run_at), events->timeout);
	if (!js_run_begin_wait(events->run->run_id, until))
		return false;
	events->until = until;
	return true;
}

/*
 * A run that does not wait any more is placed as if it had been queued now.  A procedure
 * has begun to wait at its run_at: the clock may have been set back since.
 */
static void
let_go(RunEvents *events, TimestampTz now)
{
	RunEntry   *run = events->run;

	if (events->of_procedure)
		run->run_at = Min(run->run_at, now);
	sched_event_end(events);
	sched_run_wait(run, now);
}

static void
see_to(RunEvents *events, int *left, TimestampTz now)
{
	RunEntry   *run = events->run;
	Look		look = {.events = events,.run_id = run->run_id,.left = *left - COST_OF_RUN};
	JsRun		head;

	if (run->after != NULL || sched_run_is_left_alone(run) || !js_run_see_head(run->run_id, &head))
		sched_event_look_away(events);
	else if (js_role_name(run->job->owner) == NULL)
		let_go(events, now);	/* nobody can send anything: it fails */
	else if (!begin_time(events, now))
		sched_event_put_off(events);
	else
	{
		sched_event_forget_keys(events);
		events->owner = run->job->owner;
		find_tree(&look);
		if (events->of_procedure ? look_for_procedure(&look, now) : look_for_all(&look, head.wait_for))
			let_go(events, now);
		else if (look.is_held)
			sched_event_put_off(events);
		else
			sched_event_looked(events, now);
	}
	*left = look.left;
}

/* ------------------------------------------------------------------------
 * Events that have expired
 * ------------------------------------------------------------------------
 */

/* Where the next step goes on; DT_NOEND: it is through. */
static TimestampTz position = DT_NOBEGIN;
static TimestampTz next_step = 0;	/* by the real clock */

/* Once more from the oldest. */
void
sched_await_begin_expiry(void)
{
	position = DT_NOBEGIN;
	next_step = 0;
}

/* When the next step is to be made, by the real clock. */
TimestampTz
sched_await_deadline(void)
{
	return position == DT_NOEND ? DT_NOEND : next_step;
}

bool
sched_await_expires_now(void)
{
	TimestampTz now = GetCurrentTimestamp();

	return position != DT_NOEND && (now >= next_step || next_step - now > PAUSE_US);
}

/*
 * Not before all that wait have looked since the start: what expires now may have come
 * while no scheduler was there.  Later they look soon enough.  And not where runs
 * sleep whose home is elsewhere.
 */
void
sched_await_expire(TimestampTz now)
{
	static bool all_have_looked = false;

	next_step = GetCurrentTimestamp() + PAUSE_US;
	all_have_looked |= !sched_event_waiting();
	if (sched.asleep_count > 0)
		position = DT_NOEND;
	else if (all_have_looked && !js_events_expire(&position, now - GRACE_US, MAX_EXPIRED))
		position = DT_NOEND;
}

/* A portion of what there is to be done, but for the ends. */
void
sched_await_serve(TimestampTz now)
{
	int			left = MAX_LOOKED_UP;
	RunEvents  *events;

	sched_event_ripen(now);
	sched_event_tell_some();
	while (left > 0 && (events = sched_event_next_to_see()) != NULL)
		see_to(events, &left, now);
	sched_event_clean();
}

/* What a run has waited for in vain, for people to read. */
char *
sched_await_missing(const RunEntry *run)
{
	JsRun		head;
	int			count;
	char	  **names;

	if (!js_run_see_head(run->run_id, &head))
		return NULL;
	names = js_event_names(head.wait_for, &count);
	for (int i = 0; i < count; i++)
		if (js_event_match_find(run->run_id, names[i]) == 0)
			return psprintf("event \"%s\" has not come", names[i]);
	return NULL;
}
