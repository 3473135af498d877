/*-------------------------------------------------------------------------
 *
 * mux_call.c
 *		One request as libcurl sees it: its options, its callbacks, its result.
 *
 * DESIGN
 *
 * A MuxCall is what libcurl's callbacks get, so it lives as long as its handle
 * is with libcurl.  The transfer to which it belongs may have ended before.
 *
 * Each call has its own handle, which is never used for another request,
 * because a server may have chosen what a handle keeps from one transfer to the
 * next: until 8.1 libcurl appended a folded line at the beginning of a response
 * to the last header of the response before, whose memory had been freed.  A
 * handle costs some microseconds.  Connections are shared by all handles.
 *
 * Callbacks copy into buffers with limits, note the time, and ask for
 * permission.  They call libcurl only to ask for its measurements.
 *
 * Which addresses are allowed: OPENSOCKETFUNCTION is called with each address
 * before a connection is opened, after names are resolved, so it sees the
 * address itself whatever the URL says.  PREREQFUNCTION is called before each
 * request, also on an existing connection, whose permission may have been
 * another's or may have been withdrawn since.  With a proxy both see the proxy,
 * which needs no permission; then we can only check the host in the URL.
 *
 * The caller follows redirects.  Nothing is taken from the environment, and
 * nothing is remembered between requests except connections, names and TLS
 * sessions.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mux/mux_internal.h"

/* Each transfer that is under way has one. */
#define RECEIVE_BUFFER (8 * 1024L)
#define SEND_BUFFER (16 * 1024L)

/* A connection is not used for longer, so that a name's new address is seen. */
#define MAX_LIFETIME_S 300L

/* Certificates are read again after, for they are replaced some day. */
#define CA_CACHE_S 300L

#define KEEPALIVE_S 60L

#define SET(option, value) \
	do { \
		if (call->code == CURLE_OK) \
			call->code = curl_easy_setopt(call->easy, option, value); \
	} while (0)

JsMuxConfig js_mux_config;

/* The library that was found when the process began, not the one of the build. */
static const curl_version_info_data *
libcurl(void)
{
	static const curl_version_info_data *info = NULL;

	if (info == NULL)
		info = curl_version_info(CURLVERSION_NOW);
	return info;
}

/* NULL: out of memory. */
MuxCall *
js_mux_call_create(void)
{
	MuxCall    *call = calloc(1, sizeof(MuxCall));

	if (call == NULL)
		return NULL;
	call->easy = curl_easy_init();
	call->sockets[0] = call->sockets[1] = CURL_SOCKET_BAD;
	if (call->easy != NULL)
		return call;
	free(call);
	return NULL;
}

/* libcurl has no longer anything to do with it. */
void
js_mux_call_free(MuxCall *call)
{
	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	curl_url_cleanup(call->url);
	curl_free(call->host);
	free(call->body);
	js_mux_mail_free(call->mail);
	js_mux_reply_free(&call->reply);
	free(call);
}

/* ------------------------------------------------------------------------
 * Permission
 * ------------------------------------------------------------------------
 */

typedef union Address
{
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} Address;

static bool
may_connect(const MuxCall *call, const struct sockaddr *address)
{
	return call->mail != NULL ||
		js_mux_config.may_connect(js_mux_config.arg, call->host, call->port, address);
}

/* An address as text; v4 in the forms that only old programs write too. */
static bool
read_address(const char *text, int port, Address *address)
{
	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1)
	{
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons(port);
		return true;
	}
	if (inet_aton(text, &address->v4.sin_addr) == 0)
		return false;
	address->v4.sin_family = AF_INET;
	address->v4.sin_port = htons(port);
	return true;
}

/* Whom a proxy is to connect us to, as far as we can tell. */
static bool
proxy_may_connect(const MuxCall *call)
{
	Address		address;

	return may_connect(call, read_address(call->host, call->port, &address) ?
					   &address.any : NULL);
}

static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	MuxCall    *call = arg;
	int			type = address->socktype;

	js_mux_call_is_resolved(call);
	if (call->transfer == NULL)
		return CURL_SOCKET_BAD;
	if (purpose != CURLSOCKTYPE_IPCXN ||
		(address->family != AF_INET && address->family != AF_INET6) ||
		(!call->proxied && !may_connect(call, &address->addr)))
	{
		call->not_here = true;
		return CURL_SOCKET_BAD;
	}
	call->tried = true;
