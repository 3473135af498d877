/*-------------------------------------------------------------------------
 *
 * steps.c
 *		The definition of the steps of a job.
 *
 * Parameter steps of create_job() and alter_job() is an array of objects.  Their
 * keys are parameters of these functions, and mean the same; and a few that say
 * which step comes after which.  Each step becomes a job, that is checked as any
 * other (job_definition.c); its row is written by step_set.c.  Errors have the
 * place in the definition as their context: step "load" (steps[2].handler).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/event.h"
#include "api/job_definition.h"
#include "api/step_job.h"
#include "api/step_order.h"
#include "api/step_value.h"
#include "api/steps.h"
#include "base/interval.h"
#include "base/json.h"
#include "base/sqlstate.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "http/limit_keys.h"
#include "http/step_placeholders.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "run/condition.h"
#include "run/http_job.h"
#include "run/item_runs.h"
#include "run/undo_runs.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Bytes of the name of a step, and of one that is unknown in a message, at most. */
#define JS_MAX_STEP_NAME 63

#define NAMES_OTHERS "\"after\" names other steps of the same job."

/* What steps wait for, in all. */
#define MAX_EDGES 100000

typedef struct Step
{
	int			index;			/* in the definition */
	JsonbContainer *given;
	JsJob	   *job;
	int		   *after;			/* indexes of steps, each once */
	int			nafter;
	struct Step *undo;			/* what undoes it; NULL: nothing */
	bool		undoes;			/* it is that of another */
} Step;

typedef struct Steps
{
	const JsJob *workflow;
	Step	   *steps;
	Step	  **by_name;
	int			count;
	int			nundos;			/* of them that can be undone */
	int			edges;
	HTAB	   *seen;			/* other jobs that they run (step_job.c) */
	JsStepPath	path;
} Steps;

/* ------------------------------------------------------------------------
 * Errors
 * ------------------------------------------------------------------------
 */

/* What a step can have, but for what is a parameter of create_job(). */
static const char *const own_keys[] = {"name", "after", "when", "optional", "delay", "if", "for_each", "wait_for", "wait_timeout", "undo", "job"};

/* What undoes one can have, likewise. */
static const char *const undo_keys[] = {"if"};

static char *
list_keys(const char *const *own, int count)
{
	StringInfoData keys;

	initStringInfo(&keys);
	for (int i = 0; i < count; i++)
		appendStringInfo(&keys, "%s%s", i > 0 ? ", " : "", own[i]);
	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		if (parameter->flags & JS_PARAMETER_OF_STEP)
			appendStringInfo(&keys, ", %s", parameter->name);
	for (const JsHttpParameter *parameter = js_http_parameters; parameter->name != NULL; parameter++)
		appendStringInfo(&keys, ", %s", parameter->name);
	return keys.data;
}

/* What is unknown can be long. */
static char *
clip(const char *name)
{
	return pnstrdup(name, pg_mbcliplen(name, strlen(name), JS_MAX_STEP_NAME));
}

pg_noreturn static void
refuse_key(const char *key, bool undoes)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown key \"%s\" of %s", clip(key), undoes ? "what undoes a step" : "a step"),
			 errhint("%s can have: %s.", undoes ? "It" : "A step",
					 undoes ? list_keys(undo_keys, lengthof(undo_keys)) : list_keys(own_keys, lengthof(own_keys)))));
}

/* ------------------------------------------------------------------------
 * Keys of a step
 * ------------------------------------------------------------------------
 */

/* The value of a key, NULL if there is none; errors are about it from here on. */
static JsonbValue *
look_up(Steps *all, const Step *step, const char *key)
{
	JsonbValue *value = getKeyJsonValueFromContainer(step->given, key, strlen(key), NULL);

	all->path.key = key;
	return value == NULL || value->type == jbvNull ? NULL : value;
}

