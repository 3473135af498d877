/*-------------------------------------------------------------------------
 *
 * store_history.c
 *		Rows of history, attempt, run_log, http_response and ring: runs that have
 *		ended.
 *
 * DESIGN
 *
 * Runs that have ended go to history, a table partitioned into two rings of
 * JS_SEGMENTS segments: ring 0 for successes, ring 1 for everything else.  Rows
 * are written to one segment of each ring.  After retention / (JS_SEGMENTS - 1)
 * the ring moves on to the next segment, which is TRUNCATEd first.  So a row is
 * kept for at least the retention and at most a seventh longer, and its removal
 * leaves nothing to vacuum.  Messages go to the segment of run_log with the
 * same number.  Attempts that were followed by others have their own table, in
 * ring 1: history has one row for each run.
 *
 * Shared memory has the number of the current segment, for the workers.  A
 * worker that has read it just before the ring moved on writes to the segment
 * before, which is emptied only when the ring has come round.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heaptoast.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "shmem/shmem.h"
#include "store/catalog.h"
#include "store/store.h"
#include "store/store_names.h"
#include "store/table.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/tuplestore.h"

enum HistoryColumn
{
	HISTORY_RUN_ID = 1, HISTORY_SEGMENT, HISTORY_ATTEMPT, HISTORY_JOB_ID,
	HISTORY_OWNER, HISTORY_WORKER_PID, HISTORY_MISSED_COUNT,
	HISTORY_PRIORITY, HISTORY_STATUS, HISTORY_SOURCE, HISTORY_RUN_AT,
	HISTORY_QUEUED_AT, HISTORY_STARTED_AT, HISTORY_FINISHED_AT,
	HISTORY_SCHEDULED_FOR, HISTORY_REASON, HISTORY_SQLSTATE, HISTORY_ERROR,
	HISTORY_ERROR_DETAIL, HISTORY_ERROR_HINT, HISTORY_ERROR_CONTEXT,
	HISTORY_KEYS, HISTORY_ARGS, HISTORY_RESULT, HISTORY_HANDLER,
	HISTORY_REQUEST, HISTORY_TRACEPARENT, HISTORY_PARENT_RUN_ID,
	HISTORY_OPTIONAL
};

enum AttemptColumn
{
	ATTEMPT_RUN_ID = 1, ATTEMPT_SEGMENT, ATTEMPT_ATTEMPT, ATTEMPT_JOB_ID,
	ATTEMPT_OWNER, ATTEMPT_WORKER_PID, ATTEMPT_STATUS, ATTEMPT_STARTED_AT,
	ATTEMPT_FINISHED_AT, ATTEMPT_RETRY_AT, ATTEMPT_REASON, ATTEMPT_SQLSTATE,
	ATTEMPT_ERROR, ATTEMPT_ERROR_DETAIL, ATTEMPT_ERROR_HINT,
	ATTEMPT_ERROR_CONTEXT, ATTEMPT_CALLBACK
};

enum LogColumn
{
	LOG_RUN_ID = 1, LOG_SEGMENT, LOG_ATTEMPT, LOG_JOB_ID, LOG_OWNER, LOG_SEQ, LOG_LOGGED_AT, LOG_LEVEL, LOG_MESSAGE, LOG_CALLBACK
};

enum ResponseColumn
{
	RESPONSE_RUN_ID = 1, RESPONSE_SEGMENT, RESPONSE_ATTEMPT, RESPONSE_JOB_ID,
	RESPONSE_OWNER, RESPONSE_STATUS, RESPONSE_HTTP_VERSION,
	RESPONSE_RESPONDED_AT, RESPONSE_METHOD, RESPONSE_URL,
	RESPONSE_REMOTE_ADDRESS, RESPONSE_REMOTE_PORT, RESPONSE_RESOLVED,
	RESPONSE_CONNECTED, RESPONSE_SECURED, RESPONSE_FIRST_BYTE, RESPONSE_TOTAL,
	RESPONSE_HEADERS, RESPONSE_BODY, RESPONSE_BODY_BYTES, RESPONSE_BODY_SIZE,
	RESPONSE_TRUNCATED
};

enum RingColumn
{
	RING_RING = 1, RING_SEGMENT, RING_STARTED_AT
};

/* ------------------------------------------------------------------------
 * Rows
 * ------------------------------------------------------------------------
 */

