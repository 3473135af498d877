/*-------------------------------------------------------------------------
 *
 * change.c
 *		Changes of tables, as JSON.
 *
 * Of a row {"type", "schema", "table", "record", "old_record"}, of the rows of a
 * statement the same with "records" and "old_records", two arrays.  How a row
 * is written says row_json.c; nothing here calls code of a user's.
 *
 * The values of virtual generated columns are in no row: they are left out.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/change.h"
#include "base/json.h"
#include "http/http_request.h"
#include "run/row_json.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* ------------------------------------------------------------------------
 * Columns
 * ------------------------------------------------------------------------
 */

static bool
has_value(const FormData_pg_attribute *column)
{
#ifdef ATTRIBUTE_GENERATED_VIRTUAL
	if (column->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		return false;
#endif
	return !column->attisdropped;
}

static void
take_columns(TupleDesc table, const AttrNumber *numbers, int count, JsChangeColumns *columns)
{
	columns->desc = CreateTemplateTupleDesc(count);
	columns->numbers = palloc(Max(count, 1) * sizeof(AttrNumber));
	for (int i = 0; i < count; i++)
	{
		columns->numbers[i] = numbers[i];
		TupleDescCopyEntry(columns->desc, i + 1, table, numbers[i]);
	}
	columns->last = count > 0 ? numbers[count - 1] : 0;
	columns->names = js_row_json_names(columns->desc);
}

static AttrNumber
column_named(TupleDesc table, const char *name)
{
	for (int i = 0; i < table->natts; i++)
		if (has_value(TupleDescAttr(table, i)) && namestrcmp(&TupleDescAttr(table, i)->attname, name) == 0)
			return i + 1;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of columns does not exist, or has no values in its table", name),
			 errhint("Name columns of the trigger's table that are not virtual.")));
}

/* Those with these names, as the table has them; NIL: all. */
void
js_change_columns(TupleDesc table, const List *names, JsChangeColumns *columns)
{
	bool	   *wanted = palloc0(Max(table->natts, 1) * sizeof(bool));
	AttrNumber *numbers = palloc(Max(table->natts, 1) * sizeof(AttrNumber));
	int			count = 0;
	ListCell   *lc;

	foreach(lc, names)
		wanted[column_named(table, lfirst(lc)) - 1] = true;
	for (int i = 0; i < table->natts; i++)
		if (has_value(TupleDescAttr(table, i)) && (names == NIL || wanted[i]))
			numbers[count++] = i + 1;
	take_columns(table, numbers, count, columns);
}

/* Those that a template of a key may name, of record and old_record; perhaps some more. */
void
js_change_columns_of_key(TupleDesc table, const char *key, JsChangeColumns *columns)
{
	AttrNumber *numbers = palloc(Max(table->natts, 1) * sizeof(AttrNumber));
	int			count = 0;

	for (int i = 0; i < table->natts; i++)
		if (has_value(TupleDescAttr(table, i)) &&
			strstr(key, psprintf("record.%s", NameStr(TupleDescAttr(table, i)->attname))) != NULL)
			numbers[count++] = i + 1;
	take_columns(table, numbers, count, columns);
}

/* ------------------------------------------------------------------------
 * Rows
 * ------------------------------------------------------------------------
 */

/* Of all the columns of the table. */
static Jsonb *
row_json(const JsChangeColumns *columns, const Datum *all, const bool *all_nulls)
{
	int			count = columns->desc->natts;
	Datum	   *values = palloc(Max(count, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(count, 1) * sizeof(bool));

	for (int i = 0; i < count; i++)
	{
		values[i] = all[columns->numbers[i] - 1];
		nulls[i] = all_nulls[columns->numbers[i] - 1];
	}
	return js_table_row_json(columns->names, columns->desc, values, nulls, JS_HTTP_MAX_BODY,
							 JS_BAD_JSON_IS_TEXT);
}

Jsonb *
js_change_row(const JsChangeColumns *columns, TupleTableSlot *slot)
{
	slot_getsomeattrs(slot, columns->last);
	return row_json(columns, slot->tts_values, slot->tts_isnull);
}

static Jsonb *
tuple_json(const JsChangeColumns *columns, HeapTuple tuple, TupleDesc table)
{
	Datum	   *values = palloc(Max(table->natts, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(table->natts, 1) * sizeof(bool));

	heap_deform_tuple(tuple, table, values, nulls);
	return row_json(columns, values, nulls);
}

/* ------------------------------------------------------------------------
 * Changes
 * ------------------------------------------------------------------------
 */

#define MOST_MEMBERS 5

typedef struct Change
{
	JsJsonMember members[MOST_MEMBERS];
	int			count;
} Change;

/* NULL: null. */
static void
add(Change *change, const char *name, Jsonb *value)
{
	JsonbValue	null = {.type = jbvNull};

	change->members[change->count].name = name;
	change->members[change->count].value = value != NULL ? value : JsonbValueToJsonb(&null);
	change->count++;
}

static void
add_text(Change *change, const char *name, const char *text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	add(change, name, JsonbValueToJsonb(&value));
}

static void
add_head(Change *change, const TriggerData *data)
{
	Relation	rel = data->tg_relation;
	const char *schema = get_namespace_name(RelationGetNamespace(rel));

	change->count = 0;
	add_text(change, "type", TRIGGER_FIRED_BY_INSERT(data->tg_event) ? "INSERT" :
			 TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? "UPDATE" :
			 TRIGGER_FIRED_BY_DELETE(data->tg_event) ? "DELETE" : "TRUNCATE");
	add_text(change, "schema", schema != NULL ? schema : "");
	add_text(change, "table", RelationGetRelationName(rel));
}

/* That which a row trigger is called for. */
Jsonb *
js_change_of_row(const TriggerData *data, const JsChangeColumns *columns)
{
	TupleDesc	table = RelationGetDescr(data->tg_relation);
	bool		insert = TRIGGER_FIRED_BY_INSERT(data->tg_event);
	HeapTuple	record = insert ? data->tg_trigtuple :
		TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : NULL;
	HeapTuple	old_record = insert ? NULL : data->tg_trigtuple;
	Change		change;

	add_head(&change, data);
	add(&change, "record", record == NULL ? NULL : tuple_json(columns, record, table));
	add(&change, "old_record", old_record == NULL ? NULL : tuple_json(columns, old_record, table));
	return js_json_join(change.members, change.count);
}

/* Some of those of a statement; NULL: its trigger has no such table. */
Jsonb *
js_change_of_rows(const TriggerData *data, Jsonb **records, Jsonb **old_records, int count)
{
	Change		change;

	add_head(&change, data);
	add(&change, "records", records == NULL ? NULL : js_json_join_array(records, count));
	add(&change, "old_records", old_records == NULL ? NULL : js_json_join_array(old_records, count));
	return js_json_join(change.members, change.count);
}

/* Without rows, of which there are so many; 0: that is not said. */
Jsonb *
js_change_head(const TriggerData *data, int rows)
{
	JsonbValue	number = {.type = jbvNumeric};
	Change		change;

	add_head(&change, data);
	if (rows > 0)
	{
		number.val.numeric = int64_to_numeric(rows);
		add(&change, "rows", JsonbValueToJsonb(&number));
	}
	return js_json_join(change.members, change.count);
}
