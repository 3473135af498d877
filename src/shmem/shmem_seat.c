/*-------------------------------------------------------------------------
 *
 * shmem_seat.c
 *		Shared memory: seats of workers, mailboxes and outcomes.
 *
 * The states of a seat and the lock protocol are in shmem.c.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

JsSeat	   *js_my_seat = NULL;
static uint32 my_generation;

/* ------------------------------------------------------------------------
 * Seats: the scheduler's side
 * ------------------------------------------------------------------------
 */

static void
reset_seat(JsSeat *seat)
{
	SpinLockAcquire(&seat->mutex);
	seat->mail_head = seat->mail_count = 0;
	seat->current_count = 0;
	seat->done_count = 0;
	if (seat->flights != NULL)
		js_flights_reset(seat);
	seat->runs = 0;
	seat->idle_since = GetCurrentTimestamp();
	seat->progress_done = seat->progress_total = -1;
	seat->progress_text[0] = '\0';
	seat->last_error[0] = '\0';
	seat->last_sqlstate[0] = '\0';
	SpinLockRelease(&seat->mutex);
}

/* For a process that is about to be started.  Caller holds js->lock. */
static void
take_seat(JsSeat *seat, Oid dboid, Oid owner, Oid run_table, uint32 *generation)
{
	reset_seat(seat);
	seat->state = JS_SEAT_STARTING;
	seat->generation++;
	seat->dboid = dboid;
	seat->owner = owner;
	seat->run_table = run_table;
	seat->proc = NULL;
	seat->pid = 0;
	seat->started_at = GetCurrentTimestamp();
	seat->leave = seat->expelled = seat->was_ready = false;
	seat->told_at = 0;
	*generation = seat->generation;
}

/* ------------------------------------------------------------------------
 * Places: who may have a worker
 *
 * There are jobsched.max_workers places, which any role may have.  Beyond them
 * are jobsched.spare_workers for roles that have none at all, in no database;
 * so what one role executes cannot keep another's run from starting.  When
 * those are taken too, whoever has several places, or has had one for a while,
 * gives one back at the end of a run.  A worker that does not end though it
 * was told to counts only against its own role.
 *
 * A database in which roles have none and wait for one stands in a queue, with
 * one number for all of them.  Who is in front gets what becomes free; a role
 * that has some gets no further one before that.  A database whose role got
 * its worker, and in which others wait, goes to the end.  Within a database
 * the role that was served longest ago comes first (start_round() in
 * sched_dispatch.c).  So whoever waits is overtaken at most once by each other.
 *
 * A number is given up when the role's process is registered, when nobody waits
 * any more, and when the scheduler ends.  While a scheduler does not ask though
 * there is a place, others pass it by after a second.
 * ------------------------------------------------------------------------
 */

/* How long a free place is left to who is in front. */
#define ABSENT_US USECS_PER_SEC

/* How long an idle worker may take to make room before a spare place is used. */
#define CLEARING_US (100 * 1000)

/* Caller holds js->lock. */
static int
seats_of_role(Oid owner)
{
	int			count = 0;

	for (int i = 0; i < js->max_seats; i++)
		count += js->seats[i].state != JS_SEAT_FREE && js->seats[i].owner == owner;
	return count;
}

/* How many seats an owner has in a database.  Caller holds js->lock. */
static int
seats_of(Oid dboid, Oid owner)
{
	int			count = 0;

	for (int i = 0; i < js->max_seats; i++)
		count += js->seats[i].state != JS_SEAT_FREE &&
			js->seats[i].dboid == dboid && js->seats[i].owner == owner;
	return count;
}

/* When it was told to end, if it has not for too long; else 0. */
static TimestampTz
unresponsive_since(JsSeat *seat)
{
	TimestampTz told_at;

	SpinLockAcquire(&seat->mutex);
	told_at = seat->told_at;
	SpinLockRelease(&seat->mutex);
	if (seat->proc == NULL || told_at == 0 || GetCurrentTimestamp() - told_at < JS_UNRESPONSIVE_US)
		return 0;
	return told_at;
}

static TimestampTz
busy_since(JsSeat *seat)
{
	TimestampTz since;

	SpinLockAcquire(&seat->mutex);
	since = seat->proc != NULL && seat->current_count > 0 ? seat->busy_since : 0;
	SpinLockRelease(&seat->mutex);
	return since;
}

