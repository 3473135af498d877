/*-------------------------------------------------------------------------
 *
 * store_event.c
 *		Rows of event, event_match and event_full: events, which runs have got
 *		them, and who has too many.
 *
 * Events and runs have numbers of one sequence, and those of an event decide which
 * runs are too new for it.  It has two.  Its id it gets when it is sent.  But its
 * transaction may last for long after that, and a run that is queued meanwhile waits
 * for what comes later.  So it gets another one, came, as the last thing before
 * that transaction commits, and that one counts.  Where the transaction is prepared
 * the scheduler gives it, when it learns of the commit.
 *
 * Hence a run that had its id, though it was not committed, when the event's
 * transaction committed is older, and one that is queued after the commit is
 * newer.  (After COMMIT PREPARED, one that is queued after the scheduler has heard
 * of that.)  Numbers do not follow the clock, which may be set back.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "store/store.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

enum EventColumn
{
	EVENT_ID = 1, EVENT_OWNER, EVENT_NAME, EVENT_RUN_ID, EVENT_PAYLOAD, EVENT_SENT_AT,
	EVENT_EXPIRES_AT, EVENT_CAME, EVENT_OPEN_FOR, EVENT_TAKEN_BY
};

enum MatchColumn
{
	MATCH_RUN_ID = 1, MATCH_NAME, MATCH_EVENT_ID
};

enum FullColumn
{
	FULL_OWNER = 1
};

/* ------------------------------------------------------------------------
 * Events that this transaction sends
 * ------------------------------------------------------------------------
 */

/* Those that were rolled back to a savepoint are among them. */
static int64 *sent = NULL;		/* in TopTransactionContext */
static int	nsent = 0;
static int	most_sent = 0;

static SysScanDesc
scan_event(Relation rel, int64 event_id, bool own)
{
	ScanKeyData key;

	js_scan_int64(&key, EVENT_ID, BTEqualStrategyNumber, event_id);
	return own ? js_table_scan_self(rel, "event_pkey", &key, 1) :
		js_table_scan_key(rel, "event_pkey", &key, 1);
}

static void
write_number(Relation rel, HeapTuple old, int64 came)
{
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, EVENT_CAME, Int64GetDatum(came));
	js_table_update(rel, old, &row);
}

static void
number_sent(void)
{
	Relation	rel = js_table_open("event", RowExclusiveLock);

	CommandCounterIncrement();	/* the last command may have sent some */
	for (int i = 0; i < nsent; i++)
	{
		SysScanDesc scan = scan_event(rel, sent[i], true);
		HeapTuple	tuple = systable_getnext(scan);

		if (HeapTupleIsValid(tuple))
			write_number(rel, tuple, js_run_next_id());
		systable_endscan(scan);
		CHECK_FOR_INTERRUPTS();
	}
	table_close(rel, RowExclusiveLock);
}

static void
forget_sent(void)
{
	sent = NULL;
	nsent = most_sent = 0;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (nsent == 0)
		return;
	if (event == XACT_EVENT_PRE_COMMIT)
	{
		if (!OidIsValid(js_table_oid("event")))
			return;				/* the extension has been dropped */
		PushActiveSnapshot(GetTransactionSnapshot());
		number_sent();
		PopActiveSnapshot();
	}
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		forget_sent();
}

static void
note_sent(int64 event_id)
{
	static bool watches = false;

	if (!watches)
		RegisterXactCallback(at_transaction_end, NULL);
	watches = true;
	if (sent == NULL)
	{
		most_sent = 16;
		sent = MemoryContextAlloc(TopTransactionContext, most_sent * sizeof(int64));
	}
	else if (nsent == most_sent)
	{
		most_sent *= 2;
		sent = repalloc_huge(sent, most_sent * sizeof(int64));
	}
	sent[nsent++] = event_id;
}

/* Assigns the id, unless there is one; the payload is NULL if there is none. */
void
js_event_insert(JsEvent *event)
{
	Relation	rel = js_table_open("event", RowExclusiveLock);
	JsRow		row;

	if (event->event_id == 0)
		event->event_id = js_run_next_id();
	js_row_init(&row);
	js_row_set(&row, EVENT_ID, Int64GetDatum(event->event_id));
	js_row_set(&row, EVENT_OWNER, ObjectIdGetDatum(event->owner));
	js_row_set_text(&row, EVENT_NAME, event->name);
	if (event->run_id != 0)
		js_row_set(&row, EVENT_RUN_ID, Int64GetDatum(event->run_id));
	js_row_set_jsonb(&row, EVENT_PAYLOAD, event->payload);
	js_row_set_timestamp(&row, EVENT_SENT_AT, event->sent_at);
	js_row_set_timestamp(&row, EVENT_EXPIRES_AT, event->expires_at);
	js_row_set(&row, EVENT_CAME, Int64GetDatum(0));
	js_row_set(&row, EVENT_OPEN_FOR, Int64GetDatum(event->run_id));
	note_sent(event->event_id);
	js_table_insert(rel, &row);
	table_close(rel, RowExclusiveLock);
}

