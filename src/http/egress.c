/*-------------------------------------------------------------------------
 *
 * egress.c
 *		Which addresses HTTP requests may go to.
 *
 * We check the address that a socket is to be connected to, not the name that
 * was looked up: a name may resolve to anything, and to something else the next
 * time.
 *
 * DESIGN
 *
 * An address is public if the IANA IPv4 and IPv6 Special-Purpose Address
 * Registries (RFC 6890 and its updates, as of 2025) do not list it and, for
 * IPv6, if it is within the unicast space that IANA assigns, 2000::/3.  Those
 * registries make small exceptions for anycast services within a block that is
 * refused (192.0.0.9/32, 2001:1::1/128 and the like).  We make none, because no
 * web server is there.  One public address is refused too: within a cloud it
 * has the role that link-local addresses have elsewhere.
 *
 * If a translator or a tunnel turns an IPv6 address into an IPv4 address, it is
 * as public as that one.  Rules about IPv4 addresses also apply to IPv4-mapped
 * ones, which are the same addresses.  For the other kinds, an IPv6 address is
 * denied if the IPv4 address inside is denied, but a rule about the IPv4
 * address never allows it.
 *
 * RULES
 *
 *	item     = network [":" port] | pattern [":" port]
 *	network  = IPv4 ["/" length] | "[" IPv6 "]" ["/" length]
 *	pattern  = ["*."] name
 *
 * or an IPv6 address ["/" length] without brackets, which cannot have a port,
 * because all colons are part of the address.  The bits of a network after its
 * prefix length must be zero.  Without a port a rule applies to all ports.
 * "*.example.com" matches names that end in ".example.com", at any depth, but
 * not "example.com" itself.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "http/egress.h"

#define MAX_NAME 253			/* of a host */
#define MAX_ITEM 320

typedef enum RuleKind
{
	RULE_IPV4,
	RULE_IPV6,
	RULE_NAME,					/* this host */
	RULE_SUFFIX					/* hosts that end in it */
} RuleKind;

typedef struct Rule
{
	RuleKind	kind;
	int			port;			/* 0: any */
	int			length;			/* of the network's prefix, in bits */
	uint8_t		bytes[16];
	char		name[MAX_NAME + 1];
} Rule;

struct JsEgressRules
{
	int			count;
	Rule		rules[];
};

/* An address as it is judged. */
typedef struct Target
{
	bool		is_v6;
	uint8_t		bytes[16];		/* the first four of them, if not */
} Target;

typedef struct Block
{
	int			length;
	uint8_t		bytes[16];
} Block;

static const Block v4_refused[] = {
	{8, {0}},					/* this network */
	{8, {10}},					/* private use */
	{10, {100, 64}},			/* shared: carrier-grade NAT */
	{8, {127}},					/* loopback */
	{16, {169, 254}},			/* link-local: metadata of clouds */
	{32, {168, 63, 129, 16}},	/* metadata and agents of Azure */
	{12, {172, 16}},			/* private use */
	{24, {192, 0, 0}},			/* IETF protocol assignments */
	{24, {192, 0, 2}},			/* documentation */
	{24, {192, 88, 99}},		/* relays of 6to4, deprecated */
	{16, {192, 168}},			/* private use */
	{15, {198, 18}},			/* benchmarking */
	{24, {198, 51, 100}},		/* documentation */
	{24, {203, 0, 113}},		/* documentation */
	{4, {224}},					/* multicast */
	{4, {240}}					/* reserved; limited broadcast */
};

/* Within 2000::/3.  Teredo and 6to4 are judged before. */
static const Block v6_refused[] = {
	{23, {0x20, 0x01}},			/* IETF protocol assignments */
	{32, {0x20, 0x01, 0x0d, 0xb8}}, /* documentation */
	{20, {0x3f, 0xff}}			/* documentation */
};

