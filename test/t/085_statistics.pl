# Copyright (c) 2026, jobsched contributors

# Statistics: what the scheduler has added up is what history says, also after processes
# were killed at any time; percentiles are within 10 % of the exact ones; with time spans
# become wider, rows fewer, and in the end they go.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

srand($ENV{JOBSCHED_STATS_SEED} || 20261130);
my $cycles = $ENV{JOBSCHED_STATS_CYCLES} || 6;
my $db = 'postgres';
my $node = jobsched_node('statistics', conf => q{
restart_after_crash = on
jobsched.max_workers = 4
jobsched.history_retention = '400 d'
jobsched.failure_retention = '400 d'
fsync = off
});

create_extension($node, $db);
define_clock($node, $db);

sub psql { return $node->safe_psql($db, $_[0]); }
sub as { return sql_as($node, $db, @_); }

psql(q{
	CREATE ROLE app LOGIN;
	CREATE ROLE other LOGIN;
	CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
	GRANT USAGE ON SCHEMA jobsched TO app, other, watcher;
	CREATE SCHEMA app AUTHORIZATION app;
	-- what history says, as run_stats() would say it
	CREATE VIEW public.said AS
		SELECT n.name AS job_name,
			count(h.started_at) AS runs,
			count(*) FILTER (WHERE h.status = 'succeeded') AS succeeded,
			count(*) FILTER (WHERE h.status = 'failed') AS failed,
			count(*) FILTER (WHERE h.status = 'timed_out') AS timed_out,
			count(*) FILTER (WHERE h.status = 'cancelled') AS cancelled,
			count(*) FILTER (WHERE h.status = 'lost') AS lost,
			COALESCE(sum(greatest(h.missed_count, 1)) FILTER (WHERE h.status = 'skipped'), 0) AS skipped,
			COALESCE(sum(greatest(h.missed_count, 1)) FILTER (WHERE h.status = 'missed'), 0) AS missed,
			sum(greatest(h.attempt - 1, 0)) AS retries,
			round(1000 * avg(extract(epoch FROM h.finished_at - h.started_at)), 3) AS mean_ms,
			round(1000 * max(extract(epoch FROM h.finished_at - h.started_at)), 3) AS max_ms
		FROM jobsched_internal.history h JOIN jobsched_internal.job n USING (job_id)
		WHERE h.handler IS NULL AND h.source <> 'batch' AND n.workflow_id IS NULL
			AND (h.reason IS NULL OR h.reason <> ALL (ARRAY['replaced', 'debounced', 'unsendable', 'carried_over']) OR h.started_at IS NOT NULL)
		GROUP BY h.job_id, n.name;
	CREATE VIEW public.counted AS
		SELECT job_name, runs, succeeded, failed, timed_out, cancelled, lost, skipped, missed, retries,
			round(mean_ms::numeric, 3) AS mean_ms, round(max_ms::numeric, 3) AS max_ms
		FROM jobsched.run_stats(NULL, NULL, NULL)});

# What the two differ in; a microsecond of a mean is what rounding makes of it.
my $differences = q{SELECT count(*) FROM public.said s FULL JOIN public.counted c USING (job_name)
	WHERE (s.runs, s.succeeded, s.failed, s.timed_out, s.cancelled, s.lost, s.skipped, s.missed, s.retries, s.max_ms)
		IS DISTINCT FROM (c.runs, c.succeeded, c.failed, c.timed_out, c.cancelled, c.lost, c.skipped, c.missed, c.retries, c.max_ms)
		OR abs(s.mean_ms - c.mean_ms) > 0.002};

sub check_counted
{
	my ($what) = @_;

	wait_drained($node, $db);
	return wait_value($node, $db, $differences, '0', "$what: statistics are what history says");
}

# ------------------------------------------------------------------------
# What becomes of runs
# ------------------------------------------------------------------------

