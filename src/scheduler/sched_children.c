/*-------------------------------------------------------------------------
 *
 * sched_children.c
 *		Runs that wait for the runs which they have queued (doc/workflows.md).
 *
 * DATA FLOW
 *
 * A run that is queued with child => true has the id of the run that has queued
 * it, its parent, in its row, and in its row of history.  Nothing else is stored:
 * there is no counter, and no list of children; an index finds them.
 *
 * When a parent's own execution has succeeded, its worker finds by that index
 * that it has children.  Then the run does not leave the queue: in the
 * transaction of the run its row becomes "waiting", and keeps the result.  Views
 * show it as running, with reason waiting_for_children.  It is with no worker and
 * holds no place (RUN_PARENT); only for the slots of its job it is live.
 *
 * Here there is a family for each run that has children in memory.  When the
 * last of these leaves, and when a parent begins to wait, the family is seen to:
 * if the parent waits, the table is asked whether it has children that live and
 * have not been read.  If not, the parent ends, through the one door: as failed
 * if history has a child that has failed and is not optional, else as succeeded.
 *
 *		worker --> js_children_plan() --> row "waiting", done.waits
 *			--> sched_run_await_children() --> sched_children_note()
 *		child: sched_child_join() ... sched_child_leave() --> note_family()
 *		sched_parents_serve() --> see_to_parent() --> end_parent()
 *
 * What is here are the families; sched_parent.c ends parents and children.
 *
 * A child lives no longer than its parent.  When a parent ends although children
 * of it live, because it was cancelled, or has failed after a commit, these are
 * doomed: they are ended wherever they are.  So are they when a parent that waits
 * is to end early (by cancel_run(), overlap 'replace', drop_job() with
 * cancel_running, or because it is doomed itself); it ends after them.
 *
 * A step with when => 'always' is not doomed with the others (RunEntry.always), unless
 * all are: its parent has a second stop (StopEntry.second), or belongs to a job that was
 * dropped with cancel_running; or so does one further up that waits too.  The parent
 * ends after it, in the way in which it was to end.
 *
 * INVARIANTS
 *
 * A run with a parent belongs to its family for as long as it is in memory.
 * Whether it is doomed can be derived at any time: its parent is not in the
 * queue, or is doomed itself, or waits and is to end.  A doomed run starts no
 * more (sched_run_wait() holds it).  Both stops of a parent are rows until it has
 * ended, so it is the same after a restart which of its steps go on.
 *
 * Nobody waits for ever.  A parent waits for its children only; these wait for no
 * runs that live but children of the same parent, which are older (api/child.c).
 * So there are no cycles.  A parent that waits takes nothing of the memory that
 * its role's other runs may have, and if none of its children is in memory, one is
 * read in any case, mostly the oldest, which waits for no other one.  One and not
 * more: these may be parents too, so that in each generation there would be more of
 * them.
 *
 * Nobody has the memory without bound.  A run counts for as long as it is there.
 * When those of a role that wait for children take as much as its others may, no
 * more are read but in that way.
 *
 * No recursion: trees are gone through by lists, in portions.
 *
 * LOCKS
 *
 * Only the scheduler's process uses what is here.  The row of a parent is written
 * by its worker until that has given it back as "waiting", then by the scheduler.
 * If somebody holds that row, or that of a child to be ended, both wait.
 *
 * KILL -9
 *
 *		before the commit of a parent		its row says running: it is lost or
 *											goes back to the queue; children that
 *											it has committed are doomed if it is
 *											lost, and wait for its next attempt
 *											otherwise
 *		after it, before the news			the row says waiting: it is found in
 *											the table, or by the reaper
 *		after the end of a child			it is in history; the table is asked
 *											for others when the queue is read
 *		after the end of the last child		the queue has no child: the parent is
 *											ended by what history says
 *		after the end of a parent, while	their parent is not in the queue: they
 *		children live						are doomed when they are read
 *		after a stop of a parent that		its row of run_stop is there until the
 *		waits, or a second one				parent has ended, and is served again
 *		while a tree is ended				the root is gone or has its stop;
 *											all below it follows from that
 *		while a doomed child is executed	its worker's seat has the mark; after
 *											a crash of the server it is lost or
 *											queued, and ends as it is doomed
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"

/* Of a run that has children in memory, or is about to be seen to. */
typedef struct Family
{
	int64		run_id;			/* the parent's */
	Oid			owner;			/* whose turn it is in */
	int64		read_from;		/* the child that is read next */
	dlist_head	children;		/* RunChild.node */
	bool		doomed;			/* it has ended, or is to end early: they are
								 * to end, */
	bool		all_doomed;		/* also those that run always */
	bool		noted;			/* is in to_see */
	dlist_node	node;			/* there */
} Family;

