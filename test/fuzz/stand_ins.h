/*-------------------------------------------------------------------------
 *
 * stand_ins.h
 *		A time zone that a fuzzer makes up.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STAND_INS_H
#define JS_STAND_INS_H

#include "pgtime.h"

#define MAX_CHANGES		4

/* Clocks read offset[n] more than UTC until at[n]; after all, offset[count]. */
struct pg_tz
{
	int			count;
	pg_time_t	at[MAX_CHANGES];
	long int	offset[MAX_CHANGES + 1];
};

#endif							/* JS_STAND_INS_H */
