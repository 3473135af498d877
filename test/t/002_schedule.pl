# Copyright (c) 2026, jobsched contributors

# Slots: by the real clock for some seconds, by a mocked one for months and
# years.  Each slot fires once, and the model says which there are:
# jobsched.next_runs().

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('schedule', conf => "jobsched.history_retention = '7300d'\n");
create_extension($node, $db);
define_clock($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

# ------------------------------------------------------------------------
# The real clock
# ------------------------------------------------------------------------

psql(q{
	SELECT jobsched.create_job('each', '* * * * * *', 'SELECT 1');
	SELECT jobsched.create_job('third', '*/3 * * * * *', 'SELECT 1');
	SELECT jobsched.create_job('every', 'every 2 seconds', 'SELECT 1');
	SELECT jobsched.create_job('at start', '@startup', 'SELECT 1');
	SELECT jobsched.create_job('once', (now() + interval '2 s')::text, 'SELECT 1');
	SELECT jobsched.create_job('never', NULL, 'SELECT 1')});
my $once_at = psql(q{SELECT next_run_at FROM jobsched.jobs WHERE name = 'once'});
wait_until($node, $db, q{
	SELECT max(scheduled_for) - min(scheduled_for) >= interval '6 s' FROM jobsched.runs WHERE job_name = 'each'},
	'six seconds have passed');
check_slots($node, $db, 'each', 1, 'each second fires once');
check_slots($node, $db, 'third', 3, 'each third second fires once');
check_slots($node, $db, 'every', 2, 'each interval fires once');
is(psql(q{SELECT bool_and(extract(second FROM scheduled_for) = floor(extract(second FROM scheduled_for))
		AND extract(second FROM scheduled_for)::int % 3 = 0) FROM jobsched.runs WHERE job_name = 'third'}),
	't', 'at the instants that the schedule says');
is(psql(q{SELECT bool_and(extract(epoch FROM r.scheduled_for - j.anchor) % 2 = 0)
		AND bool_or(r.scheduled_for - j.anchor = '2 s')
		FROM jobsched.runs r JOIN jobsched_internal.job j USING (job_id) WHERE j.name = 'every'}),
	't', 'intervals count from the definition of the job and do not drift');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE source = 'schedule' AND started_at < scheduled_for}),
	'0', 'none starts before its time');
is(psql(q{SELECT status, source, scheduled_for = run_at FROM jobsched.runs WHERE job_name = 'once'}),
	'succeeded|schedule|t', 'a timestamp fires');
is(psql(q{SELECT scheduled_for FROM jobsched.runs WHERE job_name = 'once'}), $once_at, 'at its time');
is(psql(q{SELECT state, next_run_at IS NULL FROM jobsched.jobs WHERE name = 'once'}), 'completed|t', 'once');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name IN ('at start', 'never')}), '0',
	'@startup does not fire at its definition, no schedule never');
psql(q{SELECT jobsched.drop_job(name) FROM jobsched.jobs WHERE name IN ('each', 'third', 'every')});

# ------------------------------------------------------------------------
# @startup
# ------------------------------------------------------------------------

my $startups = q{SELECT string_agg(status || ' ' || source, ', ') FROM jobsched.runs WHERE job_name = 'at start'};
$node->restart;
wait_value($node, $db, $startups, 'succeeded startup', '@startup fires when the server starts');
my $old = scheduler_pid($node, $db);
kill 'TERM', $old;
wait_new_scheduler($node, $db, $old);
run_job($node, $db, 'never');
is(psql($startups), 'succeeded startup', 'not when a scheduler starts');
$node->restart;
wait_value($node, $db, $startups, 'succeeded startup, succeeded startup', 'once for each start of the server');
is(psql(q{SELECT state FROM jobsched.jobs WHERE name = 'at start'}), 'active', 'and it stays active');

# ------------------------------------------------------------------------
# A change of the schedule
# ------------------------------------------------------------------------