/* ------------------------------------------------------------------------
 * Events, read
 * ------------------------------------------------------------------------
 */

static void
event_from_tuple(Relation rel, HeapTuple tuple, bool whole, JsEvent *event)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	memset(event, 0, sizeof(JsEvent));
	event->event_id = DatumGetInt64(row.values[EVENT_ID - 1]);
	event->owner = DatumGetObjectId(row.values[EVENT_OWNER - 1]);
	event->name = js_row_head_text(&row, EVENT_NAME);
	if (!row.nulls[EVENT_RUN_ID - 1])
		event->run_id = DatumGetInt64(row.values[EVENT_RUN_ID - 1]);
	event->sent_at = js_row_timestamp(&row, EVENT_SENT_AT);
	event->expires_at = js_row_timestamp(&row, EVENT_EXPIRES_AT);
	event->came = DatumGetInt64(row.values[EVENT_CAME - 1]);
	event->is_taken = row.nulls[EVENT_OPEN_FOR - 1];
	if (whole)
		event->payload = js_row_jsonb(&row, EVENT_PAYLOAD);
}

bool
js_event_read(int64 event_id, JsEvent *event)
{
	Relation	rel = js_table_open("event", AccessShareLock);
	SysScanDesc scan = scan_event(rel, event_id, false);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);

	if (found)
		event_from_tuple(rel, tuple, true, event);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

typedef struct EventVisit
{
	JsEventVisitor visit;
	void	   *arg;
} EventVisit;

static void
visit_event_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	EventVisit *visit = arg;
	JsEvent		event;

	event_from_tuple(rel, tuple, false, &event);
	visit->visit(&event, visit->arg);
}

void
js_events_visit(int64 first, int64 last, JsEventVisitor visit, void *arg)
{
	EventVisit	each = {visit, arg};

	js_table_visit("event", "event_pkey", first, last, visit_event_tuple, &each);
}

/* As js_table_visit_some(). */
int64
js_events_visit_some(int64 from, bool down, int most, JsEventVisitor visit, void *arg)
{
	EventVisit	each = {visit, arg};

	return js_table_visit_some("event", "event_pkey", from, down, most, visit_event_tuple, &each);
}

static void
note_last(const JsEvent *event, void *arg)
{
	int64	   *last = arg;

	*last = Max(*last, Max(event->event_id, event->came));
}

/* The highest number that some event has. */
int64
js_event_last_id(void)
{
	EventVisit	each = {note_last, NULL};
	int64		last = 0;

	each.arg = &last;
	js_table_visit("event", NULL, 0, 0, visit_event_tuple, &each);
	return last;
}

/*
 * The first event of a name, in the order of came, that is there for a run (0: for
 * all) and newer than a number.
 */