as('app', q{
	SELECT jobsched.create_job('good', command => 'SELECT 1'),
		jobsched.create_job('slow', command => 'SELECT pg_sleep(0.2)', queue => NULL),
		jobsched.create_job('bad', command => 'SELECT 1 / 0'),
		jobsched.create_job('again', command => 'SELECT 1 / 0', max_attempts => 3, backoff => 'fixed', backoff_base => '10 ms', retry_on => ARRAY['22012']),
		jobsched.create_job('late', command => 'SELECT pg_sleep(60)', timeout => '100 ms'),
		jobsched.create_job('never', command => 'SELECT 1'),
		jobsched.create_job('steps', steps => '[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT pg_sleep(0.1)", "after": ["a"]}]'),
		jobsched.create_job('busy', 'every 2 seconds', 'SELECT pg_sleep(4.5)', max_runs => 3)});
as('app', q{SELECT jobsched.pause_job('never'), jobsched.trigger('never') AS run_id; SELECT jobsched.cancel_run(run_id) FROM jobsched.runs WHERE job_name = 'never'});
as('app', q{SELECT jobsched.trigger(j) FROM unnest(ARRAY['good', 'good', 'slow', 'bad', 'again', 'late', 'steps', 'good']) j;
	SELECT jobsched.trigger_batch('good', ARRAY['{"a": 1}', '{"a": 2}']::jsonb[])});
wait_until($node, $db, q{SELECT count(*) >= 2 FROM jobsched.runs WHERE job_name = 'busy' AND status IN ('succeeded', 'skipped')}, 'slots were passed over');
as('app', q{SELECT jobsched.drop_job('busy')});
check_counted('runs that end in all ways');
is(as('app', q{SELECT runs, succeeded, failed, retries FROM jobsched.run_stats(NULL, NULL, NULL, 'again')}), '1|0|1|2', 'retries are counted');
is(as('app', q{SELECT count(*) FROM jobsched.run_stats(NULL, NULL, NULL) WHERE job_name LIKE 'steps%'}), '1', 'steps are in the run of their job');
is(as('app', q{SELECT period, runs, succeeded, success_rate, runs_before, last_succeeded_at IS NOT NULL FROM jobsched.job_stats WHERE job_name = 'good' ORDER BY period}),
	"01:00:00|5|5|1|0|t\n1 day|5|5|1|0|t\n7 days|5|5|1|0|t", 'view job_stats');
is(as('other', 'SELECT count(*) FROM jobsched.run_stats(NULL, NULL, NULL)'), '0', 'others see nothing');
is(as('other', 'SELECT count(*) FROM jobsched.job_stats'), '0', 'nor in the view');
is(as('watcher', q{SELECT runs FROM jobsched.run_stats(NULL, NULL, NULL, 'good')}), '5', 'pg_monitor sees all');
like(error_of($node, $db, q{SELECT jobsched.run_stats(NULL, NULL, NULL, 'good')}, 'other'), qr/job "good" does not exist/, 'nor do they learn of jobs');
like(error_of($node, $db, q{SELECT jobsched.stat_reset('good')}, 'watcher'), qr/job "good" does not exist/, 'who sees a job may not reset it');

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

as('app', q{SELECT jobsched.create_job('load', command => 'SELECT 1'), jobsched.create_job('flaky', command => 'SELECT 1 / (random() * 3)::int', max_attempts => 2, backoff => 'fixed', backoff_base => '50 ms', retry_on => ARRAY['22012'])});

sub victim
{
	my ($kind) = @_;
	my @workers = worker_pids($node, $db);

	return $kind eq 'worker' && @workers ? $workers[ int rand @workers ] : scheduler_pid($node, $db);
}

for my $cycle (1 .. $cycles)
{
	my $kind = (qw(scheduler worker postmaster))[ $cycle % 3 ];

	as('app', q{SELECT count(jobsched.trigger(CASE WHEN n % 4 = 0 THEN 'flaky' ELSE 'load' END)) FROM generate_series(1, 2000) n});
	usleep(50_000 + int rand 2_500_000);
	if ($kind eq 'postmaster')
	{
		kill_and_start($node);
	}
	else
	{
		kill 9, victim($kind);
		wait_connection($node, $db);
	}
	wait_scheduler($node, $db);
	check_counted("kill -9 of the $kind ($cycle)");
}

# An error of the scheduler is no crash of the server: what workers have told nobody yet stays.
for my $cycle (1 .. 3)
{
	as('app', q{SELECT count(jobsched.trigger('load')) FROM generate_series(1, 1000)});
	usleep(20_000 + int rand 600_000);
	psql('SELECT pg_terminate_backend(' . scheduler_pid($node, $db) . ')');
	wait_scheduler($node, $db);
	check_counted("the scheduler ends in between ($cycle)");
}

