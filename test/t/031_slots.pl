# Copyright (c) 2026, jobsched contributors

# What becomes of slots: those that meet a live run, those that were missed,
# those outside of the schedule's bounds.  Each policy by a mocked clock; each
# also with the scheduler terminated and the server killed at its weakest
# moment; and the pairs that could get in each other's way.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('slots', conf => q{
jobsched.max_workers = 8
jobsched.cancel_grace = '60 s'
jobsched.history_retention = '7300d'
jobsched.failure_retention = '7300d'
jobsched.timezone = 'UTC'
timezone = 'UTC'
restart_after_crash = on
max_prepared_transactions = 2
});
create_extension($node, $db);
define_clock($node, $db);
effects_schema($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

# Runs of jobs with such a handler wait until their job's gate is open; "work"
# fails if another one of its job is being executed.
psql(q{
	CREATE TABLE app.gate (job text PRIMARY KEY);
	CREATE TABLE app.began (n serial, job text, slot timestamptz);
	GRANT ALL ON app.gate, app.began, app.began_n_seq TO app;
	CREATE FUNCTION app.pass() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.began (job, slot) VALUES (jobsched.job_name(), jobsched.scheduled_for());
		PERFORM app.leave('{}');
		WHILE EXISTS (SELECT FROM app.gate WHERE job = jobsched.job_name()) LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$;
	CREATE FUNCTION app.work(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF NOT pg_try_advisory_xact_lock(42, hashtext(jobsched.job_name())) THEN
			RAISE EXCEPTION 'this run is not alone';
		END IF;
		PERFORM app.pass();
	END $$;
	CREATE FUNCTION app.beside(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT app.pass()';
	CREATE FUNCTION app.stubborn(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF NOT pg_try_advisory_xact_lock(42, hashtext(jobsched.job_name())) THEN
			RAISE EXCEPTION 'this run is not alone';
		END IF;
		LOOP
			BEGIN
				PERFORM app.pass();
				EXIT;
			EXCEPTION WHEN query_canceled THEN
				NULL;
			END;
		END LOOP;
	END $$});

sub create
{
	my ($job, $handler, $more, $schedule) = @_;
	$schedule ||= '* * * * *';
	return psql("SET ROLE app; SELECT jobsched.create_job('$job', '$schedule', handler => 'app.$handler'" . ($more ? ", $more)" : ')'));
}

sub close_gate_of { my ($job) = @_; return psql("INSERT INTO app.gate VALUES ('$job') ON CONFLICT DO NOTHING"); }
sub open_gate_of  { my ($job) = @_; return psql("DELETE FROM app.gate WHERE job = '$job'"); }

# The runs of a job by slot: the time of the slot, or how a run that has none
# was asked for; the status, the reason if it has ended otherwise than well;
# the number of other slots that it stands for.
my $runs = q{SELECT string_agg(COALESCE(to_char(scheduled_for, 'HH24:MI'), source) || ' '
		|| CASE WHEN status IN ('succeeded', 'running') THEN status ELSE status || ' ' || COALESCE(reason, '-') END
		|| CASE missed_count WHEN 0 THEN '' ELSE ' +' || missed_count END, ', ' ORDER BY scheduled_for, run_id)
	FROM jobsched.runs WHERE job_id = (SELECT job_id FROM jobsched.jobs WHERE name = '%s')};

sub runs
{
	my ($job) = @_;
	return psql(sprintf($runs, $job));
}

sub wait_runs
{
	my ($job, $expected, $name) = @_;
	return wait_value($node, $db, sprintf($runs, $job), $expected, $name);
}

sub job
{
	my ($job, $columns) = @_;
	return psql("SELECT $columns FROM jobsched.jobs WHERE name = '$job'");
}

sub at { my ($when) = @_; return set_clock($node, $db, "2027-03-01 $when"); }

# Until the scheduler has seen to every slot that is due.
sub seen
{
	return wait_until($node, $db, q{SELECT NOT EXISTS (SELECT FROM jobsched.jobs WHERE next_run_at <= jobsched_internal.clock_now())},
		'every slot that is due has been seen to');
}

sub new_scheduler
{
	my $old = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($old)");
	return wait_new_scheduler($node, $db, $old);
}

# The mocked clock is gone with the server's memory: until it is set again the
# clock has been set back, to the real time.
# The scheduler does not wait for its commits to be durable, so what the test has
# seen could be lost; unless that is what it is about ("at once").
sub crash
{
	my ($when, $at_once) = @_;
	psql('SELECT pg_switch_wal()') unless $at_once;
	kill_and_start($node);
	wait_scheduler($node, $db);
	return at($when);
}

sub drop_all
{
	psql('DELETE FROM app.gate');
	psql('SELECT jobsched.drop_job(name, cancel_running => true) FROM jobsched.jobs');
	wait_drained($node, $db);
	return;
}

sub check_alone
{
	my ($name) = @_;
	return is(psql(q{SELECT count(*) FROM jobsched.runs WHERE error ~ 'not alone'}), '0', $name);
}

# ------------------------------------------------------------------------
# Overlap: skip, allow
# ------------------------------------------------------------------------

at('09:59:30');
create('skip', 'work');
create('allow', 'beside', q{overlap => 'allow', max_concurrency => 2});
create('free', 'beside', q{overlap => 'allow'});
close_gate_of($_) for ('skip', 'allow', 'free');
for my $minute (0 .. 3)
{
	at("10:0$minute:00");
	seen();
}
wait_runs('skip', '10:00 running', 'skip: one run');
wait_runs('allow', '10:00 running, 10:01 running', 'allow: as many as max_concurrency');
wait_runs('free', '10:00 running, 10:01 running, 10:02 running, 10:03 running', 'allow: any number');
open_gate_of($_) for ('skip', 'allow', 'free');
wait_runs('skip', '10:00 succeeded, 10:03 skipped overlap +3', 'skip: one row for what was skipped');
wait_runs('allow', '10:00 succeeded, 10:01 succeeded, 10:03 skipped overlap +2', 'allow: the same');
at('10:04:00');
wait_caught_up($node, $db);
is(runs('allow'), '10:00 succeeded, 10:01 succeeded, 10:03 skipped overlap +2, 10:04 succeeded', 'and it goes on');
drop_all();

# ------------------------------------------------------------------------
# Overlap: queue
# ------------------------------------------------------------------------

at('10:59:30');
create('queue', 'work', q{overlap => 'queue', queue_limit => 2});
create('behind', 'beside', q{overlap => 'queue'});
close_gate_of($_) for ('queue', 'behind');
for my $minute (0 .. 4)
{
	at("11:0$minute:00");
	seen();
}
my $queued = '11:00 running, 11:01 queued waiting_for_run, 11:02 queued waiting_for_run';
wait_runs('queue', $queued, 'queue: one is executed, queue_limit wait');
new_scheduler();
wait_runs('queue', $queued, 'also with another scheduler');
at('11:05:00');
seen();
crash('11:05:10');
wait_until($node, $db, q{SELECT attempt = 2 FROM jobsched.runs WHERE job_name = 'queue' AND status = 'running'}, 'the run that was cut off goes on');
is(psql(q{SELECT string_agg(to_char(scheduled_for, 'HH24:MI') || ' ' || status, ', ' ORDER BY run_id) FROM jobsched.runs WHERE job_name = 'queue'}),
	'11:00 running, 11:01 queued, 11:02 queued', 'and first, after the server was killed');
open_gate_of('queue');
wait_runs('queue', '11:00 succeeded, 11:01 succeeded, 11:02 succeeded, 11:05 skipped queue_full +3', 'they are executed; what was too much is one row');
is(psql(q{SELECT string_agg(to_char(slot, 'HH24:MI'), ', ' ORDER BY n) FROM app.began WHERE job = 'queue'}), '11:00, 11:01, 11:02', 'one after the other, oldest first');

# Runs that were triggered are waited for, and do not wait.
open_gate_of('behind');
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'all is done');
close_gate_of('behind');
psql(q{SELECT jobsched.trigger('behind'), jobsched.trigger('behind')});
wait_until($node, $db, q{SELECT count(*) = 2 FROM jobsched.runs WHERE status = 'running'}, 'triggered runs are beside each other');
at('11:06:00');
wait_value($node, $db, q{SELECT string_agg(source || ' ' || status, ', ' ORDER BY run_id) FROM jobsched.runs WHERE run_id IN (SELECT run_id FROM jobsched_internal.run)},
	'trigger running, trigger running, schedule queued', q{a slot's run is behind them});
# Nor does a pause mix up who is first.
psql(q{SELECT jobsched.pause_job('behind')});
psql(q{SELECT jobsched.resume_job('behind')});
open_gate_of('behind');
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'all is done');
is(psql(q{SELECT source FROM app.began b JOIN jobsched.runs r ON r.job_name = b.job AND r.scheduled_for = b.slot WHERE b.job = 'behind' AND to_char(slot, 'HH24:MI') = '11:06'}), 'schedule', 'and has its turn');
check_alone('no run of a slot has been beside another');
drop_all();

# A job that no longer queues: what waits starts.
at('11:09:30');
create('queue', 'beside', q{overlap => 'queue', queue_limit => 5});
close_gate_of('queue');
for my $minute (10 .. 12)
{
	at("11:$minute:00");
	seen();
}
wait_runs('queue', '11:10 running, 11:11 queued waiting_for_run, 11:12 queued waiting_for_run', 'queue again');
psql(q{SELECT jobsched.alter_job('queue', overlap => 'allow')});
wait_runs('queue', '11:10 running, 11:11 running, 11:12 running', 'allow: what waited starts');
drop_all();

# ------------------------------------------------------------------------
# Overlap: replace
# ------------------------------------------------------------------------

at('11:59:30');
create('replace', 'work', q{overlap => 'replace'});
close_gate_of('replace');
at('12:00:00');
wait_runs('replace', '12:00 running', 'replace: a run');
at('12:01:00');
wait_runs('replace', '12:00 cancelled replaced, 12:01 running', 'the next slot replaces it');
psql(q{SELECT jobsched.alter_job('replace', handler => 'app.beside')});
my $later = psql(q{SELECT jobsched.trigger('replace', run_at => '2027-03-01 13:00')});
my $triggered = psql(q{SELECT jobsched.trigger('replace')});
wait_run_state($node, $db, $triggered, 'running');
at('12:02:00');
wait_runs('replace', '12:00 cancelled replaced, 12:01 cancelled replaced, 12:02 running, trigger queued not_due, trigger cancelled replaced',
	'also runs that were triggered, unless they are not due');
is(psql("SELECT jobsched.cancel_run($later)"), 't', 'what is not due is still there');
drop_all();

# However many there are.
at('12:04:30');
create('crowd', 'beside', q{overlap => 'replace'});
close_gate_of('crowd');
psql(q{SELECT count(*) FROM jobsched.trigger_many('crowd', array_fill(NULL::jsonb, ARRAY[700]))});
wait_until($node, $db, q{SELECT count(*) > 0 FROM jobsched.running}, 'some are executed');
at('12:05:00');
wait_value($node, $db, q{SELECT string_agg(source || ' ' || status || ' ' || COALESCE(reason, '-') || ' ' || n, ', ' ORDER BY source)
	FROM (SELECT source, status, reason, count(*) AS n FROM jobsched.runs WHERE job_name = 'crowd' GROUP BY 1, 2, 3) s},
	'schedule running - 1, trigger cancelled replaced 700', 'all that are live are replaced');
drop_all();

# The old run refuses to be cancelled: the new one waits, and is replaced.
at('12:09:30');
create('stubborn', 'stubborn', q{overlap => 'replace'});
close_gate_of('stubborn');
at('12:10:00');
wait_runs('stubborn', '12:10 running', 'a run that does not stop');
at('12:11:00');
wait_runs('stubborn', '12:10 running, 12:11 queued waiting_for_run', 'the new one waits');
at('12:12:00');
wait_runs('stubborn', '12:10 running, 12:11 cancelled replaced, 12:12 queued waiting_for_run', 'and is replaced at once, as it has not begun');
new_scheduler();
at('12:13:00');
wait_runs('stubborn', '12:10 running, 12:11 cancelled replaced, 12:12 cancelled replaced, 12:13 queued waiting_for_run', 'also by another scheduler');
is(psql('SELECT kind FROM jobsched_internal.run_stop'), 'overlap', 'there is one stop');
psql(q{BEGIN; INSERT INTO jobsched_internal.run_stop SELECT -stop_id, kind, run_id, attempt, force FROM jobsched_internal.run_stop; ROLLBACK});
crash('12:13:10');
wait_runs('stubborn', '12:10 cancelled replaced, 12:11 cancelled replaced, 12:12 cancelled replaced, 12:13 running',
	'what was replaced does not come back when the server was killed');
is(psql('SELECT count(*) FROM jobsched_internal.run_stop'), '0', 'no stop is left');
$node->append_conf('postgresql.conf', "jobsched.cancel_grace = '200 ms'");
$node->reload;
at('12:14:00');
wait_runs('stubborn', '12:10 cancelled replaced, 12:11 cancelled replaced, 12:12 cancelled replaced, 12:13 cancelled replaced, 12:14 running',
	'after the grace its worker is terminated, and the new one begins');
open_gate_of('stubborn');
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'all is done');
check_alone('no run has been beside the one that it replaces');
check_exactly_once($node, $db, 'what was replaced has left no effect');
drop_all();

# Killed right after the slot: whatever of the commit is lost, one run is live.
at('12:19:30');
create('killed', 'work', q{overlap => 'replace'});
close_gate_of('killed');
at('12:20:00');
wait_runs('killed', '12:20 running', 'a run');
psql('CHECKPOINT');
at('12:21:00');
wait_until($node, $db, q{SELECT count(*) > 1 FROM jobsched.runs WHERE job_name = 'killed'}, 'the slot has been seen to');
crash('12:21:02', 'at once');
wait_runs('killed', '12:20 cancelled replaced, 12:21 running', 'killed while it replaces a run');
drop_all();

# ------------------------------------------------------------------------
# Misfire
# ------------------------------------------------------------------------

# All three, paused or disabled, for the same time.
sub misfire_jobs
{
	my ($names) = @_;

	for my $policy ('once', 'skip', 'all')
	{
		create("$_ $policy", 'work', "misfire => '$policy'", '*/5 * * * *') for @$names;
	}
	return;
}

at('14:00:30');
misfire_jobs([ 'paused', 'off' ]);
at('14:05:00');
wait_caught_up($node, $db);
psql(q{SELECT jobsched.pause_job(name) FROM jobsched.jobs WHERE name LIKE 'paused%'});
psql(q{SELECT jobsched.alter_job(name, enabled => false) FROM jobsched.jobs WHERE name LIKE 'off%'});
at('14:12:00');
new_scheduler();
at('14:31:00');
psql(q{SELECT jobsched.resume_job(name) FROM jobsched.jobs WHERE name LIKE 'paused%'});
psql(q{SELECT jobsched.alter_job(name, enabled => true) FROM jobsched.jobs WHERE name LIKE 'off%'});
wait_runs("$_ once", '14:05 succeeded, 14:30 succeeded +4', "$_, once: one run for the newest") for ('paused', 'off');
wait_runs("$_ skip", '14:05 succeeded, 14:30 missed misfire +5', "$_, skip: one row that counts them") for ('paused', 'off');
wait_runs("$_ all", join(', ', map { "14:$_ succeeded" } '05', 10, 15, 20, 25, 30), "$_, all: each has its run") for ('paused', 'off');
is(psql(q{SELECT string_agg(to_char(slot, 'HH24:MI'), ', ' ORDER BY n) FROM app.began WHERE job = 'paused all'}), '14:05, 14:10, 14:15, 14:20, 14:25, 14:30', 'oldest first');
is(job('paused skip', q{last_status || ' ' || recent}), 'missed .M', 'the job shows it');

# What is within the grace was not missed.
psql(q{SELECT jobsched.pause_job(name) FROM jobsched.jobs WHERE name LIKE 'paused%'});
at('14:40:03');
psql(q{SELECT jobsched.resume_job(name) FROM jobsched.jobs WHERE name LIKE 'paused%'});
wait_caught_up($node, $db);
like(runs('paused skip'), qr/14:35 missed misfire \+1, 14:40 succeeded$/, 'skip: what is within the grace has its run');
like(runs('paused once'), qr/14:40 succeeded \+1$/, 'once: it makes up for those before');
like(runs('paused all'), qr/14:35 succeeded, 14:40 succeeded$/, 'all: each has its run');
psql(q{SELECT jobsched.alter_job('paused skip', misfire_grace => '10 min')});
psql(q{SELECT jobsched.pause_job('paused skip')});
at('14:54:00');
psql(q{SELECT jobsched.resume_job('paused skip')});
# A skip is a row once the run is done that it overlapped with.
wait_value($node, $db, 'SELECT (' . sprintf($runs, 'paused skip') . q{) ~ '14:40 succeeded, 14:45 succeeded, (14:50 succeeded|14:50 skipped overlap \+1)$'},
	't', 'a longer grace');
drop_all();

# The clock goes forward, and back again.
at('15:00:30');
misfire_jobs(['step']);
at('15:05:00');
wait_caught_up($node, $db);
at('16:02:00');
wait_caught_up($node, $db);
is(runs('step once'), '15:05 succeeded, 16:00 succeeded +10', 'forward, once');
is(runs('step skip'), '15:05 succeeded, 16:00 missed misfire +11', 'forward, skip');
is(runs('step all'), join(', ', map { sprintf '%d:%02d succeeded', 15 + $_ / 60, $_ % 60 } map { $_ * 5 } 1 .. 12), 'forward, all');
at('15:06:00');
seen();
new_scheduler();
for my $minute (10, 15, 20)
{
	at("15:$minute:00");
	wait_caught_up($node, $db);
}
my $came = '15:05 succeeded, 15:10 succeeded, 15:15 succeeded, 15:20 succeeded';
is(runs('step once'), "$came, 16:00 succeeded +10", 'back, once: what was passed over comes for the first time');
is(runs('step skip'), "$came, 16:00 missed misfire +11", 'back, skip: the same');
is(runs('step all'), join(', ', map { sprintf '%d:%02d succeeded', 15 + $_ / 60, $_ % 60 } map { $_ * 5 } 1 .. 12), 'back, all: every slot has had its run');
at('16:02:00');
wait_caught_up($node, $db);
is(runs('step once'), "$came, 15:55 succeeded +6, 16:00 succeeded +10", 'forward again, once');
is(runs('step skip'), "$came, 15:55 missed misfire +7, 16:00 missed misfire +11", 'forward again, skip');
at('16:05:00');
wait_caught_up($node, $db);
like(runs("step $_"), qr/16:05 succeeded$/, "$_ goes on") for ('once', 'skip', 'all');
drop_all();

# The same for a job that is paused when the clock is set right.
at('16:30:30');
create($_, 'work', undef, '*/5 * * * *') for ('step paused', 'step shown');
at('16:35:00');
wait_caught_up($node, $db);
at('18:02:00');
wait_caught_up($node, $db);
psql(q{SELECT jobsched.pause_job('step paused')});
at('16:37:00');
wait_value($node, $db, q{SELECT to_char(next_run_at, 'HH24:MI') FROM jobsched.jobs WHERE name = 'step shown'}, '16:40', 'back: the slot that is next is shown');
psql(q{SELECT jobsched.resume_job('step paused')});
at('16:40:00');
wait_caught_up($node, $db);
is(runs("step $_"), '16:35 succeeded, 16:40 succeeded, 18:00 succeeded +16', "back, $_: the schedule goes on") for ('paused', 'shown');
drop_all();

# A clock that is set back a little brings nothing again that was missed before.
at('19:00:30');
create('step little', 'work', undef, '*/5 * * * *');
psql(q{SELECT jobsched.pause_job('step little')});
at('20:01:00');
psql(q{SELECT jobsched.resume_job('step little')});
wait_runs('step little', '20:00 succeeded +11', 'what was missed in a pause');
at('20:05:00');
wait_caught_up($node, $db);
at('20:03:00');
new_scheduler();
at('20:10:00');
wait_caught_up($node, $db);
is(runs('step little'), '20:00 succeeded +11, 20:05 succeeded, 20:10 succeeded', 'is not made up for again');
drop_all();

# Skips of a job that is dropped are told of by another scheduler too.
at('20:29:30');
my $gone = create('gone', 'work');
close_gate_of('gone');
for my $minute (30 .. 32)
{
	at("20:$minute:00");
	seen();
}
psql(q{SELECT jobsched.drop_job('gone')});
crash('20:33:00');
wait_value($node, $db, "SELECT string_agg(concat_ws(' ', status, reason, missed_count), ', ' ORDER BY run_id) FROM jobsched.runs WHERE job_id = $gone",
	'lost server_restarted 0, skipped overlap 2', 'of a dropped job: what was skipped is told after a crash');
drop_all();

# A run for each, and the server is killed as soon as they are there.
at('17:00:30');
create('many', 'work', q{misfire => 'all'});
create('many replace', 'work', q{misfire => 'all', overlap => 'replace'});
create('many limited', 'beside', q{misfire => 'all', overlap => 'allow', max_runs => 7});
close_gate_of($_) for ('many', 'many replace', 'many limited');
at('18:30:30');
my $count = q{SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, count(*) || COALESCE(' of ' || sum(NULLIF(missed_count, 0)), '') AS n
	FROM jobsched.runs WHERE job_id = (SELECT job_id FROM jobsched.jobs WHERE name = '%s') GROUP BY 1) s};
wait_value($node, $db, sprintf($count, 'many'), 'queued 89, running 1', 'all: a run for each');
wait_value($node, $db, sprintf($count, 'many replace'), 'queued 89, running 1', 'and they do not replace each other');
is(psql(q{SELECT count(*), to_char(max(scheduled_for), 'HH24:MI') FROM jobsched.runs WHERE job_name = 'many limited'}), '7|17:07', 'nor are there more than max_runs');
crash('18:30:40');
open_gate_of($_) for ('many', 'many replace', 'many limited');
wait_value($node, $db, sprintf($count, $_), 'succeeded 90', "$_: all are executed, after a crash") for ('many', 'many replace');
wait_value($node, $db, sprintf($count, 'many limited'), 'succeeded 7', 'all that max_runs leaves');
is(psql(q{SELECT bool_and(slot > before) FROM (SELECT slot, lag(slot) OVER (ORDER BY n) AS before FROM app.began WHERE job = 'many') o}), 't', 'oldest first');
is(job('many limited', q{state || ' ' || state_reason || ' ' || scheduled_runs}), 'completed the schedule has made its 7 runs (max_runs) 7', 'then the job is completed');

# More than a hundred; and a slot on time, which skips, or replaces what waits.
close_gate_of($_) for ('many', 'many replace');
at('21:30:30');
wait_value($node, $db, sprintf($count, $_), 'missed 1 of 80, queued 99, running 1, succeeded 90', "$_: the newest hundred, those before are counted") for ('many', 'many replace');
is(psql(q{SELECT to_char(scheduled_for, 'HH24:MI') || ' ' || to_char(run_at, 'HH24:MI') FROM jobsched.runs WHERE job_name = 'many' AND status = 'missed'}), '19:50 18:31', 'the row of the others says which');
new_scheduler();
at('21:31:00');
seen();
wait_value($node, $db, sprintf($count, 'many replace'), 'cancelled 100, missed 1 of 80, running 1, succeeded 90', 'a slot on time replaces what waits');
open_gate_of($_) for ('many', 'many replace');
wait_value($node, $db, sprintf($count, 'many'), 'missed 1 of 80, skipped 1 of 1, succeeded 190', 'or is skipped');
check_alone('one after the other');
drop_all();

# Missed across a gap of the clocks: what is in the gap is one slot.
set_clock($node, $db, '2027-03-26 12:00');
psql("SELECT jobsched.create_job('dst $_', '30 2 * * *', 'SELECT 1', timezone => 'Europe/Berlin', misfire => '$_')") for ('once', 'skip', 'all');
psql("SELECT jobsched.create_job('wild $_', '*/30 2 * * *', 'SELECT 1', timezone => 'Europe/Berlin', misfire => '$_')") for ('all');
psql(q{SELECT jobsched.pause_job(name) FROM jobsched.jobs});
set_clock($node, $db, '2027-03-29 12:00');
psql(q{SELECT jobsched.resume_job(name) FROM jobsched.jobs});
wait_caught_up($node, $db);
is(psql(qq{SELECT string_agg(to_char(scheduled_for, 'DD HH24:MI') || ' ' || status || ' ' || missed_count, ', ' ORDER BY scheduled_for) FROM jobsched.runs WHERE job_name = 'dst $_->[0]'}), $_->[1], "a gap, $_->[0]")
  for ([ once => '29 00:30 succeeded 2' ], [ skip => '29 00:30 missed 3' ], [ all => '27 01:30 succeeded 0, 28 01:00 succeeded 0, 29 00:30 succeeded 0' ]);
is(psql(q{SELECT string_agg(to_char(scheduled_for, 'DD HH24:MI'), ', ' ORDER BY scheduled_for) FROM jobsched.runs WHERE job_name = 'wild all'}), '27 01:00, 27 01:30, 29 00:00, 29 00:30', 'with a wildcard nothing is in the gap');
drop_all();

# ------------------------------------------------------------------------
# Bounds
# ------------------------------------------------------------------------

at('09:00:30');
psql(q{SELECT jobsched.create_job('bounds', '* * * * *', 'SELECT 1', starts_at => '2027-03-01 09:10', ends_at => '2027-03-01 09:12');
	SELECT jobsched.create_job('limit', '* * * * *', 'SELECT 1', max_runs => 3);
	SELECT jobsched.create_job('shot', '2027-03-01 09:10', 'SELECT 1');
	SELECT jobsched.create_job('shot missed', '2027-03-01 09:10', 'SELECT 1', misfire => 'skip')});
psql(q{SELECT jobsched.pause_job('shot missed')});
is(job('bounds', q{to_char(next_run_at, 'HH24:MI')}), '09:10', 'no slot is before starts_at');
is(psql(q{SELECT string_agg(to_char(s, 'HH24:MI'), ' ') FROM jobsched.upcoming, unnest(next_runs) s WHERE job_name = 'bounds'}), '09:10 09:11 09:12', 'nor after ends_at: upcoming');
is(psql(q{SELECT cardinality(next_runs) FROM jobsched.upcoming WHERE job_name = 'limit'}), '3', 'nor more than max_runs');
for my $minute ('01', '02')
{
	at("09:$minute:00");
	wait_caught_up($node, $db);
}
is(job('limit', 'state, scheduled_runs'), 'active|2', 'max_runs: not yet');
crash('09:02:10');
for my $minute ('03', '04', '10', '11')
{
	at("09:$minute:00");
	wait_caught_up($node, $db);
}
is(runs('limit'), '09:01 succeeded, 09:02 succeeded, 09:03 succeeded', 'max_runs: so many, whatever crashes');
is(job('limit', q{state, state_reason, next_run_at IS NULL}), 'completed|the schedule has made its 3 runs (max_runs)|t', 'then it is completed');
psql(q{SELECT jobsched.trigger('limit')});
wait_caught_up($node, $db);
at('09:12:00');
wait_caught_up($node, $db);
at('09:13:00');
is(runs('bounds'), '09:10 succeeded, 09:11 succeeded, 09:12 succeeded', 'from starts_at to ends_at');
is(job('bounds', 'state, next_run_at IS NULL'), 'completed|t', 'then it is completed');
is(job('shot', 'state, last_status'), 'completed|succeeded', 'a timestamp is completed when it has run');
psql(q{SELECT jobsched.resume_job('shot missed')});
wait_runs('shot missed', '09:10 missed misfire +1', 'a timestamp that was missed');
is(job('shot missed', 'state'), 'completed', 'is completed as well');
# set back, with another scheduler: nothing comes to life
at('09:02:30');
new_scheduler();
at('09:04:00');
seen();
is(job('limit', 'state, scheduled_runs'), 'completed|3', 'a clock that is set back gives no runs');
at('09:13:30');
psql(q{SELECT jobsched.alter_job('limit', max_runs => 4); SELECT jobsched.alter_job('bounds', ends_at => 'infinity')});
is(job('limit', q{state, to_char(next_run_at, 'HH24:MI')}), 'active|09:14', 'max_runs is raised: it goes on');
at('09:14:00');
wait_caught_up($node, $db);
at('09:15:00');
wait_caught_up($node, $db);
is(runs('limit'), '09:01 succeeded, 09:02 succeeded, 09:03 succeeded, 09:14 succeeded, trigger succeeded', 'for as many runs');
is(runs('bounds'), '09:10 succeeded, 09:11 succeeded, 09:12 succeeded, 09:14 succeeded, 09:15 succeeded', 'without ends_at it goes on');
psql(q{SELECT jobsched.alter_job('limit', max_runs => 0)});
at('09:16:00');
wait_caught_up($node, $db);
like(runs('limit'), qr/09:14 succeeded, 09:16 succeeded/, 'without max_runs it goes on');
drop_all();

# ------------------------------------------------------------------------
# Jitter
# ------------------------------------------------------------------------

at('09:59:30');
psql(q{SELECT jobsched.create_job('jitter ' || n, '0 10 * * *', 'SELECT 1', jitter => '30 min') FROM generate_series(1, 20) n});
is(psql(q{SELECT DISTINCT to_char(next_run_at, 'HH24:MI') FROM jobsched.jobs}), '10:00', 'jitter: next_run_at is the slot');
at('10:00:00');
seen();
my $times = q{SELECT string_agg(run_at::text, ',' ORDER BY job_name) FROM jobsched.runs WHERE job_name LIKE 'jitter%'};
my $delays = psql($times);
is(psql(q{SELECT count(*), count(DISTINCT run_at) >= 19, min(run_at) >= '2027-03-01 10:00', max(run_at) < '2027-03-01 10:30',
	max(run_at) - min(run_at) > '10 min', count(DISTINCT scheduled_for) FROM jobsched.runs WHERE job_name LIKE 'jitter%'}), '20|t|t|t|t|1', 'the runs are spread');
crash('10:00:01');
is(psql($times), $delays, 'and stay so after a crash');
my $first = psql(q{SELECT min(run_at) FROM jobsched.runs WHERE job_name LIKE 'jitter%'});
at('10:00:02');
is(psql(q{SELECT DISTINCT status || ' ' || reason FROM jobsched.runs WHERE job_name LIKE 'jitter%' AND run_at > '2027-03-01 10:00:03'}), 'queued not_due', 'they wait for their time');
set_clock($node, $db, $first);
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name LIKE 'jitter%' AND status = 'succeeded'}, '1', 'and start at it');
at('10:30:00');
wait_caught_up($node, $db);
drop_all();

