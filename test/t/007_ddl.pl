# Copyright (c) 2026, jobsched contributors

# Commands that want a database for themselves, or the extension gone, get
# their way at once, whatever the processes are doing; and what remains goes on.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = jobsched_node('ddl', conf => "max_prepared_transactions = 5\n");
$node->safe_psql('postgres', q{
	CREATE ROLE app LOGIN; CREATE ROLE keeper LOGIN CREATEDB; CREATE ROLE stranger LOGIN CREATEDB});

# Seconds.  Who waits in vain for processes to leave waits for five, and goes on.
my $limit = 4;

# Passes when the command succeeds in less than $limit seconds.
sub quick
{
	my ($sql, $name, $role) = @_;
	my $start = time();
	my $error = error_of($node, 'postgres', $sql, $role);
	my $took = time() - $start;

	is($error, '', $name);
	return in_time($node, $took, $limit, 'at once');
}

# A database with a job that ticks, one that is held at a gate, and workers.
sub make_database
{
	my ($db, %param) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db" . ($param{owner} ? " OWNER $param{owner}" : ''));
	create_extension($node, $db);
	effects_schema($node, $db);
	$node->safe_psql($db, q{
		CREATE TABLE gate (id int); INSERT INTO gate VALUES (1); GRANT ALL ON gate TO app;
		SET ROLE app;
		CREATE FUNCTION app.hold(args jsonb) RETURNS void LANGUAGE sql AS
			'SELECT app.leave(args); SELECT pg_sleep(3600)';
		SELECT jobsched.create_job('tick', '* * * * * *', handler => 'app.leave');
		SELECT jobsched.create_job('quick', handler => 'app.leave');
		SELECT jobsched.create_job('hold', handler => 'app.hold')});
	$node->safe_psql($db, q{SELECT jobsched.create_job('super', command => 'SELECT 1')});
	is((run_job($node, $db, $_))[1], 'succeeded', "$db: $_ works") for ('quick', 'super');
	wait_until($node, $db, q{SELECT count(*) FILTER (WHERE state = 'idle') >= 2 FROM jobsched.workers}, 'workers are idle');
	return;
}

sub hold
{
	my ($db) = @_;
	my $run_id = $node->safe_psql($db, q{SELECT jobsched.trigger('hold')});
	wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running r JOIN pg_stat_activity a ON a.pid = r.worker_pid
		WHERE r.run_id = $run_id AND a.wait_event = 'PgSleep')", 'it holds');
	return $run_id;
}

sub goes_on
{
	my ($db, $name) = @_;
	my $since = $node->safe_psql($db, 'SELECT clock_timestamp()');
	wait_scheduler($node, $db);
	is((run_job($node, $db, 'quick'))[1], 'succeeded', "$name: runs are triggered");
	return wait_value($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded' AND scheduled_for > '$since'",
		't', "$name: slots fire");
}

# ------------------------------------------------------------------------
# DROP DATABASE
# ------------------------------------------------------------------------

make_database('one');
my $pid = scheduler_pid($node, 'one');
like(error_of($node, 'postgres', 'DROP DATABASE one', 'stranger'), qr/42501/, 'a stranger may not drop a database');
like(error_of($node, 'postgres', 'DROP DATABASE one WITH (FORCE)', 'stranger'), qr/42501/, 'nor by force');
like(error_of($node, 'postgres', 'ALTER DATABASE one RENAME TO two', 'stranger'), qr/42501/, 'nor rename it');
like(error_of($node, 'postgres', 'CREATE DATABASE two TEMPLATE one', 'stranger'), qr/42501/, 'nor copy it');
is(scheduler_pid($node, 'one'), $pid, 'and the scheduler has not been disturbed');
like(error_of($node, 'postgres', 'BEGIN; DROP DATABASE one; COMMIT'), qr/25001/, 'in a transaction it is refused');
goes_on('one', 'after these');

my $held = hold('one');
my $start = time();
like(error_of($node, 'postgres', 'DROP DATABASE one'), qr/55006/, 'DROP DATABASE with a run in progress fails, as with any session');
in_time($node, time() - $start, 12, 'after the usual wait');
is($node->safe_psql('one', "SELECT status, attempt FROM jobsched.runs WHERE run_id = $held"), 'running|1', 'the run goes on');
goes_on('one', 'DROP DATABASE refused');
quick('DROP DATABASE one WITH (FORCE)', 'DROP DATABASE WITH (FORCE) ends the run');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^jobsched (scheduler|worker)'}), '0',
	'nothing is left of it');

make_database('plain');
quick('DROP DATABASE plain', 'DROP DATABASE with idle workers');

