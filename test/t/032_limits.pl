# Copyright (c) 2026, jobsched contributors

# Limits are never exceeded, by no kind of restart; what waits for one holds up
# nobody else; keys take turns; rates let through what they say at the very
# instant; and everything can be changed while runs wait.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $db = 'postgres';
my $node = jobsched_node('limits', conf => q{
max_connections = 50
jobsched.max_workers = 12
restart_after_crash = on
});
create_extension($node, $db);
effects_schema($node, $db);
define_clock($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

# As app, which owns all jobs and limits here.
sub app
{
	my ($sql) = @_;
	return sql_as($node, $db, 'app', $sql);
}

# A run that no limit names has come and gone: so has a step of the scheduler.
sub settle
{
	my ($run_id, $status) = run_job($node, $db, 'free', role => 'app');
	die "a free run is $status" if $status ne 'succeeded';
	return;
}

# How many runs of the job "hold" are at the gate now, and stay there.
sub check_held
{
	my ($n, $name) = @_;
	wait_until($node, $db, "SELECT count(*) >= $n FROM jobsched.running WHERE job_name = 'hold'", "$n runs are at the gate");
	settle();
	settle();
	return is(psql(q{SELECT count(*) FROM jobsched.running WHERE job_name = 'hold'}), $n, $name);
}

# The gate: what holds waits for as long as this session has the lock.
my $gate;

sub shut_gate
{
	$gate = $node->background_psql($db);
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	return;
}

sub open_gate
{
	$gate->quit;
	wait_drained($node, $db);
	return;
}

sub restart_scheduler
{
	my $pid = scheduler_pid($node, $db);
	kill 'TERM', $pid;
	return wait_new_scheduler($node, $db, $pid);
}

# The place of a run in the order in which the runs of its job started.
sub place_of
{
	my ($job, $which) = @_;
	return psql(qq{SELECT place FROM (
		SELECT rank() OVER (ORDER BY started_at, run_id) AS place, * FROM jobsched.runs WHERE job_name = '$job') r
		WHERE $which});
}

$node->safe_psql($db, q{
	SET ROLE app;
	CREATE TABLE app.span (run_id bigint, usr text, began timestamptz, ended timestamptz);
	CREATE FUNCTION app.record(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE began timestamptz := clock_timestamp();
	BEGIN
		PERFORM pg_sleep(0.1);
		INSERT INTO app.span VALUES (jobsched.run_id(), args->>'user', began, clock_timestamp());
		PERFORM app.leave(args);
	END $$;
	CREATE FUNCTION app.hold(args jsonb) RETURNS void LANGUAGE sql AS
		'SELECT pg_advisory_xact_lock_shared(1)';
	SELECT jobsched.create_job('free', command => 'SELECT 1');
	SELECT jobsched.create_job('hold', handler => 'app.hold');
	SELECT jobsched.create_job('record', handler => 'app.record', queue => 'ten', keys => ARRAY['user:{{args.user}}']);
	SELECT jobsched.create_job('quick', command => 'SELECT 1', queue => 'quick');
	SELECT jobsched.set_queue('ten', 10);
	SELECT jobsched.set_limit('user', 2)});

# ------------------------------------------------------------------------
# Never exceeded
# ------------------------------------------------------------------------

my $spans = 'SELECT count(*) FROM app.span';
app(q{SELECT count(*) FROM jobsched.trigger_many('record',
	ARRAY(SELECT jsonb_build_object('user', i % 20) FROM generate_series(1, 200) i))});
wait_until($node, $db, "SELECT ($spans) >= 20", 'some runs have ended');
restart_scheduler();
wait_until($node, $db, "SELECT ($spans) >= 50", 'more have');
psql(q{SELECT pg_terminate_backend(worker_pid) FROM jobsched.running LIMIT 3});
wait_until($node, $db, "SELECT ($spans) >= 80", 'more have');
restart_scheduler();
psql(q{SELECT pg_terminate_backend(worker_pid) FROM jobsched.running LIMIT 1});
wait_until($node, $db, "SELECT ($spans) >= 110", 'more have');
$node->stop('immediate');
$node->start;
wait_until($node, $db, "SELECT ($spans) >= 140", 'more have');
restart_scheduler();
wait_drained($node, $db);
is(psql(q{SELECT count(*), count(DISTINCT run_id) FROM app.span}), '200|200', '200 runs of 20 users, each once');
check_exactly_once($node, $db, 'with effects and record in one', q{'record'});

sub most_at_once
{
	my ($same) = @_;
	return psql(qq{SELECT max(n) FROM (SELECT (SELECT count(*) FROM app.span y
		WHERE y.began <= x.began AND y.ended > x.began AND $same) AS n FROM app.span x) s});
}

is(most_at_once('y.usr = x.usr'), '2', 'two of a user at a time and never more, through restarts');
is(most_at_once('true'), '10', 'ten in all');

# ------------------------------------------------------------------------
# Each kind, and changes while runs wait
# ------------------------------------------------------------------------

shut_gate();
app(q{SELECT jobsched.alter_job('hold', max_concurrency => 2)});
my @hold = split /\n/, app(q{SELECT * FROM jobsched.trigger_many('hold', array_fill('{}'::jsonb, ARRAY[6]))});
check_held(2, 'max_concurrency: two runs of the job');
is(psql("SELECT string_agg(DISTINCT status || ' ' || reason, ',') FROM jobsched.runs WHERE run_id IN ($hold[4], $hold[5])"),
	'queued waiting_for_turn', 'the others say what they wait for');
app(q{SELECT jobsched.alter_job('hold', max_concurrency => 4)});
check_held(4, 'raised to four: two more start');
app(q{SELECT jobsched.alter_job('hold', max_concurrency => 1)});
check_held(4, 'lowered: what runs goes on');
# As if one of those that wait had been claimed before it was taken back.
psql("UPDATE jobsched_internal.run w SET (status, attempt, boot_id, claimed_at) = (r.status, r.attempt, r.boot_id, r.claimed_at)
	FROM jobsched_internal.run r WHERE w.run_id = $hold[4] AND r.run_id = $hold[0]");
restart_scheduler();
check_held(4, 'a new scheduler counts what it finds, beyond the limit too');
psql(q{SELECT jobsched.alter_job('hold', owner => CURRENT_USER)});
check_held(4, 'what was started for another owner counts');
psql(q{SELECT jobsched.alter_job('hold', owner => 'app')});
app("SELECT jobsched.cancel_run($hold[5])");
wait_run_state($node, $db, $hold[5], 'cancelled');
app("SELECT jobsched.cancel_run($hold[0])");
wait_run_state($node, $db, $hold[0], 'cancelled');
check_held(3, 'one run less, and still too many: none starts');
app(q{SELECT jobsched.alter_job('hold', max_concurrency => 0)});
check_held(4, 'no limit: the last one starts');
open_gate();

# By queue: paused, defined, lowered, undefined.
shut_gate();
app(q{SELECT jobsched.set_queue('q', paused => true), jobsched.alter_job('hold', queue => 'q')});
app(q{SELECT * FROM jobsched.trigger_many('hold', array_fill('{}'::jsonb, ARRAY[5]))});
check_held(0, 'of a paused queue nothing starts');
is(psql(q{SELECT running, waiting FROM jobsched.queues WHERE name = 'q'}), '0|5', 'and its view says that five wait');
app(q{SELECT jobsched.set_queue('q', 3)});
check_held(3, 'three of a queue');
is(psql(q{SELECT running, waiting FROM jobsched.queues WHERE name = 'q'}), '3|2', 'view queues counts them');
restart_scheduler();
check_held(3, 'a new scheduler starts no more');
app(q{SELECT jobsched.set_queue('q', 3, paused => true)});
app(q{SELECT jobsched.cancel_runs('hold', status => 'running')});
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched.running WHERE job_name = 'hold'}, 'they are cancelled');
check_held(0, 'paused while runs were executed: no other starts');
app(q{SELECT jobsched.drop_queue('q')});
check_held(2, 'dropped: the rest starts');
open_gate();

# What is ready, but with no worker yet, is taken back.
shut_gate();
psql(q{ALTER SYSTEM SET jobsched.enabled = off});
$node->reload;
wait_until($node, $db, q{SELECT NOT enabled FROM jobsched_internal.scheduler()}, 'it is off');
app(q{SELECT jobsched.set_queue('q', 8), jobsched.trigger_many('hold', array_fill('{}'::jsonb, ARRAY[9]))});
wait_until($node, $db, q{SELECT ready = 8 FROM jobsched_internal.scheduler()}, 'eight are ready');
app(q{SELECT jobsched.set_queue('q', 2)});
wait_until($node, $db, q{SELECT ready = 2 FROM jobsched_internal.scheduler()}, 'two are');
psql(q{ALTER SYSTEM RESET jobsched.enabled});
$node->reload;
check_held(2, 'lowered before they had a worker: two start');
app(q{SELECT jobsched.alter_job('hold', queue => 'another')});
check_held(9, 'moved to another queue they wait for none');
open_gate();

# By owner, by a setting; and limits of one role are not those of another.
shut_gate();
$node->append_conf('postgresql.conf', "jobsched.max_running_per_owner = 3\n");
$node->reload;
wait_until($node, $db, q{SELECT current_setting('jobsched.max_running_per_owner') = '3'}, 'the setting is read');
my $mine = psql(q{SELECT jobsched.create_job('mine', command => 'SELECT 1')});
is((run_job($node, $db, 'mine'))[1], 'succeeded', 'a step, after which the scheduler has read it too');
app(q{SELECT * FROM jobsched.trigger_many('hold', array_fill('{}'::jsonb, ARRAY[6]))});
wait_until($node, $db, q{SELECT count(*) >= 3 FROM jobsched.running WHERE job_name = 'hold'}, 'three run');
is((run_job($node, $db, 'mine'))[1], 'succeeded', 'another owner goes on');
is(psql(q{SELECT count(*) FROM jobsched.running WHERE job_name = 'hold'}), '3', 'max_running_per_owner: three of a role');
$node->append_conf('postgresql.conf', "jobsched.max_running_per_owner = 5\n");
$node->reload;
wait_until($node, $db, q{SELECT count(*) = 5 FROM jobsched.running WHERE job_name = 'hold'}, 'raised: five run');
$node->append_conf('postgresql.conf', "jobsched.max_running_per_owner = 0\n");
$node->reload;
check_held(6, 'and without it all');
open_gate();

# By key: each has its own count, and a run takes all of its limits or none.
shut_gate();
app(q{SELECT jobsched.set_limit('k', 2), jobsched.set_limit('l', 3), jobsched.alter_job('hold', queue => '')});
app(q{SELECT jobsched.trigger('hold', keys => ARRAY['k:1', 'l:1']) FROM generate_series(1, 4)});
app(q{SELECT jobsched.trigger('hold', keys => ARRAY['k:2', 'l:1']) FROM generate_series(1, 4)});
app(q{SELECT jobsched.trigger('hold', keys => ARRAY['k:3']) FROM generate_series(1, 3)});
check_held(5, 'two of k:1, one of k:2, for l:1 has three then, and two of k:3');
is(psql(q{SELECT string_agg(keys::text || n, ' ' ORDER BY keys) FROM (
	SELECT keys, count(*) AS n FROM jobsched.runs WHERE job_name = 'hold' AND status = 'running' GROUP BY 1) r}),
	'{k:1,l:1}2 {k:2,l:1}1 {k:3}2', 'as they should be');
is(psql(q{SELECT keys, running, waiting FROM jobsched.limits WHERE key_class = 'k'}), '3|5|6', 'view limits counts them');
app(q{SELECT jobsched.set_limit('l', 4)});
check_held(6, 'one more of l:1, which is of k:2');
app(q{SELECT jobsched.drop_limit('l')});
check_held(6, 'k limits what l does not');
app(q{SELECT jobsched.drop_limit('k')});
check_held(11, 'no limit');
open_gate();

# Runs that wait for their time, or whose job is paused, hold nothing.
shut_gate();
app(q{SELECT jobsched.set_queue('q', 1), jobsched.alter_job('hold', queue => 'q'),
	jobsched.create_job('other', command => 'SELECT 1', queue => 'q')});
my $later = app(q{SELECT jobsched.trigger('hold', run_at => now() + interval '1 hour')});
is((run_job($node, $db, 'other', role => 'app'))[1], 'succeeded', 'one that is not due holds no place');
app(q{SELECT jobsched.pause_job('hold')});
my $paused = app(q{SELECT jobsched.trigger('hold')});
is((run_job($node, $db, 'other', role => 'app'))[1], 'succeeded', 'nor one of a paused job');
app(q{SELECT jobsched.resume_job('hold')});
check_held(1, 'which takes its place when it is resumed');
my $waits = app(q{SELECT jobsched.trigger('other')});
my $doomed = app(q{SELECT jobsched.trigger('other')});
settle();
app("SELECT jobsched.cancel_run($doomed)");
wait_run_state($node, $db, $doomed, 'cancelled');
pass('what waits for a place can be cancelled');
app(q{SELECT jobsched.pause_job('other')});
settle();
app(q{SELECT jobsched.drop_job('other')});
wait_run_state($node, $db, $waits, 'cancelled');
pass('and goes with its job');
app("SELECT jobsched.cancel_run($later)");
open_gate();
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $paused"), 'succeeded', 'nothing has been lost');

# A run that goes on when its job is dropped has its place in the queue, also
# for another scheduler.
shut_gate();
app(q{SELECT jobsched.set_queue('one', 1)});
app(q{SELECT jobsched.create_job('dropped', handler => 'app.hold', queue => 'one')});
app(q{SELECT jobsched.create_job('next', command => 'SELECT 1', queue => 'one')});
my $going_on = app(q{SELECT jobsched.trigger('dropped')});
wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running WHERE run_id = $going_on)", 'a run is at the gate');
app(q{SELECT jobsched.drop_job('dropped')});
restart_scheduler();
my $next = app(q{SELECT jobsched.trigger('next')});
settle();
settle();
is(psql("SELECT status || ' ' || reason FROM jobsched.runs WHERE run_id = $next"), 'queued waiting_for_turn', 'a run of a dropped job keeps its place');
open_gate();
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $next"), 'succeeded', 'until it has ended');

