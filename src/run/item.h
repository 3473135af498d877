/*-------------------------------------------------------------------------
 *
 * item.h
 *		Elements of steps with for_each: what their arguments say of them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_ITEM_H
#define JS_ITEM_H

#include "store/store.h"

/* In the arguments of an element: what it is, and which, from 0. */
#define JS_ITEM "item"
#define JS_ITEM_INDEX "index"

extern int32 js_item_index(const JsRun *run);

#endif							/* JS_ITEM_H */
