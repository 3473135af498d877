/*-------------------------------------------------------------------------
 *
 * execsql.c
 *		Executes what a job consists of: SQL text or a function.
 *
 * A command is executed like a query string that a client sends
 * (exec_simple_query): each statement in its own portal, at top level.  So
 * VACUUM, CREATE INDEX CONCURRENTLY and procedures that COMMIT work, parallel
 * plans too, and other extensions see what they expect.
 *
 * The mode says what is one transaction:
 *
 *	auto		one statement: as it needs it; several: one transaction
 *	transaction	one transaction, also for a single CALL or DO
 *	autocommit	each statement is one; settings last to the end of the run
 *
 * On return the transaction of the last statement is still open, and the caller
 * adds the record of the run to it.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "base/guard.h"
#include "base/sqlstate.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "http/http_text.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "pgstat.h"
#include "run/capture.h"
#include "run/context.h"
#include "run/execsql.h"
#include "run/row_json.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

/* ------------------------------------------------------------------------
 * What may be a command
 * ------------------------------------------------------------------------
 */

/* Statements that need a client, or would end the transaction under us. */
static void
refuse_statement(const Node *stmt)
{
	if (IsA(stmt, TransactionStmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a job's command cannot contain %s",
						GetCommandTagName(CreateCommandTag((Node *) stmt))),
				 errhint("A command is one transaction by itself; mode \"autocommit\" makes one of each statement; a procedure called with CALL may COMMIT.")));
	if (IsA(stmt, CopyStmt) && ((const CopyStmt *) stmt)->filename == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a job's command cannot COPY to or from a client"),
				 errhint("A job has no client; use INSERT, or COPY with a file.")));
}

static List *
parse_command(const char *command)
{
	List	   *statements = pg_parse_query(command);
	ListCell   *lc;

	if (statements == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the command contains no statement")));
	foreach(lc, statements)
		refuse_statement(lfirst_node(RawStmt, lc)->stmt);
	return statements;
}

static bool
has_detach_concurrently(const AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		const AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype == AT_DetachPartition && ((PartitionCmd *) cmd->def)->concurrent)
			return true;
	}
	return false;
}

/*
 * Whether a statement, alone in its command, is one transaction and leaves
 * nothing behind if it does not come to its end.
 */
static bool
statement_is_transactional(const Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_VacuumStmt:
			return !((const VacuumStmt *) stmt)->is_vacuumcmd;	/* ANALYZE */
		case T_IndexStmt:
			return !((const IndexStmt *) stmt)->concurrent;
		case T_DropStmt:
			return !((const DropStmt *) stmt)->concurrent;
		case T_AlterTableStmt:
			return !has_detach_concurrently((const AlterTableStmt *) stmt);
		case T_CallStmt:
		case T_DoStmt:
		case T_ReindexStmt:
		case T_ClusterStmt:
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_AlterDatabaseStmt:
		case T_CreateTableSpaceStmt:
		case T_DropTableSpaceStmt:
		case T_AlterSystemStmt:
		case T_CreateSubscriptionStmt:
		case T_AlterSubscriptionStmt:
		case T_DropSubscriptionStmt:
		case T_CheckPointStmt:
		case T_LoadStmt:
			return false;
		default:
			return true;
	}
}

/*
 * Refuses a command that cannot be run in a mode, as far as its text tells.
 * *transactional says whether it can be run again after a crash.
 */
void
js_command_check(const char *command, JsMode mode, bool *transactional)
{
	List	   *statements = parse_command(command);

	if (list_length(statements) > 1)
		*transactional = mode != JS_MODE_AUTOCOMMIT;
	else
		*transactional = mode == JS_MODE_TRANSACTION ||
			statement_is_transactional(linitial_node(RawStmt, statements)->stmt);
}

/* ------------------------------------------------------------------------
 * Results
 *
 * What cannot be kept is dropped, with a line in the run's log; the work stays.
 * But a step's is what other steps work with: if it is too large the step fails.
 * ------------------------------------------------------------------------
 */