# ------------------------------------------------------------------------
# Turns
# ------------------------------------------------------------------------

# One of many waits in a queue that has one place.
sub stop_queue { return app(q{SELECT jobsched.set_queue('quick', 1, paused => true)}); }
sub start_queue { app(q{SELECT jobsched.set_queue('quick', 1)}); return wait_drained($node, $db); }

stop_queue();
app(q{SELECT count(jobsched.trigger('quick', keys => ARRAY['user:a'])) FROM generate_series(1, 1000)});
my $of_b = app(q{SELECT jobsched.trigger('quick', keys => ARRAY['user:b'])});
my $urgent = app(q{SELECT jobsched.trigger('quick', keys => ARRAY['user:a'], priority => 1)});
start_queue();
cmp_ok(place_of('quick', "run_id = $of_b"), '<=', 4, 'behind 1000 runs of another key the first of a key is among the next');
cmp_ok(place_of('quick', "run_id = $urgent"), '<=', 2, 'a higher priority goes first');

# Also of runs that become ready together, whatever their age.
app(q{SELECT jobsched.create_job('together', command => 'SELECT 1', max_concurrency => 1)});
app(q{SELECT jobsched.pause_job('together')});
app(q{SELECT jobsched.trigger('together', priority => n) FROM generate_series(1, 3) n});
app(q{SELECT jobsched.resume_job('together')});
wait_drained($node, $db);
is(psql(q{SELECT string_agg(priority::text, ' ' ORDER BY started_at) FROM jobsched.runs WHERE job_name = 'together'}), '3 2 1', 'resumed together');
app(q{SELECT jobsched.drop_job('together')});
app(q{SELECT jobsched.create_job('due together', command => 'SELECT 1', max_concurrency => 1)});
app(q{SELECT jobsched.trigger('due together', run_at => now() + '500 ms', priority => n) FROM generate_series(1, 3) n});
wait_drained($node, $db);
is(psql(q{SELECT string_agg(priority::text, ' ' ORDER BY started_at) FROM jobsched.runs WHERE job_name = 'due together'}), '3 2 1', 'due together');