/* Those that have an IPv4 address in them, and where. */
static const Block v6_mapped = {96, {[10] = 0xff,[11] = 0xff}};
static const Block v6_nat64 = {96, {0x00, 0x64, 0xff, 0x9b}};
static const Block v6_6to4 = {16, {0x20, 0x02}};
static const Block v6_teredo = {32, {0x20, 0x01, 0x00, 0x00}};
static const Block v6_unicast = {3, {0x20}};

/* ------------------------------------------------------------------------
 * Addresses
 * ------------------------------------------------------------------------
 */

static bool
same_prefix(const uint8_t *a, const uint8_t *b, int length)
{
	int			whole = length / 8;
	int			rest = length % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static bool
is_within(const uint8_t *address, const Block *block)
{
	return same_prefix(address, block->bytes, block->length);
}

static bool
is_public_v4(const uint8_t *address)
{
	for (size_t i = 0; i < sizeof(v4_refused) / sizeof(v4_refused[0]); i++)
		if (is_within(address, &v4_refused[i]))
			return false;
	return true;
}

/*
 * The IPv4 addresses that an IPv6 address stands for: up to two, for Teredo has
 * that of a server and that of a client, the latter inverted.
 */
static int
embedded_v4(const uint8_t *address, uint8_t found[2][4])
{
	if (is_within(address, &v6_mapped) || is_within(address, &v6_nat64))
		memcpy(found[0], address + 12, 4);
	else if (is_within(address, &v6_6to4))
		memcpy(found[0], address + 2, 4);
	else if (is_within(address, &v6_teredo))
	{
		memcpy(found[0], address + 4, 4);
		for (int i = 0; i < 4; i++)
			found[1][i] = address[12 + i] ^ 0xff;
		return 2;
	}
	else
		return 0;
	return 1;
}

static bool
is_public_v6(const uint8_t *address)
{
	uint8_t		within[2][4];
	int			count = embedded_v4(address, within);

	for (int i = 0; i < count; i++)
		if (!is_public_v4(within[i]))
			return false;
	if (count > 0)
		return true;
	if (!is_within(address, &v6_unicast))
		return false;
	for (size_t i = 0; i < sizeof(v6_refused) / sizeof(v6_refused[0]); i++)
		if (is_within(address, &v6_refused[i]))
			return false;
	return true;
}

static bool
is_public(const Target *target)
{
	return target->is_v6 ? is_public_v6(target->bytes) : is_public_v4(target->bytes);
}

static bool
read_target(const struct sockaddr *address, Target *target)
{
	memset(target, 0, sizeof(*target));
	if (address->sa_family == AF_INET)
		memcpy(target->bytes, &((const struct sockaddr_in *) (const void *) address)->sin_addr, 4);
	else if (address->sa_family == AF_INET6)
	{
		target->is_v6 = true;
		memcpy(target->bytes, &((const struct sockaddr_in6 *) (const void *) address)->sin6_addr, 16);
	}
	else
		return false;
	return true;
}

/* ------------------------------------------------------------------------
 * Whether a rule names a request
 * ------------------------------------------------------------------------
 */

size_t
js_host_length(const char *host)
{
	size_t		length = strlen(host);

	return length > 1 && host[length - 1] == '.' ? length - 1 : length;
}

static bool
name_matches(const Rule *rule, const char *host)
{
	size_t		length = js_host_length(host);
	size_t		wanted = strlen(rule->name);

	if (rule->kind == RULE_NAME)
		return length == wanted && strncasecmp(host, rule->name, length) == 0;
	return length > wanted + 1 && host[length - wanted - 1] == '.' &&
		strncasecmp(host + length - wanted, rule->name, wanted) == 0;
}

/* thorough: by whatever IPv4 address it stands for, not just a mapped one. */
static bool
v4_matches(const Rule *rule, const Target *target, bool thorough)
{
	uint8_t		within[2][4];
	int			count;

	if (!target->is_v6)
		return same_prefix(target->bytes, rule->bytes, rule->length);
	if (!thorough && !is_within(target->bytes, &v6_mapped))
		return false;
	count = embedded_v4(target->bytes, within);
	for (int i = 0; i < count; i++)
		if (same_prefix(within[i], rule->bytes, rule->length))
			return true;
	return false;
}

/* target: NULL if it will not be known. */
static bool
rule_matches(const Rule *rule, const char *host, int port, const Target *target, bool thorough)
{
	if (rule->port != 0 && rule->port != port)
		return false;
	switch (rule->kind)
	{
		case RULE_IPV4:
			return target != NULL && v4_matches(rule, target, thorough);
		case RULE_IPV6:
			return target != NULL && target->is_v6 && same_prefix(target->bytes, rule->bytes, rule->length);
		case RULE_NAME:
		case RULE_SUFFIX:
			return name_matches(rule, host);
	}
	return false;
}

static bool
any_matches(const JsEgressRules *rules, const char *host, int port, const Target *target,
			bool thorough)
{
	for (int i = 0; rules != NULL && i < rules->count; i++)
		if (rule_matches(&rules->rules[i], host, port, target, thorough))
			return true;
	return false;
}

bool
js_egress_permits(const JsEgressRules *allow, const JsEgressRules *deny, const char *host,
				  int port, const struct sockaddr *address)
{
	Target		target;

	if (address == NULL)
		return !any_matches(deny, host, port, NULL, true);
	if (!read_target(address, &target) || any_matches(deny, host, port, &target, true))
		return false;
	return is_public(&target) || any_matches(allow, host, port, &target, false);
}

/* ------------------------------------------------------------------------
 * Reading rules
 * ------------------------------------------------------------------------
 */

/* A whole number without sign or space; false if it is none, or too large. */
static bool
read_number(const char *text, int most, int *number)
{
	*number = 0;
	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++)
	{
		if (*text < '0' || *text > '9')
			return false;
		*number = *number * 10 + (*text - '0');
		if (*number > most)
			return false;
	}
	return true;
}

