# Copyright (c) 2026, jobsched contributors

# Workflow runs that are retried: every subset of steps that fail, of some graphs,
# against a model of what doc/workflows.md says of steps that are carried over.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = jobsched_node('step_retry', conf => "restart_after_crash = on\njobsched.max_workers = 4\nmax_prepared_transactions = 5\n");
my $json = JSON::PP->new->canonical;

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

sub refused
{
	my ($sql, $like, $name) = @_;
	return like(error_of($node, $db, $sql, 'app'), $like, $name);
}

sub define
{
	my ($name, $more, @steps) = @_;
	my $steps = $json->encode(\@steps) =~ s/'/''/gr;
	return app("SELECT jobsched.create_job('$name', steps => '$steps'" . ($more ? ", $more)" : ')'));
}

sub ended
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id);
}

sub shown
{
	my ($run_id) = @_;
	return psql("SELECT string_agg(concat_ws(' ', step, status, reason), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $run_id");
}

sub step_run
{
	my ($run_id, $step) = @_;
	my $of = "FROM jobsched.steps WHERE workflow_run_id = $run_id AND step = '$step'";

	wait_until($node, $db, "SELECT count(*) = 1 $of", "step $step is queued");
	return psql("SELECT run_id $of");
}

sub trigger
{
	my ($job, $args) = @_;
	return app("SELECT jobsched.trigger('$job'" . ($args ? ", '$args')" : ')'));
}

sub drained
{
	my ($name) = @_;
	wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.run}, '0', $name);
	return wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency', '0', "$name: nothing is left");
}

sub new_scheduler
{
	my $pid = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($pid)");
	return wait_new_scheduler($node, $db, $pid);
}

