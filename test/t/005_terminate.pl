# Copyright (c) 2026, jobsched contributors

# pg_terminate_backend() and pg_cancel_backend() on each of the processes,
# idle and at work: it comes back and carries on, and what became of the run
# is told truthfully.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('terminate');
create_extension($node, $db);
effects_schema($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

# A run that has done its work and waits at the gate to end.
make_gate($node, $db, 'app');
psql(q{
	SET ROLE app;
	CREATE FUNCTION app.hold(args jsonb) RETURNS void LANGUAGE sql AS $$
		SELECT app.leave(args);
		SELECT id FROM public.gate FOR UPDATE;
	$$;
	CREATE PROCEDURE app.hold_apart() LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave('{}');
		COMMIT;
		PERFORM id FROM public.gate FOR UPDATE;
	END $$;
	CREATE TABLE app.big (id int);
	SELECT jobsched.create_job('quick', handler => 'app.leave');
	SELECT jobsched.create_job('hold', handler => 'app.hold');
	SELECT jobsched.create_job('hold apart', command => 'CALL app.hold_apart()');
	SELECT jobsched.create_job('vacuum', command => 'VACUUM app.big');
	SELECT jobsched.create_job('suicide', command => 'SELECT app.leave(NULL); SELECT pg_terminate_backend(pg_backend_pid()); SELECT pg_sleep(60)');
	SELECT jobsched.create_job('self-cancel', command => 'SELECT app.leave(NULL); SELECT pg_cancel_backend(pg_backend_pid()); SELECT pg_sleep(60)');
	SELECT jobsched.create_job('tick', '* * * * * *', handler => 'app.leave');
});
sub trigger
{
	my ($job) = @_;
	return sql_as($node, $db, 'app', "SELECT jobsched.trigger('$job')");
}

# Triggers a job that stops at the gate; returns the run and the worker.
sub hold
{
	my ($job) = @_;
	my $run_id = trigger($job);
	return ($run_id, wait_at_gate($node, $db, $run_id));
}

sub of_run
{
	my ($run_id, $columns) = @_;
	return psql("SELECT $columns FROM jobsched.runs WHERE run_id = $run_id");
}

sub effects_of
{
	my ($run_id) = @_;
	return psql("SELECT count(*) FROM app.effect WHERE run_id = $run_id");
}

# Everything works, at once and by the clock.
sub works
{
	my ($name) = @_;
	is((run_job($node, $db, 'quick', role => 'app'))[1], 'succeeded', "$name: a triggered run succeeds");
	my $since = psql('SELECT clock_timestamp()');
	wait_value($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded' AND scheduled_for > '$since'",
		't', "$name: slots fire");
	return;
}

works('at first');

# ------------------------------------------------------------------------
# The launcher
# ------------------------------------------------------------------------

my $launcher = launcher_pid($node);
my $scheduler = scheduler_pid($node, $db);
is(psql("SELECT pg_terminate_backend($launcher)"), 't', 'the launcher is terminated');
wait_until($node, $db, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'jobsched launcher' AND pid <> $launcher)",
	'there is another launcher');
is(scheduler_pid($node, $db), $scheduler, 'the scheduler goes on without it');
works('launcher terminated');
$node->safe_psql($db, 'CREATE DATABASE second');
create_extension($node, 'second');
pass('the new launcher starts schedulers');
is(psql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jobsched scheduler'}), '2', 'one for each database');
$launcher = launcher_pid($node);
psql("SELECT pg_cancel_backend($launcher)");
works('launcher cancelled');
$scheduler = scheduler_pid($node, 'second');
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, 'second', $scheduler);
pass('and it replaces schedulers');

# Both at once.
$launcher = launcher_pid($node);
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($launcher), pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
works('launcher and scheduler terminated');

# ------------------------------------------------------------------------
# The scheduler
# ------------------------------------------------------------------------

