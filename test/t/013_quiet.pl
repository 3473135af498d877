# Copyright (c) 2026, jobsched contributors

# Waiting costs nothing: a process of ours that waits, for the clock, for work,
# for a worker or for the end of a run, does not wake up (counted by the
# system, Linux only), and holds no transaction, snapshot or lock, also when
# it waits for a moment only, in the middle of many runs.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# For how long wake-ups are counted, and how many there may be: a sweep, a
# message from the server itself.  Polling each second would be as many as
# there are seconds.
my $seconds = 2;
my $tolerated = 1;
my $tolerated_ticks = 0.2 * POSIX::sysconf(POSIX::_SC_CLK_TCK);

my $db = 'postgres';
my $node = jobsched_node('quiet', conf => q{
jobsched.max_workers = 3
jobsched.spare_workers = 0
jobsched.worker_idle_timeout = '10 min'
autovacuum = off
});
create_extension($node, $db);
effects_schema($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

psql(q{
	CREATE ROLE other LOGIN;
	GRANT USAGE ON SCHEMA jobsched TO other});
make_gate($node, $db, 'app', 'other');
psql(q{
	SET ROLE app;
	CREATE FUNCTION app.hold(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF args ? 'hold' THEN
			PERFORM id FROM public.gate FOR UPDATE;
		END IF;
	END $$;
	SELECT jobsched.create_job('quick', handler => 'app.leave');
	SELECT jobsched.create_job('hold', handler => 'app.hold', args => '{"hold": true}');
	SELECT jobsched.create_job('short', handler => 'app.hold');
	RESET ROLE;
	SET ROLE other;
	SELECT jobsched.create_job('of another', command => 'SELECT id FROM public.gate FOR UPDATE')});

my $gate;

# How often a process has gone to sleep in its life.
sub sleeps_of
{
	my ($pid) = @_;
	slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)$/m or die "no count of process $pid";
	return $1;
}

# How much of the processor it has used, in ticks.
sub ticks_of
{
	my ($pid) = @_;
	my (undef, $after_name) = split /\) /, slurp_file("/proc/$pid/stat");
	my @fields = split / /, $after_name;
	return $fields[11] + $fields[12];
}

# All processes of ours, and sessions in wait_run(): pid and what it is.
sub waiting_processes
{
	return map { [ split /\|/ ] } split /\n/, psql(q{
		SELECT pid, CASE WHEN backend_type LIKE 'jobsched%' THEN backend_type || ' ' || COALESCE(datname, '') ELSE 'wait_run()' END
		FROM pg_stat_activity
		WHERE backend_type LIKE 'jobsched%' OR (query LIKE 'CALL jobsched.wait_run%' AND pid <> pg_backend_pid())
		ORDER BY 2, 1});
}

# Until the scheduler has written everything down and looks asleep; a few
# seconds at most, for if it never is the count tells.
sub wait_settled
{
	for my $round (1 .. 30)
	{
		last if psql(q{SELECT last_active_at < clock_timestamp() - interval '0.3 s' FROM jobsched_internal.scheduler()}) eq 't';
		usleep(100_000);
	}
	return;
}

# Nobody wakes up for a while, nor is anybody awake all the time.  There must be as many processes as expected.
sub check_quiet
{
	my ($name, $expected) = @_;
	wait_settled();
	my @processes = waiting_processes();
	my %sleeps = map { $_->[0] => sleeps_of($_->[0]) } @processes;
	my %ticks = map { $_->[0] => ticks_of($_->[0]) } @processes;
	my @woken;

	is(join(', ', map { $_->[1] } @processes), $expected, "$name: who is there");
	# Nothing but the time can pass here.
	sleep $seconds;
	for my $process (@processes)
	{
		my ($pid, $what) = @$process;
		my $sleeps = sleeps_of($pid) - $sleeps{$pid};
		my $ticks = ticks_of($pid) - $ticks{$pid};
		push @woken, "$what: $sleeps times" if $sleeps > $tolerated;
		push @woken, "$what: $ticks ticks of the processor" if $ticks > $tolerated_ticks;
	}
	return is(join(', ', @woken), '', "$name: nobody wakes up");
}

my $idle = 'jobsched launcher , jobsched scheduler postgres';

# ------------------------------------------------------------------------
# Idle
# ------------------------------------------------------------------------

