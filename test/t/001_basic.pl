# Copyright (c) 2026, jobsched contributors

# Installation, one scheduler for each database, restart, DROP EXTENSION, and
# the settings that switch and bound.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# ------------------------------------------------------------------------
# Without the library in shared_preload_libraries
# ------------------------------------------------------------------------

my $node = jobsched_node('basic', start => 0);
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->start;

my $error = error_of($node, 'postgres', 'CREATE EXTENSION jobsched');
like($error, qr/55000/, 'without preload CREATE EXTENSION refuses');
like($error, qr/HINT:.*shared_preload_libraries = 'jobsched'/, 'and says what to do');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_namespace WHERE nspname ~ 'jobsched'}),
	'0', 'and leaves nothing behind');

# ------------------------------------------------------------------------
# Several databases, a role that is no superuser
# ------------------------------------------------------------------------

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jobsched'\n");
$node->restart;
$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE shop OWNER keeper');
$node->safe_psql('postgres', 'CREATE DATABASE bare');

create_extension($node, 'postgres');
sql_as($node, 'shop', 'keeper', 'CREATE EXTENSION jobsched');
wait_scheduler($node, 'shop');
pass('a role with CREATE on the database can create the extension');
is(sql_as($node, 'shop', 'keeper', q{SELECT jobsched.create_job('where', command => 'SELECT current_database(), current_user')}),
	'1', 'and uses it');
$node->safe_psql('postgres', q{SELECT jobsched.create_job('where', command => 'SELECT current_database(), current_user')});

for my $case ([ 'postgres', undef, 'postgres' ], [ 'shop', 'keeper', 'keeper' ])
{
	my ($db, $role, $owner) = @$case;
	my ($run_id, $status) = run_job($node, $db, 'where', role => $role);
	is($node->safe_psql($db, "SELECT status, result->>'current_database', result->>'current_user' = '"
			. ($role || $node->safe_psql('postgres', 'SELECT current_user'))
			. "' FROM jobsched.runs WHERE run_id = $run_id"),
		"succeeded|$db|t", "a job of database $db runs there, as its owner");
}

is($node->safe_psql('postgres', q{
	SELECT string_agg(backend_type || ' ' || COALESCE(datname, '-'), ', ' ORDER BY backend_type, datname)
	FROM pg_stat_activity WHERE backend_type LIKE 'jobsched%'}),
	'jobsched launcher -, jobsched scheduler postgres, jobsched scheduler shop, '
	  . 'jobsched worker postgres, jobsched worker shop',
	'the processes tell what they are; a database without the extension has none');
is(sql_as($node, 'shop', 'keeper', q{SELECT string_agg("check" || ' ' || status, ', ') FROM jobsched.health() WHERE status <> 'ok'}),
	'', 'all checks of health() are ok');

# ------------------------------------------------------------------------
# Restart
# ------------------------------------------------------------------------

$node->safe_psql('shop', q{SELECT jobsched.create_job('nightly', '30 3 * * *', 'SELECT 1', timezone => 'Europe/Berlin')});
sql_as($node, 'shop', 'keeper', q{SELECT jobsched.create_job('leap', '0 0 29 2 *', 'SELECT 1')});
my $jobs = 'SELECT job_id, name, owner, state, next_run_at FROM jobsched.jobs ORDER BY job_id';
my $before = $node->safe_psql('shop', $jobs);
my $history = $node->safe_psql('shop', 'SELECT run_id, status FROM jobsched.runs');
my $offset = log_size($node);
$node->restart;
wait_scheduler($node, 'shop');
is($node->safe_psql('shop', $jobs), $before, 'jobs survive a restart');
is($node->safe_psql('shop', 'SELECT run_id, status FROM jobsched.runs'), $history, 'history too');
is((run_job($node, 'shop', 'where', role => 'keeper'))[1], 'succeeded', 'and work');
my $log = log_since($node, $offset);
my $next = $node->safe_psql('shop', q{SET timezone = 'UTC'; SELECT to_char(next_run_at, 'YYYY-MM-DD HH24:MI:SS') FROM jobsched.jobs WHERE name = 'leap'});
like($log, qr/job "leap" of "keeper": schedule "0 0 29 2 \*" \(UTC\), next run \Q$next\E/,
	'at its start the scheduler logs each scheduled job with its next run');
