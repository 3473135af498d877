/*-------------------------------------------------------------------------
 *
 * job_definition.c
 *		What a job becomes by what is given to create_job() and alter_job().
 *
 * A step of a job (steps.c) is given by an object instead of arguments, and is
 * checked here all the same.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/job_after.h"
#include "api/job_definition.h"
#include "api/job_schedule.h"
#include "http/channel.h"
#include "http/limit_keys.h"
#include "http/step_placeholders.h"
#include "run/execsql.h"
#include "run/http_job.h"
#include "run/procedure.h"
#include "store/bounds.h"
#include "utils/timestamp.h"

/* The arguments from n on; returns the number of the one that follows. */
int
js_job_definition_read(FunctionCallInfo fcinfo, int n, JsJobDefinition *def)
{
	memset(def, 0, sizeof(JsJobDefinition));
	n = js_job_arguments_read(fcinfo, n, &def->args);
	n = js_http_arguments(fcinfo, n, &def->http, &def->has_http);
	if (!PG_ARGISNULL(n))
		def->steps = PG_GETARG_JSONB_P_COPY(n);
	if (!PG_ARGISNULL(n + 1))
		def->after = PG_GETARG_ARRAYTYPE_P_COPY(n + 1);
	return n + 2;
}

/* Whoever asks is told what the next error, if any, is about. */
static void
checking(const JsJobDefinition *def, const char *parameter)
{
	if (def->checking != NULL)
		*def->checking = parameter;
}

/* A function, or a durable procedure, whose steps are transactions of their own. */
static void
check_handler(const JsJob *job, const JsJobDefinition *def)
{
	checking(def, "handler");
	if (!js_handler_is_procedure(job->handler))
	{
		(void) js_handler_lookup(job->handler);
		return;
	}
	js_procedure_check(job->handler);
	checking(def, "share_transaction");
	if (job->share_transaction)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a durable procedure cannot share its transaction"),
				 errhint("Leave share_transaction out: each of its steps is a transaction.")));
}

/* What the job executes: checks it, and knows whether it can be repeated. */
static void
set_work(JsJob *job, const JsJobDefinition *def)
{
	if (job->request != NULL)
		job->transactional = false;
	else if (job->handler != NULL)
	{
		check_handler(job, def);
		job->transactional = true;
	}
	else if (job->steps != NULL || job->step_job != NULL)
		job->transactional = true;
	else
	{
		checking(def, "command");
		js_command_check(job->command, job->mode, &job->transactional);
	}
	checking(def, "share_transaction");
	if (job->share_transaction && job->handler == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only a job with a handler can share its transaction"),
				 job->steps != NULL ? errhint("Give it to those steps that have a handler.") :
				 errhint("Put the command into a function, and name that as handler.")));
}

static bool
differ(const char *a, const char *b)
{
	return (a == NULL) != (b == NULL) || (a != NULL && strcmp(a, b) != 0);
}

/* The job is as it shall be, but for when its schedule begins. */
static void
set_schedule(JsJob *job, const JsJob *before)
{
	if (job->schedule_revision == 0 || differ(job->schedule, before->schedule) ||
		differ(job->timezone, before->timezone))
		js_job_begin_schedule(job);
	else if (job->starts_at != before->starts_at || job->ends_at != before->ends_at ||
			 job->max_runs != before->max_runs)
		js_job_move_slots(job);
}

static void
check_slots(const JsJob *job)
{
	if (job->starts_at != DT_NOBEGIN && job->ends_at != DT_NOBEGIN && job->ends_at <= job->starts_at)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ends_at \"%s\" is not after starts_at", timestamptz_to_str(job->ends_at)),
				 errhint("Give a later one, or remove a bound: '-infinity' for starts_at, 'infinity' for ends_at.")));
}

/* Whether the job is given another kind of work: at most one is. */
static bool
gives_work(const JsJobDefinition *def)
{
	int			given = (def->args.job.command != NULL) + (def->args.job.handler != NULL) +
		(def->http.url != NULL) + (def->steps != NULL);

	if (given > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only one of command, handler, url and steps can be given")));
	return given == 1;
}

/* What the job executes. */
static void
set_kind(JsJob *job, const JsJobDefinition *def)
{
	if (gives_work(def))
	{
		job->command = def->args.job.command;
		job->handler = def->args.job.handler;
		job->steps = def->steps;
		if (def->http.url == NULL)
			job->request = NULL;
	}
	if (def->http.url != NULL || (def->has_http && job->request != NULL))
	{
		js_http_check_may_request(job->owner);
		job->request = js_http_define(def->whole_request ? NULL : job->request, &def->http, JS_HTTP_OF_JOB);
		if (job->step == NULL)
			js_step_placeholders_refuse(job);
	}
	else if (def->has_http)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the job makes no HTTP request"),
				 errhint("Give its url.")));
	if (job->command == NULL && job->handler == NULL && job->request == NULL && job->steps == NULL &&
		job->step_job == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no command, handler, url or steps are given"),
				 errhint("Give command => SQL text, handler => 'schema.function', url => 'https://...', or steps => '[...]'.")));
}

