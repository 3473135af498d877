/*-------------------------------------------------------------------------
 *
 * limit.h
 *		Functions that define queues and limits of keys.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_LIMIT_H
#define JS_LIMIT_H

#define JS_MAX_RATE 1000000
#define JS_MAX_BURST 1000000

extern void js_limit_check_name(const char *what, const char *name);

#endif							/* JS_LIMIT_H */