# ------------------------------------------------------------------------
# Percentiles
# ------------------------------------------------------------------------

# History that is made up, counted by a scheduler that starts.
sub recount
{
	my ($since) = @_;
	my $pid = scheduler_pid($node, $db);

	psql("UPDATE jobsched_internal.stat_mark SET counted_before = $since") if $since;
	kill 9, $pid;
	wait_connection($node, $db);
	wait_scheduler($node, $db);
	return 1;
}

as('app', q{SELECT jobsched.create_job(j, command => 'SELECT 1') FROM unnest(ARRAY['normal', 'wide', 'tiny', 'two', 'few']) j});
psql(q{
	SELECT setseed(0.85);
	INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source, run_at, queued_at, started_at, finished_at)
	SELECT 1000000 + row_number() OVER (), (SELECT segment FROM jobsched_internal.ring WHERE ring = 0), 1, d.job_id, d.owner, 0, 0, 'succeeded', 'trigger',
		d.finished_at - d.duration - d.delay, d.finished_at - d.duration - d.delay, d.finished_at - d.duration, d.finished_at
	FROM (SELECT j.job_id, j.owner, jobsched_internal.clock_now() - random() * interval '30 s' AS finished_at,
			interval '1 s' * CASE j.name
				WHEN 'normal' THEN greatest(0.2 + 0.05 * (random() + random() + random() + random() - 2), 0)
				WHEN 'wide' THEN exp(6 * (random() + random() + random() - 1.5))
				WHEN 'tiny' THEN 0.00002 * random()
				WHEN 'two' THEN CASE WHEN random() < 0.9 THEN 0.01 ELSE 90 END
				ELSE random() END AS duration,
			interval '1 s' * exp(8 * random() - 8) AS delay
		FROM jobsched_internal.job j, generate_series(1, CASE j.name WHEN 'few' THEN 3 ELSE 5000 END) n
		WHERE j.name = ANY (ARRAY['normal', 'wide', 'tiny', 'two', 'few'])) d});
recount();
check_counted('history that was counted again');
is( psql(q{
	WITH exact AS (
		SELECT j.name AS job_name, percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at) * 1000) AS p,
			percentile_disc(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - run_at) * 1000) AS delay
		FROM jobsched_internal.history h JOIN jobsched_internal.job j USING (job_id) WHERE run_id > 1000000 GROUP BY 1),
	pairs AS (
		SELECT job_name, v.exact, v.said
		FROM exact JOIN jobsched.run_stats(NULL, NULL, NULL) s USING (job_name),
			LATERAL (VALUES (p[1], s.p50_ms), (p[2], s.p95_ms), (p[3], s.p99_ms), (delay, s.delay_p95_ms)) v (exact, said))
	-- to the microsecond, of which there is no half
	SELECT count(*), string_agg(format('%s: %s instead of %s', job_name, said, exact), ', ') FILTER (WHERE abs(said - exact) > 0.1 * exact + 0.001) FROM pairs}),
	'20|', 'percentiles are within 10 % of the exact ones');

# ------------------------------------------------------------------------
# Buckets
# ------------------------------------------------------------------------

as('app', q{SELECT jobsched.create_job('hours', command => 'SELECT 1')});
psql(q{
	INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source, run_at, queued_at, started_at, finished_at)
	SELECT 2000000 + n, (SELECT segment FROM jobsched_internal.ring WHERE ring = 0), 1, j.job_id, j.owner, 0, 0, 'succeeded', 'schedule', t, t, t, t
	FROM jobsched_internal.job j, generate_series(0, 95) n, LATERAL (SELECT date_trunc('day', now(), 'UTC') - interval '6 days' + n * interval '1 h' AS t) s
	WHERE j.name = 'hours'});
