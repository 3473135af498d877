/*-------------------------------------------------------------------------
 *
 * http_job.c
 *		Functions that define HTTP requests, and queue them.
 *
 * A request is sent by a run.  Its definition is that of the run's job
 * (create_job(url => ...)), or one that the run brings along: http_post() and
 * its like queue such runs for a job "http" of the caller, so that these
 * requests too have policies, limits and a switch.  The scheduler makes that
 * job when there is a request for it (sched_jobless.c).
 *
 * Who may make requests: a role that may execute jobsched.http_request().  It
 * is asked when a request is defined or queued, and again when it is sent; and
 * for the owner of the run, not for who calls.
 *
 * Each run of a request has, after its other keys, the key of its host
 * ('http_host:api.example.com:443').  By that jobsched.http_max_per_host
 * holds, turns are taken between hosts, and set_limit('http_host', ...) can say
 * more.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "api/access.h"
#include "api/idempotency.h"
#include "base/guard.h"
#include "base/interval.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "guc.h"
#include "http/http_template.h"
#include "http/http_text.h"
#include "http/keys.h"
#include "miscadmin.h"
#include "run/capture.h"
#include "run/execsql.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "run/retry.h"
#include "run/row_json.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "store/bounds.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_http_request);
PG_FUNCTION_INFO_V1(jobsched_http_webhook);

/* ------------------------------------------------------------------------
 * Definitions
 * ------------------------------------------------------------------------
 */

static char *
text_argument(FunctionCallInfo fcinfo, int n, bool *any)
{
	if (PG_ARGISNULL(n))
		return NULL;
	*any = true;
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static Jsonb *
jsonb_argument(FunctionCallInfo fcinfo, int n, bool *any)
{
	if (PG_ARGISNULL(n))
		return NULL;
	*any = true;
	return PG_GETARG_JSONB_P_COPY(n);
}

static void
nothing_given(JsHttpDefinition *given)
{
	memset(given, 0, sizeof(JsHttpDefinition));
	given->connect_timeout = given->max_redirects = -1;
}

/* From sign_with on: what create_job() and http_request() have in common. */
static int
common_arguments(FunctionCallInfo fcinfo, int n, JsHttpDefinition *given, bool *any)
{
	given->sign_with = text_argument(fcinfo, n++, any);
	if (!PG_ARGISNULL(n))
		given->connect_timeout = js_interval_us("connect_timeout", PG_GETARG_INTERVAL_P(n));
	n++;
	if (!PG_ARGISNULL(n))
		given->success_codes = PG_GETARG_ARRAYTYPE_P_COPY(n);
	n++;
	if (!PG_ARGISNULL(n) && PG_GETARG_INT32(n) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_redirects \"%d\" is out of range", PG_GETARG_INT32(n)),
				 errhint("0 means that none is followed.")));
	if (!PG_ARGISNULL(n))
		given->max_redirects = PG_GETARG_INT32(n);
	n++;
	given->on_success = text_argument(fcinfo, n++, any);
	given->on_failure = text_argument(fcinfo, n++, any);
	*any |= given->connect_timeout >= 0 || given->success_codes != NULL || given->max_redirects >= 0;
	return n;
}

/*
 * The arguments of create_job() and alter_job() from url on; returns the number
 * of the one that follows.  any: whether one is given.
 */
int
js_http_arguments(FunctionCallInfo fcinfo, int n, JsHttpDefinition *given, bool *any)
{
	nothing_given(given);
	*any = false;
	given->url = text_argument(fcinfo, n++, any);
	given->method = text_argument(fcinfo, n++, any);
	given->headers = jsonb_argument(fcinfo, n++, any);
	given->body = jsonb_argument(fcinfo, n++, any);
	given->body_text = text_argument(fcinfo, n++, any);
	return common_arguments(fcinfo, n, given, any);
}

static const char *const callbacks[] = {"on_success", "on_failure"};