static const char *
read_rule_port(const char *text, Rule *rule)
{
	if (!read_number(text, 65535, &rule->port) || rule->port == 0)
		return "has a port that is not from 1 to 65535";
	return NULL;
}

static bool
has_bits_behind(const uint8_t *bytes, int size, int length)
{
	for (int bit = length; bit < size * 8; bit++)
		if (bytes[bit / 8] & (0x80 >> bit % 8))
			return true;
	return false;
}

/* A network of mapped addresses is one of IPv4 addresses. */
static void
unmap(Rule *rule)
{
	if (rule->kind != RULE_IPV6 || rule->length < v6_mapped.length ||
		!is_within(rule->bytes, &v6_mapped))
		return;
	rule->kind = RULE_IPV4;
	rule->length -= v6_mapped.length;
	memmove(rule->bytes, rule->bytes + 12, 4);
}

/* length: NULL if none is given. */
static const char *
read_network(RuleKind kind, const char *address, const char *length, Rule *rule)
{
	int			size = kind == RULE_IPV4 ? 4 : 16;

	rule->kind = kind;
	rule->length = size * 8;
	if (inet_pton(kind == RULE_IPV4 ? AF_INET : AF_INET6, address, rule->bytes) != 1)
		return kind == RULE_IPV4 ? "is no IPv4 address" : "is no IPv6 address";
	if (length != NULL && !read_number(length, size * 8, &rule->length))
		return "has a prefix length that is out of range";
	if (has_bits_behind(rule->bytes, size, rule->length))
		return "has bits set behind its prefix length";
	unmap(rule);
	return NULL;
}

/* Cuts text at a character; what follows that, or NULL. */
static char *
cut(char *text, char at)
{
	char	   *found = strchr(text, at);

	if (found != NULL)
		*found++ = '\0';
	return found;
}

/* [IPv6], with length and port behind the bracket. */
static const char *
read_bracketed(char *item, Rule *rule)
{
	char	   *rest = cut(item, ']');
	char	   *port;
	const char *problem;

	if (rest == NULL)
		return "has a bracket that is not closed";
	port = cut(rest, ':');
	if (*rest != '\0' && *rest != '/')
		return "has something behind its bracket that is no length and no port";
	problem = read_network(RULE_IPV6, item + 1, *rest == '/' ? rest + 1 : NULL, rule);
	if (problem == NULL && port != NULL)
		problem = read_rule_port(port, rule);
	return problem;
}

