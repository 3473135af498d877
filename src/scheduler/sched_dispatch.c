/*-------------------------------------------------------------------------
 *
 * sched_dispatch.c
 *		Deals ready runs to workers, and takes their outcomes.
 *
 * Each step of the scheduler looks at its seats, takes the outcomes of runs
 * that have ended, and deals out ready runs:
 *
 *	look		(no transaction) the states of the seats; take outcomes
 *	reap		(transaction) seats of dead workers: their runs are lost
 *	assign		idle workers first; then more workers; then ahead of time into
 *				the mailboxes of workers whose runs are short
 *	claim		(transaction) mark what was assigned as running
 *	deliver		(after the commit) into the mailboxes
 *
 * The last two are in sched_plan.c.
 *
 * Runs of one owner are dealt by priority; within a priority keys take turns,
 * then the oldest goes first (sched_fair.c).  Owners take turns.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "guc.h"
#include "miscadmin.h"
#include "process/process.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Of the runs claimed in one step so many may be HTTP requests. */
#define MAX_HTTP_CLAIMS 384

/* A run is short, and may wait behind others, when its job's mean is below. */
#define SHORT_RUN_US 2000

/* How much work may be in a mailbox. */
#define MAILBOX_US 20000

/* Runs behind one that takes longer than this are taken back. */
#define STUCK_US (20 * 1000)

/* How long a process that was registered may take to appear. */
#define START_TIMEOUT (30 * USECS_PER_SEC)

/* A place that should be free soon is asked for again after this. */
#define PLACE_RETRY_US (150 * 1000)

static TimestampTz place_retry_at = DT_NOEND;	/* no worker could be had */
static TimestampTz started_at = 0;	/* when workers were last started, if any
									 * were to be */
static bool first_refused;		/* some role waits for its first worker */
static int *reaped = NULL;		/* js->max_seats of them */
static int	reaped_count = 0;

/* ------------------------------------------------------------------------
 * Look
 * ------------------------------------------------------------------------
 */

static void
take_done(int seatno)
{
	JsDone		done[JS_MAILBOX_SIZE + 1];
	int			count = js_seat_take_done(seatno, done);

	for (int i = 0; i < count; i++)
		sched_take_outcome(&done[i]);
}

/* A claim that nobody has acted upon: the run is as it was before. */
static void
give_up_claim(RunEntry *run, TimestampTz now)
{
	JsRun		row;

	if (!run->claimed || run->cut_off || run->state == RUN_ASSIGNED ||
		!sched_row_is_free(run) || !js_run_read_head(run->run_id, &row))
		return;
	row.status = JS_RUN_QUEUED;
	row.attempt--;
	row.boot_id = 0;
	row.claimed_at = DT_NOBEGIN;
	if (!js_run_update(&row))
		return;
	run->attempt = row.attempt;
	run->claimed = false;
	sched_run_wait(run, now);
}

static void
give_up_claims_of(JobEntry *job, TimestampTz now)
{
	dlist_iter	iter;

	dlist_foreach(iter, &job->runs)
		give_up_claim(dlist_container(RunEntry, job_node, iter.cur), now);
}

/*
 * Nothing is to start for a while, perhaps a long one: what no worker has begun
 * is queued again, and its rows say so.
 */
void
sched_give_up_claims(TimestampTz now)
{
	sched_take_back_all();
	sched_jobs_each(give_up_claims_of, now);
}

/* A seat reserved for a process that never came to be. */
static bool
start_failed(const SeatEntry *seat)
{
	pid_t		pid;

	if (seat->view.state != JS_SEAT_STARTING)
		return false;
	if (seat->handle != NULL)
		return GetBackgroundWorkerPid(seat->handle, &pid) == BGWH_STOPPED;
	return seat->view.pid == 0 &&
		GetCurrentTimestamp() - seat->view.started_at > START_TIMEOUT;
}

/* What is behind a run that takes this long had better go elsewhere. */
static bool
is_stuck(const SeatEntry *seat, TimestampTz now)
{
	return seat->view.current_count > 0 && now - seat->view.busy_since >= STUCK_US;
}

/*
 * Sees what the seats are doing.  Returns whether one is to be reaped, which
 * takes a transaction.
 */
