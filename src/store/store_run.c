/*-------------------------------------------------------------------------
 *
 * store_run.c
 *		Rows of run: the queue.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_collation.h"
#include "commands/sequence.h"
#include "compat.h"
#include "shmem/shmem.h"
#include "store/store.h"
#include "store/store_names.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

enum RunColumn
{
	RUN_ID = 1, RUN_JOB_ID, RUN_HOME, RUN_OWNER, RUN_STATUS, RUN_SOURCE, RUN_ATTEMPT,
	RUN_LOST, RUN_FAILURES, RUN_REPEATABLE, RUN_PRIORITY, RUN_MISSED_COUNT,
	RUN_TIMEOUT, RUN_MAX_ATTEMPTS, RUN_KEYS, RUN_BOOT_ID, RUN_RUN_AT,
	RUN_QUEUED_AT, RUN_CLAIMED_AT, RUN_SCHEDULED_FOR, RUN_REASON, RUN_ARGS, RUN_STATE,
	RUN_HANDLER, RUN_REQUEST, RUN_TRACEPARENT, RUN_AFTER_WHEN, RUN_PARENTS,
	RUN_PARENT_RUN_ID, RUN_OPTIONAL, RUN_DEPTH, RUN_RESULT, RUN_WORKER_PID,
	RUN_WORKFLOW, RUN_WAIT_FOR, RUN_WAIT_TIMEOUT, RUN_WAIT_UNTIL
};

/* Users know the first three. */
static const char *const run_status_names[] = {"queued", "running", "retrying", "waiting"};

/* ------------------------------------------------------------------------
 * run
 * ------------------------------------------------------------------------
 */

/* What a run is executed with: its own arguments over those of its job. */
Jsonb *
js_run_args(Jsonb *of_job, Jsonb *of_run)
{
	if (of_run == NULL)
		return of_job;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(of_job),
											  JsonbPGetDatum(of_run)));
}

struct JsRunWriter
{
	Relation	rel;
	CatalogIndexState indexes;
	Oid			sequence;
};

/* For inserting several runs: what they share is opened once. */
JsRunWriter *
js_run_writer_open(void)
{
	JsRunWriter *writer = palloc(sizeof(JsRunWriter));

	writer->rel = js_table_open("run", RowExclusiveLock);
	writer->indexes = js_indexes_open(writer->rel);
	writer->sequence = js_table_oid("run_id_seq");
	return writer;
}

void
js_run_writer_close(JsRunWriter *writer)
{
	CatalogCloseIndexes(writer->indexes);
	table_close(writer->rel, RowExclusiveLock);
	pfree(writer);
}

int64
js_run_next_id(void)
{
	return nextval_internal(js_table_oid("run_id_seq"), false);
}

/* The columns that change while a run waits and when it is claimed. */
static void
run_progress_to_row(const JsRun *run, JsRow *row)
{
	js_row_set(row, RUN_OWNER, ObjectIdGetDatum(run->owner));
	js_row_set_text(row, RUN_STATUS, run_status_names[run->status]);
	js_row_set(row, RUN_ATTEMPT, Int32GetDatum(run->attempt));
	js_row_set(row, RUN_LOST, Int32GetDatum(run->lost));
	js_row_set(row, RUN_FAILURES, Int32GetDatum(run->failures));
	js_row_set(row, RUN_REPEATABLE, BoolGetDatum(run->repeatable));
	js_row_set(row, RUN_BOOT_ID, Int64GetDatum(run->boot_id));
	js_row_set_timestamp(row, RUN_RUN_AT, run->run_at);
	js_row_set_timestamp(row, RUN_CLAIMED_AT, run->claimed_at);
	js_row_set_text(row, RUN_REASON, run->reason);
}