set_clock($node, $db, '2027-05-03 10:00:30 UTC');
psql(q{SELECT jobsched.create_job('moved', '* * * * *', 'SELECT 1')});
is(psql(q{SELECT next_run_at = '2027-05-03 10:01:00 UTC' FROM jobsched.jobs WHERE name = 'moved'}), 't', 'the first slot comes after the definition');
set_clock($node, $db, '2027-05-03 10:01:00 UTC');
wait_caught_up($node, $db);
psql(q{SELECT jobsched.alter_job('moved', schedule => '*/10 * * * *')});
is(psql(q{SELECT next_run_at = '2027-05-03 10:10:00 UTC' FROM jobsched.jobs WHERE name = 'moved'}), 't', 'a new schedule counts at once');
psql(q{SELECT jobsched.alter_job('moved', timezone => 'Asia/Kolkata', schedule => '0 16 * * *')});
is(psql(q{SELECT next_run_at = '2027-05-03 10:30:00 UTC' FROM jobsched.jobs WHERE name = 'moved'}), 't', 'so does a new zone');
psql(q{SELECT jobsched.alter_job('moved', schedule => '')});
is(psql(q{SELECT state, next_run_at IS NULL, schedule IS NULL FROM jobsched.jobs WHERE name = 'moved'}), 'active|t|t', 'and none at all');
set_clock($node, $db, '2027-05-03 11:00:00 UTC');
psql(q{SELECT jobsched.alter_job('moved', schedule => '0 12 * * *', timezone => 'UTC')});
psql(q{BEGIN; SELECT jobsched.alter_job('moved', schedule => '5 11 * * *'); ROLLBACK});
set_clock($node, $db, '2027-05-03 11:30:00 UTC');
wait_caught_up($node, $db);
is(psql(q{SELECT array_agg(scheduled_for AT TIME ZONE 'UTC' ORDER BY 1) FROM jobsched.runs WHERE job_name = 'moved'}),
	'{"2027-05-03 10:01:00"}', 'slots of schedules that no longer hold, or never did, do not fire');
psql(q{SELECT jobsched.drop_job(name) FROM jobsched.jobs});

# ------------------------------------------------------------------------
# Months and years against the model
# ------------------------------------------------------------------------

# Steps the clock from one slot of any job to the next; what has run must be
# what next_runs() says for the time from the definition to the end.  Returns
# the number of runs of each job.
sub drive
{
	my ($from, $to, @jobs) = @_;
	my %count;

	set_clock($node, $db, $from);
	for my $job (@jobs)
	{
		my ($name, $schedule, $zone) = @$job;
		psql("SELECT jobsched.create_job('$name', '$schedule', 'SELECT 1', timezone => '$zone')");
	}
	# One session does the stepping; each step waits for the queue to be empty.
	psql(qq{
		CREATE OR REPLACE PROCEDURE public.drive(until timestamptz) LANGUAGE plpgsql AS \$\$
		DECLARE
			due timestamptz;
		BEGIN
			LOOP
				SELECT min(next_run_at) INTO due FROM jobsched.jobs;
				EXIT WHEN due IS NULL OR due > until;
				PERFORM public.set_clock(due);
				COMMIT;
				WHILE EXISTS (SELECT FROM jobsched.jobs WHERE next_run_at <= due)
					OR EXISTS (SELECT FROM jobsched_internal.run)
					OR EXISTS (SELECT FROM jobsched.running)
				LOOP
					COMMIT;
					PERFORM pg_sleep(0.001);
				END LOOP;
				COMMIT;
			END LOOP;
			PERFORM public.set_clock(until);
		END \$\$});
	psql("SET lock_timeout = 0; CALL public.drive('$to')");
	wait_caught_up($node, $db);
	for my $job (@jobs)
	{
		my ($name, $schedule, $zone) = @$job;
		my $id = psql("SELECT job_id FROM jobsched.jobs WHERE name = '$name'");
		my $diff = psql(qq{
			WITH model AS (SELECT s FROM jobsched.next_runs('$schedule', '$zone', '$from', 10000) s WHERE s <= '$to'),
				fired AS (SELECT scheduled_for AS s, count(*) AS n FROM jobsched.runs
					WHERE job_id = $id AND status = 'succeeded' AND missed_count = 0 GROUP BY 1)
			SELECT m.s, f.s, f.n FROM model m FULL JOIN fired f ON m.s = f.s
			WHERE m.s IS NULL OR f.s IS NULL OR f.n <> 1 ORDER BY 1, 2 LIMIT 5});
		my $n = psql("SELECT count(*) FROM jobsched.runs WHERE job_id = $id");
		is($diff, '', "$schedule ($zone): $n slots, each once");
		$count{$name} = $n;
	}
	psql(q{SELECT jobsched.drop_job(name) FROM jobsched.jobs});
	return \%count;
}

my $count = drive(
	'2027-02-20 11:17:03 UTC', '2027-04-05 00:00:00 UTC',
	[ 'nyc night',  '30 2 * * *',        'America/New_York' ],
	[ 'nyc wild',   '15 */6 * * *',      'America/New_York' ],
	[ 'berlin gap', '15,45 1-3 * * SUN', 'Europe/Berlin' ],
	[ 'howe',       '10 2 * * *',        'Australia/Lord_Howe' ],
	[ 'month end',  '0 6 L * *',         'Asia/Tokyo' ],
	[ 'second mon', '0 9 * * MON#2',     'Europe/London' ],
	[ 'weekday',    '0 8 15W * *',       'UTC' ],
	[ 'vixie',      '0 0 13 * FRI',      'UTC' ],
	[ 'interval',   'every 7 hours',     'UTC' ],
	[ 'calendar',   'every 1 week',      'Europe/Berlin' ]);
