/*-------------------------------------------------------------------------
 *
 * hook.h
 *		What hooks are made of.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HOOK_H
#define JS_HOOK_H

/* Bytes of a body at most, whatever the hook says. */
#define JS_HOOK_MAX_BODY (16 * 1024 * 1024)

extern char *js_hook_secret(Oid owner, const char *name);

#endif							/* JS_HOOK_H */
