-- Jobs made of steps: their definition, its errors, and what becomes of the rows.
-- How they run is in test/t/065_steps.pl.

CREATE ROLE regress_steps LOGIN;
CREATE ROLE regress_steps_other LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_steps, regress_steps_other;
GRANT EXECUTE ON FUNCTION jobsched.http_request TO regress_steps;
GRANT regress_steps_other TO regress_steps;
CREATE SCHEMA steps AUTHORIZATION regress_steps;
SET ROLE regress_steps;
CREATE FUNCTION steps.work(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION steps.told(jsonb) RETURNS void LANGUAGE sql AS $$ $$;
RESET ROLE;

-- The rows that steps are; sets are numbered as they were made.
CREATE VIEW steps.set AS
SELECT w.name AS workflow, s.step_revision AS set, s.step_no AS no, s.step, s.name, s.step_after AS after, s.step_when AS "when",
	s.step_optional AS optional, s.owner_name AS owner, s.paused, s.dropped_at IS NOT NULL AS dropped
FROM jobsched_internal.job s JOIN jobsched_internal.job w ON w.job_id = s.workflow_id
ORDER BY w.name, s.step_revision, s.step_no;

SET ROLE regress_steps;
SELECT jobsched.create_job('nightly', steps => '[
	{"name": "complain", "handler": "steps.work", "after": ["load"], "when": "failure", "optional": null},
	{"name": "extract", "handler": "steps.work", "after": [], "max_attempts": 5, "timeout": "5 minutes", "retry_delays": ["1 second", "1 minute"], "keys": ["table:{table}"]},
	{"name": "check", "command": "SELECT 1", "after": [], "mode": "transaction", "queue": "checks", "backoff": "fixed", "backoff_jitter": 0.5, "retry_on": ["08", "53"], "no_retry_on": []},
	{"name": "load", "handler": "steps.work", "after": ["extract", "check"], "args": {"table": "t"}, "share_transaction": true, "on_success": "steps.told", "on_failure": "steps.told"},
	{"name": "ping", "url": "https://hooks.example.com/loaded", "method": "PUT", "headers": {"a": "b"}, "body": {"c": [1]}, "connect_timeout": "1 second", "success_codes": ["2xx", "409"],
		"max_redirects": 3, "after": ["load"], "when": "done", "optional": true, "description": "tells", "metadata": [1], "max_concurrency": 2},
	{"name": "last", "command": "SELECT 2"}]') AS job_id \gset
SELECT * FROM jobsched.explain_steps('nightly');
SELECT name, kind, jsonb_array_length(steps) AS steps, command, handler, request, mode, state FROM jobsched.jobs ORDER BY name;
RESET ROLE;
SELECT step, command, handler, request, args, mode, transactional, share_transaction AS shares, timeout, max_attempts, backoff, backoff_jitter, retry_delays, retry_on, no_retry_on,
	max_concurrency, queue, keys, on_success, on_failure, description, metadata, schedule, enabled, revision, steps, steps_revision
FROM jobsched_internal.job WHERE workflow_id = :job_id ORDER BY step_no \gx
SELECT step_after, step_when, step_optional, count(*) FROM jobsched_internal.job WHERE workflow_id = :job_id GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SET ROLE regress_steps;

-- Left out, after is the step before.
SELECT jobsched.create_job('chain', steps => '[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1"}, {"name": "c", "command": "SELECT 1", "when": "done"}]') > 0 AS ok;
SELECT step, after, "when", explanation FROM jobsched.explain_steps('chain');
-- Conditions on several; more than a sentence names
SELECT jobsched.create_job('many', steps => (SELECT jsonb_agg(jsonb_build_object('name', 's' || n, 'command', 'SELECT 1', 'after', '[]'::jsonb) ORDER BY n) FROM generate_series(1, 7) n)
	|| (SELECT jsonb_agg(jsonb_build_object('name', w || m, 'command', 'SELECT 1', 'when', w, 'after', (SELECT jsonb_agg('s' || n) FROM generate_series(1, m) n)) ORDER BY m, w)
		FROM unnest('{success,failure,done}'::text[]) w, unnest('{3,7}'::int[]) m)) > 0 AS ok;
SELECT step, cardinality(after), "when", explanation FROM jobsched.explain_steps('many') WHERE after <> '{}';
-- For each element; keys that the arguments of the job need not have
SELECT jobsched.create_job('each', '0 0 1 1 *', steps => '[{"name": "list", "command": "SELECT 1"}, {"name": "work", "handler": "steps.work", "for_each": "SELECT jobsched.step_result(''list'')", "keys": ["of:{{args.item.id}}"]},
	{"name": "send", "url": "https://example.com/{{args.item}}", "for_each": "SELECT to_jsonb(1)", "optional": true}, {"name": "say", "command": "SELECT 1", "for_each": "SELECT to_jsonb(1)", "after": []}]') > 0 AS ok;
SELECT step, kind, explanation FROM jobsched.explain_steps('each');
SELECT jobsched.drop_job('each');
SELECT jobsched.explain_steps('nobody');
SELECT jobsched.explain_steps(NULL);
SELECT jobsched.create_job('plain', command => 'SELECT 1') > 0 AS ok;
SELECT jobsched.explain_steps('plain');

-- What is no definition
CREATE FUNCTION pg_temp.refuse(steps jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	hint text;
	place text;
BEGIN
	PERFORM jobsched.create_job('refused', steps => refuse.steps);
	RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, place = PG_EXCEPTION_CONTEXT;
	place := split_part(place, E'\n', 1);
	RETURN concat_ws(E'\n', state || ' ' || message, CASE WHEN place NOT LIKE 'SQL statement%' THEN 'at ' || place END, NULLIF(hint, ''));
END $$;
\t on
\pset format unaligned
SELECT pg_temp.refuse('{}');
SELECT pg_temp.refuse('"x"');
SELECT pg_temp.refuse('null');
SELECT pg_temp.refuse('[]');
SELECT pg_temp.refuse('[1]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, null]');
SELECT pg_temp.refuse('[[]]');
SELECT pg_temp.refuse('[{}]');
SELECT pg_temp.refuse('[{"name": null, "command": "SELECT 1"}]');
SELECT pg_temp.refuse('[{"name": 7, "command": "SELECT 1"}]');
SELECT pg_temp.refuse('[{"name": "", "command": "SELECT 1"}]');
SELECT pg_temp.refuse('[{"name": "a.b", "command": "SELECT 1"}]');
SELECT pg_temp.refuse(jsonb_build_array(jsonb_build_object('name', repeat('x', 64), 'command', 'SELECT 1')));
SELECT pg_temp.refuse('[{"name": "a"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1"}, {"name": "a", "command": "SELECT 1"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "handler": "steps.work"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "url": "https://example.com"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELEC"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "COMMIT"}]');
SELECT pg_temp.refuse('[{"name": "a", "handler": "steps.missing"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "on_failure": "steps.missing"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "method": "GET"}]');
SELECT pg_temp.refuse('[{"name": "a", "url": "ftp://example.com"}]');
SELECT pg_temp.refuse('[{"name": "a", "url": "https://example.com", "max_redirects": -1}]');
SELECT pg_temp.refuse('[{"name": "a", "url": "https://example.com", "timeout": "2 days"}]');
SELECT pg_temp.refuse('[{"name": "a", "url": "https://example.com", "share_transaction": true}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "schedule": "@daily"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "owner": "postgres"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "steps": []}]');
SELECT pg_temp.refuse('[{"name": "a", "command": ["SELECT 1"]}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "args": [1]}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "timeout": 5}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "timeout": "soon"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "timeout": "-1 s"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "max_attempts": "5"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "max_attempts": 1.5}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "max_attempts": 1e100}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "max_attempts": 1001}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "backoff_jitter": 1.5}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "backoff_jitter": "0.5"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "backoff": "quadratic"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "keys": "k"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "keys": ["k", 1]}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "keys": [null]}]');
-- of a job with a schedule the arguments are known
SELECT jobsched.create_job('keys', '@daily', args => '{"t": 1}', steps => '[{"name": "a", "command": "SELECT 1", "keys": ["k:{{args.t}}", "k:{{args.u}}"]}]');
SELECT jobsched.create_job('keys', args => '{"t": 1}', steps => '[{"name": "a", "command": "SELECT 1", "keys": ["k:{{args.t}}", "k:{{args.u}}"], "args": {"u": 1}}, {"name": "b", "command": "SELECT 1", "keys": ["k:{{args.v}}"]}]') > 0 AS created;
SELECT jobsched.alter_job('keys', schedule => '@daily');
SELECT jobsched.alter_job('keys', schedule => '@daily', args => '{"t": 1, "v": 2}');
SELECT jobsched.drop_job('keys');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "retry_delays": ["soon"]}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "retry_on": ["no condition"]}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "optional": "yes"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "for_each": ["SELECT 1"]}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "for_each": ""}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "for_each": "SELEKT 1"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "for_each": "SELECT 1; SELECT 2"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "for_each": "COMMIT"}]');
SELECT pg_temp.refuse('[{"name": "a", "for_each": "SELECT to_jsonb(1)"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "after": "b"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "after": [7]}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "after": ["b"]}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "after": ["a"]}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "after": ["a", "a"]}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "when": "success"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "when": "never"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "after": [], "when": "done"}]');
-- what a step does before it starts
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "delay": "soon"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "delay": 5}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "delay": "-1 second"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "delay": "1 month"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "delay": "3651 days"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "if": true}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "if": ""}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "if": "SELECT true"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "if": "true; SELECT 1"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "if": "true, false"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "if": "true FROM pg_class"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "if": "true UNION SELECT false"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "if": "true AS x"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "if": "*"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "args": {"x": "{{steps.c.result}}"}}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "args": {"x": ["{{steps.b.result}}"]}}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "after": [], "args": {"x": "{{steps.a.result.y}}"}}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "args": {"x": "{{steps.a.status}}"}}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "args": {"x": "{{steps.a.results}}"}}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "args": {"x": "{{steps.a.result"}}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "url": "https://{{steps.a.result}}/"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "url": "https://example.com/{{steps.c.result}}"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "url": "https://example.com/", "headers": {"X-A": ["{{steps.b.result}}"]}}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "url": "https://example.com/", "body": {"{{steps.a.result}}": 1}}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "url": "https://example.com/", "body_text": "{{steps.a}}"}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "keys": ["k:{{args.x}}"], "args": {"x": "{{steps.a.result}}"}}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1"}, {"name": "b", "url": "https://{{args.x.y}}.example.com/", "args": {"x": {"y": "{{steps.a.result}}"}}}]');
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "keys": ["k:{{steps.a.result}}"]}]');
-- circles, with steps before and behind them
SELECT pg_temp.refuse('[{"name": "a", "command": "SELECT 1", "after": ["b"]}, {"name": "b", "command": "SELECT 1", "after": ["a"]}]');
SELECT pg_temp.refuse('[{"name": "first", "command": "SELECT 1"}, {"name": "behind", "command": "SELECT 1", "after": ["first", "c"]}, {"name": "a", "command": "SELECT 1", "after": ["first", "c"]},
	{"name": "b", "command": "SELECT 1", "after": ["a"]}, {"name": "c", "command": "SELECT 1", "after": ["b"]}]');