/* A request needs no session, but what is told of its end is a run that does. */
void
js_http_check_may_be_told(Jsonb *definition, Oid owner)
{
	for (int i = 0; i < lengthof(callbacks); i++)
		if (js_http_text(definition, callbacks[i]) != NULL && !js_role_can_login(owner))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					 errmsg("role \"%s\" cannot have %s: it is not permitted to log in",
							GetUserNameFromId(owner, false), callbacks[i]),
					 errhint("The function runs in a session of the owner. Give the role LOGIN (it needs no password), make the request as another role, or look at the outcome in view runs.")));
}

/* The functions that are to be told of its end. */
void
js_http_check_callbacks(Jsonb *definition, Oid owner)
{
	js_http_check_may_be_told(definition, owner);
	for (int i = 0; i < lengthof(callbacks); i++)
	{
		char	   *function = js_http_text(definition, callbacks[i]);

		if (function != NULL)
			(void) js_handler_lookup(function);
	}
}

/* A place is not for ever. */
void
js_http_check_timeout(int64 timeout)
{
	if (timeout > JS_HTTP_MAX_TIMEOUT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid timeout \"" INT64_FORMAT " s\" of an HTTP request",
						timeout / USECS_PER_SEC),
				 errhint("It is at most a day.")));
}

/* The definition of a job whose runs each bring their own; also no arguments. */
Jsonb *
js_http_none(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/* What a run sends; NULL: it does something else. */
Jsonb *
js_http_definition(const JsJob *job, const JsRun *run, JsHttpPlace *place)
{
	*place = run->request != NULL ? JS_HTTP_OF_RUN : JS_HTTP_OF_JOB;
	if (run->handler != NULL)
		return NULL;
	return run->request != NULL ? run->request : job->request;
}

/* ------------------------------------------------------------------------
 * Rights
 * ------------------------------------------------------------------------
 */

bool
js_http_may_request(Oid role)
{
	Oid			schema = get_namespace_oid("jobsched", true);
	CatCList   *found = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum("http_request"));
	bool		may = false;

	/* Whoever calls need not be allowed to use the schema. */
	for (int i = 0; i < found->n_members; i++)
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(&found->members[i]->tuple);

		if (proc->pronamespace == schema)
			may = js_function_aclcheck(proc->oid, role) == ACLCHECK_OK;
	}
	ReleaseSysCacheList(found);
	return may;
}

void
js_http_check_may_request(Oid role)
{
	if (!js_http_may_request(role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not make HTTP requests", GetUserNameFromId(role, false)),
				 errhint("GRANT EXECUTE ON FUNCTION jobsched.http_request TO the role.")));
}

/* ------------------------------------------------------------------------
 * Runs
 * ------------------------------------------------------------------------
 */

/* The templates of a job's run: what is given, and its host if it has one. */
ArrayType *
js_http_keys(const JsJob *job, ArrayType *templates)
{
	if (job->request == NULL || js_http_text(job->request, "url") == NULL)
		return templates;
	return js_keys_with(templates, js_http_host_template(job->request, JS_HTTP_OF_JOB));
}

/* A run that sends what it brings along. */
static void
prepare_run(JsRun *run, const JsJob *job, Jsonb *request, ArrayType *templates)
{
	templates = js_keys_with(templates != NULL ? templates : job->keys,
							 js_http_host_template(request, JS_HTTP_OF_RUN));
	js_queue_prepare(run, job);
	run->request = request;
	run->keys = js_keys_require(templates, job->args);
}

