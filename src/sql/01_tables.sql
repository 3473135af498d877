/* jobsched--1.0.sql: the extension's objects */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION jobsched" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

-- The public face: functions and views only.
CREATE SCHEMA jobsched;
COMMENT ON SCHEMA jobsched IS 'jobsched: schedules, job queue and run history (functions and views)';

-- Tables.  Nobody gets rights here: functions and views check who asks.
CREATE SCHEMA jobsched_internal;
COMMENT ON SCHEMA jobsched_internal IS 'jobsched: tables; use the functions and views of schema jobsched';

-- Who this database is.  The row stays behind when the jobs are dumped, moves
-- with the files when the cluster is upgraded, and betrays a copy: jobs run
-- only where their home is this row's token and this row's database is the
-- one it is read in.
CREATE TABLE jobsched_internal.identity (
	id smallint PRIMARY KEY CHECK (id OPERATOR(pg_catalog.=) 1),
	token uuid NOT NULL,
	database oid NOT NULL,
	instance_id text NOT NULL,
	-- by stop_processing(): no run starts
	stopped_at timestamptz
);

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
	mode text NOT NULL CHECK (mode OPERATOR(pg_catalog.=) ANY (ARRAY['auto', 'transaction', 'autocommit'])),
	-- whether a run that died with its server left no effect behind, so that
	-- it can be tried again without asking
	transactional boolean NOT NULL,
	share_transaction boolean NOT NULL,
	timeout interval,
	-- NULL: by what the run is, see src/retry.c
	max_attempts integer,
	backoff text NOT NULL CHECK (backoff OPERATOR(pg_catalog.=) ANY (ARRAY['exponential', 'linear', 'fixed'])),
	backoff_base interval,
	backoff_max interval,
	backoff_jitter double precision NOT NULL,
	retry_delays interval[],
	retry_on text[],
	no_retry_on text[],
	-- slots: when one comes while runs are live, or was missed; which there
	-- are at all; how far into its future each is put off
	overlap text NOT NULL CHECK (overlap OPERATOR(pg_catalog.=) ANY (ARRAY['skip', 'queue', 'allow', 'replace'])),
	queue_limit integer NOT NULL CHECK (queue_limit OPERATOR(pg_catalog.>=) 1 AND queue_limit OPERATOR(pg_catalog.<=) 1000),
	misfire text NOT NULL CHECK (misfire OPERATOR(pg_catalog.=) ANY (ARRAY['once', 'skip', 'all'])),
	misfire_grace interval NOT NULL,
	starts_at timestamptz CHECK (pg_catalog.isfinite(starts_at)),
	ends_at timestamptz CHECK (pg_catalog.isfinite(ends_at)),
	max_runs integer CHECK (max_runs OPERATOR(pg_catalog.>=) 1),
	jitter interval,
	pause_after_failures integer CHECK (pause_after_failures OPERATOR(pg_catalog.>=) 1),
	-- limits
	max_concurrency integer CHECK (max_concurrency OPERATOR(pg_catalog.>=) 1),
	queue text,
	keys text[],
	-- what is sent, of a job that is an HTTP request (src/http_request.h); '{}'
	-- if each run brings its own
	request jsonb,
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
	CHECK (pg_catalog.num_nonnulls(command, handler, request) OPERATOR(pg_catalog.=) 1)
) INHERITS (jobsched_internal.job_name_of);
-- no partial index: store.c writes rows without the executor; home: what came from
-- elsewhere is in nobody's way, whoever has the OID of its owner here
CREATE UNIQUE INDEX job_name ON jobsched_internal.job (name, owner, owner_name, home, dropped_at) NULLS NOT DISTINCT;

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
	forgiven_failures integer NOT NULL DEFAULT 0
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

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
	status text NOT NULL CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'running', 'retrying'])),
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
	-- instead of what the job executes: a function that is told of another run's
	-- end, or a request of its own
	handler text,
	request jsonb,
	-- W3C trace context of who queued it
	traceparent text
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
		autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,
		autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000);
-- With the source: a backfill() in a session must not make the scheduler wait,
-- or fail, that inserts the run of the same slot.
CREATE UNIQUE INDEX run_slot ON jobsched_internal.run (job_id, scheduled_for, source);

