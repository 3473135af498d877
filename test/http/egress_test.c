/*-------------------------------------------------------------------------
 *
 * egress_test.c
 *		Which addresses src/http/egress.c lets requests go to.
 *
 * One line for each check that fails; the last line is 'N passed, M failed'.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "http/egress.h"

#define HOST "host.example.com"

static int	passed = 0;
static int	failed = 0;

static void
check(bool good, const char *what, const char *subject)
{
	if (good)
		passed++;
	else
	{
		failed++;
		printf("not ok: %s: %s\n", what, subject);
	}
}

static JsEgressRules *
rules_of(const char *text)
{
	char		error[200];
	JsEgressRules *rules = js_egress_parse(text, error, sizeof(error));

	if (rules == NULL)
	{
		printf("%s: %s\n", text, error);
		abort();
	}
	return rules;
}

static bool
permits(const char *allow, const char *deny, const char *host, int port, const char *address)
{
	JsEgressRules *allowed = rules_of(allow);
	JsEgressRules *denied = rules_of(deny);
	struct sockaddr_storage storage;
	bool		is_v6 = address != NULL && strchr(address, ':') != NULL;
	bool		answer;

	memset(&storage, 0, sizeof(storage));
	storage.ss_family = is_v6 ? AF_INET6 : AF_INET;
	if (address != NULL &&
		inet_pton(storage.ss_family, address,
				  is_v6 ? (void *) &((struct sockaddr_in6 *) &storage)->sin6_addr :
				  (void *) &((struct sockaddr_in *) &storage)->sin_addr) != 1)
		abort();
	answer = js_egress_permits(allowed, denied, host, port,
							   address ? (struct sockaddr *) &storage : NULL);
	js_egress_free(allowed);
	js_egress_free(denied);
	return answer;
}

/* ------------------------------------------------------------------------
 * Without rules
 * ------------------------------------------------------------------------
 */

/* Where blocks begin and end, and what stands for such an address. */
static const char *const refused[] = {
	"0.0.0.0", "0.1.2.3", "0.255.255.255", "10.0.0.0", "10.255.255.255",
	"100.64.0.0", "100.127.255.255", "127.0.0.0", "127.0.0.1", "127.255.255.255",
	"169.254.0.0", "169.254.169.254", "169.254.255.255", "168.63.129.16", "::ffff:168.63.129.16",
	"64:ff9b::168.63.129.16", "172.16.0.0", "172.31.255.255",
	"192.0.0.0", "192.0.0.9", "192.0.0.170", "192.0.0.255", "192.0.2.1", "192.88.99.1",
	"192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.7",
	"203.0.113.7", "224.0.0.0", "224.0.0.251", "239.255.255.255", "240.0.0.0",
	"255.255.255.254", "255.255.255.255",
	"::", "::1", "::2", "::127.0.0.1", "::8.8.8.8",
	"::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254", "::ffff:0.0.0.0",
	"::ffff:0:127.0.0.1", "::fffe:8.8.8.8",
	"64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::7f00:1",
	"64:ff9b::1:8.8.8.8", "64:ff9b:1::8.8.8.8", "64:ff9b:1::", "64:ff9b:1:ffff::1",
	"100::", "100::1", "100:0:0:1::1", "200::1", "1fff::1", "4000::1", "5f00::1",
	"2001::", "2001:1::1", "2001:2::1", "2001:3::1", "2001:10::1", "2001:20::1",
	"2001:1ff:ffff::1", "2001:db8::1", "2001:db8:ffff:ffff::1", "3fff::1", "3fff:fff::1",
	"2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2002:c0a8:101::",

	/*
	 * Teredo: server 8.8.8.8, client 127.0.0.1; server 10.0.0.1, client
	 * 8.8.8.8
	 */
	"2001:0:808:808::80ff:fffe", "2001:0:a00:1::f7f7:f7f7",
	"fc00::", "fc00::1", "fd00::1", "fd00:ec2::254", "fdff:ffff::1", "fe00::1",
	"fe80::", "fe80::1", "febf:ffff::1", "fec0::1", "feff::1", "ff00::", "ff02::1",
	"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
};

static const char *const permitted[] = {
	"1.0.0.0", "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255",
	"100.128.0.0", "126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0",
	"172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0",
	"192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
	"198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0",
	"223.255.255.255",
	"2000::1", "2001:200::1", "2001:4860:4860::8888", "2001:db7::1", "2001:db9::1",
	"2003::1", "2606:4700:4700::1111", "2620:4f:8000::1", "2a00:1450::1", "3ffe::1",
	"3fff:1000::1",
	"::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2001:0:808:808::f7f7:f7f7"
};

