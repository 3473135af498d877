/*-------------------------------------------------------------------------
 *
 * shmem.h
 *		What the processes share: databases, seats of workers, mailboxes.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SHMEM_H
#define JS_SHMEM_H

#include "base/jobsched.h"
#include "datatype/timestamp.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/spin.h"
#include "utils/uuid.h"

#define JS_MAILBOX_SIZE 128		/* runs that a worker has at a time, all in
								 * all */
#define JS_BATCH_SIZE 64		/* runs in one transaction */
#define JS_NO_SEGMENT 999		/* instead of a segment's number */
#define JS_WAKE_SIZE 512		/* news for a scheduler that sleeps */
#define JS_PROGRESS_TEXT 128
#define JS_ERROR_TEXT 512

/* ---- a database with a scheduler ---- */

typedef enum JsDatabaseState
{
	JS_DATABASE_FREE,
	JS_DATABASE_WANTED,			/* the launcher shall start a scheduler */
	JS_DATABASE_STARTING,		/* registered, not yet attached */
	JS_DATABASE_RUNNING,
	JS_DATABASE_HELD			/* kept out, for DROP DATABASE and the like */
} JsDatabaseState;

typedef enum JsNewsKind
{
	JS_NEWS_RUNS,				/* runs first..last were queued */
	JS_NEWS_JOBS,				/* jobs first..last changed */
	JS_NEWS_STOPS,				/* stops first..last were asked for */
	JS_NEWS_EVENTS,				/* events first..last were sent */
	JS_NEWS_PROCESSING,			/* stop_processing() or start_processing() */
	JS_NEWS_LIMITS,				/* queues or limits were defined anew */
	JS_NEWS_ALERTS,				/* alerts were */
	JS_NEWS_RESETS				/* statistics are to begin anew */
} JsNewsKind;

typedef struct JsNews
{
	JsNewsKind	kind;
	int64		first;
	int64		last;
} JsNews;

#define JS_LEFT_NOTHING 1024

/* What a role has in the queue, as its scheduler knows it; both kinds of its work. */
#define JS_QUEUES_SHOWN 64

typedef struct JsQueueShown
{
	Oid			owner;			/* InvalidOid: of all others */
	bool		http;
	bool		partial;		/* more is in the table only */
	int64		running;
	int64		ready;			/* they wait for a worker only */
	int64		limited;		/* for their limits */
	int64		behind;			/* for other runs of their job */
	int64		held;			/* their job is paused */
	int64		future;			/* for their time */
	int64		after_others;	/* for other runs, or events */
	int64		parents;		/* for their children */
	TimestampTz oldest_ready;	/* since when; DT_NOEND: none is */
} JsQueueShown;

typedef struct JsDatabase
{
	/* by lock */
	Oid			dboid;
	JsDatabaseState state;
	PGPROC	   *scheduler;		/* NULL when none is attached */
	int			scheduler_pid;
	TimestampTz next_start;		/* not before this, after an exit */
	int			failures;		/* exits in a row, for the back-off */
	TimestampTz held_until;
	bool		unlisted;		/* held because of jobsched.databases */
	uint64		seat_number;	/* in the queue for seats of roles that have
								 * none; 0: nobody waits */
	TimestampTz seat_since;		/* it stands there */
	TimestampTz seat_asked_at;	/* for the last time */
	TimestampTz seat_offered_at;	/* a seat became free, after it had asked;
									 * 0: none did */

	/* by mutex: news ring */
	slock_t		mutex;
	int			news_count;
	bool		news_overflow;	/* some were dropped: read everything */
	JsNews		news[JS_WAKE_SIZE];

	/* by mutex: what status.c shows */
	TimestampTz started_at;
	TimestampTz last_active_at;
	bool		enabled;
	int64		ready;
	TimestampTz oldest_ready;	/* since when; DT_NOEND: none is */
	int64		asleep_jobs;
	int64		invalid_jobs;
	bool		queues_partial; /* runs are still being read */
	int			queues_count;
	JsQueueShown queues[JS_QUEUES_SHOWN];
	TimestampTz last_error_at;
	char		last_error[JS_ERROR_TEXT];

	bool		startup_fired;	/* by the scheduler: @startup jobs have had
								 * their run */

	/* where finished runs go, written by the scheduler */
	pg_atomic_uint32 segment[2];

	/* the segment that is about to be emptied; likewise */
	pg_atomic_uint32 expiring[2];

	/* some prepared transaction may hold news */
	pg_atomic_uint32 prepared;

	/*
	 * counts what the scheduler was woken for: waiting inside a step resets
	 * its latch
	 */
	pg_atomic_uint32 wakeups;

	/* something has come to hooks that is not in their rows */
	pg_atomic_uint32 hooks_dirty;

	/*
	 * runs that have left no row, or are about to: by id modulo the size, the
	 * rest of the id with the table, and the owner (shmem_left.c)
	 */
	pg_atomic_uint64 left_nothing[JS_LEFT_NOTHING];

	/* sessions in wait_run() */
	pg_atomic_uint32 waiters;
	ConditionVariable finished;
} JsDatabase;

