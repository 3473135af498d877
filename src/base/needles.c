/*-------------------------------------------------------------------------
 *
 * needles.c
 *		Searching a text for many others at once.
 *
 * DESIGN
 *
 * Users may choose both needles and text to cost us time, so the search uses
 * the algorithm of Aho and Corasick.  It takes a few steps for each byte of the
 * needles and for each byte of the text, whatever they contain and however many
 * needles there are.
 *
 * The needles form a tree, in which a node is a prefix of one or more needles.
 * Almost all nodes have one child.  A node with several has a table for all
 * bytes; there are fewer such nodes than needles, plus the root.  If the next
 * byte of the text does not follow a node, the search falls back to the longest
 * proper suffix of the node's text that is a node too.  Each fall makes the
 * match shorter, so there are no more falls than bytes.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "base/needles.h"

#define ROOT JS_NEEDLES_START
#define NONE 0					/* the root is nobody's child */
#define BYTES 256

typedef struct Node
{
	uint32_t	child;			/* the only one; NONE */
	uint32_t	table;			/* of children, if there are more; 0: none */
	uint32_t	fallback;
	uint32_t	found;			/* the length of the longest needle that it
								 * ends with; 0: none */
	unsigned char byte;			/* the last of it */
} Node;

struct JsNeedles
{
	Node	   *nodes;
	uint32_t	count;
	uint32_t   *queue;			/* of nodes, shorter ones first */
	uint32_t	(*tables)[BYTES];	/* the first is the root's */
	uint32_t	table_count;
};

size_t
js_needles_size(size_t bytes, int count)
{
	return sizeof(JsNeedles) + (bytes + 1) * (sizeof(Node) + sizeof(uint32_t)) +
		((size_t) count + 1) * sizeof(uint32_t[BYTES]);
}

JsNeedles *
js_needles_begin(void *memory, size_t bytes, int count)
{
	JsNeedles  *needles = memory;

	needles->tables = (uint32_t (*)[BYTES]) (needles + 1);
	needles->nodes = (Node *) (needles->tables + count + 1);
	needles->queue = (uint32_t *) (needles->nodes + bytes + 1);
	memset(&needles->nodes[ROOT], 0, sizeof(Node));
	memset(needles->tables[0], 0, sizeof(needles->tables[0]));
	needles->count = needles->table_count = 1;
	return needles;
}

static uint32_t
child_of(const JsNeedles *needles, uint32_t parent, unsigned char byte)
{
	const Node *node = &needles->nodes[parent];

	if (node->table != 0 || parent == ROOT)
		return needles->tables[node->table][byte];
	return node->child != NONE && needles->nodes[node->child].byte == byte ? node->child : NONE;
}

static uint32_t
make_child(JsNeedles *needles, uint32_t parent, unsigned char byte)
{
	Node	   *node = &needles->nodes[parent];
	uint32_t	child = needles->count++;

	memset(&needles->nodes[child], 0, sizeof(Node));
	needles->nodes[child].byte = byte;
	if (node->table == 0 && node->child == NONE && parent != ROOT)
	{
		node->child = child;
		return child;
	}
	if (node->table == 0 && parent != ROOT)
	{
		node->table = needles->table_count++;
		memset(needles->tables[node->table], 0, sizeof(needles->tables[0]));
		needles->tables[node->table][needles->nodes[node->child].byte] = node->child;
	}
	needles->tables[node->table][byte] = child;
	return child;
}

void
js_needles_add(JsNeedles *needles, const char *text, size_t length)
{
	uint32_t	at = ROOT;

	for (size_t i = 0; i < length; i++)
	{
		uint32_t	child = child_of(needles, at, text[i]);

		at = child != NONE ? child : make_child(needles, at, text[i]);
	}
	if (at != ROOT)
		needles->nodes[at].found = length;
}

/* Its parent has its own fallback already. */
static void
settle(JsNeedles *needles, uint32_t parent, uint32_t child)
{
	Node	   *node = &needles->nodes[child];

	node->fallback = parent == ROOT ? ROOT :
		js_needles_step(needles, needles->nodes[parent].fallback, node->byte);
	if (node->found == 0)
		node->found = needles->nodes[node->fallback].found;
}

void
js_needles_finish(JsNeedles *needles)
{
	uint32_t	tail = 0;

	needles->queue[tail++] = ROOT;
	for (uint32_t head = 0; head < tail; head++)
	{
		uint32_t	parent = needles->queue[head];
		const Node *node = &needles->nodes[parent];

		if (node->child != NONE && node->table == 0)
		{
			settle(needles, parent, node->child);
			needles->queue[tail++] = node->child;
		}
		for (int byte = 0; (node->table != 0 || parent == ROOT) && byte < BYTES; byte++)
		{
			uint32_t	child = needles->tables[node->table][byte];

			if (child == NONE)
				continue;
			settle(needles, parent, child);
			needles->queue[tail++] = child;
		}
	}
}

JsNeedlesState
js_needles_step(const JsNeedles *needles, JsNeedlesState state, char byte)
{
	uint32_t	next;

	while ((next = child_of(needles, state, byte)) == NONE && state != ROOT)
		state = needles->nodes[state].fallback;
	return next;
}

size_t
js_needles_found(const JsNeedles *needles, JsNeedlesState state)
{
	return needles->nodes[state].found;
}