# A run that is put off is live already.
at('10:30:30');
create('off skip', 'work', q{jitter => '1 day'});
create('off queue', 'work', q{jitter => '1 day', overlap => 'queue'});
create('off replace', 'work', q{jitter => '1 day', overlap => 'replace'});
for my $minute (31 .. 33)
{
	at("10:$minute:00");
	seen();
}
is(runs('off skip'), '10:31 queued not_due', 'a run that is put off is in the way of the next: skip');
is(runs('off queue'), '10:31 queued not_due, 10:32 queued not_due', 'queue');
like(runs('off replace'), qr/^10:31 cancelled replaced, 10:32 cancelled replaced, 10:33 queued not_due$/, 'replace');
set_clock($node, $db, '2027-03-03 00:00');
wait_until($node, $db, q{SELECT count(*) FILTER (WHERE status = 'succeeded' AND scheduled_for < '2027-03-01 10:33') = 2 FROM jobsched.runs WHERE job_name = 'off queue'}, 'each has its turn');
check_alone('one after the other');
drop_all();

# A bound or limit that is set while slots are missed does not lose them.
at('10:40:30');
create('late bound', 'work', undef, '*/5 * * * *');
psql(q{SELECT jobsched.pause_job('late bound')});
at('10:52:00');
psql(q{SELECT jobsched.alter_job('late bound', ends_at => '2027-03-01 10:50', max_runs => 9)});
psql(q{SELECT jobsched.resume_job('late bound')});
wait_runs('late bound', '10:50 succeeded +1', 'a bound that is set while slots are missed does not lose them');
is(job('late bound', 'state'), 'completed', 'and is the end');
drop_all();

