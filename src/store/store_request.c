/*-------------------------------------------------------------------------
 *
 * store_request.c
 *		Rows of run_stop: requests to end runs.
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

enum RequestColumn
{
	REQUEST_ID = 1, REQUEST_KIND, REQUEST_RUN_ID, REQUEST_ATTEMPT, REQUEST_FORCE
};

static const char *const kind_names[] = {
	[JS_REQUEST_CANCEL] = "cancel",[JS_REQUEST_REPLACE] = "replace",
	[JS_REQUEST_DEBOUNCE] = "debounce",[JS_REQUEST_RESET] = "reset",
	[JS_REQUEST_OVERLAP] = "overlap"
};

static JsRequestKind
kind_of(const char *name)
{
	for (int i = 0; i < lengthof(kind_names); i++)
		if (strcmp(name, kind_names[i]) == 0)
			return (JsRequestKind) i;
	return JS_REQUEST_UNKNOWN;
}

/* Assigns the id. */
int64
js_request_insert(JsRequest *request)
{
	Relation	rel = js_table_open("request", RowExclusiveLock);
	JsRow		row;

	js_row_init(&row);
	request->request_id = nextval_internal(js_table_oid("request_id_seq"), false);
	js_row_set(&row, REQUEST_ID, Int64GetDatum(request->request_id));
	js_row_set_text(&row, REQUEST_KIND, kind_names[request->kind]);
	js_row_set(&row, REQUEST_RUN_ID, Int64GetDatum(request->run_id));
	js_row_set(&row, REQUEST_ATTEMPT, Int32GetDatum(request->attempt));
	js_row_set(&row, REQUEST_FORCE, BoolGetDatum(request->force));
	js_table_insert(rel, &row);
	table_close(rel, RowExclusiveLock);
	return request->request_id;
}

typedef struct RequestVisit
{
	JsRequestVisitor visit;
	void	   *arg;
} RequestVisit;

static void
visit_request_tuple(Relation rel, HeapTuple tuple, void *arg)
{
	RequestVisit *visit = arg;
	JsRequest	request;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	request.request_id = DatumGetInt64(row.values[REQUEST_ID - 1]);
	request.kind = kind_of(js_row_text(&row, REQUEST_KIND));
	request.run_id = DatumGetInt64(row.values[REQUEST_RUN_ID - 1]);
	request.attempt = DatumGetInt32(row.values[REQUEST_ATTEMPT - 1]);
	request.force = DatumGetBool(row.values[REQUEST_FORCE - 1]);
	visit->visit(&request, visit->arg);
}

void
js_requests_visit(int64 first, int64 last, JsRequestVisitor visit, void *arg)
{
	RequestVisit each = {visit, arg};

	js_table_visit("request", "request_pkey", first, last, visit_request_tuple, &each);
}

/* As js_table_visit_some(). */
int64
js_requests_visit_some(int64 from, bool down, int most, JsRequestVisitor visit, void *arg)
{
	RequestVisit each = {visit, arg};

	return js_table_visit_some("request", "request_pkey", from, down, most, visit_request_tuple, &each);
}

void
js_requests_visit_all(JsRequestVisitor visit, void *arg)
{
	RequestVisit each = {visit, arg};

	js_table_visit("request", NULL, 0, 0, visit_request_tuple, &each);
}

void
js_request_delete(int64 request_id)
{
	js_table_delete("request", "request_pkey", request_id);
}
