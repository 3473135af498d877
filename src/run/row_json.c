/*-------------------------------------------------------------------------
 *
 * row_json.c
 *		A row as JSON.
 *
 * The result is that of row_to_json(), with two differences.  No user-defined
 * casts to json are used: their code would run with the rights of the job's
 * owner, or of the role that changes a table.  We only call output functions of
 * base types, which only a superuser can make.  And the size is limited: a
 * value that would become too large is detected before it is converted.
 *
 *	booleans, numbers			themselves; NaN and infinities as strings
 *	json, jsonb					unchanged
 *	dates and timestamps		strings, in ISO 8601 whatever DateStyle says
 *	arrays, composites			arrays, objects
 *	domains						like their base types
 *	everything else				strings, as the types' output functions write
 *
 * Some values raise an error that cannot be predicted; the caller uses guard.c.
 *
 * Types may have been altered since a value was made.  A composite value never
 * points outside itself, so a value that claims to do so is not followed.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "base/guard.h"
#include "base/sqlstate.h"
#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "miscadmin.h"
#include "run/row_json.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

/*
 * How many bytes a value has at most for each byte of its JSON.  Most have
 * fewer: "1, " in an array is an element of 8 bytes.
 */
#define BYTES_PER_BYTE 8

/* What an element of an array costs besides its value. */
#define ELEMENT_BYTES (2 * BYTES_PER_BYTE)

typedef struct RowJson
{
	JsonbParseState *state;
	size_t		bound;			/* bytes of JSON */
	size_t		left;			/* bytes that values may still have */
	JsBadJson	bad_json;
	JsonbValue	alone;			/* a value that is in nothing else */
} RowJson;

static void put_value(RowJson *json, JsonbIteratorToken token, Oid type, Datum value, bool isnull);

/* More bytes of values than this make more of JSON than the bound. */
size_t
js_row_json_most(size_t bound)
{
	return Min(bound, JENTRY_OFFLENMASK / BYTES_PER_BYTE) * BYTES_PER_BYTE;
}

/* Also of one that is stored elsewhere, or compressed, before it is fetched. */
size_t
js_value_size(Datum value, bool byval, int16 length)
{
	if (byval)
		return sizeof(Datum);
	if (length == -1)
		return toast_raw_datum_size(value);
	return length == -2 ? strlen(DatumGetCString(value)) : length;
}

static void
check_room(const RowJson *json, size_t size)
{
	if (size > json->left)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("the row has more than %zu bytes as JSON", json->bound)));
}

static void
take_room(RowJson *json, size_t size)
{
	check_room(json, size);
	json->left -= size;
}

/* Into what has been begun; or it is alone. */
static void
put(RowJson *json, JsonbIteratorToken token, JsonbValue *value)
{
	if (json->state == NULL)
		json->alone = *value;
	else
		(void) pushJsonbValue(&json->state, token, value);
}

static void
put_begin(RowJson *json, JsonbIteratorToken token)
{
	(void) pushJsonbValue(&json->state, token, NULL);
}

static void
put_end(RowJson *json, JsonbIteratorToken token)
{
	JsonbValue *whole = pushJsonbValue(&json->state, token, NULL);

	if (json->state == NULL)
		json->alone = *whole;
}

/* ------------------------------------------------------------------------
 * Scalars
 * ------------------------------------------------------------------------
 */

static void
put_string(RowJson *json, JsonbIteratorToken token, char *text, int length)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = text;
	v.val.string.len = length;
	put(json, token, &v);
}

static void
put_numeric(RowJson *json, JsonbIteratorToken token, Numeric number)
{
	JsonbValue	v = {.type = jbvNumeric};

	v.val.numeric = number;
	put(json, token, &v);
}

static void
put_bool(RowJson *json, JsonbIteratorToken token, bool value)
{
	JsonbValue	v = {.type = jbvBool};

	v.val.boolean = value;
	put(json, token, &v);
}

static void
put_null(RowJson *json, JsonbIteratorToken token)
{
	JsonbValue	v = {.type = jbvNull};

	put(json, token, &v);
}

static void
put_text(RowJson *json, JsonbIteratorToken token, Datum value)
{
	text	   *string = DatumGetTextPP(value);

	put_string(json, token, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
}

/* As its type writes it. */
static char *
output(Oid type, Datum value)
{
	Oid			function;
	bool		is_varlena;

	getTypeOutputInfo(type, &function, &is_varlena);
	return OidOutputFunctionCall(function, value);
}

/* NaN and infinities are no numbers of JSON. */
static void
put_float(RowJson *json, JsonbIteratorToken token, Oid type, Datum value)
{
	char	   *text = output(type, value);

	if (!IsValidJsonNumber(text, strlen(text)))
	{
		put_string(json, token, text, strlen(text));
		return;
	}
	put_numeric(json, token,
				DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
													ObjectIdGetDatum(InvalidOid),
													Int32GetDatum(-1))));
	pfree(text);
}

