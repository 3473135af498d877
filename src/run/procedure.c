/*-------------------------------------------------------------------------
 *
 * procedure.c
 *		Durable procedures: a handler that is a procedure, and its guard.
 *
 * DESIGN
 *
 * A handler that is a procedure is executed from its beginning as often as it takes:
 * after a failure, after a crash, after each sleep.  What it does goes through
 * jobsched.step(): a function is called, and its effect, its result and a memo, by
 * which a later execution knows that it was done, are one commit.  Where there is a
 * memo, step() returns what is stored.  So code between steps is executed many
 * times, and must have no effect.  That is what the guard sees to.
 *
 *		worker --> js_procedure_run() --> CALL, in a transaction that is read only
 *			CALL jobsched.step()	memo found: its result
 *									none: roll back, begin; function, memo; commit; begin,
 *									read only
 *			CALL jobsched.sleep()	memo found, and its time has come: goes on
 *									else: an error unwinds the procedure
 *		--> roll back, begin; memo of a sleep; record, and the run waits, as after
 *			snooze(), or has ended; commit
 *
 * THE GUARD
 *
 * What is outside of a step is not only read only, it is never committed: each
 * transaction that the procedure has been in is rolled back, at the beginning of a step
 * and at the end.  Read only is there to say so in time (25006); what gets around it is
 * lost and not repeated.  Every commit of such a run is one of a step or that of its
 * record.  (pg_stat_database counts a rollback more for each step.)  Hence what somebody
 * may try is this:
 *
 *		INSERT, DDL, nextval(), setval()	25006, by the server
 *		trigger(), http_request() and all	25006: js_check_may_write(), which each
 *			others of ours that write		function has to call
 *		SET TRANSACTION READ WRITE			refused: the transaction has had a snapshot
 *		RESET transaction_read_only in 15	the run fails (25006) at its next step, or its
 *											end; numbers of sequences are gone
 *		COMMIT								2D000, before anything is committed
 *		ROLLBACK, to be in a transaction	allowed, but the run fails (2D000) at its next
 *			that could be made read write	step, or its end: nothing can be committed
 *		NOTIFY, LISTEN, SET, SET ROLE,		allowed by the server, and rolled back
 *			rows of temporary tables
 *		large objects in 15					allowed by the server, and rolled back
 *		session locks						released when the execution ends
 *		dblink, COPY TO PROGRAM, other		not ours to undo; who does that outside of a
 *			effects outside of transactions	step does it again.  It is his own harm:
 *											all of it has his own rights
 *		BEGIN ... EXCEPTION around a step	2D000: a subtransaction cannot be committed
 *		WHEN OTHERS around a sleep			does not catch it (57014); who catches it by
 *											name gets no further: the run is suspended
 *											whatever he does then, and nothing of it stays
 *		snooze()							JS055: it is about one execution
 *		a procedure that is SECURITY		2D000: there CALL can commit nothing
 *			DEFINER or has SET, a function
 *		a step in a step					2D000, for the same reason
 *		deferred triggers of a step			part of it: they are fired at its end, and if
 *											they fail, nothing of it was done
 *
 * So the answer to whether it can be made safe is: yes.  No effect of a procedure is
 * committed without its memo; and reading the memos of others, or writing any, is not
 * possible with SQL: a policy keeps them from others, nobody may write the table, and
 * rows are written past the executor.
 *
 * NAMES
 *
 * A step is known by its name, which must not depend on how often or when something is
 * executed.  A name that comes twice in one execution would find the memo of the first:
 * it is refused (42710), rather than numbered, since numbers depend on the order of a
 * loop.  A memo of another function or of other arguments is refused too (JS055).
 *
 * WHAT KILL -9 LEAVES
 *
 *		before the commit of a step			nothing of it: it is done anew
 *		after it							effect and memo: the next execution has both
 *		before the commit that suspends		a run without a worker, which is put back into
 *											the queue; its sleep begins anew
 *		after it							a run in the queue, with its run_at
 *		while it sleeps						the same
 *
 * A worker that was given up, but lives, can commit no step: it would find its run's row
 * changed, or the memo there (unique).
 *
 * WHERE MEMOS END
 *
 * They are kept as long as the run's record, whatever its end, and removed in portions
 * by the scheduler.  retry_run() copies them to the new run; trigger() is a new beginning.
 * Dumps have none, like runs.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/sqlstate.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "run/context.h"
#include "run/execsql.h"
#include "run/procedure.h"
#include "run/procedure_memos.h"
#include "run/queue.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

typedef struct Execution
{
	bool		is_guarded;		/* it goes on; what ends a transaction has to
								 * be us: */
	bool		is_ours;
	bool		was_left;		/* somebody else has rolled one back */
	int			commit_level;	/* of settings, while a step is committed; 0:
								 * none is */
	bool		is_suspended;
	JsMemo		sleep;			/* by this; run_id 0: that has a memo */
	JsRun	   *request;		/* which is queued then; NULL: none */
	TimestampTz until;
	const char *reason;
	MemoryContext context;
} Execution;

