# Copyright (c) 2026, jobsched contributors

=pod

=head1 NAME

WorkflowModel - what doc/workflows.md promises of jobs made of steps, as a program

=head1 SYNOPSIS

  my $model = WorkflowModel->new;
  my $flow = $model->define('w1', $steps, '27 s');
  my $run = $model->trigger($flow, $plans);
  $model->settle;
  my $expected = WorkflowModel::expected($run->{nodes}{s1});

=head1 DESCRIPTION

Made from what doc/workflows.md and doc/runs.md say, and not from the C code.  An
instance is all workflows of one database at an instant of the mocked clock, in
seconds.  A method makes an operation; settle() then makes everything that follows from
it without the clock being set again.

A step is a hash: name, after (names), when, optional, delay, if, for_each, wait_for
(names), wait_timeout, max_attempts, undo (a hash with if, max_attempts), job (a flow: the
job that the step runs; one without steps, but with max_attempts, is executed itself).
What it does is not in the step but in the run's plans: {plans}{step} is a list with an
element for each attempt, of which the last one holds for all that follow: "ok", "fail",
"discard", "snooze SECONDS", "hang" (until its timeout), and "gate ok" or "gate fail": it
is executed until its gate is opened.  For a step with for_each it is a list of such
lists, one for each element; and for a step whose job has steps each of them is a hash,
the plans of these.  {plans}{"undo:NAME"} is what undoes the step.

A node is a step in a run, or an element, or the run of a step's job: {called} of that is
a run of its own if the job has steps.  Its state is one of waiting (for its parents), due
(at its time), event, ready, gate, retry, snooze, children, ended.

=cut

package WorkflowModel;

use strict;
use warnings;

use List::Util qw(all any first max none);

use constant BACKOFF => 10;
use constant TRIES_AFTER_LOSS => 3;

my %is_failure = map { $_ => 1 } qw(failed timed_out lost cancelled);

sub new
{
	my ($class) = @_;
	return bless { clock => 0, flows => [], made => 0, events => [] }, $class;
}

# ------------------------------------------------------------------------
# The truth table
# ------------------------------------------------------------------------

# For a condition and the ends of all parents that have ended, of so many: 'wait',
# 'start', or the reason to skip.
sub verdict
{
	my ($when, $parents, @ends) = @_;
	my $failed = grep { $is_failure{$_} } @ends;
	my $succeeded = grep { $_ eq 'succeeded' } @ends;

	return 'start' if !$parents;
	return 'upstream_failed' if $when eq 'success' && $failed;
	return 'wait' if @ends < $parents;
	return 'start' if $when eq 'done' || $when eq 'always' || $when eq 'undo';
	return 'start' if $when eq 'failure' && $failed;
	return 'upstream_skipped' if !$succeeded;
	return $when eq 'success' ? 'start' : 'upstream_succeeded';
}

# How a workflow run ends whose steps have, [status, optional] each.
sub end_of_run
{
	return (any { $is_failure{ $_->[0] } && !$_->[1] } @_) ? ('failed', 'child_failed') : ('succeeded', '');
}

# ------------------------------------------------------------------------
# Operations
# ------------------------------------------------------------------------

sub define
{
	my ($self, $name, $steps, $deadline) = @_;
	my $flow = { name => $name, steps => $steps, deadline => $deadline, runs => [] };

	push @{ $self->{flows} }, $flow;
	return $flow;
}

sub trigger
{
	my ($self, $flow, $plans) = @_;
	my $run = { flow => $flow, plans => $plans, status => 'queued', reason => '', nodes => {}, order => [], queued => ++$self->{made}, from => {} };

	push @{ $flow->{runs} }, $run;
	return $run;
}

# With new plans if they are given.
sub retry_run
{
	my ($self, $run, $plans, @from) = @_;
	my $new = $self->trigger($run->{flow}, $plans || $run->{plans});

	$run->{retried} = 1;
	$new->{from} = { map { $_ => 1 } @from };
	$new->{source} = $run;
	if (!$run->{begun})
	{
		# what ended before it had begun has done nothing of what it was asked for
		$new->{from} = { %{ $run->{from} }, %{ $new->{from} } };
		$new->{source} = $run->{source};
	}
	return $new;
}