# The same where no limit makes them wait, but the one worker that there is.
app(q{SELECT jobsched.create_job('turns', command => 'SELECT 1')});
psql(q{ALTER SYSTEM SET jobsched.enabled = off});
psql(q{ALTER SYSTEM SET jobsched.max_workers = 1});
$node->reload;
wait_until($node, $db, q{SELECT NOT enabled AND max_workers = 1 FROM jobsched_internal.scheduler()}, 'it is off');
psql(q{SELECT pg_terminate_backend(pid) FROM jobsched.workers});
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched.workers}, 'the workers are gone');
app(q{SELECT count(jobsched.trigger('turns', keys => ARRAY['x:a'])) FROM generate_series(1, 1000)});
$of_b = app(q{SELECT jobsched.trigger('turns', keys => ARRAY['x:b'])});
my $unkeyed = app(q{SELECT jobsched.trigger('turns')});
psql(q{ALTER SYSTEM RESET jobsched.enabled});
$node->reload;
wait_drained($node, $db);
psql(q{ALTER SYSTEM RESET jobsched.max_workers});
$node->reload;
cmp_ok(place_of('turns', "run_id = $of_b"), '<=', 4, 'keys take turns for workers as well');
cmp_ok(place_of('turns', "run_id = $unkeyed"), '<=', 4, 'and what has no key is as good as a key');