static size_t
most_of_result(void)
{
	return (size_t) js_guc_max_result_size * 1024;
}

static void
drop_result(const char *why)
{
	js_capture_add("warning", psprintf("the result was dropped: %s", why));
}

static bool
is_step(void)
{
	return js_current_run != NULL &&
		(js_current_run->source == JS_SOURCE_STEP || js_current_run->source == JS_SOURCE_ITEM ||
		 js_context_is_in_step());
}

/* what: the result, with its size if that is known. */
static void
drop_too_large(const char *what)
{
	if (is_step())
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("%s exceeds jobsched.max_result_size of %d kB", what, js_guc_max_result_size),
				 errhint("Keep what is large in a table, and return its key; or have a superuser raise jobsched.max_result_size.")));
	js_capture_add("warning",
				   psprintf("%s was dropped: it exceeds jobsched.max_result_size of %d kB",
							what, js_guc_max_result_size));
}

static bool
fits(size_t size)
{
	if (size <= most_of_result())
		return true;
	drop_too_large(psprintf("the result of %zu bytes", size));
	return false;
}

/* How long the text of a jsonb may be, for each byte that it may have. */
#define TEXT_PER_BYTE 8

/* What a result is made of: a row, or a jsonb. */
typedef struct Making
{
	TupleDesc	names;			/* NULL: it is no row */
	TupleDesc	types;
	const Datum *values;
	const bool *nulls;
	Jsonb	   *result;
} Making;

/* A few bytes of jsonb may be so long a text that nobody could read it. */
static void
make_result(void *arg)
{
	Making	   *making = arg;
	size_t		most_text = Min(most_of_result() * TEXT_PER_BYTE, MaxAllocSize);

	making->result = making->names == NULL ? DatumGetJsonbPCopy(*making->values) :
		js_row_json(making->names, making->types, making->values, making->nulls,
					most_of_result(), JS_BAD_JSON_IS_AN_ERROR);
	if (js_json_is_longer(&making->result->root, most_text))
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("the text of the result is too long")));
}

static Jsonb *
made_result(Making *making)
{
	ErrorData  *error = js_guard(make_result, making);

	if (error == NULL)
		return fits(VARSIZE(making->result)) ? making->result : NULL;
	if (js_is_limit(error->sqlerrcode))
		drop_too_large("the result");
	else
		drop_result(error->message);
	return NULL;
}

/* It is not fetched if it is too large. */
static Jsonb *
jsonb_result(Datum value)
{
	Making		making = {.values = &value};

	return fits(toast_raw_datum_size(value)) ? made_result(&making) : NULL;
}

/* ------------------------------------------------------------------------
 * The first row
 *
 * Of a statement that rules have made several of, it is the first that any of
 * these returns.  Each of them has a row type of its own, and says it before its
 * rows.  That has the names of the columns.  What types they have the row itself
 * says best, and if the two do not agree it is not looked into.
 * ------------------------------------------------------------------------
 */

typedef struct FirstRow
{
	DestReceiver pub;
	MemoryContext context;
	TupleDesc	names;			/* of the statement whose rows come now */
	TupleDesc	types;			/* of the row; NULL: none has come */
	Datum	   *values;			/* NULL: it was too large, or not of its type */
	bool	   *nulls;
} FirstRow;

static void
first_row_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	FirstRow   *row = (FirstRow *) self;
	MemoryContext outer = MemoryContextSwitchTo(row->context);

	if (row->types == NULL)
		row->names = CreateTupleDescCopy(desc);
	MemoryContextSwitchTo(outer);
}

static bool
agree(TupleDesc names, TupleDesc types)
{
	if (names == NULL || names->natts != types->natts)
		return false;
	for (int i = 0; i < types->natts; i++)
		if (TupleDescAttr(names, i)->atttypid != TupleDescAttr(types, i)->atttypid)
			return false;
	return true;
}

