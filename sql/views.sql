--
-- Looking at jobs and runs.
--

-- Names and types of columns are a contract.
SELECT c.relname AS view, a.attnum AS nr, a.attname AS "column", format_type(a.atttypid, a.atttypmod) AS type
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'jobsched'::regnamespace AND c.relkind = 'v' AND a.attnum > 0
ORDER BY c.relname COLLATE "C", a.attnum;

CREATE ROLE regress_views LOGIN;
CREATE ROLE regress_views_gone LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_views;

--
-- jobs: states
--
SELECT jobsched.create_job('active', '0 0 1 1 *', 'SELECT 1') > 0 AS ok;
SELECT jobsched.create_job('triggered only', command => 'SELECT 1') > 0 AS ok;
SELECT jobsched.create_job('disabled', '@daily', 'SELECT 1', enabled => false) > 0 AS ok;
SELECT jobsched.create_job('paused', '@daily', 'SELECT 1') > 0 AS ok;
SELECT jobsched.pause_job('paused', 'for a reason');
SELECT jobsched.create_job('completed', to_char(now() + interval '2 seconds', 'YYYY-MM-DD HH24:MI:SSOF'), 'SELECT 1') > 0 AS ok;
BEGIN;
SELECT jobsched.create_job('invalid', '* * * * * *', 'SELECT 1', owner => 'regress_views_gone') > 0 AS ok;
SELECT jobsched.create_job('ownerless', command => 'SELECT 1', owner => 'regress_views_gone') > 0 AS ok;
DROP ROLE regress_views_gone;
COMMIT;
CALL test.until($$ SELECT state = 'invalid' FROM jobsched.jobs WHERE name = 'invalid' $$);
CALL test.until($$ SELECT state = 'completed' AND last_status IS NOT NULL FROM jobsched.jobs WHERE name = 'completed' $$);
SELECT name, state, regexp_replace(state_reason, 'OID \d+', 'OID n') AS state_reason, next_run_at > now() AS scheduled, last_status, recent
FROM jobsched.jobs WHERE name <> 'ownerless' ORDER BY name COLLATE "C";
SELECT regexp_replace(owner, '\d+', 'n') AS owner FROM jobsched.jobs WHERE name = 'invalid';
-- A run of a job whose owner is gone fails, and says why.
SELECT jobsched.trigger('ownerless') AS run \gset
CALL jobsched.wait_run(:run, '60 s');
SELECT reason, sqlstate, regexp_replace(error, 'OID \d+', 'OID n') AS error, started_at FROM jobsched.runs WHERE run_id = :run;
-- A job that is put right is valid again, and one that has completed goes on with a new schedule.
SELECT jobsched.alter_job('invalid', owner => current_user, schedule => '@yearly');
SELECT jobsched.alter_job('completed', schedule => '@yearly');
CALL test.until($$ SELECT count(*) = 2 FROM jobsched.jobs WHERE name IN ('invalid', 'completed') AND state = 'active' AND next_run_at > now() $$);
SELECT name, state, state_reason FROM jobsched.jobs WHERE name IN ('invalid', 'completed') ORDER BY name;

--
-- jobs: what has become of the runs
--
SELECT jobsched.create_job('outcomes', command => $$SELECT 1 / (jobsched.args() ->> 'n')::int$$) > 0 AS ok;
SELECT last_status, last_run_id, last_started_at, last_finished_at, last_duration, consecutive_failures, recent
FROM jobsched.jobs WHERE name = 'outcomes';
-- Runs a job with each number; 0 fails.
CREATE PROCEDURE outcomes(VARIADIC numbers int[]) LANGUAGE plpgsql AS $$
DECLARE
	n int; status text; result jsonb; sqlstate text; error text;
BEGIN
	FOREACH n IN ARRAY numbers LOOP
		CALL test.run_now('outcomes', jsonb_build_object('n', n), status, result, sqlstate, error);
	END LOOP;
	CALL test.until($q$ SELECT last_run_id = (SELECT max(run_id) FROM jobsched.runs WHERE job_name = 'outcomes')
		FROM jobsched.jobs WHERE name = 'outcomes' $q$);
