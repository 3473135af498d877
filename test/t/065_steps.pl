# Copyright (c) 2026, jobsched contributors

# Jobs made of steps: random graphs against a model of what doc/workflows.md says,
# undisturbed and with kill -9; what steps see of each other; what becomes of them
# when their workflow is altered, renamed, given away, paused, dropped, cancelled,
# retried; who sees them; copies and retention.

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
my $node = http_node('steps', conf => "restart_after_crash = on\nmax_prepared_transactions = 5\njobsched.max_databases = 6\n");
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

# As the value of parameter steps.
sub steps_of
{
	return 'steps => ' . quoted($json->encode([@_]));
}

# A workflow that is called $name; further parameters may come first.
sub define
{
	my ($name, @steps) = @_;
	my $more = @steps && !ref $steps[0] ? ', ' . shift @steps : '';
	return app("SELECT jobsched.create_job('$name', " . steps_of(@steps) . "$more)");
}

sub trigger
{
	my ($job, $more) = @_;
	return app("SELECT jobsched.trigger('$job'" . ($more ? ", $more)" : ')'));
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

# The steps of a workflow run, in their order, and what has become of them.
sub shown
{
	my ($run_id, $columns) = @_;
	$columns ||= 'step, status, reason';
	return psql("SELECT string_agg(concat_ws(' ', $columns), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $run_id");
}

# The run of a step.
sub step_run
{
	my ($run_id, $step) = @_;
	my $of = "FROM jobsched.steps WHERE workflow_run_id = $run_id AND step = '$step'";

	wait_until($node, $db, "SELECT count(*) = 1 $of", "step $step is queued");
	return psql("SELECT run_id $of");
}

sub becomes_shown
{
	my ($run_id, $expected, $name) = @_;
	return wait_value($node, $db, "SELECT string_agg(concat_ws(' ', step, status, reason), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $run_id",
		$expected, $name);
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

sub kill_worker
{
	my ($pid) = @_;
	end_sessions($node);
	kill 'KILL', $pid;
	wait_connection($node, $db);
	return wait_scheduler($node, $db);
}

make_gate($node, $db, 'app');
app(q{
	CREATE TABLE app.saw (run_id bigint, workflow bigint, upstream text);
	-- leaves what it sees, and then does what it is told
	CREATE FUNCTION app.act(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave(args);
		INSERT INTO app.saw VALUES (jobsched.run_id(), jobsched.workflow_run_id(),
			(SELECT string_agg(concat_ws(' ', u.step, u.status, u.result ->> 'of'), ', ' ORDER BY u.run_id) FROM jobsched.upstream() u));
		IF args ->> 'do' = 'fail' THEN
			RAISE 'no';
		ELSIF args ->> 'do' = 'discard' THEN
			PERFORM jobsched.discard('enough');
		ELSIF args ->> 'do' = 'again' AND jobsched.attempt() = 1 THEN
			RAISE 'again' USING ERRCODE = '40001';
		END IF;
		RETURN jsonb_build_object('of', jobsched.run_id());
	END $$;
	CREATE FUNCTION app.gated(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave(args);
		PERFORM id FROM public.gate FOR SHARE;
		RETURN jsonb_build_object('of', jobsched.run_id());
	END $$;
	CREATE FUNCTION app.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
	CREATE FUNCTION app.echo(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args'});

# ------------------------------------------------------------------------
# Workflows whose first step waits
# ------------------------------------------------------------------------

my ($gate, $run);
my $gated = { name => 'gated', handler => 'app.gated' };
sub says
{
	my ($name, $what) = @_;
	return { name => $name, command => "SELECT to_jsonb('$what'::text)" };
}

# Begins a workflow whose first step waits at the gate; returns its run.
sub begun
{
	my ($job) = @_;
	my $begun = trigger($job);

	wait_at_gate($node, $db, step_run($begun, 'gated'));
	return $begun;
}

sub open_the_gate
{
	$gate->query_safe('COMMIT');
	$gate->quit;
	return;
}

my @old = ($gated, says('says', 'old'));
my @new = (says('first', 'first'), says('says', 'new'));

# How many steps of the set in force there are, and of others.
sub rows_of_steps
{
	my ($job) = @_;
	return qq{SELECT count(*) FILTER (WHERE s.step_revision = j.steps_revision), count(*) FILTER (WHERE s.step_revision <> j.steps_revision)
		FROM jobsched_internal.job s JOIN jobsched_internal.job j ON j.job_id = s.workflow_id
		WHERE j.name = '$job' AND j.dropped_at IS NULL AND s.dropped_at IS NULL};
}

# ------------------------------------------------------------------------
# The model
# ------------------------------------------------------------------------

# What a step can do, how often it then does, and how it ends in how many attempts;
# "cut": how it may end besides if a crash of the server cuts it off.
my $acts = { handler => 'app.act' };
my %behaviour = (
	function => { weight => 30, make => sub { $acts }, end => 'succeeded', leaves => 1 },
	command => { weight => 10, make => sub { +{ command => 'SELECT app.act(jobsched.args())' } }, end => 'succeeded', leaves => 1 },
	shared => { weight => 10, make => sub { +{ %$acts, share_transaction => JSON::PP::true } }, end => 'succeeded', leaves => 1 },
	again => { weight => 8, make => sub { +{ %$acts, args => { do => 'again' } } }, end => 'succeeded', attempts => 2, leaves => 1 },
	looking => { weight => 8, make => sub { +{ %$acts, if => 'EXISTS (SELECT FROM jobsched.step_results())' } }, end => 'succeeded', leaves => 1 },
	unwanted => { weight => 4, make => sub { +{ %$acts, if => 'false', on_failure => 'app.echo' } }, end => 'skipped condition', attempts => 0 },
	looking_request => { weight => 8, make => sub { +{ url => "$sink->{url}/ok/$_[0]", if => 'jobsched.workflow_run_id() > 0' } }, end => 'succeeded' },
	unwanted_request => { weight => 4, make => sub { +{ url => "$sink->{url}/unwanted/$_[0]", if => 'NULL' } }, end => 'skipped condition', attempts => 0 },
	request => { weight => 8, make => sub { +{ url => "$sink->{url}/ok/$_[0]" } }, end => 'succeeded' },
	fail => { weight => 12, make => sub { +{ %$acts, args => { do => 'fail' } } }, end => 'failed error' },
	discard => { weight => 3, make => sub { +{ %$acts, args => { do => 'discard' } } }, end => 'failed discarded' },
	refused => { weight => 4, make => sub { +{ url => "$sink->{url}/status/404" } }, end => 'failed http_status' },
	late => { weight => 4, make => sub { +{ command => 'SELECT pg_sleep(60)', timeout => '20 ms', max_attempts => 1 } }, end => 'timed_out timeout' },
	lose => { weight => 4, make => sub { +{ command => 'SELECT 1; SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60)', mode => 'autocommit' } },
		end => 'lost worker_died', cut => 'lost server_restarted' },
	cancel => { weight => 7, make => sub { +{ command => 'SELECT jobsched.cancel_run(jobsched.run_id()); SELECT pg_sleep(60)', mode => 'autocommit' } },
		end => 'cancelled cancelled', cut => 'lost server_restarted' });
my @choices = map { ($_) x $behaviour{$_}{weight} } sort keys %behaviour;
my %letter = (succeeded => 'S', failed => 'F', timed_out => 'F', lost => 'F', cancelled => 'F', skipped => 'K');

# What a run does that waits for runs with these ends: '' for start, or the reason
# why it is skipped.
sub condition
{
	my ($when, @ends) = @_;
	my %seen = map { $letter{$_} => 1 } @ends;

	return '' if !@ends || $when eq 'done';
	return 'upstream_failed' if $when eq 'success' && $seen{F};
	return '' if $when eq 'failure' && $seen{F};
	return 'upstream_skipped' if !$seen{S};
	return $when eq 'success' ? '' : 'upstream_succeeded';
}

# A graph: steps as they are defined, and as the model knows them (name, does,
# after, when, optional).
sub random_graph
{
	my ($number) = @_;
	my $n = 1 + int rand 8;
	my $shuffled = rand() < 0.5;
	my (@steps, @known);

	for my $i (0 .. $n - 1)
	{
		my $does = $choices[ rand @choices ];
		my @after = grep { rand() < 1.6 / ($i + 0.6) } 0 .. $i - 1;
		my $when = @after ? (qw(success success success failure done))[ rand 5 ] : 'success';
		my $optional = rand() < 0.25;
		my $is_default = @after ? @after == 1 && $after[0] == $i - 1 : $i == 0;
		my %step = (name => "s$i", backoff => 'fixed', backoff_base => '0', %{ $behaviour{$does}{make}->("$number/s$i") });

		$step{after} = [ map { "s$_" } @after ] unless $is_default && !$shuffled && rand() < 0.7;
		$step{when} = $when if $when ne 'success' || (@after && rand() < 0.3);
		$step{optional} = $optional ? JSON::PP::true : JSON::PP::false if $optional || rand() < 0.2;
		my $delay = rand() < 0.15 ? 0.02 : 0;
		$step{delay} = '20 ms' if $delay;
		push @steps, \%step;
		push @known, { delay => $delay, name => "s$i", does => $does, after => [ map { "s$_" } @after ], when => $when, optional => $optional };
	}
	my @order = $shuffled ? sort { $a->[0] <=> $b->[0] } map { [ rand(), $_ ] } 0 .. $n - 1 : map { [ 0, $_ ] } 0 .. $n - 1;
	return { number => $number, steps => [ @steps[ map { $_->[1] } @order ] ], known => numbered(@known[ map { $_->[1] } @order ]) };
}

# In the order in which they were given, but each after all that it comes after.
sub numbered
{
	my @left = @_;
	my (@placed, %is_placed);

	while (@left)
	{
		my ($next) = grep { !grep { !$is_placed{$_} } @{ $left[$_]{after} } } 0 .. $#left;
		my ($step) = splice @left, $next, 1;

		$is_placed{ $step->{name} } = 1;
		push @placed, $step;
	}
	return \@placed;
}

# The rows of workflow runs and of their steps, by workflow run.
sub observed
{
	my (@runs) = @_;
	my $ids = join ',', @runs;
	my %seen;

	for (split /\n/, psql("SELECT run_id, concat_ws(' ', status, reason), error, extract(epoch FROM finished_at) FROM jobsched.runs WHERE run_id IN ($ids)"))
	{
		my ($run_id, @columns) = split /\|/, $_, -1;
		@{ $seen{$run_id} }{qw(end error finished)} = @columns;
	}
	for (split /\n/, psql(qq{
		SELECT s.workflow_run_id, s.step, s.step_no, s.run_id, s.status, concat_ws(' ', s.status, s.reason), s.optional, s.attempt,
			extract(epoch FROM s.started_at), extract(epoch FROM s.finished_at),
			(SELECT count(*) FROM app.effect e WHERE e.run_id = s.run_id),
			(SELECT string_agg(w.workflow || ': ' || COALESCE(w.upstream, ''), ' and ') FROM app.saw w WHERE w.run_id = s.run_id), r.job_name
		FROM jobsched.steps s JOIN jobsched.runs r ON r.run_id = s.run_id AND r.parent_run_id = s.workflow_run_id AND r.source = 'step'
		WHERE s.workflow_run_id IN ($ids) ORDER BY s.workflow_run_id, s.step_no}))
	{
		my ($run_id, $name, @columns) = split /\|/, $_, -1;
		my %step = (name => $name);
		@step{qw(no run_id status end optional attempt started finished effects saw job)} = @columns;
		push @{ $seen{$run_id}{steps} }, \%step;
	}
	return \%seen;
}

# What is wrong with a step, by the ends of those before it.  $disturbed: "by kill",
# "by hand" (anything may have been cancelled), or nothing.
sub faults_of_step
{
	my ($run_id, $known, $step, $before, $disturbed) = @_;
	my $does = $behaviour{ $known->{does} };
	my @parents = sort { $a->{no} <=> $b->{no} } map { $before->{$_} } @{ $known->{after} };
	my $skipped = condition($known->{when}, map { $_->{status} } @parents);
	my $is_cancelled = $disturbed eq 'by hand' && $step->{status} eq 'cancelled';
	my $leaves = !$skipped && !$is_cancelled && $does->{leaves} ? 1 : 0;
	my $attempts = $skipped ? 0 : $does->{attempts} // 1;
	my @ends = $skipped ? "skipped $skipped" : $does->{end};
	my @faults;

	push @ends, $does->{cut} if $disturbed eq 'by kill' && !$skipped && $does->{cut};
	push @ends, 'cancelled cancelled', 'cancelled parent_ended' if $is_cancelled;
	push @faults, "ended as '$step->{end}'" unless grep { $_ eq $step->{end} } @ends;
	push @faults, "attempt $step->{attempt}"
	  if !$is_cancelled && ($skipped || $disturbed ne 'by kill' ? $step->{attempt} != $attempts : $step->{attempt} < $attempts);
	push @faults, "$step->{effects} effects" if $step->{effects} != $leaves;
	push @faults, "optional $step->{optional}" if ($step->{optional} eq 't') != !!$known->{optional};
	my $upstream = join ', ', map { "$_->{name} $_->{status}" . ($_->{gives} ? " $_->{run_id}" : '') } @parents;
	push @faults, "saw '$step->{saw}', not '$upstream'" if $leaves && $step->{saw} ne "$run_id: $upstream";
	# of one that was cut off it is the time of its claim, by the clock of a step of the scheduler
	my $is_cut_off = $step->{status} eq 'lost' || ($disturbed && $step->{status} eq 'cancelled');
	push @faults, 'started early' if $attempts && !$skipped && !$is_cut_off && grep { $_->{finished} + ($known->{delay} || 0) > $step->{started} + 0.000001 } @parents;
	$step->{gives} = $leaves;
	return map { "$step->{name} ($known->{does}, $known->{when}): $_" } @faults;
}

# What is wrong with a run of a graph, as lines.
sub faults
{
	my ($graph, $run_id, $seen, $disturbed) = @_;
	my @steps = @{ $seen->{steps} || [] };
	my @known = @{ $graph->{known} };
	my $names = join ' ', map { $_->{name} } @known;
	my (@faults, %before, $first);

	return () if $disturbed eq 'by hand' && $seen->{end} =~ /^cancelled cancelled/ && !@steps;    # before it began
	return "it has the steps '@{[ map { $_->{name} } @steps ]}', not '$names'" if join(' ', map { $_->{name} } @steps) ne $names;
	for my $i (0 .. $#steps)
	{
		my $step = $steps[$i];

		push @faults, faults_of_step($run_id, $known[$i], $step, \%before, $disturbed);
		push @faults, "$step->{name}: its number is $step->{no}" if $step->{no} != $i + 1;
		push @faults, "$step->{name}: its run does not follow" if $i > 0 && $step->{run_id} <= $steps[ $i - 1 ]{run_id};
		push @faults, "$step->{name}: it ended after its workflow" if $step->{finished} > $seen->{finished};
		$before{ $step->{name} } = $step;
		$first ||= $step if $letter{ $step->{status} } eq 'F' && !$known[$i]{optional};
	}
	my $end = $first ? 'failed child_failed' : 'succeeded';
	return @faults if $disturbed eq 'by hand' && $seen->{end} =~ /^cancelled cancelled/;
	push @faults, "the workflow ended as '$seen->{end}', not '$end'" if $seen->{end} ne $end;
	push @faults, "its error is '$seen->{error}'" if $first ? $seen->{error} !~ /^run $first->{run_id} of job "graph$graph->{number}b?\.$first->{name}"/ : $seen->{error} ne '';
	return @faults;
}

# ------------------------------------------------------------------------
# Random graphs
# ------------------------------------------------------------------------

srand($ENV{JOBSCHED_STEPS_SEED} || 65);
my @graphs = map { random_graph($_) } 1 .. 60;
for my $graph (@graphs)
{
	my @known = @{ $graph->{known} };
	my $no = 0;

	define("graph$graph->{number}", q{backoff => 'fixed', backoff_base => '0'}, @{ $graph->{steps} });
	is(app(qq{
		SELECT string_agg(concat_ws(' ', step_no, step, CASE WHEN after <> '{}' THEN "when" END, optional,
			(SELECT string_agg(a, ',' ORDER BY a) FROM unnest(after) a)), E'\n' ORDER BY step_no)
		FROM jobsched.explain_steps('graph$graph->{number}')}),
		join("\n", map { join ' ', ++$no, $_->{name}, (@{ $_->{after} } ? $_->{when} : ()), $_->{optional} ? 't' : 'f', @{ $_->{after} } ? join(',', @{ $_->{after} }) : () } @known),
		"graph $graph->{number} is as the model has it");
}

# The workflow runs of all graphs, each so many times, by number of the graph.
sub run_graphs
{
	my ($times) = @_;
	return map { split /\|/ } split /\n/, app(qq{
		SELECT g, jobsched.trigger('graph' || g) FROM generate_series(1, $times), generate_series(1, 60) g});
}

sub check_graphs
{
	my ($name, $disturbed, @runs) = @_;
	my (%wrong, @all);

	drained("$name: all have ended");
	while (my ($number, $run_id) = splice @runs, 0, 2)
	{
		push @all, [ $number, $run_id ];
	}
	my $seen = observed(map { $_->[1] } @all);
	for (@all)
	{
		my ($number, $run_id) = @$_;
		my @faults = faults($graphs[ $number - 1 ], $run_id, $seen->{$run_id}, $disturbed);
		push @{ $wrong{$number} }, map { "run $run_id: $_" } @faults;
	}
	for my $number (1 .. 60)
	{
		is(join("\n", @{ $wrong{$number} || [] }), '', "$name: graph $number")
		  or diag $json->encode($graphs[ $number - 1 ]{steps});
	}
	is(psql('SELECT count(*) FROM app.effect') - psql('SELECT count(DISTINCT run_id) FROM app.effect'), 0, "$name: nothing was done twice");
	return wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency', '0', "$name: nothing is left");
}

check_graphs('undisturbed', '', run_graphs(1));
for my $graph (@graphs)
{
	for my $known (grep { $_->{does} eq 'request' } @{ $graph->{known} })
	{
		my $sent = () = requests($sink, qr{^/ok/$graph->{number}/$known->{name}$});
		my $status = psql(qq{SELECT s.status FROM jobsched.steps s WHERE s.workflow = 'graph$graph->{number}' AND s.step = '$known->{name}'});
		is($sent, $status eq 'succeeded' ? 1 : 0, "graph $graph->{number}, $known->{name}: sent as often as it should");
	}
}

for my $round (1, 2)
{
	my $before = psql(q{SELECT count(*) FROM jobsched.runs WHERE source = 'step'});
	my @runs = run_graphs(2);
	my $ended = $before;

	for my $victim ('a worker', 'the server', 'a worker')
	{
		$ended += 20 + int rand 120;
		until_true($node, $db, "SELECT count(*) >= $ended FROM jobsched.runs WHERE source = 'step' AND finished_at IS NOT NULL", 'some steps have ended');
		if ($victim eq 'the server')
		{
			end_sessions($node);
			$node->stop('immediate');
			$node->start;
			wait_scheduler($node, $db);
			next;
		}
		my @pids = worker_pids($node, $db) or next;
		kill_worker($pids[ rand @pids ]);
	}
	check_graphs("kill -9, round $round", 'by kill', @runs);
}

# ... and with whatever its owner may do to it.
sub disturb
{
	my $what = (qw(cancel cancel pause resume alter alter rename))[ rand 7 ];
	my $graph = $graphs[ rand @graphs ];
	my $name = "graph$graph->{number}";

	return app(sprintf 'WITH live AS (SELECT run_id, row_number() OVER (ORDER BY run_id), count(*) OVER () FROM jobsched.runs WHERE finished_at IS NULL)
		SELECT jobsched.cancel_run(run_id) FROM live WHERE row_number = 1 + floor(%.6f * count)', rand)
	  if $what eq 'cancel';
	return app("SELECT jobsched.${what}_job('$name')") if $what eq 'pause' || $what eq 'resume';
	return app("SELECT jobsched.alter_job('$name', name => '${name}b'); SELECT jobsched.alter_job('${name}b', name => '$name')") if $what eq 'rename';
	my @steps = map { { %$_, description => int rand 1000 } } @{ $graph->{steps} };
	$_->{description} = "$_->{description}" for @steps;
	return app("SELECT jobsched.alter_job('$name', " . steps_of(@steps) . ')');
}

set_setting($node, 'jobsched.max_running_per_owner', 1);    # so it takes a while
my @runs = run_graphs(2);
for my $i (1 .. 200)
{
	disturb();
	new_scheduler() if $i % 100 == 50;
}
app("SELECT jobsched.resume_job('graph' || g) FROM generate_series(1, 60) g");
set_setting($node, 'jobsched.max_running_per_owner', undef);
check_graphs('disturbed by its owner', 'by hand', @runs);
cmp_ok(psql("SELECT count(*) FROM jobsched.steps WHERE workflow_run_id >= $runs[1] AND reason = 'parent_ended'"), '>', 0, 'that has met workflow runs in the middle');
becomes($node, $db, q{SELECT count(*) FROM jobsched_internal.job s JOIN jobsched_internal.job j ON j.job_id = s.workflow_id
	WHERE s.dropped_at IS NULL AND s.step_revision <> j.steps_revision}, '0', 'the steps of before are gone');

# ------------------------------------------------------------------------
# A workflow run that is cut off while it queues its steps
# ------------------------------------------------------------------------

# Takes the id that the third step's run is to have, so whoever queues that waits.
my $far = trigger('graph1', q{run_at => now() + interval '1000 days'});
sub in_the_way
{
	my $n = psql('SELECT last_value FROM jobsched_internal.run_id_seq') + 4;
	return close_gate($node, $db, qq{INSERT INTO jobsched_internal.run
		SELECT (jsonb_populate_record(r, '{"run_id": $n}')).* FROM jobsched_internal.run r WHERE run_id = $far});
}

my @five = map { { name => $_, %$acts } } 'a' .. 'e';
define('five', @five);
$gate = in_the_way();
$run = trigger('five');
my $pid = wait_at_gate($node, $db, $run);
is(shown($run), '', 'it has queued two of five steps, and nobody sees them');
kill_worker($pid);
$gate->{run}->kill_kill;
is(ended($run), 'succeeded', 'its worker is killed: it is executed once more');
is(shown($run), 'a succeeded, b succeeded, c succeeded, d succeeded, e succeeded', 'and has each step once');
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id BETWEEN $run + 1 AND $run + 100"), '5', 'nothing is left of the first');

$gate = in_the_way();
$run = trigger('five');
wait_at_gate($node, $db, $run);
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled 57014', 'it is cancelled while it queues');
$gate->{run}->kill_kill;
is(shown($run), '', 'and has no steps');

# Altered meanwhile: it goes on with the steps with which it has begun.
$gate = in_the_way();
$run = trigger('five');
wait_at_gate($node, $db, $run);
app(q{SELECT jobsched.alter_job('five', } . steps_of({ name => 'only', %$acts }) . ')');
is(ended(trigger('five')), 'succeeded', 'altered while a run queues its steps: another run');
is(psql(rows_of_steps('five')), '1|5', 'the old steps are there');
$gate->query_safe('ROLLBACK');
$gate->quit;
is(ended($run), 'succeeded', 'the run that was queueing ends');
is(shown($run), 'a succeeded, b succeeded, c succeeded, d succeeded, e succeeded', 'with the old steps');
becomes($node, $db, rows_of_steps('five'), '1|0', 'which then go');
app("SELECT jobsched.cancel_run($far)");

# ------------------------------------------------------------------------
# Many steps
# ------------------------------------------------------------------------

my @middle = map { { name => "m$_", handler => 'app.act', share_transaction => JSON::PP::true, after => ['first'] } } 1 .. 998;
app(q{
	CREATE FUNCTION app.count_steps(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_build_object('of', (jobsched.step_result('m500') ->> 'of')::bigint, 'succeeded', count(*) FILTER (WHERE status = 'succeeded'), 'all', count(*))
		FROM jobsched.step_results()
	$$});
my @thousand = ({ name => 'first', handler => 'app.act' }, @middle, { name => 'last', handler => 'app.count_steps', after => [ map { "m$_" } 1 .. 998 ] });
define('thousand', @thousand);
$run = trigger('thousand');
is(ended($run), 'succeeded', 'a thousand steps');
is(psql("SELECT status, count(*), count(DISTINCT step_no), count(DISTINCT run_id), min(step_no), max(step_no) FROM jobsched.steps WHERE workflow_run_id = $run GROUP BY 1"),
	'succeeded|1000|1000|1000|1|1000', 'each of them once');
is(psql("SELECT count(*), count(DISTINCT run_id) FROM app.effect JOIN jobsched.steps USING (run_id) WHERE workflow_run_id = $run"), '999|999', 'they were executed once');
is(psql("SELECT result ->> 'succeeded', result ->> 'all', (result ->> 'of')::bigint = (SELECT run_id FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'm500')
	FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'last'"), '999|1000|t', 'the last sees what they have left');
like(psql("EXPLAIN SELECT run_id FROM jobsched.steps WHERE workflow_run_id = $run"), qr/history_000_parent_run_id_run_id_idx/, 'steps of a run are found by an index');
like(psql("EXPLAIN SELECT step FROM jobsched.steps WHERE run_id = $run"), qr/history_000_pkey/, 'and so is a step by its run');
is(psql("SELECT step_no, step FROM jobsched.steps WHERE run_id = (SELECT run_id FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'm7')"), '8|m7', 'it is the right one');

define('chain', { name => 'first', handler => 'app.fail' }, map { { name => "s$_", handler => 'app.act' } } 2 .. 1000);
$run = trigger('chain');
is(ended($run), 'failed child_failed', 'a chain of a thousand, of which the first fails');
is(psql("SELECT status, reason, count(*) FROM jobsched.steps WHERE workflow_run_id = $run GROUP BY 1, 2 ORDER BY 3, 1"),
	"failed|error|1\nskipped|upstream_failed|1\nskipped|upstream_skipped|998", 'ends');
like(error_of($node, $db, q{SELECT jobsched.create_job('more', } . steps_of(@thousand, { name => 'more', %$acts }) . ')', 'app'), qr/(22023|JS054).*1000/s, 'more are refused');
like(error_of($node, $db, q{SELECT jobsched.create_job('more', } . steps_of(map { { name => "s$_", %$acts, after => [ map { "s$_" } 1 .. $_ - 1 ] } } 1 .. 460) . ')', 'app'),
	qr/(22023|JS054).*100000/s, 'more than 100,000 names in "after" are refused');

# ------------------------------------------------------------------------
# What steps get, see and give
# ------------------------------------------------------------------------

my @echoes = (
	{ name => 'plain', handler => 'app.echo', after => [] },
	{ name => 'over', handler => 'app.echo', args => { b => 2, d => { e => 1 } }, after => [] },
	{ name => 'request', url => "$sink->{url}/echo/{{args.a}}", body => { b => '{{args.b}}', job => '{{job.name}}' }, after => [] });
define('echoes', q{args => '{"a": 0, "c": 3}'}, @echoes);
$run = trigger('echoes', q{'{"a": 1, "b": 1, "d": 4}', priority => 7});
is(ended($run), 'succeeded', 'arguments');
is(shown($run, 'step, result') =~ s/, request.*//r, 'plain {"a": 1, "b": 1, "c": 3, "d": 4}, over {"a": 1, "b": 2, "c": 3, "d": {"e": 1}}', 'of a step: those of the job, of the trigger, and its own');
is(psql("SELECT args FROM jobsched.runs WHERE run_id = " . step_run($run, 'over')), '{"a": 1, "b": 2, "c": 3, "d": {"e": 1}}', 'view runs shows them');
is(psql("SELECT string_agg(DISTINCT priority::text, ',') FROM jobsched.runs WHERE parent_run_id = $run"), '7', 'the priority is that of the workflow run');
my ($request) = requests($sink, qr{^/echo/1$});
is($request->{body}, '{"b": 1, "job": "echoes.request"}', 'a request has the arguments of its step');
is($request->{method}, 'POST', 'it is a POST');
is(psql("SELECT result -> 'plain' FROM jobsched.runs WHERE run_id = $run"), '{"a": 1, "b": 1, "c": 3, "d": 4}', 'the workflow run has the results of its steps');

# keys, and what cannot be made of arguments
define('keyed', { name => 'one', handler => 'app.echo' }, { name => 'two', handler => 'app.echo', keys => ['k:{{args.k}}'] });
$run = trigger('keyed', q{'{"k": 5}'});
is(ended($run), 'succeeded', 'keys of a step');
is(psql('SELECT keys FROM jobsched.runs WHERE run_id = ' . step_run($run, 'two')), '{k:5}', 'are filled from the arguments');
$run = trigger('keyed');
like(ended($run), qr/^failed error 22/, 'an argument for the keys of a step is missing');
like(psql("SELECT error || ' ' || COALESCE(error_context, '') FROM jobsched.runs WHERE run_id = $run"), qr/"two"/, 'the error names the step');
is(shown($run), '', 'no step is queued');

app(q{
	CREATE FUNCTION app.tell(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		RETURN jsonb_build_object('workflow', jobsched.workflow_run_id(), 'good', jobsched.step_result('good'), 'bad', jobsched.step_result('bad'),
			'empty', jobsched.step_result('empty'), 'later', jobsched.step_result('later'), 'self', jobsched.step_result('tell'),
			'one', (SELECT concat_ws(' ', s.step, s.status, s.args, s.result, s.error) FROM jobsched.step_results('good') s),
			'all', (SELECT string_agg(concat_ws(' ', s.step, s.status, s.error), ', ') FROM jobsched.step_results() s),
			'upstream', (SELECT string_agg(concat_ws(' ', u.step, u.status, u.job_name), ', ') FROM jobsched.upstream() u));
	END $$;
	CREATE FUNCTION app.unknown(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT jobsched.step_result('nothing') $$;
	CREATE FUNCTION app.unknown_rows(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT jobsched.step_results('nothing') $$;
	CREATE FUNCTION app.mine(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_build_object('workflow', jobsched.workflow_run_id(), 'steps', (SELECT count(*) FROM jobsched.step_results()))
	$$;
	CREATE FUNCTION app.begets(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(jobsched.trigger('begotten', child => true)) $$;
	SELECT jobsched.create_job('begotten', handler => 'app.mine')});
define('tells',
	{ name => 'good', handler => 'app.echo', args => { a => 1 }, after => [] },
	{ name => 'bad', handler => 'app.fail', optional => JSON::PP::true, after => [] },
	{ name => 'empty', command => 'DO $$BEGIN END$$', after => [] },
	{ name => 'tell', handler => 'app.tell', after => [ 'good', 'bad', 'empty' ], when => 'done' },
	{ name => 'later', handler => 'app.echo' });
$run = trigger('tells');
is(ended($run), 'succeeded', 'a step that looks');
my $told = $json->decode(psql("SELECT result FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'tell'"));
is_deeply($told, {
		workflow => $run, good => { a => 1 }, bad => undef, empty => undef, later => undef, self => undef,
		one => 'good succeeded {"a": 1} {"a": 1}', all => 'good succeeded, bad failed no, empty succeeded, tell running, later queued',
		upstream => 'good succeeded tells.good, bad failed tells.bad, empty succeeded tells.empty' }, 'sees what others have left');
is(shown($run, 'step, step_no, workflow, attempt, error'), 'good 1 tells 1, bad 2 tells 1 no, empty 3 tells 1, tell 4 tells 1, later 5 tells 1', 'view steps');
is(psql("SELECT count(*) FROM jobsched.steps WHERE workflow_run_id = $run AND (duration <> finished_at - started_at OR queued_at > started_at)"), '0', 'with times');

for my $function ('unknown', 'unknown_rows')
{
	define($function, { name => 'a', handler => "app.$function" });
	$run = trigger($function);
	ended($run);
	is(psql("SELECT r.sqlstate || ' ' || r.error FROM jobsched.runs r WHERE parent_run_id = $run") =~ s/".*//r =~ s/step .*/step/r, '42704 step', "$function: no such step");
	like(psql("SELECT error FROM jobsched.steps WHERE workflow_run_id = $run"), qr/"nothing"/, "$function: it is named");
}
is(app(q{SELECT concat_ws('|', jobsched.workflow_run_id(), jobsched.step_result('a'), (SELECT count(*) FROM jobsched.step_results()))}), '0', 'outside a run there are none');
$run = trigger('begotten');
is(end_of($node, $db, $run, 'status, result'), 'succeeded|{"steps": 0, "workflow": null}', 'nor in a run of no workflow');

# children of a step; a workflow as a child
define('parents', { name => 'begets', handler => 'app.begets' }, { name => 'then', handler => 'app.mine' });
$run = trigger('parents');
is(ended($run), 'succeeded', 'a step with a child');
is(psql("SELECT bool_and(t.started_at >= c.finished_at) FROM jobsched.steps t, jobsched.runs c
	WHERE t.workflow_run_id = $run AND t.step = 'then' AND c.parent_run_id = " . step_run($run, 'begets')), 't', 'the next one waits for the child too');
is(shown($run, 'step, status'), 'begets succeeded, then succeeded', 'which is no step');
is(psql("SELECT result FROM jobsched.runs WHERE parent_run_id = " . step_run($run, 'begets')), qq({"steps": 2, "workflow": $run}), 'but knows of which it is');
is(psql("SELECT result FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'then'"), qq({"steps": 2, "workflow": $run}), 'the next one knows its workflow run');
app(q{
	CREATE FUNCTION app.begins(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT jobsched.trigger(begins.args ->> 'job', child => true) $$;
	SELECT jobsched.create_job('begins', handler => 'app.begins')});
define('failing', { name => 'a', %$acts }, { name => 'b', handler => 'app.fail' }, { name => 'c', %$acts });
$run = trigger('begins', q{'{"job": "parents"}'});
is(ended($run), 'succeeded', 'a workflow as a child');
is(ended(trigger('begins', q{'{"job": "failing"}'})), 'failed child_failed', 'and one that fails');
is(psql("SELECT count(*) FROM jobsched.steps s JOIN jobsched.runs w ON w.run_id = s.workflow_run_id WHERE w.parent_run_id = $run"), '2', 'its steps are its own');

# a batch of workflow runs; a run that waits for one
$run = app(q{SELECT jobsched.trigger_batch('parents', '{NULL,NULL,NULL}')});
is(end_of($node, $db, $run, "status, result ->> 'succeeded'"), 'succeeded|3', 'a batch of workflows');
$run = trigger('failing');
my $behind = trigger('begotten', "after => '{$run}', after_when => 'failure'");
is(ended($behind), 'succeeded', 'a run that waits for the failure of a workflow run');
is(psql("SELECT b.started_at >= w.finished_at FROM jobsched.runs b, jobsched.runs w WHERE b.run_id = $behind AND w.run_id = $run"), 't', 'starts when all its steps have ended');

# sizes
set_setting($node, 'jobsched.max_result_size', '1 kB');
app(q{
	CREATE FUNCTION app.large(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT app.leave(args); SELECT to_jsonb(repeat('x', 5000)) $$;
	SELECT jobsched.create_job('large', handler => 'app.large')});
define('larges', { name => 'a', handler => 'app.large' }, { name => 'shares', handler => 'app.large', share_transaction => JSON::PP::true, after => [] },
	{ name => 'command', command => q{SELECT repeat('x', 5000)}, after => [] }, { name => 'b', %$acts, after => ['a'], when => 'failure' });
$run = trigger('larges');
is(ended($run), 'failed child_failed', 'a result that is too large');
is(shown($run), 'a failed error, shares failed error, command failed error, b succeeded', 'fails its step');
is(psql("SELECT string_agg(DISTINCT sqlstate, ',') FROM jobsched.runs WHERE parent_run_id = $run AND status = 'failed'"), 'JS054', 'as program_limit_exceeded');
like(psql('SELECT error FROM jobsched.runs WHERE run_id = ' . step_run($run, 'a')), qr/50\d\d bytes.* 1 kB/, 'the error says both sizes');
is(psql("SELECT count(*) FROM app.effect JOIN jobsched.steps USING (run_id) WHERE workflow_run_id = $run"), '1', 'what it did is rolled back');
is(end_of($node, $db, trigger('large'), 'status, result IS NULL'), 'succeeded|t', 'of another job it is left out, as ever');
set_setting($node, 'jobsched.max_result_size', undef);

# ------------------------------------------------------------------------
# Definitions
# ------------------------------------------------------------------------

my $ok = { name => 'a', %$acts };
for (
	[ '[]', 'nothing', qr/22023/ ],
	[ '{"name": "a"}', 'no array', qr/22023/ ],
	[ [ 1 ], 'no object', qr/22023.*steps\[0\]/s ],
	[ [$acts], 'no name', qr/22023.*steps\[0\]/s ],
	[ [ { name => 'a' } ], 'nothing to execute', qr/22023.*"a".*steps\[0\]/s ],
	[ [ { name => 'a', %$acts, command => 'SELECT 1' } ], 'both', qr/22023.*"a".*steps\[0\]/s ],
	[ [ $ok, { name => 'b', %$acts, schedule => '@daily' } ], 'an unknown key', qr/22023.*"schedule".*HINT.*steps\[1\]/s ],
	[ [ $ok, { name => 'b', %$acts, go_to => 'x' } ], 'a key of later', qr/22023.*"go_to".*HINT.*steps\[1\]/s ],
	[ [ { name => 'a.b', %$acts } ], 'a name with a dot', qr/22023.*"a.b".*steps\[0\].name/s ],
	[ [ { name => '', %$acts } ], 'an empty name', qr/22023.*steps\[0\].name/s ],
	[ [ { name => 'a' x 64, %$acts } ], 'a long name', qr/42622.*steps\[0\].name/s ],
	[ [ $ok, { name => 'b', %$acts, after => [ 'a', 'a' ] } ], 'after one twice', qr/22023.*steps\[1\].after/s ],
	[ [ $ok, $ok ], 'a name twice', qr/42710.*"a".*steps\[1\]/s ],
	[ [ $ok, { name => 'b', %$acts, after => ['c'] } ], 'after an unknown one', qr/(22023|42704).*steps\[1\].after.*"c"|(22023|42704).*"c".*steps\[1\].after/s ],
	[ [ { name => 'a', %$acts, after => ['a'] } ], 'after itself', qr/22023.*"a"/s ],
	[ [ { name => 'a', %$acts, after => ['b'] }, { name => 'b', %$acts, after => ['c'] }, { name => 'c', %$acts, after => ['a'] }, { name => 'd', %$acts } ],
		'a circle', qr/22023.*(?=.*"?a\b)(?=.*"?b\b)(?=.*"?c\b)/s ],
	[ [ { name => 'a', %$acts, when => 'failure' } ], 'when, after nothing', qr/22023.*steps\[0\].when/s ],
	[ [ $ok, { name => 'b', %$acts, when => 'sometimes' } ], 'an unknown when', qr/22023.*steps\[1\].when.*sometimes|22023.*sometimes.*steps\[1\].when/s ],
	[ [ { name => 'a', %$acts, max_attempts => '5' } ], 'a text for a number', qr/22023.*steps\[0\].max_attempts/s ],
	[ [ { name => 'a', %$acts, timeout => 5 } ], 'a number for an interval', qr/22023.*steps\[0\].timeout/s ],
	[ [ { name => 'a', %$acts, timeout => 'soon' } ], 'no interval', qr/(22007|22023).*steps\[0\].timeout/s ],
	[ [ { name => 'a', %$acts, max_attempts => 1001 } ], 'too many attempts', qr/22023.*steps\[0\].max_attempts/s ],
	[ [ { name => 'a', handler => 'app.nothing' } ], 'no such function', qr/42883.*steps\[0\].handler/s ],
	[ [ { name => 'a', handler => 'nowhere.nothing' } ], 'no such schema', qr/3F000.*steps\[0\].handler/s ],
	[ [ { name => 'a', command => 'SELEC 1' } ], 'no SQL', qr/42601.*steps\[0\].command/s ],
	[ [ { name => 'a', command => 'BEGIN' } ], 'a transaction statement', qr/0A000.*steps\[0\].command/s ],
	[ [ { name => 'a', url => 'ftp://x/' } ], 'no URL', qr/22023.*steps\[0\].url/s ],
	[ [ { name => 'a', %$acts, keys => ['{{args.'] } ], 'no key', qr/22023.*steps\[0\].keys/s ],
	[ [ { name => 'a', %$acts, on_failure => 'app.nothing' } ], 'no such callback', qr/42883.*steps\[0\].on_failure/s ])
{
	my ($steps, $what, $error) = @$_;
	my $text = ref $steps ? $json->encode($steps) : $steps;

	like(error_of($node, $db, q{SELECT jobsched.create_job('wrong', steps => } . quoted($text) . ')', 'app'), $error, "refused: $what");
}
like(error_of($node, $db, "SELECT jobsched.create_job('wrong', command => 'SELECT 1', " . steps_of($ok) . ')', 'app'), qr/22023/, 'steps and a command');
like(error_of($node, $db, "SELECT jobsched.create_job('wrong', timeout => '1 min', " . steps_of($ok) . ')', 'app'), qr/(22023|0A000).*HINT/s, 'a workflow has no timeout');
like(error_of($node, $db, q{SELECT jobsched.trigger('once', timeout => '1 min')}, 'app'), qr/22023.*HINT/s, 'nor has a run of it') if define('once', $ok);
like(error_of($node, $db, "SELECT jobsched.create_job('wrong', share_transaction => true, " . steps_of($ok) . ')', 'app'), qr/22023|0A000/, 'nor does it share a transaction');
is(psql(q{SELECT count(*) FROM jobsched_internal.job WHERE name LIKE 'wrong%'}), '0', 'nothing is left of them');
psql(q{CREATE ROLE poor LOGIN; GRANT USAGE ON SCHEMA jobsched TO poor});
like(error_of($node, $db, q{SELECT jobsched.create_job('wrong', } . steps_of({ name => 'a', url => "$sink->{url}/x" }) . ')', 'poor'), qr/42501/, 'who may make no requests has no steps that do');

# ------------------------------------------------------------------------
# Altered
# ------------------------------------------------------------------------

for my $how ('alter_job', 'create_job')
{
	my $change = $how eq 'alter_job' ? "jobsched.alter_job('alters', " : q{jobsched.create_job('alters', if_exists => 'update', };

	$gate = close_gate($node, $db);
	define('alters', q{if_exists => 'update'}, @old);
	my $revision = psql(q{SELECT steps_revision FROM jobsched_internal.job WHERE name = 'alters'});
	app("SELECT $change" . steps_of(@old) . ')');
	is(psql(q{SELECT steps_revision FROM jobsched_internal.job WHERE name = 'alters'}), $revision, "$how: the same steps once more are no new set");
	$run = begun('alters');
	my $waits = trigger('alters', q{run_at => now() + interval '1 day'});
	app("SELECT $change" . steps_of(@new) . ')');
	my $next = trigger('alters');
	is(ended($next), 'succeeded', "$how: a run that begins afterwards");
	is(shown($next, 'step, result'), 'first "first", says "new"', "$how: has the new steps");
	new_scheduler() if $how eq 'create_job';
	is(psql(rows_of_steps('alters')), '2|2', "$how: both sets are there");
	is(app(q{SELECT string_agg(step, ',' ORDER BY step_no) FROM jobsched.explain_steps('alters')}), 'first,says', "$how: explain_steps() tells of the new ones");
	open_the_gate();
	is(ended($run), 'succeeded', "$how: the run that had begun ends");
	is(psql("SELECT result FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'says'"), '"old"', "$how: with the old ones");
	becomes($node, $db, rows_of_steps('alters'), '2|0', "$how: then these are gone");
	is(shown($run, 'step, step_no, status'), 'gated 1 succeeded, says 2 succeeded', "$how: history knows them");
	psql("UPDATE jobsched_internal.run SET run_at = now() WHERE run_id = $waits");
	new_scheduler();
	is(ended($waits), 'succeeded', "$how: one that has waited meanwhile");
	is(shown($waits, 'step, result'), 'first "first", says "new"', "$how: has the new steps");
}
is(psql(q{SELECT kind FROM jobsched.jobs WHERE name = 'alters'}), 'steps', 'view jobs calls it steps');
is_deeply($json->decode(psql(q{SELECT steps FROM jobsched.jobs WHERE name = 'alters'})), \@new, 'and shows them as they were given');

# in a transaction that does not commit, and in one that is prepared
my $error = psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.alter_job('alters', } . steps_of(@old) . '); ROLLBACK; SELECT string_agg(step, $$,$$ ORDER BY step_no) FROM jobsched.explain_steps($$alters$$)');
is((split /\n/, $error)[-1], 'first,says', 'rolled back: nothing has changed');
psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.alter_job('alters', } . steps_of(says('third', 'third')) . q{); PREPARE TRANSACTION 'alters'});
$run = trigger('alters');
is(ended($run), 'succeeded', 'prepared: a run begins meanwhile');
is(shown($run, 'step'), 'first, says', 'with the old steps');
psql(q{COMMIT PREPARED 'alters'});
$run = trigger('alters');
is(ended($run), 'succeeded', 'committed: another');
is(shown($run, 'step'), 'third', 'with the new ones');

# altered again and again while runs begin: each has one set, whole
app(q{
	CREATE FUNCTION app.number_of_races(status text) RETURNS bigint LANGUAGE sql AS $$
		SELECT count(*) FROM jobsched.runs WHERE job_name = 'races' AND (finished_at IS NULL) = (number_of_races.status = 'live') $$;
	CREATE PROCEDURE app.alters() LANGUAGE plpgsql AS $$
	DECLARE
		i int := 0;
	BEGIN
		WHILE app.number_of_races('ended') < 200 LOOP
			i := i + 1;
			PERFORM jobsched.alter_job('races', steps => (
				SELECT jsonb_agg(jsonb_build_object('name', 's' || n, 'command', format('SELECT to_jsonb(%s)', i))) FROM generate_series(1, 2 + i % 3) n));
			COMMIT;
			PERFORM pg_sleep(0.002);
		END LOOP;
	END $$;
	CREATE PROCEDURE app.triggers() LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 200 LOOP
			PERFORM jobsched.trigger('races');
			COMMIT;
			WHILE app.number_of_races('live') > 3 LOOP
				PERFORM pg_sleep(0.001);
			END LOOP;
		END LOOP;
	END $$;
	SELECT jobsched.create_job('alters often', command => 'CALL app.alters()');
	SELECT jobsched.create_job('triggers often', command => 'CALL app.triggers()')});
define('races', says('s1', 'x'));
my @racers = (trigger('triggers often'), trigger('alters often'));
is(ended($_), 'succeeded', 'a workflow is altered while it is triggered') for @racers;
drained('all runs of it end');
is(psql(q{SELECT status, count(*) FROM jobsched.runs WHERE job_name = 'races' GROUP BY 1}), 'succeeded|200', 'as they should');
is(psql(q{SELECT count(*) FROM (SELECT workflow_run_id FROM jobsched.steps WHERE workflow = 'races' GROUP BY 1
	HAVING count(DISTINCT result) > 1 OR count(*) <> CASE WHEN min(result #>> '{}') = 'x' THEN 1 ELSE 2 + min((result #>> '{}')::int) FILTER (WHERE result #>> '{}' <> 'x') % 3 END
		OR bool_or(status <> 'succeeded')) s}), '0', 'each with the steps of one definition, whole');
cmp_ok(psql(q{SELECT count(DISTINCT result) FROM jobsched.steps WHERE workflow = 'races'}), '>', 20, 'and of many');
becomes($node, $db, rows_of_steps('races') =~ s/count.*?\), /'others', /r, 'others|0', 'the last definition is left');
is(ended(trigger('races')), 'succeeded', 'and is executed');

# other parameters, and other kinds
app(q{SELECT jobsched.alter_job('alters', description => 'x', max_concurrency => 2)});
is(psql(rows_of_steps('alters')), '1|0', 'other parameters make no new set');
$gate = close_gate($node, $db);
define('alters', q{if_exists => 'update'}, @old);
$run = begun('alters');
app(q{SELECT jobsched.alter_job('alters', command => 'SELECT 7')});
is(psql(q{SELECT kind, steps IS NULL FROM jobsched.jobs WHERE name = 'alters'}), 'sql|t', 'it becomes a command');
is(end_of($node, $db, trigger('alters'), 'status, result'), 'succeeded|{"?column?": 7}', 'which is executed');
like(error_of($node, $db, q{SELECT * FROM jobsched.explain_steps('alters')}, 'app'), qr/JS055|42809|22023/, 'and has no steps to explain');
open_the_gate();
is(ended($run), 'succeeded', 'the run that had begun ends');
is(shown($run, 'step, result') =~ s/^\S+ \S+ \S+ //r, 'says "old"', 'with its steps');
becomes($node, $db, q{SELECT count(*) FROM jobsched_internal.job s JOIN jobsched_internal.job j ON j.job_id = s.workflow_id WHERE j.name = 'alters' AND s.dropped_at IS NULL}, '0', 'then these are gone');
app(q{SELECT jobsched.alter_job('alters', } . steps_of(@new) . ')');
$run = trigger('alters');
is(ended($run), 'succeeded', 'it becomes a workflow again');
is(shown($run, 'step'), 'first, says', 'with steps');

# ------------------------------------------------------------------------
# Renamed, given away, paused
# ------------------------------------------------------------------------

$gate = close_gate($node, $db);
define('renamed', @old);
$run = begun('renamed');
app(q{SELECT jobsched.alter_job('renamed', name => 'other name')});
define('renamed', says('another', 'another'));
open_the_gate();
is(ended($run), 'succeeded', 'renamed');
is(shown($run, 'workflow, step, status'), 'other name gated succeeded, other name says succeeded', 'its steps go on, under its new name');
is(psql("SELECT string_agg(job_name, ', ' ORDER BY run_id) FROM jobsched.runs WHERE parent_run_id = $run"), 'other name.gated, other name.says', 'so view runs calls them');

app(q{SELECT jobsched.alter_job('other name', } . steps_of(@new) . ')');
becomes($node, $db, rows_of_steps('other name'), '2|0', 'its first steps are gone');
for my $name ('a name that is much longer', 'n')
{
	app("SELECT jobsched.alter_job('other name', name => '$name')");
	is(shown($run, 'workflow, step'), "$name gated, $name says", 'view steps knows what they were called');
	app("SELECT jobsched.alter_job('$name', name => 'other name')");
}

psql(q{CREATE ROLE heir LOGIN; GRANT app TO heir; GRANT USAGE ON SCHEMA jobsched TO heir});
$gate = close_gate($node, $db);
define('given', $gated, { name => 'who', command => 'SELECT to_jsonb(current_user::text)' });
$run = begun('given');
psql(q{SELECT jobsched.alter_job('given', owner => 'heir')});
open_the_gate();
is(ended($run), 'succeeded', 'given to another owner');
is(psql("SELECT string_agg(owner, ', ' ORDER BY run_id) FROM jobsched.runs WHERE run_id = $run OR parent_run_id = $run"), 'app, app, heir', 'what begins then is the new one\'s');
is(psql("SELECT result FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'who'"), '"heir"', 'and executed as that');
psql('GRANT SELECT, INSERT ON app.effect TO heir; GRANT ALL ON gate TO heir');
$run = session_sql($node, $db, 'heir', q{SELECT jobsched.trigger('given')});
is(ended($run), 'succeeded', 'another run of it');
is(psql("SELECT string_agg(DISTINCT owner::text, ', ') FROM jobsched.runs WHERE run_id = $run OR parent_run_id = $run"), 'heir', 'is all the new one\'s');
is(session_sql($node, $db, 'heir', q{SELECT count(*) FROM jobsched.explain_steps('given')}), '2', 'who may alter it');

# to one who may not see what the old one has left
psql(q{CREATE ROLE alien LOGIN; GRANT USAGE ON SCHEMA jobsched TO alien});
$gate = close_gate($node, $db);
define('alienated', $gated, { name => 'sees', command => q{SELECT jsonb_build_object('result', jobsched.step_result('gated'), 'rows', (SELECT count(*) FROM jobsched.step_results()), 'upstream', (SELECT count(*) FROM jobsched.upstream()))} });
$run = begun('alienated');
psql(q{SELECT jobsched.alter_job('alienated', owner => 'alien')});
open_the_gate();
is(ended($run), 'succeeded', 'given to a stranger');
is(psql("SELECT result FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'sees'"), '{"rows": 1, "result": null, "upstream": 0}', 'he sees of the others nothing');
is(session_sql($node, $db, 'alien', "SELECT string_agg(step, ',') FROM jobsched.steps WHERE workflow_run_id = $run"), 'sees', 'nor in the view');

psql(q{CREATE ROLE offline LOGIN; CREATE ROLE mute NOLOGIN; GRANT USAGE ON SCHEMA jobsched TO offline, mute});
define('requests', { name => 'a', url => "$sink->{url}/x" });
define('commands', @new);
like(error_of($node, $db, q{SELECT jobsched.alter_job('requests', owner => 'offline')}), qr/42501/, 'not to one who may make no requests');
like(error_of($node, $db, q{SELECT jobsched.alter_job('commands', owner => 'mute')}), qr/28000/, 'nor to one who may not log in');
is(psql(q{SELECT string_agg(DISTINCT pg_get_userbyid(owner), ',') FROM jobsched_internal.job WHERE name ~ '^(requests|commands)' AND dropped_at IS NULL}), 'app', 'they stay as they were');

$gate = close_gate($node, $db);
define('paused', @old);
$run = begun('paused');
app(q{SELECT jobsched.pause_job('paused')});
open_the_gate();
becomes_shown($run, 'gated succeeded, says queued job_paused', 'paused: a step that is executed ends, and the next one waits');
new_scheduler();
is(state($run), 'running waiting_for_children', 'so does the workflow run');
my $again = trigger('paused');
wait_value($node, $db, "SELECT reason FROM jobsched.runs WHERE run_id = $again", 'job_paused', 'and another one that has not begun');
app(q{SELECT jobsched.resume_job('paused')});
is(ended($_), 'succeeded', 'until it is resumed') for ($run, $again);
is(psql("SELECT result FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'says'"), '"old"', 'then they go on');

define('fails', 'pause_after_failures => 2', { name => 'a', handler => 'app.fail', after => [] }, { name => 'b', handler => 'app.fail', after => [] }, { name => 'c', handler => 'app.fail', after => [] });
is(ended(trigger('fails')), 'failed child_failed', 'three steps fail');
is(psql(q{SELECT state, consecutive_failures FROM jobsched.jobs WHERE name = 'fails'}), 'active|1', 'that is one failure of the workflow');
is(ended(trigger('fails')), 'failed child_failed', 'the next run fails');
wait_value($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'fails'}, 'paused', 'that is the second, and pauses it');
app(q{SELECT jobsched.resume_job('fails')});
is(ended(trigger('fails')), 'failed child_failed', 'resumed, it runs again');

app(q{
	CREATE FUNCTION app.fails_or_waits(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT CASE WHEN args ? 'fail' THEN jobsched.discard('no')::text::jsonb ELSE app.gated(args) END
	$$});
$gate = close_gate($node, $db);
define('brake', 'pause_after_failures => 2', { %$gated, handler => 'app.fails_or_waits' }, says('says', 'x'));
$run = begun('brake');
is(ended(trigger('brake', q{'{"fail": 1}'})), 'failed child_failed', 'a run fails while another is in the middle') for 1, 2;
wait_value($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'brake'}, 'paused', 'the second failure pauses the workflow');
open_the_gate();
becomes_shown($run, 'gated succeeded, says queued job_paused', 'that holds the steps of the run in the middle');
new_scheduler();
is(ended(trigger('five')), 'succeeded', 'for a successor too: others go on');
is(shown($run), 'gated succeeded, says queued job_paused', 'and these do not');
app(q{SELECT jobsched.resume_job('brake')});
is(ended($run), 'succeeded', 'until the workflow is resumed');

# ------------------------------------------------------------------------
# Dropped, cancelled
# ------------------------------------------------------------------------

$gate = close_gate($node, $db);
define('dropped', @old);
$run = begun('dropped');
my $waits = trigger('dropped', q{run_at => now() + interval '1 day'});
app(q{SELECT jobsched.drop_job('dropped')});
is(ended($waits), 'cancelled job_dropped', 'dropped: a run that has not begun is cancelled');
define('dropped', @new);
is(ended(trigger('dropped')), 'succeeded', 'another workflow gets its name');
new_scheduler();
is(state($run), 'running waiting_for_children', 'the run that has begun goes on');
open_the_gate();
is(ended($run), 'succeeded', 'to its end');
is(shown($run), 'gated succeeded, says succeeded', 'with all its steps');
is(psql("SELECT result FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'says'"), '"old"', 'which are its own');
becomes($node, $db, q{SELECT count(*) FROM jobsched_internal.job s WHERE s.workflow_id <> 0 AND s.dropped_at IS NULL
	AND NOT EXISTS (SELECT FROM jobsched_internal.job j WHERE j.job_id = s.workflow_id AND j.dropped_at IS NULL)}, '0', 'then these are dropped');

$gate = close_gate($node, $db);
define('dropped', q{if_exists => 'update'}, @old);
$run = begun('dropped');
app(q{SELECT jobsched.drop_job('dropped', cancel_running => true)});
is(ended($run), 'cancelled job_dropped', 'dropped with cancel_running');
like(shown($run), qr/^gated cancelled (parent_ended|job_dropped), says cancelled (parent_ended|job_dropped)$/, 'all its steps are cancelled');
open_the_gate();

$gate = close_gate($node, $db);
define('cancelled', $gated, says('says', 'x'), { %{ says('always', 'x') }, after => ['gated'], when => 'done' });
$run = begun('cancelled');
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'cancelled');
is(shown($run), 'gated cancelled parent_ended, says cancelled parent_ended, always cancelled parent_ended', 'with all its steps');
$run = begun('cancelled');
is(app('SELECT jobsched.cancel_run(' . step_run($run, 'gated') . ')'), 't', 'a step is cancelled');
is(ended($run), 'failed child_failed', 'that has failed');
is(shown($run), 'gated cancelled cancelled, says skipped upstream_failed, always succeeded', 'the others do what they have to');
is(app(q{SELECT jobsched.cancel_runs(job => 'cancelled')}), '0', 'nothing is left to cancel');
open_the_gate();

# overlap
$gate = close_gate($node, $db);
define('slots', q{schedule => 'every 1 second', overlap => 'replace'}, @old);
wait_until($node, $db, q{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'slots' AND reason = 'waiting_for_children'}, 'a run of a slot has begun');
wait_until($node, $db, q{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'slots' AND reason = 'replaced'}, 'the next one replaces it');
is(psql(q{SELECT string_agg(DISTINCT s.status || ' ' || s.reason, ', ') FROM jobsched.steps s JOIN jobsched.runs w ON w.run_id = s.workflow_run_id
	WHERE s.workflow = 'slots' AND w.reason = 'replaced'}), 'cancelled parent_ended', 'with its steps');
app(q{SELECT jobsched.drop_job('slots', cancel_running => true)});
open_the_gate();
drained('nothing goes on');

# ------------------------------------------------------------------------
# Dead letters, retries, who is told
# ------------------------------------------------------------------------

app(q{
	CREATE TABLE app.told (run_id bigint, job text, status text, reason text);
	CREATE FUNCTION app.hear(args jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.told VALUES ((args ->> 'run_id')::bigint, args ->> 'job', args ->> 'status', args ->> 'reason') $$});
define('letters', q{on_success => 'app.hear', on_failure => 'app.hear'},
	{ name => 'a', handler => 'app.fail', on_failure => 'app.hear', optional => JSON::PP::true }, { name => 'b', handler => 'app.fail', after => [] });
$run = trigger('letters');
is(ended($run), 'failed child_failed', 'a workflow fails');
my ($first, $second) = map { step_run($run, $_) } q{a}, q{b};
is(psql("SELECT string_agg(run_id::text, ',') FROM jobsched.dead_letters WHERE run_id IN ($run, $first, $second)"), $run, 'it is a dead letter, and its steps are none');
wait_value($node, $db, q{SELECT string_agg(concat_ws(' ', run_id, job, status, reason), ', ' ORDER BY run_id) FROM app.told},
	"$run letters failed child_failed, $first letters.a failed error", 'each of them tells whom it should, once');
my $hint = error_of($node, $db, "SELECT jobsched.retry_run($first)", 'app');
like($hint, qr/JS055/, 'a step cannot be retried');
like($hint, qr/HINT:.*retry_run\($run\)/s, 'the hint says what can');
$again = app("SELECT jobsched.retry_run($run)");
is(ended($again), 'failed child_failed', 'the workflow run can');
is(shown($again), 'a failed error, b failed error', 'and has its steps anew');
is(psql("SELECT source FROM jobsched.runs WHERE run_id = $again"), 'retry', 'it is a retry');
is(app(q{SELECT count(*) FROM jobsched.redrive('letters')}), '1', 'redrive() takes workflow runs only');
drained('all have ended');
like(error_of($node, $db, "SELECT jobsched.retry_run($second)", 'app'), qr/JS055/, 'a step of what has been retried cannot either');

# ------------------------------------------------------------------------
# Names
# ------------------------------------------------------------------------

define('w', { name => 'x', handler => 'app.fail' });
$run = trigger('w');
ended($run);
for my $call (
	q{trigger('w.x')}, q{trigger_many('w.x', '{"{}"}')}, q{trigger_batch('w.x', '{"{}"}')}, q{trigger_batch('w', '{"{}"}', 'w.x')}, q{alter_job('w.x', description => 'x')},
	q{pause_job('w.x')}, q{resume_job('w.x')}, q{drop_job('w.x')}, q{redrive('w.x')}, q{cancel_runs(job => 'w.x')}, q{explain_steps('w.x')},
	q{backfill('w.x', now() - interval '1 day', now())})
{
	for my $role ('app', $superuser)
	{
		like(error_of($node, $db, "SELECT jobsched.$call", $role), qr/42704/, "as $role: no job for $call");
	}
}
is(app(q{SELECT string_agg(name, ',') FROM jobsched.jobs WHERE name LIKE 'w%'}), 'w', 'view jobs shows none');
is(app(q{SELECT count(*) FROM jobsched.upcoming WHERE job_name = 'w.x'}), '0', 'nor does view upcoming');
app(q{SELECT jobsched.create_job('w.x', command => 'SELECT 5'); SELECT jobsched.create_job('w.y', command => 'SELECT 6')});
is(end_of($node, $db, trigger('w.x'), 'status, result'), 'succeeded|{"?column?": 5}', 'a job may have such a name');
app(q{SELECT jobsched.alter_job('w', } . steps_of({ name => 'y', %$acts }, { name => 'x', %$acts }) . ')');
is(ended(trigger('w')), 'succeeded', 'and steps such a job\'s name');
app(q{SELECT jobsched.drop_job('w.x'); SELECT jobsched.alter_job('w.y', name => 'w.x'); SELECT jobsched.drop_job('w.x')});
is(ended(trigger('w')), 'succeeded', 'they are not mixed up');
is(psql(q{SELECT count(*) FROM jobsched.health() WHERE status = 'error'}), '0', 'health() has nothing to say');

# ------------------------------------------------------------------------
# Who sees steps
# ------------------------------------------------------------------------

psql(q{CREATE ROLE stranger LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE bypasser LOGIN BYPASSRLS; GRANT USAGE ON SCHEMA jobsched TO stranger, monitor, bypasser});
is(session_sql($node, $db, 'stranger', q{SELECT count(*) FROM jobsched.steps}), '0', 'another role sees none');
like(error_of($node, $db, q{SELECT * FROM jobsched.explain_steps('w')}, 'stranger'), qr/42704/, 'nor how they are defined');
for my $role ('stranger', 'app', 'heir', 'monitor', 'bypasser', $superuser)
{
	is(session_sql($node, $db, $role, q{
		SELECT count(*) FROM jobsched.steps s FULL JOIN (SELECT * FROM jobsched.runs WHERE source = 'step') r USING (run_id)
		WHERE s.run_id IS NULL OR r.run_id IS NULL OR s.status <> r.status OR s.result IS DISTINCT FROM r.result OR s.error IS DISTINCT FROM r.error}), '0',
		"$role sees of steps what it sees of runs");
}
cmp_ok(session_sql($node, $db, 'monitor', q{SELECT count(*) FROM jobsched.steps}), '>', 1000, 'that is, for a monitor, all');
is(session_sql($node, $db, 'stranger', q{SELECT count(*) FROM jobsched.runs}), '0', 'and for a stranger none');

# ------------------------------------------------------------------------
# Copies
# ------------------------------------------------------------------------

# One that has begun, and been altered since.
app(q{SELECT jobsched.set_queue('hold', paused => true)});
define('held', says('gives', 'given'), { name => 'takes', command => q{SELECT jobsched.step_result('gives')}, queue => 'hold' });
my $held = trigger('held');
becomes_shown($held, 'gives succeeded, takes queued waiting_for_turn', 'a workflow run is in the middle');
app(q{SELECT jobsched.alter_job('held', } . steps_of(@new) . ')');
psql('CREATE DATABASE restored');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr($db) ], 'pg_dump');
end_sessions($node);
$node->safe_psql('template1', "CREATE DATABASE copy TEMPLATE $db");
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'and restore');

my $all = q{SELECT md5(string_agg(concat_ws('|', j.name, md5(j.steps::text), e.explained), E'\n' ORDER BY j.name)), count(*)
	FROM jobsched.jobs j, LATERAL (SELECT string_agg(s::text, ',' ORDER BY step_no) FROM jobsched.explain_steps(j.name) s) e (explained) WHERE j.kind = 'steps'};
for my $copy ('restored', 'copy')
{
	wait_scheduler($node, $copy);
	is($node->safe_psql($copy, q{SELECT string_agg(DISTINCT state, ',') FROM jobsched.jobs}), 'asleep', "$copy: workflows sleep");
	$node->safe_psql($copy, 'SELECT jobsched.adopt()');
	is(session_sql($node, $copy, 'app', $all), app($all), "$copy: with their steps");
	is($node->safe_psql($copy, q{SELECT count(*) FROM jobsched_internal.job s LEFT JOIN jobsched_internal.job w ON w.job_id = s.workflow_id
		WHERE s.workflow_id <> 0 AND (s.home <> w.home) IS NOT FALSE AND s.dropped_at IS NULL}), '0', "$copy: these wake with them");
	my $woken = session_sql($node, $copy, 'app', q{SELECT jobsched.trigger('five')});
	is(end_of($node, $copy, $woken), 'succeeded', "$copy: one is executed");
	is($node->safe_psql($copy, "SELECT string_agg(step || ' ' || status, ', ') FROM jobsched.steps WHERE workflow_run_id = $woken"), 'only succeeded', "$copy: with its steps");
	if ($copy eq 'copy')
	{
		is($node->safe_psql($copy, "SELECT status, reason FROM jobsched.runs WHERE run_id = $held"), 'running|waiting_for_children', "$copy: what was in the middle is");
		session_sql($node, $copy, 'app', q{SELECT jobsched.set_queue('hold')});
		is(end_of($node, $copy, $held), 'succeeded', "$copy: it goes on");
		is($node->safe_psql($copy, "SELECT result FROM jobsched.steps WHERE workflow_run_id = $held AND step = 'takes'"), '"given"', "$copy: with what its steps have left");
	}
	becomes($node, $copy, rows_of_steps('held'), '2|0', "$copy: the old steps go");
}
is(psql(rows_of_steps('held')), '2|2', 'here they are there, since a run has them');

# ------------------------------------------------------------------------
# Retention
# ------------------------------------------------------------------------

psql('ALTER SYSTEM SET jobsched.history_retention = \'1 min\'');
psql('ALTER SYSTEM SET jobsched.failure_retention = \'1 min\'');
psql('SELECT pg_reload_conf()');

turn_rings($node, $db) for 1 .. 3;
is(psql(q{SELECT string_agg(workflow_run_id || ' ' || step, ', ' ORDER BY step_no) FROM jobsched.steps}), "$held gives, $held takes", 'steps are kept while their workflow run lives');
is(psql(rows_of_steps('held')), '2|2', 'and so is what they execute');
becomes($node, $db, q{SELECT count(*) FROM jobsched_internal.job WHERE dropped_at IS NOT NULL}, '0', 'other old steps are forgotten');
new_scheduler();
app(q{SELECT jobsched.set_queue('hold')});
is(ended($held), 'succeeded', 'it goes on');
is(shown($held, 'step, result'), 'gives "given", takes "given"', 'with what its steps have left');
becomes($node, $db, rows_of_steps('held'), '2|0', 'then the old steps go');
turn_rings($node, $db) for 1 .. 3;
is(psql(q{SELECT count(*) FROM jobsched.steps}), '0', 'and all of it is forgotten');
becomes($node, $db, q{SELECT count(*) FROM jobsched_internal.job WHERE dropped_at IS NOT NULL}, '0', 'down to the last');
psql('ALTER SYSTEM RESET jobsched.history_retention');
psql('ALTER SYSTEM RESET jobsched.failure_retention');
psql('SELECT pg_reload_conf()');
set_clock($node, $db, undef);

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection|canceling statement due to lock timeout/);
$node->stop;
done_testing();
