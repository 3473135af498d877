/*-------------------------------------------------------------------------
 *
 * store_job.c
 *		Rows of job and job_state.
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
#include "miscadmin.h"
#include "shmem/clock.h"
#include "shmem/wakeup.h"
#include "storage/lmgr.h"
#include "store/job_parameters.h"
#include "store/owner.h"
#include "store/store_names.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

enum StateColumn
{
	STATE_JOB_ID = 1, STATE_SCHEDULE_REVISION, STATE_NEXT_RUN_AT,
	STATE_LAST_SLOT, STATE_DONE_BEFORE, STATE_DONE_FROM, STATE_INVALID_REVISION, STATE_INVALID_REASON,
	STATE_LAST_RUN_ID, STATE_LAST_STATUS,
	STATE_LAST_STARTED_AT, STATE_LAST_FINISHED_AT,
	STATE_CONSECUTIVE_FAILURES, STATE_RECENT, STATE_SKIPPED,
	STATE_SKIPPED_FIRST, STATE_SKIPPED_LAST, STATE_SKIPPED_REASON,
	STATE_SCHEDULED_RUNS, STATE_AUTO_PAUSED_REVISION, STATE_AUTO_PAUSED_REASON,
	STATE_FORGIVEN_FAILURES, STATE_SUCCEEDED_RUN_ID, STATE_SUCCEEDED_AT, STATE_AFTER_RUNS
};

/* ------------------------------------------------------------------------
 * job
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

static int64
row_int64_or_zero(const JsRow *row, AttrNumber column)
{
	return row->nulls[column - 1] ? 0 : DatumGetInt64(row->values[column - 1]);
}

/* If it is nobody's the row goes on to say whose it was. */
static void
owner_to_row(Oid owner, JsRow *row)
{
	char	   *name = js_role_name(owner);

	if (name == NULL)
		return;
	js_row_set(row, JS_JOB_OWNER, ObjectIdGetDatum(owner));
	js_row_set_text(row, JS_JOB_OWNER_NAME, name);
}

static void
owner_from_row(const JsRow *row, JsJob *job)
{
	JsStoredOwner stored;

	stored.oid = DatumGetObjectId(row->values[JS_JOB_OWNER - 1]);
	stored.name = job->owner_name = js_row_text(row, JS_JOB_OWNER_NAME);
	stored.home = job->home = *DatumGetUUIDP(row->values[JS_JOB_HOME - 1]);
	job->owner = js_owner_of(&stored);
	job->owner_is_stale = js_owner_is_stale(&stored);
}

/* The set in force, of a workflow; where it belongs, of a step. */
static void
steps_to_row(const JsJob *job, JsRow *row)
{
	bool		is_step = job->workflow_id != 0;

	js_row_set_jsonb(row, JS_JOB_STEPS, job->steps);
	js_row_set(row, JS_JOB_STEPS_REVISION, Int64GetDatum(is_step ? 0 : job->steps_revision));
	set_int64_or_null(row, JS_JOB_WORKFLOW_ID, job->workflow_id);
	set_int64_or_null(row, JS_JOB_STEP_REVISION, is_step ? job->steps_revision : 0);
	js_row_set_number(row, JS_JOB_STEP_NO, job->step_no);
	js_row_set_text(row, JS_JOB_STEP, job->step);
	js_row_set_array(row, JS_JOB_STEP_AFTER, job->step_after);
	js_row_set_text(row, JS_JOB_STEP_WHEN, js_after_when_name(job->step_when));
	js_row_set(row, JS_JOB_STEP_OPTIONAL, BoolGetDatum(job->step_optional));
	js_row_set_interval(row, JS_JOB_STEP_DELAY, job->step_delay);
	js_row_set_text(row, JS_JOB_STEP_IF, job->step_if);
	js_row_set(row, JS_JOB_STEP_LOOKS, BoolGetDatum(job->step_looks));
	js_row_set_text(row, JS_JOB_STEP_FOR_EACH, job->step_for_each);
	js_row_set_text(row, JS_JOB_STEP_JOB, job->step_job);
	js_row_set_array(row, JS_JOB_STEP_WAIT_FOR, job->step_wait_for);
	js_row_set_interval(row, JS_JOB_STEP_WAIT_TIMEOUT, job->step_wait_timeout);
	js_row_set_number(row, JS_JOB_STEP_UNDOES, job->step_undoes);
}