# A run of lower priority is overtaken a thousand times and not more.
app(q{SELECT jobsched.create_job('ages', command => 'SELECT 1', queue => 'quick')});
stop_queue();
my $low = app(q{SELECT jobsched.trigger('ages')});
my $lowest = app(q{SELECT jobsched.trigger('ages', priority => (-2147483648)::int)});
app(q{SELECT count(jobsched.trigger('ages', priority => 1)) FROM generate_series(1, 1500)});
my $highest = app(q{SELECT jobsched.trigger('ages', priority => 2147483647)});
start_queue();
my $place = place_of('ages', "run_id = $low");
ok($place >= 990 && $place <= 1010, 'a lower priority ages') or diag "it was number $place";
is(place_of('ages', "run_id = $highest"), '1', 'the highest priority is the first');
is(place_of('ages', "run_id = $lowest"), '1503', 'the lowest is the last');

# 10,000 runs behind 100 keys that are used up.
app(q{SELECT jobsched.set_limit('day', rate => 1, per => '1 day'), jobsched.create_job('crowd', command => 'SELECT 1')});
app(q{SELECT count(jobsched.trigger('crowd', keys => ARRAY['day:' || i % 100])) FROM generate_series(1, 10000) i});
my $started = time();
is((run_job($node, $db, 'free', role => 'app'))[1], 'succeeded', 'behind 10,000 runs of full keys others go on');
app(q{SELECT count(jobsched.trigger('crowd', keys => ARRAY['other:' || i])) FROM generate_series(1, 500) i});
wait_until($node, $db, q{SELECT count(*) = 600 FROM jobsched.runs WHERE job_name = 'crowd' AND status = 'succeeded'}, 'one of each key has run, and all others');
settle();
is(psql(q{SELECT count(*), count(*) FILTER (WHERE reason = 'waiting_for_turn') FROM jobsched.runs WHERE job_name = 'crowd' AND status = 'queued'}), '9900|9900',
	'100 keys have had their run of the day, 500 others all of theirs');
