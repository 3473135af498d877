# Copyright (c) 2026, jobsched contributors

# Commands about the extension, about other databases and about our tables,
# while all workers are busy in all kinds of ways: each gets its way at once.
# An update of the extension to a version that the loaded library does not
# know: nothing crashes, jobs wait, and go on when library and objects fit again.

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Path qw(make_path);
use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# ------------------------------------------------------------------------
# A server with a version more
# ------------------------------------------------------------------------

# Nobody but root may write to the server's own directories.  So its programs
# are copied (it finds the directories by their places relative to them), and
# the rest is linked, but for what we add.
sub copy_of_server
{
	my $root = PostgreSQL::Test::Utils::tempdir();
	my %dir = map { my $d = `pg_config --$_`; chomp $d; $_ => $d } ('bindir', 'sharedir', 'pkglibdir');

	for my $dir ($dir{bindir}, "$dir{sharedir}/extension", dirname($dir{pkglibdir}))
	{
		make_path($root . $dir);
	}
	for my $program ('postgres', 'initdb', 'pg_ctl', 'pg_config', 'psql')
	{
		system_or_bail('cp', '-L', "$dir{bindir}/$program", "$root$dir{bindir}/$program");
	}
	for my $from (grep { $_ ne "$dir{sharedir}/extension" } glob("$dir{sharedir}/*"))
	{
		symlink($from, $root . $from) or die "could not link $from: $!";
	}
	for my $from (glob("$dir{sharedir}/extension/*"))
	{
		symlink($from, $root . $from) or die "could not link $from: $!";
	}
	symlink($dir{pkglibdir}, $root . $dir{pkglibdir}) or die "could not link $dir{pkglibdir}: $!";
	return (dirname($root . $dir{bindir}), "$root$dir{sharedir}/extension");
}

my ($install, $extension_dir) = copy_of_server();

# What a version to come may do: change tables that are in use.
append_to_file("$extension_dir/jobsched--1.0--1.1test.sql", q{
ALTER TABLE jobsched_internal.run ADD COLUMN note text;
ALTER TABLE jobsched_internal.run ADD COLUMN number int DEFAULT 42;
ALTER TABLE jobsched_internal.history ADD COLUMN note text;
ALTER TABLE jobsched_internal.job ADD COLUMN note text;
ALTER TABLE jobsched_internal.job_state ADD COLUMN note text;
});
append_to_file("$extension_dir/jobsched--1.1test--1.0.sql", q{
ALTER TABLE jobsched_internal.run DROP COLUMN note, DROP COLUMN number;
ALTER TABLE jobsched_internal.history DROP COLUMN note;
ALTER TABLE jobsched_internal.job DROP COLUMN note;
ALTER TABLE jobsched_internal.job_state DROP COLUMN note;
});
# And one that changes nothing in our tables.
append_to_file("$extension_dir/jobsched--1.0--1.0.1test.sql", "CREATE FUNCTION jobsched.test() RETURNS int LANGUAGE sql AS 'SELECT 1';\n");
append_to_file("$extension_dir/jobsched--1.0.1test--1.0.sql", "ALTER EXTENSION jobsched DROP FUNCTION jobsched.test();\nDROP FUNCTION jobsched.test();\n");

