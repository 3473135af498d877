# Copyright (c) 2026, jobsched contributors

# Random schedules, triggers, changes of jobs, cancels, settings of the clock and
# crashes, one after the other; after each the system has to come to what the
# model (JobschedModel.pm) says: every run with its status, reason, attempts and
# times, every job with its state and next slot, and the effects.
#
# JOBSCHED_MODEL_SEED is for another run, JOBSCHED_MODEL_STEPS says how long it is.
#
# The slots of a schedule are those that next_runs() tells, which 015_year.pl
# and the tests of schedules prove.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use JobschedModel;
use JobschedTest;
use List::Util qw(first max min sum0);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use constant SECOND => 1_000_000;
use constant MINUTE => 60 * SECOND;
use constant HOUR => 60 * MINUTE;

my $seed = $ENV{JOBSCHED_MODEL_SEED} || 401;
my $steps = $ENV{JOBSCHED_MODEL_STEPS} || 300;
my $db = 'postgres';

# How long the system may take to come to what the model says.
my $patience = $PostgreSQL::Test::Utils::timeout_default || 180;

# Outcomes are added up within a moment. Where it is left open what that comes to
# nothing tells whether all have been.
my $adding_up = 0.5;

# More than are ever executed at the same time: no run waits for a worker.
my $workers = 16;
my $most_running = 8;

# The scheduler turns as many slots into runs in one step; of those in the next
# one some runs may have ended.
my $slots_of_step = 16;

# All that has ever been is compared again and again, so a long walk is one of
# stages, each with a server and a seed of its own.
my $longest_stage = 500;

my $node;

sub start_server
{
	my ($name) = @_;

	$node = jobsched_node($name, conf => qq{
jobsched.max_workers = $workers
jobsched.history_retention = '7300d'
jobsched.failure_retention = '7300d'
jobsched.timezone = 'UTC'
timezone = 'UTC'
max_worker_processes = 32
log_statement = none
fsync = off
});
	create_extension($node, $db);
	return define_clock($node, $db);
}

# ------------------------------------------------------------------------
# A session
# ------------------------------------------------------------------------

my ($session, $in, $out, $err);
my $asked = 0;

sub connect_session
{
	($in, $out, $err) = ('', '', '');
	$session = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr($db) ], '<', \$in, '>', \$out, '2>', \$err);
	return;
}

# The result; an error is its SQLSTATE.
sub ask
{
	my ($sql) = @_;
	my $mark = 'answered ' . ++$asked;

	($out, $err) = ('', '');
	$in .= "$sql;\n\\echo $mark\n";
	$session->pump until $out =~ /^\Q$mark\E\n/m;
	$out =~ s/\n?\Q$mark\E\n//;
	return $err eq '' ? $out : $err =~ /ERROR:  (\w{5})/ ? "error $1" : die "$sql: $err";
}

sub run_sql
{
	my ($sql) = @_;
	my $answer = ask($sql);

	die "$sql: $answer" if $answer =~ /^error/;
	return $answer;
}

# ------------------------------------------------------------------------
# What runs do, and what can be seen
# ------------------------------------------------------------------------

