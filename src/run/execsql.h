/*-------------------------------------------------------------------------
 *
 * execsql.h
 *		Executes what a job consists of: SQL text or a function.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_EXECSQL_H
#define JS_EXECSQL_H

#include "utils/jsonb.h"

extern void js_command_check(const char *command, const char *mode, bool *transactional);
extern Oid	js_handler_lookup(const char *handler);
extern Jsonb *js_command_run(const char *command, const char *mode, MemoryContext context);
extern Jsonb *js_handler_run(const char *handler, Jsonb *args, MemoryContext context);

#endif							/* JS_EXECSQL_H */