/* ---- a worker ---- */

typedef enum JsSeatState
{
	JS_SEAT_FREE,
	JS_SEAT_STARTING,			/* registered, not yet ready for runs */
	JS_SEAT_READY,				/* connected as its owner */
	JS_SEAT_LEAVING,			/* takes no more runs */
	JS_SEAT_DEAD				/* its process is gone, its scheduler must
								 * look */
} JsSeatState;

/* Why a run shall end before it comes to its end by itself. */
typedef enum JsCancel
{
	JS_CANCEL_NONE,
	JS_CANCEL_ASKED,			/* cancel_run() */
	JS_CANCEL_DROP,				/* drop_job(cancel_running => true) */
	JS_CANCEL_TIMEOUT,
	JS_CANCEL_RESET,			/* reset_stuck(): not its end, its worker's */
	JS_CANCEL_REPLACE,			/* a slot's run takes its place */
	JS_CANCEL_PARENT			/* its parent has ended, or is to */
} JsCancel;

typedef struct JsMail
{
	int64		run_id;
	int64		job_id;
	Oid			owner;			/* of the run */
	int64		revision;		/* of the job, so that a cached one can serve */
	int32		attempt;
	int64		timeout;		/* of this attempt, in microseconds; 0: none */
	bool		shares;			/* may share its transaction with others */
	bool		may_leave_nothing;	/* if it succeeds (run/keep.c) */
	JsCancel	cancel;			/* set while it is current */
} JsMail;

typedef struct JsDone
{
	int64		run_id;
	int64		job_id;
	bool		recorded;		/* else it was not executed, and waits again */
	JsStatus	status;
	TimestampTz started_at;
	TimestampTz finished_at;
	int64		gone;			/* the revision of its job of which a server
								 * says that nobody is there any more; 0: none
								 * says so */
	bool		waits;			/* the run has been executed, and waits for
								 * its children, or has done so; */
	bool		has_steps;		/* they are steps */
	bool		left_nothing;	/* in history (run/keep.c) */
	int32		slots;			/* it is none, but stands for so many slots;
								 * 0: it is a run */
	TimestampTz retry_at;		/* the run goes on, with another attempt; 0:
								 * it has ended */
	bool		awaits;			/* when an event has come, or its time is
								 * over; */
	int32		depth;			/* so many are above it */
	bool		looked;			/* that was none: the request of a step has
								 * been made ready, and it goes on with the */
	int32		attempt;		/* number that it had before */
} JsDone;

/*
 * What an HTTP worker has in hand, thousands of runs at a time; by the mutex of
 * its seat.  Each run is in an entry of its own, which only the scheduler fills
 * and only the worker empties, or the scheduler when that is dead.
 */
