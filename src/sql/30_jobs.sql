-- Jobs: their definitions, what becomes of them, and view jobs.

-- The names of jobs, guarded by row level security for views that run with
-- their readers' rights.  It has no rows of its own: table job inherits from it,
-- and a policy counts where the table that is named in a query has it.
-- The OID of the owner counts where the row is at home, and the name that the
-- role had there everywhere else (src/owner.c); no name: it has been dropped.
CREATE TABLE jobsched_internal.job_name_of (
	job_id bigint PRIMARY KEY,
	name text NOT NULL,
	owner oid NOT NULL,
	owner_name text,
	home uuid NOT NULL
);

-- A job: what to run, when, as whom.  Written by the functions of schema
-- jobsched in the caller's transaction; the scheduler only reads it.
CREATE SEQUENCE jobsched_internal.job_id_seq AS bigint;
CREATE TABLE jobsched_internal.job (
	job_id bigint PRIMARY KEY,
	name text NOT NULL,
	owner oid NOT NULL,
	owner_name text,
	home uuid NOT NULL,
	schedule text,
	timezone text NOT NULL,
	command text,
	handler text,
	args jsonb NOT NULL,
	mode text NOT NULL CHECK (mode = ANY (ARRAY['auto', 'transaction', 'autocommit'])),
	-- whether a run that died with its server left no effect behind, so that
	-- it can be tried again without asking
	transactional boolean NOT NULL,
	share_transaction boolean NOT NULL,
	timeout interval,
	-- NULL: by what the run is, see src/retry.c
	max_attempts integer,
	backoff text NOT NULL CHECK (backoff = ANY (ARRAY['exponential', 'linear', 'fixed'])),
	backoff_base interval,
	backoff_max interval,
	backoff_jitter double precision NOT NULL,
	retry_delays interval[],
	retry_on text[],
	no_retry_on text[],
	-- slots: when one comes while runs are live, or was missed; which there
	-- are at all; how far into its future each is put off
	overlap text NOT NULL CHECK (overlap = ANY (ARRAY['skip', 'queue', 'allow', 'replace'])),
	queue_limit integer NOT NULL CHECK (queue_limit >= 1 AND queue_limit <= 1000),
	misfire text NOT NULL CHECK (misfire = ANY (ARRAY['once', 'skip', 'all'])),
	misfire_grace interval NOT NULL,
	starts_at timestamptz CHECK (pg_catalog.isfinite(starts_at)),
	ends_at timestamptz CHECK (pg_catalog.isfinite(ends_at)),
	max_runs integer CHECK (max_runs >= 1),
	jitter interval,
	pause_after_failures integer CHECK (pause_after_failures >= 1),
	-- limits
	max_concurrency integer CHECK (max_concurrency >= 1),
	queue text,
	keys text[],
	-- functions that are told of the end of each run
	on_success text,
	on_failure text,
	-- how long a run may take, of a job made of steps
	deadline interval,
	-- which runs leave a row of history, and for how long at most (src/run/keep.c)
	keep text NOT NULL DEFAULT 'all' CHECK (keep = ANY (ARRAY['all', 'failures'])),
	keep_for interval,
	-- the jobs that it comes after, and their last successes when that was said
	after_jobs bigint[],
	after_seen bigint[],
	-- what is sent, of a job that is an HTTP request (src/http_request.h); '{}'
	-- if each run brings its own
	request jsonb,
	-- what a job is made of, as it was given, and the number of that set of steps;
	-- the number stays when the job becomes one without steps
	steps jsonb,
	steps_revision bigint NOT NULL DEFAULT 0,
	-- of a step, which is a job that only runs of that job can run: the job, the set,
	-- its name there, its place in an order in which each comes after all that it
	-- waits for, and how it waits for them (places)
	workflow_id bigint,
	step_revision bigint,
	step_no integer,
	step text,
	step_after integer[],
	-- (undo: it is done when the workflow has failed)
	step_when text CHECK (step_when = ANY (ARRAY['success', 'failure', 'done', 'always', 'undo'])),
	step_optional boolean NOT NULL DEFAULT false,
	-- how long after the last of these it starts
	step_delay interval,
	-- an expression that says whether it starts at all; and whether it has to look
	-- before it starts, for that or for what placeholders stand for
	step_if text,
	step_looks boolean NOT NULL DEFAULT false,
	-- SQL that gives the elements, of each of which there is a run
	step_for_each text,
	-- the name of the job that it runs
	step_job text,
	-- events that its runs wait for
	step_wait_for text[],
	step_wait_timeout interval,
	-- the place of the step that it takes back
	step_undoes integer,
	enabled boolean NOT NULL,
	paused boolean NOT NULL DEFAULT false,
	pause_reason text,
	description text,
	metadata jsonb,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	-- counts every change of the row
	revision bigint NOT NULL DEFAULT 1,
	-- counts changes of schedule, time zone, bounds and max_runs: first_run_at
	-- holds until the scheduler has fired a slot of this revision (job_state.next_run_at)
	schedule_revision bigint NOT NULL DEFAULT 1,
	-- what the steps of "every" are counted from: starts_at, or when that was said
	anchor timestamptz NOT NULL CHECK (pg_catalog.isfinite(anchor)),
	first_run_at timestamptz,
	-- a dropped job's name is kept for as long as its history
	dropped_at timestamptz,
	cancel_running boolean NOT NULL DEFAULT false,
	CHECK (pg_catalog.num_nonnulls(command, handler, request, steps, step_job) = 1)
) INHERITS (jobsched_internal.job_name_of);
-- no partial index: table.c writes rows without the executor; home: what came from
-- elsewhere is in nobody's way, whoever has the OID of its owner here; and no step is
-- in the way of a job, or of the same step of another set
CREATE UNIQUE INDEX job_name ON jobsched_internal.job
	(name, owner, owner_name, home, dropped_at, workflow_id, step_revision, step_no) NULLS NOT DISTINCT;
