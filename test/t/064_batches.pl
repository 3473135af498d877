# Copyright (c) 2026, jobsched contributors

# Batches: each row of the truth table of doc/workflows.md against a model of it;
# what ends early; totals of many members, little memory, short retention; kill -9
# of each process.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('batches', conf => "restart_after_crash = on\nmax_prepared_transactions = 5\n");

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

# $count members without arguments, unless these are given.
sub batch
{
	my ($job, $count, $more) = @_;
	my $args = $count =~ /^\d+$/ ? "array_fill(NULL::jsonb, ARRAY[$count])" : $count;
	return app("SELECT jobsched.trigger_batch('$job', $args" . ($more ? ", $more)" : ')'));
}

sub ended
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id);
}

sub state
{
	my ($run_id) = @_;
	return psql("SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE run_id = $run_id");
}

# The run that waits for a batch.
sub completion
{
	my ($batch) = @_;
	return psql("SELECT min(run_id) FROM jobsched.runs WHERE job_name = 'sums' AND run_id > $batch");
}

# What the totals of a batch are, by its members, and what it says they are.
my @statuses = qw(succeeded failed timed_out lost cancelled skipped);

sub totals
{
	my ($batch) = @_;
	my $counts = join ', ', map { "'$_', count(*) FILTER (WHERE status = '$_')" } @statuses;
	return psql("SELECT jsonb_build_object('total', count(*), $counts) FROM jobsched.runs WHERE parent_run_id = $batch");
}

sub is_total
{
	my ($batch, $total, $name) = @_;
	is(psql("SELECT result ->> 'total' FROM jobsched.runs WHERE run_id = $batch"), $total, "$name: total");
	return is(psql("SELECT result FROM jobsched.runs WHERE run_id = $batch"), totals($batch), "$name: the totals are what the members are");
}

sub drained
{
	my ($name) = @_;
	return wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.run}, '0', $name);
}

sub new_scheduler
{
	my $scheduler = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($scheduler)");
	return wait_new_scheduler($node, $db, $scheduler);
}

