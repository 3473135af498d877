/*-------------------------------------------------------------------------
 *
 * set_channel.c
 *		Functions that define channels: set_channel(), drop_channel(),
 *		test_channel().
 *
 * A channel is a job (http/channel.c).  Each call of set_channel() gives its whole
 * definition; the policies of the job, which alter_job() changes, stay.  What else could
 * make another job of it, or another of it, is refused here.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/http.h"
#include "api/set_channel.h"
#include "base/arguments.h"
#include "base/json.h"
#include "base/sqlstate.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "guc.h"
#include "http/channel.h"
#include "http/http_definition.h"
#include "http/limit_keys.h"
#include "http/mail.h"
#include "http/step_placeholders.h"
#include "run/channel_run.h"
#include "run/execsql.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "shmem/clock.h"
#include "store/bounds.h"
#include "store/job_parameters.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(jobsched_set_channel);
PG_FUNCTION_INFO_V1(jobsched_drop_channel);
PG_FUNCTION_INFO_V1(jobsched_test_channel);

/*
 * Attempts at a message, over some hours: whoever is to be told may be away for a while.
 * Others wait for it, so it is not long after he is back.
 */
#define MESSAGE_ATTEMPTS 50
#define MESSAGE_BACKOFF_MAX (5 * USECS_PER_MINUTE)

/* Mails are to several receivers, of which one that hangs does not keep others waiting. */
#define MAILS_AT_A_TIME 4

/* What a caller has given. */
typedef struct Given
{
	char	   *name;
	JsChannelKind kind;
	JsHttpDefinition http;
	List	   *to_address;		/* of char * */
	char	   *handler;
	Oid			owner;
} Given;

/* ------------------------------------------------------------------------
 * What others may not do
 * ------------------------------------------------------------------------
 */

static bool
is_reserved(const char *name)
{
	return name != NULL && strncmp(name, JS_CHANNEL_PREFIX, strlen(JS_CHANNEL_PREFIX)) == 0;
}

/* For a job that is created, or renamed. */
void
js_channel_check_name_is_free(const char *name)
{
	if (is_reserved(name))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("the name of a job cannot begin with \"%s\"", JS_CHANNEL_PREFIX),
				 errhint("set_channel() makes the job of a channel.")));
}

/* What has been given to alter_job(). */
void
js_channel_check_alter(const JsJob *before, const JsJobDefinition *def)
{
	const bool *given = def->args.given;

	if (js_channel_kind(before) == JS_CHANNEL_NONE)
	{
		js_channel_check_name_is_free(given[JS_JOB_NAME] ? def->args.job.name : NULL);
		return;
	}
	if (given[JS_JOB_NAME] || given[JS_JOB_ARGS] || given[JS_JOB_SCHEDULE] || def->after != NULL ||
		js_job_definition_changes_work(def))
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("job \"%s\" is a channel", before->name),
				 errdetail("Its name, args and schedule, and what it does, cannot be changed by alter_job()."),
				 errhint("set_channel() changes what a channel does.")));
}

void
js_channel_check_drop(const JsJob *job)
{
	if (js_channel_kind(job) != JS_CHANNEL_NONE)
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("job \"%s\" is a channel", job->name),
				 errhint("drop_channel() removes it.")));
}

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

static void
check_name(const char *name)
{
	if (strlen(name) > JS_CHANNEL_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name of a channel cannot be longer than %d bytes", JS_CHANNEL_NAME_MAX)));
	if (!js_channel_name_is_fit(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name of a channel \"%s\"", name),
				 errhint("It has 1 to %d letters, digits, \"_\", \".\" and \"-\".", JS_CHANNEL_NAME_MAX)));
}

static JsChannelKind
kind_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *name = js_required_text(fcinfo, n, "kind");
	JsChannelKind kind = js_channel_kind_named(name);

	if (kind == JS_CHANNEL_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid kind \"%s\"", name),
				 errhint("It is one of slack, webhook, email, notify and handler.")));
	return kind;
}

static void
add_address(List **addresses, char *address)
{
	const char *problem = js_mail_address_problem(address);
	ListCell   *lc;

	if (strlen(address) > JS_MAIL_MAX_ADDRESS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an address in to_address is longer than %d bytes", JS_MAIL_MAX_ADDRESS)));
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid address \"%s\"", address),
				 errdetail("It %s.", problem),
				 errhint("Give each element one plain address such as \"ops@example.com\".")));
	foreach(lc, *addresses)
	{
		if (strcmp(lfirst(lc), address) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("address \"%s\" is given twice", address),
					 errhint("Each address gets one mail.")));
	}
	*addresses = lappend(*addresses, address);
}

static List *
addresses_argument(FunctionCallInfo fcinfo, int n)
{
	List	   *addresses = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (PG_ARGISNULL(n))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	if (count > JS_CHANNEL_MAX_ADDRESSES)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("to_address has %d elements, more than the %d that are allowed", count, JS_CHANNEL_MAX_ADDRESSES),
				 errhint("Give the address of a list, or make several channels.")));
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			js_refuse_null("an element of to_address");
		add_address(&addresses, TextDatumGetCString(elements[i]));
	}
	return addresses;
}

