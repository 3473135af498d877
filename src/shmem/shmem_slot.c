/*-------------------------------------------------------------------------
 *
 * shmem_slot.c
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

JsSlot	   *js_my_slot = NULL;
static uint32 my_generation;

/* ------------------------------------------------------------------------
 * Slots: the scheduler's side
 * ------------------------------------------------------------------------
 */

static void
reset_slot(JsSlot *slot)
{
	SpinLockAcquire(&slot->mutex);
	slot->mail_head = slot->mail_count = 0;
	slot->current_count = 0;
	slot->done_count = 0;
	if (slot->flights != NULL)
		js_flights_reset(slot);
	slot->runs = 0;
	slot->idle_since = GetCurrentTimestamp();
	slot->progress_done = slot->progress_total = -1;
	slot->progress_text[0] = '\0';
	slot->last_error[0] = '\0';
	slot->last_sqlstate[0] = '\0';
	SpinLockRelease(&slot->mutex);
}

/* For a process that is about to be started.  Caller holds js->lock. */
static void
take_slot(JsSlot *slot, Oid dboid, Oid owner, Oid run_table, uint32 *generation)
{
	reset_slot(slot);
	slot->state = JS_SLOT_STARTING;
	slot->generation++;
	slot->dboid = dboid;
	slot->owner = owner;
	slot->run_table = run_table;
	slot->proc = NULL;
	slot->pid = 0;
	slot->started_at = GetCurrentTimestamp();
	slot->leave = slot->expelled = slot->was_ready = false;
	slot->told_at = 0;
	*generation = slot->generation;
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
 * Roles that have none and wait for one get it in the order in which they began
 * to wait, whatever database they wait in; a role that has some gets no further
 * one before that.  Without an order a place would go to the scheduler that
 * notices first that it is free, which is the one whose worker has left, and
 * another database's role could wait for ever.
 * ------------------------------------------------------------------------
 */

/* How long a role is thought to wait, unless it asks again. */
#define WAITING_US USECS_PER_SEC

/* How long an idle worker may take to make room before a spare place is used. */
#define CLEARING_US (100 * 1000)

/* Caller holds js->lock. */
static int
slots_of_role(Oid owner)
{
	int			count = 0;

	for (int i = 0; i < js->max_slots; i++)
		count += js->slots[i].state != JS_SLOT_FREE && js->slots[i].owner == owner;
	return count;
}

/* How many slots an owner has in a database.  Caller holds js->lock. */
static int
slots_of(Oid dboid, Oid owner)
{
	int			count = 0;

	for (int i = 0; i < js->max_slots; i++)
		count += js->slots[i].state != JS_SLOT_FREE &&
			js->slots[i].dboid == dboid && js->slots[i].owner == owner;
	return count;
}

/* When it was told to end, if it has not for too long; else 0. */
static TimestampTz
unresponsive_since(JsSlot *slot)
{
	TimestampTz told_at;

	SpinLockAcquire(&slot->mutex);
	told_at = slot->told_at;
	SpinLockRelease(&slot->mutex);
	if (slot->proc == NULL || told_at == 0 || GetCurrentTimestamp() - told_at < JS_UNRESPONSIVE_US)
		return 0;
	return told_at;
}

static TimestampTz
busy_since(JsSlot *slot)
{
	TimestampTz since;

	SpinLockAcquire(&slot->mutex);
	since = slot->proc != NULL && slot->current_count > 0 ? slot->busy_since : 0;
	SpinLockRelease(&slot->mutex);
	return since;
}

static int
find_slots(TimestampTz (*since_of) (JsSlot *slot), TimestampTz before, JsUnresponsive *found, int most)
{
	int			count = 0;

	LWLockAcquire(js->lock, LW_SHARED);
	for (int i = 0; i < js->max_slots && count < most; i++)
	{
		JsSlot	   *slot = &js->slots[i];
		TimestampTz since = since_of(slot);

		if (slot->state == JS_SLOT_FREE || since == 0 || since > before)
			continue;
		found[count++] = (JsUnresponsive)
		{
			slot->dboid, slot->owner, slot->pid,
			slot->current_count > 0 ? slot->current[0].run_id : 0, since
		};
	}
	LWLockRelease(js->lock);
	return count;
}

/* Workers of all databases that were told to end, and do not. */
int
js_slots_unresponsive(JsUnresponsive *found, int most)
{
	return find_slots(unresponsive_since, DT_NOEND, found, most);
}

/* Those that have been executing what they execute for so long. */
int
js_slots_busy(int64 for_us, JsUnresponsive *found, int most)
{
	return find_slots(busy_since, GetCurrentTimestamp() - for_us, found, most);
}

/* Places that are taken, as a role sees it.  Caller holds js->lock. */
static int
places_taken(Oid owner)
{
	int			count = 0;

	for (int i = 0; i < js->max_slots; i++)
	{
		JsSlot	   *slot = &js->slots[i];

		count += slot->state != JS_SLOT_FREE &&
			(slot->owner == owner || unresponsive_since(slot) == 0);
	}
	return count;
}

static bool
slot_is_idle(const JsSlot *slot)
{
	return slot->current_count == 0 && slot->mail_count == 0;
}

/* The worker of somebody else that has been idle longest.  Caller holds js->lock. */
static JsSlot *
longest_idle(Oid dboid, Oid owner)
{
	JsSlot	   *found = NULL;

	for (int i = 0; i < js->max_slots; i++)
	{
		JsSlot	   *slot = &js->slots[i];

		if (slot->state == JS_SLOT_READY && slot_is_idle(slot) &&
			(slot->dboid != dboid || slot->owner != owner) &&
			(found == NULL || slot->leave || (!found->leave && slot->idle_since < found->idle_since)))
			found = slot;
	}
	return found;
}

static bool
still_waits(const JsWaiting *waiting, TimestampTz now)
{
	return waiting->asked_at != 0 && now - waiting->asked_at < WAITING_US;
}

/* How many roles have been waiting since before that.  Caller holds js->lock. */
static int
roles_waiting(TimestampTz before, TimestampTz now)
{
	int			count = 0;

	for (int i = 0; i < JS_MAX_WAITING; i++)
		count += still_waits(&js->waiting[i], now) && js->waiting[i].since < before;
	return count;
}

/* The role's own note, or a free one, or NULL.  Caller holds js->lock. */
static JsWaiting *
find_waiting(Oid owner, TimestampTz now)
{
	JsWaiting  *unused = NULL;

	for (int i = 0; i < JS_MAX_WAITING; i++)
	{
		JsWaiting  *waiting = &js->waiting[i];

		if (!still_waits(waiting, now))
			unused = waiting;
		else if (waiting->owner == owner)
			return waiting;
	}
	if (unused != NULL)
		unused->asked_at = 0;
	return unused;
}

/* A role that has no place asks for one: since when it has.  Caller holds js->lock. */
static TimestampTz
note_waiting(Oid owner, TimestampTz now)
{
	JsWaiting  *waiting = find_waiting(owner, now);

	if (waiting == NULL)
		return now;
	if (waiting->asked_at == 0)
		*waiting = (JsWaiting) {owner, now};
	waiting->asked_at = now;
	return waiting->since;
}

/* It has one: who was asked to make room need not, unless for others.  Caller holds js->lock. */
static void
end_waiting(Oid owner, TimestampTz now)
{
	JsWaiting  *waiting = find_waiting(owner, now);

	if (waiting != NULL)
		waiting->asked_at = 0;
	if (roles_waiting(DT_NOEND, now) > 0)
		return;
	for (int i = 0; i < js->max_slots; i++)
		js->slots[i].leave = false;
}

/* Whether a role that has some places may have one more now.  Caller holds js->lock. */
static JsPlace
judge_further_place(Oid owner, TimestampTz now)
{
	if (places_taken(owner) >= js_guc_max_workers)
		return JS_PLACE_NONE;
	return roles_waiting(DT_NOEND, now) > 0 ? JS_PLACE_LATER : JS_PLACE_GRANTED;
}

/*
 * Whether a role that has none may have one now: what is left when all who have
 * waited longer have theirs.  Caller holds js->lock.
 */
static JsPlace
judge_first_place(Oid dboid, Oid owner, TimestampTz now)
{
	TimestampTz since;
	int			taken;

	if (js_guc_max_workers == 0)
		return JS_PLACE_NONE;
	since = note_waiting(owner, now);
	taken = places_taken(owner) + roles_waiting(since, now);
	if (taken < js_guc_max_workers)
		return JS_PLACE_GRANTED;
	if (taken >= js_guc_max_workers + js_guc_spare_workers ||
		(longest_idle(dboid, owner) != NULL && now - since < CLEARING_US))
		return JS_PLACE_LATER;
	return JS_PLACE_GRANTED;
}

static int
free_slot(void)
{
	for (int i = 0; i < js->max_slots; i++)
		if (js->slots[i].state == JS_SLOT_FREE)
			return i;
	return -1;
}

/*
 * Takes a slot for a worker that is about to be started, or returns -1 when the
 * owner can have no place now.  In that case the caller is woken when one
 * becomes free; with JS_PLACE_LATER it must ask again soon in any case.
 */
int
js_slot_reserve(Oid dboid, Oid owner, Oid run_table, uint32 *generation, JsPlace *place)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		has_none;
	int			found;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	found = free_slot();
	has_none = slots_of_role(owner) == 0;
	*place = has_none ? judge_first_place(dboid, owner, now) : judge_further_place(owner, now);
	if (found < 0 && *place == JS_PLACE_GRANTED)
		*place = JS_PLACE_LATER;
	if (*place == JS_PLACE_GRANTED)
	{
		if (has_none)
			end_waiting(owner, now);
		take_slot(&js->slots[found], dboid, owner, run_table, generation);
	}
	else
	{
		found = -1;
		js->slot_wanted = true;
	}
	LWLockRelease(js->lock);
	return found;
}

