-- Schedules: functions that need no job.

CREATE FUNCTION jobsched.next_runs(
	schedule text,
	timezone text DEFAULT pg_catalog.current_setting('jobsched.timezone'),
	"from" timestamptz DEFAULT pg_catalog.now(),
	n integer DEFAULT 5)
RETURNS SETOF timestamptz LANGUAGE C STABLE PARALLEL SAFE ROWS 5 AS 'MODULE_PATHNAME', 'jobsched_next_runs';
COMMENT ON FUNCTION jobsched.next_runs IS
'The next n (1 to 10000) instants at which a schedule fires, strictly after from. Intervals are counted from from.';

CREATE FUNCTION jobsched.explain_schedule(
	schedule text,
	timezone text DEFAULT pg_catalog.current_setting('jobsched.timezone'))
RETURNS text LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_explain_schedule';
COMMENT ON FUNCTION jobsched.explain_schedule IS
'Says in words when a schedule fires, with warnings about what may surprise.';

CREATE FUNCTION jobsched_internal.slots_of(
	job_name text, schedule text, timezone text, anchor timestamptz, after timestamptz, n integer)
RETURNS SETOF timestamptz LANGUAGE C STABLE PARALLEL SAFE ROWS 5 AS 'MODULE_PATHNAME', 'jobsched_slots_of';
