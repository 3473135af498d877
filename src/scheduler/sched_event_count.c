/*-------------------------------------------------------------------------
 *
 * sched_event_count.c
 *		How many events each role has: who has too many sends no more.
 *
 * Events are kept for days, and anybody can send them.  So each role may have
 * jobsched.max_events.  A session cannot count them each time.  The scheduler does
 * when it reads all of them, as with each sweep (sched_news.c), and in between it
 * adds those that come.  A role that has more gets a row in event_full, and
 * send_event() refuses to send its events, until a later count finds fewer.  A role
 * can be some ahead: what it sends until the scheduler's next step.
 *
 * The numbers are in memory only.  A successor counts anew when it starts.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "guc.h"
#include "scheduler/sched.h"

typedef struct EventCount
{
	Oid			owner;
	char		status;
	int64		count;
} EventCount;

#define SH_PREFIX eventcount
#define SH_ELEMENT_TYPE EventCount
#define SH_KEY_TYPE Oid
#define SH_KEY owner
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static eventcount_hash *counts = NULL;	/* the last count, and what came since */
static eventcount_hash *next_counts = NULL; /* the one that is under way */

static int64
add(eventcount_hash *hash, Oid owner)
{
	EventCount *item;
	bool		found;

	if (hash == NULL)
		return 0;
	item = eventcount_insert(hash, owner, &found);
	if (!found)
		item->count = 0;
	return ++item->count;
}

/* All are about to be read, from the oldest on. */
void
sched_event_count_begin(void)
{
	if (next_counts != NULL)
		eventcount_destroy(next_counts);
	next_counts = eventcount_create(sched.context, 16, NULL);
}

/* One of them. */
void
sched_event_count(const JsEvent *event)
{
	(void) add(next_counts, event->owner);
}

/* One has come. */
void
sched_event_count_new(const JsEvent *event)
{
	(void) add(next_counts, event->owner);
	if (add(counts, event->owner) == (int64) js_guc_max_events + 1)
		js_event_full_set(event->owner, true);
}

static void
free_if_fewer(Oid owner)
{
	EventCount *item = eventcount_lookup(counts, owner);

	if (item == NULL || item->count < js_guc_max_events)
		js_event_full_set(owner, false);
}

/* All have been read. */
void
sched_event_count_end(void)
{
	eventcount_iterator iterator;
	EventCount *item;
	ListCell   *lc;

	if (next_counts == NULL)
		return;
	if (counts != NULL)
		eventcount_destroy(counts);
	counts = next_counts;
	next_counts = NULL;
	eventcount_start_iterate(counts, &iterator);
	while ((item = eventcount_iterate(counts, &iterator)) != NULL)
		if (item->count > js_guc_max_events)
			js_event_full_set(item->owner, true);
	foreach(lc, js_event_full_owners())
		free_if_fewer(lfirst_oid(lc));
}
