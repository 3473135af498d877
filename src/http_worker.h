/*-------------------------------------------------------------------------
 *
 * http_worker.h
 *		What the HTTP worker's files share.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_WORKER_H
#define JS_HTTP_WORKER_H

#include "http_mux.h"
#include "http_request.h"
#include "shmem.h"
#include "store.h"

/* Runs begun, or recorded, in one transaction. */
#define JS_HTTP_BATCH 128

/* A run in the HTTP worker's hands; its number is that of its flight. */
typedef struct JsTransfer
{
	int			index;			/* of the flight */
	JsMail		mail;
	TimestampTz started_at;		/* by our clock */
	TimestampTz ended_at;		/* likewise */
	TimestampTz real_start;
	Size		bytes;			/* of the request, while it is being sent; 0:
								 * it is not */
	MemoryContext context;		/* what follows is in there; NULL: not in use */
	JsHttpRequest request;
	Jsonb	   *definition;		/* NULL: a status of 2xx is a success */
	int			redirects;		/* followed so far */
	const char *problem;		/* why one was not; NULL: nothing */

	/* what has come of it, when it is to be recorded */
	bool		ended;
	JsCancel	cancel;			/* why it was cut off */
	ErrorData  *error;			/* why nothing was sent */
	bool		gone;			/* it is not ours to execute any more */
	JsMuxResponse *response;	/* NULL: there is none */
} JsTransfer;

/* http_record.c */
extern void js_http_record(JsTransfer **transfers, int count, JsDone *done);

#endif							/* JS_HTTP_WORKER_H */
