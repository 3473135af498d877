/*-------------------------------------------------------------------------
 *
 * webhook_check.h
 *		Checks triggers of http_webhook() when they are created.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_WEBHOOK_CHECK_H
#define JS_WEBHOOK_CHECK_H

#include "nodes/parsenodes.h"

extern void js_webhook_check(const CreateTrigStmt *stmt);

#endif							/* JS_WEBHOOK_CHECK_H */