like($log, qr/job "nightly" of .*\(Europe\/Berlin\)/, 'in its own zone');
unlike($log, qr/job "where"/, 'but none without a schedule');

# ------------------------------------------------------------------------
# DROP EXTENSION and CREATE EXTENSION
# ------------------------------------------------------------------------

$node->safe_psql('shop', 'DROP EXTENSION jobsched CASCADE');
wait_value($node, 'postgres', q{
	SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND backend_type LIKE 'jobsched%'},
	'0', 'DROP EXTENSION ends the scheduler and the workers');
isnt(scheduler_pid($node, 'postgres'), '', 'those of other databases go on');
create_extension($node, 'shop');
is($node->safe_psql('shop', 'SELECT count(*) FROM jobsched.jobs'), '0', 'CREATE EXTENSION again begins empty');
$node->safe_psql('shop', q{SELECT jobsched.create_job('again', command => 'SELECT 42 AS x')});
is((run_job($node, 'shop', 'again'))[1], 'succeeded', 'and runs jobs');

# In one transaction, with a running server: the scheduler notices.
my $old = scheduler_pid($node, 'shop');
$node->safe_psql('shop', q{BEGIN; DROP EXTENSION jobsched; CREATE EXTENSION jobsched; COMMIT});
wait_until($node, 'shop', 'SELECT pid IS NOT NULL FROM jobsched_internal.scheduler()', 'there is a scheduler');
$node->safe_psql('shop', q{SELECT jobsched.create_job('anew', command => 'SELECT 42 AS x')});
is((run_job($node, 'shop', 'anew'))[1], 'succeeded', 'dropped and created in one transaction');
$old = scheduler_pid($node, 'shop');
$node->safe_psql('shop', q{BEGIN; DROP EXTENSION jobsched; ROLLBACK});
is((run_job($node, 'shop', 'anew'))[1], 'succeeded', 'a DROP EXTENSION that is rolled back changes nothing');

# ------------------------------------------------------------------------
# jobsched.enabled
# ------------------------------------------------------------------------

sub set_conf
{
	my ($line) = @_;
	$node->append_conf('postgresql.conf', "$line\n");
	return $node->reload;
}

sub wait_enabled
{
	my ($db, $value) = @_;
	return wait_until($node, $db, "SELECT enabled = $value FROM jobsched_internal.scheduler()",
		"the scheduler of $db has enabled = $value");
}

$node->safe_psql('shop', q{SELECT jobsched.create_job('tick', '* * * * * *', 'SELECT 1')});
wait_until($node, 'shop', q{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'tick'}, 'it ticks');
set_conf('jobsched.enabled = off');
wait_enabled($_, 'false') for ('shop', 'postgres');
is($node->safe_psql('shop', q{SELECT status FROM jobsched.health() WHERE "check" = 'enabled'}),
	'warning', 'health() says so when jobsched.enabled is off');
wait_until($node, 'shop', q{SELECT count(*) = 0 FROM jobsched.running}, 'nothing runs');
my $ticks = $node->safe_psql('shop', q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'tick'});
my $waiting = $node->safe_psql('shop', q{SELECT jobsched.trigger('anew')});
wait_until($node, 'shop', q{SELECT ready > 0 FROM jobsched_internal.scheduler()}, 'the scheduler knows of the run');
wait_until($node, 'shop', qq{SELECT now() > max(scheduled_for) + interval '2.5 s' FROM jobsched.runs WHERE job_name = 'tick'}, 'two slots have passed');
is($node->safe_psql('shop', "SELECT status FROM jobsched.runs WHERE run_id = $waiting"), 'queued', 'a triggered run waits');
is($node->safe_psql('shop', q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'tick'}), $ticks, 'slots wait');
set_conf('jobsched.enabled = on');
wait_run_state($node, 'shop', $waiting, 'succeeded');
pass('on: what has waited runs');
wait_until($node, 'shop', qq{SELECT count(*) > $ticks FROM jobsched.runs WHERE job_name = 'tick'}, 'it ticks again');
pass('and schedules go on');

