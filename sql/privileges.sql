--
-- Who may see and do what, and as whom a job runs.
--

CREATE ROLE regress_priv_a LOGIN;
CREATE ROLE regress_priv_b LOGIN;
CREATE ROLE regress_priv_member LOGIN;
CREATE ROLE regress_priv_noinherit LOGIN NOINHERIT;
CREATE ROLE regress_priv_monitor LOGIN;
CREATE ROLE regress_priv_group NOLOGIN;
CREATE ROLE regress_priv_none LOGIN;
GRANT regress_priv_a TO regress_priv_member;
GRANT regress_priv_a TO regress_priv_noinherit;
GRANT pg_monitor TO regress_priv_monitor;
GRANT regress_priv_group TO regress_priv_a;

-- What somebody sees of jobs and runs
CREATE VIEW seen AS SELECT name, owner, command, args, last_status FROM jobsched.jobs ORDER BY name;
CREATE VIEW seen_runs AS SELECT job_name, owner, status, source, args, result FROM jobsched.runs ORDER BY run_id;
GRANT SELECT ON seen, seen_runs TO PUBLIC;

--
-- Without rights there is nothing to be had.
--
\set VERBOSITY sqlstate
SET ROLE regress_priv_none;
SELECT count(*) FROM jobsched.jobs;
SELECT jobsched.create_job('mine', command => 'SELECT 1');
SELECT jobsched.run_id();
SELECT * FROM jobsched.health();
CALL jobsched.wait_run(1);
RESET ROLE;
GRANT USAGE ON SCHEMA jobsched TO PUBLIC;
SET ROLE regress_priv_none;
SELECT jobsched.create_job('mine', command => 'SELECT 1') > 0 AS ok;
SELECT name FROM jobsched.jobs;
SELECT jobsched.drop_job('mine');
-- The tables and the functions behind the views are out of reach.
SELECT count(*) FROM jobsched_internal.job;
INSERT INTO jobsched_internal.run DEFAULT VALUES;
DELETE FROM jobsched_internal.history;
SELECT nextval('jobsched_internal.run_id_seq');
SELECT jobsched_internal.may_see(10);
SELECT * FROM jobsched_internal.workers();
SELECT jobsched_internal.announce();
CREATE TABLE jobsched.own (a int);
CREATE TABLE jobsched_internal.own (a int);
DROP VIEW jobsched.jobs;
DELETE FROM jobsched.jobs;
UPDATE jobsched.runs SET status = 'queued';
INSERT INTO jobsched.jobs (name) VALUES ('x');
CREATE OR REPLACE FUNCTION jobsched.run_id() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
-- Settings that rules depend on cannot be changed.
SET jobsched.enabled = off;
SET jobsched.max_workers = 1;
ALTER ROLE regress_priv_none SET jobsched.enabled = off;
RESET ROLE;
\set VERBOSITY default

--
-- Jobs and runs of one role
--
SET ROLE regress_priv_a;
SELECT jobsched.create_job('of a', command => 'SELECT current_user AS c, session_user AS s', args => '{"secret": "a"}') > 0 AS ok;
CALL test.run_now('of a');
SELECT jobsched.trigger('of a', run_at => '2099-01-01') AS later \gset
TABLE seen_runs;
RESET ROLE;
CALL test.until($$ SELECT last_status = 'succeeded' FROM jobsched.jobs WHERE name = 'of a' $$);