static bool
is_name_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Into rule->name, in lower case and without a dot at the end. */
static const char *
read_rule_name(const char *name, Rule *rule)
{
	size_t		length = js_host_length(name);
	char		last = '.';

	if (length == 0 || length > MAX_NAME)
		return "is no host pattern";
	for (size_t i = 0; i < length; i++)
	{
		char		c = name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i];

		if (!is_name_character(c) && (c != '.' || last == '.'))
			return "is no host pattern";
		rule->name[i] = last = c;
	}
	rule->name[length] = '\0';
	return last == '.' ? "is no host pattern" : NULL;
}

/*
 * What ends in a number, or has a length, is meant to be an address.  No host
 * is called so when it is judged: http_url.c has made an address of it.
 */
static bool
looks_like_v4(const char *text, bool has_length)
{
	size_t		end = js_host_length(text);
	size_t		start = end;

	while (start > 0 && text[start - 1] != '.')
		start--;
	if (has_length)
		return true;
	if (strncasecmp(text + start, "0x", 2) == 0)
		return start + 2 + strspn(text + start + 2, "0123456789abcdefABCDEF") >= end;
	return end > start && start + strspn(text + start, "0123456789") >= end;
}

static const char *
read_rule_item(char *item, Rule *rule)
{
	char	   *port;
	char	   *length;
	const char *problem;

	memset(rule, 0, sizeof(*rule));
	if (*item == '[')
		return read_bracketed(item, rule);
	if (strchr(item, ':') != strrchr(item, ':'))
	{
		length = cut(item, '/');
		return read_network(RULE_IPV6, item, length, rule);
	}
	port = cut(item, ':');
	length = cut(item, '/');
	if (looks_like_v4(item, length != NULL))
		problem = read_network(RULE_IPV4, item, length, rule);
	else
	{
		rule->kind = strncmp(item, "*.", 2) == 0 ? RULE_SUFFIX : RULE_NAME;
		problem = read_rule_name(item + (rule->kind == RULE_SUFFIX ? 2 : 0), rule);
	}
	if (problem == NULL && port != NULL)
		problem = read_rule_port(port, rule);
	return problem;
}

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* One item, without the spaces around it; false, and what is wrong with it. */
static bool
parse_item(const char *start, const char *end, Rule *rule, char *error, size_t size)
{
	char		item[MAX_ITEM + 1];
	const char *problem;
	int			length;

	while (start < end && is_space(*start))
		start++;
	while (start < end && is_space(end[-1]))
		end--;
	length = (int) (end - start);
	if (length == 0 || length > MAX_ITEM)
	{
		snprintf(error, size, length == 0 ? "An item is empty." : "An item is too long.");
		return false;
	}
	memcpy(item, start, length);
	item[length] = '\0';
	problem = read_rule_item(item, rule);
	if (problem != NULL)
		snprintf(error, size, "\"%.*s\" %s.", length, start, problem);
	return problem == NULL;
}

static bool
is_blank_text(const char *text)
{
	while (is_space(*text))
		text++;

	return *text == '\0';
}

JsEgressRules *
js_egress_parse(const char *text, char *error, size_t size)
{
	int			count = is_blank_text(text) ? 0 : 1;
	JsEgressRules *rules;

	for (const char *c = text; *c != '\0'; c++)
		count += *c == ',';
	rules = malloc(sizeof(JsEgressRules) + count * sizeof(Rule));
	if (rules == NULL)
	{
		snprintf(error, size, "Out of memory.");
		return NULL;
	}
	rules->count = count;
	for (int i = 0; i < count; i++)
	{
		const char *end = text + strcspn(text, ",");

		if (!parse_item(text, end, &rules->rules[i], error, size))
		{
			free(rules);
			return NULL;
		}
		text = end + 1;
	}
	return rules;
}

void
js_egress_free(JsEgressRules *rules)
{
	free(rules);
}
