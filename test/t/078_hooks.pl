# Copyright (c) 2026, jobsched contributors

# Inbound hooks: published signatures are right and nothing near them is, a repeat is
# the same run whatever comes in between, and who is refused learns nothing and
# writes nothing.

use strict;
use warnings;

use Encode ();
use Digest::SHA qw(hmac_sha256_base64 hmac_sha256_hex sha256_hex);
use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $db = 'hooks';
my $node = jobsched_node('hooks', conf => "timezone = 'UTC'\nlog_statement = none\nlog_min_duration_statement = -1\nmax_prepared_transactions = 2\n");

$node->safe_psql('postgres', q{
	CREATE DATABASE hooks ENCODING 'UTF8' TEMPLATE template0;
	CREATE ROLE keeper LOGIN; CREATE ROLE anon LOGIN; CREATE ROLE other LOGIN});
create_extension($node, $db);
define_clock($node, $db);
$node->safe_psql($db, q{
	GRANT USAGE ON SCHEMA jobsched TO keeper, anon, other;
	CREATE SCHEMA api AUTHORIZATION keeper;
	GRANT USAGE ON SCHEMA api TO anon});

sub keeper { return sql_as($node, $db, 'keeper', @_) }
sub literal { my ($text) = @_; return "'" . $text =~ s/'/''/gr . "'" }

# What anon gets: the id, or the error with its SQLSTATE; $before: of the session.
sub receive
{
	my ($hook, $body, $headers, %more) = @_;
	my $token = defined $more{token} ? literal($more{token}) : 'NULL';
	my ($ret, $out, $err) = $node->psql($db,
		($more{before} // '') . "SELECT jobsched.receive(" . literal($hook) . ', ' . literal($body) . ', ' . literal($headers // '{}') . ", $token)",
		extra_params => [ '-U', $more{role} // 'anon', '-v', 'VERBOSITY=verbose' ]);

	return $out if $out ne '' && $err !~ /ERROR/;
	return $err =~ s/^psql:<stdin>:\d+: //mgr =~ s/^LOCATION.*\n?//mgr =~ s/\n\z//r;
}

my $refusal = 'ERROR:  PT401: the request was refused';

sub is_refused
{
	my ($got, $hook, $reason, $what) = @_;

	is($got, $refusal, "$what: refused");
	is(keeper("SELECT last_refusal FROM jobsched.hooks WHERE name = '$hook'"), $reason, "$what: the owner knows why");
}

sub at { my ($unix) = @_; set_clock($node, $db, $node->safe_psql($db, "SELECT to_timestamp($unix)")) }

keeper(q{
	SELECT jobsched.create_job('work', handler => 'public.work', max_attempts => 1)} =~ s/handler => 'public.work'/command => 'SELECT jobsched.args() -> ''body'' AS body'/r);

# ------------------------------------------------------------------------
# Published signatures
# ------------------------------------------------------------------------

# of the test suite of the Standard Webhooks libraries
my %standard = (secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', at => 1614265330, body => '{"test": 2432232314}',
	headers => '{"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330", "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}');
# of GitHub's documentation, where there are no other headers
my %github = (secret => q{It's a Secret to Everybody}, body => 'Hello, World!', at => 1614265330,
	headers => '{"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", "x-github-delivery": "72d3162e"}');
# of the test suite of Stripe's own library for .NET
my %stripe = (secret => 'webhook_secret', at => 1533204620, body => <<'END',
{
  "id": "evt_123",
  "object": "event",
  "account": "acct_123",
  "api_version": "2017-05-25",
  "created": 1533204620,
  "data": {
    "object": {
      "id": "ii_123",
      "object": "invoiceitem",
      "amount": 1000,
      "currency": "usd",
      "customer": "cus_123",
      "date": 1533204620,
      "description": "Test Invoice Item",
      "discountable": false,
      "invoice": "in_123",
      "livemode": false,
      "metadata": {},
      "period": {
        "start": 1533204620,
        "end": 1533204620
      },
      "plan": null,
      "proration": false,
      "quantity": null,
      "subscription": null
    }
  },
  "livemode": false,
  "pending_webhooks": 1,
  "request": {
    "id": "req_123",
    "idempotency_key": "idempotency-key-123"
  },
  "type": "invoiceitem.created"
}
END
	headers => '{"Stripe-Signature": "t=1533204620,v1=f0bdba6d4eacbd8ad8a3bbadd7248e633ec1477f7899c124c51b39405fa36613,v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef"}');
# of Slack's documentation
my %slack = (secret => '8f742231b10e8888abcd99yyyzzz85a5', at => 1531420618,
	body => 'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c',
	headers => '{"x-slack-request-timestamp": "1531420618", "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"}');

my %published = (standard => \%standard, github => \%github, stripe => \%stripe, slack => \%slack);

for my $kind (sort keys %published)
{
	my %of = %{ $published{$kind} };

	keeper("SELECT jobsched.set_secret('$kind', " . literal($of{secret}) . ")");
	is(keeper("SELECT jobsched.create_hook('$kind', 'work', verify => '$kind', secret => '$kind') IS NULL"), 't', "$kind: there is no token");
	at($of{at});
	my $run = receive($kind, $of{body}, $of{headers});
	like($run, qr/^\d+$/, "$kind: what was published is right");
	is(receive($kind, $of{body}, $of{headers}), $run, "$kind: a repeat is the same run");
	is_refused(receive($kind, "$of{body} ", $of{headers}), $kind, 'the signature is wrong', "$kind, another body");
	is_refused(receive($kind, $of{body}, '{}'), $kind, 'the header with the signature is missing', "$kind, no header");
	is_refused(receive($kind, $of{body}, '[]'), $kind, 'the header with the signature is missing', "$kind, headers that are none");
	is_refused(receive($kind, $of{body}, $of{headers} =~ s/(.*[ :,=])\w/$1_/sr), $kind, 'the signature is wrong', "$kind, one character of it is another")
	  unless $kind eq 'stripe';
	is_refused(receive($kind, $of{body}, $of{headers} =~ s/(?<=v0=)(\w+)/\U$1/r), $kind, 'the signature is wrong', "$kind, in another spelling, which would be no repeat") if $kind eq 'slack';
	is_refused(receive($kind, $of{body}, '{"x-hub-signature-256": "sha256=' . hmac_sha256_hex($of{body}, 'Everybody') . '"}'), $kind, 'the signature is wrong', "$kind, a word of the secret") if $kind eq 'github';
	keeper("SELECT jobsched.set_secret('$kind', 'another one')");
	is_refused(receive($kind, $of{body}, $of{headers}), $kind, 'the signature is wrong', "$kind, another secret");
	if ($kind ne 'standard')
	{
		keeper("SELECT jobsched.set_secret('$kind', " . literal("another-one\n$of{secret}") . ")");
		is(receive($kind, $of{body}, $of{headers}), $run, "$kind: two secrets, while they are changed");
	}
	keeper("SELECT jobsched.set_secret('$kind', " . literal($of{secret}) . ")");
	next if $kind eq 'github';
	at($of{at} + 301);
	is_refused(receive($kind, $of{body}, $of{headers}), $kind, 'the timestamp is too old', "$kind, too late");
	at($of{at} - 301);
	is_refused(receive($kind, $of{body}, $of{headers}), $kind, 'the timestamp is in the future', "$kind, too early");
	at($of{at} + 299);
	is(receive($kind, $of{body}, $of{headers}), $run, "$kind: the tolerance is five minutes");
}

# ------------------------------------------------------------------------
# Parts of headers
# ------------------------------------------------------------------------

my $now = 1700000000;
at($now);

sub standard
{
	my ($id, $body, $time) = @_;
	my $mac = hmac_sha256_base64("$id.$time.$body", pack 'H*', '31f290f6bf06298aab4f08d43c3f082cf648a362da2da4b0');
	return "v1,$mac=";
}

my $signed = standard('m1', '{}', $now);
like(receive('standard', '{}', qq({"webhook-id": "m1", "webhook-timestamp": "$now", "webhook-signature": "v1a,abc v1,AAAA $signed"})), qr/^\d+$/, 'one of several signatures is right');
is_refused(receive('standard', '{}', qq({"webhook-id": "m1", "webhook-timestamp": "$now", "webhook-signature": "v1a,abc"})), 'standard',
	'it has an asymmetric signature (v1a) only', 'an asymmetric one');
# the same text with another boundary
$signed = standard('m2', "$now.{}", $now);
is_refused(receive('standard', '{}', qq({"webhook-id": "m2.$now", "webhook-timestamp": "$now", "webhook-signature": "$signed"})), 'standard',
	'header webhook-id is missing or has a full stop', 'an id with a full stop');
$signed = standard('m3', '{}', "${now}0000");
for my $time ('', ' ', "${now}x", "-$now", '9' x 30)
{
	$signed = standard('m3', '{}', $time);
	is_refused(receive('standard', '{}', qq({"webhook-id": "m3", "webhook-timestamp": "$time", "webhook-signature": "$signed"})), 'standard',
		'the timestamp is missing or is none', "timestamp '$time'");
}
$signed = standard('m4', '{}', $now);
is_refused(receive('standard', '{}', qq({"webhook-id": "m4", "Webhook-Id": "m4", "webhook-timestamp": "$now", "webhook-signature": "$signed"})), 'standard',
	'header webhook-id is missing or has a full stop', 'a header that is there twice');
my $hex = hmac_sha256_hex("$now.{}", 'webhook_secret');
is_refused(receive('stripe', '{}', qq({"stripe-signature": "nonsense,t=$now,v1=zz,v1=$hex"})), 'stripe', 'it has no $.id, by which a repeat is told', 'no id in the body');
$hex = hmac_sha256_hex("$now.{\"id\": \"e1\"}", 'webhook_secret');
like(receive('stripe', '{"id": "e1"}', qq({"stripe-signature": "nonsense,,=,t=$now,v1=zz,v1=\U$hex\E"})), qr/^\d+$/, 'parts that cannot be read are passed over');
$hex = hmac_sha256_hex('{}', $github{secret});
is_refused(receive('github', '{}', qq({"x-hub-signature-256": "sha256=$hex"})), 'github', 'it has no x-github-delivery, by which a repeat is told', 'no delivery');

# ------------------------------------------------------------------------
# hmac: any header, hex or base64, and what tells a repeat
# ------------------------------------------------------------------------

keeper(q{
	SELECT jobsched.set_secret('shop', 'shop-secret');
	SELECT jobsched.create_hook('shop', 'work', verify => 'hmac', secret => 'shop', header => 'X-Shop-Hmac', dedupe => '$.order.id',
		keep_headers => '{X-Topic,x-missing}', max_size => 200)});
my $order = '{"order": {"id": 12345678901234567890}, "größe": "ä"}';
my $utf8 = $order;
my $run;

for my $signature (hmac_sha256_hex($utf8, 'shop-secret'), 'sha256=' . hmac_sha256_hex($utf8, 'shop-secret'), hmac_sha256_base64($utf8, 'shop-secret') . '=')
{
	my $got = receive('shop', $order, qq({"x-shop-hmac": "$signature", "x-topic": "paid"}));

	$run //= $got;
	is($got, $run, "signature $signature");
	# what is signed is UTF-8, whatever the session's encoding
	is(receive('shop', Encode::encode('latin1', Encode::decode('utf8', $order)), qq({"x-shop-hmac": "$signature"}), before => "SET client_encoding = 'LATIN1'; "), $run, 'in another encoding');
}
wait_run_ended($run);
is(keeper("SELECT args FROM jobsched.runs WHERE run_id = $run"),
	'{"body": {"order": {"id": 12345678901234567890}, "größe": "ä"}, "hook": "shop", "headers": {"x-topic": "paid"}}', 'the run has the body and the headers that are kept');
is(keeper("SELECT owner, job_name, source, status FROM jobsched.runs WHERE run_id = $run"), 'keeper|work|trigger|succeeded', 'it is the owner\'s');
my $long = '{"order": {"id": "' . ('x' x 150) . '"}}';
my $long_run = receive('shop', $long, '{"x-shop-hmac": "' . hmac_sha256_hex($long, 'shop-secret') . '"}');
like($long_run, qr/^\d+$/, 'a long id is one too');
is(receive('shop', $long, '{"x-shop-hmac": "' . hmac_sha256_hex($long, 'shop-secret') . '"}'), $long_run, 'and tells a repeat');
my $large = '{"order": {"id": "' . ('x' x 250) . '"}}';
is_refused(receive('shop', $large, '{"x-shop-hmac": "' . hmac_sha256_hex($large, 'shop-secret') . '"}'), 'shop', 'it has ' . length($large) . ' bytes, more than max_size', 'too large');
for my $body ('{"order": {"id": {}}}', '{"order": {"id": null}}', '{"order": {"id": ""}}', 'no json', '')
{
	is_refused(receive('shop', $body, '{"x-shop-hmac": "' . hmac_sha256_hex($body, 'shop-secret') . '"}'), 'shop',
		'it has no $.order.id, by which a repeat is told', "id in '$body'");
}

sub wait_run_ended
{
	my ($id) = @_;
	return wait_value($node, $db, "SELECT count(*) FROM jobsched.runs WHERE run_id = $id AND finished_at IS NOT NULL", '1', "run $id has ended");
}

# ------------------------------------------------------------------------
# Tokens
# ------------------------------------------------------------------------

my $token = keeper(q{SELECT jobsched.create_hook('cron', 'work', header => 'X-Webhook-Secret')});
like($token, qr/^jsh_[A-Za-z0-9_-]{43}$/, 'a token');
is($node->safe_psql($db, "SELECT encode(token_hash, 'hex') FROM jobsched_internal.hook WHERE name = 'cron'"), sha256_hex($token), 'there is only its hash');
like(receive('cron', '', qq({"x-webhook-secret": "$token"})), qr/^\d+$/, 'in its header');
like(receive('cron', 'not json', undef, token => $token), qr/^\d+$/, 'or as argument');
is_refused(receive('cron', '', qq({"authorization": "Bearer $token"})), 'cron', 'there is no token', 'another header');
is_refused(receive('cron', '', undef, token => "${token}x"), 'cron', 'the token is wrong', 'a wrong token');
is_refused(receive('cron', '', undef, token => ''), 'cron', 'there is no token', 'an empty token');
my $same = receive('cron', '{}', '{"idempotency-key": "k"}', token => $token);
is(receive('cron', '{}', '{"idempotency-key": "k"}', token => $token), $same, 'an idempotency key');
isnt(receive('cron', '{}', '{"idempotency-key": "l"}', token => $token), $same, 'another one');
isnt(receive('cron', '{}', undef, token => $token), receive('cron', '{}', undef, token => $token), 'without one each is a run');
for my $case ([ '', 'null' ], [ 'a=b&c=d', '"a=b&c=d"' ], [ '[1, 2]', '[1, 2]' ], [ '{"a": "\u0000"}', '"{\"a\": \"\\\\u0000\"}"' ], [ ' "x" ', '"x"' ],
	[ '[1e1000000', '"[1e1000000"' ])
{
	my $id = receive('cron', $case->[0], undef, token => $token);
	is(keeper("SELECT args -> 'body' FROM jobsched.runs WHERE run_id = $id"), $case->[1], "body '$case->[0]'");
}
is_refused(receive('cron', '1e1000000', undef, token => $token), 'cron', 'value overflows numeric format', 'a number that is none');

my $second = keeper(q{SELECT jobsched.rotate_hook('cron', '1 hour')});
like(receive('cron', '', undef, token => $_), qr/^\d+$/, 'after rotate_hook() both hold') for $token, $second;
at($now + 3601);
is_refused(receive('cron', '', undef, token => $token), 'cron', 'the token is wrong', 'later the old one does not');
my $third = keeper(q{SELECT jobsched.rotate_hook('cron', '0')});
is_refused(receive('cron', '', undef, token => $second), 'cron', 'the token is wrong', 'nor at once, if that is said');
like(receive('cron', '', undef, token => $third), qr/^\d+$/, 'the new one does');
my $bearer = keeper(q{SELECT jobsched.create_hook('bearer', 'work')});
like(receive('bearer', '', qq({"Authorization": "bearer $bearer"})), qr/^\d+$/, 'the usual header');
keeper(q{SELECT jobsched.set_secret('given', E'chosen-by-the-sender\\nchosen-before')});
is(keeper(q{SELECT jobsched.create_hook('given', 'work', secret => 'given', header => 'x-webhook-secret') IS NULL}), 't', 'a token that the sender has chosen');
like(receive('given', '', qq({"x-webhook-secret": "$_"})), qr/^\d+$/, "$_ is right") for 'chosen-by-the-sender', 'chosen-before';
is_refused(receive('given', '', '{"x-webhook-secret": "chosen"}'), 'given', 'the token is wrong', 'a part of it');

# ------------------------------------------------------------------------
# Refusals tell nothing, and write nothing
# ------------------------------------------------------------------------

my @same = map { receive(@$_) } (
	[ 'nosuch', '', undef, token => $third ], [ '', '' ], [ 'x' x 100, '' ], [ 'cron', 'x' x (17 * 1024 * 1024) ],
	[ 'cron', '', '{"a": "' . ('x' x 70000) . '"}', token => $third ], [ 'cron', '', undef, token => 'x' x 8000 ], [ 'github', '', '"x"' ], [ 'stripe', '', '{"stripe-signature": ["t=1"]}' ]);
is(scalar(grep { $_ ne $refusal } @same), 0, 'all refusals are the same');

keeper(q{SELECT jobsched.create_job('gone', command => 'SELECT 1'), jobsched.create_job('large', command => 'SELECT 1', keys => ARRAY['{{args.body.k}}'])});
my %tokens = map { $_ => keeper("SELECT jobsched.create_hook('$_', '$_')") } qw(gone large);
keeper(q{SELECT jobsched.alter_job('gone', name => 'renamed')});
like(receive('gone', '', undef, token => $tokens{gone}), qr/^\d+$/, 'a job that is renamed');
keeper(q{SELECT jobsched.drop_job('renamed')});
is_refused(receive('gone', '', undef, token => $tokens{gone}), 'gone', 'its job has been dropped', 'a job that is dropped');
is(receive('large', '{}', undef, token => $tokens{large}), $refusal, 'a key that cannot be made');
like(keeper(q{SELECT last_refusal FROM jobsched.hooks WHERE name = 'large'}), qr/args\.body\.k/, 'the owner knows of which argument');
like(receive('large', '{"k": 1}', undef, token => $tokens{large}), qr/^\d+$/, 'one that can');
$node->safe_psql($db, q{SELECT jobsched.alter_job('large', owner => 'other')});
is_refused(receive('large', '{"k": 1}', undef, token => $tokens{large}), 'large', 'its owner has no rights on the job any more', 'a job that is given away');
keeper(q{SELECT jobsched.drop_secret('given')});
is_refused(receive('given', '', '{"x-webhook-secret": "chosen-before"}'), 'given', 'the token is wrong', 'a secret that is dropped');

# one refused request takes no transaction id, and leaves no row
my $state = q{SELECT txid_snapshot_xmax(txid_current_snapshot()), (SELECT count(*) FROM jobsched_internal.run), (SELECT count(*) FROM jobsched_internal.idempotency)};
wait_caught_up($node, $db);
$node->safe_psql($db, q{SELECT jobsched.stop_processing()});
until_true($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.hook h JOIN jobsched_internal.hook_state s USING (hook_id) WHERE h.name = 'cron' AND s.refused < 5}, 'counts are written');
my $script = join "\n", map { "SELECT jobsched.receive('cron', '', '{}', 'wrong $_');" } 1 .. 50;
my $refused = keeper(q{SELECT refused FROM jobsched.hooks WHERE name = 'cron'});
my ($xid) = $node->psql($db, "SELECT pg_current_xact_id_if_assigned() IS NULL AS none; $script", on_error_stop => 0, extra_params => [ '-U', 'anon' ]);
is(keeper(q{SELECT refused FROM jobsched.hooks WHERE name = 'cron'}) - $refused, 50, 'each is counted');
$node->safe_psql($db, q{SELECT jobsched.start_processing()});
my (undef, $in_block) = $node->psql($db, q{
	DO $$ BEGIN
		FOR i IN 1 .. 3 LOOP
			BEGIN
				PERFORM jobsched.receive('cron', '', '{}', 'wrong');
			EXCEPTION WHEN SQLSTATE 'PT401' THEN NULL;
			END;
		END LOOP;
	END $$;
	SELECT pg_current_xact_id_if_assigned() IS NULL}, extra_params => [ '-U', 'anon', '-1' ]);
like($in_block, qr/^t$/m, 'and none takes a transaction id');

# what the session is like does not matter
my $good = qq({"x-webhook-secret": "$third"});
for my $before ("SET search_path = api, nowhere; ", "SET default_transaction_isolation = 'serializable'; ", "SET standard_conforming_strings = off; ", "SET jobsched.traceparent = '00-11111111111111111111111111111111-2222222222222222-01'; ",
	"SET statement_timeout = '10 s'; SET row_security = off; ", "SET session_replication_role = origin; ")
{
	my $got = receive('cron', '', $good, before => $before, role => $before =~ /replication/ ? $node->safe_psql('postgres', 'SELECT current_user') : 'anon');
	like($got, qr/^\d+$/, "with $before");
	is($node->safe_psql($db, "SELECT count(*) FROM jobsched_internal.run WHERE run_id = $got AND traceparent IS NOT NULL"), '0', 'nothing of it goes on') if $before =~ /trace/;
}
like(receive('cron', '', $good, before => 'SET default_transaction_read_only = on; '), qr/25006: cannot execute receive\(\) in a read-only transaction/, 'a transaction that cannot write is told so');
is(receive('nosuch', '', $good, before => 'SET default_transaction_read_only = on; '), receive('cron', '', $good, before => 'SET default_transaction_read_only = on; '), 'for whatever hook');

# nor is the reason told to who asks for messages of the log
keeper(q{SELECT jobsched.create_hook('quiet', 'work')});
is(receive($_, '', undef, token => 'wrong', before => 'SET client_min_messages = log; '), $refusal, "$_: nor is it told who asks") for 'quiet', 'nosuch';

# nor is a secret anywhere
my $log = slurp_file($node->logfile);
unlike($log, qr/\Q$_\E/, 'nothing of it is in the log') for $third, 'wrong 7', 'chosen-before"', 'shop-secret"';
like($log, qr/LOG:  a request to hook "cron" was refused: there is no token/, 'but the reason is');
is(() = $log =~ /a request to hook "github" was refused/g, 1, 'once a minute at most');

# who may see it
is(sql_as($node, $db, 'other', q{SELECT count(*) FROM jobsched.hooks}), '0', 'hooks are their owner\'s');
like(error_of($node, $db, "SELECT jobsched.$_", 'other'), qr/42704: hook "cron" does not exist/, "$_ of another") for "drop_hook('cron')", "rotate_hook('cron')", "hook_wrapper('cron', 'api')";
like(error_of($node, $db, q{SELECT jobsched.create_hook('mine', 'work')}, 'other'), qr/42704: job "work" does not exist/, 'a job of another');

# who may hold them up: a name with the same hash is found in seconds
is($node->safe_psql($db, q{SELECT hashtext('cron') = hashtext('xhnbjgca')}), 't', 'two names with one hash');
my $rival = $node->background_psql($db, extra_params => [ '-U', 'other' ]);
$rival->query_safe(q{BEGIN; SELECT jobsched.create_hook('xhnbjgca', event => 'e')});
is(error_of($node, $db, q{SET statement_timeout = '20 s'; BEGIN; SELECT jobsched.rotate_hook('cron'), jobsched.drop_hook('cron'); ROLLBACK}, 'keeper'),
	'', 'whoever makes a hook holds up nobody who changes another');
$rival->query_safe('ROLLBACK');
$rival->quit;

# ------------------------------------------------------------------------
# Rate
# ------------------------------------------------------------------------

my $slow = keeper(q{SELECT jobsched.create_hook('slow', 'work', rate => 1)});
my @slow = map { receive('slow', '', undef, token => $slow) } 1 .. 11;
is(scalar(grep { /^\d+$/ } @slow), 10, 'ten seconds of a rate at once');
is_refused($slow[10], 'slow', 'more came than 1 in a second', 'the next');
receive('slow', '', undef, token => 'wrong') for 1 .. 5;
at($now + 3602);
like(receive('slow', '', undef, token => $slow), qr/^\d+$/, 'a second later one more, whatever junk has come');
is(receive('slow', '', undef, token => $slow), $refusal, 'and no more');

# ------------------------------------------------------------------------
# Races, rollbacks, prepared transactions
# ------------------------------------------------------------------------

my $first = $node->background_psql($db, extra_params => [ '-U', 'anon' ]);
my $call = qq{SELECT jobsched.receive('cron', '{}', '{"idempotency-key": "race"}', '$third')};
$first->query_safe('BEGIN');
my $racing = $first->query_safe($call);
my ($out, $err) = ('', '');
my $h = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db) . ' application_name=second', '-U', 'anon', '-c', $call ],
	'<', \undef, '>', \$out, '2>', \$err);
wait_value($node, $db, q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'second' AND wait_event_type = 'Lock'}, '1', 'who sends the same waits');
$first->query_safe('COMMIT');
$h->finish;
is($out, "$racing\n", 'and gets the same run');
$first->query_safe('BEGIN');
my $undone = $first->query_safe($call =~ s/race/undone/r);
$first->query_safe('ROLLBACK');
$first->quit;
isnt(receive('cron', '{}', '{"idempotency-key": "undone"}', token => $third), $undone, 'what is rolled back is no run');