typedef struct JsFlight
{
	JsMail		mail;
	bool		taken;			/* by the worker; else it has only been
								 * delivered */
	bool		closing;		/* too late to cancel it */
	TimestampTz since;			/* taken, by our clock */
	int			next_free;
} JsFlight;

typedef struct JsFlights
{
	int			capacity;		/* of each array */
	int			most;			/* that one owner alone may have */
	int			first_free;		/* -1: none */
	int			used;
	int			taken;
	int			mail_head;		/* ring of entries that wait to be taken */
	int			mail_count;
	int			done_head;		/* ring of outcomes */
	int			done_count;
	bool		cancels;		/* some entry has been marked since the worker
								 * looked */
	JsFlight   *entries;
	int		   *mail;
	JsDone	   *done;
} JsFlights;

typedef struct JsSeat
{
	JsFlights  *flights;		/* of an HTTP worker; NULL: it is another */

	/* by lock */
	JsSeatState state;
	uint32		generation;		/* counts the uses of the seat */
	Oid			dboid;
	Oid			owner;
	Oid			run_table;		/* whose runs it executes: tells an extension
								 * that was dropped and created again */
	PGPROC	   *proc;
	int			pid;
	TimestampTz started_at;
	bool		leave;			/* its place is wanted */
	bool		expelled;		/* it has to leave: the database is wanted */
	bool		was_ready;		/* its process got as far as READY */

	/* by mutex */
	slock_t		mutex;
	int			mail_head;
	int			mail_count;
	JsMail		mail[JS_MAILBOX_SIZE];
	int			current_count;
	JsMail		current[JS_BATCH_SIZE]; /* being executed, in one transaction */
	int64		turn;			/* the one that is executed by itself; 0: all
								 * together */
	bool		closing;		/* too late to cancel them */
	TimestampTz current_since;	/* by our clock */
	TimestampTz busy_since;		/* by the real one */
	TimestampTz told_at;		/* it was told to end; 0: it was not */
	TimestampTz idle_since;
	int			done_count;
	JsDone		done[JS_MAILBOX_SIZE + 1];
	int64		runs;
	int64		progress_done;
	int64		progress_total;
	char		progress_text[JS_PROGRESS_TEXT];
	char		last_error[JS_ERROR_TEXT];
	char		last_sqlstate[6];
} JsSeat;

/* ---- hooks ---- */

#define JS_HOOK_REASON 200
#define JS_HOOK_BUCKETS 128
#define JS_HOOK_WAYS 8			/* counts of one bucket */

/* What has come to a hook. */
typedef struct JsHookTotals
{
	int64		accepted;
	int64		refused;
	TimestampTz last_received_at;	/* accepted; 0: none was */
	TimestampTz last_refused_at;	/* the same */
	char		last_refusal[JS_HOOK_REASON];
} JsHookTotals;

typedef struct JsHookCount
{
	Oid			dboid;			/* InvalidOid: it is free */
	pg_uuid_t	id;
	Oid			owner;			/* InvalidOid: of what is no hook */
	TimestampTz used_at;		/* by the real clock */
	bool		dirty;			/* there is more than in its row */
	TimestampTz full_at;		/* of its rate: until then it is used up */
	TimestampTz logged_at;
	JsHookTotals totals;
} JsHookCount;

typedef struct JsHookBucket
{
	slock_t		mutex;
	TimestampTz full_at;		/* the latest of those that have made way */
	JsHookCount counts[JS_HOOK_WAYS];
} JsHookBucket;