static int
find_seats(TimestampTz (*since_of) (JsSeat *seat), TimestampTz before, JsUnresponsive *found, int most)
{
	int			count = 0;

	LWLockAcquire(js->lock, LW_SHARED);
	for (int i = 0; i < js->max_seats && count < most; i++)
	{
		JsSeat	   *seat = &js->seats[i];
		TimestampTz since = since_of(seat);
		int64		run_id = seat->current_count > 0 ? seat->current[0].run_id : 0;

		if (seat->state == JS_SEAT_FREE || since == 0 || since > before)
			continue;
		found[count++] = (JsUnresponsive)
		{
			seat->dboid, seat->owner, seat->pid, run_id, since
		};
	}
	LWLockRelease(js->lock);
	return count;
}

/* Workers of all databases that were told to end, and do not. */
int
js_seats_unresponsive(JsUnresponsive *found, int most)
{
	return find_seats(unresponsive_since, DT_NOEND, found, most);
}

/* Those that have been executing what they execute for so long. */
int
js_seats_busy(int64 for_us, JsUnresponsive *found, int most)
{
	return find_seats(busy_since, GetCurrentTimestamp() - for_us, found, most);
}

/* Places that are taken, as a role sees it.  Caller holds js->lock. */
static int
places_taken(Oid owner)
{
	int			count = 0;

	for (int i = 0; i < js->max_seats; i++)
	{
		JsSeat	   *seat = &js->seats[i];

		count += seat->state != JS_SEAT_FREE &&
			(seat->owner == owner || unresponsive_since(seat) == 0);
	}
	return count;
}

static bool
seat_is_idle(const JsSeat *seat)
{
	return seat->current_count == 0 && seat->mail_count == 0;
}

/* Not so long ago, by a clock that may have been set back. */
static bool
is_recent(TimestampTz at, int64 us)
{
	TimestampTz now = GetCurrentTimestamp();

	return at <= now && now - at < us;
}

/* When there are more owners than workers, each keeps one for a while. */
static bool
has_had_its_turn(const JsSeat *seat)
{
	return !is_recent(seat->started_at, USECS_PER_SEC);
}

/* One that has only just come is about to get the run for which it was started. */
static bool
may_leave_idle(const JsSeat *seat)
{
	return seat->state == JS_SEAT_READY && seat_is_idle(seat) &&
		(seat->runs > 0 || has_had_its_turn(seat));
}

/* The worker of somebody else that has been idle longest.  Caller holds js->lock. */
static JsSeat *
longest_idle(Oid dboid, Oid owner)
{
	JsSeat	   *found = NULL;

	for (int i = 0; i < js->max_seats; i++)
	{
		JsSeat	   *seat = &js->seats[i];

		if (may_leave_idle(seat) &&
			(seat->dboid != dboid || seat->owner != owner) &&
			(found == NULL || seat->leave || (!found->leave && seat->idle_since < found->idle_since)))
			found = seat;
	}
	return found;
}

/* Databases that come before a number.  Caller holds js->lock. */
static int
databases_before(uint64 number)
{
	int			count = 0;

	for (int i = 0; i < js->max_databases; i++)
	{
		JsDatabase *db = &js->databases[i];

		count += db->seat_number != 0 && db->seat_number < number &&
			(is_recent(db->seat_asked_at, ABSENT_US) || is_recent(db->seat_offered_at, ABSENT_US));
	}
	return count;
}

/* A role that has no place asks for one: its database stands in the queue.  Caller holds js->lock. */
static void
stand_in_queue(JsDatabase *db)
{
	db->seat_asked_at = GetCurrentTimestamp();
	db->seat_offered_at = 0;
	if (db->seat_number != 0)
		return;
	db->seat_number = ++js->last_seat_number;
	db->seat_since = db->seat_asked_at;
}

/* Whether a role that has some places may have one more now.  Caller holds js->lock. */
static JsPlace
judge_further_place(Oid owner)
{
	if (places_taken(owner) >= js_guc_max_workers)
		return JS_PLACE_NONE;
	return databases_before(PG_UINT64_MAX) > 0 ? JS_PLACE_BEHIND : JS_PLACE_GRANTED;
}

