/*-------------------------------------------------------------------------
 *
 * mux_origin.c
 *		Where transfers wait until there is a connection to their server.
 *
 * Transfers to one scheme, host and port that come at once would each look up
 * the name, in a thread of its own, and each open a connection, though over TLS
 * one connection may be enough for all (HTTP/2, which is known only after the
 * handshake).  So transfers that need a lookup or TLS wait at their origin
 * until a pioneer has connected.  If it has opened a new connection, the others
 * follow at once.  If it was given an existing one, each pioneer that gets
 * through lets two others follow.  If a name has no address, all that wait for
 * it get that answer.  A pioneer whose handshake takes long is no longer waited
 * for. libcurl's own mechanism (CURLOPT_PIPEWAIT) has no such limit, and does
 * nothing about names.  Origins take turns, so one with thousands of transfers
 * does not delay others.
 *
 * There can be more lookups than transfers (see mux.c), and their number has
 * its own limit.  Only libcurl knows whether a transfer needs a lookup, because
 * it has cached connections and names.  It asks us when it is about to begin
 * one (resolver_starts).  Beyond the limit the answer is no, and the transfer
 * goes back to its origin, which is closed until a lookup has ended.  Meanwhile
 * addresses, known names and existing connections go on.  Parties share the
 * lookups by the rule in mux_share.h, so one whose names hang leaves some to
 * others.  Each party has its own origins, so that it never waits behind
 * another party's transfers.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mux/mux_internal.h"
#include "mux/mux_share.h"

#define ORIGIN_BUCKETS 4096		/* a power of two */

struct MuxOrigin
{
	MuxLink		link;			/* in open_origins or closed_origins */
	MuxOrigin  *next_of_key;
	uint32_t	hash;
	uint32_t	party;
	bool		listed;			/* there */
	bool		closed;			/* one was turned back */
	bool		unlimited;		/* all may follow */
	int			pioneers;
	int			width;			/* pioneers at a time */
	MuxLink		waiting;
	char		key[];
};

/* Whose lookups there are. */
typedef struct MuxParty
{
	uint32_t	party;
	int			lookups;
} MuxParty;

static int	lookups = 0;		/* calls that are resolving, with abandoned
								 * ones */
static MuxParty parties[MUX_MAX_LOOKUPS];	/* with one at least */
static int	party_count = 0;

static MuxOrigin *by_key[ORIGIN_BUCKETS];
static MUX_LIST(open_origins);	/* that have some to be let through */
static MUX_LIST(closed_origins);	/* that would, but for MUX_MAX_LOOKUPS */

/* ------------------------------------------------------------------------
 * Lookups
 * ------------------------------------------------------------------------
 */

/* NULL: it has none. */
static MuxParty *
find_party(uint32_t party)
{
	for (int i = 0; i < party_count; i++)
		if (parties[i].party == party)
			return &parties[i];
	return NULL;
}

/* Whether it may begin one, if so many more are about to begin. */
static bool
may_look_up(uint32_t id, int more)
{
	static JsShare share = {0, 0};
	const MuxParty *party = find_party(id);

	if (share.most == 0)
		share = js_share_within(MUX_MAX_LOOKUPS, MUX_MAX_LOOKUPS);
	return lookups + more < MUX_MAX_LOOKUPS &&
		(id == 0 || js_share_may_have_more(share, (party ? party->lookups : 0) + more, lookups + more));
}

static void
begin_lookup(MuxCall *call)
{
	MuxParty   *party = find_party(call->party);

	if (party == NULL)
	{
		party = &parties[party_count++];
		party->party = call->party;
		party->lookups = 0;
	}
	party->lookups++;
	lookups++;
	call->resolving = true;
}

void
js_mux_lookup_end(MuxCall *call)
{
	MuxParty   *party;

	if (!call->resolving)
		return;
	call->resolving = false;
	lookups--;
	party = find_party(call->party);
	if (--party->lookups == 0)
		*party = parties[--party_count];
}

/* ------------------------------------------------------------------------
 * Origins
 * ------------------------------------------------------------------------
 */

