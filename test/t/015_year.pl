# Copyright (c) 2026, jobsched contributors

# A year of mixed schedules, by a mocked clock: each slot of each job has one
# run, at its time; then, with a clock that is set forward and back again and
# again, no slot has two, none is forgotten, and no schedule stalls.
#
# The model is the list of slots from the definition on, which does not know
# of steps, late slots or what has been done.  JOBSCHED_YEAR_SEED repeats a run.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{JOBSCHED_YEAR_SEED} || 2028;
my $db = 'postgres';

note "JOBSCHED_YEAR_SEED=$seed";
srand($seed);

my $node = jobsched_node('year', conf => q{
jobsched.history_retention = '7300d'
jobsched.failure_retention = '7300d'
timezone = 'UTC'
log_statement = none
fsync = off
});
create_extension($node, $db);
define_clock($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

# ------------------------------------------------------------------------
# The jobs: name, schedule, zone
# ------------------------------------------------------------------------

my $begin = '2027-11-05 11:17:03';    # two days before clocks change in New York
my $end = '2028-11-05 11:17:03';      # hours after they did again
my @jobs = (
	# once a day, in zones whose clocks change at different hours, or the other way round
	[ 'berlin',      '30 2 * * *',           'Europe/Berlin' ],
	[ 'new york',    '30 1 * * *',           'America/New_York' ],
	[ 'havana',      '0 0 * * *',            'America/Havana' ],
	[ 'lord howe',   '45 1 * * *',           'Australia/Lord_Howe' ],
	[ 'casablanca',  '30 2 * * *',           'Africa/Casablanca' ],
	[ 'st johns',    '@daily',               'America/St_Johns' ],
	[ 'kathmandu',   '@midnight',            'Asia/Kathmandu' ],
	# wildcards around the changes
	[ 'gap wild',    '*/20 * 12 3 *',        'America/New_York' ],
	[ 'gap listed',  '10,40 1-3 26 3 *',     'Europe/Berlin' ],
	[ 'twice wild',  '*/15 * 29 10 *',       'Europe/London' ],
	[ 'twice fixed', '10,40 0-3 29 10 *',    'Europe/London' ],
	[ 'hour wild',   '30 * L 10 ?',          'Europe/Berlin' ],
	[ 'minute wild', '*/7 3 1 4 *',          'Australia/Lord_Howe' ],
	# seconds
	[ 'seconds',     '*/15 0 3 L * *',       'Asia/Tokyo' ],
	[ 'sec list',    '1,2,59 59 23 31 DEC ?', 'UTC' ],
	[ 'sec gap',     '30 30 2 26 3 *',       'Europe/Berlin' ],
	# days
	[ 'last',        '0 6 L * *',            'Asia/Tokyo' ],
	[ 'before last', '0 6 L-3 * *',          'UTC' ],
	[ 'last work',   '0 18 LW * *',          'Africa/Cairo' ],
	[ 'near 15',     '0 8 15W * *',          'UTC' ],
	[ 'near 1',      '0 8 1W * *',           'UTC' ],
	[ 'near 31',     '0 8 31W * *',          'UTC' ],
	[ 'second mon',  '0 9 * * MON#2',        'Europe/London' ],
	[ 'fifth sat',   '0 9 * * SAT#5',        'UTC' ],
	[ 'last fri',    '5 5 * * 5L',           'America/Sao_Paulo' ],
	[ 'last fri 2',  '5 5 * * FRI#L',        'America/Sao_Paulo' ],
	[ 'either day',  '0 12 13 * FRI',        'UTC' ],
	[ 'both days',   '0 12 */10 * MON',      'UTC' ],
	[ 'wraps',       '0 22-2 * NOV-FEB FRI-SUN', 'Pacific/Auckland' ],
	[ 'steps',       '5/25 6/6 1/10 1/3 ?',  'UTC' ],
	[ 'question',    '0 4 ? * WED',          'Asia/Tehran' ],
	[ 'sunday',      '0 4 * * 0,7',          'UTC' ],
	[ 'leap',        '0 12 29 2 *',          'UTC' ],
	[ 'weekly',      '@weekly',              'Asia/Kathmandu' ],
	[ 'monthly',     '@monthly',             'America/Sao_Paulo' ],
	[ 'yearly',      '@yearly',              'Pacific/Kiritimati' ],
	[ 'annually',    '@annually',            'Pacific/Pago_Pago' ],
	# spread
	[ 'hashed',      'H H * * *',            'Europe/Berlin' ],
	[ 'hashed six',  'H H H(0-5) * * SAT',   'America/New_York' ],
	[ 'hash steps',  'H H/8 H(1-28) * *',    'UTC' ],
	# intervals
	[ 'seconds of',  'every 300007 seconds', 'UTC' ],
	[ 'hours',       'every 36 hours',       'Europe/Berlin' ],
	[ 'days',        'every 5 days',         'America/New_York' ],
	[ 'weeks',       'every 2 weeks',        'Europe/Berlin' ],
	[ 'month',       'every month',          'Europe/Berlin' ],
	[ 'quarter',     'every 3 months',       'UTC' ],
	[ 'year',        'every 1 year',         'UTC' ],
	# once
	[ 'instant',     '2028-02-29T23:59:59Z', 'UTC' ],
	[ 'with offset', '2028-05-01T10:00:00+05:30', 'UTC' ],
	[ 'local',       '2028-07-01 09:30',     'Europe/Berlin' ],
	[ 'in the gap',  '2028-03-26 02:30',     'Europe/Berlin' ],
	[ 'overlap',     '2028-10-29 02:30',     'Europe/Berlin' ]);

psql(q{
	-- When each job is due next, and whether anything is still to be done.
	CREATE VIEW next_due AS
		SELECT j.job_id, j.name, CASE WHEN s.schedule_revision = j.schedule_revision THEN s.next_run_at ELSE j.first_run_at END AS due
		FROM jobsched_internal.job j LEFT JOIN jobsched_internal.job_state s USING (job_id) WHERE dropped_at IS NULL;
	CREATE PROCEDURE settle() LANGUAGE plpgsql AS $$
	BEGIN
		WHILE (SELECT min(due) <= jobsched_internal.clock_now() FROM next_due) OR EXISTS (SELECT FROM jobsched_internal.run)
			OR EXISTS (SELECT FROM jobsched.running) LOOP
			COMMIT;
			PERFORM pg_sleep(0.0005);
		END LOOP;
		COMMIT;
	END $$;
	-- Goes from one slot of any job to the next.
	CREATE PROCEDURE drive(until timestamptz) LANGUAGE plpgsql AS $$
	DECLARE
		next timestamptz;
	BEGIN
		LOOP
			SELECT min(due) INTO next FROM next_due;
			EXIT WHEN next IS NULL OR next > until;
			PERFORM public.set_clock(next);
			CALL settle();
		END LOOP;
		PERFORM public.set_clock(until);
		CALL settle();
	END $$;
	-- The slots of all jobs, from their definition to an instant.
	CREATE TABLE model (job_id bigint, job text, n int, slot timestamptz, PRIMARY KEY (job_id, slot));
	CREATE PROCEDURE make_model(until timestamptz) LANGUAGE sql AS $$
		TRUNCATE model;
		INSERT INTO model
		SELECT job_id, name, row_number() OVER (PARTITION BY job_id ORDER BY s), s
		FROM jobsched_internal.job, jobsched_internal.slots_of(name, schedule, timezone, anchor, greatest(anchor, created_at), 10000) s
		WHERE dropped_at IS NULL AND s <= until;
		ANALYZE model;
	$$});

sub drive
{
	my ($until) = @_;
	return psql("CALL drive('$until UTC')");
}

# Defines jobs at an instant of the mocked clock.
sub define
{
	my ($when, @which) = @_;
	set_clock($node, $db, "$when UTC");
	psql(join '', map { "SELECT jobsched.create_job('$_->[0]', '$_->[1]', 'SELECT 1', timezone => '$_->[2]');\n" } @which);
	return;
}

# ------------------------------------------------------------------------
# A year
# ------------------------------------------------------------------------

define($begin, @jobs);
is(psql(q{SELECT count(*) FROM jobsched.jobs WHERE state = 'active'}), scalar(@jobs), scalar(@jobs) . ' jobs are defined');
psql("CALL make_model('$end UTC')");
is(psql(q{
	SELECT string_agg(name, ', ') FROM jobsched.jobs j
	WHERE schedule NOT LIKE '%H%' AND
		ARRAY(SELECT slot FROM model m WHERE m.job_id = j.job_id ORDER BY slot)
		<> ARRAY(SELECT s FROM jobsched.next_runs(j.schedule, j.timezone, j.created_at, 10000) s WHERE s <= } . "'$end UTC')"),
	'', 'the model is what next_runs() tells');
drive($end);
my ($runs, $instants) = split /\|/, psql('SELECT count(*), count(DISTINCT scheduled_for) FROM jobsched.runs');
cmp_ok($runs, '>', 3000, "a year has passed: $runs runs at $instants instants");
is(psql(q{
	SELECT string_agg(DISTINCT COALESCE(m.job, r.job_name) || ' ' || COALESCE(m.slot, r.scheduled_for) || ' ' || COALESCE(r.n, 0), ', ')
	FROM model m FULL JOIN (SELECT job_id, job_name, scheduled_for, count(*) AS n FROM jobsched.runs GROUP BY 1, 2, 3) r
		ON r.job_id = m.job_id AND r.scheduled_for = m.slot
	WHERE r.n IS DISTINCT FROM 1 OR m.slot IS NULL}),
	'', 'each slot has one run, and nothing else has any');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE status <> 'succeeded' OR missed_count <> 0 OR source <> 'schedule'}), '0', 'none was missed or skipped');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE started_at <> scheduled_for OR finished_at <> scheduled_for OR queued_at <> scheduled_for}), '0', 'each at its time');