# ------------------------------------------------------------------------
# The brake
# ------------------------------------------------------------------------

at('11:00:30');
psql(q{SET ROLE app; SELECT jobsched.create_job('brake', '* * * * *', $$SELECT 1 / (jobsched.args()->>'n')::int$$, args => '{"n": 0}', pause_after_failures => 3)});
for my $minute ('01', '02')
{
	at("11:$minute:00");
	wait_caught_up($node, $db);
}
wait_until($node, $db, q{SELECT consecutive_failures = 2 FROM jobsched.jobs WHERE name = 'brake'}, 'two failures');
is(job('brake', 'state'), 'active', 'two failures of three');
at('11:03:00');
wait_value($node, $db, q{SELECT state || ': ' || regexp_replace(state_reason, '\d+\)', 'n)') FROM jobsched.jobs WHERE name = 'brake'}, 'paused: paused after 3 consecutive failures (last: run n)', 'three failures pause the job');
is(psql(q{SELECT state_reason ~ (' ' || max(run_id) || '\)') FROM jobsched.jobs j JOIN jobsched.runs r USING (job_id) WHERE j.name = 'brake' GROUP BY state_reason}), 't', 'the last of them is named');
my $held = psql(q{SELECT jobsched.trigger('brake', '{"n": 1}')});
wait_value($node, $db, "SELECT status || ' ' || reason FROM jobsched.runs WHERE run_id = $held", 'queued job_paused', 'what is triggered waits');
at('11:05:00');
new_scheduler();
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $held"), 'queued', 'also with another scheduler');
crash('11:06:00');
is(job('brake', 'state, next_run_at IS NULL'), 'paused|t', 'also after a crash');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $held"), 'queued', 'nothing starts');
psql("SELECT jobsched.cancel_run($held)");
psql(q{SELECT jobsched.resume_job('brake')});
wait_until($node, $db, q{SELECT count(*) = 4 FROM jobsched.runs WHERE job_name = 'brake' AND status = 'failed'}, 'resumed: one run for what was missed');
new_scheduler();
is(job('brake', 'state, consecutive_failures'), 'active|4', 'which fails, and is the first that counts');
at('11:07:00');
wait_caught_up($node, $db);
wait_until($node, $db, q{SELECT consecutive_failures = 5 FROM jobsched.jobs WHERE name = 'brake'}, 'another failure');
new_scheduler();
is(job('brake', 'state, consecutive_failures'), 'active|5', 'the second');
at('11:08:00');
wait_value($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'brake'}, 'paused', 'the third pauses the job again');
psql(q{SELECT jobsched.alter_job('brake', args => '{"n": 1}')});
is(job('brake', 'state'), 'active', 'a change of the job lets it go on');
at('11:09:00');
wait_until($node, $db, q{SELECT last_status = 'succeeded' FROM jobsched.jobs WHERE name = 'brake'}, 'a success');
psql(q{SELECT jobsched.alter_job('brake', args => '{"n": 0}')});
for my $minute ('10', '11')
{
	at("11:$minute:00");
	wait_caught_up($node, $db);
}
wait_until($node, $db, q{SELECT consecutive_failures = 2 FROM jobsched.jobs WHERE name = 'brake'}, 'two failures');
is(job('brake', 'state'), 'active', 'after a success all count');
# The last outcome and the brake are lost together.
psql('CHECKPOINT');
at('11:12:00');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'brake' AND status = 'failed' AND to_char(scheduled_for, 'HH24:MI') = '11:12'}, '1', 'the third');
kill_and_start($node);
wait_scheduler($node, $db);
at('11:12:30');
wait_value($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'brake'}, 'paused', 'paused, whatever of it was lost');
# Many at once: no more are executed than there are workers.
psql(q{SELECT jobsched.alter_job('brake', schedule => '', pause_after_failures => 2)});
psql(q{SELECT count(*) FROM jobsched.trigger_many('brake', array_fill(NULL::jsonb, ARRAY[200]))});
wait_value($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'brake'}, 'paused', 'many that fail');
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched.running}, 'none is executed');
cmp_ok(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'brake' AND status = 'queued'}), '>', 150, 'most of many have not begun');
psql(q{SELECT jobsched.alter_job('brake', pause_after_failures => 0)});
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'without the brake all fail');
drop_all();

