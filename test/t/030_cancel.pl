# Copyright (c) 2026, jobsched contributors

# Runs that are cancelled and runs whose time is up, wherever they are and
# whatever they do about it: each one ends once, as what was asked for and
# without effects, or it had succeeded before.  And through terminated
# schedulers, crashes and restarts nothing of a request is left.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $db = 'postgres';
my $node = jobsched_node('cancel', conf => q{
jobsched.max_workers = 2
jobsched.cancel_grace = '300 ms'
restart_after_crash = on
});
create_extension($node, $db);
effects_schema($node, $db);

# One session for all that does not have to be a process of its own.
my $session;

sub psql
{
	my ($sql) = @_;

	if (!$session)
	{
		$session = $node->background_psql($db);
		$session->set_query_timer_restart();
	}
	return $session->query_safe($sql);
}

sub until_so
{
	my ($sql, $what) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (time() < $until)
	{
		return if psql($sql) eq 't';
		usleep(10_000);
	}
	wait_until($node, $db, $sql, $what);	# tells what there is
	return;
}

# All of these leave their effect and then wait at the gate.  The stubborn ones
# go on when they are cancelled, "swallows" comes to its end then.
$node->safe_psql($db, q{
	CREATE ROLE other LOGIN;
	GRANT USAGE ON SCHEMA jobsched TO other});
