--
-- What a run knows of itself and leaves of its messages, and the session
-- that it runs in.
--

CREATE VIEW last_log AS
SELECT l.seq, l.level, l.message FROM jobsched.run_logs l
WHERE l.run_id = (SELECT max(run_id) FROM jobsched.runs) ORDER BY seq;

--
-- Outside a run
--
SELECT jobsched.run_id(), jobsched.job_name(), jobsched.args(), jobsched.attempt(), jobsched.scheduled_for();
SELECT jobsched.progress(1, 2, 'three');
SELECT jobsched.log('debug', 'a debug message'), jobsched.log('info', 'an info message'), jobsched.log('notice', '100% text');
SELECT jobsched.log('warning', 'a warning'), jobsched.log('error', 'an error, which fails nothing');
SELECT jobsched.log('shout', 'no such level');
SELECT jobsched.log(NULL, 'x'), jobsched.log('notice', NULL);

--
-- Inside a run
--
SELECT jobsched.create_job('context', args => '{"a": 1}', command => $$
	SELECT jobsched.run_id() AS run_id, jobsched.job_name() AS job_name, jobsched.args() AS args,
		jobsched.attempt() AS attempt, jobsched.scheduled_for() AS scheduled_for$$) AS job \gset
SELECT jobsched.trigger('context', '{"b": 2}') AS run \gset
CALL jobsched.wait_run(:run, '60 s');
SELECT result - 'run_id' AS result, (result ->> 'run_id')::bigint = run_id AS its_id FROM jobsched.runs WHERE run_id = :run;
-- also in functions with rights of others, in triggers, and parallel plans
CREATE FUNCTION definer() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT jobsched.job_name() $$;
SELECT CASE WHEN current_setting('server_version_num')::int >= 160000
	THEN 'debug_parallel_query' ELSE 'force_parallel_mode' END AS force_parallel \gset
SELECT jobsched.alter_job('context', command => 'SET LOCAL ' || :'force_parallel' || $$ = on;
	SELECT count(*) AS n, definer() AS name, jobsched.args() AS args FROM generate_series(1, 3)$$);
CALL test.run_now('context', '{"a": null, "c": {"d": []}}');
DROP FUNCTION definer;
-- by schedule
SELECT jobsched.create_job('slot', '* * * * * *', 'SELECT jobsched.scheduled_for() AS slot') > 0 AS ok;
CALL test.until($$ SELECT count(*) >= 1 FROM jobsched.runs WHERE job_name = 'slot' AND status = 'succeeded' $$);
SELECT jobsched.drop_job('slot');
SELECT (result ->> 'slot')::timestamptz = scheduled_for AS its_slot
FROM jobsched.runs WHERE job_name = 'slot' AND status = 'succeeded' ORDER BY run_id LIMIT 1;
-- There is no setting that could be changed from inside.
SELECT jobsched.alter_job('context', command => $$
	SET jobsched.args = '{}'; SELECT jobsched.args()$$);
CALL test.run_now('context');

--
-- Messages
--
SET client_min_messages = error;
SELECT jobsched.create_job('messages', command => $$
	SELECT jobsched.log('debug', 'one');
	DO $do$ BEGIN
		RAISE NOTICE 'two';
		RAISE WARNING 'three';
		RAISE INFO 'four';
		RAISE LOG 'not kept: for the server''s log';
		RAISE DEBUG 'not kept: too detailed';
		BEGIN
			RAISE EXCEPTION 'caught';
		EXCEPTION WHEN OTHERS THEN
			PERFORM jobsched.log('error', 'five: ' || sqlerrm);
		END;
	END $do$;
	DROP TABLE IF EXISTS there_is_no_such_table;
	SELECT jobsched.log('info', 'seven'), jobsched.log('warning', '100% of eight')$$) > 0 AS ok;
CALL test.run_now('messages');
TABLE last_log;
SELECT l.job_name, l.owner = r.owner AS owner, l.job_id = r.job_id AS job, count(*),
	bool_and(l.logged_at BETWEEN r.started_at AND r.finished_at) AS during_the_run