static void
steps_from_row(const JsRow *row, bool whole, JsJob *job)
{
	job->has_steps = !row->nulls[JS_JOB_STEPS - 1];
	job->has_items = !row->nulls[JS_JOB_STEP_FOR_EACH - 1];
	job->workflow_id = row_int64_or_zero(row, JS_JOB_WORKFLOW_ID);
	job->steps_revision = row_int64_or_zero(row, job->workflow_id != 0 ? JS_JOB_STEP_REVISION :
											JS_JOB_STEPS_REVISION);
	job->step_no = js_row_number(row, JS_JOB_STEP_NO, JS_MAX_STEPS);
	job->step = js_row_head_text(row, JS_JOB_STEP);
	job->step_when = js_after_when_of(js_row_head_text(row, JS_JOB_STEP_WHEN));
	job->step_undoes = js_row_number(row, JS_JOB_STEP_UNDOES, JS_MAX_STEPS);
	job->step_job = js_row_head_text(row, JS_JOB_STEP_JOB);
	job->step_delay = js_row_interval(row, JS_JOB_STEP_DELAY);
	job->step_looks = DatumGetBool(row->values[JS_JOB_STEP_LOOKS - 1]);
	if (!whole)
		return;
	job->steps = js_row_jsonb(row, JS_JOB_STEPS);
	job->step_if = js_row_text(row, JS_JOB_STEP_IF);
	job->step_after = js_row_head_array(row, JS_JOB_STEP_AFTER);
	job->step_optional = DatumGetBool(row->values[JS_JOB_STEP_OPTIONAL - 1]);
	job->step_for_each = js_row_text(row, JS_JOB_STEP_FOR_EACH);
	job->step_wait_for = js_row_head_array(row, JS_JOB_STEP_WAIT_FOR);
	job->step_wait_timeout = js_row_interval(row, JS_JOB_STEP_WAIT_TIMEOUT);
}

static void
job_to_row(const JsJob *job, JsRow *row)
{
	js_row_init(row);
	js_row_set(row, JS_JOB_ID, Int64GetDatum(job->job_id));
	js_job_parameters_to_row(job, row);
	owner_to_row(job->owner, row);
	js_row_set(row, JS_JOB_TRANSACTIONAL, BoolGetDatum(job->transactional));
	js_row_set_jsonb(row, JS_JOB_REQUEST, job->request);
	js_row_set_ids(row, JS_JOB_AFTER_JOBS, job->after_jobs, job->nafter_jobs);
	js_row_set_ids(row, JS_JOB_AFTER_SEEN, job->after_seen, job->nafter_jobs > 0 ? job->nafter_seen : 0);
	steps_to_row(job, row);
	js_row_set(row, JS_JOB_PAUSED, BoolGetDatum(job->paused));
	js_row_set_text(row, JS_JOB_PAUSE_REASON, job->pause_reason);
	js_row_set(row, JS_JOB_HOME, UUIDPGetDatum(&job->home));
	js_row_set_timestamp(row, JS_JOB_CREATED_AT, job->created_at);
	js_row_set_timestamp(row, JS_JOB_UPDATED_AT, job->updated_at);
	js_row_set(row, JS_JOB_REVISION, Int64GetDatum(job->revision));
	js_row_set(row, JS_JOB_SCHEDULE_REVISION, Int64GetDatum(job->schedule_revision));
	js_row_set_timestamp(row, JS_JOB_ANCHOR, job->anchor);
	js_row_set_timestamp(row, JS_JOB_FIRST_RUN_AT, job->first_run_at);
	js_row_set_timestamp(row, JS_JOB_DROPPED_AT, job->dropped_at);
	js_row_set(row, JS_JOB_CANCEL_RUNNING, BoolGetDatum(job->cancel_running));
}