/* A worker that cannot be asked to leave yet may be in a moment.  Caller holds js->lock. */
static bool
somebody_is_new(void)
{
	for (int i = 0; i < js->max_seats; i++)
		if (js->seats[i].state == JS_SEAT_STARTING ||
			(js->seats[i].state == JS_SEAT_READY && !has_had_its_turn(&js->seats[i])))
			return true;
	return false;
}

/* Whether a role that has none may have one now.  Caller holds js->lock. */
static JsPlace
judge_first_place(JsDatabase *db, Oid owner)
{
	int			most = js_guc_max_workers + js_guc_spare_workers;
	int			taken = places_taken(owner);
	int			before = databases_before(db->seat_number);

	if (js_guc_max_workers == 0)
		return JS_PLACE_NONE;
	if (taken + before < js_guc_max_workers)
		return JS_PLACE_GRANTED;
	if (taken >= most)
		return somebody_is_new() ? JS_PLACE_LATER : JS_PLACE_NONE;
	if (taken + before >= most)
		return JS_PLACE_BEHIND;
	if (longest_idle(db->dboid, owner) != NULL && is_recent(db->seat_since, CLEARING_US))
		return JS_PLACE_LATER;
	return JS_PLACE_GRANTED;
}

static int
free_seat(void)
{
	for (int i = 0; i < js->max_seats; i++)
		if (js->seats[i].state == JS_SEAT_FREE)
			return i;
	return -1;
}

/*
 * Takes a seat for a worker that is about to be started, if the owner can have a
 * place now.  If not, the caller is woken when one becomes free; with
 * JS_PLACE_LATER it should ask again soon in any case.  Whoever waits for the
 * first one of a role says so with js_seat_wait_over() when that is over.
 */
JsSeatOffer
js_seat_reserve(JsDatabase *db, Oid owner, Oid run_table)
{
	JsSeatOffer offer = {.seatno = -1};

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	offer.first = seats_of_role(owner) == 0;
	if (offer.first)
		stand_in_queue(db);
	offer.place = offer.first ? judge_first_place(db, owner) : judge_further_place(owner);
	if (offer.place == JS_PLACE_GRANTED && (offer.seatno = free_seat()) < 0)
		offer.place = JS_PLACE_NONE;
	if (offer.place == JS_PLACE_GRANTED)
		take_seat(&js->seats[offer.seatno], db->dboid, owner, run_table, &offer.generation);
	else
		js->seat_wanted = true;
	LWLockRelease(js->lock);
	return offer;
}

/*
 * Takes the seat of an HTTP worker for one that is about to be started; -1:
 * there is none.
 */
int
js_flight_reserve(Oid dboid, Oid run_table, uint32 *generation)
{
	int			found = -1;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	for (int i = js->max_seats; i < js->total_seats && found < 0; i++)
		if (js->seats[i].state == JS_SEAT_FREE)
			found = i;
	if (found >= 0)
		take_seat(&js->seats[found], dboid, InvalidOid, run_table, generation);
	LWLockRelease(js->lock);
	return found;
}

/*
 * A worker is idle that could be asked to leave.  The flag is read without the lock: who sets it has just looked at all seats, and does
 * so again when the next run ends.
 */
static void
wake_who_wants_a_seat(void)
{
	if (!js->seat_wanted)
		return;
	js->seat_wanted = false;
	js_databases_wake();
}

void
js_seat_release(int seatno)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	js->seats[seatno].state = JS_SEAT_FREE;
	if (seatno < js->max_seats)
		js_databases_offer_seat();
	LWLockRelease(js->lock);
}

/* Who was asked to make room need not, if nobody waits.  Caller holds js->lock. */
static bool
end_leaving(void)
{
	bool		any = false;

	for (int i = 0; i < js->max_databases; i++)
		if (js->databases[i].seat_number != 0)
			return false;
	for (int i = 0; i < js->max_seats; i++)
	{
		any |= js->seats[i].leave;
		js->seats[i].leave = false;
	}
	return any;
}

/*
 * A role of the database that had no worker has one, or none waits any more.
 * Those who stand behind may have been told to wait for that, and who stays may
 * get runs again.
 */