/*
 * Takes the slot of an HTTP worker for one that is about to be started; -1:
 * there is none.
 */
int
js_flight_reserve(Oid dboid, Oid run_table, uint32 *generation)
{
	int			found = -1;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	for (int i = js->max_slots; i < js->total_slots && found < 0; i++)
		if (js->slots[i].state == JS_SLOT_FREE)
			found = i;
	if (found >= 0)
		take_slot(&js->slots[found], dboid, InvalidOid, run_table, generation);
	LWLockRelease(js->lock);
	return found;
}

/*
 * A slot is free, or a worker idle that could be asked to leave.  The flag is
 * read without the lock: who sets it has just looked at all slots, and does
 * so again when the next run ends.
 */
static void
wake_who_wants_a_slot(void)
{
	if (!js->slot_wanted)
		return;
	js->slot_wanted = false;
	js_databases_wake();
}

void
js_slot_release(int slotno)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	js->slots[slotno].state = JS_SLOT_FREE;
	LWLockRelease(js->lock);
	wake_who_wants_a_slot();
}

/* Sessions of workers: of a role in all databases, or in a database of all roles. */
int
js_slot_sessions(Oid dboid, Oid owner)
{
	int			count = 0;

	LWLockAcquire(js->lock, LW_SHARED);
	for (int i = 0; i < js->max_slots; i++)
		if ((js->slots[i].state == JS_SLOT_STARTING || js->slots[i].proc != NULL) &&
			js->slots[i].state != JS_SLOT_FREE &&
			(js->slots[i].dboid == dboid || js->slots[i].owner == owner))
			count++;
	LWLockRelease(js->lock);
	return count;
}