static void
take_name(Steps *all, Step *step)
{
	JsonbValue *value = look_up(all, step, "name");
	char	   *name;

	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the step has no name"),
				 errhint("Give it one that no other step of the job has.")));
	name = TextDatumGetCString(js_step_value("name", value, JS_PARAMETER_TEXT));
	if (strlen(name) > JS_MAX_STEP_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("the name of a step cannot be longer than %d bytes", JS_MAX_STEP_NAME)));
	if (name[0] == '\0' || strchr(name, '.') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name \"%s\" of a step", name),
				 errhint("It cannot be empty, and has no dot.")));
	step->job->step = name;
	all->path.step = name;
}

static const JsJobParameter *
find_parameter(const char *key)
{
	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		if ((parameter->flags & JS_PARAMETER_OF_STEP) && strcmp(parameter->name, key) == 0)
			return parameter;
	return NULL;
}

static const JsHttpParameter *
find_http_parameter(const char *key)
{
	for (const JsHttpParameter *parameter = js_http_parameters; parameter->name != NULL; parameter++)
		if (strcmp(parameter->name, key) == 0)
			return parameter;
	return NULL;
}

static bool
is_own_key(const Step *step, const char *key)
{
	const char *const *own = step->undoes ? undo_keys : own_keys;
	int			count = step->undoes ? lengthof(undo_keys) : lengthof(own_keys);

	for (int i = 0; i < count; i++)
		if (strcmp(own[i], key) == 0)
			return true;
	return false;
}

/* A parameter of create_job(). */
static void
take_parameter(const Step *step, const char *key, JsonbValue *value, JsJobDefinition *def)
{
	const JsJobParameter *parameter = find_parameter(key);
	const JsHttpParameter *http = find_http_parameter(key);

	if (parameter == NULL && http == NULL)
		refuse_key(key, step->undoes);
	if (value->type == jbvNull)
		return;
	if (parameter != NULL)
		js_job_argument_take(parameter, js_step_value(key, value, parameter->kind), &def->args);
	else
		js_http_argument_take(http, js_step_value(key, value, http->kind), &def->http);
}

static void
take_parameters(Steps *all, const Step *step, JsJobDefinition *def)
{
	JsonbIterator *it = JsonbIteratorInit(step->given);
	JsonbValue	value;
	JsonbIteratorToken token;
	char	   *key = NULL;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			key = pnstrdup(value.val.string.val, value.val.string.len);
			all->path.key = clip(key);
		}
		else if (token == WJB_VALUE && !is_own_key(step, key))
		{
			if (step->job->step_job != NULL && value.type != jbvNull)
				js_step_job_check_key(key);
			take_parameter(step, key, &value, def);
		}
	}
	all->path.key = NULL;
}

/* What a step has from its job, and what it cannot have. */
static void
take_from_workflow(const JsJob *workflow, JsJob *job, JsJobDefinition *def)
{
	static const JsJobColumn columns[] = {JS_JOB_NAME, JS_JOB_OWNER, JS_JOB_TIMEZONE, JS_JOB_ARGS};

	def->args.job.name = js_step_job_name(workflow, job->step);
	def->args.job.owner = workflow->owner;
	def->args.job.timezone = workflow->timezone;
	def->args.job.args = js_json_empty();
	for (int i = 0; i < lengthof(columns); i++)
		def->args.given[columns[i]] = true;
	job->owner = workflow->owner;
	job->paused = workflow->paused;
	job->pause_reason = workflow->pause_reason;
	job->revision = 1;
	job->dropped_at = DT_NOBEGIN;
}

static void
take_if(Steps *all, const Step *step)
{
	JsonbValue *value = look_up(all, step, "if");

	if (value == NULL)
		return;
	step->job->step_if = TextDatumGetCString(js_step_value("if", value, JS_PARAMETER_TEXT));
	js_condition_check(step->job->step_if);
	step->job->step_looks = true;
}

