-- What people look at in psql: rows of 120 columns at most, whatever they are called and how
-- large numbers get.  Of what the numbers are of there are bounds, and detail says where one is reached.  What a
-- role may not see is passed over, whatever there is of it, and 'next' looks at all jobs that it sees.

-- The live runs, the oldest first, 10,000 at most, and what each does or waits for: as reason in view
-- runs has it, or 'assigned' if its worker executes another first.
CREATE FUNCTION jobsched_internal.live_runs()
RETURNS TABLE (run_id bigint, job_name text, owner name, state text, run_at timestamptz, started_at timestamptz)
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000 SET jit = off
BEGIN ATOMIC
	SELECT r.run_id, r.job_name, r.owner,
		CASE WHEN r.reason LIKE 'waiting!_for!_%' ESCAPE '!' THEN r.reason
			WHEN r.status = 'queued' THEN COALESCE(r.reason, r.status)
			WHEN r.status = 'retrying' THEN r.status
			WHEN r.run_id IN (SELECT n.run_id FROM jobsched.running n) THEN 'running'
			ELSE 'assigned' END,
		r.run_at, r.started_at
	FROM jobsched.runs r
	WHERE r.status = ANY (ARRAY['queued', 'running', 'retrying'])
	ORDER BY r.run_id
	LIMIT 10000;
END;

-- A list of what there is most of: 'push 10, nightly 2'.
CREATE FUNCTION jobsched_internal.most_of(names text[]) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT string_agg(jobsched_internal.fit(m.name, 40) || ' ' || m.count::text, ', ' ORDER BY m.count DESC, m.name COLLATE "C")
	FROM (SELECT COALESCE(n.name, '?') AS name, count(*) AS count FROM unnest(most_of.names) n (name)
		GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20) m;
END;

