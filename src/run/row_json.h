/*-------------------------------------------------------------------------
 *
 * row_json.h
 *		A row as JSON.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_ROW_JSON_H
#define JS_ROW_JSON_H

#include "access/tupdesc.h"
#include "base/json.h"

/* What becomes of a json value that jsonb cannot hold. */
typedef enum JsBadJson
{
	JS_BAD_JSON_IS_AN_ERROR,
	JS_BAD_JSON_IS_TEXT
} JsBadJson;

extern size_t js_row_json_most(size_t bound);
extern size_t js_value_size(Datum value, bool byval, int16 length);
extern Jsonb *js_row_json(TupleDesc names, TupleDesc types, const Datum *values,
						  const bool *nulls, size_t bound, JsBadJson bad_json);
extern JsJsonNames *js_row_json_names(TupleDesc desc);
extern Jsonb *js_table_row_json(const JsJsonNames *names, TupleDesc desc, const Datum *values,
								const bool *nulls, size_t bound, JsBadJson bad_json);

#endif							/* JS_ROW_JSON_H */