# Jobs in each state, none of which is due soon; runs that are to start later.
psql(q{
	SELECT count(jobsched.create_job('leap ' || i, '0 0 29 2 *', 'SELECT 1')) FROM generate_series(1, 1000) i;
	SELECT jobsched.create_job('interval', 'every 90 days', 'SELECT 1');
	SELECT jobsched.create_job('never', NULL, 'SELECT 1');
	SELECT jobsched.create_job('disabled', '* * * * * *', 'SELECT 1', enabled => false);
	SELECT jobsched.create_job('paused', '* * * * * *', 'SELECT 1');
	SELECT jobsched.pause_job('paused');
	SELECT jobsched.trigger('paused');
	SELECT jobsched.create_job('broken', '* * * * * *', 'SELECT 1');
	UPDATE jobsched_internal.job SET schedule = 'nonsense', revision = revision + 1 WHERE name = 'broken';
	SELECT jobsched.trigger('never', run_at => now() + interval '1 hour')});
wait_until($node, $db, q{SELECT state = 'invalid' FROM jobsched.jobs WHERE name = 'broken'}, 'the broken job is invalid');
wait_until($node, $db, q{SELECT count(*) = 2 FROM jobsched_internal.run}, 'only what has to wait waits');
is((run_job($node, $db, 'quick'))[1], 'succeeded', 'a run');
psql(q{SELECT pg_terminate_backend(pid, 60000) FROM jobsched.workers WHERE owner <> 'app'});
wait_until($node, $db, q{SELECT count(*) = 1 FROM jobsched.workers}, 'one worker is left');
check_quiet('an idle server', "$idle, jobsched worker postgres");

# Switched off, with slots and runs that are due.
psql(q{SELECT jobsched.create_job('due', '* * * * * *', 'SELECT 1')});
wait_until($node, $db, q{SELECT last_status = 'succeeded' FROM jobsched.jobs WHERE name = 'due'}, 'it ticks');
psql('ALTER SYSTEM SET jobsched.enabled = off');
psql('SELECT pg_reload_conf()');
wait_until($node, $db, q{SELECT NOT enabled FROM jobsched_internal.scheduler()}, 'it is off');
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched.running}, 'nothing runs');
psql(q{SELECT pg_terminate_backend(pid, 60000) FROM jobsched.workers WHERE owner <> 'app'});
my $waiting = psql(q{SELECT jobsched.trigger('quick')});
wait_until($node, $db, q{SELECT ready > 0 FROM jobsched_internal.scheduler()}, 'the scheduler knows of the run');
wait_until($node, $db, q{SELECT next_run_at < clock_timestamp() FROM jobsched.jobs WHERE name = 'due'}, 'a slot is due');
wait_until($node, $db, q{SELECT count(*) FILTER (WHERE owner <> 'app') = 0 FROM jobsched.workers}, 'one worker is left');
check_quiet('switched off, with slots and runs that are due', "$idle, jobsched worker postgres");
psql(q{SELECT jobsched.drop_job('due')});
psql('ALTER SYSTEM RESET jobsched.enabled');
psql('SELECT pg_reload_conf()');
wait_run_state($node, $db, $waiting, 'succeeded');
wait_until($node, $db, q{SELECT count(*) = 2 FROM jobsched_internal.run}, 'only what has to wait waits');

# ------------------------------------------------------------------------
# Waiting for the end of runs, and for a worker
# ------------------------------------------------------------------------

# All workers are held; others of the same and of another owner wait.  A
# session waits for each kind.
psql('ALTER SYSTEM SET jobsched.max_workers = 2');
psql('SELECT pg_reload_conf()');
$gate = close_gate($node, $db);
my @held = split /\n/, psql(q{SELECT jobsched.trigger('hold') FROM generate_series(1, 2)});
wait_at_gate($node, $db, $_) for @held;
my $behind = psql(q{SELECT max(jobsched.trigger('quick')) FROM generate_series(1, 20)});
my $other = psql(q{SELECT jobsched.trigger('of another')});
my @waiters;
for my $run_id ($held[0], $behind)
{
	my $waiter = $node->background_psql($db, on_error_stop => 0);
	$waiter->query_until(qr/started/, "\\echo started\nCALL jobsched.wait_run($run_id);\n");
	push @waiters, $waiter;
}
wait_until($node, $db, q{SELECT count(*) = 2 FROM pg_stat_activity WHERE query LIKE 'CALL jobsched.wait_run%' AND pid <> pg_backend_pid()}, 'two sessions wait');
check_quiet('all workers are busy, runs wait', "$idle, jobsched worker postgres, jobsched worker postgres, wait_run(), wait_run()");

