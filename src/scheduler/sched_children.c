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
 *		sched_children_serve() --> see_to_family() --> end_parent()
 *
 * A child lives no longer than its parent.  When a parent ends although children
 * of it live, because it was cancelled, or has failed after a commit, these are
 * doomed: they are ended wherever they are.  So are they when a parent that waits
 * is to end early (by cancel_run(), overlap 'replace', drop_job() with
 * cancel_running, or because it is doomed itself); it ends after them.
 *
 * INVARIANTS
 *
 * A run with a parent belongs to its family for as long as it is in memory.
 * Whether it is doomed can be derived at any time: its parent is not in the
 * queue, or is doomed itself, or waits and is to end.  A doomed run starts no
 * more (sched_run_wait() holds it).
 *
 * Nobody waits for ever.  A parent waits for its children only; these wait for no
 * runs that live but children of the same parent, which are older (api/child.c).
 * So there are no cycles.  A parent that waits takes nothing of the memory that
 * its role may have, and if none of its children is in memory, some are read in
 * any case, the oldest first.
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
 *		waits								parent has ended, and is served again
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
