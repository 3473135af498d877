/*-------------------------------------------------------------------------
 *
 * http_worker.c
 *		The process that sends the HTTP requests of a database.
 *
 * DESIGN
 *
 * One process serves all owners.  It executes no user code: a request is data.
 * It takes runs from its flights (shmem_flight.c), and for each one:
 *
 *	A	a short transaction, for many runs at once, reads the run and its job and
 *		makes the request from them (http_request.h)
 *	B	the transfer, by libcurl (mux_api.h); no transaction, no snapshot, no
 *		lock; thousands of them at a time
 *	C	a transaction, for many runs at once, records the outcomes
 *		(http_record.c)
 *
 * If a request cannot be made or a response cannot be processed, only the run's
 * own subtransaction fails, and no work is repeated.  A batch that cannot be
 * written is halved until the run that causes it is alone, so a run suffers
 * only from its own faults.  If the cause may pass, such as a lock, the batch
 * is tried again after a second.  If a run cannot be recorded at all, the
 * process ends, and the scheduler finds its runs lost.
 *
 * NO OWNER DELAYS ANOTHER, whatever the requests are and whoever answers them:
 *
 *	number	An owner gets no more requests under way than leaves some for others
 *			(sched_http.c, mux_share.h), nor more than there are descriptors.
 *	memory	The same is true of the memory of requests under way
 *			(http_turn.c); further requests of the owner wait, and their time
 *			passes.  The size of each response is limited.  A batch ends when
 *			it has taken BATCH_BYTES.
 *	time	Owners take turns (http_turn.c) in A and C.  A batch ends after
 *			SLICE_US with the current run, and so does pump().  The time for one
 *			run is limited by the sizes of requests, responses and secrets,
 *			because all work is a few steps for each byte.
 *	names	An owner gets no more lookups than leaves some for others
 *			(mux_origin.c).
 *
 * So the worker takes what is delivered at once, and keeps it here in a queue
 * for each owner.
 *
 * A request may have been received although this process died, or was cut off,
 * before C.  So it is sent at least once, with the same idempotency key each
 * time.
 *
 * Otherwise the process waits for its latch and for libcurl's descriptor
 * together, so it serves an interrupt within milliseconds whatever servers do.
 *
 * WHICH ADDRESSES IT MAY REACH is decided when a socket is opened, and again
 * for each request on an open one (egress.h).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

#include "access/xact.h"
#include "base/guard.h"
#include "compat.h"
#include "fmgr.h"
#include "guc.h"
#include "http/egress.h"
#include "http/vault.h"
#include "miscadmin.h"
#include "mux/mux_share.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "process/process.h"
#include "run/capture.h"
#include "run/http_job.h"
#include "run/step_look.h"
#include "shmem/clock.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "store/store_secret.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker/http_worker.h"
#include "worker/worker.h"

PGDLLEXPORT void jobsched_http_main(Datum arg);

/* What one batch may take of memory, and of time, before it ends. */
#define BATCH_BYTES (16 * 1024 * 1024)
#define SLICE_US (20 * 1000)

/* How long requests are begun before what has ended is recorded. */
#define BEGIN_US (50 * 1000)

/* The same for what is done again after a failure: the rest waits. */
#define SEARCH_US USECS_PER_SEC

/* Descriptors that are not for connections. */
#define RESERVED_FILES 750
#define FEWEST_CONNECTIONS 16

/* How long one that has to go may take to record what it knows. */
#define LAST_RECORDS_US (500 * 1000)

/* What is kept of a mail relay's answer. */
#define MAX_MAIL_ANSWER 2048

/* What could not be recorded is tried again after this. */
#define RECORD_RETRY_US USECS_PER_SEC

/* How long a new process waits for its first run, at least. */
#define FIRST_MAIL_MS 5000

static const JsMuxApi *mux;
static JsEgressRules *allow_rules;
static JsEgressRules *deny_rules;

static JsTransfer *transfers;	/* by the number of the flight */
static int	in_use = 0;
static TimestampTz overdue_at = DT_NOEND;	/* of a call, by the real clock */
static dlist_head held = DLIST_STATIC_INIT(held);	/* to be recorded, but not
													 * before */
static TimestampTz held_until = 0;	/* by the real clock */
static MemoryContext batch_context;
static pg_uuid_t token;
static int	connections;		/* as many as there may be */

/* ------------------------------------------------------------------------
 * Transfers
 * ------------------------------------------------------------------------
 */

static MemoryContext
create_context(void)
{
	return AllocSetContextCreate(TopMemoryContext, "jobsched transfer", ALLOCSET_DEFAULT_SIZES);
}