typedef struct JsShared
{
	LWLock	   *lock;
	int64		boot_id;		/* one life of this shared memory */
	TimestampTz crashed_at;		/* the postmaster began this life anew, after
								 * a crash of one of its processes; else 0 */
	PGPROC	   *launcher;		/* by lock */
	int			launcher_pid;
	bool		enabled;		/* jobsched.enabled of the cluster, by the
								 * launcher */
	bool		sweep_wanted;	/* there may be a new database with the
								 * extension */
	pg_atomic_uint32 role_changes;	/* roles renamed or dropped */
	bool		seat_wanted;	/* some scheduler waits for a seat */
	uint64		last_seat_number;	/* by lock: of those who wait for one */
	ConditionVariable departed; /* a scheduler or worker has gone */
	slock_t		clock_mutex;	/* clock.c */
	bool		clock_mocked;
	TimestampTz clock_now;
	int			max_databases;
	int			max_seats;		/* of workers; */
	int			total_seats;	/* those of HTTP workers come after them */
	JsDatabase *databases;
	JsSeat	   *seats;
	JsHookBucket hooks[JS_HOOK_BUCKETS];
} JsShared;

extern JsShared *js;

extern void js_shmem_init(void);

/* databases (shmem_database.c) */
extern JsDatabase *js_database_find_locked(Oid dboid);
extern JsDatabase *js_database_find(Oid dboid);
extern JsDatabase *js_database_want(Oid dboid);
extern bool js_database_attach(Oid dboid);
extern void js_database_detach(bool keep, bool stumbled);
extern void js_database_give_up(JsDatabase *db);
extern void js_database_stillborn(JsDatabase *db);
extern void js_database_hold(Oid dboid, bool unlisted);
extern bool js_database_is_clear(Oid dboid, int64 patience);
extern void js_database_unhold(Oid dboid, bool gone);
extern void js_database_note_prepared(Oid dboid);
extern bool js_database_has_prepared(Oid dboid);

/* shmem_left.c */
extern bool js_left_nothing_note(Oid table, int64 run_id, Oid owner);
extern void js_left_nothing_withdraw(Oid table, int64 run_id, Oid owner);
extern bool js_left_nothing(Oid table, int64 run_id, Oid *owner);

/* shmem_database.c */
extern void js_database_tell(Oid dboid, const JsNews *news, int count,
							 bool overflow);
extern int	js_database_take_news(JsDatabase *db, JsNews *news, bool *overflow);
extern bool js_database_has_news(JsDatabase *db);
extern bool js_database_has_news_of(JsDatabase *db, JsNewsKind kind);
extern void js_database_wake(JsDatabase *db);
extern void js_databases_wake(void);
extern void js_databases_wake_locked(void);
extern void js_databases_offer_seat(void);
extern void js_databases_follow_roles(void);
extern void js_launcher_sweep(void);

/* What a scheduler sees of a seat when it looks. */
typedef struct JsSeatView
{
	JsSeatState state;
	uint32		generation;
	Oid			owner;
	Oid			run_table;
	int			pid;			/* 0: no process has come yet */
	TimestampTz started_at;
	int			mail_count;
	int			current_count;
	JsMail		current[JS_BATCH_SIZE];
	int64		turn;
	TimestampTz busy_since;
	int			done_count;
	bool		leave;
	bool		was_ready;
} JsSeatView;					/* mail, current and done are of workers */

/* HTTP workers (shmem_flight.c): the scheduler's side */
typedef struct JsFlightView
{
	int			index;
	JsMail		mail;
	bool		taken;
	TimestampTz since;
} JsFlightView;

extern Size js_flights_size(void);
extern void js_flights_init(JsSeat *seat, char *memory);
extern void js_flights_reset(JsSeat *seat);
extern void js_flight_load(int seat, int *most, int *in_use);
extern int	js_flight_deliver(int seat, uint32 generation, const JsMail *mail);
extern int	js_flight_take_back(int seat, int64 *run_ids, int max);
extern int	js_flight_take_done(int seat, JsDone *done, int max);
extern bool js_flight_cancel(int seat, uint32 generation, int index,
							 int64 run_id, JsCancel why);
extern int	js_flight_look(int seat, int from, JsFlightView *views, int max);
extern void js_flight_release(int seat, int index);

