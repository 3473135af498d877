/*-------------------------------------------------------------------------
 *
 * hook.c
 *		Functions that define hooks: create_hook(), rotate_hook(), drop_hook(),
 *		hook_wrapper().
 *
 * DESIGN
 *
 * A hook says who may start one job, or send one event, without a role of the
 * database that has rights on it.  It belongs to whoever defines it, and acts as
 * that role, whoever calls receive() (hook_receive.c).  So to define it one needs
 * the rights on the job, and it needs them again with each request.
 *
 * Its name is unique in the database: who calls it knows no owner.  The job is
 * kept by its id, so renaming it changes nothing.
 *
 * A token is made here and shown once; the row has its hash.  Other proofs rest on
 * a secret of the owner, which is read when a request comes, never here but to see
 * whether it is there.
 *
 * Hooks are dumped as jobs are, and as these they sleep in a copy until adopt().
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/event.h"
#include "api/hook.h"
#include "api/trigger.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "base/sqlstate.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "http/hook_verify.h"
#include "http/http_template.h"
#include "http/vault.h"
#include "miscadmin.h"
#include "shmem/clock.h"
#include "store/store_secret.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_create_hook);
PG_FUNCTION_INFO_V1(jobsched_rotate_hook);
PG_FUNCTION_INFO_V1(jobsched_drop_hook);
PG_FUNCTION_INFO_V1(jobsched_hook_wrapper);

#define MAX_KEPT_HEADERS 20
#define MAX_HEADER_NAME 100
#define MAX_DEDUPE 200
#define MAX_RATE 1000000
/* What the install script has as defaults. */
#define TOLERANCE (5 * USECS_PER_MINUTE)
#define KEEP_OLD USECS_PER_DAY
#define MAX_SIZE (1024 * 1024)
#define RATE 100

#define MAX_TOLERANCE USECS_PER_DAY
#define MAX_KEEP_OLD (366 * USECS_PER_DAY)

#define VAULT_PREFIX "vault."

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

static void
check_name(const char *name)
{
	size_t		length = strlen(name);

	if (length == 0 || length > JS_HOOK_NAME_MAX || strspn(name, NAME_CHARACTERS) != length)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name of a hook \"%s\"", name),
				 errhint("It has 1 to %d letters, digits, \"_\", \".\" and \"-\".", JS_HOOK_NAME_MAX)));
}

/* What it starts; the hook's owner needs the rights on that. */
static void
read_aim(FunctionCallInfo fcinfo, JsHook *hook)
{
	char	   *job_name = js_text_argument(fcinfo, 1);
	JsJob		job;

	hook->event = js_text_argument(fcinfo, 2);
	if ((job_name == NULL) == (hook->event == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("either job or event has to be given"),
				 errhint("A hook starts a run of a job, or sends an event to runs that wait for it.")));
	if (hook->event != NULL)
	{
		js_event_check_name(hook->event);
		return;
	}
	js_trigger_resolve(job_name, &job);
	if (job.job_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("job \"%s\" does not exist", job_name)));
	hook->job_id = job.job_id;
}

static JsHookVerify
verify_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *name = PG_ARGISNULL(n) ? pstrdup("token") : js_text_argument(fcinfo, n);
	JsHookVerify verify;

	if (!js_hook_verify_of(name, &verify))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid verify \"%s\"", name),
				 errhint("It is one of token, standard, github, stripe, slack and hmac.")));
	return verify;
}

/* Warnings of a vault are nothing for who calls. */
static char *
read_vault_quietly(Oid owner, const char *name)
{
	int			nest_level = NewGUCNestLevel();
	char	   *value;

	(void) set_config_option("client_min_messages", "error", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	value = js_vault_read(owner, name);
	AtEOXact_GUC(false, nest_level);
	return value;
}

/*
 * The value of a secret, own or, behind "vault.", the vault's; NULL: there is none.
 * With the rights of the owner, whoever calls.  After an error the transaction has
 * to be aborted.
 */
char *
js_hook_secret(Oid owner, const char *name)
{
	size_t		length = strlen(VAULT_PREFIX);

	if (strncmp(name, VAULT_PREFIX, length) == 0)
		return read_vault_quietly(owner, name + length);
	return js_secret_read(owner, name);
}

static void
read_secret_name(FunctionCallInfo fcinfo, int n, JsHook *hook)
{
	char	   *value;

	hook->secret = js_text_argument(fcinfo, n);
	if (hook->secret == NULL && hook->verify != JS_HOOK_TOKEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("verify \"%s\" needs a secret", js_hook_verify_name(hook->verify)),
				 errhint("Keep what the sender signs with by set_secret(), and give its name here.")));
	if (hook->secret == NULL)
		return;
	if (strncmp(hook->secret, VAULT_PREFIX, strlen(VAULT_PREFIX)) != 0)
		js_secret_check_name(hook->secret);
	value = js_hook_secret(hook->owner, hook->secret);
	if (value != NULL && !js_secret_value_is_fit(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("secret \"%s\" has a value that is not of %d to %d bytes", hook->secret, JS_SECRET_MIN, JS_SECRET_MAX)));
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("secret \"%s\" of role \"%s\" does not exist", hook->secret,
						GetUserNameFromId(hook->owner, false)),
				 errhint("Keep it by set_secret(); one of the vault is named vault.NAME.")));
}

