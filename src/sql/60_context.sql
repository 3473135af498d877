-- Inside a run: what it may ask and say.  Outside of one the functions that ask
-- return NULL.

CREATE FUNCTION jobsched.run_id() RETURNS bigint
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_run_id';
COMMENT ON FUNCTION jobsched.run_id IS 'The id of the run that calls it; NULL outside a run.';

CREATE FUNCTION jobsched.job_name() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_job_name';
COMMENT ON FUNCTION jobsched.job_name IS 'The name of the job whose run calls it; NULL outside a run.';

CREATE FUNCTION jobsched.args() RETURNS jsonb
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_args';
COMMENT ON FUNCTION jobsched.args IS 'The arguments of the run that calls it; NULL outside a run.';

CREATE FUNCTION jobsched.attempt() RETURNS integer
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_attempt';
COMMENT ON FUNCTION jobsched.attempt IS 'Which try at the run this is, from 1; NULL outside a run.';

CREATE FUNCTION jobsched.scheduled_for() RETURNS timestamptz
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_scheduled_for';
COMMENT ON FUNCTION jobsched.scheduled_for IS 'The slot that the run was made for, in a step that of its workflow run; NULL for a triggered run and outside a run.';

CREATE FUNCTION jobsched.upstream()
RETURNS TABLE (run_id bigint, job_name text, status text, args jsonb, result jsonb, error text, step text, item integer)
LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'jobsched_upstream';
COMMENT ON FUNCTION jobsched.upstream IS
'The runs that the run which calls it has waited for (parameter after of trigger() and its like), '
'and what they have left; no rows outside a run.';

CREATE FUNCTION jobsched.event(name text) RETURNS jsonb
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'jobsched_event';
COMMENT ON FUNCTION jobsched.event IS
'What the event of this name had with it that the run which calls it has waited for (parameter wait_for of '
'trigger() and its like); NULL in a run that waited for none, and outside a run.';

CREATE FUNCTION jobsched.workflow_run_id() RETURNS bigint
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_workflow_run_id';
COMMENT ON FUNCTION jobsched.workflow_run_id IS
'The id of the run of the job made of steps that the run which calls it belongs to, as a step or below '
'one; NULL if it belongs to none, and outside a run.';

CREATE FUNCTION jobsched.step_result(step text, index integer DEFAULT NULL) RETURNS jsonb
LANGUAGE C STABLE PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'jobsched_step_result';
COMMENT ON FUNCTION jobsched.step_result IS
'The result of another step of the workflow that the run which calls it belongs to, or of an element of a '
'step with for_each (from 0); NULL if that has not succeeded, and where workflow_run_id() is NULL.';

CREATE FUNCTION jobsched.step_results(step text DEFAULT NULL)
RETURNS TABLE (step text, run_id bigint, status text, args jsonb, result jsonb, error text, item integer)
LANGUAGE C STABLE PARALLEL RESTRICTED COST 100 ROWS 10 AS 'MODULE_PATHNAME', 'jobsched_step_results';
COMMENT ON FUNCTION jobsched.step_results IS
'The runs of all steps of the workflow that the run which calls it belongs to, in their order, or of one, and '
'what they have left; of a step with for_each, if it is named, those of its elements; no rows where workflow_run_id() is NULL.';

CREATE FUNCTION jobsched.state() RETURNS jsonb
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_state';
COMMENT ON FUNCTION jobsched.state IS 'What the run that calls it has given to snooze() in an earlier attempt; NULL if nothing, and outside a run.';

CREATE FUNCTION jobsched.snooze(delay interval, state jsonb DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_snooze';
COMMENT ON FUNCTION jobsched.snooze IS
'Lets the run that calls it be executed once more, a delay after this attempt has come to its '
'end, which does not count as one of max_attempts; state() has the state then. More: '
'doc/reference.md, snooze.';

CREATE FUNCTION jobsched.discard(reason text) RETURNS void
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_discard';
COMMENT ON FUNCTION jobsched.discard IS 'Raises an error, with reason as its message and SQLSTATE JS001, that ends the run as failed (reason discarded) whatever its policy: there is no use in trying again.';

CREATE FUNCTION jobsched.progress(done bigint, total bigint DEFAULT NULL, message text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_progress';
COMMENT ON FUNCTION jobsched.progress IS
'Shows in view running, at once and to others, how far the run is. Does nothing outside a run.';

CREATE FUNCTION jobsched.log(level text, message text) RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_log';
COMMENT ON FUNCTION jobsched.log IS
'Keeps a message with the run (view run_logs); level: debug, info, notice, warning or error. '
'Outside a run it raises the message as a notice or warning.';

-- Messages of attempts, in the segment of their record.
CREATE TABLE jobsched_internal.run_log (
	run_id bigint NOT NULL,
	segment smallint NOT NULL,
	attempt integer NOT NULL,
	job_id bigint NOT NULL,
	owner oid NOT NULL,
	seq integer NOT NULL,
	logged_at timestamptz NOT NULL,
	level text NOT NULL,
	message text NOT NULL,
	callback boolean NOT NULL,
	PRIMARY KEY (run_id, attempt, seq, segment)
) PARTITION BY LIST (segment);
CREATE INDEX run_log_job ON jobsched_internal.run_log (job_id, run_id);

CREATE VIEW jobsched.run_logs WITH (security_invoker) AS
SELECT l.run_id, l.attempt, l.job_id, n.name AS job_name, pg_catalog.pg_get_userbyid(l.owner) AS owner,
	l.seq, l.logged_at, l.level,
	CASE WHEN jobsched_internal.may_read(l.owner, l.callback) THEN l.message END AS message
FROM jobsched_internal.run_log l
	LEFT JOIN jobsched_internal.job_name_of n ON n.job_id = l.job_id
WHERE jobsched_internal.may_see(l.owner)::integer <> 0;
COMMENT ON VIEW jobsched.run_logs IS 'Messages that runs raised or logged, kept as long as the run.';
COMMENT ON COLUMN jobsched.run_logs.message IS 'what was said; of a callback only for the owner';
