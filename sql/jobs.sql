--
-- Defining and changing jobs.
--

-- Messages name the owner, so it has to be the same everywhere.
CREATE ROLE regress_job_super SUPERUSER LOGIN;
SET SESSION AUTHORIZATION regress_job_super;

CREATE FUNCTION public.handle(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION public.handle_void(jsonb) RETURNS void LANGUAGE sql AS $$ $$;
CREATE FUNCTION public.handle_set(jsonb) RETURNS SETOF jsonb LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION public.handle_text(jsonb) RETURNS text LANGUAGE sql AS $$ SELECT $1::text $$;
CREATE FUNCTION public.handle_json(json) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1::jsonb $$;
CREATE FUNCTION public.handle_none() RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
CREATE PROCEDURE public.handle_procedure(integer) LANGUAGE sql AS $$ $$;

-- What a job is, without what differs from one run of this test to the next.
CREATE VIEW definitions AS
SELECT name, kind, schedule, timezone, command, handler, args, mode, enabled, state, description, metadata
FROM jobsched.jobs ORDER BY name COLLATE "C";

-- Defaults
SELECT jobsched.create_job('plain', command => 'SELECT 1') > 0 AS ok;
SELECT owner = current_user AS mine, next_run_at, state_reason, last_status, consecutive_failures, recent,
	created_at = updated_at AS untouched, created_at > now() - interval '1 minute' AS recent_enough
FROM jobsched.jobs;
-- Everything given
SELECT jobsched.create_job(
	name => 'all', schedule => '30 4 * * MON', handler => 'public.handle', args => '{"a": 1}',
	timezone => 'Europe/Berlin', enabled => false, description => 'what it is for',
	metadata => '{"team": "data"}', owner => current_user, mode => 'transaction', if_exists => 'error') > 0 AS ok;
TABLE definitions;
-- by position
SELECT jobsched.create_job('by position', '@daily', 'SELECT 2') > 0 AS ok;
-- The zone is the setting's at that moment.
SET jobsched.timezone = 'Asia/Tokyo';
SELECT jobsched.create_job('tokyo', '@daily', 'SELECT 3') > 0 AS ok;
RESET jobsched.timezone;
SELECT name, timezone FROM jobsched.jobs WHERE name IN ('by position', 'tokyo') ORDER BY name;

-- The next run is known at once, in the transaction that creates the job.
BEGIN;
SELECT jobsched.create_job('yearly', '0 0 1 1 *', 'SELECT 1', timezone => 'America/New_York') AS id \gset
SELECT next_run_at = (SELECT next_runs FROM jobsched.next_runs('0 0 1 1 *', 'America/New_York', n => 1)) AS as_computed
FROM jobsched.jobs WHERE job_id = :id;
ROLLBACK;
SELECT count(*) FROM jobsched.jobs WHERE name = 'yearly';
-- An interval counts from the definition.
SELECT jobsched.create_job('often', 'every 36 hours', 'SELECT 1') > 0 AS ok;
SELECT next_run_at - created_at BETWEEN interval '36 hours' AND interval '36 hours 1 second' AS after_36_hours
FROM jobsched.jobs WHERE name = 'often';
-- A timestamp without an offset is local time of the job's zone.
SELECT jobsched.create_job('once', '2091-07-01 12:00:00', 'SELECT 1', timezone => 'Europe/Berlin') > 0 AS ok;
SELECT next_run_at AT TIME ZONE 'UTC' AS utc, state FROM jobsched.jobs WHERE name = 'once';
-- A job for every start has no next run that could be known.
SELECT jobsched.create_job('startup', '@startup', 'SELECT 1') > 0 AS ok;
SELECT next_run_at, state FROM jobsched.jobs WHERE name = 'startup';

--
-- What is refused
--
\pset format unaligned
\pset tuples_only on
-- names
SELECT test.refusal($$ SELECT jobsched.create_job('', command => 'SELECT 1') $$);
SELECT test.refusal($$ SELECT jobsched.create_job(NULL, command => 'SELECT 1') $$);
SELECT test.refusal($$ SELECT jobsched.create_job(repeat('x', 10000), command => 'SELECT 1') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('plain', command => 'SELECT 1') $$);
-- command and handler
SELECT test.refusal($$ SELECT jobsched.create_job('no') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1', handler => 'public.handle') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => '') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => ' ; -- nothing') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELEC 1') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1; SELECT ''open') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'BEGIN') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'START TRANSACTION; SELECT 1') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1; COMMIT') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'END') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1; ROLLBACK', mode => 'autocommit') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SAVEPOINT s') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'ROLLBACK TO s') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'RELEASE s') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1; PREPARE TRANSACTION ''p''') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'COMMIT PREPARED ''p''') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'COPY definitions FROM STDIN') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1; COPY (SELECT 1) TO STDOUT') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', handler => 'handle') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', handler => '') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', handler => 'public.nothing') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', handler => 'nowhere.handle') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', handler => 'public.handle_set') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', handler => 'public.handle_text') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', handler => 'public.handle_json') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', handler => 'public.handle_none') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', handler => 'public.handle_procedure') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', handler => 'pg_catalog.jsonb_object_agg') $$);
-- schedule and zone
SELECT test.refusal($$ SELECT jobsched.create_job('no', 'whenever', 'SELECT 1') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', '61 * * * *', 'SELECT 1') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', '0 0 30 2 *', 'SELECT 1') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', '2001-02-03 04:05:06+00', 'SELECT 1') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', '', 'SELECT 1', timezone => '') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', '@daily', 'SELECT 1', timezone => 'Europe/Atlantis') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1', timezone => 'Europe/Atlantis') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', '@daily', 'SELECT 1', timezone => 'CEST') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', '@daily', 'SELECT 1', timezone => '+02') $$);
-- the rest
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1', share_transaction => true) $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1', args => '[1]') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1', args => '1') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1', mode => 'fast') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1', owner => 'regress_nobody') $$);
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1', if_exists => 'replace') $$);
-- the same by alter_job(), and of jobs that there are not
SELECT test.refusal($$ SELECT jobsched.alter_job('no', description => 'x') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job(NULL, description => 'x') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', name => '') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', name => 'all') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', command => 'SELECT 1', handler => 'public.handle') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', command => '') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', command => 'COMMIT') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', handler => 'handle') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', args => '[]') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', mode => 'fast') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', timezone => 'CEST') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', schedule => '0 0 30 2 *') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', schedule => '2001-02-03 04:05:06+00') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', owner => 'regress_nobody') $$);
SELECT test.refusal($$ SELECT jobsched.drop_job('no') $$);
SELECT test.refusal($$ SELECT jobsched.pause_job('no') $$);
SELECT test.refusal($$ SELECT jobsched.pause_job(NULL) $$);
SELECT test.refusal($$ SELECT jobsched.resume_job('no') $$);
SELECT test.refusal($$ SELECT jobsched.trigger('no') $$);
SELECT test.refusal($$ SELECT jobsched.trigger(NULL) $$);
-- names are exact
SELECT test.refusal($$ SELECT jobsched.drop_job('Plain') $$);
SELECT test.refusal($$ SELECT jobsched.drop_job('plain ') $$);
-- in transactions that only read
BEGIN READ ONLY;
SAVEPOINT s;
SELECT test.refusal($$ SELECT jobsched.create_job('no', command => 'SELECT 1') $$);
SELECT test.refusal($$ SELECT jobsched.alter_job('plain', description => 'x') $$);
SELECT test.refusal($$ SELECT jobsched.drop_job('plain') $$);
SELECT test.refusal($$ SELECT jobsched.pause_job('plain') $$);
SELECT test.refusal($$ SELECT jobsched.resume_job('plain') $$);
SELECT test.refusal($$ SELECT jobsched.trigger('plain') $$);
SELECT test.refusal($$ SELECT jobsched.trigger_many('plain', '{NULL}') $$);
SELECT test.refusal($$ SELECT jobsched.adopt() $$);
ROLLBACK;
\pset format aligned
\pset tuples_only off
-- None of it has left a job, or changed one.
SELECT name FROM jobsched.jobs ORDER BY name COLLATE "C";
SELECT name, updated_at = created_at AS untouched FROM jobsched.jobs WHERE updated_at <> created_at;