/* When there are more owners than workers, each keeps one for a while. */
static bool
has_had_its_turn(const JsSlot *slot)
{
	return GetCurrentTimestamp() - slot->started_at > USECS_PER_SEC;
}

/*
 * Asks workers of others to make room when they have nothing to do: the one
 * that has been idle longest; if none is, and the owner has no worker at all,
 * all of those who have several, or have had their turn.  The first that ends
 * what it executes makes room for it.
 */
void
js_slot_ask_to_leave(Oid dboid, Oid owner)
{
	JsSlot	   *idle;
	bool		has_none;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	idle = longest_idle(dboid, owner);
	has_none = slots_of(dboid, owner) == 0;
	for (int i = 0; i < js->max_slots; i++)
	{
		JsSlot	   *slot = &js->slots[i];

		if (slot->state == JS_SLOT_READY && (slot->dboid != dboid || slot->owner != owner) &&
			(idle != NULL ? slot == idle :
			 has_none && (slots_of_role(slot->owner) > 1 || has_had_its_turn(slot))))
		{
			slot->leave = true;
			SetLatch(&slot->proc->procLatch);
		}
	}
	LWLockRelease(js->lock);
}

/*
 * Puts a run into a worker's mailbox.  False when the worker is no longer
 * there or has no room for it; the caller then keeps the run.
 */