SELECT pg_temp.refuse((SELECT jsonb_agg(jsonb_build_object('name', 's' || n, 'command', 'SELECT 1', 'after', jsonb_build_array('s' || CASE n WHEN 1 THEN 1000 ELSE n - 1 END)) ORDER BY n) FROM generate_series(1, 1000) n));
-- too many
SELECT pg_temp.refuse((SELECT jsonb_agg(jsonb_build_object('name', 's' || n, 'command', 'SELECT 1')) FROM generate_series(1, 1001) n));
SELECT pg_temp.refuse((SELECT jsonb_agg(jsonb_build_object('name', n::text, 'command', 'SELECT 1', 'after', (SELECT COALESCE(jsonb_agg(m::text), '[]') FROM generate_series(1, CASE WHEN n > 400 THEN 400 ELSE 0 END) m)) ORDER BY n)
	FROM generate_series(1, 651) n));
\t off
\pset format aligned
-- only steps have steps before them
SELECT jobsched.create_job('refused', url => 'https://example.com/{{steps.a.result}}');
-- what is none of these is text
SELECT jobsched.create_job('looks', steps => '[{"name": "a", "command": "SELECT 1", "delay": "90 s", "args": {"x": "{{args.y}} {{ {{step.a.result}}", "{{steps.q.result}}": 1}},
	{"name": "b", "url": "https://example.com/{{ steps.a.result.x }}", "if": "EXISTS (SELECT FROM pg_class)", "delay": "1 day", "optional": true},
	{"name": "c", "command": "SELECT 1", "if": "true", "delay": "0"},
	{"name": "d", "command": "SELECT 1", "args": {"x": {"y": ["{{steps.a.result}}{{steps.c.result}}"]}}}]') AS job_id \gset
