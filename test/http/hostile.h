/*-------------------------------------------------------------------------
 *
 * hostile.h
 *		A server for tests that misbehaves as the path of a request says.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOSTILE_H
#define HOSTILE_H

/* Starts it in a process of its own, on all addresses; returns its port. */
extern int	hostile_start(void);
extern void hostile_stop(void);

/* The names that /shape/NAME has, from 0; NULL: there are no more. */
extern const char *hostile_shape(int number);

#endif							/* HOSTILE_H */
