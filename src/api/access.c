/*-------------------------------------------------------------------------
 *
 * access.c
 *		Who may see and do what.
 *
 * Jobs and runs belong to a role.  Every role that has the privileges of that
 * role (the role itself, a member that inherits, a superuser) may manage them
 * and see all of them; members of pg_monitor may see them.  To make a role the
 * owner of a job, or to define what a role's job executes, one must be able to
 * SET ROLE to it.
 *
 * For a role without these rights a job does not exist: messages do not reveal
 * the difference.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "api/access.h"
#include "base/arguments.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "run/http_job.h"
#include "tcop/utility.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(jobsched_may_manage);
PG_FUNCTION_INFO_V1(jobsched_may_see);
PG_FUNCTION_INFO_V1(jobsched_may_read);
PG_FUNCTION_INFO_V1(jobsched_check_job_filter);
PG_FUNCTION_INFO_V1(jobsched_keep_own);
PG_FUNCTION_INFO_V1(jobsched_disown);

/* Rows are written past the executor, so this is not asked elsewhere. */
void
js_check_may_write(const char *function)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s during recovery", function),
				 errhint("Call it on the primary server.")));
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

bool
js_may_manage(Oid owner)
{
	return has_privs_of_role(GetUserId(), owner);
}

/* Runs belong to whoever owns their job now. */
bool
js_role_may_manage_run(Oid role, const JsRun *run)
{
	JsJob		job;

	return has_privs_of_role(role, js_job_read_head(run->job_id, &job) ? job.owner : run->owner);
}

bool
js_may_manage_run(const JsRun *run)
{
	return js_role_may_manage_run(GetUserId(), run);
}

bool
js_may_see(Oid owner)
{
	return js_role_may_see(GetUserId(), owner);
}

Datum
jobsched_may_manage(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(js_may_manage(PG_GETARG_OID(0)));
}

Datum
jobsched_may_see(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(js_may_see(PG_GETARG_OID(0)));
}

/* What a run has to tell; a callback's is its owner's, for it has a response. */
bool
js_may_read(Oid owner, bool callback)
{
	return callback ? js_may_manage(owner) : js_may_see(owner);
}

Datum
jobsched_may_read(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(js_may_read(PG_GETARG_OID(0), PG_GETARG_BOOL(1)));
}

static bool
role_can_login(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can = false;

	if (HeapTupleIsValid(tuple))
	{
		can = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
		ReleaseSysCache(tuple);
	}
	return can;
}

/* If a job has a session, that is a login of its owner: it has to be possible. */
void
js_check_may_own(Oid owner, bool needs_session)
{
	if (owner != GetUserId())
		js_check_can_set_role(GetUserId(), owner);
	if (needs_session && !role_can_login(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" cannot own a job: it is not permitted to log in",
						GetUserNameFromId(owner, false)),
				 errhint("Jobs run in a session of their owner. Give the role LOGIN (it needs no password), or name another owner.")));
}

/* A request needs no session, but the function that is told of its end does. */
void
js_check_may_be_told(Oid owner, const char *parameter)
{
	if (!role_can_login(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" cannot have %s: it is not permitted to log in",
						GetUserNameFromId(owner, false), parameter),
				 errhint("The function runs in a session of the owner. Give the role LOGIN (it needs no password), make the request as another role, or look at the outcome in view runs.")));
}

/* Whether that role exists, and what is done in its name may be decided by who calls. */
bool
js_may_act_for(Oid role)
{
	return SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)) &&
		js_can_set_role(GetUserId(), role);
}

/* What concerns a whole database is its owner's, and a superuser's. */
bool
js_owns_database(void)
{
	return js_database_ownercheck(MyDatabaseId, GetUserId());
}

void
js_check_owns_database(void)
{
	if (!js_owns_database())
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_DATABASE, get_database_name(MyDatabaseId));
}

/*
 * The caller's job "http" that is yet to be made, because a request is there
 * already; or, if he may do nothing to any other job of this name, because he
 * may make requests.
 */
static bool
is_http_job_to_be(const char *name, int others)
{
	return strcmp(name, JS_HTTP_JOB) == 0 &&
		(js_run_jobless_exists(GetUserId()) ||
		 (others == 0 && js_http_may_request(GetUserId())));
}

/*
 * The job that a name stands for: the caller's own, or else the only one
 * that the caller may manage.  With job_id 0 it is yet to be made.
 */
void
js_resolve_job(const char *name, JsJob *job)
{
	const JsJob *found = NULL;
	int			count = 0;
	ListCell   *lc;

	foreach(lc, js_jobs_named(name))
	{
		const JsJob *candidate = lfirst(lc);

		if (candidate->owner == GetUserId())
		{
			found = candidate;
			count = 1;
			break;
		}
		if (js_may_manage(candidate->owner))
		{
			found = candidate;
			count++;
		}
	}
	if (is_http_job_to_be(name, count))
	{
		js_http_job(GetUserId(), job);
		return;
	}
	if (count == 0 || (count == 1 && !js_job_read(found->job_id, job)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" does not exist", name)));
	if (count > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
				 errmsg("job name \"%s\" is not unique", name),
				 errdetail("%d roles that you may act for own a job of this name.", count),
				 errhint("Give its owner too, or its job_id instead of the name.")));
}

