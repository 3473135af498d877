# Copyright (c) 2026, jobsched contributors

# Runs that wait for the runs which they have queued: each row of the truth table
# of doc/workflows.md against a model of it; what ends early, and takes its tree
# along; many children, little memory, short retention; kill -9 of each process.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('children', conf => "restart_after_crash = on\nmax_prepared_transactions = 5\n");
my $sink = start_sink($node);

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

sub trigger
{
	my ($job, $more) = @_;
	return app("SELECT jobsched.trigger('$job'" . ($more ? ", $more)" : ')'));
}

# A parent that executes these statements.
sub parent
{
	my ($do, $job) = @_;
	$do =~ s/'/''/g;
	return trigger($job || 'parent', "jsonb_build_object('do', '$do')");
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

sub children
{
	my ($run_id) = @_;
	return psql("SELECT string_agg(concat_ws(' ', status, reason), ', ' ORDER BY run_id) FROM jobsched.runs WHERE parent_run_id = $run_id");
}

sub waits
{
	my ($run_id, $name) = @_;
	return wait_value($node, $db, "SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE run_id = $run_id",
		'running waiting_for_children', $name || 'it waits for its children');
}

sub new_scheduler
{
	my $scheduler = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($scheduler)");
	return wait_new_scheduler($node, $db, $scheduler);
}

app(q{
	CREATE FUNCTION app.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
	CREATE FUNCTION app.parent(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave(args);
		EXECUTE args ->> 'do';
		RETURN '"mine"';
	END $$;
	-- commits what 'do' does, and then does 'then'
	CREATE PROCEDURE app.commits(args jsonb) LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE args ->> 'do';
		COMMIT;
		EXECUTE COALESCE(args ->> 'then', 'SELECT 1');
	END $$;
	SELECT jobsched.create_job('parent', handler => 'app.parent');
	SELECT jobsched.create_job('shares', handler => 'app.parent', share_transaction => true);
	SELECT jobsched.create_job('commits', command => 'CALL app.commits(jobsched.args())', mode => 'autocommit',
		backoff => 'fixed', backoff_base => '0');
	SELECT jobsched.create_job('work', handler => 'app.leave');
	SELECT jobsched.create_job('held', handler => 'app.leave');
	SELECT jobsched.pause_job('held');
	SELECT jobsched.create_job('fail', handler => 'app.fail');
	SELECT jobsched.create_job('sleep', command => 'SELECT pg_sleep(600)', max_concurrency => 2);
	SELECT jobsched.create_job('late', command => 'SELECT pg_sleep(60)', timeout => '20 ms', max_attempts => 1);
	SELECT jobsched.create_job('lose', command => 'SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)',
		mode => 'autocommit', max_attempts => 1)});

# ------------------------------------------------------------------------
# The truth table
# ------------------------------------------------------------------------

# How to queue a child that ends so; one that is cancelled waits for that.
my %child = (
	succeeded => q{jobsched.trigger('work', child => true},
	failed => q{jobsched.trigger('fail', child => true},
	timed_out => q{jobsched.trigger('late', child => true},
	lost => q{jobsched.trigger('lose', child => true},
	cancelled => q{jobsched.trigger('held', '{"cancel": 1}', child => true},
	skipped => q{jobsched.trigger('work', child => true, after => ARRAY[jobsched.trigger('fail', child => true, optional => true)]});
my %fails = map { $_ => 1 } qw(failed timed_out lost cancelled);
my @cases;

for my $job ('parent', 'shares', 'commits')
{
	for my $end (sort keys %child)
	{
		for my $optional ('false', 'true')
		{
			my $run = parent("SELECT $child{$end}, optional => $optional), $child{succeeded})", $job);

			push @cases, [ $run, $fails{$end} && $optional eq 'false' ? 'failed child_failed' : 'succeeded', "$job: a child is $end, optional $optional", $end ];
		}
	}
	my $run = parent("SELECT $child{failed}, optional => true), $child{lost}), $child{failed})", $job);
	push @cases, [ $run, 'failed child_failed', "$job: several fail", 'failed' ];
}
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'held'}, '6', 'children that are to be cancelled');
app(q{SELECT jobsched.cancel_run(run_id) FROM jobsched.runs WHERE job_name = 'held'});
for (@cases)
{
	is(ended($_->[0]), $_->[1], $_->[2]);
	like(children($_->[0]), qr/\b$_->[3]\b/, 'there is such a child');
}
is(psql(q{SELECT count(*) FROM jobsched.runs c JOIN jobsched.runs p ON p.run_id = c.parent_run_id
	WHERE c.status IN ('queued', 'running', 'retrying') OR c.finished_at > p.finished_at}), '0', 'all children had ended before');
is(psql(qq{SELECT regexp_replace(error, '\\d+', 'N') FROM jobsched.runs WHERE run_id = $cases[-1][0]}), 'run N of job "lose" was lost',
	'the error names the first child that is not optional');
is(psql("SELECT result FROM jobsched.runs WHERE run_id = $cases[0][0]"), '"mine"', 'its result is kept');
is(psql("SELECT count(*) FROM jobsched.dead_letters WHERE run_id = $cases[-1][0]"), '1', 'it is a dead letter');
is(psql("SELECT sqlstate FROM jobsched.runs WHERE run_id = $cases[-1][0]"), '', 'it has no SQLSTATE');

# Own ends while children live that an earlier commit has left.
my %own = (
	'failed error 22012' => 'SELECT 1 / 0',
	'failed discarded JS001' => q{SELECT jobsched.discard('enough')},
	'lost worker_died 57P01' => 'SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)',
	'timed_out timeout 57014' => 'SELECT pg_sleep(600)',
	'cancelled cancelled 57014' => 'SELECT pg_sleep(600)');
for my $end (sort keys %own)
{
	my $do = q{SELECT jobsched.trigger('held', child => true), jobsched.trigger('sleep', child => true)};
	my $timeout = $end =~ /timed_out/ ? '1 s' : '10 min';
	my ($quoted, $then) = map { s/'/''/gr } ($do, $own{$end});
	my $run = trigger('commits', "jsonb_build_object('do', '$quoted', 'then', '$then'), timeout => '$timeout', max_attempts => 1");

	if ($end =~ /cancelled/)
	{
		wait_value($node, $db, "SELECT count(*) FROM jobsched.runs WHERE parent_run_id = $run AND status = 'running'", '1', 'a child is executed meanwhile');
		app("SELECT jobsched.cancel_run($run)");
	}
	is(ended($run), $end, "own end: $end");
	wait_value($node, $db, "SELECT string_agg(status || ' ' || reason, ', ') FROM jobsched.runs WHERE parent_run_id = $run",
		'cancelled parent_ended, cancelled parent_ended', "$end: the children are cancelled");
}

# ------------------------------------------------------------------------
# Attempts
# ------------------------------------------------------------------------

my $run = trigger('commits', q{jsonb_build_object('do', 'SELECT jobsched.trigger(CASE jobsched.attempt() WHEN 1 THEN ''held'' ELSE ''work'' END, child => true)',
	'then', 'DO ''BEGIN IF jobsched.attempt() < 3 THEN RAISE ''''again'''' USING ERRCODE = ''''40001''''; END IF; END''')}
	. ', max_attempts => 3');
waits($run, 'a third attempt has succeeded, and waits for the children of all three');
wait_value($node, $db, "SELECT attempt, (SELECT string_agg(status, ',' ORDER BY run_id) FROM jobsched.runs WHERE parent_run_id = $run) FROM jobsched.runs WHERE run_id = $run",
	'3|queued,succeeded,succeeded', 'one lives');
app(q{SELECT jobsched.resume_job('held')});
is(ended($run), 'succeeded', 'and then ends');
is(psql("SELECT string_agg(status, ',' ORDER BY attempt) FROM jobsched.attempts WHERE run_id = $run"), 'failed,failed,succeeded', 'there are three attempts');

app(q{SELECT jobsched.pause_job('held')});
app(q{
	CREATE FUNCTION app.naps(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF jobsched.attempt() < 3 THEN
			PERFORM jobsched.trigger('held', child => true), jobsched.snooze('0', '{"n": 1}');
		END IF;
		RETURN jobsched.state();
	END $$;
	SELECT jobsched.create_job('naps', handler => 'app.naps')});
$run = trigger('naps');
waits($run, 'it has snoozed twice, and waits for the children of these attempts');
is(psql("SELECT attempt FROM jobsched.runs WHERE run_id = $run"), '3', 'in its third attempt');
new_scheduler();
is(state($run), 'running waiting_for_children', 'a successor waits as well');
app(q{SELECT jobsched.resume_job('held')});
is(end_of($node, $db, $run, 'status, result'), 'succeeded|{"n": 1}', 'and then has ended, with its result');
app(q{SELECT jobsched.pause_job('held')});

# ------------------------------------------------------------------------
# Who waits for a parent
# ------------------------------------------------------------------------

app(q{
	CREATE TABLE app.told (run_id bigint, status text, reason text);
	CREATE FUNCTION app.hear(args jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.told VALUES ((args ->> 'run_id')::bigint, args ->> 'status', args ->> 'reason') $$;
	SELECT jobsched.create_job('tells', handler => 'app.parent', on_success => 'app.hear', on_failure => 'app.hear', pause_after_failures => 2)});
$run = parent(q{SELECT jobsched.trigger('held', child => true), jobsched.trigger('fail', child => true)}, 'tells');
my $after = trigger('work', "after => '{$run}', after_when => 'failure'");
waits($run);
wait_value($node, $db, "SELECT count(*) FROM jobsched.runs WHERE parent_run_id = $run AND status = 'failed'", '1', 'a child has failed');
is(state($after), 'queued waiting_for_upstream', 'it has not ended by that: whoever waits for it waits');
is(psql("SELECT count(*) FROM app.told WHERE run_id = $run"), '0', 'and is not told');
app(q{SELECT jobsched.resume_job('held')});
is(ended($run), 'failed child_failed', 'it ends after the last');
is(ended($after), 'succeeded', 'and then those who wait for it start');
wait_value($node, $db, "SELECT status, reason FROM app.told WHERE run_id = $run", 'failed|child_failed', 'and its callback is told, once');
is(ended(parent(q{SELECT jobsched.trigger('fail', child => true)}, 'tells')), 'failed child_failed', 'a second in a row');
wait_value($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'tells'}, 'paused', 'pauses the job');
app(q{SELECT jobsched.pause_job('held')});

# limits, queues, keys, one worker
app(q{SELECT jobsched.set_queue('one', max_running => 1); SELECT jobsched.set_limit('k', max_running => 1)});
app(q{SELECT jobsched.create_job('narrow', handler => 'app.parent', queue => 'one', max_concurrency => 1, keys => '{k:1}')});
$run = parent(q{SELECT jobsched.trigger('narrow', '{"do": "SELECT jobsched.trigger(''narrow'', ''{\"do\": \"SELECT 1\"}'', child => true)"}', child => true)}, 'narrow');
is(ended($run), 'succeeded', 'a parent that waits holds no place that its children need');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'narrow' AND status = 'succeeded'}), '3', 'three generations in a queue for one');
app(q{SELECT jobsched.pause_job('held')});
$run = parent(q{SELECT jobsched.trigger('held', child => true)}, 'narrow');
waits($run);
is(psql(q{SELECT running, waiting FROM jobsched.queues WHERE name = 'one'}), '0|0', 'view queues counts it nowhere');
is(psql(q{SELECT count(*) FROM jobsched.running}), '0', 'no worker has it');

# keys of idempotency
is(trigger('narrow', q{idempotency_key => 'x', on_conflict => 'error'}) > 0, 1, 'another run, with a key');
$after = app(q{SELECT jobsched.trigger('narrow', '{"do": "SELECT jobsched.trigger(''held'', child => true)"}', idempotency_key => 'y')});
waits($after);
my $second = app(q{SELECT jobsched.trigger('narrow', '{"do": "SELECT 1"}', idempotency_key => 'y', on_conflict => 'replace')});
is(ended($second), 'succeeded', 'its key can be taken');
is(state($after), 'running waiting_for_children', 'but what has been executed is not replaced');
is(app(q{SELECT jobsched.cancel_runs(job => 'narrow', status => 'running')}), '2', 'cancel_runs() sees both as running');
is(ended($_), 'cancelled cancelled', 'they are cancelled') for ($run, $after);

# ------------------------------------------------------------------------
# Overlap
# ------------------------------------------------------------------------

for my $overlap ('skip', 'queue', 'replace')
{
	app(qq{SELECT jobsched.create_job('slots_$overlap', handler => 'app.parent', args => '{"do": "SELECT jobsched.trigger(''held'', child => true)"}',
		schedule => 'every 1 second', overlap => '$overlap')});
	wait_until($node, $db, qq{SELECT count(*) = 1 FROM jobsched.runs WHERE job_name = 'slots_$overlap' AND reason = 'waiting_for_children'}, "$overlap: the run of a slot waits");
	$run = psql(qq{SELECT run_id FROM jobsched.runs WHERE job_name = 'slots_$overlap' AND reason = 'waiting_for_children' LIMIT 1});
	if ($overlap eq 'replace')
	{
		is(ended($run), 'cancelled replaced', 'replace: the next slot takes its place');
		is(children($run), 'cancelled parent_ended', 'replace: its child goes with it');
	}
	else
	{
		wait_until($node, $db, qq{SELECT count(*) = 1 FROM jobsched.runs WHERE job_name = 'slots_$overlap' AND reason = 'waiting_for_run'}, 'queue: the next one waits') if $overlap eq 'queue';
		usleep(2_500_000) if $overlap eq 'skip';
		is(psql(qq{SELECT count(*) FROM jobsched.runs WHERE job_name = 'slots_$overlap' AND attempt > 0}), '1', "$overlap: no other has started");
		app(qq{SELECT jobsched.alter_job('slots_$overlap', enabled => false)});
		app("SELECT jobsched.cancel_run($run)");
		is(ended($run), 'cancelled cancelled', "$overlap: it is cancelled");
		wait_until($node, $db, qq{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'slots_$overlap' AND reason = 'overlap'}, 'skip: slots were passed over') if $overlap eq 'skip';
		app(qq{SELECT jobsched.alter_job('slots_$overlap', enabled => true)});
		wait_until($node, $db, qq{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'slots_$overlap' AND attempt > 0 AND run_id > $run}, "$overlap: and the next starts");
	}
	app(qq{SELECT jobsched.drop_job('slots_$overlap', cancel_running => true)});
	wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, "$overlap: the job and all that it has begun are gone");
}

# ------------------------------------------------------------------------
# Trees that end early
# ------------------------------------------------------------------------

# Of three generations: each of three has three, half of which are executed.
app(q{
	CREATE FUNCTION app.tree(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		depth int := (args ->> 'depth')::int;
	BEGIN
		IF depth = 0 THEN
			PERFORM jobsched.trigger('sleep', child => true), jobsched.trigger('held', child => true),
				jobsched.trigger('work', child => true, after => ARRAY[jobsched.trigger('held', child => true)]);
		ELSE
			PERFORM jobsched.trigger_many('tree', array_fill(jsonb_build_object('depth', depth - 1), ARRAY[3]), priority => 10, child => true);
		END IF;
	END $$;
	SELECT jobsched.create_job('tree', handler => 'app.tree')});

sub grown
{
	my $root = trigger('tree', q{'{"depth": 2}'});
	wait_until($node, $db, qq{SELECT count(*) = 13 FROM jobsched.runs WHERE run_id >= $root AND reason = 'waiting_for_children'}, 'a tree has grown');
	wait_until($node, $db, qq{SELECT count(*) > 0 FROM jobsched.runs WHERE run_id > $root AND job_name = 'sleep' AND status = 'running'}, 'some of it is executed');
	return $root;
}

sub felled
{
	my ($root, $reason, $name) = @_;
	is(ended($root), "cancelled $reason", "$name: the root");
	is(psql("SELECT status, reason, count(*) FROM jobsched.runs WHERE run_id > $root GROUP BY 1, 2"), 'cancelled|parent_ended|48', "$name: all others, before it");
	return is(psql("SELECT count(*) FROM jobsched.runs c JOIN jobsched.runs p ON p.run_id = c.parent_run_id WHERE p.run_id >= $root AND c.finished_at > p.finished_at"),
		'0', "$name: children first");
}

my $root = grown();
app("SELECT jobsched.cancel_run($root)");
felled($root, 'cancelled', 'cancel_run()');

$root = grown();
app("SELECT jobsched.cancel_run($root)");
new_scheduler();
felled($root, 'cancelled', 'cancel_run(), and the scheduler ends');

$root = grown();
app("SELECT jobsched.cancel_run($root)");
end_sessions($node);
kill_and_start($node);
wait_scheduler($node, $db);
felled($root, 'cancelled', 'cancel_run(), and the server is killed');

$root = grown();
my $middle = psql("SELECT min(run_id) FROM jobsched.runs WHERE parent_run_id = $root");
app("SELECT jobsched.cancel_run($middle)");
is(ended($middle), 'cancelled cancelled', 'one in the middle is cancelled');
is(state($root), 'running waiting_for_children', 'the root waits for the others');
app(q{SELECT jobsched.drop_job('tree', cancel_running => true)});
is(ended($root), 'cancelled job_dropped', 'its job is dropped with cancel_running');
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'and nothing is left');
app(q{SELECT jobsched.create_job('tree', handler => 'app.tree')});

# drop_job() without
$run = parent(q{SELECT jobsched.trigger('held', child => true)}, 'narrow');
waits($run);
app(q{SELECT jobsched.drop_job('narrow')});
usleep(300_000);
is(state($run), 'running waiting_for_children', 'its job is dropped: it goes on waiting');
new_scheduler();
is(state($run), 'running waiting_for_children', 'for a successor too');
app(q{SELECT jobsched.resume_job('held')});
is(ended($run), 'succeeded', 'and ends as its children do');
app(q{SELECT jobsched.pause_job('held')});
app(q{SELECT jobsched.create_job('brief', handler => 'app.leave'); SELECT jobsched.pause_job('brief')});
$run = parent(q{SELECT jobsched.trigger('brief', child => true)});
waits($run);
app(q{SELECT jobsched.drop_job('brief')});
is(ended($run), 'failed child_failed', "a child's job is dropped: it has failed");

# A child that is being cancelled queues more, and commits that.
app(q{
	CREATE PROCEDURE app.stubborn() LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN
			PERFORM pg_sleep(600);
		EXCEPTION WHEN query_canceled THEN
			PERFORM jobsched.trigger('held', child => true), jobsched.trigger('work', child => true);
		END;
		COMMIT;
		PERFORM pg_sleep(1);
	END $$;
	SELECT jobsched.create_job('stubborn', command => 'CALL app.stubborn()', mode => 'autocommit')});
$run = parent(q{SELECT jobsched.trigger('stubborn', child => true)});
wait_until($node, $db, "SELECT count(*) = 1 FROM jobsched.runs r JOIN jobsched.running USING (run_id) WHERE parent_run_id = $run", 'a child is executed');
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'its parent is cancelled');
is(children($run), 'cancelled parent_ended', 'and so is it');
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'what it has queued ends too');
is(psql(qq{SELECT count(*) FROM jobsched.runs g JOIN jobsched.runs c ON c.run_id = g.parent_run_id WHERE c.parent_run_id = $run AND g.reason IS DISTINCT FROM 'parent_ended'}),
	'0', 'and has not been executed, though its own parent was for a while');

# A parent that somebody has removed.
$run = parent(q{SELECT jobsched.trigger('held', child => true)});
waits($run);
psql("DELETE FROM jobsched_internal.run WHERE run_id = $run");
new_scheduler();
wait_value($node, $db, "SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE parent_run_id = $run", 'cancelled parent_ended', 'children of nobody end');

# A row that somebody holds.
$run = parent(q{SELECT jobsched.trigger('held', child => true)});
waits($run);
my $holder = close_gate($node, $db, "SELECT run_id FROM jobsched_internal.run WHERE run_id = $run FOR UPDATE");
app("SELECT jobsched.cancel_run($run)");
wait_value($node, $db, "SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE parent_run_id = $run", 'cancelled parent_ended', 'its child has ended');
is(ended(trigger('work')), 'succeeded', 'somebody holds the row of a parent: others go on');
is(state($run), 'running waiting_for_children', 'it cannot end');
$holder->query_safe('COMMIT');
$holder->quit;
is(ended($run), 'cancelled cancelled', 'until that is over');

# ------------------------------------------------------------------------
# HTTP requests, prepared transactions
# ------------------------------------------------------------------------

$run = parent(qq{SELECT jobsched.http_get('$sink->{url}/a', child => true), jobsched.http_post('$sink->{url}/b', child => true)});
is(ended($run), 'succeeded', 'requests, the first of a role, as children');
is(children($run), 'succeeded, succeeded', 'they were sent');
$run = parent(qq{SELECT jobsched.http_get('$sink->{url}/status/404', child => true)});
is(ended($run), 'failed child_failed', 'one that is no success');

# The first request of a role waits for its job, whose name somebody is taking.
psql(q{CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA jobsched, app TO other; GRANT EXECUTE ON FUNCTION jobsched.http_request TO other});
session_sql($node, $db, 'other', q{SELECT jobsched.create_job('asks', command => 'SELECT jobsched.http_get(jobsched.args() ->> ''url'', child => true)')});
$holder = $node->background_psql($db, extra_params => [ '-U', 'other' ]);
$holder->query_safe(q{BEGIN; SELECT jobsched.create_job('http', command => 'SELECT 1')});
$run = session_sql($node, $db, 'other', "SELECT jobsched.trigger('asks', jsonb_build_object('url', '$sink->{url}/unwanted'))");
waits($run);
session_sql($node, $db, 'other', "SELECT jobsched.cancel_run($run)");
my $plain = trigger('work');
is(ended($plain), 'succeeded', 'the scheduler has seen that');
$holder->query_safe('ROLLBACK');
$holder->quit;
is(ended($run), 'cancelled cancelled', 'a parent is cancelled whose child has no job yet');
is(children($run), 'cancelled parent_ended', 'and so is the child');
is(scalar(grep { $_->{path} eq '/unwanted' } requests($sink)), 0, 'it was not sent');

# The next attempt is a request.
app(q{SELECT jobsched.create_job('turns', command => 'CALL app.commits(jobsched.args())', mode => 'autocommit',
	backoff => 'fixed', backoff_base => '1 day', backoff_max => '1 day', backoff_jitter => 0)});
$run = trigger('turns', q{jsonb_build_object('do', 'SELECT jobsched.trigger(''held'', child => true)',
	'then', 'DO ''BEGIN RAISE ''''again'''' USING ERRCODE = ''''40001''''; END'''), max_attempts => 3});
wait_value($node, $db, "SELECT status FROM jobsched.runs WHERE run_id = $run", 'retrying', 'an attempt has left a child');
app("SELECT jobsched.alter_job('turns', url => '$sink->{url}/turn')");
set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + interval '25 h'}));
waits($run, 'the next one was sent, and waits for the child');
app("SELECT jobsched.cancel_run(run_id) FROM jobsched.runs WHERE parent_run_id = $run");
is(ended($run), 'failed child_failed', 'and ends as that does');
set_clock($node, $db, undef);

