-- cancel_run(), cancel_runs() and timeouts, as SQL sees them.
CREATE ROLE regress_cancel_owner LOGIN;
CREATE ROLE regress_cancel_other LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_cancel_owner, regress_cancel_other;
SET ROLE regress_cancel_owner;
SELECT jobsched.create_job('nap', command => 'SELECT pg_catalog.pg_sleep(600)') IS NOT NULL AS created;
SELECT jobsched.create_job('limited', command => 'SELECT pg_catalog.pg_sleep(600)', timeout => '200 ms', max_attempts => 1) IS NOT NULL AS created;

-- what is refused
SELECT jobsched.create_job('bad', command => 'SELECT 1', timeout => '-1 s');
SELECT jobsched.create_job('bad', command => 'SELECT 1', timeout => '1 month');
SELECT jobsched.create_job('bad', command => 'SELECT 1', timeout => '20 years');
SELECT jobsched.create_job('bad', command => 'SELECT 1', timeout => '3651 days');
SELECT jobsched.trigger('nap', timeout => '-1 s');
SELECT jobsched.cancel_run(-1);
SELECT jobsched.cancel_runs();
SELECT jobsched.cancel_runs(force => true);
SELECT jobsched.cancel_runs('no such job');
SELECT jobsched.cancel_runs(status => 'succeeded');
SELECT jobsched.cancel_runs(older_than => '-1 s');
BEGIN READ ONLY;
SELECT jobsched.cancel_run(1);
ROLLBACK;

-- a timeout is kept, changed and removed
SELECT name, timeout FROM jobsched.jobs WHERE owner = 'regress_cancel_owner' ORDER BY name;
SELECT jobsched.alter_job('nap', timeout => '1 day 2 hours');
SELECT jobsched.alter_job('nap', description => 'the timeout stays');
SELECT name, timeout FROM jobsched.jobs WHERE name = 'nap';
SELECT jobsched.alter_job('nap', timeout => '0');
SELECT name, timeout FROM jobsched.jobs WHERE name = 'nap';

-- a run that waits
SELECT jobsched.trigger('nap', run_at => now() + interval '1 hour') AS run_id \gset
SELECT jobsched.cancel_run(:run_id);
CALL jobsched.wait_run(:run_id, '1 min');
SELECT status, reason, attempt, started_at, error FROM jobsched.runs WHERE run_id = :run_id;
SELECT jobsched.cancel_run(:run_id) AS still_live;
-- not before the commit, and not without one
SELECT jobsched.trigger('nap', run_at => now() + interval '1 hour') AS run_id \gset
BEGIN;
SELECT jobsched.cancel_run(:run_id);
ROLLBACK;
SELECT status FROM jobsched.runs WHERE run_id = :run_id;
-- of a transaction that queues it
BEGIN;
SELECT jobsched.trigger('nap') AS at_once \gset
SELECT jobsched.cancel_run(:at_once);
COMMIT;
CALL jobsched.wait_run(:at_once, '1 min');
SELECT reason, started_at FROM jobsched.runs WHERE run_id = :at_once;
-- nobody else's
RESET ROLE;
SET ROLE regress_cancel_other;
\set VERBOSITY sqlstate
SELECT jobsched.cancel_run(:run_id);
\set VERBOSITY default
SELECT jobsched.cancel_runs(status => 'queued');
SELECT jobsched.cancel_runs('nap');
RESET ROLE;
SET ROLE regress_cancel_owner;
SELECT status FROM jobsched.runs WHERE run_id = :run_id;
-- many
SELECT count(*) FROM jobsched.trigger_many('limited', array_fill('{}'::jsonb, ARRAY[600]), run_at => now() + interval '1 hour');
SELECT jobsched.cancel_runs('limited', older_than => '1 hour');
SELECT jobsched.cancel_runs('limited', status => 'running');
SELECT max(run_id) AS last FROM jobsched.runs WHERE job_name = 'limited' \gset
SELECT jobsched.cancel_runs('limited', status => 'queued', older_than => '0');
CALL jobsched.wait_run(:last, '1 min');
SELECT status, reason, count(*) FROM jobsched.runs WHERE job_name = 'limited' GROUP BY 1, 2;
SELECT status FROM jobsched.runs WHERE run_id = :run_id;

-- a run that is executed
SELECT jobsched.trigger('limited') AS timed_out \gset
CALL jobsched.wait_run(:timed_out, '1 min');
SELECT status, reason, sqlstate, error, duration > '100 ms' AS had_its_time FROM jobsched.runs WHERE run_id = :timed_out;
SELECT jobsched.trigger('nap', timeout => '150 ms', max_attempts => 1) AS timed_out \gset
CALL jobsched.wait_run(:timed_out, '1 min');
SELECT error FROM jobsched.runs WHERE run_id = :timed_out;
SELECT run_id AS timed_out FROM jobsched.trigger_many('nap', ARRAY[NULL::jsonb], timeout => '160 ms', max_attempts => 1) AS run_id \gset
CALL jobsched.wait_run(:timed_out, '1 min');
SELECT error FROM jobsched.runs WHERE run_id = :timed_out;
-- the job cannot help it
SELECT jobsched.create_job('catches', timeout => '100 ms', max_attempts => 1, command => $$
	DO $x$
	BEGIN
		SET statement_timeout = 0;
		PERFORM pg_sleep(600);
	EXCEPTION WHEN query_canceled THEN
		RAISE NOTICE 'I go on';
	END $x$ $$) IS NOT NULL AS created;
SELECT jobsched.trigger('catches') AS timed_out \gset
CALL jobsched.wait_run(:timed_out, '1 min');
SELECT status, reason FROM jobsched.runs WHERE run_id = :timed_out;
SELECT message FROM jobsched.run_logs WHERE run_id = :timed_out;

-- nothing is left of what has been done
RESET ROLE;
SELECT count(*) FROM jobsched_internal.run_stop;
SELECT jobsched.drop_job(name) FROM (VALUES ('nap'), ('limited'), ('catches')) j (name);
REVOKE USAGE ON SCHEMA jobsched FROM regress_cancel_owner, regress_cancel_other;
DROP ROLE regress_cancel_owner, regress_cancel_other;
