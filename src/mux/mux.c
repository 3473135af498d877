/*-------------------------------------------------------------------------
 *
 * mux.c
 *		Many HTTP transfers and e-mails at once, behind one file descriptor.
 *
 * DESIGN
 *
 * libcurl's multi interface tells us which sockets it waits for and until when
 * (socket_changed, timer_changed). mux_poll.c puts these, and our own
 * deadlines, into one descriptor for the caller to wait for. pump() does what
 * is due, each kind of work in a bounded portion, so that it returns in
 * milliseconds; work that is left keeps the descriptor readable.
 *
 *	 start()                      pump()                             next()
 *	    |                            |                                  |
 *	 WAITING (at its origin) --> ACTIVE (with libcurl) --> ENDED (a response)
 *
 * Transfers to the same server wait at their origin (mux_origin.c), so that one
 * of them can connect for all.  E-mails wait for one of their few connections,
 * and are spoken by mux_mail.c once libcurl has connected.
 *
 * Deadlines are ours, in a heap, not libcurl's: they count from start(), also
 * while a transfer waits in a queue of libcurl or of ours.
 *
 * A name lookup cannot be interrupted.  libcurl would wait for the thread, or
 * (CURLOPT_QUICK_EXIT) detach it in a way that is not quite safe before 8.14.
 * So if a transfer ends during a lookup, its handle stays with libcurl, without
 * the transfer, until the lookup ends; then its callbacks end it.
 *
 * So there can be more lookups than transfers, and mux_origin.c limits their
 * number.
 *
 * Threads that libcurl starts inherit our signal mask.  So all signals are
 * blocked at that time, because handlers of the process must not run in these
 * threads.
 *
 * Files: mux_call.c has all options, callbacks and results of a request,
 * mux_origin.c the transfers that wait for a name or a handshake, mux_mail.c
 * e-mail, mux_reply.c
 * the buffers for responses, mux_unpack.c decompression, mux_poll.c the
 * descriptor; mux_module.c makes all this a library that a server loads.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <limits.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mux/mux_internal.h"

/* A call of pump() does no more than this. */
#define PUMP_EVENTS 128
#define PUMP_ENTRIES 8			/* transfers given to libcurl at a time */
#define PUMP_US 5000			/* before it begins with something else */

/* libcurl gives up later than we do. */
#define CONNECT_GRACE_US 100000

#define ID_BUCKETS 16384		/* a power of two */

/* Free memory that the process keeps for the next requests. */
#define KEPT_BYTES (64 * 1024 * 1024)

static CURLM *multi = NULL;
static int64_t multi_due = MUX_NEVER;	/* when libcurl wants to be called */
static int	abandoned = 0;		/* calls without transfer */

static MuxTransfer *by_id[ID_BUCKETS];
static int	transfers = 0;		/* in by_id */

static MuxTransfer **heap = NULL;
static size_t heap_size = 0;
static size_t heap_room = 0;

static MUX_LIST(ended);

/* ------------------------------------------------------------------------
 * Transfers by id
 * ------------------------------------------------------------------------
 */

static MuxTransfer **
bucket_of(uint64_t id)
{
	return &by_id[id * UINT64_C(0x9E3779B97F4A7C15) >> 32 & (ID_BUCKETS - 1)];
}

static MuxTransfer **
find_transfer(uint64_t id)
{
	MuxTransfer **at = bucket_of(id);

	while (*at != NULL && (*at)->id != id)
		at = &(*at)->next_of_id;
	return at;
}

static void
register_transfer(MuxTransfer *transfer)
{
	MuxTransfer **at = bucket_of(transfer->id);

	transfer->next_of_id = *at;
	*at = transfer;
	transfers++;
}

static void
forget_transfer(const MuxTransfer *transfer)
{
	*find_transfer(transfer->id) = transfer->next_of_id;
	transfers--;
}

/* ------------------------------------------------------------------------
 * Deadlines: a binary heap, the earliest first
 * ------------------------------------------------------------------------
 */

