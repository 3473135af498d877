-- Durable procedures: what they may and may not do, and what is stored.  What a crash
-- leaves is in test/t/077_procedures.pl.

CREATE ROLE regress_procedures LOGIN;
CREATE ROLE regress_procedures_other LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_procedures, regress_procedures_other;
GRANT regress_procedures_other TO regress_procedures;
CREATE SCHEMA durable AUTHORIZATION regress_procedures;
SET ROLE regress_procedures;
SET search_path = durable;
CREATE TABLE effect (id serial, what text NOT NULL, UNIQUE (what) DEFERRABLE INITIALLY DEFERRED);
CREATE SEQUENCE numbers;
CREATE FUNCTION work(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO durable.effect (what) VALUES (args ->> 'what');
	IF args ? 'do' THEN
		EXECUTE args ->> 'do';
	END IF;
	RETURN jsonb_build_object('did', args -> 'what');
END $$;
CREATE FUNCTION large(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(string_agg(md5(n::text), '')) FROM generate_series(1, 100000) n $$;
CREATE FUNCTION nothing(jsonb) RETURNS void LANGUAGE sql AS $$ $$;
CREATE FUNCTION denied(jsonb) RETURNS void LANGUAGE sql AS $$ $$;
REVOKE EXECUTE ON FUNCTION denied FROM PUBLIC, regress_procedures;

-- What a procedure has to look like
CREATE PROCEDURE one(jsonb) LANGUAGE sql AS $$ $$;
CREATE PROCEDURE other(integer) LANGUAGE sql AS $$ $$;
CREATE PROCEDURE gives(jsonb, OUT jsonb) LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE PROCEDURE twice(INOUT jsonb) LANGUAGE plpgsql AS $$ BEGIN END $$;
SELECT jobsched.create_job('no', handler => 'durable.other');
SELECT jobsched.create_job('no', handler => 'durable.gives');
SELECT jobsched.create_job('no', handler => 'durable.twice');
SELECT jobsched.create_job('no', handler => 'durable.nobody');
SELECT jobsched.create_job('no', handler => 'durable.one', share_transaction => true);
SELECT jobsched.create_job('no', command => 'SELECT 1', on_success => 'durable.one');
SELECT jobsched.create_job('one', handler => 'durable.one') > 0 AS ok;
DROP PROCEDURE one, other, gives, twice;
CREATE PROCEDURE two(jsonb, INOUT jsonb) LANGUAGE plpgsql AS $$ BEGIN $2 := '"jsonb"'; END $$;
CREATE PROCEDURE two(jsonb, INOUT text) LANGUAGE plpgsql AS $$ BEGIN $2 := 'text'; END $$;
CREATE FUNCTION two(text) RETURNS text LANGUAGE sql AS $$ SELECT $1 $$;
SELECT jobsched.create_job('two', handler => 'durable.two') > 0 AS ok;
SELECT jobsched.trigger('two') AS run \gset
CALL jobsched.wait_run(:run, '1 min');
SELECT result FROM jobsched.runs WHERE run_id = :run;
SELECT jobsched.drop_job('two');
SELECT jobsched.drop_job('one');

-- Each run has a procedure of its own text.
CREATE PROCEDURE try(body text) LANGUAGE plpgsql AS $outer$
DECLARE
	run bigint;
	ended text;
	r record;
BEGIN
	TRUNCATE effect;
	EXECUTE format($$
		CREATE OR REPLACE PROCEDURE durable.handler(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS %L$$,
		'DECLARE r jsonb; s jsonb; i integer; BEGIN ' || body || ' END');
	COMMIT;	-- so that no worker has the old one any more
	run := jobsched.trigger('durable', '{"a": 1}');
	COMMIT;
	CALL jobsched.wait_run(run, '1 min', ended);
	SELECT * INTO r FROM jobsched.runs WHERE run_id = run;
	RAISE NOTICE '%', concat_ws(' ', r.status, r.reason, r.sqlstate, r.result);
	IF r.error IS NOT NULL THEN
		RAISE NOTICE '%', concat_ws(' | ', r.error, r.error_detail, r.error_hint);
	END IF;
	RAISE NOTICE 'effects %, steps %', (SELECT array_agg(what ORDER BY id) FROM effect),
		(SELECT array_agg(concat_ws(' ', s.seq, s.name, s.function, s.result) ORDER BY s.seq) FROM jobsched.procedure_steps s WHERE s.run_id = run);
END $outer$;
CREATE PROCEDURE handler(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS $$ BEGIN END $$;
SELECT jobsched.create_job('durable', handler => 'durable.handler', max_attempts => 1) > 0 AS ok;

-- Steps, their results, and loops over what is read
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "a"}', r); CALL jobsched.step('b', 'durable.work', r || '{"what": "b"}', s);
	result := jsonb_build_object('r', r, 's', s, 'args', args, 'run', jobsched.run_id() > 0); $$);
CALL try($$ FOR i IN SELECT n FROM generate_series(1, 3) n LOOP CALL jobsched.step('step ' || i, 'durable.work', jsonb_build_object('what', i), r); result := r; END LOOP; $$);
CALL try($$ CALL jobsched.step('a', 'durable.nothing', NULL, r); result := to_jsonb(r IS NULL); $$);
CALL try($$ result := to_jsonb(repeat('x', 100000)); FOR i IN 1 .. 2 LOOP CALL jobsched.step('a' || i, 'durable.nothing', result, r); END LOOP; result := to_jsonb(length(result::text)); $$);
-- A procedure that calls others
CREATE PROCEDURE inner_one(name text, INOUT r jsonb) LANGUAGE plpgsql AS $$ BEGIN CALL jobsched.step(name, 'durable.work', jsonb_build_object('what', name), r); END $$;
CALL try($$ CALL durable.inner_one('x', r); CALL durable.inner_one('y', r); result := r; $$);
-- Sleeps; code between steps is executed each time
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "a"}', r); CALL jobsched.sleep('s1', '1 ms'); CALL jobsched.step('b', 'durable.work', '{"what": "b"}', s);
	CALL jobsched.sleep('s2', '0'); result := jsonb_build_array(r, s, jobsched.attempt()); $$);
