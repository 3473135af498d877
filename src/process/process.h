/*-------------------------------------------------------------------------
 *
 * process.h
 *		What all our background processes do.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_PROCESS_H
#define JS_PROCESS_H

#include "postmaster/bgworker.h"

extern bool js_process_register(const char *type, const char *function, const char *name,
								Datum arg, uint32 extra, MemoryContext context,
								BackgroundWorkerHandle **handle);
extern void js_process_init(void);
extern void js_process_reload(void);
extern void js_process_fix_settings(const char *application_name);
extern void js_process_begin_own(void);
extern void js_process_commit_own(void);
extern void js_process_begin(const char *activity);
extern void js_process_commit(void);

#endif							/* JS_PROCESS_H */