#ifdef SOCK_CLOEXEC
	type |= SOCK_CLOEXEC;
#endif
	call->sockets[0] = call->sockets[1];
	call->sockets[1] = socket(address->family, type, address->protocol);
	js_mux_poll_closed(call->sockets[1]);	/* what had this number before */
	return call->sockets[1];
}

/* When it is called the request that opened the socket may be over, and its MuxCall gone. */
static int
close_socket(void *none, curl_socket_t fd)
{
	(void) none;
	js_mux_poll_closed(fd);
	return close(fd);
}

/*
 * Sockets of connections that were opened, by their own port, for libcurl does
 * not tell which one a request is about to use.  May be out of date.
 */
static int	sockets[65536];

static int
port_of(const Address *address)
{
	if (address->any.sa_family == AF_INET)
		return ntohs(address->v4.sin_port);
	return address->any.sa_family == AF_INET6 ? ntohs(address->v6.sin6_port) : -1;
}

static bool
has_port(int fd, int port)
{
	Address		address;
	socklen_t	size = sizeof(address);

	memset(&address, 0, sizeof(address));
	return getsockname(fd, &address.any, &size) == 0 && port_of(&address) == port;
}

static bool
is_connected_to(int fd, const Address *remote)
{
	Address		peer;
	socklen_t	size = sizeof(peer);

	memset(&peer, 0, sizeof(peer));
	if (getpeername(fd, &peer.any, &size) != 0 || port_of(&peer) != port_of(remote) ||
		peer.any.sa_family != remote->any.sa_family)
		return false;
	return peer.any.sa_family == AF_INET ?
		peer.v4.sin_addr.s_addr == remote->v4.sin_addr.s_addr :
		memcmp(&peer.v6.sin6_addr, &remote->v6.sin6_addr, sizeof(peer.v6.sin6_addr)) == 0;
}

/*
 * The first request on a connection.  The numbers may be other sockets' by now,
 * for one address may have failed before the other was connected.
 */
static void
note_socket(const MuxCall *call, int port, const Address *remote)
{
	for (int i = 0; i < 2; i++)
		if (has_port(call->sockets[i], port) && is_connected_to(call->sockets[i], remote))
		{
			sockets[port] = call->sockets[i];
			js_mux_poll_connected(sockets[port]);
		}
}

/*
 * What a server says before it is asked is no answer to anyone: it may be the
 * second half of what another's request has brought about.  Over TLS there is
 * something to read without that being an answer, so there it cannot be told.
 */