-- names by their beginning, whatever the order of names is: channels (77_channels.sql)
CREATE INDEX job_name_prefix ON jobsched_internal.job (name text_pattern_ops);
-- the steps of a set
CREATE INDEX job_step ON jobsched_internal.job (workflow_id, step_revision, step_no);
-- those that are not dropped: of a job that is altered often most are
CREATE INDEX job_step_live ON jobsched_internal.job (workflow_id, dropped_at, step_revision, step_no);
-- those of a role: here by its OID, from elsewhere by its name; whether there are any that
-- are neither dropped nor steps
CREATE INDEX job_owner ON jobsched_internal.job (owner, dropped_at, workflow_id);
CREATE INDEX job_owner_name ON jobsched_internal.job (owner_name, dropped_at, workflow_id);

-- Whose a job was before: runs that it had then are still theirs (src/store/store_owner.c).
CREATE TABLE jobsched_internal.former_owner (
	job_id bigint NOT NULL,
	owner oid NOT NULL,
	PRIMARY KEY (job_id, owner)
);
CREATE INDEX former_owner_owner ON jobsched_internal.former_owner (owner);

-- Which jobs' metadata contains something.  Behind a security barrier an index is of no use
-- to an operator that might tell what is in the rows, as far as the planner knows; so this is
-- @> once more, with a function whose errors do not depend on the rows.
CREATE FUNCTION jobsched_internal.metadata_contains(metadata jsonb, part jsonb) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_metadata_contains';
CREATE OPERATOR jobsched_internal.@> (LEFTARG = jsonb, RIGHTARG = jsonb,
	FUNCTION = jobsched_internal.metadata_contains, RESTRICT = contsel, JOIN = contjoinsel);
