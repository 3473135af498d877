# Copyright (c) 2026, jobsched contributors

# On a standby nothing runs; after a promotion everything does, and nothing is
# done twice.  Shutdown in each mode with runs in progress.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $db = 'postgres';
my $primary = jobsched_node('primary', init => { allows_streaming => 1 });
create_extension($primary, $db);
effects_schema($primary, $db);
$primary->safe_psql($db, q{
	SET ROLE app;
	CREATE FUNCTION app.hold(args jsonb) RETURNS void LANGUAGE sql AS
		'SELECT app.leave(args); SELECT pg_sleep(CASE jobsched.attempt() WHEN 1 THEN 3600 ELSE 0 END)';
	CREATE PROCEDURE app.hold_apart(s float) LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave('{}');
		COMMIT;
		PERFORM pg_sleep(s);
	END $$;
	SELECT jobsched.create_job('tick', '* * * * * *', handler => 'app.leave');
	SELECT jobsched.create_job('quick', handler => 'app.leave');
	SELECT jobsched.create_job('hold', handler => 'app.hold');
	SELECT jobsched.create_job('hold apart', command => 'CALL app.hold_apart(3600)')});

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# Triggers a job whose first attempt holds; waits until it does.
sub hold
{
	my ($node, $job) = @_;
	my $run_id = $node->safe_psql($db, "SELECT jobsched.trigger('$job')");
	wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running r JOIN pg_stat_activity a ON a.pid = r.worker_pid
		WHERE r.run_id = $run_id AND a.wait_event = 'PgSleep')", "$job holds");
	return $run_id;
}

sub goes_on
{
	my ($node, $name) = @_;
	my $since = $node->safe_psql($db, 'SELECT clock_timestamp()');
	is((run_job($node, $db, 'quick'))[1], 'succeeded', "$name: runs are triggered");
	return wait_value($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded' AND scheduled_for > '$since'",
		't', "$name: slots fire");
}

# ------------------------------------------------------------------------
# A standby
# ------------------------------------------------------------------------

goes_on($primary, 'at first');
$primary->wait_for_catchup($standby);
is($standby->safe_psql($db, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'jobsched%'}), '0', 'a standby has no process of ours');
is($standby->safe_psql($db, q{SELECT string_agg(name, ', ' ORDER BY name) FROM jobsched.jobs WHERE state = 'active'}),
	'hold, hold apart, quick, tick', 'views work');