static bool
has_spoken_early(const MuxCall *call, int port, const Address *remote)
{
	char		c;

	if (port <= 0 || port > 65535)
		return false;
	if (call->fresh)
		note_socket(call, port, remote);
	if (call->fresh || call->secure)
		return false;
	/* a peek at another's socket does no harm; mostly there is nothing */
	return recv(sockets[port], &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0 && has_port(sockets[port], port);
}

static int
before_request(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	MuxCall    *call = arg;
	Address		address;

	(void) local_ip;
	if (call->transfer == NULL)
		return CURL_PREREQFUNC_ABORT;
	if (!(read_address(remote_ip, remote_port, &address) || call->proxied) ||
		(!call->proxied && !may_connect(call, &address.any)))
	{
		call->not_again = true;
		return CURL_PREREQFUNC_ABORT;
	}
	if (call->mail == NULL && has_spoken_early(call, local_port, &address))
	{
		call->elsewhere = true;
		return CURL_PREREQFUNC_ABORT;
	}
	js_mux_reply_restart(&call->reply);
	js_mux_call_is_ready(call);
	return CURL_PREREQFUNC_OK;
}

/* ------------------------------------------------------------------------
 * What comes
 * ------------------------------------------------------------------------
 */

/* Called before a name is looked up, and for addresses too. */
static int
resolver_starts(void *resolver, void *reserved, void *arg)
{
	(void) resolver;
	(void) reserved;
	return js_mux_call_may_resolve(arg) ? 0 : 1;
}

static size_t
take_header(char *data, size_t one, size_t size, void *arg)
{
	MuxCall    *call = arg;

	if (call->first_byte_at == 0)
		call->first_byte_at = js_mux_now();
	return js_mux_reply_header(&call->reply, data, one * size) ? one * size : 0;
}

static size_t
take_mail_reply(char *data, size_t one, size_t size, void *arg)
{
	return js_mux_mail_heard(arg, data, one * size) ? one * size : 0;
}

static size_t
take_body(char *data, size_t one, size_t size, void *arg)
{
	MuxCall    *call = arg;

	return js_mux_reply_body(&call->reply, data, one * size) ? one * size : 0;
}

/* ------------------------------------------------------------------------
 * The request
 * ------------------------------------------------------------------------
 */

static bool
get_part(CURLU *url, CURLUPart part, unsigned int flags, char **value)
{
	return curl_url_get(url, part, value, flags) == CURLUE_OK;
}

/* As js_mux_config.may_connect() is to see it. */
static void
normalize_host(char *host)
{
	size_t		size = strlen(host);

	if (size > 2 && host[0] == '[' && host[size - 1] == ']')
	{
		memmove(host, host + 1, size -= 2);
		host[size] = '\0';
	}
	if (size > 1 && host[size - 1] == '.')
		host[size - 1] = '\0';
	for (char *c = host; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
}

/*
 * libcurl is given the URL as we have read it, so that there is no second
 * opinion on what the host is.
 */
static bool
read_url(MuxCall *call, const JsMuxRequest *request)
{
	const char *plain = request->mail != NULL ? "smtp" : "http";
	const char *secure = request->mail != NULL ? "smtps" : "https";
	char	   *scheme = NULL;
	char	   *port = NULL;
	bool		good;

	call->url = curl_url();
	good = call->url != NULL &&
		curl_url_set(call->url, CURLUPART_URL, request->url, CURLU_PATH_AS_IS) == CURLUE_OK &&
		get_part(call->url, CURLUPART_SCHEME, 0, &scheme) &&
		get_part(call->url, CURLUPART_HOST, 0, &call->host) &&
		get_part(call->url, CURLUPART_PORT, CURLU_DEFAULT_PORT, &port);
	if (good)
	{
		call->secure = strcasecmp(scheme, secure) == 0;
		call->port = atoi(port);
		normalize_host(call->host);
		good = (call->secure || strcasecmp(scheme, plain) == 0) &&
			strlen(call->host) <= MUX_MAX_HOST;
	}
	curl_free(scheme);
	curl_free(port);
	return good;
}

static bool
add_header(MuxCall *call, const char *header)
{
	struct curl_slist *longer = curl_slist_append(call->headers, header);

	if (longer != NULL)
		call->headers = longer;
	return longer != NULL;
}

/* libcurl takes "Name:" for a header to leave out, "Name;" for an empty one. */
static bool
add_users_header(MuxCall *call, const char *header)
{
	const char *colon = strchr(header, ':');
	char	   *empty;
	bool		added;

	if (colon == NULL || colon[1 + strspn(colon + 1, " \t")] != '\0')
		return add_header(call, header);
	empty = strdup(header);
	if (empty == NULL)
		return false;
	strcpy(empty + (colon - header), ";");
	added = add_header(call, empty);
	free(empty);
	return added;
}

static bool
is_header(const char *header, const char *name)
{
	size_t		size = strlen(name);

	return strncasecmp(header, name, size) == 0 && header[size] == ':';
}

/* Those of the caller, and none that libcurl would add on its own account. */
static bool
copy_headers(MuxCall *call, const char *const *headers)
{
	bool		has_type = false;
	bool		has_expect = false;

	for (; headers != NULL && *headers != NULL; headers++)
	{
		has_type |= is_header(*headers, "Content-Type");
		has_expect |= is_header(*headers, "Expect");
		if (!add_users_header(call, *headers))
			return false;
	}
	return (has_type || add_header(call, "Content-Type:")) &&
		(has_expect || add_header(call, "Expect:"));
}

static bool
copy_body(MuxCall *call, const JsMuxRequest *request)
{
	call->body = malloc(request->body_size + 1);
	if (call->body == NULL)
		return false;
	if (request->body_size > 0)
		memcpy(call->body, request->body, request->body_size);
	return true;
}

/* Servers expect a length with these, be it 0. */
static bool
has_content(const JsMuxRequest *request)
{
	return request->body != NULL ||
		strcmp(request->method, "POST") == 0 ||
		strcmp(request->method, "PUT") == 0 ||
		strcmp(request->method, "PATCH") == 0;
}

static void
set_method(MuxCall *call, const JsMuxRequest *request)
{
	if (strcmp(request->method, "HEAD") == 0)
	{
		SET(CURLOPT_NOBODY, 1L);
		return;
	}
	if (!has_content(request))
		SET(CURLOPT_HTTPGET, 1L);
	else if (copy_body(call, request))
	{
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->body_size);
		SET(CURLOPT_POSTFIELDS, call->body);
	}
	else
		call->code = CURLE_OUT_OF_MEMORY;
	SET(CURLOPT_CUSTOMREQUEST, request->method);
}

static void
set_call_limits(MuxCall *call)
{
	SET(CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_HTTP09_ALLOWED, 0L);
	SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE);
	SET(CURLOPT_PATH_AS_IS, 1L);
#if CURL_AT_LEAST_VERSION(7, 85, 0)
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
#else
	SET(CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
	SET(CURLOPT_REDIR_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if CURL_AT_LEAST_VERSION(7, 87, 0)
	/* should libcurl itself ever give up while a name is looked up */
	SET(CURLOPT_QUICK_EXIT, 1L);
#endif
}

/* "" keeps libcurl from asking the environment. */
static void
set_connection(MuxCall *call)
{
	SET(CURLOPT_PROXY, js_mux_config.proxy ? js_mux_config.proxy : "");
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_TCP_NODELAY, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
	SET(CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S);
	SET(CURLOPT_MAXLIFETIME_CONN, MAX_LIFETIME_S);
	if ((libcurl()->features & CURL_VERSION_HTTP2) != 0)
		SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
}

/*
 * Which certificates are trusted.  With a directory beside the file libcurl
 * would read the whole file for each connection, which takes longer than all
 * the rest of a handshake; and the directory would go on being trusted when
 * the file is ours.
 */
static void
set_authorities(MuxCall *call)
{
	static const char *system_file = NULL;
	const char *file = js_mux_config.ca_file;

#if CURL_AT_LEAST_VERSION(7, 84, 0)
	if (system_file == NULL)
		system_file = libcurl()->cainfo && access(libcurl()->cainfo, R_OK) == 0 ? libcurl()->cainfo : "";
#else
	system_file = "";
#endif
	if (file != NULL)
		SET(CURLOPT_CAINFO, file);
	if (file != NULL || *system_file != '\0')
		SET(CURLOPT_CAPATH, NULL);
	if (file != NULL && js_mux_config.proxy != NULL)
	{
		SET(CURLOPT_PROXY_CAINFO, file);
		SET(CURLOPT_PROXY_CAPATH, NULL);
	}
#if CURL_AT_LEAST_VERSION(7, 87, 0)
	SET(CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
#endif
}

static void
set_tls(MuxCall *call)
{
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (js_mux_config.proxy != NULL)
	{
		SET(CURLOPT_PROXY_SSL_VERIFYPEER, 1L);
		SET(CURLOPT_PROXY_SSL_VERIFYHOST, 2L);
		SET(CURLOPT_PROXY_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	}
	set_authorities(call);
}

static void
set_callbacks(MuxCall *call)
{
	SET(CURLOPT_PRIVATE, call);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, call);
	SET(CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	SET(CURLOPT_PREREQFUNCTION, before_request);
	SET(CURLOPT_PREREQDATA, call);
	SET(CURLOPT_RESOLVER_START_FUNCTION, resolver_starts);
	SET(CURLOPT_RESOLVER_START_DATA, call);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, call);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, call);
}

/*
 * libcurl connects, says hello, changes to TLS and logs in.  What follows it would
 * do too, but it blocks while it waits for the last answer (mux_mail.c).  Mechanisms
 * that need more than a password it would choose by the look of the user's name.
 */
static void
set_mail(MuxCall *call, const JsMuxMail *mail)
{
	call->secure |= mail->tls;
	SET(CURLOPT_CONNECT_ONLY, 1L);
	SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_USE_SSL, (long) (mail->tls ? CURLUSESSL_ALL : CURLUSESSL_NONE));
#if CURL_AT_LEAST_VERSION(7, 85, 0)
	SET(CURLOPT_PROTOCOLS_STR, "smtp,smtps");
#else
	SET(CURLOPT_PROTOCOLS, (long) (CURLPROTO_SMTP | CURLPROTO_SMTPS));
#endif
	SET(CURLOPT_HEADERFUNCTION, take_mail_reply);
	if (mail->user == NULL)
		return;
	SET(CURLOPT_USERNAME, mail->user);
	SET(CURLOPT_PASSWORD, mail->password);
	SET(CURLOPT_LOGIN_OPTIONS, "AUTH=PLAIN;AUTH=LOGIN");
	SET(CURLOPT_SASL_IR, 1L);
}

static void
set_request(MuxCall *call, const JsMuxRequest *request)
{
	SET(CURLOPT_CURLU, call->url);
	if (request->mail != NULL)
	{
		call->mail = js_mux_mail_create(request);
		if (call->mail == NULL)
			call->code = CURLE_OUT_OF_MEMORY;
		return;
	}
	if (!copy_headers(call, request->headers))
		call->code = CURLE_OUT_OF_MEMORY;
	SET(CURLOPT_HTTPHEADER, call->headers);
	set_method(call, request);
}

/* libcurl has not taken an option. */
static JsMuxResult
not_taken(const MuxCall *call, JsMuxResult result, const char *what, char *error)
{
	if (call->code == CURLE_OUT_OF_MEMORY)
	{
		snprintf(error, JS_MUX_ERROR_TEXT, "out of memory");
		return JS_MUX_NO_MEMORY;
	}
	snprintf(error, JS_MUX_ERROR_TEXT, "libcurl does not take %s (error %d)", what,
			 (int) call->code);
	return result;
}

JsMuxResult
js_mux_call_prepare(MuxCall *call, const JsMuxRequest *request, char *error)
{
	if (!read_url(call, request))
	{
		snprintf(error, JS_MUX_ERROR_TEXT, "the URL is not valid");
		return JS_MUX_BAD_REQUEST;
	}
	call->proxied = request->mail == NULL && js_mux_config.proxy != NULL;
	if (call->proxied && !proxy_may_connect(call))
	{
		snprintf(error, JS_MUX_ERROR_TEXT, "requests to this address are not allowed");
		return JS_MUX_REFUSED;
	}
	call->reply.max_body = request->max_body;
	set_request(call, request);
	if (call->code != CURLE_OK)
		return not_taken(call, JS_MUX_BAD_REQUEST, "the request", error);
	set_call_limits(call);
	set_connection(call);
	set_callbacks(call);
	if (request->mail != NULL)
		set_mail(call, request->mail);
	if (call->secure || call->proxied)
		set_tls(call);
	if (call->code != CURLE_OK)
		return not_taken(call, JS_MUX_NO_MEMORY, "an option", error);
	return JS_MUX_OK;
}

void
js_mux_call_restart(MuxCall *call)
{
	SET(CURLOPT_FRESH_CONNECT, (long) (call->elsewhere || call->mail != NULL));
	call->turned_back = false;
	call->elsewhere = false;
	call->fresh = false;
	call->not_here = false;
	call->not_again = false;
	call->tried = false;
	call->resolved_at = 0;
	call->ready_at = 0;
	call->first_byte_at = 0;
	js_mux_reply_restart(&call->reply);
}

/* It gives each address but the last half of what is left. */
void
js_mux_call_limit_connect(MuxCall *call, int64_t us)
{
	int64_t		ms = us / 1000 + 1;

	curl_easy_setopt(call->easy, CURLOPT_CONNECTTIMEOUT_MS,
					 (long) (ms < INT_MAX ? ms : INT_MAX));
}

/* ------------------------------------------------------------------------
 * The result
 * ------------------------------------------------------------------------
 */

typedef struct Meaning
{
	CURLcode	code;
	JsMuxResult result;
	const char *text;
} Meaning;

static const Meaning meanings[] = {
	{CURLE_OK, JS_MUX_OK, ""},
	{CURLE_OPERATION_TIMEDOUT, JS_MUX_CONNECT_TIMEOUT, "no connection in time"},
	{CURLE_COULDNT_RESOLVE_HOST, JS_MUX_RESOLVE, "the host name cannot be resolved"},
	{CURLE_COULDNT_RESOLVE_PROXY, JS_MUX_RESOLVE, "the proxy's name cannot be resolved"},
	{CURLE_COULDNT_CONNECT, JS_MUX_CONNECT, "cannot connect to the server"},
	{CURLE_NO_CONNECTION_AVAILABLE, JS_MUX_CONNECT, "all connections are in use"},
#if CURL_AT_LEAST_VERSION(7, 73, 0)
	{CURLE_PROXY, JS_MUX_CONNECT, "the proxy does not connect to the server"},
#endif

	{CURLE_SSL_CONNECT_ERROR, JS_MUX_TLS, "the TLS handshake failed"},
	{CURLE_PEER_FAILED_VERIFICATION, JS_MUX_TLS, "the server's certificate is not trusted, or not for this host"},
	{CURLE_SSL_ISSUER_ERROR, JS_MUX_TLS, "the server's certificate has another issuer"},
	{CURLE_SSL_PINNEDPUBKEYNOTMATCH, JS_MUX_TLS, "the server's certificate has another key"},
	{CURLE_SSL_INVALIDCERTSTATUS, JS_MUX_TLS, "the server's certificate has no valid status"},
	{CURLE_SSL_CLIENTCERT, JS_MUX_TLS, "the server wants a client's certificate"},
	{CURLE_SSL_CERTPROBLEM, JS_MUX_TLS, "a certificate cannot be used"},
	{CURLE_SSL_CACERT_BADFILE, JS_MUX_TLS, "the file of trusted certificates cannot be read"},
	{CURLE_SSL_CRL_BADFILE, JS_MUX_TLS, "the file of revoked certificates cannot be read"},
	{CURLE_SSL_CIPHER, JS_MUX_TLS, "no common TLS cipher"},
	{CURLE_SSL_SHUTDOWN_FAILED, JS_MUX_TLS, "the TLS connection could not be ended"},
	{CURLE_SSL_ENGINE_NOTFOUND, JS_MUX_TLS, "the TLS engine is missing"},
	{CURLE_SSL_ENGINE_SETFAILED, JS_MUX_TLS, "the TLS engine cannot be used"},
	{CURLE_SSL_ENGINE_INITFAILED, JS_MUX_TLS, "the TLS engine cannot be started"},
	{CURLE_USE_SSL_FAILED, JS_MUX_TLS, "TLS is not possible"},
#if CURL_AT_LEAST_VERSION(8, 8, 0)
	{CURLE_ECH_REQUIRED, JS_MUX_TLS, "the TLS handshake failed"},
#endif

	{CURLE_GOT_NOTHING, JS_MUX_NETWORK, "the connection was closed without a response"},
	{CURLE_PARTIAL_FILE, JS_MUX_NETWORK, "the connection was closed before the end of the response"},
	{CURLE_SEND_ERROR, JS_MUX_NETWORK, "the connection broke while the request was sent"},
	{CURLE_RECV_ERROR, JS_MUX_NETWORK, "the connection broke, or the response is malformed"},
	{CURLE_SEND_FAIL_REWIND, JS_MUX_NETWORK, "the connection broke and the request cannot be sent again"},
	{CURLE_HTTP2_STREAM, JS_MUX_NETWORK, "the server reset the HTTP/2 stream"},
	{CURLE_READ_ERROR, JS_MUX_NETWORK, "the request could not be sent"},
	{CURLE_AGAIN, JS_MUX_NETWORK, "the connection is not ready"},
	{CURLE_UNRECOVERABLE_POLL, JS_MUX_NETWORK, "the connection cannot be watched"},
	{CURLE_INTERFACE_FAILED, JS_MUX_NETWORK, "the network interface cannot be used"},
	{CURLE_HTTP_POST_ERROR, JS_MUX_NETWORK, "the request could not be sent"},

	{CURLE_UNSUPPORTED_PROTOCOL, JS_MUX_PROTOCOL, "the response is not HTTP"},
	{CURLE_WEIRD_SERVER_REPLY, JS_MUX_PROTOCOL, "the response is not valid HTTP"},
	{CURLE_HTTP2, JS_MUX_PROTOCOL, "the response is not valid HTTP/2"},
	{CURLE_HTTP3, JS_MUX_PROTOCOL, "the response is not valid HTTP/3"},
	{CURLE_QUIC_CONNECT_ERROR, JS_MUX_CONNECT, "cannot connect to the server"},
	{CURLE_BAD_CONTENT_ENCODING, JS_MUX_PROTOCOL, "the response has an encoding that was not asked for"},
	{CURLE_WRITE_ERROR, JS_MUX_PROTOCOL, "the response could not be taken"},
	{CURLE_RANGE_ERROR, JS_MUX_PROTOCOL, "the response has another range"},
	{CURLE_BAD_DOWNLOAD_RESUME, JS_MUX_PROTOCOL, "the response has another range"},
	{CURLE_FILESIZE_EXCEEDED, JS_MUX_PROTOCOL, "the response is too large"},
#if CURL_AT_LEAST_VERSION(8, 6, 0)
	{CURLE_TOO_LARGE, JS_MUX_PROTOCOL, "the response has a header that is too large"},
#endif
	{CURLE_TOO_MANY_REDIRECTS, JS_MUX_PROTOCOL, "too many redirects"},
	{CURLE_HTTP_RETURNED_ERROR, JS_MUX_PROTOCOL, "the response is an error"},
	{CURLE_REMOTE_ACCESS_DENIED, JS_MUX_PROTOCOL, "the server denies access"},
	{CURLE_LOGIN_DENIED, JS_MUX_PROTOCOL, "the server denies access"},
	{CURLE_AUTH_ERROR, JS_MUX_PROTOCOL, "the server denies access"},

	{CURLE_URL_MALFORMAT, JS_MUX_BAD_REQUEST, "the URL is not valid"},
	{CURLE_NOT_BUILT_IN, JS_MUX_BAD_REQUEST, "libcurl was built without what the request needs"},
	{CURLE_UNKNOWN_OPTION, JS_MUX_BAD_REQUEST, "libcurl was built without what the request needs"},
	{CURLE_BAD_FUNCTION_ARGUMENT, JS_MUX_BAD_REQUEST, "libcurl does not take the request"},
	{CURLE_FAILED_INIT, JS_MUX_BAD_REQUEST, "libcurl does not take the request"},
	{CURLE_ABORTED_BY_CALLBACK, JS_MUX_NETWORK, "the transfer was given up"},
	{CURLE_OUT_OF_MEMORY, JS_MUX_NO_MEMORY, "out of memory"},
};

/* Those of a mail that are others. */
static const Meaning mail_meanings[] = {
	{CURLE_USE_SSL_FAILED, JS_MUX_TLS, "the mail relay does not offer STARTTLS"},
	{CURLE_LOGIN_DENIED, JS_MUX_PROTOCOL, "the mail relay offers no way to log in with a password"},
	{CURLE_AUTH_ERROR, JS_MUX_PROTOCOL, "the mail relay offers no way to log in with a password"},
	{CURLE_GOT_NOTHING, JS_MUX_NETWORK, "the connection to the mail relay broke"},
	{CURLE_RECV_ERROR, JS_MUX_NETWORK, "the connection to the mail relay broke"},
	{CURLE_SEND_ERROR, JS_MUX_NETWORK, "the connection to the mail relay broke"},
	{CURLE_WEIRD_SERVER_REPLY, JS_MUX_PROTOCOL, "what the mail relay says is not SMTP"},
	{CURLE_UNSUPPORTED_PROTOCOL, JS_MUX_BAD_REQUEST, "libcurl was built without SMTP"},
	{CURLE_FILESIZE_EXCEEDED, JS_MUX_PROTOCOL, "the mail relay says too much"},
};

/* What libcurl says of the same. */
static Meaning
meaning_of(CURLcode code)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].code == code)
			return meanings[i];
	return (Meaning)
	{
		code, JS_MUX_NETWORK, NULL
	};
}

