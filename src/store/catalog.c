/*-------------------------------------------------------------------------
 *
 * catalog.c
 *		The few statements of ours that are SQL.
 *
 * All SQL that our code executes is here.  Frequent operations use rows instead
 * (table.c).  The scheduler calls these functions, in its own session, as the
 * bootstrap superuser, with a fixed search path.  There are two exceptions:
 * health() asks for the version as its caller, and vault.c reads secrets as the
 * owner of a run.  Statements are constant except for the number of a segment;
 * names and operators are qualified, and values are bound as parameters.
 *
 * Results are in the caller's memory context.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "store/catalog.h"
#include "store/store.h"
#include "store/store_names.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

static void
query(const char *sql, int nargs, Oid *types, Datum *values, int limit)
{
	int			rc = SPI_execute_with_args(sql, nargs, types, values, NULL, true, limit);

	if (rc != SPI_OK_SELECT)
		elog(ERROR, "could not query the catalog: %s", SPI_result_code_string(rc));
}

/* The first column of the first row as text, or NULL. */
static char *
query_text(const char *sql, int nargs, Oid *types, Datum *values)
{
	MemoryContext outer = CurrentMemoryContext;
	char	   *value = NULL;

	SPI_connect();
	query(sql, nargs, types, values, 1);
	if (SPI_processed > 0)
		value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (value != NULL)
		value = MemoryContextStrdup(outer, value);
	SPI_finish();
	return value;
}

static int64
result_int64(uint64 row, int column)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
									   column, &isnull));
}

static TimestampTz
result_timestamp(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
									  column, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}

static bool
result_bool(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
									  column, &isnull);

	return !isnull && DatumGetBool(value);
}

/* NULL when the extension is not in the database. */
static char *
extension_version(void)
{
	return query_text("SELECT extversion FROM pg_catalog.pg_extension"
					  " WHERE extname OPERATOR(pg_catalog.=) '" JS_EXTENSION "'", 0, NULL, NULL);
}

/* Whether the extension in the database is of this library's version. */
bool
js_version_is_known(void)
{
	char	   *version = extension_version();

	return version != NULL && strcmp(version, JS_VERSION) == 0;
}

/* A setting as ALTER DATABASE has set it for all roles, or NULL. */
char *
js_catalog_database_setting(const char *name)
{
	Oid			type = TEXTOID;
	Datum		value = CStringGetTextDatum(name);

	return query_text("SELECT pg_catalog.substr(s, pg_catalog.length($1) OPERATOR(pg_catalog.+) 2)"
					  " FROM pg_catalog.pg_db_role_setting r, LATERAL pg_catalog.unnest(r.setconfig) s"
					  " WHERE r.setrole OPERATOR(pg_catalog.=) 0"
					  " AND pg_catalog.starts_with(s, $1 OPERATOR(pg_catalog.||) '=')"
					  " AND r.setdatabase OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d"
					  " WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())",
					  1, &type, &value);
}

/* Whether this database has prepared transactions. */
bool
js_catalog_has_prepared(void)
{
	return query_text("SELECT 'yes' FROM pg_catalog.pg_prepared_xacts"
					  " WHERE database OPERATOR(pg_catalog.=) pg_catalog.current_database()",
					  0, NULL, NULL) != NULL;
}

/*
 * A secret of Supabase Vault, or NULL, as the current user reads it: what the
 * view does is not ours (vault.c).
 */
char *
js_catalog_vault_secret(const char *name)
{
	Oid			type = TEXTOID;
	Datum		value = CStringGetTextDatum(name);

	return query_text("SELECT s.decrypted_secret FROM vault.decrypted_secrets s"
					  " WHERE s.name OPERATOR(pg_catalog.=) $1", 1, &type, &value);
}

/* Jobs of which runs have ended since an instant: ids, int64 pointers. */
List *
js_catalog_jobs_ended_since(TimestampTz since, int limit)
{
	MemoryContext outer = CurrentMemoryContext;
	Oid			type = TIMESTAMPTZOID;
	Datum		value = TimestampTzGetDatum(since);
	List	   *ids = NIL;

	SPI_connect();
	query("SELECT DISTINCT h.job_id FROM " JS_SCHEMA ".history h"
		  " JOIN " JS_SCHEMA ".job j ON j.job_id OPERATOR(pg_catalog.=) h.job_id"
		  " WHERE h.finished_at OPERATOR(pg_catalog.>=) $1", 1, &type, &value, limit);
	MemoryContextSwitchTo(outer);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int64	   *id = palloc(sizeof(int64));

		*id = result_int64(i, 1);
		ids = lappend(ids, id);
	}
	SPI_finish();
	return ids;
}

/* Of jobs that others come after: JsSuccess pointers. */
List *
js_catalog_successes_between(TimestampTz since, TimestampTz until, int limit)
{
	MemoryContext outer = CurrentMemoryContext;
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {TimestampTzGetDatum(since), TimestampTzGetDatum(until)};
	List	   *successes = NIL;

	SPI_connect();
	query("SELECT DISTINCT ON (h.job_id) h.job_id, h.run_id, h.finished_at FROM " JS_SCHEMA ".history h"
		  " WHERE h.finished_at OPERATOR(pg_catalog.>=) $1 AND h.finished_at OPERATOR(pg_catalog.<=) $2"
		  " AND h.status OPERATOR(pg_catalog.=) 'succeeded'"
		  " AND h.handler IS NULL AND h.source OPERATOR(pg_catalog.<>) 'batch'"
		  " AND h.job_id OPERATOR(pg_catalog.=) ANY (SELECT pg_catalog.unnest(j.after_jobs)"
		  " FROM " JS_SCHEMA ".job j WHERE j.dropped_at IS NULL)"
		  " ORDER BY h.job_id, h.finished_at DESC, h.run_id DESC", 2, types, values, limit);
	MemoryContextSwitchTo(outer);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		JsSuccess  *success = palloc(sizeof(JsSuccess));

		success->job_id = result_int64(i, 1);
		success->run_id = result_int64(i, 2);
		success->finished_at = result_timestamp(i, 3);
		successes = lappend(successes, success);
	}
	SPI_finish();
	return successes;
}

