/*-------------------------------------------------------------------------
 *
 * cron_reader.h
 *		What the readers of a schedule's text share.
 *
 * Private to these files.  The readers return false after they have recorded an
 * error with js_fail().  Otherwise they return true, and "at" is after the text
 * that they have read.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CRON_READER_H
#define JS_CRON_READER_H

#include "cron/cron.h"

#define JS_NO_HINT		""		/* but the usual one */
#define JS_SHOWN_LENGTH	24		/* of an offending word, in a message */

typedef struct JsReader
{
	const char *text;			/* the schedule, for positions */
	const char *at;				/* what is read next */
	uint64		seed;			/* of the H values */
	JsScheduleError *err;
} JsReader;

extern bool js_fail(JsReader *r, const char *at, const char *hint,
					const char *fmt,...) pg_attribute_printf(4, 5);
extern bool js_read_cron(JsReader *r, JsCron *cron);
extern const char *js_cron_field_name(JsCronField field);

/*
 * Characters.  The C library's classification depends on the locale.
 */
static inline bool
js_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline bool
js_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline char
js_fold(char c)
{
	return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c;
}

static inline bool
js_is_letter(char c)
{
	return js_fold(c) >= 'A' && js_fold(c) <= 'Z';
}

static inline bool
js_ends_word(char c)
{
	return c == '\0' || js_is_space(c);
}

static inline const char *
js_skip_spaces(const char *at)
{
	while (js_is_space(*at))
		at++;
	return at;
}

/* The length of what stands here, up to white space. */
static inline int
js_word_length(const char *at)
{
	int			length = 0;

	while (!js_ends_word(at[length]))
		length++;
	return length;
}

/* Whether exactly "length" characters equal "word", in either case. */
static inline bool
js_equals(const char *at, int length, const char *word)
{
	int			i;

	for (i = 0; i < length && word[i] != '\0'; i++)
	{
		if (js_fold(at[i]) != js_fold(word[i]))
			return false;
	}
	return i == length && word[i] == '\0';
}

/* Takes one character if it stands here. */
static inline bool
js_take(JsReader *r, char c)
{
	if (js_fold(*r->at) != c)
		return false;
	r->at++;
	return true;
}

/* Reads digits; the value stops growing beyond "limit". */
static inline int64
js_read_digits(JsReader *r, int64 limit)
{
	int64		value = 0;

	for (; js_is_digit(*r->at); r->at++)
	{
		if (value <= limit)
			value = value * 10 + (*r->at - '0');
	}
	return value;
}

#endif							/* JS_CRON_READER_H */
