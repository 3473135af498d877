# Copyright (c) 2026, jobsched contributors

# Scarce processes, prepared transactions, many jobs and runs, and what our
# processes hold while they wait: nothing.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('resources', conf => q{
max_prepared_transactions = 10
max_worker_processes = 4
jobsched.max_workers = 4
jobsched.worker_idle_timeout = '1 min'
});
create_extension($node, $db);
effects_schema($node, $db);
sql_as($node, $db, 'app', q{
	SELECT jobsched.create_job('quick', handler => 'app.leave');
	SELECT jobsched.create_job('nap', command => 'SELECT pg_sleep(0.3)')});

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

# ------------------------------------------------------------------------
# max_worker_processes
# ------------------------------------------------------------------------

# The launchers (ours and the server's own), the scheduler: one place is left.
is((run_job($node, $db, 'quick'))[1], 'succeeded', 'with one place for a worker runs go through');
is(psql(q{SELECT status, message LIKE 'max_worker_processes leaves no room%' FROM jobsched.health() WHERE "check" = 'workers'}), 'warning|t',
	'health() says that max_worker_processes is small');
my $many = psql(q{SELECT count(*) FROM jobsched.trigger_many('nap', array_fill('{}'::jsonb, ARRAY[6]))});
wait_log($node, qr/could not start a worker: no background worker slot is free/, 0, 'no more can be started, and the log says so');
wait_drained($node, $db);
is(psql(q{SELECT string_agg(DISTINCT status, ' ') || count(*) FROM jobsched.runs WHERE job_name = 'nap'}), 'succeeded6', 'runs wait for the one there is');

# No place at all: another database's scheduler has the last.
psql(q{SELECT pg_terminate_backend(pid) FROM jobsched.workers});
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched.workers}, 'the worker is gone');
psql('CREATE DATABASE second');
create_extension($node, 'second');
my @waiting = map { psql(q{SELECT jobsched.trigger('quick')}) } 1 .. 3;
wait_until($node, $db, "SELECT status = 'queued' AND reason IS NOT NULL FROM jobsched.runs WHERE run_id = $waiting[0]", 'it waits and says for what');
my $pid = scheduler_pid($node, $db);
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id IN ($waiting[0], $waiting[1], $waiting[2]) AND status = 'queued'"), '3', 'no place at all: runs wait');

# Who found no place looks again each second, but not when it is stopped, nor
# when nothing waits any more.
my $sleeps = q{SELECT last_active_at < clock_timestamp() - interval '2 s' FROM jobsched_internal.scheduler()};
set_setting($node, 'jobsched.enabled', 'off');
wait_until($node, $db, $sleeps, 'stopped, the scheduler sleeps');
set_setting($node, 'jobsched.enabled');
psql("SELECT jobsched.cancel_run($_)") for @waiting;
wait_drained($node, $db);
wait_until($node, $db, $sleeps, 'without runs that wait it sleeps');
pass('a scheduler that found no place does not look in vain');

@waiting = map { psql(q{SELECT jobsched.trigger('quick')}) } 1 .. 3;
$node->safe_psql('second', 'DROP EXTENSION jobsched');
wait_drained($node, $db);
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id IN ($waiting[0], $waiting[1], $waiting[2]) AND status = 'succeeded'"), '3', 'and start when there is one');
is(scheduler_pid($node, $db), $pid, 'the scheduler has stayed');
$node->append_conf('postgresql.conf', "max_worker_processes = 20\n");
$node->restart;
wait_scheduler($node, $db);

# ------------------------------------------------------------------------
# Prepared transactions
# ------------------------------------------------------------------------

my $run_id = (split /\n/, psql(q{BEGIN; SELECT jobsched.trigger('quick'); PREPARE TRANSACTION 'kept'}))[0];
psql(q{BEGIN; SELECT jobsched.trigger('quick', '{"rolled": "back"}'); PREPARE TRANSACTION 'given up'});
my $job_id = (split /\n/, psql(q{BEGIN; SELECT jobsched.create_job('prepared', '* * * * * *', 'SELECT 1'); PREPARE TRANSACTION 'job'}))[0];
is((run_job($node, $db, 'quick'))[1], 'succeeded', 'prepared transactions hold up nothing');
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $run_id"), '0', 'a run of a prepared transaction does not exist yet');

