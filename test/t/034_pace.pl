# Copyright (c) 2026, jobsched contributors

# What sets the pace at run time: stopping and starting a database's
# processing, settings that are reloaded, the time that runs get when the server
# is shut down, and runs that somebody takes from their workers.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $db = 'postgres';
my $node = jobsched_node('pace', conf => q{
jobsched.max_workers = 2
jobsched.worker_idle_timeout = '10 min'
max_prepared_transactions = 5
restart_after_crash = on
timezone = 'UTC'
});
create_extension($node, $db);
effects_schema($node, $db);
define_clock($node, $db);
make_gate($node, $db, 'app');

$node->safe_psql($db, q{
	CREATE ROLE other LOGIN;
	GRANT USAGE ON SCHEMA jobsched TO other;
	SET ROLE app;
	CREATE FUNCTION app.hold(args jsonb) RETURNS void LANGUAGE sql AS
		'SELECT app.leave(args); SELECT id FROM public.gate FOR UPDATE';
	CREATE FUNCTION app.sleep(args jsonb) RETURNS void LANGUAGE sql AS
		'SELECT app.leave(args); SELECT pg_sleep(600)';
	CREATE FUNCTION app.fail_once(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.hold(args);
		IF jobsched.attempt() = 1 THEN
			RAISE EXCEPTION 'not now';
		END IF;
	END $$;
	CREATE PROCEDURE app.hold_apart() LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave('{}');
		COMMIT;
		LOOP
			BEGIN
				PERFORM id FROM public.gate FOR UPDATE;
				EXIT;
			EXCEPTION WHEN query_canceled THEN
				RAISE LOG 'run % goes on', jobsched.run_id();
			END;
		END LOOP;
	END $$;
	SELECT jobsched.create_job('quick', handler => 'app.leave');
	SELECT jobsched.create_job('many', handler => 'app.leave');
	SELECT jobsched.create_job('hold', handler => 'app.hold', retry_delays => ARRAY['10 ms'::interval]);
	SELECT jobsched.create_job('sleep', handler => 'app.sleep', max_attempts => 1);
	SELECT jobsched.create_job('fails once', handler => 'app.fail_once', max_attempts => 1);
	SELECT jobsched.create_job('apart', command => 'CALL app.hold_apart()', max_attempts => 1);
	SELECT jobsched.create_job('large', command => 'SELECT repeat(''x'', 5000)');
});

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

sub trigger
{
	my ($job, $more) = @_;
	return psql("SET ROLE app; SELECT jobsched.trigger('$job'" . ($more ? ", $more)" : ')'));
}

# status|reason|attempt|effects of a run that has ended
sub ended
{
	my ($run_id) = @_;
	psql("CALL jobsched.wait_run($run_id, '$PostgreSQL::Test::Utils::timeout_default s')");
	return psql("SELECT status, reason, attempt, (SELECT count(*) FROM app.effect e WHERE e.run_id = r.run_id) FROM jobsched.runs r WHERE run_id = $run_id");
}

sub is_queued
{
	my ($run_id, $reason, $name) = @_;
	return wait_value($node, $db, "SELECT status, reason, attempt FROM jobsched.runs WHERE run_id = $run_id", "queued|$reason|0", $name);
}

sub set_conf
{
	my ($setting, $value) = @_;
	psql("ALTER SYSTEM SET jobsched.$setting = '$value'");
	return psql('SELECT pg_reload_conf()');
}

my $gate;

# Until a run waits at the gate, or sleeps; returns its worker.
sub wait_running
{
	my ($run_id) = @_;
	wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running r JOIN pg_stat_activity a ON a.pid = r.worker_pid
		WHERE r.run_id = $run_id AND (a.wait_event_type = 'Lock' OR a.wait_event = 'PgSleep'))", "run $run_id is executed");
	return psql("SELECT worker_pid FROM jobsched.running WHERE run_id = $run_id");
}

