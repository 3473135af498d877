/*-------------------------------------------------------------------------
 *
 * step_order.h
 *		An order in which each step comes after all that it waits for.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STEP_ORDER_H
#define JS_STEP_ORDER_H

/* What a step waits for, by the numbers of steps as they were given. */
typedef struct JsStepNode
{
	const char *name;
	const int  *after;			/* each once */
	int			nafter;
} JsStepNode;

extern int *js_step_order(const JsStepNode *nodes, int count);

#endif							/* JS_STEP_ORDER_H */
