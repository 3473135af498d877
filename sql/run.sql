--
-- Running: what a run may consist of, what it leaves behind, how it ends.
--

CREATE TABLE trail (id serial, what text, by name DEFAULT current_user);

-- The last run that has ended or not.
CREATE VIEW last_run AS SELECT * FROM jobsched.runs ORDER BY run_id DESC LIMIT 1;

--
-- Commands
--
SELECT jobsched.create_job('select', command => 'SELECT 1 AS one, ''two'' AS two') > 0 AS ok;
CALL test.run_now('select');
SELECT job_name, owner = current_user AS mine, status, reason, source, attempt, priority, scheduled_for, args,
	missed_count, worker_pid > 0 AS has_pid, error, sqlstate,
	queued_at <= started_at AND started_at <= finished_at AS in_order,
	duration = finished_at - started_at AS lasted
FROM last_run;

-- DML and DDL, several statements: one transaction.
SELECT jobsched.create_job('several', command => $$
	INSERT INTO trail (what) VALUES ('first'), ('second');
	CREATE TABLE made_by_run (a int);
	INSERT INTO made_by_run SELECT generate_series(1, 3);
	UPDATE trail SET what = upper(what);
	SELECT count(*), sum(a) FROM made_by_run;
$$) > 0 AS ok;
CALL test.run_now('several');
SELECT what FROM trail ORDER BY id;
TABLE made_by_run;
SELECT count(DISTINCT xmin::text) AS transactions FROM (SELECT xmin FROM trail UNION ALL SELECT xmin FROM made_by_run) x;
-- One that fails leaves nothing of the others.
CALL test.run_now('several');
SELECT count(*) FROM trail;
TRUNCATE trail;
DROP TABLE made_by_run;
SELECT jobsched.alter_job('several', command => $$
	INSERT INTO trail (what) VALUES ('gone');
	CREATE TABLE made_by_run (a int);
	SELECT 1 / count(*) FROM trail WHERE false;
$$);
CALL test.run_now('several');
SELECT count(*) FROM trail;
SELECT to_regclass('made_by_run');

-- The record and the effects are one transaction: both have the same xmin.
SELECT jobsched.create_job('insert', command => $$INSERT INTO trail (what) VALUES ('effect') RETURNING what$$) > 0 AS ok;
CALL test.run_now('insert');
SELECT t.xmin = h.xmin AS one_commit
FROM trail t, jobsched_internal.history h WHERE h.run_id = (SELECT run_id FROM last_run);
TRUNCATE trail;

-- Commands that cannot be in a transaction block
CREATE TABLE parent (a int, b text) PARTITION BY LIST (a);
CREATE TABLE child PARTITION OF parent FOR VALUES IN (1);
INSERT INTO parent SELECT 1, repeat('x', 10) FROM generate_series(1, 100);
SELECT jobsched.create_job('vacuum', command => 'VACUUM (ANALYZE) child') > 0 AS ok;
CALL test.run_now('vacuum');
SELECT reltuples FROM pg_class WHERE oid = 'child'::regclass;
SELECT jobsched.create_job('create index', command => 'CREATE INDEX CONCURRENTLY child_b ON child (b)') > 0 AS ok;
CALL test.run_now('create index');
SELECT indisvalid FROM pg_index WHERE indexrelid = 'child_b'::regclass;
SELECT pg_relation_filenode('child_b') AS before \gset
SELECT jobsched.create_job('reindex', command => 'REINDEX (VERBOSE) INDEX CONCURRENTLY child_b') > 0 AS ok;
CALL test.run_now('reindex');
SELECT pg_relation_filenode('child_b') <> :before AS rebuilt;
SELECT jobsched.create_job('reindex table', command => 'REINDEX TABLE parent') > 0 AS ok;
CALL test.run_now('reindex table');
SELECT jobsched.create_job('detach', command => 'ALTER TABLE parent DETACH PARTITION child CONCURRENTLY') > 0 AS ok;
CALL test.run_now('detach');
SELECT relispartition FROM pg_class WHERE oid = 'child'::regclass;
SELECT jobsched.create_job('drop index', command => 'DROP INDEX CONCURRENTLY child_b') > 0 AS ok;
CALL test.run_now('drop index');
SELECT to_regclass('child_b');
-- also if they fail
CALL test.run_now('drop index');
CALL test.run_now('reindex');
-- and not next to others, as it is with every client
SELECT jobsched.create_job('vacuum and more', command => 'SELECT 1; VACUUM child') > 0 AS ok;
CALL test.run_now('vacuum and more');
SELECT jobsched.create_job('vacuum in one', command => 'VACUUM child', mode => 'transaction') > 0 AS ok;
CALL test.run_now('vacuum in one');
DROP TABLE parent, child;

