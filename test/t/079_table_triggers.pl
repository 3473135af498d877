# Copyright (c) 2026, jobsched contributors

# Jobs that changes of tables start: for rows and for statements, with keys, with
# rows that have no JSON; whose jobs they are; that no loop goes on for ever. And
# metadata of jobs.

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
my $node = http_node('table_triggers', conf => q{jobsched.max_depth = 4});
my $sink = start_sink($node);
my $url = $sink->{url};
my $json = JSON::PP->new->canonical->utf8;

sub psql { return session_sql($node, $db, $superuser, $_[0]) }
sub app { return session_sql($node, $db, 'app', $_[0]) }
sub refused { return error_of($node, $db, $_[0], $_[1] // 'app') }

# What a change says besides, which is made in any case.
sub warned
{
	my ($sql, $role) = @_;
	my ($ret, $stdout, $stderr) = $node->psql($db, $sql, extra_params => [ '-v', 'VERBOSITY=verbose', '-U', $role // 'app' ]);

	return $ret == 0 ? $stderr : "failed: $stderr";
}

# The args of the runs that a change has queued, as JSON.
sub runs_of
{
	my ($sql, $role) = @_;
	my $last = psql('SELECT coalesce(max(run_id), 0) FROM jobsched.runs');
	my $said = warned($sql, $role);

	is($said, '', 'the change says nothing besides') or diag $sql;
	return map { $json->decode($_) } split /\n/, psql("SELECT args FROM jobsched.runs WHERE run_id > $last AND status <> 'skipped' ORDER BY run_id");
}

sub skipped_by
{
	my ($sql, $error, $columns, $expected) = @_;
	my $last = psql('SELECT coalesce(max(run_id), 0) FROM jobsched.runs');

	like(warned($sql), qr/WARNING:  \w{5}: .*not sent by trigger "\w+": $error/, 'a warning');
	is(psql("SELECT string_agg(concat_ws(' ', owner, job_name, reason, sqlstate, $columns), ', ' ORDER BY run_id) FROM jobsched.runs WHERE run_id > $last AND status = 'skipped'"),
		$expected, 'and a skipped run');
	return $last;
}

psql('SELECT jobsched.stop_processing()');
app(q{
	SELECT jobsched.create_job(name, command => 'SELECT 1') FROM unnest('{row,batch,keyed}'::text[]) name;
	CREATE TYPE app.pair AS (a int, b text);
	CREATE DOMAIN app.positive AS int CHECK (VALUE > 0);
	CREATE TABLE app.t (gone text, id int, secret text, name text, p app.pair, n app.positive, twice int GENERATED ALWAYS AS (id * 2) STORED);
	ALTER TABLE app.t DROP COLUMN gone;
	CREATE TRIGGER row AFTER INSERT OR UPDATE OR DELETE ON app.t FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('row', 'columns=twice,id,p,n')});

# ------------------------------------------------------------------------
# Rows
# ------------------------------------------------------------------------

is_deeply([ runs_of(q{INSERT INTO app.t VALUES (1, 'x', 'y', ROW(1, 'z'), 7)}) ],
	[ { type => 'INSERT', schema => 'app', table => 't', record => { id => 1, p => { a => 1, b => 'z' }, n => 7, twice => 2 }, old_record => undef } ],
	'a row, of which only some columns are taken');
is_deeply([ map { [ @{$_}{qw(type record old_record)} ] } runs_of('UPDATE app.t SET id = 2; DELETE FROM app.t') ],
	[ [ 'UPDATE', { id => 2, p => { a => 1, b => 'z' }, n => 7, twice => 4 }, { id => 1, p => { a => 1, b => 'z' }, n => 7, twice => 2 } ],
		[ 'DELETE', undef, { id => 2, p => { a => 1, b => 'z' }, n => 7, twice => 4 } ] ], 'an update has both rows, a delete the old one');
is_deeply([ runs_of('BEGIN; INSERT INTO app.t VALUES (1); ROLLBACK') ], [], 'what is rolled back starts nothing');
is_deeply([ map { $_->{record}->{p} } runs_of(q{
	BEGIN; ALTER TYPE app.pair ADD ATTRIBUTE c int; INSERT INTO app.t VALUES (3, NULL, NULL, ROW(1, 'z', 5)); UPDATE app.t SET id = 4; COMMIT}) ],
	[ ({ a => 1, b => 'z', c => 5 }) x 2 ], 'a type that has been altered in the same transaction');

# Casts and operators of a user's are not called; types without JSON are text.
app(q{
	CREATE TYPE app.mood AS ENUM ('fine');
	CREATE TABLE app.called (what text);
	CREATE FUNCTION app.to_json(app.mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.called VALUES ('cast'); RAISE 'called'; END $$;
	CREATE CAST (app.mood AS json) WITH FUNCTION app.to_json(app.mood);
	CREATE TABLE app.moods (m app.mood, j json, f float8, d numeric, s int[]);
	CREATE TRIGGER row AFTER INSERT ON app.moods FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('row')});
is_deeply([ map { $_->{record} } runs_of(q{INSERT INTO app.moods VALUES ('fine', '{"a": "x\u0000"}', 'NaN', '-Infinity', '{{1,2},{3,4}}')}) ],
	[ { m => 'fine', j => '{"a": "x\u0000"}', f => 'NaN', d => '-Infinity', s => [ [ 1, 2 ], [ 3, 4 ] ] } ], 'odd values');
is(psql('SELECT count(*) FROM app.called'), '0', 'no cast of a user has been called');

# ------------------------------------------------------------------------
# Keys
# ------------------------------------------------------------------------

app(q{
	CREATE TABLE app.orders (id int PRIMARY KEY, status text, doc jsonb);
	CREATE TRIGGER keyed AFTER INSERT OR UPDATE ON app.orders FOR EACH ROW WHEN (NEW.status = 'paid')
		EXECUTE FUNCTION jobsched.trigger_job('keyed', 'key=order:{{record.id}}:{{record.doc.part}}', 'on_conflict=debounce', 'period=1 h', 'columns=status');
	INSERT INTO app.orders VALUES (1, 'new', '{"part": "a"}'), (2, 'paid', '{"part": "a"}')});
app(q{UPDATE app.orders SET status = 'paid'; UPDATE app.orders SET status = 'paid' WHERE id = 2});
is(psql(q{SELECT string_agg(concat_ws(' ', k.key, (SELECT run_at - queued_at FROM jobsched.runs r WHERE r.run_id = k.run_id), (SELECT args -> 'record' FROM jobsched.runs r WHERE r.run_id = k.run_id)), ', ' ORDER BY key)
	FROM jobsched_internal.idempotency k}), 'order:1:a 01:00:00 {"status": "paid"}, order:2:a 01:00:00 {"status": "paid"}',
	'one run for each key, which any column can be in');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE reason = 'debounced'}, '2', 'those before it do not start');
skipped_by(q{UPDATE app.orders SET doc = NULL WHERE id = 1}, 'key ".*" of trigger "keyed" needs record.doc.part', 'args', 'app keyed unsendable 22023 {"type": "UPDATE", "table": "orders", "schema": "app"}');
skipped_by(q{UPDATE app.orders SET doc = jsonb_build_object('part', repeat('x', 300)) WHERE id = 1}, 'idempotency_key cannot be longer', '1', 'app keyed unsendable 22023 1');

# Two sessions with one key wait for each other, and for nothing else.
my $other = $node->background_psql($db, extra_params => [ '-U', 'app' ]);
$other->query_safe(q{BEGIN; UPDATE app.orders SET doc = '{"part": "b"}' WHERE id = 2});
app(q{INSERT INTO app.orders VALUES (3, 'paid', '{"part": "b"}')});
pass('a change with another key does not wait');
$other->query_safe('COMMIT');
$other->quit;

# ------------------------------------------------------------------------
# Statements
# ------------------------------------------------------------------------

app(q{
	CREATE TABLE app.events (id int PRIMARY KEY, kind text, note text);
	CREATE TRIGGER inserted AFTER INSERT ON app.events REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('batch', 'batch=3', 'columns=id,kind');
	CREATE TRIGGER updated AFTER UPDATE ON app.events REFERENCING NEW TABLE AS n OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('batch', 'columns=id');
	CREATE TRIGGER deleted AFTER DELETE ON app.events REFERENCING OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('batch', 'columns=id');
	CREATE TRIGGER emptied AFTER TRUNCATE ON app.events FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('batch')});
is_deeply([ map { $_->{records} } runs_of(q{INSERT INTO app.events SELECT g, 'k' || g FROM generate_series(1, 7) g}) ],
	[ map { [ map { { id => $_, kind => "k$_" } } @$_ ] } [ 1 .. 3 ], [ 4 .. 6 ], [7] ], 'batches of a statement');
is_deeply([ map { [ @{$_}{qw(records old_records)} ] } runs_of('UPDATE app.events SET id = id + 10 WHERE id > 5') ],
	[ [ [ { id => 16 }, { id => 17 } ], [ { id => 6 }, { id => 7 } ] ] ], 'old and new rows have the same places');
is_deeply([ map { [ @{$_}{qw(type records old_records)} ] } runs_of('DELETE FROM app.events WHERE id > 16; TRUNCATE app.events') ],
	[ [ 'DELETE', undef, [ { id => 17 } ] ], [ 'TRUNCATE', undef, undef ] ], 'a delete, and a table that is emptied');
is_deeply([ runs_of('UPDATE app.events SET id = 1; DELETE FROM app.events; INSERT INTO app.events SELECT 1 WHERE false') ], [], 'a statement without rows starts nothing');
is_deeply([ map { [ $_->{type}, scalar @{ $_->{records} } ] } runs_of(q{
	INSERT INTO app.events SELECT g, 'x' FROM generate_series(1, 4) g ON CONFLICT (id) DO UPDATE SET kind = 'y';
	INSERT INTO app.events SELECT g, 'x' FROM generate_series(4, 5) g ON CONFLICT (id) DO UPDATE SET kind = 'y'}) ],
	[ [ 'INSERT', 3 ], [ 'INSERT', 1 ], [ 'UPDATE', 1 ], [ 'INSERT', 1 ] ], 'ON CONFLICT has rows of both');

# More rows than there is memory for, in files.
is(scalar runs_of(q{SET work_mem = '64kB'; INSERT INTO app.events SELECT g, 'x', repeat('y', 100) FROM generate_series(101, 5100) g}), 1667, 'rows in files');

# A row that has no JSON is left out by itself; a batch is cut where it is large.
app(q{
	CREATE TABLE app.large (id int, t text);
	CREATE TRIGGER inserted AFTER INSERT ON app.large REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('batch')});
my $last = skipped_by(q{INSERT INTO app.large SELECT g, CASE WHEN g % 5 = 3 THEN repeat(repeat('x', 1024 * 1024), 200) END FROM generate_series(1, 10) g},
	'the row has more than \d+ bytes', 'args', join ', ', ('app batch unsendable JS054 {"rows": 1, "type": "INSERT", "table": "large", "schema": "app"}') x 2);
is(psql("SELECT string_agg(r ->> 'id', ' ') FROM jobsched.runs, jsonb_array_elements(args -> 'records') r WHERE run_id > $last"), '1 2 4 5 6 7 9 10', 'the others are sent, as one batch');
is_deeply([ map { [ map { $_->{id} } @{ $_->{records} } ] } runs_of(q{INSERT INTO app.large SELECT g, repeat(repeat('x', 1024), 1200) FROM generate_series(1, 8) g}) ],
	[ [ 1, 2, 3 ], [ 4, 5, 6 ], [ 7, 8 ] ], 'large rows make smaller batches');
skipped_by(q{INSERT INTO app.large SELECT 1, repeat(repeat('x', 1024 * 1024), 17)}, 'the (row has more|body)', '1', 'app batch unsendable JS054 1');
is(psql('SELECT count(*) FROM app.large'), '19', 'all changes are made');
is_deeply([ map { [ map { $_->{id} } @{ $_->{records} } ] } runs_of(q{INSERT INTO app.large SELECT g, repeat(E'\x01', 800000) FROM generate_series(1, 5) g}) ],
	[ [ 1, 2 ], [ 3 .. 5 ] ], 'and so do those that are large as text only');
app(q{
	CREATE TABLE app.numbers (id int, n numeric);
	CREATE TRIGGER inserted AFTER INSERT ON app.numbers REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('batch')});
$last = psql('SELECT coalesce(max(run_id), 0) FROM jobsched.runs');
is(warned(q{INSERT INTO app.numbers SELECT g, '1e100000' FROM generate_series(1, 300) g}), '', 'numbers of many digits');
is(psql("SELECT string_agg(concat_ws(' ', status, jsonb_array_length(args -> 'records')), ', ' ORDER BY run_id) FROM jobsched.runs WHERE run_id > $last"),
	'queued 150, queued 150', 'have few bytes, and are cut by their digits');

# Inheritance and partitions.
app(q{
	CREATE TABLE app.child (more int) INHERITS (app.events);
	INSERT INTO app.child VALUES (1000000, 'c', 'n', 1);
	CREATE TABLE app.parts (id int, v text) PARTITION BY LIST (id);
	CREATE TABLE app.part1 (v text, dropped int, id int); ALTER TABLE app.part1 DROP COLUMN dropped;
	ALTER TABLE app.parts ATTACH PARTITION app.part1 FOR VALUES IN (1);
	CREATE TABLE app.part2 PARTITION OF app.parts FOR VALUES IN (2);
	CREATE TRIGGER row AFTER INSERT ON app.parts FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('row');
	CREATE TRIGGER moved AFTER UPDATE ON app.parts REFERENCING NEW TABLE AS n OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('batch')});
is_deeply([ map { $_->{records} } runs_of('UPDATE app.events SET kind = $$d$$ WHERE id = 1000000') ], [ [ { id => 1000000 } ] ], "a row of an inheritance child is one of its parent's");
is_deeply([ map { [ @{$_}{qw(table record)} ] } runs_of(q{INSERT INTO app.parts VALUES (1, 'a'), (2, 'b')}) ],
	[ [ 'part1', { id => 1, v => 'a' } ], [ 'part2', { id => 2, v => 'b' } ] ], 'rows of partitions');
is_deeply([ map { [ @{$_}{qw(table records old_records)} ] } grep { $_->{records} } runs_of('UPDATE app.parts SET id = 2, v = v || $$x$$') ],
	[ [ 'parts', [ { id => 2, v => 'ax' }, { id => 2, v => 'bx' } ], [ { id => 1, v => 'a' }, { id => 2, v => 'b' } ] ] ], 'rows that move between partitions')
  or diag explain psql('SELECT args FROM jobsched.runs ORDER BY run_id DESC LIMIT 1');

# Deferred: at the commit, once for each change.
app(q{
	CREATE TABLE app.deferred (id int, v text);
	CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON app.deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
		EXECUTE FUNCTION jobsched.trigger_job('keyed', 'key=late:{{record.id}}', 'on_conflict=replace')});
is_deeply([ map { $_->{record}->{v} } runs_of(q{BEGIN; INSERT INTO app.deferred VALUES (1, 'a'); UPDATE app.deferred SET v = 'b'; COMMIT}) ], [ 'a', 'b' ], 'a deferred trigger');
is(psql(q{SELECT r.args #>> '{record,v}' FROM jobsched_internal.idempotency k JOIN jobsched.runs r USING (run_id) WHERE key = 'late:1'}), 'b', 'the key has the last one');

# ------------------------------------------------------------------------
# What is refused
# ------------------------------------------------------------------------

app('CREATE VIEW app.v AS SELECT * FROM app.t');
for my $case (
	[ "BEFORE INSERT ON app.t FOR EACH ROW", "'row'", qr/39P01.*AFTER a change.*HINT/s ],
	[ "INSTEAD OF INSERT ON app.v FOR EACH ROW", "'row'", qr/39P01.*AFTER a change.*HINT/s ],
	[ "AFTER INSERT ON app.t FOR EACH STATEMENT", "'row'", qr/39P01.*no transition table.*HINT.*REFERENCING/s ],
	[ "AFTER INSERT ON app.v FOR EACH STATEMENT", "'row'", qr/39P01.*no transition table/ ],
	[ "AFTER INSERT ON app.t FOR EACH ROW", "", qr/22023.*no arguments/ ],
	[ "AFTER INSERT ON app.t FOR EACH ROW", "'row', 'on_conflict=error', 'key=k'", qr/22023.*on_conflict of trigger "bad" is error/ ],
	[ "AFTER INSERT ON app.t FOR EACH ROW", "'row', 'columns=gone'", qr/42703/ ],
	[ "AFTER INSERT ON app.t FOR EACH ROW", "'row', 'columns=a,,b'", qr/22023.*no list of columns/ ],
	[ "AFTER INSERT ON app.t REFERENCING NEW TABLE AS n FOR EACH STATEMENT", "'row', 'batch=0'", qr/22023.*out of range/ ],
	[ "AFTER INSERT ON app.t FOR EACH ROW", "'row', 'period=-1 s', 'key=k'", qr/22023/ ],
	[ "AFTER INSERT ON app.t FOR EACH ROW", "'row', 'period=soon', 'key=k'", qr/22007/ ],
	[ "AFTER INSERT ON app.t FOR EACH ROW", "'row', 'Columns=id'", qr/22023.*is no option/ ])
{
	like(refused("CREATE TRIGGER bad $case->[0] EXECUTE FUNCTION jobsched.trigger_job($case->[1])"), $case->[2], "$case->[0] ($case->[1]) is refused");
}
is(psql(q{SELECT count(*) FROM pg_trigger WHERE tgname = 'bad'}), '0', 'none of them is there');

# A column that goes is told of, and hinders nothing.
app('CREATE TABLE app.changing (a int, b int); CREATE TRIGGER row AFTER INSERT ON app.changing FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job($$row$$, $$columns=a$$)');
app('ALTER TABLE app.changing RENAME COLUMN a TO c');
skipped_by('INSERT INTO app.changing VALUES (1, 2)', 'column "a" of columns does not exist', '1', 'app row unsendable 42703 1');

# ------------------------------------------------------------------------
# Whose job it is
# ------------------------------------------------------------------------

psql(q{
	CREATE ROLE other LOGIN; CREATE ROLE member LOGIN IN ROLE app;
	GRANT USAGE ON SCHEMA jobsched, app TO other;
	GRANT TRIGGER ON app.changing TO other; GRANT INSERT ON app.t, app.events TO other;
	CREATE SCHEMA other AUTHORIZATION other});
like(refused(q{CREATE TRIGGER spy AFTER INSERT ON app.changing FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('row')}, 'other'), qr/42501.*permission denied/, "who may create triggers on a table cannot start its owner's jobs");
is(refused(q{CREATE TRIGGER fine AFTER INSERT ON app.changing FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('row')}, 'member') // '', '', 'a member of the owner can');
psql('REVOKE ALL ON SCHEMA jobsched FROM other');
is(scalar runs_of('INSERT INTO app.t VALUES (1); INSERT INTO app.events VALUES (-1)', 'other'), 2, 'who changes a table needs no right to jobsched');
is(psql(q{SELECT string_agg(DISTINCT owner::text, ' ') FROM jobsched.runs WHERE source = 'trigger'}), 'app', "runs are the owner's");
psql('GRANT USAGE ON SCHEMA jobsched TO other');
like(warned(q{CREATE TABLE other.t (id int); CREATE TRIGGER mine AFTER INSERT ON other.t FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('row'); INSERT INTO other.t VALUES (1)}, 'other'),
	qr/42704.*job "row" of role "other" does not exist/, "nobody's trigger finds the job of another");
psql('CREATE TABLE app.part3 PARTITION OF app.parts FOR VALUES IN (3); ALTER TABLE app.part3 OWNER TO other');
like(refused(q{CREATE TRIGGER theirs AFTER INSERT ON app.parts FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('row')}), qr/42501/, 'nor does one of a partitioned table for a partition of another');
app(q{
	CREATE TABLE app.later (id int) PARTITION BY LIST (id);
	CREATE TRIGGER later AFTER INSERT ON app.later FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('row')});
psql('CREATE TABLE other.later1 PARTITION OF app.later FOR VALUES IN (1); ALTER TABLE other.later1 OWNER TO other');
sql_as($node, $db, 'other', q{SELECT jobsched.create_job('row', command => 'SELECT 1')});
like(warned('INSERT INTO app.later VALUES (1)'), qr/WARNING:  42501: .*the trigger is that of a parent of the table/, 'nor does a partition that comes later');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE owner = 'other' AND status <> 'skipped'}), '0', 'so nothing of its owner runs');
sql_as($node, $db, 'other', q{SELECT jobsched.drop_job('row')});

# While CREATE TRIGGER waits its table's name comes to mean another.
sql_as($node, $db, 'other', 'CREATE TABLE other.ref ()');
my ($creator, $locker) = map { $node->background_psql($db, on_error_stop => 0, extra_params => [ '-U', 'other' ]) } 1 .. 2;
$locker->query_safe('BEGIN; LOCK TABLE other.ref');
$creator->query_until(qr/begun/, q{
SET search_path = other, app;
\echo begun
CREATE CONSTRAINT TRIGGER race AFTER INSERT ON changing FROM ref FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('row');
});
wait_until($node, $db, q{SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'other.ref'::regclass AND NOT granted)}, 'it waits');
sql_as($node, $db, 'other', 'CREATE TABLE other.changing ()');
$locker->query_safe('COMMIT');
$creator->query('SELECT 1');
is(psql(q{SELECT count(*) FROM pg_trigger WHERE tgname = 'race'}), '0', 'whatever the name means: a stranger gets no trigger');
$_->quit for $creator, $locker;

# Rows that move to a partition, whose trigger swallows some of them, are among the old ones only.
app(q{
	CREATE TABLE app.moving (id int, n int, t text) PARTITION BY LIST (id);
	CREATE TABLE app.moving1 PARTITION OF app.moving FOR VALUES IN (1);
	CREATE TABLE app.moving2 PARTITION OF app.moving FOR VALUES IN (2);
	INSERT INTO app.moving SELECT 1, i, repeat('x', 200) FROM generate_series(1, 1000) i;
	CREATE FUNCTION app.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TRIGGER swallow BEFORE INSERT ON app.moving2 FOR EACH ROW EXECUTE FUNCTION app.swallow();
	CREATE TRIGGER moved AFTER UPDATE ON app.moving REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('row')});
for my $left (500, 0)
{
	my $to = $left ? '1 + n % 2' : '2';
	my @runs = runs_of("SET work_mem = '64kB'; UPDATE app.moving SET id = $to");
	is(scalar(map { grep { defined } @{ $_->{records} } } @runs), $left, "$left rows are new");
	is(scalar(map { grep { defined } @{ $_->{old_records} } } @runs), $left ? 1000 : 500, 'all of the old ones are told');
}

# ------------------------------------------------------------------------
# Webhooks of statements
# ------------------------------------------------------------------------

psql(q{SELECT jobsched.cancel_runs(older_than => '0 s')});
psql('SELECT jobsched.start_processing()');
wait_drained($node, $db);
app(qq{
	SELECT jobsched.create_job('sender', url => '$url/job');
	CREATE TABLE app.sent (id int, t text);
	CREATE TRIGGER url AFTER INSERT ON app.sent REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION jobsched.http_webhook('$url/rows', '{"X-Hook": "yes"}', 'batch=2', 'columns=id');
	CREATE TRIGGER job AFTER DELETE ON app.sent REFERENCING OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION jobsched.http_webhook('sender', 'columns=id')});
forget_requests($sink);
app('INSERT INTO app.sent SELECT generate_series(1, 3)');
is(join(' | ', sort map { "$_->{headers}->{'x-hook'} " . $json->encode($json->decode($_->{body})->{records}) } wait_requests($sink, 2)), 'yes [{"id":1},{"id":2}] | yes [{"id":3}]', 'rows are posted in batches');
forget_requests($sink);
app('DELETE FROM app.sent');
is_deeply($json->decode((wait_requests($sink, 1))[0]->{body})->{args}->{old_records}, [ map { { id => $_ } } 1 .. 3 ], 'and by a job');

# ------------------------------------------------------------------------
# Loops
# ------------------------------------------------------------------------

app(q{
	CREATE TABLE app.loop (n int, how text);
	CREATE FUNCTION app.go_on(args jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.loop SELECT (args #>> '{record,n}')::int + 1, args #>> '{record,how}' $$;
	CREATE FUNCTION app.told(args jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.loop SELECT 100 + count(*), 'callback' FROM app.loop WHERE how = 'callback' $$;
	SELECT jobsched.create_job('loop', handler => 'app.go_on');
	SELECT jobsched.create_job('steps-loop', steps => '[{"name": "one", "handler": "app.go_on"}]');
	SELECT jobsched.create_job('callback-loop', command => 'SELECT 1', on_success => 'app.told');
	CREATE TRIGGER row AFTER INSERT ON app.loop FOR EACH ROW WHEN (NEW.how = 'row') EXECUTE FUNCTION jobsched.trigger_job('loop');
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.loop DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.how = 'late') EXECUTE FUNCTION jobsched.trigger_job('loop');
	CREATE TRIGGER callback AFTER INSERT ON app.loop FOR EACH ROW WHEN (NEW.how = 'callback') EXECUTE FUNCTION jobsched.trigger_job('callback-loop');
	INSERT INTO app.loop VALUES (1, 'row'), (1, 'late'), (100, 'callback')});
wait_drained($node, $db);
is(psql(q{SELECT string_agg(how || ' ' || n, ', ' ORDER BY how) FROM (SELECT how, count(*) n FROM app.loop GROUP BY 1) c}), 'callback 6, late 6, row 6', 'loops end');
is(psql(q{SELECT string_agg(DISTINCT job_name || ' ' || sqlstate, ', ') FROM jobsched.runs WHERE reason = 'unsendable' AND error ~ 'generations above it'}),
	'callback-loop JS054, loop JS054', 'with a skipped run that says so');

# ------------------------------------------------------------------------
# Metadata
# ------------------------------------------------------------------------

app(q{SELECT jobsched.set_job_metadata('row', '{"brand": 7, "tags": ["a", "b"]}'); SELECT jobsched.alter_job('row', description => 'd')});
is(app(q{SELECT name, description FROM jobsched.jobs_with_metadata('{"tags": ["b"]}')}), 'row|d', 'metadata are found');
is(app(q{SELECT jobsched.alter_job('row', description => ''); SELECT description IS NULL FROM jobsched.jobs WHERE name = 'row'}), "\nt", 'a description can be removed');
app(q{SELECT jobsched.create_job('m' || g, command => 'SELECT 1', metadata => jsonb_build_object('brand', g, 'customer', g % 10)) FROM generate_series(1, 2000) g});
psql('VACUUM ANALYZE jobsched_internal.job');
for my $role ('app', 'other', $superuser)
{
	like(session_sql($node, $db, $role, q{EXPLAIN (COSTS OFF) SELECT name FROM jobsched.jobs_with_metadata('{"brand": 77}') WHERE enabled ORDER BY name}),
		qr/Bitmap Index Scan on job_metadata/, "$role uses the index");
}
is(app(q{SELECT string_agg(name, ' ') FROM jobsched.jobs_with_metadata('{"brand": 77}')}), 'm77', 'it finds what is there');
is(session_sql($node, $db, 'other', q{SELECT count(*) FROM jobsched.jobs_with_metadata('{"brand": 77}')}), '0', 'of others nothing');
is(session_sql($node, $db, 'other', q{
	CREATE FUNCTION other.spy(text, jsonb) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE 'seen: %', $1; RETURN true; END $$;
	SELECT count(*) FROM jobsched.jobs_with_metadata('{"customer": 7}') WHERE other.spy(name, metadata)}), '0', "nor does a condition of a reader's own");
like(refused(q{SELECT jobsched.set_job_metadata('row', NULL)}, 'other'), qr/42704/, 'nobody else changes them');
like(refused(q{SELECT jobsched.set_job_metadata('row', jsonb_build_object('a', repeat('x', 2000000)))}), qr/JS054/, 'they have a bound');
app(q{SELECT jobsched.set_job_metadata('row', NULL)});
is(app(q{SELECT metadata IS NULL FROM jobsched.jobs WHERE name = 'row'}), 't', 'they can be removed');

# A job that is paused after failures stays so.
app(q{SELECT jobsched.create_job('bad', command => 'SELECT 1 / 0', max_attempts => 1, pause_after_failures => 1); SELECT jobsched.trigger('bad')});
wait_value($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'bad'}, 'paused', 'a job is paused after a failure');
app(q{SELECT jobsched.set_job_metadata('bad', '{"a": 1}')});
is(app(q{SELECT state, metadata FROM jobsched.jobs WHERE name = 'bad'}), 'paused|{"a": 1}', 'and stays so with other metadata');

# ------------------------------------------------------------------------
# Bytes of no encoding
# ------------------------------------------------------------------------

psql(q{CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'});
create_extension($node, 'bytes');
$node->safe_psql('bytes', q{
	SELECT jobsched.create_job('batch', command => 'SELECT 1');
	CREATE TABLE bytes (n int, b text);
	CREATE TRIGGER batch AFTER INSERT ON bytes REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
		EXECUTE FUNCTION jobsched.trigger_job('batch')});
$node->safe_psql('bytes', q{INSERT INTO bytes VALUES (1, 'a'), (2, E'\xff'), (3, 'c')});
is($node->safe_psql('bytes', q{SELECT string_agg(concat_ws(' ', reason = 'unsendable', args -> 'rows', jsonb_path_query_array(args, '$.records[*].n')), ', ' ORDER BY run_id) FROM jobsched.runs WHERE job_name = 'batch'}),
	't 1 [], [1, 3]', 'a row that is no UTF-8 is left out by itself');

is(psql('SELECT 1'), '1', 'the server has not crashed');
end_sessions($node);
$node->stop;
unlike(log_since($node, 0), qr/terminated by signal|PANIC/, 'no process has');
done_testing();