# A limit that is lowered.
$run = parent(q{SELECT jobsched.trigger('held', child => true)});
waits($run);
psql("UPDATE jobsched_internal.run SET result = to_jsonb(repeat('x', 5000)) WHERE run_id = $run");
set_setting($node, 'jobsched.max_result_size', '1 kB');
app("SELECT jobsched.cancel_run(run_id) FROM jobsched.runs WHERE parent_run_id = $run");
is(ended($run), 'failed child_failed', 'a parent whose result has become too large');
is(psql("SELECT length(result ->> 0), args ? 'do' FROM jobsched.runs WHERE run_id = $run"), '5000|t', 'keeps result and arguments');
set_setting($node, 'jobsched.max_result_size', undef);

$run = psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger('parent', '{"do": "SELECT jobsched.trigger(''work'', child => true)"}'); PREPARE TRANSACTION 'p'});
psql(q{COMMIT PREPARED 'p'});
is(ended($run), 'succeeded', 'a parent of a prepared transaction');
is(children($run), 'succeeded', 'its child');

# ------------------------------------------------------------------------
# Other roles, keys, and what comes too late
# ------------------------------------------------------------------------

psql(q{CREATE ROLE mallory LOGIN; GRANT CREATE ON DATABASE postgres TO mallory; GRANT USAGE ON SCHEMA app TO mallory; GRANT USAGE ON SCHEMA jobsched TO mallory});
session_sql($node, $db, 'mallory', q{
	CREATE SCHEMA mal;
	CREATE FUNCTION mal.parent(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE args ->> 'do'; END $$;
	CREATE FUNCTION mal.heard(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
	CREATE FUNCTION mal.holds() RETURNS bigint LANGUAGE sql SECURITY DEFINER
		AS $$ SELECT jobsched.trigger('mal-held', child => true) $$;
	GRANT USAGE ON SCHEMA mal TO PUBLIC;
	SELECT jobsched.create_job('mal-parent', handler => 'mal.parent');
	SELECT jobsched.create_job('mal-held', handler => 'mal.parent');
	SELECT jobsched.pause_job('mal-held')});

sub refusal
{
	my ($run_id) = @_;
	ended($run_id);
	return psql("SELECT sqlstate || ' ' || error FROM jobsched.runs WHERE run_id = $run_id");
}

my $secret = trigger('held');
$run = session_sql($node, $db, 'mallory', "SELECT jobsched.trigger('mal-parent', jsonb_build_object('do',
	'SELECT jobsched.trigger(''mal-held'', child => true, after => ''{$secret}'')'))");
is(refusal($run), "42704 run $secret does not exist", 'who may not see a run does not learn that it lives');
$run = parent("SELECT jobsched.trigger('work', child => true, after => '{$secret}')");
is(refusal($run), "22023 a child cannot wait for run $secret", 'its owner does');
$run = parent('SELECT mal.holds()');
is(refusal($run), "42501 permission denied to make a child of run $run", 'a function with fewer rights cannot hold up a run');

app(q{SELECT jobsched.trigger('held', idempotency_key => 'kept')});
$run = parent("SELECT jobsched.trigger('held', idempotency_key => 'kept', child => true, after => '{$secret}')");
is(ended($run), 'succeeded', 'a key that finds a run makes child and after mean nothing');

# The function is the new owner's, the result is the old one's.
app(q{SELECT jobsched.create_job('given', handler => 'app.parent', on_failure => 'mal.heard')});
$run = parent(q{SELECT jobsched.trigger('held', child => true)}, 'given');
waits($run);
psql(q{GRANT mallory TO app; SELECT jobsched.alter_job('given', owner => 'mallory')});
app("SELECT jobsched.cancel_run(run_id) FROM jobsched.runs WHERE parent_run_id = $run");
is(ended($run), 'failed child_failed', 'a run whose job has another owner by now ends as ever');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE handler = 'mal.heard'}), '0', 'and the new owner is not told');
psql('REVOKE mallory FROM app');

