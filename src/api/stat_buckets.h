/*-------------------------------------------------------------------------
 *
 * stat_buckets.h
 *		Spans of local time that statistics are summed up by.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STAT_BUCKETS_H
#define JS_STAT_BUCKETS_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "pgtime.h"

typedef struct JsBuckets
{
	bool		whole;			/* there is one, from start on */
	int32		months;			/* or else */
	int64		width;			/* microseconds */
	pg_tz	   *zone;
	TimestampTz start;			/* of the one that is being filled */
	TimestampTz end;
} JsBuckets;

extern void js_buckets_read(FunctionCallInfo fcinfo, int bucket, int zone, JsBuckets *buckets);
extern bool js_buckets_move_on(JsBuckets *buckets, TimestampTz at);

#endif							/* JS_STAT_BUCKETS_H */
