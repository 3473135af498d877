/*-------------------------------------------------------------------------
 *
 * owner.c
 *		The owners in our rows.
 *
 * Rows that can leave the cluster, in a dump or to a subscriber, have both the
 * OID and the name of their owner.  The home of the row says which of the two
 * counts:
 *
 *	here		the OID, whatever the role is called by now
 *	elsewhere	the name: the OID is that of a role in another cluster
 *
 * If there is no such role, the row is nobody's: superusers may manage it, and
 * see the name.
 *
 * The scheduler keeps the names in rows that are at home up to date
 * (sched_owner.c).  It sets the name to NULL when the role has been dropped, so
 * that a later role with the same OID does not get the rows.
 *
 * A name that is not valid in the encoding of this database (possible for a
 * role that was created in another database) is stored as an empty string,
 * which is no role's name.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/arguments.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "store/owner.h"
#include "store/store.h"
#include "utils/acl.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(jobsched_owner_of);
PG_FUNCTION_INFO_V1(jobsched_owner_name_of);

/* As it is stored; NULL if there is no such role. */
char *
js_role_name(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	if (name != NULL && !pg_verify_mbstr(GetDatabaseEncoding(), name, strlen(name), true))
		return pstrdup("");
	return name;
}

bool
js_owner_is_home(const JsStoredOwner *stored)
{
	pg_uuid_t	token;

	return js_identity_read(&token) && memcmp(&token, &stored->home, sizeof(pg_uuid_t)) == 0;
}

/* Whether the role is called otherwise by now, or has been dropped. */
static bool
is_renamed(const JsStoredOwner *stored)
{
	char	   *name = js_role_name(stored->oid);

	return stored->name != NULL && (name == NULL || strcmp(name, stored->name) != 0);
}

/* The row is to be written anew. */
bool
js_owner_is_stale(const JsStoredOwner *stored)
{
	return is_renamed(stored) && js_owner_is_home(stored);
}

static Oid
role_of_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		return InvalidOid;
	return get_role_oid(name, true);
}

/*
 * The role that a row belongs to.  If there is none: the OID that it had, or
 * InvalidOid if that would be somebody else.
 */
Oid
js_owner_of(const JsStoredOwner *stored)
{
	if (stored->name == NULL)
		return js_role_name(stored->oid) == NULL ? stored->oid : InvalidOid;
	/* Nearly always both say the same; where we are need not be asked. */
	if (stored->name[0] != '\0' && !is_renamed(stored))
		return stored->oid;
	return js_owner_is_home(stored) ? stored->oid : role_of_name(stored->name);
}

/* owner, owner_name and home of a row; false if there is no row. */
static bool
stored_argument(FunctionCallInfo fcinfo, JsStoredOwner *stored)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		return false;
	stored->oid = PG_GETARG_OID(0);
	stored->name = js_text_argument(fcinfo, 1);
	stored->home = *PG_GETARG_UUID_P(2);
	return true;
}

Datum
jobsched_owner_of(PG_FUNCTION_ARGS)
{
	JsStoredOwner stored;

	if (!stored_argument(fcinfo, &stored))
		PG_RETURN_NULL();
	PG_RETURN_OID(js_owner_of(&stored));
}

/* For views: the name of the role, or whose name is meant by the row. */
Datum
jobsched_owner_name_of(PG_FUNCTION_ARGS)
{
	JsStoredOwner stored;
	char	   *name;

	if (!stored_argument(fcinfo, &stored))
		PG_RETURN_NULL();
	name = GetUserNameFromId(js_owner_of(&stored), true);
	if (name == NULL && stored.name != NULL && stored.name[0] != '\0')
		name = (char *) stored.name;
	if (name == NULL)
		name = psprintf("unknown (OID=%u)", stored.oid);
	PG_RETURN_DATUM(DirectFunctionCall1(namein, CStringGetDatum(name)));
}

/* Whether a role may see what belongs to another. */
bool
js_role_may_see(Oid role, Oid owner)
{
	return has_privs_of_role(role, owner) || has_privs_of_role(role, ROLE_PG_MONITOR);
}
