/*-------------------------------------------------------------------------
 *
 * store_owner.c
 *		Which jobs may have runs of a role.
 *
 * A run belongs to whoever owned its job when it was queued or claimed.  So runs
 * of a role are those of jobs that it owns, and of jobs that it has given away:
 * former_owner has a row for each of these, written in the transaction that gives
 * the job another owner, by whatever function does that (js_job_update()), or by a
 * trigger where a publisher sends another owner for a job that had been adopted here,
 * or a superuser writes to the table.  A row stays until the job itself is forgotten,
 * which is after its last run.
 *
 * What is found here may be too much, and readers check each run; it must never be
 * too little.  A job that has come from elsewhere (owner.c) has the OID of another
 * cluster's role: it is found by the name as well.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_collation.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "store/job_parameters.h"
#include "store/owner.h"
#include "store/store.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

PG_FUNCTION_INFO_V1(jobsched_remember_owner);

enum FormerOwnerColumn
{
	FORMER_JOB_ID = 1, FORMER_OWNER
};

static bool
is_recorded(Relation rel, int64 job_id, Oid owner)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	bool		found;

	js_scan_int64(&keys[0], FORMER_JOB_ID, BTEqualStrategyNumber, job_id);
	ScanKeyInit(&keys[1], FORMER_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(owner));
	scan = js_table_scan_key(rel, "former_owner_pkey", keys, 2);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	return found;
}

/* A job is given to another role.  The caller has its row. */
void
js_former_owner_record(int64 job_id, Oid owner)
{
	Relation	rel = js_table_open("former_owner", RowExclusiveLock);
	JsRow		row;

	if (!is_recorded(rel, job_id, owner))
	{
		js_row_init(&row);
		js_row_set(&row, FORMER_JOB_ID, Int64GetDatum(job_id));
		js_row_set(&row, FORMER_OWNER, ObjectIdGetDatum(owner));
		js_table_insert(rel, &row);
	}
	table_close(rel, RowExclusiveLock);
}

/* Whether runs here may be those of a job's former owner: of a job that is deleted, if it was at home. */
static bool
is_to_remember(const TriggerData *data, const JsRow *old)
{
	JsStoredOwner stored = {.home = *DatumGetUUIDP(old->values[JS_JOB_HOME - 1])};
	JsRow		new;

	if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
		return js_owner_is_home(&stored);
	js_row_get(&new, data->tg_newtuple, data->tg_relation);
	return new.values[JS_JOB_OWNER - 1] != old->values[JS_JOB_OWNER - 1];
}

/* A job's row is changed or deleted, and not by our functions; its runs are not. */
Datum
jobsched_remember_owner(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	JsRow		old;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) || TRIGGER_FIRED_BY_INSERT(data->tg_event) ||
		RelationGetRelid(data->tg_relation) != js_table_oid("job"))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"remember_owner\" was not called by the trigger of jobs")));
	js_row_get(&old, data->tg_trigtuple, data->tg_relation);
	if (is_to_remember(data, &old))
		js_former_owner_record(DatumGetInt64(old.values[JS_JOB_ID - 1]),
							   DatumGetObjectId(old.values[JS_JOB_OWNER - 1]));
	PG_RETURN_POINTER(NULL);
}

/* The job is forgotten. */
void
js_former_owner_forget(int64 job_id)
{
	Relation	rel = js_table_open("former_owner", RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	js_scan_int64(&key, FORMER_JOB_ID, BTEqualStrategyNumber, job_id);
	scan = js_table_scan_key(rel, "former_owner_pkey", &key, 1);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (js_tuple_lock_if_free(rel, tuple))
			CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
}

/* Adds the ids in the first column of rows; most in all. */
static List *
add_ids(List *ids, Relation rel, const char *index, ScanKey key, int most)
{
	SysScanDesc scan = js_table_scan_key(rel, index, key, key != NULL ? 1 : 0);
	HeapTuple	tuple;
	bool		isnull;

	while (list_length(ids) < most && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		int64	   *id = palloc(sizeof(int64));

		*id = DatumGetInt64(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
		ids = lappend(ids, id);
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan(scan);
	return ids;
}

static Oid
owner_of_row(Relation jobs, HeapTuple tuple)
{
	JsStoredOwner stored = {0};
	JsRow		row;

	js_row_get(&row, tuple, jobs);
	stored.oid = DatumGetObjectId(row.values[JS_JOB_OWNER - 1]);
	stored.name = js_row_text(&row, JS_JOB_OWNER_NAME);
	stored.home = *DatumGetUUIDP(row.values[JS_JOB_HOME - 1]);
	return js_owner_of(&stored);
}

/* Whether there is a row that belongs to a role, as its owner says. */
static bool
has_row_of(Relation jobs, const char *index, ScanKey key, Oid role)
{
	ScanKeyData keys[3] = {*key};
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNULL, JS_JOB_DROPPED_AT,
						   InvalidStrategy, InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	ScanKeyEntryInitialize(&keys[2], SK_ISNULL | SK_SEARCHNULL, JS_JOB_WORKFLOW_ID,
						   InvalidStrategy, InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	scan = js_table_scan_key(jobs, index, keys, 3);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		found = owner_of_row(jobs, tuple) == role;
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan(scan);
	return found;
}

static void
key_of_oid(ScanKey key, Oid role)
{
	ScanKeyInit(key, JS_JOB_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
}

static void
key_of_name(ScanKey key, const char *name)
{
	ScanKeyInit(key, JS_JOB_OWNER_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	/* ScanKeyInit() is for catalogs, whose collation is "C". */
	key->sk_collation = DEFAULT_COLLATION_OID;
}

/* Whether a role has jobs, as view jobs shows them; takes as long with a million. */
bool
js_role_has_jobs(Oid role)
{
	Relation	jobs = js_table_open("job", AccessShareLock);
	char	   *name = js_role_name(role);
	ScanKeyData key;
	bool		has;

	key_of_oid(&key, role);
	has = has_row_of(jobs, "job_owner", &key, role);
	if (!has && name != NULL)
	{
		key_of_name(&key, name);
		has = has_row_of(jobs, "job_owner_name", &key, role);
	}
	table_close(jobs, AccessShareLock);
	return has;
}

/* Adds the jobs that may have runs of a role, as int64 pointers; some perhaps twice. */
List *
js_jobs_with_runs_of(List *ids, Oid role, int most)
{
	Relation	jobs = js_table_open("job", AccessShareLock);
	Relation	former = js_table_open("former_owner", AccessShareLock);
	char	   *name = js_role_name(role);
	ScanKeyData key;

	key_of_oid(&key, role);
	ids = add_ids(ids, jobs, "job_owner", &key, most);
	if (name != NULL)
	{
		key_of_name(&key, name);
		ids = add_ids(ids, jobs, "job_owner_name", &key, most);
	}
	ScanKeyInit(&key, FORMER_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	ids = add_ids(ids, former, "former_owner_owner", &key, most);
	table_close(former, AccessShareLock);
	table_close(jobs, AccessShareLock);
	return ids;
}

/* Adds all jobs, and those that are remembered for their runs. */
List *
js_jobs_ids(List *ids)
{
	Relation	jobs = js_table_open("job", AccessShareLock);
	Relation	former = js_table_open("former_owner", AccessShareLock);

	ids = add_ids(ids, jobs, NULL, NULL, PG_INT32_MAX);
	ids = add_ids(ids, former, NULL, NULL, PG_INT32_MAX);
	table_close(former, AccessShareLock);
	table_close(jobs, AccessShareLock);
	return ids;
}