# In the middle of many runs: they are short, so it must not take long.
make_database('busy');
$node->safe_psql('busy', q{SELECT count(*) FROM jobsched.trigger_many('quick', array_fill('{}'::jsonb, ARRAY[3000]))});
quick('DROP DATABASE busy WITH (FORCE)', 'DROP DATABASE WITH (FORCE) in the middle of many runs');

# The server's own rule: who may not terminate the session of a role may not
# drop the database by force while it is there.
make_database('kept', owner => 'keeper');
my $other = hold('kept');
like(error_of($node, 'postgres', 'DROP DATABASE kept WITH (FORCE)', 'keeper'), qr/42501/, 'DROP DATABASE WITH (FORCE) ends no run of a role that one may not act for');
is($node->safe_psql('kept', "SELECT status, attempt FROM jobsched.runs WHERE run_id = $other"), 'running|1', 'it goes on');
goes_on('kept', 'refused');
$node->safe_psql('postgres', 'GRANT app TO keeper');
hold('kept');
quick('DROP DATABASE kept WITH (FORCE)', 'DROP DATABASE WITH (FORCE) by an owner who is no superuser', 'keeper');
make_database('kept', owner => 'keeper');
quick('DROP DATABASE kept', 'DROP DATABASE by an owner who is no superuser', 'keeper');

# A database of the same name has nothing to do with the old one.
make_database('kept');
goes_on('kept', 'created again');

# ------------------------------------------------------------------------
# RENAME, SET TABLESPACE
# ------------------------------------------------------------------------

quick('ALTER DATABASE kept RENAME TO named', 'ALTER DATABASE RENAME');
goes_on('named', 'renamed');
is($node->safe_psql('named', q{SELECT DISTINCT state FROM jobsched.jobs}), 'active', 'renamed: jobs stay active');

my $space = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$space'");
quick('ALTER DATABASE named SET TABLESPACE space', 'ALTER DATABASE SET TABLESPACE');
goes_on('named', 'moved');
quick('ALTER DATABASE named SET TABLESPACE pg_default', 'and back');
goes_on('named', 'moved back');

# ------------------------------------------------------------------------
# CREATE DATABASE ... TEMPLATE
# ------------------------------------------------------------------------

my $queued = $node->safe_psql('named', q{SELECT jobsched.trigger('quick', run_at => now() + interval '1 hour')});
quick('CREATE DATABASE copy TEMPLATE named', 'CREATE DATABASE with a template that has jobs');
goes_on('named', 'copied');
is($node->safe_psql('copy', q{SELECT DISTINCT state, next_run_at IS NULL FROM jobsched.jobs}), 'asleep|t', 'the jobs of the copy are asleep');
is($node->safe_psql('copy', q{SELECT count(*) FROM jobsched.upcoming WHERE source = 'schedule'}), '0', 'none is upcoming');
is($node->safe_psql('copy', q{SELECT status FROM jobsched.health() WHERE "check" = 'identity'}), 'warning', 'health() says so');
my $asleep = $node->safe_psql('copy', q{SELECT jobsched.trigger('quick')});
wait_scheduler($node, 'copy');
my $now = $node->safe_psql('copy', 'SELECT clock_timestamp()');
wait_until($node, 'named', "SELECT count(*) > 1 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded' AND scheduled_for > '$now'", 'slots of the original have fired');
is($node->safe_psql('copy', "SELECT status FROM jobsched.runs WHERE run_id = $asleep"), 'queued', 'a triggered run of the copy waits');
is($node->safe_psql('copy', "SELECT count(*) FROM jobsched.runs WHERE started_at > '$now'"), '0', 'nothing runs there');
like(error_of($node, 'copy', 'SELECT jobsched.adopt()', 'stranger'), qr/42501/, 'not everybody may adopt');
is($node->safe_psql('copy', 'SELECT jobsched.adopt()'), $node->safe_psql('copy', 'SELECT count(*) FROM jobsched.jobs'), 'adopt() wakes them');
wait_run_state($node, 'copy', $asleep, 'succeeded');
goes_on('copy', 'adopted');
goes_on('named', 'and the original');
check_exactly_once($node, 'copy', 'effects are the succeeded runs in the copy', q{'tick', 'quick', 'hold'});
check_exactly_once($node, 'named', 'and in the original', q{'tick', 'quick', 'hold'});
# Behind several that have a scheduler already.
my @copies = map { "copy$_" } 1 .. 3;
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE copy") for @copies;
for (@copies)
{
	ok(wait_scheduler($node, $_), "$_ has a scheduler");
	quick("DROP DATABASE $_ WITH (FORCE)", "$_ can be dropped");
}
quick('DROP DATABASE copy WITH (FORCE)', 'the copy can be dropped');