# One deferred trigger defers another, which is fired when it is too late.
app(q{
	CREATE TABLE app.first (what text);
	CREATE TABLE app.second (what text);
	CREATE FUNCTION app.defer() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN SET CONSTRAINTS ALL DEFERRED; INSERT INTO app.second VALUES (new.what); RETURN NULL; END $$;
	CREATE FUNCTION app.late() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN EXECUTE new.what; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER t AFTER INSERT ON app.first DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.defer();
	CREATE CONSTRAINT TRIGGER t AFTER INSERT ON app.second DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.late()});
for (q{SELECT jobsched.trigger('work', child => true)}, q{SELECT jobsched.snooze('1 h')})
{
	my $quoted = s/'/''/gr;
	my $what = /child/ ? 'child' : 'snooze()';

	$run = parent("INSERT INTO app.first VALUES ('$quoted')");
	is(refusal($run), "JS055 $what comes too late: the work of run $run is done", "$what while the run commits");
}
$run = parent(q{INSERT INTO app.second VALUES ('SELECT jobsched.trigger(''fail'', child => true)')});
is(ended($run), 'failed child_failed', 'a deferred trigger as such is in time');
psql(q{SELECT jobsched.cancel_run(run_id) FROM jobsched.runs WHERE status = 'queued'});
wait_until($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'nothing is left of these');

