/*-------------------------------------------------------------------------
 *
 * table_trigger.c
 *		What triggers of tables that queue runs have in common.
 *
 * A trigger never prevents a change of its table.  What cannot be queued is left
 * out, with a warning to the session that changes the table, and a skipped run in
 * the history of the table's owner.  Mistakes that are visible earlier are refused
 * when the trigger is created (table_trigger_check.c).
 *
 * ROWS AND STATEMENTS
 *
 * A row trigger queues a run for its row.  A statement trigger reads its transition
 * tables and queues a run for each batch of rows, which is cut where it would become
 * too large, and halved where it has become that all the same.  All that can go wrong happens in guard.c's subtransactions: one for a
 * row, one for a batch, for one for each row would cost more than all the rest.  If
 * it is a row that has no JSON, that is left out, and the batch goes on with the next:
 * what has been read is in memory, and the position in the table is not undone.
 * Nothing is written in a subtransaction.
 *
 * WHOSE JOB
 *
 * The job, and the run, are the table's owner's, whoever changes the table.  That
 * trigger_job() cannot start jobs of somebody who does not know is seen to when a
 * trigger is created.
 *
 * LOOPS
 *
 * A run that changes a table is above the runs that the table's triggers queue, as a
 * parent is above its children: depth counts both.  jobsched.max_depth ends a loop.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/access.h"
#include "api/table_trigger.h"
#include "api/trigger.h"
#include "base/guard.h"
#include "base/json.h"
#include "base/sqlstate.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "guc.h"
#include "http/http_template.h"
#include "http/http_text.h"
#include "http/limit_keys.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "run/capture.h"
#include "run/context.h"
#include "run/http_job.h"
#include "run/queue.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "store/bounds.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

/* ------------------------------------------------------------------------
 * Checks
 * ------------------------------------------------------------------------
 */

static bool
has_transition_table(const Trigger *trigger)
{
	return trigger->tgoldtable != NULL || trigger->tgnewtable != NULL;
}

/* Raises what is wrong with it as it was made. */
static void
check_event(const JsTriggerKind *kind, const Trigger *trigger)
{
	if (!TRIGGER_FOR_AFTER(trigger->tgtype))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s() is for triggers AFTER a change", kind->function),
				 errhint("Create the trigger AFTER ..., FOR EACH ROW, or FOR EACH STATEMENT with a transition table.")));
	if (!TRIGGER_FOR_ROW(trigger->tgtype) && !TRIGGER_FOR_TRUNCATE(trigger->tgtype) &&
		!has_transition_table(trigger))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" FOR EACH STATEMENT has no transition table", trigger->tgname),
				 errhint("Add REFERENCING NEW TABLE AS new_rows, for DELETE OLD TABLE AS old_rows; or create it FOR EACH ROW.")));
}

static char *
expand_key(const JsTableTrigger *t, Jsonb *object)
{
	char	   *problem;
	char	   *key = js_key_expand(t->options.key, object, &problem);

	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" of trigger \"%s\" %s", t->options.key, t->trigger->tgname, problem),
				 TRIGGER_FOR_ROW(t->trigger->tgtype) ?
				 errhint("Name columns of the row that are not null, such as {{record.id}}.") :
				 errhint("A trigger FOR EACH STATEMENT has many rows: its key can name type, schema and table.")));
	return key;
}

/* That of a statement has no rows, so it can be tried beforehand. */
static void
check_key(const JsTableTrigger *t, Relation rel)
{
	const TriggerData any = {.tg_relation = rel};

	if (t->options.key != NULL && !TRIGGER_FOR_ROW(t->trigger->tgtype))
		(void) expand_key(t, js_change_head(&any, 0));
}

/* Its arguments, and the columns that they name. */
static void
read_arguments(JsTableTrigger *t, TupleDesc table)
{
	js_trigger_options_read(t->trigger, t->kind->check_arguments(t->trigger), &t->options);
	js_change_columns(table, t->options.columns, &t->columns);
}

