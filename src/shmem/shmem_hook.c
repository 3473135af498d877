/*-------------------------------------------------------------------------
 *
 * shmem_hook.c
 *		Shared memory: what has come to hooks, and how fast.
 *
 * A request that is refused must cost no write, for everybody can send one.  So it
 * is counted here, and the scheduler writes the totals of those that have changed
 * into their rows (sched_hook.c), once a second at most.  Counts are the whole
 * totals, which begin with what the row has: so a reader takes them from here or
 * from the row, and what was written twice is not counted twice.
 *
 * There is room for a fixed number.  A hook has its place in one of a few of a
 * bucket, by its id, which is random.  Where these are taken, one of which nothing of
 * its rate is used up makes way; else one of the role that has most of them, the one
 * whose rate has the most room; of these a clean one, and of these the one that has
 * not been used for longest.  What a dirty one has counted since it was written is
 * lost then, as it is in a crash.
 *
 * No rate begins anew by that, whoever makes hooks and sends to them.  What comes, of a
 * role that has some there, has no more room than the one of these that has most, and
 * than whatever made way.  The one that makes way for it, or for another role's, had
 * the most room of its role's: so when it is back it has used up at least what it had.
 *
 * Nor can a role keep another's hooks from their rates by many of its own, for these
 * make way for each other; what comes of a role that has none there has all its room.
 * Only if each place is another role's does one of these make way, and what comes takes
 * over what that had used up.
 *
 * The mutex of a bucket protects all that is in it, around straight-line code.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "shmem/shmem.h"
#include "utils/timestamp.h"

/* How much may come at once, in seconds of the rate. */
#define BURST_SECONDS 10

/* One line in the log for a hook in this time. */
#define LOG_US USECS_PER_MINUTE

static JsHookBucket *
bucket_of(const pg_uuid_t *id)
{
	return &js->hooks[(id->data[0] ^ (uint8) MyDatabaseId) % JS_HOOK_BUCKETS];
}

/* Caller holds the mutex; NULL: it has no place. */
static JsHookCount *
find_count(JsHookBucket *bucket, const pg_uuid_t *id)
{
	for (int i = 0; i < JS_HOOK_WAYS; i++)
		if (bucket->counts[i].dboid == MyDatabaseId &&
			memcmp(&bucket->counts[i].id, id, sizeof(pg_uuid_t)) == 0)
			return &bucket->counts[i];
	return NULL;
}

/* By how much what is used up of the rate lies ahead; a clock that was set back is no reason to wait for it. */
static int64
ahead(TimestampTz full_at, TimestampTz now)
{
	int64		us = full_at - now;

	return us < 0 || us > (BURST_SECONDS + 1) * USECS_PER_SEC ? 0 : us;
}

/* What a role would have of a bucket if one of another, or of its own, came. */
static int
crowd(const JsHookBucket *bucket, const JsHookCount *count, Oid comer)
{
	int			places = count->owner == comer ? 1 : 0;

	for (int i = 0; i < JS_HOOK_WAYS; i++)
		if (bucket->counts[i].dboid != InvalidOid && bucket->counts[i].owner == count->owner)
			places++;
	return places;
}

static bool
gives_way_before(const JsHookBucket *bucket, const JsHookCount *a, const JsHookCount *b, Oid comer, TimestampTz now)
{
	int64		ahead_a = ahead(a->full_at, now);
	int64		ahead_b = ahead(b->full_at, now);
	int			crowd_a = crowd(bucket, a, comer);
	int			crowd_b = crowd(bucket, b, comer);

	if (crowd_a != crowd_b && ahead_a > 0 && ahead_b > 0)
		return crowd_a > crowd_b;
	if (ahead_a != ahead_b)
		return ahead_a < ahead_b;
	if ((a->dboid == InvalidOid) != (b->dboid == InvalidOid))
		return a->dboid == InvalidOid;
	if (a->dirty != b->dirty)
		return !a->dirty;
	return a->used_at < b->used_at;
}

static JsHookCount *
first_to_give_way(JsHookBucket *bucket, Oid comer, TimestampTz now)
{
	JsHookCount *count = &bucket->counts[0];

	for (int i = 1; i < JS_HOOK_WAYS; i++)
		if (gives_way_before(bucket, &bucket->counts[i], count, comer, now))
			count = &bucket->counts[i];
	return count;
}

/* What one that comes has used up; gone is the one that makes way for it. */
static int64
ahead_of_comer(const JsHookBucket *bucket, const JsHookCount *gone, Oid comer, TimestampTz now)
{
	int64		least = -1;

	for (int i = 0; i < JS_HOOK_WAYS; i++)
	{
		const JsHookCount *count = &bucket->counts[i];
		int64		used = ahead(count->full_at, now);

		if (count->dboid != InvalidOid && count->owner == comer && (least < 0 || used < least))
			least = used;
	}
	if (least >= 0)
		return Min(least, ahead(bucket->full_at, now));
	return crowd(bucket, gone, comer) > 1 ? 0 : ahead(gone->full_at, now);
}

bool
js_hook_is_counted(const pg_uuid_t *id)
{
	JsHookBucket *bucket = bucket_of(id);
	bool		found;

	SpinLockAcquire(&bucket->mutex);
	found = find_count(bucket, id) != NULL;
	SpinLockRelease(&bucket->mutex);
	return found;
}

