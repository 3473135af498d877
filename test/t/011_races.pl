# Copyright (c) 2026, jobsched contributors

# What happens between the claim of a run and its beginning, or while there is
# no scheduler.  A worker that is stopped (SIGSTOP) with runs in its mailbox
# makes room for it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('races', conf => "jobsched.max_workers = 2\njobsched.max_databases = 2\n");
create_extension($node, $db);

# The tables and jobs of a database.  "apart" commits before it waits at the
# gate, "hold" does not.
sub make_jobs
{
	my ($db) = @_;

	effects_schema($node, $db);
	make_gate($node, $db, 'app');
	return $node->safe_psql($db, q{
		SET ROLE app;
		CREATE TABLE app.ran_as (run_id bigint, role text);
		GRANT USAGE ON SCHEMA app TO PUBLIC;
		GRANT INSERT ON app.ran_as TO PUBLIC;
		CREATE FUNCTION app.hold(args jsonb) RETURNS void LANGUAGE sql AS
			'SELECT app.leave(args); SELECT id FROM public.gate FOR UPDATE';
		CREATE PROCEDURE app.hold_apart() LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM app.leave('{}');
			COMMIT;
			PERFORM id FROM public.gate FOR UPDATE;
		END $$;
		SELECT jobsched.create_job('quick', handler => 'app.leave');
		SELECT jobsched.create_job('hold', handler => 'app.hold');
		SELECT jobsched.create_job('apart', command => 'CALL app.hold_apart()');
		SELECT jobsched.create_job('who', command => 'INSERT INTO app.ran_as VALUES (jobsched.run_id(), session_user)');
		SELECT jobsched.create_job('turns', command => 'SELECT app.leave(NULL)')});
}

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

# Triggers runs of a job; the first at least is in the mailbox of a worker that
# is stopped.
sub trigger_for_stopped
{
	my ($job, $count) = @_;
	run_job($node, $db, $job) for (1 .. 2);
	psql(q{SELECT jobsched.pause_job('} . $job . q{')});
	my $first = psql("SELECT min(r) FROM jobsched.trigger_many('$job', array_fill(NULL::jsonb, ARRAY[$count])) r");
	wait_until($node, $db, q{SELECT bool_and(w.state = 'idle' AND a.wait_event_type = 'Extension')
		FROM jobsched.workers w JOIN pg_stat_activity a USING (pid)}, 'the workers wait, and hold no lock');
	my @workers = worker_pids($node, $db);
	kill 'STOP', @workers;
	psql(q{SELECT jobsched.resume_job('} . $job . q{')});
	wait_until($node, $db, "SELECT count(*) > 0 FROM jobsched_internal.run WHERE run_id >= $first AND status = 'running'",
		'the first is claimed');
	wait_until($node, $db, "SELECT sum(assigned) > 0 FROM jobsched.workers", 'and in a mailbox');
	return ($first, @workers);
}

make_jobs($db);
psql('CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA jobsched TO other');

# ------------------------------------------------------------------------
# Between the claim and the beginning
# ------------------------------------------------------------------------

# The job gets another owner: no run of it is executed in the old one's name.
my ($run_id, @workers) = trigger_for_stopped('who', 1);
psql(q{SELECT jobsched.alter_job('who', owner => 'other')});
kill 'CONT', @workers;
wait_run_state($node, $db, $run_id, 'succeeded');
is(psql("SELECT role FROM app.ran_as WHERE run_id = $run_id"), 'other', 'a claimed run is executed as the new owner of its job');
is(psql("SELECT owner, attempt FROM jobsched.runs WHERE run_id = $run_id"), 'other|2', 'in another attempt, which history shows as its');

# The command becomes one that may leave effects behind: the claim, which
# promised that the run can be repeated, is not used for it.
($run_id, @workers) = trigger_for_stopped('turns', 1);
psql(q{SELECT jobsched.alter_job('turns', command => 'CALL app.hold_apart()')});
my $gate = close_gate($node, $db);
kill 'CONT', @workers;
my $worker = wait_at_gate($node, $db, $run_id);
is(psql("SELECT attempt, repeatable FROM jobsched_internal.run WHERE run_id = $run_id"), '2|f', 'a run of a changed command is claimed again');
psql("SELECT pg_terminate_backend($worker)");
wait_run_state($node, $db, $run_id, 'lost');
is(psql("SELECT count(*) FROM app.effect WHERE run_id = $run_id"), '1', 'and not repeated');

