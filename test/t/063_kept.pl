# Copyright (c) 2026, jobsched contributors

# What is kept of runs beyond the retention, since others have waited for them:
# whatever transactions, snapshots and locks of others are in the way while a ring
# of history moves on, and when it is cut off by kill -9.  And that it goes when
# nobody needs it any more.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = jobsched_node('kept', conf => q{
restart_after_crash = on
max_prepared_transactions = 5
jobsched.history_retention = '1 min'
jobsched.failure_retention = '1 min'
});
create_extension($node, $db);
effects_schema($node, $db);
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

sub trigger
{
	my ($job, @parents) = @_;
	my $after = join ',', @parents;
	return app("SELECT jobsched.trigger('$job'" . (@parents ? ", after => '{$after}', after_when => 'done')" : ')'));
}

sub later
{
	return app(q{SELECT jobsched.trigger('give', run_at => '2060-01-01')});
}

sub ended
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id);
}

# After now, so with the clock as it stands.
sub a_step_is_made
{
	my $now = psql('SELECT clock_timestamp()');
	return wait_until($node, $db, "SELECT last_active_at > '$now' FROM jobsched_internal.scheduler()", 'a step is made');
}

sub kept
{
	return psql(q{SELECT string_agg(run_id::text, ',' ORDER BY run_id) FROM jobsched_internal.history_kept});
}

sub number_kept
{
	return psql('SELECT count(*) FROM jobsched_internal.history_kept');
}