/* Whether all of it together is not out of proportion. */
static bool
is_moderate(TupleTableSlot *slot)
{
	size_t		size = 0;

	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(slot->tts_tupleDescriptor, i);

		if (!slot->tts_isnull[i])
			size += js_value_size(slot->tts_values[i], column->attbyval, column->attlen);
	}
	return size <= js_row_json_most(most_of_result());
}

/* Nothing may point outside: the snapshot ends with the statement. */
static Datum
copy_value(Datum value, Form_pg_attribute column)
{
	if (column->attlen == -1)
		return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	return datumCopy(value, column->attbyval, column->attlen);
}

static void
copy_row(FirstRow *row, TupleTableSlot *slot)
{
	int			natts = row->types->natts;

	row->nulls = palloc(natts * sizeof(bool));
	row->values = palloc(natts * sizeof(Datum));
	for (int i = 0; i < natts; i++)
	{
		row->nulls[i] = slot->tts_isnull[i];
		if (!row->nulls[i])
			row->values[i] = copy_value(slot->tts_values[i], TupleDescAttr(row->types, i));
	}
}

static bool
first_row_receive(TupleTableSlot *slot, DestReceiver *self)
{
	FirstRow   *row = (FirstRow *) self;
	MemoryContext outer;

	if (row->types != NULL)
		return true;			/* the statement goes on all the same */
	outer = MemoryContextSwitchTo(row->context);
	row->types = CreateTupleDescCopy(slot->tts_tupleDescriptor);
	if (!agree(row->names, row->types))
		drop_result("its row is not of the type that its statement has announced");
	else
	{
		slot_getallattrs(slot);
		/* Utility statements have none when they give their rows. */
		PushActiveSnapshot(GetTransactionSnapshot());
		if (is_moderate(slot))
			copy_row(row, slot);
		else
			drop_too_large("the result");
		PopActiveSnapshot();
	}
	MemoryContextSwitchTo(outer);
	return true;
}

static void
first_row_done(DestReceiver *self)
{
}

static void
first_row_init(FirstRow *row, MemoryContext context)
{
	memset(row, 0, sizeof(FirstRow));
	row->pub.receiveSlot = first_row_receive;
	row->pub.rStartup = first_row_startup;
	row->pub.rShutdown = first_row_done;
	row->pub.rDestroy = first_row_done;
	row->pub.mydest = DestTuplestore;
	row->context = context;
}

/* A single jsonb column is the result itself, any other row an object. */
static Jsonb *
first_row_result(const FirstRow *row)
{
	Making		making = {row->names, row->types, row->values, row->nulls};

	if (row->values == NULL || row->types->natts == 0)
		return NULL;
	if (row->types->natts == 1 && TupleDescAttr(row->types, 0)->atttypid == JSONBOID)
		return row->nulls[0] ? NULL : jsonb_result(row->values[0]);
	return made_result(&making);
}

/* ------------------------------------------------------------------------
 * A command
 * ------------------------------------------------------------------------
 */

static Portal
open_portal(RawStmt *statement, const char *command)
{
	bool		snapshot = analyze_requires_snapshot(statement);
	Portal		portal;
	List	   *plans;

	if (snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	plans = pg_plan_queries(pg_analyze_and_rewrite_fixedparams(statement, command, NULL, 0, NULL),
							command, CURSOR_OPT_PARALLEL_OK, NULL);
	if (snapshot)
		PopActiveSnapshot();
	CHECK_FOR_INTERRUPTS();

	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, command, CreateCommandTag(statement->stmt), plans, NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);

	/*
	 * Rows of EXECUTE, FETCH or CALL would go through a store with the row
	 * type that was announced before anything ran; what runs may have
	 * another.  They come directly, each with its own, as if nothing had been
	 * announced.
	 */
	if (portal->strategy == PORTAL_UTIL_SELECT)
		portal->strategy = PORTAL_MULTI_QUERY;
	return portal;
}

