/*-------------------------------------------------------------------------
 *
 * sched_channel.c
 *		Channels as the scheduler sees them, and when one can take the next message.
 *
 * A channel is a job, and a message is a run of it (http/channel.c); its id here is
 * that of the job.  So there is nothing to be kept in memory besides the job's entry.
 *
 * INTERFACE
 *
 *	sched_channel_find()	the channel of a name that a role has; 0: none, or it is at
 *							home elsewhere
 *	sched_channel_is_busy()	it cannot send: a message is under way, or waits for its
 *							next attempt (of mails, which are to several, many do); or
 *							the channel is paused, disabled, asleep, dropped or not
 *							known
 *	sched_channel_send()	(sched_message.c) queues a message: the run (for mail one for
 *							each address) is there when the step commits, with what else
 *							that step has written.  Returns the first run; 0: the channel
 *							is gone, or what somebody has made of its row cannot send
 *	sched_channels_hear()	who is told, from then on, that a channel may have become free
 *							or is gone: a run of it has ended for good, or its row has
 *							changed.  Told in the middle of a step, so it only takes a
 *							note; and too often rather than too rarely
 *
 * What became of a message is not told: it succeeded, or it is a dead letter and the
 * state of the job shows it.  Whoever has handed over a message has told; a message
 * that failed is not composed anew.
 *
 * Nothing here waits for anybody.  A run is inserted; rows that somebody holds are not
 * touched.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/channel.h"
#include "scheduler/sched.h"

/*
 * Mails of a channel that may be under way, or wait for their next attempt, while there
 * is a next message: so an address that is not reached does not keep others from theirs,
 * and does not need so many attempts that there is no room for anything else.
 */
#define MAX_MAILS 20

/* Runs that are looked at. */
#define MAX_LOOKED 1000

static SchedChannelListener listener = NULL;

void
sched_channels_hear(SchedChannelListener listen)
{
	listener = listen;
}

/* A run of the job has ended, or its row has changed. */
void
sched_channel_changed(const JobEntry *job)
{
	if (job->is_channel && listener != NULL)
		listener(job->job_id);
}

void
sched_channel_ended(JobEntry *job, JsStatus status)
{
	if (status == JS_SUCCEEDED)
		job->sent_known = false;
	sched_channel_changed(job);
}

int64
sched_channel_find(Oid owner, const char *name)
{
	JsJob		job;

	if (!sched.home || !OidIsValid(owner) ||
		!js_job_find(owner, psprintf(JS_CHANNEL_PREFIX "%s", name), &job) ||
		memcmp(&job.home, &sched.token, sizeof(pg_uuid_t)) != 0)
		return 0;
	return job.job_id;
}

/* Mails are runs with a request of their own; other messages are to one receiver. */
static bool
mails_leave_room(const JobEntry *job)
{
	int			looked = 0;
	dlist_iter	iter;

	if (job->live > MAX_MAILS)
		return false;
	dlist_foreach(iter, (dlist_head *) &job->runs)
	{
		const RunEntry *run = dlist_container(RunEntry, job_node, iter.cur);

		if (looked++ == MAX_LOOKED || (run->live && !run->own_request))
			return false;
	}
	return true;
}

/*
 * One that has just refused a message for good is disabled when the tally is written.
 * A run that is to start later is in nobody's way.
 */
bool
sched_channel_is_busy(int64 channel_id)
{
	const JobEntry *job = sched_job_find(channel_id);

	return job == NULL || !job->is_channel || job->dropped || job->asleep || job->invalid ||
		job->paused || job->auto_paused || (job->tally != NULL && job->tally->gone != 0) ||
		(job->live > 0 && !mails_leave_room(job));
}