void
js_seat_wait_over(JsDatabase *db)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	if (db->seat_number != 0)
	{
		bool		some_stay;

		db->seat_number = 0;
		some_stay = end_leaving();
		if (some_stay || js->seat_wanted)
		{
			js->seat_wanted = false;
			js_databases_wake_locked();
		}
	}
	LWLockRelease(js->lock);
}

/* Sessions of workers: of a role in all databases, or in a database of all roles. */
int
js_seat_sessions(Oid dboid, Oid owner)
{
	int			count = 0;

	LWLockAcquire(js->lock, LW_SHARED);
	for (int i = 0; i < js->max_seats; i++)
		if ((js->seats[i].state == JS_SEAT_STARTING || js->seats[i].proc != NULL) &&
			js->seats[i].state != JS_SEAT_FREE &&
			(js->seats[i].dboid == dboid || js->seats[i].owner == owner))
			count++;
	LWLockRelease(js->lock);
	return count;
}

/*
 * Asks workers of others to make room when they have nothing to do: the one
 * that has been idle longest; if none is, and the owner has no worker at all,
 * all of those who have several, or have had their turn.  The first that ends
 * what it executes makes room for it.
 */
void
js_seat_ask_to_leave(Oid dboid, Oid owner)
{
	JsSeat	   *idle;
	bool		has_none;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	idle = longest_idle(dboid, owner);
	has_none = seats_of(dboid, owner) == 0;
	for (int i = 0; i < js->max_seats; i++)
	{
		JsSeat	   *seat = &js->seats[i];

		if (seat->state == JS_SEAT_READY && (seat->dboid != dboid || seat->owner != owner) &&
			(idle != NULL ? seat == idle :
			 has_none && (seats_of_role(seat->owner) > 1 || has_had_its_turn(seat))))
		{
			seat->leave = true;
			SetLatch(&seat->proc->procLatch);
		}
	}
	LWLockRelease(js->lock);
}

/*
 * Puts a run into a worker's mailbox.  False when the worker is no longer
 * there or has no room for it; the caller then keeps the run.
 */
bool
js_seat_deliver(int seatno, uint32 generation, const JsMail *mail)
{
	JsSeat	   *seat = &js->seats[seatno];
	bool		ok;

	LWLockAcquire(js->lock, LW_SHARED);
	ok = seat->state == JS_SEAT_READY && seat->generation == generation;
	if (ok)
	{
		SpinLockAcquire(&seat->mutex);
		ok = seat->mail_count + seat->done_count + seat->current_count < JS_MAILBOX_SIZE;
		if (ok)
		{
			seat->mail[(seat->mail_head + seat->mail_count) % JS_MAILBOX_SIZE] = *mail;
			seat->mail_count++;
		}
		SpinLockRelease(&seat->mutex);
	}
	LWLockRelease(js->lock);
	return ok;
}

/* False when the seat is not one of this database. */
bool
js_seat_look(int seatno, Oid dboid, JsSeatView *view)
{
	JsSeat	   *seat = &js->seats[seatno];
	bool		mine;

	LWLockAcquire(js->lock, LW_SHARED);
	mine = seat->state != JS_SEAT_FREE && seat->dboid == dboid;
	if (mine)
	{
		view->state = seat->state;
		view->generation = seat->generation;
		view->owner = seat->owner;
		view->run_table = seat->run_table;
		view->pid = seat->pid;
		view->started_at = seat->started_at;
		view->leave = seat->leave;
		view->was_ready = seat->was_ready;
		SpinLockAcquire(&seat->mutex);
		view->mail_count = seat->mail_count;
		view->current_count = seat->current_count;
		memcpy(view->current, seat->current, seat->current_count * sizeof(JsMail));
		view->turn = seat->turn;
		view->busy_since = seat->busy_since;
		view->done_count = seat->done_count;
		SpinLockRelease(&seat->mutex);
	}
	LWLockRelease(js->lock);
	return mine;
}

/* Why the process of a dead seat ended: sqlstate[6], message[JS_ERROR_TEXT]. */
void
js_seat_last_error(int seatno, char *sqlstate, char *message)
{
	JsSeat	   *seat = &js->seats[seatno];

	SpinLockAcquire(&seat->mutex);
	strlcpy(sqlstate, seat->last_sqlstate, sizeof(seat->last_sqlstate));
	strlcpy(message, seat->last_error, sizeof(seat->last_error));
	SpinLockRelease(&seat->mutex);
}

