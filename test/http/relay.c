/*-------------------------------------------------------------------------
 *
 * relay.c
 *		A mail relay for tests that behaves as the sender's name says.
 *
 *	good@		takes a message, and says how many bytes it had
 *	bytes@		likewise, each byte of its answers by itself
 *	close0@		closes the connection instead of an answer to MAIL; with 1, 2 and 3 to
 *				RCPT, DATA and the message
 *	refuse0@	answers 550 there, refuse1@ and so on as above
 *	wait0@		answers 450 there
 *	silent0@	says nothing there
 *	endless@	an answer of lines without end
 *	long@		a line of 50 kB, and an answer after it
 *	ahead@		all answers at once
 *	apart@		likewise, each as long as what is read at a time
 *	nul@		bytes in an answer that are no text
 *	full@		answers 552 after the first bytes of a message, and closes
 *	odd@		an answer to DATA that is no 354
 *
 * Before it knows a sender it behaves as the address says at which it was found,
 * 127.0.0.1 and what follows: see relay.h.
 *
 * A line that does not end in CR LF is refused with 500, and so is one of a message.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay.h"

static pid_t servers[RELAYS];

static FILE *in;
static int	out;
static char behaviour[64] = "";
static int	found_at = RELAY_GOOD;

static bool
behaves(const char *name)
{
	return strncmp(behaviour, name, strlen(name)) == 0 && behaviour[strlen(name)] == '@';
}

static bool
behaves_at(const char *name, int step)
{
	char		numbered[64];

	snprintf(numbered, sizeof(numbered), "%s%d", name, step);
	return behaves(numbered);
}

static void
say(const char *text, size_t size)
{
	size_t		portion = behaves("bytes") ? 1 : size;

	for (size_t done = 0; done < size; done += portion)
		if (write(out, text + done, portion) != (ssize_t) portion)
			_exit(0);
}

static void
say_text(const char *text)
{
	say(text, strlen(text));
}

static void
say_endlessly(void)
{
	for (;;)
		say_text("250-and so on\r\n");
}

static void
say_long(void)
{
	say_text("250-");
	for (int i = 0; i < 500; i++)
		say_text("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	say_text("\r\n250 fine\r\n");
}

/* The four answers, of 1024 bytes each. */
static void
say_ahead_in_portions(void)
{
	static const int statuses[] = {250, 250, 354, 250};
	char		text[4 * 1024 + 1];

	for (int i = 0; i < 4; i++)
		snprintf(text + 1024 * i, 1025, "%d %01018d\r\n", statuses[i], i);
	say(text, 4 * 1024);
}

static void
answer(int step, const char *text)
{
	if (behaves_at("close", step))
		_exit(0);
	else if (behaves_at("silent", step))
		sleep(60);
	else if (behaves_at("refuse", step))
		say_text("550-no\r\n550 no\r\n");
	else if (behaves_at("wait", step))
		say_text("450 wait\r\n");
	else if (step == 0 && behaves("endless"))
		say_endlessly();
	else if (step == 0 && behaves("long"))
		say_long();
	else if (step == 0 && behaves("ahead"))
		say_text("250 a\r\n250 b\r\n354 c\r\n250 d\r\n");
	else if (step == 0 && behaves("apart"))
		say_ahead_in_portions();
	else if (step == 0 && behaves("nul"))
		say("250 a\0b\x01\x7f\xff\r\n", sizeof("250 a\0b\x01\x7f\xff\r\n") - 1);
	else if (step == 2 && behaves("odd"))
		say_text("250 odd\r\n");
	else
		say_text(text);
}

static bool
read_line(char *line, size_t size)
{
	size_t		length;

	if (fgets(line, size, in) == NULL)
		_exit(0);
	length = strlen(line);
	return length >= 2 && strcmp(line + length - 2, "\r\n") == 0;
}

static void
take_message(void)
{
	char		line[2048];
	char		text[64];
	size_t		size = 0;
	bool		good = true;

	for (;;)
	{
		good &= read_line(line, sizeof(line));
		if (strcmp(line, ".\r\n") == 0)
			break;
		size += strlen(line) - (line[0] == '.');
		if (behaves("full"))
		{
			say_text("552 full\r\n");
			_exit(0);
		}
	}
	snprintf(text, sizeof(text), good ? "250-taken\r\n250 %zu\r\n" : "500 bare\r\n", size);
	answer(3, text);
}

