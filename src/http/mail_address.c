/*-------------------------------------------------------------------------
 *
 * mail_address.c
 *		Addresses that mail may go to, and URLs of relays.
 *
 * An address is put into commands of SMTP and into headers as it is.  So it is one
 * address of the plain kind that people have (RFC 5321's Dot-string and Domain):
 * nothing in it can end a command or a header, or be a second address.  The forms
 * with quotes, comments, literal addresses or routes are refused, and so are
 * letters that are not ASCII: a domain with these is written as it is in DNS
 * (xn--).
 *
 * Settings are checked here too, where there may be no transaction.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/mail.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* RFC 5322 3.2.3 */
#define ATOM LETTERS DIGITS "!#$%&'*+-/=?^_`{|}~"

#define MAX_LABEL 63
#define MAX_HOST 255
#define MAX_PORT 65535

/* One or more of these characters, with single dots between. */
static bool
is_dotted(const char *text, size_t length, const char *characters, size_t max_part)
{
	size_t		done = 0;

	for (;;)
	{
		size_t		part = Min(strspn(text + done, characters), length - done);

		if (part == 0 || part > max_part)
			return false;
		done += part;
		if (done == length)
			return true;
		if (text[done++] != '.')
			return false;
	}
}

/* Of labels that neither begin nor end with a hyphen. */
static bool
is_domain(const char *text, size_t length)
{
	if (!is_dotted(text, length, LETTERS DIGITS "-", MAX_LABEL))
		return false;
	for (size_t i = 0; i < length; i++)
		if (text[i] == '-' && (i == 0 || text[i - 1] == '.' || i + 1 == length || text[i + 1] == '.'))
			return false;
	return true;
}

const char *
js_mail_address_problem(const char *address)
{
	const char *at = strrchr(address, '@');

	if (strlen(address) > JS_MAIL_MAX_ADDRESS)
		return "is longer than " CppAsString2(JS_MAIL_MAX_ADDRESS) " bytes";
	if (at == NULL)
		return "has no @";
	if (address[0] == '-' || !is_dotted(address, at - address, ATOM, JS_MAIL_MAX_ADDRESS))
		return "is not of the plain form name@domain";
	if (!is_domain(at + 1, strlen(at + 1)))
		return "has no domain of letters, digits and hyphens after its @";
	return NULL;
}

/* [::1] or a name or an address; returns what follows, or NULL. */
static const char *
skip_host(const char *text)
{
	size_t		length;

	if (*text == '[')
	{
		length = strspn(text + 1, "0123456789abcdefABCDEF:.");
		return length > 0 && text[length + 1] == ']' ? text + length + 2 : NULL;
	}
	length = strspn(text, LETTERS DIGITS "-.");
	return length <= MAX_HOST && length > 0 && is_domain(text, length) ? text + length : NULL;
}

static bool
is_port(const char *text)
{
	size_t		length = strlen(text);

	return length > 0 && length <= 5 && strspn(text, DIGITS) == length &&
		atoi(text) > 0 && atoi(text) <= MAX_PORT;
}

const char *
js_mail_relay_problem(const char *url)
{
	static const char *const schemes[] = {"smtp://", "smtps://"};
	const char *rest = NULL;

	for (int i = 0; i < lengthof(schemes); i++)
		if (strncmp(url, schemes[i], strlen(schemes[i])) == 0)
			rest = url + strlen(schemes[i]);
	if (rest == NULL)
		return "It does not begin with smtp:// or smtps://.";
	rest = skip_host(rest);
	if (rest == NULL)
		return "It has no host after its scheme.";
	if (*rest == ':')
		return is_port(rest + 1) ? NULL : "Its port is no number from 1 to 65535.";
	return *rest == '\0' ? NULL : "It has more than a scheme, a host and a port.";
}
