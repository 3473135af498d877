# Copyright (c) 2026, jobsched contributors

# Durable procedures: each step is done once, whatever is killed at whichever of its
# commits; what sleeps holds no worker; retries, cancels, owners; how long memos are kept.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = jobsched_node('procedures', conf => "restart_after_crash = on\n");

create_extension($node, $db);
effects_schema($node, $db);
define_clock($node, $db);
make_gate($node, $db, 'app');

sub psql
{
	my ($sql) = @_;
	return session_sql($node, $db, $superuser, $sql);
}

sub app
{
	my ($sql) = @_;
	return session_sql($node, $db, 'app', $sql);
}

sub trigger
{
	my ($job, $args) = @_;
	return app("SELECT jobsched.trigger('$job', '" . ($args || '{}') . "')");
}

sub result
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id, q{concat_ws(' ', status, reason, result)});
}

# What the run has done, in order.
sub done
{
	my ($run_id) = @_;
	return psql("SELECT string_agg(name, ' ' ORDER BY id) FROM app.done WHERE run_id = $run_id");
}

sub memos
{
	my ($run_id) = @_;
	return psql("SELECT string_agg(name, ' ' ORDER BY seq) FROM jobsched.procedure_steps WHERE run_id = $run_id");
}

# Where a run stops is where the row says, for as long as somebody holds the table.
app(q{
	CREATE TABLE app.stop (point text);
	CREATE TABLE app.done (id bigserial, run_id bigint, name text, attempt integer);
	CREATE FUNCTION app.stop_at(at text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM app.stop WHERE point = at) THEN
			PERFORM FROM public.gate;
		END IF;
	END $$;
	CREATE FUNCTION app.commits() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.stop_at('commit of ' || NEW.name);
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER commits AFTER INSERT ON app.done DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION app.commits();
	CREATE FUNCTION app.work(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.done (run_id, name, attempt) VALUES (jobsched.run_id(), args ->> 'name', jobsched.attempt());
		PERFORM app.stop_at('in ' || (args ->> 'name'));
		RETURN args -> 'name';
	END $$;
	CREATE PROCEDURE app.flow(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS $$
	DECLARE
		r jsonb;
		i integer;
	BEGIN
		PERFORM app.stop_at('before a');
		CALL jobsched.step('a', 'app.work', '{"name": "a"}', r);
		result := jsonb_build_array(r);
		PERFORM app.stop_at('after a');
		CALL jobsched.sleep('rest', COALESCE(args ->> 'rest', '0')::interval);
		PERFORM app.stop_at('after rest');
		FOR i IN SELECT n FROM generate_series(1, 2) n LOOP
			CALL jobsched.step('b' || i, 'app.work', jsonb_build_object('name', 'b' || i), r);
			result := result || r;
		END LOOP;
		PERFORM app.stop_at('at the end');
	END $$;
	SELECT jobsched.create_job('flow', handler => 'app.flow')});

my $whole = 'succeeded ["a", "b1", "b2"]';

is(result(trigger('flow')), $whole, 'a procedure');

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

# With what each leaves: what was committed before.
my @points = (
	[ 'before a', '' ],
	[ 'in a', '' ],
	[ 'commit of a', '' ],
	[ 'after a', 'a' ],
	[ 'after rest', 'a rest' ],
	[ 'in b1', 'a rest' ],
	[ 'commit of b1', 'a rest' ],
	[ 'in b2', 'a rest b1' ],
	[ 'commit of b2', 'a rest b1' ],
	[ 'at the end', 'a rest b1 b2' ]);

for my $how ('worker', 'server')
{
	for (@points)
	{
		my ($point, $left) = @{$_};

		app("TRUNCATE app.stop; INSERT INTO app.stop VALUES ('$point')");
		my $gate = close_gate($node, $db, 'LOCK TABLE gate');
		my $run = trigger('flow');
		my $pid = wait_at_gate($node, $db, $run);
		app('DELETE FROM app.stop');
		is(memos($run), $left, "memos of a run that is killed $point");
		end_sessions($node);
		if ($how eq 'worker')
		{
			kill 'KILL', $pid;
			wait_connection($node);
		}
		else
		{
			kill_and_start($node);
		}
		eval { $gate->quit };
		wait_scheduler($node, $db);
		is(result($run), $whole, "$how killed $point: it goes on");
		is(done($run), 'a b1 b2', 'and each step was done once');
		is(memos($run), 'a rest b1 b2', 'and has its memo');
	}
}

# without any gate, whenever it happens
app(q{SELECT count(*) FROM jobsched.trigger_many('flow', array_fill('{"rest": "50 ms"}'::jsonb, ARRAY[200]))});
for my $i (1 .. 4)
{
	until_true($node, $db, "SELECT count(*) >= 100 * $i FROM app.done", 'some steps are done');
	my ($pid) = worker_pids($node, $db);
	end_sessions($node);
	kill 'KILL', $pid if $pid;
	wait_connection($node);
	wait_scheduler($node, $db);
}
wait_drained($node, $db);
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'flow' AND (status <> 'succeeded' OR result <> '["a", "b1", "b2"]')}), '0', 'all have succeeded');
is(psql(q{SELECT count(*) FROM (SELECT FROM app.done GROUP BY run_id, name HAVING count(*) > 1) d}), '0', 'no step was done twice');
is(psql(q{SELECT count(*) FROM jobsched.runs r WHERE job_name = 'flow' AND (SELECT count(*) FROM app.done d WHERE d.run_id = r.run_id) <> 3}), '0', 'and each was done');