CALL try($$ BEGIN CALL jobsched.sleep('s1', '1 ms'); EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION 'caught'; END; result := '1'; $$);
CALL try($$ BEGIN CALL jobsched.sleep('s1', '1 ms'); EXCEPTION WHEN query_canceled THEN CALL jobsched.step('a', 'durable.work', '{"what": "a"}', r); END; result := '2'; $$);
CALL try($$ BEGIN CALL jobsched.sleep('s1', '1 ms'); EXCEPTION WHEN query_canceled THEN result := '"never"'; RETURN; END; result := '3'; $$);
CALL try($$ BEGIN CALL jobsched.sleep('s1', '1 ms'); EXCEPTION WHEN query_canceled THEN RAISE EXCEPTION 'mine'; END; result := '4'; $$);
CALL try($$ FOR i IN SELECT n FROM generate_series(1, 2) n LOOP CALL jobsched.step('step ' || i, 'durable.work', jsonb_build_object('what', i), r); CALL jobsched.sleep('s' || i, '0'); END LOOP; result := '5'; $$);

-- What is outside of steps
CALL try($$ INSERT INTO durable.effect (what) VALUES ('no'); $$);
CALL try($$ PERFORM nextval('durable.numbers'); $$);
CALL try($$ PERFORM setval('durable.numbers', 7); $$);
CALL try($$ CREATE TABLE durable.no (); $$);
CALL try($$ PERFORM jobsched.trigger('durable'); $$);
CALL try($$ PERFORM jobsched.send_event('x'); $$);
CALL try($$ PERFORM jobsched.alter_job('durable', enabled => false); $$);
CALL try($$ PERFORM jobsched.cancel_run(jobsched.run_id()); $$);
CALL try($$ PERFORM jobsched.snooze('0'); $$);
CALL try($$ SET TRANSACTION READ WRITE; $$);
CALL try($$ PERFORM set_config('transaction_read_only', 'off', false); $$);
CALL try($$ COMMIT; $$);
CALL try($$ ROLLBACK; $$);
CALL try($$ ROLLBACK; SET TRANSACTION READ WRITE; INSERT INTO durable.effect (what) VALUES ('no'); $$);
CALL try($$ ROLLBACK; SET TRANSACTION READ WRITE; INSERT INTO durable.effect (what) VALUES ('no'); SET TRANSACTION READ ONLY; CALL jobsched.step('a', 'durable.nothing', '{}', r); $$);
CALL try($$ ROLLBACK; SET TRANSACTION READ WRITE; INSERT INTO durable.effect (what) VALUES ('no'); COMMIT; $$);
CALL try($$ ROLLBACK; SET TRANSACTION READ WRITE; INSERT INTO durable.effect (what) VALUES ('no'); CALL jobsched.sleep('s', '0'); $$);
CALL try($$ SET default_transaction_read_only = off; CALL jobsched.step('a', 'durable.nothing', '{}', r); INSERT INTO durable.effect (what) VALUES ('no'); $$);
CALL try($$ SET ROLE regress_procedures_other; NOTIFY x; SET work_mem = 65; CALL jobsched.step('a', 'durable.work', '{"what": "a"}', r);
	result := jsonb_build_array(current_user, current_setting('work_mem') <> '65kB'); $$);
