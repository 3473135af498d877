-- Functions that are told of the end of runs: of jobs of each kind, what they
-- are told, and who is refused.
CREATE ROLE regress_callbacks LOGIN;
CREATE ROLE regress_callbacks_deaf;
GRANT USAGE ON SCHEMA jobsched TO regress_callbacks, regress_callbacks_deaf;
GRANT regress_callbacks_deaf TO regress_callbacks;
CREATE SCHEMA callbacks AUTHORIZATION regress_callbacks;
SET ROLE regress_callbacks;
SET search_path = callbacks;
CREATE TABLE told (nr bigint GENERATED ALWAYS AS IDENTITY, run_id bigint, function text, who name, args jsonb);
CREATE FUNCTION good(args jsonb) RETURNS void LANGUAGE sql AS $$
	INSERT INTO callbacks.told (run_id, function, who, args) VALUES ((args ->> 'run_id')::bigint, 'good', session_user, args) $$;
CREATE FUNCTION bad(args jsonb) RETURNS void LANGUAGE sql AS $$
	INSERT INTO callbacks.told (run_id, function, who, args) VALUES ((args ->> 'run_id')::bigint, 'bad', session_user, args) $$;
CREATE FUNCTION work(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF jobsched.attempt() <= (args ->> 'fails')::int THEN
		RAISE EXCEPTION 'attempt % fails', jobsched.attempt() USING ERRCODE = '40001';
	ELSIF args ? 'naps' AND jobsched.attempt() = 1 THEN
		PERFORM jobsched.snooze('0');
	ELSIF args ? 'large' THEN
		RETURN to_jsonb(repeat('x', 2000000));
	END IF;
	RETURN args -> 'returns';
END $$;

-- defined, changed and removed
SELECT jobsched.create_job('sql', command => 'SELECT 1 AS one', on_success => 'callbacks.good', on_failure => 'callbacks.bad') > 0 AS ok;
SELECT jobsched.create_job('bad', command => 'SELECT 1', on_success => 'callbacks.nothing');
SELECT jobsched.create_job('bad', command => 'SELECT 1', on_failure => 'pg_catalog.now');
SELECT jobsched.create_job('bad', command => 'SELECT 1', on_failure => 'good');
SELECT jobsched.alter_job('sql', on_failure => 'callbacks.nothing');
SELECT name, kind, on_success, on_failure FROM jobsched.jobs;
SELECT jobsched.alter_job('sql', on_success => '');
SELECT name, kind, on_success, on_failure FROM jobsched.jobs;
SELECT jobsched.alter_job('sql', handler => 'callbacks.work');
SELECT name, kind, on_success, on_failure FROM jobsched.jobs;
SELECT jobsched.create_job('sql', command => 'SELECT 1 AS one', if_exists => 'update') > 0 AS ok;
SELECT name, kind, on_success, on_failure FROM jobsched.jobs;
SELECT jobsched.create_job('sql', command => 'SELECT 1 AS one', on_success => 'callbacks.good', on_failure => 'callbacks.bad', if_exists => 'update') > 0 AS ok;
SELECT jobsched.alter_job('sql', owner => 'regress_callbacks_deaf');
SELECT jobsched.http_request('GET', 'http://127.0.0.1:9/', on_success => 'callbacks.good');

-- told once, after the last attempt
CREATE PROCEDURE run(job text, args jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
	id bigint := jobsched.trigger(job, args);
	ended text;
	callback bigint;
	t record;
BEGIN
	COMMIT;
	CALL jobsched.wait_run(id, '1 min', ended);
	-- queued with the end of the run
	SELECT c.run_id INTO callback FROM jobsched.runs c WHERE c.source = 'callback' AND c.args ->> 'run_id' = id::text;
	IF callback IS NULL THEN
		RAISE NOTICE '%, nobody is told', ended;
		RETURN;
	END IF;
	COMMIT;
	CALL jobsched.wait_run(callback, '1 min', ended);
	FOR t IN SELECT * FROM callbacks.told WHERE told.run_id = id LOOP
		RAISE NOTICE '% is told by %: %', t.function, t.who, t.args - 'run_id';
	END LOOP;
END $$;
CALL run('sql');
CALL run('sql', '{"a": 1}');
SELECT jobsched.alter_job('sql', command => 'SELECT 1/0');
CALL run('sql');
SELECT jobsched.alter_job('sql', command => 'SELECT pg_sleep(60)', timeout => '50 ms', max_attempts => 1);
CALL run('sql');
SELECT jobsched.create_job('function', handler => 'callbacks.work', args => '{"of": "job"}', on_success => 'callbacks.good', on_failure => 'callbacks.bad', backoff_base => '1 ms') > 0 AS ok;
CALL run('function', '{"returns": {"a": [1, null]}}');
CALL run('function', '{"returns": 7}');
CALL run('function', '{"returns": "x"}');
CALL run('function', '{"returns": null}');
CALL run('function', '{"returns": 1, "fails": 2}');
CALL run('function', '{"returns": 1, "naps": true}');
CALL run('function', '{"fails": 3}');
CALL run('function', '{"large": true}');
-- only one of them, and neither
SELECT jobsched.alter_job('function', on_success => '');
CALL run('function');
CALL run('function', '{"fails": 3}');
SELECT jobsched.alter_job('function', on_failure => '');
CALL run('function', '{"fails": 3}');
-- runs that share a transaction; what is told is not executed with them
SELECT jobsched.alter_job('function', on_success => 'callbacks.good', on_failure => 'callbacks.bad', share_transaction => true);
TRUNCATE told;
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
SELECT count(*) FROM jobsched.trigger_many('function', ARRAY(
	SELECT jsonb_build_object('returns', i, 'fails', CASE WHEN i % 10 = 0 THEN 9 ELSE 0 END) FROM generate_series(1, 50) i));
CALL wait_for($$(SELECT count(*) = 50 FROM callbacks.told)$$);
SELECT function, count(DISTINCT run_id), count(DISTINCT args -> 'result') AS results FROM told GROUP BY 1 ORDER BY 1;
CALL wait_for($$NOT EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'function' AND finished_at IS NULL)$$);
SELECT source, status, count(*) FROM jobsched.runs WHERE job_name = 'function' AND run_id >= (SELECT min(run_id) FROM told) GROUP BY 1, 2 ORDER BY 1, 2;
-- the owner's transactions may be read only, or commit by themselves
SELECT jobsched.create_job('read only', command => 'SET TRANSACTION READ ONLY; SELECT 2 AS two', on_success => 'callbacks.good', on_failure => 'callbacks.bad') > 0 AS ok;
CALL run('read only');
SELECT jobsched.create_job('apart', command => 'VACUUM callbacks.told', on_success => 'callbacks.good') > 0 AS ok;
CALL run('apart');
SELECT jobsched.create_job('commits', command => 'DO ''BEGIN COMMIT; END''', on_success => 'callbacks.good') > 0 AS ok;
CALL run('commits');
-- a callback that fails tells nobody
CREATE FUNCTION fails(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
SELECT jobsched.alter_job('commits', on_success => 'callbacks.fails', on_failure => 'callbacks.bad');
CALL run('commits');
CALL wait_for($$NOT EXISTS (SELECT FROM jobsched.runs WHERE finished_at IS NULL)$$);
SELECT source, status, error FROM jobsched.runs WHERE job_name = 'commits' ORDER BY run_id;
-- its failure is none of the job's
CALL wait_for($$(SELECT last_status = 'succeeded' FROM jobsched.jobs WHERE name = 'commits')$$);
SELECT last_status, consecutive_failures FROM jobsched.jobs WHERE name = 'commits';
-- who cancels a run knows
SELECT jobsched.trigger('commits', run_at => now() + interval '1 day') AS later \gset
SELECT jobsched.cancel_run(:later);
CALL jobsched.wait_run(:later, '1 min');
SELECT count(*) FROM jobsched.runs WHERE source = 'callback' AND args ->> 'run_id' = :'later';
SELECT jobsched.retry_run(:later) IS NOT NULL AS again;
CALL wait_for($$(SELECT count(*) = 2 FROM jobsched.runs WHERE handler = 'callbacks.fails' AND finished_at IS NOT NULL)$$);

-- what is too large for a run, or nested too deeply, is left out
SELECT jobsched.create_job('odd', command => 'SELECT 1', on_success => 'callbacks.good') > 0 AS ok;
TRUNCATE told;
SELECT jobsched.trigger('odd', jsonb_build_object('a', repeat('x', 17 * 1024 * 1024 - 100))) > 0 AS ok;
SELECT jobsched.trigger('odd', ('{"a": ' || repeat('[', 5000) || repeat(']', 5000) || '}')::jsonb) > 0 AS ok;
SELECT jobsched.trigger('odd', ('{"a": ' || repeat('[', 900) || repeat(']', 900) || '}')::jsonb) > 0 AS ok;
CALL wait_for($$(SELECT count(*) = 3 FROM callbacks.told)$$);
SELECT args ->> 'status' AS status, args ? 'result' AS has_result, args ? 'args' AS has_args FROM told ORDER BY (args ->> 'run_id')::bigint;

-- arguments that were not kept are none when it is called again
TRUNCATE told;
CREATE OR REPLACE FUNCTION fails(args jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO callbacks.told (args) VALUES (args) $$;
SELECT max(run_id) AS failed FROM jobsched.runs WHERE handler = 'callbacks.fails' \gset
RESET ROLE;
UPDATE jobsched_internal.history SET args = NULL WHERE run_id = :failed;
SET ROLE regress_callbacks;
SELECT jobsched.retry_run(:failed) IS NOT NULL AS again;
CALL wait_for($$EXISTS (SELECT FROM callbacks.told)$$);
SELECT args FROM told;

RESET ROLE;
RESET search_path;
SELECT count(jobsched.drop_job(name)) FROM (VALUES ('sql'), ('function'), ('read only'), ('apart'), ('commits'), ('odd')) j (name);
CALL callbacks.wait_for($$NOT EXISTS (SELECT FROM jobsched.runs WHERE owner = 'regress_callbacks' AND finished_at IS NULL)$$);
SET client_min_messages = warning;
DROP SCHEMA callbacks CASCADE;
RESET client_min_messages;
REVOKE USAGE ON SCHEMA jobsched FROM regress_callbacks, regress_callbacks_deaf;
DROP ROLE regress_callbacks, regress_callbacks_deaf;
