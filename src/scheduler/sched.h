/*-------------------------------------------------------------------------
 *
 * sched.h
 *		The parts of the scheduler and the memory that they share.
 *
 * Only scheduler.c and the sched_*.c files include this.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SCHED_H
#define JS_SCHED_H

#include "common/hashfn.h"
#include "cron/cron.h"
#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "postmaster/bgworker.h"
#include "shmem/shmem.h"
#include "store/store.h"

/* How often a run without effects is tried again after losing its worker. */
#define JS_MAX_LOST 3

/* Outcomes of a job's runs that are not yet in job_state. */
typedef struct JobTally
{
	slist_node	node;			/* in sched.tallies */
	struct JobEntry *job;
	int32		failures;		/* since the last success in recent */
	int64		failed_run;		/* the last of them; 0: none */
	int64		gone;			/* JsDone.gone, of run gone_run; 0: none */
	int64		gone_run;
	bool		success_seen;
	int64		succeeded_run;	/* the last one */
	TimestampTz succeeded_at;	/* when one has latest */
	JsDone		last;
	char		recent[JS_RECENT_SIZE + 1];
} JobTally;

/* What waits in lanes that take turns (sched_fair.c). */
typedef struct FairQueue
{
	pairingheap lanes;
	int64		round;			/* the last one in which a lane had its turn */
} FairQueue;

typedef struct FairLane FairLane;

typedef struct FairItem
{
	pairingheap_node node;
	int64		age;			/* the lower the older: a run's id */
	FairLane   *lane;
} FairItem;

/* sched_limit.c */
typedef struct Limit Limit;
typedef struct LimitSet LimitSet;

/* sched_alert.h */
typedef struct JobAlerts JobAlerts;

/* There may be a million of these: kept small. */
typedef struct JobEntry
{
	int64		job_id;
	int64		revision;
	int64		schedule_revision;
	Oid			owner;
	bool		has_schedule;
	bool		at_startup;
	bool		enabled;
	bool		paused;
	bool		dropped;
	bool		drop_noted;		/* the next step ends its runs */
	bool		cancel_running; /* also those that are executed */
	bool		asleep;			/* its home is elsewhere */
	bool		woken;			/* is not any more, and is to be accounted for */
	bool		invalid;
	bool		transactional;
	bool		http;			/* its runs are HTTP requests */
	bool		shares;			/* its runs may share a transaction */
	bool		looks;			/* a step that looks before it starts */
	bool		due_queued;		/* is in sched.due */
	bool		auto_paused;	/* by pause_after_failures */
	bool		serial;			/* runs of its slots wait for all others */
	bool		promote_noted;	/* is in sched.promotable */
	bool		queue_full;		/* why slots were skipped */
	bool		place_noted;	/* is in sched.unplaced */
	bool		has_steps;		/* it is made of steps, or has been */
	bool		is_step;
	bool		maps;			/* a step that only queues others
								 * (item_runs.c, step_job.c), */
	bool		calls;			/* namely one run of a job */
	bool		is_channel;		/* its runs are messages (sched_channel.c), */
	bool		sent_known;		/* and those that have been sent are known */
	bool		has_old_steps;	/* of a job: sets of steps that are in force
								 * no more are left; of a step: it is one of
								 * these */
	bool		alerts_stale;	/* it is not known which concern it */
	bool		keeps_failures; /* only; */
	bool		failing;		/* the last run that says so has failed */
	uint32		placing;		/* counts what has moved its runs */
	JsOverlap	overlap;
	int32		pause_after_failures;	/* 0: never */
	int32		live;			/* runs that are ready, limited, assigned,
								 * retrying or waiting for their children */
	int32		waiting;		/* runs of slots that are delayed or behind */
	int32		assigned;		/* runs that are with a worker */
	int32		skipped;		/* slots passed over while one was live */
	int32		mean_us;		/* of recent run times; -1 unknown */
	int64		timeout;		/* of an attempt, microseconds; 0: none */
	int64		deadline;		/* of a run made of steps, likewise */
	int64		delay;			/* of a step, microseconds; 0: none */
	int32		max_concurrency;	/* 0: none */
	Limit	   *queue;			/* NULL: none */
	TimestampTz skipped_first;
	TimestampTz skipped_last;
	TimestampTz next_run_at;	/* DT_NOEND: none */
	TimestampTz not_before;		/* it could not fire: held back until then */
	TimestampTz last_slot;		/* slots done: up to done_before, and */
	TimestampTz done_before;	/* from done_from to last_slot */
	TimestampTz done_from;
	pairingheap_node due_node;
	dlist_head	runs;			/* RunEntry.job_node: first those to be placed
								 * anew */
	pairingheap *behind;		/* RunEntry.node; NULL: there was none yet */
	JobTally   *tally;			/* NULL: none */
	JobAlerts  *alerts;			/* that concern it; NULL: none does */
	struct AfterLink *after_links;	/* the jobs that it comes after; NULL:
									 * none */
	int32		nafter_links;
} JobEntry;

