/*-------------------------------------------------------------------------
 *
 * scheduler.c
 *		The process that decides what runs when, one for each database.
 *
 * DESIGN
 *
 * The scheduler keeps all jobs and the whole queue in memory (sched_memory.c)
 * and sleeps on its latch until something happens or something is due.  Then
 * it makes a step:
 *
 *		look at the workers' seats			sched_dispatch.c
 *		load what is new					sched_news.c
 *		see to runs that wait for runs		sched_upstream.c
 *		see to runs that wait for events	sched_await.c
 *		tally outcomes in the jobs' states	sched_tally.c
 *		add them up in statistics			sched_stat.c
 *		turn due slots into runs			sched_fire.c
 *		run jobs that come after jobs		sched_successor.c
 *		deal and claim ready runs			sched_dispatch.c, sched_plan.c
 *		see to alerts						sched_alert.c
 *		turn a ring of history				sched_ring.c
 *
 * Everything that a step writes is one transaction, but for the last.  It is not durable by
 * itself (synchronous_commit is off): what is lost of it in a crash is done
 * again, and a worker's commit makes durable what it builds upon.  Mailboxes
 * are filled after the commit.  Between steps there is no transaction, no
 * snapshot and no lock.
 *
 * Crash-only: on any error the process ends, and the launcher starts another,
 * which finds everything in the tables and in the seats.  There is no other way
 * to recover, so this one is well tested.  A row that causes errors does not
 * stop the successor (sched.careful).
 *
 * It runs as the bootstrap superuser and executes no user code: rows are
 * accessed directly (table.c), and the few statements are constant.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "process/process.h"
#include "scheduler/sched.h"
#include "shmem/clock.h"
#include "storage/ipc.h"
#include "store/catalog.h"
#include "store/table.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PGDLLEXPORT void jobsched_scheduler_main(Datum arg);

/* The safety net: everything is read again now and then. */
#define SWEEP_US (300 * USECS_PER_SEC)

/* Outcomes wait this long for company before they are written. */
#define TALLY_US (50 * 1000)

static TimestampTz next_sweep;
static bool stumbled = false;	/* at exit: an error of our own is the reason */

/* ------------------------------------------------------------------------
 * Coming and going
 * ------------------------------------------------------------------------
 */

/* A successor must not find rows that a step of ours still holds. */
static void
scheduler_exit(int code, Datum arg)
{
	AbortOutOfAnyTransaction();
	js_database_detach(!sched.stay_away, stumbled);
}

/*
 * The extension that this library belongs to must be in the database, in the
 * version that it knows.  Called in a transaction; leaves if it is not.
 */
static void
check_extension(void)
{
	Oid			table = js_table_oid("run");

	if (!OidIsValid(table))
		sched_leave(OidIsValid(sched.run_table) ? "the extension has been dropped" : NULL);
	if (OidIsValid(sched.run_table) && table != sched.run_table)
		proc_exit(1);			/* dropped and created again: start afresh */
	sched.run_table = table;
}

/* ------------------------------------------------------------------------
 * Settings
 * ------------------------------------------------------------------------
 */

static bool claims_given_up = false;	/* since it was switched off */

static void
set_enabled(void)
{
	sched.enabled = sched.enabled_here && js->enabled && !sched.stopped;
	claims_given_up &= !sched.enabled;
}

static bool
must_give_up_claims(void)
{
	return !sched.enabled && !claims_given_up;
}

/*
 * A setting of the database reaches only new sessions by itself, and this one
 * lasts.  So it is looked up when the configuration is reloaded.
 */
static void
read_enabled(void)
{
	char	   *value = js_catalog_database_setting("jobsched.enabled");

	sched.enabled_here = true;
	if (value != NULL)
		(void) parse_bool(value, &sched.enabled_here);
	set_enabled();
}

/*
 * Whether some prepared transaction of this database may hold runs or jobs
 * that we have not heard of.  The mark is taken away before we look: one that
 * is prepared meanwhile puts it back.
 */
static void
look_for_prepared(void)
{
	pg_atomic_write_u32(&sched.db->prepared, 0);
	if (js_catalog_has_prepared())
		pg_atomic_write_u32(&sched.db->prepared, 1);
}

static void
reload_scheduler(void)
{
	if (!ConfigReloadPending)
		return;
	js_process_reload();
	js_process_begin("reading settings");
	read_enabled();
	js_process_commit();
}