# ------------------------------------------------------------------------
# Many
# ------------------------------------------------------------------------

$run = parent(q{SELECT count(*) FROM jobsched.trigger_many('work', array_fill('{}'::jsonb, ARRAY[10000]), child => true)});
is(ended($run), 'succeeded', '10,000 children');
is(psql("SELECT count(*), count(DISTINCT run_id) FROM app.effect JOIN jobsched.runs USING (run_id) WHERE parent_run_id = $run"), '10000|10000', 'each once');
is(psql("SELECT status, count(*) FROM jobsched.runs WHERE parent_run_id = $run GROUP BY 1"), 'succeeded|10000', 'all are found by their parent');
like(psql("EXPLAIN SELECT run_id FROM jobsched.runs WHERE parent_run_id = $run"), qr/run_parent.*history_000_parent_run_id_run_id_idx/s, 'by an index');

$run = parent(q{SELECT count(*) FROM jobsched.trigger_many('work', array_fill('{}'::jsonb, ARRAY[100001]), child => true)});
is(ended($run), 'failed error JS054', '100,001 are too many');
is(psql("SELECT error FROM jobsched.runs WHERE run_id = $run"), "run $run cannot have more than 100000 children", 'as it says');

# A queue that is larger than what its role may have of the scheduler's memory:
# behind runs that wait for the parent are the children that it waits for.
set_setting($node, 'jobsched.max_queue_memory', '1 MB');
$run = app(q{SELECT jobsched.trigger('parent', '{"do": "SELECT count(*) FROM jobsched.trigger_many(''work'', array_fill(''{}''::jsonb, ARRAY[500]), child => true)"}', run_at => now() + '1 s')});
app("SELECT count(*) FROM jobsched.trigger_many('work', array_fill('{}'::jsonb, ARRAY[3000]), after => '{$run}')");
is(ended($run), 'succeeded', 'children that have no room do not keep their parent');
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'and those who wait for it run');
my @parents = map { parent(q{SELECT count(*) FROM jobsched.trigger_many('work', array_fill('{}'::jsonb, ARRAY[300]), child => true)}) } 1 .. 20;
new_scheduler();
is(ended($_), 'succeeded', 'many that are larger than the memory together') for @parents;
$run = parent(q{SELECT count(*) FROM jobsched.trigger_many('held', array_fill('{}'::jsonb, ARRAY[5000]), child => true)});
waits($run);
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'a parent whose children are not all in memory is cancelled');
is(psql("SELECT status, reason, count(*) FROM jobsched.runs WHERE parent_run_id = $run GROUP BY 1, 2"), 'cancelled|parent_ended|5000', 'with all of them');
# Parents take memory too, also if their children take that of others.
app(qq{SELECT jobsched.create_job('hook', url => '$sink->{url}/hook'), jobsched.pause_job('hook');
	CREATE FUNCTION app.hooks(args jsonb) RETURNS void LANGUAGE sql AS \$\$ SELECT jobsched.trigger('hook', child => true) \$\$;
	SELECT jobsched.create_job('hooks', handler => 'app.hooks', share_transaction => true)});
