/*-------------------------------------------------------------------------
 *
 * store_names.h
 *		The names of statuses, sources and policies in rows.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STORE_NAMES_H
#define JS_STORE_NAMES_H

#include "store/store.h"

#define JS_OVERLAPS (JS_OVERLAP_REPLACE + 1)
#define JS_MISFIRES (JS_MISFIRE_ALL + 1)

extern const char *const js_overlap_names[];
extern const char *const js_misfire_names[];

/* The index of a name; -1: it is none of them, or NULL. */
extern int	js_name_find(const char *name, const char *const *names, int n);

extern const char *js_status_name(JsStatus status);
extern JsStatus js_status_of(const char *name);

extern const char *js_source_name(JsRunSource source);

/* A row that somebody has spoilt has the default. */
extern JsRunSource js_source_of(const char *name);
extern JsOverlap js_overlap_of(const char *name);
extern JsMisfire js_misfire_of(const char *name);

#endif							/* JS_STORE_NAMES_H */