struct RunChild
{
	RunEntry   *run;
	Family	   *family;
	dlist_node	node;			/* in Family.children */
	bool		noted;			/* is in to_end */
	dlist_node	end_node;		/* there */
};

typedef struct FamilyItem
{
	int64		run_id;
	char		status;
	Family	   *family;
} FamilyItem;

#define SH_PREFIX familyhash
#define SH_ELEMENT_TYPE FamilyItem
#define SH_KEY_TYPE int64
#define SH_KEY run_id
#define SH_HASH_KEY(tb, key) sched_hash_id(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What a child takes of the memory of its role, if it is its parent's only one. */
#define CHILD_COST (sizeof(RunChild) + sizeof(Family) + 2 * sizeof(FamilyItem))

static familyhash_hash *families = NULL;
static Turns to_see;			/* Family.node */
static Turns to_end;			/* RunChild.end_node */

/* ------------------------------------------------------------------------
 * Families
 * ------------------------------------------------------------------------
 */

static Family *
find_family(int64 run_id)
{
	FamilyItem *item = families == NULL ? NULL : familyhash_lookup(families, run_id);

	return item == NULL ? NULL : item->family;
}

static Family *
open_family(int64 run_id, Oid owner)
{
	FamilyItem *item;
	bool		found;

	if (families == NULL)
		families = familyhash_create(sched.context, 64, NULL);
	item = familyhash_insert(families, run_id, &found);
	if (!found)
	{
		item->family = MemoryContextAllocZero(sched.context, sizeof(Family));
		item->family->run_id = run_id;
		item->family->owner = owner;
		dlist_init(&item->family->children);
	}
	return item->family;
}

/* One that nobody needs any more. */
static void
close_family(Family *family)
{
	if (!dlist_is_empty(&family->children) || family->noted)
		return;
	familyhash_delete(families, family->run_id);
	pfree(family);
}

static void
note_family(Family *family)
{
	if (!family->noted)
		sched_turns_add(&to_see, family->owner, &family->node);
	family->noted = true;
}

static void
note_child(RunChild *child)
{
	if (!child->noted)
		sched_turns_add(&to_end, child->run->job->owner, &child->end_node);
	child->noted = true;
}

static void
unnote_child(RunChild *child)
{
	if (child->noted)
		sched_turns_remove(&to_end, &child->end_node);
	child->noted = false;
}

static void
doom(Family *family, bool all)
{
	dlist_iter	iter;

	if (family->doomed && (family->all_doomed || !all))
		return;
	family->doomed = true;
	family->all_doomed |= all;
	dlist_foreach(iter, &family->children)
		note_child(dlist_container(RunChild, node, iter.cur));
}

/* ------------------------------------------------------------------------
 * What others tell
 * ------------------------------------------------------------------------
 */

/* The children of a run are to end if it is not in the queue, or is doomed itself. */
static void
find_doom(Family *family)
{
	const RunEntry *parent = sched_run_find(family->run_id);
	JsRun		head;

	if (parent != NULL)
	{
		family->doomed = sched_child_is_doomed(parent);
		family->all_doomed = sched_child_ends_in_any_case(parent);
	}
	else
		family->doomed = !js_run_see_head(family->run_id, &head);
}

