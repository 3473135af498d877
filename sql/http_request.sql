-- What a definition makes of a request: the C function behind it is for tests
-- only, see doc/internals.md.
CREATE FUNCTION test.render(definition jsonb, of_run boolean DEFAULT false, args jsonb DEFAULT NULL,
	secrets jsonb DEFAULT '{}', more jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE c AS 'jobsched', 'jobsched_http_render';
CREATE FUNCTION test.url_of(url text, args jsonb DEFAULT NULL, more jsonb DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT test.render(jsonb_build_object('url', url, 'method', 'GET'), false, args, '{"token": "s/cret v"}', more) ->> 'url'
$$;
CREATE FUNCTION test.header(request jsonb, name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(h, ' | ') FROM jsonb_array_elements_text(request -> 'headers') h WHERE lower(h) LIKE lower(name) || ':%'
$$;
CREATE FUNCTION test.refused(call text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT test.refusal('SELECT test.render(' || call || ')')
$$;
\pset format unaligned
\set more '{"job": "nightly report", "run_id": 42, "attempt": 2, "scheduled_for": "2027-03-01 05:00:00.25+01", "token": "12345678-9abc-4def-8123-456789abcdef", "now": "2027-03-01 04:00:07Z"}'

-- URLs as they are sent
SELECT url, test.url_of(url, '{"x": "a b/ä?", "n": 1.50, "b": true, "o": {"k": [1]}, "host": "EU-1.api", "id": "7"}', :'more') FROM (VALUES
	('https://example.com'), ('HTTPS://Example.COM:443/'), ('http://example.com:80/a'), ('http://example.com:8080/a'),
	('https://example.com?q=1'), ('https://example.com/a#fragment'), ('https://example.com#fragment'),
	('https://example.com./'), ('https://a_b.example.com/'), ('https://[2001:DB8::1]:8443/x'), ('https://127.0.0.1/'),
	('https://example.com/ä?ö=ü'), ('https://example.com/%41?a[]=1&b={"c":"d"}|^`<>\'),
	('https://example.com/{{args.x}}/{{ args.n }}?b={{args.b}}&o={{args.o}}'),
	('https://{{args.host}}.example.com/'), ('https://{{args.host}}:8443'),
	('https://example.com/{{run.id}}/{{run.attempt}}/{{run.scheduled_for}}/{{job.name}}'),
	('https://example.com/?all={{args}}'), ('https://example.com/}}/{'), ('https://example.com/#{{args.nothing}}'),
	('https://example.com/{{secret.token}}'), ('https://example.com/a@b:c')
) v (url);
SELECT test.render('{"url": "https://example.com/{{secret.token}}?s={{secret.token}}", "method": "GET"}', secrets => '{"token": "s/cret v"}')->'shown_url' AS shown_url;
-- of a request's own nothing is expanded
SELECT test.render('{"url": "https://example.com/{{args.x}}/{{secret.token}}"}', true, '{"x": 1}', '{"token": "s/cret v"}')->'url' AS url;

-- which are refused
SELECT left(url, 60) AS url, r FROM (VALUES
	(''), ('example.com'), ('//example.com'), ('ftp://example.com'), ('file:///etc/passwd'), ('javascript://x'), ('https:/example.com'),
	('https://'), ('https:///path'), ('https://:443/'), ('https://user@example.com/'), ('https://user:pass@example.com/'),
	('https://example.com:pass@evil.test/'), ('https://example.com\@evil.test/'), ('https://example.com\.evil.test/'),
	('https://exa mple.com/'), (E'https://example.com/\n'), (E'https://example.com/\r\nHost: evil'), (E'https://example.com/\x7f'), (' https://example.com/'),
	('https://example.com:0/'), ('https://example.com:65536/'), ('https://example.com:/'), ('https://example.com:x/'), ('https://example.com:80:80/'),
	('https://exämple.com/'), ('https://example..com/'), ('https://.example.com/'), ('https://ex%61mple.com/'), ('https://[::1/'), ('https://[::1]x/'), ('https://[10.0.0.1]/'), ('https://[fe80::1%25eth0]/'), ('https://(x)/'),
	('https://' || repeat('a', 64) || '/'), ('https://' || repeat('a.', 127) || 'a/'), ('https://example.com/' || repeat('x', 8192)),
	('{{args.url}}'), ('{{args.s}}://example.com/'), ('https://example.com:{{args.port}}/'), ('https://{{secret.token}}/'), ('https://{{vault.token}}.example.com/'),
	('https://{{args}}/'), ('https://{{run.id}}.example.com/'), ('https://{{args.user}}@example.com/'), ('https://[{{args.x}}]/'),
	('https://example.com/{{nothing}}'), ('https://example.com/{{args.}}'), ('https://example.com/{{args.a..b}}'), ('https://example.com/{{args.x'), ('https://example.com/{{}}'),
	('https://example.com/{{run.secret}}'), ('https://example.com/{{job.id}}'), ('https://example.com/{{secret.}}'), ('https://example.com/{{secret.a b}}'), ('https://example.com/{{ARGS.x}}'), ('https://example.com/{{{{args.x}}}}')
) v (url), test.refused(quote_literal(jsonb_build_object('url', url))) r WHERE r !~ '^HINT';
SELECT test.refused($$'{}'$$);
-- values that do not fit where they are put
SELECT url, left(args::text, 60) AS args, r FROM (VALUES
	('https://{{args.x}}/', '{"x": "evil.test/"}'::jsonb), ('https://{{args.x}}/', '{"x": "evil.test:81"}'), ('https://{{args.x}}/', '{"x": "a@b"}'),
	('https://{{args.x}}/', '{"x": ""}'), ('https://{{args.x}}.example.com/', '{"x": "a#"}'), ('https://{{args.x}}.example.com/', '{"x": "."}'), ('https://{{args.x}}.example.com/', '{"x": "a..b"}'), ('https://{{args.x}}/', '{"x": "ä"}'), ('https://{{args.x}}/', '{"x": "[::1]"}'),
	('https://{{args.x}}/', '{"x": {}}'), ('https://example.com/a/{{args.x}}/b', '{"x": ".."}'), ('https://example.com/a/.{{args.x}}', '{"x": "."}'), ('https://example.com/{{args.x}}?', '{"x": "."}'),
	('https://example.com/{{args.x}}', '{}'), ('https://example.com/{{args.x}}', NULL), ('https://example.com/{{args.x.y}}', '{"x": 1}'), ('https://example.com/{{args.x}}', '{"x": null}'), ('https://example.com/{{args.x}}', jsonb_build_object('x', repeat('x', 8192))),
	('https://example.com/{{secret.none}}', '{}'), ('https://example.com/{{vault.none}}', '{}')
) v (url, args), test.refused(quote_literal(jsonb_build_object('url', url)) || ', false, ' || quote_nullable(args)) r WHERE r !~ '^HINT';
-- dots that the definition has are its own
SELECT test.url_of('https://example.com/a/../b/{{args.x}}?{{args.y}}', '{"x": "...", "y": "/../"}');

-- parameters
SELECT test.render(jsonb_build_object('url', url), true, more => jsonb_build_object('params', params))->>'url' AS url FROM (VALUES
	('https://example.com/a', '{"q": "a b&c=d", "n": 1, "t": true, "ä ö": ["x", 2, false], "e": "", "none": []}'::jsonb),
	('https://example.com', '{"q": "{{secret.token}}"}'), ('https://example.com/?', '{"q": 1}'), ('https://example.com/?a=b', '{"q": 1}'),
	('https://example.com/?a=b&', '{"q": 1}'), ('https://example.com/?a=b#f', '{"q": 1}'), ('https://example.com/', '{}')
) v (url, params);
SELECT test.refused(format($$'{"url": "https://example.com"}', true, more => '{"params": %s}'$$, p)) FROM (VALUES ('[1]'), ('1'), ('{"a": null}'), ('{"a": {}}'), ('{"a": [[]]}'), ('{"a": [null]}')) v (p);

-- methods and bodies
SELECT test.render(jsonb_build_object('url', 'https://example.com', 'method', m))->>'method' AS method FROM unnest(ARRAY['get', 'HEAD', 'Post', 'PURGE', 'M-SEARCH']) m;
SELECT test.refused(quote_literal(jsonb_build_object('url', 'https://example.com', 'method', m))) FROM unnest(ARRAY['', 'CONNECT', 'trace', 'GET X', E'GET\r\n', 'GÄT', repeat('X', 21)]) m;
SELECT test.refused(quote_literal('{"url": "https://example.com"}'::jsonb || d::jsonb)) FROM (VALUES
	('{"method": "GET", "body": 1}'), ('{"method": "HEAD", "body_text": ""}'), ('{"body": 1, "body_text": "x"}'),
	('{"body": {"a": ["x", {"b": "{{args.x} }"}]}}'), ('{"body": "{{nothing}}"}'), ('{"body": {"{{args.x}}": 1}}'), ('{"body_text": "{{nothing}}"}'), ('{"body_text": "{{"}'), ('{"body": {"{{": 1}}')) v (d);
SELECT m, test.render(jsonb_build_object('url', 'https://example.com', 'method', m), of_run, '{"x": 1}', more => :'more')->'body' AS body
FROM unnest(ARRAY['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']) m, unnest(ARRAY[false, true]) of_run ORDER BY of_run, m;
-- a string that is one placeholder becomes the value, others are texts
SELECT test.render(jsonb_build_object('url', 'https://example.com', 'body', body), false,
	'{"n": 1.50, "t": "text \" \\ \n ä", "o": {"a": [1, {"b": null}]}, "z": null, "b": false, "p": "{{secret.token}} {{run.id}}"}',
	'{"token": "q\"uote\\"}', :'more')->>'body' AS body
FROM (VALUES ('"{{args.n}}"'::jsonb), ('"{{args.o}}"'), ('"{{args.z}}"'), ('"{{args}}"'), ('"x {{args.o}} {{args.n}} {{args.b}}"'), ('null'), ('1'), ('true'), ('"plain }} { text"'), ('[]'), ('{}'),
	('["{{args.n}}", "{{ args.t }}", ["{{args.o}}"], {"k": "{{args.z}}", "l": "{{args.b}}", "m": "<{{args.t}}>"}]'),
	('{"id": "{{run.id}}", "attempt": "{{run.attempt}}", "at": "{{run.scheduled_for}}", "job": "{{job.name}}", "s": "{{secret.token}}", "in": "Bearer {{secret.token}}"}'),
	('"{{args.p}}"'), ('"-{{args.p}}"'), ('{"deep": {"deep": {"deep": ["{{args.o.a}}"]}}}')) v (body);
SELECT test.refused(format($$'{"url": "https://example.com", "body": "%s"}', false, '{"z": null, "a": [1]}'$$, b)) FROM (VALUES ('x{{args.z}}'), ('{{args.none}}'), ('{{args.a.b}}'), ('{{args.z.a}}')) v (b);
SELECT r->>'body' AS body, test.header(r, 'content-type') AS type FROM (VALUES
	('{"body_text": "{\"a\":{\"b\":{{args.n}}}} {{args.t}}"}'::jsonb, false), ('{"body_text": ""}', false), ('{"body_text": "{{args.t}}"}', true), ('{"body": "{{args.t}}"}', true),
	('{"body": 1, "headers": {"content-type": "application/x"}}', false), ('{"body_text": "x", "headers": {"CONTENT-TYPE": "text/csv"}}', false), ('{}', true), ('{}', false)) v (d, of_run),
	test.render('{"url": "https://example.com"}'::jsonb || d, of_run, '{"n": 1, "t": "a\"b"}', more => :'more') r;

-- headers
SELECT jsonb_pretty(test.render('{"url": "https://example.com", "body": 1, "headers": {"X-A": "{{args.a}}-{{run.id}}", "Accept": ["text/plain", "*/*"], "X-Empty": ""}}', false,
	'{"a": "ä\tb"}', more => :'more')->'headers');
-- the user's own win
SELECT jsonb_pretty(test.render('{"url": "https://example.com", "headers": {"user-agent": "me", "TRACEPARENT": "mine", "idempotency-key": "k", "x-jobsched-run": "r", "X-Jobsched-Job": "j", "X-Jobsched-Attempt": "a", "x-jobsched-scheduled-for": "s", "webhook-id": "w"}, "body_text": ""}',
	more => :'more')->'headers');
SELECT test.header(test.render('{"url": "https://example.com"}', more => jsonb_build_object('job', job)), 'x-jobsched-job') FROM (VALUES ('plain name'), ('ä 100%'), (E'two\r\nlines')) v (job);
SELECT jsonb_array_length(test.render('{"url": "https://example.com", "method": "GET"}')->'headers') AS without_job_and_slot;
-- in a request of a run's own: no args
SELECT test.header(test.render('{"url": "https://example.com", "headers": {"X": "{{secret.token}} {{run.id}} {{job.name}} {{vault.v}}"}}', true, '{"x": 1}', '{"token": "secret}}{{run.id}}"}', jsonb_set(:'more', '{vault}', '{"v": "vaulted"}')), 'x');
SELECT test.refused(format($$'{"url": "https://example.com", "headers": %s}', %L$$, h, of_run)) FROM (VALUES
	('{"Host": "x"}', true), ('{"host": "x"}', true), ('{"Content-Length": "1"}', true), ('{"transfer-encoding": "chunked"}', true), ('{"Connection": "close"}', true), ('{"Upgrade": "h2c"}', true), ('{"TE": "x"}', true), ('{"Trailer": "x"}', true), ('{"Keep-Alive": "x"}', true), ('{"Proxy-Authorization": "x"}', true), ('{"proxy-x": "x"}', true), ('{"Expect": "x"}', true),
	('{"": "x"}', true), ('{"A B": "x"}', true), ('{"A:": "x"}', true), ('{"A\r\nB": "x"}', true), ('{"Ä": "x"}', true),
	('{"A": "x\r\nB: y"}', true), ('{"A": "x\ny"}', true), ('{"A": "x\u0001"}', true), ('{"A": "x\u007f"}', true), ('{"A": ["x", "\r"]}', true),
	('{"A": 1}', true), ('{"A": null}', true), ('{"A": {"b": "c"}}', true), ('{"A": [["b"]]}', true), ('["A"]', true), ('"A"', true), ('null', true),
	('{"A": "{{args.x}}"}', true), ('{"A": "{{args}}"}', true), ('{"A": "{{x}}"}', true), ('{"A": "{{"}', true), ('{"A": "{{x}}"}', false)) v (h, of_run);
-- whatever libcurl, or another reader of headers, might make of a name or a value
SELECT h, r FROM unnest(ARRAY['{"A;": "x"}', '{"@file": "x"}', '{"A ": "x"}', '{" A": "x"}', '{"A\t": "x"}', '{"A ": "x"}', '{"Ｈost": "x"}', '{":path": "/"}', '{"CONTENT-length": "1"}', '{"hOST": "x"}', '{"PROXY-Connection": "x"}', '{"A": "x\r\n y"}', '{"A": "x\r y"}', '{"A": "x\u000b"}', '{"A": "\u001f"}', '{"\u0048ost": "x"}']) h,
	test.refused(format($$'{"url": "https://example.com", "headers": %s}', true$$, h)) r WHERE r !~ '^HINT';
SELECT test.render('{"url": "https://example.com", "method": "GET", "headers": {"-X": "a;", "A": ";", "B": "@file", "C": " ", "x-d": "1", "X-D": "2"}}', true)->'headers' @> '["-X: a;", "A: ;", "B: @file", "C:  ", "x-d: 1", "X-D: 2"]' AS as_they_are;
SELECT left(r, 80) AS refused FROM (
	SELECT jsonb_object_agg('H' || i, 'x'::text) FROM generate_series(1, 101) i UNION ALL SELECT jsonb_build_object('H', repeat('x', 32768)) UNION ALL SELECT jsonb_build_object(repeat('H', 101), 'x'::text) UNION ALL SELECT jsonb_build_object('H', (SELECT jsonb_agg('x'::text) FROM generate_series(1, 101)))) v (h), test.refused(quote_literal(jsonb_build_object('url', 'https://example.com', 'headers', h))) r;
-- what arguments and secrets bring along is looked at when it is there, and not shown
SELECT test.refused(format($$'{"url": "https://example.com", "headers": {"X-Name": "a{{args.x}}{{secret.token}}"}}', false, '%s', '%s'$$, args, secrets)) FROM (VALUES
	('{"x": "\r\nEvil: yes"}', '{"token": "fine"}'), ('{"x": "\u0000"}', '{"token": "fine"}'), ('{"x": "\n"}', '{"token": "fine"}'), ('{"x": "fine"}', '{"token": "hush\n"}'), ('{"x": "fine"}', '{"token": "abc"}'), ('{"x": "fine"}', '{}')) v (args, secrets);
SELECT test.refused($$'{"url": "https://example.com", "headers": {"X-Name": "{{args.x}}"}}', false, jsonb_build_object('x', repeat('x', 32768))$$);

-- ids: of a run in a database, whatever the attempt
SELECT test.header(r, 'idempotency-key') AS key, test.header(r, 'traceparent') AS trace FROM (VALUES ('{}'), ('{"attempt": 3}'), ('{"run_id": 43}'), ('{"token": "12345678-9abc-4def-8123-456789abcdee"}')) v (m),
	test.render('{"url": "https://example.com"}', more => :'more'::jsonb || m::jsonb) r;
-- a trace is continued if it is one
SELECT t, test.header(test.render('{"url": "https://example.com"}', more => :'more'::jsonb || jsonb_build_object('traceparent', t)), 'traceparent') AS trace FROM (VALUES
	('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00'), ('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'), ('cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-what-the-future-will-be-like'),
	('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x'), ('ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'), ('00-00000000000000000000000000000000-b7ad6b7169203331-01'), ('00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01'), ('00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01'), ('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0'), (''), (E'00-\r\n')) v (t);

-- signatures (Standard Webhooks): checked here by another way to the same
CREATE FUNCTION test.hmac(key bytea, content text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	padded bytea := key || decode(repeat('00', 64 - length(key)), 'hex');
	inner_key bytea := padded;
	outer_key bytea := padded;
BEGIN
	FOR i IN 0..63 LOOP
		inner_key := set_byte(inner_key, i, get_byte(padded, i) # 54);
		outer_key := set_byte(outer_key, i, get_byte(padded, i) # 92);
	END LOOP;
	RETURN encode(sha256(outer_key || sha256(inner_key || convert_to(content, 'UTF8'))), 'base64');
END
$$;
-- the example of the specification's libraries
SELECT test.hmac(decode('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64'), 'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}');
SELECT name, test.header(r, 'webhook-id') AS id, test.header(r, 'webhook-timestamp') AS timestamp, test.header(r, 'webhook-signature') AS signature,
	substr(test.header(r, 'webhook-signature'), length('webhook-signature: ') + 1) = (
		SELECT string_agg('v1,' || test.hmac(key, substr(test.header(r, 'webhook-id'), 13) || '.' || substr(test.header(r, 'webhook-timestamp'), 20) || '.' || COALESCE(r->>'body', '')), ' ' ORDER BY n)
		FROM unnest(keys) WITH ORDINALITY k (key, n)) AS right
FROM (VALUES ('whsec', ARRAY[decode('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64')]), ('raw', ARRAY['raw-key-ä'::bytea]),
	('both', ARRAY[decode('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64'), 'raw-key'])) v (name, keys),
	test.render(jsonb_build_object('url', 'https://example.com', 'sign_with', name, 'body', '{"test": "ä"}'::jsonb), false, NULL,
		'{"whsec": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "raw": "raw-key-ä", "both": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw  raw-key"}', :'more') r;
SELECT test.header(test.render('{"url": "https://example.com", "sign_with": "k", "method": "GET"}', secrets => '{"k": "raw-key"}', more => :'more'), 'webhook-signature')
	= 'webhook-signature: v1,' || test.hmac('raw-key', substr(test.header(test.render('{"url": "https://example.com", "sign_with": "k", "method": "GET"}', secrets => '{"k": "raw-key"}', more => :'more'), 'webhook-id'), 13) || '.1803873607.') AS without_body;
SELECT test.refused(format($$'{"url": "https://example.com", "sign_with": "%s", "headers": %s}', false, NULL, '{"bad": "whsec_hush*", "empty": "whsec_", "spaces": "    ", "good": "raw-key"}'$$, name, h))
FROM (VALUES ('none', '{}'), ('bad', '{}'), ('empty', '{}'), ('spaces', '{}'), ('two words', '{}'), ('good', '{"Webhook-Id": "x"}'), ('good', '{"webhook-signature": "x"}')) v (name, h);

-- keys as receivers show them: Supabase's too, and several of them
SELECT name, test.header(r, 'webhook-signature') = 'webhook-signature: ' || (
		SELECT string_agg('v1,' || test.hmac(key, substr(test.header(r, 'webhook-id'), 13) || '.' || substr(test.header(r, 'webhook-timestamp'), 20) || '.' || COALESCE(r->>'body', '')), ' ' ORDER BY n)
		FROM unnest(keys) WITH ORDINALITY k (key, n)) AS right
FROM (VALUES ('supabase', ARRAY['0123456789abcdef01234567'::bytea]), ('bar', ARRAY['0123456789abcdef01234567'::bytea, decode('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64')]), ('spaces', ARRAY['0123456789abcdef01234567'::bytea, 'raw-key', decode('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64')]),
	('mixed', ARRAY['raw-key'::bytea, '0123456789abcdef01234567']), ('raw', ARRAY['a|b,v1,c'::bytea]), ('longest', ARRAY[decode(repeat('ab', 64), 'hex')])) v (name, keys),
	test.render(jsonb_build_object('url', 'https://example.com', 'sign_with', name, 'body', '{"test": "ä"}'::jsonb), false, NULL,
		'{"supabase": "v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", "bar": "v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3|v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "spaces": " v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3 raw-key\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw ",
		"mixed": "raw-key|v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", "raw": "a|b,v1,c"}'::jsonb || jsonb_build_object('longest', 'whsec_' || translate(encode(decode(repeat('ab', 64), 'hex'), 'base64'), E'\n', '')), :'more') r;

-- definitions: what is given is written over what was there
SELECT test.render(d::jsonb, more => jsonb_build_object('old', old::jsonb))->'definition' FROM (VALUES
	('{"body": 1}', '{"url": "https://example.com", "body_text": "x", "method": "PUT"}'),
	('{"body_text": "x"}', '{"url": "https://example.com", "body": null}'),
	('{"body": null}', '{"url": "https://example.com"}'),
	('{"sign_with": "", "connect_timeout": 0, "success_codes": [], "max_redirects": 0, "on_success": "", "on_failure": ""}', '{"url": "https://example.com", "sign_with": "k", "connect_timeout": 1, "success_codes": ["200"], "max_redirects": 1}'),
	('{}', '{"url": "https://example.com", "connect_timeout": 1, "success_codes": ["200"], "max_redirects": 1, "on_success": "f", "on_failure": "g"}'),
	('{"url": "https://example.org", "headers": {"B": "c"}, "connect_timeout": 2500, "success_codes": ["2xx", "404"], "max_redirects": 5, "on_success": "f", "on_failure": "g"}', '{"url": "https://example.com", "headers": {"A": "b"}}')) v (d, old);
SELECT test.refused(format($$'{"url": "https://example.com", %s}'$$, d)) FROM (VALUES ('"success_codes": ["20"]'), ('"success_codes": ["2x0"]'), ('"success_codes": ["600"]'), ('"success_codes": ["0xx"]'), ('"success_codes": [""]'), ('"connect_timeout": 3600001'), ('"max_redirects": 21')) v (d);
SELECT test.refused(format($$'{"method": "GET"}', more => '{"old": {"url": "https://example.com", "body": 1}}'$$));
SELECT codes, string_agg(s::text, ' ' ORDER BY s) AS success FROM (VALUES ('["200"]'), ('["2xx", "404"]'), ('["5xx"]')) v (codes), unnest(ARRAY[100, 199, 200, 201, 299, 300, 404, 500, 599]) s
WHERE test.render('{"url": "https://example.com"}'::jsonb || jsonb_build_object('success_codes', codes::jsonb), more => jsonb_build_object('response_status', s))->>'success' = 'yes' GROUP BY codes ORDER BY codes;
SELECT string_agg(s::text, ' ' ORDER BY s) AS success FROM unnest(ARRAY[100, 199, 200, 201, 299, 300, 404, 500, 599]) s WHERE test.render('{"url": "https://example.com"}', more => jsonb_build_object('response_status', s))->>'success' = 'yes';
-- one that somebody has spoilt is refused when it is rendered, or read sanely
SELECT test.refused(quote_literal(d) || $$, of_run => false, more => '{"spoilt": 1, "response_status": 200}'$$) FROM (VALUES
	('{}'), ('[]'), ('1'), ('{"url": 1}'), ('{"url": "https://u@x/"}'), ('{"url": "https://{{secret.x}}/"}'), ('{"url": "https://x", "method": "get"}'), ('{"url": "https://x", "method": "A\r\n"}'), ('{"url": "https://x", "headers": []}'), ('{"url": "https://x", "headers": {"Host": "x"}}'), ('{"url": "https://x", "headers": {"A": "\r"}}'), ('{"url": "https://x", "body": "{{x}}"}'), ('{"url": "https://x", "sign_with": "y"}'), ('{"url": "https://x", "method": "GET", "body_text": "x"}')) v (d);
SELECT r->'connect_timeout_ms' AS connect_timeout, r->'max_redirects' AS redirects, r->'success' AS success FROM (VALUES
	('{"url": "https://x", "connect_timeout": -5, "max_redirects": 1e9, "success_codes": 1}'), ('{"url": "https://x", "connect_timeout": 1e30, "max_redirects": "x", "success_codes": [1, null, "2xx"]}'), ('{"url": "https://x", "connect_timeout": "NaN", "max_redirects": -1, "success_codes": {}}')) v (d),
	test.render(d::jsonb, more => '{"spoilt": 1, "response_status": 200}') r;

-- a host is sent, and counted, in one form, however it is written
SELECT host, r->>'url' AS url, r->>'host_key' AS key FROM unnest(ARRAY['127.0.0.1', '127.0.0.1.', '127.1', '127.0.1', '0177.0.0.1', '017700000001', '0x7f.0.0.1', '0x7f.1', '0X7F000001', '2130706433',
	'[::ffff:127.0.0.1]', '[::FFFF:7f00:1]', '[0:0:0:0:0:ffff:7f00:0001]', '[::1]', '[0:0::0:1]', '[0000:0000:0000:0000:0000:0000:0000:0001]', '[::127.0.0.1]',
	'example.com', 'EXAMPLE.com', 'example.com.', 'Example.Com.', 'xn--bcher-kva.example', '0x7g.example', '127.0.0.1.example']) host, test.render(jsonb_build_object('url', 'http://' || host || '/', 'method', 'GET'), true) r;
SELECT url, test.render(jsonb_build_object('url', url, 'method', 'GET'))->>'host_key' AS key FROM unnest(ARRAY['http://example.com.', 'HTTP://EXAMPLE.COM:80/', 'http://example.com:080/', 'https://example.com:80/', 'https://0x7f.1:443?x']) url;
-- what ends in a number is an address or nothing; so is what has other characters
SELECT host, test.refused(quote_literal(jsonb_build_object('url', 'http://' || host || '/'))) AS r FROM unnest(ARRAY['256.1.1.1', '1.2.3.4.5', '0x', '0xg.1', '08.0.0.1', '4294967296', '127.0.0.0x100', 'web.1', 'web.0x1.', '127.0.0.1..', '[::ffff:127.0.0.1.]', '[0x7f::1]',
	'bücher.example', 'ｅｘａｍｐｌｅ.com', '１２７.0.0.1', 'example。com', 'xn--bücher', '%31%32%37.0.0.1']) host;
-- arguments within a host too: the key is that of the host that is called
CREATE FUNCTION test.keys_of(url text, args jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
	name text := 'keys of ' || md5(url || args);
BEGIN
	PERFORM jobsched.create_job(name, url => url, method => 'GET');
	id := jobsched.trigger(name, args, run_at => '2099-01-01');
	RETURN (SELECT string_agg(k, ' ') FROM jobsched.runs r, unnest(r.keys) k WHERE run_id = id);
EXCEPTION WHEN invalid_parameter_value THEN
	RETURN SQLERRM;
END
$$;
BEGIN;
SELECT url, args, test.keys_of(url, args) AS keys, (SELECT string_agg(u, '') FROM regexp_matches(test.url_of(url, args), '^http://([^/]*)') m, unnest(m) u) AS host FROM (VALUES
	('http://{{args.x}}/', '{"x": "2130706433"}'::jsonb), ('http://{{args.x}}/', '{"x": 2130706433}'), ('http://{{args.x}}/', '{"x": 127.10}'), ('http://{{args.x}}/', '{"x": "127.10"}'), ('http://{{args.x}}.{{args.y}}/', '{"x": "0x7f", "y": 1}'),
	('http://{{args.x}}:8080/', '{"x": "Example.COM"}'), ('http://{{args.x}}./', '{"x": "example.com"}'), ('http://API-{{args.x}}.example.com/', '{"x": "EU"}'), ('http://{{args.x}}/', '{"x": true}'), ('http://{{args.größe}}.example.com/', '{"größe": "XL"}')) v (url, args);
SELECT url, args, test.keys_of(url, args) AS keys FROM (VALUES ('http://{{args.x}}/', '{"x": "evil.test/"}'::jsonb), ('http://{{args.x}}/', '{"x": "1.2.3.4.5"}'), ('http://{{args.x}}/', '{}'), ('http://{{args.x}}/', '{"x": null}')) v (url, args);
-- so are keys of that class that somebody gives
SELECT jobsched.http_request('GET', 'http://EXAMPLE.com:8080', run_at => '2099-01-01', keys => ARRAY['http_host:Example.com.:8080', 'http_host:0x7f.1:80', 'http_host:Other', 'user:A.:1']) AS id \gset
SELECT keys FROM jobsched.runs WHERE run_id = :id;
ROLLBACK;
DROP FUNCTION test.keys_of;
-- a value does not complete what leads out of the path
SELECT test.refused(format($$'{"url": "https://example.com/a/%s/b"}', false, '{"x": ".", "y": ".."}'$$, t)) FROM unnest(ARRAY['%2e{{args.x}}', '{{args.x}}%2E', '.{{args.x}}', '{{args.y}}', '{{args.x}}']) t;
SELECT test.url_of('https://example.com/a/%2e%2e/{{args.x}}%2e', '{"x": "v1"}') AS own_dots;
-- nor what the definition has begun to escape
SELECT t, r FROM unnest(ARRAY['%{{args.x}}', '%2{{args.x}}', 'a%{{run.id}}', '?q=%2{{secret.token}}', '%{{ args.x }}b', '%25{{args.x}}', '%g{{args.x}}', '100%/{{args.x}}', '{{args.x}}%']) t, test.refused(format('%L, false, %L', jsonb_build_object('url', 'https://example.com/' || t), '{"x": "F"}')) r WHERE r !~ '^HINT';

-- the key of a host
SELECT left(url, 60) AS url, test.render(jsonb_build_object('url', url), args => '{"x": "a"}')->>'host_key' AS key FROM (VALUES ('https://Example.com/x'), ('http://example.com'), ('https://example.com:8443'), ('https://[::1]/'), ('https://{{args.x}}.Example.com/{{args.x}}'), ('https://' || repeat('a123456789.', 20) || 'com/')) v (url);

-- redirects
CREATE FUNCTION test.redirected(base text, status int, location text, method text DEFAULT 'GET', more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT test.render(jsonb_build_object('url', base, 'method', method) || more, false, NULL, '{"token": "hush hush", "key": "raw-key"}',
		jsonb_build_object('redirects', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('status', status, 'location', location)))))
$$;
-- references (RFC 3986 5.4, with a base that is ours)
SELECT left(location, 60) AS location, COALESCE(r->>'problem', r->>'url') AS leads_to FROM unnest(ARRAY['g', './g', 'g/', '/g', '//g', '?y', 'g?y', '#s', 'g#s', 'g?y#s', ';x', 'g;x', 'g;x?y#s', '', '.', './', '..', '../', '../g', '../..', '../../', '../../g',
	'../../../g', '../../../../g', '/./g', '/../g', 'g.', '.g', 'g..', '..g', './../g', './g/.', 'g/./h', 'g/../h', 'g;x=1/./y', 'g;x=1/../y', 'g?y/./x', 'g?y/../x', 'g:h', 'https://a/b', 'HTTPS://A:443/b', 'https:g', 'http://a/b', 'ftp://a/b',
	'//user@a/', 'https://user:pw@a/', 'https://a b/', '/a b', '/ä', '/\evil.test', '\\evil.test', 'https:\\evil.test', E'/a\nb', E'/a\tb', '/' || repeat('x', 8200)]) location, test.redirected('https://a/b/c/d;p?q', 302, location) r;
SELECT location, test.redirected('https://a?q', 302, location)->>'url' AS leads_to FROM unnest(ARRAY['g', '?y', '', '..']) location;
-- methods (RFC 9110 15.4)
SELECT status, method, COALESCE(r->>'problem', concat(r->>'method', ' ', r->>'body', ' ', test.header(r, 'content-type'), ' ', test.header(r, 'content-language'))) AS becomes
FROM unnest(ARRAY[301, 302, 303, 307, 308]) status, unnest(ARRAY['GET', 'HEAD', 'POST', 'PUT']) method, test.redirected('https://a/', status, '/x', method, CASE WHEN method LIKE 'P%' THEN '{"body": 1, "headers": {"Content-Language": "en"}}' ELSE '{}' END::jsonb) r;
SELECT status, test.redirected('https://a/', status, '/x')->>'problem' FROM unnest(ARRAY[200, 300, 304, 305]) status;
SELECT test.redirected('https://a/', 302, NULL)->>'problem';
-- a POST becomes no GET, unless a success is what the status is said to be
SELECT status, codes, COALESCE(r->>'problem', concat(r->>'method', ' ', r->>'body')) AS becomes FROM unnest(ARRAY[301, 302, 303, 307]) status, unnest(ARRAY['["2xx"]', '["200", "302"]', '["3xx"]']) codes,
	test.redirected('https://a/', status, '/x', 'POST', jsonb_build_object('body', 1, 'success_codes', codes::jsonb)) r;
SELECT method, test.redirected('https://a/', 302, '/x', method, '{"body_text": "x"}')->>'method' AS becomes FROM unnest(ARRAY['PUT', 'PATCH', 'DELETE', 'PROPFIND']) method;
SELECT test.redirected('https://a/', 302, '/x', 'POST', '{"body_text": ""}')->>'problem' AS without_body;
-- what another origin gets
SELECT base, location, COALESCE(r->>'problem', (SELECT string_agg(split_part(h, ':', 1), ' ') FROM jsonb_array_elements_text(r->'headers') h WHERE h !~ '^(User-Agent|Idempotency|traceparent|X-Jobsched|Content)')) AS gets
FROM (VALUES ('https://a/', '/x'), ('https://a/', 'https://A:443/x'), ('https://a/', 'https://b/x'), ('https://a/', 'https://a:444/x'), ('https://a/', 'https://a.b/x'), ('https://a/', 'http://a/x'), ('http://a/', 'https://a/x'), ('http://a/', 'http://a:80/x'), ('https://a/', 'https://b/?leak=hush%20hush'), ('https://a/', '/x?leak=hush%20hush')) v (base, location),
	test.redirected(base, 307, location, 'POST', '{"body": 1, "sign_with": "key", "headers": {"Authorization": "plain", "cookie": "plain", "X-Token": "Bearer {{secret.token}}", "X-Plain": "plain"}}') r;
SELECT what, location, status, COALESCE(r->>'problem', (r->>'method') || ' ' || (r->>'shown_url')) AS becomes FROM (VALUES
	('{"body": {"t": "{{secret.token}}"}}'), ('{"body_text": "x{{secret.token}}x"}'), ('{"url": "https://a/{{secret.token}}"}')) v (what), unnest(ARRAY['/same', 'https://b/']) location, unnest(ARRAY[303, 307]) status,
	test.redirected('https://a/', status, location, 'POST', what::jsonb) r;
-- of headers those that tell nothing, and no others, whatever they are called
SELECT location, test.header(r, 'x-jobsched-run') IS NOT NULL AS run, (SELECT string_agg(split_part(h, ':', 1), ' ') FROM jsonb_array_elements_text(r->'headers') h WHERE h !~ '^X-Jobsched') AS gets
FROM unnest(ARRAY['/x', 'https://b/x']) location, test.redirected('https://a/', 307, location, 'POST', '{"body": 1, "sign_with": "key", "headers": {"ACCEPT": "*/*", "accept-language": "en", "Content-Language": "en", "Content-Key": "k", "apikey": "k", "X-Api-Key": "k", "x-auth-token": "k", "Authorization": "k", "Cookie": ["k", "k"],
	"Api_Key": "k", "Private-Token": "k", "Accept-Key": "k", "User-Agent-Key": "k", "X-Amz-Security-Token": "k", "Ocp-Apim-Subscription-Key": "k", "Signature": "k", "tracestate": "k", "baggage": "k", "Referer": "https://a/?k", "Range": "bytes=0-1"}}') r;
SELECT location, test.header(test.redirected('https://a/', 307, location, 'POST', '{"headers": {"User-Agent": "me/{{secret.token}}", "Accept": "{{secret.token}}"}}'), 'user-agent') AS agent FROM unnest(ARRAY['/x', 'https://b/x']) location;
-- a secret is found in where a redirect leads to, whatever escapes it has been sent back with
CREATE FUNCTION test.led(location text, secrets jsonb DEFAULT '{"token": "aB\"c/d\\e+f%g h"}') RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN r->>'problem' ~ 'secret' THEN 'refused' ELSE COALESCE(r->>'problem', 'followed') END FROM test.render('{"url": "https://a/", "method": "GET", "headers": {"X-Key": "{{secret.token}}"}}', true, NULL, secrets,
		jsonb_build_object('redirects', jsonb_build_array(jsonb_build_object('status', 302, 'location', location)))) r
$$;
SELECT form, test.led('https://b/?k=' || form) AS elsewhere, test.led('/?k=' || form) AS here FROM unnest(ARRAY[
	'aB"c/d\e+f%g h', 'aB%22c%2Fd%5Ce%2Bf%25g%20h', 'ab%22c%2fd%5ce%2bf%25g+h', 'aB"c%2Fd\e%2Bf%25g%20h', 'aB%22c/d%5Ce+f%g h', 'aB\"c/d\\e+f%g h', 'aB\"c\/d\\e+f%g h', 'aB%5C%22c%5C/d%5C%5Ce%2Bf%25g%20h', 'aB\u0022c\u002fd\u005Ce\u002Bf\u0025g\u0020h',
	'aB%2522c%252Fd%255Ce%252Bf%2525g%2520h', 'aB%252522c%25252Fd%25255Ce%25252Bf%252525g%252520h', '%61%42%22c/d%5Ce+f%g%20h', 'ab"C/D\E+F%G H', 'aB\\\"c\\\/d\\\\e+f%g h', 'x%aB"c/d\e+f%g hx',
	'aB"c/d', 'aB_c/d\e+f%g h', 'nothing', '%', '\', '%5', '\u12']) form;
SELECT location, test.led(location, '{"token": "AbCd1234"}') AS leads FROM unnest(ARRAY['https://abcd1234.evil.test/', 'https://ABCD1234.evil.test/', 'https://b/AbCd1234', 'https://b/#AbCd1234', 'https://b/AbC/../AbCd1234', 'https://b/AbCd/1234', '//b/%41%62%43%64%31%32%33%34', 'https://b/\u0041bCd1234', 'https://b/%5cu0041bCd1234', 'https://b/AbCd123']) location;
SELECT form, test.led('https://b/' || form, jsonb_build_object('token', secret)) AS leads FROM (VALUES ('ä/ö"ü', '%C3%A4/%c3%b6"%C3%BC'), ('ä/ö"ü', '\u00e4/\u00F6\"\u00fc'), ('%41%42%43%44', '%2541%2542%2543%2544'), ('%41%42%43%44', 'ABCD'), ('41abc"/', '%41abc"/'), ('\n\n\n', '\\n\\n\\n'), ('+ + +', '+++++'), ('\\\\', '%5C%5C%5C%5C'), ('%00"/\u0000x', '%2500%22%2F\u0000x'), ('ab%00"/x', 'ab')) v (secret, form);
-- and looking for it does not take long
SELECT test.led('https://b/' || repeat('%25', 2700), jsonb_build_object('token', repeat('%25', 2300) || 'x')) AS leads;
DROP FUNCTION test.led;
-- a signature is one of a body
SELECT status, test.header(test.redirected('https://a/', status, '/x', 'POST', '{"body": 1, "sign_with": "key"}'), 'webhook-id') IS NULL AS dropped FROM unnest(ARRAY[303, 307]) status;

-- Retry-After, in microseconds
SELECT to_json(left(h, 60)) AS h, test.render('{"url": "https://x"}', more => jsonb_build_object('response_headers', h, 'now', '2027-03-01 04:00:00Z'))->>'retry_after' AS us FROM unnest(ARRAY[
	'', E'Retry-After: 120\r\n', E'Server: x\r\nretry-after:0\r\nX: y\r\n', 'RETRY-AFTER:  7 ', E'Retry-After: \r\n', E'Retry-After: -1\r\n', E'Retry-After: 1.5\r\n', E'Retry-After: soon\r\n', E'Retry-After: 99999999999999999999999\r\n', E'Retry-After: 5 GMT\r\n', E'X-Retry-After: 5\r\n',
	E'Retry-After: Mon, 01 Mar 2027 04:02:00 GMT\r\n', E'Retry-After: Monday, 01-Mar-27 04:02:00 GMT\r\n', E'Retry-After: Mon Mar  1 04:02:00 2027\r\n', E'Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n', E'Retry-After: Sunday, 06-Nov-94 08:49:37 GMT\r\n', E'Retry-After: Tuesday, 01-Mar-77 04:00:00 GMT\r\n',
	E'Retry-After: Mon, 30 Feb 2027 04:02:00 GMT\r\n', E'Retry-After: Mon, 01 Mar 2027 24:02:00 GMT\r\n', E'Retry-After: Mon, 01 Mär 2027 04:02:00 GMT\r\n', E'Retry-After: Mon, 01 Mar 2027 04:02:00 CET\r\n', E'Retry-After: Mon, 01 Mar 2027 04:02:00 GMT x\r\n', E'Retry-After: Mon, 01 Mar 9999 04:02:00 GMT\r\n', E'Retry-After: x\r\nRetry-After: 9\r\n', E'Retry-After: 12' || repeat(' ', 100) || E'x\r\n']) h;

-- what a server sends back has no secret, however it was sent
SELECT test.render('{"url": "https://x/{{secret.a}}", "body": "{{secret.b}} {{secret.c}}"}', secrets => '{"a": "pass word", "b": "quo\"te", "c": "word-and-quo"}',
	more => jsonb_build_object('response_body', b))->>'response_body' AS body FROM unnest(ARRAY['', 'nothing', 'pass word', 'xpass wordx pass%20word', '"quo\"te" quo"te', 'pass word-and-quo"te', 'pass wor', 'pass wordpass word']) b;

-- whatever the case of hexadecimal digits, and where a secret repeats itself or another
SELECT test.render('{"url": "https://x/{{secret.a}}", "body": "{{secret.b}} {{secret.c}}"}', secrets => '{"a": "a/b=ü", "b": "aabaab", "c": "ab%2fc"}',
	more => jsonb_build_object('response_body', b))->>'response_body' AS body FROM unnest(ARRAY['a%2fb%3d%c3%bc', 'a%2Fb%3D%C3%bC', 'a%2fb%3d%c3%b', 'aabaabaab', 'aabaaabaab', 'xaabaaby aabaabaabaabz', 'ab%2fc', 'ab%2Fc ab%252fc', '%2', '%']) b;
-- and long ones do not take long
SELECT test.render('{"url": "https://x/{{secret.a}}", "method": "GET"}', secrets => jsonb_build_object('a', repeat('a', 6999) || 'b'),
	more => jsonb_build_object('response_body', repeat('a', 2000000) || 'b!'))->>'response_body' = repeat('a', 2000000 - 6999) || '***!' AS redacted;

-- how many secrets there are
SELECT jsonb_object_agg('s' || i, 'value-' || i) AS secrets FROM generate_series(1, 17) i \gset
CREATE FUNCTION test.naming(n int) RETURNS text LANGUAGE sql AS $$ SELECT string_agg('{{secret.s' || i || '}}', '') FROM generate_series(1, n) i, generate_series(1, 2) $$;
SELECT length(test.render(jsonb_build_object('url', 'https://x/' || test.naming(16), 'headers', jsonb_build_object('X', test.naming(16)), 'body', test.naming(16), 'sign_with', 's17'), secrets => :'secrets')->>'body');
SELECT test.refused(quote_literal(d) || ', ' || of_run) FROM (VALUES (jsonb_build_object('url', 'https://x/' || test.naming(17)), false), (jsonb_build_object('url', 'https://x/', 'body_text', test.naming(17)), false),
	(jsonb_build_object('url', 'https://x/' || test.naming(15), 'body', ARRAY['{{vault.s1}}', '{{secret.s17}}']), false), (jsonb_build_object('url', 'https://x/', 'headers', jsonb_build_object('X', test.naming(17))), true)) v (d, of_run);
SELECT test.refused(format('%L, false, NULL, %L, %L', jsonb_build_object('url', 'https://x/' || test.naming(17)), :'secrets', '{"spoilt": 1}'));

-- how large a body may be: as it is written, and while it is made
SELECT length(test.render(jsonb_build_object('url', 'https://x/', 'body_text', repeat('x', 16777216)), of_run)->>'body') FROM unnest(ARRAY[false, true]) of_run;
SELECT test.refused(format($$jsonb_build_object('url', 'https://x/', %s), %L$$, body, of_run)) FROM (VALUES
	($$'body_text', repeat('x', 16777217)$$), ($$'body', repeat('x', 16777215)$$), ($$'body', (SELECT jsonb_agg(1e131071::numeric) FROM generate_series(1, 200))$$)) v (body), unnest(ARRAY[false, true]) of_run;
SELECT what, test.refused(format($$jsonb_build_object('url', 'https://x/') || %s, false, jsonb_build_object('x', repeat('x', 1000000), 'n', 1e131071::numeric)$$, what)) FROM (VALUES
	($$jsonb_build_object('body', repeat('{{args}}', 2000))$$), ($$jsonb_build_object('body_text', repeat('{{args.x}}', 2000))$$), ($$jsonb_build_object('body', array_fill('{{args}}'::text, ARRAY[2000]))$$),
	($$jsonb_build_object('body', array_fill('{{args.x}}'::text, ARRAY[2000]))$$), ($$jsonb_build_object('body', array_fill('-{{args.n}}'::text, ARRAY[2000]))$$), ($$jsonb_build_object('body', array_fill('{{args.n}}'::text, ARRAY[2000]))$$),
	($$jsonb_build_object('headers', jsonb_build_object('X', repeat('{{args.x}}', 2000)))$$)) v (what);
SELECT test.refused($$jsonb_build_object('url', 'https://x/?' || repeat('{{args.x}}', 800)), false, jsonb_build_object('x', repeat('x', 1000000))$$);
-- each placeholder and each key takes its time
SELECT what, test.refused(format($$jsonb_build_object('url', 'https://x/') || %s, false, '{"x": ""}'$$, what)) FROM (VALUES
	($$jsonb_build_object('body_text', repeat('{{args.x}}', 10001))$$), ($$jsonb_build_object('body', array_fill('{{args.x}}'::text, ARRAY[10001]))$$)) v (what);
SELECT length(test.render(jsonb_build_object('url', 'https://x/', 'body_text', repeat('{{args.x}}', 10000)), false, '{"x": ""}')->>'body') AS many;
SELECT n, array_length(string_to_array(test.header(test.render('{"url": "https://x/", "sign_with": "k"}', secrets => jsonb_build_object('k', repeat('key ', n))), 'webhook-signature'), ' v1,'), 1) - 1 AS signatures FROM unnest(ARRAY[1, 8]) n;
SELECT test.refused($$'{"url": "https://x/", "sign_with": "k"}', secrets => jsonb_build_object('k', repeat('key ', 9))$$);
DROP FUNCTION test.naming;

-- The job of single requests has none itself: what it can have is what holds for all of them.
CREATE ROLE regress_http LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_http;
GRANT EXECUTE ON FUNCTION jobsched.http_request TO regress_http;
CREATE FUNCTION test.http_failed(answer jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT answer->'reason' $$;
GRANT USAGE ON SCHEMA test TO regress_http;
SET ROLE regress_http;
SELECT jobsched.http_request('POST', 'http://127.0.0.1:9/', run_at => '2099-01-01') > 0 AS ok;
-- A timeout is a day at most.
SELECT test.refusal(what) FROM (VALUES ($$SELECT jobsched.http_get('http://127.0.0.1:9/', timeout => '3000 days')$$), ($$SELECT jobsched.http_post('http://127.0.0.1:9/', timeout => '24:00:00.000001')$$),
	($$SELECT jobsched.create_job('long', url => 'http://127.0.0.1:9/', timeout => '2 days')$$), ($$SELECT jobsched.alter_job('http', timeout => '2 days')$$)) v (what);
SELECT jobsched.create_job('long', command => 'SELECT 1', timeout => '2 days') > 0 AS ok;
SELECT test.refusal($$SELECT jobsched.alter_job('long', url => 'http://127.0.0.1:9/')$$);
SELECT jobsched.alter_job('long', url => 'http://127.0.0.1:9/', timeout => '1 day');
SELECT test.refusal($$SELECT jobsched.trigger('long', timeout => '2 days')$$);
SELECT test.refusal($$SELECT * FROM jobsched.trigger_many('long', '{NULL}', timeout => '2 days')$$);
SELECT jobsched.drop_job('long');
SELECT jobsched.alter_job('http', on_failure => 'test.http_failed', success_codes => '{404}', connect_timeout => '2 s', max_redirects => 3);
SELECT request, on_success, on_failure FROM jobsched.jobs;
SELECT test.refusal(format($$SELECT jobsched.alter_job('http', %s)$$, what)) FROM (VALUES
	($$method => 'GET'$$), ($$headers => '{"X": "y"}'$$), ($$body => '1'$$), ($$body_text => 'x'$$), ($$sign_with => 'key'$$), ($$on_failure => 'test.nothing'$$), ($$max_redirects => 21$$), ($$on_success => 'test.http_failed', method => 'PUT'$$)) v (what);
SELECT jobsched.http_post('http://127.0.0.1:9/') > 0 AS ok;
CALL test.until($$ SELECT count(*) = 1 FROM jobsched.runs WHERE handler = 'test.http_failed' AND status = 'succeeded' $$, '20 s');
SELECT source, result FROM jobsched.runs WHERE handler IS NOT NULL;
SELECT jobsched.alter_job('http', on_failure => '', success_codes => '{}', connect_timeout => '0', max_redirects => 0);
SELECT request, on_success, on_failure FROM jobsched.jobs;
SELECT jobsched.drop_job('http');
RESET ROLE;
CALL test.until($$ SELECT count(*) = 0 FROM jobsched_internal.run $$, '20 s');
CALL test.end_workers('regress_http');
REVOKE USAGE ON SCHEMA jobsched, test FROM regress_http;
REVOKE EXECUTE ON FUNCTION jobsched.http_request FROM regress_http;
DROP FUNCTION test.http_failed;
DROP ROLE regress_http;

-- Whatever comes in, what goes out is well formed: each header is one line, a body is JSON
-- with the same structure, the URL stays where it was.
CREATE FUNCTION test.noise() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg((ARRAY[chr(13), chr(10), E'\r\n', '"', '\', '{{', '}}', '{{secret.token}}', '{{args.x}}', '{', '}', chr(9), chr(127), chr(1), 'ä', ' ', ':', ',', '/', '..', '?', '#', '%', '@', 'a', 'Host: evil', '''', '$', '<'])[1 + floor(random() * 29)::int], '')
	FROM generate_series(1, (1 + random() * 5)::int)
$$;
CREATE FUNCTION test.attack() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	x text := test.noise();
	h text := test.noise();
	r jsonb;
	body jsonb;
BEGIN
	BEGIN
		r := test.render(jsonb_build_object('url', 'https://example.com/a/{{args.x}}/b?q={{args.x}}', 'body', '{"one": "{{args.x}}", "in": "<{{args.x}}>", "all": ["{{args}}"]}'::jsonb,
			'headers', CASE WHEN random() < 0.5 THEN jsonb_build_object('X-One', 'v') ELSE jsonb_build_object('X-One', h) END || CASE WHEN random() < 0.5 THEN '{"X-Two": "{{args.x}}"}' ELSE '{}' END::jsonb),
			false, jsonb_build_object('x', x), '{"token": "the-secret"}', jsonb_build_object('job', x || h));
	EXCEPTION WHEN invalid_parameter_value THEN
		RETURN 'refused';
	END;
	body := (r->>'body')::jsonb;
	IF body->>'one' IS DISTINCT FROM x OR body->>'in' IS DISTINCT FROM '<' || x || '>' OR body->'all'->0->>'x' IS DISTINCT FROM x THEN
		RETURN 'body: ' || r::text;
	END IF;
	IF (r->>'url') !~ '^https://example\.com/a/[A-Za-z0-9%._~-]+/b\?q=[A-Za-z0-9%._~-]+$' THEN
		RETURN 'url: ' || r::text;
	END IF;
	IF EXISTS (SELECT FROM jsonb_array_elements_text(r->'headers') l WHERE l !~ '^[A-Za-z-]+: ' OR l ~ '[\x01-\x08\x0a-\x1f\x7f]') THEN
		RETURN 'headers: ' || r::text;
	END IF;
	IF r::text ~ 'the-secret' AND h !~ 'secret' THEN
		RETURN 'secret: ' || r::text;
	END IF;
	RETURN 'sent';
END
$$;
SELECT setseed(0.5);
SELECT outcome, count(*) > 100 AS often FROM (SELECT test.attack() AS outcome FROM generate_series(1, 3000)) a GROUP BY outcome ORDER BY outcome;

-- settings are checked when they are given
ALTER SYSTEM SET jobsched.http_allow = '10.0.0.0/8, 10.0.0.1/8';
ALTER SYSTEM SET jobsched.http_deny = '*.example.com,';
ALTER SYSTEM SET jobsched.http_proxy = 'ftp://user:pass@proxy';
ALTER SYSTEM SET jobsched.http_proxy = 'http://';
SELECT name, min_val, max_val FROM pg_settings WHERE name LIKE 'jobsched.http\_max%' ORDER BY name COLLATE "C";
SET jobsched.http_allow = '0.0.0.0/0';

DROP FUNCTION test.attack, test.noise, test.redirected, test.hmac, test.refused, test.header, test.url_of, test.render;