static bool
heap_reserve(void)
{
	size_t		room = heap_room > 0 ? heap_room * 2 : 256;
	MuxTransfer **larger;

	if (heap_size < heap_room)
		return true;
	larger = realloc(heap, room * sizeof(*heap));
	if (larger == NULL)
		return false;
	heap = larger;
	heap_room = room;
	return true;
}

static void
heap_put(size_t position, MuxTransfer *transfer)
{
	heap[position] = transfer;
	transfer->position = position;
}

static void
heap_rise(MuxTransfer *transfer)
{
	size_t		at = transfer->position;

	for (; at > 0 && heap[(at - 1) / 2]->due > transfer->due; at = (at - 1) / 2)
		heap_put(at, heap[(at - 1) / 2]);
	heap_put(at, transfer);
}

static void
heap_sink(MuxTransfer *transfer)
{
	size_t		at = transfer->position;

	for (;;)
	{
		size_t		child = 2 * at + 1;

		if (child + 1 < heap_size && heap[child + 1]->due < heap[child]->due)
			child++;
		if (child >= heap_size || heap[child]->due >= transfer->due)
			break;
		heap_put(at, heap[child]);
		at = child;
	}
	heap_put(at, transfer);
}

static void
heap_move(MuxTransfer *transfer, int64_t due)
{
	bool		later = due > transfer->due;

	transfer->due = due;
	if (later)
		heap_sink(transfer);
	else
		heap_rise(transfer);
}

static void
heap_add(MuxTransfer *transfer)
{
	transfer->position = heap_size++;
	heap_rise(transfer);
}

static void
heap_remove(MuxTransfer *transfer)
{
	MuxTransfer *last = heap[--heap_size];

	if (last == transfer)
		return;
	heap_put(transfer->position, last);
	heap_rise(last);
	heap_sink(last);
}

/* ------------------------------------------------------------------------
 * Ends
 * ------------------------------------------------------------------------
 */

/* Calls without a transfer shall not take a connection from others. */
static void
limit_connections(void)
{
	long		limit = js_mux_config.max_connections;

	curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, limit + abandoned);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, limit);
}

/* Leaves it to libcurl until the name is looked up. */
static void
abandon_call(MuxCall *call)
{
	call->transfer = NULL;
	js_mux_call_limit_connect(call, (int64_t) INT_MAX * 1000);
	abandoned++;
	limit_connections();
}

static void
end_abandoned(MuxCall *call)
{
	curl_multi_remove_handle(multi, call->easy);
	js_mux_call_free(call);
	abandoned--;
	limit_connections();
}

/* The transfer has no longer to do with libcurl. */
static void
drop_call(MuxTransfer *transfer)
{
	MuxCall    *call = transfer->call;

	if (call->mail != NULL)
		js_mux_mail_leave(transfer);
	transfer->call = NULL;
	if (transfer->state == MUX_ACTIVE && call->resolving)
	{
		abandon_call(call);
		return;
	}
	if (transfer->state == MUX_ACTIVE)
		curl_multi_remove_handle(multi, call->easy);
	js_mux_call_free(call);
}

static void
detach(MuxTransfer *transfer)
{
	if (transfer->state == MUX_WAITING)
		mux_list_remove(&transfer->link);
	if (transfer->origin != NULL)
		js_mux_origin_leave(transfer);
	heap_remove(transfer);
	drop_call(transfer);
}

/* Its response is written but for what all have. */
static void
end_transfer(MuxTransfer *transfer)
{
	JsMuxResponse *response = &transfer->response;

	response->id = transfer->id;
	response->total_us = js_mux_now() - transfer->started_at;
	response->private = transfer;
	if (response->headers == NULL)
		response->headers = "";
	if (response->body == NULL)
		response->body = "";
	transfer->state = MUX_ENDED;
	mux_list_append(&ended, &transfer->link);
}

static void
fail(MuxTransfer *transfer, JsMuxResult result, const char *error)
{
	transfer->response.result = result;
	snprintf(transfer->response.error, JS_MUX_ERROR_TEXT, "%s", error);
	detach(transfer);
	end_transfer(transfer);
}

