/*-------------------------------------------------------------------------
 *
 * sched_after.c
 *		Runs that wait for other runs (doc/workflows.md): who waits for whom.
 *
 * DATA FLOW
 *
 * A run with after_when waits for its parents: the rows of dependency that the
 * session has written which queued it.  Nothing else about the wait is stored.
 * When the run is read, the scheduler looks for each parent: one that is in the
 * queue has not ended, of one that is not history says how it did.  From then
 * on there is an edge in memory for each parent that has not ended, and what
 * the others have come to is in the dependent's RunAfter.  When a run ends,
 * sched_run_ended(), the one door, says so here; the edges to those who wait
 * for it are followed, and each of these may turn out to be
 *
 *		released	it is placed as if it had been queued now; a step with a
 *					delay as if it had been queued for that long after the
 *					last of its parents has ended.  Nobody writes that down: it
 *					can be derived again
 *		skipped		it ends without a worker, through the same door
 *
 * The run that lets undo begin (run/undo_runs.c) is released if its workflow fails by
 * what has become of the others, or is to end early; else it is skipped.
 *
 *		dependency, run, history --> look_for_parents() --> edges, RunAfter
 *		sched_run_ended() --> sched_after_tell() --> sched_after_follow()
 *			--> sched_after_settle()
 *
 * What is here are the edges; sched_upstream.c goes through them.
 *
 * The end of a run only puts its entry on a list; the list is gone through in
 * portions, so neither a run with 100,000 dependents makes a step long, nor is a
 * chain of 10,000 skipped runs a recursion.
 *
 * INVARIANTS
 *
 * A run has a RunAfter as long as it is not decided whether it starts.  Wherever
 * its job holds it meanwhile, it is placed by sched_run_wait(), which lets
 * nothing with a RunAfter become ready.  A run that has been claimed has none.
 *
 * Nothing is overlooked: the scheduler is the only one who takes notice of ends,
 * one at a time, and looks for a parent first in its memory, then in the queue,
 * then in history, each time with a newer snapshot.  A parent that is in memory
 * or in the queue will be told of later; one that is not has left the queue for
 * history, in one transaction.  What is in neither when it is looked for, because
 * somebody has removed it past the functions, counts as lost, and so does a row
 * of dependency that is missing.  It makes no difference in which order the news
 * of parent and dependent come.
 *
 * What is in memory has its parents there, too.  (But for one without a job,
 * sched_jobless.c; it is taken in as soon as it has got one.)  So nobody waits
 * for a run that finds no room because of those who wait: a run one of whose
 * parents has no room gives way, and so do those that wait for it.  They are read
 * again when there is room where that parent needs it.  Parents are older, and
 * what is in the table only is read from the oldest on.
 *
 * Roles take turns (sched_turns.c): who has made a million runs wait delays nobody
 * else.
 *
 * Rows of dependency of a run that has ended without success are moved to waited, for
 * who retries it: of a plain one only, for a step is retried with its workflow, which
 * makes its rows anew; and not if the job has been dropped.  Rows that a subscription
 * brings are moved by the publisher: done here too, its own would not go in.
 *
 * LOCKS
 *
 * Only the scheduler's process uses what is here.  Rows of dependency are
 * written by a session before their commit, and deleted by the scheduler when
 * the dependent has ended; it leaves one that somebody else holds for a second.
 *
 * KILL -9
 *
 *		before the commit of who queues		there is neither run nor dependency
 *		after it, before the news			a successor reads the queue
 *		after the end of a parent			it is in history
 *		after a release						it is derived once more: the rows of
 *											dependency, and of the parents in
 *											history, are kept until the dependent
 *											has ended
 *		while skipped runs are ended		those of steps that have not reached
 *											the disk are in the queue, and end
 *											once more
 *		after the end of a dependent		a successor finds rows of dependency
 *											of a run that has ended, and deletes
 *											or moves them
 *		while they are deleted or moved		a portion is one commit: each row is in
 *											exactly one of the tables, or in none
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Rows of dependency deleted in one step, and runs looked at for that at the start. */
#define MAX_DELETED 2000
#define MAX_LEFTOVERS 500

/* What a wait takes, at most: its RunAfter, and for each parent an Edge and a Parent. */
#define WAIT_COST 144
#define PARENT_COST 192

/* When somebody held a row. */
#define RETRY_US USECS_PER_SEC

