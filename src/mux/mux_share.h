/*-------------------------------------------------------------------------
 *
 * mux_share.h
 *		How much of a shared resource one owner may have.
 *
 * There are more transfers, bytes and name lookups than one owner may have.  So
 * something is left for others even if one owner has all that it may have,
 * however long it keeps it.  And the more is in use, the less one owner may
 * have:
 *
 *	 - "most" is what an owner may have who is alone; the possibility of others
 *	   does not reduce it;
 *	 - there is a quarter more, and an owner who has four times what is left gets
 *	   no more; so a second owner gets a fifth of "most" even while the first has
 *	   all of it, and when the first gives some back, each has five ninths of it;
 *	 - "firsts" are only for owners who have nothing at all.
 *
 * Plain C: uses nothing of the server.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_SHARE_H
#define JS_HTTP_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#define JS_SHARE_TIMES 4
#define JS_SHARE_MOST_FIRSTS 128	/* of places */

typedef struct JsShare
{
	int64_t		most;
	int64_t		firsts;
} JsShare;

/* What is there besides what an owner may have who is alone. */
static inline int64_t
js_share_rest(int64_t most)
{
	return (most + JS_SHARE_TIMES - 1) / JS_SHARE_TIMES;
}

static inline JsShare
js_share_of_places(int64_t most)
{
	int64_t		rest = js_share_rest(most);
	JsShare		share = {most, rest < JS_SHARE_MOST_FIRSTS ? rest : JS_SHARE_MOST_FIRSTS};

	return share;
}

/* All that there is. */
static inline int64_t
js_share_all(JsShare share)
{
	return share.most + js_share_rest(share.most) + share.firsts;
}

/* The share of places of which there are so many at most. */
static inline JsShare
js_share_within(int64_t most, int64_t all)
{
	while (most > 1 && js_share_all(js_share_of_places(most)) > all)
		most--;
	return js_share_of_places(most);
}

/* Whether one who has so much of what is in use may have more. */
static inline bool
js_share_may_have_more(JsShare share, int64_t own, int64_t in_use)
{
	int64_t		left = js_share_all(share) - in_use;

	if (own == 0)
		return left > 0;
	return own < share.most && own < JS_SHARE_TIMES * (left - share.firsts);
}

#endif							/* JS_HTTP_SHARE_H */
