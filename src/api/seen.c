/*-------------------------------------------------------------------------
 *
 * seen.c
 *		What the planner is told of the policies on runs.
 *
 * The policy of run, history, attempt and run_log is may_see_run(owner, job_id), and
 * views of jobs have it with the job's owner; it says of one row whether its reader may see it, by the owner alone.  By
 * itself it would say nothing to the planner: he would expect a third of the rows
 * and look at every row, newest first, for one who may see twenty of millions.
 * The function's support tells him two things.
 *
 *	how many	the share of rows by the statistics of column owner
 *	where		in which jobs these rows can be, as a condition for an index whose
 *				column is job_id: job_id = ANY (seen_jobs())
 *
 * Invariants.  The policy is asked of every row that such an index finds, so what
 * is told here can never show a row.  It must not hide one either: seen_jobs() is
 * evaluated when the plan is executed, and has every job that may have a run of any
 * role whose rights the reader has (store_owner.c).  For who sees everything there
 * is no such condition.  A plan that was made for a role is not used for another,
 * for it depends on row security; should the role come to see everything while a
 * session keeps a plan with the condition, seen_jobs() has all jobs.
 *
 * No index by owner: to write it would cost each run more than 60 bytes of WAL and
 * the opening of an index.  The index by job is there in any case.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "api/access.h"
#include "api/seen.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "store/store.h"
#include "store/table.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(jobsched_may_see_support);
PG_FUNCTION_INFO_V1(jobsched_seen_jobs);

/* The arguments of may_see_run(). */
#define ARG_OWNER 0
#define ARG_JOB_ID 1

/* With more jobs a condition costs more than it saves. */
#define MOST_JOBS 100

/* ------------------------------------------------------------------------
 * Roles and jobs
 * ------------------------------------------------------------------------
 */

static List *
add_groups_of(List *roles, Oid member)
{
	CatCList   *list = SearchSysCacheList1(AUTHMEMMEMROLE, ObjectIdGetDatum(member));

	for (int i = 0; i < list->n_members; i++)
	{
		HeapTuple	tuple = &list->members[i]->tuple;

		roles = list_append_unique_oid(roles, ((Form_pg_auth_members) GETSTRUCT(tuple))->roleid);
	}
	ReleaseSysCacheList(list);
	return roles;
}

/*
 * The roles of which this says yes, of those that the current user is a member of
 * by any way, and of what the database's owner is a member of without being told; he is
 * one himself.
 */
List *
js_roles_of_user(bool (*may) (Oid owner))
{
	List	   *roles = list_make2_oid(GetUserId(), ROLE_PG_DATABASE_OWNER);
	List	   *seen = NIL;

	/* grows meanwhile */
	for (int i = 0; i < list_length(roles); i++)
	{
		roles = add_groups_of(roles, list_nth_oid(roles, i));
		if (may(list_nth_oid(roles, i)))
			seen = lappend_oid(seen, list_nth_oid(roles, i));
	}
	list_free(roles);
	return seen;
}

/* Whose runs he may see, unless he sees everything. */
static List *
seen_roles(void)
{
	return js_roles_of_user(js_may_see);
}

/* A run may have no job yet, and 0 in its place. */
static List *
no_job(void)
{
	return list_make1(palloc0(sizeof(int64)));
}

static List *
jobs_of(const List *roles, int most)
{
	List	   *ids = no_job();
	ListCell   *lc;

	foreach(lc, roles)
		ids = js_jobs_with_runs_of(ids, lfirst_oid(lc), most);
	return ids;
}

Datum
jobsched_seen_jobs(PG_FUNCTION_ARGS)
{
	List	   *ids = js_may_see(InvalidOid) ? js_jobs_ids(no_job()) : jobs_of(seen_roles(), PG_INT32_MAX);
	Datum	   *datums = palloc(list_length(ids) * sizeof(Datum));
	int			count = 0;
	ListCell   *lc;

	foreach(lc, ids)
		datums[count++] = Int64GetDatum(*(int64 *) lfirst(lc));
	PG_RETURN_ARRAYTYPE_P(construct_array(datums, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
										  TYPALIGN_DOUBLE));
}

/* ------------------------------------------------------------------------
 * How many
 * ------------------------------------------------------------------------
 */

/* Of owners that are frequent, by statistics: the share that is seen, and that of all. */
static void
share_of_frequent(const AttStatsSlot * slot, double *seen, double *all)
{
	*seen = *all = 0;
	for (int i = 0; i < slot->nvalues; i++)
	{
		*all += slot->numbers[i];
		if (js_may_see(DatumGetObjectId(slot->values[i])))
			*seen += slot->numbers[i];
	}
}