static void
find_job(void *arg)
{
	JsTableTrigger *t = arg;

	t->kind->find_job(t);
}

static void
check_creator(const JsTableTrigger *t)
{
	if (t->kind->for_owner && !js_may_manage(t->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to create trigger \"%s\" for a table of role \"%s\"",
						t->trigger->tgname, GetUserNameFromId(t->owner, false)),
				 errdetail("It would start jobs of that role."),
				 errhint("Let the owner of the table create it.")));
}

/*
 * Of one that has been created: raises what is wrong with it.  Jobs and rights may
 * still come, in a restore for instance, so for these a warning has to do.
 */
void
js_table_trigger_check(const JsTriggerKind *kind, const Trigger *trigger, Relation rel)
{
	JsTableTrigger t = {.kind = kind,.trigger = trigger,.owner = rel->rd_rel->relowner};
	ErrorData  *error;

	check_creator(&t);
	check_event(kind, trigger);
	read_arguments(&t, RelationGetDescr(rel));
	check_key(&t, rel);
	error = js_guard(find_job, &t);
	if (error != NULL)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("trigger \"%s\" sends nothing: %s", trigger->tgname, error->message),
				 error->hint ? errhint("%s", error->hint) : 0));
}

/* ------------------------------------------------------------------------
 * Runs of jobs
 * ------------------------------------------------------------------------
 */

/* The job that the first argument names, of the table's owner. */
void
js_table_trigger_find_job(JsTableTrigger *t, bool requests_only)
{
	const char *name = t->trigger->tgargs[0];
	bool		found = js_job_find(t->owner, name, &t->job);
	bool		sends = found && t->job.request != NULL && js_http_text(t->job.request, "url") != NULL;
	bool		fits = found && (requests_only ? sends : !js_http_job_is_bare(&t->job));

	/* Whoever made the trigger need not learn which other jobs the owner has. */
	if (!found || (!fits && !js_may_manage(t->owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" of role \"%s\" does not exist", name,
						GetUserNameFromId(t->owner, false)),
				 errhint("A trigger's job belongs to the owner of the table.")));
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" of role \"%s\" has no url", name, GetUserNameFromId(t->owner, false)),
				 errhint("%s", requests_only ? "A webhook triggers a job that makes an HTTP request." :
						 js_http_bare_hint(&t->job))));
}

/* The change is the arguments of a run of the job. */
void
js_table_trigger_make_run(JsTableTrigger *t, Jsonb *change)
{
	JsKeySource source;

	if (js_json_is_longer(&change->root, JS_HTTP_MAX_BODY))
		js_check_body_size(JS_HTTP_MAX_BODY + 1);
	js_trigger_prepare(&t->job, NULL, &t->run, &source);
	t->run.args = change;
	t->run.keys = js_trigger_keys(&source, change);
}

/* Of whoever changes the table. */
static void
set_depth(JsTableTrigger *t)
{
	t->run.depth = js_current_run == NULL ? 0 : js_current_run->depth + 1;
	if (t->run.depth > js_guc_max_depth)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("run " INT64_FORMAT ", which changes the table, has %d generations above it",
						js_current_run->run_id, js_current_run->depth),
				 errhint("Does a job change the table that starts it? A condition, WHEN (...), ends such a loop.")));
}

/* A run that is complete but for its key, which is made from what can have it. */
static void
make_run(JsTableTrigger *t, Jsonb *change)
{
	t->kind->make_run(t, change);
	set_depth(t);
	js_bounds_check_run(&t->run);
}

/* source: the head of a change, with what the key may name. */
static void
make_key(JsTableTrigger *t, Jsonb *source)
{
	t->idempotency.key = js_idempotency_key(expand_key(t, source));
	t->idempotency.on_conflict = t->options.on_conflict;
	t->idempotency.period = t->options.period;
}

static void
queue_run(JsTableTrigger *t)
{
	if (js_idempotency_admit(&t->idempotency, &t->run, false))
		(void) js_queue_run(&t->run);
}