END
$$;
CALL outcomes(1);
SELECT last_status, consecutive_failures, recent, last_started_at <= last_finished_at AS in_order,
	last_duration = last_finished_at - last_started_at AS lasted,
	last_started_at > now() - interval '1 minute' AS just_now
FROM jobsched.jobs WHERE name = 'outcomes';
CALL outcomes(0);
SELECT last_status, consecutive_failures, recent FROM jobsched.jobs WHERE name = 'outcomes';
CALL outcomes(0, 0, 1, 0, 0);
SELECT last_status, consecutive_failures, recent FROM jobsched.jobs WHERE name = 'outcomes';
-- a cancelled run neither adds to the failures nor ends them
SELECT jobsched.alter_job('outcomes', command => 'SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)');
CALL outcomes(0);
SELECT last_status, consecutive_failures, recent FROM jobsched.jobs WHERE name = 'outcomes';
SELECT jobsched.alter_job('outcomes', command => $$SELECT 1 / (jobsched.args() ->> 'n')::int$$);
CALL outcomes(1);
SELECT last_status, consecutive_failures, recent FROM jobsched.jobs WHERE name = 'outcomes';
-- the strip is of the last twenty
CALL outcomes(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0);
SELECT last_status, consecutive_failures, recent, length(recent) FROM jobsched.jobs WHERE name = 'outcomes';
-- It outlives the scheduler.
SELECT substring(value FROM '\d+') AS scheduler FROM jobsched.health() WHERE "check" = 'scheduler' \gset
SELECT pg_terminate_backend(:scheduler, 60000);
CALL test.until($$ SELECT value <> 'pid $$ || :scheduler || $$' AND status = 'ok' FROM jobsched.health() WHERE "check" = 'scheduler' $$);
CALL outcomes(0);
SELECT last_status, consecutive_failures, recent FROM jobsched.jobs WHERE name = 'outcomes';

--
-- running, with progress; workers; runs of all kinds
--
SELECT jobsched.create_job('running', owner => 'regress_views', args => '{"a": 1}', command => $$
	SELECT jobsched.progress(3, 10, 'three of ten');
	SELECT pg_advisory_lock(4712);
	SELECT pg_advisory_unlock(4712);
	SELECT jobsched.progress(10);
	SELECT pg_advisory_lock(4713)$$) > 0 AS ok;
SELECT pg_advisory_lock(4712), pg_advisory_lock(4713);
SELECT jobsched.trigger('running', '{"b": 2}') AS run \gset
CALL test.until($$ SELECT progress_done = 3 FROM jobsched.running WHERE job_name = 'running' $$);
SELECT run_id = :run AS its_id, job_name, owner, attempt, source, scheduled_for, progress_done, progress_total, progress_message,
	elapsed >= interval '0' AS elapsed, started_at <= clock_timestamp() AS started, worker_pid > 0 AS pid
