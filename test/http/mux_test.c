/*-------------------------------------------------------------------------
 *
 * mux_test.c
 *		Tests src/mux against a server that misbehaves.
 *
 *		mux_test [HTTP2-PORT CA-FILE OTHER-CA-FILE]
 *
 * With arguments also TLS and HTTP/2: a server at that port of 127.0.0.1 has a
 * certificate for "localhost", signed by CA-FILE.
 *
 * Names are looked up by getaddrinfo() below, which takes precedence over the
 * C library's and lies and hangs as told.  Prints a line for each test that
 * failed, and a last line 'N passed, M failed'.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "mux/mux_internal.h"
#include "mux/mux_share.h"
#include "hostile.h"
#include "relay.h"

#define MAX_ID 5000
#define MANY 1000
#define MAX_HANGING 256			/* see MAX_LOOKUPS */

static const JsMuxApi *mux = &js_mux_functions;
static int	port;				/* of the hostile server */
static int	relay_port;
static int	relay_at = RELAY_GOOD;
static int	passed = 0;
static int	failed = 0;

/* What has come, by id, and what is to be thrown away at the end of a test. */
static JsMuxResponse responses[MAX_ID];
static bool has_come[MAX_ID];
static int	order[MAX_ID];		/* of arrival */
static int	arrived = 0;
static double longest_call = 0; /* of all but open(), of the processor's time */

/* Of a server with TLS. */
static int	tls_port;
static const char *ca_file;
static const char *other_ca_file;

static void
check(bool good, const char *format,...)
{
	va_list		args;

	if (good)
	{
		passed++;
		return;
	}
	failed++;
	printf("FAILED: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

/*
 * In seconds: what comes in its time, a fraction of this, on a machine that others
 * keep busy; what waits for something else, the next timeout for instance, takes
 * five seconds and more.
 */
#define SOON 4

static double
read_clock(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static double
now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* ------------------------------------------------------------------------
 * Names
 * ------------------------------------------------------------------------
 */

typedef struct Name
{
	const char *name;
	const char *addresses[2];
} Name;

static Name names[] = {
	{"localhost", {"127.0.0.1"}},
	{"one.test", {"127.0.0.1"}},
	{"six.test", {"::ffff:127.0.0.1"}},
	{"refused.test", {"127.0.0.9"}},
	{"refused-first.test", {"127.0.0.9", "127.0.0.1"}},
	{"full-first.test", {"127.0.0.8", "127.0.0.1"}},
	{"rebind.test", {"127.0.0.1"}},
	{"many.test", {"127.0.0.1"}},
	{"late.test", {"127.0.0.1"}},
	{"late0.test", {"127.0.0.1"}},
	{"late1.test", {"127.0.0.1"}},
	{"late2.test", {"127.0.0.1"}},
	{"patient.test", {"127.0.0.1"}},
	{"wanted.test", {"127.0.0.1"}},
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static bool hang = true;
static int	looked_up = 0;		/* names of *.test, in all */
static int	hanging = 0;
static bool signals_open = false;	/* a thread could have run a handler */

static void
look_at_signals(void)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGALRM, SIGUSR1, SIGUSR2, SIGHUP, SIGCHLD};
	sigset_t	blocked;

	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signals_open |= !sigismember(&blocked, signals[i]);
}

static void
wait_for_release(void)
{
	pthread_mutex_lock(&lock);
	hanging++;
	while (hang)
		pthread_cond_wait(&released, &lock);
	hanging--;
	pthread_mutex_unlock(&lock);
}

static void
set_hang(bool value)
{
	pthread_mutex_lock(&lock);
	hang = value;
	pthread_cond_broadcast(&released);
	pthread_mutex_unlock(&lock);
}

typedef int (*Resolver) (const char *, const char *, const struct addrinfo *, struct addrinfo **);

static int
real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
				 struct addrinfo **result)
{
	Resolver	resolver = (Resolver) dlsym(RTLD_NEXT, "getaddrinfo");

	return resolver(node, service, hints, result);
}

static int
addresses_of(const Name *name, const char *service, struct addrinfo **result)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST,.ai_socktype = SOCK_STREAM};
	struct addrinfo **end = result;

	for (int i = 0; i < 2 && name->addresses[i] != NULL; i++)
	{
		int			error = real_getaddrinfo(name->addresses[i], service, &hints, end);

		if (error != 0)
			return error;
		while (*end != NULL)
			end = &(*end)->ai_next;
	}
	return 0;
}

static bool
is_name(const char *node, const char *name)
{
	size_t		size = strlen(name);

	return strncasecmp(node, name, size) == 0 &&
		(node[size] == '\0' || strcmp(node + size, ".") == 0);
}

int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
			struct addrinfo **result)
{
	look_at_signals();
	__atomic_add_fetch(&looked_up, 1, __ATOMIC_SEQ_CST);
	if (strstr(node, "hang.test") != NULL)
	{
		wait_for_release();
		return EAI_AGAIN;
	}
	if (strncmp(node, "late", 4) == 0)
		usleep(300000);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (is_name(node, names[i].name))
			return addresses_of(&names[i], service, result);
	if (strstr(node, ".test") != NULL)
		return EAI_NONAME;
	return real_getaddrinfo(node, service, hints, result);
}

static void
name_is(const char *name, const char *address)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i].name) == 0)
			names[i].addresses[0] = address;
}

/* ------------------------------------------------------------------------
 * Options of libcurl
 * ------------------------------------------------------------------------
 */

static CURLoption failing_option = 0;
static int	option_failures = 0;	/* so often from now on */

extern CURLcode __real_curl_easy_setopt(CURL *easy, CURLoption option,...);
extern CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option,...);

/* Instead of libcurl's, whose macro of that name hides nothing of it. */
CURLcode
__wrap_curl_easy_setopt(CURL *easy, CURLoption option,...)
{
	CURLcode	code;
	va_list		args;

	if (option == failing_option && option_failures > 0)
	{
		option_failures--;
		return CURLE_BAD_FUNCTION_ARGUMENT;
	}
	va_start(args, option);
	if (option < CURLOPTTYPE_OBJECTPOINT)
		code = __real_curl_easy_setopt(easy, option, va_arg(args, long));
	else if (option >= CURLOPTTYPE_OFF_T && option < CURLOPTTYPE_BLOB)
		code = __real_curl_easy_setopt(easy, option, va_arg(args, curl_off_t));
	else
		code = __real_curl_easy_setopt(easy, option, va_arg(args, void *));
	va_end(args);
	return code;
}

static void
fail_option(CURLoption option, int times)
{
	failing_option = option;
	option_failures = times;
}

/* ------------------------------------------------------------------------
 * Policy
 * ------------------------------------------------------------------------
 */

typedef struct Policy
{
	const char *refused;		/* an address; "": all */
	const char *refused_host;	/* if its address will not be known */
	int			asked;
	char		host[256];
	int			port;
	char		address[64];
} Policy;

static bool
permit(void *arg, const char *host, int host_port, const struct sockaddr *address)
{
	Policy	   *policy = arg;
	const void *bytes;

	policy->asked++;
	snprintf(policy->host, sizeof(policy->host), "%s", host);
	policy->port = host_port;
	policy->address[0] = '\0';
	if (address == NULL)
		return policy->refused_host == NULL || strcmp(policy->refused_host, host) != 0;
	bytes = address->sa_family == AF_INET ?
		(const void *) &((const struct sockaddr_in *) address)->sin_addr :
		(const void *) &((const struct sockaddr_in6 *) address)->sin6_addr;
	inet_ntop(address->sa_family, bytes, policy->address, sizeof(policy->address));
	return policy->refused == NULL ||
		(*policy->refused != '\0' && strcmp(policy->refused, policy->address) != 0);
}

static Policy policy = {.refused = "127.0.0.9"};
static JsMuxConfig config =
{
	.max_connections = 2000,.may_connect = permit,.arg = &policy
};

static void
configure(void)
{
	check(mux->configure(&config), "configure()");
}

/* ------------------------------------------------------------------------
 * Requests
 * ------------------------------------------------------------------------
 */

/* Everything returns within milliseconds, be it a few more with sanitizers. */
#define TIMED(call) \
	do { \
		double		begin = read_clock(CLOCK_THREAD_CPUTIME_ID); \
		call; \
		begin = read_clock(CLOCK_THREAD_CPUTIME_ID) - begin; \
		if (begin > longest_call) \
			longest_call = begin; \
	} while (0)

static JsMuxRequest
request(uint64_t id, const char *url)
{
	return (JsMuxRequest)
	{
		.id = id,.url = url,.method = "GET",.timeout_ms = 10000,.max_body = 1000
	};
}

/* The hostile server's, by this name. */
static const char *
url_at(const char *host, const char *path)
{
	static char urls[8][1024];
	static int	next = 0;
	char	   *url = urls[next++ % 8];

	snprintf(url, sizeof(urls[0]), "http://%s:%d%s", host, port, path);
	return url;
}

static const char *
url(const char *path)
{
	return url_at("127.0.0.1", path);
}

static void
take_responses(void)
{
	JsMuxResponse response;

	while (mux->next(&response))
	{
		if (has_come[response.id])
		{
			check(false, "one response for each transfer");
			mux->release(&responses[response.id]);
		}
		has_come[response.id] = true;
		responses[response.id] = response;
		order[response.id] = arrived++;
	}
}

static void
pump_once(int ms)
{
	struct pollfd fd = {.fd = mux->fd(),.events = POLLIN};

	poll(&fd, 1, ms);
	TIMED(mux->pump());
	take_responses();
}

/* For some time, or until a response has come. */
static bool
pump_until(uint64_t id, double seconds)
{
	double		end = now() + seconds;

	while (now() < end && !(id > 0 && has_come[id]))
		pump_once(20);
	return id > 0 && has_come[id];
}

static void
pump_all(double seconds)
{
	double		end = now() + seconds;

	while (mux->in_flight() > 0 && now() < end)
		pump_once(20);
	check(mux->in_flight() == 0, "%d transfers have not ended in %.0f s", mux->in_flight(), seconds);
}

