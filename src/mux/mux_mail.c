/*-------------------------------------------------------------------------
 *
 * mux_mail.c
 *		E-mails: who may have a connection now, and what is said on it.
 *
 * DESIGN
 *
 * libcurl can send e-mail, but it waits for the answer to the message itself
 * in a loop of its own (smtp_done), and with it would all transfers; and to one
 * that has ended well it says QUIT, and waits for that answer in the same way.
 * So libcurl does what is hard: names, TCP, greeting, STARTTLS, login
 * (CURLOPT_CONNECT_ONLY), and what is left is said here, on its connection, by
 * curl_easy_send() and curl_easy_recv(), which never wait:
 *
 *	MAIL FROM, RCPT TO, DATA	one after the other, each when the one before
 *								has its answer
 *	the message					with the dots of its lines doubled, and the end
 *	QUIT						whose answer nobody waits for
 *
 * The call stays with libcurl until then, whose connection it is; its socket is
 * watched by us.  What a server says before it is asked is not taken for the
 * answer to what comes next: then the mail ends.
 *
 * A mail has been sent if the message has a 2xx as answer.  If the connection
 * breaks before that, or the process dies, nobody knows, and it is sent again.
 *
 * Each mail has a connection of its own, and few are open at a time, because
 * relays limit them; parties share these by the rule in mux_share.h, so that
 * one with many mails does not keep others from theirs.  The rest waits here.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mux/mux_internal.h"
#include "mux/mux_share.h"

/* Mails at a time; of one party four (mux_share.h). */
#define MAX_MAILS 6

/* The longest line of an answer (RFC 5321 4.5.3.1.5), and some more. */
#define MAX_LINE 1024

typedef enum Step
{
	STEP_SENDER,
	STEP_RECIPIENT,
	STEP_DATA,
	STEP_MESSAGE,
	STEPS
} Step;

/* The first digit of the answer with which it goes on. */
static const int good_answers[STEPS] = {2, 2, 3, 2};

struct MuxMail
{
	MuxLink		link;			/* in active, if it is active */
	bool		active;
	MuxTransfer *transfer;
	uint32_t	party;

	char	   *texts[STEPS];	/* what is said */
	Step		step;
	const char *left;			/* what is still to be sent of it */
	size_t		left_size;
	int			fd;				/* -1: it is not ours to speak yet */

	char		line[MAX_LINE]; /* what has come of one */
	size_t		line_size;
	bool		continues;		/* the answer has another line */
	bool		over;			/* it has its answer */
	bool		malformed;		/* that is no answer */
};

static MUX_LIST(waiting);		/* transfers */
static MUX_LIST(active);		/* mails */
static int	active_count = 0;
static bool may_be_open = false;	/* who waits is to be looked at */

/* ------------------------------------------------------------------------
 * Mails
 * ------------------------------------------------------------------------
 */

static char *
command(const char *format, const char *value)
{
	size_t		size = strlen(format) + strlen(value);
	char	   *text = malloc(size);

	if (text != NULL)
		snprintf(text, size, format, value);
	return text;
}

/* RFC 5321 4.5.2 */
static char *
message_text(const char *message, size_t size)
{
	char	   *text = malloc(2 * size + sizeof("\r\n.\r\n"));
	char	   *to = text;

	if (text == NULL)
		return NULL;
	for (size_t i = 0; i < size; i++)
	{
		if (message[i] == '.' && (i == 0 || message[i - 1] == '\n'))
			*to++ = '.';
		*to++ = message[i];
	}
	strcpy(to, size == 0 || message[size - 1] == '\n' ? ".\r\n" : "\r\n.\r\n");
	return text;
}

MuxMail *
js_mux_mail_create(const JsMuxRequest *request)
{
	MuxMail    *mail = calloc(1, sizeof(MuxMail));

	if (mail == NULL)
		return NULL;
	mail->fd = -1;
	mail->texts[STEP_SENDER] = command("MAIL FROM:<%s>\r\n", request->mail->sender);
	mail->texts[STEP_RECIPIENT] = command("RCPT TO:<%s>\r\n", request->mail->recipient);
	mail->texts[STEP_DATA] = strdup("DATA\r\n");
	mail->texts[STEP_MESSAGE] = message_text(request->body, request->body_size);
	for (int i = 0; i < STEPS; i++)
		if (mail->texts[i] == NULL)
		{
			js_mux_mail_free(mail);
			return NULL;
		}
	return mail;
}

void
js_mux_mail_free(MuxMail *mail)
{
	if (mail == NULL)
		return;
	for (int i = 0; i < STEPS; i++)
		free(mail->texts[i]);
	free(mail);
}

/* ------------------------------------------------------------------------
 * Who may have a connection
 * ------------------------------------------------------------------------
 */

void
js_mux_mail_join(MuxTransfer *transfer)
{
	MuxMail    *mail = transfer->call->mail;

	mail->transfer = transfer;
	mail->party = transfer->call->party;
	mux_list_append(&waiting, &transfer->link);
	may_be_open = true;
}

