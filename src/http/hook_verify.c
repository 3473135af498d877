/*-------------------------------------------------------------------------
 *
 * hook_verify.c
 *		Whether a request comes from whom it says.
 *
 *	verify		signature						what is signed
 *	standard	webhook-signature: v1,BASE64	ID.TIMESTAMP.BODY
 *	github		x-hub-signature-256: sha256=HEX	BODY
 *	stripe		stripe-signature: t=,v1=HEX		TIMESTAMP.BODY
 *	slack		x-slack-signature: v0=HEX		v0:TIMESTAMP:BODY
 *	hmac		a header, in hex or base64		BODY
 *	token		none: the token itself
 *
 * All are HMAC-SHA256.  Several signatures, and several keys, are tried all of them.
 * Where there is a timestamp it is among what is signed, as the header has it, and
 * may lie in the past or the future by the tolerance.
 *
 * Whoever measures how long a refusal takes shall learn nothing.  So what a caller
 * must not know is compared in constant time; and there is always a hash of a
 * token and an HMAC of the body, by a key of ours if there is no other, be the hook
 * known or not, be a header missing or not.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "http/hook_verify.h"
#include "http/http_sign.h"
#include "http/http_template.h"
#include "http/http_text.h"
#include "lib/stringinfo.h"
#include "utils/timestamp.h"

#define TOKEN_PREFIX "jsh_"
#define TOKEN_BYTES 32

#define HEX_LENGTH (2 * PG_SHA256_DIGEST_LENGTH)
#define BASE64_LENGTH 44

#define DIGITS "0123456789"
#define HEX_DIGITS DIGITS "abcdefABCDEF"

/* Digits of a timestamp at most: those of this millennium have ten. */
#define MAX_TIMESTAMP 12

/* Between the epochs of Unix and PostgreSQL. */
#define EPOCH_SECONDS ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (int64) SECS_PER_DAY)

/* ------------------------------------------------------------------------
 * Headers
 * ------------------------------------------------------------------------
 */

/*
 * A header's value, whatever the case of its name.  NULL: it is not there, is no
 * text, or is there twice, so that nobody knows which one counts.
 */
char *
js_hook_header(Jsonb *headers, const char *name)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	v;
	bool		is_named = false;
	bool		found = false;
	char	   *value = NULL;

	if (headers == NULL || !JB_ROOT_IS_OBJECT(headers))
		return NULL;
	iterator = JsonbIteratorInit(&headers->root);
	(void) JsonbIteratorNext(&iterator, &v, false);
	while ((token = JsonbIteratorNext(&iterator, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			is_named = v.val.string.len == strlen(name) &&
				pg_strncasecmp(v.val.string.val, name, v.val.string.len) == 0;
		else if (token == WJB_VALUE && is_named)
		{
			if (found)
				return NULL;
			found = true;
			if (v.type == jbvString)
				value = pnstrdup(v.val.string.val, v.val.string.len);
		}
	}
	return value;
}

/* By which header senders tell a repeat; NULL: by none. */
const char *
js_hook_id_header(JsHookVerify verify)
{
	static const char *const names[] = {
		[JS_HOOK_TOKEN] = "idempotency-key",[JS_HOOK_STANDARD] = "webhook-id",
		[JS_HOOK_GITHUB] = "x-github-delivery",[JS_HOOK_STRIPE] = NULL,
		[JS_HOOK_SLACK] = "x-slack-signature",[JS_HOOK_HMAC] = NULL
	};

	return names[verify];
}

/* NULL: whoever defines the hook names it. */
const char *
js_hook_signature_header(JsHookVerify verify)
{
	static const char *const names[] = {
		[JS_HOOK_TOKEN] = "authorization",[JS_HOOK_STANDARD] = "webhook-signature",
		[JS_HOOK_GITHUB] = "x-hub-signature-256",[JS_HOOK_STRIPE] = "stripe-signature",
		[JS_HOOK_SLACK] = "x-slack-signature",[JS_HOOK_HMAC] = NULL
	};

	return names[verify];
}

bool
js_hook_has_timestamp(JsHookVerify verify)
{
	return verify == JS_HOOK_STANDARD || verify == JS_HOOK_STRIPE || verify == JS_HOOK_SLACK;
}

/* ------------------------------------------------------------------------
 * Comparing
 * ------------------------------------------------------------------------
 */

static bool
same_bytes(const void *a, const void *b, size_t size)
{
	const volatile uint8 *x = a;
	const volatile uint8 *y = b;
	uint8		difference = 0;

	for (size_t i = 0; i < size; i++)
		difference |= x[i] ^ y[i];
	return difference == 0;
}

static void
to_hex(const uint8 *mac, char *hex)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
	{
		hex[2 * i] = digits[mac[i] >> 4];
		hex[2 * i + 1] = digits[mac[i] & 15];
	}
}

