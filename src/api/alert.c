/*-------------------------------------------------------------------------
 *
 * alert.c
 *		Functions that define alerts: set_alert(), mute_alert(), drop_alert().
 *
 * An alert belongs to a role, concerns jobs of this role, and speaks to channels of
 * this role.  Each call gives the whole definition.  Here only the definition is
 * written; the scheduler is notified at commit, and does the rest (sched_alert.c).
 * It is its process that compares patterns and metadata for all roles, so how much
 * there may be of these is limited here.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "http/channel.h"
#include "miscadmin.h"
#include "shmem/clock.h"
#include "shmem/wakeup.h"
#include "store/store_alert.h"
#include "store/store_names.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_set_alert);
PG_FUNCTION_INFO_V1(jobsched_mute_alert);
PG_FUNCTION_INFO_V1(jobsched_drop_alert);

#define SHORTEST (USECS_PER_SEC)

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

static char *
name_argument(FunctionCallInfo fcinfo)
{
	char	   *name = js_required_text(fcinfo, 0, "name");

	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of an alert cannot be empty")));
	if (strlen(name) > JS_ALERT_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name of an alert cannot be longer than %d bytes", JS_ALERT_NAME_MAX)));
	return name;
}

/* Texts, none of which is NULL; a copy of one dimension. */
static ArrayType *
texts_argument(FunctionCallInfo fcinfo, int n, const char *parameter, int most, Datum **elements, int *count)
{
	bool	   *nulls;

	if (PG_ARGISNULL(n))
		js_refuse_null(parameter);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, elements, &nulls, count);
	if (*count > most)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s has %d elements, more than the %d that are allowed", parameter, *count, most)));
	for (int i = 0; i < *count; i++)
		if (nulls[i])
			js_refuse_null(psprintf("an element of %s", parameter));
	return construct_array(*elements, *count, TEXTOID, -1, false, TYPALIGN_INT);
}

static ArrayType *
channels_argument(FunctionCallInfo fcinfo, int n)
{
	Datum	   *elements;
	int			count;
	ArrayType  *channels = texts_argument(fcinfo, n, "channels", JS_MAX_ALERT_CHANNELS, &elements, &count);

	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("channels is empty"),
				 errhint("Name one that set_channel() has defined.")));
	for (int i = 0; i < count; i++)
		for (int k = 0; k < i; k++)
			if (DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, elements[i], elements[k])))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("channel \"%s\" is named twice", TextDatumGetCString(elements[i]))));
	return channels;
}

static ArrayType *
jobs_argument(FunctionCallInfo fcinfo, int n)
{
	Datum	   *elements;
	int			count;
	ArrayType  *jobs = texts_argument(fcinfo, n, "jobs", JS_MAX_ALERT_JOBS, &elements, &count);

	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("jobs is empty"),
				 errhint("Give names of jobs, in which \"*\" stands for any characters; '{*}' means all.")));
	for (int i = 0; i < count; i++)
	{
		char	   *pattern = TextDatumGetCString(elements[i]);

		if (pattern[0] == '\0' || strlen(pattern) > JS_MAX_ALERT_PATTERN)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid element of jobs \"%s\"", pattern),
					 errhint("It has 1 to %d bytes.", JS_MAX_ALERT_PATTERN)));
	}
	return jobs;
}

static Jsonb *
metadata_argument(FunctionCallInfo fcinfo, int n)
{
	Jsonb	   *metadata = PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n);

	if (metadata != NULL && !js_alert_metadata_is_fit(metadata))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid metadata"),
				 errhint("It is an object of at most %d bytes, with at most %d elements of arrays and %d levels.",
						 JS_MAX_ALERT_METADATA, JS_MAX_ALERT_ELEMENTS, JS_MAX_ALERT_DEPTH)));
	return metadata;
}

static ArrayType *
status_argument(FunctionCallInfo fcinfo, int n)
{
	static const char *const allowed[] = {"failed", "timed_out", "lost", "cancelled", "skipped", "missed"};
	Datum	   *elements;
	int			count;
	ArrayType  *statuses = texts_argument(fcinfo, n, "on_status", lengthof(allowed), &elements, &count);

	for (int i = 0; i < count; i++)
	{
		char	   *name = TextDatumGetCString(elements[i]);
		bool		found = false;

		for (int k = 0; k < lengthof(allowed); k++)
			found |= strcmp(name, allowed[k]) == 0;
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid element of on_status \"%s\"", name),
					 errhint("Each is one of failed, timed_out, lost, cancelled, skipped and missed.")));
	}
	return statuses;
}