static void
run_to_row(const JsRun *run, JsRow *row)
{
	js_row_init(row);
	js_row_set(row, RUN_ID, Int64GetDatum(run->run_id));
	js_row_set(row, RUN_JOB_ID, Int64GetDatum(run->job_id));
	if (run->job_id == 0)
		js_row_set(row, RUN_HOME, UUIDPGetDatum(&run->home));
	else
		js_row_set_null(row, RUN_HOME);
	js_row_set_text(row, RUN_SOURCE, js_source_name(run->source));
	js_row_set(row, RUN_PRIORITY, Int32GetDatum(run->priority));
	js_row_set(row, RUN_MISSED_COUNT, Int32GetDatum(run->missed_count));
	js_row_set_interval(row, RUN_TIMEOUT, run->timeout);
	js_row_set_number(row, RUN_MAX_ATTEMPTS, run->max_attempts);
	js_row_set_array(row, RUN_KEYS, run->keys);
	js_row_set_timestamp(row, RUN_QUEUED_AT, run->queued_at);
	js_row_set_timestamp(row, RUN_SCHEDULED_FOR, run->scheduled_for);
	js_row_set_jsonb(row, RUN_ARGS, run->args);
	js_row_set_jsonb(row, RUN_STATE, run->state);
	js_row_set_text(row, RUN_HANDLER, run->handler);
	js_row_set_jsonb(row, RUN_REQUEST, run->request);
	js_row_set_text(row, RUN_TRACEPARENT, run->traceparent);
	js_row_set_text(row, RUN_AFTER_WHEN, js_after_when_name(run->after_when));
	js_row_set_number(row, RUN_PARENTS, run->nparents);
	if (run->parent_run_id != 0)
	{
		js_row_set(row, RUN_PARENT_RUN_ID, Int64GetDatum(run->parent_run_id));
		js_row_set(row, RUN_OPTIONAL, BoolGetDatum(run->optional));
	}
	js_row_set_number(row, RUN_DEPTH, run->depth);
	js_row_set_text(row, RUN_WORKFLOW, js_workflow_name(run->workflow));
	js_row_set_array(row, RUN_WAIT_FOR, run->wait_for);
	js_row_set_interval(row, RUN_WAIT_TIMEOUT, run->wait_timeout);
	run_progress_to_row(run, row);
}

/* NULL: it is in no partial index. */
static HeapTuple
indexed(HeapTuple tuple)
{
	return heap_attisnull(tuple, RUN_PARENT_RUN_ID, NULL) && heap_attisnull(tuple, RUN_WORKFLOW, NULL) ?
		NULL : tuple;
}

/* The id is assigned here unless it is set. */
int64
js_run_insert(JsRunWriter *writer, JsRun *run)
{
	HeapTuple	tuple;
	JsRow		row;

	if (run->run_id == 0)
		run->run_id = nextval_internal(writer->sequence, false);
	run_to_row(run, &row);
	tuple = heap_form_tuple(RelationGetDescr(writer->rel), row.values, row.nulls);
	js_indexes_choose(writer->indexes, indexed(tuple));
	CatalogTupleInsertWithInfo(writer->rel, tuple, writer->indexes);
	heap_freetuple(tuple);
	return run->run_id;
}

/* As a user gives it. */
JsRunStatus
js_run_status_argument(const char *name)
{
	for (int i = 0; i < JS_RUN_WAITING; i++)
		if (strcmp(name, run_status_names[i]) == 0)
			return (JsRunStatus) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid status \"%s\"", name),
			 errhint("Runs that have not ended are queued, running or retrying.")));
}

/* As views show it. */
const char *
js_run_status_name(JsRunStatus status)
{
	return run_status_names[status == JS_RUN_WAITING ? JS_RUN_RUNNING : status];
}

static JsRunStatus
run_status_of(const char *name)
{
	for (int i = 0; i < lengthof(run_status_names); i++)
		if (strcmp(name, run_status_names[i]) == 0)
			return (JsRunStatus) i;
	elog(ERROR, "run has unknown status \"%s\"", name);
}

