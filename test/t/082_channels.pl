# Copyright (c) 2026, jobsched contributors

# Channels: what each kind sends and what becomes of that, whatever is in the message, and
# whatever happens to the server, the role, the database in between.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_base64);
use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('channels');
my $sink = start_sink($node, answer => q{
	my %seen;
	sub {
		my ($request) = @_;
		my ($what, $arg) = $request->{path} =~ m{^/say/(\w+)/?(.*)} or return;
		my $times = $seen{ $request->{path} }++;
		return (429, 'rate_limited', 'Retry-After' => 1) if $what eq 'busy' && $times == 0;
		return ($what =~ /^\d+$/ ? $what : 200, $arg);
	}});
my $url = $sink->{url};
my $json = JSON::PP->new->utf8->canonical;

sub psql
{
	my ($sql) = @_;
	return session_sql($node, $db, $superuser, $sql);
}

sub app
{
	my ($sql) = @_;
	return session_sql($node, $db, 'app', $sql);
}

sub ended
{
	my ($run_id, $columns) = @_;
	return end_of($node, $db, $run_id, $columns);
}

# The error of app's statement, in one line.
sub refused
{
	my ($sql) = @_;
	my $error = error_of($node, $db, 'app', $sql);

	return $error =~ /ERROR:\s+(\S+): ([^\n]*)/ ? "$1 $2" : $error;
}

# What was sent to a path, parsed.
sub sent
{
	my ($path, $n) = @_;
	my @requests = wait_requests($sink, $n || 1, qr{^\Q$path\E$});

	return $json->decode($requests[-1]->{body});
}

# A message of app's own through a channel.
sub message
{
	my ($channel, $args) = @_;
	return app(qq{SELECT jobsched.trigger('channel:$channel', $args)});
}

# ------------------------------------------------------------------------
# Webhook
# ------------------------------------------------------------------------

app(qq{SELECT jobsched.set_channel('hook', 'webhook', '$url/hook')});
my $run = app(q{SELECT jobsched.test_channel('hook')});
is(ended($run), 'succeeded', 'webhook: a test is sent');
my ($request) = wait_requests($sink, 1, qr{^/hook$});
my $message = $json->decode($request->{body});
is(join(' ', map { "$_=$message->{$_}" } qw(version kind channel count more)), 'version=1 kind=test channel=hook count=0 more=0', 'a versioned document');
is_deeply($message->{items}, [], 'with its items');
is($request->{headers}->{'idempotency-key'}, qq{"$message->{id}"}, 'its id is the Idempotency-Key');
is($request->{method} . ' ' . $request->{headers}->{'content-type'}, 'POST application/json', 'it is JSON');
is(app(q{SELECT kind, state, last_sent_at IS NOT NULL, last_error IS NULL FROM jobsched.channels WHERE name = 'hook'}), 'webhook|active|t|t', 'and the view says so');

app(q{SELECT jobsched.set_secret('key', 'whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz')});
app(qq{SELECT jobsched.set_channel('hook', 'webhook', '$url/signed', sign_with => 'key', headers => '{"X-Team": "ops"}',
	template => '{"what": "{{args.subject}}", "all": "{{args}}"}')});
ended(app(q{SELECT jobsched.test_channel('hook')}));
($request) = wait_requests($sink, 1, qr{^/signed$});
my $id = $request->{headers}->{'webhook-id'};
my $signature = hmac_sha256_base64(join('.', $id, $request->{headers}->{'webhook-timestamp'}, $request->{body}), '012345678901234567890123');
is($request->{headers}->{'webhook-signature'}, "v1,$signature=", 'Standard Webhooks: the signature');
$message = $json->decode($request->{body});
is($message->{all}->{id}, $id, 'webhook-id is the id of the message');
is("$message->{what} $request->{headers}->{'x-team'}", 'Test of channel hook ops', 'template and headers');

# ------------------------------------------------------------------------
# Slack
# ------------------------------------------------------------------------