/* its own */
extern void js_flight_limit(int most);
extern int	js_flight_next(JsFlightView *views, int max);
extern int	js_flight_cancelled(JsFlightView *views, int max);
extern JsCancel js_flight_close(int index);
extern void js_flight_finish(const int *indexes, const JsDone *done, int count);

/* Whether there is a place for one more worker. */
typedef enum JsPlace
{
	JS_PLACE_GRANTED,
	JS_PLACE_LATER,				/* soon, for all we know */
	JS_PLACE_BEHIND,			/* others come first */
	JS_PLACE_NONE
} JsPlace;

typedef struct JsSeatOffer
{
	JsPlace		place;
	int			seatno;			/* -1: none was granted */
	uint32		generation;
	bool		first;			/* the role has no other worker, in no
								 * database */
} JsSeatOffer;

/* A process that was told to end this long ago does not react. */
#define JS_UNRESPONSIVE_US (5 * USECS_PER_SEC)

/* seats, the scheduler's side (shmem_seat.c) */
extern bool js_seat_look(int seat, Oid dboid, JsSeatView *view);
extern void js_seat_last_error(int seat, char *sqlstate, char *message);
extern JsSeatOffer js_seat_reserve(JsDatabase *db, Oid owner, Oid run_table);
extern void js_seat_wait_over(JsDatabase *db);
extern int	js_flight_reserve(Oid dboid, Oid run_table, uint32 *generation);

/* A worker that does not react. */
typedef struct JsUnresponsive
{
	Oid			dboid;
	Oid			owner;
	int			pid;
	int64		run_id;			/* 0: it has none */
	TimestampTz since;			/* told to end, or begun */
} JsUnresponsive;

extern int	js_seats_unresponsive(JsUnresponsive *found, int most);
extern int	js_seats_busy(int64 for_us, JsUnresponsive *found, int most);
extern void js_seat_release(int seat);
extern int	js_seat_sessions(Oid dboid, Oid owner);
extern void js_seat_ask_to_leave(Oid dboid, Oid owner);
extern bool js_seat_deliver(int seat, uint32 generation, const JsMail *mail);
extern int	js_seat_take_back(int seat, JsMail *mail);
extern int	js_seat_take_done(int seat, JsDone *done);
extern void js_seat_wake(int seat);
extern void js_seat_signal(int seat, uint32 generation, int64 run_id,
						   JsCancel why, int signo);

/* seats, the worker's side */
extern void js_seat_attach(int seat, uint32 generation);
extern void js_seat_ready(void);
extern bool js_seat_has_mail(void);
extern int	js_seat_next(JsMail *mail);
extern void js_seat_begin(int64 run_id);
extern void js_seat_await_cancel(void);
extern bool js_seat_close(int64 run_id);
extern JsCancel js_seat_is_cancelled(int64 run_id);
extern void js_seat_progress(int64 done, int64 total, const char *text);
extern void js_seat_finish(const JsDone *done, int count);
extern bool js_seat_leave_if_idle(bool idle_too_long);
extern void js_seat_note_error(const char *sqlstate, const char *message);
extern JsSeat *js_my_seat;

/* hooks (shmem_hook.c) */
extern bool js_hook_is_counted(const pg_uuid_t *id);
extern void js_hook_begin_count(const pg_uuid_t *id, Oid owner, const JsHookTotals *totals, TimestampTz now);
extern bool js_hook_totals(const pg_uuid_t *id, JsHookTotals *totals);
extern bool js_hook_has_room(const pg_uuid_t *id, int32 rate, TimestampTz now);
extern void js_hook_count_accepted(const pg_uuid_t *id, TimestampTz now);
extern bool js_hook_count_refused(const pg_uuid_t *id, const char *reason, TimestampTz now);
extern bool js_hook_next_dirty(int *from, pg_uuid_t *id, JsHookTotals *totals);
extern void js_hook_written(const pg_uuid_t *id, const JsHookTotals *totals);

/* anybody's */
extern void js_clip_text(char *to, const char *from, Size size);

#endif							/* JS_SHMEM_H */
