/*-------------------------------------------------------------------------
 *
 * keep.h
 *		Runs that leave no row of history.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_KEEP_H
#define JS_KEEP_H

#include "store/store.h"

extern bool js_keep_nothing(const JsEnding *ending, bool may);

#endif							/* JS_KEEP_H */