CREATE OPERATOR CLASS jobsched_internal.metadata_ops FOR TYPE jsonb USING gin AS
	OPERATOR 7 jobsched_internal.@> (jsonb, jsonb),
	FUNCTION 1 pg_catalog.btint4cmp(integer, integer),
	FUNCTION 2 pg_catalog.gin_extract_jsonb_path(jsonb, internal, internal),
	FUNCTION 3 pg_catalog.gin_extract_jsonb_query_path(jsonb, internal, smallint, internal, internal, internal, internal),
	FUNCTION 4 pg_catalog.gin_consistent_jsonb_path(internal, smallint, jsonb, integer, internal, internal, internal, internal),
	FUNCTION 6 pg_catalog.gin_triconsistent_jsonb_path(internal, smallint, jsonb, integer, internal, internal, internal),
	STORAGE integer;
-- without a list of entries that somebody has to put in order later
CREATE INDEX job_metadata ON jobsched_internal.job USING gin (metadata jobsched_internal.metadata_ops)
	WITH (fastupdate = off);

-- What changes with every run.  Written by the scheduler only.
CREATE TABLE jobsched_internal.job_state (
	job_id bigint PRIMARY KEY,
	schedule_revision bigint NOT NULL DEFAULT 0,
	next_run_at timestamptz,
	-- slots that have had their run: up to done_before, and from done_from to
	-- last_slot; two spans only after the clock has been ahead for a while
	last_slot timestamptz,
	done_before timestamptz,
	done_from timestamptz,
	-- why the scheduler does not run this revision of the job, if it does not
	invalid_revision bigint,
	invalid_reason text,
	last_run_id bigint,
	last_status text,
	last_started_at timestamptz,
	last_finished_at timestamptz,
	consecutive_failures integer NOT NULL DEFAULT 0,
	recent text NOT NULL DEFAULT '',
	-- slots passed over since the last run that is still live
	skipped integer NOT NULL DEFAULT 0,
	skipped_first timestamptz,
	skipped_last timestamptz,
	skipped_reason text,
	-- runs that the schedule has made, for max_runs
	scheduled_runs bigint NOT NULL DEFAULT 0,
	-- the revision of the job that pause_after_failures has paused, and why;
	-- and how many of consecutive_failures were before that, and do not count
	auto_paused_revision bigint,
	auto_paused_reason text,
	forgiven_failures integer NOT NULL DEFAULT 0,
	-- the last run that has succeeded, and when one has latest
	succeeded_run_id bigint,
	succeeded_at timestamptz,
	-- what the last run came after that was made because other jobs had succeeded
	after_runs bigint[]
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Commands that were replaced, for runs that have executed them: each holds for the
-- revisions of its job from since to revision (src/store/store_command.c).
CREATE TABLE jobsched_internal.job_command (
	job_id bigint NOT NULL,
	revision bigint NOT NULL,
	since bigint NOT NULL,
	owner oid NOT NULL,
	-- NULL: it had none
	command text,
	replaced_at timestamptz NOT NULL,
	PRIMARY KEY (job_id, revision)
);

CREATE FUNCTION jobsched.create_job(
	name text,
	schedule text DEFAULT NULL,
	command text DEFAULT NULL,
	handler text DEFAULT NULL,
	args jsonb DEFAULT '{}',
	timezone text DEFAULT pg_catalog.current_setting('jobsched.timezone'),
	enabled boolean DEFAULT true,
	description text DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	owner name DEFAULT CURRENT_USER,
	mode text DEFAULT 'auto',
	share_transaction boolean DEFAULT false,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	backoff text DEFAULT 'exponential',
	backoff_base interval DEFAULT '10 seconds',
	backoff_max interval DEFAULT '1 hour',
	backoff_jitter double precision DEFAULT 0.2,
	retry_delays interval[] DEFAULT NULL,
	retry_on text[] DEFAULT NULL,
	no_retry_on text[] DEFAULT NULL,
	overlap text DEFAULT 'skip',
	queue_limit integer DEFAULT 1,
	misfire text DEFAULT 'once',
	misfire_grace interval DEFAULT '5 seconds',
	starts_at timestamptz DEFAULT NULL,
	ends_at timestamptz DEFAULT NULL,
	max_runs integer DEFAULT NULL,
	jitter interval DEFAULT NULL,
	pause_after_failures integer DEFAULT NULL,
	max_concurrency integer DEFAULT NULL,
	queue text DEFAULT NULL,
	keys text[] DEFAULT NULL,
	on_success text DEFAULT NULL,
	on_failure text DEFAULT NULL,
	deadline interval DEFAULT NULL,
	keep text DEFAULT 'all',
	keep_for interval DEFAULT NULL,
	url text DEFAULT NULL,
	method text DEFAULT NULL,
	headers jsonb DEFAULT NULL,
	body jsonb DEFAULT NULL,
	body_text text DEFAULT NULL,
	sign_with text DEFAULT NULL,
	connect_timeout interval DEFAULT NULL,
	success_codes text[] DEFAULT NULL,
	max_redirects integer DEFAULT NULL,
	steps jsonb DEFAULT NULL,
	after text[] DEFAULT NULL,
	if_exists text DEFAULT 'error')
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_create_job';
COMMENT ON FUNCTION jobsched.create_job IS
'Defines a job and returns its id: exactly one of command (SQL text), handler (schema.function, '
'takes jsonb), url (an HTTP request) and steps (an array of steps), with a schedule or to be triggered. Parameters: '
'doc/reference.md, create_job.';

CREATE FUNCTION jobsched.alter_job(
	job text DEFAULT NULL,
	name text DEFAULT NULL,
	schedule text DEFAULT NULL,
	command text DEFAULT NULL,
	handler text DEFAULT NULL,
	args jsonb DEFAULT NULL,
	timezone text DEFAULT NULL,
	enabled boolean DEFAULT NULL,
	description text DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	owner name DEFAULT NULL,
	mode text DEFAULT NULL,
	share_transaction boolean DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	backoff text DEFAULT NULL,
	backoff_base interval DEFAULT NULL,
	backoff_max interval DEFAULT NULL,
	backoff_jitter double precision DEFAULT NULL,
	retry_delays interval[] DEFAULT NULL,
	retry_on text[] DEFAULT NULL,
	no_retry_on text[] DEFAULT NULL,
	overlap text DEFAULT NULL,
	queue_limit integer DEFAULT NULL,
	misfire text DEFAULT NULL,
	misfire_grace interval DEFAULT NULL,
	starts_at timestamptz DEFAULT NULL,
	ends_at timestamptz DEFAULT NULL,
	max_runs integer DEFAULT NULL,
	jitter interval DEFAULT NULL,
	pause_after_failures integer DEFAULT NULL,
	max_concurrency integer DEFAULT NULL,
	queue text DEFAULT NULL,
	keys text[] DEFAULT NULL,
	on_success text DEFAULT NULL,
	on_failure text DEFAULT NULL,
	deadline interval DEFAULT NULL,
	keep text DEFAULT NULL,
	keep_for interval DEFAULT NULL,
	url text DEFAULT NULL,
	method text DEFAULT NULL,
	headers jsonb DEFAULT NULL,
	body jsonb DEFAULT NULL,
	body_text text DEFAULT NULL,
	sign_with text DEFAULT NULL,
	connect_timeout interval DEFAULT NULL,
	success_codes text[] DEFAULT NULL,
	max_redirects integer DEFAULT NULL,
	steps jsonb DEFAULT NULL,
	after text[] DEFAULT NULL,
	job_id bigint DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_alter_job';
COMMENT ON FUNCTION jobsched.alter_job IS
'Changes a job; what is NULL stays as it is. What removes a value: doc/reference.md, alter_job.';

CREATE FUNCTION jobsched.set_job_metadata(job text, metadata jsonb, owner name DEFAULT NULL, job_id bigint DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_set_job_metadata';
COMMENT ON FUNCTION jobsched.set_job_metadata IS
'Gives a job other metadata, or none with NULL. Nothing else of the job changes.';

CREATE FUNCTION jobsched.drop_job(
	job text DEFAULT NULL,
	cancel_running boolean DEFAULT false,
	owner name DEFAULT NULL,
	job_id bigint DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_drop_job';
COMMENT ON FUNCTION jobsched.drop_job IS
'Drops a job: its queued runs are cancelled, running ones finish unless cancel_running is true. Its history stays until it expires.';

CREATE FUNCTION jobsched.pause_job(
	job text DEFAULT NULL,
	reason text DEFAULT NULL,
	owner name DEFAULT NULL,
	job_id bigint DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_pause_job';
COMMENT ON FUNCTION jobsched.pause_job IS
'Holds a job: no run of it starts, by schedule or by trigger, until resume_job(); queued runs wait, running ones finish.';

CREATE FUNCTION jobsched.resume_job(job text DEFAULT NULL, owner name DEFAULT NULL, job_id bigint DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_resume_job';
COMMENT ON FUNCTION jobsched.resume_job IS
'Lets a paused job go on, also one that pause_after_failures has paused; failures are counted anew. What becomes of slots missed meanwhile the job''s misfire policy says.';

CREATE FUNCTION jobsched.explain_steps(job text DEFAULT NULL, owner name DEFAULT NULL, job_id bigint DEFAULT NULL)
RETURNS TABLE (step_no integer, step text, kind text, after text[], "when" text, optional boolean, explanation text)
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_explain_steps';
COMMENT ON FUNCTION jobsched.explain_steps IS
'The steps of a job that is made of steps, each after all that it waits for, in words.';

CREATE FUNCTION jobsched_internal.job_id_of(job text, owner name, job_id bigint) RETURNS bigint
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_job_id_of';

-- What these views show of a run's job besides its name.  What pauses a job after
-- failures holds its steps too.
CREATE VIEW jobsched_internal.job_of_run AS
SELECT job_id, paused OR EXISTS (SELECT FROM jobsched_internal.job_state s
	WHERE s.job_id = COALESCE(j.workflow_id, j.job_id)
		AND s.auto_paused_revision = CASE WHEN j.workflow_id IS NULL THEN j.revision
			ELSE (SELECT w.revision FROM jobsched_internal.job w WHERE w.job_id = j.workflow_id) END) AS paused,
	max_concurrency IS NOT NULL OR queue IS NOT NULL AS limited,
	workflow_id, step_no, step_after, step_when, step_delay, step_undoes, step_for_each IS NOT NULL AS step_for_each
FROM jobsched_internal.job j;

-- For the view: the names of the jobs that a job comes after, or of those of them that it
-- waits for.  Not a subquery: the planner would think that it costs much for each job.
CREATE FUNCTION jobsched_internal.after_names(job_id bigint, awaited boolean) RETURNS text[]
LANGUAGE C STABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'jobsched_after_names';

CREATE VIEW jobsched.jobs WITH (security_barrier) AS
SELECT j.job_id,
	j.name,
	jobsched_internal.owner_name_of(j.owner, j.owner_name, j.home) AS owner,
	CASE WHEN j.request IS NOT NULL THEN 'http' WHEN j.handler IS NOT NULL THEN 'function'
		WHEN j.steps IS NOT NULL THEN 'steps' ELSE 'sql' END AS kind,
	j.schedule,
	j.timezone,
	j.command,
	j.handler,
	j.request,
	j.steps,
	j.args,
	j.mode,
	j.share_transaction,
	j.timeout,
	j.max_attempts,
	j.backoff,
	j.backoff_base,
	j.backoff_max,
	j.backoff_jitter,
	j.retry_delays,
	j.retry_on,
	j.no_retry_on,
	j.overlap,
	j.queue_limit,
	j.misfire,
	j.misfire_grace,
	j.starts_at,
	j.ends_at,
	j.max_runs,
	j.jitter,
	j.pause_after_failures,
	j.max_concurrency,
	j.queue,
	j.keys,
	j.on_success,
	j.on_failure,
	j.deadline,
	j.keep,
	j.keep_for,
	CASE WHEN j.after_jobs IS NOT NULL THEN jobsched_internal.after_names(j.job_id, false) END AS after,
	CASE WHEN j.after_jobs IS NOT NULL THEN jobsched_internal.after_names(j.job_id, true) END AS waiting_for,
	j.enabled,
	CASE WHEN j.home <> i.token
			OR i.database <> i.here
			OR i.instance_id <> i.this_instance THEN 'asleep'
		WHEN s.invalid_revision = j.revision THEN 'invalid'
		WHEN j.paused OR s.auto_paused_revision = j.revision THEN 'paused'
		WHEN NOT j.enabled THEN 'disabled'
		WHEN j.schedule IS NOT NULL AND s.scheduled_runs >= j.max_runs THEN 'completed'
		WHEN j.schedule IS NOT NULL AND j.schedule !~~* '@startup' AND j.schedule !~~* '@reboot'
			AND CASE WHEN s.schedule_revision = j.schedule_revision
				THEN s.next_run_at ELSE j.first_run_at END IS NULL THEN 'completed'
		ELSE 'active' END AS state,
	CASE WHEN j.home <> i.token
			OR i.database <> i.here
			OR i.instance_id <> i.this_instance
			THEN CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_roles a
					WHERE a.oid = jobsched_internal.owner_of(j.owner, j.owner_name, j.home))
				THEN 'this database is a copy: call jobsched.adopt() to run its jobs here'
				ELSE 'this database is a copy, and the owner does not exist here' END
		WHEN s.invalid_revision = j.revision THEN s.invalid_reason
		WHEN j.paused THEN j.pause_reason
		WHEN s.auto_paused_revision = j.revision THEN s.auto_paused_reason
		WHEN j.enabled AND j.schedule IS NOT NULL AND s.scheduled_runs >= j.max_runs
			THEN pg_catalog.format('the schedule has made its %s runs (max_runs)', j.max_runs)
		END AS state_reason,
	CASE WHEN j.enabled AND NOT j.paused
			AND (s.auto_paused_revision IS NULL OR s.auto_paused_revision <> j.revision)
			AND (j.max_runs IS NULL OR s.scheduled_runs IS NULL OR s.scheduled_runs < j.max_runs)
			AND j.home = i.token
			AND i.database = i.here
			AND i.instance_id = i.this_instance
			AND (s.invalid_revision IS NULL OR s.invalid_revision <> j.revision)
		THEN CASE WHEN s.schedule_revision = j.schedule_revision
			THEN s.next_run_at ELSE j.first_run_at END END AS next_run_at,
	s.last_status,
	s.last_run_id,
	s.last_started_at,
	s.last_finished_at,
	s.last_finished_at - s.last_started_at AS last_duration,
	jobsched_internal.milliseconds(s.last_finished_at - s.last_started_at) AS last_duration_ms,
	COALESCE(s.consecutive_failures, 0) AS consecutive_failures,
	COALESCE(s.recent, '') AS recent,
	COALESCE(s.scheduled_runs, 0) AS scheduled_runs,
	j.description,
	j.metadata,
	j.created_at,
	j.updated_at
FROM jobsched_internal.job j
	CROSS JOIN (SELECT token, database, instance_id,
			(SELECT d.oid FROM pg_catalog.pg_database d
			 WHERE d.datname = pg_catalog.current_database()) AS here,
			jobsched_internal.instance_id() AS this_instance
		FROM jobsched_internal.identity WHERE id = 1) i
	LEFT JOIN jobsched_internal.job_state s ON s.job_id = j.job_id
WHERE j.dropped_at IS NULL AND j.workflow_id IS NULL
	AND jobsched_internal.may_see_run(jobsched_internal.owner_of(j.owner, j.owner_name, j.home), j.job_id);
COMMENT ON VIEW jobsched.jobs IS 'One row for each job: definition, state, next run and last outcome.';
COMMENT ON COLUMN jobsched.jobs.state IS 'active, disabled, paused, invalid (the scheduler cannot run it: see state_reason), completed (its schedule has no further slot, or has made max_runs) or asleep (this database is a copy)';
COMMENT ON COLUMN jobsched.jobs.next_run_at IS 'the next slot of the schedule (with jitter its run starts later); NULL when there is none or the job does not run';
COMMENT ON COLUMN jobsched.jobs.overlap IS 'what becomes of a slot that comes while a run of the job is live: skip, queue, allow or replace';
COMMENT ON COLUMN jobsched.jobs.queue_limit IS 'with overlap queue: how many runs of slots wait at most';
COMMENT ON COLUMN jobsched.jobs.misfire IS 'what becomes of slots found later than misfire_grace: once, skip or all';
COMMENT ON COLUMN jobsched.jobs.misfire_grace IS 'a slot found this late at most was not missed';
COMMENT ON COLUMN jobsched.jobs.starts_at IS 'the schedule has no slots before, and the steps of "every" are counted from it';
COMMENT ON COLUMN jobsched.jobs.ends_at IS 'the schedule has no slots after';
COMMENT ON COLUMN jobsched.jobs.max_runs IS 'how many runs the schedule makes in all; NULL: without end';
COMMENT ON COLUMN jobsched.jobs.jitter IS 'each slot''s run starts up to so much later';
COMMENT ON COLUMN jobsched.jobs.pause_after_failures IS 'after so many failures in a row the job is paused; NULL: never';
COMMENT ON COLUMN jobsched.jobs.max_concurrency IS 'how many of its runs are executed at the same time; with overlap allow a slot that finds so many live runs is skipped; NULL: any number';
COMMENT ON COLUMN jobsched.jobs.on_success IS 'a function that is called when a run has succeeded';
COMMENT ON COLUMN jobsched.jobs.on_failure IS 'a function that is called when a run has failed, timed out or is lost, after its last attempt';
COMMENT ON COLUMN jobsched.jobs.deadline IS 'of a job made of steps: how long after its start a run ends as timed_out, with all its steps';
COMMENT ON COLUMN jobsched.jobs.keep IS 'which runs leave a row: all, or failures: a success that nobody waits for leaves none';
COMMENT ON COLUMN jobsched.jobs.keep_for IS 'how long rows of its runs are kept at most after their end; NULL: as long as jobsched.history_retention and failure_retention say';
COMMENT ON COLUMN jobsched.jobs.after IS 'the jobs that it comes after; NULL: none';
COMMENT ON COLUMN jobsched.jobs.waiting_for IS 'those of them that have not succeeded since it ran after them last';
COMMENT ON COLUMN jobsched.jobs.scheduled_runs IS 'runs that the schedule has made since the job was created; max_runs is their limit';
COMMENT ON COLUMN jobsched.jobs.recent IS 'the outcomes of the last 20 runs, newest last: . succeeded, F failed, T timed out, X cancelled, L lost, S skipped, M missed; runs that another replaced are left out';
COMMENT ON COLUMN jobsched.jobs.consecutive_failures IS 'runs that ended other than succeeded since the last success; skipped, missed and cancelled ones do not count';

-- It is put into the query that calls it, so that this can have conditions of its own.
CREATE FUNCTION jobsched.jobs_with_metadata(metadata jsonb) RETURNS SETOF jobsched.jobs
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT j.* FROM jobsched.jobs j WHERE j.metadata OPERATOR(jobsched_internal.@>) jobs_with_metadata.metadata;
END;
COMMENT ON FUNCTION jobsched.jobs_with_metadata IS
'The rows of view jobs whose metadata contains this (as @> does), found by an index.';
