# Copyright (c) 2026, jobsched contributors

# Keys of runs: whatever comes in between, a crash, a claim, twenty sessions at
# once, a key stands for one run at a time, and a run that another replaces
# either had been claimed before or never starts.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('idempotency', conf => q{
max_prepared_transactions = 5
restart_after_crash = on
timezone = 'UTC'
});
create_extension($node, $db);
effects_schema($node, $db);
define_clock($node, $db);

$node->safe_psql($db, q{
	CREATE TABLE gate (id int);
	INSERT INTO gate VALUES (1);
	GRANT ALL ON gate TO app;
	SET ROLE app;
	CREATE TABLE app.said (run_id bigint, n int);
	CREATE FUNCTION app.say(args jsonb) RETURNS void LANGUAGE sql AS $$
		SELECT app.leave(args);
		INSERT INTO app.said VALUES (jobsched.run_id(), (args ->> 'n')::int)
	$$;
	CREATE FUNCTION app.hold(args jsonb) RETURNS void LANGUAGE sql AS
		'SELECT app.say(args); SELECT id FROM public.gate FOR UPDATE';
	SELECT jobsched.create_job('say', handler => 'app.say');
	SELECT jobsched.create_job('shared', handler => 'app.say', share_transaction => true);
	SELECT jobsched.create_job('burst', handler => 'app.say');
	SELECT jobsched.create_job('hold', handler => 'app.hold');
	CREATE FUNCTION app.fail_first(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.say(args);
		IF args ->> 'n' = '1' THEN
			RAISE EXCEPTION USING errcode = '40001', message = 'once more';
		END IF;
	END $$;
	SELECT jobsched.create_job('fails first', handler => 'app.fail_first', retry_delays => ARRAY['1 h'::interval]);
	SELECT jobsched.create_job('paused', handler => 'app.say');
	SELECT jobsched.pause_job('paused');
});

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

sub trigger
{
	my ($job, $n, $more) = @_;
	return psql("SET ROLE app; SELECT jobsched.trigger('$job', '{\"n\": $n}', $more)");
}

# status|reason|effects of a run that has ended
sub ended
{
	my ($run_id) = @_;
	psql("CALL jobsched.wait_run($run_id, '$PostgreSQL::Test::Utils::timeout_default s')");
	return psql("SELECT status, reason, (SELECT count(*) FROM app.effect e WHERE e.run_id = r.run_id) FROM jobsched.runs r WHERE run_id = $run_id");
}

sub check_no_requests
{
	my ($name) = @_;
	return wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.run_stop', '0', "$name: no stop is left");
}

# A session of its own that executes a statement; what it says.
sub start_session
{
	my ($call) = @_;
	my $session = { out => '', err => '' };

	$session->{handle} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr($db), '-U', 'app', '-c', $call ],
		'>', \$session->{out}, '2>', \$session->{err});
	return $session;
}

sub result_of
{
	my ($session) = @_;

	$session->{handle}->finish;
	chomp(my $all = $session->{out} . $session->{err});
	return $all;
}

# ------------------------------------------------------------------------
# A run that is executed
# ------------------------------------------------------------------------

my $gate = $node->background_psql($db);
$gate->query_safe('BEGIN; SELECT id FROM gate FOR UPDATE');
my $first = trigger('hold', 1, q{idempotency_key => 'k', on_conflict => 'replace'});
wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running WHERE run_id = $first)", 'it runs');
is(trigger('hold', 2, q{idempotency_key => 'k'}), $first, 'a run that is executed is returned');
is(trigger('hold', 2, q{idempotency_key => 'k', on_conflict => 'throttle'}), $first, 'for throttle too');
my $second = trigger('hold', 2, q{idempotency_key => 'k', on_conflict => 'replace'});
isnt($second, $first, 'replace makes another');
wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running WHERE run_id = $second)", 'which runs beside it');
my $third = trigger('hold', 3, q{idempotency_key => 'k', on_conflict => 'debounce', idempotency_period => '1 us'});
isnt($third, $second, 'so does debounce');
$gate->quit;
is(ended($_), 'succeeded||1', "run $_ succeeds") for ($first, $second, $third);
check_no_requests('runs that are executed');

