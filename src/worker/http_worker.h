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

#include "http/channel.h"
#include "http/http_request.h"
#include "lib/ilist.h"
#include "mux/mux_api.h"
#include "shmem/shmem.h"
#include "store/store.h"

/* Runs begun, or recorded, in one transaction. */
#define JS_HTTP_BATCH 128

typedef struct JsHttpOwner JsHttpOwner;

/* Where a transfer is. */
typedef enum JsHttpStage
{
	JS_HTTP_WAITING,			/* to be begun */
	JS_HTTP_ENDED,				/* to be recorded */
	JS_HTTP_SENDING				/* with libcurl, in no queue */
} JsHttpStage;

/* Those that have a queue. */
#define JS_HTTP_STAGES JS_HTTP_SENDING

/* A run in the HTTP worker's hands; its number is that of its flight. */
typedef struct JsTransfer
{
	int			index;			/* of the flight */
	JsMail		mail;
	TimestampTz started_at;		/* by our clock */
	TimestampTz ended_at;		/* likewise */
	TimestampTz real_start;
	JsHttpStage stage;
	JsHttpOwner *owner;
	dlist_node	node;			/* in a queue of its owner */
	Size		bytes;			/* that it counts for, while it is under way */
	bool		prepared;		/* it has been tried */
	MemoryContext context;		/* what follows is in there; NULL: not in use */
	JsHttpRequest request;
	Jsonb	   *definition;		/* NULL: a status of 2xx is a success */
	JsChannelKind channel;		/* of which it is a message; NONE: it is none */
	char	   *notice_to;		/* NOTIFY's channel, instead of a request; */
	char	   *notice;			/* and what it gets */
	int			redirects;		/* followed so far */
	const char *problem;		/* why one was not; NULL: nothing */

	/* what has come of it, when it is to be recorded */
	bool		closed;			/* it cannot be cancelled any more */
	bool		again;			/* it could not be recorded, once */
	bool		overdue;		/* its time was over before it was begun */
	JsCancel	cancel;			/* why it was cut off */
	ErrorData  *error;			/* why nothing was sent */
	bool		gone;			/* it is not ours to execute any more */
	JsMuxResponse *response;	/* NULL: there is none */
} JsTransfer;

/* When its time is over, by the real clock. */
static inline TimestampTz
js_http_due(const JsTransfer *transfer)
{
	return transfer->real_start + transfer->mail.timeout;
}

/* http_turn.c */
extern void js_turn_enter(JsTransfer *transfer);
extern void js_turn_leave(JsTransfer *transfer);
extern void js_turn_queue(JsTransfer *transfer, JsHttpStage stage);
extern void js_turn_return(JsTransfer *transfer, JsHttpStage stage);
extern void js_turn_unqueue(JsTransfer *transfer);
extern bool js_turn_any(JsHttpStage stage);
extern JsTransfer *js_turn_next(JsHttpStage stage);
extern JsTransfer *js_turn_overdue(TimestampTz now, TimestampTz *next);
extern void js_turn_charge(JsTransfer *transfer, int64 us);
extern void js_turn_weigh(JsTransfer *transfer, Size bytes);

/* A run that is being recorded. */
typedef struct JsRecording
{
	JsTransfer *transfer;
	MemoryContext context;		/* what is made for it alone */
	Size		bytes;			/* that are in there */
	JsOutcome	outcome;
	JsResponse	response;
	bool		has_response;
	bool		ours;			/* it is still to be recorded, and the rest is
								 * there */
	const JsJob *job;
	JsRun		run;
	JsRun		next;
	bool		goes_on;		/* with another attempt: next */
	JsDone		done;			/* what the scheduler is to be told */
} JsRecording;

/* http_record.c */
extern void js_http_digest(JsRecording *recording);
extern void js_http_recall(JsRecording *recordings, int n);
extern void js_http_record(JsRecording *recordings, int count);

#endif							/* JS_HTTP_WORKER_H */
