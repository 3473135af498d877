/*-------------------------------------------------------------------------
 *
 * step_order.c
 *		An order in which each step comes after all that it waits for.
 *
 * Of the steps that wait for nothing more, the one that was given first comes
 * next.  When none is left to be next, the others wait for each other, and one
 * circle of them is named.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/step_order.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

/* Steps of a circle that a message names, at most. */
#define MOST_NAMED 20

/* Which steps wait for which: those that wait for n are from begins[n] on. */
typedef struct Dependents
{
	int		   *begins;			/* one more than there are steps */
	int		   *steps;
} Dependents;

static void
find_dependents(const JsStepNode *nodes, int count, Dependents *found)
{
	int		   *begins = palloc0(sizeof(int) * (count + 1));
	int		   *next = palloc(sizeof(int) * count);

	for (int i = 0; i < count; i++)
		for (int j = 0; j < nodes[i].nafter; j++)
			begins[nodes[i].after[j] + 1]++;
	for (int i = 0; i < count; i++)
	{
		begins[i + 1] += begins[i];
		next[i] = begins[i];
	}
	found->begins = begins;
	found->steps = palloc(sizeof(int) * Max(begins[count], 1));
	for (int i = 0; i < count; i++)
		for (int j = 0; j < nodes[i].nafter; j++)
			found->steps[next[nodes[i].after[j]]++] = i;
}

/* One that the step waits for, and that has no place; there is one if it has none itself. */
static int
first_unplaced(const JsStepNode *step, const bool *placed)
{
	for (int j = 0; j < step->nafter; j++)
		if (!placed[step->after[j]])
			return step->after[j];
	elog(ERROR, "step \"%s\" waits for nothing", step->name);
}

pg_noreturn static void
refuse_circle(const JsStepNode *nodes, int count, const bool *placed)
{
	bool	   *seen = palloc0(sizeof(bool) * count);
	StringInfoData names;
	int			at = 0;
	int			begin;
	int			named = 0;

	while (placed[at])
		at++;
	for (; !seen[at]; at = first_unplaced(&nodes[at], placed))
		seen[at] = true;
	begin = at;
	initStringInfo(&names);
	do
	{
		if (named++ < MOST_NAMED)
			appendStringInfo(&names, "\"%s\" after ", nodes[at].name);
		at = first_unplaced(&nodes[at], placed);
	} while (at != begin);
	if (named > MOST_NAMED)
		appendStringInfo(&names, "%d others, ", named - MOST_NAMED);
	appendStringInfo(&names, "\"%s\"", nodes[begin].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("steps wait for each other in a circle: %s", names.data),
			 errhint("Take one of these out of \"after\" of another.")));
}

/* The numbers of the steps in this order. */
int *
js_step_order(const JsStepNode *nodes, int count)
{
	int		   *order = palloc(sizeof(int) * count);
	int		   *waits = palloc(sizeof(int) * count);
	bool	   *placed = palloc0(sizeof(bool) * count);
	Dependents	dependents;

	find_dependents(nodes, count, &dependents);
	for (int i = 0; i < count; i++)
		waits[i] = nodes[i].nafter;
	for (int n = 0; n < count; n++)
	{
		int			next = 0;

		CHECK_FOR_INTERRUPTS();
		while (next < count && (placed[next] || waits[next] > 0))
			next++;
		if (next == count)
			refuse_circle(nodes, count, placed);
		order[n] = next;
		placed[next] = true;
		for (int i = dependents.begins[next]; i < dependents.begins[next + 1]; i++)
			waits[dependents.steps[i]]--;
	}
	return order;
}