app(q{
	CREATE FUNCTION app.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
	CREATE FUNCTION app.give(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_build_object('gave', jobsched.run_id(), 'filler', repeat('x', COALESCE((args->>'size')::int, 0)))
	$$;
	CREATE FUNCTION app.count(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb(count(*)) FROM jobsched.upstream()';
	CREATE FUNCTION app.held(args jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock(1);
		RETURN (SELECT to_jsonb(count(*)) FROM jobsched.upstream());
	END $$;
	SELECT jobsched.create_job('give', handler => 'app.give');
	SELECT jobsched.create_job('fail', handler => 'app.fail');
	SELECT jobsched.create_job('drop', handler => 'app.fail');
	SELECT jobsched.create_job('count', handler => 'app.count');
	SELECT jobsched.create_job('held', handler => 'app.held')});
set_clock($node, $db, '2040-01-01');

# ------------------------------------------------------------------------
# What belongs to a kept run
# ------------------------------------------------------------------------

my ($failed, $dropped) = (trigger('fail'), trigger('drop'));
ended($_) for ($failed, $dropped);
my $far = later();
my $waits = trigger('count', $failed, $dropped, $far);
my $again = app("SELECT jobsched.retry_run($failed)");
ended($again);
app(q{SELECT jobsched.drop_job('drop')});
turn_rings($node, $db) for 1 .. 3;
is(kept(), "$failed,$dropped", 'two are kept, whose job was dropped, who was retried');
is(app(q{SELECT count(*) FROM jobsched.redrive('fail')}), '0', 'what was retried is not executed again');
is(psql("SELECT job_name FROM jobsched.runs WHERE run_id = $dropped"), 'drop', 'a run has the name of its job, long after that was dropped');
like(error_of($node, $db, "SELECT jobsched.trigger('count', after => '{$failed}')", 'app'), qr/42704: +run $failed does not exist/,
	'what is older than the retention cannot be named any more');
app("SELECT jobsched.cancel_run($far)");
is(end_of($node, $db, $waits, 'status, result'), 'succeeded|3', 'its dependent has seen them');
turn_rings($node, $db);
is(kept(), '', 'then they go');
is(psql(q{SELECT (SELECT count(*) FROM jobsched_internal.retried) || ' ' || (SELECT count(*) FROM jobsched_internal.job WHERE dropped_at IS NOT NULL)}),
	'0 0', 'and so does what belongs to them');

# ------------------------------------------------------------------------
# A snapshot from before
# ------------------------------------------------------------------------

my $holder = $node->background_psql($db);
$holder->query_safe('SELECT pg_advisory_lock(1)');
my $parent = trigger('give');
ended($parent);
my $held = trigger('held', $parent);
wait_until($node, $db, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'a dependent is executed, and has its snapshot');
turn_rings($node, $db);
is(kept(), $parent, 'its parent is kept meanwhile');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
is(end_of($node, $db, $held, 'status, result'), 'succeeded|1', 'it sees its parent with a snapshot from before');

# ------------------------------------------------------------------------
# Transactions that take long
# ------------------------------------------------------------------------

for my $how ('open', 'prepared')
{
	psql('SELECT jobsched.stop_processing()');
	$parent = trigger('give');
	$far = later();
	$holder->query_safe("BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger('count', after => '{$parent,$far}', after_when => 'done')");
	$holder->query_safe(q{PREPARE TRANSACTION 'named'}) if $how eq 'prepared';
	psql('SELECT jobsched.start_processing()');
	is(ended($parent), 'succeeded', "$how: a parent ends that was live when it was named");

	my $since = psql('SELECT jobsched_internal.clock_now()');
	for my $i (1 .. 8)
	{
		advance_clock($node, $db, '61 s');
		a_step_is_made();
	}
	is(psql("SELECT count(*) FROM jobsched_internal.ring WHERE started_at > '$since'"), '0', "$how: no ring moves on past it");
	is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $parent"), '1', "$how: the parent is there after many retentions");
	$holder->query_safe($how eq 'prepared' ? q{COMMIT PREPARED 'named'} : 'COMMIT');
	$waits = psql('SELECT max(run_id) FROM jobsched_internal.run');
	advance_clock($node, $db, '61 s');
	rings_move($node, $db);
	turn_rings($node, $db);
	is(kept(), $parent, "$how: it is kept from then on");
	app("SELECT jobsched.cancel_run($far)");
	is(end_of($node, $db, $waits, 'status, result'), 'succeeded|2', "$how: and its dependent sees it");
}
turn_rings($node, $db);
is(number_kept(), '0', 'nothing is left of it');

# Transactions that name parents one after the other, so that there are always some.
my $next = $node->background_psql($db);
my $since = psql('SELECT jobsched_internal.clock_now()');
$far = later();
$holder->query_safe("BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger('count', after => '{$far}')");
advance_clock($node, $db, '61 s');
a_step_is_made();
$next->query_safe("BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger('count', after => '{$far}')");
$holder->query_safe('COMMIT');
wait_until($node, $db, "SELECT count(*) > 0 FROM jobsched_internal.ring WHERE started_at > '$since'", 'a ring waits only for those from before');
$next->query_safe('COMMIT');
$next->quit;
rings_move($node, $db);
app("SELECT jobsched.cancel_run($far)");
wait_drained($node, $db);

# A reader of one ring's segment is not in the way of the other ring.
$since = psql('SELECT jobsched_internal.clock_now()');
$holder->query_safe(sprintf 'BEGIN; SELECT count(*) FROM jobsched_internal.history_%03d',
	psql('SELECT (segment + 1) % 8 FROM jobsched_internal.ring WHERE ring = 0'));
for my $i (1 .. 3)
{
	my $offset = log_size($node);

	advance_clock($node, $db, '61 s');
	wait_log($node, qr/canceling statement due to lock timeout/, $offset, 'a ring does not move on past a reader');
}
is(psql("SELECT string_agg(ring::text, ',') FROM jobsched_internal.ring WHERE started_at > '$since'"), '1', 'the other one does');
$holder->query_safe('COMMIT');
advance_clock($node, $db, '61 s');
rings_move($node, $db);

# ------------------------------------------------------------------------
# Many rows, and kill -9 in the middle
# ------------------------------------------------------------------------

my $many = 2000;
app(qq{SELECT count(*) FROM jobsched.trigger_many('give', array_fill('{"size": 1500}'::jsonb, ARRAY[$many]))});
my ($first, $last) = split /\|/, psql(q{SELECT max(run_id) - 1999, max(run_id) FROM jobsched_internal.run});
wait_drained($node, $db);
$far = later();
$waits = app("SELECT jobsched.trigger('count', after => array_agg(r), after_when => 'done') FROM (SELECT generate_series($first, $last) UNION ALL SELECT $far) s (r)");

# Somebody has locked one of the last of them: the turn comes to there.
my $segment = psql("SELECT segment FROM jobsched_internal.history WHERE run_id = $last - 10");
for my $i (1 .. 7)
{
	advance_clock($node, $db, '10 s');
	rings_move($node, $db);
}
$holder->query_safe(sprintf q{BEGIN; SELECT FROM jobsched_internal.history_%03d WHERE run_id = %d FOR UPDATE}, $segment, $last - 10);
my $offset = log_size($node);
advance_clock($node, $db, '10 s');
wait_log($node, qr/canceling statement due to lock timeout/, $offset, 'a turn has come to a row that is locked');
cmp_ok(number_kept(), '>', 0, 'rows have been moved by then');
cmp_ok(number_kept(), '<', $many, 'but not all');
is(app('SELECT count(*) FROM jobsched.runs WHERE ' . "run_id BETWEEN $first AND $last"), $many, 'none is in two places, none in none');
is(app(q{SELECT count(*) FROM jobsched.trigger_many('give', array_fill('{}'::jsonb, ARRAY[3]))}), '3', 'others go on');
$holder->{run}->kill_kill;
end_sessions($node);
kill_and_start($node);
wait_connection($node, $db);
wait_scheduler($node, $db);
set_clock($node, $db, psql(q{SELECT max(started_at) + interval '70 s' FROM jobsched_internal.ring}));
rings_move($node, $db);
turn_rings($node, $db);
is(number_kept(), $many, 'a turn that was cut off by kill -9 begins again');
cmp_ok(psql('SELECT count(DISTINCT xmin::text) FROM jobsched_internal.history_kept'), '>=', 4, 'rows are moved in portions');
app("SELECT jobsched.cancel_run($far)");
is(end_of($node, $db, $waits, 'status, result'), "succeeded|@{[ $many + 1 ]}", 'the dependent sees all');
turn_rings($node, $db);
is(number_kept(), '0', 'then they go');

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection|canceling statement due to lock timeout/);
$node->stop;
done_testing();