app(q{SELECT count(*) FROM jobsched.trigger_many('hooks', array_fill('{}'::jsonb, ARRAY[8000]))});
wait_until($node, $db, q{SELECT count(*) > 3000 FROM jobsched_internal.run WHERE status = 'waiting'}, 'many parents wait');
is(ended(session_sql($node, $db, 'other', q{SELECT jobsched.trigger('asks', '{}')})), 'failed error 22004', 'another role has its own memory');
cmp_ok(psql(q{SELECT count(*) FROM jobsched_internal.run WHERE status = 'waiting'}), '<', 5000,
	'not as many as there are: what is in memory twice, once as runs and once as parents');
new_scheduler();
app(q{SELECT jobsched.drop_job('hook')});
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'all of them end');
is(psql(q{SELECT status, count(*) FROM jobsched.runs WHERE job_name = 'hooks' GROUP BY 1}), 'failed|8000', 'each once');
set_setting($node, 'jobsched.max_queue_memory', undef);

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

make_gate($node, $db, 'app');
app(q{
	CREATE FUNCTION app.gated(args jsonb) RETURNS void LANGUAGE sql AS $$
		SELECT app.leave(args);
		SELECT id FROM public.gate FOR SHARE
	$$;
	SELECT jobsched.create_job('gated', handler => 'app.gated')});