/* Gives it a place, with what its row has; unless somebody has meanwhile.  The time is that of rates. */
void
js_hook_begin_count(const pg_uuid_t *id, Oid owner, const JsHookTotals *totals, TimestampTz now)
{
	JsHookBucket *bucket = bucket_of(id);
	TimestampTz used_at = GetCurrentTimestamp();
	JsHookCount *count;
	int64		used;

	SpinLockAcquire(&bucket->mutex);
	if (find_count(bucket, id) == NULL)
	{
		count = first_to_give_way(bucket, owner, now);
		bucket->full_at = now + Max(ahead(bucket->full_at, now), ahead(count->full_at, now));
		used = ahead_of_comer(bucket, count, owner, now);
		memset(count, 0, sizeof(JsHookCount));
		count->dboid = MyDatabaseId;
		count->id = *id;
		count->owner = owner;
		count->used_at = used_at;
		count->full_at = now + used;
		count->totals = *totals;
	}
	SpinLockRelease(&bucket->mutex);
}

/* False: only its row knows. */
bool
js_hook_totals(const pg_uuid_t *id, JsHookTotals *totals)
{
	JsHookBucket *bucket = bucket_of(id);
	JsHookCount *count;

	SpinLockAcquire(&bucket->mutex);
	count = find_count(bucket, id);
	if (count != NULL)
		*totals = count->totals;
	SpinLockRelease(&bucket->mutex);
	return count != NULL;
}

/*
 * Whether one more may come now, by its rate in a second, and if so takes the room.
 * Each takes its share of a second; what is used up may lie some seconds ahead.
 */
bool
js_hook_has_room(const pg_uuid_t *id, int32 rate, TimestampTz now)
{
	JsHookBucket *bucket = bucket_of(id);
	int64		share = Max(USECS_PER_SEC / rate, 1);
	JsHookCount *count;
	bool		has = true;

	SpinLockAcquire(&bucket->mutex);
	count = find_count(bucket, id);
	if (count != NULL)
	{
		count->full_at = now + ahead(count->full_at, now);
		has = count->full_at - now + share <= BURST_SECONDS * USECS_PER_SEC;
		if (has)
			count->full_at += share;
	}
	SpinLockRelease(&bucket->mutex);
	return has;
}

/* The scheduler is woken by the first of many. */
static void
mark_dirty(void)
{
	JsDatabase *db;

	LWLockAcquire(js->lock, LW_SHARED);
	db = js_database_find_locked(MyDatabaseId);
	if (db != NULL && pg_atomic_exchange_u32(&db->hooks_dirty, 1) == 0)
		js_database_wake(db);
	LWLockRelease(js->lock);
}

/* Called when a transaction has committed: nothing here can fail. */
void
js_hook_count_accepted(const pg_uuid_t *id, TimestampTz now)
{
	JsHookBucket *bucket = bucket_of(id);
	TimestampTz used_at = GetCurrentTimestamp();
	JsHookCount *count;

	SpinLockAcquire(&bucket->mutex);
	count = find_count(bucket, id);
	if (count != NULL)
	{
		count->used_at = used_at;
		count->dirty = true;
		count->totals.accepted++;
		count->totals.last_received_at = now;
	}
	SpinLockRelease(&bucket->mutex);
	if (count != NULL)
		mark_dirty();
}

/* Whether it is time for a line in the log. */
bool
js_hook_count_refused(const pg_uuid_t *id, const char *reason, TimestampTz now)
{
	JsHookBucket *bucket = bucket_of(id);
	TimestampTz used_at = GetCurrentTimestamp();
	char		clipped[JS_HOOK_REASON];
	JsHookCount *count;
	bool		log = false;

	js_clip_text(clipped, reason, sizeof(clipped));
	SpinLockAcquire(&bucket->mutex);
	count = find_count(bucket, id);
	if (count != NULL)
	{
		log = count->logged_at == 0 || used_at - count->logged_at >= LOG_US ||
			used_at < count->logged_at;
		if (log)
			count->logged_at = used_at;
		count->used_at = used_at;
		count->dirty = true;
		count->totals.refused++;
		count->totals.last_refused_at = now;
		memcpy(count->totals.last_refusal, clipped, sizeof(clipped));
	}
	SpinLockRelease(&bucket->mutex);
	if (count != NULL)
		mark_dirty();
	return log;
}

/* For the scheduler: the next that is to be written, from a number on that is moved on. */
bool
js_hook_next_dirty(int *from, pg_uuid_t *id, JsHookTotals *totals)
{
	for (; *from < JS_HOOK_BUCKETS * JS_HOOK_WAYS; (*from)++)
	{
		JsHookBucket *bucket = &js->hooks[*from / JS_HOOK_WAYS];
		JsHookCount *count = &bucket->counts[*from % JS_HOOK_WAYS];
		bool		found;

		SpinLockAcquire(&bucket->mutex);
		found = count->dboid == MyDatabaseId && count->dirty;
		if (found)
		{
			*id = count->id;
			*totals = count->totals;
		}
		SpinLockRelease(&bucket->mutex);
		if (!found)
			continue;
		(*from)++;
		return true;
	}
	return false;
}

/* These have been committed. */
void
js_hook_written(const pg_uuid_t *id, const JsHookTotals *totals)
{
	JsHookBucket *bucket = bucket_of(id);
	JsHookCount *count;

	SpinLockAcquire(&bucket->mutex);
	count = find_count(bucket, id);
	if (count != NULL && count->totals.accepted == totals->accepted &&
		count->totals.refused == totals->refused)
		count->dirty = false;
	SpinLockRelease(&bucket->mutex);
}
