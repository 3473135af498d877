/*-------------------------------------------------------------------------
 *
 * sched_http.c
 *		Deals requests to the HTTP worker, and takes their outcomes.
 *
 * One process executes the HTTP requests of all owners, so they wait in their
 * own queues: an owner has two entries, one for runs of its workers and one for
 * its requests.  Owners take turns; within an owner the order is priority, then
 * keys that take turns (the host is one), then age.
 *
 * The rest is as with workers (sched_dispatch.c), with differences because
 * there are thousands of runs at a time.  Each run has its own entry
 * (shmem_flight.c).  The runs of a dead worker are taken over in portions.  The
 * scheduler does not enforce timeouts here, because no user code can interfere
 * with those of the HTTP worker.
 *
 * A request may have been received when its worker dies.  So such an attempt is
 * lost, and the job's policy says whether there is another.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "mux/mux_share.h"
#include "process/process.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/timestamp.h"

/* Entries looked at, outcomes taken, runs accounted for, in one go. */
#define PORTION 256

/* Between two attempts to start a worker that ends at once. */
#define LONGEST_DELAY (60 * USECS_PER_SEC)

/* How long a process that was registered may take to appear. */
#define START_TIMEOUT (30 * USECS_PER_SEC)

static TimestampTz start_after = 0; /* by the real clock */
static int	start_failures = 0; /* in a row */
static int	reaped[PORTION];	/* entries, before the commit */
static int	reaped_count = 0;
static bool reaped_all = false;

/* ------------------------------------------------------------------------
 * Look
 * ------------------------------------------------------------------------
 */

static void
take_http_done(int seatno)
{
	static JsDone done[PORTION];
	int			count;

	while ((count = js_flight_take_done(seatno, done, PORTION)) > 0)
		for (int i = 0; i < count; i++)
			sched_take_outcome(&done[i]);
}

/* Whether a predecessor has registered a process that has not appeared yet. */
static bool
is_awaited(const SeatEntry *seat)
{
	return seat->view.state == JS_SEAT_STARTING && seat->handle == NULL && seat->view.pid == 0;
}

/* A seat reserved for a process that never came to be. */
static bool
http_start_failed(const SeatEntry *seat)
{
	pid_t		pid;

	if (seat->view.state == JS_SEAT_STARTING && seat->handle != NULL)
		return GetBackgroundWorkerPid(seat->handle, &pid) == BGWH_STOPPED;
	return is_awaited(seat) && GetCurrentTimestamp() - seat->view.started_at > START_TIMEOUT;
}

static bool
http_seat_is_over(const SeatEntry *seat)
{
	return seat->view.state == JS_SEAT_DEAD || http_start_failed(seat);
}

/* Returns whether there is something to be reaped. */
bool
sched_http_look(void)
{
	bool		dead = false;

	for (int i = js->max_seats; i < js->total_seats; i++)
	{
		SeatEntry  *seat = &sched.seats[i];

		if (!seat->mine)
			continue;
		if (!js_seat_look(i, MyDatabaseId, &seat->view))
			elog(ERROR, "seat %d has been lost", i);
		if (seat->foreign)
		{
			dead |= seat->view.state == JS_SEAT_DEAD;
			continue;
		}
		take_http_done(i);
		if (seat->view.state == JS_SEAT_READY)
			start_failures = 0;
		dead |= http_seat_is_over(seat) && GetCurrentTimestamp() >= seat->reap_after;
	}
	return dead;
}

/* ------------------------------------------------------------------------
 * Reap
 * ------------------------------------------------------------------------
 */

static void
note_http_start_failure(const char *message)
{
	start_failures++;
	start_after = GetCurrentTimestamp() + Min((1 << Min(start_failures, 6)) * USECS_PER_SEC, LONGEST_DELAY);
	if (message[0] != '\0')
		sched_tell_error(message);
}

static void
lose(const SeatEntry *seat, const JsFlightView *view, const char *sqlstate, const char *message)
{
	RunEntry   *run = sched_run_find(view->mail.run_id);
	SchedLoss	loss = {0};

	if (run == NULL)
		return;
	loss.cancel = view->mail.cancel;
	loss.worker_pid = seat->view.pid;
	loss.sqlstate = sqlstate[0] ? sqlstate : NULL;
	loss.reason = "worker_died";
	loss.error = message[0] ? message : "the HTTP worker ended without a message";
	sched_lose_run(run, &loss);
}

