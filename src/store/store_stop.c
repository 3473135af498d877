/*-------------------------------------------------------------------------
 *
 * store_stop.c
 *		Rows of run_stop: stops to end runs.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/indexing.h"
#include "commands/sequence.h"
#include "store/store.h"
#include "store/table.h"

enum StopColumn
{
	STOP_ID = 1, STOP_KIND, STOP_RUN_ID, STOP_ATTEMPT, STOP_FORCE
};

static const char *const kind_names[] = {
	[JS_STOP_CANCEL] = "cancel",[JS_STOP_REPLACE] = "replace",
	[JS_STOP_DEBOUNCE] = "debounce",[JS_STOP_RESET] = "reset",
	[JS_STOP_OVERLAP] = "overlap",[JS_STOP_SKIP] = "skip",
	[JS_STOP_DEADLINE] = "deadline"
};

static JsStopKind
stop_kind_of(const char *name)
{
	for (int i = 0; i < lengthof(kind_names); i++)
		if (strcmp(name, kind_names[i]) == 0)
			return (JsStopKind) i;
	return JS_STOP_UNKNOWN;
}

/* Assigns the id. */
int64
js_stop_insert(JsStop *stop)
{
	Relation	rel = js_table_open("run_stop", RowExclusiveLock);
	JsRow		row;

	js_row_init(&row);
	stop->stop_id = nextval_internal(js_table_oid("stop_id_seq"), false);
	js_row_set(&row, STOP_ID, Int64GetDatum(stop->stop_id));
	js_row_set_text(&row, STOP_KIND, kind_names[stop->kind]);
	js_row_set(&row, STOP_RUN_ID, Int64GetDatum(stop->run_id));
	js_row_set(&row, STOP_ATTEMPT, Int32GetDatum(stop->attempt));
	js_row_set(&row, STOP_FORCE, BoolGetDatum(stop->force));
	js_table_insert(rel, &row);
	table_close(rel, RowExclusiveLock);
	return stop->stop_id;
}

typedef struct StopVisit
{
	JsStopVisitor visit;
	void	   *arg;
} StopVisit;

static void
visit_stop_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	StopVisit  *visit = arg;
	JsStop		stop;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	stop.stop_id = DatumGetInt64(row.values[STOP_ID - 1]);
	stop.kind = stop_kind_of(js_row_text(&row, STOP_KIND));
	stop.run_id = DatumGetInt64(row.values[STOP_RUN_ID - 1]);
	stop.attempt = DatumGetInt32(row.values[STOP_ATTEMPT - 1]);
	stop.force = DatumGetBool(row.values[STOP_FORCE - 1]);
	visit->visit(&stop, visit->arg);
}

void
js_stops_visit(int64 first, int64 last, JsStopVisitor visit, void *arg)
{
	StopVisit	each = {visit, arg};

	js_table_visit("run_stop", "run_stop_pkey", first, last, visit_stop_tuple, &each);
}

/* As js_table_visit_some(). */
int64
js_stops_visit_some(int64 from, bool down, int most, JsStopVisitor visit, void *arg)
{
	StopVisit	each = {visit, arg};

	return js_table_visit_some("run_stop", "run_stop_pkey", from, down, most, visit_stop_tuple, &each);
}

void
js_stops_visit_all(JsStopVisitor visit, void *arg)
{
	StopVisit	each = {visit, arg};

	js_table_visit("run_stop", NULL, 0, 0, visit_stop_tuple, &each);
}

void
js_stop_delete(int64 stop_id)
{
	js_table_delete("run_stop", "run_stop_pkey", stop_id);
}
