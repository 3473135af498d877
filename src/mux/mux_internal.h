/*-------------------------------------------------------------------------
 *
 * mux_internal.h
 *		What the files of library jobsched_curl share: see mux.c.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_MUX_INTERNAL_H
#define JS_HTTP_MUX_INTERNAL_H

#include <curl/curl.h>

#include "mux/mux_api.h"

/* The first that can ask before each request, on connections that are reused too. */
#if !CURL_AT_LEAST_VERSION(7, 80, 0)
#error "libcurl 7.80 or newer is needed"
#endif
#define MUX_OLDEST_LIBCURL 0x075000

#define MUX_NEVER INT64_MAX

/* No name is longer. */
#define MUX_MAX_HOST 255

/* Microseconds of a clock that only goes forward. */
extern int64_t js_mux_now(void);

/* ------------------------------------------------------------------------
 * Lists
 * ------------------------------------------------------------------------
 */

typedef struct MuxLink
{
	struct MuxLink *prev;
	struct MuxLink *next;
} MuxLink;

#define MUX_LIST(name) MuxLink name = {&(name), &(name)}

static inline void
mux_list_init(MuxLink *list)
{
	list->prev = list->next = list;
}

static inline bool
mux_list_is_empty(const MuxLink *list)
{
	return list->next == list;
}

static inline void
mux_list_append(MuxLink *list, MuxLink *link)
{
	link->prev = list->prev;
	link->next = list;
	list->prev->next = link;
	list->prev = link;
}

static inline void
mux_list_push(MuxLink *list, MuxLink *link)
{
	mux_list_append(list->next, link);
}

static inline void
mux_list_remove(MuxLink *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
}

/* NULL: empty.  What is in a list has its link as first member. */
static inline void *
mux_list_pop(MuxLink *list)
{
	MuxLink    *first = list->next;

	if (first == list)
		return NULL;
	mux_list_remove(first);
	return first;
}

/* ------------------------------------------------------------------------
 * mux_poll.c: readiness of sockets and an alarm, in one descriptor
 * ------------------------------------------------------------------------
 */

typedef struct MuxEvent
{
	int			fd;
	bool		readable;
	bool		writable;
	bool		broken;
} MuxEvent;

extern bool js_mux_poll_open(void);
extern int	js_mux_poll_fd(void);
extern void js_mux_poll_connected(int fd);
extern void js_mux_poll_closed(int fd);
extern void js_mux_poll_watch(int fd, bool in, bool out, bool known);
extern void js_mux_poll_forget(int fd);
extern void js_mux_poll_alarm(int64_t due);
extern int	js_mux_poll_events(MuxEvent *events, int max);

/* ------------------------------------------------------------------------
 * mux_reply.c: what has come
 * ------------------------------------------------------------------------
 */

typedef struct MuxBuffer
{
	char	   *data;			/* ends in a NUL that size does not count */
	size_t		size;
	size_t		room;
} MuxBuffer;

typedef enum MuxReplyPart
{
	MUX_REPLY_STATUS,			/* a status line is next */
	MUX_REPLY_HEADERS,
	MUX_REPLY_BODY				/* and trailers */
} MuxReplyPart;

typedef struct MuxReply
{
	MuxReplyPart part;
	int			status;
	size_t		header_bytes;	/* of interim responses and trailers too */
	MuxBuffer	headers;
	MuxBuffer	body;
	size_t		max_body;
	bool		truncated;
	bool		endless_headers;
	bool		no_memory;
} MuxReply;

/* False: that is enough, one of the last three says why. */
extern bool js_mux_reply_header(MuxReply *reply, const char *line, size_t size);
extern bool js_mux_reply_body(MuxReply *reply, const char *data, size_t size);

/* mux_unpack.c: when all has come. */
extern void js_mux_reply_unpack(MuxReply *reply);

extern void js_mux_reply_restart(MuxReply *reply);
extern void js_mux_reply_free(MuxReply *reply);

/* ------------------------------------------------------------------------
 * mux_call.c: one request as libcurl sees it
 * ------------------------------------------------------------------------
 */

typedef struct MuxTransfer MuxTransfer;
typedef struct MuxMail MuxMail;

typedef struct MuxCall
{
	MuxTransfer *transfer;		/* NULL: nobody waits for it any more */
	uint32_t	party;
	CURL	   *easy;
	CURLcode	code;			/* of setting its options */

	CURLU	   *url;
	char	   *host;
	int			port;
	bool		secure;
	bool		proxied;
	struct curl_slist *headers;
	char	   *body;
	MuxMail    *mail;			/* NULL: it is HTTP */

	curl_socket_t sockets[2];	/* the last that it has opened */
	bool		resolving;		/* a thread may be at it */
	bool		turned_back;	/* might not look up its name now */
	bool		fresh;			/* has opened its own connection */
	bool		not_here;		/* an address was refused */
	bool		not_again;		/* a connection that there was, was refused */
	bool		elsewhere;		/* its connection is not fit to be used */
	bool		tried;			/* an address was not refused */
	int64_t		resolved_at;	/* js_mux_now(); 0: not so far */
	int64_t		ready_at;		/* the request goes out */
	int64_t		first_byte_at;
	MuxReply	reply;
} MuxCall;

