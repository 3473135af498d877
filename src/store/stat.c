/*-------------------------------------------------------------------------
 *
 * stat.c
 *		What runs added up to in a span of time, as numbers and as bytes.
 *
 * HISTOGRAMS
 *
 * A duration goes into a bucket whose bounds do not depend on the data: bucket
 * 1 + 4k + j has those from 2^(k + j/4) on, below 2^(k + (j+1)/4) microseconds.  So
 * histograms can be added, and a percentile is known but for the width of a bucket.
 * What is said for it is the harmonic mean of its bounds, from which no value in the
 * bucket differs by more than (2^(1/4) - 1) / (2^(1/4) + 1), that is 8.7 % of itself.
 *
 * BYTES
 *
 * Few of the numbers are not 0: what is kept is a list of those, in base 128.  So a
 * run a day takes about 25 bytes, and a run a second about 80 bytes an hour.  A chunk is
 * a list of entries: minutes from its first instant, width, size, numbers.  Whatever
 * somebody writes there, nothing is read beyond the end; what makes no sense is left
 * out, and no error.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "port/pg_bitutils.h"
#include "store/stat.h"

/* ------------------------------------------------------------------------
 * Numbers
 * ------------------------------------------------------------------------
 */

#define MOST_US ((UINT64CONST(1) << 47) - 1)

/* 2^31 times 2^(1/4), 2^(2/4), 2^(3/4). */
static const uint32 quarters[] = {2553802834U, 3037000500U, 3611622603U};

static int
bucket_of(uint64 us)
{
	int			power;
	int			quarter = 0;
	uint32		mantissa;

	if (us == 0)
		return 0;
	us = Min(us, MOST_US);
	power = pg_leftmost_one_pos64(us);
	mantissa = (uint32) (power <= 31 ? us << (31 - power) : us >> (power - 31));
	while (quarter < lengthof(quarters) && mantissa >= quarters[quarter])
		quarter++;
	return 1 + 4 * power + quarter;
}

static double
middle_of(int bucket)
{
	double		low = exp2((bucket - 1) / 4.0);
	double		high = exp2(bucket / 4.0);

	return bucket == 0 ? 0 : 2 * low * high / (low + high);
}

static void
add_us(JsHistogram *histogram, int64 us)
{
	uint64		value = Min((uint64) us, MOST_US);

	histogram->counts[bucket_of(value)]++;
	histogram->sum += value;
	histogram->max = Max(histogram->max, value);
}

void
js_stat_add_end(JsStat *stat, const JsStatEnd *end)
{
	stat->ends[end->source][end->status]++;
	if (end->status == JS_SKIPPED)
		stat->skipped += Max(end->slots, 1);
	if (end->status == JS_MISSED)
		stat->missed += Max(end->slots, 1);
	stat->attempts += Max(end->attempts, 0);
	stat->retries += Max(end->attempts - 1, 0);
	stat->rescued += end->status == JS_SUCCEEDED && end->attempts > 1;
	if (end->duration >= 0)
		add_us(&stat->durations, end->duration);
	if (end->delay >= 0)
		add_us(&stat->delays, end->delay);
}

uint64
js_stat_of_status(const JsStat *stat, JsStatus status)
{
	uint64		total = 0;

	for (int source = 0; source < JS_SOURCES; source++)
		total += stat->ends[source][status];
	return total;
}

uint64
js_histogram_total(const JsHistogram *histogram)
{
	uint64		total = 0;

	for (int i = 0; i < JS_STAT_BUCKETS; i++)
		total += histogram->counts[i];
	return total;
}

/*
 * The least value, in microseconds, that is not exceeded by this fraction of all, as
 * percentile_disc() has it; total is at least 1.
 */
double
js_histogram_percentile(const JsHistogram *histogram, uint64 total, double fraction)
{
	uint64		rank = (uint64) ceil(fraction * (double) total);
	uint64		seen = 0;
	int			bucket = 0;

	for (; bucket < JS_STAT_BUCKETS - 1; bucket++)
		if ((seen += histogram->counts[bucket]) >= Max(rank, 1))
			break;
	return Min(middle_of(bucket), (double) histogram->max);
}

/* ------------------------------------------------------------------------
 * Bytes
 * ------------------------------------------------------------------------
 */

static void
put(StringInfo out, uint64 value)
{
	while (value >= 0x80)
	{
		appendStringInfoCharMacro(out, (char) (value | 0x80));
		value >>= 7;
	}
	appendStringInfoCharMacro(out, (char) value);
}