/* That of the procedure that is executed. */
static Execution execution;

/* ------------------------------------------------------------------------
 * The procedure
 * ------------------------------------------------------------------------
 */

/* Whether it takes an argument, and maybe gives a result. */
static bool
is_handler(HeapTuple tuple, bool *has_result)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);
	char	   *modes;
	bool		isnull;
	Datum		value;

	for (int i = 0; i < proc->pronargs; i++)
		if (proc->proargtypes.values[i] != JSONBOID)
			return false;
	value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proargmodes, &isnull);
	if (isnull)
	{
		*has_result = false;
		return proc->pronargs == 1;
	}
	if (ARR_DIMS(DatumGetArrayTypeP(value))[0] != 2 || proc->pronargs != 2)
		return false;
	modes = ARR_DATA_PTR(DatumGetArrayTypeP(value));
	*has_result = true;
	return modes[0] == PROARGMODE_IN && modes[1] == PROARGMODE_INOUT;
}

pg_noreturn static void
refuse_arguments(const char *handler)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid handler \"%s\"", handler),
			 errdetail("It is a procedure with other arguments."),
			 errhint("A procedure that is a handler takes one jsonb, and may have a second argument INOUT result jsonb. Another one can be called by a command, such as command => 'CALL schema.procedure()'.")));
}

/* The one of the name that can be a handler. */
static Oid
find_procedure(const char *handler, List *names, bool *has_result)
{
	Oid			schema = LookupExplicitNamespace(strVal(linitial(names)), false);
	CatCList   *list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(strVal(lsecond(names))));
	Oid			found = InvalidOid;

	for (int i = 0; i < list->n_members && !OidIsValid(found); i++)
	{
		HeapTuple	tuple = &list->members[i]->tuple;
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);

		if (proc->pronamespace == schema && is_handler(tuple, has_result))
			found = proc->oid;
	}
	ReleaseSysCacheList(list);
	if (!OidIsValid(found))
		refuse_arguments(handler);
	return found;
}

/* Raises what keeps a procedure from being a handler. */
void
js_procedure_check(const char *handler)
{
	bool		has_result;

	(void) find_procedure(handler, js_qualified_name(handler), &has_result);
}

static char *
call_of(const char *handler)
{
	List	   *names = js_qualified_name(handler);
	bool		has_result;

	(void) find_procedure(handler, names, &has_result);
	return psprintf("CALL %s(jobsched.args()%s)",
					quote_qualified_identifier(strVal(linitial(names)), strVal(lsecond(names))),
					has_result ? ", NULL::pg_catalog.jsonb" : "");
}

/* ------------------------------------------------------------------------
 * The guard
 * ------------------------------------------------------------------------
 */

/*
 * Deferred triggers that another one has deferred once more are fired by the commit of a
 * step.  What they SET, the role too, would stay.
 */
static void
end_settings_of_commit(XactEvent event)
{
	if (execution.commit_level != 0 && event == XACT_EVENT_PRE_COMMIT)
		AtEOXact_GUC(false, execution.commit_level);
	execution.commit_level = 0;
}

/* By whoever has written the procedure; a commit that fails is no commit. */
static void
end_of_transaction(XactEvent event, void *arg)
{
	end_settings_of_commit(event);
	if (!execution.is_guarded || execution.is_ours)
		return;
	if (event == XACT_EVENT_PRE_COMMIT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("a durable procedure cannot COMMIT"),
				 errhint("Each step is committed by itself: leave COMMIT out. A procedure that is called by a command, such as command => 'CALL schema.procedure(jobsched.args())', may COMMIT.")));
	if (event == XACT_EVENT_ABORT)
		execution.was_left = true;
}

