-- Views.  Each shows a role the jobs and runs of the roles whose privileges
-- it has; members of pg_monitor and superusers see all.  doc/security.md has
-- the table of who sees what.
--
-- Tables that grow large are guarded by row level security, and their views
-- run with their readers' rights: unlike a security barrier that leaves the
-- planner free to read just the first page, by an index, of millions of rows.
-- SELECT on these tables helps nobody around that: the schema cannot be used,
-- but by members of pg_read_all_data, for whom the policies hold.  Whom they do
-- not bind (BYPASSRLS) the views' own conditions do, and since a function in a
-- condition may be called before these, what rows have to tell is NULL for him.
-- (They are written as numbers: of these the planner believes that they leave
-- nearly all rows, as is right where a policy has been before.)
-- Tables job and limit_definition have no policy: it would keep pg_dump out.
-- The names of jobs are read from job's parent, which has one: a function in a
-- condition on a name must not be given those of others.  Who has given a job away
-- sees the runs that he still has, and no view shows him what the job is by now.
--
-- Callbacks (runs with a handler) have a response in their arguments, which is
-- its owner's alone, as in http_responses; so is what comes of it, errors and
-- messages too, which may quote it.
--
-- What a queued run does not have yet is NULL by a condition that the planner
-- cannot foresee: a function of a constant would be called before the policy,
-- once for each hidden row.

ALTER TABLE jobsched_internal.run ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.job_name_of ENABLE ROW LEVEL SECURITY;
-- These have nothing for anybody, nor has table secret.
ALTER TABLE jobsched_internal.identity ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.job_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.request ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.limit_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.ring ENABLE ROW LEVEL SECURITY;
CREATE POLICY may_see ON jobsched_internal.run FOR SELECT USING (jobsched_internal.may_see(owner));
CREATE POLICY may_see ON jobsched_internal.history FOR SELECT USING (jobsched_internal.may_see(owner));
CREATE POLICY may_see ON jobsched_internal.attempt FOR SELECT USING (jobsched_internal.may_see(owner));
CREATE POLICY may_see ON jobsched_internal.run_log FOR SELECT USING (jobsched_internal.may_see(owner));
CREATE POLICY may_manage ON jobsched_internal.http_response FOR SELECT USING (jobsched_internal.may_manage(owner));
CREATE POLICY may_see ON jobsched_internal.job_name_of FOR SELECT
	USING (jobsched_internal.may_see(jobsched_internal.owner_of(owner, owner_name, home)));

-- The parent's policy holds for what is read through it.  Members of
-- pg_read_all_data could read a partition by itself: there is no policy there,
-- so none of its rows are seen.
ALTER TABLE jobsched_internal.history_000 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_001 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_002 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_003 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_004 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_005 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_006 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_007 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_100 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_101 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_102 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_103 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_104 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_105 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_106 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_107 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_100 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_101 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_102 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_103 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_104 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_105 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_106 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_107 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_000 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_001 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_002 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_003 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_004 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_005 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_006 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_007 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_100 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_101 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_102 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_103 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_104 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_105 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_106 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_107 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_000 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_001 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_002 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_003 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_004 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_005 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_006 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_007 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_100 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_101 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_102 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_103 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_104 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_105 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_106 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_107 ENABLE ROW LEVEL SECURITY;

-- What these views show of a run's job besides its name.
CREATE VIEW jobsched_internal.job_of_run AS
SELECT job_id, paused OR EXISTS (SELECT FROM jobsched_internal.job_state s
	WHERE s.job_id OPERATOR(pg_catalog.=) j.job_id
		AND s.auto_paused_revision OPERATOR(pg_catalog.=) j.revision) AS paused,
	max_concurrency IS NOT NULL OR queue IS NOT NULL AS limited
FROM jobsched_internal.job j;

-- Whether anything starts at all.
CREATE VIEW jobsched_internal.processing AS
SELECT stopped_at IS NOT NULL AS stopped FROM jobsched_internal.identity;

