# Copyright (c) 2026, jobsched contributors

# kill -9 of a worker, the scheduler, the launcher and the postmaster, again
# and again, at random instants, while runs are triggered and slots come due.
# Whatever happened: each run that succeeded has left its effect exactly once,
# no other run any; each slot is accounted for once; nothing is left behind.
#
# JOBSCHED_KILL_CYCLES sets how often; JOBSCHED_KILL_SEED repeats a run.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $cycles = $ENV{JOBSCHED_KILL_CYCLES} || 8;
my $seed = $ENV{JOBSCHED_KILL_SEED} || int(rand(1_000_000));
my $db = 'postgres';

note "JOBSCHED_KILL_SEED=$seed";
srand($seed);

my $node = jobsched_node('crash', conf => "restart_after_crash = on\njobsched.max_workers = 6\n");
create_extension($node, $db);
effects_schema($node, $db);
$node->safe_psql($db, q{
	CREATE ROLE other LOGIN;
	GRANT USAGE ON SCHEMA jobsched, app TO other;
	GRANT INSERT ON app.effect TO other;
	GRANT EXECUTE ON FUNCTION app.leave TO other;
	SET ROLE app;
	CREATE TABLE app.wanted (run_id bigint PRIMARY KEY);
	CREATE FUNCTION app.leave_slowly(args jsonb) RETURNS void LANGUAGE sql AS $$
		SELECT app.leave(args);
		SELECT pg_sleep(random() * 0.3)
	$$;
	CREATE PROCEDURE app.leave_apart() LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave('{}');
		COMMIT;
		PERFORM pg_sleep(0.02);
	END $$;
	SELECT jobsched.create_job('quick', handler => 'app.leave', backoff_base => '10 ms');
	SELECT jobsched.create_job('slow', handler => 'app.leave_slowly', backoff_base => '10 ms');
	SELECT jobsched.create_job('apart', command => 'CALL app.leave_apart()');
	SELECT jobsched.create_job('each second', '* * * * * *', handler => 'app.leave', backoff_base => '10 ms');
	SELECT jobsched.create_job('every second', 'every 1 second', handler => 'app.leave_slowly', backoff_base => '10 ms');
	RESET ROLE;
	SET ROLE other;
	SELECT jobsched.create_job('of another', '*/2 * * * * *', handler => 'app.leave', backoff_base => '10 ms');
});

# Many small transactions in one session until the server goes away.
my $script = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
append_to_file($script, join '', map {
	my $job = $_ % 40 == 1 ? 'slow' : $_ % 10 == 3 ? 'apart' : 'quick';
	$_ % 50 == 0
	  ? "INSERT INTO app.wanted SELECT jobsched.trigger_many('quick', array_fill('{}'::jsonb, ARRAY[20]));\n"
	  : "INSERT INTO app.wanted SELECT jobsched.trigger('$job');\n"
} 1 .. 1200);

sub start_load
{
	my ($out, $err) = ('', '');
	return IPC::Run::start(
		[ 'psql', '-XqAt', '-U', 'app', '-d', $node->connstr($db), '-f', $script ],
		'<', \undef, '>', \$out, '2>', \$err);
}

sub random_pid
{
	my ($type) = @_;
	return $node->safe_psql($db,
		qq{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jobsched $type' AND datname IS NOT DISTINCT FROM }
		  . ($type eq 'launcher' ? 'NULL' : "'$db'") . ' ORDER BY random() LIMIT 1');
}

my @victims = ('worker', 'scheduler', 'postmaster', 'launcher');
my %killed;
my $in_vain = 0;

for my $cycle (1 .. $cycles)
{
	my $victim = $victims[ $cycle % @victims ];
	my $load = start_load();
	my $pid;

	usleep(int(rand(700_000)));
	if ($victim eq 'postmaster')
	{
		kill_and_start($node);
	}
	else
	{
		$pid = random_pid($victim);
		if ($pid eq '')
		{
			# none at this moment, so soon after the last: once more
			$load->finish;
			$killed{none}++;
			redo if $in_vain++ < 20;
			die "there is never a $victim";
		}
		kill 'KILL', $pid;
	}
	$in_vain = 0;
	$load->finish;
	$killed{$victim}++;
	wait_connection($node, $db);
	wait_until($node, $db, 'SELECT count(*) < 700 FROM jobsched_internal.run', 'the queue has become shorter');
}
note join ', ', map { "$_: $killed{$_}" } sort keys %killed;

# Let all that is left come to its end.
wait_scheduler($node, $db);
$node->safe_psql($db, q{SELECT jobsched.alter_job(name, enabled => false) FROM jobsched.jobs WHERE schedule IS NOT NULL});
wait_drained($node, $db);

is($node->safe_psql($db, q{
	SELECT count(*) FROM app.wanted w FULL JOIN
		(SELECT run_id FROM jobsched.runs WHERE source = 'trigger') r USING (run_id)
	WHERE w.run_id IS NULL OR r.run_id IS NULL}),
	'0', 'a run exists if and only if its trigger committed');
cmp_ok($node->safe_psql($db, q{SELECT count(*) FROM jobsched.runs WHERE status = 'succeeded'}),
	'>', $cycles * 10, 'there was something to lose');
check_exactly_once($node, $db, 'effects are the succeeded runs, each once',
	q{'quick','slow','each second','every second','of another'});
is($node->safe_psql($db, q{
	SELECT string_agg(DISTINCT status || ' ' || COALESCE(reason, ''), ', ') FROM jobsched.runs
	WHERE status NOT IN ('succeeded', 'skipped')
		AND NOT (status = 'lost' AND reason IN ('server_restarted', 'worker_died'))}),
	'', 'what did not succeed was lost, and says so');
is($node->safe_psql($db, q{
	SELECT count(*) FROM jobsched.runs
		LEFT JOIN (SELECT run_id, count(*) AS n FROM app.effect GROUP BY 1) e USING (run_id)
	WHERE job_name = 'apart' AND (e.n > 1 OR status = 'succeeded' AND e.n IS NULL)}),
	'0', 'a run that commits by itself is not repeated');
check_slots($node, $db, 'each second', 1, 'each slot of a cron schedule once');
check_slots($node, $db, 'every second', 1, 'each slot of an interval once');
check_slots($node, $db, 'of another', 2, 'each slot of another owner once');
is($node->safe_psql($db, q{SELECT count(*) FROM (SELECT run_id FROM jobsched.runs GROUP BY 1 HAVING count(*) > 1) d}),
	'0', 'no run is in history twice');
is($node->safe_psql($db, q{SELECT count(*) FROM jobsched.workers WHERE state NOT IN ('idle', 'starting')}),
	'0', 'no worker is left with anything');

# It goes on.
my $since = $node->safe_psql($db, 'SELECT clock_timestamp()');
$node->safe_psql($db, q{SELECT jobsched.alter_job(name, enabled => true) FROM jobsched.jobs WHERE schedule IS NOT NULL});
is((run_job($node, $db, 'quick'))[1], 'succeeded', 'runs go on');
wait_until($node, $db, qq{
	SELECT bool_and(last_finished_at > '$since' AND last_status = 'succeeded')
	FROM jobsched.jobs WHERE schedule IS NOT NULL}, 'all schedules go on');
pass('schedules go on');

check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection/);
$node->stop;
done_testing();
