/*-------------------------------------------------------------------------
 *
 * hide.h
 *		Statements that have secrets in them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HIDE_H
#define JS_HIDE_H

extern void js_hide_statement(const char *shown);

#endif							/* JS_HIDE_H */
