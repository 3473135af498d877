/*-------------------------------------------------------------------------
 *
 * mail_message.c
 *		The text of an e-mail (RFC 5322, MIME).
 *
 * Subject and text come from whoever could cause an alert, and may be anything.
 * Here they become printable ASCII: a subject that is more than that in encoded
 * words (RFC 2047), the text as quoted-printable (RFC 2045 6.7).  So no byte of
 * theirs can end a header or a line, no line is too long, and none begins with a
 * dot or with "From ", which some that pass mail on would change.
 *
 * The Message-ID is made of what identifies the message, its recipient and the
 * database's token: the same whenever the mail is sent again.  Auto-Submitted keeps
 * those who are away from answering (RFC 3834).
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/http_sign.h"
#include "http/http_text.h"
#include "http/mail.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/timestamp.h"

/* Of an encoded word, before base64: with what is around it a line has at most 76. */
#define WORD_BYTES 36

/* Of a subject that is sent as it is: the line has at most 78. */
#define PLAIN_BYTES 69

/* Of a line of the text, with a '=' at its end. */
#define LINE_BYTES 76

#define CUT "\n[...]"

/* ------------------------------------------------------------------------
 * Characters
 * ------------------------------------------------------------------------
 */

/* At most so many bytes of whole characters. */
static size_t
clip(const char *utf8, size_t size, size_t max)
{
	return size <= max ? size : pg_encoding_mbcliplen(PG_UTF8, utf8, (int) size, (int) max);
}

/* ------------------------------------------------------------------------
 * Headers
 * ------------------------------------------------------------------------
 */

/* One line. */
static char *
subject_of(char *given)
{
	char	   *subject = pstrdup(js_http_utf8(given, "subject"));

	for (char *c = subject; *c != '\0'; c++)
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			*c = ' ';
	subject[clip(subject, strlen(subject), JS_MAIL_MAX_SUBJECT)] = '\0';
	return subject;
}

static bool
is_plain(const char *subject)
{
	if (strlen(subject) > PLAIN_BYTES)
		return false;
	for (const char *c = subject; *c != '\0'; c++)
		if (IS_HIGHBIT_SET(*c))
			return false;
	return strstr(subject, "=?") == NULL;
}

static void
append_subject(StringInfo mail, const char *subject)
{
	size_t		left = strlen(subject);

	appendStringInfoString(mail, "Subject: ");
	if (is_plain(subject))
		appendStringInfoString(mail, subject);
	else
		for (size_t size; left > 0; subject += size, left -= size)
		{
			size = clip(subject, left, WORD_BYTES);
			appendStringInfo(mail, "=?UTF-8?B?%s?=%s", js_base64(subject, size), size < left ? "\r\n " : "");
		}
	appendStringInfoString(mail, "\r\n");
}

static void
append_date(StringInfo mail, TimestampTz date)
{
	pg_time_t	seconds = timestamptz_to_time_t(date);
	char		text[64];

	pg_strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S +0000", pg_gmtime(&seconds));
	appendStringInfo(mail, "Date: %s\r\n", text);
}

static void
append_headers(StringInfo mail, const JsMailMessage *message)
{
	char	   *of = psprintf("mail %s %s", message->recipient, message->id);

	append_date(mail, message->date);
	appendStringInfo(mail, "From: <%s>\r\n", message->sender);
	appendStringInfo(mail, "To: <%s>\r\n", message->recipient);
	append_subject(mail, subject_of(message->subject));
	appendStringInfo(mail, "Message-ID: <%s%s>\r\n", js_token_digest(message->token, of),
					 strrchr(message->sender, '@'));
	appendStringInfoString(mail, "Auto-Submitted: auto-generated\r\n"
						   "MIME-Version: 1.0\r\n"
						   "Content-Type: text/plain; charset=utf-8\r\n"
						   "Content-Transfer-Encoding: quoted-printable\r\n");
}

/* ------------------------------------------------------------------------
 * The text
 * ------------------------------------------------------------------------
 */

/* Whether this byte, at the beginning of a line or at the end, has to be encoded. */
static bool
is_encoded(const char *at, int column, bool last)
{
	unsigned char c = *at;

	if (column == 0 && (c == '.' || strncmp(at, "From ", 5) == 0))
		return true;
	if (c == ' ' || c == '\t')
		return last;
	return c <= ' ' || c == '=' || c >= 0x7f;
}

static void
append_line(StringInfo mail, const char *line, size_t size)
{
	int			column = 0;

	for (size_t i = 0; i < size; i++)
	{
		bool		last = i + 1 == size;
		int			room = LINE_BYTES - (last ? 0 : 1);

		if (column + (is_encoded(line + i, column, last) ? 3 : 1) > room)
		{
			appendStringInfoString(mail, "=\r\n");
			column = 0;
		}
		if (is_encoded(line + i, column, last))
		{
			appendStringInfo(mail, "=%02X", (unsigned char) line[i]);
			column += 3;
		}
		else
		{
			appendStringInfoChar(mail, line[i]);
			column++;
		}
	}
	appendStringInfoString(mail, "\r\n");
}

/* Where the line ends; next is where the following one begins. */
static const char *
end_of_line(const char *line, const char **next)
{
	const char *end = line + strcspn(line, "\r\n");

	*next = end;
	if (**next == '\r')
		(*next)++;
	if (**next == '\n')
		(*next)++;
	return end;
}

static char *
text_of(char *given)
{
	char	   *text = pstrdup(js_http_utf8(given, "text"));
	size_t		size = strlen(text);

	if (size <= JS_MAIL_MAX_TEXT)
		return text;
	text[clip(text, size, JS_MAIL_MAX_TEXT)] = '\0';
	return psprintf("%s" CUT, text);
}

char *
js_mail_render(const JsMailMessage *message)
{
	const char *line = text_of(message->text);
	const char *next;
	StringInfoData mail;

	initStringInfo(&mail);
	append_headers(&mail, message);
	appendStringInfoString(&mail, "\r\n");
	for (; *line != '\0'; line = next)
	{
		const char *end = end_of_line(line, &next);

		CHECK_FOR_INTERRUPTS();
		append_line(&mail, line, end - line);
	}
	return mail.data;
}
