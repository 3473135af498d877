/*
 * slow_server PORT DELAY_MS
 *
 * An HTTP/1.1 server that answers every request after a delay, for as many
 * connections as the system lets it have.  It says its port when it listens,
 * which it chooses itself if that is to be 0; GET /stats is answered at once, with how many connections there are, how many
 * requests wait now and did at most, and how many have been answered.
 *
 * One thread.  The delay is the same for all, so those who wait are a queue.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_HEAD 4096
#define MAX_EVENTS 512

typedef struct Connection
{
	int			fd;
	unsigned	use;			/* differs each time that the memory is used */
	size_t		head_size;
	long long	body_left;
	struct Connection *next;	/* of those that are not used */
	char		head[MAX_HEAD + 1];
} Connection;

typedef struct Waiter
{
	long long	until;			/* microseconds */
	Connection *connection;
	unsigned	use;
} Waiter;

static int	epoll;
static long long delay;			/* microseconds */
static Connection *unused;

/* A ring. */
static Waiter *waiters;
static size_t first_waiter;
static size_t n_waiters;
static size_t max_waiters;

static size_t n_connections;
static size_t most_waiting;
static unsigned long long n_answered;

static void
fail(const char *what)
{
	fprintf(stderr, "slow_server: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *
allocate(size_t size)
{
	void	   *memory = malloc(size);

	if (memory == NULL)
		fail("malloc");
	return memory;
}

static long long
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

/* ------------------------------------------------------------------------
 * Connections
 * ------------------------------------------------------------------------
 */

static void
watch(int fd, void *what)
{
	struct epoll_event event = {.events = EPOLLIN,.data.ptr = what};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		fail("epoll_ctl");
}

static void
accept_all(int listener)
{
	int			fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
	{
		Connection *connection = unused;
		int			on = 1;

		if (connection != NULL)
			unused = connection->next;
		else
		{
			connection = allocate(sizeof(Connection));
			connection->use = 0;
		}
		connection->fd = fd;
		connection->head_size = 0;
		connection->body_left = 0;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		watch(fd, connection);
		n_connections++;
	}
	if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
		fail("accept");
}

static void
drop(Connection *connection)
{
	close(connection->fd);
	connection->fd = -1;
	connection->use++;
	connection->next = unused;
	unused = connection;
	n_connections--;
}

/* One that does not take a hundred bytes is dropped. */
static void
answer(Connection *connection, const char *body)
{
	char		text[512];
	int			size = snprintf(text, sizeof(text),
								"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
								strlen(body), body);

	if (send(connection->fd, text, size, MSG_NOSIGNAL) != size)
		drop(connection);
	n_answered++;
}

static void
answer_stats(Connection *connection)
{
	char		body[256];

	snprintf(body, sizeof(body), "connections=%zu waiting=%zu most_waiting=%zu answered=%llu\n",
			 n_connections, n_waiters, most_waiting, n_answered);
	answer(connection, body);
}

/* ------------------------------------------------------------------------
 * Those who wait
 * ------------------------------------------------------------------------
 */

static void
make_room(void)
{
	size_t		size = max_waiters > 0 ? max_waiters * 2 : 1024;
	Waiter	   *larger = allocate(size * sizeof(Waiter));

	for (size_t i = 0; i < n_waiters; i++)
		larger[i] = waiters[(first_waiter + i) % max_waiters];
	free(waiters);
	waiters = larger;
	first_waiter = 0;
	max_waiters = size;
}

static void
let_wait(Connection *connection)
{
	if (delay == 0)
	{
		answer(connection, "ok\n");
		return;
	}
	if (n_waiters == max_waiters)
		make_room();
	waiters[(first_waiter + n_waiters) % max_waiters] =
		(Waiter)
	{
		now() + delay, connection, connection->use
	};
	if (++n_waiters > most_waiting)
		most_waiting = n_waiters;
}

/* Answers whose time has come; returns how many milliseconds the next one has. */
static int
answer_due(void)
{
	while (n_waiters > 0)
	{
		Waiter		waiter = waiters[first_waiter];
		long long	left = waiter.until - now();

		if (left > 0)
			return left / 1000 + 1;
		first_waiter = (first_waiter + 1) % max_waiters;
		n_waiters--;
		if (waiter.use == waiter.connection->use)
			answer(waiter.connection, "ok\n");
	}
	return -1;
}

/* ------------------------------------------------------------------------
 * Requests
 * ------------------------------------------------------------------------
 */

static void
take_request(Connection *connection)
{
	char	   *length = strcasestr(connection->head, "\r\nContent-Length:");

	connection->body_left = length != NULL ? atoll(length + 17) : 0;
	if (strncmp(connection->head, "GET /stats ", 11) == 0)
		answer_stats(connection);
	else
		let_wait(connection);
}

/*
 * Takes what has come apart.  A request counts from its head on; what there is
 * of its body is skipped.
 */
static void
take(Connection *connection, const char *data, size_t size)
{
	unsigned	use = connection->use;

	while (size > 0 && connection->use == use)
	{
		size_t		part;
		size_t		before = connection->head_size;
		char	   *end;

		if (connection->body_left > 0)
		{
			part = (long long) size < connection->body_left ? size : (size_t) connection->body_left;
			connection->body_left -= part;
			data += part;
			size -= part;
			continue;
		}
		part = size < MAX_HEAD - before ? size : MAX_HEAD - before;
		memcpy(connection->head + before, data, part);
		connection->head[before + part] = '\0';
		end = strstr(connection->head, "\r\n\r\n");
		if (end == NULL)
		{
			connection->head_size = before + part;
			if (connection->head_size == MAX_HEAD)
				drop(connection);
			return;
		}
		part = end + 4 - connection->head - before;
		data += part;
		size -= part;
		end[2] = '\0';
		connection->head_size = 0;
		take_request(connection);
	}
}

static void
receive(Connection *connection)
{
	static char buffer[65536];
	ssize_t		n = recv(connection->fd, buffer, sizeof(buffer), 0);

	if (n > 0)
		take(connection, buffer, n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		drop(connection);
}

/* ------------------------------------------------------------------------
 * The server
 * ------------------------------------------------------------------------
 */

static int
listen_at(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,.sin_port = htons(port)};
	socklen_t	size = sizeof(address);
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int			on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *) &address, size) != 0 || listen(fd, 65535) != 0 ||
		getsockname(fd, (struct sockaddr *) &address, &size) != 0)
		fail("listen");
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

/* As many as we may. */
static void
raise_limit(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int
main(int argc, char **argv)
{
	struct epoll_event events[MAX_EVENTS];
	int			listener;

	if (argc != 3)
	{
		fprintf(stderr, "usage: slow_server PORT DELAY_MS\n");
		return 2;
	}
	delay = atoll(argv[2]) * 1000;
	raise_limit();
	epoll = epoll_create1(0);
	listener = listen_at(atoi(argv[1]));
	watch(listener, NULL);

	for (;;)
	{
		int			n = epoll_wait(epoll, events, MAX_EVENTS, answer_due());

		for (int i = 0; i < n; i++)
		{
			Connection *connection = events[i].data.ptr;

			if (connection == NULL)
				accept_all(listener);
			else if (connection->fd >= 0)
				receive(connection);
		}
	}
}