make_gate($node, $db, 'app');
app(q{
	CREATE FUNCTION app.member(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave(args);
		IF args ? 'waits' THEN
			PERFORM id FROM public.gate FOR SHARE;
		END IF;
		IF args ? 'fails' THEN
			RAISE 'no';
		END IF;
	END $$;
	CREATE FUNCTION app.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
	CREATE FUNCTION app.sums(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_agg(jsonb_build_object('batch', u.run_id, 'status', u.status, 'totals', u.result)) FROM jobsched.upstream() u
	$$;
	SELECT jobsched.create_job('succeeded', handler => 'app.member');
	SELECT jobsched.create_job('mixed', handler => 'app.member', max_attempts => 1);
	SELECT jobsched.create_job('held', handler => 'app.member');
	SELECT jobsched.pause_job('held');
	SELECT jobsched.create_job('failed', handler => 'app.fail');
	SELECT jobsched.create_job('timed_out', command => 'SELECT pg_sleep(60)', timeout => '20 ms', max_attempts => 1);
	SELECT jobsched.create_job('lost', command => 'SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)',
		mode => 'autocommit', max_attempts => 1);
	SELECT jobsched.create_job('sleep', command => 'SELECT pg_sleep(600)', max_concurrency => 2);
	SELECT jobsched.create_job('sums', handler => 'app.sums')});

# ------------------------------------------------------------------------
# The truth table
# ------------------------------------------------------------------------

# How members end, by job, and how many of two have failed then.
my %members = (
	none => [ 'succeeded', 0, 0 ],
	succeeded => [ 'succeeded', 2, 0 ],
	failed => [ 'failed', 2, 2 ],
	timed_out => [ 'timed_out', 2, 2 ],
	lost => [ 'lost', 2, 2 ],
	cancelled => [ 'held', 2, 2 ],
	mixed => [ 'mixed', q{ARRAY['{}', '{"fails": 1}']::jsonb[]}, 1 ]);
my @cases;

for my $kind (sort keys %members)
{
	for my $optional ('false', 'true')
	{
		for my $when ('done', 'success', 'failure')
		{
			my ($job, $count, $failed) = @{ $members{$kind} };
			my $fails = $failed && $optional eq 'false';
			my $batch = batch($job, $count, "on_complete => 'sums', after_when => '$when', optional => $optional");
			my $then = $when eq 'done' || $fails == ($when eq 'failure') ? 'succeeded' : 'skipped upstream_' . ($fails ? 'failed' : 'succeeded');

			push @cases, { name => "$kind, optional $optional, $when", batch => $batch, end => $fails ? 'failed child_failed' : 'succeeded',
				then => $then, completion => completion($batch) };
		}
	}
}
app(q{SELECT jobsched.cancel_run(run_id) FROM jobsched.runs WHERE job_name = 'held' AND source = 'trigger'});
for my $case (@cases)
{
	my ($batch, $completion) = @$case{ 'batch', 'completion' };

	is(ended($batch), $case->{end}, "$case->{name}: the batch");
	is(psql("SELECT result FROM jobsched.runs WHERE run_id = $batch"), totals($batch), "$case->{name}: totals");
	is(ended($completion), $case->{then}, "$case->{name}: on_complete");
	is(psql("SELECT (result -> 0 ->> 'batch')::bigint = $batch AND jsonb_array_length(result) = 1 AND result -> 0 -> 'totals' = (SELECT result FROM jobsched.runs WHERE run_id = $batch)
		FROM jobsched.runs WHERE run_id = $completion"), 't', "$case->{name}: it sees the totals") if $case->{then} eq 'succeeded';
}
is(psql(q{SELECT count(*) FROM jobsched.runs c JOIN jobsched.runs p ON p.run_id = c.parent_run_id
	WHERE c.status IN ('queued', 'running', 'retrying') OR c.finished_at > p.finished_at}), '0', 'all members had ended before');
is(psql(q{SELECT count(*) FROM jobsched.attempts a JOIN jobsched.runs r USING (run_id) WHERE r.source = 'batch'}), '0', 'no batch has been executed');
is(psql(q{SELECT count(*) FROM jobsched.dead_letters WHERE source = 'batch'}), '0', 'nor is one a dead letter');

# ------------------------------------------------------------------------
# What ends early
# ------------------------------------------------------------------------

my $batch = batch('sleep', 10, q{on_complete => 'sums'});
my $then = completion($batch);
wait_value($node, $db, "SELECT count(*) FROM jobsched.runs WHERE parent_run_id = $batch AND status = 'running'", '2', 'two members are executed');
is(state($batch), 'running waiting_for_children', 'the batch waits');
is(state($then), 'queued waiting_for_upstream', 'and on_complete for it');
app("SELECT jobsched.cancel_run($batch)");
is(ended($batch), 'cancelled cancelled', 'it is cancelled');
is(psql("SELECT status, reason, count(*) FROM jobsched.runs WHERE parent_run_id = $batch GROUP BY 1, 2"), 'cancelled|parent_ended|10', 'with all members');
is_total($batch, 10, 'cancelled');
is(end_of($node, $db, $then, "status, result -> 0 -> 'totals' ->> 'cancelled'"), 'succeeded|10', 'on_complete runs all the same, and is told');

for my $restart (0, 1)
{
	$batch = batch('sleep', 10);
	wait_value($node, $db, "SELECT count(*) FROM jobsched.runs WHERE parent_run_id = $batch AND status = 'running'", '2', 'two members are executed');
	app(q{SELECT jobsched.drop_job('sleep', cancel_running => true)});
	new_scheduler() if $restart;
	is(ended($batch), 'cancelled job_dropped', 'the job is dropped with cancel_running');
	is_total($batch, 10, 'dropped');
	app(q{SELECT jobsched.create_job('sleep', command => 'SELECT pg_sleep(600)', max_concurrency => 2)});
}

app(q{SELECT jobsched.create_job('brief', handler => 'app.member'); SELECT jobsched.pause_job('brief')});
$batch = batch('brief', 3, q{on_complete => 'sums', after_when => 'failure'});
$then = completion($batch);
is(psql("SELECT string_agg(DISTINCT status || ' ' || reason, ', ') FROM jobsched.runs WHERE parent_run_id = $batch"), 'queued job_paused', 'the job is paused: members wait');
app(q{SELECT jobsched.drop_job('brief')});
is(ended($batch), 'failed child_failed', 'the job is dropped: members have failed');
is_total($batch, 3, 'dropped');
is(ended($then), 'succeeded', 'and on_complete runs');

$batch = batch('held', 3, q{on_complete => 'sums'});
$then = completion($batch);
app("SELECT jobsched.cancel_run($then)");
is(ended($then), 'cancelled cancelled', 'on_complete is cancelled');
is(state($batch), 'running waiting_for_children', 'the batch goes on');
app("SELECT jobsched.cancel_run(min(run_id)) FROM jobsched.runs WHERE parent_run_id = $batch");
app(q{SELECT jobsched.resume_job('held')});
is(ended($batch), 'failed child_failed', 'a member was cancelled');
is_total($batch, 3, 'one cancelled');
app(q{SELECT jobsched.pause_job('held')});

# Slots do not wait for a batch.
app(q{SELECT jobsched.create_job('slots', handler => 'app.member', schedule => 'every 1 second', overlap => 'skip')});
$batch = batch('slots', 2, q{run_at => now() + interval '1 hour'});
wait_until($node, $db, qq{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'slots' AND source = 'schedule' AND status = 'succeeded' AND run_id > $batch}, 'slots go on');
app(q{SELECT jobsched.alter_job('slots', enabled => false)});
is(app(q{SELECT jobsched.cancel_runs(job => 'slots', status => 'running')}), '1', 'cancel_runs() takes it for what runs');
is(ended($batch), 'cancelled cancelled', 'it is cancelled');

# A row that somebody holds; a member that somebody has removed.
$batch = batch('held', 2);
my $holder = close_gate($node, $db, "SELECT run_id FROM jobsched_internal.run WHERE run_id = $batch FOR UPDATE");
psql("DELETE FROM jobsched_internal.run WHERE run_id = (SELECT min(run_id) FROM jobsched_internal.run WHERE parent_run_id = $batch)");
app("SELECT jobsched.cancel_run($batch)");
wait_value($node, $db, "SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE parent_run_id = $batch", 'cancelled parent_ended', 'members end');
is(ended(app(q{SELECT jobsched.trigger('succeeded')})), 'succeeded', 'somebody holds the row of a batch: others go on');
is(state($batch), 'running waiting_for_children', 'it cannot end');
$holder->query_safe('COMMIT');
$holder->quit;
is(ended($batch), 'cancelled cancelled', 'until that is over');
is_total($batch, 1, 'one was removed');

# Transactions.
$batch = psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger_batch('succeeded', '{NULL,NULL}', 'sums'); PREPARE TRANSACTION 'p'});
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id >= $batch"), '0', 'of a prepared transaction there is nothing');
psql(q{COMMIT PREPARED 'p'});
is(ended($batch), 'succeeded', 'until it is committed');
is_total($batch, 2, 'prepared');
my $gone = psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger_batch('succeeded', '{NULL,NULL}', 'sums'); ROLLBACK});
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id >= $gone"), '0', 'of one that is rolled back nothing');

