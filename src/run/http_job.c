/*-------------------------------------------------------------------------
 *
 * http_job.c
 *		Jobs and runs that are HTTP requests: who may have them, and their keys.
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

#include "catalog/namespace.h"
#include "compat.h"
#include "http/keys.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "utils/catcache.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"

/* ------------------------------------------------------------------------
 * Definitions
 * ------------------------------------------------------------------------
 */

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
