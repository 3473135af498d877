/*-------------------------------------------------------------------------
 *
 * shutdown.c
 *		How a worker finishes its run when the server is shut down.
 *
 * WHO SENT IT
 *
 * In a fast shutdown, and in a smart one when the last client has gone, the
 * postmaster sends its children a SIGTERM and then waits without a limit; the
 * processes that a commit needs end after us.  pg_terminate_backend() and DROP
 * DATABASE ...  WITH (FORCE) also send a SIGTERM, and those must not be
 * delayed.  The kernel says who sent a signal.  From the postmaster it means a
 * shutdown: its only other reason is TerminateBackgroundWorker(), which we
 * never call.  (If the sender is in another pid namespace, its pid is 0 and the
 * worker ends.)
 *
 * HOW LONG
 *
 * By then the scheduler has ended, and the worker must end even if its run
 * never does.  So the handler starts a kernel timer, created beforehand, that
 * sends SIGTERM again.  That signal comes from no process, and ends the
 * worker.  (A signal handler cannot start the server's own timeouts, and the
 * worker disables all of them after a failure.)  A run with a timeout still has
 * only that time, because no scheduler enforces the timeout any more.
 *
 * The worker can record the run alone.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "guc.h"
#include "miscadmin.h"
#include "process/shutdown.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/timestamp.h"

static timer_t grace_timer;
static volatile sig_atomic_t begun = false;
static volatile TimestampTz run_until = DT_NOEND;

/* In a signal handler. */
static void
start_timer(void)
{
	int64		us = js_guc_shutdown_grace * INT64CONST(1000);
	struct itimerspec when = {{0, 0}, {0, 0}};

	if (run_until != DT_NOEND)
		us = Min(us, Max(run_until - GetCurrentTimestamp(), 1));
	when.it_value.tv_sec = us / USECS_PER_SEC;
	when.it_value.tv_nsec = us % USECS_PER_SEC * 1000;
	(void) timer_settime(grace_timer, 0, &when, NULL);
}

static bool
is_shutdown(const siginfo_t *info)
{
	return info->si_code == SI_USER && info->si_pid == PostmasterPid;
}

static void
handle_sigterm(int signo, siginfo_t *info, void *context)
{
	int			save_errno = errno;

	if (MyProcPid != (int) getpid())
	{
		/*
		 * a child that a job's code has forked, and that is not yet another
		 * program
		 */
		(void) signal(signo, SIG_DFL);
		(void) raise(signo);
	}
	else if (!is_shutdown(info) || js_guc_shutdown_grace == 0)
		die(signo);
	else if (!begun)
	{
		begun = true;
		start_timer();
		SetLatch(MyLatch);
	}
	errno = save_errno;
}

/* For a worker: from now on it has the grace. */
void
js_shutdown_watch(void)
{
	struct sigevent event = {0};
	struct sigaction action = {0};

	event.sigev_notify = SIGEV_SIGNAL;
	event.sigev_signo = SIGTERM;
	if (timer_create(CLOCK_MONOTONIC, &event, &grace_timer) != 0)
	{
		ereport(LOG, (errmsg("could not create a timer: %m")));
		return;					/* no grace then */
	}
	action.sa_sigaction = handle_sigterm;
	action.sa_flags = SA_RESTART | SA_SIGINFO;
	sigemptyset(&action.sa_mask);
	(void) sigaction(SIGTERM, &action, NULL);
}

/* When the run that begins has had its timeout, by the real clock. */
void
js_shutdown_run_until(TimestampTz until)
{
	run_until = until;
}

/* Whether the server is being shut down, and no other run is to begin. */
bool
js_shutdown_begun(void)
{
	return begun;
}
