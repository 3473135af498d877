/*-------------------------------------------------------------------------
 *
 * hostile.c
 *		A server for tests that misbehaves as the path of a request says.
 *
 * One process, one thread for each connection, plain blocking calls: each
 * behaviour is a few lines that can be read from top to bottom.  The table at
 * the end has them all.  It is a proxy too, for requests with a whole URL and
 * for CONNECT.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile.h"

typedef struct Request
{
	int			fd;
	int			connection;		/* which of the server's */
	int			count;			/* which of the connection's */
	char		path[1024];		/* what follows the method */
	char		text[64 * 1024];	/* all of it */
	size_t		size;
} Request;

typedef struct Behaviour
{
	const char *path;
	bool		(*respond) (const Request *request);	/* false: close */
} Behaviour;

static pid_t server = 0;
static int	connections = 0;

/* ------------------------------------------------------------------------
 * Reading and writing
 * ------------------------------------------------------------------------
 */

static bool
send_bytes(int fd, const char *data, size_t size)
{
	return send(fd, data, size, MSG_NOSIGNAL) == (ssize_t) size;
}

static bool
send_text(int fd, const char *format,...)
{
	char		text[4096];
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return send_bytes(fd, text, strlen(text));
}

static bool
send_response(int fd, const char *headers, const char *body, size_t size)
{
	return send_text(fd, "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\n\r\n", headers, size) &&
		send_bytes(fd, body, size);
}