make_gate($node, $db, 'app', 'other');
$node->safe_psql($db, q{
	SET ROLE app;
	GRANT USAGE ON SCHEMA app TO other;
	GRANT ALL ON app.effect TO other;
	CREATE TABLE app.big (id int);
	CREATE FUNCTION app.hold(args jsonb) RETURNS void LANGUAGE sql AS
		'SELECT app.leave(args); SELECT id FROM public.gate FOR UPDATE';
	CREATE FUNCTION app.pass_gate() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			BEGIN
				PERFORM id FROM public.gate FOR UPDATE;
				EXIT;
			EXCEPTION WHEN query_canceled THEN
				RAISE LOG 'run % goes on', jobsched.run_id();
			END;
		END LOOP;
	END $$;
	CREATE FUNCTION app.stubborn(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave(args);
		SET statement_timeout = 0;
		PERFORM app.pass_gate();
	END $$;
	CREATE PROCEDURE app.stubborn_apart() LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave('{}');
		COMMIT;
		PERFORM app.pass_gate();
	END $$;
	CREATE FUNCTION app.swallow(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave(args);
		PERFORM id FROM public.gate FOR UPDATE;
	EXCEPTION WHEN query_canceled THEN
		PERFORM app.leave(args);
	END $$;

	-- a trigger that waits for the commit, or puts that off to the next one
	CREATE TABLE app.trap (n int);
	CREATE FUNCTION app.spring() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		SET CONSTRAINTS ALL DEFERRED;
		IF new.n > 1 THEN
			INSERT INTO app.trap VALUES (new.n - 1);
		ELSE
			PERFORM app.pass_gate();
		END IF;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER spring AFTER INSERT ON app.trap DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION app.spring();

	CREATE FUNCTION app.brief(args jsonb) RETURNS void LANGUAGE sql AS
		'SELECT app.leave(args); SELECT pg_sleep(random() * 0.004)';
	CREATE FUNCTION app.second_time(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF jobsched.attempt() = 1 THEN
			PERFORM pg_terminate_backend(pg_backend_pid());
		END IF;
		PERFORM pg_sleep(600);
	END $$;

	SELECT jobsched.create_job('quick', handler => 'app.leave');
	SELECT jobsched.create_job('hold', handler => 'app.hold');
	SELECT jobsched.create_job('stubborn', handler => 'app.stubborn');
	SELECT jobsched.create_job('stubborn apart', command => 'CALL app.stubborn_apart()');
	SELECT jobsched.create_job('swallows', handler => 'app.swallow');
	SELECT jobsched.create_job('trap', command => 'SELECT app.leave(NULL); INSERT INTO app.trap VALUES (1)');
	SELECT jobsched.create_job('trap at commit', command => 'SELECT app.leave(NULL); INSERT INTO app.trap VALUES (3)');
	SELECT jobsched.create_job('brief', handler => 'app.brief');
	SELECT jobsched.create_job('waits', handler => 'app.leave');
	SELECT jobsched.create_job('moves', handler => 'app.hold');
	SELECT jobsched.create_job('many', handler => 'app.leave');
	SELECT jobsched.create_job('limited', handler => 'app.hold', timeout => '250 ms');
	SELECT jobsched.create_job('vacuum', command => 'VACUUM app.big', timeout => '250 ms');
	SELECT jobsched.create_job('second time', handler => 'app.second_time', timeout => '1 s');
	SELECT jobsched.create_job('batch', handler => 'app.hold', share_transaction => true);
	-- what is cut off stays cut off
	SELECT jobsched.alter_job(name, max_attempts => 1) FROM jobsched.jobs;
});

my $gate;

sub trigger
{
	my ($job, $more) = @_;
	return psql("SET ROLE app; SELECT jobsched.trigger('$job'" . ($more ? ", $more)" : ')') . '; RESET ROLE');
}

sub hold
{
	my ($job, $more) = @_;
	my $run_id = trigger($job, $more);
	return ($run_id, wait_at_gate($node, $db, $run_id));
}

# A run of a job that succeeds by itself.
sub check_run
{
	my ($job, $name) = @_;
	return is(ended(trigger($job), 'reason'), 'succeeded||1', $name);
}

# How a run ends: what wait_run() says, columns of runs, how many effects.
sub ended
{
	my ($run_id, $columns) = @_;
	my $rows = psql(qq{
		CALL jobsched.wait_run($run_id, '$PostgreSQL::Test::Utils::timeout_default s');
		SELECT } . ($columns || 'reason') . qq{, (SELECT count(*) FROM app.effect e WHERE e.run_id = r.run_id)
		FROM jobsched.runs r WHERE run_id = $run_id});
	return join '|', split /\n/, $rows;
}

sub cancel
{
	my ($run_id, $more) = @_;
	return psql("SELECT jobsched.cancel_run($run_id" . ($more ? ", $more)" : ')'));
}

sub set_grace
{
	my ($grace) = @_;
	return psql("ALTER SYSTEM SET jobsched.cancel_grace = '$grace'; SELECT pg_reload_conf()");
}

sub worker_of
{
	my ($run_id) = @_;
	return psql("SELECT worker_pid FROM jobsched.runs WHERE run_id = $run_id");
}

sub is_gone
{
	my ($pid) = @_;
	return psql("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
}

# No run waits, none is executed; then no stop may be left.
sub check_no_requests
{
	my ($name) = @_;
	until_so('SELECT count(*) = 0 FROM jobsched_internal.run_stop', "$name: no stop is left");
	return pass("$name: no stop is left");
}

# Until the scheduler has seen to what was asked for: requests are read in order.
sub check_requests_served
{
	my $run_id = trigger('quick', q{run_at => now() + interval '1 day'});
	cancel($run_id);
	return is(ended($run_id), 'cancelled|cancelled|0', 'a request made later has been served');
}

# Stops the idle workers, and queues a run for them: it is in a mailbox.
sub trigger_for_stopped
{
	my ($job, $more) = @_;
	ended(trigger('quick'));
	until_so(q{SELECT count(*) > 0 AND bool_and(w.state = 'idle' AND a.wait_event_type = 'Extension')
		FROM jobsched.workers w JOIN pg_stat_activity a USING (pid) WHERE owner = 'app'}, 'the workers wait, and hold no lock');
	my @workers = worker_pids($node, $db);
	kill 'STOP', @workers;
	my $run_id = trigger($job, $more);
	until_so('SELECT sum(assigned) > 0 FROM jobsched.workers', 'the run is in a mailbox');
	return ($run_id, @workers);
}

# ------------------------------------------------------------------------
# Runs that resist
# ------------------------------------------------------------------------

$gate = close_gate($node, $db);
my ($run_id, $worker) = hold('stubborn');
my ($other_id, $other_worker) = hold('hold');
is(cancel($run_id), 't', 'a run that catches its cancel is cancelled');
is(ended($run_id, 'reason, sqlstate, attempt, error'), "cancelled|cancelled|57P01|1|the run did not stop when it was cancelled, and its worker was terminated|0",
	'it ends as cancelled, without effect');
is(is_gone($worker), 't', 'its worker is gone');
is(psql("SELECT status, worker_pid FROM jobsched.runs WHERE run_id = $other_id"), "running|$other_worker", 'the run beside it goes on');
$run_id = trigger('stubborn', q{timeout => '250 ms'});
is(ended($run_id, 'reason, sqlstate'), 'timed_out|timeout|57P01|0', 'one whose time is up ends as timed out');
is(is_gone(worker_of($run_id)), 't', 'and its worker is gone');
$gate->quit;
is(ended($other_id), 'succeeded||1', 'the other run has not noticed');

$gate = close_gate($node, $db);
($run_id, $worker) = hold('swallows');
cancel($run_id);
is(ended($run_id, 'reason, sqlstate'), 'cancelled|cancelled|57014|0', 'a run that catches its cancel and ends does not succeed');
is(is_gone($worker), 'f', 'its worker stays');
($run_id, $worker) = hold('stubborn apart');
cancel($run_id);
is(ended($run_id), 'cancelled|cancelled|1', 'what a cancelled run had committed by itself stays');
is(is_gone($worker), 't', 'its worker is gone');
$run_id = trigger('trap', q{timeout => '250 ms'});
is(ended($run_id), 'timed_out|timeout|0', 'a deferred trigger does not get around a timeout');
$run_id = trigger('trap at commit', q{timeout => '250 ms'});
is(ended($run_id), 'timed_out|timeout|0', 'nor does one that is put off to the commit');
($run_id) = hold('trap at commit');
cancel($run_id);
is(ended($run_id), 'cancelled|cancelled|0', 'nor around a cancel');
is(psql('SELECT count(*) FROM app.trap'), '0', 'nothing of these is left');

# force
set_grace('1 h');
($run_id, $worker) = hold('stubborn');
cancel($run_id, 'force => true');
is(ended($run_id), 'cancelled|cancelled|0', 'with force nothing is waited for');
is(is_gone($worker), 't', 'its worker is gone');
my $offset = log_size($node);
($run_id) = hold('stubborn');
cancel($run_id);
wait_log($node, qr/run $run_id goes on/, $offset, 'without force a run can go on for the grace');
wait_at_gate($node, $db, $run_id);
is(psql('SELECT count(*) FROM jobsched_internal.run_stop'), '1', 'its stop stays as long as it does');
is(psql("SELECT jobsched.cancel_runs('stubborn', force => true)"), '1', 'force can be had later');
is(ended($run_id), 'cancelled|cancelled|0', 'it ends');
set_grace('300 ms');
$gate->quit;
check_run('quick', 'others go on after all of that');
check_no_requests('runs that resist');

# ------------------------------------------------------------------------
# Runs that wait
# ------------------------------------------------------------------------

$gate = close_gate($node, $db);
my @held = map { (hold('hold'))[0] } (1 .. 2);
$run_id = trigger('quick');
is(cancel($run_id), 't', 'a run that waits for a worker');
is(ended($run_id, 'reason, started_at'), 'cancelled|cancelled||0', 'is cancelled, without having begun');
$gate->quit;
is(ended($_), 'succeeded||1', 'those before it are not') for @held;
$run_id = trigger('quick', q{run_at => now() + interval '1 day'});
cancel($run_id);
is(ended($run_id, 'reason, started_at'), 'cancelled|cancelled||0', 'a delayed run is cancelled');
psql(q{SELECT jobsched.pause_job('waits')});
$run_id = trigger('waits');
cancel($run_id, 'force => true');
is(ended($run_id, 'reason, started_at'), 'cancelled|cancelled||0', 'a run of a paused job is cancelled');
psql(q{SELECT jobsched.resume_job('waits')});
is(cancel($run_id), 'f', 'which is no longer live');

my @stopped;
($run_id, @stopped) = trigger_for_stopped('quick');
cancel($run_id);
is(ended($run_id), 'cancelled|cancelled|0', 'a run in the mailbox of a stopped worker is cancelled');
kill 'CONT', @stopped;
check_run('quick', 'the worker does others');
is(ended($run_id), 'cancelled|cancelled|0', 'and not this one');

# whose job has got another owner
$gate = close_gate($node, $db);
$run_id = trigger('moves', q{run_at => now() + interval '1 day'});
($other_id, $worker) = hold('moves');
psql(q{SELECT jobsched.alter_job('moves', owner => 'other')});
like(error_of($node, $db, "SELECT jobsched.cancel_run($_)", 'app'), qr/42704.*does not exist/, 'the former owner of a job cannot cancel its runs')
  for $run_id, $other_id;
is(psql("SET ROLE other; SELECT jobsched.cancel_run($run_id), jobsched.cancel_run($other_id); RESET ROLE"), 't|t', 'the new one can');
is(ended($_), 'cancelled|cancelled|0', 'they end') for $run_id, $other_id;
is(is_gone($worker), 'f', 'the worker of the one that was executed stays');
is(psql("SELECT attempt > 0 FROM jobsched.runs WHERE run_id = $other_id"), 't', 'which had begun');

# transactions
$run_id = psql(q{
	BEGIN;
	SELECT jobsched.trigger('quick') AS run_id \gset
	DO $$ BEGIN PERFORM jobsched.cancel_run(currval('jobsched_internal.run_id_seq')); END $$;
	COMMIT;
	SELECT :run_id});
is(ended($run_id, 'reason, started_at'), 'cancelled|cancelled||0', 'a run can be cancelled by the transaction that queues it');
($run_id) = hold('hold');
psql(qq{
	BEGIN;
	SELECT jobsched.cancel_run($run_id);
	ROLLBACK;
	BEGIN;
	SAVEPOINT s;
	SELECT jobsched.cancel_run($run_id);
	ROLLBACK TO s;
	COMMIT});
check_run('quick', 'a request that is rolled back');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $run_id"), 'running', 'does nothing');
$gate->quit;
is(ended($run_id), 'succeeded||1', 'to its run');
check_no_requests('runs that wait');

# ------------------------------------------------------------------------
# Runs that share a transaction
# ------------------------------------------------------------------------

# All of them go to the worker that is idle, the other is at the gate.
set_grace('1 h');
$gate = close_gate($node, $db);
($other_id, $other_worker) = hold('hold');
ended(trigger('quick'));
until_so(q{SELECT count(*) = 1 FROM jobsched.workers w JOIN pg_stat_activity a USING (pid)
	WHERE w.state = 'idle' AND a.wait_event_type = 'Extension'}, 'a worker waits, and holds no lock');
$worker = psql(q{SELECT pid FROM jobsched.workers WHERE state = 'idle'});
kill 'STOP', $worker;
my @batch = split /\n/, psql(q{SET ROLE app; SELECT jobsched.trigger_many('batch', array_fill(NULL::jsonb, ARRAY[4])); RESET ROLE});
until_so("SELECT assigned = 4 FROM jobsched.workers WHERE pid = $worker", 'they are in its mailbox');
my $at_gate = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $worker";
kill 'CONT', $worker;
until_so("SELECT coalesce(($at_gate), false)", 'the first is at the gate');
$offset = log_size($node);
cancel($batch[1]);
wait_log($node, qr/canceling statement due to user request.*run $batch[0] /s, $offset, 'a run of a shared transaction is cancelled');
until_so("SELECT coalesce(($at_gate), false)", 'the first is at the gate again, alone');
cancel($batch[2]);
check_requests_served();
$gate->quit;
is(ended($batch[$_]), 'succeeded||1', "run $_ of the shared transaction succeeds, once") for (0, 3);
is(ended($batch[$_]), 'cancelled|cancelled|0', "run $_ of it is cancelled, without effect") for (1, 2);
is(ended($other_id), 'succeeded||1', 'the run beside them succeeds');
set_grace('300 ms');
check_no_requests('runs that share a transaction');

# ------------------------------------------------------------------------
# Runs that end at the same moment
# ------------------------------------------------------------------------

psql(q{
	DO $$
	DECLARE
		run_id bigint;
	BEGIN
		FOR i IN 1 .. 150 LOOP
			run_id := jobsched.trigger('brief');
			IF i % 10 = 1 THEN
				PERFORM jobsched.cancel_run(run_id);
			END IF;
			COMMIT;
			CONTINUE WHEN i % 10 < 2;
			PERFORM pg_sleep(random() * 0.008);
			PERFORM jobsched.cancel_run(run_id, i % 20 = 2);
			COMMIT;
		END LOOP;
	END $$});
until_so('SELECT count(*) = 0 FROM jobsched_internal.run', 'the queue is empty');
is(psql(q{SELECT count(*), bool_and(status IN ('succeeded', 'cancelled')), bool_or(status = 'cancelled'), bool_or(status = 'succeeded')
	FROM jobsched.runs WHERE job_name = 'brief'}), '150|t|t|t', 'runs cancelled at any moment succeed or are cancelled');
check_exactly_once($node, $db, 'the former with one effect, the latter with none', q{'brief'});
check_no_requests('runs that end by themselves');

# ------------------------------------------------------------------------
# Many
# ------------------------------------------------------------------------

ended(trigger('quick'));
psql(q{SELECT count(*) FROM jobsched.trigger_many('many', array_fill(NULL::jsonb, ARRAY[5000]), run_at => now() + interval '1 day')});
$run_id = psql(q{
	BEGIN;
	SELECT jobsched.trigger('quick') AS run_id \gset
	DO $$ BEGIN ASSERT jobsched.cancel_runs('many') = 5000; END $$;
	COMMIT;
	SELECT :run_id});
is(ended($run_id), 'succeeded||1', 'a run that was queued while 5000 are cancelled succeeds');
until_so('SELECT count(*) = 0 FROM jobsched_internal.run', 'the queue is empty');
is(psql(q{SELECT count(*), count(DISTINCT run_id), bool_and(status = 'cancelled' AND reason = 'cancelled') FROM jobsched.runs WHERE job_name = 'many'}),
	'5000|5000|t', 'these are all cancelled, once each');
is(psql(qq{SELECT (SELECT started_at FROM jobsched.runs WHERE run_id = $run_id) < max(finished_at) FROM jobsched.runs WHERE job_name = 'many'}),
	't', 'and do not keep it waiting until the last');
check_no_requests('many');

# ------------------------------------------------------------------------
# Timeouts
# ------------------------------------------------------------------------

$gate = close_gate($node, $db);
$run_id = trigger('limited');
is(ended($run_id, 'reason, sqlstate, error'), 'timed_out|timeout|57014|canceling run due to its timeout of 250 ms|0', 'a run whose time is up ends as timed out');
is(psql("SELECT duration >= '250 ms' FROM jobsched.runs WHERE run_id = $run_id"), 't', 'it has had its time');
is(is_gone(worker_of($run_id)), 'f', 'its worker stays');
($run_id) = hold('limited', q{timeout => '1 day'});
until_so("SELECT elapsed > '700 ms' FROM jobsched.running WHERE run_id = $run_id", 'a run has taken long');
$other_id = trigger('hold', q{timeout => '300 ms'});
like(ended($other_id, 'reason, error'), qr/^timed_out\|timeout\|.*300 ms/, 'a run can have a timeout of its own');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $run_id"), 'running', 'a longer one than its job too');
$gate->quit;
is(ended($run_id), 'succeeded||1', 'which it may use');
check_run('quick', 'the workers do other runs') for (1 .. 2);

$gate = close_gate($node, $db, 'LOCK TABLE app.big IN ACCESS EXCLUSIVE MODE');
$run_id = trigger('vacuum');
is(ended($run_id, 'reason, sqlstate'), 'timed_out|timeout|57014|0', 'a command that commits by itself and waits for a lock is timed out');
$gate->quit;
is(is_gone(worker_of($run_id)), 'f', 'its worker stays');
is(ended(trigger('vacuum'), 'reason, attempt'), 'succeeded||1|0', 'and does the next one');

# what counts; two seconds, for a run that has them has to end in them
($run_id, @stopped) = trigger_for_stopped('quick', q{timeout => '2 s'});
until_so("SELECT clock_timestamp() > queued_at + interval '2.5 s' FROM jobsched.runs WHERE run_id = $run_id", 'the run has waited for longer than its timeout');
kill 'CONT', @stopped;
is(ended($run_id), 'succeeded||1', 'waiting in a mailbox does not count');
psql(q{SELECT jobsched.pause_job('waits')});
$run_id = trigger('waits', q{timeout => '2 s'});
until_so("SELECT clock_timestamp() > queued_at + interval '2.5 s' FROM jobsched.runs WHERE run_id = $run_id", 'the run has waited for longer than its timeout');
psql(q{SELECT jobsched.resume_job('waits')});
is(ended($run_id), 'succeeded||1', 'nor does waiting in the queue');
$run_id = trigger('second time');
is(ended($run_id, 'reason, attempt'), 'timed_out|timeout|2|0', 'a run whose worker died is timed out in its second attempt');
is(psql("SELECT duration >= '0.9 s' FROM jobsched.runs WHERE run_id = $run_id"), 't', 'which has had the whole time');

# A change of the job is for runs that start later.
$gate = close_gate($node, $db);
($run_id) = hold('hold');
psql(q{SELECT jobsched.alter_job('hold', timeout => '200 ms')});
is(ended(trigger('hold')), 'timed_out|timeout|0', 'a job gets a timeout');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $run_id"), 'running', 'which is not for a run that had started');
psql(q{SELECT jobsched.alter_job('hold', timeout => '0')});
$gate->quit;
is(ended($run_id), 'succeeded||1', 'that succeeds');

# schedules go on
psql(q{SET ROLE app; SELECT jobsched.create_job('tick', '* * * * * *', command => 'SELECT app.leave(NULL); SELECT pg_sleep(600)', timeout => '200 ms'); RESET ROLE});
until_so(q{SELECT count(DISTINCT scheduled_for) >= 2 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'timed_out'}, 'the slots after a timeout fire');
psql(q{SELECT jobsched.alter_job('tick', enabled => false)});
until_so('SELECT count(*) = 0 FROM jobsched_internal.run', 'the queue is empty');
until_so(q{SELECT last_status = 'timed_out' AND recent ~ 'T.*T' AND consecutive_failures >= 2 FROM jobsched.jobs WHERE name = 'tick'}, 'their job shows it');
pass('the slots after a timeout fire');

# ------------------------------------------------------------------------
# The scheduler, and the server
# ------------------------------------------------------------------------

# A scheduler that is stopped is terminated before it can do anything.
sub replace_scheduler
{
	my ($sql) = @_;
	my $old = scheduler_pid($node, $db);

	until_so("SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $old", 'it waits, and holds no lock');
	kill 'STOP', $old;
	my $result = $sql ? psql($sql) : '';
	psql("SELECT pg_terminate_backend($old)");
	kill 'CONT', $old;
	wait_new_scheduler($node, $db, $old);
	return $result;
}

set_grace('1 h');
$gate = close_gate($node, $db);
$offset = log_size($node);
($run_id) = hold('stubborn');
my $waiting = trigger('quick', q{run_at => now() + interval '1 day'});
cancel($run_id);
wait_log($node, qr/run $run_id goes on/, $offset, 'a run is told to end');
replace_scheduler("SELECT jobsched.cancel_run($waiting)");
is(ended($waiting), 'cancelled|cancelled|0', 'a run is cancelled by the next scheduler');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $run_id"), 'running', 'one that has been told already goes on for its grace');
set_grace('300 ms');
is(ended($run_id), 'cancelled|cancelled|0', 'and ends after it');
($run_id) = hold('hold');
replace_scheduler("SELECT jobsched.cancel_run($run_id)");
is(ended($run_id), 'cancelled|cancelled|0', 'one that has not been told yet is told by the next scheduler');
($run_id) = hold('hold', q{timeout => '3 s'});
replace_scheduler();
is(ended($run_id), 'timed_out|timeout|0', 'which watches over timeouts too');
$gate->quit;
check_no_requests('schedulers terminated');

# Crashes.  The gate goes with the server, so the runs would come to their end.
set_grace('1 h');
for my $how ('scheduler killed', 'server stopped')
{
	$gate = close_gate($node, $db);
	$offset = log_size($node);
	($run_id) = hold('stubborn');
	($other_id) = hold('stubborn apart');
	cancel($_) for $run_id, $other_id;
	wait_log($node, qr/run $_ goes on/, $offset, "$how: a run is told to end") for $run_id, $other_id;
	$waiting = trigger('quick', q{run_at => now() + interval '1 day'});
	my $scheduler = scheduler_pid($node, $db);
	until_so("SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $scheduler", 'it waits, and holds no lock');
	kill 'STOP', $scheduler;
	cancel($waiting);
	if ($how eq 'scheduler killed')
	{
		kill 'KILL', $scheduler;
		wait_log($node, qr/all server processes terminated; reinitializing/, $offset, "$how: the server begins anew");
	}
	else
	{
		kill 'QUIT', $node->{_pid};
		kill 'KILL', $scheduler;
		$node->stop('immediate', fail_ok => 1);
		$node->start;
	}
	$_->{run}->kill_kill for $session, $gate;
	$session = undef;
	wait_connection($node, $db);
	wait_scheduler($node, $db);
	is(ended($_), 'cancelled|cancelled|0', "$how: it is cancelled after the restart") for $run_id, $waiting;
	like(ended($other_id), qr/^(cancelled\|cancelled|lost\|server_restarted)\|1$/, "$how: one that has committed something ends, and is not repeated");
	check_run('quick', "$how: other runs succeed");
	check_no_requests($how);
}

check_exactly_once($node, $db, 'in all of this each run that succeeded had one effect, and no other any',
	q{'quick', 'hold', 'stubborn', 'swallows', 'trap', 'trap at commit', 'brief', 'waits', 'moves', 'many', 'limited', 'batch', 'tick'});
is(psql('SELECT count(*) FROM jobsched_internal.run'), '0', 'no run is left');
check_log($node, killed => 1);
$node->stop;
done_testing();