-- What is wanted of runs that exist: by sessions, and by the scheduler itself
-- (overlap 'replace').  The scheduler does it, and deletes the row when the run
-- has ended.
CREATE SEQUENCE jobsched_internal.request_id_seq AS bigint;
CREATE TABLE jobsched_internal.request (
	request_id bigint PRIMARY KEY,
	kind text NOT NULL CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY['cancel', 'replace', 'debounce', 'reset', 'overlap'])),
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
-- Queues, and what holds for each key of a class.  They belong to a role and
-- hold for its jobs.  A number that is NULL is no limit.
CREATE TABLE jobsched_internal.limit_definition (
	owner oid NOT NULL,
	kind text NOT NULL CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY['queue', 'class'])),
	name text NOT NULL,
	max_running integer,
	rate integer,
	per interval,
	burst integer NOT NULL,
	paused boolean NOT NULL,
	-- as with jobs; only what is at home counts
	owner_name text,
	home uuid NOT NULL,
	PRIMARY KEY (owner, kind, name, home)
);

-- Until when each rate is used up, so that a restart gives no burst.  Written
-- by the scheduler, with the claims.
CREATE TABLE jobsched_internal.limit_state (
	owner oid NOT NULL,
	kind text NOT NULL,
	name text NOT NULL,
	tat timestamptz NOT NULL,
	PRIMARY KEY (owner, kind, name)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- What requests are sent with and nobody reads.  Never dumped; row level
-- security without a policy keeps it from pg_read_all_data too, as long as no
-- value is in a TOAST table, which has none; and ANALYZE samples no values (below).
CREATE TABLE jobsched_internal.secret (
	owner regrole NOT NULL,
	name text COLLATE "C" NOT NULL,
	value text NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	PRIMARY KEY (owner, name)
);
ALTER TABLE jobsched_internal.secret ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobsched_internal.secret ALTER COLUMN value SET STORAGE PLAIN;

-- Where the rings of history stand.  Ring 0 holds successes, ring 1 the rest.
CREATE TABLE jobsched_internal.ring (
	ring smallint PRIMARY KEY,
	segment smallint NOT NULL,
	started_at timestamptz NOT NULL
);

-- What has ended.  Append only; a segment is a partition, the oldest is
-- TRUNCATEd when its ring comes round to it (src/store_history.c).
CREATE TABLE jobsched_internal.history (
	run_id bigint NOT NULL,
	segment smallint NOT NULL,
	attempt integer NOT NULL,
	job_id bigint NOT NULL,
	owner oid NOT NULL,
	worker_pid integer,
	missed_count integer NOT NULL,
	priority integer NOT NULL,
	status text NOT NULL,
	source text NOT NULL,
	run_at timestamptz NOT NULL,
	queued_at timestamptz NOT NULL,
	started_at timestamptz,
	finished_at timestamptz NOT NULL,
	scheduled_for timestamptz,
	reason text,
	sqlstate text,
	error text,
	error_detail text,
	error_hint text,
	error_context text,
	keys text[],
	args jsonb,
	result jsonb,
	handler text,
	request jsonb,
	traceparent text,
	PRIMARY KEY (run_id, segment)
) PARTITION BY LIST (segment);
CREATE INDEX history_job ON jobsched_internal.history (job_id, run_id);
CREATE INDEX history_finished_at ON jobsched_internal.history USING brin (finished_at) WITH (pages_per_range = 32);

-- Attempts that were followed by others; the last one is its run's row in
-- history.  In ring 1.
CREATE TABLE jobsched_internal.attempt (
	run_id bigint NOT NULL,
	segment smallint NOT NULL,
	attempt integer NOT NULL,
	job_id bigint NOT NULL,
	owner oid NOT NULL,
	worker_pid integer,
	status text NOT NULL,
	started_at timestamptz,
	finished_at timestamptz NOT NULL,
	-- when the next one was to begin
	retry_at timestamptz NOT NULL,
	reason text,
	sqlstate text,
	error text,
	error_detail text,
	error_hint text,
	error_context text,
	-- of a callback: what it says is for its owner alone
	callback boolean NOT NULL,
	PRIMARY KEY (run_id, attempt, segment)
) PARTITION BY LIST (segment);
CREATE INDEX attempt_job ON jobsched_internal.attempt (job_id, run_id);

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

-- What came back of HTTP requests, in the segment of their attempt's record.
CREATE TABLE jobsched_internal.http_response (
	run_id bigint NOT NULL,
	segment smallint NOT NULL,
	attempt integer NOT NULL,
	job_id bigint NOT NULL,
	owner oid NOT NULL,
	status integer,
	http_version integer,
	responded_at timestamptz NOT NULL,
	method text NOT NULL,
	-- with *** where secrets are
	url text NOT NULL,
	remote_address inet,
	remote_port integer,
	-- from the start of the transfer
	resolved interval,
	connected interval,
	secured interval,
	first_byte interval,
	total interval,
	-- an array of [name, value]
	headers jsonb,
	-- text if it is valid in the database's encoding, else bytes
	body text,
	body_bytes bytea,
	body_size bigint,
	truncated boolean NOT NULL,
	PRIMARY KEY (run_id, attempt, segment)
) PARTITION BY LIST (segment);

-- The checks spare a reader of failures the ring of successes, and the other
-- way round.
CREATE TABLE jobsched_internal.history_000 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) 'succeeded')) FOR VALUES IN (0);
CREATE TABLE jobsched_internal.history_001 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) 'succeeded')) FOR VALUES IN (1);
CREATE TABLE jobsched_internal.history_002 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) 'succeeded')) FOR VALUES IN (2);
CREATE TABLE jobsched_internal.history_003 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) 'succeeded')) FOR VALUES IN (3);
CREATE TABLE jobsched_internal.history_004 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) 'succeeded')) FOR VALUES IN (4);
CREATE TABLE jobsched_internal.history_005 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) 'succeeded')) FOR VALUES IN (5);
CREATE TABLE jobsched_internal.history_006 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) 'succeeded')) FOR VALUES IN (6);
CREATE TABLE jobsched_internal.history_007 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) 'succeeded')) FOR VALUES IN (7);
CREATE TABLE jobsched_internal.history_100 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (100);
CREATE TABLE jobsched_internal.history_101 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (101);
CREATE TABLE jobsched_internal.history_102 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (102);
CREATE TABLE jobsched_internal.history_103 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (103);
CREATE TABLE jobsched_internal.history_104 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (104);
CREATE TABLE jobsched_internal.history_105 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (105);
CREATE TABLE jobsched_internal.history_106 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (106);
CREATE TABLE jobsched_internal.history_107 PARTITION OF jobsched_internal.history
	(CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (107);
CREATE TABLE jobsched_internal.run_log_000 PARTITION OF jobsched_internal.run_log FOR VALUES IN (0);
CREATE TABLE jobsched_internal.run_log_001 PARTITION OF jobsched_internal.run_log FOR VALUES IN (1);
CREATE TABLE jobsched_internal.run_log_002 PARTITION OF jobsched_internal.run_log FOR VALUES IN (2);
CREATE TABLE jobsched_internal.run_log_003 PARTITION OF jobsched_internal.run_log FOR VALUES IN (3);
CREATE TABLE jobsched_internal.run_log_004 PARTITION OF jobsched_internal.run_log FOR VALUES IN (4);
CREATE TABLE jobsched_internal.run_log_005 PARTITION OF jobsched_internal.run_log FOR VALUES IN (5);
CREATE TABLE jobsched_internal.run_log_006 PARTITION OF jobsched_internal.run_log FOR VALUES IN (6);
CREATE TABLE jobsched_internal.run_log_007 PARTITION OF jobsched_internal.run_log FOR VALUES IN (7);
CREATE TABLE jobsched_internal.run_log_100 PARTITION OF jobsched_internal.run_log FOR VALUES IN (100);
CREATE TABLE jobsched_internal.run_log_101 PARTITION OF jobsched_internal.run_log FOR VALUES IN (101);
CREATE TABLE jobsched_internal.run_log_102 PARTITION OF jobsched_internal.run_log FOR VALUES IN (102);
CREATE TABLE jobsched_internal.run_log_103 PARTITION OF jobsched_internal.run_log FOR VALUES IN (103);
CREATE TABLE jobsched_internal.run_log_104 PARTITION OF jobsched_internal.run_log FOR VALUES IN (104);
CREATE TABLE jobsched_internal.run_log_105 PARTITION OF jobsched_internal.run_log FOR VALUES IN (105);
CREATE TABLE jobsched_internal.run_log_106 PARTITION OF jobsched_internal.run_log FOR VALUES IN (106);
CREATE TABLE jobsched_internal.run_log_107 PARTITION OF jobsched_internal.run_log FOR VALUES IN (107);
CREATE TABLE jobsched_internal.attempt_100 PARTITION OF jobsched_internal.attempt FOR VALUES IN (100);
CREATE TABLE jobsched_internal.attempt_101 PARTITION OF jobsched_internal.attempt FOR VALUES IN (101);
CREATE TABLE jobsched_internal.attempt_102 PARTITION OF jobsched_internal.attempt FOR VALUES IN (102);
CREATE TABLE jobsched_internal.attempt_103 PARTITION OF jobsched_internal.attempt FOR VALUES IN (103);
CREATE TABLE jobsched_internal.attempt_104 PARTITION OF jobsched_internal.attempt FOR VALUES IN (104);
CREATE TABLE jobsched_internal.attempt_105 PARTITION OF jobsched_internal.attempt FOR VALUES IN (105);
CREATE TABLE jobsched_internal.attempt_106 PARTITION OF jobsched_internal.attempt FOR VALUES IN (106);
CREATE TABLE jobsched_internal.attempt_107 PARTITION OF jobsched_internal.attempt FOR VALUES IN (107);
CREATE TABLE jobsched_internal.http_response_000 PARTITION OF jobsched_internal.http_response FOR VALUES IN (0);
CREATE TABLE jobsched_internal.http_response_001 PARTITION OF jobsched_internal.http_response FOR VALUES IN (1);
CREATE TABLE jobsched_internal.http_response_002 PARTITION OF jobsched_internal.http_response FOR VALUES IN (2);
CREATE TABLE jobsched_internal.http_response_003 PARTITION OF jobsched_internal.http_response FOR VALUES IN (3);
CREATE TABLE jobsched_internal.http_response_004 PARTITION OF jobsched_internal.http_response FOR VALUES IN (4);
CREATE TABLE jobsched_internal.http_response_005 PARTITION OF jobsched_internal.http_response FOR VALUES IN (5);
CREATE TABLE jobsched_internal.http_response_006 PARTITION OF jobsched_internal.http_response FOR VALUES IN (6);
CREATE TABLE jobsched_internal.http_response_007 PARTITION OF jobsched_internal.http_response FOR VALUES IN (7);
CREATE TABLE jobsched_internal.http_response_100 PARTITION OF jobsched_internal.http_response FOR VALUES IN (100);
CREATE TABLE jobsched_internal.http_response_101 PARTITION OF jobsched_internal.http_response FOR VALUES IN (101);
CREATE TABLE jobsched_internal.http_response_102 PARTITION OF jobsched_internal.http_response FOR VALUES IN (102);
CREATE TABLE jobsched_internal.http_response_103 PARTITION OF jobsched_internal.http_response FOR VALUES IN (103);
CREATE TABLE jobsched_internal.http_response_104 PARTITION OF jobsched_internal.http_response FOR VALUES IN (104);
CREATE TABLE jobsched_internal.http_response_105 PARTITION OF jobsched_internal.http_response FOR VALUES IN (105);
CREATE TABLE jobsched_internal.http_response_106 PARTITION OF jobsched_internal.http_response FOR VALUES IN (106);
CREATE TABLE jobsched_internal.http_response_107 PARTITION OF jobsched_internal.http_response FOR VALUES IN (107);

-- Runs that have ended and were queued anew, as others: none is twice.  Kept
-- for as long as history may speak of them.
CREATE TABLE jobsched_internal.retried (
	run_id bigint PRIMARY KEY,
	retried_as bigint NOT NULL,
	retried_at timestamptz NOT NULL
);

-- ANALYZE samples no values but names and statuses of jobs and runs: members of
-- pg_read_all_data read pg_statistic, past every policy.
ALTER TABLE jobsched_internal.identity
	ALTER COLUMN token SET STATISTICS 0, ALTER COLUMN instance_id SET STATISTICS 0;
ALTER TABLE jobsched_internal.job_name_of	-- and so of job
	ALTER COLUMN owner_name SET STATISTICS 0, ALTER COLUMN home SET STATISTICS 0;
ALTER TABLE jobsched_internal.job
	ALTER COLUMN schedule SET STATISTICS 0, ALTER COLUMN timezone SET STATISTICS 0,
	ALTER COLUMN command SET STATISTICS 0, ALTER COLUMN handler SET STATISTICS 0,
	ALTER COLUMN args SET STATISTICS 0, ALTER COLUMN mode SET STATISTICS 0,
	ALTER COLUMN backoff SET STATISTICS 0, ALTER COLUMN retry_on SET STATISTICS 0,
	ALTER COLUMN no_retry_on SET STATISTICS 0, ALTER COLUMN overlap SET STATISTICS 0,
	ALTER COLUMN misfire SET STATISTICS 0, ALTER COLUMN queue SET STATISTICS 0,
	ALTER COLUMN keys SET STATISTICS 0, ALTER COLUMN request SET STATISTICS 0,
	ALTER COLUMN pause_reason SET STATISTICS 0, ALTER COLUMN description SET STATISTICS 0,
	ALTER COLUMN metadata SET STATISTICS 0;
ALTER TABLE jobsched_internal.job_state
	ALTER COLUMN invalid_reason SET STATISTICS 0, ALTER COLUMN last_status SET STATISTICS 0,
	ALTER COLUMN recent SET STATISTICS 0, ALTER COLUMN skipped_reason SET STATISTICS 0,
	ALTER COLUMN auto_paused_reason SET STATISTICS 0;
ALTER TABLE jobsched_internal.run
	ALTER COLUMN source SET STATISTICS 0, ALTER COLUMN keys SET STATISTICS 0,
	ALTER COLUMN reason SET STATISTICS 0, ALTER COLUMN args SET STATISTICS 0,
	ALTER COLUMN handler SET STATISTICS 0, ALTER COLUMN request SET STATISTICS 0,
	ALTER COLUMN traceparent SET STATISTICS 0, ALTER COLUMN home SET STATISTICS 0;
ALTER TABLE jobsched_internal.request
	ALTER COLUMN kind SET STATISTICS 0;
ALTER TABLE jobsched_internal.idempotency
	ALTER COLUMN key SET STATISTICS 0;
ALTER TABLE jobsched_internal.limit_definition
	ALTER COLUMN kind SET STATISTICS 0, ALTER COLUMN name SET STATISTICS 0,
	ALTER COLUMN owner_name SET STATISTICS 0, ALTER COLUMN home SET STATISTICS 0;
ALTER TABLE jobsched_internal.limit_state
	ALTER COLUMN kind SET STATISTICS 0, ALTER COLUMN name SET STATISTICS 0;
ALTER TABLE jobsched_internal.secret
	ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN value SET STATISTICS 0;
ALTER TABLE jobsched_internal.history
	ALTER COLUMN source SET STATISTICS 0, ALTER COLUMN reason SET STATISTICS 0,
	ALTER COLUMN sqlstate SET STATISTICS 0, ALTER COLUMN error SET STATISTICS 0,
	ALTER COLUMN error_detail SET STATISTICS 0, ALTER COLUMN error_hint SET STATISTICS 0,
	ALTER COLUMN error_context SET STATISTICS 0, ALTER COLUMN keys SET STATISTICS 0,
	ALTER COLUMN args SET STATISTICS 0, ALTER COLUMN result SET STATISTICS 0,
	ALTER COLUMN handler SET STATISTICS 0, ALTER COLUMN request SET STATISTICS 0,
	ALTER COLUMN traceparent SET STATISTICS 0;
ALTER TABLE jobsched_internal.attempt
	ALTER COLUMN reason SET STATISTICS 0, ALTER COLUMN sqlstate SET STATISTICS 0,
	ALTER COLUMN error SET STATISTICS 0, ALTER COLUMN error_detail SET STATISTICS 0,
	ALTER COLUMN error_hint SET STATISTICS 0, ALTER COLUMN error_context SET STATISTICS 0;
ALTER TABLE jobsched_internal.run_log
	ALTER COLUMN level SET STATISTICS 0, ALTER COLUMN message SET STATISTICS 0;
ALTER TABLE jobsched_internal.http_response
	ALTER COLUMN method SET STATISTICS 0, ALTER COLUMN url SET STATISTICS 0,
	ALTER COLUMN remote_address SET STATISTICS 0, ALTER COLUMN headers SET STATISTICS 0,
	ALTER COLUMN body SET STATISTICS 0, ALTER COLUMN body_bytes SET STATISTICS 0;

-- Jobs are the user's data; what happened to them stays where it happened.
SELECT pg_catalog.pg_extension_config_dump('jobsched_internal.job', 'WHERE dropped_at IS NULL');
SELECT pg_catalog.pg_extension_config_dump('jobsched_internal.job_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('jobsched_internal.limit_definition', '');