# ------------------------------------------------------------------------
# DROP EXTENSION
# ------------------------------------------------------------------------

my $run_id = hold('named');
$start = time();
is(error_of($node, 'named', 'DROP EXTENSION jobsched'), '', 'DROP EXTENSION while a run is in progress');
in_time($node, time() - $start, $limit, 'at once');
wait_value($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'named' AND backend_type = 'jobsched scheduler'}, '0', 'the scheduler leaves');
is($node->safe_psql('named', qq{SELECT count(*) FROM app.effect WHERE run_id = $run_id}), '0', 'the run has no effect yet');
$node->safe_psql('named', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jobsched worker' AND datname = 'named'});
wait_value($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'named' AND backend_type LIKE 'jobsched%'}, '0', 'the worker leaves when its run ends');
is($node->safe_psql('named', qq{SELECT count(*) FROM app.effect WHERE run_id = $run_id}), '0', 'a run that cannot be recorded has no effect');
create_extension($node, 'named');
$node->safe_psql('named', q{
	GRANT USAGE ON SCHEMA jobsched TO app;
	SET ROLE app;
	SELECT jobsched.create_job('tick', '* * * * * *', handler => 'app.leave');
	SELECT jobsched.create_job('quick', handler => 'app.leave')});
goes_on('named', 'created again');

# Under load, with runs that end just then.
$node->safe_psql('named', q{SELECT count(*) FROM jobsched.trigger_many('quick', array_fill('{}'::jsonb, ARRAY[2000]))});
$start = time();
is(error_of($node, 'named', 'DROP EXTENSION jobsched'), '', 'DROP EXTENSION in the middle of many runs');
in_time($node, time() - $start, $limit, 'at once');
wait_value($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'named' AND backend_type LIKE 'jobsched%'}, '0', 'all leave');
create_extension($node, 'named');
$node->safe_psql('named', q{GRANT USAGE ON SCHEMA jobsched TO app; SET ROLE app; SELECT jobsched.create_job('quick', handler => 'app.leave')});
is((run_job($node, 'named', 'quick'))[1], 'succeeded', 'created again it works');

# A session does not go on with the tables and indexes that it has found before.
my $session = $node->background_psql('named');
my $names = 0;
my $create = sub { $names++; return "SELECT jobsched.create_job('name$names', command => 'SELECT 1') > 0;" };
my $replace = 'DROP EXTENSION jobsched; CREATE EXTENSION jobsched;';
for my $way (
	[ 'an aborted replacement', "BEGIN; $replace", 'ROLLBACK;' ],
	[ 'one in a subtransaction', "BEGIN; SAVEPOINT a; $replace", 'ROLLBACK TO a;', 'COMMIT;' ],
	[ 'one that was prepared', "BEGIN; $replace", q{PREPARE TRANSACTION 'names'; ROLLBACK PREPARED 'names';} ],
	[ 'an index that was renamed and back', 'BEGIN; ALTER INDEX jobsched_internal.job_pkey RENAME TO other; ALTER INDEX jobsched_internal.other RENAME TO job_pkey;', 'COMMIT;' ])
{
	my ($name, @parts) = @$way;
	my $sql = join(' ', $create->(), map { $_, $create->() } @parts);
	my $count = () = $session->query_safe($sql) =~ /^t$/mg;
	is($count, @parts + 1, "a session that knows our tables follows $name");
}
$session->query_safe('REINDEX SCHEMA CONCURRENTLY jobsched_internal');
is($session->query_safe($create->()), 't', 'and REINDEX CONCURRENTLY');
$session->quit;
is((run_job($node, 'named', 'quick'))[1], 'succeeded', 'and so does a worker');

# ------------------------------------------------------------------------
# The owner's objects
# ------------------------------------------------------------------------

$node->safe_psql('named', 'REASSIGN OWNED BY app TO keeper');
is((run_job($node, 'named', 'quick'))[1], 'failed', 'REASSIGN OWNED leaves jobs with their owner, who may no longer use the function');
$node->safe_psql('named', 'VACUUM FULL jobsched_internal.run; VACUUM FULL jobsched_internal.job');
$node->safe_psql('named', q{SELECT jobsched.create_job('after', command => 'SELECT 1')});
is((run_job($node, 'named', 'after'))[1], 'succeeded', 'VACUUM FULL of our tables does no harm');
is($node->safe_psql('named', 'REINDEX SCHEMA jobsched_internal; SELECT 1'), '1', 'nor REINDEX');
is((run_job($node, 'named', 'after'))[1], 'succeeded', 'runs go on');

check_log($node);
$node->stop;
done_testing();
