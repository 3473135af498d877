/*-------------------------------------------------------------------------
 *
 * table_trigger.h
 *		Triggers of tables that queue runs.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_TABLE_TRIGGER_H
#define JS_TABLE_TRIGGER_H

#include "api/change.h"
#include "api/trigger_options.h"
#include "fmgr.h"
#include "store/store.h"

typedef struct JsTriggerKind JsTriggerKind;

typedef struct JsTableTrigger
{
	const JsTriggerKind *kind;
	const Trigger *trigger;
	const TriggerData *data;	/* NULL: it is being created */
	Oid			owner;			/* of the table, and of what is queued */
	JsTriggerOptions options;
	JsChangeColumns columns;
	JsIdempotency idempotency;
	JsJob		job;			/* job_id 0: none so far */
	JsRun		run;
} JsTableTrigger;

/* What differs between our trigger functions. */
struct JsTriggerKind
{
	const char *function;		/* its name */
	bool		for_owner;		/* who creates a trigger has to have the
								 * privileges of the table's owner */

	/*
	 * Raises what is wrong with arguments that are no options; the first that
	 * is.
	 */
	int			(*check_arguments) (const Trigger *trigger);

	/*
	 * Raises what keeps it from queueing runs, and may be changed at any
	 * time.
	 */
	void		(*find_job) (JsTableTrigger *table_trigger);

	/* The run of a change, but for its key. */
	void		(*make_run) (JsTableTrigger *table_trigger, Jsonb *change);

	/* The job of runs that were not to be, if find_job has found none. */
	void		(*find_job_of_skipped) (JsTableTrigger *table_trigger);
};

extern const JsTriggerKind js_webhook_kind;
extern const JsTriggerKind js_trigger_job_kind;

extern Datum js_table_trigger_fire(const JsTriggerKind *kind, FunctionCallInfo fcinfo);
extern void js_table_trigger_check(const JsTriggerKind *kind, const Trigger *trigger, Relation rel);
extern void js_table_trigger_find_job(JsTableTrigger *table_trigger, bool requests_only);
extern void js_table_trigger_make_run(JsTableTrigger *table_trigger, Jsonb *change);

#endif							/* JS_TABLE_TRIGGER_H */
