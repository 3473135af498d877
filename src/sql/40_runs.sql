-- Runs that wait or are executed: the queue, and the functions that fill it and
-- take from it.

-- The live queue.  A row is inserted by a trigger() in its caller's
-- transaction or by the scheduler; from then on only the scheduler changes
-- it, until it is handed to a worker; from then on only that worker.  Half of
-- a page is left free, so that the claim of each run finds room next to it and
-- leaves the indexes alone.
CREATE SEQUENCE jobsched_internal.run_id_seq AS bigint;
CREATE TABLE jobsched_internal.run (
	run_id bigint PRIMARY KEY,
	-- 0: of an HTTP request whose job is yet to be made (src/sched_jobless.c), and
	-- whose home is then here
	job_id bigint NOT NULL,
	home uuid,
	owner oid NOT NULL,
	status text NOT NULL CHECK (status = ANY (ARRAY['queued', 'running', 'retrying', 'waiting'])),
	source text NOT NULL,
	attempt integer NOT NULL DEFAULT 0,
	-- how many attempts ended with their worker or server, and left no effect
	lost integer NOT NULL DEFAULT 0,
	-- how many failed: what max_attempts counts, besides the one in progress
	failures integer NOT NULL DEFAULT 0,
	-- whether the attempt was claimed as one transaction (job.transactional
	-- may change meanwhile), so that it leaves no effect if it is cut off
	repeatable boolean NOT NULL,
	priority integer NOT NULL DEFAULT 0,
	missed_count integer NOT NULL DEFAULT 0,
	timeout interval,
	max_attempts integer,
	-- what its limits apply to, made from the templates of its job or trigger
	keys text[],
	boot_id bigint,
	run_at timestamptz NOT NULL CHECK (pg_catalog.isfinite(run_at)),
	queued_at timestamptz NOT NULL CHECK (pg_catalog.isfinite(queued_at)),
	claimed_at timestamptz,
	scheduled_for timestamptz,
	reason text,
	args jsonb,
	-- what the last snooze() has left for the next attempt
	state jsonb,
	-- instead of what the job executes: a function that is told of another run's
	-- end, or a request of its own
	handler text,
	request jsonb,
	-- W3C trace context of who queued it
	traceparent text,
	-- if it waits for other runs (dependency): how these have to end
	after_when text CHECK (after_when = ANY (ARRAY['success', 'failure', 'done', 'always', 'undo'])),
	-- for how many, so that it is known what it takes before they are looked for
	parents integer,
	-- the run that has queued it as its child, and waits for it; whether that may
	-- succeed if it fails; and how many generations are above it, also those that
	-- are there because they have changed a table with a trigger
	parent_run_id bigint,
	optional boolean,
	depth integer,
	-- of one that has been executed and waits for its children (status waiting);
	-- claimed_at is when it began then, of a batch when it was queued
	result jsonb,
	worker_pid integer,
	-- if it is a batch or its job is made of steps; the job may be altered until it
	-- begins, and a worker says what it was then
	workflow text CHECK (workflow = ANY (ARRAY['steps', 'batch'])),
	-- if it waits for events (42_events.sql): their names, for how long, and until when,
	-- which the scheduler writes when the wait begins
	wait_for text[],
	wait_timeout interval,
	wait_until timestamptz
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
		autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,
		autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000);
-- Arguments of a thousand rows that a trigger has sent: where the server can, they are
-- compressed at a fifth of the cost.
DO $$
BEGIN
	ALTER TABLE jobsched_internal.run ALTER COLUMN args SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
	NULL;
END $$;
-- With the source: a backfill() in a session must not make the scheduler wait,
-- or fail, that inserts the run of the same slot.
CREATE UNIQUE INDEX run_slot ON jobsched_internal.run (job_id, scheduled_for, source);

