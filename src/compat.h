/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Differences between PostgreSQL 15 and 18, in one place.
 *
 * No other file uses PG_VERSION_NUM.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_COMPAT_H
#define JS_COMPAT_H

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#if PG_VERSION_NUM >= 170000
#include "utils/injection_point.h"
#endif
#include "utils/jsonfuncs.h"
#include "utils/regproc.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "jobsched needs PostgreSQL 15 or later"
#endif

/*
 * A place where a test holds a process up or has it fail, by its name; in
 * servers built with --enable-injection-points, otherwise nothing.
 */
#if PG_VERSION_NUM >= 180000
#define JS_INJECTION_POINT(name) INJECTION_POINT(name, NULL)
#elif PG_VERSION_NUM >= 170000
#define JS_INJECTION_POINT(name) INJECTION_POINT(name)
#else
#define JS_INJECTION_POINT(name) ((void) 0)
#endif

/* Before PostgreSQL 18 the attribute had another name. */
#ifndef pg_noreturn
#define pg_noreturn pg_attribute_noreturn()
#endif

/* Servers have raised it from 17 on. */
#ifndef ERRCODE_TRANSACTION_TIMEOUT
#define ERRCODE_TRANSACTION_TIMEOUT MAKE_SQLSTATE('2', '5', 'P', '0', '4')
#endif

/* Wait events have names of their own from 17 on. */
static inline uint32
js_wait_event(uint32 *cached, const char *name)
{
#if PG_VERSION_NUM >= 170000
	if (*cached == 0)
		*cached = WaitEventExtensionNew(name);
	return *cached;
#else
	(void) cached;
	(void) name;
	return PG_WAIT_EXTENSION;
#endif
}

/* That unescapes, and so refuses what no text can have. */
static inline JsonLexContext *
js_json_lexer(struct varlena *json)
{
#if PG_VERSION_NUM >= 170000
	return makeJsonLexContext(NULL, json, true);
#else
	return makeJsonLexContext(json, true);
#endif
}

static inline bool
js_portal_run(Portal portal, bool top_level, DestReceiver *dest,
			  QueryCompletion *qc)
{
#if PG_VERSION_NUM >= 180000
	return PortalRun(portal, FETCH_ALL, top_level, dest, dest, qc);
#else
	return PortalRun(portal, FETCH_ALL, top_level, true, dest, dest, qc);
#endif
}

static inline AclResult
js_database_aclcheck(Oid database, Oid role, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(DatabaseRelationId, database, role, mode);
#else
	return pg_database_aclcheck(database, role, mode);
#endif
}

static inline AclResult
js_function_aclcheck(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE);
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE);
#endif
}

/* In a transaction of ours in somebody's session. */
#if PG_VERSION_NUM >= 170000
#define JS_DISABLE_TRANSACTION_TIMEOUT() disable_timeout(TRANSACTION_TIMEOUT, false)
#else
#define JS_DISABLE_TRANSACTION_TIMEOUT() ((void) 0)
#endif

static inline bool
js_database_ownercheck(Oid database, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, role);
#else
	return pg_database_ownercheck(database, role);
#endif
}

static inline bool
js_extension_ownercheck(Oid extension, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(ExtensionRelationId, extension, role);
#else
	return pg_extension_ownercheck(extension, role);
#endif
}

/* ERROR unless role may SET ROLE to target. */
static inline void
js_check_can_set_role(Oid role, Oid target)
{
#if PG_VERSION_NUM >= 160000
	check_can_set_role(role, target);
#else
	check_is_member_of_role(role, target);
#endif
}

static inline bool
js_can_set_role(Oid role, Oid target)
{
#if PG_VERSION_NUM >= 160000
	return member_can_set_role(role, target);
#else
	return is_member_of_role(role, target);
#endif
}

/* Splits 'schema.function'. */
static inline List *
js_qualified_name(const char *text)
{
#if PG_VERSION_NUM >= 160000
	return stringToQualifiedNameList(text, NULL);
#else
	return stringToQualifiedNameList(text);
#endif
}

#if PG_VERSION_NUM >= 180000
#define JS_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "jobsched", .version = JS_VERSION)
#else
#define JS_MODULE_MAGIC PG_MODULE_MAGIC
#endif

#endif							/* JS_COMPAT_H */