static void
check_was_not_left(void)
{
	if (execution.was_left)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("a durable procedure cannot ROLLBACK"),
				 errhint("Outside of its steps there is nothing to roll back.")));
}

/* By RESET, in 15: what was written then is lost, which must not look like success. */
static void
check_is_read_only(void)
{
	if (!XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("a durable procedure has made its transaction read write"),
				 errhint("What is written outside of a step is rolled back. Put it into a function, and let jobsched.step() call that.")));
}

static void
check_only_looked(void)
{
	check_was_not_left();
	check_is_read_only();
}

/* With a snapshot nobody can make the transaction read write by SET. */
static void
only_look(void)
{
	XactReadOnly = true;
	(void) GetTransactionSnapshot();
}

/*
 * What is outside of steps ends here; a transaction begins that may write.  A loop over
 * rows that an error has left is dropped: a step in it has had its rows held.
 */
static void
leave_outside(void)
{
	execution.is_ours = true;
	AbortOutOfAnyTransaction();
	PortalErrorCleanup();
	StartTransactionCommand();
	execution.is_ours = false;
}

static void
begin(MemoryContext context)
{
	static bool watches = false;

	if (!watches)
		RegisterXactCallback(end_of_transaction, NULL);
	watches = true;
	memset(&execution, 0, sizeof(execution));
	js_procedure_memos_begin(context);
	execution.context = context;
	execution.is_guarded = true;
	js_context_begin_durable();
	only_look();
}

/* ------------------------------------------------------------------------
 * Suspension
 * ------------------------------------------------------------------------
 */

pg_noreturn static void
unwind(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("the procedure is suspended"),
			 errhint("An exception handler that catches query_canceled has to raise it again, by RAISE.")));
}

static const char *
keep(const char *text)
{
	return text == NULL ? NULL : MemoryContextStrdup(execution.context, text);
}

/* Unwinds the procedure, which is executed again then.  memo: what is written; NULL: nothing. */
void
js_procedure_suspend(const JsMemo *memo, TimestampTz until, const char *reason)
{
	if (memo != NULL)
	{
		execution.sleep = *memo;
		execution.sleep.name = keep(memo->name);
		execution.sleep.event = keep(memo->event);
		execution.sleep.step = keep(memo->step);
		execution.sleep.error = NULL;
	}
	execution.is_suspended = true;
	execution.until = until;
	execution.reason = reason;
	unwind();
}

/* It is what has unwound it, whatever somebody has made of that; but a cancel is a cancel. */
static bool
is_suspension(void)
{
	return execution.is_suspended && js_seat_is_cancelled(js_current_run->run_id) == JS_CANCEL_NONE;
}

/* Unwinds the procedure, which goes on once a request has ended that is queued now. */
void
js_procedure_suspend_for_request(const JsMemo *memo, const JsRun *request)
{
	MemoryContext outer = MemoryContextSwitchTo(execution.context);

	execution.request = palloc(sizeof(JsRun));
	*execution.request = *request;
	execution.request->request = (Jsonb *) PG_DETOAST_DATUM_COPY(JsonbPGetDatum(request->request));
	if (request->keys != NULL)
		execution.request->keys = (ArrayType *) PG_DETOAST_DATUM_COPY(PointerGetDatum(request->keys));
	execution.request->traceparent = keep(request->traceparent);
	MemoryContextSwitchTo(outer);
	js_procedure_suspend(memo, js_clock_now(), JS_REASON_REQUESTS);
}

/* In the transaction of the record. */
static void
record_suspension(void)
{
	if (execution.request != NULL)
	{
		PreventCommandIfReadOnly("jobsched.http_step()");
		PushActiveSnapshot(GetTransactionSnapshot());
		execution.sleep.request_id = js_queue_run(execution.request);
		PopActiveSnapshot();
	}
	if (execution.sleep.run_id != 0)
	{
		/* It may wait for another thing than before. */
		if (execution.sleep.step != NULL)
			js_memo_delete(execution.sleep.run_id, execution.sleep.name);
		js_memo_insert(&execution.sleep);
	}
	js_context_suspend(Max(execution.until - js_clock_now(), 0), execution.reason);
}

