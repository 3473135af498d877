/*-------------------------------------------------------------------------
 *
 * seen.h
 *		What the planner is told of the policies on runs.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SEEN_H
#define JS_SEEN_H

#include "nodes/pg_list.h"

extern List *js_roles_of_user(bool (*may) (Oid owner));

#endif							/* JS_SEEN_H */
