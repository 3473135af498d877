# Copyright (c) 2026, jobsched contributors

# Slots that could not fire in their time: the server was down, the job was
# paused or disabled, the clock was set forward.  One run makes up for them.
# Whatever the clock does, no slot fires twice and no schedule stalls.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('misfire', conf => "jobsched.history_retention = '7300d'\njobsched.timezone = 'UTC'\ntimezone = 'UTC'\n");
create_extension($node, $db);
define_clock($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

sub clock
{
	my ($when) = @_;
	set_clock($node, $db, $when);
	return wait_caught_up($node, $db);
}

# The runs of a job: slot, status where it is no success, missed slots if any.
sub runs
{
	my ($job) = @_;
	return psql(qq{SELECT string_agg(to_char(scheduled_for, 'DD HH24:MI')
			|| CASE status WHEN 'succeeded' THEN '' ELSE ' ' || status END
			|| CASE missed_count WHEN 0 THEN '' ELSE ' +' || missed_count END, ', ' ORDER BY scheduled_for, run_id)
		FROM jobsched.runs WHERE job_name = '$job'});
}

sub next_run
{
	my ($job) = @_;
	return psql("SELECT to_char(next_run_at, 'DD HH24:MI') FROM jobsched.jobs WHERE name = '$job'");
}

# ------------------------------------------------------------------------
# The server was down, by the real clock
# ------------------------------------------------------------------------

psql(q{
	SELECT jobsched.create_job('tick', '* * * * * *', 'SELECT 1');
	SELECT jobsched.create_job('late', (now() + interval '1.5 s')::text, 'SELECT 1')});
wait_until($node, $db, q{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'tick'}, 'it ticks');
$node->stop('fast');
# Nothing but the time can pass here: more than the grace of 5 s.
sleep 8;
$node->start;
wait_scheduler($node, $db);
wait_until($node, $db, q{SELECT count(*) >= 2 FROM jobsched.runs r WHERE job_name = 'tick' AND missed_count = 0
	AND scheduled_for > (SELECT max(scheduled_for) FROM jobsched.runs WHERE missed_count > 3)}, 'it ticks again');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'tick' AND missed_count > 3}), '1',
	'slots missed in downtime make one run');
# The next slot came when the scheduler was there already.
is(psql(q{SELECT scheduled_for <= queued_at AND scheduled_for > (SELECT started_at FROM jobsched_internal.scheduler()) - interval '1 s'
	FROM jobsched.runs WHERE job_name = 'tick' AND missed_count > 3}), 't', 'for the newest of them');
psql(q{SELECT jobsched.alter_job('tick', enabled => false)});
wait_drained($node, $db);
check_slots($node, $db, 'tick', 1, 'and each is accounted for once');
is(psql(q{SELECT status, source, missed_count FROM jobsched.runs WHERE job_name = 'late'}), 'succeeded|schedule|0', 'a timestamp that passed in downtime runs');
is(psql(q{SELECT state FROM jobsched.jobs WHERE name = 'late'}), 'completed', 'once');
psql(q{SELECT jobsched.drop_job(name) FROM jobsched.jobs});

# ------------------------------------------------------------------------
# Paused, disabled
# ------------------------------------------------------------------------

set_clock($node, $db, '2027-03-01 10:00:30');
psql(q{SELECT jobsched.create_job('five', '*/5 * * * *', 'SELECT 1');
	SELECT jobsched.create_job('dis', '*/5 * * * *', 'SELECT 1');
	SELECT jobsched.create_job('interval', 'every 10 minutes', 'SELECT 1')});
clock('2027-03-01 10:05:00');
is(runs('five'), '01 10:05', 'it fires');
psql(q{SELECT jobsched.pause_job('five', 'for the test'); SELECT jobsched.alter_job('dis', enabled => false)});
is(psql(q{SELECT state, state_reason FROM jobsched.jobs WHERE name = 'five'}), 'paused|for the test', 'paused, with the reason');
clock('2027-03-01 10:12:00');
clock('2027-03-01 10:31:00');
is(runs('five'), '01 10:05', 'while paused nothing fires');
is(next_run('five'), '', 'and there is no next run');
psql(q{SELECT jobsched.resume_job('five')});
wait_caught_up($node, $db);
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'five'}, '2', 'resumed: one run');
is(runs('five'), '01 10:05, 01 10:30 +4', 'for the newest slot, with the number of others');
is(next_run('five'), '01 10:35', 'and goes on from there');
psql(q{SELECT jobsched.alter_job('dis', enabled => true)});
clock('2027-03-01 10:35:00');
is(runs('five'), '01 10:05, 01 10:30 +4, 01 10:35', 'the next slot is an ordinary one');
like(runs('dis'), qr/^01 10:05, (01 10:30 \+4, )?01 10:35$/, 'disabled and enabled: no slot twice');
is(psql(q{SELECT sum(1 + missed_count) FROM jobsched.runs WHERE job_name = 'interval'}), '3', 'another job went its way, with each of its slots once');

