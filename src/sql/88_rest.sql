-- What users of a REST gateway expect: views that can be written, or say that they cannot,
-- and rows that lead to others.

-- INSERT, UPDATE and DELETE on view jobs are create_job(), alter_job() and drop_job().
CREATE FUNCTION jobsched_internal.write_job() RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_write_job';
CREATE TRIGGER write_job INSTEAD OF INSERT OR UPDATE OR DELETE ON jobsched.jobs
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.write_job();

-- Whoever has no such privilege on a view is told so; whoever has is told what to do instead.
CREATE FUNCTION jobsched_internal.refuse_write() RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_refuse_write';
DO $$
DECLARE
	relation name;
BEGIN
	FOR relation IN
		SELECT relname FROM pg_class
		WHERE relnamespace = 'jobsched'::regnamespace AND relkind = 'v' AND relname <> 'jobs'
	LOOP
		EXECUTE format('CREATE TRIGGER refuse_write INSTEAD OF INSERT OR UPDATE OR DELETE ON jobsched.%I '
			'FOR EACH ROW EXECUTE FUNCTION jobsched_internal.refuse_write()', relation);
	END LOOP;
END $$;

-- Which row belongs to which, for gateways that look for foreign keys, which views have not.
-- They are put into the query that calls them.
CREATE FUNCTION jobsched.job(jobsched.runs) RETURNS SETOF jobsched.jobs
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
	SELECT j.* FROM jobsched.jobs j WHERE j.job_id = $1.job_id;
END;
COMMENT ON FUNCTION jobsched.job IS 'The job of a run; none if it has been dropped.';

CREATE FUNCTION jobsched.runs(jobsched.jobs) RETURNS SETOF jobsched.runs
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
BEGIN ATOMIC
	SELECT r.* FROM jobsched.runs r WHERE r.job_id = $1.job_id;
END;
COMMENT ON FUNCTION jobsched.runs IS 'The runs of a job.';
