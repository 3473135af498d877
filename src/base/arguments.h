/*-------------------------------------------------------------------------
 *
 * arguments.h
 *		Arguments of our SQL functions.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_ARGUMENTS_H
#define JS_ARGUMENTS_H

#include "compat.h"
#include "fmgr.h"

pg_noreturn extern void js_refuse_null(const char *parameter);
extern char *js_text_argument(FunctionCallInfo fcinfo, int n);
extern char *js_required_text(FunctionCallInfo fcinfo, int n, const char *parameter);
extern bool js_flag_argument(FunctionCallInfo fcinfo, int n, bool otherwise);
extern int64 js_span_argument(FunctionCallInfo fcinfo, int n, const char *parameter, int64 otherwise);
extern Oid	js_owner_argument(FunctionCallInfo fcinfo, int n);

#endif							/* JS_ARGUMENTS_H */