typedef enum RunEntryState
{
	RUN_FUTURE,					/* run_at has not come; in sched.future */
	RUN_READY,					/* in its owner's heap */
	RUN_HELD,					/* its job does not let it start */
	RUN_LIMITED,				/* in the line of its limits */
	RUN_BEHIND,					/* other runs of its job come first */
	RUN_WAITING,				/* other runs are to end first, or events to
								 * come; see sched_after.c, sched_event.c */
	RUN_ASSIGNED,				/* with a worker */
	RUN_PARENT					/* it has been executed; its children are to
								 * end: see sched_children.c */
} RunEntryState;

/* Lines of roles that are served in turn (sched_turns.c). */
#define SCHED_TURNS 64

typedef struct Turns
{
	dlist_head	lines[SCHED_TURNS];
	int			count;			/* in all of them */
	int			next;			/* line */
} Turns;

/* An owner's work: what its workers execute, or its HTTP requests. */
typedef struct OwnerEntry
{
	Oid			owner;
	bool		http;
	FairQueue	ready;			/* RunEntry.item */
	pairingheap ready_seconds;	/* sched_ready.c */
	int			ready_count;
	int			assigned;		/* runs that are with a worker */
	int			future;			/* others, by their state */
	int			limited;
	int			behind;
	int			after_others;
	int			parents;
	int			runs;			/* all that are in memory */
	int			workers;		/* seats, including starting ones */
	int32		mean_us;		/* of recent run times; 0 unknown */
	int			start_failures; /* in a row */
	TimestampTz start_after;	/* no worker is started before */
	bool		refused;		/* no session can be opened as it: its runs
								 * are ended, and none is dealt out */
	List	   *jobless;		/* requests whose job is yet to be made: ids,
								 * int64 pointers */
	int			settle_left;	/* so many may get it in this step */
	TimestampTz settle_after;	/* somebody was in the way; by the real clock */
	int64		memory;			/* that its runs take, in bytes, */
	int64		parents_memory; /* but for those that wait for their children */
	int64		unread_from;	/* the first run that is in the table only;
								 * PG_INT64_MAX: none is */
	dlist_node	node;			/* in sched.owners */
} OwnerEntry;

/* Somebody wants a run to end: a row of run_stop. */
typedef struct StopEntry
{
	dlist_node	node;			/* waits (sched_stop.c), or in stops_done */
	int64		stop_id;
	JsStopKind	kind;
	int64		run_id;
	int32		attempt;		/* the only one that is meant; 0: any */
	bool		force;
	bool		again;			/* it was tried once */
	struct StopEntry *second;	/* of the same run, which waits for its
								 * children: those that run always are to end
								 * too; NULL: there is none */
} StopEntry;

typedef struct RunEntry RunEntry;
typedef struct ReadySecond ReadySecond; /* sched_ready.c */
typedef struct RunChild RunChild;	/* sched_children.c */
typedef struct Batch Batch;		/* sched_batch.c */

/* Of a run of which it is not decided whether it starts: other runs are to end first. */
typedef struct RunAfter
{
	RunEntry   *run;
	JsAfterWhen when;
	bool		some_failed;
	bool		some_succeeded;
	bool		judged;			/* of one that lets undo begin: all have
								 * ended, and it is known whether */
	bool		work_failed;	/* the workflow fails by that */
	bool		all_read;		/* there is an edge to each parent that has
								 * not ended */
	int32		nparents;
	int32		nread;			/* of these; */
	int64		read_from;		/* the parent to go on with */
	TimestampTz last_end;		/* of parents, if a delay counts from it;
								 * DT_NOBEGIN: of none */
	uint32		cost;			/* in RunEntry.cost */
	dlist_head	edges;			/* Edge.own */
	Turns	   *turns;			/* that it is in: of those to be seen to, or
								 * to be skipped; NULL: of none */
	dlist_node	node;
} RunAfter;

/* Of a run that waits for events (sched_event.c). */
typedef struct RunEvents
{
	RunEntry   *run;
	Oid			owner;			/* whose events it awaits */
	bool		has_looked;		/* and awaits what it has not found */
	bool		is_limited;		/* its time is counted */
	bool		of_procedure;	/* that has been executed, and goes on with
								 * what it gets, or without it */
	int64		root;			/* of its tree: what it sees is newer */
	int64		timeout;		/* microseconds; 0: none */
	TimestampTz until;			/* DT_NOBEGIN: that is not known yet, or never */
	uint32		cost;			/* in RunEntry.cost */
	dlist_head	waits;			/* EventWait.own */
	Turns	   *turns;			/* that it is in; NULL: in none */
	dlist_node	node;
	pairingheap_node until_node;
} RunEvents;

