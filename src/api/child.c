/*-------------------------------------------------------------------------
 *
 * child.c
 *		Parameters child and optional: runs that the caller's run waits for.
 *
 * A child that waits for runs itself (after) must not wait for its parent, nor for
 * a run that waits for that: nobody would ever start.  So what it waits for is a
 * child of the same parent, or has ended.  Then all that a run of a tree waits for
 * is below its root, and either below itself or older than itself: there is no
 * circle within a tree, and no way out of it.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/child.h"
#include "base/arguments.h"
#include "miscadmin.h"
#include "run/children.h"
#include "run/context.h"

/* Whether a run, if it is a child, can wait for one that lives. */
bool
js_child_may_wait_for(const JsRun *run, const JsRun *parent)
{
	return run->parent_run_id == 0 || parent->parent_run_id == run->parent_run_id;
}

void
js_child_refuse_parent(int64 run_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a child cannot wait for run " INT64_FORMAT, run_id),
			 errdetail("That has not ended, and is no child of the same run; it might wait for this run."),
			 errhint("Leave child out, or let the child wait for other children of this run.")));
}

/*
 * A run waits for its children beyond its timeout.  So who makes one has to be who
 * might cancel the run: not a function with fewer rights that it has called.
 */
static void
check_may_hold_up(void)
{
	if (js_current_run != NULL && !js_may_manage(js_current_run->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to make a child of run " INT64_FORMAT, js_current_run->run_id),
				 errdetail("Role \"%s\" does not have the privileges of the run's owner.",
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("Leave child out, or call the function with the rights of the run's owner.")));
}

/* The caller's run is to wait for this one. */
void
js_child_adopt(JsRun *run, bool optional)
{
	check_may_hold_up();
	js_context_refuse_map("child");
	js_children_adopt(run, optional);
}

/* child and optional, from argument n on. */
void
js_child_arguments(FunctionCallInfo fcinfo, int n, JsRun *run)
{
	bool		child = js_flag_argument(fcinfo, n, false);
	bool		optional = js_flag_argument(fcinfo, n + 1, false);

	if (optional && !child)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("optional is given without child"),
				 errhint("It says that a child may fail: give child => true too.")));
	if (child)
		js_child_adopt(run, optional);
}