static JsTransfer *
transfer_open(const JsFlightView *view)
{
	JsTransfer *transfer = &transfers[view->index];

	Assert(transfer->context == NULL);
	memset(transfer, 0, sizeof(JsTransfer));
	transfer->index = view->index;
	transfer->mail = view->mail;
	transfer->started_at = js_clock_now();
	transfer->real_start = GetCurrentTimestamp();
	transfer->cancel = view->mail.cancel;
	transfer->context = create_context();
	transfer->stage = JS_HTTP_WAITING;
	js_turn_enter(transfer);
	in_use++;
	return transfer;
}

static void
drop_response(JsTransfer *transfer)
{
	if (transfer->response != NULL)
		mux->release(transfer->response);
	transfer->response = NULL;
}

static void
transfer_close(JsTransfer *transfer)
{
	drop_response(transfer);
	js_turn_weigh(transfer, 0);
	js_turn_leave(transfer);
	MemoryContextDelete(transfer->context);
	transfer->context = NULL;
	in_use--;
}

/* No cancel is accepted from here on. */
static void
transfer_settle(JsTransfer *transfer)
{
	if (!transfer->closed)
		transfer->cancel = js_flight_close(transfer->index);
	transfer->closed = true;
}

/* It has come to its end, or to a redirect: it is to be recorded, or to go on. */
static void
transfer_end(JsTransfer *transfer)
{
	transfer->stage = JS_HTTP_ENDED;
	transfer->ended_at = js_clock_now();
	js_turn_queue(transfer, JS_HTTP_ENDED);
}

/* ------------------------------------------------------------------------
 * Batches
 * ------------------------------------------------------------------------
 */

typedef void (*BatchWork) (void *arg);

static void
work_in_transaction(BatchWork work, void *arg)
{
	js_process_begin("requests");
	MemoryContextSwitchTo(batch_context);
	js_worker_check_tables();
	work(arg);
	js_process_commit();
	MemoryContextSwitchTo(batch_context);
}

/* Returns NULL, or what went wrong, in which case nothing has happened. */
static ErrorData *
try_work(BatchWork work, void *arg)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		work_in_transaction(work, arg);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(batch_context);
		error = CopyErrorData();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		MemoryContextSwitchTo(batch_context);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	SetLatch(MyLatch);			/* a wait inside, for a lock or a standby, has
								 * reset it */
	return error;
}

/* Somebody holds a row, perhaps a prepared transaction: it is not our fault. */
static bool
may_pass(const ErrorData *error)
{
	int			class = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		class == ERRCODE_INSUFFICIENT_RESOURCES || class == ERRCODE_TRANSACTION_ROLLBACK;
}

/* The same, and the queue of NOTIFY is full: somebody who listens is behind. */
static bool
may_pass_later(const JsTransfer *transfer, const ErrorData *error)
{
	return may_pass(error) ||
		(transfer->notice != NULL && error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED);
}

/* ------------------------------------------------------------------------
 * A: what to send
 * ------------------------------------------------------------------------
 */

static char *
read_owner_secret(const char *name, void *arg)
{
	return js_secret_read(*(const Oid *) arg, name);
}

static char *
read_vault(const char *name, void *arg)
{
	return js_vault_read(*(const Oid *) arg, name);
}

static void
render(JsTransfer *transfer, const JsJob *job, JsRun *run, Jsonb *definition, JsHttpPlace place)
{
	JsHttpSource source = {0};

	run->args = js_channel_args(transfer->channel, js_run_args(job->args, run->args));
	source.job = job;
	source.run = run;
	source.definition = definition;
	source.place = place;
	if (job->step_looks && place == JS_HTTP_OF_JOB)
	{
		js_step_check_ready(job, run);
		source.results = run->state;
		js_step_fill_args(job, run, run->state);
	}
	source.token = &token;
	source.now = js_clock_now();
	source.secret = read_owner_secret;
	source.vault = read_vault;
	source.arg = (void *) &job->owner;
	js_http_render(&source, &transfer->request);
	/* What a request of a run's own leaves open its job may say. */
	transfer->definition = place == JS_HTTP_OF_RUN && job->request != NULL &&
		!js_http_has_success_codes(definition) ? job->request : definition;
}

/* It is sent where the end of the run is recorded (http_record.c). */
static void
prepare_notice(JsTransfer *transfer, const JsJob *job, const JsRun *run)
{
	char	   *text = js_channel_notice(js_channel_args(JS_CHANNEL_NOTIFY, js_run_args(job->args, run->args)));
	const char *name = js_job_is_channel(job) ? job->name + strlen(JS_CHANNEL_PREFIX) : "";

	if (!js_channel_name_is_fit(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job \"%s\" is no channel that NOTIFY could go to", job->name)));
	transfer->notice_to = MemoryContextStrdup(transfer->context, name);
	transfer->notice = MemoryContextStrdup(transfer->context, text);
}

