/*-------------------------------------------------------------------------
 *
 * channel_run.c
 *		Messages of channels as runs.
 *
 * Sessions (test_channel()) and the scheduler (alerts) make them in the same way.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "http/limit_keys.h"
#include "run/channel_run.h"
#include "run/http_job.h"
#include "run/queue.h"

static Jsonb *
request_of_mail(const char *address)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_text(&state, JS_CHANNEL_KIND, js_channel_kind_name(JS_CHANNEL_EMAIL));
	js_json_push_text(&state, JS_CHANNEL_TO, address);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static JsRun *
one_run(const JsJob *job, Jsonb *args, ArrayType *keys, Jsonb *request)
{
	JsRun	   *run = palloc(sizeof(JsRun));

	js_queue_prepare(run, job, JS_SOURCE_TRIGGER);
	run->args = args;
	run->keys = keys;
	run->request = request;
	return run;
}

/*
 * The runs (JsRun *) that send a message: of a channel of kind email one for each
 * address, so that one that is refused does not concern the others; else one.  NIL,
 * and what is wrong: somebody has made something else of the job.
 */
List *
js_channel_runs(const JsJob *job, Jsonb *args, char **problem)
{
	JsChannelKind kind = js_channel_kind(job);
	ArrayType  *keys = NULL;
	List	   *runs = NIL;
	ListCell   *lc;

	*problem = NULL;
	if (kind == JS_CHANNEL_NONE)
		*problem = pstrdup("it is no channel");
	else
		keys = js_limit_keys_resolve(js_http_keys(job, job->keys), js_run_args(job->args, args), problem);
	if (*problem != NULL)
		return NIL;
	if (kind != JS_CHANNEL_EMAIL)
		return list_make1(one_run(job, args, keys, NULL));
	foreach(lc, js_channel_addresses(job->request))
		runs = lappend(runs, one_run(job, args, keys, request_of_mail(lfirst(lc))));
	if (runs == NIL)
		*problem = pstrdup("it has no address");
	return runs;
}