-- What only looks alike is taken.
SELECT jobsched.create_job('commit in text', command => $$SELECT 'COMMIT' AS x -- ; ROLLBACK$$) > 0 AS ok;
SELECT jobsched.create_job('copy to file', command => $$COPY (SELECT 1) TO '/dev/null'$$) > 0 AS ok;
SELECT jobsched.create_job(repeat('n', 63), command => 'SELECT 1') > 0 AS ok;
SELECT jobsched.create_job('It''s "quoted"; \ / % .', command => 'SELECT 1') > 0 AS ok;
SELECT jobsched.create_job('void', handler => 'public.handle_void') > 0 AS ok;
SELECT jobsched.create_job('quoted handler', handler => '"public"."handle"') > 0 AS ok;
-- A name is taken as it is, not as an identifier.
SELECT jobsched.create_job('PLAIN', command => 'SELECT 1') > 0 AS ok;
SELECT name FROM jobsched.jobs WHERE lower(name) = 'plain' ORDER BY name COLLATE "C";
SELECT jobsched.drop_job(name) FROM jobsched.jobs
WHERE name IN ('commit in text', 'copy to file', repeat('n', 63), 'It''s "quoted"; \ / % .', 'void', 'quoted handler', 'PLAIN');

--
-- if_exists
--
SELECT job_id AS plain FROM jobsched.jobs WHERE name = 'plain' \gset
SELECT jobsched.create_job('plain', '@hourly', 'SELECT 99', if_exists => 'keep') = :plain AS same;
SELECT * FROM definitions WHERE name = 'plain';
SELECT jobsched.create_job('plain', '@hourly', handler => 'public.handle', args => '{"x": 1}', timezone => 'Asia/Tokyo',
	description => 'now with a handler', metadata => '[1]', mode => 'transaction', if_exists => 'update') = :plain AS same;