static size_t
whole_size(const Request *request)
{
	const char *end = memmem(request->text, request->size, "\r\n\r\n", 4);
	const char *length = strcasestr(request->text, "\r\nContent-Length:");

	if (end == NULL)
		return sizeof(request->text);
	return end + 4 - request->text +
		(length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

static bool
read_request(Request *request)
{
	request->size = 0;
	request->text[0] = '\0';
	while (request->size < whole_size(request))
	{
		ssize_t		got = read(request->fd, request->text + request->size,
							   sizeof(request->text) - 1 - request->size);

		if (got <= 0)
			return false;
		request->size += got;
		request->text[request->size] = '\0';
	}
	request->count++;
	return sscanf(request->text, "%*s %1023s", request->path) == 1;
}

/* ------------------------------------------------------------------------
 * Behaviours: good ones
 * ------------------------------------------------------------------------
 */

static bool
respond_hello(const Request *request)
{
	return send_response(request->fd, "X-One: 1\r\nx-two:2\r\n", "hello", 5);
}

/* The request itself is the body. */
static bool
respond_echo(const Request *request)
{
	return send_response(request->fd, "", request->text, request->size);
}

static bool
respond_which(const Request *request)
{
	char		body[64];

	snprintf(body, sizeof(body), "%d %d", request->connection, request->count);
	return send_response(request->fd, "", body, strlen(body));
}

/* /size/N */
static bool
respond_size(const Request *request)
{
	size_t		size = strtoul(request->path + strlen("/size/"), NULL, 10);
	char	   *body = malloc(size + 1);
	bool		sent;

	memset(body, 'x', size);
	sent = send_response(request->fd, "", body, size);
	free(body);
	return sent;
}

static bool
respond_head(const Request *request)
{
	return send_text(request->fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
}

static bool
respond_204(const Request *request)
{
	return send_text(request->fd, "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n");
}

static bool
respond_interim(const Request *request)
{
	return send_text(request->fd, "HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n"
					 "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n") &&
		send_response(request->fd, "X-Final: 1\r\n", "final", 5);
}

static bool
respond_fold(const Request *request)
{
	return send_response(request->fd, "X-Fold: one\r\n  two\r\n\tthree\r\nX-Next:   4  \r\nX-Empty:\r\n",
						 "", 0);
}

static bool
respond_trailer(const Request *request)
{
	return send_text(request->fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n"
					 "5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n");
}

static bool
respond_nul(const Request *request)
{
	return send_response(request->fd, "", "a\0b\0", 4);
}

static bool
respond_redirect(const Request *request)
{
	return send_text(request->fd, "HTTP/1.1 302 Found\r\nLocation: /hello\r\nSet-Cookie: a=b\r\n"
					 "Alt-Svc: h2=\":1\"\r\nContent-Length: 0\r\n\r\n");
}

/* Promises to keep the connection, and does not. */
static bool
respond_and_leave(const Request *request)
{
	respond_hello(request);
	return false;
}

/* ------------------------------------------------------------------------
 * Behaviours: bad ones
 * ------------------------------------------------------------------------
 */

static bool
respond_endless(const Request *request)
{
	static char rubbish[16 * 1024];

	send_text(request->fd, "HTTP/1.1 200 OK\r\n\r\n");
	while (send_bytes(request->fd, rubbish, sizeof(rubbish)))
		continue;
	return false;
}

static bool
respond_endless_headers(const Request *request)
{
	send_text(request->fd, "HTTP/1.1 200 OK\r\n");
	for (int i = 0; send_text(request->fd, "X-%d: rubbish rubbish rubbish\r\n", i); i++)
		continue;
	return false;
}

static bool
respond_endless_header(const Request *request)
{
	send_text(request->fd, "HTTP/1.1 200 OK\r\nX: ");
	while (send_text(request->fd, "rubbish rubbish rubbish "))
		continue;
	return false;
}

static bool
respond_endless_interim(const Request *request)
{
	while (send_text(request->fd, "HTTP/1.1 103 Early Hints\r\nX: rubbish\r\n\r\n"))
		continue;
	return false;
}

static bool
respond_endless_trailers(const Request *request)
{
	send_text(request->fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n");
	while (send_text(request->fd, "X: rubbish rubbish rubbish\r\n"))
		continue;
	return false;
}

static bool
respond_reset(const Request *request)
{
	struct linger at_once = {.l_onoff = 1};

	send_text(request->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
	usleep(50000);
	setsockopt(request->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	return false;
}

static bool
respond_short(const Request *request)
{
	send_text(request->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
	return false;
}

static bool
respond_bad_chunk(const Request *request)
{
	send_text(request->fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnochunk\r\n");
	return false;
}

static bool
respond_garbage(const Request *request)
{
	send_text(request->fd, "SSH-2.0-OpenSSH_9.2\r\nand so on\r\n");
	return false;
}

static bool
respond_nothing(const Request *request)
{
	(void) request;
	return false;
}

static bool
respond_never(const Request *request)
{
	char		c;

	return read(request->fd, &c, 1) > 0;
}

static bool
respond_body_never(const Request *request)
{
	send_text(request->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
	return respond_never(request);
}

static bool
respond_slowly(const Request *request)
{
	send_text(request->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
	while (send_text(request->fd, "x"))
		usleep(20000);
	return false;
}

/* ------------------------------------------------------------------------
 * Behaviours: heads and bodies of odd shapes
 * ------------------------------------------------------------------------
 */

#define HEAD "HTTP/1.1 200 OK\r\n"
#define TWO "Content-Length: 2\r\n"
#define SHAPE(name, text) {name, text, sizeof(text) - 1, NULL, 0}
#define REPEAT(name, text, piece, times) {name, text, sizeof(text) - 1, piece, times}

/* What is sent: text, piece so many times, and then the end of a small response. */
typedef struct Shape
{
	const char *name;
	const char *text;
	size_t		size;
	const char *piece;			/* NULL: the text is all */
	int			times;
} Shape;

static const Shape shapes[] = {
	SHAPE("first-folded", HEAD " X: y\r\n" TWO "\r\nok"),
	SHAPE("first-folded-by-tab", HEAD "\tX: y\r\n" TWO "\r\nok"),
	SHAPE("first-blank", HEAD "  \r\n" TWO "\r\nok"),
	SHAPE("only-folded", HEAD " X: y\r\n\r\n"),
	SHAPE("folded", HEAD "X: a\r\n b\r\n\t c\r\n" TWO "\r\nok"),
	SHAPE("folded-status", "HTTP/1.1 200 OK\r\n and more\r\n again\r\n" TWO "\r\nok"),
	SHAPE("folded-length", HEAD "Content-Length:\r\n 2\r\n\r\nok"),
	SHAPE("folded-after-interim", "HTTP/1.1 103 Early\r\nA: b\r\n\r\n" HEAD " X: y\r\n" TWO "\r\nok"),
	SHAPE("folded-trailer", HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n X: y\r\n\r\n"),
	SHAPE("nul-in-name", HEAD "X\0A: b\r\n" TWO "\r\nok"),
	SHAPE("nul-in-value", HEAD "X: a\0b\r\n" TWO "\r\nok"),
	SHAPE("nul-first", HEAD "\0X: a\r\n" TWO "\r\nok"),
	SHAPE("nul-in-status", "HTTP/1.1 200 O\0K\r\n" TWO "\r\nok"),
	SHAPE("nul-folded", HEAD "X: a\r\n \0b\r\n" TWO "\r\nok"),
	SHAPE("no-name", HEAD ": a\r\n" TWO "\r\nok"),
	SHAPE("no-colon", HEAD "rubbish\r\n" TWO "\r\nok"),
	SHAPE("blank-before-colon", HEAD "X : a\r\n" TWO "\r\nok"),
	SHAPE("repeats", HEAD "Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nset-cookie: a=b\r\n" TWO "\r\nok"),
	SHAPE("high-bytes", HEAD "X-\xff: \xc3\xa9 \xe9\r\n" TWO "\r\nok"),
	SHAPE("bare-cr", HEAD "X: a\rY: b\r\n" TWO "\r\nok"),
	SHAPE("many-cr", HEAD "X: a\r\r\r\n" TWO "\r\nok"),
	SHAPE("bare-lf", "HTTP/1.1 200 OK\nX: a\nContent-Length: 2\n\nok"),
	SHAPE("status-000", "HTTP/1.1 000 Zero\r\n" TWO "\r\nok"),
	SHAPE("status-99", "HTTP/1.1 99 Little\r\n" TWO "\r\nok"),
	SHAPE("status-099", "HTTP/1.1 099 Little\r\n" TWO "\r\nok"),
	SHAPE("status-1000", "HTTP/1.1 1000 Much\r\n" TWO "\r\nok"),
	SHAPE("status-999", "HTTP/1.1 999 Much\r\n" TWO "\r\nok"),
	SHAPE("status-negative", "HTTP/1.1 -1 Less\r\n" TWO "\r\nok"),
	SHAPE("status-none", "HTTP/1.1 \r\n" TWO "\r\nok"),
	SHAPE("status-word", "HTTP/1.1 OK 200\r\n" TWO "\r\nok"),
	SHAPE("status-blanks", "HTTP/1.1   200   OK\r\n" TWO "\r\nok"),
	SHAPE("version-0.9", "HTTP/0.9 200 OK\r\n" TWO "\r\nok"),
	SHAPE("version-1.0", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" TWO "\r\nok"),
	SHAPE("version-1.2", "HTTP/1.2 200 OK\r\n" TWO "\r\nok"),
	SHAPE("version-2", "HTTP/2 200\r\n" TWO "\r\nok"),
	SHAPE("version-3", "HTTP/3 200\r\n" TWO "\r\nok"),
	SHAPE("version-9.9", "HTTP/9.9 200 OK\r\n" TWO "\r\nok"),
	SHAPE("lower-case", "http/1.1 200 ok\r\n" TWO "\r\nok"),
	SHAPE("upgrade", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nok"),
	SHAPE("interim-with-length", "HTTP/1.1 103 Early\r\nContent-Length: 5\r\n\r\n" HEAD TWO "\r\nok"),
	SHAPE("interim-only", "HTTP/1.1 100 Continue\r\n\r\n"),
	SHAPE("length-negative", HEAD "Content-Length: -1\r\n\r\nok"),
	SHAPE("length-huge", HEAD "Content-Length: 99999999999999999999999\r\n\r\nok"),
	SHAPE("length-most", HEAD "Content-Length: 9223372036854775807\r\n\r\nok"),
	SHAPE("length-word", HEAD "Content-Length: two\r\n\r\nok"),
	SHAPE("length-and-rubbish", HEAD "Content-Length: 2rubbish\r\n\r\nok"),
	SHAPE("length-hexadecimal", HEAD "Content-Length: 0x2\r\n\r\nok"),
	SHAPE("length-twice", HEAD TWO TWO "\r\nok"),
	SHAPE("length-list", HEAD "Content-Length: 2, 2\r\n\r\nok"),
	SHAPE("lengths-differ", HEAD TWO "Content-Length: 20\r\n\r\nok"),
	SHAPE("length-and-chunks", HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
	SHAPE("chunks-and-length", HEAD "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
	SHAPE("chunks-twice", HEAD "Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
	SHAPE("transfer-gzip", HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
	SHAPE("transfer-rubbish", HEAD "Transfer-Encoding: rubbish\r\n\r\nok"),
	SHAPE("chunk-negative", HEAD "Transfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n"),
	SHAPE("chunk-huge", HEAD "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nok"),
	SHAPE("chunk-too-long", HEAD "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffffffffff\r\nok"),
	SHAPE("chunk-no-end", HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nokrubbish"),
	SHAPE("body-of-204", "HTTP/1.1 204 No Content\r\n" TWO "\r\nok"),
	SHAPE("body-of-304", "HTTP/1.1 304 Not Modified\r\n" TWO "\r\nok"),
	SHAPE("no-head", "\r\n\r\n"),
	SHAPE("one-line-end", HEAD "\r\n"),
	SHAPE("half-a-line", "HTTP/1.1 200 O"),
	SHAPE("nuls", "\0\0\0\0\0\0\0\0\r\n\r\n"),
	REPEAT("megabyte-of-headers", HEAD, "X-Megabyte: rubbish rubbish\r\n", 36000),
	REPEAT("many-headers", HEAD, "A: b\r\n", 10000),
	REPEAT("many-repeats", HEAD, "Set-Cookie: a=b\r\n", 3000),
	REPEAT("many-names", HEAD, ":\r\n", 10000),
	REPEAT("megabyte-of-a-header", HEAD "X: ", "rubbish rubbish ", 65536),
	REPEAT("megabyte-of-a-name", HEAD, "rubbishrubbish", 75000),
	REPEAT("megabyte-of-a-reason", "HTTP/1.1 200 ", "rubbish ", 131072),
	REPEAT("megabyte-of-folds", HEAD "X: y\r\n",
		   " rubbish rubbish rubbish rubbish rubbish rubbish rubbish rubbish rubbish rubbish\r\n", 13000),
	REPEAT("megabyte-of-blanks", HEAD "X: y", "                ", 65536),
	REPEAT("flood-of-100", "", "HTTP/1.1 100 Continue\r\n\r\n", 40000),
	REPEAT("flood-of-103", "", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 25000),
	REPEAT("many-encodings", HEAD "Content-Encoding: gzip", ", gzip", 100),
	REPEAT("many-transfer-encodings", HEAD "Transfer-Encoding: gzip", ", gzip", 100),
	REPEAT("megabyte-of-extension", HEAD "Transfer-Encoding: chunked\r\n\r\n2;a=", "rubbish ", 131072),
	REPEAT("megabyte-of-trailers", HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\n", "X: rubbish\r\n", 87000),
	REPEAT("many-chunks", HEAD "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", 20000)
};

static bool
repeat(int fd, const char *piece, int times)
{
	char		pieces[16 * 1024];
	size_t		size = strlen(piece);
	int			room = sizeof(pieces) / size;
	bool		sent = true;

	for (int i = 0; i < room; i++)
		memcpy(pieces + i * size, piece, size);
	for (; sent && times > 0; times -= room)
		sent = send_bytes(fd, pieces, size * (times < room ? times : room));
	return sent;
}

static bool
send_shape(int fd, const Shape *shape)
{
	static const char end[] = "\r\n" TWO "\r\nok";
	bool		in_line;

	if (!send_bytes(fd, shape->text, shape->size))
		return false;
	if (shape->piece == NULL)
		return true;
	in_line = shape->piece[strlen(shape->piece) - 1] != '\n';
	return repeat(fd, shape->piece, shape->times) && send_text(fd, "%s", in_line ? end : end + 2);
}

const char *
hostile_shape(int number)
{
	return number < (int) (sizeof(shapes) / sizeof(shapes[0])) ? shapes[number].name : NULL;
}

/*
 * /shape/NAME: and the connection is closed, unless the query says that it is
 * kept; then what follows the response is for the next to be wrong about.
 */
static bool
respond_shape(const Request *request)
{
	const char *name = request->path + strlen("/shape/");
	size_t		size = strcspn(name, "?");

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if (strlen(shapes[i].name) == size && memcmp(name, shapes[i].name, size) == 0)
			return send_shape(request->fd, &shapes[i]) && name[size] == '?';
	return false;
}

/* What follows the path's last '/' in hexadecimal digits; the size in bytes. */
static size_t
read_hex(const Request *request, char *bytes)
{
	const char *hex = strrchr(request->path, '/') + 1;
	size_t		size = 0;
	unsigned int byte;

	for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
		bytes[size++] = (char) byte;
	return size;
}

/* /packed/ENCODING/HEX: a body with this Content-Encoding. */
static bool
respond_packed(const Request *request)
{
	char		body[512];
	char		headers[128];
	const char *encoding = request->path + strlen("/packed/");

	snprintf(headers, sizeof(headers), "Content-Encoding: %.*s\r\n", (int) strcspn(encoding, "/"), encoding);
	return send_response(request->fd, headers, body, read_hex(request, body));
}

/* /more and /more-later: two responses to one request. */
static bool
respond_more(const Request *request)
{
	static const char more[] = HEAD TWO "\r\n:(";

	if (!send_response(request->fd, "", "ok", 2))
		return false;
	if (strcmp(request->path, "/more-later") == 0)
		usleep(50000);
	return send_bytes(request->fd, more, sizeof(more) - 1);
}

/* ------------------------------------------------------------------------
 * As a proxy
 * ------------------------------------------------------------------------
 */

static int
connect_to(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,.sin_port = htons(port)};
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool
copy_some(int from, int to)
{
	char		data[16 * 1024];
	ssize_t		got = read(from, data, sizeof(data));

	return got > 0 && send_bytes(to, data, got);
}

/* Whatever the host is, the port is one of this machine. */
static bool
respond_connect(const Request *request)
{
	const char *port = strrchr(request->path, ':');
	struct pollfd fds[2] = {{.fd = request->fd,.events = POLLIN}, {.events = POLLIN}};

	fds[1].fd = port ? connect_to(atoi(port + 1)) : -1;
	if (fds[1].fd < 0)
	{
		send_text(request->fd, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
		return false;
	}
	send_text(request->fd, "HTTP/1.1 200 Connected\r\nX-Proxy: 1\r\n\r\n");
	while (poll(fds, 2, -1) > 0)
		if ((fds[0].revents && !copy_some(fds[0].fd, fds[1].fd)) ||
			(fds[1].revents && !copy_some(fds[1].fd, fds[0].fd)))
			break;
	close(fds[1].fd);
	return false;
}

/* ------------------------------------------------------------------------
 * The server
 * ------------------------------------------------------------------------
 */

static const Behaviour behaviours[] = {
	{"/hello", respond_hello},
	{"/echo", respond_echo},
	{"http://", respond_echo},	/* as a proxy */
	{"/which", respond_which},
	{"/size/", respond_size},
	{"/head", respond_head},
	{"/204", respond_204},
	{"/interim", respond_interim},
	{"/fold", respond_fold},
	{"/trailer", respond_trailer},
	{"/nul", respond_nul},
	{"/shape/", respond_shape},
	{"/packed/", respond_packed},
	{"/more", respond_more},
	{"/redirect", respond_redirect},
	{"/and-leave", respond_and_leave},
	{"/endless-headers", respond_endless_headers},
	{"/endless-header", respond_endless_header},
	{"/endless-interim", respond_endless_interim},
	{"/endless-trailers", respond_endless_trailers},
	{"/endless", respond_endless},
	{"/reset", respond_reset},
	{"/short", respond_short},
	{"/bad-chunk", respond_bad_chunk},
	{"/garbage", respond_garbage},
	{"/nothing", respond_nothing},
	{"/never", respond_never},
	{"/body-never", respond_body_never},
	{"/slowly", respond_slowly},
};

static bool
respond(const Request *request)
{
	if (strncmp(request->text, "CONNECT ", 8) == 0)
		return respond_connect(request);
	for (size_t i = 0; i < sizeof(behaviours) / sizeof(behaviours[0]); i++)
		if (strncmp(request->path, behaviours[i].path, strlen(behaviours[i].path)) == 0)
			return behaviours[i].respond(request);
	return send_text(request->fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

static void *
serve(void *arg)
{
	Request    *request = arg;

	while (read_request(request) && respond(request))
		continue;
	close(request->fd);
	free(request);
	return NULL;
}

static void
accept_for_ever(int listener)
{
	pthread_attr_t attributes;
	int			on = 1;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 256 * 1024);
	for (;;)
	{
		Request    *request = calloc(1, sizeof(Request));
		pthread_t	thread;

		request->fd = accept(listener, NULL, NULL);
		request->connection = ++connections;
		setsockopt(request->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (pthread_create(&thread, &attributes, serve, request) != 0)
			abort();
	}
}

int
hostile_start(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t	size = sizeof(address);
	int			listener = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(listener, (struct sockaddr *) &address, size) < 0 ||
		listen(listener, 4096) < 0 ||
		getsockname(listener, (struct sockaddr *) &address, &size) < 0)
	{
		perror("hostile server");
		exit(1);
	}
	server = fork();
	if (server == 0)
	{
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		accept_for_ever(listener);
	}
	close(listener);
	return ntohs(address.sin_port);
}

void
hostile_stop(void)
{
	kill(server, SIGKILL);
}