# one that waits for its next attempt
$first = trigger('fails first', 1, q{idempotency_key => 'k', on_conflict => 'replace'});
wait_run_state($node, $db, $first, 'retrying');
is(trigger('fails first', 2, q{idempotency_key => 'k'}), $first, 'a run that is to be tried again is returned');
$second = trigger('fails first', 2, q{idempotency_key => 'k', on_conflict => 'replace'});
is(ended($first), 'cancelled|replaced|0', 'and can be replaced');
is(ended($second), 'succeeded||1', 'by another');
psql(q{SET ROLE app;
	DO $$
	BEGIN
		FOR i IN 1 .. 100 LOOP
			PERFORM jobsched.trigger('fails first', jsonb_build_object('n', 1), idempotency_key => 'r', on_conflict => 'replace');
			COMMIT;
			PERFORM pg_sleep(random() * 0.01);
		END LOOP;
		PERFORM jobsched.trigger('fails first', jsonb_build_object('n', 2), idempotency_key => 'r', on_conflict => 'replace');
	END $$});
wait_value($node, $db, q{SELECT status, count(*) FROM jobsched.runs WHERE job_name = 'fails first' AND run_id > } . $second . q{ AND status IN ('running', 'queued', 'succeeded') GROUP BY 1}, 'succeeded|1', 'the last of many succeeds');
psql(q{SELECT jobsched.drop_job('fails first')});
wait_drained($node, $db);
check_no_requests('runs that are tried again');

# ------------------------------------------------------------------------
# Bursts
# ------------------------------------------------------------------------

# The quiet time has not passed before the last call, by this clock.
set_clock($node, $db, '2031-03-01 12:00:00');
for my $n (1 .. 10)
{
	set_clock($node, $db, sprintf('2031-03-01 12:00:%02d', $n * 4));
	trigger('burst', $n, q{idempotency_key => 'quiet', on_conflict => 'debounce', idempotency_period => '5 s'});
}
check_no_requests('a burst');
is(psql(q{SELECT status, reason, count(*) FROM jobsched.runs WHERE job_name = 'burst' GROUP BY 1, 2 ORDER BY 1}),
	"cancelled|debounced|9\nqueued|not_due|1", 'one of a burst of calls is left');
set_clock($node, $db, '2031-03-01 12:00:44.999');
wait_caught_up($node, $db);
is(psql('SELECT count(*) FROM app.said s JOIN jobsched.runs r USING (run_id) WHERE job_name = $$burst$$'), '0', 'it does not run before the quiet time is over');
set_clock($node, $db, '2031-03-01 12:00:45');
wait_caught_up($node, $db);
is(psql('SELECT n FROM app.said s JOIN jobsched.runs r USING (run_id) WHERE job_name = $$burst$$'), '10', 'then it does, with the last arguments');
my $late = trigger('burst', 11, q{idempotency_key => 'quiet', on_conflict => 'debounce', idempotency_period => '5 s'});
set_clock($node, $db, '2031-03-01 12:00:50');
is(ended($late), 'succeeded||1', 'a call after that has a run of its own');
wait_value($node, $db, q{SELECT recent FROM jobsched.jobs WHERE name = 'burst'}, '..', 'what was debounced says nothing of the job');
my $scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
wait_value($node, $db, q{SELECT recent FROM jobsched.jobs WHERE name = 'burst'}, '..', 'nor for a successor of the scheduler');

# ------------------------------------------------------------------------
# Periods
# ------------------------------------------------------------------------

set_clock($node, $db, '2031-03-02 00:00:00');
$first = trigger('say', 1, q{idempotency_key => 'daily'});
is(ended($first), 'succeeded||1', 'a run with a key');
set_clock($node, $db, '2031-03-02 23:59:59.999');
is(trigger('say', 2, q{idempotency_key => 'daily', idempotency_period => '1 h'}), $first, 'keeps it for its period');
set_clock($node, $db, '2031-03-03 00:00:00');
$second = trigger('say', 2, q{idempotency_key => 'daily'});
is(ended($second), 'succeeded||1', 'and no longer');
is(trigger('say', 3, q{idempotency_key => 'daily'}), $second, 'the next one keeps it then');
$first = trigger('paused', 1, q{idempotency_key => 'hourly', on_conflict => 'throttle', idempotency_period => '1 h'});
set_clock($node, $db, '2031-03-03 00:59:59');
is(trigger('paused', 2, q{idempotency_key => 'hourly', on_conflict => 'throttle', idempotency_period => '1 h'}), $first, 'throttle: one run in its period');
set_clock($node, $db, '2031-03-03 01:00:00');
$second = trigger('paused', 2, q{idempotency_key => 'hourly', on_conflict => 'throttle', idempotency_period => '1 h'});
isnt($second, $first, 'and the next one after it');
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id IN ($first, $second) AND status = 'queued'"), '2', 'both are live');

