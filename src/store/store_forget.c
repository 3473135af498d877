/*-------------------------------------------------------------------------
 *
 * store_forget.c
 *		Rows that are kept as long as the record of a run, and go after it: of memo,
 *		and of waited.  Their first column is the run's id.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "store/store.h"
#include "store/table.h"

#define RUN_ID 1

/* Rows that are looked at in one step of the scheduler. */
#define MOST_VISITED 500

/* The scheduler goes through the rows run by run. */
typedef struct Forgetting
{
	int64		run_id;			/* the last that was looked at */
	bool		is_known;		/* it is in the queue or in history */
	int			deleted;
} Forgetting;

/* In this order: what leaves the queue is in history then. */
static bool
is_known(int64 run_id)
{
	JsRun		head;
	JsStatus	status;
	TimestampTz finished_at;

	return js_run_see_head(run_id, &head) || js_history_find_end(run_id, &status, &finished_at);
}

static void
forget_if_unknown(Relation rel, HeapTuple tuple, void *arg)
{
	Forgetting *forgetting = arg;
	bool		isnull;
	int64		run_id = DatumGetInt64(heap_getattr(tuple, RUN_ID, RelationGetDescr(rel), &isnull));

	if (run_id != forgetting->run_id)
	{
		forgetting->run_id = run_id;
		forgetting->is_known = is_known(run_id);
	}
	if (forgetting->is_known || js_tuple_is_busy(tuple))
		return;
	CatalogTupleDelete(rel, &tuple->t_self);
	forgetting->deleted++;
}

/*
 * Removes rows of runs that are neither in the queue nor in history: from a run on,
 * some at a time.  Returns the run to go on with, 0 at the end.
 */
int64
js_forget_some(const char *table, const char *index, int64 from)
{
	Relation	rel = js_table_open(table, RowExclusiveLock);
	Forgetting	forgetting = {0};
	int64		next = js_table_visit_some(table, index, from, false, MOST_VISITED,
										   forget_if_unknown, &forgetting);

	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();

	/*
	 * The last run may have more of them; if it is known these are passed
	 * over.
	 */
	return next == 0 || forgetting.is_known || forgetting.deleted == 0 ? next : next - 1;
}
