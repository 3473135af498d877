/*-------------------------------------------------------------------------
 *
 * job.c
 *		Functions that define and change jobs.
 *
 * Whatever can be found wrong is refused here, in the session of the one who
 * can put it right.
 *
 * The arguments of create_job() and alter_job() are the same from the name
 * on; alter_job() has the job in front.  NULL means "not given".
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/cancel.h"
#include "api/http.h"
#include "api/job_schedule.h"
#include "api/limit.h"
#include "api/policy.h"
#include "base/interval.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "guc.h"
#include "http/keys.h"
#include "run/execsql.h"
#include "run/http_job.h"
#include "run/retry.h"
#include "shmem/clock.h"
#include "shmem/wakeup.h"
#include "store/bounds.h"
#include "store/owner.h"
#include "store/store.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_create_job);
PG_FUNCTION_INFO_V1(jobsched_alter_job);
PG_FUNCTION_INFO_V1(jobsched_drop_job);
PG_FUNCTION_INFO_V1(jobsched_pause_job);
PG_FUNCTION_INFO_V1(jobsched_resume_job);
PG_FUNCTION_INFO_V1(jobsched_adopt);
PG_FUNCTION_INFO_V1(jobsched_announce);

/* What a caller has given. */
typedef struct Definition
{
	char	   *name;
	char	   *schedule;
	char	   *command;
	char	   *handler;
	Jsonb	   *args;
	char	   *timezone;
	bool		has_enabled;
	bool		enabled;
	char	   *description;
	Jsonb	   *metadata;
	Oid			owner;			/* InvalidOid: not given */
	char	   *mode;
	bool		has_share_transaction;
	bool		share_transaction;
	bool		has_timeout;
	int64		timeout;		/* microseconds; 0: none */
	JsRetryPolicy retry;
	JsSlotPolicy slots;
	char	   *queue;			/* empty: none */
	ArrayType  *keys;			/* empty: none */
	bool		has_http;		/* anything of what follows */
	JsHttpDefinition http;
	bool		by_run;			/* each run brings its own request */
} Definition;

/* ------------------------------------------------------------------------
 * Arguments
 * ------------------------------------------------------------------------
 */

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static Jsonb *
jsonb_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P_COPY(n);
}

static Oid
role_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? InvalidOid : get_role_oid(NameStr(*PG_GETARG_NAME(n)), false);
}

static bool
bool_argument(FunctionCallInfo fcinfo, int n, bool *given)
{
	*given = !PG_ARGISNULL(n);
	return *given && PG_GETARG_BOOL(n);
}

/* In microseconds, not negative. */
static int64
interval_argument(FunctionCallInfo fcinfo, int n, const char *name, bool *given)
{
	*given = !PG_ARGISNULL(n);
	return *given ? js_interval_us(name, PG_GETARG_INTERVAL_P(n)) : 0;
}

static char *
queue_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *queue = text_argument(fcinfo, n);

	if (queue != NULL && queue[0] != '\0')
		js_limit_check_name("queue", queue);
	return queue;
}

static ArrayType *
keys_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : js_limit_keys_argument(PG_GETARG_ARRAYTYPE_P_COPY(n));
}

/* The arguments from n on; returns the number of the one that follows. */
static int
read_definition(FunctionCallInfo fcinfo, int n, Definition *def)
{
	def->name = text_argument(fcinfo, n++);
	def->schedule = text_argument(fcinfo, n++);
	def->command = text_argument(fcinfo, n++);
	def->handler = text_argument(fcinfo, n++);
	def->args = jsonb_argument(fcinfo, n++);
	def->timezone = text_argument(fcinfo, n++);
	def->enabled = bool_argument(fcinfo, n++, &def->has_enabled);
	def->description = text_argument(fcinfo, n++);
	def->metadata = jsonb_argument(fcinfo, n++);
	def->owner = role_argument(fcinfo, n++);
	def->mode = text_argument(fcinfo, n++);
	def->share_transaction = bool_argument(fcinfo, n++, &def->has_share_transaction);
	def->timeout = interval_argument(fcinfo, n++, "timeout", &def->has_timeout);
	n = js_retry_policy_read(fcinfo, n, &def->retry);
	n = js_slot_policy_read(fcinfo, n, &def->slots);
	def->queue = queue_argument(fcinfo, n++);
	def->keys = keys_argument(fcinfo, n++);
	def->by_run = false;
	return js_http_arguments(fcinfo, n, &def->http, &def->has_http);
}