static void
forget(uint64_t id)
{
	if (has_come[id])
		mux->release(&responses[id]);
	has_come[id] = false;
}

static void
forget_all(void)
{
	for (uint64_t id = 0; id < MAX_ID; id++)
		forget(id);
	arrived = 0;
}

static bool
start(JsMuxRequest what)
{
	bool		started;

	TIMED(started = mux->start(&what));
	return started;
}

static bool
cancel(uint64_t id)
{
	bool		was_there;

	TIMED(was_there = mux->cancel(id));
	return was_there;
}

/* Sends it, and the response is there until the next. */
static const JsMuxResponse *
ask(JsMuxRequest what)
{
	static const JsMuxResponse none = {.result = -1};

	forget(what.id);
	if (!start(what) || !pump_until(what.id, 15))
		return &none;
	return &responses[what.id];
}

static const JsMuxResponse *
get(const char *path)
{
	return ask(request(1, url(path)));
}

static int
open_descriptors(void)
{
	int			count = 0;

	for (int fd = 0; fd < 5000; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/*
 * So many at once from now on.  libcurl closes one idle connection for each that is
 * used, so what earlier tests have left would let more than these be busy.
 */
static void
limit_connections(int count)
{
	int			before;

	config.max_connections = count;
	configure();
	do
	{
		before = open_descriptors();
		get("/hello");
		forget(1);
	} while (open_descriptors() < before);
}

static void
check_result(const JsMuxResponse *response, JsMuxResult result, const char *what)
{
	check(response->result == result, "%s: result %d, not %d (%s)", what,
		  response->result, result, response->error);
	check((response->error[0] == '\0') == (response->result == JS_MUX_OK), "%s: error text", what);
}

static bool
has_body(const JsMuxResponse *response, const char *body)
{
	return response->body_size == strlen(body) &&
		memcmp(response->body, body, response->body_size) == 0;
}

static bool
has_headers(const JsMuxResponse *response, const char *headers)
{
	return response->headers_size == strlen(headers) &&
		memcmp(response->headers, headers, response->headers_size) == 0;
}

/* The echo of a request has this, as a line. */
static bool
sent(const JsMuxResponse *response, const char *line)
{
	size_t		size = strlen(line);
	const char *at = memmem(response->body, response->body_size, line, size);

	return at != NULL && (at == response->body || at[-1] == '\n') && at[size] == '\r';
}

static bool
sent_name(const JsMuxResponse *response, const char *name)
{
	char		start_of_line[128];

	snprintf(start_of_line, sizeof(start_of_line), "\r\n%s:", name);
	return strcasestr(response->body, start_of_line) != NULL;
}

/* ------------------------------------------------------------------------
 * Tests: requests
 * ------------------------------------------------------------------------
 */

static void
test_plain(void)
{
	const JsMuxResponse *response = get("/hello");

	check_result(response, JS_MUX_OK, "plain");
	check(response->status == 200 && response->http_version == 11, "status and version");
	check(has_body(response, "hello"), "body");
	check(has_headers(response, "X-One: 1\r\nx-two: 2\r\nContent-Length: 5\r\n"), "headers");
	check(strcmp(response->remote_address, "127.0.0.1") == 0 && response->remote_port == port,
		  "remote address");
	check(!response->truncated, "not truncated");
	check(response->resolved_us >= 0 && response->connected_us >= response->resolved_us &&
		  response->secured_us == -1 && response->first_byte_us >= response->connected_us &&
		  response->total_us >= response->first_byte_us && response->total_us < 5000000, "times");
}

static void
test_connection_is_kept(void)
{
	char		first[64];
	int			connection;
	int			count;

	ask(request(1, url("/which")));
	snprintf(first, sizeof(first), "%.*s", (int) responses[1].body_size, responses[1].body);
	check(sscanf(first, "%d %d", &connection, &count) == 2, "which connection");
	snprintf(first, sizeof(first), "%d %d", connection, count + 1);
	check(has_body(get("/which"), first), "connection kept");
	check(responses[1].connected_us >= 0 && responses[1].connected_us == responses[1].resolved_us,
		  "times on a kept connection");
}

/* The server has closed it meanwhile: the request goes out again, unnoticed. */
static void
test_connection_is_dead(void)
{
	for (int i = 0; i < 20; i++)
		check_result(get("/and-leave"), JS_MUX_OK, "on a connection that was closed");
}

static void
test_methods(void)
{
	JsMuxRequest what = request(1, url("/echo"));
	const JsMuxResponse *response;

	response = ask(what);
	check(sent(response, "GET /echo HTTP/1.1"), "GET");
	check(!sent_name(response, "Content-Length"), "GET has no length");
	what.method = "DELETE";
	response = ask(what);
	check(sent(response, "DELETE /echo HTTP/1.1"), "DELETE");
	check(!sent_name(response, "Content-Length"), "DELETE has no length");
	what.method = "PURGE";
	check(sent(ask(what), "PURGE /echo HTTP/1.1"), "PURGE");
	what.method = "POST";
	check(sent(ask(what), "Content-Length: 0"), "POST without body has a length");
	what.body = "";
	check(sent(ask(what), "Content-Length: 0"), "POST with empty body has a length");
	what.method = "PUT";
	check(sent(ask(what), "Content-Length: 0"), "PUT with empty body has a length");
	what.body = "a\0b";
	what.body_size = 3;
	for (int i = 0; i < 5; i++)
	{
		static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

		what.method = methods[i];
		response = ask(what);
		check(strncmp(response->body, methods[i], strlen(methods[i])) == 0 &&
			  sent(response, "Content-Length: 3") &&
			  memcmp(response->body + response->body_size - 3, "a\0b", 3) == 0,
			  "%s with a body that has a NUL", methods[i]);
	}
	check(!sent_name(response, "Content-Type"), "no Content-Type of libcurl's own");
	check(!sent_name(response, "Expect"), "no Expect of libcurl's own");
}

static void
test_large_request(void)
{
	JsMuxRequest what = request(1, url("/echo"));
	size_t		size = 50000;
	char	   *body = malloc(size);
	const JsMuxResponse *response;

	memset(body, 'y', size);
	what.method = "POST";
	what.body = body;
	what.body_size = size;
	what.max_body = 100000;
	response = ask(what);
	check_result(response, JS_MUX_OK, "large request");
	check(response->body_size > size &&
		  memcmp(response->body + response->body_size - size, body, size) == 0, "large request");
	free(body);
}

static void
test_request_headers(void)
{
	static const char *const headers[] = {
		"X-A: 1", "x-b:2", "X-Empty: ", "X-Void:", "Content-Type: text/x", "Accept: ", "X-Semi: a;b", NULL
	};
	JsMuxRequest what = request(1, url("/echo?a=b/../c"));
	const JsMuxResponse *response;

	what.method = "POST";
	what.body = "x";
	what.body_size = 1;
	what.headers = headers;
	response = ask(what);
	check(sent(response, "POST /echo?a=b/../c HTTP/1.1"), "query as it is");
	check(sent(response, "X-A: 1") && sent(response, "x-b:2"), "headers as they are");
	check(sent(response, "X-Empty:") && sent(response, "X-Void:"), "empty headers");
	check(sent(response, "Accept:"), "empty header that libcurl has a value for");
	check(sent(response, "Content-Type: text/x"), "Content-Type");
	check(sent(response, "X-Semi: a;b"), "semicolon");
	check(!sent_name(response, "Cookie") && !sent_name(response, "Accept-Encoding"),
		  "nothing that was not asked for");
	check(sent(ask(request(1, url("/echo/../a/./b"))), "GET /echo/../a/./b HTTP/1.1"), "path as it is");
}

/* ------------------------------------------------------------------------
 * Tests: good responses
 * ------------------------------------------------------------------------
 */

static void
test_responses(void)
{
	JsMuxRequest what = request(1, url("/head"));
	const JsMuxResponse *response;

	what.method = "HEAD";
	response = ask(what);
	check_result(response, JS_MUX_OK, "HEAD");
	check(response->status == 200 && response->body_size == 0 &&
		  has_headers(response, "Content-Length: 1000\r\n"), "HEAD");
	response = get("/204");
	check(response->status == 204 && response->body_size == 0 &&
		  has_headers(response, "X-A: 1\r\n"), "204");
	response = get("/interim");
	check(response->status == 200 && has_body(response, "final") &&
		  has_headers(response, "X-Final: 1\r\nContent-Length: 5\r\n"), "interim responses");
	response = get("/fold");
	check(has_headers(response, "X-Fold: one two three\r\nX-Next: 4\r\nX-Empty: \r\nContent-Length: 0\r\n"),
		  "folded headers: %s", response->headers);
	response = get("/trailer");
	check(has_body(response, "hello") &&
		  has_headers(response, "Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n"), "trailers");
	response = get("/nul");
	check(response->body_size == 4 && memcmp(response->body, "a\0b\0", 4) == 0, "NUL in body");
	response = get("/redirect");
	check(response->status == 302, "no redirect followed");
	check(!sent_name(get("/echo"), "Cookie"), "no cookie kept");
	response = get("/nowhere");
	check(response->result == JS_MUX_OK && response->status == 404, "404 is a response");
}

static void
test_max_body(void)
{
	JsMuxRequest what = request(1, url("/size/1000"));
	const JsMuxResponse *response = ask(what);

	check(response->result == JS_MUX_OK && response->body_size == 1000 && !response->truncated,
		  "body of exactly max_body");
	what.url = url("/size/1001");
	response = ask(what);
	check(response->result == JS_MUX_OK && response->body_size == 1000 && response->truncated,
		  "body of one byte more");
	what.max_body = 0;
	response = ask(what);
	check(response->result == JS_MUX_OK && response->body_size == 0 && response->truncated &&
		  response->status == 200, "max_body of 0");
	what.url = url("/size/0");
	check(!ask(what)->truncated, "max_body of 0, empty body");
	what.max_body = 5000000;
	what.url = url("/size/5000000");
	response = ask(what);
	check(response->body_size == 5000000 && !response->truncated, "large body");
	what.url = url("/endless");
	response = ask(what);
	check(response->result == JS_MUX_OK && response->body_size == 5000000 && response->truncated,
		  "endless body");
}

/* ------------------------------------------------------------------------
 * Tests: bad responses
 * ------------------------------------------------------------------------
 */

static void
test_bad_responses(void)
{
	const JsMuxResponse *response;

	check_result(get("/endless-headers"), JS_MUX_PROTOCOL, "endless headers");
	check_result(get("/endless-interim"), JS_MUX_PROTOCOL, "endless interim responses");
	response = get("/endless-header");
	check(response->result == JS_MUX_PROTOCOL || response->result == JS_MUX_NO_MEMORY,
		  "endless header: result %d", response->result);
	response = get("/endless-trailers");
	check(response->result == JS_MUX_PROTOCOL, "endless trailers: result %d", response->result);
	response = get("/reset");
	check_result(response, JS_MUX_NETWORK, "reset");
	check(response->status == 200 && has_body(response, "some"), "what came before");
	check_result(get("/short"), JS_MUX_NETWORK, "short body");
	check_result(get("/bad-chunk"), JS_MUX_NETWORK, "bad chunk");
	response = get("/garbage");
	check_result(response, JS_MUX_PROTOCOL, "no HTTP");
	check(response->status == 0 && response->http_version == 0, "no HTTP has no status");
	check_result(get("/nothing"), JS_MUX_NETWORK, "no response");
}

/* ------------------------------------------------------------------------
 * Tests: responses of odd shapes
 * ------------------------------------------------------------------------
 */

#define SHAPE_ROUNDS 3

static unsigned int seed = 20261128;

/* The same numbers everywhere. */
static int
random_below(int limit)
{
	seed = seed * 1103515245u + 12345u;
	return (int) ((seed >> 16) % (unsigned int) limit);
}

static int
count_shapes(void)
{
	int			count = 0;

	while (hostile_shape(count) != NULL)
		count++;
	return count;
}

/* Whoever splits headers into lines finds a name and a value in each. */
static bool
are_lines(const char *headers, size_t size)
{
	while (size > 0)
	{
		const char *end = memmem(headers, size, "\r\n", 2);
		size_t		length = end ? end - headers : 0;
		const char *colon = memmem(headers, length, ": ", 2);

		if (colon == NULL || colon == headers || memchr(headers, '\r', length) ||
			memchr(headers, '\n', length) || memchr(headers, '\0', length))
			return false;
		headers += length + 2;
		size -= length + 2;
	}
	return true;
}

/* Whatever it is that has come: what may be written of it. */
static void
check_shape(const JsMuxResponse *response, const char *what)
{
	check(response->result == JS_MUX_OK || response->result == JS_MUX_PROTOCOL ||
		  response->result == JS_MUX_NETWORK || response->result == JS_MUX_TIMEOUT,
		  "%s: result %d (%s)", what, response->result, response->error);
	check((response->error[0] == '\0') == (response->result == JS_MUX_OK), "%s: error text", what);
	check(response->status >= 0 && response->status <= 999, "%s: status %d", what, response->status);
	check(response->result != JS_MUX_OK || response->status >= 100, "%s: status %d is none", what, response->status);
	check(response->headers_size <= JS_MUX_MAX_HEADERS &&
		  are_lines(response->headers, response->headers_size), "%s: headers", what);
	check(response->body_size <= 1000, "%s: body", what);
}

/* The answer to a good request among them is its own; HTTP/1.0 is what the server may have spoken before. */
static void
check_own(const JsMuxResponse *response, const char *path)
{
	char		line[64];
	size_t		size = snprintf(line, sizeof(line), "GET %s HTTP/1.", path);

	check(response->result == JS_MUX_OK && response->body_size > size && memcmp(response->body, line, size) == 0, "answer to %s: result %d (%s) %.*s", path,
		  response->result, response->error, (int) response->body_size, response->body);
}

static void
write_shape_path(char *path, size_t size, int number, bool kept)
{
	snprintf(path, size, "/shape/%s%s", hostile_shape(number), kept ? "?kept" : "");
}

/* Each on a connection that has served before, after and before a good request. */
static void
test_shapes_one_by_one(void)
{
	for (int i = 0; hostile_shape(i) != NULL; i++)
	{
		JsMuxRequest what;
		char		path[64];

		check_result(get("/hello"), JS_MUX_OK, "before a shape");
		write_shape_path(path, sizeof(path), i, false);
		what = request(1, url(path));
		what.timeout_ms = 2000;
		check_shape(ask(what), path);
		check_own(get("/echo?next"), "/echo?next");
	}
}

/* So many at a time, from a fixed seed: each good request has its own answer. */
static void
test_shapes_in_random_order(int at_once)
{
	int			count = SHAPE_ROUNDS * count_shapes();
	char		paths[MAX_ID][64];

	for (int done = 0; done < count; done += at_once)
	{
		for (int i = 0; i < at_once; i++)
		{
			JsMuxRequest what;

			if (random_below(2) == 0)
				snprintf(paths[i], sizeof(paths[i]), "/echo?%d", done + i);
			else
				write_shape_path(paths[i], sizeof(paths[i]), random_below(count_shapes()), random_below(2) == 0);
			forget(i + 1);
			what = request(i + 1, url(paths[i]));
			what.timeout_ms = paths[i][1] == 'e' ? 10000 : 300;
			check(start(what), "start %s", paths[i]);
		}
		pump_all(30);
		for (int i = 0; i < at_once; i++)
			if (paths[i][1] == 'e')
				check_own(&responses[i + 1], paths[i]);
			else
				check_shape(&responses[i + 1], paths[i]);
	}
}

static void
test_shapes_on_one_connection(void)
{
	test_shapes_in_random_order(1);
}

static void
test_shapes_on_several_connections(void)
{
	test_shapes_in_random_order(16);
}

/* What is no valid head, or too much of one, is no response. */
static void
test_shapes_refused(void)
{
	static const char *const refused[] = {
		"nul-in-value",
		"megabyte-of-headers", "megabyte-of-a-header", "megabyte-of-a-name", "megabyte-of-a-reason",
		"megabyte-of-folds", "megabyte-of-blanks", "flood-of-100", "flood-of-103",
		"megabyte-of-trailers", "length-negative", "lengths-differ", "chunk-too-long", "status-000", "status-99", "status-1000",
		"status-negative", "status-none", "status-word", "version-0.9", "half-a-line", "no-head", "nuls"
	};

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
	{
		char		path[64];
		JsMuxRequest what;
		const JsMuxResponse *response;

		check_result(get("/fold"), JS_MUX_OK, "before");
		snprintf(path, sizeof(path), "/shape/%s", refused[i]);
		what = request(1, url(path));
		what.timeout_ms = 2000;
		response = ask(what);
		check(response->result == JS_MUX_PROTOCOL || response->result == JS_MUX_NETWORK,
			  "%s is refused: result %d (%s), status %d", path, response->result, response->error, response->status);
	}
}

/* What comes beside the answer is nobody's. */
static void
test_more_than_one_answer(void)
{
	static const char *const more[] = {"/more", "/more-later", "/shape/body-of-204?", "/shape/body-of-304?"};

	for (int i = 0; i < 40; i++)
	{
		check_result(get(more[i % 4]), JS_MUX_OK, more[i % 4]);
		pump_until(0, 0.1);
		check_own(get("/echo?mine"), "/echo?mine");
	}
}

/* ------------------------------------------------------------------------
 * Tests: sockets that are watched while their connections are idle
 * ------------------------------------------------------------------------
 */

/* A server of this process, which does what is done here and nothing else. */
static int
own_server(char *own_url, size_t size)
{
	struct sockaddr_in at = {.sin_family = AF_INET,.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	length = sizeof(at);
	int			listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	check(bind(listener, (struct sockaddr *) &at, length) == 0 && listen(listener, 16) == 0 &&
		  getsockname(listener, (struct sockaddr *) &at, &length) == 0, "own server");
	snprintf(own_url, size, "http://127.0.0.1:%d/", ntohs(at.sin_port));
	return listener;
}

static bool
is_readable(int ms)
{
	struct pollfd fd = {.fd = mux->fd(),.events = POLLIN};

	return poll(&fd, 1, ms) > 0;
}

/* Until nothing happens for a moment. */
static bool
becomes_quiet(void)
{
	double		end = now() + 15;

	while (is_readable(50) && now() < end)
		pump_once(0);
	return !is_readable(0);
}

/*
 * Answers the request of this id, which comes on a new connection, when nothing
 * but the answer is waited for any more.
 */
static int
answer_on_new_connection(int listener, uint64_t id)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine";
	double		end = now() + 15;
	char		text[1000];
	int			client;

	while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) < 0 && now() < end)
		pump_once(20);
	while (recv(client, text, sizeof(text), 0) <= 0 && now() < end)
		pump_once(20);
	check(becomes_quiet(), "a request that is sent is quiet");
	send(client, answer, strlen(answer), 0);
	check(pump_until(id, 15) && has_body(&responses[id], "mine"), "an answer on a new connection");
	return client;
}