static void
free_response(JsMuxResponse *response)
{
	if (response->headers_size > 0)
		free((char *) response->headers);
	if (response->body_size > 0)
		free((char *) response->body);
}

/* ------------------------------------------------------------------------
 * Into libcurl, and out of it
 * ------------------------------------------------------------------------
 */

static int
socket_changed(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	(void) easy;
	(void) arg;
	if (what == CURL_POLL_REMOVE)
		js_mux_poll_forget(fd);
	else
		js_mux_poll_watch(fd, (what & CURL_POLL_IN) != 0, (what & CURL_POLL_OUT) != 0,
						  known != NULL);
	if (what != CURL_POLL_REMOVE && known == NULL)
		curl_multi_assign(multi, fd, &multi);
	return 0;
}

static int
timer_changed(CURLM *which, long ms, void *arg)
{
	(void) which;
	(void) arg;
	multi_due = ms < 0 ? MUX_NEVER : js_mux_now() + ms * 1000;
	return 0;
}

/* Whether it is still to be connected decides which deadlines there are. */
static int64_t
next_due(const MuxTransfer *transfer)
{
	const MuxCall *call = transfer->call;
	int64_t		due = transfer->total_due;

	if (call->ready_at == 0 && transfer->connect_due < due)
		due = transfer->connect_due;
	if (transfer->pioneer && call->resolved_at > 0 && transfer->entered_at + MUX_PIONEER_US < due)
		due = transfer->entered_at + MUX_PIONEER_US;
	return due;
}

static void
enter(MuxTransfer *transfer)
{
	int64_t		now = js_mux_now();

	transfer->state = MUX_ACTIVE;
	transfer->entered_at = now;
	if (transfer->origin != NULL)
		js_mux_origin_enter(transfer);
	if (transfer->call->mail != NULL)
		js_mux_mail_enter(transfer);
	if (transfer->pioneer && transfer->due > now + MUX_PIONEER_US)
		heap_move(transfer, now + MUX_PIONEER_US);
	js_mux_call_limit_connect(transfer->call,
							  transfer->connect_due == MUX_NEVER ? (int64_t) INT_MAX * 1000 :
							  transfer->connect_due - now + CONNECT_GRACE_US);
	if (curl_multi_add_handle(multi, transfer->call->easy) != CURLM_OK)
		fail(transfer, JS_MUX_NO_MEMORY, "out of memory");
}

static void
time_out(MuxTransfer *transfer)
{
	MuxCall    *call = transfer->call;
	bool		connecting = call->ready_at == 0 && transfer->connect_due < transfer->total_due;

	js_mux_call_result(call, CURLE_OPERATION_TIMEDOUT, transfer->started_at, &transfer->response);
	fail(transfer, connecting ? JS_MUX_CONNECT_TIMEOUT : JS_MUX_TIMEOUT,
		 connecting ? "no connection in time" : "no complete response in time");
}

/* To its origin, before the others, to enter again when there is room. */
static void
turn_back(MuxTransfer *transfer)
{
	curl_multi_remove_handle(multi, transfer->call->easy);
	js_mux_call_restart(transfer->call);
	if (js_mux_origin_turn_back(transfer))
		transfer->state = MUX_WAITING;
	else
		fail(transfer, JS_MUX_NO_MEMORY, "out of memory");
}

/* Once more, on a connection of its own; as a pioneer if it is one. */
static void
begin_again(MuxTransfer *transfer)
{
	MuxCall    *call = transfer->call;

	curl_multi_remove_handle(multi, call->easy);
	js_mux_call_restart(call);
	if (curl_multi_add_handle(multi, call->easy) != CURLM_OK)
		fail(transfer, JS_MUX_NO_MEMORY, "out of memory");
}

/* The name has just been looked up in vain. */
static void
fail_all_waiting(const MuxTransfer *pioneer)
{
	MuxTransfer *next;

	while ((next = js_mux_origin_follower(pioneer)) != NULL)
		fail(next, pioneer->response.result, pioneer->response.error);
}

