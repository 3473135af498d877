/*-------------------------------------------------------------------------
 *
 * secret.c
 *		Functions that store secrets: set_secret(), drop_secret().
 *
 * A secret belongs to a role, and its runs send it: {{secret.NAME}} in the
 * definition of a request.  Nothing shows its value again.  But the statement
 * that sets it contains the value, so that is hidden (hide.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/hide.h"
#include "base/arguments.h"
#include "fmgr.h"
#include "http/http_sign.h"
#include "http/http_template.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "store/store_secret.h"

PG_FUNCTION_INFO_V1(jobsched_set_secret);
PG_FUNCTION_INFO_V1(jobsched_drop_secret);

/* The statement as others see it. */
#define SHOWN_STATEMENT "SELECT jobsched.set_secret(...)"

static void
check_secret_value(const char *name, const char *value)
{
	const char *problem = js_signing_problem(value);

	if (!js_secret_value_is_fit(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the value of secret \"%s\" has %d bytes", name, (int) strlen(value)),
				 errhint("It has from %d to %d bytes: a shorter one could not be told from other text that is shown.",
						 JS_SECRET_MIN, JS_SECRET_MAX)));
	if (GetDatabaseEncoding() == PG_SQL_ASCII && !pg_verify_mbstr(PG_UTF8, value, strlen(value), true))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("the value of secret \"%s\" is not valid UTF-8", name)));
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the value of secret \"%s\" %s", name, problem),
				 errdetail("What begins with whsec_, whsk_ or whpk_ is a key of Standard Webhooks."),
				 errhint(JS_SIGNING_HINT)));
}

static void
set_secret(FunctionCallInfo fcinfo)
{
	char	   *name;
	char	   *value;
	Oid			owner;

	js_check_may_write("set_secret()");
	name = js_required_text(fcinfo, 0, "name");
	js_secret_check_name(name);
	value = js_required_text(fcinfo, 1, "value");
	check_secret_value(name, value);
	owner = js_owner_argument(fcinfo, 2);
	js_check_may_own(owner, false);
	js_secret_write(owner, name, value);
}

/* Whoever catches an error gets the context back that was his. */
Datum
jobsched_set_secret(PG_FUNCTION_ARGS)
{
	ErrorContextCallback *context = error_context_stack;

	js_hide_statement(SHOWN_STATEMENT);
	error_context_stack = NULL;
	set_secret(fcinfo);
	error_context_stack = context;
	PG_RETURN_VOID();
}

/* To whom it is not, it does not exist. */
Datum
jobsched_drop_secret(PG_FUNCTION_ARGS)
{
	char	   *name;
	Oid			owner;

	js_check_may_write("drop_secret()");
	name = js_required_text(fcinfo, 0, "name");
	owner = js_owner_argument(fcinfo, 1);
	if (!js_may_manage(owner) || !js_secret_drop(owner, name))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("secret \"%s\" of role \"%s\" does not exist", name,
						GetUserNameFromId(owner, false))));
	PG_RETURN_VOID();
}
