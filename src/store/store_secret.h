/*-------------------------------------------------------------------------
 *
 * store_secret.h
 *		Rows of secret.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STORE_SECRET_H
#define JS_STORE_SECRET_H

extern void js_secret_write(Oid owner, const char *name, const char *value);
extern bool js_secret_drop(Oid owner, const char *name);

/* The value, or NULL if there is none of this name. */
extern char *js_secret_read(Oid owner, const char *name);
extern void js_secrets_forget_dropped(void);

#endif							/* JS_STORE_SECRET_H */