static int
active_of(uint32_t party)
{
	int			count = 0;

	for (MuxLink *at = active.next; at != &active; at = at->next)
		count += ((MuxMail *) at)->party == party;
	return count;
}

static bool
may_enter(uint32_t party)
{
	return js_share_may_have_more(js_share_within(MAX_MAILS, MAX_MAILS), active_of(party), active_count);
}

/* Whether there may be one that can be let through. */
bool
js_mux_mails_are_open(void)
{
	return may_be_open && !mux_list_is_empty(&waiting);
}

/* The next one that may be let through; NULL: there is none. */
MuxTransfer *
js_mux_mails_next(void)
{
	if (!js_mux_mails_are_open())
		return NULL;
	for (MuxLink *at = waiting.next; at != &waiting; at = at->next)
		if (may_enter(((MuxTransfer *) at)->call->party))
			return (MuxTransfer *) at;
	may_be_open = false;
	return NULL;
}

/* Unless it has entered before, and was turned back to wait for a lookup. */
void
js_mux_mail_enter(MuxTransfer *transfer)
{
	MuxMail    *mail = transfer->call->mail;

	if (mail->active)
		return;
	mux_list_remove(&transfer->link);
	mux_list_append(&active, &mail->link);
	mail->active = true;
	active_count++;
}

/* Whether it waits, or has entered. */
void
js_mux_mail_leave(MuxTransfer *transfer)
{
	MuxMail    *mail = transfer->call->mail;

	if (mail->fd >= 0)
		js_mux_poll_forget(mail->fd);
	mail->fd = -1;
	if (!mail->active)
		return;
	mux_list_remove(&mail->link);
	mail->active = false;
	active_count--;
	may_be_open = true;
}

/* NULL: it is no mail's, or not ours yet. */
MuxTransfer *
js_mux_mail_of_socket(int fd)
{
	for (MuxLink *at = active.next; at != &active; at = at->next)
		if (((MuxMail *) at)->fd == fd)
			return ((MuxMail *) at)->transfer;
	return NULL;
}

/* ------------------------------------------------------------------------
 * Answers
 * ------------------------------------------------------------------------
 */

/* The three digits of its beginning; 0: it has none. */
static int
status_of(const char *line, size_t size)
{
	int			status = 0;

	for (size_t i = 0; i < 3; i++)
	{
		if (i >= size || line[i] < '0' || line[i] > '9')
			return 0;
		status = status * 10 + line[i] - '0';
	}
	return status >= 200 && status < 600 && (size == 3 || line[3] == ' ' || line[3] == '-') ? status : 0;
}

/*
 * Of several lines each is one of the text.  One that is too long, or more than
 * max_body, is left out whole: who looks for a password in what is kept would not
 * find half of one.
 */
static void
add_text(MuxReply *reply, char *text, size_t size, bool whole)
{
	reply->truncated |= !whole || reply->body.size + 1 + size > reply->max_body;
	if (reply->truncated)
		return;
	for (size_t i = 0; i < size; i++)
		if ((unsigned char) text[i] < ' ' || text[i] == 0x7f)
			text[i] = ' ';
	if (reply->body.size > 0)
		(void) js_mux_reply_body(reply, "\n", 1);
	(void) js_mux_reply_body(reply, text, size);
}

/* True: it is the last one of an answer. */
static bool
take_line(MuxCall *call, char *line, size_t size)
{
	MuxMail    *mail = call->mail;
	int			status = status_of(line, size);

	if (status == 0)
	{
		mail->malformed = true;
		return false;
	}
	if (!mail->continues)
	{
		js_mux_reply_restart(&call->reply);
		call->reply.truncated = false;
		call->reply.status = status;
	}
	if (size > 4)
		add_text(&call->reply, line + 4, size - 4, size < MAX_LINE);
	mail->continues = size > 3 && line[3] == '-';
	return !mail->continues;
}

/* A byte more; true: with it an answer has come. */
static bool
take_byte(MuxCall *call, char c)
{
	MuxMail    *mail = call->mail;
	size_t		size = mail->line_size;

	if (c != '\n')
	{
		if (size < MAX_LINE)
			mail->line[mail->line_size++] = c;
		return false;
	}
	mail->line_size = 0;
	if (size > 0 && size < MAX_LINE && mail->line[size - 1] == '\r')
		size--;
	return take_line(call, mail->line, size);
}

static bool
is_too_much(MuxReply *reply, size_t more)
{
	reply->header_bytes += more;
	if (reply->header_bytes > JS_MUX_MAX_HEADERS)
		reply->endless_headers = true;
	return reply->endless_headers;
}

/* What libcurl was answered before it is our turn.  False: that is enough. */
bool
js_mux_mail_heard(MuxCall *call, const char *data, size_t size)
{
	if (is_too_much(&call->reply, size))
		return false;
	for (size_t i = 0; i < size; i++)
		(void) take_byte(call, data[i]);
	return !call->reply.no_memory;
}

