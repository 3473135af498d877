-- Children: arguments, errors, views, and the ends of parents that need no
-- disaster.  The rest is in test/t/062_children.pl.

CREATE ROLE regress_children LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_children;
GRANT EXECUTE ON FUNCTION jobsched.http_request TO regress_children;
CREATE SCHEMA children AUTHORIZATION regress_children;
SET ROLE regress_children;
SET search_path = children;

-- outside a run
CREATE FUNCTION work(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF args ? 'fails' THEN
		RAISE EXCEPTION 'no';
	END IF;
	RETURN args;
END $$;
SELECT jobsched.create_job('work', handler => 'children.work') AS work \gset
SELECT jobsched.trigger('work', child => true);
SELECT jobsched.trigger('work', child => true, optional => true);
SELECT jobsched.trigger('work', optional => true);
SELECT jobsched.trigger_many('work', '{NULL}', child => true);
SELECT jobsched.trigger_many('work', '{NULL}', optional => true);
SELECT jobsched.http_request('GET', 'http://127.0.0.1:9/', child => true);
SELECT jobsched.http_get('http://127.0.0.1:9/', child => true);
SELECT jobsched.http_post('http://127.0.0.1:9/', child => true);
SELECT jobsched.http_put('http://127.0.0.1:9/', optional => true);
SELECT jobsched.http_patch('http://127.0.0.1:9/', child => true);
SELECT jobsched.http_delete('http://127.0.0.1:9/', child => true);

-- what a run queues is what the statement in its args says
CREATE FUNCTION parent(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE args ->> 'do';
	RETURN '{"own": "result"}';
END $$;
CREATE FUNCTION told(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT jobsched.log('notice', (args - 'run_id' - 'args')::text) $$;
SELECT jobsched.create_job('parent', handler => 'children.parent', on_failure => 'children.told', on_success => 'children.told') AS parent \gset
CREATE PROCEDURE run(what text, job text DEFAULT 'parent') LANGUAGE plpgsql AS $$
DECLARE
	id bigint := jobsched.trigger(job, jsonb_build_object('do', what));
	ended text;
	r record;
BEGIN
	COMMIT;
	CALL jobsched.wait_run(id, '60 s', ended);
	SELECT * INTO r FROM jobsched.runs WHERE run_id = id;
	RAISE INFO '% % % %', ended, r.reason, r.result, regexp_replace(r.error, 'run \d+', 'run N', 'g');
	FOR r IN SELECT c.job_name, c.status, c.reason, count(*) FROM jobsched.runs c
		WHERE c.parent_run_id = id GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
	LOOP
		RAISE INFO '% of %: % %', r.count, r.job_name, r.status, r.reason;
	END LOOP;
END $$;
CALL run($$ SELECT 1 $$);
CALL run($$ SELECT jobsched.trigger('work', child => true) $$);
CALL run($$ SELECT count(*) FROM jobsched.trigger_many('work', array_fill('{}'::jsonb, ARRAY[30]), child => true) $$);
CALL run($$ SELECT jobsched.trigger('work', '{"fails": 1}', child => true) $$);
CALL run($$ SELECT jobsched.trigger('work', '{"fails": 1}', child => true, optional => true) $$);
CALL run($$ SELECT jobsched.trigger('work', '{"fails": 1}') $$);
CALL run($$ SELECT jobsched.trigger('work', '{}', child => true), jobsched.trigger('work', '{"fails": 1}', child => true),
	jobsched.trigger('work', '{"fails": 1}', child => true, optional => true) $$);
CALL run($$ SELECT jobsched.http_get('http://127.0.0.1:9/', child => true, max_attempts => 1) $$);
CALL run($$ SELECT jobsched.http_post('http://127.0.0.1:9/', child => true, optional => true, max_attempts => 1) $$);
CALL run($$ SELECT jobsched.trigger('work', child => true); SELECT 1 / 0 $$);
CALL run($$ DO 'BEGIN PERFORM jobsched.trigger(''work'', child => true); RAISE ''gone''; EXCEPTION WHEN OTHERS THEN END' $$);

-- children that wait, for each other and for what has ended
CALL run($$ SELECT jobsched.trigger('work', child => true, after => ARRAY[jobsched.trigger('work', child => true)]) $$);
CALL run($$ SELECT jobsched.trigger('work', child => true, after => ARRAY[jobsched.trigger('work', '{"fails": 1}', child => true, optional => true)]) $$);
CALL run($$ SELECT jobsched.trigger('work', child => true, after => ARRAY(SELECT run_id FROM jobsched.runs WHERE status = 'succeeded')) $$);
CALL run($$ SELECT jobsched.trigger('work', child => true, after => ARRAY[jobsched.run_id()]) $$);
CALL run($$ SELECT jobsched.trigger('work', child => true, after => ARRAY[jobsched.trigger('work')]) $$);

-- grandchildren; a tree that is too deep
CREATE FUNCTION nest(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF (args ->> 'depth')::int > 0 THEN
		PERFORM jobsched.trigger('nest', jsonb_build_object('depth', (args ->> 'depth')::int - 1), child => true);
	END IF;
	RETURN args;
END $$;
SELECT jobsched.create_job('nest', handler => 'children.nest', max_concurrency => 1) AS nest \gset
SELECT jobsched.trigger('nest', '{"depth": 16}') AS nest \gset
CALL jobsched.wait_run(:nest, '60 s');
SELECT status, reason, count(*), count(parent_run_id) FROM jobsched.runs WHERE job_name = 'nest' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT jobsched.trigger('nest', '{"depth": 17}') AS nest \gset
CALL jobsched.wait_run(:nest, '60 s');
SELECT status, reason, regexp_replace(error, 'run \d+', 'run N', 'g') AS error, count(*) FROM jobsched.runs
	WHERE job_name = 'nest' AND run_id >= :nest GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- while it waits
SELECT jobsched.pause_job('work');
SELECT jobsched.trigger('parent', jsonb_build_object('do', $$ SELECT jobsched.trigger('work', child => true) $$)) AS waits \gset
CREATE PROCEDURE until_it_waits(id bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 6000 LOOP
		COMMIT;
		EXIT WHEN EXISTS (SELECT FROM jobsched.runs WHERE run_id = id AND reason = 'waiting_for_children');
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CALL until_it_waits(:waits);
SELECT status, reason, attempt, started_at IS NOT NULL AS started, finished_at, result, worker_pid FROM jobsched.runs WHERE run_id = :waits;
SELECT status, reason, attempt, started_at IS NOT NULL AS started, finished_at FROM jobsched.attempts WHERE run_id = :waits;
SELECT count(*) FROM jobsched.running WHERE run_id = :waits;
SELECT count(*) FROM jobsched.upcoming WHERE run_id = :waits;
SELECT status, reason, parent_run_id = :waits AS child FROM jobsched.runs WHERE parent_run_id = :waits;
SELECT jobsched.cancel_runs(status => 'waiting');
\set VERBOSITY sqlstate
SELECT jobsched.retry_run(:waits);
\set VERBOSITY default
SELECT jobsched.cancel_run(:waits);
CALL jobsched.wait_run(:waits, '60 s');
SELECT status, reason, started_at IS NOT NULL AS started, result, worker_pid IS NOT NULL AS worker FROM jobsched.runs WHERE run_id = :waits;
SELECT status, reason FROM jobsched.runs WHERE parent_run_id = :waits;
SELECT jobsched.resume_job('work');

-- what callbacks were told
CREATE PROCEDURE until_all_have_ended() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 6000 LOOP
		COMMIT;
		EXIT WHEN NOT EXISTS (SELECT FROM jobsched.runs WHERE status IN ('queued', 'running', 'retrying'));
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CALL until_all_have_ended();
SELECT regexp_replace(message, 'run \d+', 'run N', 'g') AS message, count(*) FROM jobsched.run_logs
	WHERE job_name = 'parent' AND message LIKE '%child_failed%' GROUP BY 1 ORDER BY 1;

-- a run that is retried by hand does it all again
SELECT max(run_id) AS failed FROM jobsched.runs WHERE reason = 'child_failed' AND job_name = 'parent' \gset
SELECT jobsched.retry_run(:failed) AS again \gset
CALL jobsched.wait_run(:again, '60 s');
SELECT status, reason, parent_run_id FROM jobsched.runs WHERE run_id = :again;
SELECT count(*) FROM jobsched.runs WHERE parent_run_id = :again;
CALL until_all_have_ended();

SELECT jobsched.drop_job(name) FROM jobsched.jobs ORDER BY name;
RESET search_path;
RESET ROLE;
DROP SCHEMA children CASCADE;
REVOKE EXECUTE ON FUNCTION jobsched.http_request FROM regress_children;
REVOKE USAGE ON SCHEMA jobsched FROM regress_children;
DROP ROLE regress_children;
