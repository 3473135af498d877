/*-------------------------------------------------------------------------
 *
 * share_test.c
 *		What keeps one owner's HTTP requests from taking the time and the places
 *		of others': src/base/needles.c beside a search that is simple and slow, and
 *		the arithmetic of src/mux/mux_share.h.
 *
 * One line for each check that fails; the last line is 'N passed, M failed'.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/needles.h"
#include "mux/mux_share.h"

#define MAX_NEEDLES 12
#define MAX_LENGTH 40
#define MAX_TEXT 300

static int	passed = 0;
static int	failed = 0;

#define check(good, ...) \
	((good) ? (void) passed++ : (failed++, printf("not ok: " __VA_ARGS__), (void) putchar('\n')))

/* The same numbers each time. */
static unsigned
pick(unsigned n)
{
	static uint64_t state = 20261128;

	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned) (state >> 33) % n;
}

/* ------------------------------------------------------------------------
 * Needles
 * ------------------------------------------------------------------------
 */

static void
random_bytes(char *text, size_t length, unsigned letters)
{
	for (size_t i = 0; i < length; i++)
		text[i] = (char) (pick(20) == 0 ? 250 + pick(6) : 'a' + pick(letters));
	text[length] = '\0';
}

/* The longest one that ends before end. */
static size_t
naive(char needles[][MAX_LENGTH + 1], int count, const char *text, size_t end)
{
	size_t		longest = 0;

	for (int i = 0; i < count; i++)
	{
		size_t		length = strlen(needles[i]);

		if (length > longest && length <= end && memcmp(text + end - length, needles[i], length) == 0)
			longest = length;
	}
	return longest;
}

static JsNeedles *
prepare(char needles[][MAX_LENGTH + 1], int count)
{
	size_t		bytes = 0;
	JsNeedles  *prepared;

	for (int i = 0; i < count; i++)
		bytes += strlen(needles[i]);
	prepared = js_needles_begin(malloc(js_needles_size(bytes, count)), bytes, count);
	for (int i = 0; i < count; i++)
		js_needles_add(prepared, needles[i], strlen(needles[i]));
	js_needles_finish(prepared);
	return prepared;
}

static bool
agrees(char needles[][MAX_LENGTH + 1], int count, const char *text, size_t size)
{
	JsNeedles  *prepared = prepare(needles, count);
	JsNeedlesState state = JS_NEEDLES_START;
	bool		same = true;

	for (size_t i = 0; i < size && same; i++)
	{
		state = js_needles_step(prepared, state, text[i]);
		same = js_needles_found(prepared, state) == naive(needles, count, text, i + 1);
	}
	free(prepared);
	return same;
}

/* Needles of few letters, some of them parts of others or of the text. */
static void
test_random_needles(void)
{
	for (int round = 0; round < 20000; round++)
	{
		char		needles[MAX_NEEDLES][MAX_LENGTH + 1];
		char		text[MAX_TEXT + 1];
		int			count = 1 + pick(MAX_NEEDLES);
		unsigned	letters = 1 + pick(4);
		size_t		size = pick(MAX_TEXT + 1);

		random_bytes(text, size, letters);
		for (int i = 0; i < count; i++)
		{
			size_t		length = pick(pick(4) == 0 ? MAX_LENGTH + 1 : 6);
			bool		part = length <= size && pick(3) == 0;

			random_bytes(needles[i], length, letters);
			if (part)
				memcpy(needles[i], text + pick(size - length + 1), length);
		}
		check(agrees(needles, count, text, size), "round %d: another place or length", round);
	}
}

static void
test_certain_needles(void)
{
	char		nested[][MAX_LENGTH + 1] = {"abcd", "bc", "c", "abc", "bcde", "abcd"};
	char		empty[][MAX_LENGTH + 1] = {"", "", "x"};

	check(agrees(nested, 6, "xabcabcdeabcd", 13), "needles that are parts of others");
	check(agrees(empty, 3, "yxy", 3), "empty needles");
	check(agrees(nested, 0, "abcd", 4), "no needles");
}