bool
js_event_find(Oid owner, const char *name, int64 open_for, int64 newer_than, JsEvent *found)
{
	Relation	rel = js_table_open("event", AccessShareLock);
	Relation	index = index_open(js_table_oid("event_open"), AccessShareLock);
	ScanKeyData keys[4];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], EVENT_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(owner));
	/* ScanKeyInit() sets collation "C", and the column has that. */
	ScanKeyInit(&keys[1], EVENT_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	js_scan_int64(&keys[2], EVENT_OPEN_FOR, BTEqualStrategyNumber, open_for);
	js_scan_int64(&keys[3], EVENT_CAME, BTGreaterEqualStrategyNumber, newer_than + 1);
	scan = systable_beginscan_ordered(rel, index, NULL, 4, keys);
	tuple = systable_getnext_ordered(scan, ForwardScanDirection);
	if (HeapTupleIsValid(tuple))
		event_from_tuple(rel, tuple, false, found);
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

/* ------------------------------------------------------------------------
 * Events, by the scheduler
 * ------------------------------------------------------------------------
 */

/* Writes the columns that have been set.  False: the row is gone, or somebody holds it. */
static bool
change_event(int64 event_id, JsRow *row)
{
	Relation	rel = js_table_open("event", RowExclusiveLock);
	SysScanDesc scan = scan_event(rel, event_id, true);
	HeapTuple	tuple = systable_getnext(scan);
	bool		ok = HeapTupleIsValid(tuple) && !js_tuple_is_busy(tuple);

	if (ok)
		js_table_update(rel, tuple, row);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	return ok;
}

/* One whose transaction was prepared; if that was for long, it is kept for a while all the same. */
bool
js_event_number(JsEvent *event, TimestampTz expires_at)
{
	JsRow		row;

	event->came = js_run_next_id();
	event->expires_at = Max(event->expires_at, expires_at);
	js_row_init(&row);
	js_row_set(&row, EVENT_CAME, Int64GetDatum(event->came));
	js_row_set_timestamp(&row, EVENT_EXPIRES_AT, event->expires_at);
	return change_event(event->event_id, &row);
}

/* One that was sent to a run. */
bool
js_event_take(int64 event_id, int64 run_id)
{
	JsRow		row;

	js_row_init(&row);
	js_row_set_null(&row, EVENT_OPEN_FOR);
	js_row_set(&row, EVENT_TAKEN_BY, Int64GetDatum(run_id));
	return change_event(event_id, &row);
}

/* Whether a run that lives has got it. */
static bool
is_needed(int64 event_id)
{
	Relation	rel = js_table_open("event_match", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	js_scan_int64(&key, MATCH_EVENT_ID, BTEqualStrategyNumber, event_id);
	scan = js_table_scan_key(rel, "event_match_event", &key, 1);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * Deletes events that have expired and that nobody needs, oldest first, at most
 * limit looked at.  Starts at *from and moves it on; true when there may be more.
 */
bool
js_events_expire(TimestampTz *from, TimestampTz until, int limit)
{
	Relation	rel = js_table_open("event", RowExclusiveLock);
	Relation	index = index_open(js_table_oid("event_expires_at"), AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	TimestampTz last = *from;
	int			seen;
	int			deleted = 0;

	ScanKeyInit(&keys[0], EVENT_EXPIRES_AT, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE,
				TimestampTzGetDatum(*from));
	ScanKeyInit(&keys[1], EVENT_EXPIRES_AT, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE,
				TimestampTzGetDatum(until));
	scan = systable_beginscan_ordered(rel, index, NULL, 2, keys);
	for (seen = 0; seen < limit; seen++)
	{
		HeapTuple	tuple = systable_getnext_ordered(scan, ForwardScanDirection);
		JsEvent		event;

		if (!HeapTupleIsValid(tuple))
			break;
		event_from_tuple(rel, tuple, false, &event);
		last = event.expires_at;
		if (event.came == 0 || js_tuple_is_busy(tuple) || is_needed(event.event_id))
			continue;
		CatalogTupleDelete(rel, &tuple->t_self);
		deleted++;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	/* Many that are to stay and expired at one instant are passed over. */
	*from = last == *from && deleted == 0 ? last + 1 : last;
	return seen == limit;
}

/* ------------------------------------------------------------------------
 * Who has too many
 * ------------------------------------------------------------------------
 */

static SysScanDesc
scan_full(Relation rel, Oid owner)
{
	ScanKeyData key;

	ScanKeyInit(&key, FULL_OWNER, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(owner));
	return js_table_scan_key(rel, "event_full_pkey", &key, 1);
}

bool
js_event_is_full(Oid owner)
{
	Relation	rel = js_table_open("event_full", AccessShareLock);
	SysScanDesc scan = scan_full(rel, owner);
	bool		found = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* By the scheduler; a row that somebody holds stays until the next count. */
void
js_event_full_set(Oid owner, bool full)
{
	Relation	rel = js_table_open("event_full", RowExclusiveLock);
	SysScanDesc scan = scan_full(rel, owner);
	HeapTuple	tuple = systable_getnext(scan);
	JsRow		row;

	if (full && !HeapTupleIsValid(tuple))
	{
		js_row_init(&row);
		js_row_set(&row, FULL_OWNER, ObjectIdGetDatum(owner));
		js_table_insert(rel, &row);
	}
	else if (!full && HeapTupleIsValid(tuple) && !js_tuple_is_busy(tuple))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

static void
keep_owner(Relation rel, HeapTuple tuple, void *arg)
{
	List	  **owners = arg;
	MemoryContext outer = MemoryContextSwitchTo(GetMemoryChunkContext(*owners));
	JsRow		row;

	js_row_get(&row, tuple, rel);
	*owners = lappend_oid(*owners, DatumGetObjectId(row.values[FULL_OWNER - 1]));
	MemoryContextSwitchTo(outer);
}

List *
js_event_full_owners(void)
{
	List	   *owners = list_make1_oid(InvalidOid);

	js_table_visit_keys("event_full", NULL, NULL, 0, keep_owner, &owners);
	return list_delete_first(owners);
}

/* ------------------------------------------------------------------------
 * Which run has got which
 * ------------------------------------------------------------------------
 */

/* What a run waits for; somebody may have spoilt the row. */
char	  **
js_event_names(ArrayType *wait_for, int *count)
{
	Datum	   *elements;
	bool	   *nulls;
	char	  **names;
	int			nelements;

	*count = 0;
	if (wait_for == NULL || ARR_ELEMTYPE(wait_for) != TEXTOID)
		return NULL;
	deconstruct_array(wait_for, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &nelements);
	names = palloc(sizeof(char *) * Max(nelements, 1));
	for (int i = 0; i < nelements && *count < JS_MAX_EVENTS; i++)
		if (!nulls[i])
			names[(*count)++] = TextDatumGetCString(elements[i]);
	return names;
}

void
js_event_match_insert(int64 run_id, const char *name, int64 event_id)
{
	Relation	rel = js_table_open("event_match", RowExclusiveLock);
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, MATCH_RUN_ID, Int64GetDatum(run_id));
	js_row_set_text(&row, MATCH_NAME, name);
	js_row_set(&row, MATCH_EVENT_ID, Int64GetDatum(event_id));
	js_table_insert(rel, &row);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

static SysScanDesc
scan_match(Relation rel, int64 run_id, const char *name)
{
	ScanKeyData keys[2];

	js_scan_int64(&keys[0], MATCH_RUN_ID, BTEqualStrategyNumber, run_id);
	ScanKeyInit(&keys[1], MATCH_NAME, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
	return js_table_scan_key(rel, "event_match_pkey", keys, 2);
}

/* The event of a name that a run has got; 0: none so far. */
int64
js_event_match_find(int64 run_id, const char *name)
{
	Relation	rel = js_table_open("event_match", AccessShareLock);
	SysScanDesc scan = scan_match(rel, run_id, name);
	HeapTuple	tuple = systable_getnext(scan);
	int64		event_id = 0;
	JsRow		row;

	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, rel);
		event_id = DatumGetInt64(row.values[MATCH_EVENT_ID - 1]);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return event_id;
}

/* By the worker of a run, which has taken over what the event had with it. */
void
js_event_match_delete(int64 run_id, const char *name)
{
	Relation	rel = js_table_open("event_match", RowExclusiveLock);
	SysScanDesc scan = scan_match(rel, run_id, name);
	HeapTuple	tuple = systable_getnext(scan);

	if (HeapTupleIsValid(tuple))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/* Whether some event that a run waits for has not come. */
bool
js_event_is_awaited(const JsRun *head)
{
	int			count;
	char	  **names = js_event_names(head->wait_for, &count);

	for (int i = 0; i < count; i++)
		if (js_event_match_find(head->run_id, names[i]) == 0)
			return true;
	return false;
}

static void
note_run(Relation rel, HeapTuple tuple, void *arg)
{
	JsRow		row;

	js_row_get(&row, tuple, rel);
	*(int64 *) arg = DatumGetInt64(row.values[MATCH_RUN_ID - 1]);
}

/* The first run with rows from an id on; 0: there is none. */
int64
js_event_match_next(int64 from)
{
	int64		run_id = 0;

	(void) js_table_visit_some("event_match", "event_match_pkey", from, false, 1, note_run, &run_id);
	return run_id;
}

/*
 * Deletes a run's rows, which are taken off *left.  False: somebody holds one.
 */
bool
js_event_matches_delete(int64 run_id, int *left)
{
	Relation	rel = js_table_open("event_match", RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		all = true;

	js_scan_int64(&key, MATCH_RUN_ID, BTEqualStrategyNumber, run_id);
	scan = js_table_scan_key(rel, "event_match_pkey", &key, 1);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (js_tuple_is_busy(tuple))
			all = false;
		else
			CatalogTupleDelete(rel, &tuple->t_self);
		(*left)--;
	}
	systable_endscan(scan);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
	return all;
}
