# Copyright (c) 2026, jobsched contributors

# examples/campaign_runner.sql does what its application needs: limits by user
# and over all, turns, timeouts, retries, settings at run time, stuck jobs that are
# taken back, once and no more also through crashes and restarts, people who are
# told of failures, an outside service, and numbers about all of it.

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
runner(q{SELECT jobsched.alter_job('campaign-job', backoff_base => '50 ms')});

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

# When it is due, and not before.
is(runner(q{
	BEGIN;
	INSERT INTO campaign.jobs (user_id, kind, scheduled_at) VALUES (31, 'report', now() + interval '500 ms');
	SELECT status, reason FROM campaign.history WHERE user_id = 31;
	COMMIT}), 'queued|not_due', 'what is due later waits');
wait_done('and is done then');
is(runner(q{SELECT h.status, h.started_at >= j.scheduled_at FROM campaign.history h JOIN campaign.jobs j USING (job_id) WHERE h.user_id = 31}), 'succeeded|t', 'not before');

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
is(runner(q{SELECT severity, insight FROM campaign.insights WHERE insight = 'failing'}), 'error|failing', 'it is to be looked at while nothing succeeds');
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
is(runner(q{SELECT e.pattern, e.sqlstate, e.runs, e.example_user, h.error ~ 'no contact' FROM campaign.error_patterns e JOIN campaign.history h ON h.run_id = e.example_run_id
	WHERE e.pattern LIKE 'no contact%'}), 'no contact <n>|P0001|3|5|t', 'errors of a kind are counted together');
is(runner(q{SELECT detail FROM campaign.insights WHERE insight ~ 'users'}), '5', 'it shows at whom to look');
is(runner(q{SELECT count(*) FROM campaign.insights WHERE insight = 'failing'}), '0', 'no longer at what is well again');
is(runner(q{SELECT DISTINCT muted_until FROM jobsched.alerts WHERE name LIKE 'campaign-%'}), 'infinity', 'alerts are switched off');
runner(q{UPDATE campaign.settings SET timeout = '120 s', max_attempts = 3});
runner(q{INSERT INTO campaign.jobs (user_id, kind, payload) VALUES (37, 'invite', '{"busy": 2}')});
wait_done('what fails by chance is tried again');
is(runner(q{SELECT status, attempt FROM campaign.history WHERE user_id = 37}), 'succeeded|3', 'and succeeds');
is(runner(q{SELECT detail FROM campaign.insights WHERE insight ~ 'attempt'}) >= 1, 1, 'which is seen');

# ------------------------------------------------------------------------
# Numbers
# ------------------------------------------------------------------------

my $range = q{now() - interval '1 day', now() + interval '1 day'};
wait_value($node, 'campaign', qq{SELECT sum(succeeded), sum(failed), sum(timed_out), sum(retries) FROM campaign.analytics($range)},
	runner(q{SELECT count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'timed_out'), sum(attempt - 1) FROM campaign.history}),
	'the numbers of a day are those of its runs');
is(runner(qq{SELECT bool_and(runs = succeeded + failed + timed_out), bool_and(mean > '0' AND p50 <= p95 AND p95 <= p99 AND p99 <= longest * 1.1), sum(failed + timed_out),
	bool_and(success_rate = round(100.0 * succeeded / runs, 1)), bool_and(day BETWEEN current_date - 1 AND current_date) FROM campaign.analytics($range)}),
	't|t|6|t|t', 'with rates and percentiles');
is(runner(q{SELECT count(*) FROM campaign.analytics('2020-01-01', '2020-02-01')}), 0, 'none of another time');
is(runner(qq{SELECT status, reason, runs, users, p95 >= p50 AND mean > '0' FROM campaign.outcomes($range) WHERE status <> 'succeeded'}),
	"failed|error|5|3|t\ntimed_out|timeout|1|1|t", 'the same by outcome');
is(runner(qq{SELECT sum(runs) = (SELECT count(*) FROM campaign.history), round(sum(percent)) FROM campaign.outcomes($range)}), 't|100', 'of all runs');
wait_value($node, 'campaign', q{SELECT last_finished_at IS NOT NULL FROM jobsched.jobs WHERE name = 'campaign-watch'}, 't', 'a heart beats');
is(runner(q{SELECT status, pending, processing, waiting, accepting, workers > 0, runs_1h > 200, success_rate_1h > 0.9, p95_ms_1h > 0, last_beat > now() - interval '1 min', message FROM campaign.health}),
	'ok|0|0|0|t|t|t|t|t|t|', 'one row of health');

# ------------------------------------------------------------------------
# What is stuck, and a restart
# ------------------------------------------------------------------------