/* Takes back the runs that a worker has not begun. */
int
js_seat_take_back(int seatno, JsMail *mail)
{
	JsSeat	   *seat = &js->seats[seatno];
	int			count;

	SpinLockAcquire(&seat->mutex);
	count = seat->mail_count;
	for (int i = 0; i < count; i++)
		mail[i] = seat->mail[(seat->mail_head + i) % JS_MAILBOX_SIZE];
	seat->mail_count = 0;
	SpinLockRelease(&seat->mutex);
	return count;
}

int
js_seat_take_done(int seatno, JsDone *done)
{
	JsSeat	   *seat = &js->seats[seatno];
	int			count;

	SpinLockAcquire(&seat->mutex);
	count = seat->done_count;
	memcpy(done, seat->done, count * sizeof(JsDone));
	seat->done_count = 0;
	SpinLockRelease(&seat->mutex);
	return count;
}

void
js_seat_wake(int seatno)
{
	JsSeat	   *seat = &js->seats[seatno];

	LWLockAcquire(js->lock, LW_SHARED);
	if (seat->proc != NULL)
		SetLatch(&seat->proc->procLatch);
	LWLockRelease(js->lock);
}

/* ------------------------------------------------------------------------
 * Seats: the worker's side
 * ------------------------------------------------------------------------
 */

/* Caller holds js->lock. */
static void
wake_scheduler_of(Oid dboid)
{
	js_database_wake(js_database_find_locked(dboid));
}

/* Whatever ends the process, its scheduler learns of it at once. */
static void
seat_exit(int code, Datum arg)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	if (js_my_seat->generation == my_generation)
	{
		JsDatabase *db = js_database_find_locked(js_my_seat->dboid);

		js_my_seat->state = db ? JS_SEAT_DEAD : JS_SEAT_FREE;
		js_my_seat->proc = NULL;
		if (db == NULL)
			js_databases_offer_seat();
		wake_scheduler_of(js_my_seat->dboid);
		if (db != NULL && db->unlisted && js->launcher != NULL)
			SetLatch(&js->launcher->procLatch);
	}
	LWLockRelease(js->lock);
	js_my_seat = NULL;
	ConditionVariableBroadcast(&js->departed);
}

/*
 * Takes possession of the seat that this worker was started for, or exits if
 * it has been given up in the meantime.
 */
void
js_seat_attach(int seatno, uint32 generation)
{
	JsSeat	   *seat = &js->seats[seatno];

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	if (seat->state != JS_SEAT_STARTING || seat->generation != generation)
	{
		LWLockRelease(js->lock);
		proc_exit(0);
	}
	seat->proc = MyProc;
	seat->pid = MyProcPid;
	js_my_seat = seat;
	my_generation = generation;
	LWLockRelease(js->lock);
	before_shmem_exit(seat_exit, 0);
}

void
js_seat_ready(void)
{
	bool		ours;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	ours = js_my_seat->state == JS_SEAT_STARTING && js_my_seat->generation == my_generation;
	if (ours)
	{
		js_my_seat->state = JS_SEAT_READY;
		js_my_seat->was_ready = true;
		wake_scheduler_of(js_my_seat->dboid);
	}
	LWLockRelease(js->lock);
	if (!ours)
		proc_exit(0);			/* it has been given up meanwhile */
}

bool
js_seat_has_mail(void)
{
	bool		has;

	SpinLockAcquire(&js_my_seat->mutex);
	has = js_my_seat->mail_count > 0;
	SpinLockRelease(&js_my_seat->mutex);
	return has;
}

/* Caller holds the seat's mutex. */
static const JsMail *
first_mail(const JsSeat *seat)
{
	return seat->mail_count > 0 ? &seat->mail[seat->mail_head] : NULL;
}

/* Caller holds the seat's mutex. */
static void
begin_mail(JsSeat *seat)
{
	seat->current[seat->current_count++] = *first_mail(seat);
	seat->mail_head = (seat->mail_head + 1) % JS_MAILBOX_SIZE;
	seat->mail_count--;
}

/*
 * Begins what is next in the mailbox: one run, or several in a row that may
 * share a transaction.  Returns how many; mail has room for JS_BATCH_SIZE.
 */
