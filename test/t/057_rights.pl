# Copyright (c) 2026, jobsched contributors

# The table of roles and objects in doc/security.md is executed: what each role
# gets of each object is what the table says.  And what it cannot say: that
# nothing of hidden rows reaches a function, the statistics or the server's log.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'rights';
my $superuser = getpwuid($<);
my $node = jobsched_node('main');

# The names of the table's columns, as roles of this server.
my %role = (
	str => 'stranger', own => 'victim', mem => 'member', noi => 'noinherit', nos => 'noset', mon => 'monitor', rad => 'reader',
	ras => 'watcher', byp => 'bypasser', cre => 'creator', dbo => 'dbowner', sup => $superuser);

# ------------------------------------------------------------------------
# Something of everything.  What is not everybody's business has "hush" in it.
# ------------------------------------------------------------------------

$node->safe_psql('postgres', q{
	CREATE ROLE dbowner LOGIN; CREATE ROLE creator LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE victim LOGIN; CREATE ROLE deaf NOLOGIN;
	CREATE ROLE member LOGIN IN ROLE victim; CREATE ROLE noinherit LOGIN NOINHERIT IN ROLE victim; CREATE ROLE noset LOGIN;
	CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE reader LOGIN IN ROLE pg_read_all_data;
	CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats; CREATE ROLE bypasser LOGIN BYPASSRLS;
	CREATE DATABASE rights OWNER dbowner;
	GRANT CREATE ON DATABASE rights TO creator});
$node->safe_psql('postgres', $node->pg_version < 16 ? 'GRANT victim TO noset' : 'GRANT victim TO noset WITH INHERIT TRUE, SET FALSE');
sql_as($node, $db, 'creator', 'CREATE EXTENSION jobsched');
sql_as($node, $db, 'creator', q{
	GRANT USAGE ON SCHEMA jobsched TO PUBLIC;
	GRANT EXECUTE ON FUNCTION jobsched.http_request TO victim, deaf});
