-- Workflows as people see them: what has become of the steps of a run, or of the
-- members of a batch, in one row; and as a graph.
--
-- Index run_workflow and its like of history have the runs that are rows here, so
-- that those of other jobs are not read.  Each row counts what belongs to it when it
-- is read, by the index of children: a page costs as much as it shows.  Nothing is
-- counted before, and nobody writes a number that others want to change.  Of a batch
-- that has ended its result has the numbers.

CREATE VIEW jobsched.workflows WITH (security_invoker) AS
SELECT w.run_id,
	w.job_id,
	n.name AS workflow,
	pg_catalog.pg_get_userbyid(w.owner) AS owner,
	w.workflow AS kind,
	w.status,
	CASE WHEN w.status = 'queued' THEN (SELECT r.reason FROM jobsched.runs r WHERE r.run_id = w.run_id)
		ELSE w.reason END AS reason,
	CASE WHEN w.is_counted THEN (w.result ->> 'total')::bigint ELSE c.total END AS total,
	CASE WHEN w.is_counted THEN 0 ELSE c.waiting END AS waiting,
	CASE WHEN w.is_counted THEN 0 ELSE c.queued END AS queued,
	CASE WHEN w.is_counted THEN 0 ELSE c.running END AS running,
	CASE WHEN w.is_counted THEN 0 ELSE c.retrying END AS retrying,
	CASE WHEN w.is_counted THEN (w.result ->> 'succeeded')::bigint ELSE c.succeeded END AS succeeded,
	CASE WHEN w.is_counted THEN (w.result ->> 'failed')::bigint ELSE c.failed END AS failed,
	CASE WHEN w.is_counted THEN (w.result ->> 'timed_out')::bigint ELSE c.timed_out END AS timed_out,
	CASE WHEN w.is_counted THEN (w.result ->> 'lost')::bigint ELSE c.lost END AS lost,
	CASE WHEN w.is_counted THEN (w.result ->> 'cancelled')::bigint ELSE c.cancelled END AS cancelled,
	CASE WHEN w.is_counted THEN (w.result ->> 'skipped')::bigint ELSE c.skipped END AS skipped,
	CASE WHEN w.finished_at IS NOT NULL THEN 1
		WHEN c.total = 0 THEN 0
		ELSE (c.total - c.waiting - c.queued - c.running - c.retrying) / c.total::double precision END AS progress,
	w.queued_at,
	w.started_at,
	w.finished_at,
	w.finished_at - w.started_at AS duration,
	CASE WHEN w.workflow = 'steps' THEN (SELECT pg_catalog.split_part(s.name, '.', -1)
		FROM jobsched_internal.run q JOIN jobsched_internal.job_name_of s ON s.job_id = q.job_id
		WHERE q.run_id = COALESCE(c.first_running, c.first_queued)) END AS current_step,
	COALESCE(c.first_running, c.first_queued) AS current_run_id,
	CASE WHEN w.workflow = 'steps' THEN (SELECT pg_catalog.split_part(s.name, '.', -1)
		FROM jobsched_internal.history h JOIN jobsched_internal.job_name_of s ON s.job_id = h.job_id
		WHERE h.run_id = c.first_failed) END AS first_failed_step,
	CASE WHEN w.is_counted THEN (SELECT h.run_id
			FROM jobsched_internal.history h
			WHERE h.parent_run_id = w.run_id AND NOT h.optional AND h.reason IS DISTINCT FROM 'parent_ended'
				AND h.status = ANY (ARRAY['failed', 'timed_out', 'lost', 'cancelled'])
				AND jobsched_internal.may_see(h.owner)::integer <> 0
			ORDER BY h.run_id LIMIT 1)
		ELSE c.first_failed END AS first_failed_run_id,
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
		h.source = 'batch' AND h.result ? 'total'
	FROM jobsched_internal.history h
) w LEFT JOIN jobsched_internal.job_name_of n ON n.job_id = w.job_id
	CROSS JOIN LATERAL (
	SELECT count(*) AS total,
		count(*) FILTER (WHERE m.state = 'waiting') AS waiting,
		count(*) FILTER (WHERE m.state = 'queued') AS queued,
		count(*) FILTER (WHERE m.state = 'running') AS running,
		count(*) FILTER (WHERE m.state = 'retrying') AS retrying,
		count(*) FILTER (WHERE m.state = 'succeeded') AS succeeded,
		count(*) FILTER (WHERE m.state = 'failed') AS failed,
		count(*) FILTER (WHERE m.state = 'timed_out') AS timed_out,
		count(*) FILTER (WHERE m.state = 'lost') AS lost,
		count(*) FILTER (WHERE m.state = 'cancelled') AS cancelled,
		count(*) FILTER (WHERE m.state = 'skipped') AS skipped,
		min(m.run_id) FILTER (WHERE m.state = 'running') AS first_running,
		min(m.run_id) FILTER (WHERE m.state = ANY (ARRAY['queued', 'retrying'])) AS first_queued,
		min(m.run_id) FILTER (WHERE m.has_failed) AS first_failed
	FROM (
		SELECT q.run_id,
			CASE WHEN q.status = 'waiting' THEN 'running'
				WHEN q.status = 'queued' AND q.after_when IS NOT NULL AND q.attempt = 0
					AND jobsched_internal.waits(q.run_id) THEN 'waiting'
				ELSE q.status END AS state,
			false AS has_failed
		FROM jobsched_internal.run q
		WHERE q.parent_run_id = w.run_id AND NOT w.is_counted
			AND jobsched_internal.may_see(q.owner)::integer <> 0
		UNION ALL
		SELECT h.run_id, h.status,
			h.status <> ALL (ARRAY['succeeded', 'skipped']) AND NOT h.optional
				AND h.reason IS DISTINCT FROM 'parent_ended'
		FROM jobsched_internal.history h
		WHERE h.parent_run_id = w.run_id AND NOT w.is_counted
			AND jobsched_internal.may_see(h.owner)::integer <> 0
	) m) c
WHERE w.workflow IS NOT NULL AND jobsched_internal.may_see(w.owner)::integer <> 0;
COMMENT ON VIEW jobsched.workflows IS 'A row for each run of a job made of steps and for each batch: how far it has come, counts by status, what holds it up and what has failed first.';
COMMENT ON COLUMN jobsched.workflows.kind IS 'steps or batch';
COMMENT ON COLUMN jobsched.workflows.total IS 'its steps, or the members of the batch; 0 before it has begun';
COMMENT ON COLUMN jobsched.workflows.waiting IS 'of these: how many wait for others of them';
COMMENT ON COLUMN jobsched.workflows.queued IS 'how many could start';
COMMENT ON COLUMN jobsched.workflows.progress IS 'which share of them has ended, from 0 to 1';
COMMENT ON COLUMN jobsched.workflows.current_step IS 'the first that is executed, or else the first that could start: it holds the workflow up';
COMMENT ON COLUMN jobsched.workflows.first_failed_step IS 'the first that has failed and is not optional';
