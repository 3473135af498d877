/*-------------------------------------------------------------------------
 *
 * hook_count.c
 *		What has come to hooks, and how they refuse.
 *
 * There is one refusal, whatever the reason: the same text and the same SQLSTATE,
 * which PostgREST makes status 401 of.  Why is for the owner: in shared memory, from
 * which view hooks has it, and once a minute in the log.  A refusal writes nothing.
 * What is accepted counts when its transaction has committed.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/access.h"
#include "api/hook_count.h"
#include "base/guard.h"
#include "fmgr.h"
#include "funcapi.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "store/store_hook.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_hook_totals);

/* Of one transaction; what it accepts more is not counted. */
#define MAX_NOTES 1024

/* Those that this transaction has accepted, also those of subtransactions that are gone. */
static pg_uuid_t notes[MAX_NOTES];
static int	note_count = 0;

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (note_count == 0)
		return;
	if (event == XACT_EVENT_COMMIT)
	{
		TimestampTz now = js_clock_now();

		for (int i = 0; i < note_count; i++)
			js_hook_count_accepted(&notes[i], now);
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		note_count = 0;
}

/* It has a place in shared memory from now on, unless others need that. */
static void
begin_count(const pg_uuid_t *id, Oid owner)
{
	JsHookTotals totals;

	if (js_hook_is_counted(id))
		return;
	js_hook_state_read(id, &totals);
	js_hook_begin_count(id, owner, &totals, js_clock_now());
}

/* If the transaction commits. */
void
js_hook_will_be_accepted(const pg_uuid_t *id, Oid owner)
{
	static bool watches = false;

	if (!watches)
		RegisterXactCallback(at_transaction_end, NULL);
	watches = true;
	begin_count(id, owner);
	if (note_count < MAX_NOTES)
		notes[note_count++] = *id;
}

/* Whether its rate, in a second, lets one more come; 0 is no limit. */
bool
js_hook_take_room(const pg_uuid_t *id, Oid owner, int32 rate)
{
	if (rate == 0)
		return true;
	begin_count(id, owner);
	return js_hook_has_room(id, rate, js_clock_now());
}

/* What is called so in the log; the id is zero for what has no counts of its own. */
void
js_hook_refuse(const pg_uuid_t *id, Oid owner, const char *what, const char *reason)
{
	begin_count(id, owner);
	if (js_hook_count_refused(id, reason, js_clock_now()))
		/* Not LOG: a client can ask for that. */
		ereport(LOG_SERVER_ONLY,
				(errmsg("%s was refused: %s", what, reason),
				 errhidestmt(true),
				 errhidecontext(true)));
	ereport(ERROR,
			(errcode(JS_HOOK_REFUSED),
			 errmsg("the request was refused"),
			 errhidestmt(true)));
}

/*
 * In PG_CATCH() of what has gone wrong once a request was found genuine: the error
 * is the owner's to know.  But who waits for a cancel, or for a retry, must get it.
 */
ErrorData *
js_hook_caught(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (js_concerns_transaction(error->sqlerrcode))
		PG_RE_THROW();
	FlushErrorState();
	return error;
}

static void
set_timestamp(Datum *values, bool *nulls, int n, TimestampTz at)
{
	nulls[n] = at == 0;
	values[n] = TimestampTzGetDatum(at);
}

/* For view hooks, which shows them to whom may see the hook; nobody else gets any. */
Datum
jobsched_hook_totals(PG_FUNCTION_ARGS)
{
	const pg_uuid_t *id = PG_GETARG_UUID_P(0);
	Datum		values[5] = {0};
	bool		nulls[5] = {true, true, true, true, true};
	JsHookTotals totals;
	TupleDesc	desc;
	Oid			owner;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (js_hook_owner(id, &owner) && js_may_see(owner))
	{
		if (!js_hook_totals(id, &totals))
			js_hook_state_read(id, &totals);
		nulls[0] = nulls[1] = false;
		values[0] = Int64GetDatum(totals.accepted);
		values[1] = Int64GetDatum(totals.refused);
		set_timestamp(values, nulls, 2, totals.last_received_at);
		set_timestamp(values, nulls, 3, totals.last_refused_at);
		nulls[4] = totals.last_refused_at == 0 || !js_may_manage(owner);
		if (!nulls[4])
			values[4] = CStringGetTextDatum(totals.last_refusal);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
