/*-------------------------------------------------------------------------
 *
 * guard.c
 *		Calls whose errors must not undo what the transaction has done.
 *
 * A row that cannot be made JSON of is no reason to roll back the work that it
 * came with, nor one request or one job to roll back those of others.  Which
 * values fail cannot be told before: they are read by output functions and parsers
 * that report an error in one way only.  So that is done in a subtransaction, which
 * is always ended here, whatever happens.
 *
 * What is called writes little or nothing: a subtransaction that writes takes a
 * transaction id, and a statement may have a million rows.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guard.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/*
 * What is called has its memory in the context.  Returns the error that it has
 * ended with, in the caller's memory, and what it did is rolled back; or NULL.
 */
ErrorData *
js_try(JsGuarded call, void *arg, MemoryContext context)
{
	MemoryContext outer = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		call(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(outer);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(outer);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * Errors that are not of what was called but of the session, the transaction or
 * the machine: who waits for a cancel, or for a retry, must get it.
 */
static bool
concerns_transaction(int code)
{
	switch (ERRCODE_TO_CATEGORY(code))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return true;
		default:
			return code == ERRCODE_DISK_FULL || code == ERRCODE_LOCK_NOT_AVAILABLE;
	}
}

/* The same in a transaction of a user's, who is told of what concerns that. */
ErrorData *
js_guard(JsGuarded call, void *arg)
{
	ErrorData  *error = js_try(call, arg, CurrentMemoryContext);

	if (error != NULL && concerns_transaction(error->sqlerrcode))
		ReThrowError(error);
	return error;
}
