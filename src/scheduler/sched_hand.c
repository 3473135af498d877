/*-------------------------------------------------------------------------
 *
 * sched_hand.c
 *		Runs that workers of either kind have: taking back, interrupting.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/timestamp.h"

/* Requests taken back in one go. */
#define PORTION 256

bool
sched_is_http_seat(int seatno)
{
	return seatno >= js->max_seats;
}

static void
take_back_requests(int seatno)
{
	int64		run_ids[PORTION];
	int			count;

	while ((count = js_flight_take_back(seatno, run_ids, PORTION)) > 0)
		for (int i = 0; i < count; i++)
		{
			RunEntry   *run = sched_run_find(run_ids[i]);

			if (run != NULL)
				sched_run_wait(run, js_clock_now());
		}
}

/* What a worker has not begun comes back. */
void
sched_take_back(int seatno)
{
	JsMail		mail[JS_MAILBOX_SIZE];
	int			count;

	if (sched_is_http_seat(seatno))
	{
		take_back_requests(seatno);
		return;
	}
	count = js_seat_take_back(seatno, mail);
	for (int i = 0; i < count; i++)
	{
		RunEntry   *run = sched_run_find(mail[i].run_id);

		if (run != NULL)
			sched_run_wait(run, js_clock_now());
	}
}

/* Nothing that has not begun is with a worker after this. */
void
sched_take_back_all(void)
{
	for (int i = 0; i < js->max_seats; i++)
		if (sched.seats[i].mine && !sched.seats[i].foreign)
			sched_take_back(i);
	if (sched.http_seat >= 0)
		take_back_requests(sched.http_seat);
}

/* A run in a worker's hands is to end. */
void
sched_interrupt(RunEntry *run, JsCancel why)
{
	if (run->cancel != JS_CANCEL_NONE)
		return;
	run->cancel = why;
	run->cancel_at = GetCurrentTimestamp();
	if (sched_is_http_seat(run->seat))
	{
		(void) js_flight_cancel(run->seat, sched.seats[run->seat].generation, run->flight,
								run->run_id, why);
		return;
	}
	js_seat_signal(run->seat, sched.seats[run->seat].generation, run->run_id, why, SIGINT);
}
