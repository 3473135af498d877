/*-------------------------------------------------------------------------
 *
 * store_total.h
 *		Rows of stat_total: what runs have added up to since they were counted first.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STORE_TOTAL_H
#define JS_STORE_TOTAL_H

#include "store/stat.h"

/* Instead of a job's id: all jobs that ever were, and those without series of their own. */
#define JS_TOTAL_ALL 0
#define JS_TOTAL_REST (-1)

typedef struct JsTotal
{
	int64		job_id;
	bool		listed;			/* the job has series of its own */
	JsStat		stat;
} JsTotal;

/* A JsStat is nothing but these. */
#define JS_STAT_NUMBERS ((int) (sizeof(JsStat) / sizeof(uint64)))

extern void js_stat_add(JsStat *sum, const JsStat *other);
extern void js_stat_subtract(JsStat *sum, const JsStat *other);

typedef void (*JsTotalChange) (JsTotal *total, void *arg);
typedef void (*JsTotalVisitor) (const JsTotal *total, void *arg);
typedef bool (*JsTotalJudge) (int64 job_id, bool listed);

extern bool js_total_change(int64 job_id, JsTotalChange change, void *arg);
extern bool js_total_is_free(int64 job_id);
extern bool js_total_delete(int64 job_id, bool *listed);
extern void js_totals_visit_shown(JsTotalVisitor visit, void *arg);
extern void js_totals_keep(JsTotalJudge keep);

#endif							/* JS_STORE_TOTAL_H */