SELECT * FROM definitions WHERE name = 'plain';
-- update makes the job what the call says; what it does not say is gone
SELECT jobsched.create_job('plain', command => 'SELECT 2', if_exists => 'update') = :plain AS same;
SELECT * FROM definitions WHERE name = 'plain';
SELECT next_run_at FROM jobsched.jobs WHERE name = 'plain';
-- and checks it as create does
SELECT test.refusal($$ SELECT jobsched.create_job('plain', if_exists => 'update') $$);
SELECT command FROM jobsched.jobs WHERE name = 'plain';
-- but does not resume a job that somebody has paused
SELECT jobsched.pause_job('plain', 'not now');
SELECT jobsched.create_job('plain', command => 'SELECT 3', if_exists => 'update') = :plain AS same;
SELECT state, state_reason, command FROM jobsched.jobs WHERE name = 'plain';
SELECT jobsched.resume_job('plain');
-- where there is none, all three create one
SELECT jobsched.create_job('new ' || choice, command => 'SELECT 1', if_exists => choice) > 0 AS ok
FROM unnest('{error,update,keep}'::text[]) choice;
SELECT name FROM definitions WHERE name LIKE 'new %';
SELECT jobsched.drop_job('new ' || choice) FROM unnest('{error,update,keep}'::text[]) choice;
-- a dropped job does not count
BEGIN;
SELECT jobsched.create_job('again', command => 'SELECT 1') AS first \gset
SELECT jobsched.drop_job('again');
SELECT jobsched.create_job('again', command => 'SELECT 2', if_exists => 'keep') AS second \gset
SELECT :first <> :second AS another;
SELECT command FROM jobsched.jobs WHERE name = 'again';
SELECT jobsched.drop_job('again');
COMMIT;

