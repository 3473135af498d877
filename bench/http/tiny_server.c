/*-------------------------------------------------------------------------
 *
 * tiny_server.c
 *		An HTTP server that costs next to nothing, to measure clients with.
 *
 *		tiny_server PORT [DELAY]
 *
 * Answers each request on 127.0.0.1 with 200 and a body of two bytes, DELAY
 * milliseconds after it has come (default 0).  Knows just enough of HTTP/1.1
 * for our own requests: Content-Length, keep-alive, no pipelining.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD 65536
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"

typedef struct Connection
{
	unsigned	life;			/* how often the number was another's */
	size_t		used;
	char	   *data;
} Connection;

typedef struct Answer
{
	long long	due;
	int			fd;
	unsigned	life;
} Answer;

static Connection connections[MAX_FD];
static Answer answers[MAX_FD];	/* a ring: due in the order in which they came */
static unsigned first_answer = 0;
static unsigned last_answer = 0;
static long delay_ms = 0;

static long long
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void
answer(int fd)
{
	if (write(fd, ANSWER, sizeof(ANSWER) - 1) < 0)
		shutdown(fd, SHUT_RDWR);
}

static void
answer_later(int fd)
{
	Answer	   *last = &answers[last_answer++ % MAX_FD];

	last->due = now_ms() + delay_ms;
	last->fd = fd;
	last->life = connections[fd].life;
}

/* Returns how long until the next is due. */
static int
answer_due(void)
{
	long long	now = now_ms();

	while (first_answer != last_answer)
	{
		Answer	   *first = &answers[first_answer % MAX_FD];

		if (first->due > now)
			return (int) (first->due - now);
		if (connections[first->fd].life == first->life)
			answer(first->fd);
		first_answer++;
	}
	return -1;
}

static void
end_connection(int fd)
{
	Connection *connection = &connections[fd];

	free(connection->data);
	connection->data = NULL;
	connection->used = 0;
	connection->life++;
	close(fd);
}

/* How long the request at the beginning is; 0: not all is there. */
static size_t
request_size(const char *data, size_t used)
{
	const char *end = memmem(data, used, "\r\n\r\n", 4);
	const char *length;
	size_t		size;

	if (end == NULL)
		return 0;
	size = end + 4 - data;
	length = memmem(data, size, "\r\nContent-Length:", 17);
	if (length != NULL)
		size += strtoul(length + 17, NULL, 10);
	return size <= used ? size : 0;
}

static void
serve(int fd)
{
	Connection *connection = &connections[fd];
	char		buffer[65536];
	ssize_t		got;
	size_t		size;

	/* what is left of a request that came in parts, which is rare */
	if (connection->used > 0)
		memcpy(buffer, connection->data, connection->used);
	got = read(fd, buffer + connection->used, sizeof(buffer) - connection->used);
	if (got <= 0)
	{
		end_connection(fd);
		return;
	}
	got += connection->used;
	free(connection->data);
	connection->data = NULL;
	connection->used = 0;
	size = request_size(buffer, got);
	if (size > 0 && delay_ms > 0)
		answer_later(fd);
	else if (size > 0)
		answer(fd);
	else
	{
		connection->data = malloc(got);
		memcpy(connection->data, buffer, got);
		connection->used = got;
	}
}

static int
listen_at(int port)
{
	int			fd = socket(AF_INET, SOCK_STREAM, 0);
	int			on = 1;
	struct sockaddr_in address = {.sin_family = AF_INET,.sin_port = htons(port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 || listen(fd, 4096) < 0)
		die("listen");
	return fd;
}

static void
watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	event.data.fd = fd;
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void
accept_one(int epoll, int listener)
{
	int			fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	int			on = 1;

	if (fd < 0)
		return;
	if (fd >= MAX_FD)
	{
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	watch(epoll, fd);
}

int
main(int argc, char **argv)
{
	struct rlimit files = {MAX_FD, MAX_FD};
	struct epoll_event events[256];
	int			epoll = epoll_create1(0);
	int			listener;

	if (argc < 2)
	{
		fprintf(stderr, "usage: tiny_server PORT [DELAY]\n");
		return 2;
	}
	delay_ms = argc > 2 ? atol(argv[2]) : 0;
	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_NOFILE, &files);
	listener = listen_at(atoi(argv[1]));
	watch(epoll, listener);
	for (;;)
	{
		int			count = epoll_wait(epoll, events, 256, answer_due());

		for (int i = 0; i < count; i++)
			if (events[i].data.fd == listener)
				accept_one(epoll, listener);
			else
				serve(events[i].data.fd);
	}
}