for my $victim ('scheduler', 'worker', 'postmaster')
{
	my $gate = close_gate($node, $db);
	my $good = parent(q{SELECT jobsched.trigger('held', child => true), jobsched.trigger('fail', child => true, optional => true)});
	my $bad = parent(q{SELECT jobsched.trigger('gated', child => true), jobsched.trigger('fail', child => true)});
	my $self = parent(q{SELECT jobsched.trigger('work', child => true), (SELECT id FROM public.gate FOR SHARE)});
	my $grand = parent(q{SELECT jobsched.trigger('parent', '{"do": "SELECT jobsched.trigger(''gated'', child => true)"}', child => true)});
	my $stopped = parent(q{SELECT jobsched.trigger('gated', child => true)});
	my $old = scheduler_pid($node, $db);

	waits($_, "$victim: one waits") for ($good, $bad, $grand, $stopped);
	wait_at_gate($node, $db, $self);
	wait_at_gate($node, $db, psql("SELECT max(run_id) FROM jobsched.runs WHERE parent_run_id = $bad AND job_name = 'gated'"));
	app("SELECT jobsched.cancel_run($stopped)") if $victim ne 'worker';
	if ($victim eq 'postmaster')
	{
		end_sessions($node);
		$gate->{run}->kill_kill;
		kill_and_start($node);
	}
	else
	{
		my $pid = $victim eq 'scheduler' ? $old : (split /\n/, psql(q{SELECT worker_pid FROM jobsched.running}))[0];

		end_sessions($node);
		kill 'KILL', $pid;
		$gate->{run}->kill_kill;
	}
	wait_connection($node, $db);
	wait_scheduler($node, $db);
	is(ended($bad), 'failed child_failed', "$victim: the failure of a child is not forgotten");
	is(ended($self), 'succeeded', "$victim: a parent that was executed is executed once more");
	is(children($self), 'succeeded', "$victim: and has one child, not two");
	is(ended($grand), 'succeeded', "$victim: three generations");
	is(ended($stopped), $victim eq 'worker' ? 'succeeded' : 'cancelled cancelled', "$victim: the one that was cancelled is");
	is(state($good), 'running waiting_for_children', "$victim: one goes on waiting");
	app(q{SELECT jobsched.resume_job('held')});
	is(ended($good), 'succeeded', "$victim: until its last child has ended");
	app(q{SELECT jobsched.pause_job('held')});
	wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, "$victim: nothing is left");
	check_exactly_once($node, $db, "$victim: each once", q{'gated','work','held'});
}