/* Accounts for some of the runs that a dead worker had taken. */
static void
reap(int seatno)
{
	SeatEntry  *seat = &sched.seats[seatno];
	JsFlightView views[PORTION];
	char		sqlstate[6];
	char		message[JS_ERROR_TEXT];
	bool		held = false;
	int			count;

	take_http_done(seatno);
	sched_take_back(seatno);
	js_seat_last_error(seatno, sqlstate, message);
	count = js_flight_look(seatno, seat->reap_from, views, PORTION);
	for (int i = 0; i < count; i++)
	{
		RunEntry   *run = sched_run_find(views[i].mail.run_id);

		if (run != NULL && !sched_row_is_free(run))
		{
			held = true;		/* somebody has locked it: later */
			continue;
		}
		lose(seat, &views[i], sqlstate, message);
		reaped[reaped_count++] = views[i].index;
	}
	seat->reap_from = count == PORTION ? views[count - 1].index + 1 : 0;
	seat->reap_held |= held;
	if (count == PORTION)
		return;
	reaped_all = !seat->reap_held;
	seat->reap_held = false;
	if (!reaped_all)
		seat->reap_after = GetCurrentTimestamp() + USECS_PER_SEC;
	else if (!seat->view.was_ready)
		note_http_start_failure(message);
}

void
sched_http_reap(void)
{
	reaped_count = 0;
	reaped_all = false;
	for (int i = js->max_seats; i < js->total_seats; i++)
		if (sched.seats[i].mine && !sched.seats[i].foreign && http_seat_is_over(&sched.seats[i]))
			reap(i);
}

static void
release(int seatno)
{
	SeatEntry  *seat = &sched.seats[seatno];

	js_seat_release(seatno);
	seat->mine = seat->foreign = false;
	seat->reap_after = 0;
	seat->reap_from = 0;
	if (seat->handle != NULL)
		pfree(seat->handle);
	seat->handle = NULL;
	if (seatno == sched.http_seat)
		sched.http_seat = -1;
}

/* After the commit. */
void
sched_http_release_reaped(void)
{
	for (int i = 0; i < reaped_count; i++)
		js_flight_release(sched.http_seat, reaped[i]);
	reaped_count = 0;
	if (reaped_all)
		release(sched.http_seat);
	reaped_all = false;
	for (int i = js->max_seats; i < js->total_seats; i++)
		if (sched.seats[i].mine && sched.seats[i].foreign &&
			sched.seats[i].view.state == JS_SEAT_DEAD)
			release(i);
}

/* ------------------------------------------------------------------------
 * Assign and deliver
 * ------------------------------------------------------------------------
 */

static bool
start_http_worker(void)
{
	uint32		generation;
	int			seatno = js_flight_reserve(MyDatabaseId, sched.run_table, &generation);
	SeatEntry  *seat = seatno < 0 ? NULL : &sched.seats[seatno];

	if (seat == NULL ||
		!js_process_register(JS_TYPE_HTTP, "jobsched_http_main", JS_TYPE_HTTP,
							 Int32GetDatum(seatno), generation, sched.context, &seat->handle))
	{
		if (seat != NULL)
		{
			js_seat_release(seatno);
			sched_note_no_process();
		}
		start_after = GetCurrentTimestamp() + USECS_PER_SEC;
		return false;
	}
	seat->mine = true;
	seat->foreign = false;
	seat->generation = generation;
	seat->reap_from = 0;
	(void) js_seat_look(seatno, MyDatabaseId, &seat->view);
	sched.http_seat = seatno;
	return true;
}

/* A clock that was set back must not keep it away. */
static bool
may_start(void)
{
	TimestampTz now = GetCurrentTimestamp();

	start_after = Min(start_after, now + LONGEST_DELAY);
	return now >= start_after;
}

static bool
takes_runs(void)
{
	const SeatEntry *seat;

	if (sched.http_seat < 0)
		return false;
	seat = &sched.seats[sched.http_seat];
	return seat->view.state == JS_SEAT_READY && !seat->view.leave;
}

/* The places of the worker. */
typedef struct Places
{
	JsShare		share;
	int			in_use;
} Places;

static Places
places(void)
{
	Places		places;
	int			most;

	js_flight_load(sched.http_seat, &most, &places.in_use);
	places.share = js_share_of_places(most);
	return places;
}