# A session that waits holds nothing that others would wait for: it can be
# waited for all older snapshots to go.
is(psql(q{
	SELECT count(*), count(backend_xid), count(backend_xmin), (SELECT count(*) FROM pg_locks l WHERE l.pid = ANY (array_agg(a.pid)) AND locktype <> 'virtualxid')
	FROM pg_stat_activity a WHERE query LIKE 'CALL jobsched.wait_run%' AND pid <> pg_backend_pid()}),
	'2|0|0|0', 'wait_run() waits without snapshot and lock');

# A job is dropped while its run goes on.
psql(q{SELECT jobsched.drop_job('hold')});
check_quiet('a running run whose job is gone', "$idle, jobsched worker postgres, jobsched worker postgres, wait_run(), wait_run()");
$gate->quit;
wait_run_state($node, $db, $_, 'succeeded') for (@held, $behind, $other);
$_->quit for @waiters;
psql('ALTER SYSTEM RESET jobsched.max_workers');

# A job whose runs are short, so that they are handed over ahead, and then one
# that is not: those behind it are taken back, once.
psql('ALTER SYSTEM SET jobsched.max_workers = 1');
psql('SELECT pg_reload_conf()');
wait_until($node, $db, q{SELECT count(*) <= 1 FROM jobsched.workers}, 'one worker is left');
for my $round (1 .. 10)
{
	run_job($node, $db, 'short');
}
$gate = close_gate($node, $db);
wait_at_gate($node, $db, psql(q{SELECT jobsched.trigger('short', '{"hold": true}', priority => 1)}));
$behind = psql(q{SELECT max(jobsched.trigger('short')) FROM generate_series(1, 40)});
check_quiet('short runs wait behind one that takes long', "$idle, jobsched worker postgres");
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'short' AND status IN ('queued', 'running')}), '41', 'they wait indeed');
$gate->quit;
wait_run_state($node, $db, $behind, 'succeeded');
psql('ALTER SYSTEM RESET jobsched.max_workers');
psql('SELECT pg_reload_conf()');

# The scheduler is stopped while a role waits for the only place, which it looks
# for again soon as the worker there has only just come.  (If the machine is so
# busy that this takes a second, that is over, and the test says less.)
psql('ALTER SYSTEM SET jobsched.max_workers = 1');
psql('SELECT pg_reload_conf()');
psql(q{SELECT pg_terminate_backend(pid, 60000) FROM jobsched.workers});
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched.workers}, 'no worker is left');
$gate = close_gate($node, $db);
@held = split /\n/, psql(q{
	SELECT jobsched.trigger('short', '{"hold": true}');
	DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM jobsched.running) LOOP PERFORM pg_sleep(0.005); END LOOP; END $$;
	SELECT jobsched.trigger('of another');
	DO $$ BEGIN WHILE (SELECT ready FROM jobsched_internal.scheduler()) = 0 LOOP PERFORM pg_sleep(0.005); END LOOP; END $$;
	ALTER SYSTEM SET jobsched.enabled = off;
	SELECT pg_reload_conf() \g /dev/null});
wait_until($node, $db, q{SELECT NOT enabled FROM jobsched_internal.scheduler()}, 'it is off');
check_quiet('switched off while a role waits for a worker', "$idle, jobsched worker postgres");
is(psql("SELECT string_agg(status, ' ' ORDER BY run_id) FROM jobsched.runs WHERE run_id IN ($held[0], $held[1])"), 'running queued', 'it waits indeed');
psql('ALTER SYSTEM RESET jobsched.enabled');
psql('ALTER SYSTEM RESET jobsched.max_workers');
psql('SELECT pg_reload_conf()');
$gate->quit;
wait_run_state($node, $db, $_, 'succeeded') for @held;

# ------------------------------------------------------------------------
# Nothing is held while waiting, in the middle of many runs
# ------------------------------------------------------------------------