static void
outcome_to_row(const JsRun *run, const JsOutcome *outcome, int segment, JsRow *row)
{
	js_row_init(row);
	js_row_set(row, HISTORY_RUN_ID, Int64GetDatum(run->run_id));
	js_row_set(row, HISTORY_SEGMENT, Int16GetDatum(segment));
	js_row_set(row, HISTORY_ATTEMPT, Int32GetDatum(run->attempt));
	js_row_set(row, HISTORY_JOB_ID, Int64GetDatum(run->job_id));
	js_row_set(row, HISTORY_OWNER, ObjectIdGetDatum(run->owner));
	if (outcome->worker_pid == 0)
		js_row_set_null(row, HISTORY_WORKER_PID);
	else
		js_row_set(row, HISTORY_WORKER_PID, Int32GetDatum(outcome->worker_pid));
	js_row_set(row, HISTORY_MISSED_COUNT, Int32GetDatum(run->missed_count));
	js_row_set(row, HISTORY_PRIORITY, Int32GetDatum(run->priority));
	js_row_set_text(row, HISTORY_STATUS, js_status_name(outcome->status));
	js_row_set_text(row, HISTORY_SOURCE, js_source_name(run->source));
	js_row_set_timestamp(row, HISTORY_RUN_AT, run->run_at);
	js_row_set_timestamp(row, HISTORY_QUEUED_AT, run->queued_at);
	js_row_set_timestamp(row, HISTORY_STARTED_AT, outcome->started_at);
	js_row_set_timestamp(row, HISTORY_FINISHED_AT, outcome->finished_at);
	js_row_set_timestamp(row, HISTORY_SCHEDULED_FOR, run->scheduled_for);
	js_row_set_text(row, HISTORY_REASON, outcome->reason);
	js_row_set_text(row, HISTORY_SQLSTATE, outcome->sqlstate);
	js_row_set_text(row, HISTORY_ERROR, outcome->error);
	js_row_set_text(row, HISTORY_ERROR_DETAIL, outcome->error_detail);
	js_row_set_text(row, HISTORY_ERROR_HINT, outcome->error_hint);
	js_row_set_text(row, HISTORY_ERROR_CONTEXT, outcome->error_context);
	js_row_set_array(row, HISTORY_KEYS, run->keys);
	js_row_set_jsonb(row, HISTORY_ARGS,
					 run->args != NULL && JB_ROOT_COUNT(run->args) == 0 ? NULL : run->args);
	js_row_set_jsonb(row, HISTORY_RESULT, outcome->result);
	js_row_set_text(row, HISTORY_HANDLER, run->handler);
	js_row_set_jsonb(row, HISTORY_REQUEST, run->request);
	js_row_set_text(row, HISTORY_TRACEPARENT, run->traceparent);
	if (run->parent_run_id != 0)
	{
		js_row_set(row, HISTORY_PARENT_RUN_ID, Int64GetDatum(run->parent_run_id));
		js_row_set(row, HISTORY_OPTIONAL, BoolGetDatum(run->optional));
	}
}

static void
log_line_to_row(const JsRun *run, const JsLogLine *line, int seq, int segment, JsRow *row)
{
	js_row_init(row);
	js_row_set(row, LOG_RUN_ID, Int64GetDatum(run->run_id));
	js_row_set(row, LOG_SEGMENT, Int16GetDatum(segment));
	js_row_set(row, LOG_ATTEMPT, Int32GetDatum(run->attempt));
	js_row_set(row, LOG_JOB_ID, Int64GetDatum(run->job_id));
	js_row_set(row, LOG_OWNER, ObjectIdGetDatum(run->owner));
	js_row_set(row, LOG_SEQ, Int32GetDatum(seq));
	js_row_set_timestamp(row, LOG_LOGGED_AT, line->logged_at);
	js_row_set_text(row, LOG_LEVEL, line->level);
	js_row_set_text(row, LOG_MESSAGE, line->message);
	js_row_set(row, LOG_CALLBACK, BoolGetDatum(run->handler != NULL));
}

/* A time that was not reached is negative. */
static void
set_phase(JsRow *row, AttrNumber column, int64 us)
{
	if (us >= 0)
		js_row_set_span(row, column, us);
}

