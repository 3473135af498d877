/*-------------------------------------------------------------------------
 *
 * http_worker.c
 *		The process that sends the HTTP requests of a database.
 *
 * DESIGN
 *
 * One process for all owners.  It executes no user's code: a request is data.
 * It takes runs from its flights (shmem_flight.c), and for each one:
 *
 *	A	a short transaction, for many runs at once, reads the run and its job and
 *		makes the request of them (http_request.h)
 *	B	the transfer, by libcurl (http_mux.h); no transaction, no snapshot, no
 *		lock; thousands of them at a time
 *	C	a transaction, for many runs at once, records what has come of them
 *		(http_record.c)
 *
 * Whatever fails in A or C for a batch is done again for each run by itself, so
 * that a run pays for its own faults only.  If that fails as well for want of
 * something that may come back, a lock for instance, it is tried again after a
 * second; and if a run cannot be recorded at all the process ends, and the
 * scheduler finds its runs lost.
 *
 * What requests take of memory is bounded: when there are MAX_BYTES of them
 * under way, others wait.
 *
 * A request may have been received although we died, or were cut off, before
 * C: it is sent at least once, and carries the same idempotency key each time.
 *
 * Between all this the process waits for its latch and for libcurl's descriptor
 * together, so an interrupt is served within milliseconds whatever servers do.
 *
 * WHAT IT MAY REACH is decided when a socket is opened, and again for each
 * request on one that is open (egress.h).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

#include "access/xact.h"
#include "capture.h"
#include "clock.h"
#include "compat.h"
#include "egress.h"
#include "fmgr.h"
#include "guc.h"
#include "http.h"
#include "http_worker.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "process.h"
#include "secret.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "vault.h"
#include "worker.h"

PGDLLEXPORT void jobsched_http_main(Datum arg);

/* What requests of one batch, and all that are under way, may take of memory. */
#define BATCH_BYTES (32 * 1024 * 1024)
#define MAX_BYTES (256 * 1024 * 1024)

/* Descriptors that are not for connections. */
#define RESERVED_FILES 750
#define FEWEST_CONNECTIONS 16

/* How long one that has to go may take to record what it knows. */
#define LAST_RECORDS_US (500 * 1000)

/* What could not be recorded is tried again after this. */
#define RECORD_RETRY_US USECS_PER_SEC

/* How long a new process waits for its first run, at least. */
#define FIRST_MAIL_MS 5000

static const JsMuxApi *mux;
static JsEgressRules *allow_rules;
static JsEgressRules *deny_rules;

static JsTransfer *transfers;	/* by the number of the flight */
static int	in_use = 0;
static Size bytes_in_flight = 0;
static JsTransfer *waiting[JS_HTTP_BATCH];	/* taken, to be begun */
static int	waiting_count = 0;
static JsTransfer **ended;		/* to be recorded */
static int	ended_count = 0;
static JsTransfer **held;		/* likewise, but not before */
static int	held_count = 0;
static TimestampTz held_until = 0;	/* by the real clock */
static MemoryContext batch_context;
static pg_uuid_t token;
static int	connections;		/* as many as there may be */

/* ------------------------------------------------------------------------
 * Transfers
 * ------------------------------------------------------------------------
 */

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
	transfer->context = AllocSetContextCreate(TopMemoryContext, "jobsched transfer",
											  ALLOCSET_SMALL_SIZES);
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
	MemoryContextDelete(transfer->context);
	transfer->context = NULL;
	in_use--;
}

/* Nothing more will come of it: what there is is to be recorded. */
static void
transfer_end(JsTransfer *transfer)
{
	if (transfer->ended)
		return;
	transfer->ended = true;
	transfer->ended_at = js_clock_now();
	bytes_in_flight -= transfer->bytes;
	ended[ended_count++] = transfer;
}

/* ------------------------------------------------------------------------
 * Batches
 * ------------------------------------------------------------------------
 */

typedef void (*BatchWork) (JsTransfer **batch, int count, void *arg);

static void
work_in_transaction(BatchWork work, JsTransfer **batch, int count, void *arg)
{
	js_process_begin("requests");
	MemoryContextSwitchTo(batch_context);
	js_worker_check_tables();
	work(batch, count, arg);
	js_process_commit();
	MemoryContextSwitchTo(batch_context);
}

/* Returns NULL, or what went wrong, in which case nothing has happened. */
static ErrorData *
try_work(BatchWork work, JsTransfer **batch, int count, void *arg)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		work_in_transaction(work, batch, count, arg);
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

