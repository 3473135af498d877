/*-------------------------------------------------------------------------
 *
 * hook_count.h
 *		What has come to hooks, and how they refuse.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HOOK_COUNT_H
#define JS_HOOK_COUNT_H

#include "compat.h"
#include "utils/uuid.h"

/* PostgREST makes status 401 of it. */
#define JS_HOOK_REFUSED MAKE_SQLSTATE('P', 'T', '4', '0', '1')

extern void js_hook_will_be_accepted(const pg_uuid_t *id, Oid owner);
extern bool js_hook_take_room(const pg_uuid_t *id, Oid owner, int32 rate);
pg_noreturn extern void js_hook_refuse(const pg_uuid_t *id, Oid owner, const char *what, const char *reason);
extern ErrorData *js_hook_caught(MemoryContext context);

#endif							/* JS_HOOK_COUNT_H */
