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
 * WHAT OUTLIVES ITS SEGMENT
 *
 * Rows of runs that others have waited for are kept until these have ended: how a
 * parent ended decides whether they start, also after a restart, and upstream()
 * shows what it has left.  Before a segment is emptied such rows are moved to
 * history_kept, a partition that belongs to no ring.  There they stay until no row
 * of dependency speaks of them.  Nothing is put back into a ring.  So are rows of
 * children of runs that have not ended.
 *
 * A ring moves on in steps, so that nobody waits for many rows (sched_ring.c):
 *
 *		announce	shared memory names the segment that is to be emptied; from
 *					then on its rows do not exist for who names parents
 *		await		every transaction that may have named one before has ended
 *		keep		rows are moved, some at a time
 *		empty		the segment is TRUNCATEd, and is the current one
 *		release		kept rows of which no dependency speaks go, some at a time
 *
 * Who names parents takes js_dependency_lock() until his transaction ends, also if
 * that is prepared, and only then reads what is announced.  So he
 * either sees that a row is about to go, or is waited for; it makes no difference
 * how long his transaction lasts, nor whether the parent has ended by then.  A
 * kept row cannot be named either: nobody can come to need it while it is deleted.
 * But one can be held (js_history_hold()), for who retries a run that has lasted for
 * longer than the retention: who deletes it locks it first, and then looks once more
 * whether somebody speaks of it.
 *
 * Each step can be repeated, and nothing about them is stored: a scheduler that
 * starts begins with the first.  Moving a row is one transaction, so it is in
 * exactly one place; who looks there last where it is moved to finds it.
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
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "storage/bufmgr.h"
#include "store/catalog.h"
#include "store/store.h"
#include "store/store_names.h"
#include "store/table.h"
#include "utils/fmgrprotos.h"

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
	HISTORY_OPTIONAL, HISTORY_WORKFLOW, HISTORY_WAIT_FOR, HISTORY_WAIT_TIMEOUT,
	HISTORY_JOB_REVISION, HISTORY_COMMAND_TAG
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
outcome_to_row(const JsEnding *ending, int segment, JsRow *row)
{
	const JsRun *run = ending->run;
	const JsOutcome *outcome = ending->outcome;

	js_row_init(row);
	js_row_set(row, HISTORY_RUN_ID, Int64GetDatum(run->run_id));
	js_row_set(row, HISTORY_SEGMENT, Int16GetDatum(segment));
	js_row_set(row, HISTORY_ATTEMPT, Int32GetDatum(run->attempt - (int) outcome->only_looked));
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
	js_row_set_timestamp(row, HISTORY_STARTED_AT, outcome->only_looked ? DT_NOBEGIN : outcome->started_at);
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
	if (run->workflow != JS_WORKFLOW_NONE)
		js_row_set_text(row, HISTORY_WORKFLOW, js_workflow_name(run->workflow));
	js_row_set_array(row, HISTORY_WAIT_FOR, run->wait_for);
	js_row_set_interval(row, HISTORY_WAIT_TIMEOUT, run->wait_timeout);
	/* Only what has executed something knows as what its job was then. */
	if (ending->job != NULL && outcome->started_at != DT_NOBEGIN)
		js_row_set(row, HISTORY_JOB_REVISION, Int64GetDatum(ending->job->revision));
	js_row_set_text(row, HISTORY_COMMAND_TAG, outcome->command_tag);
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

/* What partial indexes are there for. */
#define OF_CHILD 1
#define OF_WORKFLOW 2

/* A table's segment that is being written to, opened when it is needed. */
typedef struct SegmentTable
{
	Relation	rel;
	CatalogIndexState indexes;
	HeapTuple  *rows;			/* not written yet, MOST_ROWS at most */
	int			nrows;
	int			indexed;		/* which partial indexes they are in: OF_
								 * flags */
} SegmentTable;

typedef struct Segment
{
	int			number;
	SegmentTable history;
	SegmentTable attempt;
	SegmentTable log;
	SegmentTable response;
} Segment;

/* How a partition is called, or what belongs to it. */
static char *
segment_name(const char *table, int segment, const char *suffix)
{
	if (segment == JS_KEPT)
		return psprintf("%s_kept%s", table, suffix);
	return psprintf("%s_%03d%s", table, segment, suffix);
}

static void
open_table(SegmentTable *table, const char *name, int segment)
{
	char	   *full_name = segment_name(name, segment, "");

	table->rel = js_table_open(full_name, RowExclusiveLock);
	table->indexes = js_indexes_open(table->rel);
	table->rows = palloc(MOST_ROWS * sizeof(HeapTuple));
	table->indexed = 0;
	pfree(full_name);
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

/* The rows that follow are in the partial indexes in which this one is. */
static void
choose_rows(SegmentTable *table, int indexed, HeapTuple tuple)
{
	if (table->indexed == indexed)
		return;
	if (table->nrows > 0)
		write_rows(table);
	js_indexes_choose(table->indexes, indexed == 0 ? NULL : tuple);
	table->indexed = indexed;
}

/*
 * A row with values out of line is written alone: when it is one of several,
 * the indexes are not told where it went.
 */
static void
put_segment_row(const Segment *segment, SegmentTable *table, const char *name, JsRow *row,
				int indexed)
{
	HeapTuple	tuple;

	if (table->rel == NULL)
		open_table(table, name, segment->number);
	tuple = heap_form_tuple(RelationGetDescr(table->rel), row->values, row->nulls);
	choose_rows(table, indexed, tuple);
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
	pfree(table->rows);
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

static int
indexed_as(const JsRun *run)
{
	return (run->parent_run_id != 0 ? OF_CHILD : 0) |
		(run->workflow != JS_WORKFLOW_NONE ? OF_WORKFLOW : 0);
}

static void
insert_ending(Segment *segment, const JsEnding *ending)
{
	JsRow		row;

	if (ending->next == NULL)
	{
		outcome_to_row(ending, segment->number, &row);
		put_segment_row(segment, &segment->history, "history", &row, indexed_as(ending->run));
	}
	else if (!waits_for_children(ending) && !ending->outcome->only_looked)
	{
		attempt_to_row(ending, segment->number, &row);
		put_segment_row(segment, &segment->attempt, "attempt", &row, 0);
	}
	for (int i = 0; i < ending->nlines; i++)
	{
		log_line_to_row(ending->run, &ending->lines[i], ending->lines_before + i + 1, segment->number, &row);
		put_segment_row(segment, &segment->log, "run_log", &row, 0);
	}
	if (ending->response != NULL)
	{
		response_to_row(ending, segment->number, &row);
		put_segment_row(segment, &segment->response, "http_response", &row, 0);
	}
}

static void
insert_endings(const JsEnding *endings, int count, int ring)
{
	Segment		segment = {0};

	segment.number = current_segment(ring);
	for (int i = 0; i < count; i++)
		if (ring_of(&endings[i]) == ring && !endings[i].leaves_nothing)
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
	if (count == 1 && endings->leaves_nothing)
		return;
	for (int ring = 0; ring < JS_RINGS; ring++)
		if (count > 1 || ring_of(endings) == ring)
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
	char	   *name = segment_name("history", segment, "");
	Relation	rel = js_table_open(name, lockmode);

	pfree(name);
	return rel;
}

static Relation
open_history_index(int segment)
{
	return index_open(js_table_oid(segment_name("history", segment, "_pkey")), AccessShareLock);
}

static SysScanDesc
scan_history(Relation rel, int segment, int64 run_id)
{
	char	   *index = segment_name("history", segment, "_pkey");
	ScanKeyData key;
	SysScanDesc scan;

	js_scan_int64(&key, HISTORY_RUN_ID, BTEqualStrategyNumber, run_id);
	scan = js_table_scan_key(rel, index, &key, 1);
	pfree(index);
	return scan;
}

static int64
history_run_id(Relation rel, HeapTuple tuple)
{
	bool		isnull;

	return DatumGetInt64(heap_getattr(tuple, HISTORY_RUN_ID, RelationGetDescr(rel), &isnull));
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
	outcome->finished_at = js_row_timestamp(row, HISTORY_FINISHED_AT);
}

static void
history_from_row(const JsRow *row, JsRun *run, JsOutcome *outcome)
{
	history_head_from_row(row, run, outcome);
	run->source = js_source_of(js_row_text(row, HISTORY_SOURCE));
	run->priority = DatumGetInt32(row->values[HISTORY_PRIORITY - 1]);
	run->scheduled_for = js_row_timestamp(row, HISTORY_SCHEDULED_FOR);
	run->keys = js_row_array(row, HISTORY_KEYS);
	run->args = js_row_jsonb(row, HISTORY_ARGS);
	run->handler = js_row_text(row, HISTORY_HANDLER);
	run->request = js_row_jsonb(row, HISTORY_REQUEST);
	run->traceparent = js_row_text(row, HISTORY_TRACEPARENT);
	if (!row->nulls[HISTORY_PARENT_RUN_ID - 1])
		run->parent_run_id = DatumGetInt64(row->values[HISTORY_PARENT_RUN_ID - 1]);
	run->wait_for = js_row_head_array(row, HISTORY_WAIT_FOR);
	run->wait_timeout = js_row_interval(row, HISTORY_WAIT_TIMEOUT);
	run->workflow = js_workflow_of(js_row_head_text(row, HISTORY_WORKFLOW));
	outcome->reason = js_row_text(row, HISTORY_REASON);
	outcome->sqlstate = js_row_text(row, HISTORY_SQLSTATE);
	outcome->error_detail = js_row_text(row, HISTORY_ERROR_DETAIL);
	outcome->started_at = js_row_timestamp(row, HISTORY_STARTED_AT);
}

static void
history_left_from_row(const JsRow *row, JsRun *run, JsOutcome *outcome)
{
	history_head_from_row(row, run, outcome);
	run->args = js_row_jsonb(row, HISTORY_ARGS);
	run->handler = js_row_text(row, HISTORY_HANDLER);
	run->source = js_source_of(js_row_text(row, HISTORY_SOURCE));
	outcome->result = js_row_jsonb(row, HISTORY_RESULT);
	outcome->reason = js_row_text(row, HISTORY_REASON);
	outcome->error = js_row_text(row, HISTORY_ERROR);
}

static bool
find_in_segment(int segment, int64 run_id, HistoryReader read, JsRun *run, JsOutcome *outcome)
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
	table_close(rel, AccessShareLock);
	return found;
}

/* The segment of a ring that is about to be emptied; JS_NO_SEGMENT: none is. */
static int
expiring_segment(int ring)
{
	JsDatabase *db = js_database_find(MyDatabaseId);

	return db == NULL ? JS_NO_SEGMENT : (int) pg_atomic_read_u32(&db->expiring[ring]);
}

/* In a ring, but for one segment. */
static bool
find_in_ring(int ring, int except, int64 run_id, HistoryReader read, JsRun *run, JsOutcome *outcome)
{
	for (int segment = ring * 100; segment < ring * 100 + JS_SEGMENTS; segment++)
		if (segment != except && find_in_segment(segment, run_id, read, run, outcome))
			return true;
	return false;
}

/* Where rows are moved to comes last: so none is overlooked that is moved meanwhile. */
static bool
find(int64 run_id, HistoryReader read, JsRun *run, JsOutcome *outcome)
{
	for (int ring = 0; ring < JS_RINGS; ring++)
		if (find_in_ring(ring, JS_NO_SEGMENT, run_id, read, run, outcome))
			return true;
	return find_in_segment(JS_KEPT, run_id, read, run, outcome);
}

/*
 * What run it was and how it ended, if it has; filled in is what tells whose it
 * was and what it takes to do the same again.
 */
bool
js_history_find(int64 run_id, JsRun *run, JsOutcome *outcome)
{
	return find(run_id, history_from_row, run, outcome);
}

/* The same, but what it has left: for those that have waited for it. */
bool
js_history_find_left(int64 run_id, JsRun *run, JsOutcome *outcome)
{
	return find(run_id, history_left_from_row, run, outcome);
}

/* Whether a row is older than its job wants it to be: it may be deleted at any time. */
static bool
is_expired(const JsRun *head, const JsOutcome *outcome)
{
	JsJob		job;

	return js_job_read_head(head->job_id, &job) && job.keep_for > 0 &&
		outcome->finished_at < js_clock_now() - job.keep_for;
}

/*
 * Only whose it was and how it ended, whatever the size of the rest.  To be named
 * as a parent, under js_dependency_lock(), it must not be about to be removed.
 */
bool
js_history_find_head(int64 run_id, bool to_be_named, JsRun *head, JsStatus *status)
{
	JsOutcome	outcome;
	bool		found = false;

	memset(head, 0, sizeof(JsRun));
	if (!to_be_named)
		found = find(run_id, history_head_from_row, head, &outcome);
	for (int ring = 0; to_be_named && !found && ring < JS_RINGS; ring++)
		found = find_in_ring(ring, expiring_segment(ring), run_id, history_head_from_row, head, &outcome) &&
			!is_expired(head, &outcome);
	if (found)
		*status = outcome.status;
	return found;
}

static void
history_error_from_row(const JsRow *row, JsRun *run, JsOutcome *outcome)
{
	history_head_from_row(row, run, outcome);
	run->source = js_source_of(js_row_text(row, HISTORY_SOURCE));
	outcome->reason = js_row_head_text(row, HISTORY_REASON);
	outcome->sqlstate = js_row_head_text(row, HISTORY_SQLSTATE);
	outcome->error = js_row_head_text(row, HISTORY_ERROR);
}

/* What it was, and why it ended as it has; of the text of an error the beginning. */
bool
js_history_find_error(int64 run_id, JsRun *run, JsOutcome *outcome)
{
	return find(run_id, history_error_from_row, run, outcome);
}

/* How and when a run has ended, if it has. */
bool
js_history_find_end(int64 run_id, JsStatus *status, TimestampTz *finished_at)
{
	JsRun		head;
	JsOutcome	outcome;

	memset(&head, 0, sizeof(JsRun));
	if (!find(run_id, history_head_from_row, &head, &outcome))
		return false;
	*status = outcome.status;
	*finished_at = outcome.finished_at;
	return true;
}

/* A success of a job's own, which is none of a function that was told or of a batch. */
static bool
is_own_success(const JsRow *row)
{
	return row->nulls[HISTORY_HANDLER - 1] &&
		js_source_of(js_row_head_text(row, HISTORY_SOURCE)) != JS_SOURCE_BATCH &&
		js_status_of(js_row_text(row, HISTORY_STATUS)) == JS_SUCCEEDED;
}

/* Of the newest rows of a job in a segment the one that has succeeded last, if later than another. */
static void
find_later_success(int segment, int64 job_id, int64 *run_id, TimestampTz *finished_at)
{
	Relation	rel = open_history(segment, AccessShareLock);
	Relation	index = index_open(js_table_oid(segment_name("history", segment, "_job_id_run_id_idx")),
								   AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	js_scan_int64(&key, HISTORY_JOB_ID, BTEqualStrategyNumber, job_id);
	scan = systable_beginscan_ordered(rel, index, NULL, 1, &key);
	for (int i = 0; i < MOST_ROWS &&
		 HeapTupleIsValid(tuple = systable_getnext_ordered(scan, BackwardScanDirection)); i++)
	{
		JsRow		row;

		js_row_get(&row, tuple, rel);
		if (!is_own_success(&row) || js_row_timestamp(&row, HISTORY_FINISHED_AT) < *finished_at)
			continue;
		*run_id = history_run_id(rel, tuple);
		*finished_at = js_row_timestamp(&row, HISTORY_FINISHED_AT);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}

/* The run of a job that has succeeded last, of the newest ones; 0: there is none. */
int64
js_history_last_success(int64 job_id)
{
	TimestampTz finished_at = DT_NOBEGIN;
	int64		run_id = 0;

	for (int i = 0; i < JS_SEGMENTS; i++)
		find_later_success(i, job_id, &run_id, &finished_at);
	return run_id;
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
	Snapshot	snapshot;		/* NULL: the newest */
} ChildScan;

static void
begin_scan(ChildScan *children, Relation rel, int segment, ScanKey keys, int nkeys)
{
	children->rel = rel;
	children->index = index_open(js_table_oid(segment_name("history", segment, "_parent_run_id_run_id_idx")),
								 AccessShareLock);
	children->scan = systable_beginscan_ordered(rel, children->index, children->snapshot, nkeys, keys);
}

/* Of one run, or of those from it on, by parent and id. */
static void
begin_children(ChildScan *children, Relation rel, int segment, StrategyNumber op, int64 parent_run_id)
{
	ScanKeyData key;

	js_scan_int64(&key, HISTORY_PARENT_RUN_ID, op, parent_run_id);
	begin_scan(children, rel, segment, &key, 1);
}

/* Of one run, from a child on, or down to it. */
static void
begin_children_at(ChildScan *children, Relation rel, int segment, int64 parent_run_id,
				  StrategyNumber op, int64 run_id)
{
	ScanKeyData keys[2];

	js_scan_int64(&keys[0], HISTORY_PARENT_RUN_ID, BTEqualStrategyNumber, parent_run_id);
	js_scan_int64(&keys[1], HISTORY_RUN_ID, op, run_id);
	begin_scan(children, rel, segment, keys, 2);
}

static HeapTuple
next_child(ChildScan *children)
{
	return systable_getnext_ordered(children->scan, ForwardScanDirection);
}

static void
end_children(ChildScan *children)
{
	systable_endscan_ordered(children->scan);
	index_close(children->index, AccessShareLock);
}

static bool
visit_child(Relation rel, HeapTuple tuple, JsEndedVisitor visit, void *arg)
{
	JsRun		head = {0};
	JsOutcome	outcome;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	history_head_from_row(&row, &head, &outcome);
	head.optional = DatumGetBool(row.values[HISTORY_OPTIONAL - 1]);
	head.result_size = js_row_size(&row, HISTORY_RESULT);
	return visit(&head, outcome.status, arg);
}

/*
 * Those with ids from one to before another, until a visit has had enough.  Returns
 * the next one, which was not visited; 0: there is none.
 */
static int64
visit_children_in(int segment, int64 parent_run_id, int64 from, int64 before,
				  Snapshot snapshot, JsEndedVisitor visit, void *arg)
{
	Relation	rel = open_history(segment, AccessShareLock);
	int64		next = 0;
	ChildScan	children = {.snapshot = snapshot};
	HeapTuple	tuple;

	begin_children_at(&children, rel, segment, parent_run_id, BTGreaterEqualStrategyNumber, from);
	while (HeapTupleIsValid(tuple = next_child(&children)))
	{
		if (history_run_id(rel, tuple) >= before)
			next = history_run_id(rel, tuple);
		if (next != 0 || !visit_child(rel, tuple, visit, arg))
			break;
		CHECK_FOR_INTERRUPTS();
	}
	end_children(&children);
	table_close(rel, AccessShareLock);
	return next;
}

/*
 * The children of a run that have ended, of one ring, or with JS_RINGS those that
 * are kept, which come last; of each segment in the order of ids until a visit has
 * had enough.
 */
void
js_history_visit_children(int64 parent_run_id, int ring, JsEndedVisitor visit, void *arg)
{
	if (ring == JS_RINGS)
		(void) visit_children_in(JS_KEPT, parent_run_id, 0, PG_INT64_MAX, NULL, visit, arg);
	else
		for (int i = 0; i < JS_SEGMENTS; i++)
			(void) visit_children_in(ring * 100 + i, parent_run_id, 0, PG_INT64_MAX, NULL, visit, arg);
}

/* Those of a segment. */
static void
visit_children_down_in(int segment, int64 parent_run_id, int64 to, JsEndedVisitor visit, void *arg)
{
	Relation	rel = open_history(segment, AccessShareLock);
	ChildScan	children = {0};
	HeapTuple	tuple;

	begin_children_at(&children, rel, segment, parent_run_id, BTLessEqualStrategyNumber, to);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(children.scan, BackwardScanDirection)) &&
		   visit_child(rel, tuple, visit, arg))
		CHECK_FOR_INTERRUPTS();
	end_children(&children);
	table_close(rel, AccessShareLock);
}

/*
 * Looks for a child of a run that has ended and whose id is not above one: of each
 * segment the highest first, until a visit has had enough of that segment, or has
 * set *found.
 */
void
js_history_search_children(int64 parent_run_id, int64 to, JsEndedVisitor visit, void *arg,
						   const int64 *found)
{
	for (int ring = 0; ring < JS_RINGS; ring++)
		for (int i = 0; i < JS_SEGMENTS && *found == 0; i++)
			visit_children_down_in(ring * 100 + i, parent_run_id, to, visit, arg);
	if (*found == 0)
		visit_children_down_in(JS_KEPT, parent_run_id, to, visit, arg);
}

/*
 * All that have ended, or all but successes, as a snapshot has them: that of a query
 * which looks at other rows too.
 */
void
js_history_visit_children_as_of(int64 parent_run_id, Snapshot snapshot, bool no_success,
								JsEndedVisitor visit, void *arg)
{
	for (int ring = no_success ? 1 : 0; ring < JS_RINGS; ring++)
		for (int i = 0; i < JS_SEGMENTS; i++)
			(void) visit_children_in(ring * 100 + i, parent_run_id, 0, PG_INT64_MAX, snapshot, visit, arg);
	(void) visit_children_in(JS_KEPT, parent_run_id, 0, PG_INT64_MAX, snapshot, visit, arg);
}

static void
read_results_in(int segment, int64 parent_run_id, JsResultPlace place, void *arg)
{
	Relation	rel = open_history(segment, AccessShareLock);
	ChildScan	children = {0};
	HeapTuple	tuple;

	begin_children(&children, rel, segment, BTEqualStrategyNumber, parent_run_id);
	while (HeapTupleIsValid(tuple = next_child(&children)))
	{
		Jsonb	  **result = place(history_run_id(rel, tuple), arg);
		JsRow		row;

		if (result == NULL)
			continue;
		js_row_get(&row, tuple, rel);
		*result = js_row_jsonb(&row, HISTORY_RESULT);
		CHECK_FOR_INTERRUPTS();
	}
	end_children(&children);
	table_close(rel, AccessShareLock);
}

/* What children that have succeeded have left, as far as somebody wants it. */
void
js_history_read_results(int64 parent_run_id, JsResultPlace place, void *arg)
{
	for (int i = 0; i < JS_SEGMENTS; i++)
		read_results_in(i, parent_run_id, place, arg);
	read_results_in(JS_KEPT, parent_run_id, place, arg);
}

/* The lower of two ids of which 0 is none. */
static int64
first_of(int64 x, int64 y)
{
	return x == 0 || y == 0 ? Max(x, y) : Min(x, y);
}

/*
 * Those with ids from one to before another, wherever they are, in no order; a visit
 * cannot have enough.  Returns the next one; 0: there is none.  Rows that are moved
 * between two calls keep their ids, so each child is visited once.
 */
int64
js_history_visit_some_children(int64 parent_run_id, int64 from, int64 before,
							   JsEndedVisitor visit, void *arg)
{
	int64		next = visit_children_in(JS_KEPT, parent_run_id, from, before, NULL, visit, arg);

	for (int ring = 0; ring < JS_RINGS; ring++)
		for (int i = 0; i < JS_SEGMENTS; i++)
			next = first_of(next, visit_children_in(ring * 100 + i, parent_run_id, from, before,
													NULL, visit, arg));
	return next;
}

static int64
last_id_in_segment(int segment)
{
	return js_table_last_id(segment_name("history", segment, ""),
							segment_name("history", segment, "_pkey"));
}

/* The highest id of all runs that there are, live or ended. */
int64
js_run_last_id(void)
{
	int64		last = js_table_last_id("run", "run_pkey");

	for (int ring = 0; ring < JS_RINGS; ring++)
		for (int segment = ring * 100; segment < ring * 100 + JS_SEGMENTS; segment++)
			last = Max(last, last_id_in_segment(segment));
	return Max(last, last_id_in_segment(JS_KEPT));
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
 * ------------------------------------------------------------------------
 */

/* Work of one step: ids looked up, and bytes of the rows that are moved. */
#define MOST_LOOKED_UP 500
#define MOST_MOVED (1024 * 1024)

/* A copy of the first row of a segment from a run on; NULL: there is none. */
static HeapTuple
first_row(Relation rel, Relation index, int64 run_id)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	js_scan_int64(&key, HISTORY_RUN_ID, BTGreaterEqualStrategyNumber, run_id);
	scan = systable_beginscan_ordered(rel, index, NULL, 1, &key);
	tuple = systable_getnext_ordered(scan, ForwardScanDirection);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan_ordered(scan);
	return tuple;
}

static int
indexed_in(HeapTuple tuple)
{
	return (heap_attisnull(tuple, HISTORY_PARENT_RUN_ID, NULL) ? 0 : OF_CHILD) |
		(heap_attisnull(tuple, HISTORY_WORKFLOW, NULL) ? 0 : OF_WORKFLOW);
}

/* Returns about how large the row is. */
static Size
move_row(Relation rel, HeapTuple tuple, SegmentTable *kept)
{
	Size		size = tuple->t_len;
	HeapTuple	moved;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	for (AttrNumber column = HISTORY_REASON; column <= HISTORY_TRACEPARENT; column++)
		size += js_row_size(&row, column);
	js_row_init(&row);
	js_row_set(&row, HISTORY_SEGMENT, Int16GetDatum(JS_KEPT));
	moved = heap_modify_tuple(tuple, RelationGetDescr(rel), row.values, row.nulls, row.changed);
	choose_rows(kept, indexed_in(moved), moved);
	/* Inserted first: values out of line are read from where they are. */
	write_row(kept, moved);
	CatalogTupleDelete(rel, &tuple->t_self);
	return size;
}

/*
 * Moves rows of a segment that are still needed to where they are kept, from a run
 * on; so much of it as a step may take.  Returns the run to go on with, 0 when
 * nothing is left.
 *
 * Parents and rows are both ordered by the run's id, and each is looked for from
 * where the other one stands.  So it takes as long as the shorter of them.
 */
int64
js_history_keep_some(int segment, int64 from)
{
	SegmentTable kept = {0};
	Relation	rel = open_history(segment, RowExclusiveLock);
	Relation	index = open_history_index(segment);
	Size		moved = 0;

	open_table(&kept, "history", JS_KEPT);
	for (int i = 0; from != 0 && i < MOST_LOOKED_UP && moved < MOST_MOVED; i++)
	{
		int64		parent = js_parent_next(from);
		HeapTuple	tuple = parent == 0 ? NULL : first_row(rel, index, parent);

		CHECK_FOR_INTERRUPTS();
		from = tuple == NULL ? 0 : history_run_id(rel, tuple);
		if (from == 0 || from > parent)
			continue;
		moved += move_row(rel, tuple, &kept);
		from++;
	}
	close_table(&kept);
	index_close(index, AccessShareLock);
	table_close(rel, RowExclusiveLock);
	return from;
}

/* The parent of a run that has ended; 0: it has none. */
static int64
parent_of(Relation rel, HeapTuple tuple)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, HISTORY_PARENT_RUN_ID, RelationGetDescr(rel), &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static bool
lives(int64 run_id)
{
	JsRun		head;

	return run_id != 0 && js_run_see_head(run_id, &head);
}

static bool
is_item(Relation rel, HeapTuple tuple)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	return js_source_of(js_row_head_text(&row, HISTORY_SOURCE)) == JS_SOURCE_ITEM;
}

static void
history_parent_from_row(const JsRow *row, JsRun *run, JsOutcome *outcome)
{
	if (!row->nulls[HISTORY_PARENT_RUN_ID - 1])
		run->parent_run_id = DatumGetInt64(row->values[HISTORY_PARENT_RUN_ID - 1]);
}

/* Whether a run has ended, and its parent lives. */
static bool
has_live_parent(int64 run_id)
{
	JsRun		run = {0};
	JsOutcome	outcome;

	return find(run_id, history_parent_from_row, &run, &outcome) && lives(run.parent_run_id);
}

/* Of rows that follow one another most are of the same parent. */
typedef struct Needed
{
	int64		parent;			/* 0: none has been looked at */
	bool		needed;
} Needed;

/*
 * Whether a row is needed because of its parent.  The elements of a step are what
 * later steps of the workflow read: they are kept until its run has ended, the parent
 * of their parent, and until a retry of that has begun which names the step's run.
 */
static bool
is_needed(Relation rel, HeapTuple tuple, Needed *last)
{
	int64		parent = parent_of(rel, tuple);

	if (parent == 0)
		return false;
	if (parent != last->parent)
		last->needed = lives(parent) || (is_item(rel, tuple) && (has_live_parent(parent) || js_parent_exists(parent)));
	last->parent = parent;
	return last->needed;
}

/* Of one parent, whose children are needed, or of a part of them; returns where to go on. */
static int64
keep_children_of(Relation rel, int segment, int64 parent, SegmentTable *kept, Size *moved)
{
	int64		next = parent + 1;
	ChildScan	children = {0};
	HeapTuple	tuple;

	begin_children(&children, rel, segment, BTEqualStrategyNumber, parent);
	while (HeapTupleIsValid(tuple = next_child(&children)))
	{
		CHECK_FOR_INTERRUPTS();
		if (*moved >= MOST_MOVED)
		{
			next = parent;
			break;
		}
		*moved += move_row(rel, heap_copytuple(tuple), kept);
	}
	end_children(&children);
	return next;
}

/*
 * The first run from an id on that has children in a segment; 0: there is none.
 * *needed says whether these are.
 */
static int64
next_parent(Relation rel, int segment, int64 from, bool *needed)
{
	ChildScan	children = {0};
	Needed		last = {0};
	HeapTuple	tuple;
	int64		parent;

	begin_children(&children, rel, segment, BTGreaterEqualStrategyNumber, from);
	tuple = next_child(&children);
	parent = HeapTupleIsValid(tuple) ? parent_of(rel, tuple) : 0;
	*needed = parent != 0 && is_needed(rel, tuple, &last);
	end_children(&children);
	return parent;
}

/* The same with rows of children that are needed because of their parents, from a parent on. */
int64
js_history_keep_children(int segment, int64 from)
{
	SegmentTable kept = {0};
	Relation	rel = open_history(segment, RowExclusiveLock);
	Size		moved = 0;

	open_table(&kept, "history", JS_KEPT);
	for (int i = 0; from != 0 && i < MOST_LOOKED_UP && moved < MOST_MOVED; i++)
	{
		bool		needed;

		from = next_parent(rel, segment, from, &needed);
		if (from != 0)
			from = needed ? keep_children_of(rel, segment, from, &kept, &moved) : from + 1;
	}
	close_table(&kept);
	table_close(rel, RowExclusiveLock);
	return from;
}

/* Whether a kept row is still needed. */
static bool
is_kept(Relation rel, HeapTuple tuple, Needed *last)
{
	return js_parent_exists(history_run_id(rel, tuple)) || is_needed(rel, tuple, last);
}

/* Deletes kept rows for which nobody waits any more, in the same way. */
int64
js_history_release_some(int64 from)
{
	Relation	rel = open_history(JS_KEPT, RowExclusiveLock);
	Relation	index = open_history_index(JS_KEPT);
	Needed		last = {0};

	for (int i = 0; from != 0 && i < MOST_LOOKED_UP; i++)
	{
		HeapTuple	tuple = first_row(rel, index, from);
		int64		run_id = tuple == NULL ? 0 : history_run_id(rel, tuple);

		CHECK_FOR_INTERRUPTS();
		if (run_id != 0 && !is_kept(rel, tuple, &last) &&
			js_tuple_lock_if_free(rel, tuple) && !is_kept(rel, tuple, &last))
			CatalogTupleDelete(rel, &tuple->t_self);
		from = run_id == 0 ? 0 : run_id + 1;
	}
	index_close(index, AccessShareLock);
	table_close(rel, RowExclusiveLock);
	return from;
}

/*
 * Holds a row that is kept, until the transaction ends: what is written of it by then
 * in dependency will keep it further.  False: there is none, or it is just being
 * deleted.
 */
bool
js_history_hold(int64 run_id)
{
	Relation	rel = open_history(JS_KEPT, RowShareLock);
	SysScanDesc scan = scan_history(rel, JS_KEPT, run_id);
	HeapTuple	tuple = systable_getnext(scan);
	bool		held = HeapTupleIsValid(tuple) && js_tuple_lock_if_free(rel, tuple);

	systable_endscan(scan);
	table_close(rel, NoLock);
	return held;
}

/*
 * Whether a run that has ended can be named by one that is queued now, under
 * js_dependency_lock(); false: its row is about to be removed, or has been.
 */
bool
js_history_stays(int64 run_id)
{
	JsStatus	status;
	JsRun		head;

	return js_history_find_head(run_id, true, &head, &status) || js_history_hold(run_id);
}

/* Whether a run is kept beyond its segment, or some run of a job. */
static bool
keeps(const char *index, AttrNumber column, int64 id)
{
	Relation	rel = open_history(JS_KEPT, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	js_scan_int64(&key, column, BTEqualStrategyNumber, id);
	scan = js_table_scan_key(rel, index, &key, 1);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
js_history_keeps_run(int64 run_id)
{
	return keeps("history_kept_pkey", HISTORY_RUN_ID, run_id);
}

bool
js_history_keeps_job(int64 job_id)
{
	return keeps("history_kept_job_id_run_id_idx", HISTORY_JOB_ID, job_id);
}

/* ------------------------------------------------------------------------
 * What its job does not want for so long (sched_keep.c)
 * ------------------------------------------------------------------------
 */

/* Rows that a step deletes with those of history, of which each may have many. */
#define MOST_BESIDE 2000

/* Rows of a run in one table and segment; *room: how many may be deleted. */
static void
delete_of(Relation rel, const char *index, int64 run_id, int *room)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	js_scan_int64(&key, 1, BTEqualStrategyNumber, run_id);
	scan = js_table_scan_key(rel, index, &key, 1);
	while (*room > 0 && HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (js_tuple_lock_if_free(rel, tuple))
		{
			CatalogTupleDelete(rel, &tuple->t_self);
			(*room)--;
		}
	systable_endscan(scan);
}

/* Rows of runs in one table that goes with history, all segments of a ring. */
static void
delete_beside(const char *table, int ring, const int64 *run_ids, int count, int *room)
{
	for (int segment = ring * 100; segment < ring * 100 + JS_SEGMENTS; segment++)
	{
		Relation	rel = js_table_open(segment_name(table, segment, ""), RowExclusiveLock);
		char	   *index = segment_name(table, segment, "_pkey");
		bool		is_empty = RelationGetNumberOfBlocks(rel) == 0;

		for (int i = 0; i < count && !is_empty && *room > 0; i++)
			delete_of(rel, index, run_ids[i], room);
		table_close(rel, RowExclusiveLock);
	}
}

/*
 * Messages, responses and attempts may be in other segments than the run's row.  False: there
 * may be more than what a step may delete.
 */
static bool
delete_all_beside(const int64 *run_ids, int count)
{
	int			room = MOST_BESIDE;

	for (int ring = 0; ring < JS_RINGS; ring++)
	{
		delete_beside("run_log", ring, run_ids, count, &room);
		delete_beside("http_response", ring, run_ids, count, &room);
	}
	delete_beside("attempt", 1, run_ids, count, &room);
	return room > 0;
}

/* Whether a row may go: it has expired, and nobody needs or holds it. */
static bool
may_expire(Relation rel, HeapTuple tuple, const JsRow *row, TimestampTz before, Needed *last)
{
	return js_row_timestamp(row, HISTORY_FINISHED_AT) < before && !is_kept(rel, tuple, last) &&
		js_tuple_lock_if_free(rel, tuple) && !is_kept(rel, tuple, last);
}

/*
 * Deletes what the runs of a job have left that ended before an instant and are in a
 * segment, in the order of their ids from one on; so much of it as a step may do.  Returns
 * the run to go on with; 0: that was all.  What was queued later has not ended
 * before it either.  *room: how many runs may be deleted; those that are go off it.  Their
 * rows go last, when nothing else is left of them.
 */
int64
js_history_expire_some(int segment, int64 job_id, TimestampTz before, int64 from, int *room)
{
	Relation	rel = open_history(segment, RowExclusiveLock);
	Relation	index = index_open(js_table_oid(segment_name("history", segment, "_job_id_run_id_idx")),
								   AccessShareLock);
	int64		expired[MOST_ROWS];
	ItemPointerData tids[MOST_ROWS];
	int			nexpired = 0;
	int64		next = 0;
	int			seen = 0;
	Needed		last = {0};
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	js_scan_int64(&keys[0], HISTORY_JOB_ID, BTEqualStrategyNumber, job_id);
	js_scan_int64(&keys[1], HISTORY_RUN_ID, BTGreaterEqualStrategyNumber, from);
	scan = systable_beginscan_ordered(rel, index, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		JsRow		row;

		CHECK_FOR_INTERRUPTS();
		js_row_get(&row, tuple, rel);
		if (js_row_timestamp(&row, HISTORY_QUEUED_AT) >= before)
			break;
		if (nexpired == Min(*room, MOST_ROWS) || seen++ == MOST_LOOKED_UP)
		{
			next = history_run_id(rel, tuple);
			break;
		}
		if (!may_expire(rel, tuple, &row, before, &last))
			continue;
		tids[nexpired] = tuple->t_self;
		expired[nexpired++] = history_run_id(rel, tuple);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	if (nexpired > 0 && !delete_all_beside(expired, nexpired))
		next = expired[0];
	else
	{
		for (int i = 0; i < nexpired; i++)
			CatalogTupleDelete(rel, &tids[i]);
		*room -= nexpired;
	}
	table_close(rel, RowExclusiveLock);
	return next;
}

/* The segment to which a ring moves on; until then it has the oldest rows. */
int
js_ring_next(int ring, const JsRing *state)
{
	return ring * 100 + (state->segment - ring * 100 + 1) % JS_SEGMENTS;
}

/*
 * Moves a ring on to its next segment, emptying it.  Called by the scheduler,
 * whose session has a lock_timeout: a reader that holds on to the segment
 * makes this fail, and the scheduler tries again later.
 */
void
js_ring_advance(int ring, TimestampTz now, JsRing *state)
{
	JsRing		next;

	next.segment = js_ring_next(ring, state);
	next.started_at = now;
	js_catalog_truncate_segment(next.segment);
	CommandCounterIncrement();
	ring_update(ring, &next);
	*state = next;
}
