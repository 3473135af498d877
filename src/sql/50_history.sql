-- Runs that have ended, and the views that show every run and every attempt.

-- Where the rings of history stand.  Ring 0 holds successes, ring 1 the rest.
CREATE TABLE jobsched_internal.ring (
	ring smallint PRIMARY KEY,
	segment smallint NOT NULL,
	started_at timestamptz NOT NULL
);

-- What has ended.  Append only; a segment is a partition, the oldest is
-- TRUNCATEd when its ring comes round to it (src/store_history.c); what is needed
-- for longer is moved to history_kept before.
CREATE TABLE jobsched_internal.history (
	run_id bigint NOT NULL,
	segment smallint NOT NULL,
	attempt integer NOT NULL,
	job_id bigint NOT NULL,
	owner oid NOT NULL,
	worker_pid integer,
	missed_count integer NOT NULL,
	priority integer NOT NULL,
	status text NOT NULL,
	source text NOT NULL,
	run_at timestamptz NOT NULL,
	queued_at timestamptz NOT NULL,
	started_at timestamptz,
	finished_at timestamptz NOT NULL,
	scheduled_for timestamptz,
	reason text,
	sqlstate text,
	error text,
	error_detail text,
	error_hint text,
	error_context text,
	keys text[],
	args jsonb,
	result jsonb,
	handler text,
	request jsonb,
	traceparent text,
	parent_run_id bigint,
	optional boolean,
	-- 'steps' or 'batch' if it was one of these
	workflow text,
	wait_for text[],
	wait_timeout interval,
	-- of its job when it was executed (src/store/store_command.c), and what the last
	-- statement of a command has said
	job_revision bigint,
	command_tag text,
	PRIMARY KEY (run_id, segment)
) PARTITION BY LIST (segment);
CREATE INDEX history_job ON jobsched_internal.history (job_id, run_id);
CREATE INDEX history_parent ON jobsched_internal.history (parent_run_id, run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX history_workflow ON jobsched_internal.history (run_id, workflow) WHERE workflow IS NOT NULL;
CREATE INDEX history_finished_at ON jobsched_internal.history USING brin (finished_at) WITH (pages_per_range = 32);

-- Attempts that were followed by others; the last one is its run's row in
-- history.  In ring 1.
CREATE TABLE jobsched_internal.attempt (
	run_id bigint NOT NULL,
	segment smallint NOT NULL,
	attempt integer NOT NULL,
	job_id bigint NOT NULL,
	owner oid NOT NULL,
	worker_pid integer,
	status text NOT NULL,
	started_at timestamptz,
	finished_at timestamptz NOT NULL,
	-- when the next one was to begin
	retry_at timestamptz NOT NULL,
	reason text,
	sqlstate text,
	error text,
	error_detail text,
	error_hint text,
	error_context text,
	-- of a callback: what it says is for its owner alone
	callback boolean NOT NULL,
	PRIMARY KEY (run_id, attempt, segment)
) PARTITION BY LIST (segment);
CREATE INDEX attempt_job ON jobsched_internal.attempt (job_id, run_id);

CREATE FUNCTION jobsched_internal.command_of(job_id bigint, revision bigint) RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 5 AS 'MODULE_PATHNAME', 'jobsched_command_of';

CREATE VIEW jobsched.runs WITH (security_invoker) AS
SELECT r.run_id,
	r.job_id,
	n.name AS job_name,
	pg_catalog.pg_get_userbyid(r.owner) AS owner,
	r.status,
	CASE WHEN r.status <> 'queued' THEN r.reason
		WHEN r.after_when IS NOT NULL AND r.attempt = 0 AND jobsched_internal.waits(r.run_id)
			THEN 'waiting_for_upstream'
		WHEN r.wait_for IS NOT NULL AND r.attempt = 0 AND jobsched_internal.awaits(r.run_id, r.wait_for) <> '{}'
			THEN 'waiting_for_event'
		WHEN s.run_at > jobsched_internal.clock_now() AND r.attempt = 0 THEN 'not_due'
		WHEN (SELECT p.stopped FROM jobsched_internal.processing p) THEN 'processing_stopped'
		WHEN r.paused THEN 'job_paused'
		WHEN r.reason IS NOT NULL THEN r.reason
		WHEN r.keys IS NOT NULL OR r.limited
			OR pg_catalog.current_setting('jobsched.max_running_per_owner') <> '0' THEN 'waiting_for_turn'
		ELSE 'waiting_for_worker' END AS reason,
	r.source,
	r.parent_run_id,
	r.optional,
	r.attempt,
	r.priority,
	r.scheduled_for,
	s.run_at,
	r.queued_at,
	r.started_at,
	r.finished_at,
	r.finished_at - r.started_at AS duration,
	jobsched_internal.milliseconds(r.finished_at - r.started_at) AS duration_ms,
	r.missed_count,
	CASE WHEN jobsched_internal.may_see(r.owner) THEN r.keys END AS keys,
	CASE WHEN jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN r.args END AS args,
	CASE WHEN jobsched_internal.may_see(r.owner) THEN r.request END AS request,
	CASE WHEN jobsched_internal.may_see(r.owner) THEN r.handler END AS handler,
	CASE WHEN jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN r.result END AS result,
	CASE WHEN NOT jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN NULL
		WHEN r.status = 'retrying' THEN (SELECT a.error
		FROM jobsched_internal.attempt a WHERE a.run_id = r.run_id
			AND a.attempt = r.attempt)
		ELSE r.error END AS error,
	CASE WHEN r.status = 'retrying' THEN (SELECT a.sqlstate
		FROM jobsched_internal.attempt a WHERE a.run_id = r.run_id
			AND a.attempt = r.attempt)
		ELSE r.sqlstate END AS sqlstate,
	CASE WHEN jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN r.error_detail END AS error_detail,
	CASE WHEN jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN r.error_hint END AS error_hint,
	CASE WHEN jobsched_internal.may_read(r.owner, r.handler IS NOT NULL) THEN r.error_context END AS error_context,
	CASE WHEN r.status = 'running' THEN (SELECT w.pid
		FROM jobsched_internal.workers() w WHERE w.run_id = r.run_id)
		ELSE r.worker_pid END AS worker_pid,
	r.command_tag,
	CASE WHEN jobsched_internal.may_see(r.owner) AND r.handler IS NULL AND r.request IS NULL
		THEN jobsched_internal.command_of(r.job_id, r.job_revision) END AS command
FROM (
	SELECT q.run_id, q.job_id, q.owner, CASE q.status WHEN 'waiting' THEN 'running' ELSE q.status END AS status,
		q.reason, q.source, q.attempt, q.priority,
		q.scheduled_for, q.run_at, q.queued_at,
		CASE q.status WHEN 'waiting' THEN q.claimed_at
			WHEN 'running' THEN (SELECT w.run_started_at FROM jobsched_internal.workers() w WHERE w.run_id = q.run_id)
			END AS started_at,
		CASE WHEN q.attempt < 0 THEN q.run_at END AS finished_at, q.missed_count, q.keys, q.args, q.request, q.handler,
		CASE WHEN q.attempt < 0 THEN q.args END AS result,
		CASE WHEN q.attempt < 0 THEN q.status END AS error,
		CASE WHEN q.attempt < 0 THEN q.status END AS sqlstate,
		CASE WHEN q.attempt < 0 THEN q.status END AS error_detail,
		CASE WHEN q.attempt < 0 THEN q.status END AS error_hint,
		CASE WHEN q.attempt < 0 THEN q.status END AS error_context,
		CASE WHEN q.attempt < 0 THEN q.attempt END AS worker_pid, q.after_when, q.parent_run_id, q.optional, q.wait_for,
		CASE WHEN q.attempt < 0 THEN q.run_id END AS job_revision, CASE WHEN q.attempt < 0 THEN q.status END AS command_tag,
		-- here, lest the planner expects what they cost for each row of history
		(SELECT j.paused FROM jobsched_internal.job_of_run j WHERE j.job_id = q.job_id) AS paused,
		(SELECT j.limited FROM jobsched_internal.job_of_run j WHERE j.job_id = q.job_id) AS limited,
		(SELECT j.step_delay IS NOT NULL FROM jobsched_internal.job_of_run j WHERE j.job_id = q.job_id) AS delayed
	FROM jobsched_internal.run q
	UNION ALL
	SELECT h.run_id, h.job_id, h.owner, h.status, h.reason, h.source, h.attempt, h.priority,
		h.scheduled_for, h.run_at, h.queued_at, h.started_at,
		h.finished_at, h.missed_count, h.keys, h.args, h.request, h.handler, h.result,
		h.error, h.sqlstate, h.error_detail,
		h.error_hint, h.error_context, h.worker_pid,
		CASE WHEN h.attempt < 0 THEN h.status END, h.parent_run_id, h.optional, h.wait_for,
		h.job_revision, h.command_tag,
		CASE WHEN h.attempt < 0 THEN h.optional END, CASE WHEN h.attempt < 0 THEN h.optional END,
		CASE WHEN h.attempt < 0 THEN h.optional END
	FROM jobsched_internal.history h
) r LEFT JOIN jobsched_internal.job_name_of n ON n.job_id = r.job_id,
	LATERAL (SELECT CASE WHEN r.status = 'queued' AND r.after_when IS NOT NULL AND r.attempt = 0 AND r.delayed
		THEN jobsched_internal.starts_at(r.run_id) ELSE r.run_at END AS run_at) s
WHERE jobsched_internal.may_see(r.owner)::integer <> 0;
COMMENT ON VIEW jobsched.runs IS 'Every run: waiting, running and ended, until jobsched.history_retention (or failure_retention) removes it.';
COMMENT ON COLUMN jobsched.runs.status IS 'queued, running, retrying; succeeded, failed, cancelled, timed_out, lost, skipped, missed';
COMMENT ON COLUMN jobsched.runs.reason IS 'machine-readable cause of a status other than succeeded; waiting_for_children of a running one that has been executed; of a queued run what it waits for (waiting_for_upstream: other runs, waiting_for_event: events, see view waiting; not_due, processing_stopped, job_paused, waiting_for_run: its job''s other runs, waiting_for_worker, or waiting_for_turn if any limit may be what it waits for) or what sent it back to the queue (worker_died, server_restarted, reset)';
COMMENT ON COLUMN jobsched.runs.parent_run_id IS 'the run that has queued it as its child, the batch that it is a member of, the run of the job that it is a step of, or that of the step that it is an element of; it does not end before';
COMMENT ON COLUMN jobsched.runs.optional IS 'whether its parent can succeed though it fails';
COMMENT ON COLUMN jobsched.runs.run_at IS 'when it is, or was, to start; of a retrying run when its next attempt is to begin';
COMMENT ON COLUMN jobsched.runs.error IS 'why it failed; of a retrying run why its last attempt did; this, error_detail, error_hint and error_context of a callback are only for the owner';
COMMENT ON COLUMN jobsched.runs.source IS 'what asked for the run: schedule, startup, trigger, backfill, retry (retry_run(), redrive()), callback (on_success, on_failure), batch (trigger_batch(): it executes nothing, and ends when its members have), step (the run of the job that it is a step of) or item (the run of the step that it is an element of, or that runs its job)';
COMMENT ON COLUMN jobsched.runs.command_tag IS 'what the last statement of a command has said, such as SELECT 5 or INSERT 0 1; of a run that has succeeded';
COMMENT ON COLUMN jobsched.runs.command IS 'of a run that has ended: the command as it was executed, for who may see the job''s; NULL if it was none, or is not known any more';
COMMENT ON COLUMN jobsched.runs.request IS 'what it sends, if that is not its job''s request';
COMMENT ON COLUMN jobsched.runs.handler IS 'what it executes, if it is a callback';
COMMENT ON COLUMN jobsched.runs.args IS 'its arguments; those of a callback hold a response, and are only for the owner';
COMMENT ON COLUMN jobsched.runs.result IS 'what it returned; of a callback only for the owner';
COMMENT ON COLUMN jobsched.runs.keys IS 'what limits of keys hold for; made from the templates of its job when it was queued';
COMMENT ON COLUMN jobsched.runs.missed_count IS 'slots that this run makes up for besides its own, or that this row stands for';

CREATE VIEW jobsched.steps WITH (security_invoker) AS
SELECT r.parent_run_id AS workflow_run_id,
	w.name AS workflow,
	pg_catalog.split_part(r.job_name, '.', -1) AS step,
	j.step_no,
	r.run_id,
	r.status,
	r.reason,
	r.optional,
	r.attempt,
	r.queued_at,
	r.run_at,
	r.started_at,
	r.finished_at,
	r.duration,
	r.duration_ms,
	r.result,
	r.error,
	j.step_for_each AS for_each,
	CASE WHEN j.step_for_each AND (r.started_at IS NOT NULL OR r.finished_at IS NOT NULL) THEN (
		SELECT pg_catalog.jsonb_build_object('total', m.total, 'waiting', m.waiting, 'queued', m.queued,
			'running', m.running, 'retrying', m.retrying, 'succeeded', m.succeeded, 'failed', m.failed,
			'timed_out', m.timed_out, 'lost', m.lost, 'cancelled', m.cancelled, 'skipped', m.skipped)
		FROM jobsched_internal.members_of(r.run_id, false, true) m) END AS items
FROM jobsched.runs r
	LEFT JOIN jobsched_internal.job_of_run j ON j.job_id = r.job_id
	LEFT JOIN jobsched_internal.job_name_of w ON w.job_id = j.workflow_id
-- always so of a step; an index has those that are children
WHERE r.source = 'step' AND r.parent_run_id IS NOT NULL;
COMMENT ON VIEW jobsched.steps IS 'The runs of steps, as view runs shows them.';
COMMENT ON COLUMN jobsched.steps.workflow_run_id IS 'the run of the job that is made of these steps';
COMMENT ON COLUMN jobsched.steps.workflow IS 'the name of that job';
COMMENT ON COLUMN jobsched.steps.step_no IS 'its place in an order in which each step comes after all that it waits for';
COMMENT ON COLUMN jobsched.steps.optional IS 'whether the workflow can succeed though it fails';
COMMENT ON COLUMN jobsched.steps.for_each IS 'whether there is a run for each of many elements, see view step_items';
COMMENT ON COLUMN jobsched.steps.items IS 'of these, as they are now: how many there are, and how many of each status, as in view workflows; NULL if it has not begun';

CREATE VIEW jobsched.step_items WITH (security_invoker) AS
SELECT s.workflow_run_id,
	s.workflow,
	s.step,
	s.step_no,
	CASE WHEN s.for_each IS NOT FALSE AND pg_catalog.jsonb_typeof(r.args -> 'index') = 'number'
		THEN (r.args -> 'index')::integer END AS item,
	r.run_id,
	r.parent_run_id AS step_run_id,
	r.status,
	r.reason,
	r.attempt,
	r.queued_at,
	r.started_at,
	r.finished_at,
	r.duration,
	r.duration_ms,
	CASE WHEN s.for_each IS NOT FALSE THEN r.args -> 'item' END AS value,
	r.result,
	r.error
FROM jobsched.steps s
	JOIN jobsched.runs r ON r.parent_run_id = s.run_id
WHERE r.source = 'item' AND r.parent_run_id IS NOT NULL;
COMMENT ON VIEW jobsched.step_items IS 'The runs of the elements of steps with for_each, and of the jobs that steps run, as view runs shows them.';
COMMENT ON COLUMN jobsched.step_items.item IS 'which element it is, from 0, as args.index of the run has it; NULL: the run of the job that the step runs';
COMMENT ON COLUMN jobsched.step_items.step_run_id IS 'the run of the step, which is in view steps';
COMMENT ON COLUMN jobsched.step_items.value IS 'the element, as args.item of the run has it';

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
	t.finished_at - t.started_at AS duration,
	jobsched_internal.milliseconds(t.finished_at - t.started_at) AS duration_ms,
	t.retry_at,
	CASE WHEN jobsched_internal.may_read(t.owner, t.callback) THEN t.error END AS error,
	t.sqlstate,
	CASE WHEN jobsched_internal.may_read(t.owner, t.callback) THEN t.error_detail END AS error_detail,
	CASE WHEN jobsched_internal.may_read(t.owner, t.callback) THEN t.error_hint END AS error_hint,
	CASE WHEN jobsched_internal.may_read(t.owner, t.callback) THEN t.error_context END AS error_context,
	t.worker_pid
FROM (
	SELECT q.run_id, q.attempt, q.job_id, q.owner,
		CASE q.status WHEN 'waiting' THEN 'running' ELSE q.status END AS status, q.reason, q.claimed_at AS started_at,
		CASE WHEN q.attempt < 0 THEN q.run_at END AS finished_at,
		CASE WHEN q.attempt < 0 THEN q.run_at END AS retry_at,
		CASE WHEN q.attempt < 0 THEN q.status END AS error,
		CASE WHEN q.attempt < 0 THEN q.status END AS sqlstate,
		CASE WHEN q.attempt < 0 THEN q.status END AS error_detail,
		CASE WHEN q.attempt < 0 THEN q.status END AS error_hint,
		CASE WHEN q.attempt < 0 THEN q.status END AS error_context,
		CASE WHEN q.attempt < 0 THEN q.attempt END AS worker_pid, q.handler IS NOT NULL AS callback,
		q.status = ANY (ARRAY['running', 'waiting']) AND q.source <> 'batch' AS is_attempt
	FROM jobsched_internal.run q
	UNION ALL
	SELECT a.run_id, a.attempt, a.job_id, a.owner, a.status, a.reason, a.started_at,
		a.finished_at, a.retry_at, a.error, a.sqlstate, a.error_detail, a.error_hint,
		a.error_context, a.worker_pid, a.callback, a.attempt IS NOT NULL
	FROM jobsched_internal.attempt a
	UNION ALL
	SELECT h.run_id, h.attempt, h.job_id, h.owner, h.status, h.reason, h.started_at,
		h.finished_at, CASE WHEN h.attempt < 0 THEN h.finished_at END, h.error, h.sqlstate, h.error_detail, h.error_hint,
		h.error_context, h.worker_pid, h.handler IS NOT NULL,
		h.started_at IS NOT NULL AND h.source <> 'batch'
	FROM jobsched_internal.history h
) t LEFT JOIN jobsched_internal.job_name_of n ON n.job_id = t.job_id
-- a condition up here keeps the order of the indexes below
WHERE t.is_attempt AND jobsched_internal.may_see(t.owner)::integer <> 0;
COMMENT ON VIEW jobsched.attempts IS 'Every attempt of every run: what is executed, what was tried again, and the last one of each run, which shows how that ended.';
COMMENT ON COLUMN jobsched.attempts.status IS 'running, succeeded, failed, cancelled, timed_out, lost, or snoozed (it called snooze())';
COMMENT ON COLUMN jobsched.attempts.error IS 'why it failed; this, error_detail, error_hint and error_context of a callback are only for the owner';
COMMENT ON COLUMN jobsched.attempts.retry_at IS 'when the attempt that follows was to begin; NULL for the last one';