static double
seconds_of_processor(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

/* One letter, and needles of it that end in another one: the worst for most. */
static double
time_of_worst(int count)
{
	enum
	{
		length = 6000, size = 4 * 1024 * 1024
	};
	JsNeedles  *needles = js_needles_begin(malloc(js_needles_size((size_t) count * length, count)),
										   (size_t) count * length, count);
	char		needle[length];
	JsNeedlesState state = JS_NEEDLES_START;
	double		start;

	memset(needle, 'a', length);
	for (int i = 0; i < count; i++)
	{
		needle[length - 1] = (char) ('b' + i);
		js_needles_add(needles, needle, length - 16 + i);
		js_needles_add(needles, needle, length);
	}
	js_needles_finish(needles);
	start = seconds_of_processor();
	for (size_t i = 0; i < size; i++)
		state = js_needles_step(needles, state, i % 5999 == 5998 ? 'x' : 'a');
	check(state != JS_NEEDLES_START, "the text ends in what a needle begins with");
	free(needles);
	return seconds_of_processor() - start;
}

/* Sixteen take as long as one, but for what else the machine does. */
static void
test_time(void)
{
	double		one = 1;
	double		many = 1;

	for (int i = 0; i < 5; i++)
	{
		double		now = time_of_worst(1);
		double		then = time_of_worst(16);

		one = now < one ? now : one;
		many = then < many ? then : many;
	}
	check(many < 5 * one, "16 needles take %.4f s, one takes %.4f s", many, one);
}

/* ------------------------------------------------------------------------
 * Shares
 * ------------------------------------------------------------------------
 */

/* One takes all that he gets; returns how much that is. */
static int64_t
take_all(JsShare share, int64_t *in_use)
{
	int64_t		own = 0;

	while (js_share_may_have_more(share, own, *in_use))
	{
		own++;
		(*in_use)++;
	}
	return own;
}

static void
test_shares(void)
{
	for (int64_t most = 1; most < 3000; most += 1 + most / 50)
	{
		JsShare		share = js_share_of_places(most);
		int64_t		in_use = 0;
		int64_t		alone = take_all(share, &in_use);
		int64_t		others = share.firsts;
		bool		each_has_some = true;

		check(alone == most, "alone: %lld of %lld", (long long) alone, (long long) most);
		for (int64_t i = 0; i < others; i++)
			each_has_some = each_has_some && take_all(share, &in_use) > 0;
		check(each_has_some, "%lld: one of %lld others has none", (long long) most, (long long) others);
		check(in_use <= js_share_all(share), "%lld: more than there are", (long long) most);
		while (take_all(share, &in_use) > 0)
			;
		check(in_use == js_share_all(share), "%lld: not all are used", (long long) most);
	}
}

static void
test_shares_within(void)
{
	for (int64_t all = 4; all < 2000; all += 7)
	{
		JsShare		share = js_share_within(1000, all);

		check(js_share_all(share) <= all && share.most <= 1000 &&
			  (share.most == 1000 || js_share_all(js_share_of_places(share.most + 1)) > all),
			  "within %lld", (long long) all);
	}
}

/* Two that always want more, when all that one had comes back, bit by bit. */
static void
test_share_of_two(void)
{
	JsShare		share = js_share_of_places(1000);
	int64_t		own[2] = {0, 0};
	int64_t		in_use = 0;

	own[0] = take_all(share, &in_use);
	for (int round = 0; round < 20000; round++)
	{
		int			who = round % 2;

		if (own[who] > 0)
			own[who]--, in_use--;
		for (int i = 0; i < 2; i++)
			if (js_share_may_have_more(share, own[(round / 2 + i) % 2], in_use))
				own[(round / 2 + i) % 2]++, in_use++;
	}
	check(own[0] > 500 && own[1] > 500, "two have %lld and %lld", (long long) own[0], (long long) own[1]);
}

int
main(void)
{
	test_random_needles();
	test_certain_needles();
	test_time();
	test_shares();
	test_shares_within();
	test_share_of_two();
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
