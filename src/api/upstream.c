/*-------------------------------------------------------------------------
 *
 * upstream.c
 *		upstream(): what the parents of a run have left.
 *
 * It shows what view runs shows to whoever calls it, but it reads rows by their
 * keys with the newest snapshot: parents have ended, so their rows do not change,
 * but they move when their segment is emptied (store_history.c).  The snapshot of
 * a query, or of a transaction, may show them in neither place.  And no statistics
 * can mislead it.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "run/context.h"
#include "run/item.h"
#include "store/store_names.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(jobsched_upstream);

/* Parents read at a time. */
#define AT_A_TIME 100

enum UpstreamColumn
{
	UPSTREAM_RUN_ID, UPSTREAM_JOB_NAME, UPSTREAM_STATUS, UPSTREAM_ARGS, UPSTREAM_RESULT, UPSTREAM_ERROR,
	UPSTREAM_STEP, UPSTREAM_ITEM,
	UPSTREAM_COLUMNS
};

typedef struct UpstreamRow
{
	Datum		values[UPSTREAM_COLUMNS];
	bool		nulls[UPSTREAM_COLUMNS];
} UpstreamRow;

static void
set(UpstreamRow *row, enum UpstreamColumn column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
set_text(UpstreamRow *row, enum UpstreamColumn column, const char *value)
{
	if (value != NULL)
		set(row, column, CStringGetTextDatum(value));
}

static void
set_jsonb(UpstreamRow *row, enum UpstreamColumn column, Jsonb *value)
{
	if (value != NULL)
		set(row, column, JsonbPGetDatum(value));
}

static void
put_parent(ReturnSetInfo *result, const JsRun *run, const JsOutcome *outcome)
{
	UpstreamRow row;
	JsJob		job;

	memset(row.nulls, true, sizeof(row.nulls));
	set(&row, UPSTREAM_RUN_ID, Int64GetDatum(run->run_id));
	if (js_job_read_head(run->job_id, &job) && js_may_see(job.owner))
	{
		set_text(&row, UPSTREAM_JOB_NAME, job.name);
		set_text(&row, UPSTREAM_STEP, job.step);
	}
	set_text(&row, UPSTREAM_STATUS, js_status_name(outcome->status));
	if (js_may_read(run->owner, run->handler != NULL))
	{
		set_jsonb(&row, UPSTREAM_ARGS, run->args);
		set_jsonb(&row, UPSTREAM_RESULT, outcome->result);
		set_text(&row, UPSTREAM_ERROR, outcome->error);
		if (js_item_index(run) >= 0)
			set(&row, UPSTREAM_ITEM, Int32GetDatum(js_item_index(run)));
	}
	tuplestore_putvalues(result->setResult, result->setDesc, row.values, row.nulls);
}

static void
put_if_seen(ReturnSetInfo *result, int64 run_id)
{
	JsRun		run;
	JsOutcome	outcome;

	if (js_history_find_left(run_id, &run, &outcome) && js_may_see(run.owner))
		put_parent(result, &run, &outcome);
}

static void
put_parents(ReturnSetInfo *result, int64 run_id)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "jobsched upstream", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(scratch);
	int64		parents[AT_A_TIME];
	int64		from = 0;
	int			count;

	do
	{
		count = js_dependencies_read(run_id, from, parents, AT_A_TIME);
		for (int i = 0; i < count; i++)
		{
			put_if_seen(result, parents[i]);
			from = parents[i] + 1;
			MemoryContextReset(scratch);
			CHECK_FOR_INTERRUPTS();
		}
	} while (count == AT_A_TIME);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(scratch);
}

Datum
jobsched_upstream(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);

	/*
	 * The retry of a job made of steps has rows of dependency for what it
	 * carries over, and waits for nothing.
	 */
	if (js_current_run != NULL && js_current_run->after_when != JS_AFTER_NOTHING)
		put_parents((ReturnSetInfo *) fcinfo->resultinfo, js_current_run->run_id);
	return (Datum) 0;
}
