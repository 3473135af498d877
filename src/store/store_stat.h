/*-------------------------------------------------------------------------
 *
 * store_stat.h
 *		Rows of stat, stat_mark and stat_reset.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STORE_STAT_H
#define JS_STORE_STAT_H

#include "store/stat.h"
#include "utils/rel.h"

/* By the scheduler: until when is counted, and what time it is. */
typedef struct JsStatClock
{
	TimestampTz mark;			/* minutes from here on may be recounted */
	TimestampTz now;
} JsStatClock;

/*
 * What all jobs of a role added up to is kept as if it were of a job whose id is negative,
 * so it is in a few rows, however many jobs there are.
 */
static inline int64
js_stat_total_of(Oid owner)
{
	return -(int64) owner;
}

static inline Oid
js_stat_owner_of_total(int64 job_id)
{
	return (Oid) -job_id;
}

/* Less than any. */
#define JS_STAT_FIRST_ID (-(int64) PG_UINT32_MAX - 1)

extern bool js_stat_write(int64 job_id, TimestampTz start, JsStatWidth width, const JsStat *stat,
						  const JsStatClock *clock);
extern bool js_stat_discard(int64 job_id, TimestampTz mark, JsStat *taken);
extern void js_stat_forget(int64 job_id);

/* Where a visit of all rows has come to. */
typedef struct JsStatPosition
{
	int64		job_id;			/* 0: to the end */
	TimestampTz first;
} JsStatPosition;

/* What becomes of the rows of a job. */
typedef enum JsStatFate
{
	JS_STAT_TIDY,
	JS_STAT_LEAVE,				/* they are another database's */
	JS_STAT_DELETE
} JsStatFate;

typedef JsStatFate (*JsStatJudge) (int64 job_id);

extern void js_stat_tidy_some(JsStatPosition *position, int most, const JsStatClock *clock,
							  TimestampTz expired, JsStatJudge judge);

extern bool js_stat_mark_read(TimestampTz *mark);
extern bool js_stat_mark_write(TimestampTz mark);

typedef struct JsStatReset
{
	int64		job_id;
	TimestampTz reset_at;
	bool		served;			/* its rows have been deleted */
} JsStatReset;

typedef struct JsStatResets
{
	JsStatReset *resets;
	int			count;
} JsStatResets;

extern void js_stat_reset_ask(int64 job_id, TimestampTz at);
extern int64 js_stat_resets_read(int64 from, int most, JsStatResets *resets);
extern bool js_stat_reset_serve(int64 job_id);
extern void js_stat_resets_forget(TimestampTz before);

/* Reading. */
typedef struct JsStatReader
{
	Relation	rel;
	Relation	index;
	MemoryContext context;		/* of one row */
} JsStatReader;

typedef void (*JsStatVisitor) (const JsStatEntry *entry, void *arg);

extern void js_stat_reader_open(JsStatReader *reader);
extern void js_stat_reader_close(JsStatReader *reader);
extern int64 js_stat_next_total(JsStatReader *reader, int64 after);
extern void js_stat_visit(JsStatReader *reader, int64 job_id, TimestampTz from, TimestampTz to,
						  JsStatVisitor visit, void *arg);

#endif							/* JS_STORE_STAT_H */