/*
 * A run that others wait for; there is one as long as there are edges to it.  If
 * it has ended or left the memory, these are followed.
 */
typedef struct Parent
{
	int64		run_id;
	dlist_head	edges;
	bool		has_ended;
	bool		is_known;		/* how; else history has to be asked */
	JsStatus	status;
	TimestampTz finished_at;	/* likewise; DT_NOBEGIN if history does not
								 * know either */
	OwnerEntry *room;			/* it has left: whose room is full; else NULL */
	dlist_node	node;			/* in followed */
} Parent;

typedef struct Edge
{
	dlist_node	node;			/* in Parent.edges */
	dlist_node	own;			/* in RunAfter.edges */
	Parent	   *parent;
	RunAfter   *after;
} Edge;

typedef struct ParentItem
{
	int64		run_id;
	char		status;
	Parent	   *parent;
} ParentItem;

#define SH_PREFIX parenthash
#define SH_ELEMENT_TYPE ParentItem
#define SH_KEY_TYPE int64
#define SH_KEY run_id
#define SH_HASH_KEY(tb, key) sched_hash_id(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Rows of dependency that are to be deleted, or moved to waited, from a parent on. */
typedef struct Leftover
{
	dlist_node	node;
	int64		run_id;
	int64		from;
	bool		move;
} Leftover;

static parenthash_hash *parents = NULL;
static MemoryContext edge_context;
static dlist_head followed = DLIST_STATIC_INIT(followed);

/* Waits with which something is to be done. */
static Turns to_see;
static Turns to_skip;
static dlist_head leftovers = DLIST_STATIC_INIT(leftovers);
static TimestampTz delete_after = 0;	/* by the real clock */
static int64 search_from = 1;	/* for leftovers of a predecessor; 0: done */

/* ------------------------------------------------------------------------
 * Edges
 * ------------------------------------------------------------------------
 */

static Parent *
find_parent(int64 run_id)
{
	ParentItem *item = parents == NULL ? NULL : parenthash_lookup(parents, run_id);

	return item == NULL ? NULL : item->parent;
}

static Parent *
open_parent(int64 run_id)
{
	ParentItem *item;
	bool		found;

	if (parents == NULL)
	{
		parents = parenthash_create(sched.context, 64, NULL);
		edge_context = SlabContextCreate(sched.context, "jobsched edges",
										 SLAB_DEFAULT_BLOCK_SIZE, sizeof(Edge));
	}
	item = parenthash_insert(parents, run_id, &found);
	if (!found)
	{
		item->parent = MemoryContextAllocZero(sched.context, sizeof(Parent));
		item->parent->run_id = run_id;
		dlist_init(&item->parent->edges);
	}
	return item->parent;
}

static bool
is_followed(const Parent *parent)
{
	return parent->has_ended || parent->room != NULL;
}

static void
close_parent(Parent *parent)
{
	if (!dlist_is_empty(&parent->edges))
		return;
	if (is_followed(parent))
		dlist_delete(&parent->node);
	parenthash_delete(parents, parent->run_id);
	pfree(parent);
}

/* A parent that has not ended. */
void
sched_after_add_parent(RunAfter *after, int64 parent_id)
{
	Parent	   *parent = open_parent(parent_id);
	Edge	   *edge = MemoryContextAlloc(edge_context, sizeof(Edge));

	edge->parent = parent;
	edge->after = after;
	dlist_push_tail(&parent->edges, &edge->node);
	dlist_push_tail(&after->edges, &edge->own);
}

/* The caller sees to the parent (close_parent()). */
static void
remove_edge(Edge *edge)
{
	dlist_delete(&edge->node);
	dlist_delete(&edge->own);
	pfree(edge);
}

/* ------------------------------------------------------------------------
 * Waits
 * ------------------------------------------------------------------------
 */

static void
put_on(RunAfter *after, Turns *turns)
{
	if (after->turns != NULL)
		sched_turns_remove(after->turns, &after->node);
	after->turns = turns;
	if (turns != NULL)
		sched_turns_add(turns, after->run->job->owner, &after->node);
}

static RunAfter *
next_in_turn(Turns *turns)
{
	dlist_node *node = sched_turns_next(turns);

	return node == NULL ? NULL : dlist_container(RunAfter, node, node);
}