typedef enum Unasked
{
	UNASKED_END, UNASKED_RESET, UNASKED_WORD, UNASKED_WORD_AND_END
} Unasked;

static void
do_unasked(int client, Unasked what)
{
	static const char late[] = "HTTP/1.1 408 Too Late\r\nContent-Length: 0\r\n\r\n";
	struct linger reset = {.l_onoff = 1};

	if (what == UNASKED_RESET)
		setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (what >= UNASKED_WORD)
		send(client, late, strlen(late), 0);
	if (what != UNASKED_WORD)
		close(client);
}

/*
 * What a server does on a connection that nobody uses wakes us once and not for
 * ever, and the next request is not the worse for it.
 */
static void
test_idle_connections(void)
{
	char		own_url[64];
	int			listener = own_server(own_url, sizeof(own_url));

	for (int i = 0; i < 20; i++)
	{
		Unasked		what = i % 4;
		int			client;

		start(request(1, own_url));
		client = answer_on_new_connection(listener, 1);
		check(becomes_quiet(), "an idle connection is quiet");
		do_unasked(client, what);
		(void) is_readable(1000);
		pump_once(0);
		if (is_readable(0))
			pump_once(0);		/* an alarm may have gone off just then */
		check(!is_readable(0), "%d on an idle connection wakes us once", what);
		start(request(2, own_url));
		close(answer_on_new_connection(listener, 2));
		if (what == UNASKED_WORD)
			close(client);
		check(becomes_quiet(), "two connections that are closed are quiet");
		forget_all();
	}
	close(listener);
}