# Another scheduler does not count failures that were before a success: also if
# that was of an older run, which is not among the newest.
psql(q{SET ROLE app; SELECT jobsched.create_job('count', command => $$SELECT 1 / (jobsched.args()->>'n')::int$$, args => '{"n": 0}', pause_after_failures => 30)});
set_clock($node, $db, '2027-03-02 11:00');
psql(q{SELECT jobsched.trigger('count', '{"n": 1}', run_at => '2027-03-02 12:00')});
psql(q{SELECT jobsched.trigger_many('count', array_fill(NULL::jsonb, ARRAY[25]))});
wait_until($node, $db, q{SELECT consecutive_failures = 25 FROM jobsched.jobs WHERE name = 'count'}, 'many have failed');
set_clock($node, $db, '2027-03-02 12:00');
wait_until($node, $db, q{SELECT consecutive_failures = 0 FROM jobsched.jobs WHERE name = 'count'}, 'one that is older succeeds');
set_clock($node, $db, '2027-03-02 12:01');
psql(q{SELECT jobsched.trigger('count')});
wait_until($node, $db, q{SELECT consecutive_failures = 1 FROM jobsched.jobs WHERE name = 'count'}, 'and another fails');
new_scheduler();
is(job('count', 'state, consecutive_failures'), 'active|1', 'another scheduler has the same count');
drop_all();

