/*-------------------------------------------------------------------------
 *
 * event.c
 *		send_event(), event(), and parameters wait_for and wait_timeout: runs that
 *		wait for events.
 *
 * A name belongs to the role that owns the run.  Who sends an event to a run has to
 * be who might cancel it; who sends one to all runs sends it to his own.  So nobody
 * wakes a run of another role, or learns what it waits for.  Which runs an event
 * lets go is for the scheduler to find out (sched_event.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/event.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "base/sqlstate.h"
#include "catalog/pg_type.h"
#include "guc.h"
#include "miscadmin.h"
#include "run/context.h"
#include "shmem/clock.h"
#include "shmem/wakeup.h"
#include "store/bounds.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_send_event);
PG_FUNCTION_INFO_V1(jobsched_event);
PG_FUNCTION_INFO_V1(jobsched_awaits);

/* Nobody needs an event for longer. */
#define KEEP_DAYS 7				/* by default */
#define MAX_KEEP_DAYS 366

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

void
js_event_check_name(const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of an event cannot be empty"),
				 errhint("Give it a name such as \"approved\".")));
	if (strlen(name) > JS_MAX_EVENT_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name of an event cannot be longer than %d bytes", JS_MAX_EVENT_NAME),
				 errhint("Put into the payload what does not tell events apart.")));
}

static bool
is_among(Datum *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(TextDatumGetCString(names[i]), name) == 0)
			return true;
	return false;
}

/* Each name once; NULL: none is given. */
ArrayType *
js_event_wait_for(ArrayType *given)
{
	int			count = ArrayGetNItems(ARR_NDIM(given), ARR_DIMS(given));
	Datum	   *elements;
	bool	   *nulls;
	int			nnames = 0;

	if (count > JS_MAX_EVENTS)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("wait_for has %d elements, more than the %d that are allowed", count, JS_MAX_EVENTS),
				 errhint("Let other runs wait for some of them, and this one for those (after).")));
	deconstruct_array(given, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *name;

		if (nulls[i])
			js_refuse_null("an element of wait_for");
		name = TextDatumGetCString(elements[i]);
		js_event_check_name(name);
		if (!is_among(elements, nnames, name))
			elements[nnames++] = elements[i];
	}
	return nnames == 0 ? NULL : construct_array(elements, nnames, TEXTOID, -1, false, TYPALIGN_INT);
}

/* Whether there is something to wait for has to be known. */
int64
js_event_wait_timeout(const Interval *given, bool waits)
{
	int64		us = js_interval_us("wait_timeout", given);

	if (!waits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("wait_timeout is given without wait_for"),
				 errhint("It says how long the run waits for the events in wait_for.")));
	if (us == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid wait_timeout \"0\""),
				 errhint("Leave it out to wait for ever.")));
	return us;
}

/* wait_for and wait_timeout, from argument n on. */
void
js_event_arguments(FunctionCallInfo fcinfo, int n, JsRun *run)
{
	run->wait_for = PG_ARGISNULL(n) ? NULL : js_event_wait_for(PG_GETARG_ARRAYTYPE_P(n));
	run->wait_timeout = PG_ARGISNULL(n + 1) ? 0 :
		js_event_wait_timeout(PG_GETARG_INTERVAL_P(n + 1), run->wait_for != NULL);
}

/* ------------------------------------------------------------------------
 * send_event()
 * ------------------------------------------------------------------------
 */

/* False: the run has ended.  For who may not cancel it, it does not exist. */
bool
js_event_address(Oid sender, int64 run_id, JsEvent *event)
{
	JsOutcome	outcome;
	JsRun		run;
	JsJob		job;
	bool		live = js_run_see_head(run_id, &run);

	if ((!live && !js_history_find(run_id, &run, &outcome)) || !js_role_may_manage_run(sender, &run))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("run " INT64_FORMAT " does not exist", run_id),
				 errhint("Events can be sent to runs that you may cancel.")));
	event->run_id = run_id;
	event->owner = js_job_read_head(run.job_id, &job) ? job.owner : run.owner;
	return live;
}

