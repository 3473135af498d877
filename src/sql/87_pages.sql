-- Pages of jobs.

-- A view behind a security barrier is planned by itself: of ORDER BY and LIMIT on jobs the planner
-- knows nothing there, and so it looks at all jobs.  This one is in order by itself, by index job_name,
-- which also skips what is dropped and steps.  Not in view jobs: whoever counts would pay for the order.
DO $$
BEGIN
	EXECUTE 'CREATE VIEW jobsched.jobs_by_name WITH (security_barrier) AS '
		|| rtrim(pg_get_viewdef('jobsched.jobs'::regclass), '; ') || ' ORDER BY j.name, j.job_id';
END $$;
COMMENT ON VIEW jobsched.jobs_by_name IS 'View jobs, in the order of names and ids by itself: read with LIMIT and without ORDER BY, a page takes a millisecond with a million jobs.';