# Another owner.
psql(q{CREATE ROLE heir LOGIN; GRANT app TO heir; GRANT USAGE ON SCHEMA jobsched TO heir});
app(q{SELECT jobsched.create_job('passes', handler => 'app.fail'); SELECT jobsched.pause_job('passes')});
$batch = batch('passes', 2, q{on_complete => 'sums'});
$then = completion($batch);
psql(q{SELECT jobsched.alter_job('passes', owner => 'heir')});
is(session_sql($node, $db, 'heir', "SELECT jobsched.cancel_run($batch)"), 't', 'the new owner of the job may cancel it');
is(ended($batch), 'cancelled cancelled', 'and it is');
is(end_of($node, $db, $then, "status, result -> 0 -> 'totals' ->> 'cancelled'"), 'succeeded|2', 'on_complete is told');
psql(q{SELECT jobsched.drop_job('passes')});

app(q{SELECT jobsched.create_job('inherited', handler => 'app.fail'); SELECT jobsched.pause_job('inherited')});
$batch = batch('inherited', 1);
psql(q{SELECT jobsched.alter_job('inherited', owner => 'heir')});
new_scheduler();
session_sql($node, $db, 'heir', q{SELECT jobsched.resume_job('inherited')});
is(ended($batch), 'failed child_failed', 'a batch of a job that has got another owner');
like(psql("SELECT error FROM jobsched.runs WHERE run_id = $batch"), qr/^run \d+ has failed$/, 'does not name what is the new one\'s');