/* Whether how the job executes is given. */
bool
js_job_definition_changes_work(const JsJobDefinition *def)
{
	const bool *given = def->args.given;

	return def->has_http || def->steps != NULL || given[JS_JOB_COMMAND] || given[JS_JOB_HANDLER] ||
		given[JS_JOB_MODE] || given[JS_JOB_SHARE_TRANSACTION];
}

/* The functions that are told of its runs' ends. */
static void
check_callbacks(const JsJob *job, const JsJobDefinition *def, bool has_new_owner)
{
	static const JsJobColumn columns[] = {JS_JOB_ON_SUCCESS, JS_JOB_ON_FAILURE};

	for (int i = 0; i < lengthof(columns); i++)
	{
		bool		success = columns[i] == JS_JOB_ON_SUCCESS;
		const char *function = success ? job->on_success : job->on_failure;

		if (function == NULL || (!def->args.given[columns[i]] && !has_new_owner))
			continue;
		checking(def, success ? "on_success" : "on_failure");
		js_check_may_be_told(job->owner, success ? "on_success" : "on_failure");
		if (def->args.given[columns[i]])
			(void) js_handler_lookup(function);
	}
}

/* Whether the job has runs that nobody asks for. */
bool
js_job_runs_by_itself(const JsJob *job)
{
	return job->schedule != NULL || job->nafter_jobs > 0;
}

/* The arguments of such a run are the job's: its keys must be found there. */
static void
check_keys(const JsJob *job)
{
	if (!js_job_runs_by_itself(job))
		return;
	if (job->request != NULL && js_http_text(job->request, "url") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job \"%s\" cannot %s: it has no request of its own", job->name,
						job->schedule != NULL ? "have a schedule" : "come after others"),
				 errhint("Create another job, with a url.")));
	(void) js_limit_keys_require(js_http_keys(job, job->keys), job->args);
}

/* A job whose work is SQL logs in as its owner; a request does not. */
bool
js_job_definition_needs_session(const JsJobDefinition *def, const JsJob *job)
{
	if (def->args.job.command != NULL || def->args.job.handler != NULL || def->steps != NULL)
		return true;
	return def->http.url == NULL && (job == NULL || job->request == NULL);
}

/*
 * A request is given up after a day.  The run of a job made of steps is executed
 * for as long as it takes to queue these, and then waits for them.
 */
static void
check_timeout(const JsJob *job)
{
	if (job->request != NULL)
		js_http_check_timeout(job->timeout);
	if (job->steps != NULL && job->timeout != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a job made of steps cannot have a timeout"),
				 errhint("Give its steps one each.")));
}

/* Of other jobs a run is nothing but its attempts. */
static void
check_deadline(const JsJob *job)
{
	if (job->steps == NULL && job->deadline != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a job that is not made of steps cannot have a deadline"),
				 errhint("Give it a timeout instead; deadline => '0' removes a deadline.")));
}

/* Its steps need one another's rows, and what it does is more than its own. */
static void
check_keep(const JsJob *job)
{
	if (job->steps != NULL && (job->keep != JS_KEEP_ALL || job->keep_for != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a job made of steps cannot have %s", job->keep != JS_KEEP_ALL ? "keep" : "keep_for"),
				 errhint("Its runs are kept as the settings say; keep => 'all' and keep_for => '0' remove these.")));
}

/* Writes what is given into the job. */
void
js_job_definition_apply(const JsJobDefinition *def, JsJob *job)
{
	JsJob		before = *job;

	js_job_arguments_apply(&def->args, job);
	if (job->owner != before.owner)
	{
		js_check_may_own(job->owner, js_job_definition_needs_session(def, job));
		if (job->request != NULL && js_channel_request_kind(job->request) != JS_CHANNEL_NOTIFY)
			js_http_check_may_request(job->owner);
	}
	checking(def, def->http.url != NULL ? "url" : NULL);
	set_kind(job, def);
	checking(def, "timeout");
	check_timeout(job);
	checking(def, "deadline");
	check_deadline(job);
	checking(def, "keep");
	check_keep(job);
	if (js_job_definition_changes_work(def))
		set_work(job, def);
	check_callbacks(job, def, job->owner != before.owner);
	checking(def, NULL);
	if (def->after != NULL)
		js_job_after_set(job, def->after);
	js_job_after_check(job, &before, def->after != NULL);
	check_slots(job);
	set_schedule(job, &before);
	check_keys(job);
	js_bounds_check_job(job);
}