/*
 * With room for one connection, which is closed for the next, sockets of
 * connections that are kept, that fail, and of lookups have the same numbers in turn.
 */
static void
test_numbers_come_back(void)
{
	char		own_url[64];
	char		name[64];
	int			listener = own_server(own_url, sizeof(own_url));
	int			before;

	limit_connections(1);
	before = open_descriptors();
	for (int i = 0; i < 10; i++)
	{
		double		begin = now();

		check_result(get("/hello"), JS_MUX_OK, "one that is kept");
		start(request(2, own_url));
		close(answer_on_new_connection(listener, 2));
		check_result(get("/hello"), JS_MUX_OK, "one that is kept");
		check_result(ask(request(1, "http://127.0.0.1:1/")), JS_MUX_CONNECT, "nobody there");
		start(request(3, own_url));
		close(answer_on_new_connection(listener, 3));
		/* another name each time, so it is looked up */
		snprintf(name, sizeof(name), "http://nosuch%d.test/", i);
		check_result(ask(request(1, name)), JS_MUX_RESOLVE, "no such name");
		check_result(ask(request(1, url_at(i % 2 ? "refused-first.test" : "localhost", "/hello"))), JS_MUX_OK, "a name");
		check(now() - begin < 2 * SOON, "none is waited for: %.1f s", now() - begin);
		forget_all();
	}
	check(open_descriptors() <= before + 1, "numbers come back: %d, then %d", before, open_descriptors());
	close(listener);
	config.max_connections = 2000;
	configure();
}

/* A socket of this number, and its other end. */
static int
open_at(int number)
{
	int			ends[2];

	check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && dup2(ends[0], number) == number, "socketpair()");
	if (ends[0] != number)
		close(ends[0]);
	return ends[1];
}

static void
close_both(int number, int other)
{
	close(number);
	close(other);
}

/* Whether it is told of what comes. */
static bool
hears(int number, int other)
{
	MuxEvent	events[64];

	send(other, "x", 1, 0);
	for (int i = 0; i < 10; i++)
	{
		int			count = js_mux_poll_events(events, 64);

		for (int k = 0; k < count; k++)
			if (events[k].fd == number && events[k].readable)
				return true;
	}
	return false;
}

/* The same without libcurl, which mostly looks again by itself. */
static void
test_numbers_of_sockets(void)
{
	int			number = fcntl(0, F_DUPFD, 1000);
	int			other;

	/* a connection's, which is closed by way of us, and then one of a lookup */
	other = open_at(number);
	js_mux_poll_connected(number);
	js_mux_poll_watch(number, true, false, false);
	js_mux_poll_forget(number);
	js_mux_poll_watch(number, true, false, false);
	check(hears(number, other), "a connection is used again");
	js_mux_poll_forget(number);
	check(!hears(number, other), "what nobody asks for is nobody's");
	check(becomes_quiet(), "and said once");
	js_mux_poll_watch(number, true, false, false);
	js_mux_poll_forget(number);
	js_mux_poll_closed(number);
	close_both(number, other);
	for (int i = 0; i < 2; i++)
	{
		other = open_at(number);
		js_mux_poll_watch(number, true, false, false);
		check(hears(number, other), "the number of a connection comes back: %d", i);
		js_mux_poll_forget(number);
		close_both(number, other);
	}

	/*
	 * one that is closed without a word to us, and one that is watched
	 * already
	 */
	other = open_at(number);
	js_mux_poll_watch(number, false, true, false);
	close_both(number, other);
	other = open_at(number);
	js_mux_poll_watch(number, true, false, true);
	check(hears(number, other), "the number of one that was watched comes back");
	js_mux_poll_watch(number, false, true, true);
	js_mux_poll_watch(number, true, false, false);
	check(hears(number, other), "one is watched already");
	js_mux_poll_forget(number);
	close_both(number, other);
}

/* ------------------------------------------------------------------------
 * Tests: packed bodies
 * ------------------------------------------------------------------------
 */

#define GZIP (MAX_WBITS + 16)

static size_t
pack(int bits, const char *text, size_t size, unsigned char *out, size_t room)
{
	z_stream	stream = {.next_in = (unsigned char *) text,.avail_in = size,.next_out = out,.avail_out = room};

	deflateInit2(&stream, 9, Z_DEFLATED, bits, 9, Z_DEFAULT_STRATEGY);
	check(deflate(&stream, Z_FINISH) == Z_STREAM_END, "pack");
	deflateEnd(&stream);
	return stream.total_out;
}

static const JsMuxResponse *
get_packed(const char *encoding, const unsigned char *packed, size_t size)
{
	char		path[1000];
	size_t		length = snprintf(path, sizeof(path), "/packed/%s/", encoding);

	for (size_t i = 0; i < size; i++)
		length += snprintf(path + length, sizeof(path) - length, "%02x", packed[i]);
	get(path);
	check_result(&responses[1], JS_MUX_OK, encoding);
	return &responses[1];
}

static void
check_unpacked(const char *encoding, int bits)
{
	unsigned char packed[256];
	size_t		size = pack(bits, "hello, hello, hello", 19, packed, sizeof(packed));
	const JsMuxResponse *response = get_packed(encoding, packed, size);

	check(has_body(response, "hello, hello, hello") && !response->truncated, "%s is unpacked: %s", encoding, response->body);
}

static void
check_as_it_came(const char *what, const char *encoding, const unsigned char *packed, size_t size)
{
	const JsMuxResponse *response = get_packed(encoding, packed, size);

	check(response->body_size == size && memcmp(response->body, packed, size) == 0 && !response->truncated,
		  "%s is left as it came: %zu bytes", what, response->body_size);
}

static void
test_packed(void)
{
	unsigned char packed[400];
	unsigned char twice[400];
	char		zeros[100000] = {0};
	size_t		size;
	const JsMuxResponse *response;

	check_unpacked("gzip", GZIP);
	check_unpacked("X-GZip", GZIP);
	check_unpacked("identity,gzip", GZIP);
	check_unpacked("deflate", MAX_WBITS);
	check_unpacked("deflate", -MAX_WBITS);

	size = pack(GZIP, "some", 4, packed, sizeof(packed));
	check_as_it_came("no encoding", "identity", packed, size);
	check_as_it_came("another encoding", "br", packed, size);
	check_as_it_came("two layers", "gzip,gzip", packed, size);
	check_as_it_came("what only says that it is packed", "gzip", (const unsigned char *) "hello", 5);
	check_as_it_came("what only begins as if it were", "gzip", (const unsigned char *) "\x1f\x8b garbage", 10);
	check_as_it_came("half a header", "gzip", packed, 5);
	check_as_it_came("nothing", "gzip", packed, 0);
	packed[size - 6] ^= 1;
	check_as_it_came("a wrong checksum", "gzip", packed, size);

	size = pack(GZIP, "some", 4, packed, sizeof(packed));
	size += pack(GZIP, "more", 4, packed + size, sizeof(packed) - size);
	check(has_body(get_packed("gzip", packed, size), "somemore"), "two members");
	memcpy(packed + size, "rubbish", 7);
	check(has_body(get_packed("gzip", packed, size + 7), "somemore"), "and rubbish");
	response = get_packed("gzip", packed, size - 10);
	check(response->truncated && strncmp(response->body, "some", 4) == 0, "a member and a half");

	size = pack(GZIP, zeros, 1000, packed, sizeof(packed));
	response = get_packed("gzip", packed, size);
	check(response->body_size == 1000 && !response->truncated, "as much as is kept");
	size = pack(GZIP, zeros, 1001, packed, sizeof(packed));
	response = get_packed("gzip", packed, size);
	check(response->body_size == 1000 && response->truncated, "a byte more");
	size = pack(GZIP, zeros, sizeof(zeros), packed, sizeof(packed));
	response = get_packed("gzip", packed, size);
	check(response->body_size == 1000 && response->truncated, "a bomb");
	size = pack(GZIP, (char *) packed, size, twice, sizeof(twice));
	response = get_packed("gzip", twice, size);
	check(!response->truncated && memcmp(response->body, packed, response->body_size) == 0, "one layer of two");
}

static void
test_bad_requests(void)
{
	static const char *const urls[] = {
		"", "hello", "/hello", "ftp://127.0.0.1/", "file:///etc/passwd", "http://",
		"http://a b/", "http://127.0.0.1:99999/", "gopher://127.0.0.1:70/", "http://[::1/"
	};

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
	{
		const JsMuxResponse *response = ask(request(1, urls[i]));

		check(response->result == JS_MUX_BAD_REQUEST, "bad URL %s: result %d", urls[i],
			  response->result);
		check(*urls[i] == '\0' || strstr(response->error, urls[i]) == NULL, "URL in error text");
	}
	start(request(1, "hello"));
	check(cancel(1), "a bad request can be cancelled");
	check(mux->in_flight() == 0, "cancelled");
}

static void
test_timeouts(void)
{
	static const char *const paths[] = {"/never", "/body-never", "/slowly"};
	JsMuxRequest what = request(1, "");
	const JsMuxResponse *response;
	double		begin;

	what.timeout_ms = 300;
	for (int i = 0; i < 3; i++)
	{
		what.url = url(paths[i]);
		begin = now();
		response = ask(what);
		check_result(response, JS_MUX_TIMEOUT, paths[i]);
		check(now() - begin > 0.29 && now() - begin < SOON, "timeout takes %.3f s", now() - begin);
		check(response->total_us >= 300000, "time in all");
	}
	check(response->status == 200 && response->body_size > 0, "what came before the timeout");
	what.connect_timeout_ms = 100;
	check_result(ask(what), JS_MUX_TIMEOUT, "connect timeout is not for what follows");
}