/* whole: all of it, and not only its head. */
static void
job_from_row(const JsRow *row, bool whole, JsJob *job)
{
	memset(job, 0, sizeof(JsJob));
	job->job_id = DatumGetInt64(row->values[JS_JOB_ID - 1]);
	js_job_parameters_from_row(row, whole, job);
	owner_from_row(row, job);
	job->transactional = DatumGetBool(row->values[JS_JOB_TRANSACTIONAL - 1]);
	job->has_keys = !row->nulls[JS_JOB_KEYS - 1];
	job->tells = !row->nulls[JS_JOB_ON_SUCCESS - 1] || !row->nulls[JS_JOB_ON_FAILURE - 1];
	job->sends_request = !row->nulls[JS_JOB_REQUEST - 1];
	job->after_jobs = js_row_ids(row, JS_JOB_AFTER_JOBS, JS_MAX_AFTER_JOBS, &job->nafter_jobs);
	job->after_seen = js_row_ids(row, JS_JOB_AFTER_SEEN, JS_MAX_AFTER_SEEN, &job->nafter_seen);
	steps_from_row(row, whole, job);
	job->paused = DatumGetBool(row->values[JS_JOB_PAUSED - 1]);
	job->created_at = js_row_timestamp(row, JS_JOB_CREATED_AT);
	job->updated_at = js_row_timestamp(row, JS_JOB_UPDATED_AT);
	job->revision = DatumGetInt64(row->values[JS_JOB_REVISION - 1]);
	job->schedule_revision = DatumGetInt64(row->values[JS_JOB_SCHEDULE_REVISION - 1]);
	job->anchor = js_row_timestamp(row, JS_JOB_ANCHOR);
	job->first_run_at = js_row_timestamp(row, JS_JOB_FIRST_RUN_AT);
	job->dropped_at = js_row_timestamp(row, JS_JOB_DROPPED_AT);
	job->cancel_running = DatumGetBool(row->values[JS_JOB_CANCEL_RUNNING - 1]);
	job->size = js_job_parameters_row_size(row) +
		js_row_size(row, JS_JOB_REQUEST) + js_row_size(row, JS_JOB_STEPS) +
		js_row_size(row, JS_JOB_STEP_IF) + js_row_size(row, JS_JOB_STEP_FOR_EACH) +
		js_row_size(row, JS_JOB_PAUSE_REASON);
	if (whole)
	{
		job->request = js_row_jsonb(row, JS_JOB_REQUEST);
		job->pause_reason = js_row_text(row, JS_JOB_PAUSE_REASON);
	}
}

void
js_job_from_tuple(Relation rel, HeapTuple tuple, JsJob *job)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	job_from_row(&row, true, job);
}

void
js_job_head_from_tuple(Relation rel, HeapTuple tuple, JsJob *head)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	job_from_row(&row, false, head);
}