/* ------------------------------------------------------------------------
 * What is left out
 * ------------------------------------------------------------------------
 */

/* Of a statement with a million rows, one warning is enough. */
static void
warn(const JsTableTrigger *t, const ErrorData *error, int rows)
{
	static TimestampTz warned_at = 0;
	static Oid	warned_of = InvalidOid;
	const char *table = RelationGetRelationName(t->data->tg_relation);

	if (warned_at == GetCurrentStatementStartTimestamp() && warned_of == t->trigger->tgoid)
		return;
	warned_at = GetCurrentStatementStartTimestamp();
	warned_of = t->trigger->tgoid;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 rows == 1 ?
			 errmsg("a row of table \"%s\" is not sent by trigger \"%s\": %s", table,
					t->trigger->tgname, error->message) :
			 errmsg("rows of table \"%s\" are not sent by trigger \"%s\": %s", table,
					t->trigger->tgname, error->message),
			 error->hint ? errhint("%s", error->hint) : 0));
}

static void
find_job_of_skipped(void *arg)
{
	JsTableTrigger *t = arg;

	t->kind->find_job_of_skipped(t);
}

/* A run that was not to be. */
static void
record(JsTableTrigger *t, const ErrorData *error, int rows)
{
	JsOutcome	outcome = {.status = JS_SKIPPED,.reason = JS_UNSENDABLE};

	js_queue_prepare(&t->run, &t->job, JS_SOURCE_TRIGGER);
	t->run.run_id = js_run_next_id();
	t->run.args = js_change_head(t->data, TRIGGER_FIRED_FOR_ROW(t->data->tg_event) ? 0 : rows);
	outcome.started_at = DT_NOBEGIN;
	outcome.finished_at = js_clock_now();
	outcome.sqlstate = js_sqlstate(error->sqlerrcode);
	outcome.error = js_capture_text(error->message);
	outcome.error_detail = js_capture_text(error->detail);
	outcome.error_hint = js_capture_text(error->hint);
	js_history_insert(&t->run, &outcome);
}

static void
leave_out(JsTableTrigger *t, const ErrorData *error, int rows)
{
	warn(t, error, rows);
	/* That is all in a read-only transaction, or before a scheduler. */
	if (XactReadOnly || js_database_find(MyDatabaseId) == NULL)
		return;
	if (t->job.job_id == 0 && t->kind->find_job_of_skipped != NULL)
		(void) js_guard(find_job_of_skipped, t);
	t->job.owner = t->owner;	/* of no job, if there is none to be had */
	record(t, error, rows);
}

/* ------------------------------------------------------------------------
 * Rows
 * ------------------------------------------------------------------------
 */

