/*-------------------------------------------------------------------------
 *
 * error_pattern.c
 *		What messages of errors have in common: error_patterns().
 *
 * error_pattern(message) gives the message without what differs from one run to
 * the next: a mark such as <n> stands for a number.  doc/runs.md has the rules, which
 * are a contract: whoever counts by patterns compares those of today with those of
 * last month.
 *
 * The message is read once, from left to right, and no rule reads further ahead than
 * a constant, but for the end of a quoted value; where one such search has found none
 * to the end of the message, no other is made for that kind of quote.  So the time is
 * linear, whatever somebody's code raises.  Of a message READ_BYTES are read, of which
 * not more is fetched or decompressed either, and a pattern has PATTERN_BYTES.
 *
 * All that is looked at are ASCII characters, which are no part of others in any
 * encoding of a server, and some quotes of other alphabets (quote_at()).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define READ_BYTES		8192
#define PATTERN_BYTES	400
#define NAME_BYTES		200		/* a longer quoted text is no name */
#define WORD_BYTES		16		/* the longest word that is compared */

#define MARK_NUMBER		"<n>"
#define MARK_HEX		"<hex>"
#define MARK_ID			"<id>"
#define MARK_UUID		"<uuid>"
#define MARK_TIME		"<time>"
#define MARK_EMAIL		"<email>"
#define MARK_IP			"<ip>"
#define MARK_TEXT		"<text>"
#define MARK_PATH		"/<path>"

typedef struct Reader
{
	const char *start;
	const char *end;			/* of what is read now: a part, or all */
	const char *p;
	bool		in_part;		/* a name or a host: without quotes and URLs */
	uint32		unclosed;		/* kinds of quotes of which none closes */
	char		out[PATTERN_BYTES + 4];
	int			length;
	bool		is_full;
} Reader;

PG_FUNCTION_INFO_V1(jobsched_error_pattern);

/* ------------------------------------------------------------------------
 * Characters
 * ------------------------------------------------------------------------
 */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_alnum(char c)
{
	return is_digit(c) || is_letter(c);
}

static bool
is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* What a word may have, in any alphabet. */
static bool
is_word(char c)
{
	return is_alnum(c) || c == '_' || IS_HIGHBIT_SET(c);
}

static bool
is_space(char c)
{
	return (unsigned char) c <= ' ' || c == 0x7f;
}

static bool
is_one_of(char c, const char *set)
{
	return c != '\0' && strchr(set, c) != NULL;
}

/* The character at p, or a space behind the end. */
static char
at(const Reader *r, const char *p)
{
	return p < r->end ? *p : ' ';
}

static char
before(const Reader *r, const char *p)
{
	return p > r->start ? p[-1] : ' ';
}

/* How many bytes of a kind there are from p on, no more than max. */
static int
span(const Reader *r, const char *p, bool (*is) (char), int max)
{
	int			n = 0;

	while (n < max && p + n < r->end && is(p[n]))
		n++;
	return n;
}

/* How many bytes the character at p has. */
static int
length_at(const Reader *r, const char *p)
{
	return IS_HIGHBIT_SET(*p) ? Min(pg_mblen(p), r->end - p) : 1;
}

static bool
is_text_at(const Reader *r, const char *p, const char *text)
{
	size_t		length = strlen(text);

	return r->end - p >= (ptrdiff_t) length && memcmp(p, text, length) == 0;
}

/* ------------------------------------------------------------------------
 * The pattern
 * ------------------------------------------------------------------------
 */

static void
put(Reader *r, const char *text, int length)
{
	if (length > PATTERN_BYTES - r->length)
	{
		length = pg_mbcliplen(text, length, PATTERN_BYTES - r->length);
		r->is_full = true;
	}
	memcpy(r->out + r->length, text, length);
	r->length += length;
}

static bool
ends_with(const Reader *r, int length, const char *text)
{
	int			n = strlen(text);

	return length >= n && memcmp(r->out + length - n, text, n) == 0;
}

