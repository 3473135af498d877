/*-------------------------------------------------------------------------
 *
 * sqlstate.h
 *		Codes of errors: our own, and all as text, as our rows have them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SQLSTATE_H
#define JS_SQLSTATE_H

/*
 * What a caller has asked for exceeds a limit, or cannot be done with what is as it
 * is.  The server has 54000 and 55000 for these, but a REST gateway takes its classes 54
 * and 55 for failures of the server (HTTP 500); a class of our own is the caller's (400).
 */
#define JS_ERRCODE_LIMIT MAKE_SQLSTATE('J', 'S', '0', '5', '4')
#define JS_ERRCODE_STATE MAKE_SQLSTATE('J', 'S', '0', '5', '5')

/* Ours, or the server's. */
static inline bool
js_is_limit(int code)
{
	return code == JS_ERRCODE_LIMIT || code == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
}

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
