/*-------------------------------------------------------------------------
 *
 * http_sign.c
 *		What identifies a request, and what proves its sender.
 *
 * Ids are derived from the token of the database and the id of the run.  So
 * they are the same for all attempts, whichever process makes them, and differ
 * from those of every other database.  Each run has one trace, and each attempt
 * one span.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"
#include "common/cryptohash.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "http/channel.h"
#include "http/http_sign.h"
#include "http/http_text.h"
#include "lib/stringinfo.h"

#define KEY_PREFIX "whsec_"
#define TRACEPARENT_LENGTH 55	/* 00-<32>-<16>-<2> */
#define TRACE_LENGTH 32			/* in hexadecimal digits */
#define SPAN_LENGTH 16
#define FLAGS_OFFSET 53

#define HEX_DIGITS "0123456789abcdef"

/* ------------------------------------------------------------------------
 * Ids
 * ------------------------------------------------------------------------
 */

static void
digest(const pg_uuid_t *token, const char *of, uint8 *result)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);

	if (hash == NULL || pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, token->data, UUID_LEN) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) of, strlen(of)) < 0 ||
		pg_cryptohash_final(hash, result, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute a hash");
	pg_cryptohash_free(hash);
}

static void
append_hex(StringInfo text, const uint8 *bytes, int count)
{
	for (int i = 0; i < count; i++)
		appendStringInfo(text, "%02x", bytes[i]);
}

/*
 * A UUID of version 8, whose bits are ours to choose (RFC 9562 5.8); of a message of
 * a channel the id that it has.
 */
char *
js_request_id(const JsHttpSource *source)
{
	char	   *message_id = js_channel_message_id(source->definition, source->run->args);
	uint8		bytes[PG_SHA256_DIGEST_LENGTH];
	StringInfoData id;

	if (message_id != NULL)
		return message_id;
	digest(source->token, psprintf("run " INT64_FORMAT, source->run->run_id), bytes);
	bytes[6] = (bytes[6] & 0x0f) | 0x80;
	bytes[8] = (bytes[8] & 0x3f) | 0x80;
	initStringInfo(&id);
	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			appendStringInfoChar(&id, '-');
		append_hex(&id, bytes + i, 1);
	}
	return id.data;
}

static bool
is_hex_id(const char *text, int length)
{
	return strspn(text, HEX_DIGITS) >= length && strspn(text, "0") < length;
}

/* One that can be continued (W3C Trace Context); later versions may be longer. */
static bool
is_traceparent(const char *text)
{
	return text != NULL && strlen(text) >= TRACEPARENT_LENGTH &&
		strspn(text, HEX_DIGITS) == 2 && strncmp(text, "ff", 2) != 0 &&
		text[2] == '-' && is_hex_id(text + 3, TRACE_LENGTH) &&
		text[35] == '-' && is_hex_id(text + 36, SPAN_LENGTH) &&
		text[52] == '-' && strspn(text + FLAGS_OFFSET, HEX_DIGITS) == 2 &&
		(text[TRACEPARENT_LENGTH] == '\0' ||
		 (strncmp(text, "00", 2) != 0 && text[TRACEPARENT_LENGTH] == '-'));
}

char *
js_request_traceparent(const JsHttpSource *source)
{
	const JsRun *run = source->run;
	bool		continued = is_traceparent(run->traceparent);
	uint8		trace[PG_SHA256_DIGEST_LENGTH];
	uint8		span[PG_SHA256_DIGEST_LENGTH];
	StringInfoData text;

	digest(source->token, psprintf("trace " INT64_FORMAT, run->run_id), trace);
	digest(source->token, psprintf("span " INT64_FORMAT " %d", run->run_id, run->attempt), span);
	initStringInfo(&text);
	appendStringInfoString(&text, "00-");
	if (continued)
		appendBinaryStringInfo(&text, run->traceparent + 3, TRACE_LENGTH);
	else
		append_hex(&text, trace, TRACE_LENGTH / 2);
	appendStringInfoChar(&text, '-');
	append_hex(&text, span, SPAN_LENGTH / 2);
	appendStringInfo(&text, "-%.2s", continued ? run->traceparent + FLAGS_OFFSET : "01");
	return text.data;
}

/* ------------------------------------------------------------------------
 * Signatures: Standard Webhooks, symmetric
 * ------------------------------------------------------------------------
 */

/*
 * Keys are as receivers show them: whsec_ and base64, at Supabase and others
 * behind "v1,"; any other text is a key as it is.  Several have spaces between
 * them, or "|" where one of them is of the first kind.
 */
#define SPACES " \t\r\n"

/* Where the part of a key begins that says its kind. */
static const char *
after_version(const char *key)
{
	static const char *const versions[] = {"v1,", "v1a,"};

	for (int i = 0; i < lengthof(versions); i++)
		if (pg_strncasecmp(key, versions[i], strlen(versions[i])) == 0)
			return key + strlen(versions[i]);
	return key;
}