/*
 * The newest JS_RECENT_SIZE runs of a job that have ended, but for those that
 * gave way to others; returns how many.
 */
int
js_catalog_last_ended(int64 job_id, JsEnded *ended)
{
	static SPIPlanPtr plan = NULL;
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(job_id);
	int			count;

	SPI_connect();
	if (plan == NULL)
	{
		plan = SPI_prepare("SELECT run_id, status, started_at, finished_at,"
						   " (sqlstate OPERATOR(pg_catalog.=) '" JS_SQLSTATE_GONE "'"
						   " OR reason OPERATOR(pg_catalog.=) '" JS_REASON_REFUSED "') AND request IS NULL"
						   " AND started_at OPERATOR(pg_catalog.>=) (SELECT j.updated_at FROM " JS_SCHEMA ".job j"
						   " WHERE j.job_id OPERATOR(pg_catalog.=) h.job_id)"
						   " FROM " JS_SCHEMA ".history h"
						   " WHERE job_id OPERATOR(pg_catalog.=) $1"
						   " AND handler IS NULL AND source OPERATOR(pg_catalog.<>) 'batch'"
						   " AND (reason IS NULL OR reason OPERATOR(pg_catalog.<>) ALL (ARRAY['replaced', 'debounced', 'unsendable']) OR started_at IS NOT NULL)"
						   " ORDER BY run_id DESC"
						   " LIMIT " CppAsString2(JS_RECENT_SIZE), 1, &type);
		SPI_keepplan(plan);
	}
	if (SPI_execute_plan(plan, &value, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not query the history");
	count = (int) SPI_processed;
	for (int i = 0; i < count; i++)
	{
		ended[i].run_id = result_int64(i, 1);
		ended[i].status = js_status_of(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
		ended[i].started_at = result_timestamp(i, 3);
		ended[i].finished_at = result_timestamp(i, 4);
		ended[i].gone = result_bool(i, 5);
	}
	SPI_finish();
	return count;
}

#define FETCH_ROWS 1000

static void
ended_row(uint64 i, JsEndedRow *row)
{
	row->run_id = result_int64(i, 1);
	row->job_id = result_int64(i, 2);
	row->status = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3);
	row->source = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 4);
	row->attempt = (int32) result_int64(i, 5);
	row->slots = (int32) result_int64(i, 6);
	row->waited = result_bool(i, 7);
	row->run_at = result_timestamp(i, 8);
	row->started_at = result_timestamp(i, 9);
	row->finished_at = result_timestamp(i, 10);
	row->owner = (Oid) result_int64(i, 11);
}

/*
 * What has ended since an instant, as it counts for jobs, see js_catalog_last_ended();
 * some rows at a time, however many there are.
 */
void
js_catalog_visit_ended(TimestampTz since, JsEndedRowVisitor visit, void *arg)
{
	Oid			type = TIMESTAMPTZOID;
	Datum		value = TimestampTzGetDatum(since);
	Portal		portal;

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());	/* what the queue has no more
												 * is there */
	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL,
									   "SELECT run_id, job_id, status, source, attempt::pg_catalog.int8,"
									   " CASE WHEN started_at IS NULL AND reason OPERATOR(pg_catalog.=) ANY (ARRAY['misfire', 'overlap', 'queue_full'])"
									   " THEN GREATEST(missed_count, 1) ELSE 0 END::pg_catalog.int8,"
									   " wait_for IS NOT NULL, run_at, started_at, finished_at, owner::pg_catalog.int8"
									   " FROM " JS_SCHEMA ".history"
									   " WHERE finished_at OPERATOR(pg_catalog.>=) $1"
									   " AND handler IS NULL AND source OPERATOR(pg_catalog.<>) 'batch'"
									   " AND (reason IS NULL OR reason OPERATOR(pg_catalog.<>) ALL"
									   " (ARRAY['replaced', 'debounced', 'unsendable', 'carried_over']) OR started_at IS NOT NULL)",
									   1, &type, &value, NULL, true, 0);
	do
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			JsEndedRow	row;

			ended_row(i, &row);
			visit(&row, arg);
		}
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	SPI_finish();
	PopActiveSnapshot();
}

/* Empties a segment: records, messages, responses and, where there are, attempts. */
void
js_catalog_truncate_segment(int segment)
{
	StringInfoData command;
	int			rc;

	initStringInfo(&command);
	appendStringInfo(&command, "TRUNCATE ONLY %s.history_%03d, %s.run_log_%03d, %s.http_response_%03d",
					 JS_SCHEMA, segment, JS_SCHEMA, segment, JS_SCHEMA, segment);
	if (segment >= 100)
		appendStringInfo(&command, ", %s.attempt_%03d", JS_SCHEMA, segment);
	SPI_connect();
	rc = SPI_execute(command.data, false, 0);
	SPI_finish();
	if (rc != SPI_OK_UTILITY)
		elog(ERROR, "could not empty segment %d: %s", segment, SPI_result_code_string(rc));
}