psql(q{DELETE FROM jobsched_internal.stat});
recount(q{'2000-01-01'});
check_counted('all of history');
is(psql(q{SELECT count(*), min(runs), max(runs), sum(runs) FROM jobsched.run_stats(NULL, NULL, '1 day', 'hours', timezone => 'UTC')}), '4|24|24|96', 'days of UTC');
is(psql(q{SELECT count(*), min(runs), max(runs), sum(runs) FROM jobsched.run_stats(NULL, NULL, '1 day', 'hours', timezone => 'America/New_York') WHERE runs < 24}),
	psql(q{SELECT count(*), min(n), max(n), sum(n) FROM (SELECT count(*) AS n FROM jobsched_internal.history h JOIN jobsched_internal.job j USING (job_id) WHERE j.name = 'hours'
		GROUP BY date_trunc('day', h.finished_at, 'America/New_York')) d WHERE n < 24}), 'days of another zone');
is(psql(q{SELECT count(*), sum(runs), bool_and(bucket = date_trunc('day', bucket, 'Asia/Kolkata')) FROM jobsched.run_stats(NULL, NULL, '1 day', 'hours', timezone => 'Asia/Kolkata')}),
	'5|96|t', 'where days do not begin with an hour of UTC an hour counts for the day in which it begins');
is(psql(q{SELECT count(*) BETWEEN 1 AND 2, sum(runs) FROM jobsched.run_stats(NULL, NULL, '1 month', 'hours')}), 't|96', 'months');
advance_clock($node, $db, '7 h');
wait_value($node, $db, q{SELECT sum(runs) FROM jobsched.run_stats(date_trunc('day', now(), 'UTC') - interval '6 days' + interval '90 minutes',
	date_trunc('day', now(), 'UTC') - interval '5 days', '1 h', 'hours')}, '23', 'a range: the hour in which it begins counts as a whole');

# ------------------------------------------------------------------------
# Time
# ------------------------------------------------------------------------

# How much is kept of it, in bytes.
my $size = q{SELECT sum(pg_column_size(s)) FROM jobsched_internal.stat s JOIN jobsched_internal.job j USING (job_id) WHERE j.name = 'seconds'};

# A job that ran once a second for two days, in hours; then days.
as('app', q{SELECT jobsched.create_job('seconds', command => 'SELECT 1')});
psql(q{
	SELECT setseed(0.5);
	INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source, run_at, queued_at, started_at, finished_at)
	SELECT 3000000 + n, (SELECT segment FROM jobsched_internal.ring WHERE ring = 0), 1, j.job_id, j.owner, 0, 0, 'succeeded', 'schedule',
		t, t, t + interval '1 ms' * (1 + 3 * random()), t + interval '1 ms' * (10 + 30 * random())
	FROM jobsched_internal.job j, generate_series(0, 172799) n, LATERAL (SELECT date_trunc('day', now(), 'UTC') - interval '3 days' + n * interval '1 s' AS t) s
	WHERE j.name = 'seconds'});
psql(q{DELETE FROM jobsched_internal.stat});
recount(q{'2000-01-01'});
check_counted('a run a second');
advance_clock($node, $db, '7 h');	# then all rows are gone through
wait_until($node, $db, qq{SELECT ($size) < 48 * 200}, 'an hour of a run a second takes less than 200 bytes');
note('two days in hours: ', psql($size), ' bytes');
advance_clock($node, $db, '35 days');
wait_until($node, $db, qq{SELECT ($size) < 800}, 'hours become days, and small rows join');
note('in days: ', psql($size), ' bytes');
cmp_ok(psql(q{SELECT count(*) FROM jobsched.run_stats(NULL, NULL, '1 h', 'seconds')}), '<', 5, 'there are no hours any more');
is(psql($differences), '0', 'and nothing is lost by that');
is(psql(q{SELECT count(*) FROM jobsched.run_stats(jobsched_internal.clock_now() - interval '7 days', NULL, '1 h')}), '0', 'nothing of late');
as('app', q{SELECT jobsched.trigger('good')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.run_stats(jobsched_internal.clock_now() - interval '7 days', NULL, '1 h')}, '1', 'what is new is counted');
wait_drained($node, $db);

# An idle scheduler leaves nothing that would have to be counted again.
advance_clock($node, $db, '4 minutes');
wait_until($node, $db, q{SELECT counted_before > (SELECT max(finished_at) FROM jobsched_internal.history) FROM jobsched_internal.stat_mark}, 'the mark moves on');

# ------------------------------------------------------------------------
# Resets, names, drops
# ------------------------------------------------------------------------

