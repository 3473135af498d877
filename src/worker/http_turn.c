/*-------------------------------------------------------------------------
 *
 * http_turn.c
 *		Which owner the HTTP worker serves next.
 *
 * There is one process for all owners, and whatever it does for one of them,
 * all others wait.  So its work is cut into small pieces, and for each piece it
 * chooses, of the owners with work, the one who has had the least of its time.
 * If an owner's requests take long, that owner pays for them, and others only
 * wait for the current piece.
 *
 * Unused time is not saved: an owner with new work begins where the others are
 * (now_served).
 *
 * The memory of requests under way is shared by the same rule as their number
 * (mux_share.h).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mux/mux_share.h"
#include "utils/memutils.h"
#include "worker/http_worker.h"

#define MB (INT64CONST(1024) * 1024)

/* Of bytes: what one owner may have, what is there for who has nothing. */
static const JsShare bytes_share = {256 * MB, 128 * MB};

struct JsHttpOwner
{
	dlist_node	node;
	Oid			owner;
	int			transfers;		/* 0: it is about to go */
	int64		bytes;			/* of its requests that are under way */
	int64		spent;			/* of our time, microseconds */
	dlist_head	queues[JS_HTTP_STAGES]; /* JsTransfer.node, the next first */
};

static dlist_head owners = DLIST_STATIC_INIT(owners);
static int64 bytes_in_use = 0;
static int64 now_served = 0;	/* what the one who is served has spent */

static JsHttpOwner *
find_owner(Oid id)
{
	JsHttpOwner *owner;
	dlist_iter	iter;

	dlist_foreach(iter, &owners)
	{
		owner = dlist_container(JsHttpOwner, node, iter.cur);
		if (owner->owner == id)
			return owner;
	}
	owner = MemoryContextAllocZero(TopMemoryContext, sizeof(JsHttpOwner));
	owner->owner = id;
	for (int i = 0; i < JS_HTTP_STAGES; i++)
		dlist_init(&owner->queues[i]);
	dlist_push_tail(&owners, &owner->node);
	return owner;
}

void
js_turn_enter(JsTransfer *transfer)
{
	transfer->owner = find_owner(transfer->mail.owner);
	transfer->owner->transfers++;
}

void
js_turn_leave(JsTransfer *transfer)
{
	JsHttpOwner *owner = transfer->owner;

	transfer->owner = NULL;
	if (--owner->transfers > 0)
		return;
	dlist_delete(&owner->node);
	pfree(owner);
}

void
js_turn_queue(JsTransfer *transfer, JsHttpStage stage)
{
	dlist_push_tail(&transfer->owner->queues[stage], &transfer->node);
}

/* It was taken too soon. */
void
js_turn_return(JsTransfer *transfer, JsHttpStage stage)
{
	dlist_push_head(&transfer->owner->queues[stage], &transfer->node);
}

void
js_turn_unqueue(JsTransfer *transfer)
{
	dlist_delete(&transfer->node);
}

static bool
has_turn(JsHttpOwner *owner, JsHttpStage stage)
{
	return !dlist_is_empty(&owner->queues[stage]) &&
		(stage != JS_HTTP_WAITING ||
		 js_share_may_have_more(bytes_share, owner->bytes, bytes_in_use));
}

static JsHttpOwner *
next_owner(JsHttpStage stage)
{
	JsHttpOwner *next = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &owners)
	{
		JsHttpOwner *owner = dlist_container(JsHttpOwner, node, iter.cur);

		if (has_turn(owner, stage) && (next == NULL || owner->spent < next->spent))
			next = owner;
	}
	return next;
}

bool
js_turn_any(JsHttpStage stage)
{
	return next_owner(stage) != NULL;
}

/* The next one, out of its queue; NULL: there is none. */
JsTransfer *
js_turn_next(JsHttpStage stage)
{
	JsHttpOwner *owner = next_owner(stage);

	if (owner == NULL)
		return NULL;
	owner->spent = now_served = Max(now_served, owner->spent);
	return dlist_container(JsTransfer, node, dlist_pop_head_node(&owner->queues[stage]));
}

/* Something was done for it, which took so long. */
void
js_turn_charge(JsTransfer *transfer, int64 us)
{
	transfer->owner->spent += Max(us, 1);
}

/* What it takes of memory from now on; 0: nothing any more. */
void
js_turn_weigh(JsTransfer *transfer, Size bytes)
{
	int64		more = (int64) bytes - (int64) transfer->bytes;

	transfer->bytes = bytes;
	transfer->owner->bytes += more;
	bytes_in_use += more;
}

/*
 * One whose time is over before it had its turn, out of its queue; NULL: there is
 * none, and next is when there may be one.
 */
JsTransfer *
js_turn_overdue(TimestampTz now, TimestampTz *next)
{
	dlist_iter	i;
	dlist_iter	j;

	*next = DT_NOEND;
	dlist_foreach(i, &owners)
	{
		JsHttpOwner *owner = dlist_container(JsHttpOwner, node, i.cur);

		dlist_foreach(j, &owner->queues[JS_HTTP_WAITING])
		{
			JsTransfer *transfer = dlist_container(JsTransfer, node, j.cur);

			if (js_http_due(transfer) <= now)
			{
				dlist_delete(&transfer->node);
				return transfer;
			}
			*next = Min(*next, js_http_due(transfer));
		}
	}
	return NULL;
}
