/*-------------------------------------------------------------------------
 *
 * json.c
 *		Building JSON objects.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "compat.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* A member of the object that has been begun. */
void
js_json_push(JsonbParseState **state, const char *key, JsonbValue *value)
{
	JsonbValue	name = {.type = jbvString};

	name.val.string.val = unconstify(char *, key);
	name.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &name);
	(void) pushJsonbValue(state, WJB_VALUE, value);
}

/* NULL is left out. */
void
js_json_push_text(JsonbParseState **state, const char *key, const char *text)
{
	JsonbValue	value = {.type = jbvString};

	if (text == NULL)
		return;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	js_json_push(state, key, &value);
}

void
js_json_push_number(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = int64_to_numeric(number);
	js_json_push(state, key, &value);
}

/* NULL is left out. */
void
js_json_push_jsonb(JsonbParseState **state, const char *key, Jsonb *jsonb)
{
	JsonbValue	value;

	if (jsonb == NULL)
		return;
	JsonbToJsonbValue(jsonb, &value);
	js_json_push(state, key, &value);
}

/* {} */
Jsonb *
js_json_empty(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

/* Whether jsonb can be made of it, but for numbers out of range. */
bool
js_json_is_valid(struct varlena *json)
{
	return pg_parse_json(js_json_lexer(json), &nullSemAction) == JSON_SUCCESS;
}
