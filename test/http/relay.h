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
/* At 127.0.0.1 and the addresses after it, what it does first. */
enum
{
	RELAY_GOOD,
	RELAY_CLOSES,				/* without a greeting */
	RELAY_RESETS,				/* likewise */
	RELAY_IS_SILENT,
	RELAY_HAS_NO_END,			/* of its line */
	RELAY_GREETS_WITHOUT_END,	/* in lines */
	RELAY_IS_OF_BYTES,			/* that are no text */
	RELAY_GREETS_AHEAD,			/* with all answers */
	RELAY_IS_BUSY,				/* 421 */
	RELAY_CLOSES_LATER,			/* the rest is of its answer to EHLO */
	RELAY_IS_SILENT_LATER,
	RELAY_HAS_NO_END_LATER,
	RELAY_OFFERS_WITHOUT_END,
	RELAY_ANSWERS_AHEAD,		/* likewise */
	RELAYS
};

extern int	relay_start(void);
extern void relay_stop(void);

#endif							/* RELAY_H */
