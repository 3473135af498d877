-- Who may do and see what: row level security, what ANALYZE may keep, and
-- grants.  15_access.sql has the reasons.

ALTER TABLE jobsched_internal.run ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.job_name_of ENABLE ROW LEVEL SECURITY;
-- These have nothing for anybody, nor has table secret.
ALTER TABLE jobsched_internal.identity ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.job_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.request ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.limit_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.ring ENABLE ROW LEVEL SECURITY;
CREATE POLICY may_see ON jobsched_internal.run FOR SELECT USING (jobsched_internal.may_see(owner));
CREATE POLICY may_see ON jobsched_internal.history FOR SELECT USING (jobsched_internal.may_see(owner));
CREATE POLICY may_see ON jobsched_internal.attempt FOR SELECT USING (jobsched_internal.may_see(owner));
CREATE POLICY may_see ON jobsched_internal.run_log FOR SELECT USING (jobsched_internal.may_see(owner));
CREATE POLICY may_manage ON jobsched_internal.http_response FOR SELECT USING (jobsched_internal.may_manage(owner));
CREATE POLICY may_see ON jobsched_internal.job_name_of FOR SELECT
	USING (jobsched_internal.may_see(jobsched_internal.owner_of(owner, owner_name, home)));

-- The parent's policy holds for what is read through it.  Members of
-- pg_read_all_data could read a partition by itself: there is no policy there,
-- so none of its rows are seen.
ALTER TABLE jobsched_internal.history_000 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_001 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_002 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_003 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_004 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_005 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_006 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_007 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_100 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_101 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_102 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_103 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_104 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_105 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_106 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.history_107 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_100 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_101 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_102 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_103 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_104 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_105 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_106 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.attempt_107 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_000 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_001 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_002 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_003 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_004 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_005 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_006 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_007 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_100 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_101 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_102 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_103 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_104 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_105 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_106 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.run_log_107 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_000 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_001 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_002 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_003 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_004 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_005 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_006 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_007 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_100 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_101 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_102 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_103 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_104 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_105 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_106 ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.http_response_107 ENABLE ROW LEVEL SECURITY;

-- ANALYZE samples no values but names and statuses of jobs and runs: members of
-- pg_read_all_data read pg_statistic, past every policy.
ALTER TABLE jobsched_internal.identity
	ALTER COLUMN token SET STATISTICS 0, ALTER COLUMN instance_id SET STATISTICS 0;
ALTER TABLE jobsched_internal.job_name_of	-- and so of job
	ALTER COLUMN owner_name SET STATISTICS 0, ALTER COLUMN home SET STATISTICS 0;
ALTER TABLE jobsched_internal.job
	ALTER COLUMN schedule SET STATISTICS 0, ALTER COLUMN timezone SET STATISTICS 0,
	ALTER COLUMN command SET STATISTICS 0, ALTER COLUMN handler SET STATISTICS 0,
	ALTER COLUMN args SET STATISTICS 0, ALTER COLUMN mode SET STATISTICS 0,
	ALTER COLUMN backoff SET STATISTICS 0, ALTER COLUMN retry_on SET STATISTICS 0,
	ALTER COLUMN no_retry_on SET STATISTICS 0, ALTER COLUMN overlap SET STATISTICS 0,
	ALTER COLUMN misfire SET STATISTICS 0, ALTER COLUMN queue SET STATISTICS 0,
	ALTER COLUMN keys SET STATISTICS 0, ALTER COLUMN request SET STATISTICS 0,
	ALTER COLUMN pause_reason SET STATISTICS 0, ALTER COLUMN description SET STATISTICS 0,
	ALTER COLUMN metadata SET STATISTICS 0;
ALTER TABLE jobsched_internal.job_state
	ALTER COLUMN invalid_reason SET STATISTICS 0, ALTER COLUMN last_status SET STATISTICS 0,
	ALTER COLUMN recent SET STATISTICS 0, ALTER COLUMN skipped_reason SET STATISTICS 0,
	ALTER COLUMN auto_paused_reason SET STATISTICS 0;
ALTER TABLE jobsched_internal.run
	ALTER COLUMN source SET STATISTICS 0, ALTER COLUMN keys SET STATISTICS 0,
	ALTER COLUMN reason SET STATISTICS 0, ALTER COLUMN args SET STATISTICS 0,
	ALTER COLUMN handler SET STATISTICS 0, ALTER COLUMN request SET STATISTICS 0,
	ALTER COLUMN traceparent SET STATISTICS 0, ALTER COLUMN home SET STATISTICS 0;
