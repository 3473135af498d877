# Copyright (c) 2026, jobsched contributors
# packages: libio-socket-ssl-perl openssl

# examples/brand_monitor.sql, run by its own unprivileged role: jobs that are
# rows, answers collected over HTTP from servers that fail at times, and scored
# if all of them came; limits, cancellation, people who are told by Slack and e-mail,
# also when the server dies meanwhile, and how it is all seen.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SmtpServer;
use Test::More;

my $node = jobsched_node('brand_monitor', conf => q{
jobsched.http_allow = '127.0.0.0/8, [::1]/128'
jobsched.smtp_from = 'alerts@db.example.com'
restart_after_crash = on
});
$node->safe_psql('postgres', 'CREATE ROLE monitor LOGIN; CREATE DATABASE brands OWNER monitor');
create_extension($node, 'brands');
$node->safe_psql('brands', q{
	GRANT USAGE ON SCHEMA jobsched TO monitor;
	GRANT EXECUTE ON FUNCTION jobsched.http_request TO monitor});

sub monitor
{
	my ($sql) = @_;
	return sql_as($node, 'brands', 'monitor', $sql);
}

# Triggers a job of a brand; returns the execution's id.
sub run_now
{
	my ($job_id) = @_;
	return monitor("SELECT brand_monitor.run_now($job_id)");
}

sub wait_execution
{
	my ($id, $expected, $name) = @_;
	return wait_value($node, 'brands', "SELECT status FROM brand_monitor.history WHERE execution_id = $id", $expected, $name);
}

sub metrics_of
{
	my ($id) = @_;
	return decode_json(monitor("SELECT metrics FROM brand_monitor.executions WHERE execution_id = $id"));
}

# Collectors: each says the same of Edelpeak; perplexity is down for Harbour
# Roast, google_aio fails once a question, "slow" and "patient" wait, "mute" has no
# answer.
my $collectors = start_sink($node, answer => q{
	my %seen;
	my %answer = (
		chatgpt => "Northwall is good. Edelpeak is the best and reliable! See https://www.Reviews.example.com/boots and http://blog.example.org.",
		google_aio => "Edelpeak is slow. Ridgeline is great. Northwall too. https://reviews.example.com/x",
		perplexity => "Nobody can say.");
	sub {
		my ($request) = @_;
		my ($collector) = $request->{path} =~ m{^/collect/(.*)} or return;
		my $asked = JSON::PP->new->utf8->decode($request->{body});
		return (500, 'down') if $collector eq 'perplexity' && $asked->{brand} eq 'Harbour Roast';
		return (503, 'later', 'Retry-After' => 0) if $collector eq 'google_aio' && !$seen{ $asked->{question} }++;
		return (200, '{}') if $collector eq 'mute';
		my $text = $answer{$collector} // "$asked->{brand}, of course.";
		return ($collector =~ /^(?:slow|patient)$/ ? [ gate => $collector ] : (), 200, JSON::PP->new->utf8->encode({ answer => $text }));
	}});

# Slack has no answer until its gate opens; one who gets mail is asked to come back,
# and one is not known.
my $slack = start_sink($node, answer => q{sub { return ([ gate => 'slack' ], 200, 'ok') }});
my $relay = start_relay($node, tls => 'starttls');
set_setting($node, 'jobsched.http_ca_file', $relay->{ca});
set_setting($node, 'jobsched.smtp_url', $relay->{url});

# What people have been told, at least $n messages.
sub told
{
	my ($n) = @_;
	return map { decode_json($_->{body})->{text} } wait_messages($slack, $n);
}

