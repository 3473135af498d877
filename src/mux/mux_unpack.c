/*-------------------------------------------------------------------------
 *
 * mux_unpack.c
 *		Decompresses a body that a server has compressed.
 *
 * We do not ask for compression, but servers and caches send gzip unasked, and
 * a request may ask for it with its own header.  libcurl would decompress as
 * many layers, of as many kinds, as the server likes.  That has no limit in
 * time or memory: a few bytes in five layers can make any amount of work, and
 * one kind needs 128 MB for its window.  So we decompress one layer of gzip or
 * deflate, which needs 40 kB, of a body that has come as a whole.  Input and
 * output both end at the limit of the body.  Everything else stays as it came.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mux/mux_internal.h"

#ifdef HAVE_ZLIB

#include <zlib.h>

#define CONTENT_ENCODING "Content-Encoding: "
#define FIRST_ROOM 4096

typedef enum Packing
{
	PACKING_NONE,
	PACKING_GZIP,
	PACKING_DEFLATE,
	PACKING_OTHER				/* or more than one */
} Packing;

static bool
is_name(const char *text, size_t size, const char *name)
{
	return size == strlen(name) && strncasecmp(text, name, size) == 0;
}

static Packing
packing_by_name(const char *text, size_t size)
{
	if (size == 0 || is_name(text, size, "identity"))
		return PACKING_NONE;
	if (is_name(text, size, "gzip") || is_name(text, size, "x-gzip"))
		return PACKING_GZIP;
	if (is_name(text, size, "deflate"))
		return PACKING_DEFLATE;
	return PACKING_OTHER;
}

/* With those of a list, 'gzip, identity'. */
static Packing
add_packings(Packing so_far, const char *list, const char *end)
{
	while (list < end)
	{
		const char *comma = memchr(list, ',', end - list);
		const char *stop = comma ? comma : end;
		Packing		packing;

		while (list < stop && (*list == ' ' || *list == '\t'))
			list++;
		while (stop > list && (stop[-1] == ' ' || stop[-1] == '\t'))
			stop--;
		packing = packing_by_name(list, stop - list);
		if (packing != PACKING_NONE)
			so_far = so_far == PACKING_NONE ? packing : PACKING_OTHER;
		list = comma ? comma + 1 : end;
	}
	return so_far;
}

static Packing
packing_of(const MuxBuffer *headers)
{
	const size_t before = strlen(CONTENT_ENCODING);
	const char *line = headers->data;
	const char *end = line + headers->size;
	Packing		packing = PACKING_NONE;

	while (line < end)
	{
		const char *stop = memchr(line, '\r', end - line);

		if (stop == NULL)
			break;
		if ((size_t) (stop - line) >= before && strncasecmp(line, CONTENT_ENCODING, before) == 0)
			packing = add_packings(packing, line + before, stop);
		line = stop + 2;
	}
	return packing;
}

/* For inflateInit2(); some servers leave out the wrapping of 'deflate'. */
static int
window_bits(Packing packing, const unsigned char *data, size_t size)
{
	if (packing == PACKING_GZIP)
		return MAX_WBITS + 16;
	if (size >= 2 && (data[0] & 0x0f) == Z_DEFLATED && (data[0] << 8 | data[1]) % 31 == 0)
		return MAX_WBITS;
	return -MAX_WBITS;
}

/* Room for more, but not for more than max; false: out of memory. */
static bool
grow(MuxBuffer *out, size_t max)
{
	size_t		room = out->room > 0 ? out->room * 2 : FIRST_ROOM;
	char	   *data;

	if (room > max)
		room = max;
	data = realloc(out->data, room + 1);
	if (data == NULL)
		return false;
	out->data = data;
	out->room = room;
	return true;
}

/* gzip may be of several members; what else follows is no part of it. */
static bool
another_member(z_stream *stream, Packing packing)
{
	return packing == PACKING_GZIP && stream->avail_in >= 2 &&
		stream->next_in[0] == 0x1f && stream->next_in[1] == 0x8b && inflateReset(stream) == Z_OK;
}

/*
 * Z_STREAM_END: that is all; Z_BUF_ERROR: there would be more, of in or out;
 * else it cannot be unpacked.
 */
static int
unpack_all(z_stream *stream, Packing packing, MuxBuffer *out, size_t max)
{
	for (;;)
	{
		int			code;

		if (out->size == out->room && out->room < max && !grow(out, max))
			return Z_MEM_ERROR;
		stream->next_out = (unsigned char *) out->data + out->size;
		stream->avail_out = out->room - out->size;
		code = inflate(stream, Z_NO_FLUSH);
		out->size = out->room - stream->avail_out;
		if (code == Z_STREAM_END && another_member(stream, packing))
			continue;
		if (code != Z_OK)
			return code;
		if (out->size == max)
			return Z_BUF_ERROR;
	}
}

/* Instead of the body what it was packed from, if that is one of ours. */
void
js_mux_reply_unpack(MuxReply *reply)
{
	Packing		packing = reply->body.size > 0 ? packing_of(&reply->headers) : PACKING_NONE;
	MuxBuffer	out = {0};
	z_stream	stream = {0};
	int			code;

	if (packing == PACKING_NONE || packing == PACKING_OTHER)
		return;
	stream.next_in = (unsigned char *) reply->body.data;
	stream.avail_in = reply->body.size;
	if (inflateInit2(&stream, window_bits(packing, stream.next_in, reply->body.size)) != Z_OK)
		return;
	/* one byte more tells whether there is more */
	code = unpack_all(&stream, packing, &out, reply->max_body + 1);
	inflateEnd(&stream);
	if (code != Z_STREAM_END && (code != Z_BUF_ERROR || out.size == 0))
	{
		free(out.data);
		return;
	}
	if (code == Z_BUF_ERROR || out.size > reply->max_body)
		reply->truncated = true;
	if (out.size > reply->max_body)
		out.size = reply->max_body;
	out.data[out.size] = '\0';
	free(reply->body.data);
	reply->body = out;
}

#else

void
js_mux_reply_unpack(MuxReply *reply)
{
	(void) reply;
}

#endif
