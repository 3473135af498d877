-- Runs that have ended without success, and what queues them anew.

-- Runs that have ended and were queued anew, as others: none is twice.  Kept
-- for as long as history may speak of them.
CREATE TABLE jobsched_internal.retried (
	run_id bigint PRIMARY KEY,
	retried_as bigint NOT NULL,
	retried_at timestamptz NOT NULL,
	-- of a job made of steps: ids of those that are done anew in any case
	from_steps bigint[]
);
CREATE INDEX retried_as ON jobsched_internal.retried (retried_as);

CREATE FUNCTION jobsched.retry_run(
	run_id bigint,
	from_step text[] DEFAULT NULL,
	args jsonb DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_retry_run';
COMMENT ON FUNCTION jobsched.retry_run IS
'Queues a run that has ended without success anew, with the arguments, priority and slot that it had, and returns the id of the new run. A run is retried like this once; the new one can be. '
'Of a job made of steps those that have succeeded are carried over, but for the ones in from_step and those behind them; args are merged over those of the run.';

CREATE FUNCTION jobsched_internal.redrive_run(run_id bigint) RETURNS bigint
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_redrive_run';

CREATE VIEW jobsched.dead_letters WITH (security_invoker) AS
SELECT h.run_id,
	h.job_id,
	n.name AS job_name,
	pg_catalog.pg_get_userbyid(h.owner) AS owner,
	h.status,
	h.reason,
	h.attempt,
	h.source,
	h.scheduled_for,
	h.queued_at,
	h.started_at,
	h.finished_at,
	CASE WHEN jobsched_internal.may_read(h.owner, h.handler IS NOT NULL) THEN h.args END AS args,
	CASE WHEN jobsched_internal.may_read(h.owner, h.handler IS NOT NULL) THEN h.error END AS error,
	h.sqlstate
FROM jobsched_internal.history h
	LEFT JOIN jobsched_internal.job_name_of n ON n.job_id = h.job_id
WHERE h.status = ANY (ARRAY['failed', 'timed_out', 'lost'])
	-- the members of a batch are there, and the run that a step belongs to
	AND h.source <> ALL (ARRAY['batch', 'step', 'item'])
	AND NOT EXISTS (SELECT FROM jobsched_internal.retried t
		WHERE t.run_id = h.run_id)
	AND jobsched_internal.may_see(h.owner)::integer <> 0;
COMMENT ON VIEW jobsched.dead_letters IS 'Runs that have failed for good, timed out or been lost, and that nobody has retried (of a batch its members; of steps the run of their job): retry_run() takes one, redrive() those of a job.';
COMMENT ON COLUMN jobsched.dead_letters.args IS 'its arguments; those of a callback hold a response, and are only for the owner';
COMMENT ON COLUMN jobsched.dead_letters.error IS 'why it failed; of a callback only for the owner';

CREATE FUNCTION jobsched.redrive(
	job text DEFAULT NULL,
	since timestamptz DEFAULT '-infinity',
	max integer DEFAULT 1000,
	owner name DEFAULT NULL,
	job_id bigint DEFAULT NULL)
RETURNS SETOF bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 100
BEGIN ATOMIC
	SELECT r.run_id
	FROM (SELECT jobsched_internal.redrive_run(d.run_id) AS run_id
		FROM (SELECT l.run_id FROM jobsched.dead_letters l
			WHERE l.job_id = (SELECT jobsched_internal.job_id_of(redrive.job, redrive.owner, redrive.job_id))
				AND l.finished_at >= COALESCE(redrive.since, '-infinity')
			ORDER BY l.run_id LIMIT COALESCE(redrive.max, 1000)) d) r
	WHERE r.run_id IS NOT NULL;
END;
COMMENT ON FUNCTION jobsched.redrive IS 'Retries, as retry_run() does, the dead letters of a job that ended at or after since, the oldest first, max at most; returns the ids of the new runs. Passed over is what somebody else retries meanwhile, and, of several runs of one slot, all but the first.';
