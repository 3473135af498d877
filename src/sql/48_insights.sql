-- What to look at: one row of numbers, and findings in words.

CREATE FUNCTION jobsched.dashboard_summary(
	OUT at timestamptz, OUT processing boolean,
	OUT running bigint, OUT ready bigint, OUT limited bigint, OUT behind bigint, OUT held bigint, OUT scheduled bigint,
	OUT waiting bigint, OUT open bigint, OUT complete boolean, OUT http_in_flight bigint,
	OUT workers bigint, OUT busy_workers bigint, OUT max_workers bigint,
	OUT asleep_jobs bigint, OUT invalid_jobs bigint,
	OUT runs_1h bigint, OUT failures_1h bigint, OUT success_rate_1h double precision,
	OUT p50_ms_1h double precision, OUT p95_ms_1h double precision, OUT delay_p95_ms_1h double precision,
	OUT skipped_1h bigint, OUT missed_1h bigint, OUT retries_1h bigint,
	OUT runs_24h bigint, OUT failures_24h bigint, OUT success_rate_24h double precision,
	OUT p50_ms_24h double precision, OUT p95_ms_24h double precision, OUT delay_p95_ms_24h double precision,
	OUT skipped_24h bigint, OUT missed_24h bigint, OUT retries_24h bigint,
	OUT runs_7d bigint, OUT failures_7d bigint, OUT success_rate_7d double precision,
	OUT p50_ms_7d double precision, OUT p95_ms_7d double precision, OUT delay_p95_ms_7d double precision,
	OUT skipped_7d bigint, OUT missed_7d bigint, OUT retries_7d bigint,
	OUT oldest_ready_at timestamptz)
RETURNS record LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_dashboard_summary';
COMMENT ON FUNCTION jobsched.dashboard_summary IS
'What the runs that you may see do at this moment, and what has become of those of the last hour, day and week; takes as long with a million of them. More: doc/watching.md.';

CREATE FUNCTION jobsched.insights()
RETURNS TABLE (severity text, job_name text, what text, since timestamptz, evidence text, advice text)
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 20 AS 'MODULE_PATHNAME', 'jobsched_insights';
COMMENT ON FUNCTION jobsched.insights IS
'What is worth a look, of the jobs that you may see and of all together: severity is error, warning or info. What there is: doc/watching.md.';

CREATE FUNCTION jobsched.whoami(
	OUT role name, OUT superuser boolean, OUT database name, OUT server_version text, OUT version text,
	OUT timezone text, OUT standby boolean, OUT watches_all boolean, OUT manages name[],
	OUT may_stop boolean, OUT may_request boolean)
RETURNS record LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_whoami';
COMMENT ON FUNCTION jobsched.whoami IS
'Who you are, where, and what you may do here, for a page that shows buttons by it: watches_all: you see all jobs; manages: the roles with jobs that you may manage, NULL: all. Functions check rights by themselves.';