static void
response_to_row(const JsEnding *ending, int segment, JsRow *row)
{
	const JsResponse *response = ending->response;

	js_row_init(row);
	js_row_set(row, RESPONSE_RUN_ID, Int64GetDatum(ending->run->run_id));
	js_row_set(row, RESPONSE_SEGMENT, Int16GetDatum(segment));
	js_row_set(row, RESPONSE_ATTEMPT, Int32GetDatum(ending->run->attempt));
	js_row_set(row, RESPONSE_JOB_ID, Int64GetDatum(ending->run->job_id));
	js_row_set(row, RESPONSE_OWNER, ObjectIdGetDatum(ending->run->owner));
	if (response->status != 0)
		js_row_set(row, RESPONSE_STATUS, Int32GetDatum(response->status));
	if (response->http_version != 0)
		js_row_set(row, RESPONSE_HTTP_VERSION, Int32GetDatum(response->http_version));
	js_row_set_timestamp(row, RESPONSE_RESPONDED_AT, ending->outcome->finished_at);
	js_row_set_text(row, RESPONSE_METHOD, response->method);
	js_row_set_text(row, RESPONSE_URL, response->url);
	if (response->remote_address != NULL)
	{
		js_row_set(row, RESPONSE_REMOTE_ADDRESS,
				   DirectFunctionCall1(inet_in, CStringGetDatum(response->remote_address)));
		js_row_set(row, RESPONSE_REMOTE_PORT, Int32GetDatum(response->remote_port));
	}
	set_phase(row, RESPONSE_RESOLVED, response->resolved_us);
	set_phase(row, RESPONSE_CONNECTED, response->connected_us);
	set_phase(row, RESPONSE_SECURED, response->secured_us);
	set_phase(row, RESPONSE_FIRST_BYTE, response->first_byte_us);
	set_phase(row, RESPONSE_TOTAL, response->total_us);
	js_row_set_jsonb(row, RESPONSE_HEADERS, response->headers);
	js_row_set_text(row, RESPONSE_BODY, response->body);
	if (response->body_bytes != NULL)
		js_row_set(row, RESPONSE_BODY_BYTES, PointerGetDatum(response->body_bytes));
	js_row_set(row, RESPONSE_BODY_SIZE, Int64GetDatum(response->body_size));
	js_row_set(row, RESPONSE_TRUNCATED, BoolGetDatum(response->truncated));
}

static void
attempt_to_row(const JsEnding *ending, int segment, JsRow *row)
{
	const JsRun *run = ending->run;
	const JsOutcome *outcome = ending->outcome;

	js_row_init(row);
	js_row_set(row, ATTEMPT_RUN_ID, Int64GetDatum(run->run_id));
	js_row_set(row, ATTEMPT_SEGMENT, Int16GetDatum(segment));
	js_row_set(row, ATTEMPT_ATTEMPT, Int32GetDatum(run->attempt));
	js_row_set(row, ATTEMPT_JOB_ID, Int64GetDatum(run->job_id));
	js_row_set(row, ATTEMPT_OWNER, ObjectIdGetDatum(run->owner));
	if (outcome->worker_pid != 0)
		js_row_set(row, ATTEMPT_WORKER_PID, Int32GetDatum(outcome->worker_pid));
	/* One that succeeded and has a successor is one that snoozed. */
	js_row_set_text(row, ATTEMPT_STATUS, outcome->status == JS_SUCCEEDED ? "snoozed" :
					js_status_name(outcome->status));
	js_row_set_timestamp(row, ATTEMPT_STARTED_AT, outcome->started_at);
	js_row_set_timestamp(row, ATTEMPT_FINISHED_AT, outcome->finished_at);
	js_row_set_timestamp(row, ATTEMPT_RETRY_AT, ending->next->run_at);
	js_row_set_text(row, ATTEMPT_REASON, outcome->reason);
	js_row_set_text(row, ATTEMPT_SQLSTATE, outcome->sqlstate);
	js_row_set_text(row, ATTEMPT_ERROR, outcome->error);
	js_row_set_text(row, ATTEMPT_ERROR_DETAIL, outcome->error_detail);
	js_row_set_text(row, ATTEMPT_ERROR_HINT, outcome->error_hint);
	js_row_set_text(row, ATTEMPT_ERROR_CONTEXT, outcome->error_context);
	js_row_set(row, ATTEMPT_CALLBACK, BoolGetDatum(run->handler != NULL));
}

static int
current_segment(int ring)
{
	JsDatabase *db = js_database_find(MyDatabaseId);

	if (db == NULL)
		elog(ERROR, "this database has no scheduler");
	return (int) pg_atomic_read_u32(&db->segment[ring]);
}