is($standby->safe_psql($db, q{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded'}), 't', 'runs too');
is($standby->safe_psql($db, "SELECT count(*) FROM jobsched.$_"), $_ eq 'upcoming' ? '1' : '0', "view $_ too")
  for ('running', 'workers', 'run_logs', 'upcoming');
is($standby->safe_psql($db, q{SELECT status, value FROM jobsched.health() WHERE "check" = 'scheduler'}), 'ok|standby', 'health() knows');
is($standby->safe_psql($db, q{SELECT count(*) FROM jobsched.health() WHERE status = 'error'}), '0', 'and finds no fault');
is($standby->safe_psql($db, q{SELECT count(*) FROM jobsched.next_runs('* * * * *')}), '5', 'next_runs() works');
for my $call (q{trigger('quick')}, q{trigger('quick', after => '{1}')}, q{trigger_many('quick', '{NULL}')}, q{trigger_batch('quick', '{NULL}')}, q{create_job('x', command => 'SELECT 1')},
	q{alter_job('quick', enabled => false)}, q{drop_job('quick')}, q{pause_job('quick')}, q{resume_job('quick')}, q{adopt()})
{
	my $error = error_of($standby, $db, "SELECT jobsched.$call");
	like($error, qr/25006/, "$call is refused");
	like($error, qr/HINT:.*primary/, 'with a hint');
}

# ------------------------------------------------------------------------
# Promotion, with runs of the old primary in progress
# ------------------------------------------------------------------------

my $held = hold($primary, 'hold');
my $apart = hold($primary, 'hold apart');
my $later = $primary->safe_psql($db, q{SELECT jobsched.trigger('quick', run_at => clock_timestamp() + interval '1 s')});
my $behind = $primary->safe_psql($db, qq{SELECT jobsched.trigger('quick', after => ARRAY[$apart, max(run_id)], after_when => 'done') FROM jobsched.runs WHERE status = 'succeeded'});
$primary->wait_for_catchup($standby);
is($standby->safe_psql($db, "SELECT parents, parent_ids FROM jobsched.waiting WHERE run_id = $behind"), "1|{$apart}", 'a standby sees what waits for what');
# The scheduler's commits are asynchronous: what they say may not have been
# sent yet.  A claim that has not arrived is the same as a run not begun.
is($standby->safe_psql($db, qq{SELECT string_agg(status, ' ') FROM jobsched.runs WHERE run_id IN ($held, $apart)}), 'running running', 'the standby sees what is in progress on the primary');
$primary->stop('immediate');
my $start = time();
$standby->promote;
wait_scheduler($standby, $db);
my $took = time() - $start;
in_time($standby, $took, 10, 'promoted, a scheduler works');
wait_run_state($standby, $db, $apart, 'lost');
is($standby->safe_psql($db, "SELECT reason FROM jobsched.runs WHERE run_id = $apart"), 'server_restarted', 'what had committed is lost and not repeated');
wait_run_state($standby, $db, $held, 'succeeded');
is($standby->safe_psql($db, "SELECT attempt FROM jobsched.runs WHERE run_id = $held"), '2', 'what was one transaction is done again');
wait_run_state($standby, $db, $later, 'succeeded');
wait_run_state($standby, $db, $behind, 'succeeded');
pass('what was queued runs');
goes_on($standby, 'promoted');
my $node = $standby;

# The slots: as long as the old primary lived, and from then on.
$node->safe_psql($db, q{SELECT jobsched.alter_job('tick', enabled => false)});
wait_drained($node, $db);
check_slots($node, $db, 'tick', 1, 'each slot once, before and after');
check_exactly_once($node, $db, 'effects are the succeeded runs', q{'tick', 'quick', 'hold'});
$node->safe_psql($db, q{SELECT jobsched.alter_job('tick', enabled => true)});

# ------------------------------------------------------------------------
# Shutdown
# ------------------------------------------------------------------------

my @held;
for my $mode ('smart', 'fast', 'immediate')
{
	$held = hold($node, 'hold');
	$apart = hold($node, 'hold apart');
	push @held, $held;
	my $offset = log_size($node);
	$start = time();
	$node->stop($mode);
	$took = time() - $start;
	$node->start;
	in_time($node, $took, 5, "$mode shutdown with runs in progress, which would take an hour");
	unlike(log_since($node, $offset), qr/recalcitrant/, "$mode: no process had to be killed");
	wait_scheduler($node, $db);
	wait_run_state($node, $db, $apart, 'lost');
	like($node->safe_psql($db, "SELECT reason FROM jobsched.runs WHERE run_id = $apart"), qr/^(server_restarted|worker_died)$/,
		"$mode: what had committed is lost and says why");
	is($node->safe_psql($db, "SELECT count(*) FROM app.effect WHERE run_id = $apart"), '1', "$mode: and is not repeated");
	wait_run_state($node, $db, $held, 'succeeded');
	is($node->safe_psql($db, "SELECT attempt FROM jobsched.runs WHERE run_id = $held"), '2', "$mode: what was one transaction is done again");
	goes_on($node, $mode);
}

$node->safe_psql($db, q{SELECT jobsched.alter_job('tick', enabled => false)});
wait_drained($node, $db);
check_slots($node, $db, 'tick', 1, 'each slot once');
check_exactly_once($node, $db, 'effects are the succeeded runs', q{'tick', 'quick', 'hold'});

check_log($primary, allow => qr/terminating connection/);
check_log($node, allow => qr/terminating connection/);
$node->stop;
done_testing();
