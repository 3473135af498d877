/*-------------------------------------------------------------------------
 *
 * sched_role.c
 *		The roles that own something here, and whether they have changed.
 *
 * The names of all owners are kept in memory, so changes of roles that own
 * nothing here do not cost a look at the rows.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "scheduler/sched.h"
#include "store/owner.h"
#include "utils/catcache.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"

typedef struct KnownOwner
{
	Oid			role;
	char		name[NAMEDATALEN];
} KnownOwner;

static HTAB *known = NULL;
static uint32 changes_seen = 0;
static bool stale = false;

static void
remember(Oid role)
{
	char	   *name = js_role_name(role);
	KnownOwner *owner;
	bool		found;

	if (name == NULL)
		return;
	owner = hash_search(known, &role, HASH_ENTER, &found);
	strlcpy(owner->name, name, NAMEDATALEN);
}

/* A row of this role has been read; what it says of it may be out of date. */
void
sched_watch_owner(Oid role, bool is_stale)
{
	stale |= is_stale;
	if (known == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid),.entrysize = sizeof(KnownOwner),.hcxt = sched.context};

		known = hash_create("jobsched owners", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	if (OidIsValid(role) && hash_search(known, &role, HASH_FIND, NULL) == NULL)
		remember(role);
}

static bool
has_changed(const KnownOwner *owner)
{
	char	   *name = js_role_name(owner->role);

	return name == NULL || strcmp(name, owner->name) != 0;
}

/* Whether one of ours is among the roles that have changed. */
static bool
ours_have_changed(void)
{
	HASH_SEQ_STATUS scan;
	KnownOwner *owner;
	bool		any = false;

	if (known == NULL)
		return false;
	hash_seq_init(&scan, known);
	while ((owner = hash_seq_search(&scan)) != NULL)
	{
		if (!has_changed(owner))
			continue;
		any = true;
		(void) hash_search(known, &owner->role, HASH_REMOVE, NULL);
	}
	return any;
}

bool
sched_owners_wait(void)
{
	return stale || pg_atomic_read_u32(&js->role_changes) != changes_seen;
}

/*
 * Whether rows of roles that are ours have to be brought in line: asked once.  A
 * commit can be told of before the caches are: they are read anew.
 */
bool
sched_owners_have_changed(void)
{
	bool		changed;

	changes_seen = pg_atomic_read_u32(&js->role_changes);
	InvalidateCatalogSnapshot();
	CatalogCacheFlushCatalog(AuthIdRelationId);
	changed = ours_have_changed() || stale;
	stale = false;
	return changed;
}
