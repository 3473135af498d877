/*-------------------------------------------------------------------------
 *
 * http_header.h
 *		Headers of requests: which a user may give, with which values.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_HEADER_H
#define JS_HTTP_HEADER_H

#include "http/http_template.h"

extern void js_headers_check(Jsonb *headers, JsHttpPlace place, bool is_signed);
extern List *js_headers_render(JsRendering *rendering, Jsonb *headers, bool is_signed);

/* Lines are "Name: value". */
extern bool js_header_is(const char *line, const char *name);
extern bool js_header_begins(const char *line, const char *prefix);
extern List *js_header_add(List *lines, const char *name, const char *value);
extern List *js_header_default(List *lines, const char *name, const char *value);

#endif							/* JS_HTTP_HEADER_H */