/*
 * The run is not ours any more if its row is not as the mail says, or if its job
 * has become something else since the claim.
 */
static void
prepare(void *arg)
{
	JsTransfer *transfer = arg;
	JsJob		job;
	JsRun		run;
	Jsonb	   *definition;
	JsHttpPlace place;

	transfer->gone = !js_job_read(transfer->mail.job_id, &job) ||
		!js_run_read(transfer->mail.run_id, &run) ||
		run.status != JS_RUN_RUNNING || run.attempt != transfer->mail.attempt ||
		run.owner != job.owner;
	definition = transfer->gone ? NULL : js_http_definition(&job, &run, &place);
	transfer->gone |= definition == NULL || js_step_makes_ready(&job, &run);
	if (transfer->gone)
		return;
	transfer->channel = js_channel_request_kind(definition);
	if (transfer->channel == JS_CHANNEL_NOTIFY)
	{
		prepare_notice(transfer, &job, &run);
		return;
	}
	js_http_check_may_request(job.owner);
	if (transfer->channel == JS_CHANNEL_EMAIL)
	{
		run.args = js_channel_args(transfer->channel, js_run_args(job.args, run.args));
		js_http_render_mail(transfer, &run, definition, &token);
		return;
	}
	render(transfer, &job, &run, definition, place);
}

/* What went wrong is the outcome. */
static void
keep_transfer_error(JsTransfer *transfer, const ErrorData *error)
{
	MemoryContext outer = MemoryContextSwitchTo(transfer->context);

	transfer->error = palloc0(sizeof(ErrorData));
	transfer->error->sqlerrcode = error->sqlerrcode;
	transfer->error->message = pstrdup(error->message);
	transfer->error->detail = error->detail ? pstrdup(error->detail) : NULL;
	transfer->error->hint = error->hint ? pstrdup(error->hint) : NULL;
	MemoryContextSwitchTo(outer);
}

/*
 * A run whose request cannot be made has failed, for this reason; if that may
 * pass, it goes back and is claimed anew.
 */
static void
fail_to_prepare(JsTransfer *transfer, const ErrorData *error)
{
	memset(&transfer->request, 0, sizeof(transfer->request));
	transfer->definition = NULL;
	transfer->mail_to_send = NULL;
	if (may_pass(error))
		transfer->gone = true;
	else
		keep_transfer_error(transfer, error);
}

/* Returns what it has taken of memory. */
static Size
prepare_next(JsTransfer *transfer)
{
	MemoryContext context = AllocSetContextCreate(batch_context, "jobsched request",
												  ALLOCSET_SMALL_SIZES);
	TimestampTz start = GetCurrentTimestamp();
	ErrorData  *error = js_try(prepare, transfer, context);

	if (error != NULL)
	{
		MemoryContextReset(context);
		fail_to_prepare(transfer, error);
		FreeErrorData(error);
	}
	transfer->prepared = true;
	js_turn_charge(transfer, GetCurrentTimestamp() - start);
	return MemoryContextMemAllocated(context, true);
}

/* Whether a batch that was begun then, and has so much, is to end. */
static bool
is_enough(TimestampTz start, int count, Size bytes)
{
	return count == JS_HTTP_BATCH || bytes >= BATCH_BYTES ||
		GetCurrentTimestamp() - start >= SLICE_US;
}

typedef struct Beginning
{
	JsTransfer *transfers[JS_HTTP_BATCH];
	int			count;
} Beginning;

/* At least one. */
static void
prepare_some(void *arg)
{
	Beginning  *beginning = arg;
	TimestampTz start = GetCurrentTimestamp();
	JsTransfer *transfer;
	Size		bytes = 0;

	js_identity_read(&token);
	while (!is_enough(start, beginning->count, bytes) || beginning->count == 0)
	{
		transfer = js_turn_next(JS_HTTP_WAITING);
		if (transfer == NULL)
			break;
		beginning->transfers[beginning->count++] = transfer;
		bytes += prepare_next(transfer);
		CHECK_FOR_INTERRUPTS();
	}
}

/* ------------------------------------------------------------------------
 * B: the transfer
 * ------------------------------------------------------------------------
 */

/* What is left of the attempt's time; at least a moment, so that it ends as a timeout. */
static long
ms_left(const JsTransfer *transfer)
{
	int64		spent = GetCurrentTimestamp() - transfer->real_start;

	return (long) Min(Max((transfer->mail.timeout - spent + 999) / 1000, 1), PG_INT32_MAX);
}

