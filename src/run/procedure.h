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

#include "compat.h"
#include "store/store.h"

extern void js_procedure_check(const char *handler);
extern Jsonb *js_procedure_run(const char *handler, MemoryContext context);
extern Jsonb *js_procedure_step(const char *name, const char *function, Jsonb *args, bool atomic);
extern void js_procedure_sleep(const char *name, int64 delay);

/* Waits (procedure_wait.c). */
extern void js_procedure_end_wait(MemoryContext context);
extern Jsonb *js_procedure_await_event(const char *name, const char *event, int64 timeout);

/* Requests (procedure_request.c). */
extern bool js_procedure_find_request(const char *name, int64 hash, Jsonb **result);
pg_noreturn extern void js_procedure_request(const char *name, int64 hash, JsRun *request);
extern bool js_procedure_request_has_ended(JsMemo *wait);
extern void js_procedure_request_forget(const JsMemo *wait);
extern void js_procedure_answer(const JsEnding *ending);
extern void js_procedure_carry_over(int64 from, const JsRun *to);

/* What these are made of. */
extern bool js_procedure_enter(const char *what, const char *name, JsMemo *memo);
extern void js_procedure_init_memo(JsMemo *memo, const char *name);
extern void js_procedure_check_is_ours(void);
pg_noreturn extern void js_procedure_refuse_other(const JsMemo *memo);
pg_noreturn extern void js_procedure_refuse_changed(const char *name, const char *detail);
pg_noreturn extern void js_procedure_suspend_for_request(const JsMemo *memo, const JsRun *request);
pg_noreturn extern void js_procedure_suspend(const JsMemo *memo, TimestampTz until, const char *reason);

#endif							/* JS_PROCEDURE_H */
