/*-------------------------------------------------------------------------
 *
 * step_value.c
 *		Values in the definition of a step, as arguments.
 *
 * A value becomes what the parameter of this name would be given in SQL; then
 * the code that checks arguments checks it (job_arguments.c, http.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/step_value.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/* Bytes of a value in a message, at most. */
#define MOST_SHOWN 100

/* ------------------------------------------------------------------------
 * What a value should have been
 * ------------------------------------------------------------------------
 */

static const char *
type_of(JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return "a string";
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return "a boolean";
		case jbvBinary:
			return JsonContainerIsArray(value->val.binary.data) ? "an array" : "an object";
		default:
			return "something else";
	}
}

static const char *
wanted(JsParameterKind kind)
{
	switch (kind)
	{
		case JS_PARAMETER_BOOLEAN:
			return "true or false";
		case JS_PARAMETER_NUMBER:
			return "a whole number";
		case JS_PARAMETER_SHARE:
			return "a number";
		case JS_PARAMETER_SPAN:
			return "a string such as \"5 minutes\"";
		case JS_PARAMETER_DELAYS:
			return "an array of strings such as \"5 minutes\"";
		case JS_PARAMETER_KEYS:
		case JS_PARAMETER_CONDITIONS:
			return "an array of strings";
		default:
			return "a string";
	}
}

/* The beginning of a value, as people read it. */
static char *
shown(JsonbValue *value)
{
	char	   *text;

	if (value->type == jbvString)
		text = pnstrdup(value->val.string.val, value->val.string.len);
	else
	{
		Jsonb	   *json = JsonbValueToJsonb(value);

		text = JsonbToCString(NULL, &json->root, VARSIZE(json));
	}
	text[pg_mbcliplen(text, strlen(text), MOST_SHOWN)] = '\0';
	return text;
}

pg_noreturn static void
refuse(const char *key, JsonbValue *value, JsParameterKind kind)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid %s \"%s\"", key, shown(value)),
			 errhint("It must be %s, not %s.", wanted(kind), type_of(value))));
}

/* ------------------------------------------------------------------------
 * Values
 * ------------------------------------------------------------------------
 */

static Datum
whole_number(const char *key, JsonbValue *value)
{
	Datum		number = NumericGetDatum(value->val.numeric);
	Datum		whole = DirectFunctionCall2(numeric_trunc, number, Int32GetDatum(0));

	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, number, whole)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s \"%s\"", key, shown(value)),
				 errhint("It must be %s.", wanted(JS_PARAMETER_NUMBER))));
	return DirectFunctionCall1(numeric_int4, number);
}

static Datum
text_of(JsonbValue *value)
{
	return PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
}

static Datum
span_of(JsonbValue *value)
{
	char	   *text = pnstrdup(value->val.string.val, value->val.string.len);

	return DirectFunctionCall3(interval_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

/* An array of text, or of interval. */
static Datum
list_of(const char *key, JsonbValue *value, JsParameterKind kind)
{
	JsonbContainer *array = value->val.binary.data;
	int			count = JsonContainerSize(array);
	Datum	   *elements = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, i);

		if (element->type != jbvString)
			refuse(key, element, kind);
		elements[i] = kind == JS_PARAMETER_DELAYS ? span_of(element) : text_of(element);
	}
	return PointerGetDatum(kind == JS_PARAMETER_DELAYS ?
						   construct_array(elements, count, INTERVALOID, sizeof(Interval), false, TYPALIGN_DOUBLE) :
						   construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

static bool
fits(JsonbValue *value, JsParameterKind kind)
{
	switch (kind)
	{
		case JS_PARAMETER_JSON:
			return true;
		case JS_PARAMETER_BOOLEAN:
			return value->type == jbvBool;
		case JS_PARAMETER_NUMBER:
		case JS_PARAMETER_SHARE:
			return value->type == jbvNumeric;
		case JS_PARAMETER_KEYS:
		case JS_PARAMETER_CONDITIONS:
		case JS_PARAMETER_DELAYS:
			return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
		default:
			return value->type == jbvString;
	}
}

/* The argument; refuses a value of another JSON type. */
Datum
js_step_value(const char *key, JsonbValue *value, JsParameterKind kind)
{
	if (!fits(value, kind))
		refuse(key, value, kind);
	switch (kind)
	{
		case JS_PARAMETER_JSON:
			return JsonbPGetDatum(JsonbValueToJsonb(value));
		case JS_PARAMETER_BOOLEAN:
			return BoolGetDatum(value->val.boolean);
		case JS_PARAMETER_NUMBER:
			return whole_number(key, value);
		case JS_PARAMETER_SHARE:
			return DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric));
		case JS_PARAMETER_SPAN:
			return span_of(value);
		case JS_PARAMETER_KEYS:
		case JS_PARAMETER_CONDITIONS:
		case JS_PARAMETER_DELAYS:
			return list_of(key, value, kind);
		default:
			return text_of(value);
	}
}
