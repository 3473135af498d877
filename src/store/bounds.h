/*-------------------------------------------------------------------------
 *
 * bounds.h
 *		How large jobs, arguments and requests may be.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_BOUNDS_H
#define JS_BOUNDS_H

#include "store/store.h"

/* What people write next to their work: reasons, texts of progress. */
#define JS_MAX_REMARK 8192

extern void js_bounds_check_job(const JsJob *job);
extern void js_bounds_check_run(const JsRun *run);
extern void js_bounds_check_state(const Jsonb *state);
extern void js_bounds_check_found(Size size);
extern void js_bounds_check_payload(const Jsonb *payload);
extern void js_bounds_check_remark(const char *parameter, const char *text);
extern bool js_job_is_too_large(const JsJob *job);
extern bool js_run_is_too_large(const JsRun *run);

#endif							/* JS_BOUNDS_H */
