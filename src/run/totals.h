/*-------------------------------------------------------------------------
 *
 * totals.h
 *		How many runs have ended as what, as a result.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_TOTALS_H
#define JS_TOTALS_H

#include "store/store.h"

typedef struct JsTotals
{
	int64		total;
	int64		ended_as[JS_MISSED + 1];
} JsTotals;

extern Jsonb *js_totals_json(const JsTotals *totals);

#endif							/* JS_TOTALS_H */
