/*-------------------------------------------------------------------------
 *
 * store_job.c
 *		Rows of job, job_state and identity.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_collation.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "guc.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "store/owner.h"
#include "store/store.h"
#include "store/store_names.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

enum JobColumn
{
	JOB_ID = 1, JOB_NAME, JOB_OWNER, JOB_OWNER_NAME, JOB_HOME, JOB_SCHEDULE, JOB_TIMEZONE, JOB_COMMAND,
	JOB_HANDLER, JOB_ARGS, JOB_MODE, JOB_TRANSACTIONAL,
	JOB_SHARE_TRANSACTION, JOB_TIMEOUT, JOB_MAX_ATTEMPTS, JOB_BACKOFF,
	JOB_BACKOFF_BASE, JOB_BACKOFF_MAX, JOB_BACKOFF_JITTER, JOB_RETRY_DELAYS,
	JOB_RETRY_ON, JOB_NO_RETRY_ON,
	JOB_OVERLAP, JOB_QUEUE_LIMIT, JOB_MISFIRE, JOB_MISFIRE_GRACE,
	JOB_STARTS_AT, JOB_ENDS_AT, JOB_MAX_RUNS, JOB_JITTER, JOB_PAUSE_AFTER_FAILURES,
	JOB_MAX_CONCURRENCY, JOB_QUEUE, JOB_KEYS, JOB_REQUEST,
	JOB_ENABLED,
	JOB_PAUSED, JOB_PAUSE_REASON, JOB_DESCRIPTION, JOB_METADATA,
	JOB_CREATED_AT, JOB_UPDATED_AT, JOB_REVISION, JOB_SCHEDULE_REVISION,
	JOB_ANCHOR, JOB_FIRST_RUN_AT, JOB_DROPPED_AT, JOB_CANCEL_RUNNING
};

enum StateColumn
{
	STATE_JOB_ID = 1, STATE_SCHEDULE_REVISION, STATE_NEXT_RUN_AT,
	STATE_LAST_SLOT, STATE_DONE_BEFORE, STATE_DONE_FROM, STATE_INVALID_REVISION, STATE_INVALID_REASON,
	STATE_LAST_RUN_ID, STATE_LAST_STATUS,
	STATE_LAST_STARTED_AT, STATE_LAST_FINISHED_AT,
	STATE_CONSECUTIVE_FAILURES, STATE_RECENT, STATE_SKIPPED,
	STATE_SKIPPED_FIRST, STATE_SKIPPED_LAST, STATE_SKIPPED_REASON,
	STATE_SCHEDULED_RUNS, STATE_AUTO_PAUSED_REVISION, STATE_AUTO_PAUSED_REASON,
	STATE_FORGIVEN_FAILURES
};

enum IdentityColumn
{
	IDENTITY_ID = 1, IDENTITY_TOKEN, IDENTITY_DATABASE, IDENTITY_INSTANCE_ID,
	IDENTITY_STOPPED_AT
};

/* ------------------------------------------------------------------------
 * job
 * ------------------------------------------------------------------------
 */

static void
retry_policy_to_row(const JsJob *job, JsRow *row)
{
	js_row_set_number(row, JOB_MAX_ATTEMPTS, job->max_attempts);
	js_row_set_text(row, JOB_BACKOFF, job->backoff);
	js_row_set_interval(row, JOB_BACKOFF_BASE, job->backoff_base);
	js_row_set_interval(row, JOB_BACKOFF_MAX, job->backoff_max);
	js_row_set(row, JOB_BACKOFF_JITTER, Float8GetDatum(job->backoff_jitter));
	js_row_set_array(row, JOB_RETRY_DELAYS, job->retry_delays);
	js_row_set_array(row, JOB_RETRY_ON, job->retry_on);
	js_row_set_array(row, JOB_NO_RETRY_ON, job->no_retry_on);
}

static void
retry_policy_from_row(const JsRow *row, JsJob *job)
{
	job->max_attempts = js_row_number(row, JOB_MAX_ATTEMPTS, JS_MAX_ATTEMPTS);
	job->backoff = js_row_head_text(row, JOB_BACKOFF);
	job->backoff_base = js_row_interval(row, JOB_BACKOFF_BASE);
	job->backoff_max = js_row_interval(row, JOB_BACKOFF_MAX);
	job->backoff_jitter = DatumGetFloat8(row->values[JOB_BACKOFF_JITTER - 1]);
	job->retry_delays = js_row_head_array(row, JOB_RETRY_DELAYS);
	job->retry_on = js_row_head_array(row, JOB_RETRY_ON);
	job->no_retry_on = js_row_head_array(row, JOB_NO_RETRY_ON);
}