CREATE INDEX run_parent ON jobsched_internal.run (parent_run_id, run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX run_workflow ON jobsched_internal.run (run_id, workflow) WHERE workflow IS NOT NULL;

-- Which runs a run waits for.  Written by the session that queues it, together
-- with it; deleted by the scheduler when it has ended.
CREATE TABLE jobsched_internal.dependency (
	run_id bigint NOT NULL,
	parent_run_id bigint NOT NULL,
	PRIMARY KEY (run_id, parent_run_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
		autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
		autovacuum_vacuum_cost_delay = 0);
-- Which rows of history have to be kept.
CREATE INDEX dependency_parent ON jobsched_internal.dependency (parent_run_id);

-- Which runs one had waited for that has ended without success, for who retries it.
-- Moved here from dependency by the scheduler; kept as long as the run's record.
CREATE TABLE jobsched_internal.waited (
	run_id bigint NOT NULL,
	parent_run_id bigint NOT NULL,
	PRIMARY KEY (run_id, parent_run_id)
);

-- Stops: runs that are to end early, as wanted by sessions, and by the scheduler itself
-- (overlap 'replace').  The scheduler does it, and deletes the row when the run
-- has ended.
CREATE SEQUENCE jobsched_internal.stop_id_seq AS bigint;
CREATE TABLE jobsched_internal.run_stop (
	stop_id bigint PRIMARY KEY,
	kind text NOT NULL CHECK (kind = ANY (ARRAY['cancel', 'replace', 'debounce', 'reset', 'overlap', 'skip', 'deadline'])),
	run_id bigint NOT NULL,
	-- the only attempt that is meant; 0: any
	attempt integer NOT NULL,
	force boolean NOT NULL
);

-- Which run keeps an idempotency key of a job, or (job_id 0) of the requests
-- that a role makes without one.  Written by trigger() and its like in their
-- caller's transaction; the scheduler deletes what has expired.
CREATE TABLE jobsched_internal.idempotency (
	job_id bigint NOT NULL,
	owner regrole NOT NULL,
	key text COLLATE "C" NOT NULL,
	run_id bigint NOT NULL,
	queued_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	PRIMARY KEY (job_id, owner, key)
);
CREATE INDEX idempotency_expires_at ON jobsched_internal.idempotency (expires_at);

CREATE FUNCTION jobsched.trigger(
	job text DEFAULT NULL,
	args jsonb DEFAULT NULL,
	run_at timestamptz DEFAULT pg_catalog.now(),
	priority integer DEFAULT 0,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	on_conflict text DEFAULT 'return_existing',
	idempotency_period interval DEFAULT '1 day',
	after bigint[] DEFAULT NULL,
	after_when text DEFAULT 'success',
	child boolean DEFAULT false,
	optional boolean DEFAULT false,
	wait_for text[] DEFAULT NULL,
	wait_timeout interval DEFAULT NULL,
	owner name DEFAULT NULL,
	job_id bigint DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_trigger';
COMMENT ON FUNCTION jobsched.trigger IS
'Queues a run of a job and returns its id; it exists if and only if the transaction commits, and '
'starts then, or at run_at, or when the runs in after have ended as after_when says, or the events '
'in wait_for have come. args are merged over the job''s; more, and idempotency_key: doc/runs.md, '
'doc/workflows.md.';

CREATE FUNCTION jobsched.trigger_many(
	job text DEFAULT NULL,
	args jsonb[] DEFAULT NULL,
	run_at timestamptz DEFAULT pg_catalog.now(),
	priority integer DEFAULT 0,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	after_when text DEFAULT 'success',
	child boolean DEFAULT false,
	optional boolean DEFAULT false,
	wait_for text[] DEFAULT NULL,
	wait_timeout interval DEFAULT NULL,
	owner name DEFAULT NULL,
	job_id bigint DEFAULT NULL)
RETURNS SETOF bigint LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 AS 'MODULE_PATHNAME', 'jobsched_trigger_many';
COMMENT ON FUNCTION jobsched.trigger_many IS
'Queues one run of a job for each element of args (a JSON object or NULL) and returns their ids in the same order.';

CREATE FUNCTION jobsched.trigger_batch(
	job text DEFAULT NULL,
	args jsonb[] DEFAULT NULL,
	on_complete text DEFAULT NULL,
	on_complete_args jsonb DEFAULT NULL,
	after_when text DEFAULT 'done',
	run_at timestamptz DEFAULT pg_catalog.now(),
	priority integer DEFAULT 0,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	child boolean DEFAULT false,
	optional boolean DEFAULT false,
	owner name DEFAULT NULL,
	job_id bigint DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_trigger_batch';
COMMENT ON FUNCTION jobsched.trigger_batch IS
'Queues one run of a job for each element of args, and a run, the batch, that ends when they have '
'ended, with the totals by status as its result. Returns its id. The job on_complete runs '
'afterwards; more: doc/workflows.md.';

CREATE FUNCTION jobsched.trigger_job()
RETURNS trigger LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_trigger_job';
COMMENT ON FUNCTION jobsched.trigger_job IS
'Trigger function for triggers AFTER a change, whose first argument is the name of a job, which is '
'triggered with the changed row, or rows of a statement. It never hinders the change; options and '
'more: doc/triggers.md.';

CREATE FUNCTION jobsched.backfill(
	job text DEFAULT NULL,
	"from" timestamptz DEFAULT NULL,
	"to" timestamptz DEFAULT NULL,
	dry_run boolean DEFAULT false,
	max integer DEFAULT 1000,
	owner name DEFAULT NULL,
	job_id bigint DEFAULT NULL)
RETURNS TABLE (slot timestamptz, run_id bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 AS 'MODULE_PATHNAME', 'jobsched_backfill';
COMMENT ON FUNCTION jobsched.backfill IS
'Queues one run of a job for each slot that its schedule has had from "from" until before "to", '
'and returns slots and run ids. With dry_run it only shows the slots; more: doc/reference.md, '
'backfill.';

CREATE FUNCTION jobsched.cancel_run(run_id bigint, force boolean DEFAULT false)
RETURNS boolean LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_cancel_run';
COMMENT ON FUNCTION jobsched.cancel_run IS
'Cancels a run once the transaction commits: one that waits does not start, one that is executed '
'is interrupted. Returns false when the run has ended already; force and more: doc/reference.md, '
'cancel_run.';

CREATE FUNCTION jobsched.cancel_runs(
	job text DEFAULT NULL,
	status text DEFAULT NULL,
	older_than interval DEFAULT NULL,
	force boolean DEFAULT false,
	owner name DEFAULT NULL,
	job_id bigint DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_cancel_runs';
COMMENT ON FUNCTION jobsched.cancel_runs IS
'Cancels, as cancel_run() does, every run that the caller may manage and that meets all '
'conditions given: job, status (queued, running, retrying), queued longer ago than older_than. '
'Returns how many; one condition at least is needed.';

CREATE FUNCTION jobsched.skip_step(run_id bigint, step text)
RETURNS bigint LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_skip_step';
COMMENT ON FUNCTION jobsched.skip_step IS
'Lets a step of a run of a job made of steps end as skipped once the transaction commits, if it has '
'not started; returns the id of the step''s run. Steps that come after it see a skipped one; more: doc/workflows.md.';

CREATE FUNCTION jobsched.reset_stuck(older_than interval)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_reset_stuck';
COMMENT ON FUNCTION jobsched.reset_stuck IS
'Takes every run that the caller may manage and that has been executed for longer than '
'older_than from its worker, which is terminated. Returns how many; what becomes of them: '
'doc/reference.md, reset_stuck.';

CREATE PROCEDURE jobsched.wait_run(
	run_id bigint,
	timeout interval DEFAULT NULL,
	INOUT status text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'jobsched_wait_run';
COMMENT ON PROCEDURE jobsched.wait_run IS
'Waits until a run has ended and returns its status; when the timeout is over: error 57014. It '
'cannot be called inside a transaction block, and holds no snapshot or lock while it waits.';