SELECT step, explanation FROM jobsched.explain_steps('looks');
RESET ROLE;
SELECT step, step_delay, step_if, step_looks FROM jobsched_internal.job WHERE workflow_id = :job_id ORDER BY step_no;
SELECT jobsched.drop_job('looks');
SET ROLE regress_steps;
-- with the other parameters
SELECT jobsched.create_job('refused', command => 'SELECT 1', steps => '[{"name": "a", "command": "SELECT 1"}]');
SELECT jobsched.create_job('refused', timeout => '1 minute', steps => '[{"name": "a", "command": "SELECT 1"}]');
SELECT jobsched.create_job('refused', share_transaction => true, steps => '[{"name": "a", "command": "SELECT 1"}]');
SELECT jobsched.create_job('refused', method => 'GET', steps => '[{"name": "a", "command": "SELECT 1"}]');
SELECT jobsched.create_job('refused', steps => '[{"name": "a", "command": "SELECT 1"}, {"name": "b", "handler": "steps.missing"}]');
SELECT jobsched.alter_job('nightly', timeout => '1 minute');
SELECT jobsched.alter_job('nightly', steps => '[]');
RESET ROLE;
SELECT count(*) FROM jobsched_internal.job WHERE name LIKE 'refused%';
SELECT jobsched.drop_job('many');