sub hold
{
	my ($job, $more) = @_;
	my $run_id = trigger($job, $more);
	return ($run_id, wait_running($run_id));
}

sub restart
{
	$node->start;
	return wait_scheduler($node, $db);
}

# ------------------------------------------------------------------------
# Stopped
# ------------------------------------------------------------------------

$gate = close_gate($node, $db);
my ($running) = hold('hold');
psql('SELECT jobsched.stop_processing()');
my $waiting = trigger('quick');
is_queued($waiting, 'processing_stopped', 'stopped: a run waits');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $running"), 'running', 'one that is executed goes on');
$gate->quit;
is(ended($running), 'succeeded||1|1', 'to its end');
my $cancelled = trigger('quick');
psql("SELECT jobsched.cancel_run($cancelled)");
is(ended($cancelled), 'cancelled|cancelled|0|0', 'one that waits can be cancelled');

# over everything
my $scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
is_queued($waiting, 'processing_stopped', 'a successor of the scheduler has not started it');
$node->restart;
wait_scheduler($node, $db);
is_queued($waiting, 'processing_stopped', 'nor has a restart');
kill_and_start($node);
wait_scheduler($node, $db);
is_queued($waiting, 'processing_stopped', 'nor a crash');
is(psql(q{SELECT status, value FROM jobsched.health() WHERE "check" = 'processing'}), 'warning|stopped', 'health() tells');

# of this database only, and in no copy
psql('CREATE DATABASE beside');
create_extension($node, 'beside');
$node->safe_psql('beside', q{SELECT jobsched.create_job('there', command => 'SELECT 1')});
my ($run_id, $status) = run_job($node, 'beside', 'there');
is($status, 'succeeded', 'another database goes on');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
psql('CREATE DATABASE copy');
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr($db) ], 'it is dumped');
$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $dump, '-d', $node->connstr('copy') ], 'and restored');
is($node->safe_psql('copy', q{SELECT status, value FROM jobsched.health() WHERE "check" = 'processing'}), 'ok|on', 'a copy is not stopped');
$node->safe_psql('postgres', 'DROP DATABASE copy');

psql('SELECT jobsched.start_processing()');
is(ended($waiting), 'succeeded||1|1', 'started: it runs');

# Runs in a mailbox are no runs that have begun.
wait_value($node, $db, q{SELECT count(*) FROM jobsched.workers w JOIN pg_stat_activity a USING (pid)
	WHERE w.state <> 'idle' OR a.wait_event_type <> 'Extension'}, '0', 'the workers wait, and hold no lock');
my @workers = worker_pids($node, $db);
kill 'STOP', @workers;
$waiting = trigger('quick');
wait_until($node, $db, 'SELECT sum(assigned) > 0 FROM jobsched.workers', 'a run is in a mailbox');
psql('SELECT jobsched.stop_processing()');
is_queued($waiting, 'processing_stopped', 'it comes back when processing stops, as it was');
kill 'CONT', @workers;
psql('SELECT jobsched.start_processing()');
is(ended($waiting), 'succeeded||1|1', 'and is done later, once');

# transactions
psql(q{BEGIN; SELECT jobsched.stop_processing(); PREPARE TRANSACTION 'stop'});
is(ended(trigger('quick')), 'succeeded||1|1', 'prepared is not yet stopped');
psql(q{COMMIT PREPARED 'stop'});
$waiting = trigger('quick');
is_queued($waiting, 'processing_stopped', 'committed it is');
psql('BEGIN; SELECT jobsched.start_processing(); ROLLBACK');
is_queued($waiting, 'processing_stopped', 'and what is rolled back changes nothing');
psql('SELECT jobsched.start_processing()');
is(ended($waiting), 'succeeded||1|1', 'it runs in the end');