static void
check_name(const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a job cannot be empty")));
	if (strlen(name) > JS_MAX_JOB_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name of a job cannot be longer than %d bytes", JS_MAX_JOB_NAME)));
}

static void
check_args(Jsonb *args)
{
	if (!JB_ROOT_IS_OBJECT(args))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("args must be a JSON object")));
}

static void
check_choice(const char *parameter, const char *value, const char *const *choices, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(value, choices[i]) == 0)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid %s \"%s\"", parameter, value),
			 errhint("It is one of %s, %s and %s.", choices[0], choices[1], choices[2])));
}

static void
check_mode(const char *mode)
{
	static const char *const modes[] = {"auto", "transaction", "autocommit"};

	check_choice("mode", mode, modes, lengthof(modes));
}

/* ------------------------------------------------------------------------
 * Definitions
 * ------------------------------------------------------------------------
 */

/* What the job executes: checks it, and knows whether it can be repeated. */
static void
set_work(JsJob *job)
{
	check_mode(job->mode);
	if (job->request != NULL)
		job->transactional = false;
	else if (job->handler != NULL)
	{
		(void) js_handler_lookup(job->handler);
		job->transactional = true;
	}
	else
		js_command_check(job->command, job->mode, &job->transactional);
	if (job->share_transaction && job->handler == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only a job with a handler can share its transaction"),
				 errhint("Put the command into a function, and name that as handler.")));
}

static bool
differ(const char *a, const char *b)
{
	return (a == NULL) != (b == NULL) || (a != NULL && strcmp(a, b) != 0);
}

/* The job has its policies already, but for bounds that may be new. */
static void
set_schedule(JsJob *job, const Definition *def, bool slots_moved)
{
	const char *schedule = def->schedule == NULL ? job->schedule :
		def->schedule[0] == '\0' ? NULL : def->schedule;
	const char *timezone = def->timezone ? def->timezone : job->timezone;

	if (job->schedule_revision > 0 && !differ(schedule, job->schedule) &&
		!differ(timezone, job->timezone))
	{
		if (slots_moved)
			js_job_move_slots(job);
		return;
	}
	job->schedule = schedule ? pstrdup(schedule) : NULL;
	job->timezone = pstrdup(timezone);
	js_job_begin_schedule(job);
}

/* Whether the job is given another kind of work: at most one is. */
static bool
gives_work(const Definition *def)
{
	int			given = (def->command != NULL) + (def->handler != NULL) + (def->http.url != NULL);

	if (given > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only one of command, handler and url can be given")));
	return given == 1;
}

/* What the job executes. */
static void
set_kind(JsJob *job, const Definition *def)
{
	if (gives_work(def))
	{
		job->command = def->command;
		job->handler = def->handler;
		if (def->http.url == NULL)
			job->request = NULL;
	}
	if (def->by_run)
		job->request = js_http_none();
	else if (def->http.url != NULL || (def->has_http && job->request != NULL))
	{
		js_http_check_may_request(job->owner);
		job->request = js_http_define(job->request, &def->http, JS_HTTP_OF_JOB);
		js_http_check_callbacks(job->request, job->owner);
	}
	else if (def->has_http)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the job makes no HTTP request"),
				 errhint("Give its url.")));
	if (job->command == NULL && job->handler == NULL && job->request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("neither command nor handler nor url is given"),
				 errhint("Give command => SQL text, handler => 'schema.function', or url => 'https://...'.")));
}

