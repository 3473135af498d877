/*-------------------------------------------------------------------------
 *
 * shutdown.h
 *		How a worker finishes its run when the server is shut down.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SHUTDOWN_H
#define JS_SHUTDOWN_H

#include "datatype/timestamp.h"

extern void js_shutdown_watch(void);
extern void js_shutdown_run_until(TimestampTz until);
extern bool js_shutdown_begun(void);

#endif							/* JS_SHUTDOWN_H */
