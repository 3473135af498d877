/*-------------------------------------------------------------------------
 *
 * cron_zone.c
 *		The clock changes of a zone, and zones by name.
 *
 * Everything comes from the zone data that the server itself uses, through the
 * server's functions.  We assume nothing about any zone, except that an offset
 * and its changes stay below JS_ZONE_REACH.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "cron/cron.h"
#include "cron/cron_reader.h"
#include "cron/cron_zone.h"

/* Exported by the server, in src/timezone/pgtz.h, which is not installed. */
extern int	pg_open_tzfile(const char *name, char *canonname);

/* Finds the span that contains t; what was before t is not looked at. */
bool
js_zone_span_open(JsZoneSpan *span, pg_tz *tz, pg_time_t t)
{
	long int	before_offset = 0;
	long int	after_offset;
	int			before_isdst;
	int			after_isdst;
	pg_time_t	boundary;
	int			found;

	found = pg_next_dst_boundary(&t, &before_offset, &before_isdst, &boundary,
								 &after_offset, &after_isdst, tz);
	if (found < 0)
		return false;
	span->tz = tz;
	span->begin = t;
	span->end = found > 0 && boundary > t ? boundary : JS_FOREVER;
	span->offset = before_offset;
	return true;
}

/* Goes on to the span that follows; false: there is none. */
bool
js_zone_span_advance(JsZoneSpan *span)
{
	return span->end != JS_FOREVER &&
		js_zone_span_open(span, span->tz, span->end);
}

/*
 * Finds the instant at which clocks reach a local time: the first pass of an
 * overlap, the end of a gap.
 */
JsLocalKind
js_zone_instant(pg_tz *tz, int64 local, pg_time_t *instant)
{
	JsZoneSpan	span;
	int64		reached;

	*instant = local;
	if (!js_zone_span_open(&span, tz, local - JS_ZONE_REACH))
		return JS_LOCAL_NEVER;
	reached = span.begin + span.offset;
	do
	{
		if (local < span.begin + span.offset)
		{
			*instant = span.begin;
			return span.begin + span.offset - reached < SECS_PER_DAY ?
				JS_LOCAL_SKIPPED : JS_LOCAL_NEVER;
		}
		*instant = local - span.offset;
		if (*instant < span.end)
			return js_zone_span_advance(&span) &&
				local >= span.begin + span.offset ?
				JS_LOCAL_TWICE : JS_LOCAL_ONCE;
		reached = Max(reached, span.end + span.offset);
	} while (js_zone_span_advance(&span));
	return JS_LOCAL_NEVER;
}

/*
 * Whether a name can be one of the zone database: parts of letters, digits
 * and "_+-", each beginning with a letter, separated by "/".  That leaves no
 * way out of the directory.
 */
static bool
is_zone_name(const char *name)
{
	const char *at;

	for (at = name; *at != '\0'; at++)
	{
		bool		begins = at == name || at[-1] == '/';

		if (js_is_letter(*at))
			continue;
		if (begins ||
			!(js_is_digit(*at) || strchr("_+-/", *at) != NULL))
			return false;
	}
	return at > name && at[-1] != '/' && at - name <= TZ_STRLEN_MAX;
}

/*
 * Files in the zone directory that are no names of the database: what the
 * machine is set to, and second copies of the whole tree.
 */
static bool
is_local_file(const char *name)
{
	static const char *const files[] = {
		"localtime", "posixrules", "Factory", "posix/", "right/"
	};
	int			i;

	for (i = 0; i < (int) lengthof(files); i++)
	{
		int			length = strlen(files[i]);

		if (pg_strncasecmp(name, files[i], length) == 0 &&
			(files[i][length - 1] == '/' || name[length] == '\0'))
			return true;
	}
	return false;
}

/*
 * The server takes any name that has a file, but also POSIX rules such as
 * FOO5, which are mistakes far more often than they are meant, and which no
 * zone data keeps up to date.  So the file must exist, and the zone must have
 * been made from it: a rule's zone bears the rule as its name.
 */
static pg_tz *
load_zone(const char *name)
{
	char		canonical[TZ_STRLEN_MAX + 1];
	pg_tz	   *tz;
	int			fd;

	if (!is_zone_name(name) || is_local_file(name))
		return NULL;
	fd = pg_open_tzfile(name, canonical);
	if (fd < 0)
		return NULL;
	close(fd);
	tz = pg_tzset(name);
	if (tz == NULL || !pg_tz_acceptable(tz) ||
		strcmp(pg_get_timezone_name(tz), canonical) != 0)
		return NULL;
	return tz;
}

/*
 * Names that were found are remembered, because finding one reads
 * directories and a scheduler asks for the same few over and over.  Zones
 * live as long as the process, so the entries never go stale.
 */
pg_tz *
js_timezone_lookup(const char *name)
{
	static struct
	{
		char		name[64];
		pg_tz	   *tz;
	}			found[32];
	uint32		bucket = 0;
	const char *at;
	pg_tz	   *tz;

	for (at = name; *at != '\0'; at++)
		bucket = bucket * 31 + (unsigned char) *at;
	bucket %= lengthof(found);
	if (found[bucket].tz != NULL && strcmp(found[bucket].name, name) == 0)
		return found[bucket].tz;

	tz = load_zone(name);
	if (tz != NULL && at - name < (int) sizeof(found[bucket].name))
	{
		strlcpy(found[bucket].name, name, sizeof(found[bucket].name));
		found[bucket].tz = tz;
	}
	return tz;
}