/* Whether how the job executes is given. */
static bool
changes_work(const Definition *def)
{
	return def->command != NULL || def->handler != NULL || def->has_http ||
		def->mode != NULL || def->has_share_transaction;
}

/* The arguments of a scheduled run are the job's: its keys must be found there. */
static void
check_keys(const JsJob *job)
{
	if (job->schedule != NULL && job->request != NULL && js_http_text(job->request, "url") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job \"%s\" cannot have a schedule: it has no request of its own", job->name),
				 errhint("Create another job, with a url.")));
	if (job->schedule != NULL)
		(void) js_limit_keys_require(js_http_keys(job, job->keys), job->args);
}

static void
set_limits(JsJob *job, const Definition *def)
{
	if (def->queue != NULL)
		job->queue = def->queue[0] == '\0' ? NULL : def->queue;
	if (def->keys != NULL)
		job->keys = ARR_NDIM(def->keys) == 0 ? NULL : def->keys;
}

/* A job whose work is SQL logs in as its owner; a request does not. */
static bool
needs_session(const Definition *def, const JsJob *job)
{
	if (def->command != NULL || def->handler != NULL)
		return true;
	return def->http.url == NULL && !def->by_run && (job == NULL || job->request == NULL);
}

/* Writes what is given into the job. */
static void
apply_definition(JsJob *job, const Definition *def)
{
	bool		slots_moved = js_slot_policy_moves(job, &def->slots);

	if (def->owner != InvalidOid && def->owner != job->owner)
	{
		js_check_may_own(def->owner, needs_session(def, job));
		if (job->request != NULL)
		{
			js_http_check_may_request(def->owner);
			js_http_check_may_be_told(job->request, def->owner);
		}
		job->owner = def->owner;
	}
	if (def->name != NULL)
	{
		check_name(def->name);
		job->name = def->name;
	}
	set_kind(job, def);
	if (def->mode != NULL)
		job->mode = def->mode;
	if (def->has_share_transaction)
		job->share_transaction = def->share_transaction;
	if (def->has_timeout)
		job->timeout = def->timeout;
	if (job->request != NULL)
		js_http_check_timeout(job->timeout);
	js_retry_policy_apply(job, &def->retry);
	if (changes_work(def))
		set_work(job);
	js_slot_policy_apply(job, &def->slots);
	set_schedule(job, def, slots_moved);
	if (def->args != NULL)
	{
		check_args(def->args);
		job->args = def->args;
	}
	set_limits(job, def);
	check_keys(job);
	if (def->has_enabled)
		job->enabled = def->enabled;
	if (def->description != NULL)
		job->description = def->description;
	if (def->metadata != NULL)
		job->metadata = def->metadata;
	js_bounds_check_job(job);
}

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

/* The name is as it was, or the caller has its lock. */
static void
write_job(JsJob *job)
{
	job->revision++;
	job->updated_at = js_clock_now();
	js_job_update(job);
	js_wakeup_job(job->job_id);
}

/* A job that is not there yet. */
static void
define_job(const Definition *def, JsJob *job)
{
	memset(job, 0, sizeof(JsJob));
	job->owner = def->owner;
	job->revision = 1;
	job->created_at = job->updated_at = js_clock_now();
	job->dropped_at = DT_NOBEGIN;
	job->args = def->args;
	apply_definition(job, def);
}

/* False: its name is taken. */
static bool
insert_job(JsJob *job)
{
	if (!js_job_name_lock(job->owner, job->name))
		return false;
	(void) js_job_insert(job);
	js_job_name_unlock(job->owner, job->name);
	js_wakeup_job(job->job_id);
	return true;
}

