/*-------------------------------------------------------------------------
 *
 * utility_hook.h
 *		Commands that concern us: they find us out of their way.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_UTILITY_HOOK_H
#define JS_UTILITY_HOOK_H

extern void js_utility_hook_init(void);

#endif							/* JS_UTILITY_HOOK_H */