static void
run_head_from_row(const JsRow *row, JsRun *run)
{
	memset(run, 0, sizeof(JsRun));
	run->run_id = DatumGetInt64(row->values[RUN_ID - 1]);
	run->job_id = DatumGetInt64(row->values[RUN_JOB_ID - 1]);
	if (!row->nulls[RUN_HOME - 1])
		run->home = *DatumGetUUIDP(row->values[RUN_HOME - 1]);
	run->owner = DatumGetObjectId(row->values[RUN_OWNER - 1]);
	run->status = run_status_of(js_row_head_text(row, RUN_STATUS));
	run->source = js_source_of(js_row_head_text(row, RUN_SOURCE));
	run->attempt = DatumGetInt32(row->values[RUN_ATTEMPT - 1]);
	run->lost = DatumGetInt32(row->values[RUN_LOST - 1]);
	run->failures = DatumGetInt32(row->values[RUN_FAILURES - 1]);
	run->repeatable = DatumGetBool(row->values[RUN_REPEATABLE - 1]);
	run->priority = DatumGetInt32(row->values[RUN_PRIORITY - 1]);
	run->missed_count = DatumGetInt32(row->values[RUN_MISSED_COUNT - 1]);
	run->timeout = js_row_interval(row, RUN_TIMEOUT);
	run->max_attempts = js_row_number(row, RUN_MAX_ATTEMPTS, JS_MAX_ATTEMPTS);
	run->keys = js_row_head_array(row, RUN_KEYS);
	run->boot_id = row->nulls[RUN_BOOT_ID - 1] ? 0 : DatumGetInt64(row->values[RUN_BOOT_ID - 1]);
	run->run_at = js_row_timestamp(row, RUN_RUN_AT);
	run->queued_at = js_row_timestamp(row, RUN_QUEUED_AT);
	run->claimed_at = js_row_timestamp(row, RUN_CLAIMED_AT);
	run->scheduled_for = js_row_timestamp(row, RUN_SCHEDULED_FOR);
	run->reason = js_row_head_text(row, RUN_REASON);
	run->handler = js_row_head_text(row, RUN_HANDLER);
	run->traceparent = js_row_head_text(row, RUN_TRACEPARENT);
	run->after_when = js_after_when_of(js_row_head_text(row, RUN_AFTER_WHEN));
	run->nparents = js_row_number(row, RUN_PARENTS, JS_MAX_PARENTS);
	if (!row->nulls[RUN_PARENT_RUN_ID - 1])
		run->parent_run_id = DatumGetInt64(row->values[RUN_PARENT_RUN_ID - 1]);
	run->optional = !row->nulls[RUN_OPTIONAL - 1] && DatumGetBool(row->values[RUN_OPTIONAL - 1]);
	run->depth = js_row_number(row, RUN_DEPTH, JS_MAX_DEPTH);
	run->worker_pid = js_row_number(row, RUN_WORKER_PID, PG_INT32_MAX);
	if (!row->nulls[RUN_WORKFLOW - 1])
		run->workflow = js_workflow_of(js_row_head_text(row, RUN_WORKFLOW));
	run->wait_for = js_row_head_array(row, RUN_WAIT_FOR);
	run->wait_timeout = js_row_interval(row, RUN_WAIT_TIMEOUT);
	run->wait_until = js_row_timestamp(row, RUN_WAIT_UNTIL);
	run->sends_request = !row->nulls[RUN_REQUEST - 1];
	run->size = js_row_size(row, RUN_ARGS) + js_row_size(row, RUN_REQUEST);
	run->state_size = js_row_size(row, RUN_STATE);
	run->result_size = js_row_size(row, RUN_RESULT);
}

typedef void (*RunReader) (Relation rel, HeapTuple tuple, JsRun *run);

static void
run_head_from_tuple(Relation rel, HeapTuple tuple, JsRun *head)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	run_head_from_row(&row, head);
}

static void
run_from_tuple(Relation rel, HeapTuple tuple, JsRun *run)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	run_head_from_row(&row, run);
	run->args = js_row_jsonb(&row, RUN_ARGS);
	run->state = js_row_jsonb(&row, RUN_STATE);
	run->handler = js_row_text(&row, RUN_HANDLER);
	run->request = js_row_jsonb(&row, RUN_REQUEST);
	run->traceparent = js_row_text(&row, RUN_TRACEPARENT);
	run->result = js_row_jsonb(&row, RUN_RESULT);
}