/* False: it is no longer there, or no longer this role's by this name. */
static bool
update_job(JsJob *job, const Definition *def)
{
	Definition	full = *def;

	js_job_lock(job->job_id);
	if (!js_job_read(job->job_id, job) || job->dropped_at != DT_NOBEGIN ||
		job->owner != def->owner || strcmp(job->name, def->name) != 0)
		return false;
	/* what is not given is not there */
	job->command = job->handler = NULL;
	job->request = NULL;
	if (full.schedule == NULL)
		full.schedule = "";
	job->description = NULL;
	job->metadata = NULL;
	job->timeout = 0;
	job->max_concurrency = 0;
	job->queue = NULL;
	job->keys = NULL;
	apply_definition(job, &full);
	write_job(job);
	return true;
}

pg_noreturn static void
refuse_null(const char *parameter)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s cannot be NULL", parameter)));
}

static void
require_definition(const Definition *def)
{
	const char *missing = def->name == NULL ? "name" : def->args == NULL ? "args" :
		def->timezone == NULL ? "timezone" : !def->has_enabled ? "enabled" :
		def->owner == InvalidOid ? "owner" : def->mode == NULL ? "mode" : NULL;

	if (missing != NULL)
		refuse_null(missing);
}

/*
 * What another session makes of the name meanwhile is seen when its transaction
 * has ended; then we look again.
 */
static int64
create_job(const Definition *def, const char *if_exists)
{
	JsJob		job;

	for (;;)
	{
		if (!js_job_find(def->owner, def->name, &job))
		{
			define_job(def, &job);
			if (insert_job(&job))
				return job.job_id;
		}
		else if (strcmp(if_exists, "error") == 0)
			refuse_duplicate(def->owner, def->name);
		else if (strcmp(if_exists, "keep") == 0 || update_job(&job, def))
			return job.job_id;
	}
}

/* ------------------------------------------------------------------------
 * The job "http"
 * ------------------------------------------------------------------------
 */

static void
define_http_job(Oid owner, JsJob *job)
{
	Definition	def = {0};

	def.name = pstrdup(JS_HTTP_JOB);
	def.owner = owner;
	def.args = js_http_none();
	def.timezone = pstrdup(js_guc_timezone);
	def.mode = pstrdup("auto");
	def.has_enabled = def.enabled = true;
	def.description = pstrdup("Requests made by http_post() and its like.");
	def.by_run = true;
	js_retry_policy_none(&def.retry);
	js_retry_policy_complete(&def.retry);
	js_slot_policy_none(&def.slots);
	js_slot_policy_complete(&def.slots);
	define_job(&def, job);
	(void) js_identity_read(&job->home);
}

/*
 * The job that the requests of http_post() and its like belong to, one for each
 * role; as it is or, with job_id 0, as it will be.  The scheduler makes it
 * for the first request (sched_jobless.c): two sessions that make a role's first
 * request would have to wait for each other.
 */
void
js_http_job(Oid owner, JsJob *job)
{
	if (!js_job_find(owner, JS_HTTP_JOB, job))
		define_http_job(owner, job);
	if (job->request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("job \"%s\" of role \"%s\" is none for HTTP requests", job->name,
						GetUserNameFromId(owner, false)),
				 errhint("Requests that belong to no other job belong to the one of this name. Give yours another.")));
}

/* Who wants to change it need not wait for a request. */
void
js_http_job_make(Oid owner, JsJob *job)
{
	while (!js_job_find(owner, JS_HTTP_JOB, job))
	{
		define_http_job(owner, job);
		if (insert_job(job))
			break;
	}
}

/* For the scheduler: its id, or 0 when it would have to wait for somebody. */
int64
js_http_job_settle(Oid owner)
{
	JsJob		job;

	if (js_job_find(owner, JS_HTTP_JOB, &job))
		return job.job_id;
	define_http_job(owner, &job);
	if (!js_job_name_try_lock(owner, job.name))
		return 0;
	(void) js_job_insert(&job);
	js_job_name_unlock(owner, job.name);
	return job.job_id;
}