/* Nobody accepts here, and the queue is full: packets are dropped. */
static int
full_server(const char *address, int *listener, int *clients, int count)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t	size = sizeof(at);
	int			on = 1;

	inet_pton(AF_INET, address, &at.sin_addr);
	at.sin_port = htons(strcmp(address, "127.0.0.8") == 0 ? port : 0);
	*listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(*listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(*listener, (struct sockaddr *) &at, size) < 0 || listen(*listener, 0) < 0)
		return -1;
	getsockname(*listener, (struct sockaddr *) &at, &size);
	for (int i = 0; i < count; i++)
	{
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(clients[i], (struct sockaddr *) &at, size);
	}
	usleep(100000);
	return ntohs(at.sin_port);
}

static void
test_connect_timeout(void)
{
	int			listener;
	int			clients[8];
	char		full_url[64];
	JsMuxRequest what;
	const JsMuxResponse *response;
	double		begin = now();

	snprintf(full_url, sizeof(full_url), "http://127.0.0.1:%d/",
			 full_server("127.0.0.1", &listener, clients, 8));
	what = request(1, full_url);
	what.connect_timeout_ms = 300;
	begin = now();
	response = ask(what);
	check_result(response, JS_MUX_CONNECT_TIMEOUT, "connect timeout");
	check(now() - begin > 0.29 && now() - begin < SOON, "connect timeout takes %.3f s", now() - begin);
	check(response->connected_us == -1 && response->status == 0 &&
		  response->remote_address[0] == '\0', "not connected");
	what.connect_timeout_ms = 0;
	what.timeout_ms = 300;
	check_result(ask(what), JS_MUX_TIMEOUT, "timeout while connecting");
	what.connect_timeout_ms = 5000;
	check_result(ask(what), JS_MUX_TIMEOUT, "connect timeout longer than the whole");
	start(request(2, full_url));
	pump_until(0, 0.1);
	check(cancel(2), "cancel while connecting");
	close(listener);
	for (int i = 0; i < 8; i++)
		close(clients[i]);
}

static void
test_no_connection(void)
{
	check_result(ask(request(1, "http://127.0.0.1:1/")), JS_MUX_CONNECT, "nobody there");
	check_result(ask(request(1, "http://nosuch.test/")), JS_MUX_RESOLVE, "no such name");
	check(responses[1].resolved_us == -1, "not resolved");
}

/* What libcurl leaves in a handle must do no harm to the next that has it. */
static void
check_large(const char *after)
{
	for (int i = 0; i < 2; i++)
	{
		JsMuxRequest what = request(1, url("/size/5000000"));

		what.max_body = 5000000;
		check(ask(what)->body_size == 5000000, "large one after %s: %s", after, responses[1].error);
	}
}

static void
test_large_after_failure(void)
{
	static const char *const bad[] = {
		"http://127.0.0.1:1/", "http://nosuch.test/", "https://127.0.0.1:1/",
		"http://127.0.0.9/", "http://refused.test/", "https://127.0.0.9/", "https://refused.test/"
	};
	int			count = sizeof(bad) / sizeof(bad[0]);

	for (int i = 0; i < 2 * count; i++)
	{
		check(ask(request(1, bad[i % count]))->result != JS_MUX_OK, "bad one");
		check_large(bad[i % count]);
	}
	for (int i = 0; i < 3; i++)
	{
		char		host[32];

		snprintf(host, sizeof(host), "late%d.test", i);
		start(request(2, url_at(host, "/hello")));
		pump_until(0, 0.05);
		check(cancel(2) && !has_come[2], "cancel of a lookup that will end");
		check_large("cancel of a lookup");
		pump_until(0, 0.4);
		check_large("the end of that");
	}
}

static void
test_options_not_taken(void)
{
	check_result(get("/hello"), JS_MUX_OK, "before");
	fail_option(CURLOPT_PREREQFUNCTION, 1);
	check_result(get("/hello"), JS_MUX_NO_MEMORY, "option of ours is not taken");
	check_result(get("/hello"), JS_MUX_OK, "after");
	fail_option(CURLOPT_CUSTOMREQUEST, 1);
	check_result(get("/hello"), JS_MUX_BAD_REQUEST, "method is not taken");
	check_result(get("/hello"), JS_MUX_OK, "after");
	fail_option(CURLOPT_BUFFERSIZE, 1);
	check_result(get("/hello"), JS_MUX_NO_MEMORY, "size of a buffer is not taken");
	check_result(get("/hello"), JS_MUX_OK, "after");
}

/* ------------------------------------------------------------------------
 * Tests: policy
 * ------------------------------------------------------------------------
 */

static void
test_refused(void)
{
	const JsMuxResponse *response = ask(request(1, url_at("127.0.0.9", "/hello")));

	check_result(response, JS_MUX_REFUSED, "refused address");
	check(response->remote_address[0] == '\0', "no address when refused");
	check_result(ask(request(1, url_at("refused.test", "/hello"))), JS_MUX_REFUSED, "refused after lookup");
	check_result(ask(request(1, url_at("refused-first.test", "/hello"))), JS_MUX_OK,
				 "another address is not refused");
	check_result(ask(request(1, url_at("Refused.TEST.", "/hello"))), JS_MUX_REFUSED,
				 "refused after lookup of a name with a dot");
	check(strcmp(policy.host, "refused.test") == 0, "name without the dot: %s", policy.host);
	ask(request(1, url_at("One.Test", "/hello")));
	check(strcmp(policy.host, "one.test") == 0 && policy.port == port &&
		  strcmp(policy.address, "127.0.0.1") == 0, "what the policy is asked");
}

static void
test_odd_addresses(void)
{
	static const char *const hosts[] = {
		"2130706433", "0x7f.1", "017700000001", "0x7f000001", "127.1", "127.0.1", "0177.0.0.1", "127.0.0.1."
	};

	policy.refused = "127.0.0.1";
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
	{
		const JsMuxResponse *response = ask(request(1, url_at(hosts[i], "/hello")));

		/* or it is not taken for an address, and no name */
		check(response->result == JS_MUX_REFUSED || response->result == JS_MUX_RESOLVE,
			  "%s: result %d", hosts[i], response->result);
	}
	policy.refused = "::ffff:127.0.0.1";
	check_result(ask(request(1, url_at("six.test", "/hello"))), JS_MUX_REFUSED, "mapped address by name");
	check_result(ask(request(1, url_at("[::ffff:127.0.0.1]", "/hello"))), JS_MUX_REFUSED, "mapped address");
	check(strcmp(policy.host, "::ffff:127.0.0.1") == 0 ||
		  strcmp(policy.host, "::ffff:7f00:1") == 0, "host without brackets: %s", policy.host);
	policy.refused = "127.0.0.9";
}

/* A connection that there is does not help who may not have it. */
static void
test_refused_on_reuse(void)
{
	int			asked;

	check_result(get("/hello"), JS_MUX_OK, "before");
	asked = policy.asked;
	check_result(get("/hello"), JS_MUX_OK, "again");
	check(policy.asked > asked, "asked for a connection that there is");
	policy.refused = "127.0.0.1";
	check_result(get("/hello"), JS_MUX_REFUSED, "refused on a connection that there is");
	policy.refused = "127.0.0.9";
	check_result(get("/hello"), JS_MUX_OK, "after");
}

static void
test_configure(void)
{
	static Policy other = {.refused = ""};

	start(request(1, url("/never")));
	pump_until(0, 0.05);
	config.arg = &other;
	configure();
	check_result(ask(request(2, url("/hello"))), JS_MUX_REFUSED, "by the new policy");
	config.arg = &policy;
	configure();
	check_result(ask(request(2, url("/hello"))), JS_MUX_OK, "by the old policy");
	check(cancel(1), "still there");
	config.may_connect = NULL;
	check(!mux->configure(&config), "no policy is refused");
	config.may_connect = permit;
	config.max_connections = 0;
	check(!mux->configure(&config), "no connections are refused");
	config.max_connections = 2000;
}

/* The second lookup gives another address than the first. */
static void
test_rebinding(void)
{
	name_is("rebind.test", "127.0.0.1");
	check_result(ask(request(1, url_at("rebind.test", "/and-leave"))), JS_MUX_OK, "good address");
	name_is("rebind.test", "127.0.0.9");
	/* whether libcurl remembers the name or not */
	check(ask(request(1, url_at("rebind.test", "/which")))->result == JS_MUX_OK ||
		  responses[1].result == JS_MUX_REFUSED, "rebound");
	check(strcmp(responses[1].remote_address, "127.0.0.9") != 0, "not at the refused address");
}

static void
test_second_address(void)
{
	int			listener;
	int			clients[4];
	JsMuxRequest what = request(1, url_at("full-first.test", "/hello"));

	if (full_server("127.0.0.8", &listener, clients, 4) < 0)
		return;					/* the port is taken on all addresses */
	what.connect_timeout_ms = 4000;
	check_result(ask(what), JS_MUX_OK, "second address when the first does not answer");
	close(listener);
	for (int i = 0; i < 4; i++)
		close(clients[i]);
}

/* ------------------------------------------------------------------------
 * Tests: proxy and environment
 * ------------------------------------------------------------------------
 */

/* These were set before anything else. */
static void
set_environment(void)
{
	static const char *const variables[] = {
		"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"
	};

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		setenv(variables[i], "http://127.0.0.1:1", 1);
	setenv("no_proxy", "*", 1);
	setenv("NO_PROXY", "*", 1);
}

static void
test_environment(void)
{
	unsetenv("no_proxy");
	unsetenv("NO_PROXY");
	check_result(get("/hello"), JS_MUX_OK, "proxies of the environment");
	setenv("no_proxy", "*", 1);
	setenv("NO_PROXY", "*", 1);
}

