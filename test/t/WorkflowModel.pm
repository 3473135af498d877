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
(names), wait_timeout, max_attempts.  What it does is not in the step but in the run's
plans: {plans}{step} is a list with an element for each attempt, of which the last one
holds for all that follow: "ok", "fail", "discard", "snooze SECONDS", "hang" (until its
timeout), and "gate ok" or "gate fail": it is executed until its gate is opened.  For a
step with for_each it is a list of such lists, one for each element.

A node is a step in a run, or an element.  Its state is one of waiting (for its
parents), due (at its time), event, ready, gate, retry, snooze, children, ended.

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
	return 'start' if $when eq 'done' || $when eq 'always';
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

sub cancel_run
{
	my ($self, $run, $status, $reason) = @_;

	return if $run->{ended};
	return _end_run($run, 'cancelled', $reason // 'cancelled') unless $run->{begun};
	my $again = $run->{ending};
	$run->{ending} ||= [ $status // 'cancelled', $reason // 'cancelled' ];
	for my $node (map { $run->{nodes}{$_} } @{ $run->{order} })
	{
		$self->_cancel($node, 'parent_ended') if $again || $node->{step}{when} ne 'always';
	}
	return;
}

sub cancel_node
{
	my ($self, $node) = @_;
	return $self->_cancel($node, 'cancelled');
}

sub _cancel
{
	my ($self, $node, $reason) = @_;

	return if $node->{state} eq 'ended';
	$self->_cancel($_, 'parent_ended') for @{ $node->{items} || [] };
	return $self->_end($node, 'cancelled', $reason);
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

sub _due_of
{
	my ($node) = @_;
	return
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
	return _end_run($run, $run->{ending} ? @{ $run->{ending} } : end_of_run(map { [ $_->{status}, $_->{step}{optional} ] } nodes_of($run)));
}

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
	for my $step (_in_order(@{ $run->{flow}{steps} }))
	{
		my $name = $step->{name};
		my $node = $run->{nodes}{$name} = { run => $run, step => $step, name => $name, state => 'waiting', attempt => 0, failures => 0, effects => [], got => {} };
		push @{ $run->{order} }, $name;
		$fate{$name} = $run->{source} ? _fate($run, $step, %fate) : 'anew';
		$node->{was} = $run->{source}{nodes}{$name} if $run->{source} && _would_be_carried($run, $step, %fate);
		next unless $fate{$name} eq 'carried';
		my $was = $run->{source}{nodes}{$name};
		$node->{by} = $was->{by} || $was;
		$self->_end($node, 'succeeded', 'carried_over');
	}
	return;
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

# What a retry makes of a step: carried (over), again (skipped again, as nothing before
# it has failed), or anew.
sub _fate
{
	my ($run, $step, %fate) = @_;
	my $was = $run->{source}{nodes}{ $step->{name} };

	return 'anew' if !_would_be_carried($run, $step, %fate);
	return $step->{for_each} || $was->{step}{for_each} ? 'anew' : 'carried' if $was->{status} eq 'succeeded';
	my $verdict = verdict($step->{when}, scalar @{ $step->{after} }, map { $fate{$_} eq 'carried' ? 'succeeded' : 'skipped' } @{ $step->{after} });
	return $was->{status} eq 'skipped' && $was->{reason} =~ /^upstream_(?:succeeded|skipped)$/ && $verdict =~ /^upstream/ ? 'again' : 'anew';
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

	return if _is_paused($node->{run});
	return $self->_make_items($node) if $step->{for_each} && !$node->{is_item};
	my $looks = $node->{is_item} ? 'true' : $self->_condition($node, $node->{attempt} + 1);
	return $self->_end($node, 'skipped', 'condition') if $looks eq 'false';
	$node->{attempt}++;
	return $self->_fail($node, 'failed', 'error') if $looks eq 'error';
	my $plan = $node->{is_item} ? $node->{run}{plans}{ $step->{name} }[ $node->{index} ] : $node->{run}{plans}{ $step->{name} };
	$plan ||= ['ok'];
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
	my $plans = $node->{run}{plans}{ $node->{name} } || [];

	$node->{attempt} = 1;
	$node->{items} = [ map { +{ is_item => 1, run => $node->{run}, step => $node->{step}, name => "$node->{name} $_", index => $_,
		state => 'ready', attempt => 0, failures => 0, effects => [] } } 0 .. $#$plans ];
	$self->_end($_, 'succeeded', 'carried_over') for grep { _is_carried($node, $_) } @{ $node->{items} };
	return $self->_go_to($node, 'children');
}

# It has the same index and an equal value, and has succeeded.
sub _is_carried
{
	my ($node, $item) = @_;
	my $was = $node->{was} && ($node->{was}{items} || [])->[ $item->{index} ];
	return $was && $was->{status} eq 'succeeded' && "@{ $node->{was}{run}{plans}{ $node->{name} }[ $item->{index} ] }" eq "@{ $node->{run}{plans}{ $node->{name} }[ $item->{index} ] }";
}

sub _look_at_items
{
	my ($self, $node) = @_;

	$self->_go_on($_) for @{ $node->{items} };
	return if any { $_->{state} ne 'ended' } @{ $node->{items} };
	return $self->_end($node, end_of_run(map { [ $_->{status}, 0 ] } @{ $node->{items} }));
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
	my ($status, $reason) = @{ $shown{ $node->{state} } };
	$reason = '(?:not_due|waiting_for_event)' if $node->{state} eq 'due' && $node->{step}{wait_for};
	$reason = "(?:$reason|job_paused)" if _is_paused($node->{run});
	# one that waits for another attempt may say why
	$reason = '.*' if $node->{attempt} && $node->{state} eq 'ready' || $node->{lost};
	return "$status $reason $node->{attempt}";
}

# The result of the workflow run has keys of these.
sub keys_of_result
{
	my ($run) = @_;
	return () if !$run->{begun} || $run->{ending};
	return sort map { $_->{name} } grep { $_->{status} eq 'succeeded' } nodes_of($run);
}

1;
