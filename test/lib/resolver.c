/*
 * getaddrinfo() that says what a test has written down; see set_host() in
 * test/t/HttpServers.pm.
 *
 * To be loaded before the C library, by LD_PRELOAD.  The file that
 * JOBSCHED_TEST_HOSTS names has a line for each name: the name, and what each
 * call for it is answered with.  Names that it does not have are the real
 * function's.  FILE.asked has a line for each call, so that calls are counted
 * over all processes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <unistd.h>

typedef int (*Resolve) (const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* The answers of a name's line, in buffer; NULL: it has none. */
static char *
find_answers(const char *hosts, const char *name, char *buffer, size_t size)
{
	FILE	   *file = fopen(hosts, "r");
	size_t		length = strlen(name);
	char	   *found = NULL;

	if (file == NULL)
		return NULL;
	while (found == NULL && fgets(buffer, (int) size, file) != NULL)
	{
		buffer[strcspn(buffer, "\n")] = '\0';
		if (strncasecmp(buffer, name, length) == 0 && buffer[length] == ' ')
			found = buffer + length + 1;
	}
	fclose(file);
	return found;
}

/* Notes a call; returns how many there were before, of the same name. */
static int
count_call(const char *hosts, const char *name)
{
	char		path[4096];
	char		line[1100];
	FILE	   *file;
	int			before = 0;

	snprintf(path, sizeof(path), "%s.asked", hosts);
	if ((file = fopen(path, "a+")) == NULL)
		return 0;
	flock(fileno(file), LOCK_EX);
	rewind(file);
	while (fgets(line, sizeof(line), file) != NULL)
	{
		line[strcspn(line, "\n")] = '\0';
		before += strcasecmp(line, name) == 0;
	}
	fprintf(file, "%s\n", name);
	fclose(file);
	return before;
}

/* The nth word, or the last one. */
static char *
nth_word(char *words, int n)
{
	char	   *save;
	char	   *word = strtok_r(words, " ", &save);
	char	   *next;

	while (n-- > 0 && (next = strtok_r(NULL, " ", &save)) != NULL)
		word = next;
	return word;
}

/* All of the addresses that are of the family that is asked for. */
static int
make_list(Resolve real, char *addresses, const char *service,
		  const struct addrinfo *hints, struct addrinfo **result)
{
	struct addrinfo numeric = {0};
	struct addrinfo **tail = result;
	char	   *save;

	if (hints != NULL)
		numeric = *hints;
	numeric.ai_flags = (numeric.ai_flags & AI_NUMERICSERV) | AI_NUMERICHOST;

	*result = NULL;
	for (char *address = strtok_r(addresses, ",", &save); address != NULL;
		 address = strtok_r(NULL, ",", &save))
	{
		if (real(address, service, &numeric, tail) != 0)
		{
			*tail = NULL;
			continue;
		}
		while (*tail != NULL)
			tail = &(*tail)->ai_next;
	}
	return *result != NULL ? 0 : EAI_NONAME;
}

int
getaddrinfo(const char *name, const char *service,
			const struct addrinfo *hints, struct addrinfo **result)
{
	Resolve		real = (Resolve) dlsym(RTLD_NEXT, "getaddrinfo");
	const char *hosts = getenv("JOBSCHED_TEST_HOSTS");
	char		buffer[4096];
	char	   *answers;
	char	   *answer;
	int			before;

	if (name == NULL || hosts == NULL || strlen(name) > 1024 ||
		find_answers(hosts, name, buffer, sizeof(buffer)) == NULL)
		return real(name, service, hints, result);

	before = count_call(hosts, name);
	for (;;)
	{
		answers = find_answers(hosts, name, buffer, sizeof(buffer));
		answer = answers != NULL ? nth_word(answers, before) : NULL;
		if (answer == NULL || strcmp(answer, "fail") == 0)
			return EAI_NONAME;
		if (strcmp(answer, "hang") != 0)
			return make_list(real, answer, service, hints, result);
		usleep(20000);
	}
}