int
js_seat_next(JsMail *mail)
{
	JsSeat	   *seat = js_my_seat;
	TimestampTz now = js_clock_now();
	TimestampTz real_now = GetCurrentTimestamp();
	int			count;

	SpinLockAcquire(&seat->mutex);
	if (seat->mail_count > 0 && !seat->expelled)
		begin_mail(seat);
	while (seat->mail_count > 0 && seat->current_count > 0 &&
		   seat->current_count < JS_BATCH_SIZE &&
		   seat->current[0].shares && first_mail(seat)->shares)
		begin_mail(seat);
	count = seat->current_count;
	memcpy(mail, seat->current, count * sizeof(JsMail));
	seat->closing = false;
	seat->turn = 0;
	seat->current_since = now;
	seat->busy_since = real_now;
	seat->progress_done = seat->progress_total = -1;
	seat->progress_text[0] = '\0';
	seat->last_error[0] = '\0';
	seat->last_sqlstate[0] = '\0';
	SpinLockRelease(&seat->mutex);
	return count;
}

/* Caller holds the seat's mutex.  run_id 0: any current run. */
static JsCancel
is_cancelled(const JsSeat *seat, int64 run_id)
{
	for (int i = 0; i < seat->current_count; i++)
		if (seat->current[i].cancel != JS_CANCEL_NONE &&
			(run_id == 0 || seat->current[i].run_id == run_id))
			return seat->current[i].cancel;
	return JS_CANCEL_NONE;
}

/* Whether and why a current run, or with 0 any of them, has been cancelled. */
JsCancel
js_seat_is_cancelled(int64 run_id)
{
	JsCancel	cancelled;

	SpinLockAcquire(&js_my_seat->mutex);
	cancelled = is_cancelled(js_my_seat, run_id);
	SpinLockRelease(&js_my_seat->mutex);
	return cancelled;
}

/*
 * A current run, or with 0 all of them, has come to the point of no return.
 * False when it has been cancelled before; after this it cannot be any more.
 */
bool
js_seat_close(int64 run_id)
{
	bool		cancelled;

	SpinLockAcquire(&js_my_seat->mutex);
	cancelled = is_cancelled(js_my_seat, run_id) != JS_CANCEL_NONE;
	js_my_seat->closing = !cancelled;
	SpinLockRelease(&js_my_seat->mutex);
	return !cancelled;
}

/* One of the current runs is executed by itself, and can be cancelled. */
void
js_seat_begin(int64 run_id)
{
	SpinLockAcquire(&js_my_seat->mutex);
	js_my_seat->turn = run_id;
	js_my_seat->closing = false;
	SpinLockRelease(&js_my_seat->mutex);
}

/* Who cancelled holds the lock until the signal is sent: waits for that. */
void
js_seat_await_cancel(void)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	LWLockRelease(js->lock);
}

/*
 * The current runs have ended and their ends are recorded.  The scheduler is woken
 * when the mailbox is getting empty, and always when someone waits for a run.
 */
void
js_seat_finish(const JsDone *done, int count)
{
	JsSeat	   *seat = js_my_seat;
	TimestampTz now = GetCurrentTimestamp();
	JsDatabase *db;
	bool		cancelled;
	int			left;

	SpinLockAcquire(&seat->mutex);
	cancelled = is_cancelled(seat, 0) != JS_CANCEL_NONE;
	memcpy(seat->done + seat->done_count, done, count * sizeof(JsDone));
	seat->done_count += count;
	seat->current_count = 0;
	seat->runs += count;
	seat->idle_since = now;
	left = seat->mail_count;
	SpinLockRelease(&seat->mutex);

	LWLockAcquire(js->lock, LW_SHARED);
	db = js_database_find_locked(seat->dboid);
	if (db != NULL &&
		(left <= JS_MAILBOX_SIZE / 8 || pg_atomic_read_u32(&db->waiters) > 0))
		js_database_wake(db);
	LWLockRelease(js->lock);
	if (left == 0)
		wake_who_wants_a_seat();
	if (cancelled)
		js_seat_await_cancel();
}

/*
 * Whether there are more workers than there should be, and this one is one too
 * many: not if it is its owner's only one, in a spare place.  Caller holds
 * js->lock.
 */
