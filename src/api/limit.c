/*-------------------------------------------------------------------------
 *
 * limit.c
 *		Functions that define queues and limits of keys.
 *
 * A queue is a name in the definition of jobs; a class of keys is the beginning
 * of their text.  Both belong to a role and apply to its jobs only, so nobody
 * can block anybody else.  Each call gives the whole definition.  The scheduler
 * is notified at commit and reads all definitions anew (sched_limit.c).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/limit.h"
#include "base/arguments.h"
#include "base/interval.h"
#include "fmgr.h"
#include "http/limit_keys.h"
#include "shmem/wakeup.h"
#include "store/store.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(jobsched_set_queue);
PG_FUNCTION_INFO_V1(jobsched_drop_queue);
PG_FUNCTION_INFO_V1(jobsched_set_limit);
PG_FUNCTION_INFO_V1(jobsched_drop_limit);

void
js_limit_check_name(const char *what, const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a %s cannot be empty", what)));
	if (strlen(name) > JS_MAX_LIMIT_KEY_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name of a %s cannot be longer than %d bytes", what, JS_MAX_LIMIT_KEY_LENGTH)));
}

/* From 1 to a maximum; 0 when it is not given. */
static int32
count_argument(FunctionCallInfo fcinfo, int n, const char *parameter, int32 max)
{
	int32		value;

	if (PG_ARGISNULL(n))
		return 0;
	value = PG_GETARG_INT32(n);
	if (value < 1 || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s \"%d\"", parameter, value),
				 errhint("It is from 1 to %d; NULL means that there is none.", max)));
	return value;
}

/* A rate needs its interval, and a burst its rate. */
static void
check_rate(const JsLimitDefinition *definition, bool has_per, bool has_burst)
{
	if ((definition->rate > 0) != has_per)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rate and per have to be given together"),
				 errhint("rate => 10, per => '1 minute' lets ten runs start in each minute.")));
	if (has_burst && definition->rate == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("burst is given without a rate"),
				 errhint("It is how many runs may start at once after a pause; give rate and per too.")));
	if (has_per && definition->per < definition->rate)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the rate is higher than one in a microsecond"),
				 errhint("Give a longer interval per.")));
	if (definition->rate > 0 &&
		definition->per / definition->rate > JS_MAX_INTERVAL_DAYS * USECS_PER_DAY / definition->burst)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the burst is what the rate allows in more than %d days", (int) JS_MAX_INTERVAL_DAYS),
				 errhint("Give a smaller burst.")));
}

/* max_running, rate, per and burst, from argument 1 on. */
static void
read_numbers(FunctionCallInfo fcinfo, JsLimitDefinition *definition)
{
	definition->max_running = count_argument(fcinfo, 1, "max_running", JS_MAX_CONCURRENCY);
	definition->rate = count_argument(fcinfo, 2, "rate", JS_MAX_RATE);
	definition->per = PG_ARGISNULL(3) ? 0 : js_interval_us("per", PG_GETARG_INTERVAL_P(3));
	definition->burst = Max(count_argument(fcinfo, 4, "burst", JS_MAX_BURST), 1);
	check_rate(definition, !PG_ARGISNULL(3), !PG_ARGISNULL(4));
}

Datum
jobsched_set_queue(PG_FUNCTION_ARGS)
{
	JsLimitDefinition definition = {.kind = JS_LIMIT_QUEUE};

	js_check_may_write("set_queue()");
	definition.name = js_required_text(fcinfo, 0, "name");
	js_limit_check_name("queue", definition.name);
	read_numbers(fcinfo, &definition);
	definition.paused = !PG_ARGISNULL(5) && PG_GETARG_BOOL(5);
	definition.owner = js_owner_argument(fcinfo, 6);
	js_check_may_own(definition.owner, false);
	js_limit_define(&definition);
	js_wakeup_limits();
	PG_RETURN_VOID();
}

Datum
jobsched_set_limit(PG_FUNCTION_ARGS)
{
	JsLimitDefinition definition = {.kind = JS_LIMIT_CLASS};

	js_check_may_write("set_limit()");
	definition.name = js_required_text(fcinfo, 0, "key_class");
	js_limit_check_name("key class", definition.name);
	if (strchr(definition.name, ':') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key class \"%s\" contains a colon", definition.name),
				 errhint("The class of a key is what stands before its first colon: 'user' for 'user:42'.")));
	read_numbers(fcinfo, &definition);
	definition.owner = js_owner_argument(fcinfo, 5);
	js_check_may_own(definition.owner, false);
	js_limit_define(&definition);
	js_wakeup_limits();
	PG_RETURN_VOID();
}

/* To whom it is not, it does not exist. */
static void
drop(FunctionCallInfo fcinfo, JsLimitKind kind, const char *what)
{
	JsLimitDefinition definition = {.kind = kind};

	definition.name = js_required_text(fcinfo, 0, kind == JS_LIMIT_QUEUE ? "name" : "key_class");
	definition.owner = js_owner_argument(fcinfo, 1);
	if (!js_may_manage(definition.owner) || !js_limit_drop(&definition))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("%s \"%s\" of role \"%s\" does not exist", what, definition.name,
						GetUserNameFromId(definition.owner, false))));
	js_wakeup_limits();
}

Datum
jobsched_drop_queue(PG_FUNCTION_ARGS)
{
	js_check_may_write("drop_queue()");
	drop(fcinfo, JS_LIMIT_QUEUE, "queue");
	PG_RETURN_VOID();
}

Datum
jobsched_drop_limit(PG_FUNCTION_ARGS)
{
	js_check_may_write("drop_limit()");
	drop(fcinfo, JS_LIMIT_CLASS, "limit");
	PG_RETURN_VOID();
}