/* ------------------------------------------------------------------------
 * An execution
 * ------------------------------------------------------------------------
 */

/* A hint to an error of the server's. */
pg_noreturn static void
throw_with_hint(void)
{
	ErrorData  *error;

	MemoryContextSwitchTo(execution.context);
	error = CopyErrorData();
	if (error->sqlerrcode == ERRCODE_READ_ONLY_SQL_TRANSACTION && error->hint == NULL &&
		!js_context_is_in_step())
		error->hint = pstrdup("Outside of its steps a durable procedure only reads. Put what writes into a function, and let jobsched.step() call that.");
	FlushErrorState();
	ReThrowError(error);
}

/*
 * Executes a handler that is a procedure.  Returns in a transaction that has nothing of
 * it but that it is to be executed again, if so; otherwise with its result.
 */
Jsonb *
js_procedure_run(const char *handler, MemoryContext context)
{
	Jsonb	   *volatile result = NULL;

	begin(context);
	PG_TRY();
	{
		result = js_command_run(call_of(handler), JS_MODE_AUTO, context, NULL);
		if (!execution.is_suspended)
			check_only_looked();
	}
	PG_CATCH();
	{
		execution.is_guarded = false;
		if (!is_suspension())
			throw_with_hint();
		js_statement_timeout_disarm();
		FlushErrorState();
	}
	PG_END_TRY();
	leave_outside();
	execution.is_guarded = false;
	MemoryContextSwitchTo(context);
	if (!execution.is_suspended)
		return result;
	record_suspension();
	return NULL;
}

/* ------------------------------------------------------------------------
 * What it calls
 * ------------------------------------------------------------------------
 */

static void
check_place(const char *what)
{
	if (!execution.is_guarded)
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("%s is used in a run that is no durable procedure", what),
				 errhint("Name the procedure as handler of its job, instead of calling it by a command.")));
	if (js_context_is_in_step())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("%s is used in a step", what),
				 errhint("A step is one transaction. Let the procedure call the one after the other.")));
}

/* Bytes of a name that is no good. */
#define MOST_QUOTED 100

static void
check_name(const char *name)
{
	if (!js_memo_is_of_step(name) || strlen(name) > JS_MAX_MEMO_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name of a step: \"%.*s\"",
						pg_mbcliplen(name, strlen(name), MOST_QUOTED), name),
				 errhint("A name has 1 to %d bytes, and does not begin with a control character.", JS_MAX_MEMO_NAME)));
}

/* Whether it has a memo. */
bool
js_procedure_enter(const char *what, const char *name, JsMemo *memo)
{
	check_place(what);
	if (execution.is_suspended)
		unwind();
	check_only_looked();
	check_name(name);
	return js_procedure_memos_take(js_current_run->run_id, name, memo);
}

static const char *
what_it_was(const JsMemo *memo)
{
	if (memo->function != NULL)
		return psprintf("It has called function \"%s\".", memo->function);
	if (memo->event != NULL)
		return psprintf("It has waited for event \"%s\".", memo->event);
	if (memo->request_id != 0)
		return psprintf("It has sent the request of run " INT64_FORMAT ".", memo->request_id);
	return "It was a sleep.";
}

void
js_procedure_refuse_changed(const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(JS_ERRCODE_STATE),
			 errmsg("step \"%s\" was another one when it was done", name),
			 errdetail_internal("%s", detail),
			 errhint("A step has to be the same in each execution: take what changes, such as now() and random(), from the result of a step. If it was changed on purpose give it another name.")));
}

void
js_procedure_refuse_other(const JsMemo *memo)
{
	js_procedure_refuse_changed(memo->name, what_it_was(memo));
}

void
js_procedure_init_memo(JsMemo *memo, const char *name)
{
	memset(memo, 0, sizeof(JsMemo));
	memo->run_id = js_current_run->run_id;
	memo->name = name;
	memo->seq = js_procedure_memos_taken();
	memo->job_id = js_current_run->job_id;
	memo->owner = js_current_run->owner;
	memo->sleeps_until = DT_NOBEGIN;
	memo->stored_at = js_clock_now();
}