# ------------------------------------------------------------------------
# Backfill
# ------------------------------------------------------------------------

set_clock($node, $db, '2027-03-02 12:30');
create('fill', 'work', q{overlap => 'skip', misfire => 'skip'}, '0 * * * *');
psql(q{SELECT jobsched.pause_job('fill')});
is(psql(q{SELECT count(*), count(run_id) FROM jobsched.backfill('fill', '2027-03-02 00:00', '2027-03-02 10:00', dry_run => true)}), '10|0', 'backfill: dry run');
is(psql(q{SELECT count(*), count(run_id) FROM jobsched.backfill('fill', '2027-03-02 00:00', '2027-03-02 10:00')}), '10|10', 'one run for each slot');
is(psql(q{SELECT count(*), count(run_id) FROM jobsched.backfill('fill', '2027-03-02 08:00', '2027-03-02 20:00')}), '5|3', 'none beside one that waits, none for the future');
# The job's own slot and a backfilled one: neither is in the way of the other.
set_clock($node, $db, '2027-03-02 13:00:01');
psql(q{SELECT slot FROM jobsched.backfill('fill', '2027-03-02 13:00', '2027-03-02 13:30')});
new_scheduler();
crash('10:00:00');
set_clock($node, $db, '2027-03-02 13:00:02');
psql(q{SELECT jobsched.alter_job('fill', handler => 'app.beside')});
psql(q{SELECT jobsched.resume_job('fill')});
wait_until($node, $db, q{SELECT count(*) = 15 FROM jobsched.runs WHERE job_name = 'fill' AND status = 'succeeded'}, 'resumed: all are executed');
is(psql(q{SELECT string_agg(source || ' ' || n, ', ' ORDER BY source) FROM (SELECT source, count(*) AS n FROM jobsched.runs WHERE job_name = 'fill' GROUP BY 1) s}),
	'backfill 14, schedule 1', 'and the slot that is due has its run, for they are not live');