static void
test_proxy(void)
{
	char		proxy[64];
	const JsMuxResponse *response;
	int			asked;

	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", port);
	config.proxy = proxy;
	configure();
	policy.refused = "127.0.0.1";
	asked = policy.asked;
	response = ask(request(1, "http://far.test/a"));
	check_result(response, JS_MUX_OK, "by proxy");
	check(sent(response, "GET http://far.test/a HTTP/1.1"), "request to a proxy");
	check(policy.asked == asked + 1 && strcmp(policy.host, "far.test") == 0 &&
		  policy.port == 80 && policy.address[0] == '\0',
		  "asked for the host once, without address, and not for the proxy");
	policy.refused_host = "denied.test";
	check_result(ask(request(1, "http://Denied.TEST./")), JS_MUX_REFUSED, "refused name by proxy");
	check_result(ask(request(1, "https://denied.test/")), JS_MUX_REFUSED, "refused name by proxy, with TLS");
	check_result(ask(request(1, "http://far.test/a")), JS_MUX_OK, "other name by proxy");
	policy.refused_host = NULL;
	check_result(ask(request(1, "http://127.0.0.1/")), JS_MUX_REFUSED, "refused address by proxy");
	check_result(ask(request(1, "http://0x7f.1/")), JS_MUX_REFUSED, "odd form of it");
	check_result(ask(request(1, "http://2130706433/")), JS_MUX_REFUSED, "odder form of it");
	policy.refused = "127.0.0.9";
	config.proxy = "http://127.0.0.1:1";
	configure();
	check_result(ask(request(1, "http://far.test/a")), JS_MUX_CONNECT, "no proxy there");
	config.proxy = NULL;
	configure();
}

/* ------------------------------------------------------------------------
 * Tests: many
 * ------------------------------------------------------------------------
 */

static void
test_ids(void)
{
	check(start(request(1, url("/never"))), "started");
	check(!start(request(1, url("/hello"))), "id in flight");
	check(mux->in_flight() == 1, "in flight");
	check(cancel(1) && !cancel(1), "cancel");
	check(start(request(1, url("/hello"))), "id again");
	check(pump_until(1, 5) && has_body(&responses[1], "hello"), "the second of an id");
	check(!cancel(1), "given out");
	check(!cancel(99), "never there");
	forget_all();
}

static void
test_cancel(void)
{
	check(start(request(1, url("/hello"))) && cancel(1), "cancel before it began");
	start(request(1, url("/never")));
	pump_until(0, 0.05);
	check(cancel(1), "cancel while waiting for a response");
	start(request(1, url("/slowly")));
	pump_until(0, 0.1);
	check(cancel(1), "cancel in the body");
	start(request(1, "hello"));
	check(cancel(1), "cancel after it ended");
	check(mux->in_flight() == 0, "all cancelled");
	pump_until(0, 0.1);
	check(!has_come[1], "no response of a cancelled transfer");
	check_result(get("/hello"), JS_MUX_OK, "after cancellations");
}

static void
test_many(void)
{
	int			good = 0;
	double		begin = now();

	for (int i = 0; i < 50; i++)
		start(request(MANY + i, url("/never")));
	for (int i = 0; i < MANY; i++)
		start(request(i, url(i % 2 ? "/hello" : "/size/900")));
	check(mux->in_flight() == MANY + 50, "in flight");
	while (mux->in_flight() > 50 && now() - begin < 30)
		pump_once(20);
	for (int i = 0; i < MANY; i++)
		good += has_come[i] && responses[i].result == JS_MUX_OK &&
			responses[i].body_size == (i % 2 ? 5 : 900);
	check(good == MANY, "%d of %d good", good, MANY);
	check(now() - begin < 10, "slow ones do not delay others: %.1f s", now() - begin);
	for (int i = 0; i < 50; i++)
		check(cancel(MANY + i), "slow ones are there");
	forget_all();
}

/* Half of them have to wait for a connection, within their time. */
static void
test_few_connections(void)
{
	JsMuxRequest what;
	double		begin;

	limit_connections(10);
	what = request(0, url("/never"));
	begin = now();
	what.timeout_ms = 500;
	for (what.id = 1; what.id <= 20; what.id++)
		start(what);
	for (int i = 1; i <= 20; i++)
		check(pump_until(i, 5) && responses[i].result == JS_MUX_TIMEOUT, "timeout in a queue");
	check(now() - begin < SOON, "timeouts in a queue: %.1f s", now() - begin);
	forget_all();
	for (int i = 0; i < 200; i++)
		start(request(i, url("/hello")));
	pump_all(10);
	for (int i = 0; i < 200; i++)
		check(has_come[i] && responses[i].result == JS_MUX_OK, "with few connections");
	forget_all();
	config.max_connections = 2000;
	configure();
}

/* libcurl itself looks now and then at each lookup; it is not to be all the time. */
static bool
is_quiet(void)
{
	double		end = now() + 0.3;
	int			awake = 0;

	while (now() < end)
	{
		struct pollfd fd = {.fd = mux->fd(),.events = POLLIN};

		awake += poll(&fd, 1, 20) > 0;
		TIMED(mux->pump());
	}
	return awake < 500;
}

static int
count_results(uint64_t id, int count, JsMuxResult result)
{
	int			found = 0;

	for (int i = 0; i < count; i++)
		found += has_come[id + i] && responses[id + i].result == result;
	return found;
}

/* As where the process may have few descriptors: all have their turn. */
static void
test_many_transfers_and_few_connections(void)
{
	JsMuxRequest what;
	const int	count = 150;
	int			before;
	double		begin;

	limit_connections(3);
	before = open_descriptors();
	for (int i = 0; i < count; i++)
	{
		/* to different places, so that connections are not just handed on */
		char		host[32];
		JsMuxRequest one;

		snprintf(host, sizeof(host), "127.0.1.%d", i % 50 + 1);
		one = request(i, url_at(host, i % 10 ? "/hello" : "/and-leave"));
		one.timeout_ms = 60000;
		start(one);
	}
	begin = now();
	while (mux->in_flight() > 0 && now() - begin < 60)
	{
		pump_once(20);
		check(open_descriptors() <= before + 6, "%d descriptors, %d before",
			  open_descriptors(), before);
	}
	check(count_results(0, count, JS_MUX_OK) == count, "%d of %d with 3 connections",
		  count_results(0, count, JS_MUX_OK), count);
	forget_all();

	/* deadlines hold in the queue, and for those before and after */
	for (int i = 0; i < 3; i++)
		start(request(100 + i, url("/never")));
	pump_until(0, 0.05);
	what = request(0, url("/never"));
	what.connect_timeout_ms = 200;
	for (what.id = 0; what.id < 20; what.id++)
		start(what);
	begin = now();
	check(pump_until(19, 5), "connect timeout in a queue");
	check(now() - begin < SOON, "connect timeout in a queue: %.1f s", now() - begin);
	pump_until(0, 0.05);
	check(count_results(0, 20, JS_MUX_CONNECT_TIMEOUT) == 20, "connect timeouts in a queue");
	check(mux->in_flight() == 3, "those before it");
	start(request(50, url("/hello")));
	pump_until(0, 0.1);
	check(!has_come[50] && is_quiet(), "it waits without turning round");
	cancel(100);
	check(pump_until(50, 2) && responses[50].result == JS_MUX_OK, "enters as one is free");
	start(request(51, url("/hello")));
	start(request(52, url("/never")));
	start(request(53, url("/hello")));
	pump_until(0, 0.1);
	config.max_connections = 2000;
	configure();
	start(request(54, url("/hello")));
	check(pump_until(54, 2) && pump_until(53, 2) && pump_until(51, 2), "more connections");
	for (int i = 0; i < 2; i++)
		cancel(101 + i);
	cancel(52);
}

/* ------------------------------------------------------------------------
 * Tests: names
 * ------------------------------------------------------------------------
 */

static void
test_names_at_once(void)
{
	int			before = looked_up;

	for (int i = 0; i < 500; i++)
		start(request(i, url_at("many.test", "/hello")));
	pump_all(20);
	for (int i = 0; i < 500; i++)
		check(has_come[i] && responses[i].result == JS_MUX_OK, "by name");
	check(looked_up - before < 5, "%d lookups of one name", looked_up - before);
	forget_all();
	before = looked_up;
	for (int i = 0; i < 500; i++)
		start(request(i, "http://nothing.test/"));
	pump_all(20);
	for (int i = 0; i < 500; i++)
		check(has_come[i] && responses[i].result == JS_MUX_RESOLVE, "by a name that there is not");
	check(looked_up - before < 5, "%d lookups of one name that there is not", looked_up - before);
	forget_all();
}

static void
test_hanging_names(void)
{
	JsMuxRequest what = request(1, "http://a.hang.test/");
	double		begin = now();

	what.timeout_ms = 300;
	check_result(ask(what), JS_MUX_TIMEOUT, "timeout of a lookup");
	check(now() - begin < SOON, "timeout of a lookup takes %.3f s", now() - begin);
	what.timeout_ms = 5000;
	what.connect_timeout_ms = 200;
	begin = now();
	check_result(ask(what), JS_MUX_CONNECT_TIMEOUT, "connect timeout of a lookup");
	check(now() - begin < SOON, "connect timeout of a lookup takes %.3f s", now() - begin);
	begin = now();
	start(request(2, "http://b.hang.test/"));
	start(request(3, "http://b.hang.test/"));
	pump_until(0, 0.1);
	check(hanging > 0, "a lookup hangs");
	check(cancel(2) && cancel(3), "cancel of a lookup");
	check(now() - begin < SOON, "cancel of a lookup takes %.3f s", now() - begin);
	check_result(get("/hello"), JS_MUX_OK, "others meanwhile");
	check_result(ask(request(1, url_at("one.test", "/hello"))), JS_MUX_OK, "other names meanwhile");
	start(request(4, "http://c.hang.test/"));
	pump_until(0, 0.1);
	set_hang(false);
	check(pump_until(4, 5) && responses[4].result == JS_MUX_RESOLVE, "end of a lookup");
	while (hanging > 0)
		usleep(1000);
	pump_until(0, 0.3);
	check(mux->in_flight() == 0, "nothing left");
	set_hang(true);
	forget_all();
}