$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
works('scheduler terminated');
for my $round (1 .. 3)
{
	psql(qq{SELECT pg_cancel_backend(pid) FROM pg_stat_activity
		WHERE backend_type = 'jobsched scheduler' AND datname = '$db'});
	wait_scheduler($node, $db);
}
works('scheduler cancelled');

# With a run in progress, and with runs that end while there is no scheduler.
my $gate = close_gate($node, $db);
my ($run_id, $worker) = hold('hold');
for my $round (1 .. 2)
{
	$scheduler = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($scheduler)");
	wait_new_scheduler($node, $db, $scheduler);
	is(of_run($run_id, 'status, worker_pid, attempt'), "running|$worker|1", "round $round: the run goes on");
}
my $queued = trigger('quick');
wait_run_state($node, $db, $queued, 'succeeded');
$gate->quit;
wait_run_state($node, $db, $run_id, 'succeeded');
is(effects_of($run_id), '1', 'and ends once');

my $stop = 0;
psql(q{SELECT count(*) FROM jobsched.trigger_many('quick', array_fill('{}'::jsonb, ARRAY[1500]))});
for my $round (1 .. 3)
{
	$scheduler = scheduler_pid($node, $db);
	next if $scheduler eq '';
	psql("SELECT pg_terminate_backend($scheduler)");
	wait_new_scheduler($node, $db, $scheduler);
}
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run WHERE source = 'trigger'}, 'the queue is empty');
check_exactly_once($node, $db, 'schedulers terminated in the middle of many runs: each run once', q{'quick', 'hold', 'tick'});
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'quick' AND status <> 'succeeded'}), '0', 'all have succeeded');

# ------------------------------------------------------------------------
# Workers
# ------------------------------------------------------------------------

# idle
wait_until($node, $db, q{SELECT EXISTS (SELECT FROM jobsched.workers WHERE state = 'idle')}, 'there is an idle worker');
psql(q{SELECT pg_terminate_backend(pid) FROM jobsched.workers});
works('idle workers terminated');
wait_until($node, $db, q{SELECT EXISTS (SELECT FROM jobsched.workers WHERE state = 'idle')}, 'there is an idle worker');
my @idle = worker_pids($node, $db);
psql("SELECT pg_cancel_backend($_)") for @idle;
works('idle workers cancelled');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'quick' AND status <> 'succeeded'}), '0', 'which harms no run that comes later');

# in the middle of a run that is one transaction
$gate = close_gate($node, $db);
($run_id, $worker) = hold('hold');
psql("SELECT pg_terminate_backend($worker)");
wait_until($node, $db, "SELECT attempt = 2 AND worker_pid IS NOT NULL FROM jobsched.runs WHERE run_id = $run_id", 'the run has been started again');
isnt(of_run($run_id, 'worker_pid'), $worker, 'by another worker');
is(effects_of($run_id), '0', 'nothing is left of the first attempt');
$gate->quit;
wait_run_state($node, $db, $run_id, 'succeeded');
is(effects_of($run_id), '1', 'the second attempt has its effect');
is(psql("SELECT attempt FROM app.effect WHERE run_id = $run_id"), '2', 'and knows that it is the second');

# queued again, while no worker can be had: the reason is told
$gate = close_gate($node, $db);
($run_id, $worker) = hold('hold');
psql(q{SELECT jobsched.pause_job('hold')});
psql("SELECT pg_terminate_backend($worker)");
wait_run_state($node, $db, $run_id, 'queued');
like(of_run($run_id, 'reason'), qr/worker_died|job_paused/, 'a run queued again has a reason');
is(psql("SELECT reason FROM jobsched_internal.run WHERE run_id = $run_id"), 'worker_died', 'that its worker died');
$gate->quit;
psql(q{SELECT jobsched.resume_job('hold')});
wait_run_state($node, $db, $run_id, 'succeeded');
pass('and runs when its job is resumed');

