/*-------------------------------------------------------------------------
 *
 * job.c
 *		Functions that define and change jobs.
 *
 * Everything that can be found wrong is refused here, in the session of the
 * user who can correct it.
 *
 * The arguments of create_job() and alter_job() are the same from the name on;
 * alter_job() has the job before them.  NULL means "not given".
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/cancel.h"
#include "api/job_after.h"
#include "api/job_definition.h"
#include "api/job_schedule.h"
#include "api/set_channel.h"
#include "api/step_job.h"
#include "api/steps.h"
#include "base/arguments.h"
#include "compat.h"
#include "fmgr.h"
#include "run/http_job.h"
#include "shmem/clock.h"
#include "shmem/wakeup.h"
#include "store/bounds.h"
#include "store/owner.h"
#include "store/store_alert.h"
#include "store/store_hook.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(jobsched_create_job);
PG_FUNCTION_INFO_V1(jobsched_alter_job);
PG_FUNCTION_INFO_V1(jobsched_set_job_metadata);
PG_FUNCTION_INFO_V1(jobsched_drop_job);
PG_FUNCTION_INFO_V1(jobsched_pause_job);
PG_FUNCTION_INFO_V1(jobsched_resume_job);
PG_FUNCTION_INFO_V1(jobsched_adopt);
PG_FUNCTION_INFO_V1(jobsched_announce);

/* ------------------------------------------------------------------------
 * Writing
 * ------------------------------------------------------------------------
 */

pg_noreturn static void
refuse_duplicate(Oid owner, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("job \"%s\" of role \"%s\" already exists", name,
					GetUserNameFromId(owner, false)),
			 errhint("Choose another name, change the job with alter_job(), or call create_job() with if_exists => 'update' or 'keep'.")));
}

static bool
has_other_steps(const JsJob *job, const JsJob *before)
{
	return job->steps != NULL &&
		(before->steps == NULL || VARSIZE(job->steps) != VARSIZE(before->steps) ||
		 memcmp(job->steps, before->steps, VARSIZE(job->steps)) != 0);
}

/*
 * What is given has been applied to the job; if that says which steps it has, they
 * are checked.  Those that it is to have from now on; NIL: those that it had, if any.
 */
static List *
define_steps(const JsJobDefinition *def, const JsJob *before, JsJob *job)
{
	List	   *steps = def->steps != NULL ? js_steps_define(job) : NIL;

	if (def->steps == NULL && job->steps != NULL)
		js_step_jobs_check(before, job);
	if (js_job_runs_by_itself(job) && job->steps != NULL)
		js_steps_check_keys(job, steps != NIL ? steps : js_steps_read(job->job_id, job->steps_revision));
	if (!has_other_steps(job, before))
		return NIL;
	job->steps_revision++;
	return steps;
}

/* A job that is not there yet. */
static List *
define_job(const JsJobDefinition *def, JsJob *job)
{
	JsJob		nothing = {0};

	memset(job, 0, sizeof(JsJob));
	job->owner = def->args.job.owner;
	job->revision = 1;
	job->created_at = job->updated_at = js_clock_now();
	job->dropped_at = DT_NOBEGIN;
	js_job_definition_apply(def, job);
	return define_steps(def, &nothing, job);
}

/* False: it is no longer there, or no longer this role's by this name. */
static bool
update_job(JsJob *job, const JsJobDefinition *def)
{
	JsJob		before;
	List	   *steps;

	js_job_lock(job->job_id);
	if (!js_job_read(job->job_id, job) || job->dropped_at != DT_NOBEGIN ||
		job->owner != def->args.job.owner || strcmp(job->name, def->args.job.name) != 0)
		return false;
	before = *job;
	job->request = NULL;		/* what is not given is not there */
	if (def->after == NULL)
		job->nafter_jobs = 0;
	js_job_definition_apply(def, job);
	steps = define_steps(def, &before, job);
	js_job_change(job);
	js_step_set_write(job, steps);
	return true;
}

/*
 * What another session makes of the name meanwhile is seen when its transaction
 * has ended; then we look again.
 */
static int64
create_job(const JsJobDefinition *def, const char *if_exists)
{
	Oid			owner = def->args.job.owner;
	const char *name = def->args.job.name;
	JsJob		job;

	for (;;)
	{
		if (!js_job_find(owner, name, &job))
		{
			List	   *steps = define_job(def, &job);

			if (js_job_create(&job))
			{
				js_step_set_write(&job, steps);
				return job.job_id;
			}
		}
		else if (strcmp(if_exists, "error") == 0)
			refuse_duplicate(owner, name);
		else if (strcmp(if_exists, "keep") == 0 || update_job(&job, def))
			return job.job_id;
	}
}

/* ------------------------------------------------------------------------
 * Functions
 * ------------------------------------------------------------------------
 */

