/*-------------------------------------------------------------------------
 *
 * channel_run.h
 *		Messages of channels as runs.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CHANNEL_RUN_H
#define JS_CHANNEL_RUN_H

#include "http/channel.h"

extern List *js_channel_runs(const JsJob *job, Jsonb *args, char **problem);

#endif							/* JS_CHANNEL_RUN_H */
