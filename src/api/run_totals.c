/*-------------------------------------------------------------------------
 *
 * run_totals.c
 *		run_totals(): what all runs that one may see added up to, over time.
 *
 * Statistics have rows of each role besides those of each job (store_stat.h): these are
 * read, so it takes as long as there are roles, however many jobs they have.  A bucket
 * has parts of several roles, so all buckets are in memory: there are as many as hours in
 * 30 days and days in jobsched.stats_retention at most, and a few narrower ones.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/stat_buckets.h"
#include "api/stat_values.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/store_stat.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_run_totals);

enum TotalsColumn
{
	TOTALS_BUCKET, TOTALS_SUMS, TOTALS_COLUMNS = TOTALS_SUMS + JS_STAT_SUMS
};

typedef struct Bucket
{
	TimestampTz start;			/* the key */
	JsStat		sum;
} Bucket;

typedef struct RunTotals
{
	HTAB	   *buckets;
	JsBuckets	span;
	Bucket	   *current;		/* that which span is; NULL: none yet */
} RunTotals;

static Bucket *
bucket_of(HTAB *buckets, TimestampTz start)
{
	bool		found;
	Bucket	   *bucket = hash_search(buckets, &start, HASH_ENTER, &found);

	if (!found)
		memset(&bucket->sum, 0, sizeof(JsStat));
	return bucket;
}

/* Of one role they come in order of time. */
static void
add_entry(const JsStatEntry *entry, void *arg)
{
	RunTotals  *totals = arg;

	if (js_buckets_move_on(&totals->span, entry->start) || totals->current == NULL)
		totals->current = bucket_of(totals->buckets, totals->span.start);
	js_stat_add_encoded(&totals->current->sum, entry->bytes, entry->size);
}

static void
add_roles(RunTotals *totals, TimestampTz from, TimestampTz to)
{
	const JsBuckets first = totals->span;
	JsStatReader reader;
	int64		id = JS_STAT_FIRST_ID;

	js_stat_reader_open(&reader);
	while ((id = js_stat_next_total(&reader, id)) != 0)
	{
		CHECK_FOR_INTERRUPTS();
		if (!js_may_see(js_stat_owner_of_total(id)))
			continue;
		totals->span = first;
		totals->current = NULL;
		js_stat_visit(&reader, id, from, to, add_entry, totals);
	}
	js_stat_reader_close(&reader);
}

static int
by_start(const void *a, const void *b)
{
	TimestampTz one = (*(Bucket *const *) a)->start;
	TimestampTz other = (*(Bucket *const *) b)->start;

	return (one > other) - (one < other);
}

static void
put_bucket(ReturnSetInfo *result, const Bucket *bucket)
{
	Datum		values[TOTALS_COLUMNS];
	bool		nulls[TOTALS_COLUMNS] = {false};

	values[TOTALS_BUCKET] = TimestampTzGetDatum(bucket->start);
	js_stat_put_sums(&bucket->sum, &values[TOTALS_SUMS], &nulls[TOTALS_SUMS]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
put_buckets(ReturnSetInfo *result, HTAB *buckets)
{
	long		count = hash_get_num_entries(buckets);
	Bucket	  **sorted = palloc(Max(count, 1) * sizeof(Bucket *));
	Bucket	   *bucket;
	HASH_SEQ_STATUS scan;
	int			n = 0;

	hash_seq_init(&scan, buckets);
	while ((bucket = hash_seq_search(&scan)) != NULL)
		sorted[n++] = bucket;
	qsort(sorted, n, sizeof(Bucket *), by_start);
	for (int i = 0; i < n; i++)
		put_bucket(result, sorted[i]);
}

/* "from", "to", bucket, timezone */
Datum
jobsched_run_totals(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	RunTotals  *totals = palloc0(sizeof(RunTotals));
	HASHCTL		control = {.keysize = sizeof(TimestampTz),.entrysize = sizeof(Bucket),.hcxt = CurrentMemoryContext};
	TimestampTz from = PG_ARGISNULL(0) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(0);
	TimestampTz to = PG_ARGISNULL(1) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(1);

	InitMaterializedSRF(fcinfo, 0);
	js_buckets_read(fcinfo, 2, 3, &totals->span);
	if (totals->span.whole)
		totals->span.start = from;
	totals->buckets = hash_create("jobsched totals", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	add_roles(totals, from, to);
	put_buckets(result, totals->buckets);
	return (Datum) 0;
}