--
-- alter_job(): what is not given stays
--
SELECT jobsched.alter_job('all');
SELECT * FROM definitions WHERE name = 'all';
SELECT jobsched.alter_job('all', description => 'changed');
SELECT jobsched.alter_job('all', enabled => true);
SELECT jobsched.alter_job('all', args => '{"b": 2}');
SELECT jobsched.alter_job('all', metadata => 'null');
SELECT jobsched.alter_job('all', mode => 'auto');
SELECT * FROM definitions WHERE name = 'all';
SELECT updated_at > created_at AS touched FROM jobsched.jobs WHERE name = 'all';
SELECT jobsched.alter_job('all', share_transaction => true);
SELECT share_transaction FROM jobsched.jobs WHERE name = 'all';
-- a command cannot share its transaction
SELECT jobsched.alter_job('all', command => 'SELECT 4');
SELECT jobsched.alter_job('all', share_transaction => false);
-- handler to command and back
SELECT jobsched.alter_job('all', command => 'SELECT 4');
SELECT kind, command, handler FROM definitions WHERE name = 'all';
SELECT jobsched.alter_job('all', handler => 'public.handle_void');
SELECT kind, command, handler FROM definitions WHERE name = 'all';
-- schedule and zone make the next run anew
SELECT jobsched.alter_job('all', schedule => '0 12 1 7 *');
SELECT next_run_at = (SELECT next_runs FROM jobsched.next_runs('0 12 1 7 *', 'Europe/Berlin', n => 1)) AS as_computed
FROM jobsched.jobs WHERE name = 'all';
SELECT jobsched.alter_job('all', timezone => 'Asia/Tokyo');
SELECT schedule, timezone,
	next_run_at = (SELECT next_runs FROM jobsched.next_runs('0 12 1 7 *', 'Asia/Tokyo', n => 1)) AS as_computed
FROM jobsched.jobs WHERE name = 'all';
SELECT jobsched.alter_job('all', schedule => '');
SELECT schedule, timezone, next_run_at, state FROM jobsched.jobs WHERE name = 'all';
-- An interval goes on from where it was if something else changes, or if the
-- same schedule is given again, and starts anew with a new one.
SELECT next_run_at AS was FROM jobsched.jobs WHERE name = 'often' \gset
SELECT jobsched.alter_job('often', description => 'x', command => 'SELECT 5');
SELECT jobsched.alter_job('often', schedule => 'every 36 hours', timezone => 'UTC');
SELECT next_run_at = :'was' AS same FROM jobsched.jobs WHERE name = 'often';
SELECT jobsched.create_job('often', 'every 36 hours', 'SELECT 6', if_exists => 'update') > 0 AS ok;
SELECT next_run_at = :'was' AS same, command FROM jobsched.jobs WHERE name = 'often';
SELECT jobsched.alter_job('often', schedule => 'every 2160 minutes');
SELECT next_run_at > :'was' AS later FROM jobsched.jobs WHERE name = 'often';
-- A new name is a new name everywhere, and the old one is free.
SELECT job_id AS often FROM jobsched.jobs WHERE name = 'often' \gset
SELECT jobsched.alter_job('often', name => 'seldom');
SELECT name FROM jobsched.jobs WHERE job_id = :often;
SELECT jobsched.alter_job('often', description => 'x');
SELECT jobsched.create_job('often', command => 'SELECT 1') <> :often AS another;
SELECT jobsched.alter_job('seldom', name => 'often');
SELECT jobsched.drop_job('often');
SELECT jobsched.alter_job('seldom', name => 'often');
SELECT jobsched.alter_job('often', name => 'often');
SELECT name FROM jobsched.jobs WHERE job_id = :often;
-- Rolled back, nothing has changed.
BEGIN;
SELECT jobsched.alter_job('often', name => 'rarely', command => 'SELECT 7');
SELECT name, command FROM jobsched.jobs WHERE job_id = :often;
ROLLBACK;
SELECT name, command FROM jobsched.jobs WHERE job_id = :often;
-- Several changes in one transaction, each seeing the ones before
BEGIN;
SELECT jobsched.create_job('busy', '@daily', 'SELECT 1') AS busy \gset
SELECT jobsched.alter_job('busy', name => 'busier');
SELECT jobsched.pause_job('busier', 'because');
SELECT jobsched.alter_job('busier', enabled => false);
SELECT jobsched.create_job('busier', '@weekly', 'SELECT 2', if_exists => 'update') = :busy AS same;
SELECT name, schedule, command, enabled, state, state_reason FROM jobsched.jobs WHERE job_id = :busy;
SELECT jobsched.drop_job('busier');
SELECT count(*) FROM jobsched.jobs WHERE job_id = :busy;
COMMIT;