static void
policies_to_row(const JsJob *job, JsRow *row)
{
	js_row_set_text(row, JOB_OVERLAP, js_overlap_names[job->overlap]);
	js_row_set(row, JOB_QUEUE_LIMIT, Int32GetDatum(job->queue_limit));
	js_row_set_text(row, JOB_MISFIRE, js_misfire_names[job->misfire]);
	js_row_set_span(row, JOB_MISFIRE_GRACE, job->misfire_grace);
	js_row_set_timestamp(row, JOB_STARTS_AT, job->starts_at);
	js_row_set_timestamp(row, JOB_ENDS_AT, job->ends_at);
	js_row_set_number(row, JOB_MAX_RUNS, job->max_runs);
	js_row_set_interval(row, JOB_JITTER, job->jitter);
	js_row_set_number(row, JOB_PAUSE_AFTER_FAILURES, job->pause_after_failures);
	js_row_set_number(row, JOB_MAX_CONCURRENCY, job->max_concurrency);
}

/* If it is nobody's the row goes on to say whose it was. */
static void
owner_to_row(Oid owner, JsRow *row)
{
	char	   *name = js_role_name(owner);

	if (name == NULL)
		return;
	js_row_set(row, JOB_OWNER, ObjectIdGetDatum(owner));
	js_row_set_text(row, JOB_OWNER_NAME, name);
}

static void
owner_from_row(const JsRow *row, JsJob *job)
{
	JsStoredOwner stored;

	stored.oid = DatumGetObjectId(row->values[JOB_OWNER - 1]);
	stored.name = job->owner_name = js_row_text(row, JOB_OWNER_NAME);
	stored.home = job->home = *DatumGetUUIDP(row->values[JOB_HOME - 1]);
	job->owner = js_owner_of(&stored);
	job->owner_is_stale = js_owner_is_stale(&stored);
}

static void
job_to_row(const JsJob *job, JsRow *row)
{
	js_row_init(row);
	js_row_set(row, JOB_ID, Int64GetDatum(job->job_id));
	js_row_set_text(row, JOB_NAME, job->name);
	owner_to_row(job->owner, row);
	js_row_set_text(row, JOB_SCHEDULE, job->schedule);
	js_row_set_text(row, JOB_TIMEZONE, job->timezone);
	js_row_set_text(row, JOB_COMMAND, job->command);
	js_row_set_text(row, JOB_HANDLER, job->handler);
	js_row_set(row, JOB_ARGS, JsonbPGetDatum(job->args));
	js_row_set_text(row, JOB_MODE, job->mode);
	js_row_set(row, JOB_TRANSACTIONAL, BoolGetDatum(job->transactional));
	js_row_set(row, JOB_SHARE_TRANSACTION, BoolGetDatum(job->share_transaction));
	js_row_set_interval(row, JOB_TIMEOUT, job->timeout);
	retry_policy_to_row(job, row);
	policies_to_row(job, row);
	js_row_set_text(row, JOB_QUEUE, job->queue);
	js_row_set_array(row, JOB_KEYS, job->keys);
	js_row_set_jsonb(row, JOB_REQUEST, job->request);
	js_row_set(row, JOB_ENABLED, BoolGetDatum(job->enabled));
	js_row_set(row, JOB_PAUSED, BoolGetDatum(job->paused));
	js_row_set_text(row, JOB_PAUSE_REASON, job->pause_reason);
	js_row_set_text(row, JOB_DESCRIPTION, job->description);
	js_row_set_jsonb(row, JOB_METADATA, job->metadata);
	js_row_set(row, JOB_HOME, UUIDPGetDatum(&job->home));
	js_row_set_timestamp(row, JOB_CREATED_AT, job->created_at);
	js_row_set_timestamp(row, JOB_UPDATED_AT, job->updated_at);
	js_row_set(row, JOB_REVISION, Int64GetDatum(job->revision));
	js_row_set(row, JOB_SCHEDULE_REVISION, Int64GetDatum(job->schedule_revision));
	js_row_set_timestamp(row, JOB_ANCHOR, job->anchor);
	js_row_set_timestamp(row, JOB_FIRST_RUN_AT, job->first_run_at);
	js_row_set_timestamp(row, JOB_DROPPED_AT, job->dropped_at);
	js_row_set(row, JOB_CANCEL_RUNNING, BoolGetDatum(job->cancel_running));
}