wait_scheduler($node, $db);
$node->safe_psql($db, q{
	CREATE SCHEMA app AUTHORIZATION victim;
	CREATE FUNCTION app.told(answer jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		RAISE WARNING 'warned of %', answer;
		EXECUTE format('SELECT %L::jsonb', 'no json: ' || answer);
		RETURN NULL;
	END $$;
	CREATE FUNCTION app.told_slowly(answer jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM jobsched.progress(1, 2, answer ->> 'args'), pg_sleep(3600);
		RETURN NULL;
	END $$});

my $start = log_size($node);
sql_as($node, $db, 'victim', q{
	SELECT jobsched.set_queue('hush'), jobsched.set_limit('hush', rate => 100, per => '1 second'), jobsched.set_secret('hush', 'hush-value'),
		jobsched.create_hook('hush', event => 'hush') IS NULL, jobsched.set_channel('tells', 'webhook', 'http://127.0.0.1:9/hush'),
		jobsched.set_alert('hush', '{tells}', '{hush}', metadata => '{"a": "hush"}');
	SELECT jobsched.create_job('fails', '0 0 1 1 *', args => '{"a": "hush"}', keys => '{hush:1}', queue => 'hush', max_attempts => 2,
		retry_delays => '{00:00:00}', retry_on => '{all}', command => $$DO 'BEGIN RAISE NOTICE ''hush''; RAISE ''hush''; END'$$);
	SELECT jobsched.create_job('succeeds', command => $$SELECT 'hush before'$$);
	SELECT jobsched.alter_job('succeeds', command => $$SELECT 'hush' AS a$$);
	SELECT jobsched.create_job('goes on', command => $$SELECT jobsched.progress(1, 2, 'hush'), pg_sleep(3600)$$);
	SELECT jobsched.create_job('calls', url => 'http://127.0.0.1:9/', args => '{"a": "hush"}', on_failure => 'app.told', max_attempts => 1);
	SELECT jobsched.create_job('calls slowly', url => 'http://127.0.0.1:9/', args => '{"a": "hush"}', on_failure => 'app.told_slowly', max_attempts => 1);
	SELECT jobsched.create_job('made of steps', steps => '[{"name": "say", "command": "SELECT ''hush'' AS a"}, {"name": "each", "command": "SELECT ''hush'' AS a", "for_each": "SELECT to_jsonb(''hush''::text)"}]');
	SELECT jobsched.trigger('fails'), jobsched.trigger('succeeds'), jobsched.trigger('made of steps'), jobsched.trigger('goes on'), jobsched.trigger('calls'), jobsched.trigger('calls slowly'),
		jobsched.trigger('succeeds', after => ARRAY[
			jobsched.trigger('fails', run_at => '2099-01-01', idempotency_key => 'hush', idempotency_period => '300 days')]),
		jobsched.send_event('hush', '"hush"')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.dead_letters WHERE job_name = 'fails'}, '1', 'a run has failed');
# a callback is retried as its job is
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'calls' AND source = 'callback' AND status = 'failed'}, '1', 'so has a callback');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.steps WHERE status = 'succeeded'}, '2', 'and steps have succeeded');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.running WHERE progress_message ~ 'hush'}, '2', 'another, and a run, go on');
sql_as($node, $db, 'victim', q{SELECT jobsched.retry_run(run_id) FROM jobsched.dead_letters WHERE job_name = 'fails'});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.dead_letters WHERE job_name = 'fails'}, '1', 'it has been retried, and failed again');
# what the scheduler would delete as soon as its time has come is of tomorrow
$node->safe_psql($db, q{
	INSERT INTO jobsched_internal.event_match VALUES (1, 'hush', 1);
	INSERT INTO jobsched_internal.stat SELECT job_id, '2000-01-01', 'hush' FROM jobsched_internal.job;
	INSERT INTO jobsched_internal.event_full VALUES ('victim'::regrole);
	INSERT INTO jobsched_internal.memo VALUES (1, 'hush', 1, 1, 'victim'::regrole, 'hush', 1, '"hush"', NULL, now());
	INSERT INTO jobsched_internal.hook_state SELECT hook_id, 1, 1, now(), now(), 'hush' FROM jobsched_internal.hook;
	INSERT INTO jobsched_internal.alert_mute SELECT alert_id, 0, 'infinity' FROM jobsched_internal.alert;
	INSERT INTO jobsched_internal.alert_state (alert_id, job_id, condition, job_name, firing, held, count, status, error, streak, seq, fired_seq)
	SELECT alert_id, 1, 'failures', 'hush', false, false, 1, 'failed', 'hush', 1, 1, 0 FROM jobsched_internal.alert;
	INSERT INTO jobsched_internal.alert_told (alert_id, channel, told_seq, told_before) SELECT alert_id, 'hush', 1, 1 FROM jobsched_internal.alert;
	INSERT INTO jobsched_internal.event_token VALUES (sha256('hush'), 'victim'::regrole, 'hush', 1, now(), now() + interval '1 day');
	INSERT INTO jobsched_internal.http_response (run_id, segment, attempt, job_id, owner, responded_at, method, url, headers, body, truncated)
	SELECT run_id, segment, attempt, job_id, owner, now(), 'GET', 'http://hush/', '[["A", "hush"]]', (SELECT 'hush' || string_agg(md5(i::text), '') FROM generate_series(1, 1000) i), false
	FROM jobsched_internal.history WHERE sqlstate = 'P0001';
	INSERT INTO jobsched_internal.attempt (run_id, segment, attempt, job_id, owner, status, finished_at, retry_at, error, callback)
	SELECT run_id, segment, 0, job_id, owner, 'failed', now(), now(), 'hush', true
	FROM jobsched_internal.history WHERE source = 'callback'});
my $callbacks = $node->safe_psql($db, q{SELECT array_agg(run_id) FROM jobsched.runs WHERE source = 'callback'});
my $toast = $node->safe_psql($db, q{SELECT c.reltoastrelid::regclass FROM jobsched_internal.http_response r JOIN pg_class c ON c.oid = r.tableoid WHERE r.url = 'http://hush/' LIMIT 1});