/* A lookup ends well after nobody waits for it any more. */
static void
test_late_name(void)
{
	int			asked;

	start(request(1, url_at("late.test", "/hello")));
	pump_until(0, 0.1);
	asked = policy.asked;
	check(cancel(1), "cancel of a lookup that will end");
	start(request(1, url_at("late.test", "/hello")));
	check(pump_until(1, 5) && responses[1].result == JS_MUX_OK, "the same name again");
	pump_until(0, 0.5);
	check(policy.asked > asked, "asked for the second");
	forget_all();
}

static void
start_hanging(uint64_t id, int count, long timeout_ms)
{
	for (int i = 0; i < count; i++)
	{
		char		hanging_url[64];
		JsMuxRequest what = request(id + i, hanging_url);

		snprintf(hanging_url, sizeof(hanging_url), "http://y%d.hang.test/", (int) what.id);
		what.timeout_ms = timeout_ms;
		check(start(what), "start of a hanging one");
	}
}

static void
release_lookups(void)
{
	set_hang(false);
	while (hanging > 0)
		usleep(1000);
}

static void
pump_until_hanging(int count)
{
	double		end = now() + 5;

	while (hanging < count && now() < end)
		pump_once(20);
}

/* Lookups that hang, whether somebody waits for them or not, have a bound. */
static void
test_many_hanging_names(void)
{
	check_result(ask(request(1, url_at("one.test", "/hello"))), JS_MUX_OK, "a name is known");
	start_hanging(1000, 600, 20000);
	pump_until_hanging(MAX_HANGING);
	pump_until(0, 0.2);
	check(hanging == MAX_HANGING, "%d lookups at once", hanging);
	check(is_quiet(), "quiet while lookups hang");
	check_result(get("/hello"), JS_MUX_OK, "an address meanwhile");
	check_result(ask(request(1, url_at("127.0.0.3", "/hello"))), JS_MUX_OK, "a new address meanwhile");
	check_result(ask(request(1, url_at("one.test", "/hello"))), JS_MUX_OK, "a known name meanwhile");
	for (int i = 0; i < 300; i++)
		check(cancel(1000 + i), "cancel of a hanging one");
	start_hanging(2000, 600, 1000);
	pump_until(0, 0.5);
	check(hanging == MAX_HANGING, "%d lookups, some abandoned", hanging);
	for (int i = 0; i < 5; i++)
		start(request(10 + i, url_at("patient.test", "/hello")));
	check(!pump_until(10, 0.2), "a new name has to wait");
	for (int i = 0; i < 600; i++)
		check(pump_until(2000 + i, 5) && responses[2000 + i].result == JS_MUX_TIMEOUT,
			  "timeout while no lookup can begin");
	check(hanging == MAX_HANGING && is_quiet(), "quiet with abandoned lookups");
	release_lookups();
	for (int i = 0; i < 5; i++)
		check(pump_until(10 + i, SOON) && responses[10 + i].result == JS_MUX_OK,
			  "a name that had to wait: %s", responses[10 + i].error);
	for (int i = 300; i < 600; i++)
		check(pump_until(1000 + i, 5) && responses[1000 + i].result == JS_MUX_RESOLVE,
			  "a hanging one that had to wait");
	pump_until(0, 0.3);
	set_hang(true);
}

static JsMuxRequest
of_party(uint32_t party, JsMuxRequest what)
{
	what.party = party;
	return what;
}

/* Whoever has names that hang leaves some lookups to others, of the same name too. */
static void
test_hanging_names_of_one_party(void)
{
	int			most = (int) js_share_within(MAX_HANGING, MAX_HANGING).most;

	for (int i = 0; i < 600; i++)
	{
		char		hanging_url[64];

		snprintf(hanging_url, sizeof(hanging_url), "http://z%d.hang.test/", i);
		start(of_party(7, request(1000 + i, hanging_url)));
	}
	start(of_party(7, request(20, url_at("wanted.test", "/hello"))));
	pump_until_hanging(most);
	pump_until(0, 0.2);
	check(hanging == most && most < MAX_HANGING, "%d lookups of one party", hanging);
	check(is_quiet(), "quiet while lookups of one party hang");
	check(!pump_until(20, 0.1), "a new name of the party has to wait");
	check_result(ask(of_party(8, request(10, url_at("wanted.test", "/hello")))), JS_MUX_OK,
				 "the same name of another party");
	for (int i = 0; i < 100; i++)
		start(of_party(100 + i, request(3000 + i, url_at("y.hang.test", "/"))));
	pump_until_hanging(MAX_HANGING);
	pump_until(0, 0.2);
	check(hanging == MAX_HANGING, "%d lookups of many parties", hanging);
	check(is_quiet(), "quiet while lookups of many parties hang");
	for (int i = 0; i < 600; i++)
		cancel(1000 + i);
	for (int i = 0; i < 100; i++)
		cancel(3000 + i);
	release_lookups();
	check(pump_until(20, 5) && responses[20].result == JS_MUX_OK, "the name of the first party");
	pump_until(0, 0.3);
	set_hang(true);
}

/* Those that libcurl lets wait for a connection look up their names later. */
static void
test_many_hanging_names_and_few_connections(void)
{
	limit_connections(10);
	for (int i = 0; i < 10; i++)
		start(request(10 + i, url("/never")));
	pump_until(0, 0.1);
	start_hanging(1000, 600, 20000);
	pump_until(0, 0.3);
	for (int i = 0; i < 10; i++)
		cancel(10 + i);
	for (int i = 0; i < 600; i++)
	{
		pump_once(1);
		cancel(1000 + i);
		check(hanging <= MAX_HANGING, "%d lookups", hanging);
	}
	check(is_quiet() && hanging > 10, "quiet after %d abandoned lookups", hanging);
	check_result(ask(request(1, url_at("127.0.0.4", "/hello"))), JS_MUX_OK, "an address meanwhile");
	release_lookups();
	pump_until(0, 0.3);
	set_hang(true);
	config.max_connections = 2000;
	configure();
	check_result(ask(request(1, url_at("one.test", "/hello"))), JS_MUX_OK, "a name after");
}

/* Hanging names do not take the connections of others. */
static void
test_hanging_names_and_few_connections(void)
{
	config.max_connections = 5;
	configure();
	for (int i = 0; i < 5; i++)
	{
		char		hanging_url[64];

		snprintf(hanging_url, sizeof(hanging_url), "http://x%d.hang.test/", i);
		start(request(10 + i, hanging_url));
	}
	pump_until(0, 0.2);
	for (int i = 0; i < 5; i++)
		cancel(10 + i);
	/* to where there is no connection yet */
	check_result(ask(request(1, url_at("127.0.0.2", "/hello"))), JS_MUX_OK,
				 "abandoned lookups keep no connection");
	set_hang(false);
	while (hanging > 0)
		usleep(1000);
	pump_until(0, 0.3);
	set_hang(true);
	config.max_connections = 2000;
	configure();
}

/* ------------------------------------------------------------------------
 * Tests: TLS and HTTP/2
 * ------------------------------------------------------------------------
 */

static const char *
tls_url(int at_port, const char *host, const char *path)
{
	static char text[256];

	snprintf(text, sizeof(text), "https://%s:%d%s", host, at_port, path);
	return text;
}

static void
set_ca_file(const char *file)
{
	config.ca_file = file;
	configure();
}

static void
test_tls(void)
{
	const JsMuxResponse *response;

	check_result(ask(request(1, tls_url(tls_port, "localhost", "/"))), JS_MUX_TLS, "unknown authority");
	set_ca_file(other_ca_file);
	check_result(ask(request(1, tls_url(tls_port, "localhost", "/"))), JS_MUX_TLS, "other authority");
	set_ca_file("/nonexistent");
	check_result(ask(request(1, tls_url(tls_port, "localhost", "/"))), JS_MUX_TLS, "no such file");
	set_ca_file(ca_file);
	check_result(ask(request(1, tls_url(tls_port, "127.0.0.1", "/"))), JS_MUX_TLS, "other host");
	response = ask(request(1, tls_url(tls_port, "localhost", "/")));
	check_result(response, JS_MUX_OK, "TLS");
	check(response->status == 200 && response->http_version == 20, "HTTP/2");
	check(response->secured_us >= response->connected_us && response->connected_us >= 0, "times");
	set_ca_file(other_ca_file);
	check_result(ask(request(1, tls_url(tls_port, "localhost", "/"))), JS_MUX_TLS,
				 "a connection of other settings is not used");
	set_ca_file(ca_file);
}

/* All of them over the connection that there is. */
static void
test_multiplexing(void)
{
	int			good = 0;

	policy.asked = 0;
	for (int i = 0; i < 90; i++)
		start(request(i, tls_url(tls_port, "one.test", "/")));
	pump_all(20);
	for (int i = 0; i < 90; i++)
		good += has_come[i] && responses[i].result == JS_MUX_TLS;
	check(good == 90, "%d of 90 fail for the host", good);
	forget_all();
	good = 0;
	ask(request(1, tls_url(tls_port, "localhost", "/")));
	forget_all();
	policy.asked = 0;
	for (int i = 0; i < 90; i++)
		start(request(i, tls_url(tls_port, "localhost", "/")));
	pump_all(20);
	for (int i = 0; i < 90; i++)
		good += has_come[i] && responses[i].result == JS_MUX_OK && responses[i].http_version == 20;
	check(good == 90, "%d of 90 by HTTP/2", good);
	check(policy.asked == 90, "no new connection: asked %d times", policy.asked);
	policy.refused = "127.0.0.1";
	check_result(ask(request(1, tls_url(tls_port, "localhost", "/"))), JS_MUX_REFUSED,
				 "refused on a connection that others use");
	policy.refused = "127.0.0.9";
	forget_all();
}