# ------------------------------------------------------------------------
# Sleeps
# ------------------------------------------------------------------------

my $run = trigger('flow', '{"rest": "2 days"}');
wait_run_state($node, $db, $run, 'retrying');
is(psql("SELECT reason FROM jobsched.runs WHERE run_id = $run"), 'snoozed', 'a run that sleeps');
is(psql("SELECT count(*) FROM jobsched.running WHERE run_id = $run"), '0', 'holds no worker');
is(memos($run), 'a rest', 'it has its memos');
is(psql("SELECT function IS NULL AND sleeps_until BETWEEN now() + '47 h' AND now() + '48 h' FROM jobsched.procedure_steps WHERE run_id = $run AND name = 'rest'"), 't', 'one says until when');
end_sessions($node);
kill_and_start($node);
wait_scheduler($node, $db);
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $run"), 'retrying', 'a crash does not wake it');
my $dropped = trigger('flow', '{"rest": "2 days"}');
wait_run_state($node, $db, $dropped, 'retrying');
my $cancelled = trigger('flow', '{"rest": "2 days"}');
wait_run_state($node, $db, $cancelled, 'retrying');
app("SELECT jobsched.cancel_run($cancelled)");
is(result($cancelled), 'cancelled cancelled', 'it can be cancelled');
my $now = psql('SELECT now()');
set_clock($node, $db, psql("SELECT now() + '49 h'"));
is(result($run), $whole, 'it goes on when its time has come');
is(done($run), 'a b1 b2', 'and has done nothing twice');
is(psql("SELECT count(*) FROM jobsched.attempts WHERE run_id = $run"), '2', 'in two executions');
set_clock($node, $db, undef);
is(result($dropped), $whole, 'and so does another one');

# ------------------------------------------------------------------------
# Failures
# ------------------------------------------------------------------------