/* Events are kept for days: the scheduler counts who has how many. */
void
js_event_check_room(Oid owner)
{
	if (js_event_is_full(owner))
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("role \"%s\" has more than the %d events that are allowed",
						GetUserNameFromId(owner, false), js_guc_max_events),
				 errhint("Send events with a shorter keep; or have a superuser raise jobsched.max_events.")));
}

static int64
keep_argument(FunctionCallInfo fcinfo, int n)
{
	int64		us = js_span_argument(fcinfo, n, "keep", KEEP_DAYS * USECS_PER_DAY);

	if (us > MAX_KEEP_DAYS * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keep \"%s\" is too long",
						DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(n)))),
				 errhint("The longest is %d days.", MAX_KEEP_DAYS)));
	return us;
}

/* With what is to be known of it but its id, which it gets unless it has one. */
void
js_event_send(JsEvent *event)
{
	js_event_insert(event);
	js_wakeup_event(event->event_id);
}

/* name, payload, run_id, keep */
Datum
jobsched_send_event(PG_FUNCTION_ARGS)
{
	JsEvent		event = {.owner = GetUserId()};
	bool		live = true;

	js_check_may_write("send_event()");
	event.name = js_required_text(fcinfo, 0, "name");
	js_event_check_name(event.name);
	if (!PG_ARGISNULL(1))
	{
		event.payload = PG_GETARG_JSONB_P(1);
		js_bounds_check_payload(event.payload);
	}
	event.sent_at = js_clock_now();
	event.expires_at = event.sent_at + keep_argument(fcinfo, 3);
	if (!PG_ARGISNULL(2))
		live = js_event_address(GetUserId(), PG_GETARG_INT64(2), &event);
	if (!live)
		PG_RETURN_NULL();
	js_event_check_room(event.owner);
	js_event_send(&event);
	PG_RETURN_INT64(event.event_id);
}

/* ------------------------------------------------------------------------
 * What has come
 * ------------------------------------------------------------------------
 */

static bool
waits_for(const JsRun *run, const char *name)
{
	int			count;
	char	  **names = js_event_names(run->wait_for, &count);

	for (int i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* Who has waited for the run that is executed: of an element, its step.  False: nobody. */
static bool
find_waiter(JsRun *waiter)
{
	if (js_current_run == NULL)
		return false;
	*waiter = *js_current_run;
	return (waiter->source != JS_SOURCE_ITEM || js_run_see_head(waiter->parent_run_id, waiter)) &&
		waiter->wait_for != NULL;
}

Datum
jobsched_event(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	JsRun		waiter;
	JsEvent		event;
	int64		event_id;

	if (!find_waiter(&waiter))
		PG_RETURN_NULL();
	if (!waits_for(&waiter, name))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("run " INT64_FORMAT " has not waited for event \"%s\"", waiter.run_id, name),
				 errhint("Name it in wait_for.")));
	event_id = js_event_match_find(waiter.run_id, name);
	if (event_id == 0 || !js_event_read(event_id, &event) || event.payload == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(event.payload);
}

/* For views: which of the names a run waits for have not come.  Whoever may not see it learns nothing. */
Datum
jobsched_awaits(PG_FUNCTION_ARGS)
{
	int64		run_id = PG_GETARG_INT64(0);
	int			count;
	char	  **names = js_event_names(PG_GETARG_ARRAYTYPE_P(1), &count);
	Datum	   *missing = palloc(sizeof(Datum) * Max(count, 1));
	int			nmissing = 0;
	JsRun		head;

	if (js_run_see_head(run_id, &head) && js_may_see(head.owner))
		for (int i = 0; i < count; i++)
			if (js_event_match_find(run_id, names[i]) == 0)
				missing[nmissing++] = CStringGetTextDatum(names[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(missing, nmissing, TEXTOID, -1, false, TYPALIGN_INT));
}
