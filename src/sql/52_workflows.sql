-- Workflows as people see them: what has become of the steps of a run, or of the
-- members of a batch, in one row; and as a graph.
--
-- Indexes run_workflow and history_workflow have the runs that are rows here, so that
-- those of other jobs are not read.  (Who writes other rows does not open them.)  Each row
-- counts what belongs to it when it is read, by the index of children: a page costs
-- as much as it shows.  Nothing is counted before, and nobody writes a number that
-- others want to change.  Of a batch that has ended its result has the numbers.

CREATE VIEW jobsched.workflows WITH (security_invoker) AS
SELECT w.run_id,
	w.job_id,
	n.name AS workflow,
	pg_catalog.pg_get_userbyid(w.owner) AS owner,
	w.workflow AS kind,
	w.status,
	CASE WHEN w.status = 'queued' THEN (SELECT r.reason FROM jobsched.runs r WHERE r.run_id = w.run_id)
		ELSE w.reason END AS reason,
	CASE WHEN w.is_counted THEN (w.result ->> 'total')::bigint ELSE m.total END AS total,
	m.waiting,
	m.queued,
	m.running,
	m.retrying,
	CASE WHEN w.is_counted THEN (w.result ->> 'succeeded')::bigint ELSE m.succeeded END AS succeeded,
	CASE WHEN w.is_counted THEN (w.result ->> 'failed')::bigint ELSE m.failed END AS failed,
	CASE WHEN w.is_counted THEN (w.result ->> 'timed_out')::bigint ELSE m.timed_out END AS timed_out,
	CASE WHEN w.is_counted THEN (w.result ->> 'lost')::bigint ELSE m.lost END AS lost,
	CASE WHEN w.is_counted THEN (w.result ->> 'cancelled')::bigint ELSE m.cancelled END AS cancelled,
	CASE WHEN w.is_counted THEN (w.result ->> 'skipped')::bigint ELSE m.skipped END AS skipped,
	CASE WHEN w.finished_at IS NOT NULL THEN 1
		WHEN m.total = 0 THEN 0
		ELSE (m.total - m.waiting - m.queued - m.running - m.retrying) / m.total::double precision END AS progress,
	w.queued_at,
	w.started_at,
	w.finished_at,
	w.finished_at - w.started_at AS duration,
	jobsched_internal.milliseconds(w.finished_at - w.started_at) AS duration_ms,
	CASE WHEN w.workflow = 'steps' THEN (SELECT pg_catalog.split_part(s.name, '.', -1)
		FROM jobsched_internal.job_name_of s WHERE s.job_id = m.current_job_id) END AS current_step,
	m.current_run_id,
	CASE WHEN w.workflow = 'steps' THEN (SELECT pg_catalog.split_part(s.name, '.', -1)
		FROM jobsched_internal.job_name_of s WHERE s.job_id = m.failed_job_id) END AS first_failed_step,
	m.failed_run_id AS first_failed_run_id,
	CASE WHEN jobsched_internal.may_see(w.owner) THEN w.args END AS args,
	CASE WHEN jobsched_internal.may_see(w.owner) THEN w.result END AS result,
	CASE WHEN jobsched_internal.may_see(w.owner) THEN w.error END AS error
FROM (
	SELECT q.run_id, q.job_id, q.owner, q.workflow,
		CASE q.status WHEN 'waiting' THEN 'running' ELSE q.status END AS status, q.reason, q.queued_at,
		CASE WHEN q.status = ANY (ARRAY['running', 'waiting']) THEN q.claimed_at END AS started_at,
		CASE WHEN q.attempt < 0 THEN q.run_at END AS finished_at, q.args,
		CASE WHEN q.attempt < 0 THEN q.args END AS result,
		CASE WHEN q.attempt < 0 THEN q.status END AS error,
		q.attempt < 0 AS is_counted
	FROM jobsched_internal.run q
	UNION ALL
	SELECT h.run_id, h.job_id, h.owner, h.workflow, h.status, h.reason, h.queued_at, h.started_at,
		h.finished_at, h.args, h.result, h.error,
		h.source = 'batch' AND COALESCE(h.result ? 'total', false)
	FROM jobsched_internal.history h
) w LEFT JOIN jobsched_internal.job_name_of n ON n.job_id = w.job_id
	-- as aggregates of one row: so the planner knows that it is one, and leaves the
	-- call out of a query that needs none of its columns
	LEFT JOIN LATERAL (SELECT max(c.total) AS total, max(c.waiting) AS waiting, max(c.queued) AS queued,
			max(c.running) AS running, max(c.retrying) AS retrying, max(c.succeeded) AS succeeded,
			max(c.failed) AS failed, max(c.timed_out) AS timed_out, max(c.lost) AS lost,
			max(c.cancelled) AS cancelled, max(c.skipped) AS skipped,
			max(c.current_run_id) AS current_run_id, max(c.current_job_id) AS current_job_id,
			max(c.failed_run_id) AS failed_run_id, max(c.failed_job_id) AS failed_job_id
		FROM jobsched_internal.members_of(w.run_id, w.is_counted,
			w.status <> ALL (ARRAY['cancelled', 'timed_out'])) c) m ON true