$node->safe_psql('shop', 'ALTER DATABASE shop SET jobsched.enabled = off');
$node->reload;
wait_enabled('shop', 'false');
is((run_job($node, 'postgres', 'where'))[1], 'succeeded', 'switched off for one database, others run');
$waiting = $node->safe_psql('shop', q{SELECT jobsched.trigger('anew')});
wait_until($node, 'shop', q{SELECT ready > 0 FROM jobsched_internal.scheduler()}, 'the scheduler knows of the run');
$old = scheduler_pid($node, 'shop');
kill 'TERM', $old;
wait_new_scheduler($node, 'shop', $old);
wait_enabled('shop', 'false');
is($node->safe_psql('shop', "SELECT status FROM jobsched.runs WHERE run_id = $waiting"), 'queued',
	'also for its next scheduler');
$node->safe_psql('shop', 'ALTER DATABASE shop RESET jobsched.enabled');
$node->reload;

wait_run_state($node, 'shop', $waiting, 'succeeded');
pass('and on again');
$node->safe_psql('shop', q{SELECT jobsched.drop_job('tick')});

# ------------------------------------------------------------------------
# jobsched.databases
# ------------------------------------------------------------------------

set_conf(q{jobsched.databases = 'postgres, "no such"'});

wait_value($node, 'postgres', q{
	SELECT string_agg(datname, ' ') FROM pg_stat_activity WHERE backend_type = 'jobsched scheduler'},
	'postgres', 'jobsched.databases: others lose their scheduler at a reload');
$node->restart;
wait_scheduler($node, 'postgres');
is((run_job($node, 'postgres', 'where'))[1], 'succeeded', 'a database in the list works');
is(scheduler_pid($node, 'shop'), '', 'one that is not has no scheduler');
$waiting = $node->safe_psql('shop', q{SELECT jobsched.trigger('anew')});
is($node->safe_psql('shop', q{SELECT status FROM jobsched.health() WHERE "check" = 'scheduler'}),
	'error', 'health() says so');
is(scheduler_pid($node, 'shop'), '', 'trigger() starts none');
set_conf(q{jobsched.databases = ''});
wait_scheduler($node, 'shop');
wait_run_state($node, 'shop', $waiting, 'succeeded');
pass('the list is emptied: it starts, and runs what was queued');

# ------------------------------------------------------------------------
# jobsched.max_workers, jobsched.worker_idle_timeout
# ------------------------------------------------------------------------

set_conf("jobsched.max_workers = 1\njobsched.spare_workers = 0");
$node->safe_psql('postgres', q{
	CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN;
	GRANT USAGE ON SCHEMA jobsched TO ann, bob});
sql_as($node, 'postgres', $_, q{SELECT jobsched.create_job('nap', command => 'SELECT pg_sleep(0.005)')}) for ('ann', 'bob');
# All are queued before any begins, however long that takes.
set_conf('jobsched.enabled = off');
wait_enabled('postgres', 'false');
sql_as($node, 'postgres', 'ann', q{SELECT count(*) FROM jobsched.trigger_many('nap', array_fill('{}'::jsonb, ARRAY[300]))});
my $of_bob = sql_as($node, 'postgres', 'bob', q{SELECT jobsched.trigger('nap')});
set_conf('jobsched.enabled = on');
wait_run_state($node, 'postgres', $of_bob, 'succeeded');
pass('one worker for two owners: the second gets its turn');
is($node->safe_psql('postgres', q{SELECT count(*) <= 1 FROM pg_stat_activity WHERE backend_type = 'jobsched worker'}),
	't', 'there is never more than one');
wait_drained($node, 'postgres');
is($node->safe_psql('postgres', qq{
	SELECT count(*) > 0 FROM jobsched.runs
	WHERE job_name = 'nap' AND owner = 'ann' AND started_at > (SELECT finished_at FROM jobsched.runs WHERE run_id = $of_bob)}),
	't', 'before the first has done all of its own');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'nap' AND status = 'succeeded'}),
	'301', 'both owners make progress to the end');
set_conf("jobsched.max_workers = 3\njobsched.worker_idle_timeout = '100ms'");
is((run_job($node, 'postgres', 'nap', role => $_))[1], 'succeeded', "$_ runs") for ('ann', 'bob');
wait_value($node, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jobsched worker'},
	'0', 'workers leave after jobsched.worker_idle_timeout');
is((run_job($node, 'postgres', 'nap', role => 'ann'))[1], 'succeeded', 'and come back when there is work');

check_log($node);
$node->stop;
done_testing();