/* A span of a day at most. */
static int64
row_short_span(const JsRow *row, AttrNumber column)
{
	return Min(Max(js_row_interval(row, column), 0), USECS_PER_DAY);
}

static void
policies_from_row(const JsRow *row, JsJob *job)
{
	job->overlap = js_overlap_of(js_row_head_text(row, JOB_OVERLAP));
	job->queue_limit = js_row_number(row, JOB_QUEUE_LIMIT, JS_MAX_QUEUE_LIMIT);
	job->misfire = js_misfire_of(js_row_head_text(row, JOB_MISFIRE));
	job->misfire_grace = row_short_span(row, JOB_MISFIRE_GRACE);
	job->starts_at = js_row_timestamp(row, JOB_STARTS_AT);
	job->ends_at = js_row_timestamp(row, JOB_ENDS_AT);
	job->max_runs = js_row_number(row, JOB_MAX_RUNS, PG_INT32_MAX);
	job->jitter = row_short_span(row, JOB_JITTER);
	job->pause_after_failures = js_row_number(row, JOB_PAUSE_AFTER_FAILURES, JS_MAX_PAUSE_AFTER);
	job->max_concurrency = js_row_number(row, JOB_MAX_CONCURRENCY, JS_MAX_CONCURRENCY);
}

/* All that has no fixed size, but for the lists of the retry policy. */
static const AttrNumber job_texts[] = {
	JOB_NAME, JOB_SCHEDULE, JOB_TIMEZONE, JOB_COMMAND, JOB_HANDLER, JOB_ARGS, JOB_QUEUE,
	JOB_KEYS, JOB_REQUEST, JOB_PAUSE_REASON, JOB_DESCRIPTION, JOB_METADATA
};

static Size
size_of_row(const JsRow *row)
{
	Size		size = 0;

	for (int i = 0; i < lengthof(job_texts); i++)
		size += js_row_size(row, job_texts[i]);
	return size;
}

static void
job_head_from_row(const JsRow *row, JsJob *job)
{
	memset(job, 0, sizeof(JsJob));
	job->job_id = DatumGetInt64(row->values[JOB_ID - 1]);
	job->name = js_row_head_text(row, JOB_NAME);
	owner_from_row(row, job);
	job->schedule = js_row_head_text(row, JOB_SCHEDULE);
	job->timezone = js_row_head_text(row, JOB_TIMEZONE);
	job->transactional = DatumGetBool(row->values[JOB_TRANSACTIONAL - 1]);
	job->share_transaction = DatumGetBool(row->values[JOB_SHARE_TRANSACTION - 1]);
	job->timeout = js_row_interval(row, JOB_TIMEOUT);
	retry_policy_from_row(row, job);
	policies_from_row(row, job);
	job->queue = js_row_head_text(row, JOB_QUEUE);
	job->has_keys = !row->nulls[JOB_KEYS - 1];
	job->sends_request = !row->nulls[JOB_REQUEST - 1];
	job->enabled = DatumGetBool(row->values[JOB_ENABLED - 1]);
	job->paused = DatumGetBool(row->values[JOB_PAUSED - 1]);
	job->created_at = js_row_timestamp(row, JOB_CREATED_AT);
	job->updated_at = js_row_timestamp(row, JOB_UPDATED_AT);
	job->revision = DatumGetInt64(row->values[JOB_REVISION - 1]);
	job->schedule_revision = DatumGetInt64(row->values[JOB_SCHEDULE_REVISION - 1]);
	job->anchor = js_row_timestamp(row, JOB_ANCHOR);
	job->first_run_at = js_row_timestamp(row, JOB_FIRST_RUN_AT);
	job->dropped_at = js_row_timestamp(row, JOB_DROPPED_AT);
	job->cancel_running = DatumGetBool(row->values[JOB_CANCEL_RUNNING - 1]);
	job->size = size_of_row(row);
}

