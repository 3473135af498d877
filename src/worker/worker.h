/*-------------------------------------------------------------------------
 *
 * worker.h
 *		What the worker's files share.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_WORKER_H
#define JS_WORKER_H

#include "run/step_look.h"
#include "shmem/shmem.h"
#include "store/store.h"

/* A run in the worker's hands. */
typedef struct JsWork
{
	JsMail		mail;
	const JsJob *job;			/* NULL: not ours to execute */
	JsRun		run;
	JsRun		next;			/* the run as it waits for another attempt, or
								 * for its children */
	bool		goes_on;		/* it does */
	bool		left_nothing;	/* in history, as was recorded last */
	JsLook		look;
	Jsonb	   *found;			/* what it has found, if the run goes on as a
								 * request */
	JsOutcome	outcome;
	JsLogLine  *lines;			/* when kept apart from the capture buffer */
	int			nlines;
} JsWork;

/* worker_run.c */
extern MemoryContext js_run_context;
extern void js_worker_enter(const JsWork *work);
extern void js_worker_leave(void);
extern void js_worker_finish_user_code(int level);
extern void js_worker_check_tables(void);
extern void js_worker_close(int64 run_id);
extern void js_worker_decide(JsWork *work);
extern JsEnding js_worker_ending(JsWork *work);
extern void js_worker_outcome_from_error(JsWork *work);
extern void js_worker_abandon(void);
extern void js_worker_run_alone(JsWork *work);

/* worker_shared.c */
extern void js_worker_run_shared(JsWork *works, int count);

#endif							/* JS_WORKER_H */