is(psql(q{SELECT string_agg(name, ', ' ORDER BY name) FROM jobsched.jobs WHERE state = 'completed'}), 'in the gap, instant, local, overlap, with offset', 'what was to run once is completed');
is(psql(qq{
	SELECT string_agg(name, ', ') FROM jobsched.jobs j WHERE state = 'active' AND next_run_at IS DISTINCT FROM
		(SELECT s FROM jobsched_internal.slots_of(name, schedule, timezone, created_at, '$end UTC', 1) s)}), '', 'the others go on with the next slot');

# What the calendar says, without the parser: once on each date of the zone, at
# the hour that the clocks show, but on at most one day when they do not.
for my $job (grep { $_->[1] =~ /^(\d+) (\d+) \* \* \*$/ } @jobs)
{
	my ($name, $schedule, $zone) = @$job;
	my ($minute, $hour) = $schedule =~ /^(\d+) (\d+) /;
	my ($n, $dates, $span, $elsewhere) = split /\|/, psql(sprintf(q{
		SELECT count(*), count(DISTINCT t::date), max(t::date) - min(t::date) + 1, count(*) FILTER (WHERE t::time <> '%02d:%02d')
		FROM (SELECT scheduled_for AT TIME ZONE '%s' AS t FROM jobsched.runs WHERE job_name = '%s') r}, $hour, $minute, $zone, $name));
	is("$n $dates $span", '366 366 366', "$schedule ($zone): once on each date");
	cmp_ok($elsewhere, '<=', 1, 'at that time, but when there was none such');
}
# The clocks of Berlin went from 02:00 to 03:00 on 26 March 2028.
is(psql(q{SELECT string_agg(job_name, ', ' ORDER BY job_name) FROM jobsched.runs WHERE scheduled_for = '2028-03-26 01:00:00 UTC' AND job_name IN ('berlin', 'in the gap', 'sec gap', 'gap listed')}),
	'berlin, gap listed, in the gap, sec gap', 'what falls into a gap runs at its end');