/* What the server does for statements of a client it leaves to us. */
void
js_statement_timeout_arm(void)
{
	if (StatementTimeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
}

void
js_statement_timeout_disarm(void)
{
	if (get_timeout_active(STATEMENT_TIMEOUT))
		disable_timeout(STATEMENT_TIMEOUT, false);
}

/* As a client would be told: SELECT 5, INSERT 0 1, VACUUM. */
static char *
tag_as_text(const QueryCompletion *completion)
{
	const char *name = GetCommandTagName(completion->commandTag);

	if (!command_tag_display_rowcount(completion->commandTag))
		return pstrdup(name);
	return psprintf(completion->commandTag == CMDTAG_INSERT ? "%s 0 " UINT64_FORMAT : "%s " UINT64_FORMAT,
					name, completion->nprocessed);
}

/*
 * The current context holds the plan and must outlast internal commits.  *tag: what
 * comes of it, unless it is NULL.
 */
static void
run_statement(RawStmt *statement, const char *command, DestReceiver *receiver, const char **tag)
{
	MemoryContext outer = CurrentMemoryContext;
	QueryCompletion completion;
	Portal		portal;

	js_statement_timeout_arm();
	pgstat_report_query_id(0, true);
	set_ps_display(GetCommandTagName(CreateCommandTag(statement->stmt)));
	portal = open_portal(statement, command);
	MemoryContextSwitchTo(CurTransactionContext);
	(void) js_portal_run(portal, true, receiver, &completion);
	PortalDrop(portal, false);
	js_statement_timeout_disarm();
	MemoryContextSwitchTo(outer);
	if (tag != NULL)
		*tag = tag_as_text(&completion);
}

/*
 * Runs a command in the transaction that is open.  The rows of its last statement go
 * to the receiver; the context holds what the command needs on its way.  *tag: what came of
 * that statement; NULL: nobody wants to know.
 */
void
js_command_run_into(const char *command, JsMode mode, MemoryContext context, DestReceiver *receiver,
					const char **tag)
{
	MemoryContext outer = MemoryContextSwitchTo(context);
	List	   *statements = parse_command(command);
	bool		each = mode == JS_MODE_AUTOCOMMIT;
	bool		block = !each &&
		(list_length(statements) > 1 || mode == JS_MODE_TRANSACTION);
	ListCell   *lc;

	debug_query_string = command;
	pgstat_report_activity(STATE_RUNNING, command);
	foreach(lc, statements)
	{
		if (each && lc != list_head(statements))
		{
			CommitTransactionCommand();
			SetCurrentStatementStartTimestamp();
			StartTransactionCommand();
			MemoryContextSwitchTo(context);
		}
		if (block)
			BeginImplicitTransactionBlock();
		CHECK_FOR_INTERRUPTS();
		run_statement(lfirst_node(RawStmt, lc), command,
					  lc == list_tail(statements) ? receiver : None_Receiver,
					  lc == list_tail(statements) ? tag : NULL);
		CommandCounterIncrement();
	}
	if (block)
		EndImplicitTransactionBlock();
	MemoryContextSwitchTo(outer);
}

/* The same; returns its result, in the given context. */
Jsonb *
js_command_run(const char *command, JsMode mode, MemoryContext context, const char **tag)
{
	MemoryContext outer;
	FirstRow	first;
	Jsonb	   *result;

	first_row_init(&first, context);
	js_command_run_into(command, mode, context, &first.pub, tag);
	outer = MemoryContextSwitchTo(context);
	result = first_row_result(&first);
	MemoryContextSwitchTo(outer);
	return result;
}

/* ------------------------------------------------------------------------
 * A function
 * ------------------------------------------------------------------------
 */

static void
refuse_handler(const char *handler, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid handler \"%s\"", handler),
			 errdetail("%s", detail),
			 errhint("A handler is named 'schema.function'; the function takes one jsonb argument and returns jsonb or void.")));
}

static bool
takes_jsonb(Form_pg_proc proc)
{
	return proc->pronargs == 1 && proc->proargtypes.values[0] == JSONBOID;
}

