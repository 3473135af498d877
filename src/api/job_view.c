/*-------------------------------------------------------------------------
 *
 * job_view.c
 *		Writing to the views: jobs is written like a table, the others are not.
 *
 * REST gateways turn POST, PATCH and DELETE into INSERT, UPDATE and DELETE.  On
 * view jobs a trigger in their place does what create_job(), alter_job() and
 * drop_job() do, with the rights of whoever writes, in his transaction; it adds
 * no way to anything, and nothing is kept here.  A row goes this way:
 *
 *	INSERT	each column that is not NULL is given, like an argument; NULL and what
 *			is left out is the default
 *	UPDATE	the job is held, then each column whose new value is not the old one
 *			is given; NULL takes it away, or makes it the default.  Columns that
 *			the statement did not set are as they were when it has seen the row,
 *			and are not given: what others have made of them meanwhile stays
 *	DELETE	the job is dropped; running runs finish
 *
 * Then the row is read anew from the view, for RETURNING.  A column that no
 * argument stands for is refused if it is given, rather than passed over.
 *
 * Other views have a trigger that refuses to write.  Without one the server would,
 * but with an error that gateways take for one of the server (HTTP 500), and for a
 * superuser it would write the tables of some of them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/job.h"
#include "api/job_after.h"
#include "api/step_value.h"
#include "base/arguments.h"
#include "base/json.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "http/http_definition.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(jobsched_write_job);
PG_FUNCTION_INFO_V1(jobsched_refuse_write);

/* A row of the view that is written, and the one that was there; NULL: there was none. */
typedef struct Written
{
	TupleDesc	desc;
	HeapTuple	row;
	HeapTuple	before;
} Written;

/* ------------------------------------------------------------------------
 * Columns
 * ------------------------------------------------------------------------
 */

static bool
are_equal(TupleDesc desc, int n, Datum a, Datum b)
{
	Form_pg_attribute attribute = TupleDescAttr(desc, n - 1);
	TypeCacheEntry *type = lookup_type_cache(attribute->atttypid, TYPECACHE_EQ_OPR_FINFO);

	return DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, attribute->attcollation, a, b));
}

/* What is written into a column, if anything is: NULL is nothing where nothing was. */
static bool
is_given(const Written *written, int n, Datum *value, bool *isnull)
{
	bool		was_null = true;
	Datum		was = 0;

	*value = SPI_getbinval(written->row, written->desc, n, isnull);
	if (written->before != NULL)
		was = SPI_getbinval(written->before, written->desc, n, &was_null);
	if (*isnull || was_null)
		return *isnull != was_null;
	return !are_equal(written->desc, n, *value, was);
}

static bool
column_is_given(const Written *written, const char *name, Datum *value, bool *isnull)
{
	int			n = SPI_fnumber(written->desc, name);

	return n > 0 && is_given(written, n, value, isnull);
}

/* Whether an argument stands for it. */
static bool
is_writable(const char *name)
{
	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		if (strcmp(parameter->name, name) == 0)
			return true;
	return strcmp(name, "request") == 0 || strcmp(name, "steps") == 0 || strcmp(name, "after") == 0;
}

static const char *
hint_for(const char *name)
{
	if (strncmp(name, "state", strlen("state")) == 0)
		return "enabled stops its schedule; pause_job() holds the job, and resume_job() lets it go on.";
	if (strcmp(name, "kind") == 0)
		return "Write one of command, handler, request and steps.";
	return "Leave it out.";
}

static void
refuse_unwritable(const Written *written)
{
	for (int n = 1; n <= written->desc->natts; n++)
	{
		const char *name = NameStr(TupleDescAttr(written->desc, n - 1)->attname);
		Datum		value;
		bool		isnull;

		if (!is_writable(name) && is_given(written, n, &value, &isnull))
			ereport(ERROR,
					(errcode(ERRCODE_GENERATED_ALWAYS),
					 errmsg("column \"%s\" of view \"jobs\" cannot be written", name),
					 errhint("%s", hint_for(name))));
	}
}

/* ------------------------------------------------------------------------
 * What is given
 * ------------------------------------------------------------------------
 */