restart_scheduler();
settle();
is(psql(q{SELECT count(*) FROM jobsched_internal.run}), '9900', 'a new scheduler knows that they have');
$node->stop('immediate');
$node->start;
wait_scheduler($node, $db);
settle();
is(psql(q{SELECT count(*) FROM jobsched_internal.run}), '9900', 'so does one of a new server');
app(q{SELECT jobsched.drop_job('crowd')});
wait_drained($node, $db);
app(q{SELECT jobsched.drop_limit('day')});

# ------------------------------------------------------------------------
# Rates
# ------------------------------------------------------------------------

my $t0 = '2020-01-01 00:00:00+00';

sub at
{
	my ($seconds) = @_;
	return set_clock($node, $db, psql("SELECT timestamptz '$t0' + $seconds * interval '1 s'"));
}

# How many runs of the job have started, by now and for sure no more.
sub check_started
{
	my ($job, $n, $name) = @_;
	wait_until($node, $db, "SELECT count(*) >= $n FROM jobsched.runs WHERE job_name = '$job' AND status = 'succeeded'", "$n runs have started");
	settle();
	settle();
	return is(psql("SELECT count(*) FROM jobsched.runs WHERE job_name = '$job' AND status = 'succeeded'"), $n, $name);
}

at(0);
app(q{SELECT jobsched.create_job('even', command => 'SELECT 1', queue => 'even'), jobsched.set_queue('even', rate => 6, per => '1 min')});
app(q{SELECT count(*) FROM jobsched.trigger_many('even', array_fill('{}'::jsonb, ARRAY[7]))});
check_started('even', 1, 'six in a minute: one at once');
at(9.999999);
check_started('even', 1, 'the next not too early');
at(10);
check_started('even', 2, 'nor too late');
restart_scheduler();
check_started('even', 2, 'a new scheduler lets none through');
at(20);
check_started('even', 3, 'and the next one in time');
app(q{SELECT jobsched.set_queue('even', rate => 6, per => '1 min', paused => true)});
$node->stop('immediate');
$node->start;
wait_scheduler($node, $db);
at(29);
app(q{SELECT jobsched.set_queue('even', rate => 6, per => '1 min')});
check_started('even', 3, 'a restart of the server gives nothing either');
at(30);
check_started('even', 4, 'and takes nothing');
at(1000);
check_started('even', 5, 'what was not used is not kept');
at(-100000);
check_started('even', 5, 'the clock is set back');
at(-99980);
check_started('even', 6, 'and nobody waits for it to come round');
app(q{SELECT jobsched.set_queue('even')});
check_started('even', 7, 'without the rate the rest starts');

