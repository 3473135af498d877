/*-------------------------------------------------------------------------
 *
 * webhook.c
 *		http_webhook(), the trigger that sends rows.
 *
 * A webhook never prevents a change of its table.  A row that cannot be sent is
 * left out, with a warning to the session that changes the table, and a skipped
 * run in the history of the table's owner.  Mistakes that are visible earlier
 * are refused when the trigger is created (webhook_check.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/http.h"
#include "api/webhook.h"
#include "base/guard.h"
#include "base/json.h"
#include "base/sqlstate.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "http/http_template.h"
#include "http/http_text.h"
#include "http/limit_keys.h"
#include "miscadmin.h"
#include "run/capture.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "run/row_json.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "store/bounds.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(jobsched_http_webhook);

typedef struct Webhook
{
	const TriggerData *data;
	const Trigger *trigger;
	Oid			owner;			/* of the table, and of what is queued */
	JsJob		job;			/* job_id 0: none so far */
	JsRun		run;
} Webhook;

static Jsonb *
row_json(HeapTuple tuple, TupleDesc desc)
{
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));

	heap_deform_tuple(tuple, desc, values, nulls);
	return js_row_json(desc, desc, values, nulls, JS_HTTP_MAX_BODY, JS_BAD_JSON_IS_TEXT);
}

/* Without a row null. */
static void
push_row(JsonbParseState **state, const char *key, HeapTuple tuple, TupleDesc desc)
{
	JsonbValue	null = {.type = jbvNull};

	if (tuple == NULL)
		js_json_push(state, key, &null);
	else
		js_json_push_jsonb(state, key, row_json(tuple, desc));
}

/* {"type", "schema", "table"}, and of what can be sent "record", "old_record". */
static Jsonb *
describe_change(const TriggerData *data, bool with_rows)
{
	Relation	rel = data->tg_relation;
	TupleDesc	desc = RelationGetDescr(rel);
	JsonbParseState *state = NULL;
	bool		insert = TRIGGER_FIRED_BY_INSERT(data->tg_event);
	bool		update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_text(&state, "type", insert ? "INSERT" : update ? "UPDATE" :
					  TRIGGER_FIRED_BY_DELETE(data->tg_event) ? "DELETE" : "TRUNCATE");
	js_json_push_text(&state, "schema", get_namespace_name(RelationGetNamespace(rel)));
	js_json_push_text(&state, "table", RelationGetRelationName(rel));
	if (with_rows)
	{
		push_row(&state, "record", insert ? data->tg_trigtuple : update ? data->tg_newtuple : NULL, desc);
		push_row(&state, "old_record", insert ? NULL : data->tg_trigtuple, desc);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static bool
is_url(const char *text)
{
	return pg_strncasecmp(text, "http://", 7) == 0 || pg_strncasecmp(text, "https://", 8) == 0;
}

static bool
names_url(const Trigger *trigger)
{
	return trigger->tgnargs > 0 && is_url(trigger->tgargs[0]);
}

/*
 * Whoever may create triggers on the table has written the headers, and must
 * not get at secrets of its owner by them.  They are looked at as they are used:
 * in the text of the argument a brace may be written \u007b.
 */
static Jsonb *
trigger_headers(const Trigger *trigger)
{
	Jsonb	   *headers;

	if (trigger->tgnargs < 2)
		return NULL;
	headers = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(trigger->tgargs[1])));
	if (js_json_has_placeholder(headers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers that trigger \"%s\" gives contain a placeholder", trigger->tgname),
				 errhint("Define a job with url and headers, and let the trigger name that.")));
	return headers;
}

/* The change is the body; NULL: only what the trigger says. */
static Jsonb *
trigger_request(const Trigger *trigger, Jsonb *change)
{
	JsHttpDefinition given;

	js_http_nothing_given(&given);
	given.url = trigger->tgargs[0];
	given.method = pstrdup("POST");
	given.body = change;
	given.headers = trigger_headers(trigger);
	return js_http_define(NULL, &given, JS_HTTP_OF_RUN);
}

/* Raises what is wrong with it as it was made. */
static void
check_trigger(const Trigger *trigger)
{
	if (!TRIGGER_FOR_ROW(trigger->tgtype) || !TRIGGER_FOR_AFTER(trigger->tgtype))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("http_webhook() is for triggers AFTER ... FOR EACH ROW")));
	if (trigger->tgnargs < 1 || trigger->tgnargs > (names_url(trigger) ? 2 : 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\" gives http_webhook() %d arguments", trigger->tgname, trigger->tgnargs),
				 errhint("They are the name of a job with a url, or a URL and, if you like, headers as a JSON object.")));
}

/* Raises what keeps it from sending anything, and may be changed at any time. */
static void
check_target(void *arg)
{
	Webhook    *hook = arg;
	const char *name = hook->trigger->tgargs[0];
	bool		found;
	bool		sends;

	if (names_url(hook->trigger))
	{
		js_http_check_may_request(hook->owner);
		return;
	}
	found = js_job_find(hook->owner, name, &hook->job);
	sends = found && hook->job.request != NULL && js_http_text(hook->job.request, "url") != NULL;
	/* Whoever made the trigger need not learn which other jobs the owner has. */
	if (!found || (!sends && !js_may_manage(hook->owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" of role \"%s\" does not exist", name,
						GetUserNameFromId(hook->owner, false)),
				 errhint("A webhook's job belongs to the owner of the table.")));
	if (!sends)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" of role \"%s\" has no url", name, GetUserNameFromId(hook->owner, false)),
				 errhint("A webhook triggers a job that makes an HTTP request.")));
}