/* 0: it is not given. */
static int64
span_argument(FunctionCallInfo fcinfo, int n, const char *parameter)
{
	int64		us;

	if (PG_ARGISNULL(n))
		return 0;
	us = js_interval_us(parameter, PG_GETARG_INTERVAL_P(n));
	if (us < SHORTEST)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" is too short", parameter,
						DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(n)))),
				 errhint("The shortest is 1 second; NULL means that there is none.")));
	return us;
}

static int64
group_argument(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		js_refuse_null("group_for");
	return js_interval_us("group_for", PG_GETARG_INTERVAL_P(n));
}

static bool
flag_argument(FunctionCallInfo fcinfo, int n, const char *parameter)
{
	if (PG_ARGISNULL(n))
		js_refuse_null(parameter);
	return PG_GETARG_BOOL(n);
}

static int32
threshold_argument(FunctionCallInfo fcinfo, int n, bool has_within)
{
	int32		most = has_within ? JS_MAX_ALERT_WITHIN : JS_MAX_ALERT_THRESHOLD;
	int32		value;

	if (PG_ARGISNULL(n))
		js_refuse_null("threshold");
	value = PG_GETARG_INT32(n);
	if (value < 1 || value > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid threshold \"%d\"", value),
				 errhint("It is from 1 to %d%s.", most, has_within ? ", with within" : "")));
	return value;
}

static bool
has_status(const JsAlert *alert)
{
	return ArrayGetNItems(ARR_NDIM(alert->on_status), ARR_DIMS(alert->on_status)) > 0;
}

/* What contradicts itself, or would never send anything. */
static void
check_alert(const JsAlert *alert)
{
	bool		any = has_status(alert);

	for (int i = 0; i < JS_ALERT_CONDITIONS; i++)
		any |= alert->spans[i] > 0;
	if (!any)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("alert \"%s\" has no condition", alert->name),
				 errhint("Give on_status, no_success_for, runs_longer_than, waits_longer_than or late.")));
	if (alert->every_failure && (alert->threshold > 1 || alert->within > 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("every_failure is given with %s", alert->within > 0 ? "within" : "threshold"),
				 errhint("Either each failure is told, or a number of them.")));
	if (alert->every_failure && !has_status(alert))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("every_failure is given without on_status")));
}

/* In the order of the function's parameters. */
static void
read_alert(FunctionCallInfo fcinfo, JsAlert *alert)
{
	memset(alert, 0, sizeof(JsAlert));
	alert->name = name_argument(fcinfo);
	alert->channels = channels_argument(fcinfo, 1);
	alert->jobs = jobs_argument(fcinfo, 2);
	alert->metadata = metadata_argument(fcinfo, 3);
	alert->on_status = status_argument(fcinfo, 4);
	alert->within = span_argument(fcinfo, 6, "within");
	alert->threshold = threshold_argument(fcinfo, 5, alert->within > 0);
	alert->spans[JS_ALERT_NO_SUCCESS] = span_argument(fcinfo, 7, "no_success_for");
	alert->spans[JS_ALERT_RUNS_LONGER] = span_argument(fcinfo, 8, "runs_longer_than");
	alert->spans[JS_ALERT_WAITS_LONGER] = span_argument(fcinfo, 9, "waits_longer_than");
	alert->spans[JS_ALERT_LATE] = span_argument(fcinfo, 10, "late");
	alert->every_failure = flag_argument(fcinfo, 11, "every_failure");
	alert->group_for = group_argument(fcinfo, 12);
	alert->repeat_every = span_argument(fcinfo, 13, "repeat_every");
	alert->resolved = flag_argument(fcinfo, 14, "resolved");
	alert->owner = js_owner_argument(fcinfo, 15);
	check_alert(alert);
}