/* In lower case. */
static char *
header_name(const char *parameter, const char *given)
{
	char	   *name = asc_tolower(given, strlen(given));
	size_t		length = strlen(name);

	if (length == 0 || length > MAX_HEADER_NAME ||
		strspn(name, NAME_CHARACTERS "!#$%&'*+^`|~") != length)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name of a header \"%s\" in %s", given, parameter),
				 errhint("Give one such as \"x-webhook-secret\".")));
	return name;
}

/* Where a token, or a signature of no known form, is. */
static void
read_header(FunctionCallInfo fcinfo, int n, JsHook *hook)
{
	char	   *given = js_text_argument(fcinfo, n);

	if (given == NULL && hook->verify == JS_HOOK_HMAC)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("verify \"hmac\" needs a header"),
				 errhint("Name the one that has the signature.")));
	if (given == NULL)
		return;
	if (hook->verify != JS_HOOK_HMAC && hook->verify != JS_HOOK_TOKEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("header is given with verify \"%s\"", js_hook_verify_name(hook->verify)),
				 errhint("These senders have one of their own, which is used.")));
	hook->header = header_name("header", given);
}

/* The name of a header, or a path in the body, which begins with "$". */
static char *
dedupe_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *given = js_text_argument(fcinfo, n);

	if (given == NULL)
		return NULL;
	if (strlen(given) > MAX_DEDUPE)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("dedupe cannot be longer than %d bytes", MAX_DEDUPE)));
	if (given[0] != '$')
		return header_name("dedupe", given);
	(void) DirectFunctionCall1(jsonpath_in, CStringGetDatum(given));
	return given;
}

/* What proves who somebody is does not belong into a run's arguments, which many may read. */
static void
check_kept_header(const JsHook *hook, const char *name)
{
	if (strcmp(name, "authorization") == 0 || strcmp(name, "proxy-authorization") == 0 ||
		strcmp(name, "cookie") == 0 || strcmp(name, "apikey") == 0 ||
		(hook->header != NULL && strcmp(name, hook->header) == 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("header \"%s\" cannot be in keep_headers", name),
				 errhint("It has what the sender proves itself with, and args are read by others.")));
}

/* A repeat is told by what is written in one way only, and is no secret. */
static void
check_dedupe(const JsHook *hook)
{
	const char *proof = hook->header ? hook->header : js_hook_signature_header(hook->verify);

	if (hook->dedupe != NULL && proof != NULL && strcmp(hook->dedupe, proof) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dedupe cannot be header \"%s\"", proof),
				 errhint("It has what the sender proves itself with, which can be written in several ways.")));
}

static ArrayType *
keep_headers_argument(FunctionCallInfo fcinfo, int n, const JsHook *hook)
{
	ArrayType  *given = PG_ARGISNULL(n) ? NULL : PG_GETARG_ARRAYTYPE_P(n);
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (given == NULL || ArrayGetNItems(ARR_NDIM(given), ARR_DIMS(given)) == 0)
		return NULL;
	if (hook->event != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keep_headers is given with an event"),
				 errhint("An event has the body and nothing else.")));
	deconstruct_array(given, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	if (count > MAX_KEPT_HEADERS)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("keep_headers has %d elements, more than the %d that are allowed", count, MAX_KEPT_HEADERS)));
	for (int i = 0; i < count; i++)
	{
		char	   *name;

		if (nulls[i])
			js_refuse_null("an element of keep_headers");
		name = header_name("keep_headers", TextDatumGetCString(elements[i]));
		check_kept_header(hook, name);
		elements[i] = CStringGetTextDatum(name);
	}
	return construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT);
}

static int32
number_argument(FunctionCallInfo fcinfo, int n, const char *parameter, int32 otherwise, int32 min, int32 max)
{
	int32		value = PG_ARGISNULL(n) ? otherwise : PG_GETARG_INT32(n);

	if (value < min || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s \"%d\"", parameter, value),
				 errhint("It is from %d to %d.", min, max)));
	return value;
}

static int64
interval_argument(FunctionCallInfo fcinfo, int n, const char *parameter, int64 otherwise, int64 max)
{
	int64		us = js_span_argument(fcinfo, n, parameter, otherwise);

	if (us > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" is too long", parameter,
						DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(n)))),
				 errhint_plural("The longest is %d day.", "The longest is %d days.",
								max / USECS_PER_DAY, (int) (max / USECS_PER_DAY))));
	return us;
}

