/*-------------------------------------------------------------------------
 *
 * whoami.c
 *		whoami(): who asks, where, and which buttons are of use to him.
 *
 * Only for display: each function checks the rights of its caller by itself, and they
 * may change between the two.  Anybody may ask; what is said is of himself, of the
 * server, and of roles whose rights he has.
 *
 * Jobs are not looked at one by one: of each role of the caller an index says whether it
 * has any.  So it takes as long as he has roles.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "api/access.h"
#include "api/seen.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "run/http_job.h"
#include "store/store.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"

PG_FUNCTION_INFO_V1(jobsched_whoami);

enum WhoamiColumn
{
	WHO_ROLE, WHO_SUPERUSER, WHO_DATABASE, WHO_SERVER_VERSION, WHO_VERSION, WHO_TIMEZONE, WHO_STANDBY,
	WHO_WATCHES_ALL, WHO_MANAGES, WHO_MAY_STOP, WHO_MAY_REQUEST, WHO_COLUMNS
};

static Datum
name_datum(const char *name)
{
	return DirectFunctionCall1(namein, CStringGetDatum(name));
}

static Datum
setting(const char *name)
{
	const char *value = GetConfigOption(name, true, false);

	return CStringGetTextDatum(value != NULL ? value : "");
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* The roles that have jobs which he may manage. */
static Datum
managed_roles(void)
{
	List	   *names = NIL;
	Datum	   *datums;
	int			count = 0;
	ListCell   *lc;

	foreach(lc, js_roles_of_user(js_may_manage))
	{
		char	   *name = GetUserNameFromId(lfirst_oid(lc), true);

		CHECK_FOR_INTERRUPTS();
		if (name != NULL && js_role_has_jobs(lfirst_oid(lc)))
			names = lappend(names, name);
	}
	list_sort(names, compare_names);
	datums = palloc((list_length(names) + 1) * sizeof(Datum));
	foreach(lc, names)
		datums[count++] = name_datum(lfirst(lc));
	return PointerGetDatum(construct_array(datums, count, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}

Datum
jobsched_whoami(PG_FUNCTION_ARGS)
{
	Datum		values[WHO_COLUMNS] = {0};
	bool		nulls[WHO_COLUMNS] = {false};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != WHO_COLUMNS)
		elog(ERROR, "whoami() has been declared wrongly");
	values[WHO_ROLE] = name_datum(GetUserNameFromId(GetUserId(), false));
	values[WHO_SUPERUSER] = BoolGetDatum(superuser());
	values[WHO_DATABASE] = name_datum(get_database_name(MyDatabaseId));
	values[WHO_SERVER_VERSION] = setting("server_version");
	values[WHO_VERSION] = CStringGetTextDatum(JS_VERSION);
	values[WHO_TIMEZONE] = setting("jobsched.timezone");
	values[WHO_STANDBY] = BoolGetDatum(RecoveryInProgress());
	values[WHO_WATCHES_ALL] = BoolGetDatum(js_may_see(InvalidOid));
	nulls[WHO_MANAGES] = superuser();
	if (!superuser())
		values[WHO_MANAGES] = managed_roles();
	values[WHO_MAY_STOP] = BoolGetDatum(js_owns_database());
	values[WHO_MAY_REQUEST] = BoolGetDatum(js_http_may_request(GetUserId()));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