/* Whether the server's last answer says why it has ended so. */
bool
js_mux_mail_has_answer(const MuxCall *call, CURLcode code)
{
	return call->mail->over ||
		(call->reply.status >= 400 && code != CURLE_OPERATION_TIMEDOUT && code != CURLE_OUT_OF_MEMORY);
}

/* ------------------------------------------------------------------------
 * The dialogue
 * ------------------------------------------------------------------------
 */

static void
say(MuxMail *mail, Step step)
{
	mail->step = step;
	mail->left = mail->texts[step];
	mail->left_size = strlen(mail->left);
}

/* One that comes before all has been said can only be a refusal. */
static void
take_answer(MuxCall *call)
{
	MuxMail    *mail = call->mail;
	int			status = call->reply.status;

	if (call->first_byte_at == 0)
		call->first_byte_at = js_mux_now();
	if (status >= 400)
		mail->over = true;
	else if (mail->left_size > 0 || status / 100 != good_answers[mail->step])
		mail->malformed = true;
	else if (mail->step == STEP_MESSAGE)
		mail->over = true;
	else
		say(mail, mail->step + 1);
}

/* As much as can be sent now. */
static CURLcode
send_some(MuxCall *call)
{
	MuxMail    *mail = call->mail;
	CURLcode	code = CURLE_OK;
	size_t		sent = 1;

	while (mail->left_size > 0 && code == CURLE_OK && sent > 0)
	{
		sent = 0;
		code = curl_easy_send(call->easy, mail->left, mail->left_size, &sent);
		mail->left += sent;
		mail->left_size -= sent;
	}
	return code == CURLE_AGAIN ? CURLE_OK : code;
}

/* CURLE_AGAIN: nothing has come. */
static CURLcode
receive_some(MuxCall *call)
{
	MuxMail    *mail = call->mail;
	char		data[MAX_LINE];
	size_t		size = 0;
	CURLcode	code = curl_easy_recv(call->easy, data, sizeof(data), &size);

	if (code != CURLE_OK)
		return code;
	if (size == 0)
		return CURLE_GOT_NOTHING;
	if (is_too_much(&call->reply, size))
		return CURLE_FILESIZE_EXCEEDED;
	for (size_t i = 0; i < size && !mail->over && !mail->malformed; i++)
		if (take_byte(call, data[i]))
			take_answer(call);
	if (call->reply.no_memory)
		return CURLE_OUT_OF_MEMORY;
	return mail->malformed ? CURLE_WEIRD_SERVER_REPLY : CURLE_OK;
}

/* In the midst of a message there is no way to say it. */
static void
say_goodbye(MuxCall *call)
{
	size_t		sent;

	if (call->mail->left_size == 0)
		(void) curl_easy_send(call->easy, "QUIT\r\n", strlen("QUIT\r\n"), &sent);
}

/* CURLE_OK: the mail is over. */
static CURLcode
receive_all(MuxCall *call)
{
	CURLcode	code;

	do
		code = receive_some(call);
	while (code == CURLE_OK && !call->mail->over);
	return code;
}

/*
 * All that has come is read before anything is said, so what came before it was
 * asked for is seen to be no answer; and again after that, for TLS may hold back what
 * has come, and a server that takes no more has said why.  It ends, for there is a
 * limit to what comes.
 */
static CURLcode
converse(MuxCall *call)
{
	MuxMail    *mail = call->mail;
	CURLcode	sent = CURLE_OK;

	for (;;)
	{
		CURLcode	code = receive_all(call);
		size_t		left = mail->left_size;

		if (code != CURLE_AGAIN)
			return code;
		if (sent != CURLE_OK)
			return sent;
		sent = send_some(call);
		if (sent == CURLE_OK && mail->left_size == left)
			return CURLE_AGAIN;
	}
}

bool
js_mux_mail_advance(MuxCall *call, CURLcode *code)
{
	MuxMail    *mail = call->mail;

	*code = converse(call);
	if (*code == CURLE_AGAIN)
	{
		js_mux_poll_watch(mail->fd, true, mail->left_size > 0, true);
		return true;
	}
	if (mail->over)
		say_goodbye(call);
	return false;
}

/* It is connected, and has logged in. */
bool
js_mux_mail_begin(MuxCall *call, CURLcode *code)
{
	curl_socket_t fd = CURL_SOCKET_BAD;

	curl_easy_getinfo(call->easy, CURLINFO_ACTIVESOCKET, &fd);
	if (fd == CURL_SOCKET_BAD)
	{
		*code = CURLE_RECV_ERROR;
		return false;
	}
	call->mail->fd = fd;
	call->mail->line_size = 0;
	call->mail->continues = call->mail->malformed = false;
	js_mux_poll_watch(fd, true, false, false);
	say(call->mail, STEP_SENDER);
	return js_mux_mail_advance(call, code);
}
