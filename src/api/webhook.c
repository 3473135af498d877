/*-------------------------------------------------------------------------
 *
 * webhook.c
 *		http_webhook(), the trigger that sends rows.
 *
 * It triggers a job that makes an HTTP request, or sends to a URL of its own.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/http.h"
#include "api/table_trigger.h"
#include "http/http_template.h"
#include "run/http_job.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(jobsched_http_webhook);

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

/* Which follow a URL, before the options. */
static bool
gives_headers(const Trigger *trigger)
{
	return names_url(trigger) && trigger->tgnargs > 1 && !js_is_trigger_option(trigger->tgargs[1]);
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

	if (!gives_headers(trigger))
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

static int
check_arguments(const Trigger *trigger)
{
	if (trigger->tgnargs < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\" gives http_webhook() no arguments", trigger->tgname),
				 errhint("They are the name of a job with a url, or a URL and, if you like, headers as a JSON object; and options.")));
	if (names_url(trigger))
		(void) trigger_request(trigger, NULL);
	return gives_headers(trigger) ? 2 : 1;
}

/* That of single requests. */
static void
find_http_job(JsTableTrigger *table_trigger)
{
	js_http_job(table_trigger->owner, &table_trigger->job);
}

static void
find_job(JsTableTrigger *table_trigger)
{
	const Trigger *trigger = table_trigger->trigger;

	if (!names_url(trigger))
	{
		(void) check_arguments(trigger);
		js_table_trigger_find_job(table_trigger, true);
		return;
	}
	find_http_job(table_trigger);
	js_http_check_may_request(table_trigger->owner);
}

static void
make_run(JsTableTrigger *table_trigger, Jsonb *change)
{
	if (names_url(table_trigger->trigger))
		js_http_prepare_run(&table_trigger->run, &table_trigger->job,
							trigger_request(table_trigger->trigger, change), NULL);
	else
		js_table_trigger_make_run(table_trigger, change);
}

const JsTriggerKind js_webhook_kind = {
	.function = "http_webhook",
	.check_arguments = check_arguments,
	.find_job = find_job,
	.make_run = make_run,
	.find_job_of_skipped = find_http_job
};

/* Its first argument is the name of a job or a URL. */
Datum
jobsched_http_webhook(PG_FUNCTION_ARGS)
{
	return js_table_trigger_fire(&js_webhook_kind, fcinfo);
}
