/*-------------------------------------------------------------------------
 *
 * vault.c
 *		Secrets of Supabase Vault.
 *
 * The vault's own view decides what a role can read, so we read it as that
 * role.  So this is foreign SQL in a process that has all rights.  The view
 * must be the one of the extension, which only a superuser can have made, and
 * not one that somebody else has put in its place.  Functions that it calls run
 * with the role's rights in a security-restricted operation, with a safe search
 * path.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/sqlstate.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "http/vault.h"
#include "miscadmin.h"
#include "store/catalog.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#define VAULT_EXTENSION "supabase_vault"
#define VAULT_SCHEMA "vault"
#define VAULT_VIEW "decrypted_secrets"

/* Whether the view is there and a member of the extension. */
static bool
view_is_genuine(Oid extension)
{
	Oid			schema = get_namespace_oid(VAULT_SCHEMA, true);
	Oid			view = OidIsValid(schema) ? get_relname_relid(VAULT_VIEW, schema) : InvalidOid;

	return OidIsValid(view) && getExtensionOfObject(RelationRelationId, view) == extension;
}

static void
check_vault(void)
{
	Oid			extension = get_extension_oid(VAULT_EXTENSION, true);

	if (!OidIsValid(extension))
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("extension \"%s\" is not installed", VAULT_EXTENSION),
				 errhint("{{vault.NAME}} needs it. Secrets of set_secret() are {{secret.NAME}}.")));
	if (!view_is_genuine(extension))
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("view \"%s.%s\" does not belong to extension \"%s\"", VAULT_SCHEMA, VAULT_VIEW,
						VAULT_EXTENSION),
				 errhint("Install the extension anew, or use set_secret() and {{secret.NAME}}.")));
}

/* After an error the end of the transaction restores all of it. */
char *
js_vault_read(Oid owner, const char *name)
{
	Oid			user;
	int			context;
	int			nest_level;
	char	   *value;

	check_vault();
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	value = js_catalog_vault_secret(name);
	PopActiveSnapshot();
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, context);
	return value;
}