CREATE VIEW jobsched.jobs WITH (security_barrier) AS
SELECT j.job_id,
	j.name,
	jobsched_internal.owner_name_of(j.owner, j.owner_name, j.home) AS owner,
	CASE WHEN j.request IS NOT NULL THEN 'http' WHEN j.handler IS NOT NULL THEN 'function' ELSE 'sql' END AS kind,
	j.schedule,
	j.timezone,
	j.command,
	j.handler,
	j.request,
	j.args,
	j.mode,
	j.share_transaction,
	j.timeout,
	j.max_attempts,
	j.backoff,
	j.backoff_base,
	j.backoff_max,
	j.backoff_jitter,
	j.retry_delays,
	j.retry_on,
	j.no_retry_on,
	j.overlap,
	j.queue_limit,
	j.misfire,
	j.misfire_grace,
	j.starts_at,
	j.ends_at,
	j.max_runs,
	j.jitter,
	j.pause_after_failures,
	j.max_concurrency,
	j.queue,
	j.keys,
	j.enabled,
	CASE WHEN j.home OPERATOR(pg_catalog.<>) i.token
			OR i.database OPERATOR(pg_catalog.<>) i.here
			OR i.instance_id OPERATOR(pg_catalog.<>) i.this_instance THEN 'asleep'
		WHEN s.invalid_revision OPERATOR(pg_catalog.=) j.revision THEN 'invalid'
		WHEN j.paused OR s.auto_paused_revision OPERATOR(pg_catalog.=) j.revision THEN 'paused'
		WHEN NOT j.enabled THEN 'disabled'
		WHEN j.schedule IS NOT NULL AND s.scheduled_runs OPERATOR(pg_catalog.>=) j.max_runs THEN 'completed'
		WHEN j.schedule IS NOT NULL AND j.schedule OPERATOR(pg_catalog.!~~*) '@startup' AND j.schedule OPERATOR(pg_catalog.!~~*) '@reboot'
			AND CASE WHEN s.schedule_revision OPERATOR(pg_catalog.=) j.schedule_revision
				THEN s.next_run_at ELSE j.first_run_at END IS NULL THEN 'completed'
		ELSE 'active' END AS state,
	CASE WHEN j.home OPERATOR(pg_catalog.<>) i.token
			OR i.database OPERATOR(pg_catalog.<>) i.here
			OR i.instance_id OPERATOR(pg_catalog.<>) i.this_instance
			THEN CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles a
					WHERE a.oid OPERATOR(pg_catalog.=) jobsched_internal.owner_of(j.owner, j.owner_name, j.home))
				THEN 'this database is a copy: call jobsched.adopt() to run its jobs here'
				ELSE 'this database is a copy, and the owner does not exist here' END
		WHEN s.invalid_revision OPERATOR(pg_catalog.=) j.revision THEN s.invalid_reason
		WHEN j.paused THEN j.pause_reason
		WHEN s.auto_paused_revision OPERATOR(pg_catalog.=) j.revision THEN s.auto_paused_reason
		WHEN j.enabled AND j.schedule IS NOT NULL AND s.scheduled_runs OPERATOR(pg_catalog.>=) j.max_runs
			THEN pg_catalog.format('the schedule has made its %s runs (max_runs)', j.max_runs)
		END AS state_reason,
	CASE WHEN j.enabled AND NOT j.paused
			AND (s.auto_paused_revision IS NULL OR s.auto_paused_revision OPERATOR(pg_catalog.<>) j.revision)
			AND (j.max_runs IS NULL OR s.scheduled_runs IS NULL OR s.scheduled_runs OPERATOR(pg_catalog.<) j.max_runs)
			AND j.home OPERATOR(pg_catalog.=) i.token
			AND i.database OPERATOR(pg_catalog.=) i.here
			AND i.instance_id OPERATOR(pg_catalog.=) i.this_instance
			AND (s.invalid_revision IS NULL OR s.invalid_revision OPERATOR(pg_catalog.<>) j.revision)
		THEN CASE WHEN s.schedule_revision OPERATOR(pg_catalog.=) j.schedule_revision
			THEN s.next_run_at ELSE j.first_run_at END END AS next_run_at,
	s.last_status,
	s.last_run_id,
	s.last_started_at,
	s.last_finished_at,
	s.last_finished_at OPERATOR(pg_catalog.-) s.last_started_at AS last_duration,
	COALESCE(s.consecutive_failures, 0) AS consecutive_failures,
	COALESCE(s.recent, '') AS recent,
	COALESCE(s.scheduled_runs, 0) AS scheduled_runs,
	j.description,
	j.metadata,
	j.created_at,
	j.updated_at
