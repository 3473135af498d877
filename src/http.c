/*-------------------------------------------------------------------------
 *
 * http.c
 *		Functions that define HTTP requests, and queue them.
 *
 * A request is sent by a run.  Its definition is that of the run's job
 * (create_job(url => ...)), or one that the run brings along: http_post() and
 * its like queue such runs for a job "http" of the caller, which is made when
 * it is first needed, so that these requests too have policies, limits and a
 * switch.
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

#include "access.h"
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "clock.h"
#include "commands/trigger.h"
#include "compat.h"
#include "execsql.h"
#include "guc.h"
#include "http.h"
#include "idempotency.h"
#include "interval.h"
#include "keys.h"
#include "miscadmin.h"
#include "queue.h"
#include "retry.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
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

/* The functions that are to be told of its end. */
void
js_http_check_callbacks(Jsonb *definition)
{
	static const char *const names[] = {"on_success", "on_failure"};

	for (int i = 0; i < lengthof(names); i++)
	{
		char	   *function = js_http_text(definition, names[i]);

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
	js_http_check_callbacks(request);
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
 * ------------------------------------------------------------------------
 */

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

/* As row_to_json() has it; without a row null. */
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
	{
		Datum		row = heap_copy_tuple_as_datum(tuple, desc);
		char	   *json_text = TextDatumGetCString(DirectFunctionCall1(row_to_json, row));
		Jsonb	   *json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json_text)));

		v.type = jbvBinary;
		v.val.binary.data = &json->root;
		v.val.binary.len = VARSIZE_ANY_EXHDR(json);
	}
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

/* {"type", "schema", "table", "record", "old_record"}. */
static Jsonb *
describe_change(const TriggerData *data)
{
	Relation	rel = data->tg_relation;
	TupleDesc	desc = RelationGetDescr(rel);
	JsonbParseState *state = NULL;
	bool		insert = TRIGGER_FIRED_BY_INSERT(data->tg_event);
	bool		update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, "type", insert ? "INSERT" : update ? "UPDATE" : "DELETE");
	push_text(&state, "schema", get_namespace_name(RelationGetNamespace(rel)));
	push_text(&state, "table", RelationGetRelationName(rel));
	push_row(&state, "record", insert ? data->tg_trigtuple : update ? data->tg_newtuple : NULL, desc);
	push_row(&state, "old_record", insert ? NULL : data->tg_trigtuple, desc);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
check_is_row_trigger(FunctionCallInfo fcinfo)
{
	const TriggerData *data = (const TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("http_webhook() is for triggers AFTER ... FOR EACH ROW")));
	if (data->tg_trigger->tgnargs < 1 || data->tg_trigger->tgnargs > 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\" gives http_webhook() %d arguments", data->tg_trigger->tgname,
						data->tg_trigger->tgnargs),
				 errhint("They are the name of a job with a url, or a URL and, if you like, headers as a JSON object.")));
}

static bool
is_url(const char *text)
{
	return pg_strncasecmp(text, "http://", 7) == 0 || pg_strncasecmp(text, "https://", 8) == 0;
}

/*
 * The change is the body of a request for the job "http".  Whoever may create
 * triggers on the table has written the headers, and must not get at secrets of
 * its owner by them.
 */
static void
queue_to_url(Oid owner, const Trigger *trigger, Jsonb *change)
{
	JsHttpDefinition given;
	JsRun		run;
	JsJob		job;

	nothing_given(&given);
	given.url = trigger->tgargs[0];
	given.method = pstrdup("POST");
	given.body = change;
	if (trigger->tgnargs > 1 && strstr(trigger->tgargs[1], "{{") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers that trigger \"%s\" gives contain a placeholder", trigger->tgname),
				 errhint("Define a job with url and headers, and let the trigger name that.")));
	if (trigger->tgnargs > 1)
		given.headers = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(trigger->tgargs[1])));
	js_http_check_may_request(owner);
	js_http_job(owner, &job);
	prepare_run(&run, &job, js_http_define(NULL, &given, JS_HTTP_OF_RUN), NULL);
	js_queue_run(&run);
}

/* The change is the arguments of a run of the job. */
static void
queue_to_job(Oid owner, const char *name, Jsonb *change)
{
	JsJob		job;
	JsRun		run;

	if (!js_job_find(owner, name, &job))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" of role \"%s\" does not exist", name, GetUserNameFromId(owner, false)),
				 errhint("A webhook's job belongs to the owner of the table.")));
	if (job.request == NULL || js_http_text(job.request, "url") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" of role \"%s\" has no url", name, GetUserNameFromId(owner, false)),
				 errhint("A webhook triggers a job that makes an HTTP request.")));
	js_queue_prepare(&run, &job);
	run.args = change;
	run.keys = js_keys_require(js_http_keys(&job, job.keys), js_run_args(job.args, change));
	js_queue_run(&run);
}

/*
 * A row trigger.  Its argument is the name of a job or a URL; what is queued is
 * the table's owner's, whoever changes the table.
 */
Datum
jobsched_http_webhook(PG_FUNCTION_ARGS)
{
	const TriggerData *data = (const TriggerData *) fcinfo->context;
	const Trigger *trigger;
	Oid			owner;
	Jsonb	   *change;

	check_is_row_trigger(fcinfo);
	js_check_may_write("http_webhook()");
	trigger = data->tg_trigger;
	owner = data->tg_relation->rd_rel->relowner;
	change = describe_change(data);
	if (is_url(trigger->tgargs[0]))
		queue_to_url(owner, trigger, change);
	else
		queue_to_job(owner, trigger->tgargs[0], change);
	return PointerGetDatum(NULL);
}