is(psql(q{SELECT scheduled_for FROM jobsched.runs WHERE job_name = 'overlap'}), '2028-10-29 00:30:00+00', 'what comes twice runs the first time');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'twice wild'}), '100', 'with a wildcard both times: 25 hours');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'twice fixed'}), '8', 'else once');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'gap wild'}), '69', 'the day of the gap has 23 hours');

# ------------------------------------------------------------------------
# The clock is set
# ------------------------------------------------------------------------

# Steps at random instants: minutes, hours, days, either way; sometimes the
# scheduler is replaced while the clock is wrong.  The first ones are given, for
# what must have happened whatever the seed is: the clock goes far ahead, back to
# before what it has passed over, and ahead beyond what was done meanwhile.
psql('SELECT jobsched.drop_job(name) FROM jobsched.jobs');
wait_drained($node, $db);
my $last_run = psql('SELECT max(run_id) FROM jobsched.runs');
my @stepped = (
	[ 'each night',  '30 2 * * *',           'Europe/Berlin' ],
	[ 'each noon',   '@daily',               'Pacific/Auckland' ],
	[ 'four',        '15 */6 1-7 * *',       'America/New_York' ],
	[ 'burst',       '*/10 10-11 10,20 * *', 'UTC' ],
	[ 'quick burst', '*/20 0,1 0 5 * *',     'UTC' ],
	[ 'each week',   '0 9 * * MON',          'Europe/London' ],
	[ 'each month',  '0 6 L * *',            'Asia/Tokyo' ],
	[ 'hours',       'every 31 hours',       'UTC' ],
	[ 'days',        'every 3 days',         'Europe/Berlin' ],
	[ 'hash',        'H H * * *',            'UTC' ],
	[ 'once',        '2029-06-15T12:00:00Z', 'UTC' ]);