# Resumed before anything was due: nothing is made up.
psql(q{SELECT jobsched.pause_job('five')});
psql(q{SELECT jobsched.resume_job('five')});
clock('2027-03-01 10:40:00');
is(runs('five'), '01 10:05, 01 10:30 +4, 01 10:35, 01 10:40', 'paused between two slots: nothing is missed');

# A run that was triggered while the job is paused waits.
psql(q{SELECT jobsched.pause_job('five')});
my $run_id = psql(q{SELECT jobsched.trigger('five')});
wait_value($node, $db, "SELECT status || ' ' || reason FROM jobsched.runs WHERE run_id = $run_id", 'queued job_paused', 'a run triggered while the job is paused waits');
psql(q{SELECT jobsched.resume_job('five')});
wait_run_state($node, $db, $run_id, 'succeeded');
psql(q{SELECT jobsched.drop_job(name) FROM jobsched.jobs});

# Paused across the end of a scheduler and of the server.
psql(q{SELECT jobsched.create_job('kept', '*/5 * * * *', 'SELECT 1')});
clock('2027-03-01 10:45:00');
psql(q{SELECT jobsched.pause_job('kept')});
my $old = scheduler_pid($node, $db);
kill 'TERM', $old;
wait_new_scheduler($node, $db, $old);
clock('2027-03-01 11:00:30');
is(runs('kept'), '01 10:45', 'paused: also for the next scheduler');
psql(q{SELECT jobsched.resume_job('kept')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'kept'}, '2', 'resumed: one run');
is(runs('kept'), '01 10:45, 01 11:00 +2', 'for the slots since');
psql(q{SELECT jobsched.drop_job('kept')});

# ------------------------------------------------------------------------
# The clock steps
# ------------------------------------------------------------------------

set_clock($node, $db, '2027-04-10 09:59:30');
psql(q{SELECT jobsched.create_job('hour', '0 * * * *', 'SELECT 1');
	SELECT jobsched.create_job('quarter', 'every 15 minutes', 'SELECT 1');
	SELECT jobsched.create_job('day', '0 12 * * *', 'SELECT 1', timezone => 'Europe/Berlin')});
clock('2027-04-10 10:00:00');
clock('2027-04-10 11:00:00');
is(runs('hour'), '10 10:00, 10 11:00', 'before');

# back an hour
clock('2027-04-10 10:00:00');
clock('2027-04-10 10:30:00');
clock('2027-04-10 11:00:00');
is(runs('hour'), '10 10:00, 10 11:00', 'the clock goes back an hour: no slot twice');
clock('2027-04-10 12:00:00');
is(runs('hour'), '10 10:00, 10 11:00, 10 12:00', 'and the next one is not stalled');

# back, with a new scheduler, and with a schedule set anew
clock('2027-04-10 11:59:00');
$old = scheduler_pid($node, $db);
kill 'TERM', $old;
wait_new_scheduler($node, $db, $old);
clock('2027-04-10 12:00:00');
is(runs('hour'), '10 10:00, 10 11:00, 10 12:00', 'nor with another scheduler');
clock('2027-04-10 11:59:00');
psql(q{SELECT jobsched.alter_job('hour', schedule => '0 0-23 * * *')});
clock('2027-04-10 12:00:00');
is(runs('hour'), '10 10:00, 10 11:00, 10 12:00', 'nor with the schedule set anew');
clock('2027-04-10 13:00:00');
is(runs('hour'), '10 10:00, 10 11:00, 10 12:00, 10 13:00', 'and it goes on');

# forward a day
clock('2027-04-11 13:20:00');
is(runs('hour'), '10 10:00, 10 11:00, 10 12:00, 10 13:00, 11 13:00 +23', 'the clock goes forward a day: one run');
is(runs('day'), '10 10:00, 11 10:00', 'a daily job fires for its slot');
clock('2027-04-11 14:00:00');
is(runs('hour'), '10 10:00, 10 11:00, 10 12:00, 10 13:00, 11 13:00 +23, 11 14:00', 'and goes on');

# Set right again, a day back: what was passed over comes now for the first
# time and fires; what has fired does not.
for my $hour (14 .. 23)
{
	clock("2027-04-10 $hour:00:00");
}
is(runs('hour'), '10 10:00, 10 11:00, 10 12:00, 10 13:00, '
	  . join('', map { "10 $_:00, " } 14 .. 23) . '11 13:00 +23, 11 14:00',
	'the clock had been ahead by a day: the slots that it passed over fire');
