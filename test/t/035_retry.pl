# Copyright (c) 2026, jobsched contributors

# Attempts that fail are followed by others, at the time that the job's policy
# says and not before, whatever becomes meanwhile of the scheduler, the server,
# the clock and the job.  Each attempt has its record, none its effect twice.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('retry', conf => q{
jobsched.history_retention = '7300d'
jobsched.failure_retention = '7300d'
jobsched.timezone = 'UTC'
timezone = 'UTC'
restart_after_crash = on
});
create_extension($node, $db);
define_clock($node, $db);
effects_schema($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

sub app
{
	my ($sql) = @_;
	return sql_as($node, $db, 'app', $sql);
}

# What became of a run: status and number of attempts.
sub ended
{
	my ($run_id) = @_;
	return psql("SELECT concat_ws(' ', status, reason, attempt) FROM jobsched.runs WHERE run_id = $run_id");
}

sub attempts
{
	my ($run_id) = @_;
	return psql("SELECT string_agg(concat_ws(' ', status, reason), ', ' ORDER BY attempt) FROM jobsched.attempts WHERE run_id = $run_id");
}

sub wait_retrying
{
	my ($run_id, $attempt) = @_;
	return wait_until($node, $db, "SELECT status = 'retrying' AND attempt = $attempt FROM jobsched.runs WHERE run_id = $run_id",
		"run $run_id waits for attempt " . ($attempt + 1));
}

# Fails until the attempt that its arguments say.
app(q{CREATE FUNCTION app.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave(args);
		IF jobsched.attempt() < COALESCE((args ->> 'until')::int, 1000) THEN
			RAISE EXCEPTION 'not yet' USING ERRCODE = '40001';
		END IF;
	END $$});

# ------------------------------------------------------------------------
# When
# ------------------------------------------------------------------------

# How long a run of the job waits after each failure, in seconds: the clock
# is set to when the next attempt is to begin, again and again.
sub waits
{
	my ($job, $n) = @_;
	my $run_id = app("SELECT jobsched.trigger('$job')");

	for my $attempt (1 .. $n)
	{
		wait_retrying($run_id, $attempt);
		set_clock($node, $db, psql("SELECT run_at FROM jobsched.runs WHERE run_id = $run_id"));
	}
	wait_retrying($run_id, $n + 1);
	app("SELECT jobsched.cancel_run($run_id)");
	wait_run_state($node, $db, $run_id, 'cancelled');
	is(psql("SELECT count(*) FROM jobsched.attempts a JOIN jobsched.attempts b USING (run_id)
		WHERE run_id = $run_id AND b.attempt = a.attempt + 1 AND b.started_at < a.retry_at"), '0', 'none began before its time');
	return psql("SELECT string_agg(extract(epoch FROM retry_at - finished_at)::float8::text, ' ' ORDER BY attempt)
		FROM jobsched.attempts WHERE run_id = $run_id");
}

set_clock($node, $db, '2030-05-01 12:00:00+00');
app(q{SELECT jobsched.create_job('waits', handler => 'app.fail', max_attempts => 1000, backoff_jitter => 0)});
is(waits('waits', 8), '10 30 90 270 810 2430 3600 3600 3600', 'exponential: from 10 s by 3 up to an hour');
app(q{SELECT jobsched.alter_job('waits', backoff => 'linear', backoff_base => '7 s', backoff_max => '30 s')});
is(waits('waits', 5), '7 14 21 28 30 30', 'linear');
app(q{SELECT jobsched.alter_job('waits', backoff => 'fixed')});
is(waits('waits', 2), '7 7 7', 'fixed');
app(q{SELECT jobsched.alter_job('waits', retry_delays => '{1 s,1 day,3 s}', backoff_jitter => 0.5)});
is(waits('waits', 4), '1 86400 3 3 3', 'a list, whose last element holds on, without jitter');
app(q{SELECT jobsched.alter_job('waits', retry_delays => '{}', backoff_base => '100 s', backoff_max => '100 s', backoff_jitter => 0.2)});
my @jittered = split / /, waits('waits', 9);
is(scalar(grep { $_ <= 80 || $_ > 100 } @jittered), 0, "jitter takes away a fifth at most (@jittered)");
cmp_ok(scalar(keys %{ { map { $_ => 1 } @jittered } }), '>', 5, 'each time another share');
set_clock($node, $db, undef);

# ------------------------------------------------------------------------
# Across restarts
# ------------------------------------------------------------------------

app(q{SELECT jobsched.create_job('later', handler => 'app.fail', args => '{"until": 3}', retry_delays => '{1 hour,1 hour}')});
set_clock($node, $db, '2030-06-01 12:00:00+00');
my $run_id = app(q{SELECT jobsched.trigger('later')});
wait_retrying($run_id, 1);
my $due = psql("SELECT run_at FROM jobsched.runs WHERE run_id = $run_id");
is($due, '2030-06-01 13:00:00+00', 'it waits for an hour') unless $due =~ /\./;
my $scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
is(psql("SELECT concat_ws(' ', status, attempt, run_at = '$due') FROM jobsched.runs WHERE run_id = $run_id"), 'retrying 1 t',
	'another scheduler waits as long');
set_clock($node, $db, $due);
wait_retrying($run_id, 2);
$node->stop('immediate');
$node->start;
wait_scheduler($node, $db);
is(ended($run_id), 'retrying error 2', 'so it does after a crash');
set_clock($node, $db, '2030-06-02 12:00:00+00');
wait_run_state($node, $db, $run_id, 'succeeded');
is(attempts($run_id), 'failed error, failed error, succeeded', 'its attempts');
check_exactly_once($node, $db, 'with one effect', q{'later'});
set_clock($node, $db, undef);

# ------------------------------------------------------------------------
# Lost workers, and timeouts
# ------------------------------------------------------------------------

app(q{SELECT jobsched.create_job('crashes', command => 'SELECT pg_sleep(600)', backoff_base => '1 hour')});
$run_id = app(q{SELECT jobsched.trigger('crashes')});
for my $attempt (1 .. 2)
{
	wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running WHERE run_id = $run_id AND attempt = $attempt)", "attempt $attempt is executed");
	# A claim is sure to be on disk once something else is.
	psql('CREATE TABLE on_disk (); DROP TABLE on_disk');
	$node->stop('immediate');
	$node->start;
	wait_scheduler($node, $db);
}
is(psql("SELECT concat_ws(' ', status, reason, attempt, run_at > now() + interval '30 min') FROM jobsched.runs WHERE run_id = $run_id"),
	'retrying server_restarted 2 t', 'executed at two crashes in a row it waits, and says why');
app("SELECT jobsched.cancel_run($run_id)");
wait_run_state($node, $db, $run_id, 'cancelled');
is(attempts($run_id), 'lost server_restarted, lost server_restarted', 'both have their records');

make_gate($node, $db, 'app');

sub terminate
{
	my ($pid) = @_;
	return psql("SELECT pg_terminate_backend($pid)");
}

app(q{
	SELECT jobsched.create_job('at gate', command => 'SELECT app.leave(NULL); SELECT id FROM gate FOR UPDATE',
		backoff_base => '1 ms', backoff_jitter => 0);
	SELECT jobsched.create_job('apart', mode => 'autocommit', command => 'SELECT app.leave(NULL); SELECT id FROM gate FOR UPDATE',
		backoff_base => '1 ms')});
my $gate = close_gate($node, $db);
$run_id = app(q{SELECT jobsched.trigger('at gate', max_attempts => 1)});
terminate(wait_at_gate($node, $db, $run_id, $_)) for 1 .. 2;
wait_at_gate($node, $db, $run_id, 3);
$gate->quit;
wait_run_state($node, $db, $run_id, 'succeeded');
is(attempts($run_id), 'lost worker_died, lost worker_died, succeeded', 'one that leaves no effect is tried again, and max_attempts does not count that');
is(psql("SELECT count(*) FROM jobsched.attempts WHERE run_id = $run_id AND worker_pid IS NULL"), '0', 'the records know their workers');
is(psql("SELECT error ~ 'terminating' FROM jobsched.attempts WHERE run_id = $run_id AND attempt = 1"), 't', 'and what they said');

$gate = close_gate($node, $db);
$run_id = app(q{SELECT jobsched.trigger('apart')});
terminate(wait_at_gate($node, $db, $run_id, 1));
wait_run_state($node, $db, $run_id, 'lost');
is(ended($run_id), 'lost worker_died 1', 'one that may have left effects is not');
$run_id = app(q{SELECT jobsched.trigger('apart', max_attempts => 2)});
terminate(wait_at_gate($node, $db, $run_id, 1));
wait_at_gate($node, $db, $run_id, 2);
$gate->quit;
wait_run_state($node, $db, $run_id, 'succeeded');
is(attempts($run_id), 'lost worker_died, succeeded', 'unless that is asked for');
is(psql("SELECT count(*) FROM app.effect WHERE run_id = $run_id"), '2', 'with the effects of both');

$gate = close_gate($node, $db);
app(q{SELECT jobsched.alter_job('at gate', backoff_base => '1 ms', timeout => '100 ms')});
$run_id = app(q{SELECT jobsched.trigger('at gate', max_attempts => 100)});
wait_until($node, $db, "SELECT attempt >= 3 FROM jobsched.runs WHERE run_id = $run_id", 'it has timed out twice');
$gate->quit;
wait_run_state($node, $db, $run_id, 'succeeded');
like(attempts($run_id), qr/^(timed_out timeout, ){2,}succeeded$/, 'a timeout is worth another attempt');
$gate = close_gate($node, $db);
$run_id = app(q{SELECT jobsched.trigger('at gate', max_attempts => 2)});
wait_run_state($node, $db, $run_id, 'timed_out');
is(attempts($run_id), 'timed_out timeout, timed_out timeout', 'and the last one tells how the run ended');
$gate->quit;
check_exactly_once($node, $db, 'no effect of an attempt that was cut off', q{'at gate'});

# What a run has left for its next attempt by snooze() outlives workers and servers.
app(q{
	CREATE FUNCTION app.portion(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF jobsched.state() IS NULL THEN
			PERFORM jobsched.snooze('0', '{"portion": 1}');
			RETURN NULL;
		END IF;
		PERFORM jobsched.snooze('0', '{"portion": 2}') WHERE jobsched.state() = '{"portion": 1}';
		PERFORM app.leave(args), id FROM gate FOR UPDATE;
		IF jobsched.attempt() < 7 THEN
			RAISE EXCEPTION 'not yet' USING ERRCODE = '40001';
		END IF;
		RETURN jobsched.state();
	END $$;
	SELECT jobsched.create_job('portions', handler => 'app.portion', backoff_base => '1 ms')});

sub state_of
{
	my ($id) = @_;
	return psql("SELECT concat_ws(' ', status, attempt, state) FROM jobsched_internal.run WHERE run_id = $id");
}

$gate = close_gate($node, $db);
$run_id = app(q{SELECT jobsched.trigger('portions')});
terminate(wait_at_gate($node, $db, $run_id, 2));
wait_at_gate($node, $db, $run_id, 3);
is(state_of($run_id), 'running 3 {"portion": 1}', 'one whose worker is lost keeps its state');
psql('CREATE TABLE on_disk (); DROP TABLE on_disk');
end_sessions($node);
kill_and_start($node);
wait_scheduler($node, $db);
wait_run_state($node, $db, $run_id, 'failed');
is(attempts($run_id), 'snoozed, lost worker_died, lost server_restarted, failed error, failed error, failed error', 'so does one whose server dies, and one that fails');
$gate = close_gate($node, $db);
app(q{SELECT jobsched.alter_job('portions', max_attempts => 7)});
$run_id = app(q{SELECT jobsched.trigger('portions')});
wait_at_gate($node, $db, $run_id, 2);
$gate->quit;
wait_run_state($node, $db, $run_id, 'succeeded');
is(attempts($run_id), 'snoozed, failed error, failed error, failed error, failed error, failed error, snoozed, succeeded', 'one that fails between two portions');
is(psql("SELECT result FROM jobsched.runs WHERE run_id = $run_id"), '{"portion": 2}', 'goes on where it was');
is(psql("SELECT string_agg(attempt::text, ' ' ORDER BY attempt) FROM app.effect WHERE run_id = $run_id"), '7 8', 'with the effects of what succeeded');
$run_id = app(q{SELECT jobsched.trigger('portions', run_at => now() + interval '1 day')});
psql("UPDATE jobsched_internal.run SET state = to_jsonb(repeat('x', 20 * 1024 * 1024)) WHERE run_id = $run_id");
app("SELECT jobsched.cancel_run($run_id)");
wait_run_state($node, $db, $run_id, 'cancelled');
is(ended($run_id), 'cancelled cancelled 0', 'a state that nobody could have given');

# A worker that has recorded that there will be another attempt, and dies.
app(q{SELECT jobsched.create_job('dies after', command => $$SELECT pg_terminate_backend(pg_backend_pid()); SELECT 1/0$$,
	mode => 'autocommit', max_attempts => 3, retry_on => '{all}', backoff_base => '1 ms')});
$run_id = app(q{SELECT jobsched.trigger('dies after')});
wait_run_state($node, $db, $run_id, 'lost');
is(attempts($run_id), join(', ', ('lost worker_died') x 3), 'one that ends its own session, as often as it may');

# ------------------------------------------------------------------------
# What else happens to a job meanwhile
# ------------------------------------------------------------------------

set_clock($node, $db, '2030-07-01 12:00:00+00');
app(q{
	SELECT jobsched.create_job('paused', handler => 'app.fail', args => '{"until": 2}', retry_delays => '{1 min}');
	SELECT jobsched.create_job('dropped', handler => 'app.fail', retry_delays => '{1 min}');
	SELECT jobsched.create_job('altered', handler => 'app.fail', retry_delays => '{1 min}')});
my %run = map { $_ => app("SELECT jobsched.trigger('$_')") } qw(paused dropped altered);
wait_retrying($_, 1) for values %run;
app(q{
	SELECT jobsched.pause_job('paused');
	SELECT jobsched.drop_job('dropped');
	SELECT jobsched.alter_job('altered', command => 'SELECT app.leave(NULL)')});
wait_run_state($node, $db, $run{dropped}, 'cancelled');
is(attempts($run{dropped}), 'failed error', 'a dropped job: its run is not tried again');
is(ended($run{dropped}), 'cancelled job_dropped 1', 'it is cancelled');
set_clock($node, $db, '2030-07-01 12:02:00+00');
wait_run_state($node, $db, $run{altered}, 'succeeded');
is(ended($run{altered}), 'succeeded 2', 'an altered job: the next attempt is of what it is now');
is(ended($run{paused}), 'retrying error 1', 'a paused job: it waits');
app(q{SELECT jobsched.resume_job('paused')});
wait_run_state($node, $db, $run{paused}, 'succeeded');
is(ended($run{paused}), 'succeeded 2', 'until it is resumed');

# A slot that comes while a run of the job waits for another attempt.
app(q{SELECT jobsched.create_job('minutely', '* * * * *', handler => 'app.fail', max_attempts => 2, retry_delays => '{90 s}')});
set_clock($node, $db, '2030-07-01 12:03:00+00');
wait_until($node, $db, q{SELECT EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'minutely' AND status = 'retrying')}, 'it waits');
set_clock($node, $db, '2030-07-01 12:04:00+00');
wait_until($node, $db, q{SELECT next_run_at = '2030-07-01 12:05:00+00' FROM jobsched.jobs WHERE name = 'minutely'}, 'the next slot has come');
set_clock($node, $db, '2030-07-01 12:04:40+00');
wait_until($node, $db, q{SELECT count(*) = 2 FROM jobsched.runs WHERE job_name = 'minutely' AND finished_at IS NOT NULL}, 'both are over');
is(psql(q{SELECT string_agg(concat_ws(' ', to_char(scheduled_for, 'HH24:MI'), status, reason, attempt), ', ' ORDER BY scheduled_for)
	FROM jobsched.runs WHERE job_name = 'minutely'}), '12:03 failed error 2, 12:04 skipped overlap 0', 'is skipped: the run is live');
app(q{SELECT jobsched.drop_job('minutely')});
is(psql(q{SELECT count(*) FROM jobsched.dead_letters WHERE job_name = 'minutely'}), '1', 'a run that has failed for good is a dead letter');

# Retried once, whoever does it at the same time.
app(q{SELECT jobsched.create_job('dead', command => 'SELECT 1/0')});
set_clock($node, $db, undef);
($run_id) = run_job($node, $db, 'dead', role => 'app');
my $one = $node->background_psql($db);
$one->query_safe("BEGIN; SELECT jobsched.retry_run($run_id)");
my $two = $node->background_psql($db, on_error_stop => 0);
$two->query_until(qr/started/, "\\echo started\nSELECT jobsched.retry_run($run_id);\n");
wait_until($node, $db, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'retry_run')}, 'the second one waits');
$one->query_safe('COMMIT');
$two->query('SELECT 1');
like($two->{stderr}, qr/run $run_id has been retried already/, 'and is told that it is done');
$two->quit;
$one->quit;
wait_drained($node, $db);
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'dead' AND source = 'retry'}), '1', 'one run');

