/*-------------------------------------------------------------------------
 *
 * json.h
 *		Building JSON objects.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_JSON_H
#define JS_JSON_H

#include "utils/jsonb.h"

extern void js_json_push(JsonbParseState **state, const char *key, JsonbValue *value);
extern void js_json_push_text(JsonbParseState **state, const char *key, const char *text);
extern void js_json_push_number(JsonbParseState **state, const char *key, int64 number);
extern void js_json_push_jsonb(JsonbParseState **state, const char *key, Jsonb *jsonb);
extern Jsonb *js_json_empty(void);
extern bool js_json_is_valid(struct varlena *json);

/* json_join.c */
typedef struct JsJsonMember
{
	const char *name;
	Jsonb	   *value;
} JsJsonMember;

extern Size js_json_member_size(const char *name, Size value);
extern Size js_json_element_size(Size value);
extern Jsonb *js_json_join(JsJsonMember *members, int count);

/* Names of members as an object has them, for many objects. */
typedef struct JsJsonNames JsJsonNames;

extern JsJsonNames *js_json_names(const char **names, int count);
extern Jsonb *js_json_object(const JsJsonNames *names, JsonbValue *values);
extern Jsonb *js_json_join_array(Jsonb **elements, int count);

#endif							/* JS_JSON_H */