# by fits and starts
psql(q{DO $$
	BEGIN
		FOR i IN 1 .. 60 LOOP
			PERFORM jobsched.stop_processing();
			PERFORM jobsched.trigger_many('many', array_fill(NULL::jsonb, ARRAY[20]));
			COMMIT;
			PERFORM pg_sleep(random() * 0.01);
			PERFORM jobsched.start_processing();
			PERFORM jobsched.trigger_many('many', array_fill(NULL::jsonb, ARRAY[20]));
			COMMIT;
			PERFORM pg_sleep(random() * 0.01);
		END LOOP;
	END $$});
wait_drained($node, $db);
is(psql(q{SELECT count(*), min(status), max(status), max(attempt) FROM jobsched.runs WHERE job_name = 'many'}), '2400|succeeded|succeeded|1', 'stopped and started all the time: all runs are done');
check_exactly_once($node, $db, 'once each');

# slots
set_clock($node, $db, '2031-05-01 00:00:00');
psql(q{SET ROLE app; SELECT jobsched.create_job('daily', '0 12 * * *', handler => 'app.leave')});
psql('SELECT jobsched.stop_processing()');
set_clock($node, $db, '2031-05-04 13:00:00');
$waiting = trigger('quick');
is_queued($waiting, 'processing_stopped', 'some days later');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'daily'}), '0', 'no slot has fired');
psql('SELECT jobsched.start_processing()');
wait_caught_up($node, $db);
is(psql(q{SELECT scheduled_for, missed_count, status FROM jobsched.runs WHERE job_name = 'daily'}), '2031-05-04 12:00:00+00|3|succeeded', 'one run makes up for them');
psql(q{SELECT jobsched.drop_job('daily')});

# ------------------------------------------------------------------------
# Settings
# ------------------------------------------------------------------------

# retention, by the mocked clock
for my $ring ([ 0, 'history_retention' ], [ 1, 'failure_retention' ])
{
	my ($number, $setting) = @$ring;
	my $before = psql("SELECT segment FROM jobsched_internal.ring WHERE ring = $number");

	set_conf($setting, '1 min');
	set_clock($node, $db, '2031-05-04 13:01:00');
	wait_until($node, $db, "SELECT segment <> $before FROM jobsched_internal.ring WHERE ring = $number", "$setting takes effect");
	psql("ALTER SYSTEM RESET jobsched.$setting; SELECT pg_reload_conf()");
	pass("$setting is reloaded");
}
set_clock($node, $db, undef);

# workers
sub executed
{
	return "SELECT count(*) FROM jobsched.running JOIN pg_stat_activity a ON a.pid = worker_pid WHERE a.wait_event_type = 'Lock'";
}

$gate = close_gate($node, $db);
my @held = map { trigger('hold') } (1 .. 3);
wait_value($node, $db, executed(), '2', 'max_workers is 2');
set_conf('max_workers', '1000');
wait_value($node, $db, executed(), '3', 'more than max_worker_processes: a third is started');
set_conf('max_workers', '1');
$gate->quit;
is(ended($_), 'succeeded||1|1', 'a run that is executed is not disturbed') for @held;
wait_value($node, $db, 'SELECT count(*) FROM jobsched.workers', '1', 'max_workers is 1: the others leave');
set_conf('worker_idle_timeout', '1 ms');
wait_value($node, $db, 'SELECT count(*) FROM jobsched.workers', '0', 'worker_idle_timeout is reloaded by a worker that idles');
set_conf('worker_idle_timeout', '10 min');
set_conf('max_workers', '2');

# grace
set_conf('cancel_grace', '1 h');
$gate = close_gate($node, $db);
my $offset = log_size($node);
($running) = hold('apart');
psql("SELECT jobsched.cancel_run($running)");
wait_log($node, qr/run $running goes on/, $offset, 'a cancelled run has a grace of an hour');
set_conf('cancel_grace', '10 ms');
is(ended($running), 'cancelled|cancelled|1|1', 'cancel_grace is reloaded, for it too');
$gate->quit;