# ------------------------------------------------------------------------
# The table
# ------------------------------------------------------------------------

# What is asked where the object's name does not say it.
my %rows_of = (
	pg_statistic => q{SELECT s.*::text FROM pg_statistic s WHERE s::text ~ 'hush'},
	pg_stats => q{SELECT s FROM pg_stats s WHERE s::text ~ 'hush'},
	pg_stat_activity => q{SELECT query FROM pg_stat_activity WHERE query ~ 'hush' AND pid <> pg_backend_pid()},
	'TOAST' => "SELECT encode(chunk_data, 'escape') FROM $toast",
	'workers()' => q{SELECT w FROM jobsched_internal.workers() w},
	'scheduler()' => q{SELECT s FROM jobsched_internal.scheduler() s},
	overview => q{SELECT o FROM jobsched.overview o WHERE what = 'running' AND count > 0},
	'error_patterns()' => q{SELECT e FROM jobsched.error_patterns() e},
	'dead_letter_groups()' => q{SELECT g FROM jobsched.dead_letter_groups() g},
	'health()' => q{SELECT h FROM jobsched.health() h},
	'trigger()' => q{SELECT jobsched.trigger('fails')},
	'alter_job()' => q{SELECT jobsched.alter_job('fails', command => 'SELECT 1')},
	'create_job()' => q{SELECT jobsched.create_job('new', command => 'SELECT 1', owner => 'victim')},
	'http_request()' => q{SELECT jobsched.http_request('GET', 'http://example.com/')},
	'adopt()' => q{SELECT jobsched.adopt()});

# The relations that a name stands for.
sub relations
{
	my ($name) = @_;

	$name =~ s/_/\\_/g;
	$name =~ s/\*/%/;
	return split /\n/, session_sql($node, $db, $superuser, qq{
		SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'p', 'v') AND relname LIKE '$name'
			AND relnamespace IN ('jobsched'::regnamespace, 'jobsched_internal'::regnamespace) ORDER BY 1});
}

my %executed;

# What gives the rows of an object; $callback: those of callbacks, or the others.
sub query_for
{
	my ($name, $callback) = @_;
	my $which = !defined $callback ? '' : ' WHERE ' . ($callback ? '' : 'NOT ') . "run_id = ANY ('$callbacks')";

	$executed{$_} = 1 for $name eq 'overview' ? relations($name) : ();
	return $rows_of{$name} if $rows_of{$name};
	my @relations = relations($name) or die "there is no $name";
	$executed{$_} = 1 for @relations;
	return join ' UNION ALL ', map { "SELECT v::text FROM $_ v$which" } @relations;
}

# Each query as each role: SQLSTATE, number of rows, whether there is a "hush".
sub ask
{
	my ($role, @queries) = @_;
	my $script = join '', map { qq{
		BEGIN;
		INSERT INTO jobsched_internal.run_stop VALUES (-1, 'cancel', -1, 0, false);
		INSERT INTO jobsched_internal.former_owner VALUES (-1, 10);
		INSERT INTO jobsched_internal.waited VALUES (-1, -2);
		INSERT INTO jobsched_internal.stat_reset VALUES (-1, now(), true);
		SET LOCAL SESSION AUTHORIZATION $role;
		SELECT '0' AS rows, false AS hush \\gset
		SELECT count(*) AS rows, coalesce(bool_or(q::text ~ 'hush'), false) AS hush FROM ($_) q \\gset
		\\echo :SQLSTATE :rows :hush
		ROLLBACK;} } @queries;
	my ($ret, $stdout, $stderr) = $node->psql($db, $script, on_error_stop => 0);
	my @answers = split /\n/, $stdout;

	is(scalar @answers, scalar @queries, "$role: as many answers as questions") or diag($stderr);
	return map { [ split / / ] } @answers;
}