/* Whether there are procedures of a name, and no function that could be the handler. */
static bool
names_procedure(List *names)
{
	Oid			schema = LookupExplicitNamespace(strVal(linitial(names)), true);
	CatCList   *list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(strVal(lsecond(names))));
	int			procedures = 0;
	int			others = 0;

	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(&list->members[i]->tuple);

		if (proc->pronamespace != schema)
			continue;
		if (proc->prokind == PROKIND_PROCEDURE)
			procedures++;
		else if (takes_jsonb(proc))
			others++;
	}
	ReleaseSysCacheList(list);
	return procedures > 0 && others == 0;
}

pg_noreturn static void
refuse_procedure(const char *handler)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid handler \"%s\"", handler),
			 errdetail("It is a procedure."),
			 errhint("Here it has to be a function.")));
}

static List *
handler_names(const char *handler)
{
	List	   *names = js_qualified_name(handler);

	if (list_length(names) != 2)
		refuse_handler(handler, "The name does not consist of a schema and a function.");
	return names;
}

/* Whether a handler is a procedure (procedure.c). */
bool
js_handler_is_procedure(const char *handler)
{
	return names_procedure(handler_names(handler));
}

/* The function of a handler, of which it is known that it is no procedure. */
static Oid
find_function(const char *handler)
{
	List	   *names = handler_names(handler);
	Oid			argument = JSONBOID;
	HeapTuple	tuple;
	Form_pg_proc proc;
	Oid			function;
	const char *fault = NULL;

	function = LookupFuncName(names, 1, &argument, false);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION)
		fault = "It is not a plain function.";
	else if (proc->proretset)
		fault = "It returns a set.";
	else if (proc->prorettype != JSONBOID && proc->prorettype != VOIDOID)
		fault = "It returns neither jsonb nor void.";
	ReleaseSysCache(tuple);
	if (fault != NULL)
		refuse_handler(handler, fault);
	return function;
}

/*
 * Finds the function of a handler as the current user, who needs USAGE on its
 * schema.  Whether the user may execute it is asked when it is executed.
 */
Oid
js_handler_lookup(const char *handler)
{
	if (js_handler_is_procedure(handler))
		refuse_procedure(handler);
	return find_function(handler);
}

static void
check_may_execute(Oid function, const char *handler)
{
	if (js_function_aclcheck(function, GetUserId()) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, handler);
}

/* Now, instead of at the commit. */
void
js_fire_deferred(void)
{
	ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);

	immediate->deferred = false;
	AfterTriggerSetState(immediate);
}

/* Calls a function by its handler's name, with the snapshot that is active. */
Jsonb *
js_function_call(const char *handler, Jsonb *args, MemoryContext context)
{
	LOCAL_FCINFO(fcinfo, 1);
	PgStat_FunctionCallUsage usage;
	Oid			function = find_function(handler);
	bool		has_result;
	FmgrInfo	flinfo;
	Datum		value;

	check_may_execute(function, handler);
	has_result = get_func_rettype(function) == JSONBOID;
	fmgr_info_cxt(function, &flinfo, context);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(args);
	fcinfo->args[0].isnull = false;
	pgstat_init_function_usage(fcinfo, &usage);
	value = FunctionCallInvoke(fcinfo);
	pgstat_end_function_usage(&usage, true);
	MemoryContextSwitchTo(context);
	return has_result && !fcinfo->isnull ? jsonb_result(value) : NULL;
}

/* Calls a handler that is a function in the transaction that is open. */
Jsonb *
js_handler_run(const char *handler, Jsonb *args, MemoryContext context)
{
	MemoryContext outer = MemoryContextSwitchTo(context);
	Jsonb	   *result;

	debug_query_string = handler;
	pgstat_report_activity(STATE_RUNNING, handler);
	PushActiveSnapshot(GetTransactionSnapshot());
	js_statement_timeout_arm();
	result = js_function_call(handler, args, context);
	js_statement_timeout_disarm();
	PopActiveSnapshot();
	MemoryContextSwitchTo(outer);
	return result;
}
