/*-------------------------------------------------------------------------
 *
 * sqlstate.h
 *		Codes of errors as text, as our rows have them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SQLSTATE_H
#define JS_SQLSTATE_H

/* unpack_sql_state() has one buffer for all callers; this text is the caller's own. */
static inline char *
js_sqlstate(int code)
{
	return pstrdup(unpack_sql_state(code));
}

/* NULL is no code. */
static inline bool
js_sqlstate_is(const char *sqlstate, int code)
{
	return sqlstate != NULL && strcmp(sqlstate, unpack_sql_state(code)) == 0;
}

#endif							/* JS_SQLSTATE_H */
