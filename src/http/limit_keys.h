/*-------------------------------------------------------------------------
 *
 * limit_keys.h
 *		The keys of a run that limits apply to, and their templates.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_LIMIT_KEYS_H
#define JS_LIMIT_KEYS_H

#include "utils/array.h"
#include "utils/jsonb.h"

#define JS_MAX_GIVEN_LIMIT_KEYS 8	/* as a user gives them */
#define JS_MAX_LIMIT_KEYS (JS_MAX_GIVEN_LIMIT_KEYS + 1) /* of a run: one is the
														 * host's */
#define JS_MAX_LIMIT_KEY_LENGTH 200

/* Keys of this class name the host of an HTTP request. */
#define JS_HOST_CLASS "http_host"
#define JS_HOST_KEY JS_HOST_CLASS ":"	/* what they begin with */

extern ArrayType *js_limit_keys_argument(ArrayType *templates);
extern ArrayType *js_limit_keys_resolve(ArrayType *templates, Jsonb *args, char **problem);
extern char *js_key_expand(const char *template, Jsonb *object, char **problem);
extern ArrayType *js_limit_keys_require(ArrayType *templates, Jsonb *args);
extern ArrayType *js_limit_keys_with(ArrayType *templates, const char *one);
extern int	js_limit_keys_read(ArrayType *keys, char **names);

#endif							/* JS_LIMIT_KEYS_H */