FROM jobsched_internal.job j
	CROSS JOIN (SELECT token, database, instance_id,
			(SELECT d.oid FROM pg_catalog.pg_database d
			 WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AS here,
			jobsched_internal.instance_id() AS this_instance
		FROM jobsched_internal.identity WHERE id OPERATOR(pg_catalog.=) 1) i
	LEFT JOIN jobsched_internal.job_state s ON s.job_id OPERATOR(pg_catalog.=) j.job_id
WHERE j.dropped_at IS NULL AND jobsched_internal.may_see(jobsched_internal.owner_of(j.owner, j.owner_name, j.home));
COMMENT ON VIEW jobsched.jobs IS 'One row for each job: definition, state, next run and last outcome.';
COMMENT ON COLUMN jobsched.jobs.state IS 'active, disabled, paused, invalid (the scheduler cannot run it: see state_reason), completed (its schedule has no further slot, or has made max_runs) or asleep (this database is a copy)';
COMMENT ON COLUMN jobsched.jobs.next_run_at IS 'the next slot of the schedule (with jitter its run starts later); NULL when there is none or the job does not run';
COMMENT ON COLUMN jobsched.jobs.overlap IS 'what becomes of a slot that comes while a run of the job is live: skip, queue, allow or replace';
COMMENT ON COLUMN jobsched.jobs.queue_limit IS 'with overlap queue: how many runs of slots wait at most';
COMMENT ON COLUMN jobsched.jobs.misfire IS 'what becomes of slots found later than misfire_grace: once, skip or all';
COMMENT ON COLUMN jobsched.jobs.misfire_grace IS 'a slot found this late at most was not missed';
COMMENT ON COLUMN jobsched.jobs.starts_at IS 'the schedule has no slots before, and the steps of "every" are counted from it';
COMMENT ON COLUMN jobsched.jobs.ends_at IS 'the schedule has no slots after';
COMMENT ON COLUMN jobsched.jobs.max_runs IS 'how many runs the schedule makes in all; NULL: without end';
COMMENT ON COLUMN jobsched.jobs.jitter IS 'each slot''s run starts up to so much later';
COMMENT ON COLUMN jobsched.jobs.pause_after_failures IS 'after so many failures in a row the job is paused; NULL: never';
COMMENT ON COLUMN jobsched.jobs.max_concurrency IS 'how many of its runs are executed at the same time; with overlap allow a slot that finds so many live runs is skipped; NULL: any number';
COMMENT ON COLUMN jobsched.jobs.scheduled_runs IS 'runs that the schedule has made since the job was created; max_runs is their limit';
COMMENT ON COLUMN jobsched.jobs.recent IS 'the outcomes of the last 20 runs, newest last: . succeeded, F failed, T timed out, X cancelled, L lost, S skipped, M missed; runs that another replaced are left out';
COMMENT ON COLUMN jobsched.jobs.consecutive_failures IS 'runs that ended other than succeeded since the last success; skipped, missed and cancelled ones do not count';

CREATE VIEW jobsched.runs WITH (security_invoker) AS
SELECT r.run_id,
	r.job_id,
	n.name AS job_name,
	pg_catalog.pg_get_userbyid(r.owner) AS owner,
	r.status,
	CASE WHEN r.status OPERATOR(pg_catalog.<>) 'queued' THEN r.reason
		WHEN r.run_at OPERATOR(pg_catalog.>) jobsched_internal.clock_now() AND r.attempt OPERATOR(pg_catalog.=) 0 THEN 'not_due'
		WHEN (SELECT p.stopped FROM jobsched_internal.processing p) THEN 'processing_stopped'
		WHEN j.paused THEN 'job_paused'
		WHEN r.reason IS NOT NULL THEN r.reason
		WHEN j.limited OR r.keys IS NOT NULL
			OR pg_catalog.current_setting('jobsched.max_running_per_owner') OPERATOR(pg_catalog.<>) '0' THEN 'waiting_for_turn'
		ELSE 'waiting_for_worker' END AS reason,
	r.source,
	r.attempt,
	r.priority,
	r.scheduled_for,
	r.run_at,
	r.queued_at,
	CASE WHEN r.status OPERATOR(pg_catalog.=) 'running' THEN (SELECT w.run_started_at
		FROM jobsched_internal.workers() w WHERE w.run_id OPERATOR(pg_catalog.=) r.run_id)
		ELSE r.started_at END AS started_at,
	r.finished_at,
	r.finished_at OPERATOR(pg_catalog.-) r.started_at AS duration,
	r.missed_count,
	CASE WHEN jobsched_internal.may_see(r.owner) THEN r.keys END AS keys,
	CASE WHEN jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN r.args END AS args,
	CASE WHEN jobsched_internal.may_see(r.owner) THEN r.request END AS request,
	CASE WHEN jobsched_internal.may_see(r.owner) THEN r.handler END AS handler,
	CASE WHEN jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN r.result END AS result,
	CASE WHEN NOT jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN NULL
		WHEN r.status OPERATOR(pg_catalog.=) 'retrying' THEN (SELECT a.error
		FROM jobsched_internal.attempt a WHERE a.run_id OPERATOR(pg_catalog.=) r.run_id
			AND a.attempt OPERATOR(pg_catalog.=) r.attempt)
		ELSE r.error END AS error,
	CASE WHEN r.status OPERATOR(pg_catalog.=) 'retrying' THEN (SELECT a.sqlstate
		FROM jobsched_internal.attempt a WHERE a.run_id OPERATOR(pg_catalog.=) r.run_id
			AND a.attempt OPERATOR(pg_catalog.=) r.attempt)
		ELSE r.sqlstate END AS sqlstate,
	CASE WHEN jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN r.error_detail END AS error_detail,
	CASE WHEN jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN r.error_hint END AS error_hint,
	CASE WHEN jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN r.error_context END AS error_context,
	CASE WHEN r.status OPERATOR(pg_catalog.=) 'running' THEN (SELECT w.pid
		FROM jobsched_internal.workers() w WHERE w.run_id OPERATOR(pg_catalog.=) r.run_id)
		ELSE r.worker_pid END AS worker_pid
FROM (
	SELECT q.run_id, q.job_id, q.owner, q.status, q.reason, q.source, q.attempt, q.priority,
		q.scheduled_for, q.run_at, q.queued_at,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.run_at END AS started_at,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.run_at END AS finished_at, q.missed_count, q.keys, q.args, q.request, q.handler,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.args END AS result,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.status END AS error,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.status END AS sqlstate,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.status END AS error_detail,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.status END AS error_hint,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.status END AS error_context,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.attempt END AS worker_pid
	FROM jobsched_internal.run q
	UNION ALL
	SELECT h.run_id, h.job_id, h.owner, h.status, h.reason, h.source, h.attempt, h.priority,
		h.scheduled_for, h.run_at, h.queued_at, h.started_at,
		h.finished_at, h.missed_count, h.keys, h.args, h.request, h.handler, h.result,
		h.error, h.sqlstate, h.error_detail,
		h.error_hint, h.error_context, h.worker_pid
	FROM jobsched_internal.history h
) r LEFT JOIN jobsched_internal.job_name_of n ON n.job_id OPERATOR(pg_catalog.=) r.job_id
	LEFT JOIN jobsched_internal.job_of_run j ON j.job_id OPERATOR(pg_catalog.=) r.job_id
WHERE jobsched_internal.may_see(r.owner)::integer OPERATOR(pg_catalog.<>) 0;
COMMENT ON VIEW jobsched.runs IS 'Every run: waiting, running and ended, until jobsched.history_retention (or failure_retention) removes it.';
COMMENT ON COLUMN jobsched.runs.status IS 'queued, running, retrying; succeeded, failed, cancelled, timed_out, lost, skipped, missed';
COMMENT ON COLUMN jobsched.runs.reason IS 'machine-readable cause of a status other than succeeded; of a queued run what it waits for (not_due, processing_stopped, job_paused, waiting_for_run: its job''s other runs, waiting_for_worker, or waiting_for_turn if any limit may be what it waits for) or what sent it back to the queue (worker_died, server_restarted, reset)';
COMMENT ON COLUMN jobsched.runs.run_at IS 'when it is, or was, to start; of a retrying run when its next attempt is to begin';
COMMENT ON COLUMN jobsched.runs.error IS 'why it failed; of a retrying run why its last attempt did; this, error_detail, error_hint and error_context of a callback are only for the owner';
COMMENT ON COLUMN jobsched.runs.source IS 'what asked for the run: schedule, startup, trigger, backfill, retry (retry_run(), redrive()) or callback (on_success, on_failure)';
COMMENT ON COLUMN jobsched.runs.request IS 'what it sends, if that is not its job''s request';
COMMENT ON COLUMN jobsched.runs.handler IS 'what it executes, if it is a callback';
COMMENT ON COLUMN jobsched.runs.args IS 'its arguments; those of a callback hold a response, and are only for the owner';
COMMENT ON COLUMN jobsched.runs.result IS 'what it returned; of a callback only for the owner';
COMMENT ON COLUMN jobsched.runs.keys IS 'what limits of keys hold for; made from the templates of its job when it was queued';
COMMENT ON COLUMN jobsched.runs.missed_count IS 'slots that this run makes up for besides its own, or that this row stands for';

CREATE VIEW jobsched.attempts WITH (security_invoker) AS
SELECT t.run_id,
	t.attempt,
	t.job_id,
	n.name AS job_name,
	pg_catalog.pg_get_userbyid(t.owner) AS owner,
	t.status,
	t.reason,
	t.started_at,
	t.finished_at,
	t.finished_at OPERATOR(pg_catalog.-) t.started_at AS duration,
	t.retry_at,
	CASE WHEN jobsched_internal.may_read(t.owner, t.callback) THEN t.error END AS error,
	t.sqlstate,
	CASE WHEN jobsched_internal.may_read(t.owner, t.callback) THEN t.error_detail END AS error_detail,
	CASE WHEN jobsched_internal.may_read(t.owner, t.callback) THEN t.error_hint END AS error_hint,
	CASE WHEN jobsched_internal.may_read(t.owner, t.callback) THEN t.error_context END AS error_context,
	t.worker_pid
FROM (
	SELECT q.run_id, q.attempt, q.job_id, q.owner, q.status, q.reason, q.claimed_at AS started_at,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.run_at END AS finished_at,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.run_at END AS retry_at,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.status END AS error,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.status END AS sqlstate,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.status END AS error_detail,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.status END AS error_hint,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.status END AS error_context,
		CASE WHEN q.attempt OPERATOR(pg_catalog.<) 0 THEN q.attempt END AS worker_pid, q.handler IS NOT NULL AS callback
	FROM jobsched_internal.run q
	WHERE q.status OPERATOR(pg_catalog.=) 'running'
	UNION ALL
	SELECT a.run_id, a.attempt, a.job_id, a.owner, a.status, a.reason, a.started_at,
		a.finished_at, a.retry_at, a.error, a.sqlstate, a.error_detail, a.error_hint,
		a.error_context, a.worker_pid, a.callback
	FROM jobsched_internal.attempt a
	UNION ALL
	SELECT h.run_id, h.attempt, h.job_id, h.owner, h.status, h.reason, h.started_at,
		h.finished_at, CASE WHEN h.attempt OPERATOR(pg_catalog.<) 0 THEN h.finished_at END, h.error, h.sqlstate, h.error_detail, h.error_hint,
		h.error_context, h.worker_pid, h.handler IS NOT NULL
	FROM jobsched_internal.history h
	WHERE h.started_at IS NOT NULL
) t LEFT JOIN jobsched_internal.job_name_of n ON n.job_id OPERATOR(pg_catalog.=) t.job_id
WHERE jobsched_internal.may_see(t.owner)::integer OPERATOR(pg_catalog.<>) 0;
COMMENT ON VIEW jobsched.attempts IS 'Every attempt of every run: what is executed, what was tried again, and the last one of each run, which shows how that ended.';
COMMENT ON COLUMN jobsched.attempts.status IS 'running, succeeded, failed, cancelled, timed_out, lost, or snoozed (it called snooze())';
COMMENT ON COLUMN jobsched.attempts.error IS 'why it failed; this, error_detail, error_hint and error_context of a callback are only for the owner';
COMMENT ON COLUMN jobsched.attempts.retry_at IS 'when the attempt that follows was to begin; NULL for the last one';

CREATE VIEW jobsched.dead_letters WITH (security_invoker) AS
SELECT h.run_id,
	h.job_id,
	n.name AS job_name,
	pg_catalog.pg_get_userbyid(h.owner) AS owner,
	h.status,
	h.reason,
	h.attempt,
	h.source,
	h.scheduled_for,
	h.queued_at,
	h.started_at,
	h.finished_at,
	CASE WHEN jobsched_internal.may_read(h.owner, h.handler IS NOT NULL) THEN h.args END AS args,
	CASE WHEN jobsched_internal.may_read(h.owner, h.handler IS NOT NULL) THEN h.error END AS error,
	h.sqlstate
FROM jobsched_internal.history h
	LEFT JOIN jobsched_internal.job_name_of n ON n.job_id OPERATOR(pg_catalog.=) h.job_id
WHERE h.status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'timed_out', 'lost'])
	AND NOT EXISTS (SELECT FROM jobsched_internal.retried t
		WHERE t.run_id OPERATOR(pg_catalog.=) h.run_id)
	AND jobsched_internal.may_see(h.owner)::integer OPERATOR(pg_catalog.<>) 0;