struct RunEntry
{
	int64		run_id;
	JobEntry   *job;
	OwnerEntry *owner;
	TimestampTz run_at;
	int32		priority;
	int32		attempt;
	int32		lost;
	uint32		cost;			/* in memory, in bytes */
	uint32		placed;			/* JobEntry.placing when it was */
	RunEntryState state;
	bool		was_placed;		/* it has had a place */
	bool		live;			/* counts as a live run of its job */
	bool		waiting;		/* counts as a waiting one */
	bool		claimed;		/* its row says running, this attempt */
	bool		executed;		/* and waits for its children */
	bool		cut_off;		/* in another life of the server */
	bool		superseded;		/* a stop will end it: does not start */
	bool		disowned;		/* sched_note_disowned() knows of it */
	Oid			brought_by;		/* whose is what it executes instead of what
								 * its job does; InvalidOid: it does not */
	bool		of_slot;		/* the schedule has made it */
	uint8		source;			/* JsRunSource */
	bool		backfill;		/* does not count as live; */
	bool		callback;		/* nor does one that calls a function of its
								 * own */
	bool		maps;			/* it queues the elements of its step, be that
								 * a request, and has none of its limits */
	bool		own_request;	/* it sends one, whatever its job does */
	bool		always;			/* a step: it runs also if its workflow run is
								 * to end */
	bool		is_timed;		/* it is in the heap of sched_deadline.c */
	bool		looks;			/* it will send one, when a worker has looked
								 * (step_look.c) */
	bool		of_step;		/* it is what a step does: its workflow alerts */
	int			seat;			/* when assigned */
	int			flight;			/* the entry there, if it is an HTTP worker's */
	int64		timeout;		/* microseconds; 0: its job's */
	JsCancel	cancel;			/* its worker has been told to end it */
	TimestampTz cancel_at;		/* when, by the real clock */
	bool		terminated;		/* and then to end itself */
	StopEntry  *stop;			/* NULL: nobody wants it to be cancelled */
	LimitSet   *limits;			/* that name it; NULL: none does */
	bool		holding;		/* it has its units of them */
	bool		unpaid;			/* and is yet to use up what rates allow */
	bool		depends;		/* there are rows of dependency: of runs that
								 * it waits for, or did, or carries over */
	bool		keeps_parents;	/* which a retry of it may ask for, unless it
								 * succeeds */
	RunAfter   *after;			/* NULL: it waits for none any more */
	bool		awaited;		/* there are events that it waits for, or did */
	RunEvents  *events;			/* NULL: it waits for none any more */
	RunChild   *child;			/* NULL: no run waits for it as its parent */
	Batch	   *batch;			/* NULL: it is none */
	TimestampTz ends_by;		/* of one that waits for its children;
								 * DT_NOBEGIN: without end */
	TimestampTz since;			/* when its attempt began, or when it waited
								 * no more for others, or was queued */
	ReadySecond *ready_second;	/* NULL: it is not ready */
	FairItem	item;			/* where its state says */
	dlist_node	job_node;
};

/* One that waits for its children takes nothing of what these may have. */
static inline int64 *
sched_run_account(const RunEntry *run)
{
	return run->executed ? &run->owner->parents_memory : &run->owner->memory;
}

/* It takes more of its role's memory, or less. */
static inline void
sched_run_charge(RunEntry *run, int32 bytes)
{
	run->cost += bytes;
	*sched_run_account(run) += bytes;
}

typedef struct SeatEntry
{
	bool		mine;
	bool		foreign;		/* its runs are of a table that is gone */
	uint32		generation;
	OwnerEntry *owner;
	bool		has_mail;		/* delivered to, not yet woken */
	int64		shortest_timeout;	/* of what was delivered; 0: none */
	TimestampTz reap_after;		/* a row of its runs was held */
	int			reap_from;		/* the entry to go on with (HTTP) */
	bool		reap_held;		/* a row was held on the way to there */
	BackgroundWorkerHandle *handle; /* NULL for one that a predecessor started */
	JsSeatView	view;
} SeatEntry;

typedef struct Sched
{
	JsDatabase *db;
	MemoryContext context;		/* what lives as long as the process */
	Oid			run_table;		/* tells a dropped or replaced extension */
	bool		enabled_here;	/* no ALTER DATABASE has switched it off */
	bool		stopped;		/* stop_processing() */
	bool		enabled;		/* none of these, and it is on in the cluster */
	bool		home;			/* the identity is this database's */
	bool		careful;		/* a predecessor stumbled: isolate each job */
	bool		stay_away;		/* at exit: the launcher need not start
								 * another */
	pg_uuid_t	token;
	JsRing		rings[JS_RINGS];
	TimestampTz last_now;		/* our clock at the last step */
	TimestampTz last_real_now;	/* and the real one */
	TimestampTz ring_retry_at;
	TimestampTz tallies_since;	/* first of the tallies; 0: none */
	TimestampTz no_worker_until;	/* max_worker_processes was exhausted */
	TimestampTz busy_until;		/* a row was held: what is to end waits */
	int64		ready_count;
	int64		asleep_count;	/* jobs whose home is elsewhere */
	bool		any_woken;
	int64		invalid_count;
	bool		some_unread;	/* some role has runs that are in the table
								 * only */
	List	   *promotable;		/* jobs one of whose runs behind may start:
								 * ids, int64 pointers */
	List	   *unplaced;		/* jobs whose runs are to be placed anew: ids,
								 * likewise */
	List	   *dropped_jobs;	/* JobEntry, to be seen to */
	List	   *cut_off;		/* runs that the end of a server cut off: ids */
	List	   *disowned;		/* runs whose job has got another owner than
								 * what they execute: ids */
	List	   *startup_jobs;	/* ids, int64 pointers; only right after the
								 * start */
	pairingheap *due;			/* JobEntry.due_node by next_run_at */
	pairingheap *future;		/* RunEntry.item by run_at */
	dlist_head	owners;
	slist_head	tallies;
	dlist_head	stops_done;		/* to be deleted */
	SeatEntry  *seats;			/* js->total_seats of them */
	int			http_seat;		/* the one of our HTTP worker; -1: none */
} Sched;