/* ------------------------------------------------------------------------
 * A: what to send
 * ------------------------------------------------------------------------
 */

static char *
read_secret(const char *name, void *arg)
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

	run->args = js_run_args(job->args, run->args);
	source.job = job;
	source.run = run;
	source.definition = definition;
	source.place = place;
	source.token = &token;
	source.now = js_clock_now();
	source.secret = read_secret;
	source.vault = read_vault;
	source.arg = (void *) &job->owner;
	js_http_render(&source, &transfer->request);
	/* What a request of a run's own leaves open its job may say. */
	transfer->definition = place == JS_HTTP_OF_RUN && job->request != NULL &&
		!js_http_has_success_codes(definition) ? job->request : definition;
}

/*
 * The run is not ours any more if its row is not as the mail says, or if its job
 * has become something else since the claim.
 */
static void
prepare(JsTransfer *transfer)
{
	JsJob		job;
	JsRun		run;
	Jsonb	   *definition;
	JsHttpPlace place;

	transfer->gone = !js_job_read(transfer->mail.job_id, &job) ||
		!js_run_read(transfer->mail.run_id, &run) ||
		run.status != JS_RUN_RUNNING || run.attempt != transfer->mail.attempt ||
		run.owner != job.owner;
	definition = transfer->gone ? NULL : js_http_definition(&job, &run, &place);
	transfer->gone |= definition == NULL;
	if (transfer->gone)
		return;
	js_http_check_may_request(job.owner);
	render(transfer, &job, &run, definition, place);
}

/* How far it has come. */
typedef struct Prepared
{
	int			count;
	Size		bytes;			/* of their bodies */
} Prepared;

/* As many as memory allows, at least one. */
static void
prepare_batch(JsTransfer **batch, int count, void *arg)
{
	Prepared   *prepared = arg;

	js_identity_read(&token);
	prepared->count = 0;
	prepared->bytes = 0;
	while (prepared->count < count && prepared->bytes < BATCH_BYTES)
	{
		JsTransfer *transfer = batch[prepared->count];

		prepare(transfer);
		prepared->count++;
		prepared->bytes += transfer->request.body_size;
		CHECK_FOR_INTERRUPTS();
	}
}

/* What went wrong is the outcome. */
static void
keep_error(JsTransfer *transfer, const ErrorData *error)
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
prepare_alone(JsTransfer *transfer)
{
	Prepared	prepared;
	ErrorData  *error = try_work(prepare_batch, &transfer, 1, &prepared);

	if (error == NULL)
		return;
	MemoryContextReset(transfer->context);
	memset(&transfer->request, 0, sizeof(transfer->request));
	if (may_pass(error))
		transfer->gone = true;
	else
		keep_error(transfer, error);
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
	out.url = request->url;
	out.method = request->method;
	out.headers = headers;
	out.body = request->body;
	out.body_size = request->body_size;
	out.connect_timeout_ms = request->connect_timeout_ms;
	out.timeout_ms = ms_left(transfer);
	out.max_body = (size_t) js_guc_http_max_response * 1024;
	if (!mux->start(&out))
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("libcurl could not begin a transfer.")));
	pfree(headers);
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
	transfer->definition = js_http_has_success_codes(transfer->definition) ?
		(Jsonb *) PG_DETOAST_DATUM_COPY(JsonbPGetDatum(transfer->definition)) : NULL;
	MemoryContextSwitchTo(outer);
}

static void
begin(JsTransfer *transfer)
{
	if (transfer->gone || transfer->error != NULL || transfer->cancel != JS_CANCEL_NONE)
	{
		transfer->cancel = js_flight_close(transfer->index);
		transfer_end(transfer);
		return;
	}
	send_request(transfer);
	transfer->bytes = strlen(transfer->request.url) + transfer->request.body_size + 1;
	bytes_in_flight += transfer->bytes;
	keep_request(transfer);
}

static void
take_runs(void)
{
	JsFlightView views[JS_HTTP_BATCH];
	int			count = js_flight_next(views, JS_HTTP_BATCH - waiting_count);

	for (int i = 0; i < count; i++)
		waiting[waiting_count++] = transfer_open(&views[i]);
}

/* Returns how many of those that wait are prepared: the first ones. */
static int
prepare_waiting(void)
{
	Prepared	prepared;

	if (try_work(prepare_batch, waiting, waiting_count, &prepared) == NULL)
		return prepared.count;
	prepare_alone(waiting[0]);
	return 1;
}

/*
 * Begins some of the runs that have been delivered.  Returns whether there may
 * be more to begin.
 */
