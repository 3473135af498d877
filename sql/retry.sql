-- Retries, as SQL sees them: the policy of a job, attempts, snooze(),
-- discard(), retry_run() and redrive().
CREATE ROLE regress_retry_owner LOGIN;
CREATE ROLE regress_retry_other LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_retry_owner, regress_retry_other;
CREATE SCHEMA retry_test AUTHORIZATION regress_retry_owner;
SET ROLE regress_retry_owner;
SET search_path = retry_test;

-- what is refused
SELECT jobsched.create_job('bad', command => 'SELECT 1', max_attempts => -1);
SELECT jobsched.create_job('bad', command => 'SELECT 1', max_attempts => 1001);
SELECT jobsched.create_job('bad', command => 'SELECT 1', backoff => 'sometimes');
SELECT jobsched.create_job('bad', command => 'SELECT 1', backoff_base => '-1 s');
SELECT jobsched.create_job('bad', command => 'SELECT 1', backoff_max => '1 month');
SELECT jobsched.create_job('bad', command => 'SELECT 1', backoff_jitter => 1.5);
SELECT jobsched.create_job('bad', command => 'SELECT 1', backoff_jitter => 'NaN');
SELECT jobsched.create_job('bad', command => 'SELECT 1', retry_delays => '{1 s,-1 s}');
SELECT jobsched.create_job('bad', command => 'SELECT 1', retry_delays => '{1 s,NULL}');
SELECT jobsched.create_job('bad', command => 'SELECT 1', retry_delays => '{{1 s},{2 s}}');
SELECT jobsched.create_job('bad', command => 'SELECT 1', retry_on => '{40001,4000}');
SELECT jobsched.create_job('bad', command => 'SELECT 1', retry_on => '{40p01}');
SELECT jobsched.create_job('bad', command => 'SELECT 1', no_retry_on => '{always}');
SELECT jobsched.create_job('bad', command => 'SELECT 1', no_retry_on => array_fill('08'::text, ARRAY[101]));

-- a policy is kept, changed and removed
\set policy 'SELECT max_attempts, backoff, backoff_base, backoff_max, backoff_jitter AS jitter, retry_delays, retry_on, no_retry_on FROM jobsched.jobs WHERE name = \'plain\''
SELECT jobsched.create_job('plain', command => 'SELECT 1') IS NOT NULL AS created;
:policy;
SELECT jobsched.alter_job('plain', max_attempts => 7, backoff => 'linear', backoff_base => '1 s', backoff_max => '1 min',
	backoff_jitter => 0, retry_delays => '{1 s,5 s}', retry_on => '{all}', no_retry_on => '{22,23505,lost}');
SELECT jobsched.alter_job('plain', description => 'the policy stays');
:policy;
SELECT jobsched.alter_job('plain', max_attempts => 0, retry_delays => '{}', retry_on => '{}', no_retry_on => '{}');
:policy;
SELECT jobsched.create_job('plain', command => 'SELECT 1', max_attempts => 2, retry_on => '{all}', if_exists => 'update') IS NOT NULL AS updated;
SELECT jobsched.create_job('plain', command => 'SELECT 1', if_exists => 'update') IS NOT NULL AS updated;
:policy;
SELECT jobsched.trigger('plain', max_attempts => -1);
SELECT jobsched.trigger_many('plain', ARRAY[NULL::jsonb], max_attempts => 2000);