/* name, job, event, verify, secret, dedupe, tolerance, keep_headers, max_size, header, rate */
static void
read_hook(FunctionCallInfo fcinfo, JsHook *hook)
{
	memset(hook, 0, sizeof(JsHook));
	hook->owner = GetUserId();
	hook->name = js_required_text(fcinfo, 0, "name");
	check_name(hook->name);
	read_aim(fcinfo, hook);
	hook->verify = verify_argument(fcinfo, 3);
	read_secret_name(fcinfo, 4, hook);
	hook->dedupe = dedupe_argument(fcinfo, 5);
	hook->tolerance = interval_argument(fcinfo, 6, "tolerance", TOLERANCE, MAX_TOLERANCE);
	read_header(fcinfo, 9, hook);
	check_dedupe(hook);
	hook->keep_headers = keep_headers_argument(fcinfo, 7, hook);
	hook->max_size = number_argument(fcinfo, 8, "max_size", MAX_SIZE, 1, JS_HOOK_MAX_BODY);
	hook->rate = number_argument(fcinfo, 10, "rate", RATE, 0, MAX_RATE);
}

/* ------------------------------------------------------------------------
 * Functions
 * ------------------------------------------------------------------------
 */

static Datum
token_or_null(FunctionCallInfo fcinfo, const char *token)
{
	if (token == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(token));
}

Datum
jobsched_create_hook(PG_FUNCTION_ARGS)
{
	char	   *token = NULL;
	JsHook		other;
	JsHook		hook;

	js_check_may_write("create_hook()");
	read_hook(fcinfo, &hook);
	js_hook_lock_name(hook.name);
	if (js_hook_find(hook.name, &other))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("hook \"%s\" already exists", hook.name),
				 errhint("The name of a hook is unique in the database, whoever owns it.")));
	hook.id = *DatumGetUUIDP(DirectFunctionCall1(gen_random_uuid, (Datum) 0));
	hook.has_token = hook.secret == NULL;
	if (hook.has_token)
		token = js_token_make(&hook.token);
	js_hook_insert(&hook, js_clock_now());
	return token_or_null(fcinfo, token);
}

static bool
find_managed(const char *name, JsHook *hook)
{
	return js_hook_find(name, hook) && js_may_manage(hook->owner);
}

/*
 * One that the caller may manage, to whom else it does not exist; nobody else changes it
 * now.  Whoever may not manage it cannot hold up those who may.
 */
static void
find_for_change(const char *name, JsHook *hook)
{
	pg_uuid_t	locked = {{0}};
	bool		found = find_managed(name, hook);

	/* While we wait it may be dropped, and another one made. */
	while (found && memcmp(&locked, &hook->id, sizeof(pg_uuid_t)) != 0)
	{
		locked = hook->id;
		js_hook_lock_id(&locked);
		found = find_managed(name, hook);
	}
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("hook \"%s\" does not exist", name)));
}

Datum
jobsched_rotate_hook(PG_FUNCTION_ARGS)
{
	int64		keep_old;
	TimestampTz now = js_clock_now();
	char	   *token;
	JsHook		hook;

	js_check_may_write("rotate_hook()");
	keep_old = interval_argument(fcinfo, 1, "keep_old", KEEP_OLD, MAX_KEEP_OLD);
	find_for_change(js_required_text(fcinfo, 0, "name"), &hook);
	if (!hook.has_token)
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("hook \"%s\" has no token", hook.name),
				 errhint("Change its secret: set_secret() takes the old and the new one, each on a line.")));
	hook.has_old_token = keep_old > 0;
	hook.old_token = hook.token;
	hook.old_token_until = now + keep_old;
	token = js_token_make(&hook.token);
	js_hook_set_tokens(&hook, now);
	return token_or_null(fcinfo, token);
}

Datum
jobsched_drop_hook(PG_FUNCTION_ARGS)
{
	JsHook		hook;

	js_check_may_write("drop_hook()");
	find_for_change(js_required_text(fcinfo, 0, "name"), &hook);
	js_hook_delete(&hook);
	PG_RETURN_VOID();
}

/*
 * Text only: whoever executes it makes the function, with his rights, and it is his.
 * A json parameter gets the body as it was sent; jsonb would be another text.
 */
Datum
jobsched_hook_wrapper(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *schema = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *function;
	JsHook		hook;

	if (!js_hook_find(name, &hook) || !js_may_manage(hook.owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("hook \"%s\" does not exist", name)));
	(void) get_namespace_oid(schema, false);
	function = quote_qualified_identifier(schema, hook.name);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(
											  "CREATE OR REPLACE FUNCTION %s(json) RETURNS bigint\n"
											  "LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = '' AS $hook$\n"
											  "SELECT jobsched.receive('%s', $1::pg_catalog.text,\n"
											  "\tNULLIF(pg_catalog.current_setting('request.headers', true), '')::pg_catalog.jsonb)\n"
											  "$hook$;\n"
											  "REVOKE ALL ON FUNCTION %s(json) FROM PUBLIC;\n",
											  function, hook.name, function)));
}