/* Assigns job_id and home. */
void
js_job_insert(JsJob *job)
{
	Relation	rel = js_table_open("job", RowExclusiveLock);
	JsRow		row;

	job->job_id = nextval_internal(js_table_oid("job_id_seq"), false);
	(void) js_identity_read(&job->home);
	job_to_row(job, &row);
	/* Of a role that has been dropped meanwhile the name is left out. */
	js_row_set(&row, JS_JOB_OWNER, ObjectIdGetDatum(job->owner));
	js_table_insert(rel, &row);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
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
	SysScanDesc scan = scan_by_id(rel, "job_pkey", JS_JOB_ID, job_id);
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

/* Runs have executed what is being replaced, and history may be asked for it. */
static void
keep_command(Relation rel, HeapTuple old, const JsJob *job)
{
	JsJob		before;

	js_job_from_tuple(rel, old, &before);
	if (before.command == job->command ||
		(before.command != NULL && job->command != NULL && strcmp(before.command, job->command) == 0))
		return;
	js_command_keep(&before, js_clock_now());
}

/*
 * Runs that it has had stay those of who owned it then: of the role with the OID in the row,
 * and of who is meant by the name, if the job is from elsewhere.
 */
static void
remember_owner(Relation rel, HeapTuple old, const JsJob *job)
{
	JsJob		before;
	JsRow		row;
	Oid			stored;

	js_row_get(&row, old, rel);
	stored = DatumGetObjectId(row.values[JS_JOB_OWNER - 1]);
	job_from_row(&row, false, &before);
	if (stored != job->owner)
		js_former_owner_record(job->job_id, stored);
	if (before.owner != job->owner && before.owner != stored)
		js_former_owner_record(job->job_id, before.owner);
}

void
js_job_update(const JsJob *job)
{
	Relation	rel = js_table_open("job", RowExclusiveLock);
	SysScanDesc scan = scan_by_id(rel, "job_pkey", JS_JOB_ID, job->job_id);
	HeapTuple	old = systable_getnext(scan);
	JsRow		row;

	if (!HeapTupleIsValid(old))
		elog(ERROR, "job " INT64_FORMAT " has vanished", job->job_id);
	keep_command(rel, old, job);
	remember_owner(rel, old, job);
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
	SysScanDesc scan = scan_by_id(rel, "job_pkey", JS_JOB_ID, job_id);
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
	return read_job(job_id, js_job_from_tuple, job);
}

bool
js_job_read_head(int64 job_id, JsJob *head)
{
	return read_job(job_id, js_job_head_from_tuple, head);
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
	SysScanDesc scan = scan_by_id(rel, "job_pkey", JS_JOB_ID, job_id);
	HeapTuple	old = systable_getnext(scan);
	bool		free = HeapTupleIsValid(old) && js_tuple_lock_if_free(rel, old);
	JsRow		row;
	JsJob		job;

	if (free)
	{
		char	   *name;

		js_job_head_from_tuple(rel, old, &job);
		name = js_role_name(job.owner);
		js_row_init(&row);
		js_row_set_text(&row, JS_JOB_OWNER_NAME, name);
		if (name == NULL)
			js_row_set(&row, JS_JOB_REVISION, Int64GetDatum(job.revision + 1));
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
	ScanKeyEntryInitialize(&key, 0, JS_JOB_NAME, BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(name));
	scan = js_table_scan_key(rel, "job_name", &key, 1);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		JsJob	   *job = palloc(sizeof(JsJob));

		js_job_head_from_tuple(rel, tuple, job);
		if (job->dropped_at != DT_NOBEGIN || job->workflow_id != 0)
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

	ScanKeyEntryInitialize(&keys[0], 0, JS_JOB_NAME, BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ, CStringGetTextDatum(name));
	ScanKeyInit(&keys[1], JS_JOB_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(owner));
	scan = systable_beginscan(rel, js_table_oid("job_name"), true, snapshot, 2, keys);
	/* A dirty snapshot tells of the row that it has seen last. */
	while (!(found && snapshot != NULL) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		JsJob		candidate;

		js_job_from_tuple(rel, tuple, &candidate);
		if (candidate.dropped_at != DT_NOBEGIN || candidate.workflow_id != 0 ||
			candidate.owner != owner ||
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

/* For a session: inserts a job, unless another one of the role has its name. */
bool
js_job_create(JsJob *job)
{
	if (!js_job_name_lock(job->owner, job->name))
		return false;
	js_job_insert(job);
	js_job_name_unlock(job->owner, job->name);
	js_wakeup_job(job->job_id);
	return true;
}

/* Likewise: writes a changed job.  Its name is as it was, or the caller has its lock. */
void
js_job_change(JsJob *job)
{
	job->revision++;
	job->updated_at = js_clock_now();
	js_job_update(job);
	js_wakeup_job(job->job_id);
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

	js_job_head_from_tuple(rel, tuple, &job);
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

/* The heads of the steps of a set, dropped ones too. */
void
js_steps_visit(int64 workflow_id, int64 revision, JsJobVisitor visit, void *arg)
{
	JobVisit	each = {visit, arg};
	ScanKeyData keys[2];

	js_scan_int64(&keys[0], JS_JOB_WORKFLOW_ID, BTEqualStrategyNumber, workflow_id);
	js_scan_int64(&keys[1], JS_JOB_STEP_REVISION, BTEqualStrategyNumber, revision);
	js_table_visit_keys("job", "job_step", keys, 2, visit_job_tuple, &each);
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
	set_int64_or_null(row, STATE_SUCCEEDED_RUN_ID, state->succeeded_run_id);
	js_row_set_timestamp(row, STATE_SUCCEEDED_AT, state->succeeded_at);
	js_row_set_ids(row, STATE_AFTER_RUNS, state->after_runs, state->nafter_runs);
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
	state->succeeded_run_id = row_int64_or_zero(&row, STATE_SUCCEEDED_RUN_ID);
	state->succeeded_at = js_row_timestamp(&row, STATE_SUCCEEDED_AT);
	state->after_runs = js_row_ids(&row, STATE_AFTER_RUNS, JS_MAX_AFTER_JOBS, &state->nafter_runs);
}

static void
blank_state(int64 job_id, JsJobState *state)
{
	memset(state, 0, sizeof(JsJobState));
	state->job_id = job_id;
	state->next_run_at = state->last_slot = DT_NOBEGIN;
	state->done_before = state->done_from = DT_NOBEGIN;
	state->last_started_at = state->last_finished_at = DT_NOBEGIN;
	state->skipped_first = state->skipped_last = state->succeeded_at = DT_NOBEGIN;
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

bool
js_id_is_among(const int64 *ids, int count, int64 id)
{
	for (int i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* The success of a job that one is to come after, whose state it is; 0: there is none. */
int64
js_job_success_to_follow(const JsJob *job, const JsJobState *state, const JsJob *predecessor)
{
	JsJobState	its;

	if (predecessor->dropped_at != DT_NOBEGIN || predecessor->owner != job->owner ||
		!js_job_state_read(predecessor->job_id, &its) ||
		js_id_is_among(job->after_seen, job->nafter_seen, its.succeeded_run_id) ||
		js_id_is_among(state->after_runs, state->nafter_runs, its.succeeded_run_id))
		return 0;
	return its.succeeded_run_id;
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
	js_commands_forget_of(job_id);
	js_former_owner_forget(job_id);
	js_table_delete("job", "job_pkey", job_id);
}