-- What is said of a part: how large that is.
CREATE FUNCTION jobsched_internal.said_of(part text, bound bigint, count bigint, detail text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN count >= bound THEN 'of the ' || part || ' ' || bound::text || ': ' || COALESCE(detail, 'none') ELSE detail END;

CREATE VIEW jobsched.top WITH (security_invoker) AS
SELECT t.run_id,
	jobsched_internal.fit(t.job_name, 30) AS job,
	jobsched_internal.fit(t.owner::text, 14) AS owner,
	t.state,
	jobsched_internal.time_text(t.span) AS time,
	t.worker_pid AS pid
FROM (
	SELECT r.run_id, r.job_name, r.owner,
		CASE WHEN r.progress_total > 0 THEN 'running ' || LEAST(GREATEST(
			trunc(r.progress_done * 100.0 / r.progress_total), 0), 100)::text || ' %' ELSE 'running' END AS state,
		r.elapsed AS span, r.worker_pid, 1 AS place
	FROM jobsched.running r
	UNION ALL
	SELECT l.run_id, l.job_name, l.owner, jobsched_internal.fit(l.state, 20),
		jobsched_internal.clock_now() - COALESCE(l.started_at, l.run_at), NULL,
		CASE WHEN l.state = 'waiting_for_children' THEN 2 ELSE 3 END
	FROM jobsched_internal.live_runs() l
	WHERE l.state <> 'running' AND (l.state = 'waiting_for_children' OR l.run_at <= jobsched_internal.clock_now())
) t
ORDER BY t.place, t.span DESC, t.run_id;
COMMENT ON VIEW jobsched.top IS 'What runs now, what waits for its children, and what could run and waits, each the longest first; for psql, 120 columns at most.';
COMMENT ON COLUMN jobsched.top.state IS 'running, with what progress() has said; else what it waits for, as reason in view runs, or assigned: its worker executes another first';
COMMENT ON COLUMN jobsched.top.time IS 'how long it has run, or waited since it could run';

CREATE VIEW jobsched.overview WITH (security_invoker) AS
WITH job AS MATERIALIZED (
	SELECT j.name, j.state, j.consecutive_failures FROM jobsched.jobs j LIMIT 10000
), live AS MATERIALIZED (
	SELECT l.*, l.run_at <= jobsched_internal.clock_now() AND l.state <> ALL (ARRAY['running', 'waiting_for_children',
		'waiting_for_upstream', 'waiting_for_event', 'waiting_for_request']) AS is_due
	FROM jobsched_internal.live_runs() l
), failure AS MATERIALIZED (
	SELECT (SELECT n.name FROM jobsched_internal.job_name_of n WHERE n.job_id = f.job_id) AS job_name,
		f.finished_at >= jobsched_internal.clock_now() - '1 hour'::interval AS is_of_last_hour
	FROM jobsched_internal.failures('1 day', NULL) f
)
SELECT o.what, o.count, jobsched_internal.fit(o.detail, 90) AS detail
FROM (
	SELECT 1 AS place, 'health' AS what, count(*) FILTER (WHERE h.status <> 'ok') AS count,
		COALESCE(string_agg(h."check" || ': ' || COALESCE(h.message, h.value, h.status), '; ' ORDER BY h.status, h."check" COLLATE "C")
			FILTER (WHERE h.status <> 'ok'), 'ok') AS detail
	FROM jobsched.health() h
	UNION ALL
	SELECT 2, 'jobs', count(*), jobsched_internal.said_of('first', 10000, count(*), jobsched_internal.most_of(array_agg(j.state)))
	FROM job j
	UNION ALL
	SELECT 3, 'failing jobs', count(*), jobsched_internal.said_of('first', 10000, (SELECT count(*) FROM job),
		string_agg(jobsched_internal.fit(f.name, 40) || ' ' || f.consecutive_failures::text
			|| ' times', ', ' ORDER BY f.consecutive_failures DESC, f.name COLLATE "C") FILTER (WHERE f.place <= 20))
	FROM (SELECT j.*, row_number() OVER (ORDER BY j.consecutive_failures DESC, j.name COLLATE "C") AS place
		FROM job j WHERE j.consecutive_failures > 0) f
	UNION ALL
	SELECT 4, 'running', count(*), 'longest: ' || (array_agg(jobsched_internal.fit(COALESCE(r.job_name, '?'), 60) || ', '
		|| jobsched_internal.time_text(r.elapsed) ORDER BY r.elapsed DESC))[1]
	FROM jobsched.running r
	UNION ALL
	SELECT 5, 'queue', count(*), jobsched_internal.said_of('oldest', 10000, (SELECT count(*) FROM live),
		jobsched_internal.most_of(array_agg(l.state)))
	FROM live l
	WHERE l.state <> ALL (ARRAY['running', 'waiting_for_children'])
	UNION ALL
	SELECT 6, 'due', count(*), jobsched_internal.said_of('oldest', 10000, (SELECT count(*) FROM live),
		'oldest: ' || (array_agg(jobsched_internal.fit(COALESCE(l.job_name, '?'), 50) || ', '
			|| jobsched_internal.time_text(jobsched_internal.clock_now() - l.run_at) ORDER BY l.run_at))[1])
	FROM live l WHERE l.is_due
	UNION ALL
	SELECT 7, 'workers', count(*), concat_ws(', ', jobsched_internal.most_of(array_agg(w.state)),
		'max_workers ' || current_setting('jobsched.max_workers'))
	FROM jobsched.workers w
	UNION ALL
	SELECT 8, 'failed in 1 hour', count(*), jobsched_internal.said_of('newest', 10000, (SELECT count(*) FROM failure),
		jobsched_internal.most_of(array_agg(f.job_name)))
	FROM failure f WHERE f.is_of_last_hour
	UNION ALL
	SELECT 9, 'failed in 1 day', count(*), jobsched_internal.said_of('newest', 10000, count(*),
		jobsched_internal.most_of(array_agg(f.job_name)))
	FROM failure f
	UNION ALL
	SELECT 10, 'next', NULL, string_agg(jobsched_internal.fit(COALESCE(u.job_name, '?'), 40) || ' in '
		|| jobsched_internal.time_text(u.run_at - jobsched_internal.clock_now()), ', ' ORDER BY u.run_at, u.job_name COLLATE "C")
	FROM (SELECT u.job_name, u.run_at FROM jobsched.upcoming u
		WHERE u.run_at > jobsched_internal.clock_now() ORDER BY u.run_at LIMIT 4) u
) o
ORDER BY o.place;
COMMENT ON VIEW jobsched.overview IS 'What is the matter, on one screen: health, jobs by state, those that fail, what runs and waits, workers, failures, what comes next; for psql, 120 columns at most.';
COMMENT ON COLUMN jobsched.overview.count IS 'how many; of jobs and of live runs 10,000 at most are looked at, and of failures as error_patterns() does';

-- The grants of the other views are in 90_rights.sql.
GRANT SELECT ON jobsched.top, jobsched.overview TO PUBLIC;