-- Those that must be committed at once get their record right after.
SELECT jobsched.create_job('create database', command => 'CREATE DATABASE regress_made_by_run') > 0 AS ok;
CALL test.run_now('create database');
SELECT jobsched.create_job('drop database', command => 'DROP DATABASE regress_made_by_run') > 0 AS ok;
CALL test.run_now('drop database');
SELECT count(*) FROM pg_database WHERE datname = 'regress_made_by_run';
SELECT jobsched.create_job('alter system', command => 'ALTER SYSTEM RESET ALL') > 0 AS ok;
CALL test.run_now('alter system');
SELECT jobsched.create_job('checkpoint', command => 'CHECKPOINT') > 0 AS ok;
CALL test.run_now('checkpoint');

-- Procedures that commit
CREATE PROCEDURE commits(fail boolean) LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO trail (what) VALUES ('before');
	COMMIT;
	INSERT INTO trail (what) VALUES ('between');
	ROLLBACK;
	INSERT INTO trail (what) VALUES ('after');
	IF fail THEN
		RAISE 'on purpose';
	END IF;
END
$$;
SELECT jobsched.create_job('call', command => 'CALL commits(false)') > 0 AS ok;
CALL test.run_now('call');
SELECT what FROM trail ORDER BY id;
TRUNCATE trail;
-- What is committed stays, what is not goes, and the run has failed.
SELECT jobsched.alter_job('call', command => 'CALL commits(true)');
CALL test.run_now('call');
SELECT what FROM trail ORDER BY id;
TRUNCATE trail;
-- Not in mode transaction, and not among several statements
SELECT jobsched.alter_job('call', command => 'CALL commits(false)', mode => 'transaction');
CALL test.run_now('call');
SELECT jobsched.alter_job('call', command => 'SELECT 1; CALL commits(false)', mode => 'auto');
CALL test.run_now('call');
SELECT jobsched.alter_job('call', command => 'SET work_mem = ''8MB''; CALL commits(false)');
CALL test.run_now('call');
SELECT error_hint, count(*) FROM jobsched.runs WHERE job_name = 'call' AND sqlstate = '2D000' GROUP BY 1;
SELECT count(*) FROM trail;
-- A DO block is the same.
SELECT jobsched.create_job('do', command => $$
	DO $do$ BEGIN
		FOR i IN 1..3 LOOP
			INSERT INTO trail (what) VALUES (i);
			COMMIT;
		END LOOP;
	END $do$ $$) > 0 AS ok;
CALL test.run_now('do');
SELECT what, count(*) OVER () = 3 AS all_there FROM trail ORDER BY id;
SELECT count(DISTINCT xmin::text) AS transactions FROM trail;
TRUNCATE trail;
SELECT jobsched.alter_job('do', mode => 'transaction');
CALL test.run_now('do');
SELECT count(*) FROM trail;
-- The OUT parameters of a procedure are its result.
CREATE PROCEDURE returns_values(INOUT a int, INOUT b text) LANGUAGE plpgsql AS $$ BEGIN a := a + 1; COMMIT; b := b || '!'; END $$;
SELECT jobsched.create_job('inout', command => $$CALL returns_values(1, 'x')$$) > 0 AS ok;
CALL test.run_now('inout');