extern Sched sched;

static inline uint32
sched_hash_id(int64 id)
{
	return murmurhash32((uint32) id ^ murmurhash32((uint32) ((uint64) id >> 32)));
}

/* Flags of jobs that are counted. */
static inline void
sched_set_flag(bool *flag, bool value, int64 *count)
{
	*count += (int) value - (int) *flag;
	*flag = value;
}

/* Whether something would be dealt out if there were workers. */
static inline bool
sched_can_assign(void)
{
	return sched.enabled && sched.ready_count > 0;
}

/* sched_process.c */
extern void sched_leave(const char *reason);
extern void sched_check_version(void);
extern void sched_commit_durably(void);
extern void sched_commit_asynchronously(void);
extern void sched_tell_error(const char *message);
extern void sched_note_no_process(void);

/* sched_role.c */
extern void sched_watch_owner(Oid role, bool is_stale);
extern bool sched_owners_wait(void);
extern bool sched_owners_have_changed(void);

/* sched_owner.c */
extern void sched_follow_roles(bool sweep);

/* sched_memory.c */
extern void sched_memory_init(void);
extern List *sched_keep(List *list, void *item);
extern List *sched_keep_id(List *list, int64 id);
extern JobEntry *sched_job_find(int64 job_id);
extern JobEntry *sched_job_make(int64 job_id);
extern void sched_job_forget(JobEntry *job);
extern void sched_job_set_next(JobEntry *job, TimestampTz next);
extern void sched_job_hold_back(JobEntry *job, TimestampTz until);
extern TimestampTz sched_job_due_at(const JobEntry *job);
extern OwnerEntry *sched_owner(Oid owner, bool http);
extern void sched_leave_unread(OwnerEntry *owner, int64 run_id);
extern bool sched_owner_has_room(const OwnerEntry *owner, int64 share);
extern bool sched_may_end(void);
extern void sched_note_cut_off(const RunEntry *run);
extern void sched_note_dropped(JobEntry *job);
extern void sched_note_disowned(RunEntry *run);
extern bool sched_run_is_disowned(const RunEntry *run);
extern bool sched_row_maps(const JsRun *row, const JobEntry *job);
extern bool sched_row_is_http(const JsRun *row, const JobEntry *job);
extern bool sched_run_is_http(const RunEntry *run);
extern bool sched_row_looks(const JsRun *row, const JobEntry *job);
extern bool sched_row_is_http(const JsRun *row, const JobEntry *job);
extern bool sched_run_is_transactional(const RunEntry *run);
extern void sched_run_follow(RunEntry *run);
extern RunEntry *sched_run_find(int64 run_id);
extern RunEntry *sched_run_make(int64 run_id, JobEntry *job);
extern bool sched_job_holds_all(const JobEntry *job);
extern bool sched_job_fires(const JobEntry *job);
extern void sched_run_free(RunEntry *run);
extern int64 sched_job_count(void);
extern void sched_runs_each(void (*visit) (RunEntry *run));
extern void sched_jobs_each(void (*visit) (JobEntry *job, TimestampTz now), TimestampTz now);

/* sched_show.c */
extern int	sched_queues_show(JsQueueShown *queues);
extern TimestampTz sched_oldest_ready(void);

/* sched_ready.c */
extern void sched_ready_init(OwnerEntry *owner);
extern TimestampTz sched_ready_since(const RunEntry *run);
extern void sched_ready_enter(RunEntry *run, TimestampTz since);
extern void sched_ready_leave(RunEntry *run);
extern TimestampTz sched_ready_oldest(const OwnerEntry *owner);

/* sched_place.c */
extern void sched_run_forget(RunEntry *run);
extern void sched_run_place(RunEntry *run, RunEntryState state);
extern void sched_run_wait(RunEntry *run, TimestampTz now);
extern void sched_run_retry(RunEntry *run, TimestampTz retry_at);
extern void sched_run_put_off(RunEntry *run);
extern void sched_run_await_children(RunEntry *run, TimestampTz began_at);
extern void sched_run_give_way(RunEntry *run, OwnerEntry *room);
extern bool sched_run_overlaps(const RunEntry *run);
extern void sched_job_place_runs(JobEntry *job);
extern void sched_place_some(void);
extern RunEntry *sched_first_ready(OwnerEntry *owner);
extern void sched_load_limits(void);
extern void sched_open_limits(void);
extern void sched_wake_limited(TimestampTz now);

/* sched_news.c */
extern void sched_load_all(TimestampTz now);
extern void sched_sweep(TimestampTz now);
extern bool sched_reading_runs(void);
extern bool sched_reading(void);
extern void sched_read_on(TimestampTz now);
extern bool sched_news_waiting(void);
extern void sched_load_news(TimestampTz now);
extern void sched_settle_waiting(TimestampTz now);

