/*-------------------------------------------------------------------------
 *
 * finish.h
 *		How runs end.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_FINISH_H
#define JS_FINISH_H

#include "base/jobsched.h"
#include "shmem/shmem.h"
#include "store/store.h"

extern JsStatus js_cancel_outcome(JsCancel cancel, const char **reason);
extern void js_run_finish(const JsEnding *endings, int count);

#endif							/* JS_FINISH_H */
