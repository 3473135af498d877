/*-------------------------------------------------------------------------
 *
 * access.h
 *		Who may see and do what.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_ACCESS_H
#define JS_ACCESS_H

#include "fmgr.h"
#include "store/owner.h"
#include "store/store.h"

/* Which arguments of a function say which job is meant. */
typedef struct JsJobPlaces
{
	int			job;			/* its name */
	int			owner;			/* 0: there is none */
	int			job_id;
} JsJobPlaces;

extern void js_check_may_write(const char *function);
extern bool js_may_manage(Oid owner);
extern bool js_role_may_manage_run(Oid role, const JsRun *run);
extern bool js_may_manage_run(const JsRun *run);
extern bool js_may_see(Oid owner);
extern bool js_may_read(Oid owner, bool callback);
extern void js_check_may_own(Oid owner, bool needs_session);
extern void js_check_may_be_told(Oid owner, const char *parameter);
extern bool js_may_act_for(Oid role);
extern bool js_owns_database(void);
extern void js_check_owns_database(void);
extern void js_resolve_job(const char *name, JsJob *job);
extern bool js_job_is_given(FunctionCallInfo fcinfo, const JsJobPlaces *at);
extern bool js_job_filter_is_given(FunctionCallInfo fcinfo, const JsJobPlaces *at);
extern void js_job_argument(FunctionCallInfo fcinfo, const JsJobPlaces *at, JsJob *job);
extern void js_hold_job(JsJob *job);

#endif							/* JS_ACCESS_H */