clock('2027-04-11 10:00:00');
clock('2027-04-11 14:30:00');
clock('2027-04-11 15:00:00');
is(runs('hour'), '10 10:00, 10 11:00, 10 12:00, 10 13:00, '
	  . join('', map { "10 $_:00, " } 14 .. 23) . '11 10:00 +10, 11 12:00 +1, 11 13:00 +23, 11 14:00, 11 15:00',
	'those that have fired already do not, and when the clock has caught up it goes on');
is(psql(q{SELECT max(scheduled_for) FROM jobsched.runs WHERE job_name = 'quarter'}), '2027-04-11 14:59:30+00', 'so does an interval');
is(psql(q{SELECT count(*) FROM (SELECT job_id, scheduled_for FROM jobsched.runs GROUP BY 1, 2 HAVING count(*) > 1 AND scheduled_for IS NOT NULL) d}),
	'0', 'in all of this no slot has fired twice');
is(next_run('hour'), '11 16:00', 'the next run is the next slot');

# Ahead, back to before what was passed over, and ahead beyond what was done
# meanwhile: what is open on either side of that was missed together.  A run for
# some of it must not be what the others overlap with.
sub clock_back
{
	my ($when, $next) = @_;
	set_clock($node, $db, $when);
	return wait_value($node, $db, q{SELECT to_char(next_run_at, 'DD HH24:MI') FROM jobsched.jobs WHERE name = 'beyond skip'},
		$next, "back: what was passed over is open from $next");
}

clock('2027-04-12 00:00:30');
psql(join '', map { "SELECT jobsched.create_job('beyond $_', '*/5 * * * *', 'SELECT 1', misfire => '$_');\n" } 'skip', 'all');
psql(join '', map { "SELECT jobsched.create_job('beyond once $_', '*/5 * * * *', 'SELECT 1', overlap => '$_');\n" } 'skip', 'queue', 'allow', 'replace');
clock('2027-04-12 00:05:00');
clock('2027-04-12 10:02:00');
clock_back('2027-04-12 00:06:30', '12 00:10');
clock('2027-04-12 10:05:00');    # the newest is on time
is(runs("beyond once $_"), '12 00:05, 12 10:00 +118, 12 10:05 +118', "once, $_: one run for all, for the newest")
  for ('skip', 'queue', 'allow', 'replace');
is(runs('beyond skip'), '12 00:05, 12 09:55 missed +118, 12 10:00 missed +119, 12 10:05', 'skip: what is on time has its run');
is(psql(q{SELECT string_agg(concat_ws(' ', status, n, missed), ', ' ORDER BY status)
	FROM (SELECT status, count(*) AS n, sum(missed_count) AS missed FROM jobsched.runs WHERE job_name = 'beyond all' GROUP BY 1) r}),
	'missed 1 19, succeeded 120 0', 'all: what was not counted then has its run');
clock('2027-04-12 12:02:00');
clock_back('2027-04-12 10:06:30', '12 10:10');
clock('2027-04-12 12:32:00');    # the newest was missed too
clock('2027-04-12 12:35:00');
like(runs("beyond once $_"), qr/10:05 \+118, 12 12:00 \+22, 12 12:30 \+27, 12 12:35$/, "once, $_: however late the newest is, and it goes on")
  for ('skip', 'queue', 'allow', 'replace');
like(runs('beyond skip'), qr/10:05, 12 12:00 missed \+23, 12 12:30 missed \+28, 12 12:35$/, 'skip: one row for all');
psql(q{SELECT jobsched.drop_job(name) FROM jobsched.jobs WHERE name LIKE 'beyond%'});

# years ahead: what is counted is bounded, what fires is the newest
psql(q{SELECT jobsched.create_job('sec', '* * * * * *', 'SELECT 1')});
clock('2027-04-12 12:35:01');
clock('2031-08-17 17:45:12');
is(psql(q{SELECT max(scheduled_for) FROM jobsched.runs WHERE job_name = 'sec'}), '2031-08-17 17:45:12+00', 'years ahead: the newest slot fires');
is(psql(q{SELECT max(scheduled_for) FROM jobsched.runs WHERE job_name = 'hour'}), '2031-08-17 17:00:00+00', 'of each job');
cmp_ok(psql(q{SELECT max(missed_count) FROM jobsched.runs WHERE job_name = 'sec'}), '>=', 10000, 'and many are counted as many');
clock('2031-08-17 17:45:13');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'sec'}), '3', 'then it goes on');

# and the real time again, years back
set_clock($node, $db, undef);
psql(q{SELECT jobsched.create_job('now', '* * * * * *', 'SELECT 1')});
wait_value($node, $db, q{SELECT count(*) > 1 FROM jobsched.runs WHERE job_name = 'now'}, 't', 'the real clock: a new job fires');

check_log($node);
$node->stop;
done_testing();
