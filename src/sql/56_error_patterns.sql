-- What runs fail of, without what differs from one to the next.

CREATE FUNCTION jobsched_internal.error_pattern(message text) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'jobsched_error_pattern';

-- The runs that have failed of themselves, newest first.  Two numbers bound what is read, by indexes, of
-- what one may see: of runs without success, 50,000 (of a job as many, and of each of its steps), and
-- of those that have failed, 10,000; a job that skips slots each second must not hide the others.  Runs
-- of others are passed over, newest first as well: without a job's name, all for a role that has few.
-- Whom no policy binds (15_access.sql) is asked here; the condition says, too, in which jobs to look.
-- A run that has failed for a child of the same owner is left out, as the child is here.
CREATE FUNCTION jobsched_internal.failures(since interval, job text)
RETURNS TABLE (run_id bigint, job_id bigint, sqlstate text, error text, finished_at timestamptz)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000 SET jit = off
BEGIN ATOMIC
	SELECT f.run_id, f.job_id, f.sqlstate,
		CASE WHEN jobsched_internal.may_read(f.owner, f.callback) THEN COALESCE(f.error, f.reason) END, f.finished_at
	FROM (
		(SELECT h.run_id, h.job_id, h.owner, h.status, h.reason, h.sqlstate, h.error, h.handler IS NOT NULL AS callback, h.finished_at
		FROM jobsched_internal.history h
		WHERE failures.job IS NULL AND jobsched_internal.may_see_run(h.owner, h.job_id)
			AND h.status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed'])
		ORDER BY h.run_id DESC LIMIT 50000)
		UNION ALL
		(SELECT l.*
		FROM (
			SELECT n.job_id FROM jobsched_internal.job_name_of n WHERE n.name = failures.job
			UNION ALL
			SELECT s.job_id FROM jobsched_internal.job_name_of n JOIN jobsched_internal.job_of_run s ON s.workflow_id = n.job_id
			WHERE n.name = failures.job) j, LATERAL (
				SELECT h.run_id, h.job_id, h.owner, h.status, h.reason, h.sqlstate, h.error, h.handler IS NOT NULL, h.finished_at
				FROM jobsched_internal.history h
				WHERE h.job_id = j.job_id AND jobsched_internal.may_see_run(h.owner, h.job_id)
					AND h.status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed'])
				ORDER BY h.run_id DESC LIMIT 50000) l
		ORDER BY l.run_id DESC LIMIT 50000)
	) f
	WHERE f.status = ANY (ARRAY['failed', 'timed_out', 'lost'])
		AND f.finished_at >= jobsched_internal.clock_now()
			- LEAST(GREATEST(COALESCE(failures.since, '1 day'), '0'::interval), '3650 days'::interval)
		AND NOT (COALESCE(f.reason, '') = 'child_failed' AND f.error LIKE 'run % of job "%' AND f.error NOT LIKE '%" was cancelled')
	ORDER BY f.run_id DESC
	LIMIT 10000;
END;

CREATE FUNCTION jobsched.error_patterns(
	since interval DEFAULT '1 day',
	job text DEFAULT NULL)
RETURNS TABLE (pattern text, sqlstate text, count bigint, first_at timestamptz, last_at timestamptz,
	jobs text[], example_run_id bigint)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 20 SET jit = off
BEGIN ATOMIC
	SELECT g.pattern, g.sqlstate, g.count, g.first_at, g.last_at,
		ARRAY(SELECT DISTINCT n.name COLLATE "C" FROM jobsched_internal.job_name_of n
			WHERE n.job_id = ANY (g.job_ids[1:100]) ORDER BY 1),
		g.example_run_id
	FROM (
		SELECT e.pattern, e.sqlstate, count(*) AS count, min(e.finished_at) AS first_at, max(e.finished_at) AS last_at,
			array_agg(DISTINCT e.job_id) AS job_ids, max(e.run_id) AS example_run_id
		FROM (SELECT jobsched_internal.error_pattern(f.error) AS pattern, f.sqlstate, f.finished_at, f.job_id, f.run_id
			FROM jobsched_internal.failures(error_patterns.since, error_patterns.job) f) e
		GROUP BY e.pattern, e.sqlstate
	) g
	ORDER BY g.count DESC, g.last_at DESC, g.example_run_id DESC;
END;
COMMENT ON FUNCTION jobsched.error_patterns IS
'What runs have failed of since then (of a job: it and its steps), with numbers, quoted values, ids, times and addresses taken out of the '
'messages: how many, when first and last, of which jobs (a hundred at most), and the newest of these runs; the most frequent first. '
'Of the newest 10,000 failures among the newest 50,000 runs without success; pattern: doc/runs.md.';