/* sched_load.c */
extern void sched_apply_job(const JsJob *row);
extern void sched_load_first_job(const JsJob *row, void *arg);
extern void sched_load_job(const JsJob *row, void *arg);
extern void sched_load_state(const JsJobState *state, void *arg);
extern void sched_load_run(const JsRun *row, void *arg);
extern void sched_reload_job(int64 job_id);
extern void sched_reload_steps(int64 workflow_id);
extern RunEntry *sched_run_load(int64 run_id, TimestampTz now);
extern void sched_log_jobs(void);

/* sched_slot.c */

/* What it takes to find the slots of a job. */
typedef struct SchedTimetable
{
	JsSchedule	schedule;
	pg_tz	   *tz;
	TimestampTz anchor;
	TimestampTz starts_at;		/* DT_NOBEGIN: none */
	TimestampTz ends_at;		/* DT_NOEND: none */
} SchedTimetable;

/* Slots that are made up for one by one, at most. */
#define SCHED_MAX_MADE_UP 100

/* Open slots that are due: the newest ones, oldest first, and those before. */
typedef struct SchedSlots
{
	TimestampTz slots[SCHED_MAX_MADE_UP];
	int			count;
	int32		older;			/* how many there are before */
	TimestampTz last_older;		/* the newest of those */
} SchedSlots;

extern const char *sched_timetable_read(const JsJob *row, SchedTimetable *timetable);
extern bool sched_slot_is_done(const JobEntry *job, TimestampTz slot);
extern TimestampTz sched_open_slot_after(const JobEntry *job, const SchedTimetable *timetable,
										 TimestampTz after);
extern void sched_collect_slots(const JobEntry *job, const SchedTimetable *timetable, TimestampTz first,
								TimestampTz limit, int keep, SchedSlots *found);
extern void sched_note_done(JobEntry *job, TimestampTz slot, int32 passed_over);
extern int64 sched_jitter(int64 job_id, TimestampTz slot, int64 jitter);

/* sched_overlap.c */
typedef enum SchedVerdict
{
	SCHED_MAKE,
	SCHED_SKIP,
	SCHED_QUEUE_FULL,
	SCHED_REPLACE
} SchedVerdict;

/* Why slots are skipped, as history says it. */
#define SCHED_REASON_OVERLAP "overlap"
#define SCHED_REASON_QUEUE_FULL "queue_full"
#define SCHED_REASON_SKIPPED "skipped_by_request"

extern SchedVerdict sched_judge_overlap(JobEntry *job, const JsJob *row);
extern void sched_replace_runs(JobEntry *job);
extern bool sched_promotions_waiting(void);
extern void sched_promote(void);

/* sched_fire.c */
extern void sched_fire_due(TimestampTz now);
extern void sched_fire_startup(TimestampTz now);
extern bool sched_job_read_to_run(JobEntry *job, JsJob *row);
extern bool sched_job_keys(JobEntry *job, const JsJob *row, ArrayType **keys);
extern bool sched_job_blame(JobEntry *job, const ErrorData *error);
extern void sched_rewind(TimestampTz now);

/* sched_plan.c */

/* Runs claimed in one step at most, so that a step stays short. */
#define SCHED_MAX_CLAIMS 512

extern void sched_plan_nothing(void);
extern int	sched_plan_room(void);
extern void sched_plan(RunEntry *run, int seatno);
extern void sched_claim(TimestampTz now);
extern void sched_deliver(void);

/* sched_dispatch.c */
extern void sched_adopt_seats(void);
extern bool sched_look(void);
extern void sched_give_up_claims(TimestampTz now);
extern void sched_reap(void);
extern void sched_release_reaped(void);
extern void sched_ripen(TimestampTz now);
extern void sched_assign(void);
extern TimestampTz sched_dispatch_deadline(void);

/* sched_hand.c */
extern bool sched_is_http_seat(int seatno);
extern void sched_take_back(int seat);
extern void sched_take_back_all(void);
extern void sched_interrupt(RunEntry *run, JsCancel why);

/* sched_http.c */
extern bool sched_http_look(void);
extern void sched_http_reap(void);
extern void sched_http_release_reaped(void);
extern void sched_http_assign(int most);
extern TimestampTz sched_http_deadline(void);
extern void sched_http_adopt(void);

/* sched_pending.c */
extern bool sched_ends_waiting(void);
extern void sched_end_pending(TimestampTz now);

/* sched_after.c */
extern void sched_after_begin(RunEntry *run, JsAfterWhen when, int nparents);
extern void sched_after_note(RunEntry *run);
extern void sched_after_leave(RunEntry *run);
extern void sched_after_give_way(RunEntry *run, OwnerEntry *room);
extern void sched_after_reset(RunAfter *after);
extern void sched_after_stop_asking(RunAfter *after);
extern bool sched_after_is_lost(const RunAfter *after);
extern bool sched_after_is_awaited(int64 run_id);
extern void sched_after_note_back(int64 run_id);
extern void sched_after_tell(int64 run_id, JsStatus status, TimestampTz finished_at);
extern void sched_after_tell_gone(int64 run_id);
extern void sched_after_add_parent(RunAfter *after, int64 parent_id);
extern void sched_after_note_end(RunAfter *after, JsStatus status, TimestampTz finished_at);
extern bool sched_run_is_left_alone(const RunEntry *run);
extern bool sched_after_is_left_alone(const RunAfter *after);
extern bool sched_after_all_have_ended(const RunAfter *after);
extern bool sched_after_settle(RunAfter *after);
extern JsStatus sched_after_status_of(int64 run_id, TimestampTz *finished_at);
extern RunAfter *sched_after_next_to_see(void);
extern RunAfter *sched_after_follow(OwnerEntry **room);
extern void sched_after_search_again(void);
extern void sched_after_clean(void);
extern RunEntry *sched_after_next_skip(const char **reason);
extern void sched_after_skip_later(RunEntry *run);
extern bool sched_after_skips_waiting(void);
extern bool sched_after_waiting(void);
extern TimestampTz sched_after_deadline(void);

