# Copyright (c) 2026, jobsched contributors

=pod

=head1 NAME

JobschedModel - what jobsched promises, as a program

=head1 SYNOPSIS

  my $model = JobschedModel->new(calendar => sub { ... });
  $model->set_clock($t);
  $model->create_job('j1', schedule => '*/5 * * * *', overlap => 'queue');
  $model->settle;

=head1 DESCRIPTION

README.md's chapters on slots, jobs, limits, idempotency and retries once more,
in plain Perl, made from what they say and not from the C code.  An instance
is all jobs and runs of one database at an instant of the mocked clock.  A
method makes an operation; settle() then makes everything that follows from it
without the clock being set again.

Times are microseconds since 1970.  Which slots a schedule has the model does
not know: calendar->($job, $after) tells the first one after an instant.

Where jobsched is free the model asks what it has chosen, and allows only what
it is free to choose.  These places are marked "Free:".  What it has chosen is
told to clone(); with nothing observed the model chooses itself.

A run does what its plan says, a list with an element for each attempt, whose
last one holds for all that follow: "ok", "fail SQLSTATE", "snooze SECONDS",
"discard", "hang" (until its timeout), and any of these after "gate ": it waits
until its gate is opened.

=cut

package JobschedModel;

use strict;
use warnings;

use List::Util qw(first max min sum0);
use Storable qw(dclone);

use constant SECOND => 1_000_000;

# A job's row when nothing is said of a policy.
my %defaults = (
	overlap => 'skip', queue_limit => 1, misfire => 'once', misfire_grace => 5 * SECOND,
	backoff => 'exponential', backoff_base => 10 * SECOND, backoff_max => 3600 * SECOND, backoff_jitter => 0.2,
	retry_delays => [], retry_on => [], no_retry_on => [], plan => ['ok'], keys => []);

my @worth_it = qw(08 40001 40P01 53 55P03 57P01 57P02 57P03 timeout lost);

use constant TRIES_AFTER_LOSS => 3;
use constant TRIES_OF_TRIGGERED => 3;
use constant MADE_UP => 100;
use constant COUNTED => 10_000;

my %is_failure = map { $_ => 1 } qw(failed timed_out lost);

sub new
{
	my ($class, %param) = @_;
	return bless { calendar => $param{calendar}, clock => 0, jobs => {}, runs => [], limits => {}, keys => {}, made => 0 }, $class;
}

# A copy, to see what an operation makes of it.  $observed: what can be seen of
# the system.  {runs}{key} is a run: {queued_for} is when it was to begin at
# first; {retry_at}{"id attempt"} when the attempt after that one was to begin;
# {began}{"id attempt"} a number that tells in which order attempts have begun;
# {jobs}{name} a job, of which {failures} counts.
sub clone
{
	my ($self, $observed) = @_;
	my %data = %$self;
	my $calendar = delete $data{calendar};

	delete @data{qw(observed chosen_failures)};
	my $copy = dclone(\%data);

	@$copy{qw(calendar observed)} = ($calendar, $observed);
	return bless $copy, ref $self;
}

# ------------------------------------------------------------------------
# Operations
# ------------------------------------------------------------------------

sub create_job
{
	my ($self, $name, %def) = @_;
	my $job = $self->{jobs}{$name} = {
		%defaults, %def, name => $name, enabled => 1, failures => 0, forgiven => 0, made => 0,
		newest => 0, passed => [], number => $self->{created}++
	};
	return $self->_begin_schedule($job);
}

sub alter_job
{
	my ($self, $name, %def) = @_;
	my $job = $self->{jobs}{$name};
	my $is_new = exists $def{schedule} && $def{schedule} ne $job->{schedule};

	my $before = {%$job};

	%$job = (%$job, %def);
	$self->_begin_schedule($job) if $is_new;
	return $self->_changed($job, $before);
}

sub pause_job  { my ($self, $name) = @_; return $self->alter_job($name, paused => 1); }
sub resume_job { my ($self, $name) = @_; return $self->alter_job($name, paused => 0); }

# What has not begun is cancelled; what is executed ends as it will.
sub drop_job
{
	my ($self, $name, $cancel_running) = @_;
	my $job = $self->{jobs}{$name};

	$job->{dropped} = 1;
	for my $run ($self->live_runs($job))
	{
		next if $run->{status} eq 'running' && !$cancel_running;
		$self->_end($run, 'cancelled', 'job_dropped');
	}
	return;
}