static void
take_flags(Steps *all, const Step *step)
{
	JsonbValue *value = look_up(all, step, "when");

	if (value != NULL)
		step->job->step_when = js_step_when_argument(TextDatumGetCString(js_step_value("when", value, JS_PARAMETER_TEXT)));
	value = look_up(all, step, "optional");
	if (value != NULL)
		step->job->step_optional = DatumGetBool(js_step_value("optional", value, JS_PARAMETER_BOOLEAN));
	value = look_up(all, step, "delay");
	if (value != NULL)
		step->job->step_delay = js_interval_us("delay", DatumGetIntervalP(js_step_value("delay", value, JS_PARAMETER_SPAN)));
	take_if(all, step);
	value = look_up(all, step, "for_each");
	if (value != NULL)
	{
		step->job->step_for_each = TextDatumGetCString(js_step_value("for_each", value, JS_PARAMETER_TEXT));
		step->job->has_items = true;
		js_for_each_check(step->job->step_for_each);
	}
	all->path.key = NULL;
}

/* Which other job it runs. */
static void
take_job(Steps *all, const Step *step)
{
	JsonbValue *value = look_up(all, step, "job");

	if (value != NULL)
	{
		step->job->step_job = TextDatumGetCString(js_step_value("job", value, JS_PARAMETER_TEXT));
		js_step_job_check(all->workflow, step->job->step_job, &all->seen);
	}
	all->path.key = NULL;
}

/* Events that its runs wait for. */
static void
take_wait(Steps *all, const Step *step)
{
	JsonbValue *value = look_up(all, step, "wait_for");
	JsJob	   *job = step->job;

	if (value != NULL)
		job->step_wait_for = js_event_wait_for(DatumGetArrayTypeP(js_step_value("wait_for", value, JS_PARAMETER_KEYS)));
	value = look_up(all, step, "wait_timeout");
	if (value != NULL)
		job->step_wait_timeout =
			js_event_wait_timeout(DatumGetIntervalP(js_step_value("wait_timeout", value, JS_PARAMETER_SPAN)),
								  job->step_wait_for != NULL);
	all->path.key = NULL;
}

/* Like create_job(), for which steps are another kind of work. */
static void
check_work(const JsJobDefinition *def, const Step *step)
{
	const char *what = step->undoes ? "undo of the step has" : "step has";
	int			given = (def->args.job.command != NULL) + (def->args.job.handler != NULL) +
		(def->http.url != NULL) + (step->job->step_job != NULL);

	if (given != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 given == 0 ? errmsg("the %s neither command nor handler nor url%s", what, step->undoes ? "" : " nor job") :
				 errmsg("the %s more than one of command, handler%s", what, step->undoes ? " and url" : ", url and job"),
				 errhint("Give it exactly one of these.")));
}

/* What it executes; its job has a name. */
static void
define_work(Steps *all, Step *step)
{
	JsJobDefinition def = {.checking = &all->path.key};

	js_http_nothing_given(&def.http);
	take_from_workflow(all->workflow, step->job, &def);
	take_job(all, step);
	take_parameters(all, step, &def);
	if (step->undoes)
		take_if(all, step);
	else
		take_flags(all, step);
	all->path.key = NULL;
	check_work(&def, step);
	def.has_http = js_http_is_anything_given(&def.http);
	js_job_arguments_complete(&def.args);
	js_job_definition_apply(&def, step->job);
}

/* A step that others make necessary: it has a name that they give it. */
static Step *
make_step(const Step *of, char *name, JsonbContainer *given)
{
	Step	   *step = palloc0(sizeof(Step));

	step->index = of->index;
	step->given = given;
	step->undoes = true;
	step->job = palloc0(sizeof(JsJob));
	step->job->step = name;
	step->job->step_when = JS_AFTER_UNDO;
	return step;
}

/* An object with a command. */
static JsonbContainer *
command_only(JsonbValue *command)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push(&state, "command", command);
	return &JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL))->root;
}

