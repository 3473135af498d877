/*-------------------------------------------------------------------------
 *
 * change.h
 *		Changes of tables, as JSON.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CHANGE_H
#define JS_CHANGE_H

#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "utils/jsonb.h"

/* What is taken of the rows of a table. */
typedef struct JsChangeColumns
{
	TupleDesc	desc;
	AttrNumber *numbers;		/* where the table has them, in its order */
	AttrNumber	last;
	struct JsJsonNames *names;
} JsChangeColumns;

extern void js_change_columns(TupleDesc table, const List *names, JsChangeColumns *columns);
extern void js_change_columns_of_key(TupleDesc table, const char *key, JsChangeColumns *columns);
extern Jsonb *js_change_row(const JsChangeColumns *columns, TupleTableSlot *slot);
extern Jsonb *js_change_of_row(const TriggerData *data, const JsChangeColumns *columns);
extern Jsonb *js_change_of_rows(const TriggerData *data, Jsonb **records, Jsonb **old_records, int count);
extern Jsonb *js_change_head(const TriggerData *data, int rows);

#endif							/* JS_CHANGE_H */