drop_all();

# Nor has the scheduler to wait for one that is not committed.
set_clock($node, $db, '2027-03-03 12:30');
create('prepared', 'beside', undef, '* * * * *');
psql(q{SELECT jobsched.alter_job('prepared', starts_at => '2027-03-03 00:00')});
set_clock($node, $db, '2027-03-03 12:30:30');
psql(q{BEGIN; SELECT slot FROM jobsched.backfill('prepared', '2027-03-03 12:29', '2027-03-03 12:31'); PREPARE TRANSACTION 'backfill'});
set_clock($node, $db, '2027-03-03 12:31:00');
wait_runs('prepared', '12:31 succeeded', 'a slot of which a prepared transaction has a run');
psql(q{COMMIT PREPARED 'backfill'});
wait_until($node, $db, q{SELECT count(*) = 2 FROM jobsched.runs WHERE job_name = 'prepared' AND source = 'backfill' AND status = 'succeeded'}, 'its runs come with its commit');
drop_all();

is(psql(q{SELECT count(*) FROM (SELECT job_id, scheduled_for FROM jobsched.runs WHERE source = 'schedule' AND status NOT IN ('skipped', 'missed')
	GROUP BY 1, 2 HAVING count(*) > 1) d}), '0', 'in all of this no slot has had two runs');
check_log($node, killed => 1);
$node->stop;
done_testing();
