/*-------------------------------------------------------------------------
 *
 * mux_module.c
 *		Makes mux.c a library that the server can load.
 *
 * Nothing else in jobsched_curl uses PostgreSQL.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "mux/mux_api.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT const JsMuxApi *js_mux_api(void);

const JsMuxApi *
js_mux_api(void)
{
	return &js_mux_functions;
}