bool
js_slot_deliver(int slotno, uint32 generation, const JsMail *mail)
{
	JsSlot	   *slot = &js->slots[slotno];
	bool		ok;

	LWLockAcquire(js->lock, LW_SHARED);
	ok = slot->state == JS_SLOT_READY && slot->generation == generation;
	if (ok)
	{
		SpinLockAcquire(&slot->mutex);
		ok = slot->mail_count + slot->done_count + slot->current_count < JS_MAILBOX_SIZE;
		if (ok)
		{
			slot->mail[(slot->mail_head + slot->mail_count) % JS_MAILBOX_SIZE] = *mail;
			slot->mail_count++;
		}
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(js->lock);
	return ok;
}

/* False when the slot is not one of this database. */
bool
js_slot_look(int slotno, Oid dboid, JsSlotView *view)
{
	JsSlot	   *slot = &js->slots[slotno];
	bool		mine;

	LWLockAcquire(js->lock, LW_SHARED);
	mine = slot->state != JS_SLOT_FREE && slot->dboid == dboid;
	if (mine)
	{
		view->state = slot->state;
		view->generation = slot->generation;
		view->owner = slot->owner;
		view->run_table = slot->run_table;
		view->pid = slot->pid;
		view->started_at = slot->started_at;
		view->leave = slot->leave;
		view->was_ready = slot->was_ready;
		SpinLockAcquire(&slot->mutex);
		view->mail_count = slot->mail_count;
		view->current_count = slot->current_count;
		memcpy(view->current, slot->current, slot->current_count * sizeof(JsMail));
		view->turn = slot->turn;
		view->busy_since = slot->busy_since;
		view->done_count = slot->done_count;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(js->lock);
	return mine;
}

/* Why the process of a dead slot ended: sqlstate[6], message[JS_ERROR_TEXT]. */
void
js_slot_last_error(int slotno, char *sqlstate, char *message)
{
	JsSlot	   *slot = &js->slots[slotno];

	SpinLockAcquire(&slot->mutex);
	strlcpy(sqlstate, slot->last_sqlstate, sizeof(slot->last_sqlstate));
	strlcpy(message, slot->last_error, sizeof(slot->last_error));
	SpinLockRelease(&slot->mutex);
}

/* Takes back the runs that a worker has not begun. */
int
js_slot_take_back(int slotno, JsMail *mail)
{
	JsSlot	   *slot = &js->slots[slotno];
	int			count;

	SpinLockAcquire(&slot->mutex);
	count = slot->mail_count;
	for (int i = 0; i < count; i++)
		mail[i] = slot->mail[(slot->mail_head + i) % JS_MAILBOX_SIZE];
	slot->mail_count = 0;
	SpinLockRelease(&slot->mutex);
	return count;
}

int
js_slot_take_done(int slotno, JsDone *done)
{
	JsSlot	   *slot = &js->slots[slotno];
	int			count;

	SpinLockAcquire(&slot->mutex);
	count = slot->done_count;
	memcpy(done, slot->done, count * sizeof(JsDone));
	slot->done_count = 0;
	SpinLockRelease(&slot->mutex);
	return count;
}

void
js_slot_wake(int slotno)
{
	JsSlot	   *slot = &js->slots[slotno];

	LWLockAcquire(js->lock, LW_SHARED);
	if (slot->proc != NULL)
		SetLatch(&slot->proc->procLatch);
	LWLockRelease(js->lock);
}

/* ------------------------------------------------------------------------
 * Slots: the worker's side
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
slot_exit(int code, Datum arg)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	if (js_my_slot->generation == my_generation)
	{
		JsDatabase *db = js_database_find_locked(js_my_slot->dboid);

		js_my_slot->state = db ? JS_SLOT_DEAD : JS_SLOT_FREE;
		js_my_slot->proc = NULL;
		wake_scheduler_of(js_my_slot->dboid);
		if (db != NULL && db->unlisted && js->launcher != NULL)
			SetLatch(&js->launcher->procLatch);
	}
	LWLockRelease(js->lock);
	js_my_slot = NULL;
	ConditionVariableBroadcast(&js->departed);
}

/*
 * Takes possession of the slot that this worker was started for, or exits if
 * it has been given up in the meantime.
 */
void
js_slot_attach(int slotno, uint32 generation)
{
	JsSlot	   *slot = &js->slots[slotno];

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	if (slot->state != JS_SLOT_STARTING || slot->generation != generation)
	{
		LWLockRelease(js->lock);
		proc_exit(0);
	}
	slot->proc = MyProc;
	slot->pid = MyProcPid;
	js_my_slot = slot;
	my_generation = generation;
	LWLockRelease(js->lock);
	before_shmem_exit(slot_exit, 0);
}

void
js_slot_ready(void)
{
	bool		ours;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	ours = js_my_slot->state == JS_SLOT_STARTING && js_my_slot->generation == my_generation;
	if (ours)
	{
		js_my_slot->state = JS_SLOT_READY;
		js_my_slot->was_ready = true;
		wake_scheduler_of(js_my_slot->dboid);
	}
	LWLockRelease(js->lock);
	if (!ours)
		proc_exit(0);			/* it has been given up meanwhile */
}

bool
js_slot_has_mail(void)
{
	bool		has;

	SpinLockAcquire(&js_my_slot->mutex);
	has = js_my_slot->mail_count > 0;
	SpinLockRelease(&js_my_slot->mutex);
	return has;
}

/* Caller holds the slot's mutex. */
static const JsMail *
first_mail(const JsSlot *slot)
{
	return slot->mail_count > 0 ? &slot->mail[slot->mail_head] : NULL;
}

/* Caller holds the slot's mutex. */
static void
begin_mail(JsSlot *slot)
{
	slot->current[slot->current_count++] = *first_mail(slot);
	slot->mail_head = (slot->mail_head + 1) % JS_MAILBOX_SIZE;
	slot->mail_count--;
}

/*
 * Begins what is next in the mailbox: one run, or several in a row that may
 * share a transaction.  Returns how many; mail has room for JS_BATCH_SIZE.
 */
int
js_slot_next(JsMail *mail)
{
	JsSlot	   *slot = js_my_slot;
	TimestampTz now = js_clock_now();
	TimestampTz real_now = GetCurrentTimestamp();
	int			count;

	SpinLockAcquire(&slot->mutex);
	if (slot->mail_count > 0 && !slot->expelled)
		begin_mail(slot);
	while (slot->mail_count > 0 && slot->current_count > 0 &&
		   slot->current_count < JS_BATCH_SIZE &&
		   slot->current[0].shares && first_mail(slot)->shares)
		begin_mail(slot);
	count = slot->current_count;
	memcpy(mail, slot->current, count * sizeof(JsMail));
	slot->closing = false;
	slot->turn = 0;
	slot->current_since = now;
	slot->busy_since = real_now;
	slot->progress_done = slot->progress_total = -1;
	slot->progress_text[0] = '\0';
	slot->last_error[0] = '\0';
	slot->last_sqlstate[0] = '\0';
	SpinLockRelease(&slot->mutex);
	return count;
}

/* Caller holds the slot's mutex.  run_id 0: any current run. */
static JsCancel
is_cancelled(const JsSlot *slot, int64 run_id)
{
	for (int i = 0; i < slot->current_count; i++)
		if (slot->current[i].cancel != JS_CANCEL_NONE &&
			(run_id == 0 || slot->current[i].run_id == run_id))
			return slot->current[i].cancel;
	return JS_CANCEL_NONE;
}

/* Whether and why a current run, or with 0 any of them, has been cancelled. */
JsCancel
js_slot_is_cancelled(int64 run_id)
{
	JsCancel	cancelled;

	SpinLockAcquire(&js_my_slot->mutex);
	cancelled = is_cancelled(js_my_slot, run_id);
	SpinLockRelease(&js_my_slot->mutex);
	return cancelled;
}

/*
 * A current run, or with 0 all of them, has come to the point of no return.
 * False when it has been cancelled before; after this it cannot be any more.
 */
bool
js_slot_close(int64 run_id)
{
	bool		cancelled;

	SpinLockAcquire(&js_my_slot->mutex);
	cancelled = is_cancelled(js_my_slot, run_id) != JS_CANCEL_NONE;
	js_my_slot->closing = !cancelled;
	SpinLockRelease(&js_my_slot->mutex);
	return !cancelled;
}

/* One of the current runs is executed by itself, and can be cancelled. */
void
js_slot_begin(int64 run_id)
{
	SpinLockAcquire(&js_my_slot->mutex);
	js_my_slot->turn = run_id;
	js_my_slot->closing = false;
	SpinLockRelease(&js_my_slot->mutex);
}

/* Who cancelled holds the lock until the signal is sent: waits for that. */
void
js_slot_await_cancel(void)
{
	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	LWLockRelease(js->lock);
}

/*
 * The current runs have ended and their ends are recorded.  The scheduler is woken
 * when the mailbox is getting empty, and always when someone waits for a run.
 */
void
js_slot_finish(const JsDone *done, int count)
{
	JsSlot	   *slot = js_my_slot;
	TimestampTz now = GetCurrentTimestamp();
	JsDatabase *db;
	bool		cancelled;
	int			left;

	SpinLockAcquire(&slot->mutex);
	cancelled = is_cancelled(slot, 0) != JS_CANCEL_NONE;
	memcpy(slot->done + slot->done_count, done, count * sizeof(JsDone));
	slot->done_count += count;
	slot->current_count = 0;
	slot->runs += count;
	slot->idle_since = now;
	left = slot->mail_count;
	SpinLockRelease(&slot->mutex);

	LWLockAcquire(js->lock, LW_SHARED);
	db = js_database_find_locked(slot->dboid);
	if (db != NULL &&
		(left <= JS_MAILBOX_SIZE / 8 || pg_atomic_read_u32(&db->waiters) > 0))
		js_database_wake(db);
	LWLockRelease(js->lock);
	if (left == 0)
		wake_who_wants_a_slot();
	if (cancelled)
		js_slot_await_cancel();
}

/*
 * Whether there are more workers than there should be, and this one is one too
 * many: not if it is its owner's only one, in a spare place.  Caller holds
 * js->lock.
 */
static bool
is_superfluous(const JsSlot *slot)
{
	int			in_use = 0;

	for (int i = 0; i < js->max_slots; i++)
		in_use += js->slots[i].state == JS_SLOT_STARTING || js->slots[i].state == JS_SLOT_READY;
	return in_use > js_guc_max_workers &&
		(js_guc_max_workers == 0 || slots_of_role(slot->owner) > 1 ||
		 in_use > js_guc_max_workers + js_guc_spare_workers);
}

/*
 * Gives the slot up unless a run has just been delivered.  After this no
 * scheduler delivers to it any more.  Who is expelled leaves its mail behind:
 * it was not begun, and goes back to the queue.
 */
bool
js_slot_leave_if_idle(bool idle_too_long)
{
	bool		leave;

	LWLockAcquire(js->lock, LW_EXCLUSIVE);
	leave = js_my_slot->expelled ||
		((idle_too_long || js_my_slot->leave || is_superfluous(js_my_slot)) &&
		 js_my_slot->mail_count == 0 &&
		 (js_my_slot->flights == NULL || js_my_slot->flights->used == 0));
	if (leave)
		js_my_slot->state = JS_SLOT_LEAVING;
	else
		js_my_slot->leave = false;
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
js_slot_progress(int64 done, int64 total, const char *text)
{
	JsSlot	   *slot = js_my_slot;
	char		cut[JS_PROGRESS_TEXT];

	js_clip_text(cut, text ? text : "", sizeof(cut));
	SpinLockAcquire(&slot->mutex);
	slot->progress_done = done;
	slot->progress_total = total;
	memcpy(slot->progress_text, cut, sizeof(cut));
	SpinLockRelease(&slot->mutex);
}

/* Keeps why the process is about to end: there is no other witness. */
void
js_slot_note_error(const char *sqlstate, const char *message)
{
	char		cut[JS_ERROR_TEXT];

	js_clip_text(cut, message, sizeof(cut));
	SpinLockAcquire(&js_my_slot->mutex);
	strlcpy(js_my_slot->last_sqlstate, sqlstate, sizeof(js_my_slot->last_sqlstate));
	memcpy(js_my_slot->last_error, cut, sizeof(cut));
	SpinLockRelease(&js_my_slot->mutex);
}

/* ------------------------------------------------------------------------
 * Slots: cancelling what they execute, by the scheduler
 * ------------------------------------------------------------------------
 */

/* Caller holds the slot's mutex. */
static bool
mark_cancelled(JsSlot *slot, int64 run_id, JsCancel why)
{
	for (int i = 0; i < slot->current_count; i++)
		if (slot->current[i].run_id == run_id)
		{
			if (slot->current[i].cancel == JS_CANCEL_NONE)
				slot->current[i].cancel = why;
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
 * The signal is sent under the lock that the worker needs to leave its slot,
 * so it cannot reach a stranger that has got the same pid.
 */
void
js_slot_signal(int slotno, uint32 generation, int64 run_id, JsCancel why, int signo)
{
	JsSlot	   *slot = &js->slots[slotno];
	TimestampTz now = GetCurrentTimestamp();
	bool		hit = false;

	LWLockAcquire(js->lock, LW_SHARED);
	if (slot->state == JS_SLOT_READY && slot->generation == generation)
	{
		SpinLockAcquire(&slot->mutex);
		if (!slot->closing || signo == SIGTERM)
			hit = mark_cancelled(slot, run_id, why) &&
				(slot->turn == 0 || slot->turn == run_id);
		if (hit && signo == SIGTERM && slot->told_at == 0)
			slot->told_at = now;
		SpinLockRelease(&slot->mutex);
		if (hit)
			kill(slot->pid, signo);
	}
	LWLockRelease(js->lock);
}