# What is taken has nothing to wait for when it begins again.
sub stuck
{
	my ($user) = @_;
	runner(qq{INSERT INTO campaign.jobs (user_id, kind, payload) VALUES ($user, 'invite', '{"takes": 100}')});
	wait_value($node, 'campaign', "SELECT status FROM jobsched.runs WHERE job_name = 'campaign-job' AND args->>'user_id' = '$user'", 'running', 'a job hangs');
	return runner(qq{UPDATE campaign.jobs SET payload = '{}' WHERE user_id = $user});
}

stuck(38);
is(runner(q{SELECT campaign.reset_stuck('5 min')}), 0, 'what has not run for long is not taken');
is(runner(q{SELECT campaign.reset_stuck('0 s') > 0}), 't', 'by hand it is taken');
wait_done('and executed again');
is(runner(q{SELECT status FROM campaign.history WHERE user_id = 38}), 'succeeded', 'to its end');

runner(q{
	UPDATE campaign.settings SET timeout = '100 ms', stuck_after = '200 ms', heartbeat = '1 s';
	SELECT jobsched.alter_job('campaign-job', timeout => '120 s')});
is(runner(q{SELECT schedule FROM jobsched.jobs WHERE name = 'campaign-watch'}), 'every 1 seconds', 'the heartbeat is a setting');
stuck(39);
wait_done('by itself too');
is(runner(q{SELECT status FROM campaign.history WHERE user_id = 39}), 'succeeded', 'within seconds');
is(runner(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'campaign-watch' AND status = 'succeeded' AND attempt = 1}), 0, 'the watch leaves no rows');
runner(q{UPDATE campaign.settings SET timeout = '120 s', stuck_after = '10 min', heartbeat = '10 s'});

# Graceful: what runs comes to its end, what waits stays.
runner(q{INSERT INTO campaign.jobs (user_id, kind, payload) SELECT 50 + n % 10, 'report', '{"takes": 0.3}' FROM generate_series(1, 40) n});
wait_value($node, 'campaign', q{SELECT count(*) > 0 FROM jobsched.running WHERE job_name = 'campaign-job'}, 't', 'jobs are processed');
runner(q{UPDATE campaign.settings SET processing = false});
wait_value($node, 'campaign', q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'campaign-job' AND status = 'running'}, 0, 'nothing new begins, what runs ends');
my $rest = runner('SELECT pending FROM campaign.queue');
cmp_ok($rest, '>', 0, 'the rest waits');
$node->restart;
wait_scheduler($node, 'campaign');
is(runner('SELECT pending, processing FROM campaign.queue'), "$rest|0", 'also through a restart of the server');
runner(q{UPDATE campaign.settings SET processing = true});
wait_done('it goes on');
is(runner(q{SELECT count(*), max(attempt), count(*) FILTER (WHERE status = 'succeeded') FROM campaign.history WHERE user_id BETWEEN 50 AND 59}), '40|1|40', 'nothing was broken off');

# ------------------------------------------------------------------------
# From outside
# ------------------------------------------------------------------------

my $key = runner('SELECT campaign.open_hook()');
$node->safe_psql('campaign', 'CREATE ROLE gateway LOGIN; GRANT USAGE ON SCHEMA campaign TO gateway; GRANT EXECUTE ON FUNCTION campaign.receive TO gateway');

# What a gateway makes of a request, as a role that may do nothing else.
sub request
{
	my ($secret, $body) = @_;
	return qq{SELECT campaign.receive('$body', '{"x-webhook-secret": "$secret"}')};
}

my $report = '{"user_id": 8, "kind": "report"}';
like(error_of($node, 'campaign', request('wrong', $report), 'gateway'), qr/PT401: the request was refused/, 'a wrong secret is refused');
is(runner(q{SELECT refused, last_refusal FROM jobsched.hooks}), '1|the token is wrong', 'and that shows');
like(sql_as($node, 'campaign', 'gateway', request($key, $report)), qr/^\d+$/, 'the right one is not');
wait_value($node, 'campaign', 'SELECT count(*) FROM campaign.messages m JOIN campaign.jobs j USING (job_id) WHERE j.user_id = 8 AND j.kind = \'report\'', 1, 'a service has queued a job');

runner(q{
	UPDATE campaign.settings SET batch_size = 3;
	INSERT INTO campaign.jobs (user_id, kind, scheduled_at) SELECT 60, 'invite', NULL FROM generate_series(1, 5)});
is(runner('SELECT waiting FROM campaign.queue'), 5, 'jobs wait for the service');
for my $left (2, 0)
{
	my $run = sql_as($node, 'campaign', 'gateway', request($key, '{}'));
	is(end_of($node, 'campaign', $run, 'result'), '{"begun": ' . ($left ? 3 : 2) . '}', 'it lets a batch begin');
	is(runner('SELECT waiting FROM campaign.queue'), $left, 'and no more');
}
wait_done('they are done');
is(runner('SELECT count(*) FROM campaign.messages WHERE user_id = 60'), 5, 'once each');

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
