/*-------------------------------------------------------------------------
 *
 * sched_alert_text.c
 *		What messages of alerts say.
 *
 * The arguments of the run of a channel's job (http/channel.h).  All names and errors
 * are from users, and are not changed: each kind of channel escapes what it has to.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "scheduler/sched_alert.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#define MAX_INSTANT 64

/* UTC, in seconds; NULL: none. */
static char *
instant(TimestampTz at)
{
	char	   *text;
	int			utc = 0;

	if (TIMESTAMP_NOT_FINITE(at))
		return NULL;
	text = palloc(MAX_INSTANT);
	return JsonEncodeDateTime(text, TimestampTzGetDatum(at - at % USECS_PER_SEC), TIMESTAMPTZOID, &utc);
}

/* The same, for people. */
static char *
said(TimestampTz at)
{
	char	   *text = instant(at);
	char	   *place;

	if (text == NULL)
		return pstrdup("?");
	place = strchr(text, 'T');
	if (place != NULL)
		*place = ' ';
	place = strrchr(text, '+');
	if (place != NULL)
		strcpy(place, " UTC");
	return text;
}

static const char *
name_of(const AlertState *state)
{
	return state->row.job_name != NULL ? state->row.job_name : "?";
}

static const char *
times(int64 count)
{
	return count == 1 ? "once" : psprintf(INT64_FORMAT " times", count);
}

/* What is the matter with a job. */
static char *
complaint(const AlertState *state)
{
	const JsAlertState *row = &state->row;
	const char *name = name_of(state);

	switch (row->condition)
	{
		case JS_ALERT_FAILURES:
			return psprintf("job \"%s\" failed %s", name, times(row->count));
		case JS_ALERT_NO_SUCCESS:
			return psprintf("job \"%s\" does not succeed", name);
		case JS_ALERT_RUNS_LONGER:
			return psprintf("job \"%s\" runs too long", name);
		case JS_ALERT_WAITS_LONGER:
			return psprintf("job \"%s\" waits too long", name);
		case JS_ALERT_LATE:
			break;
	}
	return psprintf("job \"%s\" is late", name);
}

/* And when it is not any more. */
static char *
relief(const AlertState *state)
{
	const JsAlertState *row = &state->row;
	const char *name = name_of(state);

	switch (row->condition)
	{
		case JS_ALERT_FAILURES:
			return psprintf("job \"%s\" is well again, it failed %s", name, times(row->count));
		case JS_ALERT_NO_SUCCESS:
			return psprintf("job \"%s\" is well again, it had no success", name);
		case JS_ALERT_RUNS_LONGER:
			return psprintf("job \"%s\" has ended what ran too long", name);
		case JS_ALERT_WAITS_LONGER:
			return psprintf("job \"%s\" does not wait any more", name);
		case JS_ALERT_LATE:
			break;
	}
	return psprintf("job \"%s\" is not late any more", name);
}

static void
append_run(StringInfo text, const JsAlertState *row)
{
	if (row->last_run_id != 0)
		appendStringInfo(text, ", run " INT64_FORMAT, row->last_run_id);
	if (row->condition != JS_ALERT_FAILURES)
		return;
	if (row->status != NULL)
		appendStringInfo(text, " %s", row->status);
	if (row->sqlstate != NULL)
		appendStringInfo(text, " (%s)", row->sqlstate);
	if (row->error != NULL)
		appendStringInfo(text, ": %s", row->error);
}

static void
append_line(StringInfo text, const AlertItem *item)
{
	const JsAlertState *row = &item->state->row;

	if (text->len > 0)
		appendStringInfoChar(text, '\n');
	appendStringInfo(text, "%s: ", item->state->alert->name);
	if (row->firing)
	{
		appendStringInfo(text, "%s%s, since %s", item->reminds ? "still: " : "", complaint(item->state), said(row->since));
		append_run(text, row);
	}
	else
		appendStringInfo(text, "%s, from %s to %s", relief(item->state), said(row->since), said(row->until));
}

