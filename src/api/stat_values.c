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

void
js_stat_put_sums(const JsStat *sum, Datum *values, bool *nulls)
{
	static const JsStatus statuses[] = {JS_SUCCEEDED, JS_FAILED, JS_TIMED_OUT, JS_CANCELLED, JS_LOST};

	memset(nulls, false, JS_STAT_SUMS * sizeof(bool));
	js_stat_put_count(js_histogram_total(&sum->durations), values++);
	for (int i = 0; i < lengthof(statuses); i++)
		js_stat_put_count(js_stat_of_status(sum, statuses[i]), values++);
	js_stat_put_count(sum->skipped, values++);
	js_stat_put_count(sum->missed, values++);
	js_stat_put_count(sum->retries, values++);
	js_stat_put_durations(&sum->durations, values, nulls + 9);
	js_stat_put_p95(&sum->delays, values + 5, nulls + 14);
}