WHERE w.workflow IS NOT NULL AND jobsched_internal.may_see(w.owner)::integer <> 0;
COMMENT ON VIEW jobsched.workflows IS 'A row for each run of a job made of steps and for each batch: how far it has come, counts by status, what holds it up and what has failed first.';
COMMENT ON COLUMN jobsched.workflows.kind IS 'steps or batch';
COMMENT ON COLUMN jobsched.workflows.total IS 'its steps, or the members of the batch; 0 before it has begun';
COMMENT ON COLUMN jobsched.workflows.waiting IS 'of these: how many wait for others of them, or for events';
COMMENT ON COLUMN jobsched.workflows.queued IS 'how many could start';
COMMENT ON COLUMN jobsched.workflows.progress IS 'which share of them has ended, from 0 to 1';
COMMENT ON COLUMN jobsched.workflows.current_step IS 'the first that is executed, or else the first that could start: it holds the workflow up';
COMMENT ON COLUMN jobsched.workflows.first_failed_step IS 'the first that has failed and is not optional';

-- A plan takes each run to have as many steps as the largest batch has members, and
-- would be compiled for that.
CREATE FUNCTION jobsched.workflow_graph(run_id bigint) RETURNS jsonb
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED SET jit = off
BEGIN ATOMIC
	WITH steps AS MATERIALIZED (
		SELECT r.run_id, j.step_no, COALESCE(j.step_after, ARRAY[j.step_undoes]) AS step_after, j.step_when,
			COALESCE(pg_catalog.split_part(r.job_name, '.', -1), r.run_id::text) AS id,
			r.status, r.reason, r.optional, r.attempt, r.queued_at, r.started_at, r.finished_at, r.error
		FROM jobsched.runs r JOIN jobsched_internal.job_of_run j ON j.job_id = r.job_id
		WHERE r.parent_run_id = workflow_graph.run_id AND r.source = 'step'
	)
	SELECT pg_catalog.jsonb_build_object('run_id', w.run_id, 'workflow', w.workflow, 'kind', w.kind,
		'status', w.status, 'reason', w.reason, 'started_at', w.started_at, 'finished_at', w.finished_at,
		'nodes', COALESCE(CASE WHEN w.kind = 'steps' THEN (
			SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('id', s.id, 'step_no', s.step_no,
				'run_id', s.run_id, 'status', s.status, 'reason', s.reason, 'optional', s.optional,
				'attempt', s.attempt, 'queued_at', s.queued_at, 'started_at', s.started_at,
				'finished_at', s.finished_at, 'error', s.error) ORDER BY s.step_no)
			FROM steps s)
		ELSE (
			SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('id', c.status, 'status', c.status,
				'runs', c.runs) ORDER BY c.place)
			FROM (VALUES (1, 'waiting', w.waiting), (2, 'queued', w.queued), (3, 'running', w.running),
				(4, 'retrying', w.retrying), (5, 'succeeded', w.succeeded), (6, 'failed', w.failed),
				(7, 'timed_out', w.timed_out), (8, 'lost', w.lost), (9, 'cancelled', w.cancelled),
				(10, 'skipped', w.skipped)) c (place, status, runs)
			WHERE c.runs > 0)
		END, '[]'),
		'edges', COALESCE((
			SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('from', f.id, 'to', t.id, 'when', t.step_when)
				ORDER BY t.step_no, f.step_no)
			FROM steps t CROSS JOIN LATERAL pg_catalog.unnest(t.step_after) a (step_no)
				JOIN steps f ON f.step_no = a.step_no), '[]'))
	FROM jobsched.workflows w
	WHERE w.run_id = workflow_graph.run_id;
END;
COMMENT ON FUNCTION jobsched.workflow_graph IS
'The steps of a run of a job made of steps as nodes, and as edges which of them wait for which; of a batch '
'the numbers of its members by status. NULL if it is neither.';