/* Whether it is meant to be a key of Standard Webhooks, be it mistaken. */
static bool
is_meant(const char *key, const char *prefix)
{
	return pg_strncasecmp(after_version(key + strspn(key, "\"'")), prefix, strlen(prefix)) == 0;
}

static bool
is_asymmetric(const char *key)
{
	return is_meant(key, "whsk_") || is_meant(key, "whpk_");
}

/* Whether one of the keys is of Standard Webhooks. */
static bool
has_standard_key(const char *keys)
{
	for (;;)
	{
		keys += strspn(keys, SPACES "|");
		if (*keys == '\0')
			return false;
		if (is_meant(keys, KEY_PREFIX) || is_asymmetric(keys))
			return true;
		keys += strcspn(keys, SPACES "|");
	}
}

/* The next of them in a copy that is cut to pieces; NULL: that was all. */
static char *
next_key(char **rest, bool standard)
{
	return strtok_r(*rest, standard ? SPACES "|" : SPACES, rest);
}

/* The bytes of a key; -1 if they cannot be made out. */
static int
decode_key(const char *key, uint8 **bytes)
{
	int			length;
	int			size;

	if (!is_meant(key, KEY_PREFIX))
	{
		*bytes = (uint8 *) unconstify(char *, key);
		return is_asymmetric(key) || *after_version(key) == '\0' ? -1 : strlen(key);
	}
	if (strncmp(key, "v1,", 3) == 0)
		key += 3;
	if (strncmp(key, KEY_PREFIX, strlen(KEY_PREFIX)) != 0)
		return -1;
	key += strlen(KEY_PREFIX);
	length = strlen(key);
	size = pg_b64_dec_len(length);
	*bytes = palloc(size + 1);
	size = pg_b64_decode(key, length, (void *) *bytes, size);
	return size >= JS_SIGNING_KEY_MIN && size <= JS_SIGNING_KEY_MAX ? size : -1;
}

/*
 * What is wrong with a secret that is meant for signing, as far as one can see
 * that: NULL for all texts without a key of Standard Webhooks.
 */
const char *
js_signing_problem(const char *secret)
{
	char	   *rest = pstrdup(secret);
	uint8	   *bytes;
	int			count = 0;

	if (!has_standard_key(secret))
		return NULL;
	for (char *key; (key = next_key(&rest, true)) != NULL;)
		if (++count > JS_MAX_SIGNING_KEYS)
			return "has more than " CppAsString2(JS_MAX_SIGNING_KEYS) " keys";
		else if (is_asymmetric(key))
			return "has an asymmetric key, with which requests are not signed";
		else if (decode_key(key, &bytes) < 0)
			return "has a key that is not whsec_ and the base64 of "
				CppAsString2(JS_SIGNING_KEY_MIN) " to " CppAsString2(JS_SIGNING_KEY_MAX) " bytes";
	return NULL;
}

/* HMAC-SHA256 of two texts, one after the other. */
void
js_hmac(const JsSigningKey *key, const char *prefix, const char *body, size_t size, uint8 *result)
{
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);

	if (context == NULL || pg_hmac_init(context, key->bytes, key->size) < 0 ||
		pg_hmac_update(context, (const uint8 *) prefix, strlen(prefix)) < 0 ||
		pg_hmac_update(context, (const uint8 *) body, size) < 0 ||
		pg_hmac_final(context, result, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute a signature");
	pg_hmac_free(context);
}

/*
 * The keys of a secret.  None if there is one that cannot be made out, or too
 * many, for each goes through the whole body.
 */
List *
js_signing_keys(const char *secret)
{
	bool		standard = has_standard_key(secret);
	char	   *rest = pstrdup(secret);
	List	   *keys = NIL;

	for (char *text; (text = next_key(&rest, standard)) != NULL;)
	{
		JsSigningKey *key = palloc(sizeof(JsSigningKey));

		key->size = decode_key(text, &key->bytes);
		if (key->size < 0 || list_length(keys) == JS_MAX_SIGNING_KEYS)
			return NIL;
		keys = lappend(keys, key);
	}
	return keys;
}

/*
 * One signature for each of the keys: while they are changed, the receiver may
 * know either.  NULL if there are none.  body may be NULL.
 */
char *
js_webhook_signature(const char *keys, const char *id, int64 timestamp, const char *body, size_t size)
{
	char	   *prefix = psprintf("%s." INT64_FORMAT ".", id, timestamp);
	StringInfoData signatures;
	ListCell   *lc;

	initStringInfo(&signatures);
	foreach(lc, js_signing_keys(keys))
	{
		uint8		mac[PG_SHA256_DIGEST_LENGTH];

		js_hmac(lfirst(lc), prefix, body ? body : "", body ? size : 0, mac);
		appendStringInfo(&signatures, "%sv1,%s", signatures.len > 0 ? " " : "",
						 js_base64(mac, sizeof(mac)));
	}
	return signatures.len > 0 ? signatures.data : NULL;
}
