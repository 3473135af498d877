--
-- What messages of errors have in common.  error_patterns_1.out is of a database with SQL_ASCII.
--

-- Patterns, beside what they are made of.  What stays is as important as what goes.
CREATE TEMP TABLE message (n serial, m text);
INSERT INTO message (m) VALUES
	-- numbers, with signs, decimals, groups and exponents; units stay
	('order 17 is missing'), ('order 4711 is missing'), ('balance is -12.50 EUR'), ('limit of 1,000,000 rows'), ('3.5e-10 and +7'),
	('took 250ms, then 3 s'), ('took 1h30m'), ('70 % of 5 kB'), ('range 5-7 or 10..20'), ('1.2.3'), ('.5'), ('a-5, b - 5, (-5), x=-5'),
	('ids 1, 2, 3 not found'), ('ids 1,2 not found'), ('ids 12 not found'), ('ids (1, 2), (3, 4)'),
	-- words with digits
	('md5 utf8 int4 s3'), ('user42, user_42, worker-3'), ('orders_2026_11'), ('cus_Nff7xk29aBz'), ('01ARZ3NDEKTSV4RRFFQ69G5FAV'),
	('line12a'), ('i18n'), ('x86_64'), ('4f2a'), ('varying(255)'),
	-- hexadecimal
	('at 0x7ffe12ab'), ('commit 4f2a9c01d'), ('deadbeef'), ('550e8400-e29b-41d4-a716-446655440000'), ('{550E8400-E29B-41D4-A716-446655440000}'),
	-- dates and times
	('at 2026-11-30 13:39:18.123456+00'), ('at 2026-11-30T13:39:18Z'), ('on 2026-11-30'), ('on 30.11.2026 at 13:39'), ('11/30/2026, 1:39 PM'),
	('Mon Nov 30 13:39:18 2026 UTC'), ('Mon, 30 Nov 2026 13:39:18 +0000'), ('30-Nov-2026'), ('November 30, 2026'), ('for 00:00:05'),
	('2 days 02:03:04'), ('May 5 rows'), ('Sun rises'), ('since 13:39:18 CET'),
	-- quoted values
	('invalid input syntax for type integer: "abc"'), ('invalid input syntax for type integer: ""'), ('value "a ""b"" c" is bad'),
	('value ''it''''s'' is bad'), ('value ''don''t'' is bad'), ('I can''t, the users'' table'), ('value «x y» is bad'), ('value „x“ is bad'),
	('value “x” and ‘y’ and »z«'), ('near `x`'), ('{"a": 1, "b_c": "x"}'), ('5" wide'), ('list: ''a'', ''b'', "c"'),
	('value "in
two lines" is bad'), ('back\slash "a\"b" end'),
	-- quotes that are not closed
	('value "abc is bad'), ('value "abc is bad
but 17 is good'), ('value ''abc'), ('rock ''n roll'), ('value «abc'), ('a " b " c'), ('a " b'),
	-- names stay
	('duplicate key value violates unique constraint "orders_pkey"'), ('relation "orders_2026_11" does not exist'), ('column "Total" of relation "a b" does not exist'),
	('role "alice" does not exist'), ('password authentication failed for user "alice"'), ('doppelter Schlüsselwert verletzt Unique-Constraint »orders_customer_key«'),
	('Relation »orders« existiert nicht'), ('missing "customer_id"'), ('customer_id: "some_text"'), ('run 17 of job "etl.load" has failed'),
	('job "nightly 42" of "x"'), ('Unknown column ''total'' in ''field list'''), ('relation "' || repeat('x', 201) || '" is long'),
	-- addresses
	('mail to john.doe+tag@example.co.uk failed'), ('mail to <a@b>, c@d.org.'), ('user @ home'), ('connect to 10.0.0.1:5432 failed'), ('10.0.0.0/8'),
	('connect to fe80::1 failed'), ('[2001:db8::1]:80'), ('::1'), ('2001:0db8:0000:0000:0000:0000:0000:0001'), ('00:1b:44:11:3a:b7'), ('1::integer and std::x'),
	('GET https://api.example.com/v1/users/17?key=secret#x failed'), ('GET https://user:pw@shard-17.example.com:8443/a, then b'), ('(see http://x.org/)'),
	('http://[::1]:80/x'), ('http://10.0.0.1/'), ('postgres://u:p@h/db'), ('https://x.org'), ('https://x.org?a=1'), ('https://x.org/a.'),
	-- what a number says
	('the server answered with status 503'), ('HTTP/1.1 404 Not Found'), ('HTTP status code: 500'), ('status 12345'), ('SQLSTATE 23505'), ('(SQLSTATE 40P01)'), ('SQLSTATE[42601]'), ('code 17'),
	('HTTP Error 404: Not Found'), ('The requested URL returned error: 503'), ('returned 404 rows'), ('unexpected response code: 502'), ('statusCode=429'), ('http_status 429'),
	('exited with code 1'), ('exit status 2'), ('exit code 137'), ('killed by signal 9'), ('[Errno 111] refused'), ('exit code 1.5'), ('error code 17'), ('exit 12345'),
	('postgres://u:p,w;x)@h.example.com/db'), ('see https://a.example.com,b@c.org'), ('returned with 300 rows'),
	-- bytes of no character
	('invalid byte sequence for encoding "UTF8": 0xe2 0x28 0xa1'), ('invalid byte sequence for encoding "UTF8": 0xff'), ('a deadbeef17 cafe2026ab'),
	-- space
	('  a   b
	c  '), (''), ('   '),
	-- letters of others
	('Ошибка 17 в строке «х»'), ('エラー12: 「値」が不正です'), ('naïve 5'), ('5é');
\pset format unaligned
SELECT replace(m, E'\n', '\n') AS message, jobsched_internal.error_pattern(m) AS pattern FROM message WHERE m <> '' ORDER BY n;
\pset format aligned
SELECT jobsched_internal.error_pattern(chr(1) || 'a' || chr(127) || 'b' || chr(9)) AS of_control_characters;
-- A pattern is its own pattern.
SELECT n, m FROM message WHERE jobsched_internal.error_pattern(jobsched_internal.error_pattern(m)) <> jobsched_internal.error_pattern(m);
-- What is behind a message makes no difference to what is before, but where a quote is open.
SELECT n, m FROM message
WHERE jobsched_internal.error_pattern(m || ' | end') <> ltrim(jobsched_internal.error_pattern(m) || ' | end') ORDER BY n;

--
-- Whatever is raised, it is read once.
--
SELECT length(jobsched_internal.error_pattern(repeat('x', 1000000))) AS length,
	right(jobsched_internal.error_pattern(repeat('order 17 ', 100)), 12) AS ends,
	jobsched_internal.error_pattern('value "' || repeat('x', 1000000) || '" is bad') AS pattern,
	jobsched_internal.error_pattern('value "' || repeat('x', 5000) || '" is bad') AS short;
-- a character is not cut
SELECT octet_length(jobsched_internal.error_pattern(repeat('x', i) || repeat('€', 200))) AS bytes, count(*)
FROM generate_series(0, 5) i GROUP BY 1 ORDER BY 1;
-- what a careless rule would read again and again
CREATE FUNCTION pg_temp.time_of(unit text) RETURNS interval LANGUAGE plpgsql AS $$
DECLARE
	message text := '"' || repeat(unit, 1000000 / length(unit));
	start timestamptz := clock_timestamp();
BEGIN
	FOR i IN 1..5 LOOP
		PERFORM jobsched_internal.error_pattern(message), jobsched_internal.error_pattern(substr(message, 2));
	END LOOP;
	RETURN clock_timestamp() - start;
END $$;
SELECT unit FROM unnest(ARRAY['x', '1', ' ', '"', '''', ' ''a', ' "', E'\n"\\"', '«', '.', 'a.', '1.', '1,', '-', '+-', ':', '1:', 'a:', '::',
	'@', 'a@', 'http://', '//', '1e', 'a1', '<', '_', '\', ' `', 'é', '1-', '1/', 'Mon ']) unit
WHERE pg_temp.time_of(unit) > '1 s';
-- pairs of characters
SELECT count(DISTINCT jobsched_internal.error_pattern(chr(a) || chr(b) || '1' || chr(b) || chr(a))) > 1000 AS ok
FROM generate_series(1, 255) a, generate_series(1, 255) b;
-- messages that are cut anywhere
SELECT count(*) > 2000 AS ok FROM message, generate_series(1, length(m)) i, LATERAL (
	SELECT jobsched_internal.error_pattern(left(m, i)), jobsched_internal.error_pattern(right(m, i))) p;

--
-- Of runs
--
CREATE ROLE regress_patterns LOGIN;
CREATE ROLE regress_patterns_other LOGIN;
CREATE ROLE regress_patterns_monitor LOGIN IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA jobsched TO regress_patterns, regress_patterns_other, regress_patterns_monitor;
SET ROLE regress_patterns_other;
SELECT * FROM jobsched.error_patterns();
SELECT jobsched.create_job('theirs', command => $$DO 'BEGIN RAISE ''their order % is gone'', 5; END'$$) > 0 AS ok;
SET ROLE regress_patterns;
SELECT jobsched.create_job('orders', command => $$SELECT jobsched.discard('order ' || (jobsched.args() ->> 'order') || ' is gone')$$) > 0 AS ok;
SELECT jobsched.create_job('more orders', command => $$SELECT jobsched.discard('order ' || (jobsched.args() ->> 'order') || ' is gone')$$) > 0 AS ok;
SELECT jobsched.create_job('divides', command => 'SELECT 1 / 0') > 0 AS ok;
SELECT jobsched.create_job('flow', steps => $$[{"name": "first", "command": "SELECT 1"},
	{"name": "second", "command": "SELECT jobsched.discard('no 17')", "after": ["first"]}]$$) > 0 AS ok;
SELECT jobsched.create_job('sleeps', command => 'SELECT pg_sleep(60)', timeout => '50 ms', max_attempts => 1) > 0 AS ok;
-- retried, and then it succeeds: no failure
SELECT jobsched.create_job('succeeds at last', max_attempts => 2, retry_delays => '{0}', retry_on => '{all}', command =>
	$$SELECT 1 / (jobsched.attempt() - 1)$$) > 0 AS ok;
CREATE TEMP TABLE ran AS SELECT jobsched.trigger('orders', jsonb_build_object('order', i)) AS run_id FROM generate_series(1, 3) i;
INSERT INTO ran SELECT jobsched.trigger('more orders', jsonb_build_object('order', 1000));
SELECT max(run_id) AS newest_order FROM ran \gset
INSERT INTO ran SELECT jobsched.trigger(job) FROM unnest('{divides,flow,sleeps,succeeds at last}'::text[]) job;
SET ROLE regress_patterns_other;
SELECT jobsched.trigger('theirs') AS theirs \gset
RESET ROLE;
CALL test.until($$ SELECT count(*) = 9 FROM jobsched.runs WHERE owner IN ('regress_patterns', 'regress_patterns_other') AND parent_run_id IS NULL AND finished_at IS NOT NULL $$);

SET ROLE regress_patterns;
SELECT pattern, sqlstate, count, last_at >= first_at AS in_order, jobs, example_run_id = :newest_order AS is_newest_order
FROM jobsched.error_patterns() ORDER BY count DESC, pattern COLLATE "C";
SELECT pattern, count, jobs FROM jobsched.error_patterns(job => 'orders');
-- of its steps
SELECT regexp_replace(error, '\d+', 'n') AS error FROM jobsched.runs WHERE job_name = 'flow';
SELECT pattern, count, jobs FROM jobsched.error_patterns(job => 'flow');
SELECT pattern, count, jobs FROM jobsched.error_patterns(job => 'flow.second');
SELECT pattern, count FROM jobsched.error_patterns(job => 'succeeds at last');
SELECT pattern, count FROM jobsched.error_patterns(job => 'theirs');
SELECT pattern, count FROM jobsched.error_patterns(job => 'none');
-- spans that are none
SELECT (SELECT count(*) FROM jobsched.error_patterns(NULL)) AS by_default, (SELECT count(*) FROM jobsched.error_patterns('0')) AS none,
	(SELECT count(*) FROM jobsched.error_patterns('-1 day')) AS negative, (SELECT count(*) FROM jobsched.error_patterns('170000000 years')) AS longest,
	(SELECT count(*) FROM jobsched.error_patterns('-170000000 years')) AS shortest;
-- an example is there to be looked at
SELECT r.error FROM jobsched.error_patterns() e JOIN jobsched.runs r ON r.run_id = e.example_run_id ORDER BY 1;
-- each sees his own, and who may see all sees all
SET ROLE regress_patterns_other;
SELECT pattern, sqlstate, count, jobs, example_run_id = :theirs AS ok FROM jobsched.error_patterns();
SET ROLE regress_patterns_monitor;
SELECT pattern, count FROM jobsched.error_patterns() WHERE pattern LIKE '%order <n> is gone' ORDER BY 2;
RESET ROLE;
-- Of a callback the message is for its owner alone; that it has failed is not.
INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source, run_at,
	queued_at, started_at, finished_at, reason, sqlstate, error, handler)
SELECT 9000000000000000000, 107, 1, job_id, 'regress_patterns'::regrole, 0, 0, 'failed', 'callback', now(), now(), now(), now(), 'error', 'P0009', 'hush 17', 'f'
FROM jobsched.jobs WHERE name = 'orders';
SET ROLE regress_patterns_monitor;
SELECT pattern, count FROM jobsched.error_patterns() WHERE sqlstate = 'P0009';
SET ROLE regress_patterns;
SELECT pattern, count FROM jobsched.error_patterns() WHERE sqlstate = 'P0009';
RESET ROLE;
DELETE FROM jobsched_internal.history WHERE run_id = 9000000000000000000;

-- Runs that have failed for a child: what that has failed of is there, unless it was cancelled, or is another's.  And what
-- has no message has a reason.
BEGIN;
INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source, run_at,
	queued_at, started_at, finished_at, reason, sqlstate, error)
SELECT 9000000000000000000 + n, 107, 1, job_id, 'regress_patterns'::regrole, 0, 0, v.status, 'trigger', now(), now(), now(), now() - v.at, v.reason, v.code, error
FROM jobsched.jobs, (VALUES (1, 'failed', 'child_failed', NULL, 'run 5 of job "x" has failed', interval '0'),
	(2, 'failed', 'child_failed', NULL, 'run 5 of job "x" was lost', '0'), (3, 'failed', 'child_failed', NULL, 'run 5 of job "x" was cancelled', '0'),
	(4, 'failed', 'child_failed', NULL, 'run 5 has failed', '0'), (5, 'lost', 'worker_died', NULL, NULL, '0'),
	(6, 'failed', 'http_status', 'JS503', 'the server answered with status 503', '0'), (7, 'failed', 'http_status', 'JS404', 'the server answered with status 404', '0'),
	(8, 'cancelled', 'cancelled', '57014', 'canceling', '0'), (9, 'failed', 'error', 'P0001', 'of long ago', '1 day 1 s'), (10, 'failed', 'error', 'P0001', 'of a while ago', '23 h')
	) v (n, status, reason, code, error, at) WHERE name = 'orders';
SELECT pattern, sqlstate, count FROM jobsched.error_patterns() WHERE example_run_id > 9000000000000000000 ORDER BY example_run_id;
SELECT pattern FROM jobsched.error_patterns('2 days') WHERE sqlstate = 'P0001' AND example_run_id > 9000000000000000000 ORDER BY 1;
SELECT pattern FROM jobsched.error_patterns('1 hour') WHERE sqlstate = 'P0001' AND example_run_id > 9000000000000000000 ORDER BY 1;
ROLLBACK;

-- What is read is bounded: 10,000 failures, the newest, and 50,000 runs without success.
BEGIN;
INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source, run_at,
	queued_at, started_at, finished_at, reason, sqlstate, error)
SELECT 9100000000000000000 + i, 107, 1, job_id, 'regress_patterns'::regrole, 0, 0, 'failed', 'trigger', now(), now(), now(), now(), 'error', 'P0009', 'many ' || i
FROM jobsched.jobs, generate_series(1, 11000) i WHERE name = 'orders';
SELECT pattern, count FROM jobsched.error_patterns();
SELECT pattern, count FROM jobsched.error_patterns(job => 'orders');
SELECT pattern, count FROM jobsched.error_patterns(job => 'divides');
INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source, run_at,
	queued_at, finished_at, reason)
SELECT 9110000000000000000 + i, 107, 1, job_id, 'regress_patterns'::regrole, 0, 0, 'skipped', 'schedule', now(), now(), now(), 'overlap'
FROM jobsched.jobs, generate_series(1, 49999) i WHERE name = 'orders';
SELECT pattern, count FROM jobsched.error_patterns();
SELECT pattern, count FROM jobsched.error_patterns(job => 'divides');
ROLLBACK;
SET ROLE regress_patterns_other;
SELECT jobsched.drop_job('theirs');
SET ROLE regress_patterns;
SELECT jobsched.drop_job(name) FROM jobsched.jobs ORDER BY name;
RESET ROLE;