# ------------------------------------------------------------------------
# Events, and tokens of events
# ------------------------------------------------------------------------

keeper(q{SELECT jobsched.create_job('asks', command => 'SELECT jobsched.event(''answer'') AS answer')});
my $answer = keeper(q{SELECT jobsched.create_hook('answer', event => 'answer')});
my $asks = keeper(q{SELECT jobsched.trigger('asks', wait_for => '{answer}')});
my $event = receive('answer', '{"yes": true}', '{"idempotency-key": "e"}', token => $answer);
is(receive('answer', '{"yes": true}', '{"idempotency-key": "e"}', token => $answer), $event, 'an event is sent once');
wait_run_ended($asks);
is(keeper("SELECT result FROM jobsched.runs WHERE run_id = $asks"), '{"yes": true}', 'the body is the event');
is(keeper(q{SELECT count(*) FROM jobsched.events WHERE name = 'answer' AND owner = 'keeper'}), '1', 'of the hook\'s owner');

my @asks = split /\|/, keeper(q{SELECT jobsched.trigger('asks', wait_for => '{approve}'), jobsched.trigger('asks', wait_for => '{approve}')} =~ s/'approve'/'answer'/r);
keeper(q{SELECT jobsched.alter_job('asks', command => 'SELECT jobsched.event(''approve'') AS answer')});
like(error_of($node, $db, "SELECT jobsched.event_token('approve', $asks[0])", 'other'), qr/42704: run $asks[0] does not exist/, 'a run of another');
my ($link, $unused, $short) = map { keeper("SELECT jobsched.event_token('approve', $asks[0], '$_')") } '1 day', '1 day', '1 min';