/* ------------------------------------------------------------------------
 * Functions
 * ------------------------------------------------------------------------
 */

Datum
jobsched_create_job(PG_FUNCTION_ARGS)
{
	static const char *const choices[] = {"error", "update", "keep"};
	char	   *if_exists;
	Definition	def;

	js_check_may_write("create_job()");
	if_exists = text_argument(fcinfo, read_definition(fcinfo, 0, &def));
	js_retry_policy_complete(&def.retry);
	js_slot_policy_complete(&def.slots);
	require_definition(&def);
	if (if_exists == NULL)
		refuse_null("if_exists");
	check_choice("if_exists", if_exists, choices, lengthof(choices));
	check_name(def.name);
	js_check_may_own(def.owner, needs_session(&def, NULL));
	PG_RETURN_INT64(create_job(&def, if_exists));
}

/* The job whose name is the first argument, for this transaction to change. */
static void
job_argument(FunctionCallInfo fcinfo, const char *function, JsJob *job)
{
	js_check_may_write(function);
	if (PG_ARGISNULL(0))
		refuse_null("job");
	js_resolve_job_for_change(text_to_cstring(PG_GETARG_TEXT_PP(0)), job);
}

/* It has another name or owner than it had, and the caller may give it these. */
static void
write_renamed(JsJob *job)
{
	if (!js_job_name_lock(job->owner, job->name))
		refuse_duplicate(job->owner, job->name);
	write_job(job);
	js_job_name_unlock(job->owner, job->name);
}

Datum
jobsched_alter_job(PG_FUNCTION_ARGS)
{
	Definition	def;
	JsJob		before;
	JsJob		job;

	job_argument(fcinfo, "alter_job()", &before);
	job = before;
	(void) read_definition(fcinfo, 1, &def);
	if ((changes_work(&def) || def.args != NULL) &&
		(def.owner == InvalidOid || def.owner == job.owner))
		js_check_may_own(job.owner, needs_session(&def, &job));
	apply_definition(&job, &def);
	if (job.owner != before.owner || differ(job.name, before.name))
		write_renamed(&job);
	else
		write_job(&job);
	PG_RETURN_VOID();
}

Datum
jobsched_drop_job(PG_FUNCTION_ARGS)
{
	JsJob		job;

	job_argument(fcinfo, "drop_job()", &job);
	if (strcmp(job.name, JS_HTTP_JOB) == 0)
		js_cancel_jobless(job.owner);
	job.dropped_at = js_clock_now();
	job.cancel_running = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	write_job(&job);
	PG_RETURN_VOID();
}

Datum
jobsched_pause_job(PG_FUNCTION_ARGS)
{
	JsJob		job;

	job_argument(fcinfo, "pause_job()", &job);
	job.paused = true;
	job.pause_reason = text_argument(fcinfo, 1);
	js_bounds_check_remark("reason", job.pause_reason);
	write_job(&job);
	PG_RETURN_VOID();
}

Datum
jobsched_resume_job(PG_FUNCTION_ARGS)
{
	JsJob		job;

	job_argument(fcinfo, "resume_job()", &job);
	job.paused = false;
	job.pause_reason = NULL;
	write_job(&job);
	PG_RETURN_VOID();
}

/* ------------------------------------------------------------------------
 * The database
 * ------------------------------------------------------------------------
 */

static bool
is_stranger(const JsJob *job, void *arg)
{
	return job->dropped_at == DT_NOBEGIN &&
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
		job.home = adoption->token;
		js_job_restart_schedule(&job, js_clock_now());
		write_job(&job);
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
	js_ids_catch_up("run_id_seq", js_run_last_id());
	js_runs_adopt(&adoption.token, js_may_act_for);
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
		js_wakeup_limits();
	PG_RETURN_INT64(adoption.adopted);
}

/* The install script's last word. */
Datum
jobsched_announce(PG_FUNCTION_ARGS)
{
	js_wakeup_start();
	PG_RETURN_VOID();
}
