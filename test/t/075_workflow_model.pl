# Copyright (c) 2026, jobsched contributors

# Random workflows, many at the same time, with steps that run other jobs and steps that
# are undone, and what can happen to them: cancels, skips, events, pauses, drops, other
# steps, deadlines, retries, a crash.  After each round of
# operations, or setting of the clock, every step of every workflow has to come to what
# the model (WorkflowModel.pm) says.  Then the same with kill -9 at any instant, where
# each step has to have ended as the truth table lets it.
#
# JOBSCHED_WORKFLOW_SEED is for other workflows, JOBSCHED_WORKFLOW_STAGES says how many
# times 40 of them, JOBSCHED_WORKFLOW_KILLS how often something is killed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use JobschedTest;
use List::Util qw(first shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use WorkflowModel;

my $seed = $ENV{JOBSCHED_WORKFLOW_SEED} || 501;
my $stages = $ENV{JOBSCHED_WORKFLOW_STAGES} || 1;
my $kills = $ENV{JOBSCHED_WORKFLOW_KILLS} || 6;
my $db = 'postgres';
my $superuser = getpwuid($<);
my $json = JSON::PP->new->canonical;

# Workflows of a stage; rounds in which things happen to them; generations of retries.
my $flows = 40;
my $rounds = 8;
my $generations = 3;

# How long the system may take to come to what the model says, without any change.
my $patience = 30;

my $node = jobsched_node('workflow_model', conf => q{
restart_after_crash = on
jobsched.max_workers = 16
jobsched.history_retention = '7300d'
jobsched.failure_retention = '7300d'
max_worker_processes = 32
log_statement = none
fsync = off
});
create_extension($node, $db);
define_clock($node, $db);

sub psql
{
	my ($sql) = @_;
	return session_sql($node, $db, $superuser, $sql);
}

# The lines that statements return.
sub app
{
	return () unless @_;
	return split /\n/, session_sql($node, $db, 'app', join ";\n", @_), -1;
}

psql(q{CREATE ROLE app LOGIN; CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA jobsched TO app});
app(q{
	CREATE TABLE app.effect (run_id bigint, attempt int);
	CREATE TABLE app.told (run_id bigint, status text);
	CREATE TABLE app.open (run_id bigint PRIMARY KEY);
	CREATE FUNCTION app.tell(run jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.told VALUES ((run ->> 'run_id')::bigint, run ->> 'status') $$;
	CREATE FUNCTION app.act(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		step text := split_part(jobsched.job_name(), '.', 2);
		plan jsonb := args -> 'plans' -> COALESCE(args ->> 'as', step);
		what text;
	BEGIN
		IF args ? 'index' THEN
			plan := plan -> (args ->> 'index')::int;
		END IF;
		-- a step of a job that a step runs
		IF jsonb_typeof(plan) = 'object' THEN
			plan := plan -> step;
		END IF;
		plan := COALESCE(plan, '["ok"]');
		what := plan ->> least(jobsched.attempt(), jsonb_array_length(plan)) - 1;
		INSERT INTO app.effect VALUES (jobsched.run_id(), jobsched.attempt());
		IF what LIKE 'gate %' THEN
			WHILE NOT EXISTS (SELECT FROM app.open WHERE run_id = jobsched.run_id()) LOOP
				PERFORM pg_sleep(0.02);
			END LOOP;
			what := substr(what, 6);
		END IF;
		CASE split_part(what, ' ', 1)
			WHEN 'ok' THEN NULL;
			WHEN 'fail' THEN RAISE 'as planned';
			WHEN 'discard' THEN PERFORM jobsched.discard('as planned');
			WHEN 'snooze' THEN PERFORM jobsched.snooze(split_part(what, ' ', 2)::float8 * interval '1 s');
			WHEN 'hang' THEN PERFORM pg_sleep(600);
		END CASE;
		RETURN jsonb_build_object('by', jobsched.run_id());
	END $$;
	-- what a call returns, or its error
	CREATE FUNCTION app.try(sql text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		answer text;
	BEGIN
		EXECUTE sql INTO answer;
		RETURN answer;
	EXCEPTION WHEN OTHERS THEN
		RETURN 'error ' || SQLSTATE;
	END $$});

# ------------------------------------------------------------------------
# Random workflows
# ------------------------------------------------------------------------

my $model;

sub one_of { return $_[ rand @_ ]; }
sub chance { return rand() < $_[0]; }

# In units of time (s, or a hundredth of that when the clock is not mocked).
our $unit = 1;

sub span { return $unit * (5 + int(rand(5)) * 10 + int(rand(1000)) / 1000); }

my %conditions = (true => 'true', false => 'jobsched.attempt() < 0', null => 'NULL::boolean', first => 'jobsched.attempt() = 1', error => '1 / 0 > 0',
	any => q{EXISTS (SELECT FROM jobsched.upstream() u WHERE u.status = 'succeeded')});

# A step of a workflow that has these before it.
sub random_step
{
	my ($flow, $name, @before) = @_;
	my @after = grep { chance(1.5 / @before) } @before;
	my %step = (name => $name, after => \@after, when => 'success', max_attempts => one_of(1, 1, 2, 3));

	$step{when} = one_of(qw(success success success failure done always)) if @after;
	$step{optional} = 1 if chance(0.25);
	$step{delay} = span() if chance(0.15);
	random_kind($flow, \%step);
	if ($flow->{undoes} && chance(0.6))
	{
		$step{undo} = { max_attempts => one_of(1, 1, 2) };
		$step{undo}{if} = one_of(qw(true false null any error)) if !$step{for_each} && chance(0.2);
	}
	return \%step;
}

# What it executes, and what it waits for.  Steps of jobs that are executed by steps have
# not all of it.
sub random_kind
{
	my ($flow, $step) = @_;

	if ($flow->{target} && chance(0.25))
	{
		$step->{job} = $flow->{target};
		$step->{max_attempts} = 1;    # after an error of the step itself, which is not transient
	}
	if (chance(0.15) && !$flow->{is_target})
	{
		$step->{wait_for} = [ map { "$flow->{name}.$step->{name}.$_" } 1 .. one_of(1, 1, 2) ];
		$step->{wait_timeout} = span() if chance(0.6);
	}
	if (chance(0.15) && !$flow->{is_target})
	{
		$step->{for_each} = 1;
	}
	else
	{
		$step->{if} = one_of(qw(true false null any any first error)) if chance(0.25);
		$step->{hangs} = 1 if chance(0.04) && !$step->{job} && !$flow->{is_target};
	}
	return;
}

# A job that steps run: with steps of its own, or executed by itself.
sub random_target
{
	my ($name) = @_;
	my %target = (name => $name, is_target => 1, max_attempts => one_of(1, 2), runs => [], items => []);

	return \%target if chance(0.4);
	$target{undoes} = chance(0.5);
	$target{steps} = random_steps(\%target, 3);
	return \%target;
}

# The names of workflows begin with the given one.
sub random_flows
{
	my ($prefix, $unit_of_deadline) = @_;

	for my $i (1 .. $flows)
	{
		my $flow = $model->define("$prefix-$i", undef, chance($unit_of_deadline == 1 ? 0.2 : 0.1) ? $unit_of_deadline * span() : undef);

		$flow->{undoes} = chance(0.4);
		$flow->{target} = random_target("$prefix-$i-job") if chance(0.4);
		$flow->{steps} = random_steps($flow, 8);
	}
	return app(map { $_->{target} ? define_target($_->{target}) : (), define_flow($_) } @{ $model->{flows} });
}

sub random_steps
{
	my ($flow, $most) = @_;
	my (@names, @steps);

	for my $name (map { "s$_" } 1 .. 1 + int(rand($most)))
	{
		push @steps, random_step($flow, $name, @names);
		push @names, $name;
	}
	return chance(0.3) ? [ shuffle(@steps) ] : \@steps;
}

# Other steps: one of them is left out, or changed, or there is one more.
sub other_steps
{
	my ($flow) = @_;
	my @steps = map { { %$_, after => [ @{ $_->{after} } ] } } @{ $flow->{steps} };
	my $what = one_of(qw(less other more));

	if ($what eq 'less' && @steps > 1)
	{
		my $gone = splice @steps, rand @steps, 1;
		for my $step (@steps)
		{
			$step->{after} = [ grep { $_ ne $gone->{name} } @{ $step->{after} } ];
			$step->{when} = 'success' unless @{ $step->{after} };
		}
	}
	elsif ($what eq 'more')
	{
		push @steps, random_step($flow, 'n' . ++$flow->{more}, map { $_->{name} } @steps);
	}
	else
	{
		my $step = one_of(@steps);
		$step->{when} = one_of(qw(success failure done always)) if @{ $step->{after} };
		$step->{optional} = !$step->{optional};
		$step->{max_attempts} = one_of(1, 2) if !$step->{job};
	}
	return \@steps;
}

sub seconds { return "$_[0] s"; }

# What calls the function, with so many attempts.
sub acting
{
	my ($max_attempts) = @_;
	return (handler => 'app.act', max_attempts => $max_attempts, retry_on => ['all'], backoff => 'fixed', backoff_base => seconds($unit * WorkflowModel::BACKOFF), backoff_jitter => 0);
}

# That of a step which runs a job has the arguments of this one.
sub undo_json
{
	my ($step) = @_;
	my %json = acting($step->{undo}{max_attempts});

	$json{if} = $conditions{ $step->{undo}{if} } if $step->{undo}{if};
	$json{args} = { as => "undo:$step->{name}" } if $step->{job};
	return \%json;
}

sub step_json
{
	my ($step, $before) = @_;
	my %json = (name => $step->{name}, after => $step->{after}, $step->{job} ? (job => $step->{job}{name}, args => { as => $step->{name} }) : acting($step->{max_attempts}));

	$json{undo} = undo_json($step) if $step->{undo};

	# "left out: the step before it"
	delete $json{after} if join(' ', @{ $step->{after} }) eq $before;
	$json{when} = $step->{when} if @{ $step->{after} };
	$json{optional} = JSON::PP::true if $step->{optional};
	$json{$_} = seconds($step->{$_}) for grep { $step->{$_} } qw(delay wait_timeout);
	$json{wait_for} = $step->{wait_for} if $step->{wait_for};
	$json{if} = $conditions{ $step->{if} } if $step->{if};
	$json{for_each} = "SELECT jobsched.args() -> 'plans' -> '$step->{name}'" if $step->{for_each};
	$json{timeout} = '700 ms' if $step->{hangs};
	return \%json;
}

sub steps_json
{
	my ($steps) = @_;
	my $before = '';
	my @json;

	for my $step (@$steps)
	{
		push @json, step_json($step, $before);
		$before = $step->{name};
	}
	return $json->encode(\@json) =~ s/'/''/gr;
}

my @plans = ([qw(ok)], [qw(ok)], [qw(ok)], [qw(ok)], [qw(ok)], [qw(fail)], [qw(fail)], [qw(fail ok)], [qw(fail ok)], [qw(fail fail ok)], [qw(discard)], [qw(fail discard)]);

sub random_plan
{
	my ($step) = @_;

	return ['hang'] if $step->{hangs};
	return random_plans($step->{job}, 0) if $step->{job} && $step->{job}{steps};
	return one_of(@plans) if chance(0.88);
	return [ "snooze " . one_of(0, span()), @{ one_of(@plans) } ];
}

sub random_undo_plan { return chance(0.7) ? ['ok'] : one_of(@plans, [ 'snooze 7', 'ok' ]); }

# What the steps of a run do.  Few have a gate, as each needs a worker.
sub random_plans
{
	my ($flow, $may_gate) = @_;
	my %plans;

	for my $step (@{ $flow->{steps} })
	{
		my $items = int(rand(4));
		$plans{ $step->{name} } = $step->{for_each} ? [ map { random_plan($step) } 1 .. $items ] : random_plan($step);
		next unless $step->{undo};
		$plans{"undo:$step->{name}"} = $step->{for_each} ? [ map { random_undo_plan() } 1 .. $items ] : random_undo_plan();
	}
	if ($may_gate && (my @plain = grep { !$_->{for_each} && !$_->{hangs} && !$_->{job} } @{ $flow->{steps} }))
	{
		$plans{ one_of(@plain)->{name} } = one_of(['gate ok'], ['gate ok'], ['gate fail'], [ 'gate fail', 'ok' ]);
	}
	return \%plans;
}

sub args_of { return "'" . $json->encode({ plans => $_[0] }) . "'"; }

# ------------------------------------------------------------------------
# What is to be seen
# ------------------------------------------------------------------------

# Runs by the model, with their ids.
sub observe
{
	my (@runs) = @_;
	my $ids = join ',', map { $_->{id} } @runs;
	my %seen;

	for my $line (split /\n/, psql(qq{
		SELECT concat_ws('|', 'run', run_id, status || ' ' || COALESCE(reason, '')) FROM jobsched.runs WHERE run_id IN ($ids);
		SELECT concat_ws('|', 'step', workflow_run_id, step, run_id, concat_ws(' ', status, COALESCE(reason, ''), attempt)) FROM jobsched.steps WHERE workflow_run_id IN ($ids);
		SELECT concat_ws('|', 'step', workflow_run_id, step || ' ' || COALESCE(item::text, 'job'), run_id, concat_ws(' ', status, COALESCE(reason, ''), attempt)) FROM jobsched.step_items WHERE workflow_run_id IN ($ids)}))
	{
		my ($kind, $id, @values) = split /\|/, $line, -1;
		$seen{$id}{run} = $values[0] if $kind eq 'run';
		@{ $seen{$id}{steps}{ $values[0] } }{qw(id shown)} = @values[ 1, 2 ] if $kind eq 'step';
	}
	return \%seen;
}

sub all_nodes { return WorkflowModel::all_nodes($_[0]); }

# With the runs of jobs that have steps, below these.
sub with_called { return map { ($_, with_called(WorkflowModel::called_by($_))) } @_; }

# What is not as the model says; on the way the model is told the ids.
sub differences
{
	my ($run, $seen) = @_;
	my $expected = $run->{begun} || $run->{ended} ? "$run->{status} $run->{reason}" : 'queued job_paused';
	my %steps = %{ $seen->{steps} || {} };
	my @differences;

	push @differences, "run: '" . ($seen->{run} // '') . "', expected '$expected'" if ($seen->{run} // '') ne $expected;
	for my $node (all_nodes($run))
	{
		my $step = delete $steps{ $node->{name} };
		my $pattern = WorkflowModel::expected($node);

		$node->{id} = $step->{id};
		$node->{called}{id} = $step->{id} if $node->{called};
		push @differences, "$node->{name}: '" . ($step->{shown} // '') . "', expected '$pattern'" unless ($step->{shown} // '') =~ /^$pattern$/;
	}
	return (@differences, map { "$_: is there" } sort keys %steps);
}

sub told_of
{
	my ($run) = @_;
	return "flow $run->{flow}{name}, run " . ($run->{id} // '') . ', steps ' . steps_json($run->{steps} || $run->{flow}{steps}) . "\nplans " . $json->encode($run->{plans})
	  . "\noperations: " . join('; ', @{ $run->{done} || [] })
	  . ($run->{source} ? "\nretry from '@{[ sort keys %{ $run->{from} } ]}' of: " . join ', ', map { "$_->{name} $_->{status} $_->{reason}" } all_nodes($run->{source}) : '');
}

# Until all runs are as the model says.
sub compare
{
	my ($name, @runs) = @_;
	my $last = '';
	my $until = time() + $patience;
	my @left = grep { !$_->{is_compared} } with_called(@runs);

	while (@left)
	{
		my $seen = observe(grep { $_->{id} } @left);
		my %differences;
		for my $run (@left)
		{
			# the id of one that is called is to be seen with the step that calls it
			my @differences = $run->{id} ? differences($run, $seen->{ $run->{id} } || {}) : ('has not been seen');
			$run->{differences} = \@differences;
			$differences{ $run->{id} // 0 } = \@differences if @differences;
			$run->{is_compared} = 1 if !@differences && $run->{ended};
		}
		@left = grep { @{ $_->{differences} } } @left;
		last if !@left;
		my $now = $json->encode(\%differences);
		$until = time() + $patience if $now ne $last;
		$last = $now;
		if (time() > $until)
		{
			diag "$name: " . told_of($_) . "\n" . join("\n", @{ $_->{differences} }) . "\n" for @left;
			die "seed $seed: $name: the system has not come to what the model says";
		}
		usleep(30_000);
	}
	return;
}

# ------------------------------------------------------------------------
# Operations
# ------------------------------------------------------------------------

my $epoch = 1_900_000_000;

sub advance
{
	my ($clock) = @_;

	$model->{clock} = $clock;
	psql(sprintf q{SELECT public.set_clock(to_timestamp(%.3f))}, $epoch + $clock);
	return;
}

my %counts;

# Each returns a call and what it is to return (undef: no matter), or nothing if it
# cannot be done.
my %operations = (
	cancel_run => sub {
		my ($run) = @_;
		$model->cancel_run($run);
		return ("jobsched.cancel_run($run->{id})", 'true');
	},
	cancel_step => sub {
		my ($run) = @_;
		my $node = one_of(all_nodes($run)) or return;
		my $is_live = $node->{state} ne 'ended';
		$model->cancel_node($node) if $is_live;
		return ("jobsched.cancel_run($node->{id})", $is_live ? 'true' : 'false');
	},
	skip_step => sub {
		my ($run) = @_;
		my $node = one_of(WorkflowModel::nodes_of($run)) or return;
		my $can = WorkflowModel::can_skip($node);
		$model->skip_step($node) if $can;
		return ("jobsched.skip_step($run->{id}, '$node->{name}')", $can ? $node->{id} : 'error JS055');
	},
	pause => sub {
		my ($run) = @_;
		return if $run->{flow}{dropped};
		my $paused = $run->{flow}{paused} = !$run->{flow}{paused};
		return ("jobsched." . ($paused ? 'pause' : 'resume') . "_job('$run->{flow}{name}')", '');
	},
	pause_target => sub {
		my ($run) = @_;
		my $job = $run->{flow}{target};
		return if !$job || $job->{dropped};
		my $paused = $job->{paused} = !$job->{paused};
		return ("jobsched." . ($paused ? 'pause' : 'resume') . "_job('$job->{name}')", '');
	},
	drop_target => sub {
		my ($run) = @_;
		my $job = $run->{flow}{target};
		return if !$job || $job->{dropped};
		my $too = chance(0.5);
		$model->drop($job, $too);
		return ("jobsched.drop_job('$job->{name}', " . ($too ? 'true' : 'false') . ')', '');
	},
	drop => sub {
		my ($run) = @_;
		return if $run->{flow}{dropped};
		my $too = chance(0.5);
		$model->drop($run->{flow}, $too);
		return ("jobsched.drop_job('$run->{flow}{name}', " . ($too ? 'true' : 'false') . ')', '');
	},
	alter => sub {
		my ($run) = @_;
		my $flow = $run->{flow};
		return if $flow->{dropped};
		my $steps = other_steps($flow);
		my $is_refused = grep { $_->{job} && $_->{job}{dropped} } @$steps;
		$flow->{steps} = $steps if !$is_refused;
		return ("jobsched.alter_job('$flow->{name}', steps => '" . steps_json($steps) . "')", $is_refused ? 'error 42704' : '');
	},
	deadline => sub {
		my ($run) = @_;
		my $flow = $run->{flow};
		return if $flow->{dropped};
		$flow->{deadline} = chance(0.3) ? undef : span();
		return ("jobsched.alter_job('$flow->{name}', deadline => '" . ($flow->{deadline} // 0) . " s')", '');
	},
	event => sub {
		my ($run) = @_;
		my $node = one_of(grep { $_->{step}{wait_for} } WorkflowModel::nodes_of($run)) or return;
		my $to = one_of(undef, $run, $node);
		my $name = one_of(@{ $node->{step}{wait_for} });
		my $comes = $model->send_event($name, $to);
		return ("jobsched.send_event('$name'" . ($to ? ", run_id => $to->{id}" : '') . ') IS NOT NULL', $comes ? 'true' : 'false');
	},
	gate => sub {
		my ($run) = @_;
		my $node = first { $_->{state} eq 'gate' } WorkflowModel::nodes_of($run) or return;
		$model->open_gate($node);
		return ("app.open_gate($node->{id})", '');
	});

my @often = (('event') x 6, ('skip_step') x 4, ('cancel_step') x 4, ('gate') x 3, ('pause') x 3, ('pause_target') x 2, ('cancel_run') x 2, ('alter') x 2, ('deadline') x 1, ('drop') x 1, ('drop_target') x 1);
my @often_below = (('skip_step') x 2, ('cancel_step') x 2, ('cancel_run') x 1);

app(q{CREATE FUNCTION app.open_gate(id bigint) RETURNS void LANGUAGE sql AS 'INSERT INTO app.open VALUES (id)'});

sub operate
{
	my ($name, @calls) = @_;    # run, operation
	my (@sql, @expected);

	for (@calls)
	{
		my ($run, $operation) = @$_;
		my ($call, $expected) = $operations{$operation}->($run) or next;
		push @{ $run->{done} }, sprintf('%.3f', $model->{clock}) . " $call";
		push @sql, "SELECT app.try(\$sql\$SELECT ($call)::text\$sql\$)";
		push @expected, "$call: $expected";
		$counts{$operation}++;
	}
	my @got = app(@sql);
	my $i = 0;
	for my $expected (@expected)
	{
		my ($call, $answer) = $expected =~ /^(.*): (.*)$/s;
		my $got = $got[ $i++ ] // '';
		$got =~ s/^t$/true/;
		is($got, $answer, "$name: $call") if $got ne $answer;
	}
	return;
}

sub live { return grep { defined } map { $model->live_run($_) } @{ $model->{flows} }; }

sub settle
{
	my ($name, @runs) = @_;

	$model->settle;
	compare($name, @runs);
	return;
}

# Whatever the runs wait for comes to them.
sub helping
{
	my ($run) = @_;
	my @calls;

	push @calls, [ $run, 'pause' ] if $run->{flow}{paused} && !$run->{flow}{dropped};
	push @calls, [ $run, 'pause_target' ] if $run->{flow}{target} && $run->{flow}{target}{paused} && !$run->{flow}{target}{dropped};
	push @calls, [ $run, 'gate' ] if grep { $_->{state} eq 'gate' } WorkflowModel::nodes_of($run);
	push @calls, [ $run, 'event' ] if grep { $_->{state} eq 'event' } WorkflowModel::nodes_of($run);
	return @calls;
}

# One for each tree at most: what is cancelled twice may have gone on in between, or not.
sub random_calls
{
	my @calls;

	for my $run (live())
	{
		my @below = grep { !$_->{ended} } with_called(WorkflowModel::called_by($run));

		push @calls, @below && chance(0.4) ? [ one_of(@below), one_of(@often_below) ] : [ $run, one_of(@often) ] if chance(0.6);
	}
	return @calls;
}

# From when the runs have been queued to when the last one has ended.
sub follow
{
	my ($name, @runs) = @_;
	my $round = 0;

	settle("$name: at first", @runs);
	while (live())
	{
		my @calls = ++$round <= $rounds ? random_calls() : map { helping($_) } live();

		operate("$name, round $round", @calls);
		settle("$name, round $round", @runs);
		if ($round == int($rounds / 2))
		{
			crash();
			settle("$name, after a crash", @runs);
		}
		my $instant = $model->next_instant($round <= $rounds ? 12 : 60);
		next unless defined $instant;
		advance($instant);
		settle("$name, at $instant", @runs);
	}
	return $round;
}

sub crash
{
	# Nothing happens until the clock is what it was.  And a statement that waits for
	# the disk: all that has been committed is on it.
	psql(q{ALTER SYSTEM SET jobsched.enabled = off});
	psql(q{CREATE TABLE app.flush (); DROP TABLE app.flush});
	end_sessions($node);
	kill_and_start($node);
	wait_connection($node, $db);
	psql(sprintf q{SELECT public.set_clock(to_timestamp(%.3f))}, $epoch + $model->{clock});
	set_setting($node, 'jobsched.enabled', undef);
	wait_scheduler($node, $db);
	$model->crash;
	return;
}

# ------------------------------------------------------------------------
# Nothing twice
# ------------------------------------------------------------------------

# Effects, as lines of run and attempt.
sub check_effects
{
	my ($name, @runs) = @_;
	my $expected = join "\n", sort map { my $node = $_; map { "$node->{id} $_" } @{ $node->{effects} } } grep { $_->{id} } map { all_nodes($_) } with_called(@runs);
	my $first = $runs[0]{id};

	is(join("\n", sort split /\n/, psql("SELECT run_id || ' ' || attempt FROM app.effect WHERE run_id >= $first")), $expected, "$name: each effect once, and no other");
	return;
}

# Who has made the result of a step; a step that runs a job has what that has left.
sub left_by
{
	my ($node) = @_;
	my $by = $node->{by} || $node;

	return scalar @{ $by->{items} } if $by->{step}{for_each};
	return $by->{step}{job} ? ($by->{step}{job}{steps} ? 'flow' : $by->{items}[0]{id}) : $by->{id};
}

# The keys of results, and who has made the values of those that are no totals.
sub check_results
{
	my ($name, @runs) = @_;
	my %got = map { split /\|/, $_, 2 } split /\n/, psql(q{SELECT run_id, (SELECT string_agg(key || ' ' || COALESCE(value ->> 'by', value ->> 'total', 'flow'), ', ' ORDER BY key) FROM jsonb_each(result))
		FROM jobsched.runs WHERE run_id IN (} . join(',', map { $_->{id} } with_called(@runs)) . ')');
	my @bad;

	@runs = with_called(@runs);
	for my $run (@runs)
	{
		my $expected = join ', ', map { my $node = $run->{nodes}{$_}; "$_ " . left_by($node) } WorkflowModel::keys_of_result($run);
		push @bad, "$run->{id}: '$got{ $run->{id} }', expected '$expected'\n" . told_of($run) if $got{ $run->{id} } ne $expected;
	}
	is(join("\n", @bad), '', "$name: results of workflow runs");
	return;
}

sub check_told
{
	my ($name, @runs) = @_;
	my @told = grep { !$_->{flow}{dropped} } @runs;
	my @paused = grep { $_->{paused} && !$_->{dropped} } @{ $model->{flows} };

	# functions that are to be told wait while the job is paused
	app(map { "SELECT jobsched.resume_job('$_->{name}')" } @paused);
	my $ids = join ',', map { $_->{id} } @told;
	my $expected = join "\n", map { "$_->{id}|$_->{status}" } grep { $_->{status} ne 'cancelled' } sort { $a->{id} <=> $b->{id} } @told;

	wait_value($node, $db, "SELECT run_id, status FROM app.told WHERE run_id IN ($ids) ORDER BY run_id", $expected, "$name: functions are told of each end, once");
	return;
}

# ------------------------------------------------------------------------
# With the mocked clock
# ------------------------------------------------------------------------

sub queue
{
	my (@sql) = @_;    # pairs of run and call
	my @ids = app(map { "SELECT $_->[1]" } @sql);

	$_->[0]{id} = shift @ids for @sql;
	return;
}

sub define_flow
{
	my ($flow) = @_;
	my $deadline = $flow->{deadline} ? ", deadline => '$flow->{deadline} s'" : '';

	return "SELECT jobsched.create_job('$flow->{name}', steps => '" . steps_json($flow->{steps}) . "', on_success => 'app.tell', on_failure => 'app.tell'$deadline)";
}

sub define_target
{
	my ($job) = @_;
	my %acting = acting($job->{max_attempts});

	return "SELECT jobsched.create_job('$job->{name}', steps => '" . steps_json($job->{steps}) . "')" if $job->{steps};
	return "SELECT jobsched.create_job('$job->{name}', handler => '$acting{handler}', max_attempts => $acting{max_attempts}, retry_on => '{all}',
		backoff => '$acting{backoff}', backoff_base => '$acting{backoff_base}', backoff_jitter => $acting{backoff_jitter})";
}

# Those of one generation: the first one is triggered, others are retries.
sub begin
{
	my ($generation) = @_;
	my $gates = 10;
	my @queued;

	for my $flow (grep { !$_->{dropped} } @{ $model->{flows} })
	{
		my $plans = random_plans($flow, $gates-- > 0);
		my $last = $flow->{runs}[-1];

		if (!$last)
		{
			push @queued, [ $model->trigger($flow, $plans), "jobsched.trigger('$flow->{name}', " . args_of($plans) . ')' ];
			next;
		}
		my @from = chance(0.5) || !WorkflowModel::can_retry($last) ? grep { chance(0.4) } map { $_->{name} } @{ $flow->{steps} } : ();
		next unless WorkflowModel::can_retry($last, @from);
		if (!@from && $last->{status} =~ /failed|timed_out/ && chance(0.3))
		{
			push @queued, [ $model->retry_run($last), "jobsched.redrive('$flow->{name}')" ];
			next;
		}
		push @queued, [ $model->retry_run($last, $plans, @from), "jobsched.retry_run($last->{id}, args => " . args_of($plans) . (@from ? ", from_step => '{" . join(',', @from) . "}')" : ')') ];
	}
	queue(@queued);
	return map { $_->[0] } @queued;
}

sub stage
{
	my ($number) = @_;
	my $name = 'stage ' . ($seed + $number);
	my @all;

	srand($seed + $number);
	$model = WorkflowModel->new;
	advance($number * 100_000);
	random_flows("w$number", 1);
	for my $generation (1 .. $generations)
	{
		my @runs = begin($generation);
		my $took = follow("$name, generation $generation", @runs);
		push @all, @runs;
		pass("$name: generation $generation, " . scalar(@runs) . " workflow runs, $took rounds");
	}
	$_->{is_compared} = 0 for with_called(@all);
	compare("$name: at the end", @all);
	pass("$name: " . scalar(@all) . ' workflow runs are what they were when they ended');
	check_effects($name, @all);
	check_results($name, @all);
	check_told($name, @all);
	wait_drained($node, $db);
	app(map { "SELECT jobsched.drop_job('$_->{name}')" } grep { !$_->{dropped} } @{ $model->{flows} });
	return;
}

# ------------------------------------------------------------------------
# With kill -9 at any instant
# ------------------------------------------------------------------------

# What has been done by hand, by id.
my (%cancelled, %skipped);

# At random, to any of the runs that live.
sub meddle
{
	my (@runs) = @_;
	my $ids = join ',', map { $_->{id} } @runs;
	my @steps = map { [ split /\|/ ] } split /\n/, psql(qq{SELECT workflow_run_id, run_id, step FROM jobsched.steps
		WHERE workflow_run_id IN ($ids) AND status IN ('queued', 'running', 'retrying') ORDER BY run_id});

	for my $step (shuffle(@steps))
	{
		my ($run, $id, $name) = @$step;
		my $what = one_of(qw(cancel skip event event), ('') x 8) or next;
		my $flow = (first { $_->{id} == $run } @runs)->{flow}{name};
		my $event = one_of(1, 2);
		my $victim = chance(0.1) ? $run : $id;

		$cancelled{$victim}++ if $what eq 'cancel';
		$skipped{$id} = 1 if $what eq 'skip';
		app('SELECT app.try($sql$SELECT ('
			  . ($what eq 'cancel' ? "jobsched.cancel_run($victim)" : $what eq 'skip' ? "jobsched.skip_step($run, '$name')" : "jobsched.send_event('$flow.$name.$event', run_id => $run)")
			  . ')::text$sql$)');
	}
	return;
}

# What steps wait for that would wait for ever.
sub send_all
{
	return app(q{SELECT jobsched.send_event(e, run_id => s.workflow_run_id)
		FROM jobsched.waiting w JOIN jobsched.steps s USING (run_id), unnest(w.events) e WHERE w.until IS NULL});
}

sub kill_one
{
	my ($victim) = @_;
	my ($pid) = $victim eq 'worker' ? worker_pids($node, $db) : $victim eq 'scheduler' ? scheduler_pid($node, $db) : ();

	end_sessions($node);
	if ($pid)
	{
		kill 'KILL', $pid;
		wait_connection($node);
	}
	else
	{
		kill_and_start($node);
	}
	return wait_scheduler($node, $db);
}

# Ends that a node may have that was begun: what its plan says, or lost.
sub may_end
{
	my ($step, $plan, $some_parent, $end) = @_;
	my $if = $step->{if} // 'true';
	my $never = $if eq 'false' || $if eq 'null' || ($if eq 'any' && !$some_parent);
	my $does = "@$plan";

	return !!$step->{wait_timeout} if $end eq 'timed_out no_event';
	return 1 if $end =~ /^lost (?:worker_died|server_restarted)$/;
	return $never || $if eq 'first' if $end eq 'skipped condition';
	return 0 if $never;
	return $does =~ /fail/ || $if eq 'error' if $end eq 'failed error';
	return 0 if $if eq 'error';
	return $does =~ /ok/ if $end eq 'succeeded ';
	return $does =~ /discard/ if $end eq 'failed discarded';
	return $does =~ /hang/ && $step->{hangs} if $end eq 'timed_out timeout';
	return 0;
}

# What is wrong with a node of a run that has ended; $ends: of the others.
sub wrong_with
{
	my ($run, $step, $node, $ends, $items) = @_;
	my $end = $node->{end};
	my ($status, $reason) = split / /, $end, -1;
	my @parents = map { (split / /, $ends->{$_}{end})[0] } @{ $step->{after} };

	return by_hand($run, $step, $node) if $end =~ /^(?:cancelled|skipped skipped_by_request)/;
	my $verdict = WorkflowModel::verdict($step->{when}, scalar @parents, @parents);
	return $reason eq $verdict ? () : "should have: $verdict" if $reason =~ /^upstream/;
	return "should not have begun: $verdict" if $verdict ne 'start';
	my $plan = $run->{plans}{ $step->{name} };
	if ($step->{for_each} && $end !~ /^(?:lost|timed_out no_event)/)
	{
		return 'has other elements' if @$items != @$plan;
		my $expected = join ' ', WorkflowModel::end_of_run(map { [ (split / /, $_->{end})[0], 0 ] } @$items);
		return $end eq $expected ? () : "should be: $expected";
	}
	return wrong_with_caller($end, $items->[0]) if $step->{job} && @$items && $end !~ /^lost/;
	return $end eq 'failed error' && $run->{flow}{target}{dropped} ? () : 'never does that' if $step->{job} && $end eq 'failed error' && ($step->{if} // '') ne 'error';
	$plan = ['ok'] if $step->{for_each} || $step->{job};
	return may_end($step, $plan, scalar(grep { $_ eq 'succeeded' } @parents), $end) ? () : 'never does that';
}

# What is said in the manual of what has been cancelled or skipped.
sub by_hand
{
	my ($run, $step, $node) = @_;

	return $cancelled{ $node->{id} } ? () : 'was not cancelled' if $node->{end} eq 'cancelled cancelled';
	return $skipped{ $node->{id} } ? () : 'was not skipped' if $node->{end} eq 'skipped skipped_by_request';
	my $is_always_done = $step->{when} =~ /^(?:always|undo)$/ || $step->{undoes};
	return ($run->{ends} // 0) > ($is_always_done ? 1 : 0) ? () : 'is no child of what ended';
}

sub wrong_with_caller
{
	my ($end, $item) = @_;
	my $expected = join ' ', WorkflowModel::end_of_run([ (split / /, $item->{end})[0], 0 ]);
	return $end eq $expected ? () : "should be: $expected";
}

# Of what undoes steps, that it exists if it has to, and has ended as it may.
sub wrong_with_undo
{
	my ($run, $steps, $effects) = @_;
	my $begins = $steps->{undo};
	my ($status, $reason) = split / /, $begins->{end}, -1;
	my @wrong;

	push @wrong, map { "undo ($begins->{end}) $_" } by_hand($run, { when => 'undo' }, $begins) if $begins->{end} =~ /^(?:cancelled|skipped skipped_by_request)/;
	push @wrong, "undo ($begins->{end}) never does that" if $status !~ /^(?:succeeded|cancelled|lost|skipped)$/;
	push @wrong, 'nothing was to be undone' if $status eq 'succeeded' && !$run->{ending} && !$run->{fails};
	push @wrong, 'it was to be undone' if $begins->{end} eq 'skipped upstream_succeeded' && $run->{fails};
	for my $step (@{ $run->{flow}{steps} })
	{
		my $name = "undo:$step->{name}";
		my @stand = grep { ($steps->{"$step->{name} $_"} || { end => '' })->{end} =~ /^succeeded/ } 0 .. 9;
		my $stands = $step->{undo} && ($step->{for_each} ? @stand > 0 : $steps->{ $step->{name} }{end} =~ /^succeeded/);
		my $node = $steps->{$name};

		push @wrong, "$name " . ($node ? 'is there' : 'is not there') if !$node ne !($stands && $status eq 'succeeded');
		next if !$node;
		my %as_step = (%{ $step->{undo} }, name => $name, undoes => 1, when => 'done', after => [], for_each => $step->{for_each});
		my @items = map { $steps->{"$name $_"} // () } 0 .. 9;
		my $plan = $run->{plans}{$name};
		push @wrong, map { "$name ($node->{end}) $_" } wrong_with_one_undo($run, \%as_step, $node, \@items, $plan);
		push @wrong, "$name has other elements" if @items && "@stand" ne join ' ', grep { $steps->{"$name $_"} } 0 .. 9;
		push @wrong, map { "$name ($node->{end}) $_" } wrong_with_effects($plan, $node, %{ $effects->{ $node->{id} } || {} }) if !$step->{for_each};
		push @wrong, map { my $item = $steps->{"$name $_"}; wrong_with_item(\%as_step, $plan->[$_], $item, $node), wrong_with_effects($plan->[$_], $item, %{ $effects->{ $item->{id} } || {} }) }
		  grep { $steps->{"$name $_"} } 0 .. 9;
	}
	return @wrong;
}

sub wrong_with_one_undo
{
	my ($run, $step, $node, $items, $plan) = @_;

	return by_hand($run, $step, $node) if $node->{end} =~ /^(?:cancelled|skipped skipped_by_request)/;
	if ($step->{for_each} && $node->{end} !~ /^lost/)
	{
		my $expected = join ' ', WorkflowModel::end_of_run(map { [ (split / /, $_->{end})[0], 0 ] } @$items);
		return $node->{end} eq $expected ? () : "should be: $expected";
	}
	return may_end($step, $step->{for_each} ? ['ok'] : $plan, 1, $node->{end}) ? () : 'never does that';
}

sub wrong_with_item
{
	my ($step, $plan, $node, $parent) = @_;

	return $cancelled{ $parent->{id} } || $parent->{end} =~ /parent_ended/ ? () : 'is no child of what ended' if $node->{end} eq 'cancelled parent_ended';
	return may_end({ %$step, if => 'true' }, $plan, 1, $node->{end}) ? () : 'never does that';
}

# What an attempt that is committed has left: one row, and only if it succeeded or snoozed.
sub wrong_with_effects
{
	my ($plan, $node, %effects) = @_;
	my @wrong = map { "attempt $_ has left $effects{$_} effects" } grep { $effects{$_} > 1 } sort keys %effects;

	push @wrong, 'has left no effect' if $node->{end} eq 'succeeded ' && !$effects{ $node->{attempt} };
	for my $attempt (grep { $_ != $node->{attempt} || $node->{end} ne 'succeeded ' } sort keys %effects)
	{
		my $action = $plan->[ $attempt > @$plan ? -1 : $attempt - 1 ];
		push @wrong, "attempt $attempt has left an effect" if $action !~ /^snooze/;
	}
	return @wrong;
}

sub check_run
{
	my ($run, $ends, $effects) = @_;
	my $steps = $ends->{ $run->{id} }{steps};
	my ($end) = $ends->{ $run->{id} }{end};
	my @wrong;

	# how often it may have been told to end
	$run->{ends} = ($cancelled{ $run->{id} } // 0) + ($run->{above} // 0) + ($run->{flow}{deadline} ? 1 : 0);
	$run->{ending} = $end =~ /^cancelled|deadline/;
	push @wrong, "$end: was not cancelled" if $end eq 'cancelled cancelled' && !$cancelled{ $run->{id} };
	push @wrong, "$end: nothing above it has ended" if $end eq 'cancelled parent_ended' && !$run->{above};
	push @wrong, "$end: has no deadline" if $end eq 'timed_out deadline' && !$run->{flow}{deadline};
	# it may be cancelled, or end, before it has begun
	return @wrong if !$steps && $run->{ending};
	for my $step (@{ $run->{flow}{steps} })
	{
		my $node = $steps->{ $step->{name} };
		my @items = map { $steps->{"$step->{name} $_"} // () } 'job', 0 .. 9;
		my $plan = $run->{plans}{ $step->{name} };

		push @wrong, map { "$step->{name} ($node->{end}) $_" } wrong_with($run, $step, $node, $steps, \@items);
		push @wrong, map { "$step->{name} ($node->{end}) $_" } wrong_with_effects($plan, $node, %{ $effects->{ $node->{id} } || {} })
		  unless $step->{for_each} || $step->{job};
		for my $i (0 .. $#items)
		{
			my $of_item = $step->{for_each} ? $plan->[$i] : $plan;
			if ($step->{job} && $step->{job}{steps})
			{
				my $above = $run->{ends} + ($cancelled{ $node->{id} } // 0);
				push @wrong, map { "$step->{name} $i: $_" } check_run({ id => $items[$i]{id}, flow => $step->{job}, plans => $of_item, above => $above }, $ends, $effects);
				next;
			}
			push @wrong, map { "$step->{name} $i ($items[$i]{end}) $_" } wrong_with_item($step, $of_item, $items[$i], $node),
			  wrong_with_effects($of_item, $items[$i], %{ $effects->{ $items[$i]{id} } || {} });
		}
	}
	my $expected = join ' ', WorkflowModel::end_of_run(map { [ (split / /, $steps->{ $_->{name} }{end})[0], $_->{optional} ] } @{ $run->{flow}{steps} });
	$run->{fails} = $expected ne 'succeeded ';
	$expected = 'failed child_failed' if $steps->{undo} && $steps->{undo}{end} =~ /^(?:cancelled|lost)/;
	push @wrong, "$end: expected '$expected'" if !$run->{ending} && $end !~ /^lost/ && $end ne $expected;
	push @wrong, wrong_with_undo($run, $steps, $effects) if grep { $_->{undo} } @{ $run->{flow}{steps} };
	return @wrong;
}

sub ends_of
{
	my (@runs) = @_;
	# and those that are below these
	my @all = map { { id => $_ } } split /\n/, psql("SELECT run_id FROM jobsched.workflows WHERE run_id >= $runs[0]{id}");
	my $seen = observe(@all);
	my %ends;

	for my $run (@all)
	{
		my $of = $seen->{ $run->{id} };
		$ends{ $run->{id} }{end} = $of->{run};
		for my $name (keys %{ $of->{steps} || {} })
		{
			my ($end, $attempt) = $of->{steps}{$name}{shown} =~ /^(.*) (\d+)$/;
			$ends{ $run->{id} }{steps}{$name} = { id => $of->{steps}{$name}{id}, end => $end, attempt => $attempt };
		}
	}
	return \%ends;
}

sub stage_of_kills
{
	my ($number) = @_;
	my $name = 'kills ' . ($seed + $number);
	my (@queued, @wrong, %effects);

	srand($seed + $number);
	set_clock($node, $db, undef);
	local $unit = 0.01;
	$model = WorkflowModel->new;
	random_flows("k$number", 10);
	for my $flow (@{ $model->{flows} })
	{
		my $plans = random_plans($flow, 0);
		push @queued, [ $model->trigger($flow, $plans), "jobsched.trigger('$flow->{name}', " . args_of($plans) . ')' ];
	}
	queue(@queued);
	my @runs = map { $_->[0] } @queued;
	for my $cycle (1 .. $kills)
	{
		usleep(int(rand(300_000)));
		meddle(@runs) if chance(0.5);
		kill_one((qw(worker scheduler postmaster))[ $cycle % 3 ]);
	}
	my $until = time() + ($PostgreSQL::Test::Utils::timeout_default || 180);
	while (psql('SELECT count(*) FROM jobsched_internal.run') > 0 && time() < $until)
	{
		send_all();
		usleep(100_000);
	}
	wait_drained($node, $db);
	pass("$name: nothing waits for ever");
	$effects{ $_->[0] }{ $_->[1] } = $_->[2]
	  for map { [ split /\|/ ] } split /\n/, psql("SELECT run_id, attempt, count(*) FROM app.effect WHERE run_id >= $runs[0]{id} GROUP BY 1, 2");
	my $ends = ends_of(@runs);
	for my $run (@runs)
	{
		my @of_run = check_run($run, $ends, \%effects);
		push @wrong, map { "$run->{flow}{name}, run $run->{id}: $_" } @of_run;
		diag told_of($run) if @of_run;
	}
	is(join("\n", @wrong), '', "$name: every step has ended as the table says, nothing twice");
	is(psql(qq{SELECT string_agg(concat_ws(' ', r.run_id, r.status, t.n), ', ') FROM jobsched.runs r
			LEFT JOIN (SELECT run_id, count(*) AS n FROM app.told GROUP BY 1) t USING (run_id)
			WHERE r.run_id IN (} . join(',', map { $_->{id} } @runs) . q{) AND COALESCE(t.n, 0) <> (r.status <> 'cancelled')::int}), '', "$name: functions are told of each end, once");
	app(map { "SELECT jobsched.drop_job('$_->{name}')" } @{ $model->{flows} });
	return;
}

stage($_) for 0 .. $stages - 1;
stage_of_kills($_) for 0 .. $stages - 1;
note join ', ', map { "$_: $counts{$_}" } sort keys %counts;

end_sessions($node);
$node->stop;
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection/);
done_testing();