static Meaning
explain_mail(const MuxCall *call, CURLcode code)
{
	if (call->reply.no_memory)
		return meaning_of(CURLE_OUT_OF_MEMORY);
	if (call->reply.endless_headers)
		code = CURLE_FILESIZE_EXCEEDED;
	else if (js_mux_mail_has_answer(call, code))
		return meaning_of(CURLE_OK);
	for (size_t i = 0; i < sizeof(mail_meanings) / sizeof(mail_meanings[0]); i++)
		if (mail_meanings[i].code == code)
			return mail_meanings[i];
	return meaning_of(code);
}

/*
 * What we have stopped ourselves looks to libcurl like an error of some kind;
 * of which kind differs between its versions.  And what it does not take once
 * the request is on its way is the response.
 */
static Meaning
explain(const MuxCall *call, CURLcode code)
{
	const MuxReply *reply = &call->reply;
	Meaning		meaning;

	if (code == CURLE_OK || reply->truncated)
		return meaning_of(CURLE_OK);
	if (reply->endless_headers)
		return (Meaning)
	{
		code, JS_MUX_PROTOCOL, "the response has too many headers"
	};
	if (code == CURLE_OUT_OF_MEMORY && reply->part != MUX_REPLY_BODY && call->ready_at > 0 && !reply->no_memory)
		return (Meaning)
	{
		code, JS_MUX_PROTOCOL, "the response has a header that is too large"
	};
	if (reply->no_memory)
		return meaning_of(CURLE_OUT_OF_MEMORY);
	if (call->not_again || (call->not_here && !call->tried))
		return (Meaning)
	{
		code, JS_MUX_REFUSED, "requests to this address are not allowed"
	};
	meaning = meaning_of(code);
	if (meaning.result == JS_MUX_BAD_REQUEST && call->ready_at > 0)
		return (Meaning)
	{
		code, JS_MUX_PROTOCOL, "the response is malformed"
	};
	return meaning;
}