static void
test_addresses(void)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		check(!permits("", "", HOST, 443, refused[i]), "is refused", refused[i]);
	for (size_t i = 0; i < sizeof(permitted) / sizeof(permitted[0]); i++)
		check(permits("", "", HOST, 443, permitted[i]), "is permitted", permitted[i]);
}

/* Sockets of other kinds are no way out, whatever is allowed. */
static void
test_families(void)
{
	JsEgressRules *all = rules_of("0.0.0.0/0, ::/0, " HOST);
	struct sockaddr_un local;
	struct sockaddr_in v4;

	memset(&local, 0, sizeof(local));
	local.sun_family = AF_UNIX;
	check(!js_egress_permits(all, NULL, HOST, 80, (struct sockaddr *) &local), "family", "unix");
	local.sun_family = AF_UNSPEC;
	check(!js_egress_permits(all, NULL, HOST, 80, (struct sockaddr *) &local), "family", "none");
	memset(&v4, 0, sizeof(v4));
	v4.sin_family = AF_INET;
	v4.sin_addr.s_addr = htonl(0x08080808);
	check(js_egress_permits(NULL, NULL, HOST, 80, (struct sockaddr *) &v4), "without rules", "8.8.8.8");
	v4.sin_addr.s_addr = htonl(0x0a000001);
	check(!js_egress_permits(NULL, NULL, HOST, 80, (struct sockaddr *) &v4), "without rules", "10.0.0.1");
	js_egress_free(all);
	js_egress_free(NULL);
}

/* ------------------------------------------------------------------------
 * With rules
 * ------------------------------------------------------------------------
 */

typedef struct Case
{
	bool		answer;
	const char *allow;
	const char *deny;
	const char *host;
	int			port;
	const char *address;		/* NULL: will not be known */
} Case;