app(qq{SELECT jobsched.set_channel('slack', 'slack', '$url/slack')});
is(ended(app(q{SELECT jobsched.test_channel('slack')})), 'succeeded', 'slack: a test is sent');
is(sent('/slack')->{text}, "*Test of channel slack*\nThis is a test. Nothing has failed.", 'as a text');
ended(message('slack', q{'{"subject": "<!channel> & co", "text": "a < b > c && <@U1> <https://x.example|y>"}'}));
is(sent('/slack', 2)->{text}, "*&lt;!channel&gt; &amp; co*\na &lt; b &gt; c &amp;&amp; &lt;\@U1&gt; &lt;https://x.example|y&gt;", 'nothing is a mention or a link');
ended(message('slack', q{jsonb_build_object('subject', repeat('&', 1000), 'text', repeat('<', 100000))}));
my $text = sent('/slack', 3)->{text};
cmp_ok(length $text, '<=', 3000, 'cut to size');
like($text, qr/^\*(&amp;)+ \[cut, of 5000 characters\]\*\n(&lt;)+ \[cut, of 400000 characters\]$/, 'not within an escape, and it says so');
ended(message('slack', q{jsonb_build_object('text', repeat('ä€😀', 30000), 'subject', E'a\nb')}));
like(sent('/slack', 4)->{text}, qr/^\*a\nb\*\n(\x{e4}\x{20ac}\x{1f600})+\x{e4}?\x{20ac}? \[cut, of 90000 characters\]$/, 'characters of several bytes');
ended(message('slack', q{'{}'}));
is(sent('/slack', 5)->{text}, "*(no subject)*\n", 'nothing at all');
ended(message('slack', q{'{"subject": 7, "text": ["a"], "id": "bad id\\r\\nX-Evil: 1"}'}));
($request) = (requests($sink, qr{^/slack$}))[5];
is($request->{headers}->{'x-evil'}, undef, 'an id that cannot be one is none');
like($request->{headers}->{'idempotency-key'}, qr/^"[0-9a-f-]{36}"$/, 'the run has one of its own');
is(ended(message('slack', q{jsonb_build_object('text', E'\x01\x1f\x7f\u2028 \\ "')})), 'succeeded', 'control characters');

app(qq{SELECT jobsched.set_channel('slack', 'slack', '$url/coloured', template => '{"attachments": [{"color": "danger", "text": "{{args.text}}"}]}')});
ended(message('slack', q{'{"text": "<x>"}'}));
is_deeply(sent('/coloured'), { attachments => [ { color => 'danger', text => '&lt;x&gt;' } ] }, 'a template, with escaped texts');

# One message a second, after a burst of three.
app(qq{SELECT jobsched.set_channel('fast', 'slack', '$url/fast')});
is(app(q{SELECT keys FROM jobsched.jobs WHERE name = 'channel:fast'}), '{slack_channel:fast}', 'slack: a limit of its own');
app(q{DO $$ BEGIN FOR i IN 1..5 LOOP PERFORM jobsched.test_channel('fast'); END LOOP; END $$});
my @times = map { $_->{time} } wait_requests($sink, 5, qr{^/fast$});
cmp_ok($times[4] - $times[0], '>=', 1.5, 'slack: after three at once one a second');
app(q{SELECT jobsched.drop_channel('fast')});

# ------------------------------------------------------------------------
# Answers
# ------------------------------------------------------------------------

sub answer
{
	my ($kind, $path) = @_;

	app(qq{SELECT jobsched.set_channel('answers', '$kind', '$url/say/$path')});
	$run = app(q{SELECT jobsched.test_channel('answers')});
	return ended($run);
}

sub channel_state
{
	until_true($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'all is recorded');
	return app(q{SELECT state, last_error FROM jobsched.channels WHERE name = 'answers'});
}

is(answer('slack', 'busy'), 'succeeded', '429: it is sent again');
is(app(qq{SELECT count(*), max(error) FROM jobsched.attempts WHERE run_id = $run AND error IS NOT NULL}), '1|the server answered with status 429', 'after one that failed');
my ($first, $second) = wait_requests($sink, 2, qr{^/say/busy});
cmp_ok($second->{time} - $first->{time}, '>=', 1, 'not before Retry-After');
is($second->{headers}->{'idempotency-key'}, $first->{headers}->{'idempotency-key'}, 'with the same id');
like(channel_state(), qr/^active\|/, 'it is not disabled');

