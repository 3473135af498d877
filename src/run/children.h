/*-------------------------------------------------------------------------
 *
 * children.h
 *		Runs that the run which this process executes has queued as its children.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CHILDREN_H
#define JS_CHILDREN_H

#include "store/store.h"

extern void js_children_adopt(JsRun *child, bool optional);
extern void js_children_add(const JsRun *child);
extern bool js_children_plan(const JsRun *run, const JsOutcome *outcome, JsRun *next);

#endif							/* JS_CHILDREN_H */