-- Mode autocommit: settings last, and what is done is done.
SELECT jobsched.create_job('autocommit', mode => 'autocommit', command => $$
	SET work_mem = '5MB';
	INSERT INTO trail (what) VALUES (current_setting('work_mem'));
	VACUUM trail;
	INSERT INTO trail (what) VALUES (current_setting('work_mem'));
	SELECT 1 / count(*) FROM trail WHERE false;
	INSERT INTO trail (what) VALUES ('not reached');
$$) > 0 AS ok;
CALL test.run_now('autocommit');
SELECT what FROM trail ORDER BY id;
SELECT count(DISTINCT xmin::text) AS transactions FROM trail;
TRUNCATE trail;
SELECT jobsched.alter_job('autocommit', command => $$
	SET maintenance_work_mem = '5MB';
	VACUUM trail;
	SELECT current_setting('maintenance_work_mem') AS setting;
$$);
CALL test.run_now('autocommit');
-- and not longer than the run
SELECT jobsched.create_job('setting', command => $$SELECT current_setting('maintenance_work_mem') <> '5MB' AS reset$$) > 0 AS ok;
CALL test.run_now('setting');
-- a cursor that outlives its transaction
SELECT jobsched.alter_job('autocommit', command => $$
	DECLARE c CURSOR WITH HOLD FOR SELECT g FROM generate_series(1, 3) g;
	FETCH 2 FROM c;
	FETCH c;
$$);
CALL test.run_now('autocommit');
SELECT jobsched.create_job('holdable', command => $$DECLARE c CURSOR WITH HOLD FOR SELECT g FROM generate_series(1, 3) g$$) > 0 AS ok;
CALL test.run_now('holdable');

-- Parallel queries
SELECT CASE WHEN current_setting('server_version_num')::int >= 160000
	THEN 'debug_parallel_query' ELSE 'force_parallel_mode' END AS force_parallel \gset
CREATE TABLE many AS SELECT g AS a FROM generate_series(1, 10000) g;
ANALYZE many;
CREATE FUNCTION uses_parallel_worker() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT sum(a) FROM many LOOP
		IF line ~ 'Workers Launched: [1-9]' THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END
$$;
SELECT jobsched.create_job('parallel', command => 'SET LOCAL ' || :'force_parallel'
	|| $$ = on; SELECT uses_parallel_worker() AS parallel, sum(a) FROM many$$) > 0 AS ok;
CALL test.run_now('parallel');

-- SET TRANSACTION as the first statement
SELECT jobsched.create_job('read only', command => $$
	SET TRANSACTION READ ONLY;
	SELECT current_setting('transaction_read_only') AS read_only$$) > 0 AS ok;
CALL test.run_now('read only');
SELECT jobsched.alter_job('read only', command => $$
	SET TRANSACTION READ ONLY; INSERT INTO trail (what) VALUES ('x')$$);
CALL test.run_now('read only');
SELECT jobsched.create_job('serializable', command => $$
	SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;
	INSERT INTO trail (what) VALUES (current_setting('transaction_isolation')) RETURNING what$$) > 0 AS ok;
CALL test.run_now('serializable');
SELECT jobsched.alter_job('serializable', command => $$
	SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE;
	SELECT current_setting('transaction_isolation') AS isolation, current_setting('transaction_deferrable') AS deferrable$$);
CALL test.run_now('serializable');
-- the next run has the defaults again
SELECT jobsched.create_job('defaults', command => $$
	INSERT INTO trail (what) VALUES ('default');
	SELECT current_setting('transaction_isolation') AS isolation, current_setting('transaction_read_only') AS read_only$$) > 0 AS ok;
CALL test.run_now('defaults');
SELECT what FROM trail ORDER BY id;
TRUNCATE trail;

-- What is deferred to the commit still belongs to the run.
CREATE TABLE deferred (a int UNIQUE DEFERRABLE INITIALLY DEFERRED);
SELECT jobsched.create_job('violates', command => $$
	INSERT INTO trail (what) VALUES ('gone'); INSERT INTO deferred VALUES (1), (1)$$) > 0 AS ok;
CALL test.run_now('violates');
SELECT (SELECT count(*) FROM deferred) AS deferred, (SELECT count(*) FROM trail) AS trail;
SELECT jobsched.alter_job('violates', mode => 'autocommit');
CALL test.run_now('violates');
SELECT (SELECT count(*) FROM deferred) AS deferred, (SELECT what FROM trail) AS trail;
TRUNCATE trail;

-- and to its owner.
CREATE ROLE regress_run_owner LOGIN;
GRANT INSERT, SELECT ON trail, deferred TO regress_run_owner;
GRANT USAGE ON SEQUENCE trail_id_seq TO regress_run_owner;
CREATE FUNCTION note_who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO trail (what) VALUES (current_user || ' ' || session_user || ' ' || coalesce(jobsched.job_name(), 'no run'));
	RETURN NULL;