-- For another role there is none.
SET ROLE regress_priv_b;
TABLE seen;
TABLE seen_runs;
SELECT count(*) FROM jobsched.upcoming;
SELECT count(*) FROM jobsched.running;
SELECT count(*) FROM jobsched.run_logs;
SELECT count(*) FROM jobsched.workers;
SELECT test.refusal($$ SELECT jobsched.trigger('of a') $$);
SELECT test.refusal($$ SELECT jobsched.trigger_many('of a', '{NULL}') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('of a', command => 'SELECT 2') $$);
SELECT test.refusal($$ SELECT jobsched.pause_job('of a') $$);
SELECT test.refusal($$ SELECT jobsched.resume_job('of a') $$);
SELECT test.refusal($$ SELECT jobsched.drop_job('of a') $$);
\set VERBOSITY sqlstate
CALL jobsched.wait_run(:later, '1 s');
\set VERBOSITY default
-- A view does not show hidden rows to a function that is cheap.
CREATE FUNCTION pg_temp.peek(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
	RAISE NOTICE 'seen: %', $1;
	RETURN true;
END
$$;
SELECT name FROM jobsched.jobs WHERE pg_temp.peek(command);
SELECT job_name FROM jobsched.runs WHERE pg_temp.peek(args::text);
DROP FUNCTION pg_temp.peek(text);
-- It may have a job of the same name.
SELECT jobsched.create_job('of a', command => 'SELECT 2') > 0 AS ok;
SELECT jobsched.drop_job('of a');
-- It cannot give a job to somebody else, nor take one.
\set VERBOSITY sqlstate
SELECT jobsched.create_job('gift', command => 'SELECT 1', owner => 'regress_priv_a');
SELECT jobsched.create_job('gift', command => 'SELECT 1', owner => :'USER');
SELECT jobsched.create_job('gift', command => 'SELECT 1') > 0 AS ok;
SELECT jobsched.alter_job('gift', owner => 'regress_priv_a');
SELECT jobsched.alter_job('gift', owner => 'pg_monitor');
\set VERBOSITY default
SELECT name, owner FROM jobsched.jobs;
SELECT jobsched.drop_job('gift');
RESET ROLE;

-- pg_monitor sees everything and changes nothing.
SET ROLE regress_priv_monitor;
TABLE seen;
SELECT job_name, owner, status FROM seen_runs WHERE owner = 'regress_priv_a';
\set VERBOSITY sqlstate
CALL jobsched.wait_run(:later, '0');
\set VERBOSITY default
SELECT test.refusal($$ SELECT jobsched.trigger('of a') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('of a', command => 'SELECT 2') $$);
SELECT test.refusal($$ SELECT jobsched.drop_job('of a') $$);
RESET ROLE;

-- But not what servers answer: callbacks have it in their arguments.  (This
-- request is refused, and its callback is told that.)
CREATE FUNCTION public.told(answer jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('of', answer->'status') $$;
CREATE FUNCTION public.told_in_vain(answer jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(1 / (answer->>'attempt')::int - 1 / 0) $$;
GRANT EXECUTE ON FUNCTION jobsched.http_request TO regress_priv_a;
SET ROLE regress_priv_a;
SELECT jobsched.http_request('POST', 'http://127.0.0.1:9/', on_failure => 'public.told') > 0 AS ok;
CALL test.until($$ SELECT count(*) = 1 FROM jobsched.runs WHERE handler = 'public.told' AND status = 'succeeded' $$);
SELECT jobsched.alter_job('http', max_attempts => 1);
SELECT jobsched.http_request('POST', 'http://127.0.0.1:9/', on_failure => 'public.told_in_vain') > 0 AS ok;
CALL test.until($$ SELECT count(*) = 1 FROM jobsched.dead_letters WHERE source = 'callback' $$);
SELECT jobsched.retry_run(run_id) > 0 AS ok FROM jobsched.dead_letters WHERE source = 'callback';
CALL test.until($$ SELECT count(*) = 1 FROM jobsched.runs WHERE handler = 'public.told_in_vain' AND source = 'retry' AND status = 'failed' $$);
CREATE VIEW pg_temp.callbacks AS SELECT 'runs' AS view, source, handler, status, args->>'reason' AS args, result FROM jobsched.runs WHERE handler LIKE 'public.%'
	UNION ALL SELECT 'dead_letters', source, NULL, status, args->>'reason', NULL FROM jobsched.dead_letters WHERE owner = 'regress_priv_a' AND source <> 'trigger' ORDER BY 1 DESC, 2, 3;
GRANT SELECT ON pg_temp.callbacks TO PUBLIC;
TABLE pg_temp.callbacks;
RESET ROLE;
ALTER VIEW pg_temp.callbacks SET (security_invoker);
SET ROLE regress_priv_monitor;
TABLE pg_temp.callbacks;
SELECT count(*) AS others_have_theirs FROM jobsched.runs WHERE job_name = 'of a' AND args IS NOT NULL;
RESET ROLE;
-- Whom the views show little, the partitions of tables show no more.
GRANT pg_read_all_data TO regress_priv_none;
SET ROLE regress_priv_none;
SELECT count(*) FROM jobsched.runs;
SELECT count(*) FROM jobsched_internal.history;
CREATE FUNCTION pg_temp.rows_of(what regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE 'SELECT count(*) FROM ' || what INTO n;
	RETURN n;
END
$$;
CREATE VIEW pg_temp.partitions AS
SELECT inhparent::regclass AS parent, count(*) AS partitions, sum(pg_temp.rows_of(inhrelid::regclass)) AS rows
FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
WHERE c.relnamespace = 'jobsched_internal'::regnamespace AND c.relkind = 'r' AND inhparent <> 'jobsched_internal.job_name_of'::regclass
GROUP BY inhparent ORDER BY inhparent::regclass::text COLLATE "C";
TABLE pg_temp.partitions;
RESET ROLE;
SELECT parent, rows > 0 AS rows FROM pg_temp.partitions WHERE parent::text ~ 'history';
DROP VIEW pg_temp.callbacks, pg_temp.partitions;
DROP FUNCTION pg_temp.rows_of;
REVOKE pg_read_all_data FROM regress_priv_none;
SET ROLE regress_priv_a;
SELECT jobsched.drop_job('http');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION jobsched.http_request FROM regress_priv_a;
DROP FUNCTION public.told, public.told_in_vain;

-- A member of the owner's role may do what the owner may ...
SET ROLE regress_priv_member;
TABLE seen;
SELECT jobsched.trigger('of a') > 0 AS ok;
SELECT jobsched.pause_job('of a', 'by a member');
SELECT jobsched.resume_job('of a');
SELECT jobsched.create_job('by a member', command => 'SELECT current_user AS c', owner => 'regress_priv_a') > 0 AS ok;
CALL test.run_now('by a member');
SELECT jobsched.alter_job('by a member', owner => 'regress_priv_member');
CALL test.run_now('by a member');
SELECT jobsched.alter_job('by a member', owner => 'regress_priv_a');
SELECT jobsched.drop_job('by a member');
RESET ROLE;
-- ... if it inherits; else it has to become the owner first.
SET SESSION AUTHORIZATION regress_priv_noinherit;
TABLE seen;
SELECT test.refusal($$ SELECT jobsched.trigger('of a') $$);
SET ROLE regress_priv_a;
SELECT jobsched.trigger('of a') > 0 AS ok;
RESET SESSION AUTHORIZATION;

-- From PostgreSQL 16 on a member may be denied SET ROLE: it manages the
-- owner's jobs, but does not say what they execute.
DO $$
DECLARE
	call text;
BEGIN
	IF current_setting('server_version_num')::int < 160000 THEN
		RETURN;
	END IF;
	EXECUTE 'GRANT regress_priv_a TO regress_priv_none WITH INHERIT TRUE, SET FALSE';
	SET LOCAL ROLE regress_priv_none;
	PERFORM jobsched.pause_job('of a'), jobsched.resume_job('of a'), jobsched.alter_job('of a', description => 'x');
	FOREACH call IN ARRAY ARRAY[
		$q$ SELECT jobsched.create_job('of a', command => 'SELECT 1', owner => 'regress_priv_a', if_exists => 'update') $q$,
		$q$ SELECT jobsched.create_job('new of a', command => 'SELECT 1', owner => 'regress_priv_a') $q$,
		$q$ SELECT jobsched.alter_job('of a', command => 'SELECT 1') $q$,
		$q$ SELECT jobsched.alter_job('of a', handler => 'public.f') $q$,
		$q$ SELECT jobsched.alter_job('of a', args => '{}') $q$,
		$q$ SELECT jobsched.alter_job('of a', mode => 'autocommit') $q$]
	LOOP
		BEGIN
			EXECUTE call;
			RAISE EXCEPTION 'not refused: %', call;
		EXCEPTION WHEN insufficient_privilege THEN
			NULL;
		END;
	END LOOP;
	RESET ROLE;
	REVOKE regress_priv_a FROM regress_priv_none;
END
$$;

-- Each may name as owner whom it may SET ROLE to, if that one may log in.
SET ROLE regress_priv_a;
SELECT test.refusal($$ SELECT jobsched.create_job('group''s', command => 'SELECT 1', owner => 'regress_priv_group') $$);
RESET ROLE;
SELECT test.refusal($$ SELECT jobsched.create_job('group''s', command => 'SELECT 1', owner => 'regress_priv_group') $$);
SET ROLE regress_priv_group;
SELECT test.refusal($$ SELECT jobsched.create_job('group''s', command => 'SELECT 1') $$);
RESET ROLE;
-- A superuser may act for all.
SELECT jobsched.create_job('for b', command => 'SELECT current_user AS c, session_user AS s', owner => 'regress_priv_b') > 0 AS ok;
CALL test.run_now('for b');
SELECT jobsched.alter_job('for b', description => 'changed');
SET ROLE regress_priv_b;
SELECT jobsched.drop_job('for b');
RESET ROLE;

--
-- A run is its owner and nothing more.
--
SELECT substring(value FROM '\d+') AS scheduler FROM jobsched.health() WHERE "check" = 'scheduler' \gset
SET ROLE regress_priv_b;
SELECT jobsched.create_job('escape', command => 'SELECT 1', mode => 'autocommit') > 0 AS ok;
CREATE PROCEDURE pg_temp.escape(command text, INOUT outcome text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
	status text; result jsonb; sqlstate text; error text;
BEGIN
	PERFORM jobsched.alter_job('escape', command => command);
	CALL test.run_now('escape', NULL, status, result, sqlstate, error);
	outcome := coalesce(result::text, sqlstate, status);
END
$$;
CALL pg_temp.escape('RESET ROLE; SELECT current_user AS c, session_user AS s');
CALL pg_temp.escape('SET ROLE NONE; SELECT current_user AS c, session_user AS s');
CALL pg_temp.escape('RESET SESSION AUTHORIZATION; SELECT current_user AS c, session_user AS s');
CALL pg_temp.escape('DISCARD ALL; SELECT current_user AS c, session_user AS s');
CALL pg_temp.escape('SET SESSION AUTHORIZATION ' || quote_ident(:'USER'));
CALL pg_temp.escape('SET ROLE ' || quote_ident(:'USER'));
CALL pg_temp.escape('SET ROLE regress_priv_a');
CALL pg_temp.escape('SELECT set_config(''role'', pg_get_userbyid(10), false)');
CALL pg_temp.escape('SELECT set_config(''is_superuser'', ''on'', false)');
CALL pg_temp.escape('SELECT current_setting(''is_superuser'') AS is_superuser, has_schema_privilege(''jobsched_internal'', ''USAGE'') AS internal');
CALL pg_temp.escape('DELETE FROM jobsched_internal.run');
CALL pg_temp.escape('SET jobsched.enabled = off');
CALL pg_temp.escape('ALTER SYSTEM SET jobsched.enabled = off');
CALL pg_temp.escape('SELECT pg_read_file(''PG_VERSION'')');
CALL pg_temp.escape('COPY (SELECT 1) TO PROGRAM ''true''');
CALL pg_temp.escape('SELECT pg_terminate_backend(' || :scheduler || ')');
CALL pg_temp.escape('SELECT pg_cancel_backend(' || :scheduler || ')');
CALL pg_temp.escape('SELECT command FROM jobsched.jobs WHERE owner <> current_user');
CALL pg_temp.escape('SELECT jobsched.alter_job(''of a'', command => ''SELECT 666'')');
RESET ROLE;

-- The right to execute a handler is asked when it runs, and of the owner.
CREATE FUNCTION public.closed(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(current_user::text) $$;
REVOKE EXECUTE ON FUNCTION public.closed FROM PUBLIC;
CREATE SCHEMA regress_closed;
CREATE FUNCTION regress_closed.f(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '1'::jsonb $$;
SET ROLE regress_priv_b;
SELECT jobsched.create_job('closed', handler => 'public.closed') > 0 AS ok;
CALL test.run_now('closed');
SELECT test.refusal($$ SELECT jobsched.create_job('no', handler => 'regress_closed.f') $$);
RESET ROLE;
CALL test.run_now('closed');
GRANT EXECUTE ON FUNCTION public.closed TO regress_priv_b;
CALL test.run_now('closed');
-- so a superuser that triggers somebody's job lends it nothing
SELECT jobsched.drop_job('closed');
DROP FUNCTION public.closed;
DROP FUNCTION regress_closed.f;
DROP SCHEMA regress_closed;

--
-- A function in a condition is not given what others' rows say.
--
SELECT jobsched.create_job('nobody else''s', command => 'SELECT 1', owner => 'regress_priv_a') > 0 AS ok;
CALL test.run_now('nobody else''s');
CREATE SCHEMA regress_leak AUTHORIZATION regress_priv_b;
SET ROLE regress_priv_b;
CREATE FUNCTION regress_leak.tell(what text) RETURNS boolean LANGUAGE plpgsql STRICT COST 0.0001 AS $$
BEGIN
	IF what ~ 'nobody' THEN RAISE NOTICE '%', what; END IF;
	RETURN what ~ 'nobody';
END $$;
SELECT count(*) FROM jobsched.jobs WHERE regress_leak.tell(name);
SELECT count(*) FROM jobsched.runs WHERE regress_leak.tell(job_name);
SELECT count(*) FROM jobsched.attempts WHERE regress_leak.tell(job_name);
SELECT count(*) FROM jobsched.dead_letters WHERE regress_leak.tell(job_name);
SELECT count(*) FROM jobsched.run_logs WHERE regress_leak.tell(job_name);
SELECT count(*) FROM jobsched.upcoming WHERE regress_leak.tell(job_name);
RESET ROLE;
DROP FUNCTION regress_leak.tell;
DROP SCHEMA regress_leak;
SELECT jobsched.drop_job('nobody else''s');

--
-- Hostile objects, settings and defaults do not come between a run and its
-- record.
--
CREATE SCHEMA regress_trap AUTHORIZATION regress_priv_b;
CREATE TABLE regress_trap.caught (what text);
GRANT INSERT ON regress_trap.caught TO PUBLIC;
SET ROLE regress_priv_b;
CREATE FUNCTION regress_trap.caught(what text) RETURNS boolean LANGUAGE sql SECURITY INVOKER AS $$
	INSERT INTO regress_trap.caught VALUES (what || ' as ' || current_user) RETURNING true $$;
CREATE FUNCTION regress_trap.eq(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT regress_trap.caught('=') $$;
CREATE OPERATOR regress_trap.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = regress_trap.eq);
CREATE FUNCTION regress_trap.teq(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT regress_trap.caught('= text') $$;
CREATE OPERATOR regress_trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_trap.teq);
CREATE FUNCTION regress_trap.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT regress_trap.caught('now'); SELECT 'epoch'::timestamptz $$;
CREATE FUNCTION regress_trap.current_database() RETURNS name LANGUAGE sql AS $$ SELECT regress_trap.caught('current_database'); SELECT 'x'::name $$;
CREATE FUNCTION regress_trap.pg_get_userbyid(oid) RETURNS name LANGUAGE sql AS $$ SELECT regress_trap.caught('pg_get_userbyid'); SELECT 'x'::name $$;
CREATE FUNCTION regress_trap.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT regress_trap.caught('current_setting'); SELECT 'x' $$;
CREATE FUNCTION regress_trap.row_to_json(record) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM regress_trap.caught('row_to_json'); RETURN '1'; END $$;
CREATE TYPE regress_trap.jsonb AS (a int);
CREATE TABLE regress_trap.run (run_id bigint, status text);
CREATE TABLE regress_trap.job (job_id bigint, name text);
CREATE TABLE regress_trap.history (run_id bigint);
RESET ROLE;
ALTER ROLE regress_priv_b SET search_path = regress_trap, pg_temp, pg_catalog;
CALL test.end_workers('regress_priv_b');
SELECT jobsched.create_job('trapped', owner => 'regress_priv_b', mode => 'autocommit', command => $$
	CREATE TEMP TABLE run (run_id bigint, job_id bigint, status text);
	CREATE TEMP TABLE history (run_id bigint);
	CREATE TEMP TABLE job (job_id bigint);
	SELECT pg_catalog.current_setting('search_path') AS path, now() OPERATOR(pg_catalog.=) 'epoch' AS in_trap$$) > 0 AS ok;
CALL test.run_now('trapped');
SELECT jobsched.alter_job('trapped', command => 'SELECT 1 / 0');
CALL test.run_now('trapped');
-- the functions and views of the API as well, called through such a path
SET ROLE regress_priv_b;
SET search_path = regress_trap, pg_temp, pg_catalog;
CREATE TEMP TABLE run (run_id bigint, job_id bigint, status text);
CREATE TEMP TABLE job (job_id bigint);
SELECT jobsched.create_job('in a trap', '@daily', 'SELECT 1') IS NOT NULL AS ok;
SELECT name, state, owner FROM jobsched.jobs WHERE name OPERATOR(pg_catalog.=) 'in a trap';
SELECT jobsched.trigger('in a trap', run_at => '2099-01-01') IS NOT NULL AS ok;
SELECT job_name, status FROM jobsched.runs WHERE job_name OPERATOR(pg_catalog.=) 'in a trap';
SELECT pg_catalog.count(*) FROM jobsched.upcoming WHERE job_name OPERATOR(pg_catalog.=) 'in a trap';
SELECT jobsched.drop_job('in a trap');
SELECT now() OPERATOR(pg_catalog.=) 'epoch' AS in_trap;
RESET search_path;
RESET ROLE;
DROP TABLE pg_temp.run, pg_temp.job;
SELECT DISTINCT what FROM regress_trap.caught WHERE what NOT LIKE '% as regress_priv_b';
-- only the call that the command itself makes
SELECT DISTINCT what FROM regress_trap.caught ORDER BY what;
ALTER ROLE regress_priv_b RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA regress_trap CASCADE;
RESET client_min_messages;

-- Defaults of the role for its transactions
ALTER ROLE regress_priv_b SET default_transaction_read_only = on;
CALL test.end_workers('regress_priv_b');
SELECT jobsched.create_job('defaults', owner => 'regress_priv_b', command => $$
	SELECT current_setting('transaction_read_only') AS read_only, current_setting('transaction_isolation') AS isolation$$) > 0 AS ok;
CALL test.run_now('defaults');
SELECT jobsched.create_job('writes', owner => 'regress_priv_b', command => 'CREATE TABLE not_made (a int)') > 0 AS ok;
CALL test.run_now('writes');
ALTER ROLE regress_priv_b RESET default_transaction_read_only;
ALTER ROLE regress_priv_b SET default_transaction_isolation = 'serializable';
ALTER ROLE regress_priv_b SET default_transaction_deferrable = on;
ALTER ROLE regress_priv_b SET synchronous_commit = off;
ALTER ROLE regress_priv_b SET client_min_messages = error;
ALTER ROLE regress_priv_b SET lock_timeout = '1ms';
ALTER ROLE regress_priv_b SET row_security = off;
ALTER ROLE regress_priv_b SET default_table_access_method = 'heap';
ALTER ROLE regress_priv_b SET standard_conforming_strings = on;
ALTER ROLE regress_priv_b SET check_function_bodies = off;
CALL test.end_workers('regress_priv_b');
CALL test.run_now('defaults');
CALL test.run_now('escape');
ALTER ROLE regress_priv_b RESET ALL;

--
-- A role that loses its login, or its way into the database, cannot run.
--
CALL test.end_workers('regress_priv_b');
ALTER ROLE regress_priv_b NOLOGIN;
CALL test.run_now('defaults');
SELECT reason, worker_pid FROM jobsched.runs WHERE job_name = 'defaults' ORDER BY run_id DESC LIMIT 1;
ALTER ROLE regress_priv_b LOGIN;
CALL test.run_now('defaults');

--
-- adopt() is for who owns the database.
--
SET ROLE regress_priv_a;
SELECT jobsched.adopt();
RESET ROLE;
SELECT jobsched.adopt();

--
-- A role that may create things in a database may create the extension there,
-- and then hand out its use.
--
CREATE DATABASE regress_jobsched_trusted;
GRANT CREATE ON DATABASE regress_jobsched_trusted TO regress_priv_a;
\set superuser :USER
\set maindb :DBNAME
\c regress_jobsched_trusted regress_priv_b
CREATE EXTENSION jobsched;
\c - regress_priv_a
CREATE EXTENSION jobsched;
SELECT extowner::regrole FROM pg_extension WHERE extname = 'jobsched';
SELECT jobsched.create_job('mine', command => 'SELECT current_user AS c, session_user AS s') > 0 AS ok;
SELECT jobsched.trigger('mine') AS run \gset
CALL jobsched.wait_run(:run, '60 s');
SELECT status, result FROM jobsched.runs WHERE run_id = :run;
-- It has the extension; of what is in it only what pg_dump has to read.
SELECT count(*) FROM jobsched_internal.job;
\set VERBOSITY sqlstate
UPDATE jobsched_internal.job SET command = 'SELECT 2';
DELETE FROM jobsched_internal.job;
SELECT nextval('jobsched_internal.job_id_seq');
SELECT count(*) FROM jobsched_internal.run;
SELECT count(*) FROM jobsched_internal.history;
SELECT count(*) FROM jobsched_internal.job_state;
CREATE TABLE jobsched_internal.own (a int);
\set VERBOSITY default
DROP VIEW jobsched.jobs;
GRANT USAGE ON SCHEMA jobsched TO regress_priv_b;
\c - regress_priv_b
SELECT jobsched.create_job('of b', command => 'SELECT 1') > 0 AS ok;
SELECT name, owner FROM jobsched.jobs;
\c - regress_priv_a
SELECT name, owner FROM jobsched.jobs;
DROP EXTENSION jobsched;
\c :maindb :superuser
-- The database can be dropped although processes of ours may still be there.
DROP DATABASE regress_jobsched_trusted;

-- All in order for the tests that follow
DO $$ BEGIN PERFORM jobsched.drop_job(name) FROM jobsched.jobs; END $$;
CALL test.until($$ SELECT count(*) = 0 FROM jobsched_internal.run $$);
DROP VIEW seen, seen_runs;
REVOKE USAGE ON SCHEMA jobsched FROM PUBLIC;
DROP ROLE regress_priv_member, regress_priv_noinherit, regress_priv_a, regress_priv_b, regress_priv_monitor, regress_priv_group, regress_priv_none;