my $db = 'shop';
my $node = PostgreSQL::Test::Cluster->new('alter', install_path => $install);
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'jobsched'
max_worker_processes = 20
jobsched.max_workers = 8
restart_after_crash = on
log_line_prefix = '%m [%p] %b %q%a '
});
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN CREATEDB');
$node->safe_psql('postgres', 'CREATE DATABASE shop OWNER keeper');
sql_as($node, $db, 'keeper', 'CREATE EXTENSION jobsched');
wait_scheduler($node, $db);
effects_schema($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

# ------------------------------------------------------------------------
# Load
# ------------------------------------------------------------------------

# Workers are busy in all kinds of ways, until the job is told to end.
psql(q{
	CREATE TABLE gate (id int);
	INSERT INTO gate VALUES (1);
	GRANT ALL ON gate TO app;
	SET ROLE app;
	CREATE FUNCTION app.compute(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		n bigint := 0;
	BEGIN
		LOOP
			n := n + 1;
		END LOOP;
	END $$;
	CREATE FUNCTION app.talk(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			RAISE NOTICE 'x';
		END LOOP;
	END $$});

sub make_jobs
{
	return psql(q{
	GRANT USAGE ON SCHEMA jobsched TO app;
	SET ROLE app;
	SELECT jobsched.create_job('sleep', command => 'SELECT pg_sleep(3600)');
	SELECT jobsched.create_job('compute', handler => 'app.compute');
	SELECT jobsched.create_job('join', command => 'SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b');
	SELECT jobsched.create_job('talk', handler => 'app.talk');
	SELECT jobsched.create_job('lock', command => 'SELECT id FROM public.gate FOR UPDATE');
	SELECT jobsched.create_job('tick', '* * * * * *', handler => 'app.leave');
	SELECT jobsched.create_job('quick', handler => 'app.leave');
	SELECT jobsched.create_job('shares', handler => 'app.leave', share_transaction => true)});
}

make_jobs();
my ($gate, $waiter, $load, @busy);

sub make_busy
{
	$gate = $node->background_psql($db);
	$gate->query_safe('BEGIN; SELECT id FROM gate FOR UPDATE');
	@busy = map { psql("SELECT jobsched.trigger('$_')") } ('sleep', 'compute', 'join', 'talk', 'lock');
	wait_until($node, $db, 'SELECT count(*) = 5 FROM jobsched.running WHERE run_id IN (' . join(',', @busy) . ')', 'five workers are busy');
	$waiter = $node->background_psql($db, on_error_stop => 0);
	$waiter->query_until(qr/started/, "\\echo started\nCALL jobsched.wait_run($busy[0]);\n");
	$load = $node->background_psql($db, on_error_stop => 0);
	$load->query_until(
		qr/started/, q{\echo started
DO $$
BEGIN
	LOOP
		PERFORM jobsched.trigger('quick') FROM generate_series(1, 10);
		PERFORM jobsched.trigger_many('shares', array_fill('{"a": 1}'::jsonb, ARRAY[10]));
		COMMIT;
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
});
	return;
}

sub end_busy
{
	psql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%LOOP%trigger%' AND backend_type = 'client backend' AND pid <> pg_backend_pid()});
	psql('SELECT pg_cancel_backend(worker_pid) FROM jobsched.running WHERE run_id IN (' . join(',', @busy) . ')');
	wait_until($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run WHERE run_id IN (' . join(',', @busy) . ')', 'the busy ones have ended');
	$_->quit for ($gate, $waiter, $load);
	return wait_until($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run WHERE run_at < now()', 'all have run');
}

# Seconds.  Who waits in vain for processes to leave waits for five, and goes on;
# who waits for a run here waits for an hour.
my $limit = 4;

# Passes when a command succeeds in that time, by the server's clock.
sub quick
{
	my ($database, $sql, $name) = @_;
	my ($ret, $stdout, $stderr) = $node->psql($database,
		"SELECT clock_timestamp() AS t \\gset\nSET client_min_messages = error;\n$sql;\nSELECT extract(epoch FROM clock_timestamp() - :'t');",
		on_error_die => 0);
	is($ret == 0 ? '' : "$ret $stderr", '', $name);
	return in_time($node, $stdout || 0, $limit, 'at once');
}

sub goes_on
{
	my ($name) = @_;
	my $since = psql('SELECT clock_timestamp()');
	is((run_job($node, $db, 'quick'))[1], 'succeeded', "$name: runs are triggered");
	return wait_value($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded' AND scheduled_for > '$since'",
		't', "$name: slots fire");
}

goes_on('at first');

# ------------------------------------------------------------------------
# Other databases
# ------------------------------------------------------------------------

# Each of these waits until every process of the server, ours too, has taken
# note.
make_busy();
my $space = PostgreSQL::Test::Utils::tempdir();
quick('postgres', 'CREATE DATABASE other', 'under load: CREATE DATABASE');
quick('postgres', 'CREATE DATABASE copied STRATEGY file_copy', 'CREATE DATABASE with STRATEGY file_copy');
quick('postgres', "CREATE TABLESPACE space LOCATION '$space'", 'CREATE TABLESPACE');
quick('postgres', 'ALTER DATABASE other SET TABLESPACE space', 'ALTER DATABASE SET TABLESPACE');
quick('postgres', 'ALTER DATABASE other RENAME TO another', 'ALTER DATABASE RENAME');
quick('postgres', 'DROP DATABASE another', 'DROP DATABASE');
quick('postgres', 'DROP DATABASE copied WITH (FORCE)', 'DROP DATABASE WITH (FORCE)');
quick('postgres', 'DROP TABLESPACE space', 'DROP TABLESPACE');
quick($db, 'CHECKPOINT', 'CHECKPOINT');
is(psql('SELECT count(*) FROM jobsched.running WHERE run_id IN (' . join(',', @busy) . ')'), '5', 'all this disturbs no run');

# ------------------------------------------------------------------------
# Our tables
# ------------------------------------------------------------------------

for my $table ('run', 'job', 'job_state', 'history_000', 'history_100', 'ring')
{
	quick($db, "VACUUM FULL jobsched_internal.$table", "under load: VACUUM FULL of $table");
}
quick($db, 'REINDEX TABLE jobsched_internal.run', 'REINDEX');
quick($db, 'ANALYZE jobsched_internal.history', 'ANALYZE');
$node->command_ok([ 'pg_dump', '-f', PostgreSQL::Test::Utils::tempdir() . '/dump', '-d', $node->connstr($db) ], 'pg_dump');
is(psql('SELECT count(*) FROM jobsched.running WHERE run_id IN (' . join(',', @busy) . ')'), '5', 'all this disturbs no run');
end_busy();
# On a slow machine a slot of 'tick' may find the one before in the queue still.
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE status NOT IN ('succeeded', 'skipped') AND run_id NOT IN (} . join(',', @busy) . ')'), '0', 'all others have succeeded');
is(psql('SELECT string_agg(DISTINCT status || reason, $$ $$) FROM jobsched.runs WHERE run_id IN (' . join(',', @busy) . ')'), 'cancelledbackend_cancelled', 'the busy ones were cancelled');
goes_on('after that');

# ------------------------------------------------------------------------
# ALTER EXTENSION
# ------------------------------------------------------------------------

make_busy();
quick($db, 'ALTER EXTENSION jobsched UPDATE', 'under load: ALTER EXTENSION UPDATE where there is nothing to do');
like(error_of($node, $db, 'ALTER EXTENSION jobsched SET SCHEMA public'), qr/0A000/, 'SET SCHEMA is refused');
like(error_of($node, $db, 'DROP SCHEMA jobsched_internal CASCADE'), qr/2BP01/, 'so is DROP SCHEMA');
like(error_of($node, $db, 'DROP TABLE jobsched_internal.run'), qr/2BP01/, 'and DROP TABLE');
goes_on('under load');

# Functions only.
quick($db, q{ALTER EXTENSION jobsched UPDATE TO '1.0.1test'}, 'under load: ALTER EXTENSION UPDATE');
is(psql('SELECT count(*) FROM jobsched.running WHERE run_id IN (' . join(',', @busy) . ')'), '5', 'which disturbs no run');
quick($db, q{ALTER EXTENSION jobsched UPDATE TO '1.0'}, 'and back');
psql(q{SELECT jobsched.trigger('quick')});
wait_scheduler($node, $db);
goes_on('updated and back');

end_busy();
psql(q{SELECT jobsched.alter_job('tick', enabled => false)});
wait_until($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'the queue is empty');
check_slots($node, $db, 'tick', 1, 'through all of this each slot once');
check_exactly_once($node, $db, 'effects are the succeeded runs, each once');

# Runs are queued while REINDEX CONCURRENTLY has indexes that are yet to be built.
my $reader = $node->background_psql($db);
my $reindexer = $node->background_psql($db, on_error_stop => 0);
psql(q{SELECT jobsched.create_job('two_steps', steps => '[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 2"}]')});
$reader->query_safe('BEGIN; LOCK TABLE jobsched_internal.run IN ROW EXCLUSIVE MODE');
$reindexer->query_until(qr/started/, "\\echo started\nREINDEX TABLE CONCURRENTLY jobsched_internal.run;\n\\echo done\n");
wait_until($node, $db, q{SELECT count(*) > 0 FROM pg_index WHERE indrelid = 'jobsched_internal.run'::regclass AND NOT indisready},
	'indexes are there that are not ready');
is((run_job($node, $db, 'two_steps'))[1], 'succeeded', 'a workflow is executed meanwhile');
$reader->quit;
$reindexer->query_until(qr/done/, '');
wait_value($node, $db, q{SELECT count(*) FROM pg_index WHERE indrelid = 'jobsched_internal.run'::regclass AND NOT indisvalid}, '0',
	'REINDEX CONCURRENTLY has got its way');
$reindexer->quit;
psql(q{SELECT jobsched.drop_job('two_steps')});

# ------------------------------------------------------------------------
# The owner of the extension
# ------------------------------------------------------------------------

# Its objects go with it, the extension is one of them; nobody says DROP EXTENSION.
psql(q{SELECT jobsched.alter_job('tick', enabled => true)});
goes_on('before the end');
psql(q{SELECT jobsched.trigger('sleep')});
wait_until($node, $db, q{SELECT count(*) = 1 FROM jobsched.running WHERE job_name = 'sleep'}, 'a run goes on');
quick($db, 'DROP OWNED BY keeper CASCADE', 'DROP OWNED BY the owner of the extension');
is(psql(q{SELECT count(*) FROM pg_extension WHERE extname = 'jobsched'}), '0', 'the extension is gone');
wait_value($node, $db, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jobsched scheduler'}, '0', 'the scheduler leaves');
psql(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jobsched worker' AND query ~ 'pg_sleep'});
sql_as($node, $db, 'keeper', 'CREATE EXTENSION jobsched');
wait_scheduler($node, $db);
make_jobs();
goes_on('created again');

# ------------------------------------------------------------------------
# Tables that the library does not know
# ------------------------------------------------------------------------

make_busy();
# The tables get columns that the loaded library does not know.
my $offset = log_size($node);
quick($db, q{ALTER EXTENSION jobsched UPDATE TO '1.1test'}, 'under load: ALTER EXTENSION UPDATE that changes the tables');
# Sessions that trigger now are told, or what they trigger waits; either way
# nobody crashes.
my ($ret, $stdout, $stderr) = $node->psql($db, q{SELECT jobsched.trigger('quick')}, on_error_die => 0, on_error_stop => 0);
unlike($stderr, qr/connection to server was lost|server closed the connection/, 'trigger() in between does no harm');
wait_log($node, qr/scheduler leaves: the extension has a version that this library does not know|terminated by signal/, $offset, 'the scheduler does not go on as if nothing was');
ok(log_since($node, $offset) =~ /scheduler leaves: the extension has a version/, 'it leaves, and says why');
ok(log_since($node, $offset) !~ /terminated by signal|TRAP/, 'nothing has crashed');
wait_connection($node, $db);
quick($db, q{ALTER EXTENSION jobsched UPDATE TO '1.0'}, 'and back to the version that it knows');
psql(q{SELECT jobsched.trigger('quick')});
wait_scheduler($node, $db);
goes_on('the version is known again');
is(psql(q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'jobsched_internal.run'::regclass AND attisdropped}), '2', 'also with columns that have been dropped');
end_busy();

# A command that holds a table of ours for half a second ends the scheduler.
check_log($node, allow => qr/canceling statement due to lock timeout/);
$node->stop;
done_testing();
