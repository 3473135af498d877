-- A parameter of a job is in create_job(), alter_job(), view jobs and the row,
-- or nowhere.  The parameters are taken from the declaration of create_job(),
-- so that a new one is tried like all others; one of type text, name or
-- timestamptz needs a sample below.
CREATE ROLE regress_parameters LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_parameters;
CREATE FUNCTION test.handler_a(jsonb) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION test.handler_b(jsonb) RETURNS void LANGUAGE sql AS '';
CREATE VIEW test.parameter AS
SELECT p.proname AS function, a.n::int AS nr, a.name, t.type, pg_get_function_arg_default(p.oid, a.n::int) AS otherwise
FROM pg_proc p, unnest(p.proargnames) WITH ORDINALITY a (name, n), unnest(p.proargtypes::regtype[]) WITH ORDINALITY t (type, n)
WHERE p.pronamespace = 'jobsched'::regnamespace AND a.n = t.n
	AND (p.proname, a.name) NOT IN (('create_job', 'if_exists'), ('alter_job', 'job'), ('alter_job', 'job_id'));

-- The two functions have the same ones in the same order; alter_job() may leave all out.
SELECT * FROM (SELECT nr, name, type FROM test.parameter WHERE function = 'create_job') c
	FULL JOIN (SELECT nr - 1 AS nr, name, type FROM test.parameter WHERE function = 'alter_job') a USING (nr, name, type)
WHERE c IS NULL OR a IS NULL;
SELECT name FROM test.parameter WHERE function = 'alter_job' AND otherwise NOT LIKE 'NULL::%';

-- The view has them all, but for the fields of its column request.
SELECT string_agg(name, ' ' ORDER BY nr) AS in_request FROM test.parameter p
WHERE function = 'create_job' AND NOT EXISTS (SELECT FROM pg_attribute
	WHERE attrelid = 'jobsched.jobs'::regclass AND attname = p.name AND atttypid = p.type);

-- Something that is not the default.
CREATE VIEW test.sample AS
SELECT p.nr, p.name, p.type, COALESCE(s.value, CASE p.type
	WHEN 'boolean'::regtype THEN (p.otherwise <> 'true')::text
	WHEN 'integer'::regtype THEN '7'
	WHEN 'double precision'::regtype THEN '0.75'
	WHEN 'interval'::regtype THEN '7 minutes'
	WHEN 'interval[]'::regtype THEN '{"1 minute","7 minutes"}'
	WHEN 'jsonb'::regtype THEN '{"sample": 7}'
	WHEN 'text[]'::regtype THEN '{08,53}'
	END) AS value
FROM test.parameter p LEFT JOIN (VALUES
	('name', 'another'), ('schedule', '0 0 1 1 *'), ('command', 'SELECT 7'), ('handler', 'test.handler_b'),
	('after', '{before}'), ('steps', '[{"name": "a", "command": "SELECT 7"}]'), ('timezone', 'Asia/Tokyo'), ('description', 'a sample'), ('owner', 'regress_parameters'), ('mode', 'autocommit'),
	('backoff', 'linear'), ('overlap', 'replace'), ('keep', 'failures'), ('misfire', 'all'), ('queue', 'a queue'), ('on_success', 'test.handler_a'), ('on_failure', 'test.handler_b'),
	('starts_at', '2099-01-01 00:00:00+00'), ('ends_at', '2100-01-01 00:00:00+00')) s (name, value) USING (name)
WHERE p.function = 'create_job'
	AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'jobsched.jobs'::regclass AND attname = p.name);
SELECT name AS without_sample FROM test.sample WHERE value IS NULL;