/* The counts of a text add up to that of the message. */
static char *
compose_text(const AlertMessage *message)
{
	int64		failures = message->count;
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < message->nitems; i++)
	{
		append_line(&text, &message->items[i]);
		failures -= message->items[i].state->row.count;
	}
	if (message->more > 0)
		appendStringInfo(&text, "\nand " INT64_FORMAT " more", message->more);
	if (message->more > 0 && failures > 0)
		appendStringInfo(&text, failures == 1 ? ", with a failure" : ", with " INT64_FORMAT " failures", failures);
	return text.data;
}

static char *
compose_subject(const AlertMessage *message)
{
	const AlertItem *item = &message->items[0];
	const char *still = message->changes ? "" : "still: ";

	if (message->nitems == 1 && message->more == 0)
		return psprintf("%s%s", still, item->state->row.firing ? complaint(item->state) : relief(item->state));
	if (message->over == 0)
		return psprintf("%s" INT64_FORMAT " alerts fire", still, message->firing);
	if (message->firing == 0)
		return psprintf(INT64_FORMAT " alerts are over", message->over);
	return psprintf(INT64_FORMAT " alerts fire, " INT64_FORMAT " are over", message->firing, message->over);
}

static void
push_instant(JsonbParseState **json, const char *key, TimestampTz at)
{
	JsonbValue	null = {.type = jbvNull};
	char	   *text = instant(at);

	if (text != NULL)
		js_json_push_text(json, key, text);
	else
		js_json_push(json, key, &null);
}

static void
push_item(JsonbParseState **json, const AlertState *state)
{
	const JsAlertState *row = &state->row;

	(void) pushJsonbValue(json, WJB_BEGIN_OBJECT, NULL);
	js_json_push_text(json, "alert", state->alert->name);
	js_json_push_text(json, "condition", js_alert_condition_name(row->condition));
	js_json_push_text(json, "state", row->firing ? "firing" : "resolved");
	js_json_push_text(json, "job", name_of(state));
	push_instant(json, "since", row->since);
	push_instant(json, "until", row->until);
	js_json_push_number(json, "count", row->count);
	push_instant(json, "first_at", row->first_at);
	push_instant(json, "last_at", row->last_at);
	if (row->last_run_id != 0)
		js_json_push_number(json, "last_run_id", row->last_run_id);
	js_json_push_text(json, "status", row->status);
	js_json_push_text(json, "sqlstate", row->sqlstate);
	js_json_push_text(json, "error", row->error);
	(void) pushJsonbValue(json, WJB_END_OBJECT, NULL);
}

static void
push_items(JsonbParseState **json, const AlertMessage *message)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = "items";
	key.val.string.len = strlen("items");
	(void) pushJsonbValue(json, WJB_KEY, &key);
	(void) pushJsonbValue(json, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < message->nitems; i++)
		push_item(json, message->items[i].state);
	(void) pushJsonbValue(json, WJB_END_ARRAY, NULL);
}

/* The message, with an id that tells a repeat. */
Jsonb *
sched_alert_compose(const AlertMessage *message, const char *id)
{
	JsonbParseState *json = NULL;

	(void) pushJsonbValue(&json, WJB_BEGIN_OBJECT, NULL);
	js_json_push_number(&json, "version", 1);
	js_json_push_text(&json, "id", id);
	js_json_push_text(&json, "kind", message->changes ? "alert" : "reminder");
	js_json_push_text(&json, "channel", message->channel);
	js_json_push_text(&json, "subject", compose_subject(message));
	js_json_push_text(&json, "text", compose_text(message));
	push_items(&json, message);
	js_json_push_number(&json, "more", message->more);
	js_json_push_number(&json, "count", message->count);
	return JsonbValueToJsonb(pushJsonbValue(&json, WJB_END_OBJECT, NULL));
}