app(q{
	CREATE SEQUENCE app.tries;
	CREATE FUNCTION app.flaky(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.done (run_id, name, attempt) VALUES (jobsched.run_id(), 'flaky', jobsched.attempt());
		IF nextval('app.tries') % 3 <> 0 THEN
			RAISE EXCEPTION SQLSTATE '40001';
		END IF;
		RETURN to_jsonb(jobsched.attempt());
	END $$;
	CREATE PROCEDURE app.tries(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS $$
	DECLARE
		r jsonb;
	BEGIN
		CALL jobsched.step('first', 'app.work', '{"name": "first"}', r);
		CALL jobsched.step('flaky', 'app.flaky', '{}', result);
	END $$;
	SELECT jobsched.create_job('tries', handler => 'app.tries', max_attempts => 3, backoff_base => '1 ms')});
$run = trigger('tries');
is(result($run), 'succeeded 3', 'a step that fails is tried again');
is(done($run), 'first flaky', 'those before it are not');

# a worker that is terminated, a timeout, a cancel
app(q{SELECT jobsched.create_job('slow', handler => 'app.flow', timeout => '1 s', max_attempts => 1)});
for ([ 'timeout', 'timed_out timeout' ], [ 'cancel', 'cancelled cancelled' ], [ 'terminate', $whole ])
{
	my ($what, $expected) = @{$_};
	my $job = $what eq 'timeout' ? 'slow' : 'flow';

	app("TRUNCATE app.stop; INSERT INTO app.stop VALUES ('commit of b1')");
	my $gate = close_gate($node, $db, 'LOCK TABLE gate');
	$run = trigger($job);
	my $pid = wait_at_gate($node, $db, $run);
	app('DELETE FROM app.stop');
	app("SELECT jobsched.cancel_run($run)") if $what eq 'cancel';
	psql("SELECT pg_terminate_backend($pid)") if $what eq 'terminate';
	is(result($run), $expected, "$what in the commit of a step") if $what ne 'terminate';
	$gate->quit;
	is(result($run), $expected, "$what in the commit of a step, and afterwards");
	is(done($run), $what eq 'terminate' ? 'a b1 b2' : 'a', 'what was committed stays');
}

# a worker whose run has been given to another attempt commits no step
app("TRUNCATE app.stop; INSERT INTO app.stop VALUES ('in b1')");
my $gate = close_gate($node, $db, 'LOCK TABLE gate');
$run = trigger('flow');
wait_at_gate($node, $db, $run);
app('DELETE FROM app.stop');
psql("UPDATE jobsched_internal.run SET attempt = attempt + 1 WHERE run_id = $run");
$gate->quit;
is(result($run), $whole, 'a run that was taken away from its worker');
is(done($run), 'a b1 b2', 'has each step once');
is(psql("SELECT count(DISTINCT attempt) FROM app.done WHERE run_id = $run AND name <> 'a'"), '1', 'of the attempt that has it');

# ------------------------------------------------------------------------
# Read only
# ------------------------------------------------------------------------

# 15 allows RESET, others do not: what is written is lost, and that is no success
for ([ '', '' ], [ 'SET TRANSACTION READ WRITE;', '' ], [ '', q{CALL jobsched.step('a', 'app.work', '{"name": "a"}', result);} ])
{
	my ($before, $after) = @{$_};

	app(qq{CREATE OR REPLACE PROCEDURE app.writes(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS \$\$
		BEGIN
			RESET transaction_read_only;
			$before
			INSERT INTO app.stop VALUES ('no');
			$after
		END \$\$});
	app(q{SELECT jobsched.create_job('writes', handler => 'app.writes', max_attempts => 1, if_exists => 'update')});
	$run = trigger('writes');
	like(result($run), qr/^failed error/, "RESET transaction_read_only $before $after");
	is(memos($run), '', 'nothing is done');
}

# a name that is no good is quoted in whole characters
app(q{
	CREATE PROCEDURE app.misnames(args jsonb) LANGUAGE plpgsql AS $$
	DECLARE
		r jsonb;
	BEGIN
		CALL jobsched.step('x' || repeat(U&'\00e4', 200), 'app.work', '{}', r);
	END $$;
	SELECT jobsched.create_job('misnames', handler => 'app.misnames', max_attempts => 1)});
is(end_of($node, $db, trigger('misnames'), q{error = 'invalid name of a step: "x' || repeat(U&'\00e4', 49) || '"'}), 't', 'a long name');

# a loop that has committed, and fails, leaves no portal: the worker goes on
app(q{
	CREATE PROCEDURE app.loops() LANGUAGE plpgsql AS $$
	DECLARE
		i integer;
	BEGIN
		FOR i IN SELECT n FROM generate_series(1, 3) n LOOP
			COMMIT;
			RAISE EXCEPTION 'in a loop of %', pg_backend_pid();
		END LOOP;
	END $$;
	SELECT jobsched.create_job('loops', command => 'CALL app.loops()', max_attempts => 2, backoff_base => '1 ms')});
my $log = log_size($node);
$run = trigger('loops');
is(result($run), 'failed error', 'a loop that commits fails');
is(result(trigger('flow')), $whole, 'another run');
unlike(log_since($node, $log), qr/pinned portal/, 'and nothing is left of the loop');

# ------------------------------------------------------------------------
# Settings of the owner
# ------------------------------------------------------------------------

psql(q{ALTER ROLE app SET default_transaction_isolation = 'serializable'; ALTER ROLE app SET statement_timeout = '1 min'});
psql(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'jobsched worker'});
is(result(trigger('flow')), $whole, 'serializable');
psql(q{ALTER ROLE app SET default_transaction_read_only = on});
psql(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'jobsched worker'});
$run = session_sql($node, $db, 'app', q{SET default_transaction_read_only = off; SELECT jobsched.trigger('flow')});
is(end_of($node, $db, $run), 'failed error 25006', 'who may write nothing does not by a step');
psql(q{ALTER ROLE app RESET ALL});
psql(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'jobsched worker'});