-- A step is no job that one could name, and is in nobody's way.
SET ROLE regress_steps;
SELECT jobsched.trigger('chain.a');
SELECT jobsched.alter_job('chain.a', description => 'x');
SELECT jobsched.pause_job('chain.a');
SELECT jobsched.drop_job('chain.a');
SELECT jobsched.create_job('chain.a', command => 'SELECT 1', if_exists => 'keep') > 0 AS ok;
SELECT jobsched.create_job('chain.a', command => 'SELECT 1');
SELECT jobsched.drop_job('chain.a');

-- Another definition is another set; the same one is none.
RESET ROLE;
CREATE FUNCTION steps.sets(workflow text) RETURNS TABLE (set bigint, steps text) LANGUAGE sql AS $$
	SELECT s.set, string_agg(s.name || CASE WHEN s.paused THEN ' paused' ELSE '' END, ', ' ORDER BY no)
	FROM steps.set s WHERE s.workflow = sets.workflow AND NOT dropped GROUP BY 1 ORDER BY 1
$$;
-- so that the scheduler does not retire what is to be seen
BEGIN;
SET LOCAL ROLE regress_steps;
SELECT jobsched.create_job('chain', if_exists => 'update', description => 'new', steps => '[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1"}, {"name": "c", "command": "SELECT 1", "when": "done"}]') > 0 AS ok;
SELECT jobsched.alter_job('chain', steps => '[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1"}, {"name": "c", "command": "SELECT 1", "when": "done"}]');
RESET ROLE;
SELECT * FROM steps.sets('chain');
SET LOCAL ROLE regress_steps;
SELECT jobsched.alter_job('chain', steps => '[{"name": "b", "command": "SELECT 1"}, {"name": "a", "command": "SELECT 1", "after": []}]');
SELECT step_no, step FROM jobsched.explain_steps('chain');
RESET ROLE;
SELECT * FROM steps.sets('chain');
-- All sets go with their job.
SET LOCAL ROLE regress_steps;
SELECT jobsched.pause_job('chain', 'why');
SELECT jobsched.alter_job('chain', name => 'renamed');
SELECT jobsched.alter_job('renamed', steps => '[{"name": "z", "command": "SELECT 1"}]');
RESET ROLE;
SELECT * FROM steps.sets('renamed');
SET LOCAL ROLE regress_steps;
SELECT jobsched.resume_job('renamed');
SELECT jobsched.alter_job('renamed', owner => 'regress_steps_other');
RESET ROLE;
SELECT owner, count(*), bool_or(paused) AS paused FROM steps.set WHERE workflow = 'renamed' GROUP BY 1;
-- Another kind of job, and back
SELECT jobsched.alter_job('renamed', command => 'SELECT 1');
SELECT kind, command, steps FROM jobsched.jobs WHERE name = 'renamed';
SELECT jobsched.alter_job('renamed', steps => '[{"name": "y", "command": "SELECT 1"}]');
SELECT kind, command, steps FROM jobsched.jobs WHERE name = 'renamed';
SELECT * FROM steps.sets('renamed');
ROLLBACK;