COMMENT ON VIEW jobsched.dead_letters IS 'Runs that have failed for good, timed out or been lost, and that nobody has retried: retry_run() takes one, redrive() those of a job.';
COMMENT ON COLUMN jobsched.dead_letters.args IS 'its arguments; those of a callback hold a response, and are only for the owner';
COMMENT ON COLUMN jobsched.dead_letters.error IS 'why it failed; of a callback only for the owner';

CREATE FUNCTION jobsched.redrive(
	job text,
	since timestamptz DEFAULT '-infinity',
	max integer DEFAULT 1000)
RETURNS SETOF bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 100
BEGIN ATOMIC
	SELECT r.run_id
	FROM (SELECT jobsched_internal.redrive_run(d.run_id) AS run_id
		FROM (SELECT l.run_id FROM jobsched.dead_letters l
			WHERE l.job_id OPERATOR(pg_catalog.=) (SELECT jobsched_internal.job_id_of(redrive.job))
				AND l.finished_at OPERATOR(pg_catalog.>=) redrive.since
			ORDER BY l.run_id LIMIT redrive.max) d) r
	WHERE r.run_id IS NOT NULL;
END;
COMMENT ON FUNCTION jobsched.redrive IS 'Retries, as retry_run() does, the dead letters of a job that ended at or after since, the oldest first, max at most; returns the ids of the new runs. Passed over is what somebody else retries meanwhile, and, of several runs of one slot, all but the first.';