/* ------------------------------------------------------------------------
 * The step
 * ------------------------------------------------------------------------
 */

static TimestampTz
first_due(void)
{
	if (!sched.enabled || pairingheap_is_empty(sched.due))
		return DT_NOEND;
	return sched_job_due_at(pairingheap_container(JobEntry, due_node, pairingheap_first(sched.due)));
}

static TimestampTz
first_future(void)
{
	if (pairingheap_is_empty(sched.future))
		return DT_NOEND;
	return pairingheap_container(RunEntry, item.node, pairingheap_first(sched.future))->run_at;
}

/* Outcomes are written when enough time has passed, or when somebody waits. */
static bool
tally_is_due(void)
{
	return sched.tallies_since != 0 &&
		(GetCurrentTimestamp() - sched.tallies_since >= TALLY_US ||
		 pg_atomic_read_u32(&sched.db->waiters) > 0);
}

/*
 * Whether what a job has passed over is to be told.  Where slots are skipped as
 * long as anything is live that is when nothing is; else there may always be
 * something, and it is when a run has ended.
 */
static bool
tells_skips(const JobEntry *job)
{
	return job->skipped > 0 &&
		((job->live == 0 && job->waiting == 0) || job->overlap != JS_OVERLAP_SKIP);
}

/* Jobs of which runs have ended tell what they passed over meanwhile. */
static void
report_skips(TimestampTz now)
{
	slist_iter	iter;
	List	   *done = NIL;
	ListCell   *lc;

	slist_foreach(iter, &sched.tallies)
	{
		JobEntry   *job = slist_container(JobTally, node, iter.cur)->job;

		if (tells_skips(job))
			done = lappend(done, job);
	}
	foreach(lc, done)
		sched_report_skips(lfirst(lc), now);
}

/* Clocks are set by hand too; what they were set to before is forgotten. */
#define STEP_BACK_US USECS_PER_SEC

static bool
clock_was_set_back(TimestampTz now)
{
	return now < sched.last_now - STEP_BACK_US;
}

/* Nothing of ours shall wait for an hour to come twice. */
static void
forget_real_deadlines(void)
{
	TimestampTz now = GetCurrentTimestamp();
	dlist_iter	iter;

	if (now < sched.last_real_now - STEP_BACK_US)
	{
		next_sweep = sched.no_worker_until = sched.ring_retry_at = 0;
		sched.tallies_since = Min(sched.tallies_since, now);
		sched_successors_rewind();
		dlist_foreach(iter, &sched.owners)
		{
			OwnerEntry *owner = dlist_container(OwnerEntry, node, iter.cur);

			owner->start_after = owner->settle_after = 0;
		}
	}
	sched.last_real_now = now;
}

static bool
step_needed(bool dead, TimestampTz now)
{
	return dead || clock_was_set_back(now) || sched_news_waiting() || GetCurrentTimestamp() >= next_sweep ||
		first_due() <= now || first_future() <= now || sched_deadline_first() <= now ||
		sched_event_due() <= now || sched_await_expires_now() || sched_limits_changed() ||
		sched_limits_have_room(now) || sched_owners_wait() ||
		sched_can_assign() || must_give_up_claims() || tally_is_due() || sched_keys_expire_now() ||
		sched_hooks_wait() || sched_alerts_wait(now) || sched_stats_due(now) ||
		sched_settle_deadline() <= GetCurrentTimestamp() ||
		sched_successors_deadline() <= GetCurrentTimestamp();
}