bool
sched_look(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		dead = false;

	for (int i = 0; i < js->max_seats; i++)
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
		if (seat->view.done_count > 0)
			take_done(i);
		if (seat->view.state == JS_SEAT_READY && seat->owner->start_failures > 0)
			seat->owner->start_failures = 0;
		if (seat->view.mail_count > 0 && is_stuck(seat, now))
			sched_take_back(i);
		dead |= (seat->view.state == JS_SEAT_DEAD && now >= seat->reap_after) || start_failed(seat);
	}
	return sched_http_look() || dead;
}

/* ------------------------------------------------------------------------
 * Reap
 * ------------------------------------------------------------------------
 */

/* No session can be had for a run. */
static void
refuse(RunEntry *run, const char *sqlstate, const char *message)
{
	if (sched_row_is_free(run))
		sched_end_run(run, JS_FAILED, "owner_cannot_connect", sqlstate, message);
	else
		sched_run_put_off(run);
}

/*
 * A worker ended before it was ready, so no session of this owner can be had
 * now.  The first of its runs fails with what the process said; the others
 * are tried later, and later.
 */
static void
note_start_failure(OwnerEntry *owner, const char *sqlstate, const char *message)
{
	RunEntry   *run;

	owner->start_failures++;
	owner->start_after = GetCurrentTimestamp() +
		Min(1 << Min(owner->start_failures, 6), 60) * USECS_PER_SEC;
	if (strncmp(sqlstate, "57P", 3) == 0)
		return;					/* it was told to go: no fault of the owner */
	if (message[0] != '\0' && (run = sched_first_ready(owner)) != NULL)
		refuse(run, sqlstate, message);
}

/* Of all runs that a dead worker was executing. */
static bool
rows_are_free(const SeatEntry *seat)
{
	for (int i = 0; i < seat->view.current_count; i++)
	{
		RunEntry   *run = sched_run_find(seat->view.current[i].run_id);

		if (run != NULL && !sched_row_is_free(run))
			return false;
	}
	return true;
}

static void
reap_seat(int seatno)
{
	SeatEntry  *seat = &sched.seats[seatno];
	char		sqlstate[6];
	char		message[JS_ERROR_TEXT];
	SchedLoss	loss = {0};

	/* What happened between the look and now belongs to it. */
	(void) js_seat_look(seatno, MyDatabaseId, &seat->view);
	take_done(seatno);
	sched_take_back(seatno);
	if (!rows_are_free(seat))
	{
		seat->reap_after = GetCurrentTimestamp() + USECS_PER_SEC;
		return;
	}
	js_seat_last_error(seatno, sqlstate, message);
	loss.worker_pid = seat->view.pid;
	loss.sqlstate = sqlstate[0] ? sqlstate : NULL;
	for (int i = 0; i < seat->view.current_count; i++)
	{
		RunEntry   *run = sched_run_find(seat->view.current[i].run_id);

		loss.cancel = seat->view.current[i].cancel;
		loss.reason = loss.cancel == JS_CANCEL_RESET ? "reset" : "worker_died";
		loss.error = loss.cancel == JS_CANCEL_RESET ? "reset_stuck() has taken the run from its worker" :
			message[0] ? message : "the worker process ended without a message";
		if (run != NULL)
			sched_lose_run(run, &loss);
	}
	if (seat->view.current_count == 0 && !seat->view.was_ready)
		note_start_failure(seat->owner, sqlstate, message);
	reaped[reaped_count++] = seatno;
}

void
sched_reap(void)
{
	if (reaped == NULL)
		reaped = MemoryContextAlloc(sched.context, js->max_seats * sizeof(int));
	reaped_count = 0;
	for (int i = 0; i < js->max_seats; i++)
		if (sched.seats[i].foreign && sched.seats[i].view.state == JS_SEAT_DEAD)
			reaped[reaped_count++] = i;
		else if (sched.seats[i].mine && !sched.seats[i].foreign &&
				 (sched.seats[i].view.state == JS_SEAT_DEAD || start_failed(&sched.seats[i])))
			reap_seat(i);
	sched_http_reap();
}