for (
	[ 'slack', '404/no_team', '404: no_team' ], [ 'slack', '410/channel_is_archived', '410: channel_is_archived' ],
	[ 'slack', '403/invalid_token', '403: invalid_token' ], [ 'slack', '400/invalid_token', '400: invalid_token' ],
	[ 'webhook', '404', '404' ], [ 'webhook', '410/gone', '410' ])
{
	my ($kind, $path, $error) = @{$_};
	like(answer($kind, $path), qr/^failed channel_refused JS4/, "$kind $path: refused for good");
	until_true($node, $db, q{SELECT state = 'disabled' FROM jobsched.channels WHERE name = 'answers'}, 'it is disabled');
	is(app(q{SELECT state_reason, last_error FROM jobsched.channels WHERE name = 'answers'}),
		"disabled because its messages are refused for good (run $run)|the server answered with status $error", "$kind $path: and says why");
}
my $held = app(q{SELECT jobsched.test_channel('answers')});
until_true($node, $db, q{SELECT queued = 0 FROM (SELECT count(*) AS queued FROM jobsched.running) r}, 'nothing runs');
is(app(qq{SELECT status FROM jobsched.runs WHERE run_id = $held}), 'queued', 'disabled: a message waits');
app(qq{SELECT jobsched.set_channel('answers', 'webhook', '$url/again')});
is(ended($held), 'succeeded', 'set_channel() enables it, and what waits goes there');
is(app(q{SELECT state, state_reason FROM jobsched.channels WHERE name = 'answers'}), 'active|', 'and the view says so');
is(answer('slack', '400/invalid_payload'), 'failed http_status JS400', '400 of another kind');
like(channel_state(), qr/^active\|the server answered with status 400$/, 'does not disable it');
is(answer('webhook', '403/Forbidden'), 'failed http_status JS403', 'nor does 403');
like(channel_state(), qr/^active\|/, 'by itself');

# ------------------------------------------------------------------------
# NOTIFY and functions
# ------------------------------------------------------------------------

my $listener = $node->background_psql($db);
$listener->query_safe('LISTEN ops; LISTEN other');

# What has come to a channel of NOTIFY.
sub notices
{
	my ($n) = @_;
	my @found;
	my $got = '';

	wait_until($node, $db, 'SELECT 1', 'the server answers') if 0;
	until_true($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'all has been sent');
	$got = $listener->query('SELECT 1');
	while ($got =~ /Asynchronous notification "(\w+)" with payload "(.*)" received/g)
	{
		push @found, [ $1, $2 ];
	}
	return @found;
}

app(q{SELECT jobsched.set_channel('ops', 'notify')});
$run = app(q{SELECT jobsched.test_channel('ops')});
is(ended($run, 'status, result'), 'succeeded|', 'notify: a test is sent');
my @notices = notices();
is($notices[0]->[0], 'ops', 'to the channel of its name');
is($json->decode($notices[0]->[1])->{subject}, 'Test of channel ops', 'with the message');
ended(app(q{SELECT jobsched.retry_run(} . $run . q{)}));
is(scalar(notices()), 1, 'once each time');

# Triggering is for alerts, so long messages come by the table here.
sub notify_long
{
	my ($args) = @_;
	my $id = psql(q{INSERT INTO jobsched_internal.run SELECT (r.t).* FROM (SELECT NULL::jobsched_internal.run AS t) r WHERE false RETURNING run_id});
	return $id;
}

psql(q{CREATE TABLE told (args jsonb); CREATE FUNCTION tell(args jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO public.told VALUES (args)';
	GRANT INSERT, SELECT ON told TO app});
app(q{SELECT jobsched.set_channel('call', 'handler', handler => 'public.tell')});
is(ended(app(q{SELECT jobsched.test_channel('call')})), 'succeeded', 'handler: a test is sent');
is(psql(q{SELECT args ->> 'kind', args ->> 'channel' FROM told}), 'test|call', 'the function gets the message');

end_sessions($node);
$node->stop;
done_testing();
