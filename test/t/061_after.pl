# Copyright (c) 2026, jobsched contributors

# Runs that wait for other runs: each cell of the truth table of
# doc/workflows.md, for parents that ended before and parents that end later,
# against a model of it; chains, fan-out and fan-in; kill -9 of each process;
# what is kept beyond the retention; and what happens to jobs meanwhile.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('after', conf => "restart_after_crash = on\nmax_prepared_transactions = 5\n");
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

# Of a run that waits for others.
sub after
{
	my ($job, $when, $parents, $more) = @_;
	return trigger($job, sprintf(q{after => '{%s}', after_when => '%s'%s}, join(',', @$parents), $when, $more ? ", $more" : ''));
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

sub stop { return psql('SELECT jobsched.stop_processing()') }
sub start { return psql('SELECT jobsched.start_processing()') }

app(q{
	CREATE FUNCTION app.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
	CREATE FUNCTION app.give(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT app.leave(args);
		SELECT jsonb_build_object('gave', jobsched.run_id())
	$$;
	CREATE TABLE app.seen (run_id bigint, parent bigint, job text, status text, args jsonb, result jsonb, error text, step text, item integer);
	CREATE FUNCTION app.look(args jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.seen SELECT jobsched.run_id(), u.run_id, u.job_name, u.status, u.args, u.result, u.error, u.step FROM jobsched.upstream() u;
		SELECT app.leave(args)
	$$;
	CREATE FUNCTION app.count(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(count(*)) FROM jobsched.upstream()';
	CREATE FUNCTION app.twice(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF jobsched.attempt() = 1 AND args ? 'snooze' THEN
			PERFORM jobsched.snooze('1 hour');
		ELSIF jobsched.attempt() = 1 THEN
			RAISE 'once more' USING ERRCODE = '40001';
		END IF;
	END $$;
	SELECT jobsched.create_job('give', handler => 'app.give');
	SELECT jobsched.create_job('fail', handler => 'app.fail');
	SELECT jobsched.create_job('late', command => 'SELECT pg_sleep(60)', timeout => '20 ms', max_attempts => 1);
	SELECT jobsched.create_job('lose', command => 'SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)',
		mode => 'autocommit', max_attempts => 1);
	SELECT jobsched.create_job('twice', handler => 'app.twice', backoff => 'fixed', backoff_base => '1 hour');
	SELECT jobsched.create_job('look', handler => 'app.look');
	SELECT jobsched.create_job('count', handler => 'app.count');
	SELECT jobsched.create_job('other', handler => 'app.give')});

# ------------------------------------------------------------------------
# The truth table
# ------------------------------------------------------------------------

# What a run that waits for runs with these ends (S, F, K: skipped) comes to.
sub model
{
	my ($when, @ends) = @_;
	my %seen = map { $_ => 1 } @ends;

	return 'succeeded' if $when eq 'done';
	return 'skipped upstream_failed' if $when eq 'success' && $seen{F};
	return $when eq 'success' ? 'succeeded' : 'skipped upstream_succeeded' if $seen{S} && !$seen{F};
	return $when eq 'failure' && $seen{F} ? 'succeeded' : 'skipped upstream_skipped';
}

my %make = (
	succeeded => sub { trigger('give') },
	failed => sub { trigger('fail') },
	timed_out => sub { trigger('late') },
	lost => sub { trigger('lose') },
	cancelled => sub {
		my $run = trigger('give', q{run_at => now() + interval '1 day'});
		app("SELECT jobsched.cancel_run($run)");
		return $run;
	},
	skipped => sub { after('give', 'success', [ trigger('fail') ]) });
my %letter = (succeeded => 'S', failed => 'F', timed_out => 'F', lost => 'F', cancelled => 'F', skipped => 'K', missed => 'K');
my @whens = ('success', 'failure', 'done');

# Each set of up to three ends.
my @sets;
for my $s (0 .. 3)
{
	for my $f (0 .. 3 - $s)
	{
		for my $k (0 .. 3 - $s - $f)
		{
			push @sets, [ ('S') x $s, ('F') x $f, ('K') x $k ] if $s + $f + $k > 0;
		}
	}
}

for my $phase ('that ended before', 'that end later')
{
	my $before = $phase =~ /before/;
	my %runs;
	my %three;

	stop() unless $before;
	$runs{$_} = $make{$_}->() for sort keys %make;
	$three{S} = [ map { $make{succeeded}->() } 1 .. 3 ];
	$three{F} = [ map { $make{failed}->() } 1 .. 3 ];
	$three{K} = [ map { $make{skipped}->() } 1 .. 3 ];
	if ($before)
	{
		is((split / /, ended($runs{$_}))[0], $_, "there is a run that ends as $_") for sort keys %runs;
		ended($_) for map { @$_ } values %three;
		$runs{missed} = psql(q{
			INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source, run_at, queued_at, finished_at, scheduled_for)
			SELECT nextval('jobsched_internal.run_id_seq'), 100, 0, job_id, 'app'::regrole, 1, 0, 'missed', 'schedule', now(), now(), now(), now()
			FROM jobsched.jobs WHERE name = 'give' RETURNING run_id});
	}

	my @expected;
	for my $when (@whens)
	{
		push @expected, [ after('look', $when, [ $runs{$_} ]), model($when, $letter{$_}), "$when: $_" ] for sort keys %runs;
		for my $set (@sets)
		{
			my %next = (S => 0, F => 0, K => 0);
			my @parents = map { $three{$_}[ $next{$_}++ ] } @$set;

			push @expected, [ after('look', $when, \@parents), model($when, @$set), "$when: @$set" ];
		}
	}
	unless ($before)
	{
		wait_value($node, $db, 'SELECT count(*) FROM jobsched.waiting', scalar(@expected) + @{ $three{K} } + 1 - @whens,
			'they wait, but for those of a parent that is cancelled before it starts');
		start();
	}
	is(ended($_->[0]), $_->[1], "$_->[2], parents $phase") for @expected;
}
is(psql(q{SELECT count(*) FROM jobsched.waiting}), '0', 'nothing waits any more');
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency', '0', 'and nothing is left of it');

# ------------------------------------------------------------------------
# When
# ------------------------------------------------------------------------

my $far = trigger('give', q{run_at => now() + interval '1 day'});
my $failed = trigger('fail');
ended($failed);
my $run = after('give', 'success', [ $failed, $far ]);
is(ended($run), 'skipped upstream_failed', 'what cannot come true any more is known before all parents have ended');
my ($failure, $done) = map { after('give', $_, [ $failed, $far ]) } ('failure', 'done');
my $both = after('give', 'success', [ trigger('give'), $far ]);
wait_value($node, $db, "SELECT status FROM jobsched.runs WHERE run_id = $both - 1", 'succeeded', 'one of two has succeeded');
is(state($_), 'queued waiting_for_upstream', 'otherwise a run waits for all') for ($failure, $done, $both);
is(psql("SELECT job_name, owner, after_when, parents, parent_ids, since < now() FROM jobsched.waiting WHERE run_id = $failure"),
	"give|app|failure|1|{$far}|t", 'and view waiting shows for which');
is(psql("SELECT count(*) FROM jobsched.upcoming WHERE run_id = $failure"), '0', 'view upcoming does not');
app("SELECT jobsched.cancel_run($far)");
is(ended($failure), 'succeeded', 'failure, in the end');
is(ended($done), 'succeeded', 'done, in the end');
is(ended($both), 'skipped upstream_failed', 'success, in the end');

$run = after('give', 'success', [ trigger('give') ], q{run_at => now() + interval '700 ms'});
is(ended($run), 'succeeded', 'run_at holds too');
is(psql("SELECT started_at >= run_at FROM jobsched.runs WHERE run_id = $run"), 't', 'it was not before');
$run = after('give', 'success', [ trigger('give') ], q{run_at => now() + interval '1 hour'});
wait_value($node, $db, "SELECT reason FROM jobsched.runs WHERE run_id = $run", 'not_due', 'it may be all that is left to wait for');
app("SELECT jobsched.cancel_run($run)");

for my $args ('{}', '{"snooze": 1}')
{
	my $parent = trigger('twice', qq{args => '$args', max_attempts => 3});

	$run = after('give', 'success', [$parent]);
	wait_value($node, $db, "SELECT attempt FROM jobsched.runs WHERE run_id = $parent AND status IN ('retrying', 'queued')", '1', "a first attempt has ended: $args");
	is(state($run), 'queued waiting_for_upstream', 'that is no end');
	app("SELECT jobsched.cancel_run($parent)");
	is(ended($run), 'skipped upstream_failed', 'a cancellation is');
}

# ------------------------------------------------------------------------
# upstream()
# ------------------------------------------------------------------------

my $given = trigger('give', q{args => '{"a": 1}'});
ended($given);
$run = after('look', 'done', [ $failed, $given, $given ]);
ended($run);
is(psql("SELECT * FROM app.seen WHERE run_id = $run ORDER BY parent"),
	qq($run|$failed|fail|failed|||no||\n$run|$given|give|succeeded|{"a": 1}|{"gave": $given}|||), 'upstream()');
is(app('SELECT count(*) FROM jobsched.upstream()'), '0', 'upstream() outside a run');
psql(q{CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA jobsched TO other});
session_sql($node, $db, 'other', q{SELECT jobsched.create_job('peep', command => 'SELECT count(*) FROM jobsched.upstream()')});
like(error_of($node, $db, "SELECT jobsched.trigger('peep', after => '{$given}')", 'other'), qr/42704: +run $given does not exist/, 'a run of another role does not exist');
like(error_of($node, $db, "SELECT jobsched.trigger('peep', after => '{$given}')"), qr/42704: +run $given does not exist/,
	'nor for a superuser, if the run that is to wait could not see it');
psql('GRANT pg_monitor TO other');
$run = psql("SELECT jobsched.trigger('peep', after => '{$given}')");
is(end_of($node, $db, $run, 'status, result'), 'succeeded|{"count": 1}', 'what may be named is what upstream() shows');

# ------------------------------------------------------------------------
# HTTP requests
# ------------------------------------------------------------------------

my $request = app("SELECT jobsched.http_get('$sink->{url}/one')");
$run = app("SELECT jobsched.http_post('$sink->{url}/two', after => '{$request}')");
is(ended($run), 'succeeded', 'a request after the first request of its role, before it has a job');
is(ended(app("SELECT jobsched.http_request('GET', '$sink->{url}/three', after => '{$run,$failed}')")), 'skipped upstream_failed', 'a request that is not sent');

# ------------------------------------------------------------------------
# Jobs and runs that change meanwhile
# ------------------------------------------------------------------------

my $parent;
sub pair
{
	my ($job, $when) = @_;
	$parent = trigger('other', q{run_at => now() + interval '1 day'});
	return $run = after($job, $when || 'success', [$parent]);
}

pair('give');
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'a run that waits can be cancelled');
is(state($parent), 'queued not_due', 'its parent goes on');
is(app(q{SELECT jobsched.cancel_runs(job => 'other')}), '1', 'a parent is cancelled');

app(q{SELECT jobsched.pause_job('give')});
pair('give');
my $condition_holds = after('give', 'failure', [$parent]);
app("SELECT jobsched.cancel_run($parent)");
is(ended($run), 'skipped upstream_failed', 'of a paused job: what cannot start ends');
wait_value($node, $db, "SELECT reason FROM jobsched.runs WHERE run_id = $condition_holds", 'job_paused', 'what can waits for its job');
app(q{SELECT jobsched.resume_job('give')});
is(ended($condition_holds), 'succeeded', 'and starts when that is resumed');

pair('give');
app(q{SELECT jobsched.alter_job('give', handler => 'app.count'); SELECT jobsched.alter_job('give', max_concurrency => 1)});
app("SELECT jobsched.cancel_run($parent)");
is(ended($run), 'skipped upstream_failed', 'of a job that was altered');
pair('give', 'done');
app("SELECT jobsched.cancel_run($parent)");
is(end_of($node, $db, $run, 'status, result'), 'succeeded|1', 'it has the new definition');
app(q{SELECT jobsched.alter_job('give', handler => 'app.give', max_concurrency => 0)});

pair('give', 'failure');
app(q{SELECT jobsched.drop_job('other')});
is(ended($parent), 'cancelled job_dropped', 'a job of a parent is dropped');
is(ended($run), 'succeeded', 'that is a failure');
app(q{SELECT jobsched.create_job('other', handler => 'app.give')});
$run = after('other', 'success', [ trigger('give', q{run_at => now() + interval '1 day'}) ]);
my $behind = after('give', 'failure', [$run]);
app(q{SELECT jobsched.drop_job('other')});
is(ended($run), 'cancelled job_dropped', 'a job of a run that waits is dropped');
is(ended($behind), 'succeeded', 'those behind it see that');
app(q{SELECT jobsched.create_job('other', handler => 'app.give')});

# retry by hand
$run = after('look', 'success', [$failed]);
is(ended($run), 'skipped upstream_failed', 'skipped for a dead letter');
is(psql("SELECT count(*) FROM jobsched.dead_letters WHERE run_id = $run"), '0', 'it is none itself');
my $again = app("SELECT jobsched.retry_run($failed)");
ended($again);
is(state($run), 'skipped upstream_failed', 'a retry of its parent does not bring it back');
$again = app("SELECT jobsched.retry_run($run)");
is(ended($again), 'succeeded', 'retried by hand it starts');
is(psql("SELECT parent, status FROM app.seen WHERE run_id = $again"), "$failed|failed", 'and sees what it had waited for, not the retry of that');
app(q{SELECT jobsched.create_job('keyed', handler => 'app.look', keys => '{"k:{{args.k}}"}')});
$run = after('keyed', 'success', [$failed], q{args => '{"k": 7}'});
ended($run);
is(psql("SELECT keys FROM jobsched.runs WHERE run_id = " . app("SELECT jobsched.retry_run($run)")), '{k:7}', 'the retried run has the keys of the skipped one');

# keys
my $keep = q{idempotency_key => 'k'};
pair('give');
$run = after('give', 'success', [$parent], $keep);
is(trigger('give', $keep), $run, 'a run that waits keeps its idempotency key');
$again = trigger('give', "$keep, on_conflict => 'replace'");
is(ended($run), 'cancelled replaced', 'and can be replaced');
is(ended($again), 'succeeded', 'by one that does not wait');
app("SELECT jobsched.cancel_run($parent)");

# overlap
pair('give');
app(q{SELECT jobsched.alter_job('give', schedule => 'every 1 second', overlap => 'skip')});
wait_until($node, $db, q{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'give' AND source = 'schedule' AND status = 'succeeded'}, 'a slot runs');
is(state($run), 'queued waiting_for_upstream', 'a run that waits is in the way of no slot');
app(q{SELECT jobsched.alter_job('give', enabled => false)});
app("SELECT jobsched.cancel_run($parent)");
ended($run);

# backfilled parents
$run = app(q{SELECT jobsched.trigger('count', after => array_agg(b.run_id)) FROM jobsched.backfill('give', now() - interval '2.5 seconds', now()) b});
is(end_of($node, $db, $run, 'status, result > 0::text::jsonb'), 'succeeded|t', 'runs of backfill() can be waited for');

# limits
app(q{SELECT jobsched.set_limit('one', max_running => 1)});
$parent = trigger('give', q{run_at => now() + interval '1 day', keys => '{two:1}'});
$run = after('give', 'success', [$parent], q{keys => '{one:1}'});
is(ended(trigger('give', q{keys => '{one:1}'})), 'succeeded', 'a run that waits holds no place');
app("SELECT jobsched.cancel_run($parent)");
ended($run);

# prepared transactions
$parent = trigger('give');
ended($parent);
$run = psql("BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger('count', after => '{$parent}'); PREPARE TRANSACTION 'after'");
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $run"), '0', 'prepared: there is nothing yet');
like(error_of($node, $db, "SELECT jobsched.trigger('give', after => '{$run}')"), qr/42704/, 'nothing that others could wait for');
psql(q{COMMIT PREPARED 'after'});
is(end_of($node, $db, $run, 'status, result'), 'succeeded|1', 'committed: it runs');

# an owner who is dropped
psql(q{CREATE ROLE gone LOGIN; GRANT USAGE ON SCHEMA jobsched TO gone});
stop();
$parent = session_sql($node, $db, 'gone', q{
	SELECT jobsched.create_job('nothing', command => 'SELECT 1') \g /dev/null
	SELECT jobsched.trigger('nothing')});
my @of_gone = map { session_sql($node, $db, 'gone', "SELECT jobsched.trigger('nothing', after => '{$parent}', after_when => '$_')") } ('success', 'failure');
end_sessions($node);
psql('DROP OWNED BY gone; DROP ROLE gone');
start();
is(ended($parent), 'failed owner_cannot_connect 42704', 'the owner has been dropped');
is(ended($of_gone[0]), 'skipped upstream_failed', 'a run of his that waited for success');
is((split / /, ended($of_gone[1]))[0], 'failed', 'a run of his that waited for failure');

# ------------------------------------------------------------------------
# Chains, fan-out, fan-in
# ------------------------------------------------------------------------

$failed = app(q{
	CREATE FUNCTION app.chain(length int) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		first bigint := jobsched.trigger('fail');
		last bigint := first;
	BEGIN
		FOR i IN 1 .. length LOOP
			last := jobsched.trigger('other', after => ARRAY[last]);
		END LOOP;
		RETURN first;
	END $$;
	SELECT app.chain(10000)});
wait_until($node, $db, qq{SELECT count(*) = 0 FROM jobsched_internal.run WHERE run_id >= $failed}, 'a chain has ended');
is(psql(qq{SELECT status, reason, count(*) FROM jobsched.runs WHERE run_id >= $failed GROUP BY 1, 2 ORDER BY 3}),
	"failed|error|1\nskipped|upstream_failed|1\nskipped|upstream_skipped|9999", 'a failure ends a chain of 10,000');

$parent = trigger('other', q{run_at => now() + interval '1 day'});
psql(qq{SET ROLE app; SELECT jobsched.trigger('count', after => array_agg(r)) FROM jobsched.trigger_many('other', array_fill('{}'::jsonb, ARRAY[10000]), after => '{$parent}') r; RESET ROLE});
$run = psql('SELECT max(run_id) FROM jobsched_internal.run');
is(psql("SELECT parents, cardinality(parent_ids) FROM jobsched.waiting WHERE run_id = $run"), '1000|10', '1 -> 10,000 -> 1, of which a thousand are counted');
is(state($run - 1), 'queued waiting_for_upstream', 'they wait');
my $sent = trigger('other');
is(ended($sent), 'succeeded', 'others go on');
psql("UPDATE jobsched_internal.run SET run_at = now() WHERE run_id = $parent");
end_sessions($node);
my $scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
is(end_of($node, $db, $run, 'status, result'), 'succeeded|10000', 'all have run, and one after them');
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency', '0', 'nothing is left of it');

# A queue that is larger than what its role may have of the scheduler's memory:
# nobody waits for a run that has no room.
set_setting($node, 'jobsched.max_queue_memory', '1 MB');
app(q{
	CREATE FUNCTION app.weave(length int) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		last bigint := jobsched.trigger('other');
		pair bigint;
	BEGIN
		FOR i IN 1 .. length LOOP
			pair := jobsched.trigger('other');
			last := jobsched.trigger('other', after => ARRAY[last, pair]);
			PERFORM jobsched.trigger('other', after => ARRAY[pair], after_when => 'failure');
		END LOOP;
		RETURN last;
	END $$});
for my $read ('from the oldest', 'from the newest')
{
	stop();
	if ($read =~ /oldest/)
	{
		$run = app('SELECT app.weave(2000)');
		$scheduler = scheduler_pid($node, $db);
		psql("SELECT pg_terminate_backend($scheduler)");
		wait_new_scheduler($node, $db, $scheduler);
	}
	else
	{
		$run = psql(q{BEGIN; SET LOCAL ROLE app; SELECT app.weave(2000); PREPARE TRANSACTION 'weave'});
		psql(q{COMMIT PREPARED 'weave'});
	}
	start();
	is(ended($run), 'succeeded', "a chain through a queue that is larger than its memory, read $read");
	wait_until($node, $db, "SELECT count(*) = 0 FROM jobsched_internal.run WHERE run_id >= $run - 6000", 'all have ended');
	is(psql("SELECT status, reason, count(*) FROM jobsched.runs WHERE run_id BETWEEN $run - 5999 AND $run + 1 GROUP BY 1, 2 ORDER BY 1"),
		"skipped|upstream_succeeded|2000\nsucceeded||4001", 'all have ended as they should');
}

# Requests have a room of their own: while that is full, who waits for one of them
# does without memory, too, and the scheduler is idle.
sub ticks
{
	my ($pid) = @_;
	my $stat = slurp_file("/proc/$pid/stat");
	my @fields = split ' ', $stat =~ s/.*\)//sr;
	return $fields[11] + $fields[12];
}

app("SELECT count(jobsched.http_request('GET', '$sink->{url}/later', run_at => now() + interval '1 day')) FROM generate_series(1, 4000)");
# a scheduler that begins reads them all, and the room is full from the first
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
my $from = psql('SELECT max(run_id) - 3999 FROM jobsched_internal.run');
my $first = app("SELECT jobsched.http_get('$sink->{url}/one')");
my $second = app("SELECT jobsched.http_get('$sink->{url}/two', after => '{$first}')");
$run = after('other', 'success', [$second]);
my @others = map { after('other', 'done', [$_]) } $second, $run;
is(ended(trigger('other')), 'succeeded', 'what waits for none is executed meanwhile');
$scheduler = scheduler_pid($node, $db);
my $ticks = ticks($scheduler);
sleep 2;
$ticks = ticks($scheduler) - $ticks;
cmp_ok($ticks, '<', 40, "a full room does not keep the scheduler busy ($ticks ticks in 2 s)");
is(join(' ', map { psql("SELECT status FROM jobsched.runs WHERE run_id = $_") } $first, $second, $run, @others), 'queued queued queued queued queued', 'they wait');
app("SELECT count(jobsched.cancel_run(run_id)) FROM generate_series($from, $from + 3999) run_id");
is(join(' ', map { ended($_) } $first, $second, $run, @others), 'succeeded succeeded succeeded succeeded succeeded', 'and go on when there is room');

# A request whose job is being made: those who wait for it do not take its room.
psql('CREATE ROLE maker LOGIN; GRANT USAGE ON SCHEMA jobsched TO maker; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA jobsched TO maker');
sql_as($node, $db, 'maker', q{SELECT jobsched.create_job('idle', command => 'SELECT 1')});
my $making = $node->background_psql($db, on_error_stop => 1, extra_params => [ '-U', 'maker' ]);
$making->query_safe("BEGIN; SELECT jobsched.create_job('http', url => '$sink->{url}/made')");
$first = sql_as($node, $db, 'maker', "SELECT jobsched.http_get('$sink->{url}/unmade')");
$run = sql_as($node, $db, 'maker', "SELECT jobsched.trigger('idle', after => '{$first}', after_when => 'done')");
wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.waiting WHERE run_id = $run)", 'one waits for a request without a job');
$making->query_safe("SELECT count(jobsched.trigger('http', after => '{$run}', after_when => 'done')) FROM generate_series(1, 3000)");
$making->query_safe('COMMIT');
$making->quit;
is(end_of($node, $db, $run), 'succeeded', 'a request gets its job, and who waits for it goes on');
wait_until($node, $db, "SELECT count(*) = 0 FROM jobsched.runs WHERE owner = 'maker' AND finished_at IS NULL", 'so do those that wait for this one');
set_setting($node, 'jobsched.max_queue_memory', undef);

# Somebody has removed rows of dependency: what is missing counts as lost.
stop();
$first = trigger('other');
$second = trigger('other');
$run = after('other', 'success', [ $first, $second ]);
@others = (after('other', 'failure', [ $first, $second ]), after('other', 'success', [$first]));
psql("DELETE FROM jobsched_internal.dependency WHERE parent_run_id = $second");
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
start();
is(join(', ', map { ended($_) } $run, @others), 'skipped upstream_failed, succeeded, succeeded', 'a missing row of dependency is a lost parent');

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

make_gate($node, $db, 'app');
app(q{
	CREATE FUNCTION app.gated(args jsonb) RETURNS void LANGUAGE sql AS $$
		SELECT app.leave(args);
		SELECT id FROM public.gate FOR SHARE
	$$;
	SELECT jobsched.create_job('gated', handler => 'app.gated');
	SELECT jobsched.create_job('last', handler => 'app.look')});

for my $victim ('scheduler', 'worker', 'postmaster')
{
	my $gate = close_gate($node, $db);
	my $bad = trigger('fail');
	my @first = map { trigger('gated') } 1 .. 3;
	my @second = map { after('other', 'success', [ $_, $first[0] ]) } @first;
	my $none = after('other', 'success', [ $bad, $first[0] ]);
	my $alarm = after('last', 'failure', [ @second, $bad ]);
	my $last = after('last', 'done', [ @second, $none ]);
	my $old = scheduler_pid($node, $db);

	wait_at_gate($node, $db, $first[0]);
	is(ended($none), 'skipped upstream_failed', "$victim: skipped before");
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
	is(ended($_), 'succeeded', "$victim: what was executed is done once more") for @first;
	is(ended($_), 'succeeded', "$victim: what waited for it runs") for (@second, $alarm, $last);
	is(psql("SELECT string_agg(parent || ' ' || status, ',' ORDER BY parent) FROM app.seen WHERE run_id = $last"),
		join(',', (map { "$_ succeeded" } @second), "$none skipped"), "$victim: the last has seen how the others ended") if $last > $none;
	check_exactly_once($node, $db, "$victim: each once", q{'gated','last','other'});
	wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency', '0', "$victim: nothing is left");
}

# Ended while there was nobody to delete what it waited for.
$run = after('other', 'done', [ trigger('other') ]);
ended($run);
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency', '0', 'a run has ended');
psql("INSERT INTO jobsched_internal.dependency VALUES ($run, $run - 1)");
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency', '0', 'a successor deletes what a predecessor has left');

# Somebody has written rows of both tables.
$run = after('other', 'success', [ map { trigger('other', q{run_at => now() + interval '1 day'}) } 1 .. 3 ]);
app("SELECT jobsched.cancel_run($run)");
ended($run);
my $waited = "SELECT count(*) FROM jobsched_internal.waited WHERE run_id = $run";
wait_value($node, $db, $waited, '3', 'a run has ended that has waited for three');
psql("INSERT INTO jobsched_internal.dependency SELECT * FROM jobsched_internal.waited WHERE run_id = $run;
	DELETE FROM jobsched_internal.waited WHERE (run_id, parent_run_id) IN (SELECT run_id, min(parent_run_id) FROM jobsched_internal.waited WHERE run_id = $run GROUP BY 1)");
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency WHERE run_id = ' . $run, '0', 'a successor moves those that are not there');
is(psql($waited), '3', '... once');

# A parent that somebody has removed.
$parent = trigger('other', q{run_at => now() + interval '1 day'});
$run = after('other', 'failure', [$parent]);
psql("DELETE FROM jobsched_internal.run WHERE run_id = $parent");
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
is(ended($run), 'succeeded', 'a parent that is nowhere is lost, and nobody waits for it');

# ------------------------------------------------------------------------
# Retention
# ------------------------------------------------------------------------

psql('ALTER SYSTEM SET jobsched.history_retention = \'1 min\'');
psql('ALTER SYSTEM SET jobsched.failure_retention = \'1 min\'');
psql('SELECT pg_reload_conf()');
$given = trigger('give', q{args => '{"large": 1}'});
my $plain = trigger('give');
my $bad = trigger('fail');
ended($_) for ($given, $plain, $bad);
$far = trigger('give', q{run_at => now() + interval '1 day'});
my %late = map { $_ => after('last', $_, $_ eq 'success' ? [ $given, $far ] : [ $given, $bad, $far ]) } @whens;

turn_rings($node, $db);
is(psql("SELECT string_agg(run_id::text, ',' ORDER BY run_id) FROM jobsched.runs WHERE run_id IN ($given, $plain, $bad)"), "$given,$bad",
	'ended runs that others wait for are kept');
end_sessions($node);
$node->restart;
wait_scheduler($node, $db);
turn_rings($node, $db);
is(psql("SELECT string_agg(run_id::text, ',' ORDER BY run_id) FROM jobsched.runs WHERE run_id IN ($given, $plain, $bad)"), "$given,$bad",
	'for longer than another retention');

# A run that is queued while its parent is about to be removed.
my $parent_of_open = trigger('give');
ended($parent_of_open);
my $open = $node->background_psql($db);
my $of_open = $open->query_safe("BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger('last', after => '{$parent_of_open,$far}', after_when => 'done')");
for my $i (1 .. 8)
{
	advance_clock($node, $db, '61 s');
	my $now = psql('SELECT clock_timestamp()');
	wait_until($node, $db, "SELECT last_active_at > '$now' FROM jobsched_internal.scheduler()", 'a step is made');
}
$open->query_safe('COMMIT');
$open->quit;
advance_clock($node, $db, '61 s');
rings_move($node, $db);
turn_rings($node, $db);
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $parent_of_open"), 'succeeded', 'a parent that was found is there until its dependent is');

psql('ALTER SYSTEM RESET jobsched.history_retention');
psql('ALTER SYSTEM RESET jobsched.failure_retention');
psql('SELECT pg_reload_conf()');
app("SELECT jobsched.cancel_run($far)");
is(ended($late{success}), 'skipped upstream_failed', 'success after a long wait');
is(ended($_), 'succeeded', 'others after a long wait') for (@late{'failure', 'done'}, $of_open);
is(psql("SELECT parent, status, args, result, error FROM app.seen WHERE run_id = $late{done} ORDER BY parent"),
	qq($given|succeeded|{"large": 1}|{"gave": $given}|\n$bad|failed|||no\n$far|cancelled|||), 'it sees what they have left');
set_clock($node, $db, undef);

# ------------------------------------------------------------------------
# Copies
# ------------------------------------------------------------------------

stop();
$parent = trigger('give');
$run = after('count', 'success', [$parent]);
end_sessions($node);
$node->safe_psql('template1', "CREATE DATABASE copy TEMPLATE $db");
start();
is(ended($run), 'succeeded', 'here it runs');
wait_scheduler($node, 'copy');
is($node->safe_psql('copy', "SELECT status, reason FROM jobsched.runs WHERE run_id = $run"), 'queued|waiting_for_upstream', 'in a copy it sleeps');
$node->safe_psql('copy', 'SELECT jobsched.adopt(), jobsched.start_processing()');
wait_value($node, 'copy', "SELECT status, result FROM jobsched.runs WHERE run_id = $run", 'succeeded|1', 'until that is adopted');
my ($stdout, $stderr) = run_command([ 'pg_dump', '-d', $node->connstr($db) ]);
unlike($stdout, qr/^COPY jobsched_internal\.(dependency|run) /m, 'a dump takes neither runs nor what they wait for');

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection|canceling statement due to lock timeout/);
$node->stop;
done_testing();
