/*-------------------------------------------------------------------------
 *
 * stat_values.h
 *		Statistics as values of columns.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STAT_VALUES_H
#define JS_STAT_VALUES_H

#include "store/stat.h"

/* Columns that run_stats() and run_totals() have: runs, by status, retries, durations, delay. */
#define JS_STAT_SUMS 15

extern void js_stat_put_sums(const JsStat *sum, Datum *values, bool *nulls);
extern void js_stat_put_count(uint64 count, Datum *value);
extern void js_stat_put_durations(const JsHistogram *durations, Datum *values, bool *nulls);
extern void js_stat_put_p95(const JsHistogram *histogram, Datum *value, bool *null);
extern void js_stat_put_rate(const JsStat *stat, Datum *value, bool *null);
extern uint64 js_stat_failures(const JsStat *stat);

#endif							/* JS_STAT_VALUES_H */