/* sched_upstream.c */
extern void sched_upstream_serve(TimestampTz now);
extern void sched_upstream_follow(TimestampTz now);

/* sched_event.c */
extern void sched_event_begin(RunEntry *run, const JsRun *row);
extern void sched_event_go_on(RunEntry *run, int32 depth);
extern void sched_event_tell_procedure(int64 run_id);
extern void sched_event_await(RunEvents *events, const char *name, int64 open_for);
extern void sched_event_forget_keys(RunEvents *events);
extern void sched_event_end(RunEvents *events);
extern void sched_event_leave(RunEntry *run, bool ended);
extern void sched_event_note(RunEntry *run);
extern void sched_event_looked(RunEvents *events, TimestampTz now);
extern void sched_event_look_away(RunEvents *events);
extern void sched_event_put_off(RunEvents *events);
extern RunEvents *sched_event_next_to_see(void);
extern void sched_event_tell_next(Oid owner, const char *name, int64 open_for);
extern void sched_event_came(const JsEvent *head, void *arg);
extern void sched_event_tell_some(void);
extern TimestampTz sched_event_due(void);
extern void sched_event_ripen(TimestampTz now);
extern RunEntry *sched_event_next_to_end(void);
extern void sched_event_end_later(RunEntry *run);
extern bool sched_event_ends_waiting(void);
extern void sched_event_search_again(void);
extern void sched_event_clean(void);
extern bool sched_event_waiting(void);
extern TimestampTz sched_event_deadline(void);

/* sched_event_count.c */
extern void sched_event_count_begin(void);
extern void sched_event_count(const JsEvent *event);
extern void sched_event_count_new(const JsEvent *event);
extern void sched_event_count_end(void);

/* sched_await.c */
extern void sched_await_serve(TimestampTz now);
extern void sched_await_begin_expiry(void);
extern bool sched_await_expires_now(void);
extern void sched_await_expire(TimestampTz now);
extern TimestampTz sched_await_deadline(void);
extern char *sched_await_missing(const RunEntry *run);

/* sched_children.c */
extern void sched_child_join(RunEntry *run, int64 parent_run_id);
extern void sched_child_leave(RunEntry *run);
extern bool sched_child_is_doomed(const RunEntry *run);
extern bool sched_child_ends_in_any_case(const RunEntry *run);
extern bool sched_child_lacks_parent(const RunEntry *run);
extern int64 sched_child_parent(const RunEntry *run);
extern void sched_child_note(RunEntry *run);
extern void sched_children_note(RunEntry *parent);
extern void sched_children_tell(int64 run_id);
extern int64 *sched_children_cursor(RunEntry *parent);
extern bool sched_children_lack_one(int64 parent_run_id);
extern void sched_children_doom(int64 run_id, bool all);
extern int64 sched_children_next_to_see(void);
extern void sched_children_seen(int64 run_id);
extern RunEntry *sched_children_next_to_end(void);
extern bool sched_children_waiting(void);

/* Whether the end of a child is a failure of its parent. */
static inline bool
sched_child_has_failed(const JsRun *child, JsStatus status)
{
	return !child->optional && status != JS_SUCCEEDED && status != JS_SKIPPED && status != JS_MISSED;
}

/* sched_parent.c */
extern void sched_parents_serve(TimestampTz now);
extern bool sched_child_ends_early(const RunEntry *run);

/* sched_undo.c */
extern bool sched_undo_is_due(const RunEntry *run);
extern bool sched_undo_was_waived(const RunEntry *parent);

/* sched_deadline.c */
extern TimestampTz sched_deadline_from(const JsRun *row);
extern void sched_deadline_set(RunEntry *run, TimestampTz began_at);
extern void sched_deadline_enter(RunEntry *run);
extern void sched_deadline_leave(RunEntry *run);
extern void sched_deadline_follow(RunEntry *run);
extern TimestampTz sched_deadline_first(void);
extern RunEntry *sched_deadline_next(TimestampTz now);

/* sched_steps.c */
extern void sched_steps_note(int64 workflow_id);
extern void sched_steps_follow(const JobEntry *job);
extern bool sched_steps_noted(void);
extern int	sched_steps_take(int64 *ids, int most);

/* sched_predecessor.c */
extern void sched_successor_apply(JobEntry *job, const JsJob *row);
extern void sched_successor_forget(JobEntry *job);
extern bool sched_has_predecessors(void);
extern bool sched_is_predecessor(const JobEntry *job);
extern void sched_predecessor_tell(const JobEntry *job);
extern void sched_successor_put_off(int64 job_id);
extern void sched_successors_rewind(void);
extern TimestampTz sched_successors_deadline(void);
extern int	sched_successors_take(int64 *ids, int most);

