# Copyright (c) 2026, jobsched contributors

# Steps that look before they start: delay, if, placeholders for the results of
# others; undisturbed, with kill -9, and with owners who try what is not meant.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JSON::PP;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('looks', conf => "restart_after_crash = on\n");
my $sink = start_sink($node);
my $json = JSON::PP->new->canonical;

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

sub quoted
{
	my ($text) = @_;
	return q{'} . $text =~ s/'/''/gr . q{'};
}

# A workflow that is called $name.
sub define
{
	my ($name, @steps) = @_;
	return app("SELECT jobsched.create_job('$name', if_exists => 'update', steps => " . quoted($json->encode(\@steps)) . ')');
}

sub trigger
{
	my ($job, $args) = @_;
	return app("SELECT jobsched.trigger('$job'" . ($args ? ', ' . quoted($json->encode($args)) : '') . ')');
}

# The run of a new workflow.
sub begin
{
	my (@steps) = @_;
	define('flow', @steps);
	return trigger('flow');
}

sub ended
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id);
}

my $shown = q{string_agg(concat_ws(' ', step, status, reason), ', ' ORDER BY step_no)};

# What has become of the steps of a workflow run.
sub becomes_shown
{
	my ($run_id, $expected, $name) = @_;
	return wait_value($node, $db, "SELECT $shown FROM jobsched.steps WHERE workflow_run_id = $run_id", $expected, $name);
}

sub of_step
{
	my ($run_id, $step, $columns) = @_;
	return psql("SELECT $columns FROM jobsched.steps s JOIN jobsched.runs r USING (run_id) WHERE workflow_run_id = $run_id AND step = '$step'");
}

sub says
{
	my ($name, $what, %more) = @_;
	return { name => $name, command => "SELECT to_jsonb('$what'::text)", %more };
}

sub ended_step
{
	my ($run_id, $step) = @_;
	return wait_until($node, $db, "SELECT count(*) = 1 FROM jobsched.steps WHERE workflow_run_id = $run_id AND step = '$step' AND finished_at IS NOT NULL", "step $step has ended");
}

sub new_scheduler
{
	my $scheduler = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($scheduler)");
	return wait_new_scheduler($node, $db, $scheduler);
}

# With it goes the time that was set.
sub crash
{
	end_sessions($node);
	kill_and_start($node);
	return wait_scheduler($node, $db);
}

# The clock goes on to a time that is relative to the end of a step.
sub move_clock
{
	my ($run_id, $step, $by) = @_;
	return set_clock($node, $db,
		psql("SELECT finished_at + interval '$by' FROM jobsched.steps WHERE workflow_run_id = $run_id AND step = '$step'"));
}

# The scheduler has seen what the clock says, and done what is due.
sub caught_up
{
	is(ended(trigger('plain')), 'succeeded', 'the scheduler has looked at the clock');
	return;
}

make_gate($node, $db, 'app');
app(q{SELECT jobsched.create_job('plain', command => 'SELECT 1')});

# ------------------------------------------------------------------------
# delay
# ------------------------------------------------------------------------

my $now = psql('SELECT date_trunc(\'second\', clock_timestamp())');
set_clock($node, $db, $now);

# With none before it: after it has been queued.
my $run = begin(says('first', 1, delay => '1 hour'), says('second', 2, delay => '2 hours'), says('third', 3));
becomes_shown($run, 'first queued not_due, second queued waiting_for_upstream, third queued waiting_for_upstream', 'a step waits for its delay');
is(of_step($run, 'first', "r.run_at = '$now'::timestamptz + interval '1 hour'"), 't', 'and it shows until when');
is(psql("SELECT string_agg(concat_ws(' ', job_name, delay), ', ' ORDER BY run_id) FROM jobsched.waiting"),
	'flow.second 02:00:00, flow.third', 'what waits for it shows its own delay');
is(psql("SELECT string_agg(job_name, ', ') FROM jobsched.upcoming WHERE run_at = '$now'::timestamptz + interval '1 hour'"),
	'flow.first', 'it is upcoming');
set_clock($node, $db, psql("SELECT '$now'::timestamptz + interval '59 min 59 s'"));
caught_up();
becomes_shown($run, 'first queued not_due, second queued waiting_for_upstream, third queued waiting_for_upstream', 'not a second too early');
set_clock($node, $db, psql("SELECT '$now'::timestamptz + interval '1 hour'"));
becomes_shown($run, 'first succeeded, second queued not_due, third queued waiting_for_upstream', 'it starts, and the next one waits');

