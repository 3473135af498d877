/*-------------------------------------------------------------------------
 *
 * mux_api.h
 *		Many HTTP transfers and e-mails at once, behind one file descriptor.
 *
 * This is the only part that uses libcurl.  It is a separate library,
 * jobsched_curl, which only the HTTP worker loads; the worker calls it through
 * the table of functions below.  Plain C: nothing here throws, allocates in a
 * memory context, or looks at the server's state.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_MUX_H
#define JS_HTTP_MUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

#define JS_MUX_LIBRARY "$libdir/jobsched_curl"
#define JS_MUX_ENTRY "js_mux_api"
#define JS_MUX_VERSION 3		/* of this interface */

#define JS_MUX_ERROR_TEXT 256
#define JS_MUX_MAX_HEADERS (64 * 1024)	/* of a response, in bytes */

/* What comes of a transfer. */
typedef enum JsMuxResult
{
	JS_MUX_OK,					/* a response, of whatever status */
	JS_MUX_TIMEOUT,				/* not in the time of the whole transfer */
	JS_MUX_CONNECT_TIMEOUT,		/* no connection (names, TCP, TLS) in its time */
	JS_MUX_RESOLVE,				/* the host's name has no address */
	JS_MUX_CONNECT,				/* nobody there */
	JS_MUX_TLS,					/* handshake or certificate */
	JS_MUX_NETWORK,				/* the connection broke */
	JS_MUX_PROTOCOL,			/* what came is no HTTP or SMTP, or too much
								 * of it */
	JS_MUX_REFUSED,				/* may_connect() said no */
	JS_MUX_BAD_REQUEST,			/* libcurl does not take the URL, say */
	JS_MUX_NO_MEMORY			/* or libcurl fails in some other way that is
								 * not the request's fault */
} JsMuxResult;

/*
 * An e-mail to one recipient.  The relay's address needs no permission of
 * may_connect(): no user has chosen it.  The response has the relay's last reply:
 * its status and, as body, its text; a 250 in the end means that it has taken the
 * message over.  Addresses are taken as they are, as the request's headers are.
 */
typedef struct JsMuxMail
{
	const char *sender;
	const char *recipient;
	const char *user;			/* NULL: does not log in */
	const char *password;
	bool		tls;			/* over smtp, too: by STARTTLS, or not at all */
} JsMuxMail;

/*
 * Everything is copied, and can go when start() returns.  Method and headers
 * are taken as they are: the caller has looked for CR, LF and NUL.
 */
typedef struct JsMuxRequest
{
	uint64_t	id;				/* of the caller's choice, unique among those
								 * in flight */
	uint32_t	party;			/* whose it is, who shares lookups of names
								 * with others; 0: nobody's */
	const JsMuxMail *mail;		/* NULL: HTTP */
	const char *url;			/* absolute; http or https, of a mail smtp or
								 * smtps */
	const char *method;			/* any token; HEAD has no body */
	const char *const *headers; /* "Name: value" each, then NULL */
	const char *body;			/* NULL: none; of a mail the message, its
								 * lines ended by CR LF */
	size_t		body_size;
	long		connect_timeout_ms; /* from start(), too; 0: as the whole */
	long		timeout_ms;		/* of the whole, from start(); 0: none */
	size_t		max_body;		/* more than this is not read */
} JsMuxRequest;

/* Belongs to the caller, with what it points to, until release(). */
typedef struct JsMuxResponse
{
	uint64_t	id;
	JsMuxResult result;
	char		error[JS_MUX_ERROR_TEXT];	/* why not JS_MUX_OK; has no part
											 * of URL, headers or body */
	int			status;			/* of the last response that came; 0: none */
	int			http_version;	/* 10, 11, 20, 30; 0: none */
	const char *headers;		/* "Name: value\r\n" each, of that response,
								 * without status line and end */
	size_t		headers_size;
	const char *body;			/* without its Content-Encoding, if that is
								 * gzip or deflate */
	size_t		body_size;
	bool		truncated;		/* there was more than max_body, or less than
								 * what was packed */

	/*
	 * In microseconds from start(), as far as it came; -1: not so far.  On a
	 * connection that there was, the first three are when it was free for us.
	 */
	int64_t		resolved_us;
	int64_t		connected_us;
	int64_t		secured_us;		/* TLS; -1 for plain http too */
	int64_t		first_byte_us;
	int64_t		total_us;

	char		remote_address[64]; /* of whom we were connected to; may be
									 * empty */
	int			remote_port;
	void	   *private;
} JsMuxResponse;

typedef struct JsMuxConfig
{
	int			max_connections;	/* kept and used, in all; at least 1 */
	const char *ca_file;		/* instead of the system's; NULL: the system's */
	const char *proxy;			/* URL; NULL: none, whatever the environment
								 * says */

	/*
	 * Whether a request to this host (as the URL says it, in lower case,
	 * without brackets and final dot) and port may go to this address; asked
	 * for each socket that is opened, and again for each request before it is
	 * sent.  Not asked for the proxy; with one it is asked when a transfer is
	 * started, with the host if that is an address, else with NULL: the
	 * address will not be known.  Must not throw.  Called by start() and
	 * pump().
	 */
	bool		(*may_connect) (void *arg, const char *host, int port,
								const struct sockaddr *address);
	void	   *arg;
} JsMuxConfig;

typedef struct JsMuxApi
{
	int			version;

	/*
	 * Once in a process, before anything else but describe(); false: error
	 * says why, and it can be tried again.  SIGPIPE has to be ignored.
	 */
	bool		(*open) (const JsMuxConfig *config, char *error, size_t size);

	/*
	 * New settings, for transfers that start from now on; may_connect and arg
	 * for those in flight too, so what they were can go.  False: invalid, or
	 * out of memory, and nothing has changed.
	 */
	bool		(*configure) (const JsMuxConfig *config);

	/* Which libcurl and which resolver, in words. */
	const char *(*describe) (void);

	/* Readable when pump() has something to do. */
	int			(*fd) (void);

	/*
	 * Begins a transfer; false: out of memory, or the id is in flight, and
	 * nothing has begun.
	 */
	bool		(*start) (const JsMuxRequest *request);

	/*
	 * Ends a transfer; it has no response any more, unless next() has given
	 * it out.  False: there is none with this id.
	 */
	bool		(*cancel) (uint64_t id);

	/*
	 * Does what can be done without waiting, a few milliseconds of it; fd()
	 * stays readable if there is more.  Blocks signals meanwhile.
	 */
	void		(*pump) (void);

	/* The next transfer that has ended; false: none. */
	bool		(*next) (JsMuxResponse *response);
	void		(*release) (JsMuxResponse *response);

	/* How many have been started and neither cancelled nor given out. */
	int			(*in_flight) (void);
} JsMuxApi;

/* What JS_MUX_ENTRY returns; for those who are linked with it. */
extern const JsMuxApi js_mux_functions;

#endif							/* JS_HTTP_MUX_H */