/* ------------------------------------------------------------------------
 * Segments
 *
 * Rows that are recorded together go into a page together, which takes half
 * the time: one record of WAL for each page instead of one for each row.
 * ------------------------------------------------------------------------
 */

#define MOST_ROWS 64

/* A table's segment that is being written to, opened when it is needed. */
typedef struct SegmentTable
{
	Relation	rel;
	CatalogIndexState indexes;
	HeapTuple	rows[MOST_ROWS];	/* not written yet */
	int			nrows;
	bool		of_children;	/* which are in the partial index */
} SegmentTable;

typedef struct Segment
{
	int			number;
	SegmentTable history;
	SegmentTable attempt;
	SegmentTable log;
	SegmentTable response;
} Segment;

static void
open_table(SegmentTable *table, const char *name, int segment)
{
	char		full_name[NAMEDATALEN];

	snprintf(full_name, sizeof(full_name), "%s_%03d", name, segment);
	table->rel = js_table_open(full_name, RowExclusiveLock);
	table->indexes = js_indexes_open(table->rel);
	table->of_children = false;
}

static void
write_row(SegmentTable *table, HeapTuple row)
{
	CatalogTupleInsertWithInfo(table->rel, row, table->indexes);
	heap_freetuple(row);
}

static void
write_rows(SegmentTable *table)
{
	TupleTableSlot *slots[MOST_ROWS];

	for (int i = 0; i < table->nrows; i++)
	{
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(table->rel), &TTSOpsHeapTuple);
		ExecStoreHeapTuple(table->rows[i], slots[i], true);
	}
	CatalogTuplesMultiInsertWithInfo(table->rel, slots, table->nrows, table->indexes);
	for (int i = 0; i < table->nrows; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	table->nrows = 0;
}

/* The rows that follow are of children, or are not. */
static void
choose_rows(SegmentTable *table, bool of_children)
{
	if (table->of_children == of_children)
		return;
	if (table->nrows > 0)
		write_rows(table);
	js_indexes_choose(table->indexes, of_children);
	table->of_children = of_children;
}

/*
 * A row with values out of line is written alone: when it is one of several,
 * the indexes are not told where it went.
 */
static void
put_segment_row(const Segment *segment, SegmentTable *table, const char *name, JsRow *row,
				bool of_child)
{
	HeapTuple	tuple;

	if (table->rel == NULL)
		open_table(table, name, segment->number);
	choose_rows(table, of_child);
	tuple = heap_form_tuple(RelationGetDescr(table->rel), row->values, row->nulls);
	if (HeapTupleHasExternal(tuple) || tuple->t_len > TOAST_TUPLE_THRESHOLD)
	{
		write_row(table, tuple);
		return;
	}
	table->rows[table->nrows++] = tuple;
	if (table->nrows == MOST_ROWS)
		write_rows(table);
}

static void
close_table(SegmentTable *table)
{
	if (table->rel == NULL)
		return;
	if (table->nrows == 1)
		write_row(table, table->rows[0]);
	else if (table->nrows > 1)
		write_rows(table);
	CatalogCloseIndexes(table->indexes);
	table_close(table->rel, RowExclusiveLock);
}

/* A run that waits for its children has ended with no attempt yet. */
static bool
waits_for_children(const JsEnding *ending)
{
	return ending->next != NULL && ending->next->status == JS_RUN_WAITING;
}

/* An attempt that was followed by another is no success of the run. */
static int
ring_of(const JsEnding *ending)
{
	return ending->next == NULL && ending->outcome->status == JS_SUCCEEDED ? 0 : 1;
}

static void
insert_ending(Segment *segment, const JsEnding *ending)
{
	JsRow		row;

	if (ending->next == NULL)
	{
		outcome_to_row(ending->run, ending->outcome, segment->number, &row);
		put_segment_row(segment, &segment->history, "history", &row, ending->run->parent_run_id != 0);
	}
	else if (!waits_for_children(ending))
	{
		attempt_to_row(ending, segment->number, &row);
		put_segment_row(segment, &segment->attempt, "attempt", &row, false);
	}
	for (int i = 0; i < ending->nlines; i++)
	{
		log_line_to_row(ending->run, &ending->lines[i], i + 1, segment->number, &row);
		put_segment_row(segment, &segment->log, "run_log", &row, false);
	}
	if (ending->response != NULL)
	{
		response_to_row(ending, segment->number, &row);
		put_segment_row(segment, &segment->response, "http_response", &row, false);
	}
}