# The other way round: what is executed counts, not what the job has become.
$run_id = psql(q{SELECT jobsched.trigger('apart')});
$worker = wait_at_gate($node, $db, $run_id);
psql(q{SELECT jobsched.alter_job('apart', command => 'SELECT app.leave(NULL)')});
psql("SELECT pg_terminate_backend($worker)");
wait_run_state($node, $db, $run_id, 'lost');
is(psql("SELECT count(*) FROM app.effect WHERE run_id = $run_id"), '1', 'a run that had committed is not repeated when its job is harmless by then');
$gate->quit;

# The job is dropped: what is in a mailbox has not begun.
($run_id, @workers) = trigger_for_stopped('quick', 5);
psql(q{SELECT jobsched.drop_job('quick', cancel_running => true)});
wait_until($node, $db, "SELECT count(*) = 5 FROM jobsched.runs WHERE run_id >= $run_id AND status = 'cancelled' AND reason = 'job_dropped'",
	'runs in a mailbox are cancelled with their job');
kill 'CONT', @workers;
is((run_job($node, $db, 'who'))[1], 'succeeded', 'others go on');
is(psql("SELECT count(*) FROM app.effect WHERE run_id >= $run_id AND job = 'quick'"), '0', 'none of the cancelled ones has been executed');

# A job's runs wait one behind the other, more of them than end in one step: the one
# that is interrupted makes room, and none of those that still wait begins.
psql(q{SET ROLE app; SELECT jobsched.create_job('line', handler => 'app.hold', max_concurrency => 1)});
$gate = close_gate($node, $db);
$run_id = psql(q{SELECT min(r) FROM jobsched.trigger_many('line', array_fill(NULL::jsonb, ARRAY[5000])) r});
wait_at_gate($node, $db, $run_id);
psql(q{SELECT jobsched.drop_job('line', cancel_running => true)});
wait_until($node, $db, "SELECT count(*) = 5000 FROM jobsched.runs WHERE run_id >= $run_id AND status = 'cancelled' AND reason = 'job_dropped'",
	'all runs of a dropped job end');
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id >= $run_id AND attempt > 0"), '1', 'and only the one that had begun has');
$gate->quit;

# ------------------------------------------------------------------------
# While there is no scheduler
# ------------------------------------------------------------------------

$node->safe_psql($db, 'CREATE DATABASE second');
create_extension($node, 'second');
make_jobs('second');

sub list_databases
{
	my ($list) = @_;
	psql("ALTER SYSTEM SET jobsched.databases = '$list'");
	return psql('SELECT pg_reload_conf()');
}

sub wait_unscheduled
{
	return wait_until($node, $db, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type = 'jobsched scheduler' AND datname = 'second')}, 'second has no scheduler');
}

# A run that has committed loses its worker while its database is not listed.
$gate = close_gate($node, 'second');
$run_id = $node->safe_psql('second', q{SELECT jobsched.trigger('apart')});
$worker = wait_at_gate($node, 'second', $run_id);
list_databases($db);
wait_unscheduled();
is($node->safe_psql('second', "SELECT status FROM jobsched.runs WHERE run_id = $run_id"), 'running', 'a run goes on when its database is no longer listed');
psql("SELECT pg_terminate_backend($worker)");
wait_until($node, $db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $worker)", 'the worker is gone');
list_databases('');
wait_run_state($node, 'second', $run_id, 'lost');
is($node->safe_psql('second', "SELECT count(*) FROM app.effect WHERE run_id = $run_id"), '1', 'and is not begun again when it is listed again');
$gate->quit;

# A run ends meanwhile: what it made its job pass over is told afterwards.
wait_scheduler($node, 'second');
$gate = close_gate($node, 'second');
$node->safe_psql('second', q{SELECT jobsched.alter_job('hold', schedule => '* * * * * *')});
wait_until($node, 'second', q{SELECT skipped >= 2 FROM jobsched_internal.job_state s JOIN jobsched.jobs j USING (job_id) WHERE j.name = 'hold'},
	'slots are passed over');
$node->safe_psql('second', q{SELECT jobsched.alter_job('hold', enabled => false)});
list_databases($db);
wait_unscheduled();
$gate->quit;
wait_until($node, 'second', q{SELECT count(*) = 1 FROM jobsched.runs WHERE job_name = 'hold' AND status = 'succeeded'}, 'the run ends');
is($node->safe_psql('second', q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'hold' AND status = 'skipped'}), '0', 'nobody is there to tell of skipped slots');
list_databases('');
wait_value($node, 'second', q{SELECT count(*), bool_and(missed_count >= 2) FROM jobsched.runs WHERE job_name = 'hold' AND status = 'skipped'},
	'1|t', 'the next scheduler does');
wait_value($node, 'second', q{SELECT s.last_status IS NOT NULL, s.skipped FROM jobsched_internal.job_state s JOIN jobsched.jobs j USING (job_id) WHERE j.name = 'hold'},
	't|0', 'once');

