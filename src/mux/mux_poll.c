/*-------------------------------------------------------------------------
 *
 * mux_poll.c
 *		Readiness of many sockets, and an alarm, in one descriptor.
 *
 * It uses epoll with a timerfd in it, or kqueue where there is no epoll.  The
 * descriptor is readable, for another epoll or kqueue too, while there are
 * events or the alarm has gone off.
 *
 * libcurl forgets a socket after each request and watches it again in the next,
 * which would be two system calls for each.  So a connection's socket that is
 * only read from stays watched in between, until something happens to it.  That
 * is done only where we are told before it is closed: the kernel forgets a
 * closed socket, and its number may be another's soon.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#include <sys/timerfd.h>
#else
#include <sys/types.h>
#include <sys/event.h>
#include <sys/time.h>
#endif

#include "mux/mux_internal.h"

/* As many as are taken from the kernel at once. */
#define MAX_EVENTS 128

/* What we know of sockets; of those with higher numbers nothing. */
#define MAX_NOTES 65536

/* we are told when it is closed */
#define NOTE_OURS 1
/* it is watched for what comes, and for nothing else */
#define NOTE_READING 2
/* it is so though libcurl has forgotten it */
#define NOTE_KEPT 4

static unsigned char notes[MAX_NOTES];
static int	poll_fd = -1;
static int64_t alarm_at = MUX_NEVER;

int64_t
js_mux_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int
js_mux_poll_fd(void)
{
	return poll_fd;
}

/*
 * One that goes off too early does so for nothing, which is cheaper than to
 * set it anew for each transfer.
 */
static bool
alarm_will_do(int64_t due)
{
	int64_t		now = js_mux_now();

	return alarm_at <= now ? due <= now : alarm_at <= due;
}

/*
 * A connection is about to be used for the first time.  Before that libcurl
 * may close a socket without a word to us: one that could not be connected.
 */
void
js_mux_poll_connected(int fd)
{
	if (fd >= 0 && fd < MAX_NOTES)
		notes[fd] = NOTE_OURS;
}

/* It is about to be closed. */
void
js_mux_poll_closed(int fd)
{
	if (fd >= 0 && fd < MAX_NOTES)
		notes[fd] = 0;
}

static bool
is_ours(int fd)
{
	return fd < MAX_NOTES && (notes[fd] & NOTE_OURS) != 0;
}

static bool
is_kept(int fd)
{
	return is_ours(fd) && (notes[fd] & NOTE_KEPT) != 0;
}

static void watch(int fd, bool in, bool out, bool known);
static void forget(int fd);

void
js_mux_poll_watch(int fd, bool in, bool out, bool known)
{
	bool		kept = is_kept(fd);

	if (is_ours(fd))
		notes[fd] = NOTE_OURS | (in && !out ? NOTE_READING : 0);
	if (!kept || out || !in)
		watch(fd, in, out, known || kept);
}

void
js_mux_poll_forget(int fd)
{
	if (is_ours(fd) && (notes[fd] & NOTE_READING) != 0)
		notes[fd] |= NOTE_KEPT;
	else
		forget(fd);
}

/* Something has happened to a socket.  False: nobody is interested. */
static bool
is_wanted(int fd)
{
	if (!is_kept(fd))
		return true;
	forget(fd);
	notes[fd] = NOTE_OURS;
	return false;
}

#ifdef __linux__

static int	timer_fd = -1;

bool
js_mux_poll_open(void)
{
	struct epoll_event event = {.events = EPOLLIN};

	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	event.data.fd = timer_fd;
	if (poll_fd >= 0 && timer_fd >= 0 &&
		epoll_ctl(poll_fd, EPOLL_CTL_ADD, timer_fd, &event) == 0)
		return true;
	close(poll_fd);
	close(timer_fd);
	poll_fd = timer_fd = -1;
	return false;
}

/*
 * A number may have come back as another socket, without our having been told
 * of it: then it is known to the kernel or not against our expectation.
 */