/* Whether a signature, of which its form is known, is that of the MAC. */
static bool
is_signature(const char *given, const uint8 *mac)
{
	size_t		length = strlen(given);
	char		hex[HEX_LENGTH];

	if (length == BASE64_LENGTH)
		return same_bytes(given, js_base64(mac, PG_SHA256_DIGEST_LENGTH), BASE64_LENGTH);
	if (length != HEX_LENGTH)
		return false;
	to_hex(mac, hex);
	return same_bytes(given, hex, HEX_LENGTH);
}

/* ------------------------------------------------------------------------
 * Tokens
 * ------------------------------------------------------------------------
 */

/* They are random and long: nothing more than that is needed. */
static void
hash_bytes_of(const void *bytes, size_t size, JsTokenHash *hash)
{
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	if (context == NULL || pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, bytes, size) < 0 ||
		pg_cryptohash_final(context, hash->bytes, sizeof(hash->bytes)) < 0)
		elog(ERROR, "could not compute a hash");
	pg_cryptohash_free(context);
}

void
js_token_hash(const char *token, JsTokenHash *hash)
{
	hash_bytes_of(token, strlen(token), hash);
}

/* One that can stand in a URL. */
char *
js_token_make(JsTokenHash *hash)
{
	uint8		bytes[TOKEN_BYTES];
	char	   *token;

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	token = psprintf(TOKEN_PREFIX "%s", js_base64(bytes, sizeof(bytes)));
	for (char *c = token; *c != '\0'; c++)
		if (*c == '+')
			*c = '-';
		else if (*c == '/')
			*c = '_';
		else if (*c == '=')
			*c = '\0';
	js_token_hash(token, hash);
	return token;
}

/* NULL: there is none. */
static const char *
token_of(const JsHook *hook, const JsHookMessage *message)
{
	const char *value;

	if (message->token != NULL)
		return message->token;
	if (hook->header != NULL)
		return js_hook_header(message->headers, hook->header);
	value = js_hook_header(message->headers, js_hook_signature_header(JS_HOOK_TOKEN));
	if (value == NULL || pg_strncasecmp(value, "bearer ", 7) != 0)
		return NULL;
	return value + 7 + strspn(value + 7, " ");
}

static const char *
verify_token(const JsHook *hook, List *keys, const JsHookMessage *message)
{
	const char *token = token_of(hook, message);
	bool		is_right = false;
	JsTokenHash given;
	ListCell   *lc;

	js_token_hash(token ? token : "", &given);
	foreach(lc, keys)
	{
		const JsSigningKey *key = lfirst(lc);
		JsTokenHash hash;

		hash_bytes_of(key->bytes, key->size, &hash);
		is_right |= same_bytes(&given, &hash, sizeof(hash));
	}
	is_right |= hook->has_token && same_bytes(&given, &hook->token, sizeof(given));
	is_right |= hook->has_old_token && hook->old_token_until > message->now &&
		same_bytes(&given, &hook->old_token, sizeof(given));
	if (token == NULL || token[0] == '\0')
		return "there is no token";
	return is_right ? NULL : "the token is wrong";
}

