-- Dead letters by what they have failed of.

-- The newest of view dead_letters, of the runs that without_success() finds; 10,000 at most.
CREATE FUNCTION jobsched_internal.newest_dead_letters(jobs bigint[], max integer)
RETURNS TABLE (run_id bigint, job_id bigint, owner oid, sqlstate text, error text, finished_at timestamptz)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000 SET jit = off
BEGIN ATOMIC
	SELECT f.run_id, f.job_id, f.owner, f.sqlstate, jobsched_internal.complaint(f.owner, f.callback, f.error, f.reason), f.finished_at
	FROM jobsched_internal.without_success(newest_dead_letters.jobs, false) f
	WHERE f.status = ANY (ARRAY['failed', 'timed_out', 'lost'])
		AND f.source <> ALL (ARRAY['batch', 'step', 'item'])
		AND NOT EXISTS (SELECT FROM jobsched_internal.retried t WHERE t.run_id = f.run_id)
	ORDER BY f.run_id DESC
	LIMIT LEAST(GREATEST(COALESCE(newest_dead_letters.max, 10000), 0), 10000);
END;

CREATE FUNCTION jobsched.dead_letter_groups(
	job text DEFAULT NULL,
	max integer DEFAULT 10000,
	owner name DEFAULT NULL,
	job_id bigint DEFAULT NULL)
RETURNS TABLE (job_id bigint, job_name text, owner name, pattern text, sqlstate text, count bigint,
	first_at timestamptz, last_at timestamptz, example_run_id bigint)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 20 SET jit = off
BEGIN ATOMIC
	SELECT g.job_id, (SELECT n.name FROM jobsched_internal.job_name_of n WHERE n.job_id = g.job_id),
		pg_catalog.pg_get_userbyid(g.owner), g.pattern, g.sqlstate, g.count, g.first_at, g.last_at, g.example_run_id
	FROM (
		SELECT e.job_id, e.owner, e.pattern, e.sqlstate, count(*) AS count, min(e.finished_at) AS first_at,
			max(e.finished_at) AS last_at, max(e.run_id) AS example_run_id
		FROM (SELECT d.job_id, d.owner, jobsched_internal.error_pattern(d.error) AS pattern, d.sqlstate, d.finished_at, d.run_id
			FROM jobsched_internal.newest_dead_letters(jobsched_internal.filtered_jobs($1, $3, $4), $2) d) e
		GROUP BY e.job_id, e.owner, e.pattern, e.sqlstate
	) g
	ORDER BY g.count DESC, g.last_at DESC, g.example_run_id DESC;
END;
COMMENT ON FUNCTION jobsched.dead_letter_groups IS
'The dead letters of a job, or of all, by job, pattern of error and SQLSTATE: how many, the first and the last, and the newest run; the most frequent first. '
'Of the newest max (10,000 at most) among the newest 50,000 runs without success; pattern: doc/runs.md.';
