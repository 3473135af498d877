/*-------------------------------------------------------------------------
 *
 * set_channel.h
 *		Functions that define channels, and what these keep others from.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SET_CHANNEL_H
#define JS_SET_CHANNEL_H

#include "api/job_definition.h"

extern void js_channel_check_name_is_free(const char *name);
extern void js_channel_check_alter(const JsJob *before, const JsJobDefinition *def);
extern void js_channel_check_drop(const JsJob *job);

#endif							/* JS_SET_CHANNEL_H */
