-- Events, for which runs wait (wait_for), and which run has been let go by which.

-- An event.  Written by the session that sends it, in the caller's transaction; numbered
-- there when that commits, or by the scheduler if the transaction was prepared; from
-- then on only the scheduler changes it: if it is for one run, whose tree is to take it
-- once, it is closed when it is taken.
CREATE TABLE jobsched_internal.event (
	event_id bigint PRIMARY KEY,
	owner oid NOT NULL,
	name text COLLATE "C" NOT NULL,
	-- the run that it was sent to; NULL: to all of its owner
	run_id bigint,
	payload jsonb,
	sent_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	-- of the sequence of runs: which runs are older; 0: it is not numbered yet
	came bigint NOT NULL,
	-- for which run, and those below it, it is there; 0: for all; NULL: it was taken
	open_for bigint,
	taken_by bigint
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX event_open ON jobsched_internal.event (owner, name, open_for, came);
CREATE INDEX event_expires_at ON jobsched_internal.event (expires_at);

-- Which event of a name a run has got.  Written by the scheduler; deleted when the run has
-- ended: until then it keeps the event; or, of a durable procedure, by its worker.
CREATE TABLE jobsched_internal.event_match (
	run_id bigint NOT NULL,
	name text COLLATE "C" NOT NULL,
	event_id bigint NOT NULL,
	PRIMARY KEY (run_id, name)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX event_match_event ON jobsched_internal.event_match (event_id);

-- Roles that have too many events.  Written by the scheduler.
CREATE TABLE jobsched_internal.event_full (owner oid PRIMARY KEY);

-- Which of these names a run still waits for.
CREATE FUNCTION jobsched_internal.awaits(run_id bigint, wait_for text[]) RETURNS text[]
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'jobsched_awaits';

CREATE FUNCTION jobsched.send_event(
	name text,
	payload jsonb DEFAULT NULL,
	run_id bigint DEFAULT NULL,
	keep interval DEFAULT '7 days')
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_send_event';
COMMENT ON FUNCTION jobsched.send_event IS
'Sends an event, once the transaction commits, to all runs of the caller that wait for its name and were '
'queued before, or to one run and those below it, the first of which takes it. Returns the event''s id; '
'NULL if the run has ended. More: doc/workflows.md, Events.';

CREATE VIEW jobsched.events WITH (security_invoker) AS
SELECT e.event_id,
	CASE WHEN jobsched_internal.may_see(e.owner) THEN e.name END AS name,
	pg_catalog.pg_get_userbyid(e.owner) AS owner,
	e.run_id,
	CASE WHEN jobsched_internal.may_see(e.owner) THEN e.payload END AS payload,
	e.sent_at,
	e.expires_at,
	e.taken_by
FROM jobsched_internal.event e
WHERE jobsched_internal.may_see(e.owner)::integer <> 0;
COMMENT ON VIEW jobsched.events IS 'The events that send_event() has sent, for as long as they are kept.';
COMMENT ON COLUMN jobsched.events.run_id IS 'the run that it was sent to, and those below it; NULL: to all of its owner';
COMMENT ON COLUMN jobsched.events.expires_at IS 'until then it is kept at least, and as long as a run that has got it lives';
COMMENT ON COLUMN jobsched.events.taken_by IS 'which run has taken it, of one that was sent to a run';

-- What a procedure has done, a row for each step, sleep and wait.  Written by the worker, in
-- the transaction of the step; kept as long as the record of the run.  A wait that goes on
-- has the empty name, which no step has.  What was answered to a request has one that begins
-- with a control character, until its wait ends; it is written by who records the request's end.
CREATE TABLE jobsched_internal.memo (
	run_id bigint NOT NULL,
	name text COLLATE "C" NOT NULL,
	seq integer NOT NULL,
	job_id bigint NOT NULL,
	owner oid NOT NULL,
	-- NULL: it is a sleep, a wait or a request
	function text,
	args_hash bigint,
	result jsonb,
	sleeps_until timestamptz,
	stored_at timestamptz NOT NULL,
	-- of a wait: for which event, and the number of the one that has come (event.came); while
	-- it goes on, of the one before, and the name that its step will have
	event text COLLATE "C",
	event_came bigint,
	step text COLLATE "C",
	-- of a request: its run, and how that has failed
	request_run_id bigint,
	error text,
	PRIMARY KEY (run_id, name)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