# The last child has ended while there was nobody to notice.
$run = parent(q{SELECT jobsched.trigger('held', child => true)});
waits($run);
psql(q{SELECT jobsched.stop_processing()});
end_sessions($node);
$node->restart;
wait_scheduler($node, $db);
is(state($run), 'running waiting_for_children', 'after a restart it waits');
psql("DELETE FROM jobsched_internal.run WHERE parent_run_id = $run");
psql(q{SELECT jobsched.start_processing()});
new_scheduler();
is(ended($run), 'succeeded', 'a child that is nowhere is not waited for');

# ------------------------------------------------------------------------
# Retention
# ------------------------------------------------------------------------

psql('ALTER SYSTEM SET jobsched.history_retention = \'1 min\'');
psql('ALTER SYSTEM SET jobsched.failure_retention = \'1 min\'');
psql('SELECT pg_reload_conf()');
$run = parent(q{SELECT jobsched.trigger('work', child => true), jobsched.trigger('fail', child => true), jobsched.trigger('held', child => true)});
waits($run);
wait_value($node, $db, "SELECT string_agg(status, ',' ORDER BY run_id) FROM jobsched.runs WHERE parent_run_id = $run", 'succeeded,failed,queued', 'two of three have ended');
$plain = trigger('fail');
ended($plain);

turn_rings($node, $db);
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $plain"), '0', 'a run is forgotten');
is(children($run), 'succeeded, failed error, queued job_paused', 'children are not, while their parent lives');
turn_rings($node, $db);
new_scheduler();
app(q{SELECT jobsched.resume_job('held')});
is(ended($run), 'failed child_failed', 'so it knows how they have ended');
like(children($run), qr/^succeeded, failed error, succeeded$/, 'and so does whoever looks');
turn_rings($node, $db);
turn_rings($node, $db);
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $run OR parent_run_id = $run"), '0', 'then they go together');
psql('ALTER SYSTEM RESET jobsched.history_retention');
psql('ALTER SYSTEM RESET jobsched.failure_retention');
psql('SELECT pg_reload_conf()');
set_clock($node, $db, undef);

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection|canceling statement due to lock timeout/);
$node->stop;
done_testing();
