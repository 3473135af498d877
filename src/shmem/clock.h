/*-------------------------------------------------------------------------
 *
 * clock.h
 *		The current time, and waiting times.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CLOCK_H
#define JS_CLOCK_H

#include "datatype/timestamp.h"

extern TimestampTz js_clock_now(void);
extern long js_clock_ms_until(TimestampTz when, long at_most);
extern void js_clock_set(bool mocked, TimestampTz now);

#endif							/* JS_CLOCK_H */