ALTER TABLE jobsched_internal.request
	ALTER COLUMN kind SET STATISTICS 0;
ALTER TABLE jobsched_internal.idempotency
	ALTER COLUMN key SET STATISTICS 0;
ALTER TABLE jobsched_internal.limit_definition
	ALTER COLUMN kind SET STATISTICS 0, ALTER COLUMN name SET STATISTICS 0,
	ALTER COLUMN owner_name SET STATISTICS 0, ALTER COLUMN home SET STATISTICS 0;
ALTER TABLE jobsched_internal.limit_state
	ALTER COLUMN kind SET STATISTICS 0, ALTER COLUMN name SET STATISTICS 0;
ALTER TABLE jobsched_internal.secret
	ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN value SET STATISTICS 0;
ALTER TABLE jobsched_internal.history
	ALTER COLUMN source SET STATISTICS 0, ALTER COLUMN reason SET STATISTICS 0,
	ALTER COLUMN sqlstate SET STATISTICS 0, ALTER COLUMN error SET STATISTICS 0,
	ALTER COLUMN error_detail SET STATISTICS 0, ALTER COLUMN error_hint SET STATISTICS 0,
	ALTER COLUMN error_context SET STATISTICS 0, ALTER COLUMN keys SET STATISTICS 0,
	ALTER COLUMN args SET STATISTICS 0, ALTER COLUMN result SET STATISTICS 0,
	ALTER COLUMN handler SET STATISTICS 0, ALTER COLUMN request SET STATISTICS 0,
	ALTER COLUMN traceparent SET STATISTICS 0;
ALTER TABLE jobsched_internal.attempt
	ALTER COLUMN reason SET STATISTICS 0, ALTER COLUMN sqlstate SET STATISTICS 0,
	ALTER COLUMN error SET STATISTICS 0, ALTER COLUMN error_detail SET STATISTICS 0,
	ALTER COLUMN error_hint SET STATISTICS 0, ALTER COLUMN error_context SET STATISTICS 0;
ALTER TABLE jobsched_internal.run_log
	ALTER COLUMN level SET STATISTICS 0, ALTER COLUMN message SET STATISTICS 0;
ALTER TABLE jobsched_internal.http_response
	ALTER COLUMN method SET STATISTICS 0, ALTER COLUMN url SET STATISTICS 0,
	ALTER COLUMN remote_address SET STATISTICS 0, ALTER COLUMN headers SET STATISTICS 0,
	ALTER COLUMN body SET STATISTICS 0, ALTER COLUMN body_bytes SET STATISTICS 0;

-- Members of pg_read_all_data can use the schema. Of its functions they, and
-- whoever reads a view, need those that views call; these check who asks.
REVOKE ALL ON FUNCTION jobsched_internal.scheduler, jobsched_internal.announce, jobsched_internal.keep_own, jobsched_internal.disown FROM PUBLIC;

-- Nobody has rights until the role that creates the extension hands them on:
-- GRANT USAGE ON SCHEMA jobsched TO somebody is enough.  Every function and
-- view checks for itself what its caller may see and do.
GRANT USAGE ON SCHEMA jobsched TO @extowner@ WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION jobsched.http_request, jobsched.http_webhook TO @extowner@ WITH GRANT OPTION;
-- pg_dump reads the jobs as the role that it connects as.
GRANT USAGE ON SCHEMA jobsched_internal TO @extowner@;
GRANT SELECT ON jobsched_internal.job, jobsched_internal.job_id_seq,
	jobsched_internal.limit_definition TO @extowner@;
-- For the views that run with their readers' rights; see 15_access.sql.
GRANT SELECT ON jobsched_internal.run, jobsched_internal.history,
	jobsched_internal.attempt, jobsched_internal.retried, jobsched_internal.run_log,
	jobsched_internal.http_response,
	jobsched_internal.job_name_of, jobsched_internal.job_of_run, jobsched_internal.processing TO PUBLIC;
GRANT SELECT ON jobsched.jobs, jobsched.runs, jobsched.attempts,
	jobsched.dead_letters, jobsched.running, jobsched.upcoming,
	jobsched.run_logs, jobsched.http_responses, jobsched.secrets, jobsched.workers,
	jobsched.queues, jobsched.limits TO PUBLIC;