/* sched_successor.c */
extern void sched_successors_serve(TimestampTz now);

/* sched_retire.c */
extern bool sched_retire_waiting(void);
extern void sched_retire_some(TimestampTz now);

/* sched_batch.c */
extern void sched_batch_begin(RunEntry *run);
extern void sched_batch_forget(RunEntry *run);
extern bool sched_batch_count(RunEntry *run, int *left);
extern int64 sched_batch_failed(const RunEntry *run, int64 *job_id, JsStatus *status);
extern Jsonb *sched_batch_result(const RunEntry *run, Oid owner, JsStatus status, Size *effort);

/* sched_result.c */
extern Jsonb *sched_result_of_steps(const JsRun *row, const char **remark, Size *effort);

/* sched_end.c */
extern void sched_begin_ends(void);
extern bool sched_may_end_more(void);
extern void sched_end_run(RunEntry *run, JsStatus status, const char *reason,
						  const char *sqlstate, const char *error);
extern bool sched_row_is_free(const RunEntry *run);

/* How a run lost its worker. */
typedef struct SchedLoss
{
	JsCancel	cancel;			/* it was to end anyway */
	bool		by_crash;		/* of the server */
	int			worker_pid;		/* 0: not known */
	const char *reason;
	const char *sqlstate;		/* NULL: not known */
	const char *error;
} SchedLoss;

extern void sched_lose_run(RunEntry *run, const SchedLoss *loss);
extern void sched_report_skips(JobEntry *job, TimestampTz now);
extern void sched_record_missed(JobEntry *job, TimestampTz first, TimestampTz last,
								int32 count, TimestampTz now);
extern bool sched_owner_is_at_limit(const OwnerEntry *owner);
extern bool sched_owner_problem(const OwnerEntry *owner, const char **sqlstate, char **message);

/* sched_turns.c */
extern void sched_turns_add(Turns *turns, Oid owner, dlist_node *node);
extern void sched_turns_remove(Turns *turns, dlist_node *node);
extern dlist_node *sched_turns_next(Turns *turns);

/* sched_stop.c */

extern void sched_stops_init(void);
extern bool sched_take_stop(const JsStop *row);
extern void sched_queue_stop(StopEntry *stop, const RunEntry *run);
extern StopEntry *sched_next_stop(void);
extern int	sched_stops_left(void);
extern bool sched_stops_waiting(void);
extern bool sched_stops_unread(void);
extern void sched_read_stops(int64 (*read) (int64 from, bool down, TimestampTz now), TimestampTz now);
extern void sched_forget_stops(void);
extern void sched_note_replaced(int64 run_id);
extern bool sched_was_replaced(int64 run_id);

/* sched_cancel.c */
extern void sched_unpark_stops(void);
extern void sched_add_stop(const JsStop *row, void *arg);
extern JsStatus sched_stop_status(const StopEntry *stop);
extern const char *sched_stop_reason(const StopEntry *stop);
extern void sched_replace_run(RunEntry *run, bool at_once);
extern void sched_serve_stops(TimestampTz now);
extern void sched_serve_deadlines(TimestampTz now);
extern void sched_enforce(void);
extern TimestampTz sched_enforce_deadline(const SeatEntry *seat);
extern int64 sched_timeout(const RunEntry *run);
extern void sched_note_timeout(SeatEntry *seat, int64 timeout);

/* sched_jobless.c */
extern int64 sched_settle(const JsRun *row);
extern bool sched_settle_begin(OwnerEntry *owner, TimestampTz real_now);
extern void sched_settle_later(OwnerEntry *owner, List *line, int served);
extern bool sched_any_settled(void);
extern TimestampTz sched_settle_deadline(void);

/* sched_idempotency.c */
extern bool sched_keys_expire_now(void);
extern void sched_begin_expiry(void);
extern void sched_expire_keys(TimestampTz now);
extern TimestampTz sched_expiry_deadline(void);

/* sched_ring.c */
extern void sched_rings_load(void);
extern void sched_rings_turn(TimestampTz now);
extern long sched_rings_ms(long at_most);
extern VirtualTransactionId *sched_namers(void);
extern bool sched_namers_have_ended(const VirtualTransactionId *namers);

/* rows of history that expire by themselves (sched_keep.c) */
extern void sched_keep_apply(const JsJob *row, bool at_home);
extern void sched_keep_serve(TimestampTz now);
extern long sched_keep_ms(long at_most);

/* sched_fair.c */
extern void sched_fair_init(FairQueue *queue);
extern void sched_fair_init_line(pairingheap *line);
extern void sched_fair_add(FairQueue *queue, FairItem *item, const void *key, int32 priority,
						   int64 waited);
extern int64 sched_fair_remove(FairItem *item, bool turn);
extern FairItem *sched_fair_first(FairQueue *queue);

static inline bool
sched_fair_is_empty(const FairQueue *queue)
{
	return queue->lanes.ph_root == NULL;
}

/* sched_limit.c */

/* How far the limits have been gone through that may have room. */
typedef struct LimitTurns
{
	int			kind;
	Limit	   *at;				/* NULL: the next one is to be found */
	int			left;			/* tried in this step at most */
} LimitTurns;