static SysScanDesc
scan_run(Relation rel, int64 run_id)
{
	ScanKeyData key;

	js_scan_int64(&key, RUN_ID, BTEqualStrategyNumber, run_id);
	return js_table_scan_self(rel, "run_pkey", &key, 1);
}

static bool
read_run(Relation rel, SysScanDesc scan, RunReader read, JsRun *run)
{
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);

	if (found)
		read(rel, tuple, run);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static bool
read_own(int64 run_id, RunReader read, JsRun *run)
{
	Relation	rel = js_table_open("run", AccessShareLock);

	return read_run(rel, scan_run(rel, run_id), read, run);
}

static bool
see(int64 run_id, RunReader read, JsRun *run)
{
	Relation	rel = js_table_open("run", AccessShareLock);
	ScanKeyData key;

	js_scan_int64(&key, RUN_ID, BTEqualStrategyNumber, run_id);
	return read_run(rel, js_table_scan_key(rel, "run_pkey", &key, 1), read, run);
}

/* For whoever writes the row now. */
bool
js_run_read(int64 run_id, JsRun *run)
{
	return read_own(run_id, run_from_tuple, run);
}

bool
js_run_read_head(int64 run_id, JsRun *head)
{
	return read_own(run_id, run_head_from_tuple, head);
}

/* For anybody else. */
bool
js_run_see(int64 run_id, JsRun *run)
{
	return see(run_id, run_from_tuple, run);
}

bool
js_run_see_head(int64 run_id, JsRun *head)
{
	return see(run_id, run_head_from_tuple, head);
}

/* Whether somebody else holds the row of a run. */
bool
js_run_is_busy(int64 run_id)
{
	Relation	rel = js_table_open("run", AccessShareLock);
	SysScanDesc scan = scan_run(rel, run_id);
	HeapTuple	tuple = systable_getnext(scan);
	bool		busy = HeapTupleIsValid(tuple) && js_tuple_is_busy(tuple);

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return busy;
}