/* The job of this name of a role; with job_id 0 it is the caller's, and yet to be made. */
static void
resolve_job_of(Oid owner, const char *name, JsJob *job)
{
	ListCell   *lc;

	if (owner == GetUserId() && is_http_job_to_be(name, 0))
	{
		js_http_job(owner, job);
		return;
	}
	if (js_may_manage(owner))
		foreach(lc, js_jobs_named(name))
	{
		const JsJob *candidate = lfirst(lc);

		if (candidate->owner == owner && js_job_read(candidate->job_id, job))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("job \"%s\" of role \"%s\" does not exist", name, GetUserNameFromId(owner, false))));
}

/* Steps are no jobs to others. */
static void
resolve_job_id(int64 job_id, JsJob *job)
{
	if (!js_job_read(job_id, job) || job->dropped_at != DT_NOBEGIN || job->workflow_id != 0 ||
		!js_may_manage(job->owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job " INT64_FORMAT " does not exist", job_id)));
}

/* Whether a job is named at all. */
bool
js_job_is_given(FunctionCallInfo fcinfo, const JsJobPlaces *at)
{
	return !PG_ARGISNULL(at->job) || !PG_ARGISNULL(at->job_id);
}

static bool
owner_is_given(FunctionCallInfo fcinfo, const JsJobPlaces *at)
{
	return at->owner != 0 && !PG_ARGISNULL(at->owner);
}

static void
check_places(FunctionCallInfo fcinfo, const JsJobPlaces *at)
{
	bool		has_owner = owner_is_given(fcinfo, at);

	if (!js_job_is_given(fcinfo, at))
		js_refuse_null("job");
	if (!PG_ARGISNULL(at->job_id) && (has_owner || !PG_ARGISNULL(at->job)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job_id is given with %s", has_owner ? "owner" : "job"),
				 errhint("Give either the name of a job, and its owner if that is needed, or its id.")));
}

/* The same of a function that takes all jobs if none is named; false: none is. */
bool
js_job_filter_is_given(FunctionCallInfo fcinfo, const JsJobPlaces *at)
{
	if (!js_job_is_given(fcinfo, at) && !owner_is_given(fcinfo, at))
		return false;
	check_places(fcinfo, at);
	return true;
}

/* For functions in SQL: job, owner, job_id. */
Datum
jobsched_check_job_filter(PG_FUNCTION_ARGS)
{
	JsJobPlaces at = {.job = 0,.owner = 1,.job_id = 2};

	PG_RETURN_BOOL(js_job_filter_is_given(fcinfo, &at));
}

/*
 * The job that the arguments stand for: by its name, and the role that owns it if that
 * is given too, or by its id.
 */
void
js_job_argument(FunctionCallInfo fcinfo, const JsJobPlaces *at, JsJob *job)
{
	check_places(fcinfo, at);
	if (!PG_ARGISNULL(at->job_id))
		resolve_job_id(PG_GETARG_INT64(at->job_id), job);
	else if (owner_is_given(fcinfo, at))
		resolve_job_of(js_owner_argument(fcinfo, at->owner), js_text_argument(fcinfo, at->job), job);
	else
		js_resolve_job(js_text_argument(fcinfo, at->job), job);
}

/* It has been resolved; nobody else changes it until the transaction ends. */
void
js_hold_job(JsJob *job)
{
	const char *name = job->name;

	if (job->job_id == 0)
		js_http_job_make(job->owner, job);
	js_job_lock(job->job_id);
	if (!js_job_read(job->job_id, job) || job->dropped_at != DT_NOBEGIN ||
		!js_may_manage(job->owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" does not exist", name)));
}

/* A replica trigger: what a publisher sends for the table does not count. */
Datum
jobsched_keep_own(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"keep_own\" was not called by a trigger")));
	PG_RETURN_POINTER(NULL);
}

/*
 * A replica trigger: the owner of a row that a publisher sends is an OID of
 * another cluster, where it is perhaps somebody else.
 */
Datum
jobsched_disown(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	HeapTuple	tuple;
	int			column;
	Datum		nobody = ObjectIdGetDatum(InvalidOid);
	bool		isnull = false;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) || TRIGGER_FIRED_BY_DELETE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"disown\" was not called by a trigger before an insert or update")));
	column = SPI_fnumber(RelationGetDescr(data->tg_relation), "owner");
	if (column <= 0 || SPI_gettypeid(RelationGetDescr(data->tg_relation), column) != OIDOID)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("table \"%s\" has no owner", RelationGetRelationName(data->tg_relation))));
	tuple = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple, RelationGetDescr(data->tg_relation), 1,
													 &column, &nobody, &isnull));
}
