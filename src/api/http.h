/*-------------------------------------------------------------------------
 *
 * http.h
 *		Requests as functions define them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_API_HTTP_H
#define JS_API_HTTP_H

#include "fmgr.h"
#include "http/http_request.h"
#include "store/job_parameters.h"

/* A parameter of a request that jobs have too; the name is NULL after the last. */
typedef struct JsHttpParameter
{
	const char *name;
	size_t		offset;			/* in JsHttpDefinition */
	JsParameterKind kind;		/* CONDITIONS: a list of texts */
} JsHttpParameter;

extern const JsHttpParameter js_http_parameters[];

extern void js_http_argument_take(const JsHttpParameter *parameter, Datum value,
								  JsHttpDefinition *given);
extern bool js_http_is_anything_given(const JsHttpDefinition *given);
extern void js_http_nothing_given(JsHttpDefinition *given);
extern int	js_http_arguments(FunctionCallInfo fcinfo, int n,
							  JsHttpDefinition *given, bool *any);
extern void js_http_check_timeout(int64 timeout);

#endif							/* JS_API_HTTP_H */