static void
send_request(JsTransfer *transfer)
{
	const JsHttpRequest *request = &transfer->request;
	JsMuxRequest out = {0};
	const char **headers = palloc((list_length(request->headers) + 1) * sizeof(char *));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, request->headers)
		headers[n++] = lfirst(lc);
	headers[n] = NULL;
	out.id = transfer->index;
	out.party = transfer->mail.owner;
	out.mail = transfer->mail_to_send;
	out.url = request->url;
	out.method = request->method;
	out.headers = headers;
	out.body = request->body;
	out.body_size = request->body_size;
	out.connect_timeout_ms = request->connect_timeout_ms;
	out.timeout_ms = ms_left(transfer);
	out.max_body = transfer->channel == JS_CHANNEL_EMAIL ? MAX_MAIL_ANSWER : (size_t) js_guc_http_max_response * 1024;
	if (!mux->start(&out))
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("libcurl could not begin a transfer.")));
	transfer->stage = JS_HTTP_SENDING;
	pfree(headers);
}

/* What libcurl copies of it. */
static Size
size_of_request(const JsHttpRequest *request)
{
	Size		size = strlen(request->url) + request->body_size;
	ListCell   *lc;

	foreach(lc, request->headers)
		size += strlen(lfirst(lc));
	return size;
}

static List *
copy_texts(const List *texts)
{
	List	   *copy = NIL;
	ListCell   *lc;

	foreach(lc, texts)
		copy = lappend(copy, pstrdup(lfirst(lc)));
	return copy;
}

/*
 * What was made for this batch goes with it; what is needed when the response
 * comes stays with the transfer, and for a redirect all of it.
 */
static void
keep_request(JsTransfer *transfer)
{
	MemoryContext outer = MemoryContextSwitchTo(transfer->context);
	JsHttpRequest *request = &transfer->request;
	bool		whole = request->max_redirects > 0;

	request->method = pstrdup(request->method);
	request->shown_url = pstrdup(request->shown_url);
	request->secrets = copy_texts(request->secrets);
	request->url = whole ? pstrdup(request->url) : NULL;
	request->headers = whole ? copy_texts(request->headers) : NIL;
	if (whole && request->body != NULL)
		request->body = memcpy(palloc(Max(request->body_size, 1)), request->body, request->body_size);
	else
		request->body = NULL;
	transfer->mail_to_send = NULL;
	transfer->definition = transfer->definition != NULL && js_http_has_success_codes(transfer->definition) ?
		(Jsonb *) PG_DETOAST_DATUM_COPY(JsonbPGetDatum(transfer->definition)) : NULL;
	MemoryContextSwitchTo(outer);
}

/* With the secrets that a response is looked through for, of which there may be most. */
static void
weigh(JsTransfer *transfer, Size sent)
{
	js_turn_weigh(transfer, sent + MemoryContextMemAllocated(transfer->context, false));
}

static void
begin_transfer(JsTransfer *transfer)
{
	Size		sent;

	if (transfer->gone || transfer->error != NULL || transfer->notice != NULL)
	{
		transfer_settle(transfer);
		transfer_end(transfer);
		return;
	}
	sent = size_of_request(&transfer->request);
	send_request(transfer);
	keep_request(transfer);
	weigh(transfer, sent);
}

static void
take_runs(void)
{
	JsFlightView views[JS_HTTP_BATCH];
	int			count;

	do
	{
		count = js_flight_next(views, JS_HTTP_BATCH);
		for (int i = 0; i < count; i++)
		{
			JsTransfer *transfer = transfer_open(&views[i]);

			overdue_at = Min(overdue_at, js_http_due(transfer));
			js_turn_queue(transfer, JS_HTTP_WAITING);
		}
	} while (count == JS_HTTP_BATCH);
}

/* Some have waited for their turn as long as they may take. */
static void
end_overdue(void)
{
	TimestampTz now = GetCurrentTimestamp();
	JsTransfer *transfer;

	if (now < overdue_at)
		return;
	while ((transfer = js_turn_overdue(now, &overdue_at)) != NULL)
	{
		transfer->overdue = true;
		transfer_settle(transfer);
		transfer_end(transfer);
	}
}

/* Not a run's fault, unless there is nobody else to blame. */
static void
blame(Beginning *beginning, const ErrorData *error)
{
	if (beginning->count == 0)
		beginning->transfers[beginning->count++] = js_turn_next(JS_HTTP_WAITING);
	for (int i = 0; i < beginning->count; i++)
		if (!beginning->transfers[i]->prepared)
			fail_to_prepare(beginning->transfers[i], error);
}

/* Begins some of those that wait.  Returns whether there were any. */
static bool
begin_runs(void)
{
	Beginning	beginning = {0};
	ErrorData  *error;

	if (!js_turn_any(JS_HTTP_WAITING))
		return false;
	error = try_work(prepare_some, &beginning);
	if (error != NULL)
		blame(&beginning, error);
	for (int i = 0; i < beginning.count; i++)
		begin_transfer(beginning.transfers[i]);
	MemoryContextReset(batch_context);
	return beginning.count > 0;
}