/* What the kinds are made of: what a kind needs is given, and nothing else. */
static void
check_parameter(const Given *given, const char *parameter, bool is_given, bool is_allowed, bool is_needed)
{
	if (is_given && !is_allowed)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is given for a channel of kind \"%s\"", parameter, js_channel_kind_name(given->kind)),
				 errhint("slack takes url and template, webhook also headers and sign_with, email to_address, handler handler, and notify nothing.")));
	if (!is_given && is_needed)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a channel of kind \"%s\" needs %s", js_channel_kind_name(given->kind), parameter)));
}

static void
check_parameters(const Given *given)
{
	bool		slack = given->kind == JS_CHANNEL_SLACK;
	bool		webhook = given->kind == JS_CHANNEL_WEBHOOK;
	bool		email = given->kind == JS_CHANNEL_EMAIL;
	bool		handler = given->kind == JS_CHANNEL_HANDLER;

	check_parameter(given, "url", given->http.url != NULL, slack || webhook, slack || webhook);
	check_parameter(given, "to_address", given->to_address != NIL, email, email);
	check_parameter(given, "template", given->http.body != NULL, slack || webhook, false);
	check_parameter(given, "sign_with", given->http.sign_with != NULL, webhook, false);
	check_parameter(given, "handler", given->handler != NULL, handler, handler);
	check_parameter(given, "headers", given->http.headers != NULL, webhook, false);
}

/* name, kind, url, to_address, template, sign_with, handler, headers, owner */
static void
read_arguments(FunctionCallInfo fcinfo, Given *given)
{
	memset(given, 0, sizeof(Given));
	js_http_nothing_given(&given->http);
	given->name = js_required_text(fcinfo, 0, "name");
	check_name(given->name);
	given->kind = kind_argument(fcinfo, 1);
	given->http.url = js_text_argument(fcinfo, 2);
	given->to_address = addresses_argument(fcinfo, 3);
	given->http.body = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P_COPY(4);
	given->http.sign_with = js_text_argument(fcinfo, 5);
	given->handler = js_text_argument(fcinfo, 6);
	given->http.headers = PG_ARGISNULL(7) ? NULL : PG_GETARG_JSONB_P_COPY(7);
	given->owner = js_owner_argument(fcinfo, 8);
	check_parameters(given);
	js_check_may_own(given->owner, given->kind == JS_CHANNEL_HANDLER);
}

/* ------------------------------------------------------------------------
 * The job
 * ------------------------------------------------------------------------
 */

static char *
job_name(const char *channel)
{
	return psprintf(JS_CHANNEL_PREFIX "%s", channel);
}

static Jsonb *
addresses_json(const List *addresses)
{
	JsonbParseState *state = NULL;
	ListCell   *lc;

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, addresses)
	{
		JsonbValue	value = {.type = jbvString};

		value.val.string.val = lfirst(lc);
		value.val.string.len = strlen(value.val.string.val);
		(void) pushJsonbValue(&state, WJB_ELEM, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* What the HTTP process is to do; it does nothing else for who may make no requests. */
static Jsonb *
make_request(const Given *given)
{
	JsonbParseState *state = NULL;
	Jsonb	   *kind;

	if (given->kind != JS_CHANNEL_NOTIFY)
		js_http_check_may_request(given->owner);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_text(&state, JS_CHANNEL_KIND, js_channel_kind_name(given->kind));
	if (given->to_address != NIL)
		js_json_push_jsonb(&state, JS_CHANNEL_TO, addresses_json(given->to_address));
	kind = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	if (given->http.url == NULL)
		return kind;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
											  JsonbPGetDatum(js_http_define(NULL, &given->http, JS_HTTP_OF_JOB)),
											  JsonbPGetDatum(kind)));
}

static int32
at_a_time(JsChannelKind kind)
{
	return kind == JS_CHANNEL_EMAIL ? MAILS_AT_A_TIME : 1;
}

/* Slack's limit is that of the channel; other keys, and policies, are the user's. */
static void
set_limits(JsChannelKind before, JsChannelKind kind, const char *channel, JsJob *job)
{
	if (before == kind)
		return;
	if (before == JS_CHANNEL_NONE || job->max_concurrency == at_a_time(before))
		job->max_concurrency = at_a_time(kind);
	job->keys = kind == JS_CHANNEL_SLACK ?
		js_limit_keys_with(NULL, psprintf(JS_SLACK_CLASS ":%s", channel)) : NULL;
}

/* Writes what is given into the job. */
static void
apply(const Given *given, JsJob *job)
{
	set_limits(js_channel_kind(job), given->kind, given->name, job);
	job->command = NULL;
	job->steps = NULL;
	job->handler = given->handler;
	job->request = given->kind == JS_CHANNEL_HANDLER ? NULL : make_request(given);
	job->transactional = given->kind == JS_CHANNEL_HANDLER;
	if (job->handler != NULL)
		(void) js_handler_lookup(job->handler);
	else
	{
		js_step_placeholders_refuse(job);
		js_http_check_timeout(job->timeout);
		job->share_transaction = false;
	}
	js_bounds_check_job(job);
}

