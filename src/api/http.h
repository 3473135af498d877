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

extern void js_http_nothing_given(JsHttpDefinition *given);
extern int	js_http_arguments(FunctionCallInfo fcinfo, int n,
							  JsHttpDefinition *given, bool *any);
extern void js_http_check_timeout(int64 timeout);


#endif							/* JS_API_HTTP_H */
