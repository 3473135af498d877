/*-------------------------------------------------------------------------
 *
 * http_definition.h
 *		The definition of a request.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_DEFINITION_H
#define JS_HTTP_DEFINITION_H

#include "http/http_request.h"

extern JsonbValue *js_definition_field(Jsonb *definition, const char *name);
extern Jsonb *js_definition_jsonb(Jsonb *definition, const char *name);
extern int	js_definition_number(Jsonb *definition, const char *name, int least, int most,
								 int absent);
extern char *js_definition_method(Jsonb *definition);
extern void js_method_check(const char *method);
extern void js_method_check_body(const char *method);
extern bool js_method_has_body(const char *method);

#endif							/* JS_HTTP_DEFINITION_H */