static bool
is_superfluous(const JsSeat *seat)
{
	int			in_use = 0;

	for (int i = 0; i < js->max_seats; i++)
		in_use += js->seats[i].state == JS_SEAT_STARTING || js->seats[i].state == JS_SEAT_READY;
	return in_use > js_guc_max_workers &&
		(js_guc_max_workers == 0 || seats_of_role(seat->owner) > 1 ||
		 in_use > js_guc_max_workers + js_guc_spare_workers);
}

/*
 * Gives the seat up unless a run has just been delivered.  After this no
 * scheduler delivers to it any more.  Who is expelled leaves its mail behind:
 * it was not begun, and goes back to the queue.
 */
bool
js_seat_leave_if_idle(bool idle_too_long)
{
	bool		leave;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	leave = js_my_seat->expelled ||
		((idle_too_long || js_my_seat->leave || is_superfluous(js_my_seat)) &&
		 js_my_seat->mail_count == 0 &&
		 (js_my_seat->flights == NULL || js_my_seat->flights->used == 0));
	if (leave)
		js_my_seat->state = JS_SEAT_LEAVING;
	else
		js_my_seat->leave = false;
	LWLockRelease(js->lock);
	return leave;
}

/* Copies whole characters only, as many as there is room for. */
void
js_clip_text(char *to, const char *from, Size size)
{
	int			length = pg_mbcliplen(from, strlen(from), size - 1);

	memset(to, 0, size);
	memcpy(to, from, length);
}

/* What view running shows of the current run; -1 and NULL: not known. */
void
js_seat_progress(int64 done, int64 total, const char *text)
{
	JsSeat	   *seat = js_my_seat;
	char		cut[JS_PROGRESS_TEXT];

	js_clip_text(cut, text ? text : "", sizeof(cut));
	SpinLockAcquire(&seat->mutex);
	seat->progress_done = done;
	seat->progress_total = total;
	memcpy(seat->progress_text, cut, sizeof(cut));
	SpinLockRelease(&seat->mutex);
}

/* Keeps why the process is about to end: there is no other witness. */
void
js_seat_note_error(const char *sqlstate, const char *message)
{
	char		cut[JS_ERROR_TEXT];

	js_clip_text(cut, message, sizeof(cut));
	SpinLockAcquire(&js_my_seat->mutex);
	strlcpy(js_my_seat->last_sqlstate, sqlstate, sizeof(js_my_seat->last_sqlstate));
	memcpy(js_my_seat->last_error, cut, sizeof(cut));
	SpinLockRelease(&js_my_seat->mutex);
}

/* ------------------------------------------------------------------------
 * Seats: cancelling what they execute, by the scheduler
 * ------------------------------------------------------------------------
 */

/* Caller holds the seat's mutex. */
static bool
mark_cancelled(JsSeat *seat, int64 run_id, JsCancel why)
{
	for (int i = 0; i < seat->current_count; i++)
		if (seat->current[i].run_id == run_id)
		{
			if (seat->current[i].cancel == JS_CANCEL_NONE)
				seat->current[i].cancel = why;
			return true;
		}
	return false;
}

/*
 * Marks a current run as one that is to end, and sends its worker a signal:
 * SIGINT interrupts it, unless it has come to the point of no return; SIGTERM
 * ends the worker, also after that: if the run's end is committed by then, it
 * stands.  In a batch that is executed one by one, a run whose turn has not
 * come sees the mark when it comes.
 *
 * The signal is sent under the lock that the worker needs to leave its seat,
 * so it cannot reach a stranger that has got the same pid.
 */
void
js_seat_signal(int seatno, uint32 generation, int64 run_id, JsCancel why, int signo)
{
	JsSeat	   *seat = &js->seats[seatno];
	TimestampTz now = GetCurrentTimestamp();
	bool		hit = false;

	LWLockAcquire(js->lock, LW_SHARED);
	if (seat->state == JS_SEAT_READY && seat->generation == generation)
	{
		SpinLockAcquire(&seat->mutex);
		if (!seat->closing || signo == SIGTERM)
			hit = mark_cancelled(seat, run_id, why) &&
				(seat->turn == 0 || seat->turn == run_id);
		if (hit && signo == SIGTERM && seat->told_at == 0)
			seat->told_at = now;
		SpinLockRelease(&seat->mutex);
		if (hit)
			kill(seat->pid, signo);
	}
	LWLockRelease(js->lock);
}
