/*-------------------------------------------------------------------------
 *
 * procedure.h
 *		Durable procedures: a handler that is a procedure, and its guard.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_PROCEDURE_H
#define JS_PROCEDURE_H

#include "store/store.h"

extern void js_procedure_check(const char *handler);
extern Jsonb *js_procedure_run(const char *handler, MemoryContext context);
extern Jsonb *js_procedure_step(const char *name, const char *function, Jsonb *args, bool atomic);
extern void js_procedure_sleep(const char *name, int64 delay);

#endif							/* JS_PROCEDURE_H */
