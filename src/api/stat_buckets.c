/*-------------------------------------------------------------------------
 *
 * stat_buckets.c
 *		Spans of local time that statistics are summed up by.
 *
 * Days, weeks and months begin when a clock on the wall says so, which may be set.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/schedule_sql.h"
#include "api/stat_buckets.h"
#include "base/interval.h"
#include "compat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"

/* Nothing is kept of shorter spans for long. */
#define LEAST_BUCKET (10 * USECS_PER_MINUTE)

/* Days and weeks are counted from here, in local time: a Monday, 2000-01-03. */
#define FIRST_MONDAY (2 * USECS_PER_DAY)

pg_noreturn static void
refuse_bucket(const Interval *bucket)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid bucket: \"%s\"", DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(bucket)))),
			 errhint("It is at least 10 minutes; or some months, with nothing else.")));
}

static void
read_bucket(const Interval *bucket, JsBuckets *buckets)
{
	buckets->months = bucket->month;
	if (bucket->month == 0)
		buckets->width = js_interval_us("bucket", bucket);
	if (bucket->month != 0 ?
		bucket->month < 0 || bucket->month > 12000 || bucket->day != 0 || bucket->time != 0 :
		buckets->width < LEAST_BUCKET)
		refuse_bucket(bucket);
}

/* An instant as a clock on the wall shows it. */
static Timestamp
to_local(TimestampTz at, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;
	Timestamp	local;

	if (timestamp2tm(at, &tz, &tm, &fsec, NULL, zone) != 0 || tm2timestamp(&tm, fsec, NULL, &local) != 0)
		return at;
	return local;
}

static TimestampTz
from_local(Timestamp local, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;
	TimestampTz at;

	if (timestamp2tm(local, NULL, &tm, &fsec, NULL, NULL) != 0)
		return local;
	tz = DetermineTimeZoneOffset(&tm, zone);
	return tm2timestamp(&tm, fsec, &tz, &at) != 0 ? local : at;
}

static int64
floor_to(int64 value, int64 width)
{
	int64		beyond = value % width;

	return value - (beyond < 0 ? beyond + width : beyond);
}

static Timestamp
month_begin(int64 month)
{
	struct pg_tm tm = {0};
	Timestamp	local = 0;

	tm.tm_year = (int) (month / 12);
	tm.tm_mon = (int) (month % 12) + 1;
	tm.tm_mday = 1;
	(void) tm2timestamp(&tm, 0, NULL, &local);
	return local;
}

static int64
month_of(Timestamp local)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(local, NULL, &tm, &fsec, NULL, NULL) != 0)
		return 0;
	return tm.tm_year * INT64CONST(12) + tm.tm_mon - 1;
}

/*
 * Clocks may be set within a bucket, and then an instant before its end may belong to the
 * next one: the hour before they are set back has the same local time as the one after.
 * So what comes after it is looked at once more.
 */
static void
find_bucket(JsBuckets *buckets, TimestampTz at)
{
	Timestamp	local = to_local(at, buckets->zone);
	Timestamp	begin;
	Timestamp	end;

	if (buckets->months != 0)
	{
		int64		month = floor_to(month_of(local), buckets->months);

		begin = month_begin(month);
		end = month_begin(month + buckets->months);
	}
	else
	{
		begin = floor_to(local - FIRST_MONDAY, buckets->width) + FIRST_MONDAY;
		end = begin + buckets->width;
	}
	buckets->start = from_local(begin, buckets->zone);
	buckets->end = from_local(end, buckets->zone);
	if (buckets->end - at != end - local)
		buckets->end = at + 1;
}

/* Whether it is another one than that which is being filled.  An hour that comes twice is one. */
bool
js_buckets_move_on(JsBuckets *buckets, TimestampTz at)
{
	TimestampTz start = buckets->start;

	if (buckets->whole || (at >= buckets->start && at < buckets->end))
		return false;
	find_bucket(buckets, at);
	return buckets->start != start;
}

static pg_tz *
zone_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *name;
	pg_tz	   *zone;

	if (PG_ARGISNULL(n))
		return session_timezone;
	name = text_to_cstring(PG_GETARG_TEXT_PP(n));
	zone = js_timezone_lookup(name);
	if (zone == NULL)
		js_timezone_refuse(name);
	return zone;
}

/* The arguments of a function: NULL is one bucket, whose start is the caller's to say, and the session's zone. */
void
js_buckets_read(FunctionCallInfo fcinfo, int bucket, int zone, JsBuckets *buckets)
{
	memset(buckets, 0, sizeof(JsBuckets));
	buckets->whole = PG_ARGISNULL(bucket);
	if (!buckets->whole)
		read_bucket(PG_GETARG_INTERVAL_P(bucket), buckets);
	buckets->zone = zone_argument(fcinfo, zone);
}