static void
insert_endings(const JsEnding *endings, int count, int ring)
{
	Segment		segment = {0};

	segment.number = current_segment(ring);
	for (int i = 0; i < count; i++)
		if (ring_of(&endings[i]) == ring)
			insert_ending(&segment, &endings[i]);
	close_table(&segment.history);
	close_table(&segment.attempt);
	close_table(&segment.log);
	close_table(&segment.response);
}

/*
 * Records how attempts have ended, in the current transaction: their runs move
 * from the queue to history, or wait there for the next attempt or for children.
 */
void
js_attempts_finish(const JsEnding *endings, int count)
{
	js_runs_leave(endings, count);
	for (int ring = 0; ring < JS_RINGS; ring++)
		insert_endings(endings, count, ring);
}

/* Records something that was never in the queue. */
void
js_history_insert(const JsRun *run, const JsOutcome *outcome)
{
	JsEnding	ending = {.run = run,.outcome = outcome};

	insert_endings(&ending, 1, ring_of(&ending));
}

static Relation
open_history(int segment, LOCKMODE lockmode)
{
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), "history_%03d", segment);
	return js_table_open(name, lockmode);
}

static SysScanDesc
scan_history(Relation rel, int segment, int64 run_id)
{
	char		name[NAMEDATALEN];
	ScanKeyData key;

	snprintf(name, sizeof(name), "history_%03d_pkey", segment);
	js_scan_int64(&key, HISTORY_RUN_ID, BTEqualStrategyNumber, run_id);
	return js_table_scan_key(rel, name, &key, 1);
}

/* What a reader of history makes of a row. */
typedef void (*HistoryReader) (const JsRow *row, JsRun *run, JsOutcome *outcome);

static void
history_head_from_row(const JsRow *row, JsRun *run, JsOutcome *outcome)
{
	run->run_id = DatumGetInt64(row->values[HISTORY_RUN_ID - 1]);
	run->job_id = DatumGetInt64(row->values[HISTORY_JOB_ID - 1]);
	run->owner = DatumGetObjectId(row->values[HISTORY_OWNER - 1]);
	outcome->status = js_status_of(js_row_text(row, HISTORY_STATUS));
}

static void
history_from_row(const JsRow *row, JsRun *run, JsOutcome *outcome)
{
	history_head_from_row(row, run, outcome);
	run->priority = DatumGetInt32(row->values[HISTORY_PRIORITY - 1]);
	run->scheduled_for = js_row_timestamp(row, HISTORY_SCHEDULED_FOR);
	run->keys = js_row_array(row, HISTORY_KEYS);
	run->args = js_row_jsonb(row, HISTORY_ARGS);
	run->handler = js_row_text(row, HISTORY_HANDLER);
	run->request = js_row_jsonb(row, HISTORY_REQUEST);
	run->traceparent = js_row_text(row, HISTORY_TRACEPARENT);
	outcome->reason = js_row_text(row, HISTORY_REASON);
	outcome->started_at = js_row_timestamp(row, HISTORY_STARTED_AT);
	outcome->finished_at = js_row_timestamp(row, HISTORY_FINISHED_AT);
}

/* With hold what is found is not removed before the transaction ends. */
static bool
find_in_segment(int segment, int64 run_id, bool hold, HistoryReader read, JsRun *run, JsOutcome *outcome)
{
	Relation	rel = open_history(segment, AccessShareLock);
	SysScanDesc scan = scan_history(rel, segment, run_id);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);
	JsRow		row;

	if (found)
	{
		js_row_get(&row, tuple, rel);
		read(&row, run, outcome);
	}
	systable_endscan(scan);
	table_close(rel, found && hold ? NoLock : AccessShareLock);
	return found;
}

static bool
find(int64 run_id, bool hold, HistoryReader read, JsRun *run, JsOutcome *outcome)
{
	for (int ring = 0; ring < JS_RINGS; ring++)
		for (int i = 0; i < JS_SEGMENTS; i++)
			if (find_in_segment(ring * 100 + i, run_id, hold, read, run, outcome))
				return true;
	return false;
}

/*
 * What run it was and how it ended, if it has; filled in is what tells whose it
 * was and what it takes to do the same again.
 */
