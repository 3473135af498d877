# Copyright (c) 2026, jobsched contributors

# examples/campaign_runner.sql does what its application needs: limits by user
# and over all, turns, timeouts, settings at run time, once and no more also
# through crashes, and numbers about all of it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = jobsched_node('campaign_runner', conf => q{
max_worker_processes = 30
jobsched.max_workers = 14
restart_after_crash = on
});
$node->safe_psql('postgres', 'CREATE ROLE runner LOGIN; CREATE DATABASE campaign OWNER runner');
create_extension($node, 'campaign');
$node->safe_psql('campaign', 'GRANT USAGE ON SCHEMA jobsched TO runner');

sub runner
{
	my ($sql) = @_;
	return sql_as($node, 'campaign', 'runner', $sql);
}

sub wait_done
{
	my ($what) = @_;
	return wait_until($node, 'campaign', q{SELECT count(*) = 0 FROM jobsched.runs WHERE job_name = 'campaign-job' AND finished_at IS NULL}, $what);
}

# Most runs at the same time, by their recorded starts and ends.
sub most_at_once
{
	my ($of) = @_;
	return runner(qq{
		WITH h AS (SELECT *, $of AS who FROM campaign.history WHERE started_at IS NOT NULL AND finished_at IS NOT NULL)
		SELECT max(n) FROM (SELECT (SELECT count(*) FROM h o WHERE o.who = h.who AND o.started_at <= h.started_at
			AND o.finished_at > h.started_at) AS n FROM h) c});
}

install_example($node, 'campaign', 'runner', 'campaign_runner.sql', 'the example installs');
install_example($node, 'campaign', 'runner', 'campaign_runner.sql', 'and again');
is(runner(q{SELECT name, queue, keys[1], timeout, max_attempts FROM jobsched.jobs WHERE name = 'campaign-job'}),
	'campaign-job|campaigns|user:{{args.user_id}}|00:02:00|3', 'the job is there');

# ------------------------------------------------------------------------
# Limits and turns
# ------------------------------------------------------------------------

runner(q{
	INSERT INTO campaign.jobs (user_id, kind, payload)
	SELECT u, 'invite', '{"takes": 0.05}' FROM generate_series(1, 12) u, generate_series(1, 12)});
wait_done('the first jobs are done');
is(runner('SELECT count(*), count(DISTINCT job_id) FROM campaign.messages'), '144|144', 'each job is done once');
cmp_ok(most_at_once('user_id'), '<=', 2, 'never more than two of a user at once');
cmp_ok(most_at_once('true'), '<=', 10, 'nor than ten of all');
cmp_ok(most_at_once('true'), '>', 2, 'but several');

runner(q{BEGIN; INSERT INTO campaign.jobs (user_id, kind) VALUES (1, 'report'); ROLLBACK});
is(runner(q{SELECT pending, processing FROM campaign.queue}), '0|0', 'what is rolled back is not queued');

runner(q{
	UPDATE campaign.settings SET max_running = 1;
	INSERT INTO campaign.jobs (user_id, kind, payload) SELECT 1, 'invite', '{"takes": 0.02}' FROM generate_series(1, 60);
	INSERT INTO campaign.jobs (user_id, kind) VALUES (2, 'report')});
wait_done('one after the other');
cmp_ok(runner(q{SELECT count(*) FROM campaign.history h, (SELECT started_at FROM campaign.history WHERE user_id = 2 ORDER BY run_id DESC LIMIT 1) two
	WHERE h.user_id = 1 AND h.started_at > two.started_at}), '>', 30, 'a user does not wait for all of another');

# ------------------------------------------------------------------------
# Campaigns
# ------------------------------------------------------------------------

runner('UPDATE campaign.settings SET max_running = 10, max_attempts = 1');
my $campaign = runner(q{SELECT campaign.launch('invite', ARRAY(SELECT 20 + n % 5 FROM generate_series(1, 40) n), '{"takes": 0.02}')});
my $other = runner(q{SELECT campaign.launch('report', '{20,21}', '{"fails": "no"}')});
wait_value($node, 'campaign', 'SELECT count(*) FROM campaign.campaigns WHERE finished_at IS NULL', 0, 'campaigns have ended');
is(runner("SELECT totals->>'total', totals->>'succeeded', totals->>'failed' FROM campaign.campaigns WHERE campaign_id IN ($campaign, $other) ORDER BY campaign_id"),
	"40|40|0\n2|0|2", 'with the totals of their jobs');
is(runner("SELECT count(*) FROM campaign.messages JOIN campaign.jobs USING (job_id) WHERE campaign_id = $campaign"), 40, 'each job is done');
is(runner(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'campaign-report' AND status = 'succeeded'}), 2, 'each was reported once');
cmp_ok(most_at_once('user_id'), '<=', 2, 'never more than two of a user at once');

# ------------------------------------------------------------------------
# Settings, failures
# ------------------------------------------------------------------------

runner(q{
	UPDATE campaign.settings SET max_running = 10, processing = false;
	INSERT INTO campaign.jobs (user_id, kind) VALUES (3, 'report')});
is(runner(q{SELECT pending, processing, users FROM campaign.queue}), '1|0|1', 'nothing is processed when that is switched off');
runner(q{UPDATE campaign.settings SET processing = true});
wait_done('it is switched on again');