static int64_t
measured(const MuxCall *call, CURLINFO what)
{
	curl_off_t	us = 0;

	curl_easy_getinfo(call->easy, what, &us);
	return us;
}

static int64_t
since(int64_t at, int64_t started_at)
{
	return at > 0 ? at - started_at : -1;
}

/*
 * libcurl counts from when it began with the transfer, and anew if it had to
 * begin again, so it is asked only for the time between name and connection.
 */
static void
fill_times(const MuxCall *call, int64_t started_at, JsMuxResponse *response)
{
	int64_t		connected = measured(call, CURLINFO_CONNECT_TIME_T);
	int64_t		ready_us = since(call->ready_at, started_at);

	response->first_byte_us = since(call->first_byte_at, started_at);
	response->secured_us = call->secure ? ready_us : -1;
	response->connected_us = ready_us;
	response->resolved_us = ready_us;
	if (call->fresh)
		response->resolved_us = since(call->resolved_at, started_at);
	if (call->fresh && connected > 0 && (call->secure || ready_us < 0))
		response->connected_us = response->resolved_us +
			connected - measured(call, CURLINFO_NAMELOOKUP_TIME_T);
	if (ready_us >= 0 && response->connected_us > ready_us)
		response->connected_us = ready_us;
}

static void
fill_remote(const MuxCall *call, JsMuxResponse *response)
{
	char	   *address = NULL;
	long		port = 0;

	if (response->connected_us < 0 || response->result == JS_MUX_REFUSED)
		return;
	curl_easy_getinfo(call->easy, CURLINFO_PRIMARY_IP, &address);
	curl_easy_getinfo(call->easy, CURLINFO_PRIMARY_PORT, &port);
	snprintf(response->remote_address, sizeof(response->remote_address), "%s",
			 address ? address : "");
	response->remote_port = (int) port;
}