-- What is in one
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "a", "do": "SELECT nextval(''durable.numbers''), jobsched.log(''info'', ''x'')"}', r); result := r; $$);
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "a", "do": "SELECT 1/0"}', r); $$);
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "a"}', r); CALL jobsched.step('b', 'durable.work', '{"what": "a"}', r); $$);
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "a", "do": "CALL jobsched.step(''b'', ''durable.nothing'', NULL, NULL)"}', r); $$);
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "a", "do": "CALL jobsched.sleep(''b'', ''0'')"}', r); $$);
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "a", "do": "COMMIT"}', r); $$);
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "a", "do": "SELECT jobsched.snooze(''0'')"}', r); $$);
CALL try($$ CALL jobsched.step('a', 'durable.large', '{}', r); $$);
CALL try($$ CALL jobsched.step('a', 'durable.denied', '{}', r); $$);
CALL try($$ CALL jobsched.step('a', 'durable.nobody', '{}', r); $$);
CALL try($$ CALL jobsched.step('a', 'durable.handler', '{}', r); $$);
CALL try($$ CALL jobsched.step('a', 'nobody', '{}', r); $$);
-- Where it is called
CALL try($$ BEGIN CALL jobsched.step('a', 'durable.work', '{"what": "a"}', r); EXCEPTION WHEN unique_violation THEN NULL; END; $$);
CREATE FUNCTION calls() RETURNS void LANGUAGE plpgsql AS $$ DECLARE r jsonb; BEGIN CALL jobsched.step('a', 'durable.nothing', '{}', r); END $$;
CALL try($$ PERFORM durable.calls(); $$);
ALTER PROCEDURE inner_one SECURITY DEFINER;
CALL try($$ CALL durable.inner_one('x', r); $$);
-- What a step has SET is not there in the next
GRANT USAGE ON SCHEMA durable TO regress_procedures_other;
GRANT INSERT ON effect TO regress_procedures_other;
CREATE FUNCTION who(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_array(current_user, current_setting('work_mem') = '65kB') $$;
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "a", "do": "SET ROLE regress_procedures_other; SET work_mem = 65"}', r); CALL jobsched.step('b', 'durable.who', '{}', result); $$);
-- Names
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "a"}', r); CALL jobsched.step('a', 'durable.work', '{"what": "a"}', r); $$);
CALL try($$ CALL jobsched.step('', 'durable.nothing', NULL, r); $$);
CALL try($$ CALL jobsched.step(repeat('a', 256), 'durable.nothing', NULL, r); $$);
CALL try($$ CALL jobsched.step(NULL, 'durable.nothing', NULL, r); $$);
CALL try($$ CALL jobsched.sleep('a', NULL); $$);
CALL try($$ CALL jobsched.sleep('a', '-1 s'); $$);
CALL try($$ CALL jobsched.sleep('a', '1 month'); $$);
-- What is another one when it comes again
CALL try($$ CALL jobsched.step('a', 'durable.nothing', to_jsonb(jobsched.attempt()), r); CALL jobsched.sleep('s', '0'); $$);
CALL try($$ CALL jobsched.step('a', CASE jobsched.attempt() WHEN 1 THEN 'durable.nothing' ELSE 'durable.work' END, '{"what": "a"}', r); CALL jobsched.sleep('s', '0'); $$);
CALL try($$ IF jobsched.attempt() = 1 THEN CALL jobsched.sleep('s', '0'); ELSE CALL jobsched.step('s', 'durable.nothing', '{}', r); END IF; $$);
CALL try($$ IF jobsched.attempt() = 1 THEN CALL jobsched.step('s', 'durable.nothing', '{}', r); CALL jobsched.sleep('t', '0'); ELSE CALL jobsched.sleep('s', '0'); END IF; $$);