static void
cancel_run(JsTransfer *transfer)
{
	transfer_settle(transfer);
	if (transfer->stage == JS_HTTP_ENDED)
		return;
	if (transfer->stage == JS_HTTP_WAITING)
		js_turn_unqueue(transfer);
	else
		(void) mux->cancel(transfer->index);
	transfer_end(transfer);
}

/* Cuts off what is to end. */
static void
cancel_runs(void)
{
	JsFlightView views[JS_HTTP_BATCH];
	int			count;

	do
	{
		count = js_flight_cancelled(views, JS_HTTP_BATCH);
		for (int i = 0; i < count; i++)
			cancel_run(&transfers[views[i].index]);
	} while (count == JS_HTTP_BATCH);
}

/* The value of the first header of a name; NULL: there is none. */
static char *
header_value(const JsMuxResponse *response, const char *name)
{
	const char *line = response->headers;
	const char *end = line + response->headers_size;
	size_t		length = strlen(name);

	while (line < end)
	{
		const char *stop = memchr(line, '\r', end - line);
		const char *value = line + length + 1;

		if (stop == NULL)
			stop = end;
		if (stop - line > length && line[length] == ':' && pg_strncasecmp(line, name, length) == 0)
		{
			while (value < stop && (*value == ' ' || *value == '\t'))
				value++;
			return pnstrdup(value, stop - value);
		}
		line = Min(stop + 2, end);
	}
	return NULL;
}

static bool
transfer_is_redirect(const JsTransfer *transfer)
{
	const JsMuxResponse *response = transfer->response;

	return response != NULL && response->result == JS_MUX_OK && response->status >= 300 &&
		response->status <= 399 && response->status != 304;
}

/* What it was before goes, and what it has taken to read where it leads. */
static void
go_on(JsTransfer *transfer)
{
	MemoryContext old = transfer->context;

	drop_response(transfer);
	transfer->redirects++;
	transfer->context = create_context();
	keep_request(transfer);
	MemoryContextDelete(old);
	weigh(transfer, size_of_request(&transfer->request));
	send_request(transfer);
}

/* Whether the response leads elsewhere, and we have gone there. */
static bool
follow_redirect(JsTransfer *transfer)
{
	const char *problem;

	if (transfer->closed || !transfer_is_redirect(transfer))
		return false;
	if (transfer->redirects >= transfer->request.max_redirects)
	{
		transfer->problem = transfer->request.max_redirects > 0 ? "max_redirects have been followed" :
			NULL;
		return false;
	}
	if (js_http_redirect(&transfer->request, transfer->definition, transfer->response->status,
						 header_value(transfer->response, "location"), &problem))
	{
		go_on(transfer);
		return true;
	}
	transfer->problem = MemoryContextStrdup(transfer->context, problem);
	return false;
}

static void
take_response(const JsMuxResponse *response)
{
	JsTransfer *transfer = &transfers[response->id];

	transfer->response = MemoryContextAlloc(transfer->context, sizeof(JsMuxResponse));
	*transfer->response = *response;
	if (!transfer_is_redirect(transfer))
		transfer_settle(transfer);
	transfer_end(transfer);
}

static void
transfer_data(void)
{
	JsMuxResponse response;

	mux->pump();
	while (mux->next(&response))
		take_response(&response);
}

/* ------------------------------------------------------------------------
 * C: what has come of it
 * ------------------------------------------------------------------------
 */

typedef struct Ending
{
	JsRecording *recordings;
	int			count;
	Size		bytes;			/* of memory that these take */
	JsTransfer *taken;			/* out of its queue, and not among them yet */
} Ending;

/* Follows a redirect, or makes of the response what is recorded. */
static void
digest_response(void *arg)
{
	JsRecording *recording = arg;

	if (follow_redirect(recording->transfer))
		return;
	transfer_settle(recording->transfer);
	js_http_digest(recording);
}

/* Then there is no response, and that is the outcome. */
static void
digest_error(JsTransfer *transfer, const ErrorData *error)
{
	ereport(LOG,
			(errmsg("could not record the response to run " INT64_FORMAT ": %s",
					transfer->mail.run_id, error->message)));
	drop_response(transfer);
	keep_transfer_error(transfer, error);
	transfer_settle(transfer);
}

/* Whether it has ended; else it goes on elsewhere. */
static bool
digest_next(JsRecording *recording, JsTransfer *transfer)
{
	ErrorData  *error;

	memset(recording, 0, sizeof(JsRecording));
	recording->transfer = transfer;
	/* one block for most of them */
	recording->context = AllocSetContextCreate(batch_context, "jobsched response",
											   ALLOCSET_DEFAULT_SIZES);
	error = js_try(digest_response, recording, recording->context);
	if (error != NULL)
	{
		MemoryContextReset(recording->context);
		digest_error(transfer, error);
		error = js_try(digest_response, recording, recording->context);
	}
	if (error != NULL)
		ereport(FATAL,
				(errcode(error->sqlerrcode),
				 errmsg("could not record the end of run " INT64_FORMAT ": %s",
						transfer->mail.run_id, error->message)));
	if (transfer->stage == JS_HTTP_SENDING)
		MemoryContextDelete(recording->context);
	return transfer->stage == JS_HTTP_ENDED;
}