install_example($node, 'brands', 'monitor', 'brand_monitor.sql', 'the example installs');
install_example($node, 'brands', 'monitor', 'brand_monitor.sql', 'and again');
monitor("UPDATE brand_monitor.settings SET collector_url = '$collectors->{url}', max_attempts = 2,
	slack_url = '$slack->{url}/slack', mail_to = '{ops\@example.com,later-1\@example.com,refused\@example.com}', alert_delay = '0 s'");
monitor(q{SELECT jobsched.alter_job('channel:brand-mail', backoff_base => '100 ms')});
monitor(q{SELECT jobsched.alter_job('collect-answer', backoff_base => '100 ms')});
is( monitor(q{SELECT name, schedule, timezone, enabled FROM jobsched.jobs WHERE name LIKE 'brand-_' ORDER BY name}),
	"brand-1|0 6 * * *|Europe/Zurich|t\nbrand-2|30 6 * * 1|Europe/Zurich|t\nbrand-3||America/New_York|t",
	'rows are jobs');
is(monitor('SELECT job_id, customer, brand, job_type, active, state, next_run_at IS NULL FROM brand_monitor.job_list WHERE customer_id = 1 ORDER BY 1'),
	"1|Alpine Goods|Edelpeak|data_collection_and_scoring|t|active|f\n2|Alpine Goods|Talwind|data_collection|t|active|f", 'they are listed by customer');
is(monitor(q{SELECT name FROM jobsched.jobs_with_metadata('{"customer_id": 2, "brand_id": 3}')}), 'brand-3', 'and found by customer and brand');
is(monitor(q{
	BEGIN;
	UPDATE brand_monitor.brands SET customer_id = 1 WHERE brand_id = 3;
	SELECT metadata->'customer_id' FROM jobsched.jobs WHERE name = 'brand-3';
	ROLLBACK}), 1, 'also when a brand has another customer');
is(monitor(q{SELECT max_running FROM jobsched.queues WHERE name IN ('collectors', 'executions') ORDER BY name}), "10\n5", 'batches are settings');

# ------------------------------------------------------------------------
# Collection, and then scoring
# ------------------------------------------------------------------------

like(monitor(q{BEGIN; SELECT brand_monitor.run_now(1); SELECT status, started_at IS NULL FROM brand_monitor.history WHERE job_id = 1; ROLLBACK}),
	qr/^\d+\npending\|t$/, 'what has not begun is pending');
my $both = run_now(1);
wait_execution($both, 'completed', 'an execution of two steps');
is(scalar(requests($collectors, qr{^/collect/})), 8, 'two questions to three collectors, one of which is asked twice');
is( monitor("SELECT query_id, collector, answer IS NOT NULL FROM brand_monitor.answers WHERE execution_id = $both ORDER BY 1, 2"),
	join("\n", map { my $q = $_; map { "$q|$_|t" } qw(chatgpt google_aio perplexity) } 1, 2),
	'all answers are kept, none of questions that are not active');
is_deeply(
	decode_json((requests($collectors, qr{chatgpt}))[0]->{body}),
	{ brand => 'Edelpeak', question => 'Which hiking boots are the best?' },
	'what is asked');

my $metrics = metrics_of($both);
cmp_ok(delete $metrics->{collection}->{seconds}, '>', 0, 'how long it took is kept');
is_deeply(
	$metrics,
	{
		collection => { requested => 6, answered => 6, failed => 0 },
		scoring => { answers => 6, named => 4, position => 1.5, sentiment => 0, citations => 6 }
	},
	'metrics of both steps are kept');
is( monitor("SELECT a.collector, s.position, s.sentiment, s.citations FROM brand_monitor.scores s JOIN brand_monitor.answers a USING (answer_id)
		WHERE s.execution_id = $both AND a.query_id = 1 ORDER BY 1"),
	"chatgpt|2|1.00|{blog.example.org,reviews.example.com}\n"
	. "google_aio|1|-1.00|{reviews.example.com}\n"
	. 'perplexity|||{}',
	'positions, sentiment and citations');

# One by one: the next question is not asked before the answer is there.
my @by_time = sort { $a->[0] <=> $b->[0] } map { [ split /\|/ ] } split /\n/, monitor(qq{
	SELECT extract(epoch FROM r.started_at), extract(epoch FROM r.finished_at)
	FROM jobsched.runs r JOIN brand_monitor.answers USING (run_id) WHERE execution_id = $both AND r.attempt = 1});
is(scalar(grep { $by_time[$_]->[0] < $by_time[ $_ - 1 ]->[1] } 1 .. $#by_time), 0, 'not in parallel means one at a time');

# ------------------------------------------------------------------------
# Failures
# ------------------------------------------------------------------------

monitor(q{
	INSERT INTO brand_monitor.jobs (job_id, brand_id, job_type, metadata)
	VALUES (10, 3, 'data_collection_and_scoring', '{"collectors": ["chatgpt", "perplexity", "mute"], "parallel": true}')});
my $failing = run_now(10);
wait_execution($failing, 'failed', 'an execution whose collection fails');
is(monitor("SELECT collector, q.status, attempt FROM brand_monitor.requests q JOIN jobsched.runs USING (run_id) WHERE execution_id = $failing ORDER BY 1"),
	"chatgpt|answered|1\nmute|failed|1\nperplexity|failed|2", 'says what failed, and what may become better was tried again');
is(monitor("SELECT error FROM brand_monitor.requests WHERE execution_id = $failing AND collector = 'mute'"), 'the response has no answer', 'what was wrong is kept');
is(monitor("SELECT status, reason FROM jobsched.runs WHERE job_name = 'score-answers' AND parent_run_id = $failing"),
	'skipped|upstream_failed', 'nothing is scored then');
$metrics = metrics_of($failing);
delete $metrics->{collection}->{seconds};
is_deeply($metrics, { collection => { requested => 3, answered => 1, failed => 2 } }, 'metrics of the step that there was are kept');
is(monitor(q{SELECT job, condition, state, count FROM jobsched.alerts}), 'brand-10|failures|firing|1', 'an alert fires');

# The server dies while Slack is being told, and in the middle of an execution.
monitor(q{
	INSERT INTO brand_monitor.jobs (job_id, brand_id, job_type, metadata)
	VALUES (11, 2, 'data_collection_and_scoring', '{"collectors": ["chatgpt", "patient"], "parallel": true}')});
my $broken_off = run_now(11);
wait_value($node, 'brands', "SELECT status FROM brand_monitor.requests WHERE execution_id = $broken_off AND collector = 'chatgpt'", 'answered', 'a part of an execution is done');
wait_requests($collectors, 1, qr{^/collect/patient$});
wait_requests($slack, 1);
wait_value($node, 'brands', q{SELECT string_agg(concat_ws(' ', status, attempt, sqlstate), ', ' ORDER BY run_id) FROM jobsched.runs WHERE job_name = 'channel:brand-mail'},
	'succeeded 1, succeeded 2, failed 1 JS550', 'each address has its mail, or not');
kill_and_start($node);
wait_scheduler($node, 'brands');
wait_requests($slack, 2);
my @again = wait_requests($collectors, 2, qr{^/collect/patient$});
is($again[0]->{headers}->{'idempotency-key'}, $again[1]->{headers}->{'idempotency-key'}, 'the request that was under way is sent again, with the same key');
open_gate($collectors, 'patient');
wait_execution($broken_off, 'completed', 'the execution goes on where it was');
my ($patient) = metrics_of($broken_off);
is("$patient->{collection}->{answered} $patient->{scoring}->{answers}", '2 2', 'to its end');
is(scalar(grep { $_->{body} =~ /tents/ } requests($collectors, qr{chatgpt$})), 1, 'what had been answered is not asked again');
open_gate($slack, 'slack');
like((told(1))[0], qr/^\*job "brand-10" failed once\*\nbrand-failures: .*, run $failing failed: run \d+ of job "(?:collect|store)-answer" has failed$/, 'people are told');
is_deeply([ map { $_->{to} } mails($relay) ], [ 'ops@example.com', 'later-1@example.com' ], 'by mail too');
is_deeply([ map { $_->{tls} } mails($relay) ], [ 1, 1 ], 'over TLS');
like((mails($relay))[0]->{data}, qr/^Subject: job "brand-10" failed once\r$/m, 'of the same');

my $scoring = run_now(3);
wait_execution($scoring, 'completed', 'an execution that only scores');
is((metrics_of($scoring))->{scoring}->{answers}, 1, 'takes the answers that have no score');

# A collector that takes too long
monitor(q{
	UPDATE brand_monitor.settings SET timeout = '300 ms', max_attempts = 1;
	UPDATE brand_monitor.jobs SET metadata = '{"collectors": ["slow"], "parallel": true}' WHERE job_id = 10});
my $late = run_now(10);
wait_execution($late, 'failed', 'a collector that takes too long');
is(monitor("SELECT q.status, r.status, r.reason FROM brand_monitor.requests q JOIN jobsched.runs r USING (run_id) WHERE q.execution_id = $late"),
	'failed|timed_out|timeout', 'is not waited for');
wait_aborted($collectors, 1, qr{^/collect/slow$});
monitor(q{UPDATE brand_monitor.settings SET timeout = '60 s', max_attempts = 2});

# ------------------------------------------------------------------------
# Cancellation
# ------------------------------------------------------------------------

monitor(q{UPDATE brand_monitor.jobs SET metadata = '{"collectors": ["slow", "chatgpt"], "parallel": false}' WHERE job_id = 10});
my $slow = run_now(10);
wait_requests($collectors, 2, qr{^/collect/slow$});
is(monitor("SELECT status FROM brand_monitor.history WHERE execution_id = $slow"), 'processing', 'an execution goes on until the last answer is there');
is(monitor("SELECT brand_monitor.cancel($slow)"), 't', 'it is cancelled');
wait_aborted($collectors, 2, qr{^/collect/slow$});
pass('the request is broken off');
wait_value($node, 'brands', "SELECT string_agg(collector || ' ' || status, ', ' ORDER BY collector) FROM brand_monitor.requests WHERE execution_id = $slow",
	'chatgpt cancelled, slow cancelled', 'what waits is not sent');
wait_value($node, 'brands', "SELECT status FROM jobsched.runs WHERE run_id = $slow", 'cancelled', 'the run has ended with all of its children');
is(monitor("SELECT status, finished_at IS NOT NULL FROM brand_monitor.history WHERE execution_id = $slow"), 'cancelled|t', 'it stays cancelled');
is(scalar(told(1)), 1, 'nobody is told of that');

# ------------------------------------------------------------------------
# Limits
# ------------------------------------------------------------------------

monitor(q{
	UPDATE brand_monitor.settings SET per_brand = 1;
	UPDATE brand_monitor.jobs SET metadata = '{"collectors": ["chatgpt", "other"], "parallel": true}' WHERE job_id = 2});
my $limited = run_now(2);
my $of_another = run_now(10);
wait_value($node, 'brands', "SELECT count(*) FROM brand_monitor.requests WHERE execution_id = $limited AND status = 'answered'", 1, "a brand's rate lets one request through");
wait_value($node, 'brands', qq{SELECT r.status, r.reason FROM brand_monitor.answers JOIN jobsched.runs r USING (run_id)
		WHERE execution_id = $limited AND answered_at IS NULL}, 'queued|waiting_for_turn', 'and the other wait');
monitor('UPDATE brand_monitor.settings SET per_brand = 600');
wait_execution($limited, 'completed', 'until the rate is raised');

# Both brands are of customer 1.
monitor(q{
	UPDATE brand_monitor.settings SET per_customer = 1;
	UPDATE brand_monitor.jobs SET metadata = '{"collectors": ["other"], "parallel": true}' WHERE job_id = 2});
my $first = run_now(2);
wait_execution($first, 'completed', "a customer's rate lets one request through");
$limited = run_now(2);
wait_value($node, 'brands', qq{SELECT r.status, r.reason FROM brand_monitor.answers JOIN jobsched.runs r USING (run_id)
		WHERE execution_id = $limited}, 'queued|waiting_for_turn', 'and no other');
monitor('UPDATE brand_monitor.settings SET per_customer = 600');
wait_execution($limited, 'completed', 'until that is raised');
open_gate($collectors, 'slow');
wait_execution($of_another, 'completed', 'and another brand had its own');
like((told(2))[1], qr/^\*job "brand-10" is well again/, 'its success ends the alert');

# ------------------------------------------------------------------------
# Administration
# ------------------------------------------------------------------------

is(monitor(q{UPDATE brand_monitor.jobs SET active = false WHERE job_id = 2; SELECT enabled FROM jobsched.jobs WHERE name = 'brand-2'}), 'f', 'a job is turned off');
is(monitor(q{UPDATE brand_monitor.jobs SET active = true, schedule = '* * * * * *' WHERE job_id = 2;
		SELECT enabled, schedule FROM jobsched.jobs WHERE name = 'brand-2'}), 't|* * * * * *', 'and on, with another schedule');
wait_value($node, 'brands', q{SELECT count(*) > 0 FROM brand_monitor.history WHERE job_id = 2 AND source = 'schedule' AND status = 'completed'},
	't', 'which it runs on');
is(monitor(q{DELETE FROM brand_monitor.jobs WHERE job_id = 10; SELECT count(*) FROM jobsched.jobs WHERE name = 'brand-10'}), 0, 'a job is deleted');
is(monitor(q{SELECT status, count(*) FROM brand_monitor.history WHERE customer_id = 2 GROUP BY 1 ORDER BY 1}),
	"cancelled|1\ncompleted|2\nfailed|2", 'the history can be asked for by customer, also of what is deleted');
is(monitor(q{SELECT execution_id, job_id, source, error ~ 'time' OR error ~ 'failed', finished_at > started_at FROM brand_monitor.history
		WHERE brand_id = 3 AND status = 'failed' ORDER BY execution_id DESC LIMIT 1}), "$late|10|trigger|t|t", 'by brand and status, the newest');
is(monitor("SELECT status, metrics->'collection'->'answered', metrics->'scoring'->'named' FROM brand_monitor.history WHERE execution_id = $both"), 'completed|6|4', 'and one by its id');

# What charts show, as soon as it is counted
wait_value($node, 'brands', 'SELECT sum(executions), sum(completed), sum(failed), sum(cancelled) FROM brand_monitor.trends(current_date - 1, current_date, of_brand => 3)',
	'5|2|2|1', 'trends of a brand');
wait_value($node, 'brands', 'SELECT sum(executions) FROM brand_monitor.trends(current_date - 1, current_date, 1, 1)', 1, 'of another');
is(monitor('SELECT count(*), count(*) FILTER (WHERE executions = 0) >= 28, max(mean_position), bool_or(longest >= mean_duration) FROM brand_monitor.trends(current_date - 29, current_date, of_brand => 1)'),
	'30|t|1.50|t', 'a row for each day of a month');
is(monitor('SELECT sum(executions) FROM brand_monitor.trends(current_date - 1, current_date, of_customer => 2)'), 5, 'by customer');
is(monitor(q{SELECT job_name FROM jobsched.job_stats WHERE period = '1 hour' AND job_name = 'collect-answer' AND runs > 10}), 'collect-answer', 'statistics of each job');

wait_value($node, 'brands', q{SELECT count(*) FROM jobsched.runs WHERE job_name LIKE 'channel:%' AND finished_at IS NULL}, 0, 'nothing is left to be told');
is(scalar(told(2)), 2, 'each has been told once');
is(scalar(grep { $_->{data} =~ /^Subject: job "brand-10" is well again/m } mails($relay)), 2, 'also by mail');
monitor('UPDATE brand_monitor.settings SET slack_url = NULL, mail_to = NULL');
is(monitor('SELECT (SELECT count(*) FROM jobsched.channels) + (SELECT count(*) FROM jobsched.alerts)'), 0, 'without addresses nobody is');

$node->stop;
check_log($node, killed => 1);
stop_http_server($_) for $collectors, $slack, $relay;
done_testing();
