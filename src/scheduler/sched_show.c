/*-------------------------------------------------------------------------
 *
 * sched_show.c
 *		What sessions are shown of the queue: dashboard_summary().
 *
 * The scheduler knows how many runs of each role there are in which state; nobody counts
 * rows.  Each step leaves these numbers in shared memory (publish_status()): a few for
 * each role, of so many roles that this takes no time.  What the others have is in one
 * more row.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"

static void
add_owner(JsQueueShown *queue, const OwnerEntry *owner)
{
	int			placed = owner->assigned + owner->ready_count + owner->limited + owner->behind +
		owner->future + owner->after_others + owner->parents;

	queue->partial |= owner->unread_from != PG_INT64_MAX;
	queue->running += owner->assigned;
	queue->ready += owner->ready_count;
	queue->limited += owner->limited;
	queue->behind += owner->behind;
	queue->held += Max(owner->runs - placed, 0);
	queue->future += owner->future;
	queue->after_others += owner->after_others;
	queue->parents += owner->parents;
	queue->oldest_ready = Min(queue->oldest_ready, sched_ready_oldest(owner));
}

/* Of all roles; DT_NOEND: none is ready. */
TimestampTz
sched_oldest_ready(void)
{
	TimestampTz oldest = DT_NOEND;
	dlist_iter	iter;

	dlist_foreach(iter, &sched.owners)
		oldest = Min(oldest, sched_ready_oldest(dlist_container(OwnerEntry, node, iter.cur)));
	return oldest;
}

/* Fills an array of JS_QUEUES_SHOWN, and returns how many there are. */
int
sched_queues_show(JsQueueShown *queues)
{
	int			count = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &sched.owners)
	{
		const OwnerEntry *owner = dlist_container(OwnerEntry, node, iter.cur);

		if (owner->runs == 0 && owner->unread_from == PG_INT64_MAX)
			continue;
		if (count < JS_QUEUES_SHOWN)
		{
			bool		last = count == JS_QUEUES_SHOWN - 1;

			memset(&queues[count], 0, sizeof(JsQueueShown));
			queues[count].oldest_ready = DT_NOEND;
			queues[count].owner = last ? InvalidOid : owner->owner;
			queues[count].http = !last && owner->http;
			count++;
		}
		add_owner(&queues[count - 1], owner);
	}
	return count;
}
