# Copyright (c) 2026, jobsched contributors

# kill -9 in the middle of what the scheduler writes when one end is followed by others:
# runs that wait, children, steps of a workflow, what undoes them.  A session of a
# superuser holds a table that the scheduler is to write to, so that it is killed between
# two writes of one step; or it holds the row of a run, which the scheduler passes over,
# so that it is killed when some of them have ended and others have not.  Whatever that is,
# all runs end as if nothing had happened, each once.

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
my $node = jobsched_node('step_crash', conf => "restart_after_crash = on\nfsync = off\n");

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

psql(q{CREATE ROLE app LOGIN; CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA jobsched TO app});
app(q{
	CREATE TABLE app.effect (run_id bigint, job text);
	CREATE FUNCTION app.act(args jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO app.effect VALUES (jobsched.run_id(), jobsched.job_name())';
	CREATE TABLE app.told (run_id bigint);
	CREATE FUNCTION app.tell(run jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO app.told VALUES ((run ->> ''run_id'')::bigint)';
	SELECT jobsched.create_job('held', handler => 'app.act');
	SELECT jobsched.pause_job('held');
	SELECT jobsched.create_job('later', command => 'SELECT 1');
	SELECT jobsched.create_job('free', handler => 'app.act', on_success => 'app.tell');
	SELECT jobsched.create_job('flow', on_failure => 'app.tell', steps => '[
		{"name": "a", "handler": "app.act", "undo": {"handler": "app.act"}},
		{"name": "w", "handler": "app.act", "wait_for": ["go"], "wait_timeout": "2 days"},
		{"name": "x", "handler": "app.act"},
		{"name": "y", "handler": "app.act", "after": ["w"], "when": "always"},
		{"name": "z", "handler": "app.act", "after": ["w"], "when": "failure"}]')});

# ------------------------------------------------------------------------
# What is followed by others
# ------------------------------------------------------------------------

# Runs of each kind are made, by name; then something happens to them.
my %runs;

sub step_runs
{
	return (flow => $runs{flow}, map { split /\|/ } split /\n/, psql("SELECT step, run_id FROM jobsched.steps WHERE workflow_run_id = $runs{flow}"));
}

sub begin_flow
{
	$runs{flow} = app(q{SELECT jobsched.trigger('flow')});
	until_true($node, $db, "SELECT EXISTS (SELECT FROM jobsched.steps WHERE workflow_run_id = $runs{flow} AND step = 'w' AND reason = 'waiting_for_event')", 'a step waits for an event');
	return %runs = step_runs();
}

my %cases = (
	'a parent is cancelled' => {
		begin => sub {
			$runs{a} = app(q{SELECT jobsched.trigger('held')});
			$runs{b} = app("SELECT jobsched.trigger('free', after => '{$runs{a}}')");
			$runs{c} = app("SELECT jobsched.trigger('free', after => '{$runs{b}}')");
			$runs{d} = app("SELECT jobsched.trigger('free', after => '{$runs{a}}', after_when => 'failure')");
			$runs{e} = app("SELECT jobsched.trigger('free', after => '{$runs{b},$runs{c}}', after_when => 'done')");
		},
		happens => sub { app("SELECT jobsched.cancel_run($runs{a})") },
		ends => 'a cancelled cancelled, b skipped upstream_failed, c skipped upstream_skipped, d succeeded, e succeeded',
		told => 'd e',
		held => [qw(a b c history dependency waited run_stop)] },
	'a batch is cancelled' => {
		begin => sub {
			$runs{batch} = app(q{SELECT jobsched.trigger_batch('held', '{NULL,NULL,NULL}', on_complete => 'free')});
			@runs{qw(m1 m2 m3)} = split /\n/, psql("SELECT run_id FROM jobsched.runs WHERE parent_run_id = $runs{batch} ORDER BY run_id");
			$runs{next} = psql("SELECT run_id FROM jobsched.waiting WHERE $runs{batch} = ANY (parent_ids)");
		},
		happens => sub { app("SELECT jobsched.cancel_run($runs{batch})") },
		ends => 'batch cancelled cancelled, m1 cancelled parent_ended, m2 cancelled parent_ended, m3 cancelled parent_ended, next succeeded',
		told => 'next',
		held => [qw(m1 batch history run_stop)] },
	'a workflow run is cancelled' => {
		begin => \&begin_flow,
		happens => sub { app("SELECT jobsched.cancel_run($runs{flow})") },
		ends => 'a succeeded, flow cancelled cancelled, undo succeeded, undo:a succeeded, w cancelled parent_ended, x cancelled parent_ended, y succeeded, z cancelled parent_ended',
		told => '',
		held => [qw(w flow history dependency run_stop)] },
	'the time of a step is over' => {
		# a statement that waits for the disk: until when the step waits is on it
		begin => sub { begin_flow(); app('CREATE TABLE app.flush (); DROP TABLE app.flush') },
		happens => sub { set_clock($node, $db, psql(q{SELECT clock_timestamp() + interval '49 h'})) },
		again => 1,
		ends => 'a succeeded, flow failed child_failed, undo succeeded, undo:a succeeded, w timed_out no_event, x skipped upstream_failed, y succeeded, z succeeded',
		told => 'flow',
		held => [qw(x flow history dependency event_match)] });

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

my $kills = 0;
my @gates;

# It waits for half a second.  Then it ends, and a successor comes there again.
sub is_held_at
{
	my ($table) = @_;
	return until_true($node, $db, qq{
		SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE NOT granted AND relation::regclass::text ~ '^jobsched_internal.$table' AND backend_type = 'jobsched scheduler')},
		"the scheduler waits for $table");
}

# Those who read do not wait.
sub close_table
{
	my ($table) = @_;
	return push @gates, close_gate($node, $db, "LOCK TABLE jobsched_internal.$table IN EXCLUSIVE MODE");
}

sub hold
{
	my ($held, $happens) = @_;

	if ($runs{$held})
	{
		push @gates, close_gate($node, $db, "SELECT FROM jobsched_internal.run WHERE run_id = $runs{$held} FOR UPDATE");
		$happens->();
		# the scheduler has seen to it before it has seen to what comes later
		return end_of($node, $db, app(q{SELECT jobsched.trigger('later')}));
	}
	close_table('history');
	$happens->();
	is_held_at('history');
	return if $held eq 'history';
	# who has made it happen may have to write here too
	close_table($held);
	(shift @gates)->quit;
	return is_held_at($held);
}

sub kill_it
{
	my $pid = scheduler_pid($node, $db);

	end_sessions($node);
	if (++$kills % 2)
	{
		kill 'KILL', $pid if $pid ne '';
		wait_connection($node, $db);
	}
	else
	{
		kill_and_start($node);
	}
	return;
}

for my $name (sort keys %cases)
{
	my $case = $cases{$name};

	for my $held (@{ $case->{held} })
	{
		my $what = "$name, killed at $held";

		%runs = ();
		$case->{begin}->();
		hold($held, $case->{happens});
		kill_it();
		eval { $_->quit } for splice @gates;
		wait_scheduler($node, $db);
		# the clock is the real one again
		$case->{happens}->() if $case->{again};
		wait_drained($node, $db);
		%runs = step_runs() if $runs{flow};
		my %names = reverse %runs;
		my $ids = join ',', values %runs;
		is(join(', ', sort map { my ($id, $end) = split /\|/; "$names{$id} $end" } split /\n/,
				psql("SELECT run_id || '|' || concat_ws(' ', status, reason) FROM jobsched.runs WHERE run_id IN ($ids)")), $case->{ends}, "$what: each run ends as it was to end, once");
		is(join(' ', sort map { $names{$_} // 'other' } split /\n/, psql('SELECT run_id FROM app.effect WHERE run_id >= ' . (sort { $a <=> $b } values %runs)[0])),
			join(' ', sort map { /^(\S+) succeeded/ && $1 ne 'undo' ? $1 : () } split /, /, $case->{ends}), "$what: what was to be executed is, once");
		is(join(' ', sort map { $names{$_} // 'other' } split /\n/, psql('SELECT run_id FROM app.told WHERE run_id >= ' . (sort { $a <=> $b } values %runs)[0])), $case->{told}, "$what: functions are told once");
		is(psql('SELECT (SELECT count(*) FROM jobsched_internal.dependency), (SELECT count(*) FROM jobsched_internal.run_stop), (SELECT count(*) FROM jobsched_internal.event_match)'), '0|0|0', "$what: nothing is left");
		set_clock($node, $db, undef);
	}
}

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection|lock timeout/);
$node->stop;
done_testing();
