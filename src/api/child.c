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

#include "api/child.h"
#include "base/arguments.h"
#include "miscadmin.h"
#include "run/children.h"

static void
refuse_stranger(int64 run_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a child cannot wait for run " INT64_FORMAT, run_id),
			 errdetail("That has not ended, and is no child of the same run; it might wait for this run."),
			 errhint("Leave child out, or let the child wait for other children of this run.")));
}

/* The runs that a child waits for are known to exist; some may have ended. */
void
js_child_check_after(const JsRun *run)
{
	for (int i = 0; i < run->nparents; i++)
	{
		JsRun		head;

		if (js_run_see_head(run->parents[i], &head) && head.parent_run_id != run->parent_run_id)
			refuse_stranger(run->parents[i]);
		CHECK_FOR_INTERRUPTS();
	}
}

/* child and optional, from argument n on. */
void
js_child_arguments(FunctionCallInfo fcinfo, int n, JsRun *run)
{
	if (PG_ARGISNULL(n))
		js_refuse_null("child");
	if (PG_ARGISNULL(n + 1))
		js_refuse_null("optional");
	if (PG_GETARG_BOOL(n + 1) && !PG_GETARG_BOOL(n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("optional is given without child"),
				 errhint("It says that a child may fail: give child => true too.")));
	if (!PG_GETARG_BOOL(n))
		return;
	js_children_adopt(run, PG_GETARG_BOOL(n + 1));
}