CREATE VIEW jobsched.running WITH (security_barrier) AS
SELECT w.run_id,
	w.job_id,
	j.name AS job_name,
	pg_catalog.pg_get_userbyid(w.owner) AS owner,
	w.attempt,
	r.source,
	r.scheduled_for,
	w.run_started_at AS started_at,
	jobsched_internal.clock_now() OPERATOR(pg_catalog.-) w.run_started_at AS elapsed,
	w.progress_done,
	w.progress_total,
	CASE WHEN jobsched_internal.may_read(w.owner, r.handler IS NOT NULL) THEN w.progress_message END AS progress_message,
	w.pid AS worker_pid
FROM jobsched_internal.workers() w
	LEFT JOIN jobsched_internal.job j ON j.job_id OPERATOR(pg_catalog.=) w.job_id
		AND jobsched_internal.may_see(jobsched_internal.owner_of(j.owner, j.owner_name, j.home))
	LEFT JOIN jobsched_internal.run r ON r.run_id OPERATOR(pg_catalog.=) w.run_id
WHERE w.run_id IS NOT NULL AND jobsched_internal.may_see(w.owner)
UNION ALL
SELECT f.run_id,
	f.job_id,
	j.name,
	pg_catalog.pg_get_userbyid(r.owner),
	f.attempt,
	r.source,
	r.scheduled_for,
	f.started_at,
	jobsched_internal.clock_now() OPERATOR(pg_catalog.-) f.started_at,
	NULL,
	NULL,
	NULL,
	f.pid
