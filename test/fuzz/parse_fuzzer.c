/*-------------------------------------------------------------------------
 *
 * parse_fuzzer.c
 *		Any text gives a schedule or an error, and either is well formed.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "cron/cron.h"
#include "stand_ins.h"

#define MAX_INPUT	2000

#define CHECK(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
			abort(); \
		} \
	} while (0)
#undef fprintf

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static pg_tz utc;

static void
check_error(const JsScheduleError *err, int length)
{
	CHECK(memchr(err->message, '\0', sizeof(err->message)) != NULL);
	CHECK(memchr(err->hint, '\0', sizeof(err->hint)) != NULL);
	CHECK(err->message[0] != '\0');
	CHECK(err->position >= 1 && err->position <= length + 1);
}

static void
check_cron(const JsCron *cron)
{
	CHECK(cron->seconds != 0 && cron->seconds >> 60 == 0);
	CHECK(cron->minutes != 0 && cron->minutes >> 60 == 0);
	CHECK(cron->hours != 0 && cron->hours >> 24 == 0);
	CHECK(cron->months != 0 && cron->months >> 13 == 0 &&
		  (cron->months & 1) == 0);
	CHECK((cron->days & 1) == 0 && (cron->days_nearest & 1) == 0);
	CHECK(cron->days_from_last >> 31 == 0);
	CHECK(cron->weekdays >> 7 == 0 && cron->weekdays_last >> 7 == 0);
}

/* It fires, strictly ascending, and cron ones at whole seconds. */
static void
check_firing(const JsSchedule *s)
{
	TimestampTz after = 0;
	TimestampTz next;
	int			i;

	for (i = 0; i < 5; i++)
	{
		if (!js_schedule_next(s, &utc, 0, after, &next))
			break;
		CHECK(next > after);
		CHECK(s->kind != JS_SCHEDULE_CRON || next % USECS_PER_SEC == 0);
		after = next;
	}
	if (s->kind == JS_SCHEDULE_CRON || s->kind == JS_SCHEDULE_EVERY)
		CHECK(i == 5);
	if (s->kind == JS_SCHEDULE_STARTUP)
		CHECK(i == 0);
}

/* Neither case nor white space around or between words has a meaning. */
static void
check_variant(const char *text, const JsSchedule *expected)
{
	char		variant[2 * MAX_INPUT + 4];
	JsSchedule	s;
	JsScheduleError err;
	int			length = 0;

	variant[length++] = '\n';
	for (; *text != '\0'; text++)
	{
		variant[length++] = isupper((unsigned char) *text) ?
			tolower((unsigned char) *text) : toupper((unsigned char) *text);
		if (*text == ' ')
			variant[length++] = '\t';
	}
	variant[length++] = ' ';
	variant[length] = '\0';
	if (length <= 1000)
	{
		CHECK(js_schedule_parse(variant, "a job", &s, &err));
		CHECK(memcmp(&s, expected, sizeof(s)) == 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char		text[MAX_INPUT + 1];
	JsSchedule	s;
	JsSchedule	again;
	JsScheduleError err;

	if (size > MAX_INPUT)
		return -1;
	memcpy(text, data, size);
	text[size] = '\0';

	if (!js_schedule_parse(text, "a job", &s, &err))
	{
		check_error(&err, (int) strlen(text));
		return 0;
	}
	CHECK(js_schedule_parse(text, "a job", &again, &err));
	CHECK(memcmp(&s, &again, sizeof(s)) == 0);
	if (s.kind == JS_SCHEDULE_CRON)
		check_cron(&s.u.cron);
	check_firing(&s);
	check_variant(text, &s);
	return 0;
}
