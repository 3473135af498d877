# Copyright (c) 2026, jobsched contributors

# examples/campaign_runner.sql does what its application needs: limits by user
# and over all, turns, timeouts, settings at run time, once and no more also
# through crashes, people who are told of failures, and numbers about all of it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = jobsched_node('campaign_runner', conf => q{
max_worker_processes = 30
jobsched.max_workers = 14
jobsched.http_allow = '127.0.0.1'
restart_after_crash = on
});
$node->safe_psql('postgres', 'CREATE ROLE runner LOGIN; CREATE DATABASE campaign OWNER runner');
create_extension($node, 'campaign');
$node->safe_psql('campaign', 'GRANT USAGE ON SCHEMA jobsched TO runner; GRANT EXECUTE ON FUNCTION jobsched.http_request TO runner');

# Slack: it is busy at first, and /slow has no answer until its gate opens.
my $slack = start_sink($node, answer => q{
	my $busy = 1;
	sub {
		my ($request) = @_;
		return ([ gate => 'slack' ], 200, 'ok') if $request->{path} eq '/slow';
		return (503, 'busy', 'Retry-After' => 0) if $busy-- > 0;
		return (200, 'ok');
	}});

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

# What Slack has been told, at least $n messages.
sub told
{
	my ($n, $pattern) = @_;
	return map { decode_json($_->{body})->{text} } wait_messages($slack, $n, $pattern);
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

runner(qq{
	UPDATE campaign.settings SET max_attempts = 1, slack_url = '$slack->{url}/slack', alert_delay = '0 s';
	INSERT INTO campaign.jobs (user_id, kind, payload) SELECT 5, 'invite', jsonb_build_object('fails', 'no contact ' || n) FROM generate_series(1, 3) n});
wait_done('what fails has failed');
like((told(1))[0], qr/^\*job "campaign-job" failed 3 times\*\ncampaign-failures: .*no contact \d$/, 'Slack is told of three failures');
is(runner(q{SELECT job, condition, state, count FROM jobsched.alerts WHERE name = 'campaign-failures'}), 'campaign-job|failures|firing|3', 'the alert fires');
# One that begins before its time, however busy the machine is.
my $came_back = 'SELECT attempt > 1 FROM campaign.history WHERE user_id = 6 ORDER BY run_id DESC LIMIT 1';
for (my $ms = 300; $ms < 60_000; $ms *= 2)
{
	runner(qq{INSERT INTO campaign.jobs (user_id, kind, payload) VALUES (6, 'invite', jsonb_build_object('not_before', now() + interval '$ms ms'))});
	wait_done('it has come back');
	last if runner($came_back) eq 't';
}
like((told(2))[1], qr/^\*job "campaign-job" is well again, it failed 3 times\*/, 'a success ends that');
is(scalar(requests($slack)), 3, 'Slack was told again of what it was too busy for');
# A short time only for what takes longer, and nobody wants to know.
runner(q{
	UPDATE campaign.settings SET timeout = '300 ms', alerts = false;
	INSERT INTO campaign.jobs (user_id, kind, payload) VALUES (4, 'invite', '{"takes": 60}')});
wait_done('what takes too long has timed out');
is(runner(q{SELECT user_id, status, reason, count(*) FROM campaign.history WHERE user_id IN (4, 5, 6) AND status <> 'succeeded' GROUP BY 1, 2, 3 ORDER BY 1}),
	"4|timed_out|timeout|1\n5|failed|error|3", 'each in its way');
is(runner($came_back), 't', 'one has come back later');
is(runner(q{SELECT pattern, runs, users FROM campaign.error_patterns WHERE pattern LIKE 'no contact%'}), 'no contact *|3|1', 'errors of a kind are counted together');
is(runner(q{SELECT detail FROM campaign.insights WHERE insight ~ 'users'}), '5', 'it shows at whom to look');
is(runner(q{SELECT DISTINCT muted_until FROM jobsched.alerts WHERE name LIKE 'campaign-%'}), 'infinity', 'alerts are switched off');
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

# The server dies while Slack is being told of a failure, and no user has one after that.
runner(qq{
	UPDATE campaign.settings SET alerts = true, alert_threshold = 1, max_attempts = 1, slack_url = '$slack->{url}/slow';
	INSERT INTO campaign.jobs (user_id, kind, payload) VALUES (9, 'invite', '{"fails": "gone"}')});
wait_requests($slack, 1, qr{^/slow$});
my $before = runner('SELECT count(*) FROM campaign.messages');
runner(q{
	UPDATE campaign.settings SET max_attempts = 3;
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

open_gate($slack, 'slack');
my @last = told(2, qr{^/slow$});
like($last[0], qr/^\*job "campaign-job" failed\b.*\ncampaign-failures: .*: gone$/, 'Slack is told of the failure');
like($last[1], qr/^\*job "campaign-job" is well again/, 'and of its end');
cmp_ok(scalar(requests($slack, qr{^/slow$})), '>', 2, 'one was sent again after a crash');
wait_value($node, 'campaign', q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'channel:campaign-slack' AND finished_at IS NULL}, 0, 'nothing is left to be told');
is(scalar(told(2, qr{^/slow$})), 2, 'with the same id: each is told once');
runner('UPDATE campaign.settings SET slack_url = NULL');
is(runner('SELECT (SELECT count(*) FROM jobsched.channels) + (SELECT count(*) FROM jobsched.alerts)'), 0, 'without an address nobody is told');

check_log($node, killed => 1, allow => qr/terminating connection|unexpected postmaster exit/);
$node->stop;
stop_http_server($slack);
done_testing();