# What a process has at a moment at which it waits, and has been waiting since
# the sample before (it would have changed its state otherwise).
psql(q{
	CREATE TABLE sample (n int, pid int, what text, waits boolean, since timestamptz, xact_start timestamptz, xid xid, xmin_of xid, locks bigint);
	CREATE TABLE enough ();
	CREATE PROCEDURE take_samples(seconds float, least_runs int) LANGUAGE plpgsql AS $$
	DECLARE
		until timestamptz := clock_timestamp() + seconds * interval '1 s';
		number int := 0;
	BEGIN
		WHILE clock_timestamp() < until
			OR (SELECT count(*) FROM jobsched.runs WHERE job_name IN ('work', 'alone', 'each second') AND status = 'succeeded') <= least_runs LOOP
			number := number + 1;
			PERFORM pg_stat_clear_snapshot();
			INSERT INTO sample
			SELECT number, a.pid, backend_type, wait_event_type = 'Extension' AND COALESCE(state, 'idle') = 'idle', state_change, xact_start, backend_xid, backend_xmin,
				(SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid)
			FROM pg_stat_activity a WHERE backend_type LIKE 'jobsched%';
			COMMIT;
		END LOOP;
	END $$;
	SET ROLE app;
	CREATE FUNCTION app.work(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave(args);
		PERFORM set_config('work_mem', '1MB', false), pg_advisory_lock_shared(1);
		CREATE TEMP TABLE t ON COMMIT PRESERVE ROWS AS SELECT 1;
		PERFORM pg_sleep(random() * 0.003);
	END $$;
	SELECT jobsched.create_job('work', handler => 'app.work');
	SELECT jobsched.create_job('each second', '* * * * * *', handler => 'app.leave');
	SELECT jobsched.create_job('alone', mode => 'autocommit', command => 'SELECT app.work(NULL); VACUUM app.effect')});
my $load = $node->background_psql($db);
$load->query_until(
	qr/loaded/, q{
\echo loaded
DO $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM enough) LOOP
		PERFORM jobsched.trigger(CASE WHEN random() < 0.1 THEN 'alone' ELSE 'work' END) FROM generate_series(1, (random() * 4)::int);
		COMMIT;
		PERFORM pg_sleep(random() * 0.02);
	END LOOP;
END $$;
});
psql('CALL take_samples(5, 200)');
psql('INSERT INTO enough DEFAULT VALUES');
$load->quit;
my ($runs, $moments, $held) = split /\|/, psql(q{
	WITH waiting AS (
		SELECT *, lead(waits) OVER w AND lead(since) OVER w IS NOT DISTINCT FROM since AND lead(xact_start) OVER w IS NOT DISTINCT FROM xact_start AS still
		FROM sample WINDOW w AS (PARTITION BY pid ORDER BY n))
	SELECT (SELECT count(*) FROM jobsched.runs WHERE job_name IN ('work', 'alone', 'each second') AND status = 'succeeded'),
		(SELECT string_agg(what || ' ' || n, ', ' ORDER BY what) FROM (SELECT what, CASE WHEN count(*) > 20 THEN 'often' ELSE count(*)::text END AS n FROM waiting WHERE waits AND still GROUP BY what) m),
		(SELECT string_agg(DISTINCT concat_ws(' ', what, CASE WHEN xact_start IS NOT NULL THEN 'transaction' END,
			CASE WHEN xid IS NOT NULL THEN 'xid' END, CASE WHEN xmin_of IS NOT NULL THEN 'snapshot' END, CASE WHEN locks > 0 THEN 'locks' END), ', ')
			FROM waiting WHERE waits AND still AND (xact_start IS NOT NULL OR xid IS NOT NULL OR xmin_of IS NOT NULL OR locks > 0))});
cmp_ok($runs, '>', 200, "there was load ($runs runs)");
is($moments, 'jobsched launcher often, jobsched scheduler often, jobsched worker often', 'and moments of waiting');
is($held, '', 'in which nobody held a transaction, a snapshot or a lock');
wait_until($node, $db, q{SELECT count(*) = 2 FROM jobsched_internal.run WHERE source = 'trigger'}, 'all have run');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name IN ('work', 'alone') AND status <> 'succeeded'}), '0', 'all have succeeded');

check_log($node);
$node->stop;
done_testing();