# Returns the run that the caller is given, or nothing if there is an error.
sub trigger
{
	my ($self, $name, %param) = @_;
	my $job = $self->{jobs}{$name};
	my ($key, $on_conflict, $period) = @param{qw(idempotency_key on_conflict idempotency_period)};

	if (defined $key)
	{
		my $existing = $self->_meet_key($job, $key, $on_conflict);
		return ref $existing ? $existing : undef if defined $existing;
		$param{run_at} //= $self->{clock} + $period if $on_conflict eq 'debounce';
	}
	my $run = $self->_make_run($job, 'trigger', %param, run_at => $param{run_at} // $self->{clock});
	$self->{keys}{"$name $key"} = { run => $run->{made}, until => $self->{clock} + $period } if defined $key;
	return $run;
}

sub cancel_run
{
	my ($self, $run) = @_;
	$self->_end($run, 'cancelled', 'cancelled') unless $run->{ended};
	return;
}

# What waits at the run's gate goes on.
sub open_gate
{
	my ($self, $run) = @_;
	$run->{open} = 1;
	$self->_finish($run) if $run->{status} eq 'running';
	return;
}

# Somebody terminates the worker of a run: it is tried again a second later,
# for perhaps the server is being shut down.
sub terminate_worker
{
	my ($self, $run) = @_;
	$self->_lose($run, 'worker_died', '57P01', SECOND);
	return;
}

sub set_limit
{
	my ($self, $name, %limit) = @_;
	$self->{limits}{$name} = \%limit;
	return;
}

sub set_clock
{
	my ($self, $clock) = @_;
	my $back = $clock < $self->{clock} - SECOND;

	$self->{clock} = $clock;
	$self->_set_back() if $back;
	return;
}

# The server dies, and is there again when the clock shows another time.  What
# was executed is cut off.
sub crash
{
	my ($self, $clock) = @_;

	$self->{clock} = $clock;
	for my $run (grep { $_->{status} eq 'running' } $self->live_runs)
	{
		$self->_lose($run, 'server_restarted', undef, 0);
	}
	return $self->restart_scheduler;
}

# A successor puts what waits in its place anew.
sub restart_scheduler
{
	my ($self) = @_;

	for my $job (values %{ $self->{jobs} })
	{
		$self->_place_anew($job);
		$self->_tell_skips($job) if !$job->{dropped} && !$self->_live($job) && !$self->_waiting($job);
	}
	return;
}

# ------------------------------------------------------------------------
# What is there
# ------------------------------------------------------------------------

sub live_runs
{
	my ($self, $job) = @_;
	return grep { !$_->{ended} && (!$job || $_->{job} eq $job->{name}) } @{ $self->{runs} };
}

sub job_of { my ($self, $run) = @_; return $self->{jobs}{ $run->{job} }; }

sub jobs
{
	my ($self) = @_;
	return grep { !$_->{dropped} } map { $self->{jobs}{$_} } sort keys %{ $self->{jobs} };
}

# Whether nothing of the job starts.
sub is_paused { my ($job) = @_; return $job->{paused} || $job->{brake}; }

sub fires { my ($job) = @_; return $job->{enabled} && !$job->{dropped} && !is_paused($job); }

sub _used_up { my ($job) = @_; return defined $job->{max_runs} && $job->{made} >= $job->{max_runs}; }

sub state_of
{
	my ($self, $job) = @_;
	return 'paused' if is_paused($job);
	return 'disabled' unless $job->{enabled};
	return 'completed' if defined $job->{schedule} && (_used_up($job) || !defined $job->{next});
	return 'active';
}

# As view jobs shows it.
sub next_run_at
{
	my ($self, $job) = @_;
	return undef if is_paused($job) || !$job->{enabled} || _used_up($job);
	return $job->{next};
}

# Whether it is certain what another scheduler, which comes at such a time, takes
# for added up.  Outcomes are told apart by their time: not so when some came from
# a clock that has been set back since.
sub is_certain
{
	my ($self, $clock) = @_;

	for my $run (grep { $_->{counted} && $_->{finished_at} <= $clock } @{ $self->{runs} })
	{
		my $job = $self->job_of($run);
		return 0 if !$job->{dropped} && $run->{finished_at} > ($job->{last_finished} // 0);
	}
	return 1;
}

# When something happens by itself, the first time after now.
sub next_event
{
	my ($self) = @_;
	my @slots = map { $_->{next} // () } grep { fires($_) } $self->jobs;
	my @runs = map { $_->{run_at} } grep { $_->{status} ne 'running' && !is_paused($self->job_of($_)) } $self->live_runs;

	return min grep { $_ > $self->{clock} } @slots, @runs;
}

# ------------------------------------------------------------------------
# Slots
# ------------------------------------------------------------------------

sub _slot_after
{
	my ($self, $job, $after) = @_;
	return undef unless defined $job->{schedule};
	$after = max($after, $job->{starts_at} - 1) if defined $job->{starts_at};
	$after = max($after, $job->{anchor}) if !defined $job->{starts_at} && $job->{schedule} =~ /^every/;
	my $slot = $self->{calendar}->($job, $after);
	return defined $slot && defined $job->{ends_at} && $slot > $job->{ends_at} ? undef : $slot;
}

sub _begin_schedule
{
	my ($self, $job) = @_;

	$job->{anchor} = ($job->{schedule} // '') =~ /^every/ && $job->{starts_at} || $self->{clock};
	$job->{next} = $self->_slot_after($job, $self->{clock});
	return;
}

# Slots up to the newest are done, but for those that were passed over last.
sub _is_done
{
	my ($job, $slot) = @_;
	return $slot <= $job->{newest} && !grep { $_ == $slot } @{ $job->{passed} };
}

# The slot is done, and stands for others that were passed over.
sub _note_done
{
	my ($job, $slot, @passed) = @_;

	if ($slot > $job->{newest})
	{
		$job->{passed} = [ grep { $_ > $job->{newest} } @passed ] if @passed;
		$job->{newest} = $slot;
	}
	else
	{
		$job->{passed} = [ grep { $_ > $slot } @{ $job->{passed} } ];
	}
	return;
}

sub _advance
{
	my ($self, $job, $slot, $made) = @_;
	my $next = $self->_slot_after($job, $slot);

	$job->{made} += $made;
	$next = $self->_slot_after($job, $next) while defined $next && _is_done($job, $next);
	$job->{next} = _used_up($job) ? undef : $next;
	return;
}

# What was passed over on the way to a slot that is now to come again is not
# done.  If that slot is past it stands for them.
sub _set_back
{
	my ($self) = @_;

	for my $job (grep { defined $_->{schedule} && $_->{newest} > $self->{clock} && !_used_up($_) } $self->jobs)
	{
		my @passed = @{ $job->{passed} };
		my $open = @passed && $self->_slot_after($job, $passed[-1]) > $self->{clock};

		$job->{next} = $open ? $passed[0] : $self->_slot_after($job, $job->{newest});
	}
	return;
}

# Whose slot is the oldest that is due; of several jobs with it, the one that was
# created first.
sub _next_to_fire
{
	my ($self) = @_;
	my ($next) = sort { $a->{next} <=> $b->{next} || $a->{number} <=> $b->{number} }
	  grep { fires($_) && defined $_->{next} && $_->{next} <= $self->{clock} } $self->jobs;

	return $next;
}

# The slots of a job that are due and not done, oldest first.
sub _due_slots
{
	my ($self, $job) = @_;
	my @slots;

	for (my $slot = $job->{next}; defined $slot && $slot <= $self->{clock}; $slot = $self->_slot_after($job, $slot))
	{
		push @slots, $slot unless _is_done($job, $slot);
	}
	return @slots;
}

sub _fire
{
	my ($self, $job) = @_;
	my $slot = $job->{next};

	$self->{fired}++;
	my $grace = max($job->{misfire_grace}, SECOND);

	return $self->_advance($job, $slot, 0) if _used_up($job) || _is_done($job, $slot);
	return $self->_fire_slot($job, $slot) if $self->{clock} - $slot <= $grace;
	my @due = $self->_due_slots($job);
	return $self->_pass_over($job, grep { $self->{clock} - $_ > $grace } @due) if $job->{misfire} eq 'skip';
	return $self->_make_up($job, @due) if $job->{misfire} eq 'all';
	return $self->_fire_slot($job, reverse @due);
}

# One run for a slot and older ones that were missed, unless it overlaps.
sub _fire_slot
{
	my ($self, $job, $slot, @missed) = @_;
	my $skip = $self->_overlap($job);

	_note_done($job, $slot, reverse @missed);
	$self->_note_skip($job, $skip, $slot, min(scalar @missed, COUNTED)) if $skip;
	$self->_advance($job, $slot, $skip ? 0 : 1);
	return if $skip;
	my $waits = $job->{overlap} eq 'replace' ? $self->_replace($job) : $self->_waits($job);
	return $self->_make_slot_run($job, $slot, min(scalar @missed, COUNTED), $waits);
}

sub _pass_over
{
	my ($self, $job, @missed) = @_;
	my $last = pop @missed;

	_note_done($job, $last, @missed);
	$self->_advance($job, $last, 0);
	return $self->_make_row($job, 'missed', 'misfire', $missed[0] // $last, $last, 1 + min(scalar @missed, COUNTED));
}

sub _make_up
{
	my ($self, $job, @due) = @_;
	my @older = splice @due, 0, max(@due - MADE_UP, 0);

	splice @due, $job->{max_runs} - $job->{made} if defined $job->{max_runs} && @due > $job->{max_runs} - $job->{made};
	_note_done($job, $older[-1], @older[ 0 .. $#older - 1 ]) if @older;
	_note_done($job, $_) for @due;
	$self->_advance($job, $due[-1], scalar @due);
	$self->_make_row($job, 'missed', 'misfire', $older[0], $older[-1], min(scalar @older, COUNTED)) if @older;
	$self->_make_slot_run($job, $_, 0, $self->_waits($job)) for @due;
	return;
}

# ------------------------------------------------------------------------
# Overlap
# ------------------------------------------------------------------------

# Whether runs of its slots wait for all others of the job.
sub _is_serial
{
	my ($job) = @_;
	return $job->{overlap} eq 'queue' || $job->{overlap} eq 'replace'
	  || ($job->{overlap} eq 'skip' && $job->{misfire} eq 'all') ? 1 : 0;
}

sub _is_of_slot { my ($run) = @_; return $run->{source} eq 'schedule' || $run->{source} eq 'startup'; }

sub _is_due { my ($self, $run) = @_; return $run->{run_at} <= $self->{clock}; }

# Waits for others of its job.
sub _is_behind
{
	my ($self, $run) = @_;
	return _is_of_slot($run) && _is_serial($self->job_of($run)) && $run->{status} ne 'running' && $self->_is_due($run) && !$run->{promoted};
}

# Is executed, or would be if there were room; or waits for another attempt.
sub _is_live
{
	my ($self, $run) = @_;
	return 1 if $run->{status} eq 'running';
	return 0 if is_paused($self->job_of($run)) || $self->_is_behind($run);
	return $self->_is_due($run) || $run->{attempt} > 0;
}

# Of a slot, and waits to be live: behind others, or put off.
sub _is_waiting
{
	my ($self, $run) = @_;
	return _is_of_slot($run) && !is_paused($self->job_of($run)) && !$self->_is_live($run);
}

sub _live    { my ($self, $job) = @_; return grep { $self->_is_live($_) } $self->live_runs($job); }
sub _waiting { my ($self, $job) = @_; return grep { $self->_is_waiting($_) } $self->live_runs($job); }

# Why a slot that comes now has no run; nothing if it has one.
sub _overlap
{
	my ($self, $job) = @_;
	my $live = $self->_live($job);
	my $waiting = $self->_waiting($job);

	# If none is live, one of those who wait is about to be.
	return $waiting - ($live ? 0 : 1) >= $job->{queue_limit} ? 'queue_full' : undef if $job->{overlap} eq 'queue';
	return $job->{max_concurrency} && $live + $waiting >= $job->{max_concurrency} ? 'overlap' : undef if $job->{overlap} eq 'allow';
	return undef if $job->{overlap} eq 'replace';
	return $live + $waiting ? 'overlap' : undef;
}

# Returns whether one was being executed, which takes a moment to end: longer
# than it takes to see to all slots that are due.
sub _replace
{
	my ($self, $job) = @_;

	$job->{ending} = 1 if grep { $_->{status} eq 'running' } $self->live_runs($job);

	for my $run ($self->_live($job), $self->_waiting($job))
	{
		$self->_end($run, 'cancelled', 'replaced');
	}
	return $job->{ending};
}

# Whether a slot's run that is made now is behind others.
sub _waits
{
	my ($self, $job) = @_;
	return _is_serial($job) && ($self->_live($job) || $self->_waiting($job));
}

# Skips are added up.
sub _note_skip
{
	my ($self, $job, $reason, $slot, $missed) = @_;

	$self->_tell_skips($job) if $job->{skips} && $job->{skips}{reason} ne $reason;
	$job->{skips} ||= { reason => $reason, first => $slot, count => 0 };
	$job->{skips}{count} += 1 + $missed;
	$job->{skips}{last} = $slot;
	return;
}

sub _tell_skips
{
	my ($self, $job) = @_;
	my $skips = delete $job->{skips} or return;
	return $self->_make_row($job, 'skipped', @$skips{qw(reason first last count)});
}

# ------------------------------------------------------------------------
# Runs
# ------------------------------------------------------------------------

sub _make_run
{
	my ($self, $job, $source, %param) = @_;
	my $run = {
		job => $job->{name}, source => $source, missed => 0, priority => 0, attempt => 0, failures => 0, lost => 0,
		attempts => [], queued_at => $self->{clock}, status => 'queued', keys => $job->{keys}, %param, made => $self->{made}++
	};
	push @{ $self->{runs} }, $run;
	return $run;
}

# Free: jitter puts the run off by any time below its bound; by how much is
# computed from job and slot in a way that the README does not tell.
sub _make_slot_run
{
	my ($self, $job, $slot, $missed, $waits) = @_;
	my $run = $self->_make_run($job, 'schedule', slot => $slot, missed => $missed, run_at => $slot,
		$waits ? (reason => 'waiting_for_run') : ());
	my $chosen = $self->_observed_run($run);

	$run->{run_at} = $chosen->{queued_for} if $job->{jitter} && $chosen
		&& $chosen->{queued_for} >= $slot && $chosen->{queued_for} < $slot + $job->{jitter};
	return $run;
}

# A row that tells of slots without a run.
sub _make_row
{
	my ($self, $job, $status, $reason, $first, $last, $count) = @_;
	my $run = $self->_make_run($job, 'schedule', slot => $last, missed => $count, run_at => $first, queued_at => $first);

	return $self->_end($run, $status, $reason);
}

sub _observed_run
{
	my ($self, $run) = @_;
	my $runs = $self->{observed}{runs} or return undef;
	return $runs->{ run_key($run) };
}

# What a run is known by: those of slots have no id before they are seen.
sub run_key
{
	my ($run) = @_;
	return $run->{id} if $run->{source} ne 'schedule';
	my $kind = ($run->{status} eq 'skipped' || $run->{status} eq 'missed') ? $run->{status} : 'run';
	return "$run->{job} $kind $run->{slot}";
}

sub step_of
{
	my ($self, $run) = @_;
	my @plan = @{ $run->{plan} || $self->job_of($run)->{plan} };
	return $plan[ min($run->{attempt}, scalar @plan) - 1 ];
}

sub _start
{
	my ($self, $run) = @_;

	$run->{attempt}++;
	$run->{status} = 'running';
	$run->{claimed_at} = $self->{clock};
	delete @$run{qw(reason promoted)};
	$run->{as} = { %{ $self->job_of($run) } };    # what is altered holds for attempts that start later
	$self->_note_effect($run) if $self->job_of($run)->{apart};
	my $step = $run->{step} = $self->step_of($run);
	return if $step =~ /^gate/ && !$run->{open};
	return $self->_finish($run);
}

# The attempt comes to the end that its plan says.
sub _finish
{
	my ($self, $run) = @_;
	my ($what, $arg) = split / /, $run->{step} =~ s/^gate //r;

	$self->_note_effect($run) if !$self->job_of($run)->{apart} && ($what eq 'ok' || $what eq 'snooze');
	return $self->_end($run, 'succeeded') if $what eq 'ok';
	return $self->_fail($run, 'failed', 'discarded', 'JS001') if $what eq 'discard';
	return $self->_fail($run, 'failed', 'error', $arg) if $what eq 'fail';
	return $self->_fail($run, 'timed_out', 'timeout', '57014') if $what eq 'hang';
	$self->_note_attempt($run, 'snoozed');
	return $self->_wait($run, 'snoozed', $self->{clock} + $arg * SECOND);
}

sub _note_effect
{
	my ($self, $run) = @_;
	push @{ $run->{effects} }, $run->{attempt};
	return;
}

sub _note_attempt
{
	my ($self, $run, @outcome) = @_;
	push @{ $run->{attempts} }, join ' ', $run->{attempt}, map { $_ // '-' } @outcome[ 0, 1, 2 ];
	return;
}

# Waits for another attempt; nobody waits for one of a dropped job.
sub _wait
{
	my ($self, $run, $reason, $run_at, $status) = @_;

	@$run{qw(status reason run_at)} = ($status || 'retrying', $reason, $run_at);
	$self->_end($run, 'cancelled', 'job_dropped') if $self->job_of($run)->{dropped};
	return;
}

sub _end
{
	my ($self, $run, $status, $reason, $sqlstate) = @_;

	my $was_running = $run->{status} eq 'running';

	$self->_note_attempt($run, $status, $reason, $sqlstate) if $was_running;
	@$run{qw(ended status reason finished_at)} = (1, $status, $reason, $self->{clock});
	delete $run->{promoted};
	# That another took its place before it began says nothing of the job.
	return if ($reason // '') =~ /^(replaced|debounced)$/ && !$was_running;
	return $self->_count($self->job_of($run), $run);
}

# ------------------------------------------------------------------------
# Retries
# ------------------------------------------------------------------------

sub _attempts_allowed
{
	my ($job, $run) = @_;
	return $run->{max_attempts} || $job->{max_attempts} || (@{ $job->{retry_delays} } ? 1 + @{ $job->{retry_delays} } : 0)
	  || ($run->{source} eq 'trigger' && !$job->{apart} ? TRIES_OF_TRIGGERED : 1);
}

sub _meets
{
	my ($status, $sqlstate, @conditions) = @_;
	return grep {
		$_ eq 'all' || ($_ eq 'timeout' && $status eq 'timed_out') || ($_ eq 'lost' && $status eq 'lost')
		  || (defined $sqlstate && $sqlstate =~ /^$_/)
	} @conditions;
}

sub _is_worth_it
{
	my ($job, $status, $sqlstate) = @_;
	return 0 if _meets($status, $sqlstate, @{ $job->{no_retry_on} });
	return _meets($status, $sqlstate, @{ $job->{retry_on} } ? @{ $job->{retry_on} } : @worth_it);
}

# After the nth failure.  Free: the jitter of backoff takes away a share.
sub _delay
{
	my ($self, $job, $run, $n) = @_;
	my @delays = @{ $job->{retry_delays} };

	return $delays[ min($n, scalar @delays) - 1 ] if @delays;
	my $factor = $job->{backoff} eq 'fixed' ? 1 : $job->{backoff} eq 'linear' ? $n : 3**($n - 1);
	my $delay = min($job->{backoff_base} * $factor, $job->{backoff_max});
	my $chosen = $self->{observed}{retry_at}{ ($run->{id} // 0) . " $run->{attempt}" };
	my $waited = defined $chosen ? $chosen - $self->{clock} : $delay;

	return $waited <= $delay && $waited >= $delay * (1 - $job->{backoff_jitter}) ? $waited : $delay;
}

sub _fail
{
	my ($self, $run, $status, $reason, $sqlstate, $job) = @_;

	$job ||= $run->{as};
	return $self->_end($run, $status, $reason, $sqlstate)
	  if $reason eq 'discarded' || $run->{failures} + 1 >= _attempts_allowed($job, $run) || !_is_worth_it($job, $status, $sqlstate);
	$run->{failures}++;
	$self->_note_attempt($run, $status, $reason, $sqlstate);
	return $self->_wait($run, $reason, $self->{clock} + $self->_delay($job, $run, $run->{failures}));
}

# The worker or the server is gone.
sub _lose
{
	my ($self, $run, $reason, $sqlstate, $pause) = @_;
	my $job = $self->job_of($run);
	my $again = $self->{clock} + $pause;

	return $self->_end($run, 'lost', $reason, $sqlstate) if $job->{dropped};
	return $self->_fail($run, 'lost', $reason, $sqlstate, $job) if $job->{apart};
	return $self->_end($run, 'lost', $reason, $sqlstate) if $run->{lost} >= TRIES_AFTER_LOSS;
	$self->_note_attempt($run, 'lost', $reason, $sqlstate);
	return $self->_wait($run, $reason, $again, 'queued') if !$run->{lost}++ || $reason ne 'server_restarted';
	return $self->_wait($run, $reason, $again + $self->_delay($job, $run, $run->{lost} - 1));
}

# ------------------------------------------------------------------------
# Outcomes
# ------------------------------------------------------------------------

# The brake: too many failures without a success in between.
sub _count
{
	my ($self, $job, $run) = @_;

	$run->{counted} = 1;
	push @{ $job->{outcomes} }, $run->{status};
	$job->{last_finished} = $self->{clock};
	if ($run->{status} eq 'succeeded')
	{
		$job->{failures} = $job->{forgiven} = 0;
	}
	elsif ($is_failure{ $run->{status} })
	{
		$job->{failures}++;
		$self->_brake($job, $run);
	}
	return;
}

# Whoever waits is live until then, and slots that were skipped are told of later.
sub _brake
{
	my ($self, $job, $run) = @_;
	my $failures = $job->{failures} - $job->{forgiven};

	return unless $job->{brake} || ($job->{pause_after_failures} && $failures >= $job->{pause_after_failures});
	$self->_sum_up($job);
	$job->{brake} ||= "paused after $failures consecutive failures (last: run " . ($run->{id} // '?') . ')';
	$job->{forgiven} = $job->{failures};
	return $self->_place_anew($job);
}

# Any change of the job releases the brake.  One that concerns what waits places
# that anew; after others a run that has had its turn keeps it.
sub _changed
{
	my ($self, $job, $before) = @_;
	my $moves = delete $job->{brake} || _is_serial($job) != _is_serial($before)
	  || grep { ($job->{$_} // '') ne ($before->{$_} // '') } qw(paused queue max_concurrency);

	return $moves ? $self->_place_anew($job) : undef;
}

sub _place_anew
{
	my ($self, $job) = @_;
	delete $_->{promoted} for $self->live_runs($job);
	return;
}

# ------------------------------------------------------------------------
# Keys of trigger()
# ------------------------------------------------------------------------

# The run that stands for the call, 0 for an error; nothing if it makes a new one.
sub _meet_key
{
	my ($self, $job, $key, $on_conflict) = @_;
	my $kept = $self->{keys}{"$job->{name} $key"} or return undef;
	my $run = $self->{runs}[ $kept->{run} ];
	my $expired = $kept->{until} <= $self->{clock};

	return $expired ? undef : $run if $on_conflict eq 'throttle';
	if ($on_conflict eq 'replace' || $on_conflict eq 'debounce')
	{
		$self->_end($run, 'cancelled', $on_conflict eq 'replace' ? 'replaced' : 'debounced')
		  unless $run->{ended} || $run->{status} eq 'running';
		return undef;
	}
	return undef if $expired && $run->{ended};
	return $on_conflict eq 'error' ? 0 : $run;
}

# ------------------------------------------------------------------------
# Limits
# ------------------------------------------------------------------------

# The limits that name a run.
sub limits_of
{
	my ($self, $run) = @_;
	my $job = $self->job_of($run);
	my @limits = map { "key $_" } @{ $run->{keys} };

	push @limits, "job $job->{name}" if $job->{max_concurrency};
	push @limits, "queue $job->{queue}" if $job->{queue};
	return @limits;
}

# What holds for one: of a key, what holds for its class.
sub limit
{
	my ($self, $name) = @_;
	my ($kind, $rest) = split / /, $name, 2;
	return { max => $self->{jobs}{$rest}{max_concurrency} } if $kind eq 'job';
	$name = 'class ' . $rest =~ s/:.*//r if $kind eq 'key';
	return $self->{limits}{$name} || {};
}

# How many runs each limit names that are executed.
sub _taken
{
	my ($self) = @_;
	my %taken;

	$taken{$_}++ for map { $self->limits_of($_) } grep { $_->{status} eq 'running' } $self->live_runs;
	return \%taken;
}

sub _has_room
{
	my ($self, $name, $taken) = @_;
	my $limit = $self->limit($name);

	return !$limit->{paused} && (!$limit->{max} || $limit->{max} > ($taken->{$name} // 0));
}

# ------------------------------------------------------------------------
# What follows
# ------------------------------------------------------------------------

sub settle
{
	my ($self) = @_;

	$self->_learn_ids;
	while (my $job = $self->_next_to_fire)
	{
		$self->_fire($job);
	}
	delete $_->{ending} for $self->jobs;
	$self->_learn_ids;
	while (my $run = $self->_next_to_start)
	{
		$self->_start($run);
	}
	$self->_sum_up($_) for grep { $_->{outcomes} } values %{ $self->{jobs} };
	$self->_learn_ids;
	return;
}

sub _learn_ids
{
	my ($self) = @_;

	for my $run (grep { !defined $_->{id} } @{ $self->{runs} })
	{
		my $seen = $self->_observed_run($run) or next;
		$run->{id} = $seen->{id};
	}
	return;
}

# What is said of a job when runs of it have ended.
sub _sum_up
{
	my ($self, $job) = @_;

	$self->_choose_failures($job, @{ $job->{outcomes} }) unless ($job->{max_concurrency} // 0) == 1;
	$self->_tell_skips($job) if $self->_tells_skips($job);
	delete $job->{outcomes};
	return;
}

# Free: of runs that end at the same time any may be the last one.
sub _choose_failures
{
	my ($self, $job, @outcomes) = @_;
	my $failures = grep { $is_failure{$_} } @outcomes;
	my $seen = $self->{observed}{jobs}{ $job->{name} } or return;

	return unless $failures && grep { $_ eq 'succeeded' } @outcomes;
	$self->{chosen_failures} = 1;
	$job->{failures} = $seen->{failures} if $seen->{failures} <= $failures;
	return;
}

# A run has ended: whether it is told what was skipped.  As long as slots are
# skipped for it, only if nothing is live any more.
sub _tells_skips
{
	my ($self, $job) = @_;
	return $job->{overlap} ne 'skip' || (!$self->_live($job) && !$self->_waiting($job));
}

# If no run of a job is live the oldest of those behind is the next.
sub _promote
{
	my ($self) = @_;

	for my $job (values %{ $self->{jobs} })
	{
		next if !_is_serial($job) || is_paused($job) || $self->_live($job);
		my $oldest = first { $self->_is_behind($_) } $self->live_runs($job);
		$oldest->{promoted} = 1 if $oldest;
	}
	return;
}

sub _may_start
{
	my ($self, $run, $taken) = @_;
	return $run->{status} ne 'running' && $self->_is_due($run) && !is_paused($self->job_of($run))
	  && !$self->_is_behind($run) && !grep { !$self->_has_room($_, $taken) } $self->limits_of($run);
}

# Of runs that are named by the same limit the highest priority goes first, then
# the oldest.  Free: the order among others; what can start does start.  And that
# of priorities where several limits name the runs, for each has a line of its own
# and they may wait in different ones.
sub _next_to_start
{
	my ($self) = @_;
	my $taken = $self->_taken;
	my %first;

	$self->_promote;
	for my $run (sort { $b->{priority} <=> $a->{priority} || $a->{made} <=> $b->{made} } grep { $self->_may_start($_, $taken) } $self->live_runs)
	{
		my @limits = $self->limits_of($run);
		my $line = !@limits ? $run->{made} : @limits == 1 ? $limits[0] : "@limits $run->{priority}";
		$first{$line} ||= $run;
	}
	my ($next) = sort { $self->_began($a) <=> $self->_began($b) || $a->{made} <=> $b->{made} } values %first;
	return $next;
}

sub _began
{
	my ($self, $run) = @_;
	return defined $run->{id} ? $self->{observed}{began}{ $run->{id} . ' ' . ($run->{attempt} + 1) } // 1e15 : 1e15;
}

1;
