/*-------------------------------------------------------------------------
 *
 * interval.h
 *		Time spans as arguments.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_INTERVAL_H
#define JS_INTERVAL_H

#include "datatype/timestamp.h"

/* Longer than this is a mistake, and might overflow elsewhere. */
#define JS_MAX_INTERVAL_DAYS INT64CONST(3650)

extern int64 js_interval_clamped_us(const Interval *interval);
extern int64 js_interval_us(const char *parameter, const Interval *interval);

#endif							/* JS_INTERVAL_H */