# ------------------------------------------------------------------------
# Expiry
# ------------------------------------------------------------------------

psql('DELETE FROM jobsched_internal.idempotency');
psql(q{SET ROLE app;
	SELECT count(jobsched.trigger('say', idempotency_key => 'old ' || i, idempotency_period => '1 h')) FROM generate_series(1, 900) i;
	SELECT count(jobsched.trigger('paused', idempotency_key => 'live ' || i, idempotency_period => '1 h')) FROM generate_series(1, 600) i;
	SELECT jobsched.trigger('say', idempotency_key => 'young')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.run r JOIN jobsched.jobs USING (job_id) WHERE name = 'say'}, '0', 'the runs have ended');
set_clock($node, $db, '2031-03-03 03:00:00');
my $holder = $node->background_psql($db);
$holder->query_safe(q{BEGIN; SELECT FROM jobsched_internal.idempotency WHERE key = 'old 7' FOR UPDATE});
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
wait_value($node, $db, q{SELECT string_agg(k || ' ' || n, ', ' ORDER BY k) FROM (
		SELECT split_part(key, ' ', 1) AS k, count(*) AS n FROM jobsched_internal.idempotency GROUP BY 1) x},
	'live 600, old 1, young 1', 'keys that have expired go, but for those of runs that are live, or in use');
is(run_and_return(q{idempotency_key => 'old 8'}), 'succeeded', 'a key that has gone can be used');
$holder->query_safe('COMMIT');
$holder->quit;
$second = trigger('say', 2, q{idempotency_key => 'old 7'});
is(ended($second), 'succeeded||1', 'and one that has expired and not gone');
is(psql(q{SELECT count(*), max(run_id) FROM jobsched_internal.idempotency WHERE key = 'old 7'}), "1|$second", 'it is kept by that run');
psql(q{SELECT jobsched.cancel_runs('paused')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.run}, '0', 'the others end');
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.idempotency WHERE key LIKE 'live %'}, '0', 'and their keys go');
set_clock($node, $db, undef);

sub run_and_return
{
	my ($more) = @_;
	my $run_id = trigger('say', 1, $more);
	return (split /\|/, ended($run_id))[0];
}

# Sessions use keys while the scheduler deletes them: nobody stumbles.
my $user = start_session(q{
	DO $$
	BEGIN
		FOR i IN 1 .. 3000 LOOP
			PERFORM jobsched.trigger('shared', '{"n": 1}', idempotency_key => 'short ' || i % 7, idempotency_period => '1 us',
				on_conflict => (ARRAY['return_existing', 'throttle', 'replace'])[1 + i % 3]);
			COMMIT;
		END LOOP;
	END $$});
for (1 .. 5)
{
	$scheduler = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($scheduler)");
	wait_new_scheduler($node, $db, $scheduler);
}
is(result_of($user), '', 'a session uses keys while they expire');
wait_drained($node, $db);
check_exactly_once($node, $db, 'runs with keys that expire at once are done once', q{'shared'});
check_no_requests('keys that expire at once');

# ------------------------------------------------------------------------
# Claims
# ------------------------------------------------------------------------

# Calls come while the run of the call before is being claimed, or has been.
for my $conflict ('replace', 'debounce')
{
	psql(qq{
		TRUNCATE app.said;
		SET ROLE app;
		DO \$\$
		BEGIN
			FOR i IN 1 .. 400 LOOP
				PERFORM jobsched.trigger('burst', jsonb_build_object('n', i), idempotency_key => '$conflict',
					on_conflict => '$conflict', idempotency_period => '2 ms');
				COMMIT;
				PERFORM pg_sleep(random() * 0.004);
			END LOOP;
		END \$\$});
	wait_drained($node, $db);
	is(psql('SELECT max(n) FROM app.said'), '400', "$conflict: the last call's run is done");
	is(psql('SELECT count(*) = count(DISTINCT n) AND count(*) > 1 FROM app.said'), 't', 'some before it are too, once');
	is(psql(qq{SELECT count(*) FROM jobsched.runs r LEFT JOIN app.said s USING (run_id) WHERE job_name = 'burst' AND queued_at < '2031-01-01'
			AND (status, coalesce(reason, ''), s.n IS NOT NULL) NOT IN (('succeeded', '', true), ('cancelled', 'replaced', false), ('cancelled', 'debounced', false))
			AND r.run_id > (SELECT min(run_id) FROM app.said)}), '0', 'the others are cancelled, without effect');
	check_no_requests("$conflict while runs are claimed");
}

