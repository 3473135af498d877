/*-------------------------------------------------------------------------
 *
 * callback.h
 *		Functions that are told how a request has ended.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CALLBACK_H
#define JS_CALLBACK_H

#include "store/store.h"

extern void js_callback_queue(const JsJob *job, const JsEnding *ending);

#endif							/* JS_CALLBACK_H */