define('2028-12-01 00:00:00', @stepped);
my $epoch = psql(q{SELECT extract(epoch FROM timestamptz '2028-12-01 UTC')::bigint});
my $day = 86400;
my @sizes = (90, 1800, 3600, 5 * 3600, $day, 3 * $day, 10 * $day);
my @given = (10 * $day, -10 * $day, 14 * $day);
my $at = 0;        # seconds since then, by the mocked clock
my $farthest = 0;

sub instant
{
	my ($s) = @_;
	return psql("SELECT to_char(to_timestamp($epoch + $s) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')");
}

# Sets the clock; the scheduler has seen it when this returns.  A step that has
# ended since may have begun before; the next one has not.
sub step_clock
{
	my ($when) = @_;

	set_clock($node, $db, "$when UTC");
	for (1 .. 2)
	{
		my $now = psql('SELECT clock_timestamp()');

		set_clock($node, $db, "$when UTC");    # wakes it
		wait_until($node, $db, "SELECT last_active_at > '$now' FROM jobsched_internal.scheduler()", 'the scheduler has made a step');
	}
	return;
}

for my $step (1 .. 24)
{
	my $size = $sizes[ rand @sizes ] + int(rand(60));
	my $move = $given[ $step - 1 ] // (rand() < 0.5 ? $size : -$size);

	# on for some days, then a step
	$at += int(rand(($step <= @given ? 2 : 20) * $day));
	drive(instant($at));
	$farthest = $at if $at > $farthest;
	$at += $move;
	$at = 1 if $at < 1;
	step_clock(instant($at));
	if ($step % 6 == 0)
	{
		my $pid = scheduler_pid($node, $db);
		kill 'TERM', $pid;
		wait_new_scheduler($node, $db, $pid);
	}
	psql('CALL settle()');
	$farthest = $at if $at > $farthest;
}
# Beyond all instants that the clock has shown, and some weeks more.
my $caught_up = instant($farthest);
my $finish = instant($farthest + 40 * $day);
drive($caught_up);
drive($finish);
psql("CALL make_model('$finish UTC')");