static void
step_in_transaction(bool dead, TimestampTz now)
{
	js_process_begin("scheduling");
	check_extension();
	sched_follow_roles(GetCurrentTimestamp() >= next_sweep);
	if (GetCurrentTimestamp() >= next_sweep)
	{
		look_for_prepared();
		sched_sweep(now);
		sched_begin_expiry();
		sched_await_begin_expiry();
		next_sweep = GetCurrentTimestamp() + SWEEP_US;
	}
	sched_settle_waiting(now);
	sched_load_news(now);
	sched_read_on(now);
	sched_tally_recover_woken();
	if (sched_any_settled())
		sched_unpark_stops();
	set_enabled();
	sched_place_some();
	sched_upstream_serve(now);
	sched_serve_deadlines(now);
	sched_await_serve(now);
	sched_end_pending(now);
	sched_retire_some(now);
	if (dead)
		sched_reap();
	if (tally_is_due())
	{
		report_skips(now);
		sched_tally_write();
	}
	if (sched_stats_due(now))
		sched_stats_write(now);
	sched_ripen(now);
	if (clock_was_set_back(now))
	{
		sched_rewind(now);
		sched_limits_rewind();
		sched_alerts_rewind();
	}
	if (must_give_up_claims())
	{
		sched_give_up_claims(now);
		claims_given_up = true;
	}
	if (sched.enabled)
		sched_fire_due(now);
	sched_successors_serve(now);
	sched_promote();
	sched_wake_limited(now);
	sched_assign();
	sched_claim(now);
	if (sched_keys_expire_now())
		sched_expire_keys(now);
	if (sched_await_expires_now() && !sched_reading())
		sched_await_expire(now);
	if (sched_hooks_wait())
		sched_hooks_write();
	sched_alerts_serve(now);
	JS_INJECTION_POINT("jobsched-step-before-commit");
	js_process_commit();
	JS_INJECTION_POINT("jobsched-step-committed");
	sched_hooks_written();
}

static void
tell_waiters(void)
{
	if (pg_atomic_read_u32(&sched.db->waiters) > 0)
		ConditionVariableBroadcast(&sched.db->finished);
}

static void
publish_status(void)
{
	TimestampTz now = GetCurrentTimestamp();
	JsQueueShown queues[JS_QUEUES_SHOWN];
	int			count = sched_queues_show(queues);
	TimestampTz oldest_ready = sched_oldest_ready();

	SpinLockAcquire(&sched.db->mutex);
	sched.db->queues_partial = sched_reading_runs();
	sched.db->queues_count = count;
	memcpy(sched.db->queues, queues, count * sizeof(JsQueueShown));
	sched.db->last_active_at = now;
	sched.db->enabled = sched.enabled_here && js->enabled;
	sched.db->ready = sched.ready_count;
	sched.db->oldest_ready = oldest_ready;
	sched.db->asleep_jobs = sched.asleep_count;
	sched.db->invalid_jobs = sched.invalid_count;
	SpinLockRelease(&sched.db->mutex);
}

/* What this counted when the step began: woken meanwhile, it looks again. */
static uint32 wakeups_seen = 0;

static void
step(MemoryContext step_context)
{
	TimestampTz now = js_clock_now();
	bool		dead;

	wakeups_seen = pg_atomic_read_u32(&sched.db->wakeups);

	/*
	 * Ends are taken before news: an alert that is older than they are
	 * concerns them.
	 */
	if (js_database_has_news_of(sched.db, JS_NEWS_ALERTS))
		sched_alerts_note();
	dead = sched_look();
	sched_promote();
	set_enabled();
	forget_real_deadlines();
	sched_enforce();
	MemoryContextSwitchTo(step_context);
	if (step_needed(dead, now))
	{
		step_in_transaction(dead, now);
		MemoryContextSwitchTo(step_context);
		sched_release_reaped();
		sched_deliver();
		tell_waiters();
	}
	sched.last_now = now;
	sched_rings_turn(now);
	sched_keep_serve(now);
	publish_status();
	MemoryContextReset(step_context);
}

/* ------------------------------------------------------------------------
 * Sleep
 * ------------------------------------------------------------------------
 */

static long
real_ms_until(TimestampTz when, long at_most)
{
	if (when == DT_NOEND)
		return at_most;
	if (when <= GetCurrentTimestamp())
		return 0;
	return Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), when), at_most);
}