FROM jobsched_internal.flights() f
	JOIN jobsched_internal.run r ON r.run_id OPERATOR(pg_catalog.=) f.run_id
	LEFT JOIN jobsched_internal.job j ON j.job_id OPERATOR(pg_catalog.=) f.job_id
		AND jobsched_internal.may_see(jobsched_internal.owner_of(j.owner, j.owner_name, j.home))
WHERE jobsched_internal.may_see(r.owner);
COMMENT ON VIEW jobsched.running IS 'The runs that a worker executes at this moment, with their progress; HTTP requests that are under way.';

CREATE VIEW jobsched.upcoming WITH (security_barrier) AS
SELECT u.run_at, u.job_id, u.job_name, u.owner, u.source, u.run_id, u.schedule, u.timezone,
	CASE WHEN u.source OPERATOR(pg_catalog.=) 'schedule' THEN
		ARRAY(SELECT s FROM jobsched_internal.slots_of(u.job_name, u.schedule, u.timezone, u.anchor,
			u.run_at OPERATOR(pg_catalog.-) '1 microsecond'::interval, u.slots_left) s
			WHERE u.ends_at IS NULL OR s OPERATOR(pg_catalog.<=) u.ends_at)
		ELSE ARRAY[u.run_at] END AS next_runs
FROM (
	SELECT CASE WHEN s.schedule_revision OPERATOR(pg_catalog.=) j.schedule_revision
			THEN s.next_run_at ELSE j.first_run_at END AS run_at,
		j.job_id, j.name AS job_name, jobsched_internal.owner_name_of(j.owner, j.owner_name, j.home) AS owner,
		'schedule'::text AS source, NULL::bigint AS run_id, j.schedule, j.timezone, j.anchor, j.ends_at,
		LEAST(j.max_runs OPERATOR(pg_catalog.-) COALESCE(s.scheduled_runs, 0), 5)::integer AS slots_left
	FROM jobsched_internal.job j
		LEFT JOIN jobsched_internal.job_state s ON s.job_id OPERATOR(pg_catalog.=) j.job_id
	WHERE j.dropped_at IS NULL AND j.enabled AND NOT j.paused
		AND (s.auto_paused_revision IS NULL OR s.auto_paused_revision OPERATOR(pg_catalog.<>) j.revision)
		AND (j.max_runs IS NULL OR s.scheduled_runs IS NULL OR s.scheduled_runs OPERATOR(pg_catalog.<) j.max_runs)
		AND (s.invalid_revision IS NULL OR s.invalid_revision OPERATOR(pg_catalog.<>) j.revision)
		AND EXISTS (SELECT FROM jobsched_internal.identity i
			WHERE i.token OPERATOR(pg_catalog.=) j.home
				AND i.instance_id OPERATOR(pg_catalog.=) jobsched_internal.instance_id()
				AND i.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d
					WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()))
		AND jobsched_internal.may_see(jobsched_internal.owner_of(j.owner, j.owner_name, j.home))
	UNION ALL
	SELECT r.run_at, r.job_id, j.name, pg_catalog.pg_get_userbyid(r.owner),
		r.source, r.run_id, j.schedule, j.timezone, j.anchor, NULL, NULL
	FROM jobsched_internal.run r
		LEFT JOIN jobsched_internal.job j ON j.job_id OPERATOR(pg_catalog.=) r.job_id
			AND jobsched_internal.may_see(jobsched_internal.owner_of(j.owner, j.owner_name, j.home))
	WHERE r.status OPERATOR(pg_catalog.<>) 'running' AND jobsched_internal.may_see(r.owner)
) u
WHERE u.run_at IS NOT NULL;
COMMENT ON VIEW jobsched.upcoming IS 'What will run next: the next slot of each active job (next_runs: the next five) and the runs that are queued.';