static void
conclude(MuxTransfer *transfer, CURLcode code)
{
	js_mux_call_result(transfer->call, code, transfer->started_at, &transfer->response);
	if (transfer->pioneer && transfer->response.result == JS_MUX_RESOLVE)
		fail_all_waiting(transfer);
	detach(transfer);
	end_transfer(transfer);
}

/* libcurl has done its part. */
static void
finish(MuxTransfer *transfer, CURLcode code)
{
	if (code == CURLE_OK && transfer->call->mail != NULL)
	{
		if (!js_mux_mail_begin(transfer->call, &code))
			conclude(transfer, code);
		return;
	}
	if (code != CURLE_OK && transfer->call->elsewhere)
	{
		begin_again(transfer);
		return;
	}
	if (code != CURLE_OK && transfer->call->turned_back)
	{
		turn_back(transfer);
		return;
	}
	if (code == CURLE_OPERATION_TIMEDOUT)
	{
		time_out(transfer);
		return;
	}
	conclude(transfer, code);
}

/* Takes out what libcurl has finished. */
static void
collect(void)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		CURLcode	code = message->data.result;
		char	   *private = NULL;
		MuxCall    *call;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
		call = (MuxCall *) private;
		js_mux_lookup_end(call);
		if (call->transfer == NULL)
			end_abandoned(call);
		else
			finish(call->transfer, code);
	}
}

static void
act(curl_socket_t fd, int what)
{
	int			running;

	curl_multi_socket_action(multi, fd, what, &running);
	collect();
}

/* ------------------------------------------------------------------------
 * The work of pump()
 * ------------------------------------------------------------------------
 */

static void
meet_deadline(MuxTransfer *transfer, int64_t now)
{
	if (transfer->pioneer && transfer->call->resolved_at > 0 &&
		now >= transfer->entered_at + MUX_PIONEER_US)
		js_mux_origin_pass(transfer, true);
	if (next_due(transfer) > now)
		heap_move(transfer, next_due(transfer));
	else
		time_out(transfer);
}

static void
meet_deadlines(void)
{
	int64_t		now = js_mux_now();
	int64_t		until = now + PUMP_US;

	while (heap_size > 0 && heap[0]->due <= now && js_mux_now() < until)
		meet_deadline(heap[0], now);
}

static void
serve_mail(MuxTransfer *transfer)
{
	CURLcode	code;

	if (!js_mux_mail_advance(transfer->call, &code))
		conclude(transfer, code);
}

static void
serve_socket(const MuxEvent *event)
{
	MuxTransfer *mail = js_mux_mail_of_socket(event->fd);

	if (mail != NULL)
		serve_mail(mail);
	else
		act(event->fd,
			(event->readable ? CURL_CSELECT_IN : 0) |
			(event->writable ? CURL_CSELECT_OUT : 0) |
			(event->broken ? CURL_CSELECT_ERR : 0));
}

static void
serve_sockets(void)
{
	MuxEvent	events[PUMP_EVENTS];
	int			count = js_mux_poll_events(events, PUMP_EVENTS);
	int64_t		until = js_mux_now() + PUMP_US;

	for (int i = 0; i < count && js_mux_now() < until; i++)
		serve_socket(&events[i]);
}

/* One of each origin in turn; of mails there are few. */
static int
let_some_enter(void)
{
	MuxTransfer *next;
	int			entered = 0;

	while ((next = js_mux_mails_next()) != NULL)
	{
		enter(next);
		entered++;
	}
	while (entered < PUMP_ENTRIES && (next = js_mux_origins_next()) != NULL)
	{
		enter(next);
		entered++;
	}
	return entered;
}

/* Some get through as soon as libcurl has them, and others can follow. */
static void
serve_origins(void)
{
	int64_t		until = js_mux_now() + PUMP_US;
	int			entered;

	do
	{
		js_mux_origins_reopen();
		entered = let_some_enter();
		if (entered > 0 || multi_due <= js_mux_now())
		{
			/* libcurl tells when it wants to be called again, if at all */
			multi_due = MUX_NEVER;
			act(CURL_SOCKET_TIMEOUT, 0);
		}
	} while ((entered > 0 || js_mux_origins_are_open()) && js_mux_now() < until);
}

