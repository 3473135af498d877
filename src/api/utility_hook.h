/*-------------------------------------------------------------------------
 *
 * utility_hook.h
 *		Makes way for commands that need the database or the extension.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_UTILITY_HOOK_H
#define JS_UTILITY_HOOK_H

extern void js_utility_hook_init(void);

#endif							/* JS_UTILITY_HOOK_H */
