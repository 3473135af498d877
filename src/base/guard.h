/*-------------------------------------------------------------------------
 *
 * guard.h
 *		Calls whose errors must not abort the transaction.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_GUARD_H
#define JS_GUARD_H

typedef void (*JsGuarded) (void *arg);

extern ErrorData *js_try(JsGuarded call, void *arg, MemoryContext context);
extern ErrorData *js_guard(JsGuarded call, void *arg);
extern bool js_concerns_transaction(int code);

#endif							/* JS_GUARD_H */
