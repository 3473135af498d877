-- Metrics: counters that never go down, and the text that Prometheus reads.

-- What a job's runs have added up to since they were counted first, in the bytes of
-- src/store/stat.c; job_id 0 has all jobs that ever were, -1 those that are not listed.
-- Written by the scheduler (src/scheduler/sched_total.c).
CREATE TABLE jobsched_internal.stat_total (
	job_id bigint PRIMARY KEY,
	listed bigint,	-- the same; NULL: it has no series of its own
	data bytea NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX stat_total_listed ON jobsched_internal.stat_total (listed);

-- PostgREST answers a request for this media type with what a function returns that
-- returns it.
CREATE DOMAIN jobsched."application/openmetrics-text" AS text;
COMMENT ON DOMAIN jobsched."application/openmetrics-text" IS 'The text of metrics(), as the media type that it has.';

CREATE FUNCTION jobsched.metrics(format text DEFAULT 'openmetrics')
RETURNS jobsched."application/openmetrics-text" LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_metrics';
COMMENT ON FUNCTION jobsched.metrics IS
'What jobs, runs and processes do, as text for Prometheus: openmetrics, or prometheus for the older format. More: doc/metrics.md.';

-- Shows what its caller may see.
CREATE FUNCTION jobsched_internal.job_totals(
	OUT job_id bigint, OUT job_name text, OUT owner text, OUT succeeded bigint, OUT failed bigint,
	OUT cancelled bigint, OUT timed_out bigint, OUT lost bigint, OUT executed bigint, OUT duration_seconds double precision,
	OUT attempts bigint, OUT retries bigint, OUT skipped bigint, OUT missed bigint)
RETURNS SETOF record LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 1000 AS 'MODULE_PATHNAME', 'jobsched_job_totals';

CREATE VIEW jobsched.job_totals AS
SELECT t.job_id, t.job_name, t.owner, t.succeeded, t.failed, t.cancelled, t.timed_out, t.lost, t.executed,
	t.duration_seconds, t.attempts, t.retries, t.skipped, t.missed
FROM jobsched_internal.job_totals() t;
COMMENT ON VIEW jobsched.job_totals IS 'The counters of metrics() as rows: what runs of each job that has series of its own have added up to, and (job_id NULL) those of all others.';
COMMENT ON COLUMN jobsched.job_totals.executed IS 'runs that have started and ended';
COMMENT ON COLUMN jobsched.job_totals.duration_seconds IS 'how long these took, added up';
COMMENT ON COLUMN jobsched.job_totals.skipped IS 'slots that had no run, and runs that were skipped';
