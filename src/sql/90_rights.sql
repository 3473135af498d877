-- Who may do and see what: row level security, what ANALYZE may keep, and
-- grants.  15_access.sql has the reasons.

-- A table without a policy has nothing for anybody.  So it is with partitions:
-- the parent's policy holds for what is read through it, and members of
-- pg_read_all_data could read a partition by itself.
DO $$
DECLARE
	relation name;
BEGIN
	FOR relation IN
		SELECT relname FROM pg_class
		WHERE relnamespace = 'jobsched_internal'::regnamespace AND relkind IN ('r', 'p')
			-- pg_dump reads all but the last, which has nothing but ids
			AND relname <> ALL (ARRAY['job', 'limit_definition', 'hook', 'alert', 'retried'])
	LOOP
		EXECUTE format('ALTER TABLE jobsched_internal.%I ENABLE ROW LEVEL SECURITY', relation);
	END LOOP;

	FOREACH relation IN ARRAY ARRAY['run', 'history', 'attempt', 'run_log'] LOOP
		EXECUTE format('CREATE POLICY may_see ON jobsched_internal.%I FOR SELECT '
			'USING (jobsched_internal.may_see_run(owner, job_id))', relation);
	END LOOP;
	FOREACH relation IN ARRAY ARRAY['event', 'memo'] LOOP
		EXECUTE format('CREATE POLICY may_see ON jobsched_internal.%I FOR SELECT '
			'USING (jobsched_internal.may_see(owner))', relation);
	END LOOP;
END $$;
CREATE POLICY may_manage ON jobsched_internal.http_response FOR SELECT
	USING (jobsched_internal.may_manage(owner));
CREATE POLICY may_see ON jobsched_internal.job_name_of FOR SELECT
	USING (jobsched_internal.may_see_run(jobsched_internal.owner_of(owner, owner_name, home), job_id));

-- ANALYZE samples no values but names of jobs, and what is a status of runs or nearly so: members of
-- pg_read_all_data read pg_statistic, past every policy.
DO $$
DECLARE
	relation name;
	attribute name;
BEGIN
	FOR relation, attribute IN
		SELECT c.relname, a.attname
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relnamespace = 'jobsched_internal'::regnamespace AND c.relkind IN ('r', 'p')
			AND NOT c.relispartition	-- these follow their parent
			AND a.attnum > 0
			AND a.atttypid = ANY (ARRAY['text', 'text[]', 'integer[]', 'bigint[]', 'jsonb', 'uuid', 'inet', 'bytea']::regtype[])
			AND (c.relname, a.attname) NOT IN (('job', 'name'), ('job_name_of', 'name'),
				('run', 'status'), ('history', 'status'), ('attempt', 'status'),
				('run', 'workflow'), ('history', 'workflow'))
	LOOP
		EXECUTE format('ALTER TABLE jobsched_internal.%I ALTER COLUMN %I SET STATISTICS 0',
			relation, attribute);
	END LOOP;
END $$;

-- Members of pg_read_all_data can use the schema. Of its functions they, and
-- whoever reads a view, need those that views call; these check who asks.
REVOKE ALL ON FUNCTION jobsched_internal.scheduler, jobsched_internal.announce, jobsched_internal.keep_own, jobsched_internal.disown,
	jobsched_internal.write_job, jobsched_internal.refuse_write,
	jobsched_internal.remember_owner FROM PUBLIC;

-- Nobody has rights until the role that creates the extension hands them on:
-- GRANT USAGE ON SCHEMA jobsched TO somebody is enough.  Every function and
-- view checks for itself what its caller may see and do.
GRANT USAGE ON SCHEMA jobsched TO @extowner@ WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION jobsched.http_request, jobsched.http_webhook TO @extowner@ WITH GRANT OPTION;
-- pg_dump reads the jobs as the role that it connects as.
GRANT USAGE ON SCHEMA jobsched_internal TO @extowner@;
GRANT SELECT ON jobsched_internal.job, jobsched_internal.job_id_seq,
	jobsched_internal.limit_definition, jobsched_internal.hook, jobsched_internal.alert TO @extowner@;
-- For the views that run with their readers' rights; see 15_access.sql.
GRANT SELECT ON jobsched_internal.run, jobsched_internal.history,
	jobsched_internal.attempt, jobsched_internal.retried, jobsched_internal.run_log,
	jobsched_internal.http_response, jobsched_internal.event, jobsched_internal.memo,
	jobsched_internal.job_name_of, jobsched_internal.job_of_run, jobsched_internal.processing TO PUBLIC;
GRANT SELECT ON jobsched.jobs, jobsched.jobs_by_name, jobsched.runs, jobsched.steps, jobsched.step_items, jobsched.workflows, jobsched.attempts,
	jobsched.dead_letters, jobsched.procedure_steps, jobsched.running, jobsched.upcoming, jobsched.waiting, jobsched.events,
	jobsched.run_logs, jobsched.http_responses, jobsched.secrets, jobsched.workers,
	jobsched.queues, jobsched.limits, jobsched.hooks, jobsched.channels, jobsched.alerts, jobsched.job_stats, jobsched.job_totals TO PUBLIC;
-- Its trigger acts with the rights of whoever writes (88_rest.sql).
GRANT INSERT, UPDATE, DELETE ON jobsched.jobs TO PUBLIC;
