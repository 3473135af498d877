/*-------------------------------------------------------------------------
 *
 * cron_reader.c
 *		How the readers of a schedule's text refuse it.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdarg.h>

#include "cron/cron_reader.h"

/* Records an error and returns false, for the caller to pass on. */
bool
js_fail(JsReader *r, const char *at, const char *hint, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	vsnprintf(r->err->message, sizeof(r->err->message), fmt, args);
	va_end(args);
	strlcpy(r->err->hint, hint, sizeof(r->err->hint));
	r->err->position = (int) (at - r->text) + 1;
	return false;
}