bool
js_history_find(int64 run_id, JsRun *run, JsOutcome *outcome)
{
	return find(run_id, false, history_from_row, run, outcome);
}

/* Only whose it was and how it ended, whatever the size of the rest. */
bool
js_history_find_head(int64 run_id, bool hold, JsRun *head, JsStatus *status)
{
	JsOutcome	outcome;
	bool		found;

	memset(head, 0, sizeof(JsRun));
	found = find(run_id, hold, history_head_from_row, head, &outcome);
	if (found)
		*status = outcome.status;
	return found;
}

/* ------------------------------------------------------------------------
 * Children
 * ------------------------------------------------------------------------
 */

typedef struct ChildScan
{
	Relation	rel;
	Relation	index;
	SysScanDesc scan;
} ChildScan;

/* Of one run, or with 0 of all, by parent and id. */
static void
begin_children(ChildScan *children, Relation rel, int segment, int64 parent_run_id)
{
	char		name[NAMEDATALEN];
	ScanKeyData key;

	snprintf(name, sizeof(name), "history_%03d_parent_run_id_run_id_idx", segment);
	children->rel = rel;
	children->index = index_open(js_table_oid(name), AccessShareLock);
	js_scan_int64(&key, HISTORY_PARENT_RUN_ID, BTEqualStrategyNumber, parent_run_id);
	children->scan = systable_beginscan_ordered(rel, children->index, NULL,
												parent_run_id == 0 ? 0 : 1, &key);
}

static bool
next_child(ChildScan *children, JsRow *row)
{
	HeapTuple	tuple = systable_getnext_ordered(children->scan, ForwardScanDirection);

	if (HeapTupleIsValid(tuple))
		js_row_get(row, tuple, children->rel);
	return HeapTupleIsValid(tuple);
}

static void
end_children(ChildScan *children)
{
	systable_endscan_ordered(children->scan);
	index_close(children->index, AccessShareLock);
}

static void
visit_children_in(int segment, int64 parent_run_id, JsEndedVisitor visit, void *arg)
{
	Relation	rel = open_history(segment, AccessShareLock);
	bool		goes_on = true;
	ChildScan	children;
	JsRow		row;

	begin_children(&children, rel, segment, parent_run_id);
	while (goes_on && next_child(&children, &row))
	{
		JsRun		head = {0};
		JsOutcome	outcome;

		history_head_from_row(&row, &head, &outcome);
		head.optional = DatumGetBool(row.values[HISTORY_OPTIONAL - 1]);
		goes_on = visit(&head, outcome.status, arg);
		CHECK_FOR_INTERRUPTS();
	}
	end_children(&children);
	table_close(rel, AccessShareLock);
}

/*
 * The children of a run that have ended, of one ring; of each of its segments in
 * the order of ids until a visit has had enough.
 */
void
js_history_visit_children(int64 parent_run_id, int ring, JsEndedVisitor visit, void *arg)
{
	for (int i = 0; i < JS_SEGMENTS; i++)
		visit_children_in(ring * 100 + i, parent_run_id, visit, arg);
}

/* The highest id of all runs that there are, live or ended. */
int64
js_run_last_id(void)
{
	int64		last = js_table_last_id("run", "run_pkey");

	for (int ring = 0; ring < JS_RINGS; ring++)
		for (int i = 0; i < JS_SEGMENTS; i++)
		{
			char		table[NAMEDATALEN];
			char		index[NAMEDATALEN];

			snprintf(table, sizeof(table), "history_%03d", ring * 100 + i);
			snprintf(index, sizeof(index), "%s_pkey", table);
			last = Max(last, js_table_last_id(table, index));
		}
	return last;
}

/* ------------------------------------------------------------------------
 * ring
 * ------------------------------------------------------------------------
 */

void
js_rings_read(JsRing *rings)
{
	Relation	rel = js_table_open("ring", AccessShareLock);
	SysScanDesc scan = js_table_scan_key(rel, NULL, NULL, 0);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		JsRow		row;
		int			ring;

		js_row_get(&row, tuple, rel);
		ring = DatumGetInt16(row.values[RING_RING - 1]);
		rings[ring].segment = DatumGetInt16(row.values[RING_SEGMENT - 1]);
		rings[ring].started_at = js_row_timestamp(&row, RING_STARTED_AT);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static void
ring_update(int ring, const JsRing *state)
{
	Relation	rel = js_table_open("ring", RowExclusiveLock);
	SysScanDesc scan = js_table_scan_key(rel, NULL, NULL, 0);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		JsRow		row;

		js_row_get(&row, tuple, rel);
		if (DatumGetInt16(row.values[RING_RING - 1]) != ring)
			continue;
		js_row_init(&row);
		js_row_set(&row, RING_SEGMENT, Int16GetDatum(state->segment));
		js_row_set_timestamp(&row, RING_STARTED_AT, state->started_at);
		js_table_update(rel, tuple, &row);
		break;
	}
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
}