/* After the commit: only now the seats may forget what they held. */
void
sched_release_reaped(void)
{
	for (int i = 0; i < reaped_count; i++)
	{
		SeatEntry  *seat = &sched.seats[reaped[i]];

		js_seat_release(reaped[i]);
		seat->mine = seat->foreign = false;
		seat->reap_after = 0;
		seat->owner->workers--;
		if (seat->handle != NULL)
			pfree(seat->handle);
		seat->handle = NULL;
	}
	reaped_count = 0;
	sched_http_release_reaped();
}

/* ------------------------------------------------------------------------
 * Assign
 * ------------------------------------------------------------------------
 */

/* Runs whose time has come become ready. */
void
sched_ripen(TimestampTz now)
{
	while (!pairingheap_is_empty(sched.future))
	{
		RunEntry   *run = pairingheap_container(RunEntry, item.node, pairingheap_first(sched.future));

		if (run->run_at > now)
			break;
		sched_run_wait(run, now);
	}
}

/* How long a run will take, from others of its job, or else of its owner. */
static int32
expected_us(const RunEntry *run)
{
	if (run->job->mean_us >= 0)
		return run->job->mean_us;
	if (run->job->shares)
		return 0;
	return run->owner->mean_us > 0 ? run->owner->mean_us : SHORT_RUN_US;
}

/*
 * Not if the job may be paused by what comes of the one before: what is with a
 * worker is hard to stop.
 */
static bool
run_is_short(const RunEntry *run)
{
	return sched_run_is_transactional(run) && expected_us(run) < SHORT_RUN_US &&
		run->job->pause_after_failures == 0;
}

static bool
seat_takes_runs(const SeatEntry *seat)
{
	return seat->mine && !seat->foreign && seat->view.state == JS_SEAT_READY && !seat->view.leave &&
		!seat->owner->refused;
}

static bool
seat_is_idle(const SeatEntry *seat)
{
	return seat_takes_runs(seat) && seat->view.current_count == 0 && seat->view.mail_count == 0;
}

static void
assign_to_idle(void)
{
	for (int i = 0; i < js->max_seats && sched_plan_room() > 0; i++)
	{
		SeatEntry  *seat = &sched.seats[i];
		RunEntry   *run;

		if (!seat_is_idle(seat) || (run = sched_first_ready(seat->owner)) == NULL)
			continue;
		sched_plan(run, i);
		seat->view.mail_count = 1;
	}
}

/* How many runs like this one a mailbox may hold. */
static int
mailbox_depth(const RunEntry *run)
{
	return Min(MAILBOX_US / Max(expected_us(run), 1),
			   run->job->shares ? JS_MAILBOX_SIZE : JS_MAILBOX_SIZE / 4);
}

/* One more run for a worker whose runs are short, if the next one is too. */
static bool
assign_ahead(int seatno)
{
	SeatEntry  *seat = &sched.seats[seatno];
	RunEntry   *run = seat_takes_runs(seat) ? sched_first_ready(seat->owner) : NULL;
	RunEntry   *current;

	if (run == NULL || is_stuck(seat, GetCurrentTimestamp()) || !run_is_short(run) || seat->view.mail_count >= mailbox_depth(run))
		return false;
	current = seat->view.current_count > 0 ?
		sched_run_find(seat->view.current[0].run_id) : NULL;
	if (current != NULL && !run_is_short(current))
		return false;
	sched_plan(run, seatno);
	seat->view.mail_count++;
	return true;
}

static void
assign_to_mailboxes(void)
{
	bool		any = true;

	while (any && sched_plan_room() > 0)
	{
		any = false;
		for (int i = 0; i < js->max_seats && sched_plan_room() > 0; i++)
			any |= assign_ahead(i);
	}
}

static bool
register_worker(int seatno, uint32 generation, BackgroundWorkerHandle **handle)
{
	char		name[BGW_MAXLEN];

	snprintf(name, sizeof(name), "%s %d", JS_TYPE_WORKER, seatno);
	return js_process_register(JS_TYPE_WORKER, "jobsched_worker_main", name,
							   Int32GetDatum(seatno), generation, sched.context, handle);
}

static void
retry_place_after(int64 us)
{
	place_retry_at = Min(place_retry_at, GetCurrentTimestamp() + us);
}