/* ------------------------------------------------------------------------
 * Signatures
 * ------------------------------------------------------------------------
 */

/* What a sender claims. */
typedef struct Claim
{
	List	   *signatures;		/* of char * */
	char	   *timestamp;		/* NULL: none is needed, or it is missing */
	const char *prefix;			/* signed before the body */
	const char *problem;		/* NULL: it is whole */
} Claim;

/* Hex is in lower case. */
static void
add_signature(Claim *claim, const char *value)
{
	char	   *signature = pstrdup(value);

	if (strlen(value) == HEX_LENGTH && strspn(value, HEX_DIGITS) == HEX_LENGTH)
		for (char *c = signature; *c != '\0'; c++)
			*c = pg_tolower((unsigned char) *c);
	claim->signatures = lappend(claim->signatures, signature);
}

/* Those parts of a value that begin so; others are passed over. */
static void
add_signatures(Claim *claim, const char *value, const char *between, const char *begin)
{
	char	   *rest = pstrdup(value);

	for (char *part; (part = strtok_r(rest, between, &rest)) != NULL;)
		if (strncmp(part, begin, strlen(begin)) == 0)
			add_signature(claim, part + strlen(begin));
}

static bool
is_timestamp(const char *text)
{
	size_t		length = text == NULL ? 0 : strlen(text);

	return length > 0 && length <= MAX_TIMESTAMP && strspn(text, DIGITS) == length;
}

static void
claim_standard(Claim *claim, const char *value, Jsonb *headers)
{
	const char *id = js_hook_header(headers, "webhook-id");

	add_signatures(claim, value, " ", "v1,");
	claim->timestamp = js_hook_header(headers, "webhook-timestamp");
	/* With a full stop in it the same text could be read in two ways. */
	if (id == NULL || id[0] == '\0' || strchr(id, '.') != NULL)
		claim->problem = "header webhook-id is missing or has a full stop";
	else if (claim->signatures == NIL && strstr(value, "v1a,") != NULL)
		claim->problem = "it has an asymmetric signature (v1a) only";
	else if (claim->timestamp != NULL)
		claim->prefix = psprintf("%s.%s.", id, claim->timestamp);
}

static void
claim_stripe(Claim *claim, const char *value)
{
	char	   *rest = pstrdup(value);

	add_signatures(claim, value, ", ", "v1=");
	for (char *part; (part = strtok_r(rest, ", ", &rest)) != NULL;)
		if (strncmp(part, "t=", 2) == 0 && claim->timestamp == NULL)
			claim->timestamp = part + 2;
	if (claim->timestamp != NULL)
		claim->prefix = psprintf("%s.", claim->timestamp);
}

static void
claim_slack(Claim *claim, const char *value, Jsonb *headers)
{
	/* It tells a repeat too: so there is one way to write it. */
	if (strncmp(value, "v0=", 3) == 0 && strlen(value) == 3 + HEX_LENGTH)
		claim->signatures = list_make1(pstrdup(value + 3));
	claim->timestamp = js_hook_header(headers, "x-slack-request-timestamp");
	if (claim->timestamp != NULL)
		claim->prefix = psprintf("v0:%s:", claim->timestamp);
}

/* In hex or base64, with or without "sha256=" and the like before it. */
static void
claim_hmac(Claim *claim, const char *value)
{
	char	   *rest = pstrdup(value);

	for (char *part; (part = strtok_r(rest, ", ", &rest)) != NULL;)
	{
		size_t		length = strlen(part);
		char	   *sign = strchr(part, '=');

		if (sign != NULL && length != BASE64_LENGTH)
			part = sign + 1;
		add_signature(claim, part);
	}
}

