/*-------------------------------------------------------------------------
 *
 * procedure_memos.h
 *		What a durable procedure has done before, and comes by again.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_PROCEDURE_MEMOS_H
#define JS_PROCEDURE_MEMOS_H

#include "store/store.h"

extern void js_procedure_memos_begin(MemoryContext context);
extern bool js_procedure_memos_take(int64 run_id, const char *name, JsMemo *memo);
extern int32 js_procedure_memos_taken(void);

#endif							/* JS_PROCEDURE_MEMOS_H */