FROM jobsched.running;
SELECT status, reason, started_at IS NOT NULL AS started, finished_at, duration, args, result, worker_pid > 0 AS pid, attempt
FROM jobsched.runs WHERE run_id = :run;
SELECT owner, state, run_id = :run AS its_run, pid > 0 AS pid, assigned FROM jobsched.workers WHERE owner = 'regress_views';
-- It is not among what is to come.
SELECT count(*) FROM jobsched.upcoming WHERE run_id = :run;
-- The owner sees it, and its process; another role neither.
SET ROLE regress_views;
SELECT count(*) FROM jobsched.running;
SELECT count(*) FROM jobsched.workers;
RESET ROLE;
SELECT pg_advisory_unlock(4712);
CALL test.until($$ SELECT progress_done = 10 FROM jobsched.running WHERE job_name = 'running' $$);
SELECT progress_done, progress_total, progress_message FROM jobsched.running;
SELECT pg_advisory_unlock(4713);
CALL jobsched.wait_run(:run, '60 s');
CALL test.until($$ SELECT count(*) = 0 FROM jobsched.running $$);
CALL test.until($$ SELECT state = 'idle' FROM jobsched.workers WHERE owner = 'regress_views' $$);
SELECT owner, state, run_id, runs, assigned FROM jobsched.workers WHERE owner = 'regress_views';
-- The next run of the worker starts without progress.
SELECT jobsched.alter_job('running', command => 'SELECT pg_advisory_lock(4712)');
SELECT pg_advisory_lock(4712);
SELECT jobsched.trigger('running') AS run \gset
CALL test.until($$ SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted $$);
SELECT progress_done, progress_total, progress_message FROM jobsched.running;
SELECT pg_advisory_unlock(4712);
CALL jobsched.wait_run(:run, '60 s');
-- A message that is too long is cut.
SELECT jobsched.alter_job('running', command => $$SELECT jobsched.progress(NULL, NULL, repeat('m', 1000)); SELECT pg_advisory_lock(4712)$$);
SELECT pg_advisory_lock(4712);
SELECT jobsched.trigger('running') AS run \gset
CALL test.until($$ SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted $$);
SELECT progress_done, progress_total, length(progress_message) FROM jobsched.running;
SELECT pg_advisory_unlock(4712);
CALL jobsched.wait_run(:run, '60 s');

-- A slot that comes while a run of the job is live is passed over; one row
-- tells how many there were.
SELECT jobsched.create_job('overlap', '* * * * * *', 'SELECT pg_advisory_lock(4712)') AS job \gset
SELECT pg_advisory_lock(4712);
CALL test.until($$ SELECT count(*) = 1 FROM jobsched.running WHERE job_name = 'overlap' $$);
CALL test.until($$ SELECT skipped > 0 FROM jobsched_internal.job_state WHERE job_id = $$ || :job);
SELECT jobsched.pause_job('overlap');
SELECT pg_advisory_unlock(4712);
CALL test.until($$ SELECT count(*) = 1 FROM jobsched.runs WHERE job_name = 'overlap' AND status = 'skipped' $$);
SELECT status, reason, source, missed_count > 0 AS several, started_at IS NOT NULL AS started, scheduled_for IS NOT NULL AS slot, worker_pid > 0 AS pid
FROM jobsched.runs WHERE job_name = 'overlap' ORDER BY run_id;
CALL test.until($$ SELECT recent = '.S' FROM jobsched.jobs WHERE name = 'overlap' $$);
SELECT last_status, consecutive_failures, recent FROM jobsched.jobs WHERE name = 'overlap';

--
-- upcoming
--
DO $$ BEGIN PERFORM jobsched.drop_job(name) FROM jobsched.jobs; END $$;
SELECT jobsched.create_job('second', '2091-02-01 00:00:00', 'SELECT 1') > 0 AS ok;
SELECT jobsched.create_job('first', '2091-01-01 00:00:00', 'SELECT 1', timezone => 'Europe/Berlin') > 0 AS ok;
SELECT jobsched.create_job('never', command => 'SELECT 1') > 0 AS ok;
SELECT jobsched.create_job('startup', '@startup', 'SELECT 1') > 0 AS ok;
SELECT jobsched.create_job('off', '2091-01-01 00:00:00', 'SELECT 1', enabled => false) > 0 AS ok;
SELECT jobsched.create_job('paused', '2091-01-01 00:00:00', 'SELECT 1') > 0 AS ok;
SELECT jobsched.pause_job('paused');
SELECT jobsched.trigger('first', run_at => '2091-01-15 00:00:00+00') AS run \gset
SELECT run_at AT TIME ZONE 'UTC' AS utc, job_name, source, run_id = :run AS its_run, schedule, timezone, cardinality(next_runs) AS n, next_runs[1] = run_at AS first
FROM jobsched.upcoming ORDER BY run_at;
SELECT jobsched.create_job('yearly', '0 0 1 1 *', 'SELECT 1') > 0 AS ok;
SELECT next_runs = ARRAY(SELECT jobsched.next_runs('0 0 1 1 *')) AS next_five, next_runs[1] = run_at AS first, run_id
FROM jobsched.upcoming WHERE job_name = 'yearly';
-- the same as what jobs tells
SELECT count(*) FROM jobsched.upcoming u JOIN jobsched.jobs j USING (job_id) WHERE u.source = 'schedule' AND u.run_at IS DISTINCT FROM j.next_run_at;
-- a schedule with H: the same minutes here as there
SELECT jobsched.create_job('hashed', 'H H * * *', 'SELECT 1') > 0 AS ok;
SELECT u.next_runs[1] = j.next_run_at AS same, u.next_runs[2] > j.next_run_at AS later
FROM jobsched.upcoming u JOIN jobsched.jobs j USING (job_id) WHERE u.job_name = 'hashed';