# A dropped job whose last run is a batch: nothing of it stays in the scheduler.
sub jobs_in_memory
{
	my $from = log_size($node);
	my $used;

	psql('SELECT pg_log_backend_memory_contexts(' . scheduler_pid($node, $db) . ')');
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		($used) = log_since($node, $from) =~ /jobsched jobs: .*; (\d+) used/;
		last if defined $used;
		usleep(100_000);
	}
	return $used;
}

my $used = jobs_in_memory();
for my $i (1 .. 5)
{
	app("SELECT jobsched.create_job('dropped', handler => 'app.member'); SELECT jobsched.pause_job('dropped')");
	$batch = batch('dropped', 1200);
	app(q{SELECT jobsched.drop_job('dropped')});
	is(ended($batch), 'failed child_failed', 'its members were cancelled');
}
drained('nothing is left of it');
cmp_ok(jobs_in_memory(), '<=', $used, 'and no job is remembered');

# ------------------------------------------------------------------------
# Many
# ------------------------------------------------------------------------

# The last but one waits until it may go on.
my $mixed = q{ARRAY(SELECT CASE WHEN i % 100 = 0 THEN '{"fails": 1}' WHEN i = 9999 THEN '{"waits": 1}' ELSE '{}' END::jsonb FROM generate_series(1, 10000) i)};

# What happens when some thousand members have ended.
sub many
{
	my ($name, $do) = @_;
	my $gate = close_gate($node, $db);
	my $many = batch('mixed', $mixed, q{on_complete => 'sums'});
	my $last = completion($many);

	wait_until($node, $db, "SELECT count(*) > 2000 FROM jobsched.runs WHERE parent_run_id = $many AND finished_at IS NOT NULL", "$name: members end");
	is(state($many), 'running waiting_for_children', "$name: not all have");
	$do->();
	$gate->{run}->kill_kill;
	is(ended($many), 'failed child_failed', "$name: the batch ends");
	is_total($many, 10000, $name);
	is(psql("SELECT result ->> 'failed', (result ->> 'succeeded')::int + (result ->> 'lost')::int FROM jobsched.runs WHERE run_id = $many"), '100|9900', "$name: with so many failures");
	is(psql("SELECT error FROM jobsched.runs WHERE run_id = $many"), psql("SELECT 'run ' || min(run_id) || ' of job \"mixed\" has failed' FROM jobsched.runs WHERE parent_run_id = $many AND status = 'failed'"),
		"$name: the error names the first") unless psql("SELECT result ->> 'lost' FROM jobsched.runs WHERE run_id = $many");
	is(end_of($node, $db, $last, "status, result -> 0 -> 'totals' ->> 'total'"), 'succeeded|10000', "$name: on_complete knows");
	is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id > $many AND job_name = 'sums'"), '1', "$name: and is there once");
	return drained("$name: nothing is left");
}

many('nothing', sub { });
many('the scheduler ends', sub { new_scheduler() });
many('kill -9 of the scheduler', sub {
	my $pid = scheduler_pid($node, $db);
	end_sessions($node);
	kill 'KILL', $pid;
	wait_connection($node, $db);
	wait_scheduler($node, $db) });
many('kill -9 of a worker', sub {
	my ($pid) = worker_pids($node, $db);
	end_sessions($node);
	kill 'KILL', $pid;
	wait_connection($node, $db);
	wait_scheduler($node, $db) });
many('kill -9 of the server', sub {
	end_sessions($node);
	kill_and_start($node);
	wait_connection($node, $db);
	wait_scheduler($node, $db) });
is(psql(q{SELECT count(*) = count(DISTINCT run_id) AND count(*) = (SELECT count(*) FROM jobsched.runs WHERE job_name = 'mixed' AND source = 'trigger' AND status = 'succeeded')
	FROM app.effect WHERE job = 'mixed'}), 't', 'each member that succeeded has done so once');

# All members have ended, and nobody has counted them; or some have been counted.
$batch = batch('mixed', $mixed, q{on_complete => 'sums'});
$then = completion($batch);
$holder = close_gate($node, $db, "SELECT run_id FROM jobsched_internal.run WHERE run_id = $batch FOR UPDATE");
wait_value($node, $db, "SELECT count(*) FROM jobsched_internal.run WHERE parent_run_id = $batch", '0', 'all members have ended');
is(state($batch), 'running waiting_for_children', 'the batch has not');
end_sessions($node);
$holder->{run}->kill_kill;
kill_and_start($node);
wait_connection($node, $db);
wait_scheduler($node, $db);
is(ended($batch), 'failed child_failed', 'the server is killed: it does then');
is_total($batch, 10000, 'members that ended before');
is(ended($then), 'succeeded', 'and on_complete runs');

