/*-------------------------------------------------------------------------
 *
 * sched_stop.c
 *		The known rows of run_stop, and which is served next.
 *
 * sched_cancel.c serves them.  A row is deleted when it has been served, so a
 * successor finds it as long as there is something to do.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct StopItem
{
	int64		stop_id;
	StopEntry  *stop;
	char		status;
} StopItem;

#define SH_PREFIX stophash
#define SH_ELEMENT_TYPE StopItem
#define SH_KEY_TYPE int64
#define SH_KEY stop_id
#define SH_HASH_KEY(tb, key) sched_hash_id(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* All that there are, wherever they are: one may be read more than once. */
static stophash_hash *known = NULL;

/*
 * Those that are to be seen to: roles take turns, so who cancels a million runs
 * delays nobody else.  (Roles whose OIDs fall together share a turn.)  As many
 * as are served soon are in memory; the others stay in the table until then.
 */
#define MAX_READ_AHEAD 10000

typedef struct Turn
{
	dlist_head	stops;
	int			count;
	int64		unread_from;	/* the first that is in the table only; 0:
								 * none is */
} Turn;

static Turn turns[SCHED_TURNS];
static int	waiting_count = 0;
static int	next_turn = 0;

void
sched_stops_init(void)
{
	for (int i = 0; i < SCHED_TURNS; i++)
		dlist_init(&turns[i].stops);
	dlist_init(&sched.stops_done);
}

/* run: NULL if it is not known. */
static Turn *
turn_of(const RunEntry *run)
{
	return &turns[run != NULL ? run->job->owner % SCHED_TURNS : 0];
}

void
sched_queue_stop(StopEntry *stop, const RunEntry *run)
{
	Turn	   *turn = turn_of(run);

	dlist_push_tail(&turn->stops, &stop->node);
	turn->count++;
	waiting_count++;
}

/* Of whose turn it is; NULL if there is none, or if it has to wait. */
StopEntry *
sched_next_stop(void)
{
	Turn	   *turn = &turns[next_turn];
	StopEntry  *stop;

	next_turn = (next_turn + 1) % SCHED_TURNS;
	if (dlist_is_empty(&turn->stops))
		return NULL;
	stop = dlist_head_element(StopEntry, node, &turn->stops);
	if (stop->again && !sched_may_end())
		return NULL;			/* round to the first of those that wait */
	dlist_delete(&stop->node);
	turn->count--;
	waiting_count--;
	return stop;
}

static void
leave_unread(Turn *turn, int64 stop_id)
{
	if (turn->unread_from == 0 || stop_id < turn->unread_from)
		turn->unread_from = stop_id;
}

static Turn *
turn_with_room(void)
{
	for (int i = 0; i < SCHED_TURNS; i++)
		if (turns[i].unread_from != 0 && turns[i].count < MAX_READ_AHEAD / 2)
			return &turns[i];
	return NULL;
}

/* Whether some that are in the table only are to be read. */
bool
sched_stops_unread(void)
{
	return turn_with_room() != NULL;
}

/* Reads a part of them: read returns where to go on, 0 if that was all. */
void
sched_read_stops(int64 (*read) (int64 from, bool down, TimestampTz now), TimestampTz now)
{
	Turn	   *turn = turn_with_room();
	int64		from;
	int64		next;

	if (turn == NULL)
		return;
	from = turn->unread_from;
	turn->unread_from = 0;
	if ((next = read(from, false, now)) > 0)
		leave_unread(turn, next);
}

/*
 * Takes in a row.  False: it has been read before.  What is beyond what is read
 * ahead stays in the table.
 */
bool
sched_take_stop(const JsStop *row)
{
	const RunEntry *run = sched_run_find(row->run_id);
	StopEntry  *stop;
	StopItem   *item;
	bool		found;

	if (known == NULL)
		known = stophash_create(sched.context, 64, NULL);
	if (turn_of(run)->count >= MAX_READ_AHEAD && stophash_lookup(known, row->stop_id) == NULL)
	{
		leave_unread(turn_of(run), row->stop_id);
		return true;
	}
	item = stophash_insert(known, row->stop_id, &found);
	if (found)
		return false;
	stop = MemoryContextAlloc(sched.context, sizeof(StopEntry));
	stop->stop_id = row->stop_id;
	stop->kind = row->kind;
	stop->run_id = row->run_id;
	stop->attempt = row->attempt;
	stop->force = row->force;
	stop->again = false;
	stop->second = NULL;
	item->stop = stop;
	sched_queue_stop(stop, run);
	return true;
}

bool
sched_stops_waiting(void)
{
	return waiting_count > 0 || !dlist_is_empty(&sched.stops_done);
}

/* How many wait for their turn. */
int
sched_stops_left(void)
{
	return waiting_count;
}

static void
forget_stop(StopEntry *stop)
{
	js_stop_delete(stop->stop_id);
	stophash_delete(known, stop->stop_id);
	pfree(stop);
}

/* Deletes those that are done. */
void
sched_forget_stops(void)
{
	while (!dlist_is_empty(&sched.stops_done))
		forget_stop(dlist_container(StopEntry, node, dlist_pop_head_node(&sched.stops_done)));
}

/* ------------------------------------------------------------------------
 * Runs that others replace
 * ------------------------------------------------------------------------
 */

/* Runs without a job that others replace: held back as soon as they get one. */
static HTAB *replaced = NULL;

void
sched_note_replaced(int64 run_id)
{
	if (replaced == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(int64),.entrysize = sizeof(int64),.hcxt = sched.context};

		replaced = hash_create("jobsched replaced runs", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(replaced, &run_id, HASH_ENTER, NULL);
}

/* Asked once, when the run has got its job. */
bool
sched_was_replaced(int64 run_id)
{
	return replaced != NULL && hash_search(replaced, &run_id, HASH_REMOVE, NULL) != NULL;
}