CREATE VIEW jobsched.run_logs WITH (security_invoker) AS
SELECT l.run_id, l.attempt, l.job_id, n.name AS job_name, pg_catalog.pg_get_userbyid(l.owner) AS owner,
	l.seq, l.logged_at, l.level,
	CASE WHEN jobsched_internal.may_read(l.owner, l.callback) THEN l.message END AS message
FROM jobsched_internal.run_log l
	LEFT JOIN jobsched_internal.job_name_of n ON n.job_id OPERATOR(pg_catalog.=) l.job_id
WHERE jobsched_internal.may_see(l.owner)::integer OPERATOR(pg_catalog.<>) 0;
COMMENT ON VIEW jobsched.run_logs IS 'Messages that runs raised or logged, kept as long as the run.';
COMMENT ON COLUMN jobsched.run_logs.message IS 'what was said; of a callback only for the owner';

CREATE VIEW jobsched.http_responses WITH (security_invoker) AS
SELECT r.run_id,
	r.attempt,
	r.job_id,
	n.name AS job_name,
	pg_catalog.pg_get_userbyid(r.owner) AS owner,
	r.status,
	r.responded_at,
	r.method,
	CASE WHEN jobsched_internal.may_manage(r.owner) THEN r.url END AS url,
	CASE WHEN jobsched_internal.may_manage(r.owner) THEN r.headers END AS headers,
	CASE WHEN jobsched_internal.may_manage(r.owner) THEN r.body END AS body,
	CASE WHEN jobsched_internal.may_manage(r.owner) THEN r.body_bytes END AS body_bytes,
	r.body_size,
	r.truncated,
	CASE r.http_version WHEN 10 THEN '1.0' WHEN 11 THEN '1.1' WHEN 20 THEN '2' WHEN 30 THEN '3' END AS http_version,
	CASE WHEN jobsched_internal.may_manage(r.owner) THEN r.remote_address END AS remote_address,
	r.remote_port,
	r.resolved,
	r.connected,
	r.secured,
	r.first_byte,
	r.total
FROM jobsched_internal.http_response r
	LEFT JOIN jobsched_internal.job_name_of n ON n.job_id OPERATOR(pg_catalog.=) r.job_id
WHERE jobsched_internal.may_manage(r.owner)::integer OPERATOR(pg_catalog.<>) 0;
COMMENT ON VIEW jobsched.http_responses IS 'What servers answered to HTTP requests: a row for each attempt that was sent, kept as long as the run. Only for the owner; not for pg_monitor.';
COMMENT ON COLUMN jobsched.http_responses.status IS 'of the response; NULL if none came, and view runs or attempts says why';
COMMENT ON COLUMN jobsched.http_responses.url IS 'where the request went, in the end; *** stands for secrets';
COMMENT ON COLUMN jobsched.http_responses.headers IS 'an array of [name, value], in the order in which they came';
COMMENT ON COLUMN jobsched.http_responses.body IS 'the body, or its first jobsched.http_max_response, unpacked, in the encoding of the database, if it is text';
COMMENT ON COLUMN jobsched.http_responses.body_bytes IS 'the same if it is not';
COMMENT ON COLUMN jobsched.http_responses.body_size IS 'bytes of the body, unpacked, that were kept';
COMMENT ON COLUMN jobsched.http_responses.truncated IS 'whether there was more, or it was compressed and ended too early';
COMMENT ON COLUMN jobsched.http_responses.resolved IS 'time from the start until the name was resolved; then until there was a connection (connected), TLS was agreed upon (secured), the first byte came (first_byte) and the last (total)';

CREATE VIEW jobsched.workers WITH (security_barrier) AS
SELECT w.slot, pg_catalog.pg_get_userbyid(w.owner) AS owner, w.pid, w.state, w.started_at,
	w.runs, w.run_id, w.assigned