-- Events: time, names, what is another one
CALL try($$ CALL jobsched.await_event('a', '0', r); result := to_jsonb(r IS NULL); $$);
CALL try($$ BEGIN CALL jobsched.await_event('a', '0', r); EXCEPTION WHEN query_canceled THEN result := '"never"'; RETURN; WHEN OTHERS THEN NULL; END; result := '1'; $$);
CREATE FUNCTION sends(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT jobsched.send_event(args ->> 'event', args -> 'payload', run_id => jobsched.run_id()) $$;
CALL try($$ CALL jobsched.step('s', 'durable.sends', '{"event": "e", "payload": {"n": 1}}', r); CALL jobsched.await_event('a', NULL, result, 'e'); $$);
CALL try($$ CALL jobsched.step('s', 'durable.sends', '{"event": "e"}', r); CALL jobsched.await_event('e', NULL, r); result := to_jsonb(r IS NULL); $$);
CALL try($$ CALL jobsched.await_event('a', '0', r); CALL jobsched.await_event('a', '0', r); $$);
CALL try($$ CALL jobsched.await_event(NULL, '0', r); $$);
CALL try($$ CALL jobsched.await_event('', '0', r); $$);
CALL try($$ CALL jobsched.await_event('a', '0', r, ''); $$);
CALL try($$ CALL jobsched.await_event('a', '0', r, repeat('a', 256)); $$);
CALL try($$ CALL jobsched.await_event('a', '-1 s', r); $$);
CALL try($$ CALL jobsched.step('s', 'durable.work', '{"what": "a", "do": "CALL jobsched.await_event(''b'', ''0'', NULL)"}', r); $$);
CALL try($$ CALL jobsched.await_event('a', '0', r, CASE jobsched.attempt() WHEN 1 THEN 'x' ELSE 'y' END); CALL jobsched.sleep('b', '0'); $$);
CALL try($$ IF jobsched.attempt() = 1 THEN CALL jobsched.await_event('a', '0', r); END IF; CALL jobsched.await_event('b', '0', r); $$);
CALL try($$ IF jobsched.attempt() <= 1 THEN CALL jobsched.await_event('a', '0', r); ELSE CALL jobsched.sleep('a', '0'); END IF; $$);
CALL try($$ IF jobsched.attempt() <= 1 THEN CALL jobsched.await_event('a', '0', r); ELSE CALL jobsched.step('a', 'durable.nothing', '{}', r); END IF; $$);
CALL try($$ IF jobsched.attempt() <= 1 THEN CALL jobsched.sleep('a', '0'); ELSE CALL jobsched.await_event('a', '0', r); END IF; $$);
CALL try($$ CALL jobsched.await_event('a', '0', r); $$);
SELECT jobsched.trigger('durable', wait_for => '{a}') AS run \gset
SELECT jobsched.send_event('a', run_id => :run) > 0 AS sent;
CALL jobsched.wait_run(:run, '1 min');
SELECT status, sqlstate, error, error_hint FROM jobsched.runs WHERE run_id = :run;

-- A retry by hand goes on; trigger() begins anew
CREATE TABLE may (go_on boolean); INSERT INTO may VALUES (false);
CREATE FUNCTION risky(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN IF (SELECT go_on FROM durable.may) THEN RETURN '"went"'; END IF; RAISE EXCEPTION 'not yet'; END $$;
CALL try($$ CALL jobsched.step('a', 'durable.work', '{"what": "once"}', r); CALL jobsched.step('b', 'durable.risky', '{}', s); result := jsonb_build_array(r, s); $$);
UPDATE may SET go_on = true;
SELECT jobsched.retry_run(max(run_id)) AS again FROM jobsched.runs WHERE job_name = 'durable' \gset
CALL jobsched.wait_run(:again, '1 min');
SELECT status, result FROM jobsched.runs WHERE run_id = :again;
SELECT seq, name, function, result, job_name, owner, sleeps_until, stored_at <= now() AS stored FROM jobsched.procedure_steps WHERE run_id = :again ORDER BY seq;
SELECT what FROM effect;

-- By hand, and by a command
TRUNCATE effect;
CALL handler('{}', NULL);
CALL jobsched.step('a', 'durable.work', '{"what": "by hand"}', NULL);
CALL jobsched.step('a', 'durable.nobody', '{"what": "by hand"}', NULL);
CALL jobsched.sleep('a', '1 day');
CALL jobsched.await_event('a', '1 day', NULL);
SELECT jobsched.create_job('command', command => $$ CALL durable.handler('{}', NULL) $$, max_attempts => 1) > 0 AS ok;
SELECT jobsched.trigger('command') AS run \gset
CALL jobsched.wait_run(:run, '1 min');
SELECT status, sqlstate, error, error_hint FROM jobsched.runs WHERE run_id = :run;

-- A step of a job made of steps
TRUNCATE effect;
SELECT jobsched.create_job('flow', steps => '[{"name": "first", "handler": "durable.handler"}, {"name": "then", "command": "SELECT jobsched.step_result(''first'')"}]') > 0 AS ok;
SELECT jobsched.trigger('flow') AS run \gset
CALL jobsched.wait_run(:run, '1 min');
SELECT job_name, status, result FROM jobsched.runs WHERE run_id = :run OR parent_run_id = :run ORDER BY run_id;
-- Its condition is not asked again once it has done something
TRUNCATE effect;
CREATE OR REPLACE PROCEDURE handler(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS $$ DECLARE r jsonb; BEGIN
	CALL jobsched.step('a', 'durable.work', '{"what": "a"}', r); CALL jobsched.sleep('s', '0'); CALL jobsched.step('b', 'durable.work', '{"what": "b"}', result); END $$;
SELECT jobsched.create_job('once', steps => '[{"name": "first", "handler": "durable.handler", "if": "NOT EXISTS (SELECT FROM durable.effect)"}]') > 0 AS ok;
SELECT jobsched.trigger('once') AS run \gset
CALL jobsched.wait_run(:run, '1 min');
SELECT job_name, status, reason, result FROM jobsched.runs WHERE parent_run_id = :run;
SELECT jobsched.trigger('once') AS run \gset
CALL jobsched.wait_run(:run, '1 min');
SELECT job_name, status, reason, result FROM jobsched.runs WHERE parent_run_id = :run;
SELECT what FROM effect ORDER BY id;

-- Others see none of it, and nobody writes it
SET ROLE regress_procedures_other;
SELECT count(*) FROM jobsched.procedure_steps;
INSERT INTO jobsched_internal.memo VALUES (1, 'a', 1, 1, 1, NULL, NULL, NULL, NULL, now());
SET ROLE regress_procedures;
DELETE FROM jobsched_internal.memo;
SELECT jobsched.drop_job(name) FROM unnest('{durable,command,flow,once}'::text[]) name;

RESET ROLE;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA durable CASCADE;
RESET client_min_messages;
REVOKE ALL ON SCHEMA jobsched FROM regress_procedures, regress_procedures_other;
REVOKE regress_procedures_other FROM regress_procedures;
DROP ROLE regress_procedures, regress_procedures_other;