at(100000);
app(q{SELECT jobsched.create_job('burst', command => 'SELECT 1', keys => ARRAY['b:{{args.b}}']), jobsched.set_limit('b', rate => 1, per => '10 s', burst => 3)});
app(q{SELECT count(*) FROM jobsched.trigger_many('burst', ARRAY(SELECT jsonb_build_object('b', i % 2) FROM generate_series(1, 12) i))});
check_started('burst', 6, 'a burst of three for each key');
at(100010);
check_started('burst', 8, 'then one each interval');
at(100030);
check_started('burst', 12, 'also two intervals at once');
at(100035);
app(q{SELECT count(*) FROM jobsched.trigger_many('burst', array_fill('{"b": 0}'::jsonb, ARRAY[2]))});
check_started('burst', 12, 'and a burst only after a pause');
app(q{SELECT jobsched.set_limit('b', rate => 1, per => '1 s', burst => 3)});
at(100036);
check_started('burst', 13, 'a rate that is raised: the burst is used up');
at(100037);
check_started('burst', 14, 'a rate that is raised holds for those that wait');
is(psql(q{SELECT count(*) > 0 FROM jobsched_internal.limit_state}), 't', 'what is used up is in a table');
at(200000);
restart_scheduler();
is(psql(q{SELECT count(*) FROM jobsched_internal.limit_state WHERE tat < jobsched_internal.clock_now()}), '0', 'until it has passed');

# Another attempt is another start; a run that waits for it gives its place away.
at(200000);
shut_gate();
app(q{SELECT jobsched.set_limit('again', 1, rate => 1, per => '10 s'), jobsched.alter_job('hold', queue => '')});
my $lost = app(q{SELECT jobsched.trigger('hold', keys => ARRAY['again:1'])});
check_held(1, 'the first attempt');
psql("SELECT pg_terminate_backend(worker_pid) FROM jobsched.running WHERE run_id = $lost");
wait_until($node, $db, "SELECT status = 'queued' FROM jobsched.runs WHERE run_id = $lost", 'it goes back');
at(200009);
check_held(0, 'a second attempt waits for the rate');
at(200010);
check_held(1, 'until it is time');
set_clock($node, $db, undef);
open_gate();
at(300000);

