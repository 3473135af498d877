/*-------------------------------------------------------------------------
 *
 * http_module.c
 *		Makes http_mux.c a library that a server loads.
 *
 * All that jobsched_http has of PostgreSQL.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "http_mux.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT const JsMuxApi *js_mux_api(void);

const JsMuxApi *
js_mux_api(void)
{
	return &js_mux_functions;
}
