# Copyright (c) 2026, jobsched contributors

# Trouble that is not of a job's making: our tables or rows are locked by
# others, the extension has a version that the library does not know, rows hold
# what they should not.  Others go on, no run is lost or done twice, health()
# tells the reason, and when it is over all is well.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $db = 'postgres';
my $node = jobsched_node('trouble', conf => "max_prepared_transactions = 5\n");
create_extension($node, $db);
effects_schema($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

make_gate($node, $db, 'app');
psql(q{
	SET ROLE app;
	CREATE FUNCTION app.hold(args jsonb) RETURNS void LANGUAGE sql AS
		'SELECT app.leave(args); SELECT id FROM public.gate FOR UPDATE';
	SELECT jobsched.create_job('tick', '* * * * * *', handler => 'app.leave');
	SELECT jobsched.create_job('quick', handler => 'app.leave');
	SELECT jobsched.create_job('hold', handler => 'app.hold');
	SELECT jobsched.create_job('waits', handler => 'app.leave')});

# Triggers a run that stops at the gate.
my $gate;

sub hold
{
	$gate = close_gate($node, $db);
	my $run_id = psql(q{SELECT jobsched.trigger('hold')});
	wait_at_gate($node, $db, $run_id);
	return $run_id;
}

# From here on: each slot, each effect, once.
sub all_is_well
{
	my ($name) = @_;
	check_goes_on($node, $db, $name);
	psql(q{SELECT jobsched.alter_job('tick', enabled => false)});
	becomes($node, $db, q{SELECT count(*) FROM jobsched_internal.run WHERE run_at <= now()}, '0', "$name: nothing is left behind");
	check_slots($node, $db, 'tick', 1, "$name: each slot once");
	check_exactly_once($node, $db, "$name: effects are the succeeded runs, each once");
	is(psql(q{SELECT string_agg("check", ', ') FROM jobsched.health() WHERE status = 'error'}), '', "$name: health() finds no fault");
	return psql(q{SELECT jobsched.alter_job('tick', enabled => true)});
}

check_goes_on($node, $db, 'at first');

# ------------------------------------------------------------------------
# Somebody locks our tables
# ------------------------------------------------------------------------

for my $table ('run', 'job_state', 'history')
{
	my $held = hold();
	my $since = psql('SELECT clock_timestamp()');
	my $locker = $node->background_psql($db);
	my $waiting;

	$locker->query_safe("BEGIN; LOCK TABLE jobsched_internal.$table");
	$gate->quit;
	if ($table =~ /run|job_state/)
	{
		# what the scheduler writes with each slot
		becomes($node, $db, qq{SELECT message ~ 'lock timeout' AND value::timestamptz > '$since' FROM jobsched.health() WHERE "check" = 'last_error'}, 't', "$table is locked: health() tells");
	}
	else
	{
		wait_until($node, $db, "SELECT clock_timestamp() > '$since'::timestamptz + interval '1.2 s'", 'a slot has come');
	}
	$locker->quit;
	becomes($node, $db, "SELECT status, attempt FROM jobsched.runs WHERE run_id = $held", 'succeeded|1', "$table was locked: a run that ended meanwhile is recorded");
	check_goes_on($node, $db, "$table was locked");
}
all_is_well('tables were locked');

# ------------------------------------------------------------------------
# A prepared transaction holds rows
# ------------------------------------------------------------------------

# of a run that waits: of a paused job, so that it is held before its turn comes
psql(q{SELECT jobsched.pause_job('waits')});
my $waiting = psql(q{
	SELECT jobsched.trigger('waits') AS run_id \gset
	BEGIN;
	SELECT run_id FROM jobsched_internal.run WHERE run_id = :run_id FOR UPDATE;
	PREPARE TRANSACTION 'holds';
});
my $scheduler = scheduler_pid($node, $db);
psql(q{SELECT jobsched.resume_job('waits')});
check_goes_on($node, $db, 'the row of a waiting run is held');
is(psql("SELECT status, attempt FROM jobsched.runs WHERE run_id = $waiting"), 'queued|0', 'the run itself waits');
is(scheduler_pid($node, $db), $scheduler, 'the scheduler is not disturbed');
psql(q{ROLLBACK PREPARED 'holds'});
becomes($node, $db, "SELECT status, attempt FROM jobsched.runs WHERE run_id = $waiting", 'succeeded|1', 'and starts when it is let go');

# of the state of a job whose slots come
my $other = psql(q{SELECT job_id FROM jobsched.jobs WHERE name = 'waits'});
psql(q{SELECT jobsched.alter_job('waits', schedule => '* * * * * *')});
becomes($node, $db, q{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'waits' AND scheduled_for IS NOT NULL}, 't', 'it fires');
psql("BEGIN; SELECT job_id FROM jobsched_internal.job_state WHERE job_id = $other FOR UPDATE; PREPARE TRANSACTION 'holds'");
my $since = psql('SELECT clock_timestamp()');
becomes($node, $db, "SELECT clock_timestamp() > '$since'::timestamptz + interval '1.5 s'", 't', 'a slot has come');
check_goes_on($node, $db, 'the row of a job state is held');
psql(q{ROLLBACK PREPARED 'holds'});
$since = psql('SELECT clock_timestamp()');
becomes($node, $db, "SELECT max(scheduled_for) > '$since' AND max(started_at) > '$since' FROM jobsched.runs WHERE job_name = 'waits'", 't', 'the job itself goes on when it is let go');
check_goes_on($node, $db, 'it was held');
psql(q{SELECT jobsched.alter_job('waits', schedule => '')});

# of a run that is being executed: its worker cannot record the end
my $held = hold();
psql("BEGIN; SELECT run_id FROM jobsched_internal.run WHERE run_id = $held FOR UPDATE; PREPARE TRANSACTION 'holds'");
$gate->quit;
$since = psql('SELECT clock_timestamp()');
becomes($node, $db, "SELECT clock_timestamp() > '$since'::timestamptz + interval '1.5 s'", 't', 'some time has passed');
check_goes_on($node, $db, 'the row of a running run is held');
psql(q{ROLLBACK PREPARED 'holds'});
becomes($node, $db, "SELECT status IN ('succeeded', 'failed', 'lost') FROM jobsched.runs WHERE run_id = $held", 't', 'when it is let go it comes to an end');
all_is_well('rows were held');

# ------------------------------------------------------------------------
# A version that the library does not know
# ------------------------------------------------------------------------

my $version = psql(q{SELECT extversion FROM pg_extension WHERE extname = 'jobsched'});
psql(q{UPDATE pg_extension SET extversion = '99' WHERE extname = 'jobsched'});
my $pid = scheduler_pid($node, $db);
my $offset = log_size($node);
kill 'TERM', $pid;
wait_log($node, qr/scheduler leaves: the extension has a version that this library does not know; run ALTER EXTENSION jobsched UPDATE/, $offset, 'an unknown version: the scheduler leaves, and the log says why');
becomes($node, $db, q{SELECT status FROM jobsched.health() WHERE "check" = 'scheduler'}, 'error', 'health() tells that there is none');
like(psql(q{SELECT message FROM jobsched.health() WHERE "check" = 'scheduler'}), qr/version/, 'and why');
my @waiting = map { psql(q{SELECT jobsched.trigger('quick')}) } 1 .. 5;
$since = psql('SELECT clock_timestamp()');
wait_until($node, $db, "SELECT clock_timestamp() > '$since'::timestamptz + interval '2 s'", 'time has passed');
is(psql("SELECT string_agg(DISTINCT status, ' ') FROM jobsched.runs WHERE run_id IN (" . join(',', @waiting) . ')'), 'queued', 'runs wait');
is(psql("SELECT count(*) FROM jobsched.runs WHERE job_name = 'tick' AND scheduled_for > '$since'"), '0', 'slots too');
my $starts = () = log_since($node, $offset) =~ /scheduler leaves/g;
cmp_ok($starts, '<=', 8, "nobody tries again and again ($starts times)");
psql("UPDATE pg_extension SET extversion = '$version' WHERE extname = 'jobsched'");
psql(q{SELECT jobsched.trigger('quick')});
becomes($node, $db, "SELECT string_agg(DISTINCT status, ' ') FROM jobsched.runs WHERE run_id IN (" . join(',', @waiting) . ')', 'succeeded', 'the version is right again: they run');
all_is_well('the version was unknown');

# ------------------------------------------------------------------------
# What the jobs need is gone
# ------------------------------------------------------------------------

psql(q{CREATE SCHEMA brief; CREATE FUNCTION brief.handle(jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
	SELECT jobsched.create_job('schemaless', '* * * * * *', handler => 'brief.handle');
	DROP SCHEMA brief CASCADE});
becomes($node, $db, q{SELECT string_agg(DISTINCT concat_ws(' ', status, reason, sqlstate), ', ') FROM jobsched.runs WHERE job_name = 'schemaless'}, 'failed error 3F000', 'a handler whose schema is dropped: failed runs');
becomes($node, $db, q{SELECT state, last_status, consecutive_failures > 1 FROM jobsched.jobs WHERE name = 'schemaless'}, 'active|failed|t', 'and the job tells');
check_goes_on($node, $db, 'a schema is dropped');
psql(q{SELECT jobsched.drop_job('schemaless')});

# ------------------------------------------------------------------------
# Rows that hold what they should not
# ------------------------------------------------------------------------

# Whatever stands in the rows of a job, or of its state, also at a start: the
# others go on.
my $n = 0;
psql(q{SELECT jobsched.create_job('spoilt ' || i, '* * * * * *', handler => 'app.leave', owner => 'app') FROM generate_series(1, 16) i});
becomes($node, $db, q{SELECT count(*) FROM jobsched.jobs WHERE name LIKE 'spoilt %' AND last_status = 'succeeded'}, '16', 'jobs that tick');
for my $case (
	[ job_state => q{next_run_at = '4000-01-01 BC'} ],
	[ job_state => q{next_run_at = '-infinity'} ],
	[ job_state => q{next_run_at = 'infinity'} ],
	[ job_state => q{next_run_at = '294000-01-01', last_slot = '294000-01-01', done_from = '4000-01-01 BC', done_before = '294000-01-01'} ],
	[ job_state => q{last_slot = NULL, done_before = NULL, done_from = NULL, next_run_at = NULL, schedule_revision = -1} ],
	[ job_state => q{recent = repeat('?', 1000), last_status = 'nonsense', skipped = -1, skipped_first = 'infinity', skipped_last = '-infinity', consecutive_failures = 2147483647} ],
	[ job_state => q{skipped = 2147483647, skipped_last = now(), skipped_first = NULL} ],
	[ job => q{anchor = '4000-01-01 BC', schedule = 'every 1 second'} ],
	[ job => q{anchor = '294000-01-01', first_run_at = '294000-01-01', schedule = 'every month', schedule_revision = schedule_revision + 1} ],
	[ job => q{first_run_at = '-infinity', schedule_revision = schedule_revision + 1} ],
	[ job => q{schedule = repeat('1,', 100000) || '1 * * * *'} ],
	[ job => q{schedule = '', timezone = ''} ],
	[ job => q{command = '', handler = NULL} ],
	[ job => q{handler = 'nonsense'} ],
	[ job => q{handler = '"'} ],
	[ job => q{owner = 0} ])
{
	my ($table, $set) = @$case;
	my $job = 'spoilt ' . ++$n;

	psql(qq{
		UPDATE jobsched_internal.$table t SET $set FROM (SELECT job_id AS id FROM jobsched.jobs WHERE name = '$job') j WHERE t.job_id = id;
		UPDATE jobsched_internal.job SET revision = revision + 1 WHERE name = '$job'});
}
is(psql(q{SELECT count(*) FROM jobsched.jobs WHERE name LIKE 'spoilt %'}), $n, "$n jobs with rows that nobody could have made through us: view jobs works");
psql('SELECT count(*) FROM jobsched.upcoming');
pass('view upcoming too');
for my $round (1 .. 2)
{
	check_goes_on($node, $db, "round $round");
	$pid = scheduler_pid($node, $db);
	kill 'TERM', $pid;
	wait_new_scheduler($node, $db, $pid);
	$scheduler = scheduler_pid($node, $db);
	check_goes_on($node, $db, "round $round, after a start");
	is(scheduler_pid($node, $db), $scheduler, "round $round: the scheduler stays");
}
psql(q{DO $$ BEGIN PERFORM jobsched.drop_job(name) FROM jobsched.jobs WHERE name LIKE 'spoilt %'; END $$});
becomes($node, $db, q{SELECT count(*) FROM jobsched.jobs WHERE name LIKE 'spoilt %'}, '0', 'they can be dropped');

# The same for the queue.
my $first = 1_000_000_001;
my $id = $first;
for my $row (
	'job_id = 987654321',
	'owner = 0',
	"status = 'running', attempt = 2147483647",
	"status = 'running', boot_id = 4711, attempt = -1",
	'lost = 2147483647, priority = -2147483648',
	"scheduled_for = '-infinity', missed_count = -1",
	"args = '[1]'",
	"source = 'nonsense'")
{
	psql(qq{
		CREATE TEMP TABLE r (LIKE jobsched_internal.run INCLUDING DEFAULTS);
		INSERT INTO r (run_id, job_id, owner, status, source, repeatable, run_at, queued_at, attempt, lost, priority, missed_count)
			SELECT $id, job_id, owner, 'queued', 'trigger', true, now(), now(), 0, 0, 0, 0 FROM jobsched_internal.job WHERE name = 'quick';
		UPDATE r SET $row;
		INSERT INTO jobsched_internal.run SELECT * FROM r});
	$id++;
}
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id >= $first"), $id - $first, 'runs that nobody could have triggered: view runs works');
$pid = scheduler_pid($node, $db);
kill 'TERM', $pid;
wait_new_scheduler($node, $db, $pid);
$scheduler = scheduler_pid($node, $db);
check_goes_on($node, $db, 'after a start');
becomes($node, $db, "SELECT string_agg(run_id || ' ' || status, ', ') FROM jobsched.runs WHERE run_id >= $first AND finished_at IS NULL", '', 'each comes to an end');
is(scheduler_pid($node, $db), $scheduler, 'the scheduler stays');
check_goes_on($node, $db, 'and after that');

check_log($node, allow => qr/lock timeout/);
$node->stop;
done_testing();
