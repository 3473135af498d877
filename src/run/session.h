/*-------------------------------------------------------------------------
 *
 * session.h
 *		Resets a worker's session between two runs.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SESSION_H
#define JS_SESSION_H

extern void js_session_watch(void);
extern void js_session_reset(void);

#endif							/* JS_SESSION_H */