--
-- health()
--
-- (requests of the tests before may have left their process behind for a while)
SELECT "check", status, regexp_replace(replace(value, '0 of 1000 in flight', 'idle'), '\d+', 'n', 'g') AS value, message FROM jobsched.health();
-- anybody may ask
SET ROLE regress_views;
SELECT count(*) FROM jobsched.health() WHERE status = 'ok';
RESET ROLE;
-- an invalid job
BEGIN;
CREATE ROLE regress_views_gone LOGIN;
SELECT jobsched.create_job('invalid', '* * * * * *', 'SELECT 1', owner => 'regress_views_gone') > 0 AS ok;
DROP ROLE regress_views_gone;
COMMIT;
CALL test.until($$ SELECT state = 'invalid' FROM jobsched.jobs WHERE name = 'invalid' $$);
CALL test.until($$ SELECT count(*) = 1 FROM jobsched.health() WHERE status <> 'ok' $$);
SELECT "check", status, value, message FROM jobsched.health() WHERE status <> 'ok';
SELECT jobsched.drop_job('invalid');
CALL test.until($$ SELECT count(*) = 0 FROM jobsched.health() WHERE status <> 'ok' $$);
SELECT "check", status, value, message FROM jobsched.health() WHERE status <> 'ok';
-- switched off
ALTER SYSTEM SET jobsched.enabled = off;
SELECT pg_reload_conf();
CALL test.until($$ SELECT NOT enabled FROM jobsched_internal.scheduler() $$);
SELECT "check", status, value, message FROM jobsched.health() WHERE "check" = 'enabled';
SELECT jobsched.trigger('never') AS run \gset
SELECT jobsched.create_job('not now', '* * * * * *', 'SELECT 1') > 0 AS ok;
\set VERBOSITY sqlstate
CALL jobsched.wait_run(:run, '100 ms');
\set VERBOSITY default
SELECT status FROM jobsched.runs WHERE run_id = :run;
ALTER SYSTEM RESET jobsched.enabled;
SELECT pg_reload_conf();
CALL jobsched.wait_run(:run, '60 s');
CALL test.until($$ SELECT last_status = 'succeeded' FROM jobsched.jobs WHERE name = 'not now' $$);

-- switched off for one database
ALTER DATABASE postgres SET jobsched.enabled = off;
SELECT pg_reload_conf();
CALL test.until($$ SELECT NOT enabled FROM jobsched_internal.scheduler() $$);
SELECT jobsched.trigger('never') AS run \gset
\set VERBOSITY sqlstate
CALL jobsched.wait_run(:run, '100 ms');
\set VERBOSITY default
ALTER DATABASE postgres RESET jobsched.enabled;
SELECT pg_reload_conf();
CALL jobsched.wait_run(:run, '60 s');

DO $$ BEGIN PERFORM jobsched.drop_job(name) FROM jobsched.jobs; END $$;
CALL test.until($$ SELECT count(*) = 0 FROM jobsched_internal.run $$);
DROP PROCEDURE outcomes;
REVOKE USAGE ON SCHEMA jobsched FROM regress_views;
DROP ROLE regress_views;