# sizes
set_conf('max_result_size', '1 kB');
set_conf('max_log_size', '1 kB');
ended(trigger('quick'));
wait_value($node, $db, q{SELECT count(*) FROM jobsched.workers WHERE state <> 'idle'}, '0', 'workers are idle');
$run_id = trigger('large');
is(ended($run_id), 'succeeded||1|0', 'a large result');
is(psql("SELECT result IS NULL FROM jobsched.runs WHERE run_id = $run_id"), 't', 'max_result_size is reloaded');
psql('ALTER SYSTEM RESET jobsched.max_result_size; ALTER SYSTEM RESET jobsched.max_log_size; SELECT pg_reload_conf()');

# ------------------------------------------------------------------------
# Reset
# ------------------------------------------------------------------------

set_conf('cancel_grace', '1 h');
$gate = close_gate($node, $db);
my $worker;
($running, $worker) = hold('hold');
is(psql(q{SELECT jobsched.reset_stuck('1 h')}), '0', 'a run is not stuck after a moment');
is(sql_as($node, $db, 'other', q{SELECT jobsched.reset_stuck('0')}), '0', 'nor is it another role\'s to reset');
psql(q{BEGIN; SELECT jobsched.reset_stuck('0'); ROLLBACK});
psql("INSERT INTO jobsched_internal.run_stop VALUES (nextval('jobsched_internal.stop_id_seq'), 'reset', $running, 7, false)");
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.run_stop', '0', 'stops are served');
is(psql("SELECT attempt, worker_pid FROM jobsched.running WHERE run_id = $running"), "1|$worker", 'what is rolled back, or for another attempt, does nothing');
psql(q{SELECT jobsched.pause_job('hold')});
is(sql_as($node, $db, 'app', q{SELECT jobsched.reset_stuck('0')}), '1', 'its owner resets it');
wait_value($node, $db, "SELECT status, reason, attempt, lost FROM jobsched_internal.run WHERE run_id = $running", 'queued|reset|1|1', 'it goes back to the queue');
is(psql("SELECT count(*) FROM pg_stat_activity WHERE pid = $worker"), '0', 'its worker is gone');
psql(q{SELECT jobsched.resume_job('hold')});
wait_running($running);
($run_id) = hold('apart');
psql(q{SELECT jobsched.pause_job('hold')});
is(psql(q{SELECT jobsched.reset_stuck('0')}), '2', 'two are reset');
is(ended($run_id), 'lost|reset|1|1', 'one that is not one transaction is lost, whatever it catches');
$gate->quit;
psql(q{SELECT jobsched.resume_job('hold')});
is(ended($running), 'succeeded||3|1', 'the other is done in the end, once');
$gate = close_gate($node, $db);
$offset = log_size($node);
($run_id) = hold('apart');
psql("SELECT jobsched.cancel_run($run_id)");
wait_log($node, qr/run $run_id goes on/, $offset, 'a cancelled run has its grace');
is(psql(q{SELECT jobsched.reset_stuck('0')}), '1', 'it is reset');
is(ended($run_id), 'cancelled|cancelled|1|1', 'and ends at once, as what it was to end as');
$gate->quit;
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.run_stop', '0', 'no stop is left');

# ------------------------------------------------------------------------
# Shutdown
# ------------------------------------------------------------------------

# The gate must not open before the worker has its SIGTERM: its session is
# stopped until the postmaster, which first signals all, has seen the scheduler
# end.
sub stop_at_gate
{
	my ($gate) = @_;
	my $gate_pid = $gate->query_safe('SELECT pg_backend_pid()');
	my $first = scheduler_pid($node, $db);
	my $until = time() + 180;

	kill 'STOP', $gate_pid;
	my $stop = IPC::Run::start([ 'pg_ctl', '-D', $node->data_dir, '-m', 'fast', 'stop' ], '>', '/dev/null');
	while (kill(0, $first) && time() < $until)
	{
		usleep(10_000);
	}
	kill 'CONT', $gate_pid;
	$stop->finish;
	$node->_update_pid(0);
	eval { $gate->quit };
	return;
}