static bool
waits(const OwnerEntry *owner)
{
	return owner->http && !owner->refused && owner->ready_count > 0;
}

/*
 * Who has many requests under way gets no more when little room is left, so
 * there is always some for who comes new, however long those of others take.
 */
static bool
may_have_more(const OwnerEntry *owner, const Places *places)
{
	return waits(owner) && js_share_may_have_more(places->share, owner->assigned, places->in_use);
}

/* One run of each owner that has any; who got one goes to the end. */
static int
deal_round(Places *places, int most)
{
	dlist_head	served;
	dlist_mutable_iter iter;
	int			count = 0;

	dlist_init(&served);
	dlist_foreach_modify(iter, &sched.owners)
	{
		OwnerEntry *owner = dlist_container(OwnerEntry, node, iter.cur);

		RunEntry   *run;

		if (count == most || !may_have_more(owner, places) || (run = sched_first_ready(owner)) == NULL)
			continue;
		sched_plan(run, sched.http_seat);
		places->in_use++;
		count++;
		dlist_delete(&owner->node);
		dlist_push_tail(&served, &owner->node);
	}
	while (!dlist_is_empty(&served))
		dlist_push_tail(&sched.owners, dlist_pop_head_node(&served));
	return count;
}

/* Whether some may be dealt; NULL: whatever places there are. */
static bool
any_ready(const Places *places)
{
	dlist_iter	iter;

	dlist_foreach(iter, &sched.owners)
	{
		const OwnerEntry *owner = dlist_container(OwnerEntry, node, iter.cur);

		if (places == NULL ? waits(owner) : may_have_more(owner, places))
			return true;
	}
	return false;
}

static bool
may_deal(void)
{
	Places		there = places();

	return any_ready(&there);
}

/* Plans at most so many runs. */
void
sched_http_assign(int most)
{
	Places		there;
	int			count;

	if (!any_ready(NULL))
		return;
	if (sched.http_seat < 0 && js->total_seats > js->max_seats && may_start())
		(void) start_http_worker();
	if (!takes_runs())
		return;
	there = places();
	while (most > 0 && (count = deal_round(&there, most)) > 0)
		most -= count;
}

/* When, by the real clock, the next step has to look. */
TimestampTz
sched_http_deadline(void)
{
	TimestampTz deadline = DT_NOEND;

	if (sched.http_seat >= 0 && is_awaited(&sched.seats[sched.http_seat]))
		deadline = sched.seats[sched.http_seat].view.started_at + START_TIMEOUT + 1;
	else if (sched.http_seat >= 0 && sched.seats[sched.http_seat].view.state == JS_SEAT_DEAD)
		deadline = sched.seats[sched.http_seat].reap_after;
	else if (sched.http_seat < 0 && sched_can_assign() && any_ready(NULL) && js->total_seats > js->max_seats)
		deadline = start_after;
	else if (takes_runs() && sched_can_assign() && may_deal())
		deadline = DT_NOBEGIN;	/* a step takes on only so many */
	return deadline;
}

/* ------------------------------------------------------------------------
 * Start
 * ------------------------------------------------------------------------
 */

static void
adopt_flights(int seatno)
{
	JsFlightView views[PORTION];
	int			from = 0;
	int			count;

	do
	{
		count = js_flight_look(seatno, from, views, PORTION);
		for (int i = 0; i < count; i++)
		{
			RunEntry   *run = sched_run_find(views[i].mail.run_id);

			from = views[i].index + 1;
			if (run == NULL)
				continue;
			sched_run_place(run, RUN_ASSIGNED);
			run->seat = seatno;
			run->flight = views[i].index;
			run->cancel = views[i].mail.cancel;
			run->cancel_at = GetCurrentTimestamp();
		}
	} while (count == PORTION);
}

/* Takes over the HTTP worker of a predecessor. */
void
sched_http_adopt(void)
{
	int64		ids[PORTION];

	for (int i = js->max_seats; i < js->total_seats; i++)
	{
		SeatEntry  *seat = &sched.seats[i];

		if (!js_seat_look(i, MyDatabaseId, &seat->view))
			continue;
		seat->mine = true;
		seat->generation = seat->view.generation;
		seat->foreign = seat->view.run_table != sched.run_table;
		if (seat->foreign)
			continue;
		sched.http_seat = i;
		while (js_flight_take_back(i, ids, PORTION) > 0)
			;
		adopt_flights(i);
	}
}