psql(q{CREATE ROLE app LOGIN; CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA jobsched TO app});
make_gate($node, $db, 'app');
app(q{
	CREATE TABLE app.effect (run_id bigint, step text);
	-- fails if it is named in "bad"; leaves which run it was, and what it has got
	CREATE FUNCTION app.act(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		me text := split_part(jobsched.job_name(), '.', 2);
	BEGIN
		IF args -> 'bad' ? me THEN
			RAISE 'bad';
		END IF;
		INSERT INTO app.effect VALUES (jobsched.run_id(), me);
		RETURN jsonb_build_object('of', jobsched.run_id(), 'got',
			(SELECT COALESCE(jsonb_object_agg(u.step, COALESCE(u.result -> 'of', 'null')), '{}') FROM jobsched.upstream() u),
			'results', (SELECT COALESCE(jsonb_object_agg(u.step, jobsched.step_result(u.step) -> 'of'), '{}') FROM jobsched.upstream() u));
	END $$;
	CREATE FUNCTION app.told(run jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	CREATE FUNCTION app.gated(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM id FROM public.gate FOR SHARE;
		RETURN app.act(args);
	END $$});

# ------------------------------------------------------------------------
# The model
# ------------------------------------------------------------------------

# Steps in order: name, after, when, optional.
my %graphs = (
	chain => [ [ 'a', [] ], [ 'b', ['a'] ], [ 'c', ['b'] ], [ 'd', ['c'] ] ],
	diamond => [ [ 'a', [] ], [ 'b', ['a'] ], [ 'c', ['a'] ], [ 'd', [ 'b', 'c' ] ], [ 'e', [], 'success', 1 ] ],
	handler => [ [ 'a', [] ], [ 'b', ['a'] ], [ 'h', [ 'a', 'b' ], 'failure' ], [ 'i', ['h'] ], [ 'j', [ 'b', 'i' ] ], [ 'k', [] ] ],
	clean => [ [ 'a', [] ], [ 'b', [], 'success', 1 ], [ 'c', [ 'a', 'b' ], 'done' ], [ 'd', ['c'] ], [ 'e', [ 'a', 'd' ] ] ]);

sub reason_to_skip
{
	my ($when, @ends) = @_;
	my %seen = map { $_ => 1 } @ends;

	return '' if !@ends || $when eq 'done';
	return 'upstream_failed' if $when eq 'success' && $seen{failed};
	return '' if $when eq 'failure' && $seen{failed};
	return 'upstream_skipped' if !$seen{succeeded};
	return $when eq 'success' ? '' : 'upstream_succeeded';
}

# What a run comes to whose steps in %$bad fail; $before: the run that it is a retry
# of, @anew: done anew in any case.  By step: its end, and number of the run that has
# executed it.
sub model
{
	my ($graph, $number, $bad, $before, @anew) = @_;
	my (%run, %fate);

	for (@$graph)
	{
		my ($name, $after, $when, $optional) = @$_;
		my @fates = map { $fate{$_} } @$after;
		my $is_free = !grep { $_ eq 'anew' } @fates;
		my $was = $before ? $before->{$name} : undef;

		$when ||= 'success';
		$is_free = 0 if grep { $_ eq $name } @anew;
		if ($was && $was->{status} eq 'succeeded' && $is_free)
		{
			$fate{$name} = 'carried';
			$run{$name} = { status => 'succeeded', reason => 'carried_over', of => $was->{of} };
			next;
		}
		my $reason = reason_to_skip($when, map { $run{$_}{status} } @$after);
		$fate{$name} = $is_free && @$after && ($when eq 'failure' || ($when eq 'success' && !grep { $_ eq 'carried' } @fates)) ? 'skipped' : 'anew';
		$run{$name} =
			$reason ? { status => 'skipped', reason => $reason }
		  : $bad->{$name} ? { status => 'failed', reason => 'error', optional => $optional }
		  : { status => 'succeeded', reason => '', of => $number };
	}
	return \%run;
}

sub model_end
{
	my ($run) = @_;
	return (grep { $_->{status} eq 'failed' && !$_->{optional} } values %$run) ? 'failed' : 'succeeded';
}

# ------------------------------------------------------------------------
# Every subset
# ------------------------------------------------------------------------

for my $name (sort keys %graphs)
{
	define($name, '', map { my ($step, $after, $when, $optional) = @$_;
		+{ name => $step, handler => 'app.act', after => $after, ($when && @$after ? (when => $when) : ()), optional => $optional ? JSON::PP::true : JSON::PP::false } } @{ $graphs{$name} });
}

# Workflows under way: graph, bad, the model's run, the ids of its runs by number.
sub begin_all
{
	my @all;

	for my $name (sort keys %graphs)
	{
		my @steps = map { $_->[0] } @{ $graphs{$name} };
		for my $subset (0 .. 2**@steps - 1)
		{
			my @bad = @steps[ grep { $subset & (1 << $_) } 0 .. $#steps ];
			push @all, { graph => $name, bad => \@bad, model => model($graphs{$name}, 1, { map { $_ => 1 } @bad }), runs => [] };
		}
	}
	my @ids = split /\n/, app(join ";\n", map { "SELECT jobsched.trigger('$_->{graph}', '" . $json->encode({ bad => $_->{bad} }) . "')" } @all);
	push @{ $_->{runs} }, shift @ids for @all;
	return @all;
}

# Each is retried, and other steps fail; with from_step if there is no other way, and
# now and then.
sub retry_all
{
	my ($number, $share, @all) = @_;
	my @sql;

	for my $flow (@all)
	{
		my @steps = map { $_->[0] } @{ $graphs{ $flow->{graph} } };
		my @bad = grep { rand() < $share } @steps;
		my @anew = model_end($flow->{model}) eq 'succeeded' || rand() < 0.2 ? $steps[ rand @steps ] : ();

		$flow->{bad} = \@bad;
		$flow->{anew} = \@anew;
		$flow->{model} = model($graphs{ $flow->{graph} }, $number, { map { $_ => 1 } @bad }, $flow->{model}, @anew);
		push @sql, "SELECT jobsched.retry_run($flow->{runs}[-1], args => '" . $json->encode({ bad => \@bad }) . "'"
		  . (@anew ? ", from_step => '{@anew}')" : ')');
	}
	my @ids = split /\n/, app(join ";\n", @sql);
	push @{ $_->{runs} }, shift @ids for @all;
	return;
}

sub expected
{
	my ($flow) = @_;
	return join ', ', map { my $step = $flow->{model}{ $_->[0] };
		join ' ', $_->[0], $step->{status}, $step->{reason} || (), $step->{of} ? "of $step->{of}" : () } @{ $graphs{ $flow->{graph} } };
}

sub check_all
{
	my ($name, @all) = @_;
	my %number;
	my %seen;

	drained("$name: all have ended");
	for (split /\n/, psql(q{SELECT s.workflow_run_id, s.step, concat_ws(' ', s.status, s.reason), s.run_id, s.result ->> 'of', r.optional FROM jobsched.steps s JOIN jobsched.runs r USING (run_id) ORDER BY 1, s.step_no}))
	{
		my ($workflow, @columns) = split /\|/, $_, -1;
		push @{ $seen{$workflow} }, \@columns;
	}
	my %ends = map { split /\|/ } split /\n/, psql(q{SELECT run_id, status FROM jobsched.runs WHERE source <> 'step'});
	my @faults;
	for my $flow (@all)
	{
		my @runs = @{ $flow->{runs} };
		for my $i (0 .. $#runs)
		{
			$number{ $_->[2] } ||= $i + 1 for @{ $seen{ $runs[$i] } };
		}
		my $got = join ', ', map { join ' ', $_->[0], $_->[1], $_->[3] ? 'of ' . $number{ $_->[3] } : () } @{ $seen{ $runs[-1] } };
		my $expected = expected($flow);
		push @faults, "$flow->{graph} (run $runs[-1], bad @{$flow->{bad}}, from @{$flow->{anew} || []}): $got, not $expected" if $got ne $expected;
		push @faults, "run $runs[-1] has ended as $ends{$runs[-1]}" if $ends{ $runs[-1] } ne model_end($flow->{model});
	}
	is(join("\n", @faults), '', "$name: all steps are as the model has it");
	is(psql('SELECT count(*) FROM (SELECT FROM app.effect GROUP BY run_id HAVING count(*) > 1) x'), '0', "$name: nothing was done twice");
	return is(psql(q{SELECT count(*) FROM jobsched.steps WHERE result -> 'got' <> result -> 'results'}), '0', "$name: steps see those that were carried over");
}

srand($ENV{JOBSCHED_STEPS_SEED} || 70);
my @all = begin_all();
check_all('at first', @all);
retry_all(2, 0.3, @all);
check_all('retried', @all);
retry_all(3, 0.3, @all);
new_scheduler();
check_all('retried once more', @all);
retry_all(4, 0.1, @all);
for (1 .. 3)
{
	my @pids = worker_pids($node, $db);

	end_sessions($node);
	kill 'KILL', $pids[ rand @pids ] if @pids;
	wait_connection($node, $db);
	wait_scheduler($node, $db);
}
check_all('retried, with kill -9', @all);
is(psql(q{SELECT count(*) FROM jobsched.attempts a JOIN jobsched.runs r USING (run_id) WHERE r.reason = 'carried_over'}), '0', 'what is carried over is no attempt');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE reason = 'carried_over' AND (started_at IS NOT NULL OR finished_at IS NULL OR attempt <> 0)}), '0', 'nor was it started');

# A step that is sure to be skipped keeps nobody behind it from being carried over, unless
# it is named; also if the retry that named it never began.
app(q{SELECT jobsched.create_job('sure', steps => '[
	{"name": "a", "handler": "app.act"}, {"name": "f", "handler": "app.act", "when": "failure"},
	{"name": "z", "handler": "app.act", "when": "done"}, {"name": "y", "handler": "app.act", "after": []}]')});
my $sure = trigger('sure');
is(ended($sure), 'succeeded', 'a step that is skipped by rule');
$sure = app("SELECT jobsched.retry_run($sure, '{y}')");
is(ended($sure), 'succeeded', '... in a retry');
is(shown($sure), 'a succeeded carried_over, f skipped upstream_succeeded, z succeeded carried_over, y succeeded', '... what comes after it is carried over');
$sure = app("SELECT jobsched.retry_run($sure, '{f}')");
is(ended($sure), 'succeeded', '... it is named');
is(shown($sure), 'a succeeded carried_over, f skipped upstream_succeeded, z succeeded, y succeeded carried_over', '... and what comes after it is done anew');
app(q{SELECT jobsched.pause_job('sure')});
$sure = app("SELECT jobsched.retry_run($sure, '{f}')");
app("SELECT jobsched.cancel_run($sure)");
is(ended($sure), 'cancelled cancelled', '... a retry that does not begin');
$sure = app("SELECT jobsched.retry_run($sure, '{y}')");
app("SELECT jobsched.cancel_run($sure)");
is(ended($sure), 'cancelled cancelled', '... nor does the next one');
$sure = app("SELECT jobsched.retry_run($sure)");
app(q{SELECT jobsched.resume_job('sure')});
is(ended($sure), 'succeeded', '... and one that does');
is(shown($sure), 'a succeeded carried_over, f skipped upstream_succeeded, z succeeded, y succeeded', '... does anew what either named');

# ------------------------------------------------------------------------
# What is refused
# ------------------------------------------------------------------------

my ($failed) = map { $_->{runs}[-1] } grep { model_end($_->{model}) eq 'failed' } @all;
my ($fine) = map { $_->{runs}[-1] } grep { model_end($_->{model}) eq 'succeeded' && $_->{graph} eq 'chain' } @all;
refused("SELECT jobsched.retry_run($fine)", qr/JS055.*has succeeded.*HINT:.*from_step/s, 'after a success only with from_step');
refused("SELECT jobsched.retry_run($fine, '{}')", qr/JS055.*has succeeded/s, '... which is not empty');
refused("SELECT jobsched.retry_run($fine, '{a,zzz}')", qr/42704.*step "zzz" does not exist/s, '... and names steps');
refused("SELECT jobsched.retry_run($fine, '{a,NULL}')", qr/22004/s, '... no NULL');
refused("SELECT jobsched.retry_run($fine, array_fill('a'::text, '{1001}'))", qr/JS054/s, '... and not too many');
refused("SELECT jobsched.retry_run($fine, '{a}', '[1]')", qr/22023.*args must be a JSON object/s, 'args are an object');
refused("SELECT jobsched.retry_run($fine, '{a}', jsonb_build_object('x', repeat('x', 100000000)))", qr/JS054/s, '... and not too large');
refused("SELECT jobsched.retry_run(" . step_run($fine, 'a') . ", '{a}')", qr/JS055.*is of a step.*retry_run\($fine\)/s, 'a step is retried with its workflow run');
is(app('SELECT jobsched.retry_run(NULL) IS NULL'), 't', 'no run');
app(q{SELECT jobsched.create_job('flag', command => 'SELECT 1')});
app(q{SELECT jobsched.create_job('plain', command => 'SELECT 1 / (jobsched.args() ->> ''by'')::int')});
my $plain = trigger('plain', '{"by": 0, "x": 1}');
is(ended($plain), 'failed error 22012', 'an ordinary run fails');
refused("SELECT jobsched.retry_run($plain, '{a}')", qr/JS055.*not made of steps/s, 'it has no steps');
my $again = app("SELECT jobsched.retry_run($plain, args => '{\"by\": 1}')");
is(ended($again), 'succeeded', 'but can have other arguments');
is(psql("SELECT args FROM jobsched.runs WHERE run_id = $again"), '{"x": 1, "by": 1}', '... over those it had');
refused("SELECT jobsched.retry_run($again, '{a}')", qr/JS055/s, 'after its success it is not retried');
psql('CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA jobsched TO other');
like(error_of($node, $db, "SELECT jobsched.retry_run($fine, '{a}')", 'other'), qr/42704.*run $fine does not exist/s, 'not by others');
is(ended($again = app("SELECT jobsched.retry_run($fine, '{c,c}')")), 'succeeded', 'twice the same step is once');
is(shown($again), 'a succeeded carried_over, b succeeded carried_over, c succeeded, d succeeded', '... and what comes after it');
refused("SELECT jobsched.retry_run($fine, '{c}')", qr/JS055.*retried already/s, 'once');

# ------------------------------------------------------------------------
# Meanwhile
# ------------------------------------------------------------------------

# Fails at b, with a behind; returns the run.
sub failed_run
{
	my ($job) = @_;
	my $run = trigger($job, '{"bad": ["b"]}');

	is(ended($run), 'failed child_failed', "$job fails");
	return $run;
}
sub act
{
	my ($name, $after, $when, @more) = @_;
	return { name => $name, handler => 'app.act', after => $after, ($when ? (when => $when) : ()), @more };
}
my @flow = ({ name => 'a', handler => 'app.act' }, { name => 'b', handler => 'app.act' }, { name => 'c', handler => 'app.act' });

define('altered', '', @flow);
my $run = failed_run('altered');
define_new('altered', { name => 'x', handler => 'app.act' }, { %{ $flow[1] }, after => [] }, { name => 'a', handler => 'app.act', after => [] }, { name => 'd', handler => 'app.act', after => ['a'] });
sub define_new
{
	my ($name, @steps) = @_;
	return app("SELECT jobsched.alter_job('$name', steps => '" . $json->encode(\@steps) . "')");
}
is(ended($again = app("SELECT jobsched.retry_run($run, args => '{\"bad\": []}')")), 'succeeded', "by today's definition");
is(shown($again), 'x succeeded, b succeeded, a succeeded carried_over, d succeeded', '... steps are found by their names');

define('nothing', '', @flow);
$run = failed_run('nothing');
define_new('nothing', $flow[0]);
is(ended($again = app("SELECT jobsched.retry_run($run)")), 'succeeded', 'if everything is carried over it succeeds');
is(shown($again), 'a succeeded carried_over', '... at once');
is(psql("SELECT result #>> '{a,of}' = args ->> 'a' FROM (SELECT result, jsonb_build_object('a', " . step_run($run, 'a') . ") AS args FROM jobsched.runs WHERE run_id = $again) r"), 't', '... and has its result');

define('later', '', @flow);
$run = failed_run('later');
app(q{SELECT jobsched.pause_job('later')});
$again = app("SELECT jobsched.retry_run($run, args => '{\"bad\": []}')");
define_new('later', { name => 'first', handler => 'app.act' }, { name => 'a', handler => 'app.act' });
app(q{SELECT jobsched.resume_job('later')});
is(ended($again), 'succeeded', 'a retry that waits has the definition of when it begins');
is(shown($again), 'first succeeded, a succeeded', '... and what comes after something new is done anew');

define('waits', '', @flow);
$run = failed_run('waits');
app(q{SELECT jobsched.pause_job('waits')});
$again = app("SELECT jobsched.retry_run($run, '{a}', '{\"bad\": []}')");
app("SELECT jobsched.cancel_run($again)");
is(ended($again), 'cancelled cancelled', 'a retry that has not begun is cancelled');
$again = app("SELECT jobsched.retry_run($again)");
app(q{SELECT jobsched.resume_job('waits')});
is(ended($again), 'succeeded', '... and retried');
is(shown($again), 'a succeeded, b succeeded, c succeeded', '... with what was to be done anew');

define('waits2', '', @flow);
$run = failed_run('waits2');
app(q{SELECT jobsched.pause_job('waits2')});
$again = $run;
for (1, 2)
{
	$again = app("SELECT jobsched.retry_run($again, args => '{\"bad\": []}')");
	app("SELECT jobsched.cancel_run($again)");
	is(ended($again), 'cancelled cancelled', 'a retry that has not begun is cancelled');
}
($again) = app(q{SELECT string_agg(r::text, ',') FROM jobsched.redrive('waits2') r});
is($again, '', 'a cancelled run is no dead letter');
$again = app("SELECT jobsched.retry_run((SELECT max(run_id) FROM jobsched.runs WHERE job_name = 'waits2'))");
app(q{SELECT jobsched.resume_job('waits2')});
is(ended($again), 'succeeded', 'the retry of a retry that has not begun');
is(shown($again), 'a succeeded carried_over, b succeeded, c succeeded', '... carries over all the same');

define('driven', '', @flow);
$run = failed_run('driven');
$again = app(q{SELECT jobsched.redrive('driven')});
is(ended($again), 'failed child_failed', 'redrive()');
is(shown($again), 'a succeeded carried_over, b failed error, c skipped upstream_failed', '... carries over, too');

define('command', '', @flow);
$run = failed_run('command');
app(q{SELECT jobsched.alter_job('command', command => 'SELECT 7')});
refused("SELECT jobsched.retry_run($run, '{a}')", qr/JS055.*not made of steps/s, 'a job that is no workflow any more');
is(ended($again = app("SELECT jobsched.retry_run($run)")), 'succeeded', '... is executed as what it is');

define('turned', '', @flow);
$run = failed_run('turned');
app(q{SELECT jobsched.pause_job('turned')});
$again = app("SELECT jobsched.retry_run($run)");
app(q{SELECT jobsched.alter_job('turned', command => 'SELECT count(*) FROM jobsched.upstream()'), jobsched.resume_job('turned')});
is(ended($again), 'succeeded', 'a retry whose job is no workflow any more when it begins');
is(psql("SELECT result FROM jobsched.runs WHERE run_id = $again"), '{"count": 0}', '... has waited for nothing');

# What somebody names in after is waited for, and nothing else.
define('waited', '', @flow);
define('stranger', '', $flow[0]);
$run = failed_run('waited');
my @named = (step_run($run, 'a'), step_run(trigger('stranger'), 'a'));
for my $parent (@named)
{
	wait_until($node, $db, "SELECT status = 'succeeded' FROM jobsched.runs WHERE run_id = $parent", 'a parent');
	$again = app("SELECT jobsched.trigger('waited', after => '{$parent}')");
	is(ended($again), 'succeeded', 'a workflow run that waits for a step');
	is(shown($again), 'a succeeded, b succeeded, c succeeded', '... carries nothing over');
}

# A function that is told of the end has no steps.
define('tells', q{on_success => 'app.told'}, $flow[0]);
is(ended(trigger('tells')), 'succeeded', 'its end is told');
my $told = q{FROM jobsched.runs WHERE job_name = 'tells' AND source = 'callback'};
wait_value($node, $db, "SELECT status $told", 'succeeded', '... to a function');
refused("SELECT jobsched.retry_run((SELECT run_id $told), '{a}')", qr/JS055.*has no steps/s, '... which has succeeded, and is not called again');

define('given', '', @flow);
$run = failed_run('given');
psql(q{GRANT USAGE ON SCHEMA app TO other; GRANT ALL ON app.effect TO other});
psql(q{SELECT jobsched.alter_job('given', owner => 'other')});
$again = psql("SELECT jobsched.retry_run($run, args => '{\"bad\": []}')");
is(ended($again), 'succeeded', 'of a job that has got another owner');
is(shown($again), 'a succeeded, b succeeded, c succeeded', '... all is done anew that he may not see');

# The largest workflow there can be, by a transaction that is prepared.
define('large', '', (map { act("s$_", []) } 1 .. 998), act('b', ['s7']), act('c', ['b']));
$run = failed_run('large');
$node->safe_psql($db, "SET ROLE app; BEGIN; SELECT jobsched.retry_run($run, args => '{\"bad\": []}'); PREPARE TRANSACTION 'again'");
refused("SET lock_timeout = '10 ms'; SELECT jobsched.retry_run($run)", qr/55P03/, 'nobody retries a run meanwhile');
$node->safe_psql($db, q{COMMIT PREPARED 'again'});
$again = psql("SELECT retried_as FROM jobsched_internal.retried WHERE run_id = $run");
is(ended($again), 'succeeded', 'a thousand steps');
is(psql("SELECT count(*) FILTER (WHERE reason = 'carried_over'), count(*) FROM jobsched.steps WHERE workflow_run_id = $again"), '998|1000', '... of which most are carried over');
is(ended($run = app("SELECT jobsched.retry_run($again, '{s7}')")), 'succeeded', '... once more');
is(psql("SELECT count(*) FILTER (WHERE reason = 'carried_over'), count(*) FROM jobsched.steps WHERE workflow_run_id = $run"), '997|1000', '... from one of them on');

# It is dropped, or retried by two at a time.
define('two', '', @flow);
$run = failed_run('two');
my $other = $node->background_psql($db);
$other->query_safe("BEGIN; SELECT jobsched.drop_job('two')");
my $waits = $node->background_psql($db, on_error_stop => 0);
$waits->query_until(qr/started/, "\\echo started\nSELECT jobsched.retry_run($run);\n");
wait_until($node, $db, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'retry_run')}, 'a retry waits for who drops the job');
$other->query_safe('COMMIT');
$other->quit;
$waits->quit;
is(psql("SELECT count(*) FROM jobsched_internal.retried WHERE run_id = $run"), '0', '... and is refused then');

# Rows that are needed are kept beyond the retention.
define('kept', '', @flow);
$run = failed_run('kept');
app(q{SELECT jobsched.pause_job('kept')});
$again = app("SELECT jobsched.retry_run($run, args => '{\"bad\": []}')");
set_setting($node, 'jobsched.history_retention', '1min');
my $clock = 0;
sub turn_the_ring
{
	my $segment = psql('SELECT segment FROM jobsched_internal.ring WHERE ring = 0');

	set_clock($node, $db, psql("SELECT clock_timestamp() + interval '" . ++$clock . " minutes'"));
	return wait_until($node, $db, "SELECT segment <> $segment FROM jobsched_internal.ring WHERE ring = 0", 'the ring moves on');
}
turn_the_ring() for 1 .. 10;
is(psql("SELECT string_agg(s.step, ',') FROM jobsched.steps s WHERE s.workflow_run_id = $run AND s.step = 'a'"), 'a', 'what is to be carried over is kept');
app(q{SELECT jobsched.resume_job('kept')});
is(ended($again), 'succeeded', 'beyond its retention');
is(shown($again), 'a succeeded carried_over, b succeeded, c succeeded', '... it is carried over');
define('long', '', $flow[0], { name => 'gated', handler => 'app.gated' });
my $closed = close_gate($node, $db);
$run = trigger('long');
wait_at_gate($node, $db, step_run($run, 'gated'));
turn_the_ring() for 1 .. 10;
my $kept = "SELECT count(*) FROM jobsched_internal.history_kept WHERE run_id = " . step_run($run, 'a');
is(psql($kept), '1', 'a step of a run that lasts for longer than the retention');
app('SELECT jobsched.cancel_run(' . step_run($run, 'gated') . ')');
is(ended($run), 'failed child_failed', '... and fails');
$node->safe_psql($db, "BEGIN; SELECT jobsched.retry_run($run); ROLLBACK");
app(q{SELECT jobsched.pause_job('long')});
$again = app("SELECT jobsched.retry_run($run)");
turn_the_ring() for 1 .. 10;
is(psql($kept), '1', '... is kept for its retry');
$closed->query_safe('COMMIT');
$closed->quit;
app(q{SELECT jobsched.resume_job('long')});
is(ended($again), 'succeeded', '... which succeeds');
is(shown($again), 'a succeeded carried_over, gated succeeded', '... and carries it over');
drained('all have ended');
turn_the_ring();
wait_value($node, $db, $kept, '0', '... and then it goes');
drained('all have ended');

# ------------------------------------------------------------------------
# skip_step()
# ------------------------------------------------------------------------

set_clock($node, $db, undef);
set_setting($node, 'jobsched.history_retention', '7d');

sub becomes_shown
{
	my ($run_id, $expected, $name) = @_;
	return wait_value($node, $db, "SELECT string_agg(concat_ws(' ', step, status, reason), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $run_id",
		$expected, $name);
}

# A run whose first step waits at the gate.
my $gate;
sub begun
{
	my ($job) = @_;
	my $run_id = trigger($job);

	wait_at_gate($node, $db, step_run($run_id, 'gated'));
	return $run_id;
}

sub open_the_gate
{
	$gate->query_safe('COMMIT');
	$gate->quit;
	return;
}

my $gated = { name => 'gated', handler => 'app.gated' };

define('skips', '', $gated, act('a', ['gated']), act('b', ['a']), act('c', ['a'], 'done'), act('d', [ 'a', 'gated' ]));
$gate = close_gate($node, $db);
$run = begun('skips');
is(app("SELECT jobsched.skip_step($run, 'a') = " . step_run($run, 'a')), 't', 'skip_step() returns the run of the step');
wait_value($node, $db, "SELECT concat_ws(' ', status, reason) FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'a'", 'skipped skipped_by_request', 'a step is skipped at once');
refused("SELECT jobsched.skip_step($run, 'a')", qr/JS055.*step "a" has ended/s, 'once');
refused("SELECT jobsched.skip_step($run, 'gated')", qr/JS055.*step "gated" has started.*HINT:.*cancel_run\(/s, 'not while it is executed');
refused("SELECT jobsched.skip_step($run, 'zzz')", qr/42704.*step "zzz" does not exist/s, 'an unknown step');
refused("SELECT jobsched.skip_step(-1, 'a')", qr/42704/s, 'an unknown run');
refused("SELECT jobsched.skip_step($plain, 'a')", qr/JS055.*has ended/s, 'a run that has ended');
refused("SELECT jobsched.skip_step(" . step_run($run, 'd') . ", 'a')", qr/JS055.*not of a job made of steps/s, 'a step is no workflow');
like(error_of($node, $db, "SELECT jobsched.skip_step($run, 'd')", 'other'), qr/42704.*run $run does not exist/s, 'not by others');
is(app('SELECT jobsched.skip_step(NULL, NULL) IS NULL'), 't', 'nothing');
$node->safe_psql($db, "BEGIN; SELECT jobsched.skip_step($run, 'd'); ROLLBACK");
open_the_gate();
is(ended($run), 'succeeded', 'a workflow of which a step was skipped');
is(shown($run), 'gated succeeded, a skipped skipped_by_request, b skipped upstream_skipped, c succeeded, d succeeded', '... those after it see a skipped one');

# Whoever is first: the scheduler decides.
define('race', '', act('a', []), act('b', ['a']), act('c', ['b'], 'done'));
my $race = app(q{
	CREATE FUNCTION app.skip(run_id bigint) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM jobsched.skip_step(run_id, 'b');
		RETURN 'skips';
	EXCEPTION WHEN SQLSTATE 'JS055' THEN
		RETURN 'is late';
	END $$;
	DO $$
	DECLARE
		run_id bigint;
	BEGIN
		FOR i IN 1 .. 200 LOOP
			run_id := jobsched.trigger('race');
			COMMIT;
			PERFORM pg_sleep(random() / 200);
			PERFORM app.skip(run_id);
			COMMIT;
		END LOOP;
	END $$;
	SELECT 1});
drained('all have ended');
is(psql(q{SELECT count(*) FROM jobsched.steps WHERE workflow = 'race' AND
		CASE step WHEN 'b' THEN concat_ws(' ', status, reason) NOT IN ('succeeded', 'skipped skipped_by_request') ELSE status <> 'succeeded' END}),
	'0', 'each step is skipped or executed');
is(psql(q{SELECT count(*) FROM jobsched_internal.run_stop}), '0', '... and no wish is left');

# a scheduler that finds the row only
$gate = close_gate($node, $db);
$run = begun('skips');
{
	my $pid = scheduler_pid($node, $db);
	kill 'STOP', $pid;
	app("SELECT jobsched.skip_step($run, 'd'), jobsched.skip_step($run, 'd')");
	end_sessions($node);
	$gate = undef;
	$node->stop('immediate');
	kill 'CONT', $pid;
	$node->start;
	wait_scheduler($node, $db);
}
is(ended($run), 'succeeded', 'after kill -9');
is(shown($run), 'gated succeeded, a succeeded, b succeeded, c succeeded, d skipped skipped_by_request', '... the wish holds');
app(q{SELECT jobsched.pause_job('skips')});
$run = trigger('skips');
refused("SELECT jobsched.skip_step($run, 'd')", qr/JS055.*has not begun/s, 'before it has begun it has no steps');
app("SELECT jobsched.cancel_run($run), jobsched.resume_job('skips')");
drained('all have ended');

# ------------------------------------------------------------------------
# when => always
# ------------------------------------------------------------------------

like(error_of($node, $db, q{SELECT jobsched.trigger('plain', after => '{1}', after_when => 'always')}, 'app'), qr/22023.*invalid after_when "always"/s, 'always is of steps');
define('always', '', $gated, act('a', ['gated']), act('b', [], ''), act('clean', [ 'gated', 'a' ], 'always'), act('more', ['clean'], 'always'), act('rest', ['clean']));
is(app(q{SELECT explanation FROM jobsched.explain_steps('always') WHERE step = 'more'}),
	'Calls its function when "clean" has ended, whatever became of it, also if the run is cancelled.', 'in words');
is(ended($run = trigger('always')), 'succeeded', 'if nobody cancels it');
is(shown($run), 'gated succeeded, a succeeded, b succeeded, clean succeeded, more succeeded, rest succeeded', '... all steps run');
my $cancelled = 'gated cancelled parent_ended, a cancelled parent_ended, b succeeded, clean succeeded, more succeeded, rest cancelled parent_ended';
for my $how ('cancel', 'cancel and restart', 'cancel and crash')
{
	$gate = close_gate($node, $db);
	$run = begun('always');
	wait_value($node, $db, "SELECT status FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'b'", 'succeeded', 'b has ended');
	app(q{SELECT jobsched.pause_job('always')});
	app("SELECT jobsched.cancel_run($run)");
	becomes_shown($run, 'gated cancelled parent_ended, a cancelled parent_ended, b succeeded, clean queued job_paused, more queued waiting_for_upstream, rest cancelled parent_ended',
		"$how: the others end at once");
	$how =~ /restart/ and new_scheduler();
	if ($how =~ /crash/)
	{
		end_sessions($node);
		$gate = undef;
		$node->stop('immediate');
		$node->start;
		wait_scheduler($node, $db);
	}
	is(psql("SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE run_id = $run"), 'running waiting_for_children', "$how: the workflow run waits for what is always done");
	app(q{SELECT jobsched.resume_job('always')});
	is(ended($run), 'cancelled cancelled', "$how: it ends after it");
	is(shown($run), $cancelled, "$how: always means after a cancel, too");
	open_the_gate() if $gate;
}

# What ends that, too.
for my $how ('a second cancel', 'a second cancel after a restart', 'a restart after the second cancel', 'the cancel of a step', 'a drop with cancel_running', 'a drop')
{
	define("ends", q{if_exists => 'update'}, $gated, act('a', ['gated']), act('clean', ['a'], 'always'), act('more', ['clean'], 'always'));
	app(q{SELECT jobsched.resume_job('ends')});
	$gate = close_gate($node, $db);
	$run = begun('ends');
	app(q{SELECT jobsched.pause_job('ends')});
	app("SELECT jobsched.cancel_run($run)");
	my $waits = 'gated cancelled parent_ended, a cancelled parent_ended, clean queued job_paused, more queued waiting_for_upstream';
	becomes_shown($run, $waits, "$how: after the first cancel");
	new_scheduler() if $how =~ /after a restart/;
	is(shown($run), $waits, "$how: nothing else ends");
	if ($how =~ /^a restart/)
	{
		my $pid = scheduler_pid($node, $db);
		kill 'STOP', $pid;
		app("SELECT jobsched.cancel_run($run)");
		end_sessions($node);
		$gate = undef;
		$node->stop('immediate');
		kill 'CONT', $pid;
		$node->start;
		wait_scheduler($node, $db);
	}
	app($how =~ /^the cancel of a step/ ? "SELECT jobsched.cancel_run(" . step_run($run, 'clean') . "), jobsched.resume_job('ends')"
		: $how =~ /^a drop/ ? "SELECT jobsched.drop_job('ends'" . ($how =~ /with/ ? ', cancel_running => true)' : ')')
		: $how =~ /^a restart/ ? 'SELECT 1' : "SELECT jobsched.cancel_run($run)");
	is(ended($run), 'cancelled cancelled', "$how: the workflow run ends");
	is(shown($run), 'gated cancelled parent_ended, a cancelled parent_ended, ' . ($how eq 'the cancel of a step' ? 'clean cancelled cancelled, more succeeded'
		: $how eq 'a drop' ? 'clean succeeded, more succeeded' : 'clean cancelled parent_ended, more cancelled parent_ended'), "$how: what it ends");
	open_the_gate() if $gate;
}
drained('all have ended');

# At random: cancels, once or twice, deadlines and kill -9.
my %in_any_case;
for my $number (1 .. 12)
{
	my @random = ({ name => 's0', command => 'SELECT pg_sleep(random() / 20)' });

	for my $i (1 .. 2 + int rand 6)
	{
		my @after = grep { rand() < 0.5 } 0 .. $i - 1;
		my $when = (qw(success always always done failure))[ rand 5 ];
		push @random, { name => "s$i", command => 'SELECT pg_sleep(random() / 20)', after => [ map { "s$_" } @after ], (@after ? (when => $when) : ()) };
		push @{ $in_any_case{"random$number"} }, "s$i" if @after && $when eq 'always';
	}
	define("random$number", '', @random);
}
# One is sure to be cancelled before what it always does, however fast the others are.
define('random0', '', $gated, act('clean', ['gated'], 'always'));
$in_any_case{random0} = ['clean'];
$gate = close_gate($node, $db);
my @random_runs = (begun('random0'));
my %cancels = ($random_runs[0] => 1);
app("SELECT jobsched.cancel_run($random_runs[0])");
open_the_gate();
for my $round (1 .. 5)
{
	my @ids = split /\n/, app(q{SELECT jobsched.trigger('random' || i) FROM generate_series(1, 12) i, generate_series(1, 4)});
	push @random_runs, @ids;
	for (1 .. 40)
	{
		my $spared = join ',', grep { ($cancels{$_} || 0) >= 1 + $_ % 2 } @ids;
		my $victim = psql(qq{SELECT run_id FROM jobsched.runs WHERE reason = 'waiting_for_children' AND NOT run_id = ANY ('{$spared}') ORDER BY random() LIMIT 1})
		  or next;
		$cancels{$victim}++ if app("SELECT jobsched.cancel_run($victim)") eq 't';
	}
	my @pids = worker_pids($node, $db);
	end_sessions($node);
	if ($round == 2)
	{
		$node->stop('immediate');
		$node->start;
	}
	elsif ($round == 4 && @pids)
	{
		kill 'KILL', $pids[ rand @pids ];
	}
	else
	{
		new_scheduler();
	}
	wait_connection($node, $db);
	wait_scheduler($node, $db);
}
drained('all have ended');
is(psql('SELECT count(*) FROM jobsched_internal.run_stop'), '0', 'no stop is left');
my $is_always = join ' OR ', map { my $job = $_; "(s.workflow = '$job' AND s.step IN (" . join(',', map { "'$_'" } @{ $in_any_case{$job} }) . '))' } sort keys %in_any_case;
my $once = join ',', 0, grep { ($cancels{$_} || 0) == 1 } @random_runs;
my $never = join ',', 0, grep { !$cancels{$_} } @random_runs;
is(psql("SELECT string_agg(concat_ws(' ', s.workflow_run_id, s.step, s.status, s.reason), ', ') FROM jobsched.steps s WHERE s.workflow_run_id IN ($once) AND s.status = 'cancelled' AND ($is_always)"),
	'', 'a cancel ends nothing that is always done');
is(psql("SELECT string_agg(concat_ws(' ', s.workflow_run_id, s.step, s.status, s.reason), ', ') FROM jobsched.steps s WHERE s.workflow_run_id IN ($once, $never) AND s.status NOT IN ('succeeded', 'lost') AND ($is_always)"),
	'', '... it runs');
is(psql("SELECT count(*) FROM jobsched.steps WHERE workflow_run_id IN ($never) AND status = 'cancelled'"), '0', 'what nobody cancels goes on');
isnt(psql("SELECT count(*) FROM jobsched.steps s JOIN jobsched.runs r ON r.run_id = s.workflow_run_id WHERE r.status = 'cancelled' AND s.status = 'succeeded' AND ($is_always)"), '0', 'some were done after a cancel');

# Below another run: what always runs does so when that is cancelled.
define('below', '', $gated, act('clean', ['gated'], 'always'));
app(q{SELECT jobsched.create_job('above', command => 'SELECT jobsched.trigger(''below'', child => true)')});
$gate = close_gate($node, $db);
app(q{SELECT jobsched.create_job('busy', command => 'SELECT jobsched.trigger(''below'', child => true); SELECT pg_sleep(600)', mode => 'autocommit')});
for my $how ('above', 'busy')
{
	my $above = trigger($how);
	wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.runs WHERE parent_run_id = $above)", 'it has a child');
	my $below = psql("SELECT run_id FROM jobsched.runs WHERE parent_run_id = $above");
	wait_at_gate($node, $db, step_run($below, 'gated'));
	app(q{SELECT jobsched.pause_job('below')});
	app("SELECT jobsched.cancel_run($above)");
	becomes_shown($below, 'gated cancelled parent_ended, clean queued job_paused', "$how: a workflow run below one that is cancelled");
	new_scheduler();
	is(shown($below), 'gated cancelled parent_ended, clean queued job_paused', "$how: ... waits for what is always to be done");
	app(q{SELECT jobsched.resume_job('below')});
	is(ended($below), 'cancelled parent_ended', "$how: ... and ends");
	is(shown($below), 'gated cancelled parent_ended, clean succeeded', "$how: ... when that has been done");
	like(ended($above), qr/^cancelled cancelled/, "$how: the one above has ended, too");
}
my $top = trigger('above');
wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.runs WHERE parent_run_id = $top)", 'it has a child');
my $below = psql("SELECT run_id FROM jobsched.runs WHERE parent_run_id = $top");
wait_at_gate($node, $db, step_run($below, 'gated'));
app(q{SELECT jobsched.pause_job('below')});
app("SELECT jobsched.cancel_run($top)");
becomes_shown($below, 'gated cancelled parent_ended, clean queued job_paused', 'once more');
app("SELECT jobsched.cancel_run($top)");
is(ended($top), 'cancelled cancelled', 'what is above is cancelled twice');
is(shown($below), 'gated cancelled parent_ended, clean cancelled parent_ended', '... which ends all that is below');
app(q{SELECT jobsched.resume_job('below')});
open_the_gate();

# What was to be carried over is no parent of a run that is executed as something else.
define('turned handler', '', act('a', []), { name => 'bad', command => 'SELECT 1/0', max_attempts => 1 });
my $turned = trigger('turned handler');
is(ended($turned), 'failed child_failed', 'a workflow that fails');
app(q{SELECT jobsched.pause_job('turned handler')});
$turned = app("SELECT jobsched.retry_run($turned)");
app(q{SELECT jobsched.alter_job('turned handler', handler => 'app.act'), jobsched.resume_job('turned handler')});
is(end_of($node, $db, $turned, q{status, result -> 'got'}), 'succeeded|{}', 'its retry, which has become a function, has waited for nothing');

# ------------------------------------------------------------------------
# deadline
# ------------------------------------------------------------------------

refused(q{SELECT jobsched.alter_job('plain', deadline => '1 min')}, qr/22023.*cannot have a deadline/s, 'a deadline is of steps');
refused(q{SELECT jobsched.create_job('never', command => 'SELECT 1', deadline => '1 min')}, qr/22023.*cannot have a deadline/s, '... also of a new job');
refused(q{SELECT jobsched.create_job('never', steps => '[{"name": "a", "command": "SELECT 1"}]', deadline => '-1 s')}, qr/22023/s, '... not in the past');
set_clock($node, $db, '2040-01-01');
define('timed', q{deadline => '1 hour'}, $gated, act('a', ['gated']), act('clean', ['a'], 'always'));
for my $how ('', 'after a restart')
{
	$gate = close_gate($node, $db);
	$run = begun('timed');
	app(q{SELECT jobsched.pause_job('timed')});
	new_scheduler() if $how;
	set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + '59 min'}));
	wait_caught_up_but_gated();
	is(psql("SELECT count(*) FROM jobsched.steps WHERE workflow_run_id = $run AND status = 'running'"), '1', "$how: before its deadline");
	set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + '61 s'}));
	becomes_shown($run, 'gated cancelled parent_ended, a cancelled parent_ended, clean queued job_paused', "$how: a pause does not stop the clock");
	new_scheduler() if $how;
	app(q{SELECT jobsched.resume_job('timed')});
	is(ended($run), 'timed_out deadline', "$how: after its deadline");
	is(shown($run), 'gated cancelled parent_ended, a cancelled parent_ended, clean succeeded', "$how: all but what always runs has ended");
	open_the_gate();
}
sub wait_caught_up_but_gated
{
	return is(ended(trigger('flag')), 'succeeded', 'the scheduler has seen the time');
}
is(psql("SELECT result IS NULL FROM jobsched.runs WHERE run_id = $run"), 't', 'it has no result');
is(psql("SELECT concat_ws(' ', total, cancelled, succeeded, first_failed_step) FROM jobsched.workflows WHERE run_id = $run"), '3 2 1',
	'... and what its deadline has cancelled is not what has failed first');
