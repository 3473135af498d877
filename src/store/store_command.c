/*-------------------------------------------------------------------------
 *
 * store_command.c
 *		Rows of job_command: what commands of jobs were before they were changed.
 *
 * A row of history says of which revision of its job the run was.  A text is written
 * when it is replaced, by the transaction that does so (js_job_update()); what has never
 * been replaced is in the job's row and nowhere else.  So neither a run nor a job that is
 * created pays for a text, and a job that is altered otherwise has no row.
 *
 * A row holds for the revisions from since to revision.  The job's row holds for those after
 * the highest of these.  Rows are deleted when a job has MOST_KEPT later ones, and when no
 * history can speak of them any more, but for
 * the highest of each job, which says since when the job's row holds; so the text of
 * a run is the one that it had, or not known.
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

enum CommandColumn
{
	COMMAND_JOB_ID = 1, COMMAND_REVISION, COMMAND_SINCE, COMMAND_OWNER, COMMAND_COMMAND, COMMAND_REPLACED_AT
};

/* Rows of a job: who alters it again and again fills no disk. */
#define MOST_KEPT 100

/* Rows that are looked at in one step. */
#define MOST_VISITED 500

static SysScanDesc
scan_from(Relation rel, Relation index, int64 job_id, int64 revision)
{
	ScanKeyData keys[2];

	js_scan_int64(&keys[0], COMMAND_JOB_ID, BTEqualStrategyNumber, job_id);
	js_scan_int64(&keys[1], COMMAND_REVISION, BTGreaterEqualStrategyNumber, revision);
	return systable_beginscan_ordered(rel, index, NULL, 2, keys);
}

static Relation
open_index(void)
{
	return index_open(js_table_oid("job_command_pkey"), AccessShareLock);
}

/* Unless somebody has it: the scheduler deletes too, and does not wait for sessions. */
static void
delete_if_free(Relation rel, HeapTuple tuple)
{
	if (js_tuple_lock_if_free(rel, tuple))
		CatalogTupleDelete(rel, &tuple->t_self);
}

/*
 * The revision from which on the text holds that is in the job's row.  One more row is about
 * to be written: the oldest that are too many go.
 */
static int64
make_room(Relation rel, int64 job_id)
{
	Relation	index = open_index();
	SysScanDesc scan = scan_from(rel, index, job_id, 0);
	HeapTuple	tuple;
	int64		since = 1;
	JsRow		row;

	for (int i = 0; HeapTupleIsValid(tuple = systable_getnext_ordered(scan, BackwardScanDirection)); i++)
	{
		if (i == 0)
		{
			js_row_get(&row, tuple, rel);
			since = DatumGetInt64(row.values[COMMAND_REVISION - 1]) + 1;
		}
		if (i >= MOST_KEPT - 1)
			delete_if_free(rel, tuple);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	return since;
}

/* The command of a job is about to be replaced, which is locked; job is what it was. */
void
js_command_keep(const JsJob *job, TimestampTz now)
{
	Relation	rel = js_table_open("job_command", RowExclusiveLock);
	int64		since = make_room(rel, job->job_id);
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, COMMAND_JOB_ID, Int64GetDatum(job->job_id));
	js_row_set(&row, COMMAND_REVISION, Int64GetDatum(job->revision));
	js_row_set(&row, COMMAND_SINCE, Int64GetDatum(since));
	js_row_set(&row, COMMAND_OWNER, ObjectIdGetDatum(job->owner));
	js_row_set_text(&row, COMMAND_COMMAND, job->command);
	js_row_set_timestamp(&row, COMMAND_REPLACED_AT, now);
	js_table_insert(rel, &row);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * The text that a job had in a revision, if it was replaced; *owner: whose it was then.
 * *current: it was not, so that it is the one in the job's row.
 */
char *
js_command_find(int64 job_id, int64 revision, Oid *owner, bool *current)
{
	Relation	rel = js_table_open("job_command", AccessShareLock);
	Relation	index = open_index();
	SysScanDesc scan = scan_from(rel, index, job_id, revision);
	HeapTuple	tuple = systable_getnext_ordered(scan, ForwardScanDirection);
	char	   *command = NULL;
	JsRow		row;

	*current = !HeapTupleIsValid(tuple);
	if (!*current)
	{
		js_row_get(&row, tuple, rel);
		*owner = DatumGetObjectId(row.values[COMMAND_OWNER - 1]);
		if (DatumGetInt64(row.values[COMMAND_SINCE - 1]) <= revision)
			command = js_row_text(&row, COMMAND_COMMAND);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return command;
}

/* With its job. */
void
js_commands_forget_of(int64 job_id)
{
	Relation	rel = js_table_open("job_command", RowExclusiveLock);
	Relation	index = open_index();
	SysScanDesc scan = scan_from(rel, index, job_id, 0);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
		delete_if_free(rel, tuple);
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, RowExclusiveLock);
}

/* The row that was looked at last, which has to go if one of the same job follows. */
typedef struct Forgetting
{
	TimestampTz limit;
	int64		job_id;			/* 0: there was none */
	bool		is_old;
	HeapTuple	tuple;
} Forgetting;

static int64
job_of(Relation rel, HeapTuple tuple)
{
	bool		isnull;

	return DatumGetInt64(heap_getattr(tuple, COMMAND_JOB_ID, RelationGetDescr(rel), &isnull));
}

static void
forget_if_superseded(Relation rel, HeapTuple tuple, void *arg)
{
	Forgetting *last = arg;
	int64		job_id;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	job_id = DatumGetInt64(row.values[COMMAND_JOB_ID - 1]);
	if (last->job_id == job_id && last->is_old)
		delete_if_free(rel, last->tuple);
	last->job_id = job_id;
	last->is_old = js_row_timestamp(&row, COMMAND_REPLACED_AT) < last->limit;
	if (last->tuple != NULL)
		heap_freetuple(last->tuple);
	last->tuple = heap_copytuple(tuple);
}

/*
 * Removes what was replaced before an instant: of jobs from an id on, so many rows as a
 * step may look at, and the rest of the last job's.  Returns the job to go on with, 0 at
 * the end.
 */
int64
js_commands_forget_some(int64 from, TimestampTz limit)
{
	Relation	rel = js_table_open("job_command", RowExclusiveLock);
	Relation	index = open_index();
	Forgetting	last = {.limit = limit};
	int64		next = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	js_scan_int64(&key, COMMAND_JOB_ID, BTGreaterEqualStrategyNumber, from);
	scan = systable_beginscan_ordered(rel, index, NULL, 1, &key);
	for (int i = 0; HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)); i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i >= MOST_VISITED && job_of(rel, tuple) != last.job_id)
		{
			next = job_of(rel, tuple);
			break;
		}
		forget_if_superseded(rel, tuple, &last);
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, RowExclusiveLock);
	return next;
}