# More batches than the scheduler's memory has room for.
set_setting($node, 'jobsched.max_queue_memory', '1 MB');
app(q{SELECT count(jobsched.trigger_batch('held', '{NULL}', 'sums')) FROM generate_series(1, 4000)});
new_scheduler();
my ($first, $last) = split /\|/, psql(q{SELECT min(run_id), max(run_id) FROM jobsched.runs WHERE source = 'batch' AND status = 'running'});
cmp_ok(psql(q{SELECT count(*) FROM jobsched_internal.run}), '==', 12000, 'many batches');
app("SELECT jobsched.cancel_run($last)");
is(ended($last), 'cancelled cancelled', 'one that is in the table only can be cancelled');
app(q{SELECT jobsched.resume_job('held')});
drained('all end');
is(psql("SELECT count(*) FROM jobsched.runs WHERE source = 'batch' AND run_id >= $first AND status = 'succeeded' AND result ->> 'succeeded' = '1'"), '3999', 'with their members');
is(psql("SELECT count(*) FROM jobsched.runs WHERE job_name = 'sums' AND run_id >= $first AND status = 'succeeded'"), '4000', 'and then what waits for them');
app(q{SELECT jobsched.pause_job('held')});
set_setting($node, 'jobsched.max_queue_memory', undef);

# ------------------------------------------------------------------------
# Retention
# ------------------------------------------------------------------------

psql('ALTER SYSTEM SET jobsched.history_retention = \'1 min\'');
psql('ALTER SYSTEM SET jobsched.failure_retention = \'1 min\'');
psql('SELECT pg_reload_conf()');
app(q{SELECT jobsched.resume_job('held')});
$batch = batch('held', q{ARRAY['{}', '{"fails": 1}', '{}']::jsonb[] || array_fill('{"late": 1}'::jsonb, ARRAY[2])}, q{on_complete => 'sums', run_at => now() + interval '1 year'});
$then = completion($batch);
psql("UPDATE jobsched_internal.run SET run_at = now() WHERE parent_run_id = $batch AND NOT args ? 'late'");
new_scheduler();
wait_value($node, $db, "SELECT string_agg(status, ',' ORDER BY run_id) FROM jobsched.runs WHERE parent_run_id = $batch", 'succeeded,failed,succeeded,queued,queued', 'three of five have ended');
my $plain = app(q{SELECT jobsched.trigger('failed')});
ended($plain);

turn_rings($node, $db);
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $plain"), '0', 'a run is forgotten');
is(psql("SELECT count(*) FROM jobsched.runs WHERE parent_run_id = $batch"), '5', 'members are not, while their batch lives');
app("SELECT jobsched.cancel_run(min(run_id)) FROM jobsched.runs WHERE parent_run_id = $batch AND status = 'queued'");
turn_rings($node, $db);
new_scheduler();
psql("UPDATE jobsched_internal.run SET run_at = now() WHERE parent_run_id = $batch");
app(q{SELECT jobsched.pause_job('sums')});
new_scheduler();
is(ended($batch), 'failed child_failed', 'it ends when the last has');
is(psql("SELECT result ->> 'total', result ->> 'succeeded', result ->> 'failed', result ->> 'cancelled' FROM jobsched.runs WHERE run_id = $batch"), '5|3|1|1', 'with all of them in its totals');
turn_rings($node, $db);
turn_rings($node, $db);
is(psql("SELECT count(*) FROM jobsched.runs WHERE parent_run_id = $batch"), '0', 'then members go');
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $batch"), '1', 'the batch stays for on_complete');
app(q{SELECT jobsched.resume_job('sums')});
is(end_of($node, $db, $then, "status, result -> 0 -> 'totals' ->> 'total'"), 'succeeded|5', 'which sees its totals');
turn_rings($node, $db);
turn_rings($node, $db);
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $batch"), '0', 'and then it goes too');
psql('ALTER SYSTEM RESET jobsched.history_retention');
psql('ALTER SYSTEM RESET jobsched.failure_retention');
psql('SELECT pg_reload_conf()');
set_clock($node, $db, undef);

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection|canceling statement due to lock timeout/);
$node->stop;
done_testing();