static bool
is_address(const char *host)
{
	unsigned char address[16];

	return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* An address without TLS has nothing to find out. */
static bool
needs_pioneer(const MuxCall *call)
{
	return call->secure || !is_address(call->host);
}

/* What http asks of a proxy all goes to the proxy. */
static void
write_key(const MuxCall *call, char *key, size_t size)
{
	if (call->proxied && !call->secure)
		snprintf(key, size, "%u proxy", (unsigned) call->party);
	else
		snprintf(key, size, "%u %s %d %s", (unsigned) call->party,
				 call->secure ? "https" : "http", call->port, call->host);
}

static uint32_t
hash_of(const char *key)
{
	uint32_t	hash = UINT32_C(2166136261);

	for (; *key != '\0'; key++)
		hash = (hash ^ (unsigned char) *key) * UINT32_C(16777619);
	return hash ^ hash >> 15;
}

static MuxOrigin **
find_origin(uint32_t hash, const char *key)
{
	MuxOrigin **at = &by_key[hash & (ORIGIN_BUCKETS - 1)];

	while (*at != NULL && ((*at)->hash != hash || strcmp((*at)->key, key) != 0))
		at = &(*at)->next_of_key;
	return at;
}

static MuxOrigin *
create_origin(MuxOrigin **at, uint32_t hash, uint32_t party, const char *key)
{
	MuxOrigin  *origin = calloc(1, sizeof(MuxOrigin) + strlen(key) + 1);

	if (origin == NULL)
		return NULL;
	strcpy(origin->key, key);
	origin->hash = hash;
	origin->party = party;
	origin->width = 1;
	mux_list_init(&origin->waiting);
	*at = origin;
	return origin;
}

static void
unlist_origin(MuxOrigin *origin)
{
	if (origin->listed)
		mux_list_remove(&origin->link);
	origin->listed = false;
	origin->closed = false;
}

/* Lists it if it has some to be let through; frees it if nobody is left. */
static void
review_origin(MuxOrigin *origin)
{
	bool		waits = !mux_list_is_empty(&origin->waiting);
	bool		open = waits && (origin->unlimited || origin->pioneers < origin->width);

	if (open && !origin->listed)
		mux_list_append(&open_origins, &origin->link);
	if (open)
		origin->listed = true;
	else
		unlist_origin(origin);
	if (!waits && origin->pioneers == 0)
	{
		MuxOrigin **at = &by_key[origin->hash & (ORIGIN_BUCKETS - 1)];

		while (*at != origin)
			at = &(*at)->next_of_key;
		*at = origin->next_of_key;
		free(origin);
	}
}

/* Whether it waits there, or goes ahead, or has gone. */
void
js_mux_origin_leave(MuxTransfer *transfer)
{
	MuxOrigin  *origin = transfer->origin;

	if (transfer->pioneer)
		origin->pioneers--;
	transfer->pioneer = false;
	transfer->origin = NULL;
	review_origin(origin);
}

bool
js_mux_origin_join(MuxTransfer *transfer)
{
	char		key[MUX_MAX_HOST + 32];
	uint32_t	hash;
	MuxOrigin **at;
	MuxOrigin  *origin;

	write_key(transfer->call, key, sizeof(key));
	hash = hash_of(key);
	at = find_origin(hash, key);
	origin = *at ? *at : create_origin(at, hash, transfer->call->party, key);
	if (origin == NULL)
		return false;
	if (!needs_pioneer(transfer->call))
		origin->unlimited = true;
	transfer->origin = origin;
	mux_list_append(&origin->waiting, &transfer->link);
	review_origin(origin);
	return true;
}

/* It goes ahead, as a pioneer unless the way is known. */
void
js_mux_origin_enter(MuxTransfer *transfer)
{
	MuxOrigin  *origin = transfer->origin;

	mux_list_remove(&transfer->link);
	if (origin->unlimited)
		js_mux_origin_leave(transfer);
	else
	{
		transfer->pioneer = true;
		origin->pioneers++;
		review_origin(origin);
	}
}

/* It has one that was turned back. */
static void
close_origin(MuxOrigin *origin)
{
	unlist_origin(origin);
	mux_list_append(&closed_origins, &origin->link);
	origin->listed = true;
	origin->closed = true;
}

/* It waits again, before the others, until there is room; false: out of memory. */
bool
js_mux_origin_turn_back(MuxTransfer *transfer)
{
	MuxOrigin  *origin = transfer->origin;

	if (origin == NULL && !js_mux_origin_join(transfer))
		return false;
	if (origin != NULL)
	{
		mux_list_push(&origin->waiting, &transfer->link);
		transfer->pioneer = false;
		origin->pioneers--;
	}
	close_origin(transfer->origin);
	return true;
}

static void
reopen_origin(MuxOrigin *origin)
{
	unlist_origin(origin);
	review_origin(origin);
}

/*
 * As many as there can be lookups.  If they are too many, some are back soon; if
 * there could be more, the next ones follow when these have entered.
 */
void
js_mux_origins_reopen(void)
{
	MuxLink    *next;
	int			reopened = 0;

	for (MuxLink *at = closed_origins.next; at != &closed_origins; at = next)
	{
		MuxOrigin  *origin = (MuxOrigin *) at;

		next = at->next;
		if (lookups + reopened >= MUX_MAX_LOOKUPS)
			break;
		if (!may_look_up(origin->party, reopened))
			continue;
		reopen_origin(origin);
		reopened++;
	}
}

/* The pioneer has got through, or is no longer waited for. */
void
js_mux_origin_pass(MuxTransfer *transfer, bool all_may_follow)
{
	if (!transfer->pioneer)
		return;
	if (all_may_follow)
		transfer->origin->unlimited = true;
	transfer->origin->width++;
	if (transfer->origin->closed)
		reopen_origin(transfer->origin);
	js_mux_origin_leave(transfer);
}

/* One that waits behind this pioneer, who keeps their origin there; NULL: nobody does. */
MuxTransfer *
js_mux_origin_follower(const MuxTransfer *pioneer)
{
	MuxLink    *waiting = &pioneer->origin->waiting;

	return mux_list_is_empty(waiting) ? NULL : (MuxTransfer *) waiting->next;
}

/* Whether some are to be let through. */
bool
js_mux_origins_are_open(void)
{
	return !mux_list_is_empty(&open_origins);
}

/* Whose turn it is to be let through; NULL: nobody's. */
MuxTransfer *
js_mux_origins_next(void)
{
	MuxOrigin  *origin = mux_list_pop(&open_origins);

	if (origin == NULL)
		return NULL;
	mux_list_append(&open_origins, &origin->link);
	return (MuxTransfer *) origin->waiting.next;
}

/* ------------------------------------------------------------------------
 * What a call's callbacks have seen
 * ------------------------------------------------------------------------
 */

/* False: it may not begin with a lookup now, and is to come back. */
bool
js_mux_call_may_resolve(MuxCall *call)
{
	if (call->resolving)
		return true;
	if (!call->proxied && is_address(call->host))
		return true;
	if (!may_look_up(call->party, 0))
	{
		call->turned_back = true;
		return false;
	}
	begin_lookup(call);
	return true;
}

/*
 * A connection is about to be opened.  If the call had one already, libcurl
 * has found it dead and begins again.
 */
void
js_mux_call_is_resolved(MuxCall *call)
{
	MuxTransfer *transfer = call->transfer;
	int64_t		now;

	js_mux_lookup_end(call);
	if (transfer == NULL || (call->fresh && call->ready_at == 0))
		return;
	now = js_mux_now();
	call->fresh = true;
	call->resolved_at = now;
	call->ready_at = 0;
	if (!call->secure || now - transfer->entered_at > MUX_PIONEER_US)
		js_mux_origin_pass(transfer, true);
}

void
js_mux_call_is_ready(MuxCall *call)
{
	js_mux_lookup_end(call);
	call->turned_back = false;
	call->ready_at = js_mux_now();
	js_mux_origin_pass(call->transfer, call->fresh);
}