static void
job_from_row(const JsRow *row, JsJob *job)
{
	job_head_from_row(row, job);
	job->name = js_row_text(row, JOB_NAME);
	job->schedule = js_row_text(row, JOB_SCHEDULE);
	job->timezone = js_row_text(row, JOB_TIMEZONE);
	job->command = js_row_text(row, JOB_COMMAND);
	job->handler = js_row_text(row, JOB_HANDLER);
	job->args = js_row_jsonb(row, JOB_ARGS);
	job->mode = js_row_text(row, JOB_MODE);
	job->queue = js_row_text(row, JOB_QUEUE);
	job->keys = js_row_array(row, JOB_KEYS);
	job->request = js_row_jsonb(row, JOB_REQUEST);
	job->pause_reason = js_row_text(row, JOB_PAUSE_REASON);
	job->description = js_row_text(row, JOB_DESCRIPTION);
	job->metadata = js_row_jsonb(row, JOB_METADATA);
}

static void
job_from_tuple(Relation rel, HeapTuple tuple, JsJob *job)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	job_from_row(&row, job);
}

static void
job_head_from_tuple(Relation rel, HeapTuple tuple, JsJob *head)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	job_head_from_row(&row, head);
}

/* Assigns job_id and home. */
int64
js_job_insert(JsJob *job)
{
	Relation	rel = js_table_open("job", RowExclusiveLock);
	JsRow		row;

	job->job_id = nextval_internal(js_table_oid("job_id_seq"), false);
	(void) js_identity_read(&job->home);
	job_to_row(job, &row);
	/* Of a role that has been dropped meanwhile the name is left out. */
	js_row_set(&row, JOB_OWNER, ObjectIdGetDatum(job->owner));
	js_table_insert(rel, &row);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	return job->job_id;
}

static SysScanDesc
scan_by_id(Relation rel, const char *index, AttrNumber column, int64 id)
{
	ScanKeyData key;

	js_scan_int64(&key, column, BTEqualStrategyNumber, id);
	return js_table_scan_key(rel, index, &key, 1);
}

/*
 * Locks the row of a job: other sessions that want to change it wait until
 * the transaction ends.  The scheduler only reads, and never waits.
 */