/* A run has been read that may start only after others; it is in no place yet. */
void
sched_after_begin(RunEntry *run, JsAfterWhen when, int nparents)
{
	RunAfter   *after = MemoryContextAllocZero(sched.context, sizeof(RunAfter));

	after->run = run;
	after->when = when;
	after->nparents = nparents;
	after->last_end = DT_NOBEGIN;
	dlist_init(&after->edges);
	run->after = after;
	after->cost = WAIT_COST + nparents * PARENT_COST;
	sched_run_charge(run, after->cost);
}

static void
remove_edges(RunAfter *after)
{
	while (!dlist_is_empty(&after->edges))
	{
		Edge	   *edge = dlist_head_element(Edge, own, &after->edges);
		Parent	   *parent = edge->parent;

		remove_edge(edge);
		close_parent(parent);
	}
}

static void
free_after(RunAfter *after)
{
	put_on(after, NULL);
	remove_edges(after);
	sched_run_charge(after->run, -(int32) after->cost);
	after->run->after = NULL;
	pfree(after);
}

/* A parent has ended; finished_at is DT_NOBEGIN if nobody knows when. */
void
sched_after_note_end(RunAfter *after, JsStatus status, TimestampTz finished_at)
{
	after->last_end = Max(after->last_end, finished_at);
	switch (status)
	{
		case JS_SUCCEEDED:
			after->some_succeeded = true;
			break;
		case JS_FAILED:
		case JS_TIMED_OUT:
		case JS_LOST:
		case JS_CANCELLED:
			after->some_failed = true;
			break;
		case JS_SKIPPED:
		case JS_MISSED:
			break;
	}
}

bool
sched_after_all_have_ended(const RunAfter *after)
{
	return after->all_read && dlist_is_empty((dlist_head *) &after->edges);
}

/* Why it cannot start any more; NULL: it can, as far as is known. */
static const char *
reason_to_skip(const RunAfter *after)
{
	bool		all = sched_after_all_have_ended(after);

	switch (after->when)
	{
		case JS_AFTER_SUCCESS:
			if (after->some_failed)
				return "upstream_failed";
			return all && !after->some_succeeded ? "upstream_skipped" : NULL;
		case JS_AFTER_FAILURE:
			if (!all || after->some_failed)
				return NULL;
			return after->some_succeeded ? "upstream_succeeded" : "upstream_skipped";
		case JS_AFTER_UNDO:
			if (!after->judged || after->work_failed)
				return NULL;
			return after->some_succeeded ? "upstream_succeeded" : "upstream_skipped";
		case JS_AFTER_DONE:
		case JS_AFTER_ALWAYS:
		case JS_AFTER_NOTHING:
			break;
	}
	return NULL;
}

/*
 * Nothing is decided of a run whose home is elsewhere, or that is to be ended for
 * another reason.
 */
bool
sched_run_is_left_alone(const RunEntry *run)
{
	return run->job->asleep || run->job->dropped ||
		run->stop != NULL || run->superseded || run->disowned || sched_child_is_doomed(run);
}

bool
sched_after_is_left_alone(const RunAfter *after)
{
	return sched_run_is_left_alone(after->run);
}

/*
 * When the run starts that does not wait any more.  Its row may say it already, if
 * it was claimed and given up.
 */
static void
apply_delay(const RunAfter *after)
{
	RunEntry   *run = after->run;

	if (run->job->delay > 0 && after->last_end != DT_NOBEGIN)
		run->run_at = Max(run->run_at, after->last_end + run->job->delay);
}

/*
 * What is known of the parents has changed.  True: the run is to start, and does
 * not wait any more.
 */
bool
sched_after_settle(RunAfter *after)
{
	if (sched_after_is_left_alone(after))
		put_on(after, NULL);
	else if (reason_to_skip(after) != NULL)
		put_on(after, &to_skip);
	else if (sched_after_all_have_ended(after))
	{
		apply_delay(after);
		free_after(after);
		return true;
	}
	else
		put_on(after, after->all_read ? NULL : &to_see);
	return false;
}

/* Whether it is known that the run will be skipped, whatever else becomes of its parents. */
bool
sched_after_is_lost(const RunAfter *after)
{
	return reason_to_skip(after) != NULL;
}

/* A run that waits has been placed: if there is something to be done, it will be. */
void
sched_after_note(RunEntry *run)
{
	RunAfter   *after = run->after;

	if (after->turns == NULL && !sched_after_is_left_alone(after) &&
		(!after->all_read || sched_after_all_have_ended(after) || reason_to_skip(after) != NULL))
		put_on(after, &to_see);
}