static const Case cases[] = {

	/* networks and ports */
	{true, "10.0.0.0/8", "", HOST, 80, "10.1.2.3"},
	{false, "10.0.0.0/8", "", HOST, 80, "192.168.0.1"},
	{true, "127.0.0.1:8080", "", HOST, 8080, "127.0.0.1"},
	{false, "127.0.0.1:8080", "", HOST, 8081, "127.0.0.1"},
	{false, "127.0.0.1:8080", "", HOST, 8080, "127.0.0.2"},
	{true, "10.0.0.0/8:443", "", HOST, 443, "10.9.9.9"},
	{false, "10.0.0.0/8:443", "", HOST, 80, "10.9.9.9"},
	{true, "10.128.0.0/9", "", HOST, 80, "10.128.0.1"},
	{false, "10.128.0.0/9", "", HOST, 80, "10.127.255.255"},
	{true, "10.0.0.4/30", "", HOST, 80, "10.0.0.7"},
	{false, "10.0.0.4/30", "", HOST, 80, "10.0.0.8"},
	{true, "0.0.0.0/0", "", HOST, 80, "127.0.0.1"},
	{false, "0.0.0.0/0", "", HOST, 80, "::1"},
	{true, "::1", "", HOST, 80, "::1"},
	{true, "[::1]", "", HOST, 80, "::1"},
	{true, "[::1]:8080", "", HOST, 8080, "::1"},
	{false, "[::1]:8080", "", HOST, 80, "::1"},
	{true, "fd00::/8", "", HOST, 80, "fd12::1"},
	{false, "fd00::/8", "", HOST, 80, "fc12::1"},
	{true, "[fd00::]/8:443", "", HOST, 443, "fd12::1"},
	{false, "[fd00::]/8:443", "", HOST, 80, "fd12::1"},
	{true, "[fd00::]/8", "", HOST, 80, "fd12::1"},
	{true, "::/0", "", HOST, 80, "::1"},
	{true, " 10.0.0.0/8 ,\t192.168.0.0/16\n", "", HOST, 80, "192.168.1.1"},
	{true, "10.0.0.0/8,::1", "", HOST, 80, "::1"},

	{true, "168.63.129.16:80", "", HOST, 80, "168.63.129.16"},
	{false, "168.63.129.16:80", "", HOST, 32526, "168.63.129.16"},

	/* mapped addresses are IPv4 addresses; those that are translated are not */
	{true, "10.0.0.0/8", "", HOST, 80, "::ffff:10.1.2.3"},
	{true, "::ffff:10.0.0.0/104", "", HOST, 80, "10.1.2.3"},
	{true, "::ffff:10.0.0.0/104", "", HOST, 80, "::ffff:10.1.2.3"},
	{true, "[::ffff:127.0.0.1]:80", "", HOST, 80, "127.0.0.1"},
	{false, "[::ffff:127.0.0.1]:80", "", HOST, 81, "127.0.0.1"},
	{false, "10.0.0.0/8", "", HOST, 80, "64:ff9b::10.1.2.3"},
	{true, "64:ff9b::/96", "", HOST, 80, "64:ff9b::10.1.2.3"},
	{false, "10.0.0.0/8", "", HOST, 80, "2002:a01:203::1"},
	{false, "10.0.0.0/8", "", HOST, 80, "::10.1.2.3"},

	/* what is denied is denied in all forms, and whatever is allowed */
	{false, "", "8.8.8.8", HOST, 80, "8.8.8.8"},
	{true, "", "8.8.8.8", HOST, 80, "8.8.4.4"},
	{true, "", "8.8.8.8:443", HOST, 80, "8.8.8.8"},
	{false, "", "8.8.8.8:443", HOST, 443, "8.8.8.8"},
	{false, "", "8.8.8.8", HOST, 80, "::ffff:8.8.8.8"},
	{false, "", "8.8.8.8", HOST, 80, "64:ff9b::8.8.8.8"},
	{false, "", "8.8.8.8", HOST, 80, "2002:808:808::1"},
	{false, "", "8.8.8.8", HOST, 80, "2001:0:101:101::f7f7:f7f7"},
	{false, "", "1.1.1.1", HOST, 80, "2001:0:101:101::f7f7:f7f7"},
	{false, "", "::/0", HOST, 80, "2606:4700::1"},
	{false, "", "::/0", HOST, 80, "::ffff:8.8.8.8"},
	{true, "", "::/0", HOST, 80, "8.8.8.8"},
	{false, "", "0.0.0.0/0", HOST, 80, "8.8.8.8"},
	{false, "10.0.0.0/8", "10.1.0.0/16", HOST, 80, "10.1.2.3"},
	{true, "10.0.0.0/8", "10.1.0.0/16", HOST, 80, "10.2.2.3"},
	{false, "10.0.0.0/8", "10.0.0.0/8", HOST, 80, "10.2.2.3"},
	{false, HOST, HOST, HOST, 80, "10.2.2.3"},

	/* hosts */
	{true, "internal.example.com", "", "internal.example.com", 80, "10.0.0.1"},
	{false, "internal.example.com", "", "other.example.com", 80, "10.0.0.1"},
	{false, "internal.example.com", "", "x.internal.example.com", 80, "10.0.0.1"},
	{false, "internal.example.com", "", "internal.example.com.evil.test", 80, "10.0.0.1"},
	{false, "internal.example.com", "", "10.0.0.1", 80, "10.0.0.1"},
	{true, "Internal.Example.COM", "", "internal.example.com", 80, "10.0.0.1"},
	{true, "internal.example.com.", "", "internal.example.com", 80, "10.0.0.1"},
	{true, "internal.example.com", "", "internal.example.com.", 80, "10.0.0.1"},
	{true, "internal.example.com:8443", "", "internal.example.com", 8443, "10.0.0.1"},
	{false, "internal.example.com:8443", "", "internal.example.com", 443, "10.0.0.1"},
	{true, "*.internal.example.com", "", "a.internal.example.com", 80, "fd00::1"},
	{true, "*.internal.example.com", "", "a.b.internal.example.com", 80, "fd00::1"},
	{false, "*.internal.example.com", "", "internal.example.com", 80, "fd00::1"},
	{false, "*.internal.example.com", "", ".internal.example.com", 80, "fd00::1"},
	{false, "*.internal.example.com", "", "ainternal.example.com", 80, "fd00::1"},
	{true, "*.internal.example.com:443", "", "a.internal.example.com", 443, "fd00::1"},
	{false, "*.internal.example.com:443", "", "a.internal.example.com", 80, "fd00::1"},
	{true, "localhost", "", "localhost", 80, "127.0.0.1"},
	{true, "my_host", "", "my_host", 80, "127.0.0.1"},
	{true, "1host", "", "1host", 80, "127.0.0.1"},
	{false, "", "evil.test", "evil.test", 80, "8.8.8.8"},
	{false, "", "evil.test", "EVIL.test.", 80, "8.8.8.8"},
	{false, "", "*.evil.test", "a.evil.test.", 80, "8.8.8.8"},
	{true, "", "*.evil.test", "evil.test", 80, "8.8.8.8"},

	/* names that a proxy looks up */
	{true, "", "", HOST, 80, NULL},
	{true, "", "0.0.0.0/0, ::/0, evil.test", HOST, 80, NULL},
	{true, "10.0.0.0/8", "", HOST, 80, NULL},
	{false, "", "evil.test", "evil.test", 80, NULL},
	{false, "evil.test", "evil.test", "evil.test", 80, NULL},
	{false, "", "evil.test", "EVIL.test.", 80, NULL},
	{false, "", "evil.test:8443", "evil.test", 8443, NULL},
	{true, "", "evil.test:8443", "evil.test", 443, NULL},
	{false, "", "*.evil.test", "a.b.evil.test", 80, NULL},
	{true, "", "*.evil.test", "evil.test", 80, NULL}
};

