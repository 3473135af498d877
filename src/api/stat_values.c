/*-------------------------------------------------------------------------
 *
 * stat_values.c
 *		Statistics as values of columns.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "api/stat_values.h"

/* Microseconds as milliseconds. */
static Datum
ms(double us)
{
	return Float8GetDatum(rint(us) / 1000);
}

/* Five columns, which are NULL if there is nothing. */
void
js_stat_put_durations(const JsHistogram *durations, Datum *values, bool *nulls)
{
	uint64		total = js_histogram_total(durations);

	for (int i = 0; i < 5; i++)
		nulls[i] = total == 0;
	if (total == 0)
		return;
	values[0] = ms((double) durations->sum / (double) total);
	values[1] = ms(js_histogram_percentile(durations, total, 0.5));
	values[2] = ms(js_histogram_percentile(durations, total, 0.95));
	values[3] = ms(js_histogram_percentile(durations, total, 0.99));
	values[4] = ms((double) durations->max);
}

void
js_stat_put_p95(const JsHistogram *histogram, Datum *value, bool *null)
{
	uint64		total = js_histogram_total(histogram);

	*null = total == 0;
	if (total > 0)
		*value = ms(js_histogram_percentile(histogram, total, 0.95));
}

void
js_stat_put_count(uint64 count, Datum *value)
{
	*value = Int64GetDatum((int64) count);
}

uint64
js_stat_failures(const JsStat *stat)
{
	return js_stat_of_status(stat, JS_FAILED) + js_stat_of_status(stat, JS_TIMED_OUT) +
		js_stat_of_status(stat, JS_LOST);
}

void
js_stat_put_rate(const JsStat *stat, Datum *value, bool *null)
{
	uint64		succeeded = js_stat_of_status(stat, JS_SUCCEEDED);
	uint64		all = succeeded + js_stat_failures(stat);

	*null = all == 0;
	if (all > 0)
		*value = Float8GetDatum((double) succeeded / (double) all);
}
