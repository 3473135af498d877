/*-------------------------------------------------------------------------
 *
 * egress.h
 *		Which addresses HTTP requests may go to.
 *
 * Plain C: nothing here throws or allocates in a memory context, because
 * libcurl's callbacks call it.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_EGRESS_H
#define JS_EGRESS_H

#include <stdbool.h>
#include <stddef.h>

struct sockaddr;

/* What a setting lists: CIDR[:port] and host patterns. */
typedef struct JsEgressRules JsEgressRules;

/*
 * Reads a comma-separated list; NULL and what is wrong with it, or that memory
 * is exhausted.  An empty list has no rules.
 */
extern JsEgressRules *js_egress_parse(const char *text, char *error, size_t size);
extern void js_egress_free(JsEgressRules *rules);

/*
 * Whether a request to a host (a name in lower case, or an address without
 * brackets) and port may go to an address: not if deny has it; else if it is
 * an address of the public internet, or allow has it.
 *
 * An address that is NULL will not be known, for a proxy looks up the name: then
 * only deny's host patterns can tell, and what they do not match is permitted.
 */
extern bool js_egress_permits(const JsEgressRules *allow, const JsEgressRules *deny,
							  const char *host, int port,
							  const struct sockaddr *address);

/* Without the dot of a name that is stated up to the root. */
extern size_t js_host_length(const char *host);

#endif							/* JS_EGRESS_H */