/* A string is a command. */
static JsonbContainer *
undo_object(JsonbValue *value)
{
	if (value->type == jbvString)
		return command_only(value);
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"undo\" is neither a string nor a JSON object"),
				 errhint("It is a command, or for instance {\"handler\": \"app.unload\"}.")));
	return value->val.binary.data;
}

/* What undoes a step, or each of its elements. */
static void
take_undo(Steps *all, Step *step)
{
	JsonbValue *value = look_up(all, step, "undo");

	if (value != NULL)
	{
		step->undo = make_step(step, psprintf("%s:%s", JS_UNDO, step->job->step), undo_object(value));
		all->path.undoes = true;
		define_work(all, step->undo);
		step->undo->job->step_for_each = step->job->step_for_each;
		step->undo->job->has_items = step->job->has_items;
		all->path.undoes = false;
		all->nundos++;
	}
	all->path.key = NULL;
}

/* A step as a job, but for what it waits for. */
static void
define_step(Steps *all, Step *step)
{
	step->job = palloc0(sizeof(JsJob));
	take_name(all, step);
	define_work(all, step);
	take_wait(all, step);
	take_undo(all, step);
}

/* ------------------------------------------------------------------------
 * What steps wait for
 * ------------------------------------------------------------------------
 */

static int
compare_names(const void *a, const void *b)
{
	return strcmp((*(Step *const *) a)->job->step, (*(Step *const *) b)->job->step);
}

/* Of two of the same name the later one is refused. */
static void
sort_names(Steps *all)
{
	all->by_name = palloc(sizeof(Step *) * all->count);
	for (int i = 0; i < all->count; i++)
		all->by_name[i] = &all->steps[i];
	qsort(all->by_name, all->count, sizeof(Step *), compare_names);
	for (int i = 1; i < all->count; i++)
		if (compare_names(&all->by_name[i - 1], &all->by_name[i]) == 0)
		{
			all->path.step = all->by_name[i]->job->step;
			all->path.index = Max(all->by_name[i - 1]->index, all->by_name[i]->index);
			all->path.key = "name";
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("step \"%s\" exists twice", all->path.step),
					 errhint("Give each step of a job a name of its own.")));
		}
}

/* NULL: there is none. */
static Step *
look_for(const Steps *all, char *name)
{
	JsJob		job = {.step = name};
	Step		wanted = {.job = &job};
	Step	   *key = &wanted;
	Step	  **found = bsearch(&key, all->by_name, all->count, sizeof(Step *), compare_names);

	return found == NULL ? NULL : *found;
}

static int
find_step(const Steps *all, char *name, const char *hint)
{
	const Step *found = look_for(all, name);

	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("step \"%s\" does not exist", clip(name)),
				 errhint("%s", hint)));
	return found->index;
}

static void
add_after(Steps *all, Step *step, int after)
{
	if (after == step->index)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("step \"%s\" comes after itself", step->job->step),
				 errhint(NAMES_OTHERS)));
	if (++all->edges > MAX_EDGES)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("the steps name more than %d others in \"after\"", MAX_EDGES),
				 errhint("Let one step wait for many, and the others for that one.")));
	step->after[step->nafter++] = after;
}

static int
compare_indexes(const void *a, const void *b)
{
	return *(const int *) a - *(const int *) b;
}

static void
refuse_twice(const Steps *all, const Step *step)
{
	qsort(step->after, step->nafter, sizeof(int), compare_indexes);
	for (int j = 1; j < step->nafter; j++)
		if (step->after[j - 1] == step->after[j])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"after\" names step \"%s\" twice", all->steps[step->after[j]].job->step),
					 errhint("Name each step once.")));
}