/* ------------------------------------------------------------------------
 * What outlives its segment
 *
 * Rows of runs that others have waited for are kept until these have ended: how a
 * parent ended decides whether they start, also after a restart, and upstream()
 * shows what it has left.  So are rows of children of runs that have not ended.
 * Such rows of a segment that is emptied are put back
 * into it, in the same transaction: it is the one that is written to from then on.
 * So a row never changes, and is in one place.
 * ------------------------------------------------------------------------
 */

typedef struct Keeping
{
	int			segment;
	Relation	rel;
	HTAB	   *seen;			/* ids of parents */
	Tuplestorestate *rows;
} Keeping;

static void
keep_parent(int64 run_id, void *arg)
{
	Keeping    *keeping = arg;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		seen;

	(void) hash_search(keeping->seen, &run_id, HASH_ENTER, &seen);
	if (seen)
		return;
	scan = scan_history(keeping->rel, keeping->segment, run_id);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuplestore_puttuple(keeping->rows, toast_flatten_tuple(tuple, RelationGetDescr(keeping->rel)));
	systable_endscan(scan);
}

/* Those of one parent come together. */
static void
keep_children(Keeping *keeping)
{
	int64		parent_run_id = 0;
	bool		is_live = false;
	ChildScan	children;
	JsRow		row;
	JsRun		head;

	begin_children(&children, keeping->rel, keeping->segment, 0);
	while (next_child(&children, &row))
	{
		int64		of = DatumGetInt64(row.values[HISTORY_PARENT_RUN_ID - 1]);

		if (of != parent_run_id)
			is_live = js_run_see_head(of, &head);
		parent_run_id = of;
		if (is_live)
			keep_parent(DatumGetInt64(row.values[HISTORY_RUN_ID - 1]), keeping);
		CHECK_FOR_INTERRUPTS();
	}
	end_children(&children);
}

static Tuplestorestate *
take_kept_rows(int segment)
{
	HASHCTL		control = {.keysize = sizeof(int64),.entrysize = sizeof(int64),.hcxt = CurrentMemoryContext};
	Keeping		keeping = {.segment = segment};

	/*
	 * From here on nobody can find a run in it, and then say that he waits
	 * for it.
	 */
	keeping.rel = open_history(segment, AccessExclusiveLock);
	keeping.seen = hash_create("jobsched parents", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	keeping.rows = tuplestore_begin_heap(false, false, work_mem);
	js_parents_visit(keep_parent, &keeping);
	keep_children(&keeping);
	hash_destroy(keeping.seen);
	table_close(keeping.rel, NoLock);
	return keeping.rows;
}

static void
put_back_rows(int segment, Tuplestorestate *rows)
{
	SegmentTable table = {0};
	TupleTableSlot *slot;

	open_table(&table, "history", segment);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(table.rel), &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		HeapTuple	tuple = ExecCopySlotHeapTuple(slot);

		choose_rows(&table, !heap_attisnull(tuple, HISTORY_PARENT_RUN_ID, NULL));
		write_row(&table, tuple);
	}
	ExecDropSingleTupleTableSlot(slot);
	close_table(&table);
	tuplestore_end(rows);
}

/*
 * Moves a ring on to its next segment, emptying it.  Called by the scheduler,
 * whose session has a lock_timeout: a reader that holds on to the segment
 * makes this fail, and the scheduler tries again later.
 */
void
js_ring_advance(int ring, TimestampTz now, JsRing *state)
{
	Tuplestorestate *kept;
	JsRing		next;

	next.segment = ring * 100 + (state->segment - ring * 100 + 1) % JS_SEGMENTS;
	next.started_at = now;
	kept = take_kept_rows(next.segment);
	js_catalog_truncate_segment(next.segment);
	CommandCounterIncrement();
	put_back_rows(next.segment, kept);
	ring_update(ring, &next);
	*state = next;
}
