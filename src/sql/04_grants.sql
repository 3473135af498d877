-- Nobody has rights until the role that creates the extension hands them on:
-- GRANT USAGE ON SCHEMA jobsched TO somebody is enough.  Every function and
-- view checks for itself what its caller may see and do.
GRANT USAGE ON SCHEMA jobsched TO @extowner@ WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION jobsched.http_request, jobsched.http_webhook TO @extowner@ WITH GRANT OPTION;
-- pg_dump reads the jobs as the role that it connects as.
GRANT USAGE ON SCHEMA jobsched_internal TO @extowner@;
GRANT SELECT ON jobsched_internal.job, jobsched_internal.job_id_seq,
	jobsched_internal.limit_definition TO @extowner@;
-- For the views that run with their readers' rights; see there.
GRANT SELECT ON jobsched_internal.run, jobsched_internal.history,
	jobsched_internal.attempt, jobsched_internal.retried, jobsched_internal.run_log,
	jobsched_internal.http_response,
	jobsched_internal.job_name_of, jobsched_internal.job_of_run, jobsched_internal.processing TO PUBLIC;
GRANT SELECT ON jobsched.jobs, jobsched.runs, jobsched.attempts,
	jobsched.dead_letters, jobsched.running, jobsched.upcoming,
	jobsched.run_logs, jobsched.http_responses, jobsched.secrets, jobsched.workers,
	jobsched.queues, jobsched.limits TO PUBLIC;

INSERT INTO jobsched_internal.identity (id, token, database, instance_id)
SELECT 1, pg_catalog.gen_random_uuid(), d.oid, jobsched_internal.instance_id()
FROM pg_catalog.pg_database d
WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database();

INSERT INTO jobsched_internal.ring
SELECT r, r OPERATOR(pg_catalog.*) 100, jobsched_internal.clock_now()
FROM (VALUES (0), (1)) v (r);

-- At commit a scheduler starts for this database.
SELECT jobsched_internal.announce();
