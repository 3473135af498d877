/*-------------------------------------------------------------------------
 *
 * stat.h
 *		What runs added up to in a span of time.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STAT_H
#define JS_STAT_H

#include "lib/stringinfo.h"
#include "store/store.h"

#define JS_STATUSES (JS_MISSED + 1)
#define JS_SOURCES (JS_SOURCE_ITEM + 1)

/* One for 0, and four for each power of two up to 2^47 microseconds. */
#define JS_STAT_BUCKETS 189

typedef struct JsHistogram
{
	uint64		sum;			/* microseconds */
	uint64		max;
	uint64		counts[JS_STAT_BUCKETS];
} JsHistogram;

typedef struct JsStat
{
	uint64		ends[JS_SOURCES][JS_STATUSES];	/* rows of history */
	uint64		skipped;		/* slots and runs; */
	uint64		missed;			/* slots: a row may stand for many */
	uint64		attempts;
	uint64		retries;		/* all of these but the first of each run */
	uint64		rescued;		/* runs that have succeeded after one */
	JsHistogram durations;		/* of runs that have started */
	JsHistogram delays;			/* from when they were due until then */
} JsStat;

/* A run that has ended, or slots that have had none. */
typedef struct JsStatEnd
{
	int64		job_id;
	TimestampTz finished_at;
	int64		duration;		/* microseconds; -1: it never started */
	int64		delay;			/* likewise; -1: that says nothing */
	int32		attempts;
	int32		slots;			/* that it stands for; 0: it is a run */
	uint8		source;			/* JsRunSource */
	uint8		status;			/* JsStatus */
	bool		unrecorded;		/* history has no row of it */
} JsStatEnd;

extern void js_stat_add_end(JsStat *stat, const JsStatEnd *end);
extern void js_stat_encode(StringInfo out, const JsStat *stat);
extern void js_stat_add_encoded(JsStat *stat, const uint8 *bytes, int size);
extern uint64 js_stat_of_status(const JsStat *stat, JsStatus status);
extern uint64 js_histogram_total(const JsHistogram *histogram);
extern double js_histogram_percentile(const JsHistogram *histogram, uint64 total, double fraction);

/* Spans of time that are kept; each begins at a multiple of its width, in UTC. */
typedef enum JsStatWidth
{
	JS_STAT_MINUTE,
	JS_STAT_TEN_MINUTES,
	JS_STAT_HOUR,
	JS_STAT_DAY,
	JS_STAT_WIDTHS
} JsStatWidth;

extern TimestampTz js_stat_begin_of(TimestampTz at, JsStatWidth width);

/* What of a job is kept of one span. */
typedef struct JsStatEntry
{
	TimestampTz start;
	JsStatWidth width;
	const uint8 *bytes;
	int			size;
} JsStatEntry;

/* A row: entries of consecutive spans. */
typedef struct JsStatChunk
{
	TimestampTz first;			/* none begins before; a whole hour */
	int			count;
	int			room;
	JsStatEntry *entries;		/* by start */
} JsStatChunk;

extern void js_stat_chunk_read(JsStatChunk *chunk, TimestampTz first, const uint8 *bytes, int size);
extern void js_stat_chunk_add(JsStatChunk *chunk, const JsStatEntry *entry);
extern void js_stat_chunk_coarsen(JsStatChunk *chunk, TimestampTz open_from, TimestampTz now);
extern void js_stat_chunk_write(StringInfo out, JsStatChunk *chunk);

#endif							/* JS_STAT_H */