sub can_retry
{
	my ($run, @from) = @_;
	return 0 if !$run->{ended} || $run->{retried} || $run->{flow}{dropped};
	return $run->{status} ne 'succeeded' || @from > 0;
}

# By somebody; or ($is_passed_on) because one above it is to end, and then with $all that
# is below it, if one of these has been told so twice.
sub cancel_run
{
	my ($self, $run, $status, $reason, $is_passed_on, $all) = @_;

	return if $run->{ended};
	return _end_run($run, 'cancelled', $reason // 'cancelled') unless $run->{begun};
	$all = _is_told_again($run, [ $status // 'cancelled', $reason // 'cancelled' ], $is_passed_on) || $all;
	for my $node (map { $run->{nodes}{$_} } @{ $run->{order} })
	{
		$self->_cancel($node, 'parent_ended', 1, $all) if $all || !_is_always_done($node);
	}
	return;
}

# That a run or node is to end.  What it is told itself goes before what is passed on.
sub _is_told_again
{
	my ($what, $ending, $is_passed_on) = @_;

	$what->{ending} = $ending if !$what->{ending} || (!$is_passed_on && !$what->{told});
	return 0 if $is_passed_on;
	return $what->{told}++ > 0;
}

sub _is_always_done { my ($node) = @_; return $node->{step}{when} eq 'always' || $node->{step}{undoes} || $node->{step}{when} eq 'undo'; }

sub cancel_node
{
	my ($self, $node) = @_;
	return $self->_cancel($node, 'cancelled');
}

sub _cancel
{
	my ($self, $node, $reason, $is_passed_on, $all) = @_;

	return if $node->{state} eq 'ended';
	return $self->cancel_run($node->{called}, 'cancelled', $reason, $is_passed_on, $all) if $node->{called};
	$all = _is_told_again($node, $reason, $is_passed_on) || $all;
	$self->_cancel($_, 'parent_ended', 1, $all) for @{ $node->{items} || [] };
	# what the run of a job does always is done first
	return $self->_end($node, 'cancelled', $node->{ending}) if none { $_->{state} ne 'ended' } @{ $node->{items} || [] };
	return;
}

# Whether it can be skipped by hand: it has not begun.
sub can_skip
{
	my ($node) = @_;
	return $node->{state} =~ /^(?:waiting|due|event|ready)$/ && !$node->{attempt};
}

sub skip_step
{
	my ($self, $node) = @_;
	return $self->_end($node, 'skipped', 'skipped_by_request');
}

sub drop
{
	my ($self, $flow, $cancel_running) = @_;

	$flow->{dropped} = 1;
	for my $run (grep { !$_->{ended} } @{ $flow->{runs} })
	{
		if (!$run->{begun})
		{
			_end_run($run, 'cancelled', 'job_dropped');
		}
		elsif ($cancel_running)
		{
			$self->cancel_run($run, 'cancelled', 'job_dropped');
			$self->cancel_run($run, 'cancelled', 'job_dropped');
		}
	}
	# runs of a job without steps, which wait, be it for another attempt
	$self->_end($_, 'cancelled', 'job_dropped') for grep { $_->{state} ne 'ended' } @{ $flow->{items} || [] };
	return;
}

# To a run, a step, or (undef) to all.  Returns whether it has come to anybody.
sub send_event
{
	my ($self, $name, $to) = @_;
	return 0 if $to && ($to->{ended} || ($to->{state} // '') eq 'ended');
	push @{ $self->{events} }, { name => $name, to => $to, came => ++$self->{made} };
	return 1;
}

sub open_gate
{
	my ($self, $node) = @_;

	$node->{is_open} = 1;
	return $self->_act($node, $node->{behind});
}

# The server dies: what is executed is cut off, and executed again.
sub crash
{
	my ($self) = @_;

	for my $node (grep { $_->{state} eq 'gate' } map { nodes_of($_) } map { $self->live_run($_) // () } @{ $self->{flows} })
	{
		$node->{state} = 'ready';
		$node->{lost}++;
	}
	return;
}

# ------------------------------------------------------------------------
# What is there
# ------------------------------------------------------------------------

sub live_run
{
	my ($self, $flow) = @_;
	return first { !$_->{ended} } @{ $flow->{runs} };
}

# Nodes of steps, in order.
sub nodes_of
{
	my ($run) = @_;
	return map { $run->{nodes}{$_} } @{ $run->{order} };
}

# Runs of jobs made of steps that are below this one.
sub called_by
{
	my ($run) = @_;
	return map { $_->{called} // () } map { @{ $_->{items} || [] } } nodes_of($run);
}

# All that is below it, whose ids are to be seen as steps of it.
sub all_nodes { return map { ($_, @{ $_->{items} || [] }) } nodes_of($_[0]); }

sub _due_of
{
	my ($node) = @_;
	return
		$node->{called} ? (map { _due_of($_) } nodes_of($node->{called})) :
		$node->{state} =~ /^(?:due|retry|snooze)$/ ? $node->{due}
	  : $node->{state} eq 'event' && $node->{until} ? $node->{until}
	  : $node->{items} ? map { _due_of($_) } @{ $node->{items} }
	  : ();
}

# How far the clock can be set so that nothing happens at the same time that can
# happen in two orders.  undef if nothing is due any more.
sub next_instant
{
	my ($self, $longest) = @_;
	my @limits;

	for my $flow (@{ $self->{flows} })
	{
		my $run = $self->live_run($flow) or next;
		next unless $run->{begun};
		my @due = sort { $a <=> $b } map { _due_of($_) } nodes_of($run);
		my $ends = $run->{ending} ? undef : $run->{ends_by};

		# a wait begins at a time of its own
		push @limits, grep { defined } map { $_->{state} eq 'due' && $_->{step}{wait_for} ? $_->{due} : undef } nodes_of($run);
		$self->{is_due} = 1 if @due || defined $ends;
		next unless defined $ends;
		push @limits, @due && $due[0] < $ends ? $ends - 0.001 : @due ? max($ends, $due[0] - 0.001) : ();
	}
	return delete $self->{is_due} ? (sort { $a <=> $b } $self->{clock} + $longest, @limits)[0] : undef;
}

# ------------------------------------------------------------------------
# What follows
# ------------------------------------------------------------------------

sub settle
{
	my ($self) = @_;

	for my $flow (@{ $self->{flows} })
	{
		my $run = $self->live_run($flow) or next;
		$self->_settle_run($run);
	}
	return;
}

sub _is_paused { my ($run) = @_; return $run->{flow}{paused} && !$run->{flow}{dropped}; }

# The run of a job is held by that job alone.
sub _is_held { my ($node) = @_; return _is_paused($node->{of_job} ? { flow => $node->{of_job} } : $node->{run}); }

sub _settle_run
{
	my ($self, $run) = @_;

	if (!$run->{begun})
	{
		return if _is_paused($run);
		$self->_begin($run);
	}
	# alter_job() changes it for those that live
	my $deadline = $run->{flow}{deadline};
	$run->{ends_by} = defined $deadline ? $run->{began} + $deadline : undef;
	$self->cancel_run($run, 'timed_out', 'deadline') if !$run->{ending} && defined $run->{ends_by} && $self->{clock} >= $run->{ends_by};
	do
	{
		$self->{changed} = 0;
		$self->_go_on($_) for nodes_of($run);
	} while ($self->{changed});
	return unless all { $_->{state} eq 'ended' } nodes_of($run);
	# who cancels step "undo" has a step fail
	return _end_run($run, $run->{ending} ? @{ $run->{ending} } : $run->{nodes}{undo} && $is_failure{ $run->{nodes}{undo}{status} } ? ('failed', 'child_failed') : _end_by_steps($run));
}

# What undoes others does not count.
sub _end_by_steps
{
	my ($run) = @_;
	return end_of_run(map { [ $_->{status}, $_->{step}{optional} ] } grep { !_is_undo($_) } nodes_of($run));
}

sub _is_undo { my ($node) = @_; return $node->{step}{undoes} || $node->{step}{when} eq 'undo'; }

sub _end_run
{
	my ($run, $status, $reason) = @_;
	@$run{qw(ended status reason)} = (1, $status, $reason);
	return;
}

sub _begin
{
	my ($self, $run) = @_;

	@$run{qw(begun began status reason)} = (1, $self->{clock}, 'running', 'waiting_for_children');
	my %fate;
	my @steps = _in_order(@{ $run->{flow}{steps} });
	for my $step (@steps)
	{
		my $name = $step->{name};
		my $node = _add_node($run, $step);
		$fate{$name} = $run->{source} ? _fate($run, $step, %fate) : 'anew';
		$node->{was} = $run->{source}{nodes}{$name} if $run->{source} && _would_be_carried($run, $step, %fate);
		next unless $fate{$name} eq 'carried';
		my $was = $run->{source}{nodes}{$name};
		$node->{by} = $was->{by} || $was;
		$self->_end($node, 'succeeded', 'carried_over');
	}
	_add_node($run, { name => 'undo', when => 'undo', after => [ map { $_->{name} } @steps ], max_attempts => 1 }) if any { $_->{undo} } @steps;
	return;
}

sub _add_node
{
	my ($run, $step) = @_;

	push @{ $run->{order} }, $step->{name};
	return $run->{nodes}{ $step->{name} } = { run => $run, step => $step, name => $step->{name}, state => 'waiting', attempt => 0, failures => 0, effects => [], got => {} };
}

# Each comes after all that it waits for.
sub _in_order
{
	my @left = @_;
	my (%is_done, @order);

	while (@left)
	{
		my ($step) = grep { all { $is_done{$_} } @{ $_->{after} } } @left;
		push @order, $step;
		$is_done{ $step->{name} } = 1;
		@left = grep { $_ != $step } @left;
	}
	return @order;
}

# Nothing but its own end can stand against it.
sub _would_be_carried
{
	my ($run, $step, %fate) = @_;
	return $run->{source}{nodes}{ $step->{name} } && !$run->{from}{ $step->{name} } && none { $fate{$_} eq 'anew' } @{ $step->{after} };
}

# What a retry makes of a step: carried (over), again (sure to be skipped, as nothing before
# it has failed), or anew.
sub _fate
{
	my ($run, $step, %fate) = @_;
	my $was = $run->{source}{nodes}{ $step->{name} };

	return 'anew' if !_would_be_carried($run, $step, %fate) || _was_undone($was);
	return $step->{for_each} || $was->{step}{for_each} ? 'anew' : 'carried' if $was->{status} eq 'succeeded';
	my $verdict = verdict($step->{when}, scalar @{ $step->{after} }, map { $fate{$_} eq 'carried' ? 'succeeded' : 'skipped' } @{ $step->{after} });
	return $verdict =~ /^upstream/ ? 'again' : 'anew';
}

# ------------------------------------------------------------------------
# What is undone
# ------------------------------------------------------------------------

sub _was_undone
{
	my ($node) = @_;
	my $undo = $node->{run}{nodes}{"undo:$node->{name}"};

	return $undo && $undo->{status} eq 'succeeded';
}

# What there is to undo of a step: for one with for_each the elements that have succeeded.
sub _stands
{
	my ($node) = @_;

	return 0 if !$node->{step}{undo};
	return $node->{step}{for_each} ? any { $_->{status} eq 'succeeded' } @{ $node->{items} || [] } : $node->{status} eq 'succeeded';
}

# Whether the second one comes after the first, directly or not.
sub _comes_after
{
	my ($run, $earlier, $later) = @_;
	return any { $_ eq $earlier || _comes_after($run, $earlier, $_) } @{ $run->{nodes}{$later}{step}{after} };
}

# From when step "undo" has been executed each that stands has a step that undoes it.
sub _begin_undo
{
	my ($self, $node) = @_;
	my $run = $node->{run};
	my @undone = grep { _stands($_) } nodes_of($run);

	for my $of (@undone)
	{
		_add_node($run, { name => "undo:$of->{name}", undoes => $of->{name}, when => 'done', %{ $of->{step}{undo} }, for_each => $of->{step}{for_each},
				after => [ 'undo', map { "undo:$_->{name}" } grep { _comes_after($run, $of->{name}, $_->{name}) } @undone ] });
	}
	$node->{attempt}++;
	return $self->_end($node, 'succeeded', '');
}

# ------------------------------------------------------------------------
# One node
# ------------------------------------------------------------------------

sub _end
{
	my ($self, $node, $status, $reason) = @_;

	@$node{qw(state status reason ended_at)} = ('ended', $status, $reason, $self->{clock});
	$self->{changed} = 1;
	return;
}

sub _go_to
{
	my ($self, $node, $state) = @_;

	$node->{state} = $state;
	$self->{changed} = 1;
	return;
}

my %ways = (waiting => \&_look_at_parents, due => \&_look_at_time, event => \&_look_for_events, ready => \&_execute,
	retry => \&_look_at_time, snooze => \&_look_at_time, children => \&_look_at_items);

sub _go_on
{
	my ($self, $node) = @_;
	my $way = $ways{ $node->{state} };

	return $way ? $way->($self, $node) : undef;
}

sub _look_at_parents
{
	my ($self, $node) = @_;
	my @parents = map { $node->{run}{nodes}{$_} } @{ $node->{step}{after} };
	my @ended = grep { $_->{state} eq 'ended' } @parents;
	my $verdict = verdict($node->{step}{when}, scalar @parents, map { $_->{status} } @ended);

	return if $verdict eq 'wait';
	$verdict = (any { $_->{status} eq 'succeeded' } @parents) ? 'upstream_succeeded' : 'upstream_skipped'
	  if $node->{step}{when} eq 'undo' && !$node->{run}{ending} && (_end_by_steps($node->{run}))[0] eq 'succeeded';
	return $self->_end($node, 'skipped', $verdict) if $verdict ne 'start';
	$node->{due} = ($node->{step}{delay} || 0) + (@parents ? max(map { $_->{ended_at} } @parents) : $node->{run}{began});
	return $self->_go_to($node, 'due');
}

sub _look_at_time
{
	my ($self, $node) = @_;

	return if $self->{clock} < $node->{due};
	return $self->_go_to($node, 'ready') if $node->{state} ne 'due' || !$node->{step}{wait_for};
	$node->{until} = $node->{step}{wait_timeout} && $self->{clock} + $node->{step}{wait_timeout};
	return $self->_go_to($node, 'event');
}

sub _look_for_events
{
	my ($self, $node) = @_;
	my @missing = grep { !$node->{got}{$_} } @{ $node->{step}{wait_for} };

	for my $name (@missing)
	{
		my $event = first { $_->{name} eq $name && $_->{came} > $node->{run}{queued} && !$_->{taken} && (!$_->{to} || $_->{to} == $node || $_->{to} == $node->{run}) }
			@{ $self->{events} } or next;
		$event->{taken} = 1 if $event->{to};
		$node->{got}{$name} = $event->{came};
	}
	return $self->_go_to($node, 'ready') unless grep { !$node->{got}{$_} } @missing;
	return $self->_end($node, 'timed_out', 'no_event') if $node->{until} && $self->{clock} >= $node->{until};
	return;
}

sub _execute
{
	my ($self, $node) = @_;
	my $step = $node->{step};

	return if _is_held($node);
	return $self->_begin_undo($node) if $step->{when} eq 'undo';
	my $looks = $node->{is_item} ? 'true' : $self->_condition($node, $node->{attempt} + 1);
	return $self->_end($node, 'skipped', 'condition') if $looks eq 'false';
	$node->{attempt}++;
	return $self->_fail($node, 'failed', 'error') if $looks eq 'error';
	return $self->_end($node, 'failed', 'error') if $step->{job} && $step->{job}{dropped} && !$node->{is_item};
	return $self->_make_items($node) if ($step->{for_each} || $step->{job}) && !$node->{is_item};
	my $plan = _plan_of($node) || ['ok'];
	return $self->_act($node, $plan->[ $node->{attempt} > @$plan ? -1 : $node->{attempt} - 1 ]);
}

# What "if" comes to: true, false or error.
sub _condition
{
	my ($self, $node, $attempt) = @_;
	my $if = $node->{step}{if} // 'true';

	return $attempt == 1 ? 'true' : 'false' if $if eq 'first';
	return 'false' if $if eq 'null';
	return $if unless $if eq 'any';
	return (any { $node->{run}{nodes}{$_}{status} eq 'succeeded' } @{ $node->{step}{after} }) ? 'true' : 'false';
}

sub _act
{
	my ($self, $node, $action) = @_;
	my ($what, $arg) = split / /, $action;

	if ($what eq 'gate')
	{
		$node->{behind} = $arg;
		return $self->_act($node, $arg) if $node->{is_open};
		return $self->_go_to($node, 'gate');
	}
	return $self->_fail($node, 'failed', 'error') if $what eq 'fail';
	return $self->_end($node, 'failed', 'discarded') if $what eq 'discard';
	return $self->_fail($node, 'timed_out', 'timeout') if $what eq 'hang';
	push @{ $node->{effects} }, $node->{attempt};
	return $self->_end($node, 'succeeded', '') if $what eq 'ok';
	$node->{due} = $self->{clock} + $arg;
	return $self->_go_to($node, 'snooze');
}

sub _fail
{
	my ($self, $node, $status, $reason) = @_;

	return $self->_end($node, $status, $reason) if ++$node->{failures} >= $node->{step}{max_attempts};
	$node->{due} = $self->{clock} + BACKOFF;
	return $self->_go_to($node, 'retry');
}

sub _make_items
{
	my ($self, $node) = @_;

	$node->{items} = [ map { _make_item($node, $_) } _indexes($node) ];
	for my $item (@{ $node->{items} })
	{
		my $was = _is_carried($node, $item);
		$item->{by} = $was->{by} || $was if $was;
		$self->_end($item, 'succeeded', 'carried_over') if $was;
		$self->_call($item) if $item->{state} ne 'ended' && $item->{of_job};
	}
	return $self->_go_to($node, 'children');
}

# What a run does, or is given for the steps of the job that it is of.
sub _plan_of
{
	my ($node) = @_;
	my $plan = _run_of_args($node)->{plans}{ $node->{step}{name} };

	return $node->{step}{for_each} ? $plan->[ $node->{index} ] : $plan;
}

# Whose arguments it has: what undoes a step has those with which that was executed.
sub _run_of_args
{
	my ($node) = @_;
	my $run = $node->{run};
	my $undone = $node->{step}{undoes} ? $run->{nodes}{ $node->{step}{undoes} } : undef;

	$undone = first { $_->{index} == $node->{index} } @{ $undone->{items} } if $undone && $node->{is_item};
	return $undone && $undone->{by} ? $undone->{by}{run} : $run;
}

# Of elements; undef is for the run of a job.
sub _indexes
{
	my ($node) = @_;
	my $step = $node->{step};

	return undef if !$step->{for_each};
	return map { $_->{index} } grep { $_->{status} eq 'succeeded' } @{ $node->{run}{nodes}{ $step->{undoes} }{items} } if $step->{undoes};
	return 0 .. $#{ $node->{run}{plans}{ $node->{name} } || [] };
}

sub _make_item
{
	my ($node, $index) = @_;
	my $of_job = $node->{step}{job};
	my $step = $of_job ? { %{ $node->{step} }, max_attempts => $of_job->{max_attempts} } : $node->{step};

	return { is_item => 1, run => $node->{run}, step => $step, of_job => $of_job, name => "$node->{name} " . ($index // 'job'), index => $index,
		state => 'ready', status => '', attempt => 0, failures => 0, effects => [] };
}

# The job of a step gets a run; if it has no steps it is the node itself.
sub _call
{
	my ($self, $node) = @_;
	my $job = $node->{of_job};

	if ($job->{steps})
	{
		$node->{called} = $self->trigger($job, _plan_of($node));
		$node->{called}{is_called} = 1;
	}
	else
	{
		push @{ $job->{items} }, $node;
	}
	return;
}

# The old one that has the same index and an equal value, and has succeeded.
sub _is_carried
{
	my ($node, $item) = @_;
	return undef if !$node->{was} || !$node->{step}{for_each} || !$node->{was}{step}{for_each};
	my $was = ($node->{was}{items} || [])->[ $item->{index} ];
	return $was && $was->{status} eq 'succeeded' && !_item_was_undone($node->{was}, $was) && _as_text(_plan_of($was)) eq _as_text(_plan_of($item)) ? $was : undef;
}

sub _item_was_undone
{
	my ($node, $item) = @_;
	my $undo = $node->{run}{nodes}{"undo:$node->{name}"};

	return $undo && any { $_->{index} == $item->{index} && $_->{status} eq 'succeeded' } @{ $undo->{items} || [] };
}

sub _as_text
{
	my ($plan) = @_;
	return ref $plan eq 'HASH' ? join '; ', map { "$_: " . _as_text($plan->{$_}) } sort keys %$plan : join ' ', map { ref ? '[' . _as_text($_) . ']' : $_ } @$plan;
}

sub _look_at_items
{
	my ($self, $node) = @_;

	$_->{called} ? $self->_go_on_below($_) : $self->_go_on($_) for grep { $_->{state} ne 'ended' } @{ $node->{items} };
	return if any { $_->{state} ne 'ended' } @{ $node->{items} };
	return $self->_end($node, 'cancelled', $node->{ending}) if $node->{ending};
	return $self->_end($node, end_of_run(map { [ $_->{status}, 0 ] } @{ $node->{items} }));
}

# The run of a job that has steps.
sub _go_on_below
{
	my ($self, $node) = @_;
	my $run = $node->{called};

	my $changed = $self->{changed};
	$self->_settle_run($run) if !$run->{ended};
	$self->{changed} = $changed;
	$node->{attempt} = $run->{begun} ? 1 : 0;
	return $run->{ended} ? $self->_end($node, $run->{status}, $run->{reason}) : undef;
}

# ------------------------------------------------------------------------
# What view steps shows
# ------------------------------------------------------------------------

my %shown = (waiting => [ 'queued', 'waiting_for_upstream' ], due => [ 'queued', 'not_due' ], event => [ 'queued', 'waiting_for_event' ], ready => [ '(?:queued|retrying)', 'job_paused' ],
	gate => [ 'running', '' ], retry => [ 'retrying', '.*' ], snooze => [ '(?:queued|retrying)', '.*' ], children => [ 'running', 'waiting_for_children' ]);

# A pattern of "status reason attempt".
sub expected
{
	my ($node) = @_;

	return "$node->{status} $node->{reason} $node->{attempt}" if $node->{state} eq 'ended';
	# while it ends it may show why
	return "running .* $node->{attempt}" if $node->{ending} || $node->{called} && $node->{called}{ending};
	return "running waiting_for_children $node->{attempt}" if $node->{called} && $node->{called}{begun};
	my ($status, $reason) = @{ $shown{ $node->{state} } };
	$reason = '(?:not_due|waiting_for_event)' if $node->{state} eq 'due' && $node->{step}{wait_for};
	$reason = "(?:$reason|job_paused)" if _is_held($node);
	# one that waits for another attempt may say why
	$reason = '.*' if $node->{attempt} && $node->{state} eq 'ready' || $node->{lost};
	return "$status $reason $node->{attempt}";
}

# The result of the workflow run has keys of these.
sub keys_of_result
{
	my ($run) = @_;
	return () if !$run->{begun} || $run->{ending};
	return sort map { $_->{name} } grep { $_->{status} eq 'succeeded' && !_is_undo($_) } nodes_of($run);
}

1;
