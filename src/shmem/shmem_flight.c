/*-------------------------------------------------------------------------
 *
 * shmem_flight.c
 *		Shared memory: the runs that an HTTP worker has.
 *
 * An HTTP worker executes thousands of runs at a time, and they end in any
 * order.  So its seat has no mailbox and no batch, but flights: an entry for
 * each run, from its delivery until its end is recorded.  Both sides refer to a
 * run by the number of its entry.
 *
 *		free --deliver--> waits --take--> taken --finish--> free
 *		                    |                |
 *		                    +-- take back    +-- by the scheduler, when the
 *		                        (scheduler)      worker is dead
 *
 * A worker that ends leaves its entries behind; its scheduler deals with each
 * that was taken.  Entries and outcomes together never exceed the capacity, so
 * there is always room for an outcome.
 *
 * The mutex of the seat protects everything here.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "miscadmin.h"
#include "mux/mux_share.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "utils/timestamp.h"

/* ------------------------------------------------------------------------
 * Layout
 * ------------------------------------------------------------------------
 */

/* As many as one owner may have who is alone, and those that are there for others. */
static int
capacity_of(int most)
{
	return (int) js_share_all(js_share_of_places(most));
}

Size
js_flights_size(void)
{
	int			capacity = capacity_of(js_guc_http_max_inflight);
	Size		size = MAXALIGN(sizeof(JsFlights));

	size = add_size(size, MAXALIGN(mul_size(capacity, sizeof(JsFlight))));
	size = add_size(size, MAXALIGN(mul_size(capacity, sizeof(JsDone))));
	return add_size(size, MAXALIGN(mul_size(capacity, sizeof(int))));
}

void
js_flights_init(JsSeat *seat, char *memory)
{
	JsFlights  *flights = (JsFlights *) memory;
	int			capacity = capacity_of(js_guc_http_max_inflight);

	memory += MAXALIGN(sizeof(JsFlights));
	flights->entries = (JsFlight *) memory;
	memory += MAXALIGN(capacity * sizeof(JsFlight));
	flights->done = (JsDone *) memory;
	memory += MAXALIGN(capacity * sizeof(JsDone));
	flights->mail = (int *) memory;
	flights->capacity = capacity;
	seat->flights = flights;
	js_flights_reset(seat);
}

/* All entries are free.  Caller holds the mutex, or nobody else is there. */
void
js_flights_reset(JsSeat *seat)
{
	JsFlights  *flights = seat->flights;

	flights->most = js_guc_http_max_inflight;
	flights->used = flights->taken = 0;
	flights->mail_head = flights->mail_count = 0;
	flights->done_head = flights->done_count = 0;
	flights->cancels = false;
	for (int i = 0; i < flights->capacity; i++)
	{
		flights->entries[i].mail.run_id = 0;
		flights->entries[i].next_free = i + 1 < flights->capacity ? i + 1 : -1;
	}
	flights->first_free = 0;
}

/* Caller holds the mutex. */
static void
free_entry(JsFlights *flights, int index)
{
	JsFlight   *flight = &flights->entries[index];

	flights->used--;
	flights->taken -= (int) flight->taken;
	flight->mail.run_id = 0;
	flight->taken = false;
	flight->next_free = flights->first_free;
	flights->first_free = index;
}

static void
view_entry(const JsFlights *flights, int index, JsFlightView *view)
{
	view->index = index;
	view->mail = flights->entries[index].mail;
	view->taken = flights->entries[index].taken;
	view->since = flights->entries[index].since;
}

/* ------------------------------------------------------------------------
 * The scheduler's side
 * ------------------------------------------------------------------------
 */

/* How many places one owner alone may have, and how many are in use. */
void
js_flight_load(int seatno, int *most, int *in_use)
{
	JsSeat	   *seat = &js->seats[seatno];

	SpinLockAcquire(&seat->mutex);
	*most = seat->flights->most;
	*in_use = seat->flights->used + seat->flights->done_count;
	SpinLockRelease(&seat->mutex);
}

/* Returns the entry that the run is in; -1: it is not to be had. */
int
js_flight_deliver(int seatno, uint32 generation, const JsMail *mail)
{
	JsSeat	   *seat = &js->seats[seatno];
	JsFlights  *flights = seat->flights;
	int			index = -1;

	LWLockAcquire(js->lock, LW_SHARED);
	if (seat->state == JS_SEAT_READY && seat->generation == generation)
	{
		SpinLockAcquire(&seat->mutex);
		if (flights->used + flights->done_count < flights->capacity)
		{
			index = flights->first_free;
			flights->first_free = flights->entries[index].next_free;
			flights->used++;
			flights->entries[index].mail = *mail;
			flights->entries[index].taken = flights->entries[index].closing = false;
			flights->mail[(flights->mail_head + flights->mail_count++) % flights->capacity] = index;
		}
		SpinLockRelease(&seat->mutex);
	}
	LWLockRelease(js->lock);
	return index;
}

/* Takes back some of the runs that the worker has not begun; 0: there are none. */
int
js_flight_take_back(int seatno, int64 *run_ids, int max)
{
	JsSeat	   *seat = &js->seats[seatno];
	JsFlights  *flights = seat->flights;
	int			count;

	SpinLockAcquire(&seat->mutex);
	count = Min(flights->mail_count, max);
	for (int i = 0; i < count; i++)
	{
		int			index = flights->mail[flights->mail_head];

		flights->mail_head = (flights->mail_head + 1) % flights->capacity;
		flights->mail_count--;
		run_ids[i] = flights->entries[index].mail.run_id;
		free_entry(flights, index);
	}
	SpinLockRelease(&seat->mutex);
	return count;
}

