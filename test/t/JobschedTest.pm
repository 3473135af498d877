# Copyright (c) 2026, jobsched contributors

=pod

=head1 NAME

JobschedTest - servers with jobsched, and waiting for what they do

=head1 SYNOPSIS

  use FindBin;
  use lib $FindBin::Bin;
  use JobschedTest;

  my $node = jobsched_node('name', conf => "jobsched.max_workers = 2\n");
  create_extension($node, 'postgres');
  wait_until($node, 'postgres', 'SELECT ...', 'what is waited for');

Tests wait for conditions, never for time.

=cut

package JobschedTest;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use IPC::Run;
use List::Util qw(min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

our @EXPORT = qw(
  jobsched_node create_extension sql_as error_of wait_until wait_value
  launcher_pid scheduler_pid worker_pids wait_scheduler wait_new_scheduler
  define_clock set_clock advance_clock wait_caught_up rings_move turn_rings
  session_sql end_sessions until_true
  run_job wait_run_state wait_drained end_of
  http_node http_worker_pid set_setting
  effects_schema check_exactly_once check_slots
  make_gate close_gate wait_at_gate
  in_time becomes check_goes_on install_example
  log_since log_size wait_log check_log wait_connection kill_and_start
);

# How long anything is waited for.  Far more than it takes.
my $patience = $PostgreSQL::Test::Utils::timeout_default || 180;

# ------------------------------------------------------------------------
# Servers
# ------------------------------------------------------------------------

# A server with the library loaded, started unless start => 0.
sub jobsched_node
{
	my ($name, %param) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	# Whatever locale the tests are called in.
	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ], %{ $param{init} || {} });
	$node->append_conf(
		'postgresql.conf', qq{
shared_preload_libraries = 'jobsched'
max_worker_processes = 20
jobsched.max_workers = 4
log_line_prefix = '%m [%p] %b %q%a '
});
	$node->append_conf('postgresql.conf', $param{conf}) if $param{conf};
	$node->start unless defined $param{start} && !$param{start};
	return $node;
}

# Creates the extension and waits for its scheduler.
sub create_extension
{
	my ($node, $db) = @_;
	$node->safe_psql($db, 'CREATE EXTENSION jobsched');
	return wait_scheduler($node, $db);
}

# The server has crashed or been started: until it lets us in.
sub wait_connection
{
	my ($node, $db) = @_;
	return poll($node, $db || 'postgres', 'SELECT 1', '1', 'the server accepts connections');
}

# kill -9 of the postmaster, and the start of another.  The dead one has to be
# buried by its parent, and its orphans have to go, before it can start.
sub kill_and_start
{
	my ($node) = @_;
	my $pid = $node->{_pid};
	my $until = time() + $patience;

	$node->kill9;
	while (kill(0, $pid) && time() < $until)
	{
		usleep(10_000);
	}
	while (time() < $until)
	{
		return 1 if $node->start(fail_ok => 1);
		usleep(100_000);
	}
	die 'the server does not start again';
}

# Changes a setting, or with undef resets it; processes that wait have heard of
# it when this returns.
sub set_setting
{
	my ($node, $name, $value) = @_;
	my $before = $node->safe_psql('postgres', "SELECT pg_conf_load_time()");

	$node->safe_psql('postgres', defined $value ? "ALTER SYSTEM SET $name = '$value'" : "ALTER SYSTEM RESET $name");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return poll($node, 'postgres', "SELECT pg_conf_load_time() > '$before'", 't', "$name has been reloaded");
}

# ------------------------------------------------------------------------
# Statements
# ------------------------------------------------------------------------

sub sql_as
{
	my ($node, $db, $role, $sql) = @_;
	return $node->safe_psql($db, $sql, extra_params => [ '-U', $role ]);
}