/* Left out, it is the step before it. */
static void
take_after(Steps *all, Step *step)
{
	JsonbValue *value = look_up(all, step, "after");
	ArrayType  *names;
	Datum	   *name;
	int			count;

	if (value == NULL)
	{
		step->after = palloc(sizeof(int));
		if (step->index > 0)
			add_after(all, step, step->index - 1);
		return;
	}
	names = DatumGetArrayTypeP(js_step_value("after", value, JS_PARAMETER_KEYS));
	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &name, NULL, &count);
	step->after = palloc(sizeof(int) * Max(count, 1));
	for (int j = 0; j < count; j++)
		add_after(all, step, find_step(all, TextDatumGetCString(name[j]), NAMES_OTHERS));
	refuse_twice(all, step);
}

/* One that comes after nothing waits for no condition. */
static void
take_when(Steps *all, Step *step)
{
	all->path.key = "when";
	if (step->nafter == 0 && step->job->step_when != JS_AFTER_NOTHING)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("step \"%s\" comes after nothing that \"when\" could be about", step->job->step),
				 errhint("Name steps in \"after\", or leave out \"when\".")));
	if (step->nafter > 0 && step->job->step_when == JS_AFTER_NOTHING)
		step->job->step_when = JS_AFTER_SUCCESS;
}

/* ------------------------------------------------------------------------
 * All steps of a job
 * ------------------------------------------------------------------------
 */

static void
begin_step(Steps *all, Step *step)
{
	all->path.step = step->job != NULL ? step->job->step : NULL;
	all->path.index = step->index;
	all->path.undoes = step->undoes;
	all->path.key = NULL;
	CHECK_FOR_INTERRUPTS();
}

/* Errors are about no step from here on. */
static void
end_steps(Steps *all)
{
	all->path = (JsStepPath)
	{
		.index = -1
	};
}

static void
open_step(Steps *all, int index)
{
	JsonbValue *value = getIthJsonbValueFromContainer(&all->workflow->steps->root, index);
	Step	   *step = &all->steps[index];

	step->index = index;
	begin_step(all, step);
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the step is no JSON object"),
				 errhint("For instance: {\"name\": \"load\", \"handler\": \"app.load\"}.")));
	step->given = value->val.binary.data;
	define_step(all, step);
}

static void
check_array(Jsonb *steps)
{
	if (!JB_ROOT_IS_ARRAY(steps) || JB_ROOT_IS_SCALAR(steps) || JB_ROOT_COUNT(steps) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("steps must be a JSON array of objects, at least one"),
				 errhint("For instance: '[{\"name\": \"load\", \"handler\": \"app.load\"}]'.")));
	if (JB_ROOT_COUNT(steps) > JS_MAX_STEPS)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("the job has %u steps, more than %d", JB_ROOT_COUNT(steps), JS_MAX_STEPS),
				 errhint("Let a step queue runs of its own, with child => true.")));
}

/* Places begin with 1. */
static ArrayType *
places_of(const Step *step, const int *place)
{
	Datum	   *places = palloc(sizeof(Datum) * Max(step->nafter, 1));
	int		   *sorted = palloc(sizeof(int) * Max(step->nafter, 1));

	if (step->nafter == 0)
		return NULL;
	for (int j = 0; j < step->nafter; j++)
		sorted[j] = place[step->after[j]];
	qsort(sorted, step->nafter, sizeof(int), compare_indexes);
	for (int j = 0; j < step->nafter; j++)
		places[j] = Int32GetDatum(sorted[j]);
	return construct_array(places, step->nafter, INT4OID, sizeof(int32), true, TYPALIGN_INT);
}

/* What the placeholders of steps name, as it is gone through. */
typedef struct Naming
{
	Steps	   *all;
	Step	   *step;
	Bitmapset **before;			/* by index: the steps before it */
	Bitmapset  *visible;		/* those that have ended when it starts */
} Naming;