/* The settings, strings owned; those that start now get these. */
extern JsMuxConfig js_mux_config;

/* NULL: out of memory. */
extern MuxCall *js_mux_call_create(void);
extern void js_mux_call_free(MuxCall *call);

/* Reads the request; JS_MUX_OK, or what becomes of the transfer. */
extern JsMuxResult js_mux_call_prepare(MuxCall *call, const JsMuxRequest *request,
									   char *error);

/* How long libcurl is to try for a connection, the addresses in turn. */
extern void js_mux_call_limit_connect(MuxCall *call, int64_t us);

extern void js_mux_call_result(MuxCall *call, CURLcode code, int64_t started_at,
							   JsMuxResponse *response);

/* As if it had never been with libcurl; on a connection of its own if elsewhere. */
extern void js_mux_call_restart(MuxCall *call);

/* ------------------------------------------------------------------------
 * mux_origin.c: who waits until the way to a server is known
 * ------------------------------------------------------------------------
 */

/*
 * Lookups at a time, with those that nobody waits for any more.  Each has a
 * thread, with its stack and two descriptors, for as long as the resolver tries,
 * which is half a minute where its servers are silent; anyone who may send
 * requests can have names that do that.  As many as 256 at once are more than
 * other names need: where lookups work they take milliseconds.
 */
#define MUX_MAX_LOOKUPS 256

/* So long others wait for a pioneer's handshake, once it has the address. */
#define MUX_PIONEER_US 1000000

typedef struct MuxOrigin MuxOrigin;

typedef enum MuxState
{
	MUX_WAITING,
	MUX_ACTIVE,
	MUX_ENDED
} MuxState;

struct MuxTransfer
{
	MuxLink		link;			/* at its origin, or in ended */
	MuxTransfer *next_of_id;
	uint64_t	id;
	MuxState	state;
	MuxCall    *call;			/* NULL: ENDED */
	MuxOrigin  *origin;			/* NULL: has got through, or needs none */
	bool		pioneer;

	int64_t		started_at;
	int64_t		entered_at;
	int64_t		connect_due;
	int64_t		total_due;
	int64_t		due;			/* in the heap; may be too early */
	size_t		position;		/* there */

	JsMuxResponse response;
};

/* False: out of memory. */
extern bool js_mux_origin_join(MuxTransfer *transfer);
extern bool js_mux_origin_turn_back(MuxTransfer *transfer);
extern void js_mux_origin_enter(MuxTransfer *transfer);
extern void js_mux_origin_pass(MuxTransfer *transfer, bool all_may_follow);
extern void js_mux_origin_leave(MuxTransfer *transfer);
extern MuxTransfer *js_mux_origin_follower(const MuxTransfer *pioneer);

extern MuxTransfer *js_mux_origins_next(void);
extern bool js_mux_origins_are_open(void);
extern void js_mux_origins_reopen(void);
extern void js_mux_lookup_end(MuxCall *call);

/* What the callbacks of a call have seen. */
extern bool js_mux_call_may_resolve(MuxCall *call);
extern void js_mux_call_is_resolved(MuxCall *call);
extern void js_mux_call_is_ready(MuxCall *call);

/* ------------------------------------------------------------------------
 * mux_mail.c: e-mail
 * ------------------------------------------------------------------------
 */

/* NULL: out of memory. */
extern MuxMail *js_mux_mail_create(const JsMuxRequest *request);
extern void js_mux_mail_free(MuxMail *mail);

extern void js_mux_mail_join(MuxTransfer *transfer);
extern bool js_mux_mails_are_open(void);
extern MuxTransfer *js_mux_mails_next(void);
extern void js_mux_mail_enter(MuxTransfer *transfer);
extern void js_mux_mail_leave(MuxTransfer *transfer);

extern bool js_mux_mail_heard(MuxCall *call, const char *data, size_t size);
extern bool js_mux_mail_has_answer(const MuxCall *call, CURLcode code);
extern MuxTransfer *js_mux_mail_of_socket(int fd);

/* True: the mail goes on; else code is how it has ended. */
extern bool js_mux_mail_begin(MuxCall *call, CURLcode *code);
extern bool js_mux_mail_advance(MuxCall *call, CURLcode *code);

#endif							/* JS_HTTP_MUX_INTERNAL_H */
