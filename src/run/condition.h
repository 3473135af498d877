/*-------------------------------------------------------------------------
 *
 * condition.h
 *		The condition of a step.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CONDITION_H
#define JS_CONDITION_H

extern void js_condition_check(const char *condition);
extern bool js_condition_holds(const char *condition);

#endif							/* JS_CONDITION_H */
