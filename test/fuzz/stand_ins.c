/*-------------------------------------------------------------------------
 *
 * stand_ins.c
 *		What the schedule module calls in the server, for the fuzzers.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "stand_ins.h"

#undef vsnprintf
#undef strlcpy

int			pg_open_tzfile(const char *name, char *canonname);

int
pg_next_dst_boundary(const pg_time_t *timep, long int *before_gmtoff,
					 int *before_isdst, pg_time_t *boundary,
					 long int *after_gmtoff, int *after_isdst,
					 const pg_tz *tz)
{
	int			i = 0;

	while (i < tz->count && tz->at[i] <= *timep)
		i++;
	*before_isdst = *after_isdst = 0;
	*before_gmtoff = tz->offset[i];
	if (i == tz->count)
		return 0;
	*boundary = tz->at[i];
	*after_gmtoff = tz->offset[i + 1];
	return 1;
}

int
pg_vsnprintf(char *str, size_t count, const char *fmt, va_list args)
{
	return vsnprintf(str, count, fmt, args);
}

int
pg_snprintf(char *str, size_t count, const char *fmt,...)
{
	va_list		args;
	int			length;

	va_start(args, fmt);
	length = vsnprintf(str, count, fmt, args);
	va_end(args);
	return length;
}

size_t
strlcpy(char *dst, const char *src, size_t size)
{
	size_t		length = strlen(src);

	if (size > 0)
	{
		memcpy(dst, src, Min(length, size - 1));
		dst[Min(length, size - 1)] = '\0';
	}
	return length;
}

/* Zones by name: linked, never called. */
int
pg_open_tzfile(const char *name, char *canonname)
{
	abort();
}

pg_tz *
pg_tzset(const char *tzname)
{
	abort();
}

bool
pg_tz_acceptable(pg_tz *tz)
{
	abort();
}

const char *
pg_get_timezone_name(pg_tz *tz)
{
	abort();
}

int
pg_strncasecmp(const char *s1, const char *s2, size_t n)
{
	abort();
}
