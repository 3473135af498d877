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

#include "store/owner.h"
#include "store/store.h"

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
extern void js_resolve_job_for_change(const char *name, JsJob *job);

#endif							/* JS_ACCESS_H */