FROM jobsched.run_logs l JOIN jobsched.runs r USING (run_id) WHERE r.job_name = 'messages' GROUP BY 1, 2, 3;
-- They outlive a failure, ...
SELECT jobsched.alter_job('messages', command => $$
	SELECT jobsched.log('info', 'before');
	DO $do$ BEGIN RAISE NOTICE 'noticed'; RAISE EXCEPTION 'raised'; END $do$ $$);
CALL test.run_now('messages');
TABLE last_log;
-- are kept where the client's setting would drop them, ...
SELECT jobsched.alter_job('messages', command => $$
	SET client_min_messages = error;
	DO $do$ BEGIN RAISE NOTICE 'noticed all the same'; END $do$ $$);
CALL test.run_now('messages');
TABLE last_log;
-- and are of one run only.
SELECT jobsched.alter_job('messages', command => 'SELECT 1');
CALL test.run_now('messages');
TABLE last_log;
-- what a command tells at length
CREATE TABLE told (a int);
SELECT jobsched.alter_job('messages', command => 'VACUUM (VERBOSE) told');
CALL test.run_now('messages');
SELECT DISTINCT level, message ~ 'told' AS about_it FROM last_log WHERE message ~ 'told';
DROP TABLE told;
-- a level that there is not
SELECT jobsched.alter_job('messages', command => $$SELECT jobsched.log('shout', 'x')$$);
CALL test.run_now('messages');

-- Their size is limited, and so is that of the result.
ALTER SYSTEM SET jobsched.max_log_size = '1kB';
ALTER SYSTEM SET jobsched.max_result_size = '1kB';
SELECT pg_reload_conf();
SELECT jobsched.create_job('limits', command => $$
	SELECT current_setting('jobsched.max_log_size') || current_setting('jobsched.max_result_size') AS limits$$) > 0 AS ok;
CREATE PROCEDURE until_limits(wanted text) LANGUAGE plpgsql AS $$
DECLARE
	status text; result jsonb; sqlstate text; error text;
BEGIN
	FOR i IN 1..1000 LOOP
		CALL test.run_now('limits', NULL, status, result, sqlstate, error);
		EXIT WHEN result ->> 'limits' = wanted;
		PERFORM pg_sleep(0.005);
		ASSERT i < 1000;
	END LOOP;
END
$$;
CALL until_limits('1kB1kB');
SELECT jobsched.alter_job('messages', command => $$
	SELECT count(jobsched.log('info', repeat('x', 99))) FROM generate_series(1, 25)$$);
