/*-------------------------------------------------------------------------
 *
 * store_memo.c
 *		Rows of memo: what durable procedures have done.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "store/store.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

enum MemoColumn
{
	MEMO_RUN_ID = 1, MEMO_NAME, MEMO_SEQ, MEMO_JOB_ID, MEMO_OWNER, MEMO_FUNCTION, MEMO_ARGS_HASH,
	MEMO_RESULT, MEMO_SLEEPS_UNTIL, MEMO_STORED_AT, MEMO_EVENT, MEMO_EVENT_CAME, MEMO_STEP,
	MEMO_REQUEST_RUN_ID, MEMO_ERROR
};

static void
memo_from_tuple(Relation rel, HeapTuple tuple, JsMemo *memo)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	memset(memo, 0, sizeof(JsMemo));
	memo->run_id = DatumGetInt64(row.values[MEMO_RUN_ID - 1]);
	memo->name = js_row_text(&row, MEMO_NAME);
	memo->seq = js_row_number(&row, MEMO_SEQ, PG_INT32_MAX);
	memo->job_id = DatumGetInt64(row.values[MEMO_JOB_ID - 1]);
	memo->owner = DatumGetObjectId(row.values[MEMO_OWNER - 1]);
	memo->function = js_row_text(&row, MEMO_FUNCTION);
	memo->args_hash = row.nulls[MEMO_ARGS_HASH - 1] ? 0 : DatumGetInt64(row.values[MEMO_ARGS_HASH - 1]);
	memo->result = js_row_jsonb(&row, MEMO_RESULT);
	memo->sleeps_until = js_row_timestamp(&row, MEMO_SLEEPS_UNTIL);
	memo->stored_at = js_row_timestamp(&row, MEMO_STORED_AT);
	memo->event = js_row_text(&row, MEMO_EVENT);
	memo->event_came = row.nulls[MEMO_EVENT_CAME - 1] ? 0 : DatumGetInt64(row.values[MEMO_EVENT_CAME - 1]);
	memo->step = js_row_text(&row, MEMO_STEP);
	memo->request_id = row.nulls[MEMO_REQUEST_RUN_ID - 1] ? 0 : DatumGetInt64(row.values[MEMO_REQUEST_RUN_ID - 1]);
	memo->error = js_row_text(&row, MEMO_ERROR);
}

/* Nobody else may have a row of this run and name: if somebody has, it is an error. */
void
js_memo_insert(const JsMemo *memo)
{
	Relation	rel = js_table_open("memo", RowExclusiveLock);
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, MEMO_RUN_ID, Int64GetDatum(memo->run_id));
	js_row_set_text(&row, MEMO_NAME, memo->name);
	js_row_set(&row, MEMO_SEQ, Int32GetDatum(memo->seq));
	js_row_set(&row, MEMO_JOB_ID, Int64GetDatum(memo->job_id));
	js_row_set(&row, MEMO_OWNER, ObjectIdGetDatum(memo->owner));
	js_row_set_text(&row, MEMO_FUNCTION, memo->function);
	if (memo->function != NULL || memo->request_id != 0)
		js_row_set(&row, MEMO_ARGS_HASH, Int64GetDatum(memo->args_hash));
	js_row_set_jsonb(&row, MEMO_RESULT, memo->result);
	js_row_set_timestamp(&row, MEMO_SLEEPS_UNTIL, memo->sleeps_until);
	js_row_set_timestamp(&row, MEMO_STORED_AT, memo->stored_at);
	js_row_set_text(&row, MEMO_EVENT, memo->event);
	if (memo->event_came != 0)
		js_row_set(&row, MEMO_EVENT_CAME, Int64GetDatum(memo->event_came));
	js_row_set_text(&row, MEMO_STEP, memo->step);
	if (memo->request_id != 0)
		js_row_set(&row, MEMO_REQUEST_RUN_ID, Int64GetDatum(memo->request_id));
	js_row_set_text(&row, MEMO_ERROR, memo->error);
	js_table_insert(rel, &row);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

