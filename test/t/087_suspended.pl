# Copyright (c) 2026, jobsched contributors

# What is suspended, holds no worker and waits for a time or an event, while its job is
# paused, dropped, or given away, or its owner may not log in any more: a durable procedure
# in sleep(), one in await_event(), and a workflow with a step that waits.  Each has the
# one outcome that doc/procedures.md and doc/workflows.md state, also if the server dies
# in between.

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
my $node = jobsched_node('suspended', conf => "restart_after_crash = on\nfsync = off\n");

create_extension($node, $db);
define_clock($node, $db);

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

psql(q{CREATE ROLE app LOGIN; CREATE ROLE heir LOGIN; CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA jobsched TO app, heir; GRANT USAGE ON SCHEMA app TO heir});
app(q{
	CREATE TABLE app.done (id bigserial, run_id bigint, name text, role text DEFAULT current_user);
	CREATE FUNCTION app.work(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
		INSERT INTO app.done (run_id, name) VALUES (COALESCE(jobsched.workflow_run_id(), jobsched.run_id()), args ->> 'name');
		SELECT args -> 'name'
	$$;
	CREATE PROCEDURE app.sleeps(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS $$
	DECLARE
		r jsonb;
	BEGIN
		CALL jobsched.step('a', 'app.work', '{"name": "a"}', r);
		CALL jobsched.sleep('rest', '1 day');
		CALL jobsched.step('b', 'app.work', '{"name": "b"}', r);
	END $$;
	CREATE PROCEDURE app.waits(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS $$
	DECLARE
		r jsonb;
	BEGIN
		CALL jobsched.step('a', 'app.work', '{"name": "a"}', r);
		CALL jobsched.await_event('go', '2 days', result);
		CALL jobsched.step('b', 'app.work', '{"name": "b"}', r);
	END $$;
	SELECT jobsched.create_job('later', command => 'SELECT 1')});

my $steps = q{'[
	{"name": "a", "handler": "app.work", "args": {"name": "a"}},
	{"name": "b", "handler": "app.work", "args": {"name": "b"}, "wait_for": ["go"], "wait_timeout": "2 days"}]'};
my %definitions = (sleeps => q{handler => 'app.sleeps'}, waits => q{handler => 'app.waits'}, flow => "steps => $steps");
my %waits = map { $_ => qq{(SELECT count(*) = 1 FROM jobsched.waiting w LEFT JOIN jobsched.steps s USING (run_id) WHERE 'go' = ANY (w.events) AND COALESCE(s.workflow_run_id, w.run_id) = RUN)} } qw(waits flow);
$waits{sleeps} = q{(SELECT count(*) = 1 FROM jobsched.runs WHERE run_id = RUN AND status = 'retrying' AND reason = 'snoozed')};

my ($run, $job);
my $number = 0;

# A run of one kind that is suspended.
sub suspended
{
	my ($kind) = @_;

	$job = "$kind-" . ++$number;
	set_clock($node, $db, undef);
	app("SELECT jobsched.create_job('$job', $definitions{$kind})");
	$run = app("SELECT jobsched.trigger('$job')");
	until_true($node, $db, 'SELECT ' . $waits{$kind} =~ s/RUN/$run/gr, "$job is suspended");
	return;
}

# What it waits for comes.
sub comes
{
	my ($kind, $role) = @_;

	return set_clock($node, $db, psql(q{SELECT clock_timestamp() + interval '25 h'})) if $kind eq 'sleeps';
	session_sql($node, $db, $role || 'app', qq{SELECT jobsched.send_event('go', '"came"', run_id => $run)});
	return;
}

sub restart
{
	end_sessions($node);
	kill_and_start($node);
	wait_connection($node, $db);
	wait_scheduler($node, $db);
	return;
}

sub done
{
	my ($of) = @_;
	return psql("SELECT string_agg(name || ' ' || role, ', ' ORDER BY id) FROM app.done WHERE run_id = $of");
}

sub ends
{
	my ($expected, $done, $name) = @_;

	is(end_of($node, $db, $run), $expected, "$job: $name");
	is(done($run), $done, "$job: ... each step done once, as whom");
	return;
}

sub step_b { return psql("SELECT concat_ws(' ', r.status, r.reason) FROM jobsched.steps s JOIN jobsched.runs r USING (run_id) WHERE s.workflow_run_id = $run AND s.step = 'b'"); }

for my $kind (qw(sleeps waits flow))
{
	# paused
	for my $crash (0, 1)
	{
		suspended($kind);
		app("SELECT jobsched.pause_job('$job')");
		restart() if $crash;
		comes($kind);
		# the scheduler has seen what comes before that
		end_of($node, $db, app(q{SELECT jobsched.trigger('later')}));
		until_true($node, $db, "SELECT count(*) = 1 FROM jobsched_internal.event_match m LEFT JOIN jobsched.steps s USING (run_id) WHERE COALESCE(s.workflow_run_id, m.run_id) = $run", "$job: what it waits for has come") if $kind ne 'sleeps';
		is(done($run), 'a app', "$job: it is paused, and does not go on");
		app("SELECT jobsched.resume_job('$job')");
		ends('succeeded', 'a app, b app', 'when it is resumed it does');
	}

	# dropped
	for my $running (0, 1)
	{
		suspended($kind);
		app("SELECT jobsched.drop_job('$job', cancel_running => " . ($running ? 'true' : 'false') . ')');
		if ($kind eq 'flow' && !$running)
		{
			restart();
			comes($kind);
			ends('succeeded', 'a app, b app', 'a workflow run that has begun goes on when its job is dropped');
			next;
		}
		ends('cancelled job_dropped', 'a app', 'dropped, cancel_running ' . $running);
	}

	# another owner
	for my $crash (0, 1)
	{
		suspended($kind);
		psql("SELECT jobsched.alter_job('$job', owner => 'heir')");
		psql('GRANT ALL ON app.done TO heir; GRANT ALL ON SEQUENCE app.done_id_seq TO heir');
		restart() if $crash;
		comes($kind, 'heir');
		ends('succeeded', 'a app, b heir', 'another owner goes on where the first one was');
	}

	# no LOGIN
	for my $crash (0, 1)
	{
		suspended($kind);
		psql('ALTER ROLE app NOLOGIN');
		restart() if $crash;
		comes($kind, $superuser);
		ends($kind eq 'flow' ? 'failed child_failed' : 'failed owner_cannot_connect 28000', 'a app', 'an owner without LOGIN');
		is(step_b(), 'failed owner_cannot_connect', "$job: ... the step says why") if $kind eq 'flow';
		psql('ALTER ROLE app LOGIN');
		my $again = app("SELECT jobsched.retry_run($run)");
		my $first = $run;
		$run = $again;
		if ($kind ne 'sleeps')
		{
			until_true($node, $db, 'SELECT ' . $waits{$kind} =~ s/RUN/$run/gr, "$job waits anew") if $kind eq 'flow';
			comes($kind);
		}
		ends('succeeded', 'b app', 'retried when it may log in again: it goes on where it was');
		is(done($first), 'a app', "$job: ... and the first one has done no more");
	}
}
is(psql('SELECT (SELECT count(*) FROM jobsched_internal.run), (SELECT count(*) FROM jobsched_internal.event_match)'), '0|0', 'nothing is left');

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection|not permitted to log in/);
$node->stop;
done_testing();