runner(q{
	UPDATE campaign.settings SET max_attempts = 1;
	INSERT INTO campaign.jobs (user_id, kind, payload) SELECT 5, 'invite', jsonb_build_object('fails', 'no contact ' || n) FROM generate_series(1, 3) n});
wait_done('what fails has failed');
# One that begins before its time, however busy the machine is.
my $came_back = 'SELECT attempt > 1 FROM campaign.history WHERE user_id = 6 ORDER BY run_id DESC LIMIT 1';
for (my $ms = 300; $ms < 60_000; $ms *= 2)
{
	runner(qq{INSERT INTO campaign.jobs (user_id, kind, payload) VALUES (6, 'invite', jsonb_build_object('not_before', now() + interval '$ms ms'))});
	wait_done('it has come back');
	last if runner($came_back) eq 't';
}
# A short time only for what takes longer.
runner(q{
	UPDATE campaign.settings SET timeout = '300 ms';
	INSERT INTO campaign.jobs (user_id, kind, payload) VALUES (4, 'invite', '{"takes": 60}')});
wait_done('what takes too long has timed out');
is(runner(q{SELECT user_id, status, reason, count(*) FROM campaign.history WHERE user_id IN (4, 5, 6) AND status <> 'succeeded' GROUP BY 1, 2, 3 ORDER BY 1}),
	"4|timed_out|timeout|1\n5|failed|error|3", 'each in its way');
is(runner($came_back), 't', 'one has come back later');
is(runner(q{SELECT pattern, runs, users FROM campaign.error_patterns WHERE pattern LIKE 'no contact%'}), 'no contact *|3|1', 'errors of a kind are counted together');
is(runner(q{SELECT detail FROM campaign.insights WHERE insight ~ 'users'}), '5', 'it shows at whom to look');
run_job($node, 'campaign', 'campaign-alerts', role => 'runner') for 1 .. 2;
is(runner(q{SELECT string_agg(user_id || ' ' || status, ', ' ORDER BY user_id, run_id) FROM campaign.alerts}),
	'4 timed_out, 5 failed, 5 failed, 5 failed, 20 failed, 21 failed', 'each failure raises one alert');
is(runner(q{SELECT sum(runs) = sum(succeeded) + sum(failed) AND sum(failed) = 6 AND bool_and(p95 >= median)
	FROM campaign.analytics(now() - interval '1 day', now() + interval '1 day')}), 't', 'the numbers of a day');
is(runner(q{SELECT status, pending, processing FROM campaign.health}), 'ok|0|0', 'one row of health');
runner(q{UPDATE campaign.settings SET timeout = '120 s', max_attempts = 3});

# ------------------------------------------------------------------------
# From outside
# ------------------------------------------------------------------------

my $key = runner('SELECT campaign.open_hook()');
$node->safe_psql('campaign', 'CREATE ROLE gateway LOGIN; GRANT USAGE ON SCHEMA campaign TO gateway; GRANT EXECUTE ON FUNCTION campaign.receive TO gateway');
my $outside = sub { my ($secret) = @_; return qq{SELECT campaign.receive('{"user_id": 8, "kind": "report"}', '{"x-webhook-secret": "$secret"}')} };
like(error_of($node, 'campaign', $outside->('wrong'), 'gateway'), qr/PT401: the request was refused/, 'a wrong secret is refused');
is(runner(q{SELECT refused, last_refusal FROM jobsched.hooks}), '1|the token is wrong', 'and that shows');
like(sql_as($node, 'campaign', 'gateway', $outside->($key)), qr/^\d+$/, 'the right one is not');
wait_value($node, 'campaign', 'SELECT count(*) FROM campaign.messages m JOIN campaign.jobs j USING (job_id) WHERE j.user_id = 8 AND j.kind = \'report\'', 1, 'a service has queued a job');
wait_done('it is done');

# ------------------------------------------------------------------------
# Crashes
# ------------------------------------------------------------------------

my $before = runner('SELECT count(*) FROM campaign.messages');
runner(q{
	INSERT INTO campaign.jobs (user_id, kind, payload)
	SELECT 100 + u, 'follow_up', '{"takes": 0.02}' FROM generate_series(1, 60) u, generate_series(1, 5)});
for my $done (30, 120, 210)
{
	wait_until($node, 'campaign', "SELECT count(*) >= $before + $done FROM campaign.messages", "$done are done");
	kill_and_start($node);
	wait_scheduler($node, 'campaign');
}
wait_done('all are');
is(runner("SELECT count(*) - $before, count(*) - count(DISTINCT job_id) FROM campaign.messages"), '300|0', 'each job is done once through three crashes');
is(runner(q{SELECT count(*) FROM campaign.history WHERE user_id > 100 AND status <> 'succeeded'}), '0', 'and all have succeeded');
cmp_ok(most_at_once('user_id'), '<=', 2, 'never more than two of a user at once');
cmp_ok(most_at_once('true'), '<=', 10, 'nor than ten of all');

check_log($node, killed => 1, allow => qr/terminating connection|unexpected postmaster exit/);
$node->stop;
done_testing();
