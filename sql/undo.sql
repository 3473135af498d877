-- What undoes steps: its definition, and the errors of that.  How it runs is in
-- test/t/073_undo.pl.

CREATE ROLE regress_undo LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_undo;
GRANT EXECUTE ON FUNCTION jobsched.http_request TO regress_undo;
CREATE SCHEMA undo AUTHORIZATION regress_undo;
SET ROLE regress_undo;
CREATE FUNCTION undo.work(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1 $$;

SELECT jobsched.create_job('saga', steps => '[
	{"name": "pay", "handler": "undo.work", "after": ["book"], "undo": {"handler": "undo.work", "max_attempts": 9, "timeout": "1 minute", "args": {"a": "{{steps.pay.result.id}}"}, "keys": ["x:{{args.b}}"]}, "args": {"b": 1}},
	{"name": "book", "command": "SELECT 1", "after": [], "undo": "SELECT 2"},
	{"name": "each", "command": "SELECT 3", "for_each": "SELECT to_jsonb(1)", "undo": {"url": "https://example.com/{{args.item}}", "method": "DELETE"}, "after": ["pay"]},
	{"name": "last", "command": "SELECT 4", "undo": null},
	{"name": "maybe", "command": "SELECT 5", "undo": {"command": "SELECT 6", "if": "false"}}]') AS job_id \gset
SELECT step_no, step, kind, after, "when", optional, explanation FROM jobsched.explain_steps('saga');
RESET ROLE;
SELECT step_no, step, name, step_when, step_undoes, step_for_each, step_looks, command, handler, max_attempts, timeout, args, keys
FROM jobsched_internal.job WHERE workflow_id = :job_id AND step_when = 'undo' ORDER BY step_no \gx
SET ROLE regress_undo;

-- What is no definition
CREATE FUNCTION pg_temp.refuse(undo jsonb, more jsonb DEFAULT '[]', for_each text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text; hint text; context text;
BEGIN
	PERFORM jobsched.create_job('refused', steps => jsonb_build_array(jsonb_build_object('name', 'a', 'command', 'SELECT 1', 'undo', undo, 'for_each', for_each)) || more);
	PERFORM jobsched.drop_job('refused');
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
	RETURN concat_ws(E'\n', SQLSTATE || ' ' || message, left(hint, 120), split_part(context, E'\n', 1));
END $$;
SELECT pg_temp.refuse('1');
SELECT pg_temp.refuse('[]');
SELECT pg_temp.refuse('true');
SELECT pg_temp.refuse('{}');
SELECT pg_temp.refuse('""');
SELECT pg_temp.refuse('"no sql"');
SELECT pg_temp.refuse('{"command": "SELECT 1", "handler": "undo.work"}');
SELECT pg_temp.refuse('{"handler": "undo.nothing"}');
SELECT pg_temp.refuse('{"command": 1}');
SELECT pg_temp.refuse(jsonb_build_object('command', 'SELECT 1', key, 'a')) FROM unnest('{name,after,when,optional,delay,for_each,wait_for,undo,nonsense}'::text[]) key;
SELECT pg_temp.refuse('{"command": "SELECT 1", "timeout": "-1 s"}');
SELECT pg_temp.refuse('{"command": "SELECT 1", "if": "1 +"}');
SELECT pg_temp.refuse('{"command": "SELECT 1", "args": {"x": "{{steps.b.result}}"}}', '[{"name": "b", "command": "SELECT 1"}]');
SELECT pg_temp.refuse('{"command": "SELECT 1", "args": {"x": "{{steps.c.result}}"}}');
SELECT pg_temp.refuse('{"command": "SELECT 1", "args": {"x": "{{steps.a.result}}"}, "keys": ["k:{{args.x}}"]}');
SELECT pg_temp.refuse('{"command": "SELECT 1", "if": "true"}', '[]', 'SELECT to_jsonb(1)');
SELECT pg_temp.refuse('"SELECT 1"', '[{"name": "undo", "command": "SELECT 1"}]');
SELECT pg_temp.refuse('"SELECT 1"', '[{"name": "undo:a", "command": "SELECT 1"}]');
SELECT pg_temp.refuse('null', '[{"name": "undo", "command": "SELECT 1"}, {"name": "undo:a", "command": "SELECT 1"}]');
SELECT pg_temp.refuse('"SELECT 1"', (SELECT jsonb_agg(jsonb_build_object('name', 'n' || n, 'command', 'SELECT 1', 'undo', 'SELECT 2')) FROM generate_series(1, 499) n));
SELECT pg_temp.refuse('"SELECT 1"', (SELECT jsonb_agg(jsonb_build_object('name', 'n' || n, 'command', 'SELECT 1', 'undo', 'SELECT 2')) FROM generate_series(1, 498) n));
-- Keys of a job with a schedule are found in its arguments.
SELECT jobsched.create_job('scheduled', '0 0 1 1 *', steps => '[{"name": "a", "command": "SELECT 1", "undo": {"command": "SELECT 1", "keys": ["k:{{args.x}}"]}}]');
SELECT jobsched.create_job('scheduled', '0 0 1 1 *', args => '{"x": 1}', steps => '[{"name": "a", "command": "SELECT 1", "undo": {"command": "SELECT 1", "keys": ["k:{{args.x}}"]}}]') > 0 AS ok;

SELECT jobsched.drop_job(name) FROM jobsched.jobs ORDER BY name;
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA undo CASCADE;
RESET client_min_messages;
DROP FUNCTION pg_temp.refuse;
REVOKE ALL ON FUNCTION jobsched.http_request FROM regress_undo;
REVOKE ALL ON SCHEMA jobsched FROM regress_undo;
DROP ROLE regress_undo;