sub answer
{
	my ($text, $payload, %more) = @_;
	my ($ret, $out, $err) = $node->psql($db, ($more{before} // '') . "SELECT jobsched.receive_event('$text', '$payload')",
		extra_params => [ '-U', 'anon', '-v', 'VERBOSITY=verbose' ]);

	return $err =~ /ERROR/ ? $err =~ s/^psql:<stdin>:\d+: //mgr =~ s/^LOCATION.*\n?//mgr =~ s/\n\z//r : $out;
}
is(answer("${link}x", '{}'), $refusal, 'a token of an event that is none');
like(answer($link, '{}', before => 'SET default_transaction_read_only = on; '), qr/25006/, 'GET answers nothing');
$node->psql($db, "BEGIN; SELECT jobsched.receive_event('$link', '\"no\"'); ROLLBACK", extra_params => [ '-U', 'anon' ]);
like(answer($link, '{"approved": true}'), qr/^\d+$/, 'it answers, once');
is(answer($link, '{"approved": false}'), $refusal, 'and not twice');
wait_run_ended($asks[0]);
is(keeper("SELECT result FROM jobsched.runs WHERE run_id = $asks[0]"), '{"approved": true}', 'the answer is there');
is(answer($unused, '{}'), '', 'a run that has ended needs none');
like(error_of($node, $db, "SELECT jobsched.event_token('approve', $asks[0])", 'keeper'), qr/JS055: run $asks[0] has ended/, 'nor has it a token');
$short = keeper("SELECT jobsched.event_token('approve', $asks[1], '1 min')");
at($now + 3602 + 61);
is(answer($short, '{}'), $refusal, 'one that has expired');
$node->safe_psql($db, 'CREATE ROLE helper LOGIN IN ROLE keeper; GRANT USAGE ON SCHEMA jobsched TO helper');
my $helped = sql_as($node, $db, 'helper', "SELECT jobsched.event_token('approve', $asks[1], '1 day')");
$node->safe_psql($db, 'REVOKE keeper FROM helper');
is(answer($helped, '{}'), $refusal, 'one of who has no rights on the run any more');
unlike(slurp_file($node->logfile), qr/\Q$link\E/, 'no token is in the log');

# ------------------------------------------------------------------------
# The function for PostgREST
# ------------------------------------------------------------------------

my $wrapper = keeper(q{SELECT jobsched.hook_wrapper('shop', 'api')});
keeper($wrapper);
is($node->safe_psql($db, q{SELECT has_function_privilege('anon', 'api.shop(json)', 'EXECUTE')}), 'f', 'nobody may call it yet');
keeper('GRANT EXECUTE ON FUNCTION api.shop(json) TO anon');
$node->safe_psql($db, 'REVOKE USAGE ON SCHEMA jobsched FROM anon');
my $spaced = '{"order":   {"id": 77}, "a":1,"a":2}';
my $through = "SELECT set_config('request.headers', '{\"x-shop-hmac\": \"" . hmac_sha256_hex($spaced, 'shop-secret') . "\"}', false); SELECT api.shop('$spaced')";
like(sql_as($node, $db, 'anon', $through), qr/\n(\d+)$/, 'as PostgREST calls it, without rights on the schema');
like(error_of($node, $db, "SET request.headers = ''; SELECT api.shop('$spaced')", 'anon'), qr/PT401: the request was refused/, 'without headers, as in a session that is used again');
$node->safe_psql($db, 'GRANT USAGE ON SCHEMA jobsched TO anon');

# ------------------------------------------------------------------------
# Crashes
# ------------------------------------------------------------------------

my ($accepted) = split /\|/, keeper(q{SELECT accepted, refused FROM jobsched.hooks WHERE name = 'cron'});
wait_value($node, $db, q{SELECT s.accepted FROM jobsched_internal.hook h JOIN jobsched_internal.hook_state s USING (hook_id) WHERE h.name = 'cron'}, $accepted, 'the scheduler writes what was counted');
set_clock($node, $db, undef);	# it is forgotten in a crash
my $before = receive('cron', '{}', '{"idempotency-key": "crash"}', token => $third);
$first = $node->background_psql($db, extra_params => [ '-U', 'anon' ]);
$first->query_safe('BEGIN');
my $lost = $first->query_safe($call =~ s/race/lost/r);
kill_and_start($node);
eval { $first->quit };
wait_scheduler($node, $db);
is(receive('cron', '{}', '{"idempotency-key": "crash"}', token => $third), $before, 'a sender that sends again after a crash gets its run');
like(receive('cron', '{}', '{"idempotency-key": "lost"}', token => $third), qr/^\d+$/, 'or a new one, if there was none');
is($node->safe_psql($db, "SELECT count(*) FROM jobsched.runs WHERE run_id = $before"), '1', 'it is there');
cmp_ok(keeper(q{SELECT accepted FROM jobsched.hooks WHERE name = 'cron'}), '>=', $accepted, 'counts go on');

# ------------------------------------------------------------------------
# Copies, and roles that go
# ------------------------------------------------------------------------

my $dump = $node->basedir . '/hooks.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr($db), '-f', $dump ], 'a dump');
$node->safe_psql('postgres', 'CREATE DATABASE copied');
$node->command_ok([ 'psql', '-Xq', '-d', $node->connstr('copied'), '-f', $dump ], 'restored');
my $copied = sub {
	my ($ret, $out, $err) = $node->psql('copied', "SELECT jobsched.receive('cron', '', NULL, '$third')", extra_params => [ '-U', 'anon', '-v', 'VERBOSITY=verbose' ]);
	return $out ne '' ? 'accepted' : $err =~ /PT401/ ? 'refused' : $err;
};
is($copied->(), 'refused', 'in a copy a hook sleeps');
$node->safe_psql('copied', 'SELECT jobsched.adopt()');
is($copied->(), 'accepted', 'until it is adopted');
$node->safe_psql('postgres', 'ALTER ROLE keeper RENAME TO holder');
like(receive('cron', '', undef, token => $third), qr/^\d+$/, 'an owner that is renamed');
wait_value($node, $db, q{SELECT DISTINCT owner_name FROM jobsched_internal.hook}, 'holder', 'his name follows');
for my $database ($db, 'copied')
{
	$node->safe_psql($database, 'REASSIGN OWNED BY holder TO other; DROP OWNED BY holder');
}
$node->safe_psql('postgres', 'DROP ROLE holder');
is(receive('cron', '', undef, token => $third), $refusal, 'an owner that is dropped');
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.hook}, '0', 'his hooks go');

check_log($node, killed => 1) if defined &check_log;
$node->stop;
done_testing();
