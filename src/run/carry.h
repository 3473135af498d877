/*-------------------------------------------------------------------------
 *
 * carry.h
 *		Steps that a retried workflow run takes over from the one before.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CARRY_H
#define JS_CARRY_H

#include "store/store.h"

#define JS_CARRIED_OVER "carried_over"

/* Elements of the run before, in their order. */
typedef struct JsCarriedItems
{
	Oid			owner;			/* who needs to see them */
	int64	   *ids;			/* 0: it is done anew */
	int			count;
} JsCarriedItems;

extern bool js_run_carries_over(const JsRun *run);
extern void js_carry_plan(const JsRun *run, const List *steps, int64 *carried, int64 *items);
extern JsOutcome js_carry_take(int64 from, JsRun *run);
extern void js_carry_items_begin(const JsJob *step, const JsRun *map, JsCarriedItems *items);
extern bool js_carry_item(const JsCarriedItems *items, int32 index, JsRun *run, JsOutcome *outcome);

#endif							/* JS_CARRY_H */
