/*-------------------------------------------------------------------------
 *
 * alert_health.c
 *		What health() says of alerts: whether they can be told.
 *
 * The failure of a message makes no alert.  So it has to show here, of alerts that
 * the caller may see.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/access.h"
#include "api/alert_health.h"
#include "http/channel.h"
#include "store/store_alert.h"
#include "utils/memutils.h"

/* Alerts that are looked at; more than that are not counted. */
#define MOST 10000

typedef struct Untold
{
	MemoryContext context;
	int			alerts;
	int			problems;
	char	   *first;			/* NULL: there is no problem */
} Untold;

static void
note(Untold *untold, char *problem)
{
	if (untold->problems++ == 0)
		untold->first = MemoryContextStrdup(untold->context, problem);
}

/* What keeps a channel from being told; NULL: nothing. */
static const char *
problem_of(const JsAlert *alert, const char *channel)
{
	JsJobState	state;
	JsJob		job;

	if (!js_job_find(alert->owner, psprintf(JS_CHANNEL_PREFIX "%s", channel), &job))
		return "does not exist";
	if (!js_job_state_read(job.job_id, &state))
		return NULL;
	if (state.auto_paused_revision == job.revision || !job.enabled)
		return "is disabled";
	if (job.paused)
		return "is paused";
	return state.consecutive_failures > 0 ? "has failed last" : NULL;
}

static bool
is_seen(const JsAlert *head)
{
	return js_may_see(head->owner);
}

static void
look_at_alert(const JsAlert *alert, void *arg)
{
	Untold	   *untold = arg;
	char	  **channels;
	int			count;

	if (!is_seen(alert) || untold->alerts++ >= MOST)
		return;
	if (alert->is_spoilt)
		note(untold, psprintf("alert \"%s\" is none that set_alert() has written", alert->name));
	channels = js_event_names(alert->channels, &count);
	for (int i = 0; i < Min(count, JS_MAX_ALERT_CHANNELS); i++)
	{
		const char *problem = problem_of(alert, channels[i]);

		if (problem != NULL)
			note(untold, psprintf("channel \"%s\" of alert \"%s\" %s: see view channels", channels[i], alert->name, problem));
	}
}

/* How many there are, and what is wrong with the first that cannot be told; NULL: nothing. */
char *
js_alert_problems(int *count)
{
	Untold		untold = {.context = CurrentMemoryContext};

	js_alerts_visit(is_seen, look_at_alert, &untold);
	*count = untold.alerts;
	if (untold.problems > 1)
		return psprintf("%s; and %d more", untold.first, untold.problems - 1);
	return untold.first;
}