static void
say_often(const char *text, int times)
{
	for (int i = 0; i < times; i++)
		say_text(text);
}

static void
reset(void)
{
	struct linger at_once = {.l_onoff = 1};

	setsockopt(out, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	_exit(0);
}

static void
greet(void)
{
	if (found_at == RELAY_CLOSES)
		_exit(0);
	if (found_at == RELAY_RESETS)
		reset();
	if (found_at == RELAY_IS_SILENT)
		sleep(60);
	if (found_at == RELAY_HAS_NO_END)
		say_often("no line end", 1000000);
	if (found_at == RELAY_GREETS_WITHOUT_END)
		say_often("220-relay\r\n", 1000000);
	if (found_at == RELAY_IS_OF_BYTES)
		say("220-\0\xff\r\n", sizeof("220-\0\xff\r\n") - 1);
	if (found_at == RELAY_GREETS_AHEAD)
		say_text("220 relay\r\n250 b\r\n250 c\r\n250 d\r\n354 e\r\n250 f\r\n");
	else
		say_text(found_at == RELAY_IS_BUSY ? "421 busy\r\n" : "220 relay\r\n");
}

static void
answer_hello(void)
{
	if (found_at == RELAY_CLOSES_LATER)
		_exit(0);
	if (found_at == RELAY_IS_SILENT_LATER)
		sleep(60);
	if (found_at == RELAY_HAS_NO_END_LATER)
	{
		say_text("250-");
		say_often("no line end", 1000000);
	}
	if (found_at == RELAY_OFFERS_WITHOUT_END)
		say_often("250-X\r\n", 1000000);
	if (found_at == RELAY_ANSWERS_AHEAD)
		say_text("250 relay\r\n250 b\r\n250 c\r\n354 d\r\n250 e\r\n");
	else
		say_text("250-relay\r\n250 8BITMIME\r\n");
}

static void
converse(void)
{
	char		line[2048];

	greet();
	for (;;)
	{
		if (!read_line(line, sizeof(line)))
			say_text("500 bare\r\n");
		else if (strncmp(line, "EHLO", 4) == 0)
			answer_hello();
		else if (sscanf(line, "MAIL FROM:<%63[^>]>", behaviour) == 1)
			answer(0, "250 fine\r\n");
		else if (strncmp(line, "RCPT TO:<", 9) == 0)
			answer(1, "250 fine\r\n");
		else if (strcmp(line, "DATA\r\n") == 0)
		{
			answer(2, "354 come\r\n");
			if (!behaves("refuse2") && !behaves("wait2") && !behaves("odd"))
				take_message();
		}
		else if (strcmp(line, "QUIT\r\n") == 0)
			sleep(60);			/* nobody waits for an answer */
		else
			say_text("502 what?\r\n");
	}
}

static void
accept_for_ever(int listener)
{
	int			on = 1;

	signal(SIGCHLD, SIG_IGN);
	for (;;)
	{
		int			fd = accept(listener, NULL, NULL);

		if (fork() == 0)
		{
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			in = fdopen(fd, "r");
			out = fd;
			converse();
		}
		close(fd);
	}
}

/* port 0: any; returns which one it is. */
static int
listen_at(int at, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,.sin_port = htons(port)};
	socklen_t	size = sizeof(address);
	int			listener = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + at);
	if (bind(listener, (struct sockaddr *) &address, size) < 0 ||
		listen(listener, 64) < 0 ||
		getsockname(listener, (struct sockaddr *) &address, &size) < 0)
	{
		perror("relay");
		exit(1);
	}
	servers[at] = fork();
	if (servers[at] == 0)
	{
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		found_at = at;
		accept_for_ever(listener);
	}
	close(listener);
	return ntohs(address.sin_port);
}

int
relay_start(void)
{
	int			port = 0;

	for (int at = 0; at < RELAYS; at++)
		port = listen_at(at, port);
	return port;
}

void
relay_stop(void)
{
	for (int at = 0; at < RELAYS; at++)
		kill(servers[at], SIGKILL);
}