static SysScanDesc
scan_memo(Relation rel, int64 run_id, const char *name)
{
	ScanKeyData keys[2];

	js_scan_int64(&keys[0], MEMO_RUN_ID, BTEqualStrategyNumber, run_id);
	/* ScanKeyInit() sets collation "C", and the column has that. */
	ScanKeyInit(&keys[1], MEMO_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	return js_table_scan_key(rel, "memo_pkey", keys, 2);
}

bool
js_memo_find(int64 run_id, const char *name, JsMemo *memo)
{
	Relation	rel = js_table_open("memo", AccessShareLock);
	SysScanDesc scan = scan_memo(rel, run_id, name);
	HeapTuple	tuple = systable_getnext(scan);

	if (HeapTupleIsValid(tuple))
		memo_from_tuple(rel, tuple, memo);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

static const char *
copy_text(const char *text, MemoryContext context)
{
	return text == NULL ? NULL : MemoryContextStrdup(context, text);
}

JsMemo *
js_memo_copy(const JsMemo *memo, MemoryContext context)
{
	JsMemo	   *copy = MemoryContextAlloc(context, sizeof(JsMemo));

	*copy = *memo;
	copy->name = copy_text(memo->name, context);
	copy->function = copy_text(memo->function, context);
	copy->event = copy_text(memo->event, context);
	copy->step = copy_text(memo->step, context);
	copy->error = copy_text(memo->error, context);
	if (memo->result != NULL)
		copy->result = memcpy(MemoryContextAlloc(context, VARSIZE(memo->result)),
							  memo->result, VARSIZE(memo->result));
	return copy;
}

/* Who is told of the memos of a run. */
typedef struct MemoVisit
{
	Size		most;
	JsMemoVisitor visit;
	void	   *arg;
} MemoVisit;

static void
visit_memo(Relation rel, HeapTuple tuple, void *arg)
{
	const MemoVisit *visit = arg;
	JsMemo		memo = {0};
	Size		size;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	size = js_row_size(&row, MEMO_RESULT) + js_row_size(&row, MEMO_ERROR);
	if (size <= visit->most)
		memo_from_tuple(rel, tuple, &memo);
	else
		memo.name = js_row_text(&row, MEMO_NAME);
	if (js_memo_is_of_step(memo.name))
		visit->visit(&memo, size, visit->arg);
}

/*
 * Visits what a run has done.  size: that of the result and the error; if it is more than
 * most only the name is read.
 */
void
js_memos_visit(int64 run_id, Size most, JsMemoVisitor visit, void *arg)
{
	MemoVisit	memo_visit = {most, visit, arg};

	js_table_visit("memo", "memo_pkey", run_id, run_id, visit_memo, &memo_visit);
}

/* Whether a run has done anything. */
bool
js_memos_exist(int64 run_id)
{
	Relation	rel = js_table_open("memo", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	js_scan_int64(&key, MEMO_RUN_ID, BTEqualStrategyNumber, run_id);
	scan = js_table_scan_key(rel, "memo_pkey", &key, 1);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* By the run's worker. */
void
js_memo_delete(int64 run_id, const char *name)
{
	Relation	rel = js_table_open("memo", RowExclusiveLock);
	SysScanDesc scan = scan_memo(rel, run_id, name);
	HeapTuple	tuple = systable_getnext(scan);

	if (HeapTupleIsValid(tuple))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * How far a run has come, and where requests have failed, by seq.  A procedure that has
 * caught that and gone on depends on it; so it has failed once and for all, unless it is
 * what the run has ended of, or nothing was done after it.
 */
typedef struct MemoCopy
{
	const JsRun *to;
	const char *ended_of;		/* the detail of the error, if it is that of a
								 * request; NULL: it is not */
	int32		last;
	int32		failed;			/* the last one */
	int32		ended_at;		/* the one that the run has ended of */
	int32		done_anew;		/* the one that is not copied; 0: none */
} MemoCopy;

static void
note_failure(Relation rel, HeapTuple tuple, void *arg)
{
	MemoCopy   *copy = arg;
	bool		isnull;
	int32		seq = DatumGetInt32(heap_getattr(tuple, MEMO_SEQ, RelationGetDescr(rel), &isnull));
	Datum		error;

	copy->last = Max(copy->last, seq);
	error = heap_getattr(tuple, MEMO_ERROR, RelationGetDescr(rel), &isnull);
	if (isnull)
		return;
	copy->failed = Max(copy->failed, seq);
	if (copy->ended_of != NULL && strcmp(TextDatumGetCString(error), copy->ended_of) == 0)
		copy->ended_at = seq;
}

/* The detail of a request's error is the memo's; who raises one of his own may give none. */
static const char *
what_has_ended(int64 run_id)
{
	JsRun		run = {0};
	JsOutcome	outcome = {0};

	if (!js_history_find(run_id, &run, &outcome) || outcome.sqlstate == NULL ||
		strcmp(outcome.sqlstate, JS_SQLSTATE_REQUEST) != 0)
		return NULL;
	return outcome.error_detail != NULL ? outcome.error_detail : "";
}

/* But for a wait that has not ended, which begins anew. */
static void
copy_memo(Relation rel, HeapTuple tuple, void *arg)
{
	const MemoCopy *copy = arg;
	JsMemo		memo;

	memo_from_tuple(rel, tuple, &memo);
	if (!js_memo_is_of_step(memo.name) || (memo.error != NULL && memo.seq == copy->done_anew))
		return;
	memo.run_id = copy->to->run_id;
	memo.owner = copy->to->owner;
	js_memo_insert(&memo);
}

/* A run goes on where another one has ended. */
void
js_memos_copy(int64 from, const JsRun *to)
{
	MemoCopy	copy = {.to = to};

	if (!js_memos_exist(from))
		return;
	copy.ended_of = what_has_ended(from);
	js_table_visit("memo", "memo_pkey", from, from, note_failure, &copy);
	if (copy.ended_at != 0)
		copy.done_anew = copy.ended_at;
	else if (copy.ended_of != NULL || copy.failed == copy.last)
		copy.done_anew = copy.failed;
	js_table_visit("memo", "memo_pkey", from, from, copy_memo, &copy);
}

/* The waits of a run for an event. */
typedef struct Waits
{
	const char *event;
	int64		last;
} Waits;

static void
note_wait(Relation rel, HeapTuple tuple, void *arg)
{
	Waits	   *waits = arg;
	bool		isnull;
	Datum		event = heap_getattr(tuple, MEMO_EVENT, RelationGetDescr(rel), &isnull);
	int64		came;

	if (isnull || strcmp(TextDatumGetCString(event), waits->event) != 0)
		return;
	came = DatumGetInt64(heap_getattr(tuple, MEMO_EVENT_CAME, RelationGetDescr(rel), &isnull));
	if (!isnull)
		waits->last = Max(waits->last, came);
}

/* The number of the last event of a name that the run has got; 0: none. */
int64
js_memos_last_event(int64 run_id, const char *event)
{
	Waits		waits = {event, 0};

	js_table_visit("memo", "memo_pkey", run_id, run_id, note_wait, &waits);
	return waits.last;
}