static void
recall(Ending *ending, int n)
{
	JsRecording *recording = &ending->recordings[n];
	MemoryContext outer = MemoryContextSwitchTo(recording->context);

	js_http_recall(ending->recordings, n);
	MemoryContextSwitchTo(outer);
	recording->bytes = MemoryContextMemAllocated(recording->context, true);
}

/* What could not be recorded once is by itself the next time. */
static bool
is_for_later(const Ending *ending, const JsTransfer *transfer)
{
	return ending->count > 0 && (transfer->again || ending->recordings[0].transfer->again);
}

/* One more, unless it goes on elsewhere. */
static void
add_ending(Ending *ending, JsTransfer *transfer)
{
	TimestampTz start = GetCurrentTimestamp();
	int			n = ending->count;

	ending->taken = transfer;
	ending->count += (int) digest_next(&ending->recordings[n], transfer);
	ending->taken = NULL;
	if (ending->count > n)
	{
		recall(ending, n);
		ending->bytes += ending->recordings[n].bytes;
	}
	js_turn_charge(transfer, GetCurrentTimestamp() - start);
}

static void
add_endings(Ending *ending)
{
	TimestampTz start = GetCurrentTimestamp();
	JsTransfer *transfer;

	while (!is_enough(start, ending->count, ending->bytes) &&
		   (transfer = js_turn_next(JS_HTTP_ENDED)) != NULL)
	{
		if (is_for_later(ending, transfer))
		{
			js_turn_return(transfer, JS_HTTP_ENDED);
			break;
		}
		add_ending(ending, transfer);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
record_some(void *arg)
{
	Ending	   *ending = arg;
	TimestampTz start;
	double		us_each_byte;

	add_endings(ending);
	if (ending->count == 0)
		return;
	start = GetCurrentTimestamp();
	js_http_record(ending->recordings, ending->count);
	us_each_byte = (double) (GetCurrentTimestamp() - start) / Max(ending->bytes, 1);
	for (int i = 0; i < ending->count; i++)
		js_turn_charge(ending->recordings[i].transfer,
					   (int64) (us_each_byte * ending->recordings[i].bytes));
}

static void
record_again(void *arg)
{
	Ending	   *ending = arg;

	for (int i = 0; i < ending->count; i++)
		recall(ending, i);
	js_http_record(ending->recordings, ending->count);
}

static void
hand_over(const Ending *ending)
{
	int			indexes[JS_HTTP_BATCH];
	JsDone		done[JS_HTTP_BATCH];

	if (ending->count == 0)
		return;
	for (int i = 0; i < ending->count; i++)
	{
		indexes[i] = ending->recordings[i].transfer->index;
		done[i] = ending->recordings[i].done;
		transfer_close(ending->recordings[i].transfer);
	}
	js_flight_finish(indexes, done, ending->count);
}

static void
hold(JsTransfer *transfer)
{
	if (dlist_is_empty(&held))
		held_until = GetCurrentTimestamp() + RECORD_RETRY_US;
	transfer->again = true;
	dlist_push_tail(&held, &transfer->node);
}

static void
hold_all(const Ending *ending)
{
	for (int i = 0; i < ending->count; i++)
		hold(ending->recordings[i].transfer);
}

/*
 * It could not be recorded: without its response, if that was the trouble, or
 * later.
 */
static void
record_without(Ending *ending, ErrorData *error)
{
	JsRecording *recording = ending->recordings;

	if (!may_pass_later(recording->transfer, error))
	{
		digest_error(recording->transfer, error);
		js_http_digest(recording);
		error = try_work(record_again, ending);
	}
	if (error == NULL)
		hand_over(ending);
	else if (may_pass_later(recording->transfer, error))
		hold_all(ending);
	else
		ReThrowError(error);
}

static void record_half(const Ending *all, int from, int to, TimestampTz until);

/* These together cannot be recorded: what is to blame is looked for. */
static void
record_halves(Ending *ending, ErrorData *error, TimestampTz until)
{
	int			half = ending->count / 2;

	if (ending->count == 1)
		record_without(ending, error);
	else if (GetCurrentTimestamp() > until)
		hold_all(ending);
	else
	{
		record_half(ending, 0, half, until);
		record_half(ending, half, ending->count, until);
	}
}

static void
record_half(const Ending *all, int from, int to, TimestampTz until)
{
	Ending		ending = {.recordings = all->recordings + from,.count = to - from};
	ErrorData  *error = try_work(record_again, &ending);

	if (error == NULL)
		hand_over(&ending);
	else
		record_halves(&ending, error, until);
}

/* What had to wait has waited. */
static void
take_held(void)
{
	TimestampTz now = GetCurrentTimestamp();

	held_until = Min(held_until, now + RECORD_RETRY_US);	/* the clock may have
															 * been set back */
	if (now < held_until)
		return;
	while (!dlist_is_empty(&held))
		js_turn_queue(dlist_container(JsTransfer, node, dlist_pop_head_node(&held)), JS_HTTP_ENDED);
}

static void
record_runs(void)
{
	Ending		ending = {0};
	ErrorData  *error;

	if (!js_turn_any(JS_HTTP_ENDED))
		return;
	ending.recordings = palloc0(JS_HTTP_BATCH * sizeof(JsRecording));
	error = try_work(record_some, &ending);
	if (ending.taken != NULL)
		js_turn_return(ending.taken, JS_HTTP_ENDED);
	if (error == NULL)
		hand_over(&ending);
	else if (ending.count > 0)
		record_halves(&ending, error, GetCurrentTimestamp() + SEARCH_US);
	else if (may_pass(error))
		hold(js_turn_next(JS_HTTP_ENDED));
	else
		ReThrowError(error);
	MemoryContextReset(batch_context);
}

/* Before we go: what has an answer need not be asked again. */
static void
record_what_is_known(void)
{
	TimestampTz until = GetCurrentTimestamp() + LAST_RECORDS_US;

	while (js_turn_any(JS_HTTP_ENDED) && GetCurrentTimestamp() < until)
		record_runs();
}

/* ------------------------------------------------------------------------
 * Settings
 * ------------------------------------------------------------------------
 */

/*
 * Sockets are not the server's files: it keeps some hundreds for itself, and a
 * name that is looked up takes two.  What there is no descriptor for waits.
 */
static int64
spare_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		return FEWEST_CONNECTIONS;
	if (files.rlim_cur < files.rlim_max)
	{
		files.rlim_cur = files.rlim_max;
		(void) setrlimit(RLIMIT_NOFILE, &files);
		(void) getrlimit(RLIMIT_NOFILE, &files);
	}
	return Max((int64) Min(files.rlim_cur, PG_INT32_MAX) - RESERVED_FILES, FEWEST_CONNECTIONS);
}

/* No more places than connections. */
static void
limit_places(void)
{
	int64		files = spare_files();
	JsShare		share = js_share_within(js_guc_http_max_inflight, files);

	if (share.most < js_guc_http_max_inflight)
		ereport(LOG,
				(errmsg("one role has " INT64_FORMAT " HTTP requests under way at most, not %d",
						(int64) share.most, js_guc_http_max_inflight),
				 errdetail("There are descriptors for " INT64_FORMAT " connections.", files),
				 errhint("Increase the limit of open files (ulimit -n) of the server.")));
	connections = (int) js_share_all(share);
	js_flight_limit((int) share.most);
}

/* Called by libcurl: must not throw. */
static bool
may_connect(void *arg, const char *host, int port, const struct sockaddr *address)
{
	return js_egress_permits(allow_rules, deny_rules, host, port, address);
}

/* The settings have been checked: what can go wrong is memory. */
static JsEgressRules *
parse_rules(const char *name, const char *value, JsEgressRules *old)
{
	char		error[256];
	JsEgressRules *rules = js_egress_parse(value, error, sizeof(error));

	if (rules == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("could not apply %s: %s", name, error)));
	js_egress_free(old);
	return rules;
}

