--
-- What CREATE EXTENSION makes, and what it leaves behind when it goes.
-- The tests that follow use the extension and the schema "test" made here.
--

-- It makes its own schemas, and lives nowhere else.
CREATE SCHEMA elsewhere;
CREATE EXTENSION jobsched SCHEMA elsewhere;
DROP SCHEMA elsewhere;

-- Rolled back, nothing of it stays.
BEGIN;
CREATE EXTENSION jobsched;
ROLLBACK;
SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'jobsched%';

-- A search path full of traps does not mislead the script.
CREATE SCHEMA trap;
CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'epoch'::timestamptz $$;
CREATE FUNCTION trap.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT 'trapped' $$;
CREATE FUNCTION trap.current_database() RETURNS name LANGUAGE sql AS $$ SELECT 'trapped'::name $$;
CREATE TYPE trap.jsonb AS (trapped int);
SET search_path = trap, pg_catalog;
CREATE EXTENSION jobsched;
RESET search_path;
SELECT count(*) AS in_trap
FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid AND d.refclassid = 'pg_extension'::regclass
WHERE e.extname = 'jobsched'
  AND pg_describe_object(d.classid, d.objid, d.objsubid) ~ 'trap';
DROP SCHEMA trap CASCADE;

SELECT extversion, extnamespace::regnamespace AS schema, extrelocatable FROM pg_extension WHERE extname = 'jobsched';

-- Functions and procedures: names, parameters and results are a contract.
SELECT p.proname AS name, p.prokind AS kind, p.provolatile AS vol, p.proparallel AS par, p.proisstrict AS strict,
	p.prosecdef AS secdef, pg_get_function_result(p.oid) AS result
FROM pg_proc p WHERE p.pronamespace = 'jobsched'::regnamespace
ORDER BY p.proname COLLATE "C", p.oid;

SELECT p.proname AS name, a.n AS nr, trim(a.arg) AS argument
FROM pg_proc p, unnest(string_to_array(pg_get_function_arguments(p.oid), ',')) WITH ORDINALITY a (arg, n)
WHERE p.pronamespace = 'jobsched'::regnamespace
ORDER BY p.proname COLLATE "C", a.n;

-- No two functions of one name: a call by name is never ambiguous.
SELECT proname, count(*) FROM pg_proc WHERE pronamespace = 'jobsched'::regnamespace GROUP BY 1 HAVING count(*) > 1;

-- The public schema holds functions and views only; each has a comment.
SELECT c.relkind, count(*) FROM pg_class c WHERE c.relnamespace = 'jobsched'::regnamespace GROUP BY 1 ORDER BY 1;
SELECT p.proname AS without_comment FROM pg_proc p
WHERE p.pronamespace = 'jobsched'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
UNION ALL
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'jobsched'::regnamespace AND obj_description(c.oid, 'pg_class') IS NULL;
SELECT n.nspname, obj_description(n.oid, 'pg_namespace') IS NOT NULL AS commented
FROM pg_namespace n WHERE n.nspname LIKE 'jobsched%' ORDER BY 1;

-- Views do not leak rows through cheap functions.
SELECT c.relname, c.reloptions FROM pg_class c
WHERE c.relnamespace = 'jobsched'::regnamespace AND c.relkind = 'v' ORDER BY c.relname COLLATE "C";

-- Every table has a primary key; there are no triggers, rules, enums, or
-- foreign keys.
SELECT c.oid::regclass AS without_primary_key FROM pg_class c
WHERE c.relnamespace = 'jobsched_internal'::regnamespace AND c.relkind IN ('r', 'p')
	AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary);
SELECT t.tgrelid::regclass AS "table", t.tgname, t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace::regnamespace::text LIKE 'jobsched%' AND c.relkind <> 'v' ORDER BY t.tgrelid::regclass::text;
-- A view is written by a trigger, or refuses to be.
SELECT c.oid::regclass AS view, t.tgname FROM pg_class c LEFT JOIN pg_trigger t ON t.tgrelid = c.oid
WHERE c.relnamespace = 'jobsched'::regnamespace AND c.relkind = 'v' AND t.tgname IS DISTINCT FROM 'refuse_write';
SELECT count(*) AS rules FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE c.relnamespace::regnamespace::text LIKE 'jobsched%' AND r.rulename <> '_RETURN';
SELECT count(*) AS enums FROM pg_type t
WHERE t.typnamespace::regnamespace::text LIKE 'jobsched%' AND t.typtype = 'e';
SELECT count(*) AS event_triggers FROM pg_event_trigger;

