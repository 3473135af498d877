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
js_flights_init(JsSlot *slot, char *memory)
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
	slot->flights = flights;
	js_flights_reset(slot);
}

/* All entries are free.  Caller holds the mutex, or nobody else is there. */
void
js_flights_reset(JsSlot *slot)
{
	JsFlights  *flights = slot->flights;

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
js_flight_load(int slotno, int *most, int *in_use)
{
	JsSlot	   *slot = &js->slots[slotno];

	SpinLockAcquire(&slot->mutex);
	*most = slot->flights->most;
	*in_use = slot->flights->used + slot->flights->done_count;
	SpinLockRelease(&slot->mutex);
}

/* Returns the entry that the run is in; -1: it is not to be had. */
int
js_flight_deliver(int slotno, uint32 generation, const JsMail *mail)
{
	JsSlot	   *slot = &js->slots[slotno];
	JsFlights  *flights = slot->flights;
	int			index = -1;

	LWLockAcquire(js->lock, LW_SHARED);
	if (slot->state == JS_SLOT_READY && slot->generation == generation)
	{
		SpinLockAcquire(&slot->mutex);
		if (flights->used + flights->done_count < flights->capacity)
		{
			index = flights->first_free;
			flights->first_free = flights->entries[index].next_free;
			flights->used++;
			flights->entries[index].mail = *mail;
			flights->entries[index].taken = flights->entries[index].closing = false;
			flights->mail[(flights->mail_head + flights->mail_count++) % flights->capacity] = index;
		}
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(js->lock);
	return index;
}

/* Takes back some of the runs that the worker has not begun; 0: there are none. */
int
js_flight_take_back(int slotno, int64 *run_ids, int max)
{
	JsSlot	   *slot = &js->slots[slotno];
	JsFlights  *flights = slot->flights;
	int			count;

	SpinLockAcquire(&slot->mutex);
	count = Min(flights->mail_count, max);
	for (int i = 0; i < count; i++)
	{
		int			index = flights->mail[flights->mail_head];

		flights->mail_head = (flights->mail_head + 1) % flights->capacity;
		flights->mail_count--;
		run_ids[i] = flights->entries[index].mail.run_id;
		free_entry(flights, index);
	}
	SpinLockRelease(&slot->mutex);
	return count;
}

int
js_flight_take_done(int slotno, JsDone *done, int max)
{
	JsSlot	   *slot = &js->slots[slotno];
	JsFlights  *flights = slot->flights;
	int			count;

	SpinLockAcquire(&slot->mutex);
	count = Min(flights->done_count, max);
	for (int i = 0; i < count; i++)
		done[i] = flights->done[(flights->done_head + i) % flights->capacity];
	flights->done_head = (flights->done_head + count) % flights->capacity;
	flights->done_count -= count;
	SpinLockRelease(&slot->mutex);
	return count;
}

/*
 * Marks a run as one that is to end, and wakes the worker.  False when it is
 * not there any more, or has come to its end.
 */
bool
js_flight_cancel(int slotno, uint32 generation, int index, int64 run_id, JsCancel why)
{
	JsSlot	   *slot = &js->slots[slotno];
	JsFlight   *flight = &slot->flights->entries[index];
	bool		marked = false;

	LWLockAcquire(js->lock, LW_SHARED);
	if (slot->generation == generation && slot->state == JS_SLOT_READY)
	{
		SpinLockAcquire(&slot->mutex);
		marked = flight->mail.run_id == run_id && !flight->closing;
		if (marked && flight->mail.cancel == JS_CANCEL_NONE)
			flight->mail.cancel = why;
		slot->flights->cancels |= marked;
		SpinLockRelease(&slot->mutex);
		if (marked && slot->proc != NULL)
			SetLatch(&slot->proc->procLatch);
	}
	LWLockRelease(js->lock);
	return marked;
}

/*
 * Copies some entries that are in use, beginning with number "from"; returns
 * how many.  The next ones begin after the last of these.
 */
int
js_flight_look(int slotno, int from, JsFlightView *views, int max)
{
	JsSlot	   *slot = &js->slots[slotno];
	JsFlights  *flights = slot->flights;
	int			count = 0;

	for (int i = from; i < flights->capacity && count < max; i++)
	{
		if (flights->entries[i].mail.run_id == 0)
			continue;			/* without the mutex: a hint */
		SpinLockAcquire(&slot->mutex);
		if (flights->entries[i].mail.run_id != 0)
			view_entry(flights, i, &views[count++]);
		SpinLockRelease(&slot->mutex);
	}
	return count;
}

/* An entry of a dead worker has been accounted for. */
void
js_flight_release(int slotno, int index)
{
	JsSlot	   *slot = &js->slots[slotno];

	SpinLockAcquire(&slot->mutex);
	if (slot->flights->entries[index].mail.run_id != 0)
		free_entry(slot->flights, index);
	SpinLockRelease(&slot->mutex);
}

/* ------------------------------------------------------------------------
 * The worker's side
 * ------------------------------------------------------------------------
 */

/* There are fewer places than there could be. */
void
js_flight_limit(int most)
{
	SpinLockAcquire(&js_my_slot->mutex);
	js_my_slot->flights->most = most;
	SpinLockRelease(&js_my_slot->mutex);
}

/* Takes what has been delivered, in order. */
int
js_flight_next(JsFlightView *views, int max)
{
	JsFlights  *flights = js_my_slot->flights;
	TimestampTz now = js_clock_now();
	int			count;

	SpinLockAcquire(&js_my_slot->mutex);
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
	SpinLockRelease(&js_my_slot->mutex);
	return count;
}

/*
 * Some of the runs that have been marked since this was last asked, max of
 * them at most; if there may be more it is to be asked again.
 */
int
js_flight_cancelled(JsFlightView *views, int max)
{
	JsFlights  *flights = js_my_slot->flights;
	bool		any;
	int			count = 0;

	SpinLockAcquire(&js_my_slot->mutex);
	any = flights->cancels;
	flights->cancels = false;
	SpinLockRelease(&js_my_slot->mutex);
	for (int i = 0; any && i < flights->capacity && count < max; i++)
	{
		const JsFlight *flight = &flights->entries[i];

		if (flight->taken && !flight->closing && flight->mail.cancel != JS_CANCEL_NONE)
			view_entry(flights, i, &views[count++]);
	}
	if (count == max)
	{
		SpinLockAcquire(&js_my_slot->mutex);
		flights->cancels = true;
		SpinLockRelease(&js_my_slot->mutex);
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

	SpinLockAcquire(&js_my_slot->mutex);
	js_my_slot->flights->entries[index].closing = true;
	cancel = js_my_slot->flights->entries[index].mail.cancel;
	SpinLockRelease(&js_my_slot->mutex);
	return cancel;
}

/* The ends of these runs are recorded. */
void
js_flight_finish(const int *indexes, const JsDone *done, int count)
{
	JsSlot	   *slot = js_my_slot;
	JsFlights  *flights = slot->flights;
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&slot->mutex);
	for (int i = 0; i < count; i++)
	{
		free_entry(flights, indexes[i]);
		flights->done[(flights->done_head + flights->done_count++) % flights->capacity] = done[i];
	}
	slot->runs += count;
	slot->idle_since = now;
	SpinLockRelease(&slot->mutex);

	LWLockAcquire(js->lock, LW_SHARED);
	js_database_wake(js_database_find_locked(slot->dboid));
	LWLockRelease(js->lock);
}