# The error that a statement ends with, with SQLSTATE and hint; '' for none.
sub error_of
{
	my ($node, $db, $sql, $role) = @_;
	my ($ret, $stdout, $stderr) = $node->psql($db, $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose', $role ? ('-U', $role) : () ]);
	return $ret == 0 ? '' : $stderr;
}

my %sessions;

# As sql_as(), but in a session that is kept: for tests of many statements.
sub session_sql
{
	my ($node, $db, $role, $sql) = @_;
	my $session = $sessions{ $node->name }->{"$role $db"} //= do
	{
		my $new = $node->background_psql($db, extra_params => [ '-U', $role ]);
		$new->set_query_timer_restart();
		$new;
	};

	return $session->query_safe($sql);
}

# Before the server is stopped, or after it has crashed.
sub end_sessions
{
	my ($node) = @_;

	$_->{run}->kill_kill for values %{ delete $sessions{ $node->name } || {} };
	return;
}

# ------------------------------------------------------------------------
# Waiting
# ------------------------------------------------------------------------

# poll_query_until() with a finer step; dies, as nothing after would hold.
sub poll
{
	my ($node, $db, $sql, $expected, $what) = @_;
	my $until = time() + $patience;
	my ($ret, $stdout, $stderr);

	do
	{
		# psql() itself dies when it cannot connect to a server that is down
		$stdout = '';
		$ret = eval { $node->psql($db, $sql, stdout => \$stdout, stderr => \$stderr, on_error_die => 0) };
		return 1 if defined $ret && $ret == 0 && $stdout eq $expected;
		usleep(25_000);
	} while (time() < $until);
	diag state_of($node, $db);
	diag "waited in vain until $what\nquery: $sql\nexpected: $expected\nlast: $stdout\nerrors: "
	  . ($stderr // '');
	die "waited in vain until $what";
}

# Dies unless the condition, a SELECT of one boolean, becomes true.
sub wait_until
{
	my ($node, $db, $sql, $what) = @_;
	return poll($node, $db, $sql, 't', $what);
}

# wait_until() in a session that is kept, with a finer step.
sub until_true
{
	my ($node, $db, $sql, $what) = @_;
	my $until = time() + $patience;

	while (time() < $until)
	{
		return 1 if session_sql($node, $db, superuser(), $sql) eq 't';
		usleep(10_000);
	}
	return wait_until($node, $db, $sql, $what);    # tells what there is
}

sub superuser
{
	return scalar getpwuid($<);
}

# Passes when the query's result becomes the expected one.
sub wait_value
{
	my ($node, $db, $sql, $expected, $name) = @_;
	poll($node, $db, $sql, $expected, $name);
	return pass($name);
}

# What one wants to know of a test that waited in vain.
sub state_of
{
	my ($node, $db) = @_;
	my $out = '';

	for my $sql (
		'SELECT * FROM jobsched.health()',
		'SELECT job_id, name, owner, schedule, state, state_reason, next_run_at, last_status, recent FROM jobsched.jobs LIMIT 20',
		'SELECT run_id, job_name, status, reason, source, attempt, scheduled_for, error FROM jobsched.runs ORDER BY run_id DESC LIMIT 20',
		'SELECT * FROM jobsched.workers',
		'SELECT pid, datname, usename, backend_type, state, wait_event, query FROM pg_stat_activity')
	{
		my $rows = eval { ($node->psql($db, $sql))[1] };
		$out .= "-- $sql\n" . ($rows // '') . "\n";
	}
	my @errors = grep { /(ERROR|FATAL|PANIC|WARNING|STATEMENT|CONTEXT):/ } split /\n/, log_since($node);
	return $out . join("\n", '-- the last errors in the log', @errors[ -min(15, scalar @errors) .. -1 ]) . "\n";
}

# ------------------------------------------------------------------------
# Processes
# ------------------------------------------------------------------------

sub launcher_pid
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jobsched launcher'});
}

# '' if there is none.
sub scheduler_pid
{
	my ($node, $db) = @_;
	return $node->safe_psql('postgres',
		qq{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jobsched scheduler' AND datname = '$db'});
}

sub worker_pids
{
	my ($node, $db) = @_;
	return split /\n/, $node->safe_psql('postgres',
		qq{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jobsched worker' AND datname = '$db'});
}

# Waits for a scheduler that has finished its start; returns its pid.
sub wait_scheduler
{
	my ($node, $db) = @_;
	poll($node, $db,
		'SELECT count(*) FROM jobsched_internal.scheduler() WHERE pid IS NOT NULL AND last_active_at >= started_at',
		'1', "database $db has a scheduler");
	return $node->safe_psql($db, 'SELECT pid FROM jobsched_internal.scheduler()');
}

# The same, for another one than the one with the given pid.
sub wait_new_scheduler
{
	my ($node, $db, $old) = @_;
	poll($node, $db,
		"SELECT count(*) FROM jobsched_internal.scheduler() WHERE pid IS DISTINCT FROM $old AND pid IS NOT NULL AND last_active_at >= started_at",
		'1', "database $db has another scheduler");
	return $node->safe_psql($db, 'SELECT pid FROM jobsched_internal.scheduler()');
}

# ------------------------------------------------------------------------
# The clock
# ------------------------------------------------------------------------

sub define_clock
{
	my ($node, $db) = @_;
	return $node->safe_psql($db,
		q{CREATE FUNCTION public.set_clock(timestamptz) RETURNS void LANGUAGE c AS 'jobsched', 'jobsched_set_clock'});
}

# undef gives the real clock back.
sub set_clock
{
	my ($node, $db, $when) = @_;
	return $node->safe_psql($db,
		'SELECT public.set_clock(' . (defined $when ? "'$when'" : 'NULL') . ')');
}

sub advance_clock
{
	my ($node, $db, $by) = @_;
	return set_clock($node, $db, $node->safe_psql($db, "SELECT jobsched_internal.clock_now() + interval '$by'"));
}

# Both rings of history, with a retention of a minute, after the clock was advanced by more than a
# seventh of it.  A turn that finds a segment locked is tried again a minute later by this clock.
sub rings_move
{
	my ($node, $db) = @_;
	my $moved = q{SELECT count(*) = 2 FROM jobsched_internal.ring
		WHERE started_at > jobsched_internal.clock_now() - interval '8 s'};

	for my $try (1 .. 4)
	{
		my $until = time() + 20;

		while (time() < $until)
		{
			return 1 if $node->safe_psql($db, $moved) eq 't';
			usleep(25_000);
		}
		diag 'a ring has not moved on: ' . state_of($node, $db);
		advance_clock($node, $db, '61 s');
	}
	return wait_until($node, $db, $moved, 'both rings have moved on');
}

# Each segment in turn.
sub turn_rings
{
	my ($node, $db) = @_;

	for my $i (1 .. 9)
	{
		advance_clock($node, $db, '10 s');
		rings_move($node, $db);
	}
	return;
}

# Until the scheduler has done all that is due by its clock.
sub wait_caught_up
{
	my ($node, $db) = @_;
	return poll($node, $db, q{
		SELECT (SELECT count(*) FROM jobsched.jobs WHERE next_run_at <= jobsched_internal.clock_now())
			 + (SELECT count(*) FROM jobsched_internal.run WHERE run_at <= jobsched_internal.clock_now())
			 + (SELECT count(*) FROM jobsched.running)},
		'0', 'everything that is due has run');
}

# ------------------------------------------------------------------------
# Runs
# ------------------------------------------------------------------------

# Triggers a job, waits for the end of the run; returns its id and status.
sub run_job
{
	my ($node, $db, $job, %param) = @_;
	my @as = $param{role} ? ('-U', $param{role}) : ();
	my $args = $param{args} ? "'$param{args}'" : 'NULL';
	my $run_id = $node->safe_psql($db, "SELECT jobsched.trigger('$job', $args)", extra_params => \@as);
	my $status = $node->safe_psql($db, "CALL jobsched.wait_run($run_id, '$patience s')", extra_params => \@as);
	return ($run_id, $status);
}

sub wait_run_state
{
	my ($node, $db, $run_id, $status) = @_;
	return poll($node, $db, "SELECT status FROM jobsched.runs WHERE run_id = $run_id",
		$status, "run $run_id is $status");
}

# Waits for the end of a run; returns columns of view runs, or what became of it.
sub end_of
{
	my ($node, $db, $run_id, $columns) = @_;
	$columns ||= q{concat_ws(' ', status, reason, sqlstate)};
	return session_sql($node, $db, superuser(), qq{
		CALL jobsched.wait_run($run_id, '$patience s') \\g /dev/null
		SELECT $columns FROM jobsched.runs WHERE run_id = $run_id});
}

sub wait_drained
{
	my ($node, $db) = @_;
	return poll($node, $db, 'SELECT count(*) FROM jobsched_internal.run', '0', 'the queue is empty');
}

# ------------------------------------------------------------------------
# HTTP requests
# ------------------------------------------------------------------------

# A server whose role app may make requests, and to this machine.
sub http_node
{
	my ($name, %param) = @_;
	my $node = jobsched_node($name, %param,
		conf => "jobsched.http_allow = '127.0.0.0/8, [::1]/128'\n" . ($param{conf} // ''));

	create_extension($node, 'postgres');
	effects_schema($node, 'postgres');
	$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION jobsched.http_request, jobsched.http_webhook TO app');
	return $node;
}

# '' if there is none.
sub http_worker_pid
{
	my ($node, $db) = @_;
	return $node->safe_psql('postgres',
		qq{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jobsched http' AND datname = '$db'});
}

# ------------------------------------------------------------------------
# Effects
# ------------------------------------------------------------------------

# A role, app, and a table in which each run leaves a row.  No constraint: a
# run that is done twice shall be seen, not refused.
sub effects_schema
{
	my ($node, $db) = @_;
	my $has_role = $node->safe_psql($db, q{SELECT count(*) FROM pg_roles WHERE rolname = 'app'});

	$node->safe_psql($db, 'CREATE ROLE app LOGIN') unless $has_role;
	return $node->safe_psql($db, q{
		GRANT USAGE ON SCHEMA jobsched TO app;
		CREATE SCHEMA app AUTHORIZATION app;
		SET ROLE app;
		CREATE TABLE app.effect (run_id bigint NOT NULL, job text, scheduled_for timestamptz, attempt int);
		CREATE FUNCTION app.leave(args jsonb) RETURNS void LANGUAGE sql AS $$
			INSERT INTO app.effect
			VALUES (jobsched.run_id(), jobsched.job_name(), jobsched.scheduled_for(), jobsched.attempt())
		$$});
}

# Each run that succeeded has left exactly one row, no other run any.
sub check_exactly_once
{
	my ($node, $db, $name, $jobs) = @_;
	my $filter = $jobs ? "job_name IN ($jobs)" : 'true';
	my $rows = $node->safe_psql($db, qq{
		WITH r AS (SELECT run_id, status FROM jobsched.runs WHERE $filter),
			e AS (SELECT run_id, count(*) AS n
				FROM (SELECT run_id, job AS job_name FROM app.effect) x WHERE $filter GROUP BY 1)
		SELECT COALESCE(r.run_id, e.run_id), r.status, e.n
		FROM r FULL JOIN e USING (run_id)
		WHERE (COALESCE(r.status, '') = 'succeeded') <> (e.n IS NOT NULL) OR e.n > 1
		ORDER BY 1 LIMIT 20});
	return is($rows, '', $name);
}

# Each slot of a job that fires every $step seconds is in exactly one row,
# from the first to the last, be it as run, as missed or as skipped.
sub check_slots
{
	my ($node, $db, $job, $step, $name) = @_;
	my $row = $node->safe_psql($db, qq{
		WITH r AS (SELECT scheduled_for, status,
				CASE WHEN status = 'skipped' THEN missed_count ELSE 1 + missed_count END AS slots
			FROM jobsched.runs WHERE job_name = '$job' AND scheduled_for IS NOT NULL)
		SELECT count(*) - count(DISTINCT scheduled_for),
			sum(slots) - (extract(epoch FROM max(scheduled_for) - min(scheduled_for
				- CASE WHEN status = 'skipped' THEN slots - 1 ELSE slots - 1 END * interval '$step s')) / $step + 1)::bigint
		FROM r});
	is($row, '0|0', $name)
	  or diag $node->safe_psql($db, qq{SELECT run_id, status, reason, attempt, scheduled_for, missed_count
		FROM jobsched.runs WHERE job_name = '$job' ORDER BY scheduled_for});
	return;
}

# ------------------------------------------------------------------------
# Gates
# ------------------------------------------------------------------------

# A row that runs of these roles can wait for while a session holds it:
# SELECT id FROM public.gate FOR UPDATE.
sub make_gate
{
	my ($node, $db, @roles) = @_;
	my $roles = join ', ', @roles;
	return $node->safe_psql($db, "CREATE TABLE gate (id int); INSERT INTO gate VALUES (1); GRANT ALL ON gate TO $roles");
}

# Returns the session that holds the gate, or what $sql locks; its end opens it.
sub close_gate
{
	my ($node, $db, $sql) = @_;
	my $gate = $node->background_psql($db);

	$gate->set_query_timer_restart();
	$gate->query_safe('BEGIN; ' . ($sql || 'SELECT id FROM gate FOR UPDATE'));
	return $gate;
}

# Until a run waits at the gate, in an attempt if that is given; returns its
# worker.
sub wait_at_gate
{
	my ($node, $db, $run_id, $attempt) = @_;
	my $is_it = $attempt ? "r.attempt = $attempt" : 'true';

	wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running r JOIN pg_stat_activity a ON a.pid = r.worker_pid
		WHERE r.run_id = $run_id AND $is_it AND a.wait_event_type = 'Lock')", "run $run_id is at the gate");
	return $node->safe_psql($db, "SELECT worker_pid FROM jobsched.running WHERE run_id = $run_id");
}

# ------------------------------------------------------------------------
# Bounds in time
# ------------------------------------------------------------------------

# The shortest of some connections, as a measure of how busy the machine is.
sub connection_time
{
	my ($node) = @_;
	my $shortest = $patience;

	for (1 .. 5)
	{
		my $begin = time();
		$node->safe_psql('postgres', 'SELECT 1');
		my $took = time() - $begin;
		$shortest = $took if $took < $shortest;
	}
	return $shortest;
}

# Passes if something took less than a number of seconds.  On a machine that is
# so busy that it takes longer, connections take longer too, and may be added five
# times: a tenth or two of a second on one that is not.  The number has to be so
# far below what the defect takes that it is caught there.
sub in_time
{
	my ($node, $took, $limit, $name) = @_;

	$limit += 5 * connection_time($node) if $took >= $limit;
	return cmp_ok($took, '<', $limit, sprintf('%s (%.1f s)', $name, $took));
}

# ------------------------------------------------------------------------
# Life goes on
# ------------------------------------------------------------------------

# As wait_value(), but a test that waits in vain fails after a while, and the
# next one has its turn.
sub becomes
{
	my ($node, $db, $sql, $expected, $name) = @_;
	my $until = time() + 15;
	my $got = '';

	while (time() < $until)
	{
		$got = $node->safe_psql($db, $sql);
		return pass($name) if $got eq $expected;
		usleep(25_000);
	}
	return is($got, $expected, $name);
}

# Job "quick" runs when it is triggered, and slots of job "tick" fire.
sub check_goes_on
{
	my ($node, $db, $name) = @_;
	my $since = $node->safe_psql($db, 'SELECT clock_timestamp()');
	my $run_id = $node->safe_psql($db, q{SELECT jobsched.trigger('quick')});

	becomes($node, $db, "SELECT status FROM jobsched.runs WHERE run_id = $run_id", 'succeeded', "$name: a triggered run succeeds");
	return becomes($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded' AND scheduled_for > '$since'",
		't', "$name: slots fire");
}

# Installs one of the examples as a role.
sub install_example
{
	my ($node, $db, $role, $file, $name) = @_;
	return $node->command_ok(
		[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-U', $role, '-d', $node->connstr($db), '-f', "$FindBin::Bin/../../examples/$file" ],
		$name);
}

# ------------------------------------------------------------------------
# The log
# ------------------------------------------------------------------------

sub log_size
{
	my ($node) = @_;
	return -s $node->logfile;
}

sub log_since
{
	my ($node, $offset) = @_;
	return slurp_file($node->logfile, $offset || 0);
}

# At the end of a test: no process has crashed, and the launcher and the
# schedulers have reported no error but those that the test provoked.
sub check_log
{
	my ($node, %param) = @_;
	my $log = log_since($node);
	my $signals = $param{killed} ? qr/terminated by signal (?!9)/ : qr/terminated by signal/;
	my @errors = grep { !$param{allow} || $_ !~ $param{allow} }
	  $log =~ /^.*jobsched (?:launcher|scheduler) (?:WARNING|ERROR|FATAL|PANIC):.*$/mg;

	@errors = grep { $_ !~ /FATAL:  terminating background worker/ } @errors;
	unlike($log, qr/PANIC:|TRAP:|$signals/, 'no process has crashed');
	return is(join("\n", @errors), '', 'the launcher and the schedulers have met no error');
}

sub wait_log
{
	my ($node, $pattern, $offset, $name) = @_;
	my $until = time() + $patience;

	while (time() < $until)
	{
		return pass($name) if log_since($node, $offset) =~ $pattern;
		usleep(25_000);
	}
	diag log_since($node, $offset);
	return fail($name);
}

1;