static void
set_alarm(void)
{
	int64_t		due = multi_due;

	js_mux_origins_reopen();
	if (heap_size > 0 && heap[0]->due < due)
		due = heap[0]->due;
	if (js_mux_origins_are_open() || js_mux_mails_are_open())
		due = 0;
	js_mux_poll_alarm(due);
}

static void
block_signals(sigset_t *before)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

static void
restore_signals(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* ------------------------------------------------------------------------
 * The interface: settings
 * ------------------------------------------------------------------------
 */

static bool
copy_text(char **copy, const char *text)
{
	*copy = text ? strdup(text) : NULL;
	return text == NULL || *copy != NULL;
}

static bool
mux_configure(const JsMuxConfig *config)
{
	char	   *ca_file = NULL;
	char	   *proxy = NULL;

	if (config->may_connect == NULL || config->max_connections <= 0 ||
		!copy_text(&ca_file, config->ca_file) ||
		!copy_text(&proxy, config->proxy))
	{
		free(ca_file);
		return false;
	}
	free((char *) js_mux_config.ca_file);
	free((char *) js_mux_config.proxy);
	js_mux_config = *config;
	js_mux_config.ca_file = ca_file;
	js_mux_config.proxy = proxy;
	limit_connections();
#if CURL_AT_LEAST_VERSION(8, 20, 0)
	/* Names whose lookup hangs must not keep others from theirs. */
	curl_multi_setopt(multi, CURLMOPT_RESOLVE_THREADS_MAX, (long) MUX_MAX_LOOKUPS);
#endif
	return true;
}

/* NULL: it can do all that we need. */
static const char *
lacking(const curl_version_info_data *info)
{
	if (info->version_num < MUX_OLDEST_LIBCURL)
		return "libcurl is older than 7.80";
	if ((info->features & CURL_VERSION_SSL) == 0)
		return "libcurl was built without TLS";
	if ((info->features & CURL_VERSION_ASYNCHDNS) == 0)
		return "libcurl was built without an asynchronous resolver";
	return NULL;
}

static bool
create_multi(void)
{
	multi = curl_multi_init();
	if (multi == NULL)
		return false;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_changed);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_changed);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long) CURLPIPE_MULTIPLEX);
	return true;
}

/*
 * Each request takes some dozens of kilobytes and gives them back.  glibc would
 * return them to the system each time, and fault them in again.
 */
static void
keep_memory(void)
{
#ifdef __GLIBC__
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
	(void) mallopt(M_TOP_PAD, KEPT_BYTES / 64);
	(void) mallopt(M_MMAP_THRESHOLD, KEPT_BYTES / 4);
#endif
}

/* NULL: all went well. */
static const char *
try_open(const JsMuxConfig *config)
{
	const char *lack;

	keep_memory();
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return "libcurl could not be initialized";
	lack = lacking(curl_version_info(CURLVERSION_NOW));
	if (lack != NULL)
		return lack;
	if (js_mux_poll_fd() < 0 && !js_mux_poll_open())
		return strerror(errno);
	if (multi == NULL && !create_multi())
		return "out of memory";
	if (!mux_configure(config))
		return "the settings could not be taken";
	return NULL;
}

static bool
mux_open(const JsMuxConfig *config, char *error, size_t size)
{
	sigset_t	before;
	const char *problem;

	block_signals(&before);
	problem = try_open(config);
	restore_signals(&before);
	if (problem != NULL)
		snprintf(error, size, "%s", problem);
	return problem == NULL;
}

static const char *
mux_describe(void)
{
	static char text[256];
	const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
	bool		has_ares = info->ares != NULL;

	snprintf(text, sizeof(text), "libcurl %s, %s, %s%s, names looked up by %s%s",
			 info->version,
			 info->ssl_version ? info->ssl_version : "no TLS",
			 info->features & CURL_VERSION_HTTP2 ? "HTTP/2 by nghttp2 " : "no HTTP/2",
			 info->features & CURL_VERSION_HTTP2 && info->nghttp2_version ? info->nghttp2_version : "",
			 has_ares ? "c-ares " : "threads",
			 has_ares ? info->ares : "");
	return text;
}

