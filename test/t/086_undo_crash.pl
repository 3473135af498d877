# Copyright (c) 2026, jobsched contributors

# kill -9 of worker, server and scheduler while steps are undone: when the run is executed
# that lets undo begin, before and after it has committed, in and after the commit of what
# undoes a step, between two of them.  Each is undone once, in its turn, and what has been
# committed is not executed again.  And a dump in the middle of that.

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
my $node = jobsched_node('undo_crash', conf => q{
restart_after_crash = on
jobsched.max_workers = 4
wal_level = replica
max_wal_senders = 2
fsync = off
});

create_extension($node, $db);

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

psql(q{CREATE ROLE app LOGIN; CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA jobsched TO app});
make_gate($node, $db, 'app');
app(q{
	-- where somebody waits as long as the gate is closed
	CREATE TABLE app.stop (point text);
	CREATE TABLE app.effect (no bigserial, workflow bigint, what text, attempt int);
	CREATE FUNCTION app.stop_at(at text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM app.stop WHERE point = at) THEN
			PERFORM id FROM public.gate FOR SHARE;
		END IF;
	END $$;
	CREATE FUNCTION app.commits() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.stop_at('commit of ' || NEW.what);
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER commits AFTER INSERT ON app.effect DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION app.commits();
	CREATE FUNCTION app.act(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		me text := split_part(jobsched.job_name(), '.', 2) || COALESCE('/' || (args ->> 'index'), '');
	BEGIN
		PERFORM app.stop_at('in ' || me);
		IF me = args ->> 'bad' THEN
			RAISE 'as planned';
		END IF;
		INSERT INTO app.effect (workflow, what, attempt) VALUES (jobsched.workflow_run_id(), me, jobsched.attempt());
	END $$;
	SELECT jobsched.create_job('trip', steps => '[
		{"name": "a", "handler": "app.act", "undo": {"handler": "app.act"}},
		{"name": "each", "handler": "app.act", "for_each": "SELECT ''[1, 2]''::jsonb", "undo": {"handler": "app.act"}},
		{"name": "b", "handler": "app.act", "undo": {"handler": "app.act"}},
		{"name": "c", "handler": "app.act"},
		{"name": "d", "handler": "app.act", "when": "always"}]')});

# ------------------------------------------------------------------------
# Where, and what is killed there
# ------------------------------------------------------------------------

my ($run, $gate);

sub step_run
{
	my ($step) = @_;
	my $of = "FROM jobsched.steps WHERE workflow_run_id = $run AND step = '$step'";

	until_true($node, $db, "SELECT count(*) = 1 $of", "step $step is queued");
	return psql("SELECT run_id $of");
}

sub run_at
{
	my ($step) = @_;
	my ($name, $item) = split m{/}, $step;
	my $id = step_run($name);

	return $id unless defined $item;
	my $of = "FROM jobsched.step_items WHERE step_run_id = $id AND item = $item";
	until_true($node, $db, "SELECT count(*) = 1 $of", "element $item is queued");
	return psql("SELECT run_id $of");
}

# A run of the workflow that is at some point; what it does there.
sub begin
{
	my ($point, $is_cancelled) = @_;

	app('DELETE FROM app.stop');
	app("INSERT INTO app.stop VALUES ('$_')") for $point, $is_cancelled ? 'in c' : ();
	$gate = close_gate($node, $db);
	my $bad = $is_cancelled ? '' : 'c';
	$run = app(qq{SELECT jobsched.trigger('trip', '{"bad": "$bad"}')});
	if ($is_cancelled)
	{
		wait_at_gate($node, $db, step_run('c'));
		app("SELECT jobsched.cancel_run($run)");
	}
	return;
}

sub open_gate
{
	eval { $gate->quit };
	undef $gate;
	return;
}

# The worker of "undo" is held when it has queued what undoes the steps, and has not
# committed: it looks in this table then why that is so.
sub hold_undo
{
	my ($is_cancelled) = @_;

	begin('in d', $is_cancelled);
	wait_at_gate($node, $db, step_run('d'));
	my $table = close_gate($node, $db, 'LOCK TABLE jobsched_internal.run_stop');
	open_gate();
	$gate = $table;
	return wait_at_gate($node, $db, step_run('undo'));
}

my $is_held = q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'jobsched worker')};

# A worker has committed, and has told nobody: it waits for a standby that does not exist.
sub hold_commit
{
	my ($where) = @_;

	set_setting($node, 'synchronous_standby_names', 'nobody');
	open_gate();
	until_true($node, $db, $is_held, "$where: a commit is held");
	my $pid = psql(q{SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'jobsched worker'});
	# no process hears of that any more
	$node->safe_psql($db, 'ALTER SYSTEM RESET synchronous_standby_names');
	return $pid;
}

# Returns the worker.
sub stop_at
{
	my ($point, $is_cancelled) = @_;

	return hold_undo($is_cancelled) if $point eq 'in undo';
	if ($point eq 'undo has committed')
	{
		hold_undo($is_cancelled);
		return hold_commit($point);
	}
	my ($step) = $point =~ /(undo:\S+)/;
	begin($point =~ /^(?:in|commit)/ ? $point : "in $step", $is_cancelled);
	my $pid = wait_at_gate($node, $db, run_at($step));
	return $pid if $point =~ /^(?:in|commit)/;
	return hold_commit($point) if $point =~ /has committed/;
	app(q{SELECT jobsched.pause_job('trip')});
	open_gate();
	until_true($node, $db, "SELECT count(*) = 1 FROM jobsched.steps WHERE workflow_run_id = $run AND step LIKE 'undo:%' AND status = 'succeeded'", "$point: one is undone");
	until_true($node, $db, "SELECT reason = 'job_paused' FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'undo:each'", "$point: the next one waits");
	return 0;
}

sub kill_it
{
	my ($how, $pid) = @_;

	$pid = scheduler_pid($node, $db) if $how eq 'scheduler';
	end_sessions($node);
	if ($how eq 'server')
	{
		kill_and_start($node);
	}
	else
	{
		kill 'KILL', $pid;
		wait_connection($node, $db);
		# a postmaster that lives has what it has read
		set_setting($node, 'synchronous_standby_names', undef);
	}
	open_gate();
	return wait_scheduler($node, $db);
}

# What has been undone is not executed again: its attempt is the first; others may have
# lost one.
sub check
{
	my ($name, $is_cancelled, $once) = @_;
	my $effects = "FROM app.effect WHERE workflow = $run AND what LIKE 'undo:%'";

	is(end_of($node, $db, $run), $is_cancelled ? 'cancelled cancelled' : 'failed child_failed', "$name: the workflow run ends as it was to end");
	like(psql("SELECT string_agg(what, ' ' ORDER BY no) $effects"), qr{^undo:b undo:each/(?:0 undo:each/1|1 undo:each/0) undo:a$}, "$name: each is undone once, in its turn");
	is(psql("SELECT string_agg(concat_ws(' ', step, status, reason), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $run AND step LIKE 'undo%'"),
		'undo succeeded, undo:a succeeded, undo:each succeeded, undo:b succeeded', "$name: and all is recorded");
	is(psql("SELECT count(*), count(*) FILTER (WHERE r.status = 'succeeded') FROM jobsched.runs r JOIN jobsched.steps s ON s.run_id = r.parent_run_id WHERE s.workflow_run_id = $run AND s.step = 'undo:each'"),
		'2|2', "$name: with its elements");
	is(psql("SELECT attempt FROM app.effect WHERE workflow = $run AND what = '$once'"), '1', "$name: what had committed is not executed again") if $once;
	is(psql('SELECT (SELECT count(*) FROM jobsched_internal.run), (SELECT count(*) FROM jobsched_internal.dependency), (SELECT count(*) FROM jobsched_internal.run_stop)'),
		'0|0|0', "$name: nothing is left");
	return;
}

for my $case (
	[ 'in undo', 'worker' ],
	[ 'in undo', 'server', 'cancelled' ],
	[ 'in undo', 'scheduler' ],
	[ 'undo has committed', 'server' ],
	[ 'undo has committed', 'worker', 'cancelled' ],
	[ 'commit of undo:b', 'worker' ],
	[ 'commit of undo:b', 'server', 'cancelled' ],
	[ 'in undo:each/0', 'worker' ],
	[ 'undo:b has committed', 'server', '', 'undo:b' ],
	[ 'undo:b has committed', 'worker', 'cancelled', 'undo:b' ],
	[ 'between undo:b and the next one', 'server', 'cancelled', 'undo:b' ],
	[ 'between undo:b and the next one', 'scheduler', '', 'undo:b' ],
	[ 'commit of undo:a', 'server', '', 'undo:b' ])
{
	my ($point, $how, $is_cancelled, $once) = @$case;
	my $pid = stop_at($point, $is_cancelled);

	kill_it($how, $pid);
	app('DELETE FROM app.stop');
	app(q{SELECT jobsched.resume_job('trip')});
	check("$point, the $how is killed", $is_cancelled, $once);
}

# ------------------------------------------------------------------------
# A dump
# ------------------------------------------------------------------------

stop_at('in undo:b');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr($db) ], 'a dump while steps are undone');
app('DELETE FROM app.stop');
open_gate();
check('in a database that is dumped', '');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'it is restored');
wait_scheduler($node, 'restored');
is($node->safe_psql('restored', 'SELECT jobsched.adopt()'), '1', 'the job is there');
is($node->safe_psql('restored', q{SELECT (SELECT count(*) FROM jobsched.runs), (SELECT count(*) FROM jobsched.steps), (SELECT count(*) FROM jobsched_internal.run_stop)}),
	'0|0|0', 'but no run');
$node->safe_psql('restored', 'TRUNCATE app.stop, app.effect');
my $there = sql_as($node, 'restored', 'app', q{SELECT jobsched.trigger('trip', '{"bad": "c"}')});
is(end_of($node, 'restored', $there), 'failed child_failed', 'one of its own fails');
is($node->safe_psql('restored', "SELECT count(*) FILTER (WHERE workflow = $there), count(*) FROM app.effect WHERE what LIKE 'undo:%'"), '4|4', 'and is undone, and no other');

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection/);
$node->stop;
done_testing();