# It lasts through a scheduler and a server.
$pid = scheduler_pid($node, $db);
kill 'TERM', $pid;
wait_new_scheduler($node, $db, $pid);
is((run_job($node, $db, 'quick'))[1], 'succeeded', 'nor hold up a new scheduler');
$node->restart;
wait_scheduler($node, $db);
my $before = psql(q{SELECT count(*) FROM app.effect});
psql(q{ROLLBACK PREPARED 'given up'});
psql(q{COMMIT PREPARED 'kept'});
wait_run_state($node, $db, $run_id, 'succeeded');
pass('COMMIT PREPARED: the run starts');
psql(q{COMMIT PREPARED 'job'});
wait_until($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_id = $job_id AND status = 'succeeded'", 'it ticks');
pass('a job of a prepared transaction too');
is(psql(q{SELECT count(*) FROM app.effect}) - $before, '1', 'ROLLBACK PREPARED: no run');
psql(q{SELECT jobsched.drop_job('prepared')});

# A transaction that holds a job's row, or a run's, while slots come due.
psql(q{SELECT jobsched.create_job('tick', '* * * * * *', 'SELECT 1')});
psql(q{BEGIN; SELECT jobsched.alter_job('tick', description => 'x'); PREPARE TRANSACTION 'holds'});
my $since = psql('SELECT clock_timestamp()');
wait_value($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded' AND scheduled_for > '$since'", 't', 'a prepared change of a job does not hold up its slots');
psql(q{COMMIT PREPARED 'holds'});
psql(q{SELECT jobsched.drop_job('tick')});

# A session that locks our tables in a normal manner.
my $session = $node->background_psql($db);
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobsched.runs; LOCK TABLE jobsched_internal.history IN ACCESS SHARE MODE');
is((run_job($node, $db, 'quick'))[1], 'succeeded', 'a reader with an old snapshot holds up nothing');
$session->quit;

# ------------------------------------------------------------------------
# Many
# ------------------------------------------------------------------------

psql(q{SELECT count(jobsched.create_job('many ' || i, '0 0 29 2 *', 'SELECT 1')) FROM generate_series(1, 2000) i});
is(psql(q{SELECT count(*) FROM jobsched.jobs WHERE state = 'active' AND name LIKE 'many%'}), '2000', '2000 jobs');
is((run_job($node, $db, 'many 1234'))[1], 'succeeded', 'and each can be triggered');
psql('TRUNCATE app.effect');
my $first = psql(q{SELECT min(t) FROM jobsched.trigger_many('quick', array_fill('{}'::jsonb, ARRAY[10000])) t});
psql(q{SELECT count(jobsched.trigger('quick')) FROM generate_series(1, 10000)});
wait_drained($node, $db);
is(psql("SELECT count(*), count(DISTINCT run_id) FROM jobsched.runs WHERE run_id >= $first AND status = 'succeeded'"), '20000|20000', '20000 runs');
is(psql(q{SELECT count(*), count(DISTINCT run_id) FROM app.effect}), '20000|20000', 'each has its effect once');
$pid = scheduler_pid($node, $db);
kill 'TERM', $pid;
wait_new_scheduler($node, $db, $pid);
psql(q{SELECT count(jobsched.drop_job(name)) FROM jobsched.jobs WHERE name LIKE 'many%'});
is(psql(q{SELECT count(*) FROM jobsched.upcoming}), '0', 'all dropped');

# ------------------------------------------------------------------------
# Nothing is held while waiting
# ------------------------------------------------------------------------

psql(q{SELECT jobsched.create_job('leap', '0 0 29 2 *', 'SELECT 1')});
sql_as($node, $db, 'app', q{SELECT jobsched.create_job('mess', command => $$
	CREATE TEMP TABLE t (x int); SELECT pg_advisory_lock(1); SET work_mem = '1MB'; PREPARE p AS SELECT 1; DECLARE c CURSOR WITH HOLD FOR SELECT 1$$)});
is((run_job($node, $db, 'mess'))[1], 'succeeded', 'a run that leaves much behind');
wait_until($node, $db, q{SELECT bool_and(state = 'idle') AND count(*) > 0 FROM jobsched.workers}, 'all workers are idle');
my $ours = q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'jobsched%'};
wait_value($node, $db, qq{
	SELECT concat_ws(' ', count(xact_start), count(backend_xid), count(backend_xmin), count(*) > 2,
		string_agg(DISTINCT COALESCE(state, '-'), ','), string_agg(DISTINCT wait_event_type, ','))
	FROM pg_stat_activity WHERE pid IN ($ours)},
	'0 0 0 t -,idle Extension', 'our processes wait without transaction and snapshot');
is(psql("SELECT count(*) FROM pg_locks WHERE pid IN ($ours)"), '0', 'and hold no lock');
is(psql(q{SELECT count(*) FROM pg_prepared_xacts}), '0', 'nothing is left');

# Nor, for longer than a step takes, under load that goes on until it is told to
# end: xmin is held by runs only, and the scheduler has one transaction after
# another.
psql('CREATE TABLE enough ()');
my $load = $node->background_psql($db);
$load->query_until(
	qr/loaded/, q{
\echo loaded
DO $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM enough) LOOP
		PERFORM jobsched.trigger('quick') FROM generate_series(1, 10);
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
});
my $transaction = q{SELECT xact_start FROM pg_stat_activity WHERE backend_type = 'jobsched scheduler' AND xact_start};
for my $round (1 .. 3)
{
	wait_until($node, $db, "SELECT EXISTS ($transaction IS NOT NULL)", 'the scheduler has a transaction');
	my $begun = psql("$transaction IS NOT NULL") || next;
	wait_until($node, $db, "SELECT NOT EXISTS ($transaction = '$begun')", 'which ends');
}
pass('the transactions of a scheduler are short');
psql('INSERT INTO enough DEFAULT VALUES');
$load->quit;
wait_drained($node, $db);

# Idle means idle: not a single step until something happens.
wait_until($node, $db, q{SELECT last_active_at < clock_timestamp() - interval '2 s' FROM jobsched_internal.scheduler()}, 'the scheduler sleeps');
pass('an idle scheduler does not wake up');

check_log($node);
$node->stop;
done_testing();