typedef struct Bytes
{
	const uint8 *next;
	const uint8 *end;
} Bytes;

static uint64
take_long(Bytes *bytes)
{
	uint64		value = 0;

	for (int shift = 0; bytes->next < bytes->end && shift < 64; shift += 7)
	{
		uint8		byte = *bytes->next++;

		value |= (uint64) (byte & 0x7f) << shift;
		if (byte < 0x80)
			break;
	}
	return value;
}

/* 0 beyond the end. */
static inline uint64
take(Bytes *bytes)
{
	if (likely(bytes->next < bytes->end && *bytes->next < 0x80))
		return *bytes->next++;
	return take_long(bytes);
}

static void
put_histogram(StringInfo out, const JsHistogram *histogram)
{
	int			used = 0;
	int			last = 0;

	for (int i = 0; i < JS_STAT_BUCKETS; i++)
		used += histogram->counts[i] > 0;
	put(out, used);
	if (used == 0)
		return;
	put(out, histogram->sum);
	put(out, histogram->max);
	for (int i = 0; i < JS_STAT_BUCKETS; i++)
	{
		if (histogram->counts[i] == 0)
			continue;
		put(out, i - last);
		put(out, histogram->counts[i]);
		last = i;
	}
}

static void
take_histogram(Bytes *bytes, JsHistogram *histogram)
{
	uint64		used = take(bytes);
	uint64		bucket = 0;
	uint64		max;

	if (used == 0)
		return;
	histogram->sum += take(bytes);
	max = take(bytes);
	histogram->max = Max(histogram->max, max);
	for (; used > 0 && bytes->next < bytes->end; used--)
	{
		bucket += take(bytes);
		if (bucket >= JS_STAT_BUCKETS)
			return;
		histogram->counts[bucket] += take(bytes);
	}
}

static void
put_ends(StringInfo out, const JsStat *stat)
{
	int			used = 0;

	for (int i = 0; i < JS_SOURCES * JS_STATUSES; i++)
		used += stat->ends[i / JS_STATUSES][i % JS_STATUSES] > 0;
	StaticAssertStmt(JS_STATUSES <= 8, "a status takes three bits");
	put(out, used);
	for (int source = 0; source < JS_SOURCES; source++)
		for (int status = 0; status < JS_STATUSES; status++)
		{
			if (stat->ends[source][status] == 0)
				continue;
			put(out, source * 8 + status);
			put(out, stat->ends[source][status]);
		}
}

static void
take_ends(Bytes *bytes, JsStat *stat)
{
	for (uint64 used = take(bytes); used > 0 && bytes->next < bytes->end; used--)
	{
		uint64		key = take(bytes);
		uint64		count = take(bytes);

		if (key / 8 < JS_SOURCES && key % 8 < JS_STATUSES)
			stat->ends[key / 8][key % 8] += count;
	}
}

void
js_stat_encode(StringInfo out, const JsStat *stat)
{
	put_ends(out, stat);
	put(out, stat->skipped);
	put(out, stat->missed);
	put(out, stat->attempts);
	put(out, stat->retries);
	put_histogram(out, &stat->durations);
	put_histogram(out, &stat->delays);
	put(out, stat->rescued);
}

/* Adds what was encoded. */
void
js_stat_add_encoded(JsStat *stat, const uint8 *data, int size)
{
	Bytes		bytes = {data, data + size};

	take_ends(&bytes, stat);
	stat->skipped += take(&bytes);
	stat->missed += take(&bytes);
	stat->attempts += take(&bytes);
	stat->retries += take(&bytes);
	take_histogram(&bytes, &stat->durations);
	take_histogram(&bytes, &stat->delays);
	stat->rescued += take(&bytes);
}

/* ------------------------------------------------------------------------
 * Chunks
 * ------------------------------------------------------------------------
 */

static const int64 widths[] = {
	[JS_STAT_MINUTE] = USECS_PER_MINUTE,
	[JS_STAT_TEN_MINUTES] = 10 * USECS_PER_MINUTE,
	[JS_STAT_HOUR] = USECS_PER_HOUR,
	[JS_STAT_DAY] = USECS_PER_DAY
};

/* Of spans that are over for longer than this less is kept. */
#define KEEP_TEN_MINUTES (130 * USECS_PER_MINUTE)
#define KEEP_HOURS (30 * USECS_PER_DAY)