-- What a job has for each parameter.
CREATE FUNCTION test.has(job text) RETURNS jsonb LANGUAGE sql AS $$
SELECT jsonb_object_agg(key, value) FROM jobsched.jobs j, jsonb_each(to_jsonb(j))
WHERE j.name = job AND key IN (SELECT name FROM test.sample)
$$;
-- A sample as the view has it.
CREATE FUNCTION test.shown(type regtype, value text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	shown jsonb;
BEGIN
	EXECUTE format('SELECT to_jsonb(%L::%s)', value, type) INTO shown;
	RETURN shown;
END
$$;
-- What becomes of a job by a call, which is rolled back; or the error.
CREATE FUNCTION test.becomes(job text, call text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	becomes jsonb;
BEGIN
	EXECUTE 'SELECT ' || call;
	becomes := test.has(job);
	RAISE SQLSTATE 'TEST0';
EXCEPTION WHEN SQLSTATE 'TEST0' THEN
	RETURN becomes;
WHEN OTHERS THEN
	RETURN to_jsonb(SQLSTATE || ': ' || SQLERRM);
END
$$;

-- alter_job() changes the one that is given; those listed are more, and a new name.
SELECT jobsched.create_job('before', command => 'SELECT 1') > 0 AS ok;
SELECT jobsched.create_job('one', handler => 'test.handler_a') > 0 AS ok;
SELECT s.name, CASE jsonb_typeof(b) WHEN 'object' THEN
	(SELECT jsonb_object_agg(key, value) FROM jsonb_each(b) WHERE test.has('one') -> key <> value) ELSE b END AS becomes
FROM test.sample s, test.becomes(CASE s.name WHEN 'name' THEN s.value ELSE 'one' END,
	format('jobsched.alter_job(%L, %I => %L)', 'one', s.name, s.value)) b
WHERE b IS DISTINCT FROM test.has('one') || jsonb_build_object(s.name, test.shown(s.type, s.value))
	OR b = test.has('one')
ORDER BY s.nr;

-- NULL keeps what the job has; to create_job() it is the default, but the name is refused.
SELECT jobsched.create_job('plain', command => 'SELECT 1') > 0 AS ok;
SELECT name, b AS becomes
FROM test.sample s, test.becomes('one', format('jobsched.alter_job(%L, %I => NULL)', 'one', s.name)) b
WHERE b IS DISTINCT FROM test.has('one') ORDER BY s.nr;
SELECT s.name, b AS becomes
FROM test.sample s, test.becomes('new', format('jobsched.create_job(%s%s%I => NULL)',
	CASE WHEN s.name <> 'name' THEN $$name => 'new', $$ END,
	CASE WHEN s.name <> 'command' THEN $$command => 'SELECT 1', $$ END, s.name)) b
WHERE b IS DISTINCT FROM test.has('plain') || '{"name": "new"}' ORDER BY s.nr;

-- All at once, by each function; and what a definition does not give is not there.
SELECT string_agg(format('%I => %L', name, value), ', ') AS samples FROM test.sample
WHERE name NOT IN ('name', 'command', 'steps', 'after', 'deadline', 'owner') \gset
SELECT jobsched.create_job('all', :samples) > 0 AS ok;
SELECT jobsched.alter_job('one', :samples);
SELECT s.name, test.has(j.name) -> s.name AS is
FROM test.sample s, (VALUES ('all'), ('one')) j (name)
WHERE test.has(j.name) -> s.name IS DISTINCT FROM test.shown(s.type, s.value) AND s.name NOT IN ('name', 'command', 'steps', 'after', 'deadline', 'owner')
ORDER BY j.name, s.nr;
SELECT jobsched.create_job('all', command => 'SELECT 1', if_exists => 'update') > 0 AS ok;
SELECT test.has('all') = test.has('plain') || '{"name": "all"}' AS as_new;

-- nothing is left
SELECT jobsched.drop_job(name) FROM jobsched.jobs WHERE name IN ('one', 'plain', 'all', 'before');
DROP VIEW test.sample, test.parameter CASCADE;
DROP FUNCTION test.has, test.shown, test.becomes, test.handler_a, test.handler_b;
REVOKE USAGE ON SCHEMA jobsched FROM regress_parameters;
DROP ROLE regress_parameters;