/*
 * Of a list the pattern has one: those of two values and of three are the same, and
 * those of the bytes that make no character (0xe2 0x28).
 */
static void
put_mark(Reader *r, const char *mark)
{
	int			length = r->length;

	if (length > 0 && r->out[length - 1] == ' ')
		length--;
	if (length < r->length && strcmp(mark, MARK_HEX) == 0 && ends_with(r, length, mark))
		r->length = length;
	else if (length > 0 && r->out[length - 1] == ',' && ends_with(r, length - 1, mark))
		r->length = length - 1;
	else
		put(r, mark, strlen(mark));
}

/* What is between here and there becomes a mark. */
static bool
replace(Reader *r, const char *until, const char *mark)
{
	put_mark(r, mark);
	r->p = until;
	return true;
}

static bool
copy(Reader *r, const char *until)
{
	put(r, r->p, until - r->p);
	r->p = until;
	return true;
}

static void
copy_character(Reader *r)
{
	copy(r, r->p + length_at(r, r->p));
}

/* All space is one. */
static void
copy_space(Reader *r)
{
	while (r->p < r->end && is_space(*r->p))
		r->p++;
	if (r->length > 0 && r->out[r->length - 1] != ' ')
		put(r, " ", 1);
}

/* ------------------------------------------------------------------------
 * Words before a value
 * ------------------------------------------------------------------------
 */