sub check_second
{
	my ($name) = @_;
	is(of_step($run, 'second', 's.run_at = (SELECT p.finished_at FROM jobsched.steps p WHERE p.workflow_run_id = s.workflow_run_id AND p.step = \'first\') + interval \'2 hours\''),
		't', "$name: it shows until when");
	is(psql("SELECT string_agg(job_name, ', ' ORDER BY job_name) FROM jobsched.upcoming WHERE run_at >= jobsched_internal.clock_now() + interval '1 hour'"),
		'flow.second', "$name: it is upcoming");
	is(psql("SELECT string_agg(job_name, ', ' ORDER BY job_name) FROM jobsched.waiting"), 'flow.third', "$name: only the third waits for runs");
	return;
}
check_second('released');
new_scheduler();
move_clock($run, 'first', '1 hour 59 min 59 s');
caught_up();
becomes_shown($run, 'first succeeded, second queued not_due, third queued waiting_for_upstream', 'a new scheduler derives it again');
move_clock($run, 'first', '1 hour');
check_second('a new scheduler');
crash();
check_second('after a crash');
move_clock($run, 'first', '2 hours');
is(ended($run), 'succeeded', 'after the delay it starts');
is(of_step($run, 'second', 's.run_at = (SELECT p.finished_at FROM jobsched.steps p WHERE p.workflow_run_id = s.workflow_run_id AND p.step = \'first\') + interval \'2 hours\' AND s.started_at >= s.run_at'),
	't', 'history says when it was to start');

# The last of several; a skipped one counts; a failure too.
$run = begin(says('a', 1, after => []), says('b', 1, after => [], delay => '10 min'),
	{ name => 'c', command => 'SELECT 1/0', after => ['b'], delay => '10 min' },
	says('d', 1, after => [ 'a', 'c' ], when => 'done', delay => '10 min'),
	says('e', 1, after => [ 'c' ], delay => '10 min'));
ended_step($run, 'a');
move_clock($run, 'a', '9 min');
caught_up();
becomes_shown($run, 'a succeeded, b queued not_due, c queued waiting_for_upstream, d queued waiting_for_upstream, e queued waiting_for_upstream', 'a is done');
set_clock($node, $db, psql("SELECT jobsched_internal.clock_now() + interval '1 min'"));
ended_step($run, 'b');
move_clock($run, 'b', '10 min');
becomes_shown($run, 'a succeeded, b succeeded, c failed error, d queued not_due, e skipped upstream_failed', 'what cannot start is skipped without a delay');
is(of_step($run, 'd', 's.run_at = (SELECT max(p.finished_at) FROM jobsched.steps p WHERE p.workflow_run_id = s.workflow_run_id AND p.step = \'c\') + interval \'10 min\''), 't', 'the last one counts');

# Paused, and cancelled, meanwhile
app("SELECT jobsched.pause_job('flow')");
move_clock($run, 'c', '10 min');
becomes_shown($run, 'a succeeded, b succeeded, c failed error, d queued job_paused, e skipped upstream_failed', 'its time comes while it is paused');
app("SELECT jobsched.resume_job('flow')");
is(ended($run), 'failed child_failed', 'and it starts when it is resumed');
becomes_shown($run, 'a succeeded, b succeeded, c failed error, d succeeded, e skipped upstream_failed', 'its time has come');
$run = begin(says('a', 1), says('b', 1, delay => '3650 days'));
becomes_shown($run, 'a succeeded, b queued not_due', 'for ten years');
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'unless it is cancelled');
becomes_shown($run, 'a succeeded, b cancelled parent_ended', 'with its workflow');

# Claimed, and given up, before it has begun
$run = begin(says('a', 1), says('b', 1, delay => '1 min'));
ended_step($run, 'a');
psql('SELECT jobsched.stop_processing()');
move_clock($run, 'a', '1 min');
becomes_shown($run, 'a succeeded, b queued processing_stopped', 'its time comes while nothing is processed');
psql('SELECT jobsched.start_processing()');
is(ended($run), 'succeeded', 'and then it starts');

# A step with a delay may be tried again: that delay is its policy's.
$run = begin(says('a', 1), { name => 'b', command => 'SELECT 1/(jobsched.attempt() - 1)', delay => '1 min', retry_on => ['22012'], backoff => 'fixed', backoff_base => '0' });
ended_step($run, 'a');
move_clock($run, 'a', '1 min');
is(ended($run), 'succeeded', 'tried again');
set_clock($node, $db, undef);

done_testing();