# ------------------------------------------------------------------------
# Many sessions
# ------------------------------------------------------------------------

# What each of 20 sessions gets that call at once.
sub at_once
{
	my ($call) = @_;
	return map { result_of($_) } map { start_session($call) } (1 .. 20);
}

my %ids = map { $_ => 1 } at_once(q{SELECT jobsched.trigger('say', idempotency_key => 'twenty')});
is(scalar(keys %ids), 1, '20 sessions with one key get the same run');
is(ended((keys %ids)[0]), 'succeeded||1', 'which is done once');
is(psql(q{SELECT count(*) FROM jobsched_internal.idempotency WHERE key = 'twenty'}), '1', 'and keeps the key');
%ids = map { $_ => 1 } at_once(q{SELECT jobsched.trigger('paused', idempotency_key => 'twenty', on_conflict => 'replace')});
is(scalar(keys %ids), 20, '20 sessions that replace have a run each');
check_no_requests('20 sessions');
is(psql(q{SELECT status, reason, count(*) FROM jobsched.runs WHERE run_id IN (} . join(',', keys %ids) . q{) GROUP BY 1, 2 ORDER BY 1}),
	"cancelled|replaced|19\nqueued|job_paused|1", 'one is left of them');
psql(q{SELECT jobsched.cancel_runs('paused')});
wait_drained($node, $db);

# ------------------------------------------------------------------------
# Prepared transactions
# ------------------------------------------------------------------------

$first = psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger('say', idempotency_key => 'prepared'); PREPARE TRANSACTION 'keys'});
like(error_of($node, $db, q{SET lock_timeout = '50 ms'; SELECT jobsched.trigger('say', idempotency_key => 'prepared')}),
	qr/55P03/, 'a key of a prepared transaction is waited for');
psql(q{COMMIT PREPARED 'keys'});
is(trigger('say', 1, q{idempotency_key => 'prepared'}), $first, 'until that is committed');
is(ended($first), 'succeeded||1', 'its run is done');
psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger('say', idempotency_key => 'unprepared'); PREPARE TRANSACTION 'keys'});
psql(q{ROLLBACK PREPARED 'keys'});
is(run_and_return(q{idempotency_key => 'unprepared'}), 'succeeded', 'or rolled back');

# ------------------------------------------------------------------------
# A crash in between
# ------------------------------------------------------------------------

# Somebody holds the row of the run that is to go, so it cannot be ended.  The
# scheduler's time stands still until it is held, and replaced by another.
my $t0 = psql(q{SELECT now() - interval '1 hour'});

sub trigger_and_hold
{
	my ($key) = @_;
	my $session = $node->background_psql($db);

	set_clock($node, $db, $t0);
	my $run_id = trigger('say', 1, "run_at => timestamptz '$t0' + interval '1 s', idempotency_key => '$key'");
	$session->query_safe("BEGIN; SELECT run_id FROM jobsched_internal.run WHERE run_id = $run_id FOR UPDATE");
	return ($run_id, $session);
}

($first, $holder) = trigger_and_hold('crash');
$second = trigger('say', 2, q{idempotency_key => 'crash', on_conflict => 'replace'});
is(ended($second), 'succeeded||1', 'the run that replaces is done');
set_clock($node, $db, undef);
is((run_job($node, $db, 'burst'))[1], 'succeeded', 'the time of the other has come');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $first"), 'queued', 'it waits for its end');
kill_and_start($node);
wait_scheduler($node, $db);
is(ended($first), 'cancelled|replaced|0', 'after a crash it ends without having begun');
is(trigger('say', 3, q{idempotency_key => 'crash'}), $second, 'the key is kept by the run that replaced it');
check_no_requests('a crash');
eval { $holder->quit };

# The same with a scheduler that ends, and no crash.
($first, $holder) = trigger_and_hold('end');
$second = trigger('say', 2, q{idempotency_key => 'end', on_conflict => 'replace'});
is(ended($second), 'succeeded||1', 'the run that replaces is done');
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
psql(q{SELECT jobsched.alter_job('say', description => 'changed')});
set_clock($node, $db, undef);
is((run_job($node, $db, 'burst'))[1], 'succeeded', 'the time of the other has come');
$holder->query_safe('COMMIT');
is(ended($first), 'cancelled|replaced|0', 'a successor holds back what is replaced');
$holder->quit;
check_no_requests('a successor');

check_exactly_once($node, $db, 'every run is done once or not at all');
check_log($node, killed => 1);
$node->stop;
done_testing();