FROM jobsched_internal.workers() w
WHERE jobsched_internal.may_see(w.owner);
COMMENT ON VIEW jobsched.workers IS 'The worker processes of this database: whose they are, what they do and how many runs they have done.';

CREATE VIEW jobsched.queues WITH (security_barrier) AS
SELECT d.name,
	jobsched_internal.owner_name_of(d.owner, d.owner_name, d.home) AS owner,
	d.max_running,
	d.rate,
	d.per,
	CASE WHEN d.rate IS NOT NULL THEN d.burst END AS burst,
	d.paused,
	COALESCE(n.running, 0) AS running,
	COALESCE(n.waiting, 0) AS waiting
FROM jobsched_internal.limit_definition d
	LEFT JOIN (
		SELECT j.owner, j.home, j.queue,
			pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.=) 'running') AS running,
			pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.<>) 'running') AS waiting
		FROM jobsched_internal.run r
			JOIN jobsched_internal.job j ON j.job_id OPERATOR(pg_catalog.=) r.job_id
		WHERE j.queue IS NOT NULL
			AND (r.status OPERATOR(pg_catalog.=) 'running' OR r.run_at OPERATOR(pg_catalog.<=) jobsched_internal.clock_now())
		GROUP BY 1, 2, 3
	) n ON n.owner OPERATOR(pg_catalog.=) d.owner AND n.home OPERATOR(pg_catalog.=) d.home AND n.queue OPERATOR(pg_catalog.=) d.name
WHERE d.kind OPERATOR(pg_catalog.=) 'queue' AND jobsched_internal.may_see(jobsched_internal.owner_of(d.owner, d.owner_name, d.home));
COMMENT ON VIEW jobsched.queues IS 'The queues that set_queue() has defined, and what is in them.';
COMMENT ON COLUMN jobsched.queues.running IS 'runs that are with a worker';
COMMENT ON COLUMN jobsched.queues.waiting IS 'runs that are due and wait, for whatever reason';

CREATE VIEW jobsched.limits WITH (security_barrier) AS
SELECT d.name AS key_class,
	jobsched_internal.owner_name_of(d.owner, d.owner_name, d.home) AS owner,
	d.max_running,
	d.rate,
	d.per,
	CASE WHEN d.rate IS NOT NULL THEN d.burst END AS burst,
	COALESCE(n.keys, 0) AS keys,
	COALESCE(n.running, 0) AS running,
	COALESCE(n.waiting, 0) AS waiting
FROM jobsched_internal.limit_definition d
	LEFT JOIN (
		SELECT j.owner, j.home, pg_catalog.split_part(k.key, ':', 1) AS class,
			pg_catalog.count(DISTINCT k.key) AS keys,
			pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.=) 'running') AS running,
			pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.<>) 'running') AS waiting
		FROM jobsched_internal.run r
			JOIN jobsched_internal.job j ON j.job_id OPERATOR(pg_catalog.=) r.job_id
			CROSS JOIN LATERAL pg_catalog.unnest(r.keys) AS k (key)
		WHERE r.status OPERATOR(pg_catalog.=) 'running' OR r.run_at OPERATOR(pg_catalog.<=) jobsched_internal.clock_now()
		GROUP BY 1, 2, 3
	) n ON n.owner OPERATOR(pg_catalog.=) d.owner AND n.home OPERATOR(pg_catalog.=) d.home AND n.class OPERATOR(pg_catalog.=) d.name
WHERE d.kind OPERATOR(pg_catalog.=) 'class' AND jobsched_internal.may_see(jobsched_internal.owner_of(d.owner, d.owner_name, d.home));
COMMENT ON VIEW jobsched.limits IS 'The limits of keys that set_limit() has defined, and how many runs all keys of each class have together.';
COMMENT ON COLUMN jobsched.limits.keys IS 'different keys of runs that run or wait';
COMMENT ON COLUMN jobsched.limits.running IS 'runs that are with a worker';
COMMENT ON COLUMN jobsched.limits.waiting IS 'runs that are due and wait, for whatever reason';

CREATE VIEW jobsched.secrets WITH (security_barrier) AS
SELECT s.name,
	pg_catalog.pg_get_userbyid(s.owner) AS owner,
	s.created_at,
	s.updated_at
FROM jobsched_internal.secret s
WHERE jobsched_internal.may_see(s.owner);
COMMENT ON VIEW jobsched.secrets IS 'The secrets that set_secret() has kept, without their values.';

CREATE FUNCTION jobsched.health(OUT "check" text, OUT status text, OUT value text, OUT message text)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 8 AS 'MODULE_PATHNAME', 'jobsched_health';
COMMENT ON FUNCTION jobsched.health IS 'One row for each check; status is ok, warning or error. Shows no job''s data.';