static int
mux_fd(void)
{
	return js_mux_poll_fd();
}

/* ------------------------------------------------------------------------
 * The interface: transfers
 * ------------------------------------------------------------------------
 */

static int64_t
due_in(int64_t now, long ms)
{
	return ms > 0 ? now + (int64_t) ms * 1000 : MUX_NEVER;
}

static void
set_deadlines(MuxTransfer *transfer, const JsMuxRequest *request)
{
	transfer->started_at = js_mux_now();
	transfer->total_due = due_in(transfer->started_at, request->timeout_ms);
	transfer->connect_due = due_in(transfer->started_at, request->connect_timeout_ms);
	if (transfer->connect_due > transfer->total_due)
		transfer->connect_due = transfer->total_due;
	transfer->due = transfer->connect_due;
}

static MuxTransfer *
create_transfer(const JsMuxRequest *request)
{
	MuxTransfer *transfer = calloc(1, sizeof(MuxTransfer));

	if (transfer == NULL)
		return NULL;
	transfer->call = js_mux_call_create();
	if (transfer->call == NULL)
	{
		free(transfer);
		return NULL;
	}
	transfer->call->transfer = transfer;
	transfer->call->party = request->party;
	transfer->id = request->id;
	transfer->response.resolved_us = transfer->response.connected_us = -1;
	transfer->response.secured_us = transfer->response.first_byte_us = -1;
	set_deadlines(transfer, request);
	return transfer;
}

/* False: out of memory. */
static bool
begin(MuxTransfer *transfer, const JsMuxRequest *request)
{
	JsMuxResponse *response = &transfer->response;

	response->result = js_mux_call_prepare(transfer->call, request, response->error);
	if (response->result != JS_MUX_OK)
	{
		js_mux_call_free(transfer->call);
		transfer->call = NULL;
		end_transfer(transfer);
		return true;
	}
	if (!heap_reserve())
		return false;
	if (transfer->call->mail != NULL)
		js_mux_mail_join(transfer);
	else if (!js_mux_origin_join(transfer))
		return false;
	heap_add(transfer);
	return true;
}

static bool
mux_start(const JsMuxRequest *request)
{
	MuxTransfer *transfer;

	if (*find_transfer(request->id) != NULL)
		return false;
	transfer = create_transfer(request);
	if (transfer == NULL)
		return false;
	if (!begin(transfer, request))
	{
		js_mux_call_free(transfer->call);
		free(transfer);
		return false;
	}
	register_transfer(transfer);
	js_mux_poll_alarm(0);
	return true;
}

static bool
mux_cancel(uint64_t id)
{
	MuxTransfer *transfer = *find_transfer(id);

	if (transfer == NULL)
		return false;
	forget_transfer(transfer);
	if (transfer->state == MUX_ENDED)
		mux_list_remove(&transfer->link);
	else
		detach(transfer);
	free_response(&transfer->response);
	free(transfer);
	set_alarm();
	return true;
}

static void
mux_pump(void)
{
	sigset_t	before;

	block_signals(&before);
	meet_deadlines();
	serve_sockets();
	serve_origins();
	set_alarm();
	restore_signals(&before);
}

static bool
mux_next(JsMuxResponse *response)
{
	MuxTransfer *transfer = mux_list_pop(&ended);

	if (transfer == NULL)
		return false;
	forget_transfer(transfer);
	*response = transfer->response;
	return true;
}

static void
mux_release(JsMuxResponse *response)
{
	MuxTransfer *transfer = response->private;

	free_response(&transfer->response);
	free(transfer);
	memset(response, 0, sizeof(*response));
}

static int
mux_in_flight(void)
{
	return transfers;
}

const JsMuxApi js_mux_functions = {
	.version = JS_MUX_VERSION,
	.open = mux_open,
	.configure = mux_configure,
	.describe = mux_describe,
	.fd = mux_fd,
	.start = mux_start,
	.cancel = mux_cancel,
	.pump = mux_pump,
	.next = mux_next,
	.release = mux_release,
	.in_flight = mux_in_flight
};