/* ------------------------------------------------------------------------
 * A step
 * ------------------------------------------------------------------------
 */

static int64
hash_of(Jsonb *args)
{
	return DatumGetInt64(DirectFunctionCall2(jsonb_hash_extended, JsonbPGetDatum(args), Int64GetDatum(0)));
}

static void
check_same(const JsMemo *memo, const char *function, Jsonb *args)
{
	if (memo->function == NULL || strcmp(memo->function, function) != 0)
		js_procedure_refuse_other(memo);
	if (memo->args_hash != hash_of(args))
		js_procedure_refuse_changed(memo->name, "Its arguments were others.");
}

static void
check_can_commit(bool atomic)
{
	if (IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("step() is called in a block with EXCEPTION"),
				 errhint("Such a block cannot be committed in parts. Let the function that the step calls catch its errors, and return what became of it.")));
	if (atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("step() is called where nothing can be committed"),
				 errhint("The procedure has to call it directly, or by procedures without SECURITY DEFINER and SET.")));
}

/* A worker that was given up has no run any more. */
void
js_procedure_check_is_ours(void)
{
	JsRun		head;

	if (!js_run_see_head(js_current_run->run_id, &head) || head.status != JS_RUN_RUNNING ||
		head.attempt != js_current_run->attempt)
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("run " INT64_FORMAT " is not this worker's any more", js_current_run->run_id)));
}

/*
 * What it has SET, its role too, ends with it: the next step may be of another
 * execution, and has to find the same.  So does what its deferred triggers SET: they are
 * fired here, with the role that has called it.
 */
static Jsonb *
call_function(const char *function, Jsonb *args, MemoryContext context)
{
	int			level = NewGUCNestLevel();
	Jsonb	   *result = js_function_call(function, args, context);

	AtEOXact_GUC(false, level);
	level = NewGUCNestLevel();
	js_fire_deferred();
	AtEOXact_GUC(false, level);
	return result;
}

/* The function and the memo, in one transaction; returns in the next. */
static void
perform(JsMemo *memo, Jsonb *args, MemoryContext context)
{
	execution.is_ours = true;
	SPI_rollback();
	js_context_step(true);
	PushActiveSnapshot(GetTransactionSnapshot());
	memo->result = call_function(memo->function, args, context);
	js_procedure_check_is_ours();
	js_memo_insert(memo);
	PopActiveSnapshot();
	JS_INJECTION_POINT("jobsched-procedure-step-recorded");
	CHECK_FOR_INTERRUPTS();
	execution.commit_level = NewGUCNestLevel();
	SPI_commit();
	js_context_step(false);
	execution.is_ours = false;
	JS_INJECTION_POINT("jobsched-procedure-step-committed");
	only_look();
}

/* What is given has to outlast transactions. */
Jsonb *
js_procedure_step(const char *name, const char *function, Jsonb *args, bool atomic)
{
	MemoryContext context = CurrentMemoryContext;
	JsMemo		memo;

	if (js_procedure_enter("step()", name, &memo))
	{
		check_same(&memo, function, args);
		return memo.result;
	}
	check_can_commit(atomic);
	js_procedure_init_memo(&memo, name);
	memo.function = function;
	memo.args_hash = hash_of(args);
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	perform(&memo, args, context);
	SPI_finish();
	MemoryContextSwitchTo(context);
	return memo.result;
}

/* ------------------------------------------------------------------------
 * A sleep
 * ------------------------------------------------------------------------
 */

void
js_procedure_sleep(const char *name, int64 delay)
{
	JsMemo		memo;

	if (!js_procedure_enter("sleep()", name, &memo))
	{
		js_procedure_init_memo(&memo, name);
		memo.sleeps_until = js_clock_now() + delay;
		js_procedure_suspend(&memo, memo.sleeps_until, "snoozed");
	}
	if (memo.function != NULL || memo.event != NULL || memo.request_id != 0)
		js_procedure_refuse_other(&memo);
	if (js_clock_now() < memo.sleeps_until)
		js_procedure_suspend(NULL, memo.sleeps_until, "snoozed");
}
