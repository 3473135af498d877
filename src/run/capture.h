/*-------------------------------------------------------------------------
 *
 * capture.h
 *		Captures the messages of a run.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CAPTURE_H
#define JS_CAPTURE_H

#include "store/store.h"

/* Messages of an attempt, at most. */
#define JS_MOST_LINES 1000

extern void js_capture_init(void);
extern void js_capture_watch(void);
extern void js_capture_open(void);
extern void js_capture_start(bool is_secret);
extern void js_capture_stop(void);
extern void js_capture_add(const char *level, const char *message);
extern int	js_capture_lines(JsLogLine **lines);
extern char *js_capture_text(const char *text);

#endif							/* JS_CAPTURE_H */