/* One that is dropped later is passed over. */
static void
check_channels(const JsAlert *alert)
{
	int			count;
	char	  **names = js_event_names(alert->channels, &count);
	JsJob		job;

	for (int i = 0; i < count; i++)
		if (!js_job_find(alert->owner, psprintf(JS_CHANNEL_PREFIX "%s", names[i]), &job))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("channel \"%s\" of role \"%s\" does not exist", names[i], GetUserNameFromId(alert->owner, false)),
					 errhint("Define it by set_channel().")));
}

/* ------------------------------------------------------------------------
 * Functions
 * ------------------------------------------------------------------------
 */

static void
check_count(Oid owner)
{
	if (js_alert_count(owner) >= JS_MAX_ALERTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("role \"%s\" has %d alerts, as many as are allowed", GetUserNameFromId(owner, false), JS_MAX_ALERTS),
				 errhint("An alert can concern many jobs, and speak to many channels.")));
}

Datum
jobsched_set_alert(PG_FUNCTION_ARGS)
{
	TimestampTz now = js_clock_now();
	JsAlert		before;
	JsAlert		alert;
	bool		found;

	js_check_may_write("set_alert()");
	read_alert(fcinfo, &alert);
	js_check_may_own(alert.owner, false);
	check_channels(&alert);
	js_alert_lock(alert.owner, alert.name);
	found = js_alert_find(alert.owner, alert.name, &before);
	if (!found)
		check_count(alert.owner);
	alert.id = found ? before.id : *DatumGetUUIDP(DirectFunctionCall1(gen_random_uuid, (Datum) 0));
	alert.created_at = found ? before.created_at : now;
	alert.revision = found ? before.revision + 1 : 1;
	alert.updated_at = now;
	js_alert_write(&alert, !found);
	js_wakeup_alerts();
	PG_RETURN_VOID();
}

/* To whom it is not, it does not exist.  Nobody else changes it now. */
static void
find_for_change(FunctionCallInfo fcinfo, int owner_argument, JsAlert *alert)
{
	char	   *name = js_required_text(fcinfo, 0, "name");
	Oid			owner = js_owner_argument(fcinfo, owner_argument);
	bool		found = js_may_manage(owner) && js_alert_find(owner, name, alert);

	/* Whoever may not manage it cannot hold up those who may. */
	if (found)
	{
		js_alert_lock(owner, name);
		found = js_alert_find(owner, name, alert);
	}
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("alert \"%s\" of role \"%s\" does not exist", name, GetUserNameFromId(owner, false))));
}

/* 0: all. */
static int64
job_argument(FunctionCallInfo fcinfo, int n, Oid owner)
{
	char	   *name = js_text_argument(fcinfo, n);
	JsJob		job;

	if (name == NULL)
		return 0;
	if (!js_job_find(owner, name, &job))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" of role \"%s\" does not exist", name, GetUserNameFromId(owner, false))));
	return job.job_id;
}

static void
check_mutes(const JsAlert *alert, const JsAlertMute *mute)
{
	if (mute->job_id != 0 && js_alert_mute_count(&alert->id, mute->job_id) >= JS_MAX_ALERT_MUTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("alert \"%s\" is muted for %d jobs, as many as are allowed", alert->name, JS_MAX_ALERT_MUTES),
				 errhint("Mute it for all jobs, or define another alert for some of them.")));
}

Datum
jobsched_mute_alert(PG_FUNCTION_ARGS)
{
	JsAlertMute mute;
	JsAlert		alert;

	js_check_may_write("mute_alert()");
	find_for_change(fcinfo, 3, &alert);
	mute.alert_id = alert.id;
	mute.job_id = job_argument(fcinfo, 2, alert.owner);
	mute.until = PG_ARGISNULL(1) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(1);
	if (mute.until <= js_clock_now())
		js_alert_mute_delete(&alert.id, mute.job_id, false);
	else
	{
		check_mutes(&alert, &mute);
		js_alert_mute_write(&mute);
	}
	js_wakeup_alerts();
	PG_RETURN_VOID();
}

Datum
jobsched_drop_alert(PG_FUNCTION_ARGS)
{
	JsAlert		alert;

	js_check_may_write("drop_alert()");
	find_for_change(fcinfo, 1, &alert);
	js_alert_delete(&alert.id);
	js_wakeup_alerts();
	PG_RETURN_VOID();
}
