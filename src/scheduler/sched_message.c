/*-------------------------------------------------------------------------
 *
 * sched_message.c
 *		Messages of channels that the scheduler sends.
 *
 * sched_channel.c has the design.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "run/channel_run.h"
#include "scheduler/sched.h"
#include "store/bounds.h"

int64
sched_channel_send(int64 channel_id, Jsonb *args, TimestampTz now)
{
	JsRunWriter *writer;
	int64		first = 0;
	char	   *problem;
	List	   *runs;
	ListCell   *lc;
	JsJob		job;

	if (!js_job_read_head(channel_id, &job) || job.dropped_at != DT_NOBEGIN || js_job_is_too_large(&job) ||
		!js_job_read(channel_id, &job))
		return 0;
	runs = js_channel_runs(&job, args, &problem);
	if (runs == NIL)
	{
		ereport(LOG,
				(errmsg("channel \"%s\" cannot send anything: %s", job.name, problem)));
		return 0;
	}
	writer = js_run_writer_open();
	foreach(lc, runs)
	{
		int64		run_id = js_run_insert(writer, lfirst(lc));

		if (first == 0)
			first = run_id;
	}
	js_run_writer_close(writer);
	CommandCounterIncrement();
	foreach(lc, runs)
		(void) sched_run_load(((JsRun *) lfirst(lc))->run_id, now);
	return first;
}
