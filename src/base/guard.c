/*-------------------------------------------------------------------------
 *
 * guard.c
 *		Calls whose errors must not abort the transaction.
 *
 * If no JSON can be made of a row, the work that produced the row must not be
 * rolled back; and an error in one request or job must not roll back the work
 * of others.  Which values fail is not known beforehand: output functions and
 * parsers can only report an error.  So such calls run in a subtransaction,
 * which this file always ends, whatever happens.
 *
 * The called function should write little or nothing.  A subtransaction that
 * writes takes a transaction id, and a statement may have a million rows.
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
bool
js_concerns_transaction(int code)
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

	if (error != NULL && js_concerns_transaction(error->sqlerrcode))
		ReThrowError(error);
	return error;
}