# ------------------------------------------------------------------------
# A function is replaced by the transaction that queues a run of it
# ------------------------------------------------------------------------

# A commit that tells others of much is long over for readers before they are told.
my $replacer = $node->background_psql('second');
$replacer->query_safe(q{
	CREATE FUNCTION app.version(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN '0'; END $$;
	SELECT jobsched.create_job('version', handler => 'app.version', owner => 'app')});
my @versions = map {
	my $run_id = $replacer->query_safe(qq{
		BEGIN;
		DO \$\$ BEGIN FOR i IN 1 .. 300 LOOP EXECUTE 'CREATE TABLE many_' || i || '_$_ ()'; END LOOP; END \$\$;
		CREATE OR REPLACE FUNCTION app.version(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN RETURN '$_'; END \$\$;
		SELECT jobsched.trigger('version');
		COMMIT});
	end_of($node, 'second', $run_id, 'result');
} 1 .. 10;
is("@versions", join(' ', 1 .. 10), 'the run executes the new one');
$replacer->quit;

# Nor does it find a lock of that transaction, however many there are to be released.
$node->safe_psql('second', q{
	CREATE FUNCTION app.count_locked(args jsonb) RETURNS jsonb LANGUAGE sql AS
		'SELECT to_jsonb(count(*)) FROM generate_series(3000, 1, -1) i WHERE NOT pg_try_advisory_xact_lock_shared(i)';
	CREATE PROCEDURE public.lock_and_trigger(INOUT run_id bigint) LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock(i) FROM generate_series(1, 3000) i;
		run_id := jobsched.trigger('count_locked');
		COMMIT;
	END $$;
	SELECT jobsched.create_job('count_locked', handler => 'app.count_locked', owner => 'app')});
my @locked = map {
	end_of($node, 'second', $node->safe_psql('second', 'CALL public.lock_and_trigger(0)'), 'result');
} 1 .. 20;
is("@locked", join(' ', (0) x 20), 'nor does it find locks where a procedure has committed');

# ------------------------------------------------------------------------
# The extension is replaced while a run goes on
# ------------------------------------------------------------------------

$node->safe_psql('second', q{INSERT INTO gate VALUES (11), (12)});
my @gates = map { $node->background_psql('second') } (1, 2);
$gates[$_ - 1]->query_safe("BEGIN; SELECT id FROM gate WHERE id = 1$_ FOR UPDATE") for (1, 2);

sub begin_at_gate
{
	my ($job, $id) = @_;
	$node->safe_psql('second', "SET ROLE app; SELECT jobsched.create_job('$job',
		command => 'SELECT app.leave(NULL) FROM (SELECT FROM public.gate WHERE id = $id FOR UPDATE) g')");
	my $run_id = $node->safe_psql('second', "SELECT jobsched.trigger('$job')");
	return ($run_id, wait_at_gate($node, 'second', $run_id));
}

# Both are the first run of their extension.
sub replace_extension
{
	$node->safe_psql('second', 'DROP EXTENSION jobsched CASCADE');
	$node->safe_psql('second', 'CREATE EXTENSION jobsched; GRANT USAGE ON SCHEMA jobsched TO app');
	return wait_scheduler($node, 'second');
}

replace_extension();
my ($old_run, $old_worker) = begin_at_gate('old', 11);
replace_extension();
my ($new_run) = begin_at_gate('new', 12);
is($new_run, $old_run, 'a run of the new extension has the id of one that goes on');
$gates[0]->quit;
wait_until($node, 'second', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $old_worker)", 'the worker of the old one ends');
is($node->safe_psql('second', "SELECT status FROM jobsched.runs WHERE run_id = $new_run"), 'running', 'which is nothing to the new run');
$gates[1]->quit;
wait_run_state($node, 'second', $new_run, 'succeeded');
is($node->safe_psql('second', "SELECT count(*), max(attempt) FROM jobsched.runs"), '1|1', 'it is the only one, and has been executed once');

# ------------------------------------------------------------------------
# More databases than jobsched.max_databases
# ------------------------------------------------------------------------

$node->safe_psql($db, 'CREATE DATABASE third');
$node->safe_psql('third', 'CREATE EXTENSION jobsched');
is($node->safe_psql('third', q{SELECT status FROM jobsched.health() WHERE "check" = 'scheduler'}), 'error', 'a database too many has no scheduler');
$node->safe_psql('second', 'DROP EXTENSION jobsched CASCADE');
wait_scheduler($node, 'third');
pass('it gets one when another database gives up its place');

check_log($node);
$node->stop;
done_testing();