static void
check_placeholder(const char *key, const char *name, void *arg)
{
	Naming	   *naming = arg;
	Steps	   *all = naming->all;
	char	   *of = pnstrdup(name, strcspn(name, "."));

	all->path.key = key;
	naming->step->job->step_looks = true;
	if (!bms_is_member(find_step(all, of, "A placeholder names another step of the same job."),
					   naming->visible))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("step \"%s\" does not come before step \"%s\", which needs its result", of,
						naming->step->job->step),
				 errhint("Name it in \"after\", or one that comes after it.")));
}

/*
 * Keys are made when the workflow starts, and cannot wait for what its steps leave:
 * nor can the host of a request, which has a key.
 */
static void
check_keys_of(Steps *all, const JsJob *step)
{
	const char *name = js_step_key_needs(step, js_http_keys(step, step->keys));

	all->path.key = "keys";
	if (name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a key needs args.%s, which has the result of another step", name),
				 errhint("Keys, also that of the host of a url, are made before any step starts.")));
}

/* What undoes each element would look again, for something that is not its own. */
static void
check_undone_elements(Steps *all, const JsJob *step)
{
	all->path.key = NULL;
	if (js_step_undoes(step) && step->step_for_each != NULL && step->step_looks)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("what undoes a step with \"for_each\" can have neither \"if\" nor placeholders for results of steps"),
				 errhint("It can look at them with step_result().")));
}

static void
check_placeholders_of(Naming *naming)
{
	Steps	   *all = naming->all;

	begin_step(all, naming->step);
	all->path.key = "args";		/* the others have been checked */
	js_step_placeholders_visit(naming->step->job, check_placeholder, naming);
	check_keys_of(all, naming->step->job);
	check_undone_elements(all, naming->step->job);
	CHECK_FOR_INTERRUPTS();
}

/*
 * They name steps that come before, whichever these have before them; in what undoes a
 * step also this one.
 */
static void
check_placeholders(Steps *all, const JsStepNode *nodes, const int *order)
{
	Naming		naming = {.all = all};

	naming.before = palloc0(sizeof(Bitmapset *) * all->count);
	for (int n = 0; n < all->count; n++)
	{
		const JsStepNode *node = &nodes[order[n]];
		Bitmapset **before = &naming.before[order[n]];

		for (int j = 0; j < node->nafter; j++)
			*before = bms_add_member(bms_add_members(*before, naming.before[node->after[j]]), node->after[j]);
		naming.step = &all->steps[order[n]];
		naming.visible = *before;
		check_placeholders_of(&naming);
		if (naming.step->undo == NULL)
			continue;
		naming.visible = bms_add_member(bms_copy(*before), order[n]);
		naming.step = naming.step->undo;
		check_placeholders_of(&naming);
	}
	end_steps(all);
}

/* The step that lets undo begin: it executes nothing of its own (run/undo_runs.c). */
static JsJob *
define_begin(Steps *all)
{
	JsonbValue	nothing = {.type = jbvString};
	Step		first = {0};
	Step	   *step;

	nothing.val.string.val = "SELECT";
	nothing.val.string.len = strlen("SELECT");
	step = make_step(&first, JS_UNDO, command_only(&nothing));
	define_work(all, step);
	end_steps(all);
	return step->job;
}

/* What undoes steps has its place behind all of them, with what lets that begin before it. */
static List *
place_undos(Steps *all, List *jobs)
{
	JsJob	   *begin = define_begin(all);
	List	   *steps = list_copy(jobs);
	ListCell   *lc;

	begin->step_no = list_length(jobs) + 1;
	jobs = lappend(jobs, begin);
	foreach(lc, steps)
	{
		const JsJob *step = lfirst(lc);
		Step	   *undo = all->steps[find_step(all, step->step, NAMES_OTHERS)].undo;

		if (undo == NULL)
			continue;
		undo->job->step_undoes = step->step_no;
		undo->job->step_no = list_length(jobs) + 1;
		jobs = lappend(jobs, undo->job);
	}
	return jobs;
}