-- A job that fails with what its arguments say, until the attempt they say;
-- messages and effects of attempts that failed are told apart.
CREATE TABLE effect (run_id bigint, attempt int);
CREATE FUNCTION fail(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO retry_test.effect VALUES (jobsched.run_id(), jobsched.attempt());
	PERFORM jobsched.log('info', 'attempt ' || jobsched.attempt());
	IF jobsched.attempt() < (args ->> 'until')::int THEN
		RAISE EXCEPTION 'attempt % fails', jobsched.attempt() USING ERRCODE = args ->> 'code';
	END IF;
	RETURN to_jsonb(jobsched.attempt());
END $$;
SELECT jobsched.create_job('fails', handler => 'retry_test.fail', args => '{"code": "40001", "until": 100}',
	backoff_base => '10 ms', backoff_jitter => 0) IS NOT NULL AS created;
CREATE PROCEDURE run(job text, args jsonb DEFAULT NULL, max_attempts int DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
	id bigint := jobsched.trigger(job, args, max_attempts => max_attempts);
	r record;
	ended text;
BEGIN
	COMMIT;
	CALL jobsched.wait_run(id, '1 min', ended);
	SELECT status, attempt, reason, sqlstate, result INTO r FROM jobsched.runs WHERE run_id = id;
	RAISE NOTICE '%, attempt %, %, %, result %, attempts: %, effects: %', r.status, r.attempt, r.reason, r.sqlstate, r.result,
		(SELECT string_agg(a.attempt || ' ' || a.status, ', ' ORDER BY a.attempt) FROM jobsched.attempts a WHERE a.run_id = id),
		(SELECT array_agg(e.attempt) FROM retry_test.effect e WHERE e.run_id = id);
END $$;
-- three attempts by default; what passes is worth them
CALL run('fails');
CALL run('fails', '{"until": 2}');
CALL run('fails', '{"code": "40P01", "until": 3}');
CALL run('fails', '{"code": "08006"}');
CALL run('fails', '{"code": "53100", "until": 2}');
-- what does not pass is not
CALL run('fails', '{"code": "22012"}');
CALL run('fails', '{"code": "P0001"}');
-- as often as is asked for
CALL run('fails', max_attempts => 5);
CALL run('fails', max_attempts => 1);
SELECT jobsched.alter_job('fails', max_attempts => 2, retry_on => '{22,P0001}');
CALL run('fails', '{"code": "22012"}');
CALL run('fails', '{"code": "P0001", "until": 2}');
CALL run('fails');
SELECT jobsched.alter_job('fails', retry_on => '{all}', no_retry_on => '{22012}');
CALL run('fails', '{"code": "22012"}');
CALL run('fails', '{"code": "22003"}');
-- listed delays are attempts too
SELECT jobsched.alter_job('fails', max_attempts => 0, retry_delays => '{1 ms,2 ms,3 ms}');
CALL run('fails');
SELECT jobsched.alter_job('fails', max_attempts => 6);
CALL run('fails');
-- each attempt has its own record and messages
SELECT run_id AS last_run FROM jobsched.runs WHERE job_name = 'fails' ORDER BY run_id DESC LIMIT 1 \gset
SELECT a.attempt, a.status, a.reason, a.sqlstate, a.error, a.started_at < a.finished_at AS in_order,
	a.retry_at - a.finished_at AS waits, a.worker_pid IS NOT NULL AS has_pid, l.message
FROM jobsched.attempts a LEFT JOIN jobsched.run_logs l USING (run_id, attempt)
WHERE a.run_id = :last_run AND l.level = 'info' ORDER BY a.attempt;
-- a command of its own transactions is not repeated unless it is asked for
SELECT jobsched.create_job('apart', command => 'INSERT INTO retry_test.effect VALUES (jobsched.run_id(), jobsched.attempt()); SELECT pg_catalog.set_config(''lock_timeout'', ''1ms'', false), 1/0',
	mode => 'autocommit', retry_on => '{all}', backoff_base => '1 ms') IS NOT NULL AS created;
CALL run('apart');
CALL run('apart', max_attempts => 2);
-- nor is one by schedule
SELECT jobsched.create_job('by schedule', handler => 'retry_test.fail', args => '{"code": "40001", "until": 100}', schedule => '* * * * * *') IS NOT NULL AS created;
CREATE PROCEDURE wait_for(condition text) LANGUAGE plpgsql AS $$
DECLARE
	met boolean;
BEGIN
	FOR i IN 1 .. 3000 LOOP
		EXECUTE 'SELECT ' || condition INTO met;
		COMMIT;
		EXIT WHEN met;
		PERFORM pg_sleep(0.02);
	END LOOP;
	IF NOT met THEN
		RAISE EXCEPTION 'waited in vain for %', condition;
	END IF;
END $$;
CALL wait_for($$EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'by schedule' AND finished_at IS NOT NULL)$$);
SELECT jobsched.drop_job('by schedule');
SELECT DISTINCT status, attempt FROM jobsched.runs WHERE job_name = 'by schedule' AND reason <> 'job_dropped';

-- a run that waits for its next attempt
SELECT jobsched.alter_job('fails', retry_delays => '{1 hour}', retry_on => '{40001}', no_retry_on => '{}');
SELECT jobsched.trigger('fails') AS waits \gset
CALL wait_for($$EXISTS (SELECT FROM jobsched.runs WHERE status = 'retrying')$$);
SELECT status, reason, attempt, error, sqlstate, run_at > now() + interval '59 min' AS has_time FROM jobsched.runs WHERE run_id = :waits;
\set VERBOSITY sqlstate
SELECT jobsched.retry_run(:waits);
\set VERBOSITY default
SELECT jobsched.cancel_runs('fails', status => 'retrying');
CALL jobsched.wait_run(:waits, '1 min');
SELECT status, reason, attempt, started_at FROM jobsched.runs WHERE run_id = :waits;
SELECT attempt, status FROM jobsched.attempts WHERE run_id = :waits;

-- runs that share a transaction are retried one by one
SELECT jobsched.create_job('shares', handler => 'retry_test.fail', args => '{"code": "55P03", "until": 2}', share_transaction => true,
	backoff_base => '1 ms') IS NOT NULL AS created;
SELECT count(*) FROM jobsched.trigger_many('shares', ARRAY['{}', '{"until": 1}', '{"until": 9}', '{"code": "22012"}']::jsonb[]);
CALL wait_for($$NOT EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'shares' AND finished_at IS NULL)$$);
SELECT args, status, attempt, (SELECT array_agg(e.attempt) FROM effect e WHERE e.run_id = r.run_id) AS effects
FROM jobsched.runs r WHERE job_name = 'shares' ORDER BY run_id;