static void
test_rules(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		subject[400];

		snprintf(subject, sizeof(subject), "allow '%s' deny '%s' host %s port %d address %s",
				 cases[i].allow, cases[i].deny, cases[i].host, cases[i].port,
				 cases[i].address ? cases[i].address : "unknown");
		check(permits(cases[i].allow, cases[i].deny, cases[i].host, cases[i].port,
					  cases[i].address) == cases[i].answer,
			  cases[i].answer ? "permitted" : "refused", subject);
	}
}

/* ------------------------------------------------------------------------
 * Reading rules
 * ------------------------------------------------------------------------
 */

static const char *const bad[] = {
	",", "10.0.0.0/8,", ",10.0.0.0/8", "10.0.0.0/8,,::1", "10.0.0.1/8", "10.0.0.0/33",
	"10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/ 8", "10.0.0", "10", "256.0.0.1",
	"010.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:", "10.0.0.1:http", "10.0.0.1:80:80",
	"::1/129", "::1/127", "fd00::/8:443x", "fd00:::/8", "[::1", "[::1]x", "[::1]:", "[::1]:0",
	"[::1]/", "[::1]:80:80", "[10.0.0.1]", "[]", "fe80::1%eth0", "[fe80::1%eth0]", "*", "*.",
	"*.*.example.com", "a*.example.com", "example..com", ".example.com", "exa mple.com",
	"http://example.com", "example.com/path", "user@example.com", "example.com:", "host/8",
	".", "-..", "\x80.example.com", "127.0.0.1.", "0x7f000001", "0X7F.1", "127.0.0.0x1.", "web.1.",
	"0x", "*.0x1f", "017700000001",
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
};

static const char *const blank[] = {"", " ", "\t\n "};

static void
test_parser(void)
{
	char		error[200];
	char		small[8];
	char		item[600];
	JsEgressRules *rules;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		error[0] = '\0';
		rules = js_egress_parse(bad[i], error, sizeof(error));
		check(rules == NULL && error[0] != '\0', "is no rule", bad[i]);
		js_egress_free(rules);
	}
	check(js_egress_parse("1.2.3.4.5.6", small, sizeof(small)) == NULL && strlen(small) == 7,
		  "short error", small);
	for (size_t i = 0; i < sizeof(blank) / sizeof(blank[0]); i++)
	{
		rules = js_egress_parse(blank[i], error, sizeof(error));
		check(rules != NULL, "no rules", blank[i]);
		js_egress_free(rules);
	}
	memset(item, 'a', sizeof(item));
	item[sizeof(item) - 1] = '\0';
	check(js_egress_parse(item, error, sizeof(error)) == NULL, "too long", "item");
}

/* Whatever is given, it ends, and nothing is touched that is not ours. */
static void
test_noise(void)
{
	static const char alphabet[] = "0123456789abfx.:/[]*-, %@\x80";
	unsigned	seed = 1;

	for (int round = 0; round < 200000; round++)
	{
		char		text[40];
		char		error[60];
		int			length = rand_r(&seed) % (sizeof(text) - 1);
		JsEgressRules *rules;

		for (int i = 0; i < length; i++)
			text[i] = alphabet[rand_r(&seed) % (sizeof(alphabet) - 1)];
		text[length] = '\0';

		rules = js_egress_parse(text, error, sizeof(error));
		if (rules != NULL)
			permits(text, "", HOST, 80, "10.0.0.1");
		js_egress_free(rules);
	}
	check(true, "noise", "");
}

int
main(void)
{
	test_addresses();
	test_families();
	test_rules();
	test_parser();
	test_noise();
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