TimestampTz
js_stat_begin_of(TimestampTz at, JsStatWidth width)
{
	int64		beyond = at % widths[width];

	return at - (beyond < 0 ? beyond + widths[width] : beyond);
}

void
js_stat_chunk_add(JsStatChunk *chunk, const JsStatEntry *entry)
{
	if (chunk->count == chunk->room)
	{
		chunk->room = Max(2 * chunk->room, 64);
		chunk->entries = chunk->entries == NULL ?
			palloc(chunk->room * sizeof(JsStatEntry)) :
			repalloc(chunk->entries, chunk->room * sizeof(JsStatEntry));
	}
	chunk->entries[chunk->count++] = *entry;
}

/* The entries point into the bytes. */
void
js_stat_chunk_read(JsStatChunk *chunk, TimestampTz first, const uint8 *data, int size)
{
	Bytes		bytes = {data, data + size};

	memset(chunk, 0, sizeof(JsStatChunk));
	chunk->first = first;
	while (bytes.next < bytes.end)
	{
		uint64		minutes = take(&bytes);
		uint64		width = take(&bytes);
		uint64		length = take(&bytes);
		JsStatEntry entry;

		if (width >= JS_STAT_WIDTHS || minutes > PG_INT32_MAX || length == 0 ||
			length > (uint64) (bytes.end - bytes.next))
			return;
		entry.start = first + (int64) minutes * USECS_PER_MINUTE;
		entry.width = (JsStatWidth) width;
		entry.bytes = bytes.next;
		entry.size = (int) length;
		js_stat_chunk_add(chunk, &entry);
		bytes.next += length;
	}
}

static JsStatWidth
width_for(TimestampTz start, TimestampTz open_from, TimestampTz now)
{
	if (start >= open_from)
		return JS_STAT_MINUTE;
	if (start >= now - KEEP_TEN_MINUTES)
		return JS_STAT_TEN_MINUTES;
	return start >= now - KEEP_HOURS ? JS_STAT_HOUR : JS_STAT_DAY;
}

/*
 * Minutes before open_from, which no recount is to find by themselves any more, become
 * wider spans, and so do others with age.
 */
void
js_stat_chunk_coarsen(JsStatChunk *chunk, TimestampTz open_from, TimestampTz now)
{
	for (int i = 0; i < chunk->count; i++)
	{
		JsStatEntry *entry = &chunk->entries[i];

		entry->width = Max(entry->width, width_for(entry->start, open_from, now));
		entry->start = Max(js_stat_begin_of(entry->start, entry->width), chunk->first);
	}
}

static int
compare_entries(const void *a, const void *b)
{
	const JsStatEntry *x = a;
	const JsStatEntry *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (int) x->width - (int) y->width;
}

static void
put_entry(StringInfo out, const JsStatChunk *chunk, const JsStatEntry *entry, const char *bytes, int size)
{
	put(out, (entry->start - chunk->first) / USECS_PER_MINUTE);
	put(out, entry->width);
	put(out, size);
	appendBinaryStringInfo(out, bytes, size);
}

/* Entries of one span are one. */
static void
put_sum(StringInfo out, const JsStatChunk *chunk, const JsStatEntry *entries, int count)
{
	JsStat	   *sum = palloc0(sizeof(JsStat));
	StringInfoData bytes;

	initStringInfo(&bytes);
	for (int i = 0; i < count; i++)
		js_stat_add_encoded(sum, entries[i].bytes, entries[i].size);
	js_stat_encode(&bytes, sum);
	put_entry(out, chunk, entries, bytes.data, bytes.len);
	pfree(bytes.data);
	pfree(sum);
}

void
js_stat_chunk_write(StringInfo out, JsStatChunk *chunk)
{
	int			next;

	if (chunk->count > 1)
		qsort(chunk->entries, chunk->count, sizeof(JsStatEntry), compare_entries);
	for (int i = 0; i < chunk->count; i = next)
	{
		const JsStatEntry *entry = &chunk->entries[i];

		for (next = i + 1; next < chunk->count; next++)
			if (compare_entries(entry, &chunk->entries[next]) != 0)
				break;
		if (next == i + 1)
			put_entry(out, chunk, entry, (const char *) entry->bytes, entry->size);
		else
			put_sum(out, chunk, entry, next - i);
	}
}
