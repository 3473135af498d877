# Copyright (c) 2026, jobsched contributors

# The recipes of the manual, as they stand but for the servers that they name, which are
# on this machine: Slack, a dead man's switch, a pager, GitHub, Stripe, an approval.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = http_node('recipes');
my $sink = start_sink($node);
my $json = JSON::PP->new->utf8->canonical;

define_clock($node, $db);

sub app { my ($sql) = @_; return sql_as($node, $db, 'app', $sql) }

# The first SQL after a text of a page.
sub recipe
{
	my ($page, $text) = @_;
	my ($sql) = slurp_file("$FindBin::Bin/../../doc/$page.md") =~ /^\Q$text\E.*?^```sql\n(.*?)^```/ms
	  or die "$page.md has no such recipe: $text";

	$sql =~ s{https://([a-z.-]+)/}{$sink->{url}/$1/}g;
	return $sql;
}

# The bodies of what was sent to a host, $n at least.
sub sent
{
	my ($host, $n) = @_;
	return map { $json->decode($_->{body}) } wait_requests($sink, $n, qr{^/\Q$host\E/});
}

# ------------------------------------------------------------------------
# Alerts
# ------------------------------------------------------------------------

set_clock($node, $db, '2026-03-02 10:00+00');
my $slack = recipe('alerts', '### Slack');
is(() = $slack =~ /^\S/mg, 5, 'Slack in five lines');
app($slack);
is((sent('hooks.slack.com', 1))[0]->{text}, "*Test of channel ops*\nThis is a test. Nothing has failed.", 'Slack has the test');
app(q{SELECT jobsched.create_job('backup', command => 'SELECT 1 / 0', max_attempts => 1)});
run_job($node, $db, 'backup', role => 'app');
wait_value($node, $db, q{SELECT job FROM jobsched.alerts WHERE state = 'firing'}, 'backup', 'an alert fires');
advance_clock($node, $db, '30 s');
like((sent('hooks.slack.com', 2))[1]->{text}, qr/^\*job "backup" failed once\*/, 'Slack is told');

app(recipe('alerts', "### A dead man's switch"));
advance_clock($node, $db, '25 hours');
wait_value($node, $db, q{SELECT job FROM jobsched.alerts WHERE name = 'backup' AND state = 'firing'}, 'backup', 'no success for a day');
advance_clock($node, $db, '31 s');
like((sent('hooks.slack.com', 3))[2]->{text}, qr/^backup: job "backup"/m, 'that is told too');
set_clock($node, $db, undef);

app(recipe('alerts', 'A server that is down sends nothing'));
my ($heartbeat, $status) = run_job($node, $db, 'heartbeat', role => 'app');
is($status, 'succeeded', 'all is well');
is((wait_requests($sink, 1, qr{^/hc-ping\.com/}))[0]->{path}, '/hc-ping.com/00000000-0000-0000-0000-000000000000', 'which the service outside hears of');

app(recipe('alerts', '### PagerDuty'));
app(q{SELECT jobsched.trigger('channel:page', '{"subject": "one failed", "items": [{"alert": "a", "job": "j", "condition": "failures", "state": "firing"}]}')});
my ($page) = sent('events.pagerduty.com', 1);
is_deeply([ @{$page}{qw(routing_key event_action dedup_key)}, $page->{payload}->{summary} ], [ 'the-routing-key', 'trigger', 'a/j/failures', 'one failed' ], 'somebody is paged');

# ------------------------------------------------------------------------
# Hooks
# ------------------------------------------------------------------------

# Sends a request; returns the id of the run.
sub receive
{
	my ($hook, $body, %headers) = @_;
	return app("SELECT jobsched.receive('$hook', '$body', '" . $json->encode(\%headers) . "')");
}

app(recipe('hooks', 'GitHub, at a push.'));
my $push = '{"ref": "refs/heads/main", "after": "1234abcd"}';
my %github = (
	'x-hub-signature-256' => 'sha256=' . hmac_sha256_hex($push, 'what-you-have-told-github'),
	'x-github-delivery' => 'd1', 'x-github-event' => 'push');
my $first = receive('github', $push, %github);
is(receive('github', $push, %github), $first, 'GitHub: a repeat is the same run');
wait_value($node, $db, 'SELECT ref, head FROM app.pushes', 'refs/heads/main|1234abcd', 'a push has come, once');

app(recipe('hooks', 'Stripe, once for each event.'));
my $paid = '{"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": {"amount": 700}}}';
my $at = time;
my $signature = hmac_sha256_hex("$at.$paid", 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
$first = receive('stripe', $paid, 'stripe-signature' => "t=$at,v1=$signature");
is(receive('stripe', $paid, 'stripe-signature' => "t=$at,v1=$signature"), $first, 'Stripe: a repeat is the same run');
wait_value($node, $db, 'SELECT event, amount FROM app.paid', 'evt_1|700', 'a payment has come, once');

app(recipe('hooks', '## Links that answer'));
wait_value($node, $db, q{SELECT status, result FROM jobsched.runs WHERE job_name = 'pay'}, 'succeeded|{"paid": true}', 'a link has approved');

$node->stop;
stop_http_server($sink);
done_testing();
