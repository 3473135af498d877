/*-------------------------------------------------------------------------
 *
 * condition.c
 *		The condition of a step: key "if".
 *
 * It is one SQL expression, of the owner of the step, in the transaction of the
 * attempt.  It looks, and does nothing: the transaction is read only meanwhile, and
 * what it changes of settings, the role among them, is as it was when it is done.
 * What comes after it cannot tell that it has been there, but for the snapshot of a
 * transaction that has only one, and locks.
 *
 * As with commands only its grammar is checked before it is evaluated.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "pgstat.h"
#include "run/condition.h"
#include "run/context.h"
#include "run/execsql.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

/* What the grammar lets be around an expression. */
static bool
is_expression(const SelectStmt * select)
{
	const		ResTarget *target;

	if (select->op != SETOP_NONE || list_length(select->targetList) != 1 ||
		select->distinctClause != NIL || select->fromClause != NIL || select->whereClause != NULL ||
		select->groupClause != NIL || select->havingClause != NULL || select->windowClause != NIL ||
		select->sortClause != NIL || select->limitOffset != NULL || select->limitCount != NULL ||
		select->lockingClause != NIL)
		return false;
	target = linitial_node(ResTarget, select->targetList);
	return target->name == NULL && !IsA(target->val, ColumnRef);
}

/* Raises what is wrong with its text. */
void
js_condition_check(const char *condition)
{
	List	   *parsed = raw_parser(condition, RAW_PARSE_PLPGSQL_EXPR);

	if (!is_expression(castNode(SelectStmt, linitial_node(RawStmt, parsed)->stmt)))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the condition is not one expression"),
				 errhint("For instance: (jobsched.step_result('extract') ->> 'rows')::int > 0. A query goes into parentheses: EXISTS (SELECT ...).")));
}

/* The text is one expression: so it is one in parentheses too, which its type is checked by. */
static SPIPlanPtr
prepare(const char *condition)
{
	SPIPrepareOptions options = {.parseMode = RAW_PARSE_PLPGSQL_EXPR};
	SPIPlanPtr	plan = SPI_prepare_extended(psprintf("(%s\n) IS TRUE", condition), &options);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare_extended failed: %s", SPI_result_code_string(SPI_result));
	return plan;
}

static bool
evaluate(const char *condition)
{
	SPIExecuteOptions options = {.must_return_tuples = true,.tcount = 2};
	bool		is_null;
	Datum		value;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_plan_extended(prepare(condition), &options) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "the condition is no expression");
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	SPI_finish();
	return !is_null && DatumGetBool(value);
}

/* Whether it is true now. */
bool
js_condition_holds(const char *condition)
{
	bool		read_only = XactReadOnly;
	int			level = NewGUCNestLevel();
	bool		holds;

	js_condition_check(condition);
	debug_query_string = condition;
	pgstat_report_activity(STATE_RUNNING, condition);
	PushActiveSnapshot(GetTransactionSnapshot());
	XactReadOnly = true;
	js_context_look(true);
	js_statement_timeout_arm();
	holds = evaluate(condition);
	js_statement_timeout_disarm();
	js_context_look(false);
	AtEOXact_GUC(false, level);
	XactReadOnly = read_only;
	PopActiveSnapshot();
	debug_query_string = NULL;
	return holds;
}
