/*-------------------------------------------------------------------------
 *
 * webhook.h
 *		Webhooks of tables.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_WEBHOOK_H
#define JS_WEBHOOK_H

#include "utils/reltrigger.h"

extern void js_webhook_check_trigger(const Trigger *trigger, Oid owner);


#endif							/* JS_WEBHOOK_H */
