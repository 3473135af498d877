/*-------------------------------------------------------------------------
 *
 * shmem_left.c
 *		Runs that have ended and left no row (run/keep.c).
 *
 * For those who have their ids and find nothing in the tables: a session that waits,
 * and the scheduler when a worker died before it could tell.  Each run has one place,
 * by its id, with the rest of the id and the owner in one word; so a place is read and
 * written without a lock.  It is taken over by a run that comes JS_LEFT_NOTHING later.
 * If the extension is dropped and created again, ids begin anew: so the word has the table
 * of runs in it as well.
 *
 * A run is entered before the commit that ends it.  Readers look into the tables
 * first: a run that is there after all, because that transaction has not committed, is
 * what the tables say.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "shmem/shmem.h"

static pg_atomic_uint64 *
place_of(int64 run_id)
{
	JsDatabase *db = js_database_find(MyDatabaseId);

	return db == NULL ? NULL : &db->left_nothing[run_id % JS_LEFT_NOTHING];
}

/* The lower half is never 0: a run has an owner. */
static uint64
word_of(Oid table, int64 run_id, Oid owner)
{
	uint32		rest = (uint32) (run_id / JS_LEFT_NOTHING);

	return (uint64) (rest ^ murmurhash32(table)) << 32 | owner;
}

/* With everything that is written before it and read after it in order. */
bool
js_left_nothing_note(Oid table, int64 run_id, Oid owner)
{
	pg_atomic_uint64 *place = place_of(run_id);

	if (place == NULL)
		return false;
	(void) pg_atomic_exchange_u64(place, word_of(table, run_id, owner));
	return true;
}

/* It does leave a row. */
void
js_left_nothing_withdraw(Oid table, int64 run_id, Oid owner)
{
	pg_atomic_uint64 *place = place_of(run_id);
	uint64		word = word_of(table, run_id, owner);

	if (place != NULL)
		(void) pg_atomic_compare_exchange_u64(place, &word, 0);
}

/* Whether a run is known to have left nothing, or to be about to; and whose it was. */
bool
js_left_nothing(Oid table, int64 run_id, Oid *owner)
{
	pg_atomic_uint64 *place = run_id > 0 ? place_of(run_id) : NULL;
	uint64		word;

	if (place == NULL)
		return false;
	pg_memory_barrier();
	word = pg_atomic_read_u64(place);
	*owner = (Oid) word;
	return *owner != InvalidOid && word == word_of(table, run_id, *owner);
}