static void
test_tls_by_proxy(void)
{
	char		proxy[64];
	const JsMuxResponse *response;

	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%d", port);
	config.proxy = proxy;
	configure();
	response = ask(request(1, tls_url(tls_port, "localhost", "/")));
	check_result(response, JS_MUX_OK, "TLS by proxy");
	check(strstr(response->headers, "X-Proxy") == NULL, "no headers of the proxy's");
	response = ask(request(1, tls_url(1, "localhost", "/")));
	check(response->result != JS_MUX_OK && response->status == 0, "proxy does not get through: result %d",
		  response->result);
	config.proxy = NULL;
	configure();
}

/* One handshake that hangs is not waited for by all. */
static void
test_hanging_handshake(void)
{
	JsMuxRequest what = request(0, tls_url(port, "127.0.0.1", "/"));
	double		begin = now();

	what.timeout_ms = 3000;
	for (what.id = 1; what.id <= 5; what.id++)
		start(what);
	pump_until(0, 1.5);
	for (int i = 1; i <= 5; i++)
		check(pump_until(i, 4) && responses[i].result == JS_MUX_TIMEOUT, "hanging handshake");
	check(now() - begin < 5.5, "hanging handshakes take %.1f s", now() - begin);
	forget_all();
}

/* ------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------
 */

/* Nothing is left of transfers but connections that are kept. */
static void
test_descriptors(void)
{
	int			before;

	limit_connections(5);
	before = open_descriptors();
	for (int i = 0; i < 200; i++)
	{
		start(request(1, url("/never")));
		pump_once(0);
		cancel(1);
	}
	pump_until(0, 0.1);
	check(open_descriptors() <= before + 5, "descriptors: %d, then %d", before, open_descriptors());
	config.max_connections = 2000;
	configure();
}

/* ------------------------------------------------------------------------
 * E-mail
 * ------------------------------------------------------------------------
 */

static JsMuxRequest
mail_of(uint64_t id, const char *sender, const char *message)
{
	static char url[64];
	static JsMuxMail mails[64];
	JsMuxMail  *mail = &mails[id % 64];

	snprintf(url, sizeof(url), "smtp://127.0.0.%d:%d", relay_at + 1, relay_port);
	*mail = (JsMuxMail)
	{
		.sender = sender,.recipient = "to@b.example"
	};
	return (JsMuxRequest)
	{
		.id = id,.party = 1,.mail = mail,.url = url,.timeout_ms = 10000,.max_body = 1000,
			.body = message,.body_size = strlen(message)
	};
}

static void
check_mail(const char *sender, const char *message, JsMuxResult result, int status, const char *text)
{
	const JsMuxResponse *response = ask(mail_of(1, sender, message));

	check(response->result == result, "mail of %s: result %d, not %d: %s", sender, response->result, result, response->error);
	check(response->status == status, "mail of %s: status %d, not %d", sender, response->status, status);
	check(text == NULL || (response->body != NULL && strcmp(response->body, text) == 0), "mail of %s: %s", sender,
		  response->body ? response->body : "");
}

/* Whatever the dots of a message, it comes as it is. */
static void
test_mail_messages(void)
{
	static const char *const messages[] = {
		"a\r\n", ".\r\n", "..\r\n", "\r\n.\r\n\r\n", ".a\r\n.\r\n...\r\nb\r\n", "\r\n"
	};
	char	   *large = malloc(1000001);
	char		text[64];

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
	{
		snprintf(text, sizeof(text), "taken\n%zu", strlen(messages[i]));
		check_mail("good@a", messages[i], JS_MUX_OK, 250, text);
	}
	check_mail("good@a", "", JS_MUX_OK, 250, "taken\n0");
	check_mail("good@a", "no end", JS_MUX_OK, 250, "taken\n8");
	for (int i = 0; i < 100000; i++)
		memcpy(large + 10 * i, ".2345678\r\n", 11);
	check_mail("good@a", large, JS_MUX_OK, 250, "taken\n1000000");
	check_mail("full@a", large, JS_MUX_OK, 552, "full");
	free(large);
}

static void
test_mail_answers(void)
{
	check_mail("bytes@a", "x\r\n", JS_MUX_OK, 250, "taken\n3");
	for (int step = 0; step < 4; step++)
	{
		char		sender[32];

		snprintf(sender, sizeof(sender), "close%d@a", step);
		check_mail(sender, "x\r\n", JS_MUX_NETWORK, 0, "");
		snprintf(sender, sizeof(sender), "refuse%d@a", step);
		check_mail(sender, "x\r\n", JS_MUX_OK, 550, "no\nno");
		snprintf(sender, sizeof(sender), "wait%d@a", step);
		check_mail(sender, "x\r\n", JS_MUX_OK, 450, "wait");
	}
	check_mail("endless@a", "x\r\n", JS_MUX_PROTOCOL, 0, "");
	check_mail("long@a", "x\r\n", JS_MUX_OK, 250, "taken\n3");
	check_mail("ahead@a", "x\r\n", JS_MUX_PROTOCOL, 0, "");
	check_mail("apart@a", "x\r\n", JS_MUX_PROTOCOL, 0, "");
	check_mail("odd@a", "x\r\n", JS_MUX_PROTOCOL, 0, "");
	check_mail("nul@a", "x\r\n", JS_MUX_OK, 250, "taken\n3");
}

/* A relay that says nothing keeps a party from four, and nobody else: six are under way. */
static void
test_mail_silence(void)
{
	for (int i = 0; i < 20; i++)
	{
		JsMuxRequest what = mail_of(10 + i, i % 2 ? "silent3@a" : "silent0@a", "x\r\n");

		what.timeout_ms = 1500;
		check(start(what), "a mail begins");
	}
	pump_until(0, 0.3);
	check_result(get("/hello"), JS_MUX_OK, "a request beside mails that hang");
	{
		JsMuxRequest what = mail_of(2, "good@a", "x\r\n");

		what.party = 2;
		check_result(ask(what), JS_MUX_OK, "another party's mail");
	}
	check(cancel(10) && cancel(11) && cancel(29), "mails can be cancelled");
	pump_all(10);
	for (int i = 12; i < 29; i++)
		check(has_come[i] && responses[i].result == JS_MUX_TIMEOUT, "mail %d ends in time: %d", i, responses[i].result);
}

/* What a relay may do before it has been told anything; which error that is libcurl's versions tell differently. */
static void
test_mail_beginnings(void)
{
	static const int statuses[RELAYS] = {
		[RELAY_GOOD] = 250,[RELAY_IS_OF_BYTES] = 250,[RELAY_IS_BUSY] = 421,[RELAY_ANSWERS_AHEAD] = 250
	};
	int			before = open_descriptors();

	for (relay_at = 0; relay_at < RELAYS; relay_at++)
	{
		JsMuxRequest what = mail_of(1, "good@a", "x\r\n");
		const JsMuxResponse *response;

		what.timeout_ms = 1500;
		response = ask(what);
		check(response->status == statuses[relay_at] && (response->status > 0) == (response->result == JS_MUX_OK),
			  "relay %d: result %d, status %d: %s", relay_at, response->result, response->status, response->error);
		for (int pumps = 0; pumps < 20; pumps++)
		{
			check(mux->start(&what), "a mail begins");
			for (int i = 0; i < pumps; i++)
			{
				mux->pump();
				usleep(500);
			}
			check(mux->cancel(1), "and is cancelled, relay %d", relay_at);
		}
	}
	relay_at = RELAY_GOOD;
	check(open_descriptors() <= before + 2, "descriptors: %d, then %d", before, open_descriptors());
}

static void
test_open(void)
{
	JsMuxConfig bad = config;
	char		error[256] = "";

	bad.may_connect = NULL;
	check(!mux->open(&bad, error, sizeof(error)) && error[0] != '\0', "open() without a policy");
	check(mux->open(&config, error, sizeof(error)), "open(): %s", error);
	check(mux->version == JS_MUX_VERSION, "version");
	check(strncmp(mux->describe(), "libcurl ", 8) == 0, "describe()");
	printf("%s\n", mux->describe());
}

/* Of open files; the server needs as many. */
static void
raise_limit(void)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

static void
run(void (*test) (void))
{
	test();
	pump_until(0, 0.01);
	forget_all();
	check(mux->in_flight() == 0, "a test leaves nothing in flight");
}

int
main(int argc, char **argv)
{
	static void (*const tests[]) (void) =
	{
		/* while no connection is kept that could make room */
		test_hanging_names_and_few_connections,
		test_plain, test_connection_is_kept, test_connection_is_dead, test_methods,
		test_large_request, test_request_headers, test_responses, test_max_body,
		test_bad_responses, test_shapes_refused, test_shapes_one_by_one, test_shapes_on_one_connection,
		test_shapes_on_several_connections, test_more_than_one_answer,
		test_idle_connections, test_numbers_come_back, test_numbers_of_sockets, test_packed, test_bad_requests, test_timeouts, test_connect_timeout,
		test_no_connection, test_large_after_failure, test_options_not_taken, test_refused, test_odd_addresses, test_refused_on_reuse,
		test_configure, test_rebinding, test_second_address, test_environment, test_proxy,
		test_ids, test_cancel, test_many, test_few_connections,
		test_many_transfers_and_few_connections, test_names_at_once,
		test_hanging_names, test_late_name, test_many_hanging_names,
		test_hanging_names_of_one_party,
		test_many_hanging_names_and_few_connections,
		test_mail_messages, test_mail_answers, test_mail_beginnings, test_mail_silence,
		test_descriptors
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	raise_limit();
	signal(SIGPIPE, SIG_IGN);
	set_environment();
	port = hostile_start();
	relay_port = relay_start();
	test_open();
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		run(tests[i]);
	if (argc == 4)
	{
		tls_port = atoi(argv[1]);
		ca_file = argv[2];
		other_ca_file = argv[3];
		run(test_tls);
		run(test_multiplexing);
		run(test_tls_by_proxy);
		run(test_hanging_handshake);
	}
	check(!signals_open, "signals are blocked in threads");
	check(longest_call < 0.5, "longest call: %.3f s", longest_call);
	printf("longest call: %.3f s\n", longest_call);
	hostile_stop();
	relay_stop();
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
