# Copyright (c) 2026, jobsched contributors

# What is made of rows: results of runs, and bodies of webhooks.  No row undoes
# the work that it came with, none runs anybody's code, none is read as what it
# is not.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('results', conf => "jobsched.timezone = 'UTC'\ntimezone = 'UTC'\n");
my $sink = start_sink($node);
my $url = $sink->{url};
my $json = JSON::PP->new->canonical->utf8->allow_nonref;

sub psql { return session_sql($node, $db, $superuser, $_[0]); }
sub app { return session_sql($node, $db, 'app', $_[0]); }

# What an app's statement says besides: warnings.  It must not fail.
sub warned
{
	my ($sql, $role) = @_;
	my ($ret, $stdout, $stderr) = $node->psql($db, $sql, extra_params => [ '-U', $role // 'app', '-v', 'VERBOSITY=verbose' ]);

	is($ret, 0, substr($sql, 0, 60) . ' succeeds') or diag $stderr;
	return $stderr;
}

# ------------------------------------------------------------------------
# Results
# ------------------------------------------------------------------------

app(q{
	CREATE TABLE app.did (what text);
	CREATE TYPE app.mood AS ENUM ('sad', 'ok');
	CREATE TYPE app.pair AS (a int, b text, moods app.mood[]);
	CREATE TYPE app.nest AS (p app.pair, more app.pair[]);
	CREATE TYPE app.altered AS (b int8, a int8);
	CREATE DOMAIN app.doc AS jsonb;
	CREATE DOMAIN app.pair_domain AS app.pair CHECK ((VALUE).a > 0);
	CREATE TABLE app.big (t text, j jsonb);
	ALTER TABLE app.big ALTER t SET STORAGE EXTERNAL;
	INSERT INTO app.big VALUES (repeat('big', 10000), jsonb_build_object('k', repeat('big', 10000)));
	CREATE TABLE app.shape (gone int, a int);
	INSERT INTO app.shape VALUES (1, 2);
	ALTER TABLE app.shape DROP gone;
	CREATE TABLE app.ruled (a int);
	CREATE RULE r1 AS ON INSERT TO app.ruled DO ALSO SELECT (500000::int8 << 2) AS x;
	CREATE RULE r2 AS ON INSERT TO app.ruled DO ALSO SELECT ''::bytea AS x;
	CREATE TABLE app.forged (a int);
	CREATE RULE r1 AS ON INSERT TO app.forged DO ALSO SELECT '01010000-0000-0000-0000-000000000001'::uuid AS x, 1 AS y;
	CREATE RULE r2 AS ON INSERT TO app.forged DO ALSO SELECT 'a'::text AS x;
	CREATE TABLE app.returning (a int);
	CREATE RULE r1 AS ON INSERT TO app.returning DO ALSO SELECT 'also' AS also;
	CREATE TABLE app.instead (a int);
	CREATE RULE r1 AS ON UPDATE TO app.instead DO INSTEAD (SELECT 'first'::text AS a; SELECT 2 AS b, 3 AS c);
	CREATE FUNCTION app.prepares() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PREPARE p2 AS SELECT ''::bytea; RETURN 1; END $$;
	CREATE PROCEDURE app.out(INOUT a int, INOUT b text) LANGUAGE plpgsql AS $$ BEGIN a := a + 1; b := b || b; END $$;
	CREATE PROCEDURE app.commits(INOUT b text) LANGUAGE plpgsql AS $$ BEGIN SELECT left(t, 30) INTO b FROM app.big; COMMIT; END $$;
	CREATE FUNCTION app.as_record() RETURNS SETOF record LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT 1, 'x'::text; END $$;
	CREATE FUNCTION app.to_json(app.mood) RETURNS json LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO app.did VALUES ('cast as ' || current_user); RETURN '"cast"'; END $$;
	CREATE CAST (app.mood AS json) WITH FUNCTION app.to_json(app.mood)});

my $number = 0;

# Queues a run of a command that leaves a trace; returns its id.
sub command
{
	my ($sql, $mode) = @_;
	$number++;
	return app(qq{SELECT jobsched.create_job('r$number', mode => '} . ($mode // 'auto') . qq{', command => \$cmd\$INSERT INTO app.did VALUES ('r$number'); $sql\$cmd\$) \\g /dev/null
		SELECT jobsched.trigger('r$number')});
}

my $too_large = 'it exceeds jobsched.max_result_size of 1024 kB';
my @cases = (
	# What is kept
	[ 'literal backslash', q{SELECT 'C:\u0000dir' AS path}, '{"path": "C:\\\\u0000dir"}' ],
	[ 'json as it is', q{SELECT '{"b" : 1, "a":[ ]}'::json AS j}, '{"j": {"a": [], "b": 1}}' ],
	[ 'one jsonb column', q{SELECT '[1, {"a": null}]'::jsonb}, '[1, {"a": null}]' ],
	[ 'jsonb scalar', q{SELECT '"x"'::jsonb AS a, 'null'::jsonb AS b}, '{"a": "x", "b": null}' ],
	[ 'numbers', q{SELECT 1::int2 AS a, -2 AS b, 9223372036854775807 AS c, 1.50 AS d, 'NaN'::float8 AS e, '-Infinity'::numeric AS f, 1e300::float8 AS g, 0.1::float4 AS h},
		'{"a": 1, "b": -2, "c": 9223372036854775807, "d": 1.50, "e": "NaN", "f": "-Infinity", "g": 1' . ('0' x 300) . ', "h": 0.1}' ],
	[ 'times', q{SET DateStyle = 'German'; SELECT date '2020-01-02' AS d, timestamp '2020-01-02 03:04:05.6' AS t, timestamptz '2020-01-02 03:04:05+00' AS z, 'infinity'::date AS i, '1 day'::interval AS v},
		'{"d": "2020-01-02", "i": "infinity", "t": "2020-01-02T03:04:05.6", "v": "1 day", "z": "2020-01-02T03:04:05+00:00"}' ],
	[ 'texts', q{SELECT 'a'::varchar(3) AS v, 'b'::char(2) AS c, 'n'::name AS n, 'u' AS u, true AS t, NULL::bool AS f}, '{"c": "b ", "f": null, "n": "n", "t": true, "u": "u", "v": "a"}' ],
	[ 'other types', q{SELECT '\xdead'::bytea AS b, int4range(1, 5) AS r, '00000000-0000-0000-0000-000000000001'::uuid AS u, '10.0.0.1'::inet AS i, pg_sleep(0) AS s},
		'{"b": "\\\\xdead", "i": "10.0.0.1", "r": "[1,5)", "s": "", "u": "00000000-0000-0000-0000-000000000001"}' ],
	[ 'arrays', q{SELECT ARRAY[[1, 2], [3, NULL]] AS a, '{}'::int[] AS e, ARRAY['a', NULL] AS t, '1 2'::int2vector AS v, ARRAY[ROW(1, 'x')] AS r},
		'{"a": [[1, 2], [3, null]], "e": [], "r": [{"f1": 1, "f2": "x"}], "t": ["a", null], "v": [1, 2]}' ],
	[ 'composites', q{SELECT ROW(ROW(1, 'x', '{ok,sad}')::app.pair, ARRAY[ROW(2, NULL, NULL)::app.pair])::app.nest AS n, s, ROW(3, 'd', '{}')::app.pair_domain AS d FROM app.shape s},
		'{"d": {"a": 3, "b": "d", "moods": []}, "n": {"p": {"a": 1, "b": "x", "moods": ["ok", "sad"]}, "more": [{"a": 2, "b": null, "moods": null}]}, "s": {"a": 2}}' ],
	[ 'casts are not used', q{SELECT 'ok'::app.mood AS m, ARRAY['sad'::app.mood] AS a}, '{"a": ["sad"], "m": "ok"}' ],
	[ 'domain over jsonb', q{SELECT '{"a": 1}'::app.doc AS d, 2 AS b}, '{"b": 2, "d": {"a": 1}}' ],
	[ 'dropped columns', q{SELECT * FROM app.shape}, '{"a": 2}' ],
	[ 'names of the query', q{SELECT a AS other FROM app.shape}, '{"other": 2}' ],
	[ 'toasted', q{SELECT left(t, 6) AS t FROM app.big}, '{"t": "bigbig"}' ],
	[ 'toasted and deleted', q{DELETE FROM app.big RETURNING length(t) AS n, t = repeat('big', 10000) AS same}, '{"n": 30000, "same": true}' ],
	[ 'EXPLAIN', q{EXPLAIN (COSTS off) SELECT 1}, '{"QUERY PLAN": "Result"}' ],
	[ 'SHOW', q{SHOW work_mem}, '{"work_mem": "4MB"}' ],
	[ 'EXECUTE', q{PREPARE p AS SELECT 7 AS seven; EXECUTE p}, '{"seven": 7}' ],
	[ 'FETCH', q{DECLARE c CURSOR FOR SELECT g FROM generate_series(1, 3) g; FETCH 2 FROM c}, '{"g": 1}' ],
	[ 'CALL', q{CALL app.out(1, 'x')}, '{"a": 2, "b": "xx"}' ],
	[ 'record', q{SELECT * FROM app.as_record() AS r(a int, b text)}, '{"a": 1, "b": "x"}' ],
	[ 'same name twice', q{SELECT 1 AS a, 2 AS a}, '{"a": 2}' ],
	[ 'no column', q{SELECT}, '' ],
	[ 'no row', q{SELECT 1 WHERE false}, '' ],
	[ 'rows of earlier statements', q{SELECT 1 AS a; CREATE TABLE app.none ()}, '' ],
	# Statements that rules have made several of
	[ 'rules, int8 and bytea', q{INSERT INTO app.ruled VALUES (1)}, '{"x": 2000000}' ],
	[ 'rules, a uuid and text', q{INSERT INTO app.forged VALUES (1)}, '{"x": "01010000-0000-0000-0000-000000000001", "y": 1}' ],
	[ 'rules, RETURNING', q{INSERT INTO app.returning VALUES (1) RETURNING a}, '{"a": 1}' ],
	[ 'rules, INSTEAD', q{UPDATE app.instead SET a = 1}, '{"a": "first"}' ],
	[ 'EXECUTE of what its arguments prepare', q{PREPARE other(int) AS SELECT 1 AS a; EXECUTE other(app.prepares())}, '{"a": 1}' ],
	[ 'FETCH of a held cursor', q{DECLARE h CURSOR WITH HOLD FOR SELECT g, repeat('g', g) AS t FROM generate_series(1, 3) g; MOVE 1 FROM h; FETCH h}, '{"g": 2, "t": "gg"}', undef, 'autocommit' ],
	# What is dropped
	[ 'composites of before their type was altered', q{DECLARE c CURSOR WITH HOLD FOR SELECT ROW(1, x'0102030405060101'::bigint)::app.altered AS v; ALTER TYPE app.altered ALTER ATTRIBUTE a TYPE text; FETCH c},
		'', qr/altered after the datum's creation|a composite value is not of its type/, 'autocommit' ],
	[ 'half a surrogate pair', q{SELECT '{"a":"\ud83d"}'::json}, '', qr/invalid input syntax for type json/ ],
	[ 'a zero character', q{SELECT '{"a":"x\u0000y"}'::json AS j, 1 AS a}, '', qr/unsupported Unicode escape sequence/ ],
	[ 'a number out of range', q{SELECT '1e200000'::json}, '', qr/value overflows numeric format/ ],
	[ 'json that is deep', q{SELECT (repeat('[', 4000) || repeat(']', 4000))::json}, undef ],
	[ 'a text of 300 MB', q{SELECT repeat(repeat('x', 1024 * 1024), 300)}, '', qr/\Q$too_large\E/ ],
	[ 'a text of 180 MB to be escaped', q{SELECT repeat(repeat(E'\x01', 1024 * 1024), 180)}, '', qr/\Q$too_large\E/ ],
	[ 'two texts of 520 MB', q{SELECT a, a AS b FROM (SELECT repeat(repeat('x', 1024 * 1024), 520) AS a OFFSET 0) s}, '', qr/\Q$too_large\E/ ],
	[ 'a text of 2 MB', q{SELECT repeat(repeat('x', 1024 * 1024), 2) AS x}, '', qr/the result of 2\d+ bytes was dropped: \Q$too_large\E/ ],
	[ 'an array of two million', q{SELECT array_agg(g) FROM generate_series(1, 2000000) g}, '', qr/\Q$too_large\E/ ],
	[ 'an array of nulls', q{SELECT array_fill(NULL::int, ARRAY[2000000])}, '', qr/\Q$too_large\E/ ],
	[ 'digits', q{SELECT array_agg(1e100000) FROM generate_series(1, 50000)}, '', qr/\Q$too_large\E/ ],
	[ 'jsonb of many digits', q{SELECT jsonb_agg(1e100000) FROM generate_series(1, 50000)}, '', qr/\Q$too_large\E/ ],
	[ 'autocommit', q{SELECT '{"a":"\u0000"}'::json}, '', qr/unsupported Unicode/, 'autocommit' ],
	[ 'a pseudo-type', q{SELECT stavalues1 FROM (SELECT NULL::pg_ddl_command AS stavalues1) s}, '{"stavalues1": null}' ]);

my @runs = map { command($_->[1], $_->[4]) } @cases;
push @cases, [ 'CALL that commits', q{CALL app.commits(NULL)}, '{"b": "' . ('big' x 10) . '"}' ];
end_of($node, $db, $_) for @runs;    # they read the table as it is
psql(q{INSERT INTO app.big VALUES (repeat('big', 10000), '{}')});
push @runs, do { app(q{SELECT jobsched.create_job('call', command => 'CALL app.commits(NULL)') \g /dev/null
	SELECT jobsched.trigger('call')}) };

for my $i (0 .. $#cases)
{
	my ($name, undef, $result, $log) = @{ $cases[$i] };

	is(end_of($node, $db, $runs[$i]), 'succeeded', "$name: the run succeeds");
	is(psql("SELECT coalesce(result::text, '') FROM jobsched.runs WHERE run_id = $runs[$i]"), $result, "$name: its result") if defined $result;
	like(psql("SELECT coalesce(string_agg(message, '; '), '') FROM jobsched.run_logs WHERE run_id = $runs[$i]"), $log // qr/^$/, "$name: its log");
}
is(psql('SELECT count(*) FROM app.did'), $number, 'all work stays, and no cast was called');

# ------------------------------------------------------------------------
# Handlers, also in a shared transaction
# ------------------------------------------------------------------------

app(q{
	TRUNCATE app.did;
	CREATE FUNCTION app.large(jsonb) RETURNS jsonb LANGUAGE sql AS
		$$ INSERT INTO app.did VALUES ('large'); SELECT to_jsonb(repeat(repeat('x', 1000000), 100)) $$;
	CREATE FUNCTION app.digits(jsonb) RETURNS jsonb LANGUAGE sql AS
		$$ INSERT INTO app.did VALUES ('digits'); SELECT jsonb_agg(1e100000) FROM generate_series(1, 50000) $$;
	CREATE FUNCTION app.fine(jsonb) RETURNS jsonb LANGUAGE sql AS
		$$ INSERT INTO app.did VALUES ('fine'); SELECT $1 $$;
	CREATE FUNCTION app.domain(jsonb) RETURNS app.doc LANGUAGE sql AS $$ SELECT '1'::app.doc $$;
	SELECT jobsched.create_job(f, handler => 'app.' || f, share_transaction => true, args => '{"a": 1}') FROM unnest('{large,digits,fine}'::text[]) f});
my %shared = map { split / / } split /\n/, app(q{SELECT f || ' ' || jobsched.trigger(f) FROM unnest('{large,digits,fine}'::text[]) f});
is(end_of($node, $db, $shared{$_}), 'succeeded', "$_: a handler's run succeeds") for qw(large digits fine);
is(psql("SELECT result FROM jobsched.runs WHERE run_id = $shared{fine}"), '{"a": 1}', 'its value is the result');
is(psql("SELECT count(result) FROM jobsched.runs WHERE run_id IN ($shared{large}, $shared{digits})"), '0', 'one that is too large is dropped');
is(psql("SELECT count(*) FROM jobsched.run_logs WHERE run_id IN ($shared{large}, $shared{digits}) AND message ~ 'dropped: it exceeds'"), '2', 'as the log says');
is(psql(q{SELECT string_agg(what, ' ' ORDER BY what) FROM app.did}), 'digits fine large', 'the work stays');
like(error_of($node, $db, q{SELECT jobsched.create_job('domain', handler => 'app.domain')}, 'app'), qr/22023.*It returns neither jsonb nor void/s, 'a domain is refused at the door');

# ------------------------------------------------------------------------
# Webhooks
# ------------------------------------------------------------------------

app(qq{
	TRUNCATE app.did;
	CREATE TABLE app.rows (id int, doc json, t text, m app.mood DEFAULT 'ok', p app.pair, d app.doc, at timestamptz);
	INSERT INTO app.rows (id, doc) VALUES (1, '{"a":"x\\u0000y"}'), (2, '{"a":"\\ud83d"}'), (3, '1e200000'), (4, '{"a" : 1}');
	INSERT INTO app.rows (id, t) VALUES (5, repeat(repeat('x', 1024 * 1024), 9));
	CREATE TRIGGER hook AFTER INSERT OR UPDATE OR DELETE ON app.rows FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url/hook')});

sub body_of
{
	my ($sql) = @_;

	forget_requests($sink);
	is(warned($sql), '', 'without a warning');
	return $json->decode((wait_requests($sink, 1))[0]->{body});
}

is(body_of('DELETE FROM app.rows WHERE id = 1')->{old_record}->{doc}, '{"a":"x\u0000y"}', 'json that jsonb cannot hold is sent as text: \u0000');
is(body_of("UPDATE app.rows SET t = 'x' WHERE id = 2")->{record}->{doc}, '{"a":"\ud83d"}', 'half a surrogate pair');
is(body_of('DELETE FROM app.rows WHERE id = 3')->{old_record}->{doc}, '1e200000', 'a number out of range');
is_deeply(body_of(q{SET DateStyle = 'German'; UPDATE app.rows SET p = ROW(1, 'x', '{ok}'), d = '[1]', at = '2020-01-02 03:04:05+00' WHERE id = 4})->{record},
	{ id => 4, doc => { a => 1 }, t => undef, m => 'ok', p => { a => 1, b => 'x', moods => ['ok'] }, d => [1], at => '2020-01-02T03:04:05+00:00' },
	'other json is sent as json, everything as usual');
is(psql('SELECT count(*) FROM app.did'), '0', "nobody's casts are called");

# The bound is on what is sent: 3 MB of text that is escaped, 9 MB twice.
sub left_out
{
	my ($sql, $error, $columns, $expected, $role) = @_;
	my $last = psql('SELECT coalesce(max(run_id), 0) FROM jobsched.runs');

	like(warned($sql, $role), qr/WARNING:  \w{5}: a row of table "\w+" is not sent by trigger "\w+": $error/, 'with a warning');
	is(psql("SELECT concat_ws(' ', status, reason, $columns) FROM jobsched.runs WHERE run_id > $last"), "skipped unsendable $expected", 'and a row in history');
	like(psql("SELECT error FROM jobsched.runs WHERE run_id > $last"), qr/^$error/, 'which says why');
	like(error_of($node, $db, "SELECT jobsched.retry_run(max(run_id)) FROM jobsched.runs WHERE reason = 'unsendable'", $superuser),
		qr/JS055.*does not have it/, 'and cannot be sent again');
	return;
}

my $too_long = 'the body of the request is larger than 16 MB';
left_out('UPDATE app.rows SET id = 50 WHERE id = 5', $too_long, 'owner, job_name, sqlstate, args', 'app http JS054 {"type": "UPDATE", "table": "rows", "schema": "app"}');
left_out(q{INSERT INTO app.rows (id, t) VALUES (7, repeat(repeat(E'\x01', 1024 * 1024), 3))}, $too_long, 'sqlstate', 'JS054');
left_out(q{INSERT INTO app.rows (id, t) VALUES (8, repeat(repeat('x', 1024 * 1024), 200))}, 'the row has more than \d+ bytes', 'sqlstate', 'JS054');
left_out(q{INSERT INTO app.rows (id, d) SELECT 9, jsonb_agg(1e100000) FROM generate_series(1, 1000)}, $too_long, 'sqlstate', 'JS054');
left_out(q{INSERT INTO app.rows (id, d) SELECT 12, jsonb_agg(0) FROM generate_series(1, 2000000)}, 'the request has \d+ bytes', 'sqlstate', 'JS054');
is(length(body_of(q{INSERT INTO app.rows (id, t) VALUES (10, repeat(repeat('x', 1024 * 1024), 15))})->{record}->{t}), 15 * 1024 * 1024, 'a large row that fits is sent');
my $warning = warned(q{INSERT INTO app.rows (id, t) SELECT 11, repeat(repeat('x', 1024 * 1024), 20) FROM generate_series(1, 3)});
is(scalar(() = $warning =~ /WARNING/g), 1, 'of many rows of a statement one warning tells');
is(psql('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM app.rows'), '2 4 7 8 9 10 11 11 11 12 50', 'all changes are made');
is(psql(q{SELECT recent ~ 'S' FROM jobsched.jobs WHERE name = 'http'}), 'f', 'no run was skipped of those that the job shows');

# So it is with the bound that an administrator sets, for requests and for arguments.
set_setting($node, 'jobsched.max_args_size', '64kB');
app(qq{
	SELECT jobsched.create_job('small', url => '$url/small');
	CREATE TABLE app.small (t text);
	CREATE TRIGGER hook AFTER INSERT ON app.small FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('small')});
left_out(q{INSERT INTO app.small VALUES (repeat('x', 100000))}, 'args has \d+ bytes, more than the 64 kB that are allowed', 'job_name, sqlstate', 'small JS054');
left_out(q{INSERT INTO app.rows (id, t) VALUES (12, repeat('x', 100000))}, 'the request has \d+ bytes, more than the 64 kB', 'job_name, sqlstate', 'http JS054');
set_setting($node, 'jobsched.max_args_size', undef);
app('DROP TABLE app.small');

# What counts is what is sent, to the byte: the same for requests from SQL.
my $shapes = q{
	FROM (VALUES (1, jsonb '{"k": [1, true, false, null, -1.50, "quote\\" \\n \\u0001 \\u00e9"], "o": {"p": [], "q": {}}, "e": ""}'), (2, '[[], [[1], [2, "x"]]]'), (3, '"x"')) s(n, shape)
		CROSS JOIN LATERAL (SELECT jsonb_build_object('shape', shape, 'pad', '') AS bare) b
		CROSS JOIN LATERAL (SELECT bare || jsonb_build_object('pad', repeat('x', 16 * 1024 * 1024 - octet_length(bare::text) + more)) AS body) p};
is(app("BEGIN; SELECT count(jobsched.http_post('$url/exact', body)) " . $shapes =~ s/\bmore\b/0/r . '; ROLLBACK'), '3', 'bodies of 16 MB are accepted');
for my $n (1 .. 3)
{
	like(error_of($node, $db, "SELECT jobsched.http_post('$url/exact', body) " . $shapes =~ s/\bmore\b/1/r . " WHERE n = $n", 'app'), qr/$too_long/, "not one byte more, shape $n");
}

# What a trigger says is looked at when it is created.
app('CREATE TABLE app.plain (id int, t text)');
my $create = 'CREATE TRIGGER hook AFTER INSERT ON app.plain FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook';
for my $case (
	[ '()', qr/22023.*gives http_webhook\(\) no arguments.*HINT/s ],
	[ q{('http://a/', '{}', 'x')}, qr/22023.*"x" of trigger "hook" is no option/ ],
	[ q{('a job', '{}')}, qr/22023.*"\{\}" of trigger "hook" is no option/ ],
	[ q{('http://a b/')}, qr/22023.*url has a space/ ],
	[ q{('https://user:password@host/')}, qr/22023.*url/ ],
	[ q{('http://a/', 'no json')}, qr/22P02.*invalid input syntax for type json/ ],
	[ q{('http://a/', '["no object"]')}, qr/22023.*headers are no object of texts/ ],
	[ q{('http://a/', '{"X y": "z"}')}, qr/22023.*header/ ],
	[ q{('http://a/', '{"X": "{{secret.token}}"}')}, qr/22023.*contain a placeholder/ ])
{
	like(error_of($node, $db, $create . $case->[0], 'app'), $case->[1], "$case->[0] is refused when the trigger is created");
}
like(error_of($node, $db, "CREATE TRIGGER hook $_ EXECUTE FUNCTION jobsched.http_webhook('http://a/')", 'app'), qr/39P01.*(AFTER a change|has no transition table)/, "so is $_")
  for 'AFTER INSERT ON app.plain FOR EACH STATEMENT', 'BEFORE UPDATE ON app.plain FOR EACH ROW';
is(psql(q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'app.plain'::regclass}), '0', 'none of them is there');

# Jobs and rights come and go: a warning, and no change fails.
like(warned("$create('later')"), qr/WARNING:  42704: trigger "hook" sends nothing: job "later" of role "app" does not exist/, 'a job that is missing makes a warning');
left_out('INSERT INTO app.plain VALUES (1)', 'job "later" of role "app" does not exist', 'job_name, sqlstate', 'http 42704');
app("SELECT jobsched.create_job('later', command => 'SELECT 1')");
left_out('INSERT INTO app.plain VALUES (2)', 'job "later" of role "app" has no url', 'job_name, sqlstate', 'later JS055');
psql(q{CREATE ROLE stranger LOGIN; GRANT USAGE ON SCHEMA app TO stranger; GRANT INSERT ON app.plain TO stranger});
like(warned('INSERT INTO app.plain VALUES (5)', 'stranger'), qr/job "later" of role "app" does not exist/, 'a stranger does not learn that it is there');
app(qq{SELECT jobsched.alter_job('later', url => '$url/later', keys => '{"t:{{args.record.t}}"}')});
left_out("INSERT INTO app.plain VALUES (3, repeat('k', 5000))", 'key "t:\{\{args.record.t\}\}" makes a key longer', 'job_name, sqlstate', 'later 22023');
body_of("INSERT INTO app.plain VALUES (4, 'sent')");
psql(q{
	CREATE ROLE poor LOGIN; GRANT USAGE ON SCHEMA jobsched TO poor; GRANT EXECUTE ON FUNCTION jobsched.http_webhook TO poor;
	CREATE SCHEMA poor AUTHORIZATION poor;
	GRANT USAGE ON SCHEMA poor TO app});
like(warned("CREATE TABLE poor.t (id int); CREATE TRIGGER hook AFTER INSERT ON poor.t FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url/poor'); GRANT INSERT ON poor.t TO app", 'poor'),
	qr/WARNING:  42501: trigger "hook" sends nothing: role "poor" may not make HTTP requests/, 'a right that is missing makes a warning');
left_out('INSERT INTO poor.t VALUES (1)', 'role "poor" may not make HTTP requests', 'owner', 'poor');
is(psql(q{SELECT (SELECT count(*) FROM app.plain) || ' ' || (SELECT count(*) FROM poor.t)}), '5 1', 'all changes are made');
like(warned(qq{
	CREATE TEMP TABLE t (id int);
	CREATE TRIGGER hook AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url/temp');
	BEGIN READ ONLY; INSERT INTO t VALUES (1); COMMIT;
	SELECT 1 / (1 - count(*)) FROM t WHERE false}), qr/WARNING:  25006: a row of table "t" is not sent/, 'a read-only transaction can write a temporary table');

# Triggers that are there although they would be refused.
psql(q{
	CREATE TABLE app.old (id int); ALTER TABLE app.old OWNER TO app;
	CREATE FUNCTION app.placeholder() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
	CREATE TRIGGER hook BEFORE INSERT ON app.old FOR EACH ROW EXECUTE FUNCTION app.placeholder();
	UPDATE pg_trigger SET tgfoid = 'jobsched.http_webhook'::regproc WHERE tgrelid = 'app.old'::regclass});
left_out('INSERT INTO app.old VALUES (1)', 'http_webhook\(\) is for triggers AFTER', 'sqlstate', '39P01');
is(psql('SELECT count(*) FROM app.old'), '1', 'the row is there all the same');
psql('DROP TABLE app.old');

# What waits for a cancel gets it, and the change is not made.
like(error_of($node, $db, "SET statement_timeout = 1; INSERT INTO app.rows (id, d) SELECT 12, jsonb_agg(1e100000) FROM generate_series(1, 500000)", 'app'), qr/57014/, 'a cancel is an error still');

# ------------------------------------------------------------------------
# A dump has triggers before rights, and here without their jobs
# ------------------------------------------------------------------------

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
app(q{SELECT jobsched.drop_job('later'); TRUNCATE app.rows, app.big});
$node->safe_psql($db, 'CREATE DATABASE copy');
$node->command_ok([ 'pg_dump', '-f', $dump, $db ], 'a dump');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'copy' ], 'is restored without an error');
is($node->safe_psql('copy', 'SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgname = $$hook$$'), '3', 'with its triggers');

# ------------------------------------------------------------------------
# Another encoding: what is sent is UTF-8, and so is what is counted
# ------------------------------------------------------------------------

$node->safe_psql($db, q{CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'});
create_extension($node, 'latin');
$node->safe_psql('latin', qq{
	CREATE TABLE public.t (id int, t text);
	CREATE TRIGGER hook AFTER INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url/latin');
	INSERT INTO public.t VALUES (1, repeat(repeat(chr(233), 1024 * 1024), 10))});
is($node->safe_psql('latin', 'SELECT status, error FROM jobsched.runs'), "skipped|$too_long", '10 MB of LATIN1 are 20 MB of UTF-8');

is(psql('SELECT 1'), '1', 'the server has not crashed');
end_sessions($node);
$node->stop;
unlike(log_since($node, 0), qr/terminated by signal|PANIC/, 'no process has');
done_testing();