int
js_flight_take_done(int seatno, JsDone *done, int max)
{
	JsSeat	   *seat = &js->seats[seatno];
	JsFlights  *flights = seat->flights;
	int			count;

	SpinLockAcquire(&seat->mutex);
	count = Min(flights->done_count, max);
	for (int i = 0; i < count; i++)
		done[i] = flights->done[(flights->done_head + i) % flights->capacity];
	flights->done_head = (flights->done_head + count) % flights->capacity;
	flights->done_count -= count;
	SpinLockRelease(&seat->mutex);
	return count;
}

/*
 * Marks a run as one that is to end, and wakes the worker.  False when it is
 * not there any more, or has come to its end.
 */
bool
js_flight_cancel(int seatno, uint32 generation, int index, int64 run_id, JsCancel why)
{
	JsSeat	   *seat = &js->seats[seatno];
	JsFlight   *flight = &seat->flights->entries[index];
	bool		marked = false;

	LWLockAcquire(js->lock, LW_SHARED);
	if (seat->generation == generation && seat->state == JS_SEAT_READY)
	{
		SpinLockAcquire(&seat->mutex);
		marked = flight->mail.run_id == run_id && !flight->closing;
		if (marked && flight->mail.cancel == JS_CANCEL_NONE)
			flight->mail.cancel = why;
		seat->flights->cancels |= marked;
		SpinLockRelease(&seat->mutex);
		if (marked && seat->proc != NULL)
			SetLatch(&seat->proc->procLatch);
	}
	LWLockRelease(js->lock);
	return marked;
}

/*
 * Copies some entries that are in use, beginning with number "from"; returns
 * how many.  The next ones begin after the last of these.
 */
int
js_flight_look(int seatno, int from, JsFlightView *views, int max)
{
	JsSeat	   *seat = &js->seats[seatno];
	JsFlights  *flights = seat->flights;
	int			count = 0;

	for (int i = from; i < flights->capacity && count < max; i++)
	{
		if (flights->entries[i].mail.run_id == 0)
			continue;			/* without the mutex: a hint */
		SpinLockAcquire(&seat->mutex);
		if (flights->entries[i].mail.run_id != 0)
			view_entry(flights, i, &views[count++]);
		SpinLockRelease(&seat->mutex);
	}
	return count;
}

/* An entry of a dead worker has been accounted for. */
void
js_flight_release(int seatno, int index)
{
	JsSeat	   *seat = &js->seats[seatno];

	SpinLockAcquire(&seat->mutex);
	if (seat->flights->entries[index].mail.run_id != 0)
		free_entry(seat->flights, index);
	SpinLockRelease(&seat->mutex);
}

/* ------------------------------------------------------------------------
 * The worker's side
 * ------------------------------------------------------------------------
 */

/* There are fewer places than there could be. */
void
js_flight_limit(int most)
{
	SpinLockAcquire(&js_my_seat->mutex);
	js_my_seat->flights->most = most;
	SpinLockRelease(&js_my_seat->mutex);
}

/* Takes what has been delivered, in order. */
int
js_flight_next(JsFlightView *views, int max)
{
	JsFlights  *flights = js_my_seat->flights;
	TimestampTz now = js_clock_now();
	int			count;

	SpinLockAcquire(&js_my_seat->mutex);
	count = Min(flights->mail_count, max);
	for (int i = 0; i < count; i++)
	{
		int			index = flights->mail[flights->mail_head];

		flights->mail_head = (flights->mail_head + 1) % flights->capacity;
		flights->mail_count--;
		flights->entries[index].taken = true;
		flights->entries[index].since = now;
		flights->taken++;
		view_entry(flights, index, &views[i]);
	}
	SpinLockRelease(&js_my_seat->mutex);
	return count;
}

/*
 * Some of the runs that have been marked since this was last asked, max of
 * them at most; if there may be more it is to be asked again.
 */
int
js_flight_cancelled(JsFlightView *views, int max)
{
	JsFlights  *flights = js_my_seat->flights;
	bool		any;
	int			count = 0;

	SpinLockAcquire(&js_my_seat->mutex);
	any = flights->cancels;
	flights->cancels = false;
	SpinLockRelease(&js_my_seat->mutex);
	for (int i = 0; any && i < flights->capacity && count < max; i++)
	{
		const JsFlight *flight = &flights->entries[i];

		if (flight->taken && !flight->closing && flight->mail.cancel != JS_CANCEL_NONE)
			view_entry(flights, i, &views[count++]);
	}
	if (count == max)
	{
		SpinLockAcquire(&js_my_seat->mutex);
		flights->cancels = true;
		SpinLockRelease(&js_my_seat->mutex);
	}
	return count;
}

/*
 * The run has come to its end, and cannot be cancelled any more.  Returns why
 * it has been before.
 */
JsCancel
js_flight_close(int index)
{
	JsCancel	cancel;

	SpinLockAcquire(&js_my_seat->mutex);
	js_my_seat->flights->entries[index].closing = true;
	cancel = js_my_seat->flights->entries[index].mail.cancel;
	SpinLockRelease(&js_my_seat->mutex);
	return cancel;
}

/* The ends of these runs are recorded. */
void
js_flight_finish(const int *indexes, const JsDone *done, int count)
{
	JsSeat	   *seat = js_my_seat;
	JsFlights  *flights = seat->flights;
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&seat->mutex);
	for (int i = 0; i < count; i++)
	{
		free_entry(flights, indexes[i]);
		flights->done[(flights->done_head + flights->done_count++) % flights->capacity] = done[i];
	}
	seat->runs += count;
	seat->idle_since = now;
	SpinLockRelease(&seat->mutex);

	LWLockAcquire(js->lock, LW_SHARED);
	js_database_wake(js_database_find_locked(seat->dboid));
	LWLockRelease(js->lock);
}