/* Likewise.  A few bytes may be a hundred thousand digits, so none are written. */
static void
put_number(RowJson *json, JsonbIteratorToken token, Datum value)
{
	Numeric		number = DatumGetNumeric(value);
	char	   *text;

	if (numeric_is_nan(number) || numeric_is_inf(number))
	{
		text = output(NUMERICOID, value);
		put_string(json, token, text, strlen(text));
	}
	else
		put_numeric(json, token, number);
}

static void
put_time(RowJson *json, JsonbIteratorToken token, Oid type, Datum value)
{
	char		text[MAXDATELEN + 1];

	(void) JsonEncodeDateTime(text, value, type, NULL);
	put_string(json, token, pstrdup(text), strlen(text));
}

static void
put_output(RowJson *json, JsonbIteratorToken token, Oid type, Datum value)
{
	char	   *text = output(type, value);

	take_room(json, strlen(text));
	put_string(json, token, text, strlen(text));
}

/* ------------------------------------------------------------------------
 * JSON in JSON
 * ------------------------------------------------------------------------
 */

static void
put_jsonb(RowJson *json, JsonbIteratorToken token, Jsonb *jsonb)
{
	JsonbValue	v;

	JsonbToJsonbValue(jsonb, &v);
	put(json, token, &v);
}

typedef struct Parsing
{
	char	   *text;
	Jsonb	   *result;
} Parsing;

static void
parse(void *arg)
{
	Parsing    *parsing = arg;

	parsing->result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(parsing->text)));
}

/*
 * json is text that has been looked at: half a surrogate pair, \u0000 and numbers
 * beyond any range are in order there, and not in jsonb.
 */
static void
put_json(RowJson *json, JsonbIteratorToken token, Datum value)
{
	Parsing		parsing = {TextDatumGetCString(value), NULL};

	if (json->bad_json == JS_BAD_JSON_IS_AN_ERROR)
		parse(&parsing);
	else if (js_guard(parse, &parsing) != NULL)
	{
		put_string(json, token, parsing.text, strlen(parsing.text));
		return;
	}
	put_jsonb(json, token, parsing.result);
}

/* ------------------------------------------------------------------------
 * Arrays and composites
 * ------------------------------------------------------------------------
 */

static void
put_dimension(RowJson *json, const int *dims, int ndim, Oid type, Datum **values, bool **nulls)
{
	put_begin(json, WJB_BEGIN_ARRAY);
	for (int i = 0; ndim > 0 && i < *dims; i++)
		if (ndim > 1)
			put_dimension(json, dims + 1, ndim - 1, type, values, nulls);
		else
			put_value(json, WJB_ELEM, type, *(*values)++, *(*nulls)++);
	put_end(json, WJB_END_ARRAY);
}

static void
put_array(RowJson *json, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Oid			type = ARR_ELEMTYPE(array);
	int16		length;
	bool		byval;
	char		align;
	Datum	   *values;
	bool	   *nulls;
	int			count;

	take_room(json, (size_t) ELEMENT_BYTES * ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)));
	get_typlenbyvalalign(type, &length, &byval, &align);
	deconstruct_array(array, type, length, byval, align, &values, &nulls, &count);
	put_dimension(json, ARR_DIMS(array), ARR_NDIM(array), type, &values, &nulls);
}

static void
put_row(RowJson *json, TupleDesc names, TupleDesc types, const Datum *values, const bool *nulls)
{
	put_begin(json, WJB_BEGIN_OBJECT);
	for (int i = 0; i < types->natts; i++)
	{
		char	   *name = NameStr(TupleDescAttr(names, i)->attname);

		if (TupleDescAttr(types, i)->attisdropped)
			continue;
		put_string(json, WJB_KEY, name, strlen(name));
		put_value(json, WJB_VALUE, TupleDescAttr(types, i)->atttypid, values[i], nulls[i]);
	}
	put_end(json, WJB_END_OBJECT);
}

static void
check_points_nowhere(TupleDesc desc, const Datum *values, const bool *nulls)
{
	for (int i = 0; i < desc->natts; i++)
		if (!nulls[i] && TupleDescAttr(desc, i)->attlen == -1 &&
			VARATT_IS_EXTERNAL(DatumGetPointer(values[i])))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("a composite value is not of its type")));
}