Datum
jobsched_create_job(PG_FUNCTION_ARGS)
{
	static const char *const choices[] = {"error", "update", "keep", NULL};
	char	   *if_exists;
	JsJobDefinition def;

	js_check_may_write("create_job()");
	if_exists = js_text_argument(fcinfo, js_job_definition_read(fcinfo, 0, &def));
	js_job_arguments_require(&def.args);
	js_job_arguments_complete(&def.args);
	if (if_exists == NULL)
		js_refuse_null("if_exists");
	(void) js_choice_argument("if_exists", if_exists, choices);
	js_channel_check_name_is_free(def.args.job.name);
	js_check_may_own(def.args.job.owner, js_job_definition_needs_session(&def, NULL));
	PG_RETURN_INT64(create_job(&def, if_exists));
}

/* The job whose name is the first argument, for this transaction to change. */
static void
job_argument(FunctionCallInfo fcinfo, const char *function, JsJob *job)
{
	js_check_may_write(function);
	js_resolve_job_for_change(js_required_text(fcinfo, 0, "job"), job);
}

/* It has another name or owner than it had, and the caller may give it these. */
static void
write_renamed(JsJob *job)
{
	if (!js_job_name_lock(job->owner, job->name))
		refuse_duplicate(job->owner, job->name);
	js_job_change(job);
	js_job_name_unlock(job->owner, job->name);
}

Datum
jobsched_alter_job(PG_FUNCTION_ARGS)
{
	JsJobDefinition def;
	JsJob		before;
	JsJob		job;
	List	   *steps;

	job_argument(fcinfo, "alter_job()", &before);
	job = before;
	(void) js_job_definition_read(fcinfo, 1, &def);
	js_channel_check_alter(&before, &def);
	if ((js_job_definition_changes_work(&def) || def.args.given[JS_JOB_ARGS] ||
		 def.args.given[JS_JOB_ON_SUCCESS] || def.args.given[JS_JOB_ON_FAILURE]) &&
		(!def.args.given[JS_JOB_OWNER] || def.args.job.owner == job.owner))
		js_check_may_own(job.owner, js_job_definition_needs_session(&def, &job));
	js_job_definition_apply(&def, &job);
	steps = define_steps(&def, &before, &job);
	if (job.owner != before.owner || strcmp(job.name, before.name) != 0)
		write_renamed(&job);
	else
		js_job_change(&job);
	js_step_sets_follow(&before, &job);
	js_step_set_write(&job, steps);
	PG_RETURN_VOID();
}

/* No change of how the job runs: one that has been paused after failures stays so. */
Datum
jobsched_set_job_metadata(PG_FUNCTION_ARGS)
{
	JsJob		job;

	job_argument(fcinfo, "set_job_metadata()", &job);
	job.metadata = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	js_bounds_check_job(&job);
	job.updated_at = js_clock_now();
	js_job_update(&job);
	js_wakeup_job(job.job_id);	/* alerts may be about it */
	PG_RETURN_VOID();
}

Datum
jobsched_drop_job(PG_FUNCTION_ARGS)
{
	JsJob		before;
	JsJob		job;

	job_argument(fcinfo, "drop_job()", &before);
	job = before;
	js_channel_check_drop(&job);
	if (strcmp(job.name, JS_HTTP_JOB) == 0)
		js_cancel_jobless(job.owner);
	job.dropped_at = js_clock_now();
	job.cancel_running = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	/* Nobody could resume the steps of a run that has begun. */
	job.paused = false;
	js_job_change(&job);
	js_step_sets_follow(&before, &job);
	PG_RETURN_VOID();
}

Datum
jobsched_pause_job(PG_FUNCTION_ARGS)
{
	JsJob		before;
	JsJob		job;

	job_argument(fcinfo, "pause_job()", &before);
	job = before;
	job.paused = true;
	job.pause_reason = js_text_argument(fcinfo, 1);
	js_bounds_check_remark("reason", job.pause_reason);
	js_job_change(&job);
	js_step_sets_follow(&before, &job);
	PG_RETURN_VOID();
}

Datum
jobsched_resume_job(PG_FUNCTION_ARGS)
{
	JsJob		before;
	JsJob		job;

	job_argument(fcinfo, "resume_job()", &before);
	job = before;
	job.paused = false;
	job.pause_reason = NULL;
	js_job_change(&job);
	js_step_sets_follow(&before, &job);
	PG_RETURN_VOID();
}

/* ------------------------------------------------------------------------
 * The database
 * ------------------------------------------------------------------------
 */

/* Steps go with the jobs that they are steps of. */
static bool
is_stranger(const JsJob *job, void *arg)
{
	return job->dropped_at == DT_NOBEGIN && job->workflow_id == 0 &&
		memcmp(&job->home, arg, sizeof(pg_uuid_t)) != 0;
}

