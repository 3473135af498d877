/*-------------------------------------------------------------------------
 *
 * guard.c
 *		Calls whose errors must not undo what the transaction has done.
 *
 * A row that cannot be made JSON of is no reason to roll back the work that it
 * came with.  Which values fail cannot be told before: they are read by output
 * functions and parsers that report an error in one way only.  So that is done
 * in a subtransaction, which is always ended here, whatever happens.
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
#include "guard.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

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

/* Returns the error that it has ended with, which is rolled back; or NULL. */
ErrorData *
js_guard(JsGuarded call, void *arg)
{
	MemoryContext outer = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(outer);
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
	if (error != NULL && concerns_transaction(error->sqlerrcode))
		ReThrowError(error);
	return error;
}