/* The jobs in the order of their places. */
static List *
place_steps(Steps *all)
{
	JsStepNode *nodes = palloc(sizeof(JsStepNode) * all->count);
	int		   *place = palloc(sizeof(int) * all->count);
	List	   *jobs = NIL;
	int		   *order;

	for (int i = 0; i < all->count; i++)
		nodes[i] = (JsStepNode)
	{
		all->steps[i].job->step, all->steps[i].after, all->steps[i].nafter
	};
	order = js_step_order(nodes, all->count);
	check_placeholders(all, nodes, order);
	for (int n = 0; n < all->count; n++)
		place[order[n]] = n + 1;
	for (int n = 0; n < all->count; n++)
	{
		Step	   *step = &all->steps[order[n]];

		step->job->step_no = n + 1;
		step->job->step_after = places_of(step, place);
		jobs = lappend(jobs, step->job);
	}
	return all->nundos > 0 ? place_undos(all, jobs) : jobs;
}

/* Its name is one of those that what undoes steps has. */
static void
refuse_as_undo(Steps *all, Step *step)
{
	if (step == NULL)
		return;
	begin_step(all, step);
	all->path.key = "name";
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("step \"%s\" is called as what undoes others", step->job->step),
			 errhint("In a job of which steps have \"undo\", these names are taken: %s, and %s:NAME for each of them.",
					 JS_UNDO, JS_UNDO)));
}

/* What undoes steps has a name too, and a place. */
static void
check_undos(Steps *all)
{
	if (all->nundos == 0)
		return;
	for (int i = 0; i < all->count; i++)
	{
		Step	   *step = &all->steps[i];

		refuse_as_undo(all, look_for(all, JS_UNDO));
		if (step->undo != NULL)
			refuse_as_undo(all, look_for(all, step->undo->job->step));
	}
	end_steps(all);
	if (all->count + all->nundos + 1 > JS_MAX_STEPS)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("the job has %d steps with those that undo others, more than %d",
						all->count + all->nundos + 1, JS_MAX_STEPS),
				 errhint("Each \"undo\" counts as a step, and one more lets them begin.")));
}

static List *
define_steps(Steps *all)
{
	for (int i = 0; i < all->count; i++)
		open_step(all, i);
	sort_names(all);
	check_undos(all);
	for (int i = 0; i < all->count; i++)
	{
		begin_step(all, &all->steps[i]);
		take_after(all, &all->steps[i]);
		take_when(all, &all->steps[i]);
	}
	end_steps(all);
	return place_steps(all);
}

/*
 * The steps of a job as jobs, checked, in the order of their places: JsJob
 * pointers.  Whose steps they are is for whoever writes them to say.
 */
List *
js_steps_define(const JsJob *workflow)
{
	Steps		all = {.workflow = workflow,.path = {.index = -1}};
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = js_step_path_tell,
		.arg = &all.path
	};
	List	   *jobs;

	check_array(workflow->steps);
	all.count = JB_ROOT_COUNT(workflow->steps);
	all.steps = palloc0(sizeof(Step) * all.count);
	error_context_stack = &context;
	jobs = define_steps(&all);
	error_context_stack = context.previous;
	return jobs;
}

/*
 * The arguments of a scheduled run are the job's: the keys of its steps must be found
 * there, but for those of elements, which have more.
 */
void
js_steps_check_keys(const JsJob *workflow, const List *steps)
{
	JsStepPath	path = {.index = -1};
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = js_step_path_tell,
		.arg = &path
	};
	ListCell   *lc;

	error_context_stack = &context;
	foreach(lc, steps)
	{
		const JsJob *step = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		path.step = NULL;
		if (step->has_items)
			continue;
		if (step->step_undoes != 0)
		{
			js_undo_check_keys(workflow->args, steps, step);
			continue;
		}
		path.step = step->step;
		(void) js_limit_keys_require(js_http_keys(step, step->keys),
									 js_run_args(workflow->args, step->args));
	}
	error_context_stack = context.previous;
}