static void
check_has_method(const JsHttpDefinition *given)
{
	if (given->method == NULL || given->url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s cannot be NULL", given->method == NULL ? "method" : "url")));
}

/*
 * method, url, body, headers, params, timeout, max_attempts, keys,
 * idempotency_key, on_conflict, idempotency_period, body_text, run_at, priority,
 * and what requests of jobs have too.
 */
Datum
jobsched_http_request(PG_FUNCTION_ARGS)
{
	JsHttpDefinition given;
	JsIdempotency idempotency;
	ArrayType  *templates;
	Jsonb	   *request;
	JsRun		run;
	JsJob		job;
	bool		any;

	js_check_may_write("http_request()");
	nothing_given(&given);
	given.method = text_argument(fcinfo, 0, &any);
	given.url = text_argument(fcinfo, 1, &any);
	check_has_method(&given);
	given.body = jsonb_argument(fcinfo, 2, &any);
	given.headers = jsonb_argument(fcinfo, 3, &any);
	if (!PG_ARGISNULL(4))
		given.url = js_http_url_with_params(given.url, PG_GETARG_JSONB_P(4));
	given.body_text = text_argument(fcinfo, 11, &any);
	(void) common_arguments(fcinfo, 14, &given, &any);
	js_http_check_may_request(GetUserId());
	js_http_job(GetUserId(), &job);
	templates = PG_ARGISNULL(7) ? NULL : js_keys_argument(PG_GETARG_ARRAYTYPE_P(7));
	request = js_http_define(NULL, &given, JS_HTTP_OF_RUN);
	js_http_check_callbacks(request, GetUserId());
	prepare_run(&run, &job, request, templates);
	run.timeout = PG_ARGISNULL(5) ? 0 : js_interval_us("timeout", PG_GETARG_INTERVAL_P(5));
	js_http_check_timeout(run.timeout);
	run.max_attempts = PG_ARGISNULL(6) ? 0 : js_retry_max_attempts(PG_GETARG_INT32(6));
	run.run_at = js_queue_run_at(fcinfo, 12);
	run.priority = PG_ARGISNULL(13) ? 0 : PG_GETARG_INT32(13);
	js_idempotency_arguments(fcinfo, 8, &idempotency);
	if (js_idempotency_admit(&idempotency, &run, js_queue_run_at_is_given(fcinfo, 12)))
		js_queue_run(&run);
	PG_RETURN_INT64(run.run_id);
}

/* ------------------------------------------------------------------------
 * Webhooks
 *
 * A webhook never hinders a change of its table.  A row that cannot be sent is
 * left out, with a warning to who changes the table and a skipped run in the
 * history of the table's owner.  What can be known to be wrong is refused when
 * the trigger is created (webhook_check.c).
 * ------------------------------------------------------------------------
 */

typedef struct Webhook
{
	const TriggerData *data;
	const Trigger *trigger;
	Oid			owner;			/* of the table, and of what is queued */
	JsJob		job;			/* job_id 0: none so far */
	JsRun		run;
} Webhook;

static void
push_text(JsonbParseState **state, const char *key, const char *value)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = (char *) key;
	v.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &v);
	v.val.string.val = (char *) value;
	v.val.string.len = strlen(value);
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

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
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = (char *) key;
	v.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &v);
	if (tuple == NULL)
		v.type = jbvNull;
	else
		JsonbToJsonbValue(row_json(tuple, desc), &v);
	(void) pushJsonbValue(state, WJB_VALUE, &v);
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
	push_text(&state, "type", insert ? "INSERT" : update ? "UPDATE" :
			  TRIGGER_FIRED_BY_DELETE(data->tg_event) ? "DELETE" : "TRUNCATE");
	push_text(&state, "schema", get_namespace_name(RelationGetNamespace(rel)));
	push_text(&state, "table", RelationGetRelationName(rel));
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

	nothing_given(&given);
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
	js_queue_prepare(&hook->run, job);
	hook->run.args = change;
	hook->run.keys = js_keys_require(js_http_keys(job, job->keys), js_run_args(job->args, change));
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
		prepare_run(&hook->run, &hook->job, trigger_request(hook->trigger, change), NULL);
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

	js_queue_prepare(&hook->run, &hook->job);
	hook->run.run_id = js_run_next_id();
	hook->run.args = describe_change(hook->data, false);
	outcome.started_at = DT_NOBEGIN;
	outcome.finished_at = js_clock_now();
	outcome.sqlstate = unpack_sql_state(error->sqlerrcode);
	outcome.error = js_capture_text(error->message);
	outcome.error_detail = js_capture_text(error->detail);
	outcome.error_hint = js_capture_text(error->hint);
	js_history_insert(&hook->run, &outcome);
}

static void
leave_out(Webhook *hook, const ErrorData *error)
{
	warn_of_row(hook, error);
	/* In a transaction that is read only, or before the first scheduler, that is all. */
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
		js_queue_run(&hook.run);
	else
		leave_out(&hook, error);
	return pass_on(data);
}