static int
http_version(const MuxCall *call)
{
	long		version = 0;

	curl_easy_getinfo(call->easy, CURLINFO_HTTP_VERSION, &version);
	switch (version)
	{
		case CURL_HTTP_VERSION_1_0:
			return 10;
		case CURL_HTTP_VERSION_1_1:
			return 11;
		case CURL_HTTP_VERSION_2_0:
			return 20;
		case CURL_HTTP_VERSION_3:
			return 30;
		default:
			return 0;
	}
}

/* NULL: the buffer is empty. */
static const char *
move_buffer(MuxBuffer *from, size_t *size)
{
	char	   *data = from->data;

	*size = from->size;
	if (from->size == 0)
		return NULL;
	from->data = NULL;
	return data;
}

/* What came goes from the call to the response. */
static void
move_reply(MuxReply *reply, JsMuxResponse *response)
{
	js_mux_reply_unpack(reply);
	response->status = reply->status;
	response->headers = move_buffer(&reply->headers, &response->headers_size);
	response->body = move_buffer(&reply->body, &response->body_size);
	response->truncated = reply->truncated;
}

void
js_mux_call_result(MuxCall *call, CURLcode code, int64_t started_at, JsMuxResponse *response)
{
	Meaning		meaning = call->mail != NULL ? explain_mail(call, code) : explain(call, code);

	if (call->mail != NULL && meaning.result != JS_MUX_OK)
		js_mux_reply_restart(&call->reply); /* an answer to something before */
	response->result = meaning.result;
	if (meaning.text != NULL)
		snprintf(response->error, sizeof(response->error), "%s", meaning.text);
	else
		snprintf(response->error, sizeof(response->error), "libcurl error %d", (int) code);
	fill_times(call, started_at, response);
	fill_remote(call, response);
	move_reply(&call->reply, response);
	if (response->status > 0 && call->mail == NULL)
		response->http_version = http_version(call);
}