/* What adopt() has come upon. */
typedef struct Adoption
{
	pg_uuid_t	token;
	int64		adopted;
	int64		not_allowed;	/* the caller may not act for their owners */
	int64		missing;		/* there are no such owners here */
	char	   *missing_name;	/* one of these */
	int64		taken;			/* their owners have another of their name */
} Adoption;

/* Whether its owner has one of this name that is at home. */
static bool
name_is_taken(const JsJob *job, const pg_uuid_t *token)
{
	JsJob		other;

	return js_job_find(job->owner, job->name, &other) &&
		memcmp(&other.home, token, sizeof(pg_uuid_t)) == 0;
}

/*
 * A job goes to its owner, whose name counts here; only for who may act for that
 * role: else the owner of a copy could have others' jobs execute what is in it.
 *
 * Slots that passed while the job was at home elsewhere, or asleep, are not
 * this database's to make up for.
 */
static void
adopt_job(int64 job_id, Adoption *adoption)
{
	JsJob		before;
	JsJob		job;

	js_job_lock(job_id);
	if (!js_job_read(job_id, &job) || !is_stranger(&job, &adoption->token))
		return;
	if (js_role_name(job.owner) == NULL)
	{
		adoption->missing++;
		adoption->missing_name = job.owner_name;
	}
	else if (!js_may_act_for(job.owner))
		adoption->not_allowed++;
	else if (name_is_taken(&job, &adoption->token))
		adoption->taken++;
	else
	{
		before = job;
		job.home = adoption->token;
		js_job_after_adopt(&job);
		js_job_restart_schedule(&job, js_clock_now());
		js_job_change(&job);
		js_step_sets_follow(&before, &job);
		adoption->adopted++;
	}
}

/* Of others' jobs only the owner of the database hears. */
static void
tell_what_sleeps_on(const Adoption *adoption)
{
	if (adoption->taken > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " jobs sleep on: their owners have others of the same name here", adoption->taken),
				 errhint("Rename or drop one of the two, and call adopt() again.")));
	if (!js_owns_database())
		return;
	if (adoption->not_allowed > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " jobs sleep on: you may not act for their owners", adoption->not_allowed),
				 errhint("Their owners, or a superuser, can call adopt().")));
	if (adoption->missing > 0)
		ereport(NOTICE,
				(errmsg(INT64_FORMAT " jobs sleep on: their owners do not exist here, role \"%s\" for one",
						adoption->missing, adoption->missing_name ? adoption->missing_name : "?"),
				 errhint("CREATE ROLE, or have a superuser name another owner with alter_job(); and call adopt() again.")));
}

/*
 * Who owns the database says that it is no copy any more; from then on each
 * role can adopt its own jobs.
 */
Datum
jobsched_adopt(PG_FUNCTION_ARGS)
{
	Adoption	adoption = {0};
	bool		renews;
	ListCell   *lc;

	js_check_may_write("adopt()");
	renews = !js_identity_read(&adoption.token);
	if (renews)
		js_check_owns_database();
	js_identity_renew(&adoption.token);
	js_ids_catch_up("job_id_seq", js_job_last_id());
	js_ids_catch_up("run_id_seq", Max(js_run_last_id(), js_event_last_id()));
	js_runs_adopt(&adoption.token, js_may_act_for);
	js_hooks_adopt(js_may_act_for);
	js_alerts_adopt(js_may_act_for);
	foreach(lc, js_jobs_select(is_stranger, &adoption.token))
		adopt_job(*(int64 *) lfirst(lc), &adoption);
	if (!js_limits_adopt(js_may_act_for) && adoption.adopted + adoption.taken == 0)
		js_check_owns_database();	/* nothing of it is the caller's */
	tell_what_sleeps_on(&adoption);
	if (renews || adoption.adopted > 0 || js_owns_database())
	{
		js_wakeup_start();
		js_wakeup_everything();
	}
	else
	{
		js_wakeup_limits();
		js_wakeup_alerts();
	}
	PG_RETURN_INT64(adoption.adopted);
}

/* The install script's last word. */
Datum
jobsched_announce(PG_FUNCTION_ARGS)
{
	js_wakeup_start();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(jobsched_metadata_contains);

/*
 * The server's @>.  It goes as deep as part does where the metadata does, and raises an error
 * if the stack has no room for it.  So part is gone through by itself first: then an error
 * tells nothing of the metadata.
 */
Datum
jobsched_metadata_contains(PG_FUNCTION_ARGS)
{
	(void) DirectFunctionCall2(jsonb_contains, PG_GETARG_DATUM(1), PG_GETARG_DATUM(1));
	return DirectFunctionCall2(jsonb_contains, PG_GETARG_DATUM(0), PG_GETARG_DATUM(1));
}