/* No place, or no process. */
static void
wait_for_seat(const OwnerEntry *owner, const JsSeatOffer *offer)
{
	first_refused |= offer->first;
	js_seat_ask_to_leave(MyDatabaseId, owner->owner);
	if (offer->place == JS_PLACE_LATER)
		retry_place_after(PLACE_RETRY_US);
	else if (offer->place == JS_PLACE_BEHIND)
		retry_place_after(USECS_PER_SEC);
}

static bool
start_worker(OwnerEntry *owner)
{
	JsSeatOffer offer;
	SeatEntry  *seat;

	/* Nobody tells when another of its sessions ends. */
	if (sched_owner_is_at_limit(owner))
	{
		owner->start_after = GetCurrentTimestamp() + USECS_PER_SEC;
		return false;
	}
	offer = js_seat_reserve(sched.db, owner->owner, sched.run_table);
	if (offer.place != JS_PLACE_GRANTED)
	{
		wait_for_seat(owner, &offer);
		return false;
	}
	seat = &sched.seats[offer.seatno];

	/*
	 * Before there is a process: it counts as starting for the rest of this
	 * step, however soon it is ready.
	 */
	(void) js_seat_look(offer.seatno, MyDatabaseId, &seat->view);
	if (!register_worker(offer.seatno, offer.generation, &seat->handle))
	{
		js_seat_release(offer.seatno);
		wait_for_seat(owner, &offer);
		sched_note_no_process();
		return false;
	}
	if (offer.first)
		js_seat_wait_over(sched.db);
	sched.no_worker_until = 0;
	seat->mine = true;
	seat->generation = offer.generation;
	seat->owner = owner;
	owner->workers++;
	return true;
}

static int
starting_workers(const OwnerEntry *owner)
{
	int			count = 0;

	for (int i = 0; i < js->max_seats; i++)
		if (sched.seats[i].mine && sched.seats[i].owner == owner &&
			sched.seats[i].view.state == JS_SEAT_STARTING)
			count++;
	return count;
}

static bool
needs_worker(const OwnerEntry *owner, TimestampTz now)
{
	return !owner->http && !owner->refused &&
		owner->ready_count > starting_workers(owner) && now >= owner->start_after;
}

/* One more worker for each owner that needs one; who got one goes to the end. */
static bool
start_round(TimestampTz now, bool only_without)
{
	dlist_head	served;
	dlist_mutable_iter iter;
	bool		any = false;

	dlist_init(&served);
	dlist_foreach_modify(iter, &sched.owners)
	{
		OwnerEntry *owner = dlist_container(OwnerEntry, node, iter.cur);

		if ((only_without && owner->workers > 0) || !needs_worker(owner, now) ||
			!start_worker(owner))
			continue;
		any = true;
		dlist_delete(&owner->node);
		dlist_push_tail(&served, &owner->node);
	}
	while (!dlist_is_empty(&served))
		dlist_push_tail(&sched.owners, dlist_pop_head_node(&served));
	return any;
}

/* Unless some role still waits for its first worker, others need not wait for it. */
static void
stop_waiting(bool some_wait)
{
	if (!some_wait && sched.db->seat_number != 0)
		js_seat_wait_over(sched.db);
}

/*
 * Owners that have no worker at all come first: a place that was cleared for
 * one of them must not go to the owner who cleared it.
 */
static void
start_workers(void)
{
	TimestampTz now = GetCurrentTimestamp();

	started_at = now;
	place_retry_at = DT_NOEND;
	if (now < sched.no_worker_until)
		return;
	first_refused = false;
	(void) start_round(now, true);
	while (start_round(now, false))
		;
	stop_waiting(first_refused);
}

/* Of jobs whose owners have been dropped, all of which are one to us. */
static const char *
dropped_owner(const RunEntry *run)
{
	JsJob		job;

	if (!js_job_read(run->job->job_id, &job) || !OidIsValid(job.owner))
		return "the owner has been dropped";
	return psprintf("the owner, role with OID %u, does not exist", job.owner);
}

/*
 * Runs of roles that cannot connect are ended here, without a process: one for
 * nobody would be the bootstrap superuser's.  What is left is for the next step.
 */
