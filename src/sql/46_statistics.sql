-- Statistics: what runs added up to, kept as they end.

-- What became of a job's runs in spans of time that follow one another: a chunk, whose
-- bytes src/store/stat.c explains; of all jobs of a role, if job_id is its negative OID.  Written by the scheduler (src/scheduler/sched_stat.c).
CREATE TABLE jobsched_internal.stat (
	job_id bigint NOT NULL,
	first timestamptz NOT NULL,
	data bytea NOT NULL,
	PRIMARY KEY (job_id, first)
) WITH (fillfactor = 70);

-- Whatever ended before this is in stat; later minutes are counted again after a crash.
CREATE TABLE jobsched_internal.stat_mark (
	id smallint PRIMARY KEY CHECK (id = 1),
	counted_before timestamptz NOT NULL
);

-- Jobs whose statistics begin anew.  Written by stat_reset(), served and deleted by the
-- scheduler.
CREATE TABLE jobsched_internal.stat_reset (
	job_id bigint PRIMARY KEY,
	reset_at timestamptz NOT NULL,
	served boolean NOT NULL
);

CREATE FUNCTION jobsched.run_stats(
	"from" timestamptz,
	"to" timestamptz,
	bucket interval,
	job text DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	timezone text DEFAULT NULL,
	owner name DEFAULT NULL,
	job_id bigint DEFAULT NULL)
RETURNS TABLE (bucket timestamptz, job_name text, runs bigint, succeeded bigint, failed bigint, timed_out bigint,
	cancelled bigint, lost bigint, skipped bigint, missed bigint, retries bigint, mean_ms double precision,
	p50_ms double precision, p95_ms double precision, p99_ms double precision, max_ms double precision,
	delay_p95_ms double precision)
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1000 AS 'MODULE_PATHNAME', 'jobsched_run_stats';
COMMENT ON FUNCTION jobsched.run_stats IS
'What runs of jobs added up to, a row for each job and span of time in which something has ended; percentiles are within 10 %. More: doc/watching.md.';

-- Of all jobs together.
CREATE FUNCTION jobsched.run_totals(
	"from" timestamptz,
	"to" timestamptz,
	bucket interval,
	timezone text DEFAULT NULL)
RETURNS TABLE (bucket timestamptz, runs bigint, succeeded bigint, failed bigint, timed_out bigint,
	cancelled bigint, lost bigint, skipped bigint, missed bigint, retries bigint, mean_ms double precision,
	p50_ms double precision, p95_ms double precision, p99_ms double precision, max_ms double precision,
	delay_p95_ms double precision)
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'jobsched_run_totals';
COMMENT ON FUNCTION jobsched.run_totals IS
'What the runs of all jobs added up to, a row for each span of time in which something has ended; percentiles are within 10 %. More: doc/watching.md.';

CREATE FUNCTION jobsched.stat_reset(job text DEFAULT NULL, owner name DEFAULT NULL, job_id bigint DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_stat_reset';
COMMENT ON FUNCTION jobsched.stat_reset IS
'Begins the statistics of a job anew, or of all jobs that you may manage.';

-- For the view: three rows, of the last hour, day and week.
CREATE FUNCTION jobsched_internal.job_stats(
	job_id bigint,
	OUT period interval, OUT since timestamptz, OUT runs bigint, OUT succeeded bigint, OUT success_rate double precision,
	OUT mean_ms double precision, OUT p50_ms double precision, OUT p95_ms double precision,
	OUT p99_ms double precision, OUT max_ms double precision, OUT delay_p95_ms double precision,
	OUT runs_before bigint, OUT success_rate_before double precision, OUT p95_ms_before double precision)
RETURNS SETOF record LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000 ROWS 3 AS 'MODULE_PATHNAME', 'jobsched_job_stats';

CREATE VIEW jobsched.job_stats WITH (security_barrier) AS
SELECT j.job_id,
	j.name AS job_name,
	jobsched_internal.owner_name_of(j.owner, j.owner_name, j.home) AS owner,
	t.period,
	t.since,
	t.runs,
	t.succeeded,
	t.success_rate,
	t.mean_ms,
	t.p50_ms,
	t.p95_ms,
	t.p99_ms,
	t.max_ms,
	t.delay_p95_ms,
	s.succeeded_at AS last_succeeded_at,
	t.runs_before,
	t.success_rate_before,
	t.p95_ms_before,
	t.success_rate - t.success_rate_before AS success_trend,
	t.p95_ms / NULLIF(t.p95_ms_before, 0) - 1 AS p95_trend
FROM jobsched_internal.job j
	LEFT JOIN jobsched_internal.job_state s ON s.job_id = j.job_id
	CROSS JOIN LATERAL jobsched_internal.job_stats(j.job_id) t
WHERE j.dropped_at IS NULL AND j.workflow_id IS NULL
	AND jobsched_internal.may_see(jobsched_internal.owner_of(j.owner, j.owner_name, j.home));
COMMENT ON VIEW jobsched.job_stats IS 'What the runs of each job added up to in the last hour, day and week, and in the period before.';
COMMENT ON COLUMN jobsched.job_stats.since IS 'the beginning of what is counted: of the last hour it is a multiple of ten minutes, else a whole hour';
COMMENT ON COLUMN jobsched.job_stats.runs IS 'those that have started and ended';
COMMENT ON COLUMN jobsched.job_stats.success_rate IS 'from 0 to 1: how many of those that have succeeded, failed, timed out or been lost have succeeded';
COMMENT ON COLUMN jobsched.job_stats.delay_p95_ms IS 'from when a run was due until it started';
COMMENT ON COLUMN jobsched.job_stats.success_trend IS 'the success rate less that of the period before';
COMMENT ON COLUMN jobsched.job_stats.p95_trend IS 'by how much p95_ms is more than in the period before: 0.1 is 10 %';