static void
watch(int fd, bool in, bool out, bool known)
{
	struct epoll_event event = {.events = (in ? EPOLLIN : 0) | (out ? EPOLLOUT : 0)};

	event.data.fd = fd;
	if (epoll_ctl(poll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) < 0 &&
		errno == (known ? ENOENT : EEXIST))
		epoll_ctl(poll_fd, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
}

static void
forget(int fd)
{
	epoll_ctl(poll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* Setting it also takes back that it has gone off. */
void
js_mux_poll_alarm(int64_t due)
{
	struct itimerspec at = {0};

	if (alarm_will_do(due))
		return;
	if (due != MUX_NEVER)
	{
		/* zero would mean never */
		at.it_value.tv_sec = due / 1000000;
		at.it_value.tv_nsec = due % 1000000 * 1000 + 1;
	}
	timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
	alarm_at = due;
}

int
js_mux_poll_events(MuxEvent *events, int max)
{
	struct epoll_event ready[MAX_EVENTS];
	int			count;
	int			n = 0;

	count = epoll_wait(poll_fd, ready, max < MAX_EVENTS ? max : MAX_EVENTS, 0);
	for (int i = 0; i < count; i++)
	{
		if (ready[i].data.fd == timer_fd || !is_wanted(ready[i].data.fd))
			continue;
		events[n].fd = ready[i].data.fd;
		events[n].readable = (ready[i].events & (EPOLLIN | EPOLLHUP)) != 0;
		events[n].writable = (ready[i].events & EPOLLOUT) != 0;
		events[n++].broken = (ready[i].events & EPOLLERR) != 0;
	}
	return n;
}

#else							/* kqueue */

#define ALARM_IDENT 0

static void
change(uintptr_t ident, int filter, int flags, int64_t us)
{
	struct kevent event;
	struct timespec at_once = {0};

#ifdef NOTE_USECONDS
	EV_SET(&event, ident, filter, flags, filter == EVFILT_TIMER ? NOTE_USECONDS : 0, us, NULL);
#else
	EV_SET(&event, ident, filter, flags, 0, us / 1000, NULL);
#endif
	(void) kevent(poll_fd, &event, 1, NULL, 0, &at_once);
}

bool
js_mux_poll_open(void)
{
	poll_fd = kqueue();
	if (poll_fd >= 0)
		fcntl(poll_fd, F_SETFD, FD_CLOEXEC);
	return poll_fd >= 0;
}

static void
watch(int fd, bool in, bool out, bool known)
{
	change(fd, EVFILT_READ, in ? EV_ADD : EV_DELETE, 0);
	change(fd, EVFILT_WRITE, out ? EV_ADD : EV_DELETE, 0);
}

static void
forget(int fd)
{
	watch(fd, false, false, true);
}

void
js_mux_poll_alarm(int64_t due)
{
	int64_t		left = due - js_mux_now();

	if (alarm_will_do(due))
		return;
	if (due == MUX_NEVER)
		change(ALARM_IDENT, EVFILT_TIMER, EV_DELETE, 0);
	else
		change(ALARM_IDENT, EVFILT_TIMER, EV_ADD | EV_ONESHOT, left > 0 ? left : 0);
	alarm_at = due;
}

int
js_mux_poll_events(MuxEvent *events, int max)
{
	struct kevent ready[MAX_EVENTS];
	struct timespec at_once = {0};
	int			count;
	int			n = 0;

	count = kevent(poll_fd, NULL, 0, ready, max < MAX_EVENTS ? max : MAX_EVENTS, &at_once);
	for (int i = 0; i < count; i++)
	{
		if (ready[i].filter == EVFILT_TIMER)
		{
			alarm_at = MUX_NEVER;
			continue;
		}
		if (!is_wanted((int) ready[i].ident))
			continue;
		events[n].fd = (int) ready[i].ident;
		events[n].readable = ready[i].filter == EVFILT_READ;
		events[n].writable = ready[i].filter == EVFILT_WRITE;
		events[n++].broken = false;
	}
	return n;
}

#endif