/* A run that has a parent has been read; it is in no place yet. */
void
sched_child_join(RunEntry *run, int64 parent_run_id)
{
	Family	   *family = find_family(parent_run_id);
	RunChild   *child = MemoryContextAllocZero(sched.context, sizeof(RunChild));

	if (family == NULL)
	{
		family = open_family(parent_run_id, run->job->owner);
		find_doom(family);
		note_family(family);	/* the parent may be to end early */
	}
	child->run = run;
	child->family = family;
	dlist_push_tail(&family->children, &child->node);
	run->child = child;
	sched_run_charge(run, CHILD_COST);
}

/* It leaves the memory: it has ended, or stays in the table only. */
void
sched_child_leave(RunEntry *run)
{
	RunChild   *child = run->child;

	if (child == NULL)
		return;
	unnote_child(child);
	dlist_delete(&child->node);
	if (dlist_is_empty(&child->family->children))
		note_family(child->family);
	run->child = NULL;
	pfree(child);
}

/* Whether a run is to end because of its parent. */
bool
sched_child_is_doomed(const RunEntry *run)
{
	return run->child != NULL && run->child->family->doomed &&
		(!run->always || run->child->family->all_doomed);
}

/* The same, were it a step that runs always. */
bool
sched_child_ends_in_any_case(const RunEntry *run)
{
	return run->child != NULL && run->child->family->all_doomed;
}

/* Whether its parent is not in the queue any more, or is to end early. */
bool
sched_child_lacks_parent(const RunEntry *run)
{
	return run->child == NULL || run->child->family->doomed;
}

/* The id of the parent of a run that has one. */
int64
sched_child_parent(const RunEntry *run)
{
	return run->child->family->run_id;
}

/* A run has been placed: if it is to end, it will be seen to. */
void
sched_child_note(RunEntry *run)
{
	if (sched_child_is_doomed(run))
		note_child(run->child);
}

/* A run waits for its children, or has changed while it does. */
void
sched_children_note(RunEntry *parent)
{
	note_family(open_family(parent->run_id, parent->job->owner));
}

/* Where to look for the next child of a run that is to be read. */
int64 *
sched_children_cursor(RunEntry *parent)
{
	return &open_family(parent->run_id, parent->job->owner)->read_from;
}

/* Whether a run waits for children, and none of them is in memory. */
bool
sched_children_lack_one(int64 parent_run_id)
{
	RunEntry   *parent = sched_run_find(parent_run_id);
	Family	   *family = find_family(parent_run_id);

	return parent != NULL && parent->state == RUN_PARENT &&
		(family == NULL || dlist_is_empty(&family->children));
}

/* A run is to end, and so are its children, or all of them; nearly all have had none. */
void
sched_children_doom(int64 run_id, bool all)
{
	Family	   *family = find_family(run_id);

	if (family != NULL)
		doom(family, all);
}

/* A run is not in the queue any more. */
void
sched_children_tell(int64 run_id)
{
	sched_children_doom(run_id, false);
	sched_children_seen(run_id);
}

/* ------------------------------------------------------------------------
 * What the next step has to do
 * ------------------------------------------------------------------------
 */

/*
 * A run whose children are to be seen to, which sched_children_seen() says when it
 * is done; 0: there is none.
 */
int64
sched_children_next_to_see(void)
{
	dlist_node *node = sched_turns_next(&to_see);
	Family	   *family;

	if (node == NULL)
		return 0;
	family = dlist_container(Family, node, node);
	sched_turns_remove(&to_see, node);
	family->noted = false;
	return family->run_id;
}

void
sched_children_seen(int64 run_id)
{
	Family	   *family = find_family(run_id);

	if (family != NULL)
		close_family(family);
}

/* A child that is to be ended, once; NULL: there is none. */
RunEntry *
sched_children_next_to_end(void)
{
	dlist_node *node = sched_turns_next(&to_end);
	RunChild   *child;

	if (node == NULL)
		return NULL;
	child = dlist_container(RunChild, end_node, node);
	unnote_child(child);
	return child->run;
}

/* Whether there is something to do. */
bool
sched_children_waiting(void)
{
	return to_see.count > 0 || to_end.count > 0;
}
