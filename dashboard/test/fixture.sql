-- A library that the tests ask about through the server, as role clerk. It has each
-- type that a page meets, a number that JavaScript has not, and a name that wants
-- quoting everywhere.
CREATE ROLE clerk LOGIN;
CREATE SCHEMA library;
GRANT USAGE ON SCHEMA library TO clerk;
CREATE TABLE library.shelf (shelf_id integer PRIMARY KEY, label text NOT NULL UNIQUE);
CREATE TABLE library.book (
	book_id bigint PRIMARY KEY,
	shelf_id integer REFERENCES library.shelf,
	title text NOT NULL,
	state text,
	facts jsonb,
	bought_at timestamptz,
	loan interval,
	subjects text[],
	price numeric,
	lent boolean);
INSERT INTO library.shelf SELECT i, 'shelf ' || i FROM generate_series(1, 4) i;
INSERT INTO library.book
	SELECT i, 1 + i % 4, 'book ' || i, (ARRAY['new', 'lent', 'lost'])[1 + i % 3],
		jsonb_build_object('pages', i * 10, 'author', jsonb_build_object('name', 'A' || i % 5), 'prizes', jsonb_build_array('p' || i)),
		timestamptz '2026-03-01 00:00:00+00' + i * interval '6 hours', i * interval '1 day', ARRAY['s' || i % 2, 'all, of "it"'], i / 8.0, i % 2 = 0
	FROM generate_series(1, 30) i;
INSERT INTO library.book (book_id, title) VALUES (9007199254740995, 'a "quoted", (odd) title & more: é');
CREATE VIEW library.lost AS SELECT book_id, title FROM library.book WHERE state = 'lost';
CREATE TABLE library."odd ""name"", of (it)" ("a ""b"", c" integer, "__proto__" text);
INSERT INTO library."odd ""name"", of (it)" VALUES (1, 'x');
CREATE TABLE library.note (note_id integer PRIMARY KEY, body text NOT NULL, tags text[] DEFAULT '{}');
CREATE TABLE library.safe (secret text);
GRANT SELECT ON library.shelf, library.book, library.lost, library."odd ""name"", of (it)" TO clerk;
GRANT SELECT, INSERT, UPDATE, DELETE ON library.note TO clerk;

CREATE FUNCTION library.twice(n integer, plus integer DEFAULT 0) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT n * 2 + plus';
CREATE FUNCTION library.echo(what jsonb, at timestamptz DEFAULT NULL, words text[] DEFAULT NULL) RETURNS jsonb STABLE LANGUAGE sql
	AS $$ SELECT jsonb_build_object('what', what, 'at', at, 'words', words) $$;
CREATE FUNCTION library.numbers(n integer) RETURNS SETOF bigint STABLE LANGUAGE sql AS 'SELECT i FROM generate_series(1, n) i';
CREATE FUNCTION library.states() RETURNS TABLE (state text, books bigint) STABLE LANGUAGE sql
	AS 'SELECT state, count(*) FROM library.book WHERE state IS NOT NULL GROUP BY 1 ORDER BY 1';
CREATE FUNCTION library.first_book() RETURNS library.shelf STABLE LANGUAGE sql AS 'SELECT * FROM library.shelf ORDER BY 1 LIMIT 1';
CREATE FUNCTION library.jot(note_id integer, body text) RETURNS void LANGUAGE sql AS 'INSERT INTO library.note VALUES (note_id, body)';
CREATE FUNCTION library.fail(state text) RETURNS integer LANGUAGE plpgsql
	AS $$ BEGIN RAISE EXCEPTION 'failed with %', state USING ERRCODE = state, DETAIL = 'd', HINT = 'h'; END $$;
CREATE FUNCTION library.wait(seconds double precision) RETURNS integer LANGUAGE plpgsql
	AS 'BEGIN PERFORM pg_sleep(seconds); RETURN 1; END';
CREATE FUNCTION library.request() RETURNS jsonb STABLE LANGUAGE sql
	AS $$ SELECT jsonb_build_object('role', current_user, 'method', current_setting('request.method'), 'path', current_setting('request.path'),
		'headers', current_setting('request.headers')::jsonb, 'read_only', current_setting('transaction_read_only'),
		'timeout', current_setting('statement_timeout'), 'path_of_names', current_setting('search_path')) $$;
CREATE DOMAIN library."text/x-report" AS text;
CREATE FUNCTION library.report() RETURNS library."text/x-report" STABLE LANGUAGE sql AS $$ SELECT E'one\ntwo\n'::library."text/x-report" $$;
CREATE FUNCTION library.long() RETURNS text STABLE LANGUAGE sql AS $$ SELECT repeat('x', 34000000) $$;
CREATE FUNCTION library.shout(n integer) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', repeat('x', n); RETURN 1; END $$;
CREATE FUNCTION library.fail_at_length(n integer) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', repeat('x', n); END $$;
CREATE FUNCTION library.any_record() RETURNS record STABLE LANGUAGE sql AS 'SELECT 1, 2';
-- An operator that is a better match than the catalog's, for who looks at it.
CREATE FUNCTION public.steal(oid, regtype) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stolen by %', current_user; END $$;
CREATE OPERATOR public.= (FUNCTION = public.steal, LEFTARG = oid, RIGHTARG = regtype);
CREATE ROLE binder;
GRANT binder TO clerk;
CREATE FUNCTION library.leave_behind() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SET SESSION ROLE binder';
	EXECUTE 'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY';
	PERFORM pg_catalog.set_config('client_encoding', 'LATIN1', false), pg_catalog.set_config('mine.secret', 'left', false);
	PERFORM pg_catalog.pg_advisory_lock(20260301);
	LISTEN left_behind;
	CREATE TEMPORARY TABLE text (a integer);
END $$;
CREATE FUNCTION library.left_behind() RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('role', current_user, 'encoding', current_setting('client_encoding'), 'read_only', current_setting('transaction_read_only'),
		'secret', coalesce(current_setting('mine.secret', true), ''), 'locks', (SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objid = 20260301),
		'channels', (SELECT count(*) FROM pg_catalog.pg_listening_channels()), 'tables', (SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relkind = 'r')) $$;
CREATE FUNCTION library.closed() RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION library.two(a integer) RETURNS integer LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION library.two(a text) RETURNS integer LANGUAGE sql AS 'SELECT 1';
REVOKE EXECUTE ON FUNCTION library.closed FROM PUBLIC;
ANALYZE library.book, library.shelf;
