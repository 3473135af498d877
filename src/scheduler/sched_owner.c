/*-------------------------------------------------------------------------
 *
 * sched_owner.c
 *		Roles that are renamed or dropped.
 *
 * Rows have the name of their owner beside its OID, for places where the OID
 * means nothing (owner.c).  When a role has been renamed or dropped, every
 * scheduler is told (utility_hook.c), and brings the rows of its database in
 * line; and so it does with what it finds when it reads a row.
 *
 * Changes of roles that are nobody's here cost no look at the rows: the names
 * of the owners that there are, are kept in memory.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "scheduler/sched.h"
#include "store/owner.h"
#include "store/store_secret.h"
#include "utils/catcache.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"

/* In one step; others follow. */
#define MAX_RENAMED 1000

typedef struct KnownOwner
{
	Oid			role;
	char		name[NAMEDATALEN];
} KnownOwner;

static HTAB *known = NULL;
static uint32 changes_seen = 0;
static bool stale = false;
static bool held = false;		/* a row was: it has to be tried again */

static void
remember_role(Oid role)
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
		remember_role(role);
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

static bool
is_stale(const JsJob *job, void *arg)
{
	return job->owner_is_stale;
}

/* Those whose row somebody else holds stay as they are until the sweep. */
static void
follow_in_jobs(void)
{
	List	   *ids = js_jobs_select(is_stale, NULL);
	int			left = MAX_RENAMED;
	ListCell   *lc;

	foreach(lc, ids)
	{
		int64		job_id = *(int64 *) lfirst(lc);

		if (left == 0)
			stale = true;
		else if (js_job_refresh_owner(job_id))
		{
			sched_reload_job(job_id);
			left--;
		}
		else
			held = true;
	}
	list_free_deep(ids);
}

/* Brings our rows in line; at a sweep also where nobody has told us. */
void
sched_follow_roles(bool sweep)
{
	uint32		changes = pg_atomic_read_u32(&js->role_changes);

	if (!sched_owners_wait() && !sweep)
		return;
	/* A commit can be told of before the caches are: they are read anew. */
	InvalidateCatalogSnapshot();
	CatalogCacheFlushCatalog(AuthIdRelationId);
	changes_seen = changes;
	if (ours_have_changed() || stale || (sweep && held))
	{
		stale = held = false;
		follow_in_jobs();
		js_limits_refresh_owners();
		js_secrets_forget_dropped();
	}
}
