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
my $node = http_node('channels', conf => q{
wal_level = replica
max_wal_senders = 2
synchronous_commit = local
synchronous_standby_names = 'nobody'
});
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

# The error of a role's statement, in one line; '' for none.
sub refused
{
	my ($sql, $role) = @_;
	my $error = error_of($node, $db, $sql, $role || 'app');

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
wait_value($node, $db, q{SELECT kind, state, last_sent_at IS NOT NULL, last_error IS NULL FROM jobsched.channels WHERE name = 'hook'}, 'webhook|active|t|t', 'and the view says so');

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

app(qq{SELECT jobsched.set_channel('slack', 'slack', '$url/items', template => '{"items": "{{args.items}}", "all": "{{args}}"}')});
ended(message('slack', q{'{"subject": "s", "items": [{"job": "<a>", "error": "&", "count": 3, "until": null, "of": [["<"], {"subject": "<<<"}]}], "more": false}'}));
my $items = [ { job => '&lt;a&gt;', error => '&amp;', count => 3, until => undef, of => [ ['&lt;'], { subject => '&lt;&lt;&lt;' } ] } ];
is_deeply(sent('/items')->{items}, $items, 'a template: all that is in items');
is_deeply(sent('/items')->{all}, { subject => 's', items => $items, more => JSON::PP::false }, 'and the whole message');

app(qq{SELECT jobsched.set_channel('slack', 'slack', '$url/names', template => '{"text": "all: {{args}}"}')});
ended(message('slack', q{'{"<!channel>": {"<@U1>": 1}}'}));
is(sent('/names')->{text}, 'all: {"&lt;!channel&gt;": {"&lt;@U1&gt;": 1}}', 'a template: names of members are no mentions either');

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
	my @found;

	until_true($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'all has been sent');
	my $got = $listener->query('SELECT 1');
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
is(scalar(notices()), 0, 'once');
ended(message('ops', q{jsonb_build_object('id', 'long', 'subject', repeat('"', 5000), 'text', repeat('漢', 400000), 'count', 7, 'items', '[{"job": "x"}]'::jsonb)}));
my ($long) = notices();
cmp_ok(length $long->[1], '<=', 7999, 'notify: a long message is cut');
$message = $json->decode($long->[1]);
is("$message->{id} $message->{count} $message->{truncated}", 'long 7 1', 'and says so');
like($message->{text}, qr/^\x{6f22}+$/, 'between characters');
ended(message('ops', q{jsonb_build_object('text', repeat(E'\x01', 100000))}));
($long) = notices();
cmp_ok(length $long->[1], '<=', 7999, 'notify: what takes more room in JSON');
ended(message('ops', q{'{}'}));
is_deeply([ map { $_->[1] } notices() ], ['{}'], 'notify: nothing at all');

# Whoever sends a notification holds up all others until he has committed, which may be never
# where he waits for a standby; requests go on.
my $holder = $node->background_psql($db);
$holder->query_safe('SET synchronous_commit = on');
$holder->query_until(qr/begins/, "BEGIN; CREATE TABLE held (); NOTIFY other;\n\\echo begins\nCOMMIT;\n");
wait_value($node, $db, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'}, '1', 'a session waits for a standby');
$run = app(q{SELECT jobsched.test_channel('ops')});
wait_run_state($node, $db, $run, 'running');
is(ended(app(q{SELECT jobsched.test_channel('hook')})), 'succeeded', 'notify: requests do not wait for somebody else who sends one');
is(app(qq{SELECT status FROM jobsched.runs WHERE run_id = $run}), 'running', 'the notification does');
app(q{SELECT jobsched.set_channel('late', 'notify'), jobsched.alter_job('channel:late', timeout => '100 ms', max_attempts => 1)});
is(ended(app(q{SELECT jobsched.test_channel('late')})), 'failed error 55P03', 'not longer than its timeout');
app(q{SELECT jobsched.drop_channel('late')});

# Nor does anybody else who sends one wait for what the record of a run waits for.
psql(q{BEGIN; LOCK TABLE jobsched_internal.run IN SHARE MODE});
set_setting($node, 'synchronous_standby_names', '');
$holder->query_safe('SELECT 1');
is($holder->query_safe(q{
	CREATE FUNCTION pg_temp.locks_of_one_who_waits() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE found text; until timestamptz := clock_timestamp() + '1 min';
	BEGIN
		WHILE found IS NULL AND clock_timestamp() < until LOOP
			WITH l AS MATERIALIZED (SELECT l.* FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'jobsched http')
			SELECT string_agg(DISTINCT locktype, ',' ORDER BY locktype) INTO found FROM l
			WHERE granted AND locktype IN ('object', 'virtualxid') AND EXISTS (SELECT FROM l WHERE NOT granted);
		END LOOP;
		RETURN found;
	END $$;
	SELECT pg_temp.locks_of_one_who_waits()}), 'virtualxid', 'notify: the lock is the last one');
psql('ROLLBACK');
is(ended($run), 'succeeded', 'until its turn comes');
$holder->quit;
is(scalar(grep { $_->[0] eq 'ops' } notices()), 1, 'and it is sent once');

psql(q{CREATE TABLE told (args jsonb); CREATE FUNCTION tell(args jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO public.told VALUES (args)';
	GRANT INSERT, SELECT ON told TO app});
app(q{SELECT jobsched.set_channel('call', 'handler', handler => 'public.tell')});
is(ended(app(q{SELECT jobsched.test_channel('call')})), 'succeeded', 'handler: a test is sent');
is(psql(q{SELECT args ->> 'kind', args ->> 'channel' FROM told}), 'test|call', 'the function gets the message');

psql(q{CREATE TABLE public.seen (a int); ALTER TABLE public.seen OWNER TO app});
app(q{CREATE TRIGGER tell AFTER INSERT ON public.seen FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('channel:ops')});
app(q{INSERT INTO public.seen VALUES (7)});
is($json->decode((notices())[0]->[1])->{record}->{a}, 7, 'a trigger of a table can send a message');
app(q{DROP TABLE public.seen});

# ------------------------------------------------------------------------
# What is refused
# ------------------------------------------------------------------------

for (
	[ q{NULL, 'slack'}, '22004 name cannot be NULL' ], [ q{'a', NULL}, '22004 kind cannot be NULL' ],
	[ q{'', 'slack'}, '22023 invalid name of a channel ""' ], [ q{'a b', 'notify'}, '22023 invalid name of a channel "a b"' ],
	[ q{'ä', 'notify'}, "22023 invalid name of a channel \"\xc3\xa4\"" ], [ q{'a{{args}}', 'notify'}, '22023 invalid name of a channel "a{{args}}"' ],
	[ q{repeat('a', 1000000), 'notify'}, '42622 the name of a channel cannot be longer than 63 bytes' ],
	[ q{'a', 'sms'}, '22023 invalid kind "sms"' ], [ q{'a', ''}, '22023 invalid kind ""' ],
	[ q{'a', 'slack'}, '22023 a channel of kind "slack" needs url' ], [ q{'a', 'email'}, '22023 a channel of kind "email" needs to_address' ],
	[ q{'a', 'email', to_address => '{}'}, '22023 a channel of kind "email" needs to_address' ],
	[ q{'a', 'handler'}, '22023 a channel of kind "handler" needs handler' ],
	[ q{'a', 'notify', 'http://x.example'}, '22023 url is given for a channel of kind "notify"' ],
	[ q{'a', 'slack', 'http://x.example', sign_with => 'key'}, '22023 sign_with is given for a channel of kind "slack"' ],
	[ q{'a', 'handler', handler => 'public.tell', template => '{}'}, '22023 template is given for a channel of kind "handler"' ],
	[ q{'a', 'handler', handler => 'public.nothing'}, '42883 function public.nothing(jsonb) does not exist' ],
	[ q{'a', 'webhook', 'ftp://x.example'}, '22023 url does not begin with' ], [ q{'a', 'webhook', ''}, '22023 url does not begin with' ],
	[ q{'a', 'webhook', 'http://x.example', template => '"{{no.such}}"'}, '22023 ' ],
	[ q{'a', 'webhook', 'http://x.example', template => to_jsonb(repeat('x', 17000000))}, '54000 ' ],
	[ q{'a', 'webhook', 'http://x.example', headers => '{"A\u000aB": "1"}'}, '22023 ' ])
{
	my ($arguments, $error) = @{$_};
	like(refused("SELECT jobsched.set_channel($arguments)"), qr/^\Q$error\E/, 'refused: ' . substr($arguments, 0, 80));
}

for my $address ('', 'a', '@', 'a@', '@b', 'a@b@c', 'a b@c', 'a@b c', '<a@b>', 'A <a@b>', 'a@b,c@d', 'a@b;c@d', "a\@b\n", "a\@b\r\nDATA", "a\@b\rX",
	"\t\@b", "\x7f\@b", "ä\@b", 'a@bä.example', '"a b"@c', 'a@b>', 'a@[127.0.0.1]', '-a@b', 'a@-b', 'a@b.', 'a(c)@b', 'a\\b@c', ':a@b')
{
	my $hex = unpack 'H*', $address;
	like(refused(qq{SELECT jobsched.set_channel('mail', 'email', to_address => ARRAY[convert_from('\\x$hex', 'UTF8')])}), qr/^22023 invalid address "/, "no address: $hex");
}
like(refused(q{SELECT jobsched.set_channel('mail', 'email', to_address => ARRAY[repeat('a', 250) || '@b.example'])}), qr/^22023 an address in to_address is longer than 254 bytes/, 'too long');
like(refused(q{SELECT jobsched.set_channel('mail', 'email', to_address => '{a@b.example,NULL}')}), qr/^22004 /, 'NULL');
like(refused(q{SELECT jobsched.set_channel('mail', 'email', to_address => '{a@b.example,a@b.example}')}), qr/^22023 address "a\@b.example" is given twice/, 'twice');
like(refused(q{SELECT jobsched.set_channel('mail', 'email', to_address => ARRAY(SELECT i || '@b.example' FROM generate_series(1, 51) i))}), qr/^54000 to_address has 51 elements/, 'too many');
app(q{SELECT jobsched.set_channel('mail', 'email', to_address => ARRAY[repeat('a', 244) || '@b.example', 'x.y+z!#$%&''*/=?^_`{|}~@b-c.example'])});
is(app(q{SELECT kind, to_address[2] FROM jobsched.channels WHERE name = 'mail'}), q{email|x.y+z!#$%&'*/=?^_`{|}~@b-c.example}, 'addresses that are some');
like(refused(q{SELECT jobsched.trigger('channel:mail')}), qr/^55000 job "channel:mail" has no request of its own/, 'mail is not sent to nobody');
like(refused(q{SELECT jobsched.create_job('w', steps => '[{"name": "a", "job": "channel:mail"}]')}), qr/^22023 job "channel:mail" has no request of its own/, 'nor by a step');

# What waits when a channel becomes another one.
app(qq{SELECT jobsched.set_channel('turns', 'webhook', '$url/turns'), jobsched.pause_job('channel:turns')});
$run = app(q{SELECT jobsched.test_channel('turns')});
app(q{SELECT jobsched.set_channel('turns', 'email', to_address => '{a@b.example}')});
my $mail = app(q{SELECT jobsched.test_channel('turns')});
app(q{SELECT jobsched.resume_job('channel:turns')});
is(ended($run, 'status, error'), 'failed|the e-mail has no address to go to', 'a message of another kind cannot become a mail');
is(ended($mail), 'failed bad_request 55000', 'a mail is one');
app(q{SELECT jobsched.pause_job('channel:turns')});
$mail = app(q{SELECT jobsched.test_channel('turns')});
app(q{SELECT jobsched.set_channel('turns', 'notify'), jobsched.alter_job('channel:turns', enabled => false), jobsched.resume_job('channel:turns')});
is(ended($mail), 'failed bad_request 55000', 'and stays one');
$run = app(qq{SELECT jobsched.retry_run($run)});
is(ended($run), 'succeeded', 'other messages are sent as the channel is now');
is(app(q{SELECT state FROM jobsched.channels WHERE name = 'turns'}), 'active', 'a channel has no slots that could be disabled');
app(q{SELECT jobsched.drop_channel('turns')});
app(q{SELECT jobsched.pause_job('channel:mail', 'quiet')});
is(app(q{SELECT state, state_reason FROM jobsched.channels WHERE name = 'mail'}), 'paused|quiet', 'a channel can be paused');
$run = app(q{SELECT jobsched.test_channel('mail')});
is(psql(qq{SELECT string_agg(request ->> 'channel' || ' ' || length(request ->> 'to'), ',' ORDER BY run_id), min(run_id) = $run, count(DISTINCT args) FROM jobsched_internal.run WHERE run_id >= $run}),
	'email 254,email 34|t|1', 'mail: a run for each address, with one message');
app(q{SELECT jobsched.drop_channel('mail')});
is(ended($run), 'cancelled job_dropped', 'with the channel what waits goes');
is(app(q{SELECT count(*) FROM jobsched.channels WHERE name = 'mail'}), '0', 'and it is gone');
like(refused(q{SELECT jobsched.drop_channel('mail')}), qr/^42704 channel "mail" of role "app" does not exist/, 'so it cannot be dropped again');

# The job of a channel is one of a kind.
for (
	[ q{create_job('channel:x', command => 'SELECT 1')}, '42939 the name of a job cannot begin with "channel:"' ],
	[ q{alter_job('channel:hook', name => 'free')}, '55000 job "channel:hook" is a channel' ],
	[ q{alter_job('channel:hook', url => 'http://x.example')}, '55000 job "channel:hook" is a channel' ],
	[ q{alter_job('channel:hook', body => '{}')}, '55000 job "channel:hook" is a channel' ],
	[ q{alter_job('channel:hook', command => 'SELECT 1')}, '55000 job "channel:hook" is a channel' ],
	[ q{alter_job('channel:hook', schedule => '* * * * *')}, '55000 job "channel:hook" is a channel' ],
	[ q{alter_job('channel:call', handler => 'public.other')}, '55000 job "channel:call" is a channel' ],
	[ q{drop_job('channel:hook')}, '55000 job "channel:hook" is a channel' ])
{
	like(refused("SELECT jobsched.$_->[0]"), qr/^\Q$_->[1]\E/, $_->[0]);
}
app(q{SELECT jobsched.create_job('plain', command => 'SELECT 1')});
like(refused(q{SELECT jobsched.alter_job('plain', name => 'channel:plain')}), qr/^42939 /, 'no job can be renamed to one');
app(q{SELECT jobsched.alter_job('channel:hook', max_attempts => 3, description => 'ours')});
app(qq{SELECT jobsched.set_channel('hook', 'webhook', '$url/hook')});
is(app(q{SELECT max_attempts, description, keys FROM jobsched.jobs WHERE name = 'channel:hook'}), '3|ours|', 'policies stay');
app(qq{SELECT jobsched.set_channel('hook', 'slack', '$url/hook')});
is(app(q{SELECT keys FROM jobsched.jobs WHERE name = 'channel:hook'}), '{slack_channel:hook}', 'another kind has its limit');
app(qq{SELECT jobsched.set_channel('hook', 'webhook', '$url/hook')});

# ------------------------------------------------------------------------
# Two sessions
# ------------------------------------------------------------------------

# One defines or drops a channel and has not committed, and another one defines it.
for my $what (q{set_channel('two', 'notify')}, q{drop_channel('two')})
{
	my @sessions = map { $node->background_psql($db, extra_params => [ '-U', 'app' ]) } 1 .. 2;
	$sessions[0]->query_safe("BEGIN; SELECT jobsched.$what");
	$sessions[1]->query_until(qr/begins/, "\\echo begins\nSELECT jobsched.set_channel('two', 'webhook', '$url/two');\n");
	wait_value($node, $db, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'two'}, '1', 'the second waits');
	$sessions[0]->query_safe('COMMIT');
	$sessions[1]->query_safe('SELECT 1');
	is(app(q{SELECT count(*), min(kind) FROM jobsched.channels WHERE name = 'two'}), '1|webhook', "$what: the last one counts");
	$_->quit for @sessions;
}

# ------------------------------------------------------------------------
# Rights
# ------------------------------------------------------------------------

psql(q{CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA jobsched TO other; CREATE ROLE anon LOGIN; CREATE ROLE group_ NOLOGIN; GRANT group_ TO app;
	GRANT USAGE ON SCHEMA jobsched TO group_});

is(refused(q{SELECT jobsched.drop_channel('hook')}, 'other'), '42704 channel "hook" of role "other" does not exist', "another's channel is not there");
is(refused(q{SELECT jobsched.drop_channel('hook', 'app')}, 'other'), '42704 channel "hook" of role "app" does not exist', 'by its owner neither');
is(refused(q{SELECT jobsched.test_channel('hook', 'app')}, 'other'), '42704 channel "hook" of role "app" does not exist', 'nor can it be tested');
like(refused(q{SELECT jobsched.set_channel('hook', 'notify', owner => 'app')}, 'other'), qr/^42501 /, 'nor changed');
is(sql_as($node, $db, 'other', q{SELECT count(*) FROM jobsched.channels}), '0', 'nor seen');
like(refused(q{SELECT jobsched.set_channel('mine', 'slack', 'http://x.example')}, 'other'), qr/^42501 role "other" may not make HTTP requests/, 'slack needs the right to make requests');
like(refused(q{SELECT jobsched.set_channel('mine', 'email', to_address => '{a@b.example}')}, 'other'), qr/^42501 role "other" may not make HTTP requests/, 'and so does mail');
is(refused(q{SELECT jobsched.set_channel('ops', 'notify')}, 'other'), '', 'NOTIFY is for everybody, and names are for each role');
like(refused(q{SELECT jobsched.set_channel('x', 'notify')}, 'anon'), qr/^42501 permission denied for schema jobsched/, 'anon: set_channel()');
like(refused(q{SELECT jobsched.test_channel('hook')}, 'anon'), qr/^42501 permission denied for schema jobsched/, 'anon: test_channel()');
like(refused(q{SELECT * FROM jobsched.channels}, 'anon'), qr/^42501 permission denied for schema jobsched/, 'anon: the view');
like(refused(q{SELECT jobsched.set_channel('call', 'handler', handler => 'public.tell', owner => 'group_')}), qr/^28000 role "group_" cannot own a job/, 'a function needs a login');
app(q{SELECT jobsched.set_channel('ours', 'notify', owner => 'group_')});
is(app(q{SELECT owner, state FROM jobsched.channels WHERE name = 'ours'}), 'group_|active', 'NOTIFY does not');
app(q{SELECT jobsched.drop_channel('ours', 'group_')});

# A channel that goes to another role.
psql(q{CREATE ROLE heir LOGIN; GRANT USAGE ON SCHEMA jobsched TO heir; GRANT heir TO app});
app(q{SELECT jobsched.set_channel('goes', 'notify')});
app(q{SELECT jobsched.alter_job('channel:goes', owner => 'heir')});
is(sql_as($node, $db, 'heir', q{SELECT owner, name, state FROM jobsched.channels}), 'heir|goes|active', 'a channel can get another owner');
is(ended(sql_as($node, $db, 'heir', q{SELECT jobsched.test_channel('goes')})), 'succeeded', 'who uses it');
psql(q{REVOKE heir FROM app});

# A right that was taken away.
psql(q{REVOKE EXECUTE ON FUNCTION jobsched.http_request FROM app});
$run = app(q{SELECT jobsched.test_channel('hook')});
is(ended($run), 'failed bad_request 42501', 'without the right nothing is sent');
psql(q{GRANT EXECUTE ON FUNCTION jobsched.http_request TO app});

# ------------------------------------------------------------------------
# Steps, and rows that somebody has spoilt
# ------------------------------------------------------------------------

app(q{SELECT jobsched.create_job('work', steps => '[{"name": "tell", "job": "channel:hook", "args": {"subject": "by a step"}}]')});
forget_requests($sink);
is(ended(app(q{SELECT jobsched.trigger('work')})), 'succeeded', 'a workflow can send a message');
is(sent('/hook')->{subject}, 'by a step', 'and says what it likes');

for my $request (q{'{"channel": 7}'}, q{'{"channel": "email", "to": {"a": 1}}'}, q{'{"channel": "email", "to": [1, null, "a b"]}'}, q{'[]'}, q{'{"channel": "nothing"}'})
{
	psql(qq{UPDATE jobsched_internal.job SET request = $request, revision = revision + 1 WHERE name = 'channel:answers'});
	psql(q{SELECT count(*) FROM jobsched.channels});
	like(refused(q{SELECT jobsched.test_channel('answers')}), qr/^55000 channel "answers" cannot send anything/, "spoilt: $request");
}
app(qq{SELECT jobsched.set_channel('answers', 'webhook', '$url/again')});
is(ended(app(q{SELECT jobsched.test_channel('answers')})), 'succeeded', 'set_channel() makes it good');

# A job of this name from a version that let anybody have it.
psql(q{UPDATE jobsched_internal.job SET name = 'channel:plain', revision = revision + 1 WHERE name = 'plain'});
is(app(q{SELECT count(*) FROM jobsched.channels WHERE name = 'plain'}), '0', 'a job that is called like a channel is none');
like(refused(q{SELECT jobsched.set_channel('plain', 'notify')}), qr/^42710 job "channel:plain" exists, and is no channel/, 'and is not made one');
like(refused(q{SELECT jobsched.drop_channel('plain')}), qr/^42704 /, 'nor dropped as one');
is(refused(q{SELECT jobsched.alter_job('channel:plain', name => 'plain')}), '', 'it can get another name');
for my $job ("url => '$url/old'", "url => '$url/old', schedule => '0 0 1 1 *'", "handler => 'public.tell', schedule => '0 0 1 1 *'", "handler => 'public.tell', after => '{plain}'")
{
	app("SELECT jobsched.create_job('old', $job)");
	psql(q{UPDATE jobsched_internal.job SET name = 'channel:old', revision = revision + 1 WHERE name = 'old' AND dropped_at IS NULL});
	is(app(q{SELECT count(*) FROM jobsched.channels WHERE name = 'old'}), '0', "no channel: $job");
	like(refused(q{SELECT jobsched.set_channel('old', 'notify')}), qr/^42710 job "channel:old" exists, and is no channel/, 'nor made one');
	like(refused(q{SELECT jobsched.drop_channel('old')}), qr/^42704 /, 'nor dropped as one');
	is(refused(q{SELECT jobsched.alter_job('channel:old', name => 'old'), jobsched.drop_job('old')}), '', 'but changed as any other');
}

# ------------------------------------------------------------------------
# kill -9 between sending and recording
# ------------------------------------------------------------------------

app(qq{SELECT jobsched.set_channel('crash', 'webhook', '$url/gate/crash', sign_with => 'key')});
app(q{SELECT jobsched.alter_job('channel:crash', backoff_base => '1 ms')});
$run = app(q{SELECT jobsched.test_channel('crash')});
($first) = wait_requests($sink, 1, qr{^/gate/crash$});
$listener->quit;
end_sessions($node);
kill_and_start($node);
open_gate($sink, 'crash');
is(ended($run), 'succeeded', 'crash: the message is sent after all');
(undef, $second) = wait_requests($sink, 2, qr{^/gate/crash$});
is($second->{headers}->{'webhook-id'}, $first->{headers}->{'webhook-id'}, 'with the same id');
is($second->{body}, $first->{body}, 'and the same text');

# A refusal that was recorded, but not yet counted.
app(qq{SELECT jobsched.set_channel('crash', 'slack', '$url/say/404/no_service')});
psql(q{BEGIN; SELECT FROM jobsched_internal.job_state s JOIN jobsched.jobs j USING (job_id) WHERE j.name = 'channel:crash' FOR UPDATE OF s});
$run = app(q{SELECT jobsched.test_channel('crash')});
wait_until($node, $db, "SELECT count(*) = 1 FROM jobsched_internal.history WHERE run_id = $run", 'it is refused');
end_sessions($node);
kill_and_start($node);
wait_until($node, $db, q{SELECT state = 'disabled' FROM jobsched.channels WHERE name = 'crash'}, 'a refusal disables it after the start too');
pass('a refusal disables it after the start too');

# ------------------------------------------------------------------------
# Roles, dumps and copies
# ------------------------------------------------------------------------

psql(q{ALTER ROLE other RENAME TO another});
is(sql_as($node, $db, 'another', q{SELECT owner, name FROM jobsched.channels}), 'another|ops', 'a role that is renamed keeps its channels');
$run = sql_as($node, $db, 'another', q{SELECT jobsched.test_channel('ops')});
is(ended($run), 'succeeded', 'which go on');
psql(q{DROP OWNED BY another; DROP ROLE another});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.channels WHERE owner = 'another'}, '0', 'those of a role that is dropped are not its any more');
pass('those of a role that is dropped are not its any more');

$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr($db) ], 'pg_dump');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
is($node->safe_psql('restored', q{SELECT state, url FROM jobsched.channels WHERE name = 'hook' AND owner = 'app'}), "asleep|$url/hook", 'a copy has channels, which sleep');
$run = sql_as($node, 'restored', 'app', q{SELECT jobsched.test_channel('hook')});
is($node->safe_psql('restored', "SELECT status FROM jobsched.runs WHERE run_id = $run"), 'queued', 'and send nothing');
forget_requests($sink);
$node->safe_psql('restored', 'SELECT jobsched.adopt()');
wait_requests($sink, 1, qr{^/hook$});
is($node->safe_psql('restored', q{SELECT state FROM jobsched.channels WHERE name = 'hook' AND owner = 'app'}), 'active', 'until adopt()');
is($node->safe_psql('restored', q{SELECT state FROM jobsched.channels WHERE name = 'crash' AND owner = 'app'}), 'active', 'where nobody has refused anything yet');

# ------------------------------------------------------------------------
# Other encodings
# ------------------------------------------------------------------------

for my $encoding ('LATIN1', 'SQL_ASCII')
{
	my $other = lc $encoding;
	my $e = $encoding eq 'LATIN1' ? q{convert_from('\xe9', 'LATIN1')} : q{E'\xc3\xa9'};

	$node->safe_psql('postgres', "CREATE DATABASE $other TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	create_extension($node, $other);
	$node->safe_psql($other, 'GRANT USAGE ON SCHEMA jobsched TO app; GRANT EXECUTE ON FUNCTION jobsched.http_request TO app');
	sql_as($node, $other, 'app', qq{SELECT jobsched.set_channel('hook', 'webhook', '$url/$other/hook'), jobsched.set_channel('slack', 'slack', '$url/$other/slack'), jobsched.set_channel('ops', 'notify')});
	sql_as($node, $other, 'app', qq{SELECT jobsched.trigger('channel:' || c, jsonb_build_object('subject', 'caf' || $e, 'text', repeat($e, 5000))) FROM unnest(ARRAY['hook', 'slack', 'ops']) c});
	is(sent("/$other/hook")->{subject}, "caf\x{e9}", "$encoding: webhook");
	like(sent("/$other/slack")->{text}, qr/^\*caf\x{e9}\*\n\x{e9}+ \[cut, of 5000 characters\]$/, "$encoding: slack");
	wait_until($node, $other, q{SELECT count(*) = 0 FROM jobsched_internal.run}, "$encoding: all are sent");
	is($node->safe_psql($other, q{SELECT DISTINCT status FROM jobsched.runs}), 'succeeded', "$encoding: notify too");
}

# What is no UTF-8, or was cut within a character, is sent all the same.
sql_as($node, 'sql_ascii', 'app', q{SELECT jobsched.trigger('channel:' || c, jsonb_build_object('subject', E'cut \xc3', 'text', E'bad \xff\xe9 \xe2\x82')) FROM unnest(ARRAY['hook', 'slack', 'ops']) c});
is(sent('/sql_ascii/hook', 2)->{text}, 'bad ?? ??', 'SQL_ASCII: webhook, broken text');
is(sent('/sql_ascii/slack', 2)->{text}, "*cut ?*\nbad ?? ??", 'SQL_ASCII: slack, broken text');
sql_as($node, 'sql_ascii', 'app', q{SELECT jobsched.trigger('channel:' || c, jsonb_build_object(E'\xff', E'\xff')) FROM unnest(ARRAY['hook', 'slack', 'ops']) c});
is_deeply(sent('/sql_ascii/hook', 3), { '?' => '?' }, 'SQL_ASCII: webhook, a broken name');
wait_until($node, 'sql_ascii', q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'all are sent');
is($node->safe_psql('sql_ascii', q{SELECT DISTINCT status FROM jobsched.runs}), 'succeeded', 'SQL_ASCII: notify, broken text');

end_sessions($node);
$node->stop;
done_testing();
