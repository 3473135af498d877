/*-------------------------------------------------------------------------
 *
 * needles.h
 *		Searching a text for many others at once.
 *
 * Plain C: uses nothing of the server, and allocates nothing.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_NEEDLES_H
#define JS_NEEDLES_H

#include <stddef.h>
#include <stdint.h>

typedef struct JsNeedles JsNeedles;

/* Of all that has been read: its longest end that some needle begins with. */
typedef uint32_t JsNeedlesState;

#define JS_NEEDLES_START 0

/* The memory, aligned for anything, that so many needles of so many bytes in all take. */
extern size_t js_needles_size(size_t bytes, int count);

/* Makes them there. */
extern JsNeedles *js_needles_begin(void *memory, size_t bytes, int count);
extern void js_needles_add(JsNeedles *needles, const char *text, size_t length);
extern void js_needles_finish(JsNeedles *needles);

/* One more byte of the text. */
extern JsNeedlesState js_needles_step(const JsNeedles *needles, JsNeedlesState state, char byte);

/* How long the longest needle is that ends with it; 0: none does. */
extern size_t js_needles_found(const JsNeedles *needles, JsNeedlesState state);

#endif							/* JS_NEEDLES_H */