as('app', q{SELECT jobsched.alter_job('wide', name => 'wider')});
is(as('app', q{SELECT runs FROM jobsched.run_stats(NULL, NULL, NULL, 'wider')}), '5000', 'a job that is renamed keeps its statistics');
as('app', q{SELECT jobsched.drop_job('tiny')});
is(as('app', q{SELECT runs FROM jobsched.run_stats(NULL, NULL, NULL) WHERE job_name = 'tiny'}), '5000', 'so does one that is dropped');
as('app', q{SELECT jobsched.stat_reset('wider')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.run_stats(NULL, NULL, NULL, 'wider')}, '0', 'a reset');
as('app', q{SELECT jobsched.trigger('wider') FROM generate_series(1, 3)});
wait_drained($node, $db);
wait_value($node, $db, q{SELECT runs FROM jobsched.run_stats(NULL, NULL, NULL, 'wider')}, '3', 'what comes after it counts');
advance_clock($node, $db, '1 s');
as('app', q{SELECT jobsched.stat_reset('wider')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.run_stats(NULL, NULL, NULL, 'wider')}, '0', 'once more');
kill_and_start($node);
wait_scheduler($node, $db);
as('app', q{SELECT jobsched.trigger('wider')});
wait_drained($node, $db);
wait_value($node, $db, q{SELECT runs FROM jobsched.run_stats(NULL, NULL, NULL, 'wider')}, '1', 'a recount leaves out what was before a reset');
as('app', q{SELECT jobsched.stat_reset()});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.run_stats(NULL, NULL, NULL) WHERE job_name <> ALL (ARRAY['tiny', 'busy'])}, '0', 'all at once');

# Who waits for another reset keeps nobody else waiting, nor the scheduler.
psql('CREATE ROLE third LOGIN; GRANT USAGE ON SCHEMA jobsched TO third');
as('third', q{SELECT jobsched.create_job('first', command => 'SELECT 1')});
as('other', q{SELECT jobsched.create_job('theirs', command => 'SELECT 1')});
my @resets = map { $node->background_psql($db, extra_params => [ '-U', 'third' ]) } 1, 2;
$resets[0]->query_safe('BEGIN; SELECT jobsched.stat_reset()');
$resets[1]->query_until(qr/begun/, "\\echo begun\nSELECT jobsched.stat_reset();\n");
wait_until($node, $db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%stat_reset%'}, 'a reset waits for another');
is(as('other', q{SET statement_timeout = '30s'; SELECT jobsched.stat_reset('theirs')}), '', 'a reset of somebody else does not');
wait_until($node, $db, q{SELECT served FROM jobsched_internal.stat_reset JOIN jobsched_internal.job USING (job_id) WHERE name = 'theirs'}, 'and is served');
$resets[0]->query_safe('COMMIT');
like($resets[1]->query_safe('SELECT 1'), qr{1$}, 'then the other comes to its end');
$_->quit for @resets;
wait_until($node, $db, q{SELECT bool_and(served) FROM jobsched_internal.stat_reset}, 'both are served');

# ------------------------------------------------------------------------
# Expiry, and what somebody has spoilt
# ------------------------------------------------------------------------

as('app', q{SELECT jobsched.trigger('good')});
wait_value($node, $db, q{SELECT runs FROM jobsched.run_stats(NULL, NULL, NULL, 'good')}, '1', 'one');
psql(q{UPDATE jobsched_internal.stat SET data = decode(repeat('ff00a7', 100), 'hex')});
is(psql(q{SELECT count(*) >= 0 FROM jobsched.run_stats(NULL, NULL, '1 h')}), 't', 'bytes that make no sense are left out');
as('app', q{SELECT jobsched.trigger('good')});
wait_until($node, $db, q{SELECT runs >= 1 FROM jobsched.run_stats(NULL, NULL, NULL, 'good')}, 'and the scheduler goes on');
wait_drained($node, $db);
advance_clock($node, $db, '500 days');
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.stat', '0', 'what has expired goes');
unlike($node->logfile ? PostgreSQL::Test::Utils::slurp_file($node->logfile) : '', qr/TRAP|could not.*stat|stat_pkey/, 'nothing in the log');

$node->stop;
done_testing();
