/*-------------------------------------------------------------------------
 *
 * bare_multi.c
 *		What libcurl can do when there is nothing around it: the yardstick.
 *
 *		bare_multi URL COUNT CONCURRENCY
 *
 * Sends COUNT POSTs, CONCURRENCY at a time, through the multi interface and
 * epoll, in one thread, and prints requests per second.  Handles are set up
 * once; what comes is thrown away.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#include <curl/curl.h>

#define BODY "{\"job\": \"bench\", \"run_id\": 1, \"attempt\": 1, \"args\": {\"n\": 1}}"

static CURLM *multi;
static int	epoll;
static long timeout_ms = 0;
static long left;				/* to be started */
static long under_way = 0;
static long failed = 0;

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static int
socket_changed(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct epoll_event event = {0};

	(void) easy;
	(void) arg;
	event.data.fd = fd;
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (what == CURL_POLL_REMOVE)
		epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	else
	{
		epoll_ctl(epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
		curl_multi_assign(multi, fd, &multi);
	}
	return 0;
}

static int
timer_changed(CURLM *which, long ms, void *arg)
{
	(void) which;
	(void) arg;
	timeout_ms = ms;
	return 0;
}

static size_t
throw_away(char *data, size_t one, size_t size, void *arg)
{
	(void) data;
	(void) arg;
	return one * size;
}

static void
start(CURL *easy)
{
	if (left <= 0)
		return;
	left--;
	under_way++;
	curl_multi_add_handle(multi, easy);
}

static void
create(const char *url, struct curl_slist *headers)
{
	CURL	   *easy = curl_easy_init();

	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, BODY);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, throw_away);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	start(easy);
}

static void
collect(void)
{
	CURLMsg    *message;
	int			messages;

	while ((message = curl_multi_info_read(multi, &messages)) != NULL)
	{
		CURL	   *easy = message->easy_handle;
		long		status = 0;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		if (message->data.result != CURLE_OK || status != 200)
			failed++;
		under_way--;
		curl_multi_remove_handle(multi, easy);
		start(easy);
	}
}

static void
loop(void)
{
	struct epoll_event events[256];
	int			running;

	while (under_way > 0)
	{
		int			count = epoll_wait(epoll, events, 256, (int) timeout_ms);

		for (int i = 0; i < count; i++)
			curl_multi_socket_action(multi, events[i].data.fd,
									 (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
									 (events[i].events & ~EPOLLOUT ? CURL_CSELECT_IN : 0), &running);
		if (count == 0)
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		collect();
	}
}

int
main(int argc, char **argv)
{
	struct curl_slist *headers = NULL;
	double		begin;
	long		count;

	if (argc != 4)
	{
		fprintf(stderr, "usage: bare_multi URL COUNT CONCURRENCY\n");
		return 2;
	}
	count = left = atol(argv[2]);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	multi = curl_multi_init();
	epoll = epoll_create1(0);
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_changed);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_changed);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, atol(argv[3]));
	headers = curl_slist_append(headers, "Content-Type: application/json");
	begin = now();
	for (long i = 0; i < atol(argv[3]); i++)
		create(argv[1], headers);
	loop();
	printf("bare libcurl multi: %.0f requests/s (%ld failed)\n", count / (now() - begin), failed);
	return failed > 0;
}
