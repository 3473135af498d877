# Copyright (c) 2026, jobsched contributors

# Durable procedures that wait for events: which events they get, how often, until when;
# whatever is killed meanwhile.

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
my $node = jobsched_node('procedure_waits', conf => "restart_after_crash = on\n");

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

sub result
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id, q{concat_ws(' ', status, reason, result)});
}

# A run that waits, for which event.
sub waiting
{
	my ($job, $args, $event) = @_;
	my $run = app("SELECT jobsched.trigger('$job', '" . ($args || '{}') . "')");

	wait_for_event($run, $event || 'go');
	return $run;
}

sub wait_for_event
{
	my ($run, $event) = @_;
	until_true($node, $db, "SELECT events = ARRAY['$event'] FROM jobsched.waiting WHERE run_id = $run", "run $run waits for $event");
}

sub restart
{
	end_sessions($node);
	kill_and_start($node);
	wait_scheduler($node, $db);
}

sub done
{
	my ($run_id) = @_;
	return psql("SELECT string_agg(name, ' ' ORDER BY id) FROM app.done WHERE run_id = $run_id");
}

app(q{
	CREATE TABLE app.stop (point text);
	CREATE TABLE app.done (id bigserial, run_id bigint, name text);
	CREATE FUNCTION app.stop_at(at text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM app.stop WHERE point = at) THEN
			PERFORM FROM public.gate;
		END IF;
	END $$;
	CREATE FUNCTION app.work(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.done (run_id, name) VALUES (jobsched.run_id(), args ->> 'name');
		RETURN args -> 'name';
	END $$;
	CREATE PROCEDURE app.flow(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS $$
	DECLARE
		r jsonb;
	BEGIN
		PERFORM app.stop_at('before');
		CALL jobsched.step('a', 'app.work', '{"name": "a"}', r);
		CALL jobsched.await_event('go', (args ->> 'timeout')::interval, result);
		PERFORM app.stop_at('after');
		CALL jobsched.step('b', 'app.work', '{"name": "b"}', r);
		IF args ? 'twice' THEN
			CALL jobsched.await_event('second', '1 day', r, event => 'go');
			result := jsonb_build_array(result, r);
		END IF;
	END $$;
	SELECT jobsched.create_job('flow', handler => 'app.flow')});

# ------------------------------------------------------------------------
# Which events
# ------------------------------------------------------------------------

app(q{SELECT jobsched.send_event('go', '"too old"')});
my $run = waiting('flow');
is(psql("SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE run_id = $run"), 'retrying waiting_for_event', 'a run that waits');
is(psql("SELECT count(*) FROM jobsched.running WHERE run_id = $run"), '0', 'holds no worker');
is(psql("SELECT count(*) FROM jobsched.upcoming WHERE run_id = $run"), '0', 'and is not about to start');
is(psql("SELECT until IS NULL FROM jobsched.waiting WHERE run_id = $run"), 't', 'without end');
my $other = waiting('flow');
app(qq{SELECT jobsched.send_event('go', '"mine"', run_id => $run)});
is(result($run), 'succeeded "mine"', 'what was sent to it lets it go on');
is(done($run), 'a b', 'each step was done once');
is(psql("SELECT count(*) FROM jobsched.attempts WHERE run_id = $run"), '2', 'in two executions');
is(psql("SELECT concat_ws(' ', name, event, result) FROM jobsched.procedure_steps WHERE run_id = $run AND event IS NOT NULL"), 'go go "mine"', 'the event has a memo');
is(psql("SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE run_id = $other"), 'retrying waiting_for_event', 'another run waits on');
app(q{SELECT jobsched.send_event('go', '"all"')});
is(result($other), 'succeeded "all"', 'until something was sent to all');

# before it waits
app(q{INSERT INTO app.stop VALUES ('before')});
my $gate = close_gate($node, $db, 'LOCK TABLE gate');
$run = app(q{SELECT jobsched.trigger('flow')});
wait_at_gate($node, $db, $run);
app('DELETE FROM app.stop');
app(q{SELECT jobsched.send_event('go', '"early"')});
$gate->quit;
is(result($run), 'succeeded "early"', 'an event that comes before the wait is not lost');

# the next one
for my $to ('', ', run_id => RUN')
{
	$run = waiting('flow', '{"twice": 1}');
	(my $whom = $to) =~ s/RUN/$run/;
	app(qq{SELECT jobsched.send_event('go', '1'$whom)});
	until_true($node, $db, "SELECT count(*) = 1 FROM jobsched.attempts WHERE run_id = $run AND attempt = 2", 'it has gone on');
	wait_for_event($run, 'go');
	app(qq{SELECT jobsched.send_event('go', '2'$whom)});
	is(result($run), 'succeeded [1, 2]', 'a second wait gets the next event');
}
$run = waiting('flow', '{"twice": 1}');
app(qq{SELECT jobsched.send_event('go', n::text::jsonb, run_id => $run) FROM generate_series(1, 3) n});
is(result($run), 'succeeded [1, 2]', 'also of those that were there');
until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.event_match', 'nothing is left of waits');

# ------------------------------------------------------------------------
# Time
# ------------------------------------------------------------------------

$run = waiting('flow', '{"timeout": "2 days"}');
is(psql("SELECT until BETWEEN now() + '47 h' AND now() + '48 h' FROM jobsched.waiting WHERE run_id = $run"), 't', 'until when it waits');
restart();
wait_for_event($run, 'go');
$other = waiting('flow', '{"timeout": "2 days"}');
app(qq{SELECT jobsched.send_event('go', '"in time"', run_id => $other)});
is(result($other), 'succeeded "in time"', 'what comes in time');
set_clock($node, $db, psql("SELECT now() + '49 h'"));
is(result($run), 'succeeded', 'a run goes on when its time is over');
is(done($run), 'a b', 'with nothing done twice');
set_clock($node, $db, undef);
is(result(app(q{SELECT jobsched.trigger('flow', '{"timeout": "0"}')})), 'succeeded', 'no time at all');

# ------------------------------------------------------------------------
# Ends
# ------------------------------------------------------------------------

$run = waiting('flow');
app("SELECT jobsched.cancel_run($run)");
is(result($run), 'cancelled cancelled', 'a run that waits can be cancelled');
my $again = app("SELECT jobsched.retry_run($run)");
wait_for_event($again, 'go');
app(qq{SELECT jobsched.send_event('go', '"again"', run_id => $again)});
is(result($again), 'succeeded "again"', 'and be retried: it waits anew');
is(done($again), 'b', 'but has its memos');
app(q{SELECT jobsched.create_job('dropped', handler => 'app.flow')});
$run = waiting('dropped');
app(q{SELECT jobsched.drop_job('dropped')});
is(result($run), 'cancelled job_dropped', 'its job can be dropped');
$run = waiting('flow');
app(q{SELECT jobsched.pause_job('flow')});
app(qq{SELECT jobsched.send_event('go', '"paused"', run_id => $run)});
until_true($node, $db, "SELECT count(*) = 1 FROM jobsched_internal.event_match WHERE run_id = $run", 'while its job is paused it takes events');
app(q{SELECT jobsched.resume_job('flow')});
is(result($run), 'succeeded "paused"', 'and goes on when it is resumed');

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

$run = waiting('flow');
restart();
wait_for_event($run, 'go');
app(qq{SELECT jobsched.send_event('go', '"after"', run_id => $run)});
is(result($run), 'succeeded "after"', 'a crash while it waits');
for my $how ('worker', 'server')
{
	for my $point ('before', 'after')
	{
		$run = waiting('flow') if $point eq 'after';
		app("TRUNCATE app.stop; INSERT INTO app.stop VALUES ('$point')");
		$gate = close_gate($node, $db, 'LOCK TABLE gate');
		$run = app(q{SELECT jobsched.trigger('flow')}) if $point eq 'before';
		app(qq{SELECT jobsched.send_event('go', '"$how"', run_id => $run)});
		my $pid = wait_at_gate($node, $db, $run);
		app('DELETE FROM app.stop');
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
		is(result($run), qq{succeeded "$how"}, "$how killed $point the wait: it has its event");
		is(done($run), 'a b', 'and each step was done once');
	}
}

# whenever it happens
app(q{SELECT count(*) FROM jobsched.trigger_many('flow', array_fill('{}'::jsonb, ARRAY[100]))});
for my $i (1 .. 4)
{
	my $from = 25 * ($i - 1);

	app(qq{SELECT count(jobsched.send_event('go', to_jsonb(run_id), run_id => run_id)) FROM
		(SELECT run_id FROM jobsched.runs WHERE job_name = 'flow' ORDER BY run_id DESC LIMIT 25 OFFSET $from) r});
	my ($pid) = worker_pids($node, $db);
	end_sessions($node);
	kill 'KILL', $pid if $pid;
	wait_connection($node);
	wait_scheduler($node, $db);
}
wait_drained($node, $db);
is(psql(q{SELECT count(*) FROM (SELECT * FROM jobsched.runs WHERE job_name = 'flow' ORDER BY run_id DESC LIMIT 100) r
	WHERE status = 'succeeded' AND result = to_jsonb(run_id)}), '100', 'all have got their events');
is(psql(q{SELECT count(*) FROM (SELECT FROM app.done GROUP BY run_id, name HAVING count(*) > 1) d}), '0', 'no step was done twice');
is(psql(q{SELECT count(*) FROM jobsched_internal.memo WHERE name = '' AND run_id > } . $run), '0', 'no wait is left');

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection/);
$node->stop;
done_testing();
