-- What runs fail of, without what differs from one to the next.

CREATE FUNCTION jobsched_internal.error_pattern(message text) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'jobsched_error_pattern';

-- The jobs that the arguments of a function name, of those that one may see, dropped ones too; NULL: none is named.
CREATE FUNCTION jobsched_internal.filtered_jobs(job text, owner name, job_id bigint) RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL SAFE SET jit = off
BEGIN ATOMIC
	SELECT CASE WHEN jobsched_internal.check_job_filter(filtered_jobs.job, filtered_jobs.owner, filtered_jobs.job_id) THEN
		CASE WHEN filtered_jobs.job_id IS NOT NULL THEN ARRAY[filtered_jobs.job_id]
			ELSE ARRAY(SELECT n.job_id FROM jobsched_internal.job_name_of n
				WHERE n.name = filtered_jobs.job AND (filtered_jobs.owner IS NULL
					OR jobsched_internal.owner_name_of(n.owner, n.owner_name, n.home) = filtered_jobs.owner)) END END;
END;

-- Runs that have ended without success, newest first: 50,000 at most, by indexes, of what one may see; of jobs
-- as many of each, and of each of their steps, if these are to be there.  A job that skips slots each second
-- must not hide the others, so whoever looks for failures among them bounds these by himself.  Runs of others
-- are passed over, newest first as well: if no jobs are named, all for a role that has few.  Whom no policy
-- binds (15_access.sql) is asked here; the condition says, too, in which jobs to look.
-- It is put into the query that calls it.
CREATE FUNCTION jobsched_internal.without_success(jobs bigint[], with_steps boolean)
RETURNS TABLE (run_id bigint, job_id bigint, owner oid, status text, reason text, source text, sqlstate text, error text,
	callback boolean, finished_at timestamptz)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000
BEGIN ATOMIC
	(SELECT h.run_id, h.job_id, h.owner, h.status, h.reason, h.source, h.sqlstate, h.error, h.handler IS NOT NULL, h.finished_at
	FROM jobsched_internal.history h
	WHERE without_success.jobs IS NULL AND jobsched_internal.may_see_run(h.owner, h.job_id)
		AND h.status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed'])
	ORDER BY h.run_id DESC LIMIT 50000)
	UNION ALL
	(SELECT l.*
	FROM (
		SELECT unnest(without_success.jobs) AS job_id
		UNION ALL
		SELECT s.job_id FROM jobsched_internal.job_of_run s
		WHERE s.workflow_id = ANY (without_success.jobs) AND without_success.with_steps) j, LATERAL (
			SELECT h.run_id, h.job_id, h.owner, h.status, h.reason, h.source, h.sqlstate, h.error, h.handler IS NOT NULL, h.finished_at
			FROM jobsched_internal.history h
			WHERE h.job_id = j.job_id AND jobsched_internal.may_see_run(h.owner, h.job_id)
				AND h.status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed'])
			ORDER BY h.run_id DESC LIMIT 50000) l
	ORDER BY l.run_id DESC LIMIT 50000);
END;

-- What a run has failed of, for those who may read it.
CREATE FUNCTION jobsched_internal.complaint(owner oid, callback boolean, error text, reason text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN jobsched_internal.may_read(owner, callback) THEN COALESCE(error, reason) END;

-- Those that have failed of themselves, newest first: 10,000 at most.
-- A run that has failed for a child of the same owner is left out, as the child is here.
CREATE FUNCTION jobsched_internal.failures(since interval, jobs bigint[])
RETURNS TABLE (run_id bigint, job_id bigint, sqlstate text, error text, finished_at timestamptz)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000 SET jit = off
BEGIN ATOMIC
	SELECT f.run_id, f.job_id, f.sqlstate, jobsched_internal.complaint(f.owner, f.callback, f.error, f.reason), f.finished_at
	FROM jobsched_internal.without_success(failures.jobs, true) f
	WHERE f.status = ANY (ARRAY['failed', 'timed_out', 'lost'])
		AND f.finished_at >= jobsched_internal.clock_now()
			- LEAST(GREATEST(COALESCE(failures.since, '1 day'), '0'::interval), '3650 days'::interval)
		AND NOT (COALESCE(f.reason, '') = 'child_failed' AND f.error LIKE 'run % of job "%' AND f.error NOT LIKE '%" was cancelled')
	ORDER BY f.run_id DESC
	LIMIT 10000;
END;

CREATE FUNCTION jobsched.error_patterns(
	since interval DEFAULT '1 day',
	job text DEFAULT NULL,
	owner name DEFAULT NULL,
	job_id bigint DEFAULT NULL)
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
			FROM jobsched_internal.failures(error_patterns.since,
				jobsched_internal.filtered_jobs(error_patterns.job, error_patterns.owner, error_patterns.job_id)) f) e
		GROUP BY e.pattern, e.sqlstate
	) g
	ORDER BY g.count DESC, g.last_at DESC, g.example_run_id DESC;
END;
COMMENT ON FUNCTION jobsched.error_patterns IS
'What runs have failed of since then (of a job: it and its steps), with numbers, quoted values, ids, times and addresses taken out of the '
'messages: how many, when first and last, of which jobs (a hundred at most), and the newest of these runs; the most frequent first. '
'Of the newest 10,000 failures among the newest 50,000 runs without success; pattern: doc/runs.md.';