/*
 * For the door: raises what is wrong with a trigger.  Jobs and rights may still
 * come, in a restore for instance, so for these a warning has to do.
 */
void
js_webhook_check_trigger(const Trigger *trigger, Oid owner)
{
	Webhook		hook = {.trigger = trigger,.owner = owner};
	ErrorData  *error;

	check_trigger(trigger);
	if (names_url(trigger))
		(void) trigger_request(trigger, NULL);
	error = js_guard(check_target, &hook);
	if (error != NULL)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("trigger \"%s\" sends nothing: %s", trigger->tgname, error->message),
				 error->hint ? errhint("%s", error->hint) : 0));
}

/* That of single requests. */
static void
find_http_job(void *arg)
{
	Webhook    *hook = arg;

	js_check_may_write("http_webhook()");
	js_http_job(hook->owner, &hook->job);
}

/* The change is the arguments of a run of the job. */
static void
prepare_run_of_job(Webhook *hook, Jsonb *change)
{
	const JsJob *job = &hook->job;

	if (js_json_is_longer(&change->root, JS_HTTP_MAX_BODY))
		js_check_body_size(JS_HTTP_MAX_BODY + 1);
	js_queue_prepare(&hook->run, job, JS_SOURCE_TRIGGER);
	hook->run.args = change;
	hook->run.keys = js_limit_keys_require(js_http_keys(job, job->keys), js_run_args(job->args, change));
}

/* Raises what is in the way; writes nothing. */
static void
prepare_webhook(void *arg)
{
	Webhook    *hook = arg;
	Jsonb	   *change;

	js_check_may_write("http_webhook()");
	check_trigger(hook->trigger);
	check_target(hook);
	change = describe_change(hook->data, true);
	if (names_url(hook->trigger))
		js_http_prepare_run(&hook->run, &hook->job, trigger_request(hook->trigger, change), NULL);
	else
		prepare_run_of_job(hook, change);
	js_bounds_check_run(&hook->run);
}

/* Of a statement with a million rows, one warning is enough. */
static void
warn_of_row(const Webhook *hook, const ErrorData *error)
{
	static TimestampTz warned_at = 0;
	static Oid	warned_of = InvalidOid;

	if (warned_at == GetCurrentStatementStartTimestamp() && warned_of == hook->trigger->tgoid)
		return;
	warned_at = GetCurrentStatementStartTimestamp();
	warned_of = hook->trigger->tgoid;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("a row of table \"%s\" is not sent by trigger \"%s\": %s",
					RelationGetRelationName(hook->data->tg_relation), hook->trigger->tgname,
					error->message),
			 error->hint ? errhint("%s", error->hint) : 0));
}

/* A run that was not to be. */
static void
record_row(Webhook *hook, const ErrorData *error)
{
	JsOutcome	outcome = {.status = JS_SKIPPED,.reason = JS_UNSENDABLE};

	js_queue_prepare(&hook->run, &hook->job, JS_SOURCE_TRIGGER);
	hook->run.run_id = js_run_next_id();
	hook->run.args = describe_change(hook->data, false);
	outcome.started_at = DT_NOBEGIN;
	outcome.finished_at = js_clock_now();
	outcome.sqlstate = js_sqlstate(error->sqlerrcode);
	outcome.error = js_capture_text(error->message);
	outcome.error_detail = js_capture_text(error->detail);
	outcome.error_hint = js_capture_text(error->hint);
	js_history_insert(&hook->run, &outcome);
}

static void
leave_out(Webhook *hook, const ErrorData *error)
{
	warn_of_row(hook, error);
	/* That is all in a read-only transaction, or before a scheduler. */
	if (XactReadOnly || js_database_find(MyDatabaseId) == NULL)
		return;
	if (hook->job.job_id == 0)
		(void) js_guard(find_http_job, hook);
	hook->job.owner = hook->owner;	/* of no job, if there is none to be had */
	record_row(hook, error);
}

/* A trigger that should not be one BEFORE a change must let it pass all the same. */
static Datum
pass_on(const TriggerData *data)
{
	if (!TRIGGER_FIRED_FOR_ROW(data->tg_event) || TRIGGER_FIRED_AFTER(data->tg_event))
		return PointerGetDatum(NULL);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple);
}

/*
 * A row trigger.  Its argument is the name of a job or a URL; what is queued is
 * the table's owner's, whoever changes the table.
 */
Datum
jobsched_http_webhook(PG_FUNCTION_ARGS)
{
	const TriggerData *data = (const TriggerData *) fcinfo->context;
	Webhook		hook = {.data = data};
	ErrorData  *error = NULL;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("http_webhook() is a trigger function")));
	hook.trigger = data->tg_trigger;
	hook.owner = data->tg_relation->rd_rel->relowner;
	if (names_url(hook.trigger))
		error = js_guard(find_http_job, &hook);
	if (error == NULL)
		error = js_guard(prepare_webhook, &hook);
	if (error == NULL)
		(void) js_queue_run(&hook.run);
	else
		leave_out(&hook, error);
	return pass_on(data);
}
