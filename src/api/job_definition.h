/*-------------------------------------------------------------------------
 *
 * job_definition.h
 *		What a caller has given of a job, and what a job becomes by it.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_JOB_DEFINITION_H
#define JS_JOB_DEFINITION_H

#include "api/http.h"
#include "api/job_arguments.h"

/* What a caller has given. */
typedef struct JsJobDefinition
{
	JsJobArguments args;
	bool		has_http;		/* anything of what follows */
	JsHttpDefinition http;
	Jsonb	   *steps;			/* NULL: not given */
	ArrayType  *after;			/* likewise */
	bool		whole_request;	/* what is not given of it is not there */
	const char **checking;		/* is told which parameter is being checked,
								 * or NULL if several are; NULL: nobody asks */
} JsJobDefinition;

extern int	js_job_definition_read(FunctionCallInfo fcinfo, int n, JsJobDefinition *def);
extern bool js_job_definition_needs_session(const JsJobDefinition *def, const JsJob *job);
extern bool js_job_definition_changes_work(const JsJobDefinition *def);
extern bool js_job_runs_by_itself(const JsJob *job);
extern void js_job_definition_apply(const JsJobDefinition *def, JsJob *job);

#endif							/* JS_JOB_DEFINITION_H */