static Oid
owner_of_table(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/* What a partition has of its parent nobody has asked its owner for. */
static void
check_parents(const JsTableTrigger *t)
{
	Relation	rel = t->data->tg_relation;
	ListCell   *lc;

	if (!t->kind->for_owner || !t->trigger->tgisclone || !rel->rd_rel->relispartition)
		return;
	foreach(lc, get_partition_ancestors(RelationGetRelid(rel)))
	{
		Oid			owner = owner_of_table(lfirst_oid(lc));

		if (owner != t->owner && !has_privs_of_role(owner, t->owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("the trigger is that of a parent of the table, whose owner has not the privileges of role \"%s\"",
							GetUserNameFromId(t->owner, false)),
					 errhint("Give parent and partition the same owner.")));
	}
}

/* Raises what is in the way; writes nothing. */
static void
prepare(void *arg)
{
	JsTableTrigger *t = arg;

	js_check_may_write(psprintf("%s()", t->kind->function));
	check_event(t->kind, t->trigger);
	check_parents(t);
	t->kind->find_job(t);
	read_arguments(t, RelationGetDescr(t->data->tg_relation));
}

static Jsonb *
key_source_of_row(const JsTableTrigger *t, Jsonb *change)
{
	JsChangeColumns columns;

	if (t->options.columns == NIL)
		return change;
	js_change_columns_of_key(RelationGetDescr(t->data->tg_relation), t->options.key, &columns);
	return js_change_of_row(t->data, &columns);
}

static void
prepare_row(void *arg)
{
	JsTableTrigger *t = arg;
	Jsonb	   *change;

	prepare(arg);
	change = js_change_of_row(t->data, &t->columns);
	make_run(t, change);
	if (t->options.key != NULL)
		make_key(t, key_source_of_row(t, change));
}

static void
fire_for_row(JsTableTrigger *t)
{
	ErrorData  *error = js_guard(prepare_row, t);

	if (error != NULL)
		leave_out(t, error, 1);
	else
		queue_run(t);
}

/* ------------------------------------------------------------------------
 * Statements
 * ------------------------------------------------------------------------
 */

/* One of the transition tables; store NULL: the trigger has none such. */
typedef struct Rows
{
	Tuplestorestate *store;
	int			pointer;
	TupleTableSlot *slot;
	Jsonb	   *next;			/* has been read, and did not fit */
	Jsonb	   *kept;			/* the copy that has outlived a batch */
	Jsonb	  **taken;			/* of this batch */
} Rows;

typedef struct Statement
{
	JsTableTrigger *t;
	MemoryContext context;		/* of the statement */
	Rows		new_rows;
	Rows		old_rows;
	bool		ended;			/* all rows have been read */
	int			count;			/* of this batch */
	Size		size;			/* likewise, of its rows as jsonb */
	bool		has_read;		/* what an error is about: a row that has been
								 * read, */
	bool		complete;		/* or the whole batch */
} Statement;

/*
 * What the rows of a batch have at most, but for one that has more by itself.  As
 * text they may have more than as jsonb, and a run has a bound of its own.
 */
static Size
batch_size(void)
{
	return Min((Size) js_guc_max_args_size * 1024, JS_HTTP_MAX_BODY) / 4;
}

static void
open_rows(Rows *rows, Tuplestorestate *store, TupleDesc table, int batch)
{
	rows->store = store;
	if (store == NULL)
		return;
	rows->pointer = tuplestore_alloc_read_pointer(store, EXEC_FLAG_REWIND);
	tuplestore_select_read_pointer(store, rows->pointer);
	tuplestore_rescan(store);
	rows->slot = MakeSingleTupleTableSlot(table, &TTSOpsMinimalTuple);
	rows->taken = palloc(batch * sizeof(Jsonb *));
}

/* A row that comes from a file is in the memory of the batch. */
static void
let_go(Rows *rows)
{
	if (rows->store == NULL)
		return;
	ExecClearTuple(rows->slot);
	if (rows->kept != NULL && rows->kept != rows->next)
		pfree(rows->kept);		/* it was taken */
	rows->kept = rows->next;
}

static void
close_rows(Rows *rows)
{
	if (rows->store != NULL)
		ExecDropSingleTupleTableSlot(rows->slot);
}

/* Others may read the same table. */
static bool
fetch(Rows *rows)
{
	if (rows->store == NULL)
		return false;
	tuplestore_select_read_pointer(rows->store, rows->pointer);
	return tuplestore_gettupleslot(rows->store, true, false, rows->slot);
}

static Size
convert(const Statement *statement, Rows *rows)
{
	JsonbValue	null = {.type = jbvNull};

	if (rows->store == NULL)
		return 0;

	/*
	 * A row that a trigger has not let into another partition is among the
	 * old ones only.
	 */
	rows->next = TupIsNull(rows->slot) ? JsonbValueToJsonb(&null) :
		js_change_row(&statement->t->columns, rows->slot);
	/* A row whose bytes are no UTF-8 says so here, and not all of its batch. */
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		(void) js_json_is_longer(&rows->next->root, JS_HTTP_MAX_BODY);
	return js_json_element_size(VARSIZE(rows->next));
}

/* The next row; of an update the old and the new one, which have the same place in both tables. */
static bool
read_next(Statement *statement, Size *size)
{
	bool		found;

	statement->has_read = false;
	found = fetch(&statement->new_rows);
	found = fetch(&statement->old_rows) || found;
	statement->has_read = true;
	statement->ended = !found;
	if (found)
		*size = convert(statement, &statement->new_rows) + convert(statement, &statement->old_rows);
	return found;
}

static void
take(Rows *rows, int place)
{
	if (rows->store != NULL)
		rows->taken[place] = rows->next;
	rows->next = NULL;
}

/* It outlives the memory of this batch. */
static void
keep(const Statement *statement, Rows *rows)
{
	MemoryContext outer = MemoryContextSwitchTo(statement->context);

	if (rows->store != NULL)
		rows->next = DatumGetJsonbP(datumCopy(JsonbPGetDatum(rows->next), false, -1));
	MemoryContextSwitchTo(outer);
}

static Size
size_of_kept(const Rows *rows)
{
	return rows->next == NULL ? 0 : js_json_element_size(VARSIZE(rows->next));
}

static void
take_next(Statement *statement, Size size)
{
	take(&statement->new_rows, statement->count);
	take(&statement->old_rows, statement->count);
	statement->count++;
	statement->size += size;
}

/* Rows until the batch is full, beginning with what did not fit into the last one. */
static void
read_rows(Statement *statement)
{
	Size		size = size_of_kept(&statement->new_rows) + size_of_kept(&statement->old_rows);

	if (size > 0)
		take_next(statement, size);
	while (statement->count < statement->t->options.batch && read_next(statement, &size))
	{
		if (statement->count > 0 && statement->size + size > batch_size())
		{
			keep(statement, &statement->new_rows);
			keep(statement, &statement->old_rows);
			return;
		}
		take_next(statement, size);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Rows of a batch that become one run: all of them, if they are not too large together. */
typedef struct Part
{
	Statement  *statement;
	int			first;
	int			count;
} Part;

static Jsonb **
rows_from(const Rows *rows, int first)
{
	return rows->taken == NULL ? NULL : rows->taken + first;
}

static Jsonb *
change_of_part(const Part *part)
{
	return js_change_of_rows(part->statement->t->data, rows_from(&part->statement->new_rows, part->first),
							 rows_from(&part->statement->old_rows, part->first), part->count);
}

static void
prepare_part(void *arg)
{
	const Part *part = arg;
	JsTableTrigger *t = part->statement->t;

	make_run(t, change_of_part(part));
	if (t->options.key != NULL)
		make_key(t, js_change_head(t->data, 0));
}

/* Can be called again after an error in a row. */
static void
prepare_batch(void *arg)
{
	Statement  *statement = arg;
	Part		whole = {.statement = statement};

	read_rows(statement);
	statement->complete = true;
	whole.count = statement->count;
	if (whole.count > 0)
		prepare_part(&whole);
}

/* There may be many in one batch. */
static void
leave_out_row(JsTableTrigger *t, ErrorData *error)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "jobsched row", ALLOCSET_SMALL_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(scratch);
	JsJob		job = t->job;

	leave_out(t, error, 1);
	t->job = job;				/* what it has looked up goes with the memory */
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
	FreeErrorData(error);
}

/*
 * Whether it is the size of its rows that is in the way.  As jsonb, by which batches are
 * cut, they have less: a byte may be six of text, and a number a hundred thousand.
 */
static bool
is_too_large(const Part *part, const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
		js_json_is_longer(&change_of_part(part)->root, JS_HTTP_MAX_BODY);
}

static void
fire_for_part(const Part *part, const ErrorData *error)
{
	Part		half = *part;

	if (error == NULL)
		queue_run(part->statement->t);
	else if (part->count == 1 || !is_too_large(part, error))
		leave_out(part->statement->t, error, part->count);
	else
	{
		half.count = part->count / 2;
		fire_for_part(&half, js_guard(prepare_part, &half));
		half.first += half.count;
		half.count = part->count - half.count;
		fire_for_part(&half, js_guard(prepare_part, &half));
	}
}

static void
fire_for_batch(Statement *statement)
{
	Part		whole = {.statement = statement};
	ErrorData  *error;

	statement->count = 0;
	statement->size = 0;
	statement->complete = false;
	statement->has_read = true;
	while ((error = js_guard(prepare_batch, statement)) != NULL && !statement->complete)
	{
		if (!statement->has_read)
			ReThrowError(error);	/* it would be the same again */
		statement->new_rows.next = statement->old_rows.next = NULL;
		leave_out_row(statement->t, error);
	}
	whole.count = statement->count;
	if (whole.count > 0)
		fire_for_part(&whole, error);
}

static void
fire_for_batches(JsTableTrigger *t)
{
	Statement	statement = {.t = t,.context = CurrentMemoryContext};
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "jobsched rows", ALLOCSET_DEFAULT_SIZES);
	TupleDesc	table = RelationGetDescr(t->data->tg_relation);

	open_rows(&statement.new_rows, t->data->tg_newtable, table, t->options.batch);
	open_rows(&statement.old_rows, t->data->tg_oldtable, table, t->options.batch);
	while (!statement.ended || statement.new_rows.next != NULL || statement.old_rows.next != NULL)
	{
		(void) MemoryContextSwitchTo(batch);
		fire_for_batch(&statement);
		MemoryContextSwitchTo(statement.context);
		let_go(&statement.new_rows);
		let_go(&statement.old_rows);
		MemoryContextReset(batch);
	}
	close_rows(&statement.new_rows);
	close_rows(&statement.old_rows);
	MemoryContextDelete(batch);
}

/* A table that has been emptied: there are no rows. */
static void
prepare_truncate(void *arg)
{
	JsTableTrigger *t = arg;

	make_run(t, js_change_of_rows(t->data, NULL, NULL, 0));
	if (t->options.key != NULL)
		make_key(t, js_change_head(t->data, 0));
}

static void
fire_for_truncate(JsTableTrigger *t)
{
	ErrorData  *error = js_guard(prepare_truncate, t);

	if (error != NULL)
		leave_out(t, error, 0);
	else
		queue_run(t);
}

static int64
count_rows(const TriggerData *data)
{
	return Max(data->tg_newtable == NULL ? 0 : tuplestore_tuple_count(data->tg_newtable),
			   data->tg_oldtable == NULL ? 0 : tuplestore_tuple_count(data->tg_oldtable));
}

static void
fire_for_statement(JsTableTrigger *t)
{
	bool		truncate = TRIGGER_FIRED_BY_TRUNCATE(t->data->tg_event);
	int64		rows = count_rows(t->data);
	ErrorData  *error;

	if (rows == 0 && !truncate && has_transition_table(t->trigger))
		return;
	error = js_guard(prepare, t);
	if (error != NULL)
		leave_out(t, error, (int) Min(rows, PG_INT32_MAX));
	else if (truncate)
		fire_for_truncate(t);
	else
		fire_for_batches(t);
}

/* ------------------------------------------------------------------------
 * Calls
 * ------------------------------------------------------------------------
 */

/* A trigger that should not be one BEFORE a change must let it pass all the same. */
static Datum
pass_on(const TriggerData *data)
{
	if (!TRIGGER_FIRED_FOR_ROW(data->tg_event) || TRIGGER_FIRED_AFTER(data->tg_event))
		return PointerGetDatum(NULL);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple);
}

Datum
js_table_trigger_fire(const JsTriggerKind *kind, FunctionCallInfo fcinfo)
{
	const TriggerData *data = (const TriggerData *) fcinfo->context;
	JsTableTrigger t = {.kind = kind,.data = data};

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s() is a trigger function", kind->function)));
	t.trigger = data->tg_trigger;
	t.owner = data->tg_relation->rd_rel->relowner;
	if (TRIGGER_FIRED_FOR_ROW(data->tg_event))
		fire_for_row(&t);
	else
		fire_for_statement(&t);
	return pass_on(data);
}