static bool
begin_runs(void)
{
	int			count;

	if (bytes_in_flight > MAX_BYTES)
		return false;
	take_runs();
	if (waiting_count == 0)
		return false;
	count = prepare_waiting();
	for (int i = 0; i < count; i++)
		begin(waiting[i]);
	waiting_count -= count;
	memmove(waiting, waiting + count, waiting_count * sizeof(JsTransfer *));
	MemoryContextReset(batch_context);
	return true;
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
		{
			JsTransfer *transfer = &transfers[views[i].index];

			(void) js_flight_close(views[i].index);
			transfer->cancel = views[i].mail.cancel;
			if (transfer->bytes == 0 || transfer->ended)
				continue;		/* not begun yet, or over already */
			(void) mux->cancel(transfer->index);
			transfer_end(transfer);
		}
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

/* Whether the response leads elsewhere, and we have gone there. */
static bool
follow_redirect(JsTransfer *transfer, const JsMuxResponse *response)
{
	MemoryContext outer;
	char	   *location;
	bool		ok;

	if (response->result != JS_MUX_OK || response->status < 300 || response->status > 399 ||
		response->status == 304)
		return false;
	if (transfer->redirects >= transfer->request.max_redirects)
	{
		transfer->problem = transfer->request.max_redirects > 0 ? "max_redirects have been followed" :
			NULL;
		return false;
	}
	location = header_value(response, "location");
	outer = MemoryContextSwitchTo(transfer->context);
	ok = js_http_redirect(&transfer->request, transfer->definition, response->status, location,
						  &transfer->problem);
	MemoryContextSwitchTo(outer);
	transfer->redirects += (int) ok;
	return ok;
}

static void
take_response(const JsMuxResponse *response)
{
	JsTransfer *transfer = &transfers[response->id];

	if (follow_redirect(transfer, response))
	{
		JsMuxResponse passing = *response;

		mux->release(&passing);
		send_request(transfer);
		return;
	}
	transfer->response = MemoryContextAlloc(transfer->context, sizeof(JsMuxResponse));
	*transfer->response = *response;
	transfer->cancel = js_flight_close(transfer->index);
	transfer_end(transfer);
}

static void
transfer_data(void)
{
	JsMuxResponse response;

	mux->pump();
	while (ended_count < 2 * JS_HTTP_BATCH && mux->next(&response))
		take_response(&response);
	MemoryContextReset(batch_context);
}

/* ------------------------------------------------------------------------
 * C: what has come of it
 * ------------------------------------------------------------------------
 */

static void
record_batch(JsTransfer **batch, int count, void *arg)
{
	js_http_record(batch, count, arg);
}

static void
hand_over(JsTransfer **batch, const JsDone *done, int count)
{
	int			indexes[JS_HTTP_BATCH];

	for (int i = 0; i < count; i++)
	{
		indexes[i] = batch[i]->index;
		transfer_close(batch[i]);
	}
	js_flight_finish(indexes, done, count);
}

/*
 * Records a run by itself; then without its response, if that was the trouble.
 * False: it is to be tried again later.
 */
static bool
record_alone(JsTransfer *transfer)
{
	JsDone		done;
	ErrorData  *error = try_work(record_batch, &transfer, 1, &done);

	if (error != NULL && !may_pass(error))
	{
		ereport(LOG,
				(errmsg("could not record the response to run " INT64_FORMAT ": %s",
						transfer->mail.run_id, error->message)));
		drop_response(transfer);
		keep_error(transfer, error);
		error = try_work(record_batch, &transfer, 1, &done);
	}
	if (error != NULL && may_pass(error))
		return false;
	if (error != NULL)
		ReThrowError(error);
	hand_over(&transfer, &done, 1);
	return true;
}

static void
hold(JsTransfer *transfer)
{
	if (held_count == 0)
		held_until = GetCurrentTimestamp() + RECORD_RETRY_US;
	held[held_count++] = transfer;
}

static void
record_each(JsTransfer **batch, int count)
{
	for (int i = 0; i < count; i++)
		if (!record_alone(batch[i]))
			hold(batch[i]);
}

/* What had to wait has waited. */
static void
take_held(void)
{
	TimestampTz now = GetCurrentTimestamp();

	held_until = Min(held_until, now + RECORD_RETRY_US);	/* the clock may have
															 * been set back */
	if (held_count == 0 || now < held_until)
		return;
	memcpy(ended + ended_count, held, held_count * sizeof(JsTransfer *));
	ended_count += held_count;
	held_count = 0;
}

static void
record_runs(void)
{
	JsTransfer *batch[JS_HTTP_BATCH];
	JsDone		done[JS_HTTP_BATCH];
	int			count = Min(ended_count, JS_HTTP_BATCH);

	if (count == 0)
		return;
	memcpy(batch, ended, count * sizeof(JsTransfer *));
	ended_count -= count;
	memmove(ended, ended + count, ended_count * sizeof(JsTransfer *));
	if (try_work(record_batch, batch, count, done) == NULL)
		hand_over(batch, done, count);
	else
		record_each(batch, count);
	MemoryContextReset(batch_context);
}

/* Before we go: what has an answer need not be asked again. */
static void
record_what_is_known(void)
{
	TimestampTz until = GetCurrentTimestamp() + LAST_RECORDS_US;

	while (ended_count > 0 && GetCurrentTimestamp() < until)
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
static int
max_connections(void)
{
	struct rlimit files;
	int64		spare;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		return FEWEST_CONNECTIONS;
	if (files.rlim_cur < files.rlim_max)
	{
		files.rlim_cur = files.rlim_max;
		(void) setrlimit(RLIMIT_NOFILE, &files);
		(void) getrlimit(RLIMIT_NOFILE, &files);
	}
	spare = (int64) Min(files.rlim_cur, PG_INT32_MAX) - RESERVED_FILES;
	if (spare < js_guc_http_max_inflight)
		ereport(LOG,
				(errmsg("HTTP requests have " INT64_FORMAT " connections at most, not %d",
						Max(spare, FEWEST_CONNECTIONS), js_guc_http_max_inflight),
				 errhint("Increase the limit of open files (ulimit -n) of the server.")));
	return (int) Max(Min(spare, js_guc_http_max_inflight), FEWEST_CONNECTIONS);
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
reload(void)
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
	connections = max_connections();
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

	if (ended_count > 0)
		return 0;
	if (held_count > 0)
		return TimestampDifferenceMilliseconds(now, held_until);
	if (in_use > 0)
		return -1L;
	return TimestampDifferenceMilliseconds(now, TimestampTzPlusMilliseconds(idle_since, idle_ms));
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
	reload();
	return rc == WL_TIMEOUT && in_use == 0;
}

static void
show_activity(void)
{
	static int	shown = -1;
	char text[	64];

	if (shown == in_use)
		return;
	shown = in_use;
	snprintf(text, sizeof(text), "%d in flight", in_use);
	set_ps_display(in_use > 0 ? text : "idle");
}

static void
serve(void)
{
	TimestampTz idle_since = GetCurrentTimestamp();
	bool		is_new = true;

	for (;;)
	{
		bool		idle_too_long;

		show_activity();
		pgstat_report_stat(in_use == 0);
		idle_too_long = wait_for_something(idle_since, is_new);
		if ((idle_too_long || js_my_slot->expelled) && js_slot_leave_if_idle(idle_too_long))
		{
			record_what_is_known();
			return;
		}
		while (begin_runs())
		{
			is_new = false;
			transfer_data();
			CHECK_FOR_INTERRUPTS();
		}
		cancel_runs();
		transfer_data();
		take_held();
		record_runs();
		if (in_use > 0)
			idle_since = GetCurrentTimestamp();
	}
}

/* arg: the slot; bgw_extra: its generation. */
void
jobsched_http_main(Datum arg)
{
	uint32		generation;
	int			capacity;

	memcpy(&generation, MyBgworkerEntry->bgw_extra, sizeof(generation));
	js_process_init();
	pqsignal(SIGINT, SIG_IGN);	/* there is nothing to cancel */
	js_slot_attach(DatumGetInt32(arg), generation);
	js_capture_watch();
	BackgroundWorkerInitializeConnectionByOid(js_my_slot->dboid, InvalidOid, 0);
	js_process_fix_settings(JS_TYPE_HTTP);
	capacity = js_my_slot->flights->capacity;
	transfers = MemoryContextAllocHuge(TopMemoryContext, capacity * sizeof(JsTransfer));
	memset(transfers, 0, capacity * sizeof(JsTransfer));
	ended = MemoryContextAllocHuge(TopMemoryContext, capacity * sizeof(JsTransfer *));
	held = MemoryContextAllocHuge(TopMemoryContext, capacity * sizeof(JsTransfer *));
	batch_context = AllocSetContextCreate(TopMemoryContext, "jobsched requests",
										  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(batch_context);
	open_mux();
	js_slot_ready();
	serve();
	proc_exit(0);
}