extern void sched_limits_init(void);
extern bool sched_limits_load(void);
extern bool sched_limits_look(void);
extern void sched_limits_forget(void);
extern void sched_limits_recall(void);
extern void sched_limits_open(void);
extern bool sched_limits_changed(void);
extern void sched_limits_rewind(void);
extern void sched_limits_sweep(TimestampTz now);
extern void sched_job_set_limits(JobEntry *job, const JsJob *row);
extern void sched_job_drop_limits(JobEntry *job);
extern void sched_limits_attach(RunEntry *run, ArrayType *keys);
extern void sched_limits_detach(RunEntry *run);
extern bool sched_limits_hold_too_much(const RunEntry *run);
extern LimitSet *sched_limits_of(const RunEntry *run);
extern void sched_limits_exchange(RunEntry *run, LimitSet *set);
extern void sched_limits_take_beyond(RunEntry *run);
extern const void *sched_limits_turn(const LimitSet *set);
extern bool sched_limits_take(RunEntry *run, bool in_any_case);
extern void sched_limits_release(RunEntry *run);
extern void sched_limits_wait(RunEntry *run);
extern void sched_limits_unwait(RunEntry *run);
extern void sched_limits_pay(RunEntry *run);
extern void sched_limits_save(void);
extern bool sched_limits_have_room(TimestampTz now);
extern void sched_limits_ring(TimestampTz now);
extern bool sched_limits_were_exceeded(void);
extern void sched_limits_begin(LimitTurns *turns);
extern RunEntry *sched_limits_next(LimitTurns *turns);
extern TimestampTz sched_limits_deadline(void);

/* sched_tally.c */
extern void sched_take_outcome(const JsDone *done);
extern void sched_run_ended(RunEntry *run, JobEntry *job, const JsDone *done);
extern void sched_tally_write(void);
extern void sched_tally_recover(void);
extern void sched_tally_recover_woken(void);

/* sched_stat.c */
extern void sched_stats_note(const RunEntry *run, const JobEntry *job, const JsDone *done);
extern void sched_stats_note_resets(void);
extern bool sched_stats_due(TimestampTz now);
extern void sched_stats_write(TimestampTz now);
extern void sched_stats_recover(TimestampTz now);
extern TimestampTz sched_stats_mark(void);
extern TimestampTz sched_stats_deadline(void);
extern TimestampTz sched_stats_clock_deadline(void);

/* sched_total.c */
struct JsStat;
extern bool sched_total_add(int64 job_id, const struct JsStat *stat);
extern void sched_total_subtract(int64 job_id, const struct JsStat *stat);
extern void sched_totals_flush(void);
extern bool sched_total_is_of_step(int64 job_id, const JobEntry *job);
extern void sched_total_reset(int64 job_id);
extern void sched_total_note_gone(const JobEntry *job);
extern TimestampTz sched_totals_deadline(void);
extern bool sched_totals_due(void);
extern void sched_totals_forget_some(void);
extern void sched_totals_load(void);

/* hooks (sched_hook.c) */
extern TimestampTz sched_hooks_deadline(void);
extern bool sched_hooks_wait(void);
extern void sched_hooks_write(void);
extern void sched_hooks_written(void);
extern void sched_hooks_sweep(TimestampTz now);

/* sched_channel.c */
typedef void (*SchedChannelListener) (int64 channel_id);

extern void sched_channels_hear(SchedChannelListener listen);
extern void sched_channel_changed(const JobEntry *job);
extern void sched_channel_ended(JobEntry *job, JsStatus status);
extern int64 sched_channel_find(Oid owner, const char *name);
extern bool sched_channel_is_busy(int64 channel_id);

/* sched_message.c */
extern int64 sched_channel_send(int64 channel_id, Jsonb *args, TimestampTz now);

/* alerts (sched_alert.c, sched_alert_memory.c, sched_alert_state.c) */
extern void sched_alert_note_look(JobAlerts *alerts);
extern void sched_alert_job_changed(JobEntry *job);
extern void sched_alert_ended(JobEntry *job, const RunEntry *run, const JsDone *done);
extern void sched_alert_forget(JobEntry *job);
extern TimestampTz sched_alerts_due(void);
extern TimestampTz sched_alerts_deadline(void);
extern bool sched_alerts_wait(TimestampTz now);
extern void sched_alerts_note(void);
extern void sched_alerts_serve(TimestampTz now);
extern void sched_alerts_load(void);
extern void sched_alerts_recover_some(void);
extern void sched_alerts_recover(TimestampTz now);
extern void sched_alerts_sweep(void);
extern void sched_alerts_rewind(void);

extern bool sched_alerts_stale; /* definitions are to be read */

/* Whether an alert may concern the job: not if there is none. */
static inline bool
sched_alert_may_concern(const JobEntry *job)
{
	return job->alerts != NULL || job->alerts_stale || sched_alerts_stale;
}

/* Something of the job has changed that an alert may be about. */
static inline void
sched_alert_note(const JobEntry *job)
{
	if (job->alerts != NULL)
		sched_alert_note_look(job->alerts);
}

#endif							/* JS_SCHED_H */
