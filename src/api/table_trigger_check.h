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

extern void js_table_trigger_check_created(const CreateTrigStmt *stmt);

#endif							/* JS_TABLE_TRIGGER_CHECK_H */
