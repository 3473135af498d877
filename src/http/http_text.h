/*-------------------------------------------------------------------------
 *
 * http_text.h
 *		Characters of requests: UTF-8, percent-encoding, base64.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_TEXT_H
#define JS_HTTP_TEXT_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

extern char *js_http_utf8(char *text, const char *what);
extern char *js_percent_encode(const char *text, const char *kept);
extern char *js_base64(const void *bytes, int size);
extern bool js_contains_any(const List *needles, const char *text, size_t size);
extern bool js_says_any(const List *texts, const char *text);
extern JsonbValue *js_args_find(Jsonb *args, const char *path);
extern char *js_json_text(const JsonbValue *value);
extern bool js_json_is_longer(JsonbContainer *container, size_t limit);
extern char *js_iso8601(TimestampTz time);

#endif							/* JS_HTTP_TEXT_H */