-- Who may not have what a step does
SET ROLE regress_steps;
SELECT jobsched.alter_job('nightly', owner => 'regress_steps_other');
RESET ROLE;
SELECT DISTINCT owner FROM steps.set WHERE workflow = 'nightly';
SET ROLE regress_steps_other;
SELECT jobsched.create_job('theirs', steps => '[{"name": "a", "url": "https://example.com"}]');
SELECT jobsched.explain_steps('nightly');
RESET ROLE;

-- The scheduler forgets what no run needs.
CREATE PROCEDURE steps.wait_for(condition text) LANGUAGE plpgsql AS $$
DECLARE
	holds boolean;
BEGIN
	FOR i IN 1 .. 3000 LOOP
		EXECUTE 'SELECT ' || condition INTO holds;
		COMMIT;
		IF holds THEN
			RETURN;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RAISE EXCEPTION 'not so: %', condition;
END $$;
SELECT jobsched.alter_job('chain', steps => '[{"name": "a", "command": "SELECT 2"}]');
CALL steps.wait_for($$ (SELECT array_agg(set || step ORDER BY no) = '{2a}' FROM steps.set WHERE workflow = 'chain' AND NOT dropped) $$);
SELECT set, step, dropped FROM steps.set WHERE workflow = 'chain';
SELECT jobsched.alter_job('chain', handler => 'steps.work');
CALL steps.wait_for($$ NOT EXISTS (SELECT FROM steps.set WHERE workflow = 'chain' AND NOT dropped) $$);
SELECT jobsched.drop_job('nightly');
CALL steps.wait_for($$ NOT EXISTS (SELECT FROM steps.set WHERE workflow = 'nightly' AND NOT dropped) $$);

SELECT jobsched.drop_job(name) FROM jobsched.jobs ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA steps CASCADE;
RESET client_min_messages;
REVOKE ALL ON FUNCTION jobsched.http_request FROM regress_steps;
REVOKE ALL ON SCHEMA jobsched FROM regress_steps, regress_steps_other;
REVOKE regress_steps_other FROM regress_steps;
DROP FUNCTION pg_temp.refuse;
DROP ROLE regress_steps, regress_steps_other;
