/*-------------------------------------------------------------------------
 *
 * http_job.c
 *		Jobs and runs that are HTTP requests: who may have them, and their keys.
 *
 * A run sends a request.  The definition is that of the run's job
 * (create_job(url => ...)), or the run has its own: http_post() and the like
 * queue such runs for a job "http" of the caller, so that these requests too
 * have policies and limits and can be paused.  The scheduler makes that job
 * when there is a request for it (sched_jobless.c).
 *
 * A role may make requests if it may execute jobsched.http_request().  That is
 * checked when a request is defined or queued, and again when it is sent; and
 * for the owner of the run, not for the caller.
 *
 * Each run of a request has the key of its host
 * ('http_host:api.example.com:443') after its other keys.
 * jobsched.http_max_per_host applies to this key, hosts take turns by it, and
 * set_limit('http_host', ...) can add limits.  All that is mailed has the key of one
 * host, whatever the relay is: mails that wait for one that hangs must not take all
 * that a role may have under way.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "catalog/namespace.h"
#include "compat.h"
#include "guc.h"
#include "http/channel.h"
#include "http/limit_keys.h"
#include "miscadmin.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "shmem/clock.h"
#include "store/job_parameters.h"
#include "utils/catcache.h"
#include "utils/syscache.h"

/* No host has such a key, which ends in a port. */
#define MAIL_KEY JS_HOST_CLASS ":smtp"

/* ------------------------------------------------------------------------
 * Definitions
 * ------------------------------------------------------------------------
 */

/* What a run sends; NULL: it does something else. */
Jsonb *
js_http_definition(const JsJob *job, const JsRun *run, JsHttpPlace *place)
{
	*place = run->request != NULL ? JS_HTTP_OF_RUN : JS_HTTP_OF_JOB;
	if (run->handler != NULL || js_run_maps(job, run))
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
 * The job "http"
 * ------------------------------------------------------------------------
 */

/* As create_job() would make it of its defaults. */
static void
define_http_job(Oid owner, JsJob *job)
{
	TimestampTz now = js_clock_now();

	memset(job, 0, sizeof(JsJob));
	js_job_parameters_default(job);
	job->name = pstrdup(JS_HTTP_JOB);
	job->owner = owner;
	job->args = js_json_empty();
	job->timezone = pstrdup(js_guc_timezone);
	job->description = pstrdup("Requests made by http_post() and its like.");
	job->request = js_json_empty(); /* its runs each bring their own */
	job->created_at = job->updated_at = job->anchor = now;
	job->first_run_at = job->dropped_at = DT_NOBEGIN;
	job->revision = job->schedule_revision = 1;
	(void) js_identity_read(&job->home);
}

/*
 * The job that the requests of http_post() and its like belong to, one for each
 * role; as it is or, with job_id 0, as it will be.  The scheduler makes it
 * for the first request (sched_jobless.c): two sessions that make a role's first
 * request would have to wait for each other.
 */
void
js_http_job(Oid owner, JsJob *job)
{
	if (!js_job_find(owner, JS_HTTP_JOB, job))
		define_http_job(owner, job);
	if (job->request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("job \"%s\" of role \"%s\" is none for HTTP requests", job->name,
						GetUserNameFromId(owner, false)),
				 errhint("Requests that belong to no other job belong to the one of this name. Give yours another.")));
}

/* Who wants to change it need not wait for a request. */
void
js_http_job_make(Oid owner, JsJob *job)
{
	while (!js_job_find(owner, JS_HTTP_JOB, job))
	{
		define_http_job(owner, job);
		if (js_job_create(job))
			break;
	}
}

/* For the scheduler: its id, or 0 when it would have to wait for somebody. */
int64
js_http_job_settle(Oid owner)
{
	JsJob		job;

	if (js_job_find(owner, JS_HTTP_JOB, &job))
		return job.job_id;
	define_http_job(owner, &job);
	if (!js_job_name_try_lock(owner, job.name))
		return 0;
	js_job_insert(&job);
	js_job_name_unlock(owner, job.name);
	return job.job_id;
}

/* ------------------------------------------------------------------------
 * Runs
 * ------------------------------------------------------------------------
 */

/* Whether its runs have to bring requests along; NOTIFY has no URL and needs none. */
bool
js_http_job_is_bare(const JsJob *job)
{
	return job->request != NULL && js_http_text(job->request, "url") == NULL &&
		js_channel_request_kind(job->request) != JS_CHANNEL_NOTIFY;
}

/* What makes the runs of such a job. */
const char *
js_http_bare_hint(const JsJob *job)
{
	return js_job_is_channel(job) ?
		"Mail comes from alerts, and from test_channel(); through channels of other kinds any message can be sent." :
		"Its runs are made by http_post() and its like.";
}

/* The templates of a job's run: what is given, and its host if it has one. */
ArrayType *
js_http_keys(const JsJob *job, ArrayType *templates)
{
	if (js_channel_request_kind(job->request) == JS_CHANNEL_EMAIL)
		return js_limit_keys_with(templates, MAIL_KEY);
	if (job->request == NULL || js_http_text(job->request, "url") == NULL)
		return templates;
	return js_limit_keys_with(templates, js_http_host_template(job->request, JS_HTTP_OF_JOB));
}

/* A run that sends what it brings along. */
void
js_http_prepare_run(JsRun *run, const JsJob *job, Jsonb *request, ArrayType *templates)
{
	templates = js_limit_keys_with(templates != NULL ? templates : job->keys,
								   js_http_host_template(request, JS_HTTP_OF_RUN));
	js_queue_prepare(run, job, JS_SOURCE_TRIGGER);
	run->request = request;
	run->keys = js_limit_keys_require(templates, job->args);
}