/* Whether a run of a job waits or runs. */
bool
js_run_exists_of(int64 job_id)
{
	Relation	rel = js_table_open("run", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	js_scan_int64(&key, RUN_JOB_ID, BTEqualStrategyNumber, job_id);
	scan = js_table_scan_key(rel, "run_slot", &key, 1);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Whether a run of a job's slot waits or runs; JS_SOURCE_UNKNOWN: whatever asked for it. */
bool
js_run_exists_for(int64 job_id, TimestampTz slot, JsRunSource source)
{
	Relation	rel = js_table_open("run", AccessShareLock);
	ScanKeyData keys[3];
	SysScanDesc scan;
	bool		found;

	js_scan_int64(&keys[0], RUN_JOB_ID, BTEqualStrategyNumber, job_id);
	ScanKeyInit(&keys[1], RUN_SCHEDULED_FOR, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(slot));
	if (source != JS_SOURCE_UNKNOWN)
		ScanKeyEntryInitialize(&keys[2], 0, RUN_SOURCE, BTEqualStrategyNumber, InvalidOid,
							   DEFAULT_COLLATION_OID, F_TEXTEQ,
							   CStringGetTextDatum(js_source_name(source)));
	scan = js_table_scan_key(rel, "run_slot", keys, source != JS_SOURCE_UNKNOWN ? 3 : 2);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Finds the row of a run; NULL when it is gone or somebody else holds it. */
static HeapTuple
find_free_run(JsRunWriter *writer, int64 run_id, SysScanDesc *scan)
{
	HeapTuple	tuple;

	*scan = scan_run(writer->rel, run_id);
	tuple = systable_getnext(*scan);
	if (HeapTupleIsValid(tuple) && js_tuple_is_busy(tuple))
		tuple = NULL;
	return tuple;
}

static void
update_run(JsRunWriter *writer, HeapTuple old, const JsRow *row)
{
	HeapTuple	tuple = heap_modify_tuple(old, RelationGetDescr(writer->rel),
										  (Datum *) row->values, (bool *) row->nulls,
										  (bool *) row->changed);

	js_indexes_choose(writer->indexes, indexed(tuple));
	CatalogTupleUpdateWithInfo(writer->rel, &old->t_self, tuple, writer->indexes);
	heap_freetuple(tuple);
}

/*
 * Writes what may change in a waiting run.  False when the row is gone, or
 * somebody else holds it.
 */
bool
js_run_update(const JsRun *run)
{
	JsRunWriter *writer = js_run_writer_open();
	SysScanDesc scan;
	HeapTuple	old = find_free_run(writer, run->run_id, &scan);
	bool		ok = HeapTupleIsValid(old);
	JsRow		row;

	if (ok)
	{
		js_row_init(&row);
		run_progress_to_row(run, &row);
		update_run(writer, old, &row);
		CommandCounterIncrement();	/* it may be claimed in the same step */
	}
	systable_endscan(scan);
	js_run_writer_close(writer);
	return ok;
}

/*
 * Marks a run as being executed: a new attempt, in this life of the server,
 * as a role.  run_at: when it was to start, if the row does not say it; else
 * DT_NOBEGIN.  False when the row is gone, or somebody else holds it.
 */
bool
js_run_claim(JsRunWriter *writer, int64 run_id, Oid owner, int32 attempt,
			 bool repeatable, TimestampTz run_at, TimestampTz now)
{
	SysScanDesc scan;
	HeapTuple	old = find_free_run(writer, run_id, &scan);
	bool		ok = HeapTupleIsValid(old);
	JsRow		row;

	if (ok)
	{
		js_row_init(&row);
		js_row_set(&row, RUN_OWNER, ObjectIdGetDatum(owner));
		js_row_set_text(&row, RUN_STATUS, run_status_names[JS_RUN_RUNNING]);
		js_row_set(&row, RUN_ATTEMPT, Int32GetDatum(attempt));
		js_row_set(&row, RUN_REPEATABLE, BoolGetDatum(repeatable));
		js_row_set(&row, RUN_BOOT_ID, Int64GetDatum(js->boot_id));
		js_row_set(&row, RUN_CLAIMED_AT, TimestampTzGetDatum(now));
		js_row_set_null(&row, RUN_REASON);
		if (run_at != DT_NOBEGIN)
			js_row_set_timestamp(&row, RUN_RUN_AT, run_at);
		update_run(writer, old, &row);
	}
	systable_endscan(scan);
	return ok;
}

/* Writes the columns that have been set.  False: the row is gone, or held. */
static bool
update_columns(int64 run_id, const JsRow *row)
{
	JsRunWriter *writer = js_run_writer_open();
	SysScanDesc scan;
	HeapTuple	old = find_free_run(writer, run_id, &scan);
	bool		ok = HeapTupleIsValid(old);

	if (ok)
		update_run(writer, old, row);
	systable_endscan(scan);
	js_run_writer_close(writer);
	CommandCounterIncrement();
	return ok;
}

/* By the scheduler: from when on nobody expects an event any more. */
bool
js_run_begin_wait(int64 run_id, TimestampTz until)
{
	JsRow		row;

	js_row_init(&row);
	js_row_set_timestamp(&row, RUN_WAIT_UNTIL, until);
	return update_columns(run_id, &row);
}

typedef struct RunVisit
{
	JsRunVisitor visit;
	void	   *arg;
} RunVisit;

static void
visit_run_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	RunVisit   *visit = arg;
	JsRun		run;

	run_head_from_tuple(rel, tuple, &run);
	visit->visit(&run, visit->arg);
}

void
js_runs_visit(int64 first, int64 last, JsRunVisitor visit, void *arg)
{
	RunVisit	each = {visit, arg};

	js_table_visit("run", "run_pkey", first, last, visit_run_tuple, &each);
}

void
js_runs_visit_all(JsRunVisitor visit, void *arg)
{
	RunVisit	each = {visit, arg};

	js_table_visit("run", NULL, 0, 0, visit_run_tuple, &each);
}

/* As js_table_visit_some(). */
int64
js_runs_visit_some(int64 from, bool down, int most, JsRunVisitor visit, void *arg)
{
	RunVisit	each = {visit, arg};

	return js_table_visit_some("run", "run_pkey", from, down, most, visit_run_tuple, &each);
}

/* ------------------------------------------------------------------------
 * Requests whose job is yet to be made
 * ------------------------------------------------------------------------
 */

void
js_runs_visit_jobless(JsRunVisitor visit, void *arg)
{
	RunVisit	each = {visit, arg};
	ScanKeyData key;

	js_scan_int64(&key, RUN_JOB_ID, BTEqualStrategyNumber, 0);
	js_table_visit_keys("run", "run_slot", &key, 1, visit_run_tuple, &each);
}

typedef struct JoblessSearch
{
	Oid			owner;
	bool		found;
} JoblessSearch;

static void
search_jobless(const JsRun *run, void *arg)
{
	JoblessSearch *search = arg;

	search->found |= run->owner == search->owner;
}

bool
js_run_jobless_exists(Oid owner)
{
	JoblessSearch search = {owner, false};

	js_runs_visit_jobless(search_jobless, &search);
	return search.found;
}

/* By the scheduler; false when somebody else holds the row. */
bool
js_run_give_job(int64 run_id, int64 job_id)
{
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, RUN_JOB_ID, Int64GetDatum(job_id));
	js_row_set_null(&row, RUN_HOME);
	return update_columns(run_id, &row);
}

typedef struct RunsToAdopt
{
	const pg_uuid_t *token;
	JsOwnerFilter may_adopt;
	MemoryContext context;
	List	   *ids;
} RunsToAdopt;

static void
select_stranger(const JsRun *run, void *arg)
{
	RunsToAdopt *adopt = arg;
	MemoryContext outer;
	int64	   *id;

	if (memcmp(&run->home, adopt->token, sizeof(pg_uuid_t)) == 0 || !adopt->may_adopt(run->owner))
		return;
	outer = MemoryContextSwitchTo(adopt->context);
	id = palloc(sizeof(int64));
	*id = run->run_id;
	adopt->ids = lappend(adopt->ids, id);
	MemoryContextSwitchTo(outer);
}

/*
 * Makes this database the home of those that came from elsewhere, if their owners
 * may have it so; the scheduler has not touched them.
 */
void
js_runs_adopt(const pg_uuid_t *token, JsOwnerFilter may_adopt)
{
	RunsToAdopt adopt = {token, may_adopt, CurrentMemoryContext, NIL};
	ListCell   *lc;
	JsRow		row;

	js_runs_visit_jobless(select_stranger, &adopt);
	js_row_init(&row);
	js_row_set(&row, RUN_HOME, UUIDPGetDatum(token));
	foreach(lc, adopt.ids)
		(void) update_columns(*(int64 *) lfirst(lc), &row);
}

/* ------------------------------------------------------------------------
 * Ends
 * ------------------------------------------------------------------------
 */

/*
 * The row of the attempt, and of no other: this is the fence between a worker
 * and whoever believes that it is dead.
 */
static HeapTuple
find_attempt(Relation rel, const JsRun *run, SysScanDesc *scan)
{
	HeapTuple	tuple;
	JsRow		row;

	*scan = scan_run(rel, run->run_id);
	tuple = systable_getnext(*scan);
	if (HeapTupleIsValid(tuple))
		js_row_get(&row, tuple, rel);
	if (!HeapTupleIsValid(tuple) ||
		DatumGetInt32(row.values[RUN_ATTEMPT - 1]) != run->attempt ||
		run_status_of(js_row_text(&row, RUN_STATUS)) != run->status)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run " INT64_FORMAT " is no longer in the hands of attempt %d",
						run->run_id, run->attempt)));
	return tuple;
}