# in the middle of one that has committed
$gate = close_gate($node, $db);
($run_id, $worker) = hold('hold apart');
psql("SELECT pg_terminate_backend($worker)");
wait_run_state($node, $db, $run_id, 'lost');
is(of_run($run_id, 'status, reason, attempt, sqlstate, finished_at IS NOT NULL'), 'lost|worker_died|1|57P01|t',
	'a run that commits by itself is lost with its worker, and not repeated');
is(effects_of($run_id), '1', 'what it had committed stays');
is(psql(q{SELECT last_status, right(recent, 1), consecutive_failures FROM jobsched.jobs WHERE name = 'hold apart'}), 'lost|L|1', 'the job tells');
$gate->quit;

$gate = close_gate($node, $db, 'LOCK TABLE app.big IN ACCESS EXCLUSIVE MODE');
($run_id, $worker) = hold('vacuum');
psql("SELECT pg_terminate_backend($worker)");
wait_run_state($node, $db, $run_id, 'lost');
is(of_run($run_id, 'reason'), 'worker_died', 'the same for VACUUM');
($run_id, $worker) = hold('vacuum');
psql("SELECT pg_cancel_backend($worker)");
wait_run_state($node, $db, $run_id, 'cancelled');
is(of_run($run_id, 'reason, sqlstate'), 'backend_cancelled|57014', 'VACUUM can be cancelled');
$gate->quit;
is((run_job($node, $db, 'vacuum'))[1], 'succeeded', 'and works afterwards');

# cancelled
$gate = close_gate($node, $db);
($run_id, $worker) = hold('hold');
psql("SELECT pg_cancel_backend($worker)");
wait_run_state($node, $db, $run_id, 'cancelled');
is(of_run($run_id, 'reason, sqlstate, attempt'), 'backend_cancelled|57014|1', 'pg_cancel_backend() ends a run as cancelled');
is(effects_of($run_id), '0', 'without effect');
is(psql("SELECT count(*) FROM jobsched.workers WHERE pid = $worker"), '1', 'its worker stays');
$gate->quit;
is((run_job($node, $db, 'quick', role => 'app'))[1], 'succeeded', 'and does other runs');

# runs that end their own backend
$run_id = trigger('suicide');
wait_run_state($node, $db, $run_id, 'lost');
is(of_run($run_id, 'status, reason, sqlstate'), 'lost|worker_died|57P01', 'a run that ends its own worker again and again is lost at last');
is(of_run($run_id, 'attempt'), '4', 'after three more attempts');
is(effects_of($run_id), '0', 'without effect');
$run_id = trigger('self-cancel');
wait_run_state($node, $db, $run_id, 'cancelled');
is(of_run($run_id, 'reason'), 'backend_cancelled', 'one that cancels itself is cancelled');
works('after that');

# many, at random, while runs go through
for my $round (1 .. 5)
{
	psql(q{SELECT count(*) FROM jobsched.trigger_many('quick', array_fill('{}'::jsonb, ARRAY[300]))});
	psql(q{SELECT pg_terminate_backend(pid) FROM jobsched.workers WHERE random() < 0.7});
}
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run WHERE source = 'trigger'}, 'the queue is empty');
check_exactly_once($node, $db, 'workers terminated in the middle of many runs: each run once',
	q{'quick', 'hold', 'tick', 'suicide', 'self-cancel'});
is(psql(q{SELECT string_agg(DISTINCT concat_ws(' ', status, reason), ', ') FROM jobsched.runs
	WHERE job_name = 'quick' AND status <> 'succeeded' AND NOT (status = 'lost' AND attempt = 4)}), '', 'all have succeeded, unless four workers died of them');

psql(q{SELECT jobsched.alter_job('tick', enabled => false)});
wait_drained($node, $db);
check_slots($node, $db, 'tick', 1, 'through all of this each slot of a schedule has fired once');

check_log($node, allow => qr/canceling statement due to user request/);
$node->stop;
done_testing();