cmp_ok($count->{'nyc night'}, '==', 43, 'a local time in the gap in spring fires all the same, once');

$count = drive(
	'2027-10-20 00:00:00 UTC', '2027-11-14 00:00:00 UTC',
	[ 'nyc night',  '30 1 * * *',   'America/New_York' ],
	[ 'nyc wild',   '30 * * * *',   'America/New_York' ],
	[ 'berlin',     '30 2 * * *',   'Europe/Berlin' ],
	[ 'ireland',    '0 1 * * *',    'Europe/Dublin' ]);
cmp_ok($count->{'nyc night'}, '==', 25, 'a local time in the overlap in autumn fires once');
cmp_ok($count->{'nyc wild'}, '==', 24 * 25, 'a wildcard hour fires in both passes');

drive('2027-01-01 00:00:00 UTC', '2028-03-01 00:00:00 UTC',
	[ 'monthly', '@monthly',        'America/Sao_Paulo' ],
	[ 'leap',    '0 12 29 2 *',     'UTC' ],
	[ 'last wd', '0 18 LW * *',     'Africa/Cairo' ],
	[ 'quarter', '0 0 1 1/3 *',     'Pacific/Auckland' ],
	[ 'every m', 'every 1 month',   'Europe/Berlin' ],
	[ 'every d', 'every 10 days',   'America/New_York' ],
	[ 'weekly',  '@weekly',         'Asia/Kathmandu' ]);

# ------------------------------------------------------------------------
# Overlap
# ------------------------------------------------------------------------

psql(q{CREATE TABLE gate (id int); INSERT INTO gate VALUES (1)});
set_clock($node, $db, '2027-06-01 12:00:30 UTC');
my $job_id = psql(q{SELECT jobsched.create_job('long', '* * * * *', 'SELECT id FROM public.gate FOR UPDATE')});
my $gate = $node->background_psql($db);
$gate->query_safe('BEGIN; SELECT id FROM gate FOR UPDATE');
set_clock($node, $db, '2027-06-01 12:01:00 UTC');
wait_until($node, $db, q{SELECT count(*) = 1 FROM jobsched.running}, 'the run is held up');
for my $minute ('02', '03', '04')
{
	set_clock($node, $db, "2027-06-01 12:$minute:00 UTC");
	wait_until($node, $db, q{SELECT next_run_at > jobsched_internal.clock_now() FROM jobsched.jobs WHERE name = 'long'}, 'the slot has passed');
}
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'long'}), '1', 'while a run is live slots are passed over');
$gate->query_safe('COMMIT');
wait_value($node, $db, q{SELECT string_agg(concat_ws(' ', status, reason, missed_count, to_char(scheduled_for AT TIME ZONE 'UTC', 'HH24:MI')), ', ' ORDER BY scheduled_for)
	FROM jobsched.runs WHERE job_name = 'long'},
	'succeeded 0 12:01, skipped overlap 3 12:04', 'and are one row when it has ended');
is(psql(q{SELECT recent FROM jobsched.jobs WHERE name = 'long'}), '.S', 'which the job tells too');
set_clock($node, $db, '2027-06-01 12:05:00 UTC');
wait_caught_up($node, $db);
wait_value($node, $db, q{SELECT recent FROM jobsched.jobs WHERE name = 'long'}, '.S.', 'the next slot fires');

# The same while the scheduler is replaced.
$gate->quit;
$gate = $node->background_psql($db);
$gate->query_safe('BEGIN; SELECT id FROM gate FOR UPDATE');
set_clock($node, $db, '2027-06-01 12:06:00 UTC');
wait_until($node, $db, q{SELECT count(*) = 1 FROM jobsched.running}, 'the run is held up');
for my $minute ('07', '08')
{
	set_clock($node, $db, "2027-06-01 12:$minute:00 UTC");
	wait_until($node, $db, q{SELECT next_run_at > jobsched_internal.clock_now() FROM jobsched.jobs WHERE name = 'long'}, 'the slot has passed');
	$old = scheduler_pid($node, $db);
	kill 'TERM', $old;
	wait_new_scheduler($node, $db, $old);
}
$gate->quit;
wait_value($node, $db, q{SELECT string_agg(concat_ws(' ', status, reason, missed_count, to_char(scheduled_for AT TIME ZONE 'UTC', 'HH24:MI')), ', ' ORDER BY scheduled_for)
	FROM jobsched.runs WHERE job_name = 'long' AND scheduled_for > '2027-06-01 12:05 UTC'},
	'succeeded 0 12:06, skipped overlap 2 12:08', 'a new scheduler knows the run that goes on and what was passed over');

check_log($node);
$node->stop;
done_testing();
