/*-------------------------------------------------------------------------
 *
 * relay.h
 *		A mail relay for tests that behaves as the sender's name says.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELAY_H
#define RELAY_H

/* Starts it in a process of its own; returns its port. */
extern int	relay_start(void);
extern void relay_stop(void);

#endif							/* RELAY_H */
