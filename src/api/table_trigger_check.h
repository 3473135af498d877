/*-------------------------------------------------------------------------
 *
 * table_trigger_check.h
 *		Checks triggers of our trigger functions when they are created.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_TABLE_TRIGGER_CHECK_H
#define JS_TABLE_TRIGGER_CHECK_H

#include "nodes/parsenodes.h"

/* Those that a command makes; commands can be nested. */
typedef struct JsMadeTriggers
{
	MemoryContext context;
	List	   *ids;
	struct JsMadeTriggers *outer;
} JsMadeTriggers;

extern void js_table_trigger_check_init(void);
extern bool js_table_trigger_is_ours(const Node *stmt);
extern void js_table_trigger_watch(JsMadeTriggers *made);
extern void js_table_trigger_unwatch(const JsMadeTriggers *made);
extern void js_table_trigger_check_made(const JsMadeTriggers *made);

#endif							/* JS_TABLE_TRIGGER_CHECK_H */