-- snooze() is no failure and no attempt of max_attempts; what was done stays
CREATE FUNCTION nap(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO retry_test.effect VALUES (jobsched.run_id(), jobsched.attempt());
	IF jobsched.attempt() <= (args ->> 'naps')::int THEN
		PERFORM jobsched.snooze('1 day');
		PERFORM jobsched.snooze('2 ms');
		IF args ? 'fails' THEN
			RAISE EXCEPTION 'too late to snooze';
		END IF;
	END IF;
	RETURN to_jsonb('awake'::text);
END $$;
SELECT jobsched.create_job('naps', handler => 'retry_test.nap', max_attempts => 1) IS NOT NULL AS created;
CALL run('naps', '{"naps": 4}');
CALL run('naps', '{"naps": 1, "fails": true}');
SELECT jobsched.alter_job('naps', share_transaction => true);
CALL run('naps', '{"naps": 2}');
SELECT jobsched.create_job('naps in a statement', command => 'SELECT jobsched.snooze(''1 ms'') WHERE jobsched.attempt() = 1', mode => 'autocommit') IS NOT NULL AS created;
CALL run('naps in a statement');
SELECT jobsched.snooze('1 s');
SELECT jobsched.snooze('-1 s');

-- what is given to snooze() is there in the next attempt: the last that was given, and not by
-- what was rolled back
CREATE TABLE seen (nr bigint GENERATED ALWAYS AS IDENTITY, run_id bigint, attempt int, state jsonb);
CREATE FUNCTION portion(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	step text := args -> 'steps' ->> jobsched.attempt() - 1;
BEGIN
	INSERT INTO retry_test.seen (run_id, attempt, state) VALUES (jobsched.run_id(), jobsched.attempt(), jobsched.state());
	IF step IS NOT NULL THEN
		EXECUTE step;
	END IF;
	RETURN jobsched.state();
END $$;
CREATE PROCEDURE portions(job text, VARIADIC steps text[]) LANGUAGE plpgsql AS $$
DECLARE
	id bigint := jobsched.trigger(job, jsonb_build_object('steps', steps));
	ended text;
BEGIN
	COMMIT;
	CALL jobsched.wait_run(id, '1 min', ended);
	RAISE NOTICE '%, result %, states: %', ended, (SELECT result FROM jobsched.runs WHERE run_id = id),
		(SELECT string_agg(s.attempt || ' ' || COALESCE(s.state::text, '-'), ', ' ORDER BY s.nr) FROM retry_test.seen s WHERE s.run_id = id);
END $$;
SELECT jobsched.create_job('portions', handler => 'retry_test.portion', backoff_base => '1 ms') IS NOT NULL AS created;
CALL portions('portions', $$SELECT jobsched.snooze('0', '{"next": 2}')$$, $$SELECT jobsched.snooze('0', '{"next": 3}')$$);
CALL portions('portions', $$SELECT jobsched.snooze('0')$$, $$SELECT jobsched.snooze('0', '1')$$, $$SELECT jobsched.snooze('0')$$,
	$$SELECT jobsched.snooze('1 day', '2'), jobsched.snooze('0')$$, $$SELECT jobsched.snooze('0', 'null')$$);
CALL portions('portions', $$SELECT jobsched.snooze(NULL, '1')$$);
-- an attempt that fails, or an end that it did not snooze for, changes nothing
CALL portions('portions', $$SELECT jobsched.snooze('0', '1')$$, $$DO 'BEGIN PERFORM jobsched.snooze(''0'', ''2''); RAISE EXCEPTION SQLSTATE ''40001''; END'$$,
	$$SELECT jobsched.snooze('0')$$);
CALL portions('portions', $$DO 'BEGIN PERFORM jobsched.snooze(''0'', ''2''); RAISE EXCEPTION SQLSTATE ''40001''; END'$$);
CALL portions('portions', $$DO 'BEGIN PERFORM jobsched.snooze(''0'', ''1''); BEGIN PERFORM jobsched.snooze(''1 day'', ''2''); RAISE EXCEPTION ''no''; EXCEPTION WHEN raise_exception THEN NULL; END; END'$$);
CALL portions('portions', $$DO 'BEGIN BEGIN PERFORM jobsched.snooze(''1 day'', ''2''); RAISE EXCEPTION ''no''; EXCEPTION WHEN raise_exception THEN NULL; END; END'$$);
CALL portions('portions', $$DO 'BEGIN PERFORM jobsched.snooze(''1 day'', ''1''); BEGIN BEGIN PERFORM jobsched.snooze(''1 day'', ''2''); PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN PERFORM jobsched.snooze(''0''); END; EXCEPTION WHEN raise_exception THEN NULL; END; END'$$);
CALL portions('portions', $$DO 'BEGIN FOR i IN 1 .. 1000 LOOP BEGIN PERFORM jobsched.snooze(''0'', to_jsonb(i)); IF i % 7 = 0 THEN PERFORM 1/0; END IF; EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END'$$);
-- also of runs that share a transaction
SELECT jobsched.alter_job('portions', share_transaction => true);
SELECT count(*) FROM jobsched.trigger_many('portions', ARRAY['{"steps": ["SELECT jobsched.snooze(''0'', ''\"a\"'')"]}', '{"steps": ["SELECT 1/0"]}', '{}',
	'{"steps": ["SELECT jobsched.snooze(''0'', ''\"b\"'')", "SELECT jobsched.snooze(''0'')"]}', '{"steps": ["SELECT jobsched.snooze(''0'')"]}']::jsonb[]);
CALL wait_for($$NOT EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'portions' AND finished_at IS NULL)$$);
SELECT status, attempt, result FROM jobsched.runs WHERE job_name = 'portions' ORDER BY run_id DESC LIMIT 5;
-- a procedure that commits, and one that rolls back
CREATE PROCEDURE in_steps() LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO retry_test.seen (run_id, attempt, state) VALUES (jobsched.run_id(), jobsched.attempt(), jobsched.state());
	COMMIT;
	IF jobsched.attempt() = 1 THEN
		PERFORM jobsched.snooze('1 ms', '"kept"');
		COMMIT;
		PERFORM jobsched.snooze('1 day', '"rolled back"');
		ROLLBACK;
	ELSIF jobsched.attempt() = 2 THEN
		PERFORM jobsched.snooze('1 day', '"failed"');
		COMMIT;
		RAISE EXCEPTION SQLSTATE '40001';
	ELSIF jobsched.attempt() = 3 THEN
		PERFORM jobsched.snooze('1 day', '"rolled back"');
		ROLLBACK;
	END IF;
END $$;
SELECT jobsched.create_job('portions of a procedure', command => 'CALL retry_test.in_steps()', max_attempts => 2, backoff_base => '1 ms') IS NOT NULL AS created;
CALL portions('portions of a procedure', '');
-- a retry by hand is another run
CALL portions('portions', $$SELECT jobsched.snooze('0', '1')$$, $$SELECT jobsched.discard('no')$$);
SELECT jobsched.retry_run(max(run_id)) AS again FROM seen \gset
CALL jobsched.wait_run(:again, '1 min');
SELECT attempt, state FROM seen WHERE run_id = :again;
-- how large it may be, by hand too
SELECT jobsched.snooze('1 s', '{"a": 1}'), jobsched.state();
SELECT jobsched.snooze('1 s', to_jsonb(repeat('x', 18 * 1024 * 1024)));
CALL portions('portions', $$SELECT jobsched.snooze('0', to_jsonb(repeat('x', 5000000)))$$, $$DO 'BEGIN ASSERT length(jobsched.state() #>> ''{}'') = 5000000; PERFORM jobsched.snooze(''0'', ''"small"''); UPDATE retry_test.seen SET state = NULL WHERE run_id = jobsched.run_id(); END'$$);
CALL portions('portions', $$SELECT jobsched.snooze('0', to_jsonb(repeat('x', 18 * 1024 * 1024)))$$);
SELECT sqlstate, error FROM jobsched.runs WHERE job_name = 'portions' ORDER BY run_id DESC LIMIT 1;

-- discard() ends it
SELECT jobsched.create_job('gives up', command => $$SELECT jobsched.discard('no such customer')$$, max_attempts => 5, retry_on => '{all}') IS NOT NULL AS created;
CALL run('gives up');
SELECT error FROM jobsched.dead_letters WHERE job_name = 'gives up';
DO $$ BEGIN PERFORM jobsched.discard(NULL); EXCEPTION WHEN SQLSTATE 'JS001' THEN RAISE NOTICE '%', SQLERRM; END $$;

-- dead letters, by hand
SELECT run_id AS dead FROM jobsched.dead_letters WHERE job_name = 'gives up' \gset
RESET ROLE;
SET ROLE regress_retry_other;
SELECT count(*) FROM jobsched.dead_letters;
SELECT count(*) FROM jobsched.attempts;
\set VERBOSITY sqlstate
SELECT jobsched.retry_run(:dead);
SELECT jobsched.redrive('gives up');
\set VERBOSITY default
RESET ROLE;
SET ROLE regress_retry_owner;
SELECT jobsched.retry_run(-1);
BEGIN READ ONLY;
SELECT jobsched.retry_run(:dead);
ROLLBACK;
SELECT jobsched.alter_job('gives up', command => 'SELECT jobsched.args() || jsonb_build_object(''attempt'', jobsched.attempt())');
BEGIN;
SELECT jobsched.retry_run(:dead) IS NOT NULL AS not_yet;
ROLLBACK;
SELECT jobsched.retry_run(:dead) AS again \gset
CALL jobsched.wait_run(:again, '1 min');
SELECT source, result, attempt FROM jobsched.runs WHERE run_id = :again;
SELECT count(*) FROM jobsched.dead_letters WHERE job_name = 'gives up';
\set VERBOSITY sqlstate
SELECT jobsched.retry_run(:dead);
SELECT jobsched.retry_run(:again);
\set VERBOSITY default
-- of a whole job, oldest first
SELECT count(*) AS dead FROM jobsched.dead_letters WHERE job_name = 'fails' \gset
SELECT jobsched.alter_job('fails', handler => 'retry_test.nap', args => '{"naps": 0}');
SELECT count(*) FROM jobsched.redrive('fails', since => 'infinity');
SELECT count(*) FROM jobsched.redrive('fails', max => 2);
SELECT count(*) OPERATOR(pg_catalog.=) :dead - 2 AS the_others FROM jobsched.redrive('fails');
SELECT count(*) FROM jobsched.redrive('fails');
SELECT jobsched.redrive('no such job');
CALL wait_for($$NOT EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'fails' AND finished_at IS NULL)$$);
SELECT status, source, count(*) OPERATOR(pg_catalog.=) :dead AS all_of_them FROM jobsched.runs WHERE job_name = 'fails' AND source = 'retry' GROUP BY 1, 2;
-- of a slot's runs one at a time
SELECT jobsched.create_job('slots', schedule => '0 0 1 1 *', timezone => 'UTC', command => 'SELECT 1/0', max_attempts => 1) IS NOT NULL AS created;
SELECT run_id AS first FROM jobsched.backfill('slots', '2020-01-01 UTC', '2020-01-02 UTC') \gset
CALL jobsched.wait_run(:first, '1 min');
SELECT run_id AS second FROM jobsched.backfill('slots', '2020-01-01 UTC', '2020-01-02 UTC') \gset
CALL jobsched.wait_run(:second, '1 min');
SELECT jobsched.pause_job('slots');
SELECT count(*) FROM jobsched.redrive('slots');
SELECT run_id = :second AS the_second_is_left FROM jobsched.dead_letters WHERE job_name = 'slots';
SELECT count(*) FROM jobsched.redrive('slots');
\set VERBOSITY sqlstate
SELECT jobsched.retry_run(:second);
\set VERBOSITY default
SELECT jobsched.alter_job('slots', command => 'SELECT 1');
SELECT jobsched.resume_job('slots');
CALL wait_for($$NOT EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'slots' AND finished_at IS NULL)$$);
SELECT count(*) FROM jobsched.redrive('slots');
SELECT count(*) FROM jobsched.dead_letters WHERE job_name = 'slots';
-- not without the job
SELECT jobsched.retry_run(:waits) IS NOT NULL AS one_that_was_cancelled;
SELECT run_id AS of_dropped FROM jobsched.dead_letters WHERE job_name = 'naps' \gset
SELECT jobsched.drop_job('naps');
\set VERBOSITY sqlstate
SELECT jobsched.retry_run(:of_dropped);
\set VERBOSITY default

RESET ROLE;
RESET search_path;
SELECT jobsched.drop_job(name) FROM (VALUES ('plain'), ('fails'), ('apart'), ('shares'), ('naps in a statement'), ('portions'), ('portions of a procedure'), ('gives up'), ('slots')) j (name);
DO $$ BEGIN
	FOR i IN 1 .. 3000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM jobsched.runs WHERE owner = 'regress_retry_owner' AND finished_at IS NULL);
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
DROP SCHEMA retry_test CASCADE;
REVOKE USAGE ON SCHEMA jobsched FROM regress_retry_owner, regress_retry_other;
DROP ROLE regress_retry_owner, regress_retry_other;
