/*-------------------------------------------------------------------------
 *
 * arguments.c
 *		Arguments of our SQL functions.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/arguments.h"
#include "base/interval.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

void
js_refuse_null(const char *parameter)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s cannot be NULL", parameter)));
}

/* NULL: it is not given. */
char *
js_text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

char *
js_required_text(FunctionCallInfo fcinfo, int n, const char *parameter)
{
	char	   *text = js_text_argument(fcinfo, n);

	if (text == NULL)
		js_refuse_null(parameter);
	return text;
}

/* NULL, as by a gateway that was given a JSON null, is the default of the parameter. */
bool
js_flag_argument(FunctionCallInfo fcinfo, int n, bool otherwise)
{
	return PG_ARGISNULL(n) ? otherwise : PG_GETARG_BOOL(n);
}

/* The same of a length of time, in microseconds. */
int64
js_span_argument(FunctionCallInfo fcinfo, int n, const char *parameter, int64 otherwise)
{
	return PG_ARGISNULL(n) ? otherwise : js_interval_us(parameter, PG_GETARG_INTERVAL_P(n));
}

/* A role by its name, which is the argument owner; by default who calls. */
Oid
js_owner_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? GetUserId() : get_role_oid(NameStr(*PG_GETARG_NAME(n)), false);
}