my $fired = "SELECT job_id, job_name, scheduled_for, missed_count, run_id FROM jobsched.runs WHERE run_id > $last_run AND job_id IN (SELECT job_id FROM model)";
cmp_ok(psql("SELECT count(*) FROM ($fired) f"), '>', 500, '24 steps of the clock until ' . $finish);
cmp_ok(psql("SELECT count(*) FROM ($fired) f WHERE missed_count > 0"), '>', 0, 'some slots were missed');
is(psql("SELECT string_agg(DISTINCT job_name || ' ' || scheduled_for, ', ') FROM (SELECT job_name, scheduled_for FROM ($fired) f GROUP BY 1, 2 HAVING count(*) > 1) d"),
	'', 'no slot has two runs');
is(psql("SELECT string_agg(job_name || ' ' || scheduled_for, ', ') FROM ($fired) f WHERE NOT EXISTS (SELECT FROM model m WHERE m.job_id = f.job_id AND m.slot = f.scheduled_for)"),
	'', 'no run has a slot that there is not');
# A run stands for the last slots before its own that had no run until then.
psql(qq{
	CREATE TABLE fired AS
		SELECT m.job_id, m.n, f.missed_count, f.run_id FROM ($fired) f JOIN model m ON m.job_id = f.job_id AND m.slot = f.scheduled_for;
	CREATE TABLE stood_for AS
		SELECT f.job_id, f.run_id, f.n - m.n AS back, m.n FROM fired f, LATERAL (
			SELECT m.n FROM model m
			WHERE m.job_id = f.job_id AND m.n < f.n AND
				NOT EXISTS (SELECT FROM fired e WHERE e.job_id = f.job_id AND e.n = m.n AND e.run_id < f.run_id)
			ORDER BY m.n DESC LIMIT f.missed_count) m});
is(psql(q{
	SELECT string_agg(job || ' ' || slot, ', ') FROM model m
	WHERE NOT EXISTS (SELECT FROM fired f WHERE f.job_id = m.job_id AND f.n = m.n) AND
		NOT EXISTS (SELECT FROM stood_for s WHERE s.job_id = m.job_id AND s.n = m.n)}),
	'', 'each slot has its run or is one of those that a later run stands for');
cmp_ok(psql('SELECT count(*) FROM fired f WHERE missed_count < (SELECT max(back) FROM stood_for s WHERE s.run_id = f.run_id)'), '>', 0,
	'some runs stand for slots before and after others that were done');
is(psql(qq{SELECT string_agg(m.job || ' ' || m.slot, ', ') FROM model m LEFT JOIN ($fired) f ON f.job_id = m.job_id AND f.scheduled_for = m.slot
	WHERE m.slot > '$caught_up UTC' AND f.missed_count IS DISTINCT FROM 0}), '', 'once the clock has caught up each slot fires in its time');
is(psql(qq{SELECT string_agg(name, ', ') FROM jobsched.jobs j WHERE next_run_at IS DISTINCT FROM
	(SELECT s FROM jobsched_internal.slots_of(name, schedule, timezone, (SELECT anchor FROM jobsched_internal.job i WHERE i.job_id = j.job_id), '$finish UTC', 1) s)}), '', 'no schedule has stalled');
is(psql("SELECT string_agg(concat_ws(' ', job_name, status, reason, scheduled_for, missed_count, queued_at), ', ') FROM jobsched.runs WHERE run_id > $last_run AND status <> 'succeeded'"),
	'', 'no run has failed, none was skipped');

check_log($node);
$node->stop;
done_testing();