static const char *
if_given(const char *value)
{
	return value != NULL && value[0] != '\0' ? value : NULL;
}

static void
read_settings(JsMuxConfig *config)
{
	allow_rules = parse_rules("jobsched.http_allow", js_guc_http_allow, allow_rules);
	deny_rules = parse_rules("jobsched.http_deny", js_guc_http_deny, deny_rules);
	memset(config, 0, sizeof(JsMuxConfig));
	config->max_connections = connections;
	config->ca_file = if_given(js_guc_http_ca_file);
	config->proxy = if_given(js_guc_http_proxy);
	config->may_connect = may_connect;
}

static void
reload_http_worker(void)
{
	JsMuxConfig config;

	if (!ConfigReloadPending)
		return;
	js_process_reload();
	read_settings(&config);
	if (!mux->configure(&config))
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

/* libcurl is loaded here, in this process and no other. */
static void
open_mux(void)
{
	const JsMuxApi *(*entry) (void) = (const JsMuxApi *(*) (void))
		load_external_function(JS_MUX_LIBRARY, JS_MUX_ENTRY, true, NULL);
	char		error[JS_MUX_ERROR_TEXT];
	JsMuxConfig config;

	mux = entry();
	if (mux->version != JS_MUX_VERSION)
		ereport(FATAL,
				(errmsg("library \"%s\" has interface %d, not %d", JS_MUX_LIBRARY,
						mux->version, JS_MUX_VERSION),
				 errhint("Both libraries of jobsched must be of the same version.")));
	limit_places();
	read_settings(&config);
	if (!mux->open(&config, error, sizeof(error)))
		ereport(FATAL, (errmsg("could not start libcurl: %s", error)));
	ereport(LOG, (errmsg("HTTP worker started with %s", mux->describe())));
}

/* ------------------------------------------------------------------------
 * The process
 * ------------------------------------------------------------------------
 */

static long
ms_to_wait(TimestampTz idle_since, bool is_new)
{
	TimestampTz now = GetCurrentTimestamp();
	int			idle_ms = is_new ? Max(js_guc_worker_idle_timeout, FIRST_MAIL_MS) : js_guc_worker_idle_timeout;
	TimestampTz until = in_use > 0 ? overdue_at : TimestampTzPlusMilliseconds(idle_since, idle_ms);

	if (js_turn_any(JS_HTTP_WAITING) || js_turn_any(JS_HTTP_ENDED))
		return 0;
	if (!dlist_is_empty(&held))
		until = Min(until, held_until);
	return until == DT_NOEND ? -1L : TimestampDifferenceMilliseconds(now, until);
}

/* Returns whether there was nothing to wait for, for too long. */
static bool
wait_for_something(TimestampTz idle_since, bool is_new)
{
	static uint32 wait_event = 0;
	long		ms = ms_to_wait(idle_since, is_new);
	int			events = WL_LATCH_SET | WL_SOCKET_READABLE | WL_EXIT_ON_PM_DEATH |
		(ms >= 0 ? WL_TIMEOUT : 0);
	int			rc = WaitLatchOrSocket(MyLatch, events, mux->fd(), ms,
									   js_wait_event(&wait_event, "JobschedHttpMain"));

	if (rc & WL_LATCH_SET)
		ResetLatch(MyLatch);
	QueryCancelPending = false; /* nothing to cancel */
	CHECK_FOR_INTERRUPTS();
	reload_http_worker();
	return rc == WL_TIMEOUT && in_use == 0;
}

static void
show_activity(void)
{
	static int	shown = -1;
	char		text[64];

	if (shown == in_use)
		return;
	shown = in_use;
	snprintf(text, sizeof(text), "%d in flight", in_use);
	set_ps_display(in_use > 0 ? text : "idle");
}

/*
 * Begins what there is, and what comes meanwhile, so that one transaction can
 * record more ends.  Not for long, because some have ended.
 */
static void
begin_and_transfer(void)
{
	TimestampTz start = GetCurrentTimestamp();

	while (begin_runs() && GetCurrentTimestamp() - start < BEGIN_US)
	{
		transfer_data();
		take_runs();
		cancel_runs();
		end_overdue();
		CHECK_FOR_INTERRUPTS();
	}
	transfer_data();
}

static void
serve_flights(void)
{
	TimestampTz idle_since = GetCurrentTimestamp();
	bool		is_new = true;

	for (;;)
	{
		bool		idle_too_long;

		show_activity();
		pgstat_report_stat(in_use == 0);
		idle_too_long = wait_for_something(idle_since, is_new);
		if ((idle_too_long || js_my_seat->expelled) && js_seat_leave_if_idle(idle_too_long))
		{
			record_what_is_known();
			return;
		}
		take_runs();
		is_new &= in_use == 0;
		cancel_runs();
		end_overdue();
		begin_and_transfer();
		take_held();
		record_runs();
		if (in_use > 0)
			idle_since = GetCurrentTimestamp();
	}
}

/* arg: the seat; bgw_extra: its generation. */
void
jobsched_http_main(Datum arg)
{
	uint32		generation;
	int			capacity;

	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	js_process_init();
	pqsignal(SIGINT, SIG_IGN);	/* there is nothing to cancel */
	js_seat_attach(DatumGetInt32(arg), generation);
	js_capture_watch();
	BackgroundWorkerInitializeConnectionByOid(js_my_seat->dboid, InvalidOid, 0);
	js_process_fix_settings(JS_TYPE_HTTP);
	capacity = js_my_seat->flights->capacity;
	transfers = MemoryContextAllocHuge(TopMemoryContext, capacity * sizeof(JsTransfer));
	memset(transfers, 0, capacity * sizeof(JsTransfer));
	batch_context = AllocSetContextCreate(TopMemoryContext, "jobsched requests",
										  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(batch_context);
	open_mux();
	js_seat_ready();
	serve_flights();
	proc_exit(0);
}