# A row that a prepared or open transaction holds stops nothing.
app(q{SELECT jobsched.trigger('burst', '{"b": 0}')});
check_started('burst', 15, 'one more');
my $holder = $node->background_psql($db);
$holder->query_safe('BEGIN; SELECT * FROM jobsched_internal.limit_state FOR UPDATE');
app(q{SELECT jobsched.trigger('burst', '{"b": 0}')});
check_started('burst', 16, 'a row that somebody has locked is written later');
$holder->quit;
set_clock($node, $db, undef);

# ------------------------------------------------------------------------
# Rows that nobody would write
# ------------------------------------------------------------------------

app(q{SELECT jobsched.set_queue('spoilt', 1, 1, '1 s', 1), jobsched.set_limit('s', 1),
	jobsched.create_job('spoilt', '* * * * * *', 'SELECT 1', keys => ARRAY['s:1'], queue => 'spoilt')});
psql(q{
	SELECT jobsched.pause_job('spoilt');
	UPDATE jobsched_internal.limit_definition SET max_running = -5, rate = -1, per = '-1 year', burst = -7 WHERE name = 'spoilt';
	UPDATE jobsched_internal.limit_definition SET max_running = 0, rate = 2147483647, per = '1000000000 days', burst = 2147483647 WHERE name = 's';
	INSERT INTO jobsched_internal.limit_state SELECT 'app'::regrole, k, 's:1', t FROM (VALUES ('key', 'infinity'::timestamptz), ('class', '-infinity'), ('nonsense', 'infinity')) v (k, t) ON CONFLICT DO NOTHING;
	ALTER TABLE jobsched_internal.limit_definition DROP CONSTRAINT limit_definition_kind_check;
	INSERT INTO jobsched_internal.limit_definition SELECT 4711, 'nonsense', 'x', 1, 1, '1 s', 1, true, 'x', token FROM jobsched_internal.identity});
my @spoilt = split /\n/, app(q{SELECT jobsched.trigger('spoilt') FROM generate_series(1, 4)});
psql(qq{
	UPDATE jobsched_internal.run SET keys = ARRAY[['s:1', NULL], ['', repeat('x', 1000)]] WHERE run_id = $spoilt[0];
	UPDATE jobsched_internal.run SET keys = ARRAY(SELECT i::text FROM generate_series(1, 100) i) WHERE run_id = $spoilt[1];
	UPDATE jobsched_internal.run SET keys = '{}' WHERE run_id = $spoilt[2];
	ALTER TABLE jobsched_internal.job DROP CONSTRAINT job_max_concurrency_check;
	UPDATE jobsched_internal.job SET max_concurrency = -1, queue = '' WHERE name = 'spoilt'});
restart_scheduler();
app(q{SELECT jobsched.resume_job('spoilt')});
wait_until($node, $db, "SELECT count(*) = 4 FROM jobsched.runs WHERE run_id IN ($spoilt[0], $spoilt[1], $spoilt[2], $spoilt[3]) AND status = 'succeeded'", 'they run');
pass('the scheduler survives rows that nobody would write');
psql(q{
	UPDATE jobsched_internal.job SET keys = ARRAY['s:{{args.nothing}}', NULL, ''], revision = revision + 1 WHERE name = 'spoilt';
	DELETE FROM jobsched_internal.limit_definition WHERE kind = 'nonsense'});
restart_scheduler();
wait_value($node, $db, q{SELECT state || ': ' || state_reason FROM jobsched.jobs WHERE name = 'spoilt'},
	'invalid: key "s:{{args.nothing}}" needs args.nothing, which is not there, or is no text, number or boolean',
	'a job whose keys cannot be made is invalid');
settle();
app(q{SELECT jobsched.drop_job('spoilt')});

check_log($node);
$node->stop;
done_testing();