CALL test.run_now('messages');
SELECT count(*), min(seq), max(seq) FROM last_log;
SELECT level, message FROM last_log WHERE message !~ '^x+$';
SELECT sum(length(message)) <= 1024 AS within FROM last_log WHERE message ~ '^x+$';
SELECT sum(length(message)) > 900 AS used FROM last_log WHERE message ~ '^x+$';
-- one that is too long is cut
SELECT jobsched.alter_job('messages', command => $$DO $do$ BEGIN RAISE NOTICE '%', repeat('y', 5000); END $do$ $$);
CALL test.run_now('messages');
SELECT seq, level, left(message, 3) AS starts, length(message) BETWEEN 900 AND 1024 AS cut FROM last_log;
-- a result is kept whole or not at all
SELECT jobsched.alter_job('messages', command => $$SELECT repeat('z', 900) AS z$$);
SELECT jobsched.trigger('messages') AS run \gset
CALL jobsched.wait_run(:run, '60 s');
SELECT length(result ->> 'z') FROM jobsched.runs WHERE run_id = :run;
SELECT count(*) FROM last_log;
SELECT jobsched.alter_job('messages', command => $$SELECT repeat('z', 1100) AS z$$);
CALL test.run_now('messages');
SELECT level, regexp_replace(message, '\d+ bytes', 'N bytes') AS message FROM last_log;
CREATE FUNCTION public.large(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(repeat('z', 1100)) $$;
SELECT jobsched.alter_job('messages', handler => 'public.large');
CALL test.run_now('messages');
SELECT level, regexp_replace(message, '\d+ bytes', 'N bytes') AS message FROM last_log;
DROP FUNCTION public.large;
ALTER SYSTEM RESET jobsched.max_log_size;
ALTER SYSTEM RESET jobsched.max_result_size;
SELECT pg_reload_conf();
CALL until_limits('64kB1MB');
-- not more than a thousand lines
SELECT jobsched.alter_job('messages', command => $$
	SELECT count(jobsched.log('info', 'x')) FROM generate_series(1, 1234)$$);
CALL test.run_now('messages');
SELECT count(*) FROM last_log;
SELECT seq, level, message FROM last_log ORDER BY seq DESC LIMIT 1;
RESET client_min_messages;
DROP PROCEDURE until_limits;

--
-- A worker executes one run after the other, and none sees what the one
-- before has done to the session.
--
CREATE ROLE regress_context LOGIN;
CREATE ROLE regress_context_group;
GRANT regress_context_group TO regress_context;
CREATE SEQUENCE context_sequence;
GRANT USAGE ON SEQUENCE context_sequence TO regress_context;
-- One process is enough.
ALTER SYSTEM SET jobsched.max_workers = 1;
SELECT pg_reload_conf();
-- Idle ones would leave within a minute; one may just have left.
SET client_min_messages = error;
SELECT bool_and(pg_terminate_backend(pid) IS NOT NULL) IS NOT FALSE AS told FROM jobsched.workers;
RESET client_min_messages;
CALL test.until($$ SELECT count(*) <= 1 FROM jobsched.workers $$);
SELECT jobsched.create_job('dirty', command => 'SELECT 1', owner => 'regress_context') > 0 AS ok;
SELECT jobsched.create_job('clean', owner => 'regress_context', mode => 'autocommit', command => $$
	SELECT current_user AS "user", session_user AS "session", current_setting('role') AS role,
		current_setting('work_mem') AS work_mem,
		current_setting('search_path') AS search_path,
		current_setting('custom.setting', true) AS custom,
		current_setting('transaction_isolation') AS isolation,
		(SELECT count(*) FROM pg_class WHERE relname = 'left_behind') AS temp_tables,
		(SELECT count(*) FROM pg_prepared_statements) AS prepared,
		(SELECT count(*) FROM pg_cursors) AS cursors,
		(SELECT count(*) FROM pg_listening_channels()) AS channels,
		(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS advisory_locks$$) > 0 AS ok;
-- Runs a command as the dirty job's, then looks around.
CREATE PROCEDURE soiled_by(command text, mode text DEFAULT 'auto', INOUT dirty text DEFAULT NULL, INOUT clean jsonb DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
	status text; result jsonb; sqlstate text; error text;
BEGIN
	PERFORM jobsched.alter_job('dirty', command => command, mode => mode);
	CALL test.run_now('dirty', NULL, status, result, sqlstate, error);
	dirty := status || coalesce(' ' || error, '');
	CALL test.run_now('clean', NULL, status, result, sqlstate, error);
	clean := coalesce(result, to_jsonb(error));
END
$$;
\pset format unaligned
CALL soiled_by('SELECT 1');
CALL soiled_by('SET work_mem = ''77MB''; SET search_path = pg_temp; SET custom.setting = ''x''');
CALL soiled_by('SET work_mem = ''77MB''; SET search_path = pg_temp; SET custom.setting = ''x''', 'autocommit');
CALL soiled_by('SELECT set_config(''work_mem'', ''77MB'', false); SELECT 1 / 0', 'autocommit');
CALL soiled_by('SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY');
CALL soiled_by('SET default_transaction_read_only = on', 'autocommit');
CALL soiled_by('CREATE TEMP TABLE left_behind (a int)');
CALL soiled_by('CREATE TEMP TABLE left_behind (a int); CREATE TEMP TABLE left_behind2 (a int) ON COMMIT DROP', 'autocommit');
CALL soiled_by('PREPARE p AS SELECT 1');
CALL soiled_by('DECLARE c CURSOR WITH HOLD FOR SELECT 1');
CALL soiled_by('DECLARE c CURSOR WITH HOLD FOR SELECT 1; SELECT 1', 'autocommit');
CALL soiled_by('LISTEN c');
CALL soiled_by('SELECT pg_advisory_lock(42), pg_advisory_lock(42), pg_advisory_lock_shared(43)');
CALL soiled_by('SET ROLE regress_context_group');
CALL soiled_by('SET ROLE regress_context_group; SELECT 1 / 0', 'autocommit');
CALL soiled_by('SET SESSION AUTHORIZATION regress_context_group');
CALL soiled_by('RESET ROLE; RESET SESSION AUTHORIZATION; SELECT current_user');
CALL soiled_by('DISCARD ALL');
\pset format aligned
-- the values of sequences, too
SELECT jobsched.alter_job('dirty', command => 'SELECT nextval(''context_sequence'')', mode => 'auto');
CALL test.run_now('dirty');
SELECT jobsched.alter_job('dirty', command => 'SELECT currval(''context_sequence'')');
CALL test.run_now('dirty');
SELECT jobsched.alter_job('dirty', command => 'SELECT lastval()');
CALL test.run_now('dirty');
-- All this was one process.
SELECT count(DISTINCT worker_pid) AS processes FROM jobsched.runs WHERE owner = 'regress_context';
-- A superuser's run may become somebody else; the next one is itself again.
SELECT jobsched.create_job('becomes', command => $$
	SET SESSION AUTHORIZATION regress_context; SELECT current_user AS c, session_user AS s$$, mode => 'autocommit') > 0 AS ok;
CALL test.run_now('becomes');
SELECT jobsched.alter_job('becomes', command => 'SELECT session_user = pg_get_userbyid(10) AND current_user = session_user AS itself');
CALL test.run_now('becomes');
SELECT jobsched.alter_job('becomes', command => $$SET ROLE regress_context; SELECT 1 / 0$$);
CALL test.run_now('becomes');
SELECT jobsched.alter_job('becomes', command => 'SELECT session_user = pg_get_userbyid(10) AND current_user = session_user AS itself');
CALL test.run_now('becomes');
ALTER SYSTEM RESET jobsched.max_workers;
SELECT pg_reload_conf();

-- Notifications of a run are sent with its commit.
SELECT jobsched.create_job('notify', command => $$NOTIFY regress_channel, 'x'$$) > 0 AS ok;
CALL test.run_now('notify');
-- Who looks at the server sees what runs.
SELECT jobsched.create_job('title', command => $$
	SELECT application_name, backend_type, state, query ~ 'application_name' AS its_query
	FROM pg_stat_activity WHERE pid = pg_backend_pid()$$) > 0 AS ok;
CALL test.run_now('title');
-- The owner's settings hold, as at a login.
ALTER ROLE regress_context SET work_mem = '3MB';
ALTER ROLE regress_context IN DATABASE postgres SET search_path = pg_catalog;
SELECT jobsched.create_job('settings', owner => 'regress_context', command => $$
	SELECT current_setting('work_mem') AS work_mem, current_setting('search_path') AS search_path$$) > 0 AS ok;
CALL test.end_workers('regress_context');
CALL test.run_now('settings');

DO $$ BEGIN PERFORM jobsched.drop_job(name) FROM jobsched.jobs; END $$;
DROP VIEW last_log;
DROP PROCEDURE soiled_by;
DROP SEQUENCE context_sequence;
CALL test.until($$ SELECT count(*) = 0 FROM jobsched_internal.run $$);
DROP ROLE regress_context, regress_context_group;