-- All partitions are there from the start, so nothing needs DDL later.
SELECT i.inhparent::regclass AS parent, count(*)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
WHERE c.relnamespace = 'jobsched_internal'::regnamespace AND c.relkind = 'p'
GROUP BY 1 ORDER BY 1::text COLLATE "C";

-- What pg_dump takes along.
SELECT t.rel::regclass, t.condition
FROM pg_extension e, unnest(e.extconfig, e.extcondition) t (rel, condition)
WHERE e.extname = 'jobsched' ORDER BY 1::text COLLATE "C";

-- The rights of PUBLIC: execute functions and read views of a schema which
-- it cannot use; and nothing in the schema of the tables.
SELECT 'schema' AS kind, n.nspname::text AS object, a.privilege_type
FROM pg_namespace n, aclexplode(n.nspacl) a
WHERE n.nspname LIKE 'jobsched%' AND a.grantee = 0
UNION ALL
SELECT 'relation', c.oid::regclass::text, a.privilege_type
FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace::regnamespace::text LIKE 'jobsched%' AND a.grantee = 0
ORDER BY kind, object, privilege_type;

-- Settings.
SELECT name, boot_val, unit, context FROM pg_settings WHERE name LIKE 'jobsched.%' ORDER BY name COLLATE "C";
SET jobsched.nonsense = 1;
SET jobsched.timezone = 'Mars/Olympus';
SET jobsched.max_workers = 2;

--
-- Waiting.  until() looks again and again, in a new transaction each time,
-- until a query returns true; run_now() triggers a job and waits for its end.
--
CREATE SCHEMA test;
GRANT USAGE ON SCHEMA test TO PUBLIC;

CREATE PROCEDURE test.until(query text, timeout interval DEFAULT '60 s')
LANGUAGE plpgsql AS $$
DECLARE
	deadline timestamptz := clock_timestamp() + timeout;
	done boolean;
BEGIN
	LOOP
		EXECUTE query INTO done;
		EXIT WHEN done;
		COMMIT;
		IF clock_timestamp() > deadline THEN
			RAISE EXCEPTION 'not in time: %', query;
		END IF;
		PERFORM pg_sleep(0.005);
	END LOOP;
END
$$;

CREATE PROCEDURE test.run_now(job text, args jsonb DEFAULT NULL,
	INOUT status text DEFAULT NULL, INOUT result jsonb DEFAULT NULL,
	INOUT sqlstate text DEFAULT NULL, INOUT error text DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
	id bigint := jobsched.trigger(job, args);
BEGIN
	COMMIT;
	CALL jobsched.wait_run(id, '60 s', status);
	SELECT r.status, r.result, r.sqlstate, r.error INTO STRICT status, result, sqlstate, error
	FROM jobsched.runs r WHERE r.run_id = id;
END
$$;

-- Ends the idle workers of a role, so that the next run has a new session.
CREATE PROCEDURE test.end_workers(of_role name)
LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL client_min_messages = error;	-- one may just have left
	PERFORM pg_terminate_backend(pid) FROM jobsched.workers WHERE owner = of_role;
	COMMIT;
	CALL test.until(format('SELECT count(*) = 0 FROM jobsched.workers WHERE owner = %L', of_role));
END
$$;

-- What a statement is refused with.
CREATE FUNCTION test.refusal(statement text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN NEXT 'not refused';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT state || ': ' || message;
	IF detail <> '' THEN
		RETURN NEXT 'DETAIL: ' || detail;
	END IF;
	IF hint <> '' THEN
		RETURN NEXT 'HINT: ' || hint;
	END IF;
END
$$;

-- The extension comes to life when its transaction has committed, ...
CALL test.until($$ SELECT status = 'ok' FROM jobsched.health() WHERE "check" = 'scheduler' $$);
SELECT jobsched.create_job('first', command => 'SELECT 1 AS one') > 0 AS created;
CALL test.run_now('first');

-- ... and goes, with its processes, when it is dropped.
BEGIN;
DROP EXTENSION jobsched;
ROLLBACK;
CALL test.run_now('first');
DROP EXTENSION jobsched;
SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'jobsched%';
CALL test.until($$ SELECT count(*) = 0 FROM pg_stat_activity
	WHERE backend_type IN ('jobsched scheduler', 'jobsched worker') AND datname = current_database() $$);

-- Again.  Nothing is left of what was there before.
CREATE EXTENSION jobsched;
SELECT count(*) AS jobs FROM jobsched.jobs;
SELECT count(*) AS runs FROM jobsched.runs;
CALL test.until($$ SELECT status = 'ok' FROM jobsched.health() WHERE "check" = 'scheduler' $$);
SELECT jobsched.create_job('first', command => 'SELECT 1 AS one') > 0 AS created;
CALL test.run_now('first');
SELECT jobsched.drop_job('first');