/* The name and the owner of a job that there is are not to be guessed. */
static void
take_nothing(const Written *written, const JsJobParameter *parameter, JsJobArguments *args)
{
	if (parameter->column == JS_JOB_NAME || parameter->column == JS_JOB_OWNER)
		js_refuse_null(parameter->name);
	js_job_argument_default(parameter, args);
}

static void
take_parameters(const Written *written, JsJobArguments *args)
{
	Datum		value;
	bool		isnull;

	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
	{
		if (!column_is_given(written, parameter->name, &value, &isnull))
			continue;
		if (isnull)
			take_nothing(written, parameter, args);
		else
			js_job_argument_take(parameter, value, args);
	}
}

static const JsHttpParameter *
find_http_parameter(const char *name)
{
	for (const JsHttpParameter *parameter = js_http_parameters; parameter->name != NULL; parameter++)
		if (strcmp(parameter->name, name) == 0)
			return parameter;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid key \"%s\" in request", name),
			 errhint("The keys are url, method, headers, body, body_text, sign_with, connect_timeout, success_codes and max_redirects.")));
}

/* As an argument; a time is also taken as the view shows it, a number of milliseconds. */
static Datum
request_value(const JsHttpParameter *parameter, JsonbValue *value)
{
	Interval   *span;
	bool		too_many;

	if (parameter->kind != JS_PARAMETER_SPAN || value->type != jbvNumeric)
		return js_step_value(parameter->name, value, parameter->kind);
	span = palloc0(sizeof(Interval));
	span->time = (int64) numeric_int4_opt_error(value->val.numeric, &too_many) * 1000;
	if (too_many)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid %s in request: %s milliseconds", parameter->name,
						numeric_normalize(value->val.numeric)),
				 errhint("Give fewer, or a span of time such as \"5 seconds\".")));
	return IntervalPGetDatum(span);
}

/* The request as the view shows it: an object whose keys are parameters. */
static void
take_request(Jsonb *request, JsJobDefinition *def)
{
	JsonbIterator *it;
	JsonbValue	value;
	JsonbIteratorToken token;
	const JsHttpParameter *parameter = NULL;

	if (!JB_ROOT_IS_OBJECT(request))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("request must be a JSON object")));
	it = JsonbIteratorInit(&request->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			parameter = find_http_parameter(pnstrdup(value.val.string.val, value.val.string.len));
		else if (token == WJB_VALUE && value.type != jbvNull)
			js_http_argument_take(parameter, request_value(parameter, &value), &def->http);
	}
	if (def->http.url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("request has no url"),
				 errhint("It is written as a whole; null takes it away.")));
	def->has_http = true;
	def->whole_request = true;
}

static void
take_after(ArrayType *after, JsJobDefinition *def)
{
	def->after = after != NULL ? after : construct_empty_array(TEXTOID);
}

/* Work that is taken away and not replaced. */
static void
check_work(const JsJobDefinition *def)
{
	if (def->args.job.command == NULL && def->args.job.handler == NULL && def->http.url == NULL &&
		def->steps == NULL && !def->has_http)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the job would have no command, handler, request or steps"),
				 errhint("Write another one of these.")));
}

static void
take_row(const Written *written, JsJobDefinition *def)
{
	Datum		value;
	bool		isnull;

	memset(def, 0, sizeof(JsJobDefinition));
	js_http_nothing_given(&def->http);
	refuse_unwritable(written);
	take_parameters(written, &def->args);
	if (column_is_given(written, "request", &value, &isnull) && !isnull)
		take_request(DatumGetJsonbPCopy(value), def);
	if (column_is_given(written, "steps", &value, &isnull) && !isnull)
		def->steps = DatumGetJsonbPCopy(value);
	if (column_is_given(written, "after", &value, &isnull))
		take_after(isnull ? NULL : DatumGetArrayTypePCopy(value), def);
	for (int i = 0; i < 4; i++)
	{
		static const char *const work[] = {"command", "handler", "request", "steps"};

		if (column_is_given(written, work[i], &value, &isnull) && isnull)
			check_work(def);
	}
}

/* ------------------------------------------------------------------------
 * Rows
 * ------------------------------------------------------------------------
 */

static int64
job_id_of(const Written *written, HeapTuple row)
{
	bool		isnull;
	Datum		id = SPI_getbinval(row, written->desc, SPI_fnumber(written->desc, "job_id"), &isnull);

	return isnull ? 0 : DatumGetInt64(id);
}

