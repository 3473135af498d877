/*-------------------------------------------------------------------------
 *
 * steps.h
 *		Jobs that are made of steps.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STEPS_H
#define JS_STEPS_H

#include "store/store.h"

/* steps.c */
extern List *js_steps_define(const JsJob *workflow);
extern void js_steps_check_keys(const JsJob *workflow, const List *steps);

/* step_set.c */
extern void js_step_set_write(const JsJob *workflow, List *steps);
extern void js_step_sets_follow(const JsJob *before, const JsJob *workflow);

/* step_names.c */

/* What an error about a step is about, as its context says it. */
typedef struct JsStepPath
{
	const char *step;			/* its name; NULL: not known */
	int			index;			/* in the definition; -1: it is not there */
	const char *key;			/* NULL: none, or several */
	bool		undoes;			/* of its undo */
} JsStepPath;

extern char *js_step_job_name(const JsJob *workflow, const char *step);
extern void js_step_path_tell(void *arg);

#endif							/* JS_STEPS_H */
