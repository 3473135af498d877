/*-------------------------------------------------------------------------
 *
 * cancel.h
 *		How runs that were cancelled end.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CANCEL_H
#define JS_CANCEL_H

#include "base/jobsched.h"
#include "shmem/shmem.h"

extern void js_cancel_jobless(Oid owner);

#endif							/* JS_CANCEL_H */