void
js_job_lock(int64 job_id)
{
	Relation	rel = js_table_open("job", RowExclusiveLock);
	SysScanDesc scan = scan_by_id(rel, "job_pkey", JOB_ID, job_id);
	HeapTuple	tuple = systable_getnext(scan);

	if (HeapTupleIsValid(tuple))
	{
		ItemPointerData tid = tuple->t_self;
		TupleTableSlot *slot = table_slot_create(rel, NULL);
		TM_FailureData failure;

		/* Deleted meanwhile: whoever reads it next finds out. */
		(void) table_tuple_lock(rel, &tid, SnapshotSelf, slot, GetCurrentCommandId(true),
								LockTupleExclusive, LockWaitBlock,
								TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
		ExecDropSingleTupleTableSlot(slot);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
}

void
js_job_update(const JsJob *job)
{
	Relation	rel = js_table_open("job", RowExclusiveLock);
	SysScanDesc scan = scan_by_id(rel, "job_pkey", JOB_ID, job->job_id);
	HeapTuple	old = systable_getnext(scan);
	JsRow		row;

	if (!HeapTupleIsValid(old))
		elog(ERROR, "job " INT64_FORMAT " has vanished", job->job_id);
	job_to_row(job, &row);
	js_table_update(rel, old, &row);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

typedef void (*JobReader) (Relation rel, HeapTuple tuple, JsJob *job);

static bool
read_job(int64 job_id, JobReader read, JsJob *job)
{
	Relation	rel = js_table_open("job", AccessShareLock);
	SysScanDesc scan = scan_by_id(rel, "job_pkey", JOB_ID, job_id);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);

	if (found)
		read(rel, tuple, job);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
js_job_read(int64 job_id, JsJob *job)
{
	return read_job(job_id, job_from_tuple, job);
}

bool
js_job_read_head(int64 job_id, JsJob *head)
{
	return read_job(job_id, job_head_from_tuple, head);
}

/*
 * Writes into the row of a job at home how its owner is called by now, or that
 * there is none any more: then the job has another owner, nobody.  False when
 * somebody else holds the row.
 */
bool
js_job_refresh_owner(int64 job_id)
{
	Relation	rel = js_table_open("job", RowExclusiveLock);
	SysScanDesc scan = scan_by_id(rel, "job_pkey", JOB_ID, job_id);
	HeapTuple	old = systable_getnext(scan);
	bool		free = HeapTupleIsValid(old) && js_tuple_lock_if_free(rel, old);
	JsRow		row;
	JsJob		job;

	if (free)
	{
		char	   *name;

		job_head_from_tuple(rel, old, &job);
		name = js_role_name(job.owner);
		js_row_init(&row);
		js_row_set_text(&row, JOB_OWNER_NAME, name);
		if (name == NULL)
			js_row_set(&row, JOB_REVISION, Int64GetDatum(job.revision + 1));
		js_table_update(rel, old, &row);
	}
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	return free;
}

/* The heads of the live jobs of a name, of all owners; first those that are at home here. */
List *
js_jobs_named(const char *name)
{
	Relation	rel = js_table_open("job", AccessShareLock);
	List	   *jobs = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	pg_uuid_t	token;

	(void) js_identity_read(&token);
	/* ScanKeyInit() is for catalogs, whose collation is "C". */
	ScanKeyEntryInitialize(&key, 0, JOB_NAME, BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(name));
	scan = js_table_scan_key(rel, "job_name", &key, 1);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		JsJob	   *job = palloc(sizeof(JsJob));

		job_head_from_tuple(rel, tuple, job);
		if (job->dropped_at != DT_NOBEGIN)
			continue;
		jobs = memcmp(&job->home, &token, sizeof(pg_uuid_t)) == 0 ? lcons(job, jobs) : lappend(jobs, job);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return jobs;
}

/* Of a role that has two, one from elsewhere besides, that one is not meant. */
static bool
is_home(const JsJob *job)
{
	pg_uuid_t	token;

	return js_identity_read(&token) && memcmp(&job->home, &token, sizeof(pg_uuid_t)) == 0;
}

/*
 * A role's live job of a name; with the newest snapshot, or with a dirty one.
 * The OID in the row of a job from elsewhere may be this role's by chance: whose
 * the job is, its owner says.
 */
static bool
find_named(Oid owner, const char *name, Snapshot snapshot, JsJob *job)
{
	Relation	rel = js_table_open("job", AccessShareLock);
	bool		found = false;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyEntryInitialize(&keys[0], 0, JOB_NAME, BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(name));
	ScanKeyInit(&keys[1], JOB_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(owner));
	scan = systable_beginscan(rel, js_table_oid("job_name"), true, snapshot, 2, keys);
	/* A dirty snapshot tells of the row that it has seen last. */
	while (!(found && snapshot != NULL) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		JsJob		candidate;

		job_from_tuple(rel, tuple, &candidate);
		if (candidate.dropped_at != DT_NOBEGIN || candidate.owner != owner ||
			(found && !is_home(&candidate)))
			continue;
		*job = candidate;
		found = true;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
js_job_find(Oid owner, const char *name, JsJob *job)
{
	return find_named(owner, name, NULL, job);
}

static uint32
hash_of_name(Oid owner, const char *name)
{
	return hash_combine(hash_bytes((const unsigned char *) name, strlen(name)), (uint32) owner);
}

/* What whoever is about to give a name to a job finds, under the name's lock. */
static bool
name_is_free(Oid owner, const char *name, TransactionId *writer)
{
	SnapshotData dirty;
	JsJob		other;
	bool		found;

	InitDirtySnapshot(dirty);
	found = find_named(owner, name, &dirty, &other);
	*writer = found ? js_dirty_writer(&dirty) : InvalidTransactionId;
	return !found;
}

/*
 * For whoever is about to give the name to a job.  True: no other job of the
 * role has it, and the caller has the name's lock until he has written.  False:
 * another one has it.  Who is giving it to a job, or taking it from one, in
 * another transaction is waited for.
 */
bool
js_job_name_lock(Oid owner, const char *name)
{
	for (;;)
	{
		TransactionId writer;

		js_table_lock_key("job", hash_of_name(owner, name));
		if (name_is_free(owner, name, &writer))
			return true;
		js_job_name_unlock(owner, name);
		if (!TransactionIdIsValid(writer))
			return false;
		XactLockTableWait(writer, NULL, NULL, XLTW_None);
	}
}

/* The same for the scheduler, who waits for nobody: false, too, if he would have to. */
bool
js_job_name_try_lock(Oid owner, const char *name)
{
	TransactionId writer;

	if (!js_table_try_lock_key("job", hash_of_name(owner, name)))
		return false;
	if (name_is_free(owner, name, &writer))
		return true;
	js_job_name_unlock(owner, name);
	return false;
}

void
js_job_name_unlock(Oid owner, const char *name)
{
	js_table_unlock_key("job", hash_of_name(owner, name));
}

typedef struct JobVisit
{
	JsJobVisitor visit;
	void	   *arg;
} JobVisit;

static void
visit_job_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	JobVisit   *visit = arg;
	JsJob		job;

	job_head_from_tuple(rel, tuple, &job);
	visit->visit(&job, visit->arg);
}

/*
 * Visits the heads of the jobs with ids from first to last, dropped ones too.
 * What the visitor keeps it has to copy.
 */
void
js_jobs_visit(int64 first, int64 last, JsJobVisitor visit, void *arg)
{
	JobVisit	each = {visit, arg};

	js_table_visit("job", "job_pkey", first, last, visit_job_tuple, &each);
}

void
js_jobs_visit_all(JsJobVisitor visit, void *arg)
{
	JobVisit	each = {visit, arg};

	js_table_visit("job", NULL, 0, 0, visit_job_tuple, &each);
}

typedef struct JobSelection
{
	JsJobFilter filter;
	void	   *arg;
	MemoryContext context;
	List	   *ids;
} JobSelection;

static void
select_job(const JsJob *job, void *arg)
{
	JobSelection *selection = arg;
	MemoryContext outer;
	int64	   *id;

	if (!selection->filter(job, selection->arg))
		return;
	outer = MemoryContextSwitchTo(selection->context);
	id = palloc(sizeof(int64));
	*id = job->job_id;
	selection->ids = lappend(selection->ids, id);
	MemoryContextSwitchTo(outer);
}

/* The jobs, dropped ones too, of which the filter says true: ids, int64 pointers. */
List *
js_jobs_select(JsJobFilter filter, void *arg)
{
	JobSelection selection = {filter, arg, CurrentMemoryContext, NIL};

	js_jobs_visit_all(select_job, &selection);
	return selection.ids;
}

/* ------------------------------------------------------------------------
 * job_state
 * ------------------------------------------------------------------------
 */

/* 0 is NULL. */
static void
set_int64_or_null(JsRow *row, AttrNumber column, int64 value)
{
	if (value == 0)
		js_row_set_null(row, column);
	else
		js_row_set(row, column, Int64GetDatum(value));
}

static void
state_to_row(const JsJobState *state, JsRow *row)
{
	js_row_init(row);
	js_row_set(row, STATE_JOB_ID, Int64GetDatum(state->job_id));
	js_row_set(row, STATE_SCHEDULE_REVISION, Int64GetDatum(state->schedule_revision));
	js_row_set_timestamp(row, STATE_NEXT_RUN_AT, state->next_run_at);
	js_row_set_timestamp(row, STATE_LAST_SLOT, state->last_slot);
	js_row_set_timestamp(row, STATE_DONE_BEFORE, state->done_before);
	js_row_set_timestamp(row, STATE_DONE_FROM, state->done_from);
	set_int64_or_null(row, STATE_INVALID_REVISION, state->invalid_revision);
	js_row_set_text(row, STATE_INVALID_REASON, state->invalid_reason);
	set_int64_or_null(row, STATE_LAST_RUN_ID, state->last_run_id);
	js_row_set_text(row, STATE_LAST_STATUS, state->last_status);
	js_row_set_timestamp(row, STATE_LAST_STARTED_AT, state->last_started_at);
	js_row_set_timestamp(row, STATE_LAST_FINISHED_AT, state->last_finished_at);
	js_row_set(row, STATE_CONSECUTIVE_FAILURES, Int32GetDatum(state->consecutive_failures));
	js_row_set_text(row, STATE_RECENT, state->recent);
	js_row_set(row, STATE_SKIPPED, Int32GetDatum(state->skipped));
	js_row_set_timestamp(row, STATE_SKIPPED_FIRST, state->skipped_first);
	js_row_set_timestamp(row, STATE_SKIPPED_LAST, state->skipped_last);
	js_row_set_text(row, STATE_SKIPPED_REASON, state->skipped_reason);
	js_row_set(row, STATE_SCHEDULED_RUNS, Int64GetDatum(state->scheduled_runs));
	set_int64_or_null(row, STATE_AUTO_PAUSED_REVISION, state->auto_paused_revision);
	js_row_set_text(row, STATE_AUTO_PAUSED_REASON, state->auto_paused_reason);
	js_row_set(row, STATE_FORGIVEN_FAILURES, Int32GetDatum(state->forgiven_failures));
}

static int64
row_int64_or_zero(const JsRow *row, AttrNumber column)
{
	return row->nulls[column - 1] ? 0 : DatumGetInt64(row->values[column - 1]);
}

static void
state_from_tuple(Relation rel, HeapTuple tuple, JsJobState *state)
{
	JsRow		row;
	char	   *recent;

	js_row_get(&row, tuple, rel);
	state->job_id = DatumGetInt64(row.values[STATE_JOB_ID - 1]);
	state->schedule_revision = DatumGetInt64(row.values[STATE_SCHEDULE_REVISION - 1]);
	state->next_run_at = js_row_timestamp(&row, STATE_NEXT_RUN_AT);
	state->last_slot = js_row_timestamp(&row, STATE_LAST_SLOT);
	state->done_before = js_row_timestamp(&row, STATE_DONE_BEFORE);
	state->done_from = js_row_timestamp(&row, STATE_DONE_FROM);
	state->invalid_revision = row_int64_or_zero(&row, STATE_INVALID_REVISION);
	state->invalid_reason = js_row_head_text(&row, STATE_INVALID_REASON);
	state->last_run_id = row_int64_or_zero(&row, STATE_LAST_RUN_ID);
	state->last_status = js_row_head_text(&row, STATE_LAST_STATUS);
	state->last_started_at = js_row_timestamp(&row, STATE_LAST_STARTED_AT);
	state->last_finished_at = js_row_timestamp(&row, STATE_LAST_FINISHED_AT);
	state->consecutive_failures = DatumGetInt32(row.values[STATE_CONSECUTIVE_FAILURES - 1]);
	recent = js_row_head_text(&row, STATE_RECENT);
	strlcpy(state->recent, recent, sizeof(state->recent));
	state->skipped = DatumGetInt32(row.values[STATE_SKIPPED - 1]);
	state->skipped_first = js_row_timestamp(&row, STATE_SKIPPED_FIRST);
	state->skipped_last = js_row_timestamp(&row, STATE_SKIPPED_LAST);
	state->skipped_reason = js_row_head_text(&row, STATE_SKIPPED_REASON);
	state->scheduled_runs = DatumGetInt64(row.values[STATE_SCHEDULED_RUNS - 1]);
	state->auto_paused_revision = row_int64_or_zero(&row, STATE_AUTO_PAUSED_REVISION);
	state->auto_paused_reason = js_row_head_text(&row, STATE_AUTO_PAUSED_REASON);
	state->forgiven_failures = DatumGetInt32(row.values[STATE_FORGIVEN_FAILURES - 1]);
}

static void
blank_state(int64 job_id, JsJobState *state)
{
	memset(state, 0, sizeof(JsJobState));
	state->job_id = job_id;
	state->next_run_at = state->last_slot = DT_NOBEGIN;
	state->done_before = state->done_from = DT_NOBEGIN;
	state->last_started_at = state->last_finished_at = DT_NOBEGIN;
	state->skipped_first = state->skipped_last = DT_NOBEGIN;
}

/* False, and a blank state, when the job has none yet. */
bool
js_job_state_read(int64 job_id, JsJobState *state)
{
	Relation	rel = js_table_open("job_state", AccessShareLock);
	SysScanDesc scan = scan_by_id(rel, "job_state_pkey", STATE_JOB_ID, job_id);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);

	if (found)
		state_from_tuple(rel, tuple, state);
	else
		blank_state(job_id, state);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * Lets the caller change a job's state, which is blank if it has none yet.
 * False, and nothing is changed, when somebody else holds the row.
 */
bool
js_job_state_change(int64 job_id, JsJobStateChange change, const void *arg)
{
	Relation	rel = js_table_open("job_state", RowExclusiveLock);
	SysScanDesc scan = scan_by_id(rel, "job_state_pkey", STATE_JOB_ID, job_id);
	HeapTuple	old = systable_getnext(scan);
	bool		free = !HeapTupleIsValid(old) || !js_tuple_is_busy(old);
	JsJobState	state;
	JsRow		row;

	if (!free)
	{
		systable_endscan(scan);
		table_close(rel, RowExclusiveLock);
		return false;
	}
	if (HeapTupleIsValid(old))
		state_from_tuple(rel, old, &state);
	else
		blank_state(job_id, &state);
	change(&state, arg);
	state_to_row(&state, &row);
	if (HeapTupleIsValid(old))
		js_table_update(rel, old, &row);
	else
		js_table_insert(rel, &row);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	return true;
}

typedef struct StateVisit
{
	JsJobStateVisitor visit;
	void	   *arg;
} StateVisit;

static void
visit_job_state_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	StateVisit *visit = arg;
	JsJobState	state;

	state_from_tuple(rel, tuple, &state);
	visit->visit(&state, visit->arg);
}

void
js_job_states_visit(JsJobStateVisitor visit, void *arg)
{
	StateVisit	each = {visit, arg};

	js_table_visit("job_state", NULL, 0, 0, visit_job_state_tuple, &each);
}

int64
js_job_last_id(void)
{
	return js_table_last_id("job", "job_pkey");
}

/* Removes a dropped job whose history has expired. */
void
js_job_forget(int64 job_id)
{
	js_table_delete("job_state", "job_state_pkey", job_id);
	js_table_delete("job", "job_pkey", job_id);
}

/* ------------------------------------------------------------------------
 * identity
 * ------------------------------------------------------------------------
 */

/*
 * The token that jobs of this database carry.  False when this database is
 * not the one that the token was made for: nothing runs here then.
 */
bool
js_identity_read(pg_uuid_t *token)
{
	Relation	rel = js_table_open("identity", AccessShareLock);
	SysScanDesc scan = js_table_scan_key(rel, NULL, NULL, 0);
	HeapTuple	tuple = systable_getnext(scan);
	bool		home = false;
	JsRow		row;

	memset(token, 0, sizeof(pg_uuid_t));
	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, rel);
		*token = *DatumGetUUIDP(row.values[IDENTITY_TOKEN - 1]);
		home = DatumGetObjectId(row.values[IDENTITY_DATABASE - 1]) == MyDatabaseId &&
			strcmp(js_row_text(&row, IDENTITY_INSTANCE_ID), js_guc_instance_id) == 0;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return home;
}

/* Writes the columns of the row that have been set. */
static void
identity_update(JsRow *row)
{
	Relation	rel = js_table_open("identity", RowExclusiveLock);
	SysScanDesc scan = js_table_scan_key(rel, NULL, NULL, 0);
	HeapTuple	old = systable_getnext(scan);

	if (!HeapTupleIsValid(old))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the identity of this database is missing"),
				 errhint("Somebody has deleted it from %s.identity; insert a row as the extension's script does.", JS_SCHEMA)));
	js_table_update(rel, old, row);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * Makes this database the one that its token stands for.  A copy gets a token
 * of its own, or its next dump would be at home in the original.
 */
void
js_identity_renew(pg_uuid_t *token)
{
	JsRow		row;

	if (js_identity_read(token))
		return;
	*token = *DatumGetUUIDP(OidFunctionCall0(F_GEN_RANDOM_UUID));
	js_row_init(&row);
	js_row_set(&row, IDENTITY_TOKEN, UUIDPGetDatum(token));
	js_row_set(&row, IDENTITY_DATABASE, ObjectIdGetDatum(MyDatabaseId));
	js_row_set_text(&row, IDENTITY_INSTANCE_ID, js_guc_instance_id);
	identity_update(&row);
}

/* Since when nothing starts in this database; DT_NOBEGIN: it does. */
TimestampTz
js_stopped_at(void)
{
	Relation	rel = js_table_open("identity", AccessShareLock);
	SysScanDesc scan = js_table_scan_key(rel, NULL, NULL, 0);
	HeapTuple	tuple = systable_getnext(scan);
	TimestampTz at = DT_NOBEGIN;
	JsRow		row;

	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, rel);
		at = js_row_timestamp(&row, IDENTITY_STOPPED_AT);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return at;
}

/*
 * Sets or, with DT_NOBEGIN, clears that.  Until the transaction ends no other
 * session does; the scheduler only reads.
 */
void
js_stopped_set(TimestampTz at)
{
	JsRow		row;

	table_close(js_table_open("identity", ShareRowExclusiveLock), NoLock);
	if ((js_stopped_at() == DT_NOBEGIN) == (at == DT_NOBEGIN))
		return;
	js_row_init(&row);
	js_row_set_timestamp(&row, IDENTITY_STOPPED_AT, at);
	identity_update(&row);
}