/* How long nothing will happen by itself. */
static long
ms_to_sleep(void)
{
	long		ms = SWEEP_US / 1000;

	if (sched_news_waiting() || sched_owners_wait() || pg_atomic_read_u32(&sched.db->wakeups) != wakeups_seen)
		return 0;
	if (sched.enabled && !pairingheap_is_empty(sched.due))
		ms = js_clock_ms_until(first_due(), ms);
	ms = js_clock_ms_until(first_future(), ms);
	ms = js_clock_ms_until(sched_deadline_first(), ms);
	ms = js_clock_ms_until(sched_event_due(), ms);
	ms = js_clock_ms_until(sched_alerts_due(), ms);
	ms = sched_limits_have_room(js_clock_now()) ? 0 : js_clock_ms_until(sched_limits_deadline(), ms);
	ms = sched_rings_ms(ms);
	ms = sched_keep_ms(ms);
	ms = real_ms_until(sched_dispatch_deadline(), ms);
	ms = real_ms_until(next_sweep, ms);
	ms = real_ms_until(sched_expiry_deadline(), ms);
	ms = real_ms_until(sched_settle_deadline(), ms);
	ms = real_ms_until(sched_after_deadline(), ms);
	ms = real_ms_until(sched_successors_deadline(), ms);
	ms = real_ms_until(sched_event_deadline(), ms);
	ms = real_ms_until(sched_await_deadline(), ms);
	ms = real_ms_until(sched_hooks_deadline(), ms);
	ms = real_ms_until(sched_alerts_deadline(), ms);
	ms = real_ms_until(sched_stats_deadline(), ms);
	ms = js_clock_ms_until(sched_stats_clock_deadline(), ms);
	if (!sched_may_end())
		ms = real_ms_until(sched.busy_until, ms);
	if (sched.tallies_since != 0)
		ms = real_ms_until(sched.tallies_since + TALLY_US, ms);
	return ms;
}

static void
sleep_until_needed(void)
{
	static uint32 wait_event = 0;

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms_to_sleep(), js_wait_event(&wait_event, "JobschedSchedulerMain"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	reload_scheduler();
}

/* ------------------------------------------------------------------------
 * Start
 * ------------------------------------------------------------------------
 */

/* A run that ended while there was no scheduler has passed over slots too. */
static void
report_left_skips(JobEntry *job, TimestampTz now)
{
	if (job->skipped > 0 && job->live == 0 && job->waiting == 0 && !job->dropped && !job->asleep)
		sched_report_skips(job, now);
}

/* First light: everything is read, and what was left behind is settled. */
static void
start(void)
{
	TimestampTz now = js_clock_now();

	js_process_begin("starting");
	check_extension();
	read_enabled();
	look_for_prepared();
	sched_rings_load();
	sched_load_all(now);
	sched_stats_recover(now);
	set_enabled();
	sched_adopt_seats();
	sched_open_limits();
	sched_limits_sweep(now);
	sched_end_pending(now);
	sched_rewind(now);
	sched_tally_recover();
	sched_alerts_recover(now);
	sched_jobs_each(report_left_skips, now);
	if (!sched.db->startup_fired && sched.enabled)
		sched_fire_startup(now);
	sched_log_jobs();
	js_process_commit();
	sched.db->startup_fired = true;
	next_sweep = GetCurrentTimestamp() + SWEEP_US;
}

/* Keeps what an error says, and lets it end the process. */
static void
keep_error(void)
{
	ErrorData  *error;
	MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);

	error = CopyErrorData();
	MemoryContextSwitchTo(outer);
	stumbled = error->sqlerrcode != ERRCODE_QUERY_CANCELED; /* pg_cancel_backend() */
	sched_tell_error(error->message);
}

/*
 * The extension was dropped while a step had to do with it, and that is no error;
 * a successor finds out whether it is there.
 */
pg_noreturn static void
look_again(void)
{
	stumbled = false;
	FlushErrorState();
	ereport(LOG, (errmsg("scheduler begins anew: %s", sched.db->last_error)));
	proc_exit(1);
}

static void
run_steps(void)
{
	MemoryContext step_context = AllocSetContextCreate(sched.context, "jobsched step",
													   ALLOCSET_DEFAULT_SIZES);

	PG_TRY();
	{
		start();
		for (;;)
		{
			step(step_context);
			sleep_until_needed();
		}
	}
	PG_CATCH();
	{
		keep_error();
		if (geterrcode() == ERRCODE_UNDEFINED_TABLE)
			look_again();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* arg: the OID of the database. */
void
jobsched_scheduler_main(Datum arg)
{
	Oid			dboid = DatumGetObjectId(arg);

	js_process_init();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	if (!js_database_attach(dboid))
		proc_exit(0);
	before_shmem_exit(scheduler_exit, 0);
	sched.db = js_database_find(dboid);
	sched.careful = sched.db->failures > 0;
	SpinLockAcquire(&sched.db->mutex);
	sched.db->started_at = GetCurrentTimestamp();
	sched.db->queues_count = 0;
	SpinLockRelease(&sched.db->mutex);
	js_process_fix_settings(JS_TYPE_SCHEDULER);
	sched_commit_asynchronously();
	sched_memory_init();
	sched_stops_init();
	run_steps();
}