# ------------------------------------------------------------------------
# Policies that nobody could have given
# ------------------------------------------------------------------------

app(q{SELECT jobsched.create_job('spoilt', handler => 'app.fail', args => '{"until": 2}', max_attempts => 2)});
for my $spoilt (
	q{backoff_jitter = 'NaN', backoff_base = '-1 day'},
	q{retry_delays = '{NULL}'},
	q{retry_delays = '{-3 months}', retry_on = '{NULL,all}', no_retry_on = '{NULL,"",x}'},
	q{backoff_base = '1000000 years', backoff_max = '1 ms', retry_delays = NULL, retry_on = NULL, no_retry_on = NULL})
{
	psql("UPDATE jobsched_internal.job SET $spoilt, revision = revision + 1 WHERE name = 'spoilt'");
	$scheduler = scheduler_pid($node, $db);
	terminate($scheduler);
	wait_new_scheduler($node, $db, $scheduler);
	($run_id) = run_job($node, $db, 'spoilt', role => 'app');
	like(ended($run_id), qr/^(succeeded 2|failed error 1)$/, "$spoilt: it ends");
}

# Old records go with their segment, and in time what was retried.
cmp_ok(psql(q{SELECT count(*) FROM jobsched_internal.attempt}), '>', 20, 'there are records of attempts');
psql(q{ALTER SYSTEM SET jobsched.failure_retention = '70 s'; SELECT pg_reload_conf()});
for my $step (1 .. 16)
{
	set_clock($node, $db, psql("SELECT timestamptz '2040-01-01' + $step * interval '10 s'"));
	wait_until($node, $db, q{SELECT started_at = jobsched_internal.clock_now() FROM jobsched_internal.ring WHERE ring = 1}, 'the ring has turned');
}
is(psql(q{SELECT (SELECT count(*) FROM jobsched_internal.attempt) || ' ' || (SELECT count(*) FROM jobsched_internal.retried)}), '0 0',
	'attempts are not kept longer than failures');

check_log($node, allow => qr/terminating/);
$node->stop;
done_testing();
