/*-------------------------------------------------------------------------
 *
 * owner.h
 *		The owners in our rows.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_OWNER_H
#define JS_OWNER_H

#include "utils/uuid.h"

/* What a row says of the role that it belongs to. */
typedef struct JsStoredOwner
{
	Oid			oid;
	const char *name;			/* NULL: it has been dropped */
	pg_uuid_t	home;			/* of the row */
} JsStoredOwner;

extern char *js_role_name(Oid role);
extern bool js_owner_is_home(const JsStoredOwner *stored);
extern bool js_owner_is_stale(const JsStoredOwner *stored);
extern Oid	js_owner_of(const JsStoredOwner *stored);
extern bool js_role_may_see(Oid role, Oid owner);

#endif							/* JS_OWNER_H */
