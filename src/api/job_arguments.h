/*-------------------------------------------------------------------------
 *
 * job_arguments.h
 *		The arguments of create_job() and alter_job().
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_JOB_ARGUMENTS_H
#define JS_JOB_ARGUMENTS_H

#include "compat.h"
#include "fmgr.h"
#include "store/job_parameters.h"

/* What a caller has given. */
typedef struct JsJobArguments
{
	JsJob		job;			/* only what is given; else 0 */
	bool		given[JS_MAX_COLUMNS + 1];	/* by column */
} JsJobArguments;

extern void js_job_argument_take(const JsJobParameter *parameter, Datum value,
								 JsJobArguments *arguments);
extern int	js_job_arguments_read(FunctionCallInfo fcinfo, int n, JsJobArguments *arguments);
extern void js_job_arguments_require(const JsJobArguments *arguments);
extern void js_job_argument_default(const JsJobParameter *parameter, JsJobArguments *arguments);
extern void js_job_arguments_complete(JsJobArguments *arguments);
extern void js_job_arguments_apply(const JsJobArguments *arguments, JsJob *job);
extern int	js_choice_argument(const char *parameter, const char *text,
							   const char *const *choices);

#endif							/* JS_JOB_ARGUMENTS_H */