--
-- pause, resume, enabled
--
SELECT jobsched.pause_job('once');
SELECT state, state_reason, enabled, next_run_at FROM jobsched.jobs WHERE name = 'once';
SELECT jobsched.pause_job('once', 'a reason');
SELECT state, state_reason FROM jobsched.jobs WHERE name = 'once';
SELECT jobsched.resume_job('once');
SELECT jobsched.resume_job('once');
SELECT state, state_reason, next_run_at IS NOT NULL AS scheduled FROM jobsched.jobs WHERE name = 'once';
SELECT jobsched.alter_job('once', enabled => false);
SELECT state, next_run_at FROM jobsched.jobs WHERE name = 'once';
-- paused and disabled are two things
SELECT jobsched.pause_job('once', 'both');
SELECT jobsched.resume_job('once');
SELECT state FROM jobsched.jobs WHERE name = 'once';
SELECT jobsched.alter_job('once', enabled => true);
SELECT state FROM jobsched.jobs WHERE name = 'once';

--
-- drop
--
SELECT jobsched.drop_job(name) FROM jobsched.jobs WHERE name NOT IN ('plain', 'once') ORDER BY job_id;
SELECT name FROM jobsched.jobs ORDER BY name;
SELECT jobsched.drop_job('plain');
SELECT jobsched.drop_job('plain');
-- NULL is no job; cancel_running => NULL is false
SELECT jobsched.drop_job(NULL);
SELECT jobsched.resume_job(NULL);
SELECT jobsched.drop_job('once', NULL);
SELECT count(*) FROM jobsched.jobs;

--
-- Names: unique for each owner; a name means one's own job first.
--
CREATE ROLE regress_job_a LOGIN;
CREATE ROLE regress_job_b LOGIN;
CREATE ROLE regress_job_both LOGIN IN ROLE regress_job_a, regress_job_b;
GRANT USAGE ON SCHEMA jobsched TO regress_job_a, regress_job_b, regress_job_both;
GRANT SELECT ON definitions TO regress_job_a, regress_job_b, regress_job_both;
SET ROLE regress_job_a;
SELECT jobsched.create_job('shared', command => 'SELECT 1') > 0 AS ok;
SELECT jobsched.create_job('only of a', command => 'SELECT 1') > 0 AS ok;
SET ROLE regress_job_b;
SELECT jobsched.create_job('shared', command => 'SELECT 1') > 0 AS ok;
SELECT test.refusal($$ SELECT jobsched.create_job('shared', command => 'SELECT 1') $$);
SELECT jobsched.alter_job('shared', description => 'of b');
SET ROLE regress_job_both;
\pset format unaligned
\pset tuples_only on
SELECT test.refusal($$ SELECT jobsched.alter_job('shared', description => 'whose?') $$);
SELECT test.refusal($$ SELECT jobsched.trigger('shared') $$);
\pset format aligned
\pset tuples_only off
SELECT jobsched.alter_job('only of a', description => 'changed by a member');
SELECT jobsched.create_job('shared', command => 'SELECT 1') > 0 AS ok;
SELECT jobsched.alter_job('shared', description => 'of both');
SELECT jobsched.create_job('shared', command => 'SELECT 1', owner => 'regress_job_b', description => 'of b, again',
	if_exists => 'update') > 0 AS ok;
SELECT name, owner, description FROM jobsched.jobs ORDER BY name, owner;
-- handing a job to somebody who has one of this name
SELECT test.refusal($$ SELECT jobsched.alter_job('shared', owner => 'regress_job_b') $$);
SELECT jobsched.drop_job('shared');
RESET ROLE;
-- A superuser may act for everybody.
SELECT test.refusal($$ SELECT jobsched.drop_job('shared') $$);
SELECT jobsched.alter_job('only of a', owner => 'regress_job_b');
SELECT name, owner, description FROM jobsched.jobs ORDER BY name, owner;
SET ROLE regress_job_a;
SELECT jobsched.drop_job('shared');
SELECT test.refusal($$ SELECT jobsched.drop_job('shared') $$);
RESET ROLE;
SELECT jobsched.drop_job('shared');
SELECT jobsched.drop_job('only of a');
SELECT count(*) FROM jobsched.jobs;

REVOKE USAGE ON SCHEMA jobsched FROM regress_job_a, regress_job_b, regress_job_both;
DROP VIEW definitions;
DROP FUNCTION public.handle, public.handle_void, public.handle_set, public.handle_text, public.handle_json, public.handle_none;
DROP PROCEDURE public.handle_procedure;
RESET SESSION AUTHORIZATION;
DROP ROLE regress_job_super, regress_job_both, regress_job_a, regress_job_b;