is(app("SELECT count(*) FROM jobsched.dead_letters WHERE run_id = $run"), '1', 'it is a dead letter');
is(app("SELECT result IS NULL, first_failed_step IS NULL, cancelled FROM jobsched.workflows WHERE run_id = $run"), 't|t|2', '... has no result, and none of its steps has failed');
is(ended($again = app("SELECT jobsched.retry_run($run)")), 'succeeded', '... and can be retried');

# A deadline that is altered holds for a run that has begun; a cancel came first.
$gate = close_gate($node, $db);
$run = begun('timed');
app(q{SELECT jobsched.alter_job('timed', deadline => '2 hours')});
set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + '61 min'}));
wait_caught_up_but_gated();
is(psql("SELECT count(*) FROM jobsched.steps WHERE workflow_run_id = $run AND status = 'running'"), '1', 'a longer deadline');
app(q{SELECT jobsched.alter_job('timed', deadline => '30 min')});
is(ended($run), 'timed_out deadline', 'a shorter one that is over');
is(shown($run), 'gated cancelled parent_ended, a cancelled parent_ended, clean succeeded', '... ends it');
$run = begun('timed');
app(q{SELECT jobsched.pause_job('timed')});
app("SELECT jobsched.cancel_run($run)");
becomes_shown($run, 'gated cancelled parent_ended, a cancelled parent_ended, clean queued job_paused', 'cancelled before its deadline');
new_scheduler();
set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + '1 day'}));
wait_caught_up_but_gated();
is(shown($run), 'gated cancelled parent_ended, a cancelled parent_ended, clean queued job_paused', '... that does no more');
app(q{SELECT jobsched.resume_job('timed')});
is(ended($run), 'cancelled cancelled', '... and it ends as cancelled');
is(shown($run), 'gated cancelled parent_ended, a cancelled parent_ended, clean succeeded', '... after what always runs');
$run = begun('timed');
app(q{SELECT jobsched.alter_job('timed', deadline => '0')});
set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + '1 day'}));
open_the_gate();
is(ended($run), 'succeeded', 'no deadline any more');
is(app(q{SELECT deadline IS NULL FROM jobsched.jobs WHERE name = 'timed'}), 't', '... in view jobs');

