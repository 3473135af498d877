/*-------------------------------------------------------------------------
 *
 * http_record.c
 *		Records the responses to requests and the ends of their runs.
 *
 * A response is a success if the definition says so, by default if its status
 * is 2xx.  Any other is a failure with SQLSTATE JSnnn.  Transfers without a
 * response get an SQLSTATE of class 08, so retry.c knows what to retry.
 *
 * The record contains no secret of the request: where a server has sent one
 * back, it is replaced.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "base/sqlstate.h"
#include "catalog/pg_database.h"
#include "commands/async.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "run/finish.h"
#include "run/http_job.h"
#include "run/keep.h"
#include "run/children.h"
#include "run/retry.h"
#include "shmem/clock.h"
#include "storage/lock.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "worker/http_worker.h"

/* ------------------------------------------------------------------------
 * Responses
 * ------------------------------------------------------------------------
 */

static void
push_string(JsonbParseState **state, const List *secrets, const char *text, size_t length)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = js_http_header_text(secrets, text, length);
	v.val.string.len = strlen(v.val.string.val);
	(void) pushJsonbValue(state, WJB_ELEM, &v);
}

static void
push_header(JsonbParseState **state, const List *secrets, const char *line, const char *end)
{
	const char *colon = memchr(line, ':', end - line);
	const char *value = colon == NULL ? end : colon + 1;

	if (colon == NULL || colon == line)
		return;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	push_string(state, secrets, line, colon - line);
	push_string(state, secrets, value, end - value);
	(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* An array of [name, value], in order. */
static Jsonb *
headers_of(const JsTransfer *transfer)
{
	size_t		size = transfer->response->headers_size;
	const char *text = js_http_redact(transfer->request.secrets, transfer->response->headers, &size);
	const char *end = text + size;
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (const char *line = text, *stop; line < end; line = Min(stop + 2, end))
	{
		stop = memchr(line, '\r', end - line);
		if (stop == NULL)
			stop = end;
		push_header(&state, transfer->request.secrets, line, stop);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* Text if it is one that the database can hold. */
static char *
text_of(const JsTransfer *transfer, const char *body, size_t size)
{
	const JsMuxResponse *in = transfer->response;
	int			encoding = js_http_charset(in->headers, in->headers_size);
	char	   *utf8 = js_http_decode(encoding, body, size, in->truncated);

	if (utf8 == NULL)
		return NULL;
	/* a secret that is not ASCII shows only now */
	if (encoding != PG_UTF8)
	{
		size = strlen(utf8);
		utf8 = pnstrdup(js_http_redact(transfer->request.secrets, utf8, &size), size);
	}
	return js_http_encode(utf8);
}

static void
set_body(const JsTransfer *transfer, JsResponse *response)
{
	const JsMuxResponse *in = transfer->response;
	size_t		size = in->body_size;
	const char *body = js_http_redact(transfer->request.secrets, in->body ? in->body : "", &size);

	response->body = text_of(transfer, body, size);
	if (response->body != NULL)
		return;
	response->body_bytes = (bytea *) palloc(size + VARHDRSZ);
	SET_VARSIZE(response->body_bytes, size + VARHDRSZ);
	memcpy(VARDATA(response->body_bytes), body, size);
}

static bool
set_response(const JsTransfer *transfer, JsResponse *response)
{
	const JsMuxResponse *in = transfer->response;

	if (in == NULL)
		return false;
	response->status = in->status;
	response->http_version = in->http_version;
	response->method = transfer->request.method;
	response->url = transfer->request.shown_url;
	response->remote_address = in->remote_address[0] ? in->remote_address : NULL;
	response->remote_port = in->remote_port;
	response->resolved_us = in->resolved_us;
	response->connected_us = in->connected_us;
	response->secured_us = in->secured_us;
	response->first_byte_us = in->first_byte_us;
	response->total_us = in->total_us;
	response->truncated = in->truncated;
	response->body_size = in->body_size;
	if (in->status == 0)
		return true;
	response->headers = headers_of(transfer);
	set_body(transfer, response);
	return true;
}

/* ------------------------------------------------------------------------
 * Outcomes
 * ------------------------------------------------------------------------
 */

static void
set_failure(JsOutcome *outcome, const char *reason, const char *sqlstate, const char *error)
{
	outcome->status = JS_FAILED;
	outcome->reason = reason;
	outcome->sqlstate = sqlstate;
	outcome->error = pstrdup(error);
}

static void
set_error(JsOutcome *outcome, const char *reason, int code, const char *error)
{
	set_failure(outcome, reason, js_sqlstate(code), error);
}

static void
set_timeout(const JsTransfer *transfer, JsOutcome *outcome)
{
	outcome->status = JS_TIMED_OUT;
	outcome->reason = "timeout";
	outcome->sqlstate = js_sqlstate(ERRCODE_QUERY_CANCELED);
	outcome->error = transfer->overdue || transfer->response->result == JS_MUX_TIMEOUT ?
		psprintf("canceling run due to its timeout of " INT64_FORMAT " ms", transfer->mail.timeout / 1000) :
		psprintf("no connection within %d ms", transfer->request.connect_timeout_ms);
}

/* Without a response, or with one that broke off. */
static void
outcome_of_trouble(const JsTransfer *transfer, JsOutcome *outcome)
{
	const char *error = transfer->response->error;

	switch (transfer->response->result)
	{
		case JS_MUX_TIMEOUT:
		case JS_MUX_CONNECT_TIMEOUT:
			set_timeout(transfer, outcome);
			break;
		case JS_MUX_RESOLVE:
		case JS_MUX_CONNECT:
			set_error(outcome, "network", ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION, error);
			break;
		case JS_MUX_TLS:
			set_error(outcome, "tls", ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION, error);
			break;
		case JS_MUX_OK:
		case JS_MUX_NETWORK:
			set_error(outcome, "network", ERRCODE_CONNECTION_FAILURE, error);
			break;
		case JS_MUX_PROTOCOL:
			set_error(outcome, "network", ERRCODE_PROTOCOL_VIOLATION, error);
			break;
		case JS_MUX_REFUSED:
			set_error(outcome, "egress_refused", ERRCODE_INSUFFICIENT_PRIVILEGE, error);
			outcome->error_hint = "See jobsched.http_allow and jobsched.http_deny.";
			break;
		case JS_MUX_BAD_REQUEST:
			set_error(outcome, "bad_request", ERRCODE_INVALID_PARAMETER_VALUE, error);
			break;
		case JS_MUX_NO_MEMORY:
			set_error(outcome, "error", ERRCODE_OUT_OF_MEMORY, error);
			break;
	}
}

static Jsonb *
result_of(int status)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_number(&state, "status", status);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* What a channel's receiver says who wants no message any more; NULL: it has not said so. */
static const char *
refusal_of(const JsTransfer *transfer)
{
	const JsMuxResponse *response = transfer->response;

	if (transfer->channel == JS_CHANNEL_NONE)
		return NULL;
	return js_channel_refusal(response->status, response->body ? response->body : "", response->body_size);
}

static char *
error_of_status(const JsTransfer *transfer)
{
	int			status = transfer->response->status;
	const char *refusal = refusal_of(transfer);

	if (refusal != NULL && refusal[0] != '\0')
		return psprintf("the server answered with status %d: %s", status, refusal);
	if (transfer->problem != NULL)
		return psprintf("the server answered with status %d, and the redirect was not followed: %s",
						status, transfer->problem);
	return psprintf("the server answered with status %d", status);
}

static const char *
hint_of_redirect(const JsTransfer *transfer)
{
	int			status = transfer->response->status;

	if (status < 300 || status > 399 || status == 304)
		return NULL;
	if (transfer->redirects >= transfer->request.max_redirects)
		return "max_redirects says how many redirects are followed, by default none.";
	return "Send the request to where it leads, or name the status in success_codes if it says that all is done.";
}

static void
outcome_of_status(const JsTransfer *transfer, JsOutcome *outcome)
{
	const JsMuxResponse *response = transfer->response;
	int64		retry_after;

	outcome->result = result_of(response->status);
	if (transfer->channel == JS_CHANNEL_EMAIL)
	{
		js_http_outcome_of_mail(transfer, outcome);
		return;
	}
	if (js_http_is_success(transfer->definition, response->status))
	{
		outcome->status = JS_SUCCEEDED;
		return;
	}
	set_failure(outcome, refusal_of(transfer) != NULL ? JS_REASON_REFUSED : "http_status", psprintf(JS_SQLSTATE_STATUS "%03d", response->status % 1000),
				error_of_status(transfer));
	outcome->error_hint = hint_of_redirect(transfer);
	retry_after = js_http_retry_after(response->headers, response->headers_size, GetCurrentTimestamp());
	if (retry_after >= 0 && (response->status == 429 || response->status == 503))
		outcome->retry_after = Max(retry_after, 1);
}

/*
 * It is sent when this is recorded (send_notice()); what could not be for too long has
 * failed: somebody who has sent one has not committed, or who listens has not read.
 */
static void
set_outcome_of_notice(const JsTransfer *transfer, JsOutcome *outcome)
{
	if (!transfer->again || GetCurrentTimestamp() < js_http_due(transfer))
		outcome->status = JS_SUCCEEDED;
	else
		set_error(outcome, "error", ERRCODE_LOCK_NOT_AVAILABLE,
				  "the notification could not be queued in time");
}

static void
set_outcome(const JsTransfer *transfer, JsOutcome *outcome)
{
	outcome->worker_pid = MyProcPid;
	outcome->started_at = transfer->started_at;
	outcome->finished_at = transfer->ended_at;
	if (transfer->cancel != JS_CANCEL_NONE)
	{
		outcome->status = js_cancel_outcome(transfer->cancel, &outcome->reason);
		outcome->sqlstate = js_sqlstate(ERRCODE_QUERY_CANCELED);
		outcome->error = "the request was cut off";
	}
	else if (transfer->error != NULL)
	{
		set_error(outcome, "bad_request", transfer->error->sqlerrcode, transfer->error->message);
		outcome->error_detail = transfer->error->detail;
		outcome->error_hint = transfer->error->hint;
	}
	else if (transfer->overdue)
		set_timeout(transfer, outcome);
	else if (transfer->notice != NULL)
		set_outcome_of_notice(transfer, outcome);
	else if (transfer->response->result == JS_MUX_OK)
		outcome_of_status(transfer, outcome);
	else
		outcome_of_trouble(transfer, outcome);
}

/* ------------------------------------------------------------------------
 * Records
 * ------------------------------------------------------------------------
 */

/* What is known without the tables, and takes most of the time. */
void
js_http_digest(JsRecording *recording)
{
	memset(&recording->outcome, 0, sizeof(JsOutcome));
	memset(&recording->response, 0, sizeof(JsResponse));
	if (recording->transfer->gone)
		return;
	set_outcome(recording->transfer, &recording->outcome);
	recording->has_response = set_response(recording->transfer, &recording->response);
}

/* Some of a batch are of one job; those before the n-th have been recalled. */
static const JsJob *
find_job(const JsRecording *recordings, int n)
{
	int64		job_id = recordings[n].transfer->mail.job_id;
	JsJob	   *job;

	for (int i = n - 1; i >= 0; i--)
		if (recordings[i].job != NULL && recordings[i].job->job_id == job_id)
			return recordings[i].job;
	job = palloc(sizeof(JsJob));
	return js_job_read(job_id, job) ? job : NULL;
}

/* Reads the n-th one's run and job, and says what follows from how it has ended. */
void
js_http_recall(JsRecording *recordings, int n)
{
	JsRecording *recording = &recordings[n];
	const JsTransfer *transfer = recording->transfer;

	recording->job = NULL;
	recording->ours = !transfer->gone && js_run_read(transfer->mail.run_id, &recording->run) &&
		recording->run.status == JS_RUN_RUNNING &&
		recording->run.attempt == transfer->mail.attempt &&
		(recording->job = find_job(recordings, n)) != NULL;
	recording->goes_on = recording->ours &&
		(recording->outcome.status == JS_SUCCEEDED ?
		 js_children_plan(&recording->run, &recording->outcome, &recording->next) :
		 js_retry_plan(recording->job, &recording->run, &recording->outcome, &recording->next));
}

static void
describe(JsRecording *recording, JsEnding *ending)
{
	memset(ending, 0, sizeof(JsEnding));
	ending->run = &recording->run;
	ending->job = recording->job;
	ending->outcome = &recording->outcome;
	if (recording->has_response)
		ending->response = &recording->response;
	if (recording->goes_on)
		ending->next = &recording->next;
	ending->leaves_nothing = js_keep_nothing(ending, recording->transfer->mail.may_leave_nothing);
	recording->done.left_nothing = ending->leaves_nothing;
}

static void
set_done(JsRecording *recording)
{
	const JsTransfer *transfer = recording->transfer;
	const JsOutcome *outcome = &recording->outcome;
	JsDone	   *done = &recording->done;

	memset(done, 0, sizeof(JsDone));
	done->run_id = transfer->mail.run_id;
	done->job_id = transfer->mail.job_id;
	done->recorded = recording->ours;
	if (!recording->ours)
		return;
	done->status = outcome->status;
	done->started_at = outcome->started_at;
	done->finished_at = outcome->finished_at;
	done->waits = recording->goes_on && recording->next.status == JS_RUN_WAITING;
	done->retry_at = recording->goes_on ? recording->next.run_at : 0;
	if (recording->run.request == NULL && outcome->sqlstate != NULL &&
		(strcmp(outcome->sqlstate, JS_SQLSTATE_GONE) == 0 || strcmp(outcome->reason, JS_REASON_REFUSED) == 0))
		done->gone = transfer->mail.revision;
}

/*
 * NOTIFY, which goes out if and only if the transaction commits that records the end of
 * the run.  Whoever commits one has this lock until he has, which may be long where he
 * waits for a standby: no request is to wait for that, so these try again later, for as
 * long as the run may take.  It is the last lock that is taken: whoever sends one, in
 * whatever database, is not to wait for the rows that we wait for.
 */
static void
send_notice(const JsRecording *recording)
{
	LOCKTAG		tag;

	if (recording->transfer->notice == NULL || recording->outcome.status != JS_SUCCEEDED)
		return;
	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, InvalidOid, 0);
	if (LockAcquire(&tag, AccessExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another transaction sends a notification")));
	/* Where the queue is full nobody else finds out that there is room again. */
	if (recording->transfer->again)
		(void) DirectFunctionCall1(pg_notification_queue_usage, (Datum) 0);
	Async_Notify(recording->transfer->notice_to, recording->transfer->notice);
}

/* Records how these runs have ended, in the current transaction. */
void
js_http_record(JsRecording *recordings, int count)
{
	JsEnding   *endings = palloc(count * sizeof(JsEnding));
	int			n = 0;

	for (int i = 0; i < count; i++)
	{
		set_done(&recordings[i]);
		if (!recordings[i].ours)
			continue;
		describe(&recordings[i], &endings[n++]);
	}
	js_run_finish(endings, n);
	for (int i = 0; i < count; i++)
		if (recordings[i].ours)
			send_notice(&recordings[i]);
}
