/*-------------------------------------------------------------------------
 *
 * mux_loop.c
 *		What src/mux can do when there is no database around it.
 *
 *		mux_loop URL COUNT CONCURRENCY
 *
 * Sends COUNT POSTs, CONCURRENCY at a time, and prints requests per second and
 * the memory that it took in all.  To be compared with bare_multi.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "mux/mux_api.h"

#define BODY "{\"job\": \"bench\", \"run_id\": 1, \"attempt\": 1, \"args\": {\"n\": 1}}"

static const JsMuxApi *mux = &js_mux_functions;

static double
now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static bool
permit(void *arg, const char *host, int port, const struct sockaddr *address)
{
	(void) arg;
	(void) host;
	(void) port;
	(void) address;
	return true;
}

static void
start(const char *url, uint64_t id)
{
	static const char *const headers[] = {"Content-Type: application/json", NULL};
	JsMuxRequest request = {
		.id = id,.url = url,.method = "POST",.headers = headers,
		.body = BODY,.body_size = strlen(BODY),
		.connect_timeout_ms = 10000,.timeout_ms = 60000,.max_body = 1024 * 1024
	};

	if (!mux->start(&request))
	{
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
}

int
main(int argc, char **argv)
{
	JsMuxConfig config = {.may_connect = permit,.ca_file = getenv("BENCH_CA_FILE")};
	JsMuxResponse response;
	struct rusage usage;
	struct pollfd readable;
	char		error[256];
	double		longest = 0;
	double		begin;
	long		count;
	long		started = 0;
	long		failed = 0;

	if (argc != 4)
	{
		fprintf(stderr, "usage: mux_loop URL COUNT CONCURRENCY\n");
		return 2;
	}
	count = atol(argv[2]);
	config.max_connections = atoi(argv[3]);
	signal(SIGPIPE, SIG_IGN);
	if (!mux->open(&config, error, sizeof(error)))
	{
		fprintf(stderr, "%s\n", error);
		return 1;
	}
	readable = (struct pollfd)
	{
		.fd = mux->fd(),.events = POLLIN
	};
	begin = now(CLOCK_MONOTONIC);
	do
	{
		double		pumped;

		while (started < count && mux->in_flight() < config.max_connections)
			start(argv[1], ++started);
		poll(&readable, 1, -1);
		/* its own time: on a busy machine others come in between */
		pumped = now(CLOCK_THREAD_CPUTIME_ID);
		mux->pump();
		pumped = now(CLOCK_THREAD_CPUTIME_ID) - pumped;
		if (pumped > longest)
			longest = pumped;
		while (mux->next(&response))
		{
			if (response.result != JS_MUX_OK || response.status != 200)
				failed++;
			mux->release(&response);
		}
	} while (mux->in_flight() > 0 || started < count);
	getrusage(RUSAGE_SELF, &usage);
	printf("jobsched_curl: %.0f requests/s (%ld failed), %ld MB, longest pump() %.1f ms\n",
		   count / (now(CLOCK_MONOTONIC) - begin), failed, usage.ru_maxrss / 1024, longest * 1000);
	return failed > 0;
}