pg_noreturn static void
refuse_locked(int64 run_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("the row of run " INT64_FORMAT " is locked by another transaction", run_id)));
}

/* Never waits. */
static void
delete_run(Relation rel, const JsRun *run)
{
	SysScanDesc scan;
	HeapTuple	tuple = find_attempt(rel, run, &scan);
	TM_FailureData failure;

	if (heap_delete(rel, &tuple->t_self, GetCurrentCommandId(true), InvalidSnapshot,
					false, &failure, false) != TM_Ok)
		refuse_locked(run->run_id);
	systable_endscan(scan);
}

/* Whether it is a step that has filled its arguments before it started, and will not do so again. */
static bool
has_filled_args(const JsEnding *ending)
{
	return ending->job != NULL && ending->job->step_looks && ending->run->handler == NULL &&
		(ending->job->request == NULL || js_run_maps(ending->job, ending->run));
}

/*
 * Puts the run back as it waits for its next attempt, or for its children.  Its
 * state is written if it has got another one.
 */
static void
give_back_run(const JsEnding *ending)
{
	JsRunWriter *writer = js_run_writer_open();
	SysScanDesc scan;
	HeapTuple	old = find_attempt(writer->rel, ending->run, &scan);
	JsRow		row;

	if (js_tuple_is_busy(old))
		refuse_locked(ending->run->run_id);
	js_row_init(&row);
	run_progress_to_row(ending->next, &row);
	if (ending->next->state != ending->run->state)
		js_row_set_jsonb(&row, RUN_STATE, ending->next->state);
	if (ending->next->status == JS_RUN_WAITING)
	{
		if (has_filled_args(ending))
			js_row_set_jsonb(&row, RUN_ARGS, ending->next->args);
		js_row_set_jsonb(&row, RUN_RESULT, ending->outcome->result);
		js_row_set_text(&row, RUN_WORKFLOW, js_workflow_name(ending->next->workflow));
		js_row_set_number(&row, RUN_WORKER_PID, ending->outcome->worker_pid);
	}
	update_run(writer, old, &row);
	systable_endscan(scan);
	js_run_writer_close(writer);
}

