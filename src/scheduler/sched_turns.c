/*-------------------------------------------------------------------------
 *
 * sched_turns.c
 *		Things to be done of which each role has a turn.
 *
 * There is a line for each role, or for some of them together if there are many,
 * and the lines are served in turn.  So who has a million things to be done delays
 * nobody else's.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"

void
sched_turns_add(Turns *turns, Oid owner, dlist_node *node)
{
	dlist_push_tail(&turns->lines[owner % SCHED_TURNS], node);
	turns->count++;
}

void
sched_turns_remove(Turns *turns, dlist_node *node)
{
	dlist_delete(node);
	turns->count--;
}

/* The first of the next line that has any; NULL: none has.  It stays there. */
dlist_node *
sched_turns_next(Turns *turns)
{
	dlist_head *line;

	if (turns->count == 0)
		return NULL;
	do
	{
		line = &turns->lines[turns->next];
		turns->next = (turns->next + 1) % SCHED_TURNS;
	} while (dlist_is_empty(line));
	return dlist_head_node(line);
}