my $schema = q{
	CREATE SCHEMA app;
	CREATE FUNCTION app.at(us bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ SELECT timestamptz 'epoch' + us * interval '1 us' $$;
	CREATE FUNCTION app.us(at timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT (extract(epoch FROM at) * 1000000)::bigint $$;

	-- What is done, as far as it is committed; whose gate is open; the runs
	-- whose ends have been compared; the order in which attempts begin.
	CREATE TABLE app.effect (run_id bigint, attempt int);
	CREATE TABLE app.open (run_id bigint PRIMARY KEY);
	CREATE TABLE app.compared (run_id bigint PRIMARY KEY);
	CREATE SEQUENCE app.began;

	CREATE FUNCTION app.begin_step(args jsonb) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		n bigint := nextval('app.began');
		plan jsonb := args -> 'plan';
	BEGIN
		PERFORM jobsched.log('info', 'began ' || n);
		PERFORM jobsched.progress(n);
		INSERT INTO app.effect VALUES (jobsched.run_id(), jobsched.attempt());
		RETURN plan ->> least(jobsched.attempt(), jsonb_array_length(plan)) - 1;
	END $$;
	CREATE FUNCTION app.end_step(step text) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		what text := split_part(step, ' ', 1);
		arg text := split_part(step, ' ', 2);
	BEGIN
		IF what = 'gate' THEN
			PERFORM jobsched.progress(currval('app.began'), message => 'gate');
			WHILE NOT EXISTS (SELECT FROM app.open WHERE run_id = jobsched.run_id()) LOOP
				PERFORM pg_sleep(0.005);
			END LOOP;
			PERFORM app.end_step(substr(step, 6));
		ELSIF what = 'fail' THEN
			RAISE EXCEPTION 'as planned' USING ERRCODE = arg;
		ELSIF what = 'snooze' THEN
			PERFORM jobsched.snooze(arg::int * interval '1 s');
		ELSIF what = 'discard' THEN
			PERFORM jobsched.discard('as planned');
		ELSIF what = 'hang' THEN
			PERFORM pg_sleep(600);
		END IF;
	END $$;
	CREATE FUNCTION app.act(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT app.end_step(app.begin_step(args)) $$;
	-- The same, which leaves its effect whatever becomes of it.
	CREATE PROCEDURE app.act_apart(args jsonb) LANGUAGE plpgsql AS $$
	DECLARE
		step text := app.begin_step(args);
	BEGIN
		COMMIT;
		PERFORM app.end_step(step);
	END $$;

	-- One line for each thing, beginning with its kind.
	CREATE VIEW app.runs AS SELECT * FROM jobsched.runs WHERE run_id NOT IN (SELECT run_id FROM app.compared);
	CREATE VIEW app.observed AS
		SELECT concat_ws('|', 'scheduler', pid, extract(epoch FROM last_active_at), ready, (SELECT count(*) FROM jobsched_internal.run_stop),
			started_at <= last_active_at)
		FROM jobsched_internal.scheduler()
		UNION ALL
		SELECT concat_ws('|', 'job', name, state, COALESCE(state_reason, ''), COALESCE(app.us(next_run_at)::text, ''), consecutive_failures, scheduled_runs,
			COALESCE(app.us(last_finished_at)::text, ''))
		FROM jobsched.jobs
		UNION ALL
		SELECT concat_ws('|', 'run', run_id, job_name, source, COALESCE(app.us(scheduled_for)::text, ''), status, COALESCE(reason, ''), attempt, priority,
			app.us(run_at), missed_count, app.us(queued_at), COALESCE(app.us(finished_at)::text, ''))
		FROM app.runs
		UNION ALL
		SELECT concat_ws('|', 'attempt', run_id, attempt, status, COALESCE(reason, '-'), COALESCE(CASE WHEN status <> 'cancelled' THEN sqlstate END, '-'), COALESCE(app.us(retry_at)::text, ''))
		FROM jobsched.attempts WHERE status <> 'running' AND run_id IN (SELECT run_id FROM app.runs)
		UNION ALL
		SELECT concat_ws('|', 'began', run_id, attempt, split_part(message, ' ', 2))
		FROM jobsched.run_logs WHERE message LIKE 'began %' AND run_id IN (SELECT run_id FROM app.runs)
		UNION ALL
		SELECT concat_ws('|', 'running', run_id, attempt, progress_done, COALESCE(progress_message, '')) FROM jobsched.running
		UNION ALL
		SELECT concat_ws('|', 'effect', run_id, attempt) FROM app.effect WHERE run_id IN (SELECT run_id FROM app.runs)};

# Of each kind, in this order.
my %columns = (
	scheduler => [qw(pid last_active ready requests settled)],
	job => [qw(name state reason next failures made last_finished)],
	run => [qw(id job source slot status reason attempt priority run_at missed queued_at finished_at)],
	attempt => [qw(id attempt status reason sqlstate retry_at)],
	began => [qw(id attempt n)],
	running => [qw(id attempt n message)],
	effect => [qw(id attempt)]);

# What JobschedModel::clone() takes, and more to compare with.
sub observe
{
	my %seen = map { $_ => {} } qw(jobs runs attempts began retry_at gates effects);

	for my $line (split /\n/, run_sql('SELECT * FROM app.observed'))
	{
		my ($kind, @values) = split /\|/, $line, -1;
		my %row;

		@row{ @{ $columns{$kind} } } = @values;
		$seen{scheduler} = \%row if $kind eq 'scheduler';
		$seen{jobs}{ $row{name} } = \%row if $kind eq 'job';
		$seen{runs}{ JobschedModel::run_key(\%row) } = \%row if $kind eq 'run';
		$seen{effects}{"$row{id} $row{attempt}"}++ if $kind eq 'effect';
		$seen{began}{"$row{id} $row{attempt}"} = $row{n} if ($kind eq 'began' || $kind eq 'running') && $row{n} ne '';
		$seen{gates}{"$row{id} $row{attempt}"} = 1 if $kind eq 'running' && ($row{message} // '') eq 'gate';
		next unless $kind eq 'attempt';
		$seen{attempts}{"$row{id} $row{attempt}"} = join ' ', @row{qw(attempt status reason sqlstate)};
		$seen{retry_at}{"$row{id} $row{attempt}"} = $row{retry_at} if $row{retry_at} ne '';
	}
	note_first_times(\%seen);
	return \%seen;
}

# When runs were to begin at first.  One that is seen only when it waits for
# another attempt was due already, and when it was makes no difference.
my %first_time;

sub note_first_times
{
	my ($seen) = @_;

	for my $run (values %{ $seen->{runs} })
	{
		my $is_later = $run->{attempt} > 1 || $run->{status} eq 'retrying';
		$run->{queued_for} = $first_time{ $run->{id} } //= $is_later ? $run->{slot} || $run->{run_at} : $run->{run_at};
	}
	return;
}

# ------------------------------------------------------------------------
# Comparison
# ------------------------------------------------------------------------

# Each field of what is expected, a value or a list of those allowed.
sub differences
{
	my ($what, $expected, $seen) = @_;
	my @differences;

	for my $field (sort keys %$expected)
	{
		my @allowed = map { $_ // '' } ref $expected->{$field} ? @{ $expected->{$field} } : $expected->{$field};
		my $value = $seen->{$field} // '';
		push @differences, "$what: $field is '$value', expected '" . join(q(' or '), @allowed) . q(')
		  unless grep { $_ eq $value } @allowed;
	}
	return @differences;
}

# What the README says of the reason of a queued run.
sub reasons_of
{
	my ($m, $run) = @_;
	my $job = $m->job_of($run);

	return $run->{reason} if $run->{status} ne 'queued';
	return 'not_due' if $run->{run_at} > $m->{clock} && $run->{attempt} == 0;
	return 'job_paused' if JobschedModel::is_paused($job);
	return $run->{reason} if $run->{reason};
	return $m->limits_of($run) ? 'waiting_for_turn' : 'waiting_for_worker';
}

sub compare_job
{
	my ($m, $job, $seen) = @_;
	return differences("job $job->{name}", {
		state => $m->state_of($job), next => $m->next_run_at($job), failures => $job->{failures}, made => $job->{made},
		$job->{brake} && !$job->{paused} ? (reason => $job->{brake}) : (), $job->{last_finished} ? (last_finished => $job->{last_finished}) : () }, $seen->{jobs}{ $job->{name} });
}

sub compare_run
{
	my ($m, $run, $seen) = @_;
	my $key = JobschedModel::run_key($run);
	my $row = $seen->{runs}{$key} or return "run $key is missing, expected to be $run->{status}";
	my $id = $row->{id};
	my @attempts = map { $seen->{attempts}{"$id $_"} // () } 1 .. $row->{attempt};
	my @effects = map { ($_) x ($seen->{effects}{"$id $_"} // 0) } 1 .. $row->{attempt};
	my @expected_effects = @{ $run->{effects} || [] };

	return (
		differences("run $id ($key)", {
			status => $run->{status}, reason => [ reasons_of($m, $run) ], attempt => $run->{attempt}, priority => $run->{priority},
			run_at => $run->{run_at}, missed => $run->{missed}, queued_at => $run->{queued_at}, finished_at => $run->{finished_at} }, $row),
		differences("run $id ($key)", { attempts => join(', ', @{ $run->{attempts} }), effects => "@expected_effects" },
			{ attempts => join(', ', @attempts), effects => "@effects" }),
		$run->{status} eq 'running' && !$seen->{gates}{"$id $run->{attempt}"} ? "run $id ($key) is not at its gate" : ());
}

sub compare
{
	my ($m, $seen) = @_;
	my %expected;
	my @runs = grep { !$_->{compared} } @{ $m->{runs} };
	my @differences = map { compare_job($m, $_, $seen) } $m->jobs;

	for my $run (@runs)
	{
		my $key = JobschedModel::run_key($run);
		push @differences, "the model has two runs $key" if $expected{$key}++;
		push @differences, compare_run($m, $run, $seen);
	}
	push @differences, map { "run $seen->{runs}{$_}{id} ($_, $seen->{runs}{$_}{status}) is not expected" } grep { !$expected{$_} } sort keys %{ $seen->{runs} };
	push @differences, $m->{wrong} if $m->{wrong};
	push @differences, "there are requests left" if $seen->{scheduler}{requests};
	return @differences;
}

# ------------------------------------------------------------------------
# Steps
# ------------------------------------------------------------------------

my %calendars;

# More slots of a schedule than are known; "every" counts from its anchor, which
# next_runs() leaves out.
sub more_slots
{
	my ($job, $slots) = @_;
	my $is_every = $job->{schedule} =~ /^every/;
	my ($from, $n) = $is_every || !@$slots ? ($job->{anchor}, @$slots + 1000) : ($slots->[-1], 1000);
	my @more = split /\n/, run_sql("SELECT app.us(s) FROM jobsched.next_runs('$job->{schedule}', 'UTC', app.at($from), $n) s");

	@$slots = ($job->{anchor}) if $is_every;
	push @$slots, @more;
	return @more == $n;
}

# The first slot after an instant.
sub calendar
{
	my ($job, $after) = @_;
	my $slots = $calendars{"$job->{schedule} $job->{anchor}"} ||= [];

	while (!@$slots || $slots->[-1] <= $after)
	{
		last unless more_slots($job, $slots);
	}
	my ($low, $high) = (0, scalar @$slots);
	while ($low < $high)
	{
		my $middle = int(($low + $high) / 2);
		if ($slots->[$middle] > $after) { $high = $middle; } else { $low = $middle + 1; }
	}
	return $slots->[$low];
}

my ($model, @told);

# Waits until the system is what the model says; $action makes the step in it.
sub verify
{
	my ($text, $since, $action) = @_;
	my $until = time() + $patience;
	my $matches_since;
	my @differences;

	push @told, $text;
	note $text;
	do
	{
		my $seen = observe();
		my $next = $model->clone($seen);

		$action->($next);
		$next->settle;
		@differences = compare($next, $seen);
		push @differences, 'the scheduler has not looked' unless $seen->{scheduler}{last_active} >= $since && $seen->{scheduler}{settled} eq 't';
		$matches_since = @differences ? undef : $matches_since // time();
		return accept_model($next) if !@differences && (!$next->{chosen_failures} || time() > $matches_since + $adding_up);
		usleep(2_000);
	} while (time() < $until || !@differences);
	tell_differences(@differences);
	return 0;
}

# With what has become of the jobs that differ, and the steps that have led there.
sub tell_differences
{
	my (@differences) = @_;
	my %jobs = map { $_ => 1 } join(' ', @differences) =~ /\bj\d+\b/g;
	my %ids = map { $_ => 1 } join(' ', @differences) =~ /run (\d+) /g;

	diag "JOBSCHED_MODEL_SEED=$seed JOBSCHED_MODEL_STEPS=$longest_stage: step " . @told . ' differs';
	diag join "\n", @differences;
	diag run_sql(sprintf q{SELECT run_id, job_name, source, status, reason, attempt, priority, app.us(run_at), app.us(started_at), app.us(finished_at)
		FROM jobsched.runs WHERE job_name IN (%s) OR run_id IN (%s) ORDER BY run_id DESC LIMIT 60},
		join(', ', map { "'$_'" } '', keys %jobs), join(', ', 0, keys %ids));
	diag run_sql('SELECT * FROM jobsched.workers');
	diag join "\n", 'The last steps:', @told[ max(0, @told - 25) .. $#told ];
	return;
}

# What has ended does not change any more; it is compared once more at the end.
sub accept_model
{
	my ($next) = @_;
	my @ended = grep { $_->{ended} && !$_->{compared} } @{ $next->{runs} };

	$_->{compared} = 1 for @ended;
	run_sql('INSERT INTO app.compared VALUES ' . join(', ', map { "($_->{id})" } @ended)) if @ended;
	$model = $next;
	return 1;
}

sub pick { my (@list) = @_; return $list[ rand @list ]; }
sub chance { my ($p) = @_; return rand() < $p; }
sub between { my ($low, $high) = @_; return $low + int(rand($high - $low + 1)); }

sub show_time { my ($us) = @_; my @t = gmtime($us / SECOND); return sprintf '%02d %02d:%02d:%02d.%06d', @t[ 3, 2, 1, 0 ], $us % SECOND; }

# ------------------------------------------------------------------------
# Definitions
# ------------------------------------------------------------------------

my %intervals = map { $_ => 1 } qw(misfire_grace jitter backoff_base backoff_max timeout idempotency_period);
my %instants = map { $_ => 1 } qw(starts_at ends_at run_at);

sub sql_value
{
	my ($name, $value) = @_;

	return "'$value us'" if $intervals{$name};
	return "app.at($value)" if $instants{$name};
	return "'{" . join(',', map { "$_ us" } @$value) . "}'" if $name eq 'retry_delays';
	return "'{" . join(',', @$value) . "}'" if ref $value;
	return $value =~ /^[\d.]+$/ ? $value : "'$value'";
}

sub sql_args { my ($plan) = @_; return q('{"plan": [) . join(', ', map { qq("$_") } @$plan) . q(]}'); }

sub sql_definition
{
	my (%def) = @_;
	my $plan = delete $def{plan};
	my $apart = delete $def{apart};
	my @sql = map { "$_ => " . sql_value($_, $def{$_}) } sort grep { defined $def{$_} } keys %def;

	push @sql, 'args => ' . sql_args($plan) if $plan;
	push @sql, $apart ? q(command => 'CALL app.act_apart(jobsched.args())') : q(handler => 'app.act') if defined $apart;
	return join ', ', @sql;
}

sub random_step
{
	my $end = pick('ok', 'ok', 'ok', 'fail 40001', 'fail 40001', 'fail P0001', 'fail 22012', 'fail 55P03', 'snooze ' . between(5, 200), 'discard');
	return chance(0.4) ? "gate $end" : $end;
}

sub random_plan { return [ (map { random_step() } 1 .. between(0, 3)), chance(0.5) ? 'ok' : chance(0.6) ? 'gate ok' : 'fail 40001' ]; }

sub random_schedule
{
	return pick('* * * * *', '*/5 * * * *', '*/5 * * * *', '*/20 * * * * *', 'every 7 minutes', 'every 90 seconds', '10 * * * *', '15 3 * * *',
		iso_time($model->{clock} + between(1, 600) * SECOND));
}

sub iso_time { my ($us) = @_; my @t = gmtime($us / SECOND); return sprintf '%04d-%02d-%02dT%02d:%02d:%02dZ', $t[5] + 1900, $t[4] + 1, @t[ 3, 2, 1, 0 ]; }

sub random_retry
{
	my %def;

	$def{max_attempts} = between(1, 5) if chance(0.5);
	$def{backoff} = pick('exponential', 'linear', 'fixed');
	$def{backoff_base} = between(1, 60) * SECOND if chance(0.7);
	$def{backoff_max} = between(60, 300) * SECOND if chance(0.5);
	$def{backoff_jitter} = chance(0.7) ? 0 : 0.5;
	$def{retry_delays} = [ map { between(1, 100) * SECOND } 1 .. between(1, 3) ] if chance(0.2);
	$def{retry_on} = [ pick('40', 'P0001', 'all', '22012', 'lost') ] if chance(0.2);
	$def{no_retry_on} = [ pick('40001', '55', 'P0001') ] if chance(0.15);
	return %def;
}

sub random_keys { return chance(0.8) ? [ pick('a:1', 'a:2', 'b:1') ] : [ 'a:1', 'b:1' ]; }

sub random_slots
{
	my %def = (overlap => pick(qw(skip queue allow replace)), misfire => pick(qw(once skip all)));

	$def{queue_limit} = between(1, 3) if chance(0.6);
	$def{misfire_grace} = pick(1, 30, 120, 600) * SECOND if chance(0.6);
	$def{max_concurrency} = between(1, 3) if chance(0.3);
	$def{max_runs} = between(1, 12) if chance(0.2);
	$def{jitter} = between(1, 90) * SECOND if chance(0.2);
	$def{queue} = pick('q1', 'q2') if chance(0.3);
	$def{keys} = random_keys() if chance(0.15);
	return %def;
}

my $names = 0;

sub random_job
{
	my %def = (plan => random_plan(), apart => chance(0.15) ? 1 : 0, random_retry(), random_slots());

	$def{schedule} = random_schedule() unless chance(0.15);
	$def{starts_at} = $model->{clock} + between(0, 1200) * SECOND if chance(0.1);
	$def{ends_at} = $model->{clock} + between(1300, 7200) * SECOND if chance(0.15);
	delete @def{qw(starts_at ends_at)} if ($def{schedule} // '') =~ /Z$/;
	# One after the other: the order in which outcomes come is certain then.
	@def{qw(pause_after_failures max_concurrency)} = (between(1, 4), 1) if chance(0.3);
	return %def;
}

# ------------------------------------------------------------------------
# Operations
# ------------------------------------------------------------------------

# Each says what it is in words, what does it, and what does it in the model,
# which is given what the statement has answered; "silent" if the scheduler is
# told of nothing.  Nothing if there is none that could be done.

sub create_job
{
	my $name = 'j' . ++$names;
	my %def = random_job();
	my $sql = sql_definition(%def);

	return {
		text => "create $name: $sql", sql => "SELECT jobsched.create_job('$name', $sql)",
		model => sub { $_[0]->create_job($name, %def) } };
}

sub random_change
{
	my ($job) = @_;
	my %all = random_job();

	delete @all{qw(apart starts_at ends_at max_runs pause_after_failures)};
	delete $all{max_concurrency} if $job->{pause_after_failures};
	# With the clock behind what is done, which slots of a new schedule are done is not told.
	delete $all{schedule} unless $job->{schedule} && $job->{newest} <= $model->{clock} && chance(0.3);
	delete @all{ grep { chance(0.7) } sort keys %all };
	return %all;
}

sub alter_job
{
	my $job = pick($model->jobs) or return;
	my %def = random_change($job) or return;
	my $sql = sql_definition(%def);

	return {
		text => "alter $job->{name}: $sql", sql => "SELECT jobsched.alter_job('$job->{name}', $sql)",
		model => sub { $_[0]->alter_job($job->{name}, %def) } };
}

sub enable_job
{
	my $job = pick($model->jobs) or return;
	my $enabled = $job->{enabled} ? 0 : 1;
	my $sql = 'enabled => ' . ($enabled ? 'true' : 'false');

	return {
		text => "alter $job->{name}: $sql", sql => "SELECT jobsched.alter_job('$job->{name}', $sql)",
		model => sub { $_[0]->alter_job($job->{name}, enabled => $enabled) } };
}

sub pause_job
{
	my $job = pick($model->jobs) or return;
	my $function = JobschedModel::is_paused($job) ? 'resume_job' : 'pause_job';

	return {
		text => "$function $job->{name}", sql => "SELECT jobsched.$function('$job->{name}')",
		model => sub { $_[0]->$function($job->{name}) } };
}

# next_runs() tells 10,000 slots, and those of "every" from the anchor on.
sub is_old { my ($job) = @_; return $job->{anchor} < $model->{clock} - 7 * 24 * HOUR; }

sub drop_job
{
	my $job = pick(grep({ is_old($_) } $model->jobs)) || pick($model->jobs) or return;
	my $cancel_running = chance(0.5) ? 1 : 0;

	return {
		text => "drop $job->{name}, cancel_running $cancel_running",
		sql => "SELECT jobsched.drop_job('$job->{name}', cancel_running => ${cancel_running}::boolean)",
		model => sub { $_[0]->drop_job($job->{name}, $cancel_running) } };
}

sub random_trigger
{
	my %param;

	$param{plan} = random_plan() if chance(0.7);
	$param{run_at} = $model->{clock} + between(1, 300) * SECOND if chance(0.2);
	$param{priority} = between(0, 3) if chance(0.3);
	$param{max_attempts} = between(1, 4) if chance(0.2);
	$param{keys} = random_keys() if chance(0.2);
	return %param if chance(0.7);
	$param{idempotency_key} = 'k' . between(1, 3);
	$param{on_conflict} = pick(qw(return_existing error replace debounce throttle));
	$param{idempotency_period} = between(5, 600) * SECOND;
	return %param;
}

sub trigger
{
	my $job = pick($model->jobs) or return;
	my %param = random_trigger();
	my $sql = join ', ', "'$job->{name}'", sql_definition(%param) || ();

	return {
		text => "trigger $sql", sql => "SELECT jobsched.trigger($sql)",
		silent => defined $param{idempotency_key}, may_fail => defined $param{idempotency_key},
		model => sub { my ($m, $answer) = @_; return note_answer($m, $m->trigger($job->{name}, %param), $answer); } };
}

# The call has returned the id of the model's run, or has made it.
sub note_answer
{
	my ($m, $run, $answer) = @_;
	my $expected = $run ? $run->{id} // $answer : 'error 23505';

	return unless defined $answer;
	$m->{wrong} = "trigger() has returned '$answer', expected '$expected'" if $answer ne $expected;
	$run->{id} = $answer if $run;
	return;
}

# Often one that waits for another attempt, of which there are few.
sub cancel_run
{
	my @runs = $model->live_runs;
	my @retrying = grep { $_->{status} eq 'retrying' } @runs;
	my $run = pick(@retrying && chance(0.4) ? @retrying : @runs) or return;
	my ($made, $force) = ($run->{made}, chance(0.1) ? 'true' : 'false');

	return {
		text => "cancel $run->{id}, force $force", sql => "SELECT jobsched.cancel_run($run->{id}, force => $force)",
		model => sub { $_[0]->cancel_run($_[0]{runs}[$made]) } };
}

sub running { return grep { $_->{status} eq 'running' } $model->live_runs; }

sub open_gate
{
	my $run = pick(running()) or return;
	my $made = $run->{made};

	return {
		text => "open the gate of $run->{id}", sql => "INSERT INTO app.open VALUES ($run->{id})", silent => 1,
		model => sub { $_[0]->open_gate($_[0]{runs}[$made]) } };
}

sub terminate_worker
{
	my $run = pick(running()) or return;
	my $made = $run->{made};

	return {
		text => "terminate the worker of $run->{id}",
		sql => "SELECT pg_terminate_backend(worker_pid) FROM jobsched.running WHERE run_id = $run->{id}",
		model => sub { $_[0]->terminate_worker($_[0]{runs}[$made]) } };
}

sub terminate_scheduler
{
	return unless $model->is_certain($model->{clock});
	return {
		text => 'terminate the scheduler',
		sql => 'SELECT pg_terminate_backend(pid) FROM jobsched_internal.scheduler()',
		model => sub { $_[0]->restart_scheduler } };
}

sub set_limit
{
	my $name = pick('queue q1', 'queue q2', 'class a', 'class b');
	my %limit = (max => chance(0.8) ? between(1, 3) : undef, paused => $name =~ /queue/ && chance(0.15) ? 1 : 0);
	my ($function, $named) = $name =~ /queue (.*)/ ? ('set_queue', $1) : ('set_limit', $name =~ s/class //r);
	my $sql = "'$named', max_running => " . ($limit{max} // 'NULL') . ($limit{paused} ? ', paused => true' : '');

	return {
		text => "$function $sql", sql => "SELECT jobsched.$function($sql)",
		model => sub { $_[0]->set_limit($name, %limit) } };
}

sub clock_to
{
	my ($clock) = @_;
	return {
		text => 'set the clock to ' . show_time($clock), sql => "SELECT public.set_clock(app.at($clock))",
		model => sub { $_[0]->set_clock($clock) } };
}

sub random_instant
{
	my $next = $model->next_event // $model->{clock} + MINUTE;

	return $next if chance(0.4);
	return $next + between(1, 3 * SECOND) if chance(0.3);
	return $model->{clock} + between(SECOND, 10 * MINUTE) if chance(0.8);
	return $model->{clock} + between(MINUTE, 8 * HOUR);
}

# Nearer and nearer, until no more follows from it than there can.
sub later
{
	my $clock = random_instant();

	until (fits(clock_to($clock)))
	{
		return if $clock - $model->{clock} < SECOND;
		$clock = int(($clock + $model->{clock}) / 2);
	}
	return clock_to($clock);
}

# Not before a schedule was defined, and not before the time of what is due and
# waits: that may be due or not, then.
sub earlier
{
	my @waiting = grep { $_->{status} ne 'running' && $_->{run_at} <= $model->{clock} } $model->live_runs;
	my $earliest = max(map({ $_->{anchor} } $model->jobs), map({ $_->{run_at} } @waiting));
	my $clock = $model->{clock} - between(2 * SECOND, chance(0.7) ? 5 * MINUTE : 2 * HOUR);

	return unless $clock > $earliest && fits(clock_to($clock));
	return clock_to($clock);
}

# A scheduler shall not see what time it really is: it comes when the clock is set.
sub hold_scheduler
{
	my ($hold) = @_;

	$node->append_conf('postgresql.conf', q(jobsched.databases = ') . ($hold ? 'template1' : '') . q('));
	return;
}

# A process is killed, and the postmaster goes too, for restart_after_crash is off.
sub kill_process
{
	my ($what) = @_;
	my $pid = run_sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'jobsched $what' ORDER BY 1 LIMIT 1");

	kill 'KILL', $pid if $pid;
	return;
}

# What the scheduler has committed gets to disk with the next commit of a
# session, so the server comes back as it was.
sub crash_server
{
	my ($what, $clock) = @_;

	run_sql('INSERT INTO app.open VALUES (0) ON CONFLICT (run_id) DO UPDATE SET run_id = 0');
	hold_scheduler(1);
	kill_process($what) if $what ne 'postmaster';
	kill_and_start($node);
	connect_session();
	run_sql("SELECT public.set_clock(app.at($clock))");
	hold_scheduler(0);
	$node->reload;
	return;
}

sub crash
{
	my $what = pick(qw(postmaster worker scheduler));
	my $clock = chance(0.5) ? $model->{clock} : $model->{clock} + between(1, 5 * MINUTE);

	return unless $model->is_certain($clock);

	return {
		text => "kill -9 of a $what, and start at " . show_time($clock), do => sub { crash_server($what, $clock) },
		model => sub { $_[0]->crash($clock) } };
}

# ------------------------------------------------------------------------
# The walk
# ------------------------------------------------------------------------

my @operations = (
	[ 30, \&later ], [ 4, \&earlier ], [ 18, \&trigger ], [ 14, \&open_gate ], [ 5, \&cancel_run ], [ 4, \&alter_job ], [ 3, \&pause_job ], [ 2, \&enable_job ],
	[ 2, \&create_job ], [ 1, \&drop_job ], [ 3, \&set_limit ], [ 2, \&terminate_worker ], [ 1, \&terminate_scheduler ], [ 1, \&crash ]);

# Whether what follows needs no more than one step of the scheduler for the
# slots, and no more workers than there are.
sub fits
{
	my ($operation) = @_;
	my $probe = $model->clone;

	$probe->{fired} = 0;
	$operation->{model}->($probe);
	$probe->settle;
	return $probe->{fired} < $slots_of_step && (grep { $_->{status} eq 'running' } $probe->live_runs) <= max(scalar(running()), $workers - 4);
}

# Mostly what is needed to keep the number of jobs and of executed runs.
sub random_kind
{
	return any_kind() if chance(0.1);
	return \&create_job if $model->jobs < 6;
	return \&drop_job if $model->jobs > 9 || grep { is_old($_) } $model->jobs;
	return \&open_gate if running() >= $most_running;
	return any_kind();
}

sub any_kind
{
	my $n = rand(sum0(map { $_->[0] } @operations));
	return (first { ($n -= $_->[0]) < 0 } @operations)->[1];
}

sub random_operation
{
	for (;;)
	{
		my $operation = random_kind()->();
		return $operation if $operation && fits($operation);
	}
}

# Each operation has a time of its own, so that it is seen which outcomes have
# been added up; unless something would happen meanwhile.
sub tick
{
	my $clock = $model->{clock} + 1000;

	return if ($model->next_event // $clock + 1) <= $clock;
	run_sql("SELECT public.set_clock(app.at($clock))");
	$model->set_clock($clock);
	return;
}

sub step
{
	tick();
	my $operation = random_operation();
	my $since = $operation->{silent} ? 0 : time();
	my $answer = !$operation->{sql} ? $operation->{do}->() : $operation->{may_fail} ? ask($operation->{sql}) : run_sql($operation->{sql});

	return verify(join(': ', $operation->{text}, $answer || ()), $since, sub { $operation->{model}->($_[0], $answer) });
}

sub begin
{
	my ($stage) = @_;
	my $clock = 1_830_000_000 * SECOND;

	srand($seed);
	start_server("model$stage");
	$node->safe_psql($db, $schema);
	$model = JobschedModel->new(calendar => \&calendar);
	(@told, %first_time, %calendars) = ();
	$names = 0;
	connect_session();
	run_sql("SELECT public.set_clock(app.at($clock))");
	$model->set_clock($clock);
	return;
}

# Once more, all that has ended: nothing of it has changed.
sub check_everything
{
	my $n = @{ $model->{runs} };

	run_sql('TRUNCATE app.compared');
	delete $_->{compared} for @{ $model->{runs} };
	return is(join("\n", compare($model, observe())), '', "at the end all $n runs are as they were");
}

# Returns whether it came to its end.
sub walk
{
	my ($stage, $count) = @_;
	my $done = 0;

	note "JOBSCHED_MODEL_SEED=$seed JOBSCHED_MODEL_STEPS=$count";
	begin($stage);
	$done++ while $done < $count && step();
	is($done, $count, "seed $seed: $count steps as the model says");
	check_everything() if $done == $count;
	check_log($node, killed => 1);
	$node->stop;
	return $done == $count;
}

for (my $stage = 1; $steps > 0; $stage++)
{
	last unless walk($stage, min($steps, $longest_stage));
	$steps -= $longest_stage;
	$seed++;
}
done_testing();