/* As the view has it now; the row that was written if its writer cannot see it any more. */
static HeapTuple
read_row(int64 job_id, HeapTuple written)
{
	Oid			type = INT8OID;
	Datum		id = Int64GetDatum(job_id);
	HeapTuple	row = written;

	SPI_connect();
	if (SPI_execute_with_args("SELECT * FROM jobsched.jobs WHERE job_id OPERATOR(pg_catalog.=) $1",
							  1, &type, &id, NULL, false, 1) == SPI_OK_SELECT && SPI_processed == 1)
		row = SPI_copytuple(SPI_tuptable->vals[0]);
	SPI_finish();
	return row;
}

static HeapTuple
insert_row(const Written *written)
{
	JsJobDefinition def;

	take_row(written, &def);
	return read_row(js_job_define(&def, "error"), written->row);
}

/*
 * The job of the row that was seen, for this transaction to change; false: there is none
 * any more.  It has been seen, so it is no secret that there is one.
 */
static bool
hold_job(int64 job_id, JsJob *job)
{
	if (!js_job_read(job_id, job) || job->dropped_at != DT_NOBEGIN)
		return false;
	if (!js_may_manage(job->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for job \"%s\"", job->name),
				 errhint("Its owner \"%s\", and roles that have the privileges of that role, can change it.",
						 GetUserNameFromId(job->owner, false))));
	js_job_lock(job_id);
	return js_job_read(job_id, job) && job->dropped_at == DT_NOBEGIN && js_may_manage(job->owner);
}

static bool
only_metadata_is_given(const JsJobDefinition *def)
{
	int			count = 0;

	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		count += def->args.given[parameter->column];
	return count == 1 && def->args.given[JS_JOB_METADATA] && !def->has_http && def->steps == NULL &&
		def->after == NULL;
}

static bool
is_anything_given(const JsJobDefinition *def)
{
	for (const JsJobParameter *parameter = js_job_parameters; parameter->name != NULL; parameter++)
		if (def->args.given[parameter->column])
			return true;
	return def->has_http || def->steps != NULL || def->after != NULL;
}

static HeapTuple
update_row(const Written *written)
{
	int64		job_id = job_id_of(written, written->before);
	JsJobDefinition def;
	JsJob		job;

	if (!hold_job(job_id, &job))
		return NULL;
	take_row(written, &def);
	if (only_metadata_is_given(&def))
		js_job_set_metadata(&job, def.args.job.metadata);
	else if (is_anything_given(&def))
		js_job_alter(&job, &def);
	return read_row(job_id, written->row);
}

static HeapTuple
delete_row(const Written *written)
{
	JsJob		job;

	if (!hold_job(job_id_of(written, written->before), &job))
		return NULL;
	js_job_drop(&job, false);
	return written->before;
}

/* ------------------------------------------------------------------------
 * Triggers
 * ------------------------------------------------------------------------
 */

static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *function)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_INSTEAD(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by a trigger instead of a change", function)));
	return data;
}

/* Columns are taken by their names, for what they are in the view: another's may be of any type, and say anything. */
static void
check_is_jobs(Relation rel)
{
	if (RelationGetNamespace(rel) != get_namespace_oid(JS_EXTENSION, true) ||
		strcmp(RelationGetRelationName(rel), "jobs") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("\"%s\" is not view jobs", RelationGetRelationName(rel))));
}

Datum
jobsched_write_job(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "write_job");
	Written		written = {.desc = RelationGetDescr(data->tg_relation)};

	js_check_may_write("a change of view jobs");
	check_is_jobs(data->tg_relation);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
	{
		written.row = data->tg_trigtuple;
		return PointerGetDatum(insert_row(&written));
	}
	written.before = data->tg_trigtuple;
	written.row = data->tg_newtuple;
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? update_row(&written) : delete_row(&written));
}

Datum
jobsched_refuse_write(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "refuse_write");

	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("view \"%s\" cannot be written", RelationGetRelationName(data->tg_relation)),
			 errhint("Call the function that does what you want, such as trigger(), cancel_run() or retry_run().")));
	PG_RETURN_NULL();
}