# Nor does one that comes when the run is to end with the one above it.
define('under', q{deadline => '1 hour'}, $gated, act('clean', ['gated'], 'always'));
app(q{SELECT jobsched.create_job('over', command => 'SELECT jobsched.trigger(''under'', child => true)')});
$gate = close_gate($node, $db);
my $over = trigger('over');
wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.runs WHERE parent_run_id = $over)", 'it has a child');
$run = psql("SELECT run_id FROM jobsched.runs WHERE parent_run_id = $over");
wait_at_gate($node, $db, step_run($run, 'gated'));
app("SELECT jobsched.pause_job('under'), jobsched.cancel_run($over)");
becomes_shown($run, 'gated cancelled parent_ended, clean queued job_paused', 'the run above is cancelled before the deadline');
set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + '2 hours'}));
wait_caught_up_but_gated();
new_scheduler();
wait_caught_up_but_gated();
app(q{SELECT jobsched.resume_job('under')});
is(ended($run), 'cancelled parent_ended', '... and the run below ends by that');
is(ended($over), 'cancelled cancelled', '... with the one above');
open_the_gate();

# What has begun as something else has no deadline.
app(q{SELECT jobsched.create_job('leaf', handler => 'app.gated'), jobsched.create_job('became', command => 'SELECT jobsched.trigger(''leaf'', child => true)')});
$gate = close_gate($node, $db);
$run = trigger('became');
wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.runs WHERE parent_run_id = $run)", 'it has a child');
wait_at_gate($node, $db, psql("SELECT run_id FROM jobsched.runs WHERE parent_run_id = $run"));
app(q{SELECT jobsched.alter_job('became', deadline => '1 min', steps => '[{"name": "a", "command": "SELECT 1"}]')});
set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + '1 hour'}));
wait_caught_up_but_gated();
new_scheduler();
wait_caught_up_but_gated();
open_the_gate();
is(ended($run), 'succeeded', 'a command that waits for its children, and whose job has become a workflow');

done_testing();