sub cell
{
	my ($answer, $has_contents) = @_;
	my ($state, $rows, $hush) = @$answer;

	return 'x' if $state eq '42501';
	return '-' if $state eq '42704' || ($state eq '00000' && $rows == 0);
	return $state if $state ne '00000';
	return $hush eq 't' || !$has_contents ? 'a' : 'r';
}

my @lines = grep { /^\|/ } split /\n/, slurp_file("$FindBin::Bin/../../doc/security.md") =~ /<!-- executed -->\n(.*?)\n\n/s ? $1 : '';
my (undef, undef, @columns) = split /\s*\|\s*/, shift @lines;
is_deeply([ sort @columns ], [ sort keys %role ], 'the table has all roles');
my @questions;
for my $line (grep { !/^\|[-|]+$/ } @lines)
{
	my (undef, $objects, @cells) = split /\s*\|\s*/, $line;
	my $callback = $objects =~ /of callbacks/ ? 1 : $objects =~ /other/ ? 0 : undef;

	push @questions, map { { name => $_ . (defined $callback ? $callback ? ' of callbacks' : ' of others' : ''), query => query_for($_, $callback), cells => \@cells } } $objects =~ /`([^`]+)`/g;
}
cmp_ok(scalar @questions, '>', 40, 'the table has its objects');

my %answers = map { $_ => [ ask($role{$_}, map { $_->{query} } @questions) ] } @columns;
for my $i (0 .. $#questions)
{
	my $question = $questions[$i];
	my $has_contents = $answers{sup}[$i][2] eq 't';

	for my $n (0 .. $#columns)
	{
		next if $columns[$n] eq 'nos' && $node->pg_version < 16;
		is(cell($answers{ $columns[$n] }[$i], $has_contents), $question->{cells}[$n], "$question->{name}: $role{ $columns[$n] }");
	}
}
is_deeply([ grep { !$executed{$_} } relations('%') ], [], 'it leaves out no table and no view');

# ------------------------------------------------------------------------
# Functions in conditions
# ------------------------------------------------------------------------

$node->safe_psql($db, q{
	CREATE SCHEMA leak; GRANT ALL ON SCHEMA leak TO PUBLIC;
	CREATE SEQUENCE leak.calls; CREATE SEQUENCE leak.told; GRANT ALL ON ALL SEQUENCES IN SCHEMA leak TO PUBLIC;
	CREATE FUNCTION leak.tell(what anyelement) RETURNS boolean LANGUAGE plpgsql VOLATILE COST 0.0001 AS $$
	BEGIN
		PERFORM nextval('leak.calls');
		PERFORM nextval('leak.told') WHERE what::text ~ 'hush';
		RETURN true;
	END $$});
my @view_columns = split /\n/, $node->safe_psql($db, q{
	SELECT format('%s %I', c.oid::regclass, a.attname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0
	WHERE c.relnamespace = 'jobsched'::regnamespace AND c.relkind = 'v' ORDER BY c.relname, a.attnum});
cmp_ok(scalar @view_columns, '>', 150, 'there are columns');

# A condition on each column; how often the function was called, and was told something.
sub calls
{
	my ($role) = @_;
	my $script = join '', map { my ($view, $column) = split / /; qq{
		SELECT setval('leak.calls', 1, false), setval('leak.told', 1, false) \\g /dev/null
		SET SESSION AUTHORIZATION $role;
		SELECT count(*) FROM $view WHERE leak.tell($column) \\g /dev/null
		RESET SESSION AUTHORIZATION;
		SELECT '$view.$column', (SELECT is_called FROM leak.calls), (SELECT is_called FROM leak.told);} } @view_columns;
	my @answers = split /\n/, $node->safe_psql($db, $script);

	is(scalar @answers, scalar @view_columns, "$role has read all columns");
	return grep { /t\|[tf]$/ } @answers;
}

# everybody has the rows of overview, which say 0
is_deeply([ grep { !/^jobsched\.overview\./ } calls('stranger') ], [], 'a function in a condition is not called for a hidden row');
is_deeply([ grep { /t$/ } calls('bypasser') ], [], 'nor is it told something if row level security does not bind its caller');

# ------------------------------------------------------------------------
# Dumps: why two tables are read by those who shall not see jobs
# ------------------------------------------------------------------------

for my $role ('reader', 'creator')
{
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$role.sql";

	$node->command_ok([ 'pg_dump', '-U', $role, '-f', $file, $db ], "$role can dump the database");
	like(slurp_file($file), qr/\tfails\t/, 'with the jobs');
	unlike(slurp_file($file), qr/hush-value/, 'and without secrets');
}

# ------------------------------------------------------------------------
# Statistics
# ------------------------------------------------------------------------

is($node->safe_psql($db, q{
	SELECT string_agg(a.attrelid::regclass || '.' || a.attname, ', ')
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 JOIN pg_type t ON t.oid = a.atttypid
	WHERE c.relnamespace = 'jobsched_internal'::regnamespace AND c.relkind IN ('r', 'p')
		AND (t.typcategory IN ('A', 'S', 'I') OR t.typname IN ('jsonb', 'bytea', 'uuid', 'interval[]'))
		AND t.typelem <> 'interval'::regtype
		AND NOT (a.attname IN ('status', 'workflow') OR (a.attname = 'name' AND c.relname IN ('job', 'job_name_of')))
		AND a.attstattarget IS DISTINCT FROM 0}), '', 'ANALYZE samples no contents');
$node->safe_psql($db, 'ANALYZE');
is($node->safe_psql($db, q{SELECT count(*) FROM pg_statistic s WHERE s::text ~ 'hush'}), '0', 'so there are none in the statistics');

# ------------------------------------------------------------------------
# The server's log, and what processes show
# ------------------------------------------------------------------------

my $log = log_since($node, $start);
like($log, qr/ERROR:  hush\n/, 'the log has the error of a run');
like($log, qr/LOG:  callback "app\.told" failed with SQLSTATE 22P02\n.*CONTEXT:  run \d+ \(attempt \d+\) of job "calls"/, 'of a callback that it has failed');
unlike($log, qr/no json|warned of/, 'and not what it says');
is($node->safe_psql($db, q{SELECT query FROM pg_stat_activity WHERE query ~ 'told' AND state = 'active' AND pid <> pg_backend_pid()}), 'app.told_slowly', 'a callback shows its name');
like(sql_as($node, $db, 'victim', q{SELECT error FROM jobsched.runs WHERE source = 'callback' AND status = 'failed'}), qr/invalid input syntax/, 'its owner has the error');
like(sql_as($node, $db, 'victim', "SELECT message FROM jobsched.run_logs WHERE run_id = ANY ('$callbacks')"), qr/warned of .*hush/, 'and the messages');

# ------------------------------------------------------------------------
# Who may have callbacks
# ------------------------------------------------------------------------

for my $case (
	[ 'a request', q{SET ROLE deaf; SELECT jobsched.http_request('GET', 'http://example.com/', on_failure => 'app.told')} ],
	[ 'a job', q{SELECT jobsched.create_job('deaf', url => 'http://example.com/', on_success => 'app.told', owner => 'deaf')} ],
	[ 'a job that is changed', q{SELECT jobsched.create_job('deaf', url => 'http://example.com/', owner => 'deaf');
		SELECT jobsched.alter_job('deaf', on_success => 'app.told')} ],
	[ 'a job that is given away', q{SELECT jobsched.alter_job('calls', owner => 'deaf')} ])
{
	my ($what, $sql) = @$case;

	like(error_of($node, $db, "BEGIN; $sql"), qr/28000: role "deaf" cannot have on_(failure|success).*HINT: .*LOGIN/s, "no callbacks of $what whose owner cannot log in");
}
is(error_of($node, $db, q{BEGIN; SET ROLE deaf; SELECT jobsched.http_request('GET', 'http://example.com/'); ROLLBACK}), '', 'without them he may');

$node->stop;
done_testing();