# What the triggers of a step SET, also those that are deferred, ends with it.
psql('CREATE ROLE helper; GRANT helper TO app');
app(q{
	CREATE TABLE app.sets (n integer);
	CREATE FUNCTION app.sets() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM set_config('search_path', 'elsewhere', false), set_config('role', 'helper', false);
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER sets AFTER INSERT ON app.sets DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION app.sets();
	CREATE FUNCTION app.insert_one(args jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO app.sets VALUES (1)';
	CREATE TABLE app.defers (n integer);
	CREATE FUNCTION app.defers() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		SET CONSTRAINTS ALL DEFERRED;
		INSERT INTO app.sets VALUES (2);
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER defers AFTER INSERT ON app.defers DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION app.defers();
	CREATE FUNCTION app.defer_one(args jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO app.defers VALUES (1)';
	CREATE FUNCTION app.who(args jsonb) RETURNS jsonb LANGUAGE sql AS
		$$SELECT jsonb_build_array(current_user, current_setting('search_path') = 'elsewhere')$$;
	CREATE PROCEDURE app.settings(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS $$
	DECLARE
		r jsonb;
	BEGIN
		CALL jobsched.step('insert', COALESCE(args ->> 'by', 'app.insert_one'), args, r);
		CALL jobsched.step('who', 'app.who', args, r);
		result := r || app.who(args);
	END $$;
	SELECT jobsched.create_job('settings', handler => 'app.settings')});
is(result(trigger('settings')), 'succeeded ["app", false, "app", false]', 'settings of deferred triggers');
is(result(trigger('settings', '{"by": "app.defer_one"}')), 'succeeded ["app", false, "app", false]', 'and of those that one of them defers');
is(psql('SELECT array_agg(n ORDER BY n) FROM app.sets'), '{1,2}', 'which are fired');

# ------------------------------------------------------------------------
# What becomes of memos
# ------------------------------------------------------------------------

$run = trigger('flow', '{"rest": "300 days"}');
wait_run_state($node, $db, $run, 'retrying');
$dropped = trigger('flow', '{"rest": "1 day"}');
wait_run_state($node, $db, $dropped, 'retrying');
cmp_ok(psql('SELECT count(*) FROM jobsched_internal.memo'), '>', 100, 'memos are kept with the runs');
set_setting($node, 'jobsched.history_retention', '1 d');
set_setting($node, 'jobsched.failure_retention', '1 d');
for my $hours (map { $_ * 6 } 1 .. 20)
{
	set_clock($node, $db, psql("SELECT now() + '$hours h'"));
	is(result(trigger('flow')), $whole, "$hours hours later");
}
until_true($node, $db, "SELECT count(DISTINCT run_id) <= 10 FROM jobsched_internal.memo", 'and removed with them');
is(memos($run), 'a rest', 'but not those of a run that sleeps');
app("SELECT jobsched.cancel_run($run)");
is(result($run), 'cancelled cancelled', 'when that has ended');
is(memos($run), 'a rest', 'its memos are there for as long as its record');
set_clock($node, $db, undef);

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection/);
$node->stop;
done_testing();