END
$$;
GRANT USAGE ON SCHEMA jobsched TO regress_run_owner;
CREATE CONSTRAINT TRIGGER note AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION note_who();
SELECT jobsched.create_job('deferred trigger', command => 'INSERT INTO deferred VALUES (2)', owner => 'regress_run_owner') > 0 AS ok;
CALL test.run_now('deferred trigger');
SELECT what, by FROM trail ORDER BY id;
TRUNCATE trail;
-- also the query of a cursor that is to outlive its transaction
CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO trail (what) VALUES ('cursor');
	RETURN current_user;
END
$$;
SELECT jobsched.create_job('owner''s cursor', mode => 'autocommit', owner => 'regress_run_owner',
	command => 'DECLARE c CURSOR WITH HOLD FOR SELECT who(); FETCH c') > 0 AS ok;
CALL test.run_now('owner''s cursor');
SELECT what, by FROM trail ORDER BY id;
TRUNCATE trail;

--
-- Handlers
--
CREATE FUNCTION public.handler(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO trail (what) VALUES (args ->> 'what');
	RETURN jsonb_build_object('got', args);
END
$$;
SELECT jobsched.create_job('handler', handler => 'public.handler', args => '{"what": "x", "kept": 1}') > 0 AS ok;
CALL test.run_now('handler');
CALL test.run_now('handler', '{"what": "y", "more": [1, 2]}');
CALL test.run_now('handler', '{}');
SELECT what FROM trail ORDER BY id;
TRUNCATE trail;
-- The args that a run had are kept with it.
SELECT args FROM jobsched.runs WHERE job_name = 'handler' ORDER BY run_id;
-- A handler that fails
CREATE OR REPLACE FUNCTION public.handler(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO trail (what) VALUES ('gone');
	RAISE EXCEPTION 'broken: %', args USING ERRCODE = 'P0042', DETAIL = 'the detail', HINT = 'the hint';
END
$$;
CALL test.run_now('handler');
SELECT count(*) FROM trail;
SELECT status, reason, sqlstate, error, error_detail, error_hint, error_context FROM last_run;
-- one that cannot commit
CREATE OR REPLACE FUNCTION public.handler(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN COMMIT; RETURN '1'; END $$;
CALL test.run_now('handler');
SELECT error_hint FROM last_run;
-- void and NULL: no result
CREATE FUNCTION public.handler_void(jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO trail (what) VALUES ('void') $$;
SELECT jobsched.alter_job('handler', handler => 'public.handler_void');
CALL test.run_now('handler');
SELECT what FROM trail;
TRUNCATE trail;
CREATE OR REPLACE FUNCTION public.handler(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT NULL::jsonb $$;
SELECT jobsched.alter_job('handler', handler => 'public.handler');
CALL test.run_now('handler');
-- one that has been dropped since, or become something else
DROP FUNCTION public.handler;
CALL test.run_now('handler');
CREATE FUNCTION public.handler(jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CALL test.run_now('handler');
DROP FUNCTION public.handler;

--
-- Results
--
SELECT jobsched.create_job('result', command => 'SELECT 1') > 0 AS ok;
\set VERBOSITY terse
CREATE PROCEDURE result_of(command text, INOUT result jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
	status text; sqlstate text; error text;
BEGIN
	PERFORM jobsched.alter_job('result', command => command);
	CALL test.run_now('result', NULL, status, result, sqlstate, error);
	ASSERT status = 'succeeded', error;
END
$$;
CALL result_of($$SELECT '{"a": [1, null]}'::jsonb$$);
CALL result_of($$SELECT '"text"'::jsonb AS any_name$$);
CALL result_of($$SELECT NULL::jsonb$$);
CALL result_of($$SELECT 'null'::jsonb$$);
CALL result_of($$SELECT NULL AS a, 1.50 AS b, true AS c, 'x' AS d, '{1,2}'::int[] AS e, '2026-01-02'::date AS f, '{"x": 1}'::json AS g$$);
CALL result_of($$SELECT 'Infinity'::float8 AS i, 'NaN'::numeric AS n$$);
CALL result_of($$SELECT g AS first FROM generate_series(1, 1000) g$$);
CALL result_of($$SELECT 1 AS a WHERE false$$);
CALL result_of($$SELECT$$);
CALL result_of($$SELECT 1 AS not_last; SELECT 2 AS last$$);
CALL result_of($$SELECT 1 AS not_last; CREATE TEMP TABLE t (a int)$$);
CALL result_of($$VALUES (1, 'x'), (2, 'y')$$);
CALL result_of($$SHOW server_encoding; SHOW jobsched.timezone$$);
CALL result_of($$INSERT INTO trail (what) VALUES ('a'), ('b') RETURNING what$$);
CALL result_of($$INSERT INTO trail (what) VALUES ('c')$$);
CALL result_of($$WITH gone AS (DELETE FROM trail RETURNING what) SELECT count(*) FROM gone$$);
CALL result_of($$SELECT (1, 'two')::record AS r$$);
CALL result_of($$SELECT row_to_json(t) AS j FROM (SELECT 1 AS a) t$$);
CALL result_of($$EXPLAIN (COSTS OFF) SELECT 1$$);
CALL result_of($$DO 'BEGIN END'$$);
-- a name in any case, and any character
CALL result_of($$SELECT 1 AS "Mixed ""Case"", with \ and	tab"$$);
\set VERBOSITY default

--
-- Errors
--
CREATE FUNCTION fails() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION USING MESSAGE = 'the message', ERRCODE = 'division_by_zero', DETAIL = 'the detail', HINT = 'the hint';
END
$$;
SELECT jobsched.create_job('fails', command => 'SELECT fails()') > 0 AS ok;
CALL test.run_now('fails');
SELECT status, reason, sqlstate, error, error_detail, error_hint, error_context, result FROM last_run;
SELECT jobsched.alter_job('fails', command => 'SELECT * FROM there_is_no_such_table');
CALL test.run_now('fails');
SELECT sqlstate, error, error_detail, error_hint, error_context FROM last_run;
-- canceled by somebody
SELECT jobsched.alter_job('fails', command => 'SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(10)');
CALL test.run_now('fails');
SELECT status, reason FROM last_run;
-- by its own setting
SELECT pg_advisory_lock(4711);
SELECT jobsched.alter_job('fails', max_attempts => 1, command => 'SET lock_timeout = ''10ms''; SELECT pg_advisory_lock(4711)');
CALL test.run_now('fails');
SELECT pg_advisory_unlock(4711);
SELECT jobsched.alter_job('fails', mode => 'autocommit', command => 'SET statement_timeout = ''10ms''; SELECT pg_sleep(60)');
CALL test.run_now('fails');
SELECT reason FROM last_run;
-- The worker has survived all that.
CALL test.run_now('select');

--
-- The queue
--
-- A trigger that is rolled back has never been; one savepoint back neither.
SELECT jobsched.create_job('queue', command => 'INSERT INTO trail (what) VALUES (jobsched.args() ->> ''n'') RETURNING what') > 0 AS ok;
BEGIN;
SELECT jobsched.trigger('queue', '{"n": "rolled back"}') AS gone \gset
SELECT count(*) FROM jobsched.runs WHERE run_id = :gone;
ROLLBACK;
SELECT count(*) FROM jobsched.runs WHERE run_id = :gone;
CALL jobsched.wait_run(0);
BEGIN;
SAVEPOINT s;
SELECT jobsched.trigger('queue', '{"n": "to savepoint"}') AS gone2 \gset
ROLLBACK TO s;
SELECT jobsched.trigger('queue', '{"n": "kept"}') AS kept \gset
-- what it sees of itself before the commit: it waits
SELECT status, reason, source, attempt, started_at, args FROM jobsched.runs WHERE run_id = :kept;
COMMIT;
CALL jobsched.wait_run(:kept, '60 s');
SELECT count(*) FROM jobsched.runs WHERE run_id = :gone2;
SELECT what FROM trail;
TRUNCATE trail;

-- A run for later stays in the queue; the job's next one is not affected.
SELECT jobsched.trigger('queue', '{"n": "later"}', now() + interval '1 day') AS later \gset
CALL test.run_now('queue', '{"n": "now"}');
SELECT status, started_at, args, run_at > now() AS in_future FROM jobsched.runs WHERE run_id = :later;
-- in the past: at once
SELECT jobsched.trigger('queue', '{"n": "past"}', '2001-01-01') AS past \gset
CALL jobsched.wait_run(:past, '60 s');
-- soon
SELECT jobsched.trigger('queue', '{"n": "soon"}', clock_timestamp() + interval '50 ms') AS soon \gset
CALL jobsched.wait_run(:soon, '60 s');
SELECT started_at >= run_at AS not_before FROM jobsched.runs WHERE run_id = :soon;
SELECT what FROM trail ORDER BY id;
TRUNCATE trail;
SELECT test.refusal($$ SELECT jobsched.trigger('queue', run_at => 'infinity') $$);
SELECT test.refusal($$ SELECT jobsched.trigger('queue', '[1]') $$);
SELECT test.refusal($$ SELECT jobsched.trigger('queue', '"x"') $$);

-- A paused job's runs wait, and then go by priority, and age among equals.
ALTER SYSTEM SET jobsched.max_workers = 1;
ALTER SYSTEM SET jobsched.worker_idle_timeout = '1ms';
SELECT pg_reload_conf();
CALL test.until($$ SELECT count(*) = 0 FROM jobsched.workers $$);
SELECT jobsched.pause_job('queue');
SELECT jobsched.trigger('queue', '{"n": "2nd"}', priority => 5) AS second \gset
SELECT jobsched.trigger('queue', '{"n": "4th"}') AS fourth \gset
SELECT jobsched.trigger('queue', '{"n": "6th"}', priority => -5) AS sixth \gset
SELECT jobsched.trigger('queue', '{"n": "5th"}', priority => NULL) AS fifth \gset
SELECT jobsched.trigger('queue', '{"n": "3rd"}', priority => 5) AS third \gset
SELECT jobsched.trigger('queue', '{"n": "1st"}', priority => 2147483647) AS first \gset
CALL test.run_now('select');
SELECT status, reason, args, priority FROM jobsched.runs WHERE run_id >= :second AND job_name = 'queue' ORDER BY run_id;
SELECT jobsched.resume_job('queue');
CALL jobsched.wait_run(:sixth, '60 s');
SELECT what FROM trail ORDER BY id;
ALTER SYSTEM RESET jobsched.max_workers;
ALTER SYSTEM RESET jobsched.worker_idle_timeout;
SELECT pg_reload_conf();
TRUNCATE trail;
-- A disabled job can be triggered all the same.
SELECT jobsched.alter_job('queue', enabled => false);
CALL test.run_now('queue', '{"n": "disabled"}');
SELECT jobsched.alter_job('queue', enabled => true);
TRUNCATE trail;

-- Many at once
CREATE TEMP TABLE ids AS
SELECT id, n FROM jobsched.trigger_many('queue', '{"{\"n\": \"a\"}", NULL, "{}", "{\"n\": \"d\"}"}') WITH ORDINALITY t (id, n);
SELECT count(*), count(DISTINCT id), bool_and(id = first + n - 1) AS in_order FROM (SELECT *, min(id) OVER () AS first FROM ids) t;
SELECT id AS last FROM ids ORDER BY n DESC LIMIT 1 \gset
CALL test.until($$ SELECT count(*) = 4 FROM jobsched.runs WHERE job_name = 'queue' AND run_id IN (SELECT id FROM ids) AND status = 'succeeded' $$);
SELECT i.n, r.args, r.result FROM ids i JOIN jobsched.runs r ON r.run_id = i.id ORDER BY n;
SELECT count(*), count(what) FROM trail;
TRUNCATE trail;
DROP TABLE ids;
SELECT count(*) FROM jobsched.trigger_many('queue', '{}');
SELECT test.refusal($$ SELECT jobsched.trigger_many('queue', NULL) $$);
SELECT test.refusal($$ SELECT jobsched.trigger_many('queue', ARRAY['{}', '[1]']::jsonb[]) $$);
SELECT test.refusal($$ SELECT jobsched.trigger_many('no such job', '{}') $$);
SELECT test.refusal($$ SELECT jobsched.trigger_many(NULL, '{}') $$);
SELECT count(*) FROM jobsched.runs WHERE job_name = 'queue' AND status = 'queued' AND run_id <> :later;
-- a thousand, in order
SELECT max(id) AS last FROM jobsched.trigger_many('queue', array_fill(NULL::jsonb, '{1000}')) id \gset
CALL jobsched.wait_run(:last, '60 s');
CALL test.until($$ SELECT count(*) = 1000 FROM trail $$);
TRUNCATE trail;

--
-- Runs that share a transaction: each stands and falls for itself.
--
CREATE FUNCTION public.shares(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	n int := args -> 'n';
BEGIN
	INSERT INTO trail (what) VALUES (n);
	PERFORM jobsched.log('info', n::text);
	IF n % 10 = 3 THEN
		RAISE EXCEPTION 'failed: %', n;
	ELSIF n % 10 = 4 THEN
		INSERT INTO deferred VALUES (n), (n);
	END IF;
	RETURN jsonb_build_object('n', n, 'run', jobsched.run_id());
END
$$;
SELECT jobsched.create_job('shares', handler => 'public.shares', share_transaction => true) > 0 AS ok;
DROP TRIGGER note ON deferred;
SELECT jobsched.pause_job('shares');
SELECT count(*) FROM jobsched.trigger_many('shares', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 300) n));
SELECT jobsched.resume_job('shares');
CALL test.until($$ SELECT count(*) = 0 FROM jobsched_internal.run r JOIN jobsched.jobs j USING (job_id) WHERE j.name = 'shares' $$);
SELECT status, count(*), sqlstate, count(DISTINCT args -> 'n') AS numbers, count(result) AS results,
	bool_and(result -> 'n' = args -> 'n' AND (result -> 'run')::bigint = run_id) AS own
FROM jobsched.runs WHERE job_name = 'shares' AND args -> 'n' <> '0' GROUP BY status, sqlstate ORDER BY status, sqlstate;
SELECT count(*), count(DISTINCT what), count(*) FILTER (WHERE what ~ '[34]$') AS of_failed FROM trail;
SELECT count(*) FROM deferred WHERE a > 2;
SELECT count(*), bool_and(l.message = r.args ->> 'n') AS own_message
FROM jobsched.run_logs l JOIN jobsched.runs r USING (run_id) WHERE r.job_name = 'shares' AND args -> 'n' <> '0';
-- They do share, once they are known to be short: there are fewer
-- transactions than runs.
CALL test.until($$ SELECT (SELECT count(DISTINCT h.xmin::text) < count(*)
	FROM jobsched_internal.history h JOIN jobsched.jobs j USING (job_id) WHERE j.name = 'shares' AND h.status = 'succeeded')
	OR (SELECT count(*) = 0 FROM jobsched.trigger_many('shares', array_fill('{"n": 0}'::jsonb, '{20}'))) $$);
CALL test.until($$ SELECT count(*) = 0 FROM jobsched_internal.run r JOIN jobsched.jobs j USING (job_id) WHERE j.name = 'shares' $$);
TRUNCATE trail;

--
-- wait_run()
--
BEGIN;
CALL jobsched.wait_run(1);
ROLLBACK;
CREATE FUNCTION waits() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	status text;
BEGIN
	CALL jobsched.wait_run(0, NULL, status);
	RETURN status;
END
$$;
SELECT waits();
\set VERBOSITY sqlstate
BEGIN;
CALL jobsched.wait_run(1);
ROLLBACK;
CALL jobsched.wait_run(0);
CALL jobsched.wait_run(NULL);
CALL jobsched.wait_run(:later, '10 ms');
CALL jobsched.wait_run(:later, '0');
CALL jobsched.wait_run(:later, '-1 s');
\set VERBOSITY default
-- one that has ended long ago, with and without a limit
CALL jobsched.wait_run(:kept);
CALL jobsched.wait_run(:kept, '0');
-- from within a procedure, which goes on afterwards
DO $$
DECLARE
	id bigint := jobsched.trigger('select');
	status text;
BEGIN
	COMMIT;
	CALL jobsched.wait_run(id, '60 s', status);
	RAISE NOTICE '%', status;
END
$$;

--
-- The end of a job
--
-- Its queued runs are cancelled, its history stays under its name.
SELECT count(*) FROM jobsched.runs WHERE job_name = 'queue' AND status = 'queued';
SELECT jobsched.drop_job('queue');
CALL jobsched.wait_run(:later, '60 s');
SELECT job_name, status, reason, source, started_at, worker_pid FROM jobsched.runs WHERE run_id = :later;
SELECT job_name, status FROM jobsched.runs WHERE run_id = :kept;
SELECT test.refusal($$ SELECT jobsched.trigger('queue') $$);
-- triggered and dropped in one transaction
BEGIN;
SELECT jobsched.create_job('short life', command => 'SELECT 1') > 0 AS ok;
SELECT jobsched.trigger('short life') AS run \gset
SELECT jobsched.drop_job('short life');
COMMIT;
CALL jobsched.wait_run(:run, '60 s');
-- A running run finishes when its job is dropped, ...
SELECT jobsched.create_job('long', command => 'SELECT pg_advisory_lock(4711)') > 0 AS ok;
SELECT pg_advisory_lock(4711);
SELECT jobsched.trigger('long') AS run \gset
CALL test.until($$ SELECT count(*) = 1 FROM jobsched.running WHERE job_name = 'long' $$);
SELECT jobsched.drop_job('long');
SELECT status, job_name FROM jobsched.runs WHERE run_id = :run;
SELECT pg_advisory_unlock(4711);
CALL jobsched.wait_run(:run, '60 s');
-- ... unless it is to be cancelled.
SELECT jobsched.create_job('long', command => 'INSERT INTO trail (what) VALUES (''gone''); SELECT pg_advisory_lock(4711)') > 0 AS ok;
SELECT pg_advisory_lock(4711);
SELECT jobsched.trigger('long') AS run \gset
CALL test.until($$ SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted $$);
SELECT jobsched.drop_job('long', cancel_running => true);
CALL jobsched.wait_run(:run, '60 s');
SELECT status, reason, sqlstate FROM jobsched.runs WHERE run_id = :run;
SELECT pg_advisory_unlock(4711);
SELECT count(*) FROM trail;
-- That holds up to the very end: in deferred triggers, too.
CREATE FUNCTION waits_at_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(4711); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER at_end AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION waits_at_end();
SELECT jobsched.create_job('long', command => 'INSERT INTO deferred VALUES (1000)') > 0 AS ok;
SELECT pg_advisory_lock(4711);
SELECT jobsched.trigger('long') AS run \gset
CALL test.until($$ SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted $$);
SELECT jobsched.drop_job('long', cancel_running => true);
CALL jobsched.wait_run(:run, '60 s');
SELECT pg_advisory_unlock(4711);
SELECT count(*) FROM deferred WHERE a = 1000;

--
-- By schedule
--
SELECT jobsched.create_job('every second', '* * * * * *', command => $$
	INSERT INTO trail (what) VALUES (jobsched.scheduled_for())$$) > 0 AS ok;
CALL test.until($$ SELECT count(*) >= 2 FROM jobsched.runs WHERE job_name = 'every second' AND status = 'succeeded' $$);
SELECT jobsched.drop_job('every second');
SELECT source, run_at = scheduled_for AS due, date_trunc('second', scheduled_for) = scheduled_for AS on_the_second,
	started_at >= scheduled_for AS not_before, args
FROM jobsched.runs WHERE job_name = 'every second' AND status = 'succeeded' ORDER BY run_id LIMIT 2;
-- each slot once
SELECT count(*) = count(DISTINCT scheduled_for) AS each_once FROM jobsched.runs WHERE job_name = 'every second' AND status = 'succeeded';
SELECT jobsched.create_job('once', to_char(now() + interval '2 seconds', 'YYYY-MM-DD HH24:MI:SSOF'), 'SELECT 1') > 0 AS ok;
CALL test.until($$ SELECT state = 'completed' AND last_status = 'succeeded' FROM jobsched.jobs WHERE name = 'once' $$);
SELECT count(*) FROM jobsched.runs WHERE job_name = 'once';

DO $$ BEGIN PERFORM jobsched.drop_job(name) FROM jobsched.jobs; END $$;
SELECT count(*) FROM jobsched.jobs;
DROP VIEW last_run;
DROP TABLE trail, deferred, many CASCADE;
DROP FUNCTION note_who, who, uses_parallel_worker, fails, waits, waits_at_end, public.handler_void, public.shares;
DROP PROCEDURE commits, returns_values, result_of;
REVOKE USAGE ON SCHEMA jobsched FROM regress_run_owner;
CALL test.until($$ SELECT count(*) = 0 FROM jobsched_internal.run $$);
DROP ROLE regress_run_owner;