static void
read_claim(const JsHook *hook, const JsHookMessage *message, Claim *claim)
{
	const char *header = hook->header ? hook->header : js_hook_signature_header(hook->verify);
	const char *value = header ? js_hook_header(message->headers, header) : NULL;

	memset(claim, 0, sizeof(Claim));
	claim->prefix = "";
	if (value == NULL)
		claim->problem = "the header with the signature is missing";
	else if (hook->verify == JS_HOOK_STANDARD)
		claim_standard(claim, value, message->headers);
	else if (hook->verify == JS_HOOK_GITHUB)
		add_signatures(claim, value, ", ", "sha256=");
	else if (hook->verify == JS_HOOK_STRIPE)
		claim_stripe(claim, value);
	else if (hook->verify == JS_HOOK_SLACK)
		claim_slack(claim, value, message->headers);
	else
		claim_hmac(claim, value);
	if (claim->problem == NULL && js_hook_has_timestamp(hook->verify) && !is_timestamp(claim->timestamp))
		claim->problem = "the timestamp is missing or is none";
}

/* NULL: it is near enough. */
static const char *
judge_time(const JsHook *hook, const Claim *claim, TimestampTz now)
{
	TimestampTz at;

	if (!js_hook_has_timestamp(hook->verify))
		return NULL;
	at = (strtoll(claim->timestamp, NULL, 10) - EPOCH_SECONDS) * USECS_PER_SEC;
	if (at < now - hook->tolerance)
		return "the timestamp is too old";
	if (at > now + hook->tolerance)
		return "the timestamp is in the future";
	return NULL;
}

static const char *
verify_signature(const JsHook *hook, List *keys, const JsHookMessage *message)
{
	static uint8 no_key[] = "no key";
	JsSigningKey none = {no_key, sizeof(no_key)};
	bool		is_right = false;
	Claim		claim;
	ListCell   *lc;

	read_claim(hook, message, &claim);
	foreach(lc, keys == NIL ? list_make1(&none) : keys)
	{
		uint8		mac[PG_SHA256_DIGEST_LENGTH];
		ListCell   *lc2;

		js_hmac(lfirst(lc), claim.prefix, message->body, message->size, mac);
		foreach(lc2, claim.signatures)
			is_right |= is_signature(lfirst(lc2), mac);
	}
	if (claim.problem != NULL)
		return claim.problem;
	if (keys == NIL)
		return "its secret is missing, or has a key that cannot be made out";
	if (!is_right)
		return "the signature is wrong";
	return judge_time(hook, &claim, message->now);
}

/* ------------------------------------------------------------------------
 * Both
 * ------------------------------------------------------------------------
 */

static JsSigningKey *
key_of(char *text)
{
	JsSigningKey *key = palloc(sizeof(JsSigningKey));

	key->bytes = (uint8 *) text;
	key->size = strlen(text);
	return key;
}

/*
 * The keys in a secret.  Those of Standard Webhooks as we sign with them; any other
 * secret is one key as it is, or several, each on a line.  Not with spaces between
 * them: each word of a phrase would be a key.
 */
static List *
keys_of(const JsHook *hook, const char *secret)
{
	List	   *keys;
	char	   *rest;

	if (secret == NULL || !js_secret_value_is_fit(secret))
		return NIL;
	if (hook->verify == JS_HOOK_STANDARD && strstr(secret, "whsec_") != NULL)
		return js_signing_keys(secret);
	keys = list_make1(key_of(pstrdup(secret)));
	if (strchr(secret, '\n') == NULL)
		return keys;
	rest = pstrdup(secret);
	for (char *text; list_length(keys) <= JS_MAX_SIGNING_KEYS &&
		 (text = strtok_r(rest, "\r\n", &rest)) != NULL;)
		if (js_secret_value_is_fit(text))
			keys = lappend(keys, key_of(text));
	return keys;
}

/* Why it is to be refused, for its owner to read; NULL: it is genuine. */
const char *
js_hook_verify(const JsHook *hook, const char *secret, const JsHookMessage *message)
{
	List	   *keys = keys_of(hook, secret);
	bool		is_token = hook->verify == JS_HOOK_TOKEN;
	const char *of_token = verify_token(hook, is_token ? keys : NIL, message);
	const char *of_signature = verify_signature(hook, is_token ? NIL : keys, message);

	return is_token ? of_token : of_signature;
}
