/*-------------------------------------------------------------------------
 *
 * job.h
 *		Definitions and changes of jobs, for functions and for view jobs.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_API_JOB_H
#define JS_API_JOB_H

#include "api/job_definition.h"

extern int64 js_job_define(JsJobDefinition *def, const char *if_exists);
extern void js_job_alter(const JsJob *before, const JsJobDefinition *def);
extern void js_job_set_metadata(JsJob *job, Jsonb *metadata);
extern void js_job_drop(const JsJob *before, bool cancel_running);

#endif							/* JS_API_JOB_H */