static int
compare_words(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static bool
is_listed(const char *word, const char *const *list, int count)
{
	return bsearch(&word, list, count, sizeof(char *), compare_words) != NULL;
}

/* The word that ends at p, in lower case; returns where it begins. */
static const char *
word_before(const Reader *r, const char *p, char *word)
{
	const char *from = p;

	while (from > r->start && p - from < WORD_BYTES && is_letter(from[-1]))
		from--;
	for (int i = 0; i < p - from; i++)
		word[i] = pg_tolower((unsigned char) from[i]);
	word[p - from] = '\0';
	return from;
}

/* What a server says of its objects, and we of ours, before their names. */
static bool
is_after_noun(const Reader *r, const char *quote)
{
	static const char *const nouns[] = {
		"alert", "argument", "attribute", "channel", "class", "collation", "column", "configuration",
		"constraint", "cursor", "database", "dictionary", "domain", "event", "extension", "field",
		"function", "handler", "hook", "index", "job", "language", "library", "limit", "module", "operator",
		"option", "parameter", "partition", "policy", "portal", "procedure", "property", "publication", "queue",
		"record", "reference", "relation", "role", "rule", "savepoint", "schema", "secret", "sequence", "server",
		"setting", "statement", "step", "subscription", "table", "tablespace", "trigger", "type",
		"variable", "view", "workflow", "wrapper"
	};
	char		word[WORD_BYTES + 1];

	if (before(r, quote) != ' ')
		return false;
	(void) word_before(r, quote - 1, word);
	return is_listed(word, nouns, lengthof(nouns));
}

/* Only digits: of an HTTP status, or of what a process or a system call ends with. */
static bool
is_code_of(const char *word, bool is_of_error, int digits, char first)
{
	static const char *const ends[] = {"errno", "exit", "exited", "signal"};
	static const char *const answers[] = {"http", "httpstatus", "response", "status", "statuscode"};

	if (is_listed(word, ends, lengthof(ends)))
		return digits <= 3;
	return digits == 3 && first >= '1' && first <= '5' &&
		(is_listed(word, answers, lengthof(answers)) || (is_of_error && strcmp(word, "returned") == 0));
}

/* Some numbers say what has happened, as in "exited with code 1": they are not one of many values. */
static bool
is_after_code(const Reader *r, const char *p, int length)
{
	static const char *const links[] = {"code", "error", "status", "with"};
	bool		is_number = span(r, p, is_digit, 4) == length;
	bool		is_of_error = false;
	char		word[WORD_BYTES + 1];
	const char *from = p;

	while (from > r->start && p - from < WORD_BYTES && is_one_of(from[-1], " :=(["))
		from--;
	if (from == p)
		return false;
	if (is_digit(before(r, from)) || before(r, from) == '>')	/* HTTP/1.1 */
		while (from > r->start && p - from < WORD_BYTES && (is_digit(from[-1]) || is_one_of(from[-1], "./<n>")))
			from--;
	for (int i = 0; i < 3; i++)
	{
		from = word_before(r, from, word);
		if (length == 5 && strcmp(word, "sqlstate") == 0)
			return true;
		if (is_number && is_code_of(word, is_of_error, length, *p))
			return true;
		if (!is_listed(word, links, lengthof(links)) || from == r->start || !is_one_of(from[-1], " _"))
			return false;
		is_of_error = strcmp(word, "error") == 0;
		from--;
	}
	return false;
}

/* ------------------------------------------------------------------------
 * Dates and times.  Each function says where what it knows ends; NULL: it is not there.
 * ------------------------------------------------------------------------
 */

static const char *
digits_at(const Reader *r, const char *p, int least, int most)
{
	int			n;

	if (p == NULL)
		return NULL;
	n = span(r, p, is_digit, most + 1);
	return n >= least && n <= most ? p + n : NULL;
}

static const char *
one_of_at(const Reader *r, const char *p, const char *set)
{
	return p != NULL && p < r->end && is_one_of(*p, set) ? p + 1 : NULL;
}

/* Of several names the one that is there, whole or its first three letters. */
static const char *
name_at(const Reader *r, const char *p, const char *const *names, int count)
{
	int			n = p == NULL ? 0 : span(r, p, is_letter, WORD_BYTES);

	for (int i = 0; i < count; i++)
		if ((n == 3 || n == (int) strlen(names[i])) && n > 0 && memcmp(p, names[i], n) == 0)
			return p + n;
	return NULL;
}

static const char *
month_at(const Reader *r, const char *p)
{
	static const char *const names[] = {
		"January", "February", "March", "April", "May", "June", "July", "August", "September",
		"October", "November", "December"
	};

	return name_at(r, p, names, lengthof(names));
}

static const char *
weekday_at(const Reader *r, const char *p)
{
	static const char *const names[] = {
		"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"
	};

	return name_at(r, p, names, lengthof(names));
}

static const char *
zone_at(const Reader *r, const char *p)
{
	const char *zone = at(r, p) == ' ' ? p + 1 : p;
	const char *hours = digits_at(r, one_of_at(r, p, "+-"), 2, 4);
	const char *minutes;

	if (at(r, p) == 'Z' && !is_alnum(at(r, p + 1)))
		return p + 1;
	if ((is_text_at(r, zone, "UTC") || is_text_at(r, zone, "GMT")) && !is_alnum(at(r, zone + 3)))
		return zone + 3;
	if (hours == NULL)
	{
		hours = digits_at(r, one_of_at(r, zone, "+-"), 4, 4);
		return hours != NULL && zone > p ? hours : p;
	}
	minutes = digits_at(r, one_of_at(r, hours, ":"), 2, 2);
	return minutes != NULL ? minutes : hours;
}

/* hh:mm, with seconds, parts of them, AM or PM, and a zone */
static const char *
time_at(const Reader *r, const char *p)
{
	const char *q = digits_at(r, one_of_at(r, digits_at(r, p, 1, 4), ":"), 2, 2);
	const char *seconds = digits_at(r, one_of_at(r, q, ":"), 2, 2);
	const char *parts = digits_at(r, one_of_at(r, seconds, ".,"), 1, 9);

	if (q == NULL)
		return NULL;
	q = parts != NULL ? parts : seconds != NULL ? seconds : q;
	if (is_text_at(r, q, " AM") || is_text_at(r, q, " PM"))
		q += 3;
	return zone_at(r, q);
}

/* yyyy-mm-dd, dd.mm.yyyy and the like */
static const char *
numeric_date_at(const Reader *r, const char *p)
{
	const char *year = digits_at(r, p, 4, 4);
	const char *first = digits_at(r, p, 1, 2);
	const char *from = year != NULL ? year : first;
	const char *second;
	char		separator;

	if (from == NULL || !is_one_of(at(r, from), "-/."))
		return NULL;
	separator = *from;
	second = digits_at(r, from + 1, 1, 2);
	if (second == NULL || at(r, second) != separator)
		return NULL;
	return year != NULL ? digits_at(r, second + 1, 1, 2) : digits_at(r, second + 1, 4, 4);
}

/* What may follow a date: a time. */
static const char *
with_time(const Reader *r, const char *date)
{
	const char *p = one_of_at(r, date, "T ,");
	const char *end;

	if (at(r, date) == ',' && at(r, date + 1) == ' ')
		p = date + 2;
	end = p == NULL ? NULL : time_at(r, p);
	return end != NULL ? end : date;
}

/* Nov 30 or 30 Nov, with a weekday before */
static const char *
day_at(const Reader *r, const char *p)
{
	const char *month = month_at(r, p);
	const char *day = digits_at(r, p, 1, 2);

	if (month != NULL)
	{
		day = one_of_at(r, month, " -");
		if (day != NULL && at(r, day) == ' ')
			day++;
		return digits_at(r, day, 1, 2);
	}
	return month_at(r, one_of_at(r, day, " -"));
}

static const char *
year_after(const Reader *r, const char *p)
{
	const char *from = one_of_at(r, p, " -,");

	if (at(r, p) == ',' && at(r, p + 1) == ' ')
		from = p + 2;
	return digits_at(r, from, 4, 4);
}

/* With a weekday, a year or a time: by itself "May 5" may be anything. */
static const char *
named_date_at(const Reader *r, const char *p)
{
	const char *weekday = weekday_at(r, p);
	const char *q = p;
	const char *year;
	const char *end;

	if (weekday != NULL)
		q = is_text_at(r, weekday, ", ") ? weekday + 2 : one_of_at(r, weekday, " ");
	q = q == NULL ? NULL : day_at(r, q);
	if (q == NULL)
		return NULL;
	year = year_after(r, q);
	end = with_time(r, year != NULL ? year : q);
	if (year == NULL && (year = year_after(r, end)) != NULL)
		end = zone_at(r, year);
	return weekday != NULL || year != NULL || end > q ? end : NULL;
}

static bool
try_time(Reader *r)
{
	const char *end = numeric_date_at(r, r->p);

	if (end != NULL)
		end = with_time(r, end);
	else
		end = named_date_at(r, r->p);
	if (end == NULL && before(r, r->p) != ':')
		end = time_at(r, r->p);
	return end != NULL && !is_word(at(r, end)) && replace(r, end, MARK_TIME);
}

/* ------------------------------------------------------------------------
 * Addresses
 * ------------------------------------------------------------------------
 */

static bool
is_of_user(char c)
{
	return is_alnum(c) || is_one_of(c, "._%+-");
}

static bool
is_of_domain(char c)
{
	return is_alnum(c) || c == '.' || c == '-';
}

static bool
try_email(Reader *r)
{
	const char *at_sign = r->p + span(r, r->p, is_of_user, 65);
	const char *end;

	if (is_of_user(before(r, r->p)) || at(r, at_sign) != '@')
		return false;
	end = at_sign + 1 + span(r, at_sign + 1, is_of_domain, 255);
	while (end > at_sign + 1 && !is_alnum(end[-1]))
		end--;
	return end > at_sign + 1 && replace(r, end, MARK_EMAIL);
}

/* A mask or a port. */
static const char *
behind_address(const Reader *r, const char *p)
{
	const char *end = digits_at(r, one_of_at(r, p, "/:"), 1, 5);

	return end != NULL ? end : p;
}

static bool
try_ipv4(Reader *r)
{
	const char *p = digits_at(r, r->p, 1, 3);

	for (int i = 0; i < 3 && p != NULL; i++)
		p = digits_at(r, one_of_at(r, p, "."), 1, 3);
	if (p == NULL || is_word(at(r, p)) || (at(r, p) == '.' && is_digit(at(r, p + 1))))
		return false;
	return replace(r, behind_address(r, p), MARK_IP);
}

static bool
is_of_ipv6(char c)
{
	return is_hex(c) || c == ':';
}

/* Groups of hexadecimal digits between colons: of an address of IPv6 or of a device. */
static bool
try_groups(Reader *r)
{
	const char *end = r->p + span(r, r->p, is_of_ipv6, 46);
	int			colons = 0;
	int			digits = 0;
	int			group = 0;
	bool		has_gap = false;
	bool		has_pairs = true;

	while (end > r->p + 2 && end[-1] == ':' && end[-2] != ':')
		end--;
	for (const char *p = r->p; p < end; p++)
	{
		bool		ends = *p == ':';

		digits += is_digit(*p);
		colons += ends;
		has_gap |= ends && at(r, p + 1) == ':';
		has_pairs &= !ends || group == 2;
		group = ends ? 0 : group + 1;
		if (group > 4)
			return false;
	}
	if (colons < 2 || digits == 0 || is_word(at(r, end)))
		return false;
	if (has_gap || colons == 7)
		return replace(r, behind_address(r, end), MARK_IP);
	return colons == 5 && has_pairs && group == 2 && replace(r, end, MARK_ID);
}

static bool
try_uuid(Reader *r)
{
	static const int groups[] = {8, 4, 4, 4, 12};
	const char *p = r->p;

	for (int i = 0; i < lengthof(groups); i++)
	{
		if (span(r, p, is_hex, groups[i]) < groups[i])
			return false;
		p += groups[i];
		if (i < lengthof(groups) - 1 && at(r, p++) != '-')
			return false;
	}
	return !is_word(at(r, p)) && replace(r, p, MARK_UUID);
}

/* ------------------------------------------------------------------------
 * URLs
 * ------------------------------------------------------------------------
 */

static void read_part(Reader *r, const char *from, const char *until);

static bool
is_of_scheme(char c)
{
	return is_alnum(c) || c == '+';
}

static bool
is_of_url(char c)
{
	return !is_space(c) && !is_one_of(c, "\"'`<>");
}

static bool
is_of_login(char c)
{
	return is_of_url(c) && !is_one_of(c, "/?#");
}

static bool
is_of_authority(char c)
{
	return is_of_url(c) && !is_one_of(c, "/?#),;");
}

/* Where the host begins: behind a login, whose password may have what ends a host. */
static const char *
host_at(const Reader *r, const char *authority)
{
	const char *end = authority + span(r, authority, is_of_login, READ_BYTES);
	const char *host = authority;
	bool		has_password = false;

	for (const char *p = authority; p < end && (has_password || is_of_authority(*p)); p++)
	{
		has_password |= *p == ':';
		if (*p == '@')
			host = p + 1;
	}
	return host;
}

/* The scheme and the host stay, without a login. */
static bool
try_url(Reader *r)
{
	const char *authority = r->p + span(r, r->p, is_of_scheme, 11);
	const char *end;
	const char *until;

	if (!is_text_at(r, authority, "://"))
		return false;
	authority += 3;
	copy(r, authority);
	authority = host_at(r, authority);
	end = authority + span(r, authority, is_of_authority, READ_BYTES);
	until = end + (is_one_of(at(r, end), "/?#") ? span(r, end, is_of_url, READ_BYTES) : 0);
	while (until > authority && is_one_of(until[-1], ".,;:!?)]}") && !(until == end && until[-1] == ']'))
		until--;
	end = Min(end, until);
	read_part(r, authority, end);
	if (until - end > 1)
		put(r, MARK_PATH, strlen(MARK_PATH));
	else
		copy(r, until);
	r->p = until;
	return true;
}

/* ------------------------------------------------------------------------
 * Numbers and words with digits
 * ------------------------------------------------------------------------
 */

/* With decimals, groups of digits and an exponent. */
static const char *
number_end(const Reader *r, const char *p)
{
	const char *exponent;

	while (p < r->end && (is_digit(*p) || (is_one_of(*p, ".,") && is_digit(at(r, p + 1)))))
		p++;
	if (!is_one_of(at(r, p), "eE"))
		return p;
	exponent = p + 1;
	if (is_one_of(at(r, exponent), "+-"))
		exponent++;
	if (!is_digit(at(r, exponent)))
		return p;
	while (is_digit(at(r, exponent)))
		exponent++;
	return is_word(at(r, exponent)) ? p : exponent;
}

/* Numbers with units, as of 1h30m */
static bool
try_span_of_time(Reader *r)
{
	static const char *const units[] = {"d", "h", "m", "min", "ms", "ns", "s", "us"};
	char		word[WORD_BYTES + 1];
	const char *p = r->p;

	while (p < r->end && is_alnum(*p))
	{
		int			n;

		p = number_end(r, p);
		n = span(r, p, is_letter, 4);
		(void) word_before(r, p + n, word);
		if (n == 0 || !is_listed(word, units, lengthof(units)))
			return false;
		p += n;
	}
	while (r->p < p)
	{
		const char *unit = number_end(r, r->p);

		replace(r, unit, MARK_NUMBER);
		copy(r, unit + span(r, unit, is_letter, 4));
	}
	return true;
}

/* It may have a unit behind it, which stays. */
static bool
read_number(Reader *r)
{
	const char *end = number_end(r, r->p);
	const char *unit_end = end + span(r, end, is_letter, READ_BYTES);

	if (is_after_code(r, r->p, end - r->p))
		return copy(r, end);
	if (is_digit(at(r, unit_end)) && unit_end > end)
		return try_span_of_time(r) || replace(r, unit_end + span(r, unit_end, is_alnum, READ_BYTES), MARK_ID);
	replace(r, end, MARK_NUMBER);
	return copy(r, unit_end);
}

/* What a word is made of. */
typedef struct WordParts
{
	const char *end;
	int			digits;
	int			groups;			/* of digits */
	bool		is_hex;
} WordParts;

static WordParts
word_at(const Reader *r)
{
	WordParts	word = {r->p, 0, 0, true};

	for (const char *p = r->p; p < r->end && is_alnum(*p); p++)
	{
		word.groups += is_digit(*p) && (p == r->p || !is_digit(p[-1]));
		word.digits += is_digit(*p);
		word.is_hex &= is_hex(*p);
		word.end = p + 1;
	}
	return word;
}

/* user42, but not md5: a word that ends with a single digit is called so. */
static bool
read_word_with_number(Reader *r, const WordParts *word)
{
	const char *number = r->p + span(r, r->p, is_letter, READ_BYTES);

	if (word->digits == 1 && number + 1 == word->end)
		return copy(r, word->end);
	copy(r, number);
	replace(r, number + word->digits, MARK_NUMBER);
	return copy(r, word->end);
}

static bool
read_word(Reader *r)
{
	WordParts	word = word_at(r);
	int			length = word.end - r->p;

	if (word.digits == 0)
		return copy(r, word.end);
	if (length == 5 && is_after_code(r, r->p, length))
		return copy(r, word.end);
	if (length > 2 && r->p[0] == '0' && (r->p[1] == 'x' || r->p[1] == 'X') &&
		span(r, r->p + 2, is_hex, length) == length - 2)
		return replace(r, word.end, MARK_HEX);
	if (word.is_hex && length >= 8 && word.digits < length)
		return replace(r, word.end, MARK_HEX);
	if (is_digit(r->p[0]))
		return read_number(r);
	if (word.groups > 1 || length >= 24)
		return replace(r, word.end, MARK_ID);
	return read_word_with_number(r, &word);
}

/* A sign belongs to the number if nothing is before it that it could join. */
static bool
try_signed_number(Reader *r)
{
	const char *p = r->p;

	if (!is_one_of(*p, "+-.") || is_word(before(r, p)) || is_one_of(before(r, p), ").]"))
		return false;
	if (*p != '.' && at(r, p + 1) == '.')
		p++;
	if (!is_digit(at(r, p + 1)))
		return false;
	r->p = p + 1;
	return read_word(r);
}

/* ------------------------------------------------------------------------
 * Quoted texts
 * ------------------------------------------------------------------------
 */

/* A kind of quotes: how it begins, and how it may end, as characters of Unicode. */
typedef struct QuoteKind
{
	pg_wchar	opens;
	pg_wchar	closes[2];
} QuoteKind;

static const QuoteKind quote_kinds[] = {
	{'"', {'"', '"'}},
	{'\'', {'\'', '\''}},
	{'`', {'`', '\''}},
	{0x00ab, {0x00bb, 0x00bb}}, /* as in French */
	{0x00bb, {0x00ab, 0x00ab}}, /* as in German books */
	{0x201c, {0x201d, 0x201d}},
	{0x201e, {0x201c, 0x201d}}, /* as in German letters */
	{0x2018, {0x2019, 0x2019}},
	{0x201a, {0x2018, 0x2019}},
	{0x2039, {0x203a, 0x203a}},
	{0x300c, {0x300d, 0x300d}}, /* as in Japanese */
};

/* Quotes of Windows' code pages, where these are the same, from 0x80 on. */
static pg_wchar
quote_of_windows(unsigned char c)
{
	switch (c)
	{
		case 0x82:
			return 0x201a;
		case 0x84:
			return 0x201e;
		case 0x8b:
			return 0x2039;
		case 0x91:
			return 0x2018;
		case 0x92:
			return 0x2019;
		case 0x93:
			return 0x201c;
		case 0x94:
			return 0x201d;
		case 0x9b:
			return 0x203a;
		default:
			return c == 0xab || c == 0xbb ? c : 0;
	}
}

/* A character of the database's encoding that may be a quote; 0: it is none that we know. */
static pg_wchar
quote_at(const Reader *r, const char *p)
{
	if (!IS_HIGHBIT_SET(*p))
		return *p;
	switch (GetDatabaseEncoding())
	{
		case PG_UTF8:
			return length_at(r, p) == pg_mblen(p) ? utf8_to_unicode((const unsigned char *) p) : 0;
		case PG_LATIN1:
		case PG_LATIN7:
		case PG_LATIN9:
		case PG_ISO_8859_7:
		case PG_ISO_8859_8:
			return (unsigned char) *p == 0xab || (unsigned char) *p == 0xbb ? (unsigned char) *p : 0;
		case PG_WIN1250:
		case PG_WIN1251:
		case PG_WIN1252:
		case PG_WIN1253:
		case PG_WIN1254:
		case PG_WIN1255:
		case PG_WIN1256:
		case PG_WIN1257:
		case PG_WIN1258:
			return quote_of_windows(*p);
		default:
			return 0;
	}
}

static int
kind_of_quote(pg_wchar quote)
{
	for (int i = 0; i < lengthof(quote_kinds); i++)
		if (quote_kinds[i].opens == quote)
			return i;
	return -1;
}

/* Twice, or behind a backslash, it is part of the value; 'don't' has one that is. */
static const char *
find_close(const Reader *r, const char *p, const QuoteKind *kind)
{
	bool		is_ascii = kind->opens < 0x80;
	const char *from = p;

	while (p < r->end)
	{
		int			length = length_at(r, p);
		pg_wchar	c = quote_at(r, p);
		bool		closes = c == kind->closes[0] || c == kind->closes[1];

		if (is_ascii && *p == '\\')
			length = 1 + (p + 1 < r->end ? length_at(r, p + 1) : 0);
		else if (closes && is_ascii && at(r, p + 1) == *p && p > from)
			length = 2;
		else if (closes && !(*p == '\'' && is_word(at(r, p + 1))))
			return p;
		p += length;
	}
	return NULL;
}

static const char *
end_of_line(const Reader *r)
{
	const char *p = r->p;

	while (p < r->end && *p != '\n' && *p != '\r')
		p++;
	return p;
}

/* A name with words joined by _ is one of somebody's program; behind a colon is a value. */
static bool
is_program_name(const Reader *r, const char *quote, const char *from, const char *until)
{
	bool		has_joint = false;

	while (quote > r->start && quote[-1] == ' ')
		quote--;
	if (is_one_of(before(r, quote), ":=") || from == until || !is_letter(*from))
		return false;
	for (const char *p = from; p < until; p++)
	{
		if (!is_letter(*p) && *p != '_' && *p != '.')
			return false;
		has_joint |= *p == '_';
	}
	return has_joint;
}

static bool
is_name(const Reader *r, const char *quote, const char *from, const char *until)
{
	if (until - from > NAME_BYTES || from == until)
		return false;
	return is_after_noun(r, quote) || is_program_name(r, quote, from, until);
}

/* An apostrophe or the sign of inches, which are behind a letter or digit, is no quote. */
static bool
try_quote(Reader *r)
{
	int			kind = kind_of_quote(quote_at(r, r->p));
	const char *quote = r->p;
	const char *from;
	const char *close = NULL;

	if (kind < 0 || is_alnum(before(r, quote)) ||
		(*quote == '\'' && is_word(before(r, quote))))
		return false;
	from = quote + length_at(r, quote);
	if ((r->unclosed & (1 << kind)) == 0)
		close = find_close(r, from, &quote_kinds[kind]);
	if (close == NULL)
	{
		r->unclosed |= 1 << kind;
		if (is_space(at(r, from)) || kind == 2 || quote_kinds[kind].opens == 0x00bb)
			return false;
		return replace(r, end_of_line(r), MARK_TEXT);
	}
	if (!is_name(r, quote, from, close))
		return replace(r, close + length_at(r, close), MARK_TEXT);
	copy(r, from);
	read_part(r, from, close);
	copy_character(r);
	return true;
}

/* ------------------------------------------------------------------------
 * The message
 * ------------------------------------------------------------------------
 */

static bool
try_whole(Reader *r)
{
	return !r->in_part && (try_url(r) || try_email(r));
}

static void
read_next(Reader *r)
{
	if (is_space(*r->p))
		copy_space(r);
	else if (is_alnum(*r->p))
	{
		if (!try_whole(r) && !try_uuid(r) && !try_time(r) && !try_ipv4(r) && !try_groups(r))
			read_word(r);
	}
	else if (*r->p == ':' && at(r, r->p + 1) == ':' && !is_word(before(r, r->p)) && try_groups(r))
		return;
	else if (!try_signed_number(r) && (r->in_part || !try_quote(r)))
		copy_character(r);
}

static void
read_on(Reader *r)
{
	while (r->p < r->end && !r->is_full)
		read_next(r);
}

static void
read_part(Reader *r, const char *from, const char *until)
{
	const char *end = r->end;
	bool		was_in_part = r->in_part;

	r->p = from;
	r->end = until;
	r->in_part = true;
	read_on(r);
	r->p = until;
	r->end = end;
	r->in_part = was_in_part;
}

Datum
jobsched_error_pattern(PG_FUNCTION_ARGS)
{
	text	   *message = PG_GETARG_TEXT_P_SLICE(0, 0, READ_BYTES + 1);
	const char *start = VARDATA_ANY(message);
	int			length = VARSIZE_ANY_EXHDR(message);
	bool		is_cut = length > READ_BYTES;
	Reader		r = {0};

	r.start = r.p = start;
	r.end = start + (is_cut ? pg_mbcliplen(start, length, READ_BYTES) : length);
	read_on(&r);
	while (r.length > 0 && r.out[r.length - 1] == ' ')
		r.length--;
	if (is_cut || r.is_full)
	{
		memcpy(r.out + r.length, "...", 3);
		r.length += 3;
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(r.out, r.length));
}
