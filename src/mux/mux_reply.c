/*-------------------------------------------------------------------------
 *
 * mux_reply.c
 *		The response of a server, in buffers with limits.
 *
 * Only the headers of the final response are kept, one line each.  Interim
 * responses (1xx) and trailers are left out, but count towards the limit,
 * because they could be endless too.  Buffers double, so one that is never
 * filled to its limit never takes that much memory.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "mux/mux_internal.h"

#define FIRST_ROOM 512

/* ------------------------------------------------------------------------
 * Buffers
 * ------------------------------------------------------------------------
 */

static bool
make_room(MuxBuffer *buffer, size_t more)
{
	size_t		room = buffer->room > 0 ? buffer->room : FIRST_ROOM;
	char	   *data;

	while (room - buffer->size <= more)
		room *= 2;
	if (room == buffer->room)
		return true;
	data = realloc(buffer->data, room);
	if (data == NULL)
		return false;
	buffer->data = data;
	buffer->room = room;
	return true;
}

static bool
append(MuxBuffer *buffer, const char *data, size_t size)
{
	if (!make_room(buffer, size))
		return false;
	memcpy(buffer->data + buffer->size, data, size);
	buffer->size += size;
	buffer->data[buffer->size] = '\0';
	return true;
}

static void
empty(MuxBuffer *buffer)
{
	buffer->size = 0;
}

/* ------------------------------------------------------------------------
 * Headers
 * ------------------------------------------------------------------------
 */

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void
trim(const char **text, size_t *size)
{
	while (*size > 0 && is_blank((*text)[*size - 1]))
		(*size)--;
	for (; *size > 0 && is_blank(**text); (*size)--)
		(*text)++;
}

/* Who splits headers into lines is not to find more than there are. */
static bool
append_header_text(MuxBuffer *headers, const char *text, size_t size)
{
	size_t		start = headers->size;

	if (!append(headers, text, size))
		return false;
	for (size_t i = start; i < headers->size; i++)
		if (headers->data[i] == '\0' || headers->data[i] == '\r' || headers->data[i] == '\n')
			headers->data[i] = ' ';
	return true;
}

static bool
append_header_value(MuxBuffer *headers, const char *value, size_t size)
{
	trim(&value, &size);
	return append_header_text(headers, value, size) && append(headers, "\r\n", 2);
}

/* What is no header is left out. */
static bool
add_reply_header(MuxBuffer *headers, const char *line, size_t size)
{
	const char *colon = memchr(line, ':', size);
	size_t		name_size;

	if (colon == NULL)
		return true;
	name_size = colon - line;
	while (name_size > 0 && is_blank(line[name_size - 1]))
		name_size--;
	if (name_size == 0)
		return true;
	return append_header_text(headers, line, name_size) &&
		append(headers, ": ", 2) &&
		append_header_value(headers, colon + 1, size - (colon + 1 - line));
}

/* A line that continues the one before. */
static bool
continue_header(MuxBuffer *headers, const char *line, size_t size)
{
	if (headers->size == 0)
		return true;
	headers->size -= 2;
	return append(headers, " ", 1) && append_header_value(headers, line, size);
}

/* HTTP/1.1 200 OK */
static void
begin_response(MuxReply *reply, const char *line, size_t size)
{
	const char *end = line + size;
	const char *code = memchr(line, ' ', size);

	js_mux_reply_restart(reply);
	while (code != NULL && code < end && is_blank(*code))
		code++;
	for (int i = 0; code != NULL && i < 3 && code < end && *code >= '0' && *code <= '9'; i++)
		reply->status = reply->status * 10 + *code++ - '0';
	reply->part = MUX_REPLY_HEADERS;
}

static void
end_headers(MuxReply *reply)
{
	if (reply->status >= 100 && reply->status < 200 && reply->status != 101)
		js_mux_reply_restart(reply);
	else
		reply->part = MUX_REPLY_BODY;
}

bool
js_mux_reply_header(MuxReply *reply, const char *line, size_t size)
{
	bool		stored = true;

	reply->header_bytes += size;
	if (reply->header_bytes > JS_MUX_MAX_HEADERS)
	{
		reply->endless_headers = true;
		return false;
	}
	while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r'))
		size--;
	if (reply->part == MUX_REPLY_STATUS)
		begin_response(reply, line, size);
	else if (reply->part == MUX_REPLY_HEADERS && size == 0)
		end_headers(reply);
	else if (reply->part == MUX_REPLY_HEADERS && is_blank(line[0]))
		stored = continue_header(&reply->headers, line, size);
	else if (reply->part == MUX_REPLY_HEADERS)
		stored = add_reply_header(&reply->headers, line, size);
	reply->no_memory |= !stored;
	return stored;
}

/* ------------------------------------------------------------------------
 * The whole
 * ------------------------------------------------------------------------
 */

bool
js_mux_reply_body(MuxReply *reply, const char *data, size_t size)
{
	size_t		left = reply->max_body - reply->body.size;

	reply->truncated = size > left;
	if (!append(&reply->body, data, size > left ? left : size))
		reply->no_memory = true;
	return !reply->truncated && !reply->no_memory;
}

/* Another response takes its place. */
void
js_mux_reply_restart(MuxReply *reply)
{
	reply->part = MUX_REPLY_STATUS;
	reply->status = 0;
	empty(&reply->headers);
	empty(&reply->body);
}

void
js_mux_reply_free(MuxReply *reply)
{
	free(reply->headers.data);
	free(reply->body.data);
	memset(reply, 0, sizeof(*reply));
}
