/*-------------------------------------------------------------------------
 *
 * vault.h
 *		Secrets of Supabase Vault.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_VAULT_H
#define JS_VAULT_H

/*
 * The value as a role can read it, or NULL if it sees none of this name.  In
 * the caller's memory context and transaction, which has to be aborted (or
 * its subtransaction) after an error, for the user is another one then.
 */
extern char *js_vault_read(Oid owner, const char *name);

#endif							/* JS_VAULT_H */