static int
frequent_among(const AttStatsSlot * slot, const List *roles)
{
	int			count = 0;

	for (int i = 0; i < slot->nvalues; i++)
		if (list_member_oid(roles, DatumGetObjectId(slot->values[i])))
			count++;
	return count;
}

/* The other owners share what is left, as far as anybody knows. */
static double
share_of_rare(const AttStatsSlot * slot, double left, double owners, const List *roles)
{
	double		rare = owners - slot->nvalues;
	int			seen = list_length(roles) - frequent_among(slot, roles);
	double		each = left / Max(rare, 1);

	if (slot->nnumbers > 0)
		each = Min(each, slot->numbers[slot->nnumbers - 1]);
	return each * Min(seen, Max(rare, 1));
}

/* The column with the OID, if the owner is taken from more than that: owner_of(). */
static Node *
owner_column(Node *owner)
{
	if (IsA(owner, FuncExpr) && castNode(FuncExpr, owner)->args != NIL)
		return linitial(castNode(FuncExpr, owner)->args);
	return owner;
}

static Selectivity
share_of_owners(PlannerInfo * root, Node *owner, int relid)
{
	List	   *roles = seen_roles();
	AttStatsSlot slot = {0};
	VariableStatData var;
	bool		by_default;
	double		owners;
	double		frequent = 0;
	double		all = 0;
	double		share;

	examine_variable(root, owner_column(owner), relid, &var);
	owners = get_variable_numdistinct(&var, &by_default);
	if (HeapTupleIsValid(var.statsTuple) &&
		get_attstatsslot(&slot, var.statsTuple, STATISTIC_KIND_MCV, InvalidOid,
						 ATTSTATSSLOT_VALUES | ATTSTATSSLOT_NUMBERS))
		share_of_frequent(&slot, &frequent, &all);
	share = frequent + share_of_rare(&slot, Max(1 - all, 0), owners, roles);
	free_attstatsslot(&slot);
	ReleaseVariableStats(var);
	return Min(share, 1);
}

static Node *
tell_share(SupportRequestSelectivity * request)
{
	if (request->is_join)
		return NULL;
	request->selectivity = js_may_see(InvalidOid) ? 1 :
		share_of_owners(request->root, list_nth(request->args, ARG_OWNER), request->varRelid);
	return (Node *) request;
}

/* ------------------------------------------------------------------------
 * Where
 * ------------------------------------------------------------------------
 */

/* Of the extension; InvalidOid if that is another version. */
static Oid
seen_jobs_function(void)
{
	oidvector  *none = buildoidvector(NULL, 0);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("seen_jobs"),
						   PointerGetDatum(none), ObjectIdGetDatum(get_namespace_oid(JS_SCHEMA, true)));
}

static bool
helps(const SupportRequestIndexCondition * request)
{
	/* it is another node if somebody has made an operator of the function */
	return IsA(request->node, FuncExpr) &&
		request->indexarg == ARG_JOB_ID &&
		request->index->relam == BTREE_AM_OID &&
		!js_may_see(InvalidOid) &&
		list_length(jobs_of(seen_roles(), MOST_JOBS)) < MOST_JOBS;
}

static Node *
tell_jobs(SupportRequestIndexCondition * request)
{
	Oid			equal = get_opfamily_member(request->opfamily, INT8OID, INT8OID, BTEqualStrategyNumber);
	Oid			function = OidIsValid(equal) && helps(request) ? seen_jobs_function() : InvalidOid;
	ScalarArrayOpExpr *condition;
	Node	   *job_id;
	FuncExpr   *jobs;

	if (!OidIsValid(function))
		return NULL;
	job_id = list_nth(castNode(FuncExpr, request->node)->args, ARG_JOB_ID);
	jobs = makeFuncExpr(function, INT8ARRAYOID, NIL, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	condition = makeNode(ScalarArrayOpExpr);
	condition->opno = equal;
	condition->opfuncid = get_opcode(equal);
	condition->useOr = true;
	condition->args = list_make2(copyObject(job_id), jobs);
	condition->location = -1;
	request->lossy = true;
	return (Node *) list_make1(condition);
}

Datum
jobsched_may_see_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	Node	   *told = NULL;

	if (IsA(request, SupportRequestSelectivity))
		told = tell_share((SupportRequestSelectivity *) request);
	else if (IsA(request, SupportRequestIndexCondition))
		told = tell_jobs((SupportRequestIndexCondition *) request);
	PG_RETURN_POINTER(told);
}
