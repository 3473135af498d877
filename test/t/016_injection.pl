# Copyright (c) 2026, jobsched contributors

# Processes are held up at the places that have a name (injection points), and
# there terminated, cancelled, killed, replaced, or have their job altered or
# dropped; or they fail there.  What the moment is decides what becomes of the
# run; in each case it is recorded once, truthfully, and not done twice.
#
# Needs a server that was built with --enable-injection-points (17 or later),
# with the extension injection_points installed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub pg_config
{
	my ($option) = @_;
	my ($stdout, $stderr) = run_command([ 'pg_config', $option ]);
	return $stdout;
}

plan skip_all => 'this server has no injection points (it was not configured with --enable-injection-points)'
  if pg_config('--configure') !~ /--enable-injection-points/;
plan skip_all => 'this server lacks the extension injection_points (src/test/modules/injection_points)'
  if !-f pg_config('--sharedir') . '/extension/injection_points.control';

my $db = 'postgres';
my $node = jobsched_node('injection', conf => qq{
restart_after_crash = on
jobsched.max_workers = 8
test.patience = '$PostgreSQL::Test::Utils::timeout_default s'
});
create_extension($node, $db);
effects_schema($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

# ------------------------------------------------------------------------
# Jobs, and procedures that hold somebody up
# ------------------------------------------------------------------------

psql(q{
	CREATE EXTENSION injection_points;
	CREATE ROLE other LOGIN;
	GRANT USAGE ON SCHEMA jobsched, app TO other;
	GRANT INSERT ON app.effect TO other;
	GRANT app TO other;
	SET ROLE app;
	CREATE FUNCTION app.leave_and_fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave(args);
		RAISE EXCEPTION 'it was not to be';
	END $$;
	CREATE PROCEDURE app.leave_apart() LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave('{}');
		COMMIT;
	END $$;
	CREATE PROCEDURE app.leave_apart_and_fail() LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave('{}');
		COMMIT;
		RAISE EXCEPTION 'it was not to be';
	END $$;
	-- Jobs are dropped in what follows, hence a function that makes them.
	CREATE FUNCTION app.make_jobs() RETURNS void LANGUAGE sql SET role = 'app' AS $$
		SELECT jobsched.create_job('quick', handler => 'app.leave', if_exists => 'update');
		SELECT jobsched.create_job('apart', command => 'CALL app.leave_apart()', if_exists => 'update');
		SELECT jobsched.create_job('failing', handler => 'app.leave_and_fail', if_exists => 'update');
		SELECT jobsched.create_job('failing apart', command => 'CALL app.leave_apart_and_fail()', if_exists => 'update');
		SELECT jobsched.create_job('shared', handler => 'app.leave', share_transaction => true, if_exists => 'update');
		SELECT jobsched.create_job('patient', command => 'SELECT app.leave(NULL), pg_sleep(600)', if_exists => 'update');
		SELECT jobsched.create_job('bystander', command => 'SELECT app.leave(NULL)', if_exists => 'update');
	$$;
	SELECT app.make_jobs();
	SELECT jobsched.create_job('tick', '* * * * * *', handler => 'app.leave', enabled => false);
	RESET ROLE;
	SELECT jobsched.create_job('create database', command => 'CREATE DATABASE made_by_a_job');

	-- Whose commit makes all that was committed before durable.
	CREATE TABLE flushed (at timestamptz);

	CREATE PROCEDURE wait_for(condition text) LANGUAGE plpgsql AS $$
	DECLARE
		until timestamptz := clock_timestamp() + current_setting('test.patience')::interval;
		reached boolean;
	BEGIN
		LOOP
			COMMIT;
			EXECUTE 'SELECT ' || condition INTO reached;
			EXIT WHEN reached;
			IF clock_timestamp() > until THEN
				RAISE 'waited in vain until %', condition;
			END IF;
			PERFORM pg_sleep(0.005);
		END LOOP;
	END $$;

	CREATE VIEW held AS
		SELECT pid, backend_type, wait_event AS point, state_change FROM pg_stat_activity
		WHERE wait_event_type = 'InjectionPoint';

	-- Lets all go on who are held up.
	CREATE PROCEDURE release(point text) LANGUAGE plpgsql AS $$
	DECLARE
		until timestamptz := clock_timestamp() + current_setting('test.patience')::interval;
	BEGIN
		BEGIN
			PERFORM injection_points_detach(point);
		EXCEPTION WHEN OTHERS THEN
			NULL;				-- it is detached already
		END;
		COMMIT;
		WHILE EXISTS (SELECT FROM held WHERE held.point = release.point) LOOP
			BEGIN
				PERFORM injection_points_wakeup(point);
			EXCEPTION WHEN OTHERS THEN
				NULL;			-- it has just gone
			END;
			COMMIT;
			IF clock_timestamp() > until THEN
				RAISE 'waited in vain until nobody is held up at %', point;
			END IF;
		END LOOP;
	END $$;

	-- Triggers jobs and waits until their runs are held up; others are not.
	CREATE PROCEDURE hold(point text, jobs text[], INOUT runs bigint[] DEFAULT NULL) LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM injection_points_attach(point, 'wait');
		COMMIT;
		SELECT array_agg(jobsched.trigger(job)) INTO runs FROM unnest(jobs) job;
		CALL wait_for(format('count(*) = %s FROM held JOIN jobsched.running r ON r.worker_pid = pid WHERE point = %L AND run_id = ANY (%L)',
			cardinality(jobs), point, runs));
		PERFORM injection_points_detach(point);
		INSERT INTO flushed VALUES (now());
	END $$;

	-- The scheduler, in the first step for which the condition holds.
	CREATE PROCEDURE hold_scheduler(point text, condition text) LANGUAGE plpgsql AS $$
	DECLARE
		since timestamptz := '-infinity';
		reached boolean;
	BEGIN
		LOOP
			CALL wait_for(format('count(*) = 1 FROM held WHERE point = %L AND state_change > %L', point, since));
			SELECT state_change INTO since FROM held WHERE held.point = hold_scheduler.point;
			EXECUTE 'SELECT ' || condition INTO reached;
			EXIT WHEN reached;
			COMMIT;
			PERFORM injection_points_wakeup(point);
		END LOOP;
		COMMIT;
		PERFORM injection_points_detach(point);
		INSERT INTO flushed VALUES (now());
	END $$;

	CREATE FUNCTION outcome(run bigint) RETURNS text LANGUAGE sql AS $$
		SELECT concat_ws(' ', status, reason, 'attempt', attempt, 'effects', (SELECT count(*) FROM app.effect WHERE run_id = run))
		FROM jobsched.runs WHERE run_id = run
	$$;

	CREATE FUNCTION ended(run bigint) RETURNS boolean LANGUAGE sql AS $$
		SELECT status NOT IN ('queued', 'running') FROM jobsched.runs WHERE run_id = run
	$$;

	-- What becomes of a run whose worker is held up at a point, and there ...
	CREATE PROCEDURE try_at(point text, job text, action text, INOUT result text DEFAULT NULL) LANGUAGE plpgsql AS $$
	DECLARE
		runs bigint[];
		worker int;
		bystander bigint;
	BEGIN
		CALL hold(point, ARRAY[job], runs);
		SELECT worker_pid INTO worker FROM jobsched.running WHERE run_id = runs[1];
		CASE action
			WHEN 'terminate' THEN
				PERFORM pg_terminate_backend(worker);
			WHEN 'cancel' THEN
				PERFORM pg_cancel_backend(worker);
			WHEN 'drop' THEN
				PERFORM jobsched.drop_job(job, cancel_running => true);
				COMMIT;
				-- The scheduler that has heard of this run has heard of the drop.
				bystander := jobsched.trigger('bystander');
				CALL wait_for(format('ended(%s)', bystander));
		END CASE;
		COMMIT;
		CALL release(point);
		CALL wait_for(format('ended(%s)', runs[1]));
		-- A worker that is still there is not hit by what was meant for the run.
		bystander := jobsched.trigger('bystander');
		CALL wait_for(format('ended(%s)', bystander));
		CALL wait_for('count(*) = 0 FROM jobsched.running');
		SELECT outcome(runs[1])
			|| CASE WHEN EXISTS (SELECT FROM jobsched.workers WHERE pid = worker) THEN ', same worker' ELSE ', worker gone' END
			|| CASE WHEN outcome(bystander) <> 'succeeded attempt 1 effects 1' THEN ', bystander ' || outcome(bystander) ELSE '' END
		INTO result;
		PERFORM app.make_jobs();
	END $$});

# Nothing waits, all workers are idle, and the scheduler has written all outcomes.
sub wait_quiet
{
	return psql(q{CALL wait_for('last_active_at < clock_timestamp() - interval ''100 ms''
		AND NOT EXISTS (SELECT FROM jobsched_internal.run) AND NOT EXISTS (SELECT FROM jobsched.workers WHERE state <> ''idle'')
		FROM jobsched_internal.scheduler()')});
}

sub hold
{
	my ($point, @jobs) = @_;
	my $list = join ',', map { "'$_'" } @jobs;
	my $runs = psql("CALL hold('jobsched-$point', ARRAY[$list])");
	return $runs =~ /\d+/g;
}

sub release
{
	my ($point) = @_;
	return psql("CALL release('jobsched-$point')");
}

sub outcomes
{
	my (@runs) = @_;
	my $list = eval { psql(join ';', map { "CALL wait_for('ended($_)'); SELECT outcome($_)" } @runs) };
	return $list // 'waited in vain: ' . psql(join ';', map { "SELECT outcome($_)" } @runs);
}

# Several of them in one session, for speed.
sub try_each
{
	my (@tries) = @_;
	my @outcomes = split /\n/, psql(join ';', map { "CALL try_at('jobsched-$_->[0]', '$_->[1]', '$_->[2]')" } @tries);
	is(shift @outcomes, $_->[3], "$_->[1], $_->[2] at $_->[0]") for @tries;
	return;
}

# kill -9 of one process of the server, which then restarts all.
sub crash
{
	my ($pid) = @_;
	my $offset = log_size($node);

	kill 'KILL', $pid;
	my $until = time() + 60;
	until (log_since($node, $offset) =~ /database system is ready to accept connections/)
	{
		die 'the server does not come back' if time() > $until;
		select undef, undef, undef, 0.02;
	}
	wait_connection($node, $db);
	return wait_scheduler($node, $db);
}

sub worker_of
{
	my ($run_id) = @_;
	return psql("SELECT worker_pid FROM jobsched.running WHERE run_id = $run_id");
}

# ------------------------------------------------------------------------
# One run and its worker
# ------------------------------------------------------------------------

# One transaction: until the commit there is a way back, after it there is none.
# The way to be cancelled by its job's end closes before the record is made, so
# that a run that was cancelled by it never also succeeds.
try_each(
	[ 'run-begins', 'quick', 'terminate', 'succeeded attempt 2 effects 1, worker gone' ],
	[ 'run-begins', 'quick', 'cancel', 'cancelled backend_cancelled attempt 1 effects 0, same worker' ],
	[ 'run-begins', 'quick', 'drop', 'cancelled job_dropped attempt 1 effects 0, same worker' ],
	[ 'run-before-close', 'quick', 'terminate', 'succeeded attempt 2 effects 1, worker gone' ],
	[ 'run-before-close', 'quick', 'cancel', 'cancelled backend_cancelled attempt 1 effects 0, same worker' ],
	[ 'run-before-close', 'quick', 'drop', 'cancelled job_dropped attempt 1 effects 0, same worker' ],
	[ 'run-recorded', 'quick', 'terminate', 'succeeded attempt 2 effects 1, worker gone' ],
	[ 'run-recorded', 'quick', 'cancel', 'cancelled backend_cancelled attempt 1 effects 0, same worker' ],
	[ 'run-recorded', 'quick', 'drop', 'succeeded attempt 1 effects 1, same worker' ],
	[ 'run-committed', 'quick', 'terminate', 'succeeded attempt 1 effects 1, worker gone' ],
	[ 'run-committed', 'quick', 'cancel', 'succeeded attempt 1 effects 1, same worker' ],
	[ 'run-committed', 'quick', 'drop', 'succeeded attempt 1 effects 1, same worker' ]);

# What commits by itself is not repeated, and its effects stay.
try_each(
	[ 'run-begins', 'apart', 'terminate', 'lost worker_died attempt 1 effects 0, worker gone' ],
	[ 'run-begins', 'apart', 'drop', 'cancelled job_dropped attempt 1 effects 0, same worker' ],
	[ 'run-before-close', 'apart', 'terminate', 'lost worker_died attempt 1 effects 1, worker gone' ],
	[ 'run-before-close', 'apart', 'cancel', 'cancelled backend_cancelled attempt 1 effects 1, same worker' ],
	[ 'run-before-close', 'apart', 'drop', 'cancelled job_dropped attempt 1 effects 1, same worker' ],
	[ 'run-recorded', 'apart', 'terminate', 'lost worker_died attempt 1 effects 1, worker gone' ],
	[ 'run-recorded', 'apart', 'drop', 'succeeded attempt 1 effects 1, same worker' ],
	[ 'run-committed', 'apart', 'terminate', 'succeeded attempt 1 effects 1, worker gone' ],
	[ 'run-committed', 'apart', 'cancel', 'succeeded attempt 1 effects 1, same worker' ]);

# A failure that has not been recorded yet.
try_each(
	[ 'run-failed', 'failing', 'terminate', 'failed error attempt 2 effects 0, worker gone' ],
	[ 'run-failed', 'failing', 'cancel', 'failed error attempt 1 effects 0, same worker' ],
	[ 'run-failed', 'failing', 'drop', 'failed error attempt 1 effects 0, same worker' ],
	[ 'run-failed', 'failing apart', 'terminate', 'lost worker_died attempt 1 effects 1, worker gone' ],
	[ 'run-failed', 'failing apart', 'cancel', 'failed error attempt 1 effects 1, same worker' ]);

# A command that commits at once has no record yet when it has committed.
try_each([ 'run-committed', 'create database', 'terminate', 'lost worker_died attempt 1 effects 0, worker gone' ]);
is(psql(q{SELECT count(*) FROM pg_database WHERE datname = 'made_by_a_job'}), '1', 'what it did is there');
psql('DROP DATABASE made_by_a_job');
try_each([ 'run-committed', 'create database', 'cancel', 'succeeded attempt 1 effects 0, same worker' ]);
psql('DROP DATABASE made_by_a_job');

# ------------------------------------------------------------------------
# The same, and another scheduler
# ------------------------------------------------------------------------

for my $point ('run-begins', 'run-before-close', 'run-recorded', 'run-committed')
{
	my @runs = hold($point, 'quick', 'apart');
	my $scheduler = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($scheduler)");
	wait_new_scheduler($node, $db, $scheduler);
	is(psql("SELECT count(*) FROM jobsched.running WHERE run_id IN ($runs[0], $runs[1]) AND attempt = 1"), '2', "scheduler replaced at $point: the runs go on")
	  if $point ne 'run-committed';
	release($point);
	is(outcomes(@runs), "succeeded attempt 1 effects 1\nsucceeded attempt 1 effects 1", "scheduler replaced at $point: each ends once");

	# Worker and scheduler at the same time.
	@runs = hold($point, 'quick', 'apart');
	psql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('jobsched scheduler', 'jobsched worker')});
	release($point);
	is(outcomes(@runs),
		$point eq 'run-committed' ? "succeeded attempt 1 effects 1\nsucceeded attempt 1 effects 1"
		: "succeeded attempt 2 effects 1\nlost worker_died attempt 1 effects " . ($point eq 'run-begins' ? 0 : 1),
		"workers and scheduler terminated at $point");
	wait_quiet();
}
wait_value($node, $db, q{SELECT string_agg(concat_ws(' ', name, last_status, right(recent, 4)), ', ' ORDER BY name) FROM jobsched.jobs WHERE name IN ('quick', 'apart')},
	'apart succeeded .L.., quick succeeded ....', 'jobs know of runs whose outcome no scheduler was told');

# ------------------------------------------------------------------------
# A worker that fails there
# ------------------------------------------------------------------------

sub fail_at
{
	my ($point, $job, $expected) = @_;
	my $run_id = psql("SELECT injection_points_attach('jobsched-$point', 'error') \\g /dev/null\nSELECT jobsched.trigger('$job')");

	is(outcomes($run_id), $expected, "$job, an error at $point");
	return psql("SELECT injection_points_detach('jobsched-$point')");
}

fail_at('run-begins', 'quick', 'failed error attempt 1 effects 0');
fail_at('run-before-close', 'quick', 'failed error attempt 1 effects 0');
fail_at('run-before-close', 'apart', 'failed error attempt 1 effects 1');
fail_at('run-recorded', 'quick', 'failed error attempt 1 effects 0');
fail_at('run-recorded', 'apart', 'failed error attempt 1 effects 1');
fail_at('run-committed', 'quick', 'succeeded attempt 1 effects 1');
fail_at('run-committed', 'apart', 'succeeded attempt 1 effects 1');
fail_at('run-failed', 'failing', 'lost worker_died attempt 4 effects 0');
fail_at('run-failed', 'failing apart', 'lost worker_died attempt 1 effects 1');
is((run_job($node, $db, 'quick'))[1], 'succeeded', 'and then others work');

# ------------------------------------------------------------------------
# Several runs in one transaction
# ------------------------------------------------------------------------

# Runs of a job that is new, so that nobody knows how long they take, and that
# are ready all at once.
sub hold_batch
{
	my ($first, $last) = psql(q{
		SELECT jobsched.drop_job('shared');
		SELECT app.make_jobs();
		SELECT jobsched.pause_job('shared');
		SELECT injection_points_attach('jobsched-batch-recorded', 'wait');
		SELECT 'runs', min(r), max(r) FROM jobsched.trigger_many('shared', array_fill(NULL::jsonb, ARRAY[40])) r;
		SELECT jobsched.resume_job('shared');
		CALL wait_for('count(*) > 0 FROM held');
		SELECT injection_points_detach('jobsched-batch-recorded');
		INSERT INTO flushed VALUES (now())}) =~ /runs\|(\d+)\|(\d+)/;
	return ($first, $last);
}

sub check_batch
{
	my ($first, $last, $name) = @_;
	psql("CALL wait_for('bool_and(ended(run_id)) FROM jobsched.runs WHERE run_id BETWEEN $first AND $last')");
	return is(psql("SELECT count(*), count(*) FILTER (WHERE outcome(run_id) LIKE 'succeeded attempt % effects 1') FROM jobsched.runs WHERE run_id BETWEEN $first AND $last"),
		'40|40', $name);
}

sub max_attempt
{
	my ($first, $last) = @_;
	return psql("SELECT max(attempt) FROM jobsched.runs WHERE run_id BETWEEN $first AND $last");
}

my ($first, $last) = hold_batch();
psql(q{SELECT pg_terminate_backend(pid) FROM held});
release('batch-recorded');
check_batch($first, $last, 'a batch whose worker is terminated before the commit is done once');
is(max_attempt($first, $last), '2', 'at the second attempt');

($first, $last) = hold_batch();
psql(q{SELECT pg_cancel_backend(pid) FROM held});
release('batch-recorded');
check_batch($first, $last, 'a batch that is cancelled before the commit is done run by run');
is(max_attempt($first, $last), '1', 'by the same worker');

($first, $last) = hold_batch();
psql(q{
	SELECT jobsched.drop_job('shared', cancel_running => true);
	SELECT jobsched.trigger('bystander');
	CALL wait_for('status <> ''queued'' OR (SELECT ready > 0 FROM jobsched_internal.scheduler()) FROM jobsched.runs WHERE job_name = ''bystander'' ORDER BY run_id DESC LIMIT 1')});
release('batch-recorded');
psql("CALL wait_for('bool_and(ended(run_id)) FROM jobsched.runs WHERE run_id BETWEEN $first AND $last')");
is(psql("SELECT string_agg(DISTINCT outcome(run_id), ', ') FROM jobsched.runs WHERE run_id BETWEEN $first AND $last
	AND outcome(run_id) NOT IN ('cancelled job_dropped attempt 1 effects 0', 'cancelled cancelled attempt 1 effects 0')"),
	'succeeded attempt 1 effects 1', 'a batch whose job is dropped when it is too late to cancel it succeeds');
psql('SELECT app.make_jobs()');

# ------------------------------------------------------------------------
# The scheduler: before and after the commit of a claim
# ------------------------------------------------------------------------

# Triggers jobs and holds the scheduler up when their claims are written, but
# not committed; or are committed, but no worker has them.
sub hold_claim
{
	my ($point, @jobs) = @_;
	my $list = join ',', map { "'$_'" } @jobs;
	my $condition =
	  $point eq 'step-before-commit'
	  ? "NOT EXISTS (SELECT FROM jobsched_internal.run FOR UPDATE SKIP LOCKED)"
	  : "NOT EXISTS (SELECT FROM jobsched_internal.run WHERE status <> ''running'')";

	# Workers that are idle, so that both claims are of one step.
	psql(q{SELECT jobsched.trigger_many('bystander', array_fill(NULL::jsonb, ARRAY[2]))});
	wait_quiet();
	psql("SELECT injection_points_attach('jobsched-$point', 'wait')");
	my $runs = psql("SELECT array_agg(jobsched.trigger(job)) FROM unnest(ARRAY[$list]) job;
		CALL hold_scheduler('jobsched-$point', '$condition')");
	return $runs =~ /\d+/g;
}

for my $point ('step-before-commit', 'step-committed')
{
	my @runs = hold_claim($point, 'quick', 'apart');
	is(psql("SELECT string_agg(status || ' ' || (worker_pid IS NULL), ', ') FROM jobsched.runs WHERE run_id IN ($runs[0], $runs[1])"),
		$point eq 'step-committed' ? 'running true, running true' : 'queued true, queued true', "$point: no worker has the runs");
	my $scheduler = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($scheduler)");
	wait_new_scheduler($node, $db, $scheduler);
	is(outcomes(@runs), "succeeded attempt 1 effects 1\nsucceeded attempt 1 effects 1", "scheduler terminated at $point: its successor carries on");

	# An error, again and again.
	wait_quiet();
	psql("SELECT injection_points_attach('jobsched-$point', 'error')");
	@runs = psql(q{SELECT jobsched.trigger('quick'), jobsched.trigger('apart')}) =~ /\d+/g;
	$scheduler = scheduler_pid($node, $db);
	psql("CALL wait_for('last_error LIKE ''%$point%'' FROM jobsched_internal.scheduler()')");
	psql("CALL wait_for('pid <> $scheduler FROM jobsched_internal.scheduler()')") if $scheduler ne '';
	psql("SELECT injection_points_detach('jobsched-$point')");
	is(outcomes(@runs), "succeeded attempt 1 effects 1\nsucceeded attempt 1 effects 1", "an error of the scheduler at $point: its successor carries on");
	like(psql(q{SELECT message FROM jobsched.health() WHERE "check" = 'last_error'}) . psql(q{SELECT value FROM jobsched.health() WHERE "check" = 'last_error'}),
		qr/error triggered for injection point jobsched-$point/, 'which health() shows');
}

# The claim has committed; before a worker has the run, its job gets another owner.
my ($run_id) = hold_claim('step-committed', 'quick');
psql(q{SELECT jobsched.alter_job('quick', owner => 'other')});
release('step-committed');
outcomes($run_id);
like(psql("SELECT outcome($run_id) || ' ' || owner FROM jobsched.runs WHERE run_id = $run_id"),
	qr/^succeeded attempt (1 effects 1 app|2 effects 1 other)$/, 'owner altered after the claim: history tells as whom it was executed');
psql(q{SELECT jobsched.alter_job('quick', owner => 'app')});

my $scheduler;
($run_id) = hold_claim('step-committed', 'quick');
psql(q{SELECT jobsched.alter_job('quick', owner => 'other')});
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
is(outcomes($run_id), 'succeeded attempt 2 effects 1', 'the same, and the scheduler is terminated');
is(psql("SELECT owner FROM jobsched.runs WHERE run_id = $run_id"), 'other', 'as the new owner');
psql(q{SELECT jobsched.alter_job('quick', owner => 'app')});

# Its command becomes one that commits by itself.
($run_id) = hold_claim('step-committed', 'bystander');
psql(q{SELECT jobsched.alter_job('bystander', command => 'CALL app.leave_apart()')});
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
is(outcomes($run_id), 'succeeded attempt 2 effects 1', 'command altered after the claim: the new claim says what it is');
psql('SELECT app.make_jobs()');

# Its job is dropped.
($run_id) = hold_claim('step-committed', 'quick');
psql(q{SELECT jobsched.drop_job('quick')});
release('step-committed');
is(outcomes($run_id), 'succeeded attempt 1 effects 1', 'job dropped after the claim: the run is under way');
psql('SELECT app.make_jobs()');

($run_id) = hold_claim('step-committed', 'quick');
psql(q{SELECT jobsched.drop_job('quick')});
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
is(outcomes($run_id), 'cancelled job_dropped attempt 1 effects 0', 'the same, and the scheduler is terminated: it has not begun');
psql('SELECT app.make_jobs()');

# It is dropped and cancelled; the worker comes as far as the beginning, if that.
($run_id) = hold_claim('step-committed', 'quick');
psql(q{SELECT injection_points_attach('jobsched-run-begins', 'wait'); SELECT jobsched.drop_job('quick', cancel_running => true)});
release('step-committed');
like(outcomes($run_id), qr/^cancelled (cancelled|job_dropped) attempt 1 effects 0$/, 'dropped and cancelled between claim and beginning');
release('run-begins');
psql('SELECT app.make_jobs()');

# Waiting in the middle of a step, the scheduler is told of something else.
($run_id) = hold_claim('step-committed', 'patient');
my $other = psql(q{SELECT jobsched.trigger('bystander')});
release('step-committed');
is(outcomes($other), 'succeeded attempt 1 effects 1', 'what comes while the scheduler waits in a step is seen after it');
psql("SELECT pg_cancel_backend(worker_pid) FROM jobsched.running WHERE run_id = $run_id");
is(outcomes($run_id), 'cancelled backend_cancelled attempt 1 effects 0', 'which another run that takes long need not end for');

# A run has begun; its job is dropped and the run cancelled while the scheduler
# waits in a step, which is then terminated; or while there is none.
sub start_patient
{
	return psql(q{SELECT jobsched.trigger('patient');
		CALL wait_for('count(*) = 1 FROM jobsched.running JOIN pg_stat_activity ON worker_pid = pid WHERE wait_event = ''PgSleep''')}) =~ /(\d+)/;
}

sub check_cancelled_with_job
{
	my ($patient, $name) = @_;
	is(outcomes($patient), 'cancelled job_dropped attempt 1 effects 0', $name);
	psql("SELECT pg_cancel_backend(worker_pid) FROM jobsched.running WHERE run_id = $patient");
	outcomes($patient);
	return psql('SELECT app.make_jobs()');
}

my ($patient) = start_patient();
psql(q{SELECT injection_points_attach('jobsched-step-committed', 'wait')});
($run_id) = psql(q{SELECT jobsched.trigger('quick'); CALL wait_for('count(*) = 1 FROM held');
	SELECT injection_points_detach('jobsched-step-committed'); SELECT jobsched.drop_job('patient', cancel_running => true)}) =~ /(\d+)/;
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
is(outcomes($run_id), 'succeeded attempt 1 effects 1', 'its successor delivers what was claimed');
check_cancelled_with_job($patient, 'and cancels the run of a job dropped meanwhile');

($patient) = start_patient();
my $launcher = launcher_pid($node);
$scheduler = scheduler_pid($node, $db);
kill 'STOP', $launcher;
psql("SELECT pg_terminate_backend($scheduler); CALL wait_for('pid IS NULL FROM jobsched_internal.scheduler()');
	SELECT jobsched.drop_job('patient', cancel_running => true)");
kill 'CONT', $launcher;
wait_new_scheduler($node, $db, $scheduler);
check_cancelled_with_job($patient, 'so does one that starts after the job was dropped');

# A worker dies of one run while another is claimed, and then the scheduler.
wait_quiet();
my ($apart) = hold('run-before-close', 'apart');
my $worker = worker_of($apart);
psql(q{SELECT injection_points_attach('jobsched-step-committed', 'wait')});
($run_id) = psql(q{SELECT jobsched.trigger('quick');
	CALL hold_scheduler('jobsched-step-committed', 'NOT EXISTS (SELECT FROM jobsched_internal.run WHERE status <> ''running'')')}) =~ /(\d+)/;
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($worker); CALL wait_for('NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $worker)')");
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
release('run-before-close');
is(outcomes($apart, $run_id), "lost worker_died attempt 1 effects 1\nsucceeded attempt 1 effects 1", 'worker and then scheduler terminated: what was begun is lost, what was claimed is done');

# ------------------------------------------------------------------------
# Slots
# ------------------------------------------------------------------------

# The scheduler dies when a slot's run is written, and when it is committed.
my $tick = psql(q{SELECT job_id FROM jobsched.jobs WHERE name = 'tick'});
psql(q{SELECT jobsched.alter_job('tick', enabled => true)});
wait_until($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_id = $tick AND status = 'succeeded'", 'slots fire');
for my $point ('step-before-commit', 'step-committed')
{
	my $last = psql("SELECT max(scheduled_for) FROM jobsched.runs WHERE job_id = $tick");
	my $condition =
	  $point eq 'step-before-commit'
	  ? "clock_timestamp() >= ''$last''::timestamptz + interval ''1 s'' AND NOT EXISTS (SELECT FROM jobsched_internal.job_state WHERE job_id = $tick FOR UPDATE SKIP LOCKED)"
	  : "EXISTS (SELECT FROM jobsched_internal.run WHERE job_id = $tick AND scheduled_for > ''$last'')";

	psql("SELECT injection_points_attach('jobsched-$point', 'wait'); CALL hold_scheduler('jobsched-$point', '$condition')");
	$scheduler = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($scheduler)");
	wait_new_scheduler($node, $db, $scheduler);
	wait_until($node, $db, "SELECT count(*) > 1 FROM jobsched.runs WHERE job_id = $tick AND status = 'succeeded' AND scheduled_for > '$last'", 'slots go on');
}
my $before = psql('SELECT clock_timestamp()');
psql("SELECT injection_points_attach('jobsched-step-committed', 'error');
	CALL wait_for('last_error_at > ''$before'' FROM jobsched_internal.scheduler()');
	SELECT injection_points_detach('jobsched-step-committed')");
$before = psql('SELECT clock_timestamp()');
wait_until($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_id = $tick AND status = 'succeeded' AND started_at > '$before'", 'slots go on');
psql(q{SELECT jobsched.alter_job('tick', enabled => false)});
wait_quiet();
check_slots($node, $db, 'tick', 1, 'whenever a scheduler ended, each slot fired once');
is(psql("SELECT state FROM jobsched.jobs WHERE job_id = $tick"), 'disabled', 'and no job is blamed for it');

# ------------------------------------------------------------------------
# A crash of the server, or its immediate shutdown
# ------------------------------------------------------------------------

for my $point ('run-begins', 'run-before-close', 'run-recorded', 'run-committed')
{
	my @jobs = ('quick', 'apart', $point eq 'run-committed' ? 'create database' : ());
	my @runs = hold($point, @jobs);
	if ($point eq 'run-recorded')
	{
		$node->stop('immediate');
		$node->start;
		wait_scheduler($node, $db);
	}
	else
	{
		crash(worker_of($runs[0]) || psql('SELECT min(pid) FROM held'));
	}
	is(outcomes(@runs),
		$point eq 'run-committed' ? "succeeded attempt 1 effects 1\nsucceeded attempt 1 effects 1\nlost server_restarted attempt 1 effects 0"
		: "succeeded attempt 2 effects 1\nlost server_restarted attempt 1 effects " . ($point eq 'run-begins' ? 0 : 1),
		"the server ends when runs are at $point");
}
my @runs = hold('run-failed', 'failing', 'failing apart');
crash(worker_of($runs[0]));
is(outcomes(@runs), "failed error attempt 2 effects 0\nlost server_restarted attempt 1 effects 1", 'the server ends when runs have failed');

($first, $last) = hold_batch();
crash(psql('SELECT min(pid) FROM held'));
check_batch($first, $last, 'the server ends before the commit of a batch: it is done once');

@runs = hold_claim('step-before-commit', 'quick', 'apart');
crash(scheduler_pid($node, $db));
is(outcomes(@runs), "succeeded attempt 1 effects 1\nsucceeded attempt 1 effects 1", 'the server ends before the commit of claims');

# Of a run that may have begun nobody knows better than that.
@runs = hold_claim('step-committed', 'quick', 'apart');
crash(scheduler_pid($node, $db));
is(outcomes(@runs), "succeeded attempt 2 effects 1\nlost server_restarted attempt 1 effects 0", 'the server ends after the commit of claims');

# ------------------------------------------------------------------------
# After all that
# ------------------------------------------------------------------------

wait_quiet();
is((run_job($node, $db, 'quick'))[1], 'succeeded', 'runs go on');
check_exactly_once($node, $db, 'effects of what is one transaction are the succeeded runs, each once',
	q{'quick', 'failing', 'shared', 'patient', 'bystander', 'tick'});
is(psql(q{SELECT count(*) FROM (SELECT run_id FROM app.effect GROUP BY 1 HAVING count(*) > 1) d}), '0', 'no run has been done twice');
is(psql(q{SELECT count(*) FROM (SELECT run_id FROM jobsched_internal.history GROUP BY 1 HAVING count(*) > 1) d}), '0', 'no run is in history twice');
is(psql(q{SELECT count(*) FROM jobsched_internal.run}), '0', 'nothing is left in the queue');
is(psql(q{SELECT string_agg(state, ' ') FROM jobsched.workers WHERE state <> 'idle'}), '', 'no worker is left with anything');

check_log($node, killed => 1, allow => qr/error triggered for injection point|unexpected postmaster exit|terminating connection/);
$node->stop;
done_testing();