static void
define_job(const Given *given, JsJob *job)
{
	TimestampTz now = js_clock_now();

	memset(job, 0, sizeof(JsJob));
	js_job_parameters_default(job);
	job->name = job_name(given->name);
	job->owner = given->owner;
	job->args = js_json_empty();
	job->timezone = pstrdup(js_guc_timezone);
	job->max_attempts = MESSAGE_ATTEMPTS;
	job->backoff_max = MESSAGE_BACKOFF_MAX;
	job->created_at = job->updated_at = job->anchor = now;
	job->first_run_at = job->dropped_at = DT_NOBEGIN;
	job->revision = job->schedule_revision = 1;
	apply(given, job);
}

/* Of a version that did not keep these names for channels. */
static bool
is_other_job(const JsJob *job)
{
	return job->command != NULL || job->steps != NULL || js_job_runs_by_itself(job) ||
		(job->request != NULL && js_http_text(job->request, "url") != NULL &&
		 js_definition_field(job->request, JS_CHANNEL_KIND) == NULL);
}

/* False: it is no longer there, or no longer this role's by this name. */
static bool
change_job(const Given *given, JsJob *job)
{
	js_job_lock(job->job_id);
	if (!js_job_read(job->job_id, job) || job->dropped_at != DT_NOBEGIN ||
		job->owner != given->owner || strcmp(job->name, job_name(given->name)) != 0)
		return false;
	if (is_other_job(job))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("job \"%s\" exists, and is no channel", job->name),
				 errhint("Give that job another name with alter_job().")));
	apply(given, job);
	js_job_change(job);
	return true;
}

/* What another session makes of the name meanwhile is seen when its transaction has ended. */
Datum
jobsched_set_channel(PG_FUNCTION_ARGS)
{
	Given		given;
	JsJob		job;

	js_check_may_write("set_channel()");
	read_arguments(fcinfo, &given);
	for (;;)
	{
		if (js_job_find(given.owner, job_name(given.name), &job))
		{
			if (change_job(&given, &job))
				break;
			continue;
		}
		define_job(&given, &job);
		if (js_job_create(&job))
			break;
	}
	PG_RETURN_VOID();
}

/* To whom may not manage it, it does not exist. */
static void
find_channel(FunctionCallInfo fcinfo, JsJob *job)
{
	char	   *name = js_required_text(fcinfo, 0, "name");
	Oid			owner = js_owner_argument(fcinfo, 1);

	if (!js_may_manage(owner) || !js_job_find(owner, job_name(name), job) || is_other_job(job))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("channel \"%s\" of role \"%s\" does not exist", name, GetUserNameFromId(owner, false))));
}

/* Messages that wait are cancelled with it, as runs of other jobs are. */
Datum
jobsched_drop_channel(PG_FUNCTION_ARGS)
{
	JsJob		job;

	js_check_may_write("drop_channel()");
	find_channel(fcinfo, &job);
	js_job_lock(job.job_id);
	find_channel(fcinfo, &job);
	job.dropped_at = js_clock_now();
	job.paused = false;
	js_job_change(&job);
	PG_RETURN_VOID();
}

/* ------------------------------------------------------------------------
 * A message
 * ------------------------------------------------------------------------
 */

static Jsonb *
test_message(const char *channel)
{
	Datum		id = DirectFunctionCall1(gen_random_uuid, (Datum) 0);
	JsonbParseState *state = NULL;
	JsonbValue	none = {.type = jbvArray};

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_number(&state, "version", 1);
	js_json_push_text(&state, "id", DatumGetCString(DirectFunctionCall1(uuid_out, id)));
	js_json_push_text(&state, "kind", "test");
	js_json_push_text(&state, "channel", channel);
	js_json_push_text(&state, "subject", psprintf("Test of channel %s", channel));
	js_json_push_text(&state, "text", "This is a test. Nothing has failed.");
	js_json_push_jsonb(&state, "items", JsonbValueToJsonb(&none));
	js_json_push_number(&state, "more", 0);
	js_json_push_number(&state, "count", 0);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Returns the first of its runs. */
Datum
jobsched_test_channel(PG_FUNCTION_ARGS)
{
	int64		first = 0;
	char	   *problem;
	JsJob		job;
	List	   *runs;
	ListCell   *lc;

	js_check_may_write("test_channel()");
	find_channel(fcinfo, &job);
	runs = js_channel_runs(&job, test_message(job.name + strlen(JS_CHANNEL_PREFIX)), &problem);
	if (runs == NIL)
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("channel \"%s\" cannot send anything: %s", job.name + strlen(JS_CHANNEL_PREFIX), problem),
				 errhint("Define it anew with set_channel().")));
	foreach(lc, runs)
	{
		int64		run_id = js_queue_run(lfirst(lc));

		if (first == 0)
			first = run_id;
	}
	PG_RETURN_INT64(first);
}
