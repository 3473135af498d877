/*-------------------------------------------------------------------------
 *
 * mail.h
 *		E-mails: addresses, and messages as text.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_MAIL_TEXT_H
#define JS_MAIL_TEXT_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#define JS_MAIL_MAX_ADDRESS 254 /* bytes (RFC 5321 4.5.3.1.3, less <>) */

/* What is sent of a subject, and of a text, in bytes of UTF-8. */
#define JS_MAIL_MAX_SUBJECT 200
#define JS_MAIL_MAX_TEXT (256 * 1024)

typedef struct JsMailMessage
{
	const char *sender;			/* addresses that have been checked */
	const char *recipient;
	const char *id;				/* whatever tells it from others */
	const pg_uuid_t *token;		/* of the database */
	char	   *subject;		/* in the database's encoding; any text */
	char	   *text;
	TimestampTz date;
} JsMailMessage;

/* What is wrong with an address; NULL: nothing. */
extern const char *js_mail_address_problem(const char *address);

/* What is wrong with the URL of a relay; NULL: nothing. */
extern const char *js_mail_relay_problem(const char *url);

/* RFC 5322: lines of ASCII of at most 998 bytes, each ended by CR LF. */
extern char *js_mail_render(const JsMailMessage *message);

#endif							/* JS_MAIL_TEXT_H */