static void
refuse_owners(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &sched.owners)
	{
		OwnerEntry *owner = dlist_container(OwnerEntry, node, iter.cur);
		const char *sqlstate;
		char	   *message;
		RunEntry   *run;

		owner->refused = owner->ready_count > 0 && sched_owner_problem(owner, &sqlstate, &message);
		if (!owner->refused)
			continue;
		for (int i = 0; i < SCHED_MAX_CLAIMS && sched_may_end_more() && (run = sched_first_ready(owner)) != NULL; i++)
			refuse(run, sqlstate, OidIsValid(owner->owner) ? message : dropped_owner(run));
	}
}

/* Outcomes were taken and runs taken back since the first look. */
static void
look_again(void)
{
	for (int i = 0; i < js->max_seats; i++)
		if (sched.seats[i].mine && js_seat_look(i, MyDatabaseId, &sched.seats[i].view) &&
			sched.seats[i].generation != sched.seats[i].view.generation)
			elog(ERROR, "seat %d has been lost", i);
}

void
sched_assign(void)
{
	sched_plan_nothing();
	if (!sched_can_assign())
	{
		stop_waiting(false);
		return;
	}
	refuse_owners();
	look_again();
	assign_to_idle();
	start_workers();
	sched_http_assign(Min(sched_plan_room(), MAX_HTTP_CLAIMS));
	assign_to_mailboxes();
}

/* When, by the real clock, the next step has to look at the seats. */
TimestampTz
sched_dispatch_deadline(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline = DT_NOEND;
	dlist_iter	iter;

	for (int i = 0; i < js->max_seats; i++)
	{
		SeatEntry  *seat = &sched.seats[i];

		if (!seat->mine || seat->foreign || !js_seat_look(i, MyDatabaseId, &seat->view))
			continue;
		if (seat->view.mail_count > 0 && seat->view.current_count > 0)
			deadline = Min(deadline, seat->view.busy_since + STUCK_US);
		else if (seat->view.mail_count > 1)
			deadline = Min(deadline, now + STUCK_US);	/* it is about to begin
														 * the first of them */
		deadline = Min(deadline, sched_enforce_deadline(seat));
		if (seat->view.state == JS_SEAT_DEAD)
			deadline = Min(deadline, seat->reap_after);
		if (seat->view.state == JS_SEAT_STARTING)
			deadline = Min(deadline, seat->view.started_at + START_TIMEOUT + 1);
	}
	if (sched_can_assign())
	{
		deadline = Min(deadline, place_retry_at);
		if (sched.no_worker_until > started_at)
			deadline = Min(deadline, sched.no_worker_until);
	}
	dlist_foreach(iter, &sched.owners)
	{
		OwnerEntry *owner = dlist_container(OwnerEntry, node, iter.cur);

		if (owner->refused && owner->ready_count > 0 && sched_can_assign())
			deadline = DT_NOBEGIN;
		else if (owner->ready_count > 0 && owner->start_after > now)
			deadline = Min(deadline, owner->start_after);
	}
	return Min(deadline, sched_http_deadline());
}

/* ------------------------------------------------------------------------
 * Start
 * ------------------------------------------------------------------------
 */

/*
 * Takes over the workers of a predecessor.  What they have not begun comes
 * back; what they execute is theirs.  Those who work for an extension that is
 * no longer there, but for one of the same name, are left alone until they end.
 */
void
sched_adopt_seats(void)
{
	JsMail		mail[JS_MAILBOX_SIZE];

	for (int i = 0; i < js->max_seats; i++)
	{
		SeatEntry  *seat = &sched.seats[i];

		if (!js_seat_look(i, MyDatabaseId, &seat->view))
			continue;
		seat->mine = true;
		seat->foreign = seat->view.run_table != sched.run_table;
		if (!seat->foreign)
			(void) js_seat_take_back(i, mail);
		(void) js_seat_look(i, MyDatabaseId, &seat->view);
		seat->generation = seat->view.generation;
		seat->owner = sched_owner(seat->view.owner, false);
		seat->owner->workers++;
		seat->handle = NULL;
		if (seat->foreign)
			continue;
		for (int k = 0; k < seat->view.current_count; k++)
		{
			RunEntry   *run = sched_run_find(seat->view.current[k].run_id);

			if (run == NULL)
				continue;
			sched_run_place(run, RUN_ASSIGNED);
			run->seat = i;
			run->cancel = seat->view.current[k].cancel;
			run->cancel_at = GetCurrentTimestamp();
		}
	}
	sched_http_adopt();
}
