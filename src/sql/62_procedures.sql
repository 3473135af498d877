-- Durable procedures: what they call, and what they have done (memo, in 42_events.sql).

CREATE PROCEDURE jobsched.step(name text, function text, args jsonb, INOUT result jsonb)
LANGUAGE C AS 'MODULE_PATHNAME', 'jobsched_step';
COMMENT ON PROCEDURE jobsched.step IS
'In a durable procedure: calls a function that takes a jsonb and returns one; its effect, its result and '
'that it was done are one commit, and whenever the procedure comes here again the result is what is stored. '
'More: doc/procedures.md.';

CREATE PROCEDURE jobsched.sleep(name text, delay interval)
LANGUAGE C AS 'MODULE_PATHNAME', 'jobsched_sleep';
COMMENT ON PROCEDURE jobsched.sleep IS
'In a durable procedure: goes on once the delay is over; until then the run waits, and holds no worker.';

CREATE PROCEDURE jobsched.await_event(name text, timeout interval, INOUT result jsonb, event text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'jobsched_await_event';
COMMENT ON PROCEDURE jobsched.await_event IS
'In a durable procedure: goes on once an event has come, with its payload, or with NULL when the timeout is '
'over (NULL: there is none); until then the run waits, and holds no worker. event: its name, if that is not '
'the name of the step.';

CREATE PROCEDURE jobsched.http_step(
	name text,
	method text,
	url text,
	body jsonb,
	INOUT result jsonb,
	headers jsonb DEFAULT NULL,
	params jsonb DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	body_text text DEFAULT NULL,
	priority integer DEFAULT 0,
	sign_with text DEFAULT NULL,
	connect_timeout interval DEFAULT NULL,
	success_codes text[] DEFAULT NULL,
	max_redirects integer DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'jobsched_http_step';
COMMENT ON PROCEDURE jobsched.http_step IS
'In a durable procedure: sends a request, as http_request() does, and goes on once that has ended, with what '
'was answered; until then the run waits, and holds no worker. If the request has failed it is an error (JS002). '
'More: doc/procedures.md.';

CREATE VIEW jobsched.procedure_steps WITH (security_invoker) AS
SELECT m.run_id, m.seq,
	CASE WHEN jobsched_internal.may_see(m.owner) THEN m.name END AS name,
	m.job_id, n.name AS job_name, pg_catalog.pg_get_userbyid(m.owner) AS owner,
	CASE WHEN jobsched_internal.may_see(m.owner) THEN m.function END AS function,
	-- a response is its owner's alone
	CASE WHEN jobsched_internal.may_read(m.owner, m.request_run_id IS NOT NULL) THEN m.result END AS result,
	m.sleeps_until, m.stored_at,
	CASE WHEN jobsched_internal.may_see(m.owner) THEN m.event END AS event,
	m.request_run_id,
	CASE WHEN jobsched_internal.may_see(m.owner) THEN m.error END AS error
FROM jobsched_internal.memo m
	LEFT JOIN jobsched_internal.job_name_of n ON n.job_id = m.job_id
WHERE m.name >= ' ' AND jobsched_internal.may_see(m.owner)::integer <> 0;
COMMENT ON VIEW jobsched.procedure_steps IS 'What runs of durable procedures have done, a row for each step, sleep, event and request; kept as long as the run.';
COMMENT ON COLUMN jobsched.procedure_steps.seq IS 'which one of its run it is, in the order of the procedure';
COMMENT ON COLUMN jobsched.procedure_steps.function IS 'what the step has called; NULL: it is a sleep, an event or a request';
COMMENT ON COLUMN jobsched.procedure_steps.result IS 'what it has returned; of a request what was answered, for the owner alone';
COMMENT ON COLUMN jobsched.procedure_steps.sleeps_until IS 'of a sleep: when the procedure goes on; of an event: when the wait was to end';
COMMENT ON COLUMN jobsched.procedure_steps.stored_at IS 'when the step was done, or the sleep began; in a run that goes on where another has ended: then';
COMMENT ON COLUMN jobsched.procedure_steps.event IS 'the event that was waited for; result is its payload';
COMMENT ON COLUMN jobsched.procedure_steps.request_run_id IS 'of a request: its run';
COMMENT ON COLUMN jobsched.procedure_steps.error IS 'of a request that has failed: how';