/* A run has ended; move: without success. */
static void
note_leftover(int64 run_id, bool move)
{
	Leftover   *leftover = MemoryContextAllocZero(sched.context, sizeof(Leftover));

	leftover->run_id = run_id;
	leftover->move = move;
	dlist_push_tail(&leftovers, &leftover->node);
}

/* Of a job that sleeps: the rows come and go where it is awake, and are replicated from there. */
static bool
are_of_others(const JobEntry *job)
{
	return job != NULL && job->asleep && !job->dropped;
}

/* Whether runs of a job can be retried by themselves. */
static bool
may_be_retried(const JobEntry *job)
{
	return job != NULL && !job->dropped && !job->is_step && !job->has_steps;
}

/* A run leaves the memory. */
void
sched_after_leave(RunEntry *run)
{
	if (run->after != NULL)
		free_after(run->after);
	if (run->depends && !are_of_others(run->job))
		note_leftover(run->run_id, run->keeps_parents && may_be_retried(run->job));
}

/* It is lost: nothing is left to be told of its parents. */
void
sched_after_stop_asking(RunAfter *after)
{
	remove_edges(after);
}

/* Its parents are looked for once more, as if it were new. */
void
sched_after_reset(RunAfter *after)
{
	remove_edges(after);
	after->some_failed = after->some_succeeded = after->all_read = after->judged = false;
	after->last_end = DT_NOBEGIN;
	after->nread = 0;
	after->read_from = 0;
	put_on(after, sched_after_is_left_alone(after) ? NULL : &to_see);
}

/*
 * A run leaves the memory and stays in the queue, because there is no room for a
 * run that it waits for.  Those that wait for it follow.
 */
void
sched_after_give_way(RunEntry *run, OwnerEntry *room)
{
	Parent	   *parent = find_parent(run->run_id);

	free_after(run->after);
	if (parent == NULL)
		return;
	if (!is_followed(parent))
		dlist_push_tail(&followed, &parent->node);
	parent->room = room;
}

/* A run is in memory, perhaps again. */
void
sched_after_note_back(int64 run_id)
{
	Parent	   *parent = find_parent(run_id);

	if (parent == NULL || parent->room == NULL)
		return;
	parent->room = NULL;
	if (!parent->has_ended)
		dlist_delete(&parent->node);
}

/* Whether some in memory wait for a run, wherever it is. */
bool
sched_after_is_awaited(int64 run_id)
{
	const Parent *parent = find_parent(run_id);

	return parent != NULL && parent->room == NULL;
}

/* ------------------------------------------------------------------------
 * Parents
 * ------------------------------------------------------------------------
 */

static void
note_parent_ended(int64 run_id, bool is_known, JsStatus status, TimestampTz finished_at)
{
	Parent	   *parent = find_parent(run_id);

	if (parent == NULL || parent->has_ended)
		return;
	if (!is_followed(parent))
		dlist_push_tail(&followed, &parent->node);
	parent->has_ended = true;
	parent->is_known = is_known;
	parent->status = status;
	parent->finished_at = finished_at;
	parent->room = NULL;
}

/* A run has ended. */
void
sched_after_tell(int64 run_id, JsStatus status, TimestampTz finished_at)
{
	note_parent_ended(run_id, true, status, finished_at);
}

/* A run is not in the queue any more; history may know how it ended. */
void
sched_after_tell_gone(int64 run_id)
{
	note_parent_ended(run_id, false, JS_LOST, DT_NOBEGIN);
}

/* How and when a run has ended that is not in the queue. */
JsStatus
sched_after_status_of(int64 run_id, TimestampTz *finished_at)
{
	JsStatus	status;

	if (js_history_find_end(run_id, &status, finished_at))
		return status;
	*finished_at = DT_NOBEGIN;
	return JS_LOST;
}

/* One whose parents are to be looked for, or that is to be settled; NULL: none. */
RunAfter *
sched_after_next_to_see(void)
{
	return next_in_turn(&to_see);
}

/*
 * Follows an edge to one that waits: for a run that has ended, and it is to be
 * settled; or for a run that has left, and it has to give way too, because *room is
 * full.  NULL: there is none.
 */
