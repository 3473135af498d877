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

#include "store/store.h"
#include "tcop/dest.h"

extern void js_command_check(const char *command, JsMode mode, bool *transactional);
extern bool js_handler_is_procedure(const char *handler);
extern Oid	js_handler_lookup(const char *handler);
extern void js_statement_timeout_arm(void);
extern void js_statement_timeout_disarm(void);
extern void js_command_run_into(const char *command, JsMode mode, MemoryContext context, DestReceiver *receiver,
								const char **tag);
extern Jsonb *js_command_run(const char *command, JsMode mode, MemoryContext context,
							 const char **tag);
extern void js_fire_deferred(void);
extern Jsonb *js_function_call(const char *handler, Jsonb *args, MemoryContext context);
extern Jsonb *js_handler_run(const char *handler, Jsonb *args, MemoryContext context);

#endif							/* JS_EXECSQL_H */