/*
 * The first half of the end of attempts: their runs leave the queue, or wait in
 * it for the next attempt.
 */
void
js_runs_leave(const JsEnding *endings, int count)
{
	Relation	rel = js_table_open("run", RowExclusiveLock);

	for (int i = 0; i < count; i++)
		if (endings[i].next == NULL)
			delete_run(rel, endings[i].run);
		else
			give_back_run(&endings[i]);
	table_close(rel, RowExclusiveLock);
}

/* ------------------------------------------------------------------------
 * Children
 * ------------------------------------------------------------------------
 */

/*
 * Some children of a run that are in the queue, the oldest first; returns how many.
 * ids: NULL if only that is wanted.
 */
int
js_runs_children(int64 parent_run_id, int64 from, int64 *ids, int most)
{
	Relation	rel = js_table_open("run", AccessShareLock);
	Relation	index = index_open(js_table_oid("run_parent"), AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	int			count = 0;

	js_scan_int64(&keys[0], RUN_PARENT_RUN_ID, BTEqualStrategyNumber, parent_run_id);
	js_scan_int64(&keys[1], RUN_ID, BTGreaterEqualStrategyNumber, from);
	scan = systable_beginscan_ordered(rel, index, NULL, 2, keys);
	while (count < most &&
		   HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		bool		isnull;

		if (ids != NULL)
			ids[count] = DatumGetInt64(heap_getattr(tuple, RUN_ID, RelationGetDescr(rel), &isnull));
		count++;
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return count;
}

/* All that are in the queue, as a snapshot has them. */
void
js_runs_visit_children(int64 parent_run_id, Snapshot snapshot, JsRunVisitor visit, void *arg)
{
	Relation	rel = js_table_open("run", AccessShareLock);
	Relation	index = index_open(js_table_oid("run_parent"), AccessShareLock);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "jobsched visit",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = CurrentMemoryContext;
	RunVisit	each = {visit, arg};
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	js_scan_int64(&key, RUN_PARENT_RUN_ID, BTEqualStrategyNumber, parent_run_id);
	scan = systable_beginscan_ordered(rel, index, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		MemoryContextSwitchTo(context);
		visit_run_tuple(rel, tuple, &each);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan_ordered(scan);
	MemoryContextDelete(context);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}
