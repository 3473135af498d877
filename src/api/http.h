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

/* Which arguments a function has that queues a request; from sign_with on they are in the order of the parameters. */
typedef struct JsHttpArguments
{
	int			method;
	int			url;
	int			body;
	int			headers;
	int			params;
	int			timeout;
	int			max_attempts;
	int			keys;
	int			body_text;
	int			priority;
	int			sign_with;
} JsHttpArguments;

extern int	js_http_take_request(FunctionCallInfo fcinfo, const JsHttpArguments *at, JsHttpDefinition *given);
extern void js_http_make_run(FunctionCallInfo fcinfo, const JsHttpArguments *at,
							 const JsHttpDefinition *given, JsRun *run);

#endif							/* JS_API_HTTP_H */