set_conf('max_workers', '1');
$gate = close_gate($node, $db);
($running) = hold('hold');
$waiting = trigger('hold');
stop_at_gate($gate);
restart();
is(ended($running), 'succeeded||2|1', 'without a grace a run is cut off, and done again');
# It may have been in the worker's mailbox, claimed.
like(ended($waiting), qr/^succeeded\|\|[12]\|1$/, 'as is what waited');

set_conf('shutdown_grace', '1 h');
$gate = close_gate($node, $db);
($running, $worker) = hold('hold');
$waiting = trigger('hold');
$offset = log_size($node);
stop_at_gate($gate);
unlike(log_since($node, $offset), qr/FATAL.*jobsched worker|\[$worker\].*FATAL/, 'with one the worker ends by itself');
restart();
is(ended($running), 'succeeded||1|1', 'its run has finished');
like(ended($waiting), qr/^succeeded\|\|[12]\|1$/, 'the next is done once');
is(psql("SELECT r.started_at > pg_postmaster_start_time() FROM jobsched.runs r WHERE run_id = $waiting"), 't', 'after the restart');
is(psql("SELECT r.finished_at < pg_postmaster_start_time() FROM jobsched.runs r WHERE run_id = $running"), 't', 'as the other has before');
is(psql(q{SELECT last_status FROM jobsched.jobs WHERE name = 'hold'}), 'succeeded', 'the job knows');

$gate = close_gate($node, $db);
($running) = hold('fails once');
stop_at_gate($gate);
restart();
is(ended($running), 'succeeded||2|1', 'a run that fails meanwhile is cut off, and done again');

$gate = close_gate($node, $db);
($running) = hold('hold');
my $stop = IPC::Run::start([ 'pg_ctl', '-D', $node->data_dir, '-m', 'smart', 'stop' ], '>', '/dev/null');
wait_log($node, qr/received smart shutdown request/, $offset, 'a smart shutdown');
$gate->quit;
$stop->finish;
$node->_update_pid(0);
restart();
is(ended($running), 'succeeded||1|1', 'its runs finish too');

# who is not to wait
for my $how ([ 'pg_terminate_backend()', sub { psql("SELECT pg_terminate_backend($_[0])") } ],
	[ 'a SIGTERM from elsewhere', sub { kill 'TERM', $_[0] } ])
{
	my ($name, $terminate) = @$how;

	($running, $worker) = hold('sleep');
	$terminate->($worker);
	wait_until($node, $db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $worker)", 'the worker is gone');
	pass("$name does not wait");
	psql("SELECT jobsched.cancel_run($running, force => true)");
	like(ended($running), qr/^cancelled\|/, 'the run is cancelled');
}
set_conf('max_workers', '2');
$node->safe_psql('beside', q{SELECT jobsched.create_job('sleep', command => 'SELECT pg_sleep(600)'); SELECT jobsched.trigger('sleep')});
wait_until($node, $db, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = 'beside' AND wait_event = 'PgSleep')}, 'a run of another database sleeps');
psql('DROP DATABASE beside WITH (FORCE)');
pass('DROP DATABASE does not wait either');

# how long
($running) = hold('sleep', q{timeout => '3 s'});
$node->stop('fast');
restart();
is(ended($running), 'timed_out|timeout|2|0', 'a run gets no longer than its timeout');
set_conf('shutdown_grace', '100 ms');
($running) = hold('sleep');
$offset = log_size($node);
$node->stop('fast');
like(log_since($node, $offset), qr/jobsched worker.*FATAL:  terminating/, 'when the grace is over the worker is terminated');
restart();
wait_running($running);
is(psql("SELECT attempt FROM jobsched.running WHERE run_id = $running"), '2', 'the run is done again');
psql("SELECT jobsched.cancel_run($running)");
is(ended($running), 'cancelled|cancelled|2|0', 'and cancelled');

check_exactly_once($node, $db, 'every run is done once or not at all', q{'quick', 'many', 'hold', 'sleep'});
check_log($node, killed => 1);
$node->stop;
done_testing();