RunAfter *
sched_after_follow(OwnerEntry **room)
{
	Parent	   *parent;
	Edge	   *edge;
	RunAfter   *after;

	if (dlist_is_empty(&followed))
		return NULL;
	parent = dlist_head_element(Parent, node, &followed);
	edge = dlist_head_element(Edge, node, &parent->edges);
	after = edge->after;
	*room = parent->room;
	if (*room != NULL)
	{
		dlist_move_tail(&followed, &parent->node);
		return after;			/* which takes its edges along */
	}
	if (!parent->is_known)
		parent->status = sched_after_status_of(parent->run_id, &parent->finished_at);
	parent->is_known = true;
	sched_after_note_end(after, parent->status, parent->finished_at);
	remove_edge(edge);
	if (dlist_is_empty(&parent->edges))
		close_parent(parent);
	else
		dlist_move_tail(&followed, &parent->node);	/* the others' turn */
	return after;
}

/* ------------------------------------------------------------------------
 * Rows that are not needed any more
 * ------------------------------------------------------------------------
 */

static bool
may_delete(void)
{
	TimestampTz now = GetCurrentTimestamp();

	return now >= delete_after || delete_after - now > RETRY_US;
}

static void
delete_leftovers(void)
{
	int			left = MAX_DELETED;

	while (left > 0 && !dlist_is_empty(&leftovers))
	{
		Leftover   *leftover = dlist_head_element(Leftover, node, &leftovers);

		leftover->from = js_dependencies_delete(leftover->run_id, leftover->from, leftover->move, &left);
		dlist_delete(&leftover->node);
		if (leftover->from == 0)
		{
			pfree(leftover);
			left = Max(left - 1, 0);
			continue;
		}
		dlist_push_tail(&leftovers, &leftover->node);
		if (left > 0)
		{
			delete_after = GetCurrentTimestamp() + RETRY_US;	/* somebody holds a row */
			break;
		}
	}
}

/* One that is in memory no more, and maybe not in the queue. */
static void
note_if_left(int64 run_id)
{
	JsRun		head;
	JsStatus	status;
	JobEntry   *job;

	if (js_run_see_head(run_id, &head))
		return;
	if (!js_history_find_head(run_id, false, &head, &status))
	{
		if (sched.home)
			note_leftover(run_id, false);
		return;
	}
	job = sched_job_find(head.job_id);
	if (!are_of_others(job))
		note_leftover(run_id, status != JS_SUCCEEDED && may_be_retried(job));
}

/* Once after a start: runs may have ended of which nobody has deleted the rows. */
static void
search_leftovers(void)
{
	for (int i = 0; i < MAX_LEFTOVERS && search_from != 0; i++)
	{
		int64		run_id = js_dependency_next(search_from);

		search_from = run_id == 0 ? 0 : run_id + 1;
		if (run_id != 0 && sched_run_find(run_id) == NULL)
			note_if_left(run_id);
	}
}

/* This database has become the home of its runs, or of some. */
void
sched_after_search_again(void)
{
	search_from = 1;
}

/* A portion of what is to be deleted. */
void
sched_after_clean(void)
{
	search_leftovers();
	if (!dlist_is_empty(&leftovers) && may_delete())
		delete_leftovers();
}

/* ------------------------------------------------------------------------
 * What the next step has to do
 * ------------------------------------------------------------------------
 */

/* A run that is to be skipped, and why; NULL: there is none. */
RunEntry *
sched_after_next_skip(const char **reason)
{
	RunAfter   *after;

	while ((after = next_in_turn(&to_skip)) != NULL)
	{
		if (!sched_after_is_left_alone(after))
		{
			*reason = reason_to_skip(after);
			return after->run;
		}
		put_on(after, NULL);	/* sched_after_note() comes back to it */
	}
	return NULL;
}

/* Its row is held: others first. */
void
sched_after_skip_later(RunEntry *run)
{
	put_on(run->after, &to_skip);
}

bool
sched_after_skips_waiting(void)
{
	return to_skip.count > 0;
}

/* Whether the next step has something to do here, but for the ends. */
bool
sched_after_waiting(void)
{
	return !dlist_is_empty(&followed) || to_see.count > 0 || search_from != 0 ||
		(!dlist_is_empty(&leftovers) && may_delete());
}

/* When it will have, by the real clock. */
TimestampTz
sched_after_deadline(void)
{
	return dlist_is_empty(&leftovers) ? DT_NOEND : delete_after;
}