static void
put_composite(RowJson *json, Datum value)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											  HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),.t_data = header};
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));

	heap_deform_tuple(&tuple, desc, values, nulls);
	check_points_nowhere(desc, values, nulls);
	put_row(json, desc, desc, values, nulls);
	ReleaseTupleDesc(desc);
}

/* ------------------------------------------------------------------------
 * Any value
 * ------------------------------------------------------------------------
 */

static bool
is_array(Oid type)
{
	return OidIsValid(get_element_type(type)) || type == ANYARRAYOID ||
		type == ANYCOMPATIBLEARRAYOID || type == RECORDARRAYOID;
}

static void
check_value_room(RowJson *json, Oid type, Datum value, bool whole)
{
	int16		length;
	bool		byval;

	get_typlenbyval(type, &length, &byval);
	check_room(json, js_value_size(value, byval, length));
	if (whole)
		take_room(json, js_value_size(value, byval, length));
}

/* Of a type that is neither a domain nor one of those below. */
static void
put_other(RowJson *json, JsonbIteratorToken token, Oid type, Datum value)
{
	bool		array = is_array(type);
	bool		composite = !array && type_is_rowtype(type);

	/* What they consist of is counted by itself. */
	check_value_room(json, type, value, !array && !composite);
	if (array)
		put_array(json, value);
	else if (composite)
		put_composite(json, value);
	else
		put_output(json, token, type, value);
}

static void
put_value(RowJson *json, JsonbIteratorToken token, Oid type, Datum value, bool isnull)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (isnull)
	{
		put_null(json, token);
		return;
	}
	switch (type)
	{
		case BOOLOID:
			put_bool(json, token, DatumGetBool(value));
			break;
		case INT2OID:
			put_numeric(json, token, int64_to_numeric(DatumGetInt16(value)));
			break;
		case INT4OID:
			put_numeric(json, token, int64_to_numeric(DatumGetInt32(value)));
			break;
		case INT8OID:
			put_numeric(json, token, int64_to_numeric(DatumGetInt64(value)));
			break;
		case FLOAT4OID:
		case FLOAT8OID:
			put_float(json, token, type, value);
			break;
		case NUMERICOID:
			take_room(json, toast_raw_datum_size(value));
			put_number(json, token, value);
			break;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			put_time(json, token, type, value);
			break;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			take_room(json, toast_raw_datum_size(value));
			put_text(json, token, value);
			break;
		case JSONBOID:
			take_room(json, toast_raw_datum_size(value));
			put_jsonb(json, token, DatumGetJsonbP(value));
			break;
		case JSONOID:
			take_room(json, toast_raw_datum_size(value));
			put_json(json, token, value);
			break;
		default:
			if (getBaseType(type) != type)
				put_value(json, token, getBaseType(type), value, false);
			else
				put_other(json, token, type, value);
	}
}

/*
 * An object of a row's columns; they may have their names from elsewhere than
 * their types.  Raises if there is no JSON of it, and with "program limit
 * exceeded" if there would be far more bytes than the bound; that there are not
 * more is for the caller to see, who knows how they are counted.
 */
Jsonb *
js_row_json(TupleDesc names, TupleDesc types, const Datum *values, const bool *nulls,
			size_t bound, JsBadJson bad_json)
{
	RowJson		json = {NULL, bound, js_row_json_most(bound), bad_json};

	put_row(&json, names, types, values, nulls);
	return JsonbValueToJsonb(&json.alone);
}

/* What the columns of a table are called in JSON, with the memory that is current. */
JsJsonNames *
js_row_json_names(TupleDesc desc)
{
	const char **names = palloc(Max(desc->natts, 1) * sizeof(char *));

	for (int i = 0; i < desc->natts; i++)
		names[i] = NameStr(TupleDescAttr(desc, i)->attname);
	return js_json_names(names, desc->natts);
}

/*
 * The same for many rows of one table, whose columns have different names and of
 * which none has been dropped.  Most values are alone, and go from the row to where
 * they are to be: in a tree of JSON each would be copied, and compared, some times.
 */
Jsonb *
js_table_row_json(const JsJsonNames *names, TupleDesc desc, const Datum *values, const bool *nulls,
				  size_t bound, JsBadJson bad_json)
{
	RowJson		json = {NULL, bound, js_row_json_most(bound), bad_json};
	JsonbValue *members = palloc(Max(desc->natts, 1) * sizeof(JsonbValue));

	for (int i = 0; i < desc->natts; i++)
	{
		put_value(&json, WJB_VALUE, TupleDescAttr(desc, i)->atttypid, values[i], nulls[i]);
		members[i] = json.alone;
	}
	return js_json_object(names, members);
}
