/*-------------------------------------------------------------------------
 *
 * sched_owner.c
 *		Roles that are renamed or dropped.
 *
 * Rows have the name of their owner beside its OID, because elsewhere the OID
 * means nothing (owner.c).  When a role has been renamed or dropped, every
 * scheduler is notified (utility_hook.c) and corrects the rows of its
 * database.  It also corrects a row when it reads one that is out of date
 * (sched_role.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scheduler/sched.h"
#include "store/store_alert.h"
#include "store/store_hook.h"
#include "store/store_secret.h"

/* In one step; others follow. */
#define MAX_RENAMED 1000

static bool held = false;		/* a row was: it has to be tried again */

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
			sched_watch_owner(InvalidOid, true);
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
	if (!sched_owners_wait() && !sweep)
		return;
	if (sched_owners_have_changed() || (sweep && held))
	{
		held = false;
		follow_in_jobs();
		js_limits_refresh_owners();
		js_secrets_forget_dropped();
		js_hooks_follow_roles();
		js_alerts_follow_roles();
	}
}
