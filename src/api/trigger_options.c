/*-------------------------------------------------------------------------
 *
 * trigger_options.c
 *		Options of triggers of tables: texts such as 'key=order:{{record.id}}'.
 *
 * A trigger's arguments are texts, so this is where they get their types.  They
 * are read when the trigger is created, for the errors, and when it fires.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/trigger_options.h"
#include "catalog/pg_trigger.h"
#include "compat.h"
#include "http/limit_keys.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#define DEFAULT_BATCH 1000
#define MOST_BATCH 100000

/* Reads the value of an option of this trigger. */
typedef void (*OptionReader) (const Trigger *trigger, char *value, JsTriggerOptions *options);

/* ------------------------------------------------------------------------
 * Values
 * ------------------------------------------------------------------------
 */

static void
read_key(const Trigger *trigger, char *value, JsTriggerOptions *options)
{
	char	   *problem;

	if (js_key_expand(value, NULL, &problem) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" of trigger \"%s\" %s", value, trigger->tgname, problem),
				 errhint("A placeholder is a path in what the run gets, such as {{record.id}}.")));
	options->key = js_idempotency_key(value);
}

/* What would undo the change of the table is none of the choices here. */
static void
read_on_conflict(const Trigger *trigger, char *value, JsTriggerOptions *options)
{
	options->on_conflict = js_on_conflict(value);
	if (options->on_conflict == JS_CONFLICT_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("on_conflict of trigger \"%s\" is error", trigger->tgname),
				 errdetail("A trigger of a table never prevents a change of it."),
				 errhint("Give return_existing, replace, debounce or throttle.")));
}

static void
read_period(const Trigger *trigger, char *value, JsTriggerOptions *options)
{
	Datum		interval = DirectFunctionCall3(interval_in, CStringGetDatum(value),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));

	options->period = js_idempotency_period(DatumGetIntervalP(interval));
}

/* A list of identifiers; whether there are such columns is for the table to say. */
static void
read_columns(const Trigger *trigger, char *value, JsTriggerOptions *options)
{
	if (!SplitIdentifierString(pstrdup(value), ',', &options->columns) || options->columns == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns \"%s\" of trigger \"%s\" is no list of columns", value, trigger->tgname),
				 errhint("They are names with commas between them, as in columns=id,kind.")));
}

pg_noreturn static void
refuse_batch(const Trigger *trigger, const char *value)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("batch \"%s\" of trigger \"%s\" is out of range", value, trigger->tgname),
			 errhint("It is a number of rows, from 1 to %d.", MOST_BATCH)));
}

static void
read_batch(const Trigger *trigger, char *value, JsTriggerOptions *options)
{
	char	   *end;
	long		rows = strtol(value, &end, 10);

	if (end == value || *end != '\0' || rows < 1 || rows > MOST_BATCH)
		refuse_batch(trigger, value);
	if (TRIGGER_FOR_ROW(trigger->tgtype))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch is given for trigger \"%s\", which is FOR EACH ROW", trigger->tgname),
				 errhint("Create it FOR EACH STATEMENT, with a transition table.")));
	options->batch = (int) rows;
}

/* ------------------------------------------------------------------------
 * Options
 * ------------------------------------------------------------------------
 */

typedef struct TriggerOption
{
	const char *name;
	OptionReader read;
	bool		needs_key;
} TriggerOption;

static const TriggerOption known[] = {
	{"key", read_key},
	{"on_conflict", read_on_conflict, true},
	{"period", read_period, true},
	{"columns", read_columns},
	{"batch", read_batch}
};

StaticAssertDecl(lengthof(known) <= 32, "too many options for the bits of an integer");

/* Whether it has the form of one. */
bool
js_is_trigger_option(const char *argument)
{
	size_t		length = strspn(argument, "abcdefghijklmnopqrstuvwxyz_");

	return length > 0 && argument[length] == '=';
}

/* Which it is. */
static int
find_option(const Trigger *trigger, const char *argument)
{
	for (int i = 0; i < lengthof(known); i++)
		if (strncmp(argument, known[i].name, strlen(known[i].name)) == 0 &&
			argument[strlen(known[i].name)] == '=')
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"%s\" of trigger \"%s\" is no option", argument, trigger->tgname),
			 errhint("Options are key=, on_conflict=, period=, columns= and batch=.")));
}

pg_noreturn static void
refuse_without_key(const Trigger *trigger, const char *option)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("trigger \"%s\" gives %s without key", trigger->tgname, option),
			 errhint("It says what becomes of a run with the same key: give key= too.")));
}

/* Those among a trigger's arguments, from the first of them on. */
void
js_trigger_options_read(const Trigger *trigger, int first, JsTriggerOptions *options)
{
	uint32		given = 0;

	memset(options, 0, sizeof(JsTriggerOptions));
	options->on_conflict = JS_CONFLICT_RETURN_EXISTING;
	options->period = USECS_PER_DAY;
	options->batch = DEFAULT_BATCH;
	for (int i = first; i < trigger->tgnargs; i++)
	{
		int			option = find_option(trigger, trigger->tgargs[i]);

		if (given & (1U << option))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("trigger \"%s\" gives %s twice", trigger->tgname, known[option].name),
					 errhint("Give each option once.")));
		given |= 1U << option;
		known[option].read(trigger, trigger->tgargs[i] + strlen(known[option].name) + 1, options);
	}
	for (int i = 0; i < lengthof(known); i++)
		if (known[i].needs_key && (given & (1U << i)) && options->key == NULL)
			refuse_without_key(trigger, known[i].name);
}
